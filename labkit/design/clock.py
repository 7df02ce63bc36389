"""How long a training cell takes, told before it trains; and what is kept when it is stopped.

Seconds come from the probe of this machine (planner_speed.py). For the course's model they are as
good as exact for reading and answering, and short by a fifth or so for preferences. Other small
models and kinds of stage are told by the same figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import sqrt

from labkit.base.processes import headless
from labkit.base.store import Checkpoint, Store
from labkit.data.packs import samples_folder
from labkit.design.planner import plan_spec
from labkit.design.planner_speed import (
    LARGE_PARAMETERS,
    TEXT,
    Measured,
    Speed,
    Work,
    kind_of,
    known_speed,
    own_training,
    probe_speed,
    probe_stages,
    speed_from,
    step_seconds,
)
from labkit.models.architecture import architecture_of
from labkit.train.callbacks import Partial
from labkit.train.pipeline import run_spec, steps_run, with_steps
from labkit.train.specs import PipelineSpec, Stage

EXPECTED_SECONDS = {  # of each notebook: lab, two cores, nothing trained before
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


# --- this machine -----------------------------------------------------------------------------


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
        spec.model_copy(update={"stages": before, "merge": None, "merge_after": None}),
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
        line = "; ".join(
            [
                f"{len(to_train)} of {len(stages)} stages to train (the others are "
                f"kept): {steps} steps, {about(seconds)}",
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
