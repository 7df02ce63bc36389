"""What a Hugging Face config says about a model before there is one: its matrices, its parameters,
its FLOPs.

Everything is counted in closed form from `config.json`; no weights are read and no model is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base.errors import InputError, suggest
from labkit.data.packs import samples_folder
from labkit.models import zoo
from labkit.models.adapters import base_of, is_adapter
from labkit.models.families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Kind:
    """How a type of decoder is built, as far as its parameters go.

    gated: the MLP has a gate. fused: q, k, v are one matrix, and so are gate and up. grouped: heads
    may share keys and values. A bias is True, False, or the config's field that says so; biased,
    tied: what a silent config means. norms: per layer, over the hidden width. qk_norm: over a
    `head`, over the `width` of all, or none. positions: the field that gives the number of learned
    ones.
    """

    gated: bool = True
    fused: bool = False
    grouped: bool = True
    qkv_bias: bool | str = False
    out_bias: bool | str = False
    mlp_bias: bool | str = False
    biased: bool = False
    norms: int = 2
    norm_bias: bool = False
    qk_norm: str = ""
    tied: bool = False
    positions: str = ""


KINDS = {
    "llama": Kind(qkv_bias="attention_bias", out_bias="attention_bias", mlp_bias="mlp_bias"),
    "mistral": Kind(),
    "qwen2": Kind(qkv_bias=True),
    "qwen3": Kind(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"),
    "phi3": Kind(fused=True),
    "gemma": Kind(qkv_bias="attention_bias", out_bias="attention_bias", tied=True),
    "gemma2": Kind(qkv_bias="attention_bias", out_bias="attention_bias", norms=4, tied=True),
    "gemma3_text": Kind(
        qkv_bias="attention_bias", out_bias="attention_bias", norms=4, qk_norm="head", tied=True
    ),
    "olmo2": Kind(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="width"),
    "granite": Kind(qkv_bias="attention_bias", out_bias="attention_bias", mlp_bias="mlp_bias"),
    "smollm3": Kind(
        qkv_bias="attention_bias", out_bias="attention_bias", mlp_bias="mlp_bias", tied=True
    ),
    "gpt2": Kind(
        gated=False,
        fused=True,
        grouped=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        norm_bias=True,
        tied=True,
        positions="max_position_embeddings",
    ),
    "gpt_neox": Kind(
        gated=False,
        fused=True,
        grouped=False,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        mlp_bias=True,
        biased=True,
        norm_bias=True,
    ),
}


class Uncounted(InputError):
    """A model of a type that transformers knows, but whose matrices are not counted here."""


STORED_BYTES = {"bfloat16": 2, "float16": 2}
LONGEST = ("max_position_embeddings", "n_positions", "max_seq_len")
GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
}


@dataclass(frozen=True)
class Architecture:
    """The shape of a decoder. hidden, intermediate: widths. heads, kv_heads, head_dim: of
    attention. vocabulary: entries.

    tied: the head is the embedding's own matrix. extra: parameters that are in no matrix of a layer
    and in neither embedding nor head (norms, biases, learned positions). matrices: (inputs,
    outputs) of one layer's linear layers. norms: per layer. context: the longest sequence the
    config allows, in tokens (0: it does not say). stored: bytes per parameter in its files.
    """

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    extra: int
    matrices: tuple[tuple[int, int], ...]
    gated: bool = True
    norms: int = 2
    context: int = 0
    stored: int = 4

    @cached_property
    def linear_parameters(self) -> int:
        """Weights of the linear layers inside all layers: what LoRA adapts and QLoRA quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def table_parameters(self) -> int:
        """Embedding and head together: one table when they are tied, two otherwise."""
        return self.embedding_parameters * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All of them, as `sum(p.numel() for p in model.parameters())` has it."""
        return self.linear_parameters + self.table_parameters + self.extra

    @property
    def width(self) -> int:
        """Of all attention heads together; usually the hidden width."""
        return self.heads * self.head_dim

    def lora_parameters(self, rank: int) -> int:
        """Adapters of a rank on all linear layers except the head: r (inputs + outputs) each (arXiv
        2106.09685).
        """
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices)

    def attention_flops(self, length: int) -> int:
        """FLOPs per token of forward and backward that attention adds to its matrices: 12 L h T
        (arXiv 2204.02311, B).
        """
        return 12 * self.layers * self.width * length

    def flops_per_token(self, length: int, lora_rank: int | None = None) -> int:
        """FLOPs of training one token in a row of `length` tokens: 6 P, and attention (arXiv
        2001.08361, 2204.02311).

        With LoRA 4 P: the backward pass still goes through every frozen matrix to its inputs, only
        the frozen weights' own gradients are saved; the adapters cost 6 of theirs.
        """
        if lora_rank is None:
            return 6 * self.parameters + self.attention_flops(length)
        return (
            4 * self.parameters + 6 * self.lora_parameters(lora_rank) + self.attention_flops(length)
        )

    def forward_flops_per_token(self, length: int) -> int:
        """FLOPs of reading one token without learning from it, as a reference model does: a third
        of all.
        """
        return 2 * self.parameters + self.attention_flops(length) // 3


# --- from a config ----------------------------------------------------------------------------


def known_configs() -> dict[str, Path]:
    """Models whose config comes with labkit, by name: nothing is downloaded to plan for them."""
    return {path.stem: path for path in sorted(samples_folder("configs").glob("*.json"))}


def architecture_of(source: str | Path | dict) -> Architecture:
    """The shape of a model by name, folder, config file, hub id, or from a config's mapping.

    Names: those of `known_configs` (also by their hub id, in any case) and of the zoo. A hub id
    that is not among them is looked up on the hub, its config only. Raises InputError naming the
    file and field that cannot be used.
    """
    if isinstance(source, dict):
        return _from_config(
            source,
            "the config",
            str(source.get("_name_or_path") or source.get("model_type", "model")),
        )
    config, place = config_of(str(source))
    shown = Path(place).stem if Path(place) in known_configs().values() else str(source)
    return _from_config(config, place, shown)


def config_of(name: str) -> tuple[dict, str]:
    """A model's config as a mapping, and where it stands; no weights are read.

    Raises InputError for a name that is no model, or a file that is no config.
    """
    name = _under_adapter(name)
    if to_build := _family_config(name):
        return to_build, name
    path = _config_path(name)
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"{path}: this is not readable JSON; copy or export the config again"
        ) from None
    if not isinstance(config, dict):
        raise InputError(
            f"{path}: expected a mapping of config fields, as config.json of a Hugging "
            "Face model has"
        )
    return config, str(path)


def _family_config(name: str) -> dict | None:
    """The config of a family that is too large to ship: its shape, and the rest as a shipped
    sibling has it.
    """
    family = FAMILIES.get(name.rpartition("-")[0])
    if family is None or family.shipped or name not in zoo.known_names():
        return None
    shipped = [
        json.loads((zoo.shipped_folder() / other / "config.json").read_text("utf-8"))
        for other in zoo.shipped_models()
    ]
    sibling = next(config for config in shipped if config["model_type"] == family.architecture)
    return {
        **sibling,
        **family.shape,
        "head_dim": family.shape["hidden_size"] // family.shape["num_attention_heads"],
    }


def _under_adapter(name: str) -> str:
    """The model that an adapter, by name or folder, lies on; any other name as it is."""
    folder = samples_folder("adapters") / name if name in zoo.shipped_adapters() else Path(name)
    return base_of(folder) if is_adapter(folder) else name


def _config_path(name: str) -> Path:
    known = known_configs()
    by_id = {
        json.loads(path.read_text("utf-8"))["_name_or_path"].lower(): path
        for path in known.values()
    }
    by_name = {stem.lower(): path for stem, path in known.items()} | by_id
    shape = name.lower().replace("-instruct", "")  # an instruct model has its base model's shape
    if shape in by_name:
        return by_name[shape]
    if name in zoo.shipped_models():
        return zoo.shipped_folder() / name / "config.json"
    if Path(name).is_dir() and (Path(name) / "config.json").is_file():
        return Path(name) / "config.json"
    if Path(name).is_file():
        return Path(name)
    if Path(name).is_dir():
        raise InputError(f"{name}: no config.json, so this is not a Hugging Face model folder")
    if zoo.HUB_ID.fullmatch(name):
        return zoo.fetch_file(name, "config.json")
    names = suggest(name, [*known, *zoo.known_names()], listed=zoo.LISTED)
    raise InputError(
        f"unknown model {name!r}: {names}, shapes are known of {', '.join(known)}, or give a "
        "folder, a config.json or a hub id owner/name"
    )


class _Fields:
    """A config's numbers and flags, each checked when it is read."""

    def __init__(self, config: dict, place: str):
        self.config, self.place = config, place

    def number(self, field: str, default: int | None = None) -> int:
        if self.config.get("model_type") == "gpt2":
            field = GPT2_NAMES.get(field, field)
        value = self.config.get(field)
        if value is None and default is not None:
            return default
        if value is None:
            raise InputError(
                f"{self.place}: {field} is missing; copy the model's config.json whole"
            )
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise InputError(
                f"{self.place}: {field} is {value!r}; it must be a whole number above 0"
            )
        return value

    def flag(self, said: bool | str, default: bool) -> bool:
        if isinstance(said, bool):
            return said
        value = self.config.get(said, default)
        if not isinstance(value, bool):
            raise InputError(f"{self.place}: {said} is {value!r}; it must be true or false")
        return value


