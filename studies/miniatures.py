"""A tiny model of every architecture that transformers builds for causal language modelling.

Four layers or the fewest an architecture allows, 32 numbers wide, random weights: enough to see
that something computes the same in two ways. `SKIPPED` says which are not built, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = 64
LAYERS = 4
WIDTH = 32

# Fields of configs by what they mean; a config is given those that it has.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), LAYERS
    ),
    "encoder_layers": LAYERS,  # is what generic code takes for the number of layers
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "dim", "emb_dim", "embedding_size", "lru_width"), WIDTH
    ),
    "word_embed_proj_dim": WIDTH,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("head_dim", "attention_head_size", "v_head_dim", "dim_head"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim"), 4),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "d_inner", "dff"), 48
    ),
    **dict.fromkeys(("ffn_hidden_size", "dim_ff"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 128),
    "sliding_window": 8,
    **dict.fromkeys(("mamba_n_heads", "linear_num_value_heads"), 4),
    "mamba_n_groups": 1,
    **dict.fromkeys(("mamba_d_state", "state_size"), 8),
    "mamba_d_head": 16,
    "mamba_d_ssm": 64,
    "linear_num_key_heads": 2,
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    "is_decoder": True,
    "layer_types": None,  # follow from the number of layers
    "dtype": None,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# What an architecture needs beyond that.
OWN: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {
        "layer_group_size": 2,
        "num_key_value_heads": 4,
        "num_experts_per_token": 2,
        "num_expert_group": 1,
    },
    "bamba": {"attn_layer_indices": [1, 3]},
    "codegen": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "granitemoehybrid": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "shared_intermediate_size": 16,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "mlp_layer_types": ["dense", "sparse"] * 2,
        "num_key_value_heads": 4,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "num_experts_per_token": 2,
        "num_experts": 4,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"n_groups": 1, "num_heads": 8},
    "nemotron_h": {
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 1,
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "moe_shared_expert_intermediate_size": 16,
    },
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_dt_rank": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "n_mamba_heads": 8,
        "adapter_rank": 4,
    },
    "xlnet": {"d_head": 8, "attn_type": "uni"},
    "xlm": {"causal": True},
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": VOCABULARY,
        "shape_embed_dim": 8,
        "shape_vocab_size": VOCABULARY,
    },
    "deepseek_v4": {
        "head_dim": 16,
        "num_key_value_heads": 1,
        "o_groups": 2,
        "o_lora_rank": 8,
        "index_n_heads": 2,
        "index_head_dim": 8,
    },
    "inkling_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "rel_extent": 32,
    },
    "longcat_flash": {
        "head_dim": 4,
        "moe_topk": 2,
        "zero_expert_num": 2,
        "expert_ffn_hidden_size": 16,
    },
    "minimax_m3_vl_text": {
        "shared_intermediate_size": 16,
        "dense_intermediate_size": 48,
        "index_head_dim": 8,
    },
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "gemma3n_text": {
        "num_hidden_layers": 5,
        "num_kv_shared_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["full_attention"],
        "intermediate_size": [48] * 5,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 5,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "xlstm": {"chunk_size": 16, "chunkwise_kernel": "chunkwise--native_autograd"},
    "reformer": {
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local"] * LAYERS,
        "feed_forward_size": 48,
        "local_attn_chunk_length": 16,
    },
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}
OWN["inkling2_text"] = OWN["inkling_text"]

SEES = "reads images or sound as well; its config holds a whole model for them"
DRAFTS = "drafts for another model, whose cache it reads"
CODES = "writes codes of sound, not text"
NO_DEFAULT = "transformers cannot build what its own default config says"
SKIPPED = {
    "blt": "reads bytes in patches, which three models inside it make",
    "cohere_compass_text": NO_DEFAULT,
    "cpmant": "every token sees those after it, so it is no causal model",
    "dbrx": NO_DEFAULT,
    "dots3_note": SEES,
    "dots3_note_text": "its layers have two shapes, of which the sizes change only one",
    "gemma3": SEES,
    "gemma3n": SEES,
    "gemma4_assistant": DRAFTS,
    "gemma4_unified_assistant": DRAFTS,
    "git": SEES,
    "got_ocr2": SEES,
    "moss_transcribe_diarize": SEES,
    "musicgen": CODES,
    "musicgen_melody": CODES,
    "phi4_multimodal": SEES,
    "qwen4_exp": NO_DEFAULT,
    "qwen4_exp_text": NO_DEFAULT,
    "xlstm": "transformers' kernel for processors refuses the shapes of its own state",
}


def architectures() -> list[str]:
    """Every model type that transformers builds for causal language modelling."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small_config(kind: str, **changes: Any) -> PreTrainedConfig:
    """The config of an architecture with everything as it is but the sizes."""
    from transformers import CONFIG_MAPPING

    made = CONFIG_MAPPING[kind]
    default = made()
    if text := getattr(default, "text_config", None):
        return made(text_config=small_config(text.model_type, **changes).to_dict())
    known = default.to_dict()
    sizes = {field: value for field, value in SIZES.items() if field in known}
    if "vocab_size" in changes and "vocab_size_per_layer_input" in known:
        sizes["vocab_size_per_layer_input"] = changes["vocab_size"]
    if "qk_rope_head_dim" in known:  # there a head's width is the sum of its parts
        sizes.pop("head_dim", None)
    if "kv_lora_rank" in known:
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    return made(**{**sizes, **OWN.get(kind, {}), **changes})


def miniature(kind: str, **changes: Any) -> PreTrainedModel:
    """A tiny random model of an architecture, the same every time. changes: of its config."""
    import torch
    from transformers import AutoModelForCausalLM

    config = small_config(kind, **changes)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def tokenizer() -> PreTrainedTokenizerBase:
    """One that knows a word for every token of the miniatures, and ChatML."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    from labkit.models.families import CHATML

    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    words = [*special, "user", "assistant", *(f"w{i}" for i in range(VOCABULARY))][:VOCABULARY]
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<eos>"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHATML,
    )
