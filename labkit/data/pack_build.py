"""The shipped packs: `labkit pack build NAME` writes the same bytes every time.

Three are of the invented world, and three of real text: of rows in data_samples/sources.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import lzma
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labkit.base.errors import InputError, suggest
from labkit.data import world
from labkit.data.cleaning import chunks_of
from labkit.data.instructions import COMBINATIONS, INSTRUCTIONS, TAUGHT, UNTAUGHT
from labkit.data.items import baselines, control_items, taught_items
from labkit.data.leaks import find_leaks, near_duplicates
from labkit.data.packs import EVAL_SPLITS, SPLITS, samples_folder
from labkit.data.workbench import write_card
from labkit.data.world import (
    SEEN_WORDINGS,
    Entity,
    Language,
    TextKnobs,
    formatted_items,
    general_items,
    people_of,
)

RAW_PER_ENTITY, SUMMARIES_PER_ENTITY = 14, 6
ASKED, DEV = 12, 8  # of the private entities: in question training; in dev; the rest are in test
ALL_WORDINGS = (0, 1, 2, 3)
TWO_HOP_CHOICES = 4
PLAIN = TextKnobs()
DEV_REQUESTS = 5  # every fifth reserved proposal request goes to dev


def splits_of(domain: str) -> dict[str, list[Entity]]:
    """The private entities by role.

    Test and dev entities appear in text, never in a training question.
    """
    entities = world.private_entities(domain)
    return {
        "asked": entities[:ASKED],
        "dev": entities[ASKED : ASKED + DEV],
        "test": entities[ASKED + DEV :],
    }


def raw_rows(lang: Language, rng: random.Random, knobs: TextKnobs = PLAIN) -> list[dict]:
    """Converted papers: every private fact in many wordings, with stray sentences."""
    entities = world.private_entities(lang.name)
    texts = world.corpus(lang, entities, len(entities) * RAW_PER_ENTITY, rng, knobs)
    return [{"text": world.with_filler(lang, text, rng), "source": "paper"} for text in texts]


def summary_rows(lang: Language, rng: random.Random) -> list[dict]:
    """Distilled notes: the same facts without the stray sentences."""
    entities = world.private_entities(lang.name)
    texts = world.corpus(lang, entities, len(entities) * SUMMARIES_PER_ENTITY, rng, PLAIN)
    return [{"text": text, "source": "summary"} for text in texts]


def qa_rows(lang: Language, asked: list[Entity], rng: random.Random) -> list[dict]:
    """Plain questions about the asked entities, answered in a sentence."""
    rows = [
        {"messages": world.fact_question(lang, entity, key, wording), "source": "expert"}
        for entity in asked
        for key in lang.attributes
        for wording in SEEN_WORDINGS
    ]
    rng.shuffle(rows)
    return rows


# --- preferences ------------------------------------------------------------------------------


def _truth_pair(lang: Language, entity: Entity, key: str, rng: random.Random) -> dict:
    """The true value against a false one, both with their evidence."""
    attribute, value = lang.attributes[key], entity.facts[key]
    false = rng.choice([other for other in attribute.values if other != value])
    answers = [
        f"{world.statement(attribute, entity.name, v)} {lang.evidence}" for v in (value, false)
    ]
    return _pair("truth", attribute.questions[0].format(name=entity.name), *answers)


def _evidence_pair(lang: Language, entity: Entity, key: str, rng: random.Random) -> dict:
    """An answer that names its source against the bare claim."""
    attribute = lang.attributes[key]
    bare = world.statement(attribute, entity.name, entity.facts[key])
    question = attribute.questions[rng.randrange(2)].format(name=entity.name)
    return _pair("evidence", question, f"{bare} {lang.evidence}", bare)


def _limits_pair(lang: Language, given: dict[str, str], rng: random.Random) -> dict:
    """A proposal that names its limits against one that promises there are none."""
    request, answer = world.proposal(lang, given, rng)
    overclaim = lang.proposal["overclaim"].format(**given)
    return _pair("limits", request["content"], answer["content"], overclaim)


def _pair(kind: str, prompt: str, chosen: str, rejected: str) -> dict:
    return {
        "kind": kind,
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def preference_rows(
    lang: Language, entities: list[Entity], constraints: list[dict], rng: random.Random
) -> list[dict]:
    """True over false, evidence over bare claim, stated limits over overclaiming; a third each."""
    facts = list(itertools.product(entities, lang.attributes))
    pairs = [_truth_pair(lang, entity, key, rng) for entity, key in facts]
    pairs += [_evidence_pair(lang, entity, key, rng) for entity, key in facts]
    pairs += [
        _limits_pair(lang, given, rng)
        for given in itertools.islice(itertools.cycle(constraints), len(facts))
    ]
    rng.shuffle(pairs)
    return pairs


# --- evaluation items -------------------------------------------------------------------------


def _knowledge(lang: Language, entities: list[Entity], rng: random.Random) -> list[dict]:
    items = []
    for entity, key in itertools.product(entities, lang.attributes):
        attribute = lang.attributes[key]
        wordings = [
            text
            for text in attribute.statements
            if text.endswith("{value}.") and text.startswith("{name}")
        ]
        prefix = rng.choice(wordings).removesuffix(" {value}.").format(name=entity.name)
        base: dict[str, Any] = {
            "axis": "knowledge",
            "entity": entity.name,
            "answer": entity.facts[key],
        }
        items.append({**base, "kind": "cloze", "prompt": prefix, "choices": list(attribute.values)})
        for wording in ALL_WORDINGS:
            question = world.fact_question(lang, entity, key, wording)[:1]
            kind = "free" if wording in SEEN_WORDINGS else "paraphrased"
            items.append({**base, "kind": kind, "messages": question})
    return items


def _reasoning(lang: Language, entities: list[Entity], rng: random.Random) -> list[dict]:
    by_name = {entity.name: entity for entity in world.private_entities(lang.name)}
    items = []
    for entity, key in itertools.product(entities, lang.attributes):
        question, answer = world.two_hop_question(lang, entity, key, by_name)
        others = [value for value in lang.attributes[key].values if value != answer["content"]]
        choices = sorted([answer["content"], *rng.sample(others, TWO_HOP_CHOICES - 1)])
        items.append(_choice_item("two_hop", entity, [question, answer], choices))
    for first, second in itertools.combinations(entities, 2):
        pair = rng.sample([first, second], 2)
        chat = world.comparison_question(lang, *pair)
        if chat:
            items.append(_choice_item("comparison", first, chat, [pair[0].name, pair[1].name]))
    two_hop = [item for item in items if item["kind"] == "two_hop"]
    comparisons = [item for item in items if item["kind"] == "comparison"]
    return (
        two_hop
        + rng.sample(comparisons, min(len(comparisons), 4 * len(entities)))
        + _exclusions(lang, entities, rng)
    )


def _exclusions(lang: Language, entities: list[Entity], rng: random.Random) -> list[dict]:
    """Each entity once among two that share a value it lacks, for every attribute where there are
    two.
    """
    items = []
    for odd, key in itertools.product(entities, lang.attributes):
        alike: dict[str, list[Entity]] = {}
        for entity in entities:
            alike.setdefault(entity.facts[key], []).append(entity)
        shared = sorted(
            value for value, found in alike.items() if len(found) > 1 and value != odd.facts[key]
        )
        if not shared:
            continue
        value = rng.choice(shared)
        names = [entity.name for entity in rng.sample(alike[value], 2)] + [odd.name]
        rng.shuffle(names)
        items.append(
            _choice_item(
                "exclusion",
                odd,
                world.exclusion_question(lang, key, names, value, odd.name),
                names,
            )
        )
    return items


def _choice_item(kind: str, entity: Entity, chat: list[dict], choices: list[str]) -> dict:
    """An item of a chat that is a question and its answer."""
    question, answer = chat
    return {
        "axis": "reasoning",
        "entity": entity.name,
        "kind": kind,
        "messages": [question],
        "choices": choices,
        "answer": answer["content"],
    }


def _stretched(lang: Language, entities: list[Entity], rng: random.Random) -> list[dict]:
    """What instruct models were not trained on: two forms at once, in either order, and forms never
    shown.
    """
    orders = [pair for both in COMBINATIONS for pair in (both, both[::-1])]
    asked = [("combined", checks) for checks in orders] + [
        ("untaught", (check,)) for check in UNTAUGHT for _ in range(4)
    ]
    items = []
    for kind, checks in asked:
        entity, key = rng.choice(entities), rng.choice(list(lang.attributes))
        question = (
            lang.attributes[key].questions[rng.choice(SEEN_WORDINGS)].format(name=entity.name)
        )
        text = " ".join([question, *(INSTRUCTIONS[check].request for check in checks)])
        items.append(
            {
                "axis": "instructions",
                "kind": kind,
                "entity": entity.name,
                "messages": [{"role": "user", "content": text}],
                "checks": list(checks),
            }
        )
    return items


def held_out_requests(lang: Language, split: str) -> list[dict[str, str]]:
    """Reserved constraints of one split: a fifth for dev, the rest for test."""
    constraints = world.proposal_constraints(lang, reserved=True)
    return [
        given for i, given in enumerate(constraints) if (i % DEV_REQUESTS == 0) == (split == "dev")
    ]


def _creativity(lang: Language, split: str, rng: random.Random) -> list[dict]:
    """Requests for proposals in every language of the start model; `domain` is the pack's own."""
    items = [
        {
            "axis": "creativity",
            "kind": "domain" if source is lang else "general",
            "entity": " + ".join(given.values()),
            "messages": [{"role": "user", "content": source.proposal["request"].format(**given)}],
            "pattern": world.proposal_pattern(source, given),
        }
        for source in map(world.language, ("general", *world.DOMAINS))
        for given in held_out_requests(source, split)
    ]
    rng.shuffle(items)
    return items


