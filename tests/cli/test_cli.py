"""The command line as a user meets it: one sentence per error, exit status 2."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import labkit

from labkit.base.store import Store
from labkit.data import packs

SPEC = (
    "pack: {pack}\nmodel: llama-s-instruct\nstages:\n- {{kind: {kind}, learning_rate: "
    "{rate}, steps: {steps}, batch_size: 8}}\n"
)


def spec_file(tmp_path, *, pack="materials", kind="cpt", rate=0.001, steps=3, extra=""):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.format(pack=pack, kind=kind, rate=rate, steps=steps) + extra)
    return path


def assert_one_sentence(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_a_new_process_starts_and_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "labkit.cli"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "Measure" in helped.stdout
    wrong = subprocess.run(
        [*command, "evaluate", "llama-s-instrct"], capture_output=True, text=True, cwd=tmp_path
    )
    assert_one_sentence(wrong, "unknown model")


def test_help_and_lists():
    assert "merge" in labkit("--help").stdout
    listed = labkit("zoo", "list").stdout
    assert "mistral-s-instruct" in listed and "smollm2-135m-instruct" in listed
    assert "| knowledge |" in labkit("zoo", "show", "llama-s-base").stdout


def test_run_evaluate_merge(tmp_path):
    done = labkit("run", spec_file(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = done.stdout.split()[-1]
    scored = labkit("evaluate", folder, "--profile", "smoke", "--save", tmp_path / "card.json")
    assert scored.returncode == 0 and "knowledge" in scored.stdout
    assert json.loads((tmp_path / "card.json").read_text())["items"]
    merged = labkit("merge", "llama-s-instruct", folder, tmp_path / "merged", "--t", "0.3")
    assert merged.returncode == 0 and (tmp_path / "merged" / "model.safetensors").is_file()
    assert_one_sentence(
        labkit("merge", "llama-s-instruct", folder, tmp_path / "merged"), "exists already"
    )


def test_pack_commands(tmp_path):
    listed = labkit("pack", "list").stdout.splitlines()
    for name in packs.shipped_packs():
        row = next(line for line in listed if f" {name} " in line)
        assert ("invented" in row) == packs.load_pack(name).invented
    assert labkit("pack", "check", "legal").returncode == 0
    assert labkit("pack", "build", "legal", "--output", tmp_path / "legal").returncode == 0
    path = tmp_path / "legal" / "qa.jsonl"
    path.write_text(path.read_text().replace('"messages"', '"mesages"', 1))
    assert_one_sentence(
        labkit("pack", "check", tmp_path / "legal"), "qa.jsonl:1:", "did you mean 'messages'"
    )


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["evaluate", "llama-s-instrct"], ["unknown model", "llama-s-instruct"]),
        (["evaluate", "llama-s-base", "--pack", "legl"], ["unknown pack", "'legal' (invented)"]),
        (["evaluate", "llama-s-base", "--profile", "labb"], ["unknown profile", "'lab'"]),
        (["evaluate", "llama-s-base", "--split", "tset"], ["unknown evaluation split"]),
        (["zoo", "build", "llama-x"], ["unknown family", "llama-"]),
        (["pack", "build", "law"], ["unknown pack"]),
        (["pack", "check", "nowhere"], ["unknown pack", "contracts, elements, legal (invented)"]),
        (["run", "none.yaml"], ["no such file"]),
        (
            ["merge", "llama-s-base", "llama-m-base", "out"],
            ["num_hidden_layers is 4 in the general model"],
        ),
        (["merge", "llama-s-base", "llama-s-instruct", "out", "--t", "2"], ["outside [0, 1]"]),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--method", "slep"],
            ["method", "'slerp'"],
        ),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--t", "papr"],
            ["unknown schedule", "'paper'"],
        ),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--method", "task_vector"],
            ["needs ancestor"],
        ),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--dtype", "int4"],
            ["dtype", "bfloat16"],
        ),
        (["merge", "llama-s-base", "llama-s-instrct", "out"], ["unknown model 'llama-s-instrct'"]),
        (["merge", "none.yaml", "out"], ["none.yaml: no such file"]),
        (["merge", "llama-s-base", "./none", "out"], ["unknown model './none'", "give a folder"]),
        (
            ["merge", "llama-s-base", "owner/none", "out"],
            ["there is no such folder", "connect once"],
        ),
        (["merge", "recipe.yaml", "out", "--t", "0.9"], ["--t cannot be given beside a recipe"]),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--t", "nan", "--extrapolate"],
            ["t must be a number"],
        ),
        (
            ["merge", "llama-s-base", "llama-s-instruct", "out", "--t", "1e400", "--extrapolate"],
            ["t must be a number"],
        ),
        (["merge", "llama-s-base", "out"], ["RECIPE.yaml OUT, or GENERAL DOMAIN OUT"]),
        (["merge", ".", "llama-s-base", "out"], ["no .safetensors file"]),
        (["nonsense"], ["No such command"]),
    ],
    ids=lambda value: "-".join(map(str, value))[:40],
)
def test_bad_arguments(arguments, words, tmp_path):
    assert_one_sentence(labkit(*arguments, cwd=tmp_path), *words)


def test_negative_rate_names_the_field(tmp_path):
    assert_one_sentence(
        labkit("run", spec_file(tmp_path, rate=-0.001)),
        "spec.yaml",
        "stages.0.learning_rate",
        "greater than 0",
    )


def test_stage_without_its_data(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    (folder / "preferences.jsonl").unlink()
    assert_one_sentence(
        labkit("run", spec_file(tmp_path, pack=folder, kind="dpo")), "dpo needs preferences.jsonl"
    )
    (folder / "qa.jsonl").write_text("")
    assert_one_sentence(
        labkit("run", spec_file(tmp_path, pack=folder, kind="sft")), "qa.jsonl", "empty"
    )
    (folder / "raw.jsonl").write_text('{"text": "a"}\n{"text": \n')
    assert_one_sentence(labkit("run", spec_file(tmp_path, pack=folder)), "raw.jsonl:2: broken JSON")


def test_different_tokenizers_in_a_merge(tmp_path):
    from labkit.models import zoo

    shutil.copytree(zoo.shipped_folder() / "llama-s-base", tmp_path / "other")
    tokenizer = zoo.load("llama-s-base").tokenizer
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(tmp_path / "other")
    assert_one_sentence(
        labkit("merge", "llama-s-instruct", tmp_path / "other", tmp_path / "out"),
        "tokenizers differ",
    )


def test_broken_model_folder(tmp_path):
    from labkit.models import zoo

    shutil.copytree(zoo.shipped_folder() / "llama-s-base", tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").write_text("{")
    assert_one_sentence(labkit("evaluate", tmp_path / "other"), "cannot be loaded")


RECIPE = """
merge_method: slerp
base_model: {general}
models: [{{model: {general}}}, {{model: llama-s-base}}]
parameters:
  t: [{{filter: {pattern}, value: [0, 1]}}, {{value: 0.5}}]
