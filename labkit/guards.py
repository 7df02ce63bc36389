"""Whether two models may be merged at all: tokenizers, shapes of the architecture, tensors one by one.

What would make a merge gibberish is refused with a sentence; what only looks different is a MergeWarning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import MergeError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

FAMILY = "merge checkpoints of one family"
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "model.")

# What must agree for the same weights to mean the same computation, the telling ones first.
ARCHITECTURE = (
    "model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "head_dim", "vocab_size", "tie_word_embeddings", "hidden_act", "rope_parameters", "sliding_window",
)
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


class MergeWarning(UserWarning):
    """Two models differ in something that does not spoil a merge."""


def note(sentence: str) -> None:
    warnings.warn(sentence, MergeWarning, stacklevel=3)


def check_tokenizers(general: PreTrainedTokenizerBase, domain: PreTrainedTokenizerBase) -> None:
    """Raises MergeError when one id means different tokens to the two models: the merge would be gibberish."""
    ours, theirs = general.get_vocab(), domain.get_vocab()
    differing = [token for token in sorted(ours.keys() | theirs.keys()) if ours.get(token) != theirs.get(token)]
    if differing:
        raise MergeError(
            f"the tokenizers differ in {len(differing)} entries, first {differing[0]!r} "
            f"(id {ours.get(differing[0])} in the general model, {theirs.get(differing[0])} in the domain model); {FAMILY}"
        )
    for name in SPECIAL:
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second:
            raise MergeError(
                f"the tokenizers differ in {name}: {first} in the general model, {second} in the domain model; copy the "
                "general model's tokenizer files into the domain model's folder if it was trained with them"
            )
    if general.chat_template and domain.chat_template and general.chat_template != domain.chat_template:
        raise MergeError(
            "the chat templates differ: the merge would hear two ways of speaking to it; copy the general model's "
            "chat_template.jinja into the domain model's folder if it was trained with it"
        )


def check_configs(general: PreTrainedConfig, domain: PreTrainedConfig) -> None:
    """Raises MergeError naming the first part of the architecture that differs."""
    for name in ARCHITECTURE:
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second:
            raise MergeError(f"{name} is {first} in the general model and {second} in the domain model; {FAMILY}")
    classes = [", ".join(config.architectures or ()) for config in (general, domain)]
    if all(classes) and classes[0] != classes[1]:
        note(f"the models call themselves {classes[0]} and {classes[1]}, but their architecture agrees")


@dataclass(frozen=True)
class Signature:
    """What is known of a tensor before it is read. dtype: as safetensors and torch spell it, e.g. `bfloat16`."""

    shape: tuple[int, ...]
    dtype: str


def match_tensors(general: Mapping[str, Signature], domain: Mapping[str, Signature], *, tied: bool) -> dict[str, str]:
    """Pairs of names: each tensor of the general model -> the same tensor of the domain model. None is dropped.

    tied: the head is the embedding matrix, so that a head stored beside it is a copy and is left out.
    Raises MergeError naming the first tensor that is missing, extra or of another shape.
    """
    ours = {name: name for name in _without_copies(general, tied)}
    theirs = {name: name for name in _without_copies(domain, tied)}
    if ours.keys() != theirs.keys():
        theirs = _without_wrapper(ours, theirs)
    for name in sorted(ours.keys() ^ theirs.keys()):
        side = "general" if name in ours else "domain"
        raise MergeError(f"{name} is only in the {side} model: the architectures differ; {FAMILY}")
    for name in ours:
        first, second = general[name], domain[theirs[name]]
        if first.shape != second.shape:
            raise MergeError(
                f"{name} has shape {first.shape} in the general model and {second.shape} in the domain model; {FAMILY}"
            )
    _note_dtypes(general, domain)
    return {name: theirs[name] for name in ours}


def _without_copies(tensors: Mapping[str, Signature], tied: bool) -> list[str]:
    if tied and HEAD in tensors and EMBEDDINGS in tensors:
        note(f"{HEAD} is stored beside tied embeddings; it is their copy and is left out")
        return [name for name in tensors if name != HEAD]
    return list(tensors)


def _without_wrapper(ours: dict[str, str], theirs: dict[str, str]) -> dict[str, str]:
    """The domain model's names, without or with a prefix that one side's names all carry and the other's lack."""
    for prefix in WRAPPERS:
        for renamed in (
            {name.removeprefix(prefix): name for name in theirs},
            {prefix + name: name for name in theirs},
        ):
            if renamed.keys() == ours.keys():
                note(f"the domain model's tensors are named with another prefix ({prefix!r}); they are matched without it")
                return renamed
    return theirs


def _note_dtypes(general: Mapping[str, Signature], domain: Mapping[str, Signature]) -> None:
    kinds = [sorted({tensor.dtype for tensor in tensors.values()}) for tensors in (general, domain)]
    if kinds[0] != kinds[1]:
        note(f"the general model is stored in {', '.join(kinds[0])}, the domain model in {', '.join(kinds[1])}; the wider is kept")
