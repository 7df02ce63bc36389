"""What commands print with: consoles, live lines and bars, errors in one sentence."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from labkit.train.trainers import Progress

QUIET_SECONDS = 5  # between two lines of a log
LONGEST_LINE = 110

# What users and models wrote is printed, too: no [word] in it is a style, no :word: a picture.
_AS_IT_IS: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
out = Console(**_AS_IT_IS)
err = Console(stderr=True, **_AS_IT_IS)

ProfileOption = Annotated[
    str, typer.Option(help="smoke, brief, lab or study: how much of everything is run.")
]
A_PACK = "A shipped pack (labkit pack list) or a folder"  # begins the help of what takes one
A_MODEL = "A zoo name, a checkpoint's folder or name, or a hub id."


def say(text: str, style: str | None = None) -> None:
    """Print text as it is: no line of it is broken."""
    out.print(text, style=style, soft_wrap=True)


def tell(text: str, *, indent: int = 0) -> None:
    """Print sentences for reading: lines end between words, at the terminal's width or sooner. A
    paragraph that begins with a dash hangs on it.
    """
    margin = " " * indent
    for line in textwrap.wrap(
        text,
        reading_width(),
        initial_indent=margin,
        subsequent_indent=margin + "  " * text.startswith("- "),
        break_long_words=False,
        break_on_hyphens=False,
    ):
        say(line)


def reading_width() -> int:
    """Columns of a page in the terminal: a longer line is hard to read."""
    return min(out.width, LONGEST_LINE)


def note(text: str, style: str | None = "yellow") -> None:
    """The same beside the results, on the stream for errors."""
    err.print(text, style=style, soft_wrap=True)


def fail(sentence: str) -> None:
    note(f"error: {sentence}", style="red")
    sys.exit(2)


@contextmanager
def working(what: str) -> Iterator[Callable[..., None]]:
    """Says what is being done, in a terminal; yields `tell(step, detail)` for what comes next.

    A terminal shows step and detail in one place. Elsewhere each new step is a line of its own, so
    that a log shows how far a command is.
    """
    if err.is_terminal:
        with err.status(Text(what)) as status:
            yield lambda step, detail="": status.update(Text(f"{step} {detail}".strip()))
    else:
        told: list[str] = []

        def tell(step: str, detail: str = "") -> None:
            if step not in told:
                told.append(step)
                note(step, style=None)

        yield tell


class Bar:
    """Bars in a terminal; elsewhere a line every few seconds, so that a log shows how far it is.

    Subclasses say which columns of rich's Progress a bar has.
    """

    def columns(self) -> tuple:
        raise NotImplementedError

    def __enter__(self) -> Self:
        from rich.progress import Progress

        self.bars = Progress(*self.columns(), console=err, disable=not err.is_terminal)
        self.tasks: dict[object, Any] = {}
        self.tenths: dict[object, int] = {}
        self.told_at = time.monotonic()
        return self

    def __exit__(self, *exc) -> None:
        if self.tasks:
            self.bars.stop()

    def show(self, key: object, name: str, done: float, total: float, told: str) -> None:
        """How far `key` is, in words. It begins anew when less of it is done than before."""
        tenth = int(10 * done / total) if total else 10
        if not self.tasks:  # not sooner: what is refused at the start is refused without a bar
            self.bars.start()
        if key not in self.tasks or tenth < self.tenths[key]:
            self.tasks[key] = self.bars.add_task(name, total=total, told=told)
            self.tenths[key] = -1
        self.bars.update(self.tasks[key], completed=done, told=told)
        now = time.monotonic()
        if err.is_terminal or tenth == self.tenths[key]:
            return
        if done == total or now - self.told_at > QUIET_SECONDS:
            words = f"{name}: {told}" if name else told
            note(words, style=None)
            self.tenths[key], self.told_at = tenth, now


class Line(Bar):
    """Per training stage: loss, tokens per second, time left."""

    def columns(self) -> tuple:
        from rich import progress as bars

        return (
            bars.TextColumn("{task.description:>5}", markup=False),
            bars.BarColumn(30),
            bars.TextColumn("{task.fields[told]}", markup=False),
            bars.TimeElapsedColumn(),
        )

    def __exit__(self, kind, error, *where) -> None:
        super().__exit__(kind, error, *where)
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and str(error).startswith("stopped"):
            note(str(error))

    def __call__(self, at: Progress) -> None:
        if at.began and (at.stage, at.steps) not in self.tasks:
            note(f"{at.stage} goes on at step {at.began} of {at.steps}", style=None)
        told = (
            f"step {at.step}/{at.steps}  loss {at.loss:6.3f}  "
            f"{at.tokens_per_second:7,.0f} tokens/s  {at.seconds_left:4.0f} s left"
        )
        self.show((at.stage, at.steps), at.stage, at.step, at.steps, told)


class Bytes(Bar):
    """Bytes written by a merge, with speed and time left."""

    def columns(self) -> tuple:
        from rich import progress as bars

        return (
            bars.BarColumn(30),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
        )

    def __call__(self, done: int, total: int) -> None:
        self.show("merge", "merge", done, total, f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB")


class Notebooks(Bar):
    """Notebooks of all learners of a class, with the time left."""

    def columns(self) -> tuple:
        from rich import progress as bars

        return (
            bars.TextColumn("notebooks"),
            bars.BarColumn(30),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left:"),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[told]}", markup=False),
        )

    def __call__(self, done: int, total: int, remark: str) -> None:
        self.show("class", "", done, total, f"{done} of {total} notebooks: {remark}")
