"""This module watches a running stage: it counts what becomes of the rows, keeps the loss curve,
tells where the stage stands, reports to a log file and to other programs, lets a probe look, and
saves the state.

A stage that is killed goes on where it was last saved. Its state (weights or adapters, optimiser,
schedule, random numbers, loss curve, what a probe saw) is saved every few minutes, and when
somebody stops the stage. It lies beside the store's checkpoints and is written by transformers' own
Trainer. Only the last state is kept, and none when the stage is done. The module does not know what
a stage trains on or what a probe looks at.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from labkit.base import processes
from labkit.base.errors import InputError, SpecError
from labkit.base.store import Checkpoint, file_hash, write_file

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from labkit.train.exposure import Recall


# --- telling ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """One moment of a running stage, as callbacks receive it. began: the step this run of the stage
    goes on from.
    """

    stage: str
    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float
    began: int = 0


PLACES_KEPT, PLACES_SAID = 100, 3


@dataclass
class RowCount:
    """What became of a stage's rows before the first step.

    places: where each lies, as in `qa.jsonl:12`. label: what to call rows that have no place. rows:
    how many were given. fates: of the rows that lost something, what happened to them -> where they
    lie.
    """

    places: Sequence[str] = ()
    label: str = "row"
    rows: int = 0
    fates: dict[str, list[str]] = field(default_factory=dict)

    def note(self, fate: str, number: int) -> None:
        """Take down what happened to a row, by its number from 0."""
        place = self.places[number] if self.places else f"{self.label} {number + 1}"
        self.fates.setdefault(fate, []).append(place)

    def add(self, other: RowCount) -> None:
        """Take over what became of other rows."""
        self.rows += other.rows
        for fate, places in other.fates.items():
            self.fates.setdefault(fate, []).extend(places)

    def as_json(self) -> dict:
        """As a lineage keeps it: the number of rows, and of every fate its number and places."""
        return {
            "given": self.rows,
            "fates": {
                fate: {"rows": len(places), "places": places[:PLACES_KEPT]}
                for fate, places in self.fates.items()
            },
        }


def row_words(counted: dict | None) -> str:
    """A row count of a lineage as a sentence; empty when every row was used whole.

    counted: None in lineages older than the count.
    """
    told = [
        f"{found['rows']:,} {fate} ({_places_in_words(found)})"
        for fate, found in (counted or {}).get("fates", {}).items()
    ]
    return f"of {counted['given']:,} rows, {'; '.join(told)}" if counted and told else ""


def _places_in_words(found: dict) -> str:
    said = found["places"][:PLACES_SAID]
    more = found["rows"] - len(said)
    return ", ".join(said) + (f" and {more:,} more" if more else "")


class Probe(Protocol):
    """Looks at a model while it trains (diagnose/probe.py has one). What it has seen is saved with
    the state.
    """

    def __call__(self, model: PreTrainedModel, step: int, steps: int) -> None: ...

    def as_rows(self) -> list[dict]: ...

    def restore(self, rows: list[dict], seconds: float) -> None: ...


@dataclass
class TrainResult:
    """What a stage leaves beside its weights. loss_curve: (step, loss) every few steps.

    model: None while it trains, and in every process but the first. wall_seconds: of training,
    those before a resumption included. rows: what became of the stage's rows. steps: that were
    taken, which may be fewer than planned where enough was known. reads: of each row by CPT.
    """

    model: PreTrainedModel | None
    loss_curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)
    wall_seconds: float = 0.0
    tokens: int = 0
    rows: RowCount = field(default_factory=RowCount)
    steps: int = 0
    reads: float = 0.0

    def add(self, step: int, logs: dict) -> None:
        """Take down what was logged at a step."""
        self.loss_curve.append((step, float(logs["loss"])))
        self.metrics.append({"step": step, **{k: float(v) for k, v in logs.items() if k != "step"}})


def reporter(
    stage: str,
    steps: int,
    tokens_per_step: float,
    result: TrainResult,
    progress: Callable | None,
    probe: Callable | None,
    enough: Recall | None = None,
    report: Report | None = None,
):
    """A TrainerCallback that keeps the loss curve and, in the first process, tells `progress` where
    the stage stands. enough: asked whether training may end, where it is due. report: gets every
    logged step.
    """
    from transformers import PrinterCallback, TrainerCallback

    class Reporter(TrainerCallback):
        replaces = PrinterCallback
        ended = False  # because enough was known

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            self.began, self.first = time.perf_counter(), state.global_step
            self.told = self.first
            for logs in state.log_history:  # of the run that is resumed
                if "loss" in logs:
                    result.add(logs["step"], logs)
            if not self.first:
                self.look(model, 0)

        def on_step_end(self, args, state, control, model=None, **kwargs):
            self.look(model, state.global_step)
            if enough and enough.due(state.global_step, steps):
                with _undisturbed(model):
                    if enough(model, state.global_step):
                        self.ended = control.should_training_stop = True

        def look(self, model, step: int) -> None:
            if probe:
                with _undisturbed(model):
                    probe(model, step, steps)

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                result.add(state.global_step, logs)
                self.tell(state.global_step)
                if report:
                    report.step(self.moment(state.global_step), result.metrics[-1])

        def on_train_end(self, args, state, control, **kwargs):
            self.tell(state.global_step)

        def tell(self, step: int) -> None:
            """Each step at most once: a last step is logged, and ends the training too."""
            if progress and processes.is_main() and result.loss_curve and step > self.told:
                self.told = step
                progress(self.moment(step))

        def moment(self, step: int) -> Progress:
            rate = (step - self.first) / max(time.perf_counter() - self.began, 1e-9)
            loss, left = result.loss_curve[-1][1], (steps - step) / rate
            return Progress(stage, step, steps, loss, rate * tokens_per_step, left, self.first)

    return Reporter()


@contextmanager
def _undisturbed(model):
    """Evaluation mode, and random numbers as they were afterwards: a look must not change what is
    learned.
    """
    import torch

    training = model.training
    model.eval()
    with torch.random.fork_rng(enabled=True):
        yield
    model.train(training)


# --- reporting --------------------------------------------------------------------------------

# what `report_to` may name -> what pip installs
REPORTERS = {"tensorboard": "tensorboard", "trackio": "trackio>=0.43", "wandb": "wandb"}
PROJECT = "labkit"  # under which trackio and wandb keep all runs


class ReportNote(UserWarning):
    """Where the numbers of a training go, or why none go there."""


def check_reporter(name: str | None) -> None:
    """Raises SpecError when what `report_to` names is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    if name is None:
        return
    try:  # by its distribution: wandb leaves folders of its own name, which could be imported
        version(name)
    except PackageNotFoundError:
        raise SpecError(
            f"report_to: {name} needs the package {name}, which is not installed; run: "
            f'pip install "{REPORTERS[name]}", or drop report_to'
        ) from None


