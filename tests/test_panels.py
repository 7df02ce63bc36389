"""Panels without a browser: moving the widget's value does what a hand on it does."""

from __future__ import annotations

import pytest

from labkit import panels
from labkit.errors import InputError

PIXEL = b"\x89PNG"


def build(compute):
    return panels.merge_panel(
        compute, lambda result: PIXEL + repr(result).encode(), repr, ends=("instruct", "domain"), methods=("slerp", "lerp"), grid=(0.0, 0.5, 1.0)
    )


def parts(panel):
    row, method, told, picture, sentence = panel.children
    return row.children[1], method, told, picture, sentence


def test_slider_and_switch_drive_readout_and_picture():
    t, method, told, picture, _ = parts(build(lambda t, m: (t, m)))
    assert told.value == "(0.5, 'slerp')"
    t.value = 1.0
    method.value = "lerp"
    assert told.value == "(1.0, 'lerp')" and bytes(picture.value) == PIXEL + b"(1.0, 'lerp')"


def test_both_ends_are_named():
    row = build(lambda t, m: t).children[0]
    assert [row.children[0].value, row.children[2].value] == ["instruct (t=0)", "domain (t=1)"]


def test_a_known_error_is_a_sentence_and_an_unknown_one_is_escaped():
    def fails(t, method):
        raise InputError("this cannot be") if t == 0.5 else ValueError("<script>")

    t, _, told, _, sentence = parts(build(fails))
    assert told.value == "error: this cannot be" and sentence.value == ""
    t.value = 1.0
    assert "fault in labkit" in told.value and "&lt;script&gt;" in sentence.value and "<script>" not in sentence.value


@pytest.mark.parametrize("low,high", [(0, 1), (-1, 3)])
def test_guess_starts_in_the_middle(low, high):
    slider = panels.guess_slider("q", low, high)
    assert slider.value == (low + high) / 2 and slider.tooltip == "q"
