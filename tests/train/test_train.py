"""Real training of a few steps; each silent trap of the trainers is pinned down here."""

from __future__ import annotations

import copy
import math
import random

import pytest
import torch

from labkit.base.errors import InputError
from labkit.data import world
from labkit.models import zoo
from labkit.train import pipeline, trainers, zoo_build
from labkit.train.specs import Lora


@pytest.fixture
def texts(materials):
    return [row["text"] for row in materials.rows("raw")[:64]]


@pytest.fixture
def chats(materials):
    return [row["messages"] for row in materials.rows("qa")[:64]]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


def captured(monkeypatch):
    """Stops before training and hands out the trainer that would have run."""
    caught = {}

    def stop(trainer, model, *_, tokens, **__):
        caught["trainer"] = trainer
        return trainers.TrainResult(model, tokens=tokens)

    monkeypatch.setattr(trainers, "_run", stop)
    return caught


def test_result_is_free_of_the_trainers_patched_forward(instruct, texts, quick_stage):
    result = trainers.train_cpt(
        quick_stage("cpt"), instruct.model, instruct.tokenizer, texts, replay=[], seed=0
    )
    assert "forward" not in result.model.__dict__
    twin = copy.deepcopy(result.model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        ids = torch.tensor([instruct.tokenizer("Ada Ender")["input_ids"]])
        assert not twin(ids).logits.any() and result.model(ids).logits.any()


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)], ids=["full", "lora"])
def test_dpo_starts_at_log_two_even_with_a_stale_path(instruct, materials, quick_stage, lora):
    instruct.model.config._name_or_path = "some/other-model"
    stage = quick_stage("dpo", lora=lora)
    result = trainers.train_dpo(
        stage, instruct.model, instruct.tokenizer, materials.rows("preferences"), seed=0
    )
    first = result.metrics[0]
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-3)
    assert first["rewards/margins"] == pytest.approx(0, abs=2e-2)


def test_loss_is_on_the_answer_and_its_end_of_turn_only(instruct, chats):
    tokenizer = instruct.tokenizer
    row = trainers.chat_rows(tokenizer, chats[:1], 128)[0]
    trained = [
        token
        for token, label in zip(row["input_ids"], row["labels"], strict=True)
        if label != trainers.IGNORED
    ]
    assert tokenizer.decode(trained) == f"{chats[0][1]['content']}<|end|>"
    assert [label for label in row["labels"] if label != trainers.IGNORED] == trained


def test_answers_are_found_without_generation_markers_too(instruct, chats):
    marked = trainers.chat_rows(instruct.tokenizer, chats, 128)
    instruct.tokenizer.chat_template = zoo_build.CHAT_TEMPLATE.replace(
        "{% generation %}", ""
    ).replace("{% endgeneration %}", "")
    assert trainers.chat_rows(instruct.tokenizer, chats, 128) == marked


def test_a_row_without_any_answer_is_refused(instruct, chats):
    with pytest.raises(InputError, match="max_length 3 cuts every answer off"):
        trainers.chat_rows(instruct.tokenizer, chats[:1], 3)


def test_documents_end_with_the_document_eos(instruct, texts):
    row = trainers.text_rows(instruct.tokenizer, texts[:1], 128)[0]
    assert instruct.tokenizer.convert_ids_to_tokens(row["input_ids"])[-1] == "<eos>"
    assert (
        "<|end|>" not in instruct.tokenizer.decode(row["input_ids"])
        and row["labels"] == row["input_ids"]
    )


def test_documents_stay_in_rows_of_their_own(instruct, texts, quick_stage, monkeypatch):
    caught = captured(monkeypatch)
    trainers.train_cpt(
        quick_stage("cpt"), instruct.model, instruct.tokenizer, texts, replay=[], seed=0
    )
    batch = next(iter(caught["trainer"].get_train_dataloader()))
    eos = instruct.tokenizer.eos_token_id
    assert batch["input_ids"].shape[0] == 8
    assert ((batch["input_ids"] == eos).sum(1) == 1).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == trainers.IGNORED).all()


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_preference_answers_end_once_and_prompts_start_plain(
    instruct, materials, quick_stage, monkeypatch, kind
):
    caught = captured(monkeypatch)
    fit = trainers.train_dpo if kind == "dpo" else trainers.train_orpo
    fit(
        quick_stage(kind), instruct.model, instruct.tokenizer, materials.rows("preferences"), seed=0
    )
    row = caught["trainer"].train_dataset[0]
    tokens = instruct.tokenizer.convert_ids_to_tokens
    prompt, chosen = (
        tokens(row.get("prompt_ids", row.get("prompt_input_ids"))),
        tokens(row.get("chosen_ids", row.get("chosen_input_ids"))),
    )
    assert prompt[0] == "<|user|>" and "<bos>" not in prompt
    assert chosen[-1] == "<|end|>" and "<eos>" not in chosen
    assert chosen.count("<|end|>") - prompt.count("<|end|>") in (0, 1)


def test_own_loss_equals_trls(instruct, texts, quick_stage, monkeypatch):
    from trl import SFTTrainer

    caught = captured(monkeypatch)
    trainers.train_cpt(
        quick_stage("cpt"), instruct.model, instruct.tokenizer, texts, replay=[], seed=0
    )
    trainer = caught["trainer"]
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    ours = trainer.compute_loss(trainer.model, dict(batch))
    theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


