"""t per tensor: one number, anchors over depth, or a list of name filters; in mergekit's own shape.

t=0 is the general model, t=1 the domain model. Anchors are spread evenly over the layers and joined
by straight lines; what lies in no layer (embeddings, final norm, head) takes the first anchor, as
in mergekit 0.1.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from labkit.base.errors import MergeError

GROUPS: dict[str, str | None] = {"attention": "self_attn", "mlp": "mlp", "other": None}


def _no_truth(value: object) -> object:
    if isinstance(value, bool):  # would be read as 1 or 0
        raise ValueError("must be a number, not true or false")
    return value


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth)]
Anchors = Annotated[tuple[Number, ...], Field(min_length=1)]


class Part(BaseModel):
    """A value for every tensor whose name contains `filter`; without a filter (or "*"), for all
    that are left.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: str | None = None
    value: Number | Anchors

    def takes(self, name: str) -> bool:
        return self.filter in (None, "*") or self.filter in name


Schedule = Number | Anchors | Annotated[tuple[Part, ...], Field(min_length=1)]


class Weights(BaseModel):
    """t as a linear recipe writes it, as one weight per model: t = domain / (general + domain)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    general: Schedule
    domain: Schedule


def by_group(
    attention: float | tuple, mlp: float | tuple, other: float | tuple
) -> tuple[Part, ...]:
    """A schedule with a value, or anchors over depth, for each group of tensors."""
    values = {"attention": attention, "mlp": mlp, "other": other}
    return tuple(Part(filter=pattern, value=values[group]) for group, pattern in GROUPS.items())


_UP, _DOWN = (0.0, 0.5, 0.3, 0.7, 1.0), (1.0, 0.5, 0.7, 0.3, 0.0)

# `paper` is the schedule of the companion code of Lu, Luu & Buehler 2025, doi
# 10.1038/s41524-025-01564-y.
# `mirror` favours the other model in every tensor; `ramp` follows the article's linear progression
# over depth.
PRESETS: dict[str, tuple[Part, ...]] = {
    "paper": by_group(_UP, _DOWN, 0.5),
    "mirror": by_group(_DOWN, _UP, 0.5),
    "ramp": by_group((0.0, 1.0), (0.0, 1.0), 0.5),
}


def group_of(name: str) -> str:
    """attention, mlp or other: the first group whose filter the tensor's name contains."""
    return next(group for group, pattern in GROUPS.items() if pattern is None or pattern in name)


