"""Widgets that several notebooks share, and how an error inside a widget is told.

Panels wire; they neither compute nor draw. The panels of a single topic lie in its lab (labs/).
"""

from __future__ import annotations

import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.base.errors import LabkitError
from labkit.course.figures import METHOD_NAMES

if TYPE_CHECKING:
    from labkit.course.labs.merge_lab import MergeSession
    from labkit.train.trainers import Progress


# --- how an error is told -----------------------------------------------------------------------

FAULT = "error: this is a fault in labkit; please report:"


def guarded(
    act: Callable[[], None],
    tell: Callable[[str], None],
    fault: Callable[[str], None],
    following: Callable[[], bool] = lambda: True,
) -> Callable:
    """An observer that does `act`: an error a learner can act on is told as a sentence, a fault of
    labkit's own with its lines.

    following: False while the panel itself moves its widgets; then nothing is done.
    """

    def observe(_=None) -> None:
        if not following():
            return
        try:
            act()
        except LabkitError as error:
            tell(f"error: {error}")
        except Exception:
            fault(traceback.format_exc())

    return observe


def guarded_into(told: widgets.HTML, act: Callable[[], None]) -> Callable:
    """An observer as `guarded` makes, whose errors are shown, escaped, in place of what `told`
    shows.
    """

    def tell(sentence: str) -> None:
        told.value = f"<p>{escape(sentence)}</p>"

    def fault(lines: str) -> None:
        told.value = f"<p>{FAULT}</p><pre>{escape(lines)}</pre>"

    return guarded(act, tell, fault)


def guard_label(act: Callable[[], None], told: widgets.Label) -> Callable:
    """A button's callback: it is disabled while it works; errors a learner can act on become a
    sentence, others are shown whole.
    """

    def tell(sentence: str) -> None:
        told.value = sentence

    work = guarded(act, tell, lambda lines: tell(f"{FAULT} {lines}"))

    def press(button) -> None:
        button.disabled, told.value = True, ""
        work()
        button.disabled = False

    return press


# --- the merge panel ------------------------------------------------------------------------

STEP = 0.05
ABOUT_TEST = (
    '<div style="line-height: 1.4">Choose by dev. Test is for the one merge you report: a score '
    "that was chosen on test is too good.</div>"
)
ABOUT_ANCHORS = (
    '<div style="line-height: 1.4">The five sliders of a group are spread evenly over the depth '
    "of the model. A layer that lies between two of them gets a t between theirs; the map in the "
    "figure shows it.</div>"
)
DEPTHS = ("first", "1/4", "1/2", "3/4", "last")  # layers
GROUP_NAMES = {"attention": "attention", "mlp": "MLP", "other": "other"}


def merge_panel(
    session: MergeSession,
    *,
    schedules: Mapping[str, Mapping[str, Sequence[float]]],
    make_setting: Callable,
) -> widgets.Widget:
    """The merge lab: sliders for t, the figure, the answers, and buttons.

    It only wires what `session` computes.

    schedules: name -> group -> five anchors. make_setting: (method, attention, mlp, other), each
    group as five anchors -> what session.move takes.
    """
    return _MergePanel(session, schedules, make_setting).whole


def _methods(names: Sequence[str]) -> list[tuple[str, str]]:
    """Merging methods to choose from: what people read, and the name."""
    return [(METHOD_NAMES[name], name) for name in names]


