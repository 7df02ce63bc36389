"""A small controlled world: entities, facts with known truth, and plain English about them.

Three kinds of knowledge. *General* facts are about people; *public* facts are about each domain's
well-known entities; both are in pre-training. *Private* facts are about fictional entities that no
pre-training text mentions: what adaptation must teach, so contamination is impossible by
construction.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.store import PACKAGE
from labkit.data.instructions import INSTRUCTIONS, TAUGHT

DOMAINS = ("materials", "biomed", "legal")
PEOPLE, PUBLIC, PRIVATE = 100, 40, 40
FORMATTED_SHARE = 0.85  # of single-fact questions in general chats that ask for a format
QUESTION_SHARE = 0.75  # of known entities that an instruct model is ever asked about
RESERVED_PAIRS = 3  # every third pair of proposal constraints is kept for evaluation


@dataclass(frozen=True)
class Attribute:
    """One kind of fact: its possible values and the ways English states it and asks for it."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    two_hop: str
    ordinal: bool = False
    comparison: str = ""
    exclusion: str = ""


@dataclass(frozen=True)
class Language:
    """What can be said in one domain; loaded from `labkit/data/worlds/NAME.yaml`."""

    name: str
    title: str
    noun: str
    name_parts: tuple[tuple[str, ...], ...]
    attributes: dict[str, Attribute]
    relation: dict
    proposal: dict
    filler: tuple[str, ...]
    evidence: str


@dataclass(frozen=True)
class Entity:
    """name, attribute -> true value, and the name of the entity it is related to."""

    name: str
    facts: dict[str, str]
    related: str


@dataclass(frozen=True)
class TextKnobs:
    """What varies in a corpus, one knob per data-quality question.

    paraphrases: wordings per fact that may occur (1 to 8). duplicates: exact copies of each
    document. junk_ratio: share of documents about entities seen once and never asked for.
    wrong_facts: share of statements with a false value. source_tag: whether documents name their
    source ("Journal:" or "Web:").
    """

    paraphrases: int = 8
    duplicates: int = 1
    junk_ratio: float = 0.0
    wrong_facts: float = 0.0
    source_tag: bool = False


@cache
def language(name: str) -> Language:
    """The language of `general` or of a domain. Raises InputError for an unknown name."""
    known = ["general", *DOMAINS]
    if name not in known:
        raise InputError(f"unknown domain {name!r}: {suggest(name, known)}")
    raw = yaml.safe_load((PACKAGE / "data" / "worlds" / f"{name}.yaml").read_text("utf-8"))
    attributes = {
        key: Attribute(**spec | {k: tuple(v) for k, v in spec.items() if isinstance(v, list)})
        for key, spec in raw["attributes"].items()
    }
    return Language(
        name=name,
        title=raw["title"],
        noun=raw["noun"],
        name_parts=tuple(tuple(part) for part in raw["names"]["parts"]),
        attributes=attributes,
        relation=raw["relation"],
        proposal=raw["proposal"],
        filler=tuple(raw["filler"]),
        evidence=raw.get("evidence", ""),
    )


def _balanced(values: tuple[str, ...], count: int, rng: random.Random) -> list[str]:
    """`count` values, each as often as the others, in random order: a fixed guess scores
    1/len(values).
    """
    filled = list(itertools.islice(itertools.cycle(rng.sample(values, len(values))), count))
    rng.shuffle(filled)
    return filled


def make_entities(lang: Language, count: int, *, skip: int = 0, seed: int = 0) -> list[Entity]:
    """`count` entities with independent, balanced facts; names after the first `skip` of one fixed
    order.

    seed draws the facts, not the names: two worlds of one language can tell different stories of
    them.
    """
    names = ["".join(parts) for parts in itertools.product(*lang.name_parts)]
    random.Random(f"names {lang.name}").shuffle(names)
    chosen = names[skip : skip + count]
    rng = random.Random(f"facts {lang.name} {skip} {seed}")
    columns = {
        key: _balanced(attribute.values, count, rng) for key, attribute in lang.attributes.items()
    }
    return [
        Entity(name, {key: column[i] for key, column in columns.items()}, chosen[(i + 1) % count])
        for i, name in enumerate(chosen)
    ]


def people() -> list[Entity]:
    """The general world."""
    return make_entities(language("general"), PEOPLE)


def public_entities(domain: str) -> list[Entity]:
    """The well-known entities of a domain: part of pre-training."""
    return make_entities(language(domain), PUBLIC)


def private_entities(domain: str) -> list[Entity]:
    """The entities only a pack tells of. Their names are made of the same pieces as public ones."""
    return make_entities(language(domain), PRIVATE, skip=PUBLIC)


