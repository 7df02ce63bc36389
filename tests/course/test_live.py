from __future__ import annotations

from labkit.course.live import LiveLine


def test_the_live_figure_shows_what_the_probe_saw_beside_the_loss(monkeypatch):
    from types import SimpleNamespace

    from labkit.diagnose.probe import Look
    from labkit.train.trainers import Progress

    shown = []
    monkeypatch.setenv("LABKIT_HEADLESS", "0")
    monkeypatch.setattr(
        "IPython.display.display",
        lambda *args, **kwargs: (
            shown.append(kwargs["metadata"]["image/png"]["alt"])
            or SimpleNamespace(update=lambda *a, **k: None)
        ),
    )
    with LiveLine() as live:
        live(Progress("cpt", 1, 20, 3.0, 100.0, 1.0))
        assert len(live._figure("x").axes) == 1
        live.saw(
            SimpleNamespace(
                looks=[
                    Look(at, 0.1, {"general": [(str(k), str(k), score) for k in range(10)]})
                    for at, score in ((0, 1.0), (10, 0.0))
                ]
            )
        )
        live(Progress("cpt", 20, 20, 1.0, 100.0, 0.0))
        loss, seen = live._figure("x").axes
    assert shown and shown[0].startswith("cpt step 1/20")
    assert (
        "alarm" in seen.get_title()
        and any(line.get_marker() == "X" for line in seen.lines)
        and loss.lines
    )


def test_a_stage_that_runs_again_has_a_curve_of_its_own(monkeypatch):
    from labkit.train.trainers import Progress

    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    live = LiveLine()
    for step, loss in ((1, 3.0), (5, 2.0), (1, 2.5), (5, 1.5)):
        live(Progress("sft", step, 5, loss, 100.0, 1.0))
    live(Progress("cpt", 1, 5, 4.0, 100.0, 1.0))
    assert live.curve == {
        "sft": [(1, 3.0), (5, 2.0)],
        "sft (2)": [(1, 2.5), (5, 1.5)],
        "cpt": [(1, 4.0)],
    }


def test_a_line_that_was_interrupted_says_stopped(monkeypatch):
    from types import SimpleNamespace

    import pytest

    from labkit.train.trainers import Progress

    told = []
    monkeypatch.setenv("LABKIT_HEADLESS", "0")
    monkeypatch.setattr(
        "IPython.display.display",
        lambda *a, **k: SimpleNamespace(
            update=lambda *a, metadata, **k: told.append(metadata["image/png"]["alt"])
        ),
    )
    with pytest.raises(KeyboardInterrupt), LiveLine() as live:
        live(Progress("cpt", 1, 5, 4.0, 100.0, 1.0))
        raise KeyboardInterrupt
    assert told == ["stopped"]
