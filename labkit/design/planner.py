"""What a training costs before it is run: parameters, FLOPs, memory, hours, money and energy.

A plan also says on which cards it fits, and what to give up where it does not. Nothing is built or
trained for a plan. docs/cost.md shows its predictions beside measurements.

The last part plans one design at several sizes, beside what is known of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.pages import signed
from labkit.base.stats import Interval
from labkit.data.packs import load_pack, samples_folder, text_of
from labkit.data.published import measured_real, reported, reported_by_family
from labkit.design.designer import data_of, default_stage, is_base, start_model
from labkit.design.planner_memory import (
    METHODS,
    Memory,
    Method,
    Training,
    on_paper,
    peak_memory,
    planned_lengths,
    rows_of,
    tokens_per_word,
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
from labkit.train.pipeline import stage_splits, steps_run, with_steps
from labkit.train.specs import (
    PREFERENCE_STAGES,
    PipelineSpec,
    Planned,
    Stage,
    StageKind,
)

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
        steps, rows = steps_run(stage, spec.profile), rows_of(spec, stage)
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
    rows = rows_of(spec, stage)
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


# --- a design on cards, and at several sizes ----------------------------------------------------

FREE: dict[str, Any] = {"micro_batch_size": 1, "activation_checkpointing": True}
FREE_WORDS = "one row at a time, activations computed again"  # the update is the same


@dataclass(frozen=True)
class OnCards:
    """A design on the fewest cards of a kind, of 1, 2, 4 … 64, that it fits on as it is.

    free: whether what changes no update (FREE_WORDS) was needed for that. count: None where so
    many do not take it; then `plan` is of one card. tokens: fewest and most, the same where they
    are counted exactly.
    """

    card: Gpu
    count: int | None
    free: bool
    plan: SpecPlan
    tokens: tuple[int, int]

    def rows(self, price: float = 0.0) -> list[tuple[str, str]]:
        """Tokens, memory, hours and, at a price per GPU-hour, money, as names and words."""
        low, high = self.tokens
        counted = low == high
        tokens = f"{low:,}" if counted else f"estimated {_rounded(low)} to {_rounded(high)}"
        one, many = f"one {self.card.name}", f"each of {self.count} {self.card.name}"
        memory = f"{self.plan.peak_gib:.1f} GiB on {many if self.plan.gpus > 1 else one}"
        if self.count is None:
            return [
                ("tokens", tokens),
                ("memory", f"{memory}, and {MOST_GPUS} of them do not take it"),
            ]
        told = [
            ("tokens", tokens),
            ("memory", f"{memory} ({FREE_WORDS})" if self.free else memory),
        ]
        told.append(("time", duration(self.plan.seconds)))
        if price:
            told.append(("money", f"{between(self.plan.money(price))} at {price:g} per GPU-hour"))
        return told


def _rounded(tokens: int) -> str:
    """To two digits: an estimate has no more."""
    return f"{int(float(f'{tokens:.2g}')):,}"


def on_cards(spec: PipelineSpec, card: Gpu) -> OnCards:
    """A design on the fewest cards that take it. Nothing is downloaded but the config of a model
    that labkit does not know. Raises what plan_spec raises.
    """
    spec = with_steps(spec)
    light = spec.model_copy(
        update={"stages": tuple(stage.model_copy(update=FREE) for stage in spec.stages)}
    )
    first = plan_spec(spec, card=card)
    tokens = tokens_between(spec, first)
    for count in (2**power for power in range(MOST_GPUS.bit_length())):
        if any(stage.batch_size % count for stage in spec.stages):
            continue
        for free, tried in ((False, spec), (True, light)):
            found = plan_spec(tried, card=card, gpus=count)
            if found.fits(card):
                return OnCards(card, count, free, found, tokens)
    return OnCards(card, None, False, first, tokens)


def tokens_between(spec: PipelineSpec, found: SpecPlan) -> tuple[int, int]:
    """Fewest and most tokens of a plan, the same where its tokenizer counted them.

    Elsewhere they are estimated by characters, and by the words that there are or are planned, at
    the fewest and the most tokens a word had in the shipped packs (data_samples/measured).
    """
    low = high = 0.0
    for stage, planned in zip(with_steps(spec).stages, found.stages, strict=True):
        ends = [float(planned.tokens)]
        if planned.estimated:
            amount, own = _amount(spec, stage), rows_of(spec, stage).mean
            ends += [
                planned.tokens * planned_lengths(amount, stage, per_word).mean / own
                for per_word in tokens_per_word()
            ]
        low, high = low + min(ends), high + max(ends)
    return round(low), round(high)


def _amount(spec: PipelineSpec, stage: Stage) -> Planned:
    """Rows and words that a stage has to read."""
    if on_paper(spec) and spec.planned:
        return spec.planned[stage.kind]
    pack = load_pack(spec.pack)
    rows = [row for split in stage_splits(stage) if pack.has(split) for row in pack.rows(split)]
    return Planned(rows=len(rows), words=max(1, sum(_words(row) for row in rows)))


def _words(row: dict) -> int:
    """Of a text or a chat; of a pair both answers with their prompt."""
    if "chosen" in row:
        turns = [*row["prompt"] * 2, *row["chosen"], *row["rejected"]]
        return sum(len(turn["content"].split()) for turn in turns)
    return len(text_of(row).split())


SIZES = ("smollm2-135m", "SmolLM-1.7B", "Mistral-7B-v0.3", "Llama-3.1-8B")
SIZE_HEADS = (
    "model",
    "parameters",
    "what it takes",
    "on one card",
    "reported elsewhere",
    "measured here",
)


@dataclass(frozen=True)
class AtSize:
    """A design planned at one size. remedies: what to give up, in order, on one card; fits: whether
    that is enough. reported, measured: what is known at this size, a sentence each.
    """

    model: str
    found: OnCards
    remedies: tuple[Remedy, ...]
    fits: bool
    reported: tuple[str, ...]
    measured: tuple[str, ...]

    def row(self, price: float = 0.0) -> tuple[str, ...]:
        """Cells under SIZE_HEADS."""
        takes = "; ".join(f"{name}: {words}" for name, words in self.found.rows(price))
        given = "; ".join(f"{one.name} (costs {one.costs})" for one in self.remedies)
        alone = (f"give up: {given}" if given else "nothing to give up") + (
            "" if self.fits else "; and it still does not fit"
        )
        return (
            self.model,
            f"{self.found.plan.parameters / 1e6:,.0f} million",
            takes,
            alone,
            "; ".join(self.reported) or "nothing",
            "; ".join(self.measured) or "nothing",
        )


def at_sizes(
    spec: PipelineSpec,
    *,
    card: str = "H100",
    planned: Mapping[StageKind, Planned] | None = None,
) -> list[AtSize]:
    """A design planned at 135 million, 1.7, 7 and 8 billion parameters, its stages as labkit
    proposes them at each size, with its own sources, replay and merge.

    planned: what the stages will read while the pack has no files, in place of the spec's own.
    Nothing is downloaded. Raises InputError for an unknown card, and what plan_spec raises.
    """
    if planned:
        spec = spec.model_copy(update={"planned": dict(planned)})
    known, found = gpu(card), []
    for model in SIZES:
        sized = sized_to(spec, model)
        there = on_cards(sized, known)
        widest = plan_spec(sized, card=known).widest
        asked = widest.plan if widest else None
        remedies = give_up(asked, known, in_spec=True) if asked else []
        last = remedies[-1].plan if remedies else asked
        found.append(
            AtSize(
                model,
                there,
                tuple(remedies),
                last is None or last.fits(known),
                tuple(_reported_at(spec, model)),
                tuple(_measured_at(spec, model)),
            )
        )
    return found


def sized_to(spec: PipelineSpec, model: str) -> PipelineSpec:
    """The design from a model of SIZES. A base start becomes an instruct one where there is no
    base; a merge is with the start model.
    """
    spec, data = with_steps(spec), data_of(spec.pack, spec.planned)
    start = "base" if is_base(spec.model) and model != SIZES[0] else "instruct"
    name = start_model(model, start)
    stages = tuple(
        default_stage(stage.kind, name, data).model_copy(
            update={"sources": stage.sources, "replay": stage.replay}
        )
        for stage in spec.stages
    )
    changes: dict[str, Any] = {"model": name, "stages": stages}
    if spec.merge:
        changes["merge"] = spec.merge.model_copy(update={"general": None, "ancestor": None})
    return spec.model_copy(update=changes)


def _reported_at(spec: PipelineSpec, model: str) -> Iterator[str]:
    """What the source paper reports of a model, as far as it bears on the design."""
    models, rows = reported_by_family()
    if model not in models:
        return
    kinds = [stage.kind for stage in spec.stages]
    wanted = {"CPT alone" if kinds == ["cpt"] else "-".join(kinds).upper(), "the best recipe"}
    if spec.merge:
        wanted.add("SLERP with the stock Instruct model")
    for approach, *cells, where in rows:
        if approach in wanted:
            yield f"{approach}: {cells[models.index(model)]} ({where})"


def _measured_at(spec: PipelineSpec, model: str) -> Iterator[str]:
    """What labkit measured of a model, as far as it bears on the design."""
    if model != SIZES[0]:
        return
    kinds = {stage.kind.upper() for stage in spec.stages}
    for row in measured_real()["claims"]:
        claim = row["claim"].partition(": ")[2]
        bears = (
            spec.merge is not None
            if "merg" in claim or "SLERP" in claim
            else claim.partition(" ")[0] in kinds
            if claim.startswith(("DPO", "ORPO"))
            else "CPT" in kinds
        )
        if bears:
            yield f"{claim}: {signed(Interval(**row['effect']))}, {row['verdict']}"


def size_rows(found: Sequence[AtSize], price: float = 0.0) -> list[tuple[str, ...]]:
    """A row per size under SIZE_HEADS. price: of a GPU-hour, 0 leaves money out."""
    return [one.row(price) for one in found]


def below_two_billion(spec: PipelineSpec, found: Sequence[AtSize]) -> str:
    """Whether a design works below 2 billion parameters: what is known of that and what is not."""
    small, middle = found[0], found[1]
    told = [
        "No record that comes with labkit measures this very design on your data below 2 billion "
        "parameters.",
        f"Measured by labkit at 135 million parameters: {'; '.join(small.measured) or 'nothing'}.",
        f"Reported at 1.7 billion: {'; '.join(middle.reported) or 'nothing'}.",
    ]
    if spec.merge:
        told.append(
            f"Reported on merging and size: {reported('size')}. labkit merged a ladder of tiny "
            "models and one of 135 million parameters (docs/scale.md)."
        )
    told.append(
        "Not known: what happens between 135 million and 1.7 billion, and between 1.7 and 7 "
        "billion. To find out, train this design at the smallest size whose untouched model is "
        "above chance on the axes that must hold, and look before you pay for more."
    )
    return " ".join(told)
