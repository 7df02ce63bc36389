from __future__ import annotations

from labkit.course.labs import real_lab
from labkit.train.specs import ADAPTED_LORA, PipelineSpec, load_spec, save_spec


def test_a_recipe_is_a_spec_that_can_be_saved_and_run(tmp_path):
    spec = real_lab.spec_of("legal", real_lab.RECIPES["cpt-sft-dpo"])
    save_spec(spec, tmp_path / "spec.yaml")
    assert load_spec(tmp_path / "spec.yaml") == spec and isinstance(spec, PipelineSpec)
    assert spec.trail == "cpt-sft-dpo" and spec.model == real_lab.MODEL


def test_recipes_share_their_stages_so_that_each_is_trained_once():
    longest = real_lab.RECIPES["cpt-sft-dpo"]
    assert (
        real_lab.RECIPES["cpt"] == longest[:1]
        and real_lab.RECIPES["cpt-sft"] == longest[:2] == real_lab.RECIPES["cpt-sft-orpo"][:2]
    )
    assert all(
        stage.lora == ADAPTED_LORA for recipe in real_lab.RECIPES.values() for stage in recipe
    )


def test_what_is_trained_live_is_the_recipe_with_less_reading():
    cpt, *rest = real_lab.LIVE
    whole = real_lab.RECIPES["cpt-sft-dpo"]
    assert (
        cpt.steps < whole[0].steps
        and (cpt.model_copy(update={"steps": whole[0].steps}), *rest) == whole
    )


def test_what_ships_is_among_the_recipes():
    assert set(real_lab.SHIPPED) <= set(real_lab.RECIPES) and real_lab.MERGED in real_lab.SHIPPED
    assert real_lab.adapter_name("legal", "cpt-sft") == "smollm2-135m-legal-cpt-sft"
