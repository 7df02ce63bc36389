from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.inputs import fill_form
from labkit.course import lesson
from labkit.course.labs import design_lab
from labkit.course.labs.design_lab import FormPanel
from labkit.design.fit import Situation
from labkit.design.vendor import VendorClaim, audit, audit_html, load_claim

SITUATION = {
    "facts_change": "daily",
    "words": 5_000_000,
    "questions_answers": 50,
    "citations_needed": True,
}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.fixture
def shown(monkeypatch):
    pages: list[str] = []
    monkeypatch.setattr(design_lab, "show_html", pages.append)
    return pages


def test_headless_advice_is_recorded(lab):
    design_lab.which_tool(lab, **SITUATION)
    kept = records.read(lab.out_dir, "fit")[0]
    assert kept["recommended"][0] == "prompting" or "retrieval" in kept["recommended"]
    with pytest.raises(InputError, match="the form: facts_change"):
        design_lab.which_tool(lab, **{**SITUATION, "facts_change": "hourly"})


def test_a_domain_is_doubted_where_its_answers_give_reason_to(lab, shown):
    design_lab.show_domains()
    design_lab.which_domain(mostly_talk="yes", wrong_costs="yes", joins_facts="yes")
    page = "".join(shown)
    for name in ("climate modelling", "legal analysis", "cross-domain synthesis"):
        assert name in page
    assert "Think again: conversation matters more than accuracy here" in shown[-1]
    assert "Still open: Would two experts agree" in shown[-1]
    with pytest.raises(InputError, match="the form: mostly_talk"):
        design_lab.which_domain(mostly_talk="often")


@pytest.mark.parametrize("name", ["invented", "lu2025"])
def test_audits_are_kept_as_a_page_and_recorded(lab, name):
    found = design_lab.show_audit(lab, name)
    kept = records.read(lab.out_dir, "audit")[0]
    assert (lab.out_dir / kept["file"]).read_bytes().startswith(b"%PDF") and kept[
        "verdict"
    ] == found.verdict


def test_headless_claim_form_audits_the_example(lab):
    design_lab.question_claim(lab)
    assert records.read(lab.out_dir, "audit")[0]["file"] == "audits/claim.pdf"


def claim_panel():
    return FormPanel(
        VendorClaim,
        load_claim("invented").model_dump(),
        lambda values: audit_html(
            audit(fill_form(VendorClaim, values, place="the form", help="see docs"))
        ),
        "audit",
    )


def test_form_has_a_control_per_field_and_reads_them_back():
    panel = claim_panel()
    assert set(panel.controls) == set(VendorClaim.model_fields) and all(
        control.description for control in panel.controls.values()
    )
    assert fill_form(VendorClaim, panel.values(), place="form", help="") == load_claim("invented")


def test_form_shows_the_audit_and_mistakes_as_a_sentence():
    panel = claim_panel()
    panel.button.click()
    assert "Missing" in panel.result.value
    panel.controls["score"].value = "1.3"
    panel.button.click()
    assert "score" in panel.told.value and panel.result.value == ""
    panel.controls["score"].value = "86 <b>percent</b>"
    panel.button.click()
    assert "the form: score" in panel.told.value and "<b>percent" not in panel.told.value
    assert panel.controls["score"].layout.border_top == design_lab.WRONG
    panel.controls["score"].value = "86%"
    panel.button.click()
    assert panel.told.value == "" and "0.86" in panel.result.value
    assert panel.controls["score"].layout.border_top is None


def test_unknown_is_an_empty_field():
    panel = claim_panel()
    panel.controls["n"].value = ""
    panel.button.click()
    assert panel.values()["n"] is None and panel.result.value
    fit = FormPanel(Situation, SITUATION, lambda values: str(values), "fit")
    assert fit.values()["words"] == 5_000_000 and fit.values()["citations_needed"] is True
