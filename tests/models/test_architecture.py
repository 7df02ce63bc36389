"""A config counted in closed form is the model that transformers builds from it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from labkit.base.errors import InputError
from labkit.models import zoo
from labkit.models.architecture import (
    KINDS,
    Uncounted,
    architecture_of,
    known_configs,
    parameters_of,
)
from labkit.models.families import FAMILIES
from labkit.train import zoo_build

KNOWN = {
    "Llama-3.1-8B": 8_030_261_248,
    "Mistral-7B-v0.3": 7_248_023_552,
    "SmolLM-1.7B": 1_711_376_384,
    "SmolLM2-135M": 134_515_008,
}
ADAPTERS = {
    "Llama-3.1-8B": 41_943_040,
    "Mistral-7B-v0.3": 41_943_040,
    "SmolLM-1.7B": 18_087_936,
    "SmolLM2-135M": 4_884_480,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 200,
    "pad_token_id": 0,
}
VARIANTS = [
    *[(kind, {}) for kind in KINDS],
    *[
        (kind, {"attention_bias": True})
        for kind in ("llama", "qwen3", "gemma", "granite", "gpt_neox")
    ],
    ("llama", {"mlp_bias": True, "tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 32}),
    ("mistral", {"head_dim": 24}),
    ("gpt_neox", {"attention_bias": False}),
]


def on_meta(config: dict):
    """The model itself, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    built = AutoConfig.for_model(
        **{key: value for key, value in config.items() if key != "_name_or_path"}
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(built)


def counted(model) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_to_the_unit(name):
    architecture = architecture_of(name)
    assert architecture.parameters == KNOWN[name]
    assert architecture.lora_parameters(16) == ADAPTERS[name]
    assert counted(on_meta(json.loads(known_configs()[name].read_text("utf-8")))) == KNOWN[name]


@pytest.mark.parametrize("name", zoo.shipped_models())
def test_every_model_of_the_zoo(name):
    assert architecture_of(name).parameters == counted(zoo.load(name).model)


@pytest.mark.parametrize(
    "name",
    [
        f"{family}-{start}"
        for family in FAMILIES
        for start in zoo.STARTS
        if not FAMILIES[family].shipped
    ],
)
def test_families_too_large_to_ship_are_known_by_their_shape(name):
    built = zoo_build.fresh_model(
        FAMILIES[name.rpartition("-")[0]],
        zoo.tokenizer_of(zoo.model_folder("llama-s-base")),
        seed=0,
    )
    assert architecture_of(name).parameters == counted(built)
    assert (
        architecture_of(name).context == built.config.max_position_embeddings
        and architecture_of(name).name == name
    )


def test_an_adapter_has_its_bases_shape(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "mistral-s-base", "peft_type": "LORA"}), "utf-8"
    )
    (tmp_path / "adapter_model.safetensors").touch()
    assert asdict(architecture_of(tmp_path)) | {"name": ""} == asdict(
        architecture_of("mistral-s-base")
    ) | {"name": ""}


def test_bytes_in_files_are_the_configs_word():
    assert [architecture_of(name).stored for name in ("Llama-3.1-8B", "llama-s-base")] == [2, 2]
    assert (
        architecture_of({**LLAMA, "dtype": "float32"}).stored == architecture_of(LLAMA).stored == 4
    )


@pytest.mark.parametrize("kind,changes", VARIANTS)
def test_every_kind_with_its_biases(kind, changes, tmp_path):
    from transformers import AutoConfig

    shape = {
        key: value for key, value in SMALL.items() if kind != "gpt2" or key != "intermediate_size"
    }
    (tmp_path / "config.json").write_text(
        json.dumps(AutoConfig.for_model(kind, **shape, **changes).to_dict()), "utf-8"
    )
    full = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert architecture_of(tmp_path).parameters == counted(on_meta(full))


def test_lora_matches_peft():
    from peft import LoraConfig, get_peft_model

    for name in ("mistral-s-instruct", "smollm-s-base"):
        adapted = get_peft_model(
            zoo.load(name).model,
            LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        assert architecture_of(name).lora_parameters(8) == sum(
            p.numel() for p in adapted.parameters() if p.requires_grad
        )


def test_flops():
    llama = architecture_of("Llama-3.1-8B")
    attention = 12 * 32 * 4096 * 2048
    assert llama.flops_per_token(2048) == 6 * KNOWN["Llama-3.1-8B"] + attention
    assert (
        llama.flops_per_token(2048, 16)
        == 4 * KNOWN["Llama-3.1-8B"] + attention + 6 * ADAPTERS["Llama-3.1-8B"]
    )
    small = architecture_of("SmolLM2-135M")
    assert small.flops_per_token(512, 16) / small.flops_per_token(512) == pytest.approx(
        0.73, abs=0.01
    )
    assert small.forward_flops_per_token(512) * 3 == small.flops_per_token(512)


def test_gpt3():
    """GPT-3 175B: 300 billion tokens, 3.15e23 FLOPs without attention (arXiv 2005.14165, table D.1:
    3.14e23).
    """
    config = {
        "model_type": "gpt2",
        "n_embd": 12288,
        "n_layer": 96,
        "n_head": 96,
        "n_positions": 2048,
        "vocab_size": 50257,
    }
    architecture = architecture_of(config)
    assert architecture.parameters == pytest.approx(175e9, rel=0.005)
    assert pytest.approx(3.15e23) == 6 * 175e9 * 300e9
    assert (
        architecture.flops_per_token(2048) - architecture.attention_flops(2048)
    ) * 300e9 == pytest.approx(3.15e23, rel=0.005)


def test_names_ids_folders_files_and_mappings_are_one(tmp_path):
    (tmp_path / "config.json").write_text(
        known_configs()["SmolLM-1.7B"].read_text("utf-8"), "utf-8"
    )
    mapping = json.loads((tmp_path / "config.json").read_text("utf-8"))
    ways = ["smollm-1.7b", "HuggingFaceTB/SmolLM-1.7B", tmp_path, tmp_path / "config.json", mapping]
    found = [asdict(architecture_of(way)) | {"name": ""} for way in ways]
    assert all(one == found[0] for one in found)
    assert architecture_of(zoo.SMOLLM2).parameters == KNOWN["SmolLM2-135M"]


LLAMA = {"model_type": "llama", **SMALL}


@pytest.mark.parametrize(
    "config,words",
    [
        ({"model_type": "mamba"}, "model_type is 'mamba'"),
        ({**LLAMA, "model_type": "lama"}, "did you mean 'llama'"),
        (
            {key: value for key, value in LLAMA.items() if key != "vocab_size"},
            "vocab_size is missing",
        ),
        ({**LLAMA, "hidden_size": -64}, "hidden_size is -64; it must be a whole number above 0"),
        ({**LLAMA, "num_hidden_layers": "two"}, "num_hidden_layers is 'two'"),
        ({**LLAMA, "num_hidden_layers": True}, "num_hidden_layers is True"),
        ({**LLAMA, "tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
        (
            {**LLAMA, "num_attention_heads": 5, "num_key_value_heads": 5},
            "cannot be divided among 5",
        ),
        ({**LLAMA, "num_key_value_heads": 3}, "cannot share 3"),
    ],
)
def test_a_broken_config_is_one_sentence(config, words, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(InputError, match=words) as caught:
        architecture_of(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["mixtral", "falcon", "mamba", "stablelm"])
def test_a_type_that_is_not_counted_is_no_typing_error_and_its_parameters_are_known(kind, tmp_path):
    from transformers import AutoConfig

    said = AutoConfig.for_model(kind, **SMALL).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
    with pytest.raises(Uncounted, match=f"model_type is '{kind}', .* it counts llama") as caught:
        architecture_of(tmp_path)
    assert "did you mean" not in str(caught.value)
    assert parameters_of(tmp_path) == counted(on_meta(said))


def test_what_is_no_model_is_one_sentence(tmp_path):
    (tmp_path / "broken.json").write_text("{", "utf-8")
    (tmp_path / "list.json").write_text("[]", "utf-8")
    for source, words in (
        (tmp_path, "no config.json"),
        (tmp_path / "broken.json", "not readable JSON"),
        (tmp_path / "list.json", "expected a mapping"),
        ("llama-3.1-8", "did you mean"),
        ("nobody/nothing-at-all", "cannot be fetched"),
    ):
        with pytest.raises(InputError, match=words):
            architecture_of(source)
