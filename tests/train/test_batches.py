from __future__ import annotations

import pytest
import torch
from torch.utils.data import BatchSampler

from labkit.base.errors import SpecError
from labkit.train.memory import Batches, shares, steps_of
from labkit.train.specs import Stage


def stage(batch_size, micro=None):
    return Stage(
        kind="cpt", learning_rate=1e-3, steps=3, batch_size=batch_size, micro_batch_size=micro
    )


def test_shares_of_a_step():
    assert shares(stage(32), 1) == (32, 1)
    assert shares(stage(32, 4), 1) == (4, 8)
    assert shares(stage(32, 4), 4) == (4, 2)
    assert shares(stage(32, 16), 4) == (8, 1)
    with pytest.raises(SpecError, match=r"stages.1: batch_size 32 cannot be shared by 3 processes"):
        shares(stage(32), 3, "stages.1: ")
    with pytest.raises(
        SpecError, match="takes 6 rows of a step, which is not a multiple of micro_batch_size 4"
    ):
        shares(stage(12, 4), 2)


def test_order_is_the_one_a_single_trainer_takes():
    from accelerate.data_loader import SeedableRandomSampler

    sampler = SeedableRandomSampler(range(18), data_seed=5)
    theirs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        theirs += list(BatchSampler(sampler, 4, drop_last=False))
    assert steps_of(18, 12, 4, seed=5) == theirs[:12]
    assert len(theirs[4]) == 2


@pytest.mark.parametrize("processes,accumulation", [(1, 1), (2, 1), (1, 4), (2, 2), (4, 2)])
def test_every_step_is_the_same_rows_however_it_is_shared(processes, accumulation):
    steps, lengths = steps_of(40, 5, 8, seed=0), torch.randint(1, 90, (40,)).tolist()
    dealt = [
        list(
            Batches(
                steps, accumulation=accumulation, processes=processes, rank=rank, lengths=lengths
            )
        )
        for rank in range(processes)
    ]
    for number, step in enumerate(steps):
        mine = [
            batch
            for share in dealt
            for batch in share[number * accumulation : (number + 1) * accumulation]
        ]
        assert sorted(row for batch in mine for row in batch) == sorted(step)
        assert {len(batch) for batch in mine} == {8 // processes // accumulation}


def test_micro_batches_hold_rows_of_similar_length():
    lengths = [90, 10, 80, 20, 70, 30, 60, 40]
    batches = list(
        Batches([[0, 1, 2, 3, 4, 5, 6, 7]], accumulation=4, processes=1, rank=0, lengths=lengths)
    )
    assert [[lengths[row] for row in batch] for batch in batches] == [
        [10, 20],
        [30, 40],
        [60, 70],
        [80, 90],
    ]
    assert list(Batches([[3, 1, 2]], accumulation=1, processes=1, rank=0, lengths=lengths)) == [
        [3, 1, 2]
    ]


def test_a_short_step_weighs_its_rows_alike_where_it_can():
    shared = [
        list(Batches([[5, 6, 7, 8]], accumulation=4, processes=2, rank=rank)) for rank in range(2)
    ]
    assert sorted(row for share in shared for batch in share for row in batch) == [
        5,
        5,
        6,
        6,
        7,
        7,
        8,
        8,
    ]
    assert len(Batches([[5, 6, 7]], accumulation=2, processes=1, rank=0).batches) == 2
