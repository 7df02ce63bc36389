"""Pages for a room: the warm-up for people without a computer, the design worksheet, the cases, the
poster.

The warm-up takes five minutes. The worksheet can be filled in on screen or by hand. The cases are
matched to strategies; their key begins overleaf. The poster shows the findings, from the records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from labkit.base.errors import InputError
from labkit.base.pages import (
    FormField,
    claim_verdict,
    pdf_bytes,
    read_fields,
    signed,
    with_fields,
    write_pdf,
)
from labkit.base.records import AXES
from labkit.base.stats import NOT_DISTINGUISHABLE, Interval
from labkit.base.store import write_file
from labkit.course import journal
from labkit.course.labs import warm_up
from labkit.course.lesson import KNOWN_PACK
from labkit.data.packs import Pack, load_pack
from labkit.data.published import CONTRADICTED, REGISTERS, SUPPORTED, measured, reported
from labkit.design.comparison import HEADS
from labkit.design.designer import SEQUENCES, STARTS, Choices, design, families
from labkit.design.dossier import (
    PARTS,
    Closing,
    Compared,
    Criterion,
    Deployment,
    Design,
    Dossier,
    Entry,
    Failure,
    Head,
    Scale,
    StageData,
    TestScenario,
    checked,
    entries,
    question_of,
)
from labkit.design.fit import TOOLS
from labkit.design.rules import propose
from labkit.train.specs import STAGES, PipelineSpec

WARM_UP, WORKSHEET, CASES = "warm_up.pdf", "design_worksheet.pdf", "cases.pdf"
POSTER = "poster.pdf"
ANSWER_TOKENS = 28  # of an answer on paper: enough to see what kind of answer it is
A, B = "base", "instruct"  # who is A and who is B on the page
DESIGNS = {"mine": "my design", "one": "alternative 1", "two": "alternative 2"}
WATCHED = (*AXES, "general")
WHEN = {"_before": "at the start", "": "at the end"}  # as records name the answers -> as people do
MERGE_ONLY, NOTHING = "none: merge only", "none"
CHANGES: dict[str, dict[str, Any]] = {  # how a stage trains, as the worksheet and as choices say it
    "": {},
    "as is usual for the size": {},
    "replay 0.25": {"replay": 0.25},
    "no replay": {"replay": 0.0},
    "a third of the rate": {"rates": 1 / 3},
    "LoRA adapters": {"lora": True},
}
CHOICES = {  # of a design on the worksheet: field -> label, options
    "start": (
        "Start model",
        tuple(
            f"{family}, {start}"
            for family in families()
            for start in STARTS
            if start in families()[family]
        ),
    ),
    "stages": ("Stages, in order", tuple(sequence or MERGE_ONLY for sequence in SEQUENCES)),
    "reads": ("Reads", ("raw and summaries", "raw", "summaries", "raw, summaries and qa", "qa")),
    "replay": (
        "Replay, rate, LoRA",
        tuple(filter(None, CHANGES)),
    ),
    "merge": (
        "Merge, at which t",
        (
            NOTHING,
            *(
                f"{method}, t=0.5"
                for method in get_args(Choices.model_fields["merge"].annotation)
                if method != NOTHING
            ),
        ),
    ),
}
MERGED = re.compile(
    r"(?P<merge>\w+)(\s*,?\s*t\s*=\s*(?P<t>\d*\.?\d+))?(\s*,?\s*with\s+(?P<merge_with>\S+))?"
)
# Where a choice stands in words when no design can be made of it.
PLACES_OF_CHOICES = {
    "start": "design.start",
    "stages": "design.sequence",
    "reads": "design.quality",
    "replay": "design.quality",
    "merge": "design.merging",
}
COLUMNS = ("Your design", "Alternative 1", "Alternative 2")
ROWS = 3  # of what can be any number: people, stages, scenarios, ways to fail
PERSON = {"name": "Name", "role": "answers for"}
PACK = "Its data: a pack or a folder"
GUESSES = {"before": "start model, guessed", "after": "my design, guessed"}
SHOWN = 60  # characters of a text that found no place
WORKSHEET_HELP = "labkit handout makes an empty worksheet"


def make_handout(folder: Path, pack: str | None = None) -> list[Path]:
    """Write all pages; returns their paths. pack: the domain on the worksheet; without one its
    field stays empty.

    The warm-up asks about the invented world, so it takes an invented pack where `pack` is none.

    Raises InputError for an unknown pack, StoreError when they cannot be written.
    """
    loaded = load_pack(pack or KNOWN_PACK)
    return [
        warm_up_pdf(loaded if loaded.invented else load_pack(KNOWN_PACK), folder / WARM_UP),
        worksheet_pdf(loaded if pack else None, folder / WORKSHEET),
        write_pdf("cases", cases_page(), folder / CASES),
        write_pdf("poster", poster_page(), folder / POSTER),
    ]


# --- the warm-up ------------------------------------------------------------------------------


def warm_up_pdf(pack: Pack, path: Path) -> Path:
    """One side of A4, its figures and answers from the shipped study and models."""
    return write_pdf("warm_up", warm_up_page(pack), path)


def warm_up_page(pack: Pack) -> dict:
    """What templates/warm_up.typ shows. Raises InputError when a kind of question is missing."""
    asked = warm_up.items(pack)
    said = warm_up.ask_both(map(warm_up.question_of, asked), max_tokens=ANSWER_TOKENS)
    effect = warm_up.measured_effect()
    return {
        "title": "Warm-up: guess, then see",
        "subtitle": "Five minutes and a pencil. The solutions stand upside down at the foot: fold "
        "them back first.",
        "reflect": {
            "head": "Before you begin",
            "text": f"{journal.SHORT_FORMS} A sentence each, or a guess; they close the course, "
            "too.",
            "questions": list(journal.CRITICAL_QUESTIONS),
        },
        "models": {
            "head": "One question, two models",
            "text": "Both have a million parameters and have read the same small invented "
            "world: people, and what is public in the field. One has only "
            "read; the other was then taught to answer and to obey requests about "
            "form. The last question is about a private fact, "
            "which stands in no text that either has read. Answers are cut where they get long.",
            "heads": ["both were asked", "A said", "B said"],
            "rows": [
                [question, *(_cut(replies[name]) for name in (A, B))] for question, replies in said
            ],
            "tasks": [
                "Which of them has only read? And what does B's last answer tell you "
                "about the fact?"
            ],
        },
        "merge": {
            "head": "A merge of two models",
            "text": "To teach it the private facts, the general model (B) was trained on the "
            "field's text in a hurry; that made the specialist. Shares of "
            f"test items right, with 95% intervals over {effect.seeds} training runs. "
            "Then every weight of a third model was put between theirs; nothing was "
            "trained.",
            "heads": ["", "general model", "specialist", "merge"],
            "rows": _parents(effect),
            "task": "What share of private facts in a requested form, which takes both, does "
            "the merge get right? Mark your guess.",
        },
        "fold": "fold here",
        "solutions": {
            "head": "Solutions",
            "texts": _solutions(asked[-1], effect),
            "interval": [effect.guessed.low, effect.guessed.mean, effect.guessed.high],
            "interval_text": "The merge, measured: the dot is the mean, the bar its 95% interval.",
        },
        "next": "On a computer: notebook 00_warm_up, then 06_merge. Figures: measured by "
        "python -m studies evidence (docs/scale.md, docs/evidence.md).",
    }


def _cut(reply) -> str:
    return f"{reply.shown}\u00a0…" if reply.cut else reply.shown


def _parents(effect: warm_up.Effect) -> list[list[str]]:
    """What the parents get right alone and together; learners guess the merge's column."""
    models = (effect.general, effect.specialist)
    return [
        [
            words,
            *(str(one.interval(axis)) for one in models),
            "?" if axis == "compositional" else "",
        ]
        for axis, words in warm_up.SHARES.items()
    ]


