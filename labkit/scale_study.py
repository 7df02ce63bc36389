"""What size and architecture change, everything else held equal: merge synergy, forgetting, recipes, and rare facts.

The ladder and the families are in families.py: same tokens, same data, one rule for the learning rate. Checkpoints and
scorecards are content-addressed, so a stopped study continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from math import log10

from labkit.claims import NOT_REPORTED, Lesson, Measure
from labkit.design import DPO, GENTLE, ORPO, OVERCOOKED, PipelineSpec, Stage
from labkit.families import ARCHITECTURES, FAMILIES, LADDER, rate_factor
from labkit.packs import AXES, Pack
from labkit.pipeline import load_checkpoint, run_spec
from labkit.scoring import best_t, merged, score_checkpoint, sweep_merge
from labkit.stats import Interval, ItemScore, cluster_mean, combined
from labkit.study import CHOOSES, ON_DEV, Unit, over_better_parent, pooled

SCORED = (*AXES, CHOOSES, "general")
TS = tuple(i / 10 for i in range(2, 9))  # of the ladder's sweep
FEW_TS = (0.3, 0.5, 0.7)  # of a merge per recipe and family
RECIPES = {"CPT": GENTLE[:1], "CPT-SFT": GENTLE, "CPT-SFT-DPO": (*GENTLE, DPO), "CPT-SFT-ORPO": (*GENTLE, ORPO)}
MERGED = " + SLERP"
EFFECTS = {  # what a stage does: recipe without it, recipe with it
    "SFT": ("CPT", "CPT-SFT"), "DPO": ("CPT-SFT", "CPT-SFT-DPO"), "ORPO": ("CPT-SFT", "CPT-SFT-ORPO"), "merging": ("CPT-SFT", "CPT-SFT" + MERGED),
}
RARE = ("llama-xs", "llama-s")
RATIOS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
RARE_STEPS = 120
THIN, DENSE, LONGER = 1 / 16, 1 / 4, 4  # a fact as often in LONGER times the steps at THIN as at DENSE


def scaled(stages: Iterable[Stage], family: str) -> tuple[Stage, ...]:
    """Stages made for a million parameters, at this family's size: only the learning rate changes."""
    factor = rate_factor(FAMILIES[family].parameters)
    return tuple(stage.model_copy(update={"learning_rate": stage.learning_rate * factor}) for stage in stages)


def _train(pack: Pack, family: str, stages: Iterable[Stage], seed: int, profile_name: str) -> list:
    spec = PipelineSpec(pack=str(pack.folder), model=f"{family}-instruct", stages=scaled(stages, family), seed=seed, profile=profile_name)
    return run_spec(spec)


# --- what is trained and scored ---------------------------------------------------------------


def size_unit(pack: Pack, seed: int, profile_name: str, told: Callable[[str], None], families: Iterable[str] = LADDER) -> Unit:
    """One seed of the ladder: per size the instruct model, the overcooked specialist, and merges at the t that dev chose."""
    unit = Unit(pack.name, seed)
    for family in families:
        told(f"{pack.name} seed {seed}: {family}")
        general, domain = load_checkpoint(f"{family}-instruct"), load_checkpoint(_train(pack, family, OVERCOOKED, seed, profile_name)[-1])
        sweep = sweep_merge(general, domain, pack, split="dev", axes=(*AXES, CHOOSES), methods=("slerp",), ts=(0, *TS, 1), profile_name=profile_name)["slerp"]
        unit.cards |= {f"{family}: instruct{ON_DEV}": sweep[0][1], f"{family}: overcooked{ON_DEV}": sweep[-1][1]}
        both, four = best_t(sweep, CHOOSES), best_t(sweep, *AXES)
        unit.chosen |= {f"{family}: slerp": both, f"{family}: slerp, four axes": four}
        models = {
            "instruct": general, "overcooked": domain, "slerp": merged(general, domain, both, "slerp"),
            "lerp": merged(general, domain, both, "lerp"), "slerp, four axes": merged(general, domain, four, "slerp"),
        }
        for label, model in models.items():
            unit.cards[f"{family}: {label}"] = score_checkpoint(model, pack, axes=SCORED, profile_name=profile_name, name=f"{family}: {label}")
    return unit


def family_unit(pack: Pack, seed: int, profile_name: str, told: Callable[[str], None], families: Iterable[str] = ARCHITECTURES) -> Unit:
    """One seed of the families: every recipe, unmerged and merged with the instruct model, on dev (to choose) and on test."""
    unit = Unit(pack.name, seed)
    for family in families:
        told(f"{pack.name} seed {seed}: {family}")
        general = load_checkpoint(f"{family}-instruct")
        _score_both(unit, f"{family}: instruct", general, pack, profile_name)
        for recipe, stages in RECIPES.items():
            domain = load_checkpoint(_train(pack, family, stages, seed, profile_name)[-1])
            _score_both(unit, f"{family}: {recipe}", domain, pack, profile_name)
            sweep = sweep_merge(general, domain, pack, split="dev", axes=AXES, methods=("slerp",), ts=FEW_TS, profile_name=profile_name)["slerp"]
            t = unit.chosen[f"{family}: {recipe}"] = best_t(sweep, *AXES)
            _score_both(unit, f"{family}: {recipe}{MERGED}", merged(general, domain, t, "slerp"), pack, profile_name)
    return unit


