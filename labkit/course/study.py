"""What the evidence is made of: recipes trained and scored over packs and training seeds.

Checkpoints and scorecards are content-addressed, so a stopped study continues where it was. Every
claim of the lesson is a measurement over the study's units, with a verdict and what is reported
elsewhere. The studies beside the package run this; notebooks read what they found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import (
    Interval,
    ItemScore,
    average,
    cluster_mean,
    combined,
    holm,
    p_value,
    paired_difference,
    verdict,
)
from labkit.base.store import Checkpoint
from labkit.data.packs import Pack, variant_pack
from labkit.data.published import reported
from labkit.diagnose.diagnoses import within_prompt
from labkit.evaluate.geometry import (
    TensorGeometry,
    barrier,
    general_rows,
    geometry,
    path_loss,
    random_pairing,
)
from labkit.evaluate.scorecards import Scorecard
from labkit.evaluate.scoring import SWEEP, best_t, score_checkpoint, sweep_merge
from labkit.merge.methods import empty_like, merge_at, pair_models
from labkit.merge.schedule import PRESETS as SCHEDULES
from labkit.models.families import BASE, MODEL, TWIN
from labkit.models.zoo import Loaded
from labkit.train.pipeline import load_checkpoint, run_spec
from labkit.train.specs import (
    BASE_START,
    DPO,
    GENTLE,
    ORPO,
    OVERCOOKED,
    Lora,
    PipelineSpec,
    ProfileName,
    Stage,
)

CHOOSES = "compositional"  # the axis that picks t on dev
ON_DEV = " (dev)"  # after a label: its scorecard on dev
BASE_START_SEEDS = 3  # the base start is reported, not held to a bar: fewer runs suffice for it
LEARNING_AXES = ("knowledge", "instructions", "general", "compositional")
PARETO_TS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Arm:
    """A recipe of the study. corpus: a variant of the pack's text (None: the pack's own)."""

    stages: tuple[Stage, ...]
    model: str = MODEL
    corpus: str | None = None
    axes: tuple[str, ...] = AXES + CONTROLS


def _reading(steps: int, corpus: str) -> Arm:
    """CPT on a corpus for so many steps, then the gentle SFT. 80 steps leave room below the
    ceiling.
    """
    cpt = Stage(kind="cpt", learning_rate=8e-4, steps=steps, replay=0.25, sources=("raw",))
    return Arm((cpt, GENTLE[1]), corpus=corpus, axes=LEARNING_AXES)


def _overcooked_but(**changes) -> Arm:
    """The overcooked recipe with one thing changed in both stages."""
    return Arm(tuple(stage.model_copy(update=changes) for stage in OVERCOOKED), axes=LEARNING_AXES)


def _slower(times: float) -> Arm:
    """The overcooked recipe at a fraction of its learning rates."""
    stages = (
        stage.model_copy(update={"learning_rate": stage.learning_rate / times})
        for stage in OVERCOOKED
    )
    return Arm(tuple(stages), axes=LEARNING_AXES)


CORE: dict[str, Arm] = {
    "overcooked": Arm(OVERCOOKED),
    "gentle": Arm(GENTLE),
    "base start": Arm(BASE_START, BASE),
    "dpo": Arm((*GENTLE, DPO)),
    "orpo": Arm((*GENTLE, ORPO)),
}
QUALITY: dict[str, Arm] = {
    "half": _reading(80, "half"),
    "double": _reading(80, "double"),
    "half and junk": _reading(80, "half and junk"),
    "half and junk, twice the steps": _reading(160, "half and junk"),
    "half and junk, tagged, twice the steps": _reading(160, "half and junk, tagged"),
    "half and errors": _reading(80, "half and errors"),
    "one wording": _reading(80, "one wording"),
}
REMEDIES: dict[str, Arm] = {
    "replay 5%": _overcooked_but(replay=0.05),
    "replay 25%": _overcooked_but(replay=0.25),
    "a third of the rate": _slower(3),
    "LoRA": _overcooked_but(lora=Lora()),
}
ORDER: dict[str, Arm] = {
    "sft then cpt": Arm(GENTLE[::-1], axes=LEARNING_AXES),
    "dpo without sft": Arm((GENTLE[0], DPO)),
}
EXPERIMENTS = {**QUALITY, **REMEDIES, **ORDER}


@dataclass(frozen=True)
class Shape:
    """How one unit's parents lie to each other. Angles in degrees, barriers in nats per token."""

    geometry: list[TensorGeometry]
    barrier: float
    random_barrier: float
    random_rise: float
    rise: float


