"""The two worked cases: their packs, their measures, a small run of each, and their pages."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from small import few_rows

from labkit.base.stats import cluster_mean
from labkit.course.study import Unit
from labkit.data import world
from labkit.data.pack_build import splits_of
from labkit.data.packs import samples_folder
from labkit.evaluate.scorecards import ItemResult, Scorecard
from studies import case_packs, case_pages, worked_cases
from studies.case_packs import NO, YES

BIOMED = world.language("biomed")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_neither_the_event_nor_the_compound_tells_whether_it_is_caused(split):
    items = case_packs.event_items("biomed", split)
    facts = {entity.name: entity.facts["effect"] for entity in splits_of("biomed")[split]}
    for field in ("event", "entity"):
        by_answer = [
            Counter(item[field] for item in items if item["answer"] == reply) for reply in (YES, NO)
        ]
        assert by_answer[0] == by_answer[1]
    assert all(
        (facts[item["entity"]] == item["event"]) == (item["answer"] == YES) for item in items
    )


def test_no_training_question_of_the_cases_is_an_item():
    trained = {question for question, *_ in case_packs.event_chats("biomed")}
    trained |= {row["messages"][0]["content"] for row in case_packs.reasoning_chats()}
    for split in ("dev", "test"):
        items = case_packs.event_items("biomed", split) + case_packs.known_reasoning_items(split)
        asked = {item["messages"][0]["content"] for item in items}
        assert len(items) > 60 and not asked & trained
    dev, test = (
        {item["messages"][0]["content"] for item in case_packs.known_reasoning_items(split)}
        for split in ("dev", "test")
    )
    assert not dev & test


def test_records_and_tables_tell_what_is_true_and_nothing_else():
    entities = {entity.name: entity for entity in world.private_entities("biomed")}
    rows = case_packs.pharma_documents("biomed")
    sources = Counter(row["source"] for row in rows)
    assert sources == {"paper": 280, "trial record": 140, "assay table": 140}
    words = {word: key for key, pair in case_packs.FIELDS.items() for word in pair}
    for row in rows:
        if row["source"] == "assay table":
            head, *lines = [line.strip("| ").split(" | ") for line in row["text"].split("\n")]
            keys = [words[cell.capitalize()] for cell in head[1:]]
            for name, *values in lines:
                assert values == [entities[name].facts[key] for key in keys]
        if row["source"] == "trial record":
            name, *fields = row["text"].removeprefix("Trial of ").rstrip(".").split(". ")
            found = dict(field.split(": ") for field in fields)
            assert found.pop("Given with") == entities[name].related
            assert {words[key]: value for key, value in found.items()} == entities[name].facts


def test_more_court_text_begins_with_less_of_it():
    less, more = (case_packs.court_documents("legal", measures) for measures in (1, 4))
    assert len(more) == 4 * len(less) and more[: len(less)] == less


def test_a_threshold_parts_what_is_caused_from_what_is_not():
    found = [(0.9, True), (0.6, True), (0.5, False), (0.1, False)]
    assert worked_cases.best_threshold(found) == 0.5
    upside_down = [(share, not caused) for share, caused in found]
    threshold = worked_cases.best_threshold(upside_down)
    assert sum((share > threshold) == caused for share, caused in upside_down) == 2


def unit(yes: list[float], no: list[float]) -> Unit:
    """A unit whose checkpoint `m` scored so on events and on what is none."""
    items = [
        ItemResult(f"{kind}{i}", "adverse events", kind, f"e{i}", score, "")
        for kind, scores in (("event", yes), ("no event", no))
        for i, score in enumerate(scores)
    ]
    return Unit("biomed", 0, {"m": Scorecard("m", "biomed", "test", "", items)})


def test_recall_false_alarms_and_balanced_accuracy_are_what_they_say():
    units = [unit([1, 1, 1, 0], [1, 0])]
    assert worked_cases.recall_of("m")(units).mean == 0.75
    assert worked_cases.false_alarms_of("m")(units).mean == 0.5
    assert cluster_mean(worked_cases.balanced(units, "m")).mean == pytest.approx(0.625)
    always_yes = [unit([1] * 9, [0])]
    assert cluster_mean(worked_cases.balanced(always_yes, "m")).mean == pytest.approx(0.5)


def card(score: float) -> Scorecard:
    """Twelve items of each must-hold axis, all with one score."""
    items = [
        ItemResult(f"{axis}{i}", axis, axis, f"e{i}", score, "")
        for axis in ("knowledge", "instructions", "general")
        for i in range(12)
    ]
    return Scorecard("m", "legal", "test", "", items)


def test_the_gate_holds_back_what_fell_and_lets_the_rest_pass():
    fell = worked_cases.gate_of(card(1.0), card(0.0))
    assert not fell["passed"] and "instructions" in fell["fallen"]
    assert worked_cases.gate_of(card(1.0), card(1.0)) == {"passed": True, "fallen": []}


def test_an_alarm_is_told_with_the_share_of_steps_it_came_at():
    look = {"seconds": 0.1}
    looks = [
        {"step": step, "scores": {"general": [[f"i{i}", f"e{i}", score] for i in range(12)]}} | look
        for step, score in ((0, 1.0), (20, 0.0), (40, 0.0))
    ]
    lineage = {
        "stage": {"kind": "cpt"},
        "steps": 80,
        "probe": looks,
        "loss_curve": [[1, 2.0], [20, 1.0], [80, 0.5]],
    }
    assert worked_cases.watched(lineage)["alarms"] == {"general": [0.25, True]}
    run = {"stages": [worked_cases.watched(lineage)], "gate": {"passed": False, "fallen": []}}
    data = {"watched": {"raw": [run, run]}}
    assert "2 of 2, at 25% of the steps (25% to 25%); loss fine in 2" in case_pages.watched_table(
        data
    )
    assert "Of 2 runs that the gate held back, the probe had warned in 2." in (
        case_pages.warned_early(data)
    )


def beginning(whole, *asked) -> list[dict]:
    """The first few of some items, of either answer."""
    return whole(*asked)[:8]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Both cases with a few rows a step, in a home of their own."""
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home" / "checkpoints"))
    for name in ("PHARMA", "LEGAL", "REAL_PHARMA", "REAL_LEGAL"):
        arms = getattr(worked_cases, name)
        fewer = {label: replace(arm, stages=few_rows(arm.stages)) for label, arm in arms.items()}
        monkeypatch.setattr(worked_cases, name, fewer)
    monkeypatch.setattr(worked_cases, "TS", (0.5,))
    for name in ("known_reasoning_items", "event_items"):
        whole = getattr(case_packs, name)
        monkeypatch.setattr(case_packs, name, partial(beginning, whole))
    return tmp_path


@pytest.mark.parametrize("part", ["pharma", "legal"])
def test_a_small_run_of_a_case_fills_its_page(small, part):
    told: list[str] = []
    run = {"pharma": worked_cases.run_pharma, "legal": worked_cases.run_legal}[part]
    data = run(small, told.append, seeds=1, real_seeds=1, profile_name="smoke")
    assert data["seeds"] == 1 and data["real"]["seeds"] == 1 and told
    assert all(row["compared"] == len(data["claims"]) for row in data["claims"])
    [written] = case_pages.write_pages(small, small / "docs")
    text = written.read_text("utf-8")
    assert "{" not in text and case_pages.NOT_RUN not in text
    for row in data["claims"]:
        assert row["claim"] in text


def test_the_shipped_pages_are_what_their_data_say(tmp_path):
    for written in case_pages.write_pages(samples_folder("measured"), tmp_path):
        shipped = (case_pages.DOCS / written.name).read_text("utf-8")
        assert written.read_text("utf-8") == shipped
