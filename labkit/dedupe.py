"""Near duplicates among texts: shingles, MinHash signatures, locality-sensitive hashing. The only module that imports datasketch.

Broder 1997, "On the resemblance and containment of documents"; thresholds and shingle length as usual for training text
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
BATCH = 4096  # shingles hashed at once: 128 times four bytes each
_MIX = np.uint32(0x9E3779B1)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation: what comparisons of texts are made of."""
    return re.findall(r"\w+", text.lower())


def run_hashes(words: list[str], length: int) -> np.ndarray:
    """One hash per run of `length` consecutive words, in order (uint32); equal runs have equal hashes on every machine.

    Fewer words than `length` give one hash of all of them, no words none. Two different runs share a hash with a
    chance of one in four billion.
    """
    if not words:
        return np.empty(0, np.uint32)
    codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint32)
    length = min(length, len(codes))
    runs = np.zeros(len(codes) - length + 1, np.uint32)
    for offset in range(length):
        mixed = codes[offset : offset + len(runs)]
        runs = runs * _MIX + (mixed ^ (mixed >> np.uint32(15)))
    return runs


def shingle_hashes(text: str) -> np.ndarray:
    """The distinct hashes (sorted uint32) of a text's runs of five words."""
    return np.unique(run_hashes(words_of(text), SHINGLE_WORDS))


@cache
def _empty_signature():
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, hashfunc=int)


def signature(text: str):
    """The datasketch.MinHash of a text's shingles; `jaccard` of two estimates how many shingles they share, 0 to 1."""
    found, hashes = _empty_signature().copy(), shingle_hashes(text)
    for start in range(0, len(hashes), BATCH):
        found.update_batch(hashes[start : start + BATCH].tolist())
    return found


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> list[int | None]:
    """For each text the index of the first earlier text it nearly equals, else None.

    A near duplicate shares at least `threshold` of its distinct five-word runs (Jaccard, estimated from 128
    permutations: standard error 0.035 at 0.8). Texts that are duplicates themselves are not compared with, so the
    index is always that of a text marked None. A text without words equals nothing. Texts are read once and not kept:
    about 5 kB per kept text stay in memory.
    """
    from datasketch import MinHashLSH

    # Candidates are verified below, so a missed one costs far more than a false one.
    index = MinHashLSH(threshold, PERMUTATIONS, weights=(0.1, 0.9))
    kept, found = {}, []
    for number, text in enumerate(texts):
        own = signature(text)
        first = None
        if not own.is_empty():
            first = min((other for other in index.query(own) if own.jaccard(kept[other]) >= threshold), default=None)
            if first is None:
                kept[number] = own
                index.insert(number, own)
        found.append(first)
    return found
