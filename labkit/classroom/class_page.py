"""One page on a whole class, from everybody's records, checked, whoever they come from.

Some records come from participants' own evidence packs. A record that is not as labkit writes it is
left out and counted; nothing in it is trusted to have a type or a length.

The page says first who failed, then what the room did, found and believed wrongly. A self-contained
HTML page and a PDF are made of the same parts; every word of them is plain text until a template
escapes it.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from textwrap import shorten
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from labkit.base.errors import InputError, LabkitError
from labkit.base.pages import Section, template, write_pdf
from labkit.base.records import FILE
from labkit.base.store import write_file
from labkit.course import journal_figures
from labkit.course.figures import AXIS_LABELS
from labkit.course.journal import (
    COMMITTED,
    NOBODYS,
    UNTOUCHED,
    course_notebooks,
    on_scale,
    steps,
)
from labkit.course.journal_figures import Picture, picture
from labkit.design import dossier as paper
from labkit.design.designer import in_words
from labkit.design.dossier import Dossier
from labkit.train.specs import PipelineSpec

MOST_QUESTIONS, MOST_CHECKPOINTS, MOST_ROWS = 24, 8, 60
MOST_PAIRS, MOST_METHODS = 3, 3
ROOM = 0.5  # more than this share off to one side: the room believed something wrong
CELL_CHARACTERS = 300
NOT_WRITTEN = "(not written)"

# --- records, checked ----------------------------------------------------------------------------

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


class Kept(Row):
    """A dossier as it stood when it was taken home."""

    dossier: Annotated[Dossier, BeforeValidator(paper.checked)]


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
    "dossier": (Kept, lambda row: row.pack),
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


# --- where they come from ------------------------------------------------------------------------


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


# --- the page ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part(Section):
    """A section with figures. failed: the last column tells of failures."""

    pictures: tuple[Picture, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class ClassPage:
    title: str
    subtitle: str
    verdict: str
    parts: tuple[Part, ...]
    links: dict[str, str]


def class_page(seats: Sequence[Seat], *, title: str, subtitle: str) -> ClassPage:
    """Everything that is to be said of a class; failures come first.

    Raises InputError for a class of nobody.
    """
    if not seats:
        raise InputError(
            "there is nobody in this class; give a roster, or a folder of evidence packs"
        )
    parts = (
        failures(seats),
        people(seats),
        designs(seats),
        dossiers(seats),
        scores(seats),
        outcomes(seats),
        findings(seats),
        beliefs(seats),
        answers(seats),
        curves(seats),
        timing(seats),
    )
    links = {seat.shown: seat.page for seat in seats if seat.page}
    return ClassPage(title, subtitle, verdict(seats), tuple(part for part in parts if part), links)


def write_class_page(page: ClassPage, out_dir: Path) -> tuple[Path, str]:
    """Write class.pdf and class.html; returns the HTML's path and the sentence on the PDF that it
    shows, too.
    """
    status = _export(page, out_dir / "class.pdf")
    parts = [
        asdict(part)
        | {
            "pictures": [
                {"alt": one.alt, "data": base64.b64encode(one.png).decode()}
                for one in part.pictures
            ]
        }
        for part in page.parts
    ]
    html = template("class.html.j2").render(
        title=page.title,
        subtitle=page.subtitle,
        verdict=page.verdict,
        status=status,
        parts=parts,
        links=page.links,
    )
    path = out_dir / "class.html"
    write_file(path, html)
    return path, status


def _export(page: ClassPage, path: Path) -> str:
    parts = [
        {
            **asdict(part),
            "pictures": [
                {"alt": one.alt, "svg": one.svg, "width": one.width} for one in part.pictures
            ],
        }
        for part in page.parts
    ]
    try:
        write_pdf(
            "class",
            {
                "title": page.title,
                "subtitle": page.subtitle,
                "verdict": page.verdict,
                "parts": parts,
            },
            path,
        )
    except InputError as error:
        # one of an earlier run would tell something else than the page
        path.unlink(missing_ok=True)
        return f"There is no PDF of this page: {error}"
    return f"The same page as a PDF: {path.name}."


# --- words and numbers


def verdict(seats: Sequence[Seat]) -> str:
    """The first thing an instructor wants to know."""
    unreadable = sum(bool(seat.problem) for seat in seats)
    failed = [seat for seat in seats if seat.failures]
    runs = sum(len(seat.runs) for seat in seats)
    told = []
    if unreadable:
        told.append(f"{unreadable} of {len(seats)} could not be read")
    if failed:
        where = Counter(run.notebook for seat in failed for run in seat.failures)
        worst, times = where.most_common(1)[0]
        told.append(
            f"{len(failed)} of {len(seats)} learners "
            f"{'has' if len(failed) == 1 else 'have'} a notebook that "
            f"failed{f', most often {worst} ({times})' if times > 1 else ''}"
        )
    elif runs:
        told.append(f"nothing failed: {runs} notebooks of {len(seats)} learners ran to the end")
    if wrong := [belief for belief in _beliefs(seats) if belief.wrong]:
        told.append(f"the room was wrong about {len(wrong)} of {len(_beliefs(seats))} questions")
    sentence = "; ".join(told) or f"{len(seats)} learners"
    return f"{sentence[0].upper()}{sentence[1:]}."


def printable(text: str) -> str:
    """Without letters that only steer: no font draws them, some turn a line around, and some move a
    terminal's cursor. The two joiners stay: they shape the letters beside them.
    """
    return "".join(one if one.isprintable() or one in "\u200c\u200d" else " " for one in text)


def _cell(text: object) -> str:
    """A value for a table: one line, not too long."""
    return shorten(printable(str(text)[: 10 * CELL_CHARACTERS]), CELL_CHARACTERS, placeholder=" …")


def _range(values: Sequence[float], form: str = ".2f") -> str:
    """The middle value and, of several that differ, the range."""
    middle, low, high = (
        format(value, form) for value in (median(values), min(values), max(values))
    )
    return (
        middle
        if len(values) == 1
        else f"{middle} (all)"
        if low == high
        else f"{middle} ({low} to {high})"
    )


def _signed(values: Sequence[float]) -> str:
    return _range(values, "+.2f")


def _rows(rows: Iterable[Sequence[object]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(_cell, row)) for row in rows)


def _cut(rows: Sized, most: int) -> str:
    return f" The {most} most frequent of {len(rows)} are shown." if len(rows) > most else ""


def _grouped(seats: Sequence[Seat], kind: str, key: Callable) -> dict[Any, list]:
    """Records of a kind by a key, most frequent first."""
    groups: dict[Any, list] = {}
    for seat in seats:
        for row in seat.of(kind):
            groups.setdefault(key(row), []).append(row)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


# --- the parts


def failures(seats: Sequence[Seat]) -> Part:
    """Who failed where and why."""
    rows = [(seat.shown, "not read", seat.problem) for seat in seats if seat.problem]
    rows += [(seat.shown, run.notebook, run.problem) for seat in seats for run in seat.failures]
    if not rows:
        told = (
            "Nothing failed."
            if any(seat.runs for seat in seats)
            else "Evidence packs hold results; whether a notebook failed on the way is not "
            "in them. All of them could be read."
        )
        return Part("Who failed, where and why", told)
    return Part(
        "Who failed, where and why", "", ("learner", "where", "why"), _rows(rows), failed=True
    )


def people(seats: Sequence[Seat]) -> Part:
    """A line per learner."""
    unread = sum(seat.unread for seat in seats)
    note = f"{unread} records are not as labkit writes them and were left out." if unread else ""
    return Part(
        "Learners",
        note,
        ("learner", "pack", "profile", "seed", "notebooks", "seconds", "records"),
        _rows(map(_person, seats)),
    )


def _person(seat: Seat) -> tuple:
    rows = [row for kind in seat.rows.values() for row in kind]
    told = [
        ", ".join(sorted({str(getattr(row, name)) for row in rows}))
        for name in ("pack", "profile", "seed")
    ]
    recorded = (
        "not read" if seat.problem else f"{len({row.notebook for row in rows})} in the records"
    )
    done = (
        f"{len(seat.runs) - len(seat.failures)} of {len(seat.runs)} done" if seat.runs else recorded
    )
    return (
        seat.shown,
        *told,
        done,
        f"{sum(run.seconds for run in seat.runs):.0f}" if seat.runs else "",
        len(rows),
    )


def designs(seats: Sequence[Seat]) -> Part | None:
    """What the room designed."""
    groups = _grouped(seats, "design", lambda row: row.words)
    if not groups:
        return None
    who = {
        words: [
            seat.shown for seat in seats if any(row.words == words for row in seat.of("design"))
        ]
        for words in groups
    }
    rows = [(words, len(names), ", ".join(names)) for words, names in list(who.items())[:MOST_ROWS]]
    return Part(
        "What the room designed",
        f"{len(groups)} different designs.{_cut(groups, MOST_ROWS)}",
        ("design", "learners", "who"),
        _rows(rows),
    )


def dossiers(seats: Sequence[Seat]) -> Part | None:
    """How far everybody's case is, and what it says in its closing statement."""
    rows = []
    for seat in seats:
        for one in (row.dossier for row in seat.of("dossier")):
            own, proposed, places = paper.counts(one)
            closing = one.closing
            rows.append(
                (
                    seat.shown,
                    one.domain.name,
                    f"{own} of {places}",
                    proposed,
                    len(paper.empty(one)),
                    closing.sequence.words or NOT_WRITTEN,
                    closing.fails.words or NOT_WRITTEN,
                )
            )
    if not rows:
        return None
    heads = (
        "learner",
        "domain",
        "places in own words",
        "proposed by labkit only",
        "empty",
        "why this sequence",
        "where it may fail",
    )
    more = f"{len(rows) - MOST_ROWS} more are not shown." if len(rows) > MOST_ROWS else ""
    return Part("Dossiers", more, heads, _rows(rows[:MOST_ROWS]))


