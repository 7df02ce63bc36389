"""Small runs of what takes hours: the same stages over a few rows a step."""

from __future__ import annotations

from collections.abc import Iterable

from labkit.train.specs import Stage

ROWS = 4


def few_rows(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages with so few rows a step that a step takes no time.

    Where a stage replays it replays half: less than that would be no row.
    """
    return tuple(
        stage.model_copy(update={"batch_size": ROWS, "replay": 0.5 if stage.replay else 0.0})
        for stage in stages
    )
