from __future__ import annotations

import pytest

from labkit.base.errors import InputError, SpecError
from labkit.design.designer import (
    DEFAULTS,
    HUB_MODELS,
    SEQUENCES,
    design,
    families,
    in_words,
    problems,
    size_of,
)
from labkit.train.specs import GENTLE, load_spec, save_spec


def test_the_same_spec_in_a_few_lines_of_code(tmp_path):
    spec = design(pack="legal", model="llama-s", sequence="cpt-sft-dpo", merge="slerp", t=0.5)
    assert [stage.kind for stage in spec.stages] == ["cpt", "sft", "dpo"] and spec.merge.t == 0.5
    assert problems(spec) == []
    save_spec(spec, tmp_path / "design.yaml")
    assert load_spec(tmp_path / "design.yaml") == spec
    assert in_words(spec) == "llama-s-instruct: CPT → SFT → DPO → SLERP merge"


def test_defaults_are_the_course_s_own_recipes_on_tiny_models():
    assert design().stages == GENTLE


def test_defaults_follow_the_size_of_the_model():
    assert [
        size_of(name)
        for name in (
            "llama-s-instruct",
            "smollm2-135m-instruct",
            "meta-llama/Llama-3.1-8B-Instruct",
        )
    ] == list(DEFAULTS)
    large = design(model="Mistral-7B-v0.3", sequence="cpt-sft-dpo")
    assert large.model == HUB_MODELS["Mistral-7B-v0.3"]["instruct"]
    assert [stage.learning_rate for stage in large.stages] == [2e-5, 2e-5, 5e-7] and problems(
        large
    ) == []
    assert all(stage.lora for stage in design(model="smollm2-135m").stages)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_sequence_of_the_lesson_is_valid(sequence):
    extra = {} if sequence else {"start": "base", "merge": "slerp", "merge_with": "llama-s"}
    assert problems(design(sequence=sequence, **extra)) == []


def test_any_order_and_a_merge_in_between():
    spec = design(sequence="sft-cpt-orpo", merge="lerp", t="ramp", merge_after=2)
    assert spec.trail == "sft-cpt-lerp-orpo" and problems(spec) == []


def test_hand_made_changes_win_over_defaults():
    spec = design(
        replay=0.1, rates=2.0, lengths=0.5, changes={2: {"learning_rate": 7e-4, "replay": 0.0}}
    )
    assert (
        spec.stages[0].learning_rate == 2 * GENTLE[0].learning_rate
        and spec.stages[0].steps == GENTLE[0].steps // 2
    )
    assert (
        spec.stages[1].learning_rate == 7e-4
        and spec.stages[1].replay == 0.0
        and spec.stages[0].replay == 0.1
    )


def test_families_have_base_and_instruct():
    found = families()
    assert found["llama-s"] == {"base": "llama-s-base", "instruct": "llama-s-instruct"}
    assert found["smollm2-135m"] == {"instruct": "smollm2-135m-instruct"}


@pytest.mark.parametrize(
    "choices,words",
    [
        ({"sequence": "ctp-sft"}, "sequence: 'ctp' is not a stage; did you mean 'cpt'"),
        ({"model": "smollm2-135m", "start": "base"}, "has no base model"),
        ({"replay": 1.5}, "replay: Input should be less than 1"),
        ({"sequense": "cpt"}, "sequense"),
        ({"changes": {3: {"steps": 1}}}, "there is no stage 3"),
        ({"changes": {1: {"lr": 1}}}, "changes.1.lr is not a field of a stage"),
        ({"changes": {1: {"steps": 0}}}, "steps"),
        ({"merge": "slerp", "t": "papper"}, "did you mean 'paper'"),
        ({"merge": "slerp", "t": 1.2}, "outside"),
        ({"sequence": ""}, "nothing to run"),
        ({"merge_after": 1}, "there is no merge"),
        ({"merge": "slerp", "merge_after": 5}, "there are 2 stages"),
        ({"model": "llama-x"}, "unknown model"),
        ({"pack": "material"}, "did you mean 'materials'"),
    ],
)
def test_impossible_choices_are_one_sentence(choices, words):
    with pytest.raises(InputError, match=words):
        design(**choices)


def test_what_cannot_run_is_told_before_it_is_trained():
    assert "model_type" in problems(design(merge="slerp", merge_with="mistral-s"))[0]
    with pytest.raises(SpecError):
        design(sequence="", merge="slerp")
