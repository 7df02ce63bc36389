"""Figures of three topics: the quality of documents, what training costs, size and architecture.

Of documents they show what thresholds keep, and what each measure sees of planted defects. Of cost
they show memory by component beside the sizes of cards, hours as ranges, and predictions checked.
Of size they show what labkit measured, and beside it, in words, what is reported at 1.7B to 8B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.base.stats import Interval
from labkit.course.figures import COLOURS, LINES, MARKERS, new_figure
from labkit.design.planner import UTILISATION, Gpu, Plan, digits
from labkit.design.planner_memory import COMPONENTS
from labkit.evaluate.quality import MEASURES, DocumentQuality, Kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# --- the quality of documents ----------------------------------------------------------------

BINS = 40
KEPT_COLOUR, DROPPED_COLOUR = COLOURS[0], COLOURS[1]
UNITS = {
    "length": "words",
    "repetition": "share of words said before",
    "symbols": "share of characters",
    "surprise": "bits per byte",
}


def dashboard(measures: Sequence[DocumentQuality], kept: Kept) -> Figure:
    """A histogram per measure with its thresholds and the share they drop; documents dropped per
    reason; what is left.

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
        "length": (limits.min_words, limits.max_words),
        "repetition": (None, limits.max_repetition),
        "symbols": (None, limits.max_symbols),
        "surprise": (None, limits.max_bits_per_byte),
    }


def _histogram(
    ax, title: str, unit: str, values: list[float], low: float | None, high: float | None
) -> None:
    ax.set_xlabel(unit, fontsize=12)
    if not values:
        ax.set_title(title, fontsize=13)
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", fontsize=13)
        ax.set(xticks=[], yticks=[])
        return
    numbers = np.asarray(values, float)
    outside = (numbers < (-np.inf if low is None else low)) | (
        numbers > (np.inf if high is None else high)
    )
    top = float(numbers.max())
    edges = np.linspace(0, top if top > 0 else 1, BINS + 1)
    for part, colour, hatch in (
        (numbers[~outside], KEPT_COLOUR, None),
        (numbers[outside], DROPPED_COLOUR, "///"),
    ):
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
    labels = [
        reason if measured or reason != "contradiction" else "contradiction\n(not measured)"
        for reason in counts
    ]
    ax.barh(
        range(len(counts)),
        list(counts.values()),
        color=DROPPED_COLOUR,
        hatch="///",
        edgecolor="white",
    )
    for place, number in enumerate(counts.values()):
        ax.annotate(
            f"{number:,}",
            (number, place),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=12,
        )
    ax.set_yticks(range(len(counts)), labels)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.2 * max(1, *counts.values()))
    ax.set_xlabel("documents", fontsize=12)
    ax.set_title("dropped, by reason", fontsize=13)


