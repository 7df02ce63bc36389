"""The panel of notebook 08: model, method, cards, tokens, batch, length, price lead to a figure and sentences.

It only wires: planner_lab.CostSession computes, draws and tells.
"""

from __future__ import annotations

from dataclasses import asdict, fields

import ipywidgets as widgets

from labkit.panels import guarded_into

SIZE = {"layout": widgets.Layout(width="330px"), "style": {"description_width": "140px"}}


def cost_panel(session) -> widgets.Widget:
    """Controls for the settings of `session` (a planner_lab.CostSession), its figure and its sentences."""
    return CostPanel(session).whole


class CostPanel:
    """Every change is followed at once."""

    def __init__(self, session):
        self.session = session
        self.controls = _controls(session)
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.told = widgets.HTML()
        rows = list(self.controls.values())
        third = -(-len(rows) // 3)
        columns = [widgets.VBox(rows[start : start + third]) for start in range(0, len(rows), third)]
        self.whole = widgets.VBox([widgets.HBox(columns), self.told, self.picture])
        follow = guarded_into(self.told, self._follow)
        for control in rows:
            control.observe(follow, "value")
        follow()

    def _follow(self) -> None:
        self.picture.value, self.told.value = b"", ""
        settings = type(self.session.settings)(**{name: control.value for name, control in self.controls.items()})
        found = self.session.look(settings)
        self.told.value = self.session.sentences(found)
        self.picture.value = self.session.draw(found)


def _controls(session) -> dict[str, widgets.Widget]:
    start, typed = asdict(session.settings), {**SIZE, "continuous_update": False}
    made = {
        "model": widgets.Combobox(options=session.models(), value=start["model"], ensure_option=False, description="model", **typed),
        "card": widgets.Dropdown(options=session.cards(), value=start["card"], description="GPU", **SIZE),
        "gpus": widgets.BoundedIntText(start["gpus"], min=1, max=1024, description="how many", **SIZE),
        "method": widgets.Dropdown(options=["full", "lora", "qlora"], value=start["method"], description="method", **SIZE),
        "tokens_millions": widgets.FloatText(start["tokens_millions"], description="tokens (millions)", **typed),
        "batch_size": widgets.IntText(start["batch_size"], description="rows per step", **typed),
        "rows_at_once": widgets.IntText(start["rows_at_once"], description="of them at once", **typed),
        "length": widgets.IntText(start["length"], description="tokens per row", **typed),
        "checkpointing": widgets.Checkbox(start["checkpointing"], description="activation checkpointing", indent=False),
        "price": widgets.FloatText(start["price"], description="price of a GPU-hour", **typed),
    }
    return {field.name: made[field.name] for field in fields(session.settings)}
