"""What commands print with: consoles, live lines and bars, errors in one sentence."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

out = Console()
err = Console(stderr=True)

ProfileOption = Annotated[
    str, typer.Option(help="smoke, brief, lab or study: how much of everything is run.")
]


def say_warning(message, category, *_place) -> None:
    """labkit's own warnings as one sentence; those of libraries tell a user nothing."""
    if category.__module__.startswith("labkit"):
        err.print(f"note: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def fail(sentence: str) -> None:
    err.print(f"error: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


class Line:
    """One live line per stage: loss, tokens per second, time left."""

    def __enter__(self):
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = [
            TextColumn("{task.description:>5}"),
            BarColumn(30),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
        ]
        self.bars = Progress(*columns, console=err)
        self.tasks: dict = {}
        self.bars.start()
        return self

    def __exit__(self, *exc):
        self.bars.stop()

    def __call__(self, at) -> None:
        told = (
            f"loss {at.loss:6.3f}  {at.tokens_per_second:7,.0f} tokens/s  "
            f"{at.seconds_left:4.0f} s left"
        )
        key = (at.stage, at.steps)
        if key not in self.tasks or at.step == 1:
            self.tasks[key] = self.bars.add_task(at.stage, total=at.steps, told=told)
        self.bars.update(self.tasks[key], completed=at.step, told=told)


class Bytes:
    """One bar over bytes, with speed and time left; it appears with the first of them."""

    def __enter__(self):
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.bars = Progress(
            BarColumn(30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=err,
        )
        self.task = None
        return self

    def __exit__(self, *exc):
        if self.task is not None:
            self.bars.stop()

    def __call__(self, done: int, total: int) -> None:
        if self.task is None:
            self.task = self.bars.add_task("merge", total=total)
            self.bars.start()
        self.bars.update(self.task, completed=done)
