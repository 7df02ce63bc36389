"""How fast this machine trains a model, and so how long a cell takes before it trains.

The speed is measured by a short probe, kept, and used by later plans. The last part tells what is
ahead of a cell, stage by stage, and what is kept when it is stopped.

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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Final, Literal

from labkit.base import processes
from labkit.base.errors import InputError
from labkit.base.processes import headless
from labkit.base.store import Checkpoint, Store, default_root, write_file
from labkit.data.packs import samples_folder
from labkit.design.planner_memory import Memory, Precision, Training, memory_at
from labkit.models.architecture import Architecture, architecture_of
from labkit.train.callbacks import Partial
from labkit.train.memory import shares
from labkit.train.pipeline import run_spec, steps_run, with_steps
from labkit.train.specs import PREFERENCE_STAGES, PipelineSpec, Stage

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
    from labkit.train.memory import bf16_is_fast

    count = processes.count()
    if count > 1 and not processes.sharded():
        shares(stage, count, f"{stage.kind}: ")
        stage, count = stage.model_copy(update={"batch_size": stage.batch_size // count}), 1
    if processes.device(architecture.parameters) == "cuda" and bf16_is_fast():
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


# --- how long a cell takes ----------------------------------------------------------------------
#
# Seconds come from the probe above. For the course's model they are as good as exact for reading
# and answering, and short by a fifth or so for preferences. Other small models and kinds of stage
# are told by the same figure.

EXPECTED_SECONDS = {  # of each notebook: lab, two cores, the ones before it have been run
    "00_warm_up": 31,
    "01_design": 261,
    "02_data": 130,
    "03_cpt": 59,
    "04_sft": 35,
    "05_preferences": 24,
    "06_merge": 62,
    "07_evaluate": 20,
    "08_scale": 109,
    "09_diagnose": 69,
    "10_report": 6,
}
COURSE_MODEL = "llama-s-instruct"
# A step as the course has most of.
TYPICAL = Stage(kind="cpt", learning_rate=1e-6, steps=1, batch_size=32, max_length=80)
PROBE_SHARE = 0.1  # of a training: the most that measuring before it may take
PROCESS_SECONDS = 6.0  # a probe's process until it trains, twice per probe
ELSEWHERE = (
    "at the speed of the machine the course was timed on; lab.speed_test() measures this one"
)


def reference_speed() -> Speed:
    """The machine the course was timed on, from two trainings measured there
    (data_samples/measured/planner.json).
    """
    architecture = architecture_of(COURSE_MODEL)
    rows = json.loads((samples_folder("measured") / "planner.json").read_text("utf-8"))["rows"]
    found = []
    for row in rows:
        if (row["model"], row["stage"], row["rank"]) == (COURSE_MODEL, "cpt", None):
            stage = TYPICAL.model_copy(
                update={"batch_size": row["rows"], "max_length": row["length"]}
            )
            found.append(
                (
                    own_training(stage, architecture, row["length"]),
                    Measured(None, row["measured_seconds"], 0.0),
                )
            )
    return speed_from(architecture, [found[0], found[-1]])


def speed_for(model: str, kind: Work = TEXT) -> tuple[Speed, bool]:
    """The nearest speed there is of a model and kind of stage, and whether it was measured on this
    machine.
    """
    for name, what in ((model, kind), (model, TEXT), (COURSE_MODEL, kind), (COURSE_MODEL, TEXT)):
        if found := known_speed(name, what):
            return found, True
    return reference_speed(), False


def probe_seconds(model: str) -> float:
    """What measuring this machine on a model takes, about."""
    architecture, (speed, _) = architecture_of(model), speed_for(model)
    return sum(
        PROCESS_SECONDS
        + stage.steps
        * step_seconds(architecture, own_training(stage, architecture, stage.max_length), speed)
        for stage in probe_stages(architecture)
    )


@dataclass(frozen=True)
class SpeedTest:
    """What this machine does. tokens_per_second: of a typical step. ratio: its seconds over those
    where the course was timed. fresh: measured just now, not read back.
    """

    tokens_per_second: float
    ratio: float
    fresh: bool

    @property
    def course_minutes(self) -> float:
        """Computing of the whole course. Scoring is taken to be slower or faster as training is."""
        return sum(EXPECTED_SECONDS.values()) * self.ratio / 60

    def __str__(self) -> str:
        usual = sum(EXPECTED_SECONDS.values()) / 60
        again = (
            ""
            if self.fresh
            else " Measured before; lab.speed_test(again=True) measures anew, for other programs "
            "slow it down."
        )
        return (
            "This machine trains the course's model on about "
            f"{float(f'{self.tokens_per_second:.2g}'):,.0f} tokens a second. All "
            "computing of the course "
            f"takes about {max(1, self.course_minutes):.0f} minutes here; it took "
            f"{usual:.0f} where it was timed (two cores).{again}"
        )


def speed_test(*, again: bool = False) -> SpeedTest:
    """Measure this machine on the course's model and keep the figure; read back when it is there.
    again: measure anew. Raises InputError.
    """
    kept = None if again else known_speed(COURSE_MODEL)
    here = kept or probe_speed(COURSE_MODEL)
    architecture = architecture_of(COURSE_MODEL)
    typical = own_training(TYPICAL, architecture, TYPICAL.max_length)
    seconds, there = (
        step_seconds(architecture, typical, speed) for speed in (here, reference_speed())
    )
    return SpeedTest(
        TYPICAL.batch_size * TYPICAL.max_length / seconds, seconds / there, fresh=kept is None
    )


# --- what is ahead ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ahead:
    """A stage that a cell trains or reads back. at: the step it goes on from. seconds: that are
    left, about. here: told by this machine's own speed. key: of the checkpoint it becomes; None
    behind a merge, where it is known only once that is made.
    """

    kind: str
    steps: int
    key: str | None
    kept: bool = False
    at: int = 0
    seconds: float = 0.0
    here: bool = True

    def __str__(self) -> str:
        if self.kept:
            return f"{self.kind} kept"
        if self.at:
            return f"{self.kind} continues at step {self.at} of {self.steps}, {about(self.seconds)}"
        return f"{self.kind} {self.steps} steps, {about(self.seconds)}"


class _Asked(Store):
    """A store that takes down which checkpoints it is asked for, and has none made."""

    def __init__(self):
        super().__init__()
        self.keys: list[str] = []

    def get_or_make(self, key: str, make: object) -> Checkpoint:
        self.keys.append(key)
        return Checkpoint(self.root / key, {"key": key})


def ahead(spec: PipelineSpec, *, watched: bool = False) -> list[Ahead]:
    """The stages of a spec as the store has them. watched: with a probe on each, as
    `run_spec(watch=…)`. Raises what run_spec raises.
    """
    asked, spec = _Asked(), with_steps(spec)
    before = spec.stages[: spec.merge_after or None]
    run_spec(
        spec.model_copy(
            update={"stages": before, "merge": None, "merge_after": None, "report_to": None}
        ),
        store=asked,
        watch=(lambda *_: None) if watched else None,
    )
    keys = [*asked.keys, *[None] * (len(spec.stages) - len(before))]
    return [
        _timed(stored(Ahead(stage.kind, steps_run(stage, spec.profile), key)), stage, spec)
        for stage, key in zip(spec.stages, keys, strict=True)
    ]


def stored(stage: Ahead) -> Ahead:
    """With what the store has of it now."""
    store = Store()
    if stage.key is None:
        return stage
    if store.find(stage.key):
        return replace(stage, kept=True)
    state = Partial(store.partial(stage.key)).find()
    return replace(stage, at=state.step) if state else stage


def _timed(found: Ahead, stage: Stage, spec: PipelineSpec) -> Ahead:
    if found.kept:
        return found
    from labkit.design.planner import plan_spec  # it reads the speeds that are kept here

    speed, here = speed_for(spec.model, kind_of(stage))
    alone = spec.model_copy(update={"stages": (stage,), "merge": None, "merge_after": None})
    seconds = plan_spec(alone, speed=speed).stages[0].seconds
    assert seconds is not None, "a plan with a speed has seconds"
    middle = sqrt(seconds[0] * seconds[1])
    return replace(found, seconds=middle * (1 - found.at / found.steps), here=here)


def about(seconds: float) -> str:
    """Rounded to what an estimate is good for."""
    if seconds < 4:
        return "a few seconds"
    return (
        f"about {max(5, 5 * round(seconds / 5))} s"
        if seconds < 90
        else f"about {seconds / 60:.0f} min"
    )


def told(stages: list[Ahead], *, each: bool = True) -> str:
    """What is ahead in a line. each: stage by stage; else how many and their sum."""
    to_train = [stage for stage in stages if not stage.kept]
    resumed = [stage for stage in to_train if stage.at]
    if each:
        line = "; ".join(map(str, stages))
    elif to_train:
        steps, seconds = (
            sum(column)
            for column in zip(
                *((stage.steps - stage.at, stage.seconds) for stage in to_train), strict=True
            )
        )
        others = " (the others are kept)" if len(to_train) < len(stages) else ""
        line = "; ".join(
            [
                f"{len(to_train)} of {len(stages)} stages to train{others}: {steps} steps, "
                f"{about(seconds)}",
                *map(str, resumed),
            ]
        )
    else:
        line = f"all {len(stages)} stages kept"
    if not all(stage.here for stage in to_train):
        line += f" ({ELSEWHERE})"
    if to_train and not headless():
        line += ". Stop with the ■ button; run the cell again to go on"
    return line


def _unlike(stages: Iterable[Ahead]) -> list[Ahead]:
    """Each stage once: designs share stages."""
    found: dict[object, Ahead] = {}
    for number, stage in enumerate(stages):
        found.setdefault(stage.key or number, stage)
    return list(found.values())


def _all_ahead(specs: list[PipelineSpec], watched: bool) -> list[Ahead]:
    return _unlike(stage for spec in specs for stage in ahead(spec, watched=watched))


def announce(specs: Iterable[PipelineSpec], *, watched: bool = False) -> list[Ahead]:
    """Print what is ahead of a cell and return it.

    Where measuring this machine pays, that comes first. Raises what run_spec raises.
    """
    specs = list(specs)
    found = _all_ahead(specs, watched)
    if model := _worth_measuring(specs, found):
        print(f"measuring this machine first, {about(probe_seconds(model))}")
        probe_speed(model)
        found = _all_ahead(specs, watched)
    print(told(found, each=len(specs) == 1))
    return found


def _worth_measuring(specs: list[PipelineSpec], found: list[Ahead]) -> str | None:
    """The model to measure first: of which nothing is known, where a probe is a small share of what
    is ahead.
    """
    for model in dict.fromkeys(spec.model for spec in specs):
        unknown = known_speed(model) is None and (
            not speed_for(model)[1] or architecture_of(model).parameters > LARGE_PARAMETERS
        )
        if unknown and probe_seconds(model) <= PROBE_SHARE * sum(stage.seconds for stage in found):
            return model
    return None


def stopped(stages: list[Ahead]) -> str:
    """What an interrupt left, in a sentence."""
    begun = next((stage for stage in stages if stage.at and not stage.kept), None)
    if begun:
        return (
            f"stopped: {begun.kind} is kept up to step {begun.at} of {begun.steps}, and so "
            "are finished stages; run the cell again to go on from there"
        )
    return "stopped: finished stages are kept; run the cell again to go on"


if __name__ == "__main__":
    print(json.dumps(asdict(_train(sys.argv[1], Stage(**json.loads(sys.argv[2]))))))
