"""The study behind docs/evidence.md: every claim over packs and training seeds, with intervals and verdicts.

Checkpoints and scorecards are content-addressed, so a stopped study continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from labkit import records, world, zoo
from labkit.design import BASE_START, DPO, GENTLE, ORPO, OVERCOOKED, PipelineSpec, profile
from labkit.evaluate import Scorecard
from labkit.geometry import TensorGeometry, barrier, geometry, path_loss, random_pairing, weighted_mean
from labkit.merge import empty_like, pair_models
from labkit.packs import AXES, CONTROLS, Pack, load_pack
from labkit.pipeline import load_checkpoint, run_spec
from labkit.schedule import GROUPS, PRESETS as SCHEDULES
from labkit.scoring import SWEEP, best_t, merged, score_checkpoint, sweep_merge
from labkit.stats import Interval, ItemScore, average, cluster_mean, paired_difference, verdict
from labkit.store import write_file
from labkit.tables import signed

MODEL, BASE, TWIN = "llama-s-instruct", "llama-s-base", "llama-s-twin-instruct"
CHOOSES = "compositional"  # the axis that picks t on dev
BASE_START_SEEDS = 3  # the base start is reported, not held to a bar: fewer runs suffice for it
NOT_ON_DEV = "t is chosen on dev (by the compositional items, or by the four axes where that is said), everything here is the test split"


@dataclass(frozen=True)
class Shape:
    """How one unit's parents lie to each other. Angles in degrees, loss barriers in nats per token."""

    geometry: list[TensorGeometry]
    barrier: float
    random_barrier: float
    random_rise: float
    rise: float


@dataclass
class Unit:
    """One pack at one training seed: a scorecard per checkpoint, and the t that dev chose per method."""

    pack: str
    seed: int
    cards: dict[str, Scorecard] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    shape: Shape | None = None


def run_unit(pack: Pack, seed: int, profile_name: str, told: Callable[[str], None]) -> Unit:
    """Train and score everything the claims need, for one pack and seed."""
    unit = Unit(pack.name, seed)

    def trained(label: str, stages: Iterable, model: str = MODEL):
        told(f"{pack.name} seed {seed}: {label}")
        spec = PipelineSpec(pack=str(pack.folder), model=model, stages=tuple(stages), seed=seed, profile=profile_name)
        return run_spec(spec)

    def score(label: str, model: object, axes: tuple[str, ...] = AXES + CONTROLS) -> None:
        unit.cards[label] = score_checkpoint(model, pack, axes=axes, profile_name=profile_name, name=label)

    score("instruct", MODEL)
    score("base", BASE)
    recipes = {"overcooked": trained("overcooked", OVERCOOKED), "gentle": trained("gentle", GENTLE)}
    if seed < BASE_START_SEEDS:
        recipes["base start"] = trained("base start", BASE_START, BASE)
    for label, made in recipes.items():
        score(f"{label} cpt", made[0], ("knowledge",))
        score(label, made[-1])
    for label, stage in (("dpo", DPO), ("orpo", ORPO)):
        score(label, trained(label, (*GENTLE, stage))[-1])
    told(f"{pack.name} seed {seed}: merge sweep")
    general, domain = load_checkpoint(MODEL), load_checkpoint(recipes["overcooked"][-1])
    sweep = sweep_merge(general, domain, pack, split="dev", axes=(*AXES, CHOOSES), profile_name=profile_name)
    for method, points in sweep.items():
        for label, axes in ((method, (CHOOSES,)), (f"{method}, four axes", AXES)):
            unit.chosen[label] = best_t(points, *axes)
            score(label, merged(general, domain, unit.chosen[label], method))
    score("lerp at slerp's t", merged(general, domain, unit.chosen["slerp"], "lerp"))
    for name in SCHEDULES:
        score(f"slerp, {name} schedule", merged(general, domain, SCHEDULES[name], "slerp"))
    unit.shape = measure_shape(general, domain, pack, seed)
    return unit


