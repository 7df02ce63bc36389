"""What users and models wrote is printed as it is; printed commands survive a shell."""

from __future__ import annotations

import io
import shlex
import shutil

import pytest
from commands import labkit
from rich.console import Console
from rich.table import Table

from labkit import __version__ as version
from labkit import cli
from labkit.data import packs
from labkit.design import preflight
from labkit.models import zoo

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


def longest(text: str) -> int:
    return max(map(len, text.splitlines()))


@pytest.mark.parametrize("group", [(), ("pack",), ("zoo",)])
def test_a_group_alone_shows_its_help_and_no_error(group):
    done = labkit(*group)
    assert done.returncode == 2 and "Usage: labkit" in done.stdout and "error" not in done.stderr


def test_help_breaks_lines_where_the_terminal_ends_and_names_the_version():
    told = labkit("--help", COLUMNS="80")
    assert "the rules think of it; exit 2 when it cannot run." in " ".join(
        told.stdout.replace("│", " ").split()
    )
    assert (
        "exit 2 when it cannot run." in told.stdout and "Begin with: labkit doctor" in told.stdout
    )
    assert "<bool>" not in told.stdout + labkit("export", "--help").stdout
    assert labkit("--version").stdout == f"labkit {version}\n"


def test_a_wrong_command_line_names_the_help_that_shows_the_right_one():
    missing = labkit("run")
    assert (
        missing.stderr == "error: Missing argument 'spec'; labkit run --help shows what it takes\n"
    )
    assert labkit("evalute").stderr.endswith("Did you mean 'evaluate'?\n")


def test_an_unknown_model_is_told_in_a_short_sentence():
    far, near = labkit("chat", "nosuch").stderr, labkit("chat", "llama-s-instuct").stderr
    assert "`labkit zoo list` shows the known names" in far and len(far) < 150
    assert "did you mean 'llama-s-instruct'?" in near


def test_pages_and_lists_fit_a_narrow_terminal():
    models = labkit("zoo", "list", COLUMNS="70").stdout
    assert all(f" {name} " in models for name in zoo.known_names()) and "135 M" in models
    audit = labkit("audit", "invented", COLUMNS="60")
    assert audit.returncode == 0 and 50 < longest(audit.stdout) <= 60
    assert longest(labkit("audit", "invented", COLUMNS="200").stdout) <= cli.LONGEST_LINE
    spec = packs.samples_folder("specs") / "smollm-1.7b-full.yaml"
    advice = labkit("advise", spec, COLUMNS="60")
    assert advice.returncode == 0 and 50 < longest(advice.stdout) <= 60
    assert "junk costs: a risk, strong evidence\n" in advice.stdout


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
