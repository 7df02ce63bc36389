"""Real patients, a few steps each; that every one is told apart at full length is in
docs/evidence.md.
"""

from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.diagnose import clinic, diagnoses


@pytest.fixture
def ward(materials):
    return clinic.Ward(materials, 0, "smoke")


def test_there_are_more_than_ten_ways_to_be_ill_and_one_to_be_well():
    assert len(clinic.CAUSES) >= 11 and [
        cause.id for cause in clinic.CAUSES if not cause.decisive
    ] == ["healthy"]
    assert all(test in diagnoses.BY_ID for cause in clinic.CAUSES for test in cause.decisive)
    assert sorted(clinic._ORDER) == list(range(len(clinic.CAUSES)))


@pytest.mark.parametrize("cause", clinic.CAUSES, ids=lambda cause: cause.id)
def test_every_patient_is_really_made_and_its_decisive_tests_measure(ward, cause):
    case = cause.make(ward)
    results = diagnoses.diagnose(case, cause.decisive)
    assert all(result.found for result in results)
    assert case.card.items


@pytest.mark.parametrize(
    "cause",
    [
        "wrong chat template",
        "tokenizer mismatch",
        "ends swapped",
        "strangers merged",
        "test leaked",
    ],
)
def test_what_needs_no_training_is_flagged_at_any_length(ward, cause):
    found = diagnoses.diagnose(clinic.BY_CAUSE[cause].make(ward), clinic.BY_CAUSE[cause].decisive)
    assert all(result.verdict == "flagged" for result in found)


def test_a_shuffled_vocabulary_keeps_its_special_tokens(instruct):
    other = clinic.shuffled_vocabulary(instruct.tokenizer)
    ours, theirs = instruct.tokenizer.get_vocab(), other.get_vocab()
    assert ours.keys() == theirs.keys() and sorted(ours.values()) == sorted(theirs.values())
    assert sum(ours[token] != theirs[token] for token in ours) > 0.8 * len(
        ours
    )  # bytes keep theirs
    assert all(ours[token] == theirs[token] for token in instruct.tokenizer.all_special_tokens)


def test_a_healthy_patient_called_ill_is_told_without_a_test():
    healthy = clinic.BY_CAUSE["healthy"]
    told = str(clinic.Answer(False, healthy, ()))
    assert told.startswith("No. Nothing is wrong: the gentle recipe as it should be.")
    assert "The test" not in told


def test_a_visit_costs_tests_and_ends_with_an_explanation(ward):
    number = 1 + clinic._ORDER.index(
        [cause.id for cause in clinic.CAUSES].index("tokenizer mismatch")
    )
    visit = clinic.admit(number, ward)
    assert set(visit.curves()) == {"cpt", "sft"} and len(visit.samples()) >= 4
    assert visit.order("contamination").verdict == "clear" and visit.budget == clinic.BUDGET - 1
    assert visit.order("contamination").verdict == "clear" and visit.budget == clinic.BUDGET - 1
    missed = visit.answer("junk data")
    assert (
        not missed.right
        and missed.missed == ("other tokenizer",)
        and str(missed)
        == f"No. The cause was: {missed.cause.words}. {missed.cause.explain} "
        'The test "other tokenizer" would have shown it; you did not order it.'
    )
    visit.order("other tokenizer")
    right = str(visit.answer("tokenizer mismatch"))
    assert right.startswith("Right: ") and right.endswith(
        'The test "other tokenizer" shows it; you ordered it.'
    )
    visit.budget = 0
    with pytest.raises(InputError, match="0 is left"):
        visit.order("loss rose")
    for call, words in (
        (lambda: visit.order("x-ray"), "unknown test"),
        (lambda: visit.answer("flu"), "unknown cause"),
        (lambda: clinic.admit(99, ward), "no patient 99"),
    ):
        with pytest.raises(InputError, match=words):
            call()
