"""The panel of notebook 02: a slider per threshold, what is kept at once, and a button that writes it as a pack.

It only wires: quality_lab.QualitySession computes, draws and writes.
"""

from __future__ import annotations

import math
from html import escape

import ipywidgets as widgets

from labkit.panels import guarded_into
from labkit.quality import Thresholds

SIZE = {"layout": widgets.Layout(width="480px"), "style": {"description_width": "170px"}}
SLIDER = {**SIZE, "continuous_update": False}


def quality_panel(session) -> widgets.Widget:
    """Sliders for the thresholds of `session` (a quality_lab.QualitySession), its figure, its examples, and a pack to write."""
    return QualityPanel(session).whole


class QualityPanel:
    """Every move of a slider is followed at once; nothing is written until the button says so."""

    def __init__(self, session):
        self.session, self.kept = session, None
        self.controls = _controls(session)
        self.told, self.examples = widgets.HTML(), widgets.HTML()
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.name = widgets.Text("filtered", description="name of the pack", tooltip="letters, digits, dashes and underscores", **SIZE)
        self.button = widgets.Button(
            description="write the kept documents as a pack", tooltip="a new folder; every other split is copied", layout=widgets.Layout(width="auto")
        )
        self.result = widgets.HTML()
        sliders, choices = list(self.controls.values())[:4], list(self.controls.values())[4:]
        self.whole = widgets.VBox([
            widgets.HBox([widgets.VBox(sliders), widgets.VBox(choices)]), self.told, self.picture,
            widgets.HBox([self.name, self.button]), self.result, self.examples,
        ])
        for control in self.controls.values():
            control.observe(guarded_into(self.told, self._follow), "value")
        self.button.on_click(guarded_into(self.result, self._write))
        guarded_into(self.told, self._follow)()

    def thresholds(self) -> Thresholds:
        """What the controls say; the right end of the slider for bits per byte is no bound."""
        found = {name: control.value for name, control in self.controls.items()}
        low, high = found.pop("words")
        bits = self.controls["max_bits_per_byte"]
        return Thresholds(min_words=low, max_words=high, **found | {"max_bits_per_byte": None if bits.value >= bits.max else bits.value})

    def _follow(self) -> None:
        """Compute, draw, tell. Until that succeeds nothing is shown and nothing can be written."""
        self.kept, self.button.disabled = None, True
        self.told.value = self.result.value = self.examples.value = ""
        self.picture.value = b""
        kept = self.session.look(self.thresholds())
        self.picture.value, self.examples.value = self.session.picture(kept), self.session.examples(kept)
        self.told.value = f"<p>{escape(self.session.tell(kept))}</p>"
        self.kept, self.button.disabled = kept, False

    def _write(self) -> None:
        self.result.value = ""
        made = self.session.write(self.kept, self.name.value)
        self.result.value = f"<p>written: {escape(str(made.folder))}, {len(self.kept.indices):,} documents</p>"


def _controls(session) -> dict[str, widgets.Widget]:
    """A widget per threshold, at what the session looked at last; four sliders, then two choices."""
    now, words, bits = session.kept.thresholds, *session.highest()
    words, end = max(words, now.min_words, 1), math.ceil(10 * max(bits, now.max_bits_per_byte or 0) + 1) / 10
    known = "" if session.knows_truth else " (not measured)"
    share = {"min": 0, "max": 1, "step": 0.01, **SLIDER}
    return {
        "words": widgets.IntRangeSlider(
            value=(now.min_words, min(words, now.max_words)), min=0, max=words, description="words, from and to", tooltip="how long a document may be", **SLIDER,
        ),
        "max_repetition": widgets.FloatSlider(value=now.max_repetition, description="repetition, at most", tooltip="share of words that the document said before", **share),
        "max_symbols": widgets.FloatSlider(
            value=now.max_symbols, description="symbols, at most", tooltip="share of characters that are no letters, digits or punctuation", **share,
        ),
        "max_bits_per_byte": widgets.FloatSlider(
            value=end if now.max_bits_per_byte is None else now.max_bits_per_byte, min=0, max=end, step=0.05, description="bits per byte, at most",
            tooltip=f"surprise under {session.model}; the right end is no bound", **SLIDER,
        ),
        "drop_duplicates": widgets.Checkbox(value=now.drop_duplicates, description="drop near duplicates", indent=False, tooltip="the first of those alike is kept"),
        "drop_contradictions": widgets.Checkbox(
            value=now.drop_contradictions, description=f"drop contradictions{known}", disabled=not session.knows_truth, indent=False,
            tooltip="documents that say something else than the world's truth",
        ),
    }
