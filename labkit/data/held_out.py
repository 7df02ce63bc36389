"""This module decides what a new pack keeps from training, and writes the pack's questions,
preferences and evaluation items.

Documents and questions are held out in whole clusters, so that no near copy of a test item is
trained on. The module does not read files, does not cut text into chunks and does not know what an
item asks.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from labkit.base.errors import InputError
from labkit.base.records import AXES
from labkit.data.facts import Survey, Table, in_turn, rank, survey
from labkit.data.items import (
    can_be_asked,
    continuation_items,
    control_items,
    mark_taught,
    question_items,
    taught_items,
)
from labkit.data.leaks import (
    QUESTION_WORDS,
    find_leaks,
    near_duplicates,
    question_key,
    question_of,
)
from labkit.data.packs import CHAT_SPLITS, EVAL_SPLITS, TEXT_SPLITS, Pack, placed_rows
from labkit.data.workbench import Example, Held, Work, write_rows

TEXT_SHARE, QUESTION_SHARE = 0.1, 0.15  # of text and of questions, for dev and again for test
# a file whose `source` column has fewer values holds tags there, not names of documents
FEWEST_FAMILIES = 3
FEWEST_CLUSTERS = 3  # one each for training, dev and test
FEWEST_ITEMS = 2  # of a split: a continuation is told from those of other items
PASSAGES = {"dev": 80, "test": 200}  # most continuation items
# test items that an axis should have: of a hundred an interval of a score is about 0.1 to each side
WANTED = dict.fromkeys(AXES, 100) | {"compositional": 60}
OF_EVERY_PACK = ("general", "natural_general")  # kinds that are not about the domain
LIKE_TEXT = 1.5  # sentences of a document of running text, at least
ALIKE = 0.4  # of statements can be told from the others, at least
READ_CHUNKS = 6000  # training passages that statements are taken from, at most


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
    order = sorted(able, key=lambda name: rank(name, seed))
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
    """Chats that must not be parted: of one question, nearly of one text, or of a question that
    begins or ends with the other's, as one with a request for a form does.
    """
    marks = near_duplicates(" ".join(turn["content"] for turn in chat) for chat in chats)
    pairs = [(first, number) for number, first in enumerate(marks) if first is not None]
    keys = [question_key(question_of(chat)) for chat in chats]
    return pairs + same([key or None for key in keys]) + _longer_questions(keys)


def _longer_questions(keys: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of questions the first of which (five words and more) begins or ends the second."""
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    pairs = []
    for number, key in enumerate(keys):
        words = key.split()
        for cut in range(QUESTION_WORDS, len(words)):
            for part in (words[:cut], words[-cut:]):
                shorter = first.get(" ".join(part))
                if shorter is not None:
                    pairs.append((shorter, number))
    return pairs


# --- a pack's files ---------------------------------------------------------------------------


def _once(work: Work, kind: str) -> list[Example]:
    """Examples of a kind without exact copies."""
    first: dict[str, Example] = {}
    for example in work.examples[kind]:
        if first.setdefault(json.dumps(example.row), example) is not example:
            work.leave_out(example.source, "row", "an exact copy of another row")
    return list(first.values())


