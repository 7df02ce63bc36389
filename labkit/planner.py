"""What a training costs before it is run: parameters, FLOPs, memory, hours, money, energy; where it fits, what to give up.

Nothing is built or trained for a plan. docs/cost.md shows its predictions beside measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from labkit.architecture import Architecture, architecture_of
from labkit.design import PipelineSpec, Stage
from labkit.errors import InputError, suggest
from labkit.packs import samples_folder
from labkit.pipeline import steps_run
from labkit.planner_memory import Memory, Training, peak_memory, trained_parameters
from labkit.planner_rows import lengths_of
from labkit.planner_speed import Speed, kind_of, known_speed, own_training, resident_memory, step_flops
from labkit.yamlfile import read_yaml

UTILISATION = (0.14, 0.33)  # of a GPU's peak rate that fine-tuning runs reach; a range, because it depends on the setup
POWER = (0.6, 1.0)  # of a GPU's power limit, while it trains
SPREAD = 0.3  # seconds on this machine are told as a range this much either way; docs/cost.md shows how far off they were
MOST_GPUS = 64


# --- GPUs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """A card as its data sheet has it. memory_gb: 10^9 bytes. tflops: dense, bfloat16. watts: power limit."""

    name: str
    memory_gb: float
    tflops: float
    watts: float
    source: str

    @property
    def usable_gib(self) -> float:
        """The printed size read as 10^9 bytes: what a card has beyond that is left to its driver and to fragments."""
        return self.memory_gb * 1e9 / 2**30


def gpus() -> dict[str, Gpu]:
    """The cards labkit knows, by name, smallest memory first."""
    path = samples_folder("configs").parent / "gpus.yaml"
    rows = read_yaml(path, missing="install labkit again")
    return {name: Gpu(name, **row) for name, row in rows.items()}


def gpu(name: str) -> Gpu:
    """A card by name, in any case. Raises InputError for one labkit does not know."""
    known = gpus()
    found = {key.lower(): card for key, card in known.items()}.get(name.lower())
    if found is None:
        raise InputError(f"unknown GPU {name!r}: {suggest(name, list(known))}")
    return found


# --- one training -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What training a model on some tokens takes.

    trained: parameters that learn. tokens: in all. flops: in all. memory: of one GPU at the peak of a step.
    """

    architecture: Architecture
    training: Training
    tokens: int
    memory: Memory

    @property
    def parameters(self) -> int:
        return self.architecture.parameters

    @property
    def trained(self) -> int:
        return trained_parameters(self.architecture, self.training)

    @property
    def flops(self) -> int:
        """Of all tokens; a reference model's pass included, work done twice for checkpointing not."""
        per_token = self.architecture.flops_per_token(self.training.length, self.training.lora_rank)
        if self.training.stage == "dpo":
            per_token += self.architecture.forward_flops_per_token(self.training.length)
        return self.tokens * per_token

    @property
    def peak_gib(self) -> float:
        return self.memory.peak_gib

    def fits(self, card: Gpu) -> bool:
        return self.peak_gib <= card.usable_gib

    def hours(self, card: Gpu) -> tuple[float, float]:
        """Shortest and longest, over the range of utilisation that such runs reach."""
        rate = card.tflops * 1e12 * self.training.gpus * 3600
        again = self.architecture.forward_flops_per_token(self.training.length) if self.training.checkpointing else 0
        work = self.flops + self.tokens * again
        return work / (rate * UTILISATION[1]), work / (rate * UTILISATION[0])

    def money(self, card: Gpu, price: float) -> tuple[float, float]:
        """Least and most, from a price per GPU and hour in the user's currency. Raises InputError for a price below 0."""
        if not 0 <= price < float("inf"):
            raise InputError(f"price is {price!r}; give what one GPU costs per hour, 0 or more")
        return tuple(hours * self.training.gpus * price for hours in self.hours(card))

    def energy_kwh(self, card: Gpu) -> tuple[float, float]:
        """Least and most energy of the cards alone: their share of the power limit times the hours."""
        return tuple(hours * self.training.gpus * card.watts * share / 1000 for hours, share in zip(self.hours(card), POWER, strict=True))


def plan(model: Architecture | str | Path | dict, training: Training, tokens: int) -> Plan:
    """Plan training a model on `tokens` tokens. Raises InputError for a model or number that cannot be planned."""
    architecture = model if isinstance(model, Architecture) else architecture_of(model)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise InputError(f"tokens is {tokens!r}; it must be a whole number above 0")
    if architecture.context and training.length > architecture.context:
        raise InputError(f"length is {training.length}, but {architecture.name} reads at most {architecture.context} tokens")
    return Plan(architecture, training, tokens, peak_memory(architecture, training))


# --- what to give up --------------------------------------------------------------------------


@dataclass(frozen=True)
class Remedy:
    """One more thing given up. costs: what it takes away. plan: with it and every remedy before it."""

    name: str
    costs: str
    plan: Plan


