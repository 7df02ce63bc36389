"""What notebook 01 shows around a design: is adaptation the right tool at all, and what is a vendor's claim worth?"""

from __future__ import annotations

from labkit.fit import advice_html, advise
from labkit.fit_rules import HELP as FIT_HELP
from labkit.fit_rules import Situation
from labkit.forms import fill_form
from labkit.lesson import Lab, headless, show_html
from labkit.vendor import Audit, audit, audit_html, audit_pdf
from labkit.vendor_claim import HELP as CLAIM_HELP
from labkit.vendor_claim import VendorClaim, load_claim

PLACE = "the form"


def which_tool(lab: Lab, **situation: object) -> None:
    """A form for a situation, and which tools fit it, with reasons. Headless: the advice on the given situation."""

    def show(values: dict[str, object]) -> str:
        found = advise(fill_form(Situation, values, place=PLACE, help=FIT_HELP))
        lab.record("fit", situation=found.situation.model_dump(), recommended=list(found.recommended), open=list(found.open), conflicts=list(found.conflicts))
        return advice_html(found)

    _form_or_text(Situation, situation, show, "which tool fits?")


def question_claim(lab: Lab, name: str = "invented") -> None:
    """A form for a vendor's claim, at first a worked example, and its audit; the page is kept as PDF. Headless: the example."""

    def show(values: dict[str, object]) -> str:
        found = audit(fill_form(VendorClaim, values, place=PLACE, help=CLAIM_HELP))
        keep(lab, found, "claim")
        return audit_html(found)

    _form_or_text(VendorClaim, load_claim(name).model_dump(), show, "audit this claim")


def show_audit(lab: Lab, name: str) -> Audit:
    """The audit of a worked example; kept as PDF and recorded."""
    found = audit(load_claim(name))
    show_html(audit_html(found))
    keep(lab, found, name)
    return found


def keep(lab: Lab, found: Audit, name: str) -> None:
    """One page as PDF beside the records, and the verdict among them."""
    path = audit_pdf(found, lab.out_dir / "audits" / f"{name}.pdf")
    lab.record("audit", claim=found.claim.product, verdict=found.verdict, reason=found.reason, missing=[control.name for control in found.missing], file=str(path.relative_to(lab.out_dir)))


def _form_or_text(form: type, start: dict[str, object], show, words: str) -> None:
    if headless():
        show_html(show(start))
        return
    from IPython.display import display

    from labkit.form_panel import form_panel

    display(form_panel(form, start, show, words))


