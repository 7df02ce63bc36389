"""What notebook 02 shows of data: a pack of one's own, and experiments with one thing changed.

In an experiment one thing about the text is changed, everything else is held equal, and domain
questions are asked. Every arm reads for some steps of CPT and then gets the same short SFT. The
notebook runs them with one seed; `python -m studies evidence --part data` runs them over seeds, and
its results ship in data_samples/measured/data.json.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import ipywidgets as widgets

from labkit.base.errors import InputError, LabkitError, PackError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.pages import claims_table, plain_table
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import Interval, with_run_noise
from labkit.course import figures
from labkit.course.labs.design_lab import sequence_for
from labkit.course.labs.quality_lab import Planted, plant_defects
from labkit.course.lesson import KNOWN_PACK, Guess, Lab, headless, say, show_html, start, what_lacks
from labkit.course.live import training
from labkit.course.panels import guard_label
from labkit.course.study import (
    AT_7B,
    LEARNING_AXES,
    Arm,
    Lesson,
    Measure,
    Unit,
    change,
    level,
    train_arm,
)
from labkit.data.held_out import axes_told
from labkit.data.ingest import KEEP, LEAVE_OUT, MASK, Ingested, check_name, kinds_of, new_pack
from labkit.data.packs import (
    EVAL_SPLITS,
    HELP,
    SPLITS,
    Pack,
    load_pack,
    shipped_packs,
    variant_pack,
)
from labkit.data.published import measured_data, run_noise_of
from labkit.design.designer import design, problems
from labkit.evaluate.scoring import score_checkpoint
from labkit.models.families import MODEL
from labkit.train.specs import GENTLE, PipelineSpec, ProfileName, Stage

# --- the experiments -------------------------------------------------------------------------

STEPS = 60  # of CPT: leaves room below the ceiling and above the floor
BATCH = 32


@dataclass(frozen=True)
class Condition:
    """What one arm reads. times: how many times STEPS it is given. tokens_of: give it as many
    tokens as this arm reads.
    """

    corpus: str
    times: int = 1
    tokens_of: str | None = None


@dataclass(frozen=True)
class Experiment:
    """A question, the arms that answer it (label -> condition), and the claims they are measured
    for.
    """

    id: str
    question: str
    conditions: dict[str, Condition]
    claims: tuple[Lesson, ...]
    kind: str = "free"  # of knowledge items


def _knows(before: str, after: str, kind: str = "free") -> Measure:
    return change(before, after, "knowledge", kind)


PAPER_QUALITY = "quality"
CLEAN = Condition("half")
EXPERIMENTS = {
    experiment.id: experiment
    for experiment in (
        Experiment(
            "doubling",
            "Does doubling the text help when the added half is junk?",
            {
                "half, clean": CLEAN,
                "half and junk": Condition("half and junk"),
                "half and junk, twice the steps": Condition("half and junk", 2),
                "twice as much, clean": Condition("double"),
            },
            (
                Lesson(
                    "doubling",
                    "half the text, clean, teaches more than that half and as much "
                    "junk, at equal steps",
                    _knows("half and junk", "half, clean"),
                    "junk takes steps away from the facts; the paper changed amount, "
                    "quality and a chat set together",
                    PAPER_QUALITY,
                ),
                Lesson(
                    "doubling",
                    "the same, the doubled text having twice the steps",
                    _knows("half and junk, twice the steps", "half, clean"),
                    "each fact is read as often: what is left is interference. " + AT_7B,
                    PAPER_QUALITY,
                ),
                Lesson(
                    "doubling",
                    "twice the clean text teaches more than half of it, at equal steps",
                    _knows("half, clean", "twice as much, clean"),
                    "more text means more wordings of the same facts, not more facts",
                ),
            ),
        ),
        Experiment(
            "junk",
            "How much junk does a model bear, and does it help to say where a text comes from?",
            {
                "no junk": CLEAN,
                "1/2 junk": Condition("half and junk", 2),
                "3/4 junk": Condition("junk 3 of 4", 4),
                "7/8 junk": Condition("junk 7 of 8", 8),
                "no junk, tagged": Condition("half, tagged"),
                "1/2 junk, tagged": Condition("half and junk, tagged", 2),
                "3/4 junk, tagged": Condition("junk 3 of 4, tagged", 4),
                "7/8 junk, tagged": Condition("junk 7 of 8, tagged", 8),
            },
            (
                *(
                    Lesson(
                        "junk",
                        f"text with {share} junk teaches less than its clean part "
                        "alone, each fact read equally often",
                        _knows(f"{share} junk", "no junk"),
                        "Allen-Zhu & Li (arXiv 2404.05405) see it for 7/8 junk and "
                        "models trained from nothing",
                    )
                    for share in ("1/2", "3/4", "7/8")
                ),
                *(
                    Lesson(
                        "junk",
                        f"a source tag on every document restores part of what {share} junk costs",
                        _knows(f"{share} junk", f"{share} junk, tagged"),
                        "Allen-Zhu & Li (arXiv 2404.05405) see it with far more "
                        "exposures per fact, in pre-training",
                    )
                    for share in ("1/2", "3/4", "7/8")
                ),
                Lesson(
                    "junk",
                    "where there is no junk to tell apart, a source tag costs something",
                    _knows("no junk, tagged", "no junk"),
                    "the tag is a word the model never saw, and spells in pieces",
                ),
            ),
        ),
        Experiment(
            "junk at equal cost",
            "The same junk when the training budget stays what it was?",
            {
                "no junk": CLEAN,
                "1/2 junk": Condition("half and junk"),
                "3/4 junk": Condition("junk 3 of 4"),
                "7/8 junk": Condition("junk 7 of 8"),
            },
            tuple(
                Lesson(
                    "junk at equal cost",
                    f"text with {share} junk teaches less than its clean part alone, at "
                    "equal steps",
                    _knows(f"{share} junk", "no junk"),
                    "junk takes steps away from the facts",
                    PAPER_QUALITY,
                )
                for share in ("3/4", "7/8")
            ),
        ),
        Experiment(
            "duplicates",
            "Does it matter that a text is there four or seven times?",
            {
                "280 documents": CLEAN,
                "70, four copies each": Condition("four copies"),
                "40, seven copies each": Condition("seven copies"),
            },
            (
                Lesson(
                    "duplicates",
                    "280 different documents teach more than 70 of them four times",
                    _knows("70, four copies each", "280 documents"),
                    "Lee et al. (arXiv 2107.06499) remove duplicates from "
                    "pre-training; here 70 texts tell each fact in at most two wordings",
                ),
                Lesson(
                    "duplicates",
                    "280 different documents teach more than 40 of them seven times",
                    _knows("40, seven copies each", "280 documents"),
                    "one document per entity is left: one wording of each fact",
                ),
            ),
        ),
        Experiment(
            "wrong facts",
            "What do wrong statements cost?",
            {
                "all right": CLEAN,
                "a quarter wrong": Condition("a quarter wrong"),
                "half wrong": Condition("half wrong"),
            },
            tuple(
                Lesson(
                    "wrong facts",
                    f"text with {share} of its statements wrong teaches less than right text",
                    _knows(f"{share} wrong", "all right"),
                    "false values differ from one another: the right one mostly stays "
                    "the most frequent",
                )
                for share in ("a quarter", "half")
            ),
        ),
        Experiment(
            "form",
            "Papers, summaries or questions with answers, at equal tokens?",
            {
                "papers": Condition("papers"),
                "summaries": Condition("summaries", tokens_of="papers"),
                "questions": Condition("questions", tokens_of="papers"),
            },
            (
                Lesson(
                    "form",
                    "distilled summaries teach more than the papers, at equal tokens",
                    _knows("papers", "summaries", "paraphrased"),
                    "240 summaries are read more often than 560 papers, and have no "
                    "stray sentences: both differ",
                    "distilled",
                ),
                Lesson(
                    "form",
                    "questions with answers teach more than the papers, at equal tokens",
                    _knows("papers", "questions", "paraphrased"),
                    "asked in wordings that no training text used; the pairs tell of "
                    "one entity at a time, without its relation",
                    "distilled",
                ),
            ),
            "paraphrased",
        ),
        Experiment(
            "wordings",
            "One wording of each fact or many?",
            {
                "one wording": Condition("one wording"),
                "two wordings": Condition("two wordings"),
                "eight wordings": Condition("double"),
            },
            (
                Lesson(
                    "wordings",
                    "eight wordings per fact give more answers than one, same documents and steps",
                    _knows("one wording", "eight wordings"),
                    "Allen-Zhu & Li (arXiv 2309.14316) start from nothing; an instruct "
                    "start already knows how facts are turned into answers",
                ),
                Lesson(
                    "wordings",
                    "two wordings give more answers than one",
                    _knows("one wording", "two wordings"),
                    "as above",
                ),
            ),
        ),
    )
}


# --- running them ----------------------------------------------------------------------------


def experiment(name: str) -> Experiment:
    """Raises InputError for an unknown experiment."""
    if name not in EXPERIMENTS:
        raise InputError(f"unknown experiment {name!r}: {suggest(name, list(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def corpus_of(pack: Pack, corpus: str) -> Pack:
    """The pack whose raw split a condition reads; `papers` is the pack's own."""
    return pack if corpus == "papers" else variant_pack(pack.name, corpus)


