"""Early warning: a small probe looks at a few axes while a stage trains, and says when one fell
though the loss looked fine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from labkit.base.stats import ItemScore, paired_difference
from labkit.data.packs import Pack
from labkit.evaluate.scorecards import score_items

LOOKS = 8  # planned per stage, the one before the first step not counted
TIME_SHARE = 0.05  # of the stage's time; looks that would cost more are left out
MAX_NEW_TOKENS = 12
# axis -> kinds of the dev items that are looked at, of which the first that is there counts, and
# how many; of creativity nothing can be said from so few words
PROBED = {
    "instructions": (("general",), 12),
    "general": (("free",), 12),
    "knowledge": (("cloze", "recall_cloze"), 10),
    "reasoning": (("two_hop", "comparison", "label", "conclusion", "denser_or_less"), 10),
}
USUAL = ("instructions", "general", "knowledge")


@dataclass(frozen=True)
class Look:
    """What was seen at one step. scores: axis -> (item id, entity, score) per item."""

    step: int
    seconds: float
    scores: dict[str, list[tuple[str, str, float]]]


@dataclass(frozen=True)
class Alarm:
    """An axis fell by more than its threshold: the whole interval of `change` lies beyond it.

    Looks are many and not corrected for: an alarm is a reason to look closer, not a finding. Losses
    are the trainer's.
    """

    axis: str
    step: int
    change: float
    loss_then: float
    loss_before: float

    def __str__(self) -> str:
        fine = (
            "while the loss looked fine"
            if self.loss_then <= self.loss_before
            else "and the loss had risen too"
        )
        return (
            f"{self.axis} fell by {-self.change:.2f} by step {self.step}, {fine}: "
            f"{self.loss_before:.2f} at first, {self.loss_then:.2f} then"
        )


@dataclass
class EarlyWarning:
    """A probe for one stage: call it with (model, step, steps). told: called after each look."""

    tokenizer: object
    items: list[dict]
    told: Callable[[EarlyWarning], None] | None = None
    looks: list[Look] = field(default_factory=list)
    began: float = 0.0

    def __call__(self, model, step: int, steps: int) -> None:
        if step == 0:
            self.began = time.perf_counter()
        if self._due(step, steps):
            self._look(model, step)

    def _due(self, step: int, steps: int) -> bool:
        """Whether a look is planned at this step and fits into the stage's time."""
        if step == 0:
            return True
        planned = {round(steps * (i + 1) / LOOKS) for i in range(LOOKS)}
        spent = sum(look.seconds for look in self.looks)
        training = time.perf_counter() - self.began - spent
        return (
            step in planned
            and spent + self.looks[-1].seconds <= TIME_SHARE * training / step * steps
        )

    def _look(self, model, step: int) -> None:
        began = time.perf_counter()
        results = score_items(model, self.tokenizer, self.items, max_new_tokens=MAX_NEW_TOKENS)
        scores: dict[str, list[tuple[str, str, float]]] = {}
        for result in results:
            scores.setdefault(result.axis, []).append((result.id, result.entity, result.score))
        self.looks.append(Look(step, time.perf_counter() - began, scores))
        if self.told:
            self.told(self)

    def as_rows(self) -> list[dict]:
        return [asdict(look) for look in self.looks]

    def restore(self, rows: list[dict], seconds: float) -> None:
        """Go on with a stage that was stopped. rows: as `as_rows` gave them; seconds: the stage had
        taken by then.
        """
        self.looks = [Look(**row) for row in rows]
        self.began = time.perf_counter() - seconds


def probe_items(pack: Pack, axes: Sequence[str] = USUAL) -> list[dict]:
    """The dev items a probe looks at, spread over entities."""
    chosen = []
    for axis in (one for one in PROBED if one in axes):
        kinds, count = PROBED[axis]
        of_axis = [row for row in pack.rows("dev") if row["axis"] == axis]
        by_kind = ([row for row in of_axis if row.get("kind") == kind] for kind in kinds)
        rows = next(filter(None, by_kind), [])
        chosen += rows[:: max(1, len(rows) // count)][:count]
    return chosen


@dataclass(frozen=True)
class Watcher:
    """What `run_spec` takes to put a fresh probe on every stage: called with a stage's kind and the
    model's tokenizer.
    """

    items: list[dict]
    axes: tuple[str, ...]
    told: Callable[[EarlyWarning], None] | None = None

    def __call__(self, kind: str, tokenizer: object) -> EarlyWarning:
        return EarlyWarning(tokenizer, self.items, self.told)

    @property
    def key(self) -> bool | list[str]:
        """What tells apart checkpoints that were looked at in other ways; the usual way is true."""
        return self.axes == USUAL or list(self.axes)


def watcher(
    pack: Pack,
    told: Callable[[EarlyWarning], None] | None = None,
    axes: Sequence[str] = USUAL,
) -> Watcher:
    """A probe for every stage. axes: what it looks at, of those in PROBED; others are left out."""
    looked = tuple(axis for axis in PROBED if axis in axes)
    return Watcher(probe_items(pack, looked), looked, told)


def curves(looks: Sequence[Look]) -> dict[str, list[tuple[int, float]]]:
    """axis -> [(step, mean score)]."""
    if not looks:
        return {}
    return {
        axis: [
            (look.step, sum(score for *_, score in look.scores[axis]) / len(look.scores[axis]))
            for look in looks
        ]
        for axis in looks[0].scores
    }


def alarms(
    looks: Sequence[Look], loss_curve: Sequence[tuple[int, float]], *, threshold: float = 0.10
) -> list[Alarm]:
    """The first step at which each axis had certainly fallen by more than `threshold` since the
    first look.
    """
    found = []
    for axis in looks[0].scores if looks else ():
        start = _as_scores(looks[0], axis)
        for look in looks[1:]:
            fall = paired_difference(start, _as_scores(look, axis))
            if fall.high < -threshold:
                found.append(
                    Alarm(
                        axis,
                        look.step,
                        fall.mean,
                        _loss_at(loss_curve, look.step),
                        _loss_at(loss_curve, 0),
                    )
                )
                break
    return found


def _as_scores(look: Look, axis: str) -> list[ItemScore]:
    return [ItemScore(id, entity, score) for id, entity, score in look.scores[axis]]


def _loss_at(curve: Sequence[tuple[int, float]], step: int) -> float:
    """The logged loss nearest to a step."""
    return min(curve, key=lambda point: abs(point[0] - step))[1]


def read_looks(lineage: dict) -> list[Look]:
    """The looks kept in a checkpoint's lineage; none when it was trained without a probe."""
    return [Look(**row) for row in lineage.get("probe", [])]
