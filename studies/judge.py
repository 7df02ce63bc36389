"""The study of a small model as a judge: docs/judge.md.

The judge compares its own proposals and planted ones, short and long, of which about half are right
whatever their length. So it is known what a preference for the right, the long or its own looks
like.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit.base.stats import Interval
from labkit.base.store import key_of, write_file
from labkit.data.packs import Pack, load_pack
from labkit.evaluate import judge as kit
from labkit.evaluate.scorecards import (
    ItemResult,
    Scorecard,
    alike,
    evaluate,
    limited,
    score_proposals,
)
from labkit.evaluate.scoring import cached_card
from labkit.models import zoo
from studies import page

MEASURED = "judge.json"
PACK, SPLIT, REQUESTS = "elements", "test", 40
SEED = 0
NOT_YET = "Not measured yet."
WORDS = {
    "short": "A new sensor that works with {}.",
    "long": "A new sensor that works with {}, which a small team could build and try out in one "
    "summer, with plain tools, before anybody pays for a larger one.",
}


def planted(pack: Pack, name: str) -> Scorecard:
    """Proposals of one length of which about half name both things that were asked for; the others
    name the first twice, and are wrong.
    """
    rng, known = random.Random(f"{name} {SEED}"), alike(pack.training_text)
    results = []
    for item in limited(pack.rows(SPLIT), REQUESTS):
        if item["axis"] == kit.AXIS:
            first, second = item["entity"].split(" + ")
            other = second if rng.random() < 0.5 else "more of the same"
            text = WORDS[name].format(f"{first} and {other}")
            score = score_proposals(item, [text], known)
            results.append(
                ItemResult(item["id"], kit.AXIS, item["kind"], item["entity"], score, text)
            )
    return Scorecard(name, pack.name, SPLIT, pack.fingerprint(SPLIT), results)


def run_judge(measured: Path, say: Callable[[str], None]) -> None:
    """Ask what has not been asked, and keep what the verdicts are worth; stops and continues."""
    pack, loaded = load_pack(PACK), zoo.load(zoo.SMOLLM2)
    own = cached_card(
        key_of(study="judge", weights=loaded.fingerprint, pack=PACK, requests=REQUESTS, seed=SEED),
        lambda: evaluate(
            loaded.model,
            loaded.tokenizer,
            pack,
            split=SPLIT,
            axes=(kit.AXIS,),
            limit=REQUESTS,
            samples=1,
            seed=SEED,
        ),
        loaded.name,
    )
    cards = [*(planted(pack, name) for name in WORDS), kit.first_lines(pack, own)]
    pairs = kit.pairs_of(pack, cards, limit=REQUESTS).pairs
    judge, replies = kit.LocalJudge(loaded), kit.Replies()
    planned = kit.plan(judge, pairs, replies)
    for sentence in planned.told():
        say(sentence)
    kit.ask(
        planned, replies, lambda done, total: say(f"{done} of {total}") if done % 64 == 0 else None
    )
    found = {
        judge.name: kit.worth(kit.judged(judge, pairs, replies), own=loaded.name),
        **{
            name: kit.worth(kit.judged_by(pairs, rule), own=loaded.name)[-1:]
            for name, rule in kit.controls(loaded.name).items()
        },
    }
    data = {
        "pack": PACK,
        "requests": len(cards[0].items),
        "judge": judge.name,
        "rows": {name: [asdict(row) for row in rows] for name, rows in found.items()},
    }
    write_file(measured / MEASURED, json.dumps(data, indent=1) + "\n")


def write_page(measured: Path, page_file: Path) -> None:
    """docs/judge.md, with what was measured so far."""
    path = measured / MEASURED
    part = _measured_part(json.loads(path.read_text("utf-8"))) if path.is_file() else NOT_YET
    write_file(page_file, page("judge").format(measured=part))


def _measured_part(data: dict) -> str:
    rows = {name: [_row(row) for row in found] for name, found in data["rows"].items()}
    own = [kit.cells(row) for row in rows[data["judge"]]]
    known = [
        (name, *kit.cells(found[-1])[4:]) for name, found in rows.items() if name != data["judge"]
    ]
    return "\n\n".join(
        (
            f"`{data['judge']}` compared proposals to {data['requests']} requests of the pack "
            f"`{data['pack']}`.",
            _table(kit.HEADS, own),
            _verdict(rows[data["judge"]][-1]),
            "The same pairs, judged by rules of which it is known what they do:",
            _table(("a known judge", *kit.HEADS[4:]), known),
        )
    )


def _row(row: dict) -> kit.Worth:
    values: dict[str, Any] = {
        key: Interval(**value) if isinstance(value, dict) else value for key, value in row.items()
    }
    return kit.Worth(**values)


def _verdict(row: kit.Worth) -> str:
    """What the last row says, in words."""
    if row.agrees is None or row.position is None:
        return "Too few pairs were decided to say more."
    sides = (
        "cannot be told from a coin"
        if row.agrees.holds(kit.NO_BIAS)
        else "sides with the check "
        f"{'more' if row.agrees.mean > kit.NO_BIAS else 'less'} than a coin"
    )
    return (
        f"Over all pairs this judge {sides} ({row.agrees}, n {row.agrees.n}). {row.flips} of "
        f"{row.n} verdicts changed with the order, and it named the answer shown first with a "
        f"share of {row.position}."
    )


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