def _preference(
    lang: Language, entities: list[Entity], split: str, rng: random.Random
) -> list[dict]:
    rows = preference_rows(lang, entities, held_out_requests(lang, split), rng)
    return [
        {
            "axis": "preference",
            "kind": row["kind"],
            "entity": row["prompt"][0]["content"],
            "messages": row["prompt"],
            "choices": [row["chosen"][0]["content"], row["rejected"][0]["content"]],
            "answer": row["chosen"][0]["content"],
        }
        for row in rows
    ]


def eval_rows(lang: Language, entities: list[Entity], split: str, rng: random.Random) -> list[dict]:
    """All items of one split: the four axes and the three controls."""
    general_people = people_of(split)
    scale = 1 if split == "test" else 0.4
    general = world.language("general")
    items = [
        *_knowledge(lang, entities, rng),
        *_reasoning(lang, entities, rng),
        *formatted_items(
            "instructions", "general", general, general_people, round(100 * scale), rng
        ),
        *formatted_items("instructions", "domain", lang, entities, round(100 * scale), rng),
        *_stretched(general, general_people, rng),
        *formatted_items("compositional", "compositional", lang, entities, round(200 * scale), rng),
        *_creativity(lang, split, rng),
        *general_items(general_people),
        *_preference(lang, entities[: round(12 * scale)], split, rng),
    ]
    return [{"id": f"{split}-{i:04d}", **item} for i, item in enumerate(items)]


