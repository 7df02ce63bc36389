"""The dossier in the notebooks: what is proposed, what a learner wrote, what was made elsewhere."""

from __future__ import annotations

import pytest
import yaml

from labkit.base import records
from labkit.base.errors import InputError
from labkit.classroom.class_page import class_page, seat
from labkit.course import lesson, report
from labkit.course.labs import design_lab, dossier_lab
from labkit.design import dossier as paper
from labkit.evaluate.scenarios import make_scenario, save_scenarios


@pytest.fixture(scope="module")
def proposed():
    """What labkit proposes for a design on a pack, once for all tests."""
    from labkit.design.designer import design

    return paper.proposed(design(pack="legal", sequence="cpt-sft", merge="slerp", profile="smoke"))


@pytest.fixture
def lab(shared_home, monkeypatch, tmp_path, proposed):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    monkeypatch.setenv("LABKIT_HOME", str(shared_home))
    made = lesson.start(
        "01_design", pack="legal", profile="smoke", learner="Ida", out_dir=str(tmp_path / "out")
    )
    dossier_lab.change(made, lambda _: proposed)
    return made


def test_what_a_learner_wrote_stays_when_labkit_proposes_again(lab):
    dossier_lab.change(
        lab, lambda kept: paper.with_entry(kept, "domain.decides", words="A wrong clause costs.")
    )
    kept = dossier_lab.propose(lab)
    assert kept.domain.decides.words == "A wrong clause costs." and kept.domain.decides.proposed
    assert paper.empty(kept) == []


def test_what_could_not_be_read_again_is_not_kept(lab):
    path = dossier_lab.folder_of(lab) / paper.FILE
    before = path.read_text("utf-8")
    with pytest.raises(InputError, match=r"left_open: 'design\.data\.9\.source' is no place"):
        dossier_lab.change(
            lab, lambda kept: kept.model_copy(update={"left_open": {"design.data.9.source": "x"}})
        )
    assert path.read_text("utf-8") == before


def test_a_reason_for_a_place_that_goes_is_printed_and_the_file_can_be_read(lab, capsys):
    kept = dossier_lab.read(lab)
    open_now = {"design.data.2.source": "asked in May", "failures.1.action": "later"}
    dossier_lab.change(lab, lambda kept: kept.model_copy(update={"left_open": open_now}))
    again = paper.Failure(mode=kept.failures[0].mode, axis="general")
    dossier_lab.change(lab, lambda kept: dossier_lab.with_failure(kept, again))
    spec = dossier_lab.spec_of(lab)
    dossier_lab.propose(lab, spec.model_copy(update={"stages": spec.stages[:1]}))
    assert "asked in May" in capsys.readouterr().out
    now = dossier_lab.read(lab)
    assert now.left_open == {"failures.1.action": "later"}
    assert now.failures[0].mode == again.mode


def test_the_form_says_which_way_of_failing_demands_what_a_criterion_does_not(lab):
    dossier_lab.change(lab, lambda kept: paper.with_fall(kept, "criteria", "instructions", None))
    shown = [
        child.value
        for row in dossier_lab.PartPanel(lab, "criteria").rows.children
        for child in getattr(row, "children", ())
        if "What the gate" in str(child.value)
    ]
    assert any("0.05, demanded by the way of failing" in one for one in shown)


def test_another_design_drops_the_failures_nobody_wrote_about(lab):
    before = dossier_lab.read(lab)
    written = next(i for i, one in enumerate(before.failures, 1) if one.diagnosis == "barrier")
    dossier_lab.change(
        lab, lambda kept: paper.with_entry(kept, f"failures.{written}.action", words="Stop.")
    )
    spec = dossier_lab.spec_of(lab).model_copy(update={"merge": None})
    left = {one.diagnosis for one in dossier_lab.propose(lab, spec).failures}
    assert "barrier" in left  # somebody wrote about it
    assert "inconsistent since merging" not in left and "instruction loss" in left


