from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labkit.base.errors import InputError, PairingError
from labkit.base.stats import (
    Interval,
    ItemScore,
    RunNoise,
    average,
    calibration_error,
    cluster_mean,
    holm,
    items_needed,
    mcnemar,
    minimum_detectable_effect,
    p_value,
    paired_difference,
    power_of,
    ratio_of_means,
    run_noise,
    standard_error,
    told_verdict,
    verdict,
    wilson,
    with_run_noise,
)


def scores(values, *, seed=0, entity=None):
    return [ItemScore(f"i{k}", entity or f"e{k}", float(v), seed) for k, v in enumerate(values)]


def test_known_answers():
    assert mcnemar(10, 2) == pytest.approx(0.0386, abs=1e-4)
    assert mcnemar(0, 0) == 1.0
    low, high = wilson(0, 10)
    assert low == 0 and high == pytest.approx(0.278, abs=1e-3)


def test_mean_and_counts():
    found = cluster_mean(scores([1, 0, 1, 1]))
    assert found.mean == 0.75 and (found.n, found.clusters, found.seeds) == (4, 4, 1)
    assert found.low <= found.mean <= found.high


def test_items_of_one_entity_are_one_cluster():
    values = [1] * 50 + [0] * 50
    alone = cluster_mean(scores(values))
    paired = cluster_mean(
        [ItemScore(f"i{k}", f"e{k // 25}", float(v)) for k, v in enumerate(values)]
    )
    assert paired.high - paired.low > 2 * (alone.high - alone.low)


def test_seeds_widen_the_interval():
    rng = np.random.default_rng(0)
    base = rng.random(60) < 0.5
    steady = [s for seed in range(5) for s in scores(base, seed=seed)]
    moody = [s for seed in range(5) for s in scores(base * 0 + seed % 2, seed=seed)]
    assert (
        cluster_mean(moody).high - cluster_mean(moody).low
        > cluster_mean(steady).high - cluster_mean(steady).low
    )
    assert cluster_mean(steady).seeds == 5


