"""The front door: README's lines run as they stand, every name is there, asking costs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import labkit
from studies.api_page import GROUPS, api_page

ROOT = Path(__file__).parent.parent


def test_readmes_lines_run_as_they_stand(shared_home, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_HOME", str(shared_home))
    (code,) = re.findall(
        r"```python\n(import labkit\n.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    told = capsys.readouterr().out
    for axis in names["after"].axes():
        assert re.search(rf"^{axis} +\d\.\d\d \[\d\.\d\d, \d\.\d\d\] +\d+$", told, re.MULTILINE)
        assert re.search(
            rf"^{axis} +[+-]\d\.\d\d \[.*(higher|lower|not disting)", told, re.MULTILINE
        )
    assert names["merged"].name == "slerp t=0.5"


def test_a_verdict_holds_only_after_the_correction(shared_home, monkeypatch, materials):
    monkeypatch.setenv("LABKIT_HOME", str(shared_home))
    card = labkit.score("llama-s-instruct", materials, profile_name="smoke")
    same = labkit.compare(card, card)
    assert {same.verdict(axis) for axis in card.axes()} == {"not distinguishable"}
    found = labkit.Differences("a", "b", {"knowledge": labkit.Interval(0.2, 0.1, 0.3, 9, 9)}, {})
    for p, verdict in ((0.04, "higher"), (0.06, "not distinguishable")):
        found.p["knowledge"] = p
        assert found.verdict("knowledge") == verdict and verdict in str(found)


def test_models_that_read_text_differently_are_not_merged(instruct):
    other = labkit.load("llama-s-twin-instruct")
    other.tokenizer.add_tokens(["<new>"])
    with pytest.raises(labkit.base.errors.MergeError, match="tokenizer"):
        labkit.merge_at(instruct, other)


def test_every_name_is_there_and_on_the_page():
    assert (
        set(labkit.__all__) == set(labkit.PLACES) == {n for names in GROUPS.values() for n in names}
    )
    for name in labkit.__all__:
        assert getattr(labkit, name) is not None and name in dir(labkit)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = labkit.lode


def test_the_page_of_names_is_as_the_code_is():
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == api_page(), "run: python -m studies api"


def test_import_brings_nothing_heavy():
    code = (
        "import sys, labkit; labkit.__all__; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
