"""What the notebooks score on the real model ships; here on a tiny one, and one notebook."""

from __future__ import annotations

import json

import pytest

from labkit.base.errors import LabkitError
from labkit.data.packs import load_pack
from labkit.evaluate import scoring
from studies import real_notebooks


def test_scorecards_are_copied_and_then_found_without_a_store(own_home, tmp_path, monkeypatch):
    monkeypatch.setattr(real_notebooks, "MODEL", "llama-s")
    monkeypatch.setenv("LABKIT_HOME", str(own_home))
    told: list[str] = []
    where = {"profile_name": "smoke", "out": tmp_path / "out", "cards": tmp_path / "cards"}
    took = real_notebooks.run_notebooks("elements", told=told.append, notebooks=["03_cpt"], **where)
    names = {json.loads(path.read_text("utf-8"))["checkpoint"] for path in where["cards"].iterdir()}
    assert set(took) == {"03_cpt"} and len(told) == 1 and len(names) >= 1
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "new"))
    monkeypatch.setattr(scoring, "shipped_scorecards", lambda: where["cards"])
    monkeypatch.setattr(scoring, "evaluate", lambda *a, **k: pytest.fail("scored again"))
    card = scoring.score_checkpoint(
        "llama-s-instruct", load_pack("elements"), profile_name="smoke", name="again"
    )
    assert card.checkpoint == "again" and card.items


def test_a_notebook_that_fails_is_named(tmp_path, own_home, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(own_home))
    with pytest.raises(LabkitError, match="03_cpt failed, cell"):
        real_notebooks.run_notebooks(
            "no-such-pack",
            profile_name="smoke",
            out=tmp_path / "out",
            cards=tmp_path / "cards",
            told=print,
            notebooks=["03_cpt"],
        )
