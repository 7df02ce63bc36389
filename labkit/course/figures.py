"""The figures of the course, drawn from results alone.

Colours are those of Okabe and Ito, and never colour alone: series also differ in marker or line
style. Every score has its 95% interval. Figures of one topic lie in labs/views.py,
journal_figures.py and labs/merge_lab.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit.base.stats import Interval
from labkit.evaluate.scorecards import Scorecard

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
    "compositional": "fact in\nrequested format",
    "preference": "preference\naccuracy",
}

METHOD_NAMES = {
    "slerp": "SLERP",
    "slerp_paper": "SLERP of the paper",
    "lerp": "LERP",
    "task_vector": "SLERP of task vectors",
    "task_vector_lerp": "LERP of task vectors",
}


def plain(text: str, width: int = 44) -> str:
    """A label of at most three lines."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width, max_lines=3, placeholder=" …"))


def in_legend(name: str) -> str:
    """A name as the legend shows it: matplotlib hides those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _as_words(figure: Figure) -> None:
    """No words in a figure are a formula, whatever names hold; but numbers on a log scale are."""
    from matplotlib.text import Text

    numbers = {
        text
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        if axis.get_scale() == "log"
        for text in axis.findobj(Text)
        if text is not axis.label
    }
    for text in figure.findobj(Text):
        text.set_parse_math(text in numbers)


def new_figure(width: float, height: float, columns: int = 1, *, rows: int = 1, size: int = 13):
    """A figure of that many inches and its panels, row by row. size: of the font, in points."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    class Words(Figure):
        def draw(self, renderer):
            _as_words(self)
            super().draw(renderer)

    with rc_context({"font.size": size}):
        figure = Words(figsize=(width, height), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in panels:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=size - 1)
    return figure, panels


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as PNG bytes."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def scorecards(
    cards: Sequence[Any],
    *,
    axes: Sequence[str] | None = None,
    guess: tuple[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Scores of several checkpoints side by side, one group of dots per axis.

    cards: scorecards, or, where axes are named, what has `checkpoint` and `interval` as they do.
    guess: (axis, value) a learner committed to before the run, drawn as a star.
    """
    shown = list(axes or cards[0].axes())
    figure, (ax,) = new_figure(max(7.5, 1.75 * len(shown)), 4.8)
    step = min(0.16, 0.7 / len(cards))
    for i, card in enumerate(cards):
        found = [card.interval(axis) for axis in shown]
        x = [k + (i - (len(cards) - 1) / 2) * step for k in range(len(shown))]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar(
            x,
            [f.mean for f in found],
            yerr=errors,
            fmt=MARKERS[i % 7],
            color=COLOURS[i % 7],
            markersize=8,
            capsize=4,
            label=in_legend(card.checkpoint),
        )
    if guess:
        ax.plot(
            shown.index(guess[0]),
            guess[1],
            marker="*",
            markersize=18,
            color="#000000",
            linestyle="none",
            label="your guess",
            zorder=5,
        )
    ax.set_xticks(range(len(shown)), [AXIS_LABELS[axis] for axis in shown])
    ax.set_xlim(-0.5, len(shown) - 0.5)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("score (share, 95% interval)", fontsize=13)
    ax.grid(axis="y", alpha=0.3)
    if title:
        ax.set_title(title, fontsize=14)
    figure.legend(
        loc="outside lower center",
        ncols=min(4, len(cards) + bool(guess)),
        frameon=False,
        fontsize=12,
    )
    return figure


def loss_curves(curves: Mapping[str, Sequence[tuple[int, float]]], title: str = "") -> Figure:
    """Training loss against steps. curves: label -> [(step, loss)]; the loss of a label that begins
    with DPO or ORPO is one of pairs, and said to be. title: by default which losses fall.
    """
    figure, (ax,) = new_figure(7.5, 4)
    of_pairs = [label for label in curves if label.upper().startswith(("DPO", "ORPO"))]
    unit = "nats per token"
    if of_pairs:
        others = "" if len(of_pairs) == len(curves) else "; else nats per token"
        unit = f"{' and '.join(of_pairs)}: of pairs{others}"
    for i, (label, curve) in enumerate(curves.items()):
        ax.plot(
            [step for step, _ in curve],
            [loss for _, loss in curve],
            color=COLOURS[i % 7],
            linestyle=LINES[i % 7],
            linewidth=2,
            marker="o" if len(curve) == 1 else None,  # one point is no line
            label=in_legend(label),
        )
    ax.set_xlabel("optimiser step", fontsize=13)
    ax.set_ylabel(f"training loss\n({unit})", fontsize=13)
    ax.grid(alpha=0.3)
    ax.set_title(title or which_fall(curves), fontsize=14)
    if len(curves) > 1:
        ax.legend(frameon=False, fontsize=12)
    return figure


def which_fall(curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Which loss curves end lower than they begin, in words. curves: label -> [(step, loss)]."""
    if any(len(curve) < 2 for curve in curves.values()):
        return "Too few steps were logged to see whether a loss falls"
    fall = [label for label, curve in curves.items() if curve[-1][1] < curve[0][1]]
    if len(fall) == len(curves):
        return {1: "The loss falls", 2: "Both losses fall"}.get(len(fall), "All losses fall")
    if not fall:
        return "No loss falls"
    rest = ", ".join(label for label in curves if label not in fall)
    return f"Falls: {', '.join(fall)}; does not fall: {rest}"


def preference_curves(metrics: dict[str, list[dict]], units: dict[str, str]) -> Figure:
    """Preference training watched on two scales: accuracy, and how likely the chosen answer itself
    is.

    metrics: label -> logged steps with `rewards/accuracies` and `logps/chosen`. units: label ->
    unit of its log-probability; trainers differ (whole answer or per token), so each has a panel of
    its own.
    """
    figure, (left, *rest) = new_figure(3.8 * (1 + len(metrics)), 4.2, 1 + len(metrics))
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


def parent_lines(
    ax, sweep: Sequence[tuple[float, Scorecard]], axis: str, ends: tuple[str, str]
) -> None:
    """Both ends of a sweep as horizontal lines, told apart by dash and by colour. sweep: [(t,
    scorecard)], t from 0 to 1.
    """
    for (_, card), colour, dash, label in (
        (sweep[0], COLOURS[2], ":", f"{ends[0]} (t=0)"),
        (sweep[-1], COLOURS[3], "-.", f"{ends[1]} (t=1)"),
    ):
        ax.axhline(
            card.interval(axis).mean,
            color=colour,
            linestyle=dash,
            linewidth=2,
            label=in_legend(label),
        )


def merge_sweep(
    points: Mapping[str, Sequence[tuple[float, Scorecard]]],
    *,
    axes: Sequence[str],
    ends: tuple[str, str],
    best: float | None = None,
) -> Figure:
    """Scores against t, one panel per axis, SLERP and LERP drawn together.

    points: method -> [(t, scorecard)], t from 0 to 1; the ends are the parents, drawn as horizontal
    lines. ends: names of the general and the domain model. best: t chosen on dev.
    """
    figure, panels = new_figure(4.1 * len(axes), 4.6, len(axes))
    for ax, axis in zip(panels, axes, strict=True):
        for i, (method, sweep) in enumerate(points.items()):
            found = [card.interval(axis) for _, card in sweep]
            t = [at for at, _ in sweep]
            # the later line stays visible on the earlier one
            size = {"markersize": 10 - 4 * i, "linewidth": 2.5 - 0.8 * i}
            ax.plot(
                t,
                [f.mean for f in found],
                color=COLOURS[i],
                linestyle=LINES[i],
                marker=MARKERS[i],
                label=method.upper(),
                **size,
            )
            ax.fill_between(
                t, [f.low for f in found], [f.high for f in found], color=COLOURS[i], alpha=0.15
            )
        parent_lines(ax, next(iter(points.values())), axis, ends)
        if best is not None:
            ax.axvline(best, color="#666666", linewidth=1.5, label="t chosen on dev")
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=14)
        ax.set_ylim(-0.04, 1.04)
        ax.set_xlabel(f"t: 0 = {ends[0]}, 1 = {ends[1]}", fontsize=11)
        ax.grid(alpha=0.3)
    panels[0].set_ylabel("score (share, 95% interval)", fontsize=13)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    return figure


