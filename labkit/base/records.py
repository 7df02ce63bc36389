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
# What people read for them; files and commands have the words above.
AXIS_NAMES = {
    "knowledge": "domain knowledge",
    "reasoning": "reasoning",
    "instructions": "instruction following",
    "creativity": "creativity",
    "general": "general knowledge",
    "compositional": "fact in requested format",
    "preference": "preference accuracy",
}


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


def same_once(rows: list[dict]) -> tuple[list[dict], list[tuple[str, list[str]]]]:
    """Scorecard records with each model once, under its first name and with the most axes; and what
    else it is called, by that name. One model is what has the same weights, or, where those are not
    known, the same score on every axis that both have.
    """
    groups: list[list[dict]] = []
    for row in rows:
        for group in groups:
            if _same_model(group[0], row):
                group.append(row)
                break
        else:
            groups.append([row])
    kept = [
        {**max(group, key=lambda row: len(row["axes"])), "checkpoint": group[0]["checkpoint"]}
        for group in groups
    ]
    names = [[row["checkpoint"] for row in group] for group in groups]
    return kept, [(first, more) for first, *more in names if more]


def _same_model(one: dict, other: dict) -> bool:
    if one.get("weights") and other.get("weights"):
        return one["weights"] == other["weights"]
    both = one["axes"].keys() & other["axes"].keys()
    return len(both) > 2 and all(one["axes"][axis] == other["axes"][axis] for axis in both)