def _solutions(private: dict, effect: warm_up.Effect) -> list[str]:
    line = measured(warm_up.BEATS_THE_LINE)
    return [
        f"A is the {A} model: nothing ever taught it to answer, so it goes on writing. "
        "B learned how answers look. Its last answer says nothing about the fact "
        f"(which is: {private['answer']}): it never read it and was never taught to "
        "decline. Fluency is no evidence.",
        f"The merge gets {effect.guessed} right; the parents "
        f"{effect.general.interval('compositional')} and "
        f"{effect.specialist.interval('compositional')}. It pays for that: of requests "
        "about "
        f"form it obeys {effect.merge.interval('instructions')}. SLERP puts the weights "
        "on an arc; against a straight line between them the difference is "
        f"{signed(Interval(**line['effect']))} "
        f"over all packs, {line['verdict']}.",
        f"Reported elsewhere: {reported('merge')}.",
    ]


# --- the worksheet ----------------------------------------------------------------------------


def worksheet_pdf(pack: Pack | None, path: Path) -> Path:
    """The dossier as a form to fill in. pack: the domain that stands in its fields at first.

    Raises InputError, StoreError.
    """
    fields = worksheet_fields(pack)
    page = pdf_bytes("worksheet", worksheet_page())
    write_file(path, with_fields(page, fields))
    return path


