"""The learner's dossier in the notebooks and the app: proposed, shown as a form, kept, run.

Every notebook fills its part of one file. What a learner writes in a form is kept at once, and read
again before it is changed, so that two open notebooks do not undo each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import ipywidgets as widgets
from filelock import FileLock

from labkit.base.errors import InputError
from labkit.base.pages import plain_table, sheet_html, signed
from labkit.base.records import AXES, AXIS_NAMES, CONTROLS
from labkit.base.stats import Interval
from labkit.base.store import Checkpoint
from labkit.course import journal
from labkit.course.labs.design_lab import Studio
from labkit.course.labs.evaluate_lab import scenario_table
from labkit.course.lesson import Lab, headless, say, show_html
from labkit.course.live import training, working
from labkit.course.panels import download, guarded_into, pressed
from labkit.data.packs import load_pack, packs_folder
from labkit.design import dossier as paper
from labkit.design.comparison import START, Comparison
from labkit.design.designer import design, in_words, is_local
from labkit.design.dossier import Criterion, Dossier, Entry, Failure, Table, TestScenario
from labkit.design.planner import AtSize
from labkit.diagnose.diagnoses import DIAGNOSES, Case, Result, diagnose
from labkit.diagnose.gate import GateReport, Held, case_of, run_gate
from labkit.diagnose.probe import Watcher, alarms, read_looks, watcher
from labkit.evaluate.scenarios import ScenarioResult, read_scenarios, run_scenarios
from labkit.evaluate.scorecards import Scorecard
from labkit.models.zoo import SMOLLM2
from labkit.train.pipeline import load_checkpoint, run_spec, trainable
from labkit.train.specs import DPO, GENTLE, PipelineSpec, in_real

SAVED, CLOSING = "scenarios", "closing_"
FIRST = 3  # members of a list that a short form shows
WIDE = {"layout": {"width": "98%", "max_width": "900px"}}
ABOVE = {  # a label of any length, above its field
    "layout": {
        "width": "98%",
        "max_width": "900px",
        "flex_flow": "column",
        "align_items": "flex-start",
    },
    "style": {"description_width": "auto"},
}


def folder_of(lab: Lab) -> Path:
    """Where a learner's dossier on a pack lies, with all that is written of it."""
    pack = re.sub(r"[^a-z0-9]+", "-", lab.pack.name.lower()).strip("-") or "pack"
    return lab.out_dir / "dossiers" / f"{journal.learner_key(lab.learner)}-{pack}"


def read(lab: Lab) -> Dossier:
    """The dossier as it is kept; an empty one where nothing is.

    Raises InputError when its file was edited and cannot be read.
    """
    path = folder_of(lab) / paper.FILE
    return paper.load_dossier(path) if path.is_file() else Dossier()


def change(lab: Lab, make: Callable[[Dossier], Dossier]) -> Dossier:
    """Read, change and keep the dossier, one at a time.

    Raises InputError, and keeps the file, when what was made of it could not be read again.
    """
    folder = folder_of(lab)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{paper.FILE}.lock"):
        made = paper.again(make(read(lab)))
        paper.save_dossier(made, folder / paper.FILE)
    return made


def record(lab: Lab, kept: Dossier) -> None:
    """Keep the dossier as it stands among the records: class pages and evidence packs read it
    there.
    """
    lab.record("dossier", dossier=paper.as_data(kept))


def propose(
    lab: Lab,
    spec: PipelineSpec | None = None,
    *,
    untouched: Scorecard | None = None,
    found: Comparison | None = None,
    sizes: Sequence[AtSize] = (),
) -> Dossier:
    """Have labkit propose every part anew from a spec (by default the dossier's own); what the
    learner wrote stays. untouched: the scorecard of its start model, as `untouched` gives it.
    """
    gone: list[str] = []

    def anew(kept: Dossier) -> Dossier:
        made = paper.proposed(
            spec or spec_of(lab, kept), kept, untouched=untouched, found=found, sizes=sizes
        )
        gone.extend(paper.fell_away(kept, made))
        return made

    made = change(lab, anew)
    for sentence in gone:
        say(sentence)
    return made


