"""Teaches a tiny model to read: questions whose answer stands in the prompt and nowhere else.

The tiny instruct models were never shown a passage in a prompt, so they answer from memory whatever stands there. One
SFT stage changes that. Each of its chats is about an invented entity with facts drawn afresh, which no pack and no other
text tells: a model that remembers gains nothing, one that reads gets it right.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from labkit import world
from labkit.design import Stage
from labkit.errors import InputError
from labkit.packs import SPLITS, Pack, load_pack
from labkit.store import write_whole
from labkit.variants import variants_folder
from labkit.world import Entity, Language

READER = Stage(kind="sft", learning_rate=1.5e-3, steps=500, replay=0.25)
CHATS = round(READER.steps * READER.batch_size * (1 - READER.replay))  # each is seen once
RELATION_SHARE = 0.5  # of passages that also tell of the entity's relation
UNSEEN = 1000  # a draw of facts that the chats do not reach
NUMBER_SHARE = 0.35  # of chats that are sure to ask for the number: reading it takes longest to learn


def with_passages(messages: Sequence[dict], passages: Sequence[str]) -> list[dict]:
    """A chat with passages before it, as its system turn; without passages the chat as it is."""
    return [{"role": "system", "content": " ".join(passages)}, *messages] if passages else list(messages)


def strangers(lang: Language, *, first: int = 0) -> Iterator[Entity]:
    """Endless entities that neither a pack nor pre-training mentions; a name that comes again has other facts.

    first: the number of the first draw of facts.
    """
    room = math.prod(map(len, lang.name_parts)) - world.PUBLIC - world.PRIVATE
    for seed in itertools.count(first):
        yield from world.make_entities(lang, room, skip=world.PUBLIC + world.PRIVATE, seed=seed)


def reading_chat(lang: Language, stranger: Entity, rng: random.Random) -> list[dict]:
    """A passage of one to all facts of a stranger, a question for one of them, and the answer.

    Short passages are what makes it learnable: a tiny model first learns to look at the right word among a few.
    """
    number = next(key for key, attribute in lang.attributes.items() if attribute.ordinal)
    key = number if rng.random() < NUMBER_SHARE else rng.choice(list(lang.attributes))
    others = [other for other in lang.attributes if other != key]
    told = [key, *rng.sample(others, rng.randint(0, len(others)))]
    sentences = [
        world.statement(lang.attributes[fact], stranger.name, stranger.facts[fact], rng.randrange(len(lang.attributes[fact].statements))) for fact in told
    ]
    if rng.random() < RELATION_SHARE:
        sentences.append(rng.choice(lang.relation["statements"]).format(name=stranger.name, other=stranger.related))
    rng.shuffle(sentences)
    wording = rng.randrange(len(lang.attributes[key].questions))
    return with_passages(world.fact_question(lang, stranger, key, wording), [" ".join(sentences)])


def reading_items(domain: str, count: int) -> list[dict]:
    """Evaluation items that only reading answers: whole documents about strangers whose facts no reading chat has told."""
    lang, rng = world.language(domain), random.Random(f"reading items {domain}")
    items = []
    for number, stranger in enumerate(itertools.islice(strangers(lang, first=UNSEEN), count)):
        key = list(lang.attributes)[number % len(lang.attributes)]
        question = world.fact_question(lang, stranger, key, rng.randrange(len(lang.attributes[key].questions)))[:1]
        items.append({
            "id": f"reading-{number:03d}", "axis": "knowledge", "kind": key, "entity": stranger.name, "answer": stranger.facts[key],
            "messages": with_passages(question, [world.document(lang, stranger, rng)]),
        })
    return items


def reader_pack(domain: str) -> Pack:
    """Reading chats in the language of a domain, as a pack with nothing but `qa`; written once into the cache.

    Raises InputError for a domain that no world speaks, StoreError when the pack cannot be written.
    """
    if domain not in world.DOMAINS:
        raise InputError(f"pack {domain!r}: a tiny model can be taught to read only in the words of a shipped pack; use {', '.join(world.DOMAINS)}")
    lang, rng = world.language(domain), random.Random(f"reading {domain}")
    chats = (reading_chat(lang, stranger, rng) for stranger in itertools.islice(strangers(lang), CHATS))
    text = "".join(json.dumps({"messages": chat, "source": "expert"}, ensure_ascii=False) + "\n" for chat in chats)
    folder = variants_folder() / f"{domain}-reading"
    card = {"name": f"{domain}-reading", "title": f"{lang.title}: reading", "licence": "Apache-2.0"}

    def fill(draft: Path) -> None:
        (draft / SPLITS["qa"]).write_text(text, "utf-8", newline="\n")
        (draft / "pack.yaml").write_text(yaml.safe_dump(card, sort_keys=False), "utf-8")

    written = folder / SPLITS["qa"]
    if not written.is_file() or written.read_text("utf-8") != text:
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)