def _blank() -> Dossier:
    """An empty dossier with as many rows as the worksheet has."""
    rows = [str(number) for number in range(1, ROWS + 1)]
    return Dossier(
        design=Design(data=tuple(StageData(stage=row) for row in rows)),
        criteria=tuple(Criterion.model_validate({"axis": axis}) for axis in WATCHED),
        scenarios=tuple(TestScenario(name=row) for row in rows),
        comparison=Compared(
            designs=COLUMNS,
            rows=tuple(Head(head=head, cells=(Entry(),) * len(COLUMNS)) for head in HEADS),
        ),
        failures=tuple(Failure(mode=row) for row in rows),
    )


def worksheet_page() -> dict:
    """What templates/worksheet.typ shows. The name of a field is the path of a dossier's place,
    except for the drop-downs, the guesses, the tools and the course's three questions.
    """
    return {
        "title": "Design worksheet",
        "subtitle": "A dossier to fill in, on screen or by hand, before anything is trained. "
        "labkit dossier --from design_worksheet.pdf reads what was typed in and proposes the rest.",
        "pages": [_domain_and_pipeline(), _criteria_to_comparison(), _failures_to_closing()],
        "foot": "t=0 is the general model, t=1 the domain model. Choose on dev, report on test, "
        "once.",
    }


def _domain_and_pipeline() -> list[dict]:
    people = [
        _box(f"people.{row}.{name}", label=label)
        for row in range(1, ROWS + 1)
        for name, label in PERSON.items()
    ]
    choices = [
        [label, *(_box(f"{one}_{name}") for one in DESIGNS)] for name, (label, _) in CHOICES.items()
    ]
    domain = [_box("domain.name", label="Domain"), _box("domain.pack", label=PACK)]
    tools = [[_key(f"tool {tool}"), tool] for tool in TOOLS]
    checks = ("kind", "amount", "source", "checked_by")
    return [
        _section("", _block([1], [[_box("title", label="Title")]]), _block([1] * 6, [people])),
        _section(
            PARTS["domain"],
            _block([2, 1], [domain]),
            _block([1, 1], [_asked(23, "domain.decides", "domain.underperforms")]),
            {"line": "Tools to try first:", "boxes": tools},
        ),
        _section(
            PARTS["design"],
            _block([0.5, 1, 1, 1], choices, ["", *DESIGNS.values()]),
            _block([1, 1], [_asked(22, "design.start", "design.sequence")]),
            _block([1, 1], [_asked(22, "design.quality", "design.merging")]),
            _block(
                [0.5, 1, 1, 1, 1],
                _listed("design.data", 15, "stage", *checks),
                ["data of stage", *_heads("design.data", *checks)],
            ),
            text="What is not chosen for an alternative is as in your design. A text of your own "
            "can be typed into every choice.",
        ),
    ]


