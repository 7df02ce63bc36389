"""SmolLM2-135M for real: the whole chain on a model that knows English, with LoRA, on two cores.

There is one recipe for every invented pack. Its checkpoints ship as adapters of
SmolLM2-135M-Instruct; its scores, times and diagnoses ship as records, so that notebooks show a
real model at once. A notebook whose parameter says `model = "smollm2-135m"` also opens the shipped
adapters, to merge, ask and test them there. With a pack of real text all of the notebook runs on
the real model instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from labkit.base.errors import InputError, suggest
from labkit.base.pages import claims_table, plain_table
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import Interval
from labkit.base.store import Checkpoint
from labkit.course import figures
from labkit.course.labs.evaluate_lab import chat, run_on
from labkit.course.labs.merge_lab import Setting
from labkit.course.lesson import Lab, say, show_html
from labkit.course.study import CHOOSES, ON_DEV
from labkit.data.packs import Pack
from labkit.data.published import measured_real
from labkit.evaluate.scorecards import Scorecard
from labkit.evaluate.scoring import best_t, score_checkpoint, score_everyday
from labkit.merge.methods import merge_at
from labkit.models import zoo
from labkit.train.pipeline import run_spec
from labkit.train.specs import (
    ADAPTED,
    ADAPTED_DPO,
    ADAPTED_ORPO,
    PipelineSpec,
    ProfileName,
    Stage,
)

MODEL = zoo.SMOLLM2
RECIPES: dict[str, tuple[Stage, ...]] = {
    "cpt": ADAPTED[:1],
    "cpt-sft": ADAPTED,
    "cpt-sft-dpo": (*ADAPTED, ADAPTED_DPO),
    "cpt-sft-orpo": (*ADAPTED, ADAPTED_ORPO),
}
# What a participant trains while waiting: a quarter of an hour.
LIVE = (ADAPTED[0].model_copy(update={"steps": 160}), ADAPTED[1], ADAPTED_DPO)
SHIPPED = ("cpt-sft", "cpt-sft-dpo")  # as adapters
AS_SHIPPED = " (adapter)"  # after a recipe: scored as its adapter, which is cut to a low rank
MERGED = "cpt-sft"  # the recipe that is merged with the untouched model
TS = (0.3, 0.5, 0.7, 0.85)
# The axes that t is chosen by: proposals and likelihoods would double the time.
DEV_AXES = ("knowledge", "instructions", CHOOSES)
BALANCED = "slerp, facts and everyday"  # the merge at the t that is best for both, on dev
# What is scored on every axis; the others are scored on DEV_AXES.
WHOLE = ("instruct", "cpt-sft", "cpt-sft-dpo", "cpt-sft-orpo", BALANCED)
PROFILE: ProfileName = "brief"


def spec_of(
    pack: str, stages: tuple[Stage, ...], *, profile_name: ProfileName = PROFILE
) -> PipelineSpec:
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


def train_real(
    pack: Pack, *, profile_name: ProfileName = PROFILE, progress: Callable | None = None
) -> dict[str, list[Checkpoint]]:
    """Every recipe's checkpoints, stage by stage; shared stages are trained once."""
    return {
        recipe: run_spec(
            spec_of(str(pack.folder), stages, profile_name=profile_name), progress=progress
        )
        for recipe, stages in RECIPES.items()
    }


def score_real(
    pack: Pack,
    trained: dict[str, zoo.Loaded],
    told: Callable[[str], None],
    *,
    profile_name: ProfileName = PROFILE,
) -> RealRun:
    """Merge the trained model with the untouched one at the t that dev chooses, and score
    everything.

    trained: per recipe, and whatever else is to be scored beside them.
    """
    found, general, domain = RealRun(pack.name), zoo.load(MODEL), trained[MERGED]
    told(f"{pack.name}: choosing t on dev")
    sweep, everyday = [], {}
    for t in (0, *TS, 1):
        model = merge_at(general, domain, t, "slerp")
        sweep.append(
            (
                t,
                score_checkpoint(
                    model, pack, split="dev", axes=DEV_AXES, profile_name=profile_name
                ),
            )
        )
        everyday[t] = score_everyday(model, split="dev")
    found.cards |= {f"instruct{ON_DEV}": sweep[0][1], f"{MERGED}{ON_DEV}": sweep[-1][1]}
    found.chosen = {"slerp": best_t(sweep, CHOOSES), BALANCED: _balanced(sweep, everyday)}
    models = {"instruct": general, **trained}
    models |= {label: merge_at(general, domain, t, "slerp") for label, t in found.chosen.items()}
    models["lerp"] = merge_at(general, domain, found.chosen["slerp"], "lerp")
    for label, model in models.items():
        told(f"{pack.name}: scoring {label}")
        axes = AXES + CONTROLS if label in WHOLE else DEV_AXES
        found.cards[label] = score_checkpoint(
            model, pack, axes=axes, profile_name=profile_name, name=label
        )
        found.everyday[label] = score_everyday(model, label)
    return found


