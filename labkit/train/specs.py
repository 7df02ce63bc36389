"""The learner's design is the file that trains: `PipelineSpec`, its stages, its presets, its
profiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_serializer, field_validator, model_validator

from labkit.base.errors import SpecError, suggest
from labkit.base.inputs import Strict, beside, explain, read_yaml
from labkit.base.store import write_file
from labkit.merge.recipes import Merge

STAGES = ("cpt", "sft", "dpo", "orpo")
AUTO = 0  # steps that are not yet known: `auto` in a file
PREFERENCE_STAGES = ("dpo", "orpo")
StageKind = Literal["cpt", "sft", "dpo", "orpo"]
ProfileName = Literal["smoke", "brief", "lab", "study"]


class Profile(Strict):
    """How much of everything: the only thing a profile changes.

    step_share: fraction of a stage's steps that are run, and most_steps the most of them (None:
    all). seeds: training seeds of a study.
    eval_limit: items per axis and kind (None: all). samples: generations per creativity item.
    """

    step_share: float
    seeds: int
    eval_limit: int | None
    samples: int
    most_steps: int | None = None


PROFILES: dict[str, Profile] = {
    "smoke": Profile(step_share=0.02, seeds=1, eval_limit=4, samples=2, most_steps=4),
    # for models that take minutes to score
    "brief": Profile(step_share=1.0, seeds=1, eval_limit=24, samples=2),
    "lab": Profile(step_share=1.0, seeds=1, eval_limit=None, samples=3),
    "study": Profile(step_share=1.0, seeds=5, eval_limit=None, samples=3),
}


def profile(name: str) -> Profile:
    """Raises SpecError for an unknown profile."""
    if name not in PROFILES:
        raise SpecError(f"unknown profile {name!r}: {suggest(name, list(PROFILES))}")
    return PROFILES[name]


class Lora(Strict):
    """Low-rank adapters on all linear layers (arXiv 2106.09685). alpha: scale numerator.

    four_bit: hold the frozen base in NF4 while training, as QLoRA does (arXiv 2305.14314); needs a
    CUDA GPU.
    """

    rank: Annotated[int, Field(gt=0)] = 16
    alpha: Annotated[int, Field(gt=0)] = 32
    four_bit: bool = False


class Stage(Strict):
    """One training stage.

    steps: optimiser steps; `auto` is as many as labkit's study found enough for the pack and the
    model (exposure.py). until: CPT ends before its steps where this share of the facts that dev
    asks for is known. batch_size: rows per step, over all processes. micro_batch_size: rows a
    device takes at once (None: its whole share); the rest of the step is accumulated, and nothing
    but memory and time changes. schedule: of the learning rate after the warm-up.
    activation_checkpointing: compute activations again in the backward pass instead of holding
    them. max_length: tokens per row; a longer text is several rows, a longer chat is
    cut. replay: share of rows drawn from the
    start model's own general training mix, in [0, 1). sources: which splits CPT reads; of `qa` it
    reads question and answer as plain text. beta: strength of the preference penalty (DPO) or of
    the odds-ratio term (ORPO). lora: None trains all weights.
    """

    kind: StageKind
    learning_rate: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=0)]
    until: Annotated[float, Field(gt=0, le=1)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 32
    micro_batch_size: Annotated[int, Field(gt=0)] | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    activation_checkpointing: bool = False
    max_length: Annotated[int, Field(gt=0)] = 128
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sources: Annotated[tuple[Literal["raw", "summaries", "qa"], ...], Field(min_length=1)] = (
        "raw",
        "summaries",
    )
    beta: Annotated[float, Field(gt=0)] = 0.1
    lora: Lora | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _steps_or_auto(cls, steps: object) -> object:
        if steps == "auto":
            return AUTO
        if steps == AUTO or (isinstance(steps, str) and steps.strip("0 ") == ""):
            raise ValueError("give a whole number above 0, or auto")
        return steps

    @field_serializer("steps")
    def _auto_in_words(self, steps: int) -> int | str:
        return steps or "auto"

    @model_validator(mode="after")
    def _until_is_of_reading(self) -> Stage:
        if self.until is not None and self.kind != "cpt":
            raise ValueError(f"until is for cpt, which reads facts; drop it from {self.kind}")
        return self

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> Stage:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _replay_only_where_text_is_read(self) -> Stage:
        if self.kind in PREFERENCE_STAGES and self.replay:
            raise ValueError(f"replay is for cpt and sft; {self.kind} has no rows to mix it with")
        return self


# The course's recipes, for the tiny families. GENTLE lowers the rate and replays a quarter of the
# start model's own training mix; OVERCOOKED is a recipe in a hurry. docs/evidence.md measures both.
GENTLE = (
    Stage(kind="cpt", learning_rate=8e-4, steps=180, replay=0.25),
    Stage(kind="sft", learning_rate=3e-4, steps=60, replay=0.25),
)
OVERCOOKED = (
    Stage(kind="cpt", learning_rate=1.2e-3, steps=150),
    Stage(kind="sft", learning_rate=3e-4, steps=60),
)
BASE_START = OVERCOOKED
DPO = Stage(kind="dpo", learning_rate=1.5e-4, steps=60, batch_size=16, beta=0.03)
ORPO = Stage(kind="orpo", learning_rate=1.5e-4, steps=50, batch_size=16, beta=0.2)
# For a model of 135 million parameters, with adapters (docs/real.md): CPT and SFT chosen on dev of
# materials by private facts, over batches of 16 at half the rate and over summaries alone.
ADAPTED_LORA = Lora(rank=8, alpha=16)
_SMALL: dict[str, Any] = {"max_length": 96, "lora": ADAPTED_LORA}
ADAPTED = (
    Stage(kind="cpt", learning_rate=2e-3, steps=300, batch_size=8, **_SMALL),
    Stage(kind="sft", learning_rate=3e-4, steps=40, batch_size=16, **_SMALL),
)
ADAPTED_DPO = Stage(kind="dpo", learning_rate=2e-4, steps=30, batch_size=8, beta=0.1, **_SMALL)
ADAPTED_ORPO = Stage(kind="orpo", learning_rate=2e-4, steps=30, batch_size=8, beta=0.2, **_SMALL)
# For the same model and packs of real text (docs/real-packs.md): what stands for each stage of the
# course's recipes. Constant rates, so that a run of fewer steps is the same run, stopped earlier.
# The ranks of a chain add up to what an adapter of the whole chain needs to lose nothing: at most 8
REAL_LORA, REAL_LORA_AFTER = Lora(rank=4, alpha=8), Lora(rank=2, alpha=4)
_READ: dict[str, Any] = {
    "kind": "cpt",
    "steps": 60,
    "batch_size": 8,
    "sources": ("raw",),
    "schedule": "constant",
    "lora": REAL_LORA,
}
_ASK: dict[str, Any] = {"batch_size": 8, "max_length": 256, "lora": REAL_LORA_AFTER}
REAL_SFT = Stage(kind="sft", learning_rate=3e-4, steps=40, **_ASK)
REAL = {
    GENTLE[0]: Stage(learning_rate=5e-4, **_READ),
    OVERCOOKED[0]: Stage(learning_rate=5e-3, **_READ),
    GENTLE[1]: REAL_SFT,
    OVERCOOKED[1]: REAL_SFT,
    DPO: Stage(kind="dpo", learning_rate=1e-4, steps=20, **_ASK),
    ORPO: Stage(kind="orpo", learning_rate=1e-4, steps=20, **_ASK),
}
# For labkit's tiny families and documents of a person's own (docs/own-domain.md): short rows, few
# in a step and so many steps: names that no model has seen are learned step by step. Questions are
# read beside the text. SFT and preferences are held so small that they take nothing.
_AUTO: dict[str, Any] = {"steps": "auto"}
_ASKED: dict[str, Any] = {"max_length": 256, **_AUTO}  # real questions quote what they ask about
OWN = (
    Stage(
        kind="cpt",
        learning_rate=2e-3,
        batch_size=16,
        max_length=48,
        replay=0.1,
        sources=("raw", "summaries", "qa"),
        **_AUTO,
    ),
    Stage(kind="sft", learning_rate=3e-4, replay=0.1, **_ASKED),
)
OWN_DPO = Stage(kind="dpo", learning_rate=5e-5, batch_size=16, beta=0.1, **_ASKED)
OWN_ORPO = Stage(kind="orpo", learning_rate=5e-5, batch_size=16, beta=0.2, **_ASKED)
PRESETS: dict[str, tuple[Stage, ...]] = {"gentle": GENTLE, "overcooked": OVERCOOKED}


def in_real(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The course's recipes as SmolLM2-135M takes them; a stage that is none of theirs stays."""
    return tuple(REAL.get(stage, stage) for stage in stages)


