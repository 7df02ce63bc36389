from __future__ import annotations

import json

import pytest

from labkit.base.store import LINEAGE
from labkit.course import lesson
from labkit.course.labs import real_lab
from labkit.data import packs
from labkit.models import zoo
from labkit.train import pipeline
from labkit.train.specs import (
    ADAPTED_LORA,
    DPO,
    GENTLE,
    OVERCOOKED,
    Lora,
    PipelineSpec,
    in_real,
    load_spec,
    save_spec,
)
from studies.real_evidence import ship_adapter


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


def test_the_courses_recipes_have_their_own_form_for_the_real_model():
    mine = GENTLE[0].model_copy(update={"steps": 7})
    found = in_real((*OVERCOOKED, DPO, mine))
    assert [stage.kind for stage in found] == ["cpt", "sft", "dpo", "cpt"] and found[-1] == mine
    assert all(stage.lora for stage in found[:-1]) and in_real(GENTLE)[1] == found[1]
    assert in_real(GENTLE)[0].learning_rate < found[0].learning_rate


@pytest.fixture
def design():
    """Two steps of reading, with adapters."""
    stage = GENTLE[0].model_copy(update={"steps": 2, "replay": 0.0, "lora": Lora(rank=2, alpha=4)})
    return PipelineSpec(
        pack="legal", model="llama-xs-instruct", stages=(stage,), seed=0, profile="lab"
    )


def test_what_ships_is_found_by_its_design_and_not_trained(design, tmp_path, monkeypatch, capsys):
    made = pipeline.run_spec(design)[-1]
    folder = tmp_path / "adapters" / "small"
    ship_adapter(made, folder, 2, design.model)
    told = {**made.lineage, "design": pipeline.design_of(design)}
    (folder / LINEAGE).write_text(json.dumps(told), "utf-8")
    for module in (pipeline, packs):

        def ours(name, samples_folder=module.samples_folder):
            return tmp_path / name if name == "adapters" else samples_folder(name)

        monkeypatch.setattr(module, "samples_folder", ours)
    assert pipeline.shipped(design).folder == folder
    for other in ({"seed": 1}, {"profile": "smoke"}, {"pack": "biomed"}, {"stages": GENTLE[1:]}):
        assert pipeline.shipped(design.model_copy(update=other)) is None
    monkeypatch.setattr(lesson, "run_spec", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    lab = lesson.start(
        "03_cpt", pack="legal", model=design.model, out_dir=str(tmp_path / "out"), profile="lab"
    )
    assert lab.train(design.stages).folder == folder
    assert "it ships with labkit" in capsys.readouterr().out


def test_a_notebooks_parameter_names_the_model_it_starts_from(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    out = {"out_dir": str(tmp_path / "out")}

    def model(name, pack):
        return lesson.start("03_cpt", model=name, pack=pack, **out).model

    assert model("llama-s", "elements") == model("llama-s", "legal") == "llama-s-instruct"
    assert model("smollm2-135m", "elements") == zoo.SMOLLM2
    assert model("smollm2-135m", "legal") == "llama-s-instruct"  # beside it, in its own sections
