"""What stands behind the merge panel: at every move of a slider a merge is made and asked.

Its scores cannot be measured in the blink of an eye. So they are read from a grid of merges scored
beforehand on dev (a uniform t, eleven values), and said to be so. `measure` gives the real ones.

`Bench` merges and scores, `MergeView` draws, and `MergeSession` is what the widgets of panels.py
are wired to. No widget is known here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base.errors import InputError
from labkit.base.pages import template
from labkit.base.records import AXES, AXIS_NAMES
from labkit.base.store import Checkpoint, Store, key_of, write_file
from labkit.course.figures import (
    AXIS_LABELS,
    COLOURS,
    LINES,
    MARKERS,
    METHOD_NAMES,
    new_figure,
    parent_lines,
)
from labkit.data.packs import Pack
from labkit.evaluate.answers import right_answers
from labkit.evaluate.geometry import general_rows, path_loss
from labkit.evaluate.scorecards import Scorecard, generate, prompt_ids
from labkit.evaluate.scoring import SWEEP, score_checkpoint, sweep_merge
from labkit.merge.guards import check_tokenizers
from labkit.merge.methods import (
    METHODS,
    Pairing,
    empty_like,
    merge_fingerprint,
    merge_into,
    pair_models,
)
from labkit.merge.recipes import Merge, Recipe, recipe_text
from labkit.merge.schedule import (
    GROUPS,
    PRESETS,
    Schedule,
    between,
    by_group,
    count_layers,
    group_of,
    layer_of,
)
from labkit.models import zoo
from labkit.train.pipeline import load_checkpoint, merge_checkpoints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAB_AXES = (*AXES, "compositional")
ANSWER_TOKENS = 20
LARGE, FEW_TS = 20_000_000, (0.0, 0.25, 0.5, 0.75, 1.0)  # parameters; what is scored of such merges
LOSS_ROWS = 32
ON_GRID, BETWEEN, SCHEDULED = "grid", "between", "scheduled"


@dataclass(frozen=True)
class Setting:
    """What the sliders say: a method and t (a number, or a schedule by group and depth)."""

    method: str = "slerp"
    t: Schedule = 0.5

    def __str__(self) -> str:
        return (
            f"{self.method} t={self.t:g}"
            if isinstance(self.t, (int, float))
            else f"{self.method}, t by group and depth"
        )


def in_words(setting: Setting) -> str:
    """A setting as people read it."""
    t = f"t={setting.t:g}" if isinstance(setting.t, (int, float)) else "t by group and depth"
    return f"{METHOD_NAMES[setting.method]}, {t}"


def setting_of(
    method: str, attention: Sequence[float], mlp: Sequence[float], other: Sequence[float]
) -> Setting:
    """A setting from five anchors per group; equal anchors are one number, equal groups one t."""
    rounded = [tuple(round(float(t), 4) for t in anchors) for anchors in (attention, mlp, other)]
    values = [anchors[0] if len(set(anchors)) == 1 else anchors for anchors in rounded]
    uniform = len(set(values)) == 1 and isinstance(values[0], float)
    return Setting(method, values[0] if uniform else by_group(*values))


def named_anchors(count: int = 5) -> dict[str, dict[str, list[float]]]:
    """The named schedules as anchors: name -> group -> t at `count` depths, evenly spread."""
    depths = [place / (count - 1) for place in range(count)]
    return {
        name: {
            group: [
                part.value if isinstance(part.value, float) else between(part.value, depth)
                for depth in depths
            ]
            for group, part in zip(GROUPS, parts, strict=True)
        }
        for name, parts in PRESETS.items()
    }


@dataclass(frozen=True)
class Move:
    """What a move of a slider shows.

    mean_t: of all weights. heat: t per group (rows) and place (columns: outside the layers, then
    each layer; None where there is nothing). expected: axis -> score on dev read from the grid,
    empty without one. source: `grid` (this merge was scored), `between` (read between two that
    were) or `scheduled` (that of the uniform merge at mean_t, which is another merge). answers: of
    the merge, one per prompt.
    """

    setting: Setting
    mean_t: float
    heat: list[list[float | None]]
    expected: dict[str, float]
    source: str
    answers: tuple[str, ...]


class Bench:
    """Two parents on the bench. general, domain: a zoo name, folder or checkpoint; ends: how they
    are called.

    ancestor: the model both come from, for task vectors. axes: of LAB_AXES those that the pack has
    dev items of.
    ts: what is scored on dev, eleven values or, of a large model, five.
    sweep: method -> [(t, dev scorecard)], None until `score_grid` was called.
    Raises MergeError when the parents do not match.
    """

    def __init__(
        self,
        general: str | Checkpoint,
        domain: str | Checkpoint,
        ends: tuple[str, str],
        pack: Pack,
        *,
        ancestor: str | None = None,
        profile_name: str = "lab",
    ):
        self.sources = [
            str(source.folder) if isinstance(source, Checkpoint) else source
            for source in (general, domain)
        ]
        self.general, self.domain = load_checkpoint(general), load_checkpoint(domain)
        self.ends, self.pack, self.profile_name = ends, pack, profile_name
        has = {row["axis"] for row in pack.rows("dev")}
        self.axes = tuple(axis for axis in LAB_AXES if axis in has)
        check_tokenizers(self.general.tokenizer, self.domain.tokenizer)
        self.ancestor = load_checkpoint(ancestor) if ancestor else None
        self.pairing = pair_models(
            self.general.model, self.domain.model, self.ancestor.model if self.ancestor else None
        )
        self.pairing.pairs()
        self.shell = empty_like(self.general.model)
        self.sweep: dict[str, list[tuple[float, Scorecard]]] | None = None
        self._elements = {name: tensor.numel() for name, tensor in self.pairing.general.items()}
        # a merge of a large model takes minutes to score
        self.ts = SWEEP if sum(self._elements.values()) < LARGE else FEW_TS

    def score_grid(
        self, told: Callable[[str], None] = lambda text: None
    ) -> dict[str, list[tuple[float, Scorecard]]]:
        """Score uniform merges at `ts` per method on dev; read back from disk the second time.
        told: of each merge before it is scored.
        """
        if self.sweep is None:
            sweep: dict[str, list[tuple[float, Scorecard]]] = {}
            places = list(itertools.product(("slerp", "lerp"), self.ts))
            for number, (method, t) in enumerate(places, 1):
                told(f"scoring merge {number} of {len(places)} on dev")
                found = sweep_merge(
                    self.general,
                    self.domain,
                    self.pack,
                    split="dev",
                    axes=LAB_AXES,
                    methods=(method,),
                    ts=(t,),
                    profile_name=self.profile_name,
                )
                sweep.setdefault(method, []).extend(found[method])
            self.sweep = sweep
        return self.sweep

    def loss_along(
        self, pairing: Pairing, method: str, grid: Sequence[float]
    ) -> list[tuple[float, float]]:
        """Loss on general text at each t of a grid: [(t, nats per token)]. pairing: the bench's
        own, or one of the same shape.
        """
        tokenizer = self.general.tokenizer
        rows = general_rows(tokenizer, LOSS_ROWS)
        return path_loss(self.shell, pairing, tokenizer.pad_token_id, rows, grid, method)

    def parents_answers(self, prompts: Sequence[str]) -> list[tuple[str, ...]]:
        """The general and the domain model's answers, one per prompt."""
        return [
            ask(parent.model, self.general.tokenizer, prompts)
            for parent in (self.general, self.domain)
        ]

    def move(self, setting: Setting, prompts: Sequence[str] = ()) -> Move:
        """Merge at a setting, ask the merge, and read its expected scores from the grid.

        Raises MergeError for a setting that does not fit the parents.
        """
        resolved = self.pairing.resolved(setting.t)
        merge_into(self.shell, self.pairing, setting.t, setting.method)
        mean_t = sum(resolved[name] * count for name, count in self._elements.items()) / sum(
            self._elements.values()
        )
        expected, source = self._expected(setting, mean_t)
        return Move(
            setting,
            mean_t,
            heat_of(resolved),
            expected,
            source,
            ask(self.shell, self.general.tokenizer, prompts),
        )

    def _expected(self, setting: Setting, mean_t: float) -> tuple[dict[str, float], str]:
        uniform = isinstance(setting.t, (int, float))
        points = (self.sweep or {}).get(setting.method, [])
        scored = uniform and any(abs(t - mean_t) < 1e-9 for t, _ in points)
        expected = (
            {
                axis: read_between([(t, card.interval(axis).mean) for t, card in points], mean_t)
                for axis in self.axes
            }
            if points
            else {}
        )
        return expected, ON_GRID if scored else BETWEEN if uniform else SCHEDULED

    def measure(self, setting: Setting, *, split: str) -> Scorecard:
        """The real scores of this very merge on a split."""
        merge_into(self.shell, self.pairing, setting.t, setting.method)
        fingerprint = merge_fingerprint(
            self.general, self.domain, setting.t, setting.method, ancestor=self.ancestor
        )
        made = zoo.Loaded(self.shell, self.general.tokenizer, str(setting), fingerprint)
        return score_checkpoint(
            made, self.pack, split=split, axes=LAB_AXES, profile_name=self.profile_name
        )

    def recipe(self, setting: Setting) -> Recipe:
        general, domain = self.sources
        fields = {
            "method": setting.method,
            "t": setting.t,
            "ancestor": self.ancestor.name if self.ancestor else None,
            "dtype": "float32",
        }
        return Recipe(general, domain, Merge.model_validate(fields))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods this pair can be merged by."""
        return tuple(
            name for name, method in METHODS.items() if self.ancestor or not method.on_task_vectors
        )

    def recipe_text(self, setting: Setting) -> str:
        """The setting as mergekit YAML. Raises MergeError for a method mergekit does not have."""
        return recipe_text(self.recipe(setting))

    def save(self, setting: Setting, *, store: Store | None = None) -> Checkpoint:
        """The merge as a checkpoint of the store, streamed from the parents' folders."""
        name = f"{self.pack.name}/{self.ends[0]}+{self.ends[1]}/{setting.method}"
        return merge_checkpoints(self.recipe(setting), name=name, store=store or Store())


