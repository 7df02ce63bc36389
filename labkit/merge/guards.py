"""Whether two models may be merged at all: tokenizers, configs, tensors one by one.

What would make a merge gibberish is refused with a sentence; what only looks different is a
MergeWarning.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.base.errors import MergeError
from labkit.models.families import family_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


FAMILY = "merge checkpoints of one family"
# what training tools put before every name
WRAPPERS = ("module.", "_orig_mod.", "base_model.model.")

# Every field of a config must agree for the same weights to mean the same computation. These are
# the telling ones, which are named first.
TELLING = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "tie_word_embeddings",
    "hidden_act",
    "rope_parameters",
    "sliding_window",
)
# What describes the file rather than the model: it differs between most models, nobody is told.
BOOKKEEPING = {"_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}
# What a finished model does not compute with: a difference is a note.
HARMLESS = {
    # ids that only say where a text begins and ends; the tokenizers are compared by themselves
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"),
    # labels and heads of classifiers, and what a call gives back
    *("id2label", "label2id", "num_labels", "problem_type", "label_names"),
    *("output_attentions", "output_hidden_states", "output_router_logits", "return_dict"),
    *("num_logits_to_keep",),
    # how it is computed, not what: caches, chunks and kernels
    *("use_cache", "cache_implementation", "chunk_size_feed_forward", "pretraining_tp"),
    *("use_mamba_kernels", "use_mambapy", "use_associative_scan", "use_mem_eff_path"),
    # initialisation of fresh weights
    *("initializer_range", "initializer_factor", "initializer_cutoff_factor", "init_std"),
    *("embed_init_std", "embedding_initializer_range", "rescale_prenorm_residual", "init_device"),
    # weights of the losses of training
    *("router_aux_loss_coef", "router_z_loss_coef", "aux_loss_coef", "z_loss_coefficient"),
    *("moe_loss_weight", "mtp_loss_scaling_factor"),
    # layer_types, which is compared, has what it says
    "max_window_layers",
}
HARMLESS_PARTS = ("dropout", "pdrop", "layerdrop", "summary_", "classifier_")
# The longest context is a promise, unless positions are computed from it.
LONGEST = {
    *("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"),
    *("context_length", "model_max_length"),
}
FROM_LONGEST = ("dynamic", "yarn", "longrope")  # types of rotary positions
# Fields some models read though their config class does not declare them.
READ_UNDECLARED = {
    *("head_dim", "sliding_window", "router_bias", "use_bidirectional_attention"),
    *("per_layer_config", "rope_parameters"),
}
MOST_SHOWN = 60  # letters of a value in a sentence
QUANTISED = ("quantization_config", "compression_config")
SPECIAL = ("bos_token_id", "eos_token_id", "unk_token_id")
# Buffers that older versions of transformers stored; it makes them anew now.
STORED_BUFFERS = (r"inv_freq$", r"masked_bias$", r"(attn|attention)\.bias$")


class MergeWarning(UserWarning):
    """Two models differ in something that does not spoil a merge."""


def note(sentence: str) -> None:
    warnings.warn(sentence, MergeWarning, stacklevel=3)


def check_tokenizers(
    general: PreTrainedTokenizerBase, domain: PreTrainedTokenizerBase, *, other: str = "domain"
) -> None:
    """Raises MergeError when one id means different tokens to the two models: the merge would be
    gibberish.

    other: what the second model is called in sentences.
    """
    ours, theirs = general.get_vocab(), domain.get_vocab()
    differing = [
        token
        for token in sorted(ours.keys() | theirs.keys())
        if ours.get(token) != theirs.get(token)
    ]
    if differing:
        raise MergeError(
            f"the tokenizers differ in {len(differing)} entries, first {differing[0]!r} "
            f"(id {ours.get(differing[0])} in the general model, "
            f"{theirs.get(differing[0])} in the {other} model); {FAMILY}"
        )
    templates = [own_template(tokenizer) for tokenizer in (general, domain)]
    one_is_base = bool(templates[0]) != bool(templates[1])
    for name in SPECIAL:
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second and not (name == "eos_token_id" and one_is_base):
            raise MergeError(
                f"the tokenizers differ in {name}: {first} in the general model, "
                f"{second} in the {other} model; copy the "
                f"general model's tokenizer files into the {other} model's folder if it "
                "was trained with them"
            )
    if all(templates) and templates[0] != templates[1]:
        raise MergeError(
            "the chat templates differ: the merge would hear two ways of speaking to "
            "it; copy the general model's "
            f"chat_template.jinja into the {other} model's folder if it was trained with it"
        )
    if one_is_base:
        lacks = other if templates[0] else "general"
        note(
            f"the {lacks} model has no chat template; the merge takes the general "
            "model's tokenizer as it is"
        )
    _note_ends(general, domain, other)


def own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template a tokenizer came with; None for a base model that has its family's from
    labkit.
    """
    template = tokenizer.chat_template
    given = template == family_template(tokenizer) and not tokenizer.init_kwargs.get(
        "chat_template"
    )
    return None if given else template


