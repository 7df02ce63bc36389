from __future__ import annotations

import pytest

from labkit.data import packs
from labkit.data.workbench import Spool, write_rows


def test_a_spool_gives_back_what_it_was_given_as_often_as_asked(tmp_path):
    spool = Spool(tmp_path)
    values = [[number, f"text {number}\u2028\n\r of Gr\u00f6\u00dfe"] for number in range(1000)]
    for value in values:
        spool.append(*value)
    assert list(spool) == list(spool) == values
    spool.append("more")
    assert list(spool) == [*values, ["more"]]
    spool.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 2])
def test_a_split_without_rows_has_no_file(tmp_path, count):
    pack = packs.Pack(tmp_path, "rings", "Rings", "CC0-1.0")
    write_rows(pack, "raw", ({"text": f"row {number}"} for number in range(count)))
    assert pack.has("raw") == bool(count)
    assert not count or [row["text"] for row in pack.rows("raw")] == ["row 0", "row 1"]
