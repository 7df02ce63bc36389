"""This module holds what is at hand while a folder becomes a pack.

Columns of data files are converted by LAYOUTS, the whole list of layouts that are known: a row
belongs to the first layout whose columns it has. A spool keeps text on disk, a ledger writes down
what was left out, and a card tells where a new pack comes from (pack.yaml, and README.md as a data
card). The module does not know in which order things are done; ingest.py does.
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TextIO, TypeVar

import yaml

from labkit.base.errors import InputError
from labkit.base.inputs import seen, tidy
from labkit.data.cleaning import LineEnds, SharedLines
from labkit.data.facts import Table
from labkit.data.leaks import question_of
from labkit.data.packs import SPLITS, Pack
from labkit.data.readers import COLUMN_NAMES, Document, Dropped, Record, column_name

SPEAKERS = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
SPEAKER_KEYS, TEXT_KEYS = ("role", "from"), ("content", "value")
TEXT_PARTS = ("text", "input_text", "output_text")  # kinds of parts of a turn's content
# a turn that has one of the keys, or is spoken by one of these, is an exchange with a program
TOOL_KEYS = ("tool_calls", "function_call")
TOOL_SPEAKERS = (
    "tool",
    "tool_call",
    "tool_response",
    "function",
    "function_call",
    "function_response",
    "observation",
    "ipython",
)
# turn keys that say whether its tokens carry loss
WEIGHTS = (
    "weight",
    "train",
    "training",
    "trainable",
    "train_on_turn",
    "loss",
    "loss_weight",
)
TURN_KEYS = SPEAKER_KEYS + TEXT_KEYS + TOOL_KEYS + WEIGHTS

# columns beside a conversation that belong to it
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
HISTORIES = ("history", "chat_history", "conversation_history")
TOOLS = ("tools", "functions", "available_tools")
MEDIA = ("images", "videos", "audios")
LABELS = ("label", "kto_tag")  # whether an answer is wanted
FLAGS = {"true": True, "false": False}
BESIDE = (*SYSTEMS, *TOOLS, *MEDIA, "source")

NO_LAYOUT = "no known layout has its columns"
ILL_TYPED = "a field is empty or ill-typed"
NEEDS_TOOLS = "a conversation with tools, which a pack cannot hold"
NEEDS_MEDIA = "a conversation about pictures or sound, which a pack cannot hold"
NOT_WANTED = "its label says that the answer is not wanted"
NOT_LEARNED = "every answer has weight 0"


class LeftOut(ValueError):
    """A row that is read well and still is nothing to train on. reason: why; the message: more
    about this row.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


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
    wrong with the row. optional: columns that it reads where they are there.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    make: Callable[[dict], dict]
    optional: tuple[str, ...] = BESIDE

    def __str__(self) -> str:
        return f"{', '.join(self.columns)} ({self.name})"


def convert(record: Record) -> Document | Example | Dropped:
    """A row as a document or a training example; dropped, with the reason, where it has the columns
    of no layout, a field is empty or ill-typed, or it is nothing to train on.
    """
    place = f"{record.source}#{record.line}"
    values = _named(record.values)
    layout = layout_of(values)
    if layout is None:
        return Dropped(place, "row", NO_LAYOUT, ", ".join(list(record.values)[:12]) or "none")
    family = values.get("source")
    family = tidy(family).strip() if isinstance(family, str) else ""
    try:
        row = layout.make(values)
    except ValueError as error:
        return Dropped(place, "row", getattr(error, "reason", ILL_TYPED), str(error))
    if layout.kind == "text":
        return Document(place, row["text"], record.source, family)
    return Example(layout.kind, place, row, record.source, family)


def layout_of(values: dict) -> Layout | None:
    """The first layout whose columns a row has, and fills: a table may hold rows of several.

    Where a chat or a preference has begun and is not whole, its layout says what is missing.
    """
    there = [layout for layout in LAYOUTS if all(column in values for column in layout.columns)]
    filled = {layout: [not _blank(values[column]) for column in layout.columns] for layout in there}
    whole = [layout for layout in there if all(filled[layout]) and layout.kind != "text"]
    begun = [layout for layout in there if any(filled[layout])]
    return next(iter(whole + begun + there), None)


