from __future__ import annotations

import json
import shutil

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.data import packs
from labkit.evaluate import scorecards
from labkit.models import zoo
from labkit.share import export


def test_tasks_hold_every_choice_item_with_prompt_and_end_of_turn(tmp_path, materials):
    loaded = zoo.load("llama-s-instruct")
    names = export.export_lm_eval(materials, "dev", loaded.tokenizer, tmp_path)
    assert (
        "labkit_materials_knowledge_cloze" in names
        and "labkit_materials_preference_evidence" in names
    )
    rows = [
        json.loads(line)
        for name in names
        for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()
    ]
    items = {row["id"]: row for row in materials.rows("dev") if "choices" in row}
    assert {row["id"] for row in rows} == set(items)
    for row in rows:
        item = items[row["id"]]
        assert item["answer"] in row["choices"][row["gold"]] and len(row["choices"]) == len(
            item["choices"]
        )
        if "messages" in item:
            assert row["context"].endswith("<|assistant|>") and all(
                choice.endswith("<|end|>") for choice in row["choices"]
            )


def test_a_pack_without_choices_says_so(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    rows = [json.loads(line) for line in (folder / "eval_dev.jsonl").read_text().splitlines()]
    (folder / "eval_dev.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows if "choices" not in row)
    )
    with pytest.raises(InputError, match="no item has choices"):
        export.export_lm_eval(
            packs.load_pack(folder), "dev", zoo.load("llama-s-instruct").tokenizer, tmp_path / "out"
        )


def test_per_char_leaves_the_end_of_a_turn_out_and_acc_norm_counts_it(instruct, monkeypatch):
    """Two choices of 4 and 8 characters, -8 and -15 nats: per character -2.00 and -1.88, but with
    the seven characters of <|end|> -0.73 and -1.00. In text there is no such end.
    """
    tokenizer = instruct.tokenizer
    nats = {"silk": -8.0, "concrete": -15.0}
    choices = {"choices": list(nats), "answer": "silk", "id": "1"}
    chat = {**choices, "messages": [{"role": "user", "content": "What is it?"}]}
    text = {**choices, "prompt": "It is"}

    def likelihoods(model, pad, contexts, rows):
        tails = [row[len(context) :] for context, row in zip(contexts, rows, strict=True)]
        return [
            next(value for choice, value in nats.items() if choice in tokenizer.decode(tail))
            for tail in tails
        ]

    monkeypatch.setattr(scorecards, "log_likelihoods", likelihoods)
    for item, theirs in ((chat, "silk"), (text, "concrete")):
        written = export.document(item, tokenizer)
        lengths = dict(zip(nats, map(len, written["choices"]), strict=True))
        assert max(nats, key=lambda choice: nats[choice] / lengths[choice]) == theirs
        ours = scorecards._choose(None, tokenizer, [item])[0]
        assert ours.score == 1 and ours.variants["per_char"] == 0


def test_what_lm_eval_would_cut_inside_a_token_is_one_sentence():
    """A tokenizer without words: it joins the end of a prompt and the beginning of a choice."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(["<eos>", "a", " ", "b", "a ", "a b"])}
    joined = Tokenizer(BPE(vocab=vocabulary, merges=[("a", " "), ("a ", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=joined, eos_token="<eos>")
    item = {"id": "7", "prompt": "ba", "choices": ["b", "a"], "answer": "b"}
    with pytest.raises(InputError, match=r"item '7'.* and the beginning of 'b' as one token"):
        export.document(item, tokenizer)
    assert scorecards.split_at_choices(tokenizer, item, item["choices"]) == (
        [3],
        [[5], [4, 1]],
    )


@pytest.mark.filterwarnings("ignore")
def test_lm_eval_agrees_item_by_item(tmp_path, materials):
    pytest.importorskip(
        "lm_eval",
        reason="lm-eval is not installed; pip install -c constraints.txt -e '.[peers]' brings it",
    )
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    loaded = zoo.load("llama-s-instruct")
    names = export.export_lm_eval(materials, "dev", loaded.tokenizer, tmp_path)
    harness_model = HFLM(
        pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=64, device="cpu"
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    told = simple_evaluate(
        model=harness_model, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    theirs = {
        sample["doc"]["id"]: sample["acc"] for name in names for sample in told["samples"][name]
    }
    per_character = {
        s["doc"]["id"]: s["acc_norm"] for s in told["samples"]["labkit_materials_knowledge_cloze"]
    }
    card = scorecards.evaluate(loaded.model, loaded.tokenizer, materials, split="dev")
    ours = {item.id: item for item in card.items if item.id in theirs}
    assert len(ours) == len(theirs) > 150
    assert {id: item.score for id, item in ours.items()} == theirs
    assert {id: ours[id].variants["per_char"] for id in per_character} == per_character
    assert (
        yaml.safe_load((tmp_path / f"{names[0]}.yaml").read_text())["output_type"]
        == "multiple_choice"
    )
