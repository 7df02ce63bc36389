"""Facts from elsewhere: what the source paper reports, and what labkit's own study measured and
ships.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import Strict, explain
from labkit.base.stats import NOT_DISTINGUISHABLE, Interval, RunNoise, holm, p_value
from labkit.base.stats import verdict as verdict_on
from labkit.data.packs import samples_folder

CLAIMS_FILE, NOISE_FILE, DATA_FILE = "claims.json", "run_noise.json", "data.json"
REAL_FILE, LIVE_FILE = "smollm2.json", "smollm2_live.json"
SCALE_FILES = {"sizes": "sizes.json", "families": "families.json", "rare": "rare.json"}
REAL_SYNERGY = "SmolLM2-135M: the SLERP merge beats the better parent on items that need both"
REAL_FORGETS = "SmolLM2-135M: CPT-SFT lowers instruction following"
REAL_FORGETS_GENERAL = "SmolLM2-135M: CPT-SFT lowers general ability (everyday items)"
PAPER, STUDIES, REASONS = "lu2025.yaml", "studies.yaml", "six_reasons.yaml"


@cache
def _published(file: str):
    return yaml.safe_load((samples_folder("published") / file).read_text("utf-8"))


def reported(claim: str) -> str:
    """What the source paper reports about a claim, with where.

    Raises InputError for an unknown claim.
    """
    published = _published(PAPER)
    if claim not in published["claims"]:
        raise InputError(
            f"{PAPER}: no claim {claim!r}; {suggest(claim, list(published['claims']))}"
        )
    entry = published["claims"][claim]
    return f"{entry['reported']} ({published['short']}, {entry['where']})"


def reported_by_family() -> tuple[list[str], list[tuple[str, ...]]]:
    """What the source paper reports: its models, and one row per approach.

    A row has the approach, what is reported of each model in their order, and where.
    """
    found = _published(PAPER)["families"]
    return found["models"], [
        (row["approach"], *row["reported"], row["where"]) for row in found["approaches"]
    ]


def study(key: str) -> dict:
    """A cited study: `cite`, the `size` of its models, what it `found`.

    Raises InputError for an unknown key.
    """
    studies = _published(STUDIES)
    if key not in studies:
        raise InputError(f"{STUDIES}: no study {key!r}; {suggest(key, list(studies))}")
    return studies[key]


def compared() -> dict:
    """Two scores the source paper compares on its benchmark: `scores`, `items`, and `where`."""
    return _published(PAPER)["compared"]


def measured_claims() -> list[dict]:
    """The claims register as the study last wrote it; docs/evidence.md shows the same."""
    return json.loads((samples_folder("measured") / CLAIMS_FILE).read_text("utf-8"))


@cache
def measured_data() -> dict:
    """The experiments on data as the study last wrote them: `claims`, and `scores` per experiment
    and arm.
    """
    return json.loads((samples_folder("measured") / DATA_FILE).read_text("utf-8"))


@cache
def measured_scale(part: str) -> dict:
    """A part of the study of scale as it was last written: `claims`, and what its figure shows."""
    return _measured(SCALE_FILES[part], part)


@cache
def measured_real() -> dict:
    """What `python -m studies evidence --part real` last measured of SmolLM2-135M."""
    return _measured(REAL_FILE, "real")


@cache
def measured_live() -> dict:
    """What was last measured of SmolLM2-135M, trained in a quarter of an hour."""
    return _measured(LIVE_FILE, "live")


@cache
def measured_case(name: str) -> dict:
    """What `python -m studies cases` last measured of a worked case, pharma or legal."""
    return _measured(f"case_{name}.json", name, study="cases")


def _measured(file: str, part: str, *, study: str = "evidence") -> dict:
    """Raises InputError when a part of a study was never measured."""
    path = samples_folder("measured") / file
    if not path.is_file():
        raise InputError(
            f"{path.name} does not come with this labkit; measure it with: python -m studies "
            f"{study} --part {part}"
        )
    return json.loads(path.read_text("utf-8"))


def measured_of_real(claim: str) -> dict:
    """A claim about SmolLM2-135M by its words. Raises InputError for one that was not measured."""
    return _claim(claim, measured_real()["claims"])


def merge_by_size() -> list[dict]:
    """What the source paper says merging did per size: `model`, `gain` (its sign), `words`,
    `where`.
    """
    return _published(PAPER)["merge_by_size"]


def measured(claim: str) -> dict:
    """A claim of any register by its words; where two hold it, as docs/evidence.md has it.

    Raises InputError for one that none holds.
    """
    parts = (measured_real(), *map(measured_scale, SCALE_FILES), measured_data())
    return _claim(claim, (*(row for part in parts for row in part["claims"]), *measured_claims()))


def _claim(words: str, rows: Iterable[dict]) -> dict:
    known = {row["claim"]: row for row in rows}
    if words not in known:
        raise InputError(f"no claim {words!r} was measured; {suggest(words, list(known))}")
    return known[words]


@cache
def _noise() -> dict[str, RunNoise]:
    raw = json.loads((samples_folder("measured") / NOISE_FILE).read_text("utf-8"))
    return {key: RunNoise(**value) for key, value in raw.items()}


def run_noise_of(axis: str, kind: str | None = None) -> RunNoise:
    """How much a score differs between training seeds of one recipe, as the study measured it on
    tiny models.

    A kind that the study does not know counts as its whole axis. Raises InputError for an unknown
    axis.
    """
    known = _noise()
    if axis not in known:
        raise InputError(
            f"no noise between runs was measured for axis {axis!r}: {suggest(axis, sorted(known))}"
        )
    return known.get(f"{axis}/{kind}", known[axis])


# --- the six reasons of the lesson -------------------------------------------------------------

SUPPORTED, CONTRADICTED, MIXED, NOT_MEASURED = (
    "supported",
    "contradicted",
    "mixed",
    "not measured",
)
OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
SHORT, CHAINS = "CPT + SLERP", ("CPT-SFT", "CPT-SFT-DPO", "CPT-SFT-ORPO")


def chain_claims() -> list[dict]:
    """Whether CPT and a merge do better than longer chains without one, per family, as rows of a
    register.

    The study of families keeps one interval per recipe. The difference of two of them gets half
    widths that are added up. Deviations of a difference are never larger than the sum of both
    deviations, so this is at least as wide as a paired interval. Verdicts are corrected over all
    rows (Holm).
    """
    scores = measured_scale("families")["scores"]
    found: dict[str, Interval] = {}
    for family, recipes in scores.items():
        merged = Interval(**recipes[SHORT])
        for chain in CHAINS:
            longer = Interval(**recipes[chain])
            found[f"{family}: {SHORT} does better than {chain}, mean of four axes"] = Interval(
                merged.mean - longer.mean,
                merged.low - longer.high,
                merged.high - longer.low,
                n=merged.n,
                clusters=merged.clusters,
                seeds=merged.seeds,
            )
    corrected = holm([p_value(effect) for effect in found.values()])
    return [
        {
            "claim": claim,
            "effect": effect.as_dict(),
            "verdict": verdict_on(effect) if p <= 0.05 else NOT_DISTINGUISHABLE,
            "compared": len(found),
        }
        for (claim, effect), p in zip(found.items(), corrected, strict=True)
    ]


@dataclass(frozen=True)
class Register:
    """Measured claims of one study, and the page that says how they were measured."""

    rows: Callable[[], list[dict]]
    page: str


REGISTERS = {
    "recipes": Register(measured_claims, "evidence.md"),
    "data": Register(lambda: measured_data()["claims"], "data.md"),
    "sizes": Register(lambda: measured_scale("sizes")["claims"], "scale.md"),
    "families": Register(lambda: measured_scale("families")["claims"], "scale.md"),
    "chains": Register(chain_claims, "scale.md"),
    "real": Register(lambda: measured_real()["claims"], "real.md"),
    "pharma": Register(lambda: measured_case("pharma")["claims"], "case-pharma.md"),
    "legal": Register(lambda: measured_case("legal")["claims"], "case-legal.md"),
}


def measured_in(study: str, claim: str) -> dict:
    """A claim of one study by its words.

    Raises InputError for an unknown study, and for a claim it did not measure.
    """
    if study not in REGISTERS:
        raise InputError(f"no study {study!r} was made; {suggest(study, list(REGISTERS))}")
    return _claim(claim, REGISTERS[study].rows())


class Bearing(Strict):
    """A measured claim that bears on a sentence. speaks: what it means for it where it holds;
    `either` counts a difference of either sign.
    """

    study: str
    claim: str
    speaks: Literal["for", "against", "either"] = "for"

    @property
    def row(self) -> dict:
        """The claim as its study measured it."""
        return measured_in(self.study, self.claim)

    @property
    def vote(self) -> str:
        """What the claim's verdict means for the sentence: supported, contradicted, or not
        distinguishable.
        """
        found = self.row["verdict"]
        if found == NOT_DISTINGUISHABLE or self.speaks == "for":
            return found
        return SUPPORTED if self.speaks == "either" else OPPOSITE[found]


class ReasonPart(Strict):
    """One sentence that can be tested, and the claims that test it.

    decides: whether it is part of what the lesson says; other parts only bear on it. missing: why
    nothing was measured.
    """

    says: str
    decides: bool = True
    claims: tuple[Bearing, ...] = ()
    missing: str = ""

    @property
    def votes(self) -> list[str]:
        return [claim.vote for claim in self.claims]

    @property
    def verdict(self) -> str:
        return joint_verdict(self.votes)


class Reason(Strict):
    """A reason of the lesson: what is said, reported and measured, and what follows.

    reported: keys of the source paper's claims. in_short, why, design: words that rest on the
    verdicts.
    """

    id: str
    number: str
    title: str
    said: str
    reported: tuple[str, ...]
    parts: tuple[ReasonPart, ...]
    in_short: str
    why: str
    design: str

    @property
    def votes(self) -> list[str]:
        """Of the claims that decide."""
        return [vote for part in self.parts if part.decides for vote in part.votes]

    @property
    def verdict(self) -> str:
        return joint_verdict(self.votes)


def joint_verdict(votes: Sequence[str]) -> str:
    """One verdict on a sentence from those on its claims: a count for orientation, not a test.

    Not measured without a claim. Mixed where at least one claim supports it and at least one
    contradicts it. Else not distinguishable where most claims cannot be told from noise. Else what
    the other claims say.
    """
    counts = Counter(votes)
    if not votes:
        return NOT_MEASURED
    if counts[SUPPORTED] and counts[CONTRADICTED]:
        return MIXED
    if counts[SUPPORTED] + counts[CONTRADICTED] < counts[NOT_DISTINGUISHABLE]:
        return NOT_DISTINGUISHABLE
    return SUPPORTED if counts[SUPPORTED] else CONTRADICTED


def counted_votes(votes: Sequence[str]) -> str:
    """How many claims say what, in words."""
    told = {
        SUPPORTED: ("supports it", "support it"),
        CONTRADICTED: ("contradicts it", "contradict it"),
        NOT_DISTINGUISHABLE: ("cannot be told from noise", "cannot be told from noise"),
    }
    counts = Counter(votes)
    said = [
        f"{counts[vote]} {words[counts[vote] != 1]}" for vote, words in told.items() if counts[vote]
    ]
    return ", ".join(said) or "no claim tests it"


def reasons() -> tuple[Reason, ...]:
    """The six reasons of the lesson in their order. Raises InputError naming the first wrong
    field.
    """
    try:
        return TypeAdapter(tuple[Reason, ...]).validate_python(_published(REASONS))
    except ValidationError as error:
        raise InputError(f"{REASONS}: {explain(error, Reason)}") from error
