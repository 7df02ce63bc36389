"""This module finds what a training text says that can be asked for: statements with a part that
tells something, things that a document describes, and the cells of tables.

Which parts tell something is seen from how the corpus uses its words, so it needs no list of words
of any domain. The module does not know how an item looks.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import regex

from labkit.data.cleaning import WITHOUT_BLANKS, parted
from labkit.data.leaks import question_key

CHOICES = 4
LOOKED_AT = 200  # candidates for the other choices of one item
TERMS, FEWEST_TERMS = 160, 60
AGAIN, LESS_OFTEN = 3, 2  # times in one of its documents, on average: a word that is a term there
TERM_LETTERS, LONG_TERM = 6, 7
STATEMENT_WORDS, STATEMENT_CHARACTERS = (8, 45), 300
NAMING_WORDS = 4  # of a statement with a name that tells it from all others
BEFORE_WORDS = 5  # of a statement that is to be continued
# What a statement is known by: a word that one document of n has tells log2(n) bits. Words of more
# than a quarter of the documents tell nothing.
TELLING_BITS, COMMON = 15, 4
FEWEST_BITS = 10  # of a description that fits one document alone
WINDOW_WORDS = (24, 12)  # before and behind the part, of a sentence that is too long as a whole
SIGNS = 3  # of programs and formulas, in a text that is read as a sentence
PARTS = 2  # of one statement that are asked for, each in an item of its own
STEM = 4  # letters that words of one stem share
# A statement could be another one, too, where a passage of another document has so many of its
# words that at most so many passages have.
OVERLAP, LOOKED_FOR = 0.5, 100
NAMED_IN = 2  # documents: a name that fewer or as many have tells a statement from all others
HABIT = 3  # documents that say one number of one thing
GAP = "____"
FEWEST_ROWS = 4
ORDERED = ("number", "year", "date")  # kinds of what can be compared


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


# --- statements -------------------------------------------------------------------------------

# how a sentence begins that says more of what the one before it spoke of
_GOES_ON = re.compile(r"(It|Its|They|Their|He|His|She|Her)\b")
_NO_THING = ("ing", "ed", "est")  # in English: what is done, and how much
_TERM = regex.compile(r"\p{L}[\p{L}\p{M}'’-]*")
_INSIDE = regex.compile(r"(?<=[\p{Ll},] )\p{Lu}[\p{L}\p{M}]+")  # not where a sentence begins
_DIGITS = re.compile(r"\d[\d.,]*\d")
_NUMBER_UNIT = regex.compile(
    r"(?<![\w.,+\-–−/<>=≤≥±~^*(×]|[<>=≤≥±/×+–−-]\s)(?!(?:1[4-9]|20)\d\d\b(?! ?%))"
    r"(\d+(?:[.,]\d+)*)(\s?)(%|°\s?[CF]\b|[\p{L}µ]+)"
    r"(?![\w/*^(-])"
)
_YEAR = regex.compile(r"(?<=\p{Ll} )(1[4-9]\d\d|20\d\d)(?=[\s;).]|,\s|$)(?!\.\d)")
_REFERENCE = regex.compile(r"\p{Lu}\p{L}+\s$")  # a number behind it is a place: Section 7.1
_DATE = regex.compile(r"\p{Lu}\p{L}+ \d{1,2}(?:st|nd|rd|th)?, \d{4}|\d{1,2} \p{Lu}\p{L}+ \d{4}")
_CAPITALS = regex.compile(
    r"(?<=[\p{L}\p{N},;:)] |\()\p{Lu}[\p{L}\p{M}\p{N}'’-]*(?: \p{Lu}[\p{L}\p{M}'’-]+)*"
    r"(?<![-'’])(?![\w@/'’-])"
)
# what programs call things by: marked as such, or with a sign or a capital inside
_CODE = regex.compile(
    r"(?<=`)[\p{L}_][\w.:-]{2,40}(?:\(\))?(?=`)|(?<![\w`./$-])[\p{L}_][\w.]*\(\)"
    r"|(?<![\w`./$-])\p{L}[\p{L}\d]*(?:_[\p{L}\d]+)+(?![\w`(/-])"
    r"|(?<![\w`./$-])\p{L}?\p{Ll}+\p{Lu}\p{Ll}[\p{L}\d]*(?![\w`(/-])"
)
_SIGN = re.compile(r"[{}\[\]<>=|$#*\\@~^&]")
_MARKUP = re.compile(r"(?<!\w)__|__(?!\w)|\*\*|<\w+>|\[[\W_]*\]")  # signs of something left out
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
    begun: whether what stands before the part says enough to be continued. cut: whether only a
    piece of the sentence is shown. about: the row that a table's sentence tells of.
    """

    source: str
    sentence: str
    start: int
    part: str
    kind: str
    others: tuple[str, ...]
    begun: bool
    cut: bool = False
    about: str = ""

    @property
    def sentences(self) -> tuple[str]:
        return (self.sentence,)

    @property
    def before(self) -> str:
        return self.sentence[: self.start].rstrip()

    @property
    def with_gap(self) -> str:
        shown = f"{self.sentence[: self.start]}{GAP}{self.sentence[self.start + len(self.part) :]}"
        return f"… {shown} …" if self.cut else shown


class Usage:
    """How a corpus uses its words: in how many documents each stands, how often, how often in small
    letters and how often behind a number. Passages are (source, text); a source is a document.
    """

    def __init__(self, passages: Sequence[tuple[str, str]]):
        texts: dict[str, list[str]] = defaultdict(list)
        self.owners = [source for source, _ in passages]
        self.passages: list[set[str]] = []
        for source, text in passages:
            texts[source].append(" ".join(text.split()))
            words = [*_TERM.findall(text), *_DIGITS.findall(text)]
            self.passages.append(set(map(str.lower, words)))
        self.documents = {source: " ".join(parts) for source, parts in texts.items()}
        self.spread: Counter[str] = Counter()
        self.count: Counter[str] = Counter()
        self.small: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.phrases: Counter[str] = Counter()
        self.code: Counter[str] = Counter()
        self.words: dict[str, set[str]] = {}
        for source, text in self.documents.items():
            words = [*_TERM.findall(text), *_DIGITS.findall(text)]
            self.words[source] = set(map(str.lower, words))
            self.spread.update(self.words[source])
            self.count.update(map(str.lower, words))
            self.small.update(word for word in words if word.islower())
            self.code.update(set(_CODE.findall(text)))
            numbers = list(_NUMBER_UNIT.finditer(text))
            self.counted.update(m[3].lower() for m in numbers)
            self.phrases.update(
                {_with_next_word(m[0], text[m.end() : m.end() + 40]) for m in numbers}
            )
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

    def is_term(self, word: str, again: float = AGAIN) -> bool:
        """Whether a word is a term: it stands in few documents, and in those again and again."""
        return (
            len(word) >= (LONG_TERM if again == AGAIN else TERM_LETTERS)
            and word.isalpha()
            and self.spread[word] <= self.few
            and self.count[word] >= max(AGAIN, again * self.spread[word])
        )

    def terms(self) -> list[str]:
        """The terms of several documents, first those that their documents use most often; where
        there are few, those of one document, too, those used less often, and names.
        """
        several = {word for word in self.count if self.small[word] and self.spread[word] > 1}
        found: list[str] = []
        for words, again in ((several, AGAIN), (self.count, AGAIN), (self.count, LESS_OFTEN)):
            more = [
                word
                for word in words
                if self.small[word]
                and self.is_term(word, again)
                and word not in found
                and not word.endswith(_NO_THING)
            ]
            more.sort(key=lambda word: (-self.count[word] / self.spread[word], word))
            found += more[: (FEWEST_TERMS if found else TERMS) - len(found)]
            if len(found) >= FEWEST_TERMS:
                return found
        return found + sorted(self.names)[: FEWEST_TERMS - len(found)]

    def parts(self, sentence: str) -> list[tuple[int, str, str]]:
        """(start, part, kind) of all that may be telling in a sentence, the surest kind first."""
        found = [(m.start(), m[0], "date") for m in _DATE.finditer(sentence)]
        for m in _NUMBER_UNIT.finditer(sentence):
            refers = _REFERENCE.search(sentence[: m.start()])
            if not refers and self.is_unit(m[3]) and not self.is_habit(m[0], sentence[m.end() :]):
                digits = len(m[1].partition(".")[2])
                found.append((m.start(), m[0], f"number {m[2]}{m[3].lower()} {digits}"))
        for m in _YEAR.finditer(sentence):
            unit = _TERM.match(sentence, m.end() + 1)
            if not (unit and self.counted[unit[0].lower()] >= HABIT and self.is_unit(unit[0])):
                found.append((m.start(), m[0], "year"))
        code = [m for m in _CODE.finditer(sentence) if self.code[m[0]] <= self.few]
        found += [(m.start(), m[0], _form_of_code(m[0])) for m in code]
        for m in _CAPITALS.finditer(sentence):
            inside = any(c.start() < m.end() and m.start() < c.end() for c in code)
            if len(m[0]) >= 3 and self.is_name(m[0].split()) and not inside:
                found.append((m.start(), m[0], _form_of_name(m, sentence)))
        if not found:
            for m in _TERM.finditer(sentence):
                if m[0].islower() and self.is_term(m[0], LESS_OFTEN):
                    found.append((m.start(), m[0], f"term {m[0][-2:]}"))
        return [
            (start, part, kind)
            for start, part, kind in found
            # what stands alone in brackets abbreviates or repeats what stands before them
            if not (sentence[:start].endswith("(") and sentence[start + len(part) :][:1] == ")")
        ]

    def can_be_known(self, sentence: str, part: str) -> bool:
        """Whether a statement without its part says enough to be known by, and says it once."""
        rest = sentence.replace(part, " ", 1)
        is_word = part.isalpha() and part.islower()
        named = not is_word and self.names_a_thing(rest)
        told = named or (self.bits(rest) >= TELLING_BITS and not self.could_be_another(rest))
        return self.is_unsaid(part, rest) and told

    def could_be_another(self, text: str) -> bool:
        """Whether passages of two documents and more have most words of a text: forms of words,
        such as clauses, are much alike.
        """
        words = [word for word in self.telling_words(text) if len(self._of(word)) <= LOOKED_FOR]
        found: dict[int, int] = defaultdict(int)
        for word in words:
            for number in self._of(word):
                found[number] += 1
        most = [self.owners[n] for n, count in found.items() if count >= OVERLAP * len(words)]
        return len(set(most)) != 1

    def _of(self, word: str) -> list[int]:
        return self._passages.get(word, [])

    @cached_property
    def _passages(self) -> dict[str, list[int]]:
        """The passages that have a word."""
        places: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self.passages):
            for word in words:
                places[word].append(number)
        return places

    def names_a_thing(self, text: str) -> bool:
        """Whether a text has the name of what one document or two speak of again and again."""
        return not self.names.isdisjoint(_TERM.findall(text))

    @cached_property
    def names(self) -> set[str]:
        """Names, of one word, that a document or two have, and have again and again."""
        capitals = (_INSIDE.findall(text) for text in self.documents.values())
        return {
            word
            for word in itertools.chain.from_iterable(capitals)
            if len(word) >= STEM
            and word.isalpha()
            and self.spread[word.lower()] <= NAMED_IN
            and self.count[word.lower()] >= AGAIN
            and not self.small[word.lower()]
        }

    def is_unsaid(self, part: str, rest: str) -> bool:
        """Whether what is left of a statement has no word of its part's stems."""
        stems = {word[:STEM].lower() for word in _TERM.findall(rest) if len(word) >= STEM}
        own = {word[:STEM].lower() for word in _TERM.findall(part) if len(word) >= STEM}
        return not own & stems and part.lower() not in rest.lower()

    def own_things(self, sentence: str) -> Iterator[tuple[str, str]]:
        """(name, kind) of the things in a sentence that few documents speak of."""
        seen: set[str] = set()
        code = [m[0] for m in _CODE.finditer(sentence) if self.code[m[0]] <= self.few]
        names = [
            m[0]
            for m in _CAPITALS.finditer(sentence)
            if len(m[0]) >= 3 and self.is_name(m[0].split())
        ]
        names += [word for word in _TERM.findall(sentence) if word in self.names]
        terms = [
            m[0]
            for m in _TERM.finditer(sentence)
            if m[0].islower() and self.is_term(m[0], LESS_OFTEN)
        ]
        for name, kind in (
            *((name, _form_of_code(name)) for name in code),
            *((name, _form_of_thing(name)) for name in names),
            *((term, f"term {term[-2:]}") for term in terms),
        ):
            if not any(name in other for other in seen):
                seen.add(name)
                yield name, kind

    def begins_enough(self, before: str) -> bool:
        """Whether the beginning of a statement says enough to be continued."""
        long = len(before.split()) >= BEFORE_WORDS and not before.endswith("(")
        return long and self.bits(before) >= TELLING_BITS

    def bits(self, text: str) -> float:
        """By how much a text can be told from all others."""
        shares = (self.spread[word] / len(self.documents) for word in self.telling_words(text))
        return math.fsum(-math.log2(share) for share in shares)  # in whatever order

    def telling_words(self, text: str) -> set[str]:
        """The words and numbers of a text that not many documents have."""
        words = {word.lower() for word in _TERM.findall(text) if len(word) > 3}
        words.update(_DIGITS.findall(text))
        most = len(self.documents) / COMMON
        return {word for word in words if 1 <= self.spread[word] <= most}

    def fits_one_document(self, text: str) -> bool:
        """Whether a single document has all the telling words of a text."""
        places = [self._places[word] for word in self.telling_words(text)]
        return bool(places) and len(set.intersection(*places)) == 1

    @cached_property
    def _places(self) -> dict[str, set[int]]:
        """The documents that have a word."""
        places: dict[str, set[int]] = defaultdict(set)
        for number, words in enumerate(self.words.values()):
            for word in words:
                places[word].add(number)
        return places


