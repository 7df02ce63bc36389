from __future__ import annotations

import json
import shutil

import pytest

from labkit.base import stats
from labkit.base.errors import InputError
from labkit.diagnose import gate
from labkit.evaluate import answers
from labkit.train import pipeline
from labkit.train.specs import PipelineSpec


@pytest.fixture
def trained(quick_stage):
    def make(pack="materials", **changes):
        return pipeline.run_spec(
            PipelineSpec(
                pack=pack, model="llama-s-instruct", stages=(quick_stage("cpt", **changes),)
            )
        )[-1]

    return make


def test_what_fell_is_held_back_and_named(trained):
    made = trained(steps=40, learning_rate=1e-2, batch_size=16)
    report = gate.run_gate(str(made.folder), "llama-s-instruct")
    assert (
        report.pack == "materials"
        and {"instructions", "general"} <= set(report.fallen)
        and not report.passed
    )
    assert str(report).startswith("held back: ") and "general fell by" in str(report)
    assert any(result.verdict == "flagged" for result in report.results)


def test_a_model_does_not_fall_behind_itself():
    report = gate.run_gate(
        "llama-s-instruct", "llama-s-instruct", pack="materials", profile="smoke"
    )
    assert report.passed and {held.axis: held.verdict for held in report.axes} == {
        # nothing changed, of so few subjects: Wilson's bound of 0 of n is above what is let through
        "knowledge": "not distinguishable",
        "instructions": "not distinguishable",
        "general": "not distinguishable",
    }
    assert str(report).endswith(", general (4 subjects)")
    with pytest.raises(InputError, match="give --pack"):
        gate.run_gate("llama-s-instruct", "llama-s-instruct")


def test_a_baseline_of_another_pack_is_refused(trained):
    ours, theirs = trained(), trained("legal")
    with pytest.raises(
        InputError, match="this baseline was trained on pack 'legal', the checkpoint on 'materials'"
    ):
        gate.run_gate(str(ours.folder), str(theirs.folder), profile="smoke")


def test_a_merge_is_diagnosed_as_one(trained, tmp_path):
    from labkit.base.store import Store
    from labkit.merge.recipes import Merge, Recipe

    made = trained()
    recipe = Recipe("llama-s-instruct", str(made.folder), Merge(t=0.25))
    merged = pipeline.merge_checkpoints(
        recipe, name="materials/llama-s-instruct/cpt-slerp", store=Store()
    )
    case = gate.case_of(str(merged.folder), "llama-s-instruct", None, "smoke")
    found = {
        result.diagnosis.id: result for result in gate.diagnose(case, ["wrong place", "barrier"])
    }
    assert found["wrong place"].verdict == "clear" and found["barrier"].found is not None


def test_broken_lineage_is_one_sentence(trained, tmp_path):
    shutil.copytree(trained().folder, tmp_path / "copy")
    (tmp_path / "copy" / "lineage.json").write_text("{")
    with pytest.raises(InputError, match=r"lineage.json: broken JSON"):
        gate.run_gate(str(tmp_path / "copy"), "llama-s-instruct")


@pytest.mark.parametrize(
    "text,words",
    [
        (
            "must_hold: {instructons: 0.1}",
            "must_hold.instructons: no axis has this name; did you mean 'instructions'",
        ),
        ("must_hold: {general: lots}", "must_hold.general is 'lots'"),
        ("must_hold: {general: 2}", "from 0 to 1"),
        ("hold: {}", "expected one key"),
        ("must_hold: [", "not valid YAML"),
    ],
)
def test_thresholds_are_checked(tmp_path, text, words):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        gate.read_must_hold(path)
    assert words in str(error.value) and str(path) in str(error.value)
    with pytest.raises(InputError, match="no such file"):
        gate.read_must_hold(tmp_path / "none.yaml")


