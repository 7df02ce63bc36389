"""This module holds what is at hand while a folder becomes a pack.

Columns of data files are converted by LAYOUTS, the whole list of layouts that are known: a row
belongs to the first layout whose columns it has. A spool keeps text on disk, a ledger writes down
what was left out, and a card tells where a new pack comes from (pack.yaml, and README.md as a data
card). The module does not know in which order things are done; ingest.py does.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Generic, TextIO, TypeVar

import yaml

from labkit.base.errors import InputError
from labkit.base.inputs import tidy
from labkit.data.cleaning import SharedLines
from labkit.data.leaks import question_of
from labkit.data.packs import SPLITS, Pack, message_problems
from labkit.data.readers import Document, Dropped, Record

SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
}


@dataclass(frozen=True)
class Example:
    """A row for training. kind: qa or preferences. row: as in a pack's split. family: rows of one
    file that belong together.
    """

    kind: str
    source: str
    row: dict
    origin: str
    family: str = ""


@dataclass(frozen=True)
class Layout:
    """name: who uses it. make: from a row's columns to a pack's; raises ValueError saying what is
    wrong with the row.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    make: Callable[[dict], dict]
    optional: tuple[str, ...] = ("source",)

    def __str__(self) -> str:
        return f"{', '.join(self.columns)} ({self.name})"


def convert(record: Record) -> Document | Example | Dropped:
    """A row as a document or a training example; dropped, with the reason, where a field is empty
    or ill-typed.

    Raises InputError naming file, line, the columns found and the known layouts when no layout has
    these columns.
    """
    layout = layout_of(record)
    place = f"{record.source}#{record.line}"
    family = record.values.get("source")
    family = tidy(family).strip() if isinstance(family, str) else ""
    try:
        row = layout.make(record.values)
    except ValueError as error:
        return Dropped(place, "row", "a field is empty or ill-typed", str(error))
    if layout.kind == "text":
        return Document(place, row["text"], record.source, family)
    return Example(layout.kind, place, row, record.source, family)


def layout_of(record: Record) -> Layout:
    """The first layout whose columns a row has. Raises InputError as `convert` does."""
    for layout in LAYOUTS:
        if all(column in record.values for column in layout.columns):
            return layout
    known = "; ".join(map(str, LAYOUTS))
    found = ", ".join(list(record.values)[:12]) or "none"
    raise InputError(
        f"{record.path}:{record.line}: no known layout has these columns ({found}); "
        f"rename them or move the file away; known: {known}"
    )


def unused_columns(record: Record) -> list[str]:
    """Columns of a row that its layout does not read."""
    layout = layout_of(record)
    return [column for column in record.values if column not in layout.columns + layout.optional]


# --- fields -----------------------------------------------------------------------------------


def _text(values: dict, column: str) -> str:
    value = values[column]
    if not isinstance(value, str):
        raise ValueError(f'"{column}" must be text, got {type(value).__name__}')
    if not tidy(value).strip():
        raise ValueError(f'"{column}" is empty')
    return tidy(value).strip()


def _turns(values: dict, column: str, role: str) -> list[dict]:
    """A column as message list: text is one turn of `role`."""
    value = values[column]
    if isinstance(value, str):
        return [{"role": role, "content": _text(values, column)}]
    for problem in message_problems(value, column):
        raise ValueError(problem)
    turns = [{"role": turn["role"], "content": tidy(turn["content"]).strip()} for turn in value]
    if not all(turn["content"] for turn in turns):
        raise ValueError(f'a turn of "{column}" is empty')
    return turns


def _chat(turns: list[dict]) -> dict:
    """A chat for SFT: it must ask something and end with an answer."""
    if turns[-1]["role"] != "assistant" or not any(turn["role"] == "user" for turn in turns):
        raise ValueError("a chat needs a user's turn and must end with the assistant's")
    return {"messages": turns}


# --- layouts ----------------------------------------------------------------------------------


def _preference(values: dict) -> dict:
    prompt = _turns(values, "prompt", "user")
    answers = {}
    for column in ("chosen", "rejected"):
        turns = _turns(values, column, "assistant")
        # some repeat the prompt
        answers[column] = turns[len(prompt) :] if turns[: len(prompt)] == prompt else turns
        if [turn["role"] for turn in answers[column]] != ["assistant"]:
            raise ValueError(f'"{column}" must be one answer to "prompt"')
    if answers["chosen"] == answers["rejected"]:
        raise ValueError('"chosen" and "rejected" are the same')
    return {"prompt": prompt, **answers}


def _sharegpt(values: dict) -> dict:
    turns = values["conversations"]
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and turn.get("from") in SPEAKERS for turn in turns
    ):
        raise ValueError(
            f'"conversations" must be a list of turns whose "from" is one of {", ".join(SPEAKERS)}'
        )
    messages = [{"role": SPEAKERS[turn["from"]], "content": turn.get("value")} for turn in turns]
    return _chat(_turns({"conversations": messages}, "conversations", "user"))


def _alpaca(values: dict) -> dict:
    asked = _text(values, "instruction")
    if values.get("input"):
        asked += "\n\n" + _text(values, "input")
    return _chat(
        [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": _text(values, "output")},
        ]
    )


def _pair(asked: str, answered: str) -> Callable[[dict], dict]:
    return lambda values: _chat(
        _turns(values, asked, "user") + _turns(values, answered, "assistant")
    )


