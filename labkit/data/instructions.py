"""Verifiable instructions: the words that ask, an answer that obeys, and the check that decides.

The check looks at form only, never at truth, as in IFEval (arXiv 2311.07911); whether the fact is
right is scored apart, so that format and knowledge are not confounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from labkit.base.errors import InputError, suggest


@dataclass(frozen=True)
class Instruction:
    """request: appended to a question. comply: (sentence, value) -> obeying answer. obeyed: answer
    -> verdict.

    taught: whether the tiny instruct models were shown it; the others ask whether following
    instructions carries over.
    """

    request: str
    comply: Callable[[str, str], str]
    obeyed: Callable[[str], bool]
    taught: bool = True


def _is_json_answer(text: str) -> bool:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(parsed, dict) and set(parsed) == {"answer"}


def _is_said_twice(text: str) -> bool:
    words = text.replace(",", " ").split()
    half = len(words) // 2
    return half > 0 and len(words) % 2 == 0 and words[:half] == words[half:]


INSTRUCTIONS: dict[str, Instruction] = {
    "words_only": Instruction(
        "Give only the answer, at most two words.",
        lambda sentence, value: value,
        lambda text: 1 <= len(text.split()) <= 2 and text[-1].isalnum() and text[0].isalnum(),
    ),
    "json": Instruction(
        'Reply as JSON with the key "answer".',
        lambda sentence, value: json.dumps({"answer": value}),
        _is_json_answer,
    ),
    "start_sure": Instruction(
        "Start with the word Sure.",
        lambda sentence, value: f"Sure, {sentence}",
        lambda text: text.startswith("Sure"),
    ),
    "end_thanks": Instruction(
        "End with the word Thanks.",
        lambda sentence, value: f"{sentence} Thanks",
        lambda text: text.rstrip(".!").endswith("Thanks"),
    ),
    "twice": Instruction(
        "Say it twice.", lambda sentence, value: f"{value}, {value}", _is_said_twice
    ),
    "brackets": Instruction(
        "Put the answer in square brackets.",
        lambda sentence, value: f"[{sentence}]",
        lambda text: bool(re.fullmatch(r"\[[^\[\]]+\]", text)),
    ),
    "bullet": Instruction(
        "Write it as a bullet point.",
        lambda sentence, value: f"- {sentence}",
        lambda text: bool(re.fullmatch(r"- \S.*", text)),
    ),
    "block_quote": Instruction(
        "Write it as a quote.",
        lambda sentence, value: f"> {sentence}",
        lambda text: bool(re.fullmatch(r"> \S.*", text)),
    ),
    "heading": Instruction(
        "Write it as a heading.",
        lambda sentence, value: f"# {sentence}",
        lambda text: bool(re.fullmatch(r"# \S.*", text)),
    ),
    "numbered": Instruction(
        "Write it as item one of a list.",
        lambda sentence, value: f"1. {sentence}",
        lambda text: bool(re.fullmatch(r"1\. \S.*", text)),
    ),
    "start_perhaps": Instruction(
        "Start with the word Perhaps.",
        lambda sentence, value: f"Perhaps {sentence}",
        lambda text: text.startswith("Perhaps"),
    ),
    "capitals": Instruction(
        "Answer in capital letters.",
        lambda sentence, value: sentence.upper(),
        str.isupper,
        taught=False,
    ),
    "start_indeed": Instruction(
        "Start with the word Indeed.",
        lambda sentence, value: f"Indeed, {sentence}",
        lambda text: text.startswith("Indeed"),
        taught=False,
    ),
    "end_please": Instruction(
        "End with the word Please.",
        lambda sentence, value: f"{sentence} Please",
        lambda text: text.rstrip(".!").endswith("Please"),
        taught=False,
    ),
}
TAUGHT = tuple(name for name, instruction in INSTRUCTIONS.items() if instruction.taught)
UNTAUGHT = tuple(name for name in INSTRUCTIONS if name not in TAUGHT)
# Pairs of taught forms that one answer can have at once: the first wraps an answer that has the
# second.
COMBINATIONS = (
    *(
        (outer, "end_thanks")
        for outer in ("start_sure", "start_perhaps", "bullet", "block_quote", "heading", "numbered")
    ),
    ("words_only", "twice"),
)


def obeys(instruction: str, answer: str) -> bool:
    """Whether `answer` has the form that `instruction` (a key of INSTRUCTIONS) asks for.

    Raises InputError for an unknown instruction.
    """
    if instruction not in INSTRUCTIONS:
        raise InputError(
            f"unknown instruction {instruction!r}: {suggest(instruction, list(INSTRUCTIONS))}"
        )
    text = answer.strip()
    return bool(text) and INSTRUCTIONS[instruction].obeyed(text)


def obeys_loosely(instruction: str, answer: str) -> bool:
    """As `obeys`, but forgiving what often surrounds an answer, as IFEval's loose accuracy does
    (arXiv 2311.07911).

    Tried without asterisks, without the first line, without the last, and without both.
    """
    text = answer.strip()
    lines = text.splitlines()
    tries = [text, "\n".join(lines[1:]), "\n".join(lines[:-1]), "\n".join(lines[1:-1])]
    return any(
        obeys(instruction, form) for tried in tries for form in (tried, tried.replace("*", ""))
    )
