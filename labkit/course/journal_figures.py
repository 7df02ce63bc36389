"""The figures of guesses, each with the words for those who do not see it, and of the class page.

The class page shows everybody's results at once. Words in its figures may come from participants:
`plain` keeps them short.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from labkit.base.stats import Interval
from labkit.course.figures import AXIS_LABELS, COLOURS, LINES, MARKERS, new_figure, plain, png
from labkit.course.journal import (
    COMMITTED,
    NOBODYS,
    OTHER,
    TOPICS,
    Bias,
    Calibration,
    Prediction,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {
    topic: {"marker": MARKERS[i], "color": COLOURS[i]} for i, topic in enumerate((*TOPICS, OTHER))
}


# whether a person guessed -> the words in the legend, and how it is drawn
GUESSES: dict[bool, tuple[str, dict[str, Any]]] = {
    True: ("your guess", {"marker": "*", "markersize": 17}),
    False: (NOBODYS.lower(), {"marker": "s", "markersize": 9, "markerfacecolor": "none"}),
}

# --- one learner ------------------------------------------------------------------------------


def guesses(found: Sequence[Prediction]) -> Figure:
    """One line per guess on the scale it was made on: a star for a person's guess, a hollow square
    for a default that nobody guessed, a dot with its interval for what was measured.
    """
    labels = [plain(one.question) for one in found]
    lines = sum(max(2, label.count("\n") + 1) for label in labels)
    figure, (ax,) = new_figure(10.5, 1.7 + 0.27 * lines)
    labelled: set[str] = set()
    for i, one in enumerate(found):
        low, mean, high = _bounded(one)
        ax.errorbar(
            mean,
            i,
            xerr=[[mean - low], [high - mean]],
            fmt="o",
            color=COLOURS[0],
            markersize=9,
            capsize=4,
            label="measured, 95% interval" if i == 0 else None,
        )
        label, style = GUESSES[one.made == COMMITTED]
        ax.plot(
            one.place(one.guess),
            i,
            **style,
            color="#000000",
            linestyle="none",
            label=None if label in labelled else label,
        )
        labelled.add(label)
        ax.text(1.05, i, f"{one.guess:.3g} / {one.measured.mean:.3g}", va="center", fontsize=12)
    ax.text(1.05, -0.75, "guess / measured", va="center", fontsize=12)
    ax.set_yticks(range(len(found)), labels)
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks([0, 0.5, 1], ["low end", "middle", "high end"])
    ax.set_xlabel("place on the slider of the question", fontsize=13)
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    return figure


def guesses_alt(found: Sequence[Prediction]) -> str:
    told = "; ".join(
        f"{one.question}: {one.guess:.3g}"
        f"{'' if one.made == COMMITTED else ' (default, nobody guessed)'}, "
        f"measured {one.told_measured}"
        for one in found
    )
    return (
        "Each guess as a star, or as a square where nobody guessed, beside what was measured, a "
        f"dot with its interval. {told}."
    )


def calibration(told: Calibration) -> Figure:
    """Left: guesses against outcomes, on the diagonal where they agree.

    Right: signed errors per topic, their mean and its interval.
    """
    figure, (left, right) = new_figure(12.5, 5.6, 2)
    _against(left, told)
    _biases(right, told.topics)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=12,
    )
    return figure


def _against(ax, told: Calibration) -> None:
    ax.plot(
        [0, 1], [0, 1], color="#666666", linestyle="--", linewidth=1.5, label="guess = measured"
    )
    labelled = set()
    for one in told.found:
        low, mean, high = _bounded(one)
        label = None if one.topic in labelled else one.topic
        labelled.add(one.topic)
        style = STYLES[one.topic]
        ax.errorbar(
            one.place(one.guess),
            mean,
            yerr=[[mean - low], [high - mean]],
            fmt=style["marker"],
            color=style["color"],
            markersize=9,
            capsize=4,
            alpha=0.85,
            label=label,
        )
    ax.set_title("guesses and outcomes", fontsize=14, loc="left")
    ax.set_xlabel("your guess (share of its slider)", fontsize=13)
    ax.set_ylabel("measured (share of the slider, 95% interval)", fontsize=13)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.grid(alpha=0.3)


def _biases(ax, topics: Sequence[Bias]) -> None:
    for i, one in enumerate(topics):
        style = STYLES[one.topic]
        ax.plot(
            one.errors,
            [i] * len(one.errors),
            linestyle="none",
            marker=style["marker"],
            markersize=8,
            color=style["color"],
            alpha=0.5,
        )
        if one.interval:
            mean, low, high = one.interval.mean, one.interval.low, one.interval.high
            ax.errorbar(
                mean,
                i + 0.22,
                xerr=[[mean - low], [high - mean]],
                fmt="|",
                markersize=14,
                color="#000000",
                capsize=5,
                linewidth=2,
            )
    ax.axvline(0, color="#666666", linestyle="--", linewidth=1.5)
    ax.set_yticks(range(len(topics)), [plain(f"{one.topic}: {one}", 26) for one in topics])
    ax.set_ylim(len(topics) - 0.4, -0.6)
    ax.set_xlim(-1.04, 1.04)
    ax.set_title("each error; in black their mean, 95% interval", fontsize=14, loc="left")
    ax.set_xlabel("← too low    error (share of the slider)    too high →", fontsize=12)
    ax.grid(axis="x", alpha=0.3)


def calibration_alt(told: Calibration) -> str:
    topics = "; ".join(
        f"{topic}, {n} guesses: mean error {size}, {says}"
        for topic, n, size, says in told.topic_rows()
    )
    return (
        f"Left: {len(told.found)} guesses against their outcomes. Right: signed errors per "
        f"topic. {' '.join(told.sentences())} {topics}."
    )


def _bounded(one: Prediction) -> tuple[float, float, float]:
    """Low end, mean and high end of what was measured, on the slider; what lies beyond its ends is
    drawn at them.
    """
    found: Interval = one.measured
    low, mean, high = (
        min(1.0, max(0.0, one.place(value))) for value in (found.low, found.mean, found.high)
    )
    return low, mean, high


# --- the class page ---------------------------------------------------------------------------

# Of a figure as wide as the PDF's page: its letters are then as large as the text's.
PAGE_INCHES = 11.5
ROW_GAP = 0.12  # inches between rows of panels, so that a title is not read as the label above it
SPREAD = 0.3  # how far dots of one row are moved apart, up and down


@dataclass(frozen=True)
class Picture:
    """A figure for both pages: PNG for HTML, SVG for the PDF. width: share of the PDF's page."""

    png: bytes
    svg: str
    alt: str
    width: float


