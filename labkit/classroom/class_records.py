"""What a class page is made of: every learner's records, checked, whoever they come from.

Some come from participants' own evidence packs. A record that is not as labkit writes it is left
out and counted; nothing in it is trusted to have a type or a length.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from labkit.base.errors import InputError, LabkitError
from labkit.base.records import FILE
from labkit.design.designer import in_words
from labkit.train.specs import PipelineSpec

MOST_BYTES = 64 * 2**20  # of one file of records
MOST_SOURCES = 1000
MOST_LEARNERS = 1000  # of one source: a folder may hold a whole room's records
VERDICTS = ("supported", "contradicted", "not distinguishable")

Words = Annotated[str, Field(max_length=400)]


class Span(BaseModel):
    """A measured mean with its interval, whose ends may be open."""

    mean: FiniteFloat
    low: float
    high: float


class Row(BaseModel):
    """What every record has."""

    notebook: Words
    pack: Words
    profile: Words
    seed: int


class Prediction(Row):
    """A guess and its outcome. low, high: ends of its scale. made: as in journal.py."""

    id: Words
    question: Words
    guess: FiniteFloat
    measured: Span
    low: FiniteFloat = 0.0
    high: FiniteFloat = 1.0
    made: Literal["committed", "default", "untouched"] = "committed"

    @model_validator(mode="after")
    def _has_a_scale(self) -> Prediction:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self

    @property
    def side(self) -> str:
        """Where the guess lies: `right` inside the measured interval, `too high` or `too low`
        outside.
        """
        return (
            "too high"
            if self.guess > self.measured.high
            else "too low"
            if self.guess < self.measured.low
            else "right"
        )


class Answer(Row):
    """A multiple-choice exercise, answered."""

    id: Words
    question: Words
    choice: Words
    right: bool
    expected: Words


class Design(Row):
    spec: PipelineSpec

    @property
    def words(self) -> str:
        return in_words(self.spec)


class Scores(Row):
    """A scorecard: axis -> share."""

    checkpoint: Words
    split: Words
    axes: dict[Words, Span]


class Difference(Row):
    """One model against another on an axis; runs: with the noise between training seeds."""

    axis: Words
    before: Words
    after: Words
    runs: Span


class Finding(Row):
    claim: Words
    effect: Span
    verdict: Words


class Point(BaseModel):
    t: Annotated[float, Field(ge=0, le=1)]
    axes: dict[Words, Span]


class Sweep(Row):
    """Scores of merges over t. ends: how the model at t=0 and the one at t=1 are called. points:
    method -> by t.
    """

    ends: tuple[Words, Words]
    split: Words
    points: dict[Words, Annotated[list[Point], Field(min_length=2, max_length=101)]]


# Kind -> its shape, and what makes a later one replace an earlier one.
KINDS: dict[str, tuple[type[Row], Callable[[Any], object]]] = {
    "prediction": (Prediction, lambda row: (row.id, row.pack, row.profile, row.seed)),
    "answer": (Answer, lambda row: row.id),
    "design": (Design, lambda row: (row.pack, row.profile, row.seed)),
    "scorecard": (Scores, lambda row: (row.checkpoint, row.split, row.pack, row.profile, row.seed)),
    "comparison": (
        Difference,
        lambda row: (
            row.notebook,
            row.axis,
            row.before,
            row.after,
            row.pack,
            row.profile,
            row.seed,
        ),
    ),
    "finding": (Finding, lambda row: (row.claim, row.pack, row.profile, row.seed)),
    "sweep": (Sweep, lambda row: (row.ends, row.split, row.pack, row.profile, row.seed)),
}


@dataclass(frozen=True)
class NotebookRun:
    """How one notebook went. problem: empty, or why it failed."""

    notebook: str
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Seat:
    """One learner of the class page. shown: pseudonym or name. runs: empty of a source that tells
    nothing of them.

    problem: why the source could not be read. page: a link to the learner's own page, or empty.
    unread: records left out.
    """

    shown: str
    rows: dict[str, list] = field(default_factory=dict)
    runs: tuple[NotebookRun, ...] = ()
    problem: str = ""
    page: str = ""
    unread: int = 0

    def of(self, kind: str) -> list:
        return self.rows.get(kind, [])

    @property
    def failures(self) -> list[NotebookRun]:
        return [run for run in self.runs if run.problem]


def checked(rows: Iterable[Any]) -> tuple[dict[str, list], int]:
    """Records by kind, in the shapes above, the latest of each; and how many are not as labkit
    writes them.
    """
    found: dict[str, dict] = {}
    unread = 0
    for row in rows:
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str):
            unread += 1
        elif kind in KINDS:
            shape, identity = KINDS[kind]
            try:
                made = shape(**{str(name): value for name, value in row.items() if name != "kind"})
            except (ValidationError, RecursionError, LabkitError):
                unread += 1
            else:
                found.setdefault(kind, {})[identity(made)] = made
    return {kind: list(rows.values()) for kind, rows in found.items()}, unread


# --- sources


def sources(folder: Path) -> list[Path]:
    """The evidence packs (.zip) and out_dirs in a folder, by name; the folder itself when it is an
    out_dir.

    Raises InputError when there is none.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; give one that holds evidence packs (.zip) or "
            "out_dirs of participants"
        )
    if (folder / FILE).is_file():
        return [folder]
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == ".zip" or (path / FILE).is_file()
    ]
    if not found:
        raise InputError(
            f"{folder}: no evidence pack (.zip) and no folder with {FILE} in it; ask "
            "participants for theirs: labkit evidence-pack"
        )
    if len(found) > MOST_SOURCES:
        raise InputError(
            f"{folder}: {len(found):,} packs; {MOST_SOURCES:,} are allowed, give the "
            "folder of one class"
        )
    return found


