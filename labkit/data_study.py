"""Experiments on data: one thing about the text is changed, everything else is held equal, domain questions are asked.

Every arm reads for some steps of CPT and then gets the same short SFT. Live in notebook 02 with one seed; over seeds by
`labkit evidence --part data`, whose results ship in data_samples/measured/data.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.claims import AT_7B, Lesson, change, level
from labkit.design import GENTLE, Stage
from labkit.errors import InputError, suggest
from labkit.packs import Pack
from labkit.scoring import score_checkpoint
from labkit.stats import Interval
from labkit.study import LEARNING_AXES, MODEL, Arm, Unit, train_arm
from labkit.variants import variant_pack

STEPS = 60  # of CPT: leaves room below the ceiling and above the floor
BATCH = 32


@dataclass(frozen=True)
class Condition:
    """What one arm reads. times: how many times STEPS it is given. tokens_of: give it as many tokens as this arm reads."""

    corpus: str
    times: int = 1
    tokens_of: str | None = None


@dataclass(frozen=True)
class Experiment:
    """A question, the arms that answer it (label -> condition), and the claims they are measured for."""

    id: str
    question: str
    conditions: dict[str, Condition]
    claims: tuple[Lesson, ...]
    kind: str = "free"  # of knowledge items


def _knows(before: str, after: str, kind: str = "free"):
    return change(before, after, "knowledge", kind)


PAPER_QUALITY = "quality"
CLEAN = Condition("half")
EXPERIMENTS = {
    experiment.id: experiment
    for experiment in (
        Experiment(
            "doubling", "Does doubling the text help when the added half is junk?",
            {"half, clean": CLEAN, "half and junk": Condition("half and junk"), "half and junk, twice the steps": Condition("half and junk", 2), "twice as much, clean": Condition("double")},
            (
                Lesson("doubling", "half the text, clean, teaches more than that half and as much junk, at equal steps", _knows("half and junk", "half, clean"), "junk takes steps away from the facts; the paper changed amount, quality and a chat set together", PAPER_QUALITY),
                Lesson("doubling", "the same, the doubled text having twice the steps", _knows("half and junk, twice the steps", "half, clean"), "each fact is read as often: what is left is interference. " + AT_7B, PAPER_QUALITY),
                Lesson("doubling", "twice the clean text teaches more than half of it, at equal steps", _knows("half, clean", "twice as much, clean"), "more text means more wordings of the same facts, not more facts"),
            ),
        ),
        Experiment(
            "junk", "How much junk does a model bear, and does it help to say where a text comes from?",
            {
                "no junk": CLEAN, "1/2 junk": Condition("half and junk", 2), "3/4 junk": Condition("junk 3 of 4", 4), "7/8 junk": Condition("junk 7 of 8", 8),
                "no junk, tagged": Condition("half, tagged"), "1/2 junk, tagged": Condition("half and junk, tagged", 2),
                "3/4 junk, tagged": Condition("junk 3 of 4, tagged", 4), "7/8 junk, tagged": Condition("junk 7 of 8, tagged", 8),
            },
            (
                *(Lesson("junk", f"text with {share} junk teaches less than its clean part alone, each fact read equally often", _knows(f"{share} junk", "no junk"), "Allen-Zhu & Li (arXiv 2404.05405) see it for 7/8 junk and models trained from nothing") for share in ("1/2", "3/4", "7/8")),
                *(Lesson("junk", f"a source tag on every document restores part of what {share} junk costs", _knows(f"{share} junk", f"{share} junk, tagged"), "Allen-Zhu & Li (arXiv 2404.05405) see it with far more exposures per fact, in pre-training") for share in ("1/2", "3/4", "7/8")),
                Lesson("junk", "where there is no junk to tell apart, a source tag costs something", _knows("no junk, tagged", "no junk"), "the tag is a word the model never saw, and spells in pieces"),
            ),
        ),
        Experiment(
            "junk at equal cost", "The same junk when the training budget stays what it was?",
            {"no junk": CLEAN, "1/2 junk": Condition("half and junk"), "3/4 junk": Condition("junk 3 of 4"), "7/8 junk": Condition("junk 7 of 8")},
            tuple(Lesson("junk at equal cost", f"text with {share} junk teaches less than its clean part alone, at equal steps", _knows(f"{share} junk", "no junk"), "junk takes steps away from the facts", PAPER_QUALITY) for share in ("3/4", "7/8")),
        ),
        Experiment(
            "duplicates", "Does it matter that a text is there four or seven times?",
            {"280 documents": CLEAN, "70, four copies each": Condition("four copies"), "40, seven copies each": Condition("seven copies")},
            (
                Lesson("duplicates", "280 different documents teach more than 70 of them four times", _knows("70, four copies each", "280 documents"), "Lee et al. (arXiv 2107.06499) remove duplicates from pre-training; here 70 texts tell each fact in at most two wordings"),
                Lesson("duplicates", "280 different documents teach more than 40 of them seven times", _knows("40, seven copies each", "280 documents"), "one document per entity is left: one wording of each fact"),
            ),
        ),
        Experiment(
            "wrong facts", "What do wrong statements cost?",
            {"all right": CLEAN, "a quarter wrong": Condition("a quarter wrong"), "half wrong": Condition("half wrong")},
            tuple(Lesson("wrong facts", f"text with {share} of its statements wrong teaches less than right text", _knows(f"{share} wrong", "all right"), "false values differ from one another: the right one mostly stays the most frequent") for share in ("a quarter", "half")),
        ),
        Experiment(
            "form", "Papers, summaries or questions with answers, at equal tokens?",
            {"papers": Condition("papers"), "summaries": Condition("summaries", tokens_of="papers"), "questions": Condition("questions", tokens_of="papers")},
            (
                Lesson("form", "distilled summaries teach more than the papers, at equal tokens", _knows("papers", "summaries", "paraphrased"), "240 summaries are read more often than 560 papers, and have no stray sentences: both differ", "distilled"),
                Lesson("form", "questions with answers teach more than the papers, at equal tokens", _knows("papers", "questions", "paraphrased"), "asked in wordings that no training text used; the pairs tell of one entity at a time, without its relation", "distilled"),
            ),
            "paraphrased",
        ),
        Experiment(
            "wordings", "One wording of each fact or many?",
            {"one wording": Condition("one wording"), "two wordings": Condition("two wordings"), "eight wordings": Condition("double")},
            (
                Lesson("wordings", "eight wordings per fact give more answers than one, same documents and steps", _knows("one wording", "eight wordings"), "Allen-Zhu & Li (arXiv 2309.14316) start from nothing; an instruct start already knows how facts are turned into answers"),
                Lesson("wordings", "two wordings give more answers than one", _knows("one wording", "two wordings"), "as above"),
            ),
        ),
    )
}


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
    from labkit.zoo import model_folder, tokenizer_of

    tokenizer = tokenizer_of(model_folder(MODEL))
    texts = [row["text"] for row in corpus_of(pack, corpus).rows("raw")]
    return sum(len(ids) + 1 for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]) / len(texts)


def steps_of(pack: Pack, condition: Condition) -> int:
    """Optimiser steps of CPT a condition is given."""
    steps = STEPS * condition.times
    if condition.tokens_of is None:
        return steps
    return round(steps * _mean_tokens(pack, condition.tokens_of) / _mean_tokens(pack, condition.corpus))


def arm_of(pack: Pack, condition: Condition) -> Arm:
    """CPT on the condition's text with a quarter of replay, then the gentle SFT."""
    cpt = Stage(kind="cpt", learning_rate=8e-4, steps=steps_of(pack, condition), batch_size=BATCH, replay=0.25, sources=("raw",))
    corpus = None if condition.corpus == "papers" else condition.corpus
    return Arm((cpt, GENTLE[1]), corpus=corpus, axes=LEARNING_AXES)


def run_experiment(found: Experiment, pack: Pack, seed: int, profile_name: str, told: Callable[[str], None] = lambda text: None) -> Unit:
    """Train and score every arm of an experiment that is not there yet. pack: a shipped one, whose world is known."""
    unit = Unit(pack.name, seed)
    for label, condition in found.conditions.items():
        told(f"{pack.name} seed {seed}: {found.id}: {label}")
        arm = arm_of(pack, condition)
        checkpoint = train_arm(arm, pack, seed, profile_name)[-1]
        unit.cards[label] = score_checkpoint(checkpoint, pack, axes=arm.axes, profile_name=profile_name, name=label)
    return unit


def knowledge(units: list[Unit], found: Experiment) -> dict[str, Interval]:
    """Label of each arm -> share of private questions answered, over all units."""
    return {label: level(label, "knowledge", found.kind)(units) for label in found.conditions}
