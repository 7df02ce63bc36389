from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import evaluate_lab
from labkit.evaluate import scenarios
from labkit.evaluate.scorecards import ItemResult, Scorecard

FIELDS = {
    "name": "mine",
    "about": "x",
    "questions": "Where does Ada Ender live?\n\nWho?",
    "says": "",
    "says_none_of": "a, b",
    "form": "",
    "at_least": 0.5,
}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("07_evaluate", profile="smoke", out_dir=str(tmp_path / "out"))


def card(name, shares, *, axis="knowledge"):
    items = [
        ItemResult(f"i{i}", axis, "free", f"e{i // 4}", float((i * 7) % 100 < 100 * share), "")
        for share in [shares]
        for i in range(100)
    ]
    return Scorecard(name, "materials", "test", "", items)


def test_every_pair_is_compared_and_corrected():
    cards = [card("a", 0.1), card("b", 0.12), card("c", 0.95)]
    found = {(c.before, c.after): c for c in evaluate_lab.compare_all(cards, "knowledge")}
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert (
        found["a", "c"].verdict == found["b", "c"].verdict == "higher"
        and found["a", "b"].verdict == "not distinguishable"
    )
    assert found["a", "c"].mcnemar < 1e-6 and found["a", "c"].runs.low < found["a", "c"].items.low
    assert found["a", "b"].p >= 0.05 and found["a", "b"].power.needed > 0


def test_two_runs_may_differ_where_recipes_need_not(monkeypatch):
    from labkit.base.stats import RunNoise

    monkeypatch.setattr(evaluate_lab, "run_noise_of", lambda axis, kind=None: RunNoise(0.2, 12))
    (found,) = evaluate_lab.compare_all([card("a", 0.3), card("b", 0.6)], "knowledge")
    assert found.verdict == "these two runs differ, the recipes may not"


def test_ranks_and_figures_are_recorded(lab):
    cards = [card("a", 0.1), card("b", 0.9)]
    assert evaluate_lab.show_ranks(lab, cards, ("knowledge",)) == {"a": [2], "b": [1]}
    evaluate_lab.show_comparisons(lab, evaluate_lab.compare_all(cards, "knowledge"), "knowledge")
    assert {"figure", "comparison"} <= {record["kind"] for record in records.read(lab.out_dir)}


def test_a_form_makes_runs_and_saves_a_scenario(lab, capsys):
    evaluate_lab.scenario_form(lab, {"instruct": lab.model}, **FIELDS)
    (path,) = (lab.out_dir / "scenarios").glob("*.yaml")
    (scenario,) = scenarios.read_scenarios(path)
    assert [case.ask for case in scenario.cases] == [
        ("Where does Ada Ender live?",),
        ("Who?",),
    ] and scenario.cases[0].expect.says_none_of == ("a", "b")
    form = evaluate_lab.ScenarioForm({}, lab.out_dir)
    for change, words in (
        ({"questions": " "}, "write at least one"),
        ({"says_none_of": ""}, "names no check"),
        ({"name": "../x"}, "name"),
    ):
        with pytest.raises(InputError, match=words):
            form.scenario(**{**FIELDS, **change})


def test_model_output_cannot_become_markup():
    scenario = scenarios.make_scenario(
        {
            "name": "a",
            "about": "<b>",
            "at_least": 1,
            "cases": [{"ask": "<i>", "expect": {"says": "x"}}],
        }
    )
    result = scenarios.ScenarioResult(
        scenario, "m", (scenarios.CaseResult(("<i>",), ("<script>",), ("says",)),)
    )
    shown = evaluate_lab.scenario_table([result])
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "<b>" not in shown
