"""The designer's widgets (notebook 01). The panel only wires: design_lab.Studio computes, checks, saves and trains."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as widgets

from labkit.comparison import as_html
from labkit.errors import InputError
from labkit.panels import FAULT, guarded

WIDE = {"layout": widgets.Layout(width="410px"), "style": {"description_width": "120px"}}
STAGE_FIELDS = {"learning_rate": widgets.FloatText, "steps": widgets.IntText, "batch_size": widgets.IntText, "max_length": widgets.IntText, "replay": widgets.FloatText, "beta": widgets.FloatText}
FIELDS_OF = {"cpt": ("learning_rate", "steps", "batch_size", "max_length", "replay"), "sft": ("learning_rate", "steps", "batch_size", "max_length", "replay"), "dpo": ("learning_rate", "steps", "batch_size", "max_length", "beta"), "orpo": ("learning_rate", "steps", "batch_size", "max_length", "beta")}
WHY = {"approach": "your approach", "benefits": "what you expect", "risks": "what may go wrong", "suits": "where you would use it"}
SOURCES = {"raw": "raw papers", "summaries": "distilled summaries", "qa": "question-answer pairs as text"}
WEIGHTS = {"as is usual for the size": None, "all weights": False, "LoRA adapters": True}
SHORT = {"learning_rate": "rate", "batch_size": "batch", "max_length": "length"}  # where a full name would be cut off
AT_THE_END, BY_HAND, DEFAULT = "after the last stage", "t by hand", "the size's default"


def design_panel(studio, options: dict) -> widgets.Widget:
    """The designer. studio: design_lab.Studio; options: what design_lab.options() gives."""
    return DesignPanel(studio, options).whole


class DesignPanel:
    """Choices on the left and what follows from them below; every change is checked at once, nothing is trained until a button says so."""

    def __init__(self, studio, options: dict):
        self.studio, self.options, self.following = studio, options, True
        self._build()
        self._wire()
        self._guarded(self._follow)()

    # --- what is seen

    def _build(self) -> None:
        chosen, offered = self.studio.choices, self.options
        self.pack = widgets.Combobox(value=str(chosen["pack"]), options=list(offered["packs"]), description="domain", placeholder="a pack or a folder", tooltip="a shipped pack or the folder of your own", **WIDE)
        self.model = widgets.Combobox(value=str(chosen.get("model", "llama-s")), options=list(offered["families"]), description="model", tooltip="a family by name, or any model by folder or hub id", **WIDE)
        self.start = widgets.Dropdown(options={f"{name}: {words}": name for name, words in offered["starts"].items()}, value=chosen.get("start", "instruct"), description="start", layout=widgets.Layout(width="820px"), style=WIDE["style"])
        self.sequence = widgets.Combobox(value=str(chosen.get("sequence", "cpt-sft")), options=[key for key in offered["sequences"] if key], description="stages", tooltip="stages joined by dashes, in any order; empty for a direct merge", **WIDE)
        self.sequence_words = widgets.HTML()
        self.sources = {name: widgets.Checkbox(value=name in (chosen.get("sources") or ("raw", "summaries")), description=words, indent=False, layout=widgets.Layout(width="220px")) for name, words in SOURCES.items()}
        self.replay_default = widgets.Checkbox(value=chosen.get("replay") is None, description=DEFAULT, indent=False, layout=widgets.Layout(width="170px"))
        self.replay = widgets.FloatSlider(value=chosen.get("replay") or 0.25, min=0, max=0.9, step=0.05, description="replay share", readout_format=".2f", **WIDE)
        self.weights = widgets.Dropdown(options=list(WEIGHTS), value=next(words for words, lora in WEIGHTS.items() if lora == chosen.get("lora")), description="what is trained", **WIDE)
        self.merge = widgets.Dropdown(options=["none", "slerp", "lerp"], value=chosen.get("merge", "none"), description="merge", **WIDE)
        self.t = widgets.FloatSlider(value=0.5 if isinstance(chosen.get("t", 0.5), str) else chosen.get("t", 0.5), min=0, max=1, step=0.05, description="t (0 general, 1 domain)", readout_format=".2f", layout=widgets.Layout(width="410px"), style={"description_width": "150px"})
        self.schedule = widgets.Dropdown(options=[BY_HAND, *offered["schedules"]], value=chosen["t"] if isinstance(chosen.get("t"), str) else BY_HAND, description="over depth", **WIDE)
        self.merge_after = widgets.Dropdown(options=[AT_THE_END, 1, 2, 3], value=chosen.get("merge_after") or AT_THE_END, description="merge after stage", **WIDE)
        self.merge_with = widgets.Combobox(value=str(chosen.get("merge_with") or ""), options=list(offered["families"]), description="merge with", placeholder="the start model", tooltip="the model at t=0; by default the start model", **WIDE)
        self.stages = widgets.VBox()
        self.why = {key: widgets.Textarea(description=words, rows=2, layout=WIDE["layout"], style={"description_width": "170px"}) for key, words in WHY.items()}
        self.told, self.sheet, self.spec, self.result = widgets.HTML(), widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.changes = [widgets.Dropdown(options=["as proposed"], description=f"alternative {i}", **WIDE) for i in (1, 2)]
        self.buttons = {name: widgets.Button(description=words, layout=widgets.Layout(width="auto")) for name, words in {"save": "save the design", "words": "compare in words", "train": "train and compare"}.items()}
        self.merging = widgets.VBox([widgets.HBox([self.t, self.schedule]), widgets.HBox([self.merge_after, self.merge_with])])
        self.whole = widgets.VBox([
            widgets.HBox([self.pack, self.model]), self.start, widgets.HBox([self.sequence, self.sequence_words]),
            widgets.HBox([widgets.Label("CPT reads", layout=widgets.Layout(width="116px", display="flex", justify_content="flex-end")), *self.sources.values()]),
            widgets.HBox([self.replay, self.replay_default]), self.weights, self.stages, self.merge, self.merging,
            self.told, widgets.HBox(list(self.why.values()), layout=widgets.Layout(flex_flow="row wrap")),
            widgets.HBox(self.changes), widgets.HBox(list(self.buttons.values())), self.result, self.sheet, self.spec,
        ])

    def _stage_rows(self) -> None:
        """A row of numbers per stage, at what the design has; editing one fixes it."""
        rows = []
        for number, stage in enumerate(self.studio.spec.stages, 1):
            cells = [widgets.Label(f"{number}. {stage.kind.upper()}", layout=widgets.Layout(width="70px"))]
            for field in FIELDS_OF[stage.kind]:
                cell = STAGE_FIELDS[field](value=getattr(stage, field), description=SHORT.get(field, field), tooltip=field.replace("_", " "), layout=widgets.Layout(width="148px"), style={"description_width": "48px"}, continuous_update=False)
                cell.observe(self._guarded(lambda number=number, field=field, cell=cell: self._by_hand(number, field, cell.value)), "value")
                cells.append(cell)
            rows.append(widgets.HBox(cells))
        self.stages.children = tuple(rows)

    # --- what leads where

    def _wire(self) -> None:
        anew = (self.pack, self.model, self.start, self.sequence, self.weights, self.replay, self.replay_default, *self.sources.values())
        for control in anew:
            control.observe(self._guarded(self._afresh), "value")
        for control in (self.merge, self.t, self.schedule, self.merge_after, self.merge_with, *self.why.values()):
            control.observe(self._guarded(lambda: self._follow(keep_rows=True)), "value")
        for name, act in {"save": self._save, "words": self._words, "train": self._train}.items():
            self.buttons[name].on_click(self._guarded(lambda name=name, act=act: self._press(name, act)))

    def _guarded(self, act: Callable[[], None]) -> Callable:
        return guarded(act, self._tell, lambda lines: self._tell(f"{FAULT} {lines}"), lambda: self.following)

    def _tell(self, sentence: str) -> None:
        self.told.value = f"<b>{escape(sentence)}</b>"

    def _clear(self) -> None:
        """What belongs to the design before must not pass for this one."""
        self.sheet.value = self.spec.value = self.result.value = ""
        for button in self.buttons.values():
            button.disabled = True

    def _afresh(self) -> None:
        """Another model or sequence has other defaults: what was fixed by hand is let go."""
        self.studio.choices["changes"] = {}
        self._follow()

    def _by_hand(self, number: int, field: str, value: float) -> None:
        by_hand = dict(self.studio.choices.get("changes", {}))
        by_hand[number] = {**by_hand.get(number, {}), field: value}
        self.studio.choices["changes"] = by_hand
        self._follow(keep_rows=True)

    def _read(self) -> None:
        """The controls as choices."""
        sources = tuple(name for name, box in self.sources.items() if box.value)
        chosen = {
            "pack": self.pack.value, "model": self.model.value, "start": self.start.value, "sequence": self.sequence.value,
            "sources": sources if sources != ("raw", "summaries") else None, "replay": None if self.replay_default.value else self.replay.value,
            "lora": WEIGHTS[self.weights.value], "merge": self.merge.value, "t": self.t.value if self.schedule.value == BY_HAND else self.schedule.value,
            "merge_after": None if self.merge.value == "none" or self.merge_after.value == AT_THE_END else self.merge_after.value,
            "merge_with": self.merge_with.value or None,
        }
        self.studio.choices.update(chosen)
        self.studio.why = {key: area.value for key, area in self.why.items()}

    def _follow(self, *, keep_rows: bool = False) -> None:
        """Read, check, advise, show: what every change ends in."""
        self._read()
        self.replay.disabled = self.replay_default.value
        self.merging.layout.display = "none" if self.merge.value == "none" else None
        self.sequence_words.value = escape(self.options["sequences"].get(self.sequence.value, "an order of your own"))
        try:
            sheet = self.studio.sheet()
            if not keep_rows:
                self._stage_rows()
            self._offer()
        except BaseException:
            self._clear()
            raise
        self.told.value = f"<b>{escape(sheet.verdict)}</b>"
        self.sheet.value, self.spec.value = sheet.html(), f"<pre>{escape(self.studio.text())}</pre>"
        self.result.value = ""
        for button in self.buttons.values():
            button.disabled = bool(sheet.problems)

    def _offer(self) -> None:
        """Let alternatives be chosen among the changes that apply."""
        self.following = False
        for dropdown in self.changes:
            kept = dropdown.value
            dropdown.options = ["as proposed", *self.studio.possible()]
            dropdown.value = kept if kept in dropdown.options else "as proposed"
        self.following = True

    def _chosen_changes(self) -> list[str] | None:
        chosen = [dropdown.value for dropdown in self.changes]
        if chosen == ["as proposed"] * 2:
            return None
        if "as proposed" in chosen or chosen[0] == chosen[1]:
            raise InputError("choose two different alternatives, or leave both as proposed")
        return chosen

    def _press(self, name: str, act: Callable[[], str]) -> None:
        button = self.buttons[name]
        button.disabled = True
        self.result.value = f"<i>{escape(button.description)} …</i>"
        try:
            self.result.value = act()
        except BaseException:
            self.result.value = ""
            raise
        finally:
            button.disabled = False

    def _save(self) -> str:
        return f"<p>saved as <code>{escape(str(self.studio.save()))}</code>; <code>labkit run</code> trains it</p>"

    def _words(self) -> str:
        return as_html(self.studio.compared(self._chosen_changes()))

    def _train(self) -> str:
        found = self.studio.compared(self._chosen_changes())
        done = self.studio.train(found, self._progress, self._say)
        return f"<p>as Markdown, HTML and PDF in <code>{escape(str(self.studio.path.parent))}</code></p>" + as_html(done)

    def _say(self, sentence: str) -> None:
        self.result.value = f"<i>{escape(sentence)} …</i>"

    def _progress(self, at) -> None:
        self.result.value = f"<i>{escape(at.stage)} step {at.step} of {at.steps}, loss {at.loss:.3f}, {at.seconds_left:.0f} s left</i>"
