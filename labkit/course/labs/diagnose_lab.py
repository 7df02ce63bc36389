"""What notebook 09 shows: early warnings, the four questions, the release gate, the failure clinic.
And what the app for who can only ask a model does.

The panel of the clinic only wires what `ClinicRoom` computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path

import ipywidgets as widgets

from labkit.base.errors import InputError
from labkit.base.inputs import Strict
from labkit.base.pages import (
    Section,
    Sheet,
    covered,
    plain_table,
    sheet_html,
    signed,
    write_pdf,
)
from labkit.base.records import AXES, AXIS_NAMES, CONTROLS
from labkit.base.store import Checkpoint, write_file
from labkit.course import figures, journal
from labkit.course.labs.design_lab import named, options
from labkit.course.lesson import Lab, headless, say, show_html, what_lacks
from labkit.course.live import training, working
from labkit.course.panels import BUTTON, WIDE, download, guard_label, guarded_into, pressed
from labkit.data.packs import Pack, load_pack
from labkit.diagnose.clinic import CAUSES, Answer, Visit, Ward, admit, patients
from labkit.diagnose.diagnoses import (
    DIAGNOSES,
    QUESTIONS,
    Case,
    Diagnosis,
    Merge,
    Result,
    diagnose,
    open_case,
)
from labkit.diagnose.gate import UNCHECKED, GateReport, held_axes, run_gate
from labkit.diagnose.probe import Alarm, alarms, curves, read_looks
from labkit.evaluate.answers import (
    READ,
    Answers,
    Scored,
    questions_of,
    read_answers,
    score_answers,
    score_pair,
    write_questions,
)
from labkit.evaluate.scenarios import ScenarioResult
from labkit.merge.schedule import plain
from labkit.models.families import MODEL
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import Stage
from labkit.train.trainers import Progress

CHOOSE = "choose …"  # nothing is preselected that could be sent by a stray click
COVERS = (
    "In brackets: 95% intervals. 'Items only': what other items would have given for this very "
    "checkpoint. What another training seed would have given is not in them."
)


def show_probe(lab: Lab, checkpoint: Checkpoint) -> list[Alarm]:
    """What the probe saw while a stage trained, beside its loss; alarms in words and recorded."""
    looks, loss = read_looks(checkpoint.lineage), checkpoint.lineage["loss_curve"]
    if not looks or not looks[0].scores:
        say(
            "nothing was watched: the pack's dev split has none of the items the probe "
            "looks at, or the stage had no probe"
        )
        return []
    found = alarms(looks, loss)
    told = "; ".join(map(str, found)) or "No axis fell for certain by more than 0.10"
    seen = curves(looks)
    lab.show(
        figures.probe_curves(seen, loss, found),
        "probe",
        f"Training loss, and {', '.join(seen)} as the probe saw them, against steps. {told}.",
    )
    cost = sum(look.seconds for look in looks)
    say(
        f"{len(looks)} {'look' if len(looks) == 1 else 'looks'} took {cost:.1f} s, "
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
    found: dict[str, list[Result]] = {}
    with working("diagnosing") as doing:
        for label, one in cases.items():
            doing(f"diagnosing {label}, {len(found) + 1} of {len(cases)}")
            found[label] = diagnose(one)
    for label, results in found.items():
        for result in results:
            lab.record("diagnosis", checkpoint=label, **result.as_dict())
    for key, question in QUESTIONS.items():
        rows = [
            (
                f"{diagnosis.id}: {diagnosis.question}",
                _flagged_at(diagnosis),
                *(_told(results[i]) for results in found.values()),
            )
            for i, diagnosis in enumerate(DIAGNOSES)
            if diagnosis.asks == key
        ]
        show_html(f"<h3>{question}</h3>" + plain_table(("diagnosis", "flagged", *found), rows))
    say(COVERS)
    flagged = [
        (label, result.diagnosis.id, f"{_as_sentence(result.found.words)}", result.diagnosis.remedy)
        for label, results in found.items()
        for result in results
        if result.found and result.verdict == "flagged"
    ]
    if flagged:
        heads = ("model", "what is flagged", "what was measured", "remedy")
        show_html("<h3>What is flagged, and what helps</h3>" + plain_table(heads, flagged))
    return found


def _flagged_at(diagnosis: Diagnosis) -> str:
    """Beyond which value a diagnosis is flagged."""
    return f"{'above' if diagnosis.beyond > 0 else 'below'} {diagnosis.threshold:g}"


def _told(result: Result) -> str:
    if result.found is None:
        return "not measured"
    value = result.found.value
    of = f"; {result.found.of}" if result.found.of else ""
    flat = value.low == value.high
    shown = f"{value.mean:.2f}" if flat else f"{signed(value)}, {value.covers}{of}"
    return f"{result.verdict.upper() if result.verdict == 'flagged' else result.verdict}: {shown}"


def show_gate(lab: Lab, checkpoint: Checkpoint, label: str) -> GateReport:
    """The release gate on a checkpoint against the lab's start model; recorded under `label`."""
    with working(f"running the gate on {label}"):
        report = run_gate(
            str(checkpoint.folder), lab.model, pack=str(lab.pack.folder), profile=lab.profile
        )
    rows = [
        (
            AXIS_NAMES[held.axis],
            str(held.before),
            str(held.after),
            covered(held.change),
            held.allowed,
            held.verdict,
        )
        for held in report.axes
    ]
    heads = ("must hold", "start model", label, "difference", "may fall by", "verdict")
    show_html(f"<h3>The gate on {escape(label)}</h3>" + plain_table(heads, rows))
    say(f"{label}: {report}.")
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
        self.lab = lab
        self.ward = ToldWard(lab.known_pack(), lab.seed, lab.profile, progress=self._progress)
        self.visit: Visit  # there once a patient is admitted
        self.doing: Callable[[str], None] = lambda words: None  # told while a patient is trained

    def _progress(self, at: Progress) -> None:
        self.doing(
            f"training this patient: {at.stage.upper()}, step {at.step} of {at.steps}, "
            f"{at.seconds_left:.0f} s left"
        )

    def admit(self, number: int) -> Visit:
        self.visit = admit(number, self.ward)
        return self.visit

    def curve(self) -> bytes:
        """The loss curves as PNG; empty for a patient that was not trained but merged."""
        found = self.visit.curves()
        return (
            figures.png(
                figures.loss_curves(
                    {kind.upper(): curve for kind, curve in found.items()},
                    f"patient {self.visit.number}",
                )
            )
            if found
            else b""
        )

    def symptoms(self) -> str:
        """Scores beside the baseline's, and samples, as HTML."""
        before, after = self.visit.case.base_card, self.visit.case.card
        scores = [
            (AXIS_NAMES[axis], str(before.interval(axis)), str(after.interval(axis)))
            for axis in after.axes()
        ]
        heads = ("axis", "start model", f"patient {self.visit.number}")
        no_curve = (
            ""
            if self.visit.curves()
            else "<p>There is no loss curve: this patient was not trained but merged, or its "
            "training is not known.</p>"
        )
        said = plain_table(("asked", "right answer", "said"), self.visit.samples())
        return no_curve + plain_table(heads, scores) + said

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