@dataclass
class Unit:
    """One pack at one training seed: a scorecard per checkpoint, and the t that dev chose per
    method.
    """

    pack: str
    seed: int
    cards: dict[str, Scorecard] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    shape: Shape | None = None


def train_arm(arm: Arm, pack: Pack, seed: int, profile_name: ProfileName) -> list[Checkpoint]:
    """The checkpoints of an arm, one per stage. Raises what run_spec raises."""
    source = variant_pack(pack.name, arm.corpus) if arm.corpus else pack
    return run_spec(
        PipelineSpec(
            pack=str(source.folder),
            model=arm.model,
            stages=arm.stages,
            seed=seed,
            profile=profile_name,
        )
    )


def run_unit(
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    told: Callable[[str], None],
    *,
    experiments: bool,
) -> Unit:
    """Train and score everything the claims need, for one pack and seed. experiments: beyond the
    core recipes.
    """
    unit, made = Unit(pack.name, seed), {}

    def score(
        label: str, model: str | Checkpoint | Loaded, axes: tuple[str, ...] = AXES + CONTROLS
    ) -> None:
        unit.cards[label] = score_checkpoint(
            model, pack, axes=axes, profile_name=profile_name, name=label
        )

    score("instruct", MODEL)
    score("base", BASE)
    for label, arm in (CORE | (EXPERIMENTS if experiments else {})).items():
        if label == "base start" and seed >= BASE_START_SEEDS:
            continue
        told(f"{pack.name} seed {seed}: {label}")
        made[label] = train_arm(arm, pack, seed, profile_name)
        score(label, made[label][-1], arm.axes)
    for label in ("overcooked", "gentle", "base start"):
        if label in made:
            score(f"{label} cpt", made[label][0], AXES)
    told(f"{pack.name} seed {seed}: merge sweep")
    general, domain = load_checkpoint(MODEL), load_checkpoint(made["overcooked"][-1])
    sweep = sweep_merge(
        general,
        domain,
        pack,
        split="dev",
        axes=(*AXES, CHOOSES),
        ts=SWEEP,
        profile_name=profile_name,
    )
    for method, points in sweep.items():
        for label, axes in ((method, (CHOOSES,)), (f"{method}, four axes", AXES)):
            unit.chosen[label] = best_t(points, *axes)
            score(label, merge_at(general, domain, unit.chosen[label], method))
    score("lerp at slerp's t", merge_at(general, domain, unit.chosen["slerp"], "lerp"))
    for name in SCHEDULES:
        score(f"slerp, {name} schedule", merge_at(general, domain, SCHEDULES[name], "slerp"))
    for t in PARETO_TS:
        score(
            f"merge t={t:g}", merge_at(general, domain, t, "slerp"), ("knowledge", "instructions")
        )
    unit.shape = measure_shape(general, domain, pack, seed)
    return unit


def measure_shape(general: Loaded, domain: Loaded, pack: Pack, seed: int) -> Shape:
    """Angles with the base model as ancestor, and the loss of general text along the way and along
    a random one.
    """
    pairing = pair_models(general.model, domain.model, load_checkpoint(BASE).model)
    shell, rows = empty_like(general.model), general_rows(general.tokenizer)
    pad = general.tokenizer.pad_token_id
    way = path_loss(shell, pairing, pad, rows, SWEEP)
    astray = path_loss(
        shell, random_pairing(general.model, domain.model, seed=seed), pad, rows, SWEEP
    )
    return Shape(
        geometry(pairing),
        barrier(way),
        barrier(astray),
        astray[-1][1] - astray[0][1],
        way[-1][1] - way[0][1],
    )


def twin_barriers() -> dict[str, float]:
    """The other control: two instruct models of one family from different random weights. method ->
    nats per token.
    """
    general, twin = load_checkpoint(MODEL), load_checkpoint(TWIN)
    pairing, shell = pair_models(general.model, twin.model), empty_like(general.model)
    rows = general_rows(general.tokenizer)
    return {
        m: barrier(path_loss(shell, pairing, general.tokenizer.pad_token_id, rows, SWEEP, m))
        for m in ("lerp", "slerp")
    }


# --- pooling ----------------------------------------------------------------------------------


def having(units: list[Unit], *labels: str) -> list[Unit]:
    """The units in which every one of these checkpoints was made."""
    return [unit for unit in units if all(label in unit.cards for label in labels)]


