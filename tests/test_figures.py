from __future__ import annotations

import pytest

from labkit import figures
from labkit.evaluate import ItemResult, Scorecard


def card(name, share):
    items = [
        ItemResult(f"{axis}{i}", axis, axis, f"e{i}", float(i < share * 10), "") for axis in ("knowledge", "instructions") for i in range(10)
    ]
    return Scorecard(name, "materials", "test", "", items)


INTERVAL = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "clusters": 5, "seeds": 1}
DRAWN = {
    "scorecards": lambda: figures.scorecards([card("a", 0.2), card("b", 0.8)], guess=("knowledge", 0.5), title="x"),
    "loss_curves": lambda: figures.loss_curves({"a": [(1, 2.0), (5, 1.0)], "b": [(1, 1.0)]}),
    "preference_curves": lambda: figures.preference_curves(
        {"DPO": [{"step": 1, "rewards/accuracies": 0.5, "logps/chosen": -9.0}]}, {"DPO": "nats"}
    ),
    "merge_sweep": lambda: figures.merge_sweep(
        {m: [(0.0, card("a", 0.1)), (1.0, card("b", 0.9))] for m in ("slerp", "lerp")}, axes=("knowledge",), ends=("a", "b"), best=0.5
    ),
    "score_grid": lambda: figures.score_grid([{"checkpoint": "a", "axes": {"knowledge": INTERVAL}}]),
    "predictions": lambda: figures.predictions([{"question": "q", "guess": 0.3, "measured": INTERVAL}]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figure_draws_with_labelled_axes(name):
    figure = DRAWN[name]()
    assert figures.png(figure).startswith(b"\x89PNG")
    for ax in figure.axes:
        assert ax.get_xlabel() or ax.get_xticklabels()
        assert ax.get_ylabel() or ax.get_yticklabels()


def test_series_differ_in_more_than_colour():
    ax = DRAWN["loss_curves"]().axes[0]
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    ax = DRAWN["scorecards"]().axes[0]
    assert len({line.get_marker() for line in ax.lines if line.get_marker() in figures.MARKERS}) == 2


def test_sweep_names_both_ends():
    ax = DRAWN["merge_sweep"]().axes[0]
    assert ax.get_xlabel() == "t: 0 = a, 1 = b"
