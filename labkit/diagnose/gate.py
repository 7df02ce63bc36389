"""A release gate: what must hold, checked against a baseline, in words and an exit status that
somebody's CI can use.

The same is asked of a model before it is bought (an acceptance sheet for its supplier, the gate on
a file of answers) and after it was released (drift: logged answers against a reference). The module
does not know how an item is scored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from zlib import crc32

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.pages import Section, Sheet, covered
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import (
    SIGN_TEST_NEEDS,
    Interval,
    ItemScore,
    cluster_mean,
    items_needed,
    paired_difference,
    wilson,
)
from labkit.base.store import LINEAGE, Checkpoint, write_file
from labkit.data.packs import Pack, load_pack
from labkit.diagnose.diagnoses import Case, Merge, Result, diagnose, open_case
from labkit.evaluate.answers import (
    Answers,
    one_line,
    questions_of,
    score_pair,
)
from labkit.evaluate.scenarios import FILE, pack_scenarios
from labkit.evaluate.scorecards import Scorecard, compare_axis
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import profile as find_profile

# axis -> the fall that is still let through. Knowledge is what adaptation is for: it must not fall
# at all.
DEFAULT_MUST_HOLD = {"knowledge": 0.0, "instructions": 0.05, "general": 0.05}
# Of a gate that had nothing to check, which has let nothing pass.
UNCHECKED = f"nothing that must hold was asked of both: {', '.join(DEFAULT_MUST_HOLD)}"


def _bounds(change: Interval) -> tuple[float, float]:
    """The ends of a paired difference that a verdict is made of.

    Where nothing changed, resampling finds no width, however few the subjects are. What they do not
    show is then bounded by the share of others that may change: Wilson's interval of 0 of n.
    """
    if change.low == change.high == 0:
        most = wilson(0, change.clusters)[1]
        return -most, most
    return change.low, change.high


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
        if self.change.clusters < SIGN_TEST_NEEDS:  # of so few subjects nothing follows for others
            return "not distinguishable"
        return "holds" if _bounds(self.change)[0] >= -self.allowed else "not distinguishable"

    def row(self) -> tuple[str, str, str, str, str, str]:
        """For tables: axis, baseline, checkpoint, difference, fall let through, verdict."""
        return (
            self.axis,
            str(self.before),
            str(self.after),
            covered(self.change),
            f"{self.allowed:.2f}",
            self.verdict,
        )


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
            unsure = [
                f"{held.axis} ({held.change.clusters} subjects)"
                for held in self.axes
                if held.verdict == "not distinguishable"
            ]
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
    that cannot be used, for a baseline of another pack, for an axis that the pack has no items for,
    and where the pack has items for no axis that must hold.
    """
    find_profile(profile)
    case = case_of(checkpoint, baseline, pack, profile)
    axes = held_axes(case.base_card, case.card, must_hold)
    if not axes:
        raise InputError(f"{case.pack.name}: {UNCHECKED}; add items of one of them (docs/packs.md)")
    return GateReport(case.model.name, case.baseline.name, case.pack.name, axes, diagnose(case))


def held_axes(
    before: Scorecard, after: Scorecard, must_hold: dict[str, float] | None = None
) -> list[Held]:
    """What must hold between two scorecards of the same items.

    must_hold: by default DEFAULT_MUST_HOLD, as far as the axes were measured. Raises InputError for
    an axis that was not, PairingError when the items differ.
    """
    must_hold = must_hold or {
        axis: allowed for axis, allowed in DEFAULT_MUST_HOLD.items() if axis in after.axes()
    }
    for axis in must_hold:
        if axis not in after.axes():
            raise InputError(
                f"must_hold.{axis}: pack {after.pack!r} has no items of this axis that were "
                f"measured; {suggest(axis, after.axes())}"
            )
    return [
        Held(
            axis,
            before.interval(axis),
            after.interval(axis),
            compare_axis(before, after, axis),
            allowed,
        )
        for axis, allowed in must_hold.items()
    ]


