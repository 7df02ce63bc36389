"""The papers of a new pack: pack.yaml with its provenance, README.md as a data card, dropped.jsonl with all that was left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import yaml

from labkit.packs import SPLITS
from labkit.readers import Dropped

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
FILES = ("file", "folder", "page")  # what is named to the user one by one
ABOUT = {
    "raw": "text of the training documents, in chunks",
    "qa": "questions and answers for SFT",
    "preferences": "chosen over rejected answers",
    "dev": "items about held-out documents and questions, and controls: choose t, checkpoints and thresholds here",
    "test": "items about other held-out documents and questions, and controls: report here",
}


class Ledger:
    """Everything left out, one line of dropped.jsonl each, and how many there are of each kind. unread: a sentence per file."""

    def __init__(self, file: TextIO):
        self._file = file
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unread: list[str] = []

    def drop(self, dropped: Dropped) -> None:
        self.counts[dropped.what, dropped.reason] += dropped.count
        if dropped.what in FILES:
            self.unread.append(f"{dropped.source}: {dropped.reason}{f' ({dropped.detail})' if dropped.detail else ''}")
        self._file.write(json.dumps({key: value for key, value in vars(dropped).items() if value != ""}, ensure_ascii=False) + "\n")

    def table(self) -> list[dict]:
        """Rows of what, reason, count; the most frequent first."""
        return [{"what": what, "reason": reason, "count": count} for (what, reason), count in sorted(self.counts.items(), key=lambda kind: (-kind[1], kind[0]))]


def write_card(folder: Path, *, name: str, title: str, licence: str, rows: dict[str, int], provenance: dict) -> None:
    """pack.yaml and README.md. rows: per split. provenance: what was read and done, what was left out and why."""
    note = "Made by `labkit pack new`; dropped.jsonl lists what was left out."
    splits = {split: {"file": SPLITS[split], "rows": count, "about": ABOUT[split]} for split, count in rows.items()}
    provenance = {**provenance, "labkit": version("labkit")}
    card = {"name": name, "title": title, "licence": licence, "note": note, "splits": splits, "provenance": provenance}
    (folder / "pack.yaml").write_text(yaml.safe_dump(card, sort_keys=False, width=100, allow_unicode=True), "utf-8")
    (folder / "README.md").write_text("".join(f"{line}\n" for line in _readme(title, licence, splits, provenance)), "utf-8")


def _readme(title: str, licence: str, splits: dict[str, dict], provenance: dict) -> Iterator[str]:
    """A data card as the Hugging Face hub reads it: YAML, then what is in the pack, how it was made, what was left out."""
    total = sum(split["rows"] for split in splits.values())
    head = {
        "license": "unknown" if licence == "unstated" else licence.lower(),
        "pretty_name": title,
        "size_categories": [next((size for most, size in SIZES if total < most), "n>10M")],
        "configs": [{"config_name": key, "data_files": split["file"]} for key, split in splits.items()],
        "tags": ["labkit"],
    }
    yield f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"
    yield f"# {title}\n"
    yield "| file | rows | what it is |\n|---|---|---|"
    yield from (f"| {split['file']} | {split['rows']:,} | {split['about']} |" for split in splits.values())
    yield "\n## How it was made\n"
    yield from (f"- {key.replace('_', ' ')}: {_told(value)}" for key, value in provenance.items() if key != "dropped")
    yield "\n## What was left out\n"
    yield "Each with its place in `dropped.jsonl`.\n"
    yield "| what | why | how many |\n|---|---|---|"
    yield from (f"| {row['what']} | {row['reason']} | {row['count']:,} |" for row in provenance["dropped"])


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_told(part)}" for key, part in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
