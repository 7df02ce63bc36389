"""Two shares of right answers: their difference by how the items were used, and what choosing the best of several adds.

Everything is computed from totals, as a reader has them who does not hold the answers themselves.
"""

from __future__ import annotations

import math

import numpy as np

from labkit.stats import LEVEL, mcnemar, wilson

ALPHA = 1 - LEVEL


def newcombe(right: int, n: int, other_right: int, other_n: int, *, phi: float = 0.0) -> tuple[float, float]:
    """95% interval of right / n - other_right / other_n, built from Wilson's limits of each.

    phi: correlation of the two answers over the same items, from `paired_phi`; 0 where the items are others.
    Sources: Newcombe 1998, Statistics in Medicine 17, method 10 of pp. 873-890 (independent) and of pp. 2635-2650 (paired).
    """
    first, second = right / n, other_right / other_n
    (low1, high1), (low2, high2) = wilson(right, n), wilson(other_right, other_n)
    down = (first - low1) ** 2 - 2 * phi * (first - low1) * (high2 - second) + (high2 - second) ** 2
    up = (high1 - first) ** 2 - 2 * phi * (high1 - first) * (second - low2) + (second - low2) ** 2
    return first - second - math.sqrt(max(0.0, down)), first - second + math.sqrt(max(0.0, up))


def paired_phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Correlation over the same items, from the four counts, with the correction for continuity that Newcombe's method has."""
    product = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    raw = both * neither - only_first * only_second
    corrected = max(raw - (both + only_first + only_second + neither) / 2, 0) if raw > 0 else raw
    return corrected / math.sqrt(product) if product else 0.0


def overlap_bounds(n: int, right: int, other_right: int) -> tuple[int, int]:
    """Fewest and most of the same n items that only the first can have got right, given both totals."""
    return max(0, right - other_right), min(right, n - other_right)


def most_differing(n: int, right: int, other_right: int) -> int:
    """The most of the same n items on which two answers may differ for the difference to stand out (exact p at most 0.05).

    The totals must differ by enough to stand out at all (by 6 items or more).
    """
    low, high = overlap_bounds(n, right, other_right)
    gap = right - other_right
    while low < high:  # p grows with the number of items on which only one is right
        middle = (low + high + 1) // 2
        low, high = (middle, high) if mcnemar(middle, middle - gap) <= ALPHA else (low, middle - 1)
    return 2 * low - gap


# --- the best of several that are equal ---------------------------------------------------------
#
# alike: part of the items on which all variants give one and the same answer; on the others each answers by itself.
# At 0 choosing gains the most, at 1 nothing.


def _at_most(n: int, share: float) -> np.ndarray:
    """P(X <= 0), ..., P(X <= n) of a binomial count."""
    from scipy.special import bdtr

    return bdtr(np.arange(n + 1), n, share)


def _steps(at_most: np.ndarray) -> np.ndarray:
    return np.diff(at_most, prepend=0.0)


def best_of_lead(variants: int, n: int, share: float, *, alike: float = 0.0) -> float:
    """By how much the best of equal variants is expected to score above `share`, what each is worth. Exact, in score units."""
    own = round(n * (1 - alike))
    return float((1 - _at_most(own, share) ** variants).sum() - own * share) / n


def best_of_chance(variants: int, right: int, n: int, other_right: int, other_n: int, *, same_items: bool, alike: float = 0.0) -> float:
    """The chance that the best of so many variants leads a baseline by the observed gap though all are worth the same.

    What all are worth is taken to be the pooled share. Exact for binomial counts. same_items: the baseline then answers
    the shared part like the variants do.
    """
    from scipy.signal import fftconvolve

    share, own = (right + other_right) / (n + other_n), round(n * (1 - alike))
    best = _steps(_at_most(own, share) ** variants)
    if same_items:
        rival, scale = _steps(_at_most(own, share)), 1.0
    else:
        best, rival, scale = fftconvolve(best, _steps(_at_most(n - own, share))), _steps(_at_most(other_n, share)), n / other_n
    at_least = np.append(np.cumsum(best[::-1])[::-1], 0.0)
    wanted = np.ceil(right - scale * other_right + scale * np.arange(len(rival)) - 1e-9).astype(int)
    return float(np.clip((rival * at_least[np.clip(wanted, 0, len(best))]).sum(), 0, 1))
