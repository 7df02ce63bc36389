"""A model says the same after it was saved and loaded again, by every way labkit writes models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from labkit.merge.recipes import Merge
from labkit.merge.stream import merge_folders
from labkit.models import zoo
from labkit.share import export
from labkit.train import pipeline, trainers
from studies.miniatures import miniature, tokenizer

# One of each kind of weights and names: tied, shared or of its own head; names with and without a
# prefix; buffers; experts in one tensor; states, convolutions, and layers of several kinds.
KINDS = (
    "llama",
    "gemma",
    "gpt2",
    "bloom",
    "opt",
    "bart",
    "roberta",
    "mixtral",
    "gpt_oss",
    "deepseek_v3",
    "mamba",
    "mamba2",
    "zamba2",
    "lfm2",
    "qwen3_5_text",
    "rwkv",
)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 7, 20, 33, 12, 8, 41]])).logits


def as_trained(loaded: zoo.Loaded):
    """What `run` keeps of a model: its weights in a fresh one."""
    whole = SimpleNamespace(unwrap_model=lambda model: model)
    trainer = SimpleNamespace(accelerator=whole, model=loaded.model, is_fsdp_enabled=False)
    return trainers._trained_model(trainer, loaded.model.config, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_saved_and_loaded_says_the_same(kind, tmp_path):
    folders = {way: tmp_path / way for way in ("start", "run", "merge", "export")}
    for folder in folders.values():
        folder.mkdir()
    model = miniature(kind)
    said = logits(model)
    pipeline.save_model(model, tokenizer(), folders["start"])
    start = zoo.load(str(folders["start"]))
    pipeline.save_model(as_trained(start), start.tokenizer, folders["run"])
    merge_folders(folders["start"], folders["run"], folders["merge"], Merge(t=0.5))
    export._write_model(start, folders["export"], "float32")
    for way in ("run", "merge", "export"):
        found = logits(zoo.load(str(folders[way])).model)
        assert torch.allclose(found, said, atol=1e-5), way
