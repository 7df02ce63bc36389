"""Design rules with evidence: what to think of before a design is trained, and how sure one can be.

A rule is advice, never a block. What stands behind it is looked up, not typed: a claim measured by
labkit with its verdict, the source paper with section, a cited study with the size of its models.
Its strength follows from these.

The second half makes alternatives: other designs that differ from a given one in one stated choice
each, so that a difference in scores has one cause. The choice is of a sort: the sequence of stages
and merges, the composition of the data, the architecture (family or size), the start, or how a
stage is trained. Each says why it is worth comparing, and on which finding that rests.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

from labkit.base.errors import InputError, suggest
from labkit.base.pages import plain_table, signed
from labkit.base.stats import Interval
from labkit.data import world
from labkit.data.packs import Pack, load_pack, variants_folder
from labkit.data.published import measured, measured_scale, reported, run_noise_of, study
from labkit.design.designer import (
    TINY,
    Data,
    data_of,
    default_stage,
    families,
    is_base,
    is_local,
    missing_files,
    problems,
    size_of,
)
from labkit.design.planner_memory import amount_of, little_reading, on_paper, rows_of
from labkit.evaluate.quality import measure_documents, with_raw
from labkit.merge.recipes import Merge
from labkit.models.architecture import parameters_of
from labkit.models.families import ARCHITECTURES, FAMILIES, LADDER
from labkit.models.zoo import SMOLLM2
from labkit.train.exposure import reads
from labkit.train.pipeline import stage_splits, steps_run, with_steps
from labkit.train.specs import PREFERENCE_STAGES, Lora, PipelineSpec, Stage, StageKind

MEASURED_AT = "1 million parameters"
MEASURED_REAL = "135 million parameters"
SMALLEST, LARGEST = (FAMILIES[LADDER[end]].parameters / 1e6 for end in (0, -1))
MEASURED_LADDER = f"{SMALLEST:g} to {LARGEST:g} million parameters"
PAPER_SIZES = "1.7 to 8 billion parameters, one benchmark"
# The highest rate in the source paper's configs, for full training of a billion parameters or more.
LARGE_RATE = 5e-5
MANY_EPOCHS = 4  # beyond these repeated text is worth less and less (muennighoff2023)
FEW_WORDS = 20_000
FEW_ITEMS = 200


# --- rules --------------------------------------------------------------------------------------


class Facts:
    """A design and what can be known about it before it is trained. pack: None while there are no
    files; then counts come from what is planned.
    """

    def __init__(self, spec: PipelineSpec):
        self.spec = with_steps(spec)
        self.pack: Pack | None = None if on_paper(spec) else load_pack(spec.pack)

    @cached_property
    def parameters(self) -> int:
        return parameters_of(self.spec.model)

    @property
    def base(self) -> bool:
        return is_base(self.spec.model)

    def of(self, *kinds: str) -> list[Stage]:
        """The stages of some kinds."""
        return [stage for stage in self.spec.stages if stage.kind in kinds]

    def before(self, first: str, *later: str) -> bool:
        """Whether some stage of kind `first` comes before every stage of kinds `later`, of which
        there is one.
        """
        kinds = [stage.kind for stage in self.spec.stages]
        places = [i for i, kind in enumerate(kinds) if kind in later]
        return bool(places) and first in kinds[: places[0]]

    def has(self, split: str) -> bool:
        """Whether the pack has a split, or a planned stage would read it."""
        if self.pack:
            return self.pack.has(split)
        planned = self.spec.planned or {}
        return any(split in stage_splits(stage) for stage in self.of(*planned))

    def plans(self, kind: StageKind) -> bool:
        """Whether there is something to read for a stage of a kind."""
        if self.pack is None:
            return kind in (self.spec.planned or {})
        return self.pack.has({"cpt": "raw", "sft": "qa"}.get(kind, "preferences"))

    @cached_property
    def words(self) -> int | None:
        """Of all text there is for CPT; None where nobody planned it."""
        if self.pack is None:
            planned = (self.spec.planned or {}).get("cpt")
            return planned.words if planned else None
        return sum(
            len(row["text"].split())
            for split in ("raw", "summaries")
            if self.pack.has(split)
            for row in self.pack.rows(split)
        )

    def epochs(self, stage: Stage) -> float:
        """How often CPT reads each of its rows."""
        return reads(stage, rows_of(self.spec, stage).rows, steps_run(stage, self.spec.profile))

    @cached_property
    def reads_too_rarely(self) -> bool:
        return any(little_reading(self.spec))

    @cached_property
    def conversations(self) -> str:
        """How many there are for SFT, in words."""
        if self.pack is None:
            return f"{amount_of(self.spec.planned or {}, 'sft').rows:,} planned"
        return (
            f"{len(self.pack.rows('qa')):,} in the pack"
            if self.pack.has("qa")
            else "none in the pack"
        )

    @cached_property
    def items(self) -> int | None:
        """Knowledge items of the test split; None while there is no pack."""
        if self.pack is None:
            return None
        return sum(row["axis"] == "knowledge" for row in self.pack.rows("test"))


@dataclass(frozen=True)
class Rule:
    """says: whether it speaks of a benefit or a risk of the design. remedy: the id of a
    `Change`.

    measured: claims of labkit's registers in the rule's own direction, denies: those it says the
    opposite of. reported: claims of the source paper that speak for it, context: those that only
    belong beside it. studies: cited ones that speak for it. counted: a figure about this very
    design, in words.
    """

    id: str
    says: Literal["benefit", "risk"]
    applies: Callable[[Facts], bool]
    sentence: str
    measured: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    counted: Callable[[Facts], str] | None = None
    remedy: str = ""
    denies: tuple[str, ...] = ()
    context: tuple[str, ...] = ()

    def verdicts(self) -> list[str]:
        """Of what labkit measured, as it bears on this rule: what denies a denied claim supports
        the rule.
        """
        turned = {"supported": "contradicted", "contradicted": "supported"}
        denied = [measured(claim)["verdict"] for claim in self.denies]
        return [
            *(measured(claim)["verdict"] for claim in self.measured),
            *(turned.get(said, said) for said in denied),
        ]


@dataclass(frozen=True)
class Advice:
    """A rule that applies to a design. strength: strong, moderate, weak or disputed, by what stands
    behind it.
    """

    rule: Rule
    strength: str
    evidence: tuple[str, ...]  # a sentence a piece

    @property
    def applicability(self) -> str:
        return "; ".join(self.evidence)

    def row(self) -> tuple[str, str, str, str, str]:
        """For tables: strength, what it speaks of, rule, sentence, evidence."""
        return self.strength, self.rule.says, self.rule.id, self.rule.sentence, self.applicability


def _any(stages: list[Stage], test: Callable[[Stage], bool]) -> bool:
    return any(map(test, stages))


def _forgetful(facts: Facts) -> bool:
    return not facts.base and _any(
        facts.of("cpt", "sft"), lambda stage: stage.replay == 0 and stage.lora is None
    )


RULES = (
    # --- reading
    Rule(
        "cpt forgets",
        "risk",
        lambda f: not f.base and _any(f.of("cpt"), lambda s: s.replay == 0),
        "CPT without replay takes instruction following away",
        ("CPT alone (overcooked) lowers instruction following",),
        ("cpt_degrades",),
        ("ibrahim2024",),
        remedy="replay",
    ),
    Rule(
        "replay keeps",
        "benefit",
        lambda f: _any(f.of("cpt"), lambda s: s.replay > 0),
        "replaying general rows keeps more of what CPT would forget",
        ("25% replay keeps more instruction following than the overcooked recipe",),
        (),
        ("ibrahim2024",),
    ),
    Rule(
        "replay is cheap",
        "benefit",
        lambda f: _any(f.of("cpt"), lambda s: 0 < s.replay <= 0.1),
        "even a few per cent of replay keep more than none",
        ("5% replay keeps more instruction following than the overcooked recipe",),
        (),
        ("ibrahim2024",),
    ),
    Rule(
        "rate too high",
        "risk",
        lambda f: _any(
            f.of("cpt", "sft"),
            lambda s: (
                s.lora is None and s.learning_rate > (1e-3 if f.parameters < TINY else LARGE_RATE)
            ),
        ),
        "a high learning rate forgets more; a third of it keeps more",
        (
            "a third of the learning rate keeps more instruction following than the "
            "overcooked recipe",
        ),
        remedy="lower rate",
    ),
    Rule(
        "junk costs",
        "risk",
        lambda f: _any(f.of("cpt"), lambda s: "raw" in s.sources),
        "unfiltered raw text may cost more than it gives: look at notebook 02 before "
        "adding more of it",
        (
            "half the text, clean, teaches more than that half and as much junk, at equal steps",
            "the same, the doubled text having twice the steps",
        ),
        ("quality",),
        ("allenzhu2024",),
    ),
    Rule(
        "wrong facts cost",
        "risk",
        lambda f: bool(f.of("cpt")),
        "statements that are wrong in the text are learned too: check what can be checked",
        ("text with half of its statements wrong teaches less than right text",),
    ),
    Rule(
        "distilled unused",
        "risk",
        lambda f: f.has("summaries") and _any(f.of("cpt"), lambda s: "summaries" not in s.sources),
        "the pack has distilled text that CPT does not read",
        ("distilled summaries teach more than the papers, at equal tokens",),
        ("distilled",),
        remedy="distilled text",
    ),
    Rule(
        "questions as text",
        "benefit",
        lambda f: _any(f.of("cpt"), lambda s: "qa" in s.sources),
        "facts read as questions with answers are easier to ask for later",
        ("questions with answers teach more than the papers, at equal tokens",),
        ("distilled",),
        ("allenzhu2023",),
    ),
    Rule(
        "one wording",
        "risk",
        lambda f: bool(f.of("cpt")),
        "a fact that the text tells in one wording only may be recalled and still not "
        "answered: rewrite it in several",
        ("eight wordings per fact give more answers than one, same documents and steps",),
        (),
        ("allenzhu2023", "ovadia2023"),
    ),
    Rule(
        "duplicates",
        "risk",
        lambda f: bool(f.of("cpt")),
        "copies of a document take the place of other wordings and are learned by heart",
        ("280 different documents teach more than 40 of them seven times",),
        (),
        ("lee2021",),
    ),
    Rule(
        "little text",
        "risk",
        lambda f: bool(f.of("cpt")) and f.words is not None and f.words < FEW_WORDS,
        "there is little text to read: facts in the prompt (retrieval) may serve "
        "better than training",
        (),
        (),
        ("ovadia2023",),
        lambda f: f"{f.words:,} words of text",
    ),
    Rule(
        "many epochs",
        "risk",
        lambda f: _any(f.of("cpt"), lambda s: f.epochs(s) > MANY_EPOCHS),
        "the same rows are read many times: what further rounds add falls off, what "
        "they forget does not",
        (),
        ("epochs",),
        ("muennighoff2023",),
        lambda f: f"CPT reads each row {max(map(f.epochs, f.of('cpt'))):.1f} times",
    ),
    Rule(
        "read too rarely",
        "risk",
        lambda f: f.reads_too_rarely,
        "a tiny model that reads names it has never seen a few times cannot say what was told of "
        "them",
        counted=lambda f: " ".join(little_reading(f.spec)),
        remedy="steps that fit",
    ),
    # --- answering
    Rule(
        "no answers taught",
        "risk",
        lambda f: bool(f.of("cpt")) and not f.of("sft"),
        "without SFT what was read is there as text, not as answers",
        ("DPO after SFT answers more domain questions than DPO straight after CPT",),
        ("sft_order",),
        ("allenzhu2023",),
        remedy="add SFT",
    ),
    Rule(
        "sft before cpt",
        "risk",
        lambda f: f.before("sft", "cpt"),
        "SFT before CPT teaches answering before there is anything to answer, and CPT "
        "then wears it down",
        (
            "CPT then SFT answers more domain questions than SFT then CPT",
            "CPT then SFT follows instructions better than SFT then CPT",
        ),
        ("sft_order",),
    ),
    Rule(
        "facts by sft alone",
        "risk",
        lambda f: bool(f.of("sft")) and not f.of("cpt"),
        "SFT alone is a slow way to teach facts, and teaches to answer what is not known",
        (),
        (),
        ("gekhman2024",),
        remedy="add CPT",
    ),
    Rule(
        "few conversations",
        "benefit",
        lambda f: bool(f.of("sft")),
        "few, carefully chosen conversations are enough to teach the form of answers",
        (),
        (),
        ("zhou2023",),
        lambda f: f.conversations,
    ),
    # --- preferring
    Rule(
        "dpo needs sft",
        "risk",
        lambda f: bool(f.of("dpo")) and not f.before("sft", "dpo"),
        "DPO expects a model that SFT has already put near the preferred answers",
        ("DPO after SFT answers more domain questions than DPO straight after CPT",),
        (),
        ("rafailov2023",),
        remedy="add SFT",
    ),
    Rule(
        "dpo costs instructions",
        "risk",
        lambda f: bool(f.of("dpo")),
        "DPO can win the preferences and lose instruction following on the way; ORPO "
        "holds more of it",
        ("ORPO keeps more instruction following than DPO",),
        ("format",),
        (),
        remedy="ORPO for DPO",
    ),
    Rule(
        "dpo or orpo",
        "risk",
        lambda f: bool(f.of(*PREFERENCE_STAGES)),
        "which of DPO and ORPO is better depends on the family and on whether you merge: try both",
        ("DPO ranks held-out pairs better than ORPO",),
        ("preference",),
        ("hong2024",),
    ),
    Rule(
        "preferences narrow",
        "risk",
        lambda f: bool(f.of(*PREFERENCE_STAGES)),
        "preference training can make a model's proposals alike",
        (
            "DPO makes samples to one request more alike",
            "ORPO makes samples to one request more alike",
        ),
        (),
        ("kirk2023",),
    ),
    Rule(
        "chosen less likely",
        "risk",
        lambda f: bool(f.of("dpo")),
        "DPO can lower the likelihood of the chosen answers themselves: watch it, not "
        "only the margin",
        ("DPO makes the chosen answers themselves less likely (nats per answer)",),
        (),
        ("razin2024",),
    ),
    # --- where it starts
    Rule(
        "base obeys nothing",
        "risk",
        lambda f: f.base,
        "a base start has no instruction following to keep; SFT has to teach all of it",
        ("an instruct start follows instructions better than a base start",),
        (),
        (),
        remedy="instruct start",
        context=("base_or_instruct",),
    ),
    Rule(
        "base or instruct",
        "risk",
        lambda f: bool(f.of("cpt")),
        "whether a base or an instruct start knows more in the end is open: it "
        "differed between families",
        ("an instruct start answers more domain questions than a base start",),
        ("base_or_instruct",),
    ),
    # --- how it is trained
    Rule(
        "lora forgets less",
        "benefit",
        lambda f: _any(f.of("cpt", "sft"), lambda s: s.lora is not None),
        "LoRA forgets less than training all weights",
        ("LoRA keeps more instruction following than the overcooked recipe",),
        (),
        ("biderman2024",),
    ),
    Rule(
        "lora learns less",
        "risk",
        lambda f: _any(f.of("cpt", "sft"), lambda s: s.lora is not None),
        "LoRA also learns less",
        ("LoRA gives up domain knowledge (free answers) against the overcooked recipe",),
        ("lora",),
        ("biderman2024",),
        remedy="all weights",
    ),
    Rule(
        "all weights of a large model",
        "risk",
        lambda f: f.parameters >= 1e9 and _any(list(f.spec.stages), lambda s: s.lora is None),
        "training all weights of a model this large takes several large GPUs; adapters fit one",
        (),
        ("lora",),
        ("hu2021",),
        remedy="LoRA",
    ),
    # --- merging
    Rule(
        "merge back",
        "risk",
        lambda f: _forgetful(f) and f.spec.merge is None,
        "nothing brings back what this recipe forgets; a merge with the start model "
        "costs no training",
        ("merging back at t=0.5 keeps more instruction following than the overcooked recipe",),
        ("merge", "simple_recipe"),
        ("wortsman2021",),
        remedy="merge back",
    ),
    Rule(
        "merge joins",
        "benefit",
        lambda f: f.spec.merge is not None and bool(f.spec.stages),
        "a merge can do what needs both parents at once and neither can do alone",
        ("SLERP beats the better parent on items that need both",),
        context=("merge",),
    ),
    Rule(
        "merge costs knowledge",
        "risk",
        lambda f: f.spec.merge is not None and bool(f.spec.stages),
        "what a merge brings back it pays for in domain knowledge",
        (
            "merging back at t=0.5 gives up domain knowledge (free answers) against "
            "the overcooked recipe",
        ),
    ),
    Rule(
        "no synergy on plain axes",
        "risk",
        lambda f: f.spec.merge is not None,
        "do not expect a merge to beat its better parent on an ordinary axis; beating "
        "their mean is no feat",
        (),
        (),
        (),
        context=("size",),
        denies=tuple(
            f"SLERP beats the better parent in {axis}, t chosen on dev by the four axes"
            for axis in ("domain knowledge", "reasoning", "instruction following", "creativity")
        ),
    ),
    Rule(
        "slerp or lerp",
        "risk",
        lambda f: f.spec.merge is not None and f.spec.merge.method == "slerp",
        "SLERP over LERP is a claim to test: for parents that lie close the two are the same",
        (),
        (),
        context=("merge",),
        denies=("SLERP beats LERP at the same t on items that need both parents",),
    ),
    Rule(
        "t is chosen",
        "risk",
        lambda f: f.spec.merge is not None,
        "t is a choice like a learning rate: choose it on dev, report on test, once",
        (),
        ("schedule", "uncertainty"),
        ("miller2024",),
    ),
    Rule(
        "far parents",
        "risk",
        lambda f: f.spec.merge is not None and (f.base or not f.spec.stages),
        "models that share little of their training lie far apart: a merge of them may "
        "be worse than both",
        (),
        (),
        ("frankle2019",),
    ),
    # --- measuring
    Rule(
        "few items",
        "risk",
        lambda f: f.items is not None and f.items < FEW_ITEMS,
        "with so few test items small differences cannot be seen",
        (),
        ("uncertainty",),
        ("miller2024",),
        lambda f: f"{f.items} knowledge items in the test split",
    ),
    Rule(
        "one seed",
        "risk",
        lambda f: bool(f.spec.stages),
        "one run says what this checkpoint does, not what the recipe does: another "
        "seed moves the scores",
        (),
        ("uncertainty",),
        (),
        lambda f: (
            "deviation between seeds at 1 million parameters: "
            + ", ".join(
                f"{axis} {run_noise_of(axis).deviation:.3f}"
                for axis in ("knowledge", "instructions")
            )
        ),
    ),
)
BY_ID = {rule.id: rule for rule in RULES}


def advise(spec: PipelineSpec) -> list[Advice]:
    """Every rule that applies to a design, the best founded first.

    Raises InputError for an unknown pack or model.
    """
    facts = Facts(spec)
    found = [
        Advice(rule, strength(rule), evidence_of(rule, facts))
        for rule in RULES
        if rule.applies(facts)
    ]
    return sorted(found, key=lambda advice: STRENGTHS.index(advice.strength))


STRENGTHS = ("strong", "moderate", "disputed", "weak")


def strength(rule: Rule) -> str:
    """By what stands behind a rule: mostly supported here and seen elsewhere is strong; the other
    way round here, disputed.
    """
    verdicts, elsewhere = rule.verdicts(), bool(rule.studies or rule.reported)
    if "contradicted" in verdicts:
        return "disputed"
    if verdicts.count("supported") > len(verdicts) / 2:
        return "strong" if elsewhere else "moderate"
    if rule.counted or (rule.studies and not verdicts):
        return "moderate"
    return "weak"


def evidence_of(rule: Rule, facts: Facts) -> tuple[str, ...]:
    """Where each piece of evidence comes from, at what size, and what labkit's own says."""
    told = [rule.counted(facts)] if rule.counted else []
    told += [*map(finding, (*rule.measured, *rule.denies))]
    told += [
        f"reported at {PAPER_SIZES}: {reported(claim)}" for claim in (*rule.reported, *rule.context)
    ]
    for key in rule.studies:
        cited = study(key)
        told.append(f"{cited['cite']} ({cited['size']}): {cited['found']}")
    return tuple(told)