def gate_answers(
    pack: Pack,
    after: Answers,
    before: Answers,
    *,
    must_hold: dict[str, float] | None = None,
    split: str = "test",
) -> tuple[GateReport, tuple[str, ...]]:
    """The gate on two files of answers, over what the baseline was asked; and what was not scored,
    a sentence each. Diagnoses need the model itself, so the report has none.

    Raises InputError where none of what must hold was asked of both, and as `score_pair` and
    `held_axes` do.
    """
    axes, told = _held_by_answers(pack, after, before, must_hold, split)
    if not axes:
        raise InputError(
            f"{after.name} and {before.name}: {UNCHECKED}; ask questions of one of these axes, or "
            "name what must hold with --thresholds"
        )
    return GateReport(after.name, before.name, pack.name, axes, []), told


def _held_by_answers(
    pack: Pack, after: Answers, before: Answers, must_hold: dict[str, float] | None, split: str
) -> tuple[list[Held], tuple[str, ...]]:
    """What must hold, as far as it was asked; and what was not scored, a sentence each."""
    baseline, scored = score_pair(pack, before, after, split=split)
    axes = held_axes(baseline.card, scored.card, must_hold)
    return axes, tuple(dict.fromkeys((*baseline.notes, *scored.notes)))


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


# --- drift ------------------------------------------------------------------------------------

# English only: what a model says where it declines.
_DECLINES = re.compile(
    r"\b(?:i (?:do not|don't|cannot|can't|am not able|am unable|have no)"
    r"|(?:not|isn't|is not) (?:known|stated|mentioned|given|available)"
    r"|no (?:information|answer)|unable to|sorry|as an ai|consult an? \w+)\b"
)
_WORDS = re.compile(r"\w+")


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


# What can be said of an answer without its key: name -> measure. All but the length are shares.
LENGTH, NEW_WORDS = "words in an answer", "words not in the reference"
FORMS: dict[str, Callable[[str], bool]] = {
    "no answer at all": lambda text: not text,
    "declines (English)": lambda text: bool(_DECLINES.search(text.lower().replace("\u2019", "'"))),
    "is JSON": _is_json,
    "is a list": lambda text: bool(re.match(r"(?:[-*\u2022]|\d+[.)])\s", text)),
    "has at most two words": lambda text: 1 <= len(text.split()) <= 2,
    "ends without a closing mark": lambda text: bool(text) and text[-1] not in ".!?)]}\"'\u201d",
}
# What may change and still pass: of the length a share of the reference's, of all else a share of
# answers, or of the words in one.
ALLOWED = {LENGTH: 0.2, NEW_WORDS: 0.1, **dict.fromkeys(FORMS, 0.05)}
SAME, OTHER = "the same questions", "other questions"


@dataclass(frozen=True)
class Shift:
    """One measure of answers, before and after. over: which questions; allowed: the change, in
    either direction, that still passes.
    """

    measure: str
    over: str
    before: Interval
    after: Interval
    change: Interval
    allowed: float

    @property
    def verdict(self) -> str:
        """`drifted` when the whole interval lies beyond what is let through, on either side."""
        if self.change.low > self.allowed or self.change.high < -self.allowed:
            return "drifted"
        low, high = _bounds(self.change)
        inside = -self.allowed <= low and high <= self.allowed
        return "holds" if inside else "not distinguishable"


