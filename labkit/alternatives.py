"""Other designs that differ from a given one in one stated choice each, so that a difference in scores has one cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.design import PREFERENCE_STAGES, Lora, Merge, PipelineSpec, Stage
from labkit.designer import default_stage, families, problems
from labkit.errors import InputError, suggest
from labkit.packs import load_pack
from labkit.rules import Advice, Facts, advise

REPLAY, MERGE_T = 0.25, 0.5
READERS = ("cpt", "sft")


@dataclass(frozen=True)
class Change:
    """One choice made otherwise. words: what is chosen. applies: whether the design has not chosen so already."""

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
    """The spec with some fields changed, checked again: what does not fit together raises. The learner's words speak of theirs only."""
    return PipelineSpec(**{**dict(spec), "why": None, **changes})


def _each(spec: PipelineSpec, kinds: Sequence[str], change: Callable[[Stage], dict]) -> PipelineSpec:
    """The spec with the stages of some kinds changed."""
    return _with(spec, stages=tuple(stage.model_copy(update=change(stage)) if stage.kind in kinds else stage for stage in spec.stages))


def _swap(spec: PipelineSpec, kind: str, other: str) -> PipelineSpec:
    usual = default_stage(other, spec.model, load_pack(spec.pack))

    def swapped(stage: Stage) -> Stage:
        return stage.model_copy(update={"kind": other, "learning_rate": usual.learning_rate, "beta": usual.beta})

    return _with(spec, stages=tuple(swapped(stage) if stage.kind == kind else stage for stage in spec.stages))


def _add(spec: PipelineSpec, kind: str, place: int) -> PipelineSpec:
    stage = default_stage(kind, spec.model, load_pack(spec.pack))
    if spec.stages:
        stage = stage.model_copy(update={"lora": spec.stages[0].lora})
    return _with(spec, stages=(*spec.stages[:place], stage, *spec.stages[place:]), merge_after=None)


def _after_reading(spec: PipelineSpec) -> int:
    """Where SFT belongs: after the last CPT, or first."""
    return max((i + 1 for i, stage in enumerate(spec.stages) if stage.kind == "cpt"), default=0)


def _without(spec: PipelineSpec, kinds: Sequence[str]) -> PipelineSpec:
    return _with(spec, stages=tuple(stage for stage in spec.stages if stage.kind not in kinds), merge_after=None)


def _other_start(spec: PipelineSpec) -> str | None:
    """The base model of an instruct start and the other way round, where the family has both."""
    for starts in families().values():
        if spec.model in starts.values() and len(starts) == 2:
            return next(name for name in starts.values() if name != spec.model)
    return None


def _trains(facts: Facts, test: Callable[[Stage], bool], *kinds: str) -> bool:
    return any(map(test, facts.of(*kinds)))


def _can_merge(facts: Facts) -> bool:
    return facts.spec.merge is None and bool(facts.spec.stages) and not facts.base