def check_log(path: Path | None) -> None:
    """Make the file of --log-jsonl, or see that an older log goes on there on a line of its own.

    Raises InputError when it cannot be written or holds something else.
    """
    if path is None:
        return
    try:
        with path.open("a+", encoding="utf-8") as file:
            file.seek(0)
            first = file.readline()
            if first and not _is_log_line(first):
                raise InputError(
                    f"{path} holds something else than a log of labkit; name a new file for "
                    "--log-jsonl"
                )
            if first and not path.read_bytes().endswith(b"\n"):  # of a run that was killed
                file.write("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"{path}: the log cannot be written there ({reason}); name another file for --log-jsonl"
        ) from None


def _is_log_line(line: str) -> bool:
    try:
        return {"time", "event", "stage"} <= set(json.loads(line))
    except (ValueError, TypeError):
        return False


class Report:
    """What a stage tells a log file and another program while it runs. A new one for every stage.

    stage: kind, number from 1 among the stages, name and key: in every line of the log. run: the
    stage's name in the other program. config: what is told of it there. folder: where tensorboard
    and wandb write. to: the program. log: the file. Without both nothing is reported.

    What fails at the start is an InputError. What fails later is said once, and training goes on.
    """

    def __init__(
        self,
        stage: dict[str, str | int],
        run: str,
        config: dict,
        folder: Path,
        *,
        to: str | None = None,
        log: Path | None = None,
    ):
        self.stage, self.run, self.config, self.folder = stage, run, config, folder
        self.to, self.log = to, log
        self._tracker: Any = None
        self._began = False

    def begin(self, step: int, steps: int) -> None:
        """Training begins, or goes on after a step."""
        self._began = True
        self._line("start", step=step, steps=steps)
        if self.to:
            self._tracker = self._started(step)
            if step == 0 and self.to == "tensorboard":  # the others were given it
                self._tell(lambda: self._tracker.log({"stage": json.dumps(self.config)}, step=0))

    def step(self, moment: Progress, logged: dict[str, float]) -> None:
        """A logged step. logged: what the trainer says of it."""
        numbers = {
            **{name: value for name, value in logged.items() if name != "step"},
            "tokens_per_second": moment.tokens_per_second,
        }
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._line(
            "step",
            step=moment.step,
            steps=moment.steps,
            **finite,
            seconds_left=moment.seconds_left,
        )
        self._tell(lambda: self._tracker.log(numbers, step=moment.step))

    @contextmanager
    def around(self) -> Iterator[None]:
        """Goes around what makes a stage's checkpoint: an error or a stop ends the report, too."""
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            said = str(error) or type(error).__name__
            self._line("end", outcome="stopped" if stopped else "failed", said=said)
            self._finish()
            raise

    def end(self, made: Checkpoint) -> None:
        """The stage's checkpoint is there, trained just now or found in the store."""
        folder = str(made.folder)
        if self._began:
            told = {field: made.lineage[field] for field in ("steps", "tokens")}
            seconds = made.lineage["wall_seconds"]
            self._line("end", outcome="finished", **told, seconds=seconds, folder=folder)
            self._finish()
            return
        self._line("reused", folder=folder)
        if self.to:
            warnings.warn(
                f"{made.name} was trained before and is read from the store; nothing was reported "
                f"to {self.to}, because nothing was trained",
                ReportNote,
                stacklevel=2,
            )

    def _line(self, event: str, **values: Any) -> None:
        if self.log is None:
            return
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        row = {"time": now, "event": event, **self.stage, **values}
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            self._give_up(str(self.log), error)
            self.log = None

    def _started(self, step: int) -> Any:
        """A tracker of accelerate's, at work. Raises InputError with what its library says."""
        from accelerate import tracking

        tracker: Any
        if self.to == "tensorboard":
            # what a killed run had written beyond its saved state is written again
            again = {"purge_step": step + 1} if step else {}
            tracker = tracking.TensorBoardTracker(self.run, self.folder / "tensorboard", **again)
        elif self.to == "trackio":
            tracker = tracking.TrackioTracker(
                PROJECT,
                name=self.run,
                group=self.run,
                config=self.config,
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        else:
            tracker = tracking.WandBTracker(PROJECT, **self._wandb())
        try:
            with redirect_stdout(sys.stderr):  # of trackio, which says where it writes
                tracker.start()
        except Exception as error:  # of whatever kind a library has
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            offline = ", set WANDB_MODE=offline" if self.to == "wandb" else ""
            raise InputError(
                f"report_to: {self.to} does not start ({said[:300]}); mend that{offline}, or drop "
                "report_to"
            ) from error
        warnings.warn(
            f"{self.stage['name']} is reported to {self.to}: {self._place(tracker)}",
            ReportNote,
            stacklevel=2,
        )
        return tracker

    def _wandb(self) -> dict[str, Any]:
        """What wandb.init is given: no console, no source, nothing about this machine."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = self.folder / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        return {
            "name": self.run,
            "group": self.run,
            "config": self.config,
            "dir": str(self.folder),
            "settings": wandb.Settings(
                console="off",
                disable_git=True,
                host=PROJECT,  # the machine's own name is nobody's business
                quiet=True,
                reinit="create_new",  # a run that the user has open stays theirs
                save_code=False,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        }

    def _place(self, tracker: Any) -> str:
        """Where a tracker's numbers are to be seen."""
        if self.to == "tensorboard":
            root = self.folder / "tensorboard"
            return f"{tracker.logging_dir}; to see it: tensorboard --logdir {root}"
        if self.to == "wandb":
            run = tracker.tracker
            kept = Path(run.dir).parent
            return f"{kept}; to send it: wandb sync {kept}" if run.offline else run.url
        places = (os.environ.get("TRACKIO_SPACE_ID"), os.environ.get("TRACKIO_SERVER_URL"))
        away = next(filter(None, places), None)
        return away or f"on this machine; to see it: trackio show --project {PROJECT}"

    def _finish(self) -> None:
        if self._tracker is None:
            return
        finish = self._tracker.finish
        if self.to == "trackio":  # its run alone would be finished again when Python ends
            import trackio

            finish = trackio.finish
        with redirect_stdout(sys.stderr):
            self._tell(finish)
        self._tracker = None

    def _tell(self, call: Callable[[], object]) -> None:
        if self._tracker is None:
            return
        try:
            call()
        except Exception as error:  # of whatever kind a library has
            self._tracker = None
            self._give_up(str(self.to), error)

    def _give_up(self, place: str, error: Exception) -> None:
        warnings.warn(
            f"{self.stage['name']}: {place} takes no more reports "
            f"({type(error).__name__}: {error}); training goes on without",
            ReportNote,
            stacklevel=2,
        )


# --- being stopped ----------------------------------------------------------------------------


class Terminated(SystemExit):
    """SIGTERM came while a stage trained. Its text says what is kept; the status is a shell's."""

    def __init__(self, sentence: str):
        super().__init__(128 + signal.SIGTERM)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class Stop:
    """Goes around a stage, so that Ctrl-C, a notebook's stop button and SIGTERM wait until it is
    saved.

    Before and after training a signal acts as ever. While `patient`, it is only taken down, in
    `asked`, and the keeper saves and ends the training within a few steps. A second Ctrl-C acts at
    once. Only the main thread gets signals; elsewhere this does nothing.
    """

    def __init__(self, stage: str):
        self.stage = stage
        self.patient, self.asked = False, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):  # a job in the background ignores Ctrl-C
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind, *exc) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is None and self.asked:
            self.end(f"stopped: {self.stage} is finished and kept")

    def _take(self, number: int, frame: object) -> None:
        if self.patient and not (self.asked and number == signal.SIGINT):
            self.asked = self.asked or number
            return
        before = self._before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            signal.raise_signal(number)

    def end(self, sentence: str) -> None:
        """Do now what was asked for. In a process that was not asked itself, another one was."""
        if self.asked == signal.SIGTERM:
            raise Terminated(sentence)
        raise KeyboardInterrupt(sentence)


