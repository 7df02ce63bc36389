"""This module scores any model on a pack once: the second time it reads the scorecard from disk.

A scorecard is determined by weights, tokenizer and template, items and sampling, so those are its
key. Merges are scored at many t in the same way, and so are everyday items, which come with labkit.
The module does not know how an item is scored; scorecards.py does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from labkit.base.records import AXES, CONTROLS
from labkit.base.store import Checkpoint, default_root, key_of, write_file
from labkit.data.items import everyday_items
from labkit.data.packs import Pack
from labkit.evaluate.scorecards import Scorecard, evaluate, score_items
from labkit.merge.guards import check_tokenizers
from labkit.merge.methods import merge_at
from labkit.models import zoo
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import profile

SCORING_VERSION = 5  # part of every key: raise it when scoring changes what a number means


def scorecards_folder() -> Path:
    return default_root().parent / "scorecards"


def score_checkpoint(
    model: str | Checkpoint | zoo.Loaded,
    pack: Pack,
    *,
    split: str = "test",
    axes: Iterable[str] = AXES + CONTROLS,
    profile_name: str = "lab",
    name: str | None = None,
) -> Scorecard:
    """The scorecard of a model, computed or read back. name: how it is called on figures.

    Raises InputError for an unknown model, split or axis.
    """
    chosen, wanted = profile(profile_name), sorted(axes)
    loaded = model if isinstance(model, zoo.Loaded) else load_checkpoint(model)
    key = key_of(
        version=SCORING_VERSION,
        weights=loaded.fingerprint,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        data=pack.fingerprint(split, "raw", "summaries", "qa"),
        split=split,
        axes=wanted,
        limit=chosen.eval_limit,
        samples=chosen.samples,
        **_rescored(loaded, pack.rows(split)),
    )
    return cached_card(
        key,
        lambda: evaluate(
            loaded.model,
            loaded.tokenizer,
            pack,
            split=split,
            axes=wanted,
            limit=chosen.eval_limit,
            samples=chosen.samples,
        ),
        name or loaded.name,
    )


def _rescored(loaded: zoo.Loaded, items: list[dict]) -> dict:
    """What a key says where version 5 once gave other scores; other scorecards stay found.

    It did to answers beyond ASCII, and to models of the hub: their templates were not looked at.
    """
    plain = all(item.get("answer", "").isascii() for item in items)
    return {} if plain and "@" not in loaded.fingerprint else {"rescored": 1}


def cached_card(key: str, make: Callable[[], Scorecard], name: str) -> Scorecard:
    """The scorecard kept under a key, made when there is none; it is called `name` from here on."""
    path = scorecards_folder() / f"{key}.json"
    card = read_scorecard(path)
    if card is None:
        card = make()
        write_file(path, card.as_json())
    card.checkpoint = name
    return card


def tokenizer_fingerprint(tokenizer) -> str:
    """Equal for tokenizers with the same vocabulary and chat template: weights alone do not say how
    they are read.
    """
    return key_of(vocabulary=tokenizer.get_vocab(), template=tokenizer.chat_template)


def read_scorecard(path: Path) -> Scorecard | None:
    """The scorecard in a file; None when there is none or a killed process left half of it."""
    try:
        return Scorecard.load(path)
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


# --- merges over t ----------------------------------------------------------------------------

SWEEP = tuple(i / 10 for i in range(11))


def sweep_merge(
    general: zoo.Loaded,
    domain: zoo.Loaded,
    pack: Pack,
    *,
    split: str,
    axes: Iterable[str],
    methods: Iterable[str] = ("slerp", "lerp"),
    ts: Iterable[float] = SWEEP,
    profile_name: str = "lab",
) -> dict[str, list[tuple[float, Scorecard]]]:
    """Scorecards over t per method: method -> [(t, scorecard)].

    Raises MergeError when the two do not match.
    """
    check_tokenizers(general.tokenizer, domain.tokenizer)
    axes = tuple(axes)
    return {
        method: [
            (
                t,
                score_checkpoint(
                    merge_at(general, domain, t, method),
                    pack,
                    split=split,
                    axes=axes,
                    profile_name=profile_name,
                ),
            )
            for t in ts
        ]
        for method in methods
    }


def best_t(sweep: list[tuple[float, Scorecard]], *axes: str) -> float:
    """The t whose mean score over `axes` is highest; of equals, the one nearest the middle.

    Choose on dev only.
    """

    def score(card: Scorecard) -> float:
        return sum(card.interval(axis).mean for axis in axes) / len(axes)

    return max(sweep, key=lambda point: (score(point[1]), -abs(point[0] - 0.5)))[0]


# --- everyday items ---------------------------------------------------------------------------


def score_everyday(
    loaded: zoo.Loaded, name: str | None = None, *, split: str = "test"
) -> Scorecard:
    """The scorecard of a model on the everyday items of a split, computed or read back. name: how
    it is called on figures.
    """
    items = everyday_items(split)
    data = key_of(items=items)
    key = key_of(
        everyday=1,
        version=SCORING_VERSION,
        weights=loaded.fingerprint,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        data=data,
        **_rescored(loaded, items),
    )
    return cached_card(
        key,
        lambda: Scorecard(
            loaded.name, "everyday", split, data, score_items(loaded.model, loaded.tokenizer, items)
        ),
        name or loaded.name,
    )
