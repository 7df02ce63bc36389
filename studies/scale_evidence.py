"""The study of size and architecture over seeds: docs/scale.md, its figures, and what notebook 08
shows.

Each part is measured by itself (`python -m studies evidence --part sizes`, `families` or `rare`).
The page holds what was measured. Checkpoints and scorecards are content-addressed, so a stopped
study continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit.base.errors import InputError, suggest
from labkit.base.pages import claims_rows, signed
from labkit.base.stats import Interval, cluster_mean
from labkit.base.store import write_file
from labkit.course import figures
from labkit.course.labs import scale_lab
from labkit.course.labs.scale_lab import (
    BOTH,
    DENSE,
    EFFECTS,
    FEW_TS,
    FORGETTING_CLAIMS,
    KNOWN,
    LONGER,
    RARE,
    RARE_CLAIMS,
    RARE_STEPS,
    RATIOS,
    SIZE_CLAIMS,
    THIN,
    TS,
    all_recipes,
    best_recipe,
    difference,
    families_words,
    family_claims,
    family_unit,
    ladder_synergy,
    on_axis,
    overall,
    parameters_of,
    rare_label,
    rare_unit,
    rare_words,
    size_unit,
    sizes_words,
)
from labkit.course.study import Lesson, Unit, register_rows
from labkit.data.packs import Pack, load_pack
from labkit.data.published import SCALE_FILES
from labkit.models.families import ARCHITECTURES, LADDER, STEPS
from labkit.models.zoo import model_folder
from labkit.train.specs import ProfileName, profile
from studies import page

PAGE = page("scale")
SIZES_PART = page("scale_sizes")
FAMILIES_PART = page("scale_families")
RARE_PART = page("scale_rare")


def run_scale_study(
    part: str,
    *,
    profile_name: ProfileName,
    page: Path,
    measured: Path,
    console,
    seeds: int | None = None,
    pack: str = "materials",
) -> dict:
    """Measure one part over seeds, then write its file, its figure, and the page of all parts
    measured so far.

    seeds: at least 2; by default the profile's. Raises InputError for an unknown part or profile.
    """
    if part not in PARTS:
        raise InputError(f"no part {part!r} of the study of scale; {suggest(part, list(PARTS))}")
    seeds, loaded = max(2, seeds or profile(profile_name).seeds), load_pack(pack)
    asked = PARTS[part]
    # one that must be built first is better missed now than after an hour
    for family in asked.families:
        model_folder(f"{family}-instruct")
    units = [
        asked.run(loaded, seed, profile_name, lambda text: console.print(text, highlight=False))
        for seed in range(seeds)
    ]
    data = {"pack": loaded.name, "profile": profile_name, "seeds": seeds, **asked.data(units)}
    write_file(measured / SCALE_FILES[part], json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write_page(measured, page)
    return data


def write_page(measured: Path, page: Path) -> None:
    """docs/scale.md and its figures, from the parts that were measured."""
    sections = []
    for name, part in PARTS.items():
        if (measured / SCALE_FILES[name]).is_file():
            data = json.loads((measured / SCALE_FILES[name]).read_text("utf-8"))
            sections.append(
                part.section(data) + f"\n*Pack {data['pack']}, profile `{data['profile']}`.*"
            )
            file, drawn = scale_lab.PARTS[name].figure(data)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.with_name(file).write_bytes(figures.png(drawn))
    write_file(page, PAGE.format(steps=STEPS, parts="\n\n".join(sections)))


def _register(lessons: tuple[Lesson, ...], units: list[Unit]) -> list[dict]:
    return register_rows([(lesson, lesson.measure(units)) for lesson in lessons])


# --- sizes -------------------------------------------------------------------------------------

SYNERGY_SERIES = {
    "SLERP, items that need both": lambda family: ladder_synergy(family, "slerp", BOTH),
    "LERP at the same t, the same items": lambda family: ladder_synergy(family, "lerp", BOTH),
    "SLERP, mean of four axes": lambda family: ladder_synergy(family, "slerp, four axes", overall),
}
FORGETTING_SERIES = {
    "instruction following": lambda family: difference(
        f"{family}: overcooked", f"{family}: instruct", on_axis("instructions")
    ),
    "general knowledge": lambda family: difference(
        f"{family}: overcooked", f"{family}: instruct", on_axis("general")
    ),
}


def sizes_data(units: list[Unit]) -> dict:
    def series(found: dict) -> dict:
        return {
            label: {family: measure(family)(units).as_dict() for family in LADDER}
            for label, measure in found.items()
        }

    levels = {
        family: {
            label: {
                axis: cluster_mean(scores(units, f"{family}: {label}")).as_dict()
                for axis, scores in (
                    ("both", BOTH),
                    ("knowledge", KNOWN),
                    ("instructions", on_axis("instructions")),
                )
            }
            for label in ("instruct", "overcooked", "slerp")
        }
        for family in LADDER
    }
    chosen = {label: [unit.chosen[label] for unit in units] for label in units[0].chosen}
    parameters = {family: parameters_of(family) for family in LADDER}
    return {
        "claims": _register(SIZE_CLAIMS + FORGETTING_CLAIMS, units),
        "parameters": parameters,
        "chosen": chosen,
        "levels": levels,
        "synergy": series(SYNERGY_SERIES),
        "forgetting": series(FORGETTING_SERIES),
    }


def sizes_section(data: dict) -> str:
    lines = [
        "| family | parameters | t chosen on dev | instruct: items that need both | "
        "specialist | merge | specialist: private facts | instruct: instructions | "
        "specialist: instructions |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for family, parameters in data["parameters"].items():
        levels = data["levels"][family]
        cells = [
            str(Interval(**levels[label][axis]))
            for label, axis in (
                ("instruct", "both"),
                ("overcooked", "both"),
                ("slerp", "both"),
                ("overcooked", "knowledge"),
                ("instruct", "instructions"),
                ("overcooked", "instructions"),
            )
        ]
        lines.append(
            f"| {family} | {parameters:,} | "
            f"{', '.join(f'{t:g}' for t in data['chosen'][f'{family}: slerp'])} | "
            f"{' | '.join(cells)} |"
        )
    ts = ", ".join(f"{t:g}" for t in (0, *TS, 1))
    return SIZES_PART.format(
        verdict=sizes_words(data),
        seeds=data["seeds"],
        ts=ts,
        table="\n".join(lines),
        claims=claims_rows(data["claims"]),
    )


# --- families ----------------------------------------------------------------------------------


def families_data(units: list[Unit]) -> dict:
    labels = ["instruct", *all_recipes()]
    scores = {
        family: {
            label: cluster_mean(overall(units, f"{family}: {label}")).as_dict() for label in labels
        }
        for family in ARCHITECTURES
    }
    effects = {
        effect: {
            family: difference(f"{family}: {before}", f"{family}: {after}", overall)(
                units
            ).as_dict()
            for family in ARCHITECTURES
        }
        for effect, (before, after) in EFFECTS.items()
    }
    return {
        "claims": _register(family_claims(units), units),
        "scores": scores,
        "effects": effects,
        "best": {family: best_recipe(units, family) for family in ARCHITECTURES},
    }


def families_section(data: dict) -> str:
    best = ", ".join(f"{family} {recipe}" for family, recipe in data["best"].items())
    ts = ", ".join(f"{t:g}" for t in FEW_TS)
    lines = [
        "| what is added | " + " | ".join(ARCHITECTURES) + " |",
        "|---|" + "---|" * len(ARCHITECTURES),
    ]
    lines += [
        f"| {effect} | "
        + " | ".join(signed(Interval(**row[family])) for family in ARCHITECTURES)
        + " |"
        for effect, row in data["effects"].items()
    ]
    return FAMILIES_PART.format(
        verdict=families_words(data),
        effects="\n".join(lines),
        seeds=data["seeds"],
        ts=ts,
        best=best,
        claims=claims_rows(data["claims"]),
    )


# --- rare facts --------------------------------------------------------------------------------


def rare_data(units: list[Unit]) -> dict:
    def scores(label: str) -> dict:
        return cluster_mean(KNOWN(units, label)).as_dict()

    curves = {
        family: {str(ratio): scores(rare_label(family, ratio)) for ratio in RATIOS}
        for family in RARE
    }
    return {
        "claims": _register(RARE_CLAIMS, units),
        "curves": curves,
        "longer": {family: scores(rare_label(family, THIN, LONGER)) for family in RARE},
    }


def rare_section(data: dict) -> str:
    equal = ", ".join(
        f"{family} {Interval(**data['longer'][family])} against "
        f"{Interval(**data['curves'][family][str(DENSE)])}"
        for family in RARE
    )
    return RARE_PART.format(
        verdict=rare_words(data),
        seeds=data["seeds"],
        rare_steps=RARE_STEPS,
        thin=round(1 / THIN),
        dense=round(1 / DENSE),
        longer=LONGER,
        equal=equal,
        claims=claims_rows(data["claims"]),
    )


@dataclass(frozen=True)
class Part:
    """A part of the study. families: whose models it needs. run: one seed of it. data: what is kept
    of all seeds. section: of the page; its figure and its verdict are those that notebook 08 shows.
    """

    families: tuple[str, ...]
    run: Callable[[Pack, int, ProfileName, Callable[[str], None]], Unit]
    data: Callable[[list[Unit]], dict]
    section: Callable[[dict], str]


PARTS = {
    "sizes": Part(LADDER, size_unit, sizes_data, sizes_section),
    "families": Part(ARCHITECTURES, family_unit, families_data, families_section),
    "rare": Part(RARE, rare_unit, rare_data, rare_section),
}
