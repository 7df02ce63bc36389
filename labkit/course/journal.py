"""What the numbered notebooks ask of a learner, and what a learner guessed, answered and wrote.

What is asked is read from the notebooks' cells, so no list of it has to be kept in step. What a
learner did is read from the records of a folder; the latest under an id counts. Reflections and
answers belong to the learner, whatever pack, profile or seed they were written under. A guess
belongs to these too, because its outcome does.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from labkit.base import records
from labkit.base.errors import InputError, suggest
from labkit.base.inputs import Strict, explain, read_yaml
from labkit.base.pages import claim_verdict, signed
from labkit.base.records import latest
from labkit.base.stats import Z_LEVEL, Interval, wilson
from labkit.base.store import shipped_or_checkout
from labkit.data import published

# Ids are written out in the cell; those of the cases to match stand in their file.
ASKED = re.compile(r'\blab\.(predict|ask|reflect)\(\s*"([\w-]+)"')
MATCHED = re.compile(r"\blab\.match_cases\(")


@dataclass(frozen=True)
class Step:
    """One thing a notebook asks for. kind: predict, ask or reflect."""

    kind: str
    id: str


HALF_HOUR = "half_hour.ipynb"


def notebooks_folder() -> Path:
    return shipped_or_checkout("notebooks")


def course_notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(notebooks_folder().glob("[0-9][0-9]_*.ipynb"))


def named_notebooks() -> dict[str, Path]:
    """Every notebook that can be run by its name: the numbered ones, and the half hour that stands
    for all of them.
    """
    return {path.stem: path for path in (*course_notebooks(), notebooks_folder() / HALF_HOUR)}


def steps(notebook: Path) -> list[Step]:
    """The guesses, exercises and reflections of a notebook, in its order, each once. A case to
    match is an exercise.
    """
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = [(at.start(), Step(at[1], at[2])) for at in ASKED.finditer(code)]
    for at in MATCHED.finditer(code):
        found += [(at.start(), Step("ask", id)) for id in cases(notebook.stem)]
    return list(dict.fromkeys(step for _, step in sorted(found, key=lambda one: one[0])))


# --- a learner's records

# The lesson's own. They open the course and close it.
CRITICAL_QUESTIONS = (
    "Why might merging two models along an arc (spherical interpolation) beat linear averaging, "
    "and does it?",
    "What does training on raw text (CPT) give and take, and what does training on questions with "
    "answers (SFT)?",
    "Which case calls for CPT-SFT-DPO, which for CPT-SFT-ORPO, and which for merging finished "
    "models and no training?",
)
SHORT_FORMS = (
    "CPT (continued pre-training) reads raw text, SFT (supervised fine-tuning) questions with "
    "answers; DPO and ORPO read pairs of a preferred and a rejected answer."
)
MOST_CHARACTERS = 5000  # of a reflection
FEWEST = 4  # guesses below which nothing is said of a habit
# How a guess was made. DEFAULT: headless, by the notebook.
COMMITTED, DEFAULT, UNTOUCHED = "committed", "default", "untouched"
NOBODYS = "Default guess (nobody guessed)"
# What a guess is about: notebooks by their numbers, guesses of the half hour by their names.
TOPICS = {
    "design and data": ("01", "02"),
    "training": ("03", "04", "05", "half_hour_instructions"),
    "merging": ("00", "06", "half_hour_merge"),
    "evaluation and diagnosis": ("07", "09"),
    "scale and cost": ("08",),
}
OTHER = "other"


def learner_key(learner: str) -> str:
    """What stands for a learner in file names: a name never becomes a path."""
    return hashlib.sha256(learner.encode("utf-8")).hexdigest()[:12]


def kept(folder: Path, learner: str, kind: str | None = None) -> list[dict]:
    """All records that are this learner's, of one kind if named, in order.

    Raises InputError for a broken file.
    """
    return [row for row in records.read(folder, kind) if row.get("learner") == learner]


def by_id(rows: list[dict]) -> dict[str, dict]:
    """id -> its last record."""
    return {row["id"]: row for row in latest(rows, "id")}


def by_a_person(rows: list[dict]) -> list[dict]:
    """Without the defaults of runs without a person."""
    return [row for row in rows if row.get("made") != DEFAULT]


def made_by_hand(folder: Path) -> bool:
    """Whether a folder holds what a person made and no run can make again: a session with somebody
    in front of it.

    Sessions say so since records carry `headless`; in older ones a guess that was kept or a
    reflection with words in it does.
    """

    def by_hand(row: dict) -> bool:
        return (
            row.get("headless") is False
            or row["kind"] == "guess"
            or (row["kind"] == "reflection" and bool(row.get("text")))
        )

    return any(map(by_hand, records.read(folder)))


# --- what is written and chosen


def plain_text(text: str) -> str:
    """What a learner wrote, with one kind of line end.

    Raises InputError when it is too long or cannot be stored.
    """
    told = "\n".join(text.splitlines()).strip()
    if len(told) > MOST_CHARACTERS:
        raise InputError(
            f"this reflection has {len(told):,} characters; shorten it to "
            f"{MOST_CHARACTERS:,}, only then is it kept"
        )
    try:
        told.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"this reflection holds half a character ({error.object[error.start]!r}); "
            "remove it, only then is it kept"
        ) from None
    return told


# --- what a notebook asks, from a file of its own: a cell would give the answer away

Words = Annotated[str, Field(min_length=1)]


class Exercise(Strict):
    """A multiple-choice question. right: the right option, word for word. why: a sentence that
    explains it.
    """

    question: Words
    options: tuple[Words, ...]
    right: Words
    why: Words

    @field_validator("options")
    @classmethod
    def _there_is_a_choice(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(options)) < max(2, len(options)):
            raise ValueError("give at least two options, each once")
        return options

    @field_validator("right")
    @classmethod
    def _right_is_an_option(cls, right: str, others: ValidationInfo) -> str:
        if right not in others.data.get("options", ()):
            raise ValueError(f"{right!r} is not one of the options; copy one word for word")
        return right

    def verdict(self, choice: int) -> str:
        return "Right." if self.options[choice] == self.right else "Not right."

    def as_record(self, choice: int) -> dict:
        option = self.options[choice]
        return {
            "question": self.question,
            "choice": option,
            "right": option == self.right,
            "expected": self.right,
            "why": self.why,
        }


Entry = TypeVar("Entry", bound=Strict)


def quizzes_folder() -> Path:
    return Path(__file__).parent / "quizzes"


def from_quiz(notebook: str, id: str, model: type[Entry]) -> Entry:
    """What stands under an id in the quiz file of a notebook.

    Raises InputError naming the file when the id is not there or cannot be used.
    """
    path, entries = _quiz(notebook)
    if id not in entries:
        raise InputError(
            f"{path}: there is no {id!r}; {suggest(id, [str(one) for one in entries])}"
        )
    return _entry(path, id, entries[id], model)


def _quiz(name: str) -> tuple[Path, dict]:
    """A quiz file and its entries, unread."""
    path = quizzes_folder() / f"{name}.yaml"
    entries = read_yaml(
        path, missing="write the questions of this notebook there, each under its id"
    )
    if not isinstance(entries, dict):
        raise InputError(
            f"{path}: expected ids with their questions, as the other files beside it have"
        )
    return path, entries


def _entry(path: Path, id: str, told: object, model: type[Entry]) -> Entry:
    if not isinstance(told, dict):
        raise InputError(f"{path}: {id}: expected the fields {', '.join(model.model_fields)}")
    try:
        return model.model_validate(told)
    except ValidationError as error:
        raise InputError(f"{path}: {id}: {explain(error, model)}") from None


# --- cases to match to a strategy

CASES = "cases"
Strategy = Literal["CPT-SFT-DPO", "CPT-SFT-ORPO", "direct merge", "none of these"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
STRATEGY_WORDS = (
    "A direct merge joins finished models and trains nothing. Where none of these fits, the key "
    "says what does."
)
SIGNS = "An effect above zero is in the direction that its claim says; in brackets: 95% intervals."
UNMEASURED = "No claim of labkit's study decides this case."


class Case(Strict):
    """A short case and the strategy that fits it. title: in a few words. notebook: which asks it.
    reason: why the right one is right.

    What it rests on is named, never copied, so that figures come from the records. measured:
    claims of labkit's study. reported: claims of the source paper in lu2025.yaml. studies: keys of
    studies.yaml.
    """

    title: Words
    notebook: Words
    case: Words
    right: Strategy
    reason: Words
    measured: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    studies: Annotated[tuple[str, ...], Field(validate_default=True)] = ()

    @field_validator("measured", "reported", "studies")
    @classmethod
    def _it_is_there(cls, names: tuple[str, ...], field: ValidationInfo) -> tuple[str, ...]:
        find = {"measured": published.measured, "reported": published.reported}
        try:
            for name in names:
                find.get(field.field_name or "", published.study)(name)
        except InputError as error:
            raise ValueError(str(error)) from None
        return names

    @field_validator("studies")
    @classmethod
    def _it_rests_on_something(
        cls, studies: tuple[str, ...], others: ValidationInfo
    ) -> tuple[str, ...]:
        if not (studies or others.data.get("measured", True) or others.data.get("reported", True)):
            raise ValueError("name what the case rests on here, under measured or under reported")
        return studies

    @property
    def told(self) -> str:
        """The case under its title."""
        return f"{self.title}. {self.case}"

    def exercise(self) -> Exercise:
        return Exercise(
            question=f"Which strategy fits the case “{self.title}”?",
            options=STRATEGIES,
            right=self.right,
            why=self.reason,
        )

    def evidence(self) -> list[str]:
        """What the key rests on, a line each, with what was measured and its verdict."""
        return [
            *(f"Measured: {told_claim(claim)}." for claim in self.measured),
            *([] if self.measured else [UNMEASURED]),
            *(f"Reported elsewhere: {published.reported(claim)}." for claim in self.reported),
            *(f"Found elsewhere: {told_study(key)}." for key in self.studies),
        ]


def told_claim(claim: str) -> str:
    """A claim of labkit's study with its effect, how much it rests on, and its verdict."""
    row = published.measured(claim)
    effect = Interval(**row["effect"])
    seeds = f"{effect.seeds} seed{'s' if effect.seeds > 1 else ''}"
    return f"{claim}: {signed(effect)}, {effect.n} scores, {seeds}: {claim_verdict(row)}"