def scores(seats: Sequence[Seat]) -> Part | None:
    """Everybody's test scores, of the checkpoints that most have."""
    groups = {
        name: rows
        for name, rows in _grouped(
            seats, "scorecard", lambda row: row.checkpoint if row.split == "test" else ""
        ).items()
        if name
    }
    if not groups:
        return None
    shown = dict(list(groups.items())[:MOST_CHECKPOINTS])
    by_axis = {
        axis: {
            name: values
            for name, rows in shown.items()
            if (values := [row.axes[axis].mean for row in rows if axis in row.axes])
        }
        for axis in AXIS_LABELS
    }
    by_axis = {axis: found for axis, found in by_axis.items() if found}
    rows = [
        (
            name,
            len(found),
            *(_range(by_axis[axis][name]) if name in by_axis[axis] else "" for axis in by_axis),
        )
        for name, found in shown.items()
    ]
    heads = ("checkpoint", "n", *(AXIS_LABELS[axis].replace("\n", " ") for axis in by_axis))
    told = (
        "Scores on the test split: the middle one, and the range over the "
        f"class.{_cut(groups, MOST_CHECKPOINTS)}"
    )
    alt = (
        f"Scores of {len(shown)} checkpoints on {len(by_axis)} axes, a dot per learner and "
        "a bar at the middle one; the table below has the numbers."
    )
    pictures = (picture(journal_figures.room_scores(by_axis), alt),) if by_axis else ()
    return Part("What came out: scores", told, heads, _rows(rows), pictures)


