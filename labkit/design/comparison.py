"""Designs side by side, in words before they are trained and in scores after.

A comparison is of a learner's own design with alternatives that differ from it in one stated choice
each. Its table says what each design is, promises, risks, takes and suits. The words are the
learner's where there are any, and the rules' advice. Scores are paired with the first design's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.base.errors import SpecError
from labkit.base.pages import plain_table, signed, template, write_pdf
from labkit.base.records import AXIS_NAMES
from labkit.base.stats import Interval, holm, p_value, told_verdict, verdict, with_run_noise
from labkit.base.store import Store, write_file
from labkit.data.packs import load_pack
from labkit.data.published import run_noise_of
from labkit.design.designer import in_words, is_local, missing_files
from labkit.design.planner import SpecPlan, gpu, on_cards, plan_spec, uncounted_rows
from labkit.design.planner_memory import on_paper
from labkit.design.rules import Advice, Alternative, Facts, advise, size_note
from labkit.evaluate.scorecards import Scorecard, compare_axis
from labkit.evaluate.scoring import score_checkpoint
from labkit.merge import schedule
from labkit.models.architecture import Uncounted, parameters_of
from labkit.train.pipeline import run_spec
from labkit.train.specs import PREFERENCE_STAGES, Lora, PipelineSpec, Stage, load_spec, save_spec

HEADS = (
    "Approach",
    "Expected benefits",
    "Potential risks",
    "Resource requirements",
    "Suitable scenarios",
)
# Where the learner's own words stand: field of `why` -> what it is called.
MATTERS = "why this matters more here"
OWN_WORDS = {
    **dict(zip(("approach", "benefits", "risks"), HEADS, strict=False)),
    "suits": HEADS[-1],
    "matters": MATTERS,
}
CARD = "H100"  # that a model on the hub is planned on
START = "start model"
ADVICE_SHOWN = 4  # of each kind, the best founded first: a cell is read, not studied


@dataclass(frozen=True)
class Candidate:
    """A design in a comparison. name: how it is called. choice: what differs from the first design;
    empty for that one. worth: why that is worth comparing, with the finding it rests on.
    """

    name: str
    spec: PipelineSpec
    choice: str = ""
    worth: str = ""


@dataclass(frozen=True)
class Difference:
    """A candidate against the first design on one axis; interval with the noise between training
    seeds, p after Holm for all that were `compared`.
    """

    candidate: str
    axis: str
    runs: Interval
    p: float
    compared: int = 1

    @property
    def verdict(self) -> str:
        if self.p > 0.05:
            return "not distinguishable"
        return (
            "higher"
            if verdict(self.runs) == "supported"
            else "lower"
            if verdict(self.runs) == "contradicted"
            else "not distinguishable"
        )

    @property
    def told(self) -> str:
        return told_verdict(self.verdict, self.runs, self.compared)


@dataclass(frozen=True)
class Measured:
    """Scorecards of every candidate and of the start model on the test split, and the paired
    differences.
    """

    cards: dict[str, Scorecard]
    differences: tuple[Difference, ...]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A table of words, and once trained a table of scores."""

    candidates: tuple[Candidate, ...]
    rows: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    notes: tuple[str, ...]
    measured: Measured | None = None


def candidates_of(spec: PipelineSpec, alternatives: Sequence[Alternative]) -> tuple[Candidate, ...]:
    """The learner's design and its alternatives, named."""
    return (
        Candidate("Your design", spec),
        *(
            Candidate(f"Alternative {i}", other.spec, other.choice, other.why)
            for i, other in enumerate(alternatives, 1)
        ),
    )


