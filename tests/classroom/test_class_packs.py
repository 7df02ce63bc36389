"""A class in which everybody has another pack: real text that ships, and a learner's own folder."""

from __future__ import annotations

import pytest
from class_case import roster
from own_packs import own_pack

from labkit.base import records
from labkit.classroom import sessions
from labkit.classroom.sessions import Defaults, read_roster
from labkit.course.journal import course_notebooks
from labkit.data.packs import load_pack

pytestmark = pytest.mark.usefixtures("real_kernels")

NOTEBOOKS = ("03_cpt", "04_sft")


def test_every_learner_runs_on_a_pack_of_their_own(tmp_path):
    own = own_pack(tmp_path, "raw")
    room = roster(
        tmp_path / "roster.csv", "Ada,elements", f"Bob,{own.folder.name}", columns="learner,pack"
    )
    files = [path for path in course_notebooks() if path.stem in NOTEBOOKS]
    done = sessions.run_roster(
        room, files, profile="smoke", pack="materials", seed=0, out_dir=tmp_path / "out"
    )
    assert done.problems == () and done.page.is_file()
    titles = {"elements": load_pack("elements").title, own.name: own.title}
    told = {}
    for one in read_roster(room, Defaults("materials", 0, NOTEBOOKS)):
        folder = sessions.learner_folder(tmp_path / "out", one.key)
        (name,) = {row["pack"] for row in records.read(folder)}
        told[name] = {row["checkpoint"] for row in records.read(folder, "scorecard")}
        assert titles[name] in (folder / "course.html").read_text("utf-8")
    assert told.keys() == titles.keys()
    assert any("without sft" in label for label in told[own.name])  # it has no questions
    assert "SFT without CPT" in told["elements"] - told[own.name]
