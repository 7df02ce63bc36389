from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from labkit.data import leaks

TEXT = (
    "The beam was heated to six hundred degrees, held for two hours and then cooled in oil "
    "before any load was put on it at all."
)


def jaccard(first: str, second: str) -> float:
    a, b = set(leaks.shingle_hashes(first).tolist()), set(leaks.shingle_hashes(second).tolist())
    return len(a & b) / len(a | b)


def words(*numbers: int) -> str:
    return " ".join(f"word{number}" for number in numbers)


def test_shingles_are_runs_of_five_words_whatever_the_case_and_punctuation():
    assert len(leaks.shingle_hashes(words(*range(9)))) == 5
    assert np.array_equal(
        leaks.shingle_hashes("One, two; three! Four five"),
        leaks.shingle_hashes("one two three four FIVE"),
    )
    assert len(leaks.shingle_hashes("two words")) == 1 and len(leaks.shingle_hashes(" ?! ")) == 0
    assert jaccard(words(*range(9)), words(*range(1, 10))) == 4 / 6


def test_order_of_words_counts():
    assert jaccard(words(1, 2, 3, 4, 5), words(5, 4, 3, 2, 1)) == 0


def test_hashes_are_the_same_in_another_process():
    code = f"from labkit.data import leaks; print(leaks.shingle_hashes({TEXT!r}).tolist())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == str(
        leaks.shingle_hashes(TEXT).tolist()
    )


def test_finds_copies_and_near_copies_and_names_the_first():
    near = TEXT.replace("at all", "today")
    assert jaccard(TEXT, near) > 0.8
    assert leaks.near_duplicates(
        [TEXT, "something else entirely is said here", near, TEXT.upper(), "short"]
    ) == [None, None, 0, 0, None]


@pytest.mark.parametrize(
    "text,near",
    [
        (TEXT, TEXT.replace("heated", "hea\u200bted").replace("oil", "o\u2060il")),
        (
            "钢环在炉中加热到九百度，保持两小时，然后放入油中冷却。" * 3 + "完",
            "钢环在炉中加热到九百度，保持两小时，然后放入油中冷却。" * 3,
        ),
        ("كُتِبَ هذا النَّصُّ لكي يُقرأ مرتين في يوم واحد", "كتب هذا النص لكي يقرأ مرتين في يوم واحد"),
    ],
)
def test_near_copies_in_every_script(text, near):
    assert leaks.near_duplicates([text, near]) == [None, 0]


def test_different_chinese_texts_are_not_copies():
    assert (
        leaks.near_duplicates(["钢环在炉中加热到九百度。", "橡木桶在地窖里放了三年。"])
        == [None] * 2
    )


def test_threshold_parts_near_from_far():
    """Texts of 200 words with a changed share: far above the threshold all are found, far below
    none.
    """
    base = list(range(200))
    far = [words(*base)] + [
        words(*(base[:60] + [1000 * n + i for i in range(140)])) for n in range(1, 31)
    ]
    near = [words(*base)] + [
        words(*(base[:190] + [1000 * n + i for i in range(10)])) for n in range(1, 31)
    ]
    assert jaccard(far[0], far[1]) < 0.3 and jaccard(near[0], near[1]) > 0.9
    assert leaks.near_duplicates(far) == [None] * 31
    assert leaks.near_duplicates(near) == [None] + [0] * 30


def test_an_index_is_always_that_of_a_kept_text():
    """A chain of small changes: what equals only a dropped text is kept itself."""
    chain = [words(*range(start, start + 100)) for start in range(0, 60, 6)]
    marks = leaks.near_duplicates(chain)
    assert marks[0] is None and marks[1] == 0 and marks[-1] != 0
    assert all(marks[mark] is None for mark in marks if mark is not None)


def test_texts_without_words_equal_nothing():
    assert leaks.near_duplicates(["", "...", "", "!"]) == [None] * 4


def test_texts_are_read_one_by_one():
    def stream():
        for number in range(50):
            yield words(*range(number * 100, number * 100 + 30))

    assert leaks.near_duplicates(stream()) == [None] * 50


@pytest.mark.parametrize("text", ["\ud800 half a character", "漢字" * 300, "a" * 100_000])
def test_odd_texts(text):
    assert leaks.near_duplicates([text, text]) == [None, 0]


def test_long_texts_are_signed_in_batches():
    long = words(*range(3 * leaks.BATCH))
    first, second = (leaks.signature(leaks.shingle_hashes(t)) for t in (long, long + " end"))
    assert first.jaccard(second) > 0.95
