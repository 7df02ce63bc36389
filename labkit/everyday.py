"""General ability of a real model, before and after: everyday items that come with labkit, nothing is downloaded.

The packs' own control asks about labkit's invented people, whom no real model knows. These items ask what a real one
should know: capitals, opposites, small sums, causes. Multiple choice by likelihood, as lm-eval scores such tasks.
"""

from __future__ import annotations

import random

import yaml

from labkit import zoo
from labkit.evaluate import Scorecard, score_items
from labkit.packs import samples_folder
from labkit.scoring import SCORING_VERSION, cached_card, tokenizer_fingerprint
from labkit.store import key_of

FILE = "items.yaml"
CHOICES = 4
DEV_EVERY = 3  # one item in so many is dev
AXIS = "general"


def everyday_items(split: str | None = None) -> list[dict]:
    """Items {"id", "axis", "kind", "entity", "prompt", "choices", "answer"} of a split, `dev` or `test`, or all.

    The same every time; chance is a quarter.
    """
    items = []
    for group, content in yaml.safe_load((samples_folder("everyday") / FILE).read_text("utf-8")).items():
        rng = random.Random(group)
        for asked, answer in content["pairs"].items():
            wrong = rng.sample(sorted(set(content["pairs"].values()) - {answer}), CHOICES - 1)
            choices = [answer, *wrong]
            rng.shuffle(choices)
            items.append({
                "id": f"everyday-{len(items):03d}", "axis": AXIS, "kind": group, "entity": f"{group}: {asked}",
                "prompt": content["prompt"].format(asked), "choices": choices, "answer": answer,
            })
    return [item for number, item in enumerate(items) if split in (None, "test" if number % DEV_EVERY else "dev")]


def score_everyday(loaded: zoo.Loaded, name: str | None = None, *, split: str = "test") -> Scorecard:
    """The scorecard of a model on the everyday items of a split, computed or read back. name: how it is called on figures."""
    items = everyday_items(split)
    data = key_of(items=items)
    key = key_of(everyday=1, version=SCORING_VERSION, weights=loaded.fingerprint, tokenizer=tokenizer_fingerprint(loaded.tokenizer), data=data)
    return cached_card(key, lambda: Scorecard(loaded.name, "everyday", split, data, score_items(loaded.model, loaded.tokenizer, items)), name or loaded.name)
