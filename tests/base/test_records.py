from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError


def test_append_read_latest(tmp_path):
    for value in (1, 2):
        records.append(tmp_path, "finding", claim="a", value=value)
    records.append(tmp_path, "figure", name="x")
    assert [r["value"] for r in records.read(tmp_path, "finding")] == [1, 2]
    assert len(records.read(tmp_path)) == 3 and records.read(tmp_path / "none") == []
    assert records.latest(records.read(tmp_path, "finding"), "claim")[0]["value"] == 2


def test_broken_line_is_named(tmp_path):
    records.append(tmp_path, "finding", claim="a")
    with (tmp_path / records.FILE).open("a") as file:
        file.write("{\n")
    with pytest.raises(InputError, match=r"records.jsonl:2: broken JSON"):
        records.read(tmp_path)