CHANGES = {
    change.id: change
    for change in (
        Change("replay", "a quarter of replay in CPT and SFT", lambda f: not f.base and _trains(f, lambda s: s.replay == 0, *READERS), lambda spec: _each(spec, READERS, lambda s: {"replay": REPLAY})),
        Change("no replay", "no replay", lambda f: _trains(f, lambda s: s.replay > 0, *READERS), lambda spec: _each(spec, READERS, lambda s: {"replay": 0.0})),
        Change("lower rate", "a third of the learning rate in CPT and SFT", lambda f: bool(f.of(*READERS)), lambda spec: _each(spec, READERS, lambda s: {"learning_rate": s.learning_rate / 3})),
        Change("distilled text", "CPT reads the distilled text too", lambda f: f.pack.has("summaries") and _trains(f, lambda s: "summaries" not in s.sources, "cpt"), lambda spec: _each(spec, ("cpt",), lambda s: {"sources": tuple(dict.fromkeys((*s.sources, "summaries")))})),
        Change("longer rows", "rows of twice the length in CPT", lambda f: bool(f.of("cpt")), lambda spec: _each(spec, ("cpt",), lambda s: {"max_length": 2 * s.max_length})),
        Change("merge back", f"the result merged with the start model by SLERP at t={MERGE_T:g}", _can_merge, lambda spec: _with(spec, merge=Merge(t=MERGE_T))),
        Change("no merge", "no merge", lambda f: f.spec.merge is not None and bool(f.spec.stages), lambda spec: _with(spec, merge=None, merge_after=None)),
        Change("LERP for SLERP", "LERP in place of SLERP at the same t", lambda f: f.spec.merge is not None and f.spec.merge.method == "slerp", lambda spec: _with(spec, merge=spec.merge.model_copy(update={"method": "lerp"}))),
        Change("add SFT", "SFT after CPT", lambda f: not f.of("sft") and f.pack.has("qa"), lambda spec: _add(spec, "sft", _after_reading(spec))),
        Change("add CPT", "CPT first", lambda f: not f.of("cpt") and f.pack.has("raw"), lambda spec: _add(spec, "cpt", 0)),
        Change("add DPO", "DPO at the end", lambda f: bool(f.spec.stages) and not f.of(*PREFERENCE_STAGES) and f.pack.has("preferences"), lambda spec: _add(spec, "dpo", len(spec.stages))),
        Change("ORPO for DPO", "ORPO in place of DPO, at its usual rate and beta", lambda f: bool(f.of("dpo")), lambda spec: _swap(spec, "dpo", "orpo")),
        Change("DPO for ORPO", "DPO in place of ORPO, at its usual rate and beta", lambda f: bool(f.of("orpo")), lambda spec: _swap(spec, "orpo", "dpo")),
        Change("no preferences", "no preference stage", lambda f: bool(f.of(*PREFERENCE_STAGES)) and bool(f.of(*READERS)), lambda spec: _without(spec, PREFERENCE_STAGES)),
        Change("instruct start", "an instruct start", lambda f: f.base and _other_start(f.spec) is not None, lambda spec: _with(spec, model=_other_start(spec))),
        Change("base start", "a base start", lambda f: not f.base and _other_start(f.spec) is not None, lambda spec: _with(spec, model=_other_start(spec))),
        Change("LoRA", "LoRA in every stage", lambda f: any(s.lora is None for s in f.spec.stages), lambda spec: _with(spec, stages=tuple(s.model_copy(update={"lora": Lora()}) for s in spec.stages))),
        Change("all weights", "all weights trained", lambda f: any(s.lora for s in f.spec.stages), lambda spec: _with(spec, stages=tuple(s.model_copy(update={"lora": None}) for s in spec.stages))),
    )
}
ORDER = ("merge back", "no merge", "ORPO for DPO", "DPO for ORPO", "add DPO", "no replay", "no preferences", "base start", "instruct start", "LoRA", "all weights")


def changed(spec: PipelineSpec, name: str) -> Alternative:
    """The design with one choice made otherwise. Raises InputError for an unknown change or one that changes nothing."""
    if name not in CHANGES:
        raise InputError(f"unknown change {name!r}: {suggest(name, list(CHANGES))}")
    change = CHANGES[name]
    if not change.applies(Facts(spec)):
        raise InputError(f"{change.words}: the design has that already, or it has nothing that this could change")
    return Alternative(change.words, change.make(spec))


def possible(spec: PipelineSpec) -> list[str]:
    """The changes that apply to a design."""
    facts = Facts(spec)
    return [name for name, change in CHANGES.items() if change.applies(facts)]


def propose(spec: PipelineSpec, count: int = 2, *, advice: Sequence[Advice] | None = None) -> list[Alternative]:
    """Alternatives that can run: first what the rules advise, the best founded first, then the usual ones."""
    wanted = [found.rule.remedy for found in (advise(spec) if advice is None else advice) if found.rule.remedy]
    there, proposed = possible(spec), []
    for name in dict.fromkeys((*wanted, *ORDER)):
        if len(proposed) < count and name in there:
            alternative = changed(spec, name)
            if not problems(alternative.spec):
                proposed.append(alternative)
    return proposed
