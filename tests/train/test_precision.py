"""Which device trains and how it holds weights, as far as a machine without a GPU can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from labkit.base import processes
from labkit.base.errors import SpecError
from labkit.base.store import Store
from labkit.models import zoo
from labkit.train import memory, pipeline, trainers
from labkit.train.specs import Lora, PipelineSpec, Stage

ADAPTERS = Lora(rank=4, alpha=8)


def stage(**changes):
    return Stage(
        **{
            "kind": "cpt",
            "learning_rate": 1e-2,
            "steps": 3,
            "batch_size": 8,
            "lora": ADAPTERS,
            **changes,
        }
    )


def spec(*stages):
    return PipelineSpec(pack="materials", model="llama-s-instruct", stages=stages)


LARGE = processes.MPS_PARAMETERS


@pytest.mark.parametrize(
    ("has", "parameters", "environment", "device"),
    [
        ("", LARGE, {}, "cpu"),
        ("mps", LARGE, {}, "mps"),
        ("mps", LARGE - 1, {}, "cpu"),
        ("mps", LARGE, {"WORLD_SIZE": "2"}, "cpu"),  # gloo knows no such tensors
        ("mps", LARGE, {"ACCELERATE_USE_CPU": "true"}, "cpu"),
        ("cuda", 1, {}, "cuda"),
        ("cuda", LARGE, {"WORLD_SIZE": "2"}, "cuda"),
        ("cuda", LARGE, {"ACCELERATE_USE_CPU": "1"}, "cpu"),
        ("cuda mps", LARGE, {}, "cuda"),
    ],
)
def test_a_device_is_chosen_by_machine_model_and_processes(
    monkeypatch, has, parameters, environment, device
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in has)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in has)
    for name in ("WORLD_SIZE", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.device(parameters) == device


def test_nothing_else_asks_which_devices_there_are():
    package = Path(trainers.__file__).parents[1]
    asking = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"(cuda|mps)\.is_available|is_built\(", path.read_text("utf-8"))
    }
    assert asking == {"base/processes.py"}


@pytest.fixture
def apple(monkeypatch):
    """A machine that says it has Apple's GPU; transformers remembers what it was told."""
    from accelerate.state import AcceleratorState
    from transformers.utils import is_torch_mps_available

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: True)
    is_torch_mps_available.cache_clear()
    yield
    is_torch_mps_available.cache_clear()
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(("parameters", "device"), [(LARGE, "mps"), (LARGE - 1, "cpu")])
def test_transformers_takes_the_device_that_was_chosen_and_keeps_float32(
    apple, tmp_path, monkeypatch, parameters, device
):
    from trl import SFTConfig

    model = zoo.load("llama-s-instruct").model
    monkeypatch.setattr(model, "num_parameters", lambda: parameters)
    given = trainers._common_arguments(stage(), model, 3, 0, str(tmp_path))
    made = SFTConfig(**given)
    assert (made.device.type, made.bf16, made.dataloader_pin_memory) == (device, False, False)
    assert not memory.bf16_is_fast() and not memory.lowered(stage())
    with pytest.raises(SpecError, match="needs a CUDA GPU"):
        memory.check_four_bit([stage(lora=Lora(four_bit=True))])