def untouched(lab: Lab, spec: PipelineSpec | None = None) -> Scorecard | None:
    """The scorecard of the model that a design starts from (by default the dossier's own), before
    anything is trained; None, and said so, for a model that would have to be downloaded.
    """
    model = (spec or spec_of(lab)).model
    if not is_local(model):
        say(f"Not measured: {model} lies on the hub, and nothing is downloaded for a dossier.")
        return None
    card = lab.score(model, f"{model}, untouched")
    return card if isinstance(card, Scorecard) else None


def spec_of(lab: Lab, kept: Dossier | None = None) -> PipelineSpec:
    """The dossier's own design with this session's profile and seed.

    Where there is none yet: CPT, SFT and DPO as far as the pack has rows for them, merged back.
    """
    made = (kept or read(lab)).design.spec
    if made is None:
        stages, _ = trainable((*GENTLE, DPO), lab.pack)
        made = design(
            pack=_named(lab),
            model=lab.model,
            sequence="-".join(stage.kind for stage in stages),
            merge="slerp",
        )
        if lab.model == SMOLLM2:  # steps of the tiny models would take hours
            made = made.model_copy(update={"stages": in_real(stages)})
    return made.model_copy(update={"profile": lab.profile, "seed": lab.seed})


def _named(lab: Lab) -> str:
    folder = lab.pack.folder
    return lab.pack.name if folder.parent == packs_folder() else str(folder.resolve())


# --- shown and filled in ----------------------------------------------------------------------


def part(lab: Lab, *names: str, short: bool = False) -> None:
    """One part of the dossier or several as a form; headless as tables.

    names: keys of dossier.PARTS, or the beginning of a path such as "design.data". short: of a list
    the first members only, and said so. A dossier that is still empty is proposed first.
    """
    if not (folder_of(lab) / paper.FILE).is_file():
        propose(lab)
    kept = gather(lab)
    if headless():
        for name in dict.fromkeys(name.split(".")[0] for name in names):
            show_html(sheet_html(paper.part_of(kept, name)))
        return
    from IPython.display import display

    display(widgets.VBox([PartPanel(lab, name, short=short).whole for name in names]))


