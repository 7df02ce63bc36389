"""The chat panel: a question, several models' answers side by side, and what was said so far.

It only wires: chat_lab.ChatSession asks and draws.
"""

from __future__ import annotations

from html import escape

import ipywidgets as widgets

from labkit.panels import guarded_into

SIZE = {"style": {"description_width": "110px"}, "layout": widgets.Layout(width="300px")}
WIDE = {"style": {"description_width": "110px"}, "layout": widgets.Layout(width="700px")}


def chat_panel(session) -> widgets.Widget:
    """A question box, settings and the conversation of `session` (a chat_lab.ChatSession)."""
    return ChatPanel(session).whole


class ChatPanel:
    """The button asks; a prepared question only fills the box."""

    def __init__(self, session):
        self.session, now = session, session.settings
        self.prepared = widgets.Dropdown(options=["", *session.questions], description="prepared", tooltip="fills the question", **WIDE)
        self.question = widgets.Textarea(description="question", placeholder="ask all models", tooltip="what all models are asked", **WIDE)
        self.controls = {
            "temperature": widgets.FloatSlider(value=now.temperature, min=0, max=2, step=0.1, description="temperature", tooltip="0: the likeliest answer", **SIZE),
            "max_tokens": widgets.IntText(value=now.max_tokens, description="max tokens", tooltip="how long an answer may be", **SIZE),
            "seed": widgets.IntText(value=now.seed, description="seed", tooltip="of drawn answers", **SIZE),
        }
        self.ask = widgets.Button(description="ask", tooltip="ask every model this question")
        self.reset = widgets.Button(description="forget", tooltip="start the conversation again")
        self.told, self.said = widgets.HTML(), widgets.HTML()
        self.whole = widgets.VBox([
            self.prepared, self.question, widgets.HBox(list(self.controls.values())), widgets.HBox([self.ask, self.reset]), self.told, self.said,
        ])
        self.prepared.observe(guarded_into(self.told, self._fill), "value")
        self.ask.on_click(guarded_into(self.told, self._ask))
        self.reset.on_click(guarded_into(self.told, self._reset))
        self.told.value = "".join(f"<p>{escape(note)}</p>" for note in session.notes())

    def _fill(self) -> None:
        self.question.value = self.prepared.value or self.question.value

    def _ask(self) -> None:
        self.told.value = "<p>answering</p>"
        self.ask.disabled = True
        try:
            self.session.ask(self.question.value, **{name: control.value for name, control in self.controls.items()})
        finally:
            self.ask.disabled = False
        self.told.value, self.said.value, self.question.value = "", self.session.html(), ""

    def _reset(self) -> None:
        self.session.reset()
        self.told.value = self.said.value = ""
