from __future__ import annotations

import json
import shutil

import pytest

from labkit.base.errors import InputError
from labkit.diagnose import gate
from labkit.train import pipeline
from labkit.train.specs import PipelineSpec


@pytest.fixture
def trained(quick_stage):
    def make(pack="materials", **changes):
        return pipeline.run_spec(
            PipelineSpec(
                pack=pack, model="llama-s-instruct", stages=(quick_stage("cpt", **changes),)
            )
        )[-1]

    return make


def test_what_fell_is_held_back_and_named(trained):
    made = trained(steps=40, learning_rate=1e-2, batch_size=16)
    report = gate.run_gate(str(made.folder), "llama-s-instruct")
    assert (
        report.pack == "materials"
        and {"instructions", "general"} <= set(report.fallen)
        and not report.passed
    )
    assert str(report).startswith("held back: ") and "general fell by" in str(report)
    assert any(result.verdict == "flagged" for result in report.results)


def test_a_model_does_not_fall_behind_itself():
    report = gate.run_gate(
        "llama-s-instruct", "llama-s-instruct", pack="materials", profile="smoke"
    )
    assert report.passed and all(held.verdict == "holds" for held in report.axes)
    with pytest.raises(InputError, match="give --pack"):
        gate.run_gate("llama-s-instruct", "llama-s-instruct")


def test_a_baseline_of_another_pack_is_refused(trained):
    ours, theirs = trained(), trained("legal")
    with pytest.raises(
        InputError, match="this baseline was trained on pack 'legal', the checkpoint on 'materials'"
    ):
        gate.run_gate(str(ours.folder), str(theirs.folder), profile="smoke")


def test_a_merge_is_diagnosed_as_one(trained, tmp_path):
    from labkit.base.store import Store
    from labkit.merge.recipes import Merge, Recipe

    made = trained()
    recipe = Recipe("llama-s-instruct", str(made.folder), Merge(t=0.25))
    merged = pipeline.merge_checkpoints(
        recipe, name="materials/llama-s-instruct/cpt-slerp", store=Store()
    )
    case = gate.case_of(str(merged.folder), "llama-s-instruct", None, "smoke")
    found = {
        result.diagnosis.id: result for result in gate.diagnose(case, ["wrong place", "barrier"])
    }
    assert found["wrong place"].verdict == "clear" and found["barrier"].found is not None


def test_broken_lineage_is_one_sentence(trained, tmp_path):
    shutil.copytree(trained().folder, tmp_path / "copy")
    (tmp_path / "copy" / "lineage.json").write_text("{")
    with pytest.raises(InputError, match=r"lineage.json: broken JSON"):
        gate.run_gate(str(tmp_path / "copy"), "llama-s-instruct")


@pytest.mark.parametrize(
    "text,words",
    [
        (
            "must_hold: {instructons: 0.1}",
            "must_hold.instructons: no axis has this name; did you mean 'instructions'",
        ),
        ("must_hold: {general: lots}", "must_hold.general is 'lots'"),
        ("must_hold: {general: 2}", "from 0 to 1"),
        ("hold: {}", "expected one key"),
        ("must_hold: [", "not valid YAML"),
    ],
)
def test_thresholds_are_checked(tmp_path, text, words):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        gate.read_must_hold(path)
    assert words in str(error.value) and str(path) in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        gate.read_must_hold(tmp_path / "none.yaml")


def test_an_axis_the_pack_has_no_items_for(tmp_path, materials):
    folder = tmp_path / "mine"
    shutil.copytree(materials.folder, folder)
    rows = [json.loads(line) for line in (folder / "eval_test.jsonl").read_text().splitlines()]
    (folder / "eval_test.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows if row["axis"] in ("general", "knowledge"))
    )
    with pytest.raises(
        InputError, match=r"must_hold.instructions: pack 'materials' has no items of this axis"
    ):
        gate.run_gate(
            "llama-s-instruct",
            "llama-s-instruct",
            pack=str(folder),
            profile="smoke",
            must_hold={"instructions": 0.1},
        )
    assert {
        held.axis
        for held in gate.run_gate(
            "llama-s-instruct", "llama-s-instruct", pack=str(folder), profile="smoke"
        ).axes
    } == {"general", "knowledge"}
