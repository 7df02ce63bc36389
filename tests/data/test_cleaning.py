from __future__ import annotations

import pytest

from labkit.data import cleaning
from labkit.data.cleaning import (
    LineEnds,
    SharedLines,
    chunk_problem,
    chunks_of,
    sentences_of,
    size_of,
    without_boilerplate,
)


def reasons(removed: list[tuple[str, str]]) -> dict[str, str]:
    return {line: reason for reason, line in removed}


def body(number: int, lines: int = 8) -> str:
    return "\n".join(
        f"Document {number} says in its line {line} something of its own." for line in range(lines)
    )


# --- boilerplate ------------------------------------------------------------------------------


def test_lines_that_many_documents_share_go():
    texts = [f"ACME handbook\n{body(number)}\nFor internal use" for number in range(6)]
    lines = SharedLines()
    for text in texts:
        lines.add("docs", text)
    kept, removed = without_boilerplate(texts[3], lines.shared()["docs"])
    assert kept == body(3)
    assert reasons(removed) == dict.fromkeys(
        ["ACME handbook", "For internal use"], "a line that many documents share"
    )


def test_a_few_documents_with_one_line_prove_nothing():
    lines = SharedLines()
    for number in range(cleaning.SHARED_BY - 1):
        lines.add("docs", f"ACME handbook\n{body(number)}")
    assert lines.shared()["docs"] == frozenset()


def test_a_sentence_goes_as_a_whole_or_stays():
    first, second = "Redistribution in source and binary forms, with or without", "modification"
    licence = "This text is free; it may be copied\nby all."
    lines = SharedLines()
    texts = [
        f"{first}\n{second}, is permitted to {name}.\n{licence}\nAbout this site\nword {name}"
        for name in "abcdef"
    ]
    for text in texts:
        lines.add("docs", text)
    kept, removed = without_boilerplate(texts[0], lines.shared()["docs"])
    # the next line of the first sentence is each document's own; the second sentence is shared
    assert kept == f"{first}\n{second}, is permitted to a.\nword a"
    assert [line for _, line in removed] == [*licence.split("\n"), "About this site"]


@pytest.mark.parametrize(
    "line,after,goes_on",
    [
        ("Redistribution and use in source", "and binary forms", True),
        ("THE SOFTWARE IS PROVIDED AS IS,", "WITHOUT WARRANTY", True),
        ("WITHOUT WARRANTY OF ANY KIND", "IMPLIED OR NOT", True),
        ("In this town, on this day,", "Anna came", True),
        ("Anna came home at six.", "Bert did not", False),
        ("about us", "contact", False),  # a menu
        ("Anna came home at six,", " ", False),
    ],
)
def test_a_wrapped_line_goes_on(line, after, goes_on):
    assert cleaning._goes_on(line, after) == goes_on


def test_a_line_in_a_small_share_of_many_documents_stays():
    lines = SharedLines()
    for number in range(200):
        lines.add("docs", body(number) + ("\nAdd one teaspoon of salt." if number < 10 else ""))
    assert lines.shared()["docs"] == frozenset()


def test_rows_of_data_are_duplicates_not_boilerplate():
    lines = SharedLines()
    for _ in range(20):
        lines.add("rows", "The same single line.")
    assert lines.shared() == {}


def test_versions_of_one_document_keep_their_text():
    lines = SharedLines()
    for number in range(6):
        lines.add("docs", body(0) + f"\nVersion {number}")
    kept, removed = without_boilerplate(body(0), lines.shared()["docs"])
    assert kept == body(0) and removed == []


@pytest.mark.parametrize(
    "line",
    [
        "We use cookies to improve your visit.",
        "Accept all cookies",
        "Skip to main content",
        "Back to top",
        "Home | News | Contact",
        "Privacy Policy",
        "Sign in",
        "Subscribe to our newsletter!",
        "© 2024 ACME. All rights reserved.",
        "Please enable JavaScript to go on.",
        "Share this on Facebook",
        "- 12 -",
        "Page 3 of 9",
    ],
)
def test_navigation_goes(line):
    kept, removed = without_boilerplate(f"{body(1)}\n  {line}\n{body(2)}")
    assert kept == f"{body(1)}\n{body(2)}" and removed == [("a line of navigation", line)]