def _score_both(unit: Unit, label: str, model, pack: Pack, profile_name: str) -> None:
    for split in ("dev", "test"):
        key = label if split == "test" else label + ON_DEV
        unit.cards[key] = score_checkpoint(model, pack, split=split, axes=AXES, profile_name=profile_name, name=label)


def rare_unit(pack: Pack, seed: int, profile_name: str, told: Callable[[str], None], families: Iterable[str] = RARE) -> Unit:
    """One seed of the grid: CPT in which the pack's text is a small share of what is read, the rest the start model's own mix."""
    unit = Unit(pack.name, seed)
    arms = [(ratio, 1) for ratio in RATIOS] + [(THIN, LONGER)]
    for family in families:
        for ratio, times in arms:
            label = rare_label(family, ratio, times)
            told(f"{pack.name} seed {seed}: {label}")
            stage = GENTLE[0].model_copy(update={"steps": RARE_STEPS * times, "replay": 1 - ratio})
            made = _train(pack, family, (stage,), seed, profile_name)[-1]
            unit.cards[label] = score_checkpoint(made, pack, axes=("knowledge",), profile_name=profile_name, name=label)
    return unit


def rare_label(family: str, ratio: float, times: int = 1) -> str:
    return f"{family}: 1/{round(1 / ratio)}" + (f", {times} times the steps" if times > 1 else "")


# --- what is measured --------------------------------------------------------------------------


def overall(units: list[Unit], label: str) -> list[ItemScore]:
    """Scores of all four axes, weighted so that their mean is the mean of the four axes' means."""
    scores = {axis: pooled(units, label, axis) for axis in AXES}
    total = sum(map(len, scores.values()))
    return [
        ItemScore(score.id, score.entity, score.score * total / (len(AXES) * len(found)), score.seed)
        for found in scores.values() for score in found
    ]


def on_axis(axis: str, kind: str | None = None) -> Callable[[list[Unit], str], list[ItemScore]]:
    return lambda units, label: pooled(units, label, axis, kind)


BOTH, KNOWN = on_axis(CHOOSES), on_axis("knowledge", "free")
Scores = Callable[[list[Unit], str], list[ItemScore]]


def weighted(weights: dict[str, float], scores: Scores) -> Measure:
    """The weighted sum of several checkpoints' scores, item by item."""
    return lambda units: cluster_mean(combined([(weight, scores(units, label)) for label, weight in weights.items()]))


def difference(before: str, after: str, scores: Scores) -> Measure:
    return weighted({after: 1, before: -1}, scores)


def _synergy_scores(units: list[Unit], family: str, merge: str, scores: Scores) -> list[ItemScore]:
    return over_better_parent(units, f"{family}: {merge}", (f"{family}: instruct", f"{family}: overcooked"), scores)


def ladder_synergy(family: str, merge: str, scores: Scores) -> Measure:
    return lambda units: cluster_mean(_synergy_scores(units, family, merge, scores))


def slope_weights(families: Iterable[str]) -> dict[str, float]:
    """Weights that turn one value per family into its rise per tenfold parameters (least squares on their logarithm)."""
    sizes = {family: log10(FAMILIES[family].parameters) for family in families}
    middle = sum(sizes.values()) / len(sizes)
    spread = sum((size - middle) ** 2 for size in sizes.values())
    return {family: (size - middle) / spread for family, size in sizes.items()}


def synergy_slope(merge: str, scores: Scores) -> Measure:
    return lambda units: cluster_mean(combined([(weight, _synergy_scores(units, family, merge, scores)) for family, weight in slope_weights(LADDER).items()]))


def largest_over_smallest(units: list[Unit]) -> Interval:
    """Synergy of the largest model minus that of the smallest, on items that need both."""
    ends = [(weight, _synergy_scores(units, family, "slerp", BOTH)) for weight, family in ((1, LADDER[-1]), (-1, LADDER[0]))]
    return cluster_mean(combined(ends))


def forgetting_slope(axis: str) -> Measure:
    """How much more is forgotten per tenfold parameters."""
    weights = {}
    for family, weight in slope_weights(LADDER).items():
        weights |= {f"{family}: instruct": weight, f"{family}: overcooked": -weight}
    return weighted(weights, on_axis(axis))


def interaction(first: str, second: str, effect: str) -> Measure:
    """What a stage does to the mean of the four axes in the first family, minus what it does in the second."""
    before, after = EFFECTS[effect]
    return weighted({f"{first}: {after}": 1, f"{first}: {before}": -1, f"{second}: {after}": -1, f"{second}: {before}": 1}, overall)