def pooled(units: list[Unit], label: str, axis: str, kind: str | None = None) -> list[ItemScore]:
    """Scores of one checkpoint label over all units that have it; ids and entities are told apart
    by pack.
    """
    return [
        replace(score, id=f"{unit.pack}:{score.id}", entity=f"{unit.pack}:{score.entity}")
        for unit in having(units, label)
        for score in unit.cards[label].scores(axis, kind, seed=unit.seed)
    ]


def better_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per unit, the scores of whichever parent is better on the axis in that unit: merged -
    max(parents).
    """
    scores = []
    for unit in units:
        best = max(
            parents, key=lambda label: cluster_mean(unit.cards[label].scores(axis), draws=2).mean
        )
        scores += pooled([unit], best, axis)
    return scores


def over_better_parent(
    units: list[Unit],
    merge: str,
    parents: tuple[str, str],
    scores: Callable[[list[Unit], str], list[ItemScore]],
) -> list[ItemScore]:
    """Merged minus the parent that is better on dev, unit by unit. scores: of a label; dev scores
    stand under `LABEL (dev)`.

    Chosen on the reported items the better parent would have luck on its side, most where the two
    are close.
    """
    found = []
    for unit in units:
        better = max(
            parents,
            key=lambda label: cluster_mean(scores([unit], f"{label}{ON_DEV}"), draws=2).mean,
        )
        found += combined([(1, scores([unit], merge)), (-1, scores([unit], better))])
    return found


def mean_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per item, the mean of both parents: the paper's weaker bar."""
    return average(*(pooled(units, label, axis) for label in parents))


# --- what a claim is --------------------------------------------------------------------------

Measure = Callable[[list[Unit]], Interval]
PARENTS = ("instruct", "overcooked")
RANKED = ("instruct", "overcooked", "gentle", "dpo", "orpo", "slerp")
NOT_REPORTED = "not reported there"


@dataclass(frozen=True)
class Claim:
    """A line of the table: words, what must be reached (None: reported, whatever it is), the
    measurement.
    """

    words: str
    measure: Measure
    at_least: float | None = None
    difference: bool = False
    chance: bool = False


@dataclass(frozen=True)
class Lesson:
    """A claim of the lesson: a difference (or, where it says so, a share) that should be above
    zero. reported: a key of published/lu2025.yaml, or words.

    differs: why theirs and ours may differ. topic: what it is filed under.
    """

    topic: str
    words: str
    measure: Measure
    differs: str
    reported: str = NOT_REPORTED

    @property
    def elsewhere(self) -> str:
        """What is reported elsewhere, in words."""
        return reported(self.reported) if self.reported.isidentifier() else self.reported


# --- measures ---------------------------------------------------------------------------------


def level(label: str, axis: str, kind: str | None = None, *, one_pack: bool = False) -> Measure:
    """The score of one checkpoint. one_pack: items are the same in every pack, count them once."""
    return lambda units: cluster_mean(
        pooled(
            [
                u
                for u in units
                if not one_pack or (u.pack, u.seed) == (units[0].pack, units[0].seed)
            ],
            label,
            axis,
            kind,
        )
    )


def change(before: str, after: str, axis: str, kind: str | None = None) -> Measure:
    """The paired difference after - before, over the units that have both."""
    return lambda units: paired_difference(
        *(pooled(having(units, before, after), label, axis, kind) for label in (before, after))
    )


def synergy(method: str, axis: str) -> Measure:
    return lambda units: paired_difference(
        better_parent(units, axis, PARENTS), pooled(units, method, axis)
    )


def over_mean(method: str, axis: str) -> Measure:
    return lambda units: paired_difference(
        mean_parent(units, axis, PARENTS), pooled(units, method, axis)
    )


def narrowing(before: str, after: str) -> Measure:
    """By how much samples to one request became more alike: difference of the effective share of
    different ones.
    """
    return lambda units: paired_difference(*(_diversity(units, label) for label in (after, before)))


def diversity(label: str) -> Measure:
    """The effective share of different samples to one request."""
    return lambda units: cluster_mean(_diversity(units, label))


def _diversity(units: list[Unit], label: str) -> list[ItemScore]:
    return [
        ItemScore(
            f"{unit.pack}:{item.id}",
            f"{unit.pack}:{item.entity}",
            within_prompt(item.output),
            unit.seed,
        )
        for unit in having(units, label)
        for item in unit.cards[label].items
        if item.axis == "creativity"
    ]


def chosen_likelihood_fall(before: str, after: str) -> Measure:
    """By how many nats the chosen answers themselves became less likely."""
    return lambda units: paired_difference(
        *(_answer_nats(units, label) for label in (after, before))
    )


