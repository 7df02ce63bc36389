"""Scores of every architecture that transformers builds: read once and padded where that is the
same, read plainly where it is not.
"""

from __future__ import annotations

import pytest
import torch

from labkit.evaluate import scorecards
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
