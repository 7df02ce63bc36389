from __future__ import annotations

from collections import Counter

from labkit import everyday, zoo


def test_items_are_well_formed_and_the_same_every_time():
    items = everyday.everyday_items()
    assert items == everyday.everyday_items() and len(items) >= 150
    assert len({item["id"] for item in items}) == len(items)
    for item in items:
        assert len(set(item["choices"])) == everyday.CHOICES and item["answer"] in item["choices"]
        assert "{" not in item["prompt"]


def test_splits_share_no_item_and_every_group_is_in_both():
    dev, test = everyday.everyday_items("dev"), everyday.everyday_items("test")
    assert {item["id"] for item in dev} | {item["id"] for item in test} == {item["id"] for item in everyday.everyday_items()}
    assert len(dev) + len(test) == len(everyday.everyday_items())
    assert {item["kind"] for item in dev} == {item["kind"] for item in test}


def test_the_right_answer_has_no_favourite_place():
    places = Counter(item["choices"].index(item["answer"]) for item in everyday.everyday_items())
    assert max(places.values()) < 2 * min(places.values())


def test_a_model_of_another_world_is_near_chance(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    card = everyday.score_everyday(zoo.load("llama-s-base"), "tiny")
    assert card.checkpoint == "tiny" and card.interval(everyday.AXIS).mean < 0.45
    assert everyday.score_everyday(zoo.load("llama-s-base")).items == card.items