class PartPanel:
    """A form for one part: a text area per place, with what labkit proposes above it.

    Every text is kept when its field is left. Failure modes and scenarios of one's own can be
    added.
    """

    def __init__(self, lab: Lab, name: str, *, short: bool = False):
        self.lab, self.name, self.short = lab, name, short
        self.told = widgets.HTML()
        self.rows = widgets.VBox()
        self.state = widgets.HTML()
        more = {"failures": self._add_failure, "scenarios": self._add_scenario}.get(name)
        self.head = widgets.HTML(f"<h3>{escape(paper.PARTS[name.split('.')[0]])}</h3>")
        self.whole = widgets.VBox(
            [self.head, self.rows, *([more()] if more else []), self.told, self.state]
        )
        self.draw()

    def draw(self) -> None:
        """All fields anew, from the file."""
        kept = read(self.lab)
        part = self.name.split(".")[0]
        rows = [
            child
            for path, label, entry in paper.entries(kept, part)
            if path.startswith(self.name) and self._shown(path)
            for child in self._field(kept, path, label, entry)
        ]
        listed = getattr(kept, part)
        if self.name in ("criteria", "failures") and not self.short:
            of = {one.axis: one for one in listed if one.axis}
            rows += [self._fall(kept, one) for one in of.values()]
        if self.short:
            rows.insert(0, widgets.HTML(self._rest(kept, part)))
        self.rows.children = rows
        self._say_state(kept)

    def _shown(self, path: str) -> bool:
        """Of a list the first members; of the comparison only what the learner is asked."""
        step = path.split(".")[1]
        if not self.short:
            return True
        return int(step) <= FIRST if step.isdigit() else step != "rows"

    def _rest(self, kept: Dossier, part: str) -> str:
        """What a short form does not ask for, in a sentence or as a table."""
        if part == "comparison":
            table = paper.part_of(kept, part).sections[0]
            rows = [[cell.partition("\n")[0] for cell in row] for row in table.rows]
            told = "<p>The first line of each cell; the whole table stands in the dossier.</p>"
            return told + plain_table(table.heads, rows)
        found = getattr(kept, part)
        more = len(found) - FIRST if isinstance(found, tuple) else 0
        return f"<p>{more} more stand in the dossier.</p>" if more > 0 else ""

    def _fall(self, kept: Dossier, one: Criterion | Failure) -> widgets.Widget:
        """How far an axis may fall: this is what the gate reads."""
        stricter = paper.demanded_beside(kept, one) if isinstance(one, Criterion) else ""
        allowed = widgets.Text(
            value="" if one.may_fall is None else f"{one.may_fall:g}",
            description=f"{one.axis} may fall by at most",
            placeholder="nothing is demanded here" if stricter else "nothing is demanded",
            continuous_update=False,
            layout=widgets.Layout(width="420px"),
            style={"description_width": "250px"},
        )
        told = widgets.HTML(
            f"<p>What the gate lets it fall by: {escape(stricter)}.</p>" if stricter else ""
        )

        def keep() -> None:
            text = allowed.value.strip()
            try:
                fall = float(text) if text else None
            except ValueError:
                raise InputError(
                    f"{one.axis} may fall by {text!r}: give a number from 0 to 1, or nothing"
                ) from None
            made = change(self.lab, lambda kept: paper.with_fall(kept, self.name, one.axis, fall))
            self._say_state(made)

        allowed.observe(guarded_into(self.told, keep), "value")
        return widgets.VBox([allowed, told]) if stricter else allowed

    def _field(
        self, kept: Dossier, path: str, label: str, entry: Entry
    ) -> tuple[widgets.Widget, ...]:
        asks, shown = paper.question_of(kept, path), _label(kept, path, label)
        proposal = escape(entry.proposed).replace("\n", "<br>") or "nothing yet"
        about = widgets.HTML(
            f'<p style="margin: 10px 0 0; line-height: 1.4"><b>{escape(shown)}</b> '
            f'{escape(asks)}<br><span style="color: #555">labkit proposes: {proposal}</span></p>'
        )
        area = widgets.Textarea(
            value=entry.words,
            description=f"your words: {shown}",  # all that a screen reader says of the field
            placeholder="kept when you leave this field (Tab)",
            rows=2,
            continuous_update=False,
            **ABOVE,
        )
        area.observe(guarded_into(self.told, lambda: self._keep(path, label, area.value)), "value")
        return about, area

    def _keep(self, path: str, label: str, text: str) -> None:
        words = journal.plain_text(text)

        def write(kept: Dossier) -> Dossier:
            if {one: told for one, told, _ in paper.entries(kept)}.get(path) != label:
                raise InputError(
                    "the dossier has changed since this form was drawn; open it again (in a "
                    f"notebook: run its cell), then write '{label}' once more"
                )
            return paper.with_entry(kept, path, words=words)

        made = change(self.lab, write)
        self.told.value = f"<p>Kept: {escape(label)}.</p>"
        self._say_state(made)

    def _say_state(self, kept: Dossier) -> None:
        self.state.value = f"<p>{escape(paper.told_state(kept))}</p>"

    def _add_failure(self) -> widgets.Widget:
        mode = widgets.Text(
            description="another way", placeholder="how could this design fail?", **WIDE
        )
        axis = widgets.Dropdown(
            options=[("no axis", ""), *((AXIS_NAMES[one], one) for one in (*AXES, *CONTROLS))],
            description="axis",
        )
        fall = widgets.BoundedFloatText(value=0.05, min=0, max=1, step=0.01, description="may fall")
        test = widgets.Dropdown(
            options=[("no diagnosis", ""), *((one.id, one.id) for one in DIAGNOSES)],
            description="diagnosis",
        )

        def add() -> None:
            if not mode.value.strip():
                raise InputError("say in words how the design could fail, then add it")
            said = {
                "mode": journal.plain_text(mode.value),
                "axis": axis.value,
                "may_fall": fall.value if axis.value else None,
                "diagnosis": test.value,
            }
            made = paper.checked({"failures": [said]}).failures[0]
            change(self.lab, lambda kept: with_failure(kept, made))
            mode.value = ""
            self.draw()

        button = widgets.Button(description="add it")
        button.on_click(guarded_into(self.told, add))
        return widgets.VBox([mode, widgets.HBox([axis, fall, test, button])])

    def _add_scenario(self) -> widgets.Widget:
        name = widgets.Text(
            description="another one", placeholder="what kind of situation?", **WIDE
        )

        def add() -> None:
            if not name.value.strip():
                raise InputError("give the situation a name, then add it")
            said = {"name": journal.plain_text(name.value)}
            made = paper.checked({"scenarios": [said]}).scenarios[0]
            change(self.lab, lambda kept: with_scenario(kept, made))
            name.value = ""
            self.draw()

        button = widgets.Button(description="add it")
        button.on_click(guarded_into(self.told, add))
        return widgets.VBox([name, button])