def picture(figure: Figure, alt: str) -> Picture:
    """The same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "labkit"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(
        png(figure, dpi=100),
        buffer.getvalue(),
        alt,
        min(1.0, figure.get_size_inches()[0] / PAGE_INCHES),
    )


def _apart(count: int, row: float) -> list[float]:
    """Places around a row where dots of equal value do not hide each other; the same every time."""
    return [row + SPREAD * ((i * 0.618) % 1 - 0.5) for i in range(count)]


def room_predictions(questions: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Figure:
    """What the room guessed, and what came out. questions: (words, guesses, measured means), as
    shares of the question's scale.
    """
    figure, (ax,) = new_figure(10, 1.7 + 0.75 * len(questions), size=12)
    for i, (_, guesses, measured) in enumerate(questions):
        first = (
            {
                "guess": "a guess",
                "middle": "middle guess",
                "measured": "measured: middle and range over the learners",
            }
            if i == 0
            else {}
        )
        ax.plot(
            guesses,
            _apart(len(guesses), i - 0.16),
            "o",
            color="#000000",
            markerfacecolor="none",
            markersize=6,
            alpha=0.7,
            label=first.get("guess"),
        )
        ax.plot(
            median(guesses),
            i - 0.16,
            "|",
            color=COLOURS[1],
            markersize=20,
            markeredgewidth=3,
            label=first.get("middle"),
        )
        ax.plot([min(measured), max(measured)], [i + 0.22] * 2, color=COLOURS[0], linewidth=3)
        ax.plot(
            median(measured),
            i + 0.22,
            "D",
            color=COLOURS[0],
            markersize=8,
            label=first.get("measured"),
        )
    ax.set_yticks(range(len(questions)), [plain(words) for words, *_ in questions])
    ax.set_ylim(len(questions) - 0.4, -0.6)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel(
        "place on the question's own scale (0: its low end, 1: its high end)", fontsize=12
    )
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=11)
    return figure


def room_scores(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Everybody's scores. scores: axis -> checkpoint -> one share per learner; a bar marks the
    middle one.
    """
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure, panels = new_figure(
        3.6 + 2.7 * columns, rows * (1.1 + 0.5 * len(names)), columns, rows=rows, size=12
    )
    for place, (ax, (axis, found)) in enumerate(zip(panels, scores.items(), strict=False)):
        for i, name in enumerate(names):
            if values := found.get(name):
                ax.plot(
                    values,
                    _apart(len(values), i),
                    MARKERS[i % 7],
                    color=COLOURS[i % 7],
                    markersize=6,
                    alpha=0.65,
                    linestyle="none",
                )
                ax.plot(median(values), i, "|", color="#000000", markersize=20, markeredgewidth=2.5)
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=12)
        ax.set_yticks(
            range(len(names)),
            [plain(name, 30) for name in names] if place % columns == 0 else [""] * len(names),
        )
        ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(-0.04, 1.04))
        ax.set_xlabel("score (share)", fontsize=11)
        ax.grid(axis="x", alpha=0.3)
    for ax in panels[len(scores) :]:
        ax.set_visible(False)
    figure.get_layout_engine().set(h_pad=ROW_GAP)
    return figure


