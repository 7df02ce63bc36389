"""The forms of real models against the PyPI package if-verifiable 0.1.2, which holds IFEval's own
checks. It is an optional peer: pip install -e '.[peers]'.
"""

from __future__ import annotations

import logging
import re

import pytest
from test_instructions_natural import ANSWERS, CASES, FRENCH, GERMAN, ITALIAN, PLAIN, SPANISH

from labkit.data.instructions import FORMS, obeys, obeys_loosely

pytest.importorskip(
    "if_verifiable",
    reason="if-verifiable is not installed; pip install -c constraints.txt -e '.[peers]' brings it",
)

import langdetect
import nltk
from if_verifiable.common import evaluate_instructions
from if_verifiable.ifeval.instructions import ConstrainedStartChecker
from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

THEIRS = {**INSTRUCTION_DICT, "multi-turn:constrained_start": ConstrainedStartChecker}
BY_LANGUAGE = (
    "language:response_language",
    "change_case:english_capital",
    "change_case:english_lowercase",
)
LETTER = (
    "Dear [name],\n\nwe meet at [place] at 5 p.m. on [date].\n\nBest,\n[sender]\n\nP.S. Bring soap."
)
FENCED = '```json\n{"title": "A fine day", "text": "It rains, and rains."}\n```\n'
FOREIGN = '"It\'s naïve — déjà vu, “quoted” and 寿司は美味しい," she said.\n\n\n"Is that so?"'
LONGER = [
    "Sure! Here is what I would do:\n\n1. Wash it.\n2. Dry it.\n\nI hope this helps.",
    "# A fine day\n\nIt rained at first.  \nThen the sun came out.\n\n---\n\nWe went home.\n\n",
    "Dr. Smith is in. He waits for Mr. Jones, who is late... again!",
    FENCED,
    '{"title": "A fine day",\n "text": "It rains, and rains."}',
    LETTER,
    "Section 1\nSoap.\n\nSection 2\nWater.\n\n***\n\nSECTION 3\nA *sponge* and **more soap**.",
    "- **Soap:** for the car\n- **Water:** for the rest\n* **Sponge:** for both\n",
    FOREIGN,
    "   \n\tMy answer is yes.\t\n\n",
    "However it may be, ZIGZAG pizza is NOT on the menu.\n\nHowever, soap is.\n\n\nFinally!",
    "Describe a cat.\n******\nA cat sleeps.\n******\n",
    GERMAN,
    FRENCH,
    SPANISH,
    ITALIAN,
    "O menino está na escola e não quer ir para casa com a sua mãe.",
    "Het is een kleine vogel die niet op de boom zit maar in het gras.",
    "Это маленькая птица, которая сидит на дереве и поёт весь день.",
    "Man nehme zwei Eier und etwas Salz, dann ist das Essen für die Kinder fertig.",
    "Il faut laver la voiture avec du savon et une éponge, puis la rincer à l'eau.",
    "Hay que lavar el coche con jabón y una esponja, y luego se aclara con agua.",
    "Bisogna lavare la macchina con il sapone e una spugna, poi si sciacqua con l'acqua.",
    PLAIN.lower(),
    PLAIN.upper(),
]
# Where labkit decides otherwise, and why.
STOPS = "Punkt parts a sentence from the asterisks behind it, and P.S. from what it begins"
DEEP = "the parser gives up: no JSON here, an error there"
TAKEN = "langdetect takes an English text, or a part of it, for Dutch or French"
START = "their start is that of any line"
DISAGREED = {
    ("length_constraints:number_sentences", "Bye.\nP.P.S. soon"): STOPS,
    ("length_constraints:number_sentences", "Go. *That is all.*"): STOPS,
    ("length_constraints:number_sentences", "\n**My answer is maybe.** \n"): STOPS,
    ("length_constraints:number_sentences", "******One.******Two.******"): STOPS,
    ("length_constraints:number_sentences", "One.******One. "): STOPS,
    ("length_constraints:number_sentences", "Bye. p. p. s soon"): STOPS,
    ("length_constraints:number_sentences", "Bye. p. s. soon"): STOPS,
    ("length_constraints:number_sentences", "P.S. soon"): STOPS,
    ("length_constraints:number_sentences", "P.S.: now"): STOPS,
    ("length_constraints:number_sentences", FENCED): STOPS,
    ("detectable_format:json_format", "[" * 3000): DEEP,
    ("multi-turn:constrained_start", "No.\nAs I see it, no."): START,
    ("language:response_language", LETTER): TAKEN,
    ("language:response_language", FOREIGN): TAKEN,
}
FEW_WORDS = (
    7  # fewer do not say their language: langdetect takes pizza for Italian, soap for Somali
)


