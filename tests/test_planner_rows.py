"""Row lengths: exact means and maxima of a mixture."""

from __future__ import annotations

import random

import pytest

from labkit import zoo
from labkit.design import Lora, Stage
from labkit.planner_rows import lengths_of, row_lengths


def test_mean_and_padding_of_known_lengths():
    one = row_lengths({1.0: [4]})
    assert one.mean == one.padded(8) == 4
    two = row_lengths({1.0: [2, 6]})
    assert two.mean == 4 and two.padded(1) == 4 and two.padded(2) == pytest.approx(5) and two.padded(100) == pytest.approx(6)
    mixed = row_lengths({0.75: [2], 0.25: [6, 6, 6]})
    assert mixed.mean == pytest.approx(3) and mixed.padded(2) == pytest.approx(2 * 0.75**2 + 6 * (1 - 0.75**2))


def test_padding_is_what_random_batches_have():
    rng = random.Random(0)
    lengths = [rng.randint(5, 90) for _ in range(300)]
    drawn = [max(rng.choices(lengths, k=16)) for _ in range(4000)]
    assert row_lengths({1.0: lengths}).padded(16) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)


def test_rows_are_those_of_the_stage(materials):
    tokenizer = zoo.tokenizer_of(zoo.model_folder("llama-s-instruct"))
    raw = Stage(kind="cpt", learning_rate=1e-3, steps=2, sources=("raw",))
    own = [len(tokenizer(row["text"], add_special_tokens=False)["input_ids"]) + 1 for row in materials.rows("raw")]
    assert lengths_of("materials", "llama-s-instruct", raw).mean == pytest.approx(sum(own) / len(own))
    cut = lengths_of("materials", "llama-s-instruct", raw.model_copy(update={"max_length": 20}))
    assert cut.lengths.max() == 20
    assert lengths_of("materials", "llama-s-instruct", raw.model_copy(update={"lora": Lora()})).mean == pytest.approx(sum(own) / len(own))


def test_pairs_count_both_answers(materials):
    stage = Stage(kind="dpo", learning_rate=1e-4, steps=2)
    assert len(lengths_of("materials", "llama-s-instruct", stage).lengths) == 2 * len(materials.rows("preferences"))
