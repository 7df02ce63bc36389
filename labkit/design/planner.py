"""What a training costs before it is run: parameters, FLOPs, memory, hours, money and energy.

A plan also says on which cards it fits, and what to give up where it does not. Nothing is built or
trained for a plan. docs/cost.md shows its predictions beside measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.data.packs import samples_folder
from labkit.design.planner_memory import (
    METHODS,
    Memory,
    Method,
    Training,
    lengths_of,
    peak_memory,
    trained_parameters,
)
from labkit.design.planner_speed import (
    Speed,
    card_training,
    kind_of,
    known_speed,
    own_training,
    resident_memory,
    step_work,
)
from labkit.models.architecture import Architecture, architecture_of
from labkit.train.exposure import reads
from labkit.train.pipeline import steps_run, with_steps
from labkit.train.specs import PREFERENCE_STAGES, PipelineSpec, Stage

# What fine-tuning runs reach of a GPU's peak rate; a range, because it depends on the setup.
UTILISATION = (0.14, 0.33)
POWER = (0.6, 1.0)  # of a GPU's power limit, while it trains
# Seconds on this machine are told as a range this much either way; docs/cost.md shows how far off
# they were.
SPREAD = 0.3
MOST_GPUS = 64


# --- GPUs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """A card as its data sheet has it. memory_gb: 10^9 bytes. tflops: dense, bfloat16. watts: power
    limit.
    """

    name: str
    memory_gb: float
    tflops: float
    watts: float
    source: str

    @property
    def usable_gib(self) -> float:
        """The printed size read as 10^9 bytes: what a card has beyond that is left to its driver
        and to fragments.
        """
        return self.memory_gb * 1e9 / 2**30

    def seconds(self, work: float, count: int = 1) -> tuple[float, float]:
        """Shortest and longest that so many of these cards take for `work` FLOPs, over the range of
        utilisation.
        """
        rate = self.tflops * 1e12 * count
        return work / (rate * UTILISATION[1]), work / (rate * UTILISATION[0])


def money_of(hours: tuple[float, float], gpus: int, price: float) -> tuple[float, float]:
    """Least and most of so many GPUs at a price per GPU and hour.

    Raises InputError for a price below 0.
    """
    if not 0 <= price < float("inf"):
        raise InputError(f"price is {price!r}; give what one GPU costs per hour, 0 or more")
    return hours[0] * gpus * price, hours[1] * gpus * price


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

    trained: parameters that learn. tokens: in all. flops: in all. memory: of one GPU at the peak of
    a step.
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
        """Of all tokens and a reference model's pass, without what checkpointing repeats."""
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
        again = (
            self.architecture.forward_flops_per_token(self.training.length)
            if self.training.checkpointing
            else 0
        )
        low, high = card.seconds(self.flops + self.tokens * again, self.training.gpus)
        return low / 3600, high / 3600

    def money(self, card: Gpu, price: float) -> tuple[float, float]:
        """Least and most, from a price per GPU and hour in the user's currency.

        Raises InputError for a price below 0.
        """
        return money_of(self.hours(card), self.training.gpus, price)

    def energy_kwh(self, card: Gpu) -> tuple[float, float]:
        """Least and most energy of the cards alone: share of the power limit times the hours."""
        least, most = (
            hours * self.training.gpus * card.watts * share / 1000
            for hours, share in zip(self.hours(card), POWER, strict=True)
        )
        return least, most


def plan(model: Architecture | str | Path | dict, training: Training, tokens: int) -> Plan:
    """Plan training a model on `tokens` tokens.

    Raises InputError for a model or number that cannot be planned.
    """
    architecture = model if isinstance(model, Architecture) else architecture_of(model)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise InputError(f"tokens is {tokens!r}; it must be a whole number above 0")
    if architecture.context and training.length > architecture.context:
        raise InputError(
            f"length is {training.length}, but {architecture.name} reads at most "
            f"{architecture.context} tokens"
        )
    return Plan(architecture, training, tokens, peak_memory(architecture, training))


# --- what to give up --------------------------------------------------------------------------


@dataclass(frozen=True)
class Remedy:
    """One more thing given up. costs: what it takes away. plan: with it and every remedy before it.
    field: how a stage of a spec says it; empty where none can.
    """

    name: str
    costs: str
    plan: Plan
    field: str = ""


