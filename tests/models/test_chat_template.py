"""Conversations as tokens: which are the assistant's, with markers and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.base.errors import InputError
from labkit.models import families, zoo

CHAT = [
    {"role": "user", "content": "What is silk?"},
    {"role": "assistant", "content": "Silk is strong."},
    {"role": "user", "content": "And horn?"},
    {"role": "assistant", "content": "Horn is hard."},
]
ANSWERS = ["Silk is strong.", "Horn is hard."]


def tokenizer(*tokens: str):
    made = zoo.tokenizer_of(zoo.model_folder("llama-s-base"))
    if tokens:
        made.add_special_tokens({"additional_special_tokens": list(tokens)})
    return made


def learned(made) -> str:
    ids, mask = families.conversation(made, CHAT)
    return made.decode([token for token, own in zip(ids, mask, strict=True) if own])


def test_without_markers_the_same_tokens_are_the_assistants():
    marked, bare = tokenizer(), tokenizer()
    bare.chat_template = bare.chat_template.replace("{% generation %}", "").replace(
        "{% endgeneration %}", ""
    )
    assert families.conversation(marked, CHAT) == families.conversation(bare, CHAT)


@pytest.mark.parametrize(
    "tokens,template,end",
    [
        (("<|im_start|>", "<|im_end|>"), families.CHATML, "<|im_end|>"),
        (("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), families.LLAMA3, "<|eot_id|>"),
        (("[INST]", "[/INST]"), families.MISTRAL, "<eos>"),
    ],
)
def test_a_base_model_gets_the_template_of_its_family(tokens, template, end):
    made = tokenizer(*tokens)
    assert families.family_template(made) == template
    made.chat_template = template
    assert learned(made).replace(" ", "") == "".join(answer + end for answer in ANSWERS).replace(
        " ", ""
    )


def test_the_stock_llama_template_needs_no_markers():
    trl = pytest.importorskip("trl")
    made = tokenizer("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    made.chat_template = (
        Path(trl.__file__).parent / "chat_templates" / "llama3_1.jinja"
    ).read_text("utf-8")
    assert learned(made) == "Silk is strong.<|eot_id|>Horn is hard.<|eot_id|>"


def test_a_blank_before_the_answer_belongs_to_it_where_both_are_one_token():
    made = tokenizer()
    made.chat_template = (
        "{% for turn in messages %}<|{{ turn['role'] }}|> {{ turn['content'] }}<|end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}"
    )
    whole = made.apply_chat_template(CHAT, return_dict=True)["input_ids"]
    asked = made.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=True)
    assert whole[: len(asked["input_ids"])] != asked["input_ids"]
    assert learned(made).replace(" ", "") == "".join(f"{text}<|end|>" for text in ANSWERS).replace(
        " ", ""
    )


def test_other_vocabularies_get_none():
    assert families.family_template(tokenizer()) is None


def test_a_template_that_rewrites_what_was_said_is_one_sentence():
    made = tokenizer()
    made.chat_template = (
        "{{ messages | length }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    with pytest.raises(InputError, match="writes earlier turns anew"):
        families.conversation(made, CHAT)


@pytest.mark.parametrize("markers", [True, False])
def test_an_answer_of_weight_0_is_read_and_not_learned(markers):
    made = tokenizer()
    if not markers:
        made.chat_template = made.chat_template.replace("{% generation %}", "").replace(
            "{% endgeneration %}", ""
        )
    ids, mask = families.conversation(made, CHAT)
    chat = [CHAT[0], {**CHAT[1], "weight": 0}, CHAT[2], {**CHAT[3], "weight": 1}]
    weighed, kept = families.conversation(made, chat)
    assert weighed == ids
    learnt = made.decode([token for token, own in zip(ids, kept, strict=True) if own])
    assert "Horn is hard" in learnt and "Silk" not in learnt
    assert sum(kept) < sum(mask)


def test_markers_that_do_not_part_the_answers_cannot_weigh_them():
    made = tokenizer()
    made.chat_template = (
        "{% generation %}{% for m in messages %}{{ m['content'] }}{% endfor %}{% endgeneration %}"
    )
    with pytest.raises(InputError, match="do not tell one answer from the next"):
        families.conversation(made, [CHAT[0], {**CHAT[1], "weight": 0}, *CHAT[2:]])
