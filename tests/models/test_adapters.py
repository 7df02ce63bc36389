from __future__ import annotations

import json

import pytest
import torch

from labkit.base.errors import InputError
from labkit.models import adapters, zoo


def tuned_by(base, rank: int, seed: int = 0):
    """A copy of base whose linear layers moved by a random matrix of this rank."""
    model = type(base)(base.config)
    model.load_state_dict(base.state_dict())
    torch.manual_seed(seed)
    with torch.no_grad():
        for _, weight in adapters._linears(model):
            weight += 0.01 * torch.randn(weight.shape[0], rank) @ torch.randn(rank, weight.shape[1])
    return model


@pytest.fixture(scope="module")
def base():
    return zoo.load("llama-s-instruct").model


def test_an_adapter_of_the_full_rank_gives_the_weights_back(base, tmp_path):
    tuned = tuned_by(base, 4)
    kept = adapters.save_adapter(base, tuned, tmp_path, rank=4, base_name="llama-s-instruct")
    assert kept.share == pytest.approx(1.0, abs=1e-5)
    again = zoo.load("llama-s-instruct").model
    adapters.apply_adapter(again, tmp_path)
    for (_, ours), (_, theirs) in zip(
        adapters._linears(again), adapters._linears(tuned), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-3)


def test_a_lower_rank_keeps_less_and_says_so(base, tmp_path):
    assert (
        0.3
        < adapters.save_adapter(base, tuned_by(base, 8), tmp_path, rank=4, base_name="x").share
        < 0.9
    )


def test_peft_reads_it_and_computes_the_same(base, tmp_path):
    from peft import PeftModel

    adapters.save_adapter(base, tuned_by(base, 4), tmp_path, rank=4, base_name="llama-s-instruct")
    ours = zoo.load("llama-s-instruct").model
    adapters.apply_adapter(ours, tmp_path)
    theirs = PeftModel.from_pretrained(
        zoo.load("llama-s-instruct").model, str(tmp_path)
    ).merge_and_unload()
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.allclose(ours(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=1e-4)


def test_a_folder_with_an_adapter_loads_like_a_model(base, tmp_path):
    adapters.save_adapter(base, tuned_by(base, 4), tmp_path, rank=4, base_name="llama-s-instruct")
    loaded = zoo.load(str(tmp_path))
    assert loaded.fingerprint != zoo.load("llama-s-instruct").fingerprint
    assert not torch.equal(
        next(w for _, w in adapters._linears(loaded.model)),
        next(w for _, w in adapters._linears(base)),
    )


def test_what_does_not_fit_is_said(base, tmp_path):
    with pytest.raises(InputError, match="equal weights"):
        adapters.save_adapter(base, base, tmp_path, rank=4, base_name="x")
    moved = tuned_by(base, 2)
    with torch.no_grad():
        moved.model.norm.weight += 1
    with pytest.raises(InputError, match=r"model.norm.weight was trained too"):
        adapters.save_adapter(base, moved, tmp_path, rank=4, base_name="x")
    with pytest.raises(InputError, match="differ in shape"):
        adapters.save_adapter(
            base, zoo.load("smollm-s-base").model, tmp_path, rank=4, base_name="x"
        )
    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="x")
    with pytest.raises(InputError, match="does not fit this model"):
        adapters.apply_adapter(zoo.load("smollm-s-base").model, tmp_path)
    (tmp_path / adapters.WEIGHTS).write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        adapters.apply_adapter(base, tmp_path)
    (tmp_path / adapters.CONFIG).write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(InputError, match="peft_type is 'IA3'"):
        zoo.load(str(tmp_path))


def test_a_merge_can_take_an_adapter_as_a_parent(base, tmp_path, monkeypatch):
    from labkit.merge.recipes import Merge, Recipe
    from labkit.train.pipeline import merge_to_folder

    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    adapters.save_adapter(
        base, tuned_by(base, 4), tmp_path / "tuned", rank=4, base_name="llama-s-instruct"
    )
    out = merge_to_folder(
        Recipe("llama-s-instruct", str(tmp_path / "tuned"), Merge(method="lerp", t=1.0)),
        tmp_path / "out",
    )
    merged, whole = zoo.load(str(out)).model, zoo.load(str(tmp_path / "tuned")).model
    for (_, ours), (_, theirs) in zip(
        adapters._linears(merged), adapters._linears(whole), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=5e-3)


