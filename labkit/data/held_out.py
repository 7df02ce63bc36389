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
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import regex

from labkit.base.errors import InputError
from labkit.data import world
from labkit.data.cleaning import parted, sets_no_blanks, size_of
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
# as people count them; so that an English item fits into 256 tokens of a tiny model
PROMPT_CHARACTERS, ANSWER_CHARACTERS, QUESTION_CHARACTERS = 160, 80, 400
PROMPT_WORDS, ANSWER_WORDS = 5, 3  # fewer say too little to be continued, or to be a continuation
SHORT_ANSWER_WORDS = 5
_CHARACTER = regex.compile(r"\X")  # as people count: a letter with its signs is one
LONGEST_CHARACTER = 20  # code points; more are looked at for nobody
CHOICES = 4
FEWEST_ITEMS = 2  # of a split: a continuation is told from those of other items
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


def hold_out(
    sizes: dict[str, int], share: float, seed: int, items: dict[str, int] | None = None
) -> dict[str, str]:
    """The names that go to dev and to test, to each at most `share` of the whole size and of the
    names, but one at least, and as many as give two items.

    items: how many items each name can give (without: enough). A name that gives none is held out
    only where fewer than two names give any. The others are for training. The order is that of a
    hash of name and seed: what stays in the data keeps its place as more is added. What is larger
    than a share is not held out where anything smaller is there. Empty with fewer than three names.
    """
    if len(sizes) < FEWEST_CLUSTERS:
        return {}
    able = [name for name in sizes if items is None or items[name]]
    if items is None or len(able) < len(EVAL_SPLITS):
        able, items = list(sizes), dict.fromkeys(sizes, FEWEST_ITEMS)
    order = sorted(able, key=lambda name: _rank(name, seed))
    held: dict[str, str] = {}
    for number, split in enumerate(EVAL_SPLITS, 1):
        spare = len(EVAL_SPLITS) - number  # splits that must get a name, too
        left, most = share * sum(sizes.values()), round(share * len(sizes))
        for name in order:
            fits = sizes[name] <= left and most and len(order) - len(held) > spare
            if name not in held and fits:
                held[name] = split
                left, most = left - sizes[name], most - 1
        while len(sizes) - len(held) > spare + 1:
            free = {name: sizes[name] for name in order if name not in held}
            own = [items[name] for name, where in held.items() if where == split]
            chosen = _one_more(free, items, own, sum(sizes.values())) if len(free) > spare else None
            if chosen is None:
                break
            held[chosen] = split
    return held


def _one_more(
    free: dict[str, int], items: dict[str, int], own: list[int], whole: int
) -> str | None:
    """The name that a split needs to have two items, or None: the smallest that gives all that are
    missing, else the smallest. One with most of the text is for training if it can be.

    free: sizes of the names that can be had. own: items of each that the split has.
    """
    missing = FEWEST_ITEMS - sum(own)
    light = [name for name, size in free.items() if 2 * size <= whole]
    if missing <= 0 or (own and not light):
        return None
    return min(light or free, key=lambda name: (items[name] < missing, free[name]))


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def split_clusters(
    names: Sequence[str],
    sizes: Sequence[int],
    pairs: Iterable[tuple[int, int]],
    share: float,
    seed: int,
    items: Sequence[int] | None = None,
) -> list[tuple[str, str | None]]:
    """Per thing its cluster, named after its first, and where that goes: dev, test or None
    (training).

    pairs: things that belong together. items: how many items each can give. Clusters of size nought
    count for nothing.
    """
    labels = clusters(len(names), pairs)
    first: dict[int, str] = {}
    total: Counter[str] = Counter()
    able: Counter[str] = Counter()
    for number, (label, name, size) in enumerate(zip(labels, names, sizes, strict=True)):
        total[first.setdefault(label, name)] += size
        able[first[label]] += items[number] if items is not None else FEWEST_ITEMS
    held = hold_out({name: size for name, size in total.items() if size}, share, seed, able)
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


