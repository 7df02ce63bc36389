"""The designer without a browser: a changed value does what a hand on it does."""

from __future__ import annotations

import pytest
from own_packs import own_pack

from labkit.course import lesson
from labkit.course.labs import design_lab
from labkit.course.labs.design_lab import DesignPanel
from labkit.data.packs import load_pack, shipped_packs
from labkit.train.specs import GENTLE, load_spec


@pytest.fixture
def panel(tmp_path):
    lab = lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))
    studio = design_lab.Studio(lab, {"pack": "materials"})
    return DesignPanel(studio, design_lab.options(studio.lab))


def test_from_opening_to_a_validated_file_without_code(panel):
    assert "valid" in panel.told.value and "replaying general rows" in panel.sheet.value
    panel.sequence.value = "cpt-sft-dpo"
    panel.merge.value, panel.t.value = "slerp", 0.3
    panel.why["approach"].value = "read, answer, <prefer>"
    panel.buttons["save"].click()
    spec = load_spec(panel.studio.path)
    assert (
        spec.trail == "cpt-sft-dpo-slerp"
        and spec.merge.t == 0.3
        and spec.why.approach == "read, answer, <prefer>"
    )
    assert (
        spec.stages[:2] == GENTLE
        and "&lt;prefer&gt;" in panel.spec.value
        and "<prefer>" not in panel.spec.value
    )


def test_every_choice_reaches_the_spec(panel):
    panel.start.value, panel.replay_default.value, panel.replay.value = "base", False, 0.5
    panel.sources["qa"].value, panel.weights.value = True, "LoRA adapters"
    panel.merge.value, panel.schedule.value, panel.merge_after.value, panel.merge_with.value = (
        "lerp",
        "ramp",
        1,
        "llama-s",
    )
    spec = panel.studio.spec
    assert (
        spec.model == "llama-s-base"
        and spec.stages[0].replay == 0.5
        and spec.stages[0].lora is not None
    )
    assert spec.stages[0].sources == ("raw", "summaries", "qa")
    assert spec.trail == "cpt-lerp-sft" and spec.merge.general == "llama-s-instruct"


def test_numbers_of_a_stage_are_kept_until_another_sequence_is_chosen(panel):
    row = panel.stages.children[0]
    rate = next(cell for cell in row.children if getattr(cell, "description", "") == "rate")
    rate.value = 1e-3
    assert panel.studio.spec.stages[0].learning_rate == 1e-3 and panel.stages.children[0] is row
    panel.merge.value = "slerp"
    assert panel.studio.spec.stages[0].learning_rate == 1e-3
    panel.sequence.value = "cpt"
    assert (
        panel.studio.spec.stages[0].learning_rate == GENTLE[0].learning_rate
        and len(panel.stages.children) == 1
    )


def test_what_is_impossible_is_a_sentence_and_shows_nothing_old(panel):
    panel.sequence.value = "cpt-sff"
    assert "did you mean &#x27;sft&#x27;" in panel.told.value
    assert (
        panel.sheet.value == ""
        and panel.spec.value == ""
        and all(button.disabled for button in panel.buttons.values())
    )
    panel.sequence.value = "cpt-sft"
    assert "valid" in panel.told.value and not any(
        button.disabled for button in panel.buttons.values()
    )
    rate = panel.stages.children[0].children[1]
    rate.value = -1.0
    assert "learning_rate" in panel.told.value and panel.sheet.value == ""


def test_alternatives_are_chosen_and_compared(panel):
    panel.buttons["words"].click()
    assert "Alternative 2" in panel.result.value and "Suitable scenarios" in panel.result.value
    panel.changes[0].value = "no replay"
    panel.buttons["words"].click()
    assert (
        "choose two different alternatives" in panel.told.value
        and not panel.buttons["words"].disabled
    )
    panel.changes[1].value = "merge back"
    panel.buttons["train"].click()
    assert (
        "Alternative 2 − Your design" in panel.result.value
        and (panel.studio.path.parent / "comparison.pdf").is_file()
    )


def test_controls_have_names_for_those_who_cannot_see_them(panel):
    for control in (
        panel.pack,
        panel.model,
        panel.start,
        panel.sequence,
        panel.replay,
        panel.weights,
        panel.merge,
        panel.t,
        panel.schedule,
        panel.merge_after,
        panel.merge_with,
        *panel.sources.values(),
        *panel.why.values(),
        *panel.changes,
        *panel.buttons.values(),
    ):
        assert control.description


def test_the_panel_opens_with_the_choices_it_was_given(tmp_path):
    lab = lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))
    given = {
        "pack": "materials",
        "merge": "slerp",
        "t": 0.3,
        "merge_after": 1,
        "merge_with": "llama-s",
        "sources": ("raw",),
    }
    studio = design_lab.Studio(lab, dict(given))
    DesignPanel(studio, design_lab.options(studio.lab))
    assert (
        studio.spec.merge.t == 0.3
        and studio.spec.merge_after == 1
        and studio.spec.stages[0].sources == ("raw",)
    )


def test_packs_of_one_s_own_are_offered_and_a_pack_says_whether_it_is_invented(tmp_path):
    own = own_pack(tmp_path / "out" / "packs", "raw")
    lab = lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))
    panel = DesignPanel(
        design_lab.Studio(lab, {"pack": "materials", "sequence": "cpt"}), design_lab.options(lab)
    )
    offered = panel.pack.options
    assert {*shipped_packs(), str(own.folder.resolve())} == {*offered}
    for name in offered:
        panel.pack.value = name
        title = load_pack(name).title
        assert title in panel.sheet.value and "valid: " in panel.told.value
        assert ("(invented)" in panel.sheet.value) == load_pack(name).invented
