"""A button for what takes long: it says beforehand how long, tells while it works, and then shows a panel."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from labkit.panels import guarded_into


class LaterPanel:
    """make: takes a function for progress (train.Progress), returns the widget to show. words: on the button; about: said before."""

    def __init__(self, make: Callable[[Callable], widgets.Widget], words: str, about: str):
        self.make = make
        self.button = widgets.Button(description=words, button_style="primary", layout=widgets.Layout(width="auto", align_self="flex-start"))
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

    def _progress(self, at) -> None:
        self._say(f"{at.stage}: step {at.step} of {at.steps}, loss {at.loss:.3f}, {at.seconds_left:.0f} s left")
