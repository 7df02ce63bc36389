"""This module compares texts: it finds near duplicates, and evaluation items that leak.

Texts are near duplicates when they share most of their runs of five words. MinHash signatures and
locality-sensitive hashing estimate that (Broder 1997, "On the resemblance and containment of
documents"; runs and thresholds as in Lee et al. 2022, arXiv 2107.06499). A score on an item that
stands in the training text would measure memory, not the field. An item leaks by its question or by
a run of thirteen words that is not common, as for GPT-3 (Brown et al. 2020, arXiv 2005.14165,
appendix C); in Chinese and Japanese two characters count as a word. Texts are compared in a folded
form, in which two that look alike are alike. The module does not know packs or files.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import regex

from labkit.base.inputs import seen

# --- words ------------------------------------------------------------------------------------

# Scripts without blanks between words. In the first a character is about half a word; in the
# others a word is a syllable or two, which end where vowel signs do.
_CHARACTERS = r"\p{Han}\p{Hiragana}\p{Katakana}"
_SYLLABLES = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_BEYOND_LETTERS_AND_BLANKS = re.compile("[\u0900-\u1fff\u2e80-\U0010ffff]")
_WORD = regex.compile(
    rf"[{_CHARACTERS}]|[[{_SYLLABLES}]--\p{{M}}]+\p{{M}}*"
    rf"|[[\w\p{{M}}]--[{_CHARACTERS}{_SYLLABLES}]]+",
    regex.V1,
)
# the same for text in ASCII, four times as fast: what is in no word becomes a blank
_ASCII_WORDS = {code: chr(code) if re.match(r"\w", chr(code)) else " " for code in range(128)}
_EMPHASIS = re.compile(r"\b_+|_+\b")  # Markdown's, around words
_MARK = regex.compile(r"\p{M}")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)  # of other scripts
# Canonical combining classes (Unicode, UnicodeData.txt): vowel signs of Hebrew, Arabic and Syriac,
# which most texts leave out, and accents. Vowel signs of other scripts are letters of the word.
_VOWEL_SIGNS, _ACCENTS = range(10, 37), range(200, 241)
# What looks the same in a word: the Persian and the Arabic kaf and yeh; the stroke that stretches
# an Arabic word; the letters and the sign that are an apostrophe; i without its dot.
_ALIKE = str.maketrans(
    {"ک": "ك", "ی": "ي", "ى": "ي", "ـ": None, "\u0131": "i"}
    | dict.fromkeys("\u02b9\u02bb\u02bc\u02bd\u02c8\ua78c", "'")
)
_ANY_ALIKE = re.compile(f"[{''.join(map(chr, _ALIKE))}]")
# Letters of Cyrillic, Greek and Cherokee that look like Latin ones (Unicode, confusables.txt):
# everywhere, for a word of them alone may stand for a Latin one; and those that do as capitals, or
# nearly, in words with Latin letters only.
_OTHER_SCRIPTS = re.compile("[\u0370-\u052f\u13a0-\u13f5]")
_LATIN_ALONE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u03bf\u04cf",
    "aeopcyxijshdqwol",
) | str.maketrans(
    "\u13a0\u13a1\u13a2\u13a5\u13a9\u13aa\u13ab\u13ac\u13b3\u13b7\u13bb\u13bd\u13c0\u13c2\u13c3\u13cf"
    "\u13d2\u13d4\u13d5\u13d9\u13da\u13de\u13df\u13e2\u13e6\u13e7\u13f3\u13f4",
    "drtiyajewmhyghzbrwsvslcpkdgb",
)
_LATIN_WITH_OTHERS = str.maketrans("\u0432\u043a\u043c\u043d\u0442", "bkmht") | str.maketrans(
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bd\u03c1\u03c4\u03c5\u03c7", "abezhikvptux"
)
# The capital palochka is a bare stroke: I at the start of a word and beside capitals, else l.
_STROKE_FOR_I = re.compile("\u04c0(?:(?<=[A-Z]\u04c0)|(?=[A-Z])|(?<=\\b\u04c0)(?=[a-z]|\\b))")


def folded(text: str) -> str:
    """A text as it is compared: in small letters, without signs that cannot be seen, typographic
    forms (ligatures, full width), letters and digits of one script for those of another, accents,
    and vowel signs that may be left out.
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", seen(text))
    text = _STROKE_FOR_I.sub("I", text).casefold()
    text = text.translate(_ALIKE) if _ANY_ALIKE.search(text) else text  # slow, and seldom needed
    text = unicodedata.normalize("NFC", _MARK.sub(_if_needed, text))
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    return _in_one_script(text) if _OTHER_SCRIPTS.search(text) else text


