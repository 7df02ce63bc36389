from __future__ import annotations

from types import SimpleNamespace

import pytest

from labkit.base.stats import Interval
from labkit.course import figures
from labkit.course.labs.merge_lab import MergeView
from labkit.evaluate.geometry import TensorGeometry
from labkit.evaluate.scorecards import ItemResult, Scorecard

MOVE = SimpleNamespace(
    mean_t=0.3,
    expected={"knowledge": 0.4},
    source="between",
    heat=[[None, 0.0], [None, 1.0], [0.5, 0.25]],
)


def view(sweep=True):
    points = {m: [(0.0, card("a", 0.1)), (1.0, card("b", 0.9))] for m in ("slerp", "lerp")}
    return MergeView(
        points if sweep else None, axes=("knowledge", "instructions"), ends=("a", "b"), layers=1
    )


def card(name, share):
    items = [
        ItemResult(f"{axis}{i}", axis, axis, f"e{i}", float(i < share * 10), "")
        for axis in ("knowledge", "instructions")
        for i in range(10)
    ]
    return Scorecard(name, "materials", "test", "", items)


INTERVAL = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "clusters": 5, "seeds": 1}
SPAN = Interval(**INTERVAL)
DRAWN = {
    "scorecards": lambda: figures.scorecards(
        [card("a", 0.2), card("b", 0.8)], guess=("knowledge", 0.5), title="x"
    ),
    "loss_curves": lambda: figures.loss_curves({"a": [(1, 2.0), (5, 1.0)], "b": [(1, 1.0)]}),
    "preference_curves": lambda: figures.preference_curves(
        {"DPO": [{"step": 1, "rewards/accuracies": 0.5, "logps/chosen": -9.0}]}, {"DPO": "nats"}
    ),
    "merge_sweep": lambda: figures.merge_sweep(
        {m: [(0.0, card("a", 0.1)), (1.0, card("b", 0.9))] for m in ("slerp", "lerp")},
        axes=("knowledge",),
        ends=("a", "b"),
        best=0.5,
    ),
    "merge_view": lambda: view().draw(MOVE),
    "merge_view_without_grid": lambda: view(sweep=False).draw(MOVE),
    "arc_and_line": lambda: figures.arc_and_line(
        60, {"a": {"slerp": [(0, 1.0), (1, 1.0)], "lerp": [(0, 1.0), (1, 1.0)]}}, {"a": (60.0, 0.1)}
    ),
    "loss_paths": lambda: figures.loss_paths({"a": [(0, 1.0), (1, 2.0)]}),
    "geometry_bars": lambda: figures.geometry_bars(
        [TensorGeometry("x", "mlp", 0, 4, 10.0, 40.0, 1.0, 0.2, 0.0)]
    ),
    "score_grid": lambda: figures.score_grid(
        [{"checkpoint": "a", "axes": {"knowledge": INTERVAL}}]
    ),
    "learn_and_forget": lambda: figures.learn_and_forget(
        {"a": (SPAN, SPAN), "b": (SPAN, SPAN)}, {"0.3": (SPAN, SPAN), "0.5": (SPAN, SPAN)}
    ),
    "probe_curves": lambda: figures.probe_curves(
        {"general": [(0, 1.0), (10, 0.2)], "knowledge": [(0, 0.1), (10, 0.9)]},
        [(1, 3.0), (10, 1.0)],
        [SimpleNamespace(axis="general", step=10)],
    ),
    "differences": lambda: figures.differences([("a − b", SPAN, SPAN), ("a − c", SPAN, SPAN)]),
    "ranks": lambda: figures.ranks({"a": [1, 2], "b": [2, 1]}, ("knowledge", "general")),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figure_draws_with_labelled_axes(name):
    figure = DRAWN[name]()
    assert figures.png(figure).startswith(b"\x89PNG")
    for ax in figure.axes:
        if not ax.has_data():
            continue  # a panel of the grid this figure does not need
        assert ax.get_xlabel() or ax.get_xticklabels()
        assert ax.get_ylabel() or ax.get_yticklabels()


def test_series_differ_in_more_than_colour():
    ax = DRAWN["loss_curves"]().axes[0]
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    seen = DRAWN["probe_curves"]().axes[1]
    assert (
        len({line.get_linestyle() for line in seen.lines[:1] + seen.lines[2:-1]}) == 2
        and seen.lines[1].get_marker() == "X"
    )
    ax = DRAWN["scorecards"]().axes[0]
    assert (
        len({line.get_marker() for line in ax.lines if line.get_marker() in figures.MARKERS}) == 2
    )


def test_sweep_names_both_ends():
    ax = DRAWN["merge_sweep"]().axes[0]
    assert ax.get_xlabel() == "t: 0 = a, 1 = b"


def test_a_live_move_draws_what_the_whole_figure_draws():
    import io

    import numpy as np
    from PIL import Image

    live = Image.open(io.BytesIO(view().png(MOVE))).convert("RGB")
    whole = Image.open(io.BytesIO(figures.png(view().draw(MOVE), dpi=100))).convert("RGB")
    assert live.size == whole.size
    apart = np.abs(np.asarray(live, dtype=int) - np.asarray(whole, dtype=int))
    assert (apart > 40).mean() < 0.002  # lines under the dashes may be blended in another order


def test_a_live_view_can_be_drawn_whole_and_live_again():
    shown = view()
    first = shown.png(MOVE)
    shown.draw(MOVE)
    assert shown.png(MOVE) == first


def test_expected_scores_of_another_merge_are_a_white_star():
    shown = view()
    shown.draw(MOVE)
    assert (
        shown.dots["knowledge"].get_markerfacecolor() == "#FFFFFF"
        and len(shown.dots["instructions"].get_xdata()) == 0
    )
    MOVE.source = "grid"
    shown.draw(MOVE)
    assert shown.dots["knowledge"].get_markerfacecolor() == "#000000"


def test_names_are_no_formulas_and_none_is_hidden_and_powers_of_ten_are_drawn():
    from matplotlib.text import Text

    named = [card("_mine $a_b$", 0.5), card("costs $5", 0.2)]
    drawn = figures.scorecards(named, title="$x^2$ and $")
    drawn.axes[0].twinx().set_yscale("log")
    assert figures.png(drawn).startswith(b"\x89PNG")
    formulas = {text.get_text(): text.get_parse_math() for text in drawn.findobj(Text)}
    assert formulas[" _mine $a_b$"] is formulas["costs $5"] is formulas["$x^2$ and $"] is False
    assert all(parsed for text, parsed in formulas.items() if "mathdefault" in text)
    assert any("mathdefault" in text for text in formulas)


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([1.0], "The loss falls"),
        ([1.0, 1.5], "Both losses fall"),
        ([1.0, 1.5, 1.0], "All losses fall"),
        ([2.0, 3.0], "No loss falls"),
        ([1.0, 3.0], "Falls: a; does not fall: b"),
    ],
)
def test_a_figure_of_losses_says_which_fall(ends, words):
    curves = {label: [(0, 2.0), (9, end)] for label, end in zip("abc", ends, strict=False)}
    assert figures.loss_curves(curves).axes[0].get_title() == words


def test_a_loss_that_was_logged_once_is_a_point_and_not_called_falling():
    ax = figures.loss_curves({"a": [(1, 2.0)]}).axes[0]
    assert ax.get_lines()[0].get_marker() == "o" and "Too few steps" in ax.get_title()
