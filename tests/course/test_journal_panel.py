"""The widgets without a browser: moving a value does what a hand on it does."""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.course.panels import ChoicePanel, GuessPanel, ReflectionPanel

NASTY = '<img src=x onerror="alert(1)">'


def refuse(*_):
    raise InputError(f"too long {NASTY}")


def test_a_guess_is_kept_when_moved_or_confirmed_and_not_before():
    kept = []
    panel = GuessPanel("How many?", 0, 1, None, lambda value: kept.append(value) or "kept")
    assert panel.value == 0.5 and not panel.committed and kept == []
    panel.button.click()
    assert kept == [0.5] and panel.committed
    panel.slider.value = 0.7
    assert kept == [0.5, 0.7] and "kept" in panel.told.value and not panel.slider.continuous_update


def test_a_guess_from_before_is_shown_and_not_kept_again():
    kept = []
    panel = GuessPanel("How many?", -1, 1, 0.25, kept.append)
    assert panel.value == 0.25 and panel.committed and kept == [] and "0.25" in panel.told.value


@pytest.mark.parametrize(
    "start,words", [(0.3, "Your guess of 0.30 stays"), (None, "it is too late to guess")]
)
def test_after_the_outcome_a_guess_is_closed(start, words):
    panel = GuessPanel("How many?", 0, 1, start, lambda value: "kept")
    panel.close()
    assert panel.slider.disabled and panel.button.disabled and words in panel.told.value


def test_a_choice_is_checked_at_once_and_may_be_changed():
    checked = []
    panel = ChoicePanel(
        "Which?",
        ("this", "that"),
        None,
        lambda place: checked.append(place) or ("Right.", "Because."),
    )
    assert panel.choice.value is None
    panel.button.click()
    assert checked == [] and "Choose an option first" in panel.told.value
    panel.choice.value = 1
    assert panel.told.value == ""
    panel.button.click()
    assert checked == [1] and "Right." in panel.told.value and "Because." in panel.told.value


def test_a_choice_from_before_is_shown_with_its_check():
    panel = ChoicePanel(
        "Which?", ("this", "that"), 0, lambda place: ("Not right.", f"place {place}")
    )
    assert panel.choice.value == 0 and "place 0" in panel.told.value


def test_a_reflection_is_kept_when_the_field_is_left():
    kept = []
    panel = ReflectionPanel("Why?", "old words", lambda text: kept.append(text) or "Kept.")
    assert (
        panel.area.value == "old words"
        and "Kept from before" in panel.told.value
        and not panel.area.continuous_update
    )
    panel.area.value = "new words"
    assert kept == ["new words"] and panel.told.value.count("Kept.") == 1


def test_text_is_escaped_and_an_error_is_a_sentence():
    reflection = ReflectionPanel(NASTY, NASTY, refuse)
    reflection.area.value = "more"
    choice = ChoicePanel(NASTY, (NASTY, "b"), 0, lambda place: (NASTY, NASTY))
    guess = GuessPanel(NASTY, 0, 1, None, refuse)
    guess.button.click()
    assert (
        not guess.committed
        and "error: too long" in guess.told.value
        and "error: too long" in reflection.told.value
    )
    shown = [
        child.value
        for panel in (reflection, choice, guess)
        for child in panel.whole.children
        if type(child).__name__ == "HTML"
    ]
    assert len(shown) == 6 and all("<img" not in html for html in shown)


def test_controls_say_what_they_are_for():
    panels = (
        ReflectionPanel("Why?", "", str).area,
        ChoicePanel("Which?", ("a", "b"), None, refuse).choice,
        GuessPanel("How many?", 0, 1, None, str).slider,
    )
    assert all(control.description and control.tooltip for control in panels)
