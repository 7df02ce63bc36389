"""This module makes evaluation items of texts and of questions with their answers.

Held-out text is continued, held-out questions are asked again, and what the training text says is
asked for, each item with the sentence it comes from. The module works on plain texts and chats; it
does not know files, and not what is held out.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import regex
import yaml

from labkit.data import world
from labkit.data.cleaning import parted, sentences_of, sets_no_blanks, size_of
from labkit.data.facts import (
    ASKABLE,
    CHOICES,
    GAP,
    LOOKED_AT,
    ORDERED,
    Described,
    SaidAlike,
    Statement,
    Table,
    described_things,
    is_plain,
    quantity,
    rank,
    said_alike,
    table_statements,
    taught_statements,
    usage_of,
)
from labkit.data.instructions import (
    COMBINATIONS,
    INSTRUCTIONS,
    REAL_MODELS,
    TAUGHT,
    TINY_MODELS,
    natural_domain,
    natural_general,
)
from labkit.data.leaks import question_of, words_of
from labkit.data.packs import EVAL_SPLITS, samples_folder
from labkit.data.world import formatted_items, general_items, people_of

FORMATTED = {"dev": 40, "test": 100}  # items about form, of the general world
# as people count them; so that an English item fits into 256 tokens of a tiny model
PROMPT_CHARACTERS, ANSWER_CHARACTERS, QUESTION_CHARACTERS = 160, 80, 400
PROMPT_WORDS, ANSWER_WORDS = 5, 3  # fewer say too little to be continued, or to be a continuation
SHORT_ANSWER_WORDS = 5
_INITIAL = regex.compile(r"\b\p{Lu}\.$")  # of a name: no end of a sentence
_CHARACTER = regex.compile(r"\X")  # as people count: a letter with its signs is one
LONGEST_CHARACTER = 20  # code points; more are looked at for nobody


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
        base = {"axis": "reasoning", "kind": "continuation", "entity": source}
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
    long = size_of(prompt) >= PROMPT_WORDS and size_of(answer) >= ANSWER_WORDS
    plain = is_plain(prompt) and is_plain(answer) and not _INITIAL.search(prompt)
    return (prompt, answer) if long and plain else None


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


EVERYDAY_FILE = "items.yaml"
EVERYDAY_DEV_EVERY = 3  # one item in so many is dev


def everyday_items(split: str | None = None) -> list[dict]:
    """Items {"id", "axis", "kind", "entity", "prompt", "choices", "answer"} of a split, `dev` or
    `test`, or all.

    The same every time; chance is a quarter. The packs' own control asks about labkit's invented
    people, whom no real model knows. These items ask what a real one should know: capitals,
    opposites, small sums, causes. They are scored by likelihood, as lm-eval scores such tasks.
    """
    items: list[dict] = []
    for group, content in yaml.safe_load(
        (samples_folder("everyday") / EVERYDAY_FILE).read_text("utf-8")
    ).items():
        rng = random.Random(group)
        for asked, answer in content["pairs"].items():
            wrong = rng.sample(sorted(set(content["pairs"].values()) - {answer}), CHOICES - 1)
            items.append(
                {
                    "id": f"everyday-{len(items):03d}",
                    "axis": "general",
                    "kind": group,
                    "entity": f"{group}: {asked}",
                    "prompt": content["prompt"].format(asked),
                    **_choices(answer, wrong, rng),
                }
            )
    return [
        item
        for number, item in enumerate(items)
        if split in (None, "test" if number % EVERYDAY_DEV_EVERY else "dev")
    ]


def control_items(split: str) -> list[dict]:
    """What measures forgetting. Labkit's tiny models are asked about people and formats of their
    general world, as in the invented packs; real models get everyday questions and natural
    requests.
    """
    people, rng = people_of(split), random.Random(f"controls {split}")
    tiny = formatted_items(
        "instructions", "general", world.language("general"), people, FORMATTED[split], rng
    ) + general_items(people)
    everyday = [
        {**item, "kind": "everyday", "models": REAL_MODELS} for item in everyday_items(split)
    ]
    for item in everyday:
        del item["id"]  # a pack numbers its items itself
    return [{**item, "models": TINY_MODELS} for item in tiny] + everyday + natural_general(split)


# --- items about what is taught ---------------------------------------------------------------

BY_SOURCE = 12  # sources and more are parted whole between dev and test
DESCRIBED = {"dev": 60, "test": 150}
OF_TABLES = {"dev": 40, "test": 100}  # of a kind
NAMES = 60  # of rows, beside the terms of texts
ROWS = 300  # of a table that items are made about, of each split
TAUGHT_ITEMS = {"dev": 80, "test": 240}  # of recall with choices, and of free recall
ASKED_FORMS = {"dev": 40, "test": 120}  # of taught facts, and of terms, in a requested form
PROPOSALS = {"dev": 40, "test": 120}
ROUNDS = 5  # how often a term is asked about at most, each time in other company
PROPOSAL_CHARACTERS = (30, 300)
FREE_WORDS = 3
FILL = 'Fill the gap: "{statement}"'


def _has_taught(each: Statement) -> dict:
    """What every item about a statement says of it, so that a person can check the item."""
    return {"entity": each.about or each.source, "source": each.source, "taught": each.sentence}


def _ask(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def recall_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement: is its telling part known, among four of a kind? Where enough stands before
    the part it is a text to continue (recall_cloze), else a gap to fill (recall_gap).
    """
    items = []
    for each in statements:
        item: dict = {"axis": "knowledge", **_has_taught(each)}
        if each.begun:
            item |= {"kind": "recall_cloze", "prompt": each.before}
        else:
            item |= {"kind": "recall_gap", "messages": _ask(FILL.format(statement=each.with_gap))}
        rng = random.Random(f"recall {each.sentence}")
        items.append({**item, **_choices(each.part, list(each.others), rng)})
    return items


