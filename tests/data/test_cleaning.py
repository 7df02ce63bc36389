from __future__ import annotations

import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data import cleaning
from labkit.data.cleaning import (
    BIRTH,
    CARD,
    EMAIL,
    IBAN,
    IDENTITY,
    IP,
    KEY,
    MARK,
    PHONE,
    RECORD,
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


# --- personal and confidential text -----------------------------------------------------------


def kinds(text: str) -> list[str]:
    return [one.kind for one in cleaning.find_personal(text)]


FOUND = {
    "Write to jane.o-doe@mail.example.org today.": ("jane.o-doe@mail.example.org", EMAIL),
    "Ruf +49 (0)30 901820 an.": ("+49 (0)30 901820", PHONE),
    "Call +44 20 7946 0958.": ("+44 20 7946 0958", PHONE),
    "Call 0044 20 7946 0958.": ("0044 20 7946 0958", PHONE),
    "Tel.: 030 1234567, Berlin": ("030 1234567", PHONE),
    "Fax no. (0221) 987 65 43": ("(0221) 987 65 43", PHONE),
    "our office, 020 7946 0958, is open": ("020 7946 0958", PHONE),
    "bureau 01 23 45 67 89": ("01 23 45 67 89", PHONE),
    "(617) 555-0123 at any hour": ("(617) 555-0123", PHONE),
    "to GB82 WEST 1234 5698 7654 32 AND no other": ("GB82 WEST 1234 5698 7654 32", IBAN),
    "card 4111 1111 1111 1111 expires": ("4111 1111 1111 1111", CARD),
    "card 378282246310005": ("378282246310005", CARD),
    "SSN 536-90-4399": ("536-90-4399", IDENTITY),
    "codice RCCMNL83S18D969H": ("RCCMNL83S18D969H", IDENTITY),
    "DNI 54362315K": ("54362315K", IDENTITY),
    "AHV 756.9217.0769.85": ("756.9217.0769.85", IDENTITY),
    "BSN: 111222333": ("111222333", IDENTITY),
    "Steuer-ID 36 574 261 809": ("36 574 261 809", IDENTITY),
    "passport no. X1234567 was": ("X1234567", IDENTITY),
    "MRN: 0048213": ("0048213", RECORD),
    "Patient ID AB-123456": ("AB-123456", RECORD),
    "Date of birth\n3 May 1970": ("3 May 1970", BIRTH),
    "DOB: 05/12/1961": ("05/12/1961", BIRTH),
    "geboren am 12. März 1955 in Bonn": ("12. März 1955", BIRTH),
    "from 93.184.216.34 on": ("93.184.216.34", IP),
    "host 2606:2800:220:1:248:1893:25c8:1946": ("2606:2800:220:1:248:1893:25c8:1946", IP),
    "password is hunter2x!": ("hunter2x!", KEY),
    "api_key = 'a8f5f167f44f4964'": ("a8f5f167f44f4964", KEY),
    "key AK" + "IAIOSFODNN7EXAMPLE": ("AK" + "IAIOSFODNN7EXAMPLE", KEY),
    "the access code of store 7 is 482109347.": ("482109347", KEY),
    "notes\nSTRICTLY CONFIDENTIAL – board only": ("STRICTLY CONFIDENTIAL", MARK),
    "Draft – not for distribution\nText": ("not for distribution", MARK),
    "Vertraulich\n\nText": ("Vertraulich", MARK),
}


@pytest.mark.parametrize("text", FOUND)
def test_a_form_of_personal_text_is_found_and_nothing_beside_it(text):
    value, kind = FOUND[text]
    found = cleaning.find_personal(text)
    assert [(text[one.start : one.end], one.kind) for one in found] == [(value, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "GB82 WEST 1234 5698 7654 33 fails its checksum, 4111 1111 1111 1112 too.",
        "Section 1.2.3.4 and version 2.10.0.1, netmask ffff:ffff:ffff::, at 10:15:30.",
        "infants born between 1 May 1990 and 3 May 1991; p = 0.00012; 2005-2006; 1992 and 1996",
        "666-12-3456 is no number of the office, nor is 11-12-2020 a phone.",
        "All answers were kept strictly confidential. Confidential Information means any data.",
        "The parties shall not distribute it; the Products are not for distribution in Japan.",
        "50 51 52 53 54 55 56 57 58 59; 0.1234 12345 123456; Boston, MA 02110-1301",
        "a token, the key finding, the secret of silk; write to me @ noon; pin 12",
        "doi 10.1007/BF02295996, arXiv 1802.08232, ISBN 978-3-16-148410-0",
        "git clone git@example.org:people/repository, or follow @ada@social.example.org",
        "x" * 5000 + "@" + "1" * 5000,
        "",
    ],
)
def test_what_only_looks_alike_is_no_alarm(text):
    assert kinds(text) == []


def test_a_private_key_is_one_find_and_may_be_cut_off():
    block = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
    assert kinds(f"before\n{block}\nafter") == [KEY]
    assert kinds(block[:60]) == [KEY]


def a_key(signs: int, kind: str = "RSA PRIVATE KEY", end: bool = True) -> str:
    """A private key of so many characters, none of them a trace of another form."""
    rng = random.Random(signs)
    body = "".join(rng.choices(string.ascii_letters + "+/", k=signs))
    lines = [body[at : at + 64] for at in range(0, signs, 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----" if end else ""])


@pytest.mark.parametrize(
    "key",
    [
        a_key(600),
        a_key(1600),
        a_key(3300),
        a_key(1600, "PGP PRIVATE KEY BLOCK"),
        a_key(1600, "OPENSSH PRIVATE KEY"),
        a_key(1600).replace("\n", "\\n"),
        a_key(1600).replace("\n", " "),
    ],
)
def test_a_long_private_key_is_masked_whole(key):
    text = f"The key follows.\n{key}\nIt ends here. Then:\n{key}\nThe rest stays."
    masked = cleaning.mask_personal(text, cleaning.find_personal(text))
    assert masked == "The key follows.\n[KEY]\nIt ends here. Then:\n[KEY]\nThe rest stays."


def test_a_key_without_an_end_goes_on_to_the_next_and_one_without_a_beginning_is_masked_too():
    cut, whole = a_key(1600, end=False), a_key(3300)
    text = f"One.\n{cut}\n{whole}\nTwo.\n{cut}"
    masked = cleaning.mask_personal(text, cleaning.find_personal(text))
    assert masked == "One.\n[KEY][KEY]\nTwo.\n[KEY]"
    tail = "\n".join(whole.split("\n")[20:])  # a long file is read in parts
    text = f"{tail}\nTwo.\n{whole}\nThree."
    masked = cleaning.mask_personal(text, cleaning.find_personal(text))
    assert masked == "[KEY]\nTwo.\n[KEY]\nThree."


@pytest.mark.parametrize(
    "text,value",
    [
        (f"password: {'a1' * 600} is it", "a1" * 600),
        (f"token eyJ{'a' * 500}.eyJ{'b-' * 2900}.{'c-' * 1300}d end", None),
        (f"sk-{'ab-' * 300}z end", None),
        (f"ghp_{'a1' * 400} end", None),
    ],
)
def test_a_long_value_is_masked_whole(text, value):
    value = value or max(text.split(), key=len)
    masked = cleaning.mask_personal(text, cleaning.find_personal(text))
    assert masked == text.replace(value, "[KEY]")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(FOUND)), min_size=1, max_size=12), st.data())
