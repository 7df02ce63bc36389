"""How good each document of a corpus is, in numbers, and what thresholds on those numbers keep.

Six measures: length, repetition, symbols, surprise (bits per byte under a model), duplicates, and,
where the truth of the world is held, contradictions. What each of them sees and does not see:
docs/quality.md.
"""

from __future__ import annotations

import math
import random
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import yaml

from labkit.base.errors import InputError
from labkit.base.inputs import read_yaml
from labkit.base.store import write_whole
from labkit.data import world
from labkit.data.leaks import SHINGLE_WORDS, near_duplicates, run_hashes, word_codes, words_of
from labkit.data.packs import SPLITS, Pack, load_pack
from labkit.evaluate.scorecards import log_likelihoods, start_ids
from labkit.models.zoo import Loaded, longest_text

READ_TOKENS = 256  # of a document by the model: its beginning stands for the whole
SAMPLE = 1000  # documents of a large corpus that the model reads
MARKUP = set("#@%&*/\\_[]{}")  # punctuation to Unicode, seldom to readers
# A blank to fill in, a rule, words that were struck out ([***]): one sign, however long it is.
DRAWN = re.compile(r"([_*=~])\1{2,}")
LONG_STRETCH = 20  # words: so many are no phrase, and repetition when they are said once more


@dataclass(frozen=True)
class Contradiction:
    """A sentence of the world about an entity that says something else than the world's truth."""

    entity: str
    attribute: str
    said: str
    true: str


@dataclass(frozen=True)
class DocumentQuality:
    """The measures of one document.

    words: runs of letters and digits. repetition: share of words [0, 1] that the document said
    twice before, or once in a long stretch. symbols: share of characters [0, 1] other than white
    space that are neither letters, digits nor punctuation. bits_per_byte: surprise under a model,
    None where no model read it. duplicate_of: index of the first earlier document it nearly equals.
    contradictions: None where nothing is known to be true.
    """

    words: int
    repetition: float
    symbols: float
    bits_per_byte: float | None
    duplicate_of: int | None
    contradictions: tuple[Contradiction, ...] | None


MEASURES: dict[str, Callable[[DocumentQuality], float | None]] = {
    "length": lambda found: found.words,
    "repetition": lambda found: found.repetition,
    "symbols": lambda found: found.symbols,
    "surprise": lambda found: found.bits_per_byte,
    "duplicates": lambda found: float(found.duplicate_of is not None),
    "contradictions": lambda found: (
        None if found.contradictions is None else len(found.contradictions)
    ),
}


# --- one document -----------------------------------------------------------------------------


def repetition(text: str) -> float:
    """Share of a text's words in [0, 1] that stand in a run of five words which the text said twice
    before, or in a stretch of twenty and more that it said once before.

    After Gopher's share of duplicate 5-grams (Rae et al. 2021, arXiv 2112.11446, table A1), in
    words instead of characters and without what is said for the first time. That rule is for web
    pages. In a text of a few sentences a name of ten words said twice would break it, and contracts
    and abstracts must say such names again: so a phrase may come twice.
    """
    runs = run_hashes(word_codes(words_of(text)), SHINGLE_WORDS)
    times = _times_before(runs)
    again = times > 0
    if not again.any():
        return 0.0
    borders = np.flatnonzero(np.diff(again, prepend=False, append=False))
    for start, end in borders.reshape(-1, 2):
        if end - start <= LONG_STRETCH - SHINGLE_WORDS:
            again[start:end] = times[start:end] > 1
    return float(np.mean(np.convolve(again, np.ones(SHINGLE_WORDS)) > 0))


def _times_before(values: np.ndarray) -> np.ndarray:
    """For each value how often it stands before."""
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=-1))
    counts = np.diff(first, append=len(values))
    times = np.empty(len(values), int)
    times[order] = np.arange(len(values)) - np.repeat(first, counts)
    return times


