"""Do the verdicts hold under a true null? The study counts how often a comparison of a thing with
itself finds an effect.

There are two nulls: one checkpoint sampled with different seeds, and one recipe trained with
different seeds. And there are two rules: one that knows only the noise of items, and the one labkit
uses, which knows the noise between runs as well.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import (
    Interval,
    ItemScore,
    RunNoise,
    paired_difference,
    run_noise,
    verdict,
    wilson,
    with_run_noise,
)
from labkit.base.store import Checkpoint
from labkit.course.study import CORE, Unit, having, train_arm
from labkit.data.packs import Pack
from labkit.diagnose.clinic import CAUSES, Cause, Ward
from labkit.diagnose.diagnoses import Case, diagnose, open_case
from labkit.evaluate.scorecards import Scorecard, evaluate
from labkit.models.families import MODEL
from labkit.models.zoo import Loaded
from labkit.train.specs import ProfileName

# neither the study, which measured the noise between runs, nor any threshold saw them
SEEDS = tuple(range(120, 140))
SAMPLING_SEEDS = 21  # 210 pairs
RUNS_PER_SIDE, DRAWS = 5, 40
NOISE_FROM = ("overcooked", "gentle", "dpo", "orpo")


@dataclass(frozen=True)
class NullRate:
    """How often a rule found a difference where there is none."""

    what: str
    comparisons: int
    rejected: int

    @property
    def rate(self) -> float:
        return self.rejected / self.comparisons

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's; comparisons share runs and items, so it is only a rough guide."""
        return wilson(self.rejected, self.comparisons)


def _rate(what: str, found: Sequence[Interval]) -> NullRate:
    return NullRate(what, len(found), sum(verdict(one) != "not distinguishable" for one in found))


def noise_between_runs(units: list[Unit]) -> dict[str, RunNoise]:
    """Per axis and per kind of it the pooled deviation between training seeds, of the noisiest
    recipe.
    """
    kinds = {(item.axis, item.kind) for item in units[0].cards["gentle"].items}
    places = {axis: (axis, None) for axis, _ in kinds} | {
        f"{axis}/{kind}": (axis, kind) for axis, kind in kinds
    }
    packs = sorted({unit.pack for unit in units})

    def means(label: str, pack: str, axis: str, kind: str | None) -> list[float]:
        mine = [unit for unit in having(units, label) if unit.pack == pack]
        scores = [unit.cards[label].scores(axis, kind) for unit in mine]
        return [sum(score.score for score in found) / len(found) for found in scores]

    return {
        key: max(
            (run_noise([means(label, pack, *place) for pack in packs]) for label in NOISE_FROM),
            key=lambda noise: noise.deviation,
        )
        for key, place in sorted(places.items())
    }


def healthy_runs(
    pack: Pack, profile_name: ProfileName, told: Callable[[str], None], *, runs: int = len(SEEDS)
) -> list[Checkpoint]:
    """Runs of the gentle recipe that differ in nothing but the training seed."""
    made = []
    for seed in SEEDS[:runs]:
        told(f"{pack.name} null: seed {seed}")
        made.append(train_arm(CORE["gentle"], pack, seed, profile_name)[-1])
    return made


def flagged(case: Case) -> list[str]:
    """Names of the diagnoses that flag a case."""
    return [result.diagnosis.id for result in diagnose(case) if result.verdict == "flagged"]


def false_alarms(
    runs: Sequence[Checkpoint], pack: Pack, profile_name: str, told: Callable[[str], None]
) -> list[list[str]]:
    """Per healthy run the diagnoses that flag it."""
    found = []
    for made in runs:
        told(f"{pack.name} diagnoses: {made.name} seed {made.lineage['seed']}")
        found.append(flagged(open_case(made, MODEL, pack, profile=profile_name)))
    return found


def clinic_round(
    pack: Pack,
    profile_name: ProfileName,
    told: Callable[[str], None],
    *,
    causes: Sequence[Cause] = CAUSES,
) -> dict[str, list[str]]:
    """Per cause the diagnoses that flag its patient, trained with seed 0."""
    found = {}
    for cause in causes:
        told(f"{pack.name} clinic: {cause.id}")
        found[cause.id] = flagged(cause.make(Ward(pack, 0, profile_name)))
    return found


def sampling_null(loaded: Loaded, pack: Pack, *, samples: int, limit: int | None) -> NullRate:
    """One checkpoint, its proposals drawn with different sampling seeds, every pair compared."""
    drawn = [
        evaluate(
            loaded.model,
            loaded.tokenizer,
            pack,
            axes=["creativity"],
            samples=samples,
            limit=limit,
            seed=seed,
        ).scores("creativity")
        for seed in range(SAMPLING_SEEDS)
    ]
    return _rate(
        "one checkpoint, two sampling seeds (creativity)",
        [paired_difference(a, b) for a, b in itertools.combinations(drawn, 2)],
    )


def single_run_nulls(cards: Sequence[Scorecard], noise: dict[str, RunNoise]) -> list[NullRate]:
    """Two runs of one recipe, every pair on every axis: by the items alone, and with the noise
    between runs.
    """
    by_items, by_runs = [], []
    for axis, (a, b) in itertools.product(AXES + CONTROLS, itertools.combinations(cards, 2)):
        found = paired_difference(a.scores(axis), b.scores(axis))
        by_items.append(found)
        by_runs.append(with_run_noise(found, noise[axis]))
    return [
        _rate("two runs of one recipe, items' noise alone", by_items),
        _rate("two runs of one recipe, noise between runs added (labkit's rule)", by_runs),
    ]


def several_run_null(cards: Sequence[Scorecard]) -> NullRate:
    """Five runs of one recipe against five others of it, drawn many times, on every axis."""
    rng, found, side = random.Random(0), [], min(RUNS_PER_SIDE, len(cards) // 2)
    for axis in AXES + CONTROLS:
        scores = [card.scores(axis) for card in cards]
        for _ in range(DRAWS):
            drawn = rng.sample(scores, 2 * side)
            found.append(paired_difference(_runs(drawn[:side]), _runs(drawn[side:])))
    return _rate(f"{side} runs of one recipe against {side} others of it (the study's rule)", found)


def _runs(drawn: Sequence[list[ItemScore]]) -> list[ItemScore]:
    return [replace(score, seed=number) for number, scores in enumerate(drawn) for score in scores]
