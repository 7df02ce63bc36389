"""Verifiable instructions: the words that ask, and the check that decides.

INSTRUCTIONS are the forms of labkit's tiny models, in the few words that these know. FORMS are
those of real models: IFEval's (arXiv 2311.07911), under its names and with its settings, and a few
of labkit's own; their wordings are data. A check looks at form only, never at truth; whether the
fact is right is scored apart, so that format and knowledge are not confounded.
"""

from __future__ import annotations

import itertools
import json
import operator
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.store import shipped_or_checkout
from labkit.data.cleaning import sentences_of

# --- the forms of tiny models -----------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    """request: appended to a question. comply: (sentence, value) -> obeying answer. obeyed: answer
    -> verdict.

    taught: whether the tiny instruct models were shown it; the others ask whether following
    instructions carries over.
    """

    request: str
    comply: Callable[[str, str], str]
    obeyed: Callable[[str], bool]
    taught: bool = True


def _is_json_answer(text: str) -> bool:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        return False
    return isinstance(parsed, dict) and set(parsed) == {"answer"}


def _is_said_twice(text: str) -> bool:
    words = text.replace(",", " ").split()
    half = len(words) // 2
    return half > 0 and len(words) % 2 == 0 and words[:half] == words[half:]


INSTRUCTIONS: dict[str, Instruction] = {
    "words_only": Instruction(
        "Give only the answer, at most two words.",
        lambda sentence, value: value,
        lambda text: 1 <= len(text.split()) <= 2 and text[-1].isalnum() and text[0].isalnum(),
    ),
    "json": Instruction(
        'Reply as JSON with the key "answer".',
        lambda sentence, value: json.dumps({"answer": value}),
        _is_json_answer,
    ),
    "start_sure": Instruction(
        "Start with the word Sure.",
        lambda sentence, value: f"Sure, {sentence}",
        lambda text: text.startswith("Sure"),
    ),
    "end_thanks": Instruction(
        "End with the word Thanks.",
        lambda sentence, value: f"{sentence} Thanks",
        lambda text: text.rstrip(".!").endswith("Thanks"),
    ),
    "twice": Instruction(
        "Say it twice.", lambda sentence, value: f"{value}, {value}", _is_said_twice
    ),
    "brackets": Instruction(
        "Put the answer in square brackets.",
        lambda sentence, value: f"[{sentence}]",
        lambda text: bool(re.fullmatch(r"\[[^\[\]]+\]", text)),
    ),
    "bullet": Instruction(
        "Write it as a bullet point.",
        lambda sentence, value: f"- {sentence}",
        lambda text: bool(re.fullmatch(r"- \S.*", text)),
    ),
    "block_quote": Instruction(
        "Write it as a quote.",
        lambda sentence, value: f"> {sentence}",
        lambda text: bool(re.fullmatch(r"> \S.*", text)),
    ),
    "heading": Instruction(
        "Write it as a heading.",
        lambda sentence, value: f"# {sentence}",
        lambda text: bool(re.fullmatch(r"# \S.*", text)),
    ),
    "numbered": Instruction(
        "Write it as item one of a list.",
        lambda sentence, value: f"1. {sentence}",
        lambda text: bool(re.fullmatch(r"1\. \S.*", text)),
    ),
    "start_perhaps": Instruction(
        "Start with the word Perhaps.",
        lambda sentence, value: f"Perhaps {sentence}",
        lambda text: text.startswith("Perhaps"),
    ),
    "capitals": Instruction(
        "Answer in capital letters.",
        lambda sentence, value: sentence.upper(),
        str.isupper,
        taught=False,
    ),
    "start_indeed": Instruction(
        "Start with the word Indeed.",
        lambda sentence, value: f"Indeed, {sentence}",
        lambda text: text.startswith("Indeed"),
        taught=False,
    ),
    "end_please": Instruction(
        "End with the word Please.",
        lambda sentence, value: f"{sentence} Please",
        lambda text: text.rstrip(".!").endswith("Please"),
        taught=False,
    ),
}
TAUGHT = tuple(name for name, instruction in INSTRUCTIONS.items() if instruction.taught)
UNTAUGHT = tuple(name for name in INSTRUCTIONS if name not in TAUGHT)
# Pairs of taught forms that one answer can have at once: the first wraps an answer that has the
# second.
COMBINATIONS = (
    *(
        (outer, "end_thanks")
        for outer in ("start_sure", "start_perhaps", "bullet", "block_quote", "heading", "numbered")
    ),
    ("words_only", "twice"),
)


# --- the forms of real models -----------------------------------------------------------------

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": operator.ge,
    "less than": operator.lt,
}
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
# The little words by which a text of a language is known; enough for languages that are asked for.
# None has one letter: such letters stand for many things.
LANGUAGES = {
    "en": ("English", "the and of to in is that it for was with as on are be this you have not or "
           "from at which but they we his her an by if so can your will my there their what when "
           "do all me up out who were had has been them he she more about into just no "
           "under over after before then some one two"),
    "de": ("German", "der die das und ist nicht ein eine zu den mit von auf für im sich es dem sie "
           "ich wir aber auch als an oder wie man wenn du sein ihr kann noch nur bei einen einer"),
    "fr": ("French", "le la les et est un une des du de que qui dans pour pas il elle je vous nous "
           "sur avec ce en au plus ne se sont ou mais votre être son sa cette avoir aux par"),
    "es": ("Spanish", "el la los las es un una de que en por para con no se del al lo su como más "
           "pero son muy está puede si tu te mi le este esta sus hay ser una"),
    "it": ("Italian", "il la le lo gli un una di che in per con non si del della da sono come più "
           "ma anche al alla nel se questo questa tuo ci essere può dei delle uno nella"),
    "pt": ("Portuguese", "os as um uma de que em para com não se do da no na por mais como mas são "
           "ou você seu sua ao dos das isso está pode ser quer"),
    "nl": ("Dutch", "de het een en is van in dat niet op te zijn met voor je ik die er maar om aan "
           "ook als bij naar dan nog wel of kan uit hij ze wat"),
}  # fmt: skip
_LITTLE_WORDS = {code: frozenset(words.split()) for code, (_, words) in LANGUAGES.items()}
# of a text's words, at least: one such word may be a name
LITTLE_WORDS, LITTLE_WORDS_SHARE = 2, 0.1


def language_of(text: str) -> str | None:
    """The language (a key of LANGUAGES) that most of a text's little words are of; None where there
    are too few of them, or as many of another.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    found = {code: sum(map(known.__contains__, words)) for code, known in _LITTLE_WORDS.items()}
    best, second = sorted(found, key=found.__getitem__, reverse=True)[:2]
    enough = found[best] >= max(LITTLE_WORDS, LITTLE_WORDS_SHARE * len(words))
    return best if enough and found[best] > found[second] else None


