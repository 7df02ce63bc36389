"""What notebook 01 shows: a design from choices, its alternatives, which tool fits, an audit.

`Studio` checks, advises, costs, saves and trains a design. The panels only wire: every change of a
control leads to a `Studio` or to a form of labkit.design, and nothing is trained until a button
says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from labkit.base.errors import InputError
from labkit.base.inputs import Form, fill_form
from labkit.base.pages import plain_table
from labkit.base.records import AXIS_NAMES
from labkit.course.lesson import Guess, Lab, Missing, headless, say, show_html
from labkit.course.live import training
from labkit.course.panels import FAULT, guarded
from labkit.data.packs import Pack, load_pack, packs_folder, shipped_packs
from labkit.data.published import reported, reported_by_family
from labkit.design.comparison import (
    Comparison,
    as_html,
    candidates_of,
    describe,
    export,
    resources,
    train_and_score,
)
from labkit.design.designer import (
    SEQUENCES,
    STARTS,
    DomainChoice,
    design,
    domain_doubts,
    domains,
    families,
    in_words,
    problems,
    stage_kinds,
)
from labkit.design.fit import HELP as FIT_HELP
from labkit.design.fit import Situation, advice_html
from labkit.design.fit import advise as advise_tool
from labkit.design.rules import (
    Advice,
    Alternative,
    advice_table,
    advise,
    changed,
    possible,
    propose,
    size_note,
)
from labkit.design.vendor import HELP as CLAIM_HELP
from labkit.design.vendor import Audit, VendorClaim, audit, audit_html, audit_pdf, load_claim
from labkit.merge.schedule import PRESETS as SCHEDULES
from labkit.train.pipeline import trainable
from labkit.train.specs import DPO, GENTLE, ORPO, PipelineSpec, Stage, Why, save_spec, spec_text
from labkit.train.trainers import Progress

FILE = "design.yaml"


@dataclass(frozen=True)
class Sheet:
    """What is shown of a design: the spec as text, whether it can run, what it takes, and what the
    rules say.
    """

    spec: PipelineSpec
    problems: tuple[str, ...]
    advice: tuple[Advice, ...]
    takes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return f"cannot run: {self.problems[0]}" if self.problems else "valid: this design can run"

    def html(self) -> str:
        """Spec, verdict, resources and advice, escaped."""
        rows = [
            ("domain", load_pack(self.spec.pack).title),
            ("design", in_words(self.spec)),
            ("verdict", self.verdict),
            ("takes", "; ".join(self.takes)),
            ("evidence", size_note(self.spec)),
        ]
        return plain_table(("", ""), rows) + advice_table(list(self.advice))


@dataclass
class Studio:
    """The designer: choices in, a checked design out. choices: fields of designer.Choices; why: the
    learner's words.
    """

    lab: Lab
    choices: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> PipelineSpec:
        """Raises InputError naming the choice that cannot be used."""
        made = design(**{"seed": self.lab.seed, "profile": self.lab.profile, **self.choices})
        return made.model_copy(update={"why": Why(**self.why)}) if any(self.why.values()) else made

    @property
    def path(self) -> Path:
        return self.lab.out_dir / "designs" / FILE

    def sheet(self) -> Sheet:
        spec = self.spec
        found = tuple(problems(spec))
        return Sheet(spec, found, tuple(advise(spec)), () if found else resources(spec))

    def text(self) -> str:
        """The spec as it will be saved."""
        return spec_text(self.spec)

    def save(self) -> Path:
        """Write the design as the file that trains; recorded.

        Raises InputError when it cannot run.
        """
        sheet = self.sheet()
        if sheet.problems:
            raise InputError(sheet.problems[0])
        save_spec(sheet.spec, self.path)
        self.lab.record(
            "design",
            spec=sheet.spec.model_dump(mode="json", exclude_defaults=True),
            advice=[advice.rule.id for advice in sheet.advice],
        )
        return self.path

    def possible(self) -> list[str]:
        """Changes that an alternative can be made by."""
        return possible(self.spec)

    def proposals(self) -> list[str]:
        """The alternatives that are proposed, in words."""
        return [
            f"Alternative {i}: {other.choice}." for i, other in enumerate(propose(self.spec), 1)
        ]

    def compared(self, changes: Sequence[str] | None = None) -> Comparison:
        """The design beside its alternatives, in words. changes: ids of `rules.Change`; None takes
        the proposals.
        """
        spec = self.spec
        others: list[Alternative] = (
            propose(spec) if changes is None else [changed(spec, name) for name in changes]
        )
        return describe(candidates_of(spec, others))

    def train(
        self,
        found: Comparison,
        progress: Callable | None = None,
        told: Callable[[str], None] = say,
        watch: Callable | None = None,
    ) -> Comparison:
        """Train and score every design of a comparison; recorded, exported beside the records.
        watch: a probe for every stage, as run_spec takes it.
        """
        done = train_and_score(found, progress=progress, told=told, watch=watch)
        assert done.measured is not None, "the designs were trained"
        for difference in done.measured.differences:
            self.lab.record(
                "comparison",
                axis=difference.axis,
                before=found.candidates[0].name,
                after=difference.candidate,
                runs=difference.runs.as_dict(),
                p=difference.p,
                verdict=difference.verdict,
            )
        export(done, self.path.parent)
        return done


def options(lab: Lab) -> dict[str, Any]:
    """What the designer's controls offer: the shipped packs, the lab's, and those made in its
    folder, among much else.
    """
    made = sorted(str(card.parent.resolve()) for card in lab.out_dir.glob("packs/*/pack.yaml"))
    return {
        "packs": [*dict.fromkeys([*shipped_packs(), named(lab.pack), *made])],
        "families": families(),
        "sequences": SEQUENCES,
        "starts": STARTS,
        "schedules": list(SCHEDULES),
    }


def sequence_for(lab: Lab, wanted: str = "") -> str:
    """The stages of a sequence (by default cpt-sft) that the pack has rows for; what is left out is
    told. Raises SpecError for what is no stage.
    """
    usual: dict[str, Stage] = {stage.kind: stage for stage in (*GENTLE, DPO, ORPO)}
    kept, lacks = trainable([usual[kind] for kind in stage_kinds(wanted or "cpt-sft")], lab.pack)
    left = [stage.kind for stage in kept]
    for kind in usual:
        if why := lacks.get(f"{kind} is left out"):
            say(f"{kind} is left out of the sequence: {why}.")
    return "-".join(left or ["cpt"])


def named(pack: Pack) -> str:
    """How a pack is chosen: a shipped one by its name, any other by its folder."""
    return pack.name if pack.folder.parent == packs_folder() else str(pack.folder.resolve())


def show_reported() -> None:
    """What the source paper reports of each approach in its three families, and where."""
    models, rows = reported_by_family()
    show_html(plain_table(("approach", *models, "where in the paper"), rows))


def studio(lab: Lab, **choices: Any) -> Studio:
    """The designer on some first choices.

    Headless: the design they make, shown and saved, without a widget.
    """
    made = Studio(lab, {"pack": named(lab.pack), **choices})
    if headless():
        show_design(made)
        return made
    from IPython.display import display

    display(design_panel(made, options(lab)))
    return made


def show_design(made: Studio) -> None:
    """The design of the moment: its file, what it takes, what the rules say. Saved."""
    sheet = made.sheet()
    print(spec_text(sheet.spec))
    show_html(sheet.html())
    say(f"saved as {made.save()}: `labkit run` trains it")


def compare(
    made: Studio,
    changes: Sequence[str] | None = None,
    guess: Guess | None = None,
    watch: Callable | None = None,
) -> Comparison:
    """Train the design and its alternatives, and show all of the comparison. guess: of one of its
    differences. watch: a probe for every stage, as run_spec takes it.
    """
    found = made.compared(changes)
    with training([candidate.spec for candidate in found.candidates]) as live:
        done = made.train(found, live, watch=watch)
    with guess.curtain() if guess else nullcontext():
        show_html(as_html(done))
    assert done.measured is not None, "the designs were trained"
    say(
        f"Done in {done.measured.seconds:.0f} s. The comparison lies as Markdown, HTML and PDF in "
        f"{made.path.parent}."
    )
    return done


def show_alternatives(made: Studio) -> None:
    """The alternatives that are proposed to a design, each with the choice it differs in."""
    say("\n".join(made.proposals()))


def show_outcome(lab: Lab, done: Comparison, axis: str, guess: Guess) -> None:
    """The first alternative against the design on one axis: the guess beside it, and a finding.

    A pack without that axis is said to lack it.
    """
    differences = done.measured.differences if done.measured else ()
    found = next((d for d in differences if d.axis == axis), None)
    if found is None:
        has = any(d.axis != axis for d in differences)
        no_items = lab.pack.told_no_items("test", axis)
        lab.outcome(guess, Missing(no_items if has else "there was no alternative to compare"))
        return
    lab.outcome(guess, found.runs)
    other = next(candidate for candidate in done.candidates if candidate.name == found.candidate)
    elsewhere = (
        reported("simple_recipe")
        if other.spec.merge and not done.candidates[0].spec.merge
        else "not reported there"
    )
    lab.finding(
        f"{other.name} ({other.choice}) scores higher on {AXIS_NAMES[axis]} than your design",
        found.runs,
        claimed=1,
        reported=elsewhere,
    )


# --- the designer's panel --------------------------------------------------------------------

WIDE = {"layout": {"width": "410px"}, "style": {"description_width": "120px"}}
STAGE_FIELDS = {
    "learning_rate": widgets.FloatText,
    "steps": widgets.IntText,
    "batch_size": widgets.IntText,
    "max_length": widgets.IntText,
    "replay": widgets.FloatText,
    "beta": widgets.FloatText,
}
FIELDS_OF = {
    "cpt": ("learning_rate", "steps", "batch_size", "max_length", "replay"),
    "sft": ("learning_rate", "steps", "batch_size", "max_length", "replay"),
    "dpo": ("learning_rate", "steps", "batch_size", "max_length", "beta"),
    "orpo": ("learning_rate", "steps", "batch_size", "max_length", "beta"),
}
WHY = {
    "approach": "your approach",
    "benefits": "what you expect",
    "risks": "what may go wrong",
    "suits": "where you would use it",
}
SOURCES = {
    "raw": "raw text",
    "summaries": "summaries of it",
    "qa": "question-answer pairs as text",
}
WEIGHTS = {"as is usual for the size": None, "all weights": False, "LoRA adapters": True}
# Where a full name would be cut off.
SHORT = {"learning_rate": "rate", "batch_size": "batch", "max_length": "length"}
AT_THE_END, BY_HAND, DEFAULT = "after the last stage", "t by hand", "the size's default"


def design_panel(studio: Studio, options: dict[str, Any]) -> widgets.Widget:
    """The designer. options: what `options` gives."""
    return DesignPanel(studio, options).whole


class DesignPanel:
    """Choices on the left and what follows from them below; every change is checked at once,
    nothing is trained until a button says so.
    """

    def __init__(self, studio: Studio, options: dict[str, Any]):
        self.studio, self.options, self.following = studio, options, True
        self._build()
        self._wire()
        self._guarded(self._follow)()

    # --- what is seen

    def _build(self) -> None:
        chosen, offered = self.studio.choices, self.options
        self.pack = widgets.Combobox(
            value=str(chosen["pack"]),
            options=list(offered["packs"]),
            description="domain",
            placeholder="a pack or a folder",
            tooltip="a shipped pack, or the folder of your own",
            **WIDE,
        )
        self.model = widgets.Combobox(
            value=str(chosen.get("model", "llama-s")),
            options=list(offered["families"]),
            description="model",
            tooltip="a family by name, or any model by folder or hub id",
            **WIDE,
        )
        self.start = widgets.Dropdown(
            options={f"{name}: {words}": name for name, words in offered["starts"].items()},
            value=chosen.get("start", "instruct"),
            description="start",
            layout=widgets.Layout(width="820px"),
            style=WIDE["style"],
        )
        self.sequence = widgets.Combobox(
            value=str(chosen.get("sequence", "cpt-sft")),
            options=[key for key in offered["sequences"] if key],
            description="sequence",
            tooltip="stages joined by dashes, in any order; empty for a direct merge",
            **WIDE,
        )
        self.sequence_words = widgets.HTML()
        self.sources = {
            name: widgets.Checkbox(
                value=name in (chosen.get("sources") or ("raw", "summaries")),
                description=words,
                indent=False,
                layout=widgets.Layout(width="220px"),
            )
            for name, words in SOURCES.items()
        }
        self.replay_default = widgets.Checkbox(
            value=chosen.get("replay") is None,
            description=DEFAULT,
            indent=False,
            layout=widgets.Layout(width="170px"),
        )
        self.replay = widgets.FloatSlider(
            value=chosen.get("replay") or 0.25,
            min=0,
            max=0.9,
            step=0.05,
            description="replay share",
            readout_format=".2f",
            **WIDE,
        )
        self.weights = widgets.Dropdown(
            options=list(WEIGHTS),
            value=next(words for words, lora in WEIGHTS.items() if lora == chosen.get("lora")),
            description="what is trained",
            **WIDE,
        )
        self.merge = widgets.Dropdown(
            options=["none", "slerp", "lerp"],
            value=chosen.get("merge", "none"),
            description="merge",
            **WIDE,
        )
        self.t = widgets.FloatSlider(
            value=0.5 if isinstance(chosen.get("t", 0.5), str) else chosen.get("t", 0.5),
            min=0,
            max=1,
            step=0.05,
            description="t (0 general, 1 domain)",
            readout_format=".2f",
            layout=widgets.Layout(width="410px"),
            style={"description_width": "150px"},
        )
        self.schedule = widgets.Dropdown(
            options=[BY_HAND, *offered["schedules"]],
            value=chosen["t"] if isinstance(chosen.get("t"), str) else BY_HAND,
            description="over depth",
            **WIDE,
        )
        self.merge_after = widgets.Dropdown(
            options=[AT_THE_END, 1, 2, 3],
            value=chosen.get("merge_after") or AT_THE_END,
            description="merge after stage",
            **WIDE,
        )
        self.merge_with = widgets.Combobox(
            value=str(chosen.get("merge_with") or ""),
            options=list(offered["families"]),
            description="merge with",
            placeholder="the start model",
            tooltip="the model at t=0; by default the start model",
            **WIDE,
        )
        self.stages = widgets.VBox()
        self.why = {
            key: widgets.Textarea(
                description=words,
                rows=2,
                layout=WIDE["layout"],
                style={"description_width": "170px"},
            )
            for key, words in WHY.items()
        }
        self.told, self.proposed, self.sheet, self.spec, self.result = (
            widgets.HTML() for _ in range(5)
        )
        self.changes = [
            widgets.Dropdown(options=["as proposed"], description=f"alternative {i}", **WIDE)
            for i in (1, 2)
        ]
        self.buttons = {
            name: widgets.Button(description=words, layout=widgets.Layout(width="auto"))
            for name, words in {
                "save": "save the design",
                "words": "compare in words",
                "train": "train and compare",
            }.items()
        }
        self.merging = widgets.VBox(
            [
                widgets.HBox([self.t, self.schedule]),
                widgets.HBox([self.merge_after, self.merge_with]),
            ]
        )
        self.whole = widgets.VBox(
            [
                widgets.HBox([self.pack, self.model]),
                self.start,
                widgets.HBox([self.sequence, self.sequence_words]),
                widgets.HBox(
                    [
                        widgets.Label(
                            "CPT reads",
                            layout=widgets.Layout(
                                width="116px", display="flex", justify_content="flex-end"
                            ),
                        ),
                        *self.sources.values(),
                    ]
                ),
                widgets.HBox([self.replay, self.replay_default]),
                self.weights,
                self.stages,
                self.merge,
                self.merging,
                self.told,
                widgets.HBox(list(self.why.values()), layout=widgets.Layout(flex_flow="row wrap")),
                widgets.HBox(self.changes),
                self.proposed,
                widgets.HBox(list(self.buttons.values())),
                self.result,
                self.sheet,
                self.spec,
            ]
        )

    def _stage_rows(self) -> None:
        """A row of numbers per stage, at what the design has; editing one fixes it."""
        rows = []
        for number, stage in enumerate(self.studio.spec.stages, 1):
            cells = [
                widgets.Label(
                    f"{number}. {stage.kind.upper()}", layout=widgets.Layout(width="70px")
                )
            ]
            for name in FIELDS_OF[stage.kind]:
                cell = STAGE_FIELDS[name](
                    value=getattr(stage, name),
                    description=SHORT.get(name, name),
                    tooltip=name.replace("_", " "),
                    layout=widgets.Layout(width="148px"),
                    style={"description_width": "48px"},
                    continuous_update=False,
                )
                fix = partial(self._by_hand, number, name, cell)
                cell.observe(self._guarded(fix), "value")
                cells.append(cell)
            rows.append(widgets.HBox(cells))
        self.stages.children = tuple(rows)

    # --- what leads where

    def _wire(self) -> None:
        anew = (
            self.pack,
            self.model,
            self.start,
            self.sequence,
            self.weights,
            self.replay,
            self.replay_default,
            *self.sources.values(),
        )
        for control in anew:
            control.observe(self._guarded(self._afresh), "value")
        for control in (
            self.merge,
            self.t,
            self.schedule,
            self.merge_after,
            self.merge_with,
            *self.why.values(),
        ):
            control.observe(self._guarded(lambda: self._follow(keep_rows=True)), "value")
        for name, act in {"save": self._save, "words": self._words, "train": self._train}.items():
            self.buttons[name].on_click(self._guarded(partial(self._press, name, act)))

    def _guarded(self, act: Callable[[], None]) -> Callable:
        return guarded(
            act, self._tell, lambda lines: self._tell(f"{FAULT} {lines}"), lambda: self.following
        )

    def _tell(self, sentence: str) -> None:
        self.told.value = f"<b>{escape(sentence)}</b>"

    def _clear(self) -> None:
        """What belongs to the design before must not pass for this one."""
        self.sheet.value = self.spec.value = self.result.value = self.proposed.value = ""
        for button in self.buttons.values():
            button.disabled = True

    def _afresh(self) -> None:
        """Another model or sequence has other defaults: what was fixed by hand is let go."""
        self.studio.choices["changes"] = {}
        self._follow()

    def _by_hand(self, number: int, field: str, cell: widgets.Widget) -> None:
        by_hand = dict(self.studio.choices.get("changes", {}))
        by_hand[number] = {**by_hand.get(number, {}), field: cell.value}
        self.studio.choices["changes"] = by_hand
        self._follow(keep_rows=True)

    def _read(self) -> None:
        """The controls as choices."""
        sources = tuple(name for name, box in self.sources.items() if box.value)
        chosen = {
            "pack": self.pack.value,
            "model": self.model.value,
            "start": self.start.value,
            "sequence": self.sequence.value,
            "sources": sources if sources != ("raw", "summaries") else None,
            "replay": None if self.replay_default.value else self.replay.value,
            "lora": WEIGHTS[self.weights.value],
            "merge": self.merge.value,
            "t": self.t.value if self.schedule.value == BY_HAND else self.schedule.value,
            "merge_after": None
            if self.merge.value == "none" or self.merge_after.value == AT_THE_END
            else self.merge_after.value,
            "merge_with": self.merge_with.value or None,
        }
        self.studio.choices.update(chosen)
        self.studio.why = {key: area.value for key, area in self.why.items()}

    def _follow(self, *, keep_rows: bool = False) -> None:
        """Read, check, advise, show: what every change ends in."""
        self._read()
        self.replay.disabled = self.replay_default.value
        self.merging.layout.display = "none" if self.merge.value == "none" else None
        self.sequence_words.value = escape(
            self.options["sequences"].get(self.sequence.value, "an order of your own")
        )
        try:
            sheet = self.studio.sheet()
            if not keep_rows:
                self._stage_rows()
            self._offer()
        except BaseException:
            self._clear()
            raise
        self.told.value = f"<b>{escape(sheet.verdict)}</b>"
        self.sheet.value, self.spec.value = sheet.html(), f"<pre>{escape(self.studio.text())}</pre>"
        self.result.value = ""
        if not sheet.problems:
            self.proposed.value = (
                '<div style="margin-left: 122px; line-height: 1.35">Proposed: '
                f"{escape(' '.join(self.studio.proposals()))}</div>"
            )
        for button in self.buttons.values():
            button.disabled = bool(sheet.problems)

    def _offer(self) -> None:
        """Let alternatives be chosen among the changes that apply."""
        self.following = False
        for dropdown in self.changes:
            kept = dropdown.value
            dropdown.options = ["as proposed", *self.studio.possible()]
            dropdown.value = kept if kept in dropdown.options else "as proposed"
        self.following = True

    def _chosen_changes(self) -> list[str] | None:
        chosen = [dropdown.value for dropdown in self.changes]
        if chosen == ["as proposed"] * 2:
            return None
        if "as proposed" in chosen or chosen[0] == chosen[1]:
            raise InputError("choose two different alternatives, or leave both as proposed")
        return chosen

    def _press(self, name: str, act: Callable[[], str]) -> None:
        button = self.buttons[name]
        button.disabled = True
        self.result.value = f"<i>{escape(button.description)} …</i>"
        try:
            self.result.value = act()
        except BaseException:
            self.result.value = ""
            raise
        finally:
            button.disabled = False

    def _save(self) -> str:
        return (
            f"<p>saved as <code>{escape(str(self.studio.save()))}</code>; <code>labkit "
            "run</code> trains it</p>"
        )

    def _words(self) -> str:
        return as_html(self.studio.compared(self._chosen_changes()))

    def _train(self) -> str:
        found = self.studio.compared(self._chosen_changes())
        done = self.studio.train(found, self._progress, self._say)
        return (
            "<p>as Markdown, HTML and PDF in "
            f"<code>{escape(str(self.studio.path.parent))}</code></p>" + as_html(done)
        )

    def _say(self, sentence: str) -> None:
        self.result.value = f"<i>{escape(sentence)} …</i>"

    def _progress(self, at: Progress) -> None:
        self.result.value = (
            f"<i>{escape(at.stage)} step {at.step} of {at.steps}, loss {at.loss:.3f}, "
            f"{at.seconds_left:.0f} s left</i>"
        )


# --- which tool fits, and what a claim is worth ----------------------------------------------

PLACE, DOMAIN_HELP = "the form", "see docs/dossier.md"


def show_domains() -> None:
    """Domains to choose from, with what there is to read and where a general model is worth
    doubting. Nothing of it was measured.
    """
    rows = [
        (
            one.name,
            "; ".join(one.documents),
            "; ".join(f"{doubt.where} ({doubt.measure})" for doubt in one.fails),
            one.decides,
        )
        for one in domains().values()
    ]
    heads = ("domain", "to read", "where to doubt, and how to measure it", "does accuracy decide?")
    show_html(
        f"<details><summary>Domains: {escape(', '.join(domains()))}</summary>"
        f"{plain_table(heads, rows)}</details>"
    )


def which_domain(**answers: object) -> None:
    """A form on the learner's domain, and what speaks against it. Advice, never a block.

    Headless: the advice on the given answers.
    """

    def show(values: dict[str, object]) -> str:
        choice = fill_form(DomainChoice, values, place=PLACE, help=DOMAIN_HELP)
        told = domain_doubts(choice) or ["Nothing speaks against this domain."]
        return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in told)}</ul>"

    questions = {
        about.title: about.description for name, about in DomainChoice.model_fields.items()
    }
    if headless():
        show_html(plain_table(("in the form", "the question"), questions.items()))
    _form_or_text(DomainChoice, answers, show, "does this domain fit?")


def which_tool(lab: Lab, **situation: object) -> None:
    """A form for a situation, and which tools fit it, with reasons.

    Headless: the advice on the given situation.
    """

    def show(values: dict[str, object]) -> str:
        found = advise_tool(fill_form(Situation, values, place=PLACE, help=FIT_HELP))
        lab.record(
            "fit",
            situation=found.situation.model_dump(),
            recommended=list(found.recommended),
            open=list(found.open),
            conflicts=list(found.conflicts),
        )
        return advice_html(found)

    _form_or_text(Situation, situation, show, "which tool fits?")


def question_claim(lab: Lab, name: str = "invented") -> None:
    """A form for a vendor's claim, at first a worked example, and its audit; the page is kept as
    PDF. Headless: the example.
    """

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
    lab.record(
        "audit",
        claim=found.claim.product,
        verdict=found.verdict,
        reason=found.reason,
        missing=[control.name for control in found.missing],
        file=str(path.relative_to(lab.out_dir)),
    )


def _form_or_text(
    form: type[Form], start: dict[str, object], show: Callable[[dict[str, object]], str], words: str
) -> None:
    if headless():
        show_html(show(start))
        return
    from IPython.display import display

    display(form_panel(form, start, show, words))


# --- a form to fill in -----------------------------------------------------------------------

CONTROL = {"layout": {"width": "400px"}, "style": {"description_width": "205px"}}


def form_panel(
    model: type[Form],
    start: dict[str, object],
    show: Callable[[dict[str, object]], str],
    words: str,
) -> widgets.Widget:
    """A form to fill in. start: what its fields hold at first. show: filled values -> escaped HTML;
    words: on the button.

    An empty field counts as not known; values are checked by `show`, whose errors appear as a
    sentence.
    """
    return FormPanel(model, start, show, words).whole


WRONG = "2px solid #a03000"  # around a field that has to be written otherwise


class FormPanel:
    def __init__(
        self,
        model: type[Form],
        start: dict[str, object],
        show: Callable[[dict[str, object]], str],
        words: str,
    ):
        self.show = show
        fields, words_on_all = model.model_json_schema()["properties"], model.__doc__ or ""
        self.controls = {
            name: _control(field.title or name, fields[name], start.get(name, field.get_default()))
            for name, field in model.model_fields.items()
        }
        for name, control in self.controls.items():
            control.tooltip = _about(name, words_on_all) or model.model_fields[name].description
        self.numeric = {
            name for name, about in fields.items() if _types(about) & {"number", "integer"}
        }
        self.optional = {name for name, about in fields.items() if "null" in _types(about)}
        self.button = widgets.Button(
            description=words,
            button_style="primary",
            layout=widgets.Layout(width="auto", align_self="flex-start"),
        )
        self.told, self.result = widgets.HTML(), widgets.HTML()
        self.button.on_click(
            guarded(self._press, self._tell, lambda lines: self._tell(f"{FAULT} {lines}"))
        )
        rows = widgets.HBox(
            [_explained(control) for control in self.controls.values()],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        self.whole = widgets.VBox([rows, self.button, self.told, self.result])

    def _tell(self, sentence: str) -> None:
        self.told.value = f"<b>{escape(sentence)}</b>"

    def values(self) -> dict[str, object]:
        """Field -> what its control holds: numbers as numbers, nothing as None."""
        return {name: self._value(name, control.value) for name, control in self.controls.items()}

    def _value(self, name: str, value: object) -> object:
        if name in self.optional and value == "":
            return None
        if name not in self.numeric:
            return value
        text = str(value).strip()
        try:
            return (
                None
                if not text
                else int(text.replace(",", ""))
                if text.replace(",", "").lstrip("-").isdigit()
                else float(text)
            )
        except ValueError:
            return text  # the form says what is wrong with it

    def _press(self) -> None:
        self.told.value = self.result.value = ""
        for control in self.controls.values():
            control.layout.border = None
        try:
            self.result.value = self.show(self.values())
        except InputError as error:
            raise InputError(self._marked(str(error))) from None

    def _marked(self, sentence: str) -> str:
        """The sentence with the field as its label names it; that field gets a red border."""
        place, _, rest = sentence.partition(": ")
        name, _, problem = rest.partition(": ")
        if name not in self.controls:
            return sentence
        self.controls[name].layout.border = WRONG
        return f"{place}: {self.controls[name].description}: {problem}"


def _about(name: str, words: str) -> str | None:
    """What a form's own words say of a field, as `name: what it is.` or `name, other: what they
    are.`
    """
    found = re.search(rf"\b{name}(?:,\s+\w+)*:\s+([^.]+)\.", words)
    return " ".join(found[1].split()) if found else None


def _explained(control: widgets.Widget) -> widgets.Widget:
    """A control, and below it what it means; where labkit has a word on it."""
    about = '<div style="margin-left: 212px; line-height: 1.25; color: #555">{}</div>'
    told = (control.tooltip or "").replace("`", "'")
    words = escape(f"{told[:1].upper()}{told[1:]}.".replace("?.", "?")) if told else ""
    return widgets.VBox(
        [control, *([widgets.HTML(about.format(words))] if words else [])],
        layout=widgets.Layout(width="416px"),
    )


def _types(about: dict) -> set[str]:
    """JSON types a field takes."""
    return {about.get("type", "")} | {option.get("type", "") for option in about.get("anyOf", ())}


def _control(shown: str, about: dict, value: object) -> widgets.Widget:
    """shown: what stands before it."""
    if "enum" in about:
        return widgets.Dropdown(
            options=about["enum"], value=_word(value, about["enum"]), description=shown, **CONTROL
        )
    if about.get("type") == "boolean":
        return widgets.Checkbox(
            value=bool(value),
            description=shown,
            indent=False,
            layout=widgets.Layout(width="auto", margin="2px 0 2px 210px"),
        )
    return widgets.Text(
        value="" if value is None or not isinstance(value, (str, int, float)) else str(value),
        description=shown,
        placeholder="not known",
        continuous_update=False,
        **CONTROL,
    )


def _word(value: object, options: list[str]) -> str:
    """A value among a field's words; a bare yes of YAML is one of them."""
    word = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
    return word if word in options else options[0]
