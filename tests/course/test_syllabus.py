from __future__ import annotations

import ast
import inspect
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from labkit.base.stats import Interval
from labkit.course import journal
from labkit.course.execute import EXPECTED_SECONDS
from labkit.course.journal import Exercise, Step, from_quiz
from labkit.course.lesson import Lab
from labkit.course.lesson import start as lesson_start
from labkit.data.packs import load_pack, shipped_packs
from labkit.data.published import measured_claims, measured_data, measured_scale
from labkit.models.families import LADDER

UNDECIDED = "not distinguishable"


def test_steps_are_read_from_code_in_order_and_once(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ['lab.ask("not_code")']},
        {
            "cell_type": "code",
            "source": ['guess = lab.predict("a", "How many?")\n', "%matplotlib inline\n"],
        },
        {
            "cell_type": "code",
            "source": 'lab.ask(\n    "b"\n)\nlab.predict("a", '
            '"How many?")\nlab.reflect("c-1", "Why?")',
        },
        {"cell_type": "code", "source": 'lab.record("d")\ncollab.ask("e")'},
    ]
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert journal.steps(path) == [Step("predict", "a"), Step("ask", "b"), Step("reflect", "c-1")]


def test_the_course_asks_nothing_twice_under_one_id():
    found = Counter(
        step for notebook in journal.course_notebooks() for step in journal.steps(notebook)
    )
    assert found and not [step for step, times in found.items() if times > 1]


def test_every_question_has_an_id_that_can_be_read():
    """A step whose id is not written out would not count as progress."""
    for notebook in journal.course_notebooks():
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        asked = sum(code.count(f"lab.{kind}(") for kind in ("predict", "ask", "reflect"))
        if "lab.match_cases(" in code:
            asked += len(journal.cases(notebook.stem))
        assert asked == len(journal.steps(notebook)), notebook.stem


# --- the lessons 01 to 09: one voice -------------------------------------------------------------

SECTIONS = (
    "What you will learn",
    "Time",
    "Predict",
    "Run",
    "See",
    "Explain",
    "Exercises",
    "Reflect",
)
LESSONS = [path for path in journal.course_notebooks() if "01" <= path.stem[:2] <= "09"]
lessons = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
GUIDE = (Path(__file__).parents[2] / "docs" / "instructor.md").read_text("utf-8")
UP_TO = {"half a minute": 30, "a minute": 60} | {f"{n} minutes": 60 * n for n in range(2, 10)}
THEIRS = re.compile(
    r"\b(0\.81|0\.80|359|3,826)\b|\b(12|20)%"
)  # figures of the source paper: told by lesson.reported, never typed


def cells_of(path: Path) -> list[tuple[str, str]]:
    return [
        (cell["cell_type"], "".join(cell["source"]))
        for cell in json.loads(path.read_text("utf-8"))["cells"]
    ]


def prose(path: Path) -> str:
    return "\n".join(text for kind, text in cells_of(path) if kind == "markdown")


def heads(path: Path) -> list[str]:
    return re.findall(r"^## (.*)$", prose(path), re.MULTILINE)


def calls(path: Path, name: str) -> list[tuple[str, dict[str, object]]]:
    """Every lab.NAME(...) that is a cell's own statement: the heading it stands under, and its
    arguments by name.
    """
    names = list(inspect.signature(getattr(Lab, name)).parameters)[1:]
    under, found = "", []
    for kind, text in cells_of(path):
        if kind == "markdown":
            under = (re.findall(r"^## (.*)$", text, re.MULTILINE) or [under])[-1]
            continue
        for line in ast.parse(text).body:
            if (
                isinstance(line, ast.Expr)
                and isinstance(line.value, ast.Call)
                and ast.unparse(line.value.func) == f"lab.{name}"
            ):
                by_place = dict(zip(names, line.value.args, strict=False)) | {
                    word.arg: word.value for word in line.value.keywords
                }
                found.append(
                    (under, {key: ast.literal_eval(value) for key, value in by_place.items()})
                )
    return found


def exercises(path: Path) -> list[Exercise]:
    return [from_quiz(path.stem, told["id"], Exercise) for _, told in calls(path, "ask")]


