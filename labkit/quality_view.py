"""Figures of the quality of documents: what thresholds keep, and what each measure sees of planted defects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.figures import COLOURS, new_figure
from labkit.quality import MEASURES, DocumentQuality, Kept
from labkit.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40
KEPT_COLOUR, DROPPED_COLOUR = COLOURS[0], COLOURS[1]
UNITS = {"length": "words", "repetition": "share of words said before", "symbols": "share of characters", "surprise": "bits per byte"}


def dashboard(measures: Sequence[DocumentQuality], kept: Kept) -> Figure:
    """A histogram per measure with its thresholds and the share they drop; documents dropped per reason; what is left.

    Documents are counted on a logarithmic scale, so that one bad document among thousands is seen.
    """
    figure, panels = new_figure(12.6, 6.6, 3, rows=2, size=12)
    figure.set_layout_engine(None)  # fitting the margins anew would double the time of every redraw
    figure.subplots_adjust(left=0.065, right=0.985, top=0.95, bottom=0.13, wspace=0.36, hspace=0.4)
    bounds = _bounds(kept)
    for ax, (name, unit) in zip(panels[:4], UNITS.items(), strict=True):
        values = [number for found in measures if (number := MEASURES[name](found)) is not None]
        _histogram(ax, name, unit, values, *bounds[name])
    _reasons(panels[4], kept, measured=any(found.contradictions is not None for found in measures))
    _left(panels[5], kept)
    return figure


def _bounds(kept: Kept) -> dict[str, tuple[float | None, float | None]]:
    limits = kept.thresholds
    return {
        "length": (limits.min_words, limits.max_words), "repetition": (None, limits.max_repetition), "symbols": (None, limits.max_symbols),
        "surprise": (None, limits.max_bits_per_byte),
    }


def _histogram(ax, title: str, unit: str, values: list[float], low: float | None, high: float | None) -> None:
    ax.set_xlabel(unit, fontsize=12)
    if not values:
        ax.set_title(title, fontsize=13)
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", fontsize=13)
        ax.set(xticks=[], yticks=[])
        return
    numbers = np.asarray(values, float)
    outside = (numbers < (-np.inf if low is None else low)) | (numbers > (np.inf if high is None else high))
    top = float(numbers.max())
    edges = np.linspace(0, top if top > 0 else 1, BINS + 1)
    for part, colour, hatch in ((numbers[~outside], KEPT_COLOUR, None), (numbers[outside], DROPPED_COLOUR, "///")):
        ax.hist(part, edges, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3)
    for bound in (low, high):
        if bound is not None and bound <= 1.5 * edges[-1]:
            ax.axvline(bound, color="#000000", linestyle="--", linewidth=2)
    ax.set_yscale("log")
    ax.minorticks_off()  # they take half the time of a redraw
    ax.set_ylim(bottom=0.7)
    ax.set_ylabel("documents", fontsize=12)
    ax.set_title(f"{title}: {_percent(outside.mean())} outside", fontsize=13)
    ax.grid(alpha=0.3, axis="y")


def _percent(share: float) -> str:
    """A share as per cent; a small one is not rounded away."""
    return "0%" if share == 0 else "under 0.1%" if share < 0.001 else f"{share:.1%}"


def _reasons(ax, kept: Kept, *, measured: bool) -> None:
    counts = kept.counts
    labels = [reason if measured or reason != "contradiction" else "contradiction\n(not measured)" for reason in counts]
    ax.barh(range(len(counts)), list(counts.values()), color=DROPPED_COLOUR, hatch="///", edgecolor="white")
    for place, number in enumerate(counts.values()):
        ax.annotate(f"{number:,}", (number, place), textcoords="offset points", xytext=(4, 0), va="center", fontsize=12)
    ax.set_yticks(range(len(counts)), labels)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.2 * max(1, *counts.values()))
    ax.set_xlabel("documents", fontsize=12)
    ax.set_title("dropped, by reason", fontsize=13)


def _left(ax, kept: Kept) -> None:
    shares = {"documents": kept.share, "words": kept.share_of_words}
    ax.barh(range(2), list(shares.values()), color=KEPT_COLOUR, edgecolor="white", label="kept")
    ax.barh(range(2), [1 - share for share in shares.values()], left=list(shares.values()), color=DROPPED_COLOUR, hatch="///", edgecolor="white", label="dropped")
    for place, share in enumerate(shares.values()):
        ax.annotate(f"{share:.1%} kept", (0.03, place), va="center", fontsize=13, color="white" if share > 0.3 else "black", fontweight="bold")
    ax.set_yticks(range(2), list(shares))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("share", fontsize=12)
    ax.set_title("what is left", fontsize=13)
    ax.legend(frameon=False, fontsize=12, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def separation_grid(found: dict[tuple[str, str], Interval]) -> Figure:
    """What each measure sees of each defect. found: (defect, measure) -> share of pairs of a defective and a clean
    document in which the defective one has the higher value: 0.5 sees nothing, 0 and 1 see everything."""
    defects, measures = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    figure, (ax,) = new_figure(3.2 + 1.6 * len(measures), 1.8 + 0.75 * len(defects))
    strength = [[abs(found[defect, measure].mean - 0.5) * 2 if (defect, measure) in found else np.nan for measure in measures] for defect in defects]
    ax.imshow(strength, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, defect in enumerate(defects):
        for column, measure in enumerate(measures):
            if (defect, measure) in found:
                cell = found[defect, measure]
                ink = "black" if strength[row][column] > 0.47 else "white"
                ax.text(column, row, f"{cell.mean:.2f}\n[{cell.low:.2f}, {cell.high:.2f}]", ha="center", va="center", fontsize=11, color=ink)
    ax.set_xticks(range(len(measures)), measures)
    ax.set_yticks(range(len(defects)), defects)
    ax.xaxis.tick_top()
    ax.set_xlabel(
        "share of pairs in which the defective document has the higher value, 95% interval\n"
        f"(0.5: the measure sees nothing; 0 or 1: it sees all; {next(iter(found.values())).n} documents with each defect)", fontsize=12,
    )
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure
