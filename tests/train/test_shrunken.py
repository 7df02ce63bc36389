"""The three architectures of the larger models, with everything of their configurations but the
size, through every stage.
"""

from __future__ import annotations

import json

import pytest
import torch

from labkit.base.store import Store
from labkit.data.packs import samples_folder
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.train import pipeline
from labkit.train.specs import Lora, PipelineSpec, Stage

CONFIGS = ("Llama-3.1-8B", "Mistral-7B-v0.3", "SmolLM-1.7B")
WIDTH, LAYERS = 16, 2  # of a head; heads and their groups stay as many as they are, up to 8


def shrunken(name: str, folder):
    """Write a random model of a large model's configuration, made small, with the shipped
    tokenizer.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    whole = json.loads((samples_folder("configs") / f"{name}.json").read_text("utf-8"))
    tokenizer = zoo.load("llama-s-instruct").tokenizer
    share = whole["num_attention_heads"] // whole["num_key_value_heads"]
    heads = max(share, 4)
    small = {
        "hidden_size": heads * WIDTH,
        "intermediate_size": heads * WIDTH * whole["intermediate_size"] // whole["hidden_size"],
        "num_hidden_layers": LAYERS,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // share,
        "head_dim": WIDTH,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    kept = {
        key: value
        for key, value in whole.items()
        if key not in ("architectures", "transformers_version", "torch_dtype", "dtype")
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(**{**kept, **small})
    pipeline.save_model(AutoModelForCausalLM.from_config(config), tokenizer, folder)
    return whole, config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_stage_and_a_merge(tmp_path, name):
    whole, small = shrunken(name, tmp_path / "model")
    for key in (
        "rms_norm_eps",
        "tie_word_embeddings",
        "sliding_window",
        "hidden_act",
        "max_position_embeddings",
        "attention_bias",
    ):
        if key in whole:
            assert getattr(small, key) == whole[key]
    assert (
        small.num_attention_heads // small.num_key_value_heads
        == whole["num_attention_heads"] // whole["num_key_value_heads"]
    )
    assert (
        whole.get("rope_scaling") is None
        or whole["rope_scaling"].items() <= small.rope_parameters.items()
    )
    assert small.rope_parameters["rope_theta"] == whole["rope_theta"]
    stages = (
        Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=4),
        Stage(
            kind="sft",
            learning_rate=1e-3,
            steps=100,
            batch_size=4,
            micro_batch_size=2,
            activation_checkpointing=True,
        ),
        Stage(kind="dpo", learning_rate=1e-4, steps=100, batch_size=4, lora=Lora(rank=4, alpha=8)),
        Stage(kind="orpo", learning_rate=1e-4, steps=100, batch_size=4, schedule="constant"),
    )
    spec = PipelineSpec(
        pack="materials",
        model=str(tmp_path / "model"),
        stages=stages,
        merge=Merge(t=0.5),
        profile="smoke",
    )
    made = pipeline.run_spec(spec, store=Store(tmp_path / "store"))
    assert [c.name.split("/")[-1] for c in made] == [
        "cpt",
        "cpt-sft",
        "cpt-sft-dpo",
        "cpt-sft-dpo-orpo",
        "cpt-sft-dpo-orpo-slerp",
    ]
    assert made[2].lineage["loss_curve"][0][1] == pytest.approx(0.6931, abs=2e-3)
    result = pipeline.load_checkpoint(made[-1]).model
    assert (
        type(result).__name__
        == json.loads((tmp_path / "model" / "config.json").read_text())["architectures"][0]
    )
    assert getattr(result.config, "rope_parameters", None) == small.rope_parameters
    assert all(torch.isfinite(value).all() for value in result.state_dict().values())
