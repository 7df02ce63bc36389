"""A pack's multiple-choice items as tasks of EleutherAI's lm-eval, so that others can check what labkit scores.

A chat prompt is written out with the model's own template, end of turn included: an export is for one tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from labkit.errors import InputError
from labkit.packs import Pack
from labkit.store import write_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def export(pack: Pack, split: str, tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """Write a task YAML and its documents per kind of multiple-choice item; returns the task names.

    The YAML names its documents by absolute path: export again after moving the folder. Run them with
    `lm_eval --include_path FOLDER --tasks NAME`. Raises InputError when the split has no item with choices.
    """
    kinds: dict[tuple[str, str], list[dict]] = {}
    for item in pack.rows(split):
        if "choices" in item:
            kinds.setdefault((item["axis"], item.get("kind", item["axis"])), []).append(item)
    if not kinds:
        raise InputError(f"{pack.path(split)}: no item has choices, and only those can be exported to lm-eval")
    names = []
    for (axis, kind), items in kinds.items():
        name = f"labkit_{pack.name}_{axis}_{kind}"
        documents = [document(item, tokenizer) for item in items]
        path = folder.resolve() / f"{name}.jsonl"
        write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents))
        write_file(folder / f"{name}.yaml", yaml.safe_dump(task(name, path, is_chat="messages" in items[0]), sort_keys=False))
        names.append(name)
    return names


def task(name: str, documents: Path, *, is_chat: bool) -> dict:
    """A multiple-choice task over a file of documents, as lm-eval's YAML has it."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(documents)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "" if is_chat else " ",
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")],
        "metadata": {"version": 1},
    }


def document(item: dict, tokenizer: PreTrainedTokenizerBase) -> dict:
    """One item with its prompt and choices written out."""
    gold = item["choices"].index(item["answer"])
    if "prompt" in item:
        return {"id": item["id"], "context": item["prompt"], "choices": item["choices"], "gold": gold}
    context = tokenizer.apply_chat_template(item["messages"], tokenize=False, add_generation_prompt=True)
    choices = []
    for choice in item["choices"]:
        messages = [*item["messages"], {"role": "assistant", "content": choice}]
        choices.append(tokenizer.apply_chat_template(messages, tokenize=False).removeprefix(context))
    return {"id": item["id"], "context": context, "choices": choices, "gold": gold}