def probe_curves(
    axes: Mapping[str, Sequence[tuple[int, float]]],
    loss: Sequence[tuple[int, float]],
    alarms: Sequence = (),
) -> Figure:
    """The loss beside what a probe saw. axes: axis -> [(step, share)]. alarms: with axis and step,
    marked by a cross.
    """
    figure, (left, right) = new_figure(10.5, 4.4, 2)
    right.sharex(left)
    left.plot(*zip(*loss, strict=True), color=COLOURS[0], linewidth=2)
    left.set_title("what one usually watches", fontsize=14)
    left.set_ylabel("training loss (nats per token)", fontsize=13)
    for i, (axis, points) in enumerate(axes.items()):
        style = {
            "color": COLOURS[i + 1],
            "linestyle": LINES[i],
            "marker": MARKERS[i],
            "linewidth": 2,
            "markersize": 7,
        }
        right.plot(*zip(*points, strict=True), **style, label=AXIS_LABELS[axis].replace("\n", " "))
        for alarm in (alarm for alarm in alarms if alarm.axis == axis):
            right.plot(
                [alarm.step],
                [dict(points)[alarm.step]],
                marker="X",
                markersize=17,
                color="#000000",
                markerfacecolor=COLOURS[i + 1],
                linestyle="",
            )
    if last := max((step for points in axes.values() for step, _ in points), default=0):
        right.axvline(last, color="#666666", linestyle=":", linewidth=1.5, label="last look")
    right.set_title("what the probe saw (cross: alarm)", fontsize=14)
    right.set_ylabel("share right or obeyed (dev)", fontsize=13)
    right.set_ylim(-0.04, 1.04)
    right.legend(frameon=False, fontsize=12)
    for ax in (left, right):
        ax.set_xlabel("optimiser step", fontsize=13)
        ax.grid(alpha=0.3)
    return figure


