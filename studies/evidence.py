"""Writes docs/evidence.md: the study's units and claims as tables, figures and records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from labkit.base import records
from labkit.base.pages import signed
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import Interval, RunNoise, cluster_mean, wilson
from labkit.base.store import Checkpoint, write_file
from labkit.course.study import (
    BASE_START_SEEDS,
    CHOOSES,
    CLAIMS,
    CORE,
    PARETO_TS,
    REGISTER,
    REMEDIES,
    Unit,
    diversity,
    over_mean,
    pooled,
    register_rows,
    run_unit,
    said,
    synergy,
    train_arm,
    twin_barriers,
)
from labkit.data import world
from labkit.data.packs import Pack, load_pack
from labkit.data.published import CLAIMS_FILE, NOISE_FILE
from labkit.diagnose.clinic import CAUSES
from labkit.evaluate.geometry import weighted_mean
from labkit.evaluate.scoring import score_checkpoint, sweep_merge
from labkit.merge.schedule import GROUPS
from labkit.models.families import BASE, MODEL
from labkit.train.pipeline import load_checkpoint, run_spec
from labkit.train.specs import OVERCOOKED, PipelineSpec, ProfileName, profile
from studies import calibration, page

NOT_ON_DEV = (
    "t is chosen on dev (by the compositional items, or by the four axes where that is "
    "said), everything here is the test split"
)


# --- the page ---------------------------------------------------------------------------------

PAGE = page("evidence")


def claims_table(units: list[Unit]) -> str:
    lines = ["| | at least | measured | n | verdict |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        found = claim.measure(units)
        bar = (
            ""
            if claim.at_least is None
            else "> 0"
            if claim.at_least == 0
            else f"{claim.at_least:.2f}"
        )
        lines.append(
            f"| {claim.words} | {bar} | {signed(found) if claim.difference else found} "
            f"| {found.n} | {said(claim, found)} |"
        )
    return "\n".join(lines)


def per_pack_table(units: list[Unit]) -> str:
    packs = sorted({unit.pack for unit in units})
    lines = [f"| | {' | '.join(packs)} |", "|---" * (len(packs) + 1) + "|"]
    for claim in CLAIMS:
        cells = []
        for pack in packs:
            found = claim.measure([unit for unit in units if unit.pack == pack])
            cells.append(signed(found) if claim.difference else str(found))
        lines.append(f"| {claim.words} | {' | '.join(cells)} |")
    return "\n".join(lines)


SYNERGY_AXES = (*((axis, ", four axes") for axis in AXES), (CHOOSES, ""))


def synergy_table(units: list[Unit]) -> str:
    """Merged minus max and minus mean of the parents: per pack and pooled, each axis, SLERP and
    LERP.
    """
    lines = [
        "| pack | axis | SLERP − max | LERP − max | SLERP − mean | LERP − mean |",
        "|---|---|---|---|---|---|",
    ]
    for pack in (*sorted({unit.pack for unit in units}), "all"):
        mine = [unit for unit in units if pack in (unit.pack, "all")]
        for axis, suffix in SYNERGY_AXES:
            cells = [
                bar(f"{method}{suffix}", axis)(mine)
                for bar in (synergy, over_mean)
                for method in ("slerp", "lerp")
            ]
            lines.append(f"| {pack} | {axis} | {' | '.join(map(signed, cells))} |")
    return "\n".join(lines)


def spread(values: list[float], unit: str = "") -> str:
    """Mean and range over units."""
    return f"{sum(values) / len(values):.2f}{unit} [{min(values):.2f}, {max(values):.2f}]"


def geometry_table(units: list[Unit]) -> str:
    lines = [
        "| group | angle between weights (degrees) | angle between task vectors "
        "(degrees) | norm ratio | sign conflicts | tensors on a line |",
        "|---|---|---|---|---|---|",
    ]
    shapes = [unit.shape for unit in units if unit.shape]
    for group in GROUPS:
        rows = [[row for row in shape.geometry if row.group == group] for shape in shapes]
        fields = ("angle", "task_angle", "norm_ratio", "sign_conflicts")
        cells = [spread([weighted_mean(found, name) for found in rows]) for name in fields]
        lines.append(
            f"| {group} | {' | '.join(cells)} | "
            f"{spread([sum(row.lines for row in found) / len(found) for found in rows])} "
            "|"
        )
    return "\n".join(lines)


def barrier_table(units: list[Unit]) -> str:
    shapes, twins = [unit.shape for unit in units if unit.shape], twin_barriers()
    lines = [
        "| way | barrier | rise from end to end | n |",
        "|---|---|---|---|",
        "| instruct to overcooked (one grew from the other) | "
        f"{spread([s.barrier for s in shapes])} | {spread([s.rise for s in shapes])} | "
        f"{len(shapes)} |",
        "| instruct, as far in a random direction | "
        f"{spread([s.random_barrier for s in shapes])} | "
        f"{spread([s.random_rise for s in shapes])} | {len(shapes)} |",
        *(
            "| instruct to an instruct model from other random weights, "
            f"{method.upper()} | {value:.2f} | | 1 |"
            for method, value in twins.items()
        ),
    ]
    return "\n".join(lines)


def scores_table(units: list[Unit]) -> str:
    axes = units[0].cards["instruct"].axes()
    lines = [f"| checkpoint | {' | '.join(axes)} |", "|---" * (len(axes) + 1) + "|"]
    for label in units[0].cards:
        measured = units[0].cards[label].axes()
        cells = [
            str(cluster_mean(pooled(units, label, axis))) if axis in measured else ""
            for axis in axes
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def preference_table(units: list[Unit]) -> str:
    kinds = sorted(
        {item.kind for item in units[0].cards["gentle"].items if item.axis == "preference"}
    )
    lines = [f"| checkpoint | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for label in ("instruct", "gentle", "dpo", "orpo"):
        cells = [str(cluster_mean(pooled(units, label, "preference", kind))) for kind in kinds]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen_table(units: list[Unit]) -> str:
    lines = [
        "| pack | " + " | ".join(units[0].chosen) + " |",
        "|---" * (len(units[0].chosen) + 1) + "|",
    ]
    for pack in sorted({unit.pack for unit in units}):
        mine = [unit for unit in units if unit.pack == pack]
        cells = [
            ", ".join(f"{unit.chosen[method]:g}" for unit in mine) for method in mine[0].chosen
        ]
        lines.append(f"| {pack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def register_table(rows: list[dict]) -> str:
    lines = [
        "| claim | measured | scores, seeds | verdict | reported at 1.7B to 8B | why "
        "they may differ |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = Interval(**row["effect"])
        cells = (
            row["claim"],
            signed(found),
            f"{found.n}, {found.seeds}",
            row["verdict"],
            row["reported"],
            row["differs"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def null_table(rates: list[calibration.NullRate]) -> str:
    lines = [
        "| what is compared | comparisons | found different | share [Wilson 95%] |",
        "|---|---|---|---|",
    ]
    for found in rates:
        low, high = found.interval
        lines.append(
            f"| {found.what} | {found.comparisons} | {found.rejected} | "
            f"{found.rate:.3f} [{low:.3f}, {high:.3f}] |"
        )
    return "\n".join(lines)


def noise_table(noise: dict[str, RunNoise]) -> str:
    axes = [axis for axis in AXES + CONTROLS if axis in noise]
    return "\n".join(
        [
            f"| {' | '.join(axes)} |",
            "|---" * len(axes) + "|",
            f"| {' | '.join(f'{noise[axis].deviation:.3f}' for axis in axes)} |",
        ]
    )


def diversity_words(units: list[Unit]) -> str:
    return ", ".join(
        f"{label} {diversity(label)(units)}" for label in ("instruct", "gentle", "dpo", "orpo")
    )


def write_pareto(units: list[Unit], path: Path) -> None:
    """Where each recipe stands on learning and on keeping; merges of one pair as a line."""
    from labkit.course import figures

    mine = [unit for unit in units if "LoRA" in unit.cards]
    labels = ("instruct", "overcooked", "gentle", *REMEDIES)

    def place(label: str) -> tuple[Interval, Interval]:
        return cluster_mean(pooled(mine, label, "knowledge", "free")), cluster_mean(
            pooled(mine, label, "instructions")
        )

    line = [place(f"merge t={t:g}") for t in PARETO_TS]
    figure = figures.learn_and_forget(
        {label: place(label) for label in labels},
        {f"{t:g}": at for t, at in zip(PARETO_TS, line, strict=True)},
    )
    path.write_bytes(figures.png(figure))


def diagnoses_table(clinic: dict[str, list[str]], alarms: list[list[str]]) -> str:
    """Which diagnoses flag which patient, and how many healthy runs are flagged by any."""
    lines = [
        "| patient | flagged by |",
        "|---|---|",
        *(f"| {cause} | {', '.join(found) or 'nothing'} |" for cause, found in clinic.items()),
    ]
    ill = {cause: found for cause, found in clinic.items() if cause != "healthy"}
    wrong = [found for found in alarms if found]
    low, high = wilson(len(wrong), len(alarms))
    lines.append(
        f"\nOf {len(ill)} broken runs {sum(map(bool, ill.values()))} are flagged by at "
        f"least one diagnosis. Of {len(alarms)} healthy runs "
        f"{len(wrong)} are flagged by any: {len(wrong) / len(alarms):.2f} [{low:.2f}, "
        f"{high:.2f}]{'' if not wrong else ' (' + '; '.join(map(', '.join, wrong)) + ')'}."
    )
    return "\n".join(lines)


def measure_null(
    pack: Pack,
    runs: list[Checkpoint],
    noise: dict[str, RunNoise],
    profile_name: ProfileName,
    told: Callable[[str], None],
) -> list[calibration.NullRate]:
    """Every null rate of the page."""
    chosen = profile(profile_name)
    cards = [score_checkpoint(made, pack, profile_name=profile_name) for made in runs]
    one = load_checkpoint(train_arm(CORE["gentle"], pack, 0, profile_name)[-1])
    told(f"{pack.name} null: sampling seeds")
    sampled = calibration.sampling_null(one, pack, samples=chosen.samples, limit=chosen.eval_limit)
    return [
        sampled,
        *calibration.single_run_nulls(cards, noise),
        calibration.several_run_null(cards),
    ]


def write_figure(pack: Pack, profile_name: ProfileName, path: Path) -> None:
    """The sweep of one pack at seed 0 on the test split, every t drawn: a picture, no selection."""
    from labkit.course import figures

    spec = PipelineSpec(pack=str(pack.folder), model=MODEL, stages=OVERCOOKED, profile=profile_name)
    pair = load_checkpoint(MODEL), load_checkpoint(run_spec(spec)[-1])
    axes = ("knowledge", "instructions", "compositional")
    sweep = sweep_merge(*pair, pack, split="test", axes=axes, profile_name=profile_name)
    path.write_bytes(
        figures.png(figures.merge_sweep(sweep, axes=axes, ends=("instruct", "overcooked")))
    )


def run_study(
    *,
    profile_name: ProfileName,
    out_dir: Path,
    page: Path,
    measured: Path,
    console,
    packs: Iterable[str] = world.DOMAINS,
    seeds: int | None = None,
) -> list[Unit]:
    """Run every unit, then write the page, one record per claim, and the files notebooks read (into
    `measured`).

    seeds: training seeds per pack, at least 2; by default the profile's. Raises InputError for an
    unknown profile.
    """
    seeds, loaded = (
        max(2, seeds or profile(profile_name).seeds),
        [load_pack(name) for name in packs],
    )

    def told(text: str) -> None:
        console.print(text, highlight=False)

    units = [
        run_unit(pack, seed, profile_name, told, experiments=pack is loaded[0])
        for seed in range(seeds)
        for pack in loaded
    ]
    noise = calibration.noise_between_runs(units)
    whole = profile(profile_name).seeds > 1
    runs = calibration.healthy_runs(
        loaded[0], profile_name, told, runs=len(calibration.SEEDS) if whole else 4
    )
    null = measure_null(loaded[0], runs, noise, profile_name, told)
    alarms = calibration.false_alarms(runs if whole else runs[:1], loaded[0], profile_name, told)
    clinic = calibration.clinic_round(
        loaded[0], profile_name, told, causes=CAUSES if whole else CAUSES[:2]
    )
    register = register_rows([(lesson, lesson.measure(units)) for lesson in REGISTER])
    write_file(measured / CLAIMS_FILE, json.dumps(register, ensure_ascii=False, indent=1) + "\n")
    write_file(
        measured / NOISE_FILE,
        json.dumps({key: asdict(value) for key, value in noise.items()}, indent=1) + "\n",
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / records.FILE).unlink(missing_ok=True)
    for claim in CLAIMS:
        found = claim.measure(units)
        records.append(
            out_dir,
            "finding",
            claim=claim.words,
            effect=found.as_dict(),
            at_least=claim.at_least,
            verdict=said(claim, found),
        )
    for row in register:
        records.append(out_dir, "claim", **row)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_figure(loaded[0], profile_name, page.with_name("merge_sweep.png"))
    write_pareto(units, page.with_name("pareto.png"))
    text = PAGE.format(
        profile=profile_name,
        model=MODEL,
        packs=", ".join(pack.name for pack in loaded),
        seeds=seeds,
        base_seeds=min(seeds, BASE_START_SEEDS),
        selection=NOT_ON_DEV,
        people=world.PEOPLE,
        public=world.PUBLIC,
        private=world.PRIVATE,
        table=claims_table(units),
        register=register_table(register),
        claims=len(register),
        first=loaded[0].name,
        diversity=diversity_words(units),
        null=null_table(null),
        clinic=diagnoses_table(clinic, alarms),
        noise=noise_table(noise),
        per_pack=per_pack_table(units),
        synergy=synergy_table(units),
        geometry=geometry_table(units),
        barriers=barrier_table(units),
        base=BASE,
        chosen=chosen_table(units),
        scores=scores_table(units),
        preference=preference_table(units),
    )
    write_file(page, text)
    return units
