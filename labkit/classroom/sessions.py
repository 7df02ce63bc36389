"""Reads who is in the class, runs everybody's notebooks, and does what `labkit class` does.

A roster is a CSV file: a learner per line, with what the notebooks are run with. A name is shown
only when asked for: a learner is called by the place in the roster, and files by a hash of the
name.

Several learners run at a time, on this machine's processes (joblib) or on a Dask cluster. A
learner's notebooks run one after the other, because later ones read what earlier ones recorded.
Each is kept on disk the moment it is done, so a stopped class goes on, and no failure stops the
rest.

From end to end, a roster is run, or packs are read, and the class page is written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from threading import Event, Thread

from labkit.base.errors import InputError, LabkitError, PackError, SpecError, suggest
from labkit.base.inputs import MARKS, seen
from labkit.base.records import FILE
from labkit.base.store import DISTRIBUTION, key_of, write_file
from labkit.classroom.class_page import (
    NotebookRun,
    Seat,
    class_page,
    printable,
    read_seats,
    records_of,
    seat,
    write_class_page,
)
from labkit.course.execute import Run, parameter_names, run_notebook
from labkit.course.journal import learner_key
from labkit.course.report import course_page
from labkit.data.packs import SPLITS, load_pack, shipped_packs, suggest_pack
from labkit.design.designer import stage_kinds
from labkit.train.specs import profile as find_profile

REQUIRED = ("profile", "pack", "seed", "learner", "out_dir")
CONNECT_SECONDS, WORKER_SECONDS = 10, 30
LOOK_SECONDS = 1.0

Told = Callable[[int, int, str], None]  # notebooks done, notebooks in all, a remark or nothing


# --- who is in the class

COLUMNS = ("learner", "pack", "design", "seed", "notebooks")
NEEDED = "learner"
MOST_BYTES, MOST_LEARNERS = 2**20, 1000
MOST_CHARACTERS = {"learner": 100, "pack": 300, "design": 60, "seed": 10, "notebooks": 400}
LARGEST_SEED = 2**31 - 1
DELIMITERS = (",", ";", "\t", "|")
SEP = re.compile('"?sep=([^\\w\\s"]|\t)"?\\1*', re.IGNORECASE)
# Soft hyphen, zero-width space, word joiner, byte-order mark, and marks of direction, which steer
# nothing in a name. Joiners shape letters: Persian, Indian and Arabic names have them.
SHAPELESS = dict.fromkeys(map(ord, "\xad\u200b\u2060\ufeff\u200e\u200f\u061c"))
JOINERS = "\u200c\u200d"
# Characters between two commas, as csv has it: a quote that is never closed takes in the rest of
# the file.
LONGEST_FIELD = 2**17


@dataclass(frozen=True)
class Learner:
    """One line. number: place in the roster, from 1. pack: a shipped name or an absolute folder.
    design: stages, or empty.

    notebooks: names, in the order in which they are run.
    """

    number: int
    name: str
    pack: str
    design: str
    seed: int
    notebooks: tuple[str, ...]

    @property
    def pseudonym(self) -> str:
        return pseudonym(self.number)

    @property
    def key(self) -> str:
        """What stands for the learner in file names and records."""
        return learner_key(self.name)


def pseudonym(number: int) -> str:
    return f"learner {number:02}"


@dataclass(frozen=True)
class Defaults:
    """What an empty field stands for. notebooks: all that can be chosen from, in order."""

    pack: str
    seed: int
    notebooks: tuple[str, ...]


def read_roster(path: Path, defaults: Defaults) -> list[Learner]:
    """The learners of a roster. A pack's folder is looked for beside the roster.

    Raises InputError naming file, line, field and remedy for the first thing that cannot be used.
    """
    learners: dict[str, Learner] = {}
    lines: dict[str, int] = {}  # by how a name looks
    for number, (line, row) in enumerate(_rows(path), 1):
        if number > MOST_LEARNERS:
            raise InputError(
                f"{path}:{line}: more than {MOST_LEARNERS:,} learners; split the roster"
            )
        learner = _learner(_Place(path, line), number, row, defaults)
        same = " ".join(seen(learner.name).split()).casefold()
        if same in learners:
            raise InputError(
                f"{path}:{line}: learner: the same name as in line {lines[same]}; tell "
                "the two apart, or remove one"
            )
        learners[same], lines[same] = learner, line
    if not learners:
        raise InputError(f"{path}: no learner in it; write one per line below the columns")
    return list(learners.values())


@dataclass(frozen=True)
class _Place:
    """Where an error is. Values are shown short and in ASCII: they may hold anything."""

    path: Path
    line: int

    def error(self, field: str, value: str, remedy: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {field} is {value[:60]!a}; {remedy}")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of every line that is not empty."""
    delimiter, text = _delimiter(re.sub("\r\n?", "\n", _text(path)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    # the limit holds for the whole process, and some libraries raise it
    others = csv.field_size_limit(LONGEST_FIELD)
    try:
        filled = ((reader.line_num, _filled(fields)) for fields in reader if any(_filled(fields)))
        line, heads = next(filled, (1, []))
        columns = _columns(path, line, heads)
        for line, fields in filled:
            if len(fields) > len(columns):
                raise InputError(
                    f"{path}:{line}: {len(fields)} fields under {len(columns)} columns; "
                    f"put a field that holds a {delimiter!r} in quotes"
                )
            row = dict(zip(columns, fields, strict=False))
            for field, value in row.items():
                if len(value) > MOST_CHARACTERS[field]:
                    raise InputError(
                        f"{path}:{line}: {field} has {len(value):,} characters; "
                        f"{MOST_CHARACTERS[field]} are allowed, shorten it"
                    )
            yield line, row
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num}: this is not CSV ({error}); check the quotes of this line"
        ) from None
    finally:
        csv.field_size_limit(others)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size / 2**20:,.1f} MiB; a roster has at most "
                f"{MOST_BYTES / 2**20:.0f}, check that this is one"
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a CSV file with a column `learner`"
        ) from None
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in re.split(rb"[\r\n]", content, maxsplit=1)[0]:
        raise InputError(
            f"{path}: this is no text in UTF-8, perhaps a workbook; save the roster as `CSV UTF-8`"
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(re.split(rb"\r\n?|\n", content[: error.start]))
        raise InputError(
            f"{path}:{line}: byte {content[error.start]:#04x} is not {encoding.upper()}; save the "
            "roster as `CSV UTF-8`"
        ) from None


def _delimiter(text: str) -> tuple[str, str]:
    """What is between two fields, and the text without the line `sep=` in which Excel says it.

    Else it is the commonest of comma, semicolon, tab and bar in the heads: spreadsheets write
    semicolons where the comma is decimal, and tabs where cells are copied.
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    if said := SEP.fullmatch(first):
        return said[1], text.replace(first, "", 1)
    return max(DELIMITERS, key=first.count), text


def _filled(fields: list[str]) -> list[str]:
    """The fields of a line as plain text, without the empty ones that a spreadsheet puts last."""
    plain = [_plain(field) for field in fields]
    while plain and not plain[-1]:
        plain.pop()
    return plain


def _plain(field: str) -> str:
    """Composed letters and ordinary blanks, without signs that have neither shape nor meaning.

    So two spellings of one name in Unicode are one learner.
    """
    letters = unicodedata.normalize("NFC", field).translate(SHAPELESS)
    return "".join(" " if unicodedata.category(one) == "Zs" else one for one in letters).strip()


def _columns(path: Path, line: int, fields: list[str]) -> list[str]:
    columns = [field.lower() for field in fields]
    for number, column in enumerate(columns, 1):
        if not column:
            raise InputError(
                f"{path}:{line}: column {number} has no name; give it one or remove it"
            )
        if column not in COLUMNS:
            raise InputError(
                f"{path}:{line}: unknown column {column[:60]!a}; "
                f"{suggest(column[:60], list(COLUMNS))}"
            )
        if columns.count(column) > 1:
            raise InputError(
                f"{path}:{line}: column {column!r} is there {columns.count(column)} times; keep one"
            )
    if NEEDED not in columns:
        raise InputError(
            f"{path}:{line}: column {NEEDED!r} is missing; the first line names the "
            f"columns, for example: {','.join(COLUMNS)}"
        )
    return columns


def _learner(place: _Place, number: int, row: dict[str, str], defaults: Defaults) -> Learner:
    name, seed = row["learner"], row.get("seed") or str(defaults.seed)
    if not seen(name):
        raise place.error("learner", name, "write a name of letters, digits, spaces and signs")
    for at, sign in enumerate(name, 1):
        if not sign.isprintable() and sign not in JOINERS:
            raise place.error(
                "learner",
                name,
                f"its character {at} ({_called(sign)}) cannot be shown: take it out",
            )
    if not re.fullmatch(r"[0-9]+", seed) or int(seed) > LARGEST_SEED:
        raise place.error("seed", seed, f"use a whole number from 0 to {LARGEST_SEED}")
    try:
        design = "-".join(stage_kinds(row.get("design", "")))
    except SpecError as error:
        raise place.error("design", row["design"], str(error).removeprefix("sequence: ")) from None
    notebooks = _chosen(place, row.get("notebooks", ""), defaults.notebooks)
    return Learner(
        number, name, _pack(place, row.get("pack", ""), defaults.pack), design, int(seed), notebooks
    )


def _called(sign: str) -> str:
    """A character that no font draws, as in U+202E RIGHT-TO-LEFT OVERRIDE."""
    return f"U+{ord(sign):04X} {unicodedata.name(sign, 'control character')}"


def _pack(place: _Place, given: str, default: str) -> str:
    """A shipped pack's name, or the absolute folder of another one."""
    if not given or given in shipped_packs():
        return given or default
    beside = place.path.parent.resolve()
    try:
        folder = (beside / given).resolve()
        if not folder.is_relative_to(beside):
            raise place.error(
                "pack", given, f"it must lie in the roster's folder: move it to {beside}"
            )
        if not folder.is_dir():
            raise place.error("pack", given, suggest_pack(given, "name a folder beside the roster"))
        for name in ("pack.yaml", *SPLITS.values()):
            if not (folder / name).resolve().is_relative_to(folder):
                raise place.error(
                    "pack",
                    given,
                    f"its {name} is a link that leads out of its folder: put the file itself there",
                )
        load_pack(folder)
    except (PackError, OSError, ValueError) as error:  # the last two: a name that no system has
        raise place.error("pack", given, str(error)) from None
    return str(folder)


def _chosen(place: _Place, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """The notebooks named, in the class's order; all of them when none is."""
    names = re.split(r"[\s,;]+", given.strip(" ,;")) if given.strip(" ,;") else []
    for name in names:
        if name not in known:
            raise place.error("notebooks", name, suggest(name, list(known)))
    return tuple(name for name in known if name in names or not names)


# --- their notebooks are run


# slots: joblib's Dask backend leaves other objects on one worker, and they die with it
@dataclass(frozen=True, slots=True)
class Task:
    """One learner's work, as it travels to a worker. folder: where its results lie, the same for
    every machine.

    notebooks: (name, content, key) in order; a key changes with everything that determines the
    result. threads: of every notebook's process.
    """

    folder: str
    notebooks: tuple[tuple[str, str, str], ...]
    parameters: dict[str, dict]
    threads: int


def run_class(
    learners: Sequence[Learner],
    notebooks: Sequence[Path],
    *,
    profile: str,
    out_dir: Path,
    jobs: int | None = None,
    scheduler: str | None = None,
    told: Told | None = None,
) -> dict[str, list[Run]]:
    """Run every learner's notebooks; results in out_dir/learners/KEY.

    Returns the learner's key -> how its notebooks went.

    notebooks: files; a learner names them without `.ipynb`. jobs: learners at a time, by default
    one per core. scheduler: address of a Dask scheduler whose workers see out_dir. What is on disk
    and unchanged is not run again. Raises InputError, before anything is run, for what cannot be
    run.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    jobs = min(jobs or cores, len(learners))
    threads = 1 if scheduler else max(1, cores // jobs)
    files = {path.stem: path for path in notebooks}
    tasks = [_task(learner, files, profile, out_dir, threads) for learner in learners]
    for task in tasks:
        Path(task.folder).mkdir(parents=True, exist_ok=True)
    with (
        _cluster(scheduler, out_dir) if scheduler else _processes(jobs) as (parallel, remark),
        _counting(tasks, told, remark),
    ):
        results = _run_all(parallel, tasks)
    return {learner.key: runs for learner, runs in zip(learners, results, strict=True)}


def learner_folder(out_dir: Path, key: str) -> Path:
    return out_dir.resolve() / "learners" / key


def _task(
    learner: Learner, files: dict[str, Path], profile: str, out_dir: Path, threads: int
) -> Task:
    """Raises InputError for a notebook that does not take what the roster gives."""
    folder = learner_folder(out_dir, learner.key)
    common = {
        "profile": profile,
        "pack": learner.pack,
        "seed": learner.seed,
        "learner": learner.key,
        "out_dir": str(folder),
    }
    taking, parameters, work, before = False, {}, [], ""
    for name in learner.notebooks:
        known = parameter_names(files[name])
        for missing in (one for one in REQUIRED if one not in known):
            raise InputError(
                f"{files[name]}: its parameters cell does not set {missing!r}; a class "
                f"needs {', '.join(REQUIRED)}"
            )
        takes = bool(learner.design) and "design" in known
        taking |= takes
        parameters[name] = common | ({"design": learner.design} if takes else {})
        text = files[name].read_text("utf-8")
        before = _key(name, text, parameters[name], before)
        work.append((name, text, before))
    if learner.design and not taking:
        raise InputError(
            f"{learner.pseudonym} has the design {learner.design!r}, but none of its "
            f"notebooks ({', '.join(learner.notebooks)}) has a parameter "
            "`design`; empty the field, or choose a notebook that has it"
        )
    return Task(str(folder), tuple(work), parameters, threads)


def _key(name: str, text: str, parameters: dict, before: str) -> str:
    """Changes with everything that determines a notebook's result. before: the key of the one that
    ran before it.
    """
    from importlib.metadata import version

    from labkit.evaluate.scoring import SCORING_VERSION
    from labkit.train.pipeline import RECIPE_VERSION

    data = load_pack(parameters["pack"]).fingerprint()
    return key_of(
        name=name,
        text=text,
        parameters=parameters,
        data=data,
        before=before,
        labkit=version(DISTRIBUTION),
        recipe=RECIPE_VERSION,
        scoring=SCORING_VERSION,
    )


# --- in a worker


def run_learner(task: Task) -> list[Run]:
    """A learner's notebooks in order, each kept when it is done.

    Never raises for what goes wrong in a notebook.
    """
    from filelock import FileLock

    folder, stale, runs = Path(task.folder), False, []
    if not folder.is_dir():
        raise InputError(
            f"{platform.node()} does not see {folder}; use an --out-dir that is on "
            "every machine under the same name"
        )
    with FileLock(folder / ".lock"):  # a worker that was given up may still be at work
        for name, text, key in task.notebooks:
            kept = kept_run(folder, name, key)
            if kept and not kept.problem and not stale:
                runs.append(kept)
                continue
            run = _run_kept(task, name, text, key)
            # what follows may read what this one recorded
            stale |= not (run.problem and kept and kept.problem)
            runs.append(run)
    return runs


def _run_kept(task: Task, name: str, text: str, key: str) -> Run:
    """Run one notebook, make its page, and write down how it went: last, so that half a result is
    no result.
    """
    folder = Path(task.folder)
    executed, state = folder / "executed" / f"{name}.ipynb", _state(folder, name)
    state.unlink(missing_ok=True)
    _forget(folder, name)
    try:
        run = _run(folder, name, text, executed, task)
    # whatever it is, it is this notebook's failure, and the page says so
    except Exception as error:
        run = Run(
            name,
            0.0,
            executed,
            str(error) if isinstance(error, LabkitError) else f"{type(error).__name__}: {error}",
        )
    write_file(state, json.dumps({"key": key, "seconds": run.seconds, "problem": run.problem}))
    return run


def _run(folder: Path, name: str, text: str, executed: Path, task: Task) -> Run:
    from labkit.course.report import notebook_page

    source = folder / "notebooks" / f"{name}.ipynb"
    write_file(source, text)
    run = run_notebook(source, executed, task.parameters[name], threads=task.threads)
    notebook_page(executed, folder / f"{name}.html")
    return run


def _state(folder: Path, name: str) -> Path:
    return folder / "state" / f"{name}.json"


def _forget(folder: Path, name: str) -> None:
    """Take a notebook's records out of its learner's: those of an earlier run, or of half a one."""
    path = folder / FILE
    if not path.is_file():
        return
    lines = [line for line in path.read_text("utf-8").split("\n") if line]
    kept = [line for line in lines if not _written_by(line, name)]
    if len(kept) < len(lines):
        write_file(path, "".join(f"{line}\n" for line in kept))


def _written_by(line: str, name: str) -> bool:
    try:
        return json.loads(line).get("notebook") == name
    except json.JSONDecodeError:  # of a process that was killed while writing
        return True


def kept_run(folder: Path, name: str, key: str | None = None) -> Run | None:
    """How a notebook went, if it is done and everything that determines it is as it was. key: None
    takes any.
    """
    executed = folder / "executed" / f"{name}.ipynb"
    try:
        state = json.loads(_state(folder, name).read_text("utf-8"))
        run = Run(name, float(state["seconds"]), executed, str(state["problem"]))
        same = key in (None, state["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = run.problem or (executed.is_file() and (folder / f"{name}.html").is_file())
    return run if same and there else None


# --- many workers


def _run_all(parallel, tasks: Sequence[Task]) -> list[list[Run]]:
    """What every task gave; of one whose workers died what is on disk, and why there is no more."""
    from joblib import delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        results = parallel(delayed(_attempt)(task) for task in tasks)
    except TerminatedWorkerError:
        # One process was killed, and joblib gives up all: what is done is on disk, the others run
        # each alone.
        results = [_alone(parallel, task) for task in tasks]
    return [
        result if isinstance(result, list) else _lost(task, result)
        for task, result in zip(tasks, results, strict=True)
    ]


def _alone(parallel, task: Task) -> object:
    from joblib import delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        return parallel([delayed(_attempt)(task)])[0]
    except TerminatedWorkerError as error:
        return error


def _attempt(task: Task) -> list[Run] | str:
    """The runs, or a sentence on why there are none: an error would end the whole class, and may
    not travel.
    """
    try:
        return run_learner(task)
    except (LabkitError, OSError) as error:
        return str(error)


def _lost(task: Task, why: object) -> list[Run]:
    folder = Path(task.folder)
    told = (
        why
        if isinstance(why, str)
        else f"the process that ran it died ({type(why).__name__}), most often because "
        "memory ran out; run fewer learners at a time"
    )
    runs = []
    for name, _, key in task.notebooks:
        kept = kept_run(folder, name, key)
        runs.append(kept or Run(name, 0.0, folder / "executed" / f"{name}.ipynb", told))
    return runs


@contextmanager
def _processes(jobs: int) -> Iterator[tuple]:
    """joblib's own processes.

    A notebook has a process of its own again, and its threads are set there.
    """
    from joblib import Parallel

    yield Parallel(n_jobs=jobs, backend="loky", batch_size=1, pre_dispatch="all"), lambda: ""


@contextmanager
def _cluster(address: str, out_dir: Path) -> Iterator[tuple]:
    """joblib on a Dask cluster.

    A task whose worker dies goes to another one; each may hold one task per thread.

    Raises InputError when nothing answers, no worker is there, or one does not see out_dir.
    """
    from joblib import Parallel

    with _connected(address) as client:
        _check_workers(client, address, out_dir)

        def remark() -> str:
            return (
                "" if client.scheduler_info()["workers"] else "no worker is left: waiting for one"
            )

        yield (
            Parallel(n_jobs=-1, backend=_patient(client), batch_size=1, pre_dispatch="all"),
            remark,
        )


def _connected(address: str):
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "--scheduler needs the packages dask and distributed; install them with: "
            "pip install 'labkit-lm[cluster]'"
        ) from None
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [""])[0][:120]
        raise InputError(
            f"--scheduler {address}: no Dask scheduler answers there ({first}); start "
            "one with: dask scheduler --host 127.0.0.1"
        ) from None


def _check_workers(client, address: str, out_dir: Path) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError:
        raise InputError(
            f"--scheduler {address}: it has no worker; start some with: dask worker "
            f"{quote(address)} --nthreads 1"
        ) from None
    mark = out_dir.resolve() / f".seen-{uuid.uuid4().hex}"
    write_file(mark, "")
    try:
        for worker, seen in client.run(_sees, str(mark), on_error="return").items():
            if isinstance(seen, Exception):
                raise InputError(
                    f"worker {worker} cannot run labkit ({type(seen).__name__}: "
                    f"{seen}); install the same labkit there"
                )
            if not seen:
                raise InputError(
                    f"worker {worker} does not see {mark.parent}; use an --out-dir that "
                    "is on every machine under the same name"
                )
    finally:
        mark.unlink()


def _sees(path: str) -> bool:
    return Path(path).is_file()


def _patient(client):
    """joblib's Dask backend, which by itself waits for ever for a task that Dask has given up."""
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs):
            # for one, joblib would leave the cluster alone and work here
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func, callback=None):
            future = super().submit(func, callback)
            future.add_done_callback(
                lambda done: callback([done.exception()]) if done.exception() else None
            )
            return future

    return Backend(client=client)