def read_candidates(paths: Sequence[Path]) -> tuple[Candidate, ...]:
    """Designs from files, the first one being the learner's.

    Raises SpecError when they cannot be compared.
    """
    if len(paths) < 2:
        raise SpecError("a comparison needs at least two designs; name two or more spec files")
    specs = [load_spec(path) for path in paths]
    for path, spec in zip(paths, specs, strict=True):
        if spec.pack != specs[0].pack and not _same_items(spec, specs[0]):
            raise SpecError(
                f"{path}: pack is {spec.pack!r}, but {paths[0]} has {specs[0].pack!r}; "
                "designs are compared on one pack, or on packs with the same test items"
            )
        if spec.profile != specs[0].profile:
            raise SpecError(
                f"{path}: profile is {spec.profile!r}, but {paths[0]} has "
                f"{specs[0].profile!r}; compare at one profile"
            )
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return tuple(
        Candidate(name, spec, difference_in_words(specs[0], spec))
        for name, spec in zip(names, specs, strict=True)
    )


def _same_items(spec: PipelineSpec, other: PipelineSpec) -> bool:
    """Whether two packs have the same evaluation items, as one that was made of the other has."""
    if on_paper(spec) or on_paper(other):
        return False
    prints = {load_pack(one.pack).fingerprint("dev", "test") for one in (spec, other)}
    return len(prints) == 1


def difference_in_words(first: PipelineSpec, other: PipelineSpec) -> str:
    """What two designs chose differently; empty when nothing.

    Of stages that only one has, that it has them.
    """
    told = [
        ("data", Path(first.pack).name, Path(other.pack).name),
        ("model", first.model, other.model),
        ("stages", _kinds(first), _kinds(other)),
        ("merge", _merge_words(first), _merge_words(other)),
        ("seed", first.seed, other.seed),
    ]
    for mine, theirs in zip(first.stages, other.stages, strict=False):
        if mine.kind == theirs.kind:
            told += [
                (
                    f"{mine.kind} {field}",
                    _in_words(getattr(mine, field)),
                    _in_words(getattr(theirs, field)),
                )
                for field in Stage.model_fields
            ]
    return "; ".join(
        f"{name}: {theirs} (not {mine})" for name, mine, theirs in told if mine != theirs
    )


def _in_words(value: object) -> object:
    """A stage's value as a page says it."""
    if isinstance(value, tuple):
        return " and ".join(map(str, value))
    if isinstance(value, Lora):
        four = ", in four bits" if value.four_bit else ""
        return f"adapters of rank {value.rank}, alpha {value.alpha}{four}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else value


def _kinds(spec: PipelineSpec) -> str:
    return "-".join(stage.kind for stage in spec.stages) or "none"


def _merge_words(spec: PipelineSpec) -> str:
    if not spec.merge:
        return "none"
    merge = spec.merge
    after = f" after stage {spec.merge_after}" if spec.merge_after else ""
    with_it = f" with {merge.general}" if merge.general else ""
    return f"{merge.method} at {schedule.in_words(merge.t)}{with_it}{after}"


# --- the table of words -----------------------------------------------------------------------


def describe(
    candidates: Sequence[Candidate], *, card: str = CARD, price: float = 0.0
) -> Comparison:
    """The comparison before anything is trained.

    card, price: of a GPU and its hour, for models on the hub. Raises InputError for a pack, a model
    or a card that is not there.
    """
    advice = [advise(candidate.spec) for candidate in candidates]
    columns = [
        _column(candidate, found, advice[0] if i else (), resources(candidate.spec, card, price))
        for i, (candidate, found) in enumerate(zip(candidates, advice, strict=True))
    ]
    rows = tuple((head, tuple(column[i] for column in columns)) for i, head in enumerate(HEADS))
    notes = dict.fromkeys(size_note(candidate.spec) for candidate in candidates)
    return Comparison(tuple(candidates), rows, (*notes, *only_general(candidates)))


def _column(
    candidate: Candidate,
    found: Sequence[Advice],
    first: Sequence[Advice],
    takes: tuple[str, ...],
) -> tuple[tuple[str, ...], ...]:
    spec = candidate.spec
    why = spec.why.model_dump() if spec.why else {}
    approach = (
        *_own(why, "approach"),
        in_words(spec),
        *((f"differs in: {candidate.choice}",) if candidate.choice else ()),
        *((f"worth comparing: {candidate.worth}",) if candidate.worth else ()),
    )
    return (
        approach,
        (*_own(why, "benefits"), *_advice(found, "benefit", first)),
        (*_own(why, "risks"), *_advice(found, "risk", first)),
        takes,
        (
            *_own(why, "suits"),
            *(f"{MATTERS}: {words}" for words in _own(why, "matters")),
            *suitable(spec),
        ),
    )