def finding(claim: str) -> str:
    """What labkit measured of a claim, in words. Raises InputError for one that was not."""
    row, ladder = measured(claim), measured_scale("sizes")["claims"]
    at = (
        MEASURED_REAL
        if claim.startswith("SmolLM2-135M")
        else MEASURED_LADDER
        if any(claim == other["claim"] for other in ladder)
        else MEASURED_AT
    )
    return f"measured at {at}: {signed(Interval(**row['effect']))}, {row['verdict']} ({claim})"


def size_note(spec: PipelineSpec) -> str:
    """Which of the evidence is nearer to this design's model."""
    parameters = Facts(spec).parameters
    near = MEASURED_AT if parameters < TINY else PAPER_SIZES if parameters >= 1e9 else "neither"
    words = (
        f"nearest evidence: {near}"
        if near != "neither"
        else f"between {MEASURED_AT}, where labkit measures, and the source paper's sizes: "
        "neither may carry over"
    )
    return f"{spec.model} has {parameters / 1e6:,.1f} million parameters; {words}."


def advice_table(found: list[Advice]) -> str:
    """Advice as an escaped HTML table."""
    return plain_table(
        ("strength", "speaks of a", "rule", "advice", "evidence and where it holds"),
        [advice.row() for advice in found],
    )


