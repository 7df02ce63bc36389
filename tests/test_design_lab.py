from __future__ import annotations

import pytest

from labkit import design_lab, lesson, records
from labkit.design import load_spec
from labkit.errors import InputError


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))


def test_headless_designer_shows_and_saves_the_file_that_trains(lab, capsys):
    made = design_lab.studio(lab, sequence="cpt-sft", merge="slerp")
    spec = load_spec(made.path)
    assert spec == made.spec and spec.profile == "smoke" and spec.trail == "cpt-sft-slerp"
    assert "merge:" in capsys.readouterr().out
    kept = records.read(lab.out_dir, "design")[0]
    assert kept["spec"]["model"] == "llama-s-instruct" and "merge joins" in kept["advice"]


def test_sheet_tells_verdict_cost_and_advice_escaped(lab):
    made = design_lab.Studio(lab, {"pack": "materials"}, {"approach": "<script>"})
    sheet = made.sheet()
    assert sheet.verdict == "valid: this design can run" and "million parameters" in sheet.takes[0]
    assert "replaying general rows" in sheet.html() and "<script>" not in sheet.html()
    assert load_spec(made.save()).why.approach == "<script>"


def test_a_design_that_cannot_run_is_not_saved(lab):
    made = design_lab.Studio(lab, {"merge": "slerp", "merge_with": "mistral-s"})
    assert made.sheet().verdict.startswith("cannot run: model_type")
    with pytest.raises(InputError, match="model_type"):
        made.save()
    assert not made.path.exists()


def test_compare_trains_records_and_exports(lab, capsys):
    made = design_lab.studio(lab)
    done = design_lab.compare(made, ["merge back", "no replay"])
    assert set(done.measured.cards) == {"start model", "Your design", "Alternative 1", "Alternative 2"}
    assert {row["after"] for row in records.read(lab.out_dir, "comparison")} == {"Alternative 1", "Alternative 2"}
    assert {path.suffix for path in made.path.parent.glob("comparison.*")} == {".md", ".html", ".pdf"}
