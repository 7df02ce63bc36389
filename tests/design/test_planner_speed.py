"""This machine's speed: a line through two steps, kept; and a real short training in a process of
its own.
"""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError, SpecError
from labkit.design.planner_memory import peak_memory
from labkit.design.planner_speed import (
    Measured,
    Speed,
    card_training,
    keep_speed,
    known_speed,
    measure,
    own_training,
    probe_stages,
    resident_memory,
    speed_from,
    step_flops,
    step_seconds,
    step_work,
)
from labkit.models.architecture import architecture_of
from labkit.train.specs import Lora, Stage

LLAMA = architecture_of("llama-s-instruct")
SMALL, LARGE = (own_training(stage, LLAMA, stage.max_length) for stage in probe_stages(LLAMA))


def found(training, seconds, heap=1.0):
    return Measured(resident_memory(LLAMA, training, Speed(0, 1, heap)).peak_gib, seconds, seconds)


def test_a_line_through_two_steps_goes_through_both():
    true = Speed(0.02, 5e10, 1.6)
    pairs = [
        (training, found(training, step_seconds(LLAMA, training, true), true.heap))
        for training in (SMALL, LARGE)
    ]
    speed = speed_from(LLAMA, pairs)
    assert (
        speed.fixed_seconds == pytest.approx(0.02)
        and speed.flops_per_second == pytest.approx(5e10)
        and speed.heap == pytest.approx(1.6)
    )
    assert step_flops(LLAMA, LARGE) > 2 * step_flops(LLAMA, SMALL)


def test_noise_cannot_make_time_or_memory_negative():
    speed = speed_from(
        LLAMA, [(SMALL, Measured(None, 0.3, 0.3)), (LARGE, Measured(None, 0.2, 0.2))]
    )
    assert speed.flops_per_second > 0 and speed.fixed_seconds >= 0 and speed.heap == 1
    assert (
        speed_from(LLAMA, [(SMALL, found(SMALL, 0.1)), (LARGE, Measured(0.0, 0.2, 0.2))]).heap == 1
    )


def test_how_labkit_trains_here():
    stage = Stage(kind="orpo", learning_rate=1e-4, steps=2, batch_size=4, lora=Lora(rank=8))
    training = own_training(stage, LLAMA, 50)
    assert (
        training.rows == 8
        and training.method == "lora"
        and training.rank == 8
        and training.attention == "eager"
    )
    assert own_training(stage, architecture_of("SmolLM2-135M"), 50).attention == "fused"


def test_how_labkit_trains_on_cards():
    stage = Stage(
        kind="dpo",
        learning_rate=1e-4,
        steps=2,
        batch_size=24,
        micro_batch_size=3,
        activation_checkpointing=True,
    )
    full = card_training(stage, LLAMA, 50, 2)
    assert (
        full.precision,
        full.method,
        full.gpus,
        full.accumulation,
        full.micro_rows,
        full.checkpointing,
    ) == ("autocast", "full", 2, 4, 6, True)
    lora, qlora = (
        card_training(stage.model_copy(update={"lora": Lora(rank=4, four_bit=four)}), LLAMA, 50)
        for four in (False, True)
    )
    assert (
        (lora.method, qlora.method) == ("lora", "qlora")
        and lora.precision == qlora.precision == "bfloat16"
        and lora.accumulation == 8
    )


def test_processes_share_the_rows_and_under_fsdp_the_weights(monkeypatch):
    stage = Stage(kind="cpt", learning_rate=1e-4, steps=2, batch_size=24, micro_batch_size=3)
    monkeypatch.setenv("WORLD_SIZE", "4")
    copied = own_training(stage, LLAMA, 50)
    assert (copied.gpus, copied.rows, copied.accumulation) == (1, 6, 2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    sharded = own_training(stage, LLAMA, 50)
    assert (sharded.gpus, sharded.rows, sharded.accumulation, sharded.micro_rows) == (4, 24, 2, 3)
    with pytest.raises(SpecError, match="cpt: batch_size 25 cannot be shared by 4"):
        own_training(
            stage.model_copy(update={"batch_size": 25, "micro_batch_size": None}), LLAMA, 50
        )


def test_work_counts_what_is_computed_again():
    stage = Stage(kind="cpt", learning_rate=1e-4, steps=2)
    plain = own_training(stage, LLAMA, 50)
    again = own_training(stage.model_copy(update={"activation_checkpointing": True}), LLAMA, 50)
    assert step_work(LLAMA, plain) == step_flops(LLAMA, plain) == step_flops(LLAMA, again)
    assert step_work(LLAMA, again) == pytest.approx(4 / 3 * step_work(LLAMA, plain))
    dpo = own_training(stage.model_copy(update={"kind": "dpo"}), LLAMA, 50)
    assert step_work(LLAMA, dpo) == pytest.approx(4 / 3 * step_flops(LLAMA, dpo))


def test_a_real_step_holds_what_was_counted():
    stage = Stage(kind="cpt", learning_rate=1e-6, steps=3, batch_size=32, max_length=96)
    real = measure("llama-s-instruct", stage, environment={"MALLOC_MMAP_THRESHOLD_": "65536"})
    assert real.seconds > 0 and real.cpu_seconds > 0
    if real.peak_gib is None:
        pytest.skip("this system does not tell resident memory")
    assert real.peak_gib == pytest.approx(
        peak_memory(LLAMA, own_training(stage, LLAMA, 96)).peak_gib, rel=0.15
    )


def test_a_speed_is_kept_per_model_and_a_broken_file_is_none(tmp_path):
    assert known_speed("llama-s-instruct") is None
    fast, slow = Speed(0.01, 1e11, 1.5), Speed(1.0, 5e10)
    keep_speed("llama-s-instruct", fast)
    keep_speed("smollm2-135m-instruct", slow)
    assert known_speed("llama-s-instruct") == fast and known_speed("smollm2-135m-instruct") == slow
    assert known_speed("mistral-s-instruct") is None
    (tmp_path / "home" / "speed.json").write_text("{", "utf-8")
    assert known_speed("llama-s-instruct") is None


def test_a_training_that_fails_is_one_sentence():
    with pytest.raises(InputError, match=r"measuring cpt of llama-xl failed: .*unknown model"):
        measure("llama-xl", Stage(kind="cpt", learning_rate=1e-6, steps=2))


def test_preference_stages_have_a_speed_of_their_own():
    text, dpo = Speed(0.01, 1e11), Speed(0.05, 5e10)
    keep_speed("llama-s-instruct", text)
    assert known_speed("llama-s-instruct", "dpo") is None
    keep_speed("llama-s-instruct", dpo, "dpo")
    assert known_speed("llama-s-instruct", "dpo") == dpo and known_speed("llama-s-instruct") == text
    assert [stage.batch_size for stage in probe_stages(LLAMA, "dpo")] == [
        stage.batch_size // 2 for stage in probe_stages(LLAMA)
    ]