"""


def test_merge_from_a_recipe_says_which_end_is_which(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(general="llama-s-instruct", pattern="self_attn"))
    done = labkit("merge", path, tmp_path / "out")
    assert done.returncode == 0 and "t=0 is llama-s-instruct, t=1 is llama-s-base" in done.stdout
    assert "base_model:" in (tmp_path / "out" / "README.md").read_text()
    again = labkit("merge", tmp_path / "out" / "mergekit_config.yml", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()


def test_a_recipe_that_cannot_run_leaves_nothing(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(general="llama-s-instruct", pattern="attn_self"))
    assert_one_sentence(
        labkit("merge", path, tmp_path / "out"),
        "recipe.yaml: parameters.t: filter 'attn_self' is part of no tensor's name",
    )
    path.write_text(RECIPE.format(general="nowhere", pattern="mlp"))
    assert_one_sentence(
        labkit("merge", path, tmp_path / "out"),
        "recipe.yaml: models.0.model: unknown model 'nowhere'",
    )
    assert not (tmp_path / "out").exists()


def test_what_only_looks_different_is_a_note(tmp_path):
    assert (
        labkit(
            "merge",
            "llama-s-base",
            "llama-s-instruct",
            tmp_path / "wide",
            "--dtype",
            "float32",
            "--t",
            "1",
        ).returncode
        == 0
    )
    done = labkit("merge", "llama-s-base", tmp_path / "wide", tmp_path / "out", "--t", "ramp")
    assert (
        done.returncode == 0
        and "note: the general model is stored in bfloat16, the domain model in float32"
        in done.stderr
    )
    assert (
        labkit(
            "merge",
            "llama-s-base",
            tmp_path / "wide",
            tmp_path / "far",
            "--t",
            "1.3",
            "--extrapolate",
        ).returncode
        == 0
    )


@pytest.fixture
def small_disk(tmp_path):
    """A really small disk: size -> its folder. Skips where it cannot be mounted."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a really full disk needs a mount, and that needs root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(size):
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
        ).returncode:
            pytest.skip("this machine does not allow mounting a small disk")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True)