def test_an_axis_the_pack_has_no_items_for(tmp_path, materials):
    folder = tmp_path / "mine"
    shutil.copytree(materials.folder, folder)
    rows = [json.loads(line) for line in (folder / "eval_test.jsonl").read_text().splitlines()]
    (folder / "eval_test.jsonl").write_text(
        "\n".join(json.dumps(row) for row in rows if row["axis"] in ("general", "knowledge"))
    )
    with pytest.raises(
        InputError, match=r"must_hold.instructions: pack 'materials' has no items of this axis"
    ):
        gate.run_gate(
            "llama-s-instruct",
            "llama-s-instruct",
            pack=str(folder),
            profile="smoke",
            must_hold={"instructions": 0.1},
        )
    assert {
        held.axis
        for held in gate.run_gate(
            "llama-s-instruct", "llama-s-instruct", pack=str(folder), profile="smoke"
        ).axes
    } == {"general", "knowledge"}


# --- answers from a file ------------------------------------------------------------------------


def replies(name, said):
    """A file of answers; said: id or question -> answer."""
    rows = [
        answers.Said(f"{name}:{number}", *((key, "") if "-" in key else ("", key)), answer)
        for number, (key, answer) in enumerate(said.items(), 1)
    ]
    return answers.Answers(name, tuple(rows))


def keyed(pack, *axes):
    """Right answers to what has one and can be asked."""
    asked = {question.id for question in answers.questions_of(pack).questions}
    return {
        item["id"]: item["answer"]
        for item in pack.rows("test")
        if item["id"] in asked and item["axis"] in axes and not item.get("checks")
    }


def test_the_gate_on_answers_holds_back_what_fell(materials):
    right = keyed(materials, "knowledge", "general")
    general = [id for id in right if answer_axis(materials, id) == "general"]
    worse = {id: "Nobody knows." if id in general[::2] else said for id, said in right.items()}
    report, notes = gate.gate_answers(materials, replies("new", worse), replies("old", right))
    assert report.fallen == ["general"] and str(report).startswith(
        "held back: general fell by 0.50"
    )
    assert report.results == [] and any("likelihood" in note for note in notes)
    back, _ = gate.gate_answers(materials, replies("old", right), replies("new", worse))
    assert back.passed and {held.axis for held in back.axes} == {"knowledge", "general"}


def answer_axis(pack, id):
    return next(item["axis"] for item in pack.rows("test") if item["id"] == id)


def test_leaving_out_what_is_hard_gains_nothing(materials):
    right = keyed(materials, "general")
    easy = dict(list(right.items())[:100])
    report, notes = gate.gate_answers(materials, replies("new", easy), replies("old", right))
    assert report.fallen == ["general"] and any("each counts as wrong there" in n for n in notes)


def test_an_axis_that_was_not_asked_is_said(materials):
    both = replies("x", keyed(materials, "general"))
    with pytest.raises(InputError, match=r"must_hold.reasoning: pack 'materials' has no items"):
        gate.gate_answers(materials, both, both, must_hold={"reasoning": 0.1})


def test_a_gate_that_had_nothing_to_check_lets_nothing_pass(materials):
    both = replies("x", keyed(materials, "reasoning"))
    with pytest.raises(InputError, match="asked of both: knowledge, instructions, general; ask"):
        gate.gate_answers(materials, both, both)
    assert gate.UNCHECKED in gate.drift(both, both, pack=materials).notes


# --- drift --------------------------------------------------------------------------------------

PLACES = ("Rome", "Oslo", "Lima", "Cairo", "Kyoto")


def log(count, ending, first=0):
    return {
        f"Where is house {number}?": f"House {number} is in {PLACES[number % 5]}{ending}"
        for number in range(first, first + count)
    }


def verdicts(report):
    return {(shift.measure, shift.over): shift.verdict for shift in report.shifts}


def test_the_same_answers_have_not_drifted():
    report = gate.drift(replies("log", log(80, ".")), replies("ref", log(80, ".")))
    assert set(verdicts(report).values()) == {"holds"} and not report.drifted
    assert str(report) == "no drift for certain in log against ref"
    assert report.unseen[0].startswith("whether an answer is true")