def only_general(candidates: Sequence[Candidate]) -> list[str]:
    """Which cells hold only labkit's general advice and none of the learner's words, a sentence per
    design. A reminder, never a block: what a design takes is counted, and needs no words.
    """
    told = []
    for candidate in candidates:
        why = candidate.spec.why.model_dump() if candidate.spec.why else {}
        empty = {field: head for field, head in OWN_WORDS.items() if not _own(why, field)}
        if empty:
            told.append(
                f"{candidate.name} holds only general advice under {', '.join(empty.values())}: "
                "say what counts more in your domain than elsewhere "
                f"({', '.join(f'why.{field}' for field in empty)} of its file)."
            )
    return told


def _own(why: dict[str, str], field: str) -> tuple[str, ...]:
    return (why[field].strip(),) if why.get(field, "").strip() else ()


def _advice(found: Sequence[Advice], says: str, first: Sequence[Advice]) -> tuple[str, ...]:
    """What the rules say, with strength.

    Beside a first design only what is new and what is gone; the rest is counted.
    """
    theirs, known = (
        {a.rule.id: a.rule.sentence for a in some if a.rule.says == says} for some in (found, first)
    )
    new = [
        f"{a.rule.sentence} ({a.strength})"
        for a in found
        if a.rule.id in theirs and a.rule.id not in known
    ]
    gone = [f"no longer: {sentence}" for rule, sentence in known.items() if rule not in theirs]
    shared, hidden = len(theirs.keys() & known.keys()), max(0, len(new) - ADVICE_SHOWN)
    counted = [f"{hidden} more in the advice"] * bool(hidden) + [
        f"{shared} as in the first design"
    ] * bool(shared)
    return (*new[:ADVICE_SHOWN], *gone, *counted)


def resources(spec: PipelineSpec, card: str = CARD, price: float = 0.0) -> tuple[str, ...]:
    """What training a design takes, from the planner; a merge costs no training.

    Of a model on the hub: on the fewest cards of a kind that take it. Its tokens are marked as
    estimated where its tokenizer is not in the local cache; nothing is downloaded to design. price:
    of a GPU-hour; 0 leaves money out. Raises InputError for an unknown card.
    """
    if not is_local(spec.model):
        return _on_cards(spec, card, price)
    try:
        plan: SpecPlan = plan_spec(spec)
    except Uncounted as error:
        return (
            f"{parameters_of(spec.model) / 1e6:,.1f} million parameters",
            *(
                f"{kind}: {steps} steps, {tokens} tokens"
                for kind, steps, _, tokens, _ in uncounted_rows(spec)
            ),
            f"memory and time not counted ({error})",
        )
    told = [f"{plan.parameters / 1e6:,.1f} million parameters"]
    if plan.stages:
        trained = max(stage.trained for stage in plan.stages)
        told += [
            f"{trained / 1e6:,.1f} million trained"
            if trained < plan.parameters
            else "all of them trained",
            f"{plan.tokens:,} tokens, {plan.flops:.1e} FLOPs",
            f"peak memory {plan.peak_gib:.2g} GiB on one device",
        ]
    if plan.seconds:
        low, high = plan.seconds
        span = f"{low:.0f}" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f}"
        told.append(f"about {span} s on this machine")
    if spec.merge:
        told.append("a merge: no training")
    return tuple(told)


def _on_cards(spec: PipelineSpec, card: str, price: float) -> tuple[str, ...]:
    parameters = f"{parameters_of(spec.model) / 1e6:,.1f} million parameters"
    try:
        found = on_cards(spec, gpu(card))
    except Uncounted as error:
        return parameters, f"memory and time not counted ({error})"
    told = [f"{name}: {words}" for name, words in found.rows(price)] if spec.stages else []
    if spec.merge:
        told.append("a merge: no training")
    return (parameters, *told)