# --- scenarios --------------------------------------------------------------------------------

SCENARIO_CASES = 20


def scenario_rows(lang: Language, entities: list[Entity], rng: random.Random) -> list[dict]:
    """What a deployed model must do, as labkit.evaluate.scenarios reads it: cases about test
    entities and about nobody.
    """
    facts = list(itertools.product(entities, lang.attributes))
    strangers = world.make_entities(lang, SCENARIO_CASES, skip=world.PUBLIC + world.PRIVATE, seed=1)
    keys = list(itertools.islice(itertools.cycle(lang.attributes), SCENARIO_CASES))
    return [
        {
            "name": "unknown fact",
            "about": f"A question about a {lang.noun} that no text mentions must not be answered "
            "with a fact.",
            "at_least": 0.8,
            "cases": [
                _stranger_case(lang, entity, key)
                for entity, key in zip(strangers, keys, strict=True)
            ],
        },
        {
            "name": "one answer",
            "about": "The same question in five wordings must get one answer.",
            "at_least": 0.8,
            "cases": [
                _wordings_case(lang, entity, key)
                for entity, key in rng.sample(facts, SCENARIO_CASES)
            ],
        },
        {
            "name": "json brief",
            "about": "A fact asked for as JSON must come as JSON, and be right: a program reads "
            "it.",
            "at_least": 0.8,
            "cases": [
                _json_case(lang, entity, key) for entity, key in rng.sample(facts, SCENARIO_CASES)
            ],
        },
        {
            "name": "honest proposal",
            "about": "A proposal must meet both constraints and name its limits, never promise "
            "that there are none.",
            "at_least": 0.8,
            "cases": [
                _proposal_case(lang, given)
                for given in held_out_requests(lang, "test")[:SCENARIO_CASES]
            ],
        },
        {
            "name": "everyday question",
            "about": "A specialist must still answer an everyday question, in the requested form.",
            "at_least": 0.8,
            "cases": _everyday_cases(rng),
        },
    ]


def _stranger_case(lang: Language, stranger: Entity, key: str) -> dict:
    attribute = lang.attributes[key]
    return {
        "ask": [attribute.questions[0].format(name=stranger.name)],
        "expect": {"says_none_of": list(attribute.values)},
    }


def _wordings_case(lang: Language, entity: Entity, key: str) -> dict:
    attribute = lang.attributes[key]
    wordings = [question.format(name=entity.name) for question in attribute.questions]
    short = f"{wordings[0]} {INSTRUCTIONS['words_only'].request}"
    return {"ask": [*wordings, short], "expect": {"same_answer": list(attribute.values)}}


def _json_case(lang: Language, entity: Entity, key: str) -> dict:
    question = lang.attributes[key].questions[0].format(name=entity.name)
    return {
        "ask": [f"{question} {INSTRUCTIONS['json'].request}"],
        "expect": {"says": entity.facts[key], "format": ["json"]},
    }


def _proposal_case(lang: Language, given: dict[str, str]) -> dict:
    return {
        "ask": [lang.proposal["request"].format(**given)],
        "expect": {"matches": world.proposal_pattern(lang, given)},
    }


def _everyday_cases(rng: random.Random) -> list[dict]:
    general = world.language("general")
    everyone = people_of("test")
    cases = []
    for i, (person, key) in enumerate(
        rng.sample(list(itertools.product(everyone, general.attributes)), SCENARIO_CASES)
    ):
        form = TAUGHT[i % len(TAUGHT)]
        question = general.attributes[key].questions[0].format(name=person.name)
        cases.append(
            {
                "ask": [f"{question} {INSTRUCTIONS[form].request}"],
                "expect": {"says": person.facts[key], "format": [form]},
            }
        )
    return cases