def _counts(spans: Sequence[Span]) -> tuple[int, int, int]:
    """How many are above zero with their whole interval, below it, and neither."""
    up, down = sum(span.low > 0 for span in spans), sum(span.high < 0 for span in spans)
    return up, down, len(spans) - up - down


def outcomes(seats: Sequence[Seat]) -> Part | None:
    """Models compared on an axis."""
    groups = _grouped(
        seats, "comparison", lambda row: (row.notebook, row.axis, row.before, row.after)
    )
    if not groups:
        return None
    rows = [
        (
            f"{after} − {before}",
            axis,
            notebook,
            len(found),
            _signed([row.runs.mean for row in found]),
            *_counts([row.runs for row in found]),
        )
        for (notebook, axis, before, after), found in list(groups.items())[:MOST_ROWS]
    ]
    heads = (
        "difference",
        "axis",
        "notebook",
        "learners",
        "middle and range",
        "higher",
        "lower",
        "not distinguishable",
    )
    told = (
        "Higher and lower count learners whose whole interval, the noise between training "
        "seeds included, lies on one side of zero."
    )
    return Part("What came out: comparisons", told + _cut(groups, MOST_ROWS), heads, _rows(rows))


def findings(seats: Sequence[Seat]) -> Part | None:
    """On how many desks each claim held."""
    groups = _grouped(seats, "finding", lambda row: row.claim)
    if not groups:
        return None
    rows = []
    for claim, found in list(groups.items())[:MOST_ROWS]:
        said = Counter(row.verdict for row in found)
        rows.append(
            (
                claim,
                len(found),
                said["supported"],
                said["contradicted"],
                said["not distinguishable"],
                _signed([row.effect.mean for row in found]),
            )
        )
    heads = (
        "claim",
        "findings",
        "supported",
        "contradicted",
        "not distinguishable",
        "effect: middle and range",
    )
    return Part(
        "What came out: findings",
        f"One training run each, so desks may differ.{_cut(groups, MOST_ROWS)}",
        heads,
        _rows(rows),
    )


