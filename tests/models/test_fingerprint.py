"""What a model is: weights, config, tokenizer and template, in every key that is made of it."""

from __future__ import annotations

import json
import shutil

import pytest

from labkit.base.store import Store, file_hash, key_of
from labkit.merge.methods import merge_fingerprint
from labkit.merge.recipes import Merge, Recipe
from labkit.models import zoo
from labkit.models.families import FAMILIES
from labkit.train import pipeline, zoo_build
from labkit.train.specs import PipelineSpec, Stage

NAME = "llama-xs-instruct"


def by_weights(folder):
    return key_of(files=[file_hash(path) for path in sorted(folder.glob("*.safetensors"))])


@pytest.fixture
def mine(tmp_path):
    """A folder of one's own whose config no model of labkit has."""
    folder = tmp_path / "mine"
    shutil.copytree(zoo.shipped_folder() / NAME, folder)
    change(folder / "config.json", rms_norm_eps=1e-5)
    return folder


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize("name", zoo.shipped_models())
def test_a_shipped_model_is_known_by_its_weights_alone(name):
    folder = zoo.shipped_folder() / name
    assert zoo.fingerprint_of(folder) == by_weights(folder) == zoo.load(name).fingerprint


def test_readings_of_families_that_are_not_shipped_are_known(tmp_path):
    tokenizer = zoo_build.build_tokenizer()
    for name in FAMILIES:
        model = zoo_build.fresh_model(FAMILIES[name], tokenizer, 0)
        pipeline.save_model(model, tokenizer, tmp_path / name)
        assert zoo.reading_of(tmp_path / name) in zoo.OWN_READINGS


def test_what_is_trained_or_merged_from_a_shipped_model_keeps_its_key(tmp_path):
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=2, batch_size=2)
    spec = PipelineSpec(pack="materials", model=NAME, stages=(stage,), merge=Merge(t=0.5))
    for made in pipeline.run_spec(spec, store=Store(tmp_path)):
        assert zoo.fingerprint_of(made.folder) == by_weights(made.folder)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}),
        ("config.json", {"tie_word_embeddings": False}),
        ("generation_config.json", {"repetition_penalty": 1.5}),
        ("tokenizer_config.json", {"add_bos_token": True}),
        ("tokenizer.json", {"normalizer": None}),
        ("tokenizer_config.json", {"eos_token": "<|end|>"}),
    ],
)
def test_models_that_differ_beside_their_weights_differ(mine, file, values):
    before = zoo.fingerprint_of(mine)
    assert before != by_weights(mine)
    change(mine / file, **values)
    assert zoo.fingerprint_of(mine) != before


def test_another_template_is_another_model_in_training_merging_and_scoring(mine, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(mine, other)
    template = other / "chat_template.jinja"
    template.write_text(template.read_text("utf-8").replace("<|end|>", "<|end|> "), "utf-8")
    one, two = zoo.load(str(mine)), zoo.load(str(other))
    assert one.fingerprint == zoo.fingerprint_of(mine) != two.fingerprint
    assert merge_fingerprint(one, one, 0.5, "slerp") != merge_fingerprint(one, two, 0.5, "slerp")
    keys = {
        pipeline.merge_checkpoints(
            Recipe(str(folder), str(folder), Merge()), name="x", store=Store(tmp_path / "store")
        ).key
        for folder in (mine, other)
    }
    assert len(keys) == 2


def test_who_wrote_a_file_and_its_order_of_keys_say_nothing(mine):
    before = zoo.fingerprint_of(mine)
    path = mine / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(dict(reversed(config.items()))), "utf-8")
    change(path, transformers_version="1.0", use_cache=True, dtype="float32")
    change(mine / "tokenizer.json", truncation={"max_length": 5}, padding={"pad_id": 1})
    (mine / "README.md").write_text("another card", "utf-8")
    assert zoo.fingerprint_of(mine) == before


def test_a_changed_config_is_trained_anew(mine, tmp_path):
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=2, batch_size=2)
    spec = PipelineSpec(pack="materials", model=str(mine), stages=(stage,))
    store = Store(tmp_path / "store")
    first = pipeline.run_spec(spec, store=store)[0]
    assert pipeline.run_spec(spec, store=store)[0].key == first.key
    change(mine / "config.json", rope_parameters={"rope_theta": 500.0, "rope_type": "default"})
    again = pipeline.run_spec(spec, store=store)[0]
    assert again.key != first.key
    assert json.loads((again.folder / "config.json").read_text())["rope_parameters"][
        "rope_theta"
    ] == pytest.approx(500)


def test_which_shard_a_tensor_is_read_from_is_part_of_a_model(mine):
    before = zoo.fingerprint_of(mine)
    index = mine / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "one.safetensors"}}), "utf-8")
    first = zoo.fingerprint_of(mine)
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "two.safetensors"}}), "utf-8")
    assert len({before, first, zoo.fingerprint_of(mine)}) == 3
