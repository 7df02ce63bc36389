"""The ready specs: they load, say where every number comes from, and their steps follow from the
pack.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from labkit.base.errors import SpecError
from labkit.data.packs import load_pack, packs_folder, samples_folder
from labkit.design import designer
from labkit.merge.recipes import Merge
from labkit.merge.schedule import PRESETS
from labkit.train.pipeline import check_data, stage_splits
from labkit.train.specs import load_spec

FOLDER = samples_folder("specs")
SIZES = {
    "llama-3.1-8b": "cpt-sft-orpo-slerp",
    "mistral-7b": "cpt-sft-slerp",
    "smollm-1.7b": "cpt-sft-dpo",
}
NAMES = [f"{size}-{method}" for size in SIZES for method in ("full", "lora", "qlora")]


def spec(name: str):
    return load_spec(FOLDER / f"{name}.yaml")


def test_there_are_these_nine():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_is_the_papers_best_recipe(name):
    found, (size, method) = spec(name), name.rsplit("-", 1)
    assert found.trail == SIZES[size]
    start = "instruct" if size.startswith("llama") else "base"
    (names,) = (
        names for label, names in designer.HUB_MODELS.items() if label.lower().startswith(size)
    )
    assert found.model == names[start]
    if found.merge:
        assert (
            found.merge.t == PRESETS["paper"]
            and (found.merge.general or found.model) == names["instruct"]
        )
    assert all(
        (stage.lora is not None, bool(stage.lora and stage.lora.four_bit))
        == (method != "full", method == "qlora")
        for stage in found.stages
    )
    assert all(stage.activation_checkpointing and stage.micro_batch_size for stage in found.stages)
    check_data(found)


@pytest.mark.parametrize("name", NAMES)
def test_steps_follow_from_passes_rows_and_batch(name):
    found, pack = spec(name), load_pack("materials")
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    passes = [int(said) for said in re.findall(r"num_train_epochs (\d)", text)]
    batches = [
        tuple(map(int, said))
        for said in re.findall(
            r"size (\d+) x gradient_accumulation_steps (\d+) x (\d+) process", text
        )
    ]
    for stage, epochs, (at_once, accumulated, processes) in zip(
        found.stages, passes, batches, strict=True
    ):
        rows = sum(len(pack.rows(split)) for split in stage_splits(stage))
        assert stage.batch_size == at_once * accumulated * processes
        assert (
            stage.steps == max(2, round(epochs * rows / stage.batch_size))
            and f"{epochs} x {rows} rows / {stage.batch_size}" in text
        )


@pytest.mark.parametrize("size", SIZES)
def test_adapters_take_ten_times_the_rate_and_all_else_is_the_same(size):
    full, lora, qlora = (spec(f"{size}-{method}") for method in ("full", "lora", "qlora"))
    for mine, theirs, fourth in zip(full.stages, lora.stages, qlora.stages, strict=True):
        assert (
            theirs.learning_rate == fourth.learning_rate == pytest.approx(10 * mine.learning_rate)
        )
        change = {"learning_rate": 1.0, "micro_batch_size": None, "lora": None}
        assert (
            mine.model_copy(update=change)
            == theirs.model_copy(update=change)
            == fourth.model_copy(update=change)
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_number_says_where_it_comes_from(name):
    for line in (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines():
        assert len(line) <= 160
        if re.match(r"^(- |  )\w+: ", line) and "lora:" not in line:
            assert "  # " in line, line


def test_the_page_has_what_the_planner_says_today(tmp_path, monkeypatch):
    """docs/gpu.md is written by benchmarks/gpu_plans.py, with no tokenizer of these models in the
    cache.
    """
    from labkit.design import planner_memory

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    planner_memory._tokenizer.cache_clear()
    planner_memory._lengths_of.cache_clear()
    place = importlib.util.spec_from_file_location(
        "gpu_plans", Path(__file__).parents[2] / "benchmarks" / "gpu_plans.py"
    )
    script = importlib.util.module_from_spec(place)
    place.loader.exec_module(script)
    page = script.PAGE.read_text("utf-8")
    assert page.split(script.START)[1].split(script.END)[0].strip() == script.tables()
    assert all(f"`{size}-full`" in page for size in SIZES)


BESIDE = """
pack: mine
model: tuned
stages: gentle
merge: {method: task_vector, general: other, ancestor: llama-s-base}
"""


def test_folders_are_looked_for_here_and_then_beside_the_spec(tmp_path, monkeypatch):
    there = tmp_path / "there"
    for name in ("mine", "tuned", "other", "llama-s-base"):
        (there / name).mkdir(parents=True)
    (there / "spec.yaml").write_text(BESIDE)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    found = load_spec(Path("there/spec.yaml"))
    assert (found.pack, found.model) == ("there/mine", "there/tuned")
    # a folder here comes first, and a model that comes with labkit before any folder
    assert (found.merge.general, found.merge.ancestor) == ("other", "llama-s-base")
    monkeypatch.chdir(there)
    assert load_spec(Path("spec.yaml")).pack == "mine"


def test_a_pack_beside_the_spec_trains(tmp_path, monkeypatch):
    shutil.copytree(packs_folder() / "legal", tmp_path / "there" / "mine")
    (tmp_path / "there" / "spec.yaml").write_text(
        "{pack: mine, model: llama-s-base, stages: gentle}"
    )
    monkeypatch.chdir(tmp_path)
    check_data(load_spec(Path("there/spec.yaml")))


@pytest.mark.parametrize(
    "field,value,words",
    [
        ("steps", "true", "stages.0.steps: must not be true"),
        ("learning_rate", "yes", "stages.0.learning_rate: must not be true"),
        ("learning_rate", ".inf", "stages.0.learning_rate: Input should be a finite number"),
        ("beta", "true", "stages.0.beta: must not be true"),
        ("lora", "{rank: true, alpha: 2}", "stages.0.lora.rank: must not be true"),
    ],
)
def test_no_number_is_true_or_without_end(tmp_path, field, value, words):
    fields = {"kind": "dpo", "learning_rate": "1.0e-4", "steps": "2"}
    fields |= {"activation_checkpointing": "true", field: value}
    stage = ", ".join(f"{name}: {said}" for name, said in fields.items())
    path = tmp_path / "spec.yaml"
    path.write_text(
        f"pack: materials\nmodel: llama-s-base\nstages: [{{{stage}}}]\nprofile: smoke\n"
    )
    with pytest.raises(SpecError, match=words):
        load_spec(path)


def test_t_is_not_true():
    with pytest.raises(ValidationError, match="must not be true"):
        Merge(t=True)
    assert Merge(t=1, extrapolate=True).extrapolate
