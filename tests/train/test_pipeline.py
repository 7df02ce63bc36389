from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest
import torch

from labkit.base.errors import InputError, MergeError, PackError, SpecError
from labkit.base.store import Store
from labkit.data import packs
from labkit.merge.recipes import Merge, Recipe
from labkit.train import pipeline
from labkit.train.specs import GENTLE, PipelineSpec, Stage

CPT = Stage(kind="cpt", learning_rate=1e-3, steps=3, batch_size=8)
SFT = Stage(kind="sft", learning_rate=1e-3, steps=3, batch_size=8, replay=0.5)
DPO = Stage(kind="dpo", learning_rate=1e-4, steps=3, batch_size=8)


def spec(*stages, **changes):
    return PipelineSpec(
        **{"pack": "materials", "model": "llama-s-instruct", "stages": stages, **changes}
    )


def state(checkpoint):
    return {
        name: value.clone()
        for name, value in pipeline.load_checkpoint(checkpoint).model.state_dict().items()
    }


def test_runs_every_stage_and_merges(tmp_path):
    made = pipeline.run_spec(spec(CPT, SFT, DPO, merge=Merge(t=0.5)), store=Store(tmp_path))
    assert [c.name.split("/")[-1] for c in made] == [
        "cpt",
        "cpt-sft",
        "cpt-sft-dpo",
        "cpt-sft-dpo-slerp",
    ]
    assert made[1].lineage["parent"] == made[0].key
    for key in ("spec", "data", "seed", "versions", "wall_seconds", "loss_curve"):
        assert key in made[0].lineage
    middle, ends = (
        state(made[-1]),
        [pipeline.load_checkpoint("llama-s-instruct").model.state_dict(), state(made[-2])],
    )
    name = "model.layers.0.mlp.up_proj.weight"
    assert not any(torch.equal(middle[name], end[name]) for end in ends)


def test_finished_stages_are_reused_and_seeds_matter(tmp_path):
    store, told = Store(tmp_path), []
    first = pipeline.run_spec(spec(CPT), store=store)[0]
    again = pipeline.run_spec(
        spec(CPT, SFT), store=store, progress=lambda at: told.append(at.stage)
    )
    assert again[0].key == first.key and set(told) == {"sft"}
    assert pipeline.run_spec(spec(CPT, seed=1), store=store)[0].key != first.key


def test_same_spec_and_seed_give_the_same_weights(tmp_path):
    one, two = (
        state(pipeline.run_spec(spec(CPT), store=Store(tmp_path / name))[0]) for name in "ab"
    )
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_how_a_step_is_shared_is_no_part_of_a_key(tmp_path):
    store = Store(tmp_path)
    key = pipeline.run_spec(spec(CPT), store=store)[0].key
    shared = CPT.model_copy(update={"micro_batch_size": 2, "activation_checkpointing": True})
    assert pipeline.run_spec(spec(shared), store=store)[0].key == key
    assert (
        pipeline.run_spec(spec(CPT.model_copy(update={"schedule": "constant"})), store=store)[0].key
        != key
    )


def test_the_start_model_is_loaded_only_to_be_trained(tmp_path, monkeypatch):
    pipeline.run_spec(spec(CPT), store=Store(tmp_path))
    monkeypatch.setattr(pipeline.zoo, "load", None)
    assert len(pipeline.run_spec(spec(CPT), store=Store(tmp_path))) == 1


def test_changed_data_is_another_checkpoint(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    store = Store(tmp_path / "store")
    before = pipeline.run_spec(spec(CPT, pack=str(folder)), store=store)[0]
    (folder / "raw.jsonl").write_text('{"text": "Something else."}\n')
    assert pipeline.run_spec(spec(CPT, pack=str(folder)), store=store)[0].key != before.key


def test_damaged_checkpoint_is_rebuilt(tmp_path):
    store = Store(tmp_path)
    made = pipeline.run_spec(spec(CPT), store=store)[0]
    before = state(made)
    weights = made.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    after = state(pipeline.run_spec(spec(CPT), store=store)[0])
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_profile_scales_steps_only():
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=200)
    assert [pipeline.steps_run(stage, name) for name in ("smoke", "lab", "study")] == [4, 200, 200]
    assert pipeline.steps_run(stage.model_copy(update={"steps": 3}), "smoke") == 2


