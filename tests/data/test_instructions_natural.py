"""The forms of real models: answers that obey and others that do not, and the natural requests."""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.data import instructions
from labkit.data.instructions import FORMS, checks_of, language_of, obeys, obeys_loosely
from labkit.data.packs import item_problems

PLAIN = "Wash the car with soap and a sponge, then rinse it with water."
GERMAN = "Das ist ein kleiner Vogel, der auf dem Baum sitzt und singt."
FRENCH = "C'est un petit oiseau qui chante dans le jardin avec les enfants."
SPANISH = "Es un pájaro pequeño que canta en el árbol y no se mueve."
ITALIAN = "È un piccolo uccello che canta nel giardino con i bambini della scuola."
AT_LEAST, LESS = "at least", "less than"

# form -> (settings, answers that obey, answers that do not)
ANSWERS: list[tuple[str, dict, list[str], list[str]]] = [
    (
        "keywords:existence",
        {"keywords": ["soap", "sponge"]},
        [PLAIN, "SOAPY sponges", "**soap**\n\nsponge\n"],
        ["soap", "", "so ap sponge"],
    ),
    (
        "keywords:frequency",
        {"keyword": "soap", "frequency": 2, "relation": AT_LEAST},
        ["soap and Soap", "soapsoap"],
        [PLAIN, "none"],
    ),
    (
        "keywords:frequency",
        {"keyword": " soap", "frequency": 2, "relation": LESS},
        [PLAIN, "none"],
        ["soap, soap", "Soap. SOAP! soap?"],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["soap", "water"]},
        ["soapy waters", "Wash it."],
        [PLAIN, "WATER", "use *soap*", "soap-free"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "Z", "let_frequency": 2, "let_relation": AT_LEAST},
        ["pizza", "Zigzag\n"],
        [PLAIN, "z"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "a", "let_frequency": 2, "let_relation": LESS},
        ["sun", "An egg"],
        [PLAIN, "AA"],
    ),
    ("language:response_language", {"language": "de"}, [GERMAN], [PLAIN, FRENCH, SPANISH]),
    ("language:response_language", {"language": "fr"}, [FRENCH], [PLAIN, GERMAN, ITALIAN]),
    ("language:response_language", {"language": "es"}, [SPANISH], [PLAIN, FRENCH, ITALIAN]),
    ("language:response_language", {"language": "it"}, [ITALIAN], [PLAIN, SPANISH, GERMAN]),
    ("language:response_language", {"language": "en"}, [PLAIN], [GERMAN, FRENCH]),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": AT_LEAST},
        ["It rains. We stay in! Why not?", "One is here.\nTwo is here.\n\nThree is here."],
        [PLAIN, "It rains. We stay in", "* one\n* two\n* three"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": LESS},
        [PLAIN, "no stop at all", "It costs 3.50 at the shop.", "See www.example.com for more."],
        ["It rains. We stay in.", "Yes! We do."],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["one\n***\ntwo", "one *** two", "***\none\n\n***\n\ntwo\n***"],
        [PLAIN, "one\n***\n\n***\ntwo", "one\n\ntwo", "a***b***c", "***"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 5, "relation": AT_LEAST},
        [PLAIN, "it's all five words", "one-two three four, 5!"],
        ["four words are here", "—"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 5, "relation": LESS},
        ["Four words are here.", "寿司は美味しい", "- - -"],
        [PLAIN, "a b c d e"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "However"},
        ["One.\n\nHowever, two.", "One.\n\n'however' two\n\n", 'One\n\n"HOWEVER" two'],
        [PLAIN, "However\n\nOne", "One\n\nHowever\n\nThree", "One\nHowever", "One\n\n\n\nHowever"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["Dear [name], come at [time].", "[][]"],
        [PLAIN, "Dear [name]", "[a\nb] [c]"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\n\nP.S. Write soon", "Bye. p. s. soon", "P.S.: now"],
        [PLAIN, "PS soon", "P.S soon"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["Bye.\nP.P.S. soon", "Bye. p. p. s soon"],
        [PLAIN, "P.S. soon"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "- one\n- two\n", "Here:\n\n  * one\n  - two", "* **one**\n* two"],
        [PLAIN, "* one", "- one\n- two\n- three", "** one\n** two", "1. one\n2. two"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "\n**My answer is maybe.** \n", "I think: My answer is no."],
        [PLAIN, "My answer is yes", "my answer is no.", "Yes."],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and *two*", "**one** and **two**", "*one* and **two**"],
        [PLAIN, "*one", "** **", "*one\ntwo* *", "*one*"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\nOne.\nSection 2\nTwo.", "Section1 a Section2 b", "## Section 1\n## Section 2"],
        [PLAIN, "Section 1\nOne.", "SECTION 1\nSECTION 2", "Section one\nSection two"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', "```\n[]\n```", " 3 ", '"text"'],
        [PLAIN, "{'a': 1}", 'Here: {"a": 1}', "```json\n{\n```", "[" * 3000],
    ),
    (
        "detectable_format:title",
        {},
        ["<<A day>>\nIt rains.", "It is **<<A day>>** now"],
        [PLAIN, "<A day>", "<< >>", "<<>>", "<<A\nday>>"],
    ),
    (
        "combination:two_responses",
        {},
        ["One.\n******\nTwo.", "******One.******Two.******"],
        [PLAIN, "One.\n***\nTwo.", "One.******One. ", "a******b******c", "a************b"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Describe a cat. "},
        ["Describe a cat. It sleeps.", "\ndescribe a CAT.\n\nIt sleeps."],
        [PLAIN, "It sleeps. Describe a cat.", '"Describe a cat." It sleeps.', "Describe  a cat."],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "That is all."},
        ["Go. That is all.", 'Go. "that is all."', "Go.\n\nTHAT IS ALL. \n"],
        [PLAIN, "That is all. Go.", "That is all", "Go. *That is all.*"],
    ),
    (
        "startend:quotation",
        {},
        ['"It rains."', '\n"It rains" \n', '""'],
        [PLAIN, '"', "“It rains.”", "'It rains.'", '"It rains'],
    ),
    (
        "multi-turn:constrained_start",
        {"starter": "As I see it"},
        ["As I see it, no.", " As I see itself"],
        [PLAIN, "as i see it no", "No, as I see it", "No.\nAs I see it, no."],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": AT_LEAST},
        ["I AM here", "NASA and the U.S. said so", "GO-NOW STOP", "I'M IN"],
        [PLAIN, "GO-NOW", "Go Now", "IPhone X", "12 34"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": LESS},
        [PLAIN, "I agree", "GO-NOW please"],
        ["I AM here", "STOP it NOW"],
    ),
    (
        "change_case:english_capital",
        {},
        [
            "THIS IS A SMALL BIRD THAT SITS IN THE TREE AND SINGS ALL DAY.",
            "HE SAID THAT THEY WOULD HAVE TO WAIT FOR THE NEXT TRAIN TO THE TOWN!",
        ],
        [PLAIN, GERMAN.upper(), "ЭТО МАЛЕНЬКАЯ ПТИЦА В САДУ", "This IS NOT it"],
    ),
    (
        "change_case:english_lowercase",
        {},
        [PLAIN.lower(), "this is a small bird that sits in the tree\nand sings all day"],
        [PLAIN, FRENCH.lower(), "это маленькая птица в саду"],
    ),
    (
        "punctuation:no_comma",
        {},
        ["It rains and rains.", "1 000; 2.000", "这是，猫"],
        [PLAIN, "1,000", ","],
    ),
    (
        "labkit:numbered_list",
        {"num_items": 2},
        ["1. one\n2. two", "Here:\n\n 1) one\n 2) two\n"],
        [PLAIN, "1. one", "1. one\n2. two\n3. three", "1. one\n3. two", "1.one\n2.two"],
    ),
    (
        "labkit:json_keys",
        {"keys": ["title", "text"]},
        ['{"text": 1, "title": 2}', '```json\n{"title": "a", "text": "b"}\n```'],
        [PLAIN, '{"title": 1}', '{"title": 1, "text": 2, "more": 3}', '["title", "text"]'],
    ),
    ("labkit:question_end", {}, ["Why not?", "It rains. Will you stay? \n"], [PLAIN, "Why? No."]),
]
CASES = [
    (check, settings, answer, verdict)
    for check, settings, good, bad in ANSWERS
    for verdict, answers in ((True, good), (False, bad))
    for answer in answers
]


@pytest.mark.parametrize("check,settings,answer,verdict", CASES)
def test_a_form_tells_answers_that_obey_from_others(check, settings, answer, verdict):
    assert obeys(check, answer, settings) is verdict
    assert not obeys(check, " \n", settings)


def test_words_with_signs_are_looked_for_as_they_are_written():
    assert obeys("keywords:existence", "Learn C++ first.", {"keywords": ["C++"]})
    assert not obeys("keywords:existence", "Learn C first.", {"keywords": ["C++"]})
    assert not obeys("keywords:forbidden_words", "Learn C++.", {"forbidden_words": ["C++"]})


def test_every_form_is_tried_and_there_are_enough():
    assert {check for check, *_ in ANSWERS} == set(FORMS) and len(FORMS) >= 25


@pytest.mark.parametrize(
    "check,answer",
    [
        ("startend:quotation", 'Sure!\n"It rains."'),
        ("detectable_format:json_format", '{"a": 1}\nI hope this helps.'),
        ("detectable_format:json_format", '**{"a": 1}**'),
        ("labkit:question_end", "Sure.\nWhy not?\nThanks."),
    ],
)
def test_loosely_what_surrounds_an_answer_is_forgiven(check, answer):
    assert obeys_loosely(check, answer) and not obeys(check, answer)


def test_a_text_with_few_little_words_or_of_another_script_has_no_known_language():
    assert language_of("Silk") is None and language_of("12 34") is None
    assert language_of("Это маленькая птица") is None
    assert language_of("O menino está na escola e não quer ir para casa") == "pt"
    assert language_of("Het is een kleine vogel die niet op de boom zit") == "nl"


@pytest.mark.parametrize(
    "change,words",
    [
        ({"kwargs": [{"num_words": 40}]}, 'needs "relation"'),
        ({"kwargs": [{"num_words": "40", "relation": "at least"}]}, "a whole number"),
        ({"kwargs": [{"num_words": 4, "relation": "at most"}]}, '"at least" or "less than"'),
        ({"kwargs": [{"num_word": 4, "relation": "at least"}]}, "did you mean 'num_words'"),
        ({"kwargs": [{}, {}]}, "an object for each"),
        ({"kwargs": ["x"]}, "must hold an object"),
        ({"checks": "json"}, '"checks" must be a list'),
        ({"checks": ["length_constraints:number_word"]}, "did you mean"),
        ({"checks": [["json"]]}, "names ['json']"),
        ({"models": "all"}, '"models" is'),
    ],
)
def test_what_is_wrong_with_checks_is_one_sentence(change, words):
    item = {
        "axis": "instructions",
        "entity": "x",
        "messages": [{"role": "user", "content": "x"}],
        "checks": ["length_constraints:number_words"],
        "kwargs": [{"num_words": 40, "relation": "at least", "num_bullets": None}],
        "models": "real",
    }
    assert not list(item_problems(item))
    assert any(words in problem for problem in item_problems(item | change))


def test_a_form_without_its_settings_is_refused():
    with pytest.raises(InputError, match='needs "keywords"'):
        obeys("keywords:existence", "soap")


def _made(split: str) -> list[dict]:
    terms = [
        f"{head}{tail}" for head in ("bio", "cyto", "neuro") for tail in ("gel", "lith", "zym")
    ]
    mine = terms[:4] if split == "dev" else terms[4:]
    return [
        *instructions.natural_general(split),
        *instructions.natural_domain(mine, split, 0),
    ]


def test_natural_items_are_sound_and_ask_for_every_form():
    for split, fewest in (("dev", 50), ("test", 100)):
        items = _made(split)
        assert items == _made(split)
        for item in items:
            assert not list(item_problems(item)), item
            (asked,) = [turn["content"] for turn in item["messages"]]
            assert "{" not in asked and "[]" not in asked
        for kind in ("natural_general", "natural_domain"):
            mine = [item for item in items if item["kind"] == kind]
            assert len(mine) >= fewest
            assert {check for item in mine for check in item["checks"]} == set(FORMS)
            assert len({item["messages"][0]["content"] for item in mine}) == len(mine)


def test_dev_and_test_share_no_topic():
    dev, test = ({item["entity"] for item in _made(split)} for split in ("dev", "test"))
    assert not dev & test


def test_a_request_says_its_settings():
    for item in _made("test"):
        ((check, settings),) = checks_of(item)
        asked = item["messages"][0]["content"]
        for name, value in settings.items():
            if name != "language" and not name.endswith("relation"):
                values = value if isinstance(value, list) else [value]
                assert all(str(each) in asked for each in values), (check, asked)


def test_every_form_is_asked_for_in_several_wordings():
    wordings: dict[str, set[str]] = {}
    for request in instructions._requests()["requests"]:
        wordings.setdefault(request["check"], set()).update(request["wordings"])
    assert set(wordings) == set(FORMS) and min(map(len, wordings.values())) >= 3


def test_too_few_terms_give_no_items():
    assert instructions.natural_domain(["cohort", "plasma"], "test", 0) == []
