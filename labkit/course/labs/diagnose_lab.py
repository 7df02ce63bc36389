"""What notebook 09 shows: early warnings, the four questions, the release gate, the failure clinic.

The panel of the clinic only wires what `ClinicRoom` computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

import ipywidgets as widgets

from labkit.base.inputs import Strict
from labkit.base.pages import covered, plain_table
from labkit.base.store import Checkpoint
from labkit.course import figures, journal
from labkit.course.lesson import Lab, headless, show_html
from labkit.course.live import training
from labkit.course.panels import guard_label
from labkit.diagnose.clinic import CAUSES, Answer, Visit, Ward, admit, patients
from labkit.diagnose.diagnoses import (
    DIAGNOSES,
    QUESTIONS,
    Case,
    Merge,
    Result,
    diagnose,
    open_case,
)
from labkit.diagnose.gate import GateReport, run_gate
from labkit.diagnose.probe import Alarm, alarms, curves, read_looks
from labkit.merge.schedule import plain
from labkit.models.families import MODEL
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import Stage

CHOOSE = "choose …"  # nothing is preselected that could be sent by a stray click
COVERS = (
    "In brackets: 95% intervals. 'Items only': what other items would have given for this very "
    "checkpoint. What another training seed would have given is not in them."
)


def show_probe(lab: Lab, checkpoint: Checkpoint) -> list[Alarm]:
    """What the probe saw while a stage trained, beside its loss; alarms in words and recorded."""
    looks, loss = read_looks(checkpoint.lineage), checkpoint.lineage["loss_curve"]
    if not looks or not looks[0].scores:
        print(
            "nothing was watched: the pack's dev split has none of the items the probe "
            "looks at, or the stage had no probe"
        )
        return []
    found = alarms(looks, loss)
    told = "; ".join(map(str, found)) or "no axis fell for certain by more than 0.10"
    seen = curves(looks)
    lab.show(
        figures.probe_curves(seen, loss, found),
        "probe",
        f"Training loss, and {', '.join(seen)} as the probe saw them, against steps. {told}.",
    )
    cost = sum(look.seconds for look in looks)
    print(
        f"{len(looks)} looks took {cost:.1f} s, "
        f"{cost / checkpoint.lineage['wall_seconds']:.1%} of the stage. {told}."
    )
    for alarm in found:
        lab.record(
            "alarm",
            checkpoint=checkpoint.name,
            axis=alarm.axis,
            step=alarm.step,
            change=alarm.change,
            loss_before=alarm.loss_before,
            loss_then=alarm.loss_then,
        )
    return found


def case(lab: Lab, checkpoint: Checkpoint) -> Case:
    """A trained checkpoint as a case, the lab's start model being the baseline."""
    return open_case(checkpoint, lab.model, lab.pack, profile=lab.profile)


def merge_case(lab: Lab, domain: Checkpoint, t: float) -> Case:
    """The SLERP merge of the lab's start model (t=0) and a checkpoint (t=1) as a case."""
    general = load_checkpoint(lab.model)
    made = replace(lab.at(lab.model, domain, t, "slerp"), name=f"SLERP t={plain(t)}")
    return Case(
        made,
        general,
        lab.pack,
        profile=lab.profile,
        merge=Merge(general, load_checkpoint(domain), t),
    )


def show_diagnoses(lab: Lab, cases: dict[str, Case]) -> dict[str, list[Result]]:
    """Every diagnosis on every case, question by question; flagged ones with figure and remedy.

    Recorded.
    """
    found = {label: diagnose(one) for label, one in cases.items()}
    for label, results in found.items():
        for result in results:
            lab.record("diagnosis", checkpoint=label, **result.as_dict())
    for key, question in QUESTIONS.items():
        rows = [
            (diagnosis.id, diagnosis.question, *(_told(results[i]) for results in found.values()))
            for i, diagnosis in enumerate(DIAGNOSES)
            if diagnosis.asks == key
        ]
        show_html(f"<h3>{question}</h3>" + plain_table(("diagnosis", "asks", *found), rows))
    print(COVERS)
    for label, results in found.items():
        for result in results:
            if result.found and result.verdict == "flagged":
                print(
                    f"{label}: {result.diagnosis.id}. {result.found.words}. Remedy: "
                    f"{result.diagnosis.remedy}."
                )
    return found


def _told(result: Result) -> str:
    if result.found is None:
        return "not measured"
    value = result.found.value
    of = f"; {result.found.of}" if result.found.of else ""
    shown = f"{value.mean:.2f}" if value.low == value.high else f"{covered(value)}{of}"
    return f"{result.verdict.upper() if result.verdict == 'flagged' else result.verdict} ({shown})"


def show_gate(lab: Lab, checkpoint: Checkpoint, label: str) -> GateReport:
    """The release gate on a checkpoint against the lab's start model; recorded under `label`."""
    report = run_gate(
        str(checkpoint.folder), lab.model, pack=str(lab.pack.folder), profile=lab.profile
    )
    rows = [
        (
            held.axis,
            str(held.before),
            str(held.after),
            covered(held.change),
            held.allowed,
            held.verdict,
        )
        for held in report.axes
    ]
    show_html(
        plain_table(
            ("must hold", "baseline", "checkpoint", "difference", "fall let through", "verdict"),
            rows,
        )
    )
    print(report)
    lab.record("gate", checkpoint=label, passed=report.passed, fallen=report.fallen)
    return report


# --- the clinic -------------------------------------------------------------------------------


