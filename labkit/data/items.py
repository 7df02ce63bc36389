"""This module makes evaluation items of texts and of questions with their answers.

Held-out text is continued, held-out questions are asked again, and what the training text says is
asked for, each item with the sentence it comes from. The module works on plain texts and chats; it
does not know files, and not what is held out.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import regex
import yaml

from labkit.data import world
from labkit.data.cleaning import parted, sentences_of, sets_no_blanks, size_of
from labkit.data.instructions import (
    COMBINATIONS,
    INSTRUCTIONS,
    REAL_MODELS,
    TAUGHT,
    TINY_MODELS,
    natural_domain,
    natural_general,
)
from labkit.data.leaks import question_key, question_of, words_of
from labkit.data.packs import EVAL_SPLITS, samples_folder
from labkit.data.world import formatted_items, general_items, people_of

FORMATTED = {"dev": 40, "test": 100}  # items about form, of the general world
# as people count them; so that an English item fits into 256 tokens of a tiny model
PROMPT_CHARACTERS, ANSWER_CHARACTERS, QUESTION_CHARACTERS = 160, 80, 400
PROMPT_WORDS, ANSWER_WORDS = 5, 3  # fewer say too little to be continued, or to be a continuation
SHORT_ANSWER_WORDS = 5
_CHARACTER = regex.compile(r"\X")  # as people count: a letter with its signs is one
LONGEST_CHARACTER = 20  # code points; more are looked at for nobody
CHOICES = 4
LOOKED_AT = 200  # candidates for the other choices of one item


def rank(name: str, seed: int) -> str:
    """What names are ordered by: as if by chance, and every time the same."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def in_turn(passages: Sequence[tuple[str, str]], seed: int) -> list[int]:
    """Indices of (source, text) passages in random order, a first of every source before any
    second.
    """
    order = sorted(range(len(passages)), key=lambda i: rank(f"{i} {passages[i][0]}", seed))
    seen: dict[str, int] = defaultdict(int)
    turn = {}
    for i in order:
        turn[i] = seen[passages[i][0]]
        seen[passages[i][0]] += 1
    return sorted(order, key=turn.__getitem__)


def continuation_items(passages: Sequence[tuple[str, str]], seed: int) -> list[dict | None]:
    """Per (source, text) passage: which sentence comes next, its own or one of three others of the
    same split?

    The others come from other sources where there are enough. None for a passage without a sentence
    to continue, and where there are no others.
    """
    cuts = [_cut(text) for _, text in passages]
    pool = [(source, cut[1]) for (source, _), cut in zip(passages, cuts, strict=True) if cut]
    items: list[dict | None] = []
    for number, ((source, _), cut) in enumerate(zip(passages, cuts, strict=True)):
        rng = random.Random(f"continuation {seed} {number}")
        others = _others(cut[1], source, pool, rng) if cut else []
        if cut and len(others) < CHOICES - 1:
            others = _others(cut[1], "", pool, rng)
        base = {"axis": "knowledge", "kind": "continuation", "entity": source}
        items.append(
            {**base, "prompt": cut[0], **_choices(cut[1], others, rng)} if cut and others else None
        )
    return items


def can_be_continued(text: str) -> bool:
    """Whether a passage has a sentence to continue."""
    return _cut(text) is not None


