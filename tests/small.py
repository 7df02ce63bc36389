"""Small runs of what takes hours: the same stages over a few rows a step."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.train.specs import Stage


def few_rows(stages: Iterable[Stage], rows: int = 12) -> tuple[Stage, ...]:
    """The stages with so many rows a step, so that a step takes little time.

    With fewer there is none to replay where a stage replays 5%.
    """
    return tuple(stage.model_copy(update={"batch_size": rows}) for stage in stages)
