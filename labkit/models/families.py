"""This module describes the tiny families, and how texts and conversations become tokens.

All families have one recipe, so that size or architecture is the only thing that changes. A family
has a chat template, and so do base models of known families on the hub. A text begins as the
tokenizer begins one, a conversation as the chat template does, wherever they are read: in training,
in scoring, in a chat. Which tokens are the assistant's is read off the template's {% generation %}
markers; a template without them is rendered up to each answer instead. The module does not load or
train a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any

from labkit.base.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# --- the tiny families ------------------------------------------------------------------------

VOCABULARY = 2100
CONTEXT = 256
ROWS_PER_STEP = 64
STEPS = 950  # of the base model, and again of the instruct model
RATE = 2e-3  # of a base model with RATE_PARAMETERS parameters
RATE_PARAMETERS = 1_000_000
HEAD_WIDTH = 64  # of the ladder


@dataclass(frozen=True)
class Family:
    """A shape in Hugging Face config terms, and what is special about it.

    parameters: about so many; the learning rate follows from it. shape: keyword arguments of the
    architecture's config. seed: of the weights and their data order. shipped: the weights come with
    labkit; otherwise `labkit zoo build` makes them.
    """

    architecture: str
    parameters: int
    shape: dict
    note: str
    seed: int = 0
    steps: int = STEPS
    shipped: bool = True

    @property
    def learning_rate(self) -> float:
        """Of the base model."""
        return RATE * rate_factor(self.parameters)


def rate_factor(parameters: int) -> float:
    """By how much learning rates change with size, against a model of a million parameters.

    One rule instead of a search per size: with the fourth root of the parameter count, which is
    about the square root of the width. Larger models take smaller steps (arXiv 2001.08361, appendix
    D.6, sees the same direction).
    """
    return (RATE_PARAMETERS / parameters) ** 0.25


def ladder_shape(width: int, layers: int) -> dict:
    """A Llama of this width and depth: heads of 64, MLP 2.75 times the width, tied embeddings."""
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // HEAD_WIDTH,
        "num_key_value_heads": width // HEAD_WIDTH,
        "intermediate_size": width * 11 // 4,
        "tie_word_embeddings": True,
    }


FAMILIES: dict[str, Family] = {
    "llama-xs": Family("llama", 300_000, ladder_shape(64, 3), "the ladder's smallest"),
    "llama-s": Family(
        "llama", 1_000_000, ladder_shape(128, 4), "the default: small enough to train in a minute"
    ),
    "llama-m": Family(
        "llama", 3_000_000, ladder_shape(192, 6), "the same architecture, three times the weights"
    ),
    "llama-l": Family(
        "llama",
        10_000_000,
        ladder_shape(320, 8),
        "the same architecture, ten times the weights",
        shipped=False,
    ),
    "mistral-s": Family(
        "mistral",
        1_000_000,
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 352,
            "tie_word_embeddings": False,
            "sliding_window": 24,
        },
        "grouped-query attention; a token sees 24 tokens back, fewer than a document has",
    ),
    "smollm-s": Family(
        "llama",
        1_000_000,
        {
            "hidden_size": 96,
            "num_hidden_layers": 8,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 256,
            "tie_word_embeddings": True,
        },
        "deep and thin with tied embeddings, as SmolLM is",
    ),
}
FAMILIES["llama-s-twin"] = replace(
    FAMILIES["llama-s"],
    seed=1,
    note="llama-s once more from other random weights: a control for merging",
)
# what the course trains and merges
MODEL, BASE, TWIN = "llama-s-instruct", "llama-s-base", "llama-s-twin-instruct"
LADDER = ("llama-xs", "llama-s", "llama-m", "llama-l")
ARCHITECTURES = ("llama-s", "mistral-s", "smollm-s")


# --- texts as tokens --------------------------------------------------------------------------


def start_of_text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a tokenizer puts before every text, such as a BOS; for most it is nothing."""
    plain, whole = (
        tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True)
    )
    places = range(len(whole) - len(plain) + 1)
    return whole[: next((at for at in places if whole[at : at + len(plain)] == plain), 0)]


def text_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text; it begins as this tokenizer begins one, and nothing closes it."""
    if not texts:
        return []
    start = start_of_text(tokenizer)
    encoded = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [[*start, *ids] for ids in encoded]


# --- conversations as tokens ------------------------------------------------------------------

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
    "{%- if message['role'] == 'assistant' -%}{% generation %}{{ message['content'] + "
    "'<|eot_id|>' }}{% endgeneration %}"
    "{%- else -%}{{ message['content'] + '<|eot_id|>' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ "
    "'<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
MISTRAL = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{% generation %}{{ ' ' + "
    "message['content'] + eos_token }}{% endgeneration %}"
    "{%- else -%}{{ '[INST] ' + message['content'] + '[/INST]' }}{%- endif -%}"
    "{%- endfor -%}"
)
REWRITES = (
    "the chat template writes earlier turns anew when a conversation goes on, so no answer can be "
    "told from its question; use one that does not"
)
BY_TOKEN = {"<|im_start|>": CHATML, "<|start_header_id|>": LLAMA3, "[INST]": MISTRAL}


def family_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template of the family whose control tokens a vocabulary has; None when it has none that
    is known here.
    """
    added = tokenizer.get_added_vocab()
    return next((template for token, template in BY_TOKEN.items() if token in added), None)


def rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict] | list[list[dict]], **how: Any
) -> Any:
    """What a tokenizer's chat template makes of one conversation or of several. how: as
    transformers' apply_chat_template takes it; with nothing said, a mapping with `input_ids`.

    Raises InputError when the template refuses, or fails: it is a program of the model's author.
    """
    try:
        return tokenizer.apply_chat_template(messages, return_dict=how.get("tokenize", True), **how)
    except Exception as error:  # a program raises anything
        cause = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise InputError(
            f"the chat template refuses a conversation ({cause[0]}); change the order of "
            "its turns, or use another template"
        ) from error


def shared_start(rows: Sequence[Sequence]) -> int:
    """How many of their first elements all rows have in common."""
    return sum(1 for _ in takewhile(lambda at: len(set(at)) == 1, zip(*rows, strict=False)))


def check_opening(
    tokenizer: PreTrainedTokenizerBase, asked: list[dict], answer: list[dict]
) -> None:
    """Raises InputError when a question with its answer does not begin as the question alone does.

    Templates of thinking models ask with an opened <think> that no written answer has. Such an
    answer would be learned, and scored, where the model never gives one.
    """
    before, question = (
        rendered(tokenizer, asked, tokenize=False, add_generation_prompt=asking)
        for asking in (False, True)
    )
    whole = rendered(tokenizer, [*asked, *answer], tokenize=False)
    if not whole.startswith(before):
        raise InputError(REWRITES)
    if not whole.startswith(question):
        same = shared_start([question, whole])
        raise InputError(
            f"the chat template ends a question with {question[same:]!r}, which is not there once "
            "the answer is written, so the answer would stand where the model never gives one; use "
            "a chat template that ends a question the same way in both cases"
        )


def question_and_answers(
    tokenizer: PreTrainedTokenizerBase, asked: list[dict], answers: Sequence[list[dict]]
) -> tuple[list[int], list[list[int]]]:
    """Tokens of a chat up to the assistant's turn, and what each answer adds to them.

    Where the last token before an answer grows together with its first one, both belong to the
    answer. Raises InputError when the template cannot be used (see check_opening).
    """
    question = rendered(tokenizer, asked, add_generation_prompt=True)["input_ids"]
    wholes = rendered(tokenizer, [[*asked, *answer] for answer in answers])["input_ids"]
    shared = shared_start([question, *wholes])
    if shared < len(question):
        for answer in answers:
            check_opening(tokenizer, asked, answer)
    return question[:shared], [whole[shared:] for whole in wholes]


def conversation(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict]
) -> tuple[list[int], list[int]]:
    """Tokens of a conversation, and for each whether an assistant's turn, its end included, holds
    it (1) or not (0). A turn of weight 0 is not to be learned and counts as if it were asked.

    Raises InputError when the template cannot be used for training.
    """
    marked = (
        "generation" in (tokenizer.chat_template or "")
        and "endgeneration" in tokenizer.chat_template
    )
    encoded = rendered(tokenizer, messages, return_assistant_tokens_mask=marked)
    ids = encoded["input_ids"]
    if marked:
        return ids, _weighed(encoded["assistant_masks"], messages)
    mask = [0] * len(ids)
    for number, turn in enumerate(messages):
        if turn["role"] == "assistant" and turn.get("weight", 1):
            start, end = _span(tokenizer, messages, number, ids)
            mask[start:end] = [1] * (end - start)
    return ids, mask


def _weighed(mask: list[int], messages: list[dict]) -> list[int]:
    """A mask without the answers of weight 0. Every run of ones in it is an answer."""
    weights = [turn.get("weight", 1) for turn in messages if turn["role"] == "assistant"]
    if all(weights):
        return mask
    runs = [(one, len(list(run))) for one, run in groupby(mask)]
    if sum(one for one, _ in runs) != len(weights):
        raise InputError(
            "the chat template's {% generation %} markers do not tell one answer from the next, so "
            "none can have weight 0; take such rows out, or use another template"
        )
    weight = iter(weights)
    return [value for one, length in runs for value in [one and next(weight)] * length]


def _span(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], number: int, ids: list[int]
) -> tuple[int, int]:
    """Where turn `number` begins and ends among the tokens of the whole, what the template puts
    after it left out. A token that holds the end of the question and the beginning of the answer
    belongs to the answer, as in question_and_answers.
    """
    before = rendered(tokenizer, messages[:number], add_generation_prompt=True)["input_ids"]
    after = rendered(tokenizer, messages[: number + 1])["input_ids"]
    start, end = (shared_start([ids, part]) for part in (before, after))
    if start < len(before) or end < len(after):
        if number:
            check_opening(tokenizer, messages[:number], messages[number : number + 1])
        so_far, whole = (
            rendered(tokenizer, part, tokenize=False) for part in (messages[: number + 1], messages)
        )
        if not number or not whole.startswith(so_far):
            raise InputError(f"{REWRITES}, or one with {{% generation %}} markers")
    while end > start and not tokenizer.decode(ids[end - 1 : end]).strip():
        end -= 1
    return start, end