def barrier_rows(tokenizer, count: int = 64) -> list[dict]:
    """General text and chats the loss along a path is measured on."""
    return zoo.general_rows(tokenizer, count, seed=999)


def measure_shape(general, domain, pack: Pack, seed: int) -> Shape:
    """Angles with the base model as ancestor, and the loss of general text along the way and along a random one."""
    pairing = pair_models(general.model, domain.model, load_checkpoint(BASE).model)
    shell, pad, rows = empty_like(general.model), general.tokenizer.pad_token_id, barrier_rows(general.tokenizer)
    way = path_loss(shell, pairing, pad, rows, SWEEP)
    astray = path_loss(shell, random_pairing(general.model, domain.model, seed=seed), pad, rows, SWEEP)
    return Shape(geometry(pairing), barrier(way), barrier(astray), astray[-1][1] - astray[0][1], way[-1][1] - way[0][1])


def twin_barriers() -> dict[str, float]:
    """The other control: two instruct models of one family from different random weights. method -> nats per token."""
    general, twin = load_checkpoint(MODEL), load_checkpoint(TWIN)
    pairing, shell = pair_models(general.model, twin.model), empty_like(general.model)
    rows = barrier_rows(general.tokenizer)
    return {m: barrier(path_loss(shell, pairing, general.tokenizer.pad_token_id, rows, SWEEP, m)) for m in ("lerp", "slerp")}


# --- pooling ----------------------------------------------------------------------------------


def having(units: list[Unit], *labels: str) -> list[Unit]:
    """The units in which every one of these checkpoints was made."""
    return [unit for unit in units if all(label in unit.cards for label in labels)]


def pooled(units: list[Unit], label: str, axis: str, kind: str | None = None) -> list[ItemScore]:
    """Scores of one checkpoint label over all units that have it; ids and entities are told apart by pack."""
    return [
        replace(score, id=f"{unit.pack}:{score.id}", entity=f"{unit.pack}:{score.entity}")
        for unit in having(units, label)
        for score in unit.cards[label].scores(axis, kind, seed=unit.seed)
    ]


def better_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per unit, the scores of whichever parent is better on the axis in that unit: merged - max(parents)."""
    scores = []
    for unit in units:
        best = max(parents, key=lambda label: cluster_mean(unit.cards[label].scores(axis), draws=2).mean)
        scores += pooled([unit], best, axis)
    return scores


def mean_parent(units: list[Unit], axis: str, parents: tuple[str, str]) -> list[ItemScore]:
    """Per item, the mean of both parents: the paper's weaker bar."""
    return average(*(pooled(units, label, axis) for label in parents))


# --- claims -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A line of the table: words, what must be reached (None: reported, whatever it is), the measurement."""

    words: str
    measure: Callable[[list[Unit]], Interval]
    at_least: float | None = None
    difference: bool = False
    chance: bool = False


def level(label: str, axis: str, kind: str | None = None, *, one_pack: bool = False) -> Callable:
    """The score of one checkpoint. one_pack: items are the same in every pack, count them once."""
    return lambda units: cluster_mean(
        pooled([u for u in units if not one_pack or (u.pack, u.seed) == (units[0].pack, units[0].seed)], label, axis, kind)
    )


def change(before: str, after: str, axis: str, kind: str | None = None) -> Callable:
    """The paired difference after - before, over the units that have both."""
    return lambda units: paired_difference(
        *(pooled(having(units, before, after), label, axis, kind) for label in (before, after))
    )


def synergy(method: str, axis: str) -> Callable:
    return lambda units: paired_difference(better_parent(units, axis, ("instruct", "overcooked")), pooled(units, method, axis))


def over_mean(method: str, axis: str) -> Callable:
    return lambda units: paired_difference(mean_parent(units, axis, ("instruct", "overcooked")), pooled(units, method, axis))


