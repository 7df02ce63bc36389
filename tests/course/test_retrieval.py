from __future__ import annotations

import re

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.stats import ItemScore
from labkit.course import lesson
from labkit.course.labs import retrieval
from labkit.data import packs, world
from labkit.data.pack_build import splits_of

PACKS = world.DOMAINS


def item(entity, answer, question="What is {} made of?", **more):
    return {
        "id": f"{entity}-{answer}-{question}",
        "axis": "knowledge",
        "kind": "free",
        "entity": entity,
        "answer": answer,
        "messages": [{"role": "user", "content": question.format(entity)}],
        **more,
    }


@pytest.mark.parametrize("name", PACKS)
def test_the_index_finds_the_passage_that_states_the_fact(name):
    pack = packs.load_pack(name)
    items, passages = (
        retrieval.fact_items(pack, "test"),
        retrieval.Passages(retrieval.passages_of(pack)),
    )
    found = passages.find([retrieval.question_of(row) for row in items], 3)
    assert all(len(row) == 3 and set(row) <= set(passages.texts) for row in found)
    hits = [
        retrieval.states(row[0], it["entity"], it["answer"])
        for row, it in zip(found, items, strict=True)
    ]
    assert sum(hits) / len(hits) > 0.95
    assert len(retrieval.Passages(["only one text"]).find(["text?"], 3)[0]) == 1


@pytest.mark.parametrize("name", PACKS)
def test_rewritten_passages_tell_the_new_facts_and_nothing_else_changes(name):
    pack, lang = packs.load_pack(name), world.language(name)
    items = retrieval.fact_items(pack, "test")
    changes = retrieval.change_facts(items, share=0.5, seed=0, pool=items)
    texts = retrieval.passages_of(pack)
    rewritten = retrieval.rewrite(texts, changes)
    assert len(changes) == 50 and all(new != old for (_, old), new in changes.items())
    facts = {
        entity.name: {changes.get((entity.name, value), value) for value in entity.facts.values()}
        for entity in splits_of(name)["test"]
    }
    for text in rewritten:
        for sentence in retrieval._sentences(text):
            named = [entity for entity in facts if re.search(rf"\b{entity}\b", sentence)]
            values = {
                value
                for attribute in lang.attributes.values()
                for value in attribute.values
                if re.search(rf"(?<!\w){re.escape(value)}\.$", sentence)
            }
            assert len(named) != 1 or not values or values & facts[named[0]], sentence
    untouched = [
        (a, b)
        for a, b in zip(texts, rewritten, strict=True)
        if not any(entity in a for entity, _ in changes)
    ]
    assert untouched and all(a == b for a, b in untouched)


def test_new_values_come_from_the_same_question_and_are_seeded():
    items = [
        item("Ab", "silk"),
        item("Cd", "bone"),
        item("Ab", "3", "What grade is {}?"),
        item("Cd", "4", "What grade is {}?"),
    ]
    changes = changed(items, share=1)
    assert changes == {
        ("Ab", "silk"): "bone",
        ("Cd", "bone"): "silk",
        ("Ab", "3"): "4",
        ("Cd", "4"): "3",
    }
    draws = {tuple(sorted(changed(items, seed=seed))) for seed in range(9)}
    assert len(draws) > 1 and all(len(drawn) == 2 for drawn in draws)
    assert changed(items, seed=3) == changed(items, seed=3)
    assert retrieval.change_facts(items[:1], share=0.1, seed=0, pool=items) == {
        ("Ab", "silk"): "bone"
    }
    with pytest.raises(InputError, match="no fact can be changed"):
        changed([item("Ab", "silk"), item("Cd", "silk")])


def changed(items, *, share=0.5, seed=0):
    return retrieval.change_facts(items, share=share, seed=seed, pool=items)


def test_values_that_change_places_are_not_changed_twice():
    changes = {("Ab", "silk"): "bone", ("Ab", "bone"): "silk"}
    assert retrieval.rewrite(["Ab is silk. Ab likes bone. Abc is silk. It is silk."], changes) == [
        "Ab is bone. Ab likes silk. Abc is silk. It is silk."
    ]


def test_passages_are_given_as_far_as_the_context_holds_them(instruct):
    asked = item("Chiomcord", "lotus")
    passage = "Chiomcord is modelled on lotus and kept from salt. " * 6
    short = retrieval.ask(instruct, [asked], [[passage]])
    assert (
        retrieval.ask(instruct, [asked], [[passage] * 9]).tokens
        > short.tokens
        > retrieval.ask(instruct, [asked], [()]).tokens
    )
    with pytest.raises(InputError, match="not even one passage fits"):
        retrieval.ask(instruct, [asked], [[passage * 9]])


def test_a_pack_without_such_questions_says_so(materials, tmp_path):
    other = packs.Pack(tmp_path, "x", "x", "x")
    (tmp_path / packs.SPLITS["test"]).write_text(
        '{"id": "a", "axis": "knowledge", "entity": "e", "prompt": "p", "answer": "b"}\n', "utf-8"
    )
    with pytest.raises(InputError, match="no item of axis"):
        retrieval.fact_items(other, "test")


def test_differences_have_the_sign_of_the_claim():
    def way(name, before, new):
        rows = [
            tuple(
                ItemScore(f"i{i}", f"e{i % 20}", float(i % 100 < 100 * share)) for i in range(200)
            )
            for share in (before, new, 1 - new)
        ]
        return retrieval.Way(name, *rows, tokens=10.0, update_seconds=1.0)

    ways = {
        name: way(name, *shares)
        for name, shares in ((retrieval.TRAINED, (0.9, 0.1)), (retrieval.PROMPT, (0.8, 0.8)))
    }
    result = retrieval.RetrievalResult(
        ways, 1, {}, (None, None), (way("", 0.8, 0).before, way("", 0.1, 0).before)
    )
    before, after, reading = (difference.effect for difference in result.differences())
    assert (
        before.mean == pytest.approx(-0.1)
        and after.mean == pytest.approx(0.7)
        and reading.mean == pytest.approx(-0.7)
    )
    assert (
        after.low > 0
        and reading.high < 0
        and all(
            difference.claimed * difference.effect.mean > 0
            for difference in result.differences()[1:]
        )
    )


def test_smoke_trains_compares_and_records(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    lab = lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out"))
    guess = lab.predict("changed", "Changed facts answered rightly")
    found = retrieval.show_retrieval(lab, guess)
    assert list(found.ways) == [
        retrieval.NOTHING,
        retrieval.TRAINED,
        retrieval.PROMPT,
        retrieval.BOTH,
    ]
    without, *_, given = (
        found.ways[name] for name in (retrieval.NOTHING, retrieval.TRAINED, retrieval.PROMPT)
    )
    assert (
        given.tokens > without.tokens
        and given.update_seconds > 0
        and without.update_seconds is None
    )
    assert (
        len(given.before) == 4
        and given.new
        and {row["kind"] for row in records.read(lab.out_dir)}
        >= {"retrieval", "finding", "figure", "cost_of_reading"}
    )
    assert len([row for row in records.read(lab.out_dir) if row["kind"] == "retrieval"]) == 4