@dataclass(frozen=True)
class DriftReport:
    """Logged answers against a reference. axes: what the pack's keys tell, where one was given;
    unseen: what such a comparison cannot see.
    """

    logged: str
    reference: str
    shifts: list[Shift]
    axes: list[Held]
    notes: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def drifted(self) -> list[str]:
        """What changed for certain, measures and axes; an axis only when it fell."""
        return [
            *(f"{shift.measure} ({shift.over})" for shift in self.shifts
              if shift.verdict == "drifted"),
            *(held.axis for held in self.axes if held.fell),
        ]  # fmt: skip

    def __str__(self) -> str:
        if self.drifted:
            return f"drifted: {'; '.join(self.drifted)}"
        unsure: dict[str, list[str]] = {}
        for shift in self.shifts:
            if shift.verdict != "holds":
                how_many = f"{shift.over}: {shift.before.n} and {shift.after.n}"
                unsure.setdefault(how_many, []).append(shift.measure)
        for held in self.axes:
            if held.verdict != "holds":
                unsure.setdefault(f"{held.change.clusters} subjects", []).append(held.axis)
        of = "; ".join(f"{', '.join(names)} ({many})" for many, names in unsure.items())
        told = f"; too few answers to be sure of {of}" if unsure else ""
        return f"no drift for certain in {self.logged} against {self.reference}{told}"


_UNSEEN = (
    "whether an answer is true, where no key tells",
    "questions that nobody asked in either file",
    "declining in other languages than English",
    "a change of meaning in the same words and forms",
)
_UNSEEN_OTHER = "whether the model changed or its users ask other things, over other questions"


def drift(
    logged: Answers,
    reference: Answers,
    *,
    pack: Pack | None = None,
    must_hold: dict[str, float] | None = None,
    split: str = "test",
) -> DriftReport:
    """Logged answers against reference answers: in pairs over the questions both have, as two
    samples over all others; with a pack's keys axis by axis, too.

    Intervals are at 95% each and are not corrected for their number. Raises InputError when a file
    has no rows, and as `score_pair` and `held_axes` do.
    """
    before, after = (_by_question(answers, pack, split) for answers in (reference, logged))
    known = _word_halves(before)
    shifts = []
    for over, keys in (
        (SAME, (before.keys() & after.keys(),) * 2),
        (OTHER, (before.keys() - after.keys(), after.keys() - before.keys())),
    ):
        if all(keys):
            sides = [
                {key: side[key] for key in wanted}
                for side, wanted in zip((before, after), keys, strict=True)
            ]
            shifts += _shifts(over, sides[0], sides[1], known)
    axes: list[Held] = []
    notes = (*reference.notes, *logged.notes)
    alone = [len(before.keys() - after.keys()), len(after.keys() - before.keys())]
    if any(alone) and not all(alone):
        side = reference.name if alone[0] else logged.name
        notes = (*notes, f"questions of {side} alone: {max(alone)}; compared with nothing")
    if pack:
        axes, told = _held_by_answers(pack, logged, reference, must_hold, split)
        notes = (*notes, *told, *(() if axes else (UNCHECKED,)))
    others = (_UNSEEN_OTHER,) if any(shift.over == OTHER for shift in shifts) else ()
    seen_truth = _UNSEEN[1:] if axes else _UNSEEN
    return DriftReport(
        logged.name, reference.name, shifts, axes, tuple(dict.fromkeys(notes)),
        (*seen_truth, *others),
    )  # fmt: skip


def _by_question(answers: Answers, pack: Pack | None, split: str) -> dict[str, list[str]]:
    """The answers to each question. One is found again by its id or, where it has none, by its
    words.
    """
    asked = questions_of(pack, split=split).questions if pack else ()
    ids = answers.ids((question.id, question.question) for question in asked)
    found: dict[str, list[str]] = {}
    for id, row in zip(ids, answers.rows, strict=True):
        found.setdefault(id or one_line(row.question), []).append(row.answer)
    if not found:
        raise InputError(f"{answers.name}: no answers in it; give a file with a row per answer")
    return found


def _half(question: str) -> int:
    return crc32(question.encode()) % 2


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text.casefold()))


def _word_halves(reference: dict[str, list[str]]) -> tuple[set[str], set[str]]:
    """The words of the answers to either half of the questions, drawn by their text."""
    halves: tuple[set[str], set[str]] = set(), set()
    for question, texts in reference.items():
        halves[_half(question)].update(*map(_words, texts))
    return halves


