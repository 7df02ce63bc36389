from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import data_lab
from labkit.data.ingest import new_pack
from labkit.data.packs import check_pack, load_pack
from labkit.data.published import measured_data


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("02_data", profile="smoke", out_dir=str(tmp_path / "out"))


def test_a_messy_folder_becomes_a_pack_and_nothing_is_lost_silently(lab, capsys):
    made = data_lab.show_own_pack(lab)
    assert check_pack(made.folder) == [] and made.rows["raw"] and made.rows["qa"]
    told = capsys.readouterr().out
    for name in ("empty.txt", "picture.txt", "scan.pdf", "budget.xls"):
        assert name in told
    assert sum(row["count"] for row in made.dropped) >= 5  # these four and the copy
    again = data_lab.show_own_pack(lab)
    assert again.rows == made.rows and records.read(lab.out_dir, "ingest")[0]["rows"] == made.rows


def test_an_experiment_runs_live_and_ends_in_findings(lab):
    unit = data_lab.run_live(lab, "wrong facts")
    data_lab.show_experiment(lab, "wrong facts", unit, lab.predict("x", "?", headless_value=0.2))
    claims = [row["claim"] for row in records.read(lab.out_dir, "finding")]
    assert claims == [claim.words for claim in data_lab.experiment("wrong facts").claims]
    assert records.read(lab.out_dir, "prediction")[0]["guess"] == 0.2
    data_lab.show_study(lab, ("wrong facts",))
    data_lab.offer(lab)


def test_with_a_pack_of_one_s_own_experiments_say_where_they_run(lab, tmp_path, capsys):
    folder = data_lab.messy_folder(load_pack("legal"), tmp_path / "mess")
    own = new_pack("my-domain", folder, tmp_path / "mine")
    other = lesson.start("02_data", pack=str(own.folder), profile="smoke", out_dir=str(lab.out_dir))
    assert data_lab.run_live(other, "wrong facts").pack == "materials"
    assert "Shown on materials" in capsys.readouterr().out
    with pytest.raises(InputError, match="did you mean 'junk'"):
        data_lab.run_live(lab, "junkk")


def test_the_shipped_study_has_every_arm_and_claim():
    data = measured_data()
    for name, experiment in data_lab.EXPERIMENTS.items():
        assert set(data["scores"][name]) == set(experiment.conditions)
        assert [row["claim"] for row in data["claims"] if row["topic"] == name] == [
            claim.words for claim in experiment.claims
        ]
    assert all(row["effect"]["seeds"] >= 5 for row in data["claims"])


def test_a_name_that_is_a_path_deletes_nothing(lab):
    kept = data_lab.show_own_pack(lab).folder
    with pytest.raises(InputError, match="is no name for a pack"):
        data_lab.show_own_pack(lab, name="..")
    with pytest.raises(InputError, match="lies in"):
        data_lab.show_own_pack(lab, kept)
    assert check_pack(kept) == []