def test_what_is_found_around_traces_is_what_is_found_in_the_whole_text(texts, data):
    filler = "The committee met again and nothing was decided. " * 9
    parts = [text + "\n" + filler[: data.draw(st.integers(0, len(filler)))] for text in texts]
    text = "\n".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        around = cleaning.find_personal(text)
        patch.setattr(cleaning, "_places_to_look", lambda text: [(0, len(text))])
        assert cleaning.find_personal(text) == around


def test_a_line_of_many_marks_is_read_in_linear_time():
    text = "Strictly confidential and so on, " * 20_000
    start = time.process_time()
    assert kinds(text) == [] and time.process_time() - start < 10


def test_masks_take_the_place_of_values_and_leave_the_rest():
    text = "CONFIDENTIAL\nMail a.b@c.org or +44 20 7946 0958; b@c.org."
    found = cleaning.find_personal(text)
    assert cleaning.mask_personal(text, found) == "CONFIDENTIAL\nMail [EMAIL] or [PHONE]; [EMAIL]."
    assert kinds(cleaning.mask_personal(text, found)) == [MARK]


def test_what_is_shown_gives_no_value_away():
    assert cleaning.veiled(EMAIL, "jane@c.org") == "j•••@•.•••"
    assert cleaning.veiled(MARK, "not for\ndistribution") == "not for distribution"
    assert len(cleaning.veiled(KEY, "a1" * 400)) <= cleaning.LONGEST_SHOWN + 1


def test_a_value_is_found_wherever_it_stands_in_a_long_text():
    filler = "The committee met again and nothing was decided in the end. " * 40
    for number in range(0, 900, 97):
        text = filler[: 1000 + number] + " card 4111 1111 1111 1111. " + filler
        assert kinds(text) == [CARD]


@given(st.text(alphabet=st.sampled_from("a1@.+-() \nGB:0x5\u0130é4"), max_size=300))
def test_finds_never_overlap_and_lie_in_the_text(text):
    found = cleaning.find_personal(text)
    ends = [0, *(one.end for one in found)]
    assert all(one.start >= end for one, end in zip(found, ends, strict=False))
    assert all(one.start < one.end <= len(text) for one in found)