def _criteria_to_comparison() -> list[dict]:
    criteria = [
        [
            axis,
            _box(f"criteria.{row}.asks", 9.5),
            _box(f"criteria.{row}.may_fall", 9.5),
            *(_box(f"{axis}_{when}", 9.5) for when in GUESSES),
        ]
        for row, axis in enumerate(WATCHED, 1)
    ]
    cells = [
        [
            head,
            *(_box(f"comparison.rows.{row}.cells.{i}", 13) for i in range(1, len(COLUMNS) + 1)),
        ]
        for row, head in enumerate(HEADS, 1)
    ]
    return [
        _section(
            PARTS["criteria"],
            _block(
                [0.6, 3, 0.7, 0.7, 0.7],
                criteria,
                ["axis", *_heads("criteria", "asks"), "may fall by at most", *GUESSES.values()],
            ),
            text="Shares from 0 to 1, on questions held out from training. labkit gate reads what "
            "may fall as must_hold; your guesses are for you.",
        ),
        _section(
            PARTS["scenarios"],
            _block(
                [0.6, 1, 1],
                _listed("scenarios", 14.5, "name", "success", "failure"),
                ["name", *_heads("scenarios", "success", "failure")],
            ),
        ),
        _section(PARTS["scale"], _block([1] * 3, [_asked(20, *_paths("scale", Scale))])),
        _section(
            PARTS["comparison"],
            _block([0.5, 1, 1, 1], cells, ["", *COLUMNS]),
            _block([1], [_asked(11, "comparison.matters")]),
        ),
    ]


def _failures_to_closing() -> list[dict]:
    tests = ("why_here", "sign", "test", "threshold", "action")
    deployment = [_asked(18, *some) for some in _threes(_paths("deployment", Deployment))]
    questions = [
        [question, *(_box(f"critical_{number}{when}", 19) for when in WHEN)]
        for number, question in enumerate(journal.CRITICAL_QUESTIONS, 1)
    ]
    return [
        _section(
            PARTS["failures"],
            _block(
                [1] * 6,
                _listed("failures", 23, "mode", *tests),
                ["way to fail", *_heads("failures", *tests)],
            ),
        ),
        _section(PARTS["deployment"], _block([1] * 3, deployment)),
        _section(PARTS["closing"], _block([1] * 3, [_asked(24, *_paths("closing", Closing))])),
        _section(
            "The course's three questions, at its start and at its end",
            _block([0.8, 1, 1], questions, ["", *WHEN.values()]),
            text=journal.SHORT_FORMS,
        ),
    ]


def _section(head: str, *blocks: dict, text: str = "") -> dict:
    return {"head": head, "text": text, "blocks": list(blocks)}


def _block(columns: Sequence[float], rows: Sequence[list], heads: Sequence[str] = ()) -> dict:
    """Rows of texts and boxes. columns: how wide, beside each other."""
    return {"columns": list(columns), "heads": list(heads), "rows": list(rows)}


def _box(name: str, height: float = 5.6, *, label: str = "", asks: str = "") -> dict:
    """A field. height: in mm. label, asks: what stands above it."""
    return {"field": name, "height": height, "label": label, "asks": asks}


def _asked(height: float, *paths: str) -> list[dict]:
    """Places with what they ask above them."""
    labels = _labels()
    return [_box(one, height, label=labels[one][0], asks=labels[one][1]) for one in paths]


def _listed(part: str, height: float, *names: str) -> list[list[dict]]:
    """A row of fields for each member of a list."""
    return [[_box(f"{part}.{row}.{name}", height) for name in names] for row in range(1, ROWS + 1)]


def _heads(part: str, *names: str) -> list[str]:
    """How the places of a member of a list are called."""
    labels = _labels()
    return [labels[f"{part}.1.{name}"][0].partition(": ")[2] for name in names]


def _labels() -> dict[str, tuple[str, str]]:
    """Path of a place -> what it is called, and what it asks."""
    blank = _blank()
    return {path: (label, question_of(blank, path)) for path, label, _ in entries(blank)}


def _threes(paths: list[str]) -> list[list[str]]:
    return [paths[at : at + 3] for at in range(0, len(paths), 3)]


def _paths(part: str, model: type[BaseModel]) -> list[str]:
    """The places of a part that has no lists."""
    return [
        f"{part}.{name}" for name, about in model.model_fields.items() if about.annotation is Entry
    ]


