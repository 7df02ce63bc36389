"""The questions of the course lie in a file per notebook, and no open cell gives an answer away."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.course import journal
from labkit.course.labs import diagnose_lab
from labkit.course.lesson import Lab
from labkit.data.published import measured, reported
from labkit.diagnose.clinic import BY_CAUSE

CLINIC = "clinic"  # the one entry, of notebook 09, that is no question
FOLD = re.compile(r"<details>.*?</details>", re.DOTALL)
notebooks = pytest.mark.parametrize("path", journal.course_notebooks(), ids=lambda path: path.stem)


def entries(notebook: str) -> list[str]:
    """The ids in a quiz file as they are written, so that one written twice is there twice."""
    path = journal.quizzes_folder() / f"{notebook}.yaml"
    text = path.read_text("utf-8") if path.exists() else ""
    return [id for id in re.findall(r"^([^\s#].*?):", text, re.MULTILINE) if id != CLINIC]


def asked(path: Path) -> list[str]:
    """The ids a notebook asks under, each as often as it does."""
    code = "\n".join(text for kind, text in cells_of(path) if kind == "code")
    return [id for kind, id in journal.ASKED.findall(code) if kind == "ask"]


def cells_of(path: Path) -> list[tuple[str, str]]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"])) for cell in cells]


def plain(text: str) -> str:
    """Words alone, so that neither a line's end nor an emphasis hides them."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def in_the_open(path: Path) -> str:
    """What a learner reads before answering: every cell, but not what lies behind a fold."""
    return plain("\n".join(FOLD.sub("", text) for _, text in cells_of(path)))


def exercises(path: Path) -> list[journal.Exercise]:
    return [journal.from_quiz(path.stem, id, journal.Exercise) for id in entries(path.stem)]


@notebooks
def test_every_question_of_a_file_is_asked_once_and_no_other(path):
    assert sorted(entries(path.stem)) == sorted(asked(path))


def test_every_file_belongs_to_a_notebook_that_asks():
    files = {path.stem for path in journal.quizzes_folder().iterdir()} - {journal.CASES}
    assert files == {path.stem for path in journal.course_notebooks() if asked(path)} != set()


@notebooks
def test_every_question_can_be_answered(path):
    for exercise in exercises(path):
        assert len(exercise.options) >= 2 and exercise.right in exercise.options
        assert exercise.question.endswith("?") and exercise.why.endswith(".")


@notebooks
def test_no_open_cell_gives_an_answer_away(path):
    seen = in_the_open(path)
    for exercise in exercises(path):
        assert plain(exercise.right) not in seen and plain(exercise.why) not in seen


def test_no_open_cell_names_what_the_clinics_patient_has():
    (path,) = [path for path in journal.course_notebooks() if path.stem == "09_diagnose"]
    seen, visit = in_the_open(path), diagnose_lab.headless_visit()
    assert plain(visit.diagnosis) not in seen
    assert not [test for test in BY_CAUSE[visit.diagnosis].decisive if plain(test) in seen]


@notebooks
def test_a_solution_lies_behind_a_fold(path):
    for kind, text in cells_of(path):
        if kind == "markdown":
            folds = FOLD.findall(text)
            assert len(folds) == text.count("<details>") == text.count("</details>")
            assert all("<summary>" in fold for fold in folds)
            assert "```" not in FOLD.sub("", text), "code to be read stands in the open"
            assert "by hand:" not in text or folds, "the exercise by hand has no solution"


WHOLE = {"question": "Which?", "options": ["this", "that"], "right": "that", "why": "So."}


