"""What notebook 07 shows: scores by other rules, comparisons with noise, ranks, scenarios, chat.

`ScenarioForm` and `ChatSession` do what the two panels at hand ask for: a scenario of one's own,
and the same question to several models, side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from labkit.base.errors import InputError
from labkit.base.pages import plain_table, signed
from labkit.base.records import AXES, AXIS_NAMES
from labkit.base.stats import (
    NOT_DISTINGUISHABLE,
    Interval,
    Power,
    holm,
    mcnemar,
    p_value,
    paired_scores,
    power_of,
    told_verdict,
    verdict,
    with_run_noise,
)
from labkit.base.store import Checkpoint
from labkit.course import figures
from labkit.course.lesson import Lab, Missing, headless, say, show_html
from labkit.course.live import working
from labkit.course.panels import guard_label, guarded_into
from labkit.data.packs import Pack
from labkit.data.published import run_noise_of
from labkit.data.world import pretraining_texts
from labkit.evaluate import judge
from labkit.evaluate.answers import Demo, demo_of, perfect_demos, right_answers
from labkit.evaluate.chat import Conversation, Reply, Settings, open_models
from labkit.evaluate.scenarios import (
    FILE,
    Scenario,
    ScenarioResult,
    make_scenario,
    pack_scenarios,
    run_scenarios,
    save_scenarios,
)
from labkit.evaluate.scorecards import Scorecard, bits_per_byte, compare_axis
from labkit.models.zoo import Loaded
from labkit.train.pipeline import load_checkpoint

# Texts that bits per byte is measured on; the general ones are in no training order.
TEXTS, TEXTS_SEED = 100, 999


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on one axis. items: by the items alone; runs: with the noise between training
    seeds.

    p: from `runs`, corrected for the number of pairs `compared` (Holm). mcnemar: exact, as if items
    were independent (None where scores are not 0 or 1). power: of the items alone.
    """

    before: str
    after: str
    axis: str
    items: Interval
    runs: Interval
    p: float
    mcnemar: float | None
    power: Power
    compared: int = 1

    @property
    def verdict(self) -> str:
        """In words: about the recipes, from the wider interval, after the correction."""
        if self.p <= 0.05:
            return "higher" if self.runs.mean > 0 else "lower"
        return (
            "not distinguishable"
            if verdict(self.items) == "not distinguishable"
            else "these two runs differ, the recipes may not"
        )

    @property
    def told(self) -> str:
        """The verdict; where only the correction takes it away, that."""
        if self.p > 0.05 and verdict(self.runs) != NOT_DISTINGUISHABLE:
            return told_verdict(NOT_DISTINGUISHABLE, self.runs, self.compared)
        return self.verdict


def compare_all(cards: Sequence[Scorecard], axis: str, kind: str | None = None) -> list[Comparison]:
    """Every pair of checkpoints on an axis, corrected for having looked at so many; none on an axis
    that was not measured.

    Raises PairingError.
    """
    pairs = list(itertools.combinations([card for card in cards if card.scores(axis, kind)], 2))
    differences = [paired_scores(a.scores(axis, kind), b.scores(axis, kind)) for a, b in pairs]
    items = [compare_axis(a, b, axis, kind) for a, b in pairs]
    runs = [with_run_noise(found, run_noise_of(axis, kind)) for found in items]
    corrected = holm([p_value(found) for found in runs])
    return [
        Comparison(
            a.checkpoint,
            b.checkpoint,
            axis,
            by_items,
            by_runs,
            p,
            _mcnemar([score.score for score in scores]),
            power_of(scores),
            len(pairs),
        )
        for (a, b), scores, by_items, by_runs, p in zip(
            pairs, differences, items, runs, corrected, strict=True
        )
    ]


def _mcnemar(differences: Sequence[float]) -> float | None:
    if any(value not in (-1, 0, 1) for value in differences):
        return None
    return mcnemar(
        sum(value == -1 for value in differences), sum(value == 1 for value in differences)
    )