def test_four_bit_without_a_gpu_is_a_sentence_before_anything_is_loaded(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    wanted = spec(stage(lora=None), stage(lora=Lora(four_bit=True)))
    with pytest.raises(SpecError, match=r"stages.1.lora.four_bit needs a CUDA GPU"):
        pipeline.run_spec(wanted, store=Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_four_bit_without_its_package_or_with_shards_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="pip install --no-deps bitsandbytes"):
        memory.check_four_bit([stage(lora=Lora(four_bit=True))])
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert processes.sharded()
    with pytest.raises(SpecError, match="cannot be sharded"):
        memory.check_four_bit([stage(lora=Lora(four_bit=True))])
    memory.check_four_bit([stage()])


def test_only_adapters_are_trained_on_a_lowered_base(monkeypatch):
    assert not memory.lowered(stage()) or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert memory.lowered(stage()) and not memory.lowered(stage(lora=None))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert not memory.lowered(stage()) and memory.lowered(stage(lora=Lora(four_bit=True)))


def test_settings_of_four_bits_are_what_transformers_takes():
    from transformers import BitsAndBytesConfig

    made = BitsAndBytesConfig(**memory.NF4)
    assert (
        made.bnb_4bit_quant_type,
        made.bnb_4bit_use_double_quant,
        made.bnb_4bit_compute_dtype,
    ) == ("nf4", True, torch.bfloat16)


def test_adapters_are_merged_into_the_base_as_it_is_stored(tmp_path, monkeypatch):
    """A bfloat16 base in training, a float32 base on disk: the result is float32, and what was not
    trained is untouched.
    """
    stored = tmp_path / "stored"
    loaded = zoo.load("llama-s-instruct")
    with torch.no_grad():
        for value in loaded.model.parameters():
            value += 1e-4  # lost in bfloat16
    pipeline.save_model(loaded.model, loaded.tokenizer, stored)
    monkeypatch.setattr(memory, "lowered", lambda wanted: wanted.lora is not None)
    held = []
    original = trainers._trained_model

    def look(trainer, config, base):
        held.append(
            {
                (name.split(".")[-2], value.dtype)
                for name, value in trainer.model.named_parameters()
                if "proj" in name
            }
        )
        return original(trainer, config, base)

    monkeypatch.setattr(trainers, "_trained_model", look)
    wanted = PipelineSpec(pack="materials", model=str(stored), stages=(stage(),))
    made = pipeline.run_spec(wanted, store=Store(tmp_path / "store"))[0]
    before, after = (
        load_file(stored / "model.safetensors"),
        load_file(made.folder / "model.safetensors"),
    )
    assert {dtype for _, dtype in held[0]} == {torch.bfloat16, torch.float32}
    assert {value.dtype for value in after.values()} == {
        torch.float32
    } and after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all("proj" in name for name in changed)
    for name in changed:
        change = after[name] - before[name]
        assert torch.linalg.matrix_rank(change, rtol=1e-3) <= ADAPTERS.rank


def test_adapters_on_four_bits_through_every_stage(tmp_path, monkeypatch):
    """The whole path but for the device: bitsandbytes multiplies on CPUs too, in shapes that are
    multiples of 64.

    It does not vouch for its gradients there: what is held, merged and saved is tested, not what is
    learned.
    """
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed; it is optional")
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    loaded, base = zoo.load("llama-s-instruct"), tmp_path / "base"
    ids = {
        name: getattr(loaded.tokenizer, name)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id")
    }
    shape = {
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    pipeline.save_model(
        AutoModelForCausalLM.from_config(
            LlamaConfig(vocab_size=len(loaded.tokenizer), **shape, **ids)
        ),
        loaded.tokenizer,
        base,
    )
    monkeypatch.setattr(memory, "check_four_bit", lambda stages: None)
    monkeypatch.setattr(memory, "lowered", lambda wanted: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")
    held = []
    original = trainers._trained_model

    def look(trainer, *rest):
        held.append(
            {
                (type(value).__name__, value.dtype)
                for name, value in trainer.model.named_parameters()
                if "proj" in name
            }
        )
        return original(trainer, *rest)

    monkeypatch.setattr(trainers, "_trained_model", look)
    stages = [
        stage(
            kind=kind,
            learning_rate=1e-3,
            lora=Lora(rank=4, alpha=8, four_bit=True),
            micro_batch_size=4,
        )
        for kind in ("cpt", "sft", "dpo", "orpo")
    ]
    made = pipeline.run_spec(
        PipelineSpec(pack="materials", model=str(base), stages=stages),
        store=Store(tmp_path / "store"),
    )
    assert held == [{("Params4bit", torch.uint8), ("Parameter", torch.float32)}] * 4
    assert made[2].lineage["loss_curve"][0][1] == pytest.approx(0.6931, abs=2e-3)
    for checkpoint in made:
        assert {
            value.dtype for value in load_file(checkpoint.folder / "model.safetensors").values()
        } == {torch.float32}
        assert not hasattr(zoo.config_of(checkpoint.folder), "quantization_config")