def tests() -> dict[str, str]:
    """What can be ordered: its name and what it asks -> id."""
    return {f"{one.id}: {one.question}": one.id for one in DIAGNOSES}


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
        say(room.order(test))
    say(room.answer(diagnosis or given.diagnosis))


def clinic_panel(
    room: ClinicRoom, *, patients: list[int], tests: dict[str, str], causes: dict[str, str]
) -> widgets.Widget:
    """The failure clinic. Training a patient that is not there yet takes a minute."""
    patient = widgets.Dropdown(
        options=patients, description="patient", layout=widgets.Layout(width="200px")
    )
    call = widgets.Button(description="see the patient", button_style="primary")
    test = widgets.Dropdown(
        options={CHOOSE: "", **tests},
        description="test",
        layout=widgets.Layout(width="640px"),
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

    def say_so(words: str) -> None:
        told.value = words

    room.doing = say_so

    def see() -> None:
        answer.value = found.value = symptoms.value = ""
        test.value = cause.value = ""
        picture.layout.display = "none"
        picture.value = b""
        told.value = "training or loading this patient …"
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


# --- a model that one can only ask --------------------------------------------------------------

HOW_MANY = {"at most 10 of each kind": 10, "at most 40 of each kind": 40, "all there are": None}
MODEL, BASELINE = "the model's answers", "the baseline's answers"
TOLD_AXES = (
    "The share of questions answered right, with its 95% interval: what other questions of the "
    "same kind, about other subjects, could have given."
)
NO_BASELINE = "Whether anything fell, only a baseline can say: another file, of the model in use."


class JudgeDesk:
    """Questions out as a file, answers in as a file or as pasted text, and what they are worth."""

    def __init__(self, lab: Lab):
        self.lab = lab
        self.about, self.asked, self.questions, self.told, self.links, self.result = (
            widgets.HTML() for _ in range(6)
        )
        self.pack = widgets.Dropdown(
            options={load_pack(one).title: one for one in options(lab)["packs"]},
            value=named(lab.pack),
            description="domain",
            **WIDE,
        )
        self.many = widgets.Dropdown(options=HOW_MANY, description="questions", **WIDE)
        self.sides = {MODEL: AnswersField(MODEL), BASELINE: AnswersField(BASELINE)}
        self.pack.observe(guarded_into(self.asked, self._say_pack), "value")
        self._say_pack()
        making = pressed("make the questions", self.asked, "writing", self.make_questions)
        judging = pressed(
            "judge the answers", self.told, "scoring", self.judge, button_style="primary"
        )
        self.whole = widgets.VBox(
            [
                widgets.HTML("<h2>1. The questions</h2>"),
                self.pack,
                self.about,
                self.many,
                making,
                self.asked,
                self.questions,
                widgets.HTML("<h2>2. The answers</h2>"),
                *(side.whole for side in self.sides.values()),
                widgets.HTML("<h2>3. What they are worth</h2>"),
                judging,
                self.told,
                self.links,
                self.result,
            ]
        )

    @property
    def folder(self) -> Path:
        return self.lab.out_dir / "judged"

    def _chosen(self) -> Pack:
        return load_pack(self.pack.value)

    def _say_pack(self) -> None:
        self.about.value = f"<p>{escape(what_lacks(self._chosen()))}</p>"
        self.asked.value = self.questions.value = ""  # they would be another domain's

    def make_questions(self) -> str:
        """Write the questions as a file to download.

        Raises StoreError when it cannot be written.
        """
        pack, path = self._chosen(), self.folder / "questions.csv"
        found = questions_of(pack, limit=self.many.value)
        write_questions(found, path)
        self.questions.value = f"<p>Download: {download(path, 'the questions (CSV)')}.</p>"
        return (
            f"{len(found.questions)} questions of {pack.title}, without their keys. Open the file "
            "in a spreadsheet, ask the model each of them in a conversation of its own, and put "
            f"what it says into the column 'answer'. {' '.join(map(_as_sentence, found.told()))}"
        )

    def judge(self) -> str:
        """Show what the answers are worth, and offer it as a page to print.

        Raises InputError for answers that cannot be read or are of another domain, and for a letter
        that no font can draw.
        """
        self.links.value = self.result.value = ""
        pack = self._chosen()
        after, before = (side.read(self.folder) for side in self.sides.values())
        if after is None:
            raise InputError("there are no answers yet: choose a file, or paste them")
        found = judged(pack, after, before)
        self.result.value = sheet_html(found.sheet)
        lab = replace(self.lab, pack=pack)
        for result in found.scored.scenarios:
            lab.record("scenario", **result.as_dict())
        if found.gate and found.gate.axes:
            lab.record(
                "gate", checkpoint=after.name, passed=found.gate.passed, fallen=found.gate.fallen
            )
        path = write_pdf("dossier", asdict(found.sheet), self.folder / "judged.pdf")
        self.links.value = (
            f"<p>Download: {download(path, 'this page as PDF')}. It lies in "
            f"<code>{escape(str(path))}</code>.</p>"
        )
        return f"{len(found.scored.card.items)} questions are scored."


def _as_sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


class AnswersField:
    """Where answers are given, as a file or as text. about: whose they are."""

    def __init__(self, about: str):
        self.about = about
        self.file = widgets.FileUpload(
            accept=",".join(READ), description="choose a file", tooltip=about, **BUTTON
        )
        self.text = widgets.Textarea(
            placeholder="or paste rows here, with the line that names id and answer first",
            tooltip=f"{about}, pasted",
            rows=3,
            layout=widgets.Layout(width="min(100%, 760px)"),
        )
        self.given = widgets.HTML()
        self.file.observe(self._say, "value")
        hint = "" if about == MODEL else " (without them there is no gate)"
        title = widgets.HTML(f"<p><b>{escape(_as_sentence(about)[:-1])}</b>{hint}</p>")
        self.whole = widgets.VBox([title, self.file, self.given, self.text])

    def _say(self, _: object) -> None:
        names = ", ".join(one["name"] for one in self.file.value)
        self.given.value = f"<p>Given: {escape(names)}</p>" if names else ""

    def read(self, folder: Path) -> Answers | None:
        """What was given, kept below a folder; None for nothing.

        Raises InputError for two at once, and as `read_answers` does.
        """
        text = self.text.value.strip()
        if text and self.file.value:
            raise InputError(f"{self.about} are given twice, as a file and as text; empty the text")
        if not text and not self.file.value:
            return None
        if text:
            name = "pasted.jsonl" if text.startswith("{") else "pasted.csv"
            content: str | bytes = f"{text}\n"
        else:
            name, content = self.file.value[0]["name"], bytes(self.file.value[0]["content"])
        # a name from a browser is never a path of this machine
        plain = re.sub(r"[^\w.-]+", "-", Path(name).name).strip(".-")[-80:] or "answers"
        path = folder / ("model" if self.about == MODEL else "baseline") / plain
        write_file(path, content)
        found = read_answers(path)
        return found if self.about == MODEL else replace(found, name=f"{found.name} (baseline)")


@dataclass(frozen=True)
class Judged:
    """What answers are worth: as numbers and as a page. gate: None without a baseline."""

    scored: Scored
    gate: GateReport | None
    sheet: Sheet


def judged(pack: Pack, after: Answers, before: Answers | None = None) -> Judged:
    """Answers on four axes and the controls, on the pack's scenarios, and, with those of a
    baseline, through the gate.

    Raises InputError when a file holds no question of this pack.
    """
    if before is None:
        scored, gate = score_answers(pack, after), None
        sides = [scored]
    else:
        baseline, scored = score_pair(pack, before, after)
        axes = held_axes(baseline.card, scored.card)
        gate = GateReport(after.name, before.name, pack.name, axes, [])
        sides = [scored, baseline]
    sections = [
        _axes_section(sides),
        Section(
            "Scenarios",
            "Each is met when its share is reached for certain."
            if scored.scenarios
            else "No case of the pack's scenarios was asked, or the pack has none.",
            ("scenario", "at least", *(f"{one.card.checkpoint}" for one in sides), "first failure"),
            tuple(_scenario_row(result, sides) for result in scored.scenarios),
        ),
        _gate_section(gate),
        _notes_section(sides),
    ]
    sheet = Sheet(
        f"Judged by its answers: {after.name}",
        f"{len(scored.card.items)} questions of {pack.title} (pack {pack.name}, test)",
        _verdict(scored, gate),
        tuple(sections),
    )
    return Judged(scored, gate, sheet)


def _verdict(scored: Scored, gate: GateReport | None) -> str:
    said = [one.verdict for one in scored.scenarios]
    met = f" {said.count('met')} of {len(said)} scenarios are met." if said else ""
    return f"{_gated(gate)}{met}"


def _gated(gate: GateReport | None) -> str:
    """What the gate says; one that had nothing to check has not let anything pass."""
    if gate is None:
        return NO_BASELINE
    if not gate.axes:
        return _as_sentence(UNCHECKED)
    floor = [held.axis for held in gate.axes if held.before.mean == 0]
    nothing = f" Nothing could fall in {', '.join(floor)}: the baseline has none of it."
    return f"{gate}.{nothing if floor else ''}"


def _axes_section(sides: Sequence[Scored]) -> Section:
    """A row for each axis; one of the four that was not asked is said to lack."""
    rows = []
    for axis in AXES + CONTROLS:
        there = [axis in one.card.axes() for one in sides]
        if not any(there):
            if axis in AXES:
                rows.append((axis, *("not asked" for _ in sides), "0", "0"))
            continue
        found = [one.card.interval(axis) for one in sides]
        rows.append((axis, *map(str, found), str(found[0].n), str(found[0].clusters)))
    names = tuple(one.card.checkpoint for one in sides)
    return Section(
        "Four axes, and controls", TOLD_AXES, ("axis", *names, "questions", "subjects"), tuple(rows)
    )


def _scenario_row(result: ScenarioResult, sides: Sequence[Scored]) -> tuple[str, ...]:
    told = []
    for side in sides:
        same = [one for one in side.scenarios if one.scenario.name == result.scenario.name]
        told.append(f"{same[0].passed} of {same[0].n}: {same[0].verdict}" if same else "not asked")
    failed = result.as_dict()["example"]
    first = f"{failed['ask']} → {failed['reply']} ({failed['broken']})" if failed else ""
    about = f"{result.scenario.name}: {result.scenario.about}"
    return about, f"{result.scenario.at_least:.0%}", *told, first


def _gate_section(gate: GateReport | None) -> Section:
    if gate is None or not gate.axes:
        return Section("The gate", _gated(gate))
    rows = tuple(held.row() for held in gate.axes)
    heads = ("must hold", gate.baseline, gate.checkpoint, "difference", "may fall by", "verdict")
    return Section("The gate", _gated(gate), heads, rows)


def _notes_section(sides: Sequence[Scored]) -> Section:
    """What was not scored, and of whose answers that is said."""
    whose: dict[str, list[str]] = {}
    for side in sides:
        for note in side.notes:
            whose.setdefault(note, []).append(side.card.checkpoint)
    rows = tuple((" and ".join(names), note) for note, names in whose.items())
    return Section("What was not scored, and why", "", ("answers of", "what"), rows)
