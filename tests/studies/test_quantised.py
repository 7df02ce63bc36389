"""The page about fewer bits shows what was measured, and what each file's weights really became."""

from __future__ import annotations

import json

from studies.quantised import FLOAT, MEASURED, SHOWN, write_page


def row(mean: float, p: float, weights: dict[str, int]) -> dict:
    found = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 300, "clusters": 90}
    return {
        "bytes": 105_000_000,
        "weights": weights,
        "scores": dict.fromkeys(SHOWN, found),
        "change": dict.fromkeys(SHOWN, found),
        "p": dict.fromkeys(SHOWN, p),
        "answers_alike": 0.75,
    }


def test_the_page_has_types_bits_and_differences_and_marks_what_chance_does_not_explain(tmp_path):
    files = {
        FLOAT: {**row(0.4, 1, {"F32": 100}), "change": {}, "p": {}},
        "q8_0": row(-0.02, 0.6, {"Q8_0": 99, "F32": 1}),
        "q4_k_m": row(-0.2, 0.01, {"Q5_0": 50, "Q4_K": 50}),
    }
    content = {"a-model": {"pack": "a-pack", "profile": "lab", "files": files}}
    (tmp_path / MEASURED).write_text(json.dumps(content))
    write_page(tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text("utf-8")
    assert "### a-model, on the pack a-pack (profile lab)" in text
    assert "| q4_k_m | 105 | 5.0 | 50% Q5_0, 50% Q4_K | 75% |" in text
    assert "| knowledge | 300 | 0.40 [0.35, 0.45] | -0.02 [-0.07, +0.03] | **-0.20" in text
