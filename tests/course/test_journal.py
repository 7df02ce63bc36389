from __future__ import annotations

import json
import math

import pytest
from scipy import stats as scipy_stats

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.course import journal

ME = {"learner": "me", "pack": "materials", "profile": "smoke", "seed": 0}


def prediction(
    folder,
    id,
    guess,
    mean,
    *,
    half=0.1,
    low=0.0,
    high=1.0,
    notebook="03_cpt",
    made=journal.COMMITTED,
    **common,
):
    measured = Interval(mean, mean - half, mean + half, 60, 20)
    records.append(
        folder,
        "prediction",
        **ME | common,
        notebook=notebook,
        id=id,
        question=f"{id}?",
        guess=guess,
        measured=measured.as_dict(),
        inside=measured.holds(guess),
        low=low,
        high=high,
        made=made,
    )


def told(folder):
    return journal.calibration(journal.predictions(folder, "me"))


# --- what is written


def test_pasted_line_ends_survive_the_file(tmp_path):
    """U+2028 and its kind end a line for Python: as they are, they would break the records file."""
    text = journal.plain_text("one\u2028two\x85three\r\nfour\x0bfive  ")
    records.append(tmp_path, "reflection", id="a", text=text)
    assert records.read(tmp_path)[0]["text"] == "one\ntwo\nthree\nfour\nfive"


@pytest.mark.parametrize(
    "text,words",
    [("x" * 5001, "5,001 characters; shorten it to 5,000"), ("a \ud83d b", "half a character")],
)
def test_text_that_cannot_be_kept_is_refused_in_a_sentence(text, words):
    with pytest.raises(InputError, match=words):
        journal.plain_text(text)


def test_a_learners_key_holds_nothing_of_the_name():
    keys = {journal.learner_key(name) for name in ("me", "Me", "../../etc", "Ада")}
    assert len(keys) == 4 and all(key.isalnum() and len(key) == 12 for key in keys)


def test_an_exercise_records_words_not_places():
    exercise = journal.Exercise(
        question="Which?", options=("this", "that"), right="that", why="Because."
    )
    assert exercise.as_record(0) == {
        "question": "Which?",
        "choice": "this",
        "right": False,
        "expected": "that",
        "why": "Because.",
    }
    assert (exercise.verdict(1), exercise.verdict(0)) == ("Right.", "Not right.")


def test_before_and_after_stand_beside_each_other(tmp_path):
    for id, text in (
        ("critical_1_before", "old"),
        ("critical_1", "a draft"),
        ("critical_1", "new"),
        ("critical_3", "late"),
    ):
        records.append(tmp_path, "reflection", **ME, id=id, text=text)
    records.append(
        tmp_path, "reflection", learner="somebody else", id="critical_2", text="not mine"
    )
    rows = journal.before_and_after(tmp_path, "me")
    assert [(row["before"], row["after"]) for row in rows] == [
        ("old", "new"),
        ("", ""),
        ("", "late"),
    ]
    assert tuple(row["question"] for row in rows) == journal.CRITICAL_QUESTIONS


# --- progress


@pytest.fixture
def two_notebooks(tmp_path, monkeypatch):
    """03_cpt asks for a guess, an answer and a text; 04_sft for nothing."""
    asked = {
        "03_cpt": [
            journal.Step("predict", "p"),
            journal.Step("ask", "q"),
            journal.Step("reflect", "r"),
        ],
        "04_sft": [],
    }
    monkeypatch.setattr(
        journal, "course_notebooks", lambda: [tmp_path / f"{name}.ipynb" for name in asked]
    )
    monkeypatch.setattr(journal, "steps", lambda path: asked[path.stem])
    return tmp_path


def test_progress_counts_what_has_an_outcome_an_answer_or_a_text(two_notebooks):
    folder = two_notebooks

    def states():
        return [str(one) for one in journal.progress(folder, "me")]

    assert states() == ["not opened", "not opened"]
    records.append(folder, "session", **ME, notebook="03_cpt")
    records.append(folder, "session", **ME, notebook="04_sft")
    records.append(folder, "guess", **ME, notebook="03_cpt", id="p")
    assert states() == ["0 of 3 steps", "done"]
    prediction(folder, "p", 0.5, 0.5)
    records.append(folder, "answer", **ME, notebook="03_cpt", id="q", right=False)
    records.append(folder, "reflection", **ME, notebook="03_cpt", id="r", text="written")
    assert states() == ["done", "done"]
    assert (
        journal.told_progress(journal.progress(folder, "me"))
        == "2 of 2 notebooks done; 3 of 3 guesses, exercises and reflections."
    )
    records.append(folder, "reflection", **ME, notebook="03_cpt", id="r", text="")
    assert states()[0] == "2 of 3 steps" and journal.told_steps(folder, "me", "03_cpt").startswith(
        "This notebook: 2 of 3"
    )
    assert [str(one) for one in journal.progress(folder, "somebody else")] == [
        "not opened",
        "not opened",
    ]
    assert journal.told_steps(folder, "me", "of my own") == ""


# --- calibration


def test_the_latest_record_of_a_guess_counts_and_sessions_are_apart(tmp_path):
    prediction(tmp_path, "a", 0.2, 0.9)
    prediction(tmp_path, "a", 0.3, 0.5)
    prediction(tmp_path, "a", 0.4, 0.5, seed=1)
    prediction(tmp_path, "a", 0.9, 0.5, learner="somebody else")
    assert [one.guess for one in journal.predictions(tmp_path, "me")] == [0.3, 0.4]


