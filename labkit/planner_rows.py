"""How long the rows of a stage are: measured on the pack with the model's own tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit import zoo
from labkit.design import PREFERENCE_STAGES, Stage
from labkit.packs import load_pack, text_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLAY_SAMPLE = 300  # rows of the general mix whose lengths stand for all


@dataclass(frozen=True)
class RowLengths:
    """Lengths in tokens, ascending, and the share of all rows up to each."""

    lengths: np.ndarray
    shares: np.ndarray

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


@cache
def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer alone: weights on the hub stay there."""
    on_hub = zoo.HUB_ID.fullmatch(model) and not Path(model).is_dir()
    return zoo.tokenizer_of(Path(model) if on_hub else zoo.model_folder(model))


@cache
def lengths_of(pack: str, model: str, stage: Stage) -> RowLengths:
    """Row lengths of a stage, cut at its max_length; of a pair, both answers with their prompt count as rows."""
    from labkit.train import chat_rows, preference_tokenizer, text_rows

    data, tokenizer = load_pack(pack), _tokenizer(model)
    if stage.kind in PREFERENCE_STAGES:
        ours = preference_tokenizer(tokenizer)
        chats = [pair["prompt"] + pair[side] for pair in data.rows("preferences") for side in ("chosen", "rejected")]
        found = ours.apply_chat_template(chats, return_dict=True)["input_ids"]
        return row_lengths({1.0: [min(len(ids), stage.max_length) for ids in found]})
    if stage.kind == "cpt":
        rows = text_rows(tokenizer, [text_of(row) for split in stage.sources for row in data.rows(split)], stage.max_length)
    else:
        rows = chat_rows(tokenizer, [row["messages"] for row in data.rows("qa")], stage.max_length)
    groups = {1 - stage.replay: [len(row["input_ids"]) for row in rows]}
    if stage.replay:
        replayed = zoo.general_rows(tokenizer, REPLAY_SAMPLE, seed=0)
        groups[stage.replay] = [len(row["input_ids"]) for row in replayed]
    return row_lengths(groups)
