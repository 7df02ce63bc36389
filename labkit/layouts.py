"""Columns that data files of others have, and what becomes of them: text, questions with answers, preferences.

LAYOUTS is the whole list; a row is of the first layout whose columns it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.encoding import tidy
from labkit.errors import InputError
from labkit.packs import message_problems
from labkit.readers import Document, Dropped, Record

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "system": "system"}


@dataclass(frozen=True)
class Example:
    """A row for training. kind: qa or preferences. row: as in a pack's split. family: rows of one file that belong together."""

    kind: str
    source: str
    row: dict
    origin: str
    family: str = ""


@dataclass(frozen=True)
class Layout:
    """name: who uses it. make: from a row's columns to a pack's; raises ValueError saying what is wrong with the row."""

    name: str
    kind: str
    columns: tuple[str, ...]
    make: Callable[[dict], dict]
    optional: tuple[str, ...] = ("source",)

    def __str__(self) -> str:
        return f"{', '.join(self.columns)} ({self.name})"


def convert(record: Record) -> Document | Example | Dropped:
    """A row as a document or a training example; dropped, with the reason, where a field is empty or ill-typed.

    Raises InputError naming file, line, the columns found and the known layouts when no layout has these columns.
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
    raise InputError(f"{record.path}:{record.line}: no known layout has these columns ({found}); rename them or move the file away; known: {known}")


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
        answers[column] = turns[len(prompt) :] if turns[: len(prompt)] == prompt else turns  # some repeat the prompt
        if [turn["role"] for turn in answers[column]] != ["assistant"]:
            raise ValueError(f'"{column}" must be one answer to "prompt"')
    if answers["chosen"] == answers["rejected"]:
        raise ValueError('"chosen" and "rejected" are the same')
    return {"prompt": prompt, **answers}


def _sharegpt(values: dict) -> dict:
    turns = values["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and turn.get("from") in SPEAKERS for turn in turns):
        raise ValueError(f'"conversations" must be a list of turns whose "from" is one of {", ".join(SPEAKERS)}')
    messages = [{"role": SPEAKERS[turn["from"]], "content": turn.get("value")} for turn in turns]
    return _chat(_turns({"conversations": messages}, "conversations", "user"))


def _alpaca(values: dict) -> dict:
    asked = _text(values, "instruction")
    if values.get("input"):
        asked += "\n\n" + _text(values, "input")
    return _chat([{"role": "user", "content": asked}, {"role": "assistant", "content": _text(values, "output")}])


def _pair(asked: str, answered: str) -> Callable[[dict], dict]:
    return lambda values: _chat(_turns(values, asked, "user") + _turns(values, answered, "assistant"))


LAYOUTS = (
    Layout("preferences", "preferences", ("prompt", "chosen", "rejected"), _preference),
    Layout("chat messages", "qa", ("messages",), lambda values: _chat(_turns(values, "messages", "user"))),
    Layout("ShareGPT", "qa", ("conversations",), _sharegpt),
    Layout("Alpaca", "qa", ("instruction", "output"), _alpaca, optional=("input", "source")),
    Layout("prompt and completion", "qa", ("prompt", "completion"), _pair("prompt", "completion")),
    Layout("question and answer", "qa", ("question", "answer"), _pair("question", "answer")),
    Layout("text", "text", ("text",), lambda values: {"text": _text(values, "text")}),
)