def test_same_seed_same_weights(texts, quick_stage):
    def run(seed):
        loaded = zoo.load("llama-s-instruct")
        return weights(
            trainers.train_cpt(
                quick_stage("cpt"), loaded.model, loaded.tokenizer, texts, replay=[], seed=seed
            ).model
        )

    first = run(0)
    assert same(first, run(0)) and not same(first, run(1))


def test_lora_trains_and_folds_in(instruct, texts, quick_stage):
    before = weights(instruct.model)
    stage = quick_stage("cpt", lora=Lora(rank=4, alpha=8), learning_rate=1e-2)
    after = trainers.train_cpt(
        stage, instruct.model, instruct.tokenizer, texts, replay=[], seed=0
    ).model
    state = weights(after)
    assert state.keys() == before.keys()
    changed = {name for name in state if not torch.equal(state[name], before[name])}
    assert changed and all("proj" in name for name in changed)


@pytest.mark.parametrize("kind", ["sft", "orpo"])
def test_stages_learn(instruct, materials, chats, quick_stage, kind):
    stage = quick_stage(kind, steps=12)
    if kind == "sft":
        result = trainers.train_sft(
            stage, instruct.model, instruct.tokenizer, chats, replay=[], seed=0
        )
    else:
        result = trainers.train_orpo(
            stage, instruct.model, instruct.tokenizer, materials.rows("preferences"), seed=0
        )
    assert result.loss_curve[-1][1] < result.loss_curve[0][1]
    assert result.loss_curve[-1][0] >= 10 and result.tokens > 0 and result.wall_seconds > 0


def test_progress_is_told(instruct, texts, quick_stage):
    told = []
    trainers.train_cpt(
        quick_stage("cpt", steps=6),
        instruct.model,
        instruct.tokenizer,
        texts,
        replay=[],
        seed=0,
        progress=told.append,
    )
    assert [at.step for at in told] == [1, 5, 6]
    assert all(
        at.tokens_per_second > 0 and at.seconds_left >= 0 and at.stage == "cpt" for at in told
    )


@pytest.mark.parametrize("kind", ["cpt", "sft", "dpo", "orpo"])
def test_micro_batches_change_nothing_but_rounding(
    instruct, materials, quick_stage, monkeypatch, kind
):
    monkeypatch.setattr(trainers, "bf16_is_fast", lambda: False)

    def run(**changes):
        loaded, stage = zoo.load("llama-s-instruct"), quick_stage(kind, **changes)
        return pipeline.train_stage(stage, loaded, materials, seed=0)

    whole, shared = run(), run(micro_batch_size=2)
    assert [loss for _, loss in whole.loss_curve] == pytest.approx(
        [loss for _, loss in shared.loss_curve], rel=1e-5
    )
    theirs = shared.model.state_dict()
    assert all(
        torch.allclose(value, theirs[name], atol=1e-5)
        for name, value in whole.model.state_dict().items()
    )


@pytest.mark.parametrize("kind", ["cpt", "dpo", "orpo"])
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)], ids=["full", "lora"])
def test_activations_computed_again_are_the_same(materials, quick_stage, kind, lora):
    def run(**changes):
        return pipeline.train_stage(
            quick_stage(kind, lora=lora, **changes), zoo.load("llama-s-instruct"), materials, seed=0
        )

    assert same(weights(run().model), weights(run(activation_checkpointing=True).model))


def test_schedules_after_the_warm_up(instruct, texts, quick_stage):
    rates = {}
    for schedule in ("cosine", "constant"):
        loaded = zoo.load("llama-s-instruct")
        stage = quick_stage("cpt", steps=10, schedule=schedule)
        rates[schedule] = [
            row["learning_rate"]
            for row in trainers.train_cpt(
                stage, loaded.model, loaded.tokenizer, texts, replay=[], seed=0
            ).metrics
        ]
    assert rates["constant"][1:] == [1e-3] * len(rates["constant"][1:])
    assert rates["cosine"][-1] < 1e-4


def test_mix_has_the_asked_share():
    rows, replay = [{"x": i} for i in range(3)], [{"r": 0}]
    mixed = trainers.mix(rows, replay, 0.25, 40, random.Random(0))
    assert len(mixed) == 40 and sum("r" in row for row in mixed) == 10


def test_sliding_window_binds():
    loaded = zoo.load("mistral-s-base")
    lang = world.language("materials")
    text = world.document(lang, world.private_entities("materials")[0], random.Random(0))
    ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
    assert ids.shape[1] > loaded.model.config.sliding_window
    unlimited = copy.deepcopy(loaded.model.config)
    unlimited.sliding_window = None
    other = type(loaded.model)(unlimited)
    other.load_state_dict(loaded.model.state_dict())
    with torch.no_grad():
        ours, theirs = loaded.model(ids).logits[0], other.eval()(ids).logits[0]
    inside = loaded.model.config.sliding_window
    assert torch.allclose(ours[:inside], theirs[:inside], atol=1e-4)
    assert not torch.allclose(ours[-1], theirs[-1], atol=1e-2)