@dataclass(frozen=True)
class Belief:
    """What the room guessed on one question. headless: nobody was asked, the guesses are the
    notebook's.
    """

    question: str
    notebook: str
    guesses: tuple[Prediction, ...]
    headless: bool

    @property
    def sides(self) -> Counter:
        return Counter(guess.side for guess in self.guesses)

    @property
    def wrong(self) -> str:
        """`too high` or `too low` when most of the room was off to that side; empty otherwise, and
        when nobody was asked.
        """
        side, count = max(
            ((side, self.sides[side]) for side in ("too high", "too low")), key=lambda one: one[1]
        )
        return side if count > ROOM * len(self.guesses) and not self.headless else ""

    def told(self) -> str:
        if self.headless:
            return "nobody was asked"
        return (
            f"believed {self.wrong} by {self.sides[self.wrong]} of {len(self.guesses)}"
            if self.wrong
            else "no common error"
        )

    @property
    def off(self) -> float:
        """How far the middle guess is from the middle result, as a share of the scale."""
        return abs(
            median(_place(one, one.guess) for one in self.guesses)
            - median(_place(one, one.measured.mean) for one in self.guesses)
        )


def _place(one: Prediction, value: float) -> float:
    return on_scale(value, one.low, one.high)


def _beliefs(seats: Sequence[Seat]) -> list[Belief]:
    """Every question with its guesses; what the room believed wrongly first, then by how far it was
    off.
    """
    found = []
    for rows in _grouped(seats, "prediction", lambda row: row.id).values():
        committed = tuple(row for row in rows if row.made == COMMITTED)
        if used := committed or tuple(row for row in rows if row.made != UNTOUCHED):
            found.append(Belief(used[0].question, used[0].notebook, used, not committed))
    return sorted(found, key=lambda belief: (not belief.wrong, -belief.off))