def gaps(move: Move, measured: Scorecard) -> dict[str, float]:
    """axis -> measured minus expected, on the same dev items."""
    return {axis: measured.interval(axis).mean - value for axis, value in move.expected.items()}


def ask(model, tokenizer, prompts: Sequence[str]) -> tuple[str, ...]:
    """One greedy answer per prompt, each a user's turn."""
    if not prompts:
        return ()
    ids = [
        prompt_ids(tokenizer, {"messages": [{"role": "user", "content": prompt}]})
        for prompt in prompts
    ]
    return tuple(
        answers[0] for answers in generate(model, tokenizer, ids, max_new_tokens=ANSWER_TOKENS)
    )


def heat_of(resolved: dict[str, float]) -> list[list[float | None]]:
    """t per group and place, as `Move.heat` holds it; tensors of one place and group share it."""
    heat: list[list[float | None]] = [[None] * (1 + count_layers(resolved)) for _ in GROUPS]
    rows = {group: row for row, group in enumerate(GROUPS)}
    for name, t in resolved.items():
        layer = layer_of(name)
        heat[rows[group_of(name)]][0 if layer is None else 1 + layer] = t
    return heat


def read_between(points: Sequence[tuple[float, float]], t: float) -> float:
    """The value at t on straight lines between scored points, sorted by t."""
    for (left_t, left), (right_t, right) in itertools.pairwise(points):
        if left_t <= t <= right_t:
            return left + (right - left) * (t - left_t) / (right_t - left_t)
    raise InputError(f"t is {t:g}, outside the scored grid")