def _answer_nats(units: list[Unit], label: str) -> list[ItemScore]:
    return [
        ItemScore(
            f"{unit.pack}:{item.id}",
            f"{unit.pack}:{item.entity}",
            item.measures["answer_nats"],
            unit.seed,
        )
        for unit in having(units, label)
        for item in unit.cards[label].items
        if item.axis == "preference"
    ]


def reversed_pairs(first: str, second: str) -> Measure:
    """Share of pairs of checkpoints that two axes rank in opposite order, both differences being
    distinguishable.
    """

    def measure(units: list[Unit]) -> Interval:
        rows = []
        for unit, (a, b) in itertools.product(units, itertools.combinations(RANKED, 2)):
            said = [
                verdict(paired_difference(*(unit.cards[label].scores(axis) for label in (a, b))))
                for axis in (first, second)
            ]
            rows.append(
                ItemScore(
                    f"{unit.pack}:{a}:{b}",
                    f"{a}:{b}",
                    float(set(said) == {"supported", "contradicted"}),
                    unit.seed,
                )
            )
        return cluster_mean(rows)

    return measure


# --- claims -----------------------------------------------------------------------------------

CLAIMS = (
    Claim(
        "instruct: general knowledge on people never seen in a question",
        level("instruct", "general", one_pack=True),
        0.95,
    ),
    Claim(
        "instruct: verifiable instructions on them",
        level("instruct", "instructions", "general", one_pack=True),
        0.95,
    ),
    Claim(
        "instruct: private knowledge (cloze; chance is 1/12, and 1/9 for ordinals)",
        level("instruct", "knowledge", "cloze"),
        chance=True,
    ),
    Claim(
        "CPT on instruct (gentle): private facts recalled (cloze)",
        level("gentle cpt", "knowledge", "cloze"),
        0.80,
    ),
    Claim(
        "CPT on instruct (overcooked): private facts recalled (cloze)",
        level("overcooked cpt", "knowledge", "cloze"),
        0.80,
    ),
    Claim(
        "overcooked CPT-SFT: fall of instruction following, general and domain questions",
        change("overcooked", "instruct", "instructions"),
        0.25,
        difference=True,
    ),
    Claim(
        "gentle CPT-SFT: fall of the same",
        change("gentle", "instruct", "instructions"),
        difference=True,
    ),
    Claim(
        "the fall is smaller with gentle than with overcooked, by",
        change("overcooked", "gentle", "instructions"),
        0.0,
        difference=True,
    ),
    Claim(
        "SLERP(instruct, overcooked) minus the better parent, items that need both parents",
        synergy("slerp", "compositional"),
        0.20,
        difference=True,
    ),
    Claim("LERP in the same place, its own t", synergy("lerp", "compositional"), difference=True),
    Claim(
        "SLERP minus LERP at SLERP's t, the same items",
        change("lerp at slerp's t", "slerp", "compositional"),
        difference=True,
    ),
    Claim(
        "gentle CPT-SFT: private questions on entities held out from SFT (seen wordings)",
        level("gentle", "knowledge", "free"),
        0.80,
    ),
    Claim(
        "the same, wordings no training question used", level("gentle", "knowledge", "paraphrased")
    ),
    Claim(
        "DPO: held-out preference accuracy over the SFT checkpoint",
        change("gentle", "dpo", "preference"),
        0.15,
        difference=True,
    ),
    Claim(
        "ORPO: held-out preference accuracy over the SFT checkpoint",
        change("gentle", "orpo", "preference"),
        0.15,
        difference=True,
    ),
    Claim(
        "instruct start minus base start after CPT-SFT: domain knowledge (free answers)",
        change("base start", "gentle", "knowledge", "free"),
        difference=True,
    ),
    Claim(
        "instruct start minus base start after CPT-SFT: instruction following",
        change("base start", "gentle", "instructions"),
        difference=True,
    ),
    *(
        Claim(
            f"merge sweep, {method.upper()}, t chosen on dev by the four axes: merged − "
            f"max(parents), {axis}",
            synergy(f"{method}, four axes", axis),
            difference=True,
        )
        for method in ("slerp", "lerp")
        for axis in AXES
    ),
    *(
        Claim(
            f"SLERP with the {name} schedule minus SLERP at dev's t, items that need both parents",
            change("slerp", f"slerp, {name} schedule", "compositional"),
            difference=True,
        )
        for name in SCHEDULES
    ),
)