def beliefs(seats: Sequence[Seat]) -> Part | None:
    """Predictions against results: what the room believed wrongly."""
    found = _beliefs(seats)
    if not found:
        return None
    wrong = [belief for belief in found if belief.wrong]
    headless = all(belief.headless for belief in found)
    told = (
        "These notebooks ran without anybody in front of them: every guess is the notebook's "
        "default guess (nobody guessed), and says nothing of a belief."
        if headless
        else f"On {len(wrong)} of {len(found)} questions more than half of the room guessed "
        "outside the measured interval, to the same side."
    )
    rows = [
        (
            one.question,
            one.notebook,
            len(one.guesses),
            NOBODYS.lower() if one.headless else _range([g.guess for g in one.guesses]),
            _range([g.measured.mean for g in one.guesses]),
            "" if one.headless else one.sides["right"],
            one.told(),
        )
        for one in found[:MOST_ROWS]
    ]
    heads = ("question", "notebook", "guesses", "guessed", "measured", "inside", "the room")
    asked = [
        (
            one.question,
            [_clip(_place(g, g.guess)) for g in one.guesses],
            [_clip(_place(g, g.measured.mean)) for g in one.guesses],
        )
        for one in found
        if not one.headless
    ][:MOST_QUESTIONS]
    alt = (
        f"Guesses of the class as circles above what was measured, for {len(asked)} "
        "questions, each on its own scale; the table below has the numbers."
    )
    pictures = (picture(journal_figures.room_predictions(asked), alt),) if asked else ()
    return Part("What the room believed", told, heads, _rows(rows), pictures)


def _clip(place: float) -> float:
    return min(1.0, max(0.0, place))


def answers(seats: Sequence[Seat]) -> Part | None:
    """Exercises, most often wrong first; where nobody was asked, it is said."""
    groups = _grouped(seats, "answer", lambda row: row.id)
    if not groups:
        return None
    rows = []
    for found in sorted(
        groups.values(), key=lambda found: sum(row.right for row in found) / len(found)
    ):
        wrong = Counter(row.choice for row in found if not row.right)
        choice = f"{wrong.most_common(1)[0][0]} ({wrong.most_common(1)[0][1]})" if wrong else ""
        rows.append(
            (
                found[0].question,
                found[0].notebook,
                f"{sum(row.right for row in found)} of {len(found)}",
                found[0].expected,
                choice,
            )
        )
    headless = all(seat.runs for seat in seats if seat.of("answer"))
    told = (
        "These notebooks ran without anybody in front of them: the choices are the "
        "notebooks' own, and say nothing of what is hard."
        if headless
        else ""
    )
    return Part(
        "Exercises" if headless else "Exercises, hardest first",
        told,
        ("question", "notebook", "right", "right answer", "most frequent wrong answer"),
        _rows(rows[:MOST_ROWS]),
    )


def curves(seats: Sequence[Seat]) -> Part | None:
    """Everybody's merges over t: a picture per pair of parents."""
    groups = _grouped(seats, "sweep", lambda row: (row.ends, row.split))
    if not groups:
        return None
    pictures = [
        made
        for (ends, split), found in list(groups.items())[:MOST_PAIRS]
        if (made := _ensemble(ends, split, found))
    ]
    told = (
        "Every thin line is one learner's merge, scored at every t; the thick one is the "
        "middle of the class and the band its middle half."
    )
    return Part("Everybody's merge curves", told, pictures=tuple(pictures))


def _ensemble(ends: tuple[str, str], split: str, found: Sequence) -> Picture | None:
    by_axis: dict[str, dict[str, list]] = {}
    for axis in AXIS_LABELS:
        for row in found:
            for method, points in list(row.points.items())[:MOST_METHODS]:
                line = sorted(
                    (point.t, point.axes[axis].mean) for point in points if axis in point.axes
                )
                if line:
                    by_axis.setdefault(axis, {}).setdefault(method, []).append(line)
    if not by_axis:
        return None
    method = next(iter(next(iter(by_axis.values()))))
    best = [
        f"{AXIS_LABELS[axis]} at t={_best(methods[method]):.1f}".replace("\n", " ")
        for axis, methods in by_axis.items()
        if method in methods
    ]
    alt = (
        f"Scores on {split} over t from {ends[0]} (t=0) to {ends[1]} (t=1), {len(found)} learners. "
        f"Where the middle learner's {method.upper()} merge is best: {', '.join(best)}."
    )
    return picture(journal_figures.merge_curves(by_axis, ends), _cell(alt))


def _best(lines: Sequence[Sequence[tuple[float, float]]]) -> float:
    """The middle of everybody's best t."""
    return median(max(line, key=lambda point: point[1])[0] for line in lines)