# --- saving and going on ----------------------------------------------------------------------

SAVE_EVERY_SECONDS = 600.0
MARK = "labkit.json"  # written last: a state without it was being written when the run was killed
SEEN = "probe.json"


class StateWarning(UserWarning):
    """A saved state cannot be used."""


def save_every_seconds() -> float:
    """$LABKIT_SAVE_EVERY_SECONDS, or ten minutes of training between the end of one saving and the
    start of the next.

    Raises InputError when it is no number.
    """
    given = os.environ.get("LABKIT_SAVE_EVERY_SECONDS") or SAVE_EVERY_SECONDS
    try:
        return float(given)
    except ValueError:
        raise InputError(
            f"LABKIT_SAVE_EVERY_SECONDS is {given!r}; give a number of seconds"
        ) from None


def layout() -> str:
    """How a state is cut into files: whole, or in shards, one set per process."""
    return f"sharded over {processes.count()}" if processes.sharded() else "whole"


@dataclass(frozen=True)
class State:
    """An intact saved state. seconds: of training that lie behind it."""

    folder: Path
    seconds: float

    @property
    def step(self) -> int:
        return _step(self.folder)

    def seen(self) -> list[dict]:
        """What a probe had seen by then."""
        path = self.folder / SEEN
        return json.loads(path.read_text("utf-8")) if path.exists() else []


