"""SmolLM2-135M on documents that nobody invented: docs/real-packs.md and its data.

Run by `python -m studies real-packs`. The unit is one pack at one seed; its scorecards lie in a
file of its own (data_samples/measured/real/), which is written after each of them. So a study of
many hours can be made in pieces, on one machine or another: what is trained is written as an
adapter, and the adapter is what is scored and merged. t is chosen on dev, all that is reported is
the test split.

Two things here are in no pack. Items that need both parents: a question of the domain with a
request about form, right only when both are met. And text that nobody read: documents of the
source that only test items quote.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from labkit.base.errors import InputError
from labkit.base.pages import claims_rows, signed
from labkit.base.stats import (
    Interval,
    ItemScore,
    cluster_mean,
    combined,
    ratio_of_means,
    verdict,
)
from labkit.base.store import LINEAGE, default_root, key_of, write_file
from labkit.course.labs.real_lab import adapter_name
from labkit.course.study import (
    ON_DEV,
    Lesson,
    Measure,
    Unit,
    having,
    over_better_parent,
    register_rows,
)
from labkit.data.pack_build import source_rows
from labkit.data.packs import Pack, load_pack
from labkit.evaluate.scorecards import ItemResult, Scorecard, bits_per_byte, score_items
from labkit.evaluate.scoring import SCORING_VERSION, cached_card, highest_t, tokenizer_fingerprint
from labkit.merge.methods import merge_at
from labkit.models import zoo
from labkit.models.adapters import is_adapter
from labkit.models.zoo import Loaded
from labkit.train.pipeline import design_of, run_spec
from labkit.train.specs import (
    DPO,
    GENTLE,
    ORPO,
    OVERCOOKED,
    REAL_SFT,
    PipelineSpec,
    Stage,
    in_real,
)
from studies import page
from studies.real_evidence import ship_adapter
from studies.worked_cases import Scores, gain

# Three seeds where the effects are asked for most closely, two on the others.
UNITS = (
    ("pubmedqa", 0),
    ("contracts", 0),
    ("elements", 0),
    ("pubmedqa", 1),
    ("contracts", 1),
    ("elements", 1),
    ("pubmedqa", 2),
)
MODEL = zoo.SMOLLM2
ITEMS_VERSION = 2  # part of a scorecard's key: raise it when items of this study change
# As a model of this kind is deployed, and lm-eval scores it. Always: runs of several machines are
# put together.
PRECISION = "bfloat16"
BOTH, UNSEEN = "needs both", "unseen text"
PER_UNIT = 150  # items that need both parents, at most
DEV_BOTH = 40
TRAINED_ON = ("raw", "qa", "preferences")
DOCUMENTS, SHORTEST = 60, 200  # of text that nobody read, and letters of the shortest
PART = 60  # letters by which a text is found in another
ANSWER_TOKENS = 48  # a label or a fact, and a form around it

# The arms are the recipes of the notebooks, as this model takes them.
HURRIED, GENTLER = in_real((OVERCOOKED[0], GENTLE[0]))
EARLIER = HURRIED.model_copy(update={"steps": 20})
ASK = REAL_SFT
ARMS: dict[str, tuple[Stage, ...]] = {
    "overcooked cpt": (HURRIED,),
    "overcooked cpt, stopped earlier": (EARLIER,),
    "gentle cpt": (GENTLER,),
    "overcooked cpt-sft": (HURRIED, ASK),
    "gentle cpt-sft": (GENTLER, ASK),
    "sft": (ASK,),
    "gentle cpt-sft-dpo": (GENTLER, ASK, *in_real([DPO])),
    "gentle cpt-sft-orpo": (GENTLER, ASK, *in_real([ORPO])),
}
# An adapter has room for what all of its arm's stages learned.
RANKS = {
    arm: sum(stage.lora.rank for stage in stages if stage.lora) for arm, stages in ARMS.items()
}
UNTOUCHED = "untouched"
SPECIALIST, FULL = "overcooked cpt", "overcooked cpt-sft"
GENTLY, EARLY, ASKED = "gentle cpt", "overcooked cpt, stopped earlier", "gentle cpt-sft"
NOT_SHIPPED = (EARLY,)  # of the adapters of seed 0
# Of a checkpoint's lineage, what goes with its adapter: no path of the machine that trained it.
TOLD = (
    *("name", "key", "parent", "stage", "data", "seed", "versions", "rows"),
    *("steps", "tokens", "wall_seconds", "loss_curve", "metrics"),
)
MERGED = [
    (f"merge of {arm} ({method})", arm, method)
    for arm in (SPECIALIST, FULL)
    for method in ("slerp", "lerp")
]
SLERP, LERP, SLERP_FULL, LERP_FULL = (label for label, _, _ in MERGED)
NATURAL = ("natural_general", "natural_domain")
REASONING = (
    *("results", "conclusion", "which_question"),  # of pubmedqa
    *("label", "clause_kind"),  # of contracts
    *("denser_or_less", "earlier_or_later", "same_series", "same_lattice"),  # of the elements
    *("same_country", "same_class"),
)
SAME_EVERYWHERE = ("natural_general", "everyday")  # the same items beside every pack
TS = (0.25, 0.5, 0.75)
# What is merged with the untouched model, and by which kinds dev chooses its t.
MERGES = {
    SPECIALIST: (*NATURAL, "recall_gap"),
    FULL: (*NATURAL, BOTH),
}
# What a merge's parents are scored on for dev, by which the better one is chosen.
PARENT_KINDS = tuple(dict.fromkeys(kind for kinds in MERGES.values() for kind in kinds))
# Kinds that every checkpoint is scored on.
KINDS = (*NATURAL, "everyday", "recall_gap", "recall_cloze")


@dataclass(frozen=True)
class Form:
    """A request about form that a real model knows, how an answer looks that meets it, and the
    check that says whether one does.
    """

    request: str
    answered: str
    check: str
    settings: dict[str, Any]


# Those that SmolLM2 met most often beside short questions, when this was planned.
FORMS = (
    Form(
        'Add a postscript that begins with "P.S."',
        "{answer}\n\nP.S. This is a short answer.",
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
    ),
    Form(
        'Finish your answer with the words "That is all."',
        "{answer}. That is all.",
        "startend:end_checker",
        {"end_phrase": "That is all."},
    ),
    Form(
        'Use the word "therefore" in your answer.',
        "The answer is therefore {answer}.",
        "keywords:existence",
        {"keywords": ["therefore"]},
    ),
)
# Answered questions about nothing in particular, which stand before each question. Without them
# the untouched model met question and form together in 0.02 to 0.04 of the cases.
SHOWN = (
    ("Which is heavier, a stone or a feather?", "a stone"),
    ("Does the sun rise in the north? Answer yes or no.", "No"),
    ("What colour is grass?", "green"),
    ("Is ice colder than steam? Answer yes or no.", "Yes"),
)


def both_items(pack: Pack, split: str, most: int) -> list[dict]:
    """Questions of the domain that have one short answer, each with a request about form, after
    answered questions that show it.

    Right: the answer is said, no other choice is, and the form is met. Where there are fewer
    questions than `most`, each is asked again with another form. The shortest are taken: a model
    of this size goes on about a long text instead of answering.
    """
    every = [
        item
        for item in pack.rows(split)
        if _is_short(item) and item["axis"] in ("reasoning", "knowledge")
    ]
    asked = sorted(every, key=lambda item: (len(item["messages"][-1]["content"]), item["id"]))
    asked = asked[:most]
    random.Random(f"both {split}").shuffle(asked)
    turns = [(item, turn) for turn in range(len(FORMS)) for item in asked]
    return [
        _with_form(item, turn, FORMS[(number + turn) % len(FORMS)])
        for number, (item, turn) in enumerate(turns[:most])
    ]


def _is_short(item: dict) -> bool:
    """Whether a question can be answered in the open: its choices stand in it, or it has none."""
    question = item.get("messages", [{}])[-1].get("content", "").lower()
    choices = item.get("choices", [])
    if item["kind"].startswith("recall") or not question or "answer" not in item:
        return False
    return all(len(c.split()) <= 3 and c.lower() in question for c in choices)


def _with_form(item: dict, turn: int, form: Form) -> dict:
    *before, last = item["messages"]
    others = [choice for choice in item.get("choices", []) if choice != item["answer"]]
    shown = []
    for question, answer in SHOWN:
        shown.append({"role": "user", "content": f"{question} {form.request}"})
        shown.append({"role": "assistant", "content": form.answered.format(answer=answer)})
    checks = [form.check] + ["keywords:forbidden_words"] * bool(others)
    return {
        "id": f"{item['id']}-both-{turn}",
        "axis": "compositional",
        "kind": BOTH,
        "entity": item["entity"],
        "messages": [*before, *shown, {**last, "content": f"{last['content']} {form.request}"}],
        "checks": checks,
        "kwargs": [form.settings] + [{"forbidden_words": others}] * bool(others),
        "answer": item["answer"],
    }


def unseen_texts(pack: Pack) -> dict[str, str]:
    """Document -> text, of documents of the pack's source of which nothing stands in what is
    trained on; none where all were read.
    """
    trained = _in_a_row(
        json.dumps([pack.rows(split) for split in TRAINED_ON], ensure_ascii=False, indent=0)
    )
    found = {}
    for number, row in enumerate(source_rows(pack.name), 1):
        text = _in_a_row(_text(row))
        parts = (text[at : at + PART] for at in (0, len(text) // 2, max(0, len(text) - PART)))
        if len(text) > SHORTEST and not any(part in trained for part in parts):
            found[f"{pack.name} {number}"] = text
    drawn = random.Random(0).sample(sorted(found), min(DOCUMENTS, len(found)))
    return {name: found[name] for name in drawn}


def _text(row: dict) -> str:
    if "contexts" in row:
        return " ".join(row["contexts"])
    return row.get("clause") or row.get("description") or ""


def _in_a_row(text: str) -> str:
    """Without line breaks and quotation marks, which packs and JSON write in their own ways."""
    return " ".join(text.replace("\\", "").replace('"', "").split())


def scored(loaded: Loaded, pack: Pack, split: str, kinds: Iterable[str], label: str) -> Scorecard:
    """A checkpoint's scores on some kinds of a split, made or read back."""
    import torch

    wanted = sorted(set(kinds))
    items = [item for item in pack.rows(split) if item["kind"] in wanted]
    both = both_items(pack, split, PER_UNIT if split == "test" else DEV_BOTH)
    both = both if BOTH in wanted else []
    texts = unseen_texts(pack) if UNSEEN in wanted else {}

    def make() -> Scorecard:
        model, tokenizer = (
            copy.deepcopy(loaded.model).to(getattr(torch, PRECISION)),
            loaded.tokenizer,
        )
        found = score_items(model, tokenizer, items, training_text=pack.training_text)
        found += score_items(model, tokenizer, both, max_new_tokens=ANSWER_TOKENS)
        # what is compared to the third digit is read in full precision
        found += [
            ItemResult(
                name, "text", UNSEEN, name, bits_per_byte(loaded.model, tokenizer, [text]), ""
            )
            for name, text in texts.items()
        ]
        return Scorecard(label, pack.name, split, pack.fingerprint(split), found)

    key = key_of(
        study="real packs",
        version=SCORING_VERSION,
        items=ITEMS_VERSION,
        precision=PRECISION,
        weights=loaded.fingerprint,
        tokenizer=tokenizer_fingerprint(loaded.tokenizer),
        asked=[*items, *both],
        texts=texts,
    )
    return cached_card(key, make, label)


