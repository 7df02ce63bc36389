"""The widgets of a learner's journal: a guess, a multiple choice, a reflection. They only wire what the lesson keeps.

Every control is reached with Tab: options and buttons take Space, sliders the arrow keys. (In JupyterLab the arrow keys move between
cells when an option has the focus, so the options are a tab stop each.) What happened is told in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as widgets

from labkit.panels import guarded_into, guess_slider

BUTTON = {"layout": widgets.Layout(width="auto", align_self="flex-start")}
WIDE = {"layout": widgets.Layout(width="min(100%, 760px)"), "style": {"description_width": "90px"}}


def _asked(question: str) -> widgets.HTML:
    return widgets.HTML(f'<div style="max-width: 760px; line-height: 1.4"><b>{escape(question)}</b></div>')


def _say(told: widgets.HTML, sentence: str, *, strong: str = "") -> None:
    told.value = f'<div role="status" style="max-width: 760px; line-height: 1.4"><b>{escape(strong)}</b> {escape(sentence)}</div>'


class GuessPanel:
    """A slider for a guess, kept when it is moved or when the button says that it stays where it is.

    start: a guess made earlier. keep: guess -> a sentence.
    """

    def __init__(self, question: str, low: float, high: float, start: float | None, keep: Callable[[float], str]):
        self.keep, self.committed = keep, start is not None
        self.slider = guess_slider(question, low, high)
        self.slider.continuous_update = False
        self.button = widgets.Button(description="this is my guess", tooltip=f"keep this guess: {question}", **BUTTON)
        self.told = widgets.HTML()
        if start is not None:
            self.slider.value = start
            _say(self.told, f"Kept from before: {start:.2f}.")
        commit = guarded_into(self.told, self._commit)
        self.slider.observe(commit, "value")
        self.button.on_click(commit)
        self.whole = widgets.VBox([_asked(question), widgets.HBox([self.slider, self.button]), self.told])

    @property
    def value(self) -> float:
        return float(self.slider.value)

    def _commit(self) -> None:
        _say(self.told, self.keep(self.value))
        self.committed = True

    def close(self) -> None:
        """The outcome is known: from now on a guess would not be one."""
        self.slider.disabled = self.button.disabled = True
        made = f"your guess of {self.value:.2f} stays as it is" if self.committed else "no guess was made before it; another seed in the first cell asks anew"
        _say(self.told, f"The outcome is known: {made}.")


class ChoicePanel:
    """A multiple choice and its check. start: place of the option chosen before. check: place -> (verdict, sentence)."""

    def __init__(self, question: str, options: Sequence[str], start: int | None, check: Callable[[int], tuple[str, str]]):
        self.check = check
        self.choice = widgets.RadioButtons(options=[(option, i) for i, option in enumerate(options)], value=start, description="your choice", tooltip=question, **WIDE)
        self.button = widgets.Button(description="check", tooltip=f"check your choice: {question}", **BUTTON)
        self.told = widgets.HTML()
        self.choice.observe(self._chosen, "value")
        self.button.on_click(guarded_into(self.told, self._check))
        self.whole = widgets.VBox([_asked(question), self.choice, self.button, self.told])
        if start is not None:
            guarded_into(self.told, self._check)()

    def _chosen(self, _) -> None:
        self.told.value = ""

    def _check(self) -> None:
        if self.choice.value is None:
            return _say(self.told, "Choose an option first.")
        verdict, sentence = self.check(self.choice.value)
        _say(self.told, sentence, strong=verdict)


class ReflectionPanel:
    """A text area holding what was written before; kept when the field is left. keep: text -> a sentence."""

    def __init__(self, question: str, start: str, keep: Callable[[str], str]):
        self.keep = keep
        self.area = widgets.Textarea(
            value=start, description="your answer", placeholder="kept when you leave this field (Tab)", tooltip=question, rows=3, continuous_update=False, **WIDE
        )
        self.told = widgets.HTML()
        self.area.observe(guarded_into(self.told, self._keep), "value")
        self.whole = widgets.VBox([_asked(question), self.area, self.told])
        if start:
            _say(self.told, "Kept from before.")

    def _keep(self) -> None:
        _say(self.told, self.keep(self.area.value))
