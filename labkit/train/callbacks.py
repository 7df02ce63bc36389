"""This module watches a running stage: it counts what becomes of the rows, keeps the loss curve,
tells where the stage stands, lets a probe look, and saves the state.

A stage that is killed goes on where it was last saved. Its state (weights or adapters, optimiser,
schedule, random numbers, loss curve, what a probe saw) is saved every few minutes, and when
somebody stops the stage. It lies beside the store's checkpoints and is written by transformers' own
Trainer. Only the last state is kept, and none when the stage is done. The module does not know what
a stage trains on or what a probe looks at.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from labkit.base import processes
from labkit.base.errors import InputError
from labkit.base.store import file_hash, write_file

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
):
    """A TrainerCallback that keeps the loss curve and, in the first process, tells `progress` where
    the stage stands. enough: asked whether training may end, where it is due.
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

        def on_train_end(self, args, state, control, **kwargs):
            self.tell(state.global_step)

        def tell(self, step: int) -> None:
            """Each step at most once: a last step is logged, and ends the training too."""
            if progress and processes.is_main() and result.loss_curve and step > self.told:
                self.told = step
                rate = (step - self.first) / max(time.perf_counter() - self.began, 1e-9)
                loss, left = result.loss_curve[-1][1], (steps - step) / rate
                speed = rate * tokens_per_step
                progress(Progress(stage, step, steps, loss, speed, left, self.first))

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