def adapter_folder(arm: str, pack: str, seed: int, adapters: Path) -> Path:
    """Where an arm's last checkpoint lies as an adapter. Those of seed 0 lie among the shipped
    ones; the others, and those of NOT_SHIPPED, beside the store.
    """
    name = adapter_name(Path(pack).name, arm.replace(", ", "-").replace(" ", "-"))
    if seed == 0 and arm not in NOT_SHIPPED:
        return adapters / name
    return default_root().parent / "real-packs" / f"{name}-{seed}"


def trained(arm: str, pack: Pack, seed: int, adapters: Path) -> tuple[Loaded, dict | None]:
    """An arm's last checkpoint as its adapter, which is what is scored, merged and shipped; and
    what its stages took, None where the adapter was there.
    """
    folder, took = adapter_folder(arm, str(pack.folder), seed, adapters), None
    if not is_adapter(folder):
        spec = PipelineSpec(
            pack=str(pack.folder), model=MODEL, stages=ARMS[arm], seed=seed, profile="lab"
        )
        made = run_spec(spec)
        took = {
            one.name.rsplit("/", 1)[-1]: {
                name: one.lineage[name] for name in ("steps", "tokens", "wall_seconds")
            }
            for one in made
        }
        share = ship_adapter(made[-1], folder, RANKS[arm], MODEL)
        lineage = made[-1].lineage
        told = {name: lineage[name] for name in TOLD} | {"share_kept": round(share, 6)}
        told["spec"] = {**lineage["spec"], "pack": pack.name}
        write_file(folder / LINEAGE, json.dumps({"design": design_of(spec), **told}) + "\n")
    return zoo.load(str(folder)), took


