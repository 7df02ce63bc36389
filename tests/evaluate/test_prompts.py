"""What an item is scored after: the rendered question is the beginning of the rendered answer."""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.evaluate import scorecards
from labkit.models import families, zoo
from labkit.share import export

ITEM = {
    "id": "1",
    "axis": "knowledge",
    "entity": "Ada",
    "messages": [{"role": "user", "content": "Where does Ada live?"}],
    "choices": ["Oslo", "Lima", "Rome"],
    "answer": "Lima",
}
ASKS = "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
# as DeepSeek-R1, QwQ and Qwen3-Thinking ask; as Qwen3.5 asks and answers; as Qwen3 answers
OPENS_A_THOUGHT = families.CHATML.replace(ASKS, ASKS.replace("assistant\n", "assistant\n<think>\n"))
WRITES_AN_EMPTY_THOUGHT = families.CHATML.replace(
    "{{ message['content'] + '<|im_end|>' }}",
    "{{ '<think>\n\n</think>\n\n' + message['content'] + '<|im_end|>' }}",
)
CLOSES_THE_THOUGHT = WRITES_AN_EMPTY_THOUGHT.replace(
    ASKS, ASKS.replace("assistant\n", "assistant\n<think>\n")
)
DROPS_THE_ANSWER = (
    "{%- for message in messages -%}{%- if message['role'] == 'user' -%}"
    "{{ message['content'] }}{%- endif -%}{%- endfor -%}"
)


def tokenizer(template: str):
    made = zoo.tokenizer_of(zoo.model_folder("llama-s-base"))
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = template
    return made


def text_of(made, ids: list[int]) -> str:
    return made.decode(ids).replace(" ", "")


def test_templates_are_what_they_are_called():
    assert len({OPENS_A_THOUGHT, WRITES_AN_EMPTY_THOUGHT, CLOSES_THE_THOUGHT, families.CHATML}) == 4


def test_a_template_that_only_opens_a_thought_is_one_sentence(instruct):
    made = tokenizer(OPENS_A_THOUGHT)
    with pytest.raises(InputError, match="<think>") as raised:
        scorecards.score_items(instruct.model, made, [ITEM])
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="<think>"):
        export.document(ITEM, made)
    free = {key: value for key, value in ITEM.items() if key != "choices"}
    assert scorecards.prompt_ids(made, free)[-3:]  # what is answered freely is asked as it asks


@pytest.mark.parametrize(
    "template", [families.CHATML, WRITES_AN_EMPTY_THOUGHT, CLOSES_THE_THOUGHT, families.LLAMA3]
)
def test_context_and_choice_are_the_rendered_conversation(template):
    made = tokenizer(template)
    context, tails = scorecards.split_at_choices(made, ITEM, ITEM["choices"])
    for choice, tail in zip(ITEM["choices"], tails, strict=True):
        whole = [*ITEM["messages"], {"role": "assistant", "content": choice}]
        assert [*context, *tail] == made.apply_chat_template(whole, return_dict=True)["input_ids"]
        assert choice in text_of(made, tail) and choice not in text_of(made, context)


ENDS_IN_A_BLANK = (
    "{%- for message in messages -%}{%- if message['role'] == 'user' -%}"
    "{{ 'Q: ' + message['content'] + '\nA: ' }}"
    "{%- else -%}{{ message['content'] + '<|im_end|>' }}{%- endif -%}{%- endfor -%}"
)


def test_a_token_over_the_end_of_a_prompt_belongs_to_every_choice():
    """SmolLM2 writes a blank and the word after it as one token; lm-eval parts them as we do."""
    made = zoo.smollm2_tokenizer()
    made.chat_template = ENDS_IN_A_BLANK
    context, tails = scorecards.split_at_choices(made, ITEM, ITEM["choices"])
    assert made.decode(context) == "Q: Where does Ada live?\nA:"
    assert [made.decode(tail) for tail in tails] == [
        f" {choice}<|im_end|>" for choice in ITEM["choices"]
    ]
    written = export.document(ITEM, made)
    assert written["context"].rstrip() == made.decode(context)
    assert written["choices"] == [f"{choice}<|im_end|>" for choice in ITEM["choices"]]


def test_a_template_that_leaves_the_answer_out_is_one_sentence():
    with pytest.raises(InputError, match="'Oslo' adds no token"):
        scorecards.split_at_choices(tokenizer(DROPS_THE_ANSWER), ITEM, ITEM["choices"])
