"""lm-eval by command: two of its logs compared, and its tasks on a model of labkit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.evaluate.scorecards import Scorecard
from tests.commands import labkit
from tests.eval_tasks import FORMS, GROUP, write_tasks

LOGS = Path(__file__).parents[2] / "docs" / "compare-evals"


def test_two_logs_are_compared_and_the_time_is_said():
    before, after = LOGS / "llama-s-base", LOGS / "llama-s-instruct"
    done = labkit("compare-evals", before, after, COLUMNS="60")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [FORMS, "inst_level_strict_acc", "0.0000"] in [row[:3] for row in rows]
    seconds = re.search(r"120 and 120 samples read and compared in ([\d.]+) s", done.stdout)
    assert seconds and float(seconds[1]) < 10
    assert "to the digit: 16 of 16" in done.stderr
    done = labkit("compare-evals", before, before / "none")
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr and "no such file or folder" in done.stderr


def test_tasks_of_lm_eval_on_a_model(tmp_path):
    for arguments in (
        ("evaluate", "--tasks", "ifeval"),
        ("evaluate", "m", "--tasks", "ifeval", "--answers", "a.csv"),
        ("evaluate", "m", "--limit", "3"),
    ):
        done = labkit(*arguments)
        assert done.returncode == 2 and "--tasks" in done.stderr
        assert "Traceback" not in done.stderr
    pytest.importorskip("lm_eval", reason="lm-eval is not installed; `make peers` brings it")
    names = ",".join(write_tasks(tmp_path / "tasks", documents=12))
    save, log = tmp_path / "card.json", tmp_path / "log"
    done = labkit(
        "evaluate", "llama-s-instruct", "--tasks", names, "--include-path", tmp_path / "tasks",
        "--limit", "8", "--save", save, "--log-samples", log, COLUMNS="120",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{FORMS} prompt_level_strict_acc" in done.stdout
    assert "the first 8 documents of each task at most" in done.stderr
    assert "--apply-chat-template does" in done.stderr
    card = Scorecard.load(save)
    assert card.checkpoint == "llama-s-instruct"
    assert len(card.scores(f"{FORMS} prompt_level_strict_acc")) == 8
    done = labkit("compare-evals", log, log / "llama-s-instruct")
    assert done.returncode == 0 and GROUP in done.stdout and "no sample differs" in done.stdout
