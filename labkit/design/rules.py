"""Design rules with evidence: what to think of before a design is trained, and how sure one can be.

A rule is advice, never a block. What stands behind it is looked up, not typed: a claim measured by
labkit with its verdict, the source paper with section, a cited study with the size of its models.
Its strength follows from these.

The second half makes alternatives: other designs that differ from a given one in one stated choice
each, so that a difference in scores has one cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from labkit.base.errors import InputError, suggest
from labkit.base.pages import plain_table, signed
from labkit.base.stats import Interval
from labkit.data.packs import load_pack
from labkit.data.published import measured, reported, run_noise_of, study
from labkit.design.designer import TINY, default_stage, families, is_local, problems
from labkit.design.planner_memory import lengths_of, little_reading
from labkit.merge.recipes import Merge
from labkit.models.architecture import parameters_of
from labkit.train.exposure import reads
from labkit.train.pipeline import steps_run, with_steps
from labkit.train.specs import PREFERENCE_STAGES, Lora, PipelineSpec, Stage

MEASURED_AT = "1 million parameters"
PAPER_SIZES = "1.7 to 8 billion parameters, one benchmark"
# The highest rate in the source paper's configs, for full training of a billion parameters or more.
LARGE_RATE = 5e-5
MANY_EPOCHS = 4  # beyond these repeated text is worth less and less (muennighoff2023)
FEW_WORDS = 20_000
FEW_ITEMS = 200


# --- rules --------------------------------------------------------------------------------------


class Facts:
    """A design and what can be known about it before it is trained."""

    def __init__(self, spec: PipelineSpec):
        self.spec, self.pack = with_steps(spec), load_pack(spec.pack)

    @cached_property
    def parameters(self) -> int:
        return parameters_of(self.spec.model)

    @property
    def base(self) -> bool:
        return self.spec.model.endswith("base") or (
            not is_local(self.spec.model) and "instruct" not in self.spec.model.lower()
        )

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

    @cached_property
    def words(self) -> int:
        """Of all text the pack has for CPT."""
        return sum(
            len(row["text"].split())
            for split in ("raw", "summaries")
            if self.pack.has(split)
            for row in self.pack.rows(split)
        )

    def epochs(self, stage: Stage) -> float:
        """How often CPT reads each of its rows."""
        rows = lengths_of(self.spec.pack, self.spec.model, stage).rows
        return reads(stage, rows, steps_run(stage, self.spec.profile))

    @cached_property
    def reads_too_rarely(self) -> bool:
        return any(little_reading(self.spec))

    @cached_property
    def items(self) -> int:
        """Knowledge items of the test split."""
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
    applicability: str

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
        lambda f: (
            f.pack.has("summaries") and _any(f.of("cpt"), lambda s: "summaries" not in s.sources)
        ),
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
        lambda f: bool(f.of("cpt")) and f.words < FEW_WORDS,
        "there is little text to read: facts in the prompt (retrieval) may serve "
        "better than training",
        (),
        (),
        ("ovadia2023",),
        lambda f: f"{f.words:,} words in the pack's text",
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
        lambda f: (
            f"{len(f.pack.rows('qa')):,} in the pack" if f.pack.has("qa") else "none in the pack"
        ),
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
        lambda f: f.items < FEW_ITEMS,
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
        Advice(rule, strength(rule), applicability(rule, facts))
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


def applicability(rule: Rule, facts: Facts) -> str:
    """Where each piece of evidence comes from, at what size, and what labkit's own says.

    One sentence a piece.
    """
    told = [rule.counted(facts)] if rule.counted else []
    for claim in (*rule.measured, *rule.denies):
        row = measured(claim)
        told.append(
            f"measured at {MEASURED_AT}: {signed(Interval(**row['effect']))}, "
            f"{row['verdict']} ({claim})"
        )
    told += [
        f"reported at {PAPER_SIZES}: {reported(claim)}" for claim in (*rule.reported, *rule.context)
    ]
    for key in rule.studies:
        cited = study(key)
        told.append(f"{cited['cite']} ({cited['size']}): {cited['found']}")
    return "; ".join(told)


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


@dataclass(frozen=True)
class Change:
    """One choice made otherwise. words: what is chosen. applies: whether the design has not chosen
    so already.
    """

    id: str
    words: str
    applies: Callable[[Facts], bool]
    make: Callable[[PipelineSpec], PipelineSpec]


@dataclass(frozen=True)
class Alternative:
    """A design beside the learner's own. choice: the one thing that differs, in words."""

    choice: str
    spec: PipelineSpec


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


def _read_enough(spec: PipelineSpec) -> PipelineSpec:
    proposed = default_stage("cpt", spec.model, load_pack(spec.pack))
    return _each(spec, ("cpt",), lambda _: proposed.model_dump())


def _swap(spec: PipelineSpec, kind: str, other: str) -> PipelineSpec:
    usual = default_stage(other, spec.model, load_pack(spec.pack))

    def swapped(stage: Stage) -> Stage:
        return stage.model_copy(
            update={"kind": other, "learning_rate": usual.learning_rate, "beta": usual.beta}
        )

    return _with(
        spec, stages=tuple(swapped(stage) if stage.kind == kind else stage for stage in spec.stages)
    )


def _add(spec: PipelineSpec, kind: str, place: int) -> PipelineSpec:
    stage = default_stage(kind, spec.model, load_pack(spec.pack))
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


def _other_start(spec: PipelineSpec) -> str | None:
    """The base model of an instruct start and the other way round, where the family has both."""
    for starts in families().values():
        if spec.model in starts.values() and len(starts) == 2:
            return next(name for name in starts.values() if name != spec.model)
    return None


