"""The two worked cases, pharma and legal: docs/case-pharma.md, docs/case-legal.md and their data.

Every trained arm and every scorecard is kept in the store, so a stopped study goes on where it was.
What is chosen (t of a merge, a threshold) is chosen on dev; what is reported is the test split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean

from labkit.base.stats import Interval, ItemScore, cluster_mean, paired_difference
from labkit.base.store import Checkpoint, key_of, write_file
from labkit.course.study import (
    ON_DEV,
    Lesson,
    Measure,
    Unit,
    change,
    level,
    over_better_parent,
    pooled,
    register_rows,
)
from labkit.data import world
from labkit.data.packs import Pack, load_pack
from labkit.diagnose.gate import GateReport, held_axes
from labkit.diagnose.probe import LOOKS, EarlyWarning, alarms, probe_items, read_looks
from labkit.evaluate.scorecards import (
    ItemResult,
    Scorecard,
    log_likelihoods,
    score_items,
    split_at_choices,
)
from labkit.evaluate.scoring import best_t, cached_card, score_checkpoint
from labkit.merge.methods import merge_at
from labkit.models.families import MODEL
from labkit.models.zoo import Loaded
from labkit.train.pipeline import load_checkpoint, run_spec
from labkit.train.specs import PipelineSpec, ProfileName, Stage
from studies import case_packs

SEEDS, REAL_SEEDS = 5, 2
EXTRAS_VERSION = 1  # part of a scorecard's key: raise it when these items are scored otherwise
TS = (0.2, 0.35, 0.5, 0.65, 0.8)  # that dev chooses among
KNOWN = "known reasoning"
# Adverse events: asked for yes or no as it is; asked, with a threshold on how sure the yes is; and
# read off what the model expects after "NAME can cause". Thresholds are chosen on dev.
EVENTS, WITH_THRESHOLD, READ_OFF = READINGS = (
    "adverse events",
    "adverse events, threshold",
    "adverse events, read off",
)

# Batches of 16: names that no model has seen are learned step by step (docs/own-domain.md).
READ = Stage(
    kind="cpt", learning_rate=1.2e-3, steps=140, replay=0.1, sources=("raw",), batch_size=16
)
ANSWER = Stage(kind="sft", learning_rate=5e-4, steps=45, replay=0.25, batch_size=16)
# More than this, or a higher rate, lowers reasoning about well-known things that it does not ask.
REASON = ANSWER.model_copy(update={"learning_rate": 2e-4, "steps": 80})
BOTH = ANSWER.model_copy(update={"steps": ANSWER.steps + REASON.steps})
PREFER = Stage(kind="dpo", learning_rate=1.5e-4, steps=30, batch_size=16, beta=0.03)
FLOOD = Stage(kind="cpt", learning_rate=1.2e-3, steps=10, sources=("raw",), batch_size=16)
NOTES = FLOOD.model_copy(update={"sources": ("summaries",), "steps": 40})
CURATED = Stage(kind="sft", learning_rate=3e-4, steps=30, batch_size=16)
MEASURES = LEAST, SOME, MUCH = (1, 4, 16)  # of court-like text, and of the steps that read it


@dataclass(frozen=True)
class Arm:
    """A recipe: the pack it trains on and its stages. watch: whether a probe looks on."""

    pack: Callable[[], Pack]
    stages: tuple[Stage, ...]
    watch: bool = False


@dataclass
class Run:
    """One seed: its scorecards, what each trained arm cost, and what each watched stage showed."""

    unit: Unit
    cost: dict[str, dict] = field(default_factory=dict)
    watched: dict[str, dict] = field(default_factory=dict)


class EveryLook(EarlyWarning):
    """A probe that takes each planned look, whatever it costs: what it sees must not hang on how
    busy the machine is.
    """

    def _due(self, step: int, steps: int) -> bool:
        return step == 0 or step in {round(steps * (i + 1) / LOOKS) for i in range(LOOKS)}


def train(arm: Arm, seed: int, profile_name: ProfileName) -> list[Checkpoint]:
    """The checkpoints of an arm, one per stage."""
    pack = arm.pack()
    items = probe_items(pack) if arm.watch else []
    return run_spec(
        PipelineSpec(
            pack=str(pack.folder),
            model=MODEL,
            stages=arm.stages,
            seed=seed,
            profile=profile_name,
        ),
        watch=(lambda kind, tokenizer: EveryLook(tokenizer, items)) if arm.watch else None,
    )


def cost_of(made: Sequence[Checkpoint]) -> dict:
    """What the stages of an arm cost in all, on the machine that trained them."""
    lineages = [one.lineage for one in made]
    return {
        "steps": sum(lineage["steps"] for lineage in lineages),
        "tokens": sum(lineage["tokens"] for lineage in lineages),
        "seconds": sum(lineage["wall_seconds"] for lineage in lineages),
    }


# --- adverse events ---------------------------------------------------------------------------


def with_known(card: Scorecard, loaded: Loaded) -> Scorecard:
    """The card with reasoning about well-known things beside its own items."""
    items = case_packs.known_reasoning_items(card.split)
    return _beside(card, loaded, items, lambda: score_items(loaded.model, loaded.tokenizer, items))


def with_events(card: Scorecard, loaded: Loaded, domain: str) -> Scorecard:
    """The card with adverse events in three readings beside its own items."""
    items, dev = (case_packs.event_items(domain, split) for split in (card.split, "dev"))

    def make() -> list[ItemResult]:
        asked = score_items(loaded.model, loaded.tokenizer, items)
        on_dev = score_items(loaded.model, loaded.tokenizer, dev)
        return [
            *asked,
            *_flagged(WITH_THRESHOLD, items, _sure(items, asked), _sure(dev, on_dev)),
            *_flagged(
                READ_OFF,
                items,
                event_shares(loaded, domain, items),
                event_shares(loaded, domain, dev),
            ),
        ]

    return _beside(card, loaded, items, make)


def _beside(
    card: Scorecard, loaded: Loaded, items: list[dict], make: Callable[[], list[ItemResult]]
) -> Scorecard:
    """The card and more results, which are made once."""
    key = key_of(case=EXTRAS_VERSION, weights=loaded.fingerprint, items=items)
    more = cached_card(
        key,
        lambda: Scorecard(card.checkpoint, card.pack, card.split, card.data, make()),
        card.checkpoint,
    )
    return replace(card, items=card.items + more.items)


def _sure(items: list[dict], results: list[ItemResult]) -> list[tuple[float, bool]]:
    """Per item the share of probability that yes has, and whether the event is caused."""
    found = []
    for item, result in zip(items, results, strict=True):
        sure = result.measures["confidence"]
        yes = sure if result.output == case_packs.YES else 1 - sure
        found.append((yes, item["kind"] == "event"))
    return found


def _flagged(
    axis: str,
    items: list[dict],
    found: list[tuple[float, bool]],
    on_dev: list[tuple[float, bool]],
) -> list[ItemResult]:
    """Results of flagging each event whose share is above the threshold that dev chooses."""
    threshold = best_threshold(on_dev)
    return [
        ItemResult(
            f"{item['id']} {axis}",
            axis,
            item["kind"],
            item["entity"],
            float((share > threshold) == caused),
            f"{share:.4f} against {threshold:.4f}",
        )
        for item, (share, caused) in zip(items, found, strict=True)
    ]


def event_shares(loaded: Loaded, domain: str, items: list[dict]) -> list[tuple[float, bool]]:
    """Per item the share of probability that its event has among all events, and whether it is
    caused.
    """
    attribute = world.language(domain).attributes[case_packs.EVENT]
    prefix = attribute.statements[0].removesuffix(" {value}.")
    shares: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(item["entity"] for item in items):
        context, tails = split_at_choices(
            loaded.tokenizer, {"prompt": prefix.format(name=name)}, attribute.values
        )
        values = log_likelihoods(
            loaded.model,
            loaded.tokenizer.pad_token_id,
            [context] * len(tails),
            [context + tail for tail in tails],
        )
        total = sum(math.exp(value - max(values)) for value in values)
        shares[name] = {
            event: math.exp(value - max(values)) / total
            for event, value in zip(attribute.values, values, strict=True)
        }
    return [(shares[item["entity"]][item["event"]], item["kind"] == "event") for item in items]


def best_threshold(found: Sequence[tuple[float, bool]]) -> float:
    """The share above which flagging gives the highest balanced accuracy."""
    caused = [share for share, true in found if true]
    not_caused = [share for share, true in found if not true]

    def balanced(threshold: float) -> float:
        return mean(share > threshold for share in caused) + mean(
            share <= threshold for share in not_caused
        )

    return max(sorted({share for share, _ in found}), key=balanced)


def recall_of(label: str, axis: str = EVENTS) -> Measure:
    """Share of adverse events that a checkpoint finds."""
    return level(label, axis, "event")


def false_alarms_of(label: str, axis: str = EVENTS) -> Measure:
    """Share of events that are none and are flagged."""
    return lambda units: cluster_mean(_alarms(units, label, axis))


def _alarms(units: list[Unit], label: str, axis: str) -> list[ItemScore]:
    return [
        replace(score, score=1 - score.score) for score in pooled(units, label, axis, "no event")
    ]


def balanced(units: list[Unit], label: str, axis: str = EVENTS) -> list[ItemScore]:
    """Scores whose mean is balanced accuracy: events weigh as much as what is none, however many
    there are.
    """
    return _alike([pooled(units, label, axis, kind) for kind in ("event", "no event")])


def _alike(groups: list[list[ItemScore]]) -> list[ItemScore]:
    """Scores of groups that weigh the same, however many scores each has."""
    total = sum(map(len, groups))
    return [
        replace(score, score=score.score * total / (len(groups) * len(found)))
        for found in groups
        for score in found
    ]


def read_over_asked(label: str) -> Measure:
    """Balanced accuracy read off minus asked with a threshold, item by item."""

    def bare(units: list[Unit], axis: str) -> list[ItemScore]:
        return [
            replace(score, id=score.id.removesuffix(f" {axis}"))
            for score in pooled(units, label, axis)
        ]

    return lambda units: paired_difference(bare(units, WITH_THRESHOLD), bare(units, READ_OFF))


# --- pharma -----------------------------------------------------------------------------------

DOMAIN = "biomed"
PHARMA: dict[str, Arm] = {
    "CPT-SFT": Arm(case_packs.pharma_pack, (READ, ANSWER)),
    "CPT-SFT-DPO": Arm(case_packs.pharma_pack, (READ, ANSWER, PREFER)),
    "SFT alone": Arm(case_packs.pharma_pack, (ANSWER,)),
    "reasoning specialist": Arm(case_packs.reasoning_pack, (REASON,)),
    "retrained on both": Arm(case_packs.union_pack, (READ, BOTH)),
}
START, CHEMISTRY, REASONING, UNION = (
    "untouched",
    "CPT-SFT",
    "reasoning specialist",
    "retrained on both",
)
SPECIALISTS = (CHEMISTRY, REASONING)
SLERPED, LERPED, SAME_T, BACK = "SLERP", "LERP", "LERP at SLERP's t", "merged back"
PHARMA_AXES = ("knowledge", "reasoning", "instructions", "general")
CHOSEN_BY = ("knowledge", KNOWN)  # t of the two specialists
KEPT_BY = ("knowledge", "instructions")  # t of the merge back into the start model
RANKED = (START, "SFT alone", "CPT-SFT", "CPT-SFT-DPO")


def pharma_run(seed: int, profile_name: ProfileName, tell: Callable[[str], None]) -> Run:
    """Train, merge and score every arm of the pharma case for one seed."""
    pack = case_packs.pharma_pack(DOMAIN)
    run, made = Run(Unit(pack.name, seed)), {}

    def score(label: str, loaded: Loaded, *, dev: bool = False) -> None:
        axes = (*PHARMA_AXES, *(("preference",) if label in RANKED else ()))
        card = score_checkpoint(loaded, pack, axes=axes, profile_name=profile_name, name=label)
        run.unit.cards[label] = with_events(with_known(card, loaded), loaded, DOMAIN)
        if dev:
            run.unit.cards[f"{label}{ON_DEV}"] = _on_dev(loaded, pack, PHARMA_AXES, profile_name)

    start = load_checkpoint(MODEL)
    score(START, start)
    for label, arm in PHARMA.items():
        tell(f"{pack.name} seed {seed}: {label}")
        checkpoints = train(arm, seed, profile_name)
        made[label] = load_checkpoint(checkpoints[-1])
        run.cost[label] = cost_of(checkpoints)
        score(label, made[label], dev=label in SPECIALISTS)
        if label == CHEMISTRY:
            score("CPT", load_checkpoint(checkpoints[0]))
            run.cost["CPT"] = cost_of(checkpoints[:1])
    tell(f"{pack.name} seed {seed}: merges")
    run.cost[SLERPED] = run.cost[LERPED] = _summed(run.cost[label] for label in SPECIALISTS)
    run.cost[BACK] = run.cost["CPT-SFT-DPO"]
    reasoning, chemistry = made[REASONING], made[CHEMISTRY]
    for label, method in ((SLERPED, "slerp"), (LERPED, "lerp")):
        run.unit.chosen[label] = _chosen_t(
            reasoning, chemistry, pack, CHOSEN_BY, method, profile_name
        )
        score(label, merge_at(reasoning, chemistry, run.unit.chosen[label], method))
    score(SAME_T, merge_at(reasoning, chemistry, run.unit.chosen[SLERPED], "lerp"))
    whole = made["CPT-SFT-DPO"]
    run.unit.chosen[BACK] = _chosen_t(start, whole, pack, KEPT_BY, "slerp", profile_name)
    score(BACK, merge_at(start, whole, run.unit.chosen[BACK], "slerp"))
    return run


def _summed(costs: Iterable[dict]) -> dict:
    """Costs of arms that are all needed for one result."""
    costs = list(costs)
    return {key: sum(cost[key] for cost in costs) for key in costs[0]}


def _on_dev(
    loaded: Loaded, pack: Pack, axes: Sequence[str], profile_name: ProfileName
) -> Scorecard:
    """The dev card of some axes, with reasoning about well-known things."""
    axes = [axis for axis in axes if axis != KNOWN]
    card = score_checkpoint(loaded, pack, split="dev", axes=axes, profile_name=profile_name)
    return with_known(card, loaded)


def _chosen_t(
    general: Loaded,
    domain: Loaded,
    pack: Pack,
    axes: tuple[str, ...],
    method: str,
    profile_name: ProfileName,
) -> float:
    """The t that dev chooses by the mean of some axes."""
    sweep = [
        (t, _on_dev(merge_at(general, domain, t, method), pack, axes, profile_name)) for t in TS
    ]
    return best_t(sweep, *axes)


Scores = Callable[[list[Unit], str], list[ItemScore]]


def on(axis: str) -> Scores:
    return lambda units, label: pooled(units, label, axis)


def together(units: list[Unit], label: str) -> list[ItemScore]:
    """Scores whose mean is that of the two axes that chose t: each axis weighs half, however many
    items it has.
    """
    return _alike([pooled(units, label, axis) for axis in CHOSEN_BY])


def over_specialist(scores: Scores) -> Measure:
    """A merge minus the specialist that is better on dev."""
    return lambda units: cluster_mean(over_better_parent(units, SLERPED, SPECIALISTS, scores))


def gain(before: str, after: str, scores: Scores) -> Measure:
    return lambda units: paired_difference(scores(units, before), scores(units, after))


OURS = "one million parameters and invented facts; the lesson's story tells of products"
NO_DATA = "the lesson gives the story without figures"


def _pharma_lesson(topic: str, words: str, measure: Measure, differs: str = OURS) -> Lesson:
    return Lesson(topic, words, measure, differs, NO_DATA)


PHARMA_CLAIMS = (
    _pharma_lesson(
        "mapping",
        "raw text (CPT) teaches facts: cloze items, against the untouched model",
        change(START, "CPT", "knowledge", "cloze"),
    ),
    _pharma_lesson(
        "mapping",
        "curated questions (SFT) after CPT teach answering: free answers, against CPT alone",
        change("CPT", "CPT-SFT", "knowledge", "free"),
    ),
    _pharma_lesson(
        "mapping",
        "curated questions need the raw text: free answers, CPT-SFT against SFT alone",
        change("SFT alone", "CPT-SFT", "knowledge", "free"),
    ),
    _pharma_lesson(
        "mapping",
        "reviewers' preferences (DPO) rank held-out pairs better than CPT-SFT",
        change("CPT-SFT", "CPT-SFT-DPO", "preference"),
    ),
    _pharma_lesson(
        "mapping",
        "the whole pipeline lowers instruction following (untouched minus CPT-SFT-DPO)",
        change("CPT-SFT-DPO", START, "instructions"),
    ),
    *(
        _pharma_lesson(
            "adverse events",
            f"{label}: balanced accuracy, {how}, above that of the untouched model",
            change(START, label, axis),
        )
        for axis, how, labels in (
            (EVENTS, "asked", ("CPT-SFT", "CPT-SFT-DPO")),
            (READ_OFF, "read off", ("SFT alone", "CPT", "CPT-SFT", "CPT-SFT-DPO", BACK)),
        )
        for label in labels
    ),
    _pharma_lesson(
        "adverse events",
        "DPO after SFT finds more adverse events (recall, read off)",
        change("CPT-SFT", "CPT-SFT-DPO", READ_OFF, "event"),
    ),
    _pharma_lesson(
        "adverse events",
        "DPO after SFT raises fewer false alarms (read off)",
        change("CPT-SFT", "CPT-SFT-DPO", READ_OFF, "no event"),
    ),
    *(
        _pharma_lesson(
            "adverse events",
            f"{label}: reading the expected event off beats asking with a threshold "
            "(balanced accuracy)",
            read_over_asked(label),
        )
        for label in ("CPT-SFT", "CPT-SFT-DPO")
    ),
    _pharma_lesson(
        "specialists",
        "the chemistry specialist knows more than their general model",
        change(START, CHEMISTRY, "knowledge"),
    ),
    _pharma_lesson(
        "specialists",
        "the reasoning specialist reasons better about well-known things than their general model",
        change(START, REASONING, KNOWN),
    ),
    _pharma_lesson(
        "specialists",
        "the chemistry specialist reasons worse about them (general model minus this)",
        change(CHEMISTRY, START, KNOWN),
    ),
    *(
        _pharma_lesson(
            "specialists",
            f"{SLERPED} of the two specialists beats {against}, {words}",
            over_specialist(scores) if other is None else gain(other, SLERPED, scores),
        )
        for words, scores in (
            ("knowledge and reasoning about well-known things together", together),
            ("knowledge", on("knowledge")),
            ("reasoning about well-known things", on(KNOWN)),
            ("instruction following", on("instructions")),
        )
        for against, other in (
            ("the specialist that is better on dev", None),
            ("LERP at its own t", LERPED),
            ("LERP at the same t", SAME_T),
            ("their general model", START),
            ("retraining on both", UNION),
        )
    ),
)


# --- legal ------------------------------------------------------------------------------------

LAW = "legal"


def _court(measures: int) -> Callable[[], Pack]:
    return lambda: case_packs.court_pack(measures, LAW)


def _flood(measures: int, **changes: object) -> Stage:
    return FLOOD.model_copy(update={"steps": FLOOD.steps * measures, **changes})


def raw_label(measures: int) -> str:
    return f"raw {measures}x, then questions"


QUESTIONS, SUMMARIES, REPLAYED = (
    "questions alone",
    "summaries, then questions",
    f"raw {MUCH}x with replay, then questions",
)
REPLAY = 0.25
LEGAL: dict[str, Arm] = {
    QUESTIONS: Arm(lambda: load_pack(LAW), (CURATED,), watch=True),
    SUMMARIES: Arm(lambda: load_pack(LAW), (NOTES, CURATED), watch=True),
    **{
        raw_label(measures): Arm(_court(measures), (_flood(measures), CURATED), watch=True)
        for measures in MEASURES
    },
    REPLAYED: Arm(
        _court(MUCH),
        (_flood(MUCH, replay=REPLAY), CURATED.model_copy(update={"replay": REPLAY})),
        watch=True,
    ),
}
LEGAL_AXES = ("knowledge", "instructions", "general")
MOST, AS_MANY = raw_label(MUCH), raw_label(SOME)  # AS_MANY: steps as the summaries


def legal_run(seed: int, profile_name: ProfileName, tell: Callable[[str], None]) -> Run:
    """Train and score every arm of the legal case for one seed."""
    return volume_run(LEGAL, load_pack(LAW), seed, profile_name, tell)


def volume_run(
    arms: dict[str, Arm],
    pack: Pack,
    seed: int,
    profile_name: ProfileName,
    tell: Callable[[str], None],
) -> Run:
    """Train watched arms and score them, the text-only checkpoint of each too."""
    run = Run(Unit(pack.name, seed))

    def score(label: str, model: str | Checkpoint) -> None:
        run.unit.cards[label] = score_checkpoint(
            model, pack, axes=LEGAL_AXES, profile_name=profile_name, name=label
        )

    score(START, MODEL)
    for label, arm in arms.items():
        tell(f"{pack.name} seed {seed}: {label}")
        checkpoints = train(arm, seed, profile_name)
        run.cost[label] = cost_of(checkpoints)
        score(label, checkpoints[-1])
        if len(checkpoints) > 1:
            score(text_alone(label), checkpoints[0])
        run.watched[label] = {
            "stages": [watched(one.lineage) for one in checkpoints],
            "gate": gate_of(run.unit.cards[START], run.unit.cards[label]),
        }
    return run


def text_alone(label: str) -> str:
    """What the checkpoint is called that has read the text and seen no questions yet."""
    return label.replace(", then questions", ", no questions yet")


def watched(lineage: dict) -> dict:
    """The alarms of a stage: axis -> share of the stage's steps at which it came, and whether the
    loss had fallen by then.
    """
    found = alarms(read_looks(lineage), lineage["loss_curve"])
    return {
        "kind": lineage["stage"]["kind"],
        "steps": lineage["steps"],
        "alarms": {
            alarm.axis: [alarm.step / lineage["steps"], alarm.loss_then <= alarm.loss_before]
            for alarm in found
        },
    }


def gate_of(before: Scorecard, after: Scorecard) -> dict:
    """What the release gate says of a checkpoint: passed or not, and the axes that fell."""
    held = held_axes(before, after)
    report = GateReport(after.checkpoint, before.checkpoint, after.pack, held, [])
    return {"passed": report.passed, "fallen": report.fallen}


def _legal_lesson(topic: str, words: str, measure: Measure) -> Lesson:
    return Lesson(topic, words, measure, OURS, NO_DATA)


LEGAL_CLAIMS = (
    *(
        _legal_lesson(
            "amount",
            f"{label}: instruction following falls (untouched minus this)",
            change(label, START, "instructions"),
        )
        for label in LEGAL
    ),
    *(
        _legal_lesson(
            "amount",
            f"{more}x of raw text costs more instruction following than {less}x",
            change(raw_label(more), raw_label(less), "instructions"),
        )
        for less, more in ((LEAST, SOME), (SOME, MUCH), (LEAST, MUCH))
    ),
    *(
        _legal_lesson(
            "amount",
            f"{more}x of raw text answers more questions than {less}x (free answers)",
            change(raw_label(less), raw_label(more), "knowledge", "free"),
        )
        for less, more in ((LEAST, SOME), (SOME, MUCH), (LEAST, MUCH))
    ),
    *(
        _legal_lesson(
            "amount",
            f"{more}x of raw text costs more general knowledge than {less}x",
            change(raw_label(more), raw_label(less), "general"),
        )
        for less, more in ((LEAST, SOME), (SOME, MUCH), (LEAST, MUCH))
    ),
    _legal_lesson(
        "curated",
        "summaries answer more questions than as many steps of raw text (free answers)",
        change(AS_MANY, SUMMARIES, "knowledge", "free"),
    ),
    _legal_lesson(
        "curated",
        "summaries keep more instruction following than as many steps of raw text",
        change(AS_MANY, SUMMARIES, "instructions"),
    ),
    _legal_lesson(
        "curated",
        f"summaries answer more questions than {MUCH}x of raw text (free answers)",
        change(MOST, SUMMARIES, "knowledge", "free"),
    ),
    _legal_lesson(
        "curated",
        f"summaries keep more instruction following than {MUCH}x of raw text",
        change(MOST, SUMMARIES, "instructions"),
    ),
    _legal_lesson(
        "curated",
        "curated questions without any text teach facts (free answers, against untouched)",
        change(START, QUESTIONS, "knowledge", "free"),
    ),
    _legal_lesson(
        "remedy",
        f"the curated questions give instruction following back that {MUCH}x of raw text took",
        change(text_alone(MOST), MOST, "instructions"),
    ),
    _legal_lesson(
        "remedy",
        f"a quarter of replay in both stages keeps more instruction following at {MUCH}x",
        change(MOST, REPLAYED, "instructions"),
    ),
    _legal_lesson(
        "remedy",
        f"it costs answers at {MUCH}x (without minus with replay, free answers)",
        change(REPLAYED, MOST, "knowledge", "free"),
    ),
)


# --- the real packs ---------------------------------------------------------------------------

REAL_MED, REAL_LAW = "pubmedqa", "contracts"
REAL_ROWS = 70  # of real text in one measure
# Real rows are longer than invented ones; a step holds as many tokens.
REAL_TEXT = {"max_length": 96, "batch_size": 12}
REAL_ASKED = {"max_length": 192, "batch_size": 6}


def _part(domain: str, measures: int) -> Callable[[], Pack]:
    return lambda: case_packs.part_of_text(domain, REAL_ROWS * measures)


def _real(stage: Stage, **changes: object) -> Stage:
    shape = REAL_TEXT if stage.kind == "cpt" else REAL_ASKED
    return stage.model_copy(update={**shape, **changes})


REAL_LEGAL: dict[str, Arm] = {
    QUESTIONS: Arm(lambda: load_pack(REAL_LAW), (_real(CURATED),), watch=True),
    **{
        raw_label(measures): Arm(
            _part(REAL_LAW, measures), (_real(_flood(measures)), _real(CURATED)), watch=True
        )
        for measures in (SOME, MUCH)
    },
}


# --- what is kept -----------------------------------------------------------------------------


def told(found: Interval) -> dict:
    return {key: _rounded(value) for key, value in found.as_dict().items()}


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


def scores_of(units: list[Unit], wanted: Sequence[tuple[str, str | None]]) -> dict[str, dict]:
    """label -> measure -> interval, of every checkpoint that has items of it."""
    found: dict[str, dict] = {}
    for label in units[0].cards:
        if label.endswith(ON_DEV):
            continue
        for axis, kind in wanted:
            scores = pooled(units, label, axis, kind)
            if scores:
                name = f"{axis}, {kind}" if kind else axis
                found.setdefault(label, {})[name] = told(cluster_mean(scores))
    return found


def costs_of(runs: list[Run]) -> dict[str, dict]:
    """label -> mean cost over runs."""
    return {
        label: {key: mean(run.cost[label][key] for run in runs) for key in runs[0].cost[label]}
        for label in runs[0].cost
    }


def claims_of(units: list[Unit], claims: Sequence[Lesson]) -> list[dict]:
    rows = register_rows([(lesson, lesson.measure(units)) for lesson in claims])
    return [
        {**row, "effect": {key: _rounded(value) for key, value in row["effect"].items()}}
        for row in rows
    ]


KNOWLEDGE = (
    ("knowledge", "cloze"),
    ("knowledge", "free"),
    ("knowledge", "paraphrased"),
)


def legal_data(runs: list[Run]) -> dict:
    units = [run.unit for run in runs]
    return {
        "pack": units[0].pack,
        "model": MODEL,
        "seeds": len(units),
        "scores": scores_of(units, (*KNOWLEDGE, *((axis, None) for axis in LEGAL_AXES))),
        "cost": costs_of(runs),
        "watched": {label: [run.watched[label] for run in runs] for label in runs[0].watched},
    }


def run_legal(
    measured: Path,
    tell: Callable[[str], None],
    *,
    seeds: int = SEEDS,
    real_seeds: int = REAL_SEEDS,
    profile_name: ProfileName = "study",
) -> dict:
    """Measure the legal case, and the smaller repeat on real contracts; keep what came out."""
    runs = [legal_run(seed, profile_name, tell) for seed in range(seeds)]
    data = legal_data(runs)
    data["claims"] = claims_of([run.unit for run in runs], LEGAL_CLAIMS)
    keep(measured / LEGAL_FILE, data)
    if real_seeds:
        pack = load_pack(REAL_LAW)
        real = [
            volume_run(REAL_LEGAL, pack, seed, profile_name, tell) for seed in range(real_seeds)
        ]
        data["real"] = {
            **legal_data(real),
            "claims": claims_of([run.unit for run in real], REAL_LEGAL_CLAIMS),
        }
        keep(measured / LEGAL_FILE, data)
    return data


REAL_LEGAL_CLAIMS = (
    *(
        _legal_lesson(
            "amount",
            f"{label}: instruction following falls (untouched minus this)",
            change(label, START, "instructions"),
        )
        for label in REAL_LEGAL
    ),
    _legal_lesson(
        "amount",
        f"{MUCH}x of raw text costs more instruction following than {SOME}x",
        change(MOST, AS_MANY, "instructions"),
    ),
    _legal_lesson(
        "amount",
        f"{MUCH}x of raw text knows more of what the text says than {SOME}x",
        change(AS_MANY, MOST, "knowledge"),
    ),
)
PHARMA_FILE, LEGAL_FILE = "case_pharma.json", "case_legal.json"


def keep(path: Path, data: dict) -> None:
    write_file(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


REAL_READ = _real(READ, steps=80)
REAL_PHARMA: dict[str, Arm] = {
    "CPT-SFT": Arm(_part(REAL_MED, 8), (REAL_READ, _real(ANSWER))),
    "CPT-SFT-DPO": Arm(_part(REAL_MED, 8), (REAL_READ, _real(ANSWER), _real(PREFER))),
    "SFT alone": Arm(_part(REAL_MED, 8), (_real(ANSWER),)),
}
REAL_PARENTS = ("SFT alone", "CPT")
REAL_AXES = ("knowledge", "reasoning", "instructions", "general")
YES_OR_NO = ("results", "conclusion")  # kinds of items that end in yes, no or maybe


def real_pharma_run(seed: int, profile_name: ProfileName, tell: Callable[[str], None]) -> Run:
    """The same stages on real abstracts; the model that read is merged with the one that was asked.

    Training on both is CPT-SFT itself.
    """
    pack = load_pack(REAL_MED)
    run, made = Run(Unit(pack.name, seed)), {}
    answers = {row["id"]: row.get("answer") for row in pack.rows("test")}

    def score(label: str, loaded: Loaded) -> None:
        card = score_checkpoint(loaded, pack, axes=REAL_AXES, profile_name=profile_name, name=label)
        found = [
            replace(item, axis=EVENTS, kind=kind, score=float((item.output == "Yes") == caused))
            for item in card.items
            if item.kind in YES_OR_NO
            for answer, kind, caused in (("Yes", "event", True), ("No", "no event", False))
            if answers[item.id] == answer
        ]
        run.unit.cards[label] = replace(card, items=card.items + found)

    score(START, load_checkpoint(MODEL))
    for label, arm in REAL_PHARMA.items():
        tell(f"{pack.name} seed {seed}: {label}")
        checkpoints = train(arm, seed, profile_name)
        made[label], run.cost[label] = load_checkpoint(checkpoints[-1]), cost_of(checkpoints)
        score(label, made[label])
        if label == "CPT-SFT":
            made["CPT"], run.cost["CPT"] = load_checkpoint(checkpoints[0]), cost_of(checkpoints[:1])
            score("CPT", made["CPT"])
    asked, read = (made[label] for label in REAL_PARENTS)
    for label, method in ((SLERPED, "slerp"), (LERPED, "lerp")):
        sweep = [
            (
                t,
                score_checkpoint(
                    merge_at(asked, read, t, method),
                    pack,
                    split="dev",
                    axes=("knowledge", "reasoning"),
                    profile_name=profile_name,
                ),
            )
            for t in TS
        ]
        run.unit.chosen[label] = best_t(sweep, "knowledge", "reasoning")
        score(label, merge_at(asked, read, run.unit.chosen[label], method))
        run.cost[label] = _summed(run.cost[parent] for parent in REAL_PARENTS)
    return run


REAL_PHARMA_CLAIMS = (
    _pharma_lesson("mapping", "raw text (CPT) teaches facts", change(START, "CPT", "knowledge")),
    _pharma_lesson(
        "mapping",
        "curated questions (SFT) after CPT answer better about a study that is shown (reasoning)",
        change("CPT", "CPT-SFT", "reasoning"),
    ),
    *(
        _pharma_lesson(
            "specialists",
            f"{SLERPED} of the model that read and the one that was asked beats {other}, {axis}",
            change(other, SLERPED, axis),
        )
        for axis in ("knowledge", "reasoning", "instructions")
        for other in (*REAL_PARENTS, LERPED, "CPT-SFT")
    ),
)


def real_pharma_data(runs: list[Run]) -> dict:
    units = [run.unit for run in runs]
    return {
        "pack": REAL_MED,
        "seeds": len(units),
        "scores": scores_of(units, [(axis, None) for axis in REAL_AXES]),
        "events": events_of(units),
        "cost": costs_of(runs),
        "chosen": {label: [unit.chosen[label] for unit in units] for label in units[0].chosen},
        "claims": claims_of(units, REAL_PHARMA_CLAIMS),
    }


def run_pharma(
    measured: Path,
    tell: Callable[[str], None],
    *,
    seeds: int = SEEDS,
    real_seeds: int = REAL_SEEDS,
    profile_name: ProfileName = "study",
) -> dict:
    """Measure the pharma case, and the smaller repeat on real abstracts; keep what came out."""
    runs = [pharma_run(seed, profile_name, tell) for seed in range(seeds)]
    units = [run.unit for run in runs]
    data = {
        "pack": DOMAIN,
        "model": MODEL,
        "seeds": len(units),
        "scores": scores_of(
            units,
            (*KNOWLEDGE, *((axis, None) for axis in (*PHARMA_AXES, KNOWN, "preference"))),
        ),
        "events": events_of(units),
        "cost": costs_of(runs),
        "chosen": {label: [unit.chosen[label] for unit in units] for label in units[0].chosen},
        "claims": claims_of(units, PHARMA_CLAIMS),
    }
    keep(measured / PHARMA_FILE, data)
    if real_seeds:
        real = [real_pharma_run(seed, profile_name, tell) for seed in range(real_seeds)]
        data["real"] = real_pharma_data(real)
        keep(measured / PHARMA_FILE, data)
    return data


def events_of(units: list[Unit]) -> dict[str, dict]:
    """label -> way of reading -> recall, false alarms and balanced accuracy."""
    return {
        label: {
            axis: {
                "recall": told(recall_of(label, axis)(units)),
                "false alarms": told(false_alarms_of(label, axis)(units)),
                "balanced": told(cluster_mean(balanced(units, label, axis))),
            }
            for axis in READINGS
            if pooled(units, label, axis)
        }
        for label in units[0].cards
        if not label.endswith(ON_DEV)
    }
