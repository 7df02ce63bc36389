"""Figures of what training costs: memory by component beside the sizes of cards, hours as ranges, predictions checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.figures import COLOURS, MARKERS, new_figure
from labkit.planner import UTILISATION, Gpu, Plan
from labkit.planner_memory import COMPONENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HATCHES = ("", "//", "..", "xx", "")
PLAIN = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
NAMES = {"full": "all weights", "lora": "LoRA", "qlora": "QLoRA"}
NEAREST = 3.5  # a card is drawn only when its size is within this factor of some bar


def cost(plans: dict[str, Plan], cards: Sequence[Gpu], card: Gpu, guess: float | None = None) -> Figure:
    """Memory of one GPU at its peak, one bar per plan, beside the sizes of cards; and the hours on `card` as ranges.

    plans: method -> plan. guess: hours a learner committed to before, drawn as a star at the first plan.
    """
    figure, (left, right) = new_figure(13, 5.4, 2)
    _memory(left, plans, cards)
    _hours(right, plans, card, guess)
    return figure


def _memory(ax, plans: dict[str, Plan], cards: Sequence[Gpu]) -> None:
    bottoms = [0.0] * len(plans)
    for i, component in enumerate(COMPONENTS):
        sizes = [getattr(found.memory, component) for found in plans.values()]
        ax.bar(range(len(plans)), sizes, 0.6, bottom=bottoms, color=COLOURS[i], hatch=HATCHES[i], edgecolor="white", linewidth=0.8, label=component)
        bottoms = [bottom + size for bottom, size in zip(bottoms, sizes, strict=True)]
    for x, (found, top) in enumerate(zip(plans.values(), bottoms, strict=True)):
        ax.annotate(f"{top:.1f} GiB\n{found.memory.moment}", (x, top), textcoords="offset points", xytext=(0, 4), ha="center", va="bottom", fontsize=11, bbox=PLAIN, zorder=4)
    top = max(bottoms)
    ax.set_ylim(0, 1.28 * top)
    ax.set_xlim(-0.5, len(plans) + 0.6)
    for size, names in _sizes(cards, min(bottoms), 1.28 * top).items():
        ax.axhline(size, color="#555555", linestyle=":", linewidth=1.5)
        ax.annotate(names, (len(plans) + 0.58, size), textcoords="offset points", xytext=(0, 0), ha="right", va="center", fontsize=10, color="#333333", bbox=PLAIN, zorder=3)
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
        ax.plot([low, high], [y, y], color=COLOURS[y % 7], marker=MARKERS[y % 7], markersize=9, linestyle="none")
        ax.annotate(f"{digits(low)} to {digits(high)} h", (high, y), textcoords="offset points", xytext=(12, -4), fontsize=12)
    if guess is not None:
        ax.plot([guess], [0], marker="*", markersize=20, color="#000000", linestyle="none", zorder=5)
        ax.annotate("your guess", (guess, 0), textcoords="offset points", xytext=(0, 15), ha="center", fontsize=12)
    ax.set_xlim(0, 1.45 * max(guess or 0.0, *(found.hours(card)[1] for found in plans.values())))
    ax.set_yticks(range(len(plans)), [NAMES[method] for method in plans])
    ax.set_ylim(len(plans) - 0.5, -0.5)
    count = next(iter(plans.values())).training.gpus
    ax.set_xlabel(f"hours on {count} × {card.name}", fontsize=13)
    ax.set_title(f"time, at {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%} of the card's peak rate", fontsize=13)
    ax.grid(axis="x", alpha=0.3)


def digits(value: float) -> str:
    """A positive number with as many digits as one would say."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def accuracy(rows: Sequence[dict]) -> Figure:
    """Predicted over measured, memory and time, one line per setting; the band is 15% either way. rows: of planner.json."""
    figure, panels = new_figure(12.4, 1.8 + 0.42 * len(rows), 2)
    for ax, key, unit in zip(panels, ("gib", "seconds"), ("peak memory", "seconds per step"), strict=True):
        ratios = [row[f"predicted_{key}"] / row[f"measured_{key}"] for row in rows]
        ax.axvspan(1 / 1.15, 1.15, color=COLOURS[2], alpha=0.15)
        ax.axvline(1, color="#666666", linewidth=1.5)
        ax.plot(ratios, range(len(rows)), marker=MARKERS[0], markersize=10, linestyle="none", color=COLOURS[0])
        ax.set_xlabel(f"{unit}: predicted / measured", fontsize=13)
        ax.set_xlim(min(0.7, *ratios) - 0.05, max(1.3, *ratios) + 0.05)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), [setting(row) for row in rows] if ax is panels[0] else [""] * len(rows))
        ax.grid(axis="x", alpha=0.3)
    return figure


def setting(row: dict) -> str:
    """A row of planner.json in words."""
    name = row["model"].removesuffix("-instruct")
    return f"{name}, {row['stage']} {row['rows']} × {row['length']}" + (f", LoRA {row['rank']}" if row["rank"] else "")
