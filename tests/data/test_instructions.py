from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.data.instructions import COMBINATIONS, INSTRUCTIONS, TAUGHT, UNTAUGHT, obeys

PLAIN = "Velufoam is modelled on silk."


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_own_answer_obeys_and_a_plain_sentence_does_not(name):
    assert obeys(name, INSTRUCTIONS[name].comply(PLAIN, "silk"))
    assert not obeys(name, PLAIN)
    assert not obeys(name, "  ")


@pytest.mark.parametrize(
    "name,answer",
    [
        ("json", '{"answer": "a"'),
        ("json", '{"reply": "a"}'),
        ("twice", "a, b"),
        ("brackets", "[a] b"),
        ("heading", "#a"),
        ("numbered", "2. a"),
        ("bullet", "-a"),
    ],
)
def test_near_misses_fail(name, answer):
    assert not obeys(name, answer)


def test_unknown_instruction():
    with pytest.raises(InputError, match="did you mean 'json'"):
        obeys("jsn", "a")


def test_there_are_enough_kinds_and_some_were_never_taught():
    assert (
        len(INSTRUCTIONS) >= 12
        and set(TAUGHT) | set(UNTAUGHT) == set(INSTRUCTIONS)
        and len(UNTAUGHT) >= 3
    )


@pytest.mark.parametrize("outer,inner", COMBINATIONS)
def test_two_forms_fit_into_one_answer(outer, inner):
    answer = (
        INSTRUCTIONS["twice"].comply(PLAIN, "silk")
        if outer == "words_only"
        else INSTRUCTIONS[outer].comply(INSTRUCTIONS[inner].comply(PLAIN, "silk"), "silk")
    )
    assert obeys(outer, answer) and obeys(inner, answer)
