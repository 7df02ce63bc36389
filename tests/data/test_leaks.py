from __future__ import annotations

import pytest

from labkit.data import leaks

LONG = (
    "the yield strength of the forged ring was found to be four hundred and ten at the "
    "third test of the series"
)


def asked(question: str, answer: str = "") -> dict:
    return {"messages": [{"role": "user", "content": question}]} | (
        {"answer": answer} if answer else {}
    )


def chat(question: str, answer: str) -> dict:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def find(item: dict, *rows: dict) -> list[leaks.Leak]:
    return leaks.find_leaks(
        [("test:1", item)], [(f"raw:{number}", row) for number, row in enumerate(rows, 1)]
    )


def test_a_question_of_a_training_chat_leaks_at_any_length():
    (leak,) = find(asked("Is it HARD?"), chat("Soft?", "No."), chat("is it hard", "Yes."))
    assert (leak.item, leak.row, leak.words) == ("test:1", "raw:2", "is it hard")
    preference = {
        "prompt": [{"role": "user", "content": "Is it hard?"}],
        "chosen": [{"role": "assistant", "content": "Yes"}],
        "rejected": [{"role": "assistant", "content": "No"}],
    }
    assert find(asked("Is it hard?"), preference)


def test_a_question_inside_running_text_leaks_from_five_words_on():
    text = {"text": "A reader asked: what is the ring made of? We did not know. Is it hard? No."}
    assert find(asked("What is the ring made of?"), text)[0].words == "what is the ring made of"
    assert find(asked("Is it hard?"), text) == []


def test_thirteen_words_of_question_and_answer_leak_and_twelve_do_not():
    words = LONG.split()
    item = asked("Tell me:", LONG)
    assert find(item, {"text": "x " + " ".join(words[3:16]) + " y"})[0].row == "raw:1"
    assert find(item, {"text": "x " + " ".join(words[3:15]) + " y"}) == []
    assert find({"prompt": " ".join(words[:9]), "answer": " ".join(words[9:14])}, {"text": LONG})
    assert (
        find({"prompt": " ".join(words[:6]), "answer": words[6]}, {"text": LONG}) == []
    )  # a short wording of what is taught


def test_a_run_in_many_rows_is_a_form_of_words():
    rows = [{"text": f"{LONG} number {number}"} for number in range(leaks.COMMON_ROWS + 1)]
    assert find(asked("Tell me:", LONG), *rows) == []
    assert find(asked("Tell me:", LONG), *rows[1:])


def test_a_run_twice_in_one_row_is_one_row():
    assert find(asked("Tell me:", LONG), {"text": f"{LONG}. " * 20})


def test_no_run_reaches_over_the_end_of_a_row():
    words = LONG.split()
    assert (
        find(
            asked("Tell me:", LONG), {"text": " ".join(words[:10])}, {"text": " ".join(words[10:])}
        )
        == []
    )


@pytest.mark.parametrize(
    "one,other",
    [
        ("How is steel made hard?", "How is st\u200beel ma\u2060de hard?"),
        ("What is an efficient fit?", "What is an e\ufb03cient \ufb01t?"),
        ("Where is the cafe\u0301?", "Where is the café?"),
        ("Is it ＨＡＲＤ？", "Is it hard?"),
        ("مَا هُوَ الحَجَرُ؟", "ما هو الحجر؟"),
        ("می\u200cخواهم بدانم", "ميخواهم بدانم"),
        ("ﻣﺎ ﻫﻮ", "ما هو"),
        ("ガラスは何ですか", "ｶﾞﾗｽは何ですか"),
        ("Don\u2019t they?", "Don\u02bct they?"),
        ("한국어는\u3164 무엇", "한국어는 무엇"),
        ("Wo ist die Straße?", "WO IST DIE STRASSE?"),
        ("How is a cap coated?", "How is \u0430 \u0441\u0430\u0440 c\u043eat\u0435d?"),
        ("Which BOND breaks?", "Which \u0412\u039fND br\u03b5aks?"),
        ("How is steel coated?", "How is stee\u04cf coated?"),
        ("Is it steel that I want?", "\u04c0s it stee\u04c0 that \u04c0 want?"),
        ("IS SILK STRONG?", "\u04c0S S\u04c0LK STRONG?"),
        ("Which CAP breaks?", "Which \u13df\u13aa\u13e2 \u13cfre\uab7aks?"),
        ("What is 25 times 4?", "What is \u0662\u0665 times \u06f4?"),
        ("Where is O'ahu?", "Where is O\u02bbahu?"),
        ("What is annealed?", "What is _annealed_?"),
        ("I\u015fi nas\u0131l?", "I\u015eI NASIL?"),
    ],
)
def test_questions_that_look_alike_are_one(one, other):
    assert leaks.question_key(one) == leaks.question_key(other) != ""
    assert find(asked(one), chat(other, "Yes."))