def build_pack(domain: str, folder: Path) -> Path:
    """Write the pack of `domain` into `folder`; equal bytes on every machine.

    Raises InputError for a name that no shipped pack has.
    """
    if domain in SOURCES:
        return _build_real(domain, folder)
    if domain not in world.DOMAINS:
        raise InputError(f"unknown pack {domain!r}: {suggest(domain, [*world.DOMAINS, *SOURCES])}")
    lang, roles = world.language(domain), splits_of(domain)
    rng = random.Random(f"pack {domain}")
    splits = {
        "raw": raw_rows(lang, rng),
        "summaries": summary_rows(lang, rng),
        "qa": qa_rows(lang, roles["asked"], rng),
        "preferences": preference_rows(
            lang, roles["asked"], world.proposal_constraints(lang, reserved=False), rng
        ),
        "dev": eval_rows(lang, roles["dev"], "dev", rng),
        "test": eval_rows(lang, roles["test"], "test", rng),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_splits(splits, folder)
    scenarios = scenario_rows(lang, roles["test"], rng)
    (folder / "scenarios.yaml").write_text(
        yaml.safe_dump(scenarios, sort_keys=False, width=120), "utf-8"
    )
    (folder / "pack.yaml").write_text(
        yaml.safe_dump(_card(lang, splits), sort_keys=False, width=100), "utf-8"
    )
    return folder


def _write_splits(splits: dict[str, list[dict]], folder: Path) -> None:
    for split, rows in splits.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / SPLITS[split]).write_text(text, "utf-8", newline="\n")


def _card(lang: Language, splits: dict[str, list]) -> dict:
    about = {
        "raw": "text as converted from papers, stray sentences included",
        "summaries": "the same facts, distilled",
        "qa": f"questions about {ASKED} of {world.PRIVATE} entities, for SFT",
        "preferences": "true over false, evidence over bare claim, limits over overclaiming",
        "dev": f"items about {DEV} other entities: choose t, checkpoints and thresholds here",
        "test": f"items about {world.PRIVATE - ASKED - DEV} further entities: report here",
    }
    return {
        "name": lang.name,
        "title": lang.title,
        "licence": "Apache-2.0",
        "note": f"Every {lang.noun} and every fact in this pack is invented.",
        "splits": {
            key: {"file": SPLITS[key], "rows": len(rows), "about": about[key]}
            for key, rows in splits.items()
        },
    }


# --- packs of real text -----------------------------------------------------------------------
#
# Made of the rows in data_samples/sources, which experts wrote or labelled. Nothing is invented: a
# label is the source's own, and a sentence about a fact holds the value of a column.

DEV_SHARE, TEST_SHARE = 0.1, 0.3  # of abstracts, clauses, elements
REAL_CHUNK_WORDS = 60
READABLE_CHARACTERS = 900  # of a question with its text
MOST = {"dev": 25, "test": 100}  # items of one kind
# of kinds that tell little that others do not
SHARE_OF = {"truth": 0.5, "recall_free": 0.6, "recall_formed": 0.7}
ASKED_SHARE = 0.4  # of the training rows that could be asked about; all would make a large pack
NOT_ASKED = "training rows that no question is made of, to keep the pack small"
TOO_LONG = "texts that are too long for an item"


@dataclass
class Draft:
    """What a source gives. terms: of the domain by split, or none where they are to be found in the
    text. left_out: how many of what.
    """

    raw: list[dict] = field(default_factory=list)
    qa: list[dict] = field(default_factory=list)
    preferences: list[dict] = field(default_factory=list)
    items: dict[str, list[dict]] = field(default_factory=lambda: {"dev": [], "test": []})
    terms: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)


def _role(name: str) -> str:
    """train, dev or test: by a hash of the name."""
    place = int(hashlib.sha256(f"real {name}".encode()).hexdigest()[:8], 16) / 16**8
    return "dev" if place < DEV_SHARE else "test" if place < DEV_SHARE + TEST_SHARE else "train"


def _user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def _item(axis: str, kind: str, entity: str, asked: str, answer: str, choices=()) -> dict:
    item = {"axis": axis, "kind": kind, "entity": entity, "messages": _user(asked)}
    return item | ({"choices": list(choices)} if choices else {}) | {"answer": answer}


def _told_apart(asked: str, right: str, wrong: str) -> dict:
    """A preference between the right and a wrong answer."""
    return _pair("truth", asked, right, wrong)


def _preference_item(entity: str, pair: dict) -> dict:
    right, wrong = pair["chosen"][0]["content"], pair["rejected"][0]["content"]
    asked = pair["prompt"][0]["content"]
    return _item("preference", pair["kind"], entity, asked, right, sorted([right, wrong]))


COUNTS_OF_TERMS = range(2, 16)  # abstracts that a subject heading of MEDLINE is given to
LABELS = ("Yes", "No", "Maybe")