def usage_of(passages: Sequence[tuple[str, str]]) -> Usage:
    """How a corpus uses its words; of the corpus asked about last it is kept, for every kind of
    item asks.
    """
    return _usage(tuple(passages))


@lru_cache(maxsize=1)
def _usage(passages: tuple[tuple[str, str], ...]) -> Usage:
    return Usage(passages)


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
    own = _is_owner(name)
    attribute = "number" if re.match(r" \d", after) else bool(regex.match(r" \p{Ll}", after))
    return f"name {len(name.split())} {digits} {hyphen} {own} {attribute} after {before}"


def _form_of_thing(name: str) -> str:
    """The kind of a name, wherever it stands."""
    inside = any(sign.isupper() for word in name.split() for sign in word[1:])
    kind = "acronym" if name.isupper() else f"name{inside} {len(name.split())}"
    return f"{kind} {bool(re.search(r'[0-9]', name))} {'-' in name} {_is_owner(name)}"


def _is_owner(name: str) -> bool:
    return name.endswith(("'s", "’s"))


def _form_of_code(name: str) -> str:
    """The kind of a program's name: names of one kind have the same signs."""
    signs = "".join(sign for sign in ("_", ".", ":", "-", "()") if sign in name)
    return f"code {signs} {name[:1].isupper()} {name.islower()} {name.isupper()}"