@contextmanager
def _counting(
    tasks: Sequence[Task], told: Told | None, remark: Callable[[], str]
) -> Iterator[None]:
    """Tell every second how many notebooks are done, by what is on disk: workers are anywhere."""
    if told is None:
        yield
        return
    wanted = [(Path(task.folder), name, key) for task in tasks for name, _, key in task.notebooks]
    ended = Event()

    def count() -> int:
        return sum(kept_run(*one) is not None for one in wanted)

    def tick() -> None:
        while not ended.wait(LOOK_SECONDS):
            told(count(), len(wanted), remark())

    told(count(), len(wanted), "")
    clock = Thread(target=tick, daemon=True)
    clock.start()
    try:
        yield
    finally:
        ended.set()
        clock.join()
        told(count(), len(wanted), "")


# --- from end to end

HEADLESS = (
    "Notebooks were run headless. Every number comes from records; seconds include "
    "starting a process per notebook."
)
FROM_PACKS = (
    "Read from participants' own records, which nobody has run again: labkit verify does "
    "that for an evidence pack."
)


@dataclass(frozen=True)
class Done:
    """page: the class page. status: what is to be said of its PDF. problems: a sentence each.
    notebooks: how many were to be run.
    """

    page: Path
    status: str
    problems: tuple[str, ...]
    notebooks: int = 0