def test_errors_are_shares_of_the_scale(tmp_path):
    prediction(tmp_path, "hours", 24, 130, low=0, high=200, half=0)
    prediction(tmp_path, "difference", 0.5, 0.1, low=-1)
    hours, difference = journal.predictions(tmp_path, "me")
    assert (
        hours.error == pytest.approx(-0.53)
        and difference.error == pytest.approx(0.2)
        and difference.place(0.0) == 0.5
    )
    assert told(tmp_path).mean_absolute_error == pytest.approx((0.53 + 0.2) / 2)


def test_a_record_without_scale_is_read_as_a_share(tmp_path):
    row = {
        **ME,
        "notebook": "03_cpt",
        "id": "a",
        "question": "?",
        "guess": 0.5,
        "inside": True,
        "measured": Interval(0.4, 0.3, 0.6, 9, 9).as_dict(),
    }
    records.append(tmp_path, "prediction", **row)
    (one,) = journal.predictions(tmp_path, "me")
    assert (one.low, one.high, one.made) == (0, 1, journal.COMMITTED)


def test_sliders_left_alone_do_not_count(tmp_path):
    prediction(tmp_path, "a", 0.5, 0.5, made=journal.UNTOUCHED)
    assert told(tmp_path) is None
    prediction(tmp_path, "b", 0.5, 0.9)
    found = told(tmp_path)
    assert (
        len(found.left_out) == 1
        and len(found.found) == 1
        and found.sentences()[-1].startswith("1 not counted")
    )


def test_what_nobody_guessed_is_counted_nowhere_and_told(tmp_path):
    for i in range(5):
        prediction(tmp_path, f"d{i}", 0.5, 0.5, made=journal.DEFAULT)
    found = journal.predictions(tmp_path, "me")
    assert journal.calibration(found) is None
    said = "5 not counted: default guess (nobody guessed)."
    assert journal.told_inside(found) == [said] and journal.told_none(found).startswith(said)
    prediction(tmp_path, "mine", 0.5, 0.9)
    sentences = told(tmp_path).sentences()
    assert sentences[0] == "0 of 1 guesses fell inside the measured interval."
    assert sentences[-1] == said and len(told(tmp_path).overall.errors) == 1


def test_few_guesses_tell_nothing_of_a_habit(tmp_path):
    for i in range(3):
        prediction(tmp_path, f"a{i}", 0.9, 0.1 + i / 50)
    found = told(tmp_path)
    assert found.overall.interval is None and str(found.overall) == "too few to tell"
    assert found.sentences()[0] == "0 of 3 guesses fell inside the measured interval."
    prediction(tmp_path, "a3", 0.9, 0.2)
    assert (
        str(told(tmp_path).overall) == "you guess too high"
        and "95% interval 0% to" in told(tmp_path).sentences()[0]
    )


def test_bias_is_told_per_topic(tmp_path):
    for i in range(4):
        prediction(tmp_path, f"low{i}", 0.1, 0.5 + i / 50, notebook="08_scale")
        prediction(tmp_path, f"mixed{i}", 0.5, (0.1, 0.9, 0.2, 0.8)[i], notebook="06_merge")
    prediction(tmp_path, "own", 0.5, 0.5, notebook="my_own")
    assert {row[0]: row[3] for row in told(tmp_path).topic_rows()} == {
        "merging": "no bias to be seen",
        "scale and cost": "you guess too low",
        journal.OTHER: "too few to tell",
    }


def test_every_numbered_notebook_that_asks_for_a_guess_has_a_topic():
    asking = [
        path.stem
        for path in journal.course_notebooks()
        if any(step.kind == "predict" for step in journal.steps(path))
    ]
    numbers = [number for numbers in journal.TOPICS.values() for number in numbers]
    assert len(set(numbers)) == len(numbers) and {name[:2] for name in asking} <= set(numbers)
    half_hour = journal.steps(journal.named_notebooks()["half_hour"])
    assert {step.id for step in half_hour if step.kind == "predict"} <= set(numbers)


def test_what_is_known_exactly_can_only_be_near(tmp_path):
    prediction(tmp_path, "exact", 0.6, 0.67, half=0)
    prediction(tmp_path, "hit", 0.5, 0.5)
    first, second, *_ = told(tmp_path).sentences()
    assert first == "1 of 1 guesses fell inside the measured interval." and second.startswith(
        "1 of the guesses were about numbers"
    )
    assert [one.told_measured for one in journal.predictions(tmp_path, "me")] == [
        "0.67",
        "0.50 [0.40, 0.60]",
    ]


def test_the_interval_is_students():
    values = (0.1, -0.2, 0.4, 0.3, 0.25)
    found, mean = journal.student(values), sum(values) / 5
    low, high = scipy_stats.t.interval(0.95, 4, loc=mean, scale=scipy_stats.sem(values))
    assert (
        math.isclose(found.low, low, rel_tol=1e-9)
        and math.isclose(found.high, high, rel_tol=1e-9)
        and found.n == 5
    )


def test_cases_to_match_are_steps_where_they_stand(tmp_path):
    cell = {"cell_type": "code", "source": 'lab.ask("a")\nlab.match_cases()\nlab.reflect("b", "?")'}
    path = tmp_path / "00_warm_up.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), "utf-8")
    first, *matched, last = [step.id for step in journal.steps(path)]
    assert (first, matched, last) == ("a", [*journal.cases("00_warm_up")], "b")


def test_the_course_ends_with_the_lessons_reflections_and_a_closing_statement():
    path = journal.notebooks_folder() / "10_report.ipynb"
    asked = [step.id for step in journal.steps(path) if step.kind == "reflect"]
    assert asked == [
        *(f"critical_{i}" for i in (1, 2, 3)),
        *(f"report_{id}" for id in ("finetuning", "surprise", "merging", "vendor", "limits")),
        *(f"closing_{id}" for id in ("sequence", "kept", "fails")),
    ]