def worksheet_fields(pack: Pack | None = None) -> list[FormField]:
    """A field for every link of the page, each with its tooltip."""
    tips = {
        path: f"{PARTS[path.partition('.')[0]]}: {label}. {asks}"
        for path, (label, asks) in _labels().items()
    }
    tips |= {
        f"comparison.rows.{row}.cells.{column}": f"{name}: {head.lower()}"
        for row, head in enumerate(HEADS, 1)
        for column, name in enumerate(COLUMNS, 1)
    }
    fields = [FormField(name, tip, "lines") for name, tip in tips.items()]
    given = {"domain.name": pack.title, "domain.pack": pack.name} if pack else {}
    lines = {"title": "Title", "domain.name": "Domain", "domain.pack": PACK}
    for row in range(1, ROWS + 1):
        lines |= {f"people.{row}.{name}": f"Person {row}: {tip}" for name, tip in PERSON.items()}
    for row, axis in enumerate(WATCHED, 1):
        lines[f"criteria.{row}.may_fall"] = f"{axis}: may fall by at most, from 0 to 1"
        lines |= {f"{axis}_{when}": f"{axis}: {tip}" for when, tip in GUESSES.items()}
    fields += [FormField(name, tip, value=given.get(name, "")) for name, tip in lines.items()]
    for row in range(1, ROWS + 1):
        fields += [
            FormField(f"design.data.{row}.stage", f"Row {row}: the stage", "choice", STAGES),
            FormField(f"scenarios.{row}.name", f"Scenario {row}: its name", "lines"),
            FormField(f"failures.{row}.mode", f"Way to fail {row}, in words", "lines"),
        ]
    fields += [
        FormField(_key(f"tool {tool}"), f"Tool to try first: {tool}", "box") for tool in TOOLS
    ]
    fields += [
        FormField(f"critical_{number}{when}", f"{question} Your answer {told}.", "lines")
        for number, question in enumerate(journal.CRITICAL_QUESTIONS, 1)
        for when, told in WHEN.items()
    ]
    return fields + [
        FormField(f"{one}_{name}", f"{words}: {label}", "choice", options)
        for name, (label, options) in CHOICES.items()
        for one, words in DESIGNS.items()
    ]


def _key(words: str) -> str:
    """Words as part of a field's name."""
    return words.lower().replace(" ", "_")


# --- the worksheet, read ----------------------------------------------------------------------


def read_worksheet(path: Path) -> tuple[Dossier, list[str]]:
    """A filled worksheet as a dossier, with the designs that its drop-downs make; and a sentence
    for everything that found no place in it.

    Choices that make no design stand as words. Raises InputError for what is no worksheet of
    labkit's, and for words that a dossier cannot keep.
    """
    found = read_fields(path, help=WORKSHEET_HELP)
    known = [field.name for field in worksheet_fields()]
    if len(known & found.keys()) < len(known) / 2:
        raise InputError(f"{path}: a form, but not labkit's design worksheet; {WORKSHEET_HELP}")
    given = {name: text for name, text in found.items() if text}
    blank = _blank()
    data = blank.model_dump(mode="json")
    words = {path: given.pop(path) for path, _, _ in entries(blank) if path in given}
    told = [
        f"{name}: no field of the worksheet, and kept in the PDF alone: {given.pop(name)[:SHOWN]!r}"
        for name in [*given]
        if name not in known
    ]
    chosen = {one: {name: given.pop(f"{one}_{name}", "") for name in CHOICES} for one in DESIGNS}
    specs = _specs(given.get("domain.pack", ""), chosen, told)
    data["design"]["spec"] = specs[0].model_dump(mode="json") if specs else None
    data["comparison"]["specs"] = [
        one.model_dump(mode="json") for one in specs if len(specs) == len(DESIGNS)
    ]
    for column, one in enumerate(DESIGNS, 1):
        if len(specs) < column:  # choices that make no design are words
            approach = dict.fromkeys(CHOICES, f"comparison.rows.1.cells.{column}")
            _as_words(chosen[one], approach if column > 1 else PLACES_OF_CHOICES, words)
    if not any(path.startswith("comparison.rows") for path in words) and len(specs) < len(DESIGNS):
        data["comparison"] |= {"designs": [], "rows": []}
    for place, text in words.items():
        _put(data, place, {"words": text})
    for row in range(1, len(WATCHED) + 1):
        if text := given.pop(f"criteria.{row}.may_fall", ""):
            share = _share(text)
            if share is None:
                told.append(
                    f"criteria.{row}.may_fall: {text[:SHOWN]!r} is no share; write one from 0 to "
                    "1, such as 0.05"
                )
            else:
                data["criteria"][row - 1]["may_fall"] = share
    for name in ("title", "domain.name", "domain.pack"):
        if name in given:
            _put(data, name, given.pop(name))
    data["people"] = [
        {"name": name or f"person {row}", "role": role}
        for row in range(1, ROWS + 1)
        if any(
            (
                name := given.pop(f"people.{row}.name", ""),
                role := given.pop(f"people.{row}.role", ""),
            )
        )
    ]
    data["criteria"] = [
        one for one in data["criteria"] if one["asks"]["words"] or one["may_fall"] is not None
    ]
    for listed, key in (("design.data", "stage"), ("scenarios", "name"), ("failures", "mode")):
        _keep_named(data, listed, key, given)
    if given:
        told.append(
            f"no part of a dossier, and kept in the PDF alone: {len(given)} of its fields: "
            f"{', '.join(given)}"
        )
    return checked(data, str(path)), told


