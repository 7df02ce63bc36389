from __future__ import annotations

import json

import pytest
import torch

from labkit.base.errors import InputError, PairingError
from labkit.data import instructions
from labkit.data.packs import check_pack, load_pack
from labkit.evaluate import scorecards
from labkit.models import zoo
from studies.miniatures import miniature, tokenizer


def test_answers_are_whole_words():
    assert scorecards.says("silk", "X is modelled on Silk.")
    assert not scorecards.says("silk", "silky") and not scorecards.says("1", "grade 11")


def test_compositional_needs_form_and_fact():
    item = {"checks": ["json"], "answer": "silk"}
    assert scorecards.score_answer(item, '{"answer": "silk"}') == 1
    assert scorecards.score_answer(item, '{"answer": "wood"}') == 0
    assert scorecards.score_answer(item, "silk") == 0
    assert scorecards.score_answer({"checks": ["json"]}, '{"answer": "wood"}') == 1


def test_proposals_must_be_valid_new_and_different():
    item = {"pattern": r"use (silk|wood) for ropes\."}
    good, other = "use silk for ropes.", "use wood for ropes."
    assert scorecards.score_proposals(item, [good, other], "") == 1
    assert scorecards.score_proposals(item, [good, good], "") == 0.5
    assert scorecards.score_proposals(item, [good, "use steel for ropes."], "") == 0.5
    assert scorecards.score_proposals(item, [good, other], f"text. {good}") == 0.5


def test_batches_cover_everything_within_budget():
    lengths = [5, 100, 3, 40, 41, 7]
    made = list(scorecards.batches(lengths, budget=100))
    assert sorted(i for batch in made for i in batch) == list(range(6))
    assert all(len(batch) * max(lengths[i] for i in batch) <= 100 for batch in made)


@pytest.mark.parametrize("name", ["llama-s-instruct", "mistral-s-instruct", "smollm-s-instruct"])
def test_likelihoods_equal_a_plain_forward_pass(name):
    """Contexts of different length, read once and shared; a sliding window that is shorter than a
    row included.
    """
    loaded = zoo.load(name)
    tokenizer = loaded.tokenizer
    item = {"messages": [{"role": "user", "content": "Where does Ada Ender live?"}]}
    longer = {
        "messages": [
            {
                "role": "user",
                "content": "What is the job of Ada Ender? Give only the answer, at most two words.",
            }
        ]
    }
    pairs = []
    for asked, choices in (
        (item, ("Oslo", "Ada Ender lives in Oslo.")),
        (longer, ("pilot",)),
        ({"prompt": "Ada"}, ("Ender lives in Oslo.",)),
    ):
        context, tails = scorecards.split_at_choices(tokenizer, asked, choices)
        assert context == scorecards.prompt_ids(tokenizer, asked)
        pairs += [(context, context + tail) for tail in tails]
    batched = scorecards.log_likelihoods(
        loaded.model, tokenizer.pad_token_id, *map(list, zip(*pairs, strict=True))
    )
    for (context, row), value in zip(pairs, batched, strict=True):
        with torch.no_grad():
            logp = loaded.model(torch.tensor([row])).logits[0].log_softmax(-1)
        alone = sum(float(logp[i - 1, row[i]]) for i in range(len(context), len(row)))
        assert value == pytest.approx(alone, abs=1e-3)


def test_batched_generation_equals_one_by_one(instruct, materials):
    prompts = [
        scorecards.prompt_ids(instruct.tokenizer, row)
        for row in materials.rows("test")
        if row["axis"] == "general"
    ][:12]
    together = scorecards.generate(instruct.model, instruct.tokenizer, prompts)
    alone = [
        scorecards.generate(instruct.model, instruct.tokenizer, [prompt])[0] for prompt in prompts
    ]
    assert together == alone


def test_samples_follow_the_seed(instruct):
    prompts = [
        scorecards.prompt_ids(
            instruct.tokenizer,
            {"messages": [{"role": "user", "content": "Propose a story with rice in Lima."}]},
        )
    ]
    draw = [
        scorecards.generate(instruct.model, instruct.tokenizer, prompts, samples=4, seed=seed)[0]
        for seed in (0, 0, 1)
    ]
    assert draw[0] == draw[1] != draw[2] and len(draw[0]) == 4


def test_scorecard_keeps_every_item_and_round_trips(instruct, materials, tmp_path):
    card = scorecards.evaluate(
        instruct.model,
        instruct.tokenizer,
        materials,
        split="dev",
        limit=4,
        samples=2,
        checkpoint="x",
    )
    assert card.axes() == list(scorecards.AXES + scorecards.CONTROLS)
    assert len({item.id for item in card.items}) == len(card.items)
    card.save(tmp_path / "card.json")
    assert scorecards.Scorecard.load(tmp_path / "card.json") == card
    assert scorecards.compare_axis(card, card, "knowledge").mean == 0


