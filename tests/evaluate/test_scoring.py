from __future__ import annotations

import pytest

from labkit.evaluate import scoring
from labkit.evaluate.scorecards import ItemResult, Scorecard
from labkit.models import zoo


def test_second_time_is_read_back(materials, monkeypatch):
    first = scoring.score_checkpoint(
        "llama-s-instruct", materials, split="dev", profile_name="smoke", name="a"
    )
    monkeypatch.setattr(scoring, "evaluate", lambda *args, **kwargs: pytest.fail("scored twice"))
    again = scoring.score_checkpoint(
        "llama-s-instruct", materials, split="dev", profile_name="smoke", name="b"
    )
    assert again.items == first.items and (first.checkpoint, again.checkpoint) == ("a", "b")


def test_a_score_of_an_answer_beyond_ascii_is_not_read_back_from_before():
    """Version 5 once scored these answers 0; keys of other scorecards are as they were."""
    loaded = zoo.load("llama-s-base")
    assert scoring._rescored(loaded, [{"answer": "silk"}, {"checks": ["json"]}]) == {}
    assert scoring._rescored(loaded, [{"answer": "silk"}, {"answer": "丝绸"}]) == {"rescored": 1}
    of_hub = zoo.Loaded(loaded.model, loaded.tokenizer, "owner/name", "owner/name@1f")
    assert scoring._rescored(of_hub, [{"answer": "silk"}]) == {"rescored": 1}


def test_half_a_scorecard_is_scored_again(materials):
    first = scoring.score_checkpoint(
        "llama-s-base", materials, split="dev", axes=("general",), profile_name="smoke"
    )
    path = next(scoring.scorecards_folder().glob("*.json"))
    path.write_text(path.read_text()[:50])
    again = scoring.score_checkpoint(
        "llama-s-base", materials, split="dev", axes=("general",), profile_name="smoke"
    )
    assert again.items == first.items


def test_sweep_ends_are_the_parents(materials):
    general, domain = zoo.load("llama-s-instruct"), zoo.load("llama-s-base")
    swept = scoring.sweep_merge(
        general,
        domain,
        materials,
        split="dev",
        axes=("general",),
        ts=(0.0, 0.5, 1.0),
        profile_name="smoke",
    )
    for points in swept.values():
        assert (
            points[0][1].items
            == scoring.score_checkpoint(
                general, materials, split="dev", axes=("general",), profile_name="smoke"
            ).items
        )
        assert (
            points[-1][1].items
            == scoring.score_checkpoint(
                domain, materials, split="dev", axes=("general",), profile_name="smoke"
            ).items
        )
    assert list(swept) == ["slerp", "lerp"]


def test_best_t_prefers_the_middle_of_equals():
    def card(score):
        return Scorecard("", "", "dev", "", [ItemResult("a", "knowledge", "k", "e", score, "")])

    assert scoring.best_t([(0.1, card(1)), (0.6, card(1)), (0.9, card(0))], "knowledge") == 0.6


def test_the_same_weights_read_through_another_template_are_scored_anew(materials):
    import copy
    from dataclasses import replace

    from labkit.train.pipeline import load_checkpoint

    right = load_checkpoint("llama-s-instruct")
    wrong = replace(right, tokenizer=copy.deepcopy(right.tokenizer))
    wrong.tokenizer.chat_template = (
        "{%- for message in messages -%}{{ message['content'] }}{%- endfor -%}"
    )
    first, second = (
        scoring.score_checkpoint(
            loaded, materials, split="dev", axes=["general"], profile_name="smoke"
        )
        for loaded in (right, wrong)
    )
    assert first.items != second.items