def _in_one_script(text: str) -> str:
    """A text in which letters that look like Latin ones are Latin ones."""
    text = re.sub(r"\w*[a-z]\w*", lambda word: word[0].translate(_LATIN_WITH_OTHERS), text)
    return text.translate(_LATIN_ALONE)


def _if_needed(mark: re.Match) -> str:
    order = unicodedata.combining(mark[0])
    return "" if order in _VOWEL_SIGNS or order in _ACCENTS else mark[0]


def words_of(text: str) -> list[str]:
    """The words of a folded text, without punctuation: what texts are compared by.

    Of Chinese and Japanese text every character is one, of Thai, Lao, Khmer and Burmese text about
    a syllable.
    """
    text = folded(text)
    if "_" in text:
        text = _EMPHASIS.sub(" ", text)
    if text.isascii():
        return text.translate(_ASCII_WORDS).split()
    if _BEYOND_LETTERS_AND_BLANKS.search(text):
        return _WORD.findall(text)
    return re.findall(r"\w+", text)


def is_character(word: str) -> bool:
    """Whether a word of `words_of` is one character of Chinese or Japanese: half a word."""
    return len(word) == 1 and word >= "\u2e80"


# --- near duplicates --------------------------------------------------------------------------

SHINGLE_WORDS = 5
THRESHOLD = 0.8
PERMUTATIONS = 128
BATCH = 4096  # shingles hashed at once, times 128 permutations, times four bytes
# of a text's runs: who shares fewer with all others together, nearly equals none of them. So far
# below the threshold no estimate errs.
SHARED_RUNS = 0.6
_MIX = np.uint32(0x9E3779B1)


def word_codes(words: list[str]) -> np.ndarray:
    """One uint32 per word, the same on every machine."""
    return np.array(
        [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint32
    )


def run_hashes(codes: np.ndarray, length: int) -> np.ndarray:
    """One uint32 per run of `length` consecutive words (len(codes) - length + 1 of them, none for a
    shorter text).

    codes: of word_codes. Equal runs have equal hashes; two different ones share a hash once in four
    billion.
    """
    runs = np.zeros(max(len(codes) - length + 1, 0), np.uint32)
    mixed = codes ^ (codes >> np.uint32(15))
    for offset in range(length if len(runs) else 0):
        runs *= _MIX
        runs += mixed[offset : offset + len(runs)]
    return runs


def shingle_hashes(text: str) -> np.ndarray:
    """The distinct hashes (sorted uint32) of a text's runs of five words; of all its words when
    there are fewer.
    """
    codes = word_codes(words_of(text))
    return np.unique(run_hashes(codes, min(SHINGLE_WORDS, len(codes)))) if len(codes) else codes


@cache
def _empty_signature():
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, hashfunc=int)


def signature(hashes: np.ndarray):
    """The datasketch.MinHash of a text's `shingle_hashes`; `jaccard` of two estimates which share
    of them both have, 0 to 1.
    """
    found = _empty_signature().copy()
    for start in range(0, len(hashes), BATCH):
        found.update_batch(hashes[start : start + BATCH].tolist())
    return found


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> list[int | None]:
    """For each text the index of the first earlier text it nearly equals, else None.

    threshold: share of distinct five-word runs in common (Jaccard, 0 to 1; estimated from 128
    permutations, standard error 0.035 at 0.8). A text marked as a duplicate is not compared with
    later ones, so an index is always that of a text marked None. A text without words equals
    nothing. Texts are read once and not kept: four bytes of memory for each of their runs, and 6 kB
    for each text that shares many of its own.
    """
    from datasketch import MinHashLSH

    # candidates are verified, so a missed one costs more
    index = MinHashLSH(threshold, PERMUTATIONS, weights=(0.1, 0.9))
    kept: dict[int, Any] = {}
    shingles = [shingle_hashes(text) for text in texts]
    found: list[int | None] = [None] * len(shingles)
    for number in _sharing(shingles, SHARED_RUNS * threshold):
        own = signature(shingles[number])
        found[number] = min(
            (other for other in index.query(own) if own.jaccard(kept[other]) >= threshold),
            default=None,
        )
        if found[number] is None:
            kept[number] = own
            index.insert(number, own)
    return found


