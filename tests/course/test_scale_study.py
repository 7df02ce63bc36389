from __future__ import annotations

from math import log10

import pytest

from labkit.base.errors import InputError
from labkit.base.records import AXES
from labkit.course.labs import scale_lab
from labkit.course.labs.scale_lab import CHOOSES, OVERCOOKED, Unit
from labkit.evaluate.scorecards import ItemResult, Scorecard
from labkit.models.families import FAMILIES, LADDER


def card(**scores: float) -> Scorecard:
    """Two items about two entities per axis, all of one score."""
    items = [
        ItemResult(id=f"{axis}-{i}", axis=axis, kind="free", entity=f"e{i}", output="", score=score)
        for axis, score in scores.items()
        for i in range(2)
    ]
    return Scorecard(checkpoint="x", pack="materials", split="test", data="x", items=items)


def ladder(synergies: list[float], seed: int = 0) -> Unit:
    """A unit whose merges beat the better parent by these amounts on items that need both."""
    unit = Unit("materials", seed)
    for family, gain in zip(LADDER, synergies, strict=True):
        for label, score in (
            ("instruct", 0.1),
            ("overcooked", 0.4),
            ("slerp", 0.4 + gain),
            ("lerp", 0.4),
        ):
            for split in ("", " (dev)"):
                unit.cards[f"{family}: {label}{split}"] = card(
                    **{CHOOSES: score, "instructions": score, "general": score}
                )
    return unit


def test_only_the_learning_rate_follows_size():
    for family in LADDER:
        stages = scale_lab.scaled(OVERCOOKED, family)
        assert [s.model_copy(update={"learning_rate": 1.0}) for s in stages] == [
            s.model_copy(update={"learning_rate": 1.0}) for s in OVERCOOKED
        ]
    rates = [scale_lab.scaled(OVERCOOKED, family)[0].learning_rate for family in LADDER]
    assert (
        rates == sorted(rates, reverse=True)
        and scale_lab.scaled(OVERCOOKED, "llama-s") == OVERCOOKED
    )


def test_synergy_is_over_the_better_parent():
    unit = ladder([0.3, 0.2, 0.1, 0.0])
    for family, gain in zip(LADDER, (0.3, 0.2, 0.1, 0.0), strict=True):
        assert scale_lab.ladder_synergy(family, "slerp", scale_lab.BOTH)(
            [unit]
        ).mean == pytest.approx(gain)


def test_the_better_parent_is_found_on_dev_seed_by_seed():
    first, second = ladder([0.1] * 4), ladder([0.1] * 4, seed=1)
    first.cards[f"{LADDER[0]}: instruct"] = card(**{CHOOSES: 0.95})  # lucky on test only
    second.cards[f"{LADDER[0]}: instruct"] = second.cards[f"{LADDER[0]}: instruct (dev)"] = card(
        **{CHOOSES: 0.9}
    )
    found = scale_lab.ladder_synergy(LADDER[0], "slerp", scale_lab.BOTH)([first, second])
    assert found.mean == pytest.approx((0.1 + (0.5 - 0.9)) / 2)


def test_slope_is_per_tenfold_parameters():
    sizes = [log10(FAMILIES[family].parameters) for family in LADDER]
    unit = ladder([0.1 * size for size in sizes])
    assert scale_lab.synergy_slope("slerp", scale_lab.BOTH)([unit]).mean == pytest.approx(0.1)
    flat = scale_lab.forgetting_slope("instructions")([unit])
    assert flat.mean == pytest.approx(0.0, abs=1e-9)


def test_overall_is_the_mean_of_axis_means():
    unit = Unit("materials", 0)
    unit.cards["x"] = card(knowledge=1.0, reasoning=0.5, instructions=0.0, creativity=0.5)
    unit.cards["x"].items += [
        ItemResult(id=f"more-{i}", axis="knowledge", kind="free", entity="e0", output="", score=0.0)
        for i in range(6)
    ]
    scores = scale_lab.overall([unit], "x")
    assert sum(score.score for score in scores) / len(scores) == pytest.approx(
        (0.25 + 0.5 + 0.0 + 0.5) / 4
    )


def families(**effects: float) -> Unit:
    """Every family at 0.3, after SFT at 0.3 plus its effect; dev says the same."""
    unit = Unit("materials", 0)
    for family in scale_lab.ARCHITECTURES:
        for recipe in ("instruct", *scale_lab.all_recipes()):
            score = 0.3 + (
                effects.get(family.replace("-", "_"), 0.0) if recipe == "CPT-SFT" else 0.0
            )
            for label in (recipe, f"{recipe} (dev)"):
                unit.cards[f"{family}: {label}"] = card(**dict.fromkeys(AXES, score))
    return unit


def test_interaction_is_a_difference_of_differences():
    unit = families(llama_s=0.4, mistral_s=0.1)
    assert scale_lab.interaction("llama-s", "mistral-s", "SFT")([unit]).mean == pytest.approx(0.3)
    assert scale_lab.interaction("mistral-s", "llama-s", "SFT")([unit]).mean == pytest.approx(-0.3)


def test_own_recipe_is_compared_on_the_same_family():
    unit = families(llama_s=0.4, mistral_s=-0.1, smollm_s=-0.1)
    assert (
        scale_lab.best_recipe([unit], "llama-s")
        == "CPT-SFT"
        != scale_lab.best_recipe([unit], "mistral-s")
    )
    assert scale_lab.own_recipe_wins("llama-s")([unit]).mean == pytest.approx(0.4)


def test_claims_name_what_is_trained():
    words = [
        claim.words
        for claims in (
            scale_lab.SIZE_CLAIMS,
            scale_lab.FORGETTING_CLAIMS,
            scale_lab.INTERACTION_CLAIMS,
            scale_lab.RECIPE_CLAIMS,
            scale_lab.RARE_CLAIMS,
        )
        for claim in claims
    ]
    assert len(words) == len(set(words))
    assert scale_lab.rare_label("llama-s", 1 / 16, 4) == "llama-s: 1/16, 4 times the steps"


def test_unknown_part_is_refused(tmp_path):
    from studies import scale_evidence

    with pytest.raises(InputError, match="did you mean 'sizes'"):
        scale_evidence.run_scale_study(
            "size", profile_name="smoke", page=tmp_path / "x.md", measured=tmp_path, console=None
        )
