"""Small packs as `labkit pack new` makes them of a person's own documents; every name is invented.

The documents tell of cheeses of a valley that does not exist. A pack is made of their text alone,
of text and questions, or of all that a folder can hold. Those of the text alone are so much alike
that hardly any item can be made of them; the others have words of their own.
"""

from __future__ import annotations

import csv
import json
import random
import re
from html import unescape
from pathlib import Path

from labkit.data.ingest import new_pack
from labkit.data.packs import Pack, load_pack

DOCUMENTS = 40
CONTENTS = ("raw", "questions", "all")  # what a folder holds
_HEADS = ("Tor", "Mel", "Bran", "Quis", "Ald", "Vor", "Sen", "Hul", "Pim", "Ost")
_TAILS = ("vale", "rick", "omber", "stead")
_MILKS = ("goat", "sheep", "cow", "buffalo", "mixed")
_RINDS = ("washed", "ash-covered", "natural", "waxed", "leaf-wrapped")
_MAKERS = ("the Lindmoor dairy", "the Hask brothers", "the upper mill", "the Orrel convent")
_TASTES = ("hazelnut", "wet hay", "sour apple", "smoke", "cellar moss", "salted butter")
_PLACES = ("a cave below the pass", "a cellar of red stone", "an attic with open windows")


def _cheeses() -> list[dict]:
    rng = random.Random("cheeses")
    return [
        {
            "name": head + tail,
            "milk": rng.choice(_MILKS),
            "rind": rng.choice(_RINDS),
            "maker": rng.choice(_MAKERS),
            "taste": rng.choice(_TASTES),
            "place": rng.choice(_PLACES),
            "days": rng.randrange(20, 400),
            "weight": rng.randrange(2, 90) / 10,
            "year": rng.randrange(1790, 1990),
        }
        for head in _HEADS
        for tail in _TAILS
    ][:DOCUMENTS]


def _document(cheese: dict, other: dict) -> str:
    c = cheese
    return (
        f"{c['name']} is a cheese of {c['milk']} milk. It was first made in {c['year']} by "
        f"{c['maker']}, which wrote down the recipe in a book of its own. A wheel weighs "
        f"{c['weight']} kg when it leaves the press and has a {c['rind']} rind.\n\n"
        f"The wheels ripen for {c['days']} days in {c['place']}. During this time {c['name']} is "
        f"turned by hand every morning and brushed with brine on Sundays. Tasters of the valley "
        f"describe its flavour as {c['taste']}, and some of them compare it with {other['name']}.\n"
        f"\n{c['name']} differs from {other['name']} in its milk, which comes from another "
        f"pasture, and in its age: {other['name']} is sold after {other['days']} days. In the year "
        f"{c['year'] + 25} the dairy sold {c['days'] * 3} wheels of {c['name']} at the fair.\n"
    )


_SYLLABLES = ("bor", "da", "fen", "gri", "hol", "ka", "lun", "mi", "nor", "pe", "sti", "tur", "va")


def _story(number: int) -> str:
    """Sentences in words that no other document has."""
    rng = random.Random(f"story {number}")

    def word() -> str:
        return "".join(rng.sample(_SYLLABLES, 4))

    return (
        f"\nThe {word()} pasture above {word().title()} belongs to Doctor {word().title()} "
        f"{word().title()}, who keeps {rng.randrange(12, 90)} animals of the {word()} breed there. "
        f"A {word()} press from the {word()} workshop weighs {rng.randrange(110, 990)} kg and was "
        f"bought in {rng.randrange(1801, 1979)} by the {word()} guild. "
        f"The {word()} mould, named by {word().title()} {word().title()}, needs a {word()} cellar "
        f"of {rng.randrange(4, 19)} degrees.\n"
    )


def _questions(cheeses: list[dict]) -> list[tuple[str, str]]:
    return [
        pair
        for c in cheeses
        for pair in (
            (f"Which milk is {c['name']} made of?", f"{c['milk']} milk"),
            (f"How long does {c['name']} ripen?", f"{c['days']} days"),
            (
                f"Who makes {c['name']}?",
                f"It is made by {c['maker']}, and it has been since {c['year']}.",
            ),
        )
    ]


def _preferences(cheeses: list[dict]) -> list[dict]:
    return [
        {
            "prompt": [{"role": "user", "content": f"Tell me what {c['name']} tastes of."}],
            "chosen": [{"role": "assistant", "content": f"Tasters say {c['taste']}."}],
            "rejected": [{"role": "assistant", "content": "It is simply perfect."}],
        }
        for c in cheeses
    ]


def write_folder(folder: Path, content: str) -> Path:
    """A folder of documents, with a table of questions and preferences where `content` says so."""
    folder.mkdir(parents=True)
    cheeses = _cheeses()
    for number, cheese in enumerate(cheeses):
        text = _document(cheese, cheeses[(number + 7) % len(cheeses)])
        text += "" if content == "raw" else _story(number)
        (folder / f"{cheese['name'].lower()}.txt").write_text(text, "utf-8")
    if content != "raw":
        with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("question", "answer"), *_questions(cheeses)])
    if content == "all":
        lines = "".join(json.dumps(row) + "\n" for row in _preferences(cheeses))
        (folder / "preferences.jsonl").write_text(lines, "utf-8")
    return folder


def own_pack(folder: Path, content: str) -> Pack:
    """The pack of such a folder; `all` has summaries, too, which a person adds by hand."""
    source = write_folder(folder / f"documents-{content}", content)
    title = f"Cheeses of the valley ({content})"
    name = f"cheeses-{content}"
    made = new_pack(name, source, folder / name, title=title, chunk_words=35)
    if content == "all":
        summaries = [
            {"text": f"{c['name']}: {c['milk']} milk, {c['days']} days, {c['taste']}."}
            for c in _cheeses()
        ]
        lines = "".join(json.dumps(row) + "\n" for row in summaries)
        (made.folder / "summaries.jsonl").write_text(lines, "utf-8")
    return load_pack(made.folder)


def words_of(output: dict) -> str:
    """What an output of a notebook says, printed or as a page."""
    page = "".join(output.get("data", {}).get("text/html", ""))
    return "".join(output.get("text", "")) + unescape(re.sub(r"<[^>]+>", "", page))
