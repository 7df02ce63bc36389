"""What size and architecture change, everything else held equal, and what notebook 08 shows of it.

The questions are of merge synergy, forgetting, recipes, and rare facts. The ladder and the families
are in models/families.py: same tokens, same data, one rule for the learning rate. The notebook runs
the ladder live on two sizes and shows what the study measured over seeds. Checkpoints and
scorecards are content-addressed, so a stopped study continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import log10
from typing import TYPE_CHECKING, Any

from labkit.base.pages import claim_verdict, claims_table, covered, plain_table, signed
from labkit.base.records import AXES
from labkit.base.stats import Interval, ItemScore, cluster_mean, combined, with_run_noise
from labkit.base.store import Checkpoint
from labkit.course.labs import views
from labkit.course.lesson import Guess, Lab, headless, say, show_html
from labkit.course.live import training
from labkit.course.study import (
    CHOOSES,
    NOT_REPORTED,
    ON_DEV,
    Lesson,
    Measure,
    Unit,
    over_better_parent,
    pooled,
)
from labkit.data.packs import Pack
from labkit.data.published import (
    REAL_FORGETS,
    REAL_FORGETS_GENERAL,
    REAL_SYNERGY,
    counted_votes,
    measured_of_real,
    measured_scale,
    merge_by_size,
    reasons,
    reported,
    run_noise_of,
)
from labkit.evaluate.scoring import best_t, score_checkpoint, sweep_merge
from labkit.merge.methods import merge_at
from labkit.models.architecture import architecture_of
from labkit.models.families import ARCHITECTURES, FAMILIES, LADDER, rate_factor
from labkit.models.zoo import SMOLLM2, Loaded
from labkit.train.pipeline import load_checkpoint, run_spec, trainable
from labkit.train.specs import DPO, GENTLE, ORPO, OVERCOOKED, PipelineSpec, ProfileName, Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORED = (*AXES, CHOOSES, "general")
TS = tuple(i / 10 for i in range(2, 9))  # of the ladder's sweep
FEW_TS = (0.3, 0.5, 0.7)  # of a merge per recipe and family
RECIPES = {
    "CPT": GENTLE[:1],
    "CPT-SFT": GENTLE,
    "CPT-SFT-DPO": (*GENTLE, DPO),
    "CPT-SFT-ORPO": (*GENTLE, ORPO),
}
MERGED = " + SLERP"
EFFECTS = {  # what a stage does: recipe without it, recipe with it
    "SFT": ("CPT", "CPT-SFT"),
    "DPO": ("CPT-SFT", "CPT-SFT-DPO"),
    "ORPO": ("CPT-SFT", "CPT-SFT-ORPO"),
    "merging": ("CPT-SFT", "CPT-SFT" + MERGED),
}
RARE = ("llama-xs", "llama-s")
RATIOS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
RARE_STEPS = 120
# A fact is read as often in LONGER times the steps at THIN as at DENSE.
THIN, DENSE, LONGER = 1 / 16, 1 / 4, 4


def scaled(stages: Iterable[Stage], family: str) -> tuple[Stage, ...]:
    """Stages made for a million parameters, at a family's size: only the learning rate changes."""
    factor = rate_factor(FAMILIES[family].parameters)
    return tuple(
        stage.model_copy(update={"learning_rate": stage.learning_rate * factor}) for stage in stages
    )


def _train(
    pack: Pack, family: str, stages: Iterable[Stage], seed: int, profile_name: ProfileName
) -> list[Checkpoint]:
    spec = PipelineSpec(
        pack=str(pack.folder),
        model=f"{family}-instruct",
        stages=scaled(trainable(stages, pack)[0], family),
        seed=seed,
        profile=profile_name,
    )
    return run_spec(spec)


# --- what is trained and scored ---------------------------------------------------------------