def layer_of(name: str) -> int | None:
    """The layer a tensor lies in, counted from 0; None for embeddings, final norm and head."""
    found = re.search(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.", name)
    return int(found[1]) if found else None


def count_layers(names: Iterable[str]) -> int:
    return 1 + max((layer for name in names if (layer := layer_of(name)) is not None), default=-1)


def depth_of(name: str, layers: int) -> float:
    """Where a tensor lies, from 0 (first layer, and outside the layers) to 1 (last layer)."""
    layer = layer_of(name)
    if layer is None:
        return 0.0
    return layer / (layers - 1) if layers > 1 else 1.0


def between(anchors: tuple[float, ...], depth: float) -> float:
    """The anchors' value at a depth in [0, 1], by straight lines."""
    place = depth * (len(anchors) - 1)
    first = int(place)
    share = place - first
    return (1 - share) * anchors[first] + share * anchors[min(len(anchors) - 1, first + 1)]


def t_of(schedule: Schedule | Weights, name: str, layers: int) -> float:
    """The t of one tensor.

    Raises MergeError when no part of the schedule takes it, or its weights cancel.
    """
    if isinstance(schedule, Weights):
        general, domain = t_of(schedule.general, name, layers), t_of(schedule.domain, name, layers)
        if general + domain == 0:
            raise MergeError(
                f"the weights of {name} add up to 0; give one model more weight than that"
            )
        return domain / (general + domain)
    if isinstance(schedule, (int, float)):
        return float(schedule)
    if isinstance(schedule[0], Part):
        value = next((part.value for part in schedule if part.takes(name)), None)
        if value is None:
            raise MergeError(
                f"no filter of the schedule takes {name}; end it with a value that has no filter"
            )
        return t_of(value, name, layers)
    return between(schedule, depth_of(name, layers))


def parts(schedule: Schedule | Weights) -> tuple[Part, ...]:
    """Every part of a schedule that has any."""
    if isinstance(schedule, Weights):
        return parts(schedule.general) + parts(schedule.domain)
    return schedule if isinstance(schedule, tuple) and isinstance(schedule[0], Part) else ()


def resolve(
    schedule: Schedule | Weights, names: Iterable[str], *, extrapolate: bool = False
) -> dict[str, float]:
    """The t of every tensor: name -> t.

    Raises MergeError for a filter that takes no tensor, a tensor no part takes, and t outside [0,
    1] unless extrapolation is asked for.
    """
    names = list(names)
    for part in parts(schedule):
        if not any(part.takes(name) for name in names):
            raise MergeError(
                f"filter {part.filter!r} is part of no tensor's name; names look like "
                f"{names[len(names) // 2]!r}"
            )
    _check_order(schedule, names)
    layers = count_layers(names)
    resolved = {name: t_of(schedule, name, layers) for name in names}
    for name, t in resolved.items():
        if not (extrapolate or 0 <= t <= 1) or not math.isfinite(t):
            raise MergeError(outside(t, name))
    return resolved


def _check_order(schedule: Schedule | Weights, names: list[str]) -> None:
    """Raises MergeError for a filter that comes too late: those before it take all its tensors."""
    if isinstance(schedule, Weights):
        _check_order(schedule.general, names)
        _check_order(schedule.domain, names)
        return
    left = names
    for part in parts(schedule):
        if part.filter not in (None, "*") and not any(part.takes(name) for name in left):
            raise MergeError(
                f"filter {part.filter!r} has no effect: what stands before it takes all its "
                "tensors, the first that takes a tensor wins; move it before them, and a value "
                "without a filter to the end"
            )
        left = [name for name in left if not part.takes(name)]


def outside(t: float, where: str = "") -> str:
    """The sentence for a t that leaves the path between the models."""
    place = f" at {where}" if where else ""
    return (
        f"t is {t:g}{place}, outside [0, 1]: 0 is the general model, 1 the domain model; "
        "ask for extrapolation to go beyond them"
    )


def plain(schedule: Schedule | Weights) -> object:
    """A schedule as YAML and JSON hold it: numbers, lists and mappings."""
    if isinstance(schedule, Weights):
        return {"general": plain(schedule.general), "domain": plain(schedule.domain)}
    if isinstance(schedule, (int, float)):
        return schedule
    return [
        part.model_dump(exclude_none=True, mode="json") if isinstance(part, Part) else part
        for part in schedule
    ]


def in_words(schedule: Schedule | Weights) -> str:
    """t as a page says it: t=0.5, or how it runs over depth (a preset by its name)."""
    if isinstance(schedule, Weights):
        return f"weights: general {in_words(schedule.general)}, domain {in_words(schedule.domain)}"
    for name, preset in PRESETS.items():
        if schedule == preset:
            return f"t by the schedule '{name}' over depth"
    if not parts(schedule):
        over = "" if isinstance(schedule, (int, float)) else " over depth"
        return f"t={_value_in_words(schedule)}{over}"
    told = (
        f"{part.filter if part.filter not in (None, '*') else 'the rest'} "
        f"{_value_in_words(part.value)}"
        for part in parts(schedule)
    )
    return f"t by a schedule over depth ({'; '.join(told)})"


def _value_in_words(value: object) -> str:
    return ", ".join(f"{one}" for one in value) if isinstance(value, tuple) else f"{value}"


def complement(schedule: Schedule) -> Schedule:
    """1 - t everywhere: what the other model gets."""
    if isinstance(schedule, tuple) and isinstance(schedule[0], Part):
        return tuple(Part(filter=part.filter, value=_rest(part.value)) for part in schedule)
    return _rest(schedule)


def _rest(value: Number | Anchors) -> Number | Anchors:
    return 1 - value if isinstance(value, (int, float)) else tuple(1 - each for each in value)