def test_scenarios_and_closing_made_elsewhere_are_gathered(lab):
    scenario = make_scenario(
        {
            "name": "court dates",
            "about": "A date is never invented.",
            "at_least": 0.9,
            "cases": [{"ask": "When is the hearing?", "expect": {"says_none_of": ["Monday"]}}],
        }
    )
    save_scenarios([scenario], lab.out_dir / "scenarios" / "court-dates.yaml")
    lab.record("reflection", id="closing_fails", question="?", text="On dates.", made="committed")
    kept = dossier_lab.gather(lab)
    one = next(one for one in kept.scenarios if one.name == "court dates")
    assert one.scenario == scenario and "90%" in one.success.proposed
    assert kept.closing.fails.words == "On dates."
    assert dossier_lab.gather(lab) == kept  # twice is once


def test_a_file_edited_by_hand_is_told_in_a_sentence(lab):
    path = dossier_lab.folder_of(lab) / paper.FILE
    data = yaml.safe_load(path.read_text("utf-8"))
    data["domain"]["nmae"] = "law"
    path.write_text(yaml.safe_dump(data), "utf-8")
    with pytest.raises(InputError, match=r"dossier\.yaml.*nmae.*name"):
        dossier_lab.read(lab)


def test_it_is_taken_home_and_stands_in_every_report(lab, capsys):
    dossier_lab.change(
        lab, lambda kept: paper.with_entry(kept, "closing.sequence", words="<b>read</b> first")
    )
    paths = dossier_lab.take_home(lab)
    assert {path.name for path in paths} >= {"dossier.pdf", "dossier.html", "gate.yaml"}
    assert "No place is empty" in capsys.readouterr().out
    sections = {one.head: one for one in report.read_learner(lab.out_dir, "Ida").sections}
    assert any("<b>read</b> first" in cell for cell in sections["Closing statement"].rows[0])
    rows = [row for row in records.read(lab.out_dir) if row["kind"] == "dossier"]
    page = class_page([seat("Ida", rows)], title="t", subtitle="s")
    part = next(part for part in page.parts if part.head == "Dossiers")
    assert part.rows[0][0] == "Ida" and part.rows[0][-2] == "<b>read</b> first"


def test_a_record_that_is_no_dossier_is_left_out_and_counted(lab):
    rows = [
        {"kind": "dossier", "notebook": "10_report", "pack": "legal", "profile": "smoke",
         "seed": 0, "learner": "Ida", "dossier": {"domain": {"unknown": 1}}}
    ]  # fmt: skip
    found = seat("Ida", rows)
    assert found.unread == 1 and not found.of("dossier")


def test_the_gate_and_the_probe_are_the_dossiers(lab):
    kept = dossier_lab.change(lab, lambda one: paper.with_fall(one, "criteria", "general", 0.2))
    assert paper.must_hold(kept)["general"] == 0.05  # a failure mode is stricter
    kept = dossier_lab.change(lab, lambda one: paper.with_fall(one, "failures", "general", 0.3))
    assert paper.must_hold(kept)["general"] == 0.2
    assert dossier_lab.watch_of(lab).axes == ("instructions", "general")
    added = paper.Failure(mode="it stops joining facts", axis="reasoning", may_fall=0.1)
    dossier_lab.change(lab, lambda one: dossier_lab.with_failure(one, added))
    assert dossier_lab.watch_of(lab).axes == ("instructions", "general", "reasoning")
    with pytest.raises(InputError, match="less than or equal to 1"):
        dossier_lab.change(lab, lambda one: paper.with_fall(one, "criteria", "general", 5.0))


def test_the_desk_keeps_domain_and_people_and_offers_the_pages(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "0")
    desk = dossier_lab.DossierDesk(design_lab.Studio(lab, {"pack": "legal"}))
    desk.name.value = "Tenancy law"
    assert dossier_lab.read(lab).domain.name == "Tenancy law" and desk.stands_in.value
    desk.stands_in.value = False
    assert not dossier_lab.read(lab).domain.stands_in and "stands in" in desk.told.value
    desk.person.value, desk.role.value = "Ida", "data"
    assert desk._add() == "Added: Ida." and len(desk.people.children) == 1
    with pytest.raises(InputError, match="give the person a name"):
        desk._add()
    assert desk._remove("Ida") == "Removed: Ida." and not desk.people.children
    desk._turn("domain")
    assert desk.heads["domain"].tooltip.startswith("close") and desk.forms["domain"].children
    assert desk.make().startswith("The pages are made.") and "dossier.pdf" in desk.links.value
    assert "words are as they were" in desk.propose()
    assert dossier_lab.read(lab).domain.name == "Tenancy law"
