"""How different texts are from one another. Always shown beside how many of them are valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

ORDER = 2  # pairs of words


def _pairs(text: str) -> Counter:
    words = text.lower().split()
    return Counter(zip(*(words[i:] for i in range(ORDER)), strict=False)) or Counter([(text,)])


def vendi_score(texts: Sequence[str]) -> float:
    """The effective number of different texts: 1 when all are equal, len(texts) when none share a pair of words.

    exp of the entropy of the eigenvalues of the cosine similarities. Source: Friedman & Dieng 2023, arXiv 2210.02410.
    """
    counts = [_pairs(text) for text in texts]
    columns = {pair: i for i, pair in enumerate(sorted(set().union(*counts)))}
    vectors = np.zeros((len(texts), len(columns)))
    for row, found in enumerate(counts):
        for pair, count in found.items():
            vectors[row, columns[pair]] = count
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(vectors @ vectors.T / len(texts))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def within_prompt(outputs: str) -> float:
    """Of the samples to one request (a line each), the effective share that are different: 1/n to 1."""
    samples = outputs.split("\n")
    return vendi_score(samples) / len(samples)