def all_recipes() -> list[str]:
    return [recipe + suffix for recipe in RECIPES for suffix in ("", MERGED)]


def best_recipe(units: list[Unit], family: str) -> str:
    """The recipe with the highest mean of four axes on dev, over all seeds."""
    return max(all_recipes(), key=lambda recipe: cluster_mean(overall(units, f"{family}: {recipe}{ON_DEV}"), draws=2).mean)


def own_recipe_wins(family: str) -> Measure:
    """On test, a family's own best recipe (dev) minus the mean of the other families' best ones, trained on this family."""

    def measure(units: list[Unit]) -> Interval:
        others = [best_recipe(units, other) for other in ARCHITECTURES if other != family]
        parts = [(1.0, overall(units, f"{family}: {best_recipe(units, family)}"))]
        parts += [(-1 / len(others), overall(units, f"{family}: {recipe}")) for recipe in others]
        return cluster_mean(combined(parts))

    return measure


# --- the claims --------------------------------------------------------------------------------

SAME = "same tokens, data and recipe at every size here; there, size, data, rates, epochs and start change together"
ONE = "one pack of invented facts, one model per family and size: what another model of the same shape would do is not in the interval"
SIZE_CLAIMS = (
    *(Lesson("synergy", f"{family}: the SLERP merge beats the better parent on items that need both", ladder_synergy(family, "slerp", BOTH), SAME, "size") for family in LADDER),
    *(Lesson("synergy", f"{family}: the SLERP merge beats the better parent in the mean of four axes", ladder_synergy(family, "slerp, four axes", overall), SAME, "size") for family in LADDER),
    Lesson("synergy", "merge synergy grows with size: items that need both, per tenfold parameters", synergy_slope("slerp", BOTH), "0.3 to 10 M parameters. " + ONE, "size"),
    Lesson("synergy", "merge synergy grows with size: mean of four axes, per tenfold parameters", synergy_slope("slerp, four axes", overall), "0.3 to 10 M parameters. " + ONE, "size"),
    Lesson("synergy", "the largest model gains more by merging than the smallest, items that need both", largest_over_smallest, SAME, "size"),
)
FORGETTING_CLAIMS = (
    *(Lesson("forgetting", f"{family}: CPT and SFT (overcooked) lower instruction following", difference(f"{family}: overcooked", f"{family}: instruct", on_axis("instructions")), ONE, "cpt_degrades") for family in LADDER),
    Lesson("forgetting", "larger models forget more instruction following (overcooked), per tenfold parameters", forgetting_slope("instructions"), "learning rates fall with size by one rule, so larger models also move less"),
    Lesson("forgetting", "larger models forget more general knowledge (overcooked), per tenfold parameters", forgetting_slope("general"), "learning rates fall with size by one rule, so larger models also move less"),
)
INTERACTION_CLAIMS = tuple(
    Lesson("interaction", f"{effect} does more for {first} than for {second}, mean of four axes", interaction(first, second, effect), ONE, "preference" if effect in ("DPO", "ORPO") else "merge" if effect == "merging" else NOT_REPORTED)
    for effect in EFFECTS for first, second in combinations(ARCHITECTURES, 2)
)
RECIPE_CLAIMS = tuple(
    Lesson("recipe", f"{family} does better with its own best recipe than with the others' best ones", own_recipe_wins(family), "recipes are chosen on dev over these seeds, measured on test", "sft_order")
    for family in ARCHITECTURES
)


def family_claims(units: list[Unit]) -> tuple[Lesson, ...]:
    """What can be claimed of families: where dev chooses one recipe for all of them, nothing can be said of own and others' recipes."""
    one_for_all = len({best_recipe(units, family) for family in ARCHITECTURES}) == 1
    return INTERACTION_CLAIMS if one_for_all else INTERACTION_CLAIMS + RECIPE_CLAIMS


GU = "Gu et al. (arXiv 2505.18091) train from nothing, on far more facts; they see a jump, at a critical share or size"
RARE_CLAIMS = (
    *(Lesson("rare facts", f"{family}: at equal exposures, facts read at a share of 1/16 are learned less than at 1/4", difference(rare_label(family, THIN, LONGER), rare_label(family, DENSE), KNOWN), GU) for family in RARE),
    *(Lesson("rare facts", f"{family}: twice the share, and so twice the exposures, teaches more: 1/{round(1 / low)} to 1/{round(1 / high)}", difference(rare_label(family, low), rare_label(family, high), KNOWN), GU) for family in RARE for low, high in zip(RATIOS, RATIOS[1:], strict=False)),
    Lesson("rare facts", f"{RARE[-1]} learns more than {RARE[0]} at a share of 1/16", difference(rare_label(RARE[0], THIN), rare_label(RARE[-1], THIN), KNOWN), GU),
)