def _steps_down(training: Training, in_spec: bool) -> list[tuple[str, str, str, Training]]:
    """From what costs least to what costs most, each on top of those before. in_spec: pairs stay
    together.
    """
    least = training.batch_size if in_spec else training.rows
    micro = replace(training, accumulation=-(-least // training.gpus))
    checkpointed = replace(micro, checkpointing=True)
    eight_bit = replace(checkpointed, optimiser="adamw8bit")
    lora = replace(checkpointed, method="lora")
    qlora = replace(lora, method="qlora")
    half = max(1, qlora.length // 2)
    return [
        (
            "one row at a time, gradients accumulated",
            "some speed; the update is the same",
            "micro_batch_size: 1",
            micro,
        ),
        (
            "activation checkpointing",
            "another forward pass; the update is the same",
            "activation_checkpointing: true",
            checkpointed,
        ),
        ("8-bit optimiser state", "little that is measured (arXiv 2110.02861)", "", eight_bit),
        (
            "LoRA instead of all weights",
            "learning less, while forgetting less (arXiv 2405.09673)",
            f"lora: {{rank: {training.rank}}}",
            lora,
        ),
        (
            "QLoRA: the frozen base in 4 bits",
            "some speed, a little precision (arXiv 2305.14314)",
            "lora: {four_bit: true}",
            qlora,
        ),
        (
            "rows half as long",
            "whatever stands beyond the cut",
            f"max_length: {half}",
            replace(qlora, length=half),
        ),
    ]


def give_up(asked: Plan, card: Gpu, *, in_spec: bool = False, on_gpu: bool = True) -> list[Remedy]:
    """What to give up, in order, until a plan fits a card; empty when it fits as it is.

    Each remedy comes on top of those before and is left out where it saves nothing. When even the
    last does not fit, the list ends with it: only a larger card or more of them help
    (`gpus_needed`). in_spec: only what a spec can say, and the base of adapters as labkit holds it.
    on_gpu: elsewhere there are no 4 bits.
    """
    remedies: list[Remedy] = []
    best = asked
    for name, costs, field, training in _steps_down(asked.training, in_spec):
        if best.fits(card):
            break
        if in_spec and not field:
            continue
        training = _keep_method(
            asked.training,
            training if on_gpu or training.method != "qlora" else replace(training, method="lora"),
        )
        if in_spec and on_gpu and training.method != "full":
            training = replace(training, precision="bfloat16")
        tried = plan(asked.architecture, training, asked.tokens)
        if in_spec and field.startswith("max_length") and not tried.fits(card):
            continue  # cutting texts is no help where it does not help enough
        if tried.peak_gib < best.peak_gib:
            remedies.append(Remedy(name, costs, tried, field))
            best = tried
    return remedies


def _keep_method(asked: Training, step: Training) -> Training:
    """A step down must not undo what was asked for: a plan for QLoRA stays one."""
    order = ("full", "lora", "qlora")
    return replace(step, method=max(asked.method, step.method, key=order.index))


def gpus_needed(asked: Plan, card: Gpu) -> int | None:
    """The fewest cards of a kind, of 1, 2, 4 … 64, on which a plan fits sharded, each with as many
    rows at once as asked.

    None when none of these do; never more cards than rows to share among them.
    """
    training = asked.training
    for count in (2**power for power in range(MOST_GPUS.bit_length())):
        if count > training.rows:
            return None
        shared = replace(
            training,
            gpus=count,
            accumulation=max(1, training.rows // (count * training.micro_rows)),
        )
        if plan(asked.architecture, shared, asked.tokens).fits(card):
            return count
    return None


# --- settings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What a plan is asked for. batch_size: rows per optimiser step. rows_at_once: of them, on one
    GPU. price: of one GPU for an hour, in the user's currency; 0 where it is not known.
    """

    model: str = "Llama-3.1-8B"
    card: str = "H100"
    gpus: int = 1
    method: str = "full"
    tokens_millions: float = 100.0
    batch_size: int = 96
    rows_at_once: int = 1
    length: int = 3072
    checkpointing: bool = True
    price: float = 0.0

    def training(self, method: str | None = None) -> Training:
        """Raises InputError for numbers that cannot be planned."""
        if self.rows_at_once < 1:
            raise InputError(
                f"rows at once is {self.rows_at_once!r}; it must be a whole number above 0"
            )
        return Training(
            method=cast(Method, method or self.method),  # Training refuses other words
            batch_size=self.batch_size,
            length=self.length,
            gpus=self.gpus,
            accumulation=max(1, -(-self.batch_size // max(1, self.gpus * self.rows_at_once))),
            checkpointing=self.checkpointing,
        )

    @property
    def tokens(self) -> int:
        if not 0 < self.tokens_millions < 1e9:
            raise InputError(f"tokens is {self.tokens_millions!r} millions; give a number above 0")
        return round(self.tokens_millions * 1e6)


@dataclass(frozen=True)
class Costs:
    """Settings, their plan, the same with the other methods, and what to give up where it does not
    fit.
    """

    settings: Settings
    card: Gpu
    plan: Plan
    methods: dict[str, Plan]
    remedies: list[Remedy]


def costs_of(settings: Settings) -> Costs:
    """Plan settings with every method. Raises InputError for what cannot be planned."""
    architecture, card = architecture_of(settings.model), gpu(settings.card)
    chosen = plan(architecture, settings.training(), settings.tokens)
    methods: dict[str, Plan] = {
        method: plan(architecture, settings.training(method), settings.tokens) for method in METHODS
    }
    chosen.money(card, settings.price)
    return Costs(settings, card, chosen, methods, give_up(chosen, card))


def told(found: Costs) -> list[tuple[str, str]]:
    """The plan as rows of a name and a value in words."""
    asked, card = found.plan, found.card
    rows = [
        ("parameters", f"{asked.parameters:,}, of which {asked.trained:,} learn"),
        ("work", f"{asked.flops:.3g} FLOPs for {asked.tokens:,} tokens"),
        (
            "memory",
            f"{asked.peak_gib:.1f} GiB per GPU, when the "
            f"{asked.memory.moment.replace('backward', 'backward pass')}",
        ),
        ("fits", fit_in_words(asked, card)),
        (
            "time",
            f"{between(asked.hours(card))} hours, at {UTILISATION[0]:.0%} to "
            f"{UTILISATION[1]:.0%} of {card.tflops:g} TFLOP/s",
        ),
        ("energy", f"{between(asked.energy_kwh(card))} kWh of the cards alone"),
    ]
    if found.settings.price:
        rows.append(
            (
                "money",
                f"{between(asked.money(card, found.settings.price))}, at "
                f"{found.settings.price:g} per GPU-hour",
            )
        )
    return rows


def fit_in_words(asked: Plan, card: Gpu) -> str:
    """Whether a plan fits, on which cards it does, and how many would take it as it is."""
    there = [name for name, other in gpus().items() if asked.fits(other)]
    answer = "yes" if asked.fits(card) else "no"
    fits = (
        f"{answer}: {card.name} has {card.usable_gib:.1f} GiB; it fits "
        f"{', '.join(there) or 'no card labkit knows'}"
    )
    needed = None if asked.fits(card) else gpus_needed(asked, card)
    return fits + (f"; sharded over {needed} × {card.name} it fits" if needed else "")


# --- a design ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StagePlan:
    """One stage of a design. steps: of the optimiser, as run at the spec's profile.

    plan: its tokens (read, without padding) and the memory of its longest rows; on this machine,
    over what the process holds before. flops: padding included, because it is computed too; a
    reference pass as well. padding: share of what is computed. passes: how often each row is read.
    filled_gib: peak with rows as long as max_length. seconds: shortest and longest, None where this
    machine's speed was never measured. estimated: whether lengths were read off characters.
    """

    kind: str
    steps: int
    plan: Plan
    flops: int
    padding: float
    passes: float
    filled_gib: float
    seconds: tuple[float, float] | None
    estimated: bool

    @property
    def trained(self) -> int:
        return self.plan.trained

    @property
    def tokens(self) -> int:
        return self.plan.tokens

    @property
    def peak_gib(self) -> float:
        return self.plan.peak_gib


@dataclass(frozen=True)
class SpecPlan:
    """A whole design; tokens, flops and seconds are sums over its stages, peak_gib the largest.
    gpus: it runs on at once, of one kind; 0 for this machine.
    """

    parameters: int
    stages: tuple[StagePlan, ...]
    gpus: int = 0

    @property
    def tokens(self) -> int:
        return sum(stage.tokens for stage in self.stages)

    @property
    def flops(self) -> int:
        return sum(stage.flops for stage in self.stages)

    @property
    def widest(self) -> StagePlan | None:
        """The stage that holds most."""
        return max(self.stages, key=lambda stage: stage.peak_gib, default=None)

    @property
    def peak_gib(self) -> float:
        return max((stage.peak_gib for stage in self.stages), default=0.0)

    @property
    def seconds(self) -> tuple[float, float] | None:
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        if len(known) < len(self.stages):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)

    def fits(self, card: Gpu) -> bool:
        return self.peak_gib <= card.usable_gib

    def money(self, price: float) -> tuple[float, float]:
        """Least and most on GPUs, from a price per GPU and hour.

        Raises InputError for a price below 0.
        """
        assert self.seconds is not None, "a design on GPUs has seconds"
        low, high = self.seconds
        return money_of((low / 3600, high / 3600), self.gpus, price)


def plan_spec(
    spec: PipelineSpec, *, speed: Speed | None = None, card: Gpu | None = None, gpus: int = 1
) -> SpecPlan:
    """What a design takes at its profile, from the lengths of its pack's rows: on this machine, or
    on GPUs of a kind.

    speed: of this machine on the design's model; by default as `planner_speed.probe_speed` last
    measured it. gpus: how many cards share each step. Nothing is trained and nothing but a config
    downloaded. Raises PackError, SpecError or InputError when the design cannot run.
    """
    architecture, spec = architecture_of(spec.model), with_steps(spec)
    stages = [
        stage.model_copy(update={"steps": steps_run(stage, spec.profile)}) for stage in spec.stages
    ]
    if card:
        plans = [
            _plan_stage(
                spec, stage, card_training(stage, architecture, 1, gpus), architecture, card, None
            )
            for stage in stages
        ]
        return SpecPlan(architecture.parameters, tuple(plans), gpus)
    plans = [
        _plan_stage(
            spec,
            stage,
            own_training(stage, architecture, 1),
            architecture,
            None,
            speed or known_speed(spec.model, kind_of(stage)),
        )
        for stage in stages
    ]
    return SpecPlan(architecture.parameters, tuple(plans))


UNCOUNTED_HEADS = ("stage", "steps", "rows a step", "tokens", "each row is read")


def uncounted_rows(spec: PipelineSpec) -> list[tuple[str, str, str, str, str]]:
    """What can be told of a design whose model the planner cannot count, as rows under
    UNCOUNTED_HEADS.
    """
    told: list[tuple[str, str, str, str, str]] = []
    for stage in spec.stages:
        steps, rows = steps_run(stage, spec.profile), lengths_of(spec.pack, spec.model, stage)
        answers = 2 if stage.kind in PREFERENCE_STAGES else 1  # a pair is two rows of tokens
        own = steps * stage.batch_size * (1 - stage.replay)
        told.append(
            (
                stage.kind,
                f"{steps:,}",
                f"{stage.batch_size:,}",
                f"{round(steps * stage.batch_size * answers * rows.mean):,}",
                f"{own / rows.rows:.1f} times",
            )
        )
    return told


def _plan_stage(
    spec: PipelineSpec,
    stage: Stage,
    training: Training,
    architecture: Architecture,
    card: Gpu | None,
    speed: Speed | None,
) -> StagePlan:
    rows = lengths_of(spec.pack, spec.model, stage)
    typical = replace(training, length=round(rows.padded(training.micro_rows)))
    longest = replace(training, length=round(rows.padded(training.rows * stage.steps)))
    filled = replace(training, length=stage.max_length)
    tokens = round(stage.steps * training.rows * rows.mean)
    flops, work = (
        stage.steps * step_work(architecture, replace(typical, checkpointing=again))
        for again in (False, training.checkpointing)
    )
    memory = resident_memory(architecture, longest, speed)
    return StagePlan(
        stage.kind,
        stage.steps,
        Plan(architecture, longest, tokens, memory),
        flops,
        padding=1 - rows.mean / typical.length,
        passes=reads(stage, rows.rows),
        filled_gib=resident_memory(architecture, filled, speed).peak_gib,
        seconds=_seconds(stage.steps, work, training.gpus, card, speed),
        estimated=rows.estimated,
    )


def _seconds(
    steps: int, work: int, gpus: int, card: Gpu | None, speed: Speed | None
) -> tuple[float, float] | None:
    if card:
        return card.seconds(work, gpus)
    if speed is None:
        return None
    about = steps * speed.fixed_seconds + work / speed.flops_per_second
    return about / (1 + SPREAD), about * (1 + SPREAD)


# --- in words -----------------------------------------------------------------------------------


def between(found: tuple[float, float] | None) -> str:
    return f"{digits(found[0])} to {digits(found[1])}" if found else "unmeasured"


def duration(seconds: tuple[float, float] | None) -> str:
    """A range of seconds in the unit one would say it in."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds and seconds[1] >= 2 * size:
            return f"{digits(seconds[0] / size)} to {digits(seconds[1] / size)} {unit}"
    return f"{between(seconds)} seconds"


def design_rows(found: SpecPlan) -> list[tuple[str, str, str, str, str, str]]:
    """A row per stage and one for all: stage, parameters that learn, tokens, FLOPs, peak in GiB,
    seconds.
    """
    rows = [
        (
            stage.kind,
            f"{stage.trained:,}",
            f"{stage.tokens:,}",
            f"{stage.flops:.2g}",
            f"{stage.peak_gib:.2f}",
            between(stage.seconds),
        )
        for stage in found.stages
    ]
    return [
        *rows,
        (
            "all",
            "",
            f"{found.tokens:,}",
            f"{found.flops:.2g}",
            f"{found.peak_gib:.2f}",
            between(found.seconds),
        ),
    ]


def digits(value: float) -> str:
    """A positive number with as many digits as one would say."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