def test_cyrillic_and_greek_words_stay_what_they_are():
    assert (
        leaks.words_of("Металл МЕТАЛЛ") == ["мeтaлл"] * 2
    )  # its e and a are Latin, the rest is not
    assert leaks.words_of("Ωμέγα μm") == ["ωμεγα", "μm"]
    assert (
        len(set(leaks.words_of("\u043a\u04c0\u0430\u043d\u0442 \u043a\u04cf\u0430\u043d\u0442")))
        == 1
    )


def test_signs_that_make_another_word_are_compared():
    for one, other in (("काल क्या है", "कला क्या है"), ("かく", "がく"), ("ปี", "ปู"), ("கல்", "கால்")):
        assert leaks.question_key(one) != leaks.question_key(other)


def test_words_are_characters_or_syllables_where_scripts_set_no_blanks():
    assert leaks.words_of("钢环A1的") == ["钢", "环", "a1", "的"]
    assert leaks.words_of("カップは 3") == ["カ", "ッ", "プ", "は", "3"]
    assert len(leaks.words_of("ที่นี่มีน้ำมันมากมาย")) > 4
    assert leaks.words_of("हिन्दी में, snake_case") == ["हिन्दी", "में", "snake_case"]


CHINESE = "锻造后的钢环在试验机上以九百度加热两个小时然后放入油中慢慢冷却再检查表面有没有裂纹"


def test_a_chinese_item_leaks_by_twenty_six_characters_in_a_row():
    item = asked("请说：", CHINESE)
    assert find(item, {"text": f"前言。{CHINESE[3:29]}。后记"})
    assert find(item, {"text": f"前言。{CHINESE[3:28]}。后记"}) == []
    assert find(
        asked("锻造后的钢环为什么要放进油里"), {"text": "有人问锻造后的钢环为什么要放进油里？"}
    )


def test_a_chinese_question_leaks_in_any_number_of_rows():
    question = "锻造后的钢环为什么要放进油里"
    rows = [{"text": f"{question}？{number}"} for number in range(leaks.COMMON_ROWS + 5)]
    assert find(asked(question), *rows)


def test_many_rows_and_items_keep_their_order():
    rows = [
        {"text": f"row {number} says what number {number} in the list is called"}
        for number in range(3 * leaks.BATCH_ROWS)
    ]
    items = [
        (f"test:{number}", asked(f"what number {number} in the list is called"))
        for number in (1400, 3, 700)
    ]
    found = leaks.find_leaks(items, ((f"raw:{number}", row) for number, row in enumerate(rows)))
    assert [(leak.item, leak.row) for leak in found] == [
        ("test:1400", "raw:1400"),
        ("test:3", "raw:3"),
        ("test:700", "raw:700"),
    ]


def test_nothing_to_look_for():
    assert (
        leaks.find_leaks([], [("raw:1", {"text": LONG})]) == []
        and find({"prompt": "", "answer": ""}, {"text": LONG}) == []
    )
