from __future__ import annotations

import pytest

from labkit.diagnose.diagnoses import vendi_score, within_prompt


def test_known_answers():
    assert vendi_score(["a b c"] * 5) == pytest.approx(1)
    assert vendi_score(["a b", "c d", "e f", "g h"]) == pytest.approx(4)
    assert vendi_score(["a b", "a b", "c d", "c d"]) == pytest.approx(2)


def test_samples_of_any_length_count():
    assert within_prompt("a\nb") == pytest.approx(1) and within_prompt(
        "a b\n\na b"
    ) == pytest.approx(2 / 3, abs=0.1)
    assert within_prompt("a b c\na b c\na b c") == pytest.approx(1 / 3)
