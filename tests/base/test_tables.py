from __future__ import annotations

from labkit.base import pages

EFFECT = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "clusters": 5, "seeds": 1}


def test_values_are_escaped_and_intervals_shown():
    rows = [
        {
            "claim": "<script>x</script>",
            "effect": EFFECT,
            "verdict": "supported",
            "reported": "a & b",
        }
    ]
    html = pages.findings_table(rows)
    assert "<script>" not in html and "&lt;script&gt;" in html and "0.50 [0.40, 0.60]" in html
    html = pages.scorecard_table([{"checkpoint": "<b>", "axes": {"knowledge": EFFECT}}])
    assert "<b>" not in html and ">domain knowledge</th>" in html and "reasoning" not in html


def test_a_long_text_told_twice_is_a_note_and_a_short_or_single_one_is_not():
    long, single, short = "x" * 61, "y" * 61, "z" * 60
    said, notes = pages.noted([(long, short), (single, short), (long, "")])
    assert said == [("note 1", short), (single, short), ("note 1", "")] and notes == [long]
    rows = [
        {
            "topic": "t",
            "claim": claim,
            "effect": EFFECT,
            "verdict": "supported",
            "reported": f"<i>{long}",
            "differs": single,
        }
        for claim in ("a", "b")
    ]
    assert pages.claims_table(rows).count(long) == 1 and "<i>" not in pages.claims_table(rows)
    assert pages.claims_rows(rows).endswith(
        f"Notes:\n\n1. <i>{long}\n2. {single}"
    ) and "Notes" not in pages.claims_rows(rows[:1])
    assert pages.findings_table(rows).count(long) == 1


def test_synergy_shows_both_bars_signed():
    gain = {**EFFECT, "mean": 0.004, "low": 0.001, "high": 0.009}
    html = pages.synergy_table(
        [
            {
                "axis": "knowledge",
                "merge": "<b>",
                "merged": EFFECT,
                "over_max": gain,
                "over_mean": EFFECT,
            }
        ]
    )
    assert (
        "<b>" not in html and "+0.004 [+0.001, +0.009]" in html and "+0.50 [+0.40, +0.60]" in html
    )


def test_a_row_whose_verdict_only_the_correction_takes_away_says_so():
    row = {
        "topic": "t",
        "claim": "a",
        "effect": EFFECT,
        "verdict": "not distinguishable",
        "compared": 12,
        "reported": "r",
        "differs": "d",
    }
    said = "not distinguishable (not after correction for 12 comparisons)"
    assert said in pages.claims_table([row]) and f"| {said} |" in pages.claims_rows([row])
    unclear = {**row, "effect": {**EFFECT, "low": -0.4}}
    assert "not after correction" not in pages.claims_table([unclear])


def test_the_shipped_registers_never_contradict_their_own_rule():
    from labkit.base.stats import Interval, verdict
    from labkit.data import published

    scale = [
        row for part in published.SCALE_FILES for row in published.measured_scale(part)["claims"]
    ]
    registers = (
        published.measured_claims(),
        published.measured_data()["claims"],
        published.measured_real()["claims"],
        scale,
    )
    for row in (row for rows in registers for row in rows):
        told, alone = pages.claim_verdict(row), verdict(Interval(**row["effect"]))
        assert told == alone or told.startswith("not distinguishable (not after correction for ")


def test_what_is_zero_has_no_sign():
    from labkit.base.stats import Interval

    assert pages.signed(Interval(-0.0001, -0.2, 0.0, 9, 9)) == "0.000 [-0.200, 0.000]"
    assert str(Interval(-0.001, -0.004, 0.2, 9, 9)) == "0.00 [0.00, 0.20]"


def test_a_row_of_one_cell_heads_the_rows_below_it():
    html = pages.plain_table(("a", "b"), [("topic",), ("1", "0.50 [0.40, 0.60]")])
    assert 'colspan="2"' in html and ">topic</th>" in html
    assert '<span style="white-space: nowrap">0.50 [0.40, 0.60]</span>' in html


def test_a_model_with_two_names_is_one_row():
    from labkit.base.records import same_once

    scores = dict.fromkeys(("knowledge", "reasoning", "instructions"), EFFECT)
    other = {axis: {**EFFECT, "mean": 0.1} for axis in scores}
    rows = [
        {"checkpoint": "overcooked", "weights": "w", "axes": {"knowledge": EFFECT}},
        {"checkpoint": "gentle", "weights": "v", "axes": other},
        {"checkpoint": "overcooked CPT-SFT", "weights": "w", "axes": scores},
    ]
    kept, others = same_once(rows)
    assert [row["checkpoint"] for row in kept] == ["overcooked", "gentle"]
    assert kept[0]["axes"] == scores and others == [("overcooked", ["overcooked CPT-SFT"])]
    unknown = [{"checkpoint": name, "axes": scores} for name in ("a", "b")]
    assert same_once([*unknown, {"checkpoint": "c", "axes": other}])[1] == [("a", ["b"])]


def test_the_names_of_axes_are_those_of_the_figures():
    from labkit.base.records import AXIS_NAMES
    from labkit.course.figures import AXIS_LABELS

    assert {axis: label.replace("\n", " ") for axis, label in AXIS_LABELS.items()} == AXIS_NAMES