def told_study(key: str) -> str:
    """What a cited study found, at what size."""
    found = published.study(key)
    return f"{found['found']} ({found['cite']}; models: {found['size']})"


def cases(notebook: str = "") -> dict[str, Case]:
    """id -> case, in the order of their file: those that a notebook asks, or all.

    Raises InputError naming the file when one cannot be used, and when the notebook asks none.
    """
    path, entries = _quiz(CASES)
    found = {str(id): _entry(path, str(id), told, Case) for id, told in entries.items()}
    if notebook:
        found = {id: case for id, case in found.items() if case.notebook == notebook}
    if not found:
        raise InputError(f"{path}: no case has `notebook: {notebook}`; give one that line")
    return found


# --- how far a learner is


@dataclass(frozen=True)
class Status:
    """How far one learner is in one notebook. done: of its steps (guesses with an outcome, answers,
    written reflections).
    """

    notebook: str
    opened: bool
    done: int
    steps: int

    def __str__(self) -> str:
        if not self.opened:
            return "not opened"
        return "done" if self.finished else f"{self.done} of {self.steps} steps"

    @property
    def finished(self) -> bool:
        return self.opened and self.done == self.steps


def progress(folder: Path, learner: str) -> list[Status]:
    """One line per notebook of the course, in order."""
    found = kept(folder, learner)
    opened = {row["notebook"] for row in found if row["kind"] == "session"}
    written = by_id([row for row in found if row["kind"] == "reflection"])
    done = {("reflect", id) for id, row in written.items() if row["text"]}
    done |= {
        (step, row["id"])
        for row in found
        for step, kind in (("predict", "prediction"), ("predict", "no_outcome"), ("ask", "answer"))
        if row["kind"] == kind
    }
    told = []
    for notebook in course_notebooks():
        asked = steps(notebook)
        told.append(
            Status(
                notebook.stem,
                notebook.stem in opened,
                sum((step.kind, step.id) in done for step in asked),
                len(asked),
            )
        )
    return told


