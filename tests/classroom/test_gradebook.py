"""Grades from what participants bring, in the columns that Canvas and Moodle import."""

from __future__ import annotations

import csv

import pytest
from class_case import rows, save
from typer.testing import CliRunner

from labkit.base.errors import InputError
from labkit.classroom.class_page import write_gradebook
from labkit.cli import share
from labkit.course.journal import course_notebooks, steps

CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Essay (77),Final Score\n"
    ",,,,,Manual Posting,\n"
    "    Points Possible,,,,,10,(read only)\n"
    '"Lovelace, Ada",11,s1,ada,One,7,70\n'
    '"Ross, Bob",12,s2,bob,One,,\n'
    '"Ross, Bob",13,s3,bob2,Two,,\n'
    '"Student, Test",99,,t,One,,\n'
)
MOODLE = (
    "First name,Last name,ID number,Email address,Essay (Real)\n"
    "Ada,Lovelace,s1,ada@example.org,7\n"
    "Bob,Ross,s2,bob@example.org,-\n"
)


@pytest.fixture
def room(tmp_path):
    """Ada by her name in the records, bob by his pack's name, and somebody that nobody knows."""
    save(tmp_path / "packs" / "x1", rows(0, "Ada  lovelace"))
    save(tmp_path / "packs" / "bob", rows(1))
    save(tmp_path / "packs" / "x2", rows(0, "=cmd()"))
    return tmp_path


def export(room, text):
    (room / "export.csv").write_text(text, "utf-8-sig")
    return room / "export.csv"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_canvas_gets_its_own_first_columns_the_points_and_new_columns(room):
    made = write_gradebook(room / "packs", export(room, CANVAS), room / "grades.csv")
    heads = (room / "grades.csv").read_text("utf-8").split("\n")[0].split(",")
    assert heads[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert all(head.startswith("labkit ") for head in heads[5:]) and len(heads) > 12
    points, ada, bob = read(made.path)
    assert points["Student"].strip() == "Points Possible" and points["labkit 03_cpt (%)"] == "100"
    assert (ada["Student"], ada["ID"]) == ("Lovelace, Ada", "11") and bob["SIS Login ID"] == "bob"
    assert made.platform == "Canvas" and (made.graded, made.absent) == (2, 2)
    assert made.strangers == ("=cmd() (x2)",) and "cmd" not in made.path.read_text("utf-8")


def test_moodle_gets_what_it_knows_people_by(room):
    (room / "packs" / "bob").rename(room / "packs" / "bob@example.org")
    made = write_gradebook(room / "packs", export(room, MOODLE), room / "grades.csv")
    ada, bob = read(made.path)
    assert made.platform == "Moodle" and bob["Email address"] == "bob@example.org"
    assert list(ada)[:4] == ["First name", "Last name", "ID number", "Email address"]
    assert "Essay (Real)" not in ada and made.absent == 0


def test_a_grade_is_the_share_of_a_notebooks_steps_that_a_person_did(room):
    path = next(path for path in course_notebooks() if path.stem == "03_cpt")
    asked = steps(path)
    common = {"notebook": "03_cpt", "learner": "ada"}
    guess, *others = (step.id for step in asked if step.kind == "predict")
    first, second = (step.id for step in asked if step.kind == "ask")
    reflection = next(step.id for step in asked if step.kind == "reflect")
    did = [
        {"kind": "prediction", "id": guess, "made": "committed", "inside": True, **common},
        {"kind": "answer", "id": first, "right": False, **common},
        {"kind": "answer", "id": first, "right": True, **common},
        {"kind": "answer", "id": second, "right": True, "made": "default", **common},
        {"kind": "reflection", "id": reflection, "text": " \n", **common},
        {"kind": ["no"], "id": "x"},
        {"kind": "answer", "id": ["no"]},
    ]
    save(room / "one" / "ada", did)
    write_gradebook(room / "one", export(room, CANVAS), room / "grades.csv")
    _, ada = read(room / "grades.csv")
    exercises = sum(step.kind == "ask" for path in course_notebooks() for step in steps(path))
    assert not others and float(ada["labkit 03_cpt (%)"]) == round(100 * 2 / len(asked), 1)
    assert float(ada["labkit exercises right (%)"]) == round(100 / exercises, 1)
    assert ada["labkit guesses inside the interval (%)"] == "100.0"
    assert ada["labkit 06_merge (%)"] == "0.0"


def test_two_packs_of_one_person_are_one_line(room):
    save(room / "packs" / "x3", [dict(rows(0, "ada")[1], id="cpt", made="committed")])
    made = write_gradebook(room / "packs", export(room, CANVAS), room / "grades.csv")
    assert made.graded == 2 and len(read(made.path)) == 3


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "it is empty"),
        ("Name,Mark\nAda,1\n", "neither Canvas's columns"),
        ("First name,Last name\nAda,Lovelace\n", "neither Canvas's columns"),
        ("Student,ID,Section\nZoe,1,One\n", "none of its people is among the 3 learners"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(room, text, words):
    with pytest.raises(InputError, match=words) as error:
        write_gradebook(room / "packs", export(room, text), room / "grades.csv")
    assert "export.csv" in str(error.value) and "\n" not in str(error.value)
    assert not (room / "grades.csv").exists()


def test_an_export_that_is_not_there_or_no_text_is_one_sentence(room):
    with pytest.raises(InputError, match=r"cannot be read .*give the export of Canvas or Moodle"):
        write_gradebook(room / "packs", room / "no.csv", room / "grades.csv")
    (room / "no.csv").write_bytes(b"Student,\xff\xfe\n")
    with pytest.raises(InputError, match="not in UTF-8"):
        write_gradebook(room / "packs", room / "no.csv", room / "grades.csv")


def test_the_command_writes_it_beside_the_page_and_says_who_is_not_in_it(room):
    arguments = ["class", "--from", str(room / "packs"), "--out-dir", str(room / "out")]
    result = CliRunner().invoke(
        share.app, [*arguments, "--gradebook", str(export(room, CANVAS))], env={"COLUMNS": "400"}
    )
    assert result.exit_code == 0, result.output
    assert "not in the gradebook: =cmd() (x2)" in result.output
    assert "grades of 2 people for Canvas" in result.output.replace("\n", " ")
    assert (room / "out" / "gradebook.csv").is_file() and (room / "out" / "class.html").is_file()
    refused = CliRunner().invoke(share.app, ["class", "r.csv", "--gradebook", "x.csv"])
    assert isinstance(refused.exception, InputError) and "give --from FOLDER" in str(
        refused.exception
    )