def test_what_changed_is_named_over_the_same_questions():
    later = log(80, ".")
    for number, question in enumerate(later):
        if number % 3 == 0:
            later[question] = "I\u2019m sorry, please consult an expert about this house"
    report = gate.drift(replies("log", later), replies("ref", log(80, ".")))
    found = verdicts(report)
    assert found["declines (English)", gate.SAME] == found[gate.NEW_WORDS, gate.SAME] == "drifted"
    assert found["is JSON", gate.SAME] == "holds"
    assert "declines (English) (the same questions)" in str(report)


def test_other_questions_are_two_samples_and_that_is_said():
    longer = log(80, ", as everyone in the whole street has told us many times", 100)
    report = gate.drift(replies("log", longer), replies("ref", log(60, ".")))
    found = verdicts(report)
    assert {over for _, over in found} == {gate.OTHER}
    assert found[gate.LENGTH, gate.OTHER] == "drifted"
    assert any("users ask other things" in words for words in report.unseen)
    same = gate.drift(replies("log", log(80, ".", 100)), replies("ref", log(60, ".")))
    assert not same.drifted


def test_few_answers_do_not_tell():
    report = gate.drift(replies("log", log(4, "!")), replies("ref", log(4, ".")))
    assert not report.drifted or "ends without" not in str(report)
    assert "too few answers" in str(report)


@pytest.mark.parametrize("first", [0, 100])
def test_equal_answers_to_few_questions_do_not_hold(first):
    """Of the same questions and of others: 0 of 8 that changed leave room for a third of all."""
    report = gate.drift(replies("log", log(8, ".", first)), replies("ref", log(8, ".")))
    assert "holds" not in verdicts(report).values() and "questions: 8 and 8)" in str(report)


def test_what_did_not_change_holds_only_of_many_subjects():
    def held(clusters, allowed):
        same = stats.Interval(0.0, 0.0, 0.0, clusters, clusters)
        return gate.Held("general", same, same, same, allowed).verdict

    assert held(6, 0.05) == held(72, 0.05) == held(1000, 0.0) == "not distinguishable"
    assert held(73, 0.05) == "holds"


def test_a_question_of_one_side_alone_is_counted():
    report = gate.drift(replies("log", log(70, ".")), replies("ref", log(60, ".")))
    assert any("questions of log alone: 10; compared with nothing" in n for n in report.notes)
    with pytest.raises(InputError, match="no answers in it"):
        gate.drift(replies("log", {}), replies("ref", log(3, ".")))


def test_keys_tell_which_axis_drifted(materials):
    right = keyed(materials, "general", "knowledge")
    worse = {
        id: "Paris" if answer_axis(materials, id) == "general" else said
        for id, said in right.items()
    }
    report = gate.drift(replies("log", worse), replies("ref", right), pack=materials)
    assert "general" in report.drifted and "knowledge" not in report.drifted
    assert not any("true" in words for words in report.unseen)


# --- the acceptance sheet -----------------------------------------------------------------------


def test_the_sheet_states_items_thresholds_and_what_they_can_show(materials, tmp_path):
    import yaml

    from labkit.base.pages import sheet_pdf, sheet_text

    found = gate.acceptance(materials, must_hold={"knowledge": 0.0, "general": 0.05}, gain=0.2)
    knowledge, general = found.demands
    assert (knowledge.gain, general.gain) == (0.2, None) and knowledge.entities == 20
    # a quarter of a fall takes sixteen times the items
    assert general.needed[0.25] == pytest.approx(16 * knowledge.needed[0.25], rel=0.02)
    assert found.scenarios["unknown fact"][1:] == (20, 0.8, 20)
    sheet = gate.acceptance_sheet(found)
    assert sheet_pdf(sheet, tmp_path / "a.pdf").stat().st_size > 1000
    assert "whole interval above -0.05" in sheet_text(sheet)
    gate.save_acceptance(found, tmp_path / "a.yaml")
    told = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert told["must_show"][1]["may_fall"] == 0.05 and told["items_kept_by"] == "buyer"


def test_a_sheet_that_cannot_be_written_says_why(materials):
    with pytest.raises(InputError, match="gain is 0"):
        gate.acceptance(materials, gain=0)
    with pytest.raises(InputError, match=r"must_hold.preference: .* asked in words"):
        gate.acceptance(materials, must_hold={"preference": 0.1})
