from __future__ import annotations

import pytest

from labkit.base import records
from labkit.course import lesson
from labkit.course.labs import diagnose_lab
from labkit.train.specs import Stage


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("09_diagnose", profile="smoke", out_dir=str(tmp_path / "out"))


STAGE = Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8)


def test_a_watched_stage_is_shown_and_one_that_was_not_says_so(lab, capsys):
    diagnose_lab.show_probe(lab, lab.train([STAGE], watched=True))
    assert "looks took" in capsys.readouterr().out and records.read(lab.out_dir, "figure")
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