def _shifts(
    over: str,
    before: dict[str, list[str]],
    after: dict[str, list[str]],
    known: tuple[set[str], set[str]],
) -> list[Shift]:
    """Every measure over some questions. known: the words of the reference, by half: a question's
    answers are compared with the other half, or the reference would know all of its own words.
    """

    def new_words(question: str, text: str) -> float:
        words = _words(text)
        return len(words - known[1 - _half(question)]) / len(words) if words else 0.0

    usual = [len(text.split()) for texts in before.values() for text in texts]
    scale = sum(usual) / len(usual) or 1.0
    measures: dict[str, Callable[[str, str], float]] = {
        LENGTH: lambda question, text: len(text.split()) / scale,
        NEW_WORDS: new_words,
    }
    measures |= {name: partial(_has_form, form) for name, form in FORMS.items()}
    found = []
    for name, measure in measures.items():
        left, right = (
            [
                ItemScore(question, question, sum(measure(question, t) for t in texts) / len(texts))
                for question, texts in side.items()
            ]
            for side in (before, after)
        )
        means = cluster_mean(left), cluster_mean(right)
        change = paired_difference(left, right) if over == SAME else _apart(*means)
        found.append(Shift(name, over, *means, change, ALLOWED[name]))
    return found


def _has_form(form: Callable[[str], bool], question: str, text: str) -> float:
    return float(form(text))


def _apart(before: Interval, after: Interval) -> Interval:
    """The difference of two independent means, from their intervals (MOVER: Zou & Donner 2008, doi
    10.1002/sim.3095). A side that is the same throughout has no width; it is bounded as above.
    """
    before, after = (
        replace(side, low=side.mean - most, high=side.mean + most)
        if side.low == side.high
        else side
        for side, most in ((one, wilson(0, one.clusters)[1]) for one in (before, after))
    )
    mean = after.mean - before.mean
    low = math.hypot(after.mean - after.low, before.high - before.mean)
    high = math.hypot(after.high - after.mean, before.mean - before.low)
    return replace(after, mean=mean, low=mean - low, high=mean + high, n=after.n + before.n)


# --- an acceptance sheet ------------------------------------------------------------------------

# Of the answers, how many change between two models: what the number of items hangs on.
CHANGED = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Demand:
    """What a supplier must show on one axis. items: of the pack that can be asked; entities: they
    are about; may_fall: what is let through; gain: what must be seen where nothing may fall.

    needed: share of answers that change -> items that show it four times in five.
    """

    axis: str
    items: int
    entities: int
    may_fall: float
    gain: float | None
    needed: dict[float, int]


@dataclass(frozen=True)
class Acceptance:
    """A sheet for a supplier: the demands, and of each scenario how many cases must pass (None
    where even all are too few to meet its bar).
    """

    pack: Pack
    split: str
    demands: tuple[Demand, ...]
    scenarios: dict[str, tuple[str, int, float, int | None]]


def acceptance(
    pack: Pack,
    *,
    must_hold: dict[str, float] | None = None,
    gain: float = 0.1,
    split: str = "test",
) -> Acceptance:
    """What a supplier's model must show on a pack, against the model one has now.

    gain: the true gain that an axis must have of which nothing may be lost. Raises InputError for
    an axis that cannot be asked in words, and for a gain that is none.
    """
    if not 0 < gain <= 1:
        raise InputError(f"gain is {gain!r}; give the gain that is promised, above 0 and at most 1")
    asked = questions_of(pack, split=split).questions
    ids = {question.id for question in asked}
    items = [item for item in pack.rows(split) if item["id"] in ids]
    there = [axis for axis in AXES + CONTROLS if any(item["axis"] == axis for item in items)]
    wanted = must_hold or {a: fall for a, fall in DEFAULT_MUST_HOLD.items() if a in there}
    demands = []
    for axis, fall in wanted.items():
        if axis not in there:
            raise InputError(
                f"must_hold.{axis}: pack {pack.name!r} has no items of this axis that can be asked "
                f"in words; {suggest(axis, there)}"
            )
        own = [item for item in items if item["axis"] == axis]
        effect = fall or gain
        demands.append(
            Demand(
                axis,
                len(own),
                len({item["entity"] for item in own}),
                fall,
                None if fall else gain,
                {share: items_needed(effect, math.sqrt(share)) for share in CHANGED},
            )
        )
    scenarios = {}
    for scenario in pack_scenarios(pack) if (pack.folder / FILE).is_file() else ():
        n = len(scenario.cases)
        enough = (k for k in range(n + 1) if wilson(k, n)[0] >= scenario.at_least)
        scenarios[scenario.name] = (scenario.about, n, scenario.at_least, next(enough, None))
    return Acceptance(pack, split, tuple(demands), scenarios)