def _can_merge(facts: Facts) -> bool:
    return facts.spec.merge is None and bool(facts.spec.stages) and not facts.base


CHANGES = {
    change.id: change
    for change in (
        Change(
            "replay",
            "a quarter of replay in CPT and SFT",
            lambda f: not f.base and _any(f.of(*READERS), lambda s: s.replay == 0),
            lambda spec: _each(spec, READERS, lambda s: {"replay": REPLAY}),
        ),
        Change(
            "no replay",
            "no replay",
            lambda f: _any(f.of(*READERS), lambda s: s.replay > 0),
            lambda spec: _each(spec, READERS, lambda s: {"replay": 0.0}),
        ),
        Change(
            "lower rate",
            "a third of the learning rate in CPT and SFT",
            lambda f: bool(f.of(*READERS)),
            lambda spec: _each(spec, READERS, lambda s: {"learning_rate": s.learning_rate / 3}),
        ),
        Change(
            "distilled text",
            "CPT reads the distilled text too",
            lambda f: (
                f.pack.has("summaries")
                and _any(f.of("cpt"), lambda s: "summaries" not in s.sources)
            ),
            lambda spec: _each(
                spec,
                ("cpt",),
                lambda s: {"sources": tuple(dict.fromkeys((*s.sources, "summaries")))},
            ),
        ),
        Change(
            "steps that fit",
            "CPT as labkit proposes it for this pack and size",
            lambda f: f.reads_too_rarely and _read_enough(f.spec) != f.spec,
            _read_enough,
        ),
        Change(
            "merge back",
            f"the result merged with the start model by SLERP at t={MERGE_T:g}",
            _can_merge,
            lambda spec: _with(spec, merge=Merge(t=MERGE_T)),
        ),
        Change(
            "no merge",
            "no merge",
            lambda f: f.spec.merge is not None and bool(f.spec.stages),
            lambda spec: _with(spec, merge=None, merge_after=None),
        ),
        Change(
            "LERP for SLERP",
            "LERP in place of SLERP at the same t",
            lambda f: f.spec.merge is not None and f.spec.merge.method == "slerp",
            lambda spec: _with(
                spec, merge=spec.merge and spec.merge.model_copy(update={"method": "lerp"})
            ),
        ),
        Change(
            "add SFT",
            "SFT after CPT",
            lambda f: not f.of("sft") and f.pack.has("qa"),
            lambda spec: _add(spec, "sft", _after_reading(spec)),
        ),
        Change(
            "add CPT",
            "CPT first",
            lambda f: not f.of("cpt") and f.pack.has("raw"),
            lambda spec: _add(spec, "cpt", 0),
        ),
        Change(
            "add DPO",
            "DPO at the end",
            lambda f: (
                bool(f.spec.stages) and not f.of(*PREFERENCE_STAGES) and f.pack.has("preferences")
            ),
            lambda spec: _add(spec, "dpo", len(spec.stages)),
        ),
        Change(
            "ORPO for DPO",
            "ORPO in place of DPO, at its usual rate and beta",
            lambda f: bool(f.of("dpo")),
            lambda spec: _swap(spec, "dpo", "orpo"),
        ),
        Change(
            "DPO for ORPO",
            "DPO in place of ORPO, at its usual rate and beta",
            lambda f: bool(f.of("orpo")),
            lambda spec: _swap(spec, "orpo", "dpo"),
        ),
        Change(
            "no preferences",
            "no preference stage",
            lambda f: bool(f.of(*PREFERENCE_STAGES)) and bool(f.of(*READERS)),
            lambda spec: _without(spec, PREFERENCE_STAGES),
        ),
        Change(
            "instruct start",
            "an instruct start",
            lambda f: f.base and _other_start(f.spec) is not None,
            lambda spec: _with(spec, model=_other_start(spec)),
        ),
        Change(
            "base start",
            "a base start",
            lambda f: not f.base and _other_start(f.spec) is not None,
            lambda spec: _with(spec, model=_other_start(spec)),
        ),
        Change(
            "LoRA",
            "LoRA in every stage",
            lambda f: any(s.lora is None for s in f.spec.stages),
            lambda spec: _with(
                spec, stages=tuple(s.model_copy(update={"lora": Lora()}) for s in spec.stages)
            ),
        ),
        Change(
            "all weights",
            "all weights trained",
            lambda f: any(s.lora for s in f.spec.stages),
            lambda spec: _with(
                spec, stages=tuple(s.model_copy(update={"lora": None}) for s in spec.stages)
            ),
        ),
    )
}
ORDER = (
    "merge back",
    "no merge",
    "ORPO for DPO",
    "DPO for ORPO",
    "add DPO",
    "no replay",
    "no preferences",
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
    change = CHANGES[name]
    if not change.applies(Facts(spec)):
        raise InputError(
            f"{change.words}: the design has that already, or it has nothing that this could change"
        )
    return Alternative(change.words, change.make(spec))


def possible(spec: PipelineSpec) -> list[str]:
    """The changes that apply to a design."""
    facts = Facts(spec)
    return [name for name, change in CHANGES.items() if change.applies(facts)]


def propose(
    spec: PipelineSpec, count: int = 2, *, advice: Sequence[Advice] | None = None
) -> list[Alternative]:
    """Alternatives that can run: first what the rules advise, the best founded first, then the
    usual ones.
    """
    wanted = [
        found.rule.remedy
        for found in (advise(spec) if advice is None else advice)
        if found.rule.remedy
    ]
    there = possible(spec)
    proposed: list[Alternative] = []
    for name in dict.fromkeys((*wanted, *ORDER)):
        if len(proposed) < count and name in there:
            alternative = changed(spec, name)
            if not problems(alternative.spec):
                proposed.append(alternative)
    return proposed