def size_unit(
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    told: Callable[[str], None],
    families: Iterable[str] = LADDER,
) -> Unit:
    """One seed of the ladder: per size the instruct model, the overcooked specialist, and merges at
    the t that dev chose.
    """
    unit = Unit(pack.name, seed)
    for family in families:
        told(f"{pack.name} seed {seed}: {family}")
        trained = _train(pack, family, OVERCOOKED, seed, profile_name)[-1]
        general, domain = load_checkpoint(f"{family}-instruct"), load_checkpoint(trained)
        sweep = sweep_merge(
            general,
            domain,
            pack,
            split="dev",
            axes=(*AXES, CHOOSES),
            methods=("slerp",),
            ts=(0, *TS, 1),
            profile_name=profile_name,
        )["slerp"]
        unit.cards |= {
            f"{family}: instruct{ON_DEV}": sweep[0][1],
            f"{family}: overcooked{ON_DEV}": sweep[-1][1],
        }
        both, four = best_t(sweep, CHOOSES), best_t(sweep, *AXES)
        unit.chosen |= {f"{family}: slerp": both, f"{family}: slerp, four axes": four}
        models = {
            "instruct": general,
            "overcooked": domain,
            "slerp": merge_at(general, domain, both, "slerp"),
            "lerp": merge_at(general, domain, both, "lerp"),
            "slerp, four axes": merge_at(general, domain, four, "slerp"),
        }
        for label, model in models.items():
            unit.cards[f"{family}: {label}"] = score_checkpoint(
                model, pack, axes=SCORED, profile_name=profile_name, name=f"{family}: {label}"
            )
    return unit


def family_unit(
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    told: Callable[[str], None],
    families: Iterable[str] = ARCHITECTURES,
) -> Unit:
    """One seed of the families: every recipe, unmerged and merged with the instruct model, on dev
    (to choose) and on test.
    """
    unit = Unit(pack.name, seed)
    for family in families:
        told(f"{pack.name} seed {seed}: {family}")
        general = load_checkpoint(f"{family}-instruct")
        _score_both(unit, f"{family}: instruct", general, pack, profile_name)
        for recipe, stages in RECIPES.items():
            domain = load_checkpoint(_train(pack, family, stages, seed, profile_name)[-1])
            _score_both(unit, f"{family}: {recipe}", domain, pack, profile_name)
            sweep = sweep_merge(
                general,
                domain,
                pack,
                split="dev",
                axes=AXES,
                methods=("slerp",),
                ts=FEW_TS,
                profile_name=profile_name,
            )["slerp"]
            t = unit.chosen[f"{family}: {recipe}"] = best_t(sweep, *AXES)
            _score_both(
                unit,
                f"{family}: {recipe}{MERGED}",
                merge_at(general, domain, t, "slerp"),
                pack,
                profile_name,
            )
    return unit


def _score_both(
    unit: Unit, label: str, model: Loaded, pack: Pack, profile_name: ProfileName
) -> None:
    for split in ("dev", "test"):
        key = label if split == "test" else label + ON_DEV
        unit.cards[key] = score_checkpoint(
            model, pack, split=split, axes=AXES, profile_name=profile_name, name=label
        )


def rare_unit(
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    told: Callable[[str], None],
    families: Iterable[str] = RARE,
) -> Unit:
    """One seed of the grid: CPT in which the pack's text is a small share of what is read, the rest
    the start model's own mix.
    """
    unit = Unit(pack.name, seed)
    arms = [(ratio, 1) for ratio in RATIOS] + [(THIN, LONGER)]
    for family in families:
        for ratio, times in arms:
            label = rare_label(family, ratio, times)
            told(f"{pack.name} seed {seed}: {label}")
            stage = GENTLE[0].model_copy(update={"steps": RARE_STEPS * times, "replay": 1 - ratio})
            made = _train(pack, family, (stage,), seed, profile_name)[-1]
            unit.cards[label] = score_checkpoint(
                made, pack, axes=("knowledge",), profile_name=profile_name, name=label
            )
    return unit


def rare_label(family: str, ratio: float, times: int = 1) -> str:
    return f"{family}: 1/{round(1 / ratio)}" + (f", {times} times the steps" if times > 1 else "")


# --- what is measured --------------------------------------------------------------------------


def overall(units: list[Unit], label: str) -> list[ItemScore]:
    """Scores of all four axes, weighted so that their mean is the mean of the four axes' means."""
    scores = {axis: pooled(units, label, axis) for axis in AXES}
    total = sum(map(len, scores.values()))
    return [
        ItemScore(
            score.id, score.entity, score.score * total / (len(AXES) * len(found)), score.seed
        )
        for found in scores.values()
        for score in found
    ]


def on_axis(axis: str, kind: str | None = None) -> Callable[[list[Unit], str], list[ItemScore]]:
    return lambda units, label: pooled(units, label, axis, kind)


BOTH, KNOWN = on_axis(CHOOSES), on_axis("knowledge", "free")
Scores = Callable[[list[Unit], str], list[ItemScore]]


