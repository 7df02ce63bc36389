"""Commands of the design studio as a user meets them: real processes, one sentence per error."""

from __future__ import annotations

import json

import pytest
from test_cli import assert_one_sentence, labkit, spec_file

from labkit.course.labs.data_lab import messy_folder
from labkit.data.packs import load_pack


def test_advise_says_whether_what_and_why(tmp_path):
    done = labkit("advise", spec_file(tmp_path), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert (
        "this design can run" in done.stdout
        and "million parameters" in done.stdout
        and "cpt forgets" in done.stdout
    )


def test_compare_proposes_trains_and_writes(tmp_path):
    spec = spec_file(tmp_path, extra="profile: smoke\nwhy: {approach: mine}\n")
    words = labkit("compare", spec, "--words-only", "--out-dir", tmp_path / "words")
    assert words.returncode == 0 and "Alternative 2" in words.stdout and "[0." not in words.stdout
    done = labkit("compare", spec, "--out-dir", tmp_path / "out", COLUMNS="240")
    assert done.returncode == 0, done.stderr
    assert "Alternative 1 − Your design" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        "comparison.md",
        "comparison.html",
        "comparison.pdf",
        "your-design.yaml",
        "alternative-1.yaml",
        "alternative-2.yaml",
    }
    again = labkit(
        "compare",
        tmp_path / "out" / "your-design.yaml",
        tmp_path / "out" / "alternative-2.yaml",
        "--words-only",
        "--out-dir",
        tmp_path / "again",
    )
    assert again.returncode == 0, again.stderr


def test_compare_takes_a_change_and_plan_tells_sizes(tmp_path):
    spec = spec_file(tmp_path)
    done = labkit(
        "compare",
        spec,
        "--change",
        "base start",
        "--words-only",
        "--out-dir",
        tmp_path / "words",
        COLUMNS="240",
    )
    assert done.returncode == 0, done.stderr
    assert "-base in place of" in done.stdout and "Alternative 2" not in done.stdout
    wrong = labkit("compare", spec, spec, "--change", "base start", "--words-only")
    assert_one_sentence(wrong, "--change makes alternatives of one design")
    sizes = labkit("plan", spec, "--sizes", "--price", "2", COLUMNS="240")
    assert sizes.returncode == 0, sizes.stderr
    assert "Llama-3.1-8B" in sizes.stdout and "Not known" in sizes.stdout


def test_audit_and_fit_print_and_write(tmp_path):
    page = tmp_path / "page.pdf"
    done = labkit("audit", "lu2025", "--pdf", page)
    assert (
        done.returncode == 0
        and "ot distinguishable" in done.stdout
        and page.read_bytes().startswith(b"%PDF")
    )
    situation = tmp_path / "situation.yaml"
    situation.write_text(
        "facts_change: daily\nwords: 5000000\nquestions_answers: 50\ncitations_needed: yes\n"
    )
    done = labkit("fit", situation)
    assert done.returncode == 0 and "retrieval" in done.stdout


def test_pack_new_reports_what_it_left_out(tmp_path):
    folder = messy_folder(load_pack("biomed"), tmp_path / "mess")
    done = labkit("pack", "new", "mine", "--from", folder, "--to", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    for name in ("empty.txt", "picture.txt", "scan.pdf", "budget.xls"):
        assert name in done.stderr
    assert labkit("pack", "check", tmp_path / "mine").returncode == 0
    assert_one_sentence(
        labkit("pack", "new", "mine", "--from", folder, "--to", tmp_path / "mine"), "already there"
    )


@pytest.mark.parametrize(
    "text,words",
    [
        ("name,price\nsilk,3\n", ["prices.csv", "name", "price", "instruction", "prompt"]),
        ('question,answer\n"a","b"\n', ["needs three that differ"]),
    ],
)
def test_tables_that_cannot_be_used_are_one_sentence(tmp_path, text, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "prices.csv").write_text(text)
    done = labkit("pack", "new", "mine", "--from", tmp_path / "in", "--to", tmp_path / "mine")
    assert_one_sentence(done, *words)
    assert not (tmp_path / "mine").exists()


def test_a_pack_that_leaks_its_test_split_is_told(tmp_path):
    assert labkit("pack", "build", "legal", "--output", tmp_path / "legal").returncode == 0
    item = next(row for row in load_pack("legal").rows("test") if row.get("kind") == "free")
    with (tmp_path / "legal" / "raw.jsonl").open("a") as file:
        file.write(
            json.dumps({"text": f"{item['messages'][0]['content']} {item['answer']}"}) + "\n"
        )
    done = labkit("pack", "check", tmp_path / "legal")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines and all(
        "eval_test.jsonl:" in line and "raw.jsonl:561" in line and "remove one" in line
        for line in lines
    )


@pytest.mark.parametrize(
    "command,text,words",
    [
        (
            "advise",
            "pack: materials\nmodel: llama-s-instruct\nstages: [{kind: cpt, "
            "learning_rate: 0.001, steps: 3}]\nmerge: {general: mistral-s-instruct}\n",
            ["model_type"],
        ),
        (
            "advise",
            "pack: materials\nmodel: llama-s-instruct\nstages: [{kind: cpt, "
            "learning_rate: 0.001, steps: 3}]\nwhy: {aproach: x}\n",
            ["did you mean 'approach'"],
        ),
        ("compare", "pack: materials\nmodel: llama-s-instruct\nstages: []\n", ["nothing to run"]),
        (
            "audit",
            "vendor: v\nproduct: p\nmetric: m\nscore: 1.3\nn: 10\nbaseline_score: 0.5\n",
            ["score", "1.3"],
        ),
        (
            "fit",
            "facts_change: hourly\nwords: 1\nquestions_answers: 1\n",
            ["facts_change", "hourly"],
        ),
    ],
)
def test_impossible_files_are_one_sentence(tmp_path, command, text, words):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert_one_sentence(labkit(command, path), "file.yaml", *words)


def test_plan_of_a_design_and_of_a_model(tmp_path):
    done = labkit("plan", spec_file(tmp_path), COLUMNS="160")
    assert done.returncode == 0 and "cpt" in done.stdout and "GiB" in done.stdout
    done = labkit("plan", "Llama-3.1-8B", "--gpu", "L4", "--price", "2")
    assert (
        done.returncode == 0
        and "8,030,261,248" in done.stdout.replace("\n", " ")
        and "give up 1" in done.stdout
    )


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--price", "-1"], ["price", "-1"]),
        (["--gpu", "H10"], ["unknown GPU", "H100"]),
        (["--method", "lorra"], ["method", "lora"]),
        (["--length", "0"], ["length"]),
    ],
)
def test_impossible_plans_are_one_sentence(arguments, words):
    assert_one_sentence(labkit("plan", "Llama-3.1-8B", *arguments), *words)