def write_examples(
    work: Work, pack: Pack
) -> tuple[dict[str, list[Held[list[dict]]]], dict[str, list[dict]]]:
    """qa.jsonl and preferences.jsonl; the chats held out and items of the pairs held out, by split.

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
    asked = {
        question_key(question_of(each.content)): split
        for split, chats in held.items()
        for each in chats
    }
    pairs_kept, items = _preferences(work, pack, asked)
    write_rows(pack, "preferences", pairs_kept)
    return held, items


def _preferences(
    work: Work, pack: Pack, asked: dict[str, str]
) -> tuple[list[dict], dict[str, list[dict]]]:
    """Pairs to train on, and by split items of those held out: is the chosen answer likelier?

    asked: questions held out -> split. A pair is held out with all that belong to it, and only
    where no training row says or asks the same.
    """
    examples = _once(work, "preferences")
    chats = [example.row["prompt"] + example.row["chosen"] for example in examples]
    fits = [
        can_be_asked(chat) and _differ(example.row)
        for chat, example in zip(chats, examples, strict=True)
    ]
    placed = split_clusters(
        [example.source for example in examples],
        [1] * len(examples),
        question_pairs(chats),
        QUESTION_SHARE,
        work.seed,
        [FEWEST_ITEMS * fit for fit in fits],
    )
    unfit = {cluster for (cluster, _), fit in zip(placed, fits, strict=True) if not fit}
    kept: list[Example] = []
    held: list[tuple[str, Example, str]] = []  # split, pair, cluster
    for example, chat, fit, (cluster, split) in zip(examples, chats, fits, placed, strict=True):
        turns = [turn["content"] for turn in example.row["prompt"] if turn["role"] == "user"]
        others = {asked[one] for one in map(question_key, turns) if one in asked}
        where = asked.get(question_key(question_of(chat)))
        if others and not (fit and others == {where}):
            work.leave_out(example.source, "row", "a preference whose question is held out")
        elif others or (split and cluster not in unfit):
            held.append((where or split or "", example, cluster))
        else:
            kept.append(example)
    kept, held = _without_leaking_pairs(work, pack, kept, held, asked)
    items: dict[str, list[dict]] = {split: [] for split in EVAL_SPLITS}
    for split, example, cluster in held:
        items[split].append(_pair_item(example, cluster, work.seed))
    trained = set(map(id, kept))
    rows = [
        {**example.row, "source": _place(example)} for example in examples if id(example) in trained
    ]
    return rows, items


def _without_leaking_pairs(
    work: Work,
    pack: Pack,
    kept: list[Example],
    held: list[tuple[str, Example, str]],
    asked: dict[str, str],
) -> tuple[list[Example], list[tuple[str, Example, str]]]:
    """Pairs held out whose words or question training rows have are trained on, too; one whose
    question is held out besides is left out. What is trained on then may be said by others.
    """
    while held:
        items = [
            (str(number), _pair_item(example, cluster, work.seed))
            for number, (_, example, cluster) in enumerate(held)
        ]
        trained = ((example.source, example.row) for example in kept)
        rows = chain(placed_rows(pack, [*TEXT_SPLITS, "qa"]), trained)
        leaks = {int(leak.item) for leak in find_leaks(items, rows)}
        if not leaks:
            break
        for number in sorted(leaks):
            _, example, _ = held[number]
            if question_key(question_of(example.row["prompt"] + example.row["chosen"])) in asked:
                work.leave_out(example.source, "row", "a preference whose question is held out")
            else:
                kept.append(example)
        held = [pair for number, pair in enumerate(held) if number not in leaks]
    return kept, held


def _differ(row: dict) -> bool:
    """Whether a pair is two answers of one turn each that a reader can tell apart."""
    chosen, rejected = row["chosen"], row["rejected"]
    return (
        len(chosen) == len(rejected) == 1
        and chosen[0]["content"].split() != rejected[0]["content"].split()
    )


def _pair_item(example: Example, cluster: str, seed: int) -> dict:
    row = example.row
    choices = [row[side][0]["content"] for side in ("chosen", "rejected")]
    answer = choices[0]
    random.Random(f"pair {seed} {example.source}").shuffle(choices)
    asked = [{"role": turn["role"], "content": turn["content"]} for turn in row["prompt"]]
    return {
        "axis": "preference",
        "kind": "pair",
        "entity": cluster,
        "messages": asked,
        "choices": choices,
        "answer": answer,
    }


def _place(example: Example) -> str:
    """Where a row comes from: file and line, behind what its own column `source` says."""
    return f"{example.family} ({example.source})" if example.family else example.source


def write_items(
    work: Work,
    pack: Pack,
    passages: dict[str, list[Held[str]]],
    questions: dict[str, list[Held[list[dict]]]],
    pairs: dict[str, list[dict]],
) -> None:
    """eval_dev.jsonl and eval_test.jsonl without items that leak; an InputError where none about
    the domain is left.

    A question whose answer the raw text teaches is no leak but recall, and is marked as taught.
    pairs: items of preferences held out, which no training question asks.
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
    leaks = {leak.item for leak in find_leaks(placed, placed_rows(pack, TEXT_SPLITS))}
    leaks -= mark_taught(placed, leaks, (row for _, row in placed_rows(pack, TEXT_SPLITS)))
    leaks |= {leak.item for leak in find_leaks(placed, placed_rows(pack, CHAT_SPLITS))}
    about_text = _taught_without_leaks(work, pack)
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
        if not kept and not about_text[split]:
            raise InputError(
                f"{pack.name}: no item for {split} could be made of what was held out "
                "(two passages of two sentences and more, or questions that training rows do not "
                f"have): {_why_few(_seen_in(pack))}; add files or longer texts, or give another "
                "seed"
            )
        items = kept + pairs[split] + about_text[split] + control_items(split)
        write_rows(
            pack,
            split,
            ({"id": f"{split}-{number:04d}", **item} for number, item in enumerate(items)),
        )


