"""SmolLM2-135M for real: the whole chain on a model that knows English, with LoRA, on two cores.

One recipe for every pack. Its checkpoints ship as adapters of SmolLM2-135M-Instruct; its scores, times and diagnoses
ship as records, so that notebooks show a real model at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from labkit import zoo
from labkit.design import ADAPTED, ADAPTED_DPO, ADAPTED_ORPO, PipelineSpec, Stage
from labkit.evaluate import Scorecard
from labkit.everyday import score_everyday
from labkit.packs import AXES, CONTROLS, Pack
from labkit.pipeline import run_spec
from labkit.scoring import best_t, merged, score_checkpoint
from labkit.store import Checkpoint
from labkit.study import CHOOSES, ON_DEV

MODEL = zoo.SMOLLM2
LORA = ADAPTED[0].lora
RECIPES: dict[str, tuple[Stage, ...]] = {"cpt": ADAPTED[:1], "cpt-sft": ADAPTED, "cpt-sft-dpo": (*ADAPTED, ADAPTED_DPO), "cpt-sft-orpo": (*ADAPTED, ADAPTED_ORPO)}
LIVE = (ADAPTED[0].model_copy(update={"steps": 160}), ADAPTED[1], ADAPTED_DPO)  # what a participant trains while waiting: a quarter of an hour
SHIPPED = ("cpt-sft", "cpt-sft-dpo")  # as adapters
AS_SHIPPED = " (adapter)"  # after a recipe: scored as its adapter, which is cut to a low rank
MERGED = "cpt-sft"  # the recipe that is merged with the untouched model
TS = (0.3, 0.5, 0.7, 0.85)
DEV_AXES = ("knowledge", "instructions", CHOOSES)  # t is chosen by these: proposals and likelihoods would double the time
BALANCED = "slerp, facts and everyday"  # the merge at the t that is best for both, on dev
WHOLE = ("instruct", "cpt-sft", "cpt-sft-dpo", "cpt-sft-orpo", BALANCED)  # scored on every axis, others on DEV_AXES
PROFILE = "brief"


def spec_of(pack: str, stages: tuple[Stage, ...], *, profile_name: str = PROFILE) -> PipelineSpec:
    """The design of stages on the real model, as `labkit run` takes it."""
    return PipelineSpec(pack=pack, model=MODEL, stages=stages, seed=0, profile=profile_name)


def adapter_name(pack: str, recipe: str) -> str:
    """How the shipped adapter of a recipe is called, wherever a model is named."""
    return f"smollm2-135m-{pack}-{recipe}"


@dataclass
class RealRun:
    """One pack: a scorecard and an everyday scorecard per label, and the t chosen on dev."""

    pack: str
    cards: dict[str, Scorecard] = field(default_factory=dict)
    everyday: dict[str, Scorecard] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)


def train_real(pack: Pack, *, profile_name: str = PROFILE, progress: Callable | None = None) -> dict[str, list[Checkpoint]]:
    """Every recipe's checkpoints, stage by stage; shared stages are trained once."""
    return {recipe: run_spec(spec_of(str(pack.folder), stages, profile_name=profile_name), progress=progress) for recipe, stages in RECIPES.items()}


def score_real(pack: Pack, trained: dict[str, zoo.Loaded], told: Callable[[str], None], *, profile_name: str = PROFILE) -> RealRun:
    """Merge the trained model with the untouched one at the t that dev chooses, and score everything.

    trained: per recipe, and whatever else is to be scored beside them.
    """
    found, general, domain = RealRun(pack.name), zoo.load(MODEL), trained[MERGED]
    told(f"{pack.name}: choosing t on dev")
    sweep, everyday = [], {}
    for t in (0, *TS, 1):
        model = merged(general, domain, t, "slerp")
        sweep.append((t, score_checkpoint(model, pack, split="dev", axes=DEV_AXES, profile_name=profile_name)))
        everyday[t] = score_everyday(model, split="dev")
    found.cards |= {f"instruct{ON_DEV}": sweep[0][1], f"{MERGED}{ON_DEV}": sweep[-1][1]}
    found.chosen = {"slerp": best_t(sweep, CHOOSES), BALANCED: _balanced(sweep, everyday)}
    models = {"instruct": general, **trained}
    models |= {label: merged(general, domain, t, "slerp") for label, t in found.chosen.items()}
    models["lerp"] = merged(general, domain, found.chosen["slerp"], "lerp")
    for label, model in models.items():
        told(f"{pack.name}: scoring {label}")
        axes = AXES + CONTROLS if label in WHOLE else DEV_AXES
        found.cards[label] = score_checkpoint(model, pack, axes=axes, profile_name=profile_name, name=label)
        found.everyday[label] = score_everyday(model, label)
    return found


def _balanced(sweep: list[tuple[float, Scorecard]], everyday: dict[float, Scorecard]) -> float:
    """The t whose mean of private facts and everyday items is highest on dev; of equals, the one nearest the middle, then the larger."""
    return max(sweep, key=lambda point: (point[1].interval("knowledge", "free").mean + everyday[point[0]].interval("general").mean, -abs(point[0] - 0.5), point[0]))[0]