@dataclass(frozen=True)
class Asked:
    """One scorecard of a unit: of an arm, of the untouched model ("") or of their merge. ts: those
    of the merge, of several the one that dev chooses; none where nothing is merged.
    """

    label: str
    split: str = "test"
    arm: str = ""
    ts: tuple[float, ...] = ()
    method: str = "slerp"


def plan() -> list[Asked]:
    """All that is scored for one pack and seed, in order: the merges follow their grid on dev."""
    every = [Asked(UNTOUCHED), *(Asked(arm, arm=arm) for arm in ARMS)]
    every += [Asked(on_dev(arm, t), "dev", arm, (t,)) for arm in MERGES for t in TS]
    every += [Asked(label, "test", arm, TS, method) for label, arm, method in MERGED]
    every += [Asked(f"{UNTOUCHED}{ON_DEV}", "dev")]
    return every + [Asked(f"{arm}{ON_DEV}", "dev", arm) for arm in MERGES]


def kinds_of(pack: Pack, asked: Asked) -> tuple[str, ...]:
    """What a checkpoint is scored on: what a claim, a choice or the table needs of it."""
    if asked.split == "dev":
        return MERGES[asked.arm] if asked.ts else PARENT_KINDS
    label, kinds = asked.label, list(KINDS)
    if label == UNTOUCHED or FULL in label:
        kinds.append(BOTH)
    if label in (UNTOUCHED, SPECIALIST, EARLY, GENTLY, SLERP, LERP):
        kinds.append(UNSEEN)
    if label in (UNTOUCHED, FULL, ASKED, "sft", SLERP_FULL):
        kinds += [kind for kind in REASONING if kind in {row["kind"] for row in pack.rows("test")}]
    if label in (UNTOUCHED, ASKED, f"{ASKED}-dpo", f"{ASKED}-orpo"):
        kinds += ["truth", "two_terms"]
    return tuple(kinds)


