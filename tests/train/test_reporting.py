"""What a run tells a log file and other programs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from labkit.base.errors import InputError, SpecError
from labkit.base.store import Store
from labkit.classroom import verify
from labkit.design import preflight
from labkit.design.planner_speed import ahead
from labkit.merge.recipes import Merge
from labkit.train import callbacks, pipeline
from labkit.train.callbacks import ReportNote
from labkit.train.specs import PipelineSpec, Stage, load_spec, save_spec

STEPS = 12
CPT = Stage(kind="cpt", learning_rate=1e-3, steps=STEPS, batch_size=4)
SFT = Stage(kind="sft", learning_rate=1e-3, steps=3, batch_size=4)
COMMON = {"time", "event", "stage", "number", "name", "key"}


def spec(*stages, **changes):
    return PipelineSpec(
        **{"pack": "materials", "model": "llama-s-instruct", "stages": stages, **changes}
    )


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def stop_once_saved(moment):
    if moment.step == 5:
        signal.raise_signal(signal.SIGINT)


def events_of(folder):
    """What TensorBoard itself reads in a folder: step -> loss, and the texts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    scalars = {
        tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]
    }
    texts = {
        tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in read.Tags()["tensors"]
    }
    return scalars, texts


# --- the log ----------------------------------------------------------------------------------


def test_a_log_has_a_line_for_every_start_logged_step_and_end(tmp_path):
    log, store = tmp_path / "log.jsonl", Store(tmp_path / "store")
    wanted = spec(CPT, SFT, merge=Merge(t=0.5), merge_after=1)
    made = pipeline.run_spec(wanted, store=store, log_jsonl=log)
    read = lines(log)
    assert [(row["stage"], row["event"]) for row in read] == [
        ("cpt", "start"),
        *[("cpt", "step")] * 3,
        ("cpt", "end"),
        ("sft", "start"),
        ("sft", "step"),
        ("sft", "end"),
    ]
    assert all(row.keys() >= COMMON for row in read)
    for number, checkpoint in ((1, made[0]), (2, made[2])):
        mine = [row for row in read if row["number"] == number]
        assert {(row["name"], row["key"]) for row in mine} == {(checkpoint.name, checkpoint.key)}
        told = [(row["step"], row["loss"]) for row in mine if row["event"] == "step"]
        assert told == [tuple(point) for point in checkpoint.lineage["loss_curve"]]
        steps = checkpoint.lineage["steps"]
        assert mine[0] == mine[0] | {"step": 0, "steps": steps}
        assert all(
            row.keys() >= {"learning_rate", "grad_norm", "tokens_per_second", "seconds_left"}
            for row in mine[1:-1]
        )
        end = mine[-1]
        assert (end["outcome"], end["steps"]) == ("finished", steps)
        assert end["seconds"] == checkpoint.lineage["wall_seconds"]
        assert end["tokens"] == checkpoint.lineage["tokens"]
        assert end["folder"] == str(checkpoint.folder)

    pipeline.run_spec(wanted, store=store, log_jsonl=log)
    assert lines(log)[: len(read)] == read
    again = lines(log)[len(read) :]
    assert [(row["event"], row["key"], row["folder"]) for row in again] == [
        ("reused", checkpoint.key, str(checkpoint.folder)) for checkpoint in (made[0], made[2])
    ]


@pytest.mark.unix
def test_a_stage_that_is_stopped_and_goes_on_says_so_and_no_step_is_shown_twice(tmp_path):
    log, store = tmp_path / "log.jsonl", Store(tmp_path / "store")
    wanted = spec(CPT, report_to="tensorboard")
    with pytest.raises(KeyboardInterrupt), pytest.warns(ReportNote, match="reported to tensorb"):
        pipeline.run_spec(wanted, store=store, log_jsonl=log, progress=stop_once_saved)
    assert [row.get("step") for row in lines(log)] == [0, 1, 5, 10, None]
    assert lines(log)[-1]["outcome"] == "stopped"
    assert lines(log)[-1]["said"] == "stopped: cpt is kept up to step 10 of 12"
    with pytest.warns(ReportNote, match="is reported to tensorboard"):
        again = pipeline.run_spec(
            wanted.model_copy(update={"stages": (CPT,)}), store=store, log_jsonl=log
        )[0]
    rest = lines(log)[5:]
    assert [(row["event"], row.get("step")) for row in rest] == [("start", 10), ("end", None)]
    (folder,) = (tmp_path / "tensorboard").glob(f"**/{again.key}")
    assert [step for step, _ in events_of(folder)[0]["loss"]] == [1, 5, 10]