def _put(data: Any, path: str, value: object) -> None:
    *above, last = [int(step) - 1 if step.isdigit() else step for step in path.split(".")]
    for step in above:
        data = data[step]
    data[last] = value


def _keep_named(data: Any, path: str, key: str, given: dict[str, str]) -> None:
    """The rows of a list in which something was written, by their names or numbers."""
    *above, last = path.split(".")
    for step in above:
        data = data[step]
    kept = []
    for number, row in enumerate(data[last], 1):
        name = given.pop(f"{path}.{number}.{key}", "")
        if name or any(isinstance(one, dict) and one.get("words") for one in row.values()):
            kept.append({**row, key: name or f"{key} {number}"})
    data[last] = kept


def _share(text: str) -> float | None:
    """0.05, 0,05 and 5 % are the same; None for what is no share."""
    found = re.fullmatch(r"(\d*[.,]?\d+)\s*(%?)", text)
    share = float(found[1].replace(",", ".")) / (100 if found[2] else 1) if found else 2
    return share if share <= 1 else None


def _as_words(chosen: dict[str, str], places: dict[str, str], words: dict[str, str]) -> None:
    """Choices that make no design, put before the learner's own words."""
    for place in dict.fromkeys(places.values()):
        lines = [
            f"{CHOICES[name][0]}: {text}."
            for name, text in chosen.items()
            if text and places[name] == place
        ]
        if lines:
            words[place] = "\n".join([*lines, *filter(None, [words.get(place)])])


def _specs(pack: str, chosen: dict[str, dict[str, str]], told: list[str]) -> list[PipelineSpec]:
    """The designs that the drop-downs make: the learner's own with two alternatives, that one
    alone, or none. Why there is none is told.

    An alternative takes from the learner's own what is not chosen for it. Where nothing is chosen
    for one of the two, labkit's proposal stands there.
    """
    if not any(text for column in chosen.values() for text in column.values()):
        return []
    made: list[PipelineSpec] = []
    for one, column in chosen.items():
        try:
            if any(column.values()) or not made:
                own = {name: text or chosen["mine"][name] for name, text in column.items()}
                made.append(_spec(pack, own))
        except InputError as error:
            told.append(f"{DESIGNS[one]}: its choices make no design and stand as words ({error})")
            return made[:1]
    if 1 < len(made) < len(DESIGNS):
        others = [one.spec for one in propose(made[0]) if one.spec not in made][:1]
        made[1:] = made[1:] + others if any(chosen["one"].values()) else others + made[1:]
    return made if len(made) == len(DESIGNS) else made[:1]


