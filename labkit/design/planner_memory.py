"""What one training step holds in memory, by component and by moment, and how long its rows are.

Row lengths are measured on the pack with the model's own tokenizer. The tokenizer of a hub model is
used when it is in the local cache. Until then lengths are estimated from characters, as SmolLM2's
tokenizer has them on the shipped packs (data_samples/measured/tokens.json, written by
benchmarks/gpu_plans.py).

Two moments can be the peak. When the *backward pass begins*, weights, optimiser state, all
activations and the logits are there, and gradients only where they are accumulated. When it *ends*,
just before the update, activations are gone and all gradients are there. What is alive at one
moment adds up; the peak is the larger sum, and a plan says which.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from labkit.base.errors import InputError, SpecError, suggest
from labkit.data import world
from labkit.data.packs import Pack, load_pack, samples_folder, shipped_packs, text_of
from labkit.models import zoo
from labkit.models.adapters import adapter_tokenizer, base_of, is_adapter
from labkit.models.architecture import Architecture, config_of, learned_places, parameters_of
from labkit.models.families import CONTEXT
from labkit.train import exposure, zoo_build
from labkit.train.callbacks import RowCount, row_words
from labkit.train.pipeline import stage_splits, steps_run, text_lengths, with_steps
from labkit.train.specs import PREFERENCE_STAGES, STAGES, PipelineSpec, Planned, Stage, StageKind

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLAY_SAMPLE = 300  # rows of the general mix whose lengths stand for all


@dataclass(frozen=True)
class RowLengths:
    """Lengths in tokens, ascending, and the share of all rows up to each.

    rows: of the pack, replay apart; of a preference stage, pairs. estimated: whether lengths were
    read off characters. lost: what becomes of rows that are not used whole, as a sentence; empty
    where there are none, and where lengths are estimated.
    """

    lengths: np.ndarray
    shares: np.ndarray
    rows: int = 0
    estimated: bool = False
    lost: str = ""

    @property
    def mean(self) -> float:
        return float(np.diff(self.shares, prepend=0) @ self.lengths)

    def padded(self, rows: int) -> float:
        """The longest of so many random rows, on average: what a batch of them is padded to."""
        return float(np.diff(self.shares**rows, prepend=0) @ self.lengths)


def row_lengths(groups: dict[float, list[int]]) -> RowLengths:
    """Lengths pooled from groups. groups: share of all rows -> lengths of rows of that group."""
    lengths = np.concatenate(list(groups.values()))
    weights = np.concatenate(
        [np.full(len(found), share / len(found)) for share, found in groups.items()]
    )
    order = np.argsort(lengths, kind="stable")
    shares = np.cumsum(weights[order])
    return RowLengths(lengths[order], shares / shares[-1])


# --- a stage's rows ---------------------------------------------------------------------------


def lengths_of(pack: str, model: str, stage: Stage) -> RowLengths:
    """Row lengths of a stage, none longer than its max_length; of a pair, both answers with their
    prompt count as rows, and so does each piece of a long text.
    """
    splits = stage_splits(stage)
    return _lengths_of(
        pack,
        model,
        stage.kind,
        stage.max_length,
        stage.replay,
        splits,
        load_pack(pack).fingerprint(*splits),
        zoo.reading_of(Path(model)) if Path(model).is_dir() else "",
        learned_places(model, stage.max_length),
    )


def rows_of(spec: PipelineSpec, stage: Stage) -> RowLengths:
    """Row lengths of a stage of a design: of its pack, or of what is planned while that has no
    files. Raises SpecError where nothing is planned for the stage.
    """
    if not on_paper(spec):
        return lengths_of(spec.pack, spec.model, stage)
    return planned_lengths(amount_of(spec.planned or {}, stage.kind), stage)


def amount_of(planned: Mapping[StageKind, Planned], kind: StageKind) -> Planned:
    """What is planned for a stage. Raises SpecError where nothing is."""
    if kind not in planned:
        raise SpecError(
            f"planned.{kind}: say how much {kind} will read, as in "
            f"planned: {{{kind}: {{rows: 1000, words: 100000}}}}"
        )
    return planned[kind]


def on_paper(spec: PipelineSpec) -> bool:
    """Whether a design says what it will read of a pack that is not there yet."""
    return bool(spec.planned) and not pack_is_there(spec.pack)


def pack_is_there(name: str) -> bool:
    return name in shipped_packs() or Path(name).is_dir()


@cache
def _lengths_of(
    pack: str,
    model: str,
    kind: str,
    max_length: int,
    replay: float,
    splits: tuple[str, ...],
    content: str,
    reading: str,
    places: int | None,
) -> RowLengths:
    """content, reading: of the pack and of a folder model, which may change under their names.
    places: that the model has learned, where these are fewer than max_length.
    """
    data = load_pack(pack)
    tokenizer = _read_tokenizer(model) if reading else _tokenizer(model)
    if tokenizer is not None and kind != "cpt":
        check_template(tokenizer, model, kind)
    longest = places or max_length
    measure = _Estimated(longest) if tokenizer is None else _Measured(tokenizer, longest, places)
    splits = tuple(split for split in splits if data.has(split))
    counted = RowCount([place for split in splits for place in data.places(split)])
    rows = [row for split in splits for row in data.rows(split)]
    own = len(rows)
    if kind in PREFERENCE_STAGES:
        groups = {1.0: measure.pairs(rows, counted)}
    else:
        if kind != "cpt":
            lengths = measure.chats([row["messages"] for row in rows], counted)
        elif tokenizer is None:
            lengths = _Estimated(longest).texts(map(text_of, rows))
        else:
            lengths = text_lengths(splits, data, tokenizer, longest, counted)
        own = len(lengths) if kind == "cpt" else own  # each piece of a long text is a row
        groups = {1 - replay: lengths} | ({replay: measure.general()} if replay else {})
    return replace(
        row_lengths(groups),
        rows=own,
        estimated=tokenizer is None,
        lost=row_words(counted.as_json()),
    )


def lost_rows(spec: PipelineSpec) -> Iterator[str]:
    """A sentence for each stage of a design that cannot use all its rows whole."""
    for number, stage in enumerate(spec.stages):
        if lost := rows_of(spec, stage).lost:
            yield f"stages.{number} ({stage.kind}): {lost}"


def little_reading(spec: PipelineSpec) -> Iterator[str]:
    """A sentence for each CPT of a person's own pack that reads so seldom that little is learned.

    The invented packs that come with labkit have a study of their own (docs/evidence.md).
    """
    spec = with_steps(spec)
    if not on_paper(spec) and load_pack(spec.pack).invented:
        return
    for number, stage in enumerate(spec.stages):
        if stage.kind == "cpt":
            rows = rows_of(spec, stage).rows
            steps = steps_run(stage, spec.profile)
            if told := exposure.warning(stage, rows, steps, parameters_of(spec.model)):
                yield f"stages.{number}: {told}"


def check_template(tokenizer: PreTrainedTokenizerBase, model: str, kind: str) -> None:
    """Raises InputError when a stage on conversations has no chat template to write them with."""
    if tokenizer.chat_template is None:
        raise InputError(
            f"model {model!r} has no chat template, which {kind} needs; start from its "
            "instruct model, or put a chat_template.jinja into its folder"
        )


def _answers(pairs: Iterable[dict]) -> list[list[dict]]:
    return [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]


def _read_tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a folder, which may change; an adapter's may be its base's with a template
    of the adapter's own.
    """
    if not is_adapter(Path(model)):
        return zoo.tokenizer_of(Path(model))
    base = copy.deepcopy(_tokenizer(base_of(Path(model))))
    rows = config_of(model)[0].get("vocab_size") or sys.maxsize
    return base and adapter_tokenizer(Path(model), base, rows)


