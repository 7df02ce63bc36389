"""This module decides what a device holds and takes at once while a stage is trained.

The first half shares an optimiser step among processes and micro-batches. The order of rows is the
one that a single process without micro-batches takes, so sharing a step changes nothing but
rounding. The second half chooses the precision that weights are held in, and loads them so. The
module does not train anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base import processes
from labkit.base.errors import SpecError
from labkit.train.specs import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# --- steps and micro-batches ------------------------------------------------------------------


def shares(stage: Stage, processes: int, place: str = "") -> tuple[int, int]:
    """(rows a process takes at once, times it does so per optimiser step).

    Raises SpecError when batch_size cannot be shared evenly; place names the stage in the spec.
    """
    share, rest = divmod(stage.batch_size, processes)
    if rest:
        raise SpecError(
            f"{place}batch_size {stage.batch_size} cannot be shared by {processes} "
            f"processes; make it a multiple of {processes} or start fewer"
        )
    micro = min(stage.micro_batch_size or share, share)
    if share % micro:
        raise SpecError(
            f"{place}each of {processes} processes takes {share} rows of a step, which "
            f"is not a multiple of micro_batch_size {micro}; choose one that divides it"
        )
    return micro, share // micro


def steps_of(rows: int, steps: int, batch_size: int, seed: int) -> list[list[int]]:
    """Row numbers of every optimiser step: a new seeded order per pass over the rows, the last step
    of a pass may be short.

    The order is that of accelerate's SeedableRandomSampler.
    """
    import torch

    made: list[list[int]] = []
    epoch = 0
    while len(made) < steps:
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        made += [order[start : start + batch_size] for start in range(0, rows, batch_size)]
        epoch += 1
    return made[:steps]


class Batches:
    """One process's share of every step, micro-batch by micro-batch: a batch sampler for a
    DataLoader.

    lengths: tokens per row; where a step is taken in several micro-batches, rows of similar length
    are taken together, which saves padding. A short step whose rows cannot be shared evenly is
    filled up by taking rows of it again.
    """

    def __init__(
        self,
        steps: Sequence[list[int]],
        *,
        accumulation: int,
        processes: int,
        rank: int,
        lengths: Sequence[int] | None = None,
    ):
        self.batches = [
            batch
            for step in steps
            for batch in _dealt(step, accumulation, processes, rank, lengths)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def _dealt(
    step: list[int], accumulation: int, processes: int, rank: int, lengths: Sequence[int] | None
) -> list[list[int]]:
    parts = accumulation * processes
    size = -(-len(step) // parts)
    rows = list(islice(cycle(step), size * parts))
    if lengths is not None and accumulation > 1:
        rows.sort(key=lengths.__getitem__)
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    return chunks[rank::processes]


# --- precision --------------------------------------------------------------------------------

# In which precision weights are held while they are trained:
#
# | where              | all weights are trained          | LoRA              | LoRA with four_bit |
# |--------------------|----------------------------------|-------------------|--------------------|
# | CPU                | float32                          | float32           | refused            |
# | MPS (Apple's GPU)  | float32                          | float32           | refused            |
# | CUDA with bfloat16 | float32, multiplied in bfloat16  | base bfloat16,    | base NF4,          |
# |                    |                                  | adapters float32  | adapters float32   |
#
# Full fine-tuning keeps float32 because an update is often smaller than a bfloat16 weight can show.
# What was lowered is never saved: adapters are merged into the base as it is stored, so that the
# only rounding is that of its own format.

NF4 = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "bfloat16",
}


def bf16_is_fast() -> bool:
    """Whether this machine multiplies in bfloat16 natively; elsewhere autocast only costs time.

    An Apple machine trains in float32, on its GPU and on its CPU.
    """
    import torch

    where = processes.device()
    if where != "cpu":
        return where == "cuda" and torch.cuda.is_bf16_supported()
    return torch.cpu.get_capabilities().get(
        "avx512_bf16", False
    ) or torch.cpu.get_capabilities().get("amx_bf16", False)


def check_four_bit(stages: Iterable[Stage]) -> None:
    """Raises SpecError when a stage wants a 4-bit base and this machine or installation cannot hold
    one.
    """
    from importlib.util import find_spec

    for number, stage in enumerate(stages):
        if not (stage.lora and stage.lora.four_bit):
            continue
        if processes.device() != "cuda":
            raise SpecError(
                f"stages.{number}.lora.four_bit needs a CUDA GPU, and this run has "
                "none; drop four_bit to train the adapters on a whole base"
            )
        if processes.sharded():
            raise SpecError(
                f"stages.{number}.lora.four_bit cannot be sharded (FSDP); start one "
                "process per GPU without it, or drop four_bit"
            )
        if not find_spec("bitsandbytes"):
            raise SpecError(
                f"stages.{number}.lora.four_bit needs the package bitsandbytes; run: "
                "pip install --no-deps bitsandbytes"
            )


def lowered(stage: Stage) -> bool:
    """Whether the base is held in less than it is stored in, so that adapters must be merged into a
    base loaded anew.
    """
    import torch

    return (
        stage.lora is not None
        and processes.device() == "cuda"
        and (stage.lora.four_bit or torch.cuda.is_bf16_supported())
    )


def load_lowered(folder: Path, stage: Stage) -> PreTrainedModel:
    """The frozen base of a LoRA stage on a GPU: bfloat16, or NF4 on this process's device."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = {}
    if stage.lora and stage.lora.four_bit:
        settings = {
            "quantization_config": BitsAndBytesConfig(**NF4),
            "device_map": {"": torch.cuda.current_device()},
        }
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, use_safetensors=True, attn_implementation="sdpa", **settings
    )


def load_as_stored(folder: Path) -> PreTrainedModel:
    """The same model in the precision its file has, in main memory."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto", use_safetensors=True)