# --- the figure ---------------------------------------------------------------------------------


class MergeView:
    """The panel's figure: five scores against t, and t per group and layer as a heatmap.

    Everything that does not move is drawn once; a move draws a line, a dot per axis and the heatmap
    on top of it, which is what makes a slider follow the hand.
    """

    def __init__(
        self, sweep: dict | None, *, axes: Sequence[str], ends: tuple[str, str], layers: int
    ):
        """sweep: method -> [(t, scorecard)], None when no grid was scored. axes: five at most."""
        self.axes, self.sweep = tuple(axes), sweep
        self.figure, panels = new_figure(9.6, 4.7, 3, rows=2, size=11)
        self.panels, self.map = dict(zip(axes, panels, strict=False)), panels[len(self.axes)]
        for empty in panels[len(self.axes) + 1 :]:  # the pack lacks an axis
            empty.set_axis_off()
        for axis, ax in self.panels.items():
            self._curves(ax, axis, ends)
        self._frame_of_map(layers, ends)
        handles, labels = self.panels[self.axes[0]].get_legend_handles_labels()
        self.moving = [*self._markers(), *self.heat.artists()]
        if sweep:
            named = [*labels, "this merge, where scored (white: estimate)"]
            handles.append(next(iter(self.dots.values())))
            self.figure.legend(
                handles, named, loc="outside lower center", ncols=5, frameon=False, fontsize=11
            )
        # laid out once: a second time would move the panels a little
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        self._background = None

    def _curves(self, ax, axis: str, ends: tuple[str, str]) -> None:
        for i, (method, points) in enumerate((self.sweep or {}).items()):
            t, found = [at for at, _ in points], [card.interval(axis) for _, card in points]
            ax.plot(
                t,
                [f.mean for f in found],
                color=COLOURS[i],
                linestyle=LINES[i],
                marker=MARKERS[i],
                markersize=6 - 2 * i,
                linewidth=2.2 - 0.8 * i,
                label=method.upper(),
            )
            ax.fill_between(
                t, [f.low for f in found], [f.high for f in found], color=COLOURS[i], alpha=0.15
            )
        for points in list((self.sweep or {}).values())[:1]:
            parent_lines(ax, points, axis, ends)
        ax.set_title(AXIS_LABELS[axis].replace("\n", " "), fontsize=12)
        ax.set(ylim=(-0.04, 1.04), xlim=(-0.03, 1.03))
        ax.set_xlabel(f"t (0 {ends[0]}, 1 {ends[1]})", fontsize=10)
        ax.set_ylabel("score, 95% interval", fontsize=10)
        ax.grid(alpha=0.3)

    def _frame_of_map(self, layers: int, ends: tuple[str, str]) -> None:
        groups = ("attention", "MLP", "other")
        self.heat = _Heat(self.map, len(groups), layers + 1)
        self.map.set_title(f"t: 0 {ends[0]}, 1 {ends[1]}", fontsize=12)
        self.map.set_yticks(range(len(groups)), groups)
        self.map.set_xticks(
            range(layers + 1), ["out-\nside", *(str(layer) for layer in range(layers))]
        )
        self.map.set_xlabel("layer", fontsize=10)
        self.map.spines[:].set_visible(False)
        self.map.tick_params(length=0)

    def _markers(self) -> list:
        self.lines = {
            axis: ax.axvline(0, color="#333333", linestyle="--", linewidth=1.3)
            for axis, ax in self.panels.items()
        }
        self.dots = {
            axis: ax.plot([], [], "*", color="#000000", markersize=14)[0]
            for axis, ax in self.panels.items()
        }
        return [*self.lines.values(), *self.dots.values()]

    def _place(self, move: Move) -> None:
        for axis, line in self.lines.items():
            line.set_xdata([move.mean_t, move.mean_t])
            value = move.expected.get(axis)
            self.dots[axis].set_data(*(([], []) if value is None else ([move.mean_t], [value])))
            self.dots[axis].set_markerfacecolor("#000000" if move.source == "grid" else "#FFFFFF")
        self.heat.fill(move.heat)

    def draw(self, move: Move) -> Figure:
        """The whole figure at a move, for a page."""
        self._background = None
        for artist in self.moving:
            artist.set_animated(False)
        self._place(move)
        return self.figure

    def png(self, move: Move) -> bytes:
        """The figure at a move as PNG bytes; only what moved is drawn anew."""
        import io

        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        if self._background is None:
            for artist in self.moving:
                artist.set_animated(True)
            self._canvas = FigureCanvasAgg(self.figure)
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._place(move)
        self._canvas.restore_region(self._background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB").save(
            buffer, format="png", compress_level=1
        )
        return buffer.getvalue()