def _named(values: dict) -> dict:
    """A row whose columns are known whatever their capitals and blanks."""
    named: dict = {}
    for column, value in values.items():
        known = column_name(column)
        free = known in COLUMN_NAMES and known not in values and known not in named
        named[known if free else column] = value
    return named


def unused_columns(record: Record) -> list[str]:
    """Columns of a row, and keys of its turns, that hold something its layout does not read."""
    values = _named(record.values)
    layout = layout_of(values)
    if layout is None:
        return []
    read = {*layout.columns, *layout.optional}
    read -= {column for column in LABELS if column in values and _flag(values[column]) is None}
    return [column for column in values if column not in read and not _blank(values[column])] + [
        f"{column}: {key}" for column in layout.columns for key in _unread_keys(values[column])
    ]


def cells_of(record: Record) -> dict[str, str] | None:
    """A row of a table that no layout knows, its cells as text; None where it has a column that
    conversations or texts have, for then it is meant to be one.
    """
    if any(column in layout.columns for column in _named(record.values) for layout in LAYOUTS):
        return None
    return {
        tidy(column): " ".join(tidy(str(value)).split())
        for column, value in record.values.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    }


def _unread_keys(turns: object) -> list[str]:
    """Keys of the turns in a column that hold something and are not read."""
    turns = turns if isinstance(turns, list) else [turns]
    found = (turn.items() for turn in turns if isinstance(turn, dict) and _speaks(turn))
    return list(
        dict.fromkeys(
            key
            for items in found
            for key, value in items
            if key not in TURN_KEYS and not _blank(value)
        )
    )


def no_good_row(path: Path, first: Dropped) -> InputError:
    """What to tell of a data file none of whose rows can be used. first: its first row."""
    line = first.source.rpartition("#")[2]
    if first.reason == NO_LAYOUT:
        return InputError(
            f"{path}:{line}: no known layout has these columns ({first.detail}); rename them or "
            f"move the file away; known: {'; '.join(map(str, LAYOUTS))}"
        )
    detail = f" ({first.detail})" if first.detail else ""
    return InputError(
        f"{path}:{line}: no row of this file can be used; the first: {first.reason}{detail}; "
        "mend the rows or move the file away"
    )


# --- fields -----------------------------------------------------------------------------------


def _text(values: dict, column: str) -> str:
    value = values[column]
    if not isinstance(value, str):
        raise ValueError(f'"{column}" must be text, got {type(value).__name__}')
    if not seen(tidy(value)):
        raise ValueError(f'"{column}" is empty')
    return tidy(value).strip()


def _given(values: dict, columns: Iterable[str]) -> list[str]:
    """The columns that hold something; a blank text holds nothing."""
    return [
        column
        for column in columns
        if values.get(column) is not False and not _blank(values.get(column))
    ]


def _blank(value: object) -> bool:
    """Whether a cell holds nothing; false and 0 are something."""
    return not seen(tidy(value)) if isinstance(value, str) else value in (None, [], {})


def _flag(value: object) -> bool | None:
    """True and false, also as text; None for anything else, numbers too: they may be classes."""
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _turns(values: dict, column: str, role: str, transcripts: bool = True) -> list[dict]:
    """A column as message list: plain text is one turn of `role`, a transcript several."""
    value = values[column]
    if isinstance(value, str):
        text = _text(values, column)
        value = _written_out(text) or (_transcript(text) if transcripts else [])
        if not value:
            return [{"role": role, "content": text}]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(
            f'"{column}" must be a non-empty list of turns, each with "role" and "content" or '
            f'"from" and "value", or text; got {type(value).__name__}'
        )
    return [_turn(turn, column, number) for number, turn in enumerate(value, 1)]


def _conversation(values: dict, column: str) -> list[dict]:
    """A column of turns, with what the columns beside it add."""
    turns = _turns(values, column, "")
    if not turns[0]["role"]:
        raise ValueError(f'"{column}" must be a list of turns, got text')
    return _with_system(values, turns)


