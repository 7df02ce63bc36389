"""What is never kept, or refused before training: no finite numbers, models that do not fit."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from labkit.base.errors import InputError
from labkit.base.store import Store
from labkit.merge.guards import MergeWarning
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.train import pipeline, trainers
from labkit.train.specs import Lora, PipelineSpec, Stage
from studies.miniatures import miniature

CPT = Stage(kind="cpt", learning_rate=1e-3, steps=2, batch_size=2)
SFT = CPT.model_copy(update={"kind": "sft"})


def own_tokenizer():
    return zoo.tokenizer_of(zoo.shipped_folder() / "llama-xs-base")


def llama(**changes):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = {"vocab_size": 1869, "num_attention_heads": 1, **shape, **changes}
    return LlamaForCausalLM(LlamaConfig(**config))


@pytest.fixture
def saved(tmp_path):
    """Saves a model with labkit's tokenizer, or another one; gives its folder's name."""

    def save(model, tokenizer=None):
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        pipeline.save_model(model, tokenizer or own_tokenizer(), folder)
        return str(folder)

    return save


def run(tmp_path, model, *stages, **changes):
    spec = PipelineSpec(pack="materials", model=model, stages=stages, **changes)
    return pipeline.run_spec(spec, store=Store(tmp_path / "store"))


@pytest.mark.parametrize("kind", ["cpt", "sft", "dpo", "orpo"])
def test_a_stage_whose_loss_is_no_number_is_not_kept(tmp_path, saved, monkeypatch, kind):
    from transformers import Trainer

    plain = Trainer.training_step

    def spoiled(self, model, *args, **kwargs):
        loss = plain(self, model, *args, **kwargs)
        return loss * (math.nan if self.state.global_step == 1 else 1)

    folder = saved(llama())
    run(tmp_path, folder, CPT)
    monkeypatch.setattr(Trainer, "training_step", spoiled)
    stage = CPT.model_copy(update={"kind": kind, "steps": 3})
    with pytest.raises(InputError, match=f"{kind}: the loss is not a finite .* step 2 of 3"):
        run(tmp_path, folder, CPT, stage)
    assert [made.lineage["stage"]["kind"] for made in Store(tmp_path / "store").all()] == ["cpt"]


def test_a_gradient_or_a_weight_that_is_no_number_is_not_kept(tmp_path, saved, monkeypatch):
    from transformers import Trainer

    folder = saved(llama())
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_get_grad_norm", lambda *_, **__: math.inf)
        with pytest.raises(InputError, match=r"the gradient is not a finite .* step 1 of 2"):
            run(tmp_path, folder, CPT)
    monkeypatch.setattr(trainers, "_trained_model", lambda *_: spoil(llama()))
    with pytest.raises(InputError, match=r"lm_head.weight is not a finite .* step 2 of 2"):
        run(tmp_path, folder, CPT)
    assert not Store(tmp_path / "store").all()


def spoil(model):
    with torch.no_grad():
        model.lm_head.weight[5, 3] = math.inf
    return model


def test_a_start_model_that_is_not_finite_is_refused(tmp_path, saved):
    with pytest.raises(InputError, match=r"cpt: lm_head.weight of the start model"):
        run(tmp_path, saved(spoil(llama())), CPT)


def test_a_trained_head_beside_tied_embeddings_is_neither_trained_nor_exported(tmp_path, saved):
    from labkit.share.export import export

    folder = saved(llama(tie_word_embeddings=True))
    file = f"{folder}/model.safetensors"
    tensors = load_file(file)
    head = tensors["model.embed_tokens.weight"].clone()
    save_file({**tensors, "lm_head.weight": head}, file, metadata={"format": "pt"})
    assert len(run(tmp_path, folder, CPT)) == 1  # a copy of the embeddings does no harm
    save_file({**tensors, "lm_head.weight": head * 2}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"set tie_word_embeddings to false in config.json"):
        run(tmp_path, folder, CPT)
    with pytest.raises(InputError, match=r"set tie_word_embeddings to false in config.json"):
        export(folder, tmp_path / "out", score=False)
    assert zoo.load(folder).model.lm_head.weight.equal(head * 2)  # and it is scored as it is


def test_a_config_that_holds_a_text_models_may_call_the_embeddings_tied(tmp_path, saved):
    model = miniature("fuyu", vocab_size=1869)
    zoo.check_head(model, "fuyu")
    folder = saved(model)
    config = Path(folder) / "config.json"
    said = json.loads(config.read_text("utf-8"))
    assert not said["text_config"]["tie_word_embeddings"]
    config.write_text(json.dumps({**said, "tie_word_embeddings": True}), "utf-8")
    with pytest.raises(InputError, match=r"set tie_word_embeddings to false in config.json"):
        run(tmp_path, folder, CPT)


def test_rows_end_where_learned_places_do(tmp_path, saved):
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=1869, n_embd=16, n_layer=1, n_head=1, n_positions=32)
    )
    assert zoo.learned_positions(model) == 32 and zoo.learned_positions(llama()) is None
    (made,) = run(tmp_path, saved(model), CPT.model_copy(update={"replay": 0.5}))
    fates = made.lineage["rows"]["fates"]
    told = "read in pieces of at most 32 tokens"
    assert list(fates) == [told] and fates[told]["places"][0].startswith("raw.jsonl:")


def test_adapters_on_a_model_that_takes_none_are_one_sentence(tmp_path, saved):
    model = MambaForCausalLM(
        MambaConfig(vocab_size=1869, hidden_size=16, num_hidden_layers=1, state_size=4)
    )
    stage = SFT.model_copy(update={"lora": Lora(rank=2, alpha=2)})
    with pytest.raises(InputError, match=r"cannot be put on MambaForCausalLM .*drop lora"):
        run(tmp_path, saved(model), stage)


@pytest.mark.parametrize("kind", ["cpt", "sft", "dpo", "orpo"])
def test_a_tokenizer_with_more_tokens_than_the_model_is_one_sentence(tmp_path, saved, kind):
    folder = saved(llama(vocab_size=900))
    with pytest.raises(InputError, match="is used, but the model has embeddings for 900 tokens"):
        run(tmp_path, folder, CPT.model_copy(update={"kind": kind}))


@pytest.mark.parametrize("kind", ["cpt", "sft", "dpo", "orpo"])
def test_a_tokenizer_without_eos_and_pad_is_one_sentence(tmp_path, saved, kind):
    tokenizer = own_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    with pytest.raises(InputError, match=r"eos_token .*tokenizer_config.json"):
        run(tmp_path, saved(llama(), tokenizer), CPT.model_copy(update={"kind": kind}))


def test_a_model_without_pad_token_is_merged_with_what_was_trained_from_it(tmp_path, saved):
    tokenizer = own_tokenizer()
    tokenizer.pad_token = None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = run(tmp_path, saved(llama(), tokenizer), CPT, merge=Merge(t=0.5))
    assert len(made) == 2
    assert any(
        issubclass(one.category, MergeWarning) and "pad_token_id" in str(one.message)
        for one in told
    )


def test_what_a_library_cannot_do_with_an_architecture_is_one_sentence():
    """Not an error of labkit's own: that has to be seen whole."""
    layer = torch.nn.Linear(2, 3)
    told = pytest.raises(InputError, match=r"scoring: torch cannot .*RuntimeError: mat1 and mat2")
    with told, zoo.library_errors("scoring"):
        layer(torch.ones(1, 5))
    with pytest.raises(AttributeError), zoo.library_errors("scoring"):
        trainers.row_words(7)