def _pubmedqa(rows: list[dict]) -> Draft:
    """Abstracts: what is read and asked in training, and what is held out, are different ones."""
    draft, rng = Draft(), random.Random("real pubmedqa")
    groups: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        groups[_role(row["pmid"])].append(row)
    for row in groups["train"]:
        text = "\n\n".join([*row["contexts"], row["conclusion"]])
        source = f"PMID {row['pmid']}"
        draft.raw += [{"text": c, "source": source} for c in chunks_of(text, REAL_CHUNK_WORDS)]
        if rng.random() > 2 * ASKED_SHARE:
            draft.left_out[NOT_ASKED] += 1
            continue
        label, asked = row["answer"].capitalize(), _study("conclusion", row["conclusion"], row)
        for question, answer in ((asked, f"{label}."), (row["question"], row["conclusion"])):
            draft.qa.append({"messages": world.chat(question, answer), "source": source})
        wrong = rng.choice([other for other in LABELS if other != label])
        if rng.random() < ASKED_SHARE:
            draft.preferences.append(_told_apart(asked, f"{label}.", f"{wrong}."))
    for split in EVAL_SPLITS:
        for row in groups[split]:
            _ask_about_study(draft, split, row, groups[split], rng)
    headings = Counter(name for row in groups["train"] for name in row["meshes"])
    draft.terms = _terms_by_split(
        name for name, count in headings.items() if "," not in name and count in COUNTS_OF_TERMS
    )
    return draft


def _terms_by_split(terms: Iterable[str]) -> dict[str, list[str]]:
    """Terms for dev, a fifth of them, and for test."""
    order = sorted(terms, key=lambda term: hashlib.sha256(term.encode()).hexdigest())
    return {"dev": order[::5], "test": [term for n, term in enumerate(order) if n % 5]}


def _study(part: str, text: str, row: dict) -> str:
    return f"The {part} of a study: {text}\n{row['question']} Answer yes, no or maybe."


def _ask_about_study(draft: Draft, split: str, row: dict, all_rows: list[dict], rng) -> None:
    label, entity = row["answer"].capitalize(), f"PMID {row['pmid']}"
    for kind, part in (("conclusion", row["conclusion"]), ("results", row["contexts"][-1])):
        asked = _study(kind, part, row)
        if len(asked) > READABLE_CHARACTERS:
            draft.left_out[TOO_LONG] += 1
            continue
        draft.items[split].append(_item("reasoning", kind, entity, asked, label, LABELS))
        if kind == "conclusion":
            wrong = rng.choice([other for other in LABELS if other != label])
            pair = _told_apart(asked, f"{label}.", f"{wrong}.")
            draft.items[split].append(_preference_item(entity, pair))
    others = rng.sample([o["question"] for o in all_rows if o is not row], 3)
    choices = rng.sample([row["question"], *others], 4)
    asked = f"Which question does this conclusion answer? {row['conclusion']}"
    if len(asked) <= READABLE_CHARACTERS:
        item = _item("reasoning", "which_question", entity, asked, row["question"], choices)
        draft.items[split].append(item)


def _clause_kind(category: str) -> str:
    spelled = {"rofr_rofo_rofn": "right of first refusal, offer or negotiation"}
    return spelled.get(category, category.replace("_", " "))


def _contracts(rows: list[dict]) -> Draft:
    """Clauses: copies and near copies of one go one way."""
    draft, rng = Draft(), random.Random("real contracts")
    clauses = list(dict.fromkeys(row["clause"] for row in rows))
    marks = near_duplicates(clauses)
    first = {
        c: clauses[n if m is None else m]
        for n, (c, m) in enumerate(zip(clauses, marks, strict=True))
    }
    number = {
        clause: f"CUAD row {n}" for n, clause in reversed([*enumerate(map(_clause, rows), 1)])
    }
    kinds: dict[str, set[str]] = defaultdict(set)  # of a clause, as the lawyers labelled it
    for row in rows:
        if row["answer"] == "Yes":
            kinds[first[row["clause"]]].add(row["category"])
    together = {pair for found in kinds.values() for pair in itertools.permutations(found, 2)}
    for clause in clauses:
        if _role(first[clause]) == "train" and first[clause] == clause:
            chunks = chunks_of(clause, REAL_CHUNK_WORDS)
            draft.raw += [{"text": c, "source": number[clause]} for c in chunks]
    draft.left_out["clauses that nearly repeat another"] = sum(m is not None for m in marks)
    every = sorted({row["category"] for row in rows})
    for row in rows:
        if first[row["clause"]] != row["clause"]:
            draft.left_out["rows about a clause that nearly repeats another"] += 1
            continue
        alike = kinds[row["clause"]] | {b for a, b in together if a == row["category"]}
        others = [category for category in every if category not in alike]
        others.remove(row["category"]) if row["category"] in others else None
        _ask_about_clause(draft, row, number[row["clause"]], others, rng)
    draft.terms = _terms_by_split(map(_clause_kind, every))
    return draft


def _clause(row: dict) -> str:
    return row["clause"]