def described_items(things: Sequence[Described]) -> list[dict]:
    """Per thing: which of four do two sentences of its document describe, without its name?"""
    items = []
    for each in things:
        quoted = " ".join(f'"{sentence}"' for sentence in each.with_gaps)
        items.append(
            {
                "axis": "reasoning",
                "kind": "described",
                "entity": each.source,
                "source": each.source,
                "taught": "\n".join(each.sentences),
                "messages": _ask(f"Which of these is left out here, where {GAP} stands? {quoted}"),
                **_choices(
                    each.name, list(each.others), random.Random(f"thing {each.sentences[0]}")
                ),
            }
        )
    return items


# --- items about tables -----------------------------------------------------------------------

CLOSE = 0.05  # of a number: two that are nearer are not compared
WORDS_FOR = {"number": ("higher", "lower"), "year": ("later", "earlier")}
MOST_FOR = {"number": ("highest", "lowest"), "year": ("latest", "earliest")}


def table_items(table: Table, names: Sequence[str], seed: int) -> Iterator[dict]:
    """What follows from several cells of a table, about the rows of these names: comparisons of
    two, rows of one class, and questions of two steps. Every item names the sentences it needs.
    """
    rng = random.Random(f"table {seed} {table.source}")
    ordered = [column for column, kind in table.kinds.items() if kind in ORDERED]
    classes = [column for column, kind in table.kinds.items() if kind == "class"]
    asked = [column for column, kind in table.kinds.items() if kind in ASKABLE]
    for column in ordered:
        yield from _comparisons(table, names, column, rng)
    for column in classes:
        yield from _classmates(table, names, column, rng)
    for first, second in itertools.product(classes, ordered):
        yield from _first_of_class(table, names, first, second, rng)
    for first, second in itertools.permutations(asked, 2):
        yield from _by_way_of(table, names, first, second, rng)


