"""Facts from elsewhere: what the source paper reports, and what labkit's own study measured and ships."""

from __future__ import annotations

import json
from functools import cache

import yaml

from labkit.errors import InputError, suggest
from labkit.packs import samples_folder
from labkit.stats import RunNoise

CLAIMS_FILE, NOISE_FILE = "claims.json", "run_noise.json"


def reported(claim: str) -> str:
    """What the source paper reports about a claim, with where. Raises InputError for an unknown claim."""
    path = samples_folder("published") / "lu2025.yaml"
    published = yaml.safe_load(path.read_text("utf-8"))
    if claim not in published["claims"]:
        raise InputError(f"{path}: no claim {claim!r}; {suggest(claim, list(published['claims']))}")
    entry = published["claims"][claim]
    return f"{entry['reported']} ({published['short']}, {entry['where']})"


def compared() -> dict:
    """Two scores the source paper compares on its benchmark: `scores`, `items`, and `where`."""
    return yaml.safe_load((samples_folder("published") / "lu2025.yaml").read_text("utf-8"))["compared"]


def measured_claims() -> list[dict]:
    """The claims register as `labkit evidence` last wrote it; docs/evidence.md shows the same."""
    return json.loads((samples_folder("measured") / CLAIMS_FILE).read_text("utf-8"))


@cache
def _noise() -> dict[str, RunNoise]:
    raw = json.loads((samples_folder("measured") / NOISE_FILE).read_text("utf-8"))
    return {key: RunNoise(**value) for key, value in raw.items()}


def run_noise_of(axis: str, kind: str | None = None) -> RunNoise:
    """How much a score differs between training seeds of one recipe, as the study measured it on tiny models.

    A kind that the study does not know counts as its whole axis. Raises InputError for an unknown axis.
    """
    known = _noise()
    if axis not in known:
        raise InputError(f"no noise between runs was measured for axis {axis!r}: {suggest(axis, sorted(known))}")
    return known.get(f"{axis}/{kind}", known[axis])