# --- alternatives -------------------------------------------------------------------------------

REPLAY, MERGE_T = 0.25, 0.5
READERS = ("cpt", "sft")
Sort = Literal["sequence", "data composition", "architecture", "start", "training"]
SORTS: tuple[Sort, ...] = ("sequence", "data composition", "architecture")  # of the proposals
# Above the tiny ladder, smallest first.
SIZES = (SMOLLM2.removesuffix("-instruct"), "SmolLM-1.7B", "Llama-3.1-8B")
MISTRAL_SIZES = ("SmolLM-1.7B", "Mistral-7B-v0.3")
TRIOS = (ARCHITECTURES, ("Llama-3.1-8B", "Mistral-7B-v0.3", "SmolLM-1.7B"))
FAMILY_NAMES = ("Llama", "Mistral", "SmolLM")


@dataclass(frozen=True)
class Change:
    """One choice made otherwise. words: what is chosen. applies: whether the design has not chosen
    so already. why: what the comparison would tell. rests: measured claims behind that, of a
    design; context: what the source paper reports on it.
    """

    id: str
    sort: Sort
    words: str
    applies: Callable[[Facts], bool]
    make: Callable[[PipelineSpec], PipelineSpec]
    why: str
    rests: Callable[[Facts], Sequence[str]]
    context: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alternative:
    """A design beside the learner's own. choice: the one thing that differs, in words. sort: what
    kind of choice that is. why: why it is worth comparing, with the finding it rests on.
    """

    choice: str
    spec: PipelineSpec
    sort: str = ""
    why: str = ""