def differences(rows: Sequence[tuple[str, Interval, Interval]]) -> Figure:
    """Paired differences as a forest. rows: (words, interval from the items alone, interval with
    the noise between runs).
    """
    figure, (ax,) = new_figure(10, 1.4 + 0.55 * len(rows))
    for i, (_, items, runs) in enumerate(rows):
        ax.plot(
            [runs.low, runs.high],
            [i, i],
            color=COLOURS[1],
            linewidth=2,
            linestyle="-",
            label="with the noise between runs" if i == 0 else None,
        )
        ax.plot(
            [items.low, items.high],
            [i, i],
            color=COLOURS[0],
            linewidth=6,
            alpha=0.6,
            solid_capstyle="butt",
            label="items alone" if i == 0 else None,
        )
        ax.plot([items.mean], [i], "o", color="#000000", markersize=8)
    ax.axvline(0, color="#666666", linewidth=1.5)
    ax.set_yticks(range(len(rows)), [words for words, *_ in rows], fontsize=12)
    ax.invert_yaxis()
    ax.set_xlabel("difference in share right (95% intervals)", fontsize=13)
    ax.grid(alpha=0.3, axis="x")
    ax.legend(
        frameon=False,
        fontsize=12,
        loc="upper left",
        bbox_to_anchor=(0, -0.12 - 0.4 / len(rows)),
        ncols=2,
    )
    return figure


def ranks(places: Mapping[str, Sequence[int]], axes: Sequence[str]) -> Figure:
    """How each axis ranks the checkpoints. places: checkpoint -> its rank per axis (1 is best)."""
    figure, (ax,) = new_figure(max(8, 2.0 * len(axes) + 3), 4.6)
    for i, (label, row) in enumerate(places.items()):
        ax.plot(
            range(len(axes)),
            row,
            color=COLOURS[i % 7],
            linestyle=LINES[i % 7],
            marker=MARKERS[i % 7],
            markersize=13,
            linewidth=2.2,
        )
        ax.annotate(
            label,
            (len(axes) - 1, row[-1]),
            textcoords="offset points",
            xytext=(14, -4),
            fontsize=13,
            color=COLOURS[i % 7],
        )
    ax.set_xticks(range(len(axes)), [AXIS_LABELS[axis] for axis in axes])
    ax.set_yticks(range(1, len(places) + 1))
    ax.invert_yaxis()
    ax.set_xlim(-0.3, len(axes) - 0.2 + 0.14 * max(map(len, places)))
    ax.set_ylabel("rank (1 is best)", fontsize=13)
    ax.spines[["bottom"]].set_visible(False)
    return figure


