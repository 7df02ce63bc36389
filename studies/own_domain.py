"""The study of a person's own domain: docs/own-domain.md and what `steps: auto` rests on.

Folders of documents about things that do not exist (invented.py) go the way of any folder: `labkit
pack new`, CPT, SFT, a preference stage. What a model says afterwards of facts that no training
question asks for it can only have read.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from labkit.base.stats import ItemScore, cluster_mean
from labkit.base.store import default_root, write_file
from labkit.data.ingest import new_pack
from labkit.data.packs import Pack, load_pack
from labkit.evaluate.scorecards import score_items
from labkit.models.architecture import parameters_of
from labkit.train import exposure
from labkit.train.pipeline import load_checkpoint, rows_read, run_spec
from labkit.train.specs import OWN, PipelineSpec, Stage
from studies.invented import THEMES, Fact, write_folder

SEEDS = 5
NINE_OF_TEN = 1.645  # standard deviations to each side
CLOSEST = 0.02  # shares nearer to 0 and 1 have no logarithm of odds to speak of


@dataclass(frozen=True)
class Cell:
    """What is varied. reads: of each row of CPT. length: tokens of a row. tellings: of each fact on
    its page.
    """

    family: str = "llama-s"
    reads: float = 30
    alike: bool = False
    length: int = OWN[0].max_length
    things: int = 40
    tellings: int = 2


READS = (10, 30, 80)
CELLS = (
    *(Cell(reads=reads) for reads in READS),
    *(Cell("llama-xs", reads) for reads in READS),
    Cell(alike=True),
    Cell(length=128),
    Cell(tellings=1),
    *(Cell("llama-m", reads) for reads in READS[:2]),
)


def pack_of(theme: str, seed: int, cell: Cell) -> tuple[Pack, list[Fact]]:
    """The pack that `labkit pack new` makes of an invented folder, and the facts told in its
    training text that no training question asks for.
    """
    name = f"{theme}-{seed}-{cell.things}-{int(cell.alike)}-{cell.tellings}"
    folder = default_root().parent / "own-domain" / name
    with tempfile.TemporaryDirectory() as draft:
        source = Path(draft) / theme
        facts = write_folder(
            source,
            theme,
            seed=seed,
            things=cell.things,
            alike=cell.alike,
            tellings=cell.tellings,
        )
        if not folder.is_dir():
            new_pack(name, source, folder)
    pack = load_pack(folder)
    read = "\n".join(row["text"] for row in pack.rows("raw"))
    asked = {row["messages"][0]["content"] for row in pack.rows("qa")}
    return pack, [fact for fact in facts if fact.asked not in asked and f"{fact.thing} " in read]


def free_recall(checkpoint, facts: list[Fact]) -> list[ItemScore]:
    """Whether a checkpoint answers a fact's question, per fact; a thing is a cluster."""
    items = [
        {
            "id": f"fact-{number}",
            "axis": "knowledge",
            "kind": "free",
            "entity": fact.thing,
            "messages": [{"role": "user", "content": fact.asked}],
            "answer": fact.answer,
        }
        for number, fact in enumerate(facts)
    ]
    loaded = load_checkpoint(checkpoint)
    results = score_items(loaded.model, loaded.tokenizer, items)
    return [ItemScore(result.id, result.entity, result.score) for result in results]


def stages_of(cell: Cell, pack: Pack) -> tuple[Stage, Stage]:
    """CPT that reads each row as often as a cell says, and SFT of labkit's proposal."""
    model = f"{cell.family}-instruct"
    reading, answering = (exposure.own_stage(kind, parameters_of(model)) for kind in ("cpt", "sft"))
    tokenizer = load_checkpoint(model).tokenizer
    there = tuple(split for split in reading.sources if pack.has(split))
    reading = reading.model_copy(update={"max_length": cell.length, "sources": there})
    rows = rows_read(reading, pack, tokenizer)
    own = reading.batch_size * (1 - reading.replay)
    steps = math.ceil(cell.reads * rows / own)
    return reading.model_copy(update={"steps": steps}), answering


def measure(cell: Cell, seed: int) -> dict:
    """One run: train, ask, and take down what came of it."""
    theme = list(THEMES)[seed % len(THEMES)]
    pack, facts = pack_of(theme, seed, cell)
    spec = PipelineSpec(
        pack=str(pack.folder),
        model=f"{cell.family}-instruct",
        stages=stages_of(cell, pack),
        seed=seed,
    )
    reading, answering = run_spec(spec)
    scores = free_recall(answering, facts)
    return {
        **asdict(cell),
        "seed": seed,
        "theme": theme,
        "parameters": parameters_of(spec.model),
        "steps": reading.lineage["steps"],
        "facts": len(facts),
        "recall": cluster_mean(scores).mean,
        "in_words_of_text": reading.lineage["recall"]["looks"][-1][1]
        if "recall" in reading.lineage
        else None,
        "seconds": reading.lineage["wall_seconds"] + answering.lineage["wall_seconds"],
    }


def fitted(runs: Iterable[dict]) -> dict:
    """Recall from reads and parameters: log-odds that are linear in both logarithms, over runs of
    labkit's proposal. spread: to each side, of nine runs of ten.
    """
    plain = Cell()
    kept = [
        run
        for run in runs
        if (run["alike"], run["length"], run["tellings"])
        == (plain.alike, plain.length, plain.tellings)
    ]
    recall = np.clip([run["recall"] for run in kept], CLOSEST, 1 - CLOSEST)
    odds = np.log(recall / (1 - recall))
    columns = np.array(
        [[1, math.log(run["reads"]), math.log(run["parameters"] / 1e6)] for run in kept]
    )
    found, *_ = np.linalg.lstsq(columns, odds, rcond=None)
    left = odds - columns @ found
    sizes = [run["parameters"] for run in kept]
    return {
        "start": float(found[0]),
        "per_log_read": float(found[1]),
        "per_log_parameter": float(found[2]),
        "spread": float(NINE_OF_TEN * np.sqrt((left**2).sum() / (len(kept) - columns.shape[1]))),
        "parameters": [min(sizes), max(sizes)],
        "runs": len(kept),
    }


def run_recall(measured: Path, tell: Callable[[str], None], seeds: int = SEEDS) -> dict:
    """Measure every cell over seeds; what is measured is kept after each run."""
    runs: list[dict] = []
    path = measured / exposure.MEASURED
    for seed in range(seeds):
        for cell in CELLS:
            run = measure(cell, seed)
            runs.append(run)
            tell(f"{cell} seed {seed}: recall {run['recall']:.2f}, {run['seconds']:.0f} s")
            if len({(one["family"], one["reads"]) for one in runs}) > len(READS):
                data = {"fit": fitted(runs), "runs": runs}
                write_file(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    return json.loads(path.read_text("utf-8"))