def _mean_tokens(pack: Pack, corpus: str) -> float:
    """Mean tokens of a text, its end included."""
    from labkit.models.zoo import model_folder, tokenizer_of

    tokenizer = tokenizer_of(model_folder(MODEL))
    texts = [row["text"] for row in corpus_of(pack, corpus).rows("raw")]
    return sum(
        len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
    ) / len(texts)


def steps_of(pack: Pack, condition: Condition) -> int:
    """Optimiser steps of CPT a condition is given."""
    steps = STEPS * condition.times
    if condition.tokens_of is None:
        return steps
    return round(
        steps * _mean_tokens(pack, condition.tokens_of) / _mean_tokens(pack, condition.corpus)
    )


def arm_of(pack: Pack, condition: Condition) -> Arm:
    """CPT on the condition's text with a quarter of replay, then the gentle SFT."""
    cpt = Stage(
        kind="cpt",
        learning_rate=8e-4,
        steps=steps_of(pack, condition),
        batch_size=BATCH,
        replay=0.25,
        sources=("raw",),
    )
    corpus = None if condition.corpus == "papers" else condition.corpus
    return Arm((cpt, GENTLE[1]), corpus=corpus, axes=LEARNING_AXES)


def run_experiment(
    found: Experiment,
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    told: Callable[[str], None] = lambda text: None,
) -> Unit:
    """Train and score every arm of an experiment that is not there yet. pack: a shipped one, whose
    world is known.
    """
    unit = Unit(pack.name, seed)
    for label, condition in found.conditions.items():
        told(f"{pack.name} seed {seed}: {found.id}: {label}")
        arm = arm_of(pack, condition)
        checkpoint = train_arm(arm, pack, seed, profile_name)[-1]
        unit.cards[label] = score_checkpoint(
            checkpoint, pack, axes=arm.axes, profile_name=profile_name, name=label
        )
    return unit


