"""Evaluation items that stand in the training text: a score on them would measure memory, not the field.

Runs of thirteen words, ignored where they are common, as for GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from labkit.dedupe import run_hashes, word_codes, words_of

RUN_WORDS = 13
COMMON_ROWS = 10  # a run in more rows than this is a common phrase or a form of words, not an item
QUESTION_WORDS = 5  # a shorter question leaks as a question of a training chat only, not inside running text
BATCH_ROWS = 500  # one pass of numpy for many short rows
TABLE_BITS = 20


@dataclass(frozen=True)
class Leak:
    """item: place of the evaluation item. row: place of the first training row that has its words."""

    item: str
    row: str
    words: str


@dataclass
class _Run:
    """A run of words looked for: the items that have it, how many rows do, the first and the last of them."""

    items: list[str]
    rows: int = 0
    first: str = ""
    last: str = ""


@dataclass
class _Runs:
    """Runs of one length, and a table that says for a hash's upper bits whether it can be one of them."""

    length: int
    runs: dict[tuple[str, ...], _Run]

    def __post_init__(self):
        self.table = np.zeros(1 << TABLE_BITS, bool)
        codes = word_codes([word for run in self.runs for word in run])
        self.table[self.slots(codes)[:: self.length]] = True

    def slots(self, codes: np.ndarray) -> np.ndarray:
        return run_hashes(codes, self.length) >> np.uint32(32 - TABLE_BITS)

    def count(self, words: list[str], codes: np.ndarray, places: list[str]) -> None:
        """places: of the row that each word is in."""
        for start in np.flatnonzero(self.table[self.slots(codes)]):
            run = self.runs.get(tuple(words[start : start + self.length]))
            if run and run.last != places[start]:
                run.first = run.first or places[start]
                run.last = places[start]
                run.rows += 1

    @property
    def leaking(self) -> Iterator[tuple[str, _Run]]:
        for words, run in self.runs.items():
            if run.rows and (self.length < RUN_WORDS or run.rows <= COMMON_ROWS):
                yield " ".join(words), run


def question_of(messages: list[dict]) -> str:
    """The last user turn of a chat; empty when it has none."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")


def question_key(question: str) -> str:
    """The same for two questions that differ in case, spaces and punctuation only."""
    return " ".join(words_of(question))


def find_leaks(items: Iterable[tuple[str, dict]], training: Iterable[tuple[str, dict]]) -> list[Leak]:
    """The first leak of each item that has one, in the items' order.

    items, training: (place, row) pairs, rows as in a pack's splits; training is read once and not kept.
    An item leaks when its question is a question of a training chat, when its question (five words or more) stands in
    a training row, or when thirteen words in a row of its question and answer do and at most ten rows have them.
    A text to continue (`prompt`) is no question: a short one is a wording of what the text is there to teach, so only
    the thirteen words count.
    """
    items = list(items)
    asked, looked_for = _asked(items), _runs(items)
    found: dict[str, Leak] = {}
    rows = iter(training)
    while batch := list(islice(rows, BATCH_ROWS)):
        words, places = [], []
        for place, row in batch:
            for question in map(question_key, _questions(row)):
                for item in asked.get(question, ()):
                    found.setdefault(item, Leak(item, place, question))
            own = [*words_of(_text(row)), "\n"]  # no run reaches over a row's end
            words += own
            places += [place] * len(own)
        codes = word_codes(words)
        for runs in looked_for:
            runs.count(words, codes, places)
    for runs in looked_for:
        for words, run in runs.leaking:
            for item in run.items:
                found.setdefault(item, Leak(item, run.first, words))
    return [found[place] for place, _ in items if place in found]


def _questions(row: dict) -> list[str]:
    return [turn["content"] for turn in row.get("messages", row.get("prompt", [])) if turn["role"] == "user"]


def _text(row: dict) -> str:
    """All text of a training row of any layout."""
    if "text" in row:
        return row["text"]
    return "\n".join(turn["content"] for key in ("messages", "prompt", "chosen", "rejected") for turn in row.get(key, []))


def _asked(items: list[tuple[str, dict]]) -> dict[str, list[str]]:
    """Places of the items that ask a question, by the question."""
    asked = defaultdict(list)
    for place, item in items:
        if key := question_key(question_of(item.get("messages", []))):
            asked[key].append(place)
    return asked


def _runs(items: list[tuple[str, dict]]) -> list[_Runs]:
    """What to look for: questions as a whole, and every thirteen words of an item."""
    by_length: dict[int, dict[tuple[str, ...], _Run]] = defaultdict(dict)
    for place, item in items:
        question = words_of(item["prompt"] if "prompt" in item else question_of(item["messages"]))
        words = question + words_of(item.get("answer", ""))
        found = [tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)]
        if "messages" in item and QUESTION_WORDS <= len(question) < RUN_WORDS:
            found.append(tuple(question))
        for run in dict.fromkeys(found):
            by_length[len(run)].setdefault(run, _Run([])).items.append(place)
    return [_Runs(length, runs) for length, runs in by_length.items()]