def _label(kept: Dossier, path: str, label: str) -> str:
    """A place's label; a cell of the comparison is also called by its design."""
    part, *_, last = path.split(".")
    cell = part == "comparison" and last.isdigit()
    return f"{label}: {kept.comparison.designs[int(last) - 1]}" if cell else label


def with_failure(kept: Dossier, made: Failure) -> Dossier:
    """The dossier with a failure mode more; one of that name is replaced."""
    known = {one.mode: one for one in kept.failures} | {made.mode: made}  # in its old place
    return kept.model_copy(update={"failures": tuple(known.values())})


def with_scenario(kept: Dossier, made: TestScenario) -> Dossier:
    """The dossier with a scenario more. One of that name keeps its words and gets the cases."""
    known = {one.name: one for one in kept.scenarios}
    before = known.get(made.name)
    known[made.name] = (
        before.model_copy(update={"scenario": made.scenario or before.scenario}) if before else made
    )
    return kept.model_copy(update={"scenarios": tuple(map(paper.with_signs, known.values()))})


def gather(lab: Lab) -> Dossier:
    """Put into the dossier what the learner has made elsewhere: scenarios saved by the form of
    notebook 07, and the closing statement of notebook 10.
    """
    saved = [
        scenario
        for path in sorted((lab.out_dir / SAVED).glob("*.yaml"))
        for scenario in read_scenarios(path)
    ]
    written = {
        id.removeprefix(CLOSING): row["text"]
        for id, row in journal.by_id(journal.kept(lab.out_dir, lab.learner, "reflection")).items()
        if id.startswith(CLOSING) and row["text"] and row["pack"] == lab.pack.name
    }

    def put(kept: Dossier) -> Dossier:
        for scenario in saved:
            kept = with_scenario(kept, TestScenario(name=scenario.name, scenario=scenario))
        for name, text in written.items():
            kept = paper.with_entry(kept, f"closing.{name}", words=text)
        return kept

    return change(lab, put)


# --- run on the learner's own design ----------------------------------------------------------


def train_designs(lab: Lab) -> dict[str, str | Checkpoint]:
    """The start model, the learner's design and its alternatives; what is trained is reused.

    A dossier whose designs were not compared yet has the learner's own only.
    """
    kept = read(lab)
    specs = kept.comparison.specs or (spec_of(lab, kept),)
    names = kept.comparison.designs or ("Your design",)
    at_hand = [spec.model_copy(update={"profile": lab.profile, "seed": lab.seed}) for spec in specs]
    made: dict[str, str | Checkpoint] = {START: at_hand[0].model}
    with training(at_hand) as live:
        for name, spec in zip(names, at_hand, strict=False):  # columns of words alone have no spec
            made[name] = run_spec(spec, progress=live, watch=watch_of(lab, kept))[-1]
    return made