def run_roster(
    roster: Path,
    notebooks: Sequence[Path],
    *,
    profile: str,
    pack: str,
    seed: int,
    out_dir: Path,
    jobs: int | None = None,
    scheduler: str | None = None,
    names: bool = False,
    told: Told | None = None,
) -> Done:
    """Run a roster's notebooks and write a page per learner and one on the class; names: show them
    instead of numbers.

    Raises InputError before anything is run for a roster, notebook, pack or scheduler that cannot
    be used.
    """
    find_profile(profile)
    default = pack if pack in shipped_packs() else str(Path(pack).resolve())
    load_pack(default)
    learners = read_roster(roster, Defaults(default, seed, tuple(path.stem for path in notebooks)))
    results = run_class(
        learners,
        notebooks,
        profile=profile,
        out_dir=out_dir,
        jobs=jobs,
        scheduler=scheduler,
        told=told,
    )
    seats = [
        _seat(learner, results[learner.key], out_dir, learner.name if names else learner.pseudonym)
        for learner in learners
    ]
    runs = sum(len(seat.runs) for seat in seats)
    problems = tuple(
        _short(f"{seat.shown}: {run.notebook}: {run.problem}")
        for seat in seats
        for run in seat.failures
    )
    return _finish(seats, out_dir, f"Profile {profile}. {HEADLESS}", problems, runs)