class _Heat:
    """A small map of numbers in [0, 1] with the number written in each cell."""

    def __init__(self, ax, rows: int, columns: int):
        import numpy as np

        self.image = ax.imshow(
            np.zeros((rows, columns)), cmap="cividis", vmin=0, vmax=1, aspect="auto"
        )
        self.texts = [
            [ax.text(k, i, "", ha="center", va="center", fontsize=10) for k in range(columns)]
            for i in range(rows)
        ]

    def artists(self) -> list:
        return [self.image, *(text for row in self.texts for text in row)]

    def fill(self, values: Sequence[Sequence[float | None]]) -> None:
        import numpy as np

        self.image.set_data(
            np.array(
                [[np.nan if value is None else value for value in row] for row in values],
                dtype=float,
            )
        )
        for row, texts in zip(values, self.texts, strict=True):
            for value, text in zip(row, texts, strict=True):
                text.set_text(
                    ""
                    if value is None
                    else f"{value:.2f}".removeprefix("0")
                    if 0 < value < 1
                    else f"{value:.0f}"
                )
                text.set_color("white" if value is not None and value < 0.47 else "black")


# --- what the panel leads to --------------------------------------------------------------------


class MergeSession:
    """What the panel's wires lead to: pairs of parents, prompts, pictures and sentences."""

    def __init__(self, benches: dict[str, Bench], prompts: Sequence[str], out_dir: Path):
        """benches: name of a pair -> its bench, the first one open. out_dir: where recipes are
        exported to.
        """
        self.benches, self.prompts, self.out_dir = benches, list(prompts), out_dir
        self.test_looks = 0
        self._parents: dict[tuple, list[tuple[str, ...]]] = {}
        self._views: dict[tuple, MergeView] = {}
        self.open(next(iter(benches)))

    def open(self, pair: str) -> tuple[str, str]:
        """Put a pair on the bench; returns the names of its general and domain model."""
        self.pair, self.bench = pair, self.benches[pair]
        return self.bench.ends

    def move(self, setting: Setting) -> Move:
        return self.bench.move(setting, self.prompts)

    def view(self) -> MergeView:
        """The figure of the pair on the bench, drawn once and kept."""
        key = (self.pair, self.bench.sweep is None)
        if key not in self._views:
            layers = count_layers(self.bench.pairing.general)
            self._views[key] = MergeView(
                self.bench.sweep, axes=self.bench.axes, ends=self.bench.ends, layers=layers
            )
        return self._views[key]

    def draw(self, move: Move) -> bytes:
        return self.view().png(move)

    def tell(self, move: Move) -> str:
        """One line on what is seen and where its scores come from."""
        if not move.expected:
            missing = "this method" if self.bench.sweep else "this pair"
            remedy = "score on dev" if self.bench.sweep else "score the grid"
            return (
                f"{in_words(move.setting)}. No grid of merges was scored for {missing}: press "
                f"'{remedy}' for scores."
            )
        source = {
            ON_GRID: "this very merge was scored on dev",
            BETWEEN: "an estimate, read between two merges that were scored on dev",
            SCHEDULED: f"an estimate, those of the merge with t={move.mean_t:.2f} everywhere; "
            "press 'score on dev' for its own",
        }[move.source]
        return f"{in_words(move.setting)}. Scores: {source}."

    def answers(self, move: Move) -> str:
        """The right answers, and those of parent, merge and parent, as an HTML table."""
        key = (self.pair, *self.prompts)
        if key not in self._parents:
            self._parents[key] = self.bench.parents_answers(self.prompts)
        general, domain = self._parents[key]
        right = right_answers(self.bench.pack, self.prompts)
        rows = list(zip(self.prompts, right, general, move.answers, domain, strict=True))
        return template("answers.html.j2").render(rows=rows, ends=self.bench.ends)

    def score_on_dev(self, move: Move) -> str:
        """This very merge on dev, beside what was expected of it; an HTML table."""
        dev = self.bench.measure(move.setting, split="dev")
        off = gaps(move, dev)
        rows = [
            (
                AXIS_NAMES[axis],
                f"{move.expected[axis]:.2f}" if axis in off else "",
                str(dev.interval(axis)),
                f"{off[axis]:+.2f}" if axis in off else "",
            )
            for axis in dev.axes()
        ]
        return template("evaluated.html.j2").render(
            heads=("axis", "expected", "scored on dev, 95% interval", "gap"),
            rows=rows,
            setting=in_words(move.setting),
            told="scored on dev. Choose by these scores.",
        )

    def look_at_test(self, move: Move) -> str:
        """This very merge on the full test split; an HTML table, and how often test was looked
        at.
        """
        test = self.bench.measure(move.setting, split="test")
        self.test_looks += 1
        told = (
            "scored on test, for the first time. Report it as it is."
            if self.test_looks == 1
            else f"scored on test, for the {self.test_looks}. time. Choosing the best of several "
            "looks makes its score too good: choose on dev."
        )
        return template("evaluated.html.j2").render(
            heads=("axis", "scored on test, 95% interval"),
            rows=[(AXIS_NAMES[axis], str(test.interval(axis))) for axis in test.axes()],
            setting=in_words(move.setting),
            told=told,
        )

    def save(self, move: Move) -> str:
        saved = self.bench.save(move.setting)
        return f"saved as {saved.name}: {saved.folder}"

    def export(self, move: Move) -> str:
        text = self.bench.recipe_text(move.setting)
        path = self.out_dir / "recipes" / f"{move.setting.method}-{key_of(recipe=text)[:6]}.yaml"
        write_file(path, text)
        return f"recipe for labkit merge and mergekit-yaml: {path}"
