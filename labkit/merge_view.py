"""The merge lab's figure, which redraws only what moved: with figures.py the only module that imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.figures import AXIS_LABELS, COLOURS, LINES, MARKERS, new_figure, parent_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MergeView:
    """The panel's figure: five scores against t, and t per group and layer as a heatmap.

    Everything that does not move is drawn once; a move draws a line, a dot per axis and the heatmap on top of it,
    which is what makes a slider follow the hand.
    """

    def __init__(self, sweep: dict | None, *, axes: Sequence[str], ends: tuple[str, str], layers: int):
        """sweep: method -> [(t, scorecard)], or None when no grid was scored. axes: five of them."""
        self.axes, self.sweep = tuple(axes), sweep
        self.figure, panels = new_figure(9.6, 4.7, 3, rows=2, size=11)
        self.panels, self.map = dict(zip(axes, panels, strict=False)), panels[len(self.axes)]
        for axis, ax in self.panels.items():
            self._curves(ax, axis, ends)
        self._frame_of_map(layers, ends)
        handles, labels = self.panels[self.axes[0]].get_legend_handles_labels()
        self.moving = [*self._markers(), *self.heat.artists()]
        if sweep:
            named = [*labels, "this merge (white: not scored itself)"]
            handles.append(next(iter(self.dots.values())))
            self.figure.legend(handles, named, loc="outside lower center", ncols=5, frameon=False, fontsize=11)
        self._background = None

    def _curves(self, ax, axis: str, ends: tuple[str, str]) -> None:
        for i, (method, points) in enumerate((self.sweep or {}).items()):
            t, found = [at for at, _ in points], [card.interval(axis) for _, card in points]
            ax.plot(t, [f.mean for f in found], color=COLOURS[i], linestyle=LINES[i], marker=MARKERS[i], markersize=6 - 2 * i, linewidth=2.2 - 0.8 * i, label=method.upper())
            ax.fill_between(t, [f.low for f in found], [f.high for f in found], color=COLOURS[i], alpha=0.15)
        for points in list((self.sweep or {}).values())[:1]:
            parent_lines(ax, points, axis, ends)
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=12)
        ax.set(ylim=(-0.04, 1.04), xlim=(-0.03, 1.03))
        ax.set_xlabel(f"t (0 {ends[0]}, 1 {ends[1]})", fontsize=10)
        ax.set_ylabel("score, 95% interval", fontsize=10)
        ax.grid(alpha=0.3)

    def _frame_of_map(self, layers: int, ends: tuple[str, str]) -> None:
        groups = ("attention", "MLP", "other")
        self.heat = _Heat(self.map, len(groups), layers + 1)
        self.map.set_title(f"t: 0 {ends[0]}, 1 {ends[1]}", fontsize=12)
        self.map.set_yticks(range(len(groups)), groups)
        self.map.set_xticks(range(layers + 1), ["out-\nside", *(str(layer) for layer in range(layers))])
        self.map.set_xlabel("layer", fontsize=10)
        self.map.spines[:].set_visible(False)
        self.map.tick_params(length=0)

    def _markers(self) -> list:
        self.lines = {axis: ax.axvline(0, color="#333333", linestyle="--", linewidth=1.3) for axis, ax in self.panels.items()}
        self.dots = {axis: ax.plot([], [], "*", color="#000000", markersize=14)[0] for axis, ax in self.panels.items()}
        return [*self.lines.values(), *self.dots.values()]

    def _place(self, move) -> None:
        for axis, line in self.lines.items():
            line.set_xdata([move.mean_t, move.mean_t])
            value = move.expected.get(axis)
            self.dots[axis].set_data(*(([], []) if value is None else ([move.mean_t], [value])))
            self.dots[axis].set_markerfacecolor("#000000" if move.source == "grid" else "#FFFFFF")
        self.heat.fill(move.heat)

    def draw(self, move) -> Figure:
        """The whole figure at a move, for a page."""
        self._background = None
        for artist in self.moving:
            artist.set_animated(False)
        self._place(move)
        return self.figure

    def png(self, move) -> bytes:
        """The figure at a move as PNG bytes; only what moved is drawn anew."""
        import io

        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        if self._background is None:
            for artist in self.moving:
                artist.set_animated(True)
            self._canvas = FigureCanvasAgg(self.figure)
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._place(move)
        self._canvas.restore_region(self._background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB").save(buffer, format="png", compress_level=1)
        return buffer.getvalue()


class _Heat:
    """A small map of numbers in [0, 1] with the number written in each cell."""

    def __init__(self, ax, rows: int, columns: int):
        import numpy as np

        self.image = ax.imshow(np.zeros((rows, columns)), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        self.texts = [[ax.text(k, i, "", ha="center", va="center", fontsize=10) for k in range(columns)] for i in range(rows)]

    def artists(self) -> list:
        return [self.image, *(text for row in self.texts for text in row)]

    def fill(self, values: Sequence[Sequence[float | None]]) -> None:
        import numpy as np

        self.image.set_data(np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float))
        for row, texts in zip(values, self.texts, strict=True):
            for value, text in zip(row, texts, strict=True):
                text.set_text("" if value is None else f"{value:.2f}".removeprefix("0") if 0 < value < 1 else f"{value:.0f}")
                text.set_color("white" if value is not None and value < 0.47 else "black")
