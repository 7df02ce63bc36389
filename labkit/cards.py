"""Builds the shipped models and writes each one's model card with its measured scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from labkit import world, zoo_build
from labkit.evaluate import evaluate
from labkit.families import FAMILIES, ROWS_PER_STEP, Family
from labkit.packs import AXES, CONTROLS, load_pack
from labkit.pipeline import load_checkpoint, save_model
from labkit.store import write_whole

CARD = """---
license: apache-2.0
language: en
library_name: transformers
tags: [labkit, tiny, teaching]
---

# {name}

{note}. {parameters:,} parameters, {start} model of the family `{family}`, trained on labkit's controlled
world only (English-like text about invented people, materials, compounds and contract clauses): it knows
nothing else, and is meant for teaching domain adaptation.

Rebuild it: `labkit zoo build {family}` (recipe in `labkit/families.py`, seed {seed}).

Shape: `{shape}`

Recipe: `{recipe}`, AdamW, cosine; the instruct model at half the rate

Scores on the test split of each shipped pack (mean and 95% interval, clustered by entity):

| axis | {packs} |
|---|{rule}|
{rows}

Written by `labkit zoo build`; no number is typed in by hand.
"""


def build_and_save(family: str, output: Path, *, progress: Callable | None = None) -> list[Path]:
    """Train `family`'s base and instruct model and save both with their cards under `output`.

    Raises InputError for an unknown family.
    """
    import torch

    from labkit.errors import InputError, suggest
    from labkit.train import prepare_process

    prepare_process()
    if family not in FAMILIES:
        raise InputError(f"unknown family {family!r}: {suggest(family, list(FAMILIES))}")
    tokenizer, folders = zoo_build.build_tokenizer(), []
    for start, model in zoo_build.build_pair(family, progress=progress).items():
        folder = output / f"{family}-{start}"

        def fill(draft: Path, model=model, start=start) -> None:
            save_model(model.to(torch.bfloat16), tokenizer, draft)
            write_card(draft, family, start)

        shutil.rmtree(folder, ignore_errors=True)
        folders.append(write_whole(folder, fill))
    return folders


def recipe_words(family: Family) -> str:
    """The part of a family's recipe that families.py decides."""
    return json.dumps({"steps": family.steps, "rows_per_step": ROWS_PER_STEP, "learning_rate": round(family.learning_rate, 7)})


def write_card(folder: Path, family: str, start: str) -> None:
    """Evaluate the saved model on every shipped pack and write README.md beside it."""
    loaded, name = load_checkpoint(str(folder)), f"{family}-{start}"
    cards = {}
    for domain in world.DOMAINS:
        pack = load_pack(domain)
        cards[domain] = evaluate(loaded.model, loaded.tokenizer, pack, checkpoint=name)
    rows = [
        f"| {axis} | " + " | ".join(str(card.interval(axis)) for card in cards.values()) + " |" for axis in AXES + CONTROLS
    ]
    spec = FAMILIES[family]
    text = CARD.format(
        name=name,
        note=spec.note[0].upper() + spec.note[1:],
        parameters=sum(p.numel() for p in loaded.model.parameters()),
        start=start,
        family=family,
        seed=spec.seed,
        shape=json.dumps({"architecture": spec.architecture, **spec.shape}),
        recipe=recipe_words(spec),
        packs=" | ".join(cards),
        rule="|".join("---" for _ in cards),
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(text, "utf-8")