class _MergePanel:
    def __init__(
        self,
        session: MergeSession,
        schedules: Mapping[str, Mapping[str, Sequence[float]]],
        make_setting: Callable,
    ):
        self.session, self.schedules, self.make_setting = session, schedules, make_setting
        self.following = True
        self.move: Any = None  # a Move; while there is none, no button can be pressed
        self._build()
        self._wire()
        self._reopen()

    # --- what is seen

    def _build(self) -> None:
        self.pair = widgets.Dropdown(
            options=list(self.session.benches),
            description="parents",
            layout=widgets.Layout(width="330px"),
        )
        self.method = widgets.ToggleButtons(
            options=_methods(self.session.bench.methods),
            tooltip="how the two are merged",
            style={"button_width": "auto"},
        )
        self.preset = widgets.Dropdown(
            options=["by hand", *self.schedules],
            description="schedule",
            layout=widgets.Layout(width="210px"),
        )
        self.per_layer = widgets.Checkbox(
            description="per layer", indent=False, layout=widgets.Layout(width="100px")
        )
        self.ends: list[tuple[widgets.Label, widgets.Label]] = []
        self.t, whole = self._slider("t of all")
        self.groups, rows = {}, []
        for group, name in GROUP_NAMES.items():
            self.groups[group], row = self._slider(name)
            rows.append(row)
        self.anchors, columns = {}, []
        for group in GROUP_NAMES:
            self.anchors[group], column = self._anchors(group)
            columns.append(column)
        self.deep = widgets.VBox(
            [
                widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap")),
                widgets.HTML(ABOUT_ANCHORS),
            ],
            layout=widgets.Layout(display="none"),
        )
        self.told, self.sentence = widgets.Label(), widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.prompts = [
            widgets.Text(
                value=prompt,
                tooltip=f"question {i} to all three models",
                layout=widgets.Layout(width="min(99%, 840px)"),
            )
            for i, prompt in enumerate(self.session.prompts, 1)
        ]
        self.answers, self.result = widgets.HTML(), widgets.HTML()
        names = {
            "dev": "score on dev",
            "save": "save as checkpoint",
            "export": "export recipe",
            "grid": "score the grid",
            "test": "look at test (once)",
        }
        self.buttons = {
            key: widgets.Button(
                description=name, layout=widgets.Layout(width="auto", flex="0 0 auto")
            )
            for key, name in names.items()
        }
        self.whole = widgets.VBox(
            [
                widgets.HBox([self.pair, self.method]),
                whole,
                *rows,
                widgets.HBox([self.preset, self.per_layer]),
                self.deep,
                self.told,
                self.picture,
                *self.prompts,
                self.answers,
                widgets.HBox([b for key, b in self.buttons.items() if key != "test"]),
                widgets.HBox([self.buttons["test"], widgets.HTML(ABOUT_TEST)]),
                self.sentence,
                self.result,
            ]
        )

    def _slider(self, name: str) -> tuple[widgets.FloatSlider, widgets.Widget]:
        slider = widgets.FloatSlider(
            value=0.5,
            min=0,
            max=1,
            step=STEP,
            readout_format=".2f",
            tooltip=name if name.startswith("t ") else f"t of {name}",
            layout=widgets.Layout(flex="1 1 260px", min_width="160px"),
        )
        left, right = (widgets.Label(layout=widgets.Layout(flex="0 0 auto")) for _ in range(2))
        self.ends.append((left, right))
        title = widgets.HTML(f"<b>{name}</b>", layout=widgets.Layout(flex="0 0 80px"))
        return slider, widgets.HBox(
            [title, left, slider, right], layout=widgets.Layout(width="min(100%, 760px)")
        )

    def _anchors(self, group: str) -> tuple[list[widgets.FloatSlider], widgets.Widget]:
        low, high = widgets.Label(), widgets.Label()
        self.ends.append((low, high))
        sliders, columns = [], []
        for depth in DEPTHS:
            slider = widgets.FloatSlider(
                value=0.5,
                min=0,
                max=1,
                step=STEP,
                orientation="vertical",
                readout_format=".2f",
                tooltip=f"t of {GROUP_NAMES[group]}, layer: {depth}",
                layout=widgets.Layout(width="52px", height="150px"),
            )
            sliders.append(slider)
            columns.append(
                widgets.VBox(
                    [
                        slider,
                        widgets.Label(
                            depth,
                            layout=widgets.Layout(
                                width="52px", display="flex", justify_content="center"
                            ),
                        ),
                    ]
                )
            )
        title = widgets.HTML(f"<b>{GROUP_NAMES[group]}</b>")
        return sliders, widgets.VBox(
            [
                title,
                widgets.HBox([widgets.Label("top:"), high]),
                widgets.HBox(columns),
                widgets.HBox([widgets.Label("bottom:"), low]),
            ]
        )

    # --- what leads where

    def _wire(self) -> None:
        self.pair.observe(self._guarded(self._reopen), "value")
        self.method.observe(self._guarded(self._follow), "value")
        self._lead(self.t, tuple(GROUP_NAMES))
        for group, slider in self.groups.items():
            self._lead(slider, (group,))
        for group, sliders in self.anchors.items():
            for slider in sliders:
                self._lead(slider, (group,), among=sliders)
        self.preset.observe(self._guarded(self._choose_schedule), "value")
        self.per_layer.observe(self._guarded(self._show_layers), "value")
        for place, field in enumerate(self.prompts):
            field.observe(self._guarded(lambda place=place: self._ask(place)), "value")
        for key, work in {
            "dev": self._score_on_dev,
            "save": self._save,
            "export": self._export,
            "grid": self._grid,
            "test": self._look_at_test,
        }.items():
            self.buttons[key].on_click(
                self._guarded(lambda key=key, work=work: self._press(key, work))
            )

    def _lead(
        self,
        slider: widgets.FloatSlider,
        groups: Sequence[str],
        among: Sequence[widgets.FloatSlider] = (),
    ) -> None:
        """Let a slider that is moved by hand lead to the anchors of some groups: all at its own
        value, or, where it is one `among` several anchors, each at its own.
        """

        def follow() -> None:
            anchors = [one.value for one in among] or [slider.value] * len(DEPTHS)
            self._by_hand(dict.fromkeys(groups, anchors), moved=slider)

        slider.observe(self._guarded(follow), "value")

    def _guarded(self, act: Callable) -> Callable:
        """An observer that does `act`, unless the panel itself is moving its widgets; errors become
        a sentence.
        """

        def follow() -> None:
            self.sentence.value = ""
            act()

        return guarded(follow, self._tell, self._fault, lambda: self.following)

    def _tell(self, sentence: str) -> None:
        self.told.value = sentence

    def _fault(self, lines: str) -> None:
        self.told.value = f"{FAULT} the lines below"
        self.sentence.value = f"<pre>{escape(lines)}</pre>"

    def _clear(self) -> None:
        """Nothing is shown, and no button does anything, until a move succeeds: an old merge must
        not pass for a new one.
        """
        self.move = None
        self.picture.value, self.answers.value, self.result.value = b"", "", ""
        for button in self.buttons.values():
            button.disabled = True

    def _reopen(self) -> None:
        general, domain = self.session.open(self.pair.value)
        for left, right in self.ends:
            left.value, right.value = f"0 = {general}", f"1 = {domain}"
        self._offer(self.session.bench.methods)
        self.buttons["grid"].layout.display = "none" if self.session.bench.sweep else None
        self._follow()

    def _follow(self) -> None:
        """Compute, draw, tell: what every move of anything ends in."""
        anchors = [[slider.value for slider in self.anchors[group]] for group in GROUP_NAMES]
        try:
            move = self.session.move(self.make_setting(self.method.value, *anchors))
            shown = self.session.draw(move), self.session.tell(move), self.session.answers(move)
        except BaseException:
            self._clear()
            raise
        self.move, self.result.value = move, ""
        self.picture.value, self.told.value, self.answers.value = shown
        for button in self.buttons.values():
            button.disabled = False

    def _offer(self, methods: Sequence[str]) -> None:
        """Let only those methods be chosen that the open pair can be merged by."""
        if list(self.method.options) == _methods(methods):
            return
        self.following = False
        chosen = self.method.value
        self.method.options = _methods(methods)
        self.method.value = chosen if chosen in methods else methods[0]
        self.following = True

    def _set(
        self, anchors: Mapping[str, Sequence[float]], moved: widgets.Widget | None = None
    ) -> None:
        """Move the sliders of some groups without being led by each of them.

        moved: the slider that led here. Nothing is written to it: the hand on it may be further on
        by now, and the browser would put the handle back.
        """

        def put(slider: widgets.FloatSlider, value: float) -> None:
            if slider is not moved:
                slider.value = value

        self.following = False
        try:
            for group, values in anchors.items():
                for slider, value in zip(self.anchors[group], values, strict=True):
                    put(slider, value)
                put(self.groups[group], sum(values) / len(values))
            if len(anchors) > 1:
                means = [sum(values) / len(values) for values in anchors.values()]
                put(self.t, sum(means) / len(means))
        finally:
            self.following = True
        self._follow()

    def _by_hand(
        self, anchors: Mapping[str, Sequence[float]], moved: widgets.Widget | None = None
    ) -> None:
        """A slider was moved: whatever schedule was chosen, it is that no more."""
        self.following = False
        self.preset.value = self.preset.options[0]
        self.following = True
        self._set(anchors, moved)

    def _choose_schedule(self) -> None:
        if self.preset.value in self.schedules:
            self.per_layer.value = True
            self._set(self.schedules[self.preset.value])

    def _show_layers(self) -> None:
        """Open the anchors; closing them makes each group uniform again, at the mean its slider
        shows.
        """
        self.deep.layout.display = None if self.per_layer.value else "none"
        if not self.per_layer.value:
            self._by_hand(
                {group: [slider.value] * len(DEPTHS) for group, slider in self.groups.items()}
            )

    def _ask(self, place: int) -> None:
        self.session.prompts[place] = self.prompts[place].value
        self._follow()

    def _press(self, key: str, work: Callable[[], None]) -> None:
        button = self.buttons[key]
        button.disabled = True
        self.result.value = f"<i>{button.description} …</i>"
        try:
            work()
        except BaseException:
            self.result.value = ""
            raise
        finally:
            button.disabled = False

    def _score_on_dev(self) -> None:
        self.result.value = self.session.score_on_dev(self.move)

    def _look_at_test(self) -> None:
        self.result.value = self.session.look_at_test(self.move)

    def _save(self) -> None:
        self.result.value = escape(self.session.save(self.move))

    def _export(self) -> None:
        self.result.value = escape(self.session.export(self.move))

    def _doing(self, words: str) -> None:
        self.result.value = f'<i role="status">{escape(words)} …</i>'

    def _grid(self) -> None:
        self.session.bench.score_grid(self._doing)
        self.result.value = ""
        self._reopen()