def merge_curves(
    curves: Mapping[str, Mapping[str, Sequence[Sequence[tuple[float, float]]]]],
    ends: tuple[str, str],
) -> Figure:
    """Everybody's scores over t, thin, the middle of them thick, and the middle half as a band.

    curves: axis -> method -> one [(t, share)] per learner. ends: how the models at t=0 and t=1 are
    called.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure, panels = new_figure(1 + 3.4 * columns, 0.7 + 3.1 * rows, columns, rows=rows, size=12)
    for ax, (axis, methods) in zip(panels, curves.items(), strict=False):
        for i, (method, found) in enumerate(methods.items()):
            for points in found:
                ax.plot(*zip(*points, strict=True), color=COLOURS[i % 7], linewidth=0.8, alpha=0.4)
            at = {
                t: sorted(value for points in found for place, value in points if place == t)
                for t in sorted({t for points in found for t, _ in points})
            }
            halves = {t: _middle_half(values) for t, values in at.items()}
            ax.fill_between(
                list(at),
                [low for low, _ in halves.values()],
                [high for _, high in halves.values()],
                color=COLOURS[i % 7],
                alpha=0.15,
            )
            style = {
                "color": COLOURS[i % 7],
                "linestyle": LINES[i % 7],
                "marker": MARKERS[i % 7],
                "markersize": 6 - i,
                "linewidth": 2.4 - 0.6 * i,
            }
            ax.plot(
                list(at),
                [median(values) for values in at.values()],
                **style,
                label=f"{plain(method.upper(), 20)}, middle of the class",
            )
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=12)
        ax.set(ylim=(-0.04, 1.04), xlim=(-0.03, 1.03))
        ax.set_xlabel(f"t (0 {plain(ends[0], 16)}, 1 {plain(ends[1], 16)})", fontsize=11)
        ax.set_ylabel("score (share)", fontsize=11)
        ax.grid(alpha=0.3)
    for ax in panels[len(curves) :]:
        ax.set_visible(False)
    figure.get_layout_engine().set(h_pad=ROW_GAP)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=11,
    )
    return figure


def _middle_half(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def times(seconds: Mapping[str, Sequence[float]]) -> Figure:
    """How long each notebook took everybody. seconds: notebook -> one value per learner."""
    figure, (ax,) = new_figure(9, 1.4 + 0.42 * len(seconds), size=12)
    for i, values in enumerate(seconds.values()):
        ax.plot(values, _apart(len(values), i), "o", color=COLOURS[0], markersize=6, alpha=0.6)
        ax.plot(
            median(values),
            i,
            "|",
            color="#000000",
            markersize=18,
            markeredgewidth=2.5,
            label="middle of the class" if i == 0 else None,
        )
    ax.set_yticks(range(len(seconds)), [plain(name, 30) for name in seconds])
    ax.set_ylim(len(seconds) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds, headless, one dot per learner", fontsize=12)
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, fontsize=11)
    return figure
