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
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

from labkit.base.pages import signed
from labkit.base.stats import Interval, ItemScore, cluster_mean, paired_difference
from labkit.base.store import default_root, write_file
from labkit.course import figures
from labkit.data.ingest import new_pack
from labkit.data.items import baselines
from labkit.data.packs import Pack, load_pack
from labkit.design.designer import design
from labkit.evaluate.scorecards import score_items
from labkit.models.architecture import parameters_of
from labkit.train import exposure
from labkit.train.pipeline import load_checkpoint, rows_read, run_spec
from labkit.train.specs import OWN, PipelineSpec, Stage
from studies import page
from studies.invented import LAST_THEME, THEMES, Fact, write_folder

DOCS = Path(__file__).parents[1] / "docs"
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
OWN_ROWS = exposure.own_rows(OWN[0])  # of a step
CELLS = (
    *(Cell(reads=reads) for reads in READS),
    *(Cell("llama-xs", reads) for reads in READS),
    Cell(alike=True),
    Cell(length=128),
    Cell(tellings=1),
    *(Cell("llama-m", reads) for reads in READS[:2]),
)


def _cells(*varied: tuple[str, float, int]) -> tuple[Cell, ...]:
    """Cells of (family, reads, things)."""
    return tuple(Cell(family, reads, things=things) for family, reads, things in varied)


# One run each: how many things there are is varied, and with it the steps of as many readings.
VARIED_SEED = 100
VARIED = _cells(
    ("llama-s", 12, 80),
    ("llama-s", 20, 30),
    ("llama-s", 35, 60),
    ("llama-s", 50, 40),
    ("llama-s", 60, 30),
    ("llama-s", 90, 30),
    ("llama-xs", 15, 50),
    ("llama-xs", 45, 40),
    ("llama-xs", 90, 30),
    ("llama-m", 20, 30),
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
    steps = math.ceil(cell.reads * rows / exposure.own_rows(reading))
    return reading.model_copy(update={"steps": steps}), answering


def measure(cell: Cell, seed: int) -> dict:
    """One run: train, ask, and take down what came of it."""
    themes = [theme for theme in THEMES if theme != LAST_THEME]
    theme = themes[seed % len(themes)]
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
        "rows": round(reading.lineage["steps"] * OWN_ROWS / reading.lineage["reads"]),
        "facts": len(facts),
        "recall": cluster_mean(scores).mean,
        "in_words_of_text": reading.lineage["recall"]["looks"][-1][1]
        if "recall" in reading.lineage
        else None,
        "seconds": reading.lineage["wall_seconds"] + answering.lineage["wall_seconds"],
    }