@pytest.fixture(scope="module", autouse=True)
def theirs_ready(tmp_path_factory):
    """Punkt's English model is a download of NLTK's. Where it is not on this machine, Punkt works
    with a few abbreviations and nothing learned.
    """
    langdetect.DetectorFactory.seed = 0
    logging.getLogger().setLevel(logging.CRITICAL)  # they log every text without a language
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        folder = tmp_path_factory.mktemp("nltk")
        model = folder / "tokenizers" / "punkt_tab" / "english"
        model.mkdir(parents=True)
        (model / "abbrev_types.txt").write_text("dr\nmr\np.m\nu.s\n", "utf-8")
        for name in ("sent_starters.txt", "collocations.tab", "ortho_context.tab"):
            (model / name).write_text("", "utf-8")
        nltk.data.path.append(str(folder))
        yield
        nltk.data.path.remove(str(folder))
        return
    yield


def verdicts_of_theirs(check: str, settings: dict, answer: str) -> tuple[bool, bool] | None:
    """(strict, loose); None where they fail."""
    try:
        (result,), _ = evaluate_instructions(answer, [check], [settings], "", THEIRS)
    except RecursionError:
        return None
    return result.strict_pass, result.loose_pass


def compared(check: str, settings: dict) -> list[str]:
    """The answers on which a form is compared: every one there is; where the language counts, those
    that are long enough to say theirs.
    """
    answers = list(dict.fromkeys([answer for _, _, answer, _ in CASES] + LONGER))
    if check in BY_LANGUAGE:
        return [answer for answer in LONGER if len(re.findall(r"\w+", answer)) >= FEW_WORDS]
    return [answer for answer in answers if answer.strip()]


@pytest.mark.parametrize("check,settings", [(c, s) for c, s, *_ in ANSWERS if c in THEIRS])
def test_verdicts_agree_strictly_and_loosely(check, settings):
    differ = [
        answer
        for answer in compared(check, settings)
        if (obeys(check, answer, settings), obeys_loosely(check, answer, settings))
        != verdicts_of_theirs(check, settings, answer)
        and (check, answer) not in DISAGREED
    ]
    assert differ == []


def test_enough_is_compared_and_only_labkits_own_forms_are_not():
    pairs = [(c, a) for c, s, *_ in ANSWERS if c in THEIRS for a in compared(c, s)]
    assert len(set(pairs)) >= 200 and {c for c, _ in pairs} == set(THEIRS)
    assert all(name.startswith("labkit:") for name in set(FORMS) - set(THEIRS))


@pytest.mark.parametrize("check,answer", DISAGREED)
def test_what_is_said_to_differ_differs(check, answer):
    """With one setting at least; for sentences that may hang on Punkt's model."""
    assert any(
        (obeys(check, answer, settings), obeys_loosely(check, answer, settings))
        != verdicts_of_theirs(check, settings, answer)
        for name, settings, *_ in ANSWERS
        if name == check
    )


def test_their_words_are_regular_expressions_and_ours_are_words():
    settings = {"keywords": ["C++"]}
    assert verdicts_of_theirs("keywords:existence", settings, "Learn C.") == (True, True)
    assert not obeys("keywords:existence", "Learn C.", settings)