def _spec(pack: str, chosen: dict[str, str]) -> PipelineSpec:
    """A design from one column of drop-downs. Raises InputError for what is missing or unknown."""
    for name in ("start", "stages"):
        if not chosen[name]:
            raise InputError(f"{CHOICES[name][0]}: nothing is chosen")
    if not pack:
        raise InputError("domain.pack is empty; name a pack or its folder")
    model, _, start = (part.strip() for part in chosen["start"].rpartition(","))
    choices: dict[str, Any] = {"pack": pack, "model": model or start}
    if model:
        choices["start"] = start
    choices["sequence"] = "" if chosen["stages"] == MERGE_ONLY else chosen["stages"]
    if chosen["reads"]:
        choices["sources"] = tuple(re.split(r"\s*,\s*|\s+and\s+", chosen["reads"]))
    if chosen["replay"] not in CHANGES:
        raise InputError(
            f"{CHOICES['replay'][0]}: {chosen['replay'][:SHOWN]!r} is none of "
            f"{'; '.join(CHOICES['replay'][1])}"
        )
    choices |= CHANGES[chosen["replay"]]
    if chosen["merge"] not in ("", NOTHING):
        merge = MERGED.fullmatch(chosen["merge"])
        if not merge:
            raise InputError(
                f"{CHOICES['merge'][0]}: {chosen['merge'][:SHOWN]!r} cannot be read; write it as "
                "in slerp, t=0.5, with llama-s-instruct"
            )
        choices |= {key: one for key, one in merge.groupdict().items() if one}
        choices["t"] = float(choices.get("t", 0.5))
    return design(**choices)


# --- the cases --------------------------------------------------------------------------------

MEASURED, REPORTED, STUDIES = "measured", "reported", "studies"  # fields of a case


def cases_page() -> dict:
    """What templates/cases.typ shows. Raises InputError when a case cannot be used."""
    found = list(journal.cases().values())
    sources = _sources(found)
    return {
        "title": "Which strategy fits?",
        "subtitle": "Match each case to one strategy. The key begins overleaf.",
        "text": f"{journal.SHORT_FORMS} {journal.STRATEGY_WORDS}",
        "options": list(journal.STRATEGIES),
        "cases": [[case.title, case.case] for case in found],
        "key": {
            "head": "Key",
            "text": "The numbers in brackets name what a reason rests on, in the tables behind "
            "the key. Where DPO and ORPO could not be told apart, the reason says what decides.",
            "rows": [
                [case.title, case.right, case.reason, _rests_on(case, sources)] for case in found
            ],
        },
        "measured": {
            "head": "Measured by labkit's studies",
            "text": journal.SIGNS,
            "heads": ["", "claim", "effect", "scores, seeds", "verdict"],
            "rows": [
                [str(number), *_claim_cells(name)]
                for (kind, name), number in sources.items()
                if kind == MEASURED
            ],
        },
        "elsewhere": {
            "head": "Reported and found elsewhere",
            "rows": [
                [str(number), reported(name) if kind == REPORTED else journal.told_study(name)]
                for (kind, name), number in sources.items()
                if kind != MEASURED
            ],
        },
        "foot": "On a computer the cases are in notebooks 00_warm_up and 10_report. Figures: "
        "measured by python -m studies evidence (docs/evidence.md, docs/data.md, docs/real.md).",
    }


def _sources(found: list[journal.Case]) -> dict[tuple[str, str], int]:
    """What the reasons rest on, each once: kind and name -> its number on the page."""
    named = dict.fromkeys(
        (kind, name)
        for kind in (MEASURED, REPORTED, STUDIES)
        for case in found
        for name in getattr(case, kind)
    )
    return {source: number for number, source in enumerate(named, 1)}


def _rests_on(case: journal.Case, sources: dict[tuple[str, str], int]) -> str:
    numbers = sorted(
        sources[kind, name]
        for kind in (MEASURED, REPORTED, STUDIES)
        for name in getattr(case, kind)
    )
    unmeasured = "" if case.measured else f"{journal.UNMEASURED} "
    return f"{unmeasured}[{', '.join(map(str, numbers))}]"


def _claim_cells(claim: str) -> list[str]:
    row = measured(claim)
    effect = Interval(**row["effect"])
    return [claim, signed(effect), f"{effect.n}, {effect.seeds}", claim_verdict(row)]


# --- the poster ---------------------------------------------------------------------------------