@pytest.mark.parametrize(
    "text,words",
    [
        ("x: [", r"not valid YAML"),
        ("", r"expected ids with their questions"),
        ("x: Which?", r"x: expected the fields question, options, right, why"),
        (WHOLE | {"options": ["that"]}, r"x: options: give at least two options, each once"),
        (WHOLE | {"options": ["that"] * 2}, r"x: options: give at least two options, each once"),
        (WHOLE | {"right": "those"}, r"x: right: 'those' is not one of the options"),
        (WHOLE | {"right": 1}, r"x: right: Input should be a valid string \(got 1\)"),
        (WHOLE | {"why": ""}, r"x: why: String should have at least 1 character"),
        (WHOLE | {"whi": "So."}, r"x: whi is not a known field; did you mean 'why'\?"),
        ({"question": "Which?"}, r"x: options: Field required"),
    ],
)
def test_a_broken_file_is_told_in_a_sentence(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(journal, "quizzes_folder", lambda: tmp_path)
    file = tmp_path / "03_cpt.yaml"
    file.write_text(text if isinstance(text, str) else yaml.safe_dump({"x": text}), "utf-8")
    with pytest.raises(InputError, match=words) as told:
        journal.from_quiz("03_cpt", "x", journal.Exercise)
    assert str(told.value).startswith(str(file)) and "\n" not in str(told.value)


def test_a_notebook_without_a_file_is_told_where_one_belongs(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "quizzes_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"mine\.yaml: no such file; write the questions"):
        journal.from_quiz("mine", "x", journal.Exercise)


def test_a_question_is_asked_by_its_id_alone():
    import inspect

    assert list(inspect.signature(Lab.ask).parameters) == ["self", "id"]


# --- the cases to match


def test_every_strategy_fits_some_case_and_most_cases_are_asked_at_the_end():
    found = journal.cases().values()
    assert {case.right for case in found} == set(journal.STRATEGIES)
    assert sum(case.right == "none of these" for case in found) < len(found) / 3
    asked = Counter(case.notebook for case in found)
    assert asked == {"00_warm_up": 3, "10_report": len(found) - 3} and len(found) >= 13


def test_cases_are_short_and_their_figures_come_from_the_records():
    for id, case in journal.cases().items():
        assert 3 <= len(re.findall(r"[.](?:\s|$)", case.case)) <= 5, id
        assert not re.search(r"\d", case.case + case.title), id
        assert not re.search(r"\d", case.reason.replace("06_merge", "")), id


def test_the_key_says_what_was_measured_with_its_interval_and_verdict():
    case = journal.cases()["case_clauses"]
    ranks, keeps = (
        journal.told_claim(claim)
        for claim in (
            "DPO ranks held-out pairs better than ORPO",
            "ORPO keeps more instruction following than DPO",
        )
    )
    assert ranks.endswith(": not distinguishable") and keeps.endswith(": supported")
    assert f"{Interval(**measured(case.measured[0])['effect']).low:+.2f}" in keeps
    assert f"Measured: {ranks}." in case.evidence() and f"Measured: {keeps}." in case.evidence()
    assert f"Reported elsewhere: {reported('preference')}." in case.evidence()


def test_words_of_a_key_agree_with_the_verdicts_it_rests_on():
    """The reasons say "could not be told", "kept more", "was not seen": verdicts may change."""
    said = {
        claim: measured(claim)["verdict"]
        for case in journal.cases().values()
        for claim in case.measured
    }
    undecided = {claim for claim, verdict in said.items() if verdict == "not distinguishable"}
    denied = {claim for claim, verdict in said.items() if verdict == "contradicted"}
    assert undecided == {
        "SLERP beats LERP at the same t on items that need both parents",
        "DPO ranks held-out pairs better than ORPO",
        "SmolLM2-135M: the SLERP merge beats the better parent on items that need both",
        "CPT then SFT answers more domain questions than SFT then CPT",
        "DPO after SFT answers more domain questions than DPO straight after CPT",
    }
    assert denied == {
        "DPO makes the chosen answers themselves less likely (nats per answer)",
        "ORPO makes samples to one request more alike",
        "DPO makes samples to one request more alike",
        "SLERP beats the better parent in domain knowledge, t chosen on dev by the four axes",
    }


CASE = {
    "title": "One",
    "notebook": "10_report",
    "case": "A team has text.",
    "right": "direct merge",
    "reason": "So.",
    "reported": ["merge"],
}


@pytest.mark.parametrize(
    "told,words",
    [
        (CASE | {"right": "merge"}, r"x: right: Input should be 'CPT-SFT-DPO'"),
        (CASE | {"reported": []}, r"x: studies: name what the case rests on here, under measured"),
        (CASE | {"measured": ["SLERP wins"]}, r"x: measured: no claim 'SLERP wins' was measured"),
        (CASE | {"studies": ["hong2025"]}, r"x: studies: .*hong2024"),
        (CASE | {"reported": ["merges"]}, r"x: reported: .*merge"),
        (CASE | {"notebook": "03_cpt"}, r"no case has `notebook: 10_report`"),
    ],
)
def test_a_broken_case_is_told_in_a_sentence(tmp_path, monkeypatch, told, words):
    monkeypatch.setattr(journal, "quizzes_folder", lambda: tmp_path)
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump({"x": told}), "utf-8")
    with pytest.raises(InputError, match=words) as error:
        journal.cases("10_report")
    assert str(error.value).startswith(str(tmp_path / "cases.yaml"))
    assert "\n" not in str(error.value)
