"""What a cell says before it trains and when it is stopped; a real kernel is really interrupted."""

from __future__ import annotations

import os
import queue
import time

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from labkit.base.store import Store
from labkit.course import lesson, live
from labkit.course.labs import data_lab, scale_lab
from labkit.design import planner_speed as clock
from labkit.design.planner_speed import Ahead, Speed, ahead, keep_speed, known_speed, told
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.models.architecture import architecture_of
from labkit.train.callbacks import SAVE_EVERY_SECONDS
from labkit.train.pipeline import run_spec
from labkit.train.specs import PipelineSpec, Stage

CPT, SFT = (
    Stage(kind=kind, learning_rate=1e-3, steps=12, batch_size=8, max_length=48)
    for kind in ("cpt", "sft")
)
SLOW = Speed(2.0, 1e12)  # seconds are steps, doubled


def spec(*stages, **changes):
    return PipelineSpec(
        **{
            "pack": "materials",
            "model": clock.COURSE_MODEL,
            "stages": stages or (CPT, SFT),
            **changes,
        }
    )


@pytest.fixture(autouse=True)
def no_widgets(monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")


def test_the_reference_is_what_was_measured_where_the_course_was_timed():
    speed, here = clock.speed_for(clock.COURSE_MODEL)
    assert not here and speed == clock.reference_speed() and speed.flops_per_second > 1e9
    keep_speed(clock.COURSE_MODEL, SLOW)
    assert clock.speed_for("mistral-s-instruct", "dpo") == (SLOW, True)
    found = clock.speed_test()  # kept: nothing is measured
    assert (
        found.ratio > 5
        and found.tokens_per_second < 32 * 80 / 2
        and f"about {found.course_minutes:.0f} minutes here" in str(found)
    )


def test_stages_are_told_before_and_kept_after(capsys):
    keep_speed(clock.COURSE_MODEL, SLOW)
    clock.announce([spec()])
    line = capsys.readouterr().out
    assert line == "cpt 12 steps, about 25 s; sft 12 steps, about 25 s\n"
    made = live.run(spec(CPT))
    assert [stage.key for stage in ahead(spec(CPT))] == [made[0].key]
    assert [stage.kept for stage in ahead(spec())] == [True, False] and not ahead(
        spec(CPT), watched=True
    )[0].kept
    capsys.readouterr()
    clock.announce([spec(), spec(CPT, CPT), spec(CPT)])
    assert (
        capsys.readouterr().out
        == "2 of 3 stages to train (the others are kept): 24 steps, about 50 s\n"
    )


def test_a_merge_is_no_training_and_what_comes_after_it_is_not_looked_up():
    found = ahead(spec(CPT, SFT, merge=Merge(method="slerp", t=0.5), merge_after=1))
    assert [stage.key is None for stage in found] == [False, True] and all(
        stage.seconds > 0 for stage in found
    )
    assert (
        ahead(
            PipelineSpec(
                pack="materials",
                model=clock.COURSE_MODEL,
                stages=(),
                merge=Merge(method="slerp", t=0.5, general="llama-s-base"),
            )
        )
        == []
    )


def test_words(monkeypatch):
    stages = [
        Ahead("cpt", 100, "a", kept=True),
        Ahead("sft", 60, "b", at=20, seconds=31),
        Ahead("dpo", 5, "c", seconds=1, here=False),
    ]
    assert (
        told(stages) == "cpt kept; sft continues at step 20 of 60, about 30 s; dpo 5 steps, a few "
        f"seconds ({clock.ELSEWHERE})"
    )
    monkeypatch.delenv("LABKIT_HEADLESS")
    assert told(stages[:2]).endswith("Stop with the ■ button; run the cell again to go on")
    assert told(stages[:1]) == "cpt kept" and told(stages[:1], each=False) == "all 1 stages kept"
    assert [clock.about(seconds) for seconds in (0, 4.1, 47, 89, 100, 300)] == [
        "a few seconds",
        "about 5 s",
        "about 45 s",
        "about 90 s",
        "about 2 min",
        "about 5 min",
    ]
    assert "sft is kept up to step 20 of 60" in clock.stopped(
        stages
    ) and "run the cell again" in clock.stopped([])


def test_measuring_first_must_pay(monkeypatch, capsys):
    measured = []

    def probe(model):
        measured.append(model)
        keep_speed(model, SLOW)

    monkeypatch.setattr(clock, "probe_speed", probe)
    clock.announce([spec()])
    assert not measured and clock.ELSEWHERE in capsys.readouterr().out
    clock.announce([spec(CPT.model_copy(update={"steps": 20_000}))])
    said = capsys.readouterr().out
    assert (
        measured == [clock.COURSE_MODEL]
        and said.startswith("measuring this machine first")
        and clock.ELSEWHERE not in said
    )


def test_unfinished_stages_are_saved_often_but_large_ones_seldom(monkeypatch):
    monkeypatch.setattr(live, "announce", lambda specs, watched: [])
    with live.training([spec()]):
        assert float(os.environ[live.SAVE_EVERY]) == pytest.approx(5, abs=1)
    assert live.SAVE_EVERY not in os.environ
    large = architecture_of("SmolLM2-135M").parameters
    assert min(SAVE_EVERY_SECONDS, large * live.SAVE_PER_PARAMETER) == SAVE_EVERY_SECONDS
    monkeypatch.setenv(live.SAVE_EVERY, "77")
    with live.training([spec()]):
        assert os.environ[live.SAVE_EVERY] == "77"


def test_an_interrupt_says_what_is_kept_and_the_next_run_where_it_goes_on(monkeypatch, capsys):
    monkeypatch.setenv(live.SAVE_EVERY, "0")

    def stop(moment):
        if moment.step >= 10:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt, match="stopped: cpt is kept up to step 5 of 12"),
        live.training([spec(CPT)]),
    ):
        run_spec(spec(CPT), progress=stop)
    capsys.readouterr()
    live.run(spec(CPT))
    assert capsys.readouterr().out.startswith("cpt continues at step 5 of 12")


