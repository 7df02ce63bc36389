from __future__ import annotations

import copy

import pytest

from labkit.base.errors import MergeError
from labkit.merge import guards
from labkit.merge.guards import MergeWarning, Signature
from labkit.models import zoo
from studies.miniatures import SKIPPED, architectures

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


def small(kind: str, **changes):
    """A small config of one kind, with its usual values but for the changes."""
    from transformers import AutoConfig

    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 60,
        "max_position_embeddings": 64,
    }
    return AutoConfig.for_model(kind, **shape | changes)


@pytest.mark.parametrize(
    "kind,field,value,words",
    [
        ("llama", "rms_norm_eps", 1e-5, "rms_norm_eps is 1e-06 in the general model and 1e-05 in"),
        ("gemma2", "final_logit_softcapping", None, "final_logit_softcapping is 30.0 .* and None"),
        ("gemma2", "attn_logit_softcapping", 20.0, "attn_logit_softcapping is 50.0"),
        ("gemma2", "query_pre_attn_scalar", 64, "query_pre_attn_scalar is 256"),
        ("gemma2", "layer_types", ["full_attention"] * 2, "layer_types.0 is sliding_attention"),
        ("gemma2", "hidden_activation", "relu", "hidden_activation is gelu_pytorch_tanh"),
        ("granite", "residual_multiplier", 0.5, "residual_multiplier is 1.0"),
        ("granite", "embedding_multiplier", 2.0, "embedding_multiplier is 1.0"),
        ("granite", "logits_scaling", 2.0, "logits_scaling is 1.0"),
        ("granite", "attention_multiplier", 0.5, "attention_multiplier is 1.0"),
        ("gpt_neox", "use_parallel_residual", False, "use_parallel_residual is True"),
        ("mixtral", "num_experts_per_tok", 1, "num_experts_per_tok is 2"),
        ("cohere", "logit_scale", 1.0, "logit_scale is 0.0625"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx is F"),
        ("smollm3", "no_rope_layers", [1, 0], "no_rope_layers.1 is 1"),
        # stored under another name than it is declared with; not declared; beside a field that
        # differs from layer to layer
        ("kimi_linear", "num_experts_per_tok", 1, "num_experts_per_token is 8"),
        ("bailing_hybrid", "norm_topk_prob", False, "moe_renormalize is True"),
        ("cohere2_moe", "rope_parameters", {"rope_theta": 5.0}, "rope_parameters.rope_theta is 1"),
        ("gemma4_text", "rms_norm_eps", 0.1, "rms_norm_eps is 1e-06"),
    ],
)
def test_every_field_that_is_computed_with_must_agree(kind, field, value, words):
    with pytest.raises(MergeError, match=words):
        guards.check_configs(small(kind), small(kind, **{field: value}))


def test_configs_of_every_architecture_can_be_compared(recwarn):
    from transformers import AutoConfig

    for kind in set(architectures()) - set(SKIPPED):
        guards.check_configs(AutoConfig.for_model(kind), AutoConfig.for_model(kind))
    assert not recwarn.list


def test_all_fields_that_differ_are_named_with_both_values():
    with pytest.raises(MergeError, match=r"in the domain model, mlp_bias False and True, rms_norm"):
        guards.check_configs(
            small("llama", rms_norm_eps=1e-6),
            small("llama", num_attention_heads=2, rms_norm_eps=0.1, mlp_bias=True),
        )


def test_configs_inside_configs_are_compared():
    from transformers import AutoConfig

    ours, theirs = (
        AutoConfig.for_model("gemma3", text_config={"sliding_window": window})
        for window in (512, 1024)
    )
    with pytest.raises(MergeError, match=r"text_config.sliding_window is 512 .* and 1024"):
        guards.check_configs(ours, theirs)


def test_positions_are_computed_from_the_longest_context_of_some_kinds_only():
    with pytest.warns(MergeWarning, match="max_position_embeddings is 64 .* 128"):
        guards.check_configs(small("llama"), small("llama", max_position_embeddings=128))
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    ours, theirs = (
        small("llama", max_position_embeddings=length, rope_parameters=dict(dynamic))
        for length in (64, 128)
    )
    with pytest.raises(MergeError, match="max_position_embeddings is 64"):
        guards.check_configs(ours, theirs)


def test_what_a_finished_model_does_not_compute_with_is_a_note():
    other = small("qwen2", max_window_layers=1, attention_dropout=0.1, use_cache=False)
    other.unsloth_version = "2025.1"  # no field of this config: its model cannot read it
    with pytest.warns(MergeWarning) as told:
        guards.check_configs(small("qwen2"), other)
    (sentence,) = [str(each.message) for each in told]
    for words in ("attention_dropout", "max_window_layers 28 and 1", "unsloth_version None and 20"):
        assert words in sentence


def test_another_version_or_dtype_in_the_config_is_nothing_to_tell(recwarn):
    other = small("llama", dtype="bfloat16")
    other._name_or_path = "elsewhere"
    guards.check_configs(small("llama", dtype="float32"), other)
    assert not recwarn.list


def test_a_quantised_model_is_one_sentence():
    other = small("llama")
    other.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(MergeError, match=r"the domain model is quantised .*bitsandbytes"):
        guards.check_configs(small("llama"), other)


def test_a_base_model_and_its_instruct_sibling_are_a_note(tmp_path):
    """A base model is given its family's template when it is loaded; it still has none."""
    zoo.load("llama-s-instruct").tokenizer.save_pretrained(tmp_path / "instruct")
    base = zoo.tokenizer_of(tmp_path / "instruct")
    base.add_tokens(["<|im_start|>"], special_tokens=True)
    base.chat_template = "{{ messages }}"
    base.save_pretrained(tmp_path / "instruct")
    base.chat_template, base.eos_token = None, "<|end|>"
    base.save_pretrained(tmp_path / "base")
    instruct, base = (zoo.tokenizer_of(tmp_path / name) for name in ("instruct", "base"))
    assert base.chat_template and base.chat_template != instruct.chat_template
    with pytest.warns(MergeWarning) as told:
        guards.check_tokenizers(instruct, base)
    first, second = [str(each.message) for each in told]
    assert "the domain model has no chat template" in first
    assert "differ in eos_token_id: 3 in the general model, 7" in second
    base.save_pretrained(tmp_path / "trained")  # from now on it is its own
    with pytest.raises(MergeError, match=r"differ in eos_token_id"):
        guards.check_tokenizers(instruct, zoo.tokenizer_of(tmp_path / "trained"))


def test_another_padding_token_is_a_note(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.pad_token = other.eos_token
    with pytest.warns(MergeWarning, match="differ in pad_token_id"):
        guards.check_tokenizers(tokenizer, other)


def tensors(*names, dtype=F32, **shapes):
    return {name: Signature(shapes.get(name, (2, 2)), dtype) for name in names}


def test_missing_extra_and_misshapen_tensors_are_named():
    with pytest.raises(MergeError, match="b is only in the general model"):
        guards.match_tensors(tensors("a", "b"), tensors("a"))
    with pytest.raises(MergeError, match="b is only in the domain model"):
        guards.match_tensors(tensors("a"), tensors("a", "b"))
    with pytest.raises(MergeError, match=r"a has shape \(2, 2\) in the general model and \(3,\)"):
        guards.match_tensors(tensors("a"), tensors("a", a=(3,)))


def test_wrapped_names_and_dtypes_are_warnings():
    with pytest.warns(MergeWarning, match="all names of the domain model begin with '_orig_mod.'"):
        found = guards.match_tensors(
            tensors("model.a", "model.b"),
            tensors("_orig_mod.model.a", "_orig_mod.model.b"),
        )
    assert found == {
        "model.a": ("model.a", "_orig_mod.model.a"),
        "model.b": ("model.b", "_orig_mod.model.b"),
    }
    with pytest.warns(MergeWarning, match="stored in float32, the domain model in bfloat16"):
        guards.match_tensors(tensors("a"), tensors("a", dtype="bfloat16"))


def test_a_copied_head_of_a_tied_model_is_left_out():
    names = ("model.embed_tokens.weight", "lm_head.weight")
    with pytest.warns(MergeWarning, match="their copy and is left out"):
        found = guards.match_tensors(
            tensors(*names),
            tensors(names[0]),
            layout=guards.Layout(tied={"lm_head.weight": "model.embed_tokens.weight"}),
        )
    assert list(found) == [names[0]]
    assert len(guards.match_tensors(tensors(*names), tensors(*names))) == 2


def gpt2_layout():
    config = small("gpt2", n_embd=32, n_layer=1, n_head=2, n_positions=8)
    return guards.layout_of(config)


def test_names_with_and_without_the_bodys_prefix_are_one():
    found = guards.match_tensors(
        tensors("transformer.h.0.ln_1.weight", "lm_head.weight"),
        tensors("h.0.ln_1.weight", "lm_head.weight"),
        layout=gpt2_layout(),
    )
    assert found["transformer.h.0.ln_1.weight"] == (
        "transformer.h.0.ln_1.weight",
        "h.0.ln_1.weight",
    )


def test_masks_and_frequencies_of_one_model_only_are_left_out_with_a_note():
    with pytest.warns(MergeWarning, match=r"2 tensors, first h.0.attn.bias, are buffers"):
        found = guards.match_tensors(
            tensors("h.0.ln_1.weight"),
            tensors("h.0.ln_1.weight", "h.0.attn.bias", "h.0.attn.masked_bias"),
            layout=gpt2_layout(),
        )
    assert list(found) == ["h.0.ln_1.weight"]
    frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq"
    with pytest.warns(MergeWarning, match="inv_freq"):
        guards.match_tensors(
            tensors("model.norm.weight", frequencies),
            tensors("model.norm.weight"),
            layout=guards.layout_of(small("llama")),
        )


def test_a_bias_that_the_config_leaves_out_is_still_another_architecture():
    with pytest.raises(MergeError, match=r"q_proj.bias is only in the domain model"):
        guards.match_tensors(
            tensors("model.norm.weight"),
            tensors("model.norm.weight", "model.layers.0.self_attn.q_proj.bias"),
            layout=guards.layout_of(small("llama")),
        )


@pytest.mark.parametrize(
    "kind,head,embeddings",
    [
        ("gpt2", "lm_head.weight", "wte.weight"),
        ("gpt_neox", "embed_out.weight", "gpt_neox.embed_in.weight"),
        ("bloom", "lm_head.weight", "transformer.word_embeddings.weight"),
        ("opt", "lm_head.weight", "model.decoder.embed_tokens.weight"),
    ],
)
def test_the_head_of_a_tied_model_is_known_under_every_name(kind, head, embeddings):
    layout = guards.layout_of(small(kind, tie_word_embeddings=True, hidden_size=32))
    with pytest.warns(MergeWarning, match=f"{head} is stored beside tied embeddings"):
        found = guards.match_tensors(tensors(head, embeddings), tensors(embeddings), layout=layout)
    assert list(found) == [embeddings]