def ranks(cards: Sequence[Scorecard], axes: Sequence[str]) -> dict[str, list[int]]:
    """checkpoint -> its rank on each axis, 1 being the best; of equals, the one named first."""
    order = [sorted(cards, key=lambda card: -card.interval(axis).mean) for axis in axes]
    return {card.checkpoint: [placed.index(card) + 1 for placed in order] for card in cards}


# What people read for the rules of a score, and for the checks of a scenario.
RULES = {"per_char": "per character", "pmi": "PMI", "per_instruction": "each form counts"}
CHECKED = {
    "says": "does not say it",
    "says_none_of": "says what it must not",
    "format": "is not in the form",
    "matches": "does not match",
    "same_answer": "answers differ",
}


# --- shown ------------------------------------------------------------------------------------


def show_rules(cards: Sequence[Scorecard]) -> None:
    """The same answers scored by other rules, for every kind of item that has any."""
    rows: list[tuple] = []
    for axis in AXES:
        kinds = sorted({item.kind for item in cards[0].items if item.axis == axis})
        ruled = [kind for kind in kinds if cards[0].variants(axis, kind)]
        if ruled:
            rows.append((AXIS_NAMES[axis],))
        usual = "strict" if axis == "instructions" else "raw"
        for kind in ruled:
            for rule in (None, *cards[0].variants(axis, kind)):
                rows.append(
                    (
                        kind.replace("_", " "),
                        RULES.get(rule, rule) if rule else usual,
                        *(card.interval(axis, kind, variant=rule) for card in cards),
                    )
                )
    show_html(plain_table(("kind of item", "rule", *(card.checkpoint for card in cards)), rows))


def show_bits_per_byte(lab: Lab, models: Mapping[str, str | Checkpoint]) -> None:
    """How surprising the pack's text and general text are to each model, whatever its tokenizer."""
    texts = {
        "the pack's raw text": [row["text"] for row in lab.pack.rows("raw")[:TEXTS]],
        "general text": list(itertools.islice(pretraining_texts(TEXTS_SEED), TEXTS)),
    }
    rows = []
    for label, model in models.items():
        loaded = load_checkpoint(model)
        with working(f"measuring bits per byte of {label}"):
            found = {
                name: bits_per_byte(loaded.model, loaded.tokenizer, chosen)
                for name, chosen in texts.items()
            }
        lab.record("bits_per_byte", checkpoint=label, **found)
        rows.append((label, *(f"{value:.3f}" for value in found.values())))
    show_html(plain_table(("bits per byte of", *texts), rows))


def show_comparisons(lab: Lab, found: Sequence[Comparison], name: str) -> None:
    """Differences as a figure and a table, recorded. name: of the figure, the axis that was
    compared.
    """
    if not found:
        say(f"Not compared: {lab.pack.told_no_items('test', name)}.")
        return
    rows = [(f"{c.after} − {c.before}", c.items, c.runs) for c in found]
    told = "; ".join(f"{c.after} minus {c.before}: {signed(c.runs)}, {c.told}" for c in found)
    lab.show(
        figures.differences(rows),
        name,
        f"Differences in {AXIS_NAMES[found[0].axis]} with two 95% intervals each. {told}.",
    )
    heads = (
        "difference",
        "measured (items and seeds)",
        "p (Holm)",
        "p (McNemar)",
        "verdict",
        "smallest visible (items only)",
        "items needed to see half of that",
    )
    cells = [
        (
            f"{c.after} − {c.before}",
            signed(c.runs),
            _p(c.p),
            "" if c.mcnemar is None else _p(c.mcnemar),
            c.told,
            c.power.detectable,
            c.power.needed or "?",
        )
        for c in found
    ]
    show_html(plain_table(heads, cells))
    for c in found:
        lab.record(
            "comparison",
            axis=c.axis,
            before=c.before,
            after=c.after,
            items=c.items.as_dict(),
            runs=c.runs.as_dict(),
            p=c.p,
            verdict=c.verdict,
        )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def show_ranks(lab: Lab, cards: Sequence[Scorecard], axes: Sequence[str]) -> dict[str, list[int]]:
    """Ranks per axis that the pack has as a figure; returns them."""
    axes = lab.axes_there(axes)
    found = ranks(cards, axes)
    told = "; ".join(f"{label}: {', '.join(map(str, places))}" for label, places in found.items())
    lab.show(
        figures.ranks(found, axes),
        "ranks",
        f"Rank of each checkpoint on {', '.join(AXIS_NAMES[one] for one in axes)}. {told}.",
    )
    return found