def test_what_cannot_run_is_said_before_training(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    (folder / "preferences.jsonl").unlink()
    with pytest.raises(
        SpecError, match=r"stages.1: dpo needs preferences.jsonl, which pack 'materials' lacks"
    ):
        pipeline.run_spec(spec(CPT, DPO, pack=str(folder)), store=Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    with pytest.raises(InputError, match="unknown model"):
        pipeline.run_spec(spec(CPT, model="nothing"), store=Store(tmp_path / "store"))
    with pytest.raises(PackError, match="unknown pack"):
        pipeline.run_spec(spec(CPT, pack="nothing"), store=Store(tmp_path / "store"))


def test_merging_other_families_is_refused(tmp_path):
    with pytest.raises(MergeError, match="num_hidden_layers is 4"):
        pipeline.merge_to_folder(
            Recipe("llama-s-instruct", "llama-m-instruct", Merge()), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_merge_to_folder_round_trips(tmp_path):
    out = pipeline.merge_to_folder(
        Recipe("llama-s-base", "llama-s-instruct", Merge(t=1.0, method="lerp")), tmp_path / "out"
    )
    merged, parent = (
        pipeline.load_checkpoint(n).model.state_dict() for n in (str(out), "llama-s-instruct")
    )
    assert all(torch.allclose(value, merged[name]) for name, value in parent.items())
    with pytest.raises(InputError, match="no model was named"):
        pipeline.load_checkpoint("")


def test_a_merge_that_cannot_be_is_found_before_anything_is_trained(tmp_path):
    for merge, words in (
        (Merge(general="llama-s-instrct"), "merge.general: unknown model"),
        (Merge(method="task_vector", ancestor="nothing"), "merge.ancestor: unknown model"),
        (Merge(t=({"filter": "attn_self", "value": 0.5},)), "merge.t: .*attn_self|attn_self"),
        (Merge(general="llama-m-instruct"), "num_hidden_layers"),
    ):
        with pytest.raises(MergeError, match=words):
            pipeline.run_spec(spec(CPT, merge=merge), store=Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_layers_left_out_by_a_recipe_are_refused(tmp_path):
    recipe = Recipe("llama-s-base", "llama-s-instruct", Merge(), layers=2)
    with pytest.raises(MergeError, match="layer_range ends at 2, but the models have 4 layers"):
        pipeline.merge_to_folder(recipe, tmp_path / "out")


def test_another_ancestor_is_another_merge(tmp_path):
    keys = set()
    for ancestor in ("llama-s-base", "llama-s-twin-base"):
        recipe = Recipe(
            "llama-s-instruct",
            "llama-s-twin-instruct",
            Merge(method="task_vector", ancestor=ancestor),
        )
        keys.add(pipeline.merge_checkpoints(recipe, name="x", store=Store(tmp_path / ancestor)).key)
    assert len(keys) == 2


KILLED = """
import sys
from pathlib import Path
from labkit.base.store import Store
from labkit.train.pipeline import run_spec
from labkit.train.specs import PipelineSpec, Stage
stages = (
    Stage(kind="cpt", learning_rate=1e-3, steps=3, batch_size=8),
    Stage(kind="sft", learning_rate=1e-3, steps=5000, batch_size=8),
)
spec = PipelineSpec(pack="materials", model="llama-s-instruct", stages=stages)
run_spec(spec, store=Store(Path(sys.argv[1])))
"""


def test_kill_9_loses_only_the_stage_in_flight(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while (
        not any(path.suffix == ".draft" for path in tmp_path.glob(".*"))
        or not Store(tmp_path).all()
    ):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = Store(tmp_path).all()
    assert [c.name.split("/")[-1] for c in kept] == ["cpt"]
    again = pipeline.run_spec(spec(CPT, SFT), store=Store(tmp_path))
    assert again[0].key == kept[0].key


def test_merges_where_the_spec_says_and_trains_on_from_there(tmp_path):
    made = pipeline.run_spec(
        spec(CPT, SFT, merge=Merge(t=0.5), merge_after=1), store=Store(tmp_path)
    )
    assert [c.name.split("/")[-1] for c in made] == ["cpt", "cpt-slerp", "cpt-slerp-sft"]
    assert made[2].lineage["parent"] == made[1].key
    at_the_end = pipeline.run_spec(spec(CPT, SFT, merge=Merge(t=0.5)), store=Store(tmp_path))
    assert at_the_end[0].key == made[0].key and at_the_end[1].key != made[2].key


def test_cpt_reads_questions_as_text(tmp_path):
    plain, asked = (
        pipeline.run_spec(spec(CPT.model_copy(update={"sources": sources})), store=Store(tmp_path))[
            0
        ]
        for sources in (("raw",), ("raw", "qa"))
    )
    assert plain.lineage["data"] != asked.lineage["data"] and plain.key != asked.key


def test_a_recipe_is_cut_to_what_a_pack_has_rows_for(tmp_path, materials):
    for split in ("pack.yaml", "raw.jsonl"):
        shutil.copy(materials.folder / split, tmp_path / split)
    recipe = (*GENTLE, DPO)
    kept, lacks = pipeline.trainable(recipe, packs.load_pack(tmp_path))
    assert kept == (GENTLE[0].model_copy(update={"sources": ("raw",)}),)
    assert list(lacks) == ["cpt reads raw alone", "sft is left out", "dpo is left out"]
    assert lacks["dpo is left out"].startswith("pack materials has no preferences.jsonl; put a")
    assert pipeline.trainable(recipe, materials) == (recipe, {})