def _with(spec: PipelineSpec, **changes: object) -> PipelineSpec:
    """The spec with some fields changed, checked again: what does not fit together raises.

    The learner's words speak of theirs only.
    """
    return PipelineSpec(**{**dict(spec), "why": None, **changes})


def _each(
    spec: PipelineSpec, kinds: Sequence[str], change: Callable[[Stage], dict]
) -> PipelineSpec:
    """The spec with the stages of some kinds changed."""
    return _with(
        spec,
        stages=tuple(
            stage.model_copy(update=change(stage)) if stage.kind in kinds else stage
            for stage in spec.stages
        ),
    )


def _data(spec: PipelineSpec) -> Data:
    return data_of(spec.pack, spec.planned)


def _read_enough(spec: PipelineSpec) -> PipelineSpec:
    proposed = default_stage("cpt", spec.model, _data(spec))
    return _each(spec, ("cpt",), lambda _: proposed.model_dump())


def _swap(spec: PipelineSpec, kind: StageKind, other: StageKind) -> PipelineSpec:
    planned = spec.planned and {**spec.planned, other: amount_of(spec.planned, kind)}
    spec = _with(spec, planned=planned)  # both read pairs
    usual = default_stage(other, spec.model, _data(spec))

    def swapped(stage: Stage) -> Stage:
        return stage.model_copy(
            update={"kind": other, "learning_rate": usual.learning_rate, "beta": usual.beta}
        )

    return _with(
        spec, stages=tuple(swapped(stage) if stage.kind == kind else stage for stage in spec.stages)
    )