def _sharing(shingles: list[np.ndarray], share: float) -> Iterator[int]:
    """The texts that have at least this share of their shingles in common with other texts."""
    every = np.sort(np.concatenate([np.empty(0, np.uint32), *shingles]))
    shared = np.unique(every[1:][every[1:] == every[:-1]])
    for number, own in enumerate(shingles):
        places = np.searchsorted(shared, own)
        in_others = np.count_nonzero(shared.take(places, mode="clip") == own) if len(shared) else 0
        if in_others and in_others >= share * len(own):
            yield number


# --- leaks ------------------------------------------------------------------------------------

RUN_WORDS = 13
COMMON_ROWS = 10  # a run in more rows than this is a common phrase or a form of words, not an item
# a shorter question leaks as a question of a training chat only, not inside running text
QUESTION_WORDS = 5
BATCH_ROWS = 500  # one pass of numpy for many short rows
TABLE_BITS = 20


@dataclass(frozen=True)
class Leak:
    """item: place of the evaluation item. row: place of the first training row with its words."""

    item: str
    row: str
    words: str


@dataclass
class _Run:
    """A run of words looked for: the items that have it, how many rows do, the first and the last
    of them.
    """

    items: list[str]
    rows: int = 0
    first: str = ""
    last: str = ""


@dataclass
class _Runs:
    """Runs of one length, and a table that says for a hash's upper bits whether it can be one of
    them. questions: they are whole questions, which leak in any number of rows.
    """

    length: int
    questions: bool
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
            if run.rows and (self.questions or run.rows <= COMMON_ROWS):
                yield " ".join(words), run


def question_of(messages: list[dict]) -> str:
    """The last user turn of a chat; empty when it has none."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")


def question_key(question: str) -> str:
    """The same for two questions that differ only in case, spaces, punctuation and what `folded`
    takes away.
    """
    return " ".join(words_of(question))


def find_leaks(
    items: Iterable[tuple[str, dict]], training: Iterable[tuple[str, dict]]
) -> list[Leak]:
    """The first leak of each item that has one, in the items' order.

    items, training: (place, row) pairs, rows as in a pack's splits; training is read once and not
    kept. An item leaks when its question is a question of a training chat, when its question (five
    words or more) stands in a training row, or when thirteen words in a row of its question and
    answer do and at most ten rows have them. A text to continue (`prompt`) is no question: a short
    one is a wording of what the text is there to teach, so only the thirteen words count.
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
        for phrase, run in runs.leaking:
            for item in run.items:
                found.setdefault(item, Leak(item, run.first, phrase))
    return [found[place] for place, _ in items if place in found]


def _questions(row: dict) -> list[str]:
    return [
        turn["content"]
        for turn in row.get("messages", row.get("prompt", []))
        if turn["role"] == "user"
    ]


def _text(row: dict) -> str:
    """All text of a training row of any layout."""
    if "text" in row:
        return row["text"]
    return "\n".join(
        turn["content"]
        for key in ("messages", "prompt", "chosen", "rejected")
        for turn in row.get(key, [])
    )


def _asked(items: list[tuple[str, dict]]) -> dict[str, list[str]]:
    """Places of the items that ask a question, by the question."""
    asked = defaultdict(list)
    for place, item in items:
        if key := question_key(question_of(item.get("messages", []))):
            asked[key].append(place)
    return asked


def _runs(items: list[tuple[str, dict]]) -> list[_Runs]:
    """What to look for: questions as a whole, and every thirteen words of an item."""
    kinds: dict[tuple[int, bool], dict[tuple[str, ...], _Run]] = defaultdict(dict)
    for place, item in items:
        question = words_of(item["prompt"] if "prompt" in item else question_of(item["messages"]))
        words = question + words_of(item.get("answer", ""))
        run_words, question_words = _run_lengths(words)
        found = [
            (tuple(words[i : i + run_words]), False) for i in range(len(words) - run_words + 1)
        ]
        if "messages" in item and question_words <= len(question) < run_words:
            found.append((tuple(question), True))
        for run, asked in dict.fromkeys(found):
            kinds[len(run), asked].setdefault(run, _Run([])).items.append(place)
    return [_Runs(length, questions, runs) for (length, questions), runs in kinds.items()]


def _run_lengths(words: list[str]) -> tuple[int, int]:
    """How many words of an item in a row leak, and how many words a question has at least."""
    characters = 2 * sum(map(is_character, words)) > len(words)
    return (2 * RUN_WORDS, 2 * QUESTION_WORDS) if characters else (RUN_WORDS, QUESTION_WORDS)
