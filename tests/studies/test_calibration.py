"""The counting of null comparisons; the rates themselves are in docs/evidence.md."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import RunNoise, run_noise
from labkit.course.study import Unit
from labkit.evaluate.scorecards import ItemResult, Scorecard
from studies import calibration


def cards(count, *, between, seed=0):
    """Runs of one recipe: each draws its own mean per axis around 0.5, and items around that."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        items = []
        for axis in AXES + CONTROLS:
            mean = np.clip(0.5 + rng.normal(0, between), 0.02, 0.98)
            items += [
                ItemResult(
                    f"{axis}{i}", axis, axis, f"{axis}e{i // 4}", float(rng.random() < mean), ""
                )
                for i in range(120)
            ]
        made.append(Scorecard("x", "p", "test", "", items))
    return made


def test_only_the_rule_that_knows_the_noise_between_runs_keeps_to_its_rate():
    noise = {axis: RunNoise(0.1, 12) for axis in AXES + CONTROLS}
    by_items, by_runs = calibration.single_run_nulls(cards(10, between=0.1), noise)
    assert by_items.comparisons == by_runs.comparisons == 45 * len(AXES + CONTROLS)
    assert by_items.rate > 0.3 and by_runs.rate <= 0.05


def test_several_runs_against_several_keep_to_the_rate():
    found = calibration.several_run_null(cards(12, between=0.1, seed=1))
    assert found.comparisons == calibration.DRAWS * len(AXES + CONTROLS) and found.rate <= 0.07


def test_one_checkpoint_against_itself(instruct, materials):
    found = calibration.sampling_null(instruct, materials, samples=2, limit=10)
    assert found.comparisons == 210 and found.rate <= 0.1


def test_noise_is_that_of_the_noisiest_recipe_pooled_over_packs():
    units = []
    for pack in ("a", "b"):
        for seed in range(4):
            made = {label: cards(1, between=0.0, seed=seed)[0] for label in calibration.NOISE_FROM}
            made["overcooked"] = cards(1, between=0.2, seed=10 * seed + (pack == "a"))[0]
            units.append(Unit(pack, seed, made))
    found = calibration.noise_between_runs(units)
    assert set(found) >= set(AXES + CONTROLS) and found["knowledge"].degrees == 6
    assert 0.1 < np.mean([found[axis].deviation for axis in AXES + CONTROLS]) < 0.3
    assert run_noise([[0.0, 1.0], [0.0, 1.0]]) == RunNoise(pytest.approx(2**-0.5), 2)