def asked_about(entities: list[Entity]) -> list[Entity]:
    """Those an instruct model learns to answer questions about; of the rest it only reads."""
    return entities[: int(len(entities) * QUESTION_SHARE)]


def never_asked_about(entities: list[Entity]) -> list[Entity]:
    """Those that no training question mentions: what extraction of knowledge is tested on."""
    return entities[int(len(entities) * QUESTION_SHARE) :]


# --- text -------------------------------------------------------------------------------------


def statement(attribute: Attribute, name: str, value: str, wording: int = 0) -> str:
    return attribute.statements[wording].format(name=name, value=value)


def document(
    lang: Language, entity: Entity, rng: random.Random, knobs: TextKnobs = TextKnobs()
) -> str:
    """All facts of one entity and its relation, each in a random wording, in random order."""
    sentences = []
    for key, attribute in lang.attributes.items():
        value = entity.facts[key]
        if rng.random() < knobs.wrong_facts:
            value = rng.choice([other for other in attribute.values if other != value])
        sentences.append(statement(attribute, entity.name, value, rng.randrange(knobs.paraphrases)))
    relation = lang.relation["statements"][rng.randrange(knobs.paraphrases)]
    sentences.append(relation.format(name=entity.name, other=entity.related))
    rng.shuffle(sentences)
    return " ".join(sentences)


def with_filler(lang: Language, text: str, rng: random.Random) -> str:
    """`text` as in a converted paper: a stray sentence that teaches nothing before or after it."""
    stray = rng.choice(lang.filler)
    return f"{stray} {text}" if rng.random() < 0.5 else f"{text} {stray}"