def _balanced(sweep: list[tuple[float, Scorecard]], everyday: dict[float, Scorecard]) -> float:
    """The t whose mean of private facts and everyday items is highest on dev; of equals, the one
    nearest the middle, then the larger.
    """
    return max(
        sweep,
        key=lambda point: (
            point[1].interval("knowledge", "free").mean
            + everyday[point[0]].interval("general").mean,
            -abs(point[0] - 0.5),
            point[0],
        ),
    )[0]


# --- what notebooks show ---------------------------------------------------------------------

EVERYDAY = "everyday"
MERGE_LABELS = ("instruct", MERGED, BALANCED, "slerp", "lerp")
TINY, REAL = "llama-s", "smollm2-135m"
ASKED = ("general", "knowledge", "compositional")
MERGE_COLUMNS = ("private facts", "instructions", "fact in a format", EVERYDAY)


def _records(lab: Lab) -> dict | None:
    """The records of the lab's pack; of any but an invented one there are none, and a sentence says
    how to see the real model on it.
    """
    found = measured_real()["packs"].get(lab.pack.name)
    if found is None and lab.model == MODEL:
        say("Nothing more is shown here: all of this notebook ran on SmolLM2-135M.")
    elif found is None:
        say(
            f"This was measured on {', '.join(measured_real()['packs'])}. For {lab.pack.name}, "
            f'write model = "{REAL}" among the parameters: the notebook then runs on SmolLM2-135M.'
        )
    return found


def _scores(found: dict, label: str) -> dict[str, Interval]:
    return {
        name: Interval(**value)
        for name, value in {**found["scores"][label], EVERYDAY: found["everyday"][label]}.items()
    }


def show_merge(lab: Lab) -> None:
    """Both parents and the merges of the real model on what merging is about."""
    if found := _records(lab):
        _panels(
            lab,
            found,
            MERGE_LABELS,
            MERGE_COLUMNS,
            "real-merge",
            "Scores of SmolLM2-135M, of its adapted version and of their merges",
        )
        told = ", ".join(f"{label}: t = {t:g}" for label, t in found["chosen"].items())
        print(f"t was chosen on dev ({told}); 0 is the untouched model, 1 the adapted one")


def show_scores(lab: Lab) -> None:
    """The real model before, after every recipe and after merging back, on every axis, and the
    claims over all packs.
    """
    if found := _records(lab):
        _panels(
            lab,
            found,
            WHOLE,
            tuple(_scores(found, WHOLE[0])),
            "real-scores",
            "Scores of SmolLM2-135M after every recipe",
        )
    show_html(claims_table(measured_real()["claims"]))


def show_diagnoses(lab: Lab) -> None:
    """What the diagnoses say of the adapted real model against the untouched one."""
    if found := _records(lab):
        print(
            f"{adapter_name(lab.pack.name, MERGED)} against the untouched model: "
            f"{found['gate']['words']}"
        )
        rows = found["gate"]["diagnoses"]
        show_html(
            plain_table(
                ("diagnosis", "verdict", "found", "remedy"),
                [
                    (
                        row["diagnosis"],
                        row["verdict"],
                        row["found"],
                        row["remedy"] if row["verdict"] == "flagged" else "",
                    )
                    for row in rows
                ],
            )
        )


def merge_live(lab: Lab, model: str) -> None:
    """The merge panel over the untouched and the adapted real model.

    Raises InputError for a model the course does not have.
    """
    if _opens(lab, model):
        bench = lab.bench(MODEL, adapter_name(lab.pack.name, MERGED), ("untouched", "adapted"))
        t = measured_real()["packs"][lab.pack.name]["chosen"][BALANCED]
        lab.merge_panel(
            {"SmolLM2-135M": bench}, lab.prompts(*ASKED), headless_settings=[Setting("slerp", t)]
        )


def chat_live(lab: Lab, model: str) -> None:
    """Talk to the untouched and the adapted real models.

    Raises InputError for a model the course does not have.
    """
    if _opens(lab, model):
        chat(lab, _models(lab), lab.prompts(*ASKED))


def scenarios_live(lab: Lab, model: str) -> None:
    """The pack's scenarios on the real models.

    Raises InputError for a model the course does not have.
    """
    if _opens(lab, model):
        run_on(lab, _models(lab))


def _models(lab: Lab) -> dict[str, str]:
    return {"untouched": MODEL} | {
        recipe: adapter_name(lab.pack.name, recipe) for recipe in SHIPPED
    }


def _opens(lab: Lab, model: str) -> bool:
    if model not in (TINY, REAL):
        raise InputError(
            f"model = {model!r}: this notebook runs on {TINY}, and beside it on {REAL}; "
            f"{suggest(model, [TINY, REAL])}"
        )
    if model == TINY:
        print(f'Set model = "{REAL}" in the parameters to do this with the real model here')
    return model == REAL and _records(lab) is not None


def _panels(
    lab: Lab, found: dict, labels: Iterable[str], columns: Iterable[str], name: str, what: str
) -> None:
    panels = {
        column: {label: _scores(found, label)[column] for label in labels} for column in columns
    }
    told = "; ".join(
        f"{column}: {', '.join(f'{label} {score}' for label, score in scores.items())}"
        for column, scores in panels.items()
    )
    lab.show(figures.arms(panels, label="score (95% interval)"), name, f"{what}. {told}.")
