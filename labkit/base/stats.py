"""Intervals and paired tests: a claim counts only when measured with its noise.

Questions about one entity stand and fall together, and so do the scores of one training run, so
both are resampled as clusters (Miller 2024, arXiv 2411.00640). A naive bootstrap over items is far
too sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from labkit.base.errors import InputError, PairingError

DRAWS = 2000
LEVEL = 0.95
Z_LEVEL = 1.959963984540054  # two-sided 95% quantile of the normal distribution
NOT_DISTINGUISHABLE = "not distinguishable"
SIGN_TEST_NEEDS = 6  # clusters: with five, even all of one sign has p = 2 / 32


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval. n: scores in it; clusters: entities; seeds: training runs.

    with_seeds: the noise between training seeds is in it, though a single run was scored.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    seeds: int = 1
    with_seeds: bool = False

    def __str__(self) -> str:
        mean, low, high = (round(value, 2) + 0.0 for value in (self.mean, self.low, self.high))
        return f"{mean:.2f} [{low:.2f}, {high:.2f}]"

    @property
    def covers(self) -> str:
        """What could have come out otherwise, as the interval counts it: other items only, or other
        training seeds too.
        """
        return "items and seeds" if self.seeds > 1 or self.with_seeds else "items only"

    def holds(self, value: float) -> bool:
        """Whether a value lies within the interval, ends included."""
        return self.low <= value <= self.high

    def as_dict(self) -> dict:
        """The fields, as records keep them."""
        return asdict(self)


@dataclass(frozen=True)
class Power:
    """detectable: smallest difference the comparison could tell from zero (power 0.8). needed:
    items for `wanted`.

    needed is None when all items are about one entity: nothing then says how entities differ.
    """

    detectable: float
    wanted: float
    needed: int | None


@dataclass(frozen=True)
class RunNoise:
    """deviation: of a score's mean between training seeds of one recipe; degrees: of freedom behind
    it.
    """

    deviation: float
    degrees: int


@dataclass(frozen=True)
class ItemScore:
    """One item's outcome: id, the entity it asks about, a score in [0, 1], the training seed."""

    id: str
    entity: str
    score: float
    seed: int = 0


def cluster_mean(scores: Sequence[ItemScore], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean score with a 95% bootstrap interval over entities and, where there are several, over
    seeds.

    Entities and seeds are crossed: each draw resamples entities and, independently, seeds. A
    bootstrap over few clusters is too narrow, so its ends are moved out by `_few_clusters`. Where
    entities are too few for even an exact sign test (fewer than 6) and do not differ, nothing is
    known of others, and the interval is all that is possible. Raises PairingError when there are no
    scores.
    """
    if not scores:
        raise PairingError("no items to average: the scorecard is empty for this axis")
    seeds, entities, (totals, counts), (drawn_totals, drawn_counts) = _drawn(
        scores, ([score.score for score in scores], [1] * len(scores)), draws, seed
    )
    means = drawn_totals[drawn_counts > 0] / drawn_counts[drawn_counts > 0]
    values, mean = [score.score for score in scores], float(totals.sum() / counts.sum())
    if len(entities) < SIGN_TEST_NEEDS and np.ptp(totals.sum(0) / counts.sum(0)) == 0:
        low, high = _possible(values)
    else:
        ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = np.clip(
            mean + (ends - mean) * _few_clusters(totals, counts), min(values), max(values)
        )
    return Interval(mean, float(low), float(high), len(scores), len(entities), len(seeds))


def ratio_of_means(
    above: Sequence[ItemScore], below: Sequence[ItemScore], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The mean of one list divided by that of another, such as the share of a loss that was
    regained, with a 95% bootstrap interval (percentiles) over entities and seeds.

    Draws in which the divisor is not above zero say nothing about the share and are left out: ask
    first whether the divisor differs from zero. Raises PairingError when the lists are not about
    the same items and seeds, or the divisor's mean is not above zero.
    """
    aligned = combined([(1, above), (0, below)])
    values = {(score.id, score.seed): score.score for score in below}
    seeds, entities, whole, drawn = _drawn(
        aligned,
        ([one.score for one in aligned], [values[one.id, one.seed] for one in aligned]),
        draws,
        seed,
    )
    if whole[1].sum() <= 0:
        raise PairingError("the mean to divide by is not above zero, so there is no share of it")
    shares = drawn[0][drawn[1] > 0] / drawn[1][drawn[1] > 0]
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        float(whole[0].sum() / whole[1].sum()),
        float(low),
        float(high),
        len(aligned),
        len(entities),
        len(seeds),
    )