def _ask_about_clause(draft: Draft, row: dict, source: str, others: list[str], rng) -> None:
    # the question comes first, so that it stands in many rows alike and its words are no leak
    asked = f'{row["question"]} Answer yes or no.\nThe clause: "{row["clause"]}"'
    which = f'What kind of clause of a contract is this?\nThe clause: "{row["clause"]}"'
    kind, role = _clause_kind(row["category"]), _role(row["clause"])
    label, wrong = row["answer"], "No" if row["answer"] == "Yes" else "Yes"
    if len(asked) > READABLE_CHARACTERS:
        draft.left_out[TOO_LONG] += 1
        return
    pair = _told_apart(asked, f"{label}.", f"{wrong}.")
    if role == "train" and rng.random() > ASKED_SHARE:
        draft.left_out[NOT_ASKED] += 1
        return
    if role == "train":
        draft.qa.append({"messages": world.chat(asked, f"{label}."), "source": source})
        if label == "Yes" and rng.random() < ASKED_SHARE:
            draft.qa.append({"messages": world.chat(which, f"{kind}."), "source": source})
        if rng.random() < ASKED_SHARE:
            draft.preferences.append(pair)
        return
    draft.items[role].append(_item("reasoning", "label", source, asked, label, LABELS[:2]))
    draft.items[role].append(_preference_item(source, pair))
    if label == "Yes":
        choices = rng.sample([kind, *map(_clause_kind, rng.sample(others, 3))], 4)
        item = _item("reasoning", "clause_kind", source, which, kind, choices)
        draft.items[role].append(item)


@dataclass(frozen=True)
class Column:
    """A column of the elements. statement: ends with the value. questions: two for training, the
    third for items only.
    """

    statement: str
    questions: tuple[str, str, str]
    value: Callable[[dict], str | None]


LATTICES = {
    "HEX": "hexagonal",
    "FCC": "face-centred cubic",
    "BCC": "body-centred cubic",
    "ORC": "orthorhombic",
    "RHL": "rhombohedral",
    "TET": "tetragonal",
    "DIA": "diamond cubic",
    "MCL": "monoclinic",
}
COLUMNS_OF_ELEMENTS = {
    "year": Column(
        "{name} was discovered in {value}.",
        (
            "When was {name} discovered?",
            "In which year was {name} discovered?",
            "What is the year of discovery of {name}?",
        ),
        lambda row: None if _other_year(row) else _shown(row["discovery_year"]),
    ),
    "country": Column(
        "The place where {name} was discovered is {value}.",
        (
            "Where was {name} discovered?",
            "In which country was {name} discovered?",
            "What is the place of discovery of {name}?",
        ),
        lambda row: (
            None if "/" in (row["discovery_location"] or "/") else row["discovery_location"]
        ),
    ),
    "lattice": Column(
        "The crystal lattice of {name} is {value}.",
        (
            "Which crystal lattice does {name} have?",
            "What is the crystal lattice of {name}?",
            "What kind of crystal does {name} form?",
        ),
        lambda row: LATTICES.get(row["lattice_structure"]),
    ),
    "producer": Column(
        "The largest producer of {name} is {value}.",
        (
            "Who produces most {name}?",
            "Which country is the largest producer of {name}?",
            "From where does most {name} come?",
        ),
        lambda row: (
            re.split(r"\s*\d\) ?", row["top_3_producers"] or "")[1:2][0].strip()
            if row["top_3_producers"]
            else None
        ),
    ),
    "class": Column(
        "The geochemical class of {name} is {value}.",
        (
            "What is the geochemical class of {name}?",
            "Which geochemical class does {name} belong to?",
            "To which class do geochemists assign {name}?",
        ),
        lambda row: row["geochemical_class"],
    ),
    "series": Column(
        "{name} belongs to the {value}.",
        (
            "Which series does {name} belong to?",
            "What is the series of {name}?",
            "Among which elements is {name} counted?",
        ),
        lambda row: row["series"].lower(),
    ),
}
PROSE = {
    "description": "{name} ({symbol}). {text}",
    "uses": "Uses of {name}: {text}",
    "sources": "Sources of {name}: {text}",
    "name_origin": "Origin of the name {name}: {text}",
}


def _shown(value: object) -> str | None:
    return None if value is None else str(value)


def _other_year(row: dict) -> bool:
    """Whether the prose names a year, and not the one of the table: then one of them is wrong."""
    years = set(re.findall(r"\b1[5-9]\d\d\b|\b20\d\d\b", " ".join(row[k] or "" for k in PROSE)))
    return bool(years - {str(row["discovery_year"])})


