"""Scores of every architecture that transformers builds: read once and padded where that is the
same, read plainly where it is not.
"""

from __future__ import annotations

import pytest
import torch

from labkit.base.errors import InputError
from labkit.evaluate import scorecards
from labkit.evaluate.chat import Conversation, Settings
from labkit.models.zoo import Loaded, learned_positions
from studies.miniatures import SKIPPED, VOCABULARY, architectures, miniature, tokenizer

CONTEXTS = (11, 20, 3)  # tokens
TAILS = ((0, 1), (0, 5), (1, 4), (2, 9), (2, 2))  # which context, tokens


def as_parameters() -> list:
    """Every architecture; what is not built is skipped with its reason."""
    return [
        pytest.param(kind, marks=[pytest.mark.skip(reason=SKIPPED[kind])])
        if kind in SKIPPED
        else kind
        for kind in architectures()
    ]


def rows() -> tuple[list[list[int]], list[list[int]]]:
    drawn = torch.Generator().manual_seed(1)

    def tokens(count: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (count,), generator=drawn).tolist()

    contexts = [tokens(count) for count in CONTEXTS]
    owners = [contexts[i] for i, _ in TAILS]
    return owners, [[*owner, *tokens(n)] for owner, (_, n) in zip(owners, TAILS, strict=True)]


@pytest.mark.parametrize("kind", as_parameters())
def test_scores_equal_a_plain_forward_pass(kind):
    model, (contexts, texts) = miniature(kind), rows()
    scored = scorecards.log_likelihoods(model, 0, contexts, texts)
    for context, row, value in zip(contexts, texts, scored, strict=True):
        with torch.no_grad():
            given = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        alone = sum(float(given[i - 1, row[i]]) for i in range(len(context), len(row)))
        assert value == pytest.approx(alone, abs=2e-5)


def test_only_what_says_the_same_is_read_padded():
    """Mamba keeps no keys and values, RoBERTa counts places from the padding on."""
    _, texts = rows()
    found = {
        kind: scorecards.reads_padded(miniature(kind), 0, texts)
        for kind in ("llama", "gpt2", "mistral", "mamba", "roberta", "lfm2")
    }
    assert found == {
        "llama": True,
        "gpt2": True,
        "mistral": True,
        "mamba": False,
        "roberta": False,
        "lfm2": False,
    }


def test_few_digits_are_no_reason_to_read_one_by_one():
    _, texts = rows()
    found = {
        kind: scorecards.reads_padded(miniature(kind).to(torch.bfloat16), 0, texts)
        for kind in ("llama", "mistral", "mamba", "roberta")
    }
    assert found == {"llama": True, "mistral": True, "mamba": False, "roberta": False}


@pytest.mark.parametrize("kind", ["mamba", "mamba2", "bamba", "lfm2", "recurrent_gemma", "rwkv"])
def test_models_without_a_cache_are_evaluated(kind):
    """Choices and free answers, in a batch as one by one."""
    model, words = miniature(kind), tokenizer()
    asked = ("w3 w4", "w5 w6 w7 w8", "w9")
    items = [
        {
            "id": f"{number}{kinds}",
            "axis": "knowledge",
            "entity": text,
            "messages": [{"role": "user", "content": text}],
            "answer": "w1",
            **({"choices": ["w1", "w2 w3"]} if kinds == "choice" else {}),
        }
        for number, text in enumerate(asked)
        for kinds in ("choice", "free")
    ]
    together = scorecards.score_items(model, words, items, max_new_tokens=4)
    alone = [scorecards.score_items(model, words, [item], max_new_tokens=4)[0] for item in items]
    assert [(item.id, item.score, item.output) for item in together] == [
        (item.id, item.score, item.output) for item in alone
    ]


# GPT-2 and OPT count places from 0 and 2, RoBERTa from behind its padding's; MPT has no table.
LEARNED = {"gpt2": 128, "opt": 128, "roberta": 127, "mpt": 128, "llama": None, "mamba": None}


@pytest.mark.parametrize("kind,places", LEARNED.items())
def test_no_text_is_longer_than_the_places_a_model_has_learned(kind, places):
    model, words = miniature(kind), tokenizer()
    assert learned_positions(model) == places
    longest = [9] * (places or 128)
    assert len(scorecards.log_likelihoods(model, 0, [[9]], [longest])) == 1
    if places is None:
        assert scorecards.generate(model, words, [longest], max_new_tokens=2)
        return
    with pytest.raises(InputError, match=f"1 of 2 texts do not fit into the {places} tokens"):
        scorecards.log_likelihoods(model, 0, [[9]], [[*longest, 9]])
    with pytest.raises(InputError, match="its answer at least 1"):
        scorecards.generate(model, words, [longest], max_new_tokens=2)
    # an answer ends where the places do, whatever is asked beside it
    near, short = longest[3:], [9, 10]
    both = scorecards.generate(model, words, [near, short], max_new_tokens=20)
    assert len(both[0][0].split()) <= 3
    assert both[1] == scorecards.generate(model, words, [short], max_new_tokens=20)[0]
    with pytest.raises(InputError, match=f"reads {places} tokens"):
        talk(model).ask("w1 " * (places - 12))


def talk(model) -> Conversation:
    return Conversation({"mine": Loaded(model, tokenizer(), "mine", "")}, Settings(max_tokens=8))


def test_a_token_without_an_embedding_is_one_sentence_wherever_it_is_read():
    model = miniature("llama", vocab_size=20)
    words = "token number 30 is used, but the model has embeddings for 20 tokens"
    with pytest.raises(InputError, match=words):
        scorecards.log_likelihoods(model, 0, [[9]], [[9, 30]])
    with pytest.raises(InputError, match=words):
        scorecards.generate(model, tokenizer(), [[9, 30]])
    with pytest.raises(InputError, match=words):
        talk(model).ask("w23")
    assert talk(model).ask("w1")  # what has one is answered


def test_a_tokenizer_without_eos_and_pad_scores_nothing():
    model, words = miniature("llama"), tokenizer()
    words.pad_token = words.eos_token = words.bos_token = None
    with pytest.raises(InputError, match="add an eos_token"):
        scorecards.bits_per_byte(model, words, ["w1 w2"])
    with pytest.raises(InputError, match="add an eos_token"):
        scorecards.generate(model, words, [[9, 10]])
