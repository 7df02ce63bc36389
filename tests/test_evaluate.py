from __future__ import annotations

import pytest
import torch

from labkit import evaluate
from labkit.errors import InputError, PairingError


def test_answers_are_whole_words():
    assert evaluate.says("silk", "X is modelled on Silk.")
    assert not evaluate.says("silk", "silky") and not evaluate.says("1", "grade 11")


def test_compositional_needs_form_and_fact():
    item = {"checks": ["json"], "answer": "silk"}
    assert evaluate.score_answer(item, '{"answer": "silk"}') == 1
    assert evaluate.score_answer(item, '{"answer": "wood"}') == 0
    assert evaluate.score_answer(item, "silk") == 0
    assert evaluate.score_answer({"checks": ["json"]}, '{"answer": "wood"}') == 1


def test_proposals_must_be_valid_new_and_different():
    item = {"pattern": r"use (silk|wood) for ropes\."}
    good, other = "use silk for ropes.", "use wood for ropes."
    assert evaluate.score_proposals(item, [good, other], "") == 1
    assert evaluate.score_proposals(item, [good, good], "") == 0.5
    assert evaluate.score_proposals(item, [good, "use steel for ropes."], "") == 0.5
    assert evaluate.score_proposals(item, [good, other], f"text. {good}") == 0.5


def test_batches_cover_everything_within_budget():
    lengths = [5, 100, 3, 40, 41, 7]
    made = list(evaluate.batches(lengths, budget=100))
    assert sorted(i for batch in made for i in batch) == list(range(6))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 100 for batch in made)


def test_likelihoods_equal_a_plain_forward_pass(instruct):
    tokenizer = instruct.tokenizer
    item = {"messages": [{"role": "user", "content": "Where does Ada Ender live?"}]}
    context = evaluate.prompt_ids(tokenizer, item)
    rows = [evaluate.choice_ids(tokenizer, item, choice) for choice in ("Oslo", "Ada Ender lives in Oslo.")]
    assert all(row[: len(context)] == context for row in rows)
    batched = evaluate.log_likelihoods(instruct.model, tokenizer.pad_token_id, [context] * 2, rows)
    for row, value in zip(rows, batched, strict=True):
        with torch.no_grad():
            logp = instruct.model(torch.tensor([row])).logits[0].log_softmax(-1)
        alone = sum(float(logp[i - 1, row[i]]) for i in range(len(context), len(row)))
        assert value == pytest.approx(alone, abs=1e-3)


def test_batched_generation_equals_one_by_one(instruct, materials):
    prompts = [evaluate.prompt_ids(instruct.tokenizer, row) for row in materials.rows("test") if row["axis"] == "general"][:12]
    together = evaluate.generate(instruct.model, instruct.tokenizer, prompts)
    alone = [evaluate.generate(instruct.model, instruct.tokenizer, [prompt])[0] for prompt in prompts]
    assert together == alone


def test_samples_follow_the_seed(instruct):
    prompts = [evaluate.prompt_ids(instruct.tokenizer, {"messages": [{"role": "user", "content": "Propose a story with rice in Lima."}]})]
    draw = [evaluate.generate(instruct.model, instruct.tokenizer, prompts, samples=4, seed=seed)[0] for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2] and len(draw[0]) == 4


def test_scorecard_keeps_every_item_and_round_trips(instruct, materials, tmp_path):
    card = evaluate.evaluate(instruct.model, instruct.tokenizer, materials, split="dev", limit=4, samples=2, checkpoint="x")
    assert card.axes() == list(evaluate.AXES + evaluate.CONTROLS)
    assert len({item.id for item in card.items}) == len(card.items)
    card.save(tmp_path / "card.json")
    assert evaluate.Scorecard.load(tmp_path / "card.json") == card
    assert evaluate.compare(card, card, "knowledge").mean == 0


def test_shipped_instruct_knows_its_world_and_not_the_pack(instruct, materials):
    card = evaluate.evaluate(instruct.model, instruct.tokenizer, materials, axes=("general", "knowledge"), samples=1)
    assert card.interval("general").mean >= 0.9
    assert card.interval("knowledge", "cloze").mean < 0.2


def test_cards_of_different_items_do_not_compare(instruct, materials):
    few, more = (
        evaluate.evaluate(instruct.model, instruct.tokenizer, materials, split="dev", axes=("general",), limit=n) for n in (2, 3)
    )
    with pytest.raises(PairingError):
        evaluate.compare(few, more, "general")


def test_unknown_split_and_axis(instruct, materials):
    with pytest.raises(InputError, match="did you mean 'test'"):
        evaluate.evaluate(instruct.model, instruct.tokenizer, materials, split="tets")
    with pytest.raises(InputError, match="did you mean 'reasoning'"):
        evaluate.evaluate(instruct.model, instruct.tokenizer, materials, axes=("reasonning",))