def fitted(runs: Iterable[dict]) -> dict:
    """Recall from reads, rows and parameters: log-odds that are linear in their logarithms, over
    runs of labkit's proposal. spread: to each side, of nine runs of ten.
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
        [
            (
                1,
                math.log(run["reads"]),
                math.log(run["rows"] / 1000),
                math.log(run["parameters"] / 1e6),
            )
            for run in kept
        ]
    )
    found, *_ = np.linalg.lstsq(columns, odds, rcond=None)
    left = odds - columns @ found
    sizes = [run["parameters"] for run in kept]
    return {
        "start": float(found[0]),
        "per_log_read": float(found[1]),
        "per_log_row": float(found[2]),
        "per_log_parameter": float(found[3]),
        "spread": float(NINE_OF_TEN * np.sqrt((left**2).sum() / (len(kept) - columns.shape[1]))),
        "parameters": [min(sizes), max(sizes)],
        "rows": [min(run["rows"] for run in kept), max(run["rows"] for run in kept)],
        "runs": len(kept),
    }


# --- ten packs that the fit has not seen --------------------------------------------------------

FRESH_SEED = 300  # and on: of packs that no fit and no recipe was chosen by
FRESH = _cells(
    ("llama-s", 15, 70),
    ("llama-s", 25, 35),
    ("llama-s", 40, 55),
    ("llama-s", 55, 30),
    ("llama-s", 70, 25),
    ("llama-s", 20, 90),
    ("llama-xs", 20, 60),
    ("llama-xs", 50, 35),
    ("llama-xs", 80, 50),
    ("llama-m", 15, 45),
)


def run_fresh(measured: Path, tell: Callable[[str], None]) -> list[dict]:
    """What was forecast of each of ten packs, and what came of it."""
    runs = []
    for number, cell in enumerate(FRESH):
        run = measure(cell, FRESH_SEED + number)
        seen = exposure.forecast(cell.reads, run["rows"], run["parameters"])
        assert seen is not None, "a size of the study"
        within = seen.holds(run["recall"])
        runs.append({**run, "forecast": [seen.mean, seen.low, seen.high], "within": within})
        tell(f"{cell}: forecast {seen}, measured {run['recall']:.2f}")
        _keep(measured, fresh=runs)
    return runs


# --- the proposal, from a folder to a preference stage ------------------------------------------

PROPOSED = Cell("llama-s", things=100)  # a page each
PROPOSED_SEED = 200


def run_proposal(measured: Path, tell: Callable[[str], None]) -> list[dict]:
    """What the designer proposes for a pack, with DPO and with ORPO after it, as it is."""
    runs = []
    for seed in (PROPOSED_SEED, PROPOSED_SEED + 1):
        cell, theme = PROPOSED, LAST_THEME
        pack, facts = pack_of(theme, seed, cell)
        preferred = {row["prompt"][0]["content"] for row in pack.rows("preferences")}
        facts = [fact for fact in facts if fact.asked not in preferred]
        scores, seconds = {}, {}
        for sequence in ("cpt-sft", "cpt-sft-dpo", "cpt-sft-orpo"):
            spec = design(pack=str(pack.folder), model=cell.family, sequence=sequence)
            made = run_spec(spec)
            found = cluster_mean(free_recall(made[-1], facts))
            scores[sequence] = [found.mean, found.low, found.high]
            seconds[sequence] = sum(one.lineage["wall_seconds"] for one in made)
            tell(f"{theme}, {sequence}: {found}, {seconds[sequence]:.0f} s")
        runs.append(
            {
                "theme": theme,
                "seed": seed,
                "family": cell.family,
                "documents": cell.things,
                "facts": len(facts),
                "steps": [stage.steps for stage in spec.stages],
                "reads": made[0].lineage["reads"],
                "recall": scores,
                "seconds": seconds,
            }
        )
        _keep(measured, proposal=runs)
    return runs


def _keep(measured: Path, **parts: object) -> None:
    path = measured / exposure.MEASURED
    data = json.loads(path.read_text("utf-8")) | parts
    write_file(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def run_recall(measured: Path, tell: Callable[[str], None], seeds: int = SEEDS) -> dict:
    """Measure every cell over seeds, and varied ones; what is trained is kept in the store."""
    runs: list[dict] = []
    planned = [(cell, seed) for seed in range(seeds) for cell in CELLS]
    planned += [(cell, VARIED_SEED + number) for number, cell in enumerate(VARIED)]
    for cell, seed in planned:
        run = measure(cell, seed)
        runs.append(run)
        tell(f"{cell} seed {seed}: recall {run['recall']:.2f}, {run['seconds']:.0f} s")
    _keep(measured, fit=fitted(runs), runs=runs)
    return exposure_data(measured)


# --- the page -----------------------------------------------------------------------------------

SOUND = "sound.json"  # of data_samples/measured: what a person found on reading items
REAL = ("pubmedqa", "contracts", "elements")
ASKED_AXES = ("knowledge", "reasoning", "instructions", "creativity", "compositional")
FOLDER_PACK, FEWEST_WORDS = "packages", 120


def run_items(measured: Path, tell: Callable[[str], None]) -> dict:
    """What kinds of items the real packs have, and a pack of documents found on this machine."""
    kinds: dict[str, dict] = {}
    for name in (*REAL, FOLDER_PACK):
        with tempfile.TemporaryDirectory() as draft:
            pack = load_pack(name) if name in REAL else _installed(Path(draft))
            found = baselines(pack.rows("test"), pack.rows("dev"))
            documents = len({row["source"] for row in pack.rows("raw")})
            kinds[name] = {"documents": documents, "kinds": found}
        tell(f"{name}: {sum(kind['items'] for kind in found)} items")
    _keep(measured, items=kinds)
    return kinds


def _installed(folder: Path) -> Pack:
    """A pack of the descriptions of the Python packages that are installed here."""
    source = folder / "documents"
    source.mkdir()
    for one in distributions():
        text = str(one.metadata.json.get("description", ""))
        if len(text.split()) >= FEWEST_WORDS:
            (source / f"{one.metadata['Name']}.md").write_text(text, "utf-8")
    return load_pack(new_pack(FOLDER_PACK, source, folder / FOLDER_PACK).folder)


def write_page(measured: Path, page_file: Path) -> None:
    """docs/own-domain.md and its figure, from what was measured so far."""
    data = exposure_data(measured)
    fresh, sound = data.get("fresh", []), json.loads((measured / SOUND).read_text("utf-8"))
    write_file(
        page_file,
        page("own-domain").format(
            items=_items_table(data.get("items", {})),
            baselines=_baselines_table(data.get("items", {})),
            sound=_sound_table(sound),
            cells=_cells_table(data["runs"]),
            findings=_findings(data["runs"]),
            wanted=exposure.WANTED,
            most_reads=exposure.MOST_READS,
            most_steps=f"{exposure.MOST_STEPS:,}",
            enough=exposure.ENOUGH,
            fit_runs=data["fit"]["runs"],
            within=sum(run["within"] for run in fresh),
            fresh_runs=len(fresh),
            fresh=_fresh_table(fresh),
            proposal=_proposal_table(data.get("proposal", [])),
        ),
    )
    page_file.with_name("recall.png").write_bytes(figures.png(recall_figure(data["runs"])))


def exposure_data(measured: Path) -> dict:
    return json.loads((measured / exposure.MEASURED).read_text("utf-8"))


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _items_table(items: dict) -> str:
    def count(name: str, axis: str) -> int:
        return sum(kind["items"] for kind in items[name]["kinds"] if kind["axis"] == axis)

    return _table(
        ("pack", "documents", *ASKED_AXES),
        (
            (name, items[name]["documents"], *(count(name, axis) for axis in ASKED_AXES))
            for name in items
        ),
    )


def _baselines_table(items: dict) -> str:
    return _table(
        ("pack", "axis", "kind", "items", "by chance", "always the same", "from the choices alone"),
        (
            (
                name,
                kind["axis"],
                kind["kind"],
                kind["items"],
                f"{kind['chance']:.2f}",
                f"{kind['constant']:.2f}",
                f"{kind['choices_alone']:.2f}" if "choices_alone" in kind else "–",
            )
            for name, found in items.items()
            for kind in found["kinds"]
        ),
    )


def _sound_table(sound: list[dict]) -> str:
    read = _table(
        ("pack", "kind", "read", "sound", "share"),
        (
            (
                row["pack"],
                row["kind"],
                row["read"],
                row["sound"],
                f"{row['sound'] / row['read']:.2f}",
            )
            for row in sound
        ),
    )
    unsound = [
        f"- {row['pack']}, {row['kind']}: ``{told}``" for row in sound for told in row["unsound"]
    ]
    return "\n".join((read, "", "The unsound ones:", "", *unsound))


def over_runs(runs: Iterable[dict]) -> Interval:
    """Mean recall of runs, each with a pack and a seed of its own."""
    return cluster_mean(
        [ItemScore("recall", f"{run['theme']} {run['seed']}", run["recall"]) for run in runs]
    )


def _by_cell(runs: list[dict]) -> dict[Cell, list[dict]]:
    names = [one.name for one in fields(Cell)]
    cells: dict[Cell, list[dict]] = {}
    for run in runs:
        cells.setdefault(Cell(**{name: run[name] for name in names}), []).append(run)
    return cells


def _cells_table(runs: list[dict]) -> str:
    return _table(
        (
            *("model", "documents", "each row read", "names", "tokens of a row", "tellings"),
            *("runs", "recall", "steps", "seconds"),
        ),
        (
            (
                cell.family,
                cell.things,
                f"{cell.reads:g} times",
                "alike" if cell.alike else "different",
                cell.length,
                cell.tellings,
                len(own),
                over_runs(own) if len(own) > 1 else f"{own[0]['recall']:.2f}",
                f"{np.mean([run['steps'] for run in own]):,.0f}",
                f"{np.mean([run['seconds'] for run in own]):.0f}",
            )
            for cell, own in _by_cell(runs).items()
        ),
    )


def _findings(runs: list[dict]) -> str:
    """One difference a line, in pairs of runs that have theme and seed in common."""
    cells = _by_cell(runs)
    told = []
    for words, changed, plain in (
        ("names that are alike, against names that differ", Cell(alike=True), Cell()),
        ("rows of 128 tokens, against rows of 48", Cell(length=128), Cell()),
        ("a fact told once on its page, against twice", Cell(tellings=1), Cell()),
        ("llama-xs, against llama-s", Cell("llama-xs"), Cell()),
        ("llama-m, against llama-s", Cell("llama-m"), Cell()),
        ("each row read 80 times, against 30", Cell(reads=80), Cell()),
    ):
        before, after = (
            [
                ItemScore(f"{run['theme']} {run['seed']}", f"{run['seed']}", run["recall"])
                for run in cells.get(cell, [])
            ]
            for cell in (plain, changed)
        )
        if after and len(after) == len(before):
            found = paired_difference(before, after)
            told.append(f"- {words}: {signed(found)} ({len(after)} runs each), {verdict(found)}")
    return "\n".join(told)


def verdict(found: Interval) -> str:
    """Whether a difference can be told from none."""
    return "not distinguishable" if found.low <= 0 <= found.high else "supported"


def _fresh_table(fresh: list[dict]) -> str:
    return _table(
        ("model", "documents", "each row read", "forecast", "measured", "within"),
        (
            (
                run["family"],
                run["things"],
                f"{run['reads']:g} times",
                "{:.2f} [{:.2f}, {:.2f}]".format(*run["forecast"]),
                f"{run['recall']:.2f}",
                "yes" if run["within"] else "no",
            )
            for run in fresh
        ),
    )


def _proposal_table(runs: list[dict]) -> str:
    return _table(
        (
            "domain",
            "seed",
            "model",
            "documents",
            "facts asked",
            "each row read",
            "stages",
            "recall",
            "seconds",
        ),
        (
            (
                run["theme"],
                run["seed"],
                run["family"],
                run["documents"],
                run["facts"],
                f"{run['reads']:.0f} times",
                stages,
                "{:.2f} [{:.2f}, {:.2f}]".format(*run["recall"][stages]),
                f"{run['seconds'][stages]:.0f}",
            )
            for run in runs
            for stages in run["recall"]
        ),
    )


def recall_figure(runs: list[dict]):
    """Recall against readings, a line for each model size."""
    figure, (ax,) = figures.new_figure(7.5, 4.5)
    plain = Cell()
    sizes = {run["family"]: run["parameters"] for run in runs}
    for number, family in enumerate(sizes):
        points = [
            (cell.reads, over_runs(own))
            for cell, own in _by_cell(runs).items()
            if cell == replace(plain, family=family, reads=cell.reads) and len(own) > 1
        ]
        ax.errorbar(
            [reads for reads, _ in points],
            [found.mean for _, found in points],
            yerr=np.array(
                [(found.mean - found.low, found.high - found.mean) for _, found in points]
            ).T,
            color=figures.COLOURS[number],
            linestyle=figures.LINES[number],
            marker="o",
            linewidth=2,
            capsize=4,
            label=f"{family}, {sizes[family]:,} parameters",
        )
    ax.set_xscale("log")
    ax.set_xticks(READS, [str(reads) for reads in READS])
    ax.minorticks_off()
    ax.set_ylim(0, 1)
    ax.set_xlabel("how often each row is read")
    ax.set_ylabel("facts answered freely")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return figure