def acceptance_sheet(found: Acceptance) -> Sheet:
    """The sheet as one page."""
    pack = found.pack
    demands = tuple(
        (
            demand.axis,
            "higher for certain: the whole interval above 0"
            if demand.gain
            else f"no fall beyond {demand.may_fall:.2f}: the whole interval above "
            f"-{demand.may_fall:.2f}",
            f"{demand.items} about {demand.entities} subjects",
            "; ".join(f"{n:,} if {share:.0%} change" for share, n in demand.needed.items()),
        )
        for demand in found.demands
    )
    cases = tuple(
        (name, about, f"{n} cases, at least {bar:.0%}", f"{must} of {n}" if must is not None
         else "cannot be met: too few cases")
        for name, (about, n, bar, must) in found.scenarios.items()
    )  # fmt: skip
    rules = (
        ("Test items", "The buyer keeps questions and keys. The supplier gets questions only, "
         "on the day, and returns the answers the same day; the items are used once."),
        ("Baseline", "The model in use today answers the same questions in the same week, "
         "with the same settings. What it answered and the new model did not counts as wrong."),
        ("Choice", "The supplier names one model before the questions are sent, and how many "
         "were tried. Nothing is chosen on these items."),
        ("Evidence", "Every answer, as a file; settings (temperature, prompt, tools); training "
         "data checked for these items; a claim form for `labkit audit`."),
        ("Verdict", "Computed by the buyer, by command. Not distinguishable is not shown: "
         "more items are needed, not more argument."),
    )  # fmt: skip
    return Sheet(
        f"Acceptance sheet: {pack.title}",
        f"{len(found.demands)} axes and {len(found.scenarios)} scenarios of pack {pack.name}, "
        f"split {found.split}; fingerprint of the items {pack.fingerprint(found.split)[:16]}",
        "Accepted when every axis and every scenario below is shown on these items, by intervals "
        "at 95%, paired with the baseline item by item.",
        (
            Section(
                "What must be shown",
                "Needed: items, one to a subject, on which a model that is as good (or as much "
                "better) as demanded passes four times in five, by how many answers change.",
                ("axis", "demand", "items here", "items needed"),
                demands,
            ),
            Section("What must not happen", "", ("scenario", "demand", "bar", "must pass"), cases),
            Section("Rules", "", ("what", "agreed"), rules),
        ),
    )


def save_acceptance(found: Acceptance, path: Path) -> None:
    """Write the sheet as YAML, with places for the two signatures.

    Raises StoreError when it cannot be written.
    """
    values = {
        "pack": found.pack.name,
        "split": found.split,
        "items_fingerprint": found.pack.fingerprint(found.split),
        "interval": "95%, paired with the baseline item by item, subjects resampled",
        "items_kept_by": "buyer",
        "must_show": [
            {**asdict(demand), "needed": {f"{s:.0%} change": n for s, n in demand.needed.items()}}
            for demand in found.demands
        ],
        "scenarios": [
            {"name": name, "about": about, "cases": n, "at_least": bar, "must_pass": must}
            for name, (about, n, bar, must) in found.scenarios.items()
        ],
        "supplier": {"model": None, "models_tried": None, "settings": None, "signed": None},
        "buyer": {"baseline": None, "signed": None},
    }
    write_file(path, yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True))
