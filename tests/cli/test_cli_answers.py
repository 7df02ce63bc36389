"""From a pack's questions to a verdict, without a model: the commands for who can only ask."""

from __future__ import annotations

import csv
import re

from labkit.base.store import PROJECT
from labkit.data.packs import load_pack, packs_folder
from tests.commands import labkit


def fill(path, target, wrong=()):
    """The questions of a file with right answers, and wrong ones on some axes."""
    keys = {item["id"]: item.get("answer", "") for item in load_pack("legal").rows("test")}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["answer"] = "Nobody knows." if row["axis"] in wrong else keys.get(row["id"], "-")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_from_questions_to_the_gate_and_drift(tmp_path):
    asked = tmp_path / "questions.csv"
    done = labkit("questions", "legal", "--to", asked, "--limit", 20)
    assert done.returncode == 0 and "scored by the likelihood" in done.stderr
    assert "questions; fill in the column answer" in done.stdout
    today = fill(asked, tmp_path / "today.csv")
    worse = fill(asked, tmp_path / "worse.csv", wrong=("general",))

    save = tmp_path / "card.json"
    done = labkit("evaluate", "--answers", worse, "--baseline-answers", today, "--pack", "legal",
                  "--save", save, COLUMNS="160")  # fmt: skip
    assert done.returncode == 0 and "unknown fact" in done.stdout and save.is_file()
    assert "worse minus today" in done.stdout and "are not in this file" in done.stderr

    both = ("--answers", worse, "--baseline-answers", today)
    held = labkit("gate", *both, "--pack", "legal", COLUMNS="160")
    assert held.returncode == 1 and "held back: general fell by 1.00" in held.stdout
    assert labkit("gate", "--answers", today, "--baseline-answers", today,
                  "--pack", "legal").returncode == 0  # fmt: skip

    found = labkit("drift", worse, "--reference", today, "--pack", "legal", COLUMNS="160")
    assert found.returncode == 1 and "general" in found.stdout.splitlines()[-1]
    assert "not seen: " in found.stdout
    assert labkit("drift", today, "--reference", today).returncode == 0


def test_a_rehearsal_on_dev_goes_all_the_way(tmp_path):
    asked = tmp_path / "questions.csv"
    done = labkit("questions", "legal", "--to", asked, "--split", "dev", "--limit", 3)
    assert done.stdout.strip().endswith("--pack legal --split dev")
    both = ("--answers", asked, "--baseline-answers", asked, "--pack", "legal")
    assert labkit("gate", *both, "--split", "dev").returncode == 0
    done = labkit("drift", asked, "--reference", asked, "--pack", "legal", "--split", "dev")
    assert done.returncode == 0 and "by the pack's keys" in done.stdout
    (tmp_path / "other.csv").write_text("id,answer\nnone,x\n")
    done = labkit("evaluate", "--answers", tmp_path / "other.csv", "--pack", "legal",
                  "--split", "dev")  # fmt: skip
    assert done.returncode == 2 and "--to questions.csv --split dev`" in done.stderr


def test_options_that_would_be_passed_over_are_refused(tmp_path):
    spec = packs_folder().parent / "specs" / "mistral-7b-lora.yaml"
    for words, arguments in (
        ("--sizes goes with a design", ("plan", "Llama-3.1-8B", "--sizes")),
        ("--measure goes with a design", ("plan", "Llama-3.1-8B", "--measure")),
        ("--gpus does not go with a design", ("plan", spec, "--gpus", "2")),
        ("--measure does not go with --sizes", ("plan", spec, "--sizes", "--measure")),
        ("make the same design", ("compare", spec, "--words-only", "--change", "no merge",
                                  "--change", "no merge", "--out-dir", tmp_path)),
    ):  # fmt: skip
        done = labkit(*arguments)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_the_sheet_for_a_supplier_and_what_is_refused(tmp_path):
    to = tmp_path / "acceptance.pdf"
    done = labkit("acceptance", "legal", "--to", to)
    assert done.returncode == 0 and to.is_file() and to.with_suffix(".yaml").is_file()
    for words, arguments in (
        ("give a model, or --answers", ("evaluate",)),
        ("give a model, or --answers", ("evaluate", "llama-s-instruct", "--answers", "a.csv")),
        ("give a checkpoint and --baseline, or --answers", ("gate", "--answers", "a.csv")),
        ("give --pack", ("gate", "--answers", "a.csv", "--baseline-answers", "a.csv")),
        ("--split goes with --answers", ("gate", "m", "--baseline", "m", "--split", "dev")),
        ("go with --pack", ("drift", "a.csv", "--reference", "a.csv", "--split", "dev")),
        ("a.csv: no such file", ("drift", "a.csv", "--reference", "a.csv")),
        ("name ends in .pdf", ("acceptance", "legal", "--to", tmp_path / "a.txt")),
    ):
        done = labkit(*arguments)
        assert done.returncode == 2 and words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_a_year_is_laid_side_by_side_and_printed(tmp_path):
    text = (PROJECT / "docs" / "leads.md").read_text("utf-8")
    (tmp_path / "year.yaml").write_text(
        re.search(r"```yaml\n(updates:.*?)```", text, re.DOTALL).group(1), "utf-8"
    )
    done = labkit("year", tmp_path / "year.yaml", "--pdf", tmp_path / "year.pdf")
    assert done.returncode == 0, done.stderr
    assert "merge" in done.stdout and "missing" in done.stdout
    assert (tmp_path / "year.pdf").read_bytes().startswith(b"%PDF")


def test_pages_to_print_are_written_where_they_are_wanted(tmp_path):
    done = labkit("handout", "--out-dir", tmp_path, COLUMNS="400")
    assert done.returncode == 0 and done.stdout.count("written: ") >= 2
    assert list(tmp_path.glob("*.pdf"))


def test_a_course_on_a_pack_that_is_not_there_runs_nothing(tmp_path):
    done = labkit("course", "--pack", "legl", "--out-dir", tmp_path / "out")
    assert done.returncode == 2 and "did you mean 'legal'" in done.stderr
    assert not (tmp_path / "out").exists()