def weighted(weights: dict[str, float], scores: Scores) -> Measure:
    """The weighted sum of several checkpoints' scores, item by item."""
    return lambda units: cluster_mean(
        combined([(weight, scores(units, label)) for label, weight in weights.items()])
    )


def difference(before: str, after: str, scores: Scores) -> Measure:
    return weighted({after: 1, before: -1}, scores)


def _synergy_scores(units: list[Unit], family: str, merge: str, scores: Scores) -> list[ItemScore]:
    return over_better_parent(
        units, f"{family}: {merge}", (f"{family}: instruct", f"{family}: overcooked"), scores
    )


def ladder_synergy(family: str, merge: str, scores: Scores) -> Measure:
    return lambda units: cluster_mean(_synergy_scores(units, family, merge, scores))


def slope_weights(families: Iterable[str]) -> dict[str, float]:
    """Weights that turn one value per family into its rise per tenfold parameters (least squares on
    their logarithm).
    """
    sizes = {family: log10(FAMILIES[family].parameters) for family in families}
    middle = sum(sizes.values()) / len(sizes)
    spread = sum((size - middle) ** 2 for size in sizes.values())
    return {family: (size - middle) / spread for family, size in sizes.items()}


def synergy_slope(merge: str, scores: Scores) -> Measure:
    return lambda units: cluster_mean(
        combined(
            [
                (weight, _synergy_scores(units, family, merge, scores))
                for family, weight in slope_weights(LADDER).items()
            ]
        )
    )


def largest_over_smallest(units: list[Unit]) -> Interval:
    """Synergy of the largest model minus that of the smallest, on items that need both."""
    ends = [
        (weight, _synergy_scores(units, family, "slerp", BOTH))
        for weight, family in ((1, LADDER[-1]), (-1, LADDER[0]))
    ]
    return cluster_mean(combined(ends))


def forgetting_slope(axis: str) -> Measure:
    """How much more is forgotten per tenfold parameters."""
    weights: dict[str, float] = {}
    for family, weight in slope_weights(LADDER).items():
        weights |= {f"{family}: instruct": weight, f"{family}: overcooked": -weight}
    return weighted(weights, on_axis(axis))


def interaction(first: str, second: str, effect: str) -> Measure:
    """What a stage does to the mean of the four axes in the first family, minus what it does in the
    second.
    """
    before, after = EFFECTS[effect]
    return weighted(
        {
            f"{first}: {after}": 1,
            f"{first}: {before}": -1,
            f"{second}: {after}": -1,
            f"{second}: {before}": 1,
        },
        overall,
    )


def all_recipes() -> list[str]:
    return [recipe + suffix for recipe in RECIPES for suffix in ("", MERGED)]


def best_recipe(units: list[Unit], family: str) -> str:
    """The recipe with the highest mean of four axes on dev, over all seeds."""
    return max(
        all_recipes(),
        key=lambda recipe: (
            cluster_mean(overall(units, f"{family}: {recipe}{ON_DEV}"), draws=2).mean
        ),
    )


def own_recipe_wins(family: str) -> Measure:
    """On test, a family's own best recipe (dev) minus the mean of the other families' best ones,
    trained on this family.
    """

    def measure(units: list[Unit]) -> Interval:
        others = [best_recipe(units, other) for other in ARCHITECTURES if other != family]
        parts = [(1.0, overall(units, f"{family}: {best_recipe(units, family)}"))]
        parts += [(-1 / len(others), overall(units, f"{family}: {recipe}")) for recipe in others]
        return cluster_mean(combined(parts))

    return measure


# --- the claims --------------------------------------------------------------------------------

