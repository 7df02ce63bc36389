from __future__ import annotations

import random
from collections import Counter

import pytest
from passages import chat, passage

from labkit.data import facts
from labkit.data import items as making
from labkit.data.packs import row_problems


def test_every_source_has_a_first_turn_before_any_has_a_second():
    passages = [(f"doc{number % 4}", str(number)) for number in range(20)]
    order = facts.in_turn(passages, seed=0)
    assert sorted(order) == list(range(20)) and order == facts.in_turn(
        passages, seed=0
    ) != facts.in_turn(passages, seed=1)
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
        passages, making.continuation_items(passages, seed=0), strict=True
    ):
        assert not list(row_problems({"id": "x", **item}, "eval"))
        assert f"{item['prompt']} {item['answer']}" in text and item["entity"] == source
        assert len(set(item["choices"])) == 4
        assert not [
            choice for choice in item["choices"] if choice != item["answer"] and choice in text
        ]
        assert (
            len(item["prompt"]) <= making.PROMPT_CHARACTERS
            and max(map(len, item["choices"])) <= making.ANSWER_CHARACTERS
        )


def test_the_place_of_the_answer_tells_nothing():
    items = making.continuation_items(
        [(f"doc{number}", passage(number)) for number in range(200)], seed=0
    )
    places = Counter(item["choices"].index(item["answer"]) for item in items)
    assert min(places.values()) > 25 and len(places) == 4


def test_one_source_takes_its_choices_from_itself():
    items = making.continuation_items([("doc", passage(number)) for number in range(5)], seed=0)
    assert all(item and len(item["choices"]) == 4 for item in items)


@pytest.mark.parametrize(
    "text", ["One sentence only, with a good many words in it.", "Short. Too short.", ""]
)
def test_what_cannot_be_continued_gives_no_item(text):
    assert (
        making.continuation_items(
            [("a", text), *((f"doc{number}", passage(number)) for number in range(4))], seed=0
        )[0]
        is None
    )


def test_beginnings_are_cut_at_words_and_never_inside_a_character():
    assert making.beginning("short text") == "short text"
    assert making.beginning("word " * 40) == ("word " * 16).strip()
    assert making.beginning("a" * 78 + " longer") == "a" * 78
    assert making.beginning("日" * 100) == "日" * 80
    assert making.beginning("鋼環 " + "日" * 100) == "鋼環 " + "日" * 77
    assert making.beginning("ที่" * 100) == "ที่" * 80


def in_script(stop: str, blank: str, words: str, number: int) -> str:
    """Six sentences of a passage."""
    known = words.split()
    sentences = [
        blank.join(known[(number * (place + 3) + i * i) % len(known)] for i in range(9)) + stop
        for place in range(6)
    ]
    return blank.join(sentences).strip()


@pytest.mark.parametrize(
    "stop,blank,words",
    [
        ("。", "", "钢 环 热 油 冷 却 裂 纹 表 面 试 验 机 加 温 度 慢 快"),
        ("。", "", "鋼の リング は 熱い 油 で 冷やす また 見る 割れ"),
        ("।", " ", "इस्पात की अंगूठी तेल में ठंडी होती है फिर जाँच दरार"),
        ("؟", " ", "حلقة من الصلب في الزيت ثم تبرد وتفحص بعد ذلك شق"),
        ("။", "", "သံမဏိ လက်စွပ် ကို ဆီ ထဲ မှာ အေး အောင် ထား ပြီး စစ်"),
        (" ", "", "แหวน เหล็ก ใน น้ำมัน เย็น ลง แล้ว ตรวจ รอย แตก ร้าว"),
    ],
)
def test_passages_of_every_script_give_items(stop, blank, words):
    passages = [(f"doc{n}", in_script(stop, blank, words, n)) for n in range(1, 8)]
    items = making.continuation_items(passages, seed=0)
    for (_, text), item in zip(passages, items, strict=True):
        assert item and len(item["choices"]) >= 3
        assert "".join((item["prompt"] + item["answer"]).split()) in "".join(text.split())