def _cut(text: str) -> tuple[str, str] | None:
    """The end of a passage's first half, and the beginning of the sentence after it."""
    sentences = parted(" ".join(text.split()))
    half = max(1, len(sentences) // 2)
    prompt, answer = (
        _ending("".join(sentences[:half]).strip()),
        beginning("".join(sentences[half : half + 1]).strip()),
    )
    return (
        (prompt, answer)
        if size_of(prompt) >= PROMPT_WORDS and size_of(answer) >= ANSWER_WORDS
        else None
    )


def beginning(text: str, most: int = ANSWER_CHARACTERS) -> str:
    """The first `most` characters of a text, cut at a space where there is one.

    A letter with its signs is one character. Scripts without spaces are cut anywhere.
    """
    characters = _CHARACTER.findall(text[: LONGEST_CHARACTER * most])
    cut, rest = "".join(characters[:most]), characters[most : most + 1]
    if " " not in cut or not rest or rest[0] == " " or sets_no_blanks(rest[0]):
        return cut
    return cut.rsplit(" ", 1)[0]


def _ending(text: str) -> str:
    characters = _CHARACTER.findall(text[-LONGEST_CHARACTER * PROMPT_CHARACTERS :])
    cut = "".join(characters[-PROMPT_CHARACTERS:])
    return cut if cut == text or " " not in cut or sets_no_blanks(cut) else cut.split(" ", 1)[1]


def _others(
    answer: str, own: str, pool: Sequence[tuple[str, str]], rng: random.Random
) -> list[str]:
    """Up to three different texts of a (source, text) pool that are not the answer and not of its
    own source.
    """
    found: list[str] = []
    for source, text in rng.sample(pool, min(len(pool), LOOKED_AT)):
        if source != own and text != answer and text not in found and len(found) < CHOICES - 1:
            found.append(text)
    return found


def _choices(answer: str, others: list[str], rng: random.Random) -> dict:
    choices = [answer, *others]
    rng.shuffle(choices)
    return {"choices": choices, "answer": answer}


def can_be_asked(chat: list[dict]) -> bool:
    """Whether a chat's answer is one to learn, and what comes before it short enough for items."""
    asked = sum(len(turn["content"]) for turn in chat[:-1])
    return asked <= QUESTION_CHARACTERS and bool(chat[-1].get("weight", 1))


# How an answer begins, whatever it says. A bare "No" may also begin a sentence, so a stop follows.
_YES_OR_NO = re.compile(
    r"\W*((yes|yeah|maybe|perhaps|ja|nein|nee|vielleicht|oui|peut-être|sí|quizás|sim|talvez|forse)\b"
    r"|(no|non|não|true|false|correct|incorrect|richtig|falsch|vrai|faux|是|是的|否|不是|はい|いいえ)"
    r"(?=\W*$|\s*[.,;:!\u3002\uff0c\u3001\uff01]))",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\s*([-*•–]|\d+[.)])\s")
_NUMBER = re.compile(
    r"[^\w\s]*\s*(?:(?:about|around|circa|ca\.|etwa)\s+)?[-+±]?\d[\d.,]*(?=\s|%|°|$)\s*(\S*)",
    re.IGNORECASE,
)


def kind_of(answer: str) -> str:
    """What sort of thing an answer is, by how it begins: yes or no, a list, a number with its unit,
    or text.
    """
    if _YES_OR_NO.match(answer):
        return "yes or no"
    if _LISTED.match(answer):
        return "list"
    number = _NUMBER.match(answer)
    return f"number {number[1].strip('.,;:').casefold()}" if number else "text"


def _alike(answer: str, own: str, pool: Sequence[tuple[str, str]], rng: random.Random) -> list[str]:
    """Up to three texts of a (source, text) pool that are half to twice as long as the answer;
    where there are none, the beginnings of longer ones.
    """
    sample = rng.sample(pool, min(len(pool), LOOKED_AT))
    near = [(s, text) for s, text in sample if len(answer) / 2 <= len(text) <= len(answer) * 2]
    longer = [(s, beginning(text, len(answer))) for s, text in sample if len(text) > len(answer)]
    return _others(answer, own, near, rng) or _others(answer, own, longer, rng)


def question_items(chats: Sequence[tuple[str, list[dict]]], seed: int) -> list[dict | None]:
    """Per (entity, chat) an item: a short answer is to be said, a long one told from up to three
    answers to other questions, of its kind and length.

    Long answers are compared by their beginnings. None where the chat is no item (can_be_asked),
    and for a long answer without another of its kind and length.
    """
    answers = [" ".join(chat[-1]["content"].split()) for _, chat in chats]
    pools: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (entity, _), answer in zip(chats, answers, strict=True):
        if size_of(answer) > SHORT_ANSWER_WORDS:
            pools[kind_of(answer)].append((entity, beginning(answer)))
    items: list[dict | None] = []
    for number, ((entity, chat), answer) in enumerate(zip(chats, answers, strict=True)):
        asked = [{"role": turn["role"], "content": turn["content"]} for turn in chat[:-1]]
        item = {"axis": "knowledge", "entity": entity, "messages": asked}
        if not can_be_asked(chat):
            items.append(None)
        elif size_of(answer) <= SHORT_ANSWER_WORDS:
            items.append({**item, "kind": "free", "answer": chat[-1]["content"]})
        else:
            rng, shown = random.Random(f"question {seed} {number}"), beginning(answer)
            others = _alike(shown, entity, pools[kind_of(answer)], rng)
            item |= {"kind": "answer_choice", **_choices(shown, others, rng)}
            items.append(item if others else None)
    return items


EVERYDAY_FILE = "items.yaml"
EVERYDAY_DEV_EVERY = 3  # one item in so many is dev


def everyday_items(split: str | None = None) -> list[dict]:
    """Items {"id", "axis", "kind", "entity", "prompt", "choices", "answer"} of a split, `dev` or
    `test`, or all.

    The same every time; chance is a quarter. The packs' own control asks about labkit's invented
    people, whom no real model knows. These items ask what a real one should know: capitals,
    opposites, small sums, causes. They are scored by likelihood, as lm-eval scores such tasks.
    """
    items: list[dict] = []
    for group, content in yaml.safe_load(
        (samples_folder("everyday") / EVERYDAY_FILE).read_text("utf-8")
    ).items():
        rng = random.Random(group)
        for asked, answer in content["pairs"].items():
            wrong = rng.sample(sorted(set(content["pairs"].values()) - {answer}), CHOICES - 1)
            items.append(
                {
                    "id": f"everyday-{len(items):03d}",
                    "axis": "general",
                    "kind": group,
                    "entity": f"{group}: {asked}",
                    "prompt": content["prompt"].format(asked),
                    **_choices(answer, wrong, rng),
                }
            )
    return [
        item
        for number, item in enumerate(items)
        if split in (None, "test" if number % EVERYDAY_DEV_EVERY else "dev")
    ]


def control_items(split: str) -> list[dict]:
    """What measures forgetting. Labkit's tiny models are asked about people and formats of their
    general world, as in the invented packs; real models get everyday questions and natural
    requests.
    """
    people, rng = people_of(split), random.Random(f"controls {split}")
    tiny = formatted_items(
        "instructions", "general", world.language("general"), people, FORMATTED[split], rng
    ) + general_items(people)
    everyday = [
        {**item, "kind": "everyday", "models": REAL_MODELS} for item in everyday_items(split)
    ]
    for item in everyday:
        del item["id"]  # a pack numbers its items itself
    return [{**item, "models": TINY_MODELS} for item in tiny] + everyday + natural_general(split)


# --- items about what is taught ---------------------------------------------------------------
#
# A statement of the training text, without the part that tells something. Which parts do is seen
# from how the corpus uses its words, so it needs no list of words of any domain.

TAUGHT_ITEMS = {"dev": 80, "test": 240}  # of recall with choices, and of free recall
ASKED_FORMS = {"dev": 40, "test": 120}  # of taught facts, and of terms, in a requested form
PROPOSALS = {"dev": 40, "test": 120}
TERMS = 160
AGAIN = 3  # times in one of its documents, on average: a word that is a term there
ROUNDS = 5  # how often a term is asked about at most, each time in other company
PROPOSAL_CHARACTERS = (30, 300)
STATEMENT_WORDS, STATEMENT_CHARACTERS = (8, 45), 300
BEFORE_WORDS = 5  # of a statement that is to be continued
TELLING_WORDS = 3  # words that few documents have: what a statement is known by
FREE_WORDS = 3
PARTS = 2  # of one statement that are asked for, each in an item of its own
STEM = 4  # letters that words of one stem share
HABIT = 3  # documents that say one number of one thing
GAP = "____"
FILL = 'Fill the gap: "{statement}"'
_TERM = regex.compile(r"\p{L}[\p{L}\p{M}'’-]*")
_NUMBER_UNIT = regex.compile(
    r"(?<![\w.,+\-–−/<>=≤≥±~^*(×]|[<>=≤≥±/×+–−-]\s)(?!(?:1[4-9]|20)\d\d\b(?! ?%))"
    r"(\d+(?:[.,]\d+)*)(\s?)(%|°\s?[CF]\b|[\p{L}µ]+)"
    r"(?![\w/*^(-])"
)
_YEAR = regex.compile(r"(?<=\p{Ll} )(1[4-9]\d\d|20\d\d)(?=[\s;).]|,\s|$)(?!\.\d)")
_DATE = regex.compile(r"\p{Lu}\p{L}+ \d{1,2}(?:st|nd|rd|th)?, \d{4}|\d{1,2} \p{Lu}\p{L}+ \d{4}")
_CAPITALS = regex.compile(
    r"(?<=[\p{L}\p{N},;:)] |\()\p{Lu}[\p{L}\p{M}\p{N}'’-]*(?: \p{Lu}[\p{L}\p{M}'’-]+)*"
    r"(?<![-'’])(?![\w@/'’-])"
)
_MARKUP = re.compile(r"__|\*\*|<\w+>|\[[\W_]*\]")  # signs of something left out
# words that point to what was said before: such a statement cannot be known by itself
_POINTS_BACK = re.compile(
    r"(it|its|this|that|these|those|they|their|them|he|she|his|her|we|our|such|both|there|here|"
    r"however|therefore|thus|also|another|other|one|and|but|or|as|in addition|the (former|latter|"
    r"same|other)|for (example|instance)|so|then|(\w+,? ){1,3}(it|this|these|they))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Statement:
    """A sentence of the training text with its telling part, and three others like that part.

    kind: what sort of part it is, such as a number with its unit. others: from other documents.
    begun: whether what stands before the part says enough to be continued.
    """

    source: str
    sentence: str
    start: int
    part: str
    kind: str
    others: tuple[str, ...]
    begun: bool

    @property
    def before(self) -> str:
        return self.sentence[: self.start].rstrip()

    @property
    def with_gap(self) -> str:
        return f"{self.sentence[: self.start]}{GAP}{self.sentence[self.start + len(self.part) :]}"


class Usage:
    """How a corpus uses its words: in how many documents each stands, how often, how often in small
    letters and how often behind a number. Passages are (source, text); a source is a document.
    """

    def __init__(self, passages: Sequence[tuple[str, str]]):
        texts: dict[str, list[str]] = defaultdict(list)
        for source, text in passages:
            texts[source].append(" ".join(text.split()))
        self.documents = {source: " ".join(parts) for source, parts in texts.items()}
        self.spread: Counter[str] = Counter()
        self.count: Counter[str] = Counter()
        self.small: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.phrases: Counter[str] = Counter()
        self.words: dict[str, set[str]] = {}
        for source, text in self.documents.items():
            words = _TERM.findall(text)
            self.words[source] = set(map(str.lower, words))
            self.spread.update(self.words[source])
            self.count.update(map(str.lower, words))
            self.small.update(word for word in words if word.islower())
            numbers = list(_NUMBER_UNIT.finditer(text))
            self.counted.update(m[3].lower() for m in numbers)
            self.phrases.update(
                {_with_next_word(m[0], text[m.end() : m.end() + 40]) for m in numbers}
            )
        self.telling = max(3, len(self.documents) // 100)
        self.few = max(3, len(self.documents) // 25)  # documents that a rare word stands in

    def is_rare(self, word: str) -> bool:
        return self.spread[word.lower()] <= self.few

    def is_unit(self, word: str) -> bool:
        """Whether a word measures: it stands behind a number often, for how often it stands."""
        word = word.lower()
        return not word[0].isalpha() or self.counted[word] >= max(3, 0.15 * self.count[word])

    def is_habit(self, number: str, after: str) -> bool:
        """Whether a number is said of one thing all over the corpus, as in a 95% interval."""
        return self.phrases[_with_next_word(number, after)] >= HABIT

    def is_name(self, words: Sequence[str]) -> bool:
        """Whether capitalised words are a name: rare, and never written small."""
        return all(not self.small[word.lower()] for word in words) and any(map(self.is_rare, words))

    def is_term(self, word: str) -> bool:
        """Whether a word is a term: it stands in few documents, and in those again and again."""
        return (
            len(word) >= 7
            and word.isalpha()
            and 2 <= self.spread[word] <= self.few
            and self.count[word] >= AGAIN * self.spread[word]
        )

    def terms(self) -> list[str]:
        """The terms, first those that their documents use most often."""
        found = [word for word in self.count if self.small[word] and self.is_term(word)]
        return sorted(found, key=lambda word: (-self.count[word] / self.spread[word], word))[:TERMS]

    def parts(self, sentence: str) -> list[tuple[int, str, str]]:
        """(start, part, kind) of all that may be telling in a sentence, the surest kind first."""
        found = [(m.start(), m[0], "date") for m in _DATE.finditer(sentence)]
        for m in _NUMBER_UNIT.finditer(sentence):
            if self.is_unit(m[3]) and not self.is_habit(m[0], sentence[m.end() :]):
                digits = len(m[1].partition(".")[2])
                found.append((m.start(), m[0], f"number {m[2]}{m[3].lower()} {digits}"))
        found += [(m.start(), m[0], "year") for m in _YEAR.finditer(sentence)]
        for m in _CAPITALS.finditer(sentence):
            if len(m[0]) >= 3 and self.is_name(m[0].split()):
                found.append((m.start(), m[0], _form_of_name(m, sentence)))
        if not found:
            for m in _TERM.finditer(sentence):
                if m[0].islower() and self.is_term(m[0]):
                    found.append((m.start(), m[0], f"term {m[0][-3:]}"))
        return [
            (start, part, kind)
            for start, part, kind in found
            # what stands alone in brackets abbreviates or repeats what stands before them
            if not (sentence[:start].endswith("(") and sentence[start + len(part) :][:1] == ")")
        ]

    def can_be_known(self, sentence: str, part: str) -> bool:
        """Whether a statement without its part says enough to be known by, and says it once."""
        rest = sentence.replace(part, " ", 1)
        stems = {word[:STEM].lower() for word in _TERM.findall(rest) if len(word) >= STEM}
        own = {word[:STEM].lower() for word in _TERM.findall(part) if len(word) >= STEM}
        unsaid = not own & stems and part.lower() not in rest.lower()
        return unsaid and len(self.rare_words(rest)) >= TELLING_WORDS

    def begins_enough(self, before: str) -> bool:
        """Whether the beginning of a statement says enough to be continued."""
        long = len(before.split()) >= BEFORE_WORDS and not before.endswith("(")
        return long and len(self.rare_words(before)) >= TELLING_WORDS

    def rare_words(self, text: str) -> set[str]:
        """Words by which a statement can be told from all others."""
        words = {word.lower() for word in _TERM.findall(text) if len(word) > 3}
        return {word for word in words if self.spread[word] <= self.telling}


def _with_next_word(number: str, after: str) -> str:
    following = _TERM.search(after)
    return f"{number.lower()} {following[0].lower() if following else ''}"


def _form_of_name(found: regex.Match, sentence: str) -> str:
    """The kind of a name: names of one kind look alike and stand in like places."""
    name, after = found[0], sentence[found.end() :]
    digits, hyphen = bool(re.search(r"\d", name)), "-" in name
    if name.isupper():
        return f"acronym {digits} {hyphen}"
    before = sentence[: found.start()].rstrip().rpartition(" ")[2].lower()
    own = name.endswith(("'s", "’s"))
    attribute = bool(regex.match(r" \p{Ll}", after))
    return f"name {len(name.split())} {digits} {hyphen} {own} {attribute} after {before}"


def _is_statement(sentence: str) -> bool:
    return (
        STATEMENT_WORDS[0] <= len(sentence.split()) <= STATEMENT_WORDS[1]
        and len(sentence) <= STATEMENT_CHARACTERS
        and sentence[0].isupper()
        and sentence[-1] in ".;"
        and not _MARKUP.search(sentence)
        and not _POINTS_BACK.match(sentence)
        and all(sentence.count(left) == sentence.count(right) for left, right in ("()", "[]"))
        and sentence.count('"') % 2 == 0
    )


def taught_statements(passages: Sequence[tuple[str, str]], seed: int) -> list[Statement]:
    """Statements of (source, text) training passages, a first of every source before any second;
    after them those with a second part of a sentence.

    The other parts are of the same kind and about the same length, a number of about the same size,
    and do not stand in the document. A statement that cannot be known by itself is none, nor is one
    without three such parts.
    """
    usage = Usage(passages)
    pools: dict[str, dict[str, str]] = defaultdict(dict)
    found: list[tuple[str, str, list[tuple[int, str, str]]]] = []
    seen_once: Counter[str] = Counter()
    for source, text in passages:
        for sentence in parted(" ".join(text.split())):
            sentence = sentence.strip()
            parts = usage.parts(sentence)
            for _, part, kind in parts:
                pools[kind].setdefault(part, source)
            if parts and _is_statement(sentence):
                found.append((source, sentence, parts))
                seen_once[question_key(sentence)] += 1
    lists = {kind: list(parts) for kind, parts in pools.items()}
    rounds: list[list[Statement]] = [[] for _ in range(PARTS)]
    for source, sentence, parts in found:
        if seen_once[question_key(sentence)] > 1:
            continue
        rng = random.Random(f"statement {seed} {sentence}")
        taken = 0
        for start, part, kind in sorted(parts, key=lambda _: rng.random()):
            before = sentence[:start]
            others = _like(part, kind, before, lists[kind], usage.documents[source], rng)
            if len(others) == CHOICES - 1 and usage.can_be_known(sentence, part):
                begun = usage.begins_enough(before)
                told = Statement(source, sentence, start, part, kind, tuple(others), begun)
                rounds[taken].append(told)
                taken += 1
            if taken == PARTS:
                break
    return [
        each[number]
        for each in rounds
        for number in in_turn([(told.source, told.sentence) for told in each], seed)
    ]


def _like(
    part: str, kind: str, before: str, pool: Sequence[str], document: str, rng: random.Random
) -> list[str]:
    """Up to three others of a kind that fit into a statement as its part does."""
    number = _value(part) if kind.startswith(("number", "year")) else None
    article = before.rstrip().rpartition(" ")[2].lower() in ("a", "an")
    found: list[str] = []
    folded_document = document.lower()
    for other in rng.sample(pool, min(len(pool), LOOKED_AT)):
        value = _value(other) if number is not None else None
        if number is not None and value is not None:
            near = (
                abs(value - number) <= 40 if kind == "year" else number / 3 <= value <= number * 3
            )
            fits = near and value != number
        else:
            fits = (
                len(part) / 2 <= len(other) <= len(part) * 2
                and part.endswith("s") == other.endswith("s")
                and not (article and (part[0] in "aeiouAEIOU") != (other[0] in "aeiouAEIOU"))
            )
        alike = any(
            other.lower() in each.lower() or each.lower() in other.lower()
            for each in (part, *found)
        )
        if fits and not alike and other.lower() not in folded_document:
            found.append(other)
        if len(found) == CHOICES - 1:
            break
    return found


def _value(part: str) -> float | None:
    digits = re.match(r"\d+(?:,\d{3})*(?:\.\d+)?", part)
    return float(digits[0].replace(",", "")) if digits else None


def _has_taught(each: Statement) -> dict:
    """What every item about a statement says of it, so that a person can check the item."""
    return {"entity": each.source, "source": each.source, "taught": each.sentence}


def _ask(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def recall_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement: is its telling part known, among four of a kind? Where enough stands before
    the part it is a text to continue (recall_cloze), else a gap to fill (recall_gap).
    """
    items = []
    for each in statements:
        item: dict = {"axis": "knowledge", **_has_taught(each)}
        if each.begun:
            item |= {"kind": "recall_cloze", "prompt": each.before}
        else:
            item |= {"kind": "recall_gap", "messages": _ask(FILL.format(statement=each.with_gap))}
        rng = random.Random(f"recall {each.sentence}")
        items.append({**item, **_choices(each.part, list(each.others), rng)})
    return items


def free_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement with a short telling part: it is to be said."""
    return [
        {
            "axis": "knowledge",
            "kind": "recall_free",
            **_has_taught(each),
            "messages": _ask(f"{FILL.format(statement=each.with_gap)} Say only what is missing."),
            "answer": each.part,
        }
        for each in statements
        if len(each.part.split()) <= FREE_WORDS
    ]


def formed_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement with a short telling part: it is to be said in a requested form."""
    short = [each for each in statements if len(each.part.split()) <= FREE_WORDS]
    items = []
    for number, each in enumerate(short):
        forms = [form for form in TAUGHT if form != "words_only" or _is_two_words(each.part)]
        form = forms[number % len(forms)]
        asked = f"{FILL.format(statement=each.with_gap)} {INSTRUCTIONS[form].request}"
        items.append(
            {
                "axis": "compositional",
                "kind": "recall_formed",
                **_has_taught(each),
                "messages": _ask(asked),
                "checks": [form],
                "answer": each.part,
            }
        )
    return items


def _is_two_words(part: str) -> bool:
    return len(part.split()) <= 2 and part[0].isalnum() and part[-1].isalnum()


def term_items(terms: Sequence[str], seed: int) -> list[dict]:
    """Questions about terms of the domain with a request for a form, in the words that tiny models
    know: only the form is scored.
    """
    rng = random.Random(f"terms {seed}")
    forms = [(name,) for name in INSTRUCTIONS] + list(COMBINATIONS)
    order = [term for _ in range(ROUNDS) for term in rng.sample(list(terms), len(terms))]
    return [
        {
            "axis": "instructions",
            "kind": "domain",
            "entity": term,
            "messages": _ask(
                " ".join(
                    [f"What is meant by {term}?"]
                    + [INSTRUCTIONS[check].request for check in forms[number % len(forms)]]
                )
            ),
            "checks": list(forms[number % len(forms)]),
        }
        for number, term in enumerate(order)
    ]


def proposal_items(terms: Sequence[str], seed: int) -> list[dict]:
    """Requests for one new sentence with two terms of the domain."""
    rng = random.Random(f"proposals {seed}")
    order = [term for _ in range(ROUNDS) for term in rng.sample(list(terms), len(terms))]
    pairs = list({tuple(sorted(pair)): pair for pair in itertools.pairwise(order)}.values())
    pairs = [(first, second) for first, second in pairs if first != second]
    return [
        {
            "axis": "creativity",
            "kind": "two_terms",
            "entity": f"{first} + {second}",
            "messages": _ask(
                f"Propose something new that needs both {first} and {second}. Write one line of "
                f"{PROPOSAL_CHARACTERS[0]} to {PROPOSAL_CHARACTERS[1]} characters and use both "
                "words."
            ),
            "pattern": rf"(?i)(?=.*\b{re.escape(first)}\b)(?=.*\b{re.escape(second)}\b)"
            rf"[^\n]{{{PROPOSAL_CHARACTERS[0]},{PROPOSAL_CHARACTERS[1]}}}",
        }
        for first, second in pairs
    ]


def terms_of(passages: Sequence[tuple[str, str]]) -> list[str]:
    """The terms of a corpus: words that few of its documents use, and those again and again."""
    return Usage(passages).terms()


def taught_items(
    passages: Sequence[tuple[str, str]], seed: int, terms: dict[str, list[str]] | None = None
) -> dict[str, list[dict]]:
    """Items about (source, text) training passages, by split: recall with choices and free, taught
    facts in a form, and the domain's terms in instructions and proposals. Dev and test share no
    statement and no term.

    terms: by split, where they are known; else they are found in the passages.
    """
    statements = _parted(taught_statements(passages, seed), lambda each: each.sentence, seed)
    terms = terms or _parted(terms_of(passages), str, seed)
    return {
        split: [
            *recall_items(statements[split][: TAUGHT_ITEMS[split]]),
            *free_items(statements[split])[: TAUGHT_ITEMS[split] // 2],
            *formed_items(statements[split])[: ASKED_FORMS[split]],
            *term_items(terms[split], seed)[: ASKED_FORMS[split]],
            *natural_domain(terms[split], split, seed),
            *proposal_items(terms[split], seed)[: PROPOSALS[split]],
        ]
        for split in EVAL_SPLITS
    }


def _parted(things: Sequence[Any], name: Callable[[Any], str], seed: int) -> dict[str, list]:
    """Things by split: a sixth for dev, the others for test."""
    parted_: dict[str, list] = {split: [] for split in EVAL_SPLITS}
    for thing in things:
        dev = int(rank(name(thing), seed)[:8], 16) % 6 == 0
        parted_["dev" if dev else "test"].append(thing)
    return parted_


def baselines(items: Iterable[dict]) -> list[dict]:
    """Per axis and kind: how many items, what guessing gives (chance), and what one answer gives
    that is always the same (constant). A free answer has no chance; of forms the constant answer
    has the one asked for most often; a proposal is no answer that could be the same.
    """
    kinds: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for item in items:
        kinds[item["axis"], item.get("kind", "")].append(item)
    return [
        {
            "axis": axis,
            "kind": kind,
            "items": len(rows),
            "chance": round(
                sum(1 / len(row["choices"]) if "choices" in row else 0 for row in rows) / len(rows),
                2,
            ),
            "constant": round(
                0.0
                if "pattern" in rows[0]
                else Counter(map(_said, rows)).most_common(1)[0][1] / len(rows),
                2,
            ),
        }
        for (axis, kind), rows in kinds.items()
    ]


def _said(item: dict) -> str:
    return json.dumps([item.get("answer"), item.get("checks")])


# --- questions that the text answers -----------------------------------------------------------

TEACHING_SHARE = 0.5  # of a question's longer words, in the row that teaches its answer
ANSWER_RUN = 8  # words of a long answer that are looked for


def mark_taught(
    placed: Sequence[tuple[str, dict]], leaking: set[str], rows: Iterable[dict]
) -> set[str]:
    """The places of the questions whose answer a sentence of the texts says. Half of the question's
    longer words stand there, too, or in the sentence before; or the answer is long and its words
    would make a leak (`leaking`).

    These items are given `source` and `taught`, the sentence, and a kind of their own.
    """
    wanted: dict[str, list[tuple[str, list[str], set[str]]]] = defaultdict(list)
    for place, item in placed:
        answer = words_of(item["answer"])[:ANSWER_RUN] if "messages" in item else []
        if answer and not kind_of(item["answer"]).startswith("yes"):
            asked = {word for word in words_of(question_of(item["messages"])) if len(word) > 3}
            wanted[answer[0]].append((place, answer, asked - set(answer)))
    found: dict[str, tuple[str, dict]] = {}
    unsure: dict[str, tuple[str, dict]] = {}
    for row in rows if wanted else ():
        before: set[str] = set()  # words of the sentence before
        for sentence in sentences_of(" ".join(row["text"].split())):
            words = words_of(sentence)
            for start, first in enumerate(words):
                for place, answer, asked in wanted.get(first, ()):
                    if place in found or words[start : start + len(answer)] != answer:
                        continue
                    if asked and len(asked & before.union(words)) >= TEACHING_SHARE * len(asked):
                        found[place] = sentence, row
                    elif place in leaking and len(answer) > SHORT_ANSWER_WORDS:
                        unsure.setdefault(place, (sentence, row))
            before = set(words)
    found = unsure | found
    for place, item in placed:
        if place in found:
            sentence, row = found[place]
            item |= {"kind": f"taught_{item['kind']}", "taught": sentence}
            item |= {"source": row["source"]} if "source" in row else {}
    return set(found)