def told_progress(statuses: Sequence[Status]) -> str:
    """All of it in a sentence."""
    return (
        f"{sum(one.finished for one in statuses)} of {len(statuses)} notebooks done; "
        f"{sum(one.done for one in statuses)} of {sum(one.steps for one in statuses)} "
        "guesses, exercises and reflections."
    )


def told_steps(folder: Path, learner: str, notebook: str) -> str:
    """How far a learner is in one notebook, in a sentence; empty for one outside the course."""
    mine = [one for one in progress(folder, learner) if one.notebook == notebook]
    if not mine:
        return ""
    shown = by_id(kept(folder, learner, "prediction")).values()
    missed = sum(row["notebook"] == notebook and row.get("made") == UNTOUCHED for row in shown)
    left_out = f"; of these, {missed} passed without a guess" if missed else ""
    return (
        f"This notebook: {mine[0].done} of {mine[0].steps} guesses, exercises and reflections "
        f"are behind you{left_out}."
    )


def before_and_after(folder: Path, learner: str) -> list[dict[str, str]]:
    """The critical questions with what a learner answered at the start and at the end; empty where
    nothing was written.
    """
    written = by_id(kept(folder, learner, "reflection"))

    def text(id: str) -> str:
        return written.get(id, {"text": ""})["text"]

    return [
        {
            "question": question,
            "before": text(f"critical_{i}_before"),
            "after": text(f"critical_{i}"),
        }
        for i, question in enumerate(CRITICAL_QUESTIONS, 1)
    ]


