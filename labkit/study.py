"""What the evidence is made of: recipes trained and scored over packs and training seeds.

Checkpoints and scorecards are content-addressed, so a stopped study continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from labkit.design import BASE_START, DPO, GENTLE, ORPO, OVERCOOKED, Lora, PipelineSpec, Stage
from labkit.evaluate import Scorecard
from labkit.geometry import TensorGeometry, barrier, general_rows, geometry, path_loss, random_pairing
from labkit.merge import empty_like, pair_models
from labkit.packs import AXES, CONTROLS, Pack
from labkit.pipeline import load_checkpoint, run_spec
from labkit.schedule import PRESETS as SCHEDULES
from labkit.scoring import SWEEP, best_t, merged, score_checkpoint, sweep_merge
from labkit.stats import ItemScore, average, cluster_mean, combined
from labkit.store import Checkpoint
from labkit.variants import variant_pack

MODEL, BASE, TWIN = "llama-s-instruct", "llama-s-base", "llama-s-twin-instruct"
CHOOSES = "compositional"  # the axis that picks t on dev
ON_DEV = " (dev)"  # after a label: its scorecard on dev
BASE_START_SEEDS = 3  # the base start is reported, not held to a bar: fewer runs suffice for it
LEARNING_AXES = ("knowledge", "instructions", "general", "compositional")
PARETO_TS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Arm:
    """A recipe of the study. corpus: a variant of the pack's text (None: the pack's own)."""

    stages: tuple[Stage, ...]
    model: str = MODEL
    corpus: str | None = None
    axes: tuple[str, ...] = AXES + CONTROLS


def _reading(steps: int, corpus: str) -> Arm:
    """CPT on a corpus for so many steps, then the gentle SFT. 80 steps leave room below the ceiling."""
    cpt = Stage(kind="cpt", learning_rate=8e-4, steps=steps, replay=0.25, sources=("raw",))
    return Arm((cpt, GENTLE[1]), corpus=corpus, axes=LEARNING_AXES)


def _overcooked_but(**changes) -> Arm:
    """The overcooked recipe with one thing changed in both stages."""
    return Arm(tuple(stage.model_copy(update=changes) for stage in OVERCOOKED), axes=LEARNING_AXES)


def _slower(times: float) -> Arm:
    """The overcooked recipe at a fraction of its learning rates."""
    stages = (stage.model_copy(update={"learning_rate": stage.learning_rate / times}) for stage in OVERCOOKED)
    return Arm(tuple(stages), axes=LEARNING_AXES)


CORE: dict[str, Arm] = {
    "overcooked": Arm(OVERCOOKED),
    "gentle": Arm(GENTLE),
    "base start": Arm(BASE_START, BASE),
    "dpo": Arm((*GENTLE, DPO)),
    "orpo": Arm((*GENTLE, ORPO)),
}
QUALITY: dict[str, Arm] = {
    "half": _reading(80, "half"),
    "double": _reading(80, "double"),
    "half and junk": _reading(80, "half and junk"),
    "half and junk, twice the steps": _reading(160, "half and junk"),
    "half and junk, tagged, twice the steps": _reading(160, "half and junk, tagged"),
    "half and errors": _reading(80, "half and errors"),
    "one wording": _reading(80, "one wording"),
}
REMEDIES: dict[str, Arm] = {
    "replay 5%": _overcooked_but(replay=0.05),
    "replay 25%": _overcooked_but(replay=0.25),
    "a third of the rate": _slower(3),
    "LoRA": _overcooked_but(lora=Lora()),
}
ORDER: dict[str, Arm] = {
    "sft then cpt": Arm(GENTLE[::-1], axes=LEARNING_AXES),
    "dpo without sft": Arm((GENTLE[0], DPO)),
}
EXPERIMENTS = {**QUALITY, **REMEDIES, **ORDER}


@dataclass(frozen=True)
class Shape:
    """How one unit's parents lie to each other. Angles in degrees, loss barriers in nats per token."""

    geometry: list[TensorGeometry]
    barrier: float
    random_barrier: float
    random_rise: float
    rise: float


@dataclass
class Unit:
    """One pack at one training seed: a scorecard per checkpoint, and the t that dev chose per method."""

    pack: str
    seed: int
    cards: dict[str, Scorecard] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    shape: Shape | None = None


def train_arm(arm: Arm, pack: Pack, seed: int, profile_name: str) -> list[Checkpoint]:
    """The checkpoints of an arm, one per stage. Raises what run_spec raises."""
    source = variant_pack(pack.name, arm.corpus) if arm.corpus else pack
    return run_spec(PipelineSpec(pack=str(source.folder), model=arm.model, stages=arm.stages, seed=seed, profile=profile_name))