# --- what takes a while -------------------------------------------------------------------------


class LaterPanel:
    """make: takes a function that is told of progress, returns the widget to show. words: on the
    button; about: said before.
    """

    def __init__(self, make: Callable[[Callable], widgets.Widget], words: str, about: str):
        self.make = make
        self.button = widgets.Button(
            description=words,
            button_style="primary",
            layout=widgets.Layout(width="auto", align_self="flex-start"),
        )
        self.told, self.place = widgets.HTML(f"<p>{escape(about)}</p>"), widgets.VBox()
        self.button.on_click(guarded_into(self.told, self._press))
        self.whole = widgets.VBox([self.told, self.button, self.place])

    def _press(self) -> None:
        self.button.disabled = True
        self._say("starting …")
        try:
            self.place.children = (self.make(self._progress),)
        finally:
            self.button.disabled = False
        self._say("")
        self.button.layout.display = "none"

    def _say(self, sentence: str) -> None:
        self.told.value = f'<p role="status">{escape(sentence)}</p>'

    def _progress(self, at: Progress) -> None:
        self._say(
            f"{at.stage}: step {at.step} of {at.steps}, loss {at.loss:.3f}, "
            f"{at.seconds_left:.0f} s left"
        )


# --- buttons and files ------------------------------------------------------------------------

