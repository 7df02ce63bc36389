"""The study itself, small: one pack, one seed, smoke.

The figures of docs/evidence.md come from `study`.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console
from small import few_rows

from labkit.base import records
from labkit.base.stats import Interval
from labkit.course import study
from labkit.evaluate.scorecards import ItemResult, Scorecard
from studies import calibration, evidence


def unit(pack, seed, **cards):
    made = {
        label: Scorecard(
            label,
            pack,
            "test",
            "",
            [
                ItemResult(f"i{i}", "knowledge", "free", f"e{i}", float(v), "")
                for i, v in enumerate(values)
            ],
        )
        for label, values in cards.items()
    }
    return study.Unit(pack, seed, made)


def test_synergy_is_against_the_better_parent_of_each_unit():
    units = [
        unit("a", 0, instruct=[1, 0, 0, 0], overcooked=[1, 1, 0, 0], slerp=[1, 1, 1, 0]),
        unit("b", 0, instruct=[1, 1, 1, 0], overcooked=[0, 0, 0, 0], slerp=[1, 1, 0, 0]),
    ]
    assert study.synergy("slerp", "knowledge")(units).mean == pytest.approx((0.25 - 0.25) / 2)
    assert study.over_mean("slerp", "knowledge")(units).mean == pytest.approx(
        ((3 - 1.5) / 4 + (2 - 1.5) / 4) / 2
    )


def test_same_item_ids_in_two_packs_are_different_items():
    units = [unit("a", 0, x=[1]), unit("b", 0, x=[0])]
    assert len({score.id for score in study.pooled(units, "x", "knowledge")}) == 2


def test_words_follow_the_numbers():
    claim = study.Claim("x", None, 0.8)
    assert study.said(claim, Interval(0.79, 0.7, 0.9, 9, 9)) == "not reached"
    assert study.said(claim, Interval(0.8, 0.7, 0.9, 9, 9)) == "reached"
    free = study.Claim("x", None, difference=True)
    assert study.said(free, Interval(-0.2, -0.3, -0.1, 9, 9)) == "below zero"
    chance = study.Claim("x", None, chance=True)
    assert study.said(chance, Interval(0.09, 0.05, 0.13, 9, 9)) == "at chance"
    assert study.said(chance, Interval(0.3, 0.2, 0.4, 9, 9)).startswith("not at chance")


def test_smoke_study_writes_page_and_records_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        study, "SWEEP", (0.0, 0.5, 1.0)
    )  # fewer merges to score: what is tested is that all is written
    whole = study.train_arm

    def train_small(arm, *how):
        return whole(replace(arm, stages=few_rows(arm.stages)), *how)

    for module in (study, evidence, calibration):
        monkeypatch.setattr(module, "train_arm", train_small)
    page = tmp_path / "evidence.md"
    arguments = {
        "profile_name": "smoke",
        "out_dir": tmp_path / "out",
        "page": page,
        "measured": tmp_path / "measured",
        "console": Console(quiet=True),
        "packs": ["materials"],
    }
    evidence.run_study(**arguments)
    text = page.read_text()
    assert all(claim.words in text for claim in study.CLAIMS)
    assert len(records.read(tmp_path / "out", "finding")) == len(study.CLAIMS)
    assert len(records.read(tmp_path / "out", "claim")) == len(study.REGISTER)
    assert all(lesson.words in text for lesson in study.REGISTER)
    assert "knowledge/free" in json.loads((tmp_path / "measured" / "run_noise.json").read_text())
    assert (tmp_path / "pareto.png").stat().st_size > 10_000
    from labkit.train import pipeline

    monkeypatch.setattr(
        pipeline, "train_stage", lambda *args, **kwargs: pytest.fail("trained twice")
    )
    evidence.run_study(**arguments)
    assert page.read_text() == text