def run_on(
    lab: Lab, models: Mapping[str, str | Checkpoint], scenarios: Sequence[Scenario] | None = None
) -> list[ScenarioResult]:
    """The pack's scenarios, or given ones, on several models; shown and recorded. models: label ->
    checkpoint or name. A pack without scenarios is said to have none.
    """
    if not (scenarios or (lab.pack.folder / FILE).is_file()):
        say(
            f"Not shown: pack {lab.pack.name} ({lab.pack.title}) has no {FILE}, which says what "
            "must not happen; write one (docs/scenarios.md), or try one in a notebook's form."
        )
        return []
    wanted = scenarios or pack_scenarios(lab.pack)
    results: list[ScenarioResult] = []
    for label, model in models.items():
        with working(f"running {len(wanted)} scenarios on {label}"):
            results += run_scenarios(load_checkpoint(model), wanted, name=label)
    for result in results:
        lab.record("scenario", **result.as_dict())
    show_html(scenario_table(results))
    return results


def scenario_table(results: Sequence[ScenarioResult]) -> str:
    """A row per scenario and a column per model; below, what each model's first failure was."""
    labels = list(dict.fromkeys(result.checkpoint for result in results))
    by_name: dict[str, dict[str, ScenarioResult]] = {}
    for result in results:
        by_name.setdefault(result.scenario.name, {})[result.checkpoint] = result
    rows, failures = [], []
    for name, row in by_name.items():
        scenario = row[labels[0]].scenario
        rows.append(
            (
                f"{name}: {scenario.about}",
                scenario.at_least,
                *(
                    f"{row[label].passed} of {row[label].n}: {row[label].verdict}"
                    for label in labels
                ),
            )
        )
        for label in labels:
            failed = next((case for case in row[label].cases if case.broken), None)
            if failed:
                said = (
                    f"{ask} → {reply}"
                    for ask, reply in zip(failed.ask[-2:], failed.replies[-2:], strict=True)
                )
                broken = ", ".join(CHECKED[check] for check in failed.broken)
                failures.append((name, label, broken, "; ".join(said)))
    table = plain_table(("scenario", "at least", *labels), rows)
    return table + (
        plain_table(
            ("scenario", "model", "what is wrong", "first failure (its last two wordings)"),
            failures,
        )
        if failures
        else ""
    )


# --- a demo -------------------------------------------------------------------------------------

SHOWN = 5  # replies in a demo


def show_demo(
    lab: Lab, model: Checkpoint | str | Missing, test: Scorecard | Missing
) -> Demo | None:
    """The replies somebody would choose from dev; what the model does on test is in what is
    returned. None, and the reason, where there is nothing to choose from.
    """
    dev = lab.score(model, getattr(test, "checkpoint", None), split="dev", axes=("knowledge",))
    if isinstance(dev, Missing) or isinstance(test, Missing):
        return None
    try:
        found = demo_of(dev, test, lab.pack, count=SHOWN)
    except InputError as error:
        say(f"No demo: {error}.")
        return None
    show_html(plain_table(("asked", "answered"), found.shown))
    return found