def assert_disk_full(done):
    """The sentence, after whatever bar was drawn while there still was room."""
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (
        done.stderr.strip().splitlines()[-1].startswith("error: ")
        and "the disk is full" in done.stderr
    )


def test_a_merge_on_a_full_disk_leaves_no_half_output(small_disk):
    small = small_disk("2100k")
    assert_one_sentence(
        labkit("merge", "llama-s-base", "llama-s-instruct", small / "out", "--dtype", "float32"),
        "the disk is full",
    )
    assert not list(small.iterdir())
    # room for the weights by what the disk says beforehand, but not for the tokenizer after them
    assert_disk_full(labkit("merge", "llama-s-base", "llama-s-instruct", small / "out"))
    assert not list(small.iterdir())


def test_no_write_access(tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_sentence(
        labkit("run", spec_file(tmp_path), LABKIT_HOME=str(tmp_path / "file")),
        "no write access",
        "LABKIT_HOME",
    )


def test_disk_full(small_disk, tmp_path):
    small = small_disk("300k")
    assert_disk_full(labkit("run", spec_file(tmp_path), LABKIT_HOME=str(small)))
    assert not list((small / "checkpoints").glob("*/lineage.json"))


@pytest.mark.unix
def test_ctrl_c_keeps_finished_stages(tmp_path):
    extra = "- {kind: sft, learning_rate: 0.001, steps: 5000, batch_size: 8}\n"
    path = spec_file(tmp_path, extra=extra)
    process = subprocess.Popen(
        [sys.executable, "-m", "labkit.cli", "run", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore Ctrl-C, and pass that on
    )
    store = Store()
    deadline = time.monotonic() + 120
    while not store.all() or not list(store.root.glob(".*.draft")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (
        process.returncode == 130 and "Traceback" not in told and "finished stages are kept" in told
    )
    assert [c.name.split("/")[-1] for c in store.all()] == ["cpt"]
    assert not list(store.root.glob(".*.draft"))


def test_scenarios_and_their_errors(tmp_path):
    done = labkit("scenarios", "llama-s-instruct", "--pack", "legal", COLUMNS="160")
    assert done.returncode == 0 and "honest proposal" in done.stdout and "20 of 20" in done.stdout
    mine = tmp_path / "mine.yaml"
    mine.write_text("- {name: a, about: b, at_least: 1, cases: [{ask: c, expect: {sayz: d}}]}")
    assert_one_sentence(
        labkit("scenarios", "llama-s-instruct", "--file", mine),
        "mine.yaml",
        "scenario a",
        "did you mean 'says'",
    )


def test_gate_says_what_fell_and_exits_with_one(tmp_path):
    spec = spec_file(tmp_path, rate=0.01, steps=40)
    folder = labkit("run", spec).stdout.split()[-1]
    name = json.loads((Path(folder) / "lineage.json").read_text("utf-8"))["name"]
    done = labkit("gate", name, "--baseline", "llama-s-instruct", COLUMNS="200")
    assert (
        done.returncode == 1
        and "held back: " in done.stdout
        and "instructions fell by" in done.stdout
        and "other tokenizer" in done.stdout
    )
    passed = labkit(
        "gate",
        "llama-s-instruct",
        "--baseline",
        "llama-s-instruct",
        "--pack",
        "materials",
        "--profile",
        "smoke",
    )
    assert passed.returncode == 0 and "passed: " in passed.stdout
    thresholds = tmp_path / "gate.yaml"
    thresholds.write_text("must_hold: {speed: 0.1}")
    assert_one_sentence(
        labkit("gate", folder, "--baseline", "llama-s-instruct", "--thresholds", thresholds),
        "gate.yaml",
        "must_hold.speed",
    )
    assert_one_sentence(
        labkit("gate", folder, "--baseline", "llama-s-instruct", "--pack", "nowhere"),
        "unknown pack 'nowhere'",
    )
