"""Every figure of the course, from results alone: the only module that imports matplotlib.

Okabe-Ito colours, and never colour alone: series also differ in marker or line style. Every score has its
95% interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.evaluate import Scorecard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
AXIS_LABELS = {
    "knowledge": "domain\nknowledge",
    "reasoning": "reasoning",
    "instructions": "instruction\nfollowing",
    "creativity": "creativity",
    "general": "general\nknowledge",
    "compositional": "private fact in\nrequested format",
    "preference": "preference\naccuracy",
}


def _new(width: float, height: float, columns: int = 1):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 13}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=12)
    return figure, list(axes)


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as PNG bytes."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def scorecards(cards: Sequence[Scorecard], *, axes: Sequence[str] | None = None, guess: tuple[str, float] | None = None, title: str = "") -> Figure:
    """Scores of several checkpoints side by side, one group of dots per axis.

    guess: (axis, value) a learner committed to before the run, drawn as a star.
    """
    shown = list(axes or cards[0].axes())
    figure, (ax,) = _new(max(7.5, 1.75 * len(shown)), 4.8)
    step = min(0.16, 0.7 / len(cards))
    for i, card in enumerate(cards):
        found = [card.interval(axis) for axis in shown]
        x = [k + (i - (len(cards) - 1) / 2) * step for k in range(len(shown))]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar(
            x, [f.mean for f in found], yerr=errors, fmt=MARKERS[i % 7], color=COLOURS[i % 7], markersize=8,
            capsize=4, label=card.checkpoint,
        )
    if guess:
        ax.plot(shown.index(guess[0]), guess[1], marker="*", markersize=18, color="#000000", linestyle="none", label="your guess", zorder=5)
    ax.set_xticks(range(len(shown)), [AXIS_LABELS[axis] for axis in shown])
    ax.set_xlim(-0.5, len(shown) - 0.5)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("score (share, 95% interval)", fontsize=13)
    ax.grid(axis="y", alpha=0.3)
    if title:
        ax.set_title(title, fontsize=14)
    figure.legend(loc="outside lower center", ncols=min(3, len(cards) + bool(guess)), frameon=False, fontsize=12)
    return figure


def loss_curves(curves: dict[str, Sequence[tuple[int, float]]], title: str = "") -> Figure:
    """Training loss against steps. curves: label -> [(step, loss)]."""
    figure, (ax,) = _new(7.5, 4)
    for i, (label, curve) in enumerate(curves.items()):
        ax.plot([step for step, _ in curve], [loss for _, loss in curve], color=COLOURS[i % 7], linestyle=LINES[i % 7], linewidth=2, label=label)
    ax.set_xlabel("optimiser step", fontsize=13)
    ax.set_ylabel("training loss (nats per token)", fontsize=13)
    ax.grid(alpha=0.3)
    ax.set_title(title, fontsize=14)
    if len(curves) > 1:
        ax.legend(frameon=False, fontsize=12)
    return figure


def preference_curves(metrics: dict[str, list[dict]], units: dict[str, str]) -> Figure:
    """Preference training watched on two scales: accuracy, and how likely the chosen answer itself is.

    metrics: label -> logged steps with `rewards/accuracies` and `logps/chosen`. units: label -> unit of its
    log-probability; trainers differ (whole answer or per token), so each has a panel of its own.
    """
    figure, (left, *rest) = _new(4.6 * (1 + len(metrics)), 4.2, 1 + len(metrics))
    for i, ((label, rows), ax) in enumerate(zip(metrics.items(), rest, strict=True)):
        style = {"color": COLOURS[i % 7], "linestyle": LINES[i % 7], "linewidth": 2, "label": label}
        steps = [row["step"] for row in rows]
        left.plot(steps, [row["rewards/accuracies"] for row in rows], **style)
        ax.plot(steps, [row["logps/chosen"] for row in rows], **style)
        ax.set_title(f"{label}: the chosen answer", fontsize=14)
        ax.set_ylabel(f"log-probability ({units[label]})", fontsize=13)
    left.set_title("pairs ranked right in training", fontsize=14)
    left.set_ylabel("share of pairs", fontsize=13)
    left.set_ylim(-0.04, 1.04)
    left.legend(frameon=False, fontsize=12)
    for ax in (left, *rest):
        ax.set_xlabel("optimiser step", fontsize=13)
        ax.grid(alpha=0.3)
    return figure


def merge_sweep(
    points: dict[str, Sequence[tuple[float, Scorecard]]], *, axes: Sequence[str], ends: tuple[str, str], best: float | None = None, now: float | None = None,
) -> Figure:
    """Scores against t, one panel per axis, SLERP and LERP drawn together.

    points: method -> [(t, scorecard)], t from 0 to 1; the ends are the parents, drawn as horizontal lines.
    ends: names of the general and the domain model. best: t chosen on dev. now: where a slider stands.
    """
    figure, panels = _new(4.1 * len(axes), 4.6, len(axes))
    for ax, axis in zip(panels, axes, strict=True):
        for i, (method, sweep) in enumerate(points.items()):
            found = [card.interval(axis) for _, card in sweep]
            t = [at for at, _ in sweep]
            size = {"markersize": 10 - 4 * i, "linewidth": 2.5 - 0.8 * i}  # the later line stays visible on the earlier one
            ax.plot(t, [f.mean for f in found], color=COLOURS[i], linestyle=LINES[i], marker=MARKERS[i], label=method.upper(), **size)
            ax.fill_between(t, [f.low for f in found], [f.high for f in found], color=COLOURS[i], alpha=0.15)
        sweep = next(iter(points.values()))
        for (_, card), colour, label in ((sweep[0], COLOURS[2], f"{ends[0]} (t=0)"), (sweep[-1], COLOURS[3], f"{ends[1]} (t=1)")):
            ax.axhline(card.interval(axis).mean, color=colour, linestyle=":", linewidth=2, label=label)
        for value, label, style in ((best, "t chosen on dev", "-"), (now, "slider", "--")):
            if value is not None:
                ax.axvline(value, color="#666666", linestyle=style, linewidth=1.5, label=label)
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=14)
        ax.set_ylim(-0.04, 1.04)
        ax.set_xlabel(f"t: 0 = {ends[0]}, 1 = {ends[1]}", fontsize=11)
        ax.grid(alpha=0.3)
    panels[0].set_ylabel("score (share, 95% interval)", fontsize=13)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    return figure


def score_grid(rows: Sequence[dict]) -> Figure:
    """Scorecard records as a grid: a row per checkpoint, a column per axis, the score written in each cell."""
    axes = [axis for axis in AXIS_LABELS if any(axis in row["axes"] for row in rows)]
    values = [[row["axes"].get(axis, {"mean": float("nan")})["mean"] for axis in axes] for row in rows]
    figure, (ax,) = _new(max(8, 1.6 * len(axes) + 3), 1.4 + 0.5 * len(rows))
    ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, line in enumerate(values):
        for k, value in enumerate(line):
            if value == value:
                ax.text(k, i, f"{value:.2f}", ha="center", va="center", fontsize=12, color="black" if value > 0.55 else "white")
    ax.set_xticks(range(len(axes)), [AXIS_LABELS[axis] for axis in axes])
    ax.set_yticks(range(len(rows)), [row["checkpoint"] for row in rows])
    ax.xaxis.tick_top()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=12)
    return figure


def predictions(rows: Sequence[dict]) -> Figure:
    """Guesses (stars) beside measured scores with intervals (dots), one line per prediction record."""
    figure, (ax,) = _new(9, 1.6 + 0.7 * len(rows))
    for i, row in enumerate(rows):
        found = row["measured"]
        errors = [[found["mean"] - found["low"]], [found["high"] - found["mean"]]]
        ax.errorbar(found["mean"], i, xerr=errors, fmt="o", color=COLOURS[0], markersize=9, capsize=4, label="measured" if i == 0 else None)
        ax.plot(row["guess"], i, marker="*", markersize=17, color="#000000", linestyle="none", label="your guess" if i == 0 else None)
    ax.set_yticks(range(len(rows)), [row["question"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("score (share, 95% interval)", fontsize=13)
    ax.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=12)
    return figure