class Why(Strict):
    """The learner's own words about a design; nothing is trained by them. suits: where they would
    use it. matters: why its choices matter more in this domain than in others.
    """

    approach: str = ""
    benefits: str = ""
    risks: str = ""
    suits: str = ""
    matters: str = ""


class Planned(Strict):
    """What a stage is going to read, of data that is not there yet. words: of all its rows."""

    rows: Annotated[int, Field(gt=0)]
    words: Annotated[int, Field(gt=0)]


class PipelineSpec(Strict):
    """A whole design: pack, start model, ordered stages (or a preset's name), optional merge, seed,
    profile.

    merge_after: merge after so many stages and train the others from the merge; by default after
    the last. planned: stage -> what it will read, while the pack has no files; nothing is trained
    by it. report_to: a program that gets the numbers of each logged step too; it changes nothing
    that is trained.
    """

    pack: str
    model: str
    stages: tuple[Stage, ...]
    merge: Merge | None = None
    merge_after: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    profile: ProfileName = "lab"
    why: Why | None = None
    planned: dict[StageKind, Planned] | None = None
    report_to: Literal["tensorboard", "trackio", "wandb"] | None = None

    @field_validator("stages", mode="before")
    @classmethod
    def _preset_by_name(cls, stages: object) -> object:
        if not isinstance(stages, str):
            return stages
        if stages not in PRESETS:
            raise ValueError(f"unknown preset; {suggest(stages, list(PRESETS))}")
        return PRESETS[stages]

    @model_validator(mode="after")
    def _order_makes_sense(self) -> PipelineSpec:
        if not self.stages and not self.merge:
            raise ValueError("stages is empty and there is no merge: nothing to run")
        if not self.stages and self.merge and not self.merge.general:
            raise ValueError("a merge without stages needs merge.general: the model to merge with")
        if self.merge_after is not None and not self.merge:
            raise ValueError(
                "merge_after says when to merge, but there is no merge; add one or drop it"
            )
        if self.merge_after is not None and self.merge_after > len(self.stages):
            raise ValueError(
                f"merge_after is {self.merge_after}, but there are {len(self.stages)} "
                "stages; give a number up to that"
            )
        return self

    @property
    def steps(self) -> tuple[Stage | Merge, ...]:
        """Stages and merge in the order they are run."""
        if not self.merge:
            return self.stages
        at = self.merge_after or len(self.stages)
        return (*self.stages[:at], self.merge, *self.stages[at:])

    @property
    def trail(self) -> str:
        """The steps in words, as in cpt-sft-slerp."""
        return trail_of(self.steps)

    @property
    def name(self) -> str:
        """Lineage in words, as in materials/llama-s-instruct/cpt-sft-dpo."""
        return f"{self.pack}/{self.model}/{self.trail}"


