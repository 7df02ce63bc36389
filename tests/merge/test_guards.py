from __future__ import annotations

import copy

import pytest

from labkit.base.errors import MergeError
from labkit.merge import guards
from labkit.merge.guards import MergeWarning, Signature
from labkit.models import zoo

F32 = "float32"


@pytest.fixture
def tokenizer():
    return zoo.load("llama-s-instruct").tokenizer


def test_equal_tokenizers_pass_and_a_template_on_one_side_only_is_a_note(tokenizer):
    other = zoo.load("llama-s-base").tokenizer
    guards.check_tokenizers(tokenizer, other)
    other.chat_template = None
    with pytest.warns(MergeWarning, match="the ancestor model has no chat template"):
        guards.check_tokenizers(tokenizer, other, other="ancestor")


def test_different_vocabulary(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<extra>"])
    with pytest.raises(MergeError, match="differ in 1 entries, first '<extra>'"):
        guards.check_tokenizers(tokenizer, other)


def test_different_special_tokens(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.eos_token = "<|end|>"
    with pytest.raises(
        MergeError,
        match=r"differ in eos_token_id: 3 in the general model, 7 .*copy the general model's",
    ):
        guards.check_tokenizers(tokenizer, other)


def test_different_chat_template(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = tokenizer.chat_template.replace("<|user|>", "User: ")
    other.chat_template += " "
    with pytest.raises(MergeError, match=r"chat templates differ.*chat_template.jinja"):
        guards.check_tokenizers(tokenizer, other)


@pytest.mark.parametrize(
    "field,value,words",
    [
        ("num_hidden_layers", 6, "num_hidden_layers is 4 in the general model and 6"),
        ("num_attention_heads", 4, "num_attention_heads is 2"),
        ("tie_word_embeddings", False, "tie_word_embeddings is True"),
    ],
)
def test_different_architecture(field, value, words):
    config = zoo.config_of(zoo.model_folder("llama-s-base"))
    other = copy.deepcopy(config)
    setattr(other, field, value)
    with pytest.raises(MergeError, match=words):
        guards.check_configs(config, other)


def test_another_name_for_the_same_architecture_is_a_warning():
    config = zoo.config_of(zoo.model_folder("llama-s-base"))
    other = copy.deepcopy(config)
    other.architectures = ["MyLlama"]
    with pytest.warns(MergeWarning, match="LlamaForCausalLM and MyLlama"):
        guards.check_configs(config, other)


def tensors(*names, dtype=F32, **shapes):
    return {name: Signature(shapes.get(name, (2, 2)), dtype) for name in names}


def test_missing_extra_and_misshapen_tensors_are_named():
    with pytest.raises(MergeError, match="b is only in the general model"):
        guards.match_tensors(tensors("a", "b"), tensors("a"), tied=False)
    with pytest.raises(MergeError, match="b is only in the domain model"):
        guards.match_tensors(tensors("a"), tensors("a", "b"), tied=False)
    with pytest.raises(MergeError, match=r"a has shape \(2, 2\) in the general model and \(3,\)"):
        guards.match_tensors(tensors("a"), tensors("a", a=(3,)), tied=False)


def test_wrapped_names_and_dtypes_are_warnings():
    with pytest.warns(MergeWarning, match="all names of the domain model begin with '_orig_mod.'"):
        found = guards.match_tensors(
            tensors("model.a", "model.b"),
            tensors("_orig_mod.model.a", "_orig_mod.model.b"),
            tied=False,
        )
    assert found == {
        "model.a": ("model.a", "_orig_mod.model.a"),
        "model.b": ("model.b", "_orig_mod.model.b"),
    }
    with pytest.warns(MergeWarning, match="stored in float32, the domain model in bfloat16"):
        guards.match_tensors(tensors("a"), tensors("a", dtype="bfloat16"), tied=False)


def test_a_copied_head_of_a_tied_model_is_left_out():
    names = ("model.embed_tokens.weight", "lm_head.weight")
    with pytest.warns(MergeWarning, match="their copy and is left out"):
        found = guards.match_tensors(tensors(*names), tensors(names[0]), tied=True)
    assert list(found) == [names[0]]
    assert len(guards.match_tensors(tensors(*names), tensors(*names), tied=False)) == 2
