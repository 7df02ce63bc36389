"""Intervals and paired tests: a claim counts only when measured with its noise.

Questions about one entity stand and fall together, and so do the scores of one training run, so both are
resampled as clusters (Miller 2024, arXiv 2411.00640). A naive bootstrap over items is far too sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from labkit.errors import PairingError

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval. n: scores behind it; clusters: entities; seeds: training runs."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    seeds: int = 1

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class ItemScore:
    """One item's outcome: its id, the entity it asks about, a score in [0, 1], the training seed."""

    id: str
    entity: str
    score: float
    seed: int = 0


def cluster_mean(scores: Sequence[ItemScore], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean score with a 95% bootstrap interval over entities and, where there are several, over seeds.

    Entities and seeds are crossed: each draw resamples entities and, independently, seeds.
    Raises PairingError when there are no scores.
    """
    if not scores:
        raise PairingError("no items to average: the scorecard is empty for this axis")
    seeds = sorted({score.seed for score in scores})
    entities = sorted({score.entity for score in scores})
    rows, columns = {s: i for i, s in enumerate(seeds)}, {e: i for i, e in enumerate(entities)}
    totals, counts = np.zeros((len(seeds), len(entities))), np.zeros((len(seeds), len(entities)))
    for score in scores:
        totals[rows[score.seed], columns[score.entity]] += score.score
        counts[rows[score.seed], columns[score.entity]] += 1
    rng = np.random.default_rng(seed)
    seed_weights = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=draws)
    entity_weights = rng.multinomial(len(entities), np.full(len(entities), 1 / len(entities)), size=draws)
    drawn_totals = np.einsum("ds,se,de->d", seed_weights, totals, entity_weights)
    drawn_counts = np.einsum("ds,se,de->d", seed_weights, counts, entity_weights)
    means = drawn_totals[drawn_counts > 0] / drawn_counts[drawn_counts > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        float(totals.sum() / counts.sum()), float(low), float(high), len(scores), len(entities), len(seeds)
    )


def paired_difference(
    before: Sequence[ItemScore], after: Sequence[ItemScore], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean of after - before over the same items and seeds, with its clustered 95% interval.

    Raises PairingError naming the first (id, seed) that only one side has.
    """
    left = {(score.id, score.seed): score for score in before}
    right = {(score.id, score.seed): score for score in after}
    alone = sorted(left.keys() ^ right.keys())
    if alone:
        raise PairingError(
            f"item {alone[0][0]!r} (seed {alone[0][1]}) is on one side only; evaluate both on the same pack and split"
        )
    differences = [
        ItemScore(score.id, score.entity, right[key].score - score.score, score.seed) for key, score in left.items()
    ]
    return cluster_mean(differences, draws=draws, seed=seed)


def average(first: Sequence[ItemScore], second: Sequence[ItemScore]) -> list[ItemScore]:
    """Per item the mean of two checkpoints' scores, in the first one's order. Raises PairingError as above."""
    other = {(score.id, score.seed): score.score for score in second}
    if other.keys() != {(score.id, score.seed) for score in first}:
        raise PairingError("the two scorecards hold different items; evaluate both on the same pack and split")
    return [ItemScore(s.id, s.entity, (s.score + other[s.id, s.seed]) / 2, s.seed) for s in first]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion. Source: Wilson 1927, doi 10.2307/2276774."""
    if n <= 0:
        raise PairingError("a proportion of nothing has no interval: n must be at least 1")
    z = 1.959963984540054
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test from the two discordant counts. Source: doi 10.1007/BF02295996."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return 1.0 if discordant == 0 else float(binomtest(only_first, discordant, 0.5).pvalue)


def verdict(difference: Interval, *, claimed: int = 1) -> str:
    """`supported`, `contradicted` or `not distinguishable`, for a claim that the difference has sign `claimed`."""
    if difference.low > 0:
        return "supported" if claimed > 0 else "contradicted"
    if difference.high < 0:
        return "supported" if claimed < 0 else "contradicted"
    return "not distinguishable"


