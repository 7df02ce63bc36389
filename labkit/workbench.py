"""What is at hand while a folder becomes a pack: text that waits on disk, rows that wait to be written, the list of what was left out."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labkit.cleaning import SharedLines
from labkit.datacard import Ledger
from labkit.layouts import Example
from labkit.leaks import question_of
from labkit.packs import Pack
from labkit.readers import Dropped

SHOWN = 80  # characters of something left out that the report shows

Progress = Callable[[str, int], None]


class Spool:
    """Values that wait on disk, in order."""

    def __init__(self, folder: Path):
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder, newline="\n")

    def append(self, *values: object) -> None:
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def __iter__(self) -> Iterator[list]:
        self._file.seek(0)
        return map(json.loads, self._file)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Held:
    """Something held out. what: chunk or row. cluster: what it is held out with. content: text, or a chat."""

    source: str
    what: str
    cluster: str
    content: str | list[dict]


@dataclass
class Work:
    """What is known of a folder while it becomes a pack. documents: spool of (number, text); sources …: per document."""

    documents: Spool
    chunks: Spool
    ledger: Ledger
    progress: Progress
    seed: int
    sources: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=lambda: {"qa": [], "preferences": []})
    lines: SharedLines = field(default_factory=SharedLines)
    read: Counter = field(default_factory=Counter)

    def leave_out(self, source: str, what: str, reason: str, text: str = "") -> None:
        self.ledger.drop(Dropped(source, what, reason, " ".join(text[: 2 * SHOWN].split())[:SHOWN]))

    def set_aside(self, held: Held, reason: str) -> None:
        text = held.content if isinstance(held.content, str) else question_of(held.content)
        self.leave_out(held.source, held.what, f"held out, and no item: {reason}", text)


def write_rows(pack: Pack, split: str, rows: Iterable[dict]) -> None:
    """A split's file, or none when there are no rows."""
    count = 0
    with pack.path(split).open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    if not count:
        pack.path(split).unlink()
