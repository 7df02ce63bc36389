from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from labkit.base.errors import InputError
from labkit.base.store import Store
from labkit.diagnose.probe import watcher
from labkit.models import zoo
from labkit.train import callbacks, pipeline
from labkit.train.callbacks import Partial
from labkit.train.specs import Lora, PipelineSpec, Stage, save_spec

STEPS = 12


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def save_at_every_logged_step(monkeypatch):
    monkeypatch.setenv("LABKIT_SAVE_EVERY_SECONDS", "0")


def stage(kind, **changes):
    rate = {"cpt": 1e-3, "sft": 1e-3, "dpo": 1e-4, "orpo": 1e-4}[kind]
    return Stage(
        **{"kind": kind, "learning_rate": rate, "steps": STEPS, "batch_size": 8, **changes}
    )


def fit(wanted, pack, **how):
    return pipeline.train_stage(wanted, zoo.load("llama-s-instruct"), pack, seed=0, **how)


def stopped(wanted, pack, partial, at=10):
    def stop(moment):
        if moment.step >= at:
            raise Stopped

    with pytest.raises(Stopped):
        fit(wanted, pack, partial=partial, progress=stop)


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize(
    "wanted",
    [
        stage("cpt"),
        stage("sft", replay=0.5, micro_batch_size=4),
        stage("dpo", batch_size=20),
        stage("orpo", micro_batch_size=4),
        stage("cpt", lora=Lora(rank=4, alpha=8)),
        stage("dpo", lora=Lora(rank=4, alpha=8)),
    ],
    ids=["cpt", "sft", "dpo into its second pass", "orpo", "cpt lora", "dpo lora"],
)
def test_goes_on_as_if_it_had_not_stopped(tmp_path, materials, wanted):
    partial, told = Partial(tmp_path / "k.partial"), []
    stopped(wanted, materials, partial)
    assert [path.name for path in partial.folder.glob("checkpoint-*")] == ["checkpoint-5"]
    if wanted.lora:
        assert not list(partial.folder.glob("*/model.safetensors"))
    again = fit(wanted, materials, partial=partial, progress=told.append)
    whole = fit(wanted, materials)
    assert same(whole.model, again.model)
    assert again.loss_curve == whole.loss_curve and [row.keys() for row in again.metrics] == [
        row.keys() for row in whole.metrics
    ]
    assert told[0].step == 10 and told[-1].step == STEPS
    assert [path.name for path in partial.folder.glob("checkpoint-*")] == ["checkpoint-10"]


def interrupted(wanted, pack, partial, number, at=5, **how):
    """A stage that gets a signal at a step; it is saved at no other moment."""

    def press(moment):
        if moment.step == at:
            signal.raise_signal(number)

    with callbacks.Stop(wanted.kind) as stop:
        fit(wanted, pack, partial=partial, progress=press, stop=stop, **how)


@pytest.mark.parametrize(
    ("wanted", "number", "raised"),
    [
        (stage("cpt"), signal.SIGINT, KeyboardInterrupt),
        (stage("sft", replay=0.5), signal.SIGTERM, callbacks.Terminated),
    ],
    ids=["cpt, Ctrl-C", "sft, SIGTERM"],
)
def test_an_interrupted_stage_is_saved_where_it_stopped(
    tmp_path, materials, monkeypatch, wanted, number, raised
):
    monkeypatch.delenv("LABKIT_SAVE_EVERY_SECONDS")
    partial, told = Partial(tmp_path / "k.partial"), []
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(raised, match=f"stopped: {wanted.kind} is kept up to step 10 of 12"):
        interrupted(wanted, materials, partial, number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert [path.name for path in partial.folder.glob("checkpoint-*")] == ["checkpoint-10"]
    again = fit(wanted, materials, partial=partial, progress=told.append)
    whole = fit(wanted, materials)
    assert same(whole.model, again.model) and again.loss_curve == whole.loss_curve
    assert [(moment.step, moment.began) for moment in told] == [(STEPS, 10)]


def test_a_second_ctrl_c_does_not_wait(tmp_path, materials, monkeypatch):
    monkeypatch.delenv("LABKIT_SAVE_EVERY_SECONDS")

    def press_twice(moment):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    partial = Partial(tmp_path / "k.partial")
    with pytest.raises(KeyboardInterrupt), callbacks.Stop("cpt") as stop:
        fit(stage("cpt"), materials, partial=partial, progress=press_twice, stop=stop)
    assert not partial.folder.exists()


def test_a_stage_interrupted_in_its_last_steps_is_finished_and_kept(tmp_path):
    spec = PipelineSpec(pack="materials", model="llama-s-instruct", stages=(stage("cpt", steps=7),))
    store = Store(tmp_path / "store")

    def press(moment):
        if moment.step == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="cpt is finished and kept"):
        pipeline.run_spec(spec, store=store, progress=press)
    assert len(store.all()) == 1 and not list(store.root.glob("*.partial"))


def test_before_training_an_interrupt_acts_at_once():
    with pytest.raises(KeyboardInterrupt), callbacks.Stop("cpt"):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it waited")