BUTTON = {"layout": {"width": "auto", "align_self": "flex-start"}}
WIDE = {"layout": {"width": "min(100%, 760px)"}, "style": {"description_width": "90px"}}


def download(path: Path, words: str) -> str:
    """A link that holds the file: the server serves none, and the page's policy lets data: be
    saved.
    """
    content = b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<a download="{escape(path.name)}" href="data:application/octet-stream;base64,{content}">'
        f"{escape(words)}</a>"
    )


def pressed(
    words: str, told: widgets.HTML, doing: str, act: Callable[[], str], **more: object
) -> widgets.Button:
    """A button that is off, with a line that says what is being done, while it works.

    act: does it and returns a sentence; an error that a person can act on becomes one.
    """
    made = widgets.Button(description=words, **{**BUTTON, **more})

    def work() -> None:
        made.disabled = True
        told.value = f'<p role="status">{escape(doing)} …</p>'
        try:
            told.value = f'<p role="status">{escape(act())}</p>'
        finally:
            made.disabled = False

    made.on_click(guarded_into(told, work))
    return made


# --- guesses, choices, reflections --------------------------------------------------------------


def _asked(question: str) -> widgets.HTML:
    return widgets.HTML(
        f'<div style="max-width: 760px; line-height: 1.4"><b>{escape(question)}</b></div>'
    )


def _say(told: widgets.HTML, sentence: str, *, strong: str = "") -> None:
    told.value = (
        '<div role="status" style="max-width: 760px; white-space: pre-line; line-height: '
        f'1.4"><b>{escape(strong)}</b> {escape(sentence)}</div>'
    )


def guess_slider(question: str, low: float, high: float) -> widgets.Widget:
    """A slider for a prediction, in the middle until it is moved."""
    slider = widgets.FloatSlider(
        value=(low + high) / 2,
        min=low,
        max=high,
        step=(high - low) / 100,
        description="your guess",
        readout_format=".2f",
        layout=widgets.Layout(width="460px"),
        style={"description_width": "90px"},
    )
    slider.tooltip = question
    return slider


