"""The pages of the two worked cases, docs/case-pharma.md and docs/case-legal.md: what
worked_cases.py measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from inspect import signature
from pathlib import Path
from statistics import mean

from labkit.base.pages import claim_verdict, signed
from labkit.base.stats import Interval
from labkit.base.store import write_file
from labkit.data.pack_build import ASKED
from labkit.data.packs import load_pack
from labkit.data.world import language
from labkit.diagnose.gate import DEFAULT_MUST_HOLD
from labkit.diagnose.probe import LOOKS, alarms
from studies import page
from studies.case_packs import COURT, PAPERS, RECORDS, TABLES, YES, event_items
from studies.worked_cases import (
    BACK,
    CHEMISTRY,
    CURATED,
    DOMAIN,
    EVENTS,
    FLOOD,
    KNOWN,
    LAW,
    LEGAL_AXES,
    LEGAL_FILE,
    LERPED,
    MUCH,
    NOTES,
    PHARMA_FILE,
    READ_OFF,
    REAL_AXES,
    REAL_ROWS,
    REASONING,
    SAME_T,
    SLERPED,
    SOME,
    START,
    UNION,
    WITH_THRESHOLD,
)

DOCS = Path(__file__).parents[1] / "docs"
THRESHOLD = signature(alarms).parameters["threshold"].default  # a fall that the probe bears
DOSSIERS = "data_samples/dossiers"  # a complete dossier of each case
PLAIN = {
    "knowledge, cloze": "facts: cloze",
    "knowledge, free": "facts: answers",
    "knowledge, paraphrased": "facts: answers, other wordings",
    "reasoning": "reasoning about the pack's compounds",
    KNOWN: "reasoning about well-known things",
    "instructions": "instruction following",
    "general": "general knowledge",
    "preference": "preferences",
}
REAL_PLAIN = {**PLAIN, "reasoning": "reasoning about a text that is shown"}
TOLD_READINGS = {
    EVENTS: "asked",
    WITH_THRESHOLD: "asked, threshold from dev",
    READ_OFF: "read off, threshold from dev",
}


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scores_table(
    data: dict, labels: Iterable[str], measures: Sequence[str], plain: dict[str, str] = PLAIN
) -> str:
    """Scores with their intervals, a checkpoint a line."""
    return table(
        ("checkpoint", *(plain.get(name, name) for name in measures)),
        (
            (label, *(_cell(data["scores"][label].get(name)) for name in measures))
            for label in labels
            if label in data["scores"]
        ),
    )


def _cell(found: dict | None) -> str:
    return str(Interval(**found)) if found else "–"


def claims_table(rows: Iterable[dict], *topics: str) -> str:
    """Claims of some topics, or all: the difference that should be above zero, and the verdict."""
    found = []
    for row in rows:
        if not topics or row["topic"] in topics:
            effect = Interval(**row["effect"])
            size = f"{effect.n}, {effect.seeds}"
            found.append((row["claim"], signed(effect), size, claim_verdict(row)))
    return table(("claim", "difference", "scores, seeds", "verdict"), found)


def events_table(data: dict) -> str:
    return table(
        ("checkpoint", "how", "recall", "false alarms", "balanced accuracy"),
        (
            (label, TOLD_READINGS[axis], *(_cell(found[name]) for name in found))
            for label in PIPELINE
            for axis, found in data["events"][label].items()
        ),
    )


def cost_table(data: dict) -> str:
    return table(
        ("result", "steps", "tokens", "seconds"),
        (
            (label, f"{cost['steps']:.0f}", f"{cost['tokens']:,.0f}", f"{cost['seconds']:.0f}")
            for label, cost in data["cost"].items()
        ),
    )


def chosen_table(data: dict) -> str:
    return table(
        ("merge", "t that dev chose, seed by seed"),
        ((label, ", ".join(f"{t:g}" for t in chosen)) for label, chosen in data["chosen"].items()),
    )


def watched_table(data: dict) -> str:
    """What the probe and the gate said of every arm."""
    return table(
        ("arm", "probe while reading", "probe while being asked", "gate", "what fell at the gate"),
        (
            (
                label,
                *(_alarms_told(runs, kind) for kind in ("cpt", "sft")),
                f"held back {sum(not run['gate']['passed'] for run in runs)} of {len(runs)}",
                _fallen_told(runs),
            )
            for label, runs in data["watched"].items()
        ),
    )


def _alarms_told(runs: list[dict], kind: str) -> str:
    """How many runs had an alarm in their stage of a kind, at which share of its steps it first
    came, and in how many of them the loss looked fine.
    """
    stages = [stage for run in runs for stage in run["stages"] if stage["kind"] == kind]
    if not stages:
        return "–"
    first = [min(stage["alarms"].values()) for stage in stages if stage["alarms"]]
    if not first:
        return f"no alarm in {len(stages)}"
    shares = [share for share, _ in first]
    fine = sum(looked_fine for _, looked_fine in first)
    return (
        f"{len(first)} of {len(stages)}, at {mean(shares):.0%} of the steps "
        f"({min(shares):.0%} to {max(shares):.0%}); loss fine in {fine}"
    )


def _fallen_told(runs: list[dict]) -> str:
    axes = [axis for run in runs for axis in run["gate"]["fallen"]]
    return ", ".join(f"{axis} {axes.count(axis)}" for axis in dict.fromkeys(axes)) or "nothing"


def warned_early(data: dict) -> str:
    """Of the arms that the gate held back, how many had been alarmed before; and of those that
    passed.
    """
    runs = [run for found in data["watched"].values() for run in found]
    held = [run for run in runs if not run["gate"]["passed"]]
    passed = [run for run in runs if run["gate"]["passed"]]
    warned = [sum(map(_warned, group)) for group in (held, passed)]
    return (
        f"Of {len(held)} runs that the gate held back, the probe had warned in {warned[0]}. "
        f"Of {len(passed)} runs that passed, it had warned in {warned[1]}."
    )


def _warned(run: dict) -> bool:
    return any(stage["alarms"] for stage in run["stages"])


def verdicts_told(rows: Sequence[dict]) -> str:
    """How many claims there are of each verdict."""
    said = [row["verdict"] for row in rows]
    return ", ".join(f"{said.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(said)))


def dossier_line(name: str) -> str:
    path = f"{DOSSIERS}/{name}.yaml"
    if not (DOCS.parent / path).is_file():
        return ""
    return f"The complete dossier of this case is [{path}](../{path}).\n"


def write_pages(measured: Path, docs: Path) -> list[Path]:
    """docs/case-pharma.md and docs/case-legal.md, of what was measured so far."""
    written = []
    for name, file, fields in (
        ("pharma", PHARMA_FILE, pharma_fields),
        ("legal", LEGAL_FILE, legal_fields),
    ):
        if (measured / file).is_file():
            data = json.loads((measured / file).read_text("utf-8"))
            text = page(f"case-{name}").format(
                **fields(data),
                seeds=data["seeds"],
                model=data["model"],
                pack=data["pack"],
                count=len(data["claims"]),
                verdicts=verdicts_told(data["claims"]),
                dossier=dossier_line(name),
            )
            written.append(docs / f"case-{name}.md")
            write_file(written[-1], text)
    return written


PIPELINE = (START, "SFT alone", "CPT", "CPT-SFT", "CPT-SFT-DPO", BACK)
FACTS = ("knowledge, cloze", "knowledge, free", "knowledge, paraphrased")


def event_alone() -> float:
    """Balanced accuracy of whoever knows of each test item nothing but its event, and how often
    that event is right.
    """
    items = event_items(DOMAIN, "test")
    right: dict[str, list[bool]] = {}
    for item in items:
        right.setdefault(item["event"], []).append(item["answer"] == YES)
    best = sum(max(sum(found), len(found) - sum(found)) for found in right.values())
    return best / len(items)


def pharma_fields(data: dict) -> dict[str, str]:
    pair = (START, CHEMISTRY, REASONING, SLERPED, LERPED, SAME_T, UNION)
    real = data.get("real", {})
    return {
        "stages": scores_table(data, PIPELINE, (*FACTS, "instructions", "general", "preference")),
        "mapping": claims_table(data["claims"], "mapping"),
        "events": events_table(data),
        "event_claims": claims_table(data["claims"], "adverse events"),
        "pair": scores_table(
            data,
            pair,
            ("knowledge", KNOWN, "reasoning", "instructions", "general"),
        ),
        "specialists": claims_table(data["claims"], "specialists"),
        "chosen": chosen_table(data),
        "papers": str(PAPERS),
        "records": str(RECORDS),
        "tables": str(TABLES),
        "asked": str(ASKED),
        "choices": str(max(len(kind.values) for kind in language(DOMAIN).attributes.values())),
        "by_chance": f"{event_alone():.2f}",
        "back": BACK,
        "union": UNION,
        "start": START,
        "cost": cost_table(data),
        "real": _real_pharma_told(real) if real else NOT_RUN,
        "real_seeds_told": real_seeds_told(real),
    }


def real_seeds_told(real: dict) -> str:
    """How far verdicts on the real pack reach."""
    if not real:
        return ""
    if real["seeds"] == 1:
        return (
            "This was run once: its intervals are over items alone, and its verdicts speak of "
            "these checkpoints. Another training seed may give others."
        )
    return f"With {real['seeds']} seeds only large differences can be told from zero."


NOT_RUN = "The repeat on real text has not been run."


def _size_told(real: dict) -> str:
    seeds = "1 seed" if real["seeds"] == 1 else f"{real['seeds']} seeds"
    return f"Pack `{real['pack']}`, {seeds}, verdicts corrected for {len(real['claims'])} claims."


def _real_pharma_told(real: dict) -> str:
    return "\n\n".join(
        [
            _size_told(real),
            scores_table(real, real["scores"], REAL_AXES, REAL_PLAIN),
            table(
                (
                    "checkpoint",
                    "yes is said where it is right",
                    "and where it is wrong",
                    "balanced",
                ),
                (
                    (label, *(_cell(found[EVENTS][name]) for name in found[EVENTS]))
                    for label, found in real["events"].items()
                ),
            ),
            claims_table(real["claims"]),
            cost_table(real),
        ]
    )


def legal_fields(data: dict) -> dict[str, str]:
    real = data.get("real", {})
    return {
        "scores": scores_table(data, data["scores"], (*FACTS, "instructions", "general")),
        "amount": claims_table(data["claims"], "amount"),
        "curated": claims_table(data["claims"], "curated", "remedy"),
        "watched": watched_table(data),
        "warned": warned_early(data),
        "court": str(COURT),
        "flood": str(FLOOD.steps),
        "some": str(SOME),
        "much": str(MUCH),
        "notes": str(NOTES.steps),
        "summaries": str(len(load_pack(LAW).rows("summaries"))),
        "asked": str(ASKED),
        "curated_steps": str(CURATED.steps),
        "looks": str(LOOKS),
        "threshold": f"{THRESHOLD:.2f}",
        "allowed": ", ".join(f"{axis} {fall:.2f}" for axis, fall in DEFAULT_MUST_HOLD.items()),
        "real_rows": str(REAL_ROWS),
        "cost": cost_table(data),
        "real": _real_legal_told(real) if real else NOT_RUN,
        "real_seeds_told": real_seeds_told(real),
    }


def _real_legal_told(real: dict) -> str:
    return "\n\n".join(
        [
            _size_told(real),
            scores_table(real, real["scores"], LEGAL_AXES),
            claims_table(real["claims"]),
            watched_table(real),
            warned_early(real),
        ]
    )