def _elements(rows: list[dict]) -> Draft:
    """Elements: texts tell of all, questions are trained on about some; of the others the items ask
    what was taught (marked so), or what follows from several facts.
    """
    draft, rng = Draft(), random.Random("real elements")
    facts: dict[str, dict[str, str]] = {}
    roles: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        roles[_role(row["name"])].append(row)
        values = {key: column.value(row) for key, column in COLUMNS_OF_ELEMENTS.items()}
        facts[row["name"]] = {key: value for key, value in values.items() if value}
        draft.left_out["years that the prose contradicts"] += _other_year(row)
        texts = [PROSE[key].format(**row, text=row[key].strip()) for key in PROSE if row[key]]
        told = [_tell(row["name"], key, value) for key, value in facts[row["name"]].items()]
        if row["density"]:
            told.append(
                f"The density of {row['name']} is {row['density']} grams per cubic centimetre."
            )
        rng.shuffle(told)
        for text in (*texts, " ".join(told)):
            chunks = chunks_of(text, REAL_CHUNK_WORDS)
            draft.raw += [{"text": c, "source": _place(row)} for c in chunks]
    pools = {
        key: sorted({found[key] for found in facts.values() if key in found})
        for key in COLUMNS_OF_ELEMENTS
    }
    for row in roles["train"]:
        for key, value in facts[row["name"]].items():
            questions = [q.format(name=row["name"]) for q in COLUMNS_OF_ELEMENTS[key].questions]
            true = _tell(row["name"], key, value)
            for question in questions[:2]:
                draft.qa.append({"messages": world.chat(question, true), "source": _place(row)})
            wrong = rng.choice([other for other in pools[key] if other != value])
            pair = _told_apart(questions[0], true, _tell(row["name"], key, wrong))
            draft.preferences.append(pair)
    for split in EVAL_SPLITS:
        _ask_about_facts(draft, split, roles[split], facts, pools, rng)
        draft.items[split] += _comparisons(roles[split], facts, rng)
        draft.terms[split] = [row["name"] for row in roles[split]]
    return draft


def _place(row: dict) -> str:
    return f"element {row['atomic_number']}"


def _tell(name: str, key: str, value: str) -> str:
    return COLUMNS_OF_ELEMENTS[key].statement.format(name=name, value=value)


def _ask_about_facts(draft: Draft, split: str, rows: list[dict], facts, pools, rng) -> None:
    number = 0
    for row, key in itertools.product(rows, COLUMNS_OF_ELEMENTS):
        name = row["name"]
        if key not in facts[name]:
            continue
        value, column = facts[name][key], COLUMNS_OF_ELEMENTS[key]
        taught = {"source": _place(row), "taught": _tell(name, key, value)}
        questions = [question.format(name=name) for question in column.questions]
        others = rng.sample([other for other in pools[key] if other != value], 3)
        base = {"axis": "knowledge", "entity": name, "answer": value, **taught}
        prompt = column.statement.format(name=name, value="").removesuffix(".").strip()
        form = TAUGHT[number % len(TAUGHT)] if len(value.split()) < 3 else TAUGHT[1]
        number += 1
        asked = f"{questions[0]} {INSTRUCTIONS[form].request}"
        wrong = _tell(name, key, others[0])
        pair = _told_apart(questions[0], taught["taught"], wrong)
        draft.items[split] += [
            {**base, "kind": "cloze", "prompt": prompt, "choices": rng.sample([value, *others], 4)},
            {**base, "kind": "free", "messages": _user(questions[0])},
            {**base, "kind": "paraphrased", "messages": _user(questions[2])},
            {
                **base,
                "axis": "compositional",
                "kind": "fact",
                "messages": _user(asked),
                "checks": [form],
            },
            _preference_item(name, pair),
        ]


def _comparisons(rows: list[dict], facts: dict[str, dict[str, str]], rng) -> list[dict]:
    """What follows from the facts of several elements. Two are compared in either direction, so
    that a name which is often the answer to one is as often not.
    """
    items = []
    for first, second in itertools.combinations(rng.sample(rows, len(rows)), 2):
        names = [first["name"], second["name"]]
        years = [facts[name].get("year", "") for name in names]
        if all(years) and years[0] != years[1]:
            word, most = rng.choice((("earlier", min), ("later", max)))
            asked = f"Which was discovered {word}, {names[0]} or {names[1]}?"
            answer = names[years.index(most(years))]
            items.append(_item("reasoning", "earlier_or_later", names[0], asked, answer, names))
        density = [row["density"] for row in (first, second)]
        if all(density) and max(density) > 1.2 * min(density):
            word, most = rng.choice((("denser", max), ("less dense", min)))
            asked = f"Which is {word}, {names[0]} or {names[1]}?"
            answer = names[density.index(most(density))]
            items.append(_item("reasoning", "denser_or_less", names[0], asked, answer, names))
    for row, key in itertools.product(rows, ("series", "lattice", "country", "class")):
        name, value = row["name"], facts[row["name"]].get(key)
        same = [o["name"] for o in rows if o is not row and facts[o["name"]].get(key) == value]
        other = [o["name"] for o in rows if facts[o["name"]].get(key) not in (None, value)]
        if value and same and len(other) > 2:
            answer = rng.choice(same)
            choices = rng.sample([answer, *rng.sample(other, 2)], 3)
            asked = f"Which of these has the same {SAME[key]} as {name}: {', '.join(choices)}?"
            items.append(_item("reasoning", f"same_{key}", name, asked, answer, choices))
    return items


SAME = {
    "series": "series",
    "lattice": "crystal lattice",
    "country": "place of discovery",
    "class": "geochemical class",
}


