"""The figure of facts in the prompt against facts trained in: what each way gets right before and after facts change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures import COLOURS, MARKERS, new_figure
from labkit.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOMENTS = ("before the change:\nright", "after it, changed facts:\nnew value (right)", "after it, changed facts:\nold value (out of date)")
STEP = 0.14  # between two ways in one group


def before_and_after(ways: dict[str, tuple[Interval, Interval, Interval]]) -> Figure:
    """Grouped dots with intervals. ways: name -> shares of MOMENTS, in their order."""
    figure, (ax,) = new_figure(9.6, 5)
    for i, (name, found) in enumerate(ways.items()):
        places = [moment + (i - (len(ways) - 1) / 2) * STEP for moment in range(len(MOMENTS))]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar(places, [f.mean for f in found], yerr=errors, fmt=MARKERS[i], color=COLOURS[i], markersize=10, capsize=4, label=name)
    ax.axvline(0.5, color="#666666", linewidth=1.5, linestyle="--")
    ax.set_xticks(range(len(MOMENTS)), MOMENTS)
    ax.set_xlim(-0.5, len(MOMENTS) - 0.5)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("share of questions (95% interval)", fontsize=13)
    ax.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=13, title="facts are", title_fontsize=13)
    return figure