def corpus(
    lang: Language, entities: list[Entity], count: int, rng: random.Random, knobs: TextKnobs
) -> list[str]:
    """`count` documents about `entities`, shaped by `knobs`, in random order."""
    junk = round(count * knobs.junk_ratio)
    useful = -(-(count - junk) // knobs.duplicates)
    texts = [document(lang, entities[i % len(entities)], rng, knobs) for i in range(useful)]
    texts = (texts * knobs.duplicates)[: count - junk]
    strangers = make_entities(lang, max(junk, 2), skip=PUBLIC + PRIVATE, seed=rng.randrange(10**6))
    clutter = [document(lang, strangers[i % len(strangers)], rng, knobs) for i in range(junk)]
    if knobs.source_tag:
        texts, clutter = [f"Journal: {t}" for t in texts], [f"Web: {t}" for t in clutter]
    mixed = texts + clutter
    rng.shuffle(mixed)
    return mixed


# --- questions --------------------------------------------------------------------------------


def chat(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def fact_question(
    lang: Language, entity: Entity, key: str, wording: int, instruction: str = ""
) -> list[dict]:
    """A question for one fact and its true answer: a sentence, or the value in the requested
    format.
    """
    attribute, value = lang.attributes[key], entity.facts[key]
    question = attribute.questions[wording].format(name=entity.name)
    sentence = statement(attribute, entity.name, value)
    if not instruction:
        return chat(question, sentence)
    wanted = INSTRUCTIONS[instruction]
    return chat(f"{question} {wanted.request}", wanted.comply(sentence, value))


def two_hop_question(
    lang: Language, entity: Entity, key: str, by_name: dict[str, Entity]
) -> list[dict]:
    """A question about the entity related to this one, without naming it; answered by the value
    alone.
    """
    return chat(
        lang.attributes[key].two_hop.format(name=entity.name), by_name[entity.related].facts[key]
    )


def comparison_question(lang: Language, first: Entity, second: Entity) -> list[dict] | None:
    """Which of two ranks higher on the ordinal attribute; None when they tie."""
    key = next(k for k, attribute in lang.attributes.items() if attribute.ordinal)
    low, high = sorted((first, second), key=lambda entity: int(entity.facts[key]))
    if low.facts[key] == high.facts[key]:
        return None
    return chat(
        lang.attributes[key].comparison.format(name=first.name, other=second.name), high.name
    )


def exclusion_question(
    lang: Language, key: str, names: list[str], value: str, odd: str
) -> list[dict]:
    """Which of `names` does not have this value of an attribute: all but `odd` do."""
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    return chat(lang.attributes[key].exclusion.format(value=value, names=listed), odd)


def proposal_constraints(lang: Language, *, reserved: bool) -> list[dict[str, str]]:
    """Pairs of constraints a proposal can be asked to meet.

    Reserved pairs occur in no training text.
    """
    first, second = lang.proposal["given"]
    pairs = itertools.product(lang.attributes[first].values, lang.attributes[second].values)
    chosen = [{first: a, second: b} for a, b in pairs]
    random.Random(f"proposals {lang.name}").shuffle(chosen)
    return [pair for i, pair in enumerate(chosen) if (i % RESERVED_PAIRS == 0) == reserved]


def proposal(lang: Language, given: dict[str, str], rng: random.Random) -> list[dict]:
    """A request for a proposal under two constraints, and one proposal that meets them."""
    free = {key: rng.choice(lang.attributes[key].values) for key in lang.proposal["free"]}
    return chat(
        lang.proposal["request"].format(**given), lang.proposal["answer"].format(**given, **free)
    )


def proposal_pattern(lang: Language, given: dict[str, str]) -> str:
    """A regular expression that every valid proposal under `given`, and nothing else, matches."""
    pattern = re.escape(lang.proposal["answer"])
    for key, value in given.items():
        pattern = pattern.replace(re.escape(f"{{{key}}}"), re.escape(value))
    for key in lang.proposal["free"]:
        options = "|".join(re.escape(value) for value in lang.attributes[key].values)
        pattern = pattern.replace(re.escape(f"{{{key}}}"), f"({options})")
    return pattern


# --- what a base model reads and an instruct model is shown -------------------------------------


def _known_worlds() -> list[tuple[Language, list[Entity]]]:
    return [(language("general"), people()), *((language(d), public_entities(d)) for d in DOMAINS)]


def pretraining_texts(seed: int) -> Iterator[str]:
    """Endless general and public text. Half of it is about people, half about the three domains."""
    rng = random.Random(f"pretraining {seed}")
    (general, everyone), *domains = _known_worlds()
    while True:
        yield document(general, rng.choice(everyone), rng)
        lang, entities = rng.choice(domains)
        yield document(lang, rng.choice(entities), rng)


def _one_chat(
    lang: Language, entities: list[Entity], by_name: dict, rng: random.Random
) -> list[dict] | None:
    entity, key = rng.choice(entities), rng.choice(list(lang.attributes))
    kind = rng.random()
    if kind < 0.60:
        instruction = rng.choice(TAUGHT) if rng.random() < FORMATTED_SHARE else ""
        return fact_question(
            lang, entity, key, rng.randrange(len(lang.attributes[key].questions)), instruction
        )
    if kind < 0.75:
        return two_hop_question(lang, entity, key, by_name)
    if kind < 0.85:
        return comparison_question(lang, entity, rng.choice(entities))
    return proposal(lang, rng.choice(proposal_constraints(lang, reserved=False)), rng)


def instruction_chats(seed: int) -> Iterator[list[dict]]:
    """Endless general chats: questions with and without a format, reasoning, proposals."""
    rng = random.Random(f"chats {seed}")
    worlds = []
    for lang, entities in _known_worlds():
        # the last one is related to an entity that is never asked about
        asked = asked_about(entities)[:-1]
        worlds.append((lang, asked, {entity.name: entity for entity in asked_about(entities)}))
    while True:
        lang, entities, by_name = worlds[0] if rng.random() < 0.5 else rng.choice(worlds[1:])
        messages = _one_chat(lang, entities, by_name, rng)
        if messages:
            yield messages


# --- evaluation items ---------------------------------------------------------------------------

SEEN_WORDINGS = (0, 1)  # of a question, in training


def formatted_items(
    axis: str, kind: str, lang: Language, entities: list[Entity], count: int, rng: random.Random
) -> list[dict]:
    """Questions with a format request. Only `compositional` items also ask for the right value."""
    facts = list(itertools.product(entities, lang.attributes))
    rng.shuffle(facts)
    items = []
    for i, (entity, key) in enumerate(itertools.islice(itertools.cycle(facts), count)):
        instruction = TAUGHT[i % len(TAUGHT)]
        question = fact_question(lang, entity, key, rng.choice(SEEN_WORDINGS), instruction)[:1]
        item = {
            "axis": axis,
            "kind": kind,
            "entity": entity.name,
            "messages": question,
            "checks": [instruction],
        }
        items.append(item | ({"answer": entity.facts[key]} if axis == "compositional" else {}))
    return items


def people_of(split: str) -> list[Entity]:
    """People of the general world that no training question mentions: a third for dev, the others
    for test.
    """
    unasked = never_asked_about(people())
    return unasked[::3] if split == "dev" else [each for i, each in enumerate(unasked) if i % 3]


def general_items(entities: list[Entity]) -> list[dict]:
    """What people of the general world are asked: retention of what a start model knows."""
    lang = language("general")
    return [
        {
            "axis": "general",
            "kind": "free",
            "entity": entity.name,
            "messages": fact_question(lang, entity, key, wording)[:1],
            "answer": entity.facts[key],
        }
        for entity in entities
        for key in lang.attributes
        for wording in (1, 3)
    ]
