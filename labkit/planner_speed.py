"""How fast this machine trains a model: measured by a short probe, kept, and used by every plan after it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.architecture import Architecture, architecture_of
from labkit.design import Stage
from labkit.planner_memory import Memory, Training, memory_at
from labkit.planner_probe import Measured, measure
from labkit.store import default_root, write_file

# Rows and their length: a step that is mostly overhead, and one that is mostly work. Large models get fewer of both.
PROBES, LARGE_PROBES = ((4, 32), (16, 64)), ((2, 32), (8, 64))
PROBE_STEPS, LARGE_PROBE_STEPS, LARGE_PARAMETERS = 20, 4, 20e6


@dataclass(frozen=True)
class Speed:
    """This machine on one model. fixed_seconds: of every step, whatever its rows. flops_per_second: of the rows.

    heap: resident memory over the bytes that are alive, for what a step allocates and frees (the system's allocator
    keeps fragments); 1 where it was not measured.
    """

    fixed_seconds: float
    flops_per_second: float
    heap: float = 1.0


def own_training(stage: Stage, architecture: Architecture, length: int) -> Training:
    """How labkit trains a stage on this machine's CPU, with rows padded to `length` tokens."""
    from labkit.train import bf16_is_fast
    from labkit.zoo import SMALL_HIDDEN

    return Training(
        stage=stage.kind, method="lora" if stage.lora else "full", rank=stage.lora.rank if stage.lora else 16,
        batch_size=stage.batch_size, length=length, precision="autocast" if bf16_is_fast() else "float32",
        attention="eager" if architecture.hidden < SMALL_HIDDEN else "fused",
    )


def step_flops(architecture: Architecture, training: Training) -> int:
    """FLOPs of one optimiser step."""
    return training.rows * training.length * architecture.flops_per_token(training.length, training.lora_rank)


def step_seconds(architecture: Architecture, training: Training, speed: Speed) -> float:
    return speed.fixed_seconds + step_flops(architecture, training) / speed.flops_per_second


def resident_memory(architecture: Architecture, training: Training, heap: float = 1.0) -> Memory:
    """The peak of a step on a machine whose allocator takes `heap` times what activations and logits need."""
    moments = [
        Memory(m.weights, m.gradients, m.optimiser, m.activations * heap, m.logits * heap, m.moment)
        for m in memory_at(architecture, training).values()
    ]
    return max(moments, key=lambda memory: memory.peak_gib)


# --- measured ---------------------------------------------------------------------------------


def speed_from(architecture: Architecture, found: list[tuple[Training, Measured]]) -> Speed:
    """The line through two measured steps, and how much more the larger one held than was alive."""
    (small, short), (large, long) = found
    work = step_flops(architecture, large) - step_flops(architecture, small)
    per_flop = max(long.seconds - short.seconds, 1e-9) / work
    fixed = max(0.0, short.seconds - per_flop * step_flops(architecture, small))
    return Speed(fixed, 1 / per_flop, _heap(architecture, large, long.peak_gib))


def _heap(architecture: Architecture, training: Training, peak_gib: float | None) -> float:
    if peak_gib is None:
        return 1.0
    alive = max(memory_at(architecture, training).values(), key=lambda memory: memory.activations)
    passing = alive.activations + alive.logits
    return max(1.0, (peak_gib - (alive.peak_gib - passing)) / passing)


def probe_stages(architecture: Architecture) -> list[Stage]:
    """The two short trainings that a machine's speed is read from."""
    small = architecture.parameters < LARGE_PARAMETERS
    steps, shapes = (PROBE_STEPS, PROBES) if small else (LARGE_PROBE_STEPS, LARGE_PROBES)
    return [Stage(kind="cpt", learning_rate=1e-6, steps=steps, batch_size=rows, max_length=length) for rows, length in shapes]


def probe_speed(model: str) -> Speed:
    """Measure this machine on a model (two short trainings in processes of their own) and keep what was found."""
    architecture = architecture_of(model)
    found = [(own_training(stage, architecture, stage.max_length), measure(model, stage)) for stage in probe_stages(architecture)]
    speed = speed_from(architecture, found)
    keep_speed(model, speed)
    return speed


def keep_speed(model: str, speed: Speed) -> None:
    """Remember a speed for later plans, in the folder that holds checkpoints. Raises StoreError."""
    write_file(_file(), json.dumps({**_kept(), model: asdict(speed)}, indent=1))


def known_speed(model: str) -> Speed | None:
    """What the last probe of a model on this machine found; None when there was none."""
    row = _kept().get(model)
    return Speed(**row) if row else None


def _file() -> Path:
    return default_root().parent / "speed.json"


def _kept() -> dict[str, dict]:
    try:
        return json.loads(_file().read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
