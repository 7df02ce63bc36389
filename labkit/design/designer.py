"""From a learner's choices to the `PipelineSpec` that trains.

The module knows the sequences of stages, and defaults that are sane for the size of a model.

The panel of notebook 01 and plain code go through the same function:

    spec = design(pack="legal", model="llama-s", sequence="cpt-sft-dpo", merge="slerp", t=0.5)

A domain without files is designed on paper: `planned` says what each stage will read.

    design(pack="climate modelling", sequence="cpt", planned={"cpt": {"rows": 900, "words": 90000}})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from labkit.base.errors import InputError, SpecError, suggest
from labkit.base.inputs import Form, YesNo, read_yaml
from labkit.data.packs import SPLITS, Pack, load_pack, samples_folder
from labkit.design.planner_memory import amount_of, on_paper, pack_is_there, planned_lengths
from labkit.merge.recipes import Merge
from labkit.models.architecture import config_of, parameters_of
from labkit.models.families import FAMILIES
from labkit.models.zoo import HUB_ID, SMOLLM2, known_names
from labkit.train import specs
from labkit.train.exposure import own_stage, steps_for
from labkit.train.pipeline import check_data, check_spec, settled, stage_splits
from labkit.train.specs import (
    AUTO,
    STAGES,
    Lora,
    PipelineSpec,
    Planned,
    Stage,
    StageKind,
    Strict,
    Why,
    explain,
)

Start = Literal["base", "instruct"]
SEQUENCES = {
    "cpt": "read the domain's text",
    "cpt-sft": "read, then learn to answer",
    "cpt-sft-dpo": "read, answer, then prefer good answers over bad ones (DPO)",
    "cpt-sft-orpo": "read, answer, then prefer (ORPO)",
    "sft": "learn to answer without reading",
    "": "train nothing: merge two models directly",
}
STARTS = {
    "instruct": "obeys requests from the beginning; every stage may take some of that away",
    "base": "has only read text: it obeys nothing until SFT teaches it, and forgets nothing it "
    "never knew",
}
HUB_MODELS: dict[str, dict[str, str]] = {
    "Llama-3.1-8B": {
        "base": "meta-llama/Llama-3.1-8B",
        "instruct": "meta-llama/Llama-3.1-8B-Instruct",
    },
    "Mistral-7B-v0.3": {
        "base": "mistralai/Mistral-7B-v0.3",
        "instruct": "mistralai/Mistral-7B-Instruct-v0.3",
    },
    "SmolLM-1.7B": {
        "base": "HuggingFaceTB/SmolLM-1.7B",
        "instruct": "HuggingFaceTB/SmolLM-1.7B-Instruct",
    },
}
# Parameters: below the first a laptop trains all weights, below the second it trains adapters.
TINY, SMALL = 50e6, 1e9


@dataclass(frozen=True)
class Default:
    """A stage as it is sane at some size. epochs: over the rows it reads; None keeps the stage's
    own steps.
    """

    stage: Stage
    epochs: float | None = None


# Tiny: the course's own recipes, chosen on dev (docs/evidence.md); for packs that labkit did not
# invent there is another (docs/own-domain.md). Large: the source paper's
# configs for its 7-8B models. In between: the recipe for SmolLM2-135M (docs/real.md), as passes
# over a pack of any size.
DEFAULTS: dict[str, dict[str, Default]] = {
    "tiny": {
        "cpt": Default(specs.GENTLE[0]),
        "sft": Default(specs.GENTLE[1]),
        "dpo": Default(specs.DPO),
        "orpo": Default(specs.ORPO),
    },
    "small": {
        kind: Default(stage.model_copy(update={"max_length": 256}), epochs)
        for kind, stage, epochs in (
            ("cpt", specs.ADAPTED[0], 3),
            ("sft", specs.ADAPTED[1], 5),
            ("dpo", specs.ADAPTED_DPO, 1),
            ("orpo", specs.ADAPTED_ORPO, 1),
        )
    },
    "large": {
        "cpt": Default(
            Stage(kind="cpt", learning_rate=2e-5, steps=1, batch_size=96, max_length=3072), 5
        ),
        "sft": Default(
            Stage(kind="sft", learning_rate=2e-5, steps=1, batch_size=96, max_length=3072), 1
        ),
        "dpo": Default(
            Stage(
                kind="dpo", learning_rate=5e-7, steps=1, batch_size=32, max_length=2048, beta=0.05
            ),
            1,
        ),
        "orpo": Default(
            Stage(
                kind="orpo", learning_rate=3e-6, steps=1, batch_size=24, max_length=2048, beta=0.1
            ),
            1,
        ),
    },
}


class Choices(Strict):
    """Everything a learner chooses. None takes what is sane for the model's size.

    model: a family of the zoo, a name of HUB_MODELS, or any model by name, folder or hub id. start:
    which of a family's two models. sequence: stages joined by dashes, in any order; empty for a
    direct merge. sources: what CPT reads. replay: share of general rows in cpt and sft. lora:
    adapters or all weights. rates, lengths: times the default learning rate and steps. changes:
    stage number (from 1) -> fields set by hand. merge_with: the model at t=0, by default the start
    model. planned: stage -> what it will read; then `pack` may be a domain that has no files yet.
    """

    pack: str = "materials"
    model: str = "llama-s"
    start: Start = "instruct"
    sequence: str = "cpt-sft"
    sources: tuple[Literal["raw", "summaries", "qa"], ...] | None = None
    replay: Annotated[float, Field(ge=0, lt=1)] | None = None
    lora: bool | None = None
    rates: Annotated[float, Field(gt=0)] = 1.0
    lengths: Annotated[float, Field(gt=0)] = 1.0
    changes: dict[int, dict[str, Any]] = Field(default_factory=dict)
    merge: Literal["none", "slerp", "lerp"] = "none"
    t: float | str = 0.5
    merge_after: int | None = None
    merge_with: str | None = None
    seed: int = 0
    profile: Literal["smoke", "brief", "lab", "study"] = "lab"
    planned: dict[StageKind, Planned] = Field(default_factory=dict)


# What a stage reads: a pack, or what is planned while there is none.
Data = Pack | Mapping[StageKind, Planned]


def data_of(pack: str, planned: Mapping[StageKind, Planned] | None) -> Data:
    """A pack where it is there, what is planned elsewhere. Raises PackError where neither is."""
    return planned if planned and not pack_is_there(pack) else load_pack(pack)


def families() -> dict[str, dict[str, str]]:
    """Label -> {"base": name, "instruct": name}: everything a design can start from by name."""
    tiny = {family: {start: f"{family}-{start}" for start in STARTS} for family in FAMILIES}
    return {**tiny, SMOLLM2.removesuffix("-instruct"): {"instruct": SMOLLM2}, **HUB_MODELS}


def start_model(model: str, start: str) -> str:
    """The name a spec gives a start model. Raises SpecError when a family has no such start."""
    known = families()
    if model not in known:
        return model
    if start not in known[model]:
        raise SpecError(
            f"start: {model} has no {start} model; choose "
            f"start={next(iter(known[model]))!r} or another model"
        )
    return known[model][start]


def size_of(model: str) -> str:
    """tiny, small or large: which defaults a model takes.

    Raises InputError for an unknown model.
    """
    parameters = parameters_of(model)
    return "tiny" if parameters < TINY else "small" if parameters < SMALL else "large"


def stage_kinds(sequence: str) -> list[StageKind]:
    """`cpt-sft-dpo` as a list. Raises SpecError naming what is no stage."""
    kinds = [part for part in sequence.lower().replace(" ", "").split("-") if part]
    for kind in kinds:
        if kind not in STAGES:
            raise SpecError(f"sequence: {kind!r} is not a stage; {suggest(kind, list(STAGES))}")
    return cast(list[StageKind], kinds)


def default_stage(kind: StageKind, model: str, data: Data) -> Stage:
    """A stage that is sane for a model's size and the rows it reads, with a number of steps.

    Raises InputError for an unknown model, and where nothing is planned for the stage.
    """
    return _settled(_usual_stage(kind, model, data), data, model)


def _settled(stage: Stage, data: Data, model: str) -> Stage:
    """With a number of steps."""
    if isinstance(data, Pack):
        return settled(stage, data, model)
    if stage.steps != AUTO:
        return stage
    rows = planned_lengths(amount_of(data, stage.kind), stage).rows
    return stage.model_copy(update={"steps": steps_for(stage, rows, parameters_of(model))})


def _usual_stage(kind: StageKind, model: str, data: Data) -> Stage:
    """The same; its steps may still be `auto`."""
    found, size = DEFAULTS[size_of(model)][kind], size_of(model)
    own = size == "tiny" and not (isinstance(data, Pack) and data.invented) and is_local(model)
    stage = own_stage(kind, parameters_of(model)) if own else found.stage
    if size == "large":  # a row has no more tokens than the model reads
        longest = config_of(model)[0].get("max_position_embeddings") or stage.max_length
        stage = stage.model_copy(update={"max_length": min(stage.max_length, longest)})
    if kind == "cpt" and isinstance(data, Pack):
        there = tuple(split for split in stage.sources if data.has(split))
        stage = stage.model_copy(update={"sources": there or stage.sources})
    if not isinstance(data, Pack):
        rows = amount_of(data, kind).rows
    if found.epochs is None:
        return stage
    if isinstance(data, Pack):
        rows = sum(len(data.rows(split)) for split in stage_splits(stage) if data.has(split))
    return stage.model_copy(update={"steps": max(1, round(found.epochs * rows / stage.batch_size))})


def design(**choices: Any) -> PipelineSpec:
    """The spec of some choices (fields of `Choices`).

    Raises SpecError naming the field that cannot be used.
    """
    try:
        chosen = Choices(**choices)
        model = start_model(chosen.model, chosen.start)
        data = data_of(chosen.pack, chosen.planned)
        stages = [
            _stage(kind, number, chosen, model, data)
            for number, kind in enumerate(stage_kinds(chosen.sequence), 1)
        ]
        for number in chosen.changes:
            if not 1 <= number <= len(stages):
                raise SpecError(
                    f"changes: there is no stage {number}; the sequence has "
                    f"{len(stages)}, counted from 1"
                )
        return PipelineSpec(
            pack=chosen.pack,
            model=model,
            stages=tuple(stages),
            merge=_merge(chosen),
            merge_after=chosen.merge_after,
            seed=chosen.seed,
            profile=chosen.profile,
            planned=chosen.planned or None,
        )
    except ValidationError as error:
        told = explain(error, PipelineSpec, stages=Stage, merge=Merge, why=Why, planned=Planned)
        raise SpecError(told) from None


def _stage(kind: StageKind, number: int, chosen: Choices, model: str, data: Data) -> Stage:
    stage = _usual_stage(kind, model, data)
    changes: dict[str, Any] = {"learning_rate": stage.learning_rate * chosen.rates}
    if chosen.replay is not None and kind in ("cpt", "sft"):
        changes["replay"] = chosen.replay
    if chosen.sources is not None and kind == "cpt":
        changes["sources"] = chosen.sources
    if chosen.lora is not None:
        changes["lora"] = Lora() if chosen.lora else None
    by_hand = chosen.changes.get(number, {})
    given = {**stage.model_dump(), **changes, **by_hand}
    for field in given:
        if field not in Stage.model_fields:
            raise SpecError(
                f"changes.{number}.{field} is not a field of a stage; "
                f"{suggest(str(field), list(Stage.model_fields))}"
            )
    made = Stage(**given)
    if by_hand.get("steps", "auto") != "auto":
        return made
    made = _settled(made, data, model)  # by what else was chosen
    return made.model_copy(update={"steps": max(1, round(made.steps * chosen.lengths))})


def _merge(chosen: Choices) -> Merge | None:
    if chosen.merge == "none":
        return None
    general = start_model(chosen.merge_with, "instruct") if chosen.merge_with else None
    return Merge.model_validate({"method": chosen.merge, "t": chosen.t, "general": general})


def is_local(model: str) -> bool:
    """Whether a model can be read without a network."""
    return model in known_names() or not HUB_ID.fullmatch(model)


def is_base(model: str) -> bool:
    """Whether a model has only read text."""
    return model.endswith("base") or (not is_local(model) and "instruct" not in model.lower())


def problems(spec: PipelineSpec) -> list[str]:
    """Why a design cannot run, a sentence each; empty when it can.

    Nothing is downloaded: of hub models only the data is checked. Of a design on paper the files
    are what is missing first.
    """
    missing = [missing_files(spec)] if on_paper(spec) else []
    try:
        parameters_of(spec.model)
        named = [spec.model, *((spec.merge.general,) if spec.merge and spec.merge.general else ())]
        if on_paper(spec):
            for stage in spec.stages:
                amount_of(spec.planned or {}, stage.kind)
        elif all(map(is_local, named)):
            check_spec(spec)
        else:
            check_data(spec)
    except InputError as error:
        return [*missing, str(error)]
    return missing


NEEDED = {
    "raw": "documents (text, web pages, PDF or Word files)",
    "summaries": "summaries, written into summaries.jsonl by hand",
    "qa": "a table with the columns question and answer",
    "preferences": "a table with the columns question, chosen and rejected",
}


def missing_files(spec: PipelineSpec) -> str:
    """Which files a design on paper lacks, and how `labkit pack new` makes a pack of them."""
    splits = dict.fromkeys(split for stage in spec.stages for split in stage_splits(stage))
    needed = "; ".join(f"for {SPLITS[split]} {NEEDED[split]}" for split in splits)
    name = re.sub(r"[^a-z0-9]+", "-", spec.pack.lower()).strip("-") or "my-domain"
    return (
        f"pack: {spec.pack!r} has no files yet; put them into one folder ({needed}), "
        f"run `labkit pack new {name} --from FOLDER`, and set pack to ./{name} (docs/packs.md)"
    )


def in_words(spec: PipelineSpec) -> str:
    """The design as one sentence a colleague understands."""
    steps = " → ".join(
        f"{step.method.upper()} merge"
        if isinstance(step, Merge)
        else step.kind.upper() + (" (LoRA)" if step.lora else "")
        for step in spec.steps
    )
    return f"{spec.model}: {steps or 'nothing'}"


# --- domains ----------------------------------------------------------------------------------


class Doubt(Strict):
    """Where a general model may fall short, and what would show it."""

    where: str
    measure: str


class Domain(Strict):
    """A domain to choose, with hints; nothing of it was measured by labkit.

    documents: what there is to read. fails: where a general model is worth doubting, with how one
    would measure it. decides: whether accuracy and reasoning decide there.
    """

    name: str
    area: Literal["scientific", "professional", "creative"]
    documents: tuple[str, ...]
    fails: tuple[Doubt, ...]
    decides: str


@cache
def domains() -> dict[str, Domain]:
    """Domains with hints, by name. Raises InputError naming the field that is wrong."""
    path = samples_folder("domains.yaml")
    rows = read_yaml(path, missing="install labkit again")
    try:
        found = TypeAdapter(tuple[Domain, ...]).validate_python(rows)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, Domain, fails=Doubt)}") from None
    return {domain.name: domain for domain in found}


def domain_named(name: str) -> Domain:
    """A domain of the list, in any case. Raises InputError for one that is not in it."""
    known = {domain.lower(): domain for domain in domains()}
    if name.lower() not in known:
        remedy = suggest(name, list(domains()), otherwise="design your own without hints")
        raise InputError(f"domain: {name!r} is not in labkit's list; {remedy}")
    return domains()[known[name.lower()]]


class DomainChoice(Form):
    """Whether a domain is one in which accuracy and reasoning matter more than conversation."""

    wrong_costs: YesNo = Field(
        "unknown",
        title="wrong answers cost much",
        description="Does a wrong answer cost more than an unfriendly one?",
    )
    expert_decides: YesNo = Field(
        "unknown",
        title="experts would agree",
        description="Would two experts agree which of two answers is right?",
    )
    joins_facts: YesNo = Field(
        "unknown",
        title="answers join several facts",
        description="Do answers join several facts, rules or numbers of the field?",
    )
    mostly_talk: YesNo = Field(
        "unknown",
        title="it is mostly conversation",
        description="Is it mostly open conversation, with no right or wrong answer?",
    )
    falls_short: YesNo = Field(
        "unknown",
        title="a general model falls short",
        description="Has a general model been asked, and did it get answers wrong?",
    )


DOUBTS = (
    ("wrong_costs", "no", "a wrong answer costs little here: a general model may be good enough"),
    (
        "expert_decides",
        "no",
        "experts do not agree what is right: no test can say whether training helped",
    ),
    (
        "joins_facts",
        "no",
        "answers are single facts: looking them up (retrieval) may serve better than training",
    ),
    (
        "mostly_talk",
        "yes",
        "conversation matters more than accuracy here: choose a task of the domain that has right "
        "answers",
    ),
    (
        "falls_short",
        "no",
        "no general model was seen to fail: ask one twenty questions of the field before you train",
    ),
)


def domain_doubts(choice: DomainChoice) -> list[str]:
    """What speaks against a domain, a sentence each, and which questions are still open.

    Advice, never a block.
    """
    told = [words for field, answer, words in DOUBTS if getattr(choice, field) == answer]
    still = [
        str(about.description)
        for field, about in DomainChoice.model_fields.items()
        if getattr(choice, field) == "unknown"
    ]
    return [*(f"Think again: {words}." for words in told), *(f"Still open: {q}" for q in still)]
