"""Two real processes over gloo, started as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from labkit.base import processes
from labkit.base.store import Store
from labkit.data.packs import samples_folder
from labkit.train import pipeline, trainers
from labkit.train.specs import Lora, PipelineSpec, Stage, save_spec

RANKS = Path(__file__).parents[1] / "ranks.py"
CLOSE = 1e-4  # of a logged loss; float32 adds in another order


def launch(*arguments: object) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *map(str, arguments),
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def compare(spec: PipelineSpec, folder: Path, monkeypatch, *how: str) -> str:
    """Run a spec alone and in two processes; their checkpoints must have the same keys, losses and
    weights.
    """
    monkeypatch.setattr(trainers, "bf16_is_fast", lambda: False)
    alone = pipeline.run_spec(spec, store=Store(folder / "alone"))
    save_spec(spec, folder / "spec.yaml")
    done = launch(RANKS, folder / "spec.yaml", folder / "two", *how)
    assert done.returncode == 0, done.stderr[-3000:]
    store = Store(folder / "two")
    assert {path.name for path in store.root.iterdir() if path.is_dir()} == {
        made.key for made in alone
    }
    log = [json.loads(line) for line in (folder / "two.jsonl").read_text("utf-8").splitlines()]
    for made in alone:
        theirs = store.find(made.key)
        mine = [row for row in log if row["key"] == made.key]  # of the first process alone
        assert [row["event"] for row in mine] == ["start", *["step"] * (len(mine) - 2), "end"]
        assert [[row["step"], row["loss"]] for row in mine[1:-1]] == theirs.lineage["loss_curve"]
        steps, losses = zip(*made.lineage["loss_curve"], strict=True)
        their_steps, their_losses = zip(*theirs.lineage["loss_curve"], strict=True)
        assert their_steps == steps and list(their_losses) == pytest.approx(
            list(losses), rel=CLOSE
        ), made.name
        one, two = (load_file(c.folder / "model.safetensors") for c in (made, theirs))
        assert one.keys() == two.keys() and all(
            torch.allclose(one[name].float(), two[name].float(), atol=1e-4) for name in one
        ), made.name
    return done.stdout


def stages(*wanted: str, **changes) -> tuple[Stage, ...]:
    rates = {"cpt": 1e-3, "sft": 1e-3, "dpo": 1e-4, "orpo": 1e-4}
    return tuple(
        Stage(
            **{"kind": kind, "learning_rate": rates[kind], "steps": 5, "batch_size": 8, **changes}
        )
        for kind in wanted
    )


def test_two_processes_train_as_one(tmp_path, monkeypatch):
    """Every kind of stage, whole and with adapters, with and without micro-batches; DPO long enough
    for a second pass.
    """
    recipe = (
        *stages("cpt"),
        *stages("sft", replay=0.5, micro_batch_size=2),
        Stage(kind="dpo", learning_rate=1e-4, steps=6, batch_size=44),
        *stages("orpo", micro_batch_size=2),
        *stages("cpt", lora=Lora(rank=4, alpha=8)),
    )
    told = compare(
        PipelineSpec(pack="materials", model="llama-s-instruct", stages=recipe),
        tmp_path,
        monkeypatch,
    )
    lines = told.splitlines()
    assert lines.count("at sft 1") == 1 and lines.count("at dpo 6") == 1
    assert lines.count("held as Parameter") == 2 * len(recipe)


def test_sharded_weights_are_gathered_whole(tmp_path, monkeypatch):
    recipe = (
        *stages("cpt", activation_checkpointing=True),
        *stages("dpo", lora=Lora(rank=4, alpha=8)),
    )
    told = compare(
        PipelineSpec(pack="materials", model="llama-s-instruct", stages=recipe),
        tmp_path,
        monkeypatch,
        "sharded",
    )
    assert told.splitlines().count("held as DTensor") == 2 * len(recipe)


@pytest.mark.parametrize(
    "name,machines,processes_in_all",
    [("one_gpu", 1, 1), ("fsdp2_one_node", 1, 8), ("fsdp2_two_nodes", 2, 16)],
)
def test_shipped_configurations_are_what_accelerate_reads(name, machines, processes_in_all):
    """Down to the environment its launcher hands to the processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = samples_folder("accelerate") / f"{name}.yaml"
    given = [
        "--config_file",
        str(file),
        "--main_process_ip",
        "127.0.0.1",
        "-m",
        "labkit.cli",
        "run",
        "spec.yaml",
    ]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(given))
    assert (arguments.num_machines, arguments.num_processes, arguments.mixed_precision) == (
        machines,
        processes_in_all,
        "bf16",
    )
    assert bool(arguments.use_fsdp) == name.startswith("fsdp2")
    if arguments.use_fsdp:
        handed = prepare_multi_gpu_env(arguments)
        assert handed["ACCELERATE_USE_FSDP"] == "true" and handed["FSDP_VERSION"] == "2"
        assert (
            handed["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
            and handed["FSDP_STATE_DICT_TYPE"] == "SHARDED_STATE_DICT"
        )


def test_what_cannot_run_is_said_once(tmp_path):
    save_spec(
        PipelineSpec(
            pack="materials", model="llama-s-instruct", stages=stages("cpt", batch_size=9)
        ),
        tmp_path / "spec.yaml",
    )
    done = launch(RANKS, tmp_path / "spec.yaml", tmp_path / "store")
    assert done.returncode != 0
    assert done.stderr.count("batch_size 9 cannot be shared by 2 processes") == 1


def test_one_process_waits_for_nobody(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    processes.start()
    processes.wait()
    assert (processes.count(), processes.rank(), processes.is_main(), processes.from_main("x")) == (
        1,
        0,
        True,
        "x",
    )
    assert not torch.distributed.is_initialized()
    with pytest.raises(KeyError), processes.one_voice():
        raise KeyError("as it was")
