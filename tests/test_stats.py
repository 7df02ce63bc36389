from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import InputError, PairingError
from labkit.stats import Interval, ItemScore, average, cluster_mean, holm, items_needed, minimum_detectable_effect, power_of, standard_error, mcnemar, paired_difference, verdict, wilson


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
    paired = cluster_mean([ItemScore(f"i{k}", f"e{k // 25}", float(v)) for k, v in enumerate(values)])
    assert paired.high - paired.low > 2 * (alone.high - alone.low)


def test_seeds_widen_the_interval():
    rng = np.random.default_rng(0)
    base = rng.random(60) < 0.5
    steady = [s for seed in range(5) for s in scores(base, seed=seed)]
    moody = [s for seed in range(5) for s in scores(base * 0 + seed % 2, seed=seed)]
    assert cluster_mean(moody).high - cluster_mean(moody).low > cluster_mean(steady).high - cluster_mean(steady).low
    assert cluster_mean(steady).seeds == 5


def test_coverage_of_clustered_intervals():
    """Over 200 draws of 40 entities the 95% interval holds the truth about 95 times in 100."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        chance = rng.beta(2, 2, size=40)
        drawn = [ItemScore(f"{e}-{k}", f"e{e}", float(rng.random() < p)) for e, p in enumerate(chance) for k in range(5)]
        held += cluster_mean(drawn, draws=400).holds(0.5)
    assert 0.88 <= held / 200 <= 0.99


def test_pairing():
    before, after = scores([0, 0, 1, 1]), scores([1, 0, 1, 1])
    assert paired_difference(before, after).mean == 0.25
    assert paired_difference(before, before).low == paired_difference(before, before).high == 0
    with pytest.raises(PairingError, match="'i3' .seed 0. is on one side only"):
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
