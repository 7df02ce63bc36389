"""One JSON line per result a notebook or study reports, and the axes results are filed under.

Reports are rendered from records, never from text.
"""

from __future__ import annotations

import json
from pathlib import Path

from labkit.base.errors import InputError

FILE = "records.jsonl"
# What every score is filed under. Four axes say what a model can do; the controls say what it lost,
# joined or prefers.
AXES = ("knowledge", "reasoning", "instructions", "creativity")
CONTROLS = ("general", "compositional", "preference")


def append(folder: Path, kind: str, **values: object) -> None:
    """Add one record to `folder/records.jsonl`: it is one line, written at once under a lock."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"kind": kind, **values}, ensure_ascii=False)
    with FileLock(folder / f".{FILE}.lock"), (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(folder: Path, kind: str | None = None) -> list[dict]:
    """A folder's records in order, of one kind if named. Raises InputError naming a broken line."""
    path = folder / FILE
    if not path.is_file():
        return []
    records = []
    # splitlines would cut a text at U+2028
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            raise InputError(
                f"{path}:{number}: broken JSON; delete this line or the file and run again"
            ) from None
        if kind in (None, record["kind"]):
            records.append(record)
    return records


def latest(rows: list[dict], key: str) -> list[dict]:
    """The last record of each value of `key`, in order of first appearance: a cell may be run
    twice.
    """
    return list({row[key]: row for row in rows}.values())
