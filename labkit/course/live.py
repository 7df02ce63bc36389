"""A stage as a notebook shows it while it trains: one line, and the curve beside it.

The line has loss, speed and time left. `training` goes around every cell that trains: it says what
is ahead, saves often, and tells what an interrupt left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import escape

from labkit.base.processes import headless
from labkit.base.store import Checkpoint
from labkit.design.planner_speed import announce, stopped, stored
from labkit.diagnose.probe import EarlyWarning, alarms, curves
from labkit.models.architecture import architecture_of
from labkit.train.callbacks import SAVE_EVERY_SECONDS
from labkit.train.pipeline import run_spec
from labkit.train.specs import PipelineSpec
from labkit.train.trainers import Progress

REDRAW_SECONDS = 2.0
# Saving takes as long as there is to write; so it stays a few percent of training.
SAVE_PER_PARAMETER, LEAST_SAVE_SECONDS = 5e-6, 5.0
SAVE_EVERY = "LABKIT_SAVE_EVERY_SECONDS"


class LiveLine:
    """One line with loss, tokens/s and time left, redrawn in place; in a notebook, the loss curve
    beside it.
    """

    def __init__(self):
        self.curve: dict[str, list[tuple[int, float]]] = {}
        self.running: dict[str, str] = {}  # stage -> the label of its present run
        self.drawn = 0.0
        self.handle = None
        self.warning: EarlyWarning | None = None

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, kind, *exc) -> None:
        if self.handle:
            self._redraw("finished" if kind is None else "stopped")

    def __call__(self, at: Progress) -> None:
        # the stage begins, maybe not for the first time
        if at.stage not in self.running or at.step <= self.curve[self.running[at.stage]][-1][0]:
            again = sum(label.split(" (")[0] == at.stage for label in self.curve)
            self.running[at.stage] = f"{at.stage} ({again + 1})" if again else at.stage
        self.curve.setdefault(self.running[at.stage], []).append((at.step, at.loss))
        now = time.monotonic()
        if headless() or (now - self.drawn < REDRAW_SECONDS and at.step < at.steps):
            return
        self.drawn = now
        self._redraw(
            f"{at.stage.upper()} step {at.step} of {at.steps}  loss {at.loss:.3f}  "
            f"{at.tokens_per_second:,.0f} tokens/s  {at.seconds_left:.0f} s left"
        )

    def saw(self, warning: EarlyWarning) -> None:
        """The probe has looked: drawn beside the loss from now on."""
        self.warning = warning

    def _figure(self, line: str):
        from labkit.course.figures import loss_curves, probe_curves

        if self.warning is None:
            return loss_curves({name.upper(): at for name, at in self.curve.items()}, line)
        looks, (loss, *_) = self.warning.looks, reversed(self.curve.values())
        return probe_curves(curves(looks), loss, alarms(looks, loss))

    def _redraw(self, line: str) -> None:
        from IPython.display import display

        from labkit.course.figures import png

        content, told = {"image/png": png(self._figure(line), dpi=80)}, {"image/png": {"alt": line}}
        if self.handle is None:
            self.handle = display(content, raw=True, metadata=told, display_id=True)
        else:
            self.handle.update(content, raw=True, metadata=told)


@contextmanager
def training(specs: Iterable[PipelineSpec], *, watched: bool = False) -> Iterator[LiveLine]:
    """Around a cell's training: says what is ahead, saves unfinished stages often, and turns an
    interrupt into what is kept.

    Yields what `run_spec` takes as progress. Raises what run_spec raises.
    """
    specs = list(specs)
    found = announce(specs, watched=watched)
    with _saving_often(specs):
        try:
            with LiveLine() as live:
                yield live
        except KeyboardInterrupt:
            raise KeyboardInterrupt(stopped([stored(stage) for stage in found])) from None


@contextmanager
def working(words: str) -> Iterator[Callable[[str], None]]:
    """A line below a cell that says what is being done, and goes when that is done. Yields what
    takes other words for it. Headless there is none.
    """
    if headless():
        yield lambda _: None
        return
    from IPython.display import HTML, display

    def line(told: str) -> HTML:
        return HTML(f'<p role="status"><i>{escape(told)} …</i></p>')

    handle = display(line(words), display_id=True)
    try:
        yield lambda told: handle.update(line(told)) if handle else None
    finally:
        if handle:
            handle.update(HTML(""))


def run(spec: PipelineSpec) -> list[Checkpoint]:
    """`run_spec` in a cell, with its estimate before and its live line.

    Raises what run_spec raises.
    """
    with training([spec]) as live:
        return run_spec(spec, progress=live)


@contextmanager
def _saving_often(specs: list[PipelineSpec]) -> Iterator[None]:
    """Trainings of a lesson take seconds, so ten minutes between savings would keep nothing of
    them.
    """
    if os.environ.get(SAVE_EVERY):
        yield
        return
    largest = max((architecture_of(spec.model).parameters for spec in specs), default=0)
    os.environ[SAVE_EVERY] = (
        f"{min(SAVE_EVERY_SECONDS, max(LEAST_SAVE_SECONDS, largest * SAVE_PER_PARAMETER)):g}"
    )
    try:
        yield
    finally:
        os.environ.pop(SAVE_EVERY, None)