@pytest.mark.parametrize(
    "name,value",
    [
        ("use_rslora", True),
        ("use_dora", True),
        ("alpha_pattern", {"q_proj": 4}),
        ("rank_pattern", {"q_proj": 4}),
        ("bias", "all"),
    ],
)
def test_what_is_not_plain_lora_is_refused(base, tmp_path, name, value):
    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="llama-s-instruct")
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(json.dumps({**config, name: value}))
    with pytest.raises(InputError, match=f"{name} is .* plain LoRA only"):
        zoo.load(str(tmp_path))


@pytest.mark.parametrize(
    "name,value",
    [
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "PiSSA_niter_16"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "loftq"),
        ("alora_invocation_tokens", [5, 6]),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["mlp.experts.down_proj"]),
        ("lora_bias", True),
        ("revision", "v2"),
        ("a_key_of_tomorrow", 3),
    ],
)
def test_a_key_that_may_change_what_is_added_is_refused_by_name(base, tmp_path, name, value):
    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="llama-s-instruct")
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(json.dumps({**config, name: value}))
    with pytest.raises(InputError, match=f"{name} is .* plain LoRA only"):
        zoo.load(str(tmp_path))


def test_what_peft_writes_by_default_is_plain_lora(base, tmp_path):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        zoo.load("llama-s-instruct").model,
        LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights="gaussian"),
    )
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight += 0.01
    adapted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(
        json.dumps({**config, "base_model_name_or_path": "llama-s-instruct"})
    )
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        expected = adapted(input_ids=ids).logits
        found = zoo.load(str(tmp_path)).model(input_ids=ids).logits
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_rank_that_the_config_does_not_name_is_refused(base, tmp_path):
    adapters.save_adapter(base, tuned_by(base, 4), tmp_path, rank=4, base_name="llama-s-instruct")
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(json.dumps({**config, "r": 8}))
    with pytest.raises(InputError, match="does not fit this model"):
        zoo.load(str(tmp_path))


def test_an_adapters_own_tokenizer_and_template_are_used(base, tmp_path):
    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="llama-s-instruct")
    without = zoo.load(str(tmp_path)).tokenizer.chat_template
    (tmp_path / adapters.TEMPLATE).write_text("{{ messages }}", "utf-8")
    assert zoo.load(str(tmp_path)).tokenizer.chat_template == "{{ messages }}" != without
    own = zoo.load("llama-s-instruct").tokenizer
    own.eos_token, own.chat_template = "<|end|>", "{{ messages[0] }}"
    own.save_pretrained(tmp_path)
    found = zoo.load(str(tmp_path)).tokenizer
    assert (found.eos_token, found.chat_template) == ("<|end|>", "{{ messages[0] }}")
    own.add_tokens(["<new>"])
    own.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"counts tokens up to \d+, but the base model has"):
        zoo.load(str(tmp_path))


def test_another_scale_is_another_model(base, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    adapters.save_adapter(
        base, tuned_by(base, 2), tmp_path / "x", rank=2, base_name="llama-s-instruct"
    )
    first, unpacked = (
        zoo.load(str(tmp_path / "x")).fingerprint,
        zoo.model_folder(str(tmp_path / "x")),
    )
    config = json.loads((tmp_path / "x" / adapters.CONFIG).read_text())
    (tmp_path / "x" / adapters.CONFIG).write_text(json.dumps({**config, "lora_alpha": 8}))
    assert (
        zoo.load(str(tmp_path / "x")).fingerprint != first
        and zoo.model_folder(str(tmp_path / "x")) != unpacked
    )


def test_an_adapter_cannot_send_a_reader_to_the_hub_or_in_circles(base, tmp_path):
    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="someone/else")
    with pytest.raises(
        InputError, match="not on this machine; if you trust it: hf download someone/else"
    ):
        zoo.load(str(tmp_path))
    config = json.loads((tmp_path / adapters.CONFIG).read_text())
    (tmp_path / adapters.CONFIG).write_text(
        json.dumps({**config, "base_model_name_or_path": str(tmp_path)})
    )
    with pytest.raises(InputError, match="is an adapter too"):
        zoo.load(str(tmp_path))


def test_an_exported_adapter_keeps_its_origin(base, tmp_path):
    from labkit.share.model_cards import roots

    adapters.save_adapter(base, tuned_by(base, 2), tmp_path, rank=2, base_name="llama-s-instruct")
    assert roots(str(tmp_path)) == ["llama-s-instruct"]
