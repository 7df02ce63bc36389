"""Merging from folder to folder; against the in-memory merge, transformers' own reading, and a
memory bound.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from labkit.base.errors import InputError, MergeError, StoreError
from labkit.merge import methods, stream
from labkit.merge.guards import MergeWarning
from labkit.merge.recipes import Merge
from labkit.merge.schedule import PRESETS
from labkit.models import zoo

BASE, INSTRUCT = (zoo.shipped_folder() / f"llama-s-{start}" for start in ("base", "instruct"))
USUAL = Merge(t=0.3)


def merged(tmp_path, general, domain, wanted=USUAL, **options):
    output = tmp_path / "out"
    output.mkdir()
    stream.merge_folders(general, domain, output, wanted, **options)
    return output


@pytest.mark.parametrize("method", ["slerp", "slerp_paper", "lerp", "task_vector"])
def test_equals_the_merge_in_memory(tmp_path, method):
    ancestor = BASE if method == "task_vector" else None
    wanted = Merge(t=PRESETS["paper"], method=method, ancestor="x" if ancestor else None)
    twin = zoo.shipped_folder() / "llama-s-twin-instruct"
    output = merged(tmp_path, INSTRUCT, twin, wanted, ancestor=ancestor)
    a, b, c = (load_file(folder / "model.safetensors") for folder in (INSTRUCT, twin, BASE))
    expected = methods.Pairing(a, b, ancestor=c if ancestor else None).merge(wanted.t, method)
    found = load_file(output / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_shards_in_and_out_load_in_transformers(tmp_path):
    loaded = zoo.load("mistral-s-instruct")
    loaded.model.save_pretrained(tmp_path / "sharded", max_shard_size="1MB")
    loaded.tokenizer.save_pretrained(tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    told = []
    general = zoo.shipped_folder() / "mistral-s-base"
    with pytest.warns(MergeWarning, match="bfloat16, the domain model in float32"):
        output = merged(
            tmp_path,
            general,
            tmp_path / "sharded",
            Merge(t=1.0),
            shard_bytes=10**6,
            progress=lambda done, total: told.append((done, total)),
        )
    assert len(json.loads((output / stream.INDEX).read_text())["weight_map"]) == len(
        loaded.model.state_dict()
    )
    found = zoo.load(str(output))
    assert all(
        torch.allclose(v, loaded.model.state_dict()[n], atol=1e-6)
        for n, v in found.model.state_dict().items()
    )
    assert found.tokenizer.chat_template == loaded.tokenizer.chat_template
    assert told[-1][0] == told[-1][1] and [done for done, _ in told] == sorted(
        done for done, _ in told
    )


def test_dtype_is_written_to_weights_and_config(tmp_path):
    output = merged(tmp_path, BASE, INSTRUCT, Merge(dtype="float16"))
    assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {
        torch.float16
    }
    assert json.loads((output / "config.json").read_text())["dtype"] == "float16"


def test_a_tied_models_copied_head_does_not_come_back(tmp_path):
    shutil.copytree(INSTRUCT, tmp_path / "copied")
    tensors = load_file(INSTRUCT / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "copied" / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(MergeWarning, match="left out"):
        output = merged(tmp_path, BASE, tmp_path / "copied")
    assert "lm_head.weight" not in load_file(output / "model.safetensors")


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "bloom"])
def test_a_trained_head_beside_tied_embeddings_is_refused_under_every_name(tmp_path, kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=30,
        tie_word_embeddings=False,
    )
    for name in "ab":
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / name)
        path = tmp_path / name / "config.json"
        said = json.loads(path.read_text())
        path.write_text(json.dumps(said | {"tie_word_embeddings": True}))
    with pytest.raises(MergeError, match=r"says the embeddings are tied, but \w+.weight differs"):
        merged(tmp_path, tmp_path / "a", tmp_path / "b")


def test_the_dtype_is_written_wherever_a_config_names_one(tmp_path):
    shutil.copytree(BASE, tmp_path / "old")
    path = tmp_path / "old" / "config.json"
    said = json.loads(path.read_text()) | {"torch_dtype": "float32"}
    path.write_text(json.dumps(said | {"vision_config": {"dtype": "float32"}}))
    output = merged(tmp_path, tmp_path / "old", INSTRUCT, Merge(dtype="float16"))
    found = json.loads((output / "config.json").read_text())
    assert (found["dtype"], found["torch_dtype"]) == ("float16", "float16")
    assert found["vision_config"] == {"dtype": "float16"}


def test_whole_numbers_beside_the_weights_do_not_hide_the_dtype(tmp_path):
    for name in "ab":
        folder = folder_with(tmp_path, name, w=torch.ones(2), ids=torch.arange(2))
        (folder / "config.json").write_text('{"model_type": "llama", "torch_dtype": "float32"}')
    output = merged(tmp_path, tmp_path / "a", tmp_path / "b", Merge(dtype="bfloat16"))
    found = json.loads((output / "config.json").read_text())
    assert found["dtype"] == found["torch_dtype"] == "bfloat16"


def test_a_merge_that_is_not_finite_is_not_written(tmp_path):
    largest = torch.full((4,), 3e38)
    general = folder_with(tmp_path, "a", w=torch.ones(4), model_norm=largest)
    domain = folder_with(tmp_path, "b", w=torch.ones(4), model_norm=-largest)
    with pytest.raises(MergeError, match="model_norm: the merge has weights that are not finite"):
        merged(tmp_path, general, domain, Merge(method="lerp", t=3.0, extrapolate=True))


def test_a_config_that_describes_no_model_is_one_sentence(tmp_path):
    """Where transformers has to say what the names of the two files mean."""
    for name in "ab":
        shutil.copytree(BASE, tmp_path / name)
        path = tmp_path / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"hidden_act": "gellu"}))
    weights = tmp_path / "b" / "model.safetensors"
    save_file(load_file(weights) | {"model.mask": torch.ones(1)}, weights)
    with pytest.raises(MergeError, match=r"a: transformers cannot build .*config.json .*gellu"):
        merged(tmp_path, tmp_path / "a", tmp_path / "b")


def folder_with(tmp_path, name, **tensors):
    folder = tmp_path / name
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_broken_and_missing_files_say_so(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no .safetensors file"):
        stream.stored(tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"model.safetensors: this safetensors file is broken"):
        stream.stored(tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    (tmp_path / "empty" / stream.INDEX).write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(InputError, match=r"names model-1.safetensors, which is not in the folder"):
        stream.stored(tmp_path / "empty")
    (tmp_path / "empty" / stream.INDEX).write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(InputError, match="not in the folder"):
        stream.stored(tmp_path / "empty")
    for broken in ("{", "{}", '{"weight_map": 3}'):
        (tmp_path / "empty" / stream.INDEX).write_text(broken)
        with pytest.raises(InputError, match="this is no index of shards"):
            stream.stored(tmp_path / "empty")
    save_file({"a": torch.ones(1)}, tmp_path / "empty" / "model-1.safetensors")
    (tmp_path / "empty" / stream.INDEX).write_text(
        '{"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}}'
    )
    with pytest.raises(InputError, match="names the tensor b, which no shard holds"):
        stream.stored(tmp_path / "empty")
    (tmp_path / "empty" / stream.INDEX).unlink()
    save_file({"b": torch.ones(1)}, tmp_path / "empty" / "other.safetensors")
    with pytest.raises(
        InputError, match=r"2 .safetensors files and no model.safetensors.index.json"
    ):
        stream.stored(tmp_path / "empty")


def test_one_file_goes_before_a_stale_index(tmp_path):
    folder = folder_with(tmp_path, "a", w=torch.ones(1))
    (folder / stream.INDEX).write_text('{"weight_map": {"w": "model-00001-of-00001.safetensors"}}')
    assert stream.stored(folder).files["w"] == folder / "model.safetensors"


def test_only_config_and_tokenizer_are_copied(tmp_path):
    general = tmp_path / "general"
    shutil.copytree(BASE, general)
    for name in ("modeling.py", "model.onnx", "lineage.json", "adapter_config.json", "LICENSE.txt"):
        (general / name).write_text("{}")
    names = {path.name for path in merged(tmp_path, general, INSTRUCT).iterdir()}
    assert {"config.json", "tokenizer.json", "LICENSE.txt", "model.safetensors"} <= names
    assert not {"modeling.py", "model.onnx", "lineage.json", "adapter_config.json"} & names


def test_a_trained_head_is_not_thrown_away(tmp_path):
    shutil.copytree(INSTRUCT, tmp_path / "headed")
    tensors = load_file(INSTRUCT / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    save_file(tensors, tmp_path / "headed" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        MergeError, match=r"says the embeddings are tied, but lm_head.weight differs"
    ):
        merged(tmp_path, BASE, tmp_path / "headed")


def test_a_wrapped_general_model_is_written_with_bare_names(tmp_path):
    shutil.copytree(INSTRUCT, tmp_path / "wrapped")
    tensors = {
        f"_orig_mod.{name}": tensor
        for name, tensor in load_file(INSTRUCT / "model.safetensors").items()
    }
    save_file(tensors, tmp_path / "wrapped" / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(MergeWarning, match="all names of the general model begin with '_orig_mod.'"):
        output = merged(tmp_path, tmp_path / "wrapped", BASE, Merge(t=0.0))
    found = zoo.load(str(output)).model.state_dict()
    assert all(
        torch.equal(found[name], tensor)
        for name, tensor in zoo.load("llama-s-instruct").model.state_dict().items()
    )


def test_a_number_and_a_whole_number_of_one_name_are_refused(tmp_path):
    first, second = (
        folder_with(tmp_path, "a", w=torch.ones(4)),
        folder_with(tmp_path, "b", w=torch.ones(4, dtype=torch.int32)),
    )
    with pytest.raises(MergeError, match="w is stored as float32 in the general model and I32"):
        merged(tmp_path, first, second)


def test_a_dtype_that_cannot_be_merged_is_named(tmp_path):
    folder = folder_with(tmp_path, "a", w=torch.ones(4).to(torch.float8_e4m3fn))
    with pytest.raises(InputError, match="w is stored as F8_E4M3, which cannot be merged"):
        stream.stored(folder)


def test_nan_names_the_tensor(tmp_path):
    good, bad = (
        folder_with(tmp_path, "a", w=torch.ones(4)),
        folder_with(tmp_path, "b", w=torch.tensor([1.0, float("nan"), 1, 1])),
    )
    with pytest.raises(MergeError, match="w: the domain model holds NaN"):
        merged(tmp_path, good, bad)


def test_too_small_a_disk_is_noticed_before_writing(tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda path: usage(10**6, 10**6, 1000))
    with pytest.raises(StoreError, match="the disk is full: the merge needs"):
        merged(tmp_path, BASE, INSTRUCT)
    assert not list((tmp_path / "out").iterdir())


MEASURED = '''
import sys
from pathlib import Path
from labkit.merge import stream
from labkit.merge.recipes import Merge
import torch, numkong

def peak_kb():
    """The most memory this process ever held; ru_maxrss would begin with its parent's."""
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

before = peak_kb()
stream.merge_folders(*map(Path, sys.argv[1:4]), Merge(t=0.4))
print(peak_kb() - before)
'''


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_that_of_a_few_tensors(tmp_path):
    tensor_mb, count = 24, 16
    for name in "ab":
        folder_with(
            tmp_path, name, **{f"w{i}": torch.randn(tensor_mb * 2**18) for i in range(count)}
        )
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *(str(tmp_path / n) for n in ("a", "b", "out"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    grown_mb = int(done.stdout) / 1024
    assert (
        grown_mb < tensor_mb * count / 2
    )  # three tensors and what libraries load on first use, not a model


def test_whole_numbers_and_scalars_are_carried_over(tmp_path):
    tensors = {
        "ids": torch.arange(5),
        "mask": torch.tensor([True, False]),
        "scale": torch.tensor(2.0),
        "w": torch.ones(3, 2),
    }
    output = merged(
        tmp_path, folder_with(tmp_path, "a", **tensors), folder_with(tmp_path, "b", **tensors)
    )
    found = load_file(output / "model.safetensors")
    assert found.keys() == tensors.keys() and all(
        found[name].equal(tensor) for name, tensor in tensors.items()
    )
