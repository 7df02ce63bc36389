"""What stands behind the merge panel: at every move of a slider a merge is really made and really asked.

Its scores cannot be measured in the blink of an eye, so they are read from a grid of merges scored beforehand on dev
(a uniform t, eleven values) and said to be so. `measure` gives the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import zoo
from labkit.design import Merge
from labkit.errors import InputError
from labkit.evaluate import Scorecard, generate
from labkit.merge_view import MergeView
from labkit.guards import check_tokenizers
from labkit.merge import METHODS, empty_like, merge_into, pair_models
from labkit.packs import AXES, Pack
from labkit.pipeline import load_checkpoint, merge_checkpoints
from labkit.recipes import Recipe, recipe_text
from labkit.schedule import GROUPS, PRESETS, Schedule, between, by_group, count_layers, group_of, layer_of
from labkit.scoring import merge_fingerprint, score_checkpoint, sweep_merge
from labkit.store import Checkpoint, Store, key_of, write_file
from labkit.tables import template

LAB_AXES = (*AXES, "compositional")
ANSWER_TOKENS = 20
ON_GRID, BETWEEN, SCHEDULED = "grid", "between", "scheduled"


@dataclass(frozen=True)
class Setting:
    """What the sliders say: a method and t (a number, or a schedule by group and depth)."""

    method: str = "slerp"
    t: Schedule = 0.5

    def __str__(self) -> str:
        return f"{self.method} t={self.t:g}" if isinstance(self.t, (int, float)) else f"{self.method}, t by group and depth"


def setting_of(method: str, attention: Sequence[float], mlp: Sequence[float], other: Sequence[float]) -> Setting:
    """A setting from five anchors per group; equal anchors are one number, and equal groups one t."""
    rounded = [tuple(round(float(t), 4) for t in anchors) for anchors in (attention, mlp, other)]
    values = [anchors[0] if len(set(anchors)) == 1 else anchors for anchors in rounded]
    uniform = len(set(values)) == 1 and isinstance(values[0], float)
    return Setting(method, values[0] if uniform else by_group(*values))


def named_anchors(count: int = 5) -> dict[str, dict[str, list[float]]]:
    """The named schedules as anchors: name -> group -> t at `count` depths, evenly spread."""
    depths = [place / (count - 1) for place in range(count)]
    return {
        name: {
            group: [part.value if isinstance(part.value, float) else between(part.value, depth) for depth in depths]
            for group, part in zip(GROUPS, parts, strict=True)
        }
        for name, parts in PRESETS.items()
    }


@dataclass(frozen=True)
class Move:
    """What a move of a slider shows.

    mean_t: of all weights. heat: t per group (rows) and place (columns: outside the layers, then each layer; None
    where there is nothing). expected: axis -> score on dev read from the grid, empty without one. source: `grid`
    (this merge was scored), `between` (read between two that were) or `scheduled` (that of the uniform merge at
    mean_t, which is another merge). answers: of the merge, one per prompt.
    """

    setting: Setting
    mean_t: float
    heat: list[list[float | None]]
    expected: dict[str, float]
    source: str
    answers: tuple[str, ...]


class Bench:
    """Two parents on the bench. general, domain: a zoo name, folder or checkpoint; ends: how they are called.

    ancestor: the model both come from, for task vectors.
    sweep: method -> [(t, dev scorecard)], None until `score_grid` was called.
    Raises MergeError when the parents do not match.
    """

    def __init__(self, general: str | Checkpoint, domain: str | Checkpoint, ends: tuple[str, str], pack: Pack, *, ancestor: str | None = None, profile_name: str = "lab"):
        self.sources = [str(source.folder) if isinstance(source, Checkpoint) else source for source in (general, domain)]
        self.general, self.domain = load_checkpoint(general), load_checkpoint(domain)
        self.ends, self.pack, self.profile_name = ends, pack, profile_name
        check_tokenizers(self.general.tokenizer, self.domain.tokenizer)
        self.ancestor = load_checkpoint(ancestor) if ancestor else None
        self.pairing = pair_models(self.general.model, self.domain.model, self.ancestor.model if self.ancestor else None)
        self.pairing.pairs()
        self.shell = empty_like(self.general.model)
        self.sweep: dict[str, list[tuple[float, Scorecard]]] | None = None
        self._elements = {name: tensor.numel() for name, tensor in self.pairing.general.items()}

    def score_grid(self) -> dict[str, list[tuple[float, Scorecard]]]:
        """Score eleven uniform merges per method on dev; read back from disk the second time."""
        if self.sweep is None:
            self.sweep = sweep_merge(self.general, self.domain, self.pack, split="dev", axes=LAB_AXES, profile_name=self.profile_name)
        return self.sweep

    def parents_answers(self, prompts: Sequence[str]) -> list[tuple[str, ...]]:
        """The general and the domain model's answers, one per prompt."""
        return [ask(parent.model, self.general.tokenizer, prompts) for parent in (self.general, self.domain)]

    def move(self, setting: Setting, prompts: Sequence[str] = ()) -> Move:
        """Merge at a setting, ask the merge, and read its expected scores from the grid.

        Raises MergeError for a setting that does not fit the parents.
        """
        resolved = self.pairing.resolved(setting.t)
        merge_into(self.shell, self.pairing, setting.t, setting.method)
        mean_t = sum(resolved[name] * count for name, count in self._elements.items()) / sum(self._elements.values())
        expected, source = self._expected(setting, mean_t)
        return Move(setting, mean_t, heat_of(resolved), expected, source, ask(self.shell, self.general.tokenizer, prompts))

    def _expected(self, setting: Setting, mean_t: float) -> tuple[dict[str, float], str]:
        uniform = isinstance(setting.t, (int, float))
        points = (self.sweep or {}).get(setting.method, [])
        scored = uniform and any(abs(t - mean_t) < 1e-9 for t, _ in points)
        expected = {axis: read_between([(t, card.interval(axis).mean) for t, card in points], mean_t) for axis in LAB_AXES} if points else {}
        return expected, ON_GRID if scored else BETWEEN if uniform else SCHEDULED

    def measure(self, setting: Setting, *, split: str) -> Scorecard:
        """The real scores of this very merge on a split."""
        merge_into(self.shell, self.pairing, setting.t, setting.method)
        fingerprint = merge_fingerprint(self.general, self.domain, setting.t, setting.method, ancestor=self.ancestor)
        made = zoo.Loaded(self.shell, self.general.tokenizer, str(setting), fingerprint)
        return score_checkpoint(made, self.pack, split=split, axes=LAB_AXES, profile_name=self.profile_name)

    def recipe(self, setting: Setting) -> Recipe:
        ancestor = self.ancestor.name if self.ancestor else None
        return Recipe(*self.sources, Merge(method=setting.method, t=setting.t, ancestor=ancestor, dtype="float32"))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods this pair can be merged by."""
        return tuple(name for name, method in METHODS.items() if self.ancestor or not method.on_task_vectors)

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
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True)["input_ids"]
        for prompt in prompts
    ]
    return tuple(answers[0] for answers in generate(model, tokenizer, ids, max_new_tokens=ANSWER_TOKENS))


def heat_of(resolved: dict[str, float]) -> list[list[float | None]]:
    """t per group and place, as `Move.heat` holds it; tensors of one place and group share their t."""
    heat: list[list[float | None]] = [[None] * (1 + count_layers(resolved)) for _ in GROUPS]
    rows = {group: row for row, group in enumerate(GROUPS)}
    for name, t in resolved.items():
        layer = layer_of(name)
        heat[rows[group_of(name)]][0 if layer is None else 1 + layer] = t
    return heat


def read_between(points: Sequence[tuple[float, float]], t: float) -> float:
    """The value at t on straight lines between scored points, sorted by t."""
    for (left_t, left), (right_t, right) in zip(points, points[1:]):
        if left_t <= t <= right_t:
            return left + (right - left) * (t - left_t) / (right_t - left_t)
    raise InputError(f"t is {t:g}, outside the scored grid")


class MergeSession:
    """What the panel's wires lead to: pairs of parents, prompts, pictures and sentences. No widget is known here."""

    def __init__(self, benches: dict[str, Bench], prompts: Sequence[str], out_dir: Path):
        """benches: name of a pair -> its bench, the first one open. out_dir: where recipes are exported to."""
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
            self._views[key] = MergeView(self.bench.sweep, axes=LAB_AXES, ends=self.bench.ends, layers=layers)
        return self._views[key]

    def draw(self, move: Move) -> bytes:
        return self.view().png(move)

    def tell(self, move: Move) -> str:
        """One line on what is seen and where its scores come from."""
        if not move.expected:
            missing = "this method" if self.bench.sweep else "this pair"
            remedy = "evaluate" if self.bench.sweep else "score the grid"
            return f"{move.setting}. No grid of merges was scored for {missing}: press '{remedy}' for scores."
        source = {
            ON_GRID: "this very merge was scored on dev", BETWEEN: "read between two merges scored on dev",
            SCHEDULED: f"those of the uniform merge at the mean t={move.mean_t:.2f}; this one was not scored, press evaluate",
        }[move.source]
        return f"{move.setting}. Scores: {source}."

    def answers(self, move: Move) -> str:
        """The answers of parent, merge and parent as an HTML table."""
        key = (self.pair, *self.prompts)
        if key not in self._parents:
            self._parents[key] = self.bench.parents_answers(self.prompts)
        general, domain = self._parents[key]
        rows = list(zip(self.prompts, general, move.answers, domain, strict=True))
        return template("answers.html.j2").render(rows=rows, ends=self.bench.ends)

    def evaluate(self, move: Move) -> str:
        """This very merge on dev, beside what was expected of it, and on the full test split; an HTML table."""
        dev, test = (self.bench.measure(move.setting, split=split) for split in ("dev", "test"))
        self.test_looks += 1
        off = gaps(move, dev)
        rows = [
            (axis, move.expected.get(axis), dev.interval(axis).mean, off.get(axis), str(test.interval(axis))) for axis in LAB_AXES
        ]
        return template("evaluated.html.j2").render(rows=rows, setting=str(move.setting), looks=self.test_looks)

    def save(self, move: Move) -> str:
        saved = self.bench.save(move.setting)
        return f"saved as {saved.name}: {saved.folder}"

    def export(self, move: Move) -> str:
        text = self.bench.recipe_text(move.setting)
        path = self.out_dir / "recipes" / f"{move.setting.method}-{key_of(recipe=text)[:6]}.yaml"
        write_file(path, text)
        return f"recipe for labkit merge and mergekit-yaml: {path}"
