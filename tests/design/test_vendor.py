from __future__ import annotations

import numpy as np
import pypdf
import pytest
import yaml

from labkit.base.errors import InputError
from labkit.base.inputs import fill_form
from labkit.base.stats import wilson
from labkit.data.packs import samples_folder
from labkit.data.published import compared
from labkit.design.vendor import (
    CONTROLS,
    VendorClaim,
    audit,
    audit_html,
    audit_pdf,
    audit_sheet,
    audit_text,
    load_claim,
    readings,
)

BARE = {
    "vendor": "V",
    "product": "P",
    "metric": "accuracy",
    "score": 0.9,
    "n": 500,
    "baseline_score": 0.8,
}
COMPLETE = {
    **BARE,
    "same_items": "yes",
    "only_product": 70,
    "only_baseline": 20,
    "same_conditions": "yes",
    "benchmark_chosen_by": "customer",
    "variants_tried": 1,
    "benchmarks_tried": 1,
    "selected_on_test": "no",
    "seeds": 3,
    "contamination_checked": "yes",
    "format_controlled": "yes",
    "general_ability_reported": "yes",
    "decoding": "greedy",
    "base_model": "B",
    "cost_reported": "yes",
    "items_available": "yes",
}


def claim(**changes) -> VendorClaim:
    return VendorClaim(**{**BARE, **changes})


def names(**changes) -> set[str]:
    return {control.name for control in audit(VendorClaim(**{**COMPLETE, **changes})).missing}


# --- the two worked examples ----------------------------------------------------------------------


def test_the_papers_example_holds_the_published_figures():
    found = load_claim("lu2025")
    assert [found.score, found.baseline_score] == compared()["scores"] and found.n == compared()[
        "items"
    ]


def test_the_papers_difference_is_not_distinguishable():
    found = audit(load_claim("lu2025"))
    assert wilson(found.claim.shares.right, 359) == pytest.approx((0.77, 0.85), abs=0.005)
    sharpest, dullest = found.readings
    assert (
        sharpest.p == 0.125 and sharpest.low < 0 < sharpest.high
    )  # all of 4 items one way: 2 / 2**4
    assert dullest.p > 0.7 and dullest.visible > sharpest.visible and sharpest.needed > 1000
    assert found.verdict == "not distinguishable" and "exact p = 0.125" in found.reason
    # Rounding alone hides between 1 and 6 items, and 6 of 6 would stand out: that must be said.
    text = " ".join(audit_text(found).split())
    assert "1 to 6 items" in text and "p would be 0.031" in text


def test_the_invented_vendor_is_undone_by_choice():
    found = audit(load_claim("invented"))
    assert all(reading.distinguishable for reading in found.readings)
    assert (
        found.verdict == "cannot be told" and "best of 24" in found.reason and "12%" in found.reason
    )
    assert audit(found.claim.model_copy(update={"variants_tried": 1})).verdict == "distinguishable"
    assert audit_text(found).lower().count("invented") >= 3


# --- verdicts
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes,verdict,words",
    [
        ({"n": None}, "cannot be told", "first question"),
        ({"baseline_score": None}, "cannot be told", "no baseline score"),
        ({"per_item": False}, "cannot be told", "no mean over items"),
        ({"same_items": "no"}, "cannot be told", "their number is not given"),
        (
            {"same_items": "no", "baseline_n": 500, "variants_tried": 1},
            "distinguishable",
            "one trained model",
        ),
        (
            {"same_items": "no", "baseline_n": 500, "variants_tried": 1, "seeds": 3},
            "distinguishable",
            "more than chance would",
        ),
        (
            {"same_items": "no", "baseline_n": 20, "variants_tried": 1},
            "not distinguishable",
            "95% interval",
        ),
        ({"baseline_n": 20, "variants_tried": 1}, "not distinguishable", "may be no difference"),
        ({"score": 0.83}, "cannot be told", "differ on at most"),
        ({"score": 0.8}, "not distinguishable", "as little as they can"),
        ({"score": 0.65}, "distinguishable", "against the claim"),
        (
            {"score": 1.0, "baseline_score": 0.5, "n": 10_000},
            "distinguishable",
            "1000 equal variants",
        ),
        ({"score": 0.87}, "cannot be told", "not said how many were tried"),
        ({"score": 0.87, "variants_tried": 300}, "cannot be told", "best of 300"),
        (
            {"score": 0.87, "variants_tried": 300, "selected_on_test": "no"},
            "distinguishable",
            "more than chance would",
        ),
        (
            {"score": 0.87, "variants_tried": 1, "benchmarks_tried": 50},
            "cannot be told",
            "on 50 benchmarks",
        ),
        (
            {
                "score": 0.82,
                "same_items": "yes",
                "only_product": 10,
                "only_baseline": 0,
                "variants_tried": 1,
            },
            "distinguishable",
            "+0.02",
        ),
        (
            {
                "score": 0.82,
                "same_items": "yes",
                "only_product": 60,
                "only_baseline": 50,
                "variants_tried": 1,
            },
            "not distinguishable",
            "exact p",
        ),
    ],
)
def test_verdicts(changes, verdict, words):
    found = audit(claim(**changes))
    assert found.verdict == verdict and words in found.reason
    assert audit_text(found) and audit_html(found)