def run_unit(pack: Pack, seed: int, profile_name: str, told: Callable[[str], None], *, experiments: bool) -> Unit:
    """Train and score everything the claims need, for one pack and seed. experiments: beyond the core recipes."""
    unit, made = Unit(pack.name, seed), {}

    def score(label: str, model: object, axes: tuple[str, ...] = AXES + CONTROLS) -> None:
        unit.cards[label] = score_checkpoint(model, pack, axes=axes, profile_name=profile_name, name=label)

    score("instruct", MODEL)
    score("base", BASE)
    for label, arm in (CORE | (EXPERIMENTS if experiments else {})).items():
        if label == "base start" and seed >= BASE_START_SEEDS:
            continue
        told(f"{pack.name} seed {seed}: {label}")
        made[label] = train_arm(arm, pack, seed, profile_name)
        score(label, made[label][-1], arm.axes)
    for label in ("overcooked", "gentle", "base start"):
        if label in made:
            score(f"{label} cpt", made[label][0], AXES)
    told(f"{pack.name} seed {seed}: merge sweep")
    general, domain = load_checkpoint(MODEL), load_checkpoint(made["overcooked"][-1])
    sweep = sweep_merge(general, domain, pack, split="dev", axes=(*AXES, CHOOSES), ts=SWEEP, profile_name=profile_name)
    for method, points in sweep.items():
        for label, axes in ((method, (CHOOSES,)), (f"{method}, four axes", AXES)):
            unit.chosen[label] = best_t(points, *axes)
            score(label, merged(general, domain, unit.chosen[label], method))
    score("lerp at slerp's t", merged(general, domain, unit.chosen["slerp"], "lerp"))
    for name in SCHEDULES:
        score(f"slerp, {name} schedule", merged(general, domain, SCHEDULES[name], "slerp"))
    for t in PARETO_TS:
        score(f"merge t={t:g}", merged(general, domain, t, "slerp"), ("knowledge", "instructions"))
    unit.shape = measure_shape(general, domain, pack, seed)
    return unit


def measure_shape(general, domain, pack: Pack, seed: int) -> Shape:
    """Angles with the base model as ancestor, and the loss of general text along the way and along a random one."""
    pairing = pair_models(general.model, domain.model, load_checkpoint(BASE).model)
    shell, pad, rows = empty_like(general.model), general.tokenizer.pad_token_id, general_rows(general.tokenizer)
    way = path_loss(shell, pairing, pad, rows, SWEEP)
    astray = path_loss(shell, random_pairing(general.model, domain.model, seed=seed), pad, rows, SWEEP)
    return Shape(geometry(pairing), barrier(way), barrier(astray), astray[-1][1] - astray[0][1], way[-1][1] - way[0][1])


def twin_barriers() -> dict[str, float]:
    """The other control: two instruct models of one family from different random weights. method -> nats per token."""
    general, twin = load_checkpoint(MODEL), load_checkpoint(TWIN)
    pairing, shell = pair_models(general.model, twin.model), empty_like(general.model)
    rows = general_rows(general.tokenizer)
    return {m: barrier(path_loss(shell, pairing, general.tokenizer.pad_token_id, rows, SWEEP, m)) for m in ("lerp", "slerp")}


# --- pooling ----------------------------------------------------------------------------------


def having(units: list[Unit], *labels: str) -> list[Unit]:
    """The units in which every one of these checkpoints was made."""
    return [unit for unit in units if all(label in unit.cards for label in labels)]


def pooled(units: list[Unit], label: str, axis: str, kind: str | None = None) -> list[ItemScore]:
    """Scores of one checkpoint label over all units that have it; ids and entities are told apart by pack."""
    return [
        replace(score, id=f"{unit.pack}:{score.id}", entity=f"{unit.pack}:{score.entity}")
        for unit in having(units, label)
        for score in unit.cards[label].scores(axis, kind, seed=unit.seed)
    ]


def better_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per unit, the scores of whichever parent is better on the axis in that unit: merged - max(parents)."""
    scores = []
    for unit in units:
        best = max(parents, key=lambda label: cluster_mean(unit.cards[label].scores(axis), draws=2).mean)
        scores += pooled([unit], best, axis)
    return scores


def over_better_parent(units: list[Unit], merge: str, parents: tuple[str, str], scores: Callable[[list[Unit], str], list[ItemScore]]) -> list[ItemScore]:
    """Merged minus the parent that is better on dev, unit by unit. scores: of a label; dev scores stand under `LABEL (dev)`.

    Chosen on the reported items the better parent would have luck on its side, most where the two are close.
    """
    found = []
    for unit in units:
        better = max(parents, key=lambda label: cluster_mean(scores([unit], f"{label}{ON_DEV}"), draws=2).mean)
        found += combined([(1, scores([unit], merge)), (-1, scores([unit], better))])
    return found


def mean_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per item, the mean of both parents: the paper's weaker bar."""
    return average(*(pooled(units, label, axis) for label in parents))
