"""The figures of a learner's guesses, each with the words for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.figures import COLOURS, MARKERS, new_figure, plain
from labkit.journal import OTHER, TOPICS, Bias, Calibration, Prediction
from labkit.stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {topic: {"marker": MARKERS[i], "color": COLOURS[i]} for i, topic in enumerate((*TOPICS, OTHER))}


def guesses(found: Sequence[Prediction]) -> Figure:
    """One line per guess on the scale it was made on: a star for the guess, a dot with its interval for what was measured."""
    labels = [plain(one.question) for one in found]
    lines = sum(max(2, label.count("\n") + 1) for label in labels)
    figure, (ax,) = new_figure(10.5, 1.7 + 0.27 * lines)
    for i, one in enumerate(found):
        low, mean, high = _bounded(one)
        ax.errorbar(mean, i, xerr=[[mean - low], [high - mean]], fmt="o", color=COLOURS[0], markersize=9, capsize=4, label="measured, 95% interval" if i == 0 else None)
        ax.plot(one.place(one.guess), i, marker="*", markersize=17, color="#000000", linestyle="none", label="your guess" if i == 0 else None)
        ax.text(1.05, i, f"{one.guess:.3g} / {one.measured.mean:.3g}", va="center", fontsize=12)
    ax.text(1.05, -0.75, "guess / measured", va="center", fontsize=12)
    ax.set_yticks(range(len(found)), labels)
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks([0, 0.5, 1], ["low end", "middle", "high end"])
    ax.set_xlabel("place on the slider of the question", fontsize=13)
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=12)
    return figure


def guesses_alt(found: Sequence[Prediction]) -> str:
    told = "; ".join(f"{one.question}: {one.guess:.3g}, measured {one.told_measured}" for one in found)
    return f"Each guess as a star beside what was measured, a dot with its interval. {told}."


def calibration(told: Calibration) -> Figure:
    """Left: guesses against outcomes, on the diagonal where they agree. Right: signed errors per topic, their mean and its interval."""
    figure, (left, right) = new_figure(12.5, 5.6, 2)
    _against(left, told)
    _biases(right, told.topics)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    return figure


def _against(ax, told: Calibration) -> None:
    ax.plot([0, 1], [0, 1], color="#666666", linestyle="--", linewidth=1.5, label="guess = measured")
    labelled = set()
    for one in told.found:
        low, mean, high = _bounded(one)
        label = None if one.topic in labelled else one.topic
        labelled.add(one.topic)
        style = STYLES[one.topic]
        ax.errorbar(one.place(one.guess), mean, yerr=[[mean - low], [high - mean]], fmt=style["marker"], color=style["color"], markersize=9, capsize=4, alpha=0.85, label=label)
    ax.set_title("guesses and outcomes", fontsize=14, loc="left")
    ax.set_xlabel("your guess (share of its slider)", fontsize=13)
    ax.set_ylabel("measured (share of the slider, 95% interval)", fontsize=13)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.grid(alpha=0.3)


def _biases(ax, topics: Sequence[Bias]) -> None:
    for i, one in enumerate(topics):
        style = STYLES[one.topic]
        ax.plot(one.errors, [i] * len(one.errors), linestyle="none", marker=style["marker"], markersize=8, color=style["color"], alpha=0.5)
        if one.interval:
            mean, low, high = one.interval.mean, one.interval.low, one.interval.high
            ax.errorbar(mean, i + 0.22, xerr=[[mean - low], [high - mean]], fmt="|", markersize=14, color="#000000", capsize=5, linewidth=2)
    ax.axvline(0, color="#666666", linestyle="--", linewidth=1.5)
    ax.set_yticks(range(len(topics)), [plain(f"{one.topic}: {one}", 26) for one in topics])
    ax.set_ylim(len(topics) - 0.4, -0.6)
    ax.set_xlim(-1.04, 1.04)
    ax.set_title("each error; in black their mean, 95% interval", fontsize=14, loc="left")
    ax.set_xlabel("← too low    error (share of the slider)    too high →", fontsize=12)
    ax.grid(axis="x", alpha=0.3)


def calibration_alt(told: Calibration) -> str:
    topics = "; ".join(f"{topic}, {n} guesses: mean error {size}, {says}" for topic, n, size, says in told.topic_rows())
    return f"Left: {len(told.found)} guesses against their outcomes. Right: signed errors per topic. {' '.join(told.sentences())} {topics}."


def _bounded(one: Prediction) -> tuple[float, float, float]:
    """Low end, mean and high end of what was measured, on the slider; what lies beyond its ends is drawn at them."""
    found: Interval = one.measured
    return tuple(min(1.0, max(0.0, one.place(value))) for value in (found.low, found.mean, found.high))