def _add(spec: PipelineSpec, kind: StageKind, place: int) -> PipelineSpec:
    stage = default_stage(kind, spec.model, _data(spec))
    if spec.stages:
        stage = stage.model_copy(update={"lora": spec.stages[0].lora})
    return _with(spec, stages=(*spec.stages[:place], stage, *spec.stages[place:]), merge_after=None)


def _after_reading(spec: PipelineSpec) -> int:
    """Where SFT belongs: after the last CPT, or first."""
    return max((i + 1 for i, stage in enumerate(spec.stages) if stage.kind == "cpt"), default=0)


def _without(spec: PipelineSpec, kinds: Sequence[str]) -> PipelineSpec:
    return _with(
        spec,
        stages=tuple(stage for stage in spec.stages if stage.kind not in kinds),
        merge_after=None,
    )


def _can_merge(facts: Facts) -> bool:
    return facts.spec.merge is None and bool(facts.spec.stages) and not facts.base


# --- the model made otherwise


def _label(model: str) -> tuple[str, str] | None:
    """A family's label and start of a model that has them."""
    for label, starts in families().items():
        for start, name in starts.items():
            if model == name:
                return label, start
    return None


def _other_start(spec: PipelineSpec) -> str | None:
    """The base model of an instruct start and the other way round, where the family has both."""
    found = _label(spec.model)
    starts = families()[found[0]] if found else {}
    return next((name for name in starts.values() if name != spec.model), None)


def _with_start(spec: PipelineSpec) -> PipelineSpec:
    return _with(spec, model=_other_start(spec))


def _in_family(spec: PipelineSpec, number: int) -> str | None:
    """The model of another family at the same place; None where there is none."""
    found = _label(spec.model)
    trio = next((trio for trio in TRIOS if found and found[0] in trio), None)
    if trio is None or found is None or trio[number] == found[0] or _merges_others(spec):
        return None
    return families()[trio[number]][found[1]]


def _has_family(facts: Facts, number: int) -> bool:
    return _in_family(facts.spec, number) is not None


def _at_size(spec: PipelineSpec, step: int) -> str | None:
    """The next smaller (-1) or larger (1) model of the same kind; None where there is none."""
    found = _label(spec.model)
    if found is None or _merges_others(spec):
        return None
    label, start = (
        ("SmolLM-1.7B" if found[0] == "Mistral-7B-v0.3" and step < 0 else found[0]),
        found[1],
    )
    if label != found[0]:
        return families()[label][start]
    for ladder in (LADDER, tuple(name.removesuffix("-instruct") for name in SIZES)):
        at = ladder.index(label) + step if label in ladder else -1
        if 0 <= at < len(ladder):
            return families()[ladder[at]].get(start)
    return None


def _merges_others(spec: PipelineSpec) -> bool:
    """Whether a merge names models, which another architecture could not be merged with."""
    return bool(spec.merge and (spec.merge.general or spec.merge.ancestor))


def _with_model(spec: PipelineSpec, model: str) -> PipelineSpec:
    """The design from another model: a stage as labkit proposes it, or of another class of size,
    becomes what it proposes there; a stage of one's own stays.
    """
    data, same = _data(spec), size_of(spec.model) == size_of(model)

    def moved(stage: Stage) -> Stage:
        if same and stage != default_stage(stage.kind, spec.model, data):
            return stage
        usual = default_stage(stage.kind, model, data)
        kept = {} if same else {"replay": stage.replay, "sources": stage.sources}
        return usual.model_copy(update=kept)

    return _with(spec, model=model, stages=tuple(map(moved, spec.stages)))


