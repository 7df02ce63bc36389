"""What notebook 02 computes and shows: a pack of one's own, experiments run live with their noise, and what the study measured over seeds."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

from labkit import figures
from labkit.clock import training
from labkit.data_study import EXPERIMENTS, Experiment, arm_of, corpus_of, experiment, knowledge, run_experiment
from labkit.design import PipelineSpec
from labkit.errors import InputError
from labkit.ingest import Ingested, check_name, new_pack
from labkit.lesson import Guess, Lab, headless, show_html
from labkit.packs import Pack
from labkit.published import measured_data, run_noise_of
from labkit.stats import Interval, with_run_noise
from labkit.study import Unit
from labkit.tables import claims_table, plain_table

PAGES, ROWS_PER_PAGE = 12, 8  # of the folder that is made to be read
CHUNK_WORDS = 35  # what a tiny model reads in a row


def messy_folder(pack: Pack, folder: Path) -> Path:
    """A folder such as people have: notes in two encodings, a table of questions, a copy, and four files that are no text."""
    texts, questions = [row["text"] for row in pack.rows("raw")], pack.rows("qa")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in range(PAGES):
        text = "\n\n".join([*texts[page * ROWS_PER_PAGE : (page + 1) * ROWS_PER_PAGE], "Accept all cookies"])
        (folder / f"note-{page:02d}.txt").write_text(text, "utf-16" if page % 3 == 0 else "utf-8")
    (folder / "copy of note.md").write_text((folder / "note-01.txt").read_text("utf-8"), "utf-8")
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerows([("question", "answer"), *((row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in questions)])
    (folder / "empty.txt").write_bytes(b"")
    (folder / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4\nthis file ends too soon")
    (folder / "budget.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    return folder


def show_own_pack(lab: Lab, source: str | Path | None = None, name: str = "my-domain") -> Ingested:
    """Make a pack of a folder (by default a messy one made for it) and show what came of every file; recorded."""
    check_name(name)
    folder = Path(source) if source else messy_folder(lab.known_pack(), lab.out_dir / "a messy folder")
    output, fresh = lab.out_dir / "packs" / name, lab.out_dir / "packs" / f"{name}.new"
    if output.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise InputError(f"{folder} lies in {output}, where the pack goes; give the folder of your own files")
    shutil.rmtree(fresh, ignore_errors=True)
    made = replace(new_pack(name, folder, fresh, chunk_words=CHUNK_WORDS, seed=lab.seed), folder=output)
    shutil.rmtree(output, ignore_errors=True)  # the pack before, once there is one to take its place
    fresh.rename(output)
    for sentence in made.unread:
        print(f"left out: {sentence}")
    show_html(plain_table(("left out", "why", "how many"), [(row["what"], row["reason"], row["count"]) for row in made.dropped]))
    show_html(plain_table(("split", "rows"), made.rows.items()))
    print(f"made in {made.seconds:.1f} s: {made.folder}; `labkit run` trains on it, dropped.jsonl lists every piece left out")
    lab.record("ingest", read=made.read, rows=made.rows, dropped=made.dropped, seconds=made.seconds)
    return made


def run_live(lab: Lab, name: str) -> Unit:
    """Train and score the arms of an experiment, one seed; finished ones are read back. Raises InputError for an unknown name."""
    found, pack = experiment(name), lab.known_pack()
    with training(_specs(lab, found, pack)):
        return run_experiment(found, pack, lab.seed, lab.profile, told=lambda text: None if headless() else print(text))


def _specs(lab: Lab, found: Experiment, pack: Pack) -> list[PipelineSpec]:
    """What study.train_arm trains for each arm."""
    arms = ((corpus_of(pack, condition.corpus), arm_of(pack, condition)) for condition in found.conditions.values())
    return [PipelineSpec(pack=str(source.folder), model=arm.model, stages=arm.stages, seed=lab.seed, profile=lab.profile) for source, arm in arms]


def show_experiment(lab: Lab, name: str, unit: Unit, guess: Guess | None = None) -> None:
    """The arms as a figure, and each claim as a finding of this one run, the noise between training seeds included."""
    found = experiment(name)
    scores = knowledge([unit], found)
    told = "; ".join(f"{arm}: {score}" for arm, score in scores.items())
    lab.show(figures.arms({found.question: scores}, guess=guess.value if guess else None), f"arms-{name.replace(' ', '-')}", f"Share of questions answered in each arm. {told}.")
    if guess:
        lab.outcome(guess, list(scores.values())[-1])
    for claim in found.claims:
        effect = with_run_noise(claim.measure([unit]), run_noise_of("knowledge", found.kind))
        lab.finding(claim.words, effect, claimed=1, reported=claim.elsewhere)


def show_study(lab: Lab, names: tuple[str, ...] = tuple(EXPERIMENTS)) -> None:
    """What the study measured over seeds: every experiment's arms, and the findings with verdicts."""
    data = measured_data()
    panels = {experiment(name).question: {arm: Interval(**score) for arm, score in data["scores"][name].items()} for name in names}
    lab.show(figures.arms(panels), "study", "Share of questions answered in every arm of every experiment over the study's seeds, with intervals; the table below has the figures.")
    show_html(claims_table([row for row in data["claims"] if row["topic"] in names]))


def offer(lab: Lab) -> None:
    """A choice of experiments to run live; headless, nothing is built."""
    if headless():
        print(f"experiments to choose from: {', '.join(EXPERIMENTS)}")
        return
    from IPython.display import display

    from labkit.panels import run_panel

    display(run_panel({found.question: name for name, found in EXPERIMENTS.items()}, lambda name: show_experiment(lab, name, run_live(lab, name)), "run this experiment"))