class ToldWard(Ward):
    """A ward that says what training a patient takes before it does."""

    def train(
        self, stages: Sequence[Stage], *, model: str = MODEL, variant: str | None = None
    ) -> Checkpoint:
        with training([self.spec(stages, model=model, variant=variant)]):
            return super().train(stages, model=model, variant=variant)


class ClinicRoom:
    """What the clinic's panel computes: symptoms, tests, answers as text, tables and a figure."""

    def __init__(self, lab: Lab):
        self.lab, self.ward = lab, ToldWard(lab.known_pack(), lab.seed, lab.profile)
        self.visit: Visit  # there once a patient is admitted

    def admit(self, number: int) -> Visit:
        self.visit = admit(number, self.ward)
        return self.visit

    def curve(self) -> bytes:
        """The loss curves as PNG; empty for a patient that was not trained but merged."""
        found = self.visit.curves()
        return (
            figures.png(figures.loss_curves(found, f"patient {self.visit.number}"))
            if found
            else b""
        )

    def symptoms(self) -> str:
        """Scores beside the baseline's, and samples, as HTML."""
        before, after = self.visit.case.base_card, self.visit.case.card
        scores = [
            (axis, str(before.interval(axis)), str(after.interval(axis))) for axis in after.axes()
        ]
        heads = ("axis", "start model", f"patient {self.visit.number}")
        return plain_table(heads, scores) + plain_table(("asked", "said"), self.visit.samples())

    def order(self, test: str) -> str:
        result = self.visit.order(test)
        found = result.found.words if result.found else "this cannot be measured on this patient"
        return f"{test}: {result.verdict}. {found}. {self.visit.budget} of the budget left."

    def answer(self, cause: str) -> Answer:
        said = self.visit.answer(cause)
        ordered = [result.diagnosis.id for result in self.visit.ordered]
        self.lab.record(
            "clinic", patient=self.visit.number, answer=cause, right=said.right, ordered=ordered
        )
        return said


def tests() -> list[str]:
    """What can be ordered."""
    return [diagnosis.id for diagnosis in DIAGNOSES]


def causes() -> dict[str, str]:
    """What can be named: id -> in a sentence."""
    return {cause.id: cause.words for cause in CAUSES}


class HeadlessVisit(Strict):
    """What a headless run orders and answers; in an open cell it would give the patient away."""

    orders: tuple[str, ...]
    diagnosis: str


def headless_visit() -> HeadlessVisit:
    """The one in the quiz file of notebook 09."""
    return journal.from_quiz("09_diagnose", "clinic", HeadlessVisit)


def clinic(lab: Lab, *, patient: int, orders: Iterable[str] = (), diagnosis: str = "") -> None:
    """A visit to the clinic.

    Headless: the patient's symptoms, the tests ordered, and the answer, without a widget. Orders
    and diagnosis that are left empty are those of `headless_visit`.
    """
    room = ClinicRoom(lab)
    if not headless():
        from IPython.display import display

        display(clinic_panel(room, patients=list(patients()), tests=tests(), causes=causes()))
        return
    given = headless_visit()
    visit = room.admit(patient)
    if visit.curves():
        lab.show(
            figures.loss_curves(visit.curves(), f"patient {patient}"),
            f"patient-{patient}",
            f"Training loss of patient {patient} against steps.",
        )
    show_html(room.symptoms())
    for test in tuple(orders) or given.orders:
        print(room.order(test))
    print(room.answer(diagnosis or given.diagnosis))


def clinic_panel(
    room: ClinicRoom, *, patients: list[int], tests: list[str], causes: dict[str, str]
) -> widgets.Widget:
    """The failure clinic. Training a patient that is not there yet takes a minute."""
    patient = widgets.Dropdown(
        options=patients, description="patient", layout=widgets.Layout(width="200px")
    )
    call = widgets.Button(description="see the patient", button_style="primary")
    test = widgets.Dropdown(
        options={CHOOSE: "", **{name: name for name in tests}},
        description="test",
        layout=widgets.Layout(width="340px"),
    )
    order = widgets.Button(description="order", disabled=True)
    cause = widgets.Dropdown(
        options={CHOOSE: "", **{words: key for key, words in causes.items()}},
        description="cause",
        layout=widgets.Layout(width="640px"),
    )
    name = widgets.Button(description="this is the cause", disabled=True)
    picture = widgets.Image(
        format="png", layout=widgets.Layout(width="560px", max_width="100%", display="none")
    )
    symptoms, found, answer = (widgets.HTML() for _ in range(3))
    told = widgets.Label()

    def see() -> None:
        answer.value = found.value = symptoms.value = ""
        test.value = cause.value = ""
        picture.layout.display = "none"
        picture.value = b""
        told.value = "training or loading this patient; up to a minute …"
        visit = room.admit(patient.value)
        curve = room.curve()
        picture.layout.display = None if curve else "none"
        picture.value, symptoms.value = curve, room.symptoms()
        told.value = f"patient {visit.number}: {visit.budget} tests can be ordered"
        order.disabled = name.disabled = False

    def run() -> None:
        if not test.value:
            told.value = "Choose a test first."
            return
        found.value += f"<p>{escape(room.order(test.value))}</p>"

    def check() -> None:
        if not cause.value:
            told.value = "Choose a cause first."
            return
        answer.value = f"<p><b>{escape(str(room.answer(cause.value)))}</b></p>"

    for button, act in ((call, see), (order, run), (name, check)):
        button.on_click(guard_label(act, told))
    order.disabled = name.disabled = True
    return widgets.VBox(
        [
            widgets.HBox([patient, call]),
            told,
            picture,
            symptoms,
            widgets.HBox([test, order]),
            found,
            widgets.HBox([cause, name]),
            answer,
        ]
    )