def _table_item(
    table: Table, kind: str, asked: str, answer: str, choices: list[str], cells: list[tuple]
) -> dict:
    return {
        "axis": "reasoning",
        "kind": kind,
        "entity": cells[0][0],
        "source": table.source,
        "taught": "\n".join(dict.fromkeys(table.said(*cell) for cell in cells)),
        "messages": _ask(asked),
        "choices": choices,
        "answer": answer,
    }


def _in_order(table: Table, names: Iterable[str], column: str) -> list[str]:
    told = [name for name in names if table.has(name, column)]
    return sorted(told, key=lambda name: (table.value(name, column), name))


def _differ(table: Table, low: str, high: str, column: str) -> bool:
    first, second = table.value(low, column), table.value(high, column)
    if isinstance(first, str) or isinstance(second, str) or table.kinds[column] == "year":
        return first != second
    return second - first > CLOSE * max(abs(first), abs(second))


def _comparisons(table: Table, names: Sequence[str], column: str, rng) -> Iterator[dict]:
    """Two rows, apart by a third of all. Most rows stand once as the higher and once as the lower
    one, so that a name alone does not tell the answer.
    """
    order = _in_order(table, names, column)
    apart = max(1, len(order) // 3)
    for low, high in zip(order, order[apart:], strict=False):
        more, less = WORDS_FOR.get(table.kinds[column], WORDS_FOR["year"])
        word, answer = rng.choice(((more, high), (less, low)))
        choices = rng.sample([low, high], 2)
        if _differ(table, low, high, column):
            asked = f"Which has the {word} {column}, {choices[0]} or {choices[1]}?"
            cells = [(low, column), (high, column)]
            yield _table_item(table, "compared", asked, answer, choices, cells)


def alike_items(group: SaidAlike, names: Sequence[str], seed: int) -> Iterator[dict]:
    """Comparisons of two things of which documents say a number in the same words."""
    rng = random.Random(f"alike {seed} {group.words}")
    order = sorted(names, key=lambda name: (group.numbers[name], name))
    more, less = WORDS_FOR[group.kind]
    for low, high in zip(order, order[max(1, len(order) // 3) :], strict=False):
        word, answer = rng.choice(((more, high), (less, low)))
        choices = rng.sample([low, high], 2)
        if group.numbers[low] < group.numbers[high]:
            yield {
                "axis": "reasoning",
                "kind": "compared",
                "entity": choices[0],
                "source": group.sources[choices[0]],
                "taught": "\n".join(group.sentences[name] for name in choices),
                "messages": _ask(
                    f'Of each is said: "{group.words}" Whose {group.kind} is {word}, '
                    f"{choices[0]} or {choices[1]}?"
                ),
                "choices": choices,
                "answer": answer,
            }


def _classmates(table: Table, names: Sequence[str], column: str, rng) -> Iterator[dict]:
    told = [name for name in names if table.has(name, column)]
    for name in told:
        own = table.rows[name][column]
        same = [other for other in told if other != name and table.rows[other][column] == own]
        different = [other for other in told if table.rows[other][column] != own]
        if same and len(different) >= CHOICES - 1:
            answer = rng.choice(same)
            choices = rng.sample([answer, *rng.sample(different, CHOICES - 1)], CHOICES)
            asked = f"Which of these has the same {column} as {name}: {_listed(choices)}?"
            cells = [(name, column), (answer, column)]
            yield _table_item(table, "same_class", asked, answer, choices, cells)


def _first_of_class(
    table: Table, names: Sequence[str], column: str, ordered: str, rng
) -> Iterator[dict]:
    """Two rows of a class and two others, one of which goes beyond them: both columns count."""
    told = [n for n in names if table.has(n, column) and table.has(n, ordered)]
    for name in told:
        own = table.rows[name][column]
        lower = [
            other
            for other in told
            if table.rows[other][column] == own
            and _differ(table, other, name, ordered)
            and _in_order(table, (other, name), ordered)[-1] == name
        ]
        outside = [other for other in told if table.rows[other][column] != own]
        beyond = [o for o in outside if _in_order(table, (o, name), ordered)[-1] == o]
        if lower and beyond and len(outside) > 1:
            low, far = rng.choice(lower), rng.choice(beyond)
            near = rng.choice([other for other in outside if other != far])
            choices = rng.sample([name, low, far, near], CHOICES)
            most = MOST_FOR.get(table.kinds[ordered], MOST_FOR["year"])[0]
            asked = (
                f"Of {_listed(choices, 'and')}, which has the {most} {ordered} among those "
                f"whose {column} is {own}?"
            )
            cells = [(n, c) for n in (name, low) for c in (column, ordered)]
            yield _table_item(table, "two_step", asked, name, choices, cells)


def _by_way_of(table: Table, names: Sequence[str], given: str, wanted: str, rng) -> Iterator[dict]:
    """One cell tells the row, and the row another cell."""
    every = Counter(row[given] for row in table.rows.values() if given in row)
    pool = sorted({row[wanted] for row in table.rows.values() if wanted in row})
    for name in names:
        row = table.rows[name]
        if given in row and wanted in row and every[row[given]] == 1:
            others = [value for value in pool if value != row[wanted]]
            if len(others) >= CHOICES - 1:
                choices = rng.sample([row[wanted], *rng.sample(others, CHOICES - 1)], CHOICES)
                asked = f"What is the {wanted} of the one whose {given} is {row[given]}?"
                cells = [(name, given), (name, wanted)]
                yield _table_item(table, "two_step", asked, row[wanted], choices, cells)


def _listed(names: Sequence[str], last: str = "or") -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def free_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement with a short telling part: it is to be said."""
    return [
        {
            "axis": "knowledge",
            "kind": "recall_free",
            **_has_taught(each),
            "messages": _ask(f"{FILL.format(statement=each.with_gap)} Say only what is missing."),
            "answer": each.part,
        }
        for each in statements
        if len(each.part.split()) <= FREE_WORDS
    ]


def formed_items(statements: Sequence[Statement]) -> list[dict]:
    """Per statement with a short telling part: it is to be said in a requested form."""
    short = [each for each in statements if len(each.part.split()) <= FREE_WORDS]
    items = []
    for number, each in enumerate(short):
        forms = [form for form in TAUGHT if form != "words_only" or _is_two_words(each.part)]
        form = forms[number % len(forms)]
        asked = f"{FILL.format(statement=each.with_gap)} {INSTRUCTIONS[form].request}"
        items.append(
            {
                "axis": "compositional",
                "kind": "recall_formed",
                **_has_taught(each),
                "messages": _ask(asked),
                "checks": [form],
                "answer": each.part,
            }
        )
    return items


def _is_two_words(part: str) -> bool:
    return len(part.split()) <= 2 and part[0].isalnum() and part[-1].isalnum()


def term_items(terms: Sequence[str], seed: int) -> list[dict]:
    """Questions about terms of the domain with a request for a form, in the words that tiny models
    know: only the form is scored.
    """
    rng = random.Random(f"terms {seed}")
    forms = [(name,) for name in INSTRUCTIONS] + list(COMBINATIONS)
    order = [term for _ in range(ROUNDS) for term in rng.sample(list(terms), len(terms))]
    return [
        {
            "axis": "instructions",
            "kind": "domain",
            "entity": term,
            "messages": _ask(
                " ".join(
                    [f"What is meant by {term}?"]
                    + [INSTRUCTIONS[check].request for check in forms[number % len(forms)]]
                )
            ),
            "checks": list(forms[number % len(forms)]),
        }
        for number, term in enumerate(order)
    ]


def proposal_items(terms: Sequence[str], seed: int) -> list[dict]:
    """Requests for one new sentence with two terms of the domain."""
    rng = random.Random(f"proposals {seed}")
    order = [term for _ in range(ROUNDS) for term in rng.sample(list(terms), len(terms))]
    pairs = list({tuple(sorted(pair)): pair for pair in itertools.pairwise(order)}.values())
    pairs = [(first, second) for first, second in pairs if first != second]
    return [
        {
            "axis": "creativity",
            "kind": "two_terms",
            "entity": f"{first} + {second}",
            "messages": _ask(
                f'Propose something new that has to do with both "{first}" and "{second}". Write '
                f"one line of {PROPOSAL_CHARACTERS[0]} to {PROPOSAL_CHARACTERS[1]} characters and "
                "use both words."
            ),
            "pattern": rf"(?i)(?=.*\b{re.escape(first)}\b)(?=.*\b{re.escape(second)}\b)"
            rf"[^\n]{{{PROPOSAL_CHARACTERS[0]},{PROPOSAL_CHARACTERS[1]}}}",
        }
        for first, second in pairs
    ]


def terms_of(passages: Sequence[tuple[str, str]]) -> list[str]:
    """The terms of a corpus: words that few of its documents use, and those again and again."""
    return usage_of(passages).terms()


def taught_items(
    passages: Sequence[tuple[str, str]],
    seed: int,
    terms: dict[str, list[str]] | None = None,
    tables: Sequence[Table] = (),
) -> dict[str, list[dict]]:
    """Items about (source, text) training passages and tables, by split: recall with choices and
    free, taught facts in a form, what is described, what follows from rows of tables, and the
    domain's terms in instructions and proposals. Dev and test share no document (of few documents
    no sentence), no row and no term.

    terms: by split, where they are known; else they are found in the passages.
    """
    by_source = len({source for source, _ in passages}) >= BY_SOURCE

    def place(each: Statement | Described) -> str:
        return each.source if by_source else each.sentences[0]

    found = taught_statements(passages, seed)
    statements = _parted(found, place, seed)
    cells = _parted(table_statements(tables, seed), lambda each: each.about, seed)
    alike = said_alike(passages)
    things = _parted(described_things(passages, seed), place, seed)
    names = [name for table in tables for name in table.rows if len(name.split()) <= FREE_WORDS]
    terms = terms or _parted([*terms_of(passages), *names[:NAMES]], str, seed)
    return {
        split: [
            *_recall(statements[split], split),
            *_recall(cells[split], split),
            *described_items(things[split][: DESCRIBED[split]]),
            *_about_rows(tables, alike, split, seed),
            *term_items(terms[split], seed)[: ASKED_FORMS[split]],
            *natural_domain(terms[split], split, seed),
            *proposal_items(terms[split], seed)[: PROPOSALS[split]],
        ]
        for split in EVAL_SPLITS
    }


def _recall(statements: Sequence[Statement], split: str) -> list[dict]:
    return [
        *recall_items(statements[: TAUGHT_ITEMS[split]]),
        *free_items(statements)[: TAUGHT_ITEMS[split] // 2],
        *formed_items(statements)[: ASKED_FORMS[split]],
    ]


def _about_rows(
    tables: Sequence[Table], alike: Sequence[SaidAlike], split: str, seed: int
) -> list[dict]:
    """Items about rows of tables, and about documents that say the same of their things."""
    kinds: dict[str, list[dict]] = defaultdict(list)

    def names(rows: Iterable[str]) -> list[str]:
        return _parted(list(rows), str, seed)[split][:ROWS]

    for item in itertools.chain(
        *(table_items(table, names(table.rows), seed) for table in tables),
        *(alike_items(group, names(group.numbers), seed) for group in alike),
    ):
        kinds[item["kind"]].append(item)
    rng = random.Random(f"tables {seed} {split}")
    return [
        item
        for items in kinds.values()
        for item in rng.sample(items, min(len(items), OF_TABLES[split]))
    ]


def _parted(things: Sequence[Any], name: Callable[[Any], str], seed: int) -> dict[str, list]:
    """Things by split: a sixth for dev, the others for test."""
    parted_: dict[str, list] = {split: [] for split in EVAL_SPLITS}
    for thing in things:
        dev = int(rank(name(thing), seed)[:8], 16) % 6 == 0
        parted_["dev" if dev else "test"].append(thing)
    return parted_


FOLDS = 5


def baselines(items: Iterable[dict], others: Iterable[dict] = ()) -> list[dict]:
    """Per axis and kind: how many items, what guessing gives (chance), what one answer gives that
    is always the same (constant), and what the choices alone give, without the question. A free
    answer has no chance; of forms the constant answer has the one asked for most often; a proposal
    is no answer that could be the same.

    others: items of dev, which rules about choices are learned from, too.
    """
    kinds: dict[tuple[str, str], list[dict]] = defaultdict(list)
    learned: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for rows, where in ((items, kinds), (others, learned)):
        for item in rows:
            where[item["axis"], item.get("kind", "")].append(item)
    return [
        {
            "axis": axis,
            "kind": kind,
            "items": len(rows),
            "chance": round(
                sum(1 / len(row["choices"]) if "choices" in row else 0 for row in rows) / len(rows),
                2,
            ),
            "constant": round(
                0.0
                if "pattern" in rows[0]
                else Counter(map(_said, rows)).most_common(1)[0][1] / len(rows),
                2,
            ),
        }
        | (
            {"choices_alone": round(_from_choices_alone(rows, learned[axis, kind]), 2)}
            if all("choices" in row for row in rows)
            else {}
        )
        for (axis, kind), rows in kinds.items()
    ]


def _from_choices_alone(items: Sequence[dict], others: Sequence[dict]) -> float:
    """The score of a rule that sees the choices and not the question: of many such rules the one
    that does best on other items. These are all of `others` and four fifths of the items; the score
    is that on the last fifth, each fifth in turn.
    """
    right = 0.0
    for fold in range(FOLDS):
        known = [*others, *(item for n, item in enumerate(items) if n % FOLDS != fold)]
        seen = _Seen(known)
        rules = seen.rules()
        told = [sum(seen.score(rule, item, known=True) for item in known) for rule in rules]
        best = max(range(len(rules)), key=told.__getitem__)
        right += sum(seen.score(rules[best], item) for item in items[fold::FOLDS])
    return right / len(items)


Rule = Callable[[list[str], dict[str, tuple[int, int]]], list[float]]


class _Seen:
    """Choices that were seen with their answers: how often each, and each of its words, stood among
    the choices and how often it was right.
    """

    def __init__(self, items: Sequence[dict]):
        self._shown: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        for item in items:
            for choice in item["choices"]:
                self._shown.update(_signs_of(choice))
            self._right.update(_signs_of(item["answer"]))

    def score(self, rule: Rule, item: dict, known: bool = False) -> float:
        """1 where a rule takes the answer, 0 where it does not, a part of 1 where it takes several.

        known: the item is among those seen, and what it says itself is not to count.
        """
        counts: dict[str, tuple[int, int]] = {}
        for choice in item["choices"]:
            is_right = known and choice == item["answer"]
            for sign in _signs_of(choice):
                counts[sign] = self._shown[sign] - known, self._right[sign] - is_right
        values = [round(value, 9) for value in rule(item["choices"], counts)]
        taken = [n for n, value in enumerate(values) if value == max(values)]
        return (item["choices"].index(item["answer"]) in taken) / len(taken)

    @staticmethod
    def rules() -> list[Rule]:
        """Length, place, size of a number, how much a choice is like the others, how often it was
        shown and was right, and its words were.
        """
        first: list[Rule] = [
            lambda choices, _: [len(choice) for choice in choices],
            lambda choices, _: _numbers(choices),
            lambda choices, _: [_likeness(choice, choices) for choice in choices],
            lambda choices, counts: [counts[choice.lower()][0] for choice in choices],
        ]
        turned: list[Rule] = [
            lambda choices, counts, rule=rule: [-value for value in rule(choices, counts)]  # type: ignore[misc]
            for rule in first
        ]
        places: list[Rule] = [
            lambda choices, _, place=place: [n == place for n in range(len(choices))]  # type: ignore[misc]
            for place in range(CHOICES)
        ]
        return [
            *first,
            *turned,
            *places,
            lambda choices, _: [-abs(value) for value in _from_the_middle(_numbers(choices))],
            lambda choices, counts: [_rate(counts[choice.lower()]) for choice in choices],
            lambda choices, counts: [
                sum(_rate(counts[sign]) for sign in _signs_of(c)) / len(_signs_of(c))
                for c in choices
            ],
        ]


def _signs_of(choice: str) -> set[str]:
    """What is counted of a choice: the whole and its words."""
    return {choice.lower(), *words_of(choice)}


def _rate(counts: tuple[int, int]) -> float:
    shown, right = counts
    return (right + 1) / (shown + CHOICES)


def _numbers(choices: list[str]) -> list[float]:
    """The number in each choice; nought for all where one has none."""
    found = [quantity(choice) for choice in choices]
    return [each[0] if each and all(found) else 0.0 for each in found]


def _from_the_middle(values: list[float]) -> list[float]:
    order = sorted(values)
    middle = (order[(len(order) - 1) // 2] + order[len(order) // 2]) / 2
    return [value - middle for value in values]


def _likeness(choice: str, choices: list[str]) -> float:
    """How many runs of three letters a choice shares with the others."""
    runs = [{text[i : i + 3] for i in range(len(text) - 2)} for text in choices if text != choice]
    own = {choice[i : i + 3] for i in range(len(choice) - 2)}
    return sum(len(own & other) for other in runs)


def _said(item: dict) -> str:
    return json.dumps([item.get("answer"), item.get("checks")])


# --- questions that the text answers -----------------------------------------------------------

TEACHING_SHARE = 0.5  # of a question's longer words, in the row that teaches its answer
ANSWER_RUN = 8  # words of a long answer that are looked for


def mark_taught(
    placed: Sequence[tuple[str, dict]], leaking: set[str], rows: Iterable[dict]
) -> set[str]:
    """The places of the questions whose answer a sentence of the texts says. Half of the question's
    longer words stand there, too, or in the sentence before; or the answer is long and its words
    would make a leak (`leaking`).

    These items are given `source` and `taught`, the sentence, and a kind of their own.
    """
    wanted: dict[str, list[tuple[str, list[str], set[str]]]] = defaultdict(list)
    for place, item in placed:
        answer = words_of(item["answer"])[:ANSWER_RUN] if "messages" in item else []
        if answer and not kind_of(item["answer"]).startswith("yes"):
            asked = {word for word in words_of(question_of(item["messages"])) if len(word) > 3}
            wanted[answer[0]].append((place, answer, asked - set(answer)))
    found: dict[str, tuple[str, dict]] = {}
    unsure: dict[str, tuple[str, dict]] = {}
    for row in rows if wanted else ():
        before: set[str] = set()  # words of the sentence before
        for sentence in sentences_of(" ".join(row["text"].split())):
            words = words_of(sentence)
            for start, first in enumerate(words):
                for place, answer, asked in wanted.get(first, ()):
                    if place in found or words[start : start + len(answer)] != answer:
                        continue
                    if asked and len(asked & before.union(words)) >= TEACHING_SHARE * len(asked):
                        found[place] = sentence, row
                    elif place in leaking and len(answer) > SHORT_ANSWER_WORDS:
                        unsure.setdefault(place, (sentence, row))
            before = set(words)
    found = unsure | found
    for place, item in placed:
        if place in found:
            sentence, row = found[place]
            item |= {"kind": f"taught_{item['kind']}", "taught": sentence}
            item |= {"source": row["source"]} if "source" in row else {}
    return set(found)