@pytest.mark.parametrize("path", journal.course_notebooks(), ids=lambda path: path.stem)
def test_the_first_cell_says_how_a_notebook_is_run(path):
    assert "Run the cells one at a time: *Shift+Enter*" in cells_of(path)[0][1]


@pytest.mark.parametrize("path", journal.course_notebooks(), ids=lambda path: path.stem)
def test_the_parameters_name_every_pack_and_say_which_are_invented(path):
    text = next(text for kind, text in cells_of(path) if kind == "code" and "\npack = " in text)
    told = text.partition("# invented: ")[2].partition("\npack = ")[0]
    invented, real = told.split("of real text: ")
    for name in shipped_packs():
        found = (name in invented, name in real)
        assert found == (load_pack(name).invented, not load_pack(name).invented)


@pytest.mark.parametrize("path", journal.course_notebooks(), ids=lambda path: path.stem)
def test_no_cell_draws_a_guess_that_nobody_made(path):
    assert "guess.value" not in "".join(text for kind, text in cells_of(path) if kind == "code")


@lessons
def test_a_lesson_has_its_sections_in_order(path):
    found = [head.split(":")[0] for head in heads(path)]
    assert [found.count(section) > 0 for section in SECTIONS] == [True] * len(SECTIONS)
    places = [found.index(section) for section in SECTIONS]
    assert places == sorted(places) and found[-2:] == ["Exercises", "Reflect"]


@lessons
def test_a_lesson_asks_with_an_instant_check_and_keeps_what_is_written(path):
    asked, reflections = calls(path, "ask"), calls(path, "reflect")
    assert (
        2 <= len(asked) <= 3
        and {under for under, _ in asked} == {"Exercises"}
        and [under for under, _ in reflections] == ["Reflect"]
    )
    for exercise in exercises(path):
        assert (
            len(exercise.options) >= 3
            and exercise.question.endswith("?")
            and exercise.why.endswith(".")
        )
    assert "<details>" in prose(path).split("## Exercises")[1], (
        "the exercise by hand has a solution behind a fold"
    )


def test_the_right_answer_has_no_place_of_its_own_and_is_not_the_long_one():
    every = [exercise for path in LESSONS for exercise in exercises(path)]
    places = Counter(exercise.options.index(exercise.right) for exercise in every)
    assert max(places.values()) <= len(every) / 2
    longest = sum(max(exercise.options, key=len) == exercise.right for exercise in every)
    assert longest <= len(every) / 2


@lessons
def test_the_time_told_is_the_time_measured(path):
    told = prose(path).split("## Time\n")[1].split("\n##")[0]
    computing = re.match(
        rf"Up to ({'|'.join(UP_TO)}) of computing on two cores at profile `lab`", told
    )
    seconds = EXPECTED_SECONDS[path.stem]
    assert computing, told
    assert seconds <= UP_TO[computing[1]] <= max(2 * seconds, seconds + 30)
    minutes = re.search(r"(\d+) minutes (?:to (?:play and )?read|in the clinic)\.", told)
    row = re.search(rf"^\| `{path.stem}` \|.*\| (\d+) \|$", GUIDE, re.MULTILINE)
    assert minutes[1] == row[1], "docs/instructor.md plans other minutes"


@lessons
def test_no_figure_of_the_source_paper_is_typed_into_a_lesson(path):
    assert THEIRS.findall("\n".join(text for _, text in cells_of(path))) == []


def test_the_guide_has_a_wrong_answer_for_every_lesson():
    rows = re.findall(r'^\| (\d\d) \| "', GUIDE, re.MULTILINE)
    assert set(rows) >= {path.stem[:2] for path in LESSONS}


def verdict_of(rows: list[dict], words: str) -> str:
    return next(row["verdict"] for row in rows if row["claim"] == words)


