"""Bytes of a training step: known answers, and what PyTorch really keeps for the backward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.base.errors import InputError
from labkit.design.planner_memory import (
    BACKWARD,
    COMPONENTS,
    GIB,
    UPDATE,
    Training,
    activation_bytes,
    autocast_copies,
    base_bytes,
    memory_at,
    peak_memory,
    state_bytes,
)
from labkit.models import zoo
from labkit.models.architecture import architecture_of

LLAMA = architecture_of("Llama-3.1-8B")
ONE = Training(batch_size=1)


def test_known_sizes_of_8b():
    weights, gradients, optimiser = state_bytes(LLAMA, ONE)
    assert weights / GIB == pytest.approx(14.96, abs=0.005)
    assert weights + gradients + optimiser == 16 * LLAMA.parameters
    assert 16 * LLAMA.parameters / GIB == pytest.approx(119.7, abs=0.05)
    assert base_bytes(LLAMA, replace(ONE, method="qlora")) / GIB == pytest.approx(5.31, abs=0.005)
    assert sum(state_bytes(LLAMA, replace(ONE, optimiser="adamw8bit"))) == 10 * LLAMA.parameters
    for precision in ("autocast", "float32"):
        assert sum(state_bytes(LLAMA, replace(ONE, precision=precision))) == 16 * LLAMA.parameters
    weights, gradients, optimiser = state_bytes(LLAMA, replace(ONE, method="lora"))
    assert weights + gradients + optimiser == 2 * LLAMA.parameters + 16 * LLAMA.lora_parameters(16)


def test_components_of_a_moment_add_up_and_the_larger_is_the_peak():
    found = memory_at(LLAMA, ONE)
    for memory in found.values():
        assert memory.peak_gib == pytest.approx(sum(getattr(memory, name) for name in COMPONENTS))
    assert found[UPDATE].peak_gib == pytest.approx(119.66, abs=0.01)
    assert (
        peak_memory(LLAMA, ONE).peak_gib
        == max(memory.peak_gib for memory in found.values())
        > max(getattr(found[UPDATE], name) for name in COMPONENTS)
    )
    assert peak_memory(LLAMA, replace(ONE, length=128)).moment == UPDATE
    assert peak_memory(LLAMA, replace(ONE, length=8192)).moment == BACKWARD


def test_what_saves_memory_saves_it():
    sharded = peak_memory(LLAMA, Training(batch_size=8, gpus=8))
    assert sharded.optimiser * 8 == pytest.approx(peak_memory(LLAMA, ONE).optimiser)
    assert sharded.activations == peak_memory(LLAMA, ONE).activations
    assert (
        memory_at(LLAMA, replace(ONE, checkpointing=True))[BACKWARD].activations
        < 0.1 * memory_at(LLAMA, ONE)[BACKWARD].activations
    )
    at_once, in_turn = Training(batch_size=8), Training(batch_size=8, accumulation=8)
    assert (
        memory_at(LLAMA, at_once)[BACKWARD].activations
        == 8 * memory_at(LLAMA, in_turn)[BACKWARD].activations
    )
    assert (
        memory_at(LLAMA, at_once)[BACKWARD].gradients
        == 0
        < memory_at(LLAMA, in_turn)[BACKWARD].gradients
    )


def test_sharded_weights_are_gathered_in_bfloat16_and_not_copied_again():
    one, eight = (
        Training(batch_size=8, precision="autocast"),
        Training(batch_size=8, precision="autocast", gpus=8),
    )
    assert autocast_copies(LLAMA, eight) == 0 < autocast_copies(LLAMA, one)
    block = max(LLAMA.linear_parameters // LLAMA.layers, LLAMA.embedding_parameters)
    assert peak_memory(LLAMA, eight).weights * GIB == pytest.approx(
        4 * LLAMA.parameters / 8 + 2 * 2 * block
    )


def test_a_base_in_4_bits_is_whole_on_every_gpu():
    one, eight = (
        Training(method="qlora", batch_size=8, accumulation=8 // gpus, gpus=gpus) for gpus in (1, 8)
    )
    assert peak_memory(LLAMA, eight).weights == peak_memory(LLAMA, one).weights


EAGER = [
    ("llama-s-base", "full", "autocast"),
    ("llama-s-base", "lora", "autocast"),
    ("llama-s-base", "full", "float32"),
    ("mistral-s-base", "full", "autocast"),
    ("smollm-s-base", "full", "float32"),
    ("smollm-s-base", "lora", "float32"),
]
FUSED = [
    setting for setting in EAGER if setting[0] != "mistral-s-base"
]  # its window needs a mask, which unshares keys


@pytest.mark.parametrize(
    "name,method,precision,attention",
    [*((*s, "eager") for s in EAGER), *((*s, "fused") for s in FUSED)],
)
def test_activations_are_what_autograd_keeps(name, method, precision, attention):
    rows, length = 4, 96
    training = Training(
        method=method, precision=precision, attention=attention, batch_size=rows, length=length
    )
    architecture = architecture_of(name)
    kept = kept_bytes(name, training)
    counted = activation_bytes(architecture, training, rows * length) + autocast_copies(
        architecture, training
    )
    counted += (
        4 * architecture.vocabulary * rows * length
    )  # the log-probabilities, which the logits' bytes count
    assert counted == pytest.approx(kept, rel=0.05)


def kept_bytes(name: str, training: Training) -> int:
    """Bytes of all tensors that a forward pass keeps, each storage once, weights apart."""
    import torch

    model = zoo.load(name).model.train()
    model.set_attn_implementation("sdpa" if training.attention == "fused" else "eager")
    if training.method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model, LoraConfig(r=training.rank, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(10, 1500, (training.batch_size, training.length))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=training.precision == "autocast"),
    ):
        loss = model(input_ids=ids, labels=ids).loss
    assert loss.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize(
    "field,value,words",
    [
        ("batch_size", 0, "batch_size is 0"),
        ("length", -1, "length is -1"),
        ("gpus", 2.5, "gpus is 2.5"),
        ("rank", True, "rank is True"),
        ("method", "qlor", "did you mean 'qlora'"),
        ("precision", "fp8", "known: bfloat16"),
        ("optimiser", "sgd", "known: adamw"),
        ("gpus", 9, "cannot be shared by 9 GPUs"),
    ],
)
def test_bad_input_is_one_sentence(field, value, words):
    with pytest.raises(InputError, match=words):
        Training(**{field: value})
