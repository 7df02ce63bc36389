"""What `labkit class` does from end to end: a roster is run, or packs are read, and the class page is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import class_records
from labkit.class_page import class_page, printable, write_class_page
from labkit.class_records import NotebookRun, Seat
from labkit.classroom import Run, Told, learner_folder, run_class
from labkit.design import profile as find_profile
from labkit.errors import InputError
from labkit.packs import load_pack, shipped_packs
from labkit.records import FILE
from labkit.report import course_page
from labkit.roster import Defaults, Learner, pseudonym, read_roster

HEADLESS = "Notebooks were run headless. Every number comes from records; seconds include starting a process per notebook."
FROM_PACKS = "Read from participants' own records, which nobody has run again: labkit verify does that for an evidence pack."


@dataclass(frozen=True)
class Done:
    """page: the class page. status: what is to be said of its PDF. problems: a sentence each. notebooks: how many were to be run."""

    page: Path
    status: str
    problems: tuple[str, ...]
    notebooks: int = 0


def run_roster(
    roster: Path, notebooks: Sequence[Path], *, profile: str, pack: str, seed: int, out_dir: Path, jobs: int | None = None,
    scheduler: str | None = None, names: bool = False, told: Told | None = None,
) -> Done:
    """Run a roster's notebooks and write a page per learner and one on the class; names: show them instead of numbers.

    Raises InputError before anything is run for a roster, notebook, pack or scheduler that cannot be used.
    """
    find_profile(profile)
    default = pack if pack in shipped_packs() else str(Path(pack).resolve())
    load_pack(default)
    learners = read_roster(roster, Defaults(default, seed, tuple(path.stem for path in notebooks)))
    results = run_class(learners, notebooks, profile=profile, out_dir=out_dir, jobs=jobs, scheduler=scheduler, told=told)
    seats = [_seat(learner, results[learner.key], out_dir, learner.name if names else learner.pseudonym) for learner in learners]
    runs = sum(len(seat.runs) for seat in seats)
    problems = tuple(_short(f"{seat.shown}: {run.notebook}: {run.problem}") for seat in seats for run in seat.failures)
    return _finish(seats, out_dir, f"Profile {profile}. {HEADLESS}", problems, runs)


def read_packs(folder: Path, *, out_dir: Path, names: bool = False) -> Done:
    """Write the class page of participants' evidence packs or out_dirs, and run nothing. Raises InputError for a folder without any."""
    shown = (lambda number, name, source: f"{name} ({source})".strip()) if names else (lambda number, name, source: pseudonym(number))
    seats = class_records.read_seats(folder, shown)
    problems = tuple(_short(f"{seat.shown}: {seat.problem}") for seat in seats if seat.problem)
    return _finish(seats, out_dir, FROM_PACKS, problems, 0)


def _finish(seats: Sequence[Seat], out_dir: Path, subtitle: str, problems: tuple[str, ...], notebooks: int) -> Done:
    page, status = write_class_page(class_page(seats, title=f"A class of {len(seats)}", subtitle=subtitle), out_dir)
    return Done(page, status, problems, notebooks)


def _seat(learner: Learner, runs: Sequence[Run], out_dir: Path, shown: str) -> Seat:
    """A learner's records, and the page on everything of this learner, written anew: it carries the name that is shown now."""
    folder = learner_folder(out_dir, learner.key)
    told, page = [NotebookRun(run.notebook, run.seconds, run.problem) for run in runs], ""
    try:
        page = course_page(list(runs), folder, title=f"{shown}: {load_pack(learner.pack).title}").relative_to(out_dir.resolve()).as_posix()
    except (InputError, LookupError, TypeError) as error:  # a notebook of the instructor's own may record what it likes
        told.append(NotebookRun("course.html", 0.0, f"this learner's page cannot be made of the records: {type(error).__name__}: {error}"))
    rows = class_records.records_of(folder) if (folder / FILE).is_file() else []
    return class_records.seat(shown, rows, runs=told, page=page)


def _short(problem: str) -> str:
    """One line for a terminal, and nothing in it that steers one."""
    return " ".join(printable(problem).split())[:400]
