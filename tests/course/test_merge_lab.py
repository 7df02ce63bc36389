"""The compute layer behind the merge panel: what a move shows is what the merge is."""

from __future__ import annotations

import shutil

import pytest

from labkit.base.errors import MergeError
from labkit.course.labs import merge_lab
from labkit.course.labs.merge_lab import Bench, MergeSession, Setting, setting_of
from labkit.evaluate import scoring
from labkit.merge import methods, recipes
from labkit.merge.schedule import PRESETS
from labkit.models import zoo

PROMPTS = ["Where does Otis Lund work?", "Propose a compound on actin for lupus."]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def bench(materials, home, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(home))
    return Bench(
        "llama-s-instruct",
        "llama-s-base",
        ("instruct", "base"),
        materials,
        ancestor="llama-s-twin-base",
        profile_name="smoke",
    )


def test_sliders_become_the_simplest_setting():
    same = [0.30000000000000004] * 5
    assert merge_lab.setting_of("lerp", same, same, same) == Setting("lerp", 0.3)
    by_group = merge_lab.setting_of("slerp", [0.1] * 5, [0.9] * 5, [0.5] * 5)
    assert [part.value for part in by_group.t] == [0.1, 0.9, 0.5]
    anchors = merge_lab.named_anchors()["paper"]
    assert merge_lab.setting_of(
        "slerp", anchors["attention"], anchors["mlp"], anchors["other"]
    ) == Setting("slerp", PRESETS["paper"])


def test_a_move_answers_as_the_merge_does(bench):
    move = bench.move(Setting("slerp", 0.4), PROMPTS)
    again = methods.merge_at(bench.general, bench.domain, 0.4, "slerp")
    assert move.answers == merge_lab.ask(again.model, again.tokenizer, PROMPTS)
    assert move.mean_t == pytest.approx(0.4) and move.expected == {}
    assert bench.parents_answers(PROMPTS)[0] == merge_lab.ask(
        bench.general.model, bench.general.tokenizer, PROMPTS
    )


def test_expected_scores_say_where_they_come_from(bench):
    sweep = bench.score_grid()
    on = bench.move(Setting("lerp", 0.5))
    assert on.source == merge_lab.ON_GRID
    assert on.expected["knowledge"] == dict(sweep["lerp"])[0.5].interval("knowledge").mean
    between = bench.move(Setting("slerp", 0.25))
    low, high = (dict(sweep["slerp"])[t].interval("instructions").mean for t in (0.2, 0.3))
    assert between.source == merge_lab.BETWEEN and between.expected[
        "instructions"
    ] == pytest.approx((low + high) / 2)
    scheduled = bench.move(Setting("slerp", PRESETS["paper"]))
    assert scheduled.source == merge_lab.SCHEDULED and 0.4 < scheduled.mean_t < 0.6
    assert bench.move(Setting("slerp_paper", 0.5)).expected == {}


def test_the_gap_is_zero_where_the_grid_scored_this_merge(bench):
    bench.score_grid()
    shutil.rmtree(scoring.scorecards_folder())  # so that it is measured anew
    for setting in (Setting("slerp", 0.6), Setting("lerp", 0.2)):
        gaps = merge_lab.gaps(bench.move(setting), bench.measure(setting, split="dev"))
        assert list(gaps) == list(merge_lab.LAB_AXES) and list(gaps.values()) == pytest.approx(
            [0] * len(gaps)
        )


def test_heat_shows_the_papers_schedule(bench):
    heat = bench.move(Setting("slerp", PRESETS["paper"])).heat
    attention, mlp, other = heat
    assert attention[0] is None and attention[1:] == pytest.approx([0, 1.3 / 3, 1.7 / 3, 1])
    assert mlp[0] is None and mlp[1] == 1 and other == [0.5] * 5


def test_save_is_the_merge_and_export_reads_back(bench, tmp_path):
    setting = Setting("slerp", PRESETS["ramp"])
    saved = zoo.load(str(bench.save(setting).folder)).model.state_dict()
    made = bench.pairing.merge(setting.t)
    assert all((saved[name] - tensor).abs().max() < 1e-2 for name, tensor in made.items())
    path = tmp_path / "r.yaml"
    path.write_text(bench.recipe_text(setting))
    assert recipes.read_recipe(path).merge.t == PRESETS["ramp"]
    with pytest.raises(MergeError, match="mergekit has no slerp_paper"):
        bench.recipe_text(Setting("slerp_paper", 0.5))
    assert (
        "task_vector" in bench.methods and bench.save(Setting("task_vector", 0.5)).folder.is_dir()
    )
    assert bench.move(Setting("task_vector", 0.5)).mean_t == pytest.approx(0.5)


def test_parents_that_do_not_match_are_refused(materials):
    with pytest.raises(MergeError, match="num_hidden_layers"):
        Bench("llama-s-instruct", "llama-m-instruct", ("a", "b"), materials)


def test_session_tells_draws_and_escapes(bench, tmp_path):
    bench.score_grid()
    other = Bench(
        "llama-s-instruct",
        "llama-s-twin-instruct",
        ("instruct", "twin"),
        bench.pack,
        profile_name="smoke",
    )
    session = MergeSession({"one": bench, "two": other}, ["<b>hello</b>"], tmp_path)
    move = session.move(Setting("slerp", 0.5))
    assert "this very merge was scored on dev" in session.tell(move)
    assert session.draw(move).startswith(b"\x89PNG") and session.draw(move) == session.draw(move)
    assert session.draw(move) != session.draw(session.move(Setting("slerp", 0.6)))
    assert "<b>hello" not in session.answers(move) and "&lt;b&gt;hello" in session.answers(move)
    scheduled = session.move(setting_of("slerp", [0.0, 0.5, 1.0, 0.5, 0.2], [0.5] * 5, [0.5] * 5))
    assert "press 'score on dev' for its own" in session.tell(scheduled)
    on_dev = session.score_on_dev(scheduled)
    assert "scored on dev" in on_dev and "test" not in on_dev and session.test_looks == 0
    assert str(bench.measure(scheduled.setting, split="dev").interval("knowledge")) in on_dev
    first, second = session.look_at_test(move), session.look_at_test(move)
    assert "for the first time" in first and "dev" not in first
    assert "for the 2. time" in second and "choose on dev" in second
    assert "recipes" in session.export(move) and len(list((tmp_path / "recipes").iterdir())) == 1
    assert "saved as materials/instruct+base/slerp" in session.save(move)
    assert session.open("two") == ("instruct", "twin")
    assert "press 'score the grid'" in session.tell(session.move(Setting("slerp", 0.5)))
    assert session.draw(session.move(Setting("slerp", 0.5))).startswith(b"\x89PNG")
