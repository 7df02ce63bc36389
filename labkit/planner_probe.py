"""One training measured: peak memory and seconds per step, in a process of its own.

    python -m labkit.planner_probe MODEL STAGE    # STAGE: a stage's fields as JSON; prints a line of JSON

Every row is as long as the stage's max_length, so that what is predicted and what is measured have the same tokens.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from labkit.design import PREFERENCE_STAGES, Stage
from labkit.errors import InputError


@dataclass(frozen=True)
class Measured:
    """peak_gib: resident memory at its highest, over what the process had before the model was there (None where the
    system does not tell). seconds: per optimiser step, the median without the first. cpu_seconds: of all threads."""

    peak_gib: float | None
    seconds: float
    cpu_seconds: float


def measure(model: str, stage: Stage, *, environment: dict[str, str] | None = None) -> Measured:
    """Train a few steps of a stage in a fresh process. environment: variables it has beside this one's.

    Raises InputError with its last line when that fails.
    """
    command = [sys.executable, "-m", "labkit.planner_probe", model, stage.model_dump_json()]
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"measuring {stage.kind} of {model} failed: {last}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


# --- inside that process ------------------------------------------------------------------------


def _train(model: str, stage: Stage) -> Measured:
    from labkit import train, zoo

    train.prepare_process()
    loaded, warm = zoo.load(model), zoo.load("llama-s-instruct")
    short = stage.model_copy(update={"steps": 1, "batch_size": 2, "max_length": 16})
    _fit(short, warm.model, warm.tokenizer)  # libraries, thread pools and kernels are there before the count begins
    trained, tokenizer = loaded.model, loaded.tokenizer
    del loaded, warm
    _give_back()
    before = _resident_gib("VmRSS")
    own = sum(p.numel() * p.element_size() for p in trained.parameters()) / 2**30
    marks: list[tuple[float, float]] = []
    _fit(stage, trained, tokenizer, lambda *_: marks.append((time.perf_counter(), time.process_time())))
    peak = _resident_gib("VmHWM")
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks, marks[1:], strict=False)][1:]
    wall, cpu = (statistics.median(column) for column in zip(*steps, strict=True))
    return Measured(None if peak is None else peak - before + own, wall, cpu)


def _fit(stage: Stage, model, tokenizer, probe=None) -> None:
    from labkit import train

    if stage.kind in PREFERENCE_STAGES:
        fit = train.train_dpo if stage.kind == "dpo" else train.train_orpo
        fit(stage, model, tokenizer, _pairs(stage), seed=0, probe=probe)
    else:
        train.fit_rows(stage, model, tokenizer, _rows(stage, model.config.vocab_size), seed=0, probe=probe)


def _rows(stage: Stage, vocabulary: int) -> list[dict]:
    import torch

    drawn = torch.randint(vocabulary, (stage.steps * stage.batch_size, stage.max_length), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in drawn.tolist()]


def _pairs(stage: Stage) -> list[dict]:
    """Pairs whose answers are cut at max_length."""
    answers = {side: [{"role": "assistant", "content": f"{side} " * stage.max_length}] for side in ("chosen", "rejected")}
    return [{"prompt": [{"role": "user", "content": "Say it."}], **answers}] * (stage.steps * stage.batch_size)


def _give_back() -> None:
    """Return freed memory to the system and forget the highest so far; where there is no such thing, nothing."""
    import ctypes
    import gc

    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def _resident_gib(field: str) -> float | None:
    if sys.platform != "linux":
        return None
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) / 2**20


if __name__ == "__main__":
    print(json.dumps(asdict(_train(sys.argv[1], Stage(**json.loads(sys.argv[2]))))))