def _drawn(
    scores: Sequence[ItemScore], columns: Sequence[Sequence[float]], draws: int, seed: int
) -> tuple[list, list, np.ndarray, np.ndarray]:
    """Of several numbers a score (columns): the seeds, the entities, the sums per seed and entity
    [columns, seeds, entities], and the sums of bootstrap draws of both [columns, draws].
    """
    seeds = sorted({score.seed for score in scores})
    entities = sorted({score.entity for score in scores})
    row, place = {s: i for i, s in enumerate(seeds)}, {e: i for i, e in enumerate(entities)}
    sums = np.zeros((len(columns), len(seeds), len(entities)))
    for number, score in enumerate(scores):
        for column, values in enumerate(columns):
            sums[column, row[score.seed], place[score.entity]] += values[number]
    rng = np.random.default_rng(seed)
    seed_weights = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=draws)
    entity_weights = rng.multinomial(
        len(entities), np.full(len(entities), 1 / len(entities)), size=draws
    )
    drawn = [np.einsum("ds,se,de->d", seed_weights, one, entity_weights) for one in sums]
    return seeds, entities, sums, np.array(drawn)


def _possible(values: Sequence[float]) -> tuple[float, float]:
    """What a mean could be: scores lie in [0, 1], their differences in [-1, 1], anything else
    anywhere.
    """
    if max(map(abs, values)) > 1:
        return -math.inf, math.inf
    return (-1.0 if min(values) < 0 else 0.0), 1.0


def _few_clusters(totals: np.ndarray, counts: np.ndarray) -> float:
    """By how much a bootstrap interval over (seeds, entities) is too narrow: a t quantile and n /
    (n - 1), at least 1.

    Degrees of freedom are Satterthwaite's for the sum of the two variances (Satterthwaite 1946, doi
    10.2307/3002019).
    """
    from scipy.special import stdtrit

    residuals = (totals - counts * totals.sum() / counts.sum()) / counts.sum()
    drawn = expected = spread = 0.0
    for axis in (0, 1):
        clusters = residuals.shape[1 - axis]
        if clusters > 1:
            variance = float((residuals.sum(axis=axis) ** 2).sum())
            corrected = variance * clusters / (clusters - 1)
            drawn, expected, spread = (
                drawn + variance,
                expected + corrected,
                spread + corrected**2 / (clusters - 1),
            )
    if drawn == 0:
        return 1.0
    return (
        float(stdtrit(expected**2 / spread, (1 + LEVEL) / 2))
        / Z_LEVEL
        * math.sqrt(expected / drawn)
    )


