"""How two checkpoints lie to each other: angles, lengths, conflicts, and the loss along the way
between them.

Angles tell whether an arc can differ from a line; the loss along the path tells whether the models
may be joined at all. Both mean something only beside a control: parents from other random weights,
and a random direction.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.data.items import everyday_items
from labkit.evaluate.scorecards import is_tiny, log_likelihoods
from labkit.merge.methods import Pairing, join, measure, merge_into, own_tensors
from labkit.merge.schedule import group_of, layer_of
from labkit.train import zoo_build
from labkit.train.trainers import text_rows

EVERYDAY_TOKENS = 64  # of a row; an everyday statement is shorter

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TensorGeometry:
    """One tensor, or many pooled.

    angle: between the two weights, in degrees. task_angle: between what both learned since their
    ancestor, in degrees (None without an ancestor). norm_ratio: |domain| / |general|.
    sign_conflicts: share of the elements both changed that they changed in opposite directions
    (None without an ancestor). lines: share of tensors so near parallel that SLERP falls back to
    LERP. elements: numbers in the tensor.
    """

    name: str
    group: str
    layer: int | None
    elements: int
    angle: float
    task_angle: float | None
    norm_ratio: float
    sign_conflicts: float | None
    lines: float


def geometry(pairing: Pairing) -> list[TensorGeometry]:
    """The geometry of every tensor of a pairing, in the model's order."""
    task_pairs = pairing.pairs(task_vectors=True) if pairing.ancestor else {}
    rows = []
    for name, pair in pairing.pairs().items():
        task = task_pairs.get(name)
        general, domain = pairing.general[name], pairing.domain[name]
        rows.append(
            TensorGeometry(
                name,
                group_of(name),
                layer_of(name),
                general.numel(),
                math.degrees(pair.angle),
                math.degrees(task.angle) if task else None,
                pair.length_b / pair.length_a if pair.length_a else math.inf,
                sign_conflicts(general, domain, pairing.ancestor[name])
                if pairing.ancestor
                else None,
                float(pair.is_line),
            )
        )
    return rows


def sign_conflicts(general: Tensor, domain: Tensor, ancestor: Tensor) -> float:
    """Share of elements moved by both models that were moved in opposite directions; 0 where none
    was.

    Source: Yadav et al. 2023 (TIES), arXiv 2306.01708, sections 3 and 4.
    """
    products = (general.float() - ancestor.float()) * (domain.float() - ancestor.float())
    moved = int((products != 0).sum())
    return float((products < 0).sum()) / moved if moved else 0.0


def pooled(rows: Sequence[TensorGeometry]) -> list[TensorGeometry]:
    """One row per layer and group; values are means over its tensors weighted by their elements."""
    places: dict[tuple, list[TensorGeometry]] = defaultdict(list)
    for row in rows:
        places[row.layer, row.group].append(row)
    return [
        TensorGeometry(
            group if layer is None else f"layer {layer} {group}",
            group,
            layer,
            sum(row.elements for row in rows_here),
            lines=sum(row.lines for row in rows_here) / len(rows_here),
            **{
                field: weighted_mean(rows_here, field)
                for field in ("angle", "task_angle", "norm_ratio", "sign_conflicts")
            },
        )
        for (layer, group), rows_here in places.items()
    ]


def weighted_mean(rows: Sequence[TensorGeometry], field: str) -> Any:
    """A field's mean over tensors, weighted by their elements; None where the field may be None and
    is not known.
    """
    values = [(getattr(row, field), row.elements) for row in rows]
    if any(value is None for value, _ in values):
        return None
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def norms_along(
    a: Tensor, b: Tensor, ts: Iterable[float], method: str
) -> list[tuple[float, float]]:
    """How long the merge of two tensors is, over what its parents' lengths interpolate to: [(t,
    ratio)].
    """
    length_a, length_b = float(a.float().norm()), float(b.float().norm())
    return [
        (t, float(join(a, b, t, method).float().norm()) / ((1 - t) * length_a + t * length_b))
        for t in ts
    ]


