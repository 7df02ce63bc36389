"""An export as somebody without labkit meets it: it loads, it answers the same, and its card is
true.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from labkit.base.errors import InputError
from labkit.data.packs import load_pack, packs_folder
from labkit.evaluate.scorecards import prompt_ids
from labkit.evaluate.scoring import score_checkpoint
from labkit.merge.recipes import Merge, Recipe
from labkit.models import zoo
from labkit.share.export import export
from labkit.train.pipeline import merge_to_folder, run_spec
from labkit.train.specs import PipelineSpec

OUTSIDE = """
import json, sys
import numpy, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, question, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
asked = [{"role": "user", "content": question}]
chat = tokenizer.apply_chat_template(
    asked, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
plain = AutoModelForCausalLM.from_pretrained(folder)
said = plain.generate(**chat, max_new_tokens=24, do_sample=False)[0].tolist()
same = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
with torch.inference_mode():
    numpy.save(out, same(**chat).logits.numpy())
labkit = any(name.split(".")[0] == "labkit" for name in sys.modules)
print(json.dumps({"said": said, "dtype": str(plain.dtype), "labkit": labkit}))
"""
QUESTION = "What is Bysithfoam modelled on?"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A pack in a folder of this machine."""
    folder = tmp_path_factory.mktemp("packs") / "mine"
    shutil.copytree(packs_folder() / "materials", folder)
    (folder / "pack.yaml").write_text(
        (folder / "pack.yaml").read_text().replace("name: materials", "name: mine")
    )
    return folder


@pytest.fixture(scope="module")
def module_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def home(module_home, monkeypatch):
    """One home for all tests of this file: it is trained once."""
    monkeypatch.setenv("LABKIT_HOME", str(module_home))


@pytest.fixture
def trained(mine, home, quick_stage):
    stages = tuple(quick_stage(kind, steps=4) for kind in ("cpt", "sft"))
    return run_spec(PipelineSpec(pack=str(mine), model="llama-s-instruct", stages=stages, seed=5))[
        -1
    ]


def texts_of(folder) -> dict[str, str]:
    return {
        path.name: path.read_text("utf-8")
        for path in folder.iterdir()
        if path.suffix in (".json", ".md", ".jinja")
    }


def test_it_answers_outside_as_it_answers_here(trained, tmp_path):
    folder = export(trained.name, tmp_path / "out", score=False)
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(folder), QUESTION, str(tmp_path / "logits.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    loaded = zoo.load(str(trained.folder))
    ids = torch.tensor(
        [prompt_ids(loaded.tokenizer, {"messages": [{"role": "user", "content": QUESTION}]})]
    )
    said = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False
    )[0].tolist()
    assert (
        told == {"said": said, "dtype": "torch.float32", "labkit": False}
        and len(said) > ids.shape[1] + 1
    )
    with torch.inference_mode():
        assert np.array_equal(np.load(tmp_path / "logits.npy"), loaded.model(ids).logits.numpy())


def test_the_card_tells_lineage_data_scores_and_diagnoses(trained, mine, tmp_path):
    folder = export(str(trained.folder), tmp_path / "out", profile="smoke")
    card = ModelCard.load(folder / "README.md")
    assert card.data.to_dict() == {
        "license": "apache-2.0",
        "base_model": ["llama-s-instruct"],
        "datasets": ["mine"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["labkit", "cpt", "sft"],
    }
    text = card.text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {title}"
        for title in (
            "Licence",
            "How it was made",
            "Data",
            "Scores",
            "Diagnoses",
            "Limits",
            "How to run it",
        )
    ]
    assert (
        trained.lineage["data"][:12] in text
        and f"| {trained.lineage['tokens']:,} | {trained.lineage['wall_seconds']:.1f} |" in text
    )
    assert (
        "| 1 | cpt | learning rate 0.001, steps 4" in text
        and "| 2 | sft |" in text
        and "Earlier steps" not in text
    )
    assert "Apache-2.0" in text and "| preferences | 180 |" in text
    scored = score_checkpoint(trained, load_pack(mine), profile_name="smoke")
    for axis, found in scored.summary().items():
        assert f"| {axis} | {found} | {found.n} | {found.clusters} |" in text
    assert (
        "| other tokenizer | clear |" in text
        and "Against `llama-s-instruct`" in text
        and "could not be measured" in text
    )


def test_nothing_of_this_machine_is_told_and_nothing_is_left_out_of_the_lineage(
    trained, mine, tmp_path
):
    folder = export(str(trained.folder), tmp_path / "out", score=False)
    for name, text in texts_of(folder).items():
        assert (
            str(tmp_path.parent) not in text
            and str(mine.parent) not in text
            and "/" + mine.parts[1] + "/" not in text
        ), name
    lineage = json.loads((folder / "lineage.json").read_text("utf-8"))
    assert lineage["spec"]["pack"] == "mine" and lineage["seed"] == 5 and lineage["loss_curve"]
    assert [step["stage"]["kind"] for step in (*lineage["earlier"], lineage)] == [
        "cpt",
        "sft",
    ] and "files" not in lineage


def test_a_pack_that_is_gone_is_said_and_does_not_stop_it(trained, mine, tmp_path):
    moved = mine.with_name("moved")
    mine.rename(moved)
    try:
        text = (export(trained.name, tmp_path / "out") / "README.md").read_text("utf-8")
    finally:
        moved.rename(mine)
    assert "Not measured: the pack 'mine' it was made for is not where it was" in text


def test_half_precision_is_half_the_size_and_is_said(home, tmp_path):
    whole, half = (
        export("llama-s-instruct", tmp_path / dtype, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    assert (whole / "model.safetensors").stat().st_mode == (whole / "README.md").stat().st_mode
    assert (half / "model.safetensors").stat().st_size < 0.6 * (
        whole / "model.safetensors"
    ).stat().st_size
    assert (
        "Stored in bfloat16" in (half / "README.md").read_text()
        and "Stored in" not in (whole / "README.md").read_text()
    )
    assert "Rebuild it" in (whole / "README.md").read_text()  # the shipped card comes along


def test_a_merge_is_told_by_its_recipe_and_its_parents_names(trained, tmp_path):
    merged = merge_to_folder(
        Recipe("llama-s-instruct", str(trained.folder), Merge(t=0.25)), tmp_path / "merged"
    )
    text = (export(str(merged), tmp_path / "out", profile="smoke") / "README.md").read_text("utf-8")
    assert (
        f"- model: {trained.name.split('/')[0]}/llama-s-instruct/cpt-sft" in text
        and "t: 0.25" in text
        and "merge_method: slerp" in text
    )
    assert "- merge\n" in text and "by cpt, sft and a merge" in text and trained.key not in text
    assert "| wrong place | clear | the weights lie 0.25 of the way" in text
    assert not (tmp_path / "out" / "lineage.json").exists()


def test_another_models_licence_is_not_invented(home, tmp_path):
    folder = tmp_path / "somebodys"
    shutil.copytree(zoo.model_folder("llama-s-instruct"), folder)
    (folder / "README.md").unlink()
    head = ModelCard.load(
        export(str(folder), tmp_path / "out", score=False) / "README.md"
    ).data.to_dict()
    assert (head["license"], head["license_name"]) == (
        "other",
        "see-parent",
    ) and "base_model" not in head


@pytest.mark.parametrize(
    "spoil,words",
    [
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "llamma"}'),
            "knows no model_type 'llamma'",
        ),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
        (
            lambda folder: (folder / "config.json").unlink(),
            "no config.json, so this is not a Hugging Face model folder",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no .safetensors file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "cannot be loaded"),
    ],
)
def test_what_is_no_model_is_one_sentence_and_leaves_nothing(tmp_path, spoil, words):
    folder = tmp_path / "model"
    shutil.copytree(zoo.model_folder("llama-s-instruct"), folder)
    spoil(folder)
    with pytest.raises(InputError, match=words) as caught:
        export(str(folder), tmp_path / "out")
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*out*"))


def test_weights_that_cannot_be_held_are_refused_and_leave_nothing(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(zoo.model_folder("llama-s-instruct"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 1e9
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"model.norm.weight has values that float16 cannot hold"):
        export(str(folder), tmp_path / "out", dtype="float16")
    assert not list(tmp_path.glob("*out*"))


def test_a_converter_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "convert_hf_to_gguf.py").write_text("raise SystemExit('no')")
    monkeypatch.setattr("labkit.share.export.check_tokenizer", lambda folder: None)
    with pytest.raises(InputError, match="stopped: no"):
        export(
            "llama-s-instruct",
            tmp_path / "out",
            gguf=True,
            converter=tmp_path / "convert_hf_to_gguf.py",
        )
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    "options,words",
    [
        ({"dtype": "float23"}, "--dtype is 'float23'; did you mean"),
        ({"profile": "labb"}, "unknown profile"),
        ({"pack": "materialz"}, "unknown pack"),
        ({"gguf": True}, "no tokenizer that reads"),
    ],
)
def test_options_that_cannot_be_used_are_one_sentence(tmp_path, options, words):
    (tmp_path / "convert.py").write_text("")
    with pytest.raises(InputError, match=words):
        export("llama-s-instruct", tmp_path / "out", converter=tmp_path / "convert.py", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export("llama-s-instruct", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
