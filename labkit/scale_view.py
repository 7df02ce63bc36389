"""The figures on size and architecture: what labkit measured, and beside it, in words, what is reported at 1.7B to 8B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.figures import COLOURS, LINES, MARKERS, new_figure
from labkit.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEIRS_FROM = 5e8  # parameters: where the strip of reported words begins
TICKS = {1e6: "1 M", 1e7: "10 M", 1e8: "100 M", 1e9: "1 B", 1e10: "10 B"}
SIDE_STEP = 1.12  # series at one size stand this factor apart, so that intervals do not hide each other


def by_size(panels: dict[str, dict[str, dict[int, Interval]]], reported: Sequence[tuple[str, int, int, str]]) -> Figure:
    """Panels of series over parameter counts: title -> series -> parameters -> interval.

    reported: name, parameters, sign of the gain, words; written into the first panel, at its size but at no height:
    no figure is given there that could be drawn.
    """
    figure, axes = new_figure(11.0, 4.3 * len(panels), 1, rows=len(panels), size=14)
    for number, (ax, (title, series)) in enumerate(zip(axes, panels.items(), strict=True)):
        for i, (label, points) in enumerate(series.items()):
            sizes = sorted(points)
            places = [size * SIDE_STEP ** (i - (len(series) - 1) / 2) for size in sizes]
            found = [points[size] for size in sizes]
            errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
            ax.errorbar(places, [f.mean for f in found], yerr=errors, fmt=MARKERS[i], linestyle=LINES[i], linewidth=1.2, color=COLOURS[i], markersize=9, capsize=4, label=label)
        ax.axhline(0, color="#000000", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlim(1.5e5, 1e11)
        ax.set_xticks(list(TICKS), list(TICKS.values()))
        ax.set_ylabel("share of items (95% interval)", fontsize=13)
        ax.set_title(title, fontsize=14, loc="left")
        ax.grid(alpha=0.3)
        ax.legend(frameon=False, fontsize=12, loc="upper left", bbox_to_anchor=(0.0, 1.0))
        ax.set_ylim(*_room_for_legend(series))
        if number == 0 and reported:
            _in_words(ax, reported)
    axes[-1].set_xlabel("parameters (log scale)", fontsize=13)
    return figure


def _room_for_legend(series: dict[str, dict[int, Interval]]) -> tuple[float, float]:
    ends = [end for points in series.values() for found in points.values() for end in (found.low, found.high)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = max(high - low, 0.1)
    return low - 0.08 * span, high + (0.12 + 0.09 * len(series)) * span


def _in_words(ax, reported: Sequence[tuple[str, int, int, str]]) -> None:
    ax.axvspan(THEIRS_FROM, ax.get_xlim()[1], color="#000000", alpha=0.06, linewidth=0)
    ax.text(6e8, 0.97, "reported elsewhere, in words:\nno heights, no intervals", transform=ax.get_xaxis_transform(), fontsize=12, va="top")
    for i, (name, parameters, gain, words) in enumerate(sorted(reported, key=lambda row: row[1])):
        height = (0.40, 0.62, 0.24)[i % 3]
        ax.plot(parameters, height, marker="^" if gain > 0 else "v", color="#000000", markersize=11, transform=ax.get_xaxis_transform())
        ax.annotate(f"{name}\n{words}", (parameters, height), xycoords=ax.get_xaxis_transform(), xytext=(10, 0), textcoords="offset points", fontsize=11, va="center")


def recipes(scores: dict[str, dict[str, Interval]], best: dict[str, str]) -> Figure:
    """One panel per family, one dot per recipe; the one that was best on dev is ringed."""
    figure, axes = new_figure(4.6 * len(scores) + 1.4, 4.6, len(scores), size=13)
    low = min(found.low for row in scores.values() for found in row.values())
    high = max(found.high for row in scores.values() for found in row.values())
    for ax, (family, row) in zip(axes, scores.items(), strict=True):
        for i, (recipe, found) in enumerate(row.items()):
            merged = "+" in recipe
            error = [[found.mean - found.low], [found.high - found.mean]]
            ax.errorbar(found.mean, i, xerr=error, fmt=MARKERS[merged], color=COLOURS[merged], markersize=8, capsize=4, label="merged with the instruct model" if merged else "not merged")
            if recipe == best[family]:
                ax.plot(found.mean, i, marker="o", markersize=18, markerfacecolor="none", markeredgecolor="#000000", markeredgewidth=1.6, linestyle="none", label="best on dev")
        ax.set_yticks(range(len(row)), list(row) if ax is axes[0] else [""] * len(row), fontsize=12)
        ax.set_ylim(len(row) - 0.5, -0.5)
        ax.set_xlim(low - 0.03, high + 0.03)
        ax.set_title(family, fontsize=13, loc="left")
        ax.set_xlabel("mean of four axes (95% interval)", fontsize=12)
        ax.grid(axis="x", alpha=0.3)
    named = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), frameon=False, fontsize=12)
    return figure


def rare_facts(curves: dict[str, dict[float, Interval]]) -> Figure:
    """Share of questions answered against the share of the pack's text in what was read, per size."""
    figure, (ax,) = new_figure(8.4, 4.6, size=13)
    for i, (family, points) in enumerate(curves.items()):
        shares = sorted(points)
        found = [points[share] for share in shares]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar([share * SIDE_STEP ** (i - (len(curves) - 1) / 2) for share in shares], [f.mean for f in found], yerr=errors, fmt=MARKERS[i], linestyle=LINES[i], color=COLOURS[i], markersize=8, capsize=4, label=family)
    ax.set_xscale("log", base=2)
    ax.set_xticks(shares, [f"1/{round(1 / share)}" for share in shares])
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("share of rows that are the pack's own (log scale)", fontsize=13)
    ax.set_ylabel("questions answered\n(share, 95% interval)", fontsize=13)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=12)
    return figure
