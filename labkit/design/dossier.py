"""The dossier: one document that holds a whole case for an adaptation, in the lesson's six steps.

Each place of it holds what labkit proposes, from its rules and records, and beside it the learner's
own words, which count first. Places that hold neither are named. The dossier is YAML in and out;
HTML, PDF and Markdown show it. It writes what the kit runs: the design, the scenarios and the gate.

This module does not train or score anything; who does hands the results in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import Strict, beside, explain, read_yaml, tidy
from labkit.base.pages import Section, Sheet, sheet_markdown, sheet_page, write_pdf
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import write_file
from labkit.data.packs import Pack, load_pack, shipped_packs
from labkit.data.published import reported
from labkit.design.comparison import (
    HEADS,
    Comparison,
    candidates_of,
    describe,
    difference_in_words,
    score_rows,
)
from labkit.design.designer import STARTS, domains, in_words, size_of
from labkit.design.planner import SIZE_HEADS, AtSize, below_two_billion, size_rows
from labkit.design.planner_memory import amount_of, on_paper, pack_is_there
from labkit.design.rules import BY_ID, Advice, Alternative, Facts, advise, propose, size_note
from labkit.diagnose.diagnoses import BY_ID as DIAGNOSES
from labkit.diagnose.gate import DEFAULT_MUST_HOLD
from labkit.diagnose.probe import PROBED, USUAL
from labkit.evaluate.scenarios import FILE as SCENARIOS
from labkit.evaluate.scenarios import Scenario, make_scenario, pack_scenarios, save_scenarios
from labkit.evaluate.scorecards import Scorecard, is_for
from labkit.merge import schedule
from labkit.train.pipeline import stage_splits
from labkit.train.specs import (
    PREFERENCE_STAGES,
    STAGES,
    PipelineSpec,
    Stage,
    save_spec,
    seen_from,
    spec_text,
)

FILE = "dossier.yaml"
HELP = "see docs/dossier.md"
EXAMPLES = {"name": "Ann", "axis": "knowledge", "mode": "it forgets", "stage": "cpt", "kind": "cpt"}
FEWEST_SCENARIOS, ALTERNATIVES = 3, 2
MOST_CHARACTERS = 5000  # of one place
MOST_OF_A_LINE = 200
Share = Annotated[float, Field(ge=0, le=1)]
STAGE_NAMES = {  # as people write them, in lower case and letters alone -> as a design has them
    **{kind: kind for kind in STAGES},
    **dict.fromkeys(("pretraining", "pre training", "continued pretraining"), "cpt"),
    **dict.fromkeys(("continued pre training", "continual pretraining"), "cpt"),
    **dict.fromkeys(("continual pre training", "domain adaptive pretraining"), "cpt"),
    **dict.fromkeys(("fine tuning", "finetuning", "supervised fine tuning"), "sft"),
    **dict.fromkeys(("supervised finetuning", "instruction tuning"), "sft"),
    **dict.fromkeys(("direct preference optimization", "direct preference optimisation"), "dpo"),
    **dict.fromkeys(("odds ratio preference optimization",), "orpo"),
    **dict.fromkeys(("odds ratio preference optimisation",), "orpo"),
}
TITLE = "An adaptation, and the case for it"
EARLIER = "earlier: "  # before the name of a design that is compared no more
OWN_WORDS, PROPOSED, BOTH = "own words", "proposed", "own words, and labkit's"


def _text(value: object) -> object:
    """Text as it can be kept and shown. YAML reads a bare yes, 5 or 2025-01-31 as something else,
    and not always as what was written: 010 is 8, and 12:30 is 750.
    """
    if isinstance(value, str):
        return tidy(value)
    raise ValueError(f"expected text, and YAML reads this as {value!r}; put it in quotes")


def _one_line(value: str) -> str:
    told = " ".join(value.split())
    if len(told) > MOST_OF_A_LINE:
        raise ValueError(f"{len(told)} characters are too many; at most {MOST_OF_A_LINE}")
    return told


def _named(value: str) -> str:
    if not value:
        raise ValueError("must not be empty; give it a name")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Line = Annotated[Text, AfterValidator(_one_line)]
Name = Annotated[Line, AfterValidator(_named)]


def _not_too_long(value: str) -> str:
    if len(value) > MOST_CHARACTERS:
        raise ValueError(
            f"{len(value)} characters are too many; at most {MOST_CHARACTERS} are kept in one place"
        )
    return value


def _as_a_stage(value: str) -> str:
    """A stage by the name it has in a design, where it is one of those."""
    told = " ".join(re.findall("[a-z]+", value.lower()))
    return STAGE_NAMES.get(told, value)


def _same_number(what: str, these: Sequence, those: Sequence, called: str) -> None:
    if len(these) != len(those):
        raise ValueError(
            f"{what} holds {len(these)} for {len(those)} {called}; give one for each, '' for none"
        )


class Part(Strict):
    """Base of what a dossier is made of: a field without a value is as good as none."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, value: object) -> object:
        if value is None:
            return {}
        if isinstance(value, dict):
            return {key: one for key, one in value.items() if one is not None}
        return value


