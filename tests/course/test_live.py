from __future__ import annotations

import re

import pytest

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
    assert shown and shown[0].startswith("CPT step 1 of 20")
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


TRAIN = """
from labkit.course import live
from labkit.train.specs import PipelineSpec, Stage
stage = Stage(kind="cpt", learning_rate=1e-3, steps=200, batch_size=8)
made = live.run(PipelineSpec(pack="materials", model="llama-s-instruct", stages=(stage,)))
print("steps", [step for step, _ in made[-1].lineage["loss_curve"]] == [1, *range(5, 201, 5)])
"""


@pytest.fixture
def kernel(real_kernels, monkeypatch, own_home):
    """A kernel as JupyterLab starts one, with a home of its own."""
    from jupyter_client.manager import KernelManager

    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    monkeypatch.setenv("LABKIT_HOME", str(own_home))
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute_interactive(
        "from labkit.course import lesson; lesson.say_errors_plainly()", timeout=60
    )
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def said(client) -> str:
    """What a cell that was begun prints until it ends."""
    told = ""
    while True:
        message = client.get_iopub_msg(timeout=120)
        told += message["content"].get("text", "")
        if message["content"].get("execution_state") == "idle":
            return told


def until_it_trains(client) -> None:
    """Begin the cell and wait until its live line is drawn."""
    client.execute(TRAIN)
    while client.get_iopub_msg(timeout=120)["msg_type"] != "display_data":
        pass


def test_in_a_notebook_the_stop_button_and_a_restart_lose_nothing(kernel):
    manager, client = kernel
    until_it_trains(client)
    manager.interrupt_kernel()
    told = said(client)
    (first,) = re.findall(r"stopped: cpt is kept up to step (\d+) of 200", told)
    assert "Traceback" not in told
    until_it_trains(client)
    manager.restart_kernel()
    client.wait_for_ready(timeout=60)
    client.execute(TRAIN)
    told = said(client)
    (second,) = re.findall(r"cpt continues at step (\d+) of 200", told)
    assert 0 < int(first) < int(second) < 200 and "steps True" in told


def test_a_real_training_is_one_line_of_the_figure(monkeypatch, quick_stage, own_home):
    from labkit.course import live
    from labkit.train.specs import PipelineSpec

    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    seen = LiveLine()
    spec = PipelineSpec(
        pack="materials", model="llama-s-instruct", stages=(quick_stage("cpt", steps=5),)
    )
    live.run_spec(spec, progress=seen)
    assert list(seen.curve) == ["cpt"] and [step for step, _ in seen.curve["cpt"]] == [1, 5]