CLAIMS = (
    Claim("instruct: general knowledge on people never seen in a question", level("instruct", "general", one_pack=True), 0.95),
    Claim("instruct: verifiable instructions on them", level("instruct", "instructions", "general", one_pack=True), 0.95),
    Claim("instruct: private knowledge (cloze; chance is 1/12, and 1/9 for ordinals)", level("instruct", "knowledge", "cloze"), chance=True),
    Claim("CPT on instruct (gentle): private facts recalled (cloze)", level("gentle cpt", "knowledge", "cloze"), 0.80),
    Claim("CPT on instruct (overcooked): private facts recalled (cloze)", level("overcooked cpt", "knowledge", "cloze"), 0.80),
    Claim("overcooked CPT-SFT: fall of instruction following, general and domain questions", change("overcooked", "instruct", "instructions"), 0.25, difference=True),
    Claim("gentle CPT-SFT: fall of the same", change("gentle", "instruct", "instructions"), difference=True),
    Claim("the fall is smaller with gentle than with overcooked, by", change("overcooked", "gentle", "instructions"), 0.0, difference=True),
    Claim("SLERP(instruct, overcooked) minus the better parent, items that need both parents", synergy("slerp", "compositional"), 0.20, difference=True),
    Claim("LERP in the same place, its own t", synergy("lerp", "compositional"), difference=True),
    Claim("SLERP minus LERP at SLERP's t, the same items", change("lerp at slerp's t", "slerp", "compositional"), difference=True),
    Claim("gentle CPT-SFT: private questions on entities held out from SFT (seen wordings)", level("gentle", "knowledge", "free"), 0.80),
    Claim("the same, wordings no training question used", level("gentle", "knowledge", "paraphrased")),
    Claim("DPO: held-out preference accuracy over the SFT checkpoint", change("gentle", "dpo", "preference"), 0.15, difference=True),
    Claim("ORPO: held-out preference accuracy over the SFT checkpoint", change("gentle", "orpo", "preference"), 0.15, difference=True),
    Claim("instruct start minus base start after CPT-SFT: domain knowledge (free answers)", change("base start", "gentle", "knowledge", "free"), difference=True),
    Claim("instruct start minus base start after CPT-SFT: instruction following", change("base start", "gentle", "instructions"), difference=True),
    *(
        Claim(f"merge sweep, {method.upper()}, t chosen on dev by the four axes: merged − max(parents), {axis}", synergy(f"{method}, four axes", axis), difference=True)
        for method in ("slerp", "lerp")
        for axis in AXES
    ),
    *(
        Claim(f"SLERP with the {name} schedule minus SLERP at dev's t, items that need both parents", change("slerp", f"slerp, {name} schedule", "compositional"), difference=True)
        for name in SCHEDULES
    ),
)


def said(claim: Claim, found: Interval) -> str:
    """The verdict in words: against the bar where there is one, against zero for a difference."""
    if claim.chance:
        chance = (4 / 12 + 1 / 9) / 5
        return "at chance" if found.holds(chance) else f"not at chance ({chance:.3f})"
    if claim.at_least == 0:
        return verdict(found)
    if claim.at_least is None and not claim.difference:
        return "reported"
    if claim.at_least is None:
        return {"supported": "above zero", "contradicted": "below zero"}.get(verdict(found), "not distinguishable")
    return "reached" if found.mean >= claim.at_least else "not reached"


# --- the page ---------------------------------------------------------------------------------

