from __future__ import annotations

import re

import pytest
from own_packs import own_pack, write_folder

from labkit.base import records
from labkit.base.errors import InputError
from labkit.classroom.sessions import Defaults, read_roster
from labkit.course import lesson
from labkit.course.labs import data_lab
from labkit.data.held_out import axes_told
from labkit.data.ingest import new_pack
from labkit.data.packs import check_pack, load_pack, shipped_packs
from labkit.data.published import measured_data


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("02_data", profile="smoke", out_dir=str(tmp_path / "out"))


def test_a_messy_folder_becomes_a_pack_and_nothing_is_lost_silently(lab, shown, capsys):
    made = data_lab.show_own_pack(lab)
    assert check_pack(made.folder) == [] and made.rows["raw"] and made.rows["qa"]
    told = capsys.readouterr().out
    for name in ("empty.txt", "picture.txt", "scan.pdf", "budget.xls"):
        assert name in told
    assert sum(row["count"] for row in made.dropped) >= 5  # these four and the copy
    assert "Accept all cookies (12 times)" in "".join(shown)  # the foot of all twelve pages
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


@pytest.fixture
def shown(monkeypatch):
    """The tables that were shown, as HTML."""
    found = []
    monkeypatch.setattr(data_lab, "show_html", found.append)
    return found


def test_a_folder_that_is_brought_becomes_what_the_notebook_is_about(lab, tmp_path, shown, capsys):
    source = write_folder(tmp_path / "Cheeses of 2024", "raw")
    (source / "empty.txt").write_bytes(b"")
    own, folder = data_lab.bring_folder(lab, str(source))
    assert own.pack.name == "cheeses-of-2024" and own.pack.folder == folder
    assert check_pack(folder) == [] and own.out_dir == lab.out_dir
    told, tables = capsys.readouterr().out, "".join(shown)
    assert "left out: empty.txt: empty" in told
    assert f"{own.pack.path('raw').name}</td>" in tables
    for axis in ("knowledge", "compositional"):  # with how many items each axis got
        count = sum(row["axis"] == axis for row in own.pack.rows("test"))
        assert f"{axis}</td>" in tables and f">{count}</td>" in tables
    too_few = axes_told(own.pack)[1]
    assert too_few and all(f"Too few items: {sentence}." in told for sentence in too_few)
    assert own.mine("session")  # its records are told apart from those of the shipped pack


def test_the_way_on_leads_to_designer_apps_and_class(lab, tmp_path, shown):
    own, folder = data_lab.bring_folder(lab, str(write_folder(tmp_path / "cheeses", "raw")))
    data_lab.show_way_on(own, folder)
    told = shown[-1]
    assert "cpt can run" in told and f"labkit app --pack {folder.resolve()}" in told
    head, learner = re.search(r"the lines (\S+) and (\S+); then labkit class", told).groups()
    roster = folder.parent / "roster.csv"
    roster.write_text(f"{head}\n{learner}\n", "utf-8")
    (one,) = read_roster(roster, Defaults("materials", 0, ("02_data",)))
    assert one.pack == str(folder.resolve())


@pytest.mark.parametrize("what", ["nowhere", "a file", "nothing to read", "two texts"])
def test_with_a_wrong_folder_the_notebook_goes_on(lab, tmp_path, shown, capsys, what):
    source = tmp_path / "brought"
    if what != "nowhere":
        source.mkdir()
    if what == "a file":
        source = source / "x.txt"
        source.write_text("One text.")
    for number in range(2 if what == "two texts" else 0):
        (source / f"{number}.txt").write_text(f"This is the text of number {number}, no more.")
    same, folder = data_lab.bring_folder(lab, str(source))
    told = capsys.readouterr().out
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(source) in errors[0]
    assert "Until then, this notebook goes on with materials." in told
    assert same is lab and check_pack(folder) == []
    assert {path.name for path in folder.parent.iterdir()} == {"my-domain"}  # no half a pack


def test_who_brings_a_pack_sees_what_is_in_it(tmp_path, monkeypatch, shown):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    own = own_pack(tmp_path, "raw")
    lab = lesson.start(
        "02_data", pack=str(own.folder), profile="smoke", out_dir=str(tmp_path / "o")
    )
    assert data_lab.bring_folder(lab) == (lab, own.folder)
    assert "eval_test.jsonl" in "".join(shown) and not (lab.out_dir / "packs").exists()


def test_a_messy_folder_can_be_made_of_every_shipped_pack(tmp_path):
    for name in shipped_packs():
        folder = data_lab.messy_folder(load_pack(name), tmp_path / name)
        pages = sorted(folder.glob("note-*.txt"))
        assert len(pages) == data_lab.PAGES and all(page.stat().st_size > 500 for page in pages)


def test_a_pack_of_few_rows_has_its_defects_shown_on_another(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    own = own_pack(tmp_path, "raw")
    rows = own.path("raw").read_text("utf-8").splitlines(keepends=True)
    own.path("raw").write_text("".join(rows[:9]), "utf-8")
    lab = lesson.start("02_data", pack=str(own.folder), out_dir=str(tmp_path / "out"))
    capsys.readouterr()
    planted = data_lab.hide_defects(lab)
    told = capsys.readouterr().out
    assert told.startswith("Shown on materials") and "has 9 documents" in told
    assert {"symbol soup", ""} <= {*planted.labels}