def timing(seats: Sequence[Seat]) -> Part | None:
    """How long notebooks took."""
    seconds: dict[str, list[float]] = {}
    for seat in seats:
        for run in seat.runs:
            if not run.problem:
                seconds.setdefault(run.notebook, []).append(run.seconds)
    if not seconds:
        return None
    seconds = dict(sorted(seconds.items()))
    rows = [
        (name, len(values), _range(values, ".0f"), f"{sum(values):.0f}")
        for name, values in seconds.items()
    ]
    total = sum(map(sum, seconds.values()))
    alt = (
        f"Seconds that each of {len(seconds)} notebooks took, a dot per learner; the table "
        "below has the numbers."
    )
    told = (
        f"{total / 60:.1f} minutes of notebooks in all, several at a time. A stage that "
        "somebody else had trained already took no time."
    )
    return Part(
        "How long it took",
        told,
        ("notebook", "learners", "seconds: middle and range", "in all"),
        _rows(rows),
        (picture(journal_figures.times(seconds), alt),),
    )


# --- grades --------------------------------------------------------------------------------------

# What a platform knows a person by, in the heads of its own export. Canvas: everything up to the
# section, and in this order; Moodle: any of these, the last of them are not unique.
CANVAS_LAST, CANVAS_POINTS, FULL_MARKS = "Section", "Points Possible", 100
MOODLE = ("First name", "Last name", "Surname", "ID number", "Username", "Email address")
SHARED = (
    CANVAS_LAST,
    "Root Account",
    "First name",
    "Last name",
    "Surname",
    "LastName",
    "FirstName",
)
GRADED = "labkit"  # what the names of all its columns begin with


@dataclass(frozen=True)
class Gradebook:
    """A file of grades. platform: Canvas or Moodle. graded: people in it. strangers: learners of
    the packs whom the export does not know, or knows twice. absent: people of the export without a
    pack, who are not in the file.
    """

    path: Path
    platform: str
    graded: int
    strangers: tuple[str, ...]
    absent: int

    def __str__(self) -> str:
        return (
            f"{self.path}: grades of {self.graded} people for {self.platform}; {self.absent} "
            "people of the export brought nothing and are not in it"
        )


def write_gradebook(folder: Path, export: Path, path: Path) -> Gradebook:
    """What everybody did, in percent, as a CSV file that Canvas or Moodle imports.

    folder: of evidence packs or out_dirs. export: the platform's own export of its grades, which
    says who is who. A learner is found by the name in the records or by the pack's file name.
    Raises InputError for an export of neither platform, and when it knows none of the learners.
    """
    heads, people = _export_of(export)
    canvas = heads[: heads.index(CANVAS_LAST) + 1] if _is_canvas(heads) else []
    identity = canvas or [head for head in heads if head in MOODLE]
    if not canvas and not set(identity) - set(SHARED):
        raise InputError(
            f"{export}: neither Canvas's columns (Student, ID, ..., Section) nor one of Moodle's "
            "(Email address, ID number, Username); give the file that the platform exports, in "
            "English"
        )
    known = _people(heads, people, identity)
    rows: dict[int, list] = {}
    strangers = []
    for source in sources(folder):
        try:
            found = by_learner(records_of(source))
        except (LabkitError, OSError):
            continue  # the class page says so
        called = source.name if source.is_dir() else source.stem
        for name, own in found.items():
            numbers = known.get(_same(name), set()) or known.get(_same(called), set())
            if len(numbers) == 1:
                rows.setdefault(next(iter(numbers)), []).extend(own)
            else:
                strangers.append(printable(f"{name} ({source.name})".strip()))
    if not rows:
        raise InputError(
            f"{export}: none of its people is among the {len(strangers)} learners of {folder}; "
            "learners are found by the parameter `learner` of their notebooks or the pack's file "
            "name: a name, login, number or address as in the export"
        )
    grades = {number: _grades(own) for number, own in sorted(rows.items())}
    columns = [f"{GRADED} {name} (%)" for name in next(iter(grades.values()))]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*identity, *columns])
    if canvas:
        empty = [""] * (len(identity) - 1)
        writer.writerow([f"    {CANVAS_POINTS}", *empty, *[FULL_MARKS] * len(columns)])
    for number, marks in grades.items():
        who = dict(zip(heads, people[number], strict=False))
        writer.writerow([*(who.get(head, "") for head in identity), *marks.values()])
    write_file(path, text.getvalue())
    platform = "Canvas" if canvas else "Moodle"
    absent = len({number for found in known.values() for number in found} - set(rows))
    return Gradebook(path, platform, len(rows), tuple(strangers), absent)