def watch_of(lab: Lab, kept: Dossier | None = None) -> Watcher:
    """The probe that the dossier's failure modes ask for."""
    return watcher(lab.pack, axes=paper.watched(kept or read(lab)))


def run_own_criteria(lab: Lab, models: Mapping[str, str | Checkpoint]) -> Dossier:
    """Every criterion on several models, the first being the start model: scores, the change since
    then, and whether it fell by more than it may. Kept in the dossier.
    """
    cards = lab.there({label: lab.score(model, label) for label, model in models.items()})
    before = cards[next(iter(models))]
    heads = ("model", "share right (95% interval)", "change (runs and items)", "may fall by", "so")

    def told(one: Criterion) -> Criterion:
        if one.axis not in before.axes():
            return one
        rows = [(before.checkpoint, str(before.interval(one.axis)), "", "", "")]
        for label in list(models)[1:]:
            since = lab.compare(before, cards[label], one.axis)
            assert isinstance(since, Interval), "the axis is there"
            allowed = one.may_fall
            after = cards[label].interval(one.axis)
            held = Held(one.axis, before.interval(one.axis), after, since, allowed or 0.0)
            so = ("", "") if allowed is None else (f"{allowed:.2f}", held.verdict)
            rows.append((label, str(after), signed(since), *so))
        return one.model_copy(update={"found": Table(heads=heads, rows=tuple(rows))})

    made = change(
        lab, lambda now: now.model_copy(update={"criteria": tuple(map(told, now.criteria))})
    )
    show_html(
        plain_table(
            ("axis", *heads),
            [(AXIS_NAMES[one.axis], *row) for one in made.criteria for row in one.found.rows],
        )
    )
    return made


def run_own_scenarios(lab: Lab, models: Mapping[str, str | Checkpoint]) -> Dossier:
    """Every scenario of the dossier that has cases, on several models; kept in the dossier."""
    kept = gather(lab)
    wanted = paper.scenarios_of(kept)
    without = [one.name for one in kept.scenarios if one.scenario is None]
    if without:
        say(
            f"Not run, because they have no cases yet: {', '.join(without)}. Write cases for them "
            "with the form of notebook 07, under the same names."
        )
    results: list[ScenarioResult] = []
    for label, model in models.items() if wanted else ():
        with working(f"running {len(wanted)} scenarios on {label}"):
            results += run_scenarios(load_checkpoint(model), wanted, name=label)
    for result in results:
        lab.record("scenario", **result.as_dict())
    if results:
        show_html(scenario_table(results))
    heads = ("model", "cases passed", "share (95% interval)", "verdict")

    def told(one: TestScenario) -> TestScenario:
        rows = tuple(
            (
                result.checkpoint,
                f"{result.passed} of {result.n}",
                "{:.2f} [{:.2f}, {:.2f}]".format(result.passed / result.n, *result.interval),
                result.verdict,
            )
            for result in results
            if result.scenario.name == one.name
        )
        return one.model_copy(update={"found": Table(heads=heads, rows=rows)}) if rows else one

    return change(
        lab,
        lambda now: now.model_copy(update={"scenarios": tuple(map(told, now.scenarios))}),
    )


def train_mine(lab: Lab) -> list[Checkpoint]:
    """The learner's own design, a checkpoint per stage and merge; what is trained is reused."""
    kept = read(lab)
    spec = spec_of(lab, kept)
    with training([spec]) as live:
        return run_spec(spec, progress=live, watch=watch_of(lab, kept))