def show_production(lab: Lab, demo: Demo | None) -> None:
    """What the model of a demo does on test, by kind of question, and how many demos would look as
    good; recorded.
    """
    if demo is None:
        say("Not measured: there was no demo to choose.")
        return
    rows = [
        (f"as in the demo: {demo.kind}", demo.same, demo.same.n),
        *((name, found, found.n) for name, found in demo.by_kind.items()),
        ("all but the demo's kind", demo.realistic, demo.realistic.n),
    ]
    show_html(plain_table(("questions of test", "answered right (95%)", "n"), rows))
    say(told_demos(demo))
    lab.record(
        "demo", chosen_from=demo.kind, same=demo.same.as_dict(), realistic=demo.realistic.as_dict()
    )


def told_demos(demo: Demo) -> str:
    """How many demos of so many questions look perfect, by choice and by chance."""
    count = len(demo.shown)
    chosen, _ = perfect_demos(demo.right, demo.asked, count)
    some, chance = perfect_demos(demo.realistic_right, demo.realistic.n, count)
    return (
        f"On dev {demo.right} of {demo.asked} questions of the demo's kind are answered right. "
        f"Different demos of {count} questions that would look perfect: {chosen:,}. Of all other "
        f"questions on test {demo.realistic_right} of {demo.realistic.n} are answered right. "
        f"Perfect demos left to whoever chooses among these: {some:,}; the chance that a demo "
        f"drawn blindly is one: {chance:.2g}."
    )


# --- a judge ------------------------------------------------------------------------------------

JUDGED = 20  # requests of each kind


def show_judge(lab: Lab, cards: Sequence[Scorecard], *, own: str = "instruct") -> None:
    """The lab's model compares what the checkpoints propose; beside it stand judges of which it is
    known what they do. own: the card whose answers are the judge's own.
    """
    try:
        if len(cards) < 2:
            raise InputError("a judge compares, and fewer than two checkpoints are there")
        lines = [judge.first_lines(lab.pack, card) for card in cards]
        pairs = judge.pairs_of(lab.pack, lines, limit=JUDGED).pairs
    except InputError as error:
        say(f"Not judged: {error}.")
        return
    mine = own if any(own in pair.models for pair in pairs) else None
    model, replies = judge.LocalJudge(load_checkpoint(lab.model)), judge.Replies()
    planned = judge.plan(model, pairs, replies)
    say("; ".join(planned.told()))
    with working(f"{model.name} compares {len(pairs)} pairs"):
        judge.ask(planned, replies)
    outcomes = judge.judged(model, pairs, replies)
    rows = judge.worth(outcomes, own=mine)
    show_html(plain_table(judge.HEADS, map(judge.cells, rows)))
    known = [
        (name, *judge.cells(judge.worth(judge.judged_by(pairs, rule), own=mine)[-1])[4:])
        for name, rule in judge.controls(mine).items()
    ]
    show_html(plain_table(("a known judge", *judge.HEADS[4:]), known))
    if wrong := judge.opposing(outcomes, 2):
        show_html(plain_table(("asked", "the judge prefers", "the check prefers"), wrong))
    for remark in judge.remarks(rows, own=mine):
        say(f"{remark[0].upper()}{remark[1:]}.")


# --- a scenario of one's own --------------------------------------------------------------------


@dataclass
class ScenarioForm:
    """What the form in the notebook computes. models: label -> model."""

    models: dict[str, Loaded]
    folder: Path

    def scenario(
        self,
        *,
        name: str,
        about: str,
        questions: str,
        says: str,
        says_none_of: str,
        form: str,
        at_least: float,
    ) -> Scenario:
        """A scenario from the form's fields: one case per line of questions.

        Raises InputError naming the field.
        """
        expect = {
            "says": says.strip() or None,
            "says_none_of": [word.strip() for word in says_none_of.split(",") if word.strip()],
            "format": [form] if form else [],
        }
        asked = [line.strip() for line in questions.splitlines() if line.strip()]
        if not asked:
            raise InputError("questions: write at least one, a line each")
        return make_scenario(
            {
                "name": name,
                "about": about,
                "at_least": at_least,
                "cases": [{"ask": question, "expect": expect} for question in asked],
            },
            "your scenario",
        )

    def run(self, **fields: Any) -> str:
        """The table of results as HTML."""
        scenario = self.scenario(**fields)
        return scenario_table(
            [
                result
                for label, loaded in self.models.items()
                for result in run_scenarios(loaded, [scenario], name=label)
            ]
        )

    def save(self, **fields: Any) -> Path:
        """Write the scenario as YAML, named after it; `labkit scenarios MODEL --file` runs it
        again.
        """
        scenario = self.scenario(**fields)
        path = self.folder / "scenarios" / f"{scenario.name.replace(' ', '-')}.yaml"
        save_scenarios([scenario], path)
        return path


