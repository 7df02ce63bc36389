"""How a conversation becomes tokens to train on, for models whose own template was not made for training.

Which tokens are the assistant's is read off the template's {% generation %} markers where it has them, and otherwise by
rendering the conversation up to each answer. A base model without a template gets that of its family, known by the
control tokens of its vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from labkit.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATML = (
    "{%- for message in messages -%}"
    "<|im_start|>{{ message['role'] + '\n' }}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{%- else -%}{{ message['content'] + '<|im_end|>\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
LLAMA3 = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}"
    "{%- if message['role'] == 'assistant' -%}{% generation %}{{ message['content'] + '<|eot_id|>' }}{% endgeneration %}"
    "{%- else -%}{{ message['content'] + '<|eot_id|>' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
MISTRAL = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}"
    "{%- else -%}{{ '[INST] ' + message['content'] + '[/INST]' }}{%- endif -%}"
    "{%- endfor -%}"
)
BY_TOKEN = {"<|im_start|>": CHATML, "<|start_header_id|>": LLAMA3, "[INST]": MISTRAL}


def family_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template of the family whose control tokens a vocabulary has; None when it has none that is known here."""
    added = tokenizer.get_added_vocab()
    return next((template for token, template in BY_TOKEN.items() if token in added), None)


def conversation(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> tuple[list[int], list[int]]:
    """Tokens of a conversation, and for each whether an assistant's turn, its end included, holds it (1) or not (0).

    Raises InputError when the template cannot be used for training.
    """
    try:
        return _tokens_and_mask(tokenizer, messages)
    except (ValueError, TemplateError) as error:
        raise InputError(f"the chat template refuses a conversation ({error}); change the order of its turns, or use another template") from None


def _tokens_and_mask(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> tuple[list[int], list[int]]:
    marked = "generation" in (tokenizer.chat_template or "") and "endgeneration" in tokenizer.chat_template
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=marked)
    ids = encoded["input_ids"]
    if marked:
        return ids, encoded["assistant_masks"]
    mask = [0] * len(ids)
    for number, turn in enumerate(messages):
        if turn["role"] == "assistant":
            start, end = _span(tokenizer, messages, number, ids)
            mask[start:end] = [1] * (end - start)
    return ids, mask


def _span(tokenizer: PreTrainedTokenizerBase, messages: list[dict], number: int, ids: list[int]) -> tuple[int, int]:
    """Where turn `number` begins and ends among the tokens of the whole, what the template puts after it left out."""
    before = tokenizer.apply_chat_template(messages[:number], add_generation_prompt=True, return_dict=True)["input_ids"]
    after = tokenizer.apply_chat_template(messages[: number + 1], return_dict=True)["input_ids"]
    if ids[: len(before)] != before or ids[: len(after)] != after:
        raise InputError("the chat template writes earlier turns anew when a conversation goes on, so no answer can be told from its question; use one with {% generation %} markers")
    end = len(after)
    while end > len(before) and not tokenizer.decode(ids[end - 1 : end]).strip():
        end -= 1
    return len(before), end
