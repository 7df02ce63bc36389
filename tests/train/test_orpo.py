"""ORPO's loss by hand, at its ends, and beside TRL's trainer: loss and gradient of one step.

Run as a program, it is a process of the test with two of them: test_orpo.py FOLDER.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from labkit.data import packs
from labkit.models import zoo
from labkit.train import orpo, trainers

ROOT = Path(__file__).parents[2]
PAIRS, BETA = 8, 0.2
# tokens a row may have: more than any has; some are cut; all chosen ones have as many
WHOLE, CUT, EVEN = 128, 24, 22
CLOSE = 1e-6


# --- the formulas -----------------------------------------------------------------------------


def test_loss_of_a_pair_is_the_papers_formula():
    """P = 0.8 has the odds 4, P = 0.5 the odds 1: their ratio is 4, and sigmoid(log 4) is 0.8."""
    chosen, rejected = torch.tensor([0.8, 0.5]).log(), torch.tensor([0.5, 0.8]).log()
    assert orpo.log_odds(chosen).exp().tolist() == pytest.approx([4, 1])
    assert orpo.odds_ratio_loss(chosen, rejected).tolist() == pytest.approx(
        [-math.log(0.8), -math.log(0.2)]
    )


@pytest.mark.parametrize("x", [-1e-30, -1e-9, -1e-4, -0.69, -0.7, -3.0, -40.0])
def test_log1mexp_keeps_its_digits_at_both_ends(x):
    given = torch.tensor(x, requires_grad=True)
    found = orpo.log1mexp(given)
    found.backward()
    x = given.item()  # as float32 has it
    right = math.log1p(-math.exp(x)) if x < -1 else math.log(-math.expm1(x))
    assert found.item() == pytest.approx(right, rel=1e-6)
    assert given.grad.item() == pytest.approx(math.exp(x) / math.expm1(x), rel=1e-6)


@pytest.mark.parametrize("certain", [0.0, -1e-9])
def test_a_model_certain_of_an_answer_has_a_finite_loss_and_gradient(certain):
    for order in ([0, 1], [1, 0]):
        log_p = torch.tensor([certain, -2.0], requires_grad=True)
        loss = orpo.odds_ratio_loss(*log_p[order])
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(log_p.grad).all()
        assert loss.item() == pytest.approx(0, abs=1e-6) if order == [0, 1] else loss > 15


def test_probabilities_are_those_of_the_tokens_that_follow():
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 1, 2, 3], [4, 4, 0, 1]])
    found = orpo.log_probabilities(logits, ids)
    assert found.shape == (2, 3)
    assert found[1, 1] == logits[1, 1].log_softmax(-1)[0]


# --- beside TRL -------------------------------------------------------------------------------


def pairs_and_tokenizer():
    tokenizer = trainers.preference_tokenizer(zoo.load("llama-s-instruct").tokenizer)
    tokenizer.bos_token = None  # TRL would put one before every prompt
    return packs.load_pack("materials").rows("preferences")[:PAIRS], tokenizer


def model():
    """Far from certain of anything, and in double precision: what differs is not rounding."""
    return zoo.load("llama-s-instruct").model.double()


def arguments(folder: Path, micro: int, max_length: int) -> dict:
    processes = int(os.environ.get("WORLD_SIZE", 1))
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": PAIRS // micro // processes,
        "max_steps": 1,
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "max_grad_norm": 0,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
        "beta": BETA,
        "max_length": max_length,
    }


def adapters(wanted: bool):
    """Random at both ends: as they usually begin, half of their gradient is zero."""
    if not wanted:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )


def step_of(trainer) -> tuple[dict, dict]:
    """What a trainer logs of its first step, and the gradient."""
    found = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            model = getattr(model, "module", model)
            found.update(
                {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
            )

    trainer.add_callback(Look())
    trainer.train()
    return trainer.state.log_history[0], found


def ours(folder: Path, *, micro: int = PAIRS, max_length: int = WHOLE, lora: bool = False):
    pairs, tokenizer = pairs_and_tokenizer()
    rows = trainers.preference_rows(tokenizer, pairs, max_length, closed=True)
    assert len(rows) == PAIRS
    return step_of(
        orpo.ORPOTrainer(
            model=model(),
            args=orpo.ORPOConfig(**arguments(folder, micro, max_length)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=adapters(lora),
        )
    )


def theirs(folder: Path, *, micro: int = PAIRS, max_length: int = WHOLE, lora: bool = False):
    trl = pytest.importorskip(
        "trl.experimental.orpo", reason="this TRL has no ORPO to compare with"
    )
    pairs, tokenizer = pairs_and_tokenizer()
    keys = ("prompt", "chosen", "rejected")
    return step_of(
        trl.ORPOTrainer(
            model=model(),
            args=trl.ORPOConfig(**arguments(folder, micro, max_length)),
            train_dataset=Dataset.from_list([{key: pair[key] for key in keys} for pair in pairs]),
            processing_class=tokenizer,
            peft_config=adapters(lora),
        )
    )


def assert_same_step(one: tuple[dict, dict], other: tuple[dict, dict]) -> None:
    """Also what is logged beside the loss, but for means of logits, which say nothing."""
    (logged, gradient), (their_logged, their_gradient) = one, other
    shared = {name for name in their_logged if not name.startswith("logits/")}
    assert {name: logged[name] for name in shared} == pytest.approx(
        {name: their_logged[name] for name in shared}, rel=CLOSE, abs=CLOSE
    )
    assert gradient.keys() == their_gradient.keys() and gradient
    for name, theirs_here in their_gradient.items():
        assert theirs_here.norm() > 0, name
        assert (gradient[name] - theirs_here).norm() <= CLOSE * theirs_here.norm(), name


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("max_length", [WHOLE, CUT], ids=["padded", "cut"])
def test_a_step_in_one_piece_is_trls(tmp_path, max_length, lora):
    how = {"max_length": max_length, "lora": lora}
    assert_same_step(ours(tmp_path, **how), theirs(tmp_path, **how))


def test_a_step_in_micro_batches_is_trls_in_one_piece(tmp_path):
    assert_same_step(ours(tmp_path, micro=2), theirs(tmp_path))


def test_a_step_in_micro_batches_of_equal_length_is_trls_in_micro_batches(tmp_path):
    """Where every share has as many tokens, TRL's mean of means is the mean over the step."""
    how = {"micro": 2, "max_length": EVEN, "lora": True}
    assert_same_step(ours(tmp_path, **how), theirs(tmp_path, **how))


def test_a_step_of_two_processes_is_trls_in_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    logged, gradient = torch.load(tmp_path / "step.pt")
    assert_same_step((logged, gradient), theirs(tmp_path))


def test_nothing_of_ours_rests_on_trls_experiments():
    files = [
        path
        for room in ("labkit", "notebooks", "studies")
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".ipynb")
    ]
    assert len(files) > 100
    assert [path for path in files if "trl.experimental" in path.read_text("utf-8")] == []


if __name__ == "__main__":
    step = ours(Path(sys.argv[1]), micro=2)
    if os.environ["RANK"] == "0":
        torch.save(step, Path(sys.argv[1]) / "step.pt")