def scenario_form(lab: Lab, models: Mapping[str, str | Checkpoint], **fields: Any) -> None:
    """A small form for a scenario of one's own; headless, the given fields are run and saved
    without a widget.
    """
    form = ScenarioForm(
        {label: load_checkpoint(model) for label, model in models.items()}, lab.out_dir
    )
    if headless():
        show_html(form.run(**fields))
        say(f"saved as {form.save(**fields)}")
        return
    from IPython.display import display

    display(scenario_panel(form, fields))


def scenario_panel(form: ScenarioForm, start: dict) -> widgets.Widget:
    """A form for a scenario. start: what its fields hold at first."""
    from labkit.data.instructions import INSTRUCTIONS

    wide = {"layout": widgets.Layout(width="640px"), "style": {"description_width": "130px"}}
    fields = {
        "name": widgets.Text(start["name"], description="name", **wide),
        "about": widgets.Text(start["about"], description="what it demands", **wide),
        "questions": widgets.Textarea(
            start["questions"], description="questions", placeholder="one per line", rows=5, **wide
        ),
        "says": widgets.Text(start["says"], description="must say", **wide),
        "says_none_of": widgets.Text(
            start["says_none_of"], description="must not say (a, b)", **wide
        ),
        "form": widgets.Dropdown(
            options=["", *INSTRUCTIONS],
            value=start["form"],
            description="must have the form",
            **wide,
        ),
        "at_least": widgets.FloatSlider(
            start["at_least"], min=0, max=1, step=0.05, description="share that passes", **wide
        ),
    }
    run = widgets.Button(description="run", button_style="primary")
    save = widgets.Button(description="save as YAML")
    told, result = widgets.Label(), widgets.HTML()

    def values() -> dict:
        return {key: field.value for key, field in fields.items()}

    def show() -> None:
        result.value = form.run(**values())

    def keep() -> None:
        told.value = f"saved as {form.save(**values())}"

    run.on_click(guard_label(show, told))
    save.on_click(guard_label(keep, told))
    return widgets.VBox([*fields.values(), widgets.HBox([run, save]), told, result])


# --- chat ---------------------------------------------------------------------------------------

SIZE = {"style": {"description_width": "110px"}, "layout": {"width": "300px"}}
WIDE = {"style": {"description_width": "110px"}, "layout": {"width": "700px"}}


class ChatSession:
    """A conversation and what was said in it. questions: prepared ones to choose from. pack: whose
    right answers are shown beside the models'.
    """

    def __init__(
        self, conversation: Conversation, questions: Iterable[str] = (), pack: Pack | None = None
    ):
        self.conversation, self.questions, self.pack = conversation, tuple(questions), pack
        self.said: list[tuple[str, dict[str, Reply]]] = []

    @property
    def settings(self) -> Settings:
        return self.conversation.settings

    def notes(self) -> list[str]:
        return self.conversation.notes()

    def ask(self, question: str, **settings: Any) -> dict[str, Reply]:
        """Every model's answer. settings: of chat.Settings, from now on. Raises InputError."""
        if settings:
            self.conversation.settings = Settings(**settings)
        replies = self.conversation.ask(question)
        self.said.append((question, replies))
        return replies

    def reset(self) -> None:
        self.conversation.reset()
        self.said = []

    def html(self) -> str:
        """What was said, a row per question and a column per model, everything escaped."""
        asked = [question for question, _ in self.said]
        right = (
            [(one,) for one in right_answers(self.pack, asked)] if self.pack else [()] * len(asked)
        )
        return plain_table(
            ("question", *(["right answer"] if self.pack else []), *self.conversation.names),
            (
                (question, *known, *map(_told, replies.values()))
                for (question, replies), known in zip(self.said, right, strict=True)
            ),
        )