SAME = (
    "same tokens, data and recipe at every size here; there, size, data, rates, epochs and "
    "start change together"
)
ONE = (
    "one pack of invented facts, one model per family and size: what another model of the "
    "same shape would do is not in the interval"
)
SIZE_CLAIMS = (
    *(
        Lesson(
            "synergy",
            f"{family}: the SLERP merge beats the better parent on items that need both",
            ladder_synergy(family, "slerp", BOTH),
            SAME,
            "size",
        )
        for family in LADDER
    ),
    *(
        Lesson(
            "synergy",
            f"{family}: the SLERP merge beats the better parent in the mean of four axes",
            ladder_synergy(family, "slerp, four axes", overall),
            SAME,
            "size",
        )
        for family in LADDER
    ),
    Lesson(
        "synergy",
        "merge synergy grows with size: items that need both, per tenfold parameters",
        synergy_slope("slerp", BOTH),
        "0.3 to 10 M parameters. " + ONE,
        "size",
    ),
    Lesson(
        "synergy",
        "merge synergy grows with size: mean of four axes, per tenfold parameters",
        synergy_slope("slerp, four axes", overall),
        "0.3 to 10 M parameters. " + ONE,
        "size",
    ),
    Lesson(
        "synergy",
        "the largest model gains more by merging than the smallest, items that need both",
        largest_over_smallest,
        SAME,
        "size",
    ),
)
FORGETTING_CLAIMS = (
    *(
        Lesson(
            "forgetting",
            f"{family}: CPT and SFT (overcooked) lower instruction following",
            difference(f"{family}: overcooked", f"{family}: instruct", on_axis("instructions")),
            ONE,
            "cpt_degrades",
        )
        for family in LADDER
    ),
    Lesson(
        "forgetting",
        "larger models forget more instruction following (overcooked), per tenfold parameters",
        forgetting_slope("instructions"),
        "learning rates fall with size by one rule, so larger models also move less",
    ),
    Lesson(
        "forgetting",
        "larger models forget more general knowledge (overcooked), per tenfold parameters",
        forgetting_slope("general"),
        "learning rates fall with size by one rule, so larger models also move less",
    ),
)
INTERACTION_CLAIMS = tuple(
    Lesson(
        "interaction",
        f"{effect} does more for {first} than for {second}, mean of four axes",
        interaction(first, second, effect),
        ONE,
        "preference"
        if effect in ("DPO", "ORPO")
        else "merge"
        if effect == "merging"
        else NOT_REPORTED,
    )
    for effect in EFFECTS
    for first, second in combinations(ARCHITECTURES, 2)
)
RECIPE_CLAIMS = tuple(
    Lesson(
        "recipe",
        f"{family} does better with its own best recipe than with the others' best ones",
        own_recipe_wins(family),
        "recipes are chosen on dev over these seeds, measured on test",
        "sft_order",
    )
    for family in ARCHITECTURES
)


def family_claims(units: list[Unit]) -> tuple[Lesson, ...]:
    """What can be claimed of families: where dev chooses one recipe for all of them, nothing can be
    said of own and others' recipes.
    """
    one_for_all = len({best_recipe(units, family) for family in ARCHITECTURES}) == 1
    return INTERACTION_CLAIMS if one_for_all else INTERACTION_CLAIMS + RECIPE_CLAIMS


GU = (
    "Gu et al. (arXiv 2505.18091) train from nothing, on far more facts; they see a jump, "
    "at a critical share or size"
)
RARE_CLAIMS = (
    *(
        Lesson(
            "rare facts",
            f"{family}: at equal exposures, facts read at a share of 1/16 are learned "
            "less than at 1/4",
            difference(rare_label(family, THIN, LONGER), rare_label(family, DENSE), KNOWN),
            GU,
        )
        for family in RARE
    ),
    *(
        Lesson(
            "rare facts",
            f"{family}: twice the share, and so twice the exposures, teaches more: "
            f"1/{round(1 / low)} to 1/{round(1 / high)}",
            difference(rare_label(family, low), rare_label(family, high), KNOWN),
            GU,
        )
        for family in RARE
        for low, high in pairwise(RATIOS)
    ),
    Lesson(
        "rare facts",
        f"{RARE[-1]} learns more than {RARE[0]} at a share of 1/16",
        difference(rare_label(RARE[0], THIN), rare_label(RARE[-1], THIN), KNOWN),
        GU,
    ),
)


# --- what the study measured, as it is shown ---------------------------------------------------


def _verdict_of(data: dict, claim: str) -> str:
    row = next(row for row in data["claims"] if claim in row["claim"])
    return f"{claim_verdict(row)} ({signed(Interval(**row['effect']))})"


SYNERGY_TITLE = "Merge synergy: merged minus the better parent"
FORGETTING_TITLE = "Forgetting: instruct model minus specialist"


def parameters_of(family: str) -> int:
    return architecture_of(f"{family}-instruct").parameters


def real_point(claim: str) -> dict[int, Interval]:
    """What was measured of SmolLM2-135M, at its size."""
    return {architecture_of(SMOLLM2).parameters: Interval(**measured_of_real(claim)["effect"])}


