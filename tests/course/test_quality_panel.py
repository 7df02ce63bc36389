"""The panel without a browser: moving a control's value does what a hand on it does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.base.errors import InputError
from labkit.course.labs.quality_lab import QualityPanel, QualitySession
from labkit.evaluate import quality

TEXTS = [" ".join(f"word{i}x{k}" for k in range(20 + 5 * i)) for i in range(6)]


@pytest.fixture
def session(tmp_path, materials):
    measures = quality.measure_documents(TEXTS)
    measures = [
        quality.DocumentQuality(m.words, 0.1 * i, 0.0, 1.0 + i, None, None)
        for i, m in enumerate(measures)
    ]
    made = QualitySession(materials, TEXTS, measures, "a model", tmp_path)
    made.look(quality.Thresholds(max_repetition=0.5))
    return made


def test_it_opens_at_the_thresholds_given_and_follows_a_slider(session):
    panel = QualityPanel(session)
    assert "6 of 6 documents kept" in panel.told.value and bytes(panel.picture.value).startswith(
        b"\x89PNG"
    )
    before = bytes(panel.picture.value)
    panel.controls["max_repetition"].value = 0.25
    assert (
        session.kept.indices == [0, 1, 2]
        and "repeats itself 3" in panel.told.value
        and bytes(panel.picture.value) != before
    )
    panel.controls["words"].value = (23, 45)
    assert session.kept.indices == [1, 2]
    assert "too short" in panel.examples.value


def test_the_right_end_of_surprise_is_no_bound(session):
    panel = QualityPanel(session)
    bits = panel.controls["max_bits_per_byte"]
    assert panel.thresholds().max_bits_per_byte is None and bits.max >= 6
    bits.value = 2.5
    assert (
        session.kept.thresholds.max_bits_per_byte == 2.5 and session.kept.counts["surprising"] == 4
    )
    bits.value = bits.max
    assert session.kept.share == 1


def test_what_was_not_measured_cannot_be_asked_for(session):
    box = QualityPanel(session).controls["drop_contradictions"]
    assert box.disabled and "not measured" in box.description


def test_every_control_is_named_and_explained(session):
    assert all(
        control.description and control.tooltip
        for control in QualityPanel(session).controls.values()
    )


def test_the_button_writes_what_is_shown_and_errors_are_sentences(session, monkeypatch):
    asked = []

    def write(kept, name):
        asked.append((kept.indices, name))
        if name == "bad":
            raise InputError("the name of the pack is <bad>")
        return SimpleNamespace(folder=Path(name))

    monkeypatch.setattr(session, "write", write)
    panel = QualityPanel(session)
    panel.controls["max_repetition"].value = 0.15
    panel.name.value = "mine"
    panel.button.click()
    assert asked == [([0, 1], "mine")] and "written: mine, 2 documents" in panel.result.value
    panel.name.value = "bad"
    panel.button.click()
    assert panel.result.value == "<p>error: the name of the pack is &lt;bad&gt;</p>"


def test_after_a_fault_nothing_is_shown_and_nothing_can_be_written(session, monkeypatch):
    panel = QualityPanel(session)

    def fails(kept):
        raise ValueError("<script>")

    with monkeypatch.context() as patched:
        patched.setattr(session, "picture", fails)
        panel.controls["max_repetition"].value = 0.2
    assert panel.button.disabled and bytes(panel.picture.value) == b""
    assert "fault in labkit" in panel.told.value and "<script>" not in panel.told.value
    panel.controls["max_repetition"].value = 0.3
    assert not panel.button.disabled and "documents kept" in panel.told.value