def paired_difference(
    before: Sequence[ItemScore], after: Sequence[ItemScore], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean of after - before over the same items and seeds, with its clustered 95% interval.

    Raises PairingError naming the first (id, seed) that only one side has.
    """
    return cluster_mean(paired_scores(before, after), draws=draws, seed=seed)


def paired_scores(before: Sequence[ItemScore], after: Sequence[ItemScore]) -> list[ItemScore]:
    """after - before, item by item. Raises PairingError as above."""
    left = {(score.id, score.seed): score for score in before}
    right = {(score.id, score.seed): score for score in after}
    alone = sorted(left.keys() ^ right.keys())
    if alone:
        raise PairingError(
            f"item {alone[0][0]!r} (seed {alone[0][1]}) is on one side only; evaluate "
            "both on the same pack and split"
        )
    return [
        ItemScore(score.id, score.entity, right[key].score - score.score, score.seed)
        for key, score in left.items()
    ]


def average(first: Sequence[ItemScore], second: Sequence[ItemScore]) -> list[ItemScore]:
    """Per item the mean of two checkpoints' scores, in the first one's order.

    Raises PairingError as above.
    """
    other = {(score.id, score.seed): score.score for score in second}
    if other.keys() != {(score.id, score.seed) for score in first}:
        raise PairingError(
            "the two scorecards hold different items; evaluate both on the same pack and split"
        )
    return [ItemScore(s.id, s.entity, (s.score + other[s.id, s.seed]) / 2, s.seed) for s in first]


def combined(parts: Sequence[tuple[float, Sequence[ItemScore]]]) -> list[ItemScore]:
    """The weighted sum of several score lists, item by item and seed by seed: a contrast to be
    averaged by cluster_mean.

    Raises PairingError when the lists are not about the same items and seeds.
    """
    tables = [
        (weight, {(score.id, score.seed): score for score in scores}) for weight, scores in parts
    ]
    first = tables[0][1]
    if any(table.keys() != first.keys() for _, table in tables):
        raise PairingError(
            "these scores are about different items or seeds, so they cannot be combined"
        )
    return [
        replace(score, score=sum(weight * table[key].score for weight, table in tables))
        for key, score in first.items()
    ]


def standard_error(scores: Sequence[ItemScore], *, seed: int = 0) -> float:
    """Standard error of the mean, from the same clustered bootstrap as the interval."""
    found = cluster_mean(scores, seed=seed)
    return (found.high - found.low) / (2 * Z_LEVEL)


def minimum_detectable_effect(se: float, *, power: float = 0.8, comparisons: int = 1) -> float:
    """The smallest true difference that a 95% interval tells from zero with probability `power`.

    se: standard error of the difference. comparisons: how many are corrected together; the figure
    is then for the strictest step of the correction, and never too small. Source: Miller 2024,
    arXiv 2411.00640, section 5.
    """
    return _errors_away(power, comparisons) * se


def _errors_away(power: float, comparisons: int) -> float:
    """How many standard errors from zero a difference must lie to be seen with this power."""
    return _normal_quantile(power) - _normal_quantile((1 - LEVEL) / 2 / comparisons)


def items_needed(
    effect: float,
    per_cluster_deviation: float,
    *,
    items_per_cluster: float = 1.0,
    power: float = 0.8,
    comparisons: int = 1,
) -> int:
    """How many items tell a difference of `effect` from zero, rounded up to whole clusters.

    per_cluster_deviation: standard deviation, over clusters (entities), of the mean difference in a
    cluster. comparisons: as above. Raises InputError when effect is not positive.
    """
    if effect <= 0:
        raise InputError(
            f"effect is {effect:g}; give the size of the difference you want to see, above 0"
        )
    clusters = (_errors_away(power, comparisons) * per_cluster_deviation / effect) ** 2
    return math.ceil(math.ceil(clusters) * items_per_cluster)


def power_of(
    differences: Sequence[ItemScore], *, effect: float | None = None, comparisons: int = 1
) -> Power:
    """What a comparison could have seen, and what it would take to see `effect` (by default half of
    that).

    differences: per item, after - before, as `paired_scores` gives them. comparisons: how many are
    corrected together.
    """
    means: dict[str, list[float]] = {}
    for score in differences:
        means.setdefault(score.entity, []).append(score.score)
    seen = minimum_detectable_effect(standard_error(differences), comparisons=comparisons)
    wanted = effect or seen / 2
    if len(means) < 2:
        return Power(seen, wanted, None)
    deviation = float(np.std([np.mean(values) for values in means.values()], ddof=1))
    needed = (
        items_needed(
            wanted,
            deviation,
            items_per_cluster=len(differences) / len(means),
            comparisons=comparisons,
        )
        if wanted
        else len(differences)
    )
    return Power(seen, wanted, needed)


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for having looked several times.

    Source: Holm 1979, jstor.org/stable/4615733.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion. Source: Wilson 1927, doi 10.2307/2276774."""
    if n <= 0:
        raise PairingError("a proportion of nothing has no interval: n must be at least 1")
    z = Z_LEVEL
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test from the two discordant counts.

    Source: doi 10.1007/BF02295996.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return 1.0 if discordant == 0 else float(binomtest(only_first, discordant, 0.5).pvalue)


def verdict(difference: Interval, *, claimed: int = 1) -> str:
    """`supported`, `contradicted` or `not distinguishable`, for a claim that the difference has
    sign `claimed`.
    """
    if difference.low > 0:
        return "supported" if claimed > 0 else "contradicted"
    if difference.high < 0:
        return "supported" if claimed < 0 else "contradicted"
    return NOT_DISTINGUISHABLE


def told_verdict(said: str, difference: Interval, compared: int) -> str:
    """The verdict on one of several differences that were corrected together, as people read it.

    said: the verdict after Holm's correction. compared: how many; 0 in records that do not say.
    Where the interval alone leaves zero out and only the correction takes the verdict away, that is
    told: a reader would see a contradiction.
    """
    if said == NOT_DISTINGUISHABLE and verdict(difference) != NOT_DISTINGUISHABLE:
        how_many = f" for {compared} comparisons" if compared else ""
        return f"{said} (not after correction{how_many})"
    return said


def with_run_noise(difference: Interval, noise: RunNoise) -> Interval:
    """A difference between one run of each recipe, widened by what two runs of one recipe differ by
    anyway.

    The interval of two single runs speaks of these two checkpoints; a claim about recipes needs
    this one.
    """
    from scipy.special import stdtrit

    between = float(stdtrit(noise.degrees, (1 + LEVEL) / 2)) * math.sqrt(2) * noise.deviation
    low, high = (
        math.hypot(end - difference.mean, between) for end in (difference.low, difference.high)
    )
    return replace(
        difference,
        low=max(-1.0, difference.mean - low),
        high=min(1.0, difference.mean + high),
        with_seeds=True,
    )


def run_noise(groups: Sequence[Sequence[float]]) -> RunNoise:
    """Pooled deviation of means over training seeds; each group holds the means of one recipe's
    runs on one pack.

    Raises PairingError when no group has two runs.
    """
    degrees = sum(len(group) - 1 for group in groups)
    if degrees < 1:
        raise PairingError("no recipe was run twice: the noise between runs cannot be measured")
    return RunNoise(
        math.sqrt(sum(float(np.var(group)) * len(group) for group in groups) / degrees), degrees
    )


def p_value(difference: Interval) -> float:
    """Two-sided p of a difference being zero, from the width of its interval; 1 when it is exactly
    zero.
    """
    from scipy.special import ndtr

    se = (difference.high - difference.low) / (2 * Z_LEVEL)
    return float(2 * ndtr(-abs(difference.mean) / se)) if se else float(difference.mean == 0)


def calibration_error(
    confidences: Sequence[float], right: Sequence[float], *, bins: int = 10
) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins,
    weighted by their size.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """
    confidence, correct = np.asarray(confidences, float), np.asarray(right, float)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[place == b].sum() - correct[place == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(confidence))