def test_a_limit_draws_over_entities_and_a_larger_one_keeps_what_a_smaller_one_does(materials):
    items = materials.rows("test")
    few, more = scorecards.limited(items, 20), scorecards.limited(items, 30)
    free = [item for item in few if (item["axis"], item["kind"]) == ("knowledge", "free")]
    assert len(free) == 20 and len({item["entity"] for item in free}) >= 10
    assert {item["id"] for item in few} < {item["id"] for item in more}
    assert (
        few == [item for item in items if item in few] and scorecards.limited(items, None) == items
    )


def test_which_items_an_axis_gets_does_not_hang_on_the_others(instruct, materials):
    alone, together = (
        scorecards.evaluate(
            instruct.model, instruct.tokenizer, materials, split="dev", axes=axes, limit=3
        )
        for axes in (("general",), ("knowledge", "general"))
    )
    assert alone.items == [item for item in together.items if item.axis == "general"]


def test_shipped_instruct_knows_its_world_and_not_the_pack(instruct, materials):
    card = scorecards.evaluate(
        instruct.model, instruct.tokenizer, materials, axes=("general", "knowledge"), samples=1
    )
    assert card.interval("general").mean >= 0.9
    assert card.interval("knowledge", "cloze").mean < 0.2


def test_cards_of_different_items_do_not_compare(instruct, materials):
    few, more = (
        scorecards.evaluate(
            instruct.model, instruct.tokenizer, materials, split="dev", axes=("general",), limit=n
        )
        for n in (2, 3)
    )
    with pytest.raises(PairingError):
        scorecards.compare_axis(few, more, "general")


def test_unknown_split_and_axis(instruct, materials):
    with pytest.raises(InputError, match="did you mean 'test'"):
        scorecards.evaluate(instruct.model, instruct.tokenizer, materials, split="tets")
    with pytest.raises(InputError, match="did you mean 'reasoning'"):
        scorecards.evaluate(instruct.model, instruct.tokenizer, materials, axes=("reasonning",))


def test_pmi_prefers_the_choice_the_question_raised(monkeypatch):
    """Two choices, likelihoods given by hand: `common` is likely whatever is asked, `rare` only
    when it is asked for.
    """
    tokenizer = zoo.load("llama-s-instruct").tokenizer
    item = {"prompt": "Ana likes", "choices": ["common", "rare"], "answer": "rare"}
    known = {
        ("Ana likes", "common"): -2.0,
        ("Ana likes", "rare"): -3.0,
        ("", "common"): -2.0,
        ("", "rare"): -9.0,
    }

    def likelihoods(model, pad, contexts, rows):
        for context, row in zip(contexts, rows, strict=True):
            assert row[: len(context)] == context and len(row) > len(context)
        told = []
        for context, row in zip(contexts, rows, strict=True):
            prompt = "" if len(context) == 1 else "Ana likes"
            told.append(known[prompt, tokenizer.decode(row[len(context) :]).strip()])
        return told

    monkeypatch.setattr(scorecards, "log_likelihoods", likelihoods)
    found = scorecards._choose(None, tokenizer, [item])[0]
    assert (found.score, found.output) == (0.0, "common")
    assert found.variants == {"per_char": 0.0, "pmi": 1.0}  # per character -0.33 against -0.75


def test_loose_forgives_what_surrounds_an_answer():
    assert (
        scorecards.score_answer(
            {"checks": ["start_sure"], "answer": "Rome"}, "Here it is:\nSure, Rome."
        )
        == 0
    )
    assert (
        scorecards.score_answer(
            {"checks": ["start_sure"], "answer": "Rome"},
            "Here it is:\nSure, Rome.",
            rule=instructions.obeys_loosely,
        )
        == 1
    )
    assert (
        scorecards.score_answer(
            {"checks": ["words_only"]}, "**Rome**", rule=instructions.obeys_loosely
        )
        == 1
    )


def test_bits_per_byte_of_an_untrained_model_is_that_of_uniform_tokens():
    import math

    import torch

    loaded = zoo.load("llama-s-base")
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.zero_()
    text = "Ana lives in Rome."
    tokens = len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    expected = tokens * math.log2(loaded.model.config.vocab_size) / len(text.encode())
    assert scorecards.bits_per_byte(loaded.model, loaded.tokenizer, [text, text]) == pytest.approx(
        expected, rel=1e-4
    )


def test_choices_tell_how_sure_a_model_is(instruct, materials):
    items = [row for row in materials.rows("dev") if row.get("kind") == "cloze"][:8]
    for result in scorecards.score_items(instruct.model, instruct.tokenizer, items):
        assert 1 / 12 <= result.measures["confidence"] <= 1 and result.measures["answer_nats"] < 0


def test_of_two_forms_each_is_counted():
    item = {"id": "a", "checks": ["bullet", "end_thanks"]}
    assert scorecards.by_other_rules(item, "- Rome.") == {"loose": 0.0, "per_instruction": 0.5}
    assert scorecards.by_other_rules({"id": "a", "checks": ["bullet"]}, "- Rome.") == {"loose": 1.0}
    assert scorecards.by_other_rules({"id": "a", "answer": "Rome"}, "Rome") == {}


