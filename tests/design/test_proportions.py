from __future__ import annotations

import numpy as np
import pytest

from labkit.base.stats import mcnemar
from labkit.design.vendor import (
    best_of_chance,
    best_of_lead,
    most_differing,
    newcombe,
    overlap_bounds,
    paired_phi,
)


@pytest.mark.parametrize(
    "counts,low,high",  # Newcombe 1998, Stat. Med. 17:873, Table II, method 10
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((5, 56, 0, 29), -0.0381, 0.1926),
    ],
)
def test_independent_intervals_are_newcombes(counts, low, high):
    assert newcombe(*counts) == pytest.approx((low, high), abs=5e-5)


def test_paired_interval_is_the_textbooks():
    # Altman et al. 2000, Statistics with Confidence, Table 6.2: 0.011 to 0.226.
    assert newcombe(19, 41, 14, 41, phi=paired_phi(14, 5, 0, 22)) == pytest.approx(
        (0.011, 0.226), abs=5e-4
    )


def test_phi_of_nothing_and_of_opposites():
    assert paired_phi(10, 0, 0, 0) == 0
    assert paired_phi(0, 5, 5, 0) == -1


def test_overlap_is_bounded_by_both_totals():
    assert overlap_bounds(10, 7, 5) == (2, 5)
    assert overlap_bounds(10, 5, 7) == (0, 3)


def test_most_differing_is_the_last_that_stands_out():
    limit = most_differing(200, 130, 110)
    only = (limit + 20) // 2
    assert mcnemar(only, only - 20) <= 0.05 < mcnemar(only + 1, only + 1 - 20)


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_best_of_several_agrees_with_drawing(alike):
    rng = np.random.default_rng(0)
    n, share, variants, draws = 200, 0.8, 12, 40_000
    own = round(n * (1 - alike))
    best = rng.binomial(own, share, (draws, variants)).max(1)
    assert best_of_lead(variants, n, share, alike=alike) == pytest.approx(
        (best - own * share).mean() / n, abs=5e-4
    )
    ahead = (best - rng.binomial(own, share, draws) >= 12).mean()
    assert best_of_chance(variants, 166, n, 154, n, same_items=True, alike=alike) == pytest.approx(
        ahead, abs=0.006
    )


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_best_of_several_on_other_items_agrees_with_drawing(alike):
    rng = np.random.default_rng(1)
    n, other_n, draws = 200, 150, 40_000
    share, own = (166 + 114) / 350, round(n * (1 - alike))
    best = rng.binomial(n - own, share, draws) + rng.binomial(own, share, (draws, 8)).max(1)
    ahead = (
        best / n - rng.binomial(other_n, share, draws) / other_n >= 166 / n - 114 / other_n - 1e-9
    ).mean()
    assert best_of_chance(8, 166, n, 114, other_n, same_items=False, alike=alike) == pytest.approx(
        ahead, abs=0.006
    )


def test_choosing_among_one_or_among_copies_gains_nothing():
    assert best_of_lead(1, 100, 0.7) == pytest.approx(0, abs=1e-12)
    assert best_of_lead(50, 100, 0.7, alike=1.0) == 0
    assert best_of_chance(50, 80, 100, 70, 100, same_items=True, alike=1.0) == 0
    assert best_of_lead(50, 100, 0.7) > best_of_lead(5, 100, 0.7) > 0


def test_shares_at_the_ends():
    assert best_of_lead(20, 50, 1.0) == 0
    assert best_of_chance(3, 50, 50, 50, 50, same_items=True) == 1