def on_dev(arm: str, t: float) -> str:
    """The label of a merge's scorecard on dev, by which t is chosen."""
    return f"merge of {arm} (slerp), t = {t:g}{ON_DEV}"


def chosen_t(arm: str, cards: dict) -> float:
    """The t whose mean over an arm's kinds is highest on dev. cards: label -> scorecard, as a piece
    holds it.
    """

    def value(t: float) -> float:
        items = cards[on_dev(arm, t)]["items"]
        return fmean(fmean(row[-1] for row in items if row[2] == kind) for kind in MERGES[arm])

    return highest_t({t: value(t) for t in TS})


def is_whole(data: dict) -> bool:
    return all(asked.label in data["cards"] for asked in plan())


def run_unit(
    name: str, seed: int, piece: Path, adapters: Path, told: Callable[[str], None]
) -> None:
    """Train, merge and score everything for one pack and seed. The piece holds plain values and is
    written after each scorecard; what it holds is not measured again.
    """
    pack, general = load_pack(name), zoo.load(MODEL)
    data: dict[str, Any] = {"pack": name, "seed": seed, "chosen": {}, "took": {}, "cards": {}}
    if piece.is_file():
        data = json.loads(piece.read_text("utf-8"))

    @cache
    def tuned(arm: str) -> Loaded:
        told(f"{name}, seed {seed}: {arm}")
        loaded, took = trained(arm, pack, seed, adapters)
        if took:
            data["took"][arm] = took
        return loaded

    def model_of(asked: Asked) -> Loaded:
        if not asked.ts:
            return tuned(asked.arm) if asked.arm else general
        (t, *others) = asked.ts
        if others:
            data["chosen"][asked.arm] = t = chosen_t(asked.arm, data["cards"])
        return merge_at(general, tuned(asked.arm), t, asked.method)

    for asked in plan():
        if asked.label in data["cards"]:
            continue
        loaded = model_of(asked)
        told(f"{name}, seed {seed}: scoring {asked.label}")
        card = scored(loaded, pack, asked.split, kinds_of(pack, asked), asked.label)
        data["cards"][asked.label] = _told(card)
        write_file(piece, json.dumps(data, ensure_ascii=False) + "\n")


