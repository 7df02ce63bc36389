"""Packs that differ from a shipped one in one thing each: the arms of experiments on data, and the
clinic's broken data.

A variant is a pack like any other, written once into the cache.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from labkit.base.errors import InputError, suggest
from labkit.base.store import default_root, write_whole
from labkit.data import world
from labkit.data.packs import SPLITS, Pack, load_pack
from labkit.data.world import SEEN_WORDINGS, TextKnobs

HALF = 280  # documents: half of what a pack's raw split holds
QUESTION_ROUNDS, PAIRS_PER_TEXT = 10, 3


@dataclass(frozen=True)
class Part:
    """documents: how many; knobs: how they are written.

    Parts of one number draw the same facts in the same order.
    """

    documents: int
    knobs: TextKnobs = field(default_factory=TextKnobs)


def _raw(name: str, *parts: Part) -> Callable[[Pack], dict[str, list[dict]]]:
    """A raw split made of parts, in random order."""

    def make(pack: Pack) -> dict[str, list[dict]]:
        lang, entities, texts = world.language(pack.name), world.private_entities(pack.name), []
        for number, part in enumerate(parts):
            texts += world.corpus(
                lang,
                entities,
                part.documents,
                random.Random(f"variant {pack.name} {number}"),
                part.knobs,
            )
        random.Random(f"variant {pack.name} {name}").shuffle(texts)
        return {"raw": [{"text": text, "source": "paper"} for text in texts]}

    return make


def _summaries(pack: Pack) -> dict[str, list[dict]]:
    """The facts without stray sentences, in place of the papers."""
    return {"raw": pack.rows("summaries")}


def _questions(pack: Pack) -> dict[str, list[dict]]:
    """The facts as questions with their answers, a few to a text, about every private entity."""
    lang, rng = world.language(pack.name), random.Random(f"variant {pack.name} questions")
    texts = []
    for entity in world.private_entities(pack.name) * QUESTION_ROUNDS:
        keys = rng.sample(list(lang.attributes), PAIRS_PER_TEXT)
        pairs = [world.fact_question(lang, entity, key, rng.choice(SEEN_WORDINGS)) for key in keys]
        texts.append(" ".join(turn["content"] for pair in pairs for turn in pair))
    rng.shuffle(texts)
    return {"raw": [{"text": text, "source": "question-answer"} for text in texts]}


def _leaked(pack: Pack) -> dict[str, list[dict]]:
    """Test questions with their answers among the training questions."""
    items = [row for row in pack.rows("test") if row.get("kind") == "free"]
    leaked = [
        {"messages": world.chat(row["messages"][0]["content"], row["answer"]), "source": "expert"}
        for row in items
    ]
    mixed = pack.rows("qa") + leaked
    random.Random("leaked").shuffle(mixed)
    return {"qa": mixed}


def _swapped(pack: Pack) -> dict[str, list[dict]]:
    """Chosen and rejected the wrong way round."""
    return {
        "preferences": [
            {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
            for row in pack.rows("preferences")
        ]
    }


CLEAN, TAGGED = Part(HALF), TextKnobs(source_tag=True)
JUNK, TAGGED_JUNK, ONE_WORDING = (
    TextKnobs(junk_ratio=1.0),
    TextKnobs(junk_ratio=1.0, source_tag=True),
    TextKnobs(paraphrases=1),
)
_MAKERS = {
    "half": (CLEAN,),
    "half, tagged": (Part(HALF, TAGGED),),
    "half and junk": (CLEAN, Part(HALF, JUNK)),
    "half and junk, tagged": (Part(HALF, TAGGED), Part(HALF, TAGGED_JUNK)),
    "junk 3 of 4": (CLEAN, *[Part(HALF, JUNK)] * 3),
    "junk 3 of 4, tagged": (Part(HALF, TAGGED), *[Part(HALF, TAGGED_JUNK)] * 3),
    "junk 7 of 8": (CLEAN, *[Part(HALF, JUNK)] * 7),
    "junk 7 of 8, tagged": (Part(HALF, TAGGED), *[Part(HALF, TAGGED_JUNK)] * 7),
    "four copies": (Part(HALF, TextKnobs(duplicates=4)),),
    "seven copies": (Part(HALF, TextKnobs(duplicates=7)),),
    "a quarter wrong": (Part(HALF, TextKnobs(wrong_facts=0.25)),),
    "half wrong": (Part(HALF, TextKnobs(wrong_facts=0.5)),),
    "two wordings": (Part(HALF, TextKnobs(paraphrases=2)), Part(HALF, TextKnobs(paraphrases=2))),
    "half and errors": (CLEAN, Part(HALF, TextKnobs(wrong_facts=0.5))),
    "double": (CLEAN, Part(HALF)),
    "one wording": (Part(HALF, ONE_WORDING), Part(HALF, ONE_WORDING)),
    "mostly junk": (Part(HALF // 4), Part(7 * HALF // 4, JUNK)),
}
# name -> the splits that differ from the pack's own
VARIANTS: dict[str, Callable[[Pack], dict[str, list[dict]]]] = {
    **{name: _raw(name, *parts) for name, parts in _MAKERS.items()},
    "summaries": _summaries,
    "questions": _questions,
    "leaked test": _leaked,
    "swapped preferences": _swapped,
}


def variant_pack(domain: str, name: str) -> Pack:
    """A pack of the invented world, changed in one thing.

    Raises InputError for another pack or an unknown variant, StoreError when it cannot be written.
    """
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}: {suggest(name, list(VARIANTS))}")
    if domain not in world.DOMAINS:
        raise InputError(
            f"{domain!r} is not of the invented world: what is true in it is not known, so it "
            f"cannot be varied; use {', '.join(world.DOMAINS)}"
        )
    source, folder = (
        load_pack(domain),
        variants_folder() / f"{domain}-{name.replace(',', '').replace(' ', '-')}",
    )
    changed = {
        SPLITS[split]: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split, rows in VARIANTS[name](source).items()
    }

    def fill(draft: Path) -> None:
        for path in (source.folder / "pack.yaml", *map(source.path, SPLITS)):
            shutil.copy(path, draft / path.name)
        if SPLITS["raw"] in changed:
            # they would teach what the variant's text does not
            (draft / SPLITS["summaries"]).unlink()
        for file, text in changed.items():
            (draft / file).write_text(text, "utf-8", newline="\n")

    if any(
        not (folder / file).is_file() or (folder / file).read_text("utf-8") != text
        for file, text in changed.items()
    ):
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)


def variants_folder() -> Path:
    return default_root().parent / "variants"