def sizes_figure(data: dict) -> tuple[str, Figure]:
    def panel(found: dict) -> dict:
        return {
            label: {data["parameters"][family]: Interval(**value) for family, value in row.items()}
            for label, row in found.items()
        }

    theirs = [
        (row["model"], architecture_of(row["model"]).parameters, row["gain"], row["words"])
        for row in merge_by_size()
    ]
    synergy = panel(data["synergy"]) | {
        "SmolLM2-135M with LoRA: SLERP, items that need both": real_point(REAL_SYNERGY)
    }
    forgetting = panel(data["forgetting"]) | {
        "SmolLM2-135M: instruction following": real_point(REAL_FORGETS),
        "SmolLM2-135M: everyday items": real_point(REAL_FORGETS_GENERAL),
    }
    return "synergy_by_size.png", views.by_size(
        {SYNERGY_TITLE: synergy, FORGETTING_TITLE: forgetting}, theirs
    )


def sizes_words(data: dict) -> str:
    """The verdict on synergy and size in one sentence."""
    real = measured_of_real(REAL_SYNERGY)
    low, high = (
        f"{parameters / 1e6:.1f}"
        for parameters in (min(data["parameters"].values()), max(data["parameters"].values()))
    )
    return (
        f"From {low} to {high} million parameters, that merge synergy grows with size "
        f"is {_verdict_of(data, 'items that need both, per tenfold')} per tenfold "
        "parameters "
        "for items that need both parents, and "
        f"{_verdict_of(data, 'mean of four axes, per tenfold')} for the mean of the "
        "four axes; off the ladder, "
        "at 135 million (SmolLM2, LoRA, pre-trained on other data), that a merge beats "
        f"the better parent is {claim_verdict(real)} ({signed(Interval(**real['effect']))})."
    )


def families_figure(data: dict) -> tuple[str, Figure]:
    scores = {
        family: {label: Interval(**value) for label, value in row.items()}
        for family, row in data["scores"].items()
    }
    return "recipes_by_family.png", views.recipes(scores, data["best"])


def families_words(data: dict) -> str:
    """The verdict on family and stage in a few sentences."""
    best, rows = data["best"], data["claims"]
    stages = [row for row in rows if row["topic"] == "interaction"]
    held = [row for row in stages if row["verdict"] != "not distinguishable"]
    if len(set(best.values())) == 1:
        recipes = (
            "The recipe that is best on dev is the same for all three families: "
            f"{best[ARCHITECTURES[0]]}"
        )
    else:
        recipes = (
            "The recipe that is best on dev is not the same for all families ("
            + _told(row for row in rows if row["topic"] == "recipe")
            + ")"
        )
    return (
        f"{recipes}. Of {len(stages)} comparisons of what a stage does in two families, "
        f"{len(held)} can be told from noise{': ' if held else ''}{_told(held)}."
    )


def _told(rows: Iterable[dict]) -> str:
    return "; ".join(
        f"{row['claim']}: {claim_verdict(row)} ({signed(Interval(**row['effect']))})"
        for row in rows
    )


def rare_figure(data: dict) -> tuple[str, Figure]:
    curves = {
        family: {float(ratio): Interval(**value) for ratio, value in row.items()}
        for family, row in data["curves"].items()
    }
    return "rare_facts.png", views.rare_facts(curves)


def rare_words(data: dict) -> str:
    """The verdict on dilution in one sentence."""
    told = "; ".join(
        f"{family} {_verdict_of(data, f'{family}: at equal exposures')}" for family in RARE
    )
    return f"That facts read thinly are learned less than as many exposures read densely: {told}."


@dataclass(frozen=True)
class Part:
    """What the study measured of one question, as it is shown: (file name, figure) and a verdict in
    a sentence.
    """

    figure: Callable[[dict], tuple[str, Figure]]
    words: Callable[[dict], str]


PARTS = {
    "sizes": Part(sizes_figure, sizes_words),
    "families": Part(families_figure, families_words),
    "rare": Part(rare_figure, rare_words),
}


# --- the notebook -------------------------------------------------------------------------------

LIVE = LADDER[:2]