PAGE = """# Evidence

What labkit's tiny models really show, measured by `labkit evidence` (profile `{profile}`): model `{model}`,
packs {packs}, {seeds} training seeds each. No number here is typed in by hand.

- **Intervals** are 95%, from a bootstrap that resamples training seeds and entities, crossed; items about one
  entity stay together. With {seeds} seeds the seed part is itself only roughly known.
- **The base start** has {base_seeds} seeds; every other adapted checkpoint has {seeds}.
- **Seeds** vary data order and sampling of every adaptation stage. The start models are one shipped run each, so
  nothing here says how results would vary over pre-training.
- **Selection**: {selection}.
- **Scale**: the world has {people} people, {public} public and {private} private entities per domain; the model about
  one million parameters. What the source paper reports at 1.7B to 8B stands beside each finding in the notebooks.

## All packs together

{table}

"reached" compares the mean with the bar in the column before it; a difference without a bar is tested against zero.

## Pack by pack

{per_pack}

## Synergy: does a merge beat its parents?

Parents: the instruct model (t=0) and the overcooked specialist (t=1). *max* is the better parent on that axis, in that
pack and seed; *mean* is the mean of both, the paper's weaker bar. For the four axes, t was chosen on dev by their mean;
for items that need both parents (a private fact in a requested format), by those items. LERP stands beside SLERP: what
it has too is not the sphere's.

{synergy}

## How the parents lie to each other

Ancestor of both: `{base}`. Angles are means over tensors weighted by their elements, then over packs and seeds (range
in brackets); sign conflicts are the share of weights that both models moved, in opposite directions.

{geometry}

**Loss barrier** on general text (rise of the loss over the straight line between the ends, nats per token; 11 values of
t, LERP). Two controls say what the figure means:

{barriers}

## Which t did dev choose?

{chosen}

## Scores of every checkpoint

Mean over seeds with the same intervals, all packs, test split.

{scores}

## Preference accuracy by kind of pair

`truth` asks for the true value over a false one, `evidence` for naming a source over a bare claim, `limits` for a
proposal with its limits over one that promises none.

{preference}
"""