# --- how good the guesses were


@dataclass(frozen=True)
class Prediction:
    """A guess and its outcome. low, high: ends of the scale it is on; made: how it was made."""

    id: str
    question: str
    notebook: str
    guess: float
    measured: Interval
    inside: bool
    low: float
    high: float
    made: str

    @property
    def error(self) -> float:
        """guess - measured, as a share of the scale: guesses in hours and in shares can then be
        averaged.
        """
        return (self.guess - self.measured.mean) / (self.high - self.low)

    @property
    def exact(self) -> bool:
        """Measured without an interval (a count, a calculation): no guess falls inside, it can only
        be near.
        """
        return self.measured.low == self.measured.high

    @property
    def told_measured(self) -> str:
        return f"{self.measured.mean:.2f}" if self.exact else str(self.measured)

    @property
    def topic(self) -> str:
        return next(
            (topic for topic, of in TOPICS.items() if self.notebook[:2] in of or self.id in of),
            OTHER,
        )

    def place(self, value: float) -> float:
        """A value on the scale, 0 its low and 1 its high end."""
        return on_scale(value, self.low, self.high)


def on_scale(value: float, low: float, high: float) -> float:
    """Where a value lies between the ends of a scale, 0 at low and 1 at high."""
    return (value - low) / (high - low)


def as_prediction(row: dict) -> Prediction:
    """A prediction from its record; one written before scales were kept was made on a scale of
    shares.
    """
    low, high = row.get("low", 0.0), row.get("high", 1.0)
    measured, made = Interval(**row["measured"]), row.get("made", COMMITTED)
    return Prediction(
        row["id"],
        row["question"],
        row["notebook"],
        row["guess"],
        measured,
        row["inside"],
        low,
        high,
        made,
    )


def predictions(folder: Path, learner: str) -> list[Prediction]:
    """Every guess of a learner with its outcome, over all packs, profiles and seeds of a folder."""
    rows = kept(folder, learner, "prediction")
    return [
        as_prediction(row)
        for row in {
            tuple(row[k] for k in ("id", "pack", "profile", "seed")): row for row in rows
        }.values()
    ]


def counted(found: Sequence[Prediction]) -> list[Prediction]:
    """Those that a person made before the outcome was shown."""
    return [one for one in found if one.made == COMMITTED]


def told_uncounted(found: Sequence[Prediction]) -> list[str]:
    """What is left out of every count of guesses, and why."""
    defaults, untouched = (sum(one.made == made for one in found) for made in (DEFAULT, UNTOUCHED))
    told = []
    if defaults:
        told.append(f"{defaults} not counted: default guess (nobody guessed).")
    if untouched:
        told.append(f"{untouched} not counted: no guess was made before the outcome was shown.")
    return told