def _told(card: Scorecard) -> dict:
    """A scorecard without what was said: enough for every interval."""
    return {
        "split": card.split,
        "data": card.data,
        "items": [
            [item.id, item.axis, item.kind, item.entity, round(item.score, 5)]
            for item in card.items
        ],
    }


def as_unit(data: dict) -> Unit:
    """What `run_unit` gave, as claims read it."""
    return Unit(
        data["pack"],
        data["seed"],
        cards={
            label: Scorecard(
                label,
                data["pack"],
                card["split"],
                card["data"],
                [
                    ItemResult(id, axis, kind, entity, score, "")
                    for id, axis, kind, entity, score in card["items"]
                ],
            )
            for label, card in data["cards"].items()
        },
        chosen=data["chosen"],
    )


# --- what is claimed --------------------------------------------------------------------------


def on(*kinds: str) -> Scores:
    """Scores of a checkpoint on some kinds. Of items that are the same beside every pack, each run
    counts as a seed; others are told apart by pack.
    """

    def scores(units: list[Unit], label: str) -> list[ItemScore]:
        found = []
        for unit in having(units, label):
            mine = [item for item in unit.cards[label].items if item.kind in kinds]
            for item in mine:
                where = "" if item.kind in SAME_EVERYWHERE else f"{unit.pack}:"
                run = _run_number(unit) if not where else unit.seed
                found.append(ItemScore(where + item.id, where + item.entity, item.score, run))
        return found

    return scores


def _run_number(unit: Unit) -> int:
    return UNITS.index((unit.pack, unit.seed))


def synergy(merge: str, parents: tuple[str, str], scores: Scores) -> Measure:
    """The merge minus the parent that is better on dev, unit by unit."""
    return lambda units: cluster_mean(over_better_parent(units, merge, parents, scores))


def regained(units: list[Unit]) -> Interval | None:
    """Which share of what CPT lost in natural instructions the merge regains: a ratio of means,
    with a bootstrap interval over entities and runs. None where no loss can be told from none.
    """
    asked = on(*NATURAL)
    lost = combined([(1, asked(units, UNTOUCHED)), (-1, asked(units, SPECIALIST))])
    if verdict(cluster_mean(lost)) != "supported":
        return None
    back = combined([(1, asked(units, SLERP)), (-1, asked(units, SPECIALIST))])
    return ratio_of_means(back, lost)


