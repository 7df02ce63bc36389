"""The example dossiers of the worked cases: whole, in the team's own words, and able to train."""

from __future__ import annotations

import re
from functools import cache

import pytest

from labkit.base.errors import InputError
from labkit.data.packs import load_pack, samples_folder
from labkit.design import dossier as paper
from labkit.design.comparison import START
from labkit.design.designer import problems
from labkit.design.dossier import Dossier
from labkit.evaluate.scenarios import broken
from studies import dossiers
from studies.dossiers import EXAMPLES

OWN_WORDS = 0.6  # of all places
MEASURED = [name for name, example in EXAMPLES.items() if example.trained]


@cache
def shipped(name: str) -> Dossier:
    return paper.load_dossier(samples_folder("dossiers") / f"{name}.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_lacks_nothing_and_most_of_it_is_in_the_teams_words(name):
    made = shipped(name)
    own, _, places = paper.counts(made)
    assert paper.empty(made) == [] and not made.left_open and not made.conflicts
    assert own >= OWN_WORDS * places
    assert all(person.role and person.parts for person in made.people)
    assert {part for person in made.people for part in person.parts} == set(paper.PARTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_designs_train_and_are_those_of_the_study(name):
    made = shipped(name)
    assert list(made.comparison.specs) == dossiers.specs_of(EXAMPLES[name])
    assert made.design.spec == made.comparison.specs[0]
    assert all(problems(spec) == [] for spec in made.comparison.specs)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_says_what_must_hold_and_in_which_situations(name):
    made = shipped(name)
    assert {"knowledge", "instructions", "general"} <= paper.must_hold(made).keys()
    scenarios = paper.scenarios_of(made)
    assert len(scenarios) >= paper.FEWEST_SCENARIOS
    assert set(EXAMPLES[name].shown_by) <= {one.name for one in scenarios}
    asked = START if not EXAMPLES[name].trained else made.comparison.designs[0]
    for one in (*made.scenarios, *made.criteria):
        assert asked in {row[0] for row in one.found.rows}, one


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_trained_was_measured_and_the_others_say_that_they_were_not(name):
    made = shipped(name)
    rows = {row[0] for row in made.comparison.measured.rows}
    assert {START, *made.comparison.designs} <= rows
    for failure in made.failures:
        assert failure.found, failure.mode
        gone = "not measured" in failure.found
        assert not gone or "so we ask" in failure.test.words.lower()  # what is done in its place
    untrained = shipped(f"{name}-real")
    assert not untrained.comparison.measured.rows
    assert {failure.found for failure in untrained.failures} == {dossiers.UNTRAINED}
    assert "has not been trained" in untrained.closing.fails.words


def verdicts_of(made: Dossier) -> dict[tuple[str, str], str]:
    return {(one.name, row[0]): row[3] for one in made.scenarios for row in one.found.rows}


def fallen(made: Dossier) -> set[str]:
    """The axes that the gate says fell."""
    return {
        axis for failure in made.failures for axis in re.findall(r"gate: (\w+) fell", failure.found)
    }


def test_what_the_legal_team_says_of_its_results_is_what_was_found():
    made = shipped("legal")
    verdicts, mine = verdicts_of(made), made.comparison.designs[0]
    assert "The gate lets it pass" in made.closing.fails.words and not fallen(made)
    assert {verdicts["unknown fact", who] for who in (START, mine)} == {"missed"}
    assert verdicts["json brief", mine] == "missed"


@pytest.mark.parametrize("name", ["pharma-real", "legal-real"])
def test_the_start_model_is_as_weak_as_the_teams_say(name):
    made = shipped(name)
    assert "gives the right word in none" in made.domain.underperforms.words
    for one in made.scenarios:
        if one.name in EXAMPLES[name].shown_by:
            assert [row[1].split()[0] for row in one.found.rows] == ["0"]


def test_what_the_pharma_team_says_of_its_results_is_what_was_found():
    made = shipped("pharma")
    verdicts, without = verdicts_of(made), made.comparison.designs[-1]
    assert "holds this design back" in made.closing.fails.words and fallen(made) == {"creativity"}
    for name in (dossiers.EVENT_NAMED, dossiers.NO_FALSE_ALARM):
        assert {verdicts[name, who] for who in made.comparison.designs} == {"missed"}
    told = next(row for row in made.comparison.measured.rows if row[0].startswith(f"{without} −"))
    assert all("not distinguishable" in cell for cell in told[1:])


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_words_are_those_of_the_templates_and_hold_no_figure(name):
    made = shipped(name)
    words = {
        dossiers.by_name(made, path): entry.words
        for path, _, entry in paper.entries(made)
        if entry.words
    }
    assert words == dossiers.said(dossiers.read_words(name))
    for place, text in words.items():
        assert not re.search(r"\d", text), place


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_says_what_it_is_and_comes_back_as_it_was(name, tmp_path):
    path, made = samples_folder("dossiers") / f"{name}.yaml", shipped(name)
    text = path.read_text("utf-8")
    assert text.startswith("# An example, written by labkit's authors")
    assert f"`python -m studies dossiers --name {name}`" in text
    again = dossiers.save(made, name, tmp_path)
    assert again.read_text("utf-8") == text
    assert load_pack(made.domain.pack).name == EXAMPLES[name].pack


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_written_out_whole(name, tmp_path):
    made = shipped(name)
    written = {path.name: path for path in paper.export(made, tmp_path)}
    assert written["dossier.pdf"].read_bytes().startswith(b"%PDF")
    shown = written["dossier.html"].read_text("utf-8")
    for person in made.people:
        assert person.name in shown
    assert {"design.yaml", "scenarios.yaml", "gate.yaml", "dossier.md"} <= written.keys()


def test_words_for_a_place_that_is_not_there_are_refused():
    made = shipped("legal")
    with pytest.raises(InputError, match="failures / the moon falls / sign"):
        dossiers.with_words(made, {("failures", "the moon falls", "sign"): "It is dark."})


def test_the_same_place_is_not_said_twice():
    with pytest.raises(InputError, match=r"legal\.scale\.small"):
        dossiers.laid_together({"scale": {"small": "One."}}, {"scale": {"small": "Two."}}, "legal")


@pytest.mark.parametrize("name", ["pharma", "pharma-real", "legal-real"])
def test_neither_yes_nor_no_nor_silence_meets_both_scenarios_of_a_case(name):
    example = EXAMPLES[name]
    both = example.scenarios(load_pack(example.pack))
    assert [one.name for one in both] == list(example.shown_by)
    for reply in ("Yes.", "No.", "", "It can cause nausea."):
        met = [
            sum(not broken(case.expect, [reply]) for case in one.cases)
            >= one.at_least * len(one.cases)
            for one in both
        ]
        assert not all(met), reply