LAYOUTS = (
    Layout("preferences", "preferences", ("prompt", "chosen", "rejected"), _preference),
    Layout(
        "chat messages",
        "qa",
        ("messages",),
        lambda values: _chat(_turns(values, "messages", "user")),
    ),
    Layout("ShareGPT", "qa", ("conversations",), _sharegpt),
    Layout("Alpaca", "qa", ("instruction", "output"), _alpaca, optional=("input", "source")),
    Layout("prompt and completion", "qa", ("prompt", "completion"), _pair("prompt", "completion")),
    Layout("question and answer", "qa", ("question", "answer"), _pair("question", "answer")),
    Layout("text", "text", ("text",), lambda values: {"text": _text(values, "text")}),
)


# --- what is at hand --------------------------------------------------------------------------

FILES = ("file", "folder", "page")  # what is named to the user one by one
SHOWN = 80  # characters of something left out that the report shows

Progress = Callable[[str, int], None]
Content = TypeVar("Content", str, list[dict])


class Spool:
    """Values that wait on disk, in order."""

    def __init__(self, folder: Path):
        # close() closes it
        self._file = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", dir=folder, newline="\n"
        )

    def append(self, *values: object) -> None:
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def __iter__(self) -> Iterator[list]:
        self._file.seek(0)
        return map(json.loads, self._file)

    def close(self) -> None:
        self._file.close()


class Ledger:
    """Everything left out, one line of dropped.jsonl each, and how many there are of each kind.
    unread: a sentence per file.
    """

    def __init__(self, file: TextIO):
        self._file = file
        self.counts: Counter[tuple[str, str]] = Counter()
        self.unread: list[str] = []

    def drop(self, dropped: Dropped) -> None:
        self.counts[dropped.what, dropped.reason] += dropped.count
        if dropped.what in FILES:
            self.unread.append(
                f"{dropped.source}: "
                f"{dropped.reason}{f' ({dropped.detail})' if dropped.detail else ''}"
            )
        self._file.write(
            json.dumps(
                {key: value for key, value in vars(dropped).items() if value != ""},
                ensure_ascii=False,
            )
            + "\n"
        )

    def table(self) -> list[dict]:
        """Rows of what, reason, count; the most frequent first."""
        return [
            {"what": what, "reason": reason, "count": count}
            for (what, reason), count in sorted(
                self.counts.items(), key=lambda kind: (-kind[1], kind[0])
            )
        ]


@dataclass(frozen=True)
class Held(Generic[Content]):
    """Something held out. what: chunk or row. cluster: what it is held out with. content: text, or
    a chat.
    """

    source: str
    what: str
    cluster: str
    content: Content


@dataclass
class Work:
    """What is known of a folder while it becomes a pack. documents: spool of (number, text);
    sources …: per document.
    """

    documents: Spool
    chunks: Spool
    ledger: Ledger
    progress: Progress
    seed: int
    sources: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(
        default_factory=lambda: {"qa": [], "preferences": []}
    )
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


# --- the card ---------------------------------------------------------------------------------

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
ABOUT = {
    "raw": "text of the training documents, in chunks",
    "qa": "questions and answers for SFT",
    "preferences": "chosen over rejected answers",
    "dev": "items about held-out documents and questions, and controls: choose t, checkpoints "
    "and thresholds here",
    "test": "items about other held-out documents and questions, and controls: report here",
}


def write_card(
    folder: Path, *, name: str, title: str, licence: str, rows: dict[str, int], provenance: dict
) -> None:
    """pack.yaml and README.md. rows: per split. provenance: what was read and done, what was left
    out and why.
    """
    note = "Made by `labkit pack new`; dropped.jsonl lists what was left out."
    splits = {
        split: {"file": SPLITS[split], "rows": count, "about": ABOUT[split]}
        for split, count in rows.items()
    }
    provenance = {**provenance, "labkit": version("labkit")}
    card = {
        "name": name,
        "title": title,
        "licence": licence,
        "note": note,
        "splits": splits,
        "provenance": provenance,
    }
    (folder / "pack.yaml").write_text(
        yaml.safe_dump(card, sort_keys=False, width=100, allow_unicode=True), "utf-8"
    )
    (folder / "README.md").write_text(
        "".join(f"{line}\n" for line in _readme(title, licence, splits, provenance)), "utf-8"
    )


def _readme(title: str, licence: str, splits: dict[str, dict], provenance: dict) -> Iterator[str]:
    """A data card as the Hugging Face hub reads it: YAML, then what is in the pack, how it was
    made, what was left out.
    """
    total = sum(split["rows"] for split in splits.values())
    head = {
        "license": "unknown" if licence == "unstated" else licence.lower(),
        "pretty_name": title,
        "size_categories": [next((size for most, size in SIZES if total < most), "n>10M")],
        "configs": [
            {"config_name": key, "data_files": split["file"]} for key, split in splits.items()
        ],
        "tags": ["labkit"],
    }
    yield f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"
    yield f"# {title}\n"
    yield "| file | rows | what it is |\n|---|---|---|"
    yield from (
        f"| {split['file']} | {split['rows']:,} | {split['about']} |" for split in splits.values()
    )
    yield "\n## How it was made\n"
    yield from (
        f"- {key.replace('_', ' ')}: {_told(value)}"
        for key, value in provenance.items()
        if key != "dropped"
    )
    yield "\n## What was left out\n"
    yield "Each with its place in `dropped.jsonl`.\n"
    yield "| what | why | how many |\n|---|---|---|"
    yield from (
        f"| {row['what']} | {row['reason']} | {row['count']:,} |" for row in provenance["dropped"]
    )


def _told(value: object) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{key.replace('_', ' ')} {_told(part)}" for key, part in value.items())
            or "none"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)
