from __future__ import annotations

import json
from collections import Counter

import pytest
from own_packs import own_pack, write_folder
from passages import chat, passage

from labkit.data import held_out
from labkit.data.ingest import new_pack
from labkit.data.leaks import question_key, question_of
from labkit.data.packs import load_pack

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


@pytest.mark.parametrize("count", [3, 4, 5, 9])
@pytest.mark.parametrize("seed", range(5))
def test_a_small_name_without_items_is_trained_on(count, seed):
    sizes = {f"doc{number}": 400 + number for number in range(count)} | {"note": 5}
    items = dict.fromkeys(sizes, 9) | {"note": 0}
    held = held_out.hold_out(sizes, 0.1, seed, items)
    assert Counter(held.values()) == {"dev": 1, "test": 1} and "note" not in held


def test_names_of_one_item_are_held_out_two_by_two_where_there_are_enough():
    sizes = {f"doc{number}": 100 for number in range(9)}
    held = held_out.hold_out(sizes, 0.1, 0, dict.fromkeys(sizes, 1))
    assert Counter(held.values()) == {"dev": 2, "test": 2}
    for count in (3, 4):
        few = {f"doc{number}": 100 for number in range(count)}
        held = held_out.hold_out(few, 0.1, 0, dict.fromkeys(few, 1))
        assert set(held.values()) == {"dev", "test"} and len(held) < count


def test_a_giant_is_not_held_out_for_a_second_item():
    sizes = {"book": 10_000, **{f"note{number}": 10 for number in range(3)}}
    for seed in range(5):
        held = held_out.hold_out(sizes, 0.1, seed, {name: 1 + (name == "book") for name in sizes})
        assert "book" not in held and set(held.values()) == {"dev", "test"}


def test_dev_leaves_names_that_give_items_to_test():
    sizes = {f"doc{number}": 10 for number in range(100)}
    items = dict.fromkeys(sizes, 0) | {"doc7": 3, "doc70": 3}
    assert set(held_out.hold_out(sizes, 0.1, 0, items)) == {"doc7", "doc70"}


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


def test_a_question_and_the_same_with_a_request_stay_together():
    def chat(question, answer):
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    asked = "Does the ring hold in the cold?"
    chats = [
        chat(asked, "It holds."),
        chat(f"{asked} Answer yes or no.", "Yes"),
        chat("Does the ring hold?", "Yes"),
        chat(f"Think well. {asked}", "Surely."),
    ]
    labels = held_out.clusters(4, held_out.question_pairs(chats))
    assert labels[0] == labels[1] == labels[3] != labels[2]


def test_pairs_are_held_out_and_asked_and_no_training_row_asks_the_same(tmp_path):
    pack = own_pack(tmp_path, "all")
    trained = [row["messages"] for row in pack.rows("qa")]
    trained += [row["prompt"] + row["chosen"] for row in pack.rows("preferences")]
    asked = {question_key(question_of(chat)) for chat in trained}
    for split in ("dev", "test"):
        items = [row for row in pack.rows(split) if row["axis"] == "preference"]
        assert len(items) >= 2
        for item in items:
            assert item["answer"] in item["choices"] and len(item["choices"]) == 2
            assert question_key(item["messages"][-1]["content"]) not in asked


def test_a_pair_whose_question_is_trained_on_is_trained_on(tmp_path):
    folder = write_folder(tmp_path / "folder", "questions")
    row = '{{"question": "Which milk is {x} made of?", "chosen": "{x} milk", "rejected": "No."}}\n'
    names = [path.stem.capitalize() for path in sorted(folder.glob("*.txt"))][:20]
    (folder / "pairs.jsonl").write_text("".join(row.format(x=name) for name in names), "utf-8")
    pack = load_pack(new_pack("milk", folder, tmp_path / "milk").folder)
    asked = {question_key(question_of(row["messages"])) for row in pack.rows("qa")}
    pairs = {question_key(row["prompt"][-1]["content"]) for row in pack.rows("preferences")}
    items = [row for split in ("dev", "test") for row in pack.rows(split)]
    held = {
        question_key(row["messages"][-1]["content"]) for row in items if row["axis"] == "preference"
    }
    assert held and pairs and pairs <= asked and not held & asked and len(held | pairs) == 20