OURS = (
    f"a model of 135 million parameters, adapters of rank {min(RANKS.values())} to "
    f"{max(RANKS.values())} on few documents, on two cores"
)
_INSTRUCTIONS, _EVERYDAY, _RECALL = on(*NATURAL), on("everyday"), on("recall_gap", "recall_cloze")
_BOTH, _UNSEEN = on(BOTH), on(UNSEEN)
_lesson = partial(Lesson, differs=OURS)
LESSONS = (
    _lesson(
        "forgetting",
        "overcooked CPT lowers natural instructions",
        gain(SPECIALIST, UNTOUCHED, _INSTRUCTIONS),
        reported="cpt_degrades",
    ),
    _lesson(
        "forgetting",
        "overcooked CPT lowers everyday knowledge",
        gain(SPECIALIST, UNTOUCHED, _EVERYDAY),
        reported="cpt_degrades",
    ),
    _lesson(
        "forgetting",
        "a smaller rate keeps more natural instructions than the overcooked one",
        gain(SPECIALIST, GENTLY, _INSTRUCTIONS),
    ),
    _lesson(
        "domain",
        "overcooked CPT recalls more of what its text says",
        gain(UNTOUCHED, SPECIALIST, _RECALL),
    ),
    _lesson(
        "merging",
        "merging back restores natural instructions",
        gain(SPECIALIST, SLERP, _INSTRUCTIONS),
        reported="merge",
    ),
    _lesson(
        "merging",
        "merging back gives up recall of the text",
        gain(SLERP, SPECIALIST, _RECALL),
        reported="merge",
    ),
    _lesson(
        "merging",
        "the SLERP merge beats the better parent on items that need both",
        synergy(SLERP_FULL, (UNTOUCHED, FULL), _BOTH),
        reported="size",
    ),
    _lesson(
        "merging",
        "SLERP beats LERP at the same t on items that need both",
        gain(LERP_FULL, SLERP_FULL, _BOTH),
        reported="merge",
    ),
    *(
        _lesson(
            "unseen text",
            f"the SLERP merge predicts unseen text better than {words} (bits per byte)",
            gain(SLERP, label, _UNSEEN),
        )
        for label, words in (
            (UNTOUCHED, "the untouched model"),
            (SPECIALIST, "the specialist"),
            (LERP, "the LERP merge"),
            (EARLY, "the same CPT stopped earlier"),
            (GENTLY, "a CPT with a smaller rate"),
        )
    ),
    *(
        _lesson(
            "preferences",
            f"{method} ranks held-out pairs better than CPT-SFT",
            gain(ASKED, f"{ASKED}-{method.lower()}", on("truth")),
            reported="preference",
        )
        for method in ("DPO", "ORPO")
    ),
)


# --- the page ---------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[str, ...]] = {
    "natural instructions": NATURAL,
    "everyday": ("everyday",),
    "reasoning": REASONING,
    "recall of the text": ("recall_gap", "recall_cloze"),
    BOTH: (BOTH,),
    "pairs": ("truth",),
    "creativity": ("two_terms",),
    "unseen text, bits per byte": (UNSEEN,),
}


def data_of(units: list[Unit], runs: list[dict]) -> dict:
    """Everything that the page and the notebooks show, as plain values."""
    share = regained(units)
    measured = [(lesson, lesson.measure(units)) for lesson in LESSONS if _can(lesson, units)]
    return {
        "units": [[run["pack"], run["seed"]] for run in runs],
        "planned": [list(unit) for unit in UNITS],
        "chosen": {f"{run['pack']}, seed {run['seed']}": run["chosen"] for run in runs},
        "scores": scores_of(units),
        "packs": {
            name: scores_of([unit for unit in units if unit.pack == name])
            for name in dict.fromkeys(unit.pack for unit in units)
        },
        "regained": share and share.as_dict(),
        "claims": register_rows(measured),
    }