AT_7B = (
    "They train 7-8B models on thousands of papers; here the facts are few, invented and "
    "known exactly"
)
NO_SIZE = "one million parameters, one family"

REGISTER = (
    Lesson(
        "quality",
        "half the text, clean, teaches more than that half and as much junk, at equal steps",
        change("half and junk", "half", "knowledge", "free"),
        "junk here takes steps away from the facts; the paper changed amount, quality "
        "and a chat set together",
        "quality",
    ),
    Lesson(
        "quality",
        "the same, the doubled text having twice the steps",
        change("half and junk, twice the steps", "half", "knowledge", "free"),
        "now each fact is read as often: what is left is interference. " + AT_7B,
        "quality",
    ),
    Lesson(
        "quality",
        "a source tag on every document restores part of what junk costs",
        change(
            "half and junk, twice the steps",
            "half and junk, tagged, twice the steps",
            "knowledge",
            "free",
        ),
        "Allen-Zhu & Li (arXiv 2404.05405) see it with 7/8 junk and far more exposures per fact",
    ),
    Lesson(
        "quality",
        "half the text, clean, teaches more than that half and as much with wrong "
        "facts in it, at equal steps",
        change("half and errors", "half", "knowledge", "free"),
        "half of the added statements are right and add wordings; the false ones "
        "differ from one another and are outvoted",
    ),
    Lesson(
        "quality",
        "twice the clean text teaches more than half of it, at equal steps",
        change("half", "double", "knowledge", "free"),
        "more text here means more wordings of the same facts, not more facts",
    ),
    Lesson(
        "forgetting",
        "CPT alone (overcooked) lowers instruction following",
        change("overcooked cpt", "instruct", "instructions"),
        "no chat template is seen during CPT, and a small model has little room to "
        "keep what it does not use",
        "cpt_degrades",
    ),
    Lesson(
        "forgetting",
        "CPT and SFT (overcooked) lower it too",
        change("overcooked", "instruct", "instructions"),
        "plain SFT answers every question in a sentence and teaches just that",
        "cpt_degrades",
    ),
    *(
        Lesson(
            "remedies",
            f"{words} keeps more instruction following than the overcooked recipe",
            change("overcooked", label, "instructions"),
            differs,
        )
        for label, words, differs in (
            (
                "replay 5%",
                "5% replay",
                "Ibrahim et al. (arXiv 2403.08763) report the same at 405 M and more; "
                "replay here is the start model's own training mix, which one seldom "
                "has",
            ),
            (
                "replay 25%",
                "25% replay",
                "as for 5%; more replay leaves fewer steps for the domain",
            ),
            ("a third of the rate", "a third of the learning rate", NO_SIZE),
            (
                "LoRA",
                "LoRA",
                "Biderman et al. (arXiv 2405.09673) report that it learns less and "
                "forgets less; rank 16 of width 128 is no small adapter",
            ),
            (
                "merge t=0.5",
                "merging back at t=0.5",
                "the merge costs no training; t is not chosen here",
            ),
        )
    ),
    *(
        Lesson(
            "remedies",
            f"{words} gives up domain knowledge (free answers) against the overcooked recipe",
            change(label, "overcooked", "knowledge", "free"),
            "what a remedy costs is as much a finding as what it saves",
        )
        for label, words in (
            ("replay 5%", "5% replay"),
            ("replay 25%", "25% replay"),
            ("a third of the rate", "a third of the learning rate"),
            ("LoRA", "LoRA"),
            ("merge t=0.5", "merging back at t=0.5"),
        )
    ),
    Lesson(
        "extraction",
        "eight wordings per fact give more answers than one wording, same documents and steps",
        change("one wording", "double", "knowledge", "free"),
        "Allen-Zhu & Li (arXiv 2309.14316) start from nothing; an instruct start "
        "already knows how facts are turned into answers",
    ),
    Lesson(
        "preferences",
        "DPO ranks held-out pairs better than ORPO",
        change("orpo", "dpo", "preference"),
        "each at the strength dev chose; which one wins is a matter of family there too",
        "preference",
    ),
    Lesson(
        "preferences",
        "ORPO keeps more instruction following than DPO",
        change("dpo", "orpo", "instructions"),
        "ORPO's likelihood term holds answers in place; DPO here has a small beta",
        "preference",
    ),
    Lesson(
        "preferences",
        "DPO makes samples to one request more alike",
        narrowing("gentle", "dpo"),
        "Kirk et al. (arXiv 2310.06452) see it for RLHF at 7B; here creativity falls "
        "at the same time: samples differ because fewer of them are proposals at all",
        "diversity of answers is not measured there",
    ),
    Lesson(
        "preferences",
        "ORPO makes samples to one request more alike",
        narrowing("gentle", "orpo"),
        "as for DPO, less of it",
        "diversity of answers is not measured there",
    ),
    Lesson(
        "preferences",
        "DPO makes the chosen answers themselves less likely (nats per answer)",
        chosen_likelihood_fall("gentle", "dpo"),
        "Razin et al. (arXiv 2410.08847) call the fall likelihood displacement; chosen "
        "answers here have a form that SFT never showed, so theirs had room to rise",
        "likelihoods are not given there",
    ),
    Lesson(
        "order",
        "CPT then SFT answers more domain questions than SFT then CPT",
        change("sft then cpt", "gentle", "knowledge", "free"),
        AT_7B,
        "sft_order",
    ),
    Lesson(
        "order",
        "CPT then SFT follows instructions better than SFT then CPT",
        change("sft then cpt", "gentle", "instructions"),
        "with 25% replay in both stages neither order forgets much",
        "sft_order",
    ),
    Lesson(
        "order",
        "DPO after SFT answers more domain questions than DPO straight after CPT",
        change("dpo without sft", "dpo", "knowledge", "free"),
        "the start model already is an instruct model",
        "sft_order",
    ),
    Lesson(
        "order",
        "DPO after SFT ranks held-out pairs better than DPO straight after CPT",
        change("dpo without sft", "dpo", "preference"),
        "both are near the ceiling",
        "sft_order",
    ),
    Lesson(
        "start",
        "an instruct start answers more domain questions than a base start",
        change("base start", "gentle", "knowledge", "free"),
        "both recipes differ in rate and replay too",
        "base_or_instruct",
    ),
    Lesson(
        "start",
        "an instruct start follows instructions better than a base start",
        change("base start", "gentle", "instructions"),
        "a base model this small has never seen a chat",
        "base_or_instruct",
    ),
    Lesson(
        "merging",
        "SLERP beats the better parent on items that need both",
        synergy("slerp", "compositional"),
        "items here are made to need both parents; theirs are domain questions",
        "merge",
    ),
    *(
        Lesson(
            "merging",
            f"SLERP beats the better parent in {words}, t chosen on dev by the four axes",
            synergy("slerp, four axes", axis),
            "their bar is the parents' mean",
            "merge",
        )
        for axis, words in (
            ("knowledge", "domain knowledge"),
            ("reasoning", "reasoning"),
            ("instructions", "instruction following"),
            ("creativity", "creativity"),
        )
    ),
    Lesson(
        "merging",
        "SLERP beats LERP at the same t on items that need both parents",
        change("lerp at slerp's t", "slerp", "compositional"),
        "parents here are 13 to 26 degrees apart: arc and line nearly coincide",
        "merge",
    ),
    Lesson(
        "benchmarks",
        "domain knowledge and instruction following rank two checkpoints in opposite "
        "order (share of pairs, both differences distinguishable)",
        reversed_pairs("knowledge", "instructions"),
        "within one run, by the noise of items; a share cannot be below zero, so only "
        "its size says something",
        "ranking",
    ),
)


def said(claim: Claim, found: Interval) -> str:
    """The verdict in words: against the bar where there is one, against zero for a difference."""
    if claim.chance:
        chance = (4 / 12 + 1 / 9) / 5
        return "at chance" if found.holds(chance) else f"not at chance ({chance:.3f})"
    if claim.at_least == 0:
        return verdict(found)
    if claim.at_least is None and not claim.difference:
        return "reported"
    if claim.at_least is None:
        return {"supported": "above zero", "contradicted": "below zero"}.get(
            verdict(found), "not distinguishable"
        )
    return "reached" if found.mean >= claim.at_least else "not reached"


def register_rows(found: Sequence[tuple[Lesson, Interval]]) -> list[dict]:
    """Claims and their effects as plain values, verdicts corrected over all of them (Holm): what
    pages, records and notebooks show.
    """
    corrected = holm([p_value(effect) for _, effect in found])
    return [
        {
            "topic": lesson.topic,
            "claim": lesson.words,
            "effect": effect.as_dict(),
            "verdict": verdict(effect) if p <= 0.05 else "not distinguishable",
            "compared": len(found),
            "reported": lesson.elsewhere,
            "differs": lesson.differs,
        }
        for (lesson, effect), p in zip(found, corrected, strict=True)
    ]