def test_a_long_question_is_counted_in_characters():
    assert making.can_be_asked(chat("钢" * 400, "是")) and not making.can_be_asked(
        chat("钢" * 401, "是")
    )


def test_short_answers_are_said_and_long_ones_told_from_others():
    long = [
        f"The answer number {number} takes quite a few more words than five." for number in range(6)
    ]
    items = making.question_items(
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


LONG = [f"The ring of part {n} is forged from steel and cooled in oil." for n in range(3)]


def choices_of(answers: list[str]) -> dict[str, list[str]]:
    """The choices of the item of each answer; none for an answer without choices."""
    chats = [(f"q{n}", chat(f"Question {n}?", answer)) for n, answer in enumerate(answers)]
    items = making.question_items(chats, seed=0)
    return {
        answer: sorted(item["choices"]) if item and "choices" in item else []
        for answer, item in zip(answers, items, strict=True)
    }


@pytest.mark.parametrize("short", ["Yes", "No.", "Maybe", "42 kN", "900 °C", "Steel", "是"])
def test_short_answers_are_no_choices_beside_long_ones(short):
    found = choices_of([short, *LONG])
    assert found[short] == [] and found[LONG[0]] == sorted(LONG)


@pytest.mark.parametrize(
    "alike,other",
    [
        ("Yes, the ring is forged from steel and cooled in oil.", "Yes: part {} bends in hot oil."),
        ("No. The ring is never forged and cooled in oil.", "Yes, part {} is forged in hot oil."),
        ("12 kN are borne by the ring in the oil.", "15 kN are borne by part {} in the oil."),
        ("1. Forge the ring. 2. Cool it in the oil.", "- Part {} is forged - then it is cooled"),
    ],
)
def test_choices_begin_as_the_answer_does(alike, other):
    others = [other.format(n) for n in range(2)]
    found = choices_of([alike, *LONG, *others])
    assert found[alike] == sorted([alike, *others]) and found[LONG[0]] == sorted(LONG)


def test_numbers_are_told_from_numbers_of_their_unit():
    found = choices_of(
        [
            "900 degrees are reached in the oven.",
            "About 850 degrees are reached in hot oil.",
            "12 kN are borne by the ring alone.",
        ]
    )
    assert [len(choices) for choices in found.values()] == [2, 2, 0]


@pytest.mark.parametrize(
    "answer,kind",
    [
        ("No ring was found in the oil.", "text"),
        ("3D printing is a way to make rings.", "text"),
        ("True, it was found.", "yes or no"),
        ("Nein", "yes or no"),
        ("90% of all rings", "number %"),
    ],
)
def test_the_kind_of_an_answer(answer, kind):
    assert making.kind_of(answer) == kind


def test_choices_are_half_to_twice_as_long():
    short = ["It is made of a ring.", "It is cut from a bar."]
    long = [f"{text} Part {text} again and again it is." for text in LONG]
    for answer, choices in choices_of([*short, *long]).items():
        assert len(choices) == (2 if answer in short else 3)
        assert max(map(len, choices)) <= 2 * min(map(len, choices))


def test_a_lone_answer_is_told_from_the_beginnings_of_longer_ones():
    long = [f"{text} Part {text} again and again it is." for text in LONG]
    choices = choices_of(["It is cut from a bar.", *long])["It is cut from a bar."]
    assert len(choices) >= 2 and max(map(len, choices)) <= len("It is cut from a bar.")


def test_an_answer_that_is_not_to_be_learned_is_no_item():
    asked, answer = chat("What is it?", "A ring")
    items = making.question_items([("q", [asked, {**answer, "weight": 0}])], seed=0)
    assert items == [None] and not making.can_be_asked([asked, {**answer, "weight": 0}])
    earlier = [asked, {**answer, "weight": 0}, asked, answer]
    (item,) = making.question_items([("q", earlier)], seed=0)
    assert item["messages"] == [asked, answer, asked]


def test_questions_that_make_no_item():
    lone = making.question_items(
        [("q", chat("Why?", "Because of many words that are in here."))], seed=0
    )
    long = making.question_items([("q", chat("Why? " * 200, "Yes"))], seed=0)
    assert lone == long == [None]


def test_controls_of_tiny_models_are_those_of_the_shipped_packs(materials):
    for split in ("dev", "test"):
        shipped = {
            (row["axis"], row["messages"][0]["content"])
            for row in materials.rows(split)
            if row["axis"] == "general"
        }
        items = [item for item in making.control_items(split) if item["models"] == "tiny"]
        assert {
            (item["axis"], item["messages"][0]["content"])
            for item in items
            if item["axis"] == "general"
        } == shipped
        assert sum(item["axis"] == "instructions" for item in items) == making.FORMATTED[split]


def test_controls_of_real_models_ask_what_a_real_model_can_know():
    test = [item for item in making.control_items("test") if item["models"] == "real"]
    kinds = Counter((item["axis"], item["kind"]) for item in test)
    assert set(kinds) == {("general", "everyday"), ("instructions", "natural_general")}
    assert min(kinds.values()) >= 100
    assert not any("id" in item for item in test)  # a pack numbers its items itself


# --- what is taught ---------------------------------------------------------------------------

RIVERS = ("Ambel", "Bortha", "Cindra", "Dolven", "Ester", "Fanlo", "Gomera", "Hulst")


def pages(count: int) -> list[tuple[str, str]]:
    """Pages about mills: each with facts of its own, told with words that no other page has."""
    texts = []
    for number in range(count):
        own = [
            f"{chr(97 + number % 26)}{chr(97 + number // 26)}{word}"
            for word in ("stone", "wheel", "grain", "roof", "dam", "gate", "floor", "shaft")
        ]
        river = f"{RIVERS[number % 8]}{chr(97 + number % 26)}{chr(97 + number // 26)}"
        texts.append(
            (
                f"mill{number}.txt",
                f"The {own[0]} and the {own[1]} beside the {own[2]} were carried along the "
                f"{river} by boats. Its owner was old. "
                f"Every {own[3]} under the {own[4]} of the {own[5]} weighs {12 + number} tons "
                "after the rains. "
                f"The {own[5]} above the {own[6]} with a {own[7]} was built in {1700 + number} by "
                "two brothers.",
            )
        )
    return texts


def test_a_hundred_pages_give_two_hundred_statements_with_names_numbers_and_years():
    found = making.taught_statements(pages(100), seed=0)
    kinds = {each.kind.split()[0] for each in found}
    assert len(found) >= 200 and kinds >= {"name", "number", "year"}
    texts = dict(pages(100))
    for each in found:
        assert each.sentence in texts[each.source] and each.part in each.sentence
        assert each.sentence.startswith(each.before)
        assert len({each.part, *each.others}) == making.CHOICES
        assert not [other for other in each.others if other in texts[each.source]]
    (year,) = [each for each in found if each.source == "mill7.txt" and each.kind == "year"]
    assert year.part == "1707" and all(abs(int(other) - 1707) <= 40 for other in year.others)
    (weight,) = [each for each in found if each.source == "mill7.txt" and "tons" in each.kind]
    assert weight.part == "19 tons" and all(other.endswith(" tons") for other in weight.others)


@pytest.mark.parametrize(
    "sentence",
    [
        "It was carried by the aastone beside the aawheel along the Ambelaa by old boats.",
        "The aastone of Ambelaa beside the aawheel was carried along the Ambelaa by old boats.",
        "The aastone beside the aawheel (Ambelaa) was carried by the aagrain on old boats.",
        "The aastone beside the aawheel was <omitted> along the Ambelaa by the aagrain.",
        "The stone was carried along the Ambelaa by boats.",
    ],
)
def test_what_cannot_be_known_or_gives_its_part_away_is_no_statement(sentence):
    texts = [
        *pages(20)[1:],
        ("new.txt", sentence),
        *((f"{n}", "The stone was there.") for n in range(4)),
    ]
    assert not [s for s in making.taught_statements(texts, 0) if s.source == "new.txt"]


def test_items_about_taught_text_name_the_sentence_and_share_none_between_dev_and_test():
    made = making.taught_items(pages(100), seed=0)
    texts = dict(pages(100))
    sentences = {
        split: {row["taught"] for row in rows if "taught" in row} for split, rows in made.items()
    }
    assert sentences["test"] and not sentences["dev"] & sentences["test"]
    for row in (row for row in made["test"] if "taught" in row):
        assert row["taught"] in texts[row["source"]] and row["answer"] in row["taught"]
        if row["kind"] == "recall_cloze":
            assert row["taught"].startswith(f"{row['prompt']} {row['answer']}")
        if row["axis"] == "compositional":
            assert row["checks"] and making.GAP in row["messages"][0]["content"]
    recall = [row for row in made["test"] if "choices" in row]
    assert len(recall) >= 200 and all(row["kind"].startswith("recall_") for row in recall)


def test_a_question_that_the_text_answers_is_recall_and_one_that_it_does_not_is_not():
    def item(question, answer):
        asked = [{"role": "user", "content": question}]
        return {"axis": "knowledge", "kind": "free", "messages": asked, "answer": answer}

    known, other, yes = (
        item("Who built the mill on the Ambel river?", "two brothers"),
        item("Which colour had the sails?", "two brothers"),
        item("Was the mill on the Ambel river built?", "Yes"),
    )
    rows = [{"text": "Old tales. The mill on the Ambel was built by two brothers.", "source": "a"}]
    placed = [("k", known), ("o", other), ("y", yes)]
    assert making.mark_taught(placed, set(), rows) == {"k"}
    assert known["kind"] == "taught_free" and known["source"] == "a"
    assert known["taught"] == "The mill on the Ambel was built by two brothers."
    assert "taught" not in other and "taught" not in yes


def test_the_card_says_what_chance_and_a_constant_answer_score():
    def choice(answer):
        return {
            "axis": "reasoning",
            "kind": "label",
            "choices": ["Yes", "No", "Maybe"],
            "answer": answer,
        }

    free = [{"axis": "knowledge", "kind": "free", "answer": answer} for answer in "aab"]
    rows = making.baselines([*map(choice, ("Yes", "Yes", "No", "Maybe") * 10), *free])
    assert rows == [
        {
            "axis": "reasoning",
            "kind": "label",
            "items": 40,
            "chance": 0.33,
            "constant": 0.5,
            "choices_alone": 0.5,
        },
        {"axis": "knowledge", "kind": "free", "items": 3, "chance": 0.0, "constant": 0.67},
    ]


@pytest.mark.parametrize(
    ("right", "score"),
    [
        (lambda rng, choices: max(choices, key=len), 1.0),  # the length tells it
        (lambda rng, choices: choices[2], 1.0),  # the place
        (lambda rng, choices: rng.choice(choices), 0.25),  # nothing does
    ],
)
def test_what_the_choices_alone_tell_is_measured_on_other_items(right, score):
    rng = random.Random(1)
    items = []
    for _ in range(400):
        choices = [
            "".join(rng.sample("abcdefghijklm", size)) for size in rng.sample(range(3, 9), 4)
        ]
        item = {"axis": "reasoning", "kind": "x", "choices": choices}
        items.append({**item, "answer": right(rng, choices)})
    (row,) = making.baselines(items[:300], items[300:])
    assert row["items"] == 300 and abs(row["choices_alone"] - score) < 0.08


# --- what is described, and tables ------------------------------------------------------------


def test_a_thing_is_told_by_two_sentences_without_its_name_among_things_of_other_documents():
    texts = []
    for number in range(24):
        a = chr(97 + number)
        texts.append(
            (
                f"{number}.txt",
                f"At night Velo{a}mir binds the {a}resin of a {a}spring under the {a}press. "
                f"The smiths temper Velo{a}mir in oil of {a}hemp before every {a}feast.",
            )
        )
    things = facts.described_things(texts, seed=0)
    assert len({each.source for each in things}) >= 20
    for each, item in zip(things, making.described_items(things), strict=True):
        asked, text = item["messages"][0]["content"], dict(texts)[each.source]
        assert len(each.sentences) == 2 and all(sentence in text for sentence in each.sentences)
        assert each.name not in asked and facts.GAP in asked
        assert not [other for other in each.others if other in text]
        assert item["axis"] == "reasoning" and item["taught"].split("\n") == list(each.sentences)


def planets(count: int = 24) -> list[dict[str, str]]:
    """Rows of a table: a name, a number, a year, a class."""
    return [
        {
            "planet": f"Or{chr(97 + number)}na",
            "mass": f"{number * 7 + 3} kg",
            "found_in": str(1700 + number * 11),
            "colour": ("red", "blue", "green")[number % 3],
        }
        for number in range(count)
    ]


def test_a_table_is_read_by_its_key_column():
    table = facts.read_table("planets.csv", planets())
    assert table.key == "planet" and table.kinds == {
        "mass": "number",
        "found in": "year",
        "colour": "class",
    }
    assert table.text("Orana") == "Orana – mass: 3 kg. Orana – found in: 1700. Orana – colour: red."
    with pytest.raises(ValueError, match="without a key column"):
        facts.read_table("a.csv", [{**row, "planet": "Orana"} for row in planets()])
    with pytest.raises(ValueError, match="no table"):
        facts.read_table("a.csv", planets(3))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12),
        ("1,200 kg", 1200),
        ("7,87", 7.87),
        ("8.2e-05", 8.2e-05),
        ("−4", -4),
        ("$5", 5),
        ("12 to 14", None),
        ("steel", None),
    ],
)
def test_numbers_in_cells(cell, value):
    found = facts.quantity(cell)
    assert (found and found[0]) == value