def trail_of(steps: Iterable[Stage | Merge]) -> str:
    """Stages by kind and a merge by method, joined by dashes."""
    return "-".join(step.kind if isinstance(step, Stage) else step.method for step in steps)


def load_spec(path: Path) -> PipelineSpec:
    """Read a spec from YAML. A pack's or a model's folder may also lie beside the file.

    `steps: auto` becomes a number. Raises SpecError naming file and field.
    """
    return seen_from(path, read_spec(path))


def seen_from(path: Path, spec: PipelineSpec) -> PipelineSpec:
    """A spec that stood in a file, with folders found beside it and every `steps: auto` a number.

    Raises InputError where that takes a pack or a model that is not there.
    """
    from labkit.data.packs import shipped_packs
    from labkit.train.pipeline import with_steps

    changes: dict[str, Any] = {
        "pack": beside(path, spec.pack, shipped_packs()),
        "model": _model(path, spec.model),
    }
    if spec.merge:
        given = {"general": spec.merge.general, "ancestor": spec.merge.ancestor}
        found = {field: name and _model(path, name) for field, name in given.items()}
        changes["merge"] = spec.merge.model_copy(update=found)
    return with_steps(spec.model_copy(update=changes))


def _model(path: Path, name: str) -> str:
    from labkit.models.zoo import known_names

    return beside(path, name, known_names())


def read_spec(path: Path) -> PipelineSpec:
    """Read a spec from YAML, with its names as they stand there. Raises SpecError as load_spec."""
    raw = read_yaml(path, missing="write one like docs/spec.md shows", error=SpecError)
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: expected a mapping with pack, model and stages; see docs/spec.md")
    try:
        return PipelineSpec(**raw)
    except ValidationError as error:
        told = explain(error, PipelineSpec, stages=Stage, merge=Merge, why=Why, planned=Planned)
        raise SpecError(f"{path}: {told}") from None


def spec_text(spec: PipelineSpec) -> str:
    """A spec as the YAML that `load_spec` reads; what is left at its default is left out."""
    return yaml.safe_dump(
        spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True
    )


def save_spec(spec: PipelineSpec, path: Path) -> None:
    """Write a spec completely or not at all. Raises StoreError when it cannot be written."""
    write_file(path, spec_text(spec))