def records_of(source: Path) -> list[object]:
    """The records of an evidence pack or an out_dir, as they are.

    Raises InputError for what cannot be read.
    """
    if source.is_dir():
        return list(_lines(source / FILE))
    from labkit.classroom.evidence_pack import open_pack

    folder = open_pack(source)
    try:
        return list(_lines(folder / FILE))
    finally:
        shutil.rmtree(folder.parent)


def _lines(path: Path) -> Iterator[object]:
    """Each line's value; None for a line that is not JSON."""
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path}: not an ordinary file; ask for the pack again")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path}: {path.stat().st_size / 2**20:,.0f} MiB; records have at most "
            f"{MOST_BYTES / 2**20:.0f}, ask for the pack again"
        )
    for line in filter(None, path.read_text("utf-8", errors="replace").split("\n")):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            yield None


def by_learner(rows: Iterable[object]) -> dict[str, list]:
    """The learner's name as recorded -> records; those that name none belong to nobody and are
    counted with the first.
    """
    found: dict[str, list] = {}
    for row in rows:
        name = row.get("learner") if isinstance(row, dict) else None
        found.setdefault(name[:100] if isinstance(name, str) else "", []).append(row)
    nobody = found.pop("", [])
    if found:
        next(iter(found.values())).extend(nobody)
        return found
    return {"": nobody}


def read_seats(folder: Path, shown: Callable[[int, str, str], str]) -> list[Seat]:
    """A seat per learner in a folder of sources. shown: (number, name in the records, name of the
    source) -> what to call them.

    A source that cannot be read is a seat with a problem, and stops no other.
    """
    seats: list[Seat] = []
    for source in sources(folder):
        try:
            found = by_learner(records_of(source))
            if len(found) > MOST_LEARNERS:
                raise InputError(
                    f"{source}: records of {len(found):,} learners; {MOST_LEARNERS:,} "
                    "are allowed, ask for the pack again"
                )
        except (LabkitError, OSError) as error:
            seats.append(Seat(shown(len(seats) + 1, "", source.name), problem=str(error)))
            continue
        for name, rows in found.items():
            seats.append(seat(shown(len(seats) + 1, name, source.name), rows))
    return seats


def seat(
    shown: str, rows: Iterable[object], *, runs: Iterable[NotebookRun] = (), page: str = ""
) -> Seat:
    """A learner's seat from records as they were read."""
    found, unread = checked(rows)
    return Seat(shown, found, tuple(runs), page=page, unread=unread)