def climb(lab: Lab, families: Iterable[str] = LIVE) -> Unit:
    """Train, merge and score the ladder's smaller sizes, one seed; what was trained before is read
    back. Recorded.

    A pack that lacks what this measures gives way to `materials`, and it is said.
    """
    sizes, pack = tuple(families), lab.pack_with(*SCORED)
    common: dict[str, Any] = {
        "pack": str(pack.folder),
        "seed": lab.seed,
        "profile": lab.profile,
    }
    specs = [
        PipelineSpec(
            model=f"{family}-instruct",
            stages=scaled(trainable(OVERCOOKED, pack)[0], family),
            **common,
        )
        for family in sizes
    ]
    with training(specs):
        unit = size_unit(
            pack, lab.seed, lab.profile, lambda text: None if headless() else say(text), sizes
        )
    for label, card in unit.cards.items() if pack is lab.pack else ():
        lab.record(
            "scorecard",
            checkpoint=label,
            split=card.split,
            axes={axis: found.as_dict() for axis, found in card.summary().items()},
        )
    return unit


def show_climb(lab: Lab, unit: Unit, guess: Guess, families: Iterable[str] = LIVE) -> None:
    """Synergy of this run per size, as a figure and as findings, the noise between training seeds
    included.
    """
    found = {
        family: with_run_noise(ladder_synergy(family, "slerp", BOTH)([unit]), run_noise_of(CHOOSES))
        for family in families
    }
    points = {parameters_of(family): effect for family, effect in found.items()}
    told = "; ".join(f"{family}: {effect}" for family, effect in found.items())
    lab.show(
        views.by_size({SYNERGY_TITLE: {"this run, SLERP, items that need both": points}}, ()),
        "climb",
        f"Merge minus better parent at each size of this run. {told}.",
    )
    rows = [
        (
            family,
            f"{parameters_of(family):,}",
            f"{unit.chosen[f'{family}: slerp']:g}",
            covered(effect),
        )
        for family, effect in found.items()
    ]
    show_html(
        plain_table(("family", "parameters", "t chosen on dev", "merged minus better parent"), rows)
    )
    for family, effect in found.items():
        lab.finding(
            f"{family}: the SLERP merge beats the better parent on items that need both",
            effect,
            claimed=1,
            reported=reported("size"),
            on=unit.pack,
        )
    lab.outcome(guess, found[next(iter(families))])


def show_sizes(lab: Lab) -> None:
    """The synergy-size figure of the study, its verdict in a sentence, and its claims."""
    _show(
        lab,
        "sizes",
        lambda data: (
            "Merge synergy and forgetting against parameters, with what is reported at "
            "1.7B to 8B in words. " + PARTS["sizes"].words(data)
        ),
    )


def show_families(lab: Lab) -> None:
    """Every recipe on every architecture, and whether a stage does the same for all."""

    def alt(data: dict) -> str:
        scores = "; ".join(
            f"{family} {recipe}: {Interval(**row)}"
            for family, found in data["scores"].items()
            for recipe, row in found.items()
        )
        return f"Mean of four axes for every recipe, one panel per family. {scores}."

    _show(lab, "families", alt)


def show_rare(lab: Lab) -> None:
    """What is learned of facts that are a small share of what is read."""
    _show(
        lab,
        "rare",
        lambda data: (
            "Share of questions answered against the share of the pack's text, one line per size. "
            + PARTS["rare"].words(data)
        ),
    )


def _show(lab: Lab, part: str, alt: Callable[[dict], str]) -> None:
    data = measured_scale(part)
    _, figure = PARTS[part].figure(data)
    lab.show(figure, part, alt(data))
    say(
        f"{PARTS[part].words(data)} Measured on pack {data['pack']} over "
        f"{data['seeds']} seeds; docs/scale.md says how."
    )
    show_html(claims_table(data["claims"]))


def show_reasons() -> None:
    """The six reasons of the lesson in short: what is said, the verdict of what labkit measured,
    how many claims say so, and what follows for a design.
    """
    heads = ("reason", "said", "verdict here", "claims", "in short", "for your design")
    show_html(
        plain_table(
            heads,
            [
                (
                    f"{reason.number} {reason.title}",
                    reason.said,
                    reason.verdict,
                    counted_votes(reason.votes),
                    reason.in_short,
                    reason.design,
                )
                for reason in reasons()
            ],
        )
    )
    say(
        "Mixed: at least one claim supports the reason and at least one contradicts it. Not "
        "distinguishable: most claims cannot be told from noise. docs/six-reasons.md has every "
        "claim with its interval, and why the paper may see something else."
    )