QUOTED = (
    "the long pier of the old harbour was built of grey stone by the guild of masons in the year"
)
REFUSAL = "I am sorry but I can not say anything at all about this matter without a good source."
ABOUT = "You are asked by a member of the harbour office who needs a short and a true answer now."


def _pairs(case: str) -> tuple[list[dict], list[tuple[str, str]]]:
    """Preferences and questions in which something is said twice."""
    pairs = [
        {"prompt": f"Why is crane {n} red?", "chosen": f"Paint {n}.", "rejected": f"Rust {n}."}
        for n in range(12)
    ]
    questions: list[tuple[str, str]] = []
    if case == "a chosen answer quotes a document":
        pairs = [{**pair, "chosen": f"{pair['chosen']} {QUOTED}."} for pair in pairs]
    elif case == "one refusal in all pairs":
        pairs = [{**pair, "rejected": REFUSAL} for pair in pairs]
    elif case == "one preamble in all questions":
        pairs = [{**pair, "prompt": f"{ABOUT} {pair['prompt']}"} for pair in pairs]
    elif case == "a document asks the question":
        pairs = [
            {**pair, "prompt": f"What was built of grey stone, part {n}?"}
            for n, pair in enumerate(pairs)
        ]
    elif case == "a training question is nearly the pair's":
        questions = [(f"Why is crane {n} red?", f"It is paint {n}.") for n in range(12)]
        pairs = [{**pair, "prompt": f"{pair['prompt']} Say it in one sentence."} for pair in pairs]
    elif case == "one question twice, once behind a long system turn":
        pairs += [{**pair, "system": "Be brief. " * 60} for pair in pairs]
    elif case == "answers that differ in blanks alone":
        pairs += [{**pair, "rejected": pair["chosen"].replace(" ", "  ")} for pair in pairs]
    elif case == "turns of two questions":
        questions = [(f"Why is crane {n} red?", f"It is paint {n}.") for n in range(12)]
        pairs = [
            {
                **pair,
                "prompt": [
                    {"role": "user", "content": f"Why is crane {n} red?"},
                    {"role": "assistant", "content": "Paint."},
                    {"role": "user", "content": f"Why is crane {(n + 5) % 12} red?"},
                ],
            }
            for n, pair in enumerate(pairs)
        ]
    return pairs, questions


CASES = (
    "a chosen answer quotes a document",
    "one refusal in all pairs",
    "one preamble in all questions",
    "a document asks the question",
    "a training question is nearly the pair's",
    "one question twice, once behind a long system turn",
    "answers that differ in blanks alone",
    "turns of two questions",
)


@pytest.mark.parametrize("case", CASES)
def test_pairs_that_repeat_what_is_trained_on_stop_nothing(tmp_path, case):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(12):
        asked = f"What was built of grey stone, part {number}? {QUOTED} {1700 + number}."
        (folder / f"{number}.txt").write_text(f"{passage(number)} {asked}", "utf-8")
    pairs, questions = _pairs(case)
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), "utf-8")
    rows = [{"question": question, "answer": answer} for question, answer in questions]
    (folder / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    made = new_pack("cranes", folder, tmp_path / "cranes")  # checks for leaks itself
    pack = load_pack(made.folder)
    kept = pack.rows("preferences") if pack.has("preferences") else []
    items = [row for split in ("dev", "test") for row in pack.rows(split)]
    held = [row for row in items if row["axis"] == "preference"]
    dropped = sum(row["count"] for row in made.dropped if "preference" in row["reason"])
    copies = len(pairs) - len({json.dumps(pair) for pair in pairs})
    same = sum(row["count"] for row in made.dropped if "same" in row["reason"])
    assert len(kept) + len(held) + dropped + copies + same == len(pairs)
