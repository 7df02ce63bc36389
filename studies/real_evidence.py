"""SmolLM2-135M over the packs: docs/real.md, the adapters that ship, and the records notebooks
show.

Run by `python -m studies evidence --part real`. Checkpoints and scorecards are content-addressed:
a stopped run continues.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from labkit.base.pages import claims_rows, signed
from labkit.base.stats import Interval, ItemScore, cluster_mean
from labkit.base.store import Checkpoint, Store, write_file, write_whole
from labkit.course.labs.real_lab import (
    AS_SHIPPED,
    BALANCED,
    LIVE,
    MERGED,
    MODEL,
    RECIPES,
    SHIPPED,
    RealRun,
    adapter_name,
    score_real,
    spec_of,
    train_real,
)
from labkit.course.study import (
    CHOOSES,
    ON_DEV,
    Lesson,
    Measure,
    Unit,
    change,
    having,
    over_better_parent,
    pooled,
    register_rows,
)
from labkit.data.packs import Pack, load_pack
from labkit.data.published import (
    LIVE_FILE,
    REAL_FILE,
    REAL_FORGETS,
    REAL_FORGETS_GENERAL,
    REAL_SYNERGY,
    measured_live,
    measured_real,
)
from labkit.data.world import DOMAINS
from labkit.diagnose.gate import run_gate
from labkit.evaluate.scorecards import compare_axis
from labkit.evaluate.scoring import everyday_items, score_checkpoint
from labkit.models import zoo
from labkit.models.adapters import save_adapter
from labkit.models.architecture import architecture_of
from labkit.train.pipeline import load_checkpoint, run_spec
from labkit.train.specs import ADAPTED_LORA, ProfileName, profile, spec_text
from labkit.train.trainers import bf16_is_fast
from studies import page

LIVE_PART = page("real_live")

PAGE = page("real")
COLUMNS = {
    "private facts": ("knowledge", "free"),
    "other wordings": ("knowledge", "paraphrased"),
    "reasoning": ("reasoning", None),
    "instructions": ("instructions", None),
    "creativity": ("creativity", None),
    "fact in a format": (CHOOSES, None),
    "preference": ("preference", None),
}
EVERYDAY = " (everyday)"


def synergy(merge: str) -> Measure:
    """Merged minus the parent that is better on dev, pack by pack, on items that need both."""
    return lambda units: cluster_mean(
        over_better_parent(
            having(units, merge),
            merge,
            ("instruct", MERGED),
            lambda found, label: pooled(found, label, CHOOSES),
        )
    )


ONE = (
    "one training run per pack: the interval is over entities of all packs; what another "
    "run or another pack would give is not in it"
)
LESSONS = (
    Lesson(
        "domain",
        "SmolLM2-135M: CPT-SFT answers more private questions than the untouched model",
        change("instruct", MERGED, "knowledge", "free"),
        "the questions are about entities that SFT never mentions. " + ONE,
    ),
    Lesson(
        "forgetting", REAL_FORGETS, change(MERGED, "instruct", "instructions"), ONE, "cpt_degrades"
    ),
    Lesson(
        "forgetting",
        REAL_FORGETS_GENERAL,
        change(MERGED + EVERYDAY, "instruct" + EVERYDAY, "general"),
        ONE,
        "cpt_degrades",
    ),
    Lesson(
        "merging",
        "SmolLM2-135M: merging back restores instruction following",
        change(MERGED, BALANCED, "instructions"),
        ONE,
        "merge",
    ),
    Lesson(
        "merging",
        "SmolLM2-135M: merging back restores general ability (everyday items)",
        change(MERGED + EVERYDAY, BALANCED + EVERYDAY, "general"),
        ONE,
        "merge",
    ),
    Lesson(
        "merging",
        "SmolLM2-135M: merging back gives up private facts",
        change(BALANCED, MERGED, "knowledge", "free"),
        ONE,
        "merge",
    ),
    Lesson("merging", REAL_SYNERGY, synergy("slerp"), ONE, "size"),
    Lesson(
        "merging",
        "SmolLM2-135M: SLERP beats LERP at the same t on items that need both",
        change("lerp", "slerp", CHOOSES),
        ONE,
        "merge",
    ),
    Lesson(
        "preferences",
        "SmolLM2-135M: DPO ranks held-out pairs better than CPT-SFT",
        change(MERGED, "cpt-sft-dpo", "preference"),
        ONE,
        "preference",
    ),
    Lesson(
        "preferences",
        "SmolLM2-135M: ORPO ranks held-out pairs better than CPT-SFT",
        change(MERGED, "cpt-sft-orpo", "preference"),
        ONE,
        "preference",
    ),
)


def as_units(found: RealRun, number: int) -> list[Unit]:
    """A run as units of claims.

    Everyday items are the same for every pack, so there each pack's run counts as a seed.
    """
    return [
        Unit(found.pack, 0, cards=found.cards, chosen=found.chosen),
        Unit(
            "everyday",
            number,
            cards={label + EVERYDAY: card for label, card in found.everyday.items()},
        ),
    ]


def ship_adapter(checkpoint: Checkpoint, folder: Path, rank: int, model: str) -> float:
    """Write what a checkpoint learned since `model` as an adapter; the share that is kept."""
    kept = []

    def fill(draft: Path) -> None:
        kept.append(
            save_adapter(
                zoo.load(model).model,
                load_checkpoint(checkpoint).model,
                draft,
                rank=rank,
                base_name=model,
            )
        )

    fresh = write_whole(folder.with_name(f"{folder.name}.new"), fill)
    shutil.rmtree(folder, ignore_errors=True)  # once there is one to take its place
    fresh.rename(folder)
    return kept[0].share


def columns_of(scores: Callable[[str, str | None], list[ItemScore]]) -> dict[str, dict]:
    """Column of the table -> interval, of those that were scored."""
    found = {name: scores(*column) for name, column in COLUMNS.items()}
    return {name: cluster_mean(items).as_dict() for name, items in found.items() if items}


def costs(stages: Iterable[Checkpoint]) -> dict[str, dict]:
    """Trail -> what its last stage took."""
    return {
        stage.name.split("/")[-1]: {key: stage.lineage[key] for key in ("wall_seconds", "tokens")}
        for stage in stages
    }


def machine() -> dict:
    """What seconds belong to."""
    return {"cores": os.cpu_count(), "bf16": bool(bf16_is_fast())}


def measure_pack(
    pack: Pack, profile_name: ProfileName, adapters: Path, told: Callable[[str], None]
) -> tuple[RealRun, dict]:
    """Train, write adapters, score what ships; the run, what it took and gave as plain values."""
    told(f"{pack.name}: training")
    made = train_real(pack, profile_name=profile_name)
    kept = {
        recipe: ship_adapter(
            made[recipe][-1], adapters / adapter_name(pack.name, recipe), ADAPTED_LORA.rank, MODEL
        )
        for recipe in SHIPPED
    }
    models = {recipe: load_checkpoint(stages[-1]) for recipe, stages in made.items()}
    models |= {
        f"{recipe}{AS_SHIPPED}": zoo.load(str(adapters / adapter_name(pack.name, recipe)))
        for recipe in SHIPPED
    }
    found = score_real(pack, models, told, profile_name=profile_name)
    told(f"{pack.name}: diagnosing {MERGED}")
    report = run_gate(
        str(made[MERGED][-1].folder), MODEL, pack=str(pack.folder), profile=profile_name
    )
    # a folder's path means nothing on another machine
    report = replace(report, checkpoint=f"{pack.name}/{MERGED}")
    sizes = {
        recipe: sum(
            path.stat().st_size for path in (adapters / adapter_name(pack.name, recipe)).iterdir()
        )
        for recipe in SHIPPED
    }
    return found, {
        "chosen": found.chosen,
        "stages": costs(stage for stages in made.values() for stage in stages),
        "kept": kept,
        "bytes": sizes,
        "scores": {
            label: columns_of(card.scores)
            for label, card in found.cards.items()
            if not label.endswith(ON_DEV)
        },
        "everyday": {
            label: card.interval("general").as_dict() for label, card in found.everyday.items()
        },
        "gate": {
            "passed": report.passed,
            "words": str(report),
            "diagnoses": [result.as_dict() for result in report.results],
        },
    }


def run_real_study(
    *,
    profile_name: ProfileName,
    page: Path,
    measured: Path,
    adapters: Path,
    console,
    packs: Iterable[str] = DOMAINS,
) -> dict:
    """Measure every pack, then write the records, the adapters and the page.

    Raises InputError when SmolLM2 is not installed.
    """

    def told(text: str) -> None:
        console.print(text, highlight=False)

    found = {name: measure_pack(load_pack(name), profile_name, adapters, told) for name in packs}
    units = [
        unit for number, (run, _) in enumerate(found.values()) for unit in as_units(run, number)
    ]
    pooled_scores = {
        label: columns_of(partial(pooled, units, label))
        for label in next(iter(found.values()))[0].everyday
    }
    everyday = {
        label: cluster_mean(pooled(units, label + EVERYDAY, "general")).as_dict()
        for label in pooled_scores
    }
    data = {
        "profile": profile_name,
        "machine": machine(),
        "packs": {name: values for name, (_, values) in found.items()},
        "scores": pooled_scores,
        "everyday": everyday,
        "claims": register_rows([(lesson, lesson.measure(units)) for lesson in LESSONS]),
    }
    write_file(measured / REAL_FILE, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write_file(page, page_text(data, measured_live()))
    return data


def run_live_study(
    *, profile_name: ProfileName, page: Path, measured: Path, console, pack_name: str = DOMAINS[0]
) -> dict:
    """Train what a participant can train while waiting, score private facts before and after, and
    write the records and the page.

    Raises InputError when SmolLM2 is not installed.
    """
    pack = load_pack(pack_name)
    console.print(f"{pack.name}: training", highlight=False)
    # a store of its own: what is read back takes no time
    with tempfile.TemporaryDirectory(prefix="labkit-live-") as folder:
        begun = time.monotonic()
        made = run_spec(
            spec_of(str(pack.folder), LIVE, profile_name=profile_name), store=Store(Path(folder))
        )
        seconds = time.monotonic() - begun
        models = {"instruct": zoo.load(MODEL)} | {
            stage.name.split("/")[-1]: load_checkpoint(stage) for stage in made[1:]
        }
    console.print(f"{pack.name}: scoring", highlight=False)
    cards = {
        label: score_checkpoint(
            model, pack, axes=("knowledge",), profile_name=profile_name, name=label
        )
        for label, model in models.items()
    }
    data = {
        "profile": profile_name,
        "machine": machine(),
        "pack": pack.name,
        "seconds": seconds,
        "stages": costs(made),
        "private_facts": {
            label: card.interval(*COLUMNS["private facts"]).as_dict()
            for label, card in cards.items()
        },
        "gain": compare_axis(cards["instruct"], cards[MERGED], *COLUMNS["private facts"]).as_dict(),
    }
    write_file(measured / LIVE_FILE, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write_file(page, page_text(measured_real(), data))
    return data


# --- the page ----------------------------------------------------------------------------------


def seconds_table(stages: dict[str, dict]) -> str:
    lines = ["| stage | tokens | seconds | tokens per second |", "|---|---|---|---|"]
    for trail, stage in stages.items():
        lines.append(
            f"| {trail.split('-')[-1]} ({trail}) | {stage['tokens']:,} | "
            f"{stage['wall_seconds']:.0f} | "
            f"{stage['tokens'] / stage['wall_seconds']:.0f} |"
        )
    return "\n".join(lines)


def scores_table(data: dict) -> str:
    names = [*COLUMNS, "everyday"]
    lines = [f"| model | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for label, row in data["scores"].items():
        cells = [str(Interval(**row[name])) if name in row else "–" for name in COLUMNS] + [
            str(Interval(**data["everyday"][label]))
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def diagnoses_table(data: dict) -> str:
    lines = ["| pack | diagnosis | verdict | found |", "|---|---|---|---|"]
    for pack, values in data["packs"].items():
        lines += [
            f"| {pack} | {row['diagnosis']} | {row['verdict']} | {row['found']} |"
            for row in values["gate"]["diagnoses"]
        ]
    return "\n".join(lines)


def adapters_table(data: dict) -> str:
    lines = ["| name | kept | megabytes |", "|---|---|---|"]
    for pack, values in data["packs"].items():
        lines += [
            f"| `{adapter_name(pack, recipe)}` | {kept:.2f} | {values['bytes'][recipe] / 1e6:.1f} |"
            for recipe, kept in values["kept"].items()
        ]
    return "\n".join(lines)


def verdict_words(data: dict) -> str:
    """What came of it, in a sentence per lesson."""
    told = [
        f"{row['claim']}: {row['verdict']} ({signed(Interval(**row['effect']))})"
        for row in data["claims"]
    ]
    return "\n".join(f"- {words}" for words in told)


def machine_words(found: dict) -> str:
    return (
        f"{found['cores']} cores, "
        f"{'bfloat16' if found['bf16'] else 'float32: no bfloat16 in hardware'}"
    )


def live_text(live: dict) -> str:
    facts = {label: Interval(**found) for label, found in live["private_facts"].items()}
    return LIVE_PART.format(
        steps=LIVE[0].steps,
        minutes=live["seconds"] / 60,
        pack=live["pack"],
        machine=machine_words(live["machine"]),
        untouched=facts.pop("instruct"),
        tuned=facts[MERGED],
        gain=signed(Interval(**live["gain"])),
        last=facts["cpt-sft-dpo"],
        seconds=seconds_table(live["stages"]),
        whole=RECIPES[MERGED][0].steps,
        spec=spec_text(spec_of(live["pack"], LIVE)),
    )


def page_text(data: dict, live: dict) -> str:
    """The page on the whole recipe, and on what can be trained while one waits."""
    chosen = "; ".join(
        f"{pack} {', '.join(f'{label} {t:g}' for label, t in values['chosen'].items())}"
        for pack, values in data["packs"].items()
    )
    return PAGE.format(
        parameters=architecture_of(MODEL).parameters,
        rank=ADAPTED_LORA.rank,
        packs=", ".join(data["packs"]),
        first=next(iter(data["packs"])),
        limit=profile(data["profile"]).eval_limit,
        verdict=verdict_words(data),
        seconds=seconds_table(next(iter(data["packs"].values()))["stages"]),
        machine=machine_words(data["machine"]),
        live=live_text(live),
        everyday=len(everyday_items("test")),
        chosen=chosen,
        balanced=BALANCED,
        scores=scores_table(data),
        claims=claims_rows(data["claims"]),
        merged=MERGED,
        diagnoses=diagnoses_table(data),
        adapters=adapters_table(data),
    )