def can_be_continued(text: str) -> bool:
    """Whether a passage has a sentence to continue."""
    return _cut(text) is not None


def _cut(text: str) -> tuple[str, str] | None:
    """The end of a passage's first half, and the beginning of the sentence after it."""
    sentences = parted(" ".join(text.split()))
    half = max(1, len(sentences) // 2)
    prompt, answer = (
        _ending("".join(sentences[:half]).strip()),
        beginning("".join(sentences[half : half + 1]).strip()),
    )
    return (
        (prompt, answer)
        if size_of(prompt) >= PROMPT_WORDS and size_of(answer) >= ANSWER_WORDS
        else None
    )


def beginning(text: str, most: int = ANSWER_CHARACTERS) -> str:
    """The first `most` characters of a text, cut at a space where there is one.

    A letter with its signs is one character. Scripts without spaces are cut anywhere.
    """
    characters = _CHARACTER.findall(text[: LONGEST_CHARACTER * most])
    cut, rest = "".join(characters[:most]), characters[most : most + 1]
    if " " not in cut or not rest or rest[0] == " " or sets_no_blanks(rest[0]):
        return cut
    return cut.rsplit(" ", 1)[0]


def _ending(text: str) -> str:
    characters = _CHARACTER.findall(text[-LONGEST_CHARACTER * PROMPT_CHARACTERS :])
    cut = "".join(characters[-PROMPT_CHARACTERS:])
    return cut if cut == text or " " not in cut or sets_no_blanks(cut) else cut.split(" ", 1)[1]


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


def can_be_asked(chat: list[dict]) -> bool:
    """Whether a chat's answer is one to learn, and what comes before it short enough for items."""
    asked = sum(len(turn["content"]) for turn in chat[:-1])
    return asked <= QUESTION_CHARACTERS and bool(chat[-1].get("weight", 1))


# How an answer begins, whatever it says. A bare "No" may also begin a sentence, so a stop follows.
_YES_OR_NO = re.compile(
    r"\W*((yes|yeah|maybe|perhaps|ja|nein|nee|vielleicht|oui|peut-être|sí|quizás|sim|talvez|forse)\b"
    r"|(no|non|não|true|false|correct|incorrect|richtig|falsch|vrai|faux|是|是的|否|不是|はい|いいえ)"
    r"(?=\W*$|\s*[.,;:!\u3002\uff0c\u3001\uff01]))",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\s*([-*•–]|\d+[.)])\s")
_NUMBER = re.compile(
    r"[^\w\s]*\s*(?:(?:about|around|circa|ca\.|etwa)\s+)?[-+±]?\d[\d.,]*(?=\s|%|°|$)\s*(\S*)",
    re.IGNORECASE,
)


def kind_of(answer: str) -> str:
    """What sort of thing an answer is, by how it begins: yes or no, a list, a number with its unit,
    or text.
    """
    if _YES_OR_NO.match(answer):
        return "yes or no"
    if _LISTED.match(answer):
        return "list"
    number = _NUMBER.match(answer)
    return f"number {number[1].strip('.,;:').casefold()}" if number else "text"


def _alike(answer: str, own: str, pool: Sequence[tuple[str, str]], rng: random.Random) -> list[str]:
    """Up to three texts of a (source, text) pool that are half to twice as long as the answer;
    where there are none, the beginnings of longer ones.
    """
    sample = rng.sample(pool, min(len(pool), LOOKED_AT))
    near = [(s, text) for s, text in sample if len(answer) / 2 <= len(text) <= len(answer) * 2]
    longer = [(s, beginning(text, len(answer))) for s, text in sample if len(text) > len(answer)]
    return _others(answer, own, near, rng) or _others(answer, own, longer, rng)


def question_items(chats: Sequence[tuple[str, list[dict]]], seed: int) -> list[dict | None]:
    """Per (entity, chat) an item: a short answer is to be said, a long one told from up to three
    answers to other questions, of its kind and length.

    Long answers are compared by their beginnings. None where the chat is no item (can_be_asked),
    and for a long answer without another of its kind and length.
    """
    answers = [" ".join(chat[-1]["content"].split()) for _, chat in chats]
    pools: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (entity, _), answer in zip(chats, answers, strict=True):
        if size_of(answer) > SHORT_ANSWER_WORDS:
            pools[kind_of(answer)].append((entity, beginning(answer)))
    items: list[dict | None] = []
    for number, ((entity, chat), answer) in enumerate(zip(chats, answers, strict=True)):
        asked = [{"role": turn["role"], "content": turn["content"]} for turn in chat[:-1]]
        item = {"axis": "knowledge", "entity": entity, "messages": asked}
        if not can_be_asked(chat):
            items.append(None)
        elif size_of(answer) <= SHORT_ANSWER_WORDS:
            items.append({**item, "kind": "free", "answer": chat[-1]["content"]})
        else:
            rng, shown = random.Random(f"question {seed} {number}"), beginning(answer)
            others = _alike(shown, entity, pools[kind_of(answer)], rng)
            item |= {"kind": "answer_choice", **_choices(shown, others, rng)}
            items.append(item if others else None)
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
        [FEWEST_ITEMS * can_be_asked(chat) for chat in chats],
    )
    held: dict[str, list[Held[list[dict]]]] = {split: [] for split in EVAL_SPLITS}
    training = []
    for example, chat, (cluster, split) in zip(examples, chats, splits, strict=True):
        if split:
            held[split].append(Held(example.source, "row", cluster, chat))
        else:
            training.append({"messages": chat, "source": _place(example)})
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
        asked = [turn["content"] for turn in example.row["prompt"] if turn["role"] == "user"]
        if held.intersection(map(question_key, asked)):
            work.leave_out(example.source, "row", "a preference whose question is held out")
        else:
            yield {**example.row, "source": _place(example)}