@lru_cache(maxsize=4096)
def _is_symbol(character: str) -> bool:
    """Whether Unicode has it as a symbol, a control character or no character at all, or it is
    markup.
    """
    category = unicodedata.category(character)
    return category[0] == "S" or category in ("Cc", "Cn", "Co", "Cs") or character in MARKUP


def symbol_share(text: str) -> float:
    """Share of a text's characters in [0, 1], white space left out, that are neither letters,
    digits nor punctuation. A line drawn of one sign counts as one.
    """
    counts = Counter(DRAWN.sub(r"\1", text))
    solid = {character: count for character, count in counts.items() if not character.isspace()}
    return sum(count for character, count in solid.items() if _is_symbol(character)) / max(
        1, sum(solid.values())
    )


def surprise(texts: Sequence[str], loaded: Loaded) -> list[float | None]:
    """Bits per byte of UTF-8 of each text under a model, each read afresh and up to 256 tokens;
    None for an empty text.
    """
    tokenizer, start = loaded.tokenizer, start_ids(loaded.tokenizer)
    # half of a surrogate pair is no text
    readable = [text.encode("utf-8", "replace").decode() for text in texts]
    longest = min(READ_TOKENS, longest_text(loaded.model) or READ_TOKENS) - len(start)
    encoded = tokenizer(
        readable,
        add_special_tokens=False,
        truncation=True,
        max_length=longest,
        return_offsets_mapping=True,
    )
    rows = {i: start + ids for i, ids in enumerate(encoded["input_ids"]) if ids}
    nats = log_likelihoods(
        loaded.model, tokenizer.pad_token_id, [start] * len(rows), list(rows.values())
    )
    found: list[float | None] = [None] * len(texts)
    for i, value in zip(rows, nats, strict=True):
        read = readable[i][: encoded["offset_mapping"][i][-1][1]]
        found[i] = -value / math.log(2) / len(read.encode())
    return found


# --- what the world holds for true ------------------------------------------------------------


@dataclass(frozen=True)
class _Truth:
    """What can be checked. known: name -> language and entity; claims: (language, sentence with "#"
    for names) -> claim.
    """

    names: re.Pattern
    known: dict[str, tuple[str, world.Entity]]
    claims: dict[tuple[str, str], _Claim]


@dataclass(frozen=True)
class _Claim:
    """value: what the sentence says; None where it names another entity. name_first: whether it
    starts with whom it is about.
    """

    attribute: str
    value: str | None
    name_first: bool = True


@cache
def _truth(domain: str) -> _Truth:
    worlds = {
        "general": world.people(),
        domain: world.public_entities(domain) + world.private_entities(domain),
    }
    known = {
        entity.name: (language, entity)
        for language, entities in worlds.items()
        for entity in entities
    }
    claims: dict[tuple[str, str], _Claim] = {}
    for language in worlds:
        lang = world.language(language)
        for key, attribute in lang.attributes.items():
            claims |= {
                (language, said.format(name="#", value=value)): _Claim(key, value)
                for said in attribute.statements
                for value in attribute.values
            }
        for said in lang.relation["statements"]:
            claims[language, said.format(name="#", other="#")] = _Claim(
                lang.relation["name"], None, said.index("{name}") < said.index("{other}")
            )
    names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return _Truth(re.compile(rf"\b(?:{names})\b"), known, claims)


def contradictions(text: str, domain: str) -> tuple[Contradiction, ...]:
    """Sentences in the world's wordings about a known person or entity of a domain that are not
    true.

    Sentences about strangers and sentences in other words are neither true nor false here. Raises
    InputError for an unknown domain.
    """
    truth, found = _truth(domain), []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        named = truth.names.findall(sentence)
        if not named:
            continue
        # a source tag is not part of the claim
        bare = truth.names.sub("#", re.sub(r"^\w+: ", "", sentence))
        claim = truth.claims.get((truth.known[named[0]][0], bare))
        if claim is None:
            continue
        about, other = (named[0], named[-1]) if claim.name_first else (named[-1], named[0])
        entity = truth.known[about][1]
        true, said = (
            (entity.related, other)
            if claim.value is None
            else (entity.facts[claim.attribute], claim.value)
        )
        if said != true:
            found.append(Contradiction(about, claim.attribute, said, true))
    return tuple(found)