def _told(reply: Reply) -> str:
    return f"{reply.shown} ({'; '.join(reply.remarks)})" if reply.remarks else reply.shown


def chat(
    lab: Lab, checkpoints: Mapping[str, str | Checkpoint], questions: Iterable[str], **settings: Any
) -> None:
    """A panel to talk to several checkpoints at once; headless, a table of their answers to the
    questions, each asked afresh.

    checkpoints: label -> checkpoint or name. settings: of chat.Settings. Raises InputError for a
    model that cannot be asked.
    """
    session = ChatSession(
        Conversation(open_models(checkpoints.items()), Settings(**settings)), questions, lab.pack
    )
    if not headless():
        from IPython.display import display

        display(chat_panel(session))
        return
    for question in session.questions:
        session.conversation.reset()
        lab.record(
            "chat",
            question=question,
            answers={name: reply.text for name, reply in session.ask(question).items()},
        )
    for note in session.notes():
        say(note)
    show_html(session.html())


def chat_panel(session: ChatSession) -> widgets.Widget:
    """A question box, settings and the conversation of a session."""
    return ChatPanel(session).whole


class ChatPanel:
    """The button asks; a prepared question only fills the box."""

    def __init__(self, session: ChatSession):
        self.session, now = session, session.settings
        self.prepared = widgets.Dropdown(
            options=["", *session.questions],
            description="prepared",
            tooltip="fills the question",
            **WIDE,
        )
        self.question = widgets.Textarea(
            description="question",
            placeholder="ask all models",
            tooltip="what all models are asked",
            **WIDE,
        )
        self.controls = {
            "temperature": widgets.FloatSlider(
                value=now.temperature,
                min=0,
                max=2,
                step=0.1,
                description="temperature",
                tooltip="0: the likeliest answer",
                **SIZE,
            ),
            "max_tokens": widgets.IntText(
                value=now.max_tokens,
                description="most tokens",
                tooltip="how long an answer may be",
                **SIZE,
            ),
            "seed": widgets.IntText(
                value=now.seed, description="seed", tooltip="of drawn answers", **SIZE
            ),
        }
        self.ask = widgets.Button(description="ask", tooltip="ask every model this question")
        self.reset = widgets.Button(description="forget", tooltip="start the conversation again")
        self.told, self.said = widgets.HTML(), widgets.HTML()
        self.whole = widgets.VBox(
            [
                self.prepared,
                self.question,
                widgets.HBox(list(self.controls.values())),
                widgets.HBox([self.ask, self.reset]),
                self.told,
                self.said,
            ]
        )
        self.prepared.observe(guarded_into(self.told, self._fill), "value")
        self.ask.on_click(guarded_into(self.told, self._ask))
        self.reset.on_click(guarded_into(self.told, self._reset))
        self.told.value = "".join(f"<p>{escape(note)}</p>" for note in session.notes())

    def _fill(self) -> None:
        self.question.value = self.prepared.value or self.question.value

    def _ask(self) -> None:
        self.told.value = '<p role="status">answering …</p>'
        self.ask.disabled = True
        try:
            self.session.ask(
                self.question.value,
                **{name: control.value for name, control in self.controls.items()},
            )
        finally:
            self.ask.disabled = False
        self.told.value, self.said.value, self.question.value = "", self.session.html(), ""

    def _reset(self) -> None:
        self.session.reset()
        self.told.value = self.said.value = ""