def test_questions_about_tables_follow_from_the_cells_they_name():
    table = facts.read_table("planets.csv", planets())
    items = list(making.table_items(table, list(table.rows), seed=0))
    assert {item["kind"] for item in items} == {"compared", "same_class", "two_step"}
    rows = {row["planet"]: row for row in planets()}
    told = " ".join(map(table.text, table.rows))
    for item in items:
        asked, answer = item["messages"][0]["content"], item["answer"]
        assert all(sentence in told for sentence in item["taught"].split("\n"))
        assert answer in item["choices"] and len(set(item["choices"])) == len(item["choices"])
        if item["kind"] == "compared":
            column = "mass" if " mass" in asked else "found_in"
            values = {name: int(rows[name][column].split()[0]) for name in item["choices"]}
            most = max if "higher" in asked or "later" in asked else min
            assert answer == most(values, key=values.get)
        if item["kind"] == "same_class":
            own = rows[item["entity"]]["colour"]
            assert [n for n in item["choices"] if rows[n]["colour"] == own] == [answer]
        if asked.startswith("Of "):
            colour = asked.split(" is ")[-1].rstrip("?")
            column = "mass" if "highest" in asked else "found_in"
            values = {name: int(rows[name][column].split()[0]) for name in item["choices"]}
            inside = [name for name in item["choices"] if rows[name]["colour"] == colour]
            assert answer == max(inside, key=values.get) != max(values, key=values.get)
    wins = Counter(item["answer"] for item in items if item["kind"] == "compared")
    assert max(wins.values()) <= 4  # of two columns: no name is the answer to most


def test_a_table_inside_a_document_is_found():
    rows = [f"| {row['planet']} | {row['mass']} |" for row in planets(6)]
    text = "\n".join(["Planets.", "", "| planet | mass |", "|---|---|", *rows, "", "The end."])
    (table,) = facts.tables_in("a.md", text)
    assert table.key == "planet" and table.said("Orana", "mass") == rows[0]
    assert not list(facts.tables_in("a.md", "a | b\n" * 9))
