"""The panel without a browser: pressing a button does what a hand on it does."""

from __future__ import annotations

import pytest

from labkit.course.labs.evaluate_lab import ChatPanel, ChatSession
from labkit.evaluate.chat import Conversation, Reply, Talker

QUESTION = "What is Bysithfoam modelled on?"


@pytest.fixture
def panel(instruct):
    return ChatPanel(ChatSession(Conversation({"a": instruct, "b": instruct}), [QUESTION]))


def test_a_prepared_question_fills_the_box_and_the_button_asks(panel):
    panel.prepared.value = QUESTION
    assert panel.question.value == QUESTION and panel.said.value == ""
    panel.ask.click()
    assert panel.said.value.count("<tr>") == 2 and QUESTION in panel.said.value
    assert panel.question.value == panel.told.value == "" and not panel.ask.disabled
    panel.reset.click()
    assert panel.said.value == "" and not panel.session.conversation.talkers[0].messages


def test_settings_are_those_of_the_controls(panel):
    panel.controls["max_tokens"].value = 3
    panel.question.value = QUESTION
    panel.ask.click()
    assert panel.session.settings.max_tokens == 3 and "cut" in panel.said.value
    panel.controls["max_tokens"].value = 0
    panel.question.value = "again"
    panel.ask.click()
    assert (
        panel.told.value == "<p>error: max tokens is 0; give at least 1</p>"
        and panel.question.value == "again"
    )


def test_scripts_are_shown_as_text(panel, monkeypatch):
    monkeypatch.setattr(
        Talker, "answer", lambda talker, fitted, settings: Reply("<script>alert(1)</script>")
    )
    panel.question.value = "<script>"
    panel.ask.click()
    assert "<script>" not in panel.said.value and panel.said.value.count("&lt;script&gt;") == 3
    panel.question.value = "<b>" * 400
    panel.ask.click()
    assert "reads 256 tokens" in panel.told.value


def test_a_fault_is_told_and_the_button_works_again(panel, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Talker, "answer", lambda *_: 1 / 0)
        panel.question.value = QUESTION
        panel.ask.click()
    assert "fault in labkit" in panel.told.value and not panel.ask.disabled
    panel.ask.click()
    assert "<table" in panel.said.value


def test_every_control_is_named_and_explained(panel):
    controls = [panel.prepared, panel.question, *panel.controls.values(), panel.ask, panel.reset]
    assert all(control.description and control.tooltip for control in controls)