def test_counts_are_not_judged_as_if_answers_had_nothing_in_common():
    given = {
        "score": 0.82,
        "same_items": "yes",
        "only_product": 10,
        "only_baseline": 0,
        "variants_tried": 2,
    }
    assert (
        audit(claim(**given)).verdict == "distinguishable"
    )  # 10 of 10 items one way, between two variants
    assert audit(claim(**{**given, "variants_tried": 1000})).verdict == "cannot be told"


def test_more_items_never_hurt():
    verdicts = [
        audit(claim(score=0.83, n=n, same_items="no", baseline_n=n, variants_tried=1)).verdict
        for n in (50, 500, 5000)
    ]
    assert verdicts == ["not distinguishable", "not distinguishable", "distinguishable"]


def test_null_claims_chosen_as_the_best_are_seldom_called_distinguishable():
    """Best of 10 equal variants against an equal baseline, other items for each: at most one in
    forty, with room for chance.
    """
    rng = np.random.default_rng(3)
    wrong = naive = 0
    for _ in range(400):
        best, baseline = rng.binomial(300, 0.8, 10).max(), rng.binomial(300, 0.8)
        given = claim(
            score=best / 300, n=300, baseline_score=baseline / 300, same_items="no", baseline_n=300
        )
        wrong += audit(given.model_copy(update={"variants_tried": 10})).verdict == "distinguishable"
        naive += audit(given.model_copy(update={"variants_tried": 1})).verdict == "distinguishable"
    assert wrong <= 20 and naive > 2 * wrong


# --- controls
# ---------------------------------------------------------------------------------------


def test_a_complete_claim_misses_nothing():
    assert names() == set() and audit(VendorClaim(**COMPLETE)).verdict == "distinguishable"


@pytest.mark.parametrize(
    "field,value,name",
    [
        ("same_conditions", "unknown", "same conditions"),
        ("benchmark_chosen_by", "vendor", "who chose the benchmark"),
        ("benchmarks_tried", None, "benchmarks tried"),
        ("selected_on_test", "yes", "chosen off the test items"),
        ("seeds", 1, "several training runs"),
        ("contamination_checked", "no", "contamination check"),
        ("format_controlled", "no", "form told from knowledge"),
        ("general_ability_reported", "no", "general ability"),
        ("decoding", None, "decoding"),
        ("base_model", None, "base model"),
        ("cost_reported", "no", "cost"),
        ("items_available", "unknown", "items to run again"),
    ],
)
def test_each_missing_control_is_found(field, value, name):
    assert names(**{field: value}) == {name}


def test_missing_numbers_are_found():
    no_counts = {"only_product": None, "only_baseline": None}
    assert names(**no_counts) == {"comparison by item"}
    assert names(**no_counts, same_items="no") == {"items of the baseline"}
    assert names(**no_counts, n=None) == {"number of items", "comparison by item"}
    assert names(**no_counts, baseline_score=None) == {"baseline score"}
    assert names(variants_tried=None, selected_on_test="unknown") == {
        "variants tried",
        "chosen off the test items",
    }


def test_every_control_has_its_reason_source_and_question():
    assert len({control.name for control in CONTROLS}) == len(CONTROLS) >= 15
    for control in CONTROLS:
        assert (
            control.why
            and any(year in control.source for year in map(str, range(1995, 2026)))
            and control.question.endswith("?")
        )
    found = audit(claim(n=None))
    assert (
        len(found.questions) == len(found.missing) and "how many test items" in found.questions[0]
    )


