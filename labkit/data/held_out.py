"""This module decides what a new pack keeps from training, and makes evaluation items of it.

Documents and questions are held out in whole clusters, so that no near copy of a test item is
trained on. The first half works on plain texts and chats; the second half fills a pack with its
questions, preferences and evaluation items. The module does not read files and does not cut text
into chunks.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from labkit.base.errors import InputError
from labkit.data import world
from labkit.data.cleaning import sentences_of, size_of
from labkit.data.leaks import find_leaks, near_duplicates, question_key, question_of
from labkit.data.pack_build import formatted_items, general_items, people_of
from labkit.data.packs import EVAL_SPLITS, TRAINING_SPLITS, Pack, placed_rows
from labkit.data.workbench import Example, Held, Work, write_rows

TEXT_SHARE, QUESTION_SHARE = 0.1, 0.15  # of text and of questions, for dev and again for test
# a file whose `source` column has fewer values holds tags there, not names of documents
FEWEST_FAMILIES = 3
FEWEST_CLUSTERS = 3  # one each for training, dev and test
PASSAGES = {"dev": 80, "test": 200}  # most continuation items
FORMATTED = {"dev": 40, "test": 100}  # items about form, of the general world
# so that an item fits into 256 tokens of a tiny model
PROMPT_BYTES, ANSWER_BYTES, QUESTION_BYTES = 160, 80, 400
PROMPT_WORDS, ANSWER_WORDS = 5, 3  # fewer say too little to be continued, or to be a continuation
SHORT_ANSWER_WORDS = 5
CHOICES = 4
LOOKED_AT = 200  # candidates for the other choices of one item


def clusters(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The cluster number of each of `count` things, `pairs` of which belong together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second = np.array(list(pairs), int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()


def same(keys: Sequence[object]) -> list[tuple[int, int]]:
    """Pairs that join everything with one key; None joins nothing."""
    first: dict[object, int] = {}
    return [
        (first.setdefault(key, number), number)
        for number, key in enumerate(keys)
        if key is not None
    ]


def family_pairs(origins: Sequence[str], families: Sequence[str]) -> list[tuple[int, int]]:
    """Rows of one file (origin) with one `source` (family), unless the file has too few of them to
    be names of documents.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for origin, family in zip(origins, families, strict=True):
        values[origin] |= {family} - {""}
    return same(
        [
            (o, f) if f and len(values[o]) >= FEWEST_FAMILIES else None
            for o, f in zip(origins, families, strict=True)
        ]
    )


def versions(owners: Sequence[int], marks: Sequence[int | None]) -> list[tuple[int, int]]:
    """Documents one of which repeats half of the other's chunks.

    A chunk that many share, such as a licence, joins nothing.

    owners: the document of each chunk. marks: the earlier chunk that it repeats, or None.
    """
    chunks = Counter(owners)
    shared = Counter(
        (owners[mark], owner) for owner, mark in zip(owners, marks, strict=True) if mark is not None
    )
    return [
        pair for pair, count in shared.items() if 2 * count >= min(map(chunks.__getitem__, pair))
    ]


def hold_out(sizes: dict[str, int], share: float, seed: int) -> dict[str, str]:
    """The names that go to dev and to test, to each at most `share` of the whole size and of the
    names, but one at least.

    The others are for training. The order is that of a hash of name and seed: what stays in the
    data keeps its place as more is added. What is larger than a share is not held out where
    anything smaller is there. Empty with fewer than three names.
    """
    if len(sizes) < FEWEST_CLUSTERS:
        return {}
    order = sorted(sizes, key=lambda name: _rank(name, seed))
    held: dict[str, str] = {}
    for split in EVAL_SPLITS:
        left, most = share * sum(sizes.values()), round(share * len(sizes))
        for name in order:
            if name not in held and sizes[name] <= left and most:
                held[name] = split
                left, most = left - sizes[name], most - 1
        if split not in held.values():
            held[min((name for name in order if name not in held), key=sizes.__getitem__)] = split
    return held


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def split_clusters(
    names: Sequence[str],
    sizes: Sequence[int],
    pairs: Iterable[tuple[int, int]],
    share: float,
    seed: int,
) -> list[tuple[str, str | None]]:
    """Per thing its cluster, named after its first, and where that goes: dev, test or None
    (training).

    pairs: things that belong together. Clusters of size nought count for nothing.
    """
    labels = clusters(len(names), pairs)
    first: dict[int, str] = {}
    total: dict[str, int] = defaultdict(int)
    for label, name, size in zip(labels, names, sizes, strict=True):
        total[first.setdefault(label, name)] += size
    held = hold_out({name: size for name, size in total.items() if size}, share, seed)
    return [(first[label], held.get(first[label])) for label in labels]