def _taught_without_leaks(work: Work, pack: Pack) -> dict[str, list[dict]]:
    """Items about the raw text whose words do not stand in questions or preferences, too."""
    if not pack.has("raw"):
        return {split: [] for split in EVAL_SPLITS}
    of_tables = {table.source for table in work.tables}
    rows = (row for _, row in placed_rows(pack, ["raw"]) if row.get("source") not in of_tables)
    passages = _sample(rows, work.seed)
    tables = [*work.tables, *(_as_read(table, passages) for table in work.inside)]
    made = taught_items(passages, work.seed, tables=tables)
    placed = [
        (f"{split} {number}", item)
        for split in EVAL_SPLITS
        for number, item in enumerate(made[split])
    ]
    leaks = {leak.item for leak in find_leaks(placed, placed_rows(pack, CHAT_SPLITS))}
    return {
        split: [item for number, item in enumerate(made[split]) if f"{split} {number}" not in leaks]
        for split in EVAL_SPLITS
    }


def _sample(rows: Iterable[dict], seed: int) -> list[tuple[str, str]]:
    """(source, text) of rows; of a large corpus a sample, the same whenever the seed is."""
    chosen = heapq.nsmallest(
        READ_CHUNKS, enumerate(rows), key=lambda each: rank(str(each[0]), seed)
    )
    return [(row["source"], row["text"]) for _, row in sorted(chosen, key=lambda each: each[0])]


def _as_read(table: Table, passages: Sequence[tuple[str, str]]) -> Table:
    """A table in a document, with the rows that stand in its training text."""
    text = "\n".join(question_key(text) for source, text in passages if source == table.source)
    rows = {
        name: row for name, row in table.rows.items() if question_key(table.lines[name]) in text
    }
    return replace(table, rows=rows)


def axes_told(pack: Pack) -> tuple[dict[str, int], list[str]]:
    """How many test items about the domain each axis has, and a sentence for each with too few: why
    that is, and about how many more documents would do.
    """
    found = Counter(
        row["axis"] for row in pack.rows("test") if row.get("kind") not in OF_EVERY_PACK
    )
    counts = {axis: found[axis] for axis in WANTED}
    few = [axis for axis in WANTED if counts[axis] < WANTED[axis]]
    if not few:
        return counts, []
    seen = _seen_in(pack)
    if not seen.blanks:
        return counts, [f"{', '.join(few)}: too few test items, for {_why_few(seen)}; {ASK}"]
    return counts, [
        f"{axis}: {counts[axis]:,} test items of the {WANTED[axis]} that a score needs; "
        f"{_why_few(seen)}; add {_more_documents(counts[axis], WANTED[axis], seen)}, or {ASK}"
        for axis in few
    ]


ASK = "bring questions in a table (question, answer)"


def _seen_in(pack: Pack) -> Survey:
    rows = (row for _, row in placed_rows(pack, ["raw"]))
    return survey(_sample(rows, 0))


def _why_few(seen: Survey) -> str:
    """Why so few items could be made of a text."""
    if not seen.blanks:
        return (
            "the text is in a script without blanks between words, of which labkit takes no part "
            "out yet"
        )
    if seen.sentences < LIKE_TEXT * seen.documents:
        return (
            f"hardly any running text: {seen.sentences:,} sentences in {seen.documents:,} "
            "documents (lists, headings, programs, forms and what many documents share are none)"
        )
    if seen.known < ALIKE * seen.telling:
        return (
            f"the documents are too much alike: of {seen.telling:,} statements with a name, a "
            f"number or a term only {seen.known:,} can be told from the others"
        )
    return f"too few documents ({seen.documents:,} are trained on)"


def _more_documents(count: int, wanted: int, seen: Survey) -> str:
    """As many more as it takes at the same yield; of no item at all nobody can tell."""
    if not count or seen.known < ALIKE * seen.telling:
        return "documents of running text that differ"
    return f"about {max(1, round(seen.documents * (wanted - count) / count)):,} more like these"


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