def _is_statement(sentence: str, usage: Usage) -> bool:
    """Whether a sentence says something by itself."""
    return _is_sentence(sentence, usage) and not _POINTS_BACK.match(sentence)


def is_plain(text: str) -> bool:
    """Whether a text is running text, and no program, formula or form."""
    return not _MARKUP.search(text) and len(_SIGN.findall(text)) <= SIGNS


def _is_sentence(sentence: str, usage: Usage) -> bool:
    least = NAMING_WORDS if usage.names_a_thing(sentence) else STATEMENT_WORDS[0]
    return (
        least <= len(sentence.split()) <= STATEMENT_WORDS[1]
        and len(sentence) <= STATEMENT_CHARACTERS
        and sentence[0].isupper()
        and sentence[-1] in ".;"
        and is_plain(sentence)
        and all(sentence.count(left) == sentence.count(right) for left, right in ("()", "[]"))
        and sentence.count('"') % 2 == 0
    )


def _window(sentence: str, start: int, part: str, words_around: tuple[int, int]) -> tuple[str, int]:
    """What stands around a part of a sentence, and where in the sentence it begins."""
    words = [m.span() for m in re.finditer(r"\S+", sentence)]
    here = sum(begin <= start for begin, _ in words) - 1
    first = words[max(0, here - words_around[0])][0]
    last = words[min(len(words) - 1, here + len(part.split()) - 1 + words_around[1])][1]
    return sentence[first:last], first


def _pieces(sentence: str, usage: Usage, parts: list[tuple[int, str, str]]) -> Iterator[tuple]:
    """(statement, start of the part, part, kind, whether it is cut) for each telling part. Of a
    sentence that is too long only what stands around the part.
    """
    if len(sentence) <= STATEMENT_CHARACTERS and len(sentence.split()) <= STATEMENT_WORDS[1]:
        if _is_statement(sentence, usage):
            yield from ((sentence, *found, False) for found in parts)
        return
    for start, part, kind in parts:
        piece, first = _window(sentence, start, part, WINDOW_WORDS)
        if len(piece) <= STATEMENT_CHARACTERS and is_plain(piece):
            yield piece, start - first, part, kind, True


