"""Whether two models may be merged at all: tokenizers, shapes of the architecture, tensors one by
one.

What would make a merge gibberish is refused with a sentence; what only looks different is a
MergeWarning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.base.errors import MergeError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


FAMILY = "merge checkpoints of one family"
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
# what training tools put before every name
WRAPPERS = ("module.", "_orig_mod.", "base_model.model.")

# What must agree for the same weights to mean the same computation, the telling ones first.
ARCHITECTURE = (
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
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


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
    for name in SPECIAL:
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second:
            raise MergeError(
                f"the tokenizers differ in {name}: {first} in the general model, "
                f"{second} in the {other} model; copy the "
                f"general model's tokenizer files into the {other} model's folder if it "
                "was trained with them"
            )
    if (
        general.chat_template
        and domain.chat_template
        and general.chat_template != domain.chat_template
    ):
        raise MergeError(
            "the chat templates differ: the merge would hear two ways of speaking to "
            "it; copy the general model's "
            f"chat_template.jinja into the {other} model's folder if it was trained with it"
        )
    if bool(general.chat_template) != bool(domain.chat_template):
        lacks = other if general.chat_template else "general"
        note(
            f"the {lacks} model has no chat template; the merge takes the general "
            "model's tokenizer as it is"
        )


def check_configs(
    general: PreTrainedConfig, domain: PreTrainedConfig, *, other: str = "domain"
) -> None:
    """Raises MergeError naming the first part of the architecture that differs. other: as in
    check_tokenizers.
    """
    for name in ARCHITECTURE:
        first, second = getattr(general, name, None), getattr(domain, name, None)
        if first != second:
            raise MergeError(
                f"{name} is {first} in the general model and {second} in the {other} "
                f"model; {FAMILY}"
            )
    classes = [", ".join(config.architectures or ()) for config in (general, domain)]
    if all(classes) and classes[0] != classes[1]:
        note(
            f"the models call themselves {classes[0]} and {classes[1]}, but their "
            "architecture agrees"
        )


@dataclass(frozen=True)
class Signature:
    """What is known of a tensor before it is read. dtype: as safetensors and torch spell it, e.g.
    `bfloat16`.
    """

    shape: tuple[int, ...]
    dtype: str


def match_tensors(
    general: Mapping[str, Signature],
    domain: Mapping[str, Signature],
    *,
    tied: bool,
    other: str = "domain",
) -> dict[str, tuple[str, str]]:
    """Which tensors belong together: name in the merge -> (name in the general, name in the other
    model).

    None is dropped but the copied head of a tied model; the caller makes sure that it is a copy.
    tied: the head is the embedding matrix. other: as in check_tokenizers.
    Raises MergeError naming the first tensor that is missing, extra or of another shape.
    """
    ours, theirs = (
        _bare_names(tensors, side, tied)
        for tensors, side in ((general, "general"), (domain, other))
    )
    for name in sorted(ours.keys() ^ theirs.keys()):
        side = "general" if name in ours else other
        raise MergeError(f"{name} is only in the {side} model: the architectures differ; {FAMILY}")
    for name in ours:
        first, second = general[ours[name]], domain[theirs[name]]
        if first.shape != second.shape:
            raise MergeError(
                f"{name} has shape {first.shape} in the general model and "
                f"{second.shape} in the {other} model; {FAMILY}"
            )
    kinds = [
        ", ".join(sorted({tensor.dtype for tensor in tensors.values()}))
        for tensors in (general, domain)
    ]
    if kinds[0] != kinds[1]:
        note(
            f"the general model is stored in {kinds[0]}, the {other} model in "
            f"{kinds[1]}; they are merged in the wider"
        )
    return {name: (ours[name], theirs[name]) for name in ours}


def _bare_names(tensors: Mapping[str, Signature], side: str, tied: bool) -> dict[str, str]:
    """Name without a training tool's wrapper -> name as it is; without the copied head of a tied
    model.
    """
    names = {name: name for name in tensors}
    for prefix in WRAPPERS:
        if names and all(name.startswith(prefix) for name in names):
            note(
                f"all names of the {side} model begin with {prefix!r}; they are read "
                "and written without it"
            )
            names = {name.removeprefix(prefix): original for name, original in names.items()}
    if tied and HEAD in names and EMBEDDINGS in names:
        note(
            f"{HEAD} is stored beside tied embeddings in the {side} model; it is their "
            "copy and is left out"
        )
        del names[HEAD]
    return names