def test_coverage_of_clustered_intervals():
    """Over 200 draws of 40 entities the 95% interval holds the truth about 95 times in 100."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        chance = rng.beta(2, 2, size=40)
        drawn = [
            ItemScore(f"{e}-{k}", f"e{e}", float(rng.random() < p))
            for e, p in enumerate(chance)
            for k in range(5)
        ]
        held += cluster_mean(drawn, draws=400).holds(0.5)
    assert 0.88 <= held / 200 <= 0.99


def test_pairing():
    before, after = scores([0, 0, 1, 1]), scores([1, 0, 1, 1])
    assert paired_difference(before, after).mean == 0.25
    same = scores([0, 0, 1, 1, 0, 1])
    assert paired_difference(same, same).low == paired_difference(same, same).high == 0
    with pytest.raises(PairingError, match=r"'i3' .seed 0. is on one side only"):
        paired_difference(before, after[:3])
    with pytest.raises(PairingError, match="no items"):
        cluster_mean([])


def test_verdicts():
    def at(low, high):
        return Interval((low + high) / 2, low, high, 10, 10)

    assert verdict(at(0.1, 0.2)) == "supported"
    assert verdict(at(-0.2, -0.1)) == "contradicted"
    assert verdict(at(-0.2, -0.1), claimed=-1) == "supported"
    assert verdict(at(0.1, 0.2), claimed=-1) == "contradicted"
    assert verdict(at(-0.1, 0.1)) == "not distinguishable"


def test_average_is_per_item_whatever_the_order():
    first = [ItemScore("a", "e", 1.0), ItemScore("b", "e", 0.0)]
    second = [ItemScore("b", "e", 1.0), ItemScore("a", "e", 0.0, 0)]
    assert [score.score for score in average(first, second)] == [0.5, 0.5]
    with pytest.raises(PairingError, match="different items"):
        average(first, second[:1])


def test_known_minimum_detectable_effect_and_items():
    # (1.96 + 0.8416) = 2.8016 standard errors at 80% power
    assert minimum_detectable_effect(0.01) == pytest.approx(0.028016, abs=1e-6)
    assert items_needed(0.1, 0.5) == 197  # (2.8016 * 0.5 / 0.1)^2 = 196.2
    assert items_needed(0.1, 0.5, items_per_cluster=3) == 591
    with pytest.raises(InputError, match="effect is 0"):
        items_needed(0, 0.5)


def test_standard_error_is_the_textbooks_where_items_are_independent():
    rng = np.random.default_rng(0)
    drawn = scores(rng.normal(0, 1, 400))
    assert standard_error(drawn) == pytest.approx(1 / 20, rel=0.1)


def test_power_says_what_was_seen_and_what_would_be_needed():
    rng = np.random.default_rng(1)
    found = power_of(scores(rng.normal(0, 0.5, 100)))
    assert found.detectable == pytest.approx(2.8016 * 0.05, rel=0.2)
    assert found.wanted == found.detectable / 2 and found.needed == pytest.approx(400, rel=0.25)
    assert power_of(scores([0.0] * 10)).detectable == 0


def test_holm_known_answer():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_few_clusters_are_widened_by_the_t_quantile():
    """Five seeds that differ and nothing else: the interval is mean +- 2.776 * s / sqrt(5)."""
    values = [0.1, 0.3, 0.5, 0.7, 0.9]
    found = cluster_mean(
        [
            ItemScore(f"i{k}", f"e{k}", value, seed)
            for seed, value in enumerate(values)
            for k in range(50)
        ]
    )
    half = 2.776 * np.std(values, ddof=1) / np.sqrt(5)
    assert found.mean == pytest.approx(0.5)
    assert found.low == pytest.approx(
        max(0.1, 0.5 - half), abs=0.02
    ) and found.high == pytest.approx(min(0.9, 0.5 + half), abs=0.02)


def test_coverage_with_five_seeds():
    """Over 300 draws of five runs that truly differ, the 95% interval holds the truth at least 92
    times in 100.
    """
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        means, entities = 0.5 + rng.normal(0, 0.05, 5), rng.normal(0, 0.1, 30)
        drawn = [
            ItemScore(f"{e}", f"e{e}", float(rng.normal(means[s] + entities[e], 0.2)), s)
            for s in range(5)
            for e in range(30)
        ]
        held += cluster_mean(drawn, draws=400).holds(0.5)
    assert held / 300 >= 0.92


def test_one_entity_tells_nothing_of_others():
    alone = cluster_mean(scores([1, 1, 1], entity="only"))
    assert (alone.mean, alone.low, alone.high) == (1, 0, 1)
    assert (
        verdict(paired_difference(scores([0, 0], entity="only"), scores([1, 1], entity="only")))
        == "not distinguishable"
    )
    assert (
        verdict(paired_difference(scores([1] * 5), scores([0] * 5))) == "not distinguishable"
    )  # the sign test's p is 2 / 32
    assert verdict(paired_difference(scores([1] * 6), scores([0] * 6))) == "contradicted"
    assert cluster_mean(scores([6, 7], entity="only")).high == np.inf
    assert power_of(scores([1, 0], entity="only")).needed is None


def test_noise_between_runs_widens_a_difference_and_stays_in_range():
    found = with_run_noise(Interval(0.3, 0.2, 0.4, 100, 20), RunNoise(0.05, 12))
    half = np.hypot(0.1, 2.179 * np.sqrt(2) * 0.05)
    assert found.low == pytest.approx(0.3 - half, abs=1e-3) and found.high == pytest.approx(
        0.3 + half, abs=1e-3
    )
    assert with_run_noise(Interval(0.9, 0.8, 0.95, 9, 9), RunNoise(0.5, 2)).high == 1
    assert (
        found.covers == "items and seeds" and Interval(0.3, 0.2, 0.4, 9, 9).covers == "items only"
    )
    with pytest.raises(PairingError, match="no recipe was run twice"):
        run_noise([[0.5], [0.7]])


@pytest.mark.parametrize(
    ("said", "low", "told"),
    [
        (
            "not distinguishable",
            0.06,
            "not distinguishable (not after correction for 36 comparisons)",
        ),
        ("not distinguishable", -0.06, "not distinguishable"),
        ("supported", 0.06, "supported"),
    ],
)
def test_a_verdict_that_only_the_correction_takes_away_says_so(said, low, told):
    assert told_verdict(said, Interval(0.25, low, 0.49, 9, 9), 36) == told


def test_p_value_agrees_with_the_interval():
    rng = np.random.default_rng(2)
    for shift in (0.0, 0.3):  # away from the border, where a bootstrap and a normal p may part
        drawn = scores(rng.normal(shift, 0.5, 120))
        assert (p_value(cluster_mean(drawn)) < 0.05) == (
            verdict(cluster_mean(drawn)) != "not distinguishable"
        )
    assert p_value(cluster_mean(scores([0.0] * 9))) == 1


def test_calibration_known_answers():
    assert calibration_error([0.75] * 4, [1, 1, 1, 0]) == 0
    assert calibration_error([1.0] * 4, [0, 0, 0, 0]) == 1
    assert calibration_error([0.95, 0.15], [0, 0]) == pytest.approx(0.55)


def test_a_share_is_a_ratio_of_means_over_the_same_draws():
    lost = [ItemScore(f"i{n}", f"e{n}", 0.2 + n % 3 / 10, n % 2) for n in range(40)]
    back = [replace(score, score=score.score / 2) for score in lost]
    half = ratio_of_means(back, lost)
    assert (half.mean, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (half.n, half.clusters, half.seeds) == (40, 40, 2)
    noisy = [replace(score, score=score.score * (n % 2)) for n, score in enumerate(lost)]
    share = ratio_of_means(noisy, lost)
    assert share.low < share.mean < share.high and 0 < share.mean < 1
    with pytest.raises(PairingError, match="no share of it"):
        ratio_of_means(back, [replace(score, score=0.0) for score in lost])
    with pytest.raises(PairingError, match="different items"):
        ratio_of_means(back[1:], lost)
