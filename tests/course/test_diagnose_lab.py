from __future__ import annotations

import datetime
import re

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import diagnose_lab
from labkit.evaluate.answers import Answers, Said
from labkit.train.specs import Stage


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("09_diagnose", profile="smoke", out_dir=str(tmp_path / "out"))


STAGE = Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8)


def test_a_watched_stage_is_shown_and_one_that_was_not_says_so(lab, capsys):
    diagnose_lab.show_probe(lab, lab.train([STAGE], watched=True))
    assert re.search(r"\d looks? took", capsys.readouterr().out) and records.read(
        lab.out_dir, "figure"
    )
    assert diagnose_lab.show_probe(lab, lab.train([STAGE])) == []
    assert "nothing was watched" in capsys.readouterr().out


def test_cases_are_diagnosed_and_gated(lab, capsys):
    made = lab.train([STAGE])
    found = diagnose_lab.show_diagnoses(
        lab, {"cpt": diagnose_lab.case(lab, made), "merge": diagnose_lab.merge_case(lab, made, 0.5)}
    )
    verdicts = {result.diagnosis.id: result.verdict for result in found["merge"]}
    assert (
        verdicts["wrong place"] == verdicts["barrier"] == "clear"
        and verdicts["loss rose"] == "not measured"
    )
    assert len(records.read(lab.out_dir, "diagnosis")) == 2 * len(diagnose_lab.DIAGNOSES)
    diagnose_lab.show_gate(lab, made, "gentle")
    assert records.read(lab.out_dir, "gate")[0]["checkpoint"] == "gentle"


def test_a_headless_visit_tells_symptoms_tests_and_the_answer(lab, capsys):
    diagnose_lab.clinic(
        lab, patient=13, orders=["other tokenizer", "barrier"], diagnosis="wrong chat template"
    )
    told = capsys.readouterr().out
    assert "other tokenizer: flagged" in told and "cannot be measured" in told and "Right: " in told
    (record,) = records.read(lab.out_dir, "clinic")
    assert record["right"] and record["ordered"] == ["other tokenizer", "barrier"]


def test_a_headless_visit_left_empty_is_the_one_of_the_quiz_file(lab, capsys):
    diagnose_lab.clinic(lab, patient=13, orders=[], diagnosis="")
    assert "Right: " in capsys.readouterr().out
    (record,) = records.read(lab.out_dir, "clinic")
    assert (record["answer"], record["right"]) == ("wrong chat template", True)
    assert record["ordered"] == ["questions learned", "instruction loss", "other tokenizer"]


# --- a model that one can only ask --------------------------------------------------------------


def given(name, *rows):
    return Answers(
        name, tuple(Said(f"{name}:{i}", id, "", said) for i, (id, said) in enumerate(rows))
    )


def told(sheet, head):
    return next(section for section in sheet.sections if section.head == head)


def test_what_was_not_asked_is_said_and_no_gate_passes_for_lack_of_it(materials):
    item = next(i for i in materials.rows("test") if i["axis"] == "reasoning" and "answer" in i)
    right = given("new", (item["id"], item["answer"]), ("nobody-asked", "7"))
    alone = diagnose_lab.judged(materials, right)
    rows = {row[0]: row[1:] for row in told(alone.sheet, "Four axes, and controls").rows}
    assert rows["reasoning"][1:] == ("1", "1") and rows["knowledge"][0] == "not asked"
    assert alone.gate is None and diagnose_lab.NO_BASELINE in alone.sheet.verdict
    both = diagnose_lab.judged(materials, right, given("old", (item["id"], "")))
    assert "Nothing that must hold was asked of both" in told(both.sheet, "The gate").text
    assert "passed" not in both.sheet.verdict
    notes = told(both.sheet, "What was not scored, and why").rows
    assert ("old", "questions without an answer: 1; each counts as wrong") in notes
    assert any(whose == "new" and "nobody-asked" in note for whose, note in notes)


def test_where_a_baseline_has_nothing_that_is_said(materials):
    items = [i for i in materials.rows("test") if i["axis"] == "instructions"][:9]
    answers = [given(name, *((item["id"], "") for item in items)) for name in ("new", "old")]
    gate = told(diagnose_lab.judged(materials, *answers).sheet, "The gate")
    assert "Nothing could fall in instructions" in gate.text


def test_a_file_from_a_browser_stays_in_its_folder(tmp_path):
    field = diagnose_lab.AnswersField(diagnose_lab.MODEL)
    assert field.read(tmp_path) is None
    when = datetime.datetime(2025, 1, 31, tzinfo=datetime.UTC)
    field.file.value = (
        {
            "name": "../../<b>evil.csv",
            "type": "text/csv",
            "size": 15,
            "content": memoryview(b"id,answer\nx,yes\n"),
            "last_modified": when,
        },
    )
    assert "&lt;b&gt;evil.csv" in field.given.value
    assert field.read(tmp_path).rows[0].answer == "yes"
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["b-evil.csv"]
    field.text.value = "id,answer\nx,no"
    with pytest.raises(InputError, match="given twice"):
        field.read(tmp_path)
