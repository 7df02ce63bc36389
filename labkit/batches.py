"""Which rows make an optimiser step, and how processes and micro-batches share them.

The order is the one a single process without micro-batches takes; sharing a step changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice

from labkit.design import Stage
from labkit.errors import SpecError


def shares(stage: Stage, processes: int, place: str = "") -> tuple[int, int]:
    """(rows a process takes at once, times it does so per optimiser step).

    Raises SpecError when batch_size cannot be shared evenly; place names the stage in the spec.
    """
    share, rest = divmod(stage.batch_size, processes)
    if rest:
        raise SpecError(
            f"{place}batch_size {stage.batch_size} cannot be shared by {processes} processes; make it a multiple of {processes} or start fewer"
        )
    micro = min(stage.micro_batch_size or share, share)
    if share % micro:
        raise SpecError(
            f"{place}each of {processes} processes takes {share} rows of a step, which is not a multiple of micro_batch_size {micro}; choose one that divides it"
        )
    return micro, share // micro


def steps_of(rows: int, steps: int, batch_size: int, seed: int) -> list[list[int]]:
    """Row numbers of every optimiser step: a new seeded order per pass over the rows, the last step of a pass may be short.

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
    """One process's share of every step, micro-batch by micro-batch: a batch sampler for a DataLoader.

    lengths: tokens per row; where a step is taken in several micro-batches, rows of similar length are taken together,
    which saves padding. A short step whose rows cannot be shared evenly is filled up by taking rows of it again.
    """

    def __init__(self, steps: Sequence[list[int]], *, accumulation: int, processes: int, rank: int, lengths: Sequence[int] | None = None):
        self.batches = [batch for step in steps for batch in _dealt(step, accumulation, processes, rank, lengths)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


def _dealt(step: list[int], accumulation: int, processes: int, rank: int, lengths: Sequence[int] | None) -> list[list[int]]:
    parts = accumulation * processes
    size = -(-len(step) // parts)
    rows = list(islice(cycle(step), size * parts))
    if lengths is not None and accumulation > 1:
        rows.sort(key=lengths.__getitem__)
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    return chunks[rank::processes]
