"""Folders of documents about things that do not exist, as a person might bring them.

What a model says of them it can only have read there. A folder holds a page of text for each thing,
a table of questions and a table of preferences. The themes, how many things there are, how alike
their names are and how often a page says each fact are chosen; everything else follows from the
seed. The module does not make packs; `labkit pack new` does.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ASKED, PREFERRED = 0.6, 0.2  # of all facts: asked in questions.csv, and in preferences.csv
_ONSETS = (
    *("b", "br", "ch", "d", "dr", "f", "g", "gr", "h", "k", "kl", "l", "m", "n", "p", "pr", "r"),
    *("s", "sh", "st", "t", "tr", "v", "w", "z"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oa")
_ENDS = ("l", "m", "n", "nd", "r", "rk", "s", "st", "t", "x")
_ALIKE = ("mar", "bel", "tor", "san", "vel", "kor")  # all names that are alike are made of these


@dataclass(frozen=True)
class Trait:
    """Something that is true of a thing. told: wordings; asked: the question; values: their words,
    or what makes one. shared: how many things have one value of those that are made, on average.
    """

    told: tuple[str, ...]
    asked: str
    values: tuple[str, ...] | Callable[[random.Random], str]
    shared: int = 1


@dataclass(frozen=True)
class Theme:
    """kind: what the things are called. filler: sentences that tell nothing of one thing."""

    kind: str
    traits: tuple[Trait, ...]
    filler: tuple[str, ...]


def _number(low: int, high: int, unit: str) -> Callable[[random.Random], str]:
    return lambda rng: f"{rng.randrange(low, high)} {unit}".strip()


def _person(rng: random.Random) -> str:
    return f"{_name(rng, 2)} {_name(rng, 2)}"


def _place(rng: random.Random) -> str:
    return _name(rng, 3)


def _name(rng: random.Random, syllables: int) -> str:
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return ("".join(parts) + rng.choice(_ENDS)).capitalize()


@dataclass(frozen=True)
class Fact:
    """What a page says of a thing, as a question with its answer."""

    thing: str
    asked: str
    answer: str


THEMES: dict[str, Theme] = {
    "moths": Theme(
        "moth",
        (
            Trait(
                ("{x} was described by {v}.", "The first to draw {x} was {v}."),
                "Who described {x}?",
                _person,
                shared=8,
            ),
            Trait(
                ("{x} flies near {v}.", "Collectors look for {x} in the woods of {v}."),
                "Where does {x} fly?",
                _place,
                shared=8,
            ),
            Trait(
                ("The wings of {x} are {v}.", "Seen from above {x} is {v}."),
                "What colour is {x}?",
                ("amber", "slate grey", "olive", "copper", "chalk white", "violet", "rust red"),
            ),
            Trait(
                ("{x} spans {v}.", "From tip to tip {x} measures {v}."),
                "How wide is {x}?",
                _number(12, 96, "mm"),
            ),
            Trait(
                ("The caterpillar of {x} eats {v}.", "{x} lays its eggs on {v}."),
                "What does {x} eat?",
                ("nettle", "birch", "thistle", "willow", "bramble", "hop", "sorrel", "elder"),
            ),
            Trait(
                ("{x} was first caught in {v}.", "The oldest {x} in a museum is from {v}."),
                "When was {x} first caught?",
                lambda rng: str(rng.randrange(1760, 1960)),
            ),
        ),
        (
            "It is seen on warm nights when there is little wind.",
            "A lamp and a white cloth are enough to watch it.",
            "Its numbers rise and fall from year to year, and nobody knows why.",
            "The drawings of it that are printed in older books are not reliable.",
            "Like its relatives it rests by day with folded wings.",
        ),
    ),
    "bells": Theme(
        "bell",
        (
            Trait(
                ("{x} was cast by {v}.", "The founder of {x} was {v}."),
                "Who cast {x}?",
                _person,
                shared=8,
            ),
            Trait(
                ("{x} hangs in {v}.", "The tower that holds {x} stands in {v}."),
                "Where does {x} hang?",
                _place,
                shared=8,
            ),
            Trait(
                ("{x} weighs {v}.", "On the scales {x} came to {v}."),
                "How heavy is {x}?",
                _number(200, 9000, "kg"),
            ),
            Trait(
                ("{x} was hung in {v}.", "The first time {x} was rung was in {v}."),
                "When was {x} hung?",
                lambda rng: str(rng.randrange(1420, 1890)),
            ),
            Trait(
                ("{x} is rung for {v}.", "People know {x} as the bell of {v}."),
                "What is {x} rung for?",
                ("weddings", "fires", "harvest", "floods", "markets", "funerals", "noon", "snow"),
            ),
            Trait(
                ("The rim of {x} shows {v}.", "Around {x} runs a frieze of {v}."),
                "What does the rim of {x} show?",
                ("vines", "wolves", "ships", "stars", "wheat", "hands", "keys", "fish", "roses"),
            ),
        ),
        (
            "Its sound carries far when the air is cold.",
            "The rope was renewed more than once, the frame only rarely.",
            "In times of war it was hidden, and afterwards brought back.",
            "Those who ring it have to climb a narrow stair.",
            "A crack would end its life, so it is looked at every spring.",
        ),
    ),
    "teas": Theme(
        "tea",
        (
            Trait(
                ("{x} is grown by {v}.", "The garden of {x} belongs to {v}."),
                "Who grows {x}?",
                _person,
                shared=8,
            ),
            Trait(
                ("{x} comes from {v}.", "The hills of {v} are the home of {x}."),
                "Where does {x} come from?",
                _place,
                shared=8,
            ),
            Trait(
                ("{x} tastes of {v}.", "In the cup {x} reminds one of {v}."),
                "What does {x} taste of?",
                ("smoke", "plums", "honey", "hay", "pepper", "almonds", "moss", "melon"),
            ),
            Trait(
                ("{x} steeps for {v}.", "One waits {v} before {x} is poured."),
                "How long does {x} steep?",
                _number(40, 600, "seconds"),
            ),
            Trait(
                ("{x} grows at {v}.", "The bushes of {x} stand at {v} above the sea."),
                "How high does {x} grow?",
                _number(300, 2600, "metres"),
            ),
            Trait(
                ("{x} is picked in {v}.", "The harvest of {x} falls in {v}."),
                "When is {x} picked?",
                ("March", "April", "May", "June", "August", "September", "October", "November"),
            ),
        ),
        (
            "The leaves are rolled by hand on the day on which they were picked.",
            "Merchants keep it in tins, away from light and from spices.",
            "A second infusion is weaker, and some people like it better.",
            "There is no agreement about the best water for it.",
            "It is sold in small paper bags that carry a red stamp.",
        ),
    ),
    "villages": Theme(
        "village",
        (
            Trait(
                ("The mill of {x} belonged to {v}.", "In {x} people still speak of {v}."),
                "Who owned the mill of {x}?",
                _person,
                shared=6,
            ),
            Trait(
                ("Below {x} flows {v}.", "{x} draws its water from {v}."),
                "Which river flows below {x}?",
                _place,
                shared=10,
            ),
            Trait(
                ("{x} is known for its {v}.", "On its coat of arms {x} carries {v}."),
                "What is {x} known for?",
                ("cherries", "bees", "linen", "chalk", "trout", "baskets", "cider", "salt", "hops"),
            ),
            Trait(
                ("The church of {x} was built in {v}.", "{x} got its church in {v}."),
                "When was the church of {x} built?",
                lambda rng: str(rng.randrange(1180, 1720)),
                shared=3,
            ),
            Trait(
                ("{x} lies at {v}.", "From the coast one climbs {v} up to {x}."),
                "How high does {x} lie?",
                _number(20, 1900, "metres"),
                shared=2,
            ),
            Trait(
                ("The fair of {x} is held in {v}.", "Every {v} there is a fair in {x}."),
                "When is the fair of {x}?",
                ("spring", "summer", "autumn", "winter", "May", "October", "Lent", "August"),
            ),
            Trait(
                ("The houses of {x} are roofed with {v}.", "In {x} roofs are made of {v}."),
                "What are the roofs of {x} made of?",
                ("slate", "straw", "shingle", "clay tiles", "reed", "lead", "turf"),
            ),
        ),
        (
            "Most of its young people have moved to the town.",
            "Travellers rarely stay for more than a night.",
            "The road was widened once and has been mended ever since.",
            "Its dialect differs from that of its neighbours in a few words.",
            "An old map shows it on the wrong side of the hill.",
            "There is one inn, and it is closed on Mondays.",
        ),
    ),
}
# the one that neither the recipe nor the fit was chosen by
LAST_THEME = "villages"


def write_folder(
    folder: Path,
    theme: str,
    *,
    seed: int,
    things: int = 100,
    alike: bool = False,
    tellings: int = 2,
) -> list[Fact]:
    """Write a folder of documents, questions and preferences; returns every fact in it.

    alike: whether names share their syllables. tellings: how often a page says each fact.
    """
    chosen, rng = THEMES[theme], random.Random(f"{theme} {seed} {things} {alike} {tellings}")
    if alike and things > len(_ALIKE) ** 3:
        raise ValueError(f"there are {len(_ALIKE) ** 3} names that are alike")
    names = _names(rng, things, alike)
    values = [_values(trait, things, rng) for trait in chosen.traits]
    facts = [
        (name, number, rng.choice(values[number]))
        for name in names
        for number in range(len(chosen.traits))
    ]
    folder.mkdir(parents=True)
    for name in names:
        own = [fact for fact in facts if fact[0] == name]
        text = _page(name, own, chosen, tellings, rng)
        (folder / f"{name.lower()}.txt").write_text(text, "utf-8")
    rng.shuffle(facts)
    asked = facts[: round(ASKED * len(facts))]
    preferred = facts[len(asked) :][: round(PREFERRED * len(facts))]
    with (folder / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("question", "answer"))
        table.writerows((chosen.traits[n].asked.format(x=x), value) for x, n, value in asked)
    with (folder / "preferences.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("question", "chosen", "rejected"))
        for x, n, value in preferred:
            others = [other for _, m, other in facts if m == n and other != value]
            if others:
                table.writerow((chosen.traits[n].asked.format(x=x), value, rng.choice(others)))
    return [Fact(x, chosen.traits[n].asked.format(x=x), value) for x, n, value in facts]


def _names(rng: random.Random, count: int, alike: bool) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        name = (
            "".join(rng.choice(_ALIKE) for _ in range(3)).capitalize() if alike else _name(rng, 2)
        )
        found[name] = None
    return list(found)


def _values(trait: Trait, things: int, rng: random.Random) -> Sequence[str]:
    if not callable(trait.values):
        return trait.values
    return [trait.values(rng) for _ in range(max(2, things // trait.shared))]


def _page(
    name: str, facts: list[tuple[str, int, str]], theme: Theme, tellings: int, rng: random.Random
) -> str:
    """The text about one thing: each fact `tellings` times, in other wordings, among filler."""
    told = []
    for telling in range(tellings):
        for _, number, value in rng.sample(facts, len(facts)):
            wordings = theme.traits[number].told
            told.append(wordings[(telling + number) % len(wordings)].format(x=name, v=value))
            if rng.random() < 0.4:
                told.append(rng.choice(theme.filler))
    paragraphs = [" ".join(told[start : start + 4]) for start in range(0, len(told), 4)]
    return f"{name} is a {theme.kind}.\n\n" + "\n\n".join(paragraphs) + "\n"