def test_steps_that_a_killed_run_told_and_lost_are_told_again_once(tmp_path):
    """The state was saved at step 5, and steps up to 10 had been told."""
    from accelerate import PartialState

    def told(report, *steps):
        for step in steps:
            moment = callbacks.Progress("cpt", step, 20, 0.5, 1.0, 1.0)
            report.step(moment, {"step": step, "loss": step / 10})

    def report():
        about = {"stage": "cpt", "number": 1, "name": "p/m/cpt", "key": "k"}
        return callbacks.Report(about, "p/m/cpt/k", {"seed": 0}, tmp_path, to="tensorboard")

    with pytest.warns(ReportNote):
        PartialState(cpu=True)
        killed, resumed = report(), report()
        killed.begin(0, 20)
        told(killed, 1, 5, 10)
        killed._finish()
        resumed.begin(5, 20)
        told(resumed, 10, 15)
        resumed._finish()
    scalars, texts = events_of(tmp_path / "tensorboard/p/m/cpt/k")
    assert [step for step, _ in scalars["loss"]] == [1, 5, 10, 15]
    assert json.loads(texts["stage/text_summary"]) == {"seed": 0}


def test_a_stage_that_fails_ends_its_log_with_the_reason(tmp_path):
    log = tmp_path / "log.jsonl"
    with pytest.raises(InputError) as raised:
        pipeline.run_spec(
            spec(CPT.model_copy(update={"learning_rate": 1e30})),
            store=Store(tmp_path / "store"),
            log_jsonl=log,
        )
    last = lines(log)[-1]
    assert (last["event"], last["outcome"], last["said"]) == ("end", "failed", str(raised.value))


def test_a_log_goes_on_behind_a_line_that_was_cut_off(tmp_path):
    log, store = tmp_path / "log.jsonl", Store(tmp_path / "store")
    pipeline.run_spec(spec(SFT), store=store, log_jsonl=log)
    before = len(lines(log))
    log.write_text(log.read_text("utf-8") + '{"time": "2026', "utf-8")
    pipeline.run_spec(spec(SFT), store=store, log_jsonl=log)
    cut, *new = log.read_text("utf-8").splitlines()[before:]
    assert cut == '{"time": "2026' and [json.loads(row)["event"] for row in new] == ["reused"]


@pytest.mark.parametrize("content", [b"pack: materials\n", b'{"a": 1}\n', b"[]\n", b"\xff\xfe\n"])
def test_a_file_of_something_else_is_no_log(tmp_path, content):
    file = tmp_path / "spec.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"spec\.yaml.* (name a new|name another) file"):
        pipeline.run_spec(spec(CPT), store=Store(tmp_path / "store"), log_jsonl=file)
    assert file.read_bytes() == content and not (tmp_path / "store").exists()


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "log.jsonl"):
        with pytest.raises(InputError, match=r"cannot be written there .*name another file"):
            pipeline.run_spec(spec(CPT), store=Store(tmp_path / "store"), log_jsonl=path)
    assert not (tmp_path / "store").exists()


def test_a_log_that_breaks_is_said_once_and_training_goes_on(tmp_path):
    log = tmp_path / "log.jsonl"

    def break_it(moment):
        if moment.step == 1:
            log.unlink()
            log.mkdir()

    with pytest.warns(ReportNote) as noted:
        made = pipeline.run_spec(
            spec(CPT), store=Store(tmp_path / "store"), log_jsonl=log, progress=break_it
        )
    told = [str(one.message) for one in noted if issubclass(one.category, ReportNote)]
    assert len(told) == 1 and "takes no more reports" in told[0]
    assert made[0].lineage["steps"] == STEPS