# What hangs on the wall, a question a group: claims of the registers, by their words.
ON_THE_POSTER = {
    "What does reading domain text take away?": (
        "CPT alone (overcooked) lowers instruction following",
        "CPT and SFT (overcooked) lower it too",
    ),
    "What keeps it, against the overcooked recipe?": (
        "25% replay keeps more instruction following than the overcooked recipe",
        "5% replay keeps more instruction following than the overcooked recipe",
        "a third of the learning rate keeps more instruction following than the overcooked recipe",
        "LoRA keeps more instruction following than the overcooked recipe",
        "merging back at t=0.5 keeps more instruction following than the overcooked recipe",
    ),
    "And what does that cost?": (
        "25% replay gives up domain knowledge (free answers) against the overcooked recipe",
        "LoRA gives up domain knowledge (free answers) against the overcooked recipe",
        "merging back at t=0.5 gives up domain knowledge (free answers) against the overcooked "
        "recipe",
    ),
    "Which text, and where to start?": (
        "half the text, clean, teaches more than that half and as much junk, at equal steps",
        "twice the clean text teaches more than half of it, at equal steps",
        "an instruct start follows instructions better than a base start",
        "an instruct start answers more domain questions than a base start",
    ),
    "DPO or ORPO?": (
        "ORPO keeps more instruction following than DPO",
        "DPO ranks held-out pairs better than ORPO",
    ),
    "What does merging give?": (
        "SLERP beats the better parent on items that need both",
        "SLERP beats LERP at the same t on items that need both parents",
        "SLERP beats the better parent in domain knowledge, t chosen on dev by the four axes",
        "merge synergy grows with size: items that need both, per tenfold parameters",
    ),
    "And on a model that people use?": (
        "SmolLM2-135M: CPT-SFT answers more private questions than the untouched model",
        "SmolLM2-135M: CPT-SFT lowers instruction following",
        "SmolLM2-135M: the SLERP merge beats the better parent on items that need both",
    ),
}


def poster_page() -> dict:
    """What the poster shows, in the template's shape; every figure is read from the registers.

    Raises InputError for a claim that no register holds.
    """
    groups = [
        {"head": head, "rows": [_poster_row(claim) for claim in claims]}
        for head, claims in ON_THE_POSTER.items()
    ]
    rows = [row for register in REGISTERS.values() for row in register.rows()]
    verdicts = Counter(row["verdict"] for row in rows)
    every = (claim for claims in ON_THE_POSTER.values() for claim in claims)
    seeds = sorted({measured(claim)["effect"]["seeds"] for claim in every})
    return {
        "title": "What adaptation does to a language model",
        "subtitle": "and what it does not: findings of labkit, a lab kit for domain adaptation",
        "lead": "A general model learns a domain: it reads the domain's text (CPT), answers "
        "questions about it (SFT), learns which of two answers is preferred (DPO, ORPO), and is "
        "merged with its general parent. A recipe that trains too hard, on nothing but the "
        "domain, is called overcooked. Each line below is a claim that was tested: the dot is "
        "the mean difference between two models in their share of test items, the line its 95% "
        "interval. A claim in grey may be true; this measurement does not show it.",
        "groups": groups,
        "key": [SUPPORTED, CONTRADICTED, NOT_DISTINGUISHABLE],
        "axis": "mean [95% interval]",
        "boxes": [
            {
                "head": "How it was measured",
                "text": f"With {seeds[0]} to {seeds[-1]} training seeds a claim. Intervals hold "
                "items, clustered by the entity asked about, and seeds where there are several; "
                "verdicts are corrected for the number of claims tested together.",
            },
            {
                "head": "All of it",
                "text": f"{len(rows)} claims were tested: {verdicts[SUPPORTED]} supported, "
                f"{verdicts[CONTRADICTED]} contradicted, {verdicts[NOT_DISTINGUISHABLE]} not "
                "distinguishable. The pages evidence, data, scale, real and the two cases in docs "
                "list them.",
            },
            {
                "head": "What it does not say",
                "text": "The models have about a million parameters and learn an invented world, "
                "but for the last group. Directions are worth discussing; sizes do not carry over "
                "to a model of billions.",
            },
        ],
        "foot": "labkit handout writes this page from data_samples/measured; python -m studies "
        "evidence measures it again.",
    }


def _poster_row(claim: str) -> dict:
    row = measured(claim)
    effect = Interval(**row["effect"])
    return {
        "claim": claim[0].upper() + claim[1:],
        "mean": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "told": signed(effect),
        "verdict": row["verdict"],
    }