def _may_be_english(text: str) -> bool:
    """Whether no other language is seen in a text; a few words alone do not say theirs."""
    latin = all(sign.isascii() for sign in text if sign.isalpha())
    return latin if (found := language_of(text)) is None else found == "en"


# Stops that end no sentence: of abbreviations that stand before a capital.
_ABBREVIATED = re.compile(r"\b(Dr|Mr|Mrs|Ms|Prof|St|vs)\.")


def _sentences(text: str) -> int:
    """How many sentences a text has. A small letter after a full stop goes on with one, a small
    letter after another mark does not, as in Punkt, which IFEval asks.
    """
    whole = sentences_of(_ABBREVIATED.sub(r"\1", text))
    return sum(len(re.split(r"(?<=[!?])\s+", sentence)) for sentence in whole)


def _times(word: str, text: str) -> int:
    """How often a word stands in a text, also as a part of longer words, whatever the case."""
    return len(re.findall(re.escape(word.strip()), text, re.IGNORECASE))


def _is_free_of(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)
        for word in forbidden_words
    )


def _has_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Whether *** parts so many paragraphs, none of them empty; it may stand around them, too."""
    parts = [part.strip() for part in text.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


def _nth_begins_with(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Whether blank lines part so many paragraphs and one of them begins with a word."""
    paragraphs = text.split("\n\n")
    filled = sum(bool(part.strip()) for part in paragraphs)
    if filled != num_paragraphs or nth_paragraph > filled:
        return False
    words = paragraphs[nth_paragraph - 1].split()
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'))[0] if words else ""
    return first.lower() == first_word.lower()


def _has_postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    spaced = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(spaced.get(marker, re.escape(marker.lower())), text.lower()))


def _has_bullets(text: str, num_bullets: int) -> bool:
    starred = re.findall(r"^\s*\*[^*].*$", text, re.MULTILINE)
    return len(starred) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == num_bullets


def _has_highlights(text: str, num_highlights: int) -> bool:
    """Whether enough is set between asterisks, single or double, within one line."""
    found = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(part.strip("*").strip()) for part in found) >= num_highlights