def _family(spec: PipelineSpec, number: int) -> PipelineSpec:
    return _with_model(spec, _in_family(spec, number) or spec.model)


def _resized(spec: PipelineSpec, step: int) -> PipelineSpec:
    return _with_model(spec, _at_size(spec, step) or spec.model)


DOES = {"sft": "SFT", "dpo": "DPO", "orpo": "ORPO"}


def _family_claims(facts: Facts, number: int) -> Sequence[str]:
    """What was measured of two families, on the last step of the design that was compared."""
    found = _label(facts.spec.model)
    trio = next((trio for trio in TRIOS if found and found[0] in trio), ARCHITECTURES)
    mine = trio.index(found[0]) if found and found[0] in trio else 0
    first, second = (ARCHITECTURES[place] for place in sorted((mine, number)))
    steps = [DOES[stage.kind] for stage in facts.spec.stages if stage.kind in DOES]
    does = "merging" if facts.spec.merge else steps[-1] if steps else "SFT"
    return (f"{does} does more for {first} than for {second}, mean of four axes",)


def _size_claims(facts: Facts) -> Sequence[str]:
    return (
        ("merge synergy grows with size: mean of four axes, per tenfold parameters",)
        if facts.spec.merge
        else (
            "larger models forget more instruction following (overcooked), per tenfold parameters",
        )
    )


# --- the data made otherwise


def _reading(spec: PipelineSpec, *sources: str) -> PipelineSpec:
    """CPT reads these sources, for as many steps."""
    return _each(spec, ("cpt",), lambda _: {"sources": sources})


def _reads_other(facts: Facts, *sources: str) -> bool:
    return all(map(facts.has, sources)) and _any(facts.of("cpt"), lambda s: s.sources != sources)


def _reads_raw(facts: Facts) -> bool:
    return facts.has("raw") and _any(facts.of("cpt"), lambda s: "raw" in s.sources)


def _made_pack(spec: PipelineSpec, name: str, lines: Callable[[Pack], list[str]]) -> PipelineSpec:
    """The design on a copy of its pack with other raw text, kept beside the checkpoints; its test
    items are the same. Raises StoreError when it cannot be written.
    """
    pack = load_pack(spec.pack)
    folder = variants_folder() / f"{pack.name}-{name}-{pack.fingerprint()[:12]}"
    made = (
        folder if folder.is_dir() else with_raw(pack, lines(pack), folder, alternative=name).folder
    )
    return _with(spec, pack=str(made))