def suitable(spec: PipelineSpec) -> tuple[str, ...]:
    """Where a design of this shape is used, as the lesson sorts them."""
    facts, told = Facts(spec), []
    if not facts.of("sft", *PREFERENCE_STAGES) and facts.base:
        told.append("drafting and completing the domain's text, not answering")
    if facts.of("sft"):
        told.append("questions about the domain")
    if facts.of(*PREFERENCE_STAGES):
        told.append(
            "answers that must keep to stated preferences, such as naming evidence and limits"
        )
    keeps = (
        spec.merge is not None
        or any(stage.replay for stage in spec.stages)
        or any(stage.lora for stage in spec.stages)
    )
    if not facts.base or spec.merge:
        told.append(
            "one model that serves general requests as well"
            if keeps
            else "a specialist beside a general model, with a router before them"
        )
    if any(stage.lora for stage in spec.stages):
        told.append("several domains on one set of weights")
    return tuple(told)


# --- measured ---------------------------------------------------------------------------------


def train_and_score(
    found: Comparison,
    *,
    store: Store | None = None,
    progress: Callable | None = None,
    told: Callable[[str], None] = lambda text: None,
    watch: Callable | None = None,
) -> Comparison:
    """Train every candidate and score it beside the start model; shared stages are trained once.
    watch: as run_spec takes it.

    Differences are the other candidates minus the first, on every axis and control that the pack
    has. Raises what run_spec raises.
    """
    import time

    began, first = time.perf_counter(), found.candidates[0].spec
    if on_paper(first):
        raise SpecError(missing_files(first))
    pack, cards = load_pack(first.pack), {}
    for candidate in found.candidates:
        told(f"{candidate.name}: {in_words(candidate.spec)}")
        made = run_spec(candidate.spec, store=store, progress=progress, watch=watch)[-1]
        told(f"{candidate.name}: scoring")
        cards[candidate.name] = score_checkpoint(
            made, pack, profile_name=first.profile, name=candidate.name
        )
    cards = {
        START: score_checkpoint(first.model, pack, profile_name=first.profile, name=START),
        **cards,
    }
    measured = Measured(
        cards, differences_to_first(found.candidates, cards), time.perf_counter() - began
    )
    return Comparison(found.candidates, found.rows, found.notes, measured)


def differences_to_first(
    candidates: Sequence[Candidate], cards: dict[str, Scorecard]
) -> tuple[Difference, ...]:
    """Every other candidate minus the first on each axis and control, corrected for having looked
    at all of them (Holm).
    """
    first, looked = cards[candidates[0].name], []
    for candidate in candidates[1:]:
        for axis in first.axes():
            found = with_run_noise(
                compare_axis(first, cards[candidate.name], axis), run_noise_of(axis)
            )
            looked.append((candidate.name, axis, found))
    corrected = holm([p_value(found) for *_, found in looked])
    return tuple(
        Difference(name, axis, found, p, len(looked))
        for (name, axis, found), p in zip(looked, corrected, strict=True)
    )


def score_rows(measured: Measured) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: the scores of each model, then each difference to the first design with its
    verdict in words.
    """
    cards = measured.cards
    axes = next(iter(cards.values())).axes()
    first = next(name for name in cards if name != START)
    told = {(d.candidate, d.axis): f"{signed(d.runs)} {d.told}" for d in measured.differences}
    scores = [(name, *(str(card.interval(axis)) for axis in axes)) for name, card in cards.items()]
    others = {d.candidate: d.runs.covers for d in measured.differences}
    return ("", *axes), scores + [
        (f"{name} − {first} ({covers})", *(told.get((name, axis), "") for axis in axes))
        for name, covers in others.items()
    ]


# --- written out ------------------------------------------------------------------------------

TITLE = "Three designs, compared"


def as_data(found: Comparison) -> dict:
    """Plain values, in the shape of the PDF's template; HTML and Markdown are made of the same."""
    first = found.candidates[0].spec
    measured, notes = None, list(found.notes)
    if found.measured:
        heads, rows = score_rows(found.measured)
        measured = {"heads": list(heads), "rows": [list(row) for row in rows]}
        notes.append(
            "Scores: share right with its 95% interval, test split, one training seed "
            f"({first.seed}). Differences are paired, their intervals hold the noise "
            "between training seeds that labkit measured at 1 million parameters, and "
            f"verdicts are corrected for {len(found.measured.differences)} comparisons "
            "(Holm)."
        )
    return {
        "title": TITLE if len(found.candidates) == 3 else "Designs, compared",
        "subtitle": f"pack {first.pack}, profile {first.profile}",
        "designs": [candidate.name for candidate in found.candidates],
        "rows": [
            {"head": head, "cells": [list(cell) for cell in cells]} for head, cells in found.rows
        ],
        "measured": measured,
        "notes": notes,
    }


