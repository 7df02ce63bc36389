"""The notebooks on packs of a person's own documents, headless at `smoke`.

On raw text alone most is lacking: there all run that have to say so, and every one of the eleven
with LABKIT_NIGHTLY (`make nightly`). On the two richer packs those run that do something else.
"""

from __future__ import annotations

import json
import re

import pytest
from fuzzing import NIGHTLY
from own_packs import own_pack, words_of
from rich.console import Console

from labkit.base import records
from labkit.course import execute

LACKING = ["03_cpt", "04_sft", "05_preferences", "07_evaluate", "08_scale", "09_diagnose"]
COURSE = [path.stem for path in execute.course_notebooks()]
RUNS = {
    "raw": COURSE if NIGHTLY else LACKING,
    "questions": ["07_evaluate"],
    "all": ["05_preferences", "09_diagnose"],
}


@pytest.fixture(scope="module", params=RUNS, ids=RUNS)
def ran(request, shared_home, tmp_path_factory):
    """What is in the pack, the folder of the run, and notebook -> all that it printed."""
    folder, content = tmp_path_factory.mktemp("own"), request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(shared_home))
        page = execute.run_course(
            profile="smoke",
            pack=str(own_pack(folder, content).folder),
            seed=0,
            out_dir=folder / "out",
            console=Console(quiet=True),
            only=RUNS[content],
        )
    printed = {}
    for name in RUNS[content]:
        cells = json.loads((page.parent / "executed" / f"{name}.ipynb").read_text("utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        printed[name] = " ".join(map(words_of, outputs))
    return content, page.parent, printed


def test_every_notebook_runs_and_has_its_figures(ran):
    """run_course raises when a notebook fails."""
    _, folder, printed = ran
    figures = {record["notebook"] for record in records.read(folder, "figure")}
    assert figures == set(printed) - {"05_preferences"} | figures & {"05_preferences"}


def test_what_is_lacking_is_said_where_it_would_stand_with_the_remedy(ran):
    content, _, printed = ran
    said = {
        "raw": {
            "03_cpt": ["cpt reads raw alone", "summaries.jsonl"],
            "04_sft": ["sft is left out", "columns question and answer"],
            "05_preferences": ["Not trained: cpt-sft-dpo", "columns question, chosen and rejected"],
            "07_evaluate": ["has no scenarios.yaml"],
            "08_scale": ["Shown on materials"],
            "09_diagnose": ["Not shown: gentle-DPO", "Shown on materials"],
        },
        "questions": {"07_evaluate": ["Not trained: cpt-sft-dpo", "has no preferences.jsonl"]},
        "all": {"09_diagnose": ["Shown on materials"]},
    }[content]
    for notebook, sentences in said.items():
        for sentence in sentences:
            assert sentence in printed[notebook], (notebook, sentence)


def test_nothing_that_the_pack_has_is_said_to_be_lacking(ran):
    content, _, printed = ran
    told = " ".join(printed.values())
    has = {"raw": [], "questions": ["qa"], "all": ["summaries", "qa", "preferences"]}[content]
    assert not re.search(rf"has no ({'|'.join(has)})\.jsonl", told) if has else True


def test_no_checkpoint_stands_for_one_that_was_not_trained(ran):
    content, folder, _ = ran
    labels = {record["checkpoint"] for record in records.read(folder, "scorecard")}
    assert any("DPO" in label for label in labels) == (content == "all")
    assert any("without sft" in label for label in labels) == (content == "raw")