@pytest.mark.parametrize(
    "line",
    [
        "The privacy policy of a firm must name a person.",
        "The bakery uses cookies as samples.",
        "Search costs are part of every contract.",
        "Home is where the heart is.",
        "Page 3 of the contract names the buyer.",
        "12",
        "All rights reserved in the contract pass to the buyer.",
    ],
)
def test_sentences_about_such_things_stay(line):
    assert without_boilerplate(f"{body(1)}\n{line}")[1] == []


def test_running_heads_and_page_numbers_of_a_paged_document():
    texts = [
        f"{word} begins this page.\n{body(1)}\nIt ends with {word}."
        for word in ("Steel", "Iron", "Zinc", "Tin", "Gold", "Lead")
    ]
    kept, removed = without_boilerplate(
        "\f".join(
            f"Journal of Rings, vol. 3, p. {n}\n{text}\n{n}" for n, text in enumerate(texts, 1)
        )
    )
    assert kept == "\n".join(texts)
    assert (
        sorted({reason for reason, _ in removed}) == ["a page number", "a running head"]
        and len(removed) == 12
    )


def test_numbers_inside_a_page_stay():
    page = f"{body(1)}\n42\n{body(2)}"
    assert without_boilerplate("\f".join([page] * 2))[1] == []


# --- line ends --------------------------------------------------------------------------------


def mended(text: str, *others: str) -> str:
    ends = LineEnds()
    for each in (text, *others):
        ends.add(each)
    for each in (text, *others):
        ends.count(each)
    return ends.mend(text)


@pytest.mark.parametrize(
    "text,elsewhere,expected",
    [
        ("a pub-\nlic place", "in public", "a public place"),
        ("a pub-\nlic place", "", "a public place"),
        ("a well-\nknown place", "It is well-known.", "a well-known place"),
        ("a Well\u2010\n known place", "well-known", "a Well\u2010known place"),
        ("a well-\nknown place", "wellknown wellknown well-known", "a wellknown place"),
        ("die Nord-\nSüd-Achse", "", "die Nord-Süd-Achse"),
        ("state-of-\nthe-art", "", "state-of-the-art"),
        ("Java-\nScript", "JavaScript", "JavaScript"),
        ("DNA-\nbased COVID-\n19", "", "DNA-based COVID-19"),
        ("die Vor-\nund Nachteile", "", "die Vor- und Nachteile"),
        ("inter-\nnation-\nalisation", "", "internationalisation"),
        ("in 1914–\n1918 —\nthen", "", "in 1914–1918 —\nthen"),
        ("gro-\nße Städ-\nte", "", "große Städte"),
        ("see below-\n1. First\n- two-\n- three", "", "see below-\n1. First\n- two-\n- three"),
    ],
)
def test_a_form_that_stands_whole_elsewhere_decides_at_a_line_end(text, elsewhere, expected):
    assert mended(text, elsewhere) == expected


# --- chunks -----------------------------------------------------------------------------------


def test_chunks_hold_every_word_in_order_and_are_small_enough():
    text = (
        "\n\n".join(body(number, lines=1 + number % 9) for number in range(40))
        + "\n\n"
        + "word " * 500
    )
    for most in (10, 33, 150):
        chunks = chunks_of(text, most)
        assert " ".join(chunks).split() == text.split()
        assert max(len(chunk.split()) for chunk in chunks) <= most


def test_paragraphs_before_sentences_before_words():
    assert chunks_of("One two three.\n\nFour five six.\n\nSeven eight.", 6) == [
        "One two three.\nFour five six.",
        "Seven eight.",
    ]
    assert chunks_of("One two three. Four five six. Seven eight.", 6) == [
        "One two three. Four five six.",
        "Seven eight.",
    ]
    assert chunks_of("one two three four five six seven", 3) == [
        "one two three",
        "four five six",
        "seven",
    ]