def parameters_of(source: str | Path) -> int:
    """How many parameters a model has, also of a type that Architecture does not know: transformers
    builds that one without memory for its weights.

    Raises InputError as `architecture_of` does.
    """
    try:
        return architecture_of(source).parameters
    except Uncounted:
        model = _built(*config_of(str(source)))
        return sum(weights.numel() for weights in model.parameters())


def learned_places(name: str, wanted: int) -> int | None:
    """How many tokens a text may have in a model that has learned each place; None where so many
    as are wanted fit. No weights are read.

    Raises InputError as `architecture_of` does.
    """
    config, place = config_of(name)
    stated = [value for field in LONGEST if isinstance(value := config.get(field), int)]
    if stated and min(stated) > 2 * wanted:  # whatever is learned, it is enough
        return None
    kind = KINDS.get(str(config.get("model_type")))
    if kind is None:
        found = zoo.learned_positions(_built(config, place))
    else:
        found = _Fields(config, place).number(kind.positions) if kind.positions else None
    return found if found and found < wanted else None


def _built(config: dict, place: str) -> PreTrainedModel:
    """The model a config describes, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = {key: value for key, value in config.items() if key != "_name_or_path"}
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.for_model(**known))
    except Exception as error:  # a model's code raises anything for a field it cannot use
        raise InputError(
            f"{place}: transformers cannot build this model ({type(error).__name__}: {error}); "
            "copy the model's config.json whole"[:400]
        ) from error


def _not_counted(model_type: object, place: str) -> InputError:
    """A type that transformers knows is no typing error, so no other name is proposed for it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    said = f"{place}: model_type is {model_type!r}, which the planner cannot count"
    if model_type in CONFIG_MAPPING_NAMES:
        return Uncounted(f"{said}; it counts {', '.join(KINDS)}")
    return InputError(f"{said}; {suggest(str(model_type), list(KINDS))}")