def _note_ends(
    general: PreTrainedTokenizerBase, domain: PreTrainedTokenizerBase, other: str
) -> None:
    """Which token ends a text and which fills rows up changes no weight: base models and their
    instruct siblings often differ in both.
    """
    for name in ("eos_token_id", "pad_token_id"):
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second:
            note(
                f"the tokenizers differ in {name}: {first} in the general model, {second} in the "
                f"{other} model; the merge takes the general model's"
            )


def check_configs(
    general: PreTrainedConfig, domain: PreTrainedConfig, *, other: str = "domain"
) -> None:
    """Raises MergeError naming the fields that change what is computed and differ, or a model that
    is quantised. other: as in check_tokenizers.
    """
    for config, side in ((general, "general"), (domain, other)):
        check_whole_weights(config, f"the {side} model")
    telling: list[tuple[str, object, object]] = []
    harmless: list[tuple[str, object, object]] = []
    for path, first, second, matters in _differences(general, domain):
        (telling if matters else harmless).append((path, first, second))
    if telling:
        raise MergeError(f"{_named(telling, other)}; {FAMILY}")
    if harmless:
        note(
            "nothing that a finished model computes depends on this, and the merge takes the "
            f"general model's: {_named(harmless, other)}"
        )
    classes = [", ".join(config.architectures or ()) for config in (general, domain)]
    if all(classes) and classes[0] != classes[1]:
        note(
            f"the models call themselves {classes[0]} and {classes[1]}, but their "
            "architecture agrees"
        )


def check_whole_weights(config: PreTrainedConfig, model: str) -> None:
    """Raises MergeError when a model is stored as the codes of a quantisation. model: its name in
    the sentence.
    """
    found = next((said for key in QUANTISED if (said := getattr(config, key, None))), None)
    if found:
        said = found if isinstance(found, dict) else found.to_dict()
        method = said.get("quant_method") or "a method that is not named"
        raise MergeError(
            f"{model} is quantised (quantization_config in its config.json: {method}): its "
            "weights are codes, which cannot be added; take the model in bfloat16 or float32, or "
            "write it out with transformers' dequantize()"
        )


def _differences(
    general: PreTrainedConfig, domain: PreTrainedConfig
) -> Iterator[tuple[str, object, object, bool]]:
    """What differs: the field's path, both values, and whether anything is computed with it. The
    telling ones come first.
    """
    ours, theirs = _fields(general), _fields(domain)
    paths = [*TELLING, *sorted((ours.keys() | theirs.keys()) - set(TELLING))]
    for path in paths:
        (first, declared), (second, also) = (
            fields.get(path, (None, False)) for fields in (ours, theirs)
        )
        name = path.rpartition(".")[2]
        if first == second or name in BOOKKEEPING:
            continue
        matters = not _is_harmless(name, declared or also, (ours, theirs))
        yield (*_place(path, first, second), matters)
        if path == "model_type":  # all else follows from it
            return


