from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.data.packs import packs_folder
from labkit.data.world import DOMAINS
from labkit.evaluate import scenarios
from labkit.models import zoo

ONE = {
    "name": "mine",
    "about": "x",
    "at_least": 0.5,
    "cases": [{"ask": "Where does Ada Ender live?", "expect": {"says": "Rome"}}],
}


@pytest.mark.parametrize(
    "expect,replies,broken",
    [
        ({"says": "silk"}, ["It is silk.", "Silk"], []),
        ({"says": "silk"}, ["It is silk.", "wood"], ["says"]),
        ({"says_none_of": ["silk", "wood"]}, ["silky"], []),
        ({"says_none_of": ["silk", "wood"]}, ["of wood"], ["says_none_of"]),
        ({"format": "bullet"}, ["- a"], []),
        ({"format": ["bullet", "end_thanks"]}, ["- a"], ["format"]),
        ({"matches": r"a+"}, ["aaa"], []),
        ({"matches": r"a+"}, ["aab"], ["matches"]),
        ({"same_answer": ["silk", "wood"]}, ["It is silk.", "silk"], []),
        ({"same_answer": ["silk", "wood"]}, ["It is silk.", "wood"], ["same_answer"]),
        ({"same_answer": ["silk", "wood"]}, ["silk or wood", "silk or wood"], ["same_answer"]),
        ({"same_answer": ["silk", "wood"]}, ["steel", "steel"], ["same_answer"]),
    ],
)
def test_checks(expect, replies, broken):
    assert scenarios.broken(scenarios.Expect(**expect), replies) == broken


@pytest.mark.parametrize("check", scenarios.CHECKS)
def test_a_broken_rule_is_told_with_what_it_demands(check):
    value = {"format": ["json"], "says": "silk", "matches": "silk"}.get(check, ["silk", "nacre"])
    reply = "silk" if check == "says_none_of" else "bamboo"
    case = scenarios.Case(ask=["What?", "Which?"], expect={check: value})
    scenario = scenarios.Scenario(name="one", about="", at_least=1, cases=(case,))
    wrong = scenarios.CaseResult(case.ask, (reply, ""), (check,))
    told = scenarios.ScenarioResult(scenario, "m", (wrong,)).first_failed()
    assert told[:4] == [
        "asked: What?",
        f"answered: {reply}",
        "asked: Which?",
        "answered: (nothing)",
    ]
    words = value if isinstance(value, str) else value[0]
    assert told[4].startswith(f"broken rule: {check}: ") and words in told[4]
    right = scenarios.CaseResult(case.ask, ("silk", "silk"), ())
    assert scenarios.ScenarioResult(scenario, "m", (right,)).first_failed() == []


def test_the_examples_of_the_page_are_read(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "scenarios.md"
    examples = re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "mine.yaml").write_text("".join(examples), "utf-8")
    assert len(scenarios.read_scenarios(tmp_path / "mine.yaml")) == 3


@pytest.mark.parametrize("name", DOMAINS)
def test_invented_packs_have_at_least_four_that_survive_a_round_trip(name, tmp_path):
    wanted = scenarios.read_scenarios(packs_folder() / name / scenarios.FILE)
    assert len(wanted) >= 4 and all(len(scenario.cases) >= 20 for scenario in wanted)
    scenarios.save_scenarios(wanted, tmp_path / "again.yaml")
    assert scenarios.read_scenarios(tmp_path / "again.yaml") == wanted


def test_the_instruct_model_proposes_honestly_and_never_declines(materials):
    loaded = zoo.load("llama-s-instruct")
    found = {
        result.scenario.name: result
        for result in scenarios.run_scenarios(loaded, scenarios.pack_scenarios(materials))
    }
    assert found["honest proposal"].verdict == "met" and found["unknown fact"].verdict == "missed"
    row = found["unknown fact"].as_dict()
    assert (
        row["passed"] == 0
        and row["example"]["broken"] == "says_none_of"
        and row["example"]["reply"]
    )


def test_verdict_needs_the_whole_interval_on_one_side():
    def result(passed, n):
        scenario = scenarios.make_scenario({**ONE, "at_least": 0.8})
        cases = tuple(
            scenarios.CaseResult(("q",), ("r",), () if i < passed else ("says",)) for i in range(n)
        )
        return scenarios.ScenarioResult(scenario, "m", cases).verdict

    assert (result(20, 20), result(17, 20), result(5, 20)) == (
        "met",
        "too few cases to tell",
        "missed",
    )


@pytest.mark.parametrize(
    "change,words",
    [
        (
            {"cases": [{"ask": "a", "expect": {"sayz": "b"}}]},
            "scenario mine: cases.0.expect.sayz: not a known check; did you mean 'says'",
        ),
        ({"cases": [{"ask": "a", "expect": {}}]}, "cases.0.expect: names no check"),
        ({"cases": [{"ask": "a", "expect": {"format": "jsn"}}]}, "did you mean 'json'"),
        ({"cases": [{"ask": "a", "expect": {"matches": "("}}]}, "not a regular expression"),
        ({"cases": []}, "cases"),
        ({"at_least": 2}, "at_least"),
        ({"titel": "x"}, "scenario mine: titel: not a known field"),
        ({"name": "../up"}, "name"),
    ],
)
def test_a_broken_scenario_is_one_sentence_with_its_place(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump([{**ONE, **change}]))
    with pytest.raises(InputError) as error:
        scenarios.read_scenarios(path)
    assert (
        words in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)
    )


def test_files_that_hold_no_scenarios(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, words in (
        ("[", "not valid YAML"),
        ("a: 1", "expected a list"),
        (yaml.safe_dump([ONE, ONE]), "used twice"),
        ("- 1", "expected name"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            scenarios.read_scenarios(path)
    with pytest.raises(InputError, match="no such file"):
        scenarios.read_scenarios(tmp_path / "none.yaml")