@cache
def _tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """A model's tokenizer alone; None for a hub model whose tokenizer is not in the local cache.

    Nothing is downloaded.
    """
    if zoo.HUB_ID.fullmatch(model) and not Path(model).is_dir():
        there = zoo.cached_file(model, "tokenizer_config.json")
        return zoo.tokenizer_of(there.parent) if there else None
    model = zoo.with_same_tokenizer(model)
    if base := zoo.adapter_base(model):
        return _tokenizer(base)
    if model == zoo.SMOLLM2:
        return zoo.smollm2_tokenizer()
    return zoo.tokenizer_of(zoo.model_folder(model))


class _Measured:
    """Lengths in tokens as training has them."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, places: int | None = None
    ):
        self.tokenizer, self.max_length, self.places = tokenizer, max_length, places

    def chats(self, chats: list[list[dict]], counted: RowCount) -> list[int]:
        from labkit.train.trainers import chat_rows

        rows = chat_rows(self.tokenizer, chats, self.max_length, counted)
        return [len(row["input_ids"]) for row in rows]

    def pairs(self, pairs: list[dict], counted: RowCount) -> list[int]:
        from labkit.train.trainers import preference_rows, preference_tokenizer

        tokenizer = preference_tokenizer(self.tokenizer)
        return [
            len(row["prompt_ids"]) + len(row[side])
            for row in preference_rows(tokenizer, pairs, self.max_length, counted)
            for side in ("chosen_ids", "rejected_ids")
        ]

    def general(self) -> list[int]:
        return [
            len(row["input_ids"])
            for row in zoo_build.general_rows(
                self.tokenizer,
                REPLAY_SAMPLE,
                seed=0,
                max_length=min(CONTEXT, self.places or CONTEXT),
            )
        ]


# --- estimated --------------------------------------------------------------------------------


@cache
def ratio() -> dict:
    """What tokens are estimated by: `characters_per_token`, `tokens_per_turn` (role and end of
    turn), `tokens_per_word` by pack, `tokenizer`, `packs`.
    """
    return json.loads((samples_folder("measured") / "tokens.json").read_text("utf-8"))


class _Estimated:
    """The same lengths from characters."""

    def __init__(self, max_length: int):
        self.max_length = max_length

    def texts(self, texts: Iterable[str]) -> list[int]:
        lengths = (math.ceil(len(text) / ratio()["characters_per_token"] + 1) for text in texts)
        longest = self.max_length
        return [min(longest, whole - at) for whole in lengths for at in range(0, whole, longest)]

    def chats(self, chats: Iterable[list[dict]], _: RowCount | None = None) -> list[int]:
        characters = [(sum(len(turn["content"]) for turn in chat), len(chat)) for chat in chats]
        return [
            self._cut(count / ratio()["characters_per_token"] + turns * ratio()["tokens_per_turn"])
            for count, turns in characters
        ]

    def pairs(self, pairs: Iterable[dict], _: RowCount | None = None) -> list[int]:
        return self.chats(_answers(pairs))

    def general(self) -> list[int]:
        chats = round(REPLAY_SAMPLE * zoo_build.CHAT_SHARE)
        mixed = self.chats(itertools.islice(world.instruction_chats(0), chats))
        return mixed + self.texts(
            itertools.islice(world.pretraining_texts(1), REPLAY_SAMPLE - chats)
        )

    def _cut(self, tokens: float) -> int:
        return min(math.ceil(tokens), self.max_length)


def tokens_per_word() -> tuple[float, float, float]:
    """Fewest, usual (the mean) and most tokens of a word of raw text, over the shipped packs. It is
    for languages that part words by blanks.
    """
    found = ratio()["tokens_per_word"].values()
    return min(found), math.fsum(found) / len(found), max(found)


def planned_lengths(amount: Planned, stage: Stage, per_word: float | None = None) -> RowLengths:
    """Row lengths of what a stage is going to read, all rows alike; none longer than max_length.

    per_word: tokens of a word, by default the usual. A planned row of a preference stage is a pair,
    whose two answers share its words.
    """
    tokens = amount.words / amount.rows * (per_word or tokens_per_word()[1])
    measure, longest = _Estimated(stage.max_length), stage.max_length
    if stage.kind in PREFERENCE_STAGES:
        tokens = tokens / 2 + 2 * ratio()["tokens_per_turn"]
    elif stage.kind == "sft":
        tokens += 2 * ratio()["tokens_per_turn"]
    whole = max(1, math.ceil(tokens))
    pieces = [min(longest, whole - at) for at in range(0, whole, longest)]
    lengths = pieces if stage.kind == "cpt" else pieces[:1]
    groups: dict[float, list[int]] = {1 - stage.replay: lengths}
    if stage.replay:
        groups[stage.replay] = measure.general()
    return replace(row_lengths(groups), rows=amount.rows * len(lengths), estimated=True)


def measure_ratio(packs: Iterable[Pack], tokenizer: PreTrainedTokenizerBase) -> dict:
    """Characters per token of all training text of some packs, and what a turn costs beside its
    words.
    """
    texts, chats = [], []
    for pack in packs:
        texts += [row["text"] for split in ("raw", "summaries") for row in pack.rows(split)]
        chats += [row["messages"] for row in pack.rows("qa")] + _answers(pack.rows("preferences"))
    turns = [turn["content"] for chat in chats for turn in chat]
    encoded = tokenizer(texts + turns, add_special_tokens=False)["input_ids"]
    whole = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
    return {
        "characters_per_token": sum(map(len, texts + turns)) / sum(map(len, encoded)),
        "tokens_per_turn": (sum(map(len, whole)) - sum(map(len, encoded[len(texts) :])))
        / len(turns),
    }


def measure_words(packs: Iterable[Pack], tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Tokens per word of each pack's raw text."""
    found = {}
    for pack in packs:
        texts = [row["text"] for row in pack.rows("raw")]
        tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
        found[pack.name] = sum(map(len, tokens)) / sum(len(text.split()) for text in texts)
    return found


