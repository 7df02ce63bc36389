from __future__ import annotations

import pytest

from labkit.base.errors import InputError, SpecError
from labkit.data.packs import load_pack
from labkit.design import preflight, rules
from labkit.design.designer import (
    DEFAULTS,
    HUB_MODELS,
    SEQUENCES,
    DomainChoice,
    design,
    domain_doubts,
    domain_named,
    domains,
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


# --- on paper -----------------------------------------------------------------------------------

PLANNED = {"cpt": {"rows": 900, "words": 90_000}, "sft": {"rows": 100, "words": 9_000}}


def test_a_domain_without_files_is_designed_advised_and_saved(tmp_path):
    spec = design(pack="climate modelling", model="Mistral-7B-v0.3", planned=PLANNED)
    assert spec.stages[0].steps == round(5 * 900 / spec.stages[0].batch_size)
    found = problems(spec)
    assert len(found) == 1 and "labkit pack new climate-modelling --from FOLDER" in found[0]
    assert "raw.jsonl" in found[0] and "columns question and answer" in found[0]
    save_spec(spec, tmp_path / "design.yaml")
    assert load_spec(tmp_path / "design.yaml") == spec
    told = {advice.rule.id: advice.applicability for advice in rules.advise(spec)}
    assert "100 planned" in told["few conversations"] and "few items" not in told
    assert {other.sort for other in rules.propose(spec)} <= set(rules.SORTS)
    with pytest.raises(SpecError, match="has no files yet"):
        preflight.check(spec)


def test_steps_on_paper_are_those_of_a_pack_with_as_many_rows():
    pack = load_pack("elements")
    texts = [row["text"] for row in pack.rows("raw")]
    amounts = {"cpt": {"rows": len(texts), "words": sum(len(text.split()) for text in texts)}}
    there = design(pack="elements", sequence="cpt", sources=("raw",)).stages[0]
    paper = design(pack="elements on paper", sequence="cpt", sources=("raw",), planned=amounts)
    assert paper.stages[0].steps == pytest.approx(there.steps, rel=0.15)


def test_files_win_over_what_was_planned():
    assert design(planned=PLANNED).stages == design().stages
    assert problems(design(planned=PLANNED)) == []


@pytest.mark.parametrize(
    "planned,words",
    [
        ({}, "unknown pack"),
        ({"sft": {"rows": 1, "words": 1}}, "planned.cpt: say how much cpt will read"),
        ({"cpt": {"rows": 0, "words": 1}}, "planned.cpt.rows"),
        ({"read": {"rows": 1, "words": 1}}, "planned.read"),
    ],
)
def test_what_is_not_planned_is_one_sentence(planned, words):
    with pytest.raises(InputError, match=words):
        design(pack="climate modelling", planned=planned)


def test_domains_have_hints_of_all_three_areas():
    assert len(domains()) == 9
    assert {domain.area for domain in domains().values()} == {
        "scientific",
        "professional",
        "creative",
    }
    for domain in domains().values():
        assert domain.documents and domain.decides and all(one.measure for one in domain.fails)
    assert domain_named("Legal Analysis").area == "professional"
    with pytest.raises(InputError, match="did you mean 'legal analysis'"):
        domain_named("legal analisis")


def test_a_domain_of_conversation_is_warned_of_and_never_blocked():
    fits = dict.fromkeys(("wrong_costs", "expert_decides", "joins_facts", "falls_short"), "yes")
    assert domain_doubts(DomainChoice(**fits, mostly_talk="no")) == []
    told = domain_doubts(DomainChoice(**fits, mostly_talk="yes"))
    assert len(told) == 1 and "conversation matters more than accuracy" in told[0]
    assert len(domain_doubts(DomainChoice())) == len(DomainChoice.model_fields)
