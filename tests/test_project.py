"""The house rules: pins agree, rooms stay small, notebooks are clean.

`lint-imports` checks who may import whom; ruff and mypy check the rest. `make test` runs all three.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "labkit").rglob("*.py"))
MOST_MODULES, MOST_IN_A_ROOM = 110, 16


def test_the_house_stays_small_enough_to_find_things_in():
    rooms = Counter(path.parent for path in PACKAGE)
    assert len(PACKAGE) <= MOST_MODULES
    assert max(rooms.values()) <= MOST_IN_A_ROOM
    assert rooms[ROOT / "labkit"] == 1  # the front door alone


def test_every_room_says_what_it_is_for():
    for path in PACKAGE:
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


@pytest.mark.parametrize("module", ["labkit", "labkit.cli.__main__"])
def test_importing_brings_no_heavy_library(module):
    code = (
        f"import sys, {module}; print([m for m in ('torch', 'transformers', 'trl', "
        "'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_what_a_benchmark_imports_of_labkit_is_there(path):
    """Benchmarks are run by hand, so nothing else would tell."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labkit"):
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                if not hasattr(module, name):  # then it is a module of a room
                    assert importlib.util.find_spec(f"{node.module}.{name}"), (path.name, name)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>; ]", name)[0]).lower()


def pins(lines) -> dict[str, str]:
    return {
        normal(line): line.split("==")[1].strip()
        for line in lines
        if re.match(r"^[\w.-]+(\[\w+\])?==", line)
    }


def test_three_files_pin_the_same_versions():
    constraints = pins((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda_pins = pins(conda["dependencies"][-1]["pip"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name in map(normal, project["dependencies"] + extras["test"]):
        assert conda_pins[name] == constraints[name]
    for name in map(normal, (name for extra in extras.values() for name in extra)):
        assert name in constraints
    assert conda_pins.items() <= constraints.items()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pages_name_the_versions_that_are_pinned(page):
    constraints = pins((ROOT / "constraints.txt").read_text("utf-8").splitlines())
    named = dict(
        re.findall(
            r"\b(torch|transformers|trl|peft)\s(\d[\d.]*\d)", (ROOT / page).read_text("utf-8")
        )
    )
    assert named == {name: constraints[name] for name in ("torch", "transformers", "trl", "peft")}


def test_the_newest_libraries_are_tried_beside_the_pinned_torch():
    asked = subprocess.check_output(
        ["make", "--dry-run", "--no-print-directory", "newest"], cwd=ROOT, text=True
    ).splitlines()
    renewed = next(line for line in asked if "--upgrade" in line)
    assert renewed.split()[-3:] == ["trl", "transformers", "peft"] and "'^torch=='" in renewed
    assert asked[-1].split()[-3:] == ["tests/train", "tests/merge", "tests/evaluate"]
    assert not any(".venv/" in line for line in asked)  # the working one stays as it is


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert "widgets" not in notebook["metadata"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "parameters" in code[0]["metadata"].get("tags", [])
    names = re.findall(r"^(\w+) = ", "".join(code[0]["source"]), re.MULTILINE)
    assert set(names) >= {"profile", "pack", "seed", "learner", "out_dir"}
    for cell in code:
        source = "".join(cell["source"])
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert "%pip" not in source and "!pip" not in source
        assert len(source.splitlines()) <= 12, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_headings_are_in_order(path):
    text = "\n".join(
        "".join(c["source"])
        for c in json.loads(path.read_text("utf-8"))["cells"]
        if c["cell_type"] == "markdown"
    )
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(level in (1, 2) for level in levels)


def test_no_remote_code_and_no_pickled_weights():
    for path in PACKAGE:
        text = path.read_text("utf-8")
        assert "trust_remote_code=True" not in text and "torch.load" not in text
