from __future__ import annotations

from collections import Counter

from labkit.data.items import CHOICES
from labkit.evaluate import scoring
from labkit.models import zoo


def test_items_are_well_formed_and_the_same_every_time():
    items = scoring.everyday_items()
    assert items == scoring.everyday_items() and len(items) >= 150
    assert len({item["id"] for item in items}) == len(items)
    for item in items:
        assert len(set(item["choices"])) == CHOICES and item["answer"] in item["choices"]
        assert "{" not in item["prompt"]


def test_splits_share_no_item_and_every_group_is_in_both():
    dev, test = scoring.everyday_items("dev"), scoring.everyday_items("test")
    assert {item["id"] for item in dev} | {item["id"] for item in test} == {
        item["id"] for item in scoring.everyday_items()
    }
    assert len(dev) + len(test) == len(scoring.everyday_items())
    assert {item["kind"] for item in dev} == {item["kind"] for item in test}


def test_the_right_answer_has_no_favourite_place():
    places = Counter(item["choices"].index(item["answer"]) for item in scoring.everyday_items())
    assert max(places.values()) < 2 * min(places.values())


def test_a_model_of_another_world_is_near_chance(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    card = scoring.score_everyday(zoo.load("llama-s-base"), "tiny")
    assert card.checkpoint == "tiny" and card.interval("general").mean < 0.45
    assert scoring.score_everyday(zoo.load("llama-s-base")).items == card.items