def question_pairs(chats: Sequence[list[dict]]) -> list[tuple[int, int]]:
    """Chats that must not be parted: of one question, or nearly of one text."""
    marks = near_duplicates(" ".join(turn["content"] for turn in chat) for chat in chats)
    pairs = [(first, number) for number, first in enumerate(marks) if first is not None]
    return pairs + same([question_key(question_of(chat)) or None for chat in chats])


# --- items ------------------------------------------------------------------------------------


def in_turn(passages: Sequence[tuple[str, str]], seed: int) -> list[int]:
    """Indices of (source, text) passages in random order, a first of every source before any
    second.
    """
    order = sorted(range(len(passages)), key=lambda i: _rank(f"{i} {passages[i][0]}", seed))
    seen: dict[str, int] = defaultdict(int)
    turn = {}
    for i in order:
        turn[i] = seen[passages[i][0]]
        seen[passages[i][0]] += 1
    return sorted(order, key=turn.__getitem__)


def continuation_items(passages: Sequence[tuple[str, str]], seed: int) -> list[dict | None]:
    """Per (source, text) passage: which sentence comes next, its own or one of three others of the
    same split?

    The others come from other sources where there are enough. None for a passage without a sentence
    to continue, and where there are no others.
    """
    cuts = [_cut(text) for _, text in passages]
    pool = [(source, cut[1]) for (source, _), cut in zip(passages, cuts, strict=True) if cut]
    items: list[dict | None] = []
    for number, ((source, _), cut) in enumerate(zip(passages, cuts, strict=True)):
        rng = random.Random(f"continuation {seed} {number}")
        others = _others(cut[1], source, pool, rng) if cut else []
        if cut and len(others) < CHOICES - 1:
            others = _others(cut[1], "", pool, rng)
        base = {"axis": "knowledge", "kind": "continuation", "entity": source}
        items.append(
            {**base, "prompt": cut[0], **_choices(cut[1], others, rng)} if cut and others else None
        )
    return items


