"""Every command that a page, a notebook or a message tells people to give can be given.

Commands of labkit are parsed by its own command line. What pip is told to install is never the
package `labkit` of somebody else on PyPI: it is a checkout, a wheel, or the name in pyproject.toml.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from labkit.base.store import DISTRIBUTION
from labkit.cli.__main__ import app
from studies.__main__ import app as studies

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MAKE = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
SUFFIXES = (".md", ".ipynb", ".py", ".txt", ".html", ".j2", ".yaml", ".yml")
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", ROOT / "environment.yml"]
FILES += [
    path
    for room in ("docs", "notebooks", "binder", "labkit", "studies", "benchmarks", "tests")
    for path in sorted((ROOT / room).rglob("*"))
    if path.suffix in SUFFIXES and path != Path(__file__)
]
COMMANDS = {
    "labkit": typer.main.get_command(app),
    "python -m studies": typer.main.get_command(studies),
}


def words_of(path: Path) -> str:
    """A file as it is read: strings and commands of several lines are one."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    if path.suffix == ".py":
        text = re.sub(r'"\s*\n\s*f?"', "", text)
    return text.replace("\\\n", " ")


def told_to_pip(text: str) -> list[str]:
    """What stands behind `pip install` and its like, up to the end of that command."""
    return re.findall(r"\bpip3? (?:install|download|wheel)\b([^`\n#;()]*)", text)


def named(command: str) -> list[str]:
    """The packages of such a command that are called labkit, whatever extras they have."""
    found = re.findall(r"(?<![\w./-])labkit[\w.-]*(?:\[[^\]]*\])?(?![\w/])", command)
    return [name.partition("[")[0].lower().replace("_", "-") for name in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pip_is_told_to_install_nobody_elses_package(path):
    text = words_of(path)
    for command in told_to_pip(text):
        assert set(named(command)) <= {PROJECT["name"]}, command
    for extras in re.findall(r"(?:[\s'\"]\.|\blabkit[-_]lm)\[([a-z][\w,-]*)\]", text):
        assert set(extras.split(",")) <= set(EXTRAS), extras


def test_the_name_for_pip_is_our_own_and_installed():
    from importlib.metadata import entry_points, version

    import labkit

    assert PROJECT["name"] == DISTRIBUTION == "labkit-lm"
    assert version(DISTRIBUTION) == PROJECT["version"] == labkit.__version__
    assert {e.dist.name for e in entry_points(group="console_scripts", name="labkit")} == {
        DISTRIBUTION
    }
    assert named(" -e '.[app]' 'labkit[app]' labkit==1 labkit-lm") == [
        "labkit",
        "labkit",
        "labkit-lm",
    ]


BEFORE = r"(?:(?:\$|time|[A-Z_]+=\S+) )*(?:\S*/bin/)?"
PAGES = [path for path in FILES if path.suffix == ".md"]
SHOWN = sorted(
    {
        (path.relative_to(ROOT).as_posix(), start, line.strip())
        for path in PAGES
        for block in re.split(r"^```", words_of(path), flags=re.MULTILINE)[1::2]
        if re.match(r"(bash|sh|console)?\n", block)
        for start in COMMANDS
        for line in re.findall(rf"^{BEFORE}{start} (.*)$", block, re.MULTILINE)
    }
)


@pytest.mark.parametrize("page,start,line", SHOWN, ids=lambda text: text[:40])
def test_a_command_in_a_block_of_a_page_is_parsed(page, start, line):
    """As it stands there; what is in brackets may be left out, and is."""
    line = re.split(r"\s#|[|;&]", re.sub(r"\[[^\]]*\]", "", line))[0]
    command, words = follow(start, shlex.split(line))
    command.make_context(page, words)


INLINE = sorted(
    {
        (path.relative_to(ROOT).as_posix(), start, line)
        for path in FILES
        for start in COMMANDS
        for line in re.findall(rf"`(?:\S*/bin/)?{start} ([^`\n{{}}]+)`", words_of(path))
    }
)


@pytest.mark.parametrize("page,start,line", INLINE, ids=lambda text: text[:40])
def test_a_command_in_a_sentence_has_a_name_and_options_that_exist(page, start, line):
    command, words = follow(start, line.split())
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert re.split(r"[=,.)\]]", word)[0] in {*known, "--help"}, word


def follow(start: str, words: list[str]):
    """The command that the first words name, and the words after it. COMMAND, ... stand for any."""
    command = COMMANDS[start]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name, *words = words
        if name in ("COMMAND", "..."):
            return command, words
        for one in name.split("|"):
            assert one in command.commands, f"{start} has no command {one}"
        command = command.commands[one]
    return command, words


def test_targets_of_make_exist():
    told = {
        (path.name, target)
        for path in FILES
        for target in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", words_of(path), re.MULTILINE)
    }
    assert {"".join(target) for _, target in told} <= set(MAKE) and len(told) > 5


def test_most_commands_of_the_pages_were_found():
    assert len(SHOWN) > 50 and len(INLINE) > 80
    assert {line.split()[0] for _, start, line in SHOWN if start == "labkit"} > {"run", "pack"}
