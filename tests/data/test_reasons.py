"""The six reasons of the lesson: what bears on them was measured, and the verdict follows."""

from __future__ import annotations

import re

import pytest

from labkit.base.errors import InputError
from labkit.base.stats import NOT_DISTINGUISHABLE, Interval
from labkit.data import published
from labkit.data.published import (
    CONTRADICTED,
    MIXED,
    NOT_MEASURED,
    SUPPORTED,
    Bearing,
    chain_claims,
    counted_votes,
    joint_verdict,
    measured_scale,
    reasons,
    reported,
    reported_by_family,
)

REASONS = reasons()
BEARINGS = [
    (reason.id, bearing) for reason in REASONS for part in reason.parts for bearing in part.claims
]


def test_there_are_six_in_the_order_of_the_lesson():
    assert [reason.number for reason in REASONS] == ["(i)", "(ii)", "(iii)", "(iv)", "(v)", "(vi)"]
    assert len({reason.id for reason in REASONS}) == 6


@pytest.mark.parametrize("reason,bearing", BEARINGS, ids=lambda value: getattr(value, "claim", ""))
def test_every_claim_was_measured(reason, bearing):
    effect = Interval(**bearing.row["effect"])
    assert effect.low <= effect.mean <= effect.high and effect.n > 0 and effect.seeds > 0
    assert bearing.vote in (SUPPORTED, CONTRADICTED, NOT_DISTINGUISHABLE)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.id)
def test_every_reason_has_what_is_reported_and_something_that_tests_it(reason):
    assert all(reported(key) for key in reason.reported)
    assert reason.votes
    named = [(one.study, one.claim) for part in reason.parts for one in part.claims]
    assert len(named) == len(set(named))
    assert all(bool(part.claims) != bool(part.missing) for part in reason.parts)
    words = (reason.said, reason.in_short, reason.why, reason.design)
    assert not re.search(r"[+-]?\d\.\d\d", " ".join(words)), "effects are looked up, not typed"


def test_a_claim_that_was_not_measured_is_refused():
    with pytest.raises(InputError, match="no claim 'SLERP wins' was measured"):
        assert Bearing(study="recipes", claim="SLERP wins").vote
    with pytest.raises(InputError, match="did you mean 'recipes'"):
        assert Bearing(study="recipe", claim="SLERP wins").row


def test_what_the_words_of_each_reason_rest_on():
    """Whoever sees this fail reads data_samples/published/six_reasons.yaml again, and what it
    says.
    """
    assert {reason.id: reason.verdict for reason in REASONS} == {
        "merging": MIXED,
        "quality": SUPPORTED,
        "architectures": NOT_DISTINGUISHABLE,
        "scale": MIXED,
        "sequence": NOT_DISTINGUISHABLE,
        "evaluation": SUPPORTED,
    }
    parts = {part.says: part.verdict for reason in REASONS for part in reason.parts}
    assert [says for says, verdict in parts.items() if verdict == NOT_MEASURED] == [
        "The best recipe of one architecture is not the best of another.",
        "Between 1.7 and 7 billion parameters there is a threshold.",
    ]
    assert [says for says, verdict in parts.items() if verdict == CONTRADICTED] == [
        "More text adds nothing, even where it is clean.",
        "Below 1.7 billion parameters merging gains nothing on items that need both parents.",
        "Preference training narrows what a model proposes.",
    ]
    assert set(measured_scale("families")["best"].values()) == {published.SHORT}


def test_a_verdict_follows_from_its_claims():
    yes, no, unknown = SUPPORTED, CONTRADICTED, NOT_DISTINGUISHABLE
    assert joint_verdict([]) == NOT_MEASURED
    assert joint_verdict([yes, no, unknown, unknown, unknown]) == MIXED
    assert joint_verdict([yes, unknown, unknown]) == NOT_DISTINGUISHABLE
    assert joint_verdict([yes, unknown]) == SUPPORTED
    assert joint_verdict([no, no, unknown]) == CONTRADICTED
    assert counted_votes([yes, no, no]) == "1 supports it, 2 contradict it"
    assert counted_votes([]) == "no claim tests it"


def test_what_a_claim_says_depends_on_how_it_speaks():
    claim = "DPO does more for llama-s than for mistral-s, mean of four axes"
    votes = {
        speaks: Bearing(study="families", claim=claim, speaks=speaks).vote
        for speaks in ("for", "against", "either")
    }
    assert votes == {"for": CONTRADICTED, "against": SUPPORTED, "either": SUPPORTED}


def test_chains_are_compared_from_scores_and_never_too_narrowly():
    scores = measured_scale("families")["scores"]
    rows = chain_claims()
    assert len(rows) == len(scores) * len(published.CHAINS)
    for row in rows:
        family, _, chain = re.match(
            r"(\S+): (CPT \+ SLERP) does better than (\S+),", row["claim"]
        ).groups()
        merged, longer = (Interval(**scores[family][name]) for name in (published.SHORT, chain))
        effect = Interval(**row["effect"])
        assert effect.mean == merged.mean - longer.mean
        assert effect.high - effect.low == pytest.approx(
            merged.high - merged.low + longer.high - longer.low
        )
        assert row["verdict"] == NOT_DISTINGUISHABLE or not effect.holds(0)


def test_a_wrong_field_of_the_file_is_named(monkeypatch):
    monkeypatch.setattr(published, "_published", lambda file: [{"id": "merging"}])
    with pytest.raises(InputError, match=r"six_reasons\.yaml: 0\.number"):
        reasons()


def test_every_approach_is_told_for_every_family_with_its_place():
    models, rows = reported_by_family()
    assert models == ["Llama-3.1-8B", "Mistral-7B-v0.3", "SmolLM-1.7B"] and len(rows) > 8
    for approach, *cells, where in rows:
        assert approach and len(cells) == len(models) and all(cells)
        assert re.search(r"Table|Fig|Discussion", where)
