"""Export and chat as a user meets them: real processes, one sentence per error, a polite end."""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_cli import assert_one_sentence, labkit
from typer.testing import CliRunner

from labkit.cli import measure
from labkit.evaluate.chat import Reply, Talker, printable

QUESTION = "What is Bysithfoam modelled on?"


def test_an_export_is_listed_and_answers_beside_its_original(tmp_path):
    done = labkit("export", "llama-s-instruct", tmp_path / "out", "--no-score")
    assert done.returncode == 0, done.stderr
    assert all(
        name in done.stdout
        for name in (
            "README.md",
            "model.safetensors",
            "tokenizer.json",
            "chat_template.jinja",
            "generation_config.json",
        )
    )
    asked = labkit(
        "chat",
        "llama-s-instruct",
        "--against",
        tmp_path / "out",
        "--against",
        "llama-s-instruct",
        "--ask",
        QUESTION,
        COLUMNS="160",
    )
    assert asked.returncode == 0, asked.stderr
    _, head, _, *said = asked.stdout.splitlines()
    assert [name.strip() for name in head.strip("┃").split("┃")] == [
        "llama-s-instruct",
        "out",
        "llama-s-instruct (2)",
    ]
    for line in said[:-1]:
        first, second, third = line.strip("│").split("│")
        assert first.strip() == second.strip() == third.strip()
    assert_one_sentence(
        labkit("export", "llama-s-instruct", tmp_path / "out"), "exists already", "new folder"
    )


def test_a_conversation_goes_on_after_mistakes_and_ends_with_its_input():
    lines = f"{QUESTION}\n/x\n/reset\n\n{'silk ' * 300}\n{QUESTION}\n"
    done = subprocess.run(
        [sys.executable, "-m", "labkit.cli", "chat", "llama-s-instruct"],
        input=lines,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.endswith("goodbye\n")
    assert (
        "commands are /reset and /quit" in done.stdout
        and "forgotten" in done.stdout
        and done.stdout.count("┏") == 2
    )
    assert (
        done.stderr.startswith("error: llama-s-instruct reads 256 tokens")
        and len(done.stderr.splitlines()) == 1
    )


def test_quit_ends_and_what_a_model_says_is_neither_markup_nor_obeyed(monkeypatch):
    monkeypatch.setattr(
        Talker,
        "answer",
        lambda talker, fitted, settings: Reply(printable("[red]x[/red] [/] \x1b[2J")),
    )
    done = CliRunner().invoke(
        measure.app, ["chat", "llama-s-instruct"], input="[/nothing]\n/quit\nnever read\n"
    )
    assert done.exit_code == 0 and done.output.endswith("goodbye\n") and done.output.count("┏") == 1
    assert "[red]x[/red] [/] \ufffd[2J" in done.output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_ctrl_c_ends_politely():
    import pexpect

    # a background job's children ignore it
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from "
        "labkit.cli.__main__ import main; main()"
    )
    child = pexpect.spawn(
        sys.executable, ["-c", code, "chat", "llama-s-instruct"], encoding="utf-8", timeout=180
    )
    child.expect("you> ")
    child.sendline(QUESTION)
    child.expect("you> ")
    child.sendintr()
    child.expect("goodbye")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.parametrize(
    "arguments,words",
    [
        (
            ["chat", "llama-s-instrct", "--ask", "x"],
            ["unknown model", "did you mean 'llama-s-instruct'"],
        ),
        (["chat", "llama-s-instruct", "--temperature", "-1"], ["temperature is -1"]),
        (["chat", "materials/llama-s-instruct/cpt", "--ask", "x"], ["no checkpoint of this name"]),
        (["evaluate", "materials/llama-s-instruct/cpt"], ["no checkpoint of this name"]),
        (["scenarios", "materials/llama-s-instruct/cpt"], ["no checkpoint of this name"]),
        (
            ["gate", "llama-s-instruct", "--baseline", "materials/llama-s-instruct/cpt"],
            ["no checkpoint of this name"],
        ),
        (
            ["merge", "llama-s-instruct", "materials/llama-s-instruct/cpt", "never-made"],
            ["no checkpoint of this name"],
        ),
        (["export", "llama-s-instrct", "never-made"], ["unknown model"]),
        (
            ["export", "llama-s-instruct", "never-made", "--dtype", "float8"],
            ["--dtype is 'float8'"],
        ),
        (
            ["export", "llama-s-instruct", "never-made", "--gguf", "--converter", "nowhere.py"],
            ["nowhere.py", "no such file"],
        ),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    assert_one_sentence(labkit(*arguments), *words)
