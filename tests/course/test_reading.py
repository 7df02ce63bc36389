from __future__ import annotations

import itertools
import random
import re

import pytest

from labkit.base.errors import InputError
from labkit.course.labs import retrieval
from labkit.data import packs, world


@pytest.fixture(params=world.DOMAINS)
def domain(request):
    return request.param


def test_reading_chats_are_a_pack_and_about_strangers_only(domain):
    made = retrieval.reader_pack(domain)
    rows = made.rows("qa")
    assert len(rows) == retrieval.CHATS
    known = {
        entity.name
        for name in world.DOMAINS
        for entities in (world.public_entities, world.private_entities)
        for entity in entities(name)
    }
    words = {
        word
        for row in rows
        for turn in row["messages"]
        for word in re.findall(r"\w+", turn["content"])
    }
    assert not known & words
    assert retrieval.reader_pack(domain).fingerprint() == made.fingerprint()


def test_the_answer_stands_in_the_passage_and_memory_does_not_help(domain):
    lang, rng = world.language(domain), random.Random(0)
    told: dict[str, set[str]] = {}
    for stranger in itertools.islice(retrieval.strangers(lang), 2000):
        passage, question, answer = retrieval.reading_chat(lang, stranger, rng)
        value = next(
            value
            for value in stranger.facts.values()
            if re.search(rf"(?<!\w){re.escape(value)}\.$", answer["content"])
        )
        assert passage["role"] == "system" and re.search(
            rf"(?<!\w){re.escape(value)}(?!\w)", passage["content"]
        )
        assert stranger.name in question["content"]
        told.setdefault(stranger.name, set()).add(value)
    assert sum(len(values) > 1 for values in told.values()) > 0.8 * len(told)


def test_reading_items_are_answered_by_their_passage_and_told_by_no_chat(domain):
    items, lang = retrieval.reading_items(domain, 60), world.language(domain)
    assert (
        items == retrieval.reading_items(domain, 60) and len({row["entity"] for row in items}) == 60
    )
    assert {row["kind"] for row in items} == set(lang.attributes)
    for row in items:
        assert (
            re.search(rf"(?<!\w){re.escape(row['answer'])}\.", row["messages"][0]["content"])
            and row["entity"] in row["messages"][1]["content"]
        )
    taught = {row["messages"][0]["content"] for row in retrieval.reader_pack(domain).rows("qa")}
    assert not taught & {row["messages"][0]["content"] for row in items}


def test_rows_fit_the_stage(domain, instruct):
    chats = [row["messages"] for row in retrieval.reader_pack(domain).rows("qa")[:1000]]
    assert (
        max(
            len(ids)
            for ids in instruct.tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
        )
        <= retrieval.READER.max_length
    )


def test_without_passages_a_chat_stays_as_it_is():
    asked = [{"role": "user", "content": "Who?"}]
    assert retrieval.with_passages(asked, []) == asked
    assert retrieval.with_passages(asked, ["A.", "B."]) == [
        {"role": "system", "content": "A. B."},
        *asked,
    ]


def test_only_words_of_a_shipped_pack_can_be_taught():
    with pytest.raises(InputError, match=r"'wine'.*shipped pack"):
        retrieval.reader_pack("wine")
    invented = {name for name in packs.shipped_packs() if packs.load_pack(name).invented}
    assert invented == set(world.DOMAINS)
