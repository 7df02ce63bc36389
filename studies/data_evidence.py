"""The experiments on data over seeds: what notebook 02 and the design rules say was measured, and
docs/data.md.

Checkpoints and scorecards are content-addressed, so a stopped study continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.base.pages import claims_rows
from labkit.base.stats import Interval
from labkit.base.store import write_file
from labkit.course.labs.data_lab import EXPERIMENTS, STEPS, Experiment, knowledge, run_experiment
from labkit.course.study import Unit, register_rows
from labkit.data.packs import Pack, load_pack
from labkit.data.published import DATA_FILE
from labkit.models.families import MODEL
from labkit.train.specs import ProfileName, profile
from studies import page

PAGE = page("data")


def measure_all(
    pack: Pack, seeds: int, profile_name: ProfileName, told: Callable[[str], None]
) -> dict[str, list[Unit]]:
    """Experiment -> its units, one per seed."""
    found: dict[str, list[Unit]] = {name: [] for name in EXPERIMENTS}
    for seed in range(seeds):
        for name, experiment in EXPERIMENTS.items():
            found[name].append(run_experiment(experiment, pack, seed, profile_name, told))
    return found


def as_rows(found: dict[str, list[Unit]]) -> dict:
    """Claims with their verdicts, corrected over all of them, and the score of every arm: what the
    shipped file holds.
    """
    rows = register_rows(
        [
            (claim, claim.measure(found[name]))
            for name, experiment in EXPERIMENTS.items()
            for claim in experiment.claims
        ]
    )
    scores = {
        name: {
            label: score.as_dict()
            for label, score in knowledge(found[name], EXPERIMENTS[name]).items()
        }
        for name in EXPERIMENTS
    }
    return {"claims": rows, "scores": scores}


def _section(experiment: Experiment, data: dict) -> str:
    scores = [
        "| arm | questions answered |",
        "|---|---|",
        *(
            f"| {label} | {Interval(**score)} |"
            for label, score in data["scores"][experiment.id].items()
        ),
    ]
    claims = claims_rows([row for row in data["claims"] if row["topic"] == experiment.id])
    kind = (
        "in wordings that no training text used"
        if experiment.kind == "paraphrased"
        else "in the wordings of SFT"
    )
    return "\n".join(
        [f"## {experiment.question}", "", f"Questions {kind}.", "", *scores, "", claims]
    )


def write_page(data: dict, page: Path, *, pack: str, profile_name: str, seeds: int) -> None:
    """docs/data.md and its figure, from what was measured."""
    from labkit.course import figures

    sections: Sequence[str] = [_section(experiment, data) for experiment in EXPERIMENTS.values()]
    text = PAGE.format(
        profile=profile_name,
        model=MODEL,
        pack=pack,
        seeds=seeds,
        steps=STEPS,
        count=len(data["claims"]),
        experiments="\n\n".join(sections),
    )
    write_file(page, text)
    panels = {
        EXPERIMENTS[name].question: {label: Interval(**score) for label, score in scores.items()}
        for name, scores in data["scores"].items()
    }
    page.with_name("data.png").write_bytes(figures.png(figures.arms(panels)))


def run_data_study(
    *,
    profile_name: ProfileName,
    page: Path,
    measured: Path,
    console,
    seeds: int | None = None,
    pack: str = "materials",
) -> dict:
    """Run every experiment over seeds, then write the page and the file that notebook 02 and the
    rules read.

    seeds: at least 2; by default the profile's. Raises InputError for an unknown profile.
    """
    seeds, loaded = max(2, seeds or profile(profile_name).seeds), load_pack(pack)
    found = measure_all(
        loaded, seeds, profile_name, lambda text: console.print(text, highlight=False)
    )
    data = as_rows(found)
    write_file(measured / DATA_FILE, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write_page(data, page, pack=loaded.name, profile_name=profile_name, seeds=seeds)
    return data