def read_packs(folder: Path, *, out_dir: Path, names: bool = False) -> Done:
    """Write the class page of participants' evidence packs or out_dirs, and run nothing.

    Raises InputError for a folder without any.
    """
    shown = (
        (lambda number, name, source: f"{name} ({source})".strip())
        if names
        else (lambda number, name, source: pseudonym(number))
    )
    seats = read_seats(folder, shown)
    problems = tuple(_short(f"{seat.shown}: {seat.problem}") for seat in seats if seat.problem)
    return _finish(seats, out_dir, FROM_PACKS, problems, 0)


def _finish(
    seats: Sequence[Seat], out_dir: Path, subtitle: str, problems: tuple[str, ...], notebooks: int
) -> Done:
    page, status = write_class_page(
        class_page(seats, title=f"A class of {len(seats)}", subtitle=subtitle), out_dir
    )
    return Done(page, status, problems, notebooks)


def _seat(learner: Learner, runs: Sequence[Run], out_dir: Path, shown: str) -> Seat:
    """A learner's records, and the page on everything of this learner, written anew: it carries the
    name that is shown now.
    """
    folder = learner_folder(out_dir, learner.key)
    told, page = [NotebookRun(run.notebook, run.seconds, run.problem) for run in runs], ""
    try:
        page = (
            course_page(list(runs), folder, title=f"{shown}: {load_pack(learner.pack).title}")
            .relative_to(out_dir.resolve())
            .as_posix()
        )
    # a notebook of the instructor's own may record what it likes
    except (InputError, LookupError, TypeError) as error:
        told.append(
            NotebookRun(
                "course.html",
                0.0,
                "this learner's page cannot be made of the records: "
                f"{type(error).__name__}: {error}",
            )
        )
    rows = records_of(folder) if (folder / FILE).is_file() else []
    return seat(shown, rows, runs=told, page=page)


def _short(problem: str) -> str:
    """One line for a terminal, and nothing in it that steers one."""
    return " ".join(printable(problem).split())[:400]