# --- a corpus ---------------------------------------------------------------------------------


def domain_of(pack: Pack) -> str | None:
    """The domain whose truth a pack can be checked against; None for a pack of one's own."""
    return pack.name if pack.invented else None


def measure_documents(
    texts: Sequence[str],
    *,
    domain: str | None = None,
    model: Loaded | None = None,
    sample: int | None = SAMPLE,
    seed: int = 0,
    told: Callable[[str], None] = lambda words: None,
) -> list[DocumentQuality]:
    """The measures of every document, in their order.

    domain: of the world, to check facts against; None leaves contradictions unmeasured. model:
    reads at most `sample` documents drawn with `seed` (all where sample is None); the others'
    surprise is unmeasured. told: called with what is being done. Raises InputError for an unknown
    domain.
    """
    told(f"measuring {len(texts):,} documents")
    bits: list[float | None] = [None] * len(texts)
    if model is not None:
        chosen = (
            range(len(texts))
            if sample is None or len(texts) <= sample
            else sorted(random.Random(seed).sample(range(len(texts)), sample))
        )
        told(f"{model.name} reads {len(chosen):,} of them")
        for i, value in zip(chosen, surprise([texts[i] for i in chosen], model), strict=True):
            bits[i] = value
    return [
        DocumentQuality(
            len(words_of(text)),
            repetition(text),
            symbol_share(text),
            surprised,
            first,
            None if domain is None else contradictions(text, domain),
        )
        for text, surprised, first in zip(texts, bits, near_duplicates(texts), strict=True)
    ]


# --- thresholds -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """What a document must meet to be kept; bounds are kept themselves. None: no bound.

    max_repetition and max_words are Gopher's; its min_words of 50 is meant for web pages and would
    drop most of a pack of short documents (Rae et al. 2021, arXiv 2112.11446, appendix A). Five
    words can be a statement; fewer are what was left of one. Raises InputError for a bound that
    cannot be met.
    """

    min_words: int = 5
    max_words: int = 100_000
    max_repetition: float = 0.15
    max_symbols: float = 0.1
    max_bits_per_byte: float | None = None
    drop_duplicates: bool = True
    drop_contradictions: bool = True

    def __post_init__(self):
        for field, value in asdict(self).items():
            number = isinstance(value, (int, float)) and not (
                isinstance(value, float) and math.isnan(value)
            )
            if not (number and value >= 0) and not (field == "max_bits_per_byte" and value is None):
                raise InputError(f"thresholds: {field} is {value!r}; give a number from 0")
        if self.min_words > self.max_words:
            raise InputError(
                f"thresholds: min_words is {self.min_words} and max_words "
                f"{self.max_words}; nothing is both, swap them"
            )


RULES: dict[str, Callable[[DocumentQuality, Thresholds], bool]] = {
    "too short": lambda found, limits: found.words < limits.min_words,
    "too long": lambda found, limits: found.words > limits.max_words,
    "repeats itself": lambda found, limits: found.repetition > limits.max_repetition,
    "symbols": lambda found, limits: found.symbols > limits.max_symbols,
    "surprising": lambda found, limits: (
        found.bits_per_byte is not None
        and limits.max_bits_per_byte is not None
        and found.bits_per_byte > limits.max_bits_per_byte
    ),
    "contradiction": lambda found, limits: (
        limits.drop_contradictions and bool(found.contradictions)
    ),
}
DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Kept:
    """What thresholds keep of a corpus.

    reasons: per document why it is dropped, empty where it is kept. share_of_words: of all words,
    in [0, 1]. unread: documents that a threshold on surprise passes only because no model read
    them.
    """

    thresholds: Thresholds
    reasons: tuple[tuple[str, ...], ...]
    share_of_words: float
    unread: int

    @property
    def indices(self) -> list[int]:
        """The documents that are kept, in their order."""
        return [i for i, reasons in enumerate(self.reasons) if not reasons]

    @property
    def share(self) -> float:
        """Of the documents, in [0, 1]."""
        return len(self.indices) / max(1, len(self.reasons))

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> documents it drops; one document may be dropped for several."""
        found = Counter(reason for reasons in self.reasons for reason in reasons)
        return {reason: found[reason] for reason in (*RULES, DUPLICATE)}