def test_a_watched_stage_goes_on_with_what_its_probe_has_seen(tmp_path, materials):
    spec = PipelineSpec(
        pack="materials", model="llama-s-instruct", stages=(stage("cpt", steps=16),)
    )
    store, eager = Store(tmp_path / "store"), []

    def press(moment):
        if moment.step == 5:
            signal.raise_signal(signal.SIGINT)

    def watch(kind, tokenizer):
        found = watcher(materials)(kind, tokenizer)
        found._due = lambda step, steps: step % 4 == 0  # however long a look takes
        eager.append(found)
        return found

    with pytest.raises(KeyboardInterrupt, match="kept up to step 10 of 16"):
        pipeline.run_spec(spec, store=store, progress=press, watch=watch)
    (made,) = pipeline.run_spec(spec, store=store, watch=watch)
    assert [row["step"] for row in made.lineage["probe"]] == [0, 4, 8, 12, 16]
    assert [look.step for look in eager[1].looks] == [0, 4, 8, 12, 16]
    whole = pipeline.run_spec(spec, store=Store(tmp_path / "other"))[0]
    assert made.lineage["files"]["model.safetensors"] == whole.lineage["files"]["model.safetensors"]


def test_no_step_is_told_twice(materials):
    told = []
    fit(stage("cpt", steps=5), materials, progress=lambda moment: told.append(moment.step))
    assert told == [1, 5]


def test_nothing_is_written_before_it_is_time(tmp_path, materials, monkeypatch):
    monkeypatch.delenv("LABKIT_SAVE_EVERY_SECONDS")
    assert callbacks.save_every_seconds() == 600
    fit(stage("cpt"), materials, partial=Partial(tmp_path / "k.partial"))
    assert list(tmp_path.iterdir()) == []


def test_an_interval_that_is_no_number_is_a_sentence(monkeypatch):
    monkeypatch.setenv("LABKIT_SAVE_EVERY_SECONDS", "often")
    with pytest.raises(InputError, match="LABKIT_SAVE_EVERY_SECONDS is 'often'"):
        callbacks.save_every_seconds()


def test_damaged_state_is_dropped_with_a_sentence(tmp_path, materials):
    partial = Partial(tmp_path / "k.partial")
    stopped(stage("cpt"), materials, partial)
    optimiser = next(partial.folder.glob("*/optimizer.pt"))
    content = bytearray(optimiser.read_bytes())
    content[len(content) // 2] ^= 1
    optimiser.write_bytes(content)
    with pytest.warns(
        UserWarning, match="damaged or of another kind of run; the stage starts over"
    ):
        assert partial.find() is None
    assert not partial.folder.exists()


def state(folder: Path, step: int, **mark) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_text("weights")
    if mark:
        (made / callbacks.MARK).write_text(json.dumps({"files": {}, "layout": "whole", **mark}))
    return made


def test_a_state_that_was_being_written_gives_way_to_the_one_before(tmp_path):
    before = state(tmp_path / "k", 5, seconds=7)
    state(tmp_path / "k", 10)
    found = Partial(tmp_path / "k").find()
    assert (found.folder, found.seconds) == (before, 7.0)


@pytest.mark.parametrize(
    "mark",
    [
        {"seconds": 1, "layout": "sharded over 8"},
        {"seconds": "x"},
        {"seconds": 1, "files": {"gone": "0"}},
    ],
)
def test_a_state_of_another_kind_is_not_used(tmp_path, mark):
    state(tmp_path / "k", 5, **mark)
    with pytest.warns(UserWarning, match="starts over"):
        assert Partial(tmp_path / "k").find() is None


def test_only_the_last_is_kept(tmp_path):
    partial, older, newer = (
        Partial(tmp_path / "k"),
        state(tmp_path / "k", 5),
        state(tmp_path / "k", 10),
    )
    partial.keep(older, 1.0)
    assert not newer.exists()
    newer = state(tmp_path / "k", 10)
    partial.keep(newer, 2.0)
    assert not older.exists() and partial.find().seconds == 2.0


KILLED = """
import os, signal, sys
from pathlib import Path
from labkit.base.store import Store
from labkit.train import pipeline, specs
def at(moment):
    if moment.step >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
pipeline.run_spec(specs.load_spec(Path(sys.argv[1])), store=Store(Path(sys.argv[2])), progress=at)
"""


@pytest.mark.unix
def test_kill_9_and_the_same_command_again(tmp_path):
    spec = PipelineSpec(
        pack="materials", model="llama-s-instruct", stages=(stage("cpt", steps=20),)
    )
    save_spec(spec, tmp_path / "spec.yaml")
    store, when = Store(tmp_path / "store"), random.choice([10, 15, 20])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "spec.yaml"), str(store.root), str(when)],
        stderr=subprocess.DEVNULL,
        env={**os.environ},
    )
    assert (
        killed.returncode == -signal.SIGKILL
        and len(list(store.root.glob("*.partial/checkpoint-*"))) == 1
    )
    told = []
    again = pipeline.run_spec(spec, store=store, progress=lambda moment: told.append(moment.step))[
        0
    ]
    whole = pipeline.run_spec(spec, store=Store(tmp_path / "other"))[0]
    assert told[0] == when and again.lineage["loss_curve"] == whole.lineage["loss_curve"]
    assert (
        again.lineage["files"]["model.safetensors"] == whole.lineage["files"]["model.safetensors"]
    )
    assert not list(store.root.glob("*.partial"))
