"""How long the rows of a stage are: measured on the pack with the model's own tokenizer.

The tokenizer of a hub model is used when it is in the local cache; until then lengths are estimated from characters, as
SmolLM2's tokenizer has them on the shipped packs (data_samples/measured/tokens.json, written by benchmarks/gpu_plans.py).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit import hub, world, zoo, zoo_build
from labkit.design import PREFERENCE_STAGES, Stage
from labkit.errors import InputError
from labkit.families import FAMILIES
from labkit.packs import Pack, load_pack, samples_folder, text_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLAY_SAMPLE = 300  # rows of the general mix whose lengths stand for all


@dataclass(frozen=True)
class RowLengths:
    """Lengths in tokens, ascending, and the share of all rows up to each.

    rows: of the pack, replay apart; of a preference stage, pairs. estimated: whether lengths were read off characters.
    """

    lengths: np.ndarray
    shares: np.ndarray
    rows: int = 0
    estimated: bool = False

    @property
    def mean(self) -> float:
        return float(np.diff(self.shares, prepend=0) @ self.lengths)

    def padded(self, rows: int) -> float:
        """The longest of so many random rows, on average: what a batch of them is padded to."""
        return float(np.diff(self.shares**rows, prepend=0) @ self.lengths)


def row_lengths(groups: dict[float, list[int]]) -> RowLengths:
    """Lengths pooled from groups. groups: share of all rows -> lengths of rows of that group."""
    lengths = np.concatenate([found for found in groups.values()])
    weights = np.concatenate([np.full(len(found), share / len(found)) for share, found in groups.items()])
    order = np.argsort(lengths, kind="stable")
    shares = np.cumsum(weights[order])
    return RowLengths(lengths[order], shares / shares[-1])


# --- a stage's rows ---------------------------------------------------------------------------


def lengths_of(pack: str, model: str, stage: Stage) -> RowLengths:
    """Row lengths of a stage, cut at its max_length; of a pair, both answers with their prompt count as rows."""
    return _lengths_of(pack, model, stage.kind, stage.max_length, stage.replay, stage.sources)


@cache
def _lengths_of(pack: str, model: str, kind: str, max_length: int, replay: float, sources: tuple[str, ...]) -> RowLengths:
    data, tokenizer = load_pack(pack), _tokenizer(model)
    if tokenizer is not None and kind != "cpt":
        check_template(tokenizer, model, kind)
    measure = _Estimated(max_length) if tokenizer is None else _Measured(tokenizer, max_length)
    if kind in PREFERENCE_STAGES:
        pairs = data.rows("preferences")
        found = row_lengths({1.0: measure.pairs(_answers(pairs))})
        return replace(found, rows=len(pairs), estimated=tokenizer is None)
    if kind == "cpt":
        lengths = measure.texts([text_of(row) for split in sources for row in data.rows(split)])
    else:
        lengths = measure.chats([row["messages"] for row in data.rows("qa")])
    groups = {1 - replay: lengths} | ({replay: measure.general()} if replay else {})
    return replace(row_lengths(groups), rows=len(lengths), estimated=tokenizer is None)


def check_template(tokenizer: PreTrainedTokenizerBase, model: str, kind: str) -> None:
    """Raises InputError when a stage on conversations has no chat template to write them with."""
    if tokenizer.chat_template is None:
        raise InputError(f"model {model!r} has no chat template, which {kind} needs; start from its instruct model, or put a chat_template.jinja into its folder")


def _answers(pairs: Iterable[dict]) -> list[list[dict]]:
    return [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]


@cache
def _tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """A model's tokenizer alone; None for a hub model whose tokenizer is not in the local cache. Nothing is downloaded."""
    if zoo.HUB_ID.fullmatch(model) and not Path(model).is_dir():
        there = hub.cached(model, "tokenizer_config.json")
        return zoo.tokenizer_of(there.parent) if there else None
    if model in zoo.known_names() and model.rpartition("-")[0] in FAMILIES:  # one tokenizer for all of them, built or not
        model = zoo.shipped_models()[0]
    elif base := zoo.adapter_base(model):
        return _tokenizer(base)
    if model == zoo.SMOLLM2:
        return zoo.smollm2_tokenizer()
    return zoo.tokenizer_of(zoo.model_folder(model))


class _Measured:
    """Lengths in tokens as training has them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int):
        self.tokenizer, self.max_length = tokenizer, max_length

    def texts(self, texts: list[str]) -> list[int]:
        from labkit.train import text_rows

        return [len(row["input_ids"]) for row in text_rows(self.tokenizer, texts, self.max_length)]

    def chats(self, chats: list[list[dict]]) -> list[int]:
        from labkit.train import chat_rows

        return [len(row["input_ids"]) for row in chat_rows(self.tokenizer, chats, self.max_length)]

    def pairs(self, chats: list[list[dict]]) -> list[int]:
        from labkit.train import preference_tokenizer

        found = preference_tokenizer(self.tokenizer).apply_chat_template(chats, return_dict=True)["input_ids"]
        return [min(len(ids), self.max_length) for ids in found]

    def general(self) -> list[int]:
        return [len(row["input_ids"]) for row in zoo_build.general_rows(self.tokenizer, REPLAY_SAMPLE, seed=0)]


# --- estimated --------------------------------------------------------------------------------


@cache
def ratio() -> dict:
    """What tokens are estimated by: `characters_per_token`, `tokens_per_turn` (role and end of turn), `tokenizer`, `packs`."""
    return json.loads((samples_folder("measured") / "tokens.json").read_text("utf-8"))


class _Estimated:
    """The same lengths from characters."""

    def __init__(self, max_length: int):
        self.max_length = max_length

    def texts(self, texts: Iterable[str]) -> list[int]:
        return [self._cut(len(text) / ratio()["characters_per_token"] + 1) for text in texts]

    def chats(self, chats: Iterable[list[dict]]) -> list[int]:
        characters = [(sum(len(turn["content"]) for turn in chat), len(chat)) for chat in chats]
        return [self._cut(count / ratio()["characters_per_token"] + turns * ratio()["tokens_per_turn"]) for count, turns in characters]

    pairs = chats

    def general(self) -> list[int]:
        chats = round(REPLAY_SAMPLE * zoo_build.CHAT_SHARE)
        mixed = self.chats(itertools.islice(world.instruction_chats(0), chats))
        return mixed + self.texts(itertools.islice(world.pretraining_texts(1), REPLAY_SAMPLE - chats))

    def _cut(self, tokens: float) -> int:
        return min(math.ceil(tokens), self.max_length)


def measure_ratio(packs: Iterable[Pack], tokenizer: PreTrainedTokenizerBase) -> dict:
    """Characters per token of all training text of some packs, and what a turn costs beside its words."""
    texts, chats = [], []
    for pack in packs:
        texts += [row["text"] for split in ("raw", "summaries") for row in pack.rows(split)]
        chats += [row["messages"] for row in pack.rows("qa")] + _answers(pack.rows("preferences"))
    turns = [turn["content"] for chat in chats for turn in chat]
    encoded = tokenizer(texts + turns, add_special_tokens=False)["input_ids"]
    whole = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
    return {
        "characters_per_token": sum(map(len, texts + turns)) / sum(map(len, encoded)),
        "tokens_per_turn": (sum(map(len, whole)) - sum(map(len, encoded[len(texts):]))) / len(turns),
    }
