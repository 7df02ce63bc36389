from __future__ import annotations

import json

import pytest
import yaml

from labkit.data import packs
from labkit.data.readers import Dropped
from labkit.data.workbench import Ledger, write_card


def test_the_ledger_writes_every_line_and_counts_by_reason(tmp_path):
    with (tmp_path / "dropped.jsonl").open("w", encoding="utf-8") as file:
        ledger = Ledger(file)
        for dropped in (
            Dropped("a.txt", "file", "empty"),
            Dropped("b.txt", "file", "empty"),
            Dropped("c.txt", "character", "odd", "\u2028", count=7),
        ):
            ledger.drop(dropped)
    rows = [
        json.loads(line)
        for line in (tmp_path / "dropped.jsonl").read_text("utf-8").split("\n")
        if line
    ]
    assert (
        rows[0] == {"source": "a.txt", "what": "file", "reason": "empty", "count": 1}
        and len(rows) == 3
    )
    assert ledger.unread == ["a.txt: empty", "b.txt: empty"]
    assert ledger.table() == [
        {"what": "character", "reason": "odd", "count": 7, "first": "c.txt"},
        {"what": "file", "reason": "empty", "count": 2, "first": "a.txt"},
    ]


@pytest.mark.parametrize(
    "rows,size", [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (50_000_000, "n>10M")]
)
def test_card_and_readme_agree(tmp_path, rows, size):
    provenance = {
        "read": {"files": 3},
        "seed": 0,
        "dropped": [{"what": "file", "reason": "empty", "count": 2000}],
    }
    write_card(
        tmp_path,
        name="rings",
        title='A "title": with marks',
        licence="CC0-1.0",
        rows={"raw": rows},
        provenance=provenance,
    )
    pack = packs.load_pack(tmp_path)
    assert (pack.title, pack.licence) == ('A "title": with marks', "CC0-1.0")
    readme = (tmp_path / "README.md").read_text("utf-8")
    head = yaml.safe_load(readme.split("---\n")[1])
    assert (head["license"], head["pretty_name"], head["size_categories"]) == (
        "cc0-1.0",
        'A "title": with marks',
        [size],
    )
    assert "| file | empty | 2,000 |" in readme and f"| raw.jsonl | {rows:,} |" in readme