def taught_statements(passages: Sequence[tuple[str, str]], seed: int) -> list[Statement]:
    """Statements of (source, text) training passages, a first of every source before any second;
    after them those with a second part of a sentence.

    The other parts are of the same kind and about the same length, a number of about the same size,
    and do not stand in the document. A statement that cannot be known by itself is none, nor is one
    without three such parts.
    """
    usage = usage_of(passages)
    pools: dict[str, dict[str, str]] = defaultdict(dict)
    found: list[tuple[str, str, list[tuple]]] = []
    seen_once: Counter[str] = Counter()
    for source, text in passages:
        for sentence in parted(" ".join(text.split())):
            sentence = sentence.strip()
            parts = usage.parts(sentence)
            for _, part, kind in parts:
                pools[kind].setdefault(part, source)
            if pieces := list(_pieces(sentence, usage, parts)):
                found.append((source, sentence, pieces))
                seen_once[question_key(sentence)] += 1
    lists = {kind: list(parts) for kind, parts in pools.items()}
    rounds: list[list[Statement]] = [[] for _ in range(PARTS)]
    for source, sentence, pieces in found:
        if seen_once[question_key(sentence)] > 1:
            continue
        rng = random.Random(f"statement {seed} {sentence}")
        taken = 0
        for piece, start, part, kind, cut in sorted(pieces, key=lambda _: rng.random()):
            before = piece[:start]
            if not usage.can_be_known(piece, part):
                continue
            others = _like(part, kind, before, lists[kind], usage.documents[source], rng)
            if len(others) == CHOICES - 1:
                begun = not cut and usage.begins_enough(before)
                told = Statement(source, piece, start, part, kind, tuple(others), begun, cut)
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
    article = _ends_with_article(before)
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


@dataclass(frozen=True)
class Survey:
    """What a corpus gives to ask about. documents: how many. sentences: of running text. telling:
    those of them with a part that tells something. known: those that can be told from all others
    without it. blanks: whether blanks part its words.
    """

    documents: int
    sentences: int
    telling: int
    known: int
    blanks: bool


def survey(passages: Sequence[tuple[str, str]]) -> Survey:
    """What (source, text) passages give to ask about."""
    usage = usage_of(passages)
    sentences = telling = known = without_blanks = characters = 0
    for _, text in passages:
        without_blanks += sum(len(pattern.findall(text)) for pattern, _ in WITHOUT_BLANKS)
        characters += len("".join(text.split()))
        for sentence in parted(" ".join(text.split())):
            pieces = list(_pieces(sentence.strip(), usage, usage.parts(sentence.strip())))
            sentences += bool(pieces) or _is_sentence(sentence.strip(), usage)
            telling += bool(pieces)
            known += any(usage.can_be_known(piece, part) for piece, _, part, _, _ in pieces)
    blanks = 2 * without_blanks <= characters
    return Survey(len(usage.documents), sentences, telling, known, blanks)


# --- what a document describes ----------------------------------------------------------------

DESCRIBED_BY, DESCRIPTIONS = 2, 3  # sentences, and of one thing
DESCRIPTION_CHARACTERS = 380
DESCRIPTION_WORDS = (14, 10)  # before and behind the name, of a sentence that is too long
SUBJECT = 40  # characters in which a sentence names what the next one calls `it`
THINGS = 6  # of one document
LOOKED_AT_SENTENCES = 8  # about one thing


@dataclass(frozen=True)
class Described:
    """A thing that one document speaks of, sentences that do, and three things of its kind that
    other documents speak of.
    """

    source: str
    name: str
    sentences: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def with_gaps(self) -> list[str]:
        shown = [_without(self.name, sentence) for sentence in self.sentences]
        return [
            gaps if sentence[0].isupper() and sentence[-1] in ".;" else f"… {gaps} …"
            for gaps, sentence in zip(shown, self.sentences, strict=True)
        ]