def _fields(config: PreTrainedConfig, prefix: str = "") -> dict[str, tuple[object, bool]]:
    """Path -> value, and whether the class of the config declares the field; a config in a config
    has paths such as `text_config.hidden_size`.
    """
    from transformers import PreTrainedConfig

    declared = {field.name for field in dataclasses.fields(type(config))} | {"model_type"}
    # a few are stored under another name than they are declared with
    declared |= {config.attribute_map.get(name, name) for name in declared}
    found: dict[str, tuple[object, bool]] = {}
    for name, value in config.to_dict().items():
        inner = vars(config).get(name)  # a field that differs from layer to layer cannot be asked
        if isinstance(inner, PreTrainedConfig):
            found |= _fields(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = (_plain(value), name in declared)
    return found


def _is_harmless(name: str, declared: bool, both: Iterable[Mapping[str, tuple]]) -> bool:
    if name in LONGEST:
        return not any(
            f"'{kind}'" in str(value)
            for fields in both
            for path, (value, _) in fields.items()
            if path.endswith("rope_parameters")
            for kind in FROM_LONGEST
        )
    return (
        name in HARMLESS
        or any(part in name for part in HARMLESS_PARTS)
        or not (declared or name in READ_UNDECLARED)
    )


def _plain(value: object) -> Any:
    """A value without what only looks different: fields set to nothing, and the old name `type`
    beside `rope_type`.
    """
    if isinstance(value, dict):
        return {
            key: _plain(part)
            for key, part in value.items()
            if part is not None and not (key == "type" and "rope_type" in value)
        }
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _place(path: str, first: Any, second: Any) -> tuple[str, object, object]:
    """The first place inside a field where two values of one shape differ, such as
    `layer_types.1`.
    """
    parts: list[tuple] = []
    if isinstance(first, dict) and isinstance(second, dict):
        parts = [(key, first.get(key), second.get(key)) for key in first | second]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        parts = list(zip(range(len(first)), first, second, strict=True))
    for key, one, other in parts:
        if one != other:
            return _place(f"{path}.{key}", one, other)
    return path, first, second


def _named(found: list[tuple[str, object, object]], other: str) -> str:
    (path, first, second), *rest = found
    return "".join(
        [
            f"{path} is {_shown(first)} in the general model and {_shown(second)} in the {other} "
            "model",
            *(f", {path} {_shown(first)} and {_shown(second)}" for path, first, second in rest),
        ]
    )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."


@dataclass(frozen=True)
class Signature:
    """What is known of a tensor before it is read. dtype: as safetensors and torch spell it, e.g.
    `bfloat16`.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layout:
    """What transformers knows of a model's tensors before it reads any.

    loaded: the names it loads. called: a stored name -> the name it is loaded under, since older
    files call tensors otherwise or leave out the prefix of the body. passed_over: patterns of
    stored names it does not load. tied: name of the head -> name of the embeddings it is.
    """

    loaded: frozenset[str] = frozenset()
    called: Callable[[str], str] = str
    passed_over: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)

    def passes_over(self, name: str) -> bool:
        return name not in self.loaded and any(re.search(part, name) for part in self.passed_over)


def layout_of(config: PreTrainedConfig) -> Layout:
    """The layout of the model a config describes, which is built without memory for its weights;
    nothing is known of one that transformers has no language model for.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        return Layout()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    loaded = frozenset(model.state_dict())
    buffers = {name for name, _ in model.named_buffers()} - loaded
    return Layout(
        loaded,
        _names_of(model),
        (
            *(model._keys_to_ignore_on_load_unexpected or ()),
            *(f"^{re.escape(name)}$" for name in buffers),
            *STORED_BUFFERS,
        ),
        dict(model.all_tied_weights_keys),
    )


def _names_of(model: PreTrainedModel) -> Callable[[str], str]:
    """A stored name -> the name transformers loads it under."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    known = get_model_conversion_mapping(model)
    renamings = [step for step in known if isinstance(step, WeightRenaming)]
    prefix, state = model.base_model_prefix, model.state_dict()
    return lambda name: rename_source_key(name, renamings, [], prefix, state)[0]


NOTHING_KNOWN = Layout()


def match_tensors(
    general: Mapping[str, Signature],
    domain: Mapping[str, Signature],
    *,
    layout: Layout = NOTHING_KNOWN,
    other: str = "domain",
) -> dict[str, tuple[str, str]]:
    """Which tensors belong together: name in the merge -> (name in the general, name in the other
    model). The merge has the general model's names.

    Two kinds are dropped, with a note: the copied head of a tied model, of which the caller makes
    sure that it is a copy, and what transformers does not load where the two do not agree in it.
    other: as in check_tokenizers.
    Raises MergeError naming the first tensor that is missing, extra or of another shape.
    """
    ours, theirs = (
        _loaded_names(tensors, layout, side)
        for tensors, side in ((general, "general"), (domain, other))
    )
    _drop_passed_over(ours, general, theirs, domain, layout, other)
    for name in sorted(ours.keys() ^ theirs.keys()):
        side, stored = ("general", ours[name]) if name in ours else (other, theirs[name])
        raise MergeError(
            f"{stored} is only in the {side} model: the architectures differ; {FAMILY}"
        )
    for name in ours:
        first, second = general[ours[name]], domain[theirs[name]]
        if first.shape != second.shape:
            raise MergeError(
                f"{ours[name]} has shape {first.shape} in the general model and "
                f"{second.shape} in the {other} model; {FAMILY}"
            )
    kinds = [
        ", ".join(sorted({tensors[name].dtype for name in names.values()}))
        for tensors, names in ((general, ours), (domain, theirs))
    ]
    if kinds[0] != kinds[1]:
        note(
            f"the general model is stored in {kinds[0]}, the {other} model in "
            f"{kinds[1]}; they are merged in the wider"
        )
    prefix = wrapper_of(general)
    return {stored.removeprefix(prefix): (stored, theirs[name]) for name, stored in ours.items()}


def _loaded_names(tensors: Mapping[str, Signature], layout: Layout, side: str) -> dict[str, str]:
    """The name a tensor is loaded under -> the name it is stored under; without the copied head of
    a tied model.
    """
    wrapper = wrapper_of(tensors)
    if wrapper:
        note(
            f"all names of the {side} model begin with {wrapper!r}; they are read "
            "and written without it"
        )
    names: dict[str, str] = {}
    for stored in tensors:
        name = layout.called(stored.removeprefix(wrapper))
        if name in names:
            raise MergeError(
                f"{names[name]} and {stored} of the {side} model are one tensor under two names; "
                "export the model again"
            )
        names[name] = stored
    for head, embeddings in layout.tied.items():
        if head in names and embeddings in names:
            note(
                f"{names[head]} is stored beside tied embeddings in the {side} model; it is "
                "their copy and is left out"
            )
            del names[head]
        elif head in names:  # the one tensor, stored under its other name
            names[embeddings] = names.pop(head)
    return names


def wrapper_of(tensors: Mapping[str, Signature]) -> str:
    """The prefixes of training tools that all names have."""
    found = ""
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(found + prefix) for name in tensors):
            found += prefix
    return found


def _drop_passed_over(
    ours: dict[str, str],
    general: Mapping[str, Signature],
    theirs: dict[str, str],
    domain: Mapping[str, Signature],
    layout: Layout,
    other: str,
) -> None:
    """Take out, with a note, what transformers does not load and the two do not share."""
    dropped = sorted(
        name
        for name in ours.keys() | theirs.keys()
        if layout.passes_over(name)
        and (name not in ours or name not in theirs or general[ours[name]] != domain[theirs[name]])
    )
    if dropped:
        stored = ours.get(dropped[0]) or theirs[dropped[0]]
        note(
            f"{len(dropped)} tensors, first {stored}, are buffers that transformers does not "
            f"load, and the general and the {other} model do not share them; they are left out"
        )
    for name in dropped:
        ours.pop(name, None)
        theirs.pop(name, None)
