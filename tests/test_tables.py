from __future__ import annotations

from labkit import tables

EFFECT = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "clusters": 5, "seeds": 1}


def test_values_are_escaped_and_intervals_shown():
    rows = [{"claim": "<script>x</script>", "effect": EFFECT, "verdict": "supported", "reported": "a & b"}]
    html = tables.findings_table(rows)
    assert "<script>" not in html and "&lt;script&gt;" in html and "0.50 [0.40, 0.60]" in html
    html = tables.scorecard_table([{"checkpoint": "<b>", "axes": {"knowledge": EFFECT}}])
    assert "<b>" not in html and ">knowledge</th>" in html and "reasoning" not in html


def test_synergy_shows_both_bars_signed():
    gain = {**EFFECT, "mean": 0.004, "low": 0.001, "high": 0.009}
    html = tables.synergy_table([{"axis": "knowledge", "merge": "<b>", "merged": EFFECT, "over_max": gain, "over_mean": EFFECT}])
    assert "<b>" not in html and "+0.004 [+0.001, +0.009]" in html and "+0.50 [+0.40, +0.60]" in html
