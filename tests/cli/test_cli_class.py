from __future__ import annotations

import pytest
from class_case import RECORD, notebook, roster, rows, save
from typer.testing import CliRunner

from labkit.base.errors import InputError, LabkitError
from labkit.cli import share


def run(*arguments):
    return CliRunner().invoke(share.app, ["class", *map(str, arguments)])


def test_a_class_is_run_and_a_failure_is_told_and_exits_with_an_error(tmp_path):
    quick = notebook(tmp_path / "quick.ipynb", RECORD, "assert seed != 2, '[red]no[/]'")
    people, out = roster(tmp_path / "roster.csv", "Ada,1", "Bob,2"), tmp_path / "out"
    result = run(people, "--notebook", quick, "--profile", "smoke", "--out-dir", out)
    assert isinstance(result.exception, LabkitError) and "1 of 2 notebooks failed" in str(
        result.exception
    )
    assert (
        "learner 02: quick: cell 4: AssertionError: [red]no[/]" in result.output
        and "The same page as a PDF" in result.output
    )
    assert f"open {out.resolve() / 'class.html'}" in result.output.replace("\n", " ")
    roster(people, "Ada,1")
    assert run(people, "--notebook", quick, "--profile", "smoke", "--out-dir", out).exit_code == 0


def test_packs_are_read(tmp_path):
    save(tmp_path / "packs" / "desk", rows(1))
    assert (
        run("--from", tmp_path / "packs", "--out-dir", tmp_path / "out").exit_code == 0
        and (tmp_path / "out" / "class.html").is_file()
    )
    (tmp_path / "packs" / "bad.zip").write_bytes(b"x")
    result = run("--from", tmp_path / "packs", "--out-dir", tmp_path / "out")
    assert "1 packs could not be read" in str(result.exception) and "learner 01: " in result.output


@pytest.mark.parametrize(
    "arguments,words",
    [
        ((), "give a roster, or --from"),
        (("r.csv", "--from", "x"), "one of the two"),
        (("r.csv", "--notebook", "06_merg"), "did you mean '06_merge'"),
        (("r.csv", "--notebook", "r.csv"), "or give a .ipynb file"),
        (("r.csv", "--notebook", "06_merge", "--notebook", "06_merge"), "06_merge is given twice"),
        (("r.csv", "--jobs", "2", "--scheduler", "tcp://x:1"), "--jobs is for this machine"),
        (("r.csv",), "r.csv: cannot be read"),
        (("r.csv", "--profile", "lb"), "unknown profile"),
        (("r.csv", "--pack", "legl"), "pack"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    error = run(*arguments).exception
    assert isinstance(error, InputError) and words in str(error) and "\n" not in str(error)
