"""Corpora of one pack that differ in one thing each: the arms of experiments on data quality.

A variant is a pack like any other, written once into the cache; questions and items are the pack's own.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from labkit import world
from labkit.errors import InputError, suggest
from labkit.packs import SPLITS, Pack, load_pack
from labkit.store import default_root, write_whole
from labkit.world import TextKnobs

HALF = 280  # documents: half of what a pack's raw split holds


@dataclass(frozen=True)
class Part:
    """documents: how many; knobs: how they are written. Parts of one number draw the same facts in the same order."""

    documents: int
    knobs: TextKnobs = TextKnobs()


CLEAN, JUNK = Part(HALF), Part(HALF, TextKnobs(junk_ratio=1.0))
TAGGED = (Part(HALF, TextKnobs(source_tag=True)), Part(HALF, TextKnobs(junk_ratio=1.0, source_tag=True)))
VARIANTS: dict[str, tuple[Part, ...]] = {
    "half": (CLEAN,),
    "half and junk": (CLEAN, JUNK),
    "half and junk, tagged": TAGGED,
    "half and errors": (CLEAN, Part(HALF, TextKnobs(wrong_facts=0.5))),
    "double": (CLEAN, Part(HALF)),
    "one wording": (Part(HALF, TextKnobs(paraphrases=1)), Part(HALF, TextKnobs(paraphrases=1))),
}


def texts_of(domain: str, name: str) -> list[str]:
    """The documents of a variant, in random order. Raises InputError for an unknown variant."""
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}: {suggest(name, list(VARIANTS))}")
    lang, entities, texts = world.language(domain), world.private_entities(domain), []
    for number, part in enumerate(VARIANTS[name]):
        rng = random.Random(f"variant {domain} {number}")
        texts += world.corpus(lang, entities, part.documents, rng, part.knobs)
    random.Random(f"variant {domain} {name}").shuffle(texts)
    return texts


def variant_pack(domain: str, name: str) -> Pack:
    """A shipped pack whose raw split is the variant's. Raises InputError, or StoreError when it cannot be written."""
    source, folder = load_pack(domain), variants_folder() / f"{domain}-{name.replace(',', '').replace(' ', '-')}"
    lines = "".join(json.dumps({"text": text, "source": "paper"}) + "\n" for text in texts_of(domain, name))

    def fill(draft: Path) -> None:
        (draft / SPLITS["raw"]).write_text(lines, "utf-8", newline="\n")
        for path in (source.folder / "pack.yaml", *(source.path(split) for split in SPLITS if split not in ("raw", "summaries"))):
            shutil.copy(path, draft / path.name)

    if not (folder / SPLITS["raw"]).is_file() or (folder / SPLITS["raw"]).read_text("utf-8") != lines:
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)


def variants_folder() -> Path:
    return default_root().parent / "variants"
