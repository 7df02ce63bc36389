from __future__ import annotations

import pytest

from labkit.base.errors import MergeError
from labkit.merge import schedule
from labkit.merge.schedule import PRESETS, Part, Weights

NAMES = [
    "model.embed_tokens.weight",
    *(
        f"model.layers.{i}.{part}.weight"
        for i in range(5)
        for part in ("self_attn.q_proj", "mlp.up_proj", "input_layernorm")
    ),
    "model.norm.weight",
    "lm_head.weight",
]


def test_the_papers_schedule_lands_on_its_anchors():
    t = schedule.resolve(PRESETS["paper"], NAMES)
    assert [t[f"model.layers.{i}.self_attn.q_proj.weight"] for i in range(5)] == [
        0,
        0.5,
        0.3,
        0.7,
        1,
    ]
    assert [t[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(5)] == [1, 0.5, 0.7, 0.3, 0]
    assert {t[name] for name in NAMES if schedule.group_of(name) == "other"} == {0.5}


def test_the_mirror_is_the_other_models_view():
    paper, mirror = (schedule.resolve(PRESETS[name], NAMES) for name in ("paper", "mirror"))
    assert all(paper[name] + mirror[name] == pytest.approx(1) for name in NAMES)
    assert schedule.resolve(schedule.complement(PRESETS["paper"]), NAMES) == pytest.approx(mirror)


def test_a_bare_list_gives_what_lies_in_no_layer_the_first_anchor():
    t = schedule.resolve((0.2, 1.0), NAMES)
    assert t["model.embed_tokens.weight"] == t["lm_head.weight"] == t["model.norm.weight"] == 0.2
    assert t["model.layers.1.mlp.up_proj.weight"] == pytest.approx(0.4)


def test_the_only_layer_takes_the_last_anchor():
    assert schedule.t_of((0.0, 1.0), "model.layers.0.mlp.up_proj.weight", layers=1) == 1.0


def test_first_filter_wins():
    parts = (Part(filter="q_proj", value=0.1), Part(filter="self_attn", value=0.9), Part(value=0.5))
    assert schedule.t_of(parts, "model.layers.0.self_attn.q_proj.weight", 4) == 0.1
    assert schedule.t_of(parts, "model.layers.0.self_attn.k_proj.weight", 4) == 0.9


def test_weights_become_a_share():
    t = schedule.resolve(Weights(general=3, domain=(1, 3)), NAMES)
    assert (
        t["model.layers.0.mlp.up_proj.weight"] == 0.25
        and t["model.layers.4.mlp.up_proj.weight"] == 0.5
    )


@pytest.mark.parametrize(
    "bad,words",
    [
        (
            (Part(filter="attn_self", value=0.5), Part(value=0.5)),
            "filter 'attn_self' is part of no tensor's name",
        ),
        ((Part(filter="self_attn", value=0.5),), "no filter of the schedule takes"),
        (1.2, r"t is 1.2 at .*outside \[0, 1\]"),
        ((0.0, -0.5), r"outside \[0, 1\]"),
        (Weights(general=1, domain=-1), "add up to 0"),
        (Weights(general=-1, domain=3), r"t is 1.5"),
    ],
)
def test_a_schedule_that_does_not_fit_says_why(bad, words):
    with pytest.raises(MergeError, match=words):
        schedule.resolve(bad, NAMES)


def test_extrapolation_is_given_where_asked_for():
    assert schedule.resolve(1.2, NAMES, extrapolate=True)["lm_head.weight"] == 1.2


@pytest.mark.parametrize(
    "first,late",
    [
        (Part(value=0.5), "mlp"),
        (Part(filter="*", value=0.5), "mlp"),
        (Part(filter="ml", value=1), "mlp"),
    ],
)
def test_a_filter_behind_those_that_take_its_tensors_is_refused(first, late):
    listed = (first, Part(filter=late, value=1.0), Part(value=0.0))
    names = ["model.norm.weight", "model.layers.0.mlp.up.weight"]
    for t in (listed, schedule.Weights(general=0.5, domain=listed)):
        with pytest.raises(MergeError, match=f"filter '{late}' has no effect: what stands before"):
            schedule.resolve(t, names)
    assert schedule.resolve((listed[1], listed[2]), names)[names[1]] == 1.0