def _export_of(path: Path) -> tuple[list[str], list[list[str]]]:
    """The heads of a platform's export, and its lines."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path}: larger than {MOST_BYTES // 2**20} MiB; give a class's export"
            )
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the export of Canvas or Moodle"
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: not in UTF-8; export the grades as comma-separated text"
        ) from None
    first = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        heads, *rows = [line for line in lines if any(line)]
    except csv.Error as error:
        raise InputError(f"{path}:{lines.line_num}: this is not CSV ({error})") from None
    except ValueError:
        raise InputError(f"{path}: it is empty; export the grades again") from None
    return [head.strip() for head in heads], rows


def _is_canvas(heads: Sequence[str]) -> bool:
    """As Canvas itself knows its files: a name or two, `ID`, and somewhere after them a section."""
    begins = heads[:2] == ["Student", "ID"] or heads[:3] == ["LastName", "FirstName", "ID"]
    return begins and CANVAS_LAST in heads


def _people(
    heads: Sequence[str], people: Sequence[Sequence[str]], identity: Sequence[str]
) -> dict[str, set[int]]:
    """What a person may be called -> the lines of those called so."""
    known: dict[str, set[int]] = {}
    for number, line in enumerate(people):
        who = dict(zip(heads, line, strict=False))
        if CANVAS_POINTS in line[0]:  # no person: Canvas's own line
            continue
        last, _, first = who.get("Student", "").partition(", ")
        first = who.get("First name", who.get("FirstName", first))
        last = who.get("Last name", who.get("Surname", who.get("LastName", last)))
        names = [who.get(head, "") for head in identity if head not in SHARED]
        for name in (*names, f"{first} {last}"):
            if _same(name):
                known.setdefault(_same(name), set()).add(number)
    return known


def _same(name: str) -> str:
    return " ".join(name.split()).casefold()


def _grades(rows: Sequence[Any]) -> dict[str, float]:
    """In percent: the steps done of each notebook; the guesses made, and of these the ones inside
    the measured interval; the exercises answered rightly, of all.

    Only what a person did counts: guesses made before the outcome, choices, reflections in words.
    """
    told = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    last = {(str(row.get("kind")), row["id"]): row for row in told}
    guesses = {
        id: row
        for (kind, id), row in last.items()
        if kind == "prediction" and row.get("made") == COMMITTED
    }
    answers = {
        id: row
        for (kind, id), row in last.items()
        if kind == "answer" and row.get("made", COMMITTED) == COMMITTED
    }
    done = {("predict", id) for id in guesses} | {("ask", id) for id in answers}
    done |= {
        ("reflect", id)
        for (kind, id), row in last.items()
        if kind == "reflection" and isinstance(row.get("text"), str) and row["text"].strip()
    }
    asked = {path.stem: steps(path) for path in course_notebooks()}
    every = [step for own in asked.values() for step in own]
    marks = {
        name: _percent(sum((step.kind, step.id) in done for step in own), len(own))
        for name, own in asked.items()
        if own
    }
    kinds = Counter(step.kind for step in every)
    made = sum(("predict", step.id) in done for step in every if step.kind == "predict")
    right = {id for id, row in answers.items() if row.get("right") is True}
    marks["guesses made"] = _percent(made, kinds["predict"])
    inside = sum(row.get("inside") is True for row in guesses.values())
    marks["guesses inside the interval"] = _percent(inside, len(guesses))
    rightly = sum(step.id in right for step in every if step.kind == "ask")
    marks["exercises right"] = _percent(rightly, kinds["ask"])
    return marks


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
