"""Near duplicates among texts: word runs, MinHash signatures, locality-sensitive hashing. The only module that imports datasketch.

Broder 1997, "On the resemblance and containment of documents"; runs and thresholds as usual for training text
(Lee et al. 2022, arXiv 2107.06499).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from functools import cache

import numpy as np

SHINGLE_WORDS = 5
THRESHOLD = 0.8
PERMUTATIONS = 128
BATCH = 4096  # shingles hashed at once, times 128 permutations, times four bytes
_MIX = np.uint32(0x9E3779B1)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation: what texts are compared by."""
    return re.findall(r"\w+", text.lower())


def word_codes(words: list[str]) -> np.ndarray:
    """One uint32 per word, the same on every machine."""
    return np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint32)


def run_hashes(codes: np.ndarray, length: int) -> np.ndarray:
    """One uint32 per run of `length` consecutive words (len(codes) - length + 1 of them, none for a shorter text).

    codes: of word_codes. Equal runs have equal hashes; two different ones share a hash once in four billion.
    """
    runs = np.zeros(max(len(codes) - length + 1, 0), np.uint32)
    mixed = codes ^ (codes >> np.uint32(15))
    for offset in range(length if len(runs) else 0):
        runs *= _MIX
        runs += mixed[offset : offset + len(runs)]
    return runs


def shingle_hashes(text: str) -> np.ndarray:
    """The distinct hashes (sorted uint32) of a text's runs of five words; of all its words when there are fewer."""
    codes = word_codes(words_of(text))
    return np.unique(run_hashes(codes, min(SHINGLE_WORDS, len(codes)))) if len(codes) else codes


@cache
def _empty_signature():
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, hashfunc=int)


def signature(text: str):
    """The datasketch.MinHash of a text's shingles; `jaccard` of two estimates which share of them both have, 0 to 1."""
    found, hashes = _empty_signature().copy(), shingle_hashes(text)
    for start in range(0, len(hashes), BATCH):
        found.update_batch(hashes[start : start + BATCH].tolist())
    return found


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> list[int | None]:
    """For each text the index of the first earlier text it nearly equals, else None.

    threshold: share of distinct five-word runs in common (Jaccard, 0 to 1; estimated from 128 permutations, standard
    error 0.035 at 0.8). A text marked as a duplicate is not compared with later ones, so an index is always that of a
    text marked None. A text without words equals nothing. Texts are read once and not kept: about 6 kB of memory for
    each that is marked None.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold, PERMUTATIONS, weights=(0.1, 0.9))  # candidates are verified, so a missed one costs more
    kept, found = {}, []
    for number, text in enumerate(texts):
        own, first = signature(text), None
        if not own.is_empty():
            first = min((other for other in index.query(own) if own.jaccard(kept[other]) >= threshold), default=None)
            if first is None:
                kept[number] = own
                index.insert(number, own)
        found.append(first)
    return found
