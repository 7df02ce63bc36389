"""Panels without a browser: moving the widget's value does what a hand on it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from labkit.base.errors import InputError
from labkit.course import panels
from labkit.course.labs import diagnose_lab, evaluate_lab

PIXEL = b"\x89PNG"
SCHEDULES = {
    "paper": {
        "attention": [0.0, 0.5, 0.3, 0.7, 1.0],
        "mlp": [1.0, 0.5, 0.7, 0.3, 0.0],
        "other": [0.5] * 5,
    }
}


class Session:
    """What the panel leads to, without a model: a move is its setting."""

    def __init__(self, move=lambda setting: setting):
        one = SimpleNamespace(sweep={}, score_grid=lambda told: None, methods=("slerp", "lerp"))
        self.benches = {"one": one, "two": SimpleNamespace(sweep={1: 1}, methods=("lerp",))}
        self.bench = one
        self.prompts, self.moved, self.moves = ["a?", "b?", "c?"], move, []

    def open(self, pair):
        self.bench = self.benches[pair]
        return ("instruct", f"domain {pair}")

    def move(self, setting):
        self.moves.append(setting)
        return self.moved(setting)

    def draw(self, move):
        return PIXEL + repr(move).encode()

    def tell(self, move):
        return repr(move)

    def answers(self, move):
        return " ".join(self.prompts)

    def score_on_dev(self, move):
        return "scored on dev"

    def look_at_test(self, move):
        return "looked at test"

    def save(self, move):
        return "<saved>"

    def export(self, move):
        raise InputError("this cannot be exported")


@pytest.fixture
def panel():
    session = Session()
    return panels._MergePanel(session, SCHEDULES, lambda *setting: setting), session


def groups(panel):
    return [[slider.value for slider in panel.anchors[group]] for group in panels.GROUP_NAMES]


def test_the_slider_of_all_moves_every_group_and_every_anchor_once(panel):
    panel, session = panel
    session.moves.clear()
    panel.t.value = 0.8
    assert (
        groups(panel) == [[0.8] * 5] * 3 and [s.value for s in panel.groups.values()] == [0.8] * 3
    )
    assert len(session.moves) == 1
    assert (
        bytes(panel.picture.value) == PIXEL + panel.told.value.encode()
        and "0.8" in panel.told.value
    )


def test_a_group_moves_alone_and_an_anchor_too(panel):
    panel, session = panel
    panel.groups["mlp"].value = 0.1
    assert groups(panel) == [[0.5] * 5, [0.1] * 5, [0.5] * 5]
    panel.anchors["mlp"][2].value = 0.9
    assert session.moves[-1] == ("slerp", [0.5] * 5, [0.1, 0.1, 0.9, 0.1, 0.1], [0.5] * 5)


def sent_back(widget, value):
    """What a panel tells the browser about a slider that the browser has just told it of."""
    told = []
    widget._send = lambda message, buffers=None: told.append(message)
    widget.set_state({"value": value})
    return [one for one in told if one["method"] == "update" and "value" in one["state"]]


@pytest.mark.parametrize("step", range(1, 21))
def test_nothing_is_written_to_a_slider_under_a_hand(panel, step):
    panel, session = panel
    value = min(1.0, sum([panels.STEP] * step))  # as a slider counts: 0.15000000000000002
    for slider in (panel.t, panel.groups["mlp"], panel.anchors["other"][2]):
        assert sent_back(slider, value) == [] and slider.value == value
    assert session.moves[-1][3] == [value, value, value, value, value]


def test_a_group_shows_the_mean_of_its_layers(panel):
    panel, _session = panel
    panel.anchors["mlp"][0].value = 1.0
    assert panel.groups["mlp"].value == pytest.approx(0.6)
    panel.per_layer.value = True
    panel.per_layer.value = False
    assert groups(panel)[1] == [panel.groups["mlp"].value] * 5


def test_a_schedule_by_name_opens_the_layers_until_a_hand_moves_one(panel):
    panel, _session = panel
    assert panel.deep.layout.display == "none"
    panel.preset.value = "paper"
    assert groups(panel) == list(SCHEDULES["paper"].values()) and panel.deep.layout.display is None
    panel.anchors["other"][0].value = 0.6
    assert panel.preset.value == "by hand"
    panel.per_layer.value = False
    assert panel.deep.layout.display == "none"
    assert (
        all(len(set(anchors)) == 1 for anchors in groups(panel))
        and groups(panel)[2][0] == panel.groups["other"].value
    )


def test_method_prompt_and_pair_lead_to_the_session(panel):
    panel, session = panel
    panel.method.value = "lerp"
    assert session.moves[-1][0] == "lerp"
    panel.prompts[1].value = "new?"
    assert panel.answers.value == "a? new? c?"
    assert panel.buttons["grid"].layout.display is None
    panel.pair.value = "two"
    assert panel.method.options == (("LERP", "lerp"),) and session.moves[-1][0] == "lerp"
    assert panel.buttons["grid"].layout.display == "none"
    assert {(left.value, right.value) for left, right in panel.ends} == {
        ("0 = instruct", "1 = domain two")
    }
    assert len(panel.ends) == 1 + 3 + 3


def test_buttons_work_and_their_errors_are_sentences(panel):
    panel, _session = panel
    panel.buttons["dev"].click()
    assert panel.result.value == "scored on dev"
    panel.buttons["test"].click()
    assert panel.result.value == "looked at test"
    assert panel.buttons["test"].description == "look at test (once)"
    panel.buttons["save"].click()
    assert panel.result.value == "&lt;saved&gt;"
    panel.buttons["export"].click()
    assert (
        panel.told.value == "error: this cannot be exported"
        and not panel.buttons["export"].disabled
        and panel.result.value == ""
    )
    panel.buttons["grid"].click()
    assert panel.told.value.startswith("('slerp'")


def test_a_fault_is_shown_escaped_and_the_next_move_clears_it():
    def fails(setting):
        if setting[1][0] == 0.7:
            raise ValueError("<script>")
        return setting

    panel = panels._MergePanel(Session(fails), SCHEDULES, lambda *setting: setting)
    panel.t.value = 0.7
    assert panel.move is None and bytes(panel.picture.value) == b"" and panel.answers.value == ""
    assert all(button.disabled for button in panel.buttons.values())
    assert (
        "fault in labkit" in panel.told.value
        and "&lt;script&gt;" in panel.sentence.value
        and "<script>" not in panel.sentence.value
    )
    panel.t.value = 0.2
    assert (
        panel.sentence.value == ""
        and "0.2" in panel.told.value
        and not panel.buttons["save"].disabled
    )


@pytest.mark.parametrize("low,high", [(0, 1), (-1, 3)])
def test_guess_starts_in_the_middle(low, high):
    slider = panels.guess_slider("q", low, high)
    assert slider.value == (low + high) / 2 and slider.tooltip == "q"


def press(widget, description):
    from ipywidgets import Button

    def walk(one):
        yield one
        for child in getattr(one, "children", ()):
            yield from walk(child)

    parts = list(walk(widget))
    button = next(
        part for part in parts if isinstance(part, Button) and part.description == description
    )
    button.click()
    return parts


def test_the_scenario_form_runs_saves_and_tells_errors():
    class Form:
        def run(self, **fields):
            if not fields["questions"]:
                raise InputError("questions: write at least one")
            return f"<b>{fields['name']}</b>"

        def save(self, **fields):
            return "mine.yaml"

    start = {
        "name": "mine",
        "about": "x",
        "questions": "a?",
        "says": "",
        "says_none_of": "",
        "form": "bullet",
        "at_least": 0.9,
    }
    panel = evaluate_lab.scenario_panel(Form(), start)
    values = [part.value for part in press(panel, "run") if hasattr(part, "value")]
    assert "<b>mine</b>" in values
    assert "saved as mine.yaml" in [
        part.value for part in press(panel, "save as YAML") if hasattr(part, "value")
    ]
    panel.children[2].value = ""
    assert "error: questions: write at least one" in [
        part.value for part in press(panel, "run") if hasattr(part, "value")
    ]


def test_the_clinic_panel_leads_from_symptoms_to_an_answer():
    class Room:
        def admit(self, number):
            return SimpleNamespace(number=number, budget=4)

        def curve(self):
            return PIXEL

        def symptoms(self):
            return "<i>pale</i>"

        def order(self, test):
            return f"{test}: <clear>"

        def answer(self, cause):
            return f"Right: {cause}"

    panel = diagnose_lab.clinic_panel(
        Room(),
        patients=[1, 2],
        tests={"blood: is it red?": "blood"},
        causes={"flu": "a cold, worse"},
    )
    seen = [part.value for part in press(panel, "see the patient") if hasattr(part, "value")]
    assert "<i>pale</i>" in seen and "patient 1: 4 tests can be ordered" in seen
    test, cause = (panel.children[place].children[0] for place in (4, 6))
    for choice, button, name in ((test, "order", "test"), (cause, "this is the cause", "cause")):
        assert choice.label == diagnose_lab.CHOOSE
        sent = [part.value for part in press(panel, button) if hasattr(part, "value")]
        assert f"Choose a {name} first." in sent and "<p><b>Right: flu</b></p>" not in sent
        choice.value = {"test": "blood", "cause": "flu"}[name]
    assert "<p>blood: &lt;clear&gt;</p>" in [
        part.value for part in press(panel, "order") if hasattr(part, "value")
    ]
    assert "<p><b>Right: flu</b></p>" in [
        part.value for part in press(panel, "this is the cause") if hasattr(part, "value")
    ]