def told_none(found: Sequence[Prediction]) -> str:
    """What to say where no person has guessed."""
    return " ".join(
        [
            *told_uncounted(found),
            "No guesses yet: make one under Predict in any notebook, before its outcome is shown.",
        ]
    )


@dataclass(frozen=True)
class Bias:
    """Mean signed error of guesses on a topic, as a share of their scales; interval: Student's,
    None when they are too few.
    """

    topic: str
    errors: tuple[float, ...]
    interval: Interval | None

    def __str__(self) -> str:
        if self.interval is None:
            return "too few to tell"
        if self.interval.low > 0:
            return "you guess too high"
        return "you guess too low" if self.interval.high < 0 else "no bias to be seen"


def bias(topic: str, found: Sequence[Prediction]) -> Bias:
    errors = tuple(one.error for one in found)
    return Bias(topic, errors, student(errors) if len(errors) >= FEWEST else None)


def student(values: Sequence[float]) -> Interval:
    """The mean with Student's 95% interval; at least two values."""
    from scipy.special import ndtr, stdtrit

    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, ndtr(Z_LEVEL))) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, n)


@dataclass(frozen=True)
class Calibration:
    """How good a learner's guesses were. left_out: in sentences, what is not counted, and why."""

    found: tuple[Prediction, ...]
    left_out: tuple[str, ...]
    overall: Bias
    topics: tuple[Bias, ...]

    @property
    def mean_absolute_error(self) -> float:
        return sum(abs(error) for error in self.overall.errors) / len(self.found)

    def sentences(self) -> list[str]:
        """What is to be said of it, shortest first."""
        told = told_inside(self.found)
        told.append(
            f"A guess was {self.mean_absolute_error:.0%} of its scale away from what "
            "was measured, on average."
        )
        over = self.overall.interval
        size = (
            f" ({over.mean:+.0%} of the scale, 95% interval {over.low:+.0%} to {over.high:+.0%})"
            if over
            else ""
        )
        told.append(f"Direction: {self.overall}{size}.")
        return [*told, *self.left_out]

    def topic_rows(self) -> list[tuple[str, ...]]:
        """Per topic: its name, number of guesses, mean error with interval, and what it says."""
        rows: list[tuple[str, ...]] = []
        for one in self.topics:
            size = (
                f"{one.interval.mean:+.2f} [{one.interval.low:+.2f}, {one.interval.high:+.2f}]"
                if one.interval
                else f"{sum(one.errors) / len(one.errors):+.2f}"
            )
            rows.append((one.topic, str(len(one.errors)), size, str(one)))
        return rows


def told_inside(found: Sequence[Prediction]) -> list[str]:
    """How many guesses of a person fell inside what was measured, of those that could; with an
    interval where they are enough. What is not counted is told.
    """
    good = counted(found)
    ranged = [one for one in good if not one.exact]
    told = []
    if ranged:
        inside, n = sum(one.inside for one in ranged), len(ranged)
        low, high = wilson(inside, n)
        share = f" ({inside / n:.0%}, 95% interval {low:.0%} to {high:.0%})" if n >= FEWEST else ""
        told.append(f"{inside} of {n} guesses fell inside the measured interval{share}.")
    if len(good) > len(ranged):
        told.append(
            f"{len(good) - len(ranged)} of the guesses were about numbers that are "
            "known exactly: they can only be near."
        )
    return [*told, *told_uncounted(found)]


TOPIC_HEADS = ("topic", "guesses", "mean error, share of scale (95% interval)", "what it says")


def calibration(found: Sequence[Prediction]) -> Calibration | None:
    """Of a learner's predictions; None when there is none that counts."""
    good = counted(found)
    if not good:
        return None
    topics = [
        bias(topic, mine)
        for topic in (*TOPICS, OTHER)
        if (mine := [one for one in good if one.topic == topic])
    ]
    return Calibration(tuple(good), tuple(told_uncounted(found)), bias("all", good), tuple(topics))
