from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import design_lab
from labkit.train.specs import load_spec


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
    assert set(done.measured.cards) == {
        "start model",
        "Your design",
        "Alternative 1",
        "Alternative 2",
    }
    assert {row["after"] for row in records.read(lab.out_dir, "comparison")} == {
        "Alternative 1",
        "Alternative 2",
    }
    assert {path.suffix for path in made.path.parent.glob("comparison.*")} == {
        ".md",
        ".html",
        ".pdf",
    }


def test_designs_for_models_on_the_hub_are_advised_and_saved_without_a_network(lab):
    made = design_lab.Studio(lab, {"pack": "materials", "model": "Llama-3.1-8B"})
    sheet = made.sheet()
    assert sheet.verdict.startswith("valid") and "8,030.3 million parameters" in sheet.takes[0]
    assert {"all weights of a large model"} <= {
        advice.rule.id for advice in sheet.advice
    } and load_spec(made.save()).model.startswith("meta-llama/")


def test_reading_questions_as_text_is_costed_too(lab):
    sheet = design_lab.Studio(lab, {"pack": "materials", "sources": ("raw", "qa")}).sheet()
    assert "tokens" in sheet.takes[2] and sheet.problems == ()


def test_a_filtered_pack_is_not_taken_for_the_shipped_one(tmp_path, monkeypatch):
    import shutil

    from labkit.data.packs import packs_folder

    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    folder = tmp_path / "filtered"
    shutil.copytree(packs_folder() / "materials", folder)
    own = lesson.start(
        "01_design", pack=str(folder), profile="smoke", out_dir=str(tmp_path / "out")
    )
    assert design_lab.studio(own).spec.pack == str(folder)


def test_what_is_reported_by_family_is_shown_before_designing(monkeypatch):
    shown = []
    monkeypatch.setattr(design_lab, "show_html", shown.append)
    design_lab.show_reported()
    assert all(word in shown[0] for word in ("SmolLM-1.7B", "CPT-SFT-ORPO", "Table 4"))