def run_own_failures(lab: Lab) -> GateReport:
    """The failure modes on the learner's own checkpoint: their diagnoses, and the gate with what
    the dossier lets fall. Kept in the dossier, recorded.
    """
    kept, made = read(lab), train_mine(lab)
    spec = spec_of(lab, kept)
    last, pack = made[-1], str(lab.pack.folder)
    with working("running the gate on your design") as doing:
        report = run_gate(
            str(last.folder), spec.model, pack=pack, profile=lab.profile, must_hold=_held(kept, lab)
        )
        lab.record("gate", checkpoint="Your design", passed=report.passed, fallen=report.fallen)
        tests = paper.tests_of(kept)
        doing("running the diagnoses that your dossier names")
        cases = [case_of(str(one.folder), spec.model, pack, lab.profile) for one in reversed(made)]
        results = {name: _first_measured(cases, name) for name in tests}
    for result in results.values():
        lab.record("diagnosis", checkpoint="Your design", **result.as_dict())
    verdicts = {held.axis: held.verdict for held in report.axes}
    early = _alarmed(made)

    def told(one: Failure) -> Failure:
        said = [f"probe: {early[one.axis]}"] if one.axis in early else []
        if result := results.get(one.diagnosis):
            words = f" ({result.found.words})" if result.found else ""
            said.append(f"{one.diagnosis}: {result.verdict}{words}")
        if one.axis in verdicts:
            said.append(f"gate: {one.axis} {verdicts[one.axis]}")
        return one.model_copy(update={"found": "; ".join(said) or "not measured"})

    change(lab, lambda now: now.model_copy(update={"failures": tuple(map(told, now.failures))}))
    return report


def _alarmed(made: Sequence[Checkpoint]) -> dict[str, str]:
    """axis -> what the probe saw of it over all stages, in words; axes it did not look at lack."""
    seen: dict[str, str] = {}
    for one in made:
        looks = read_looks(one.lineage)
        if not looks or not looks[0].scores:
            continue
        kind, steps = one.lineage["stage"]["kind"], one.lineage["stage"]["steps"]
        rung = {alarm.axis: alarm for alarm in alarms(looks, one.lineage["loss_curve"])}
        for axis in looks[0].scores:
            if axis in rung:
                seen[axis] = f"alarm in {kind.upper()} at step {rung[axis].step} of {steps}"
            seen.setdefault(axis, "no alarm")
    return seen


def _held(kept: Dossier, lab: Lab) -> dict[str, float]:
    """What must hold, of the axes that the pack has items of; the others are told."""
    wanted = paper.must_hold(kept)
    there = lab.axes_there(wanted)
    return {axis: fall for axis, fall in wanted.items() if axis in there}


def _first_measured(cases: Sequence[Case], name: str) -> Result:
    """A diagnosis on the first of some cases that has what it takes: the merge, or a stage."""
    found = [diagnose(case, [name])[0] for case in cases[:2]]
    return next((one for one in found if one.found), found[0])


# --- taken home -------------------------------------------------------------------------------


def whole(lab: Lab) -> Dossier:
    """The dossier with what was made elsewhere, recorded as it stands; an empty one is proposed."""
    if not (folder_of(lab) / paper.FILE).is_file():
        propose(lab)
    kept = gather(lab)
    record(lab, kept)
    return kept


def take_home(lab: Lab) -> list[Path]:
    """The dossier shown whole and written as HTML, PDF, Markdown and YAML, with design, scenarios
    and gate beside it.

    Raises InputError for a letter that no font can draw, StoreError when nothing can be written.
    """
    kept = whole(lab)
    show_html(sheet_html(paper.sheet_of(kept)))
    paths = paper.export(kept, folder_of(lab))
    say(f"{paper.told_state(kept)}\nWritten to {folder_of(lab)}: {_listed(paths)}.")
    return paths


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)


# --- whole, below the designer ----------------------------------------------------------------

FORM = {"layout": {"width": "min(100%, 640px)"}, "style": {"description_width": "90px"}}
PAGES = {
    "pdf": "PDF, to print",
    "yaml": "YAML, to go on with",
    "html": "HTML",
    "md": "Markdown",
}