class GuessPanel:
    """A slider for a guess, kept when it is moved or when the button says that it stays where it
    is.

    start: a guess made earlier. keep: guess -> a sentence.
    """

    def __init__(
        self,
        question: str,
        low: float,
        high: float,
        start: float | None,
        keep: Callable[[float], str],
    ):
        self.keep, self.committed, self.closed = keep, start is not None, False
        self.curtains: list[Curtain] = []
        self.slider = guess_slider(question, low, high)
        self.slider.continuous_update = False
        self.button = widgets.Button(
            description="this is my guess", tooltip=f"keep this guess: {question}", **BUTTON
        )
        self.told = widgets.HTML()
        if start is not None:
            self.slider.value = start
            _say(self.told, f"Kept from before: {start:.2f}.")
        self.slider.observe(guarded_into(self.told, self._commit), "value")
        self.button.on_click(guarded_into(self.told, self._confirm))
        self.whole = widgets.VBox(
            [_asked(question), widgets.HBox([self.slider, self.button]), self.told]
        )

    @property
    def value(self) -> float:
        return float(self.slider.value)

    @property
    def awaited(self) -> bool:
        """Whether there is no guess yet, and one can still be made."""
        return not self.committed and not self.closed

    def _commit(self) -> None:
        waiting = " The result is ready: press 'this is my guess' to see it."
        _say(self.told, self.keep(self.value) + (waiting if self.curtains else ""))
        self.committed = True

    def _confirm(self) -> None:
        self._commit()
        if self.curtains:
            self.reveal()

    def reveal(self) -> None:
        """Show what waits for the guess, made or not."""
        curtains, self.curtains = self.curtains, []
        for curtain in curtains:
            curtain.lift()

    def close(self) -> None:
        """The outcome is shown: from now on a guess would not be one. What else waited is shown
        too.
        """
        self.closed = self.slider.disabled = self.button.disabled = True
        made = (
            f"Your guess of {self.value:.2f} stays as it is"
            if self.committed
            else "The result is already shown, so it is too late to guess. To guess again, change "
            "seed in the first cell"
        )
        _say(self.told, f"{made}.")
        self.reveal()


class Curtain:
    """Hides what gives an outcome away until its guess is made or skipped. reveal: lifts all
    curtains of the guess. later: what to show on lifting it; it can depend on the guess.
    """

    def __init__(self, question: str, reveal: Callable[[], None]):
        self.open = False
        self.later: list[Callable[[], None]] = []
        self.out = widgets.Output(layout=widgets.Layout(display="none"))
        self.told = widgets.HTML()
        _say(
            self.told,
            "The result is ready and hidden. Make your guess above and press 'this is my guess', "
            "or press 'show me'.",
        )
        self.button = widgets.Button(
            description="show me", tooltip=f"show the result without a guess: {question}", **BUTTON
        )
        self.button.on_click(guarded_into(self.told, reveal))
        self.whole = widgets.VBox([self.told, self.button, self.out])

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """What is displayed in this block is not seen before `lift`. An error is, at once."""
        self.open = True
        self.out.__enter__()
        try:
            yield
        finally:
            self.out.__exit__(None, None, None)
            self.open = False

    def lift(self) -> None:
        self.told.layout.display = self.button.layout.display = "none"
        self.out.layout.display = None
        with self.hidden():
            for show in self.later:
                show()


class ChoicePanel:
    """A multiple choice and its check. start: place of the option chosen before. check: place ->
    (verdict, sentence).
    """

    def __init__(
        self,
        question: str,
        options: Sequence[str],
        start: int | None,
        check: Callable[[int], tuple[str, str]],
    ):
        self.check = check
        self.choice = widgets.RadioButtons(
            options=[(option, i) for i, option in enumerate(options)],
            value=start,
            description="your choice",
            tooltip=question,
            **WIDE,
        )
        self.button = widgets.Button(
            description="check", tooltip=f"check your choice: {question}", **BUTTON
        )
        self.told = widgets.HTML()
        self.choice.observe(self._chosen, "value")
        self.button.on_click(guarded_into(self.told, self._check))
        self.whole = widgets.VBox([_asked(question), self.choice, self.button, self.told])
        if start is not None:
            guarded_into(self.told, self._check)()

    def _chosen(self, _: object) -> None:
        self.told.value = ""

    def _check(self) -> None:
        if self.choice.value is None:
            return _say(self.told, "Choose an option first.")
        verdict, sentence = self.check(self.choice.value)
        _say(self.told, sentence, strong=verdict)


class ReflectionPanel:
    """A text area holding what was written before; kept when the field is left. keep: text -> a
    sentence.
    """

    def __init__(self, question: str, start: str, keep: Callable[[str], str]):
        self.keep = keep
        self.area = widgets.Textarea(
            value=start,
            description="your answer",
            placeholder="kept when you leave this field (Tab)",
            tooltip=question,
            rows=3,
            continuous_update=False,
            **WIDE,
        )
        self.told = widgets.HTML()
        self.area.observe(guarded_into(self.told, self._keep), "value")
        self.whole = widgets.VBox([_asked(question), self.area, self.told])
        if start:
            _say(self.told, "Kept from before.")

    def _keep(self) -> None:
        _say(self.told, self.keep(self.area.value))
