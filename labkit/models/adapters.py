"""What fine-tuning added to a model as a low-rank adapter: small enough to ship, in the format peft
reads.

Training with LoRA merges each stage's adapter into the weights, so a pipeline of several stages
leaves one task vector of low rank. Its truncated singular value decomposition is the adapter of
that rank that loses least (Eckart & Young 1936, doi 10.1007/BF02288367).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
LAYERS = ".layers."
# Keys of an adapter's config that say nothing about what is added to which weight: the tensors say
# that themselves, or it is read here.
HARMLESS = {
    *("peft_type", "base_model_name_or_path", "r", "lora_alpha"),
    *("task_type", "auto_mapping", "peft_version", "inference_mode", "lora_dropout"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("megatron_core", "qalora_group_size", "eva_config", "velora_config"),
}
# Values of the other keys that are plain LoRA, where these may be something else than nothing. Only
# these initialisations leave the base's own weights as they are; PiSSA and its kind do not.
PLAIN: dict[str, tuple] = {
    "bias": ("none",),
    "revision": ("main",),
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva", "mica"),
}
NOTHING: tuple = (None, False, "", [], {})
TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Kept:
    """rank: of the adapter. share: of the task vector's squared length that this rank keeps, before
    rounding to bfloat16, in [0, 1].
    """

    rank: int
    share: float


def _linears(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Names of the linear layers inside the transformer's layers, and their weights [outputs,
    inputs].
    """
    import torch

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and LAYERS in f".{name}":
            yield name, module.weight


def save_adapter(
    base: PreTrainedModel, tuned: PreTrainedModel, folder: Path, *, rank: int, base_name: str
) -> Kept:
    """Write tuned - base as a LoRA adapter of this rank, in bfloat16.

    Raises InputError when the two are not one shape, or when something other than linear layers was
    trained.
    """
    import torch
    from safetensors.torch import save_file

    before, after = dict(_linears(base)), dict(_linears(tuned))
    if {n: w.shape for n, w in before.items()} != {n: w.shape for n, w in after.items()}:
        raise InputError(
            "the two models differ in shape, so one cannot be written as an adapter of the other"
        )
    _check_rest(base, tuned, set(before))
    tensors, kept, whole = {}, 0.0, 0.0
    for name, weight in before.items():
        delta = (after[name] - weight).detach().float()
        left, values, right = torch.linalg.svd(delta, full_matrices=False)
        root = values[:rank].sqrt()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = (
            (left[:, :rank] * root).to(torch.bfloat16).contiguous()
        )
        tensors[f"{PREFIX}{name}.lora_A.weight"] = (
            (root[:, None] * right[:rank]).to(torch.bfloat16).contiguous()
        )
        kept, whole = kept + float((values[:rank] ** 2).sum()), whole + float((values**2).sum())
    if whole == 0:
        raise InputError("the two models have equal weights: there is no adapter to write")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in before}),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return Kept(rank, kept / whole)


def _check_rest(base: PreTrainedModel, tuned: PreTrainedModel, linears: set[str]) -> None:
    import torch

    others = dict(tuned.named_parameters())
    for name, weight in base.named_parameters():
        if name.removesuffix(".weight") not in linears and not torch.equal(weight, others[name]):
            raise InputError(
                f"{name} was trained too, and a LoRA adapter holds linear layers only; "
                "save the whole checkpoint instead"
            )


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def base_of(folder: Path) -> str:
    """The model an adapter belongs to. Raises InputError when its config cannot be used."""
    config = _config(folder)
    if config.get("peft_type") != "LORA":
        raise InputError(
            f"{folder / CONFIG}: peft_type is {config.get('peft_type')!r}; labkit applies plain "
            "LoRA only, merge the adapter with peft first"
        )
    if not config.get("base_model_name_or_path"):
        raise InputError(
            f"{folder / CONFIG}: base_model_name_or_path names no model that this adapter belongs "
            "to; write its folder or hub id there"
        )
    for name, value in config.items():
        said = value.lower() if isinstance(value, str) else value
        if name not in HARMLESS and said not in NOTHING and said not in PLAIN.get(name, ()):
            raise InputError(
                f"{folder / CONFIG}: {name} is {value!r}; labkit applies plain "
                "LoRA only, merge the adapter with peft first"
            )
    return str(config["base_model_name_or_path"])


def _config(folder: Path) -> dict:
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise InputError(
            f"{folder / CONFIG}: this is not a readable adapter config; export the adapter again"
        )
    return config


def adapter_tokenizer(
    folder: Path, base: PreTrainedTokenizerBase, rows: int
) -> PreTrainedTokenizerBase:
    """The tokenizer an adapter was trained with: its own where its folder holds one, else its
    base's; with the adapter's own chat template, if it has one.

    rows: of the base's embeddings. Raises InputError when there are more tokens than rows.
    """
    from transformers import AutoTokenizer

    tokenizer = base
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except Exception as error:  # as for any folder: anything may come up from a broken file
            raise InputError(
                f"{folder}: no readable tokenizer; copy or export the adapter again"
            ) from error
        tokenizer.chat_template = tokenizer.chat_template or base.chat_template
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    elif (folder / TEMPLATE).is_file():
        tokenizer.chat_template = (folder / TEMPLATE).read_text("utf-8")
    if (most := max(tokenizer.get_vocab().values())) >= rows:
        raise InputError(
            f"{folder}: its tokenizer counts tokens up to {most}, but the base model has "
            f"embeddings for {rows}, and a LoRA adapter holds none of the others; merge the "
            "adapter with peft first"
        )
    return tokenizer


def apply_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Add an adapter to the model's weights, in place: W + alpha / r * B A.

    Raises InputError naming the first tensor that does not fit, or a broken file.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = _config(folder)
    try:
        tensors = load_file(folder / WEIGHTS)
        scale = config["lora_alpha"] / config["r"]
    except (OSError, SafetensorError, KeyError, TypeError, ZeroDivisionError):
        raise InputError(f"{folder}: this adapter cannot be read; export it again") from None
    for name in tensors:
        if not name.endswith((".lora_A.weight", ".lora_B.weight")):
            raise InputError(
                f"{folder / WEIGHTS}: {name} is no part of plain LoRA; merge the "
                "adapter with peft first"
            )
    weights = dict(_linears(model))
    names = sorted({name.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for name in tensors})
    with torch.no_grad():
        for name in names:
            up, down = (
                tensors.get(f"{PREFIX}{name}.lora_B.weight"),
                tensors.get(f"{PREFIX}{name}.lora_A.weight"),
            )
            fits = (
                name in weights
                and up is not None
                and down is not None
                and (up.shape[0], down.shape[1]) == tuple(weights[name].shape)
            )
            if not fits or {up.shape[1], down.shape[0]} != {config["r"]}:
                raise InputError(
                    f"{folder / WEIGHTS}: {name} does not fit this model; the adapter "
                    "belongs to another base model"
                )
            weights[name] += (scale * up.float() @ down.float()).to(weights[name].dtype)
