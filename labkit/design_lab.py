"""What notebook 01 computes and shows: a design from choices, checked, advised, costed; alternatives; the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit.alternatives import Alternative, changed, possible, propose
from labkit.clock import training
from labkit.comparison import Comparison, as_html, candidates_of, describe, export, resources, train_and_score
from labkit.design import PipelineSpec, Why, save_spec, spec_text
from labkit.designer import SEQUENCES, STARTS, design, families, in_words, problems
from labkit.errors import InputError
from labkit.lesson import Guess, Lab, headless, show_html
from labkit.packs import packs_folder, shipped_packs
from labkit.published import reported
from labkit.rules import Advice, advice_table, advise, size_note
from labkit.schedule import PRESETS as SCHEDULES
from labkit.tables import plain_table

FILE = "design.yaml"


@dataclass(frozen=True)
class Sheet:
    """What is shown of a design: the spec as text, whether it can run, what it takes, and what the rules say."""

    spec: PipelineSpec
    problems: tuple[str, ...]
    advice: tuple[Advice, ...]
    takes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return f"cannot run: {self.problems[0]}" if self.problems else "valid: this design can run"

    def html(self) -> str:
        """Spec, verdict, resources and advice, escaped."""
        rows = [("design", in_words(self.spec)), ("verdict", self.verdict), ("takes", "; ".join(self.takes)), ("evidence", size_note(self.spec))]
        return plain_table(("", ""), rows) + advice_table(list(self.advice))


@dataclass
class Studio:
    """The designer: choices in, a checked design out. choices: fields of designer.Choices; why: the learner's words."""

    lab: Lab
    choices: dict[str, object] = field(default_factory=dict)
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
        """Write the design as the file that trains; recorded. Raises InputError when it cannot run."""
        sheet = self.sheet()
        if sheet.problems:
            raise InputError(sheet.problems[0])
        save_spec(sheet.spec, self.path)
        self.lab.record("design", spec=sheet.spec.model_dump(mode="json", exclude_defaults=True), advice=[advice.rule.id for advice in sheet.advice])
        return self.path

    def possible(self) -> list[str]:
        """Changes that an alternative can be made by."""
        return possible(self.spec)

    def compared(self, changes: Sequence[str] | None = None) -> Comparison:
        """The design beside its alternatives, in words. changes: names of alternatives.py; None takes the proposals."""
        spec = self.spec
        others: list[Alternative] = propose(spec) if changes is None else [changed(spec, name) for name in changes]
        return describe(candidates_of(spec, others))

    def train(self, found: Comparison, progress: Callable | None = None, told: Callable[[str], None] = print) -> Comparison:
        """Train and score every design of a comparison; recorded and exported beside the records."""
        done = train_and_score(found, progress=progress, told=told)
        for difference in done.measured.differences:
            self.lab.record("comparison", axis=difference.axis, before=found.candidates[0].name, after=difference.candidate, runs=difference.runs.as_dict(), p=difference.p, verdict=difference.verdict)
        export(done, self.path.parent)
        return done


def options() -> dict[str, object]:
    """What the designer's controls offer."""
    return {"packs": shipped_packs(), "families": families(), "sequences": SEQUENCES, "starts": STARTS, "schedules": list(SCHEDULES)}


def studio(lab: Lab, **choices: object) -> Studio:
    """The designer on some first choices. Headless: the design they make, shown and saved, without a widget."""
    shipped = lab.pack.folder.parent == packs_folder()
    made = Studio(lab, {"pack": lab.pack.name if shipped else str(lab.pack.folder), **choices})
    if headless():
        show_design(made)
        return made
    from IPython.display import display

    from labkit.design_panel import design_panel

    display(design_panel(made, options()))
    return made


def show_design(made: Studio) -> None:
    """The design of the moment: its file, what it takes, what the rules say. Saved."""
    sheet = made.sheet()
    print(spec_text(sheet.spec))
    show_html(sheet.html())
    print(f"saved as {made.save()}: `labkit run` trains it")


def compare(made: Studio, changes: Sequence[str] | None = None) -> Comparison:
    """Train the design and its alternatives, and show all of the comparison."""
    found = made.compared(changes)
    with training([candidate.spec for candidate in found.candidates]) as live:
        done = made.train(found, live)
    show_html(as_html(done))
    print(f"trained and scored in {done.measured.seconds:.0f} s; as Markdown, HTML and PDF in {made.path.parent}")
    return done


def show_outcome(lab: Lab, done: Comparison, axis: str, guess: Guess) -> None:
    """The first alternative against the design on one axis: the guess beside it, and a finding. A pack without that axis is said to lack it."""
    found = next((d for d in done.measured.differences if d.axis == axis), None)
    if found is None:
        print(f"nothing to compare: the pack's test split has no items on {axis}, or there is no alternative")
        return
    lab.outcome(guess, found.runs)
    other = next(candidate for candidate in done.candidates if candidate.name == found.candidate)
    elsewhere = reported("simple_recipe") if other.spec.merge and not done.candidates[0].spec.merge else "not reported there"
    lab.finding(f"{other.name} ({other.choice}) scores higher on {axis} than your design", found.runs, claimed=1, reported=elsewhere)
