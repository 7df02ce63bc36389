from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.base.records import AXES, CONTROLS
from labkit.data import published


def test_what_is_reported_has_its_place():
    assert "Table 4" in published.reported("sft_order")
    with pytest.raises(InputError, match="did you mean 'merge'"):
        published.reported("mergee")


def test_noise_is_known_for_every_axis():
    assert all(
        published.run_noise_of(axis).degrees >= 2 and published.run_noise_of(axis).deviation >= 0
        for axis in AXES + CONTROLS
    )
    assert published.run_noise_of("knowledge", "a kind of my own") == published.run_noise_of(
        "knowledge"
    )
    with pytest.raises(InputError, match="did you mean 'knowledge'"):
        published.run_noise_of("knowlege")


def test_measured_claims_have_a_verdict_and_an_interval():
    rows = published.measured_claims()
    assert len(rows) > 20
    for row in rows:
        assert row["verdict"] in ("supported", "contradicted", "not distinguishable")
        assert (
            row["effect"]["low"] <= row["effect"]["mean"] <= row["effect"]["high"]
            and row["effect"]["seeds"] >= 3
        )