def _left(ax, kept: Kept) -> None:
    shares = {"documents": kept.share, "words": kept.share_of_words}
    ax.barh(range(2), list(shares.values()), color=KEPT_COLOUR, edgecolor="white", label="kept")
    ax.barh(
        range(2),
        [1 - share for share in shares.values()],
        left=list(shares.values()),
        color=DROPPED_COLOUR,
        hatch="///",
        edgecolor="white",
        label="dropped",
    )
    for place, share in enumerate(shares.values()):
        ax.annotate(
            f"{share:.1%} kept",
            (0.03, place),
            va="center",
            fontsize=13,
            color="white" if share > 0.3 else "black",
            fontweight="bold",
        )
    ax.set_yticks(range(2), list(shares))
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("share", fontsize=12)
    ax.set_title("what is left", fontsize=13)
    ax.legend(frameon=False, fontsize=12, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def separation_grid(found: dict[tuple[str, str], Interval]) -> Figure:
    """What each measure sees of each defect. found: (defect, measure) -> share of pairs of a
    defective and a clean document in which the defective one has the higher value: 0.5 sees
    nothing, 0 and 1 see everything.
    """
    defects, measures = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    figure, (ax,) = new_figure(3.2 + 1.6 * len(measures), 1.8 + 0.75 * len(defects))
    shares = [
        [
            found[defect, measure].mean if (defect, measure) in found else np.nan
            for measure in measures
        ]
        for defect in defects
    ]
    # three colours: 0 and 1 both tell a defect, but not alike, and the middle tells nothing
    ax.imshow(shares, cmap="PuOr_r", vmin=-0.1, vmax=1.1, aspect="auto")
    for row, defect in enumerate(defects):
        for column, measure in enumerate(measures):
            if (defect, measure) in found:
                cell = found[defect, measure]
                ink = "black" if 0.15 < cell.mean < 0.85 else "white"
                ax.text(
                    column,
                    row,
                    f"{cell.mean:.2f}\n[{cell.low:.2f}, {cell.high:.2f}]",
                    ha="center",
                    va="center",
                    fontsize=11,
                    color=ink,
                )
    ax.set_xticks(range(len(measures)), measures)
    ax.set_yticks(range(len(defects)), defects)
    ax.xaxis.tick_top()
    ax.set_xlabel(
        "share of pairs in which the defective document has the higher value, 95% interval\n"
        "(0.5: the measure sees nothing; 1: every defective document is higher; 0: every one lower)"
        f"\n{next(iter(found.values())).n} documents with each defect",
        fontsize=12,
    )
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure


# --- what training costs ---------------------------------------------------------------------

HATCHES = ("", "//", "..", "xx", "")
PLAIN = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
NAMES = {"full": "all weights", "lora": "LoRA", "qlora": "QLoRA"}
NEAREST = 3.5  # a card is drawn only when its size is within this factor of some bar


def cost(
    plans: dict[str, Plan], cards: Sequence[Gpu], card: Gpu, guess: float | None = None
) -> Figure:
    """Memory of one GPU at its peak, one bar per plan, beside the sizes of cards; and the hours on
    `card` as ranges.

    plans: method -> plan. guess: hours a learner committed to before, drawn as a star at the first
    plan.
    """
    figure, (left, right) = new_figure(11.6, 5.4, 2)
    _memory(left, plans, cards, card)
    _hours(right, plans, card, guess)
    return figure


def _memory(ax, plans: dict[str, Plan], cards: Sequence[Gpu], planned: Gpu) -> None:
    bottoms = [0.0] * len(plans)
    for i, component in enumerate(COMPONENTS):
        sizes = [getattr(found.memory, component) for found in plans.values()]
        ax.bar(
            range(len(plans)),
            sizes,
            0.6,
            bottom=bottoms,
            color=COLOURS[i],
            hatch=HATCHES[i],
            edgecolor="white",
            linewidth=0.8,
            label=component,
        )
        bottoms = [bottom + size for bottom, size in zip(bottoms, sizes, strict=True)]
    for x, (found, top) in enumerate(zip(plans.values(), bottoms, strict=True)):
        ax.annotate(
            f"{top:.1f} GiB\n" + found.memory.moment.replace(" ", "\n", 1),
            (x, top),
            textcoords="offset points",
            xytext=(0, 4),
            ha="center",
            va="bottom",
            fontsize=11,
            bbox=PLAIN,
            zorder=4,
        )
    top = max(1.34 * max(bottoms), 1.08 * planned.usable_gib)
    ax.set_ylim(0, top)
    ax.set_xlim(-0.5, len(plans) + 0.8)
    for size, names in _sizes(cards, min(bottoms), top).items():
        chosen = planned.name in names.split(", ")
        style = {"color": "#000000", "linestyle": "-"} if chosen else {"color": "#555555"}
        ax.axhline(size, **{"linestyle": ":", "linewidth": 1.5, "zorder": 1, **style})
        ax.annotate(
            names,
            (len(plans) + 0.78, size),
            textcoords="offset points",
            xytext=(0, 0),
            ha="right",
            va="center",
            fontsize=10,
            color="#333333",
            bbox=PLAIN,
            zorder=3,
        )
    ax.set_xticks(range(len(plans)), [NAMES[method] for method in plans])
    ax.set_ylabel("memory of one GPU at its peak (GiB)", fontsize=13)
    ax.legend(frameon=False, fontsize=11, ncols=3, loc="lower center", bbox_to_anchor=(0.45, 1.0))


def _sizes(cards: Sequence[Gpu], low: float, high: float) -> dict[float, str]:
    """Usable size -> names of the cards that have it, for sizes that some bar comes near to."""
    found: dict[float, list[str]] = {}
    for card in cards:
        if low / NEAREST < card.usable_gib < high:
            found.setdefault(card.usable_gib, []).append(card.name)
    return {size: ", ".join(names) for size, names in found.items()}


def _hours(ax, plans: dict[str, Plan], card: Gpu, guess: float | None) -> None:
    for y, found in enumerate(plans.values()):
        low, high = found.hours(card)
        ax.plot([low, high], [y, y], color=COLOURS[y % 7], linewidth=9, solid_capstyle="butt")
        ax.plot(
            [low, high],
            [y, y],
            color=COLOURS[y % 7],
            marker=MARKERS[y % 7],
            markersize=9,
            linestyle="none",
        )
        ax.annotate(
            f"{digits(low)} to {digits(high)} h",
            (high, y),
            textcoords="offset points",
            xytext=(12, -4),
            fontsize=12,
        )
    if guess is not None:
        ax.plot(
            [guess], [0], marker="*", markersize=20, color="#000000", linestyle="none", zorder=5
        )
        ax.annotate(
            "your guess",
            (guess, 0),
            textcoords="offset points",
            xytext=(0, 15),
            ha="center",
            fontsize=12,
        )
    ax.set_xlim(0, 1.45 * max(guess or 0.0, *(found.hours(card)[1] for found in plans.values())))
    ax.set_yticks(range(len(plans)), [NAMES[method] for method in plans])
    ax.set_ylim(len(plans) - 0.5, -0.5)
    count = next(iter(plans.values())).training.gpus
    ax.set_xlabel(f"hours on {count} × {card.name}", fontsize=13)
    ax.set_title(
        f"time, at {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%} of the card's peak rate",
        fontsize=13,
    )
    ax.grid(axis="x", alpha=0.3)


def accuracy(rows: Sequence[dict]) -> Figure:
    """Predicted over measured, memory and time, one line per setting; the band is 15% either way.
    rows: of planner.json.
    """
    figure, panels = new_figure(11.4, 1.8 + 0.42 * len(rows), 2)
    for ax, key, unit in zip(
        panels, ("gib", "seconds"), ("peak memory", "seconds per step"), strict=True
    ):
        ratios = [row[f"predicted_{key}"] / row[f"measured_{key}"] for row in rows]
        ax.axvspan(1 / 1.15, 1.15, color=COLOURS[2], alpha=0.15)
        ax.axvline(1, color="#666666", linewidth=1.5)
        ax.plot(
            ratios,
            range(len(rows)),
            marker=MARKERS[0],
            markersize=10,
            linestyle="none",
            color=COLOURS[0],
        )
        ax.set_xlabel(f"{unit}: predicted / measured", fontsize=13)
        ax.set_xlim(min(0.7, *ratios) - 0.05, max(1.3, *ratios) + 0.05)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(
            range(len(rows)),
            [setting(row) for row in rows] if ax is panels[0] else [""] * len(rows),
        )
        ax.grid(axis="x", alpha=0.3)
    return figure


def setting(row: dict) -> str:
    """A row of planner.json in words."""
    name = row["model"].removesuffix("-instruct")
    return f"{name}, {row['stage']} {row['rows']} × {row['length']}" + (
        f", LoRA {row['rank']}" if row["rank"] else ""
    )


# --- size and architecture -------------------------------------------------------------------

THEIRS_FROM = 5e8  # parameters: where the strip of reported words begins
TICKS = {1e6: "1 M", 1e7: "10 M", 1e8: "100 M", 1e9: "1 B", 1e10: "10 B"}
# Series at one size stand this factor apart, so that intervals do not hide each other.
SIDE_STEP = 1.12


def by_size(
    panels: dict[str, dict[str, dict[int, Interval]]], reported: Sequence[tuple[str, int, int, str]]
) -> Figure:
    """Panels of series over parameter counts: title -> series -> parameters -> interval.

    reported: name, parameters, sign of the gain, words; written into the first panel, at its size
    but at no height: no figure is given there that could be drawn.
    """
    figure, axes = new_figure(11.0, 4.3 * len(panels), 1, rows=len(panels), size=14)
    for number, (ax, (title, series)) in enumerate(zip(axes, panels.items(), strict=True)):
        for i, (label, points) in enumerate(series.items()):
            sizes = sorted(points)
            places = [size * SIDE_STEP ** (i - (len(series) - 1) / 2) for size in sizes]
            found = [points[size] for size in sizes]
            errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
            ax.errorbar(
                places,
                [f.mean for f in found],
                yerr=errors,
                fmt=MARKERS[i],
                linestyle=LINES[i],
                linewidth=1.2,
                color=COLOURS[i],
                markersize=9,
                capsize=4,
                label=label,
            )
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
    ends = [
        end
        for points in series.values()
        for found in points.values()
        for end in (found.low, found.high)
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = max(high - low, 0.1)
    return low - 0.08 * span, high + (0.12 + 0.09 * len(series)) * span


def _in_words(ax, reported: Sequence[tuple[str, int, int, str]]) -> None:
    ax.axvspan(THEIRS_FROM, ax.get_xlim()[1], color="#000000", alpha=0.06, linewidth=0)
    ax.text(
        6e8,
        0.97,
        "reported elsewhere, in words:\nno heights, no intervals",
        transform=ax.get_xaxis_transform(),
        fontsize=12,
        va="top",
    )
    for i, (name, parameters, gain, words) in enumerate(sorted(reported, key=lambda row: row[1])):
        line, height = 0.12, (0.34, 0.58, 0.3)[i % 3]
        ax.plot(
            parameters,
            line,
            marker="^" if gain > 0 else "v",
            color="#000000",
            markersize=11,
            transform=ax.get_xaxis_transform(),
        )
        ax.annotate(
            f"{name}\n{words}",
            (parameters, line),
            xycoords=ax.get_xaxis_transform(),
            xytext=(parameters * 1.25, height),
            textcoords=ax.get_xaxis_transform(),
            fontsize=11,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#666666", "linewidth": 0.8},
        )


def recipes(scores: dict[str, dict[str, Interval]], best: dict[str, str]) -> Figure:
    """One panel per family, one dot per recipe; the one that was best on dev is ringed."""
    figure, axes = new_figure(3.5 * len(scores) + 1.6, 4.6, len(scores), size=13)
    low = min(found.low for row in scores.values() for found in row.values())
    high = max(found.high for row in scores.values() for found in row.values())
    for ax, (family, row) in zip(axes, scores.items(), strict=True):
        for i, (recipe, found) in enumerate(row.items()):
            merged = "+" in recipe
            error = [[found.mean - found.low], [found.high - found.mean]]
            ax.errorbar(
                found.mean,
                i,
                xerr=error,
                fmt=MARKERS[merged],
                color=COLOURS[merged],
                markersize=8,
                capsize=4,
                label="merged with the instruct model" if merged else "not merged",
            )
            if recipe == best[family]:
                ax.plot(
                    found.mean,
                    i,
                    marker="o",
                    markersize=18,
                    markerfacecolor="none",
                    markeredgecolor="#000000",
                    markeredgewidth=1.6,
                    linestyle="none",
                    label="best on dev",
                )
        ax.set_yticks(range(len(row)), list(row) if ax is axes[0] else [""] * len(row), fontsize=12)
        ax.set_ylim(len(row) - 0.5, -0.5)
        ax.set_xlim(low - 0.03, high + 0.03)
        ax.set_title(family, fontsize=13, loc="left")
        ax.set_xlabel("mean of four axes (95% interval)", fontsize=12)
        ax.grid(axis="x", alpha=0.3)
    named = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(
        named.values(),
        named.keys(),
        loc="outside lower center",
        ncols=len(named),
        frameon=False,
        fontsize=12,
    )
    return figure


def rare_facts(curves: dict[str, dict[float, Interval]]) -> Figure:
    """Share of questions answered against the pack's share of the text that was read, per size."""
    figure, (ax,) = new_figure(8.4, 4.6, size=13)
    for i, (family, points) in enumerate(curves.items()):
        shares = sorted(points)
        found = [points[share] for share in shares]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar(
            [share * SIDE_STEP ** (i - (len(curves) - 1) / 2) for share in shares],
            [f.mean for f in found],
            yerr=errors,
            fmt=MARKERS[i],
            linestyle=LINES[i],
            color=COLOURS[i],
            markersize=8,
            capsize=4,
            label=family,
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(shares, [f"1/{round(1 / share)}" for share in shares])
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("share of rows that are the pack's own (log scale)", fontsize=13)
    ax.set_ylabel("questions answered\n(share, 95% interval)", fontsize=13)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=12)
    return figure
