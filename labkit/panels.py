"""Widgets: the only module that imports ipywidgets. Panels wire; they neither compute nor draw."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

import ipywidgets as widgets

from labkit.errors import LabkitError


def guess_slider(question: str, low: float, high: float) -> widgets.Widget:
    """A slider for a prediction, in the middle until it is moved."""
    slider = widgets.FloatSlider(
        value=(low + high) / 2, min=low, max=high, step=(high - low) / 100, description="your guess", readout_format=".2f",
        layout=widgets.Layout(width="460px"), style={"description_width": "90px"},
    )
    slider.tooltip = question
    return slider


def merge_panel(
    compute: Callable[[float, str], object],
    draw: Callable[[object], bytes],
    read: Callable[[object], str],
    *,
    ends: tuple[str, str],
    methods: Sequence[str],
    grid: Sequence[float],
) -> widgets.Widget:
    """A t slider and a method switch over compute -> draw. Both ends of the slider are named.

    draw: result -> PNG bytes. read: result -> one line of text for the readout.
    """
    t = widgets.SelectionSlider(
        options=[(f"{value:.1f}", value) for value in grid], value=grid[len(grid) // 2], description="t",
        continuous_update=False, layout=widgets.Layout(width="420px"),
    )
    method = widgets.ToggleButtons(options=list(methods), description="method")
    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
    told = widgets.Label()
    sentence = widgets.HTML()

    def follow(_=None):
        try:
            result = compute(t.value, method.value)
            picture.value, told.value, sentence.value = draw(result), read(result), ""
        except LabkitError as error:
            told.value = f"error: {error}"
        except Exception:
            told.value = "error: this is a fault in labkit; please report the lines below"
            sentence.value = f"<pre>{_escaped(traceback.format_exc())}</pre>"

    t.observe(follow, "value")
    method.observe(follow, "value")
    follow()
    row = widgets.HBox([widgets.Label(f"{ends[0]} (t=0)"), t, widgets.Label(f"{ends[1]} (t=1)")])
    return widgets.VBox([row, method, told, picture, sentence])


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
