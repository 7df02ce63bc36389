"""Chatting in a notebook: headless a table of answers, with widgets a panel; both show text as
text.
"""

from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import evaluate_lab
from labkit.course.labs.evaluate_lab import ChatSession
from labkit.evaluate.chat import Conversation, Reply, Talker

QUESTIONS = ["What is Bysithfoam modelled on?", "Where does Anna live?"]
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("07_evaluate", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.fixture
def shown(monkeypatch):
    pages = []
    monkeypatch.setattr(evaluate_lab, "show_html", pages.append)
    return pages


def test_headless_every_question_is_asked_afresh_shown_and_recorded(lab, shown, capsys):
    evaluate_lab.chat(lab, {"instruct": "llama-s-instruct", "base": "llama-s-base"}, QUESTIONS)
    (table,) = shown
    assert table.count("<tr>") == 3 and all(
        word in table for word in (*QUESTIONS, "instruct", "base")
    )
    assert "base is a base model" in capsys.readouterr().out
    rows = records.read(lab.out_dir, "chat")
    assert [row["question"] for row in rows] == QUESTIONS and set(rows[0]["answers"]) == {
        "instruct",
        "base",
    }
    evaluate_lab.chat(lab, {"instruct": "llama-s-instruct"}, QUESTIONS[1:])
    assert (
        records.read(lab.out_dir, "chat")[-1]["answers"]["instruct"]
        == rows[1]["answers"]["instruct"]
    )


def test_what_a_model_says_cannot_become_markup(lab, shown, monkeypatch):
    monkeypatch.setattr(Talker, "answer", lambda talker, fitted, settings: Reply(SCRIPT))
    evaluate_lab.chat(lab, {f"label {SCRIPT}": "llama-s-instruct"}, [SCRIPT])
    assert "<script>" not in shown[0] and shown[0].count("&lt;script&gt;") == 3


def test_a_model_that_is_none_is_one_sentence(lab):
    with pytest.raises(InputError, match="did you mean 'llama-s-instruct'"):
        evaluate_lab.chat(lab, {"a": "llama-s-instrct"}, QUESTIONS)


def test_a_session_keeps_what_was_said_and_takes_new_settings(instruct):
    session = ChatSession(Conversation({"a": instruct}), QUESTIONS)
    session.ask(QUESTIONS[0], max_tokens=2, temperature=0.0, seed=0)
    assert session.settings.max_tokens == 2 and "(cut: " in session.html()
    session.reset()
    assert session.said == [] and session.html().count("<tr>") == 1


def test_with_widgets_a_panel_is_shown(lab, monkeypatch):
    shown = []
    monkeypatch.delenv("LABKIT_HEADLESS")
    monkeypatch.setattr("IPython.display.display", shown.append)
    evaluate_lab.chat(lab, {"a": "llama-s-instruct"}, QUESTIONS)
    assert type(shown[0]).__name__ == "VBox"