def described_things(passages: Sequence[tuple[str, str]], seed: int) -> list[Described]:
    """Names and terms of few (source, text) passages, each with two sentences of one document that
    speak of it, a first of every document before any second.

    What is left of the sentences without the name does not give it away, and tells them from all
    others. The other things are of the same kind and about the same length.
    """
    usage = usage_of(passages)
    spoken: dict[tuple[str, str, str], list[tuple[str, ...]]] = defaultdict(list)
    for source, text in passages:
        sentences = [sentence.strip() for sentence in parted(" ".join(text.split()))]
        for sentence, following in itertools.zip_longest(sentences, sentences[1:], fillvalue=""):
            for name, kind in usage.own_things(sentence):
                piece = _about(name, sentence, usage)
                rest = _without(name, piece)
                if piece and usage.is_unsaid(name, rest) and not _OTHER_NAME.search(rest):
                    goes_on = _GOES_ON.match(following) and _is_sentence(following, usage)
                    told = piece == sentence and sentence.find(name) <= SUBJECT
                    told = told and usage.is_unsaid(name, following)
                    more = (following,) if goes_on and told else ()
                    spoken[source, name, kind].append((piece, *more))
    chosen: list[tuple[str, str, str, tuple[str, ...]]] = []
    pools: dict[str, dict[str, str]] = defaultdict(dict)
    for (source, name, kind), pieces in spoken.items():
        described = _descriptions(name, pieces, usage)
        chosen += [(source, name, kind, best) for best in described]
        for sort in (kind, _looser(kind, name)):
            pools[sort].setdefault(name, source)
            if described:  # first of all among things that are asked for, too
                pools[f"described {sort}"].setdefault(name, source)
    found: list[Described] = []
    for source, name, kind, best in chosen:
        rng = random.Random(f"described {seed} {source} {name} {best[0]}")
        gaps = " ".join(_without(name, sentence) for sentence in best).split(GAP)[:-1]
        before = next((text for text in gaps if _ends_with_article(text)), "")
        for first, sort in itertools.product(("described ", ""), (kind, _looser(kind, name))):
            pool = list(pools[first + sort])
            others = _like(name, kind, before, pool, usage.documents[source], rng)
            if len(others) == CHOICES - 1:
                found.append(Described(source, name, best, tuple(others)))
                break
    order = in_turn([(each.source, each.sentences[0]) for each in found], seed)
    # words that are used less often only where there are few others
    order.sort(key=lambda n: found[n].name.islower() and not usage.is_term(found[n].name))
    taken: Counter[str] = Counter()
    kept = []
    for number in order:
        taken[found[number].source] += 1
        if taken[found[number].source] <= THINGS:
            kept.append(found[number])
    return kept


def _about(name: str, sentence: str, usage: Usage) -> str:
    """A sentence that speaks of a thing, or of one that is too long what stands around the name;
    empty where it does not say enough by itself.
    """
    if _is_sentence(sentence, usage):
        return "" if _POINTS_BACK.match(sentence) else sentence
    at = sentence.find(name)
    if len(sentence) <= DESCRIPTION_CHARACTERS // 2 or at < 0:
        return ""
    piece, _ = _window(sentence, at, name, DESCRIPTION_WORDS)
    return piece if len(piece) <= DESCRIPTION_CHARACTERS // 2 and is_plain(piece) else ""


def _descriptions(name: str, pieces: list[tuple[str, ...]], usage: Usage) -> list[tuple[str, ...]]:
    """Pairs of sentences that tell a thing from all others and are short enough, those that tell
    most first, no sentence in two of them: of different places, or one with the sentence that goes
    on from it.
    """
    single = list(dict.fromkeys(piece[0] for piece in pieces))[:LOOKED_AT_SENTENCES]
    pairs: list[tuple[str, ...]] = [*itertools.combinations(single, 2)]
    pairs += [piece for piece in pieces if len(piece) == DESCRIBED_BY and piece[0] != piece[1]]
    rests = {pair: " ".join(_without(name, each) for each in pair) for pair in pairs}
    told = {pair: usage.bits(rest) for pair, rest in rests.items()}
    found: list[tuple[str, ...]] = []
    for pair in sorted(rests, key=lambda pair: -told[pair]):
        if len(found) == DESCRIPTIONS or told[pair] < FEWEST_BITS:
            break
        enough = told[pair] >= TELLING_BITS or usage.fits_one_document(rests[pair])
        new = not any(set(pair) & set(other) for other in found)
        if sum(map(len, pair)) <= DESCRIPTION_CHARACTERS and new and enough:
            found.append(pair)
    return found


def _looser(kind: str, name: str) -> str:
    """A kind with more members, which look alike still."""
    sort = kind.split()[0]
    if sort == "term":
        return f"term {name[-1]}"
    return f"{sort} {name.endswith('()')} {name.endswith('s')} {_is_owner(name)}"


@dataclass(frozen=True)
class SaidAlike:
    """What documents say of their things in the same words, with another number each.

    words: the sentence with X for the name and … for the number. kind: number or year. numbers,
    sentences, sources: by name.
    """

    words: str
    kind: str
    numbers: dict[str, float]
    sentences: dict[str, str]
    sources: dict[str, str]


