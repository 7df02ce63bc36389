"""Two pages for a room: the warm-up for people without a computer, and the design worksheet.

The warm-up takes five minutes. The worksheet can be filled in on screen or by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from labkit.base.pages import FormField, pdf_bytes, signed, with_fields, write_pdf
from labkit.base.records import AXES
from labkit.base.stats import Interval
from labkit.base.store import write_file
from labkit.course import journal
from labkit.course.labs import warm_up
from labkit.course.lesson import KNOWN_PACK
from labkit.data.packs import Pack, load_pack
from labkit.data.published import measured, reported
from labkit.design.comparison import HEADS
from labkit.design.designer import SEQUENCES, STARTS, families
from labkit.design.fit import TOOLS
from labkit.merge.recipes import Merge

WARM_UP, WORKSHEET = "warm_up.pdf", "design_worksheet.pdf"
ANSWER_TOKENS = 28  # of an answer on paper: enough to see what kind of answer it is
A, B = "base", "instruct"  # who is A and who is B on the page
DESIGNS = {"mine": "my design", "one": "alternative 1", "two": "alternative 2"}
WATCHED = (*AXES, "general")
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
    "stages": ("Stages, in order", tuple(sequence or "none: merge only" for sequence in SEQUENCES)),
    "reads": ("Reads", ("raw and summaries", "raw", "summaries", "raw, summaries and qa", "qa")),
    "replay": (
        "Replay, rate, LoRA",
        (
            "as is usual for the size",
            "replay 0.25",
            "no replay",
            "a third of the rate",
            "LoRA adapters",
        ),
    ),
    "merge": (
        "Merge, at which t",
        (
            "none",
            *(f"{method}, t=0.5" for method in get_args(Merge.model_fields["method"].annotation)),
        ),
    ),
}


def make_handout(folder: Path, pack: str) -> list[Path]:
    """Write both pages; returns their paths.

    The warm-up asks about the invented world, so it takes an invented pack where `pack` is none.

    Raises InputError for an unknown pack, StoreError when they cannot be written.
    """
    loaded = load_pack(pack)
    return [
        warm_up_pdf(loaded if loaded.invented else load_pack(KNOWN_PACK), folder / WARM_UP),
        worksheet_pdf(f"{loaded.name}: {loaded.title}", folder / WORKSHEET),
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
            "text": "A language model is to be adapted to your field. A sentence each; the "
            "same questions close the course.",
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
        "next": "On a computer: notebook 00_warm_up is this page, 06_merge makes the merge. "
        "Figures: measured by python -m studies evidence (docs/scale.md, docs/evidence.md).",
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


def worksheet_pdf(domain: str, path: Path) -> Path:
    """One side of A4 with form fields; domain: what stands in the field of that name at first.

    Raises InputError, StoreError.
    """
    fields = worksheet_fields(domain)
    page = pdf_bytes("worksheet", worksheet_page())
    write_file(path, with_fields(page, fields))
    return path


def worksheet_page() -> dict:
    """What templates/worksheet.typ shows."""
    needed, matters, stop = journal.CRITICAL_QUESTIONS
    words = [{"label": head, "high": True, "names": _per_design(_key(head))} for head in HEADS]
    choices = [
        {"label": label, "high": False, "names": _per_design(name)}
        for name, (label, _) in CHOICES.items()
    ]
    return {
        "title": "Design worksheet",
        "subtitle": "To fill in on screen or by hand, before anything is trained. Notebook "
        "01_design turns your choices into the file that labkit run trains.",
        "head": [
            ["learner", "Name or team"],
            ["day", "Date"],
            ["domain", "Domain: a pack, or your own field"],
        ],
        "need": {
            "head": "1. The need",
            "questions": [["critical_1", needed]],
            "tools": {
                "text": "Tools to try first:",
                "boxes": [[_key(f"tool {tool}"), tool] for tool in TOOLS],
            },
        },
        "designs": {
            "head": "2. Three designs: yours, and two that differ from it in one choice each",
            "columns": list(DESIGNS.values()),
            "rows": choices + words,
        },
        "predict": {
            "head": "3. Guess, then measure",
            "text": "Scores from 0 to 1, on questions held out from training.",
            "columns": [
                "axis",
                "start model, guessed",
                "my design, guessed",
                "may fall by at most",
            ],
            "rows": [
                [axis, *(f"{axis}_{column}" for column in ("before", "after", "allowed"))]
                for axis in WATCHED
            ],
            "questions": [
                ["critical_2", matters],
                [
                    "power",
                    "How many questions, about how many things, and how many training "
                    "seeds will measure it?",
                ],
            ],
        },
        "decide": {"head": "4. The decision", "questions": [["critical_3", stop]]},
        "foot": "t=0 is the general model, t=1 the domain model. The last column of 3 is what "
        "labkit gate reads as must_hold. Choose on dev, report on test, once.",
    }


def worksheet_fields(domain: str) -> list[FormField]:
    """A field for every link of the page, each with its tooltip."""
    page = worksheet_page()
    fields = [
        FormField(name, label, value=domain if name == "domain" else "")
        for name, label in page["head"]
    ]
    fields += [
        FormField(name, question, "lines")
        for part in ("need", "predict", "decide")
        for name, question in page[part]["questions"]
    ]
    fields += [
        FormField(name, f"Tool to try first: {label}", "box")
        for name, label in page["need"]["tools"]["boxes"]
    ]
    for name, (label, options) in CHOICES.items():
        fields += [
            FormField(f"{design}_{name}", f"{words}: {label}", "choice", options)
            for design, words in DESIGNS.items()
        ]
    for head in HEADS:
        fields += [
            FormField(f"{design}_{_key(head)}", f"{words}: {head.lower()}", "lines")
            for design, words in DESIGNS.items()
        ]
    for axis, *names in page["predict"]["rows"]:
        fields += [
            FormField(name, f"{axis}: {column}")
            for name, column in zip(names, page["predict"]["columns"][1:], strict=True)
        ]
    return fields


def _per_design(name: str) -> list[str]:
    return [f"{design}_{name}" for design in DESIGNS]


def _key(words: str) -> str:
    """Words as part of a field's name."""
    return words.lower().replace(" ", "_")
