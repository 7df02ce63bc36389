"""What a run would take, told before anything is downloaded or loaded: `labkit run SPEC --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from labkit.design import PipelineSpec
from labkit.pipeline import check_data
from labkit.planner import Gpu, SpecPlan, StagePlan, gpu, gpus, gpus_needed, money_of, plan_spec
from labkit.planner_lab import between, design_rows, duration
from labkit.planner_memory import COMPONENTS
from labkit.planner_rows import ratio
from labkit.planner_speed import kind_of, known_speed
from labkit.preflight import Disk, disk, free_gib, hub_cache, remedies_for, size_words, this_machine
from labkit.store import default_root

if TYPE_CHECKING:
    from rich.table import Table


def tell(spec: PipelineSpec, *, card: str | None = None, count: int = 1, price: float = 0.0) -> Iterator[str | tuple]:
    """Sentences, and tables as (title, heads, rows). Raises InputError, SpecError or PackError for what cannot be planned.

    card: a GPU by name; without one, this machine where its speed was measured, or else every card labkit knows.
    """
    check_data(spec)
    money_of((0.0, 0.0), count, price)
    here = card is None and count == 1 and bool(spec.stages) and all(known_speed(spec.model, kind_of(stage)) for stage in spec.stages)
    where = None if here else gpu(card) if card else _first_fit(spec, count)
    found = plan_spec(spec, card=where, gpus=count)
    place = f"{count} × {where.name}" if where else "this machine"
    yield f"{spec.name}: {found.parameters:,} parameters. No weights were downloaded or loaded, nothing was trained."
    yield from _estimates(found)
    if found.stages:
        yield _rows(found)
        yield _work(found, place)
        yield _memory(found, place)
        yield f"time on {place}: {duration(found.seconds)}; loading, saving and merging come on top{', and short rows use a GPU badly' if where else ''}"
    if where is None:
        yield from _here(found)
    elif card:
        yield from _there(found, where, price)
    elif found.stages:
        yield _cards(spec, count, price)
    yield from _disk_lines(disk(spec, on_gpu=where is not None or this_machine().on_gpu))


def _first_fit(spec: PipelineSpec, count: int) -> Gpu:
    """The smallest card a design fits; the largest where it fits none."""
    cards = list(gpus().values())
    return next((card for card in cards if plan_spec(spec, card=card, gpus=count).fits(card)), cards[-1])


def _estimates(found: SpecPlan) -> Iterator[str]:
    if any(stage.estimated for stage in found.stages):
        known = ratio()
        yield (
            f"Row lengths are an estimate: the model's tokenizer is not in the local cache, so {known['characters_per_token']} characters count as a token, "
            f"as they do for {known['tokenizer']} on the packs {', '.join(known['packs'])}."
        )


def _rows(found: SpecPlan) -> tuple:
    heads = ("stage", "steps", "rows a step", "of them at once", "each row is read", "padding")
    rows = [
        (stage.kind, f"{stage.steps:,}", f"{stage.plan.training.batch_size:,}", f"{_at_once(stage):,}", f"{stage.passes:.1f} times", f"{stage.padding:.0%}")
        for stage in found.stages
    ]
    return "rows (of a preference stage: pairs)", heads, rows


def _at_once(stage: StagePlan) -> int:
    """Rows, or pairs, that one device takes through one pass."""
    training = stage.plan.training
    return training.batch_size // (training.gpus * training.accumulation)


def _work(found: SpecPlan, place: str) -> tuple:
    return f"stages on {place}", ("stage", "parameters that learn", "tokens", "FLOPs", "peak GiB", "seconds"), design_rows(found)


def _memory(found: SpecPlan, place: str) -> tuple:
    """A column per stage: what it holds at its peak, and what it would hold with longer rows."""
    stages = found.stages
    rows = [(name, *(f"{getattr(stage.plan.memory, name):.2f}" for stage in stages)) for name in COMPONENTS]
    rows.append(("together", *(f"{stage.peak_gib:.2f}" for stage in stages)))
    rows.append(("when", *(stage.plan.memory.moment for stage in stages)))
    rows.append(("with rows of max_length", *(f"{stage.filled_gib:.2f}" for stage in stages)))
    return f"memory at its peak, GiB{' per GPU' if found.gpus else ''}, {place}", ("", *(stage.kind for stage in stages)), rows


def _here(found: SpecPlan) -> Iterator[str]:
    machine = this_machine()
    fits = "fits" if found.peak_gib <= machine.memory_gib else "does not fit"
    yield f"it {fits}: {machine.name} has {machine.memory_gib:.1f} GiB, {machine.free_gib:.1f} of them free"


def _there(found: SpecPlan, card: Gpu, price: float) -> Iterator[str]:
    """One card: whether it fits, what it costs, what to give up."""
    fits = [name for name, other in gpus().items() if found.fits(other)]
    yield f"it {'fits' if found.fits(card) else 'does not fit'}: {card.name} has {card.usable_gib:.1f} GiB; it fits {', '.join(fits) or 'no card labkit knows'}"
    if price and found.fits(card):
        yield f"money: {between(found.money(price))}, at {price:g} per GPU and hour"
    if found.fits(card):
        return
    for number, remedy in enumerate(remedies_for(found.widest, card), 1):
        verdict = "fits" if remedy.plan.fits(card) else "not yet"
        yield f"give up {number}: {remedy.name} ({remedy.field}): {remedy.plan.peak_gib:.1f} GiB, {verdict}; it costs {remedy.costs}"
    needed = [gpus_needed(stage.plan, card) for stage in found.stages]
    if None not in needed:
        yield f"or share it as it is among {max(needed)} × {card.name}"


def _cards(spec: PipelineSpec, count: int, price: float) -> tuple:
    heads = ("GPU", "GiB", "fits", "time", *(("money",) if price else ()))
    rows = []
    for card in gpus().values():
        found = plan_spec(spec, card=card, gpus=count)
        time = duration(found.seconds) if found.fits(card) else ""
        money = between(found.money(price)) if price and found.fits(card) else ""
        rows.append((card.name, f"{card.usable_gib:.1f}", "yes" if found.fits(card) else "no", time, *((money,) if price else ())))
    return f"where it fits, {count} of each", heads, rows


def _disk_lines(needs: Disk) -> Iterator[str]:
    root = default_root()
    yield f"checkpoints: {len(needs.kept)}, together {size_words(needs.kept_gib)}, in {root} ({size_words(free_gib(root))} free); LABKIT_HOME moves them"
    if needs.state_gib:
        yield f"while a stage trains: up to {size_words(needs.state_gib)} more there, so that a killed run goes on; deleted when the stage is done"
    if needs.download_gib:
        yield f"download: {size_words(needs.download_gib)} to {hub_cache()} ({size_words(free_gib(hub_cache()))} free); HF_HOME moves it"


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """One of these tables as the terminal draws it."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(*heads, title=escape(title), title_justify="left")
    for row in rows:
        drawn.add_row(*map(escape, row))
    return drawn
