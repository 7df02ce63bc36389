from __future__ import annotations

import math
from dataclasses import replace

import pytest

from labkit.base.stats import Interval
from labkit.course import journal, journal_figures
from labkit.course.figures import png
from labkit.course.journal import Prediction

ONE = Prediction(
    "a",
    "How many?",
    "03_cpt",
    0.4,
    Interval(0.5, 0.45, 0.6, 60, 20),
    False,
    0.0,
    1.0,
    journal.COMMITTED,
)
HOURS = replace(
    ONE,
    id="b",
    question="Hours of the paper's training " * 9,
    notebook="08_scale",
    guess=24.0,
    measured=Interval(130, -math.inf, math.inf, 5, 5),
    high=200.0,
)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_guesses_stand_on_their_own_scales_with_their_values():
    figure = journal_figures.guesses([ONE, HOURS])
    (ax,) = figure.axes
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [float(star.get_xdata()[0]) for star in stars] == pytest.approx([0.4, 0.12])
    assert texts(ax) == ["0.4 / 0.5", "24 / 130", "guess / measured"]
    assert all(label.get_text().count("\n") <= 2 for label in ax.get_yticklabels())
    assert png(figure).startswith(b"\x89PNG")


def test_a_default_that_nobody_guessed_is_no_star():
    nobodys = replace(ONE, id="d", made=journal.DEFAULT)
    for found, stars, words in (
        ([nobodys], 0, ["default guess (nobody guessed)"]),
        ([ONE, nobodys], 1, ["your guess", "default guess (nobody guessed)"]),
    ):
        figure = journal_figures.guesses(found)
        assert sum(line.get_marker() == "*" for line in figure.axes[0].lines) == stars
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [word for word in legend if "guess" in word] == words
    assert "0.4 (default, nobody guessed), measured" in journal_figures.guesses_alt([nobodys])


def test_nothing_is_drawn_beyond_the_slider():
    assert journal_figures._bounded(HOURS) == (0.0, 0.65, 1.0)


def test_calibration_draws_every_guess_and_a_mean_where_there_are_enough():
    found = [replace(ONE, id=str(i), guess=0.8 + i / 50) for i in range(4)] + [HOURS]
    figure = journal_figures.calibration(journal.calibration(found))
    left, right = figure.axes
    assert (
        sum(len(container) > 0 for container in left.containers) == 5 and len(right.containers) == 1
    )
    told = [label.get_text().replace("\n", " ") for label in right.get_yticklabels()]
    assert told == ["training: you guess too high", "scale and cost: too few to tell"]
    png(figure)
    box, page = right.xaxis.label.get_window_extent(), figure.bbox
    assert box.x0 >= 0 and box.x1 <= page.x1


def test_topics_differ_in_more_than_colour():
    assert len({style["marker"] for style in journal_figures.STYLES.values()}) == len(
        journal_figures.STYLES
    )


def test_alt_text_says_what_the_figure_shows():
    assert "How many?: 0.4, measured 0.50 [0.45, 0.60]" in journal_figures.guesses_alt([ONE])
    alt = journal_figures.calibration_alt(journal.calibration([ONE]))
    assert (
        "0 of 1 guesses" in alt and "training, 1 guesses: mean error -0.10, too few to tell" in alt
    )