def _cut(text: str) -> tuple[str, str] | None:
    """The end of a passage's first half, and the beginning of the sentence after it."""
    sentences = sentences_of(" ".join(text.split()))
    half = max(1, len(sentences) // 2)
    prompt, answer = (
        _ending(" ".join(sentences[:half])),
        beginning(" ".join(sentences[half : half + 1])),
    )
    return (
        (prompt, answer)
        if size_of(prompt) >= PROMPT_WORDS and size_of(answer) >= ANSWER_WORDS
        else None
    )


def beginning(text: str, most: int = ANSWER_BYTES) -> str:
    """The first `most` bytes of a text (UTF-8), cut at a space where there is one."""
    cut = text.encode()[:most].decode("utf-8", "ignore")
    return cut if cut == text or " " not in cut or text[len(cut)] == " " else cut.rsplit(" ", 1)[0]


def _ending(text: str) -> str:
    cut = text.encode()[-PROMPT_BYTES:].decode("utf-8", "ignore")
    return cut if cut == text or " " not in cut else cut.split(" ", 1)[1]


def _others(
    answer: str, own: str, pool: Sequence[tuple[str, str]], rng: random.Random
) -> list[str]:
    """Up to three different texts of a (source, text) pool that are not the answer and not of its
    own source.
    """
    found: list[str] = []
    for source, text in rng.sample(pool, min(len(pool), LOOKED_AT)):
        if source != own and text != answer and text not in found and len(found) < CHOICES - 1:
            found.append(text)
    return found


def _choices(answer: str, others: list[str], rng: random.Random) -> dict:
    choices = [answer, *others]
    rng.shuffle(choices)
    return {"choices": choices, "answer": answer}


def question_items(chats: Sequence[tuple[str, list[dict]]], seed: int) -> list[dict | None]:
    """Per (entity, chat) an item: a short answer is to be said, a long one told from three answers
    to other questions.

    Long answers are compared by their beginnings. None where the chat is too long for an item or
    there is no other answer.
    """
    pool = [(entity, beginning(" ".join(chat[-1]["content"].split()))) for entity, chat in chats]
    items: list[dict | None] = []
    for number, (entity, chat) in enumerate(chats):
        asked, answer = chat[:-1], chat[-1]["content"]
        base = {"axis": "knowledge", "entity": entity, "messages": asked}
        rng = random.Random(f"question {seed} {number}")
        others = _others(pool[number][1], entity, pool, rng)
        if sum(len(turn["content"].encode()) for turn in asked) > QUESTION_BYTES:
            items.append(None)
        elif size_of(answer) <= SHORT_ANSWER_WORDS:
            items.append({**base, "kind": "free", "answer": answer})
        else:
            items.append(
                {**base, "kind": "answer_choice", **_choices(pool[number][1], others, rng)}
                if others
                else None
            )
    return items


def control_items(split: str) -> list[dict]:
    """What measures forgetting in labkit's tiny models: everyday questions and formats of the
    general world, as in shipped packs.
    """
    people, rng = people_of(split), random.Random(f"controls {split}")
    return formatted_items(
        "instructions", "general", world.language("general"), people, FORMATTED[split], rng
    ) + general_items(people)


# --- a pack's files ---------------------------------------------------------------------------


def _once(work: Work, kind: str) -> list[Example]:
    """Examples of a kind without exact copies."""
    first: dict[str, Example] = {}
    for example in work.examples[kind]:
        if first.setdefault(json.dumps(example.row), example) is not example:
            work.leave_out(example.source, "row", "an exact copy of another row")
    return list(first.values())


def write_examples(work: Work, pack: Pack) -> dict[str, list[Held[list[dict]]]]:
    """qa.jsonl and preferences.jsonl; the chats held out, by split.

    Preferences do not ask what is held out.
    """
    examples = _once(work, "qa")
    chats = [example.row["messages"] for example in examples]
    pairs = question_pairs(chats) + family_pairs(
        [example.origin for example in examples], [example.family for example in examples]
    )
    splits = split_clusters(
        [example.source for example in examples],
        [1] * len(examples),
        pairs,
        QUESTION_SHARE,
        work.seed,
    )
    held: dict[str, list[Held[list[dict]]]] = {split: [] for split in EVAL_SPLITS}
    training = []
    for example, chat, (cluster, split) in zip(examples, chats, splits, strict=True):
        if split:
            held[split].append(Held(example.source, "row", cluster, chat))
        else:
            training.append({"messages": chat, "source": example.family or example.origin})
    write_rows(pack, "qa", training)
    write_rows(
        pack,
        "preferences",
        _preferences(
            work,
            {question_key(question_of(each.content)) for chats in held.values() for each in chats},
        ),
    )
    return held


def _preferences(work: Work, held: set[str]) -> Iterator[dict]:
    for example in _once(work, "preferences"):
        if question_key(question_of(example.row["prompt"])) in held:
            work.leave_out(example.source, "row", "a preference whose question is held out")
        else:
            yield example.row


def write_items(
    work: Work,
    pack: Pack,
    passages: dict[str, list[Held[str]]],
    questions: dict[str, list[Held[list[dict]]]],
) -> None:
    """eval_dev.jsonl and eval_test.jsonl without items that leak; an InputError where none about
    the domain is left.
    """
    made = {
        split: _question_items(work, questions[split])
        + _passage_items(work, passages[split], split)
        for split in EVAL_SPLITS
    }
    placed = [
        (f"{split} {number}", item)
        for split in EVAL_SPLITS
        for number, (_, item) in enumerate(made[split])
    ]
    leaks = {leak.item for leak in find_leaks(placed, placed_rows(pack, TRAINING_SPLITS))}
    for split in EVAL_SPLITS:
        kept: list[dict] = []
        for number, (held, item) in enumerate(made[split]):
            if f"{split} {number}" in leaks:
                work.set_aside(held, "its words or its question are in training rows")
            elif (
                item["kind"] == "continuation"
                and sum(other["kind"] == "continuation" for other in kept) == PASSAGES[split]
            ):
                work.set_aside(held, "enough items without it")
            else:
                kept.append(item)
        if not kept:
            raise InputError(
                f"{pack.name}: no item for {split} could be made of what was held out "
                "(text of two sentences and more, or "
                f"questions that training rows do not have); add files, or give another seed"
            )
        items = kept + control_items(split)
        write_rows(
            pack,
            split,
            ({"id": f"{split}-{number:04d}", **item} for number, item in enumerate(items)),
        )


def _question_items(work: Work, questions: list[Held[list[dict]]]) -> list[tuple[Held, dict]]:
    items = question_items([(held.cluster, held.content) for held in questions], work.seed)
    return _made(work, questions, items, "too long for an item, or no other answer to tell it from")


def _passage_items(work: Work, passages: list[Held[str]], split: str) -> list[tuple[Held, dict]]:
    """Twice as many as are needed, since some leak."""
    order = in_turn([(held.cluster, held.source) for held in passages], work.seed)
    chosen = [passages[number] for number in order[: 2 * PASSAGES[split]]]
    for number in order[len(chosen) :]:
        work.set_aside(passages[number], "enough items without it")
    items = continuation_items([(held.cluster, held.content) for held in chosen], work.seed)
    return _made(work, chosen, items, "no sentence to continue")


def _made(
    work: Work, held: list[Held], items: list[dict | None], problem: str
) -> list[tuple[Held, dict]]:
    for each, item in zip(held, items, strict=True):
        if item is None:
            work.set_aside(each, problem)
    return [(each, item) for each, item in zip(held, items, strict=True) if item is not None]
