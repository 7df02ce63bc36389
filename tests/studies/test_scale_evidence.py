"""The whole study of scale at smoke, on the smallest models: every part writes its file, figure and
page section.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console
from small import few_rows

from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.course.labs import scale_lab, views
from studies import scale_evidence

SMALL = ("llama-xs", "llama-s")


@pytest.fixture(scope="module")
def measured(tmp_path_factory, shared_home):
    """Every part at smoke, two seeds; the ladder's two smallest sizes stand for all four, because
    the largest is not shipped.
    """
    folder = tmp_path_factory.mktemp("scale")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(shared_home))
        whole_rows = scale_lab.scaled
        patch.setattr(
            scale_lab, "scaled", lambda stages, family: few_rows(whole_rows(stages, family))
        )
        for name in ("TS", "FEW_TS"):
            patch.setattr(
                scale_lab, name, (0.5,)
            )  # fewer merges to score: what is tested is that all is written
        whole = scale_evidence.PARTS["sizes"]

        def small(pack, seed, profile_name, told):
            unit = whole.run(pack, seed, profile_name, told, SMALL)
            for stood_for, family in zip(scale_lab.LADDER[2:], SMALL, strict=True):
                unit.cards |= {
                    label.replace(family, stood_for): card
                    for label, card in list(unit.cards.items())
                    if label.startswith(f"{family}:")
                }
                unit.chosen |= {
                    label.replace(family, stood_for): t
                    for label, t in list(unit.chosen.items())
                    if label.startswith(f"{family}:")
                }
            return unit

        patch.setitem(scale_evidence.PARTS, "sizes", replace(whole, run=small, families=SMALL))
        for part in scale_evidence.PARTS:
            scale_evidence.run_scale_study(
                part,
                profile_name="smoke",
                page=folder / "scale.md",
                measured=folder,
                console=Console(quiet=True),
            )
    return folder


def test_every_part_is_in_file_figure_and_page(measured):
    page = (measured / "scale.md").read_text("utf-8")
    for part, name in (
        ("sizes", "synergy_by_size.png"),
        ("families", "recipes_by_family.png"),
        ("rare", "rare_facts.png"),
    ):
        data = json.loads((measured / f"{part}.json").read_text("utf-8"))
        assert data["seeds"] == 2 and data["claims"] and name in page
        assert (measured / name).read_bytes().startswith(b"\x89PNG")
        assert all(row["claim"] in page and row["effect"]["seeds"] == 2 for row in data["claims"])


def test_a_size_that_must_be_built_first_is_missed_before_anything_is_trained(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="labkit zoo build llama-l"):
        scale_evidence.run_scale_study(
            "sizes",
            profile_name="smoke",
            page=tmp_path / "x.md",
            measured=tmp_path,
            console=Console(quiet=True),
        )
    assert not (tmp_path / "checkpoints").exists()


def test_verdicts_are_read_off_the_claims(measured):
    data = json.loads((measured / "sizes.json").read_text("utf-8"))
    for row in data["claims"]:
        row["verdict"] = "supported"
    assert "is supported" in scale_evidence.sizes_words(data)
    families = json.loads((measured / "families.json").read_text("utf-8"))
    families["best"] = dict.fromkeys(families["best"], "CPT-SFT")
    assert "the same for all three families: CPT-SFT" in scale_evidence.families_words(families)
    families["best"] |= {"llama-s": "CPT"}
    assert "not the same for all" in scale_evidence.families_words(families)


def test_one_best_recipe_for_all_claims_nothing_of_own_and_others(monkeypatch):
    monkeypatch.setattr(scale_lab, "best_recipe", lambda units, family: "CPT")
    assert scale_lab.family_claims([]) == scale_lab.INTERACTION_CLAIMS
    monkeypatch.setattr(scale_lab, "best_recipe", lambda units, family: family)
    assert scale_lab.family_claims([]) == scale_lab.INTERACTION_CLAIMS + scale_lab.RECIPE_CLAIMS


def test_reported_words_stand_at_their_sizes_without_a_height(measured):
    point = Interval(0.1, 0.0, 0.2, 10, 10, 2)
    figure = views.by_size(
        {"x": {"ours": {1_000_000: point}}}, [("Paper-7B", 7_000_000_000, 1, "higher")]
    )
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any("Paper-7B\nhigher" in text for text in texts) and any(
        "no heights" in text for text in texts
    )