def _turn(turn: object, column: str, number: int) -> dict:
    """One turn as in a pack. Raises ValueError that names the column and what was found there."""
    place = f'turn {number} of "{column}"'
    if not isinstance(turn, dict):
        raise ValueError(f'{place} must be "role" and "content", got {type(turn).__name__}')
    key = next((key for key in SPEAKER_KEYS if turn.get(key) is not None), None)
    if key is None:
        raise ValueError(f'{place} has no "role" and no "from"; found: {", ".join(turn) or "none"}')
    speaker = seen(turn[key]).lower() if isinstance(turn[key], str) else turn[key]
    called = _given(turn, TOOL_KEYS)
    if called or speaker in TOOL_SPEAKERS:
        raise LeftOut(NEEDS_TOOLS, f"{place}: {called[0] if called else speaker}")
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise ValueError(
            f'"{column}" has {key} {turn[key]!r}; "{key}" is one of {", ".join(SPEAKERS)}'
        )
    message = {"role": SPEAKERS[speaker], "content": _content(turn, place)}
    return {**message, "weight": 0} if _weightless(turn, message["role"], place) else message


def _content(turn: dict, place: str) -> str:
    key = next((key for key in TEXT_KEYS if turn.get(key) is not None), None)
    if key is None:
        raise ValueError(f'{place} has no text in "content" or "value"')
    text = turn[key]
    if isinstance(text, list):
        text = "\n".join(_part(part, place) for part in text)
    if not isinstance(text, str):
        raise ValueError(f'{place} must have text in "{key}", got {type(text).__name__}')
    if not seen(tidy(text)):
        raise ValueError(f"{place} is empty")
    return tidy(text).strip()


def _part(part: object, place: str) -> str:
    """One part of a content: text, or an object that says it is text."""
    if isinstance(part, str):
        return part
    kind = str(part.get("type", "text")) if isinstance(part, dict) else type(part).__name__
    if kind in TOOL_SPEAKERS or kind.startswith("tool_"):
        raise LeftOut(NEEDS_TOOLS, f"{place}: {kind}")
    text = part.get("text") if isinstance(part, dict) and kind in TEXT_PARTS else None
    if not isinstance(text, str):
        found = f'{kind} without "text"' if kind in TEXT_PARTS else kind
        raise ValueError(f"{place} holds {found}; only text can be read")
    return text


def _weightless(turn: dict, role: str, place: str) -> bool:
    """Whether a turn says that its answer is not to be learned."""
    given = [key for key in WEIGHTS if turn.get(key) is not None]
    for key in given:
        if turn[key] not in (0, 1):
            raise ValueError(f'{place} has "{key}" {turn[key]!r}; use 0 or 1')
    return role == "assistant" and any(not turn[key] for key in given)


def _speaks(value: object) -> bool:
    return isinstance(value, dict) and any(key in value for key in SPEAKER_KEYS)