class Partial:
    """The saved states of one unfinished stage, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def find(self) -> State | None:
        """The last intact state; what cannot be used is deleted with a warning.

        All processes get the first one's answer.
        """
        found = processes.from_main(self._find() if processes.is_main() else None)
        return State(Path(found[0]), found[1]) if found else None

    def _find(self) -> tuple[str, float] | None:
        states = sorted(self.folder.glob("checkpoint-*"), key=_step, reverse=True)
        for state in states:
            seconds = _seconds_if_intact(state)
            if seconds is not None:
                return str(state), seconds
        if states:
            warnings.warn(
                f"{self.folder}: the saved state of an unfinished stage is damaged or "
                "of another kind of run; the stage starts over",
                StateWarning,
                stacklevel=2,
            )
        self.discard()
        return None

    def keep(self, state: Path, seconds: float) -> None:
        """Declare a state whole and drop the older ones."""
        files = {
            str(path.relative_to(state)): file_hash(path)
            for path in sorted(state.rglob("*"))
            if path.is_file()
        }
        write_file(
            state / MARK, json.dumps({"seconds": seconds, "layout": layout(), "files": files})
        )
        for other in self.folder.glob("checkpoint-*"):
            if other != state:
                shutil.rmtree(other, ignore_errors=True)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _step(state: Path) -> int:
    number = state.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def _seconds_if_intact(state: Path) -> float | None:
    try:
        mark = json.loads((state / MARK).read_text("utf-8"))
        intact = mark["layout"] == layout() and all(
            file_hash(state / name) == digest for name, digest in mark["files"].items()
        )
        return float(mark["seconds"]) if intact else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keeper(
    partial: Partial, stop: Stop, probe: Probe | None, seconds_before: float, log_every: int
):
    """A TrainerCallback that has the state saved when it is time and when somebody wants to stop,
    just after a logged step, so that no loss is lost.
    """
    from transformers import TrainerCallback

    every = save_every_seconds()

    class Keeper(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.began = self.saved = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % log_every or state.global_step >= state.max_steps:
                return
            due = time.perf_counter() - self.saved >= every
            due, end = processes.from_main((due, bool(stop.asked)))
            if due or end:
                args.output_dir = str(partial.folder)  # until now a folder that is thrown away
                control.should_save = True
                control.should_training_stop |= end  # it may be ending because enough is known

        def on_save(self, args, state, control, **kwargs):
            processes.wait()
            if processes.is_main():
                spent = seconds_before + time.perf_counter() - self.began
                folder = partial.folder / f"checkpoint-{state.global_step}"
                if probe:
                    write_file(folder / SEEN, json.dumps(probe.as_rows()))
                partial.keep(folder, spent)
            processes.wait()
            self.saved = time.perf_counter()

    return Keeper()