def knowledge(units: list[Unit], found: Experiment) -> dict[str, Interval]:
    """Label of each arm -> share of private questions answered, over all units."""
    return {label: level(label, "knowledge", found.kind)(units) for label in found.conditions}


# --- a pack of one's own ---------------------------------------------------------------------

PAGES, ROWS_PER_PAGE = 12, 8  # of the folder that is made to be read
CHUNK_WORDS = 35  # what a tiny model reads in a row
OWN_NAME = "my-domain"
MOST_FOUND = 20  # lines of personal text, shown
CONTACT = "\n\nAsk Ada, ada.fox@example.org, telephone (617) 555-0123."


def messy_folder(pack: Pack, folder: Path) -> Path:
    """A folder such as people have: notes in two encodings, a table of questions, a copy, a line
    that tells how somebody is reached, and four files that are no text.
    """
    texts, questions = [row["text"] for row in pack.rows("raw")], pack.rows("qa")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in range(PAGES):
        text = "\n\n".join(
            [*texts[page * ROWS_PER_PAGE : (page + 1) * ROWS_PER_PAGE], "Accept all cookies"]
        )
        text += CONTACT if page == PAGES - 1 else ""
        (folder / f"note-{page:02d}.txt").write_text(text, "utf-16" if page % 3 == 0 else "utf-8")
    (folder / "copy of note.md").write_text((folder / "note-01.txt").read_text("utf-8"), "utf-8")
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerows(
            [
                ("question", "answer"),
                *(
                    (row["messages"][-2]["content"], row["messages"][-1]["content"])
                    for row in questions
                ),
            ]
        )
    (folder / "empty.txt").write_bytes(b"")
    (folder / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4\nthis file ends too soon")
    (folder / "budget.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    return folder


def bring_folder(lab: Lab, folder: str = "", personal: str = KEEP) -> tuple[Lab, Path]:
    """The session that notebook 02 goes on with, and the folder of the pack to take along from it.

    folder: of the learner's own documents; the session is then about their pack. Without one, or
    with one that no pack can be made of, which is told in a sentence, the session stays as it is:
    a pack of one's own is shown, and of a shipped one a messy folder is made and read. personal:
    what becomes of personal and confidential text, as for `ingest.new_pack`.
    """
    if folder:
        source = Path(folder).expanduser()
        try:
            made = show_own_pack(lab, source, name_for(source), personal)
        except LabkitError as error:
            say(f"error: {error}\nUntil then, this notebook goes on with {lab.pack.name}.\n")
        else:
            own = start(
                lab.notebook,
                pack=str(made.folder),
                model=lab.model,
                profile=lab.profile,
                seed=lab.seed,
                learner=lab.learner,
                out_dir=str(lab.out_dir),
            )
            return own, made.folder
    if lab.pack.name not in shipped_packs():
        show_contents(lab.pack)
        return lab, lab.pack.folder
    say(f"Shown on a messy folder made of {lab.pack.title}.")
    return lab, show_own_pack(lab, personal=personal).folder


def name_for(folder: Path) -> str:
    """The name of a pack made of a folder: the folder's own, as far as a pack can be called so."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return name if name and name not in shipped_packs() else OWN_NAME


def show_own_pack(
    lab: Lab, source: str | Path | None = None, name: str = OWN_NAME, personal: str = KEEP
) -> Ingested:
    """Make a pack of a folder (by default a messy one made of the lab's pack) and show what came of
    every file, and where personal text was found; recorded. Raises LabkitError, and keeps the pack
    before, where none can be made.
    """
    check_name(name)
    folder = Path(source) if source else messy_folder(lab.pack, lab.out_dir / "a messy folder")
    output, fresh = lab.out_dir / "packs" / name, lab.out_dir / "packs" / f"{name}.new"
    if output.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise InputError(
            f"{folder} lies in {output}, where the pack goes; give the folder of your own files"
        )
    shutil.rmtree(fresh, ignore_errors=True)
    made = replace(
        new_pack(name, folder, fresh, chunk_words=CHUNK_WORDS, seed=lab.seed, personal=personal),
        folder=output,
    )
    # the pack before goes once there is one to take its place
    shutil.rmtree(output, ignore_errors=True)
    fresh.rename(output)
    for sentence in made.unread:
        say(f"left out: {sentence}")
    show_contents(load_pack(output))
    show_personal(made)
    say(
        f"made in {made.seconds:.1f} s: {made.folder}; dropped.jsonl there lists every piece that "
        "was left out"
    )
    lab.record(
        "ingest",
        read=made.read,
        rows=made.rows,
        dropped=made.dropped,
        personal=kinds_of(made.personal),
        handled=made.handled,
        seconds=made.seconds,
    )
    return made


def show_personal(made: Ingested) -> None:
    """The personal and confidential text that was found, veiled, and the choice about it."""
    if made.personal:
        rows = [
            (row["kind"], row["file"], row["count"], row["example"])
            for row in made.personal[:MOST_FOUND]
        ]
        show_html(plain_table(("personal or confidential", "file", "how many", "such as"), rows))
    to_mask, to_leave_out = (
        f'personal = "{choice}" in the first cell' for choice in (MASK, LEAVE_OUT)
    )
    for sentence in made.personal_told(to_mask, to_leave_out):
        say(f"{sentence[0].upper()}{sentence[1:]}.")


def _most_frequent(dropped: Path) -> dict[tuple[str, str], str]:
    """(what, why) -> what was left out most often for it, such as the line that most pages have."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for line in dropped.read_text("utf-8").splitlines() if dropped.is_file() else ():
        row = json.loads(line)
        told = row.get("detail") or row.get("source", "")
        most = found.get((row["what"], row["reason"]), (0, ""))
        found[row["what"], row["reason"]] = max(most, (row["count"], told), key=lambda one: one[0])
    return {
        kind: told if count == 1 else f"{told} ({count} times)"
        for kind, (count, told) in found.items()
    }


def show_contents(pack: Pack) -> None:
    """What was left out when a pack was made, as far as its card tells; the rows it has, the items
    it has for each axis, and what brings more where they are too few for a score.
    """
    card = read_yaml(pack.folder / "pack.yaml", missing=HELP, error=PackError)
    dropped = card.get("provenance", {}).get("dropped", [])
    if dropped:
        such = _most_frequent(pack.folder / "dropped.jsonl")
        rows = [
            (row["what"], row["reason"], row["count"], such.get((row["what"], row["reason"]), ""))
            for row in dropped
        ]
        show_html(plain_table(("left out", "why", "how many", "such as"), rows))
    show_html(
        plain_table(
            ("file", "rows"),
            [(SPLITS[one], len(pack.rows(one)) if pack.has(one) else "none") for one in SPLITS],
        )
    )
    heads = ("axis", "kinds", *(f"items in {split}" for split in EVAL_SPLITS))
    show_html(plain_table(heads, [_items_of(pack, axis) for axis in AXES + CONTROLS]))
    for sentence in axes_told(pack)[1]:
        say(f"Too few items: {sentence}.")


def _items_of(pack: Pack, axis: str) -> tuple[str, str, int, int]:
    """An axis, the kinds of its items, and how many there are in dev and in test."""
    found = {
        split: [row for row in pack.rows(split) if row["axis"] == axis] for split in EVAL_SPLITS
    }
    kinds = {row.get("kind", "") for rows in found.values() for row in rows}
    dev, test = (len(found[split]) for split in EVAL_SPLITS)
    return axis, ", ".join(sorted(filter(None, kinds))), dev, test


def show_way_on(lab: Lab, folder: Path) -> None:
    """What the designer says of a pack of one's own, and where the pack can be used next."""
    pack, place = load_pack(folder), folder.resolve()
    sequence = sequence_for(replace(lab, pack=pack))
    spec = design(pack=str(place), sequence=sequence, seed=lab.seed, profile=lab.profile)
    problem = next(iter(problems(spec)), "")
    verdict = f"cannot run: {problem}" if problem else f"{sequence} can run"
    ways = (
        ("any notebook of this course", f'pack = "{place}" in its first code cell'),
        ("all of them, without a browser", f"labkit course --pack {quote(str(place))}"),
        (f"the designer of notebook 01: {verdict}", f"its field domain offers {place}"),
        ("the apps, for people who do not code", f"labkit app --pack {quote(str(place))}"),
        (
            "a class, where everybody may have another pack",
            f"beside this pack's folder a file roster.csv with the lines learner,pack and "
            f"Ada,{place.name}; then labkit class roster.csv",
        ),
    )
    show_html(plain_table(("your pack in", "how"), ways))
    say(what_lacks(pack))


def hide_defects(lab: Lab) -> Planted:
    """Defects planted in the lab's pack; in `materials`, and said so, where it has too few rows."""
    try:
        return plant_defects(lab.pack)
    except InputError as error:
        say(f"Shown on {KNOWN_PACK}, an invented pack, instead: {error}.")
        return plant_defects(load_pack(KNOWN_PACK))


# --- experiments, live and as measured -------------------------------------------------------


def run_live(lab: Lab, name: str) -> Unit:
    """Train and score the arms of an experiment, one seed; finished ones are read back.

    Raises InputError for an unknown name.
    """
    found, pack = experiment(name), lab.known_pack()
    with training(_specs(lab, found, pack)):
        return run_experiment(
            found,
            pack,
            lab.seed,
            lab.profile,
            told=lambda text: None if headless() else say(text),
        )


def _specs(lab: Lab, found: Experiment, pack: Pack) -> list[PipelineSpec]:
    """What study.train_arm trains for each arm."""
    arms = (
        (corpus_of(pack, condition.corpus), arm_of(pack, condition))
        for condition in found.conditions.values()
    )
    return [
        PipelineSpec(
            pack=str(source.folder),
            model=arm.model,
            stages=arm.stages,
            seed=lab.seed,
            profile=lab.profile,
        )
        for source, arm in arms
    ]


def show_experiment(lab: Lab, name: str, unit: Unit, guess: Guess | None = None) -> None:
    """The arms as a figure, and each claim as a finding of this one run, the noise between training
    seeds included.
    """
    found = experiment(name)
    scores = knowledge([unit], found)
    told = "; ".join(f"{arm}: {score}" for arm, score in scores.items())

    def show() -> None:
        lab.show(
            figures.arms({found.question: scores}, guess=guess.own if guess else None),
            f"arms-{name.replace(' ', '-')}",
            f"Share of questions answered in each arm. {told}.",
        )

    if guess:
        lab.outcome(guess, list(scores.values())[-1], show)
    else:
        show()
    for claim in found.claims:
        effect = with_run_noise(claim.measure([unit]), run_noise_of("knowledge", found.kind))
        lab.finding(claim.words, effect, claimed=1, reported=claim.elsewhere, on=unit.pack)


def show_study(lab: Lab, names: tuple[str, ...] = tuple(EXPERIMENTS)) -> None:
    """What the study measured over seeds: every experiment's arms, and findings with verdicts."""
    data = measured_data()
    panels = {
        experiment(name).question: {
            arm: Interval(**score) for arm, score in data["scores"][name].items()
        }
        for name in names
    }
    lab.show(
        figures.arms(panels),
        "study",
        "Share of questions answered in every arm of every experiment over the study's "
        "seeds, with intervals; the table below has the figures.",
    )
    show_html(claims_table([row for row in data["claims"] if row["topic"] in names]))


def offer(lab: Lab) -> None:
    """A choice of experiments to run live; headless, nothing is built."""
    if headless():
        say(f"experiments to choose from: {', '.join(EXPERIMENTS)}")
        return
    from IPython.display import display

    display(
        run_panel(
            {found.question: name for name, found in EXPERIMENTS.items()},
            lambda name: show_experiment(lab, name, run_live(lab, name)),
            "run this experiment",
        )
    )


def run_panel(choices: dict[str, str], run: Callable[[str], None], words: str) -> widgets.Widget:
    """One choice and a button that runs it; what it shows and prints appears below. choices: in
    words -> what `run` takes.
    """
    choice = widgets.Dropdown(
        options=choices, description="which", layout=widgets.Layout(width="640px")
    )
    button = widgets.Button(
        description=words, button_style="primary", layout=widgets.Layout(width="auto")
    )
    told, shown = widgets.Label(), widgets.Output()

    def act() -> None:
        shown.clear_output(wait=True)
        with shown:
            run(choice.value)

    button.on_click(guard_label(act, told))
    return widgets.VBox([widgets.HBox([choice, button]), told, shown])
