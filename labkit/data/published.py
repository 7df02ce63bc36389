"""Facts from elsewhere: what the source paper reports, and what labkit's own study measured and
ships.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.stats import RunNoise
from labkit.data.packs import samples_folder

CLAIMS_FILE, NOISE_FILE, DATA_FILE = "claims.json", "run_noise.json", "data.json"
REAL_FILE, LIVE_FILE = "smollm2.json", "smollm2_live.json"
SCALE_FILES = {"sizes": "sizes.json", "families": "families.json", "rare": "rare.json"}
REAL_SYNERGY = "SmolLM2-135M: the SLERP merge beats the better parent on items that need both"
REAL_FORGETS = "SmolLM2-135M: CPT-SFT lowers instruction following"
REAL_FORGETS_GENERAL = "SmolLM2-135M: CPT-SFT lowers general ability (everyday items)"
PAPER, STUDIES = "lu2025.yaml", "studies.yaml"


@cache
def _published(file: str) -> dict:
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


def _measured(file: str, part: str) -> dict:
    """Raises InputError when a part of the evidence was never measured."""
    path = samples_folder("measured") / file
    if not path.is_file():
        raise InputError(
            f"{path.name} does not come with this labkit; measure it with: python -m studies "
            f"evidence --part {part}"
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
    """A claim of either register by its words. Raises InputError for one that neither holds."""
    return _claim(claim, (*measured_data()["claims"], *measured_claims()))


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