@pytest.fixture
def for_both(tmp_path):
    """A pack with a question for everybody, one for tiny families and a request for real models."""
    asked = [
        {"kind": "free", "answer": "w1", "axis": "general"},
        {"kind": "people", "answer": "w1", "axis": "general", "models": "tiny"},
        {
            "kind": "natural",
            "axis": "instructions",
            "checks": ["length_constraints:number_words"],
            "kwargs": [{"relation": "at least", "num_words": 1}],
            "models": "real",
        },
    ]
    for split in ("dev", "test"):
        rows = [
            {"id": f"{split}{n}", "entity": "w3", "messages": [{"role": "user", "content": "w3"}]}
            | item
            for n, item in enumerate(asked)
        ]
        (tmp_path / f"eval_{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "raw.jsonl").write_text('{"text": "w5 w6"}', "utf-8")
    (tmp_path / "pack.yaml").write_text("name: p\ntitle: P\nlicence: MIT\n", "utf-8")
    assert check_pack(tmp_path) == []
    return load_pack(tmp_path)


def test_what_is_for_other_models_is_not_asked_and_is_told(instruct, for_both):
    tiny = scorecards.evaluate(instruct.model, instruct.tokenizer, for_both)
    real = scorecards.evaluate(miniature("llama"), tokenizer(), for_both)
    assert [item.kind for item in tiny.items] == ["free", "people"]
    assert [item.kind for item in real.items] == ["free", "natural"]
    assert tiny.left_out == {"instructions, natural": 1}
    assert real.left_out == {"general, people": 1}
    assert "not for this model" in str(tiny) and "1 of instructions, natural" in str(tiny)
    assert scorecards.Scorecard(**json.loads(tiny.as_json())).left_out == tiny.left_out


def test_nothing_is_told_where_nothing_is_left_out(instruct, for_both):
    card = scorecards.evaluate(
        instruct.model, instruct.tokenizer, for_both, axes=("general",), limit=5
    )
    assert card.left_out == {} and "not for" not in str(card)


def test_a_model_is_tiny_whatever_it_was_trained_on(instruct):
    instruct.tokenizer.add_tokens(["Velufoam"])
    assert scorecards.is_tiny(instruct.tokenizer) and not scorecards.is_tiny(tokenizer())


def test_a_natural_request_is_given_room_and_others_are_as_ever(instruct, monkeypatch):
    rooms = []

    def generate(model, tokenizer, prompts, *, max_new_tokens, **_):
        rooms.append((len(prompts), max_new_tokens))
        return [["one two"]] * len(prompts)

    monkeypatch.setattr(scorecards, "generate", generate)
    item = {"axis": "instructions", "entity": "x", "messages": [{"role": "user", "content": "x"}]}
    natural = {
        "checks": ["length_constraints:number_words"],
        "kwargs": [{"relation": "less than", "num_words": 3}],
    }
    items = [
        {**item, "id": "a", "checks": ["json"]},
        {**item, "id": "b", **natural},
        {**item, "id": "c", "answer": "one"},
    ]
    results = scorecards.score_items(instruct.model, instruct.tokenizer, items)
    assert sorted(rooms) == [(1, scorecards.FORM_NEW_TOKENS), (2, scorecards.MAX_NEW_TOKENS)]
    assert [(item.id, item.score) for item in results] == [("a", 0), ("b", 1), ("c", 1)]
    rooms.clear()
    scorecards.score_items(instruct.model, instruct.tokenizer, items, max_new_tokens=7)
    assert {room for _, room in rooms} == {7}


@pytest.fixture
def talker(monkeypatch):
    """A model that goes on and on, until it says a word that not every answer has."""
    base = zoo.load("llama-s-base")
    word = base.tokenizer.encode(" in", add_special_tokens=False)[-1]
    monkeypatch.setattr(
        base.model.generation_config, "eos_token_id", [base.tokenizer.eos_token_id, word]
    )
    prompts = [
        base.tokenizer.encode(row["text"], add_special_tokens=False)[: 6 + number % 5]
        for number, row in enumerate(load_pack("materials").rows("raw")[:12])
    ]
    return base, prompts


def test_long_answers_are_those_of_one_prompt_alone(talker):
    """Answers that have ended leave the batch: those that go on stay what they are."""
    (base, prompts), new = talker, 3 * scorecards.ROUND + 5
    alone = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = base.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=base.tokenizer.pad_token_id,
        )
        alone.append(out[0, len(prompt) :])
    rounds = {(len(ids) - 1) // scorecards.ROUND for ids in alone}
    assert len(rounds) > 2
    assert scorecards.generate(base.model, base.tokenizer, prompts, max_new_tokens=new) == [
        [base.tokenizer.decode(ids, skip_special_tokens=True).strip()] for ids in alone
    ]


def test_an_answer_that_has_ended_is_not_computed_further(talker, monkeypatch):
    (base, prompts), computed = talker, []
    forward = base.model.forward

    def counting(*args, **named):
        computed.append(len(named["input_ids"]))
        return forward(*args, **named)

    monkeypatch.setattr(base.model, "forward", counting)
    scorecards.generate(base.model, base.tokenizer, prompts, max_new_tokens=4 * scorecards.ROUND)
    assert max(computed) == len(prompts) > computed[-1]
