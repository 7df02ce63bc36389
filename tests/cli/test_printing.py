"""What users and models wrote is printed as it is; printed commands survive a shell."""

from __future__ import annotations

import io
import shlex
import shutil

import pytest
from commands import labkit
from rich.console import Console
from rich.table import Table

from labkit import cli
from labkit.data import packs
from labkit.design import preflight

ODD = "a[x] [/p] :smile: {y} $z"


@pytest.mark.parametrize("console", [cli.out, cli.err], ids=["out", "err"])
def test_no_word_is_taken_for_a_style_or_a_picture(console, capsys):
    console.print(ODD)
    console.print(Table(ODD, title=ODD))
    console.print(preflight.table(ODD, [ODD], [[ODD]]))
    told = "".join(capsys.readouterr())
    assert told.count(ODD) == 6 and "\\[" not in told


def test_a_path_with_brackets_is_checked_and_shown_whole(tmp_path):
    folder = tmp_path / "a[x]" / "[b]" / ":smile:"
    shutil.copytree(packs.packs_folder() / "legal", folder)
    done = labkit("pack", "check", "a[x]/[b]/:smile:", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a[x]/[b]/:smile:: no problems found\n")
    done = labkit("pack", "check", "[/p]", cwd=tmp_path)
    assert done.returncode == 2 and "[/p]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("bar", [cli.Line, cli.Bytes, cli.Notebooks])
def test_what_is_refused_at_the_start_is_refused_without_a_bar(monkeypatch, bar):
    terminal = io.StringIO()
    monkeypatch.setattr(cli, "err", Console(file=terminal, force_terminal=True, width=80))
    with pytest.raises(ValueError, match="refused"), bar():
        raise ValueError("refused")
    assert terminal.getvalue() == ""
    with bar() as shown:
        shown.show("one", "one", 1, 2, "[/told]")
    assert "[/told]" in terminal.getvalue() or bar is cli.Bytes


def test_a_printed_command_can_be_pasted_and_its_tasks_opened(tmp_path):
    """The folder has everything that a shell or a pattern for files would read otherwise."""
    from datasets import load_dataset
    from yaml import safe_load

    out = tmp_path / "it's [a] $ {b} *"
    done = labkit("evaluate", "llama-s-base", "--split", "dev", "--export-lm-eval", out)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.split("run: ")[1].replace("\n", " "))
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert words[0] == "lm_eval" and given["--include_path"] == str(out)
    task = safe_load((out / f"{given['--tasks'].split(',')[0]}.yaml").read_text("utf-8"))
    rows = load_dataset(
        task["dataset_path"], **task["dataset_kwargs"], cache_dir=str(tmp_path / "cache")
    )
    assert rows["test"][0]["choices"]
