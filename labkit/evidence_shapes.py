"""What an evidence pack holds, member by member, as it is checked when a pack of somebody else's is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Union

from pydantic import BaseModel, Field, ValidationError

from labkit.design import Merge, PipelineSpec, Strict
from labkit.evaluate import ItemResult, Scorecard

SCHEMA = 1

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(max_length=400)]
Share = Annotated[float, Field(ge=0, le=1)]


class Member(Strict):
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Strict):
    """left_out: a sentence for everything in the records that could not be packed."""

    kind: Literal["labkit evidence pack"] = "labkit evidence pack"
    schema_version: Literal[1] = SCHEMA
    learner: Words
    members: dict[str, Member]
    left_out: tuple[Words, ...] = ()


class Shipped(Strict):
    """A model that comes with labkit."""

    kind: Literal["shipped"] = "shipped"
    weights: Hash
    name: Words


class Trained(Strict):
    """A checkpoint of the store; specs/KEY.yaml trains it again. files: SHA-256 of each. start: the weights that training began
    with. data: fingerprint of what its last stage read. wall_seconds: of its last stage."""

    kind: Literal["trained"] = "trained"
    weights: Hash
    name: Words
    key: Hash
    files: dict[Words, Sha256]
    start: Hash
    data: Sha256
    versions: dict[Words, Words]
    wall_seconds: Annotated[float, Field(ge=0)]


class Merged(Strict):
    """A merge that was made in memory: the weights of its parents, and how they were joined. merge.ancestor: by weights, too."""

    kind: Literal["merged"] = "merged"
    weights: Hash
    name: Words
    general: Hash
    domain: Hash
    merge: Merge

    @property
    def parents(self) -> tuple[str | None, ...]:
        return self.general, self.domain, self.merge.ancestor


Model = Annotated[Union[Shipped, Trained, Merged], Field(discriminator="kind")]


class Item(Strict):
    """ItemResult, checked."""

    id: Words
    axis: Words
    kind: Words
    entity: Words
    score: Share
    output: Annotated[str, Field(max_length=20_000)]
    variants: dict[Words, float] = {}
    measures: dict[Words, float] = {}


class Card(Strict):
    """Every item's outcome of one model, as one `lab.score` saw it. axes: those that were asked for."""

    weights: Hash
    name: Words
    pack: Words
    data: Sha256
    split: Literal["dev", "test"]
    profile: Literal["smoke", "brief", "lab", "study"]
    axes: tuple[Words, ...]
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=20_000)]

    @property
    def scorecard(self) -> Scorecard:
        items = [ItemResult(**item.model_dump()) for item in self.items]
        return Scorecard(self.name, self.pack, self.split, self.data, items)

    @property
    def run(self) -> tuple:
        """What tells it from the other cards of a pack."""
        return self.weights, self.pack, self.split, self.profile, frozenset(self.axes)


class Mean(BaseModel):
    mean: Share
    n: Annotated[int, Field(gt=0)]


class Scored(BaseModel):
    """A scorecard record that says whose scores it holds. checkpoint: how the learner called the model."""

    checkpoint: Words
    weights: Hash
    pack: Words
    split: Literal["dev", "test"]
    profile: Literal["smoke", "brief", "lab", "study"]
    axes: dict[Words, Mean]

    @property
    def run(self) -> tuple:
        return self.weights, self.pack, self.split, self.profile, frozenset(self.axes)


@dataclass(frozen=True)
class Evidence:
    """What an opened pack holds. models and specs are by weights and by key; data: pack -> split -> fingerprint."""

    manifest: Manifest
    versions: dict[str, str]
    data: dict[str, dict[str, str]]
    models: dict[str, Shipped | Trained | Merged]
    specs: dict[str, PipelineSpec]
    cards: list[Card]
    rows: list[dict]


def scored_of(row: dict) -> Scored | None:
    """A scorecard record as it can be checked; None when it does not say whose scores it holds."""
    try:
        return Scored(**row)
    except ValidationError:
        return None