def scores_of(units: list[Unit]) -> dict[str, dict]:
    """Label -> column -> interval over the units' items, of what was scored on test."""
    scores: dict[str, dict] = {}
    for label in units[0].cards:
        if label.endswith(ON_DEV):
            continue
        found = {name: on(*kinds)(units, label) for name, kinds in COLUMNS.items()}
        scores[label] = {
            name: cluster_mean(items).as_dict() for name, items in found.items() if items
        }
    return scores


def _can(lesson: Lesson, units: list[Unit]) -> bool:
    """Whether there are scores for a claim: elements has no text that nobody read."""
    return lesson.topic != "unseen text" or bool(_UNSEEN(units, SPECIALIST))


def _regained_words(share: dict | None) -> str:
    if share is None:
        return (
            "The overcooked training lost nothing of natural instructions that could be told from "
            "no loss, so there is no share of it to regain."
        )
    return (
        "Of what the overcooked training loses in natural instructions, the SLERP merge regains "
        f"{Interval(**share)} (1 would be all of it)."
    )


def page_text(data: dict) -> str:
    names = list(COLUMNS)
    table = [f"| model | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for label, row in data["scores"].items():
        cells = [str(Interval(**row[name])) if name in row else "–" for name in names]
        table.append(f"| {label} | {' | '.join(cells)} |")
    done = ", ".join(f"{pack} seed {seed}" for pack, seed in data["units"])
    left = [unit for unit in data["planned"] if unit not in data["units"]]
    return page("real_packs").format(
        done=done,
        left=", ".join(f"{pack} seed {seed}" for pack, seed in left) or "nothing",
        table="\n".join(table),
        regained=_regained_words(data["regained"]),
        chosen="; ".join(
            f"{unit}: {', '.join(f'{arm} {t:g}' for arm, t in found.items())}"
            for unit, found in data["chosen"].items()
        ),
        verdict="\n".join(
            f"- {row['claim']}: {row['verdict']} ({signed(Interval(**row['effect']))})"
            for row in data["claims"]
        ),
        claims=claims_rows(data["claims"]),
        precision=PRECISION,
        rank=RANKS[SPECIALIST],
        after=RANKS["sft"],
        rate=HURRIED.learning_rate,
        steps=HURRIED.steps,
        rows=HURRIED.batch_size,
        gentler=GENTLER.learning_rate,
        earlier=EARLIER.steps,
    )


def run_study(
    units: Iterable[tuple[str, int]],
    *,
    pieces: Path,
    page_file: Path,
    measured: Path,
    adapters: Path,
    told: Callable[[str], None],
) -> dict:
    """Measure what the units' pieces lack, one after the other, and write records and page after
    each unit that is whole. Raises InputError for a unit that is not planned.
    """
    for name, seed in units:
        if (name, seed) not in UNITS:
            planned = ", ".join(f"{pack}:{number}" for pack, number in UNITS)
            raise InputError(f"{name}:{seed} is not planned; choose among {planned}")
        run_unit(name, seed, _piece(pieces, name, seed), adapters, told)
        write_page(pieces=pieces, page_file=page_file, measured=measured)
    return write_page(pieces=pieces, page_file=page_file, measured=measured)


def _piece(pieces: Path, name: str, seed: int) -> Path:
    return pieces / f"{Path(name).name}-{seed}.json"


def write_page(*, pieces: Path, page_file: Path, measured: Path) -> dict:
    """The page and its records from the units that are whole.

    Raises InputError where none is.
    """
    files = [path for unit in UNITS if (path := _piece(pieces, *unit)).is_file()]
    runs = [run for path in files if is_whole(run := json.loads(path.read_text("utf-8")))]
    if not runs:
        raise InputError(f"{pieces}: no piece is whole yet; run `python -m studies real-packs`")
    data = data_of([as_unit(run) for run in runs], runs)
    write_file(measured / "real_packs.json", json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    write_file(page_file, page_text(data))
    return data
