from __future__ import annotations

import math

import pytest
import torch

from labkit.evaluate import geometry
from labkit.merge.methods import Pairing, empty_like, own_tensors, pair_models
from labkit.models import zoo
from labkit.train import zoo_build
from labkit.train.trainers import chat_rows

NAME = "model.layers.0.self_attn.q_proj.weight"


def row(a, b, c=None):
    tensors = [{NAME: torch.tensor(values, dtype=torch.float32)} for values in (a, b, c or a)]
    return geometry.geometry(Pairing(tensors[0], tensors[1], ancestor=tensors[2] if c else None))[0]


def test_angle_and_norms_of_known_vectors():
    found = row([1, 0], [1, 1])
    assert found.angle == pytest.approx(45) and found.norm_ratio == pytest.approx(math.sqrt(2))
    assert found.task_angle is None and found.sign_conflicts is None and found.lines == 0
    assert row([1, 0], [5, 0]).lines == 1


def test_task_vectors_can_be_at_right_angles_where_weights_are_nearly_parallel():
    found = row([100, 1, 0], [100, 0, 1], [100, 0, 0])
    assert found.angle < 1 and found.task_angle == pytest.approx(90)


def test_sign_conflicts_count_only_what_both_moved():
    assert row([1, 1, 1, 0], [1, -1, 0, 1], [0, 0, 0, 0.0]).sign_conflicts == pytest.approx(0.5)
    same = torch.ones(3)
    assert geometry.sign_conflicts(same, same, same) == 0


def test_layers_pool_by_elements():
    names = ("model.layers.1.mlp.up.weight", "model.layers.1.mlp.down.weight", "model.norm.weight")
    a = {
        names[0]: torch.tensor([1.0, 0, 0]),
        names[1]: torch.tensor([1.0, 0]),
        names[2]: torch.tensor([1.0]),
    }
    b = {
        names[0]: torch.tensor([0, 1.0, 0]),
        names[1]: torch.tensor([1.0, 0]),
        names[2]: torch.tensor([2.0]),
    }
    rows = geometry.pooled(geometry.geometry(Pairing(a, b)))
    assert [r.name for r in rows] == ["layer 1 mlp", "other"]
    assert (
        rows[0].angle == pytest.approx(90 * 3 / 5)
        and rows[0].lines == 0.5
        and rows[1].norm_ratio == 2
    )


def test_mean_loss_is_the_models_own():
    loaded = zoo.load("llama-s-instruct")
    chats = [
        [
            {"role": "user", "content": "Where does Ana live?"},
            {"role": "assistant", "content": f"In {place}."},
        ]
        for place in ("Rome", "a big old house")
    ]
    rows = chat_rows(loaded.tokenizer, chats, 128)
    losses, tokens = 0.0, 0
    for one in rows:
        ids, labels = torch.tensor([one["input_ids"]]), torch.tensor([one["labels"]])
        count = int((labels[:, 1:] != -100).sum())
        losses, tokens = (
            losses + float(loaded.model(input_ids=ids, labels=labels).loss) * count,
            tokens + count,
        )
    assert geometry.mean_loss(loaded.model, loaded.tokenizer.pad_token_id, rows) == pytest.approx(
        losses / tokens, rel=1e-4
    )


def test_barrier_is_the_rise_over_the_line_between_the_ends():
    assert geometry.barrier([(0, 1.0), (0.5, 2.0), (1, 2.0)]) == pytest.approx(0.5)
    assert geometry.barrier([(0, 1.0), (0.5, 1.0), (1, 2.0)]) == 0


def test_a_random_step_is_as_long_and_seeded():
    general, domain = {"w": torch.randn(50)}, {"w": torch.randn(50)}
    one, again, other = (
        geometry.random_step(general, domain, seed=seed)["w"] for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert (one - general["w"]).norm() == pytest.approx(
        float((domain["w"] - general["w"]).norm()), rel=1e-4
    )


def test_path_starts_and_ends_at_the_parents():
    base, instruct = zoo.load("llama-s-base"), zoo.load("llama-s-instruct")
    rows = zoo_build.general_rows(base.tokenizer, 8, seed=5)
    pairing, shell = pair_models(base.model, instruct.model), empty_like(base.model)
    path = geometry.path_loss(shell, pairing, base.tokenizer.pad_token_id, rows, (0.0, 1.0))
    ends = [
        geometry.mean_loss(loaded.model, base.tokenizer.pad_token_id, rows)
        for loaded in (base, instruct)
    ]
    assert [loss for _, loss in path] == pytest.approx(ends, rel=1e-4)
    assert set(geometry.random_pairing(base.model, instruct.model, seed=0).general) == set(
        own_tensors(base.model)
    )