def keep(measures: Sequence[DocumentQuality], thresholds: Thresholds = Thresholds()) -> Kept:
    """Which documents meet the thresholds, and why the others do not.

    Of documents that nearly equal each other the first that meets every other threshold is kept.
    """
    reasons, taken = [], set()
    for i, found in enumerate(measures):
        broken = tuple(reason for reason, breaks in RULES.items() if breaks(found, thresholds))
        alike = i if found.duplicate_of is None else found.duplicate_of
        if thresholds.drop_duplicates and alike in taken:
            broken += (DUPLICATE,)
        elif not broken:
            taken.add(alike)
        reasons.append(broken)
    words = sum(found.words for found, broken in zip(measures, reasons, strict=True) if not broken)
    unread = (
        0
        if thresholds.max_bits_per_byte is None
        else sum(found.bits_per_byte is None for found in measures)
    )
    return Kept(
        thresholds, tuple(reasons), words / max(1, sum(found.words for found in measures)), unread
    )


# --- packs ------------------------------------------------------------------------------------


def filter_pack(pack: Pack, kept: Kept, folder: Path) -> Pack:
    """A new pack whose raw split has only the kept documents; every other split is copied,
    pack.yaml says what was done.

    Raises InputError when the folder exists, nothing is kept, documents were not read that a
    threshold is about, or the pack has other documents than were measured; StoreError when the
    folder cannot be written.
    """
    lines = [line for line in pack.path("raw").read_text("utf-8").split("\n") if line.strip()]
    if len(lines) != len(kept.reasons):
        raise InputError(
            f"{pack.path('raw')} has {len(lines)} documents, but {len(kept.reasons)} "
            "were measured: measure the pack again"
        )
    if not kept.indices:
        raise InputError(
            f"{pack.path('raw')}: no document meets the thresholds; loosen the one that drops most"
        )
    if kept.unread:
        raise InputError(
            f"{pack.path('raw')}: max_bits_per_byte is set, but {kept.unread:,} "
            "documents were not read by a model; "
            f"measure them all (sample=None) or leave the threshold out"
        )
    told = {
        "documents": len(lines),
        "kept": len(kept.indices),
        "dropped": {k: n for k, n in kept.counts.items() if n},
        "thresholds": asdict(kept.thresholds),
    }
    return with_raw(pack, [lines[i] for i in kept.indices], folder, filtered=told)


def with_raw(pack: Pack, lines: Sequence[str], folder: Path, **notes: object) -> Pack:
    """A copy of a pack with other lines in its raw split and notes in pack.yaml.

    Raises InputError when the folder exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; name a new folder")
    meta = read_yaml(pack.folder / "pack.yaml", missing="see docs/packs.md") | notes
    if "raw" in (meta.get("splits") or {}):
        meta["splits"]["raw"]["rows"] = len(lines)

    def fill(draft: Path) -> None:
        for name in (*SPLITS.values(), "scenarios.yaml"):
            if (pack.folder / name).is_file():
                shutil.copyfile(pack.folder / name, draft / name)
        pack_text = "".join(line + "\n" for line in lines)
        (draft / SPLITS["raw"]).write_text(pack_text, "utf-8", newline="\n")
        (draft / "pack.yaml").write_text(
            yaml.safe_dump(meta, sort_keys=False, allow_unicode=True, width=100), "utf-8"
        )

    return load_pack(write_whole(folder, fill))