def _has_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def _parsed(text: str) -> tuple[Any] | None:
    """What a text says as JSON, alone in a tuple, with or without a fence of Markdown around it;
    None where it is no JSON.
    """
    inner = re.sub(r"^```(?:json|Json|JSON)?|```$", "", text.strip()).strip()
    try:
        return (json.loads(inner),)
    except (ValueError, RecursionError):
        return None


def _has_keys(text: str, keys: Sequence[str]) -> bool:
    parsed = _parsed(text)
    return parsed is not None and isinstance(parsed[0], dict) and set(parsed[0]) == set(keys)


def _has_title(text: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _has_two_responses(text: str) -> bool:
    """Whether six asterisks part two different answers; they may stand around them, too."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _capital_words(text: str) -> int:
    """Words in capitals only; one with hyphens is one, and I'M is two, as NLTK parts words."""
    return sum(word.isupper() for word in re.findall(r"[^\W_]+(?:[-./&][^\W_]+)*", text))


def _is_numbered(text: str, num_items: int) -> bool:
    numbers = re.findall(r"^\s*(\d+)[.)]\s+\S", text, re.MULTILINE)
    return numbers == [str(number) for number in range(1, num_items + 1)]


def _is_quoted(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


@dataclass(frozen=True)
class Form:
    """A form that a real model is asked for. obeyed: (answer, settings by name) -> verdict.

    settings: the name of each with what it must be, a key of SETTINGS.
    """

    obeyed: Callable[..., bool]
    settings: dict[str, str] = field(default_factory=dict)


# What a setting must be: (its words in a message, the test).
SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "number": (
        "a whole number from 0",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    ),
    "text": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    "texts": (
        "a list of texts",
        lambda value: (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(each, str) and each.strip() for each in value)
        ),
    ),
    "letter": (
        "one letter from a to z",
        lambda value: isinstance(value, str) and bool(re.fullmatch("[a-zA-Z]", value)),
    ),
    "relation": (
        " or ".join(f'"{name}"' for name in RELATIONS),
        lambda value: isinstance(value, str) and value in RELATIONS,
    ),
    "language": (
        f"one of {', '.join(LANGUAGES)}",
        lambda value: isinstance(value, str) and value in LANGUAGES,
    ),
}
FORMS: dict[str, Form] = {
    "keywords:existence": Form(
        lambda text, keywords: all(_times(word, text) for word in keywords), {"keywords": "texts"}
    ),
    "keywords:frequency": Form(
        lambda text, keyword, frequency, relation: RELATIONS[relation](
            _times(keyword, text), frequency
        ),
        {"keyword": "text", "frequency": "number", "relation": "relation"},
    ),
    "keywords:forbidden_words": Form(_is_free_of, {"forbidden_words": "texts"}),
    "keywords:letter_frequency": Form(
        lambda text, letter, let_frequency, let_relation: RELATIONS[let_relation](
            text.lower().count(letter.lower()), let_frequency
        ),
        {"letter": "letter", "let_frequency": "number", "let_relation": "relation"},
    ),
    "language:response_language": Form(
        lambda text, language: language_of(text) == language, {"language": "language"}
    ),
    "length_constraints:number_sentences": Form(
        lambda text, num_sentences, relation: RELATIONS[relation](_sentences(text), num_sentences),
        {"num_sentences": "number", "relation": "relation"},
    ),
    "length_constraints:number_paragraphs": Form(_has_paragraphs, {"num_paragraphs": "number"}),
    "length_constraints:number_words": Form(
        lambda text, num_words, relation: RELATIONS[relation](
            len(re.findall(r"\w+", text)), num_words
        ),
        {"num_words": "number", "relation": "relation"},
    ),
    "length_constraints:nth_paragraph_first_word": Form(
        _nth_begins_with,
        {"num_paragraphs": "number", "nth_paragraph": "number", "first_word": "text"},
    ),
    "detectable_content:number_placeholders": Form(
        lambda text, num_placeholders: len(re.findall(r"\[.*?\]", text)) >= num_placeholders,
        {"num_placeholders": "number"},
    ),
    "detectable_content:postscript": Form(_has_postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Form(_has_bullets, {"num_bullets": "number"}),
    "detectable_format:constrained_response": Form(
        lambda text: any(option in text for option in OPTIONS)
    ),
    "detectable_format:number_highlighted_sections": Form(
        _has_highlights, {"num_highlights": "number"}
    ),
    "detectable_format:multiple_sections": Form(
        _has_sections, {"section_spliter": "text", "num_sections": "number"}
    ),
    "detectable_format:json_format": Form(lambda text: _parsed(text) is not None),
    "detectable_format:title": Form(_has_title),
    "combination:two_responses": Form(_has_two_responses),
    "combination:repeat_prompt": Form(
        lambda text, prompt_to_repeat: (
            text.strip().lower().startswith(prompt_to_repeat.strip().lower())
        ),
        {"prompt_to_repeat": "text"},
    ),
    "startend:end_checker": Form(
        lambda text, end_phrase: (
            text.strip().strip('"').lower().endswith(end_phrase.strip().lower())
        ),
        {"end_phrase": "text"},
    ),
    "startend:quotation": Form(_is_quoted),
    "multi-turn:constrained_start": Form(
        lambda text, starter: text.lstrip().startswith(starter.strip()), {"starter": "text"}
    ),
    "change_case:capital_word_frequency": Form(
        lambda text, capital_frequency, capital_relation: RELATIONS[capital_relation](
            _capital_words(text), capital_frequency
        ),
        {"capital_frequency": "number", "capital_relation": "relation"},
    ),
    "change_case:english_capital": Form(lambda text: text.isupper() and _may_be_english(text)),
    "change_case:english_lowercase": Form(lambda text: text.islower() and _may_be_english(text)),
    "punctuation:no_comma": Form(lambda text: "," not in text),
    "labkit:numbered_list": Form(_is_numbered, {"num_items": "number"}),
    "labkit:json_keys": Form(_has_keys, {"keys": "texts"}),
    "labkit:question_end": Form(lambda text: text.rstrip().endswith("?")),
}


# --- checking an answer -----------------------------------------------------------------------


def setting_problems(check: str, settings: object) -> Iterator[str]:
    """What is wrong with the settings of a form: missing, misspelt or ill-typed ones. A null is as
    if it were not there, as in IFEval's own rows.
    """
    if not isinstance(settings, dict):
        yield f'"kwargs" must hold an object for {check!r}, got {type(settings).__name__}'
        return
    wanted = FORMS[check].settings if check in FORMS else {}
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given:
        if name not in wanted:
            known = suggest(name, list(wanted)) if wanted else "it has none"
            yield f'"kwargs" names {name!r} for {check!r}; {known}'
    for name, what in wanted.items():
        words, fits = SETTINGS[what]
        if name not in given or not fits(given[name]):
            yield f'"kwargs" needs "{name}" for {check!r}: {words}'


def checks_of(item: dict) -> list[tuple[str, dict]]:
    """The checks of an item, each with its settings."""
    checks = item.get("checks", [])
    return list(zip(checks, item.get("kwargs") or [{}] * len(checks), strict=True))


def obeys(instruction: str, answer: str, settings: dict | None = None) -> bool:
    """Whether `answer` has the form that `instruction` (of INSTRUCTIONS or FORMS) asks for.

    Raises InputError for an unknown instruction, and for settings that it does not have.
    """
    text = answer.strip()
    if instruction in FORMS:
        for problem in setting_problems(instruction, settings or {}):
            raise InputError(problem)
        given = {name: value for name, value in (settings or {}).items() if value is not None}
        return bool(text) and FORMS[instruction].obeyed(text, **given)
    if instruction not in INSTRUCTIONS:
        known = [*INSTRUCTIONS, *FORMS]
        raise InputError(f"unknown instruction {instruction!r}: {suggest(instruction, known)}")
    return bool(text) and INSTRUCTIONS[instruction].obeyed(text)


def obeys_loosely(instruction: str, answer: str, settings: dict | None = None) -> bool:
    """As `obeys`, but forgiving what often surrounds an answer, as IFEval's loose accuracy does
    (arXiv 2311.07911).

    Tried without asterisks, without the first line, without the last, and without both.
    """
    lines = answer.strip().split("\n")
    return any(
        obeys(instruction, form, settings)
        for tried in map("\n".join, (lines, lines[1:], lines[:-1], lines[1:-1]))
        for form in (tried, tried.replace("*", ""))
    )


# --- natural requests -------------------------------------------------------------------------

TINY_MODELS, REAL_MODELS = "tiny", "real"  # whom an item is for: labkit's tiny families, or others
REQUESTS_FILE = "requests.yaml"
ASKED_PER_FORM = {"dev": 2, "test": 4}
DEV_EVERY = 3  # one topic in so many is dev


class _Listed(list):
    """A list that is told with commas."""

    def __str__(self) -> str:
        return ", ".join(self)


def _requests() -> dict:
    """The data file of topics and wordings, which says itself what stands in it."""
    folder = shipped_or_checkout("data_samples") / "everyday"
    return yaml.safe_load((folder / REQUESTS_FILE).read_text("utf-8"))


def natural_general(split: str) -> list[dict]:
    """Everyday requests whose form is checked, for real models; the same every time. Dev and test
    share no topic.
    """
    data = _requests()
    topics = [
        {"entity": topic, "ask": row["ask"], **_words(row["words"])}
        for topic, row in data["topics"].items()
    ]
    questions = [
        {"entity": question, "ask": question, **_words(topic["words"])}
        for question, topic in zip(data["questions"], data["topics"].values(), strict=False)
    ]
    return _natural_items(
        "natural_general", _of_split(topics, split), _of_split(questions, split), split, 0
    )


def natural_domain(terms: Sequence[str], split: str, seed: int) -> list[dict]:
    """As `natural_general`, about terms of a domain; none with fewer than three terms."""
    if len(terms) < 3:
        return []
    data, rng = _requests()["domain"], random.Random(f"natural terms {seed} {terms[0]}")

    def asked(wordings: list[str]) -> list[dict]:
        rows = []
        for number, term in enumerate(terms):
            others = rng.sample([other for other in terms if other != term], 2)
            ask = wordings[number % len(wordings)].format(term=term)
            rows.append({"entity": term, "ask": ask, **_words([term, *others])})
        return rows

    topics, questions = asked(data["asks"]), asked(data["questions"])
    first = rng.randrange(6)  # so that not every pack asks in the same words
    return _natural_items("natural_domain", topics, questions, split, seed, first=first)


def _words(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(("word", "second", "third"), words, strict=True))


def _of_split(rows: list[dict], split: str) -> list[dict]:
    return [row for n, row in enumerate(rows) if (n % DEV_EVERY == 0) == (split == "dev")]


def _natural_items(
    kind: str,
    topics: list[dict],
    questions: list[dict],
    split: str,
    seed: int,
    *,
    first: int = 0,
) -> list[dict]:
    """So many items of each form, each about another topic; topics, wordings and settings take
    turns.

    first: the wording and the setting to begin with.
    """
    rng = random.Random(f"{kind} {split} {seed}")
    decks = {"topics": topics, "questions": questions}
    turns = min(ASKED_PER_FORM[split], *map(len, decks.values()))
    for rows in decks.values():
        rng.shuffle(rows)
    drawn = {name: itertools.cycle(rows) for name, rows in decks.items()}
    requests: dict[str, list[dict]] = defaultdict(list)
    for request in _requests()["requests"]:
        requests[request["check"]].append(request)
    items: dict[tuple[str, str], dict] = {}
    for turn in range(turns):
        for number, (check, ways) in enumerate(requests.items()):
            way, again = ways[turn % len(ways)], first + turn // len(ways)
            deck = drawn[way.get("about", "topics")]
            topic = next(row for row in deck if (check, row["entity"]) not in items)
            items[check, topic["entity"]] = _natural_item(kind, check, way, topic, again + number)
    return list(items.values())


def _natural_item(kind: str, check: str, way: dict, topic: dict, turn: int) -> dict:
    """One item: a way to ask for a form (its settings and wordings) about a topic."""
    choices = way.get("kwargs", [{}])
    settings = {name: _filled(value, topic) for name, value in choices[turn % len(choices)].items()}
    told: dict[str, Any] = {**topic, **settings}
    if "language" in settings:
        told["language_name"] = LANGUAGES[settings["language"]][0]
    wording = way["wordings"][turn % len(way["wordings"])]
    text = wording if "{ask}" in wording else f"{{ask}} {wording}"
    return {
        "axis": "instructions",
        "kind": kind,
        "entity": topic["entity"],
        "messages": [{"role": "user", "content": text.format(**told)}],
        "checks": [check],
        "kwargs": [settings],
        "models": REAL_MODELS,
    }


def _filled(value: Any, topic: dict) -> Any:
    """A setting with the topic's words in it."""
    if isinstance(value, list):
        return _Listed(_filled(each, topic) for each in value)
    return value.format(**topic) if isinstance(value, str) else value
