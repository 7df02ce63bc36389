from __future__ import annotations

from collections import Counter

import pytest

from labkit.data import held_out
from labkit.data.packs import row_problems

VERBS = ["bends", "breaks", "holds", "slips", "rusts", "shines", "warms", "cools"]


def passage(number: int) -> str:
    return " ".join(
        f"Part {number} {verb} when load {number * 10 + i} is put on it."
        for i, verb in enumerate(VERBS)
    )


def chat(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


# --- splitting --------------------------------------------------------------------------------


def test_clusters_join_what_belongs_together():
    labels = held_out.clusters(6, [(0, 2), (2, 5), (3, 4)])
    assert labels[0] == labels[2] == labels[5] != labels[1] and labels[3] == labels[4] != labels[0]
    assert held_out.same(["a", None, "b", "a", None]) == [(0, 0), (2, 2), (0, 3)]
    assert held_out.clusters(0, []) == []


def test_about_a_tenth_of_the_text_goes_to_dev_and_to_test():
    sizes = {f"doc{number}": 50 + 7 * (number % 13) for number in range(500)}
    held = held_out.hold_out(sizes, 0.1, seed=0)
    for split in ("dev", "test"):
        assert sum(sizes[name] for name in held if held[name] == split) / sum(
            sizes.values()
        ) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_few_documents_still_fill_every_split(count):
    held = held_out.hold_out({f"doc{number}": 100 for number in range(count)}, 0.1, seed=0)
    assert Counter(held.values()) == {"dev": 1, "test": 1}


def test_two_documents_cannot_be_split():
    assert held_out.hold_out({"a": 1, "b": 1}, 0.1, seed=0) == {}


def test_one_giant_document_is_trained_on():
    for seed in range(20):
        assert "book" not in held_out.hold_out(
            {"book": 10_000, **{f"note{number}": 10 for number in range(8)}}, 0.1, seed
        )


def test_the_seed_decides_and_more_data_moves_little():
    sizes = {f"doc{number}": 10 for number in range(200)}
    first, again, other = (held_out.hold_out(sizes, 0.1, seed) for seed in (0, 0, 1))
    assert first == again != other
    more = held_out.hold_out({**sizes, "new": 10}, 0.1, 0)
    assert sum(more.get(name) != split for name, split in first.items()) <= 2


def test_near_copies_go_one_way():
    names = [f"doc{number}" for number in range(30)]
    splits = held_out.split_clusters(
        names, [10] * 30, [(0, number) for number in range(10)], 0.2, seed=3
    )
    assert {splits[number] for number in range(10)} == {splits[0]} and splits[0][0] == "doc0"


def test_clusters_without_text_are_not_held_out():
    names = [f"doc{number}" for number in range(10)]
    for seed in range(10):
        splits = held_out.split_clusters(names, [0] * 5 + [10] * 5, [], 0.1, seed)
        assert {split for _, split in splits[:5]} == {None} and {split for _, split in splits} == {
            None,
            "dev",
            "test",
        }


def test_versions_share_half_of_their_chunks():
    """Documents 0 and 1 share one chunk of four, 0 and 2 two of four, 3 is one chunk of 0."""
    owners = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    marks = [None] * 4 + [0, None, None, None] + [1, 2, None, None] + [3]
    assert sorted(held_out.versions(owners, marks)) == [(0, 2), (0, 3)]


def test_rows_of_one_source_belong_together_unless_sources_are_tags():
    names = ["p1", "p2", "p3", "p1", "", ""]
    assert (0, 3) in held_out.family_pairs(["a"] * 6, names)
    assert held_out.family_pairs(["a"] * 6, ["paper", "web", "paper", "web", "", ""]) == []
    apart = held_out.family_pairs(["a"] * 3 + ["b"] * 3, ["p1", "p2", "p3"] * 2)
    assert all(first == second for first, second in apart)


def test_questions_that_are_one_stay_together():
    chats = [
        chat("What is it?", "A ring of steel."),
        chat("what is IT", "Something else."),
        chat("Who made it?", "Nobody knows who made it first."),
        chat("And why?", "x"),
    ]
    assert (0, 1) in held_out.question_pairs(chats)
    assert not {(0, 2), (0, 3), (2, 3)} & set(held_out.question_pairs(chats))


# --- items ------------------------------------------------------------------------------------


def test_every_source_has_a_first_turn_before_any_has_a_second():
    passages = [(f"doc{number % 4}", str(number)) for number in range(20)]
    order = held_out.in_turn(passages, seed=0)
    assert sorted(order) == list(range(20)) and order == held_out.in_turn(
        passages, seed=0
    ) != held_out.in_turn(passages, seed=1)
    for start in range(0, 20, 4):
        assert {passages[i][0] for i in order[start : start + 4]} == {
            "doc0",
            "doc1",
            "doc2",
            "doc3",
        }


def test_continuation_items_ask_for_the_passages_own_next_sentence():
    passages = [(f"doc{number}", passage(number)) for number in range(12)]
    for (source, text), item in zip(
        passages, held_out.continuation_items(passages, seed=0), strict=True
    ):
        assert not list(row_problems({"id": "x", **item}, "eval"))
        assert f"{item['prompt']} {item['answer']}" in text and item["entity"] == source
        assert len(set(item["choices"])) == 4
        assert not [
            choice for choice in item["choices"] if choice != item["answer"] and choice in text
        ]
        assert (
            len(item["prompt"].encode()) <= held_out.PROMPT_BYTES
            and max(len(c.encode()) for c in item["choices"]) <= held_out.ANSWER_BYTES
        )


def test_the_place_of_the_answer_tells_nothing():
    items = held_out.continuation_items(
        [(f"doc{number}", passage(number)) for number in range(200)], seed=0
    )
    places = Counter(item["choices"].index(item["answer"]) for item in items)
    assert min(places.values()) > 25 and len(places) == 4


def test_one_source_takes_its_choices_from_itself():
    items = held_out.continuation_items([("doc", passage(number)) for number in range(5)], seed=0)
    assert all(item and len(item["choices"]) == 4 for item in items)


@pytest.mark.parametrize(
    "text", ["One sentence only, with a good many words in it.", "Short. Too short.", ""]
)
def test_what_cannot_be_continued_gives_no_item(text):
    assert (
        held_out.continuation_items(
            [("a", text), *((f"doc{number}", passage(number)) for number in range(4))], seed=0
        )[0]
        is None
    )


def test_beginnings_are_cut_at_words_and_never_inside_a_character():
    assert held_out.beginning("short text") == "short text"
    assert held_out.beginning("word " * 40) == ("word " * 16).strip()
    assert held_out.beginning("a" * 78 + " longer") == "a" * 78
    assert held_out.beginning("日" * 100) == "日" * 26


def test_short_answers_are_said_and_long_ones_told_from_others():
    long = [
        f"The answer number {number} takes quite a few more words than five." for number in range(6)
    ]
    items = held_out.question_items(
        [
            ("q0", chat("What is it?", "A ring")),
            *((f"q{n + 1}", chat(f"Why {n}?", text)) for n, text in enumerate(long)),
        ],
        seed=0,
    )
    assert items[0] == {
        "axis": "knowledge",
        "entity": "q0",
        "messages": chat("What is it?", "A ring")[:1],
        "kind": "free",
        "answer": "A ring",
    }
    for item, text in zip(items[1:], long, strict=True):
        assert (
            item["kind"] == "answer_choice" and item["answer"] == text and len(item["choices"]) == 4
        )
        assert not list(row_problems({"id": "x", **item}, "eval"))


def test_questions_that_make_no_item():
    lone = held_out.question_items(
        [("q", chat("Why?", "Because of many words that are in here."))], seed=0
    )
    long = held_out.question_items([("q", chat("Why? " * 200, "Yes"))], seed=0)
    assert lone == long == [None]


def test_controls_are_those_of_the_shipped_packs(materials):
    for split in ("dev", "test"):
        shipped = {
            (row["axis"], row["messages"][0]["content"])
            for row in materials.rows(split)
            if row["axis"] == "general"
        }
        items = held_out.control_items(split)
        assert {
            (item["axis"], item["messages"][0]["content"])
            for item in items
            if item["axis"] == "general"
        } == shipped
        assert sum(item["axis"] == "instructions" for item in items) == held_out.FORMATTED[split]
