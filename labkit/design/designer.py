"""From a learner's choices to the `PipelineSpec` that trains.

The module knows the sequences of stages, and defaults that are sane for the size of a model.

The panel of notebook 01 and plain code go through the same function:

    spec = design(pack="legal", model="llama-s", sequence="cpt-sft-dpo", merge="slerp", t=0.5)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from labkit.base.errors import InputError, SpecError, suggest
from labkit.data.packs import Pack, load_pack
from labkit.merge.recipes import Merge
from labkit.models.architecture import parameters_of
from labkit.models.families import FAMILIES
from labkit.models.zoo import HUB_ID, SMOLLM2, known_names
from labkit.train import specs
from labkit.train.exposure import own_stage
from labkit.train.pipeline import STAGE_SPLITS, check_data, check_spec, settled
from labkit.train.specs import STAGES, Lora, PipelineSpec, Stage, Strict, Why, explain

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
    model.
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


def stage_kinds(sequence: str) -> list[str]:
    """`cpt-sft-dpo` as a list. Raises SpecError naming what is no stage."""
    kinds = [part for part in sequence.lower().replace(" ", "").split("-") if part]
    for kind in kinds:
        if kind not in STAGES:
            raise SpecError(f"sequence: {kind!r} is not a stage; {suggest(kind, list(STAGES))}")
    return kinds


def default_stage(kind: str, model: str, pack: Pack) -> Stage:
    """A stage that is sane for a model's size and a pack's rows, with a number of steps.

    Raises InputError for an unknown model.
    """
    return settled(_usual_stage(kind, model, pack), pack, model)


def _usual_stage(kind: str, model: str, pack: Pack) -> Stage:
    """The same; its steps may still be `auto`."""
    found = DEFAULTS[size_of(model)][kind]
    own = size_of(model) == "tiny" and not pack.invented and is_local(model)
    stage = own_stage(kind, parameters_of(model)) if own else found.stage
    if kind == "cpt":
        there = tuple(split for split in stage.sources if pack.has(split))
        stage = stage.model_copy(update={"sources": there or stage.sources})
    if found.epochs is None:
        return stage
    splits = stage.sources if kind == "cpt" else STAGE_SPLITS[kind]
    rows = sum(len(pack.rows(split)) for split in splits if pack.has(split))
    return stage.model_copy(update={"steps": max(1, round(found.epochs * rows / stage.batch_size))})


def design(**choices: Any) -> PipelineSpec:
    """The spec of some choices (fields of `Choices`).

    Raises SpecError naming the field that cannot be used.
    """
    try:
        chosen = Choices(**choices)
        model, pack = start_model(chosen.model, chosen.start), load_pack(chosen.pack)
        stages = [
            _stage(kind, number, chosen, model, pack)
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
        )
    except ValidationError as error:
        told = explain(error, PipelineSpec, stages=Stage, merge=Merge, why=Why)
        raise SpecError(told) from None


def _stage(kind: str, number: int, chosen: Choices, model: str, pack: Pack) -> Stage:
    stage = _usual_stage(kind, model, pack)
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
    made = settled(made, pack, model)  # by what else was chosen
    return made.model_copy(update={"steps": max(1, round(made.steps * chosen.lengths))})


def _merge(chosen: Choices) -> Merge | None:
    if chosen.merge == "none":
        return None
    general = start_model(chosen.merge_with, "instruct") if chosen.merge_with else None
    return Merge.model_validate({"method": chosen.merge, "t": chosen.t, "general": general})


def is_local(model: str) -> bool:
    """Whether a model can be read without a network."""
    return model in known_names() or not HUB_ID.fullmatch(model)


def problems(spec: PipelineSpec) -> list[str]:
    """Why a design cannot run, a sentence each; empty when it can.

    Nothing is downloaded: of hub models only the data is checked.
    """
    try:
        parameters_of(spec.model)
        named = [spec.model, *((spec.merge.general,) if spec.merge and spec.merge.general else ())]
        if all(map(is_local, named)):
            check_spec(spec)
        else:
            check_data(spec)
    except InputError as error:
        return [str(error)]
    return []


def in_words(spec: PipelineSpec) -> str:
    """The design as one sentence a colleague understands."""
    steps = " → ".join(
        f"{step.method.upper()} merge"
        if isinstance(step, Merge)
        else step.kind.upper() + (" (LoRA)" if step.lora else "")
        for step in spec.steps
    )
    return f"{spec.model}: {steps or 'nothing'}"
