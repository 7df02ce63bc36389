"""docs/judge.md says what was measured, and the planted proposals are what the study says."""

from __future__ import annotations

from pathlib import Path

from labkit.data.packs import load_pack, samples_folder
from labkit.evaluate import judge as kit
from studies import judge as study

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_records_make(tmp_path):
    study.write_page(samples_folder("measured"), tmp_path / "judge.md")
    page = (ROOT / "docs" / "judge.md").read_text("utf-8")
    assert (tmp_path / "judge.md").read_text("utf-8") == page and "{" not in page


def test_planted_proposals_are_right_in_about_half_whatever_their_length():
    cards = [study.planted(load_pack(study.PACK), name) for name in study.WORDS]
    for card in cards:
        assert len(card.items) == study.REQUESTS
        assert 0.3 <= card.interval(kit.AXIS).mean <= 0.7
    pairs = kit.pairs_of(load_pack(study.PACK), cards).pairs
    assert all(len(pair.answers[0]) < len(pair.answers[1]) for pair in pairs)
    assert {pair.truth for pair in pairs} == {0.0, 0.5, 1.0}