def _better_half(pack: Pack) -> list[str]:
    """Half of the raw rows: no near copies, least repetition and fewest symbols; in their order."""
    rows = pack.rows("raw")
    found = measure_documents([row["text"] for row in rows])
    ranked = sorted(
        range(len(rows)),
        key=lambda i: (
            found[i].duplicate_of is not None,
            found[i].repetition + found[i].symbols,
            i,
        ),
    )
    return [_line(rows[i]) for i in sorted(ranked[: max(1, len(rows) // 2)])]


def _twice(pack: Pack) -> list[str]:
    """The raw rows of an invented pack and as many about strangers that nobody asks for."""
    rows, rng = pack.rows("raw"), random.Random(f"twice {pack.name}")
    strangers = world.corpus(
        world.language(pack.name),
        world.private_entities(pack.name),
        len(rows),
        rng,
        world.TextKnobs(junk_ratio=1.0),
    )
    made = [*map(_line, rows), *(_line({"text": text, "source": "paper"}) for text in strangers)]
    rng.shuffle(made)
    return made


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False)


def _of_rule(*ids: str) -> Callable[[Facts], Sequence[str]]:
    """The measured claims of some rules."""
    return lambda _: tuple(
        claim for name in ids for claim in (*BY_ID[name].measured, *BY_ID[name].denies)
    )


def _claims(*claims: str) -> Callable[[Facts], Sequence[str]]:
    return lambda _: claims


CHANGES = {
    change.id: change
    for change in (
        # --- the sequence of stages and merges
        Change(
            "merge back",
            "sequence",
            f"the result merged with the start model by SLERP at t={MERGE_T:g}",
            _can_merge,
            lambda spec: _with(spec, merge=Merge(t=MERGE_T)),
            "a merge costs no training and may give back what the stages took away",
            _of_rule("merge back", "merge costs knowledge"),
            ("merge",),
        ),
        Change(
            "no merge",
            "sequence",
            "no merge",
            lambda f: f.spec.merge is not None and bool(f.spec.stages),
            lambda spec: _with(spec, merge=None, merge_after=None),
            "only the specialist alone shows what the merge gives and what it costs",
            _of_rule("merge joins", "merge costs knowledge"),
            ("merge",),
        ),
        Change(
            "LERP for SLERP",
            "sequence",
            "LERP in place of SLERP at the same t",
            lambda f: f.spec.merge is not None and f.spec.merge.method == "slerp",
            lambda spec: _with(
                spec, merge=spec.merge and spec.merge.model_copy(update={"method": "lerp"})
            ),
            "the straight line is the control that a claim about the sphere needs",
            _of_rule("slerp or lerp"),
            ("merge",),
        ),
        Change(
            "add SFT",
            "sequence",
            "SFT after CPT",
            lambda f: not f.of("sft") and f.plans("sft"),
            lambda spec: _add(spec, "sft", _after_reading(spec)),
            "what was only read may not come out as answers",
            _of_rule("no answers taught"),
            ("sft_order",),
        ),
        Change(
            "add CPT",
            "sequence",
            "CPT first",
            lambda f: not f.of("cpt") and f.plans("cpt"),
            lambda spec: _add(spec, "cpt", 0),
            "reading first gives SFT something to answer from",
            _claims("CPT then SFT answers more domain questions than SFT then CPT"),
            ("sft_order",),
        ),
        Change(
            "add DPO",
            "sequence",
            "DPO at the end",
            lambda f: bool(f.spec.stages) and not f.of(*PREFERENCE_STAGES) and f.plans("dpo"),
            lambda spec: _add(spec, "dpo", len(spec.stages)),
            "preferences may be won, and instruction following lost on the way",
            _of_rule("dpo costs instructions"),
            ("preference",),
        ),
        Change(
            "ORPO for DPO",
            "sequence",
            "ORPO in place of DPO, at its usual rate and beta",
            lambda f: bool(f.of("dpo")),
            lambda spec: _swap(spec, "dpo", "orpo"),
            "which of the two serves better differs between models and with merging",
            _of_rule("dpo costs instructions", "dpo or orpo"),
            ("preference",),
        ),
        Change(
            "DPO for ORPO",
            "sequence",
            "DPO in place of ORPO, at its usual rate and beta",
            lambda f: bool(f.of("orpo")),
            lambda spec: _swap(spec, "orpo", "dpo"),
            "which of the two serves better differs between models and with merging",
            _of_rule("dpo costs instructions", "dpo or orpo"),
            ("preference",),
        ),
        Change(
            "no preferences",
            "sequence",
            "no preference stage",
            lambda f: bool(f.of(*PREFERENCE_STAGES)) and bool(f.of(*READERS)),
            lambda spec: _without(spec, PREFERENCE_STAGES),
            "only the chain without it shows what the preference stage gives and what it costs",
            _of_rule("dpo costs instructions"),
            ("preference",),
        ),
        # --- the composition of the data
        Change(
            "raw text only",
            "data composition",
            "CPT reads the raw text alone, for as many steps",
            lambda f: _reads_other(f, "raw"),
            lambda spec: _reading(spec, "raw"),
            "it shows whether preparing text was worth its work",
            _of_rule("distilled unused"),
            ("distilled",),
        ),
        Change(
            "summaries only",
            "data composition",
            "CPT reads the summaries alone, for as many steps",
            lambda f: _reads_other(f, "summaries"),
            lambda spec: _reading(spec, "summaries"),
            "less and cleaner text may teach as much as all of it",
            _of_rule("distilled unused"),
            ("distilled",),
        ),
        Change(
            "distilled text",
            "data composition",
            "CPT reads the distilled text too",
            lambda f: (
                f.has("summaries") and _any(f.of("cpt"), lambda s: "summaries" not in s.sources)
            ),
            lambda spec: _each(
                spec,
                ("cpt",),
                lambda s: {"sources": tuple(dict.fromkeys((*s.sources, "summaries")))},
            ),
            "the same facts in short may teach more than the papers",
            _of_rule("distilled unused"),
            ("distilled",),
        ),
        Change(
            "questions read",
            "data composition",
            "CPT reads questions with their answers too",
            lambda f: f.has("qa") and _any(f.of("cpt"), lambda s: "qa" not in s.sources),
            lambda spec: _each(spec, ("cpt",), lambda s: {"sources": (*s.sources, "qa")}),
            "facts read as questions may be easier to ask for later",
            _of_rule("questions as text"),
            ("distilled",),
        ),
        Change(
            "curated smaller set",
            "data composition",
            "half the raw documents, those with no near copy and the least repetition and symbols, "
            "for as many steps",
            lambda f: f.pack is not None and _reads_raw(f) and len(f.pack.rows("raw")) > 1,
            lambda spec: _made_pack(spec, "curated", _better_half),
            "a smaller set of better documents may teach as much as the whole",
            _of_rule("junk costs"),
            ("quality",),
        ),
        Change(
            "twice the raw text",
            "data composition",
            "twice the raw documents, the added half about things that nobody asks for, for as "
            "many steps",
            lambda f: f.pack is not None and f.pack.invented and _reads_raw(f),
            lambda spec: _made_pack(spec, "twice", _twice),
            "more text of less worth may teach less than the half that matters",
            _of_rule("junk costs"),
            ("quality",),
        ),
        Change(
            "replay",
            "data composition",
            "a quarter of replay in CPT and SFT",
            lambda f: not f.base and _any(f.of(*READERS), lambda s: s.replay == 0),
            lambda spec: _each(spec, READERS, lambda s: {"replay": REPLAY}),
            "general rows among the domain's may keep what training would take away",
            _of_rule("replay keeps"),
            ("cpt_degrades",),
        ),
        Change(
            "no replay",
            "data composition",
            "no replay",
            lambda f: _any(f.of(*READERS), lambda s: s.replay > 0),
            lambda spec: _each(spec, READERS, lambda s: {"replay": 0.0}),
            "it shows what the general rows keep, and what they cost in domain knowledge",
            _claims(
                "25% replay keeps more instruction following than the overcooked recipe",
                "25% replay gives up domain knowledge (free answers) against the overcooked recipe",
            ),
            ("cpt_degrades",),
        ),
        # --- the architecture
        *(
            Change(
                f"{family} family",
                "architecture",
                f"a model of the {family} family",
                partial(_has_family, number=number),
                partial(_family, number=number),
                "a recipe that is best in one family need not be best in another",
                partial(_family_claims, number=number),
                ("sft_order",),
            )
            for number, family in enumerate(FAMILY_NAMES)
        ),
        Change(
            "smaller model",
            "architecture",
            "the next smaller model",
            lambda f: _at_size(f.spec, -1) is not None,
            partial(_resized, step=-1),
            "if the smaller model does as well, it is cheaper for as long as it serves",
            _size_claims,
            ("size",),
        ),
        Change(
            "larger model",
            "architecture",
            "the next larger model",
            lambda f: _at_size(f.spec, 1) is not None,
            partial(_resized, step=1),
            "it shows whether size buys what the recipe does not",
            _size_claims,
            ("size",),
        ),
        # --- the start
        Change(
            "instruct start",
            "start",
            "an instruct start",
            lambda f: f.base and _other_start(f.spec) is not None,
            _with_start,
            "base and instruct side by side show what the start brings to each axis",
            _of_rule("base obeys nothing", "base or instruct"),
            ("base_or_instruct",),
        ),
        Change(
            "base start",
            "start",
            "a base start",
            lambda f: not f.base and _other_start(f.spec) is not None,
            _with_start,
            "base and instruct side by side show what the start brings to each axis",
            _of_rule("base obeys nothing", "base or instruct"),
            ("base_or_instruct",),
        ),
        # --- how a stage is trained
        Change(
            "lower rate",
            "training",
            "a third of the learning rate in CPT and SFT",
            lambda f: bool(f.of(*READERS)),
            lambda spec: _each(spec, READERS, lambda s: {"learning_rate": s.learning_rate / 3}),
            "a gentler training may keep more and know no less",
            _of_rule("rate too high"),
        ),
        Change(
            "steps that fit",
            "training",
            "CPT as labkit proposes it for this pack and size",
            lambda f: f.reads_too_rarely and _read_enough(f.spec) != f.spec,
            _read_enough,
            "facts that are read too rarely cannot be told",
            _claims(),
            ("epochs",),
        ),
        Change(
            "LoRA",
            "training",
            "LoRA in every stage",
            lambda f: any(s.lora is None for s in f.spec.stages),
            lambda spec: _with(
                spec, stages=tuple(s.model_copy(update={"lora": Lora()}) for s in spec.stages)
            ),
            "adapters need less memory, forget less and learn less",
            _of_rule("lora forgets less", "lora learns less"),
            ("lora",),
        ),
        Change(
            "all weights",
            "training",
            "all weights trained",
            lambda f: any(s.lora for s in f.spec.stages),
            lambda spec: _with(
                spec, stages=tuple(s.model_copy(update={"lora": None}) for s in spec.stages)
            ),
            "it shows what adapters give up",
            _of_rule("lora learns less", "lora forgets less"),
            ("lora",),
        ),
    )
}
ORDER = (
    "merge back",
    "no merge",
    "ORPO for DPO",
    "DPO for ORPO",
    "add DPO",
    "no preferences",
    "raw text only",
    "distilled text",
    "curated smaller set",
    "no replay",
    "Mistral family",
    "Llama family",
    "smaller model",
    "larger model",
    "base start",
    "instruct start",
    "LoRA",
    "all weights",
)


def changed(spec: PipelineSpec, name: str) -> Alternative:
    """The design with one choice made otherwise.

    Raises InputError for an unknown change or one that changes nothing.
    """
    if name not in CHANGES:
        raise InputError(f"unknown change {name!r}: {suggest(name, list(CHANGES))}")
    change, facts = CHANGES[name], Facts(spec)
    if not change.applies(facts):
        raise InputError(
            f"{change.words}: the design has that already, or it has nothing that this could change"
        )
    made = change.make(spec)
    words = change.words
    if made.model != spec.model:
        words += f": {made.model} in place of {spec.model}"
        if size_of(made.model) != size_of(spec.model):
            words += ", with the stages that labkit proposes for that size"
    return Alternative(words, made, change.sort, _worth(change, facts))


def _worth(change: Change, facts: Facts) -> str:
    """Why a change is worth comparing, and the findings that rests on."""
    behind = [finding(claim) for claim in list(change.rests(facts))[:2]]
    behind += [f"reported at {PAPER_SIZES}: {reported(claim)}" for claim in change.context]
    return f"{change.why}. It rests on: {'; '.join(behind)}"


def possible(spec: PipelineSpec) -> list[str]:
    """The changes that apply to a design."""
    facts = Facts(spec)
    return [name for name, change in CHANGES.items() if change.applies(facts)]


def propose(
    spec: PipelineSpec, count: int = 2, *, advice: Sequence[Advice] | None = None
) -> list[Alternative]:
    """Alternatives that can run, each of another sort as far as there are: of the sequence, of the
    data's composition, of the architecture.

    First what the rules advise, the best founded first, then the usual ones. Other sorts, and a
    sort twice, fill up what is missing.
    """
    wanted = [
        found.rule.remedy
        for found in (advise(spec) if advice is None else advice)
        if found.rule.remedy
    ]
    there, free = possible(spec), set(SORTS)
    names = [name for name in dict.fromkeys((*wanted, *ORDER)) if name in there]
    proposed: list[Alternative] = []
    for fill in (False, True):
        for name in [*names]:
            sort = CHANGES[name].sort
            if len(proposed) < count and (fill or sort in free):
                names.remove(name)
                alternative = changed(spec, name)
                if _can_run(alternative.spec, spec):
                    free.discard(sort)
                    proposed.append(alternative)
    return proposed


def _can_run(other: PipelineSpec, spec: PipelineSpec) -> bool:
    """Whether an alternative can run where the design can: files that a design on paper lacks are
    no reason against it, a download is.
    """
    lacks = [missing_files(other)] if on_paper(other) else []
    return problems(other) == lacks and (is_local(other.model) or not is_local(spec.model))
