"""From a document's text to chunks for training: boilerplate out, words that lines parted made
whole, cut at paragraphs, then at sentences, then at words.

Lines that many documents share go (as in CCNet, Wenzek et al. 2020, arXiv 1911.00359, but only
short ones), and lines that navigate a site instead of saying something (as in C4, Raffel et al.
2020, arXiv 1910.10683). Text that is likely personal or confidential is found; what becomes of it
is decided elsewhere (ingest.py).
"""

from __future__ import annotations

import ipaddress
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import chain

import numpy as np
import regex

from labkit.base.inputs import seen
from labkit.data.readers import PAGE_BREAK

SHORT_LINE = 100  # characters: a longer line is never taken for boilerplate
# a line in so many documents of one origin, and in this share of them
SHARED_BY, SHARED_SHARE = 5, 0.1
SHARED = "a line that many documents share"
WRAPPED_WORDS = 5  # in a line: fewer may be an entry of a menu
# documents of fewer lines are rows of data: the same row twice is a duplicate, not boilerplate
FEWEST_LINES = 3
# running heads: in a document of so many pages, in this share of them
FEWEST_PAGES, EDGE_LINES, EDGE_SHARE = 4, 2, 0.5
# of a document's text; where more would go, the document is another version of one already read
MOST_REMOVED = 0.5
CHARACTERS_PER_WORD = 12  # of very long words
# Scripts without blanks between words, with about so many characters a word: Chinese and Japanese
# with their punctuation; Thai, Lao, Khmer and Burmese.
_HALF_WORD = r"\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef"
WITHOUT_BLANKS = (
    (regex.compile(f"[{_HALF_WORD}]"), 2),
    (regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"), 4),
)
ENCODED = re.compile(r"[!-~]{200}")

NAVIGATION = re.compile(
    r"(we use|uses|accept( all)?|reject( all)?|manage|allow all) cookies\b.*|.*\bcookie "
    r"(policy|settings|preferences|consent)\b.*"
    r"|skip to (main )?content|back to top|(please )?enable javascript.*|javascript (is|must be) .*"
    r"|-\s?\d{1,4}\s?-|page \d+( (of|/) \d+)?"
    r"|(privacy policy|terms of (use|service)|sitemap|imprint|log ?in|log ?out|sign "
    r"?(in|up|out)|register|subscribe|menu|search|home)"
    r"(\s*[|·•>/»]\s*[\w ]+)*"
    r"|(share|follow us|tweet|like us) (this )?on \w+.*|subscribe to (our|the) newsletter.*"
    r"|(©|\(c\)|copyright\b).*all rights reserved\W*|all rights reserved\W*",
    re.IGNORECASE,
)
PAGE_NUMBER = re.compile(
    r"[\W_]*(page|p\.|seite)?[\W_]*(\d{1,4}|(?=[ivx])x{0,3}(ix|iv|v?i{0,3}))([\W_]*(of|/|von)[\W_]*\d{1,4})?[\W_]*",
    re.IGNORECASE,
)

# What ends a sentence, with the blanks behind it. A full stop needs blanks, and no small letter
# after them: else it may be an abbreviation's.
_STOP = r"\p{Sentence_Terminal}--[.!?\uff0e]"  # of other scripts (Unicode, UAX 29)
_SENTENCE_END = regex.compile(
    r"[.!?…][\"'”’)\]]?\s+(?!\p{Ll})"
    rf"|[{_STOP}][[{_STOP}]!?\p{{Pe}}\p{{Pf}}\"']*+\s*"
    r"|\uff0e(?!\d)\s*"  # of full width: also a decimal point
    r"|[།༎]\s+|\p{Greek};\s+(?!\p{Ll})"  # Tibetan; the Greek question mark
    r"|[\p{Thai}\p{Lao}]\s+(?=[\p{Thai}\p{Lao}])",  # a blank is the only stop
    regex.V1,
)
_WRAPPED = re.compile(r"[ \t]*\n(?![ \t]*(?:[-*+•|>#]|\d+[.)]\s))[ \t\u3000]*")
_WRAPPED_CHARACTERS = regex.compile(
    rf"(?<=[{_HALF_WORD}])[ \t]*\n[ \t\u3000]*(?=[{_HALF_WORD}--[\u3000]])", regex.V1
)


class SharedLines:
    """Counts short lines over the documents of each origin, eight bytes a line."""

    def __init__(self):
        self._lines: dict[str, array] = defaultdict(lambda: array("q"))
        self._documents: Counter[str] = Counter()

    def add(self, origin: str, text: str) -> None:
        lines = {line for line in map(str.strip, text.split("\n")) if line}
        if len(lines) >= FEWEST_LINES:
            self._lines[origin].extend(hash(line) for line in lines if len(line) <= SHORT_LINE)
            self._documents[origin] += 1

    def shared(self) -> dict[str, frozenset[int]]:
        """Hashes of the lines that are boilerplate, by origin."""
        found = {}
        for origin, lines in self._lines.items():
            values, counts = np.unique(np.array(lines, np.int64), return_counts=True)
            found[origin] = frozenset(
                values[counts >= max(SHARED_BY, SHARED_SHARE * self._documents[origin])].tolist()
            )
        return found


def without_boilerplate(
    text: str, shared: frozenset[int] = frozenset()
) -> tuple[str, list[tuple[str, str]]]:
    """The text without boilerplate, and every removed line with its reason.

    Page numbers and running heads go from the edges of pages (parted by form feeds), shared and
    navigation lines from anywhere. A document that would lose more than half of its text to shared
    lines keeps those.
    """
    pages = [page.split("\n") for page in text.split(PAGE_BREAK)]
    removed: list[tuple[str, str]] = []
    heads = _running_heads(pages)
    kept: list[str] = []
    for page in pages:
        edges = _edges(page) if len(pages) > 1 else set()
        for number, line in enumerate(page):
            reason = _edge_reason(line.strip(), heads) if number in edges else None
            removed += [(reason, line.strip())] if reason else []
            kept += [] if reason else [line]
    lines, told = _sift(kept, shared)
    if sum(len(line) for _, line in told) > MOST_REMOVED * sum(map(len, kept)):
        lines, told = _sift(kept, frozenset())
    return "\n".join(lines), removed + told


def _sift(lines: list[str], shared: frozenset[int]) -> tuple[list[str], list[tuple[str, str]]]:
    kept, removed = [], []
    for line, reason in zip(lines, _reasons(lines, shared), strict=True):
        if reason:
            removed.append((reason, line.strip()))
        else:
            kept.append(line)
    return kept, removed


def _reasons(lines: list[str], shared: frozenset[int]) -> list[str | None]:
    """Why each line goes, or None.

    Lines of one sentence go together or stay: licences and contracts share lines of which the next
    is their own.
    """
    reasons = [_line_reason(line.strip(), shared) for line in lines]
    start = 0
    for end in range(1, len(lines) + 1) if SHARED in reasons else ():
        near = SHARED in reasons[end - 1 : end + 1] and end < len(lines)
        if near and _goes_on(lines[end - 1], lines[end]):
            continue
        if not all(reasons[start:end]):
            reasons[start:end] = [r if r != SHARED else None for r in reasons[start:end]]
        start = end
    return reasons


def _goes_on(line: str, after: str) -> bool:
    """Whether a line of running text was wrapped: the next goes on in small letters or behind a
    comma, or both are in capitals.
    """
    after = after.strip()
    goes_on = after[:1].islower() or (line + after).isupper() or line.rstrip().endswith(",")
    return bool(after) and goes_on and len(line.split()) >= WRAPPED_WORDS


def _line_reason(line: str, shared: frozenset[int]) -> str | None:
    if not line or len(line) > SHORT_LINE:
        return None
    if hash(line) in shared:
        return SHARED
    return "a line of navigation" if NAVIGATION.fullmatch(line) else None


def _edges(page: list[str]) -> set[int]:
    """Numbers of the first and last lines of a page that say something."""
    filled = [number for number, line in enumerate(page) if line.strip()]
    return {*filled[:EDGE_LINES], *filled[-EDGE_LINES:]}


def _without_digits(line: str) -> str:
    return re.sub(r"\d+", "#", line)


def _running_heads(pages: list[list[str]]) -> set[str]:
    """Lines, digits aside, that stand at the edge of half of the pages."""
    if len(pages) < FEWEST_PAGES:
        return set()
    counts = Counter(
        line
        for page in pages
        for line in {_without_digits(page[number].strip()) for number in _edges(page)}
    )
    return {line for line, count in counts.items() if count >= EDGE_SHARE * len(pages)}


def _edge_reason(line: str, heads: set[str]) -> str | None:
    if PAGE_NUMBER.fullmatch(line):
        return "a page number"
    return "a running head" if _without_digits(line) in heads else None


# --- line ends --------------------------------------------------------------------------------

_HYPHENS = "-\u2010"
# The sign at a line's end and the word after it; the word before it is looked for only there, for
# most lines end otherwise.
_PARTED = re.compile(
    rf"(?<=\w)([{_HYPHENS}\u2011–—])[ \t]*\n[ \t]*"
    rf"(?!\d+[.)]\s)(?=(\w+(?:[{_HYPHENS}]\w+)*))"
)
_BEFORE = re.compile(rf"\b\w++(?:[{_HYPHENS}'’]\w++){{0,3}}\Z")
_WHOLE = re.compile(rf"\w+(?:[{_HYPHENS}]\w+)*")
# what follows a hyphen that stands for a part of a word: two- or threefold, Vor- und Nachteile
_AFTER_A_STUB = re.compile("und|oder|bis|sowie|bzw|and|or|nor|to|et|ou|och|eller", re.IGNORECASE)


class LineEnds:
    """Decides for words with a hyphen at the end of a line whether the hyphen is theirs.

    A form that stands whole elsewhere decides. Add all texts, then count them, then mend any.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}  # of the forms that are looked for

    def add(self, text: str) -> None:
        for found in _PARTED.finditer(text):
            self._counts.update(dict.fromkeys(_forms(_word_before(found), found[2]), 0))

    def count(self, text: str) -> None:
        words = Counter(_WHOLE.findall(text)) if self._counts else {}
        for word, count in words.items():
            form = _plain(word)
            if form in self._counts:
                self._counts[form] += count

    def mend(self, text: str) -> str:
        """The text with such words in one line; a hyphen that stays has no blank after it."""
        return _PARTED.sub(self._mended, text)

    def _mended(self, found: re.Match) -> str:
        """What stands for the sign and the line's end."""
        left, (sign, right) = _word_before(found), found.groups()
        if sign not in _HYPHENS:  # a dash, or a hyphen that may not be parted
            return sign
        joined, hyphenated = (self._counts.get(form, 0) for form in _forms(left, right))
        if joined or hyphenated:
            return "" if joined >= hyphenated else sign
        if _AFTER_A_STUB.fullmatch(right):
            return f"{sign} "
        # an ordinary word; not Nord-Süd, DNA-based, COVID-19, state-of-the-art
        ordinary = left.isalpha() and left[-1].islower() and right[0].islower()
        return "" if ordinary else sign


def _word_before(found: re.Match) -> str:
    """The word before a sign at a line's end, with up to three others that hyphens join to it."""
    line = found.string.rfind("\n", 0, found.start()) + 1
    return _BEFORE.search(found.string, line, found.start())[0]  # type: ignore[index]


def _forms(left: str, right: str) -> tuple[str, str]:
    return _plain(left + right), _plain(f"{left}-{right}")


def _plain(word: str) -> str:
    return word.lower().replace("\u2010", "-")


# --- chunks -----------------------------------------------------------------------------------


def size_of(text: str) -> int:
    """Words of a text; of very long words twelve characters count as one, and of scripts without
    blanks two (Chinese, Japanese) or four (Thai, Lao, Khmer, Burmese).
    """
    return max(_words(text), len(text) // CHARACTERS_PER_WORD)


def _words(text: str) -> int:
    count = 0
    if not text.isascii():
        for letters, per_word in WITHOUT_BLANKS:
            text, found = letters.subn(" ", text)
            count += -(-found // per_word)
    return count + len(text.split())


def sentences_of(text: str) -> list[str]:
    """A text cut after full stops, question and exclamation marks that no small letter follows, and
    after what ends a sentence in other scripts.
    """
    return [part.strip() for part in parted(text)]


def parted(text: str) -> list[str]:
    """The sentences of a text, each with a blank behind it where the text has blanks there."""
    return [
        piece.strip() + (" " if piece[-1].isspace() else "")
        for piece in whole_sentences(text)
        if piece.strip()
    ]


def whole_sentences(text: str) -> list[str]:
    """The sentences of a text with all that stands between them: joined they are the text."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def chunks_of(text: str, most_words: int) -> list[str]:
    """Chunks of at most `most_words` words (size_of) in the order of the text: whole paragraphs,
    else sentences, else words.

    Wrapped lines of a paragraph are joined; lines that begin as lists, headings and tables do stay
    lines.
    """
    chunks: list[str] = []
    size = most_words
    for joint, piece, words in _pieces(text, most_words):
        if size + words <= most_words:
            chunks[-1] += joint + piece
            size += words
        else:
            chunks.append(piece)
            size = words
    return chunks


def _pieces(text: str, most_words: int) -> Iterator[tuple[str, str, int]]:
    """(what joins it to the piece before, piece, words), each piece small enough for a chunk."""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = _WRAPPED.sub(" ", _WRAPPED_CHARACTERS.sub("", paragraph)).strip()
        words = size_of(paragraph)
        if paragraph and words <= most_words:
            yield "\n", paragraph, words
            continue
        joint = "\n"
        for part in parted(paragraph):
            sentence = part.strip()
            words = size_of(sentence)
            if words <= most_words:
                yield joint, sentence, words
            else:
                for cut in _cut(sentence, most_words):
                    yield joint, cut, most_words  # a cut sentence shares its chunk with nothing
            joint = part[len(sentence) :]


def _cut(sentence: str, most_words: int) -> Iterator[str]:
    """A sentence that is too long, at spaces where it has them."""
    most = most_words * CHARACTERS_PER_WORD
    line: list[str] = []
    words = characters = 0
    for word in sentence.split():
        step = most_words * _characters_per_word(word)
        for start in range(0, len(word), step):
            part = word[start : start + step]
            size = _words(part)
            full = words + size > most_words or characters + len(part) >= most
            if line and (full or start):  # no blank inside a word
                yield " ".join(line)
                line, words, characters = [], 0, 0
            line.append(part)
            words += size
            characters += len(part) + 1
    if line:
        yield " ".join(line)


def _characters_per_word(word: str) -> int:
    return next(
        (count for letters, count in WITHOUT_BLANKS if letters.search(word)), CHARACTERS_PER_WORD
    )


def sets_no_blanks(character: str) -> bool:
    """Whether a character is of a script without blanks between words."""
    return any(letters.match(character) for letters, _ in WITHOUT_BLANKS)


def chunk_problem(chunk: str) -> str | None:
    """Why a chunk is nothing to learn from, or None."""
    if not any(map(str.isalpha, seen(chunk))):
        return "no words in it"
    if ENCODED.search(chunk):
        return "encoded data (200 characters without a space)"
    return None


# --- personal and confidential text -----------------------------------------------------------

# Kinds of it, and what takes their place. A stretch that could be of two kinds is of the first.
KEY, EMAIL, PHONE, IP = "password or key", "e-mail address", "phone number", "IP address"
IBAN, CARD, IDENTITY = "IBAN", "payment card", "identity number"
RECORD, BIRTH = "medical record number", "date of birth"
PLACEHOLDERS = {
    KEY: "[KEY]",
    EMAIL: "[EMAIL]",
    IBAN: "[IBAN]",
    CARD: "[CARD]",
    IDENTITY: "[ID NUMBER]",
    RECORD: "[RECORD NUMBER]",
    BIRTH: "[DATE OF BIRTH]",
    PHONE: "[PHONE]",
    IP: "[IP ADDRESS]",
}
MARK = "mark of confidentiality"  # nothing takes its place: it speaks of the text around it
NOT_LOOKED_FOR = (
    "names of people, postal addresses, and whatever has neither a form of its own nor a word "
    "before it that says what it is"
)
LONGEST_MARK = 120  # characters of the line that a mark stands on
LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Personal:
    """A stretch of a text that is likely personal or confidential, and of which kind."""

    kind: str
    start: int
    end: int


def find_personal(text: str) -> list[Personal]:
    """What is likely personal or confidential in a text, in its order; no two overlap.

    Forms that have a checksum or a numbering plan are checked by it (python-stdnum, phonenumbers);
    others need a word before them that says what they are. NOT_LOOKED_FOR says what is not seen. A
    private key without its last line goes on to the next key, or to the end of the text.
    """
    found: list[Personal] = []
    taken = bytearray(len(text))
    for start, end in _blocks(text):
        taken[start:end] = b"\1" * (end - start)
        found.append(Personal(KEY, start, end))
    places = list(_places_to_look(text))
    for kind, pattern, is_one in _FORMS if places else ():
        group = "value" if "value" in pattern.groupindex else 0
        for match in chain.from_iterable(pattern.finditer(text, *place) for place in places):
            start, end = match.span(group)
            if kind == IBAN:
                end = _end_of_iban(text, start, end)
            if start < end and not any(taken[start:end]) and is_one(text, start, end):
                taken[start:end] = b"\1" * (end - start)
                found.append(Personal(kind, start, end))
    return sorted(found, key=lambda one: one.start)


def mask_personal(text: str, found: Iterable[Personal]) -> str:
    """The text with a placeholder for everything that was found, but for marks."""
    kept, at = [], 0
    for one in sorted(found, key=lambda one: one.start):
        if one.kind in PLACEHOLDERS:
            kept += [text[at : one.start], PLACEHOLDERS[one.kind]]
            at = one.end
    return "".join([*kept, text[at:]])


def veiled(kind: str, value: str) -> str:
    """How something found is shown: by its first sign and its length. A mark is shown whole."""
    value = " ".join(value.split())
    shown = value if kind == MARK else value[:1] + re.sub(r"\w", "•", value[1:])
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"


# Most text holds no trace of any form, so the forms are looked for around traces only: numbers of
# five digits, dates with a month's name, addresses with colons, and these.
_TRACES = (
    *("@", "passw", "passc", "pass c", "passp", "pass w", "pass p", "kennwort"),
    *("de passe", "contrase", "wachtwoord", " code", "key", "token", "secret", "pin ", "pin:"),
    *("pin=", "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "xox", "aiza", "k_live_"),
    *("k_test_", "sk-", "hf_", "eyj", "confiden", "vertraulich", "vertrouwelijk", "riservato"),
    *("not for ", "do not ", "internal use", "internen gebrauch", "attorney", "privileged"),
    "restreinte",
)
_NUMBERS = (
    re.compile(r"\d(?:[ ()./:\u00a0A-Z-]{0,3}\d){4}"),
    re.compile(r"\d\S{0,3} (?:(?:of |de )?[^\W\d_]{3,10}\.?,? (?:de )?)?\d{4}"),
    re.compile(r":[\da-fA-F]{0,4}:[\da-fA-F]{0,4}:"),
)
BEFORE_A_TRACE, BEHIND_A_TRACE = 100, 200  # characters


def _places_to_look(text: str) -> Iterator[tuple[int, int]]:
    """Where traces are, with what is around them; ends at a blank."""
    small = text.replace("İ", "I").lower()  # as long as the text
    traces = [match.start() for numbers in _NUMBERS for match in numbers.finditer(text)]
    for words in _TRACES:
        at = small.find(words)
        while at >= 0:
            traces.append(at)
            at = small.find(words, at + 1)
    start = end = 0
    for at in sorted(traces):
        if at > end + BEFORE_A_TRACE:
            if end:
                yield start, end
            start = at - BEFORE_A_TRACE
        if at > end - BEHIND_A_TRACE // 2:
            blank = _BLANK.search(text, min(at + BEHIND_A_TRACE, len(text)))
            end = blank.start() if blank else len(text)
    if end:
        yield start, end


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Where private keys are. They are looked for in the whole text: a key has thousands of
    characters, with hardly a trace of another form in them.
    """
    begins = list(_BLOCK_BEGINS.finditer(text))
    firsts = [one.start() for one in begins]
    if tail := _BLOCK_ENDS.search(text, 0, min(firsts, default=len(text))):
        yield _start_of_tail(text, tail.start()), tail.end()
    for begin, limit in zip(begins, [*firsts[1:], len(text)], strict=False):
        last = _BLOCK_ENDS.search(text, begin.end(), limit)
        yield begin.start(), last.end() if last else limit


def _start_of_tail(text: str, end: int) -> int:
    """Where the signs of a key begin whose first line stands in another part of its file."""
    start = end
    for number, word in enumerate(reversed(list(_WORD.finditer(text, 0, end)))):
        if not _CODED.fullmatch(word[0]) or (number and len(word[0]) < SHORTEST_CODED):
            break
        start = word.start()
    return start


_WORD, _CODED, SHORTEST_CODED = re.compile(r"\S+"), re.compile(r"[\w+/=]+"), 30
_BLANK = re.compile(r"\s|\Z")
# Between a word that says what a number is and the number.
_NUMBERED = r"(?:[\s.:#-]{0,3}(?:no|number|nr|nummer|num[ée]ro|id|is)\b){0,2}[\s.:#-]{0,3}"
_NO_MORE = r"(?![\w-]|[.,]\d)"
_BLOCK_BEGINS, _BLOCK_ENDS = (
    re.compile(rf"-{{4,5}} ?{word} [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{{4,5}}")
    for word in ("BEGIN", "END")
)
_TOKENS = (
    r"(?<!\w)(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{36,}+|github_pat_\w{40,}+"
    r"|xox[abeprs]-[\w-]{10,}+|AIza[\w-]{35}|[rs]k_(?:live|test)_\w{16,}+|sk-[\w-]{20,}+"
    r"|hf_[A-Za-z]{30,}+|eyJ[\w-]{10,8000}+\.eyJ[\w-]{10,}+\.[\w-]{10,}+)(?!\w)"
)
# a value with a digit in it
_PASSWORDS = (
    r"\b(?:PIN|(?i:pass ?(?:word|code|phrase)|passwort|kennwort|mot de passe|contraseña|wachtwoord"
    r"|(?:access|entry|door) code|(?:api|access|secret)[ _-]?key|(?:access|auth|api)[ _-]?token"
    r"|client[ _-]?secret))(?: (?:of|for|to) [^\n.:]{1,40}?)?[\"']?(?: is |\s?[:=]\s?)[\"']?"
    r"(?P<value>(?=[^\s\d]{0,8000}\d)[^\s\"',;]{3,}[^\s\"',;.])"
)
# no name of an account (@name@server), and no place of a repository (git@server:path)
_EMAIL = r"(?<![\w.%+@-])[\w.%+-]{1,64}@(?:[^\W_][\w-]{0,62}\.){1,6}[^\W\d_]{2,24}(?!\w|:\w)"
_IBAN = r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])"
_CARD = (
    r"(?<![\w.,-])(?=4|5[1-5]|2[2-7]|3[47]|6[05])"
    r"(?:\d{15,16}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{5})" + _NO_MORE
)
# (the module of stdnum that knows its checksum, the word that must stand before it, its form)
_IDENTITIES = (
    ("us.ssn", "", r"\d{3}-\d{2}-\d{4}"),
    ("fr.nir", "", r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}"),
    ("it.codicefiscale", "", r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]"),
    ("es.dni", "", r"\d{8}-?[A-HJ-NP-TV-Z]"),
    ("es.nie", "", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]"),
    ("ch.ssn", "", r"756\.?\d{4}\.?\d{4}\.?\d{2}"),
    ("br.cpf", "", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    ("be.nn", "", r"\d\d\.\d\d\.\d\d-\d{3}[.-]\d\d"),
    ("nl.bsn", r"bsn|burgerservicenummer|sofinummer", r"\d{3}[ .]?\d{3}[ .]?\d{3}"),
    ("de.idnr", r"steuer-?id\w*|id-?nr|tax[ -]id\w*", r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
    ("gb.nhs", r"nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}"),
    (
        "",
        r"passports?|driver'?s? licen[cs]e|social (?:security|insurance)|national (?:insurance|id)"
        r"|identity card|id card|personalausweis|sozialversicherung\w*|rentenversicherung\w*",
        r"(?=(?:[A-Z -]*\d){5})[A-Z]{0,5}[ -]?\d(?:[ -]?[A-Z0-9]){4,14}",
    ),
)
_RECORD = (
    r"(?i:\b(?:mrn|medical record|patient(?:en)?[ -]?(?:id|nr|no|number|nummer)|fallnummer"
    r"|hospital (?:no|number)|chart (?:no|number)|versicherten-?(?:nummer|nr)"
    rf"|health (?:card|insurance) (?:no|number)|nhs (?:no|number))\b{_NUMBERED})"
    rf"(?P<value>(?:[A-Z]{{1,3}}-?)?\d(?:[ -]?\d){{4,14}}){_NO_MORE}"
)
_DATE = (
    r"(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d{2}-\d{2}"
    r"|\d{1,2}(?:st|nd|rd|th|\.|er|º)? (?:of |de )?[^\W\d_]{3,10}\.?,? (?:de )?\d{4}"
    r"|[A-Z][a-z]{2,8}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4})"
)
_BIRTH = (
    r"(?i:\b(?:d\.?o\.?b\b|dates? of birth|birth ?date|birthday|born(?: on)?|geboren am|geb\."
    r"|geburtsdatum|geburtstag|née? le|date de naissance|fecha de nacimiento|nacid[oa] el"
    r"|data di nascita|nat[oa] il|geboortedatum|geboren op)[\s.:=(-]{1,4}(?:is |was )?)"
    rf"(?P<value>{_DATE})(?!\w)"
)
# Phones: with the sign for another country, behind a word that says so, and as they are written
# at home where that is like nothing else.
_ABROAD = r"(?<![\w+.,])(?:\+|00)[1-9](?:[ ()./\u00a0-]{0,3}\d){6,14}(?!\d)"
_CALLED = (
    r"(?i:\b(?:(?:tele|mobile |cell ?)?phone|tel|fax|mob(?:ile)?|telefax|telefon|telefoon|handy"
    r"|t[ée]l[ée]phone|t[ée]l|portable|tel[ée]fono|m[óo]vil|cellulare|whatsapp"
    rf"|(?:call|reach|ring) (?:us |me )?(?:at|on))\b{_NUMBERED})"
    rf"(?P<value>\(?\d(?:[ ()./\u00a0-]{{0,3}}\d){{6,13}}){_NO_MORE}"
)
_IN_AMERICA = rf"(?<![\w.,/+(-])(?:\(\d{{3}}\) ?|\d{{3}}[.-])\d{{3}}[.-]\d{{4}}{_NO_MORE}"
_WITH_A_NOUGHT = (  # and no code of an American town
    r"(?<![\w.,:/+-])(?!\d{5}-\d{4}\b)\(?0\d{1,4}\)?(?:[ ./-]{1,3}\d{2,8}){1,4}" + _NO_MORE
)
_REGIONS = ("GB", "DE", "FR", "NL", "BE", "CH", "AT", "IT", "IE", "AU", "JP")
_IP4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)"
_IP6 = r"(?<![\w:.])(?=[\dA-Fa-f]{1,4}:)[\dA-Fa-f:]{6,39}(?![\w:])"
_MARKS = (
    r"(?i)\b(?:(?:strictly|highly|company|commercially|private|privileged|proprietary)"
    r"(?: and | ?& ?|, ?| ?/ ?| )(?:strictly )?confidential|not for (?:further )?(?:distribution"
    r"|circulation|publication|release)|do not (?:distribute|circulate|forward)|internal use only"
    r"|attorney[- ]client privileged?|privileged (?:communication|document)|attorney work product"
    r"|confidential treatment requested|streng vertraulich|nur für den internen gebrauch"
    r"|strictement confidentiel|diffusion restreinte|estrictamente confidencial"
    # one word, where nothing else stands on its line
    r"|(?:confidential|vertraulich|confidentiel|confidencial|vertrouwelijk|riservato)"
    r"(?=[^\w\n]*$))\b"
)
_BEFORE_A_MARK = re.compile(r"(?:[^\n]*[-–—:|/(\[*])?[^\w\n]*")


def _is_known_to(module: str) -> Callable[[str, int, int], bool]:
    """Whether a module of stdnum takes a stretch for one of its numbers."""

    def is_one(text: str, start: int, end: int) -> bool:
        return import_module(f"stdnum.{module}").is_valid(text[start:end])

    return is_one


def _end_of_iban(text: str, start: int, end: int) -> int:
    """Where an IBAN ends that a word in capitals may follow; its start where there is none."""
    from stdnum import iban

    while end > start and not iban.is_valid(text[start:end]):
        end = max(start, text.rfind(" ", start, end))
    return end


def _is_card(text: str, start: int, end: int) -> bool:
    from stdnum import luhn

    digits = re.sub(r"\D", "", text[start:end])
    return len(digits) == (15 if digits[0] == "3" else 16) and luhn.is_valid(digits)


def _can_be_called(text: str, start: int, end: int) -> bool:
    """Whether a number with its country's code is in that country's numbering plan."""
    import phonenumbers

    number = re.sub(r"\D", "", text[start:end].removeprefix("00"))
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{number}"))
    except phonenumbers.NumberParseException:
        return False


def _is_written_at_home(*regions: str) -> Callable[[str, int, int], bool]:
    """Whether a number is in the plan of one of the regions, and grouped as it is there."""

    def is_one(text: str, start: int, end: int) -> bool:
        from phonenumbers import Leniency, PhoneNumberMatcher

        value, strict = text[start:end], Leniency.STRICT_GROUPING
        return any(PhoneNumberMatcher(value, one, strict).has_next() for one in regions)

    return is_one


def _is_no_date(text: str, start: int, end: int) -> bool:
    return not re.match(rf"{_DATE}(?!\d)", text[start:end])


def _is_public_address(text: str, start: int, end: int) -> bool:
    """Whether an address is of the open internet. Four small numbers are a version or a section."""
    value = text[start:end]
    try:
        if not ipaddress.ip_address(value).is_global:
            return False
    except ValueError:
        return False
    if ":" in value:  # masks of a network are no addresses
        return value.startswith(("2", "3"))
    return len(re.findall(r"\d{2,}", value)) > 1


def _marks_a_text(text: str, start: int, end: int) -> bool:
    """Whether words stand as a mark: on a short line, at its start, behind a sign, or in capitals.
    Inside a sentence they speak of something else.
    """
    # no further than a mark's line may go: a text of one long line may hold many
    begins = text.rfind("\n", max(0, start - LONGEST_MARK), start) + 1
    most = begins + LONGEST_MARK
    if start > most or (text.find("\n", start, most + 1) < 0 and len(text) > most):
        return False
    return text[start:end].isupper() or bool(_BEFORE_A_MARK.fullmatch(text, begins, start))


def _is_one(text: str, start: int, end: int) -> bool:
    return True


def _identity(word: str, form: str) -> str:
    before = rf"(?i:\b(?:{word})\b{_NUMBERED})" if word else r"(?<![\w.-])"
    return rf"{before}(?P<value>{form}){_NO_MORE}"


_FORMS: list[tuple[str, re.Pattern[str], Callable[[str, int, int], bool]]] = [
    (kind, re.compile(pattern, re.MULTILINE), is_one)
    for kind, pattern, is_one in (
        *((KEY, pattern, _is_one) for pattern in (_TOKENS, _PASSWORDS)),
        (EMAIL, _EMAIL, _is_one),
        (IBAN, _IBAN, _is_one),
        (CARD, _CARD, _is_card),
        *(
            (IDENTITY, _identity(word, form), _is_known_to(module) if module else _is_one)
            for module, word, form in _IDENTITIES
        ),
        (RECORD, _RECORD, _is_one),
        (BIRTH, _BIRTH, _is_one),
        (PHONE, _ABROAD, _can_be_called),
        (PHONE, _CALLED, _is_no_date),
        (PHONE, _IN_AMERICA, _is_written_at_home("US")),
        (PHONE, _WITH_A_NOUGHT, _is_written_at_home(*_REGIONS)),
        (IP, _IP4, _is_public_address),
        (IP, _IP6, _is_public_address),
        (MARK, _MARKS, _marks_a_text),
    )
]