def _place(example: Example) -> str:
    """Where a row comes from: file and line, behind what its own column `source` says."""
    return f"{example.family} ({example.source})" if example.family else example.source


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
                "(two passages of two sentences and more, or questions that training rows do not "
                "have); add files or longer texts, or give another seed"
            )
        items = kept + control_items(split)
        write_rows(
            pack,
            split,
            ({"id": f"{split}-{number:04d}", **item} for number, item in enumerate(items)),
        )


def _question_items(work: Work, questions: list[Held[list[dict]]]) -> list[tuple[Held, dict]]:
    items = question_items([(held.cluster, held.content) for held in questions], work.seed)
    problems = [
        "no other answer of its kind and length"
        if can_be_asked(held.content)
        else "a question too long for an item, or an answer not to be learned"
        for held in questions
    ]
    return _made(work, questions, items, problems)


def _passage_items(work: Work, passages: list[Held[str]], split: str) -> list[tuple[Held, dict]]:
    """Twice as many as are needed, since some leak."""
    order = in_turn([(held.cluster, held.source) for held in passages], work.seed)
    chosen = [passages[number] for number in order[: 2 * PASSAGES[split]]]
    for number in order[len(chosen) :]:
        work.set_aside(passages[number], "enough items without it")
    items = continuation_items([(held.cluster, held.content) for held in chosen], work.seed)
    return _made(work, chosen, items, ["no sentence to continue"] * len(chosen))


def _made(
    work: Work, held: list[Held], items: list[dict | None], problems: list[str]
) -> list[tuple[Held, dict]]:
    """Everything held out with its item; what gives none is set aside with its problem."""
    for each, item, problem in zip(held, items, problems, strict=True):
        if item is None:
            work.set_aside(each, problem)
    return [(each, item) for each, item in zip(held, items, strict=True) if item is not None]