def departure(a: Tensor, b: Tensor) -> tuple[float, float]:
    """(angle between two tensors in degrees, |SLERP - LERP| / |b - a| at t=0.5)."""
    apart = (join(a, b, 0.5, "slerp") - join(a, b, 0.5, "lerp")).norm() / (
        b.float() - a.float()
    ).norm()
    return math.degrees(measure(a, b).angle), float(apart)


# --- loss along the way ---------------------------------------------------------------------------


def mean_loss(model: PreTrainedModel, pad: int, rows: Sequence[dict]) -> float:
    """Loss in nats per trained token. rows: `input_ids` and `labels`, one trained stretch each."""
    total, tokens = 0.0, 0
    starts = [next(i for i, label in enumerate(row["labels"]) if label != -100) for row in rows]
    contexts = [row["input_ids"][: max(1, start)] for row, start in zip(rows, starts, strict=True)]
    ends = [max(i for i, label in enumerate(row["labels"]) if label != -100) + 1 for row in rows]
    texts = [row["input_ids"][:end] for row, end in zip(rows, ends, strict=True)]
    for context, text, value in zip(
        contexts, texts, log_likelihoods(model, pad, contexts, texts), strict=True
    ):
        total, tokens = total - value, tokens + len(text) - len(context)
    return total / tokens


def general_rows(tokenizer, count: int = 64) -> list[dict]:
    """General text, in no training order: what a loss along a path, or of a merge, is measured on.

    For the tiny families texts and chats of their invented world, for any other tokenizer everyday
    statements that come with labkit.
    """
    if is_tiny(tokenizer):
        return zoo_build.general_rows(tokenizer, count, seed=999)
    texts = [f"{item['prompt']} {item['answer']}" for item in everyday_items("dev")[:count]]
    return text_rows(tokenizer, texts, EVERYDAY_TOKENS)


def place_on_line(
    general: PreTrainedModel, domain: PreTrainedModel, model: PreTrainedModel
) -> float:
    """How far along the line from `general` (0) to `domain` (1) a model's weights lie, by their
    projection on it.
    """
    start, end, at = own_tensors(general), own_tensors(domain), own_tensors(model)
    along = length = 0.0
    for name, tensor in start.items():
        way = end[name].double() - tensor.double()
        along += float((way * (at[name].double() - tensor.double())).sum())
        length += float((way * way).sum())
    return along / length if length else 0.0


def path_loss(
    shell: PreTrainedModel,
    pairing: Pairing,
    pad: int,
    rows: Sequence[dict],
    ts: Iterable[float],
    method: str = "lerp",
) -> list[tuple[float, float]]:
    """Loss at each t between the parents of a pairing: [(t, nats per token)]. shell: a model that
    is overwritten.
    """
    points = []
    for t in ts:
        merge_into(shell, pairing, t, method)
        points.append((t, mean_loss(shell, pad, rows)))
    return points


def barrier(path: Sequence[tuple[float, float]]) -> float:
    """How far the path rises above the straight line between the losses of its ends, in nats per
    token; at least 0.

    Source: Frankle et al. 2020, arXiv 1912.05671 (they compare with the mean of the ends; ends here
    differ in what they know, so the line between them is taken).
    """
    (first_t, first), (last_t, last) = path[0], path[-1]
    return max(
        loss - (first + (last - first) * (t - first_t) / (last_t - first_t)) for t, loss in path
    )


def random_step(
    general: Mapping[str, Tensor], domain: Mapping[str, Tensor], *, seed: int
) -> dict[str, Tensor]:
    """A control: from `general`, per tensor a random direction of the same length as the way to
    `domain`.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    stepped = {}
    for name, start in general.items():
        direction = torch.randn(start.shape, generator=generator)
        length = (domain[name].float() - start.float()).norm()
        stepped[name] = start.float() + direction * (length / direction.norm())
    return stepped


def random_pairing(general: PreTrainedModel, domain: PreTrainedModel, *, seed: int) -> Pairing:
    """`general` paired with a random step of the same length as the one to `domain`."""
    start = own_tensors(general)
    return Pairing(start, random_step(start, own_tensors(domain), seed=seed))
