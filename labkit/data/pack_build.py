"""The shipped packs, from the world: `labkit pack build NAME` writes the same bytes every time."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import yaml

from labkit.data import world
from labkit.data.instructions import COMBINATIONS, INSTRUCTIONS, TAUGHT, UNTAUGHT
from labkit.data.packs import SPLITS
from labkit.data.world import Entity, Language, TextKnobs

RAW_PER_ENTITY, SUMMARIES_PER_ENTITY = 14, 6
ASKED, DEV = 12, 8  # of the private entities: in question training; in dev; the rest are in test
SEEN_WORDINGS, ALL_WORDINGS = (0, 1), (0, 1, 2, 3)
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


def formatted_items(
    axis: str, kind: str, lang: Language, entities: list[Entity], count: int, rng: random.Random
) -> list[dict]:
    """Questions with a format request. Only `compositional` items also ask for the right value."""
    facts = list(itertools.product(entities, lang.attributes))
    rng.shuffle(facts)
    items = []
    for i, (entity, key) in enumerate(itertools.islice(itertools.cycle(facts), count)):
        instruction = TAUGHT[i % len(TAUGHT)]
        question = world.fact_question(lang, entity, key, rng.choice(SEEN_WORDINGS), instruction)[
            :1
        ]
        item = {
            "axis": axis,
            "kind": kind,
            "entity": entity.name,
            "messages": question,
            "checks": [instruction],
        }
        items.append(item | ({"answer": entity.facts[key]} if axis == "compositional" else {}))
    return items


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


def people_of(split: str) -> list[Entity]:
    """People of the general world that no training question mentions: a third for dev, the others
    for test.
    """
    people = world.never_asked_about(world.people())
    return people[::3] if split == "dev" else [person for i, person in enumerate(people) if i % 3]


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


def general_items(entities: list[Entity]) -> list[dict]:
    """What people of the general world are asked: retention of what a start model knows."""
    lang = world.language("general")
    return [
        {
            "axis": "general",
            "kind": "free",
            "entity": entity.name,
            "messages": world.fact_question(lang, entity, key, wording)[:1],
            "answer": entity.facts[key],
        }
        for entity in entities
        for key in lang.attributes
        for wording in (1, 3)
    ]


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
    """Write the pack of `domain` into `folder`; equal bytes on every machine."""
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
    for split, rows in splits.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / SPLITS[split]).write_text(text, "utf-8", newline="\n")
    scenarios = scenario_rows(lang, roles["test"], rng)
    (folder / "scenarios.yaml").write_text(
        yaml.safe_dump(scenarios, sort_keys=False, width=120), "utf-8"
    )
    (folder / "pack.yaml").write_text(
        yaml.safe_dump(_card(lang, splits), sort_keys=False, width=100), "utf-8"
    )
    return folder


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