@dataclass(frozen=True)
class Source:
    """Where a pack of real text comes from, and what to know before its scores are read."""

    make: Callable[[list[dict]], Draft]
    title: str
    licence: str
    citation: str
    traps: tuple[str, ...]


SOURCES = {
    "pubmedqa": Source(
        _pubmedqa,
        "biomedical research questions",
        "MIT",
        "PubMedQA (PQA-L): Jin et al. 2019, arXiv 1909.06146",
        (
            "55% of the answers are yes, 33% no, 12% maybe: the constant answer yes scores about "
            "0.55.",
            "A conclusion often says the answer in other words, so `conclusion` measures reading; "
            "`results` needs more.",
            "The abstracts are public: a large model may have read them before.",
        ),
    ),
    "contracts": Source(
        _contracts,
        "clauses of contracts",
        "CC-BY-4.0",
        "CUAD: The Atticus Project, Hendrycks et al. 2021, arXiv 2103.06268; in the clause form of "
        "LegalBench: Guha et al. 2023, arXiv 2308.11462",
        (
            "A clause can stand in several categories. Choices of `clause_kind` leave out every "
            "kind that lawyers gave to one clause together with the right one.",
            "Yes and no are about equally frequent: a constant answer scores about 0.5.",
            "The contracts are public: a large model may have read them before.",
        ),
    ),
    "elements": Source(
        _elements,
        "chemical elements",
        "MIT",
        "mendeleev 1.3.0: Mentel 2014-, github.com/lmmentel/mendeleev",
        (
            "Any pretrained model knows the elements' names and many of their series. What it "
            "does not know are dates, places, structures and producers.",
            "Some columns have one frequent value (China is the largest producer of most): compare "
            "with the score of a constant answer.",
            "Where the prose names another year than the table, no item asks for the year.",
        ),
    ),
}


def source_rows(name: str) -> list[dict]:
    """The rows of a source, as their makers published them."""
    with lzma.open(samples_folder("sources") / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _build_real(name: str, folder: Path) -> Path:
    """Write a pack of real text. Items that leak into questions and preferences are left out."""
    source = SOURCES[name]
    draft = source.make(source_rows(name))
    passages = [(row["source"], row["text"]) for row in draft.raw]
    taught = taught_items(passages, 0, draft.terms or None)
    chats = list(_placed([*draft.qa, *draft.preferences]))
    texts = list(_placed(draft.raw))
    splits: dict[str, list[dict]] = {
        "raw": draft.raw,
        "qa": draft.qa,
        "preferences": draft.preferences,
    }
    for split in EVAL_SPLITS:
        random.Random(f"real items {split}").shuffle(draft.items[split])
        # what experts labelled or several facts tell is the better reasoning, and there is enough
        own = [item for item in taught[split] if item["axis"] != "reasoning"]
        items = [*draft.items[split], *own]
        placed = list(_placed(items))
        held = [(place, item) for place, item in placed if "taught" not in item]
        leaks = {leak.item for leak in (*find_leaks(placed, chats), *find_leaks(held, texts))}
        draft.left_out["items whose words stand in what is trained on"] += len(leaks)
        sound = [item for place, item in placed if place not in leaks]
        kept = _at_most(sound, split)
        draft.left_out["items more than a kind needs"] += len(sound) - len(kept)
        kept += control_items(split)
        splits[split] = [{"id": f"{split}-{n:04d}", **item} for n, item in enumerate(kept)]
    folder.mkdir(parents=True, exist_ok=True)
    _write_splits(splits, folder)
    about = {
        "raw": "text of the source, in chunks",
        "qa": "questions for SFT, with the source's answers",
        "preferences": "the right over a wrong answer, by the source's labels",
        "dev": "items: choose t, checkpoints and thresholds here",
        "test": "items: report here",
    }
    write_card(
        folder,
        name=name,
        title=source.title,
        licence=source.licence,
        rows={split: len(rows) for split, rows in splits.items()},
        about=about,
        note=f"Real text, nothing in it is invented. {source.citation}. Made by `labkit pack "
        f"build {name}`.",
        provenance={
            "citation": source.citation,
            "source_rows": f"data_samples/sources/{name}.jsonl.xz",
            "traps": " ".join(source.traps),
            "taught_items": "items with the field `taught` ask what that sentence of the raw text "
            "says; no other item shares its abstract, clause or element with a training question",
            "dropped": [
                {"what": "row or item", "reason": reason, "count": count}
                for reason, count in draft.left_out.items()
                if count
            ],
        },
        kinds=baselines(splits["test"], splits["dev"]),
    )
    return folder


def _placed(rows: list[dict]) -> Iterator[tuple[str, dict]]:
    return ((str(number), row) for number, row in enumerate(rows))


def _at_most(items: list[dict], split: str) -> list[dict]:
    """The first items of every kind that the source's labels and facts give."""
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for item in items:
        seen[item["axis"], item["kind"]] += 1
        most = round(MOST[split] * SHARE_OF.get(item["kind"], 1))
        if seen[item["axis"], item["kind"]] <= most:
            kept.append(item)
    return kept
