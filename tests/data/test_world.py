from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from labkit.base.errors import InputError
from labkit.data import world

ALL = ("general", *world.DOMAINS)


@pytest.mark.parametrize("name", ALL)
def test_language_has_enough_wordings(name):
    lang = world.language(name)
    assert len(lang.attributes) == 5
    for attribute in lang.attributes.values():
        assert len(set(attribute.statements)) >= 8 and len(set(attribute.questions)) >= 4
        assert all("{name}" in text and "{value}" in text for text in attribute.statements)
        assert len(set(attribute.values)) == len(attribute.values)
    assert len(set(lang.relation["statements"])) >= 8
    assert sum(attribute.ordinal for attribute in lang.attributes.values()) == 1


def test_unknown_domain_suggests():
    with pytest.raises(InputError, match="did you mean 'materials'"):
        world.language("material")


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_private_and_public_names_are_disjoint_and_facts_balanced(domain):
    private, public = world.private_entities(domain), world.public_entities(domain)
    assert len(private) >= 40
    assert not {e.name for e in private} & {e.name for e in public}
    for key, attribute in world.language(domain).attributes.items():
        counts = Counter(entity.facts[key] for entity in private)
        assert max(counts.values()) - min(counts.get(v, 0) for v in attribute.values) <= 1


def test_no_private_entity_in_pretraining_or_chats():
    text = "\n".join(itertools.islice(world.pretraining_texts(0), 5000))
    text += "\n".join(
        turn["content"]
        for chat in itertools.islice(world.instruction_chats(0), 5000)
        for turn in chat
    )
    for domain in world.DOMAINS:
        assert not [e.name for e in world.private_entities(domain) if e.name in text]


def test_people_held_out_are_in_no_question():
    asked = "\n".join(
        turn["content"]
        for chat in itertools.islice(world.instruction_chats(0), 20000)
        for turn in chat
    )
    assert not [e.name for e in world.never_asked_about(world.people()) if e.name in asked]


def test_reserved_proposals_are_never_trained_on():
    lang = world.language("materials")
    reserved = {
        lang.proposal["request"].format(**pair)
        for pair in world.proposal_constraints(lang, reserved=True)
    }
    asked = {chat[0]["content"] for chat in itertools.islice(world.instruction_chats(0), 20000)}
    assert reserved and not reserved & asked


def test_document_states_every_fact():
    lang, rng = world.language("biomed"), random.Random(0)
    entity = world.private_entities("biomed")[0]
    text = world.document(lang, entity, rng)
    assert all(value in text for value in entity.facts.values()) and entity.related in text


def test_knobs_shape_the_corpus():
    lang, entities = world.language("legal"), world.private_entities("legal")[:4]
    knobs = world.TextKnobs(junk_ratio=0.5, duplicates=2, source_tag=True)
    texts = world.corpus(lang, entities, 40, random.Random(0), knobs)
    about = [text for text in texts if text.startswith("Journal: ")]
    assert len(texts) == 40 and len(about) == 20
    assert set(Counter(about).values()) <= {2, 4}
    assert not any(
        entity.name in text for text in texts if text.startswith("Web: ") for entity in entities
    )


def test_wrong_facts_knob_states_false_values():
    lang, entity = world.language("legal"), world.private_entities("legal")[0]
    text = world.document(lang, entity, random.Random(0), world.TextKnobs(wrong_facts=1.0))
    topics = [value for value in lang.attributes["topic"].values if f" {value}." in text]
    assert topics and entity.facts["topic"] not in topics


def test_proposal_pattern_matches_valid_proposals_only():
    import re

    lang, rng = world.language("materials"), random.Random(0)
    given = {"source": "silk", "use": "ropes"}
    pattern = world.proposal_pattern(lang, given)
    assert re.fullmatch(pattern, world.proposal(lang, given, rng)[1]["content"])
    assert not re.fullmatch(
        pattern, world.proposal(lang, {"source": "wood", "use": "ropes"}, rng)[1]["content"]
    )
    assert not re.fullmatch(pattern, lang.proposal["overclaim"].format(**given))


def test_two_worlds_of_one_language_share_names_not_facts():
    lang = world.language("materials")
    one, two = (world.make_entities(lang, 20, seed=seed) for seed in (0, 1))
    assert [e.name for e in one] == [e.name for e in two] and [e.facts for e in one] != [
        e.facts for e in two
    ]