# --- other programs ---------------------------------------------------------------------------


def test_tensorboard_reads_what_was_trained_and_nothing_else_changes(tmp_path):
    plain = pipeline.run_spec(spec(CPT, SFT), store=Store(tmp_path / "plain" / "store"))
    with pytest.warns(ReportNote) as noted:
        told = pipeline.run_spec(
            spec(CPT, SFT, report_to="tensorboard"), store=Store(tmp_path / "told" / "store")
        )
    assert [one.key for one in told] == [one.key for one in plain]
    timed = {"wall_seconds"}
    for mine, other in zip(told, plain, strict=True):
        assert {k: v for k, v in mine.lineage.items() if k not in timed} == {
            k: v for k, v in other.lineage.items() if k not in timed
        }
        assert "report_to" not in mine.lineage["spec"]
    assert not (tmp_path / "plain" / "tensorboard").exists()
    for made, note in zip(told, noted, strict=True):
        trail = made.name.rsplit("/", 1)[1]
        folder = tmp_path / "told/tensorboard/materials/llama-s-instruct" / trail / made.key
        assert f"{made.name} is reported to tensorboard: {folder}" in str(note.message)
        scalars, texts = events_of(folder)
        assert [(step, pytest.approx(value)) for step, value in scalars["loss"]] == [
            tuple(point) for point in made.lineage["loss_curve"]
        ]
        assert scalars.keys() >= {"learning_rate", "grad_norm", "tokens_per_second"}
        stage = json.loads(texts["stage/text_summary"])
        assert stage == {"seed": 0, "stage": stage["stage"]}
        assert Stage(**stage["stage"]) == Stage(**made.lineage["stage"])


def test_a_stage_read_from_the_store_says_that_nothing_was_reported(tmp_path):
    store = Store(tmp_path / "store")
    made = pipeline.run_spec(spec(SFT), store=store)[0]
    with pytest.warns(ReportNote) as noted:
        pipeline.run_spec(spec(SFT, report_to="tensorboard"), store=store)
    (note,) = noted
    assert str(note.message) == (
        f"{made.name} was trained before and is read from the store; nothing was reported to "
        "tensorboard, because nothing was trained"
    )
    assert not (tmp_path / "tensorboard").exists()