def as_html(found: Comparison) -> str:
    """The comparison as an escaped HTML fragment."""
    data = as_data(found)
    words = plain_table(
        ("", *data["designs"]),
        [(row["head"], *map(sentences, row["cells"])) for row in data["rows"]],
    )
    scores = ""
    if data["measured"]:
        # an axis to a row: there are more axes than designs, and a page is not wide
        _, *axes = data["measured"]["heads"]
        names, *columns = zip(*data["measured"]["rows"], strict=True)
        rows = [(AXIS_NAMES[axis], *column) for axis, column in zip(axes, columns, strict=True)]
        scores = plain_table(("axis", *names), rows)
    return words + scores + plain_table(("notes",), [(note,) for note in data["notes"]])


def sentences(parts: Sequence[str]) -> str:
    """Parts as sentences; what begins with a name or a sign keeps it as it is."""

    def one(part: str) -> str:
        first = part.split(" ")[0]
        begins = part[:1].upper() if first.isalpha() and first != "t" else part[:1]
        return f"{begins}{part[1:]}{'' if part.endswith(('.', '?')) else '.'}"

    return " ".join(one(part) for part in parts if part)


def as_markdown(found: Comparison) -> str:
    data = as_data(found)
    lines = [
        f"# {data['title']}",
        "",
        data["subtitle"],
        "",
        *_table(
            ["", *data["designs"]],
            [[f"**{row['head']}**", *(cell for cell in row["cells"])] for row in data["rows"]],
        ),
    ]
    if data["measured"]:
        lines += [
            "",
            "## Measured",
            "",
            *_table(data["measured"]["heads"], data["measured"]["rows"]),
        ]
    return "\n".join([*lines, "", *(f"- {_cell(note)}" for note in data["notes"]), ""])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | list[str]]]) -> list[str]:
    return [_line(heads), _line(["---"] * len(heads)), *map(_line, rows)]


def _line(cells: Sequence[str | list[str]]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(cell: str | list[str]) -> str:
    """A cell of a Markdown table: one line, its own bars escaped, no tag of it read as HTML."""
    from html import escape

    parts = [
        escape(part, quote=False).replace("|", r"\|").replace("\n", " ")
        for part in ([cell] if isinstance(cell, str) else cell)
    ]
    return "<br>".join(parts)


def export(found: Comparison, folder: Path) -> list[Path]:
    """comparison.md, .html and .pdf in a folder, and every design as a file to edit and compare
    again. Raises StoreError.
    """
    from markupsafe import Markup

    data, paths = (
        as_data(found),
        [folder / f"comparison.{ending}" for ending in ("md", "html", "pdf")],
    )
    for candidate in found.candidates:
        save_spec(
            candidate.spec,
            folder / f"{re.sub(r'[^a-z0-9]+', '-', candidate.name.lower()).strip('-')}.yaml",
        )
    write_file(paths[0], as_markdown(found))
    body = Markup("<h1>{}</h1><p>{}</p>").format(data["title"], data["subtitle"]) + Markup(
        as_html(found)
    )
    write_file(paths[1], template("page.html.j2").render(title=data["title"], body=body))
    write_pdf("comparison", data, paths[2])
    return paths
