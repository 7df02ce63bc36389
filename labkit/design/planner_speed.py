"""How fast this machine trains a model: measured by a short probe, kept, and used by later plans.

A probe is one training in a process of its own, which tells its peak memory and its seconds per
step as a line of JSON. Every row is as long as the stage's max_length, so that what is predicted
and what is measured have the same tokens.

    python -m labkit.design.planner_speed MODEL STAGE    # STAGE: a stage's fields as JSON
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from labkit.base import processes
from labkit.base.errors import InputError
from labkit.base.store import default_root, write_file
from labkit.design.planner_memory import Memory, Precision, Training, memory_at
from labkit.models.architecture import Architecture, architecture_of
from labkit.train.memory import shares
from labkit.train.specs import PREFERENCE_STAGES, Stage

# --- one training, measured ---------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """peak_gib: resident memory at its highest, over what the process had before the model was
    there (None where the system does not tell). seconds: per optimiser step, the median without the
    first. cpu_seconds: of all threads.
    """

    peak_gib: float | None
    seconds: float
    cpu_seconds: float


def measure(model: str, stage: Stage, *, environment: dict[str, str] | None = None) -> Measured:
    """Train a few steps of a stage in a fresh process. environment: variables it has beside this
    one's.

    Raises InputError with its last line when that fails.
    """
    command = [sys.executable, "-m", "labkit.design.planner_speed", model, stage.model_dump_json()]
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"measuring {stage.kind} of {model} failed: {last}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


# --- inside that process ------------------------------------------------------------------------


def _train(model: str, stage: Stage) -> Measured:
    from labkit.models import zoo
    from labkit.train import trainers

    trainers.prepare_process()
    loaded, warm = zoo.load(model), zoo.load("llama-s-instruct")
    short = stage.model_copy(update={"steps": 1, "batch_size": 2, "max_length": 16})
    # libraries, thread pools and kernels are there before the count begins
    _fit(short, warm.model, warm.tokenizer)
    trained, tokenizer = loaded.model, loaded.tokenizer
    del loaded, warm
    _give_back()
    before = _resident_gib("VmRSS")
    own = sum(p.numel() * p.element_size() for p in trained.parameters()) / 2**30
    marks: list[tuple[float, float]] = []
    _fit(
        stage,
        trained,
        tokenizer,
        lambda *_: marks.append((time.perf_counter(), time.process_time())),
    )
    peak = _resident_gib("VmHWM")
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)][1:]
    wall, cpu = (statistics.median(column) for column in zip(*steps, strict=True))
    held = None if peak is None or before is None else peak - before + own
    return Measured(held, wall, cpu)


def _fit(stage: Stage, model, tokenizer, probe=None) -> None:
    from labkit.train import trainers

    if stage.kind in PREFERENCE_STAGES:
        fit = trainers.train_dpo if stage.kind == "dpo" else trainers.train_orpo
        fit(stage, model, tokenizer, _pairs(stage), seed=0, probe=probe)
    else:
        trainers.fit_rows(
            stage, model, tokenizer, _rows(stage, model.config.vocab_size), seed=0, probe=probe
        )


def _rows(stage: Stage, vocabulary: int) -> list[dict]:
    import torch

    drawn = torch.randint(
        vocabulary,
        (stage.steps * stage.batch_size, stage.max_length),
        generator=torch.Generator().manual_seed(0),
    )
    return [{"input_ids": row, "labels": row} for row in drawn.tolist()]


def _pairs(stage: Stage) -> list[dict]:
    """Pairs whose answers are cut at max_length."""
    answers = {
        side: [{"role": "assistant", "content": f"{side} " * stage.max_length}]
        for side in ("chosen", "rejected")
    }
    return [{"prompt": [{"role": "user", "content": "Say it."}], **answers}] * (
        stage.steps * stage.batch_size
    )


def _give_back() -> None:
    """Return freed memory to the system and forget the highest so far; where there is no such
    thing, nothing.
    """
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


# --- how fast this machine is -------------------------------------------------------------------

# Rows and their length: a small step and a large one, so that most real steps lie between them.
# Large models get fewer.
PROBES, LARGE_PROBES = ((8, 64), (32, 128)), ((2, 64), (8, 128))
PROBE_STEPS, LARGE_PROBE_STEPS, LARGE_PARAMETERS = 15, 4, 20e6
Work = Literal["text", "dpo", "orpo"]
TEXT: Final = "text"  # what CPT and SFT are to a machine: the same work


@dataclass(frozen=True)
class Speed:
    """This machine on one model and kind of stage. fixed_seconds: of every step, whatever its rows.
    flops_per_second: of the rows.

    heap: resident memory per byte that a step allocates and frees (the system's allocator keeps
    fragments), and heap_gib: what it holds beside that; 1 and 0 where memory was not measured.
    """

    fixed_seconds: float
    flops_per_second: float
    heap: float = 1.0
    heap_gib: float = 0.0


def own_training(stage: Stage, architecture: Architecture, length: int) -> Training:
    """How labkit trains a stage in this process, with rows padded to `length` tokens.

    Of several processes that do not share the weights, each takes its rows like one that is alone.
    """
    import torch

    from labkit.train.memory import bf16_is_fast

    count = processes.count()
    if count > 1 and not processes.sharded():
        shares(stage, count, f"{stage.kind}: ")
        stage, count = stage.model_copy(update={"batch_size": stage.batch_size // count}), 1
    if torch.cuda.is_available() and bf16_is_fast():
        return card_training(stage, architecture, length, count)
    return _training(
        stage, architecture, length, count, "autocast" if bf16_is_fast() else "float32"
    )


def card_training(stage: Stage, architecture: Architecture, length: int, gpus: int = 1) -> Training:
    """How labkit trains a stage on GPUs that multiply in bfloat16 (train/memory.py).

    All weights are held in float32, the frozen base of adapters in bfloat16, or in 4 bits. Raises
    SpecError when batch_size cannot be shared by the GPUs.
    """
    return _training(stage, architecture, length, gpus, "bfloat16" if stage.lora else "autocast")


def _training(
    stage: Stage, architecture: Architecture, length: int, gpus: int, precision: Precision
) -> Training:
    from labkit.models.zoo import SMALL_HIDDEN

    return Training(
        stage=stage.kind,
        method="full" if stage.lora is None else "qlora" if stage.lora.four_bit else "lora",
        rank=stage.lora.rank if stage.lora else 16,
        batch_size=stage.batch_size,
        length=length,
        gpus=gpus,
        accumulation=shares(stage, gpus, f"{stage.kind}: ")[1],
        precision=precision,
        checkpointing=stage.activation_checkpointing,
        attention="eager" if architecture.hidden < SMALL_HIDDEN else "fused",
    )


def step_work(architecture: Architecture, training: Training) -> int:
    """What one optimiser step computes in FLOPs: a DPO reference's pass and passes done again for
    checkpointing included.
    """
    forward = (
        training.rows * training.length * architecture.forward_flops_per_token(training.length)
    )
    return step_flops(architecture, training) + forward * (
        (training.stage == "dpo") + training.checkpointing
    )


def step_flops(architecture: Architecture, training: Training) -> int:
    """FLOPs of one optimiser step."""
    return (
        training.rows
        * training.length
        * architecture.flops_per_token(training.length, training.lora_rank)
    )


def step_seconds(architecture: Architecture, training: Training, speed: Speed) -> float:
    return speed.fixed_seconds + step_flops(architecture, training) / speed.flops_per_second


def resident_memory(
    architecture: Architecture, training: Training, speed: Speed | None = None
) -> Memory:
    """The peak of a step in a process whose allocator keeps what `speed` says it does beside what
    is alive.
    """
    heap, held = (speed.heap, speed.heap_gib) if speed else (1.0, 0.0)
    moments = [
        Memory(
            m.weights,
            m.gradients,
            m.optimiser,
            m.activations * heap + (held if m.activations else 0.0),
            m.logits * heap,
            m.moment,
        )
        for m in memory_at(architecture, training).values()
    ]
    return max(moments, key=lambda memory: memory.peak_gib)


# --- the probe ----------------------------------------------------------------------------------


def speed_from(architecture: Architecture, found: list[tuple[Training, Measured]]) -> Speed:
    """The line through two measured steps, of seconds against FLOPs and of memory against the bytes
    that come and go.
    """
    (small, short), (large, long) = found
    work = step_flops(architecture, large) - step_flops(architecture, small)
    per_flop = max(long.seconds - short.seconds, 1e-9) / work
    fixed = max(0.0, short.seconds - per_flop * step_flops(architecture, small))
    return Speed(fixed, 1 / per_flop, *_heap(architecture, found))


def _heap(
    architecture: Architecture, found: list[tuple[Training, Measured]]
) -> tuple[float, float]:
    """Resident memory per byte that comes and goes, and what is held beside it, never less than
    what is alive.
    """
    points = []
    for training, measured in found:
        if measured.peak_gib is None:
            return 1.0, 0.0
        alive = max(
            memory_at(architecture, training).values(), key=lambda memory: memory.activations
        )
        passing = alive.activations + alive.logits
        points.append((passing, measured.peak_gib - (alive.peak_gib - passing)))
    (small, held), (large, holding) = points
    heap = max(1.0, (holding - held) / (large - small))
    return heap, max(0.0, holding - heap * large)


def kind_of(stage: Stage) -> Work:
    """What a stage is to a machine: CPT and SFT do the same work, preference stages work of their
    own.
    """
    return TEXT if stage.kind == "cpt" or stage.kind == "sft" else stage.kind


def probe_stages(architecture: Architecture, kind: Work = TEXT) -> list[Stage]:
    """The two short trainings that a machine's speed is read from; a row of a preference stage is a
    pair.
    """
    small = architecture.parameters < LARGE_PARAMETERS
    steps, shapes = (PROBE_STEPS, PROBES) if small else (LARGE_PROBE_STEPS, LARGE_PROBES)
    share = 1 if kind == TEXT else 2
    return [
        Stage(
            kind="cpt" if kind == TEXT else kind,
            learning_rate=1e-6,
            steps=steps,
            batch_size=rows // share,
            max_length=length,
        )
        for rows, length in shapes
    ]


def probe_speed(model: str, kind: Work = TEXT) -> Speed:
    """Measure this machine on a model (two short trainings in processes of their own) and keep what
    was found.
    """
    architecture = architecture_of(model)
    found = [
        (own_training(stage, architecture, stage.max_length), measure(model, stage))
        for stage in probe_stages(architecture, kind)
    ]
    speed = speed_from(architecture, found)
    keep_speed(model, speed, kind)
    return speed


def keep_speed(model: str, speed: Speed, kind: Work = TEXT) -> None:
    """Remember a speed for later plans, in the folder that holds checkpoints. Raises StoreError."""
    kept = _kept()
    write_file(
        _file(), json.dumps({**kept, model: {**kept.get(model, {}), kind: asdict(speed)}}, indent=1)
    )


def known_speed(model: str, kind: Work = TEXT) -> Speed | None:
    """What the last probe of a model and kind of stage on this machine found; None when there was
    none.
    """
    row = _kept().get(model, {}).get(kind)
    return Speed(**row) if row else None


def _file() -> Path:
    return default_root().parent / "speed.json"


def _kept() -> dict[str, dict]:
    try:
        return json.loads(_file().read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


if __name__ == "__main__":
    print(json.dumps(asdict(_train(sys.argv[1], Stage(**json.loads(sys.argv[2]))))))