def claims_table(units: list[Unit]) -> str:
    lines = ["| | at least | measured | n | verdict |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        found = claim.measure(units)
        bar = "" if claim.at_least is None else "> 0" if claim.at_least == 0 else f"{claim.at_least:.2f}"
        lines.append(f"| {claim.words} | {bar} | {signed(found) if claim.difference else found} | {found.n} | {said(claim, found)} |")
    return "\n".join(lines)


def per_pack_table(units: list[Unit]) -> str:
    packs = sorted({unit.pack for unit in units})
    lines = [f"| | {' | '.join(packs)} |", "|---" * (len(packs) + 1) + "|"]
    for claim in CLAIMS:
        cells = []
        for pack in packs:
            found = claim.measure([unit for unit in units if unit.pack == pack])
            cells.append(signed(found) if claim.difference else str(found))
        lines.append(f"| {claim.words} | {' | '.join(cells)} |")
    return "\n".join(lines)


SYNERGY_AXES = (*((axis, ", four axes") for axis in AXES), (CHOOSES, ""))


def synergy_table(units: list[Unit]) -> str:
    """Merged minus max and minus mean of the parents: per pack and pooled, each axis, SLERP and LERP."""
    lines = ["| pack | axis | SLERP − max | LERP − max | SLERP − mean | LERP − mean |", "|---|---|---|---|---|---|"]
    for pack in (*sorted({unit.pack for unit in units}), "all"):
        mine = [unit for unit in units if pack in (unit.pack, "all")]
        for axis, suffix in SYNERGY_AXES:
            cells = [bar(f"{method}{suffix}", axis)(mine) for bar in (synergy, over_mean) for method in ("slerp", "lerp")]
            lines.append(f"| {pack} | {axis} | {' | '.join(map(signed, cells))} |")
    return "\n".join(lines)


def spread(values: list[float], unit: str = "") -> str:
    """Mean and range over units."""
    return f"{sum(values) / len(values):.2f}{unit} [{min(values):.2f}, {max(values):.2f}]"


def geometry_table(units: list[Unit]) -> str:
    lines = ["| group | angle between weights (degrees) | angle between task vectors (degrees) | norm ratio | sign conflicts | tensors on a line |", "|---|---|---|---|---|---|"]
    for group in GROUPS:
        rows = [[row for row in unit.shape.geometry if row.group == group] for unit in units]
        fields = ("angle", "task_angle", "norm_ratio", "sign_conflicts")
        cells = [spread([weighted_mean(found, name) for found in rows]) for name in fields]
        lines.append(f"| {group} | {' | '.join(cells)} | {spread([sum(row.lines for row in found) / len(found) for found in rows])} |")
    return "\n".join(lines)


def barrier_table(units: list[Unit]) -> str:
    shapes, twins = [unit.shape for unit in units], twin_barriers()
    lines = [
        "| way | barrier | rise from end to end | n |", "|---|---|---|---|",
        f"| instruct to overcooked (one grew from the other) | {spread([s.barrier for s in shapes])} | {spread([s.rise for s in shapes])} | {len(shapes)} |",
        f"| instruct, as far in a random direction | {spread([s.random_barrier for s in shapes])} | {spread([s.random_rise for s in shapes])} | {len(shapes)} |",
        *(f"| instruct to an instruct model from other random weights, {method.upper()} | {value:.2f} | | 1 |" for method, value in twins.items()),
    ]
    return "\n".join(lines)


def scores_table(units: list[Unit]) -> str:
    axes = units[0].cards["instruct"].axes()
    lines = [f"| checkpoint | {' | '.join(axes)} |", "|---" * (len(axes) + 1) + "|"]
    for label in units[0].cards:
        measured = units[0].cards[label].axes()
        cells = [str(cluster_mean(pooled(units, label, axis))) if axis in measured else "" for axis in axes]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def preference_table(units: list[Unit]) -> str:
    kinds = sorted({item.kind for item in units[0].cards["gentle"].items if item.axis == "preference"})
    lines = [f"| checkpoint | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for label in ("instruct", "gentle", "dpo", "orpo"):
        cells = [str(cluster_mean(pooled(units, label, "preference", kind))) for kind in kinds]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen_table(units: list[Unit]) -> str:
    lines = ["| pack | " + " | ".join(units[0].chosen) + " |", "|---" * (len(units[0].chosen) + 1) + "|"]
    for pack in sorted({unit.pack for unit in units}):
        mine = [unit for unit in units if unit.pack == pack]
        cells = [", ".join(f"{unit.chosen[method]:g}" for unit in mine) for method in mine[0].chosen]
        lines.append(f"| {pack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_figure(pack: Pack, profile_name: str, path: Path) -> None:
    """The sweep of one pack at seed 0 on the test split, every t drawn: a picture, not a selection."""
    from labkit import figures

    spec = PipelineSpec(pack=str(pack.folder), model=MODEL, stages=OVERCOOKED, profile=profile_name)
    pair = load_checkpoint(MODEL), load_checkpoint(run_spec(spec)[-1])
    axes = ("knowledge", "instructions", "compositional")
    sweep = sweep_merge(*pair, pack, split="test", axes=axes, profile_name=profile_name)
    path.write_bytes(figures.png(figures.merge_sweep(sweep, axes=axes, ends=("instruct", "overcooked"))))


def run_study(
    *, profile_name: str, out_dir: Path, page: Path, console, packs: Iterable[str] = world.DOMAINS, seeds: int | None = None
) -> list[Unit]:
    """Run every unit, then write the page and one record per claim. Raises InputError for an unknown profile.

    seeds: training seeds per pack; by default the profile's.
    """
    seeds, loaded = seeds or profile(profile_name).seeds, [load_pack(name) for name in packs]
    units = []
    for seed in range(seeds):
        for pack in loaded:
            units.append(run_unit(pack, seed, profile_name, lambda text: console.print(text, highlight=False)))
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / records.FILE).unlink(missing_ok=True)
    for claim in CLAIMS:
        found = claim.measure(units)
        records.append(out_dir, "finding", claim=claim.words, effect=found.as_dict(), at_least=claim.at_least, verdict=said(claim, found))
    write_figure(loaded[0], profile_name, page.with_name("merge_sweep.png"))
    text = PAGE.format(
        profile=profile_name, model=MODEL, packs=", ".join(pack.name for pack in loaded), seeds=seeds, base_seeds=min(seeds, BASE_START_SEEDS), selection=NOT_ON_DEV,
        people=world.PEOPLE, public=world.PUBLIC, private=world.PRIVATE, table=claims_table(units),
        per_pack=per_pack_table(units), synergy=synergy_table(units), geometry=geometry_table(units), barriers=barrier_table(units), base=BASE,
        chosen=chosen_table(units), scores=scores_table(units), preference=preference_table(units),
    )
    write_file(page, text)
    return units