def arc_and_line(
    angle: float,
    norms: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    departures: dict[str, tuple[float, float]],
) -> Figure:
    """Why a line shrinks norms and an arc does not, and when the two are the same.

    angle: degrees, for the drawing on the left. norms: tensor -> method -> [(t, norm of the merge
    over that of its parents)]. departures: tensor -> (angle in degrees, share of the way that SLERP
    and LERP lie apart at t=0.5).
    """
    import numpy as np

    figure, (drawing, middle, right) = new_figure(11.6, 4.6, 3)
    theta = np.radians(angle)
    start, end = np.array([1.0, 0.0]), np.array([np.cos(theta), np.sin(theta)])
    ways = {
        "LERP": [(1 - t) * start + t * end for t in np.linspace(0, 1, 41)],
        "SLERP": [np.array([np.cos(t * theta), np.sin(t * theta)]) for t in np.linspace(0, 1, 41)],
    }
    for i, name in ((1, "LERP"), (0, "SLERP")):
        way = np.array(ways[name])
        drawing.plot(
            way[:, 0], way[:, 1], color=COLOURS[i], linestyle=LINES[i], linewidth=2.5, label=name
        )
        drawing.plot(*way[20], marker=MARKERS[i], color=COLOURS[i], markersize=10)
    for point, name in ((start, "general"), (end, "domain")):
        drawing.annotate("", point, (0, 0), arrowprops={"arrowstyle": "->", "linewidth": 2})
        drawing.text(
            *(point * 1.06),
            name,
            fontsize=12,
            ha="left" if point[0] > 0.5 else "center",
            va="bottom",
        )
    drawing.set(aspect="equal", xlim=(-0.15 + min(0, end[0]), 1.45), ylim=(-0.1, 1.25))
    drawing.set_xlabel("first weight", fontsize=12)
    drawing.set_ylabel("second weight", fontsize=12)
    drawing.set_title(f"{angle:.0f}° apart; dots: t=0.5", fontsize=13)
    drawing.legend(frameon=False, fontsize=12, loc="upper right")
    for k, (tensor, methods) in enumerate(norms.items()):
        for i, (method, points) in enumerate(methods.items()):
            middle.plot(
                [t for t, _ in points],
                [n for _, n in points],
                color=COLOURS[i],
                linestyle=LINES[i],
                marker=MARKERS[k + 2],
                markersize=6,
                linewidth=2,
                label=f"{method.upper()}, {tensor}",
            )
    middle.set_xlabel("t (0 = general, 1 = domain)", fontsize=12)
    middle.set_ylabel("norm of the merge / norm of its parents", fontsize=12)
    middle.set_title("really merged tensors", fontsize=13)
    middle.set_ylim(
        bottom=min(
            n for methods in norms.values() for points in methods.values() for _, n in points
        )
        - 0.14
    )
    middle.legend(frameon=False, fontsize=11, loc="lower center")
    curve = np.linspace(2, 120, 80)
    middle.grid(alpha=0.3)
    right.plot(
        curve,
        [_apart(np.radians(a)) for a in curve],
        color="#666666",
        linewidth=2,
        label="two vectors of equal length",
    )
    for k, (tensor, (at, share)) in enumerate(departures.items()):
        right.plot(
            at,
            share,
            marker=MARKERS[k + 2],
            color=COLOURS[k + 2],
            markersize=11,
            linestyle="none",
            label=tensor,
        )
    right.axvline(
        1.81, color="#999999", linestyle=":", linewidth=1.5, label="below 1.8°: SLERP is LERP"
    )
    right.set_xlabel("angle between the weights (degrees)", fontsize=12)
    right.set_ylabel("|SLERP − LERP| / |domain − general|\nat t=0.5", fontsize=12)
    right.set_title("how far apart the two are", fontsize=13)
    right.grid(alpha=0.3)
    right.legend(frameon=False, fontsize=11)
    return figure


def _apart(theta: float) -> float:
    """|SLERP - LERP| / |b - a| at t=0.5 for two vectors of equal length at an angle of theta
    radians.
    """
    import numpy as np

    return (1 - np.cos(theta / 2)) / (2 * np.sin(theta / 2))