def _steps_down(training: Training) -> list[tuple[str, str, Training]]:
    """From what costs least to what costs most, each on top of those before."""
    micro = replace(training, accumulation=-(-training.rows // training.gpus))
    checkpointed = replace(micro, checkpointing=True)
    eight_bit = replace(checkpointed, optimiser="adamw8bit")
    lora = replace(checkpointed, method="lora")
    qlora = replace(lora, method="qlora")
    return [
        ("one row at a time, gradients accumulated", "some speed; the update is the same", micro),
        ("activation checkpointing", "another forward pass; the update is the same", checkpointed),
        ("8-bit optimiser state", "little that is measured (arXiv 2110.02861)", eight_bit),
        ("LoRA instead of all weights", "learning less, while forgetting less (arXiv 2405.09673)", lora),
        ("QLoRA: the frozen base in 4 bits", "some speed, a little precision (arXiv 2305.14314)", qlora),
        ("rows half as long", "whatever stands beyond the cut", replace(qlora, length=max(1, qlora.length // 2))),
    ]


def give_up(asked: Plan, card: Gpu) -> list[Remedy]:
    """What to give up, in order, until a plan fits a card; empty when it fits as it is.

    Each remedy comes on top of those before and is left out where it saves nothing. When even the last does not fit,
    the list ends with it: only a larger card or more of them help (`gpus_needed`).
    """
    remedies: list[Remedy] = []
    best = asked
    for name, costs, training in _steps_down(asked.training):
        if best.fits(card):
            break
        tried = plan(asked.architecture, _keep_method(asked.training, training), asked.tokens)
        if tried.peak_gib < best.peak_gib:
            remedies.append(Remedy(name, costs, tried))
            best = tried
    return remedies


def _keep_method(asked: Training, step: Training) -> Training:
    """A step down must not undo what was asked for: a plan for QLoRA stays one."""
    order = ("full", "lora", "qlora")
    return replace(step, method=max(asked.method, step.method, key=order.index))


def gpus_needed(asked: Plan, card: Gpu) -> int | None:
    """The fewest cards of a kind, of 1, 2, 4 … 64, on which a plan fits sharded, each with as many rows at once as asked.

    None when none of these do; never more cards than rows to share among them.
    """
    training = asked.training
    for count in (2**power for power in range(MOST_GPUS.bit_length())):
        if count > training.rows:
            return None
        shared = replace(training, gpus=count, accumulation=max(1, training.rows // (count * training.micro_rows)))
        if plan(asked.architecture, shared, asked.tokens).fits(card):
            return count
    return None


# --- a design ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePlan:
    """One stage of a design, as it runs here.

    tokens: read, without padding. flops: padding included, because it is computed too; a reference pass as well.
    peak_gib: over what the process holds before. seconds: shortest and longest on this machine, None when its speed
    was never measured.
    """

    kind: str
    trained: int
    tokens: int
    flops: int
    peak_gib: float
    seconds: tuple[float, float] | None


@dataclass(frozen=True)
class SpecPlan:
    """A whole design, as it runs here; tokens, flops and seconds are sums over its stages, peak_gib the largest."""

    parameters: int
    stages: tuple[StagePlan, ...]

    @property
    def tokens(self) -> int:
        return sum(stage.tokens for stage in self.stages)

    @property
    def flops(self) -> int:
        return sum(stage.flops for stage in self.stages)

    @property
    def peak_gib(self) -> float:
        return max((stage.peak_gib for stage in self.stages), default=0.0)

    @property
    def seconds(self) -> tuple[float, float] | None:
        if any(stage.seconds is None for stage in self.stages):
            return None
        return sum(stage.seconds[0] for stage in self.stages), sum(stage.seconds[1] for stage in self.stages)


def plan_spec(spec: PipelineSpec, *, speed: Speed | None = None) -> SpecPlan:
    """What a design takes on this machine, at its profile, from the real lengths of its pack's rows.

    speed: of this machine on the design's model; by default as `planner_speed.probe_speed` last measured it. Nothing
    is trained. Raises PackError, SpecError or InputError when the design cannot run.
    """
    architecture = architecture_of(spec.model)
    stages = [stage.model_copy(update={"steps": steps_run(stage, spec.profile)}) for stage in spec.stages]
    return SpecPlan(architecture.parameters, tuple(_plan_stage(spec, stage, architecture, speed or known_speed(spec.model, kind_of(stage))) for stage in stages))


def _plan_stage(spec: PipelineSpec, stage: Stage, architecture: Architecture, speed: Speed | None) -> StagePlan:
    rows = lengths_of(spec.pack, spec.model, stage)
    training = own_training(stage, architecture, 1)
    typical = replace(training, length=round(rows.padded(training.rows)))
    longest = replace(training, length=round(rows.padded(training.rows * stage.steps)))
    flops = stage.steps * step_flops(architecture, typical)
    seconds = None
    if stage.kind == "dpo":
        flops += stage.steps * typical.rows * typical.length * architecture.forward_flops_per_token(typical.length)
    if speed:
        about = stage.steps * speed.fixed_seconds + flops / speed.flops_per_second
        seconds = about / (1 + SPREAD), about * (1 + SPREAD)
    memory = resident_memory(architecture, longest, speed)
    trained = trained_parameters(architecture, training)
    return StagePlan(stage.kind, trained, round(stage.steps * training.rows * rows.mean), flops, memory.peak_gib, seconds)