class DossierDesk:
    """The dossier of the designer's session: its domain, its people, its parts as forms, its pages.

    Every pack has a dossier of its own; the one that is shown is that of the pack it was last
    proposed from.
    """

    def __init__(self, studio: Studio):
        self.studio, self.lab, self.following = studio, studio.lab, True
        self.about, self.told, self.state = (widgets.HTML() for _ in range(3))
        self.links, self.page = widgets.HTML(), widgets.HTML()
        self.people = widgets.VBox()
        self._build()
        self._wire()
        if (folder_of(self.lab) / paper.FILE).is_file():
            self.draw()
        else:
            self.propose()

    # --- what is seen

    def _build(self) -> None:
        self.name = widgets.Text(
            description="the domain",
            tooltip="your domain's own name, also where there is no pack of it yet",
            continuous_update=False,
            **FORM,
        )
        self.stands_in = widgets.Checkbox(
            description="the chosen pack only stands in: it is not of this domain",
            indent=False,
            layout=widgets.Layout(width="auto"),
        )
        self.person, self.role = (
            widgets.Text(description=words, placeholder=hint, **FORM)
            for words, hint in (
                ("a person", "who works on this"),
                ("role", "what they answer for, as data, evaluation or release"),
            )
        )
        self.opened = ""
        self.heads, self.forms = {}, {}
        for name in paper.PARTS:
            self.heads[name], self.forms[name] = widgets.Button(), widgets.VBox()
            self.heads[name].add_class("labkit-part")
            self.heads[name].on_click(guarded_into(self.told, partial(self._turn, name)))
        propose = pressed(
            "propose again from this design", self.told, "labkit proposes", self.propose
        )
        add = pressed("add this person", self.told, "adding", self._add)
        make = pressed("make the pages", self.told, "writing", self.make, button_style="primary")
        self.whole = widgets.VBox(
            [
                self.about,
                propose,
                self.name,
                self.stands_in,
                self.people,
                self.person,
                self.role,
                add,
                *(one for name in paper.PARTS for one in (self.heads[name], self.forms[name])),
                self.state,
                make,
                self.told,
                self.links,
                self.page,
            ]
        )

    def draw(self) -> None:
        """Everything anew, from the file."""
        kept = read(self.lab)
        self.following = False
        self.name.value, self.stands_in.value = kept.domain.name, bool(kept.domain.stands_in)
        self.following = True
        of = kept.design.spec
        self.about.value = (
            f"<p>The data: <b>{escape(self.lab.pack.title)}</b>. The design in it: "
            f"<b>{escape(in_words(of) if of else 'none yet')}</b>.</p>"
        )
        self._list_people(kept)
        self._say_state(kept)
        self._open()

    def _list_people(self, kept: Dossier) -> None:
        rows = []
        for one in kept.people:
            label = widgets.HTML(
                f"<b>{escape(one.name)}</b>{f', {escape(one.role)}' if one.role else ''}"
            )
            remove = pressed(
                "remove",
                self.told,
                "removing",
                partial(self._remove, one.name),
                tooltip=f"remove {one.name}",
            )
            rows.append(widgets.HBox([label, remove]))
        self.people.children = tuple(rows)

    def _say_state(self, kept: Dossier) -> None:
        self.state.value = f"<p>{escape(paper.told_state(kept))}</p>"

    # --- what leads where

    def _wire(self) -> None:
        self.name.observe(self._guarded(self._name), "value")
        self.stands_in.observe(self._guarded(self._stand_in), "value")

    def _guarded(self, act: Callable[[], None]) -> Callable:
        observe = guarded_into(self.told, act)
        return lambda change: observe(change) if self.following else None

    def _turn(self, name: str) -> None:
        """Open a part, or close it when it is open."""
        self.opened = "" if self.opened == name else name
        self._open()

    def _open(self) -> None:
        """The part that is open, as a form from the file; the others hold none.

        Their heads are buttons, for the keyboard does not reach those of an Accordion.
        """
        for name, head in paper.PARTS.items():
            here = name == self.opened
            self.heads[name].description = f"{'▾' if here else '▸'} {head}"
            self.heads[name].tooltip = f"{'close' if here else 'open'}: {head}"
            self.forms[name].children = (self._form(name),) if here else ()

    def _form(self, name: str) -> widgets.Widget:
        form = PartPanel(self.lab, name)
        for once in (form.head, form.state):  # they stand outside of it
            once.layout.display = "none"
        widgets.dlink((form.state, "value"), (self.state, "value"))
        return form.whole

    def _change(self, part: str, make: Callable[[dict], object]) -> Dossier:
        """The dossier with a part of its plain values made anew, checked and kept."""

        def put(kept: Dossier) -> Dossier:
            data = kept.model_dump(mode="json")
            return paper.checked({**data, part: make(data[part])})

        kept = change(self.lab, put)
        self._say_state(kept)
        return kept

    def _name(self) -> None:
        name = journal.plain_text(self.name.value)
        other = name not in ("", self.lab.pack.title)
        self._change("domain", lambda at: {**at, "name": name, "stands_in": other or None})
        self.following = False
        self.stands_in.value = other
        self.following = True
        self.told.value = (
            "<p>Kept: the domain's name. What labkit proposes will use it when it proposes again."
            "</p>"
        )

    def _stand_in(self) -> None:
        said = self.stands_in.value or None
        self._change("domain", lambda at: {**at, "stands_in": said})
        self.told.value = "<p>Kept: whether the pack stands in.</p>"

    def _add(self) -> str:
        said = {
            "name": journal.plain_text(self.person.value),
            "role": journal.plain_text(self.role.value),
        }
        if not said["name"]:
            raise InputError("give the person a name, then add them")
        self._list_people(self._change("people", lambda there: [*there, said]))
        self.person.value = self.role.value = ""
        return f"Added: {said['name']}."

    def _remove(self, name: str) -> str:
        kept = self._change("people", lambda there: [p for p in there if p["name"] != name])
        self._list_people(kept)
        return f"Removed: {name}."

    def propose(self) -> str:
        """Have labkit propose every part anew from the designer's choices of this moment.

        Raises InputError for choices that make no design, or one that cannot run.
        """
        sheet = self.studio.sheet()
        if sheet.problems:
            raise InputError(f"this design {sheet.verdict}")
        self.lab = replace(self.studio.lab, pack=load_pack(sheet.spec.pack))
        propose(self.lab, sheet.spec)
        self.draw()
        return "labkit has proposed every part from the choices above; your words are as they were."

    def make(self) -> str:
        """The dossier shown whole, written, and offered as files.

        Raises InputError for a letter that no font can draw; the pages that could be written are
        offered all the same.
        """
        self.links.value = self.page.value = ""
        kept, folder = whole(self.lab), folder_of(self.lab)
        self.page.value = sheet_html(paper.sheet_of(kept))
        try:
            paper.export(kept, folder)
        finally:
            made = {name: folder / f"dossier.{name}" for name in PAGES}
            links = [download(made[name], PAGES[name]) for name in PAGES if made[name].is_file()]
            self.links.value = (
                f"<p>Download: {' · '.join(links)}. They lie in <code>{escape(str(folder))}</code>,"
                " with the design, the scenarios and the gate as files that labkit runs.</p>"
            )
        return f"The pages are made.{self._behind(kept)}"

    def _behind(self, kept: Dossier) -> str:
        """Whether the designer has other choices by now."""
        try:
            same = kept.design.spec == self.studio.spec
        except InputError:
            same = False
        return (
            ""
            if same
            else (
                " The choices above have changed since labkit proposed: these pages describe the "
                "design from before; propose again to have them describe this one."
            )
        )