def test_a_folder_in_the_users_home_is_not_told_to_other_programs(tmp_path, monkeypatch):
    made = pipeline.run_spec(spec(SFT), store=Store(tmp_path / "first"))[0]
    seen, report = [], callbacks.Report
    monkeypatch.setattr(pipeline, "Report", lambda *a, **k: seen.append(a) or report(*a, **k))
    pipeline.run_spec(spec(SFT, model=str(made.folder)), store=Store(tmp_path / "second"))
    ((_, run, config, _),) = seen
    assert str(tmp_path) not in run + json.dumps(config)
    assert run.startswith(f"materials/{made.folder.name}/sft/")


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_program_that_is_not_installed_is_a_sentence_before_anything_is_loaded(
    tmp_path, monkeypatch, name
):
    def not_there(wanted):
        raise PackageNotFoundError(wanted)

    monkeypatch.setattr("importlib.metadata.version", not_there)
    wanted = spec(CPT, report_to=name)
    sentence = rf'report_to: {name} needs the package {name}.* run: pip install "{name}'
    with pytest.raises(SpecError, match=sentence):
        preflight.check(wanted)
    with pytest.raises(SpecError, match=sentence):
        pipeline.run_spec(wanted, store=Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_program_labkit_does_not_know_is_a_sentence(tmp_path):
    save_spec(spec(CPT), tmp_path / "spec.yaml")
    with (tmp_path / "spec.yaml").open("a") as file:
        file.write("report_to: mlflow\n")
    with pytest.raises(SpecError, match=r"report_to: .*'tensorboard', 'trackio' or 'wandb'"):
        load_spec(tmp_path / "spec.yaml")


def test_a_program_that_does_not_start_is_a_sentence_and_leaves_no_checkpoint(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    log = tmp_path / "log.jsonl"
    with pytest.raises(InputError, match=r"report_to: tensorboard does not start .*drop report_to"):
        pipeline.run_spec(
            spec(CPT, report_to="tensorboard"), store=Store(tmp_path / "store"), log_jsonl=log
        )
    assert lines(log)[-1]["outcome"] == "failed"
    assert not Store(tmp_path / "store").all()


def test_a_program_that_breaks_is_said_once_and_training_goes_on(tmp_path, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def broken(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr(SummaryWriter, "add_scalar", broken)
    with pytest.warns(ReportNote) as noted:
        made = pipeline.run_spec(
            spec(CPT, report_to="tensorboard"), store=Store(tmp_path / "store")
        )
    told = [str(one.message) for one in noted]
    assert [("the disk is gone" in one) for one in told] == [False, True]
    assert "training goes on without" in told[1] and made[0].lineage["steps"] == STEPS


def test_only_who_trains_reports(tmp_path, monkeypatch):
    """Neither looking ahead in a notebook nor training somebody else's spec tells anyone."""
    wanted = spec(SFT, report_to="wandb")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReportNote)
        assert [stage.kind for stage in ahead(wanted)] == ["sft"]
    asked = []
    monkeypatch.setattr(verify, "run_spec", lambda given, **_: asked.append(given) or [None])
    data = {"materials": SimpleNamespace(folder=tmp_path)}
    verify._Models._train(SimpleNamespace(data=data, own=None), wanted)
    assert asked[0].report_to is None and asked[0].stages == wanted.stages


def command(tmp_path, name, **environment):
    """`labkit run` in a process of its own, in a home of its own."""
    save_spec(spec(SFT, report_to=name), tmp_path / "spec.yaml")
    return subprocess.run(
        [sys.executable, "-m", "labkit.cli", "run", str(tmp_path / "spec.yaml")],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={
            **{name: value for name, value in os.environ.items() if "WANDB" not in name},
            "HOME": str(tmp_path),
            "LABKIT_HOME": str(tmp_path / "labkit"),
            "TRACKIO_DIR": str(tmp_path / "trackio"),
            **environment,
        },
    )


def test_trackio_keeps_the_numbers_on_this_machine(tmp_path):
    pytest.importorskip("trackio", reason="trackio is not installed; it is optional")
    done = command(tmp_path, "trackio")
    assert done.returncode == 0, done.stderr
    assert "is reported to trackio: on this machine" in done.stderr
    (made,) = Store(tmp_path / "labkit" / "checkpoints").all()
    with sqlite3.connect(tmp_path / "trackio" / "labkit.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    assert [(step, json.loads(told)["loss"]) for _, step, told in rows] == [
        tuple(point) for point in made.lineage["loss_curve"]
    ]
    assert {run.rsplit("/", 1)[1] for run, _, _ in rows} == {made.key}
    assert json.loads(config)["stage"]["kind"] == "sft"


def test_wandb_offline_keeps_the_numbers_and_no_more_than_they(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed; it is optional")
    import platform

    done = command(tmp_path, "wandb", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert "to send it: wandb sync" in done.stderr
    (kept,) = (tmp_path / "labkit" / "wandb").glob("offline-run-*/*.wandb")
    (made,) = Store(tmp_path / "labkit" / "checkpoints").all()
    content = kept.read_bytes()
    for _, loss in made.lineage["loss_curve"]:
        assert str(loss).encode() in content
    assert made.key.encode() in content and b"learning_rate" in content
    machine = platform.node()
    for private in (str(tmp_path), f"{chr(len(machine))}{machine}", "labkit.cli", "spec.yaml"):
        assert private.encode() not in content
    assert not list(kept.parent.glob("files/*"))


def test_wandb_without_a_login_is_a_sentence(tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed; it is optional")
    done = command(tmp_path, "wandb")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: report_to: wandb does not start" in done.stderr
    assert "set WANDB_MODE=offline" in done.stderr
