from __future__ import annotations

import pytest

from labkit import lesson, records
from labkit.design import Stage
from labkit.errors import InputError
from labkit.stats import Interval


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("03_cpt", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.mark.parametrize(
    "bad,words",
    [
        ({"profile": "labb"}, "did you mean 'lab'"),
        ({"pack": "biomedd"}, "did you mean 'biomed'"),
        ({"learner": "../x"}, "learner is"),
        ({"learner": "<script>"}, "learner is"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_parameters(tmp_path, bad, words):
    with pytest.raises(InputError, match=words):
        lesson.start("03_cpt", out_dir=str(tmp_path), **bad)


def test_train_score_show_record(lab):
    from labkit import figures

    made = lab.train([Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8)])
    card = lab.score(made, "mine")
    guess = lab.predict("x", "How many?", headless_value=0.25)
    lab.outcome(guess, card.interval("knowledge"))
    lab.show(figures.scorecards([card]), "axes", "Scores.")
    lab.finding("something", Interval(0.2, 0.1, 0.3, 10, 5), claimed=1, reported="nothing")
    kinds = [record["kind"] for record in records.read(lab.out_dir)]
    assert kinds == ["session", "checkpoint", "scorecard", "prediction", "figure", "finding"]
    found = records.read(lab.out_dir, "finding")[0]
    assert found["verdict"] == "supported" and found["learner"] == "me"
    assert (lab.out_dir / records.read(lab.out_dir, "figure")[0]["file"]).is_file()
    lab.show_scorecards()
    lab.show_predictions()
    lab.show_findings()


def test_report_of_nothing_says_so(lab, capsys):
    lab.show_scorecards()
    lab.show_predictions()
    lab.show_findings()
    told = capsys.readouterr().out
    assert "No scorecards yet" in told and "No predictions yet" in told and "No findings yet" in told


def test_others_records_are_not_mine(lab):
    records.append(lab.out_dir, "finding", pack="legal", profile="smoke", seed=0, learner="me", claim="x")
    assert lab.mine("finding") == []


def test_two_runs_are_compared_with_the_noise_between_runs(lab):
    from labkit.evaluate import compare

    before, after = lab.score("llama-s-base", "a"), lab.score(lab.model, "b")
    items, runs = compare(before, after, "instructions"), lab.compare(before, after, "instructions")
    assert runs.mean == items.mean and runs.low <= items.low and runs.high >= items.high


def test_the_claims_register_is_shown(lab, capsys):
    lab.show_claims()


@pytest.mark.parametrize(
    "cell,said",
    [
        ("lesson.start('x', profile='labb', out_dir=folder)", "error: unknown profile 'labb': did you mean 'lab'?"),
        ("raise KeyboardInterrupt", "stopped; finished stages are kept"),
    ],
)
def test_errors_in_a_notebook_are_a_sentence(tmp_path, capsys, monkeypatch, cell, said):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(lesson=lesson, folder=str(tmp_path))
        shell.run_cell("lesson.say_errors_plainly()")
        result = shell.run_cell(cell)
    finally:
        InteractiveShell.clear_instance()
    told = capsys.readouterr()
    assert not result.success and said in told.err and "Traceback" not in told.err + told.out


def test_the_live_figure_shows_what_the_probe_saw_beside_the_loss(monkeypatch):
    from types import SimpleNamespace

    from labkit.probe import Look
    from labkit.train import Progress

    shown = []
    monkeypatch.setenv("LABKIT_HEADLESS", "0")
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.append(kwargs["metadata"]["image/png"]["alt"]) or SimpleNamespace(update=lambda *a, **k: None))
    with lesson.LiveLine() as live:
        live(Progress("cpt", 1, 20, 3.0, 100.0, 1.0))
        assert len(live._figure("x").axes) == 1
        live.saw(SimpleNamespace(looks=[Look(at, 0.1, {"general": [(str(k), str(k), score) for k in range(10)]}) for at, score in ((0, 1.0), (10, 0.0))]))
        live(Progress("cpt", 20, 20, 1.0, 100.0, 0.0))
        loss, seen = live._figure("x").axes
    assert shown and shown[0].startswith("cpt step 1/20")
    assert "alarm" in seen.get_title() and any(line.get_marker() == "X" for line in seen.lines) and loss.lines


def test_a_stage_that_runs_again_has_a_curve_of_its_own(monkeypatch):
    from labkit.train import Progress

    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    live = lesson.LiveLine()
    for step, loss in ((1, 3.0), (5, 2.0), (1, 2.5), (5, 1.5)):
        live(Progress("sft", step, 5, loss, 100.0, 1.0))
    live(Progress("cpt", 1, 5, 4.0, 100.0, 1.0))
    assert live.curve == {"sft": [(1, 3.0), (5, 2.0)], "sft (2)": [(1, 2.5), (5, 1.5)], "cpt": [(1, 4.0)]}