def test_labs_announce_exactly_what_they_train(tmp_path, capsys):
    lab = lesson.start("02_data", profile="smoke", out_dir=str(tmp_path / "out"))
    data_lab.run_live(lab, "wrong facts")
    found = data_lab._specs(lab, data_lab.experiment("wrong facts"), lab.pack)
    assert (
        all(stage.kept for one in found for stage in ahead(one))
        and "stages to train" in capsys.readouterr().out
    )
    scale_lab.climb(lab, scale_lab.LIVE[:1])
    capsys.readouterr()
    scale_lab.climb(lab, scale_lab.LIVE[:1])
    assert "kept" in capsys.readouterr().out.splitlines()[0]


# --- a kernel ---------------------------------------------------------------------------------

OPEN = """
from labkit.course import lesson
from labkit.train.specs import Stage
lab = lesson.start("03_cpt", out_dir={out!r})
stage = Stage(kind="cpt", learning_rate=1e-3, steps=60, batch_size=8, max_length=48)
"""
TRAIN = "made = lab.train([stage])"


def executed(client, code: str, meanwhile=lambda: None) -> str:
    """Everything a cell said; `meanwhile` is called until it returns True."""
    sent, said, done = client.execute(code), "", False
    began = time.monotonic()
    while time.monotonic() - began < 300:
        done = done or bool(meanwhile())
        try:
            message = client.get_iopub_msg(timeout=0.05)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != sent:
            continue
        content = message["content"]
        if message["msg_type"] == "stream":
            said += content["text"]
        elif message["msg_type"] == "display_data":
            said += content["data"].get("text/plain", "")
        elif message["msg_type"] == "error":
            said += "\n".join(content["traceback"])
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return said
    raise AssertionError(f"no end: {said}")


def test_the_stop_button_and_the_same_cell_again(tmp_path):
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "LABKIT_HOME": str(home),
        "LABKIT_SAVE_EVERY_SECONDS": "0",
        "LABKIT_HEADLESS": "0",
    }
    manager, client = start_new_kernel(env=environment)
    try:
        assert "Pack: materials" in executed(client, OPEN.format(out=str(tmp_path / "out")))

        def stop():
            if list((home / "checkpoints").glob("*.partial/checkpoint-*/labkit.json")):
                manager.interrupt_kernel()
                return True

        first = executed(client, TRAIN, stop)
        assert "cpt 60 steps, " in first and "Stop with the ■ button" in first
        assert (
            "stopped: cpt is kept up to step " in first
            and "Traceback" not in first
            and first.count("stopped") == 1
        )
        step = int(first.split("up to step ")[1].split()[0])
        assert 5 <= step < 60 and step % 5 == 0
        again = executed(client, TRAIN)
        assert (
            f"cpt continues at step {step} of 60" in again and "kept, and reused next time" in again
        )
        assert "cpt kept" in executed(client, TRAIN)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    whole = run_spec(
        spec(Stage(kind="cpt", learning_rate=1e-3, steps=60, batch_size=8, max_length=48)),
        store=Store(tmp_path / "whole"),
    )[-1]
    broken = Store(home / "checkpoints").find(whole.key)
    ours, theirs = (zoo.load(str(made.folder)).model.state_dict() for made in (broken, whole))
    assert (
        all(torch.equal(value, theirs[name]) for name, value in ours.items())
        and broken.lineage["loss_curve"] == whole.lineage["loss_curve"]
    )


def test_the_speed_test_really_measures():
    assert known_speed(clock.COURSE_MODEL) is None
    found = clock.speed_test()
    assert (
        found.tokens_per_second > 10
        and known_speed(clock.COURSE_MODEL)
        and not clock.speed_test().fresh
        and clock.speed_test().ratio == found.ratio
        and found.fresh
    )