# --- one training step ------------------------------------------------------------------------

Method = Literal["full", "lora", "qlora"]
Precision = Literal["bfloat16", "autocast", "float32"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")
PRECISIONS, OPTIMISERS = ("bfloat16", "autocast", "float32"), ("adamw", "adamw8bit")
GIB = 2**30
BACKWARD, UPDATE = "backward begins", "backward ends"
COMPONENTS = ("weights", "gradients", "optimiser", "activations", "logits")
# Per weight: 4 bits, an 8-bit scale per 64, a float32 per 256 scales (arXiv 2305.14314)
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as cost goes.

    stage: of a pipeline; dpo and orpo read two answers per pair. method: all weights, adapters, or
    adapters on a 4-bit base. rank: of the adapters. batch_size: rows, or pairs, per optimiser step,
    over all GPUs. length: tokens per row. accumulation: forward passes per step. precision:
    `bfloat16` keeps weights and gradients in bfloat16 and a float32 master copy with the optimiser;
    `autocast` keeps everything in float32 and multiplies in bfloat16; `float32` is float32
    throughout. gpus: across which everything but activations is sharded (ZeRO stage 3, arXiv
    1910.02054). checkpointing: activations of a layer are computed again in the backward pass.
    attention: `eager` keeps the matrix of attention weights, `fused` does not.
    """

    stage: StageKind = "cpt"
    method: Method = "full"
    rank: int = 16
    batch_size: int = 8
    length: int = 2048
    accumulation: int = 1
    precision: Precision = "bfloat16"
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    gpus: int = 1
    checkpointing: bool = False
    attention: Literal["fused", "eager"] = "fused"

    def __post_init__(self) -> None:
        for field in ("rank", "batch_size", "length", "accumulation", "gpus"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{field} is {value!r}; it must be a whole number above 0")
        for field, known in (
            ("stage", STAGES),
            ("method", METHODS),
            ("precision", PRECISIONS),
            ("optimiser", OPTIMISERS),
            ("attention", ("fused", "eager")),
        ):
            if getattr(self, field) not in known:
                raise InputError(
                    f"{field} is {getattr(self, field)!r}; "
                    f"{suggest(str(getattr(self, field)), list(known))}"
                )
        if self.gpus * self.accumulation > self.rows:
            raise InputError(
                f"batch_size {self.batch_size} cannot be shared by {self.gpus} GPUs in "
                f"{self.accumulation} passes each; raise it or ask for fewer"
            )

    @property
    def lora_rank(self) -> int | None:
        return None if self.method == "full" else self.rank

    @property
    def rows(self) -> int:
        """Rows per optimiser step: of a pair, both answers."""
        return self.batch_size * (2 if self.stage in PREFERENCE_STAGES else 1)

    @property
    def micro_rows(self) -> int:
        """Rows one GPU takes through one forward pass."""
        return -(-self.rows // (self.gpus * self.accumulation))


@dataclass(frozen=True)
class Memory:
    """What one GPU (or the process) holds at a step's peak, in GiB, and which moment that is."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    moment: str

    @property
    def peak_gib(self) -> float:
        return sum(getattr(self, component) for component in COMPONENTS)


def memory_at(architecture: Architecture, training: Training) -> dict[str, Memory]:
    """The sums at both moments, by moment.

    A base in 4 bits is not sharded: each GPU holds it, and its adapters, whole.
    """
    shared_by = 1 if training.method == "qlora" else training.gpus
    weights, gradients, optimiser = (
        size / shared_by for size in state_bytes(architecture, training)
    )
    tokens = training.micro_rows * training.length
    activations = activation_bytes(architecture, training, tokens)
    logits = logit_bytes(architecture, training) * tokens
    extra = gathered_bytes(architecture, training) + autocast_copies(architecture, training)
    kept = gradients if training.accumulation > 1 else 0.0
    sizes = {
        BACKWARD: (weights + extra, kept, optimiser, activations, logits),
        UPDATE: (weights, gradients + tied_gradient(architecture, training), optimiser, 0.0, 0.0),
    }
    return {
        moment: Memory(
            **dict(zip(COMPONENTS, (size / GIB for size in found), strict=True)), moment=moment
        )
        for moment, found in sizes.items()
    }


def peak_memory(architecture: Architecture, training: Training) -> Memory:
    """The moment at which most is held."""
    return max(memory_at(architecture, training).values(), key=lambda memory: memory.peak_gib)


def trained_parameters(architecture: Architecture, training: Training) -> int:
    return (
        architecture.parameters
        if training.method == "full"
        else architecture.lora_parameters(training.rank)
    )


# --- states -----------------------------------------------------------------------------------


def state_bytes(architecture: Architecture, training: Training) -> tuple[float, float, float]:
    """Bytes of weights, gradients and optimiser state before sharding.

    Full training takes 16 bytes per parameter (2 + 2 + 12 in `bfloat16`, 4 + 4 + 8 otherwise; arXiv
    1910.02054); with 8-bit moments (arXiv 2110.02861) 10. Adapters are float32 and take 16; the
    frozen base has its weights alone.
    """
    wide = training.precision != "bfloat16"
    moments = 8 if training.optimiser == "adamw" else 2
    if training.method == "full":
        weight, gradient, state = (4, 4, moments) if wide else (2, 2, 4 + moments)
        count = architecture.parameters
        return count * weight, count * gradient, count * state
    adapters = architecture.lora_parameters(training.rank)
    return base_bytes(architecture, training) + 4 * adapters, 4 * adapters, moments * adapters


def base_bytes(architecture: Architecture, training: Training) -> float:
    """Bytes of the frozen weights: with QLoRA the linear layers are NF4, embeddings, norms and head
    bfloat16.
    """
    if training.method == "qlora":
        rest = architecture.parameters - architecture.linear_parameters
        return architecture.linear_parameters * NF4_BYTES + 2 * rest
    return architecture.parameters * (2 if training.precision == "bfloat16" else 4)


def gathered_bytes(architecture: Architecture, training: Training) -> float:
    """Bytes of weights gathered from other GPUs: the largest block whole, and the next one fetched
    ahead; under autocast in bfloat16.
    """
    if training.gpus == 1 or training.method == "qlora":
        return 0.0
    block = max(
        architecture.linear_parameters // architecture.layers, architecture.embedding_parameters
    )
    share = (
        2
        if training.precision == "autocast"
        else base_bytes(architecture, training) / architecture.parameters
    )
    return 2 * block * share


def autocast_copies(architecture: Architecture, training: Training) -> float:
    """Bytes of the bfloat16 copies that autocast makes of every matrix and keeps until the backward
    pass; sharded weights are gathered as such.
    """
    if training.precision != "autocast" or training.gpus > 1:
        return 0.0
    return 2 * (architecture.linear_parameters + architecture.embedding_parameters)


def tied_gradient(architecture: Architecture, training: Training) -> float:
    """Bytes of the second part of a tied table's gradient: one comes from the head, one from the
    embedding.
    """
    if training.method != "full" or not architecture.tied:
        return 0.0
    return (
        architecture.embedding_parameters
        * (2 if training.precision == "bfloat16" else 4)
        / training.gpus
    )


# --- what a forward pass leaves -----------------------------------------------------------------


def activation_bytes(architecture: Architecture, training: Training, tokens: int) -> float:
    """Bytes that the forward pass over `tokens` tokens keeps for the backward pass, logits apart.

    With checkpointing a layer's input is kept and one layer at a time is computed again (arXiv
    1604.06174).
    """
    per_layer = layer_bytes(architecture, training) * tokens
    if training.checkpointing:
        stream = 2 if training.precision == "bfloat16" else 4
        return architecture.layers * stream * architecture.hidden * tokens + per_layer
    return architecture.layers * per_layer


def layer_bytes(architecture: Architecture, training: Training) -> float:
    """Bytes one layer keeps per token, tensor by tensor as the layers of transformers do (after
    arXiv 2205.05198).

    A norm keeps its input in float32 and, where its weight learns, the normalised input. Matrices
    keep their inputs: one tensor for all that share it, or a copy for each where inputs are cast
    (autocast) or adapters are added. Attention keeps q, k, v and its output, and when eager a
    float32 softmax and its cast. The MLP keeps four tensors.
    """
    a, adapted = architecture, training.method != "full"
    size = 4 if training.precision == "float32" else 2
    normalised = 0 if adapted else 2 if training.precision == "bfloat16" else 4
    norms = a.norms * (4 + normalised) * a.hidden
    copied = training.precision == "autocast" or (adapted and size == 2)
    inputs = size * a.hidden * (len(a.matrices) - 2 if copied else 2)
    if training.attention == "eager":
        attention = 4 * size * a.width + a.heads * training.length * (4 if size == 4 else 6)
    else:
        attention = size * (2 * a.width + 2 * a.kv_heads * a.head_dim)
    mlp = size * a.intermediate * (4 if a.gated else 2)
    return (
        norms
        + inputs
        + attention
        + mlp
        + (size * training.rank * len(a.matrices) if adapted else 0)
    )


def logit_bytes(architecture: Architecture, training: Training) -> int:
    """Bytes of the logits per token at their most: as they come, their float32 log-probabilities,
    and the gradients of both. TRL's DPO computes entropy and metrics beside: nine float32 tables,
    counted on TRL 1.16.
    """
    if training.stage == "dpo":
        return 9 * 4 * architecture.vocabulary
    return architecture.vocabulary * ((4 if training.precision == "float32" else 2) + 3 * 4)