class Entry(Part):
    """One place. words: the learner's own. proposed: what labkit proposes. rests_on: the findings
    that the choice rests on, by their names in the registers.

    In YAML a plain text stands for words alone.
    """

    words: Annotated[Text, AfterValidator(_not_too_long)] = ""
    proposed: Text = ""
    rests_on: tuple[Text, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _text_is_words(cls, value: object) -> object:
        if isinstance(value, list):
            raise ValueError("expected one text, not a list; write it in one")
        return value if value is None or isinstance(value, (dict, Entry)) else {"words": value}

    @property
    def told(self) -> str:
        """What counts: the learner's words, or else the proposal."""
        return self.words.strip() or self.proposed

    @property
    def filled(self) -> bool:
        return bool(self.told)


def place(label: str, asks: str) -> Any:
    """A field of the dossier that is filled in. asks: the question it answers."""
    return Field(default_factory=Entry, title=label, description=asks)


class Table(Part):
    """Rows under heads, as labkit counted or measured them."""

    heads: tuple[Text, ...] = ()
    rows: tuple[tuple[Text, ...], ...] = ()

    @model_validator(mode="after")
    def _a_cell_for_each_head(self) -> Table:
        for number, row in enumerate(self.rows, 1):
            _same_number(f"row {number}", row, self.heads, "heads")
        return self


class Person(Part):
    """Someone who works on the dossier. role: what they answer for. parts: names of its parts."""

    name: Name
    role: Line = ""
    parts: tuple[Text, ...] = ()


class Domain(Part):
    """Step (i). pack: the name or folder of its data, empty while there is none. stands_in: whether
    that is another domain's, for want of its own. baseline: the untouched model on it.
    """

    name: Line = ""
    pack: Text = ""
    stands_in: bool | None = None
    decides: Entry = place(
        "Why accuracy and reasoning decide here",
        "What does a wrong answer cost in this domain, and what does a pleasant one gain?",
    )
    underperforms: Entry = place(
        "Where a general model falls short",
        "What does it get wrong here today, and how do you know?",
    )
    baseline: Table = Table()


class StageData(Part):
    """What one stage reads. stage: its kind."""

    stage: Annotated[Name, AfterValidator(_as_a_stage)]
    kind: Entry = place("kind", "Raw papers, summaries, questions with answers, or pairs?")
    amount: Entry = place("amount", "How many rows and words?")
    source: Entry = place("source", "Where do they come from, and under which licence?")
    checked_by: Entry = place("who checks it", "Who reads a sample, and what do they look for?")


class Design(Part):
    """Step (ii). spec: the design as a file that trains; None while it is only words."""

    spec: PipelineSpec | None = None
    start: Entry = place("Start model", "Base or instruct, which family and size, and why?")
    sequence: Entry = place(
        "Sequence of stages", "Which stages in which order, and why do they fit this domain?"
    )
    quality: Entry = place(
        "Quality over quantity", "How do you make sure that little good text beats much bad text?"
    )
    merging: Entry = place(
        "Merging", "Whether, after which stage, with which method and t, and why?"
    )
    data: tuple[StageData, ...] = ()


class Criterion(Part):
    """Step (iii): one axis. may_fall: by how much it may fall; None where nothing is demanded.
    found: every design on it, once they were scored.
    """

    axis: Literal["knowledge", "reasoning", "instructions", "creativity", "general"]
    asks: Entry = place("what it must do", "Which questions of your domain measure this axis?")
    may_fall: Share | None = None
    found: Table = Table()


class TestScenario(Part):
    """Step (iii): one situation. scenario: the cases that test it. found: results by model."""

    __test__ = False  # no test of pytest's

    name: Name
    success: Entry = place("sign of success", "What would you see if the adaptation worked?")
    failure: Entry = place("sign of failure", "What would you see if it failed?")
    scenario: Scenario | None = None
    found: Table = Table()


class Scale(Part):
    """Step (iv). sizes: the design planned at several sizes."""

    needed: Entry = place("Size needed", "Which size does this design need, and how do you know?")
    small: Entry = place(
        "Below 2 billion, or 7 to 8 billion", "Would it work in a smaller model? What is unknown?"
    )
    given_up: Entry = place(
        "When computing is short", "What would you change first, and what do you give up by that?"
    )
    sizes: Table = Table()


class Head(Part):
    """One row of the comparison: a cell per design, the learner's own first."""

    head: Name
    cells: tuple[Entry, ...] = ()


class Compared(Part):
    """Step (v). designs: their names. specs: what the first of them train, the learner's own first;
    columns behind those hold words alone. earlier: designs that are compared no more, by the name
    of their column. measured: scores, once they were trained.
    """

    designs: tuple[Text, ...] = ()
    specs: tuple[PipelineSpec, ...] = ()
    earlier: dict[str, PipelineSpec] = Field(default_factory=dict)
    rows: tuple[Head, ...] = ()
    matters: Entry = place(
        "What matters more in this domain",
        "Which of these differences counts more here than elsewhere, and why?",
    )
    measured: Table = Table()

    @model_validator(mode="after")
    def _a_cell_for_each_design(self) -> Compared:
        for row in self.rows:
            _same_number(f"row {row.head!r}", row.cells, self.designs, "designs")
        if len(self.specs) > len(self.designs):
            _same_number("specs", self.specs, self.designs, "designs")
        for name in self.earlier:
            if name not in self.designs[len(self.specs) :]:
                raise ValueError(f"earlier: {name!r} is no column behind those that are compared")
        return self


class Failure(Part):
    """Step (vi): one way in which this design may do worse than the start model.

    axis: what the probe and the gate watch for it; may_fall: the fall that is let through.
    diagnosis: the name of the diagnosis that measures it. found: what that said, once it ran.
    """

    mode: Name
    why_here: Entry = place("why here", "What in this design makes it likely?")
    sign: Entry = place("early sign", "What would you see first, and when?")
    test: Entry = place("test", "Which test shows it?")
    threshold: Entry = place("threshold", "From which result on do you act?")
    action: Entry = place("action", "What do you do then?")
    axis: Text = ""
    may_fall: Share | None = None
    diagnosis: Text = ""
    found: Text = ""


class Deployment(Part):
    """What happens after release."""

    reviews: Entry = place("Who reviews", "Who reads which answers before they are used?")
    declines: Entry = place("When it declines", "Which questions must it not answer?")
    escalates: Entry = place("Where it goes then", "Who is asked instead, and how fast?")
    monitors: Entry = place("What is watched", "What is measured on logged answers, how often?")
    rolls_back: Entry = place("How it is taken back", "What is put in its place, and who decides?")
    audit: Entry = place("What an audit will ask", "What do you keep, so that you can answer?")


class Closing(Part):
    """The case in three sentences."""

    sequence: Entry = place("Why this sequence", "Why does your domain require it?")
    kept: Entry = place(
        "What is kept, what is gained", "Which abilities must stay, and which shall grow?"
    )
    fails: Entry = place("Where it may fail", "Where may it fail despite good intentions?")


class Said(Part):
    """A place in which two people wrote different words; all of them stand here."""

    place: Text
    words: dict[str, Text]


class Dossier(Part):
    """The whole case. left_open: places that are empty on purpose, each with the reason."""

    title: Line = TITLE
    people: tuple[Person, ...] = ()
    domain: Domain = Domain()
    design: Design = Design()
    criteria: tuple[Criterion, ...] = ()
    scenarios: tuple[TestScenario, ...] = ()
    scale: Scale = Scale()
    comparison: Compared = Compared()
    failures: tuple[Failure, ...] = ()
    deployment: Deployment = Deployment()
    closing: Closing = Closing()
    left_open: dict[str, Text] = Field(default_factory=dict)
    conflicts: tuple[Said, ...] = ()


PARTS = {  # part -> its head, in the lesson's order
    "domain": "(i) The domain",
    "design": "(ii) The pipeline",
    "criteria": "(iii) Criteria on four axes",
    "scenarios": "(iii) Scenarios that tell success from failure",
    "scale": "(iv) Scale",
    "comparison": "(v) Your design and two alternatives",
    "failures": "(vi) How this design may fail, and how that is caught",
    "deployment": "After release",
    "closing": "Closing statement",
}


# --- places -----------------------------------------------------------------------------------


def entries(dossier: Dossier, part: str | None = None) -> Iterator[tuple[str, str, Entry]]:
    """Every place with its path and its label, in order. Numbers in a path count from 1.

    part: of one part only.
    """
    for name in [part] if part else PARTS:
        yield from _walk(getattr(dossier, name), name, "")


def _walk(value: object, path: str, label: str) -> Iterator[tuple[str, str, Entry]]:
    if isinstance(value, Entry):
        yield path, label, value
    elif isinstance(value, BaseModel):
        of = _name_of(value)
        for name, about in type(value).model_fields.items():
            told = f"{of}: {about.title}" if of and about.title else about.title or of
            yield from _walk(getattr(value, name), f"{path}.{name}", told)
    elif isinstance(value, tuple):
        for number, one in enumerate(value, 1):
            yield from _walk(one, f"{path}.{number}", label)


def _name_of(value: BaseModel) -> str:
    """How one of several is called."""
    names = (getattr(value, key, "") for key in ("stage", "mode", "name", "head", "axis"))
    return "" if isinstance(value, Domain) else next(filter(None, names), "")


def question_of(dossier: Dossier, path: str) -> str:
    """The question that a place answers; empty for a cell of the comparison."""
    *above, last = path.split(".")
    value = _at(dossier, above)
    about = type(value).model_fields.get(last) if isinstance(value, BaseModel) else None
    return (about and about.description) or ""


def _at(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        value = value[int(step) - 1] if isinstance(value, tuple) else getattr(value, step)
    return value


def with_entry(dossier: Dossier, path: str, **values: object) -> Dossier:
    """The dossier with one place changed. values: fields of `Entry`.

    Raises InputError for a path that is no place, and for words that cannot be kept.
    """
    known = [one for one, _, _ in entries(dossier)]
    if path not in known:
        raise InputError(f"dossier: there is no place {path!r}; {suggest(path, known)}")
    data = dossier.model_dump(mode="json")
    target: Any = data
    *above, last = [int(step) - 1 if step.isdigit() else step for step in path.split(".")]
    for step in above:
        target = target[step]
    target[last] = {**target[last], **values}
    return checked(data)


def with_fall(dossier: Dossier, part: str, axis: str, fall: float | None) -> Dossier:
    """The dossier with another fall let through on an axis, in "criteria" or "failures"; None:
    nothing is demanded.

    Raises InputError for a fall that is no share.
    """
    data = dossier.model_dump(mode="json")
    for one in data[part]:
        if one["axis"] == axis:
            one["may_fall"] = fall
    return checked(data)


def empty(dossier: Dossier) -> list[str]:
    """What is still missing, in words, a line each; places left open on purpose are not."""
    lacks = [] if dossier.domain.name else ["(i) The domain: its name"]
    if not dossier.design.data:
        lacks.append("(ii) The pipeline: the data of each stage")
    lacks += [
        f"(iii) Criteria on four axes: {axis}"
        for axis in AXES
        if axis not in {one.axis for one in dossier.criteria}
    ]
    if (short := FEWEST_SCENARIOS - len(dossier.scenarios)) > 0:
        lacks.append(f"(iii) Scenarios that tell success from failure: {short} more")
    if len(dossier.comparison.designs) <= ALTERNATIVES:
        lacks.append("(v) Your design and two alternatives: the table")
    if not dossier.failures:
        lacks.append("(vi) How this design may fail, and how that is caught: one way at least")
    lacks += [
        f"{PARTS[path.split('.')[0]]}: {label} ({path})"
        for path, label, entry in entries(dossier)
        if not entry.filled and path not in dossier.left_open
    ]
    return lacks


def counts(dossier: Dossier) -> tuple[int, int, int]:
    """Places in the learner's words, places that hold a proposal only, and all places."""
    found = [entry for _, _, entry in entries(dossier)]
    own = sum(bool(entry.words.strip()) for entry in found)
    return own, sum(entry.filled for entry in found) - own, len(found)


def told_state(dossier: Dossier) -> str:
    """How far a dossier is, in a sentence or two."""
    own, proposed, places = counts(dossier)
    lacks = empty(dossier)
    told = (
        f"{own} of {places} places are in your words; {proposed} hold only what labkit proposes. "
    )
    if not lacks:
        return (
            told
            + "No place is empty"
            + (f" but {len(dossier.left_open)} left open on purpose." if dossier.left_open else ".")
        )
    shown = "; ".join(lacks[:3]) + (f"; and {len(lacks) - 3} more" if len(lacks) > 3 else "")
    return f"{told}{len(lacks)} still missing: {shown}."


# --- files ------------------------------------------------------------------------------------


def checked(data: object, place: str = "dossier") -> Dossier:
    """A dossier from plain values.

    Raises InputError that begins with `place` and names the field and the remedy.
    """
    if not isinstance(data, dict):
        raise InputError(f"{place}: expected the parts {', '.join(PARTS)}; {HELP}")
    try:
        found = Dossier.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        loc = first["loc"]
        told = _told_shape(loc, first["type"]) or explain(error, _holder(Dossier, loc[:-1]))
        if first["type"] != "invalid_key":  # numbers count from 1, as in the names of places
            shown = ".".join(str(step + 1 if isinstance(step, int) else step) for step in loc)
            told = told.replace(".".join(map(str, loc)), shown, 1)
        raise InputError(f"{place}: {told}; {HELP}") from None
    for problem in _problems(found):
        raise InputError(f"{place}: {problem}; {HELP}")
    return found


def _told_shape(loc: Sequence[int | str], kind: str) -> str:
    """What to write where something of another shape stands; empty for another kind of fault."""
    if "t" in loc:  # of one of several shapes
        return ""
    path = ".".join(map(str, loc))
    within = _holder(Dossier, loc)
    at = _holder(Dossier, loc[:-1]).model_fields.get(str(loc[-1])) if loc else None
    of_parts = isinstance(loc[-1], int) if loc else False
    if at is not None:
        of_parts = _model_in(at.annotation) is not None
    needed = next((name for name, one in within.model_fields.items() if one.is_required()), "")
    shown = EXAMPLES.get(needed, "a name")
    if kind == "tuple_type" and of_parts and needed:
        return f"{path}: expected a list, a line for each, such as `- {needed}: {shown}`"
    if kind == "tuple_type":
        return f"{path}: expected a list, such as `[one, two]`"
    if kind in ("model_type", "model_attributes_type"):
        field = needed or next(iter(within.model_fields))
        return f"{path}: expected fields with values, such as `{field}: {shown}`"
    if kind == "dict_type":
        return f"{path}: expected a value for each name, such as `domain.decides: asked in May`"
    if kind == "invalid_key":
        return (
            f"{path.partition('.[')[0]} is no name of a field, which is a word; write it "
            "such as `title: Clause questions`"
        )
    return ""


def _holder(model: Any, loc: Sequence[int | str]) -> type[BaseModel]:
    """The model whose field is wrong, for the names that it would have known."""
    held: type[BaseModel] = model
    for step in loc:
        if isinstance(step, int):
            continue
        about = held.model_fields.get(step)
        within = _model_in(about.annotation) if about else None
        if within is None:
            break
        held = within
    return held


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _problems(dossier: Dossier) -> Iterator[str]:
    """What the fields' types do not say, a sentence each."""
    known = [path for path, _, _ in entries(dossier)]
    for path in dossier.left_open:
        if path not in known:
            yield f"left_open: {path!r} is no place; {suggest(path, known)}"
    for path, reason in dossier.left_open.items():
        if not reason.strip():
            yield f"left_open: {path}: must not be empty; give the reason, such as: asked in May"
    for person in dossier.people:
        for part in person.parts:
            if part not in PARTS:
                told = suggest(part, list(PARTS))
                yield f"people: {person.name}: parts: {part!r} is no part; {told}"
    for said in dossier.conflicts:
        if problem := _no_field(said.place):
            yield f"conflicts: place: {said.place!r} is no place; {problem}"
    for failure in dossier.failures:
        if failure.axis and failure.axis not in AXES + CONTROLS:
            yield (
                f"failures: {failure.mode}: axis: no axis has the name {failure.axis!r}; "
                f"{suggest(failure.axis, [*AXES, *CONTROLS])}"
            )
        if failure.diagnosis and failure.diagnosis not in DIAGNOSES:
            yield (
                f"failures: {failure.mode}: diagnosis: none has the name {failure.diagnosis!r}; "
                f"{suggest(failure.diagnosis, list(DIAGNOSES))}"
            )
    for name, members in (
        ("people", dossier.people),
        ("design.data", dossier.design.data),
        *((part, getattr(dossier, part)) for part in ("criteria", "scenarios", "failures")),
        ("comparison.rows", dossier.comparison.rows),
        ("comparison.designs", dossier.comparison.designs),
    ):
        names = (one if isinstance(one, str) else _name_of(one) for one in members)
        for called, times in Counter(names).items():
            if times > 1:
                yield f"{name}: {called!r} is there {times} times; keep one, or rename the others"


def _no_field(path: str) -> str:
    """What is wrong with the path of a value, whose numbers may be of lists that have changed
    since; empty when nothing is.
    """
    held: type[BaseModel] | None = Dossier
    for step in path.partition(":")[0].split("."):
        if step.isdigit():
            continue
        if held is None or step not in held.model_fields:
            return suggest(step, [*held.model_fields]) if held else "it ends before"
        held = _model_in(held.model_fields[step].annotation)
    return ""


def load_dossier(path: Path) -> Dossier:
    """A dossier from YAML. Folders may be named as seen from where the file lies, and the steps of
    a design may be `auto`.

    Raises InputError naming file, field and remedy.
    """
    raw = read_yaml(path, missing=f"write it with `labkit dossier --from`; {HELP}")
    found = checked(raw, str(path))
    known = shipped_packs()
    if found.domain.pack:
        pack = beside(path, found.domain.pack, known)
        found = found.model_copy(update={"domain": found.domain.model_copy(update={"pack": pack})})
    if spec := found.design.spec:
        changes = {"spec": seen_from(path, spec)}
        found = found.model_copy(update={"design": found.design.model_copy(update=changes)})
    specs = tuple(seen_from(path, one) for one in found.comparison.specs)
    earlier = {name: seen_from(path, one) for name, one in found.comparison.earlier.items()}
    compared = found.comparison.model_copy(update={"specs": specs, "earlier": earlier})
    return found.model_copy(update={"comparison": compared})


def as_data(dossier: Dossier) -> dict:
    """The dossier in plain values, as its YAML has them; `checked` reads them back."""
    data = dossier.model_dump(mode="json", exclude_defaults=True)
    return {name: _short(one) if name in PARTS else one for name, one in data.items()}


def dossier_text(dossier: Dossier) -> str:
    """The dossier as YAML; what is empty is left out."""
    return yaml.dump(
        as_data(dossier), Dumper=_Readable, sort_keys=False, width=100, allow_unicode=True
    )


class _Readable(yaml.SafeDumper):
    """Text of several lines as several lines."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Readable.add_representer(str, _Readable.represent_str)


def _short(value: Any) -> Any:
    """Entries that hold words alone as plain text."""
    if isinstance(value, dict):
        return (
            value["words"]
            if value.keys() == {"words"}
            else {key: _short(inner) for key, inner in value.items()}
        )
    return [_short(one) for one in value] if isinstance(value, list) else value


def again(dossier: Dossier) -> Dossier:
    """The dossier as its file will be read. Raises InputError when it could not be."""
    return checked(dossier.model_dump(mode="json"))


def save_dossier(dossier: Dossier, path: Path) -> Path:
    """Raises StoreError when the file cannot be written."""
    write_file(path, dossier_text(dossier))
    return path


# --- what the kit runs ------------------------------------------------------------------------


def must_hold(dossier: Dossier) -> dict[str, float]:
    """What the gate demands: axis -> the fall that is let through.

    The strictest of the criteria and the failure modes counts.
    """
    held: dict[str, float] = {}
    for axis, allowed in (
        *((one.axis, one.may_fall) for one in dossier.criteria),
        *((one.axis, one.may_fall) for one in dossier.failures),
    ):
        if axis and allowed is not None:
            held[axis] = min(allowed, held.get(axis, 1.0))
    return held


def demanded_beside(dossier: Dossier, one: Criterion) -> str:
    """Which failure mode demands more of a criterion's axis than itself, in words; empty when none
    does.
    """
    of = [
        (other.may_fall, other.mode)
        for other in dossier.failures
        if other.axis == one.axis and other.may_fall is not None
    ]
    if not of or (one.may_fall is not None and one.may_fall <= min(of)[0]):
        return ""
    fall, mode = min(of)
    return f"{fall:.2f}, demanded by the way of failing '{mode}'"


def watched(dossier: Dossier) -> tuple[str, ...]:
    """The axes an early-warning probe looks at for this dossier's failure modes, as far as it can;
    without any, the usual ones.
    """
    axes = {one.axis for one in dossier.failures}
    return tuple(axis for axis in PROBED if axis in axes) or USUAL


def tests_of(dossier: Dossier) -> list[str]:
    """The diagnoses that its failure modes name."""
    return list(dict.fromkeys(one.diagnosis for one in dossier.failures if one.diagnosis))


def scenarios_of(dossier: Dossier) -> list[Scenario]:
    """The scenarios that have cases to run."""
    return [one.scenario for one in dossier.scenarios if one.scenario]


# --- shown ------------------------------------------------------------------------------------


def sheet_of(dossier: Dossier) -> Sheet:
    """The dossier as a page: head, state, and a section per part. Every value is plain text."""
    people = "; ".join(
        f"{one.name}{f' ({one.role})' if one.role else ''}" for one in dossier.people
    )
    sections = (
        [
            Section(
                "People",
                rows=tuple((p.name, p.role, ", ".join(p.parts)) for p in dossier.people),
                heads=("name", "role", "parts"),
            ),
        ]
        if dossier.people
        else []
    )
    for part, head in PARTS.items():
        sections += _sections(dossier, part, head)
    if lacks := empty(dossier):
        sections.append(
            Section("Still missing", heads=("what",), rows=tuple((one,) for one in lacks))
        )
    if dossier.left_open:
        sections.append(
            Section(
                "Left open on purpose",
                heads=("place", "reason"),
                rows=tuple(dossier.left_open.items()),
            )
        )
    if dossier.conflicts:
        rows = tuple(
            (said.place, who, words)
            for said in dossier.conflicts
            for who, words in said.words.items()
        )
        sections.append(Section("Where people differ", heads=("place", "who", "words"), rows=rows))
    about = dossier.domain.name or "no domain yet"
    return Sheet(
        dossier.title,
        f"{about}{f'; by {people}' if people else ''}",
        told_state(dossier),
        tuple(sections),
    )


def part_of(dossier: Dossier, part: str) -> Sheet:
    """One part as a page of its own."""
    return Sheet(
        "Your dossier", "", told_state(dossier), tuple(_sections(dossier, part, PARTS[part]))
    )


def _sections(dossier: Dossier, part: str, head: str) -> list[Section]:
    """A part as one section, or as several where it holds tables."""
    if part == "comparison":
        return _comparison(dossier.comparison, head)
    if part in ("criteria", "scenarios", "failures"):
        stricter: dict[str, str] = {}
        if part == "criteria":
            stricter = {one.axis: demanded_beside(dossier, one) for one in dossier.criteria}
        return _listed(getattr(dossier, part), head, stricter)
    rows = [
        (label, *_shown(entry))
        for path, label, entry in entries(dossier, part)
        if not path.startswith("design.data")
    ]
    value = getattr(dossier, part)
    told = ""
    if part == "domain" and dossier.domain.name:
        told = f"{dossier.domain.name}. Data: {dossier.domain.pack or 'none yet'}."
        if dossier.domain.pack and dossier.domain.stands_in:
            told += (
                " That pack only stands in: it is of another domain, and so is all that was counted"
                " or measured on it."
            )
    wide = 4 if any(rests_on for *_, rests_on in rows) else 3
    heads = ("", "said", "by", "rests on")[:wide]
    found = [Section(head, told, heads, tuple(row[:wide] for row in rows))]
    if part == "design" and dossier.design.data:
        found.append(_data_plan(dossier.design.data))
    for name, title in (("baseline", "The untouched model, measured"), ("sizes", "At four sizes")):
        table = getattr(value, name, None)
        if table and table.rows:
            found.append(Section(title, "", table.heads, table.rows))
    return found


def _shown(entry: Entry) -> tuple[str, str, str]:
    """Words, whose they are, and what they rest on."""
    if entry.words.strip():
        told = entry.words.strip()
        if entry.proposed and entry.proposed != told:
            return f"{told}\nlabkit: {entry.proposed}", BOTH, "; ".join(entry.rests_on)
        return told, OWN_WORDS, "; ".join(entry.rests_on)
    return entry.proposed, PROPOSED if entry.proposed else "", "; ".join(entry.rests_on)


def _data_plan(data: Sequence[StageData]) -> Section:
    rows = tuple(
        (one.stage.upper(), one.kind.told, one.amount.told, one.source.told, one.checked_by.told)
        for one in data
    )
    return Section(
        "Data, stage by stage", "", ("stage", "kind", "amount", "source", "who checks it"), rows
    )


def _listed(items: Sequence[Any], head: str, stricter: Mapping[str, str]) -> list[Section]:
    """Criteria, scenarios or failure modes: a row each, a column per place.

    stricter: what is demanded elsewhere of a criterion's axis.
    """
    if not items:
        return [Section(head, "None yet.")]
    fields = [
        (name, about.title or name)
        for name, about in type(items[0]).model_fields.items()
        if isinstance(getattr(items[0], name), Entry)
    ]
    falls = [getattr(one, "may_fall", None) for one in items]
    elsewhere = [stricter.get(_name_of(one), "") for one in items]
    allowed = [
        "; ".join(filter(None, ("" if fall is None else f"{fall:.2f}", more)))
        for fall, more in zip(falls, elsewhere, strict=True)
    ]
    heads = ("", *(label for _, label in fields))
    rows = [(_name_of(one), *(getattr(one, name).told for name, _ in fields)) for one in items]
    if any(allowed):
        heads = (*heads, "may fall by at most")
        rows = [(*row, told) for row, told in zip(rows, allowed, strict=True)]
    if any(
        isinstance(getattr(one, "found", ""), str) and getattr(one, "found", "") for one in items
    ):
        heads = (*heads, "measured")
        rows = [(*row, one.found) for row, one in zip(rows, items, strict=True)]
    found = [Section(head, "", heads, tuple(rows))]
    results = [one for one in items if isinstance(one.found, Table) and one.found.rows]
    if results:
        heads = ("", *results[0].found.heads)
        rows = [(_name_of(one), *row) for one in results for row in one.found.rows]
        found.append(Section(f"{head}: measured", "", heads, tuple(rows)))
    return found


def _comparison(found: Compared, head: str) -> list[Section]:
    rows = tuple((row.head, *(_cell(cell) for cell in row.cells)) for row in found.rows)
    told = f"{found.matters.told}" if found.matters.filled else ""
    sections = (
        [Section(head, told, ("", *found.designs), rows)]
        if rows
        else [Section(head, told or "None yet.")]
    )
    if found.measured.rows:
        sections.append(
            Section("Trained and scored", "", found.measured.heads, found.measured.rows)
        )
    return sections


def _cell(entry: Entry) -> str:
    """In the comparison words and proposal stand below each other."""
    return "\n".join(dict.fromkeys(filter(None, (entry.words.strip(), entry.proposed))))


def export(dossier: Dossier, folder: Path) -> list[Path]:
    """Write all of it: dossier.yaml, .html, .pdf and .md, and what the kit runs: design.yaml,
    scenarios.yaml and gate.yaml, as far as there is something in them. Returns the paths.

    An older PDF goes first: where a new one cannot be made, it would be of another dossier. Raises
    InputError for a letter that no font can draw, StoreError when nothing can be written.
    """
    sheet, printed = sheet_of(dossier), folder / "dossier.pdf"
    printed.unlink(missing_ok=True)
    paths = [save_dossier(dossier, folder / FILE)]
    for ending, text in (("html", sheet_page(sheet)), ("md", sheet_markdown(sheet))):
        paths.append(folder / f"dossier.{ending}")
        write_file(paths[-1], text)
    if dossier.design.spec:
        paths.append(folder / "design.yaml")
        save_spec(dossier.design.spec, paths[-1])
    if scenarios := scenarios_of(dossier):
        paths.append(folder / "scenarios.yaml")
        save_scenarios(scenarios, paths[-1])
    if held := must_hold(dossier):
        paths.append(folder / "gate.yaml")
        write_file(paths[-1], yaml.safe_dump({"must_hold": held}, sort_keys=False))
    paths.append(write_pdf("dossier", asdict(sheet), printed))
    return paths


# --- a team -----------------------------------------------------------------------------------


def join(parts: Sequence[Dossier]) -> Dossier:
    """One dossier of several people's parts. What the first lacks is taken from the next: places,
    and members of its lists, by their names.

    Where two differ in words, in a number, in the design or in a table, the first one's stays, and
    all stand in `conflicts`: people decide, not the kit. Raises InputError when there are fewer
    than two.
    """
    if len(parts) < 2:
        raise InputError("joining takes two dossiers or more; name their files")
    who = dict(zip(_callers(parts), parts, strict=True))
    said: list[Said] = []
    data = {
        name: _joined({one: getattr(part, name) for one, part in who.items()}, name, said)
        for name in ("title", "people", *PARTS)
    }
    joined = Dossier(**data)
    left_open: dict[str, str] = {}
    told: dict[tuple, Said] = {}
    columns = _columns({one: part.comparison for one, part in who.items()})
    for one, part in who.items():  # paths count from that dossier's own lists
        moves = _moves(part, joined, columns[one])
        for path, reason in part.left_open.items():
            left_open.setdefault(moves[path], reason)
        for known in part.conflicts:
            place = _moved_place(known.place, moves)
            told.setdefault(
                (place, *known.words.items()), known.model_copy(update={"place": place})
            )
    return joined.model_copy(update={"left_open": left_open, "conflicts": (*told.values(), *said)})


def _callers(parts: Sequence[Dossier]) -> list[str]:
    """How each dossier is called in a conflict: by its people, and by its number where two have
    the same.
    """
    named = [", ".join(one.name for one in part.people) for part in parts]
    taken = {name for name in named if name and named.count(name) == 1}
    found = []
    for number, name in enumerate(named, 1):
        if name not in taken:
            name = f"{name} (dossier {number})" if name else f"dossier {number}"
            while name in taken or name in found:  # somebody has that name
                name += ", without people" if not named[number - 1] else f" (dossier {number})"
        found.append(name)
    return found


def _joined(values: Mapping[str, Any], path: str, said: list[Said]) -> Any:
    """One value of several people's, by who says it. What differs is added to `said`."""
    first = next(iter(values.values()))
    if isinstance(first, Entry):
        words = {who: one.words.strip() for who, one in values.items() if one.words.strip()}
        return Entry(
            words=_first_of(words, path, said) or "",
            proposed=next((one.proposed for one in values.values() if one.proposed), ""),
            rests_on=_union(one.rests_on for one in values.values()),
        )
    if isinstance(first, Compared):
        return _joined_designs(values, path, said)
    if isinstance(first, Part) and not isinstance(first, Table):
        fields = {
            name: _joined({who: getattr(one, name) for who, one in values.items()}, inner, said)
            for name in type(first).model_fields
            if (inner := f"{path}.{name}")
        }
        return type(first)(**fields)
    if isinstance(first, tuple):
        return _joined_list(values, path, said)
    given = {who: one for who, one in values.items() if one not in (None, "", Table(), TITLE)}
    return _first_of(given, path, said, default=first)


def _joined_list(values: Mapping[str, tuple], path: str, said: list[Said]) -> tuple:
    """Members of one name are one, whatever their order."""
    members = [one for given in values.values() for one in given]
    if not all(isinstance(one, Part) for one in members):
        return _union(values.values())
    keyed: dict[str, dict[str, Any]] = {}
    for who, given in values.items():
        for one in given:
            keyed.setdefault(_name_of(one), {})[who] = one
    return tuple(
        _joined(found, f"{path}.{number}", said) for number, found in enumerate(keyed.values(), 1)
    )


def _joined_designs(values: Mapping[str, Compared], path: str, said: list[Said]) -> Compared:
    """Comparisons joined: a column per design, and a row per head. Columns that are compared come
    before those that are not.
    """
    columns = _columns(values)
    specs: dict[str, dict[str, PipelineSpec]] = {}
    earlier: dict[str, PipelineSpec] = {}
    cells: dict[tuple[str, str], dict[str, Entry]] = {}
    for who, found in values.items():
        names = [columns[who][name] for name in found.designs]
        for name, spec in zip(names, found.specs, strict=False):
            specs.setdefault(name, {})[who] = spec
        for called, spec in found.earlier.items():
            earlier.setdefault(columns[who][called], spec)
        for row in found.rows:
            for name, cell in zip(names, row.cells, strict=True):
                cells.setdefault((row.head, name), {})[who] = cell
    heads = dict.fromkeys(head for head, _ in cells)
    designs = tuple(dict.fromkeys((*specs, *(n for one in columns.values() for n in one.values()))))
    rows = [
        Head(
            head=head,
            cells=tuple(
                _joined(cells.get((head, name), {"": Entry()}), f"{path}.rows.{i}.cells.{j}", said)
                for j, name in enumerate(designs, 1)
            ),
        )
        for i, head in enumerate(heads, 1)
    ]
    return Compared(
        designs=designs,
        specs=tuple(
            _first_of(given, f"{path}.specs.{number}", said)
            for number, given in enumerate(specs.values(), 1)
        ),
        earlier={name: spec for name, spec in earlier.items() if name not in specs},
        rows=tuple(rows),
        matters=_joined({who: one.matters for who, one in values.items()}, f"{path}.matters", said),
        measured=_joined(
            {who: one.measured for who, one in values.items()}, f"{path}.measured", said
        ),
    )


def _columns(values: Mapping[str, Compared]) -> dict[str, dict[str, str]]:
    """Who -> each of their designs -> its column when all are joined. One design is one column,
    whatever it is called; two designs of one name are two. Where nothing is known of a column but
    its name, that counts.
    """
    known: dict[str, PipelineSpec | None] = {}
    found: dict[str, dict[str, str]] = {}
    for who, one in values.items():
        mine: dict[str, str] = {}
        found[who] = mine
        for name, spec in _designs_of(one):
            free = {at: there for at, there in known.items() if at not in mine.values()}
            same = [at for at, there in free.items() if spec and there and _same(spec, there)]
            if name in same or (name in free and not (spec and known[name])):
                at = name
            elif same:
                at = same[0]
            else:
                at = _unlike(name, known, f" ({who})")
            mine[name] = at
            known[at] = known.get(at) or spec
    return found


def _designs_of(compared: Compared) -> list[tuple[str, PipelineSpec | None]]:
    """Every column with its design; None where there are words alone."""
    specs: list[PipelineSpec | None] = [*compared.specs]
    specs += [compared.earlier.get(name) for name in compared.designs[len(specs) :]]
    return list(zip(compared.designs, specs, strict=True))


def _same(spec: PipelineSpec, other: PipelineSpec) -> bool:
    """Whether two designs train the same; how much of it is run, and why, does not count."""
    alike = (
        one.model_copy(update={"why": None, "profile": spec.profile, "pack": _folder(one.pack)})
        for one in (spec, other)
    )
    return next(alike) == next(alike)


def _folder(pack: str) -> str:
    """A pack's name, or its folder by its whole path."""
    return str(Path(pack).resolve()) if Path(pack).is_dir() else pack


def _unlike(name: str, taken: Iterable[str], ending: str) -> str:
    """The name, with the ending as often as it takes to be another."""
    while name in taken:
        name += ending
    return name


def _first_of(given: Mapping[str, Any], path: str, said: list[Said], default: Any = None) -> Any:
    """The first that was given; where others differ, all of them are told."""
    told = {who: _told(one) for who, one in given.items()}
    if len(set(told.values())) > 1:
        said.append(Said(place=path, words=told))
    return next(iter(given.values()), default)


def _told(value: Any) -> str:
    """A value as words."""
    if isinstance(value, BaseModel):
        data = value.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return str(value)


def _union(several: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for these in several for one in these))


def _keyed(dossier: Dossier, columns: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Paths with a key that is the same in two dossiers, whatever the order of their lists.

    columns: designs -> what they are called in the other one, where that differs.
    """
    for path, label, _ in entries(dossier):
        part, *rest = path.split(".")
        fixed = ".".join(step for step in rest if not step.isdigit())
        cell = ""
        if part == "comparison" and rest[-1].isdigit():
            name = dossier.comparison.designs[int(rest[-1]) - 1]
            cell = (columns or {}).get(name, name)
        yield path, f"{part}|{fixed}|{label}|{cell}"


def _moved(before: Dossier, made: Dossier, columns: Mapping[str, str] | None = None) -> Dossier:
    """What was made of a dossier, with its paths moved to where their places are now. A place left
    open that is gone falls away (`fell_away` tells of it); a conflict about one stays with its
    part.
    """
    moves = _moves(before, made, columns)
    left_open = {
        moves[path]: reason for path, reason in before.left_open.items() if moves.get(path)
    }
    conflicts = tuple(
        one.model_copy(update={"place": _moved_place(one.place, moves)}) for one in made.conflicts
    )
    return made.model_copy(update={"left_open": left_open, "conflicts": conflicts})


def _moves(
    before: Dossier, made: Dossier, columns: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Where the places of one dossier, and the members of its lists, are in another; "" for one
    that is gone.
    """
    there, here = dict(_keyed(before, columns)), {key: path for path, key in _keyed(made)}
    moves = {path: here.get(key, "") for path, key in there.items()}
    for path, now in [*moves.items()]:  # a member of a list moves with its places
        member, now_member = path.rpartition(".")[0], now.rpartition(".")[0]
        moves[member] = moves.get(member) or now_member
    return moves


def _moved_place(place: str, moves: Mapping[str, str]) -> str:
    """Where a value is now: a place, a field of a member of a list, or its part."""
    member, _, field = place.rpartition(".")
    if place in moves:
        return moves[place] or place.split(".")[0]
    if member in moves:
        return f"{moves[member]}.{field}" if moves[member] else place.split(".")[0]
    return place


def fell_away(before: Dossier, made: Dossier) -> list[str]:
    """What a proposal took out of a dossier because its place is gone, a sentence each."""
    kept = {*made.left_open.values()}
    names = {one.name for one in made.scenarios}
    return [
        f"{path} was left open on purpose ({reason}); the design has no such place any more."
        for path, reason in before.left_open.items()
        if reason not in kept
    ] + [
        f"The scenario '{one.name}' was of the earlier pack, and is gone with it."
        for one in before.scenarios
        if one.name not in names
    ]


# --- what labkit proposes ---------------------------------------------------------------------

START_RULES = ("base obeys nothing", "base or instruct", "merge back")
ORDER_RULES = (
    "no answers taught",
    "sft before cpt",
    "facts by sft alone",
    "dpo needs sft",
    "dpo or orpo",
    "dpo costs instructions",
)
QUALITY_RULES = ("junk costs", "wrong facts cost", "one wording", "duplicates", "distilled unused")
MERGE_RULES = ("merge joins", "merge costs knowledge", "slerp or lerp", "merge back")
SHOWN = 3  # sentences of advice in one place: it is read, not studied
# axis -> what its items ask, in words
ASKS = {
    "knowledge": "can it recall the domain's facts, in the words of the text and in others",
    "reasoning": "can it join what stands in different places, or conclude from a text",
    "instructions": "does it still do what a request says about form",
    "creativity": "are its proposals valid, new and different from each other",
    "general": "does it still know what everybody knows",
}
CASES = 10  # of a scenario that is made of a pack's dev items
# Of scenarios that are made of items: what kind of situation, axis, what a reply must do, and the
# share of cases that must pass.
MADE = (
    (
        "facts of the domain",
        "knowledge",
        "says",
        0.5,
        "A question about a fact that stands in the text is answered with that fact.",
    ),
    (
        "conclusions",
        "reasoning",
        "says",
        0.7,
        "A question that takes more than one step is answered rightly.",
    ),
    (
        "requested forms",
        "instructions",
        "format",
        0.8,
        "A request about the form of an answer is obeyed.",
    ),
)
# What can go wrong: (when, mode, axis watched, fall let through, diagnosis, what makes it likely)
READ, ANSWER, PREFER, MERGED, ANY = "cpt", "sft", "preferences", "merge", "any"
MODES = (
    (
        READ,
        "instruction following is forgotten (catastrophic forgetting)",
        "instructions",
        0.05,
        "instruction loss",
    ),
    (READ, "everyday knowledge is forgotten", "general", 0.05, "general loss"),
    (
        READ,
        "the text is learned by heart, and the facts in it are not",
        "",
        None,
        "verbatim memory",
    ),
    (ANSWER, "what is known cannot be given in a requested form", "", None, "format over-fitting"),
    (
        PREFER,
        "proposals become alike while answers get better",
        "creativity",
        0.1,
        "diversity loss",
    ),
    (PREFER, "good answers themselves become unlikely", "", None, "likelihood displacement"),
    (
        MERGED,
        "one question gets different answers in different wordings",
        "",
        None,
        "inconsistent since merging",
    ),
    (MERGED, "the merge is worse than both parents", "", None, "barrier"),
    (ANY, "the domain's score rises and hides what fell", "", None, "hidden by the benchmark"),
)


def _propose(entry: Entry, told: str, rests_on: Sequence[str] = ()) -> Entry:
    """The entry with a proposal; findings that the learner named stay."""
    named = (*entry.rests_on, *(one for one in rests_on if one not in entry.rests_on))
    return entry.model_copy(
        update={"proposed": told, "rests_on": named if told else entry.rests_on}
    )


def _advised(found: Sequence[Advice], ids: Sequence[str]) -> tuple[str, list[str]]:
    """What some rules say of a design, the best founded first, and the findings behind them."""
    chosen = [one for one in found if one.rule.id in ids][:SHOWN]
    told = " ".join(_sentence(f"{one.rule.sentence} ({one.strength})") for one in chosen)
    behind = [claim for one in chosen for claim in (*one.rule.measured, *one.rule.denies)]
    return told, behind + [f"reported: {claim}" for one in chosen for claim in one.rule.reported]


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def propose_domain(
    dossier: Dossier, pack: Pack, untouched: Scorecard | None = None, *, named: str = ""
) -> Dossier:
    """Step (i) from a pack and the scorecard of the untouched model on it. named: how the pack is
    chosen (its name or folder); by default its name.
    """
    domain = dossier.domain
    items = pack.rows("test")
    keyed = sum("answer" in item for item in items)
    decides = _propose(
        domain.decides,
        f"{keyed} of the pack's {len(items)} test items have one right answer that can be checked; "
        "how pleasantly it is said changes no score.",
    )
    changes: dict[str, Any] = {
        "name": domain.name or pack.title,
        "pack": named or domain.pack or pack.name,
        "decides": decides,
    }
    if untouched:
        of = {
            axis: (untouched.interval(axis), _items_of(untouched, axis))
            for axis in untouched.axes()
        }
        rows = tuple((axis, str(found), str(n)) for axis, (found, n) in of.items())
        weak = sorted((a for a in AXES if a in of), key=lambda a: of[a][0].mean)[:2]
        told = " and ".join(f"{axis} {of[axis][0]} (n={of[axis][1]})" for axis in weak)
        changes["baseline"] = Table(
            heads=("axis", f"{untouched.checkpoint} (95% interval)", "items"), rows=rows
        )
        changes["underperforms"] = _propose(
            domain.underperforms,
            f"The model that nobody has adapted is weakest on this pack in {told}. "
            "Scores by chance differ between kinds of items; the table shows every axis.",
        )
    elif not domain.underperforms.filled:
        changes["underperforms"] = _propose(
            domain.underperforms,
            "Not measured yet: `labkit dossier --from dossier.yaml --measure` scores the untouched "
            "start model, axis by axis.",
        )
    return dossier.model_copy(update={"domain": domain.model_copy(update=changes)})


def propose_domain_on_paper(dossier: Dossier, name: str) -> Dossier:
    """Step (i) of a domain that has no files yet, from the hints where it is one of the list."""
    domain = dossier.domain
    changes: dict[str, Any] = {"name": domain.name or name}
    hints = {known.lower(): one for known, one in domains().items()}.get(name.lower())
    if hints:
        doubts = "; ".join(f"{one.where} ({one.measure})" for one in hints.fails)
        changes["decides"] = _propose(domain.decides, hints.decides)
        changes["underperforms"] = _propose(
            domain.underperforms, f"Worth doubting, and not measured yet: {doubts}."
        )
    return dossier.model_copy(update={"domain": domain.model_copy(update=changes)})


def _items_of(card: Scorecard, axis: str) -> int:
    return sum(item.axis == axis for item in card.items)


def propose_design(dossier: Dossier, spec: PipelineSpec) -> Dossier:
    """Step (ii) from a spec: choices with what the rules say of each, and the data of each stage.

    Raises InputError for an unknown pack or model.
    """
    found, design = advise(spec), dossier.design
    base = Facts(spec).base
    places = {
        "start": (
            f"{spec.model}: {STARTS['base' if base else 'instruct']}.",
            START_RULES[:2],
        ),
        "sequence": (f"{in_words(spec)}.", ORDER_RULES),
        "quality": (
            "A person reads a sample of every source; copies, junk and leaks are filtered and "
            "counted (notebook 02).",
            QUALITY_RULES,
        ),
        "merging": (_merging(spec), MERGE_RULES),
    }
    changes: dict[str, Any] = {"spec": spec}
    for name, (told, ids) in places.items():
        advice, behind = _advised(found, ids)
        changes[name] = _propose(getattr(design, name), f"{told} {advice}".strip(), behind)
    known = {one.stage: one for one in design.data}
    stages = {stage.kind: stage for stage in spec.stages}
    changes["data"] = tuple(
        _stage_data(known.get(kind, StageData(stage=kind)), stage, spec)
        for kind, stage in stages.items()
    ) + tuple(one for one in design.data if one.stage not in stages and _has_words(one))
    return _moved(dossier, dossier.model_copy(update={"design": design.model_copy(update=changes)}))


def _merging(spec: PipelineSpec) -> str:
    if not spec.merge:
        return "No merge."
    merge = spec.merge
    after = f"after stage {spec.merge_after}" if spec.merge_after else "after the last stage"
    return (
        f"{merge.method.upper()} {after} at {schedule.in_words(merge.t)} with "
        f"{merge.general or 'the start model'}; "
        "t is chosen on dev and reported on test."
    )


def _has_words(value: BaseModel) -> bool:
    return any(entry.words.strip() for _, _, entry in _walk(value, "", ""))


def _stage_data(known: StageData, stage: Stage, spec: PipelineSpec) -> StageData:
    if on_paper(spec):
        there: Sequence[str] = stage_splits(stage)
        planned = amount_of(spec.planned or {}, stage.kind)
        rows, words, amount = planned.rows, planned.words, "planned: "
        source = "still to be collected, each source with its licence"
    else:
        pack, amount = load_pack(spec.pack), ""
        there = [split for split in stage_splits(stage) if pack.has(split)]
        read = [row for split in there for row in pack.rows(split)]
        rows = len(read)
        words = sum(len(text.split()) for text in (" ".join(_texts(row)) for row in read))
        source = f"pack {pack.name} ({pack.title}), {pack.licence}"
    replay = f"; {stage.replay:.0%} of the rows are general ones" if stage.replay else ""
    return known.model_copy(
        update={
            "kind": _propose(known.kind, f"{', '.join(there) or 'none'} of the pack{replay}"),
            "amount": _propose(
                known.amount, f"{amount}{rows:,} rows, {words:,} words, {stage.steps} steps"
            ),
            "source": _propose(known.source, source),
            "checked_by": _propose(
                known.checked_by,
                "labkit pack check reads every row for form and leaks; a person of the domain, "
                "still to be named, reads a sample for truth",
            ),
        }
    )


def _texts(row: dict) -> Iterator[str]:
    """Everything that a training row says."""
    if "text" in row:
        yield row["text"]
    for key in ("messages", "prompt", "chosen", "rejected"):
        said = row.get(key, ())
        yield from ([said] if isinstance(said, str) else [turn["content"] for turn in said])


def propose_criteria(dossier: Dossier, pack: Pack | None) -> Dossier:
    """Step (iii), criteria: what the pack's items ask on each axis, and how far each may fall.

    pack: None while there is none.
    """
    known: dict[str, Criterion] = {one.axis: one for one in dossier.criteria}
    made = []
    for axis, asks in ASKS.items():
        of = [item for item in pack.rows("test") if item["axis"] == axis] if pack else []
        kinds = ", ".join(dict.fromkeys(item.get("kind", axis) for item in of))
        asked = f"{asks[:1].upper()}{asks[1:]}"
        if of:
            told = f"{asked}: {len(of)} test items ({kinds})."
        elif pack:
            told = f"{asked}. {_sentence(pack.told_no_items('test', axis))}"
        else:
            told = f"{asked}. Its test items are still to be written."
        one = known.get(axis) or Criterion.model_validate(
            {"axis": axis, "may_fall": DEFAULT_MUST_HOLD.get(axis) if of or not pack else None}
        )
        made.append(one.model_copy(update={"asks": _propose(one.asks, told)}))
    return _moved(dossier, dossier.model_copy(update={"criteria": tuple(made)}))


def propose_scenarios(dossier: Dossier, pack: Pack, model: str) -> Dossier:
    """Step (iii), scenarios: those the pack ships, or else some made of its dev items, that a model
    of this kind is asked. A learner's own stay.
    """
    shipped = _scenarios_of(pack, model)
    known = {one.name: one for one in dossier.scenarios}
    for scenario in shipped:
        one = known.get(scenario.name) or TestScenario(name=scenario.name)
        known[one.name] = one.model_copy(update={"scenario": one.scenario or scenario})
    made = dossier.model_copy(update={"scenarios": tuple(map(with_signs, known.values()))})
    return _moved(dossier, made)


def _scenarios_of(pack: Pack, model: str) -> list[Scenario]:
    """What a pack ships, or else what is made of its dev items."""
    has_some = (pack.folder / SCENARIOS).is_file()
    return list(pack_scenarios(pack)) if has_some else _made(pack, model)


def with_signs(one: TestScenario) -> TestScenario:
    """The scenario with signs proposed by its pass rule; one without cases has none yet."""
    if one.scenario is None:
        return one
    n, least = len(one.scenario.cases), one.scenario.at_least
    return one.model_copy(
        update={
            "success": _propose(
                one.success, f"{one.scenario.about} At least {least:.0%} of its {n} cases pass."
            ),
            "failure": _propose(
                one.failure,
                f"Fewer than {least:.0%} pass, or fewer than before training; the first case that "
                "fails shows how.",
            ),
        }
    )


def _made(pack: Pack, model: str) -> list[Scenario]:
    """Scenarios of a pack that ships none, from its dev items."""
    tiny = size_of(model) == "tiny"
    rows = [row for row in pack.rows("dev") if "messages" in row and is_for(row, tiny=tiny)]
    made = []
    for name, axis, check, least, about in MADE:
        of = [row for row in rows if row["axis"] == axis and not row.get("kwargs")]
        key = "answer" if check == "says" else "checks"
        cases = [
            {"ask": row["messages"][-1]["content"], "expect": {check: row[key]}}
            for row in of
            if row.get(key)
        ][:CASES]
        if cases:
            made.append(
                make_scenario({"name": name, "about": about, "at_least": least, "cases": cases})
            )
    return made


def propose_scale(dossier: Dossier, spec: PipelineSpec, sizes: Sequence[AtSize] = ()) -> Dossier:
    """Step (iv) from a spec. sizes: it planned at several sizes (planner.at_sizes)."""
    scale = dossier.scale
    changes: dict[str, Any] = {
        "needed": _propose(
            scale.needed,
            f"{size_note(spec)} Begin with the smallest size whose untouched model is above chance "
            "on the axes that must hold, and measure.",
        ),
        "small": _propose(
            scale.small,
            below_two_billion(spec, sizes)
            if sizes
            else f"Reported elsewhere: {reported('size')}. What labkit measured at its own sizes "
            "stands in docs/scale.md; neither says what happens between.",
            ("reported: size",),
        ),
        "given_up": _propose(
            scale.given_up,
            "First what costs only time (fewer rows at once, checkpointing), then trained "
            "parameters (LoRA, which also learns less), then length of rows, and last the size.",
            BY_ID["lora learns less"].measured,
        ),
    }
    if sizes:
        changes["sizes"] = Table(heads=SIZE_HEADS, rows=tuple(size_rows(sizes)))
    elif scale.sizes.rows:
        del changes["small"]  # what was said with the table stays beside it
    return dossier.model_copy(update={"scale": scale.model_copy(update=changes)})


def propose_comparison(dossier: Dossier, found: Comparison) -> Dossier:
    """Step (v) from a comparison, with its scores once it was trained.

    Words stay with their design: the learner's own first, and an alternative where it trains the
    same. Scores of other designs go. Columns and rows that the comparison does not have stay when
    somebody wrote in them, a design that is gone as an earlier one.
    """
    mine = found.candidates[0].spec.why
    own = (
        dict(zip(HEADS, (mine.approach, mine.benefits, mine.risks, "", mine.suits), strict=True))
        if mine
        else {}
    )
    before = {row.head: row.cells for row in dossier.comparison.rows}
    names = [candidate.name for candidate in found.candidates]
    specs = tuple(candidate.spec for candidate in found.candidates)
    there = _designs_of(dossier.comparison)
    at = _columns_before(dossier.comparison, found)
    beyond: dict[int, str] = {}  # columns of designs that are gone -> how they are called now
    for number, (name, spec) in enumerate(there):
        if number not in at and any(cells[number].words for cells in before.values()):
            called = name
            if spec and name not in dossier.comparison.earlier:
                called = f"{EARLIER}{in_words(spec)}"
            elif name in names:
                called = f"{EARLIER}{name}"
            beyond[number] = _unlike(called, (*names, *beyond.values()), ", another")
    proposals = dict(found.rows)
    rows = []
    for head in dict.fromkeys((*proposals, *before)):
        kept, told = before.get(head, ()), proposals.get(head, ())
        if head not in proposals and not any(cell.words for cell in kept):
            continue
        made = []
        for number, old in enumerate(at):
            entry = kept[old] if kept and old is not None else Entry()
            if number == 0 and not entry.words and own.get(head, "").strip():
                entry = entry.model_copy(update={"words": own[head].strip()})
            lines = told[number] if number < len(told) else ()
            made.append(
                _propose(
                    entry, "\n".join(one for one in lines if one.strip() != entry.words.strip())
                )
            )
        made += [kept[old] if kept else Entry() for old in beyond]
        rows.append(Head(head=head, cells=tuple(made)))
    changes: dict[str, Any] = {
        "designs": (*names, *beyond.values()),
        "specs": specs,
        "earlier": {
            called: spec for old, called in beyond.items() if (spec := there[old][1]) is not None
        },
        "rows": tuple(rows),
        "matters": _propose(dossier.comparison.matters, _matters(found)),
    }
    if found.measured:
        heads, scores = score_rows(found.measured)
        changes["measured"] = Table(heads=heads, rows=tuple(scores))
    elif specs != dossier.comparison.specs:
        changes["measured"] = Table()
    columns = dict.fromkeys(dossier.comparison.designs, "")  # a column that is gone has no name
    columns |= {there[old][0]: name for name, old in zip(names, at, strict=True) if old is not None}
    columns |= {there[old][0]: called for old, called in beyond.items()}
    compared = dossier.comparison.model_copy(update=changes)
    return _moved(dossier, dossier.model_copy(update={"comparison": compared}), columns)


def _columns_before(compared: Compared, found: Comparison) -> list[int | None]:
    """For each design of a comparison the column that it had, from 0; None for a new one.

    Columns of which only the name is known are found by that. The learner's own design keeps its
    words while they change it.
    """
    there = _designs_of(compared)
    own, now = (compared.specs or (None,))[0], found.candidates[0].spec

    def again(before: PipelineSpec | None, spec: PipelineSpec) -> bool:
        if before is None or own is None:
            return False
        seed = before.seed - own.seed + now.seed  # all of them are run at the session's own
        return _same(before.model_copy(update={"seed": seed}), spec)

    at: list[int | None] = []
    for one in found.candidates:
        same = (i for i, (_, spec) in enumerate(there) if i not in at and again(spec, one.spec))
        at.append(next(same, None))
    if at[0] is None and there and 0 not in at:
        at[0] = 0
    for number, one in enumerate(found.candidates):
        if at[number] is None:
            named = (
                i
                for i, (name, spec) in enumerate(there)
                if spec is None and name == one.name and i not in at
            )
            at[number] = next(named, None)
    return at


def _matters(found: Comparison) -> str:
    choices = "; ".join(f"{one.name}: {one.choice}" for one in found.candidates[1:])
    if not found.measured:
        return f"What differs: {choices}. Which of it matters here is not measured yet."
    told = [
        f"{one.candidate} in {one.axis} ({one.verdict})"
        for one in found.measured.differences
        if one.verdict != "not distinguishable"
    ]
    if not told:
        return f"What differs: {choices}. No axis tells the designs apart with these items."
    return f"What differs: {choices}. Told apart from your design: {'; '.join(told)}."


def propose_failures(dossier: Dossier, spec: PipelineSpec) -> Dossier:
    """Step (vi) from a spec: how this design may fail, with the diagnosis that would show it."""
    kinds = {stage.kind for stage in spec.stages}
    here = {
        READ: READ in kinds,
        ANSWER: ANSWER in kinds,
        PREFER: bool(kinds & {*PREFERENCE_STAGES}),
        MERGED: spec.merge is not None,
        ANY: True,
    }
    known = {one.mode: one for one in dossier.failures}
    for when, mode, axis, fall, name in MODES:
        if not here[when]:
            if mode in known and not any(said.words for *_, said in _walk(known[mode], "", "")):
                del known[mode]  # of an earlier design, and nobody has written anything about it
            continue
        test = DIAGNOSES[name]
        one = known.get(mode) or Failure(mode=mode, axis=axis, may_fall=fall, diagnosis=name)
        watched = (
            f"The probe sees {axis} fall on dev items while the stage trains."
            if axis in PROBED
            else "Nothing shows it during training; it is looked for right after the stage."
        )
        beyond = "above" if test.beyond > 0 else "below"
        known[mode] = one.model_copy(
            update={
                "why_here": _propose(one.why_here, _why_here(spec, when)),
                "sign": _propose(one.sign, watched),
                "test": _propose(one.test, f"The diagnosis '{name}': {test.question}"),
                "threshold": _propose(
                    one.threshold,
                    f"its whole 95% interval lies {beyond} {test.threshold:g}"
                    + ("" if fall is None else f"; the gate lets a fall of {fall:.2f} through"),
                ),
                "action": _propose(one.action, _sentence(test.remedy)),
            }
        )
    return _moved(dossier, dossier.model_copy(update={"failures": tuple(known.values())}))


def _why_here(spec: PipelineSpec, when: str) -> str:
    """What in the design makes it likely, as it is written there."""
    if when == MERGED:
        return _merging(spec)
    if when == ANY:
        return "Adaptation is judged by the domain's items first."
    kinds = PREFERENCE_STAGES if when == PREFER else (when,)
    told = [
        f"{stage.kind.upper()} takes {stage.steps} steps at a rate of {stage.learning_rate:g}, "
        f"{'adapters only' if stage.lora else 'all weights'}"
        + (f", {stage.replay:.0%} replay" if stage.kind in ("cpt", "sft") else "")
        for stage in spec.stages
        if stage.kind in kinds
    ]
    return f"{'; '.join(told)}."


def propose_deployment(dossier: Dossier) -> Dossier:
    """What happens after release; docs/deployment.md says more."""
    first = dossier.scenarios[0].name if dossier.scenarios else "the first scenario"
    told = {
        "reviews": "A person of the domain reads every answer before anyone acts on it, until the "
        "measured error rate says otherwise; who, is still to be named.",
        "declines": f"Whatever the scenario '{first}' covers, and every question outside "
        f"{dossier.domain.name or 'the domain'}.",
        "escalates": "To the person who decided before there was a model, with question and answer "
        "attached.",
        "monitors": "The scenarios again on every new checkpoint, and logged answers against the "
        "answers at release, every month.",
        "rolls_back": "The start model or the last checkpoint that passed the gate takes its place "
        "within the day; whoever owns the release decides.",
        "audit": "This dossier, the checkpoints' lineage, gate and scenario results, and the "
        "evidence pack (`labkit evidence-pack`).",
    }
    deployment = dossier.deployment
    changes = {name: _propose(getattr(deployment, name), words) for name, words in told.items()}
    return dossier.model_copy(update={"deployment": deployment.model_copy(update=changes)})


def propose_closing(dossier: Dossier) -> Dossier:
    """The three sentences, from what the other parts say."""
    held = must_hold(dossier)
    kept = ", ".join(f"{axis} (at most {fall:.2f} lower)" for axis, fall in held.items())
    told = {
        "sequence": dossier.design.sequence.proposed,
        "kept": f"Must hold: {kept}. Shall grow: knowledge of {dossier.domain.name}."
        if held
        else "",
        "fails": "; ".join(one.mode for one in dossier.failures[:SHOWN]),
    }
    changes = {
        name: _propose(getattr(dossier.closing, name), words) for name, words in told.items()
    }
    return dossier.model_copy(update={"closing": dossier.closing.model_copy(update=changes)})


def proposed(
    spec: PipelineSpec,
    dossier: Dossier | None = None,
    *,
    untouched: Scorecard | None = None,
    found: Comparison | None = None,
    sizes: Sequence[AtSize] = (),
) -> Dossier:
    """Every part proposed from a spec. What the learner wrote stays as it is; what was counted or
    measured of another design or pack goes, and `fell_away` tells of places that went.

    untouched: the start model's scorecard on the pack. found: the design beside its alternatives;
    by default in words only, beside the dossier's own alternatives where its design is still this
    one. sizes: the design planned at several sizes. A design on paper has no scenarios of labkit's.
    Raises InputError for an unknown pack or model.
    """
    before = _without_old(dossier, spec) if dossier else Dossier()
    pack = None if on_paper(spec) else load_pack(spec.pack)
    made = (
        propose_domain(before, pack, untouched, named=spec.pack)
        if pack
        else propose_domain_on_paper(before, spec.pack)
    )
    made = propose_criteria(propose_design(made, spec), pack)
    if pack:
        made = propose_scenarios(made, pack, spec.model)
    made = propose_scale(made, spec, sizes)
    beside_it = found or describe(candidates_of(spec, _alternatives(before, spec)))
    made = propose_comparison(made, beside_it)
    return propose_closing(propose_deployment(propose_failures(made, spec)))


def _without_old(dossier: Dossier, spec: PipelineSpec) -> Dossier:
    """The dossier without what was measured of another design, and of another pack without all that
    came from that.
    """
    was, domain = dossier.design.spec, dossier.domain
    named = was.pack if was else domain.pack
    other_pack = bool(named) and _folder(named) != _folder(spec.pack)
    other_model = was is not None and was.model != spec.model
    if not other_pack and (
        was is None or (_same(was, spec) and was.profile == spec.profile)  # measured at a profile
    ):
        return dossier
    changes: dict[str, Any] = {}
    if other_pack or other_model:
        changes |= {
            "baseline": Table(),
            "underperforms": domain.underperforms.model_copy(update={"proposed": ""}),
        }
    scenarios = dossier.scenarios
    if other_pack:
        old = load_pack(named) if pack_is_there(named) else None
        changes |= {"decides": domain.decides.model_copy(update={"proposed": ""}), "pack": ""}
        if domain.name in (named, old.title if old else ""):
            changes |= {"name": "", "stands_in": None}
        if old:
            scenarios = _without_cases_of(scenarios, old, was.model if was else spec.model)
    made = dossier.model_copy(
        update={
            "domain": domain.model_copy(update=changes),
            "scenarios": tuple(one.model_copy(update={"found": Table()}) for one in scenarios),
            "criteria": tuple(
                one.model_copy(update={"found": Table()}) for one in dossier.criteria
            ),
            "failures": tuple(one.model_copy(update={"found": ""}) for one in dossier.failures),
            "scale": dossier.scale.model_copy(update={"sizes": Table()}),
            "comparison": dossier.comparison.model_copy(update={"measured": Table()}),
        }
    )
    return _moved(dossier, made)


def _without_cases_of(
    scenarios: Sequence[TestScenario], pack: Pack, model: str
) -> tuple[TestScenario, ...]:
    """The scenarios without the cases that came from a pack; those that nobody wrote about go."""
    theirs = {one.name: one for one in _scenarios_of(pack, model)}
    kept = []
    for one in scenarios:
        if one.scenario is None or theirs.get(one.name) != one.scenario:
            kept.append(one)
        elif _has_words(one):
            signs = {
                name: getattr(one, name).model_copy(update={"proposed": ""})
                for name in ("success", "failure")
            }
            kept.append(one.model_copy(update={"scenario": None, **signs}))
    return tuple(kept)


def _alternatives(dossier: Dossier, spec: PipelineSpec) -> list[Alternative]:
    """The dossier's alternatives to its own design; for another design those the rules propose."""
    at = {"profile": spec.profile, "seed": spec.seed}
    mine, *others = (one.model_copy(update=at) for one in dossier.comparison.specs or (spec,))
    usual = propose(spec)
    if mine != spec or not others:
        return usual
    known = {spec_text(one.spec): one for one in usual}
    return [
        known.get(spec_text(one)) or Alternative(difference_in_words(spec, one), one)
        for one in others
    ]


def proposed_on_paper(dossier: Dossier) -> Dossier:
    """What can be proposed before there is a design: from the pack, where it is there already, and
    what holds for any.
    """
    named = dossier.domain.pack
    pack = load_pack(named) if pack_is_there(named) else None
    dossier = (
        propose_domain(dossier, pack, named=named)
        if pack
        else propose_domain_on_paper(dossier, dossier.domain.name)
    )
    dossier = propose_criteria(dossier, pack)
    return propose_closing(propose_deployment(dossier))
