"""A running stage as a notebook shows it: one line with loss, speed and time left, and the curve beside it."""

from __future__ import annotations

import os
import time

from labkit.probe import EarlyWarning, alarms, curves
from labkit.train import Progress

REDRAW_SECONDS = 2.0


def headless() -> bool:
    return os.environ.get("LABKIT_HEADLESS") == "1"


class LiveLine:
    """One line with loss, tokens/s and time left, redrawn in place; in a notebook, the loss curve beside it."""

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
        if at.stage not in self.running or at.step <= self.curve[self.running[at.stage]][-1][0]:  # the stage begins, maybe not for the first time
            again = sum(label.split(" (")[0] == at.stage for label in self.curve)
            self.running[at.stage] = f"{at.stage} ({again + 1})" if again else at.stage
        self.curve.setdefault(self.running[at.stage], []).append((at.step, at.loss))
        now = time.monotonic()
        if headless() or (now - self.drawn < REDRAW_SECONDS and at.step < at.steps):
            return
        self.drawn = now
        self._redraw(
            f"{at.stage} step {at.step}/{at.steps}  loss {at.loss:.3f}  {at.tokens_per_second:,.0f} tokens/s  {at.seconds_left:.0f} s left"
        )

    def saw(self, warning: EarlyWarning) -> None:
        """The probe has looked: drawn beside the loss from now on."""
        self.warning = warning

    def _figure(self, line: str):
        from labkit.figures import loss_curves, probe_curves

        if self.warning is None:
            return loss_curves(self.curve, line)
        looks, (loss, *_) = self.warning.looks, reversed(self.curve.values())
        return probe_curves(curves(looks), loss, alarms(looks, loss))

    def _redraw(self, line: str) -> None:
        from IPython.display import display

        from labkit.figures import png

        content, told = {"image/png": png(self._figure(line), dpi=80)}, {"image/png": {"alt": line}}
        if self.handle is None:
            self.handle = display(content, raw=True, metadata=told, display_id=True)
        else:
            self.handle.update(content, raw=True, metadata=told)