def test_wrapped_lines_are_joined_and_lists_stay_lists():
    assert chunks_of("A sentence over\ntwo lines.\n- first\n- second\n1. third\n# Head", 50) == [
        "A sentence over two lines.\n- first\n- second\n1. third\n# Head"
    ]


def test_scripts_without_spaces_are_cut():
    text = "これは日本語の文章です。" * 40
    chunks = chunks_of(text, 10)
    assert "".join("".join(chunks).split()) == text and max(map(size_of, chunks)) <= 11
    blob = "x" * 5000
    assert "".join(chunks_of(blob, 10)) == blob


def test_a_long_text_without_any_stop_is_cut_in_linear_time():
    assert len(chunks_of("word " * 200_000, 100)) == 2000


def test_sentences():
    assert sentences_of('He said "stop." Then he left! See e.g. the next one? 5 kN.') == [
        'He said "stop."',
        "Then he left!",
        "See e.g. the next one?",
        "5 kN.",
    ]


@pytest.mark.parametrize(
    "text,expected",
    [
        (
            "钢环很硬。它在油里冷却！真的吗？是。",
            ["钢环很硬。", "它在油里冷却！", "真的吗？", "是。"],
        ),
        ("他说：“好。”然后走了？！没有", ["他说：“好。”", "然后走了？！", "没有"]),
        ("強度は３．５だ．次に行く。", ["強度は３．５だ．", "次に行く。"]),
        ("यह लोहा है। वह तेल है॥ अंत", ["यह लोहा है।", "वह तेल है॥", "अंत"]),
        ("ما هذا؟ هذا حجر. نعم۔ لا", ["ما هذا؟", "هذا حجر.", "نعم۔", "لا"]),
        ("ይህ ነው። አዎ።", ["ይህ ነው።", "አዎ።"]),
        ("Τι είναι; Δεν ξέρω.", ["Τι είναι;", "Δεν ξέρω."]),
        ("Это сталь, т. е. металл. Да.", ["Это сталь, т. е. металл.", "Да."]),
        ("เหล็กร้อน น้ำมันเย็น", ["เหล็กร้อน", "น้ำมันเย็น"]),
    ],
)
def test_sentences_end_in_every_script(text, expected):
    assert sentences_of(text) == expected


def test_a_word_is_two_characters_of_chinese_and_four_letters_of_thai():
    assert size_of("钢环在油里冷却。") == 4 and size_of("钢环 A1 很硬") == 3
    assert size_of("เหล็กร้อน") == 3 and size_of("ring of steel") == 3
    assert size_of("x" * 48) == 4


def test_a_long_word_of_two_scripts_gets_no_blanks():
    word = "abcdefghij" * 30 + "钢" + "abcdefghij" * 30
    assert "".join(chunks_of(word, 20)) == word


def test_odd_texts_are_cut_in_linear_time():
    for text in ("word" * 300_000, "a-" * 100_000, "。" * 100_000, "。" + "」" * 100_000):
        assert sentences_of(mended(text))


def test_chinese_text_gets_no_blanks_where_lines_and_sentences_join():
    text = "钢环很\n硬。它在\n　　油里冷却！\nIt is\nhard."
    assert chunks_of(text, 50) == ["钢环很硬。它在油里冷却！ It is hard."]
    assert (
        "".join(chunks_of("钢环很硬。它在油里冷却！" * 20, 20)) == "钢环很硬。它在油里冷却！" * 20
    )


def test_chunks_that_say_nothing():
    assert chunk_problem("12.5 | 13.0 | 14") == "no words in it"
    assert chunk_problem("\u115f\u1160\u3164 \u200b") == "no words in it"
    assert chunk_problem("data " + "QUJD" * 60).startswith("encoded data")
    assert chunk_problem("Ordinary words.") is None and chunk_problem("これは日本語") is None
