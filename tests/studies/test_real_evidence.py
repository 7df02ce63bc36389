"""The study of a real model, run whole on a tiny one: the same code, in seconds."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import real_lab
from labkit.data import published
from labkit.models import zoo
from labkit.models.adapters import base_of, is_adapter
from studies import real_evidence


@pytest.fixture(scope="module")
def measured(tmp_path_factory, shared_home):
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(shared_home))
        for module in (real_lab, real_evidence):
            patch.setattr(module, "MODEL", "llama-s-instruct")
        real_evidence.run_real_study(
            profile_name="smoke",
            page=folder / "real.md",
            measured=folder,
            adapters=folder / "adapters",
            console=Console(quiet=True),
            packs=["materials", "legal"],
        )
    return folder


def test_records_page_and_adapters_are_written(measured):
    data = json.loads((measured / published.REAL_FILE).read_text("utf-8"))
    page = (measured / "real.md").read_text("utf-8")
    assert set(data["packs"]) == {"materials", "legal"} and all(
        row["claim"] in page for row in data["claims"]
    )
    for values in data["packs"].values():
        assert set(values["stages"]) == {"cpt", *real_lab.RECIPES} and all(
            stage["tokens"] > 0 for stage in values["stages"].values()
        )
        assert (
            all(0 < kept <= 1.0001 for kept in values["kept"].values())
            and values["gate"]["diagnoses"]
        )
    assert str(measured) not in json.dumps(data) and "/checkpoints/" not in json.dumps(data)
    for pack in data["packs"]:
        for recipe in real_lab.SHIPPED:
            folder = measured / "adapters" / real_lab.adapter_name(pack, recipe)
            assert (
                is_adapter(folder)
                and base_of(folder) == "llama-s-instruct"
                and zoo.load(str(folder)).model is not None
            )


def test_what_is_trained_live_is_measured_apart(measured, tmp_path, monkeypatch):
    monkeypatch.setattr(real_evidence, "MODEL", "llama-s-instruct")
    monkeypatch.setattr(real_lab, "MODEL", "llama-s-instruct")
    monkeypatch.setattr(
        real_evidence,
        "measured_real",
        lambda: json.loads((measured / published.REAL_FILE).read_text("utf-8")),
    )
    live = real_evidence.run_live_study(
        profile_name="smoke",
        page=tmp_path / "real.md",
        measured=tmp_path,
        console=Console(quiet=True),
    )
    assert set(live["stages"]) == {"cpt", "cpt-sft", "cpt-sft-dpo"} and set(
        live["private_facts"]
    ) == {"instruct", "cpt-sft", "cpt-sft-dpo"}
    assert live["seconds"] > sum(stage["wall_seconds"] for stage in live["stages"].values())
    assert json.loads((tmp_path / published.LIVE_FILE).read_text("utf-8")) == live
    page = (tmp_path / "real.md").read_text("utf-8")
    assert f"steps: {real_lab.LIVE[0].steps}\n" in page and "after CPT and SFT" in page


def test_everyday_items_count_once_however_many_packs(measured):
    data = json.loads((measured / published.REAL_FILE).read_text("utf-8"))
    row = next(row for row in data["claims"] if row["claim"] == published.REAL_FORGETS_GENERAL)
    assert row["effect"]["seeds"] == 2 and row["effect"]["n"] == 2 * row["effect"]["clusters"]


def test_notebooks_show_it(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    data = json.loads((measured / published.REAL_FILE).read_text("utf-8"))
    monkeypatch.setattr(real_lab, "measured_real", lambda: data)
    lab = lesson.start("07_evaluate", pack="legal", profile="smoke", out_dir=str(tmp_path))
    for show in (real_lab.show_merge, real_lab.show_scores, real_lab.show_diagnoses):
        show(lab)
    assert len(lab.mine("figure")) == 2 and "against the untouched model" in capsys.readouterr().out
    lab = lesson.start("07_evaluate", pack="biomed", profile="smoke", out_dir=str(tmp_path))
    real_lab.show_merge(lab)
    assert "was measured on materials, legal" in capsys.readouterr().out


def test_the_real_model_is_opened_where_a_notebook_asks_for_it(
    measured, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    data = json.loads((measured / published.REAL_FILE).read_text("utf-8"))
    monkeypatch.setattr(real_lab, "measured_real", lambda: data)
    monkeypatch.setattr(real_lab, "MODEL", "llama-s-instruct")
    named = real_lab.adapter_name
    monkeypatch.setattr(
        real_lab,
        "adapter_name",
        lambda pack, recipe: str(measured / "adapters" / named(pack, recipe)),
    )
    lab = lesson.start("06_merge", pack="legal", profile="smoke", out_dir=str(tmp_path))
    for show in (real_lab.merge_live, real_lab.chat_live, real_lab.scenarios_live):
        show(lab, real_lab.REAL)
    assert len(lab.mine("figure")) == 1 and len(lab.mine("chat")) == 3
    assert {record["checkpoint"] for record in lab.mine("scenario")} == {
        "untouched",
        *real_lab.SHIPPED,
    }
    real_lab.merge_live(lab, real_lab.TINY)
    assert "smollm2-135m" in capsys.readouterr().out and len(lab.mine("figure")) == 1
    with pytest.raises(InputError, match="did you mean 'smollm2-135m'"):
        real_lab.chat_live(lab, "smollm2-135")