def test_what_the_exercises_take_for_granted_is_what_was_measured():
    data, register, sizes = (
        measured_data()["claims"],
        measured_claims(),
        measured_scale("sizes")["claims"],
    )
    tag = next(
        row
        for row in data
        if row["claim"] == "a source tag on every document restores part of what 1/2 junk costs"
    )
    assert tag["effect"]["high"] < 0 and tag["verdict"] == UNDECIDED  # data_corrected
    assert (
        verdict_of(data, "twice the clean text teaches more than half of it, at equal steps")
        == UNDECIDED
    )  # data_doubling
    assert verdict_of(data, "the same, the doubled text having twice the steps") == "supported"
    assert (
        verdict_of(register, "DPO ranks held-out pairs better than ORPO") == UNDECIDED
    )  # preferences_verdict
    smallest = next(
        row
        for row in sizes
        if row["claim"].startswith(f"{LADDER[0]}: the SLERP merge beats the better parent on")
    )
    assert (
        Interval(**smallest["effect"]).holds(0) and smallest["verdict"] == UNDECIDED
    )  # scale_zero


def test_what_the_lessons_say_of_the_study_is_its_verdict():
    register = measured_claims()
    for words in (
        "CPT then SFT answers more domain questions than SFT then CPT",  # 04
        "an instruct start answers more domain questions than a base start",
        "SLERP beats LERP at the same t on items that need both parents",  # 06
    ):
        assert verdict_of(register, words) == UNDECIDED
    for words in (
        "an instruct start follows instructions better than a base start",
        "SLERP beats the better parent on items that need both",
    ):
        assert verdict_of(register, words) == "supported"
    for words in (
        "DPO makes the chosen answers themselves less likely (nats per answer)",
        "SLERP beats the better parent in domain knowledge, t chosen on dev by the four axes",
    ):
        assert verdict_of(register, words) == "contradicted"


# --- three paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", journal.course_notebooks(), ids=lambda path: path.stem)
def test_every_notebook_lists_its_part_of_the_paths(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    told = " ".join("".join(cells[0]["source"]).split())
    heads = {
        line.removeprefix("## ")
        for cell in cells
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("## ")
    }
    ninety = told.partition("**In 90 minutes:**")[2].partition("**In 180 minutes:**")[0]
    links = re.findall(r"\[([^\]]+)\]\(#([^ ]+?)\)(?=[,.])", ninety)
    row = re.search(rf"^\| `{path.stem}` \|[^|]*\|[^|]*\| (\S+) \|", GUIDE, re.MULTILINE)
    assert bool(links) == (row[1] != "–"), "the guide and the notebook disagree"
    for words, anchor in links:
        assert words in heads and anchor == words.replace(" ", "-"), words
    assert links or "leave this one out" in ninety
    assert "**In 30 minutes:** `half_hour`" in told


def test_the_half_hour_holds_all_six_steps_and_few_words(shared_home, monkeypatch, tmp_path):
    """Words to read: the notebook's own, and everything its short forms ask and propose."""
    from labkit.course.labs import dossier_lab
    from labkit.design.designer import design

    notebook = json.loads((journal.notebooks_folder() / "half_hour.ipynb").read_text("utf-8"))
    text = dict.fromkeys(("markdown", "code"), "")
    for cell in notebook["cells"]:
        text[cell["cell_type"]] += "\n" + "".join(cell["source"])
    for step in ("(i)", "(ii)", "(iii)", "(iv)", "(v)", "(vi)"):
        assert f"## {step}" in text["markdown"]
    parts = re.findall(r"dossier_lab\.part\(lab, ([^)]*)\)", text["code"])
    asked = {name for part in parts for name in re.findall(r'"(\w+)"', part)}
    assert asked == {
        "domain", "design", "criteria", "scenarios", "scale", "comparison", "failures"
    }  # fmt: skip
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    monkeypatch.setenv("LABKIT_HOME", str(shared_home))
    lab = lesson_start("half_hour", profile="smoke", out_dir=str(tmp_path))
    dossier_lab.propose(lab, design(pack="materials", merge="slerp"))
    words = len(text["markdown"].split())
    for part in parts:
        for name in re.findall(r'"(\w+)"', part):
            panel = dossier_lab.PartPanel(lab, name, short="short=True" in part)
            shown = " ".join(getattr(child, "value", "") for child in panel.rows.children)
            words += len(re.sub(r"<[^>]*>", " ", shown).split())
    assert words <= 2500, words
