"""A release gate: what must hold, checked against a baseline, in words and an exit status that
somebody's CI can use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import Interval
from labkit.base.store import LINEAGE, Checkpoint
from labkit.data.packs import load_pack
from labkit.diagnose.diagnoses import Case, Merge, Result, diagnose, open_case
from labkit.evaluate.scorecards import compare_axis
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import profile as find_profile

# axis -> the fall that is still let through. Knowledge is what adaptation is for: it must not fall
# at all.
DEFAULT_MUST_HOLD = {"knowledge": 0.0, "instructions": 0.05, "general": 0.05}


@dataclass(frozen=True)
class Held:
    """One must-hold axis: the paired difference to the baseline, and the fall that may pass."""

    axis: str
    before: Interval
    after: Interval
    change: Interval
    allowed: float

    @property
    def fell(self) -> bool:
        """Whether the whole interval of the difference lies beyond what is let through."""
        return self.change.high < -self.allowed

    @property
    def verdict(self) -> str:
        if self.fell:
            return "fell"
        return "holds" if self.change.low >= -self.allowed else "not distinguishable"


@dataclass(frozen=True)
class GateReport:
    checkpoint: str
    baseline: str
    pack: str
    axes: list[Held]
    results: list[Result]

    @property
    def fallen(self) -> list[str]:
        return [held.axis for held in self.axes if held.fell]

    @property
    def passed(self) -> bool:
        return not self.fallen

    def __str__(self) -> str:
        if self.passed:
            unsure = [held.axis for held in self.axes if held.verdict == "not distinguishable"]
            told = f"; too few items to be sure of {', '.join(unsure)}" if unsure else ""
            return (
                f"passed: no must-hold axis of {self.checkpoint} fell for certain against "
                f"{self.baseline}{told}"
            )
        told = "; ".join(
            f"{held.axis} fell by {-held.change.mean:.2f} [{-held.change.high:.2f}, "
            f"{-held.change.low:.2f}] (interval: {held.change.covers}), "
            f"{held.allowed:.2f} is let through"
            for held in self.axes
            if held.fell
        )
        return f"held back: {told}"


def read_must_hold(path: Path) -> dict[str, float]:
    """Thresholds from YAML: `must_hold`, a mapping from axis to the fall that is let through.

    Raises InputError naming the file, the axis and the remedy.
    """
    raw = read_yaml(path, missing="write `must_hold:` with an axis and the allowed fall per line")
    wanted = raw.get("must_hold") if isinstance(raw, dict) else None
    if not isinstance(wanted, dict) or not wanted or set(raw) != {"must_hold"}:
        raise InputError(
            f"{path}: expected one key, `must_hold`, with an axis and the allowed fall "
            "per line, as in `instructions: 0.05`"
        )
    for axis, allowed in wanted.items():
        if axis not in AXES + CONTROLS:
            raise InputError(
                f"{path}: must_hold.{axis}: no axis has this name; "
                f"{suggest(str(axis), list(AXES + CONTROLS))}"
            )
        if (
            isinstance(allowed, bool)
            or not isinstance(allowed, (int, float))
            or not 0 <= allowed <= 1
        ):
            raise InputError(
                f"{path}: must_hold.{axis} is {allowed!r}; give the fall that is let "
                "through, from 0 to 1"
            )
    return wanted


def run_gate(
    checkpoint: str,
    baseline: str,
    *,
    must_hold: dict[str, float] | None = None,
    pack: str | None = None,
    profile: str = "lab",
) -> GateReport:
    """Diagnose a checkpoint against a baseline on the test split and check what must hold.

    pack: by default the one the checkpoint was trained on. Raises InputError for a model or pack
    that cannot be used, for a baseline of another pack, and for an axis that the pack has no items
    for.
    """
    find_profile(profile)
    case = case_of(checkpoint, baseline, pack, profile)
    must_hold = must_hold or {
        axis: allowed for axis, allowed in DEFAULT_MUST_HOLD.items() if axis in case.card.axes()
    }
    for axis in must_hold:
        if axis not in case.card.axes():
            raise InputError(
                f"must_hold.{axis}: pack {case.pack.name!r} has no items of this axis; "
                f"{suggest(axis, case.card.axes())}"
            )
    axes = [
        Held(
            axis,
            case.base_card.interval(axis),
            case.card.interval(axis),
            compare_axis(case.base_card, case.card, axis),
            allowed,
        )
        for axis, allowed in must_hold.items()
    ]
    return GateReport(case.model.name, case.baseline.name, case.pack.name, axes, diagnose(case))


def case_of(checkpoint: str, baseline: str, pack: str | None, profile: str) -> Case:
    """A case from two model names, with whatever their lineage tells.

    Raises InputError as `run_gate` does.
    """
    ours, theirs = lineage_of(checkpoint), lineage_of(baseline)
    mine, other = pack_name(ours), pack_name(theirs)
    if mine and other and mine != other:
        raise InputError(
            f"{baseline}: this baseline was trained on pack {other!r}, the checkpoint "
            f"on {mine!r}; give a baseline of the same pack, or the start model"
        )
    named = pack or (ours or {}).get("spec", {}).get("pack") or mine
    if not named:
        raise InputError(f"{checkpoint}: nothing says which pack this was trained on; give --pack")
    chosen = load_pack(named)
    if ours and "stage" in ours:
        return open_case(Checkpoint(Path(checkpoint), ours), baseline, chosen, profile=profile)
    case = Case(load_checkpoint(checkpoint), load_checkpoint(baseline), chosen, profile=profile)
    if ours and isinstance(ours.get("merge", {}).get("t"), (int, float)):
        case.merge = Merge(
            load_checkpoint(ours["general"]), load_checkpoint(ours["domain"]), ours["merge"]["t"]
        )
    return case


def lineage_of(name: str) -> dict | None:
    """The lineage in a checkpoint's folder; None for models that have none.

    Raises InputError when it is broken.
    """
    path = Path(name) / LINEAGE
    if not path.is_file():
        return None
    try:
        lineage = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path}: broken JSON; delete the folder and train it again") from None
    for key in ("name", *(("stage", "parent", "spec", "loss_curve") if "stage" in lineage else ())):
        if key not in lineage:
            raise InputError(f"{path}: {key!r} is missing; train this checkpoint again with labkit")
    return lineage


def pack_name(lineage: dict | None) -> str | None:
    """The pack in a lineage's name, as in materials/llama-s-instruct/cpt-sft."""
    return lineage["name"].split("/")[0] if lineage and "/" in lineage["name"] else None
