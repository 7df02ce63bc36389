"""Conversations: every model has its own, what no longer fits is dropped and told, and nothing a
model says is obeyed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.base.errors import InputError
from labkit.evaluate.chat import Conversation, Reply, Settings, Talker, open_models, printable
from labkit.evaluate.scorecards import generate, prompt_ids
from labkit.models import zoo

FIRST, SECOND = "What is Bysithfoam modelled on?", "Where does Anna live?"


@pytest.fixture(scope="module")
def loaded():
    return zoo.load("llama-s-instruct")


def test_the_first_answer_is_what_evaluation_would_get(loaded):
    reply = Conversation({"a": loaded}).ask(FIRST)["a"]
    (expected,) = generate(
        loaded.model,
        loaded.tokenizer,
        [prompt_ids(loaded.tokenizer, {"messages": [{"role": "user", "content": FIRST}]})],
    )
    assert reply == Reply(expected[0]) and reply.text and not reply.remarks


def test_each_model_keeps_its_own_turns_until_reset(loaded):
    conversation = Conversation({"a": loaded, "b": zoo.load("llama-s-base")})
    first = conversation.ask(FIRST)
    conversation.ask(SECOND)
    for talker in conversation.talkers:
        assert [turn["role"] for turn in talker.messages] == ["user", "assistant"] * 2
        assert talker.messages[1]["content"] == first[talker.name].text
    assert first["a"] != first["b"]
    conversation.reset()
    assert conversation.ask(FIRST) == first


def test_earlier_turns_are_read(loaded):
    talker = Talker("a", loaded)
    _, alone, _ = talker.fit(SECOND, 8)
    talker.answer(talker.fit(FIRST, 8), Settings(max_tokens=8))
    _, ids, dropped = talker.fit(SECOND, 8)
    assert dropped == 0 and ids[-len(alone) :] == alone and len(ids) > len(alone)


def test_oldest_questions_are_dropped_and_told_when_the_context_is_full(loaded):
    conversation = Conversation({"a": loaded}, Settings(max_tokens=20))
    dropped = []
    for _ in range(12):
        reply = conversation.ask(f"{FIRST} {SECOND}")["a"]
        dropped.append(reply.dropped)
        assert len(prompt_ids(loaded.tokenizer, conversation.talkers[0].__dict__)) <= 256
    assert dropped[0] == 0 and sum(dropped) >= 3
    assert (
        any("forgotten" in remark for remark in Reply("x", dropped=2).remarks)
        and "questions were" in Reply("x", dropped=2).remarks[0]
    )


def test_a_question_that_can_never_fit_is_refused_before_anybody_answers(loaded):
    conversation = Conversation({"small": loaded, "other": loaded})
    with pytest.raises(InputError, match="small reads 256 tokens; this question takes"):
        conversation.ask("silk " * 300)
    with pytest.raises(InputError, match="question is empty"):
        conversation.ask("  ")
    assert not any(talker.messages for talker in conversation.talkers)


def test_drawn_answers_follow_the_seed(loaded):
    def drawn(seed: int) -> str:
        return (
            Conversation({"a": loaded}, Settings(temperature=1.5, seed=seed)).ask(FIRST)["a"].text
        )

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) > 1


def test_an_answer_that_was_cut_is_told(loaded):
    reply = Conversation({"a": loaded}, Settings(max_tokens=2)).ask(FIRST)["a"]
    assert reply.cut and "cut" in reply.remarks[0]


def test_a_model_without_template_is_one_sentence_and_a_base_model_a_note(loaded):
    from copy import deepcopy

    bare = replace(loaded, tokenizer=deepcopy(loaded.tokenizer))
    bare.tokenizer.chat_template = None
    with pytest.raises(InputError, match="x has no chat template: it is a base model"):
        Conversation({"x": bare})
    assert Conversation({"a": loaded}).notes() == []
    (note,) = Conversation({"b": replace(loaded, name="llama-s-base")}).notes()
    assert "never read a chat" in note


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 9.0}, "temperature"),
        ({"max_tokens": 0}, "max tokens"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be_used(settings, words):
    with pytest.raises(InputError, match=words):
        Settings(**settings)


def test_models_of_one_label_are_told_apart():
    assert list(
        open_models([("x", "llama-s-base"), ("x", "llama-s-instruct"), ("y", "llama-s-base")])
    ) == ["x", "x (2)", "y"]


def test_control_characters_do_not_reach_a_terminal():
    assert (
        printable("a\x1b[31mb\x07\r\x9bc\nd\te é 絹")
        == "a\ufffd[31mb\ufffd\ufffd\ufffdc\nd\te é 絹"
    )