def said_alike(passages: Sequence[tuple[str, str]]) -> list[SaidAlike]:
    """The sentences of (source, text) passages that say a number of four things and more in the
    same words; a thing of which two numbers are said is left out.
    """
    usage = usage_of(passages)
    found: dict[tuple[str, str], dict[str, list[tuple[float, str, str]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for source, text in passages:
        for sentence in map(str.strip, parted(" ".join(text.split()))):
            names = [word for word in _TERM.findall(sentence) if word in usage.names]
            parts = [
                (start, part, kind.split()[0])
                for start, part, kind in usage.parts(sentence)
                if kind.startswith(ORDERED[:2])
            ]
            if len(names) == len(parts) == 1 and _is_statement(sentence, usage):
                (start, part, kind), (name,) = parts[0], names
                digits = re.match(r"[\d.,]*\d", part)
                told = digits and quantity(digits[0])
                if digits and told and len(_DIGITS.findall(sentence)) <= 1:
                    rest = sentence[start + len(digits[0]) :]
                    words = re.sub(rf"\b{name}\b", "X", f"{sentence[:start]}…{rest}")
                    found[words, kind][name].append((told[0], sentence, source))
    groups = []
    for (words, kind), things in found.items():
        sure = {n: each[0] for n, each in things.items() if len({v for v, _, _ in each}) == 1}
        if len(sure) >= FEWEST_ROWS:
            numbers = {name: number for name, (number, _, _) in sure.items()}
            sentences = {name: sentence for name, (_, sentence, _) in sure.items()}
            sources = {name: source for name, (_, _, source) in sure.items()}
            groups.append(SaidAlike(words, kind, numbers, sentences, sources))
    return groups


# a name that stands beside its short or its long form
_OTHER_NAME = regex.compile(rf"{GAP}\w* \(\p{{Lu}}|\({GAP}\)|{GAP}\w*[-/]|[-/]{GAP}")


def _without(name: str, sentence: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", GAP, sentence)


def _ends_with_article(text: str) -> bool:
    return text.rstrip().rpartition(" ")[2].lower() in ("a", "an")


# --- tables -----------------------------------------------------------------------------------

MOST_ROWS, ASKED_ROWS = 20_000, 600
NAME_CHARACTERS, NAME_WORDS = 60, 6  # of a cell that names its row, or is short enough to be asked
FILLED = 0.5  # of a column's cells; an emptier one is not asked about
ASKABLE = (*ORDERED, "class", "text")
NO_KEY = (
    "a table without a key column: in none is every cell a different name; add one that names the "
    "rows"
)
_QUANTITY = re.compile(
    r"([<>~≈]?\s*[^\w\s.,+−-]?)([-+−]?\d[\d.,\u202f]*(?:[eE][-+]?\d+)?)\s*(\D{0,12})"
)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Table:
    """Rows that a key column names. key: that column. rows: by name, the filled cells of the other
    columns. kinds: of these columns: number, year, date, class, text, or prose, which is not asked
    about. lines: by name, the row as it stands in a document; none for a file of rows, which
    becomes text by `said`.
    """

    source: str
    key: str
    rows: dict[str, dict[str, str]]
    kinds: dict[str, str]
    lines: dict[str, str]

    def said(self, name: str, column: str) -> str:
        """The sentence of the training text that tells a cell."""
        if self.lines:
            return self.lines[name]
        return f"{self.begun(name, column)} {self.rows[name][column]}."

    def begun(self, name: str, column: str) -> str:
        return f"{name} – {column}:"

    def text(self, name: str) -> str:
        """A row as text: a sentence for each cell, which says whose it is."""
        return " ".join(self.said(name, column) for column in self.rows[name])

    def has(self, name: str, column: str) -> bool:
        return column in self.rows[name]

    def value(self, name: str, column: str) -> float | str:
        """What a cell of an ordered column is compared by."""
        cell = self.rows[name][column]
        number = quantity(cell)
        return cell if self.kinds[column] == "date" or number is None else number[0]


def quantity(cell: str) -> tuple[float, str] | None:
    """The number in a cell and its unit; None for any other cell."""
    found = _QUANTITY.fullmatch(cell.strip())
    if not found:
        return None
    digits = found[2].replace("−", "-").replace("\u202f", "")
    if re.fullmatch(r"[-+]?\d+,\d+", digits) and not re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+", digits):
        digits = digits.replace(",", ".")
    try:
        return float(digits.replace(",", "")), f"{found[1].strip()} {found[3].strip().lower()}"
    except ValueError:
        return None


def read_table(source: str, rows: Sequence[dict[str, str]], lines: Sequence[str] = ()) -> Table:
    """A table of rows, each its cells by column, in the order of columns.

    lines: of the document that it stands in. Raises ValueError, saying why, for what is no table of
    facts: fewer than four rows, no key column, or nothing beside it that can be asked about.
    """
    rows = [{column.replace("_", " "): cell for column, cell in row.items()} for row in rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = {column: [row.get(column, "").strip() for row in rows] for column in columns}
    key = next((column for column in columns if _names_rows(cells[column])), None)
    kinds = {column: _kind_of_column(cells[column]) for column in columns if column != key}
    if len(rows) < FEWEST_ROWS or not any(kind in ASKABLE for kind in kinds.values()):
        raise ValueError("no table of facts")
    if key is None:
        raise ValueError(NO_KEY)
    named = {}
    for number, name in enumerate(cells[key]):
        filled = {column: cells[column][number].rstrip(".") for column in kinds}
        named[name] = {column: cell for column, cell in filled.items() if cell}
    return Table(source, key, named, kinds, dict(zip(cells[key], lines, strict=False)))


def _names_rows(cells: Sequence[str]) -> bool:
    """Whether a column names its rows: every cell is filled, different and short, with letters."""
    return len({cell.casefold() for cell in cells}) == len(cells) and all(
        0 < len(cell) <= NAME_CHARACTERS
        and len(cell.split()) <= NAME_WORDS
        and regex.search(r"\p{L}", cell)
        and quantity(cell) is None
        for cell in cells
    )


def _kind_of_column(cells: Sequence[str]) -> str:
    filled = [cell for cell in cells if cell]
    if len(filled) < max(FEWEST_ROWS, FILLED * len(cells)):
        return "prose"
    different = len(set(filled))
    numbers = [quantity(cell) for cell in filled]
    known = [number for number in numbers if number]
    if len(known) == len(filled) and len({unit for _, unit in known}) == 1:
        values = [value for value, _ in known]
        if values[0] in (0, 1) and values == [values[0] + n for n in range(len(values))]:
            return "prose"  # it numbers the rows
        years = all(value == int(value) and 1000 <= value <= 2100 for value in values)
        plain = all(cell.isdigit() for cell in filled)
        return "year" if years and plain else "number" if different > 1 else "prose"
    if all(map(_ISO_DATE.fullmatch, filled)):
        return "date"
    short = all(len(c) <= NAME_CHARACTERS and len(c.split()) <= NAME_WORDS for c in filled)
    if not short or different < 2:
        return "prose"
    return "class" if 2 * different <= len(filled) else "text"


def tables_in(source: str, text: str) -> Iterator[Table]:
    """The tables of facts in a document: lines whose cells bars part, with as many in each."""
    block: list[tuple[str, list[str]]] = []
    for line in [*text.split("\n"), ""]:
        bare = line.strip()
        cells = [cell.strip() for cell in bare.strip("|").split("|")] if "|" in bare else []
        if len(cells) > 1 and (not block or len(cells) == len(block[0][1])):
            if any(cell.strip("-: ") for cell in cells):
                block.append((bare, cells))
            continue
        if len(block) > FEWEST_ROWS and len(set(block[0][1])) == len(block[0][1]):
            names = block[0][1]
            rows = [dict(zip(names, cells, strict=True)) for _, cells in block[1:]]
            with contextlib.suppress(ValueError):
                yield read_table(source, rows, [line for line, _ in block[1:]])
        block = [(bare, cells)] if len(cells) > 1 else []


def table_statements(tables: Sequence[Table], seed: int) -> list[Statement]:
    """A statement per cell that can be asked about, with up to three other cells of its column."""
    found = []
    for table in tables:
        pools = {
            column: sorted({row[column] for row in table.rows.values() if column in row})
            for column, kind in table.kinds.items()
            if kind in ASKABLE and not table.lines
        }
        for name, row in itertools.islice(table.rows.items(), ASKED_ROWS):
            for column in (column for column in row if column in pools):
                rng = random.Random(f"cell {seed} {table.source} {name} {column}")
                near = rng.sample(pools[column], min(len(pools[column]), LOOKED_AT))
                pool = [other for other in near if not _is_in(other, row[column])]
                others = rng.sample(pool, min(len(pool), CHOICES - 1))
                begun, said = table.begun(name, column), table.said(name, column)
                kind = f"cell {table.kinds[column]}"
                if others:
                    part = (len(begun) + 1, row[column], kind, tuple(others))
                    found.append(Statement(table.source, said, *part, begun=True, about=name))
    return [found[n] for n in in_turn([(each.about, each.sentence) for each in found], seed)]


def _is_in(one: str, other: str) -> bool:
    return one.lower() in other.lower() or other.lower() in one.lower()