def _from_config(config: dict, place: str, name: str) -> Architecture:
    model_type = config.get("model_type")
    if model_type not in KINDS:
        raise _not_counted(model_type, place)
    kind, fields = KINDS[model_type], _Fields(config, place)
    hidden, heads = fields.number("hidden_size"), fields.number("num_attention_heads")
    if "head_dim" not in config and hidden % heads:
        raise InputError(
            f"{place}: hidden_size {hidden} cannot be divided among {heads} attention "
            "heads; give head_dim"
        )
    kv_heads = fields.number("num_key_value_heads", heads) if kind.grouped else heads
    head_dim = fields.number("head_dim", hidden // heads)
    if heads % kv_heads:
        raise InputError(
            f"{place}: {heads} attention heads cannot share {kv_heads} key-value heads evenly"
        )
    intermediate = fields.number("intermediate_size", 4 * hidden if model_type == "gpt2" else None)
    layers, vocabulary = fields.number("num_hidden_layers"), fields.number("vocab_size")
    attention, mlp = _matrices(kind, hidden, heads * head_dim, kv_heads * head_dim, intermediate)
    biases = [
        (kind.qkv_bias, attention[:-1]),
        (kind.out_bias, attention[-1:]),
        (kind.mlp_bias, mlp),
    ]
    extra_of_layer = sum(
        outputs for said, some in biases if fields.flag(said, kind.biased) for _, outputs in some
    )
    norm = hidden * (2 if kind.norm_bias else 1)
    extra_of_layer += kind.norms * norm + _qk_norm(kind, heads, kv_heads, head_dim)
    positions = fields.number(kind.positions) * hidden if kind.positions else 0
    return Architecture(
        name,
        hidden,
        intermediate,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocabulary,
        fields.flag("tie_word_embeddings", kind.tied),
        extra=layers * extra_of_layer + norm + positions,
        matrices=(*attention, *mlp),
        gated=kind.gated,
        norms=kind.norms,
        context=fields.number("max_position_embeddings", 0),
        stored=STORED_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 4),
    )


def _matrices(
    kind: Kind, hidden: int, width: int, kv_width: int, intermediate: int
) -> tuple[list, list]:
    """(inputs, outputs) of a layer's linear layers: attention's, the output last, and the MLP's."""
    if kind.fused:
        attention = [(hidden, width + 2 * kv_width), (width, hidden)]
        up = [(hidden, 2 * intermediate if kind.gated else intermediate)]
    else:
        attention = [(hidden, width), (hidden, kv_width), (hidden, kv_width), (width, hidden)]
        up = [(hidden, intermediate)] * (2 if kind.gated else 1)
    return attention, [*up, (intermediate, hidden)]


def _qk_norm(kind: Kind, heads: int, kv_heads: int, head_dim: int) -> int:
    return {"": 0, "head": 2 * head_dim, "width": (heads + kv_heads) * head_dim}[kind.qk_norm]