def loss_paths(paths: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Loss of general text along ways between models, one line per way."""
    figure, (ax,) = new_figure(7.8, 4.4)
    for i, (label, path) in enumerate(paths.items()):
        ax.plot(
            [t for t, _ in path],
            [loss for _, loss in path],
            color=COLOURS[i],
            linestyle=LINES[i],
            marker=MARKERS[i],
            linewidth=2,
            label=in_legend(label),
        )
    ax.set_xlabel("t (0 = instruct, 1 = the other end)", fontsize=13)
    ax.set_ylabel("loss on general text\n(nats per token)", fontsize=13)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=12)
    return figure


def geometry_bars(rows: Sequence) -> Figure:
    """Angles per layer and group: between the weights, and between what both models learned since
    their ancestor.

    rows: geometry.TensorGeometry, pooled by layer and group.
    """
    figure, panels = new_figure(11, 4.2, 2)
    for ax, field, title in zip(
        panels,
        ("angle", "task_angle"),
        ("angle between the weights", "angle between the task vectors"),
        strict=True,
    ):
        layers = sorted(
            {row.layer for row in rows}, key=lambda layer: -1 if layer is None else layer
        )
        for i, group in enumerate(("attention", "mlp", "other")):
            found = {row.layer: getattr(row, field) for row in rows if row.group == group}
            places = [k for k, layer in enumerate(layers) if layer in found]
            ax.plot(
                places,
                [found[layers[k]] for k in places],
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=9,
                linestyle=LINES[i],
                linewidth=1.5,
                label={"attention": "attention", "mlp": "MLP"}.get(group, "norms, embeddings"),
            )
        ax.set_xticks(
            range(len(layers)), ["outside" if layer is None else str(layer) for layer in layers]
        )
        ax.set_xlabel("layer", fontsize=13)
        ax.set_ylabel("degrees", fontsize=13)
        ax.set_ylim(bottom=0)
        ax.set_title(title, fontsize=14)
        ax.grid(alpha=0.3)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=12,
    )
    return figure


def learn_and_forget(
    points: dict[str, tuple[Interval, Interval]], line: dict[str, tuple[Interval, Interval]]
) -> Figure:
    """What was learned against what was kept. points: recipe -> (domain knowledge, instruction
    following).

    line: merges of two of them in the order of t, joined; the label is t.
    """
    figure, (ax,) = new_figure(9, 6)
    for i, (label, (learned, kept)) in enumerate(points.items()):
        bars = {
            "xerr": [[learned.mean - learned.low], [learned.high - learned.mean]],
            "yerr": [[kept.mean - kept.low], [kept.high - kept.mean]],
        }
        ax.errorbar(
            [learned.mean],
            [kept.mean],
            **bars,
            color=COLOURS[i % 7],
            marker=MARKERS[i % 7],
            markersize=11,
            linestyle="",
            capsize=3,
            label=in_legend(label),
        )
    xs, ys = zip(*[(learned.mean, kept.mean) for learned, kept in line.values()], strict=True)
    ax.plot(
        xs,
        ys,
        color="#555555",
        linestyle="--",
        marker=".",
        markersize=9,
        label="SLERP of instruct and overcooked, by t",
    )
    for t, x, y in zip(line, xs, ys, strict=True):
        ax.annotate(
            t, (x, y), textcoords="offset points", xytext=(7, 7), fontsize=11, color="#333333"
        )
    ax.set_xlabel("domain knowledge: free answers (share right, 95% interval)", fontsize=13)
    ax.set_ylabel("instruction following (share obeyed, 95% interval)", fontsize=13)
    ax.set(xlim=(-0.04, 1.06), ylim=(-0.04, 1.06))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=11, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def score_grid(rows: Sequence[dict]) -> Figure:
    """Scorecard records as a grid: a row per checkpoint, a column per axis, the score written in
    each cell.
    """
    axes = [axis for axis in AXIS_LABELS if any(axis in row["axes"] for row in rows)]
    values = [
        [row["axes"].get(axis, {"mean": float("nan")})["mean"] for axis in axes] for row in rows
    ]
    figure, (ax,) = new_figure(max(8, 1.3 * len(axes) + 2.6), 1.4 + 0.5 * len(rows))
    ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, line in enumerate(values):
        for k, value in enumerate(line):
            if value == value:
                ax.text(
                    k,
                    i,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=12,
                    color="black" if value > 0.47 else "white",
                )
    ax.set_xticks(range(len(axes)), [AXIS_LABELS[axis] for axis in axes])
    ax.set_yticks(range(len(rows)), [row["checkpoint"] for row in rows])
    ax.xaxis.tick_top()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=12)
    return figure


def arms(
    panels: dict[str, dict[str, Interval]],
    *,
    guess: float | None = None,
    label: str = "share of questions answered (95% interval)",
) -> Figure:
    """One panel per experiment, one dot per arm. panels: title -> arm -> score. guess: drawn on the
    last arm of the last panel.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    tallest = max(map(len, panels.values()))
    figure, axes = new_figure(6.0 * columns, rows * (1.5 + 0.34 * tallest), columns, rows=rows)
    for ax, (title, scores) in zip(axes, panels.items(), strict=False):
        for i, score in enumerate(scores.values()):
            ax.errorbar(
                score.mean,
                i,
                xerr=[[score.mean - score.low], [score.high - score.mean]],
                fmt=MARKERS[i % 7],
                color=COLOURS[i % 7],
                markersize=8,
                capsize=4,
            )
        ax.set_yticks(range(len(scores)), list(scores), fontsize=12)
        ax.set_ylim(len(scores) - 0.5, -0.5)
        ax.set_xlim(-0.04, 1.04)
        ax.set_title(_folded(title), fontsize=13, loc="left")
        ax.grid(axis="x", alpha=0.3)
        ax.set_xlabel(label, fontsize=12)
    if guess is not None:
        ax.plot(
            guess,
            len(scores) - 1,
            marker="*",
            markersize=18,
            color="#000000",
            linestyle="none",
            label="your guess",
            zorder=5,
        )
        ax.legend(frameon=False, fontsize=12)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    return figure


def _folded(text: str, width: int = 40) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