# --- forms
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["86%", "86 %", "86.0%", "86,0%", 0.86])
def test_a_score_may_be_written_in_percent(written):
    filled = fill_form(VendorClaim, {**BARE, "score": written}, place="here", help="help")
    assert filled.score == 0.86


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"score": 1.3}, "score: .*less than or equal to 1 .got 1.3"),
        ({"score": 86}, "score: a score lies between 0 and 1: write 0.86, or 86%"),
        ({"score": "8x%"}, "score: .*number"),
        ({"score": float("nan")}, "score: "),
        ({"n": 0}, "n: .*greater than or equal to 1"),
        ({"variants_tried": -1}, "variants_tried: .*greater than or equal to 1"),
        ({"baseline_score": -0.1}, "baseline_score: "),
        ({"benchmark_chosen_by": "me"}, "benchmark_chosen_by: .*'customer'"),
        ({"vendor": "x" * 81}, "vendor: .*at most 80"),
        ({"basline_score": 0.8}, "basline_score: not a known field; did you mean 'baseline_score'"),
        (
            {"same_items": True, "baseline_n": 400},
            "baseline_n: 400 items cannot be the same 500 as n",
        ),
        ({"only_product": 3}, "only_product and only_baseline: give both"),
        ({"only_product": 3, "only_baseline": 2, "same_items": "no"}, "same_items: yes"),
        (
            {"only_product": 3, "only_baseline": 2, "same_items": "yes"},
            "do not go with 450 and 400 right of 500",
        ),
        ({"only_product": 480, "only_baseline": 430, "same_items": "yes"}, "check the counts"),
    ],
)
def test_impossible_claims_are_one_sentence_with_the_field(tmp_path, changes, sentence):
    path = tmp_path / "claim.yaml"
    path.write_text(yaml.safe_dump({**BARE, **changes}))
    with pytest.raises(InputError, match=sentence) as caught:
        load_claim(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["baseline_score", "n"])
def test_what_matters_must_be_written_even_if_unknown(tmp_path, field):
    path = tmp_path / "claim.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in BARE.items() if key != field}))
    with pytest.raises(InputError, match=f"{field}: missing; .*{field}: null"):
        load_claim(path)


def test_scores_that_no_count_gives_are_told():
    assert "No whole number" in audit_text(audit(claim(score=0.85, n=10, baseline_score=0.7)))
    assert "No whole number" not in audit_text(audit(claim()))


def test_examples_are_all_readable():
    files = sorted(samples_folder("claims").glob("*.yaml"))
    assert [file.stem for file in files] == ["invented", "lu2025"]
    with pytest.raises(InputError, match=r"none: no such file; see docs/vendor.md"):
        load_claim("none")
    assert load_claim(files[1]) == load_claim("lu2025")


# --- pages
# ------------------------------------------------------------------------------------------

LONGEST = {
    "vendor": "W m" * 26,
    "product": "V" * 80,
    "metric": "M w" * 40,
    "baseline_name": "B" * 80,
    "note": "no te" * 60,
    "score": 0.123456,
    "n": 99_999,
    "baseline_score": 0.12,
}


@pytest.mark.parametrize(
    "given",
    [
        load_claim("lu2025"),
        load_claim("invented"),
        claim(**LONGEST),
        claim(**{**LONGEST, "n": None}),
        claim(vendor='#panic("x") $ * <script>'),
    ],
)
def test_the_pdf_is_one_page_with_every_question(tmp_path, given):
    found = audit(given)
    pages = pypdf.PdfReader(audit_pdf(found, tmp_path / "audit.pdf")).pages
    assert len(pages) == 1 and pages[0].mediabox.height > pages[0].mediabox.width
    shown = " ".join(pages[0].extract_text().replace("\u200b", "").split())
    assert found.verdict.capitalize() in shown and " ".join(given.vendor.split())[:70] in shown
    for control in found.missing:
        assert control.name in shown
    assert sum(question in shown for question in found.questions) == len(found.questions)


def test_html_is_escaped():
    html = audit_html(audit(claim(vendor="<script>alert(1)</script>", note="a & b")))
    assert "<script>" not in html and "&lt;script&gt;" in html and "a &amp; b" in html


def test_readings_of_unknown_pairing_hold_the_independent_one():
    same_little, same_much, other = readings(claim())
    assert (
        same_little.high - same_little.low < other.high - other.low < same_much.high - same_much.low
    )
    assert {row[0] for section in audit_sheet(audit(claim())).sections for row in section.rows} >= {
        "1",
        "5",
        "20",
    }