def _parsed(text: str) -> object:
    """What a table holds as text: JSON, or as Python prints it; other text as it is."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


_WRITTEN_OUT = re.compile(r"""\[?\s*\{\s*['"](role|from|content|value)['"]""")


def _written_out(text: str) -> list[dict]:
    """Turns that a table holds as text; none for other text, which may be JSON itself."""
    found = _parsed(text) if _WRITTEN_OUT.match(text) else []
    turns: list = found if isinstance(found, list) else [found]
    return turns if all(map(_speaks, turns)) else []


def _transcript(text: str) -> list[dict]:
    """The turns of a transcript, such as Anthropic's ("Human: ...", a blank line, "Assistant:
    ..."); none for any other text. An open last turn of the assistant is left off.
    """
    for gap in ("\n\n", "\n"):
        before, *parts = re.split(rf"(?:\A\s*|{gap}\s*)(Human|User|Assistant):", text)
        turns = [
            {"from": speaker, "value": said}
            for speaker, said in zip(parts[::2], parts[1::2], strict=True)
        ]
        if not before and len(turns) > 1 and turns[0]["from"] != "Assistant":
            answered = turns[-1]["from"] != "Assistant" or seen(turns[-1]["value"])
            return turns if answered else turns[:-1]
    return []


def _with_system(values: dict, turns: list[dict]) -> list[dict]:
    """Turns with the system columns before them."""
    return _under([_passage(values, column) for column in _given(values, SYSTEMS)], turns)


def _under(systems: list[str], turns: list[dict]) -> list[dict]:
    """Turns with these texts before them, and one system turn that holds all of it."""
    if turns and turns[0]["role"] == "system":
        systems, turns = [*systems, turns[0]["content"]], turns[1:]
    content = "\n\n".join(dict.fromkeys(systems))
    return [{"role": "system", "content": content}, *turns] if content else turns


def _asked(values: dict, column: str) -> list[dict]:
    """A column that asks, with what belongs to it: system, earlier turns, and a text to work on."""
    turns = _turns(values, column, "user")
    for other in _given(values, ("input", "context")):
        if turns[-1]["role"] != "user":
            raise ValueError(f'"{column}" must end with a user\'s turn for "{other}" to follow it')
        content = f"{turns[-1]['content']}\n\n{_passage(values, other)}"
        turns = [*turns[:-1], {"role": "user", "content": content}]
    return _with_system(values, _history(values) + turns)


def _passage(values: dict, column: str) -> str:
    """A text, or the texts of a list with blank lines between them."""
    value = values[column]
    if isinstance(value, list):
        value = "\n\n".join(_part(part, f'"{column}"') for part in value)
    return _text({column: value}, column)


def _history(values: dict) -> list[dict]:
    """Earlier turns: pairs of question and answer, or turns that say who speaks."""
    turns: list[dict] = []
    for column in _given(values, HISTORIES):
        history = values[column]
        history = (_parsed(history) or []) if isinstance(history, str) else history
        if history and isinstance(history, list) and all(map(_speaks, history)):
            turns += _turns({column: history}, column, "user")
            continue
        for pair in history if isinstance(history, list) else [history]:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f'"{column}" must be a list of [question, answer]')
            turns += [
                {"role": role, "content": _text({column: text}, column)}
                for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
    return turns


def _check_text_only(values: dict) -> None:
    """Raises LeftOut for a row that needs more than text."""
    for columns, reason in ((TOOLS, NEEDS_TOOLS), (MEDIA, NEEDS_MEDIA)):
        for column in _given(values, columns):
            if values[column] not in ("[]", "{}", "null"):
                raise LeftOut(reason, column)


def _chat(values: dict, turns: list[dict]) -> dict:
    """A chat for SFT: it must ask something and end with an answer."""
    _check_text_only(values)
    for column in LABELS:
        if _flag(values.get(column)) is False:
            raise LeftOut(NOT_WANTED, column)
    if turns[-1]["role"] != "assistant" or not any(turn["role"] == "user" for turn in turns):
        raise ValueError("a chat needs a user's turn and must end with the assistant's")
    if all("weight" in turn for turn in turns if turn["role"] == "assistant"):
        raise LeftOut(NOT_LEARNED, "weight")
    return {"messages": turns}


# --- preferences ------------------------------------------------------------------------------


def _preferred(values: dict, prompt: list[dict], columns: tuple[str, str]) -> dict:
    """A preference: two answers to one prompt. What both columns begin with belongs to the prompt.

    prompt: empty where the answers hold it. columns: of the preferred and of the other answer.
    """
    _check_text_only(values)
    prompt, first, second = (
        [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        for turns in (prompt, *(_turns(values, column, "assistant") for column in columns))
    )
    first, second = (_after(prompt, turns) for turns in (first, second))
    count = _shared(first[:-1], second[:-1])
    prompt = _joined(prompt, first[:count], columns)
    answers = dict(zip(("chosen", "rejected"), (first[count:], second[count:]), strict=True))
    if not prompt:
        raise ValueError('"chosen" and "rejected" do not begin with one prompt; add "prompt"')
    if prompt[-1]["role"] != "user":
        raise ValueError("the prompt must end with a user's turn")
    for column, turns in zip(columns, answers.values(), strict=True):
        if [turn["role"] for turn in turns] != ["assistant"]:
            raise ValueError(f'"{column}" must be one answer to the prompt')
        turns[0]["content"] = _without_question(prompt[-1]["content"], turns[0]["content"])
    if len({_visible(turns[0]["content"]) for turns in answers.values()}) == 1:
        raise ValueError(" and ".join(f'"{column}"' for column in columns) + " are the same")
    return {"prompt": prompt, **answers}


def _visible(text: str) -> str:
    """A text as a reader sees it: with one kind of blank."""
    return seen(re.sub(r"[^\S\t\n]", " ", text))


def _shared(first: Sequence, second: Sequence) -> int:
    """How many things two sequences begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _after(prompt: list[dict], turns: list[dict]) -> list[dict]:
    """Turns without the prompt where they repeat it, with its system turn or without."""
    for start in (prompt, [turn for turn in prompt if turn["role"] != "system"]):
        if start and turns[: len(start)] == start:
            return turns[len(start) :]
    return turns


def _joined(prompt: list[dict], shared: list[dict], columns: tuple[str, str]) -> list[dict]:
    """The whole prompt, from its column and from the turns that both answers begin with."""
    if not prompt or not shared:
        return prompt or shared
    if shared[0]["role"] == "assistant":  # the conversation goes on
        return prompt + shared
    asked = [turn for turn in prompt if turn["role"] != "system"]
    if asked and shared[-len(asked) :] != asked:
        raise ValueError(f'the turns of "{columns[0]}" do not hold the prompt')
    return _under([turn["content"] for turn in prompt if turn["role"] == "system"], shared)


_MARKUP = " \n#>*_"
# what a question and an answer are called where both are written into one text
_LABEL = r"[\s#>*_]*(?:{})[*_]*\s*[:\uff1a][*_]*\s*"
_ASKING = re.compile(_LABEL.format("question|q|prompt|instruction|user|human"), re.IGNORECASE)
_ANSWERING = re.compile(
    _LABEL.format("answer|a|response|completion|output|assistant"), re.IGNORECASE
)
_END_SIGNS = "?!.:\u2026\u3002\uff1f\uff01\uff1a"
_CLOSING = re.compile(
    rf"(?P<signs>(?:\s*[{_END_SIGNS}])*)(?<![.:](?=\w))[*_]{{0,3}}(?P<line>[^\S\n]*(?:\n|\Z))?"
)
_TYPEWRITTEN = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u00b4`", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
)


def _without_question(question: str, answer: str) -> str:
    """An answer without the question where it begins with it, also as "Question: … Answer: …";
    capitals, blanks, Markdown and typographic signs aside.

    Raises ValueError when the answer says nothing more.
    """
    called, asking = _ASKING.match(question), _ASKING.match(answer)
    question = (question[called.end() :] if called else question).strip(_MARKUP)
    if called:
        question = re.sub(rf"{_ANSWERING.pattern}\Z", "", question, flags=re.IGNORECASE).rstrip()
    asked = question.rstrip(_END_SIGNS + " ")
    start = asking.end() if asking else len(answer) - len(answer.lstrip(_MARKUP))
    end = _end_of(asked, answer, start)
    closing = _CLOSING.match(answer, end) if end else None
    if not closing or not (asking or _is_apart(asked, question[len(asked) :], closing)):
        return answer
    rest = answer[closing.end() :]
    answering = _ANSWERING.match(rest)
    rest = rest[answering.end() :] if answering else rest
    if not seen(rest):
        raise ValueError("an answer repeats the prompt and says nothing more")
    return rest.strip()


def _end_of(question: str, answer: str, start: int) -> int:
    """Where a question ends that stands in an answer from `start` on; 0 where none does."""
    at = start
    for sign in filter(seen, question):
        while at < len(answer) and not seen(answer[at]):
            at += 1
        if _plain(answer[at : at + 1]) != _plain(sign):
            return 0
        at += 1
    inside_word = answer[at : at + 1].isalnum() and question[-1:].isalnum()
    return 0 if inside_word or at == start else at


def _plain(sign: str) -> str:
    return sign.translate(_TYPEWRITTEN).casefold()


def _is_apart(asked: str, signs: str, closing: re.Match) -> bool:
    """Whether a sentence ends with the words asked, which may also begin one: "Tensile strength is
    …". signs: at the question's end. A question of one word needs its own sign.
    """
    if not re.search(r"\w\W+\w", asked):
        return bool(signs) and "".join(closing["signs"].split()) == "".join(signs.split())
    rest = closing.string[closing.end() :]
    anew = re.match(r"\s+[^\W\d_]", rest) and not rest.lstrip()[0].islower()
    return bool(closing["signs"] or closing["line"] is not None or anew)


def _implicit(values: dict) -> dict:
    """A preference whose prompt is what both answers begin with: turns, or words."""
    system = _with_system(values, [])
    turns = [_turns(values, column, "") for column in ANSWERS]
    if any(turn["role"] for each in turns for turn in each):
        return _preferred(values, system, ANSWERS)
    first, second = (each[0]["content"] for each in turns)
    shared = first[: _shared(first[:-1], second[:-1])]
    start = max(map(shared.rfind, " \n")) + 1  # whole words only
    prompt = [{"role": "user", "content": shared[:start].strip()}] if start else []
    rest = {"chosen": first[start:], "rejected": second[start:]}
    return _preferred({**values, **rest}, system + prompt, ANSWERS)


def _openai_preference(values: dict) -> dict:
    request = values["input"]
    if not isinstance(request, dict) or "messages" not in request:
        raise ValueError('"input" must hold "messages"')
    _check_text_only(request)
    prompt = _conversation(request, "messages")
    return _preferred(values, _with_system(values, prompt), OPENAI_ANSWERS)


# --- layouts ----------------------------------------------------------------------------------

# columns that belong to a question, before it or behind it
BEFORE_THE_ANSWER = (*HISTORIES, "input", "context")
ANSWERS = ("chosen", "rejected")
OPENAI_ANSWERS = ("preferred_output", "non_preferred_output")


def _pair(
    name: str, asked: str, answered: str, more: tuple[str, ...] = BEFORE_THE_ANSWER
) -> Layout:
    def make(values: dict) -> dict:
        prompt = _asked({column: values[column] for column in values if column in known}, asked)
        answer = _after(prompt, _turns(values, answered, "assistant", transcripts=False))
        if answer and answer[0]["role"] == "system":
            raise ValueError(f'"{answered}" begins with a system turn; it belongs into "{asked}"')
        if answer and (prompt[-1]["role"], answer[0]["role"]) == ("user", "assistant"):
            said = _without_question(prompt[-1]["content"], answer[0]["content"])
            answer = [{**answer[0], "content": said}, *answer[1:]]
        return _chat(values, prompt + answer)

    known = (asked, *BESIDE, *more)
    return Layout(name, "qa", (asked, answered), make, (*BESIDE, *LABELS, *more))


def _preference(name: str, asked: str, more: tuple[str, ...] = BEFORE_THE_ANSWER) -> Layout:
    def make(values: dict) -> dict:
        prompt = _asked({column: values[column] for column in values if column in known}, asked)
        return _preferred(values, prompt, ANSWERS)

    known = (asked, *BESIDE, *more)
    return Layout(name, "preferences", (asked, *ANSWERS), make, (*BESIDE, *more))


def _chats(name: str, column: str) -> Layout:
    def make(values: dict) -> dict:
        return _chat(values, _conversation(values, column))

    return Layout(name, "qa", (column,), make, (*BESIDE, *LABELS))


LAYOUTS = (
    _preference("preferences", "prompt"),
    _preference("preferences of questions", "question"),
    _preference("preferences in Alpaca's columns", "instruction"),
    _preference("preferences after messages", "messages", ()),
    _preference("preferences after ShareGPT's turns", "conversations", ()),
    Layout("preferences that hold their prompt", "preferences", ANSWERS, _implicit),
    Layout("OpenAI's preferences", "preferences", ("input", *OPENAI_ANSWERS), _openai_preference),
    _chats("chat messages", "messages"),
    _chats("ShareGPT", "conversations"),
    _pair("Alpaca", "instruction", "output"),
    _pair("Dolly", "instruction", "response"),
    _pair("prompt and completion", "prompt", "completion"),
    _pair("question and answer", "question", "answer"),
    _pair("OpenOrca", "question", "response"),
    Layout("text", "text", ("text",), lambda values: {"text": _text(values, "text")}, ("source",)),
)


# --- what is at hand --------------------------------------------------------------------------

FILES = ("file", "folder", "page", "sheet")  # what is named to the user one by one
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
        self.first: dict[tuple[str, str], str] = {}
        self.unread: list[str] = []

    def drop(self, dropped: Dropped) -> None:
        self.counts[dropped.what, dropped.reason] += dropped.count
        self.first.setdefault((dropped.what, dropped.reason), dropped.source)
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
        """Rows of what, reason, count and the place of the first; the most frequent first."""
        return [
            {
                "what": what,
                "reason": reason,
                "count": count,
                "first": self.first[what, reason],
            }
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
    tables: list[Table] = field(default_factory=list)  # of files of rows, which are all read
    inside: list[Table] = field(default_factory=list)  # that stand in documents
    lines: SharedLines = field(default_factory=SharedLines)
    line_ends: LineEnds = field(default_factory=LineEnds)
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

NOTE = "Made by `labkit pack new`; dropped.jsonl lists what was left out."
BASELINES_TOLD = (
    "Read a score beside these. By chance: a choice is made blindly; a free answer and a form are "
    "not hit by chance. One answer, always the same: the most frequent one of its kind. From the "
    "choices alone: measured, without the question, by the rule about length, place, size, wording "
    "and earlier answers that does best on other items of the kind."
)
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
    folder: Path,
    *,
    name: str,
    title: str,
    licence: str,
    rows: dict[str, int],
    provenance: dict,
    kinds: Sequence[dict] = (),
    note: str = NOTE,
    about: dict[str, str] = ABOUT,
) -> None:
    """pack.yaml and README.md. rows: per split. provenance: what was read and done, what was left
    out and why. kinds: of test items, as items.baselines gives them. about: what each split is.
    """
    splits = {
        split: {"file": SPLITS[split], "rows": count, "about": about[split]}
        for split, count in rows.items()
    }
    card = {
        "name": name,
        "title": title,
        "licence": licence,
        "note": note,
        "splits": splits,
        "provenance": provenance,
    } | ({"test_items": list(kinds)} if kinds else {})
    (folder / "pack.yaml").write_text(
        yaml.safe_dump(card, sort_keys=False, width=100, allow_unicode=True), "utf-8"
    )
    (folder / "README.md").write_text("".join(f"{line}\n" for line in _readme(card, note)), "utf-8")


def _readme(card: dict, note: str) -> Iterator[str]:
    """A data card as the Hugging Face hub reads it: YAML, then what is in the pack, what guessing
    scores, how it was made, what was left out.
    """
    title, licence, splits = card["title"], card["licence"], card["splits"]
    provenance, kinds = card["provenance"], card.get("test_items", [])
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
    yield f"{note}\n"
    yield "| file | rows | what it is |\n|---|---|---|"
    yield from (
        f"| {split['file']} | {split['rows']:,} | {split['about']} |" for split in splits.values()
    )
    if kinds:
        yield "\n## What guessing scores\n"
        yield BASELINES_TOLD
        yield (
            "\n| axis | kind | test items | by chance | one answer, always the same "
            "| from the choices alone |"
        )
        yield "|---|---|---|---|---|---|"
        yield from (
            f"| {row['axis']} | {row['kind']} | {row['items']:,} | {row['chance']:.2f} "
            f"| {row['constant']:.2f} | {_alone(row)} |"
            for row in kinds
        )
    yield "\n## How it was made\n"
    yield from (
        f"- {key.replace('_', ' ')}: {_told(value)}"
        for key, value in provenance.items()
        if key != "dropped"
    )
    yield "\n## What was left out\n"
    if note == NOTE:
        yield "Each with its place in `dropped.jsonl`.\n"
    yield "| what | why | how many |\n|---|---|---|"
    yield from (
        f"| {row['what']} | {row['reason']} | {row['count']:,} |" for row in provenance["dropped"]
    )


def _alone(kind: dict) -> str:
    return f"{kind['choices_alone']:.2f}" if "choices_alone" in kind else "–"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return (
            ", ".join(f"{key.replace('_', ' ')} {_told(part)}" for key, part in value.items())
            or "none"
        )
    return f"{value:,}" if isinstance(value, int) else str(value)
