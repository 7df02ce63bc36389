"""Any form of forms.py as widgets: a control per field, a button, and what the filled form leads to."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from labkit.forms import Form
from labkit.panels import FAULT, guarded

CONTROL = {"layout": widgets.Layout(width="410px"), "style": {"description_width": "180px"}}


def form_panel(model: type[Form], start: dict[str, object], show: Callable[[dict[str, object]], str], words: str) -> widgets.Widget:
    """A form to fill in. start: what its fields hold at first. show: filled values -> escaped HTML; words: on the button.

    An empty field counts as not known; values are checked by `show`, whose errors appear as a sentence.
    """
    return FormPanel(model, start, show, words).whole


class FormPanel:
    def __init__(self, model: type[Form], start: dict[str, object], show: Callable[[dict[str, object]], str], words: str):
        self.show = show
        fields, words_on_all = model.model_json_schema()["properties"], model.__doc__ or ""
        self.controls = {name: _control(name, fields[name], start.get(name, field.get_default())) for name, field in model.model_fields.items()}
        for name, control in self.controls.items():
            control.tooltip = _about(name, words_on_all)
        self.numeric = {name for name, about in fields.items() if _types(about) & {"number", "integer"}}
        self.optional = {name for name, about in fields.items() if "null" in _types(about)}
        self.button, self.told, self.result = widgets.Button(description=words, button_style="primary", layout=widgets.Layout(width="auto", align_self="flex-start")), widgets.HTML(), widgets.HTML()
        self.button.on_click(guarded(self._press, self._tell, lambda lines: self._tell(f"{FAULT} {lines}")))
        rows = widgets.HBox(list(self.controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        self.whole = widgets.VBox([rows, self.button, self.told, self.result])

    def _tell(self, sentence: str) -> None:
        self.told.value = f"<b>{escape(sentence)}</b>"

    def values(self) -> dict[str, object]:
        """Field -> what its control holds: numbers as numbers, nothing as None."""
        return {name: self._value(name, control.value) for name, control in self.controls.items()}

    def _value(self, name: str, value: object) -> object:
        if name in self.optional and value == "":
            return None
        if name not in self.numeric:
            return value
        text = str(value).strip()
        try:
            return None if not text else int(text.replace(",", "")) if text.replace(",", "").lstrip("-").isdigit() else float(text)
        except ValueError:
            return text  # the form says what is wrong with it

    def _press(self) -> None:
        self.told.value = self.result.value = ""
        self.result.value = self.show(self.values())


def _about(name: str, words: str) -> str | None:
    """What a form's own words say of a field, as `name: what it is.` or `name, other: what they are.`"""
    found = re.search(rf"\b{name}(?:,\s+\w+)*:\s+([^.]+)\.", words)
    return " ".join(found[1].split()) if found else None


def _types(about: dict) -> set[str]:
    """JSON types a field takes."""
    return {about.get("type", "")} | {option.get("type", "") for option in about.get("anyOf", ())}


def _control(name: str, about: dict, value: object) -> widgets.Widget:
    shown = name.replace("_", " ")
    if "enum" in about:
        return widgets.Dropdown(options=about["enum"], value=_word(value, about["enum"]), description=shown, **CONTROL)
    if about.get("type") == "boolean":
        return widgets.Checkbox(value=bool(value), description=shown, **CONTROL)
    return widgets.Text(value="" if value is None or not isinstance(value, (str, int, float)) else str(value), description=shown, placeholder="not known", continuous_update=False, **CONTROL)


def _word(value: object, options: list[str]) -> str:
    """A value among a field's words; a bare yes of YAML is one of them."""
    word = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
    return word if word in options else options[0]
