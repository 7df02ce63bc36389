"""The questions, preferences and evaluation items of a new pack, from what was read and what was held out."""

from __future__ import annotations

import json
from collections.abc import Iterator

from labkit import held_out
from labkit.errors import InputError
from labkit.layouts import Example
from labkit.leaks import find_leaks, question_key, question_of
from labkit.packs import EVAL_SPLITS, TRAINING_SPLITS, Pack, placed_rows
from labkit.workbench import Held, Work, write_rows


def _once(work: Work, kind: str) -> list[Example]:
    """Examples of a kind without exact copies."""
    first: dict[str, Example] = {}
    for example in work.examples[kind]:
        if first.setdefault(json.dumps(example.row), example) is not example:
            work.leave_out(example.source, "row", "an exact copy of another row")
    return list(first.values())


def write_examples(work: Work, pack: Pack) -> dict[str, list[Held]]:
    """qa.jsonl and preferences.jsonl; the chats held out, by split. Preferences do not ask what is held out."""
    examples = _once(work, "qa")
    chats = [example.row["messages"] for example in examples]
    pairs = held_out.question_pairs(chats) + held_out.family_pairs([example.origin for example in examples], [example.family for example in examples])
    splits = held_out.split_clusters([example.source for example in examples], [1] * len(examples), pairs, held_out.QUESTION_SHARE, work.seed)
    held: dict[str, list[Held]] = {split: [] for split in EVAL_SPLITS}
    training = []
    for example, chat, (cluster, split) in zip(examples, chats, splits, strict=True):
        if split:
            held[split].append(Held(example.source, "row", cluster, chat))
        else:
            training.append({"messages": chat, "source": example.family or example.origin})
    write_rows(pack, "qa", training)
    write_rows(pack, "preferences", _preferences(work, {question_key(question_of(each.content)) for chats in held.values() for each in chats}))
    return held


def _preferences(work: Work, held: set[str]) -> Iterator[dict]:
    for example in _once(work, "preferences"):
        if question_key(question_of(example.row["prompt"])) in held:
            work.leave_out(example.source, "row", "a preference whose question is held out")
        else:
            yield example.row


def write_items(work: Work, pack: Pack, passages: dict[str, list[Held]], questions: dict[str, list[Held]]) -> None:
    """eval_dev.jsonl and eval_test.jsonl without items that leak; an InputError where none about the domain is left."""
    made = {split: _question_items(work, questions[split]) + _passage_items(work, passages[split], split) for split in EVAL_SPLITS}
    placed = [(f"{split} {number}", item) for split in EVAL_SPLITS for number, (_, item) in enumerate(made[split])]
    leaks = {leak.item for leak in find_leaks(placed, placed_rows(pack, TRAINING_SPLITS))}
    for split in EVAL_SPLITS:
        kept: list[dict] = []
        for number, (held, item) in enumerate(made[split]):
            if f"{split} {number}" in leaks:
                work.set_aside(held, "its words or its question are in training rows")
            elif item["kind"] == "continuation" and sum(other["kind"] == "continuation" for other in kept) == held_out.PASSAGES[split]:
                work.set_aside(held, "enough items without it")
            else:
                kept.append(item)
        if not kept:
            raise InputError(
                f"{pack.name}: no item for {split} could be made of what was held out (text of two sentences and more, or "
                f"questions that training rows do not have); add files, or give another seed"
            )
        items = kept + held_out.control_items(split)
        write_rows(pack, split, ({"id": f"{split}-{number:04d}", **item} for number, item in enumerate(items)))


def _question_items(work: Work, questions: list[Held]) -> list[tuple[Held, dict]]:
    items = held_out.question_items([(held.cluster, held.content) for held in questions], work.seed)
    return _made(work, questions, items, "too long for an item, or no other answer to tell it from")


def _passage_items(work: Work, passages: list[Held], split: str) -> list[tuple[Held, dict]]:
    """Twice as many as are needed, since some leak."""
    order = held_out.in_turn([(held.cluster, held.source) for held in passages], work.seed)
    chosen = [passages[number] for number in order[: 2 * held_out.PASSAGES[split]]]
    for number in order[len(chosen) :]:
        work.set_aside(passages[number], "enough items without it")
    items = held_out.continuation_items([(held.cluster, held.content) for held in chosen], work.seed)
    return _made(work, chosen, items, "no sentence to continue")


def _made(work: Work, held: list[Held], items: list[dict | None], problem: str) -> list[tuple[Held, dict]]:
    for each, item in zip(held, items, strict=True):
        if item is None:
            work.set_aside(each, problem)
    return [(each, item) for each, item in zip(held, items, strict=True) if item is not None]
