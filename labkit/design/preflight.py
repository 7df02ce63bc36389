"""Before a run: can it work at all, and what would it take (`labkit run SPEC --dry-run`)?

`check` refuses in one sentence what would end hours later in a crash, or in gigabytes for nothing.
Only what is certain is refused: a plan that exceeds the whole memory, a disk without room for one
checkpoint. What is only tight is a note.

`tell` says what a run would take. Nothing but config and tokenizer is downloaded, and that only of
a hub id the user named.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base import processes
from labkit.base.errors import InputError, SpecError, StoreError, suggest
from labkit.base.store import default_root
from labkit.data.packs import load_pack
from labkit.design.designer import missing_files
from labkit.design.planner import (
    UNCOUNTED_HEADS,
    Gpu,
    Remedy,
    SpecPlan,
    StagePlan,
    between,
    design_rows,
    duration,
    give_up,
    gpu,
    gpus,
    gpus_needed,
    money_of,
    plan_spec,
    uncounted_rows,
)
from labkit.design.planner_memory import (
    COMPONENTS,
    GIB,
    check_template,
    little_reading,
    lost_rows,
    on_paper,
    ratio,
)
from labkit.design.planner_speed import kind_of, known_speed
from labkit.merge.recipes import Merge
from labkit.models import zoo
from labkit.models.architecture import (
    KINDS,
    Architecture,
    Uncounted,
    architecture_of,
    config_of,
    parameters_of,
)
from labkit.train.pipeline import check_data, with_steps
from labkit.train.specs import PipelineSpec, Stage

if TYPE_CHECKING:
    from rich.table import Table

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# Saved states of an unfinished stage on disk at once: the last whole one, and the next while it is
# written.
STATES = 2
# Per trained parameter in a saved state (train/callbacks.py): itself and two moments, in float32.
STATE_BYTES = 12


class PreflightNote(UserWarning):
    """Something that may go wrong but need not."""


def check(spec: PipelineSpec) -> None:
    """Raises SpecError, PackError, InputError or StoreError when a run of this spec cannot work on
    this machine.
    """
    from labkit.train.callbacks import check_reporter
    from labkit.train.memory import check_four_bit

    spec = with_steps(spec)
    check_files(spec)
    check_reporter(spec.report_to)
    if any(stage.lora and stage.lora.four_bit for stage in spec.stages):
        check_four_bit(spec.stages)
    for name in models_of(spec):
        check_architecture(*config_of(name))
    check_memory(spec, this_machine())
    check_disk(spec)
    for name in models_of(spec):
        if on_hub(name):
            # gated, misspelt or out of reach: known before the weights are asked for
            zoo.fetch_file(name, "config.json")
    check_conversations(spec)
    for told in little_reading(spec):
        warnings.warn(told, PreflightNote, stacklevel=2)


def check_files(spec: PipelineSpec) -> None:
    """Raises SpecError for a design on paper, and what check_data raises."""
    if on_paper(spec):
        raise SpecError(missing_files(spec))
    check_data(spec)


def models_of(spec: PipelineSpec) -> list[str]:
    """Every model a spec names, once."""
    merge = spec.merge
    return list(
        dict.fromkeys(
            name for name in (spec.model, merge and merge.general, merge and merge.ancestor) if name
        )
    )


def on_hub(name: str) -> bool:
    return bool(zoo.HUB_ID.fullmatch(name)) and not Path(name).is_dir()


def check_conversations(spec: PipelineSpec) -> None:
    """Raises InputError when a hub model's tokenizer cannot write what a stage trains on; its files
    are small.

    Of other models the plan has tried it with every row.
    """
    from labkit.train.trainers import chat_rows

    stages = [stage for stage in spec.stages if stage.kind != "cpt"]
    if not stages or not on_hub(spec.model):
        return
    tokenizer = zoo.hub_tokenizer(spec.model)
    for stage in stages:
        check_template(tokenizer, spec.model, stage.kind)
        if stage.kind == "sft":
            chat_rows(tokenizer, [load_pack(spec.pack).rows("qa")[0]["messages"]], sys.maxsize)


# --- architecture -----------------------------------------------------------------------------


def check_architecture(config: dict, place: str) -> None:
    """Raises InputError for a model that transformers does not know, or that does not write text
    from left to right.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise InputError(f"{place}: model_type is {kind!r}; copy the model's config.json whole")
    if kind not in CONFIG_MAPPING_NAMES:
        if "auto_map" in config:
            raise InputError(
                f"{place}: model_type {kind!r} needs code that comes with the model, "
                "which labkit never runs; choose a model that transformers knows by "
                "itself"
            )
        raise InputError(
            f"{place}: transformers {transformers.__version__} knows no model_type "
            f"{kind!r}; {suggest(kind, list(KINDS))}; if the model is newer, upgrade "
            "transformers"
        )
    wanted = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    decoders = (
        "labkit trains models that write from left to right, such as Llama or Mistral; "
        "choose one of these"
    )
    if config.get("is_encoder_decoder"):
        raise InputError(f"{place}: {kind!r} is an encoder-decoder; {decoders}")
    built = [name for name in config.get("architectures") or [] if hasattr(transformers, name)]
    if wanted is None or (built and wanted not in built):
        raise InputError(
            f"{place}: {' '.join(built) or repr(kind)} is not a causal language model; {decoders}"
        )


# --- memory -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What a run has. memory_gib: of one GPU, or of the main memory where there is none; free_gib:
    of it, now.
    """

    name: str
    memory_gib: float
    free_gib: float
    on_gpu: bool

    @property
    def as_card(self) -> Gpu:
        return Gpu(self.name, self.memory_gib * GIB / 1e9, tflops=1, watts=0, source="this machine")


def this_machine() -> Machine:
    """The GPU this process trains on, or this computer: Apple's GPU has no memory of its own."""
    import torch

    if processes.device() == "cuda":
        free, total = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), total / GIB, free / GIB, on_gpu=True)
    total, free = main_memory()
    return Machine("this machine", total / GIB, free / GIB, on_gpu=False)


def main_memory() -> tuple[int, int]:
    """Bytes of main memory, and of it free."""
    import psutil

    memory = psutil.virtual_memory()
    total = min([memory.total, *memory_limits()])
    return total, min(memory.available, total)


def memory_limits() -> list[int]:
    """Limits that a container sets, in bytes; none outside one."""
    texts = [path.read_text("ascii").strip() for path in CGROUP_LIMITS if path.is_file()]
    return [int(text) for text in texts if text.isdigit()]


def check_memory(spec: PipelineSpec, machine: Machine) -> None:
    """Raises SpecError when a stage is planned to hold more than the machine has at all; a note
    when it is tight.
    """
    config, place = config_of(spec.model)
    if config.get("model_type") not in KINDS:
        warnings.warn(
            f"{place}: model_type {config.get('model_type')!r} is one the planner "
            "cannot count, so nobody knows whether this run fits",
            PreflightNote,
            stacklevel=2,
        )
        return
    found = plan_spec(spec)
    if machine.on_gpu:
        check_main_memory(
            found.parameters,
            spec,
            int(os.environ.get("LOCAL_WORLD_SIZE") or 1),
            main_memory()[0] / GIB,
        )
    stage = found.widest
    if stage is None or stage.peak_gib <= machine.free_gib:
        return
    needs = (
        f"stages.{found.stages.index(stage)} ({stage.kind}) needs about {stage.peak_gib:.1f} GiB"
    )
    if stage.peak_gib <= machine.memory_gib:
        warnings.warn(
            f"{needs}; {machine.name} has {machine.memory_gib:.1f} GiB, of which "
            f"{machine.free_gib:.1f} are free: close other programs",
            PreflightNote,
            stacklevel=2,
        )
        return
    raise SpecError(
        f"{needs} ({components(stage)}); {machine.name} has {machine.memory_gib:.1f}; "
        f"{remedy_words(stage, machine.as_card, on_gpu=machine.on_gpu)}"
    )


def check_main_memory(
    parameters: int, spec: PipelineSpec, local_processes: int, main_gib: float
) -> None:
    """A note when the processes of this machine read more into main memory than it has: each reads
    the whole model first.
    """
    width = 2 if all(stage.lora for stage in spec.stages) else 4
    needed = local_processes * width * parameters / GIB
    if needed > main_gib:
        warnings.warn(
            f"{local_processes} process(es) read {needed:.0f} GiB of weights into main "
            f"memory, and this machine has {main_gib:.0f}",
            PreflightNote,
            stacklevel=2,
        )


def components(stage: StagePlan) -> str:
    """What holds most, in words."""
    sizes = {name: getattr(stage.plan.memory, name) for name in COMPONENTS}
    return ", ".join(
        f"{name} {size:.1f}"
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
        if size >= 0.05
    )


def remedies_for(stage: StagePlan, card: Gpu, *, on_gpu: bool = True) -> list[Remedy]:
    """What to give up in the spec, in order, until the stage fits."""
    return give_up(stage.plan, card, in_spec=True, on_gpu=on_gpu)


def remedy_words(stage: StagePlan, card: Gpu, *, on_gpu: bool = True) -> str:
    """The same as one clause."""
    remedies = remedies_for(stage, card, on_gpu=on_gpu)
    if not remedies:
        return "nothing in the spec makes it smaller: take a smaller model"
    fields = ", then ".join(remedy.field for remedy in remedies)
    least = remedies[-1].plan
    if least.fits(card):
        return f"set {fields}: that takes {least.peak_gib:.1f} GiB"
    return (
        f"even with {fields} it takes {least.peak_gib:.1f} GiB: take a smaller model or a "
        "larger GPU (labkit run SPEC --dry-run lists them)"
    )


# --- disk -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disk:
    """What a run writes, in GiB. kept: a checkpoint per stage and merge, one after the other.
    state: of an unfinished stage, saved every ten minutes and deleted when the stage is done.
    download: weights of hub models not in the local cache.
    """

    kept: tuple[float, ...]
    state_gib: float
    download_gib: float

    @property
    def kept_gib(self) -> float:
        return sum(self.kept)


def disk(spec: PipelineSpec, *, on_gpu: bool = True) -> Disk:
    """Counted from configs.

    Training all weights leaves float32; adapters trained on a GPU are merged into the base as it is
    stored.

    Raises InputError for a model that cannot be counted.
    """
    shapes = {name: architecture_of(name) for name in models_of(spec)}
    start = shapes[spec.model]
    kept, width, state = [], start.stored, 0.0
    for step in spec.steps:
        if isinstance(step, Stage):
            width = width if step.lora and on_gpu else 4
            state = max(
                state,
                STATES
                * STATE_BYTES
                * (start.lora_parameters(step.lora.rank) if step.lora else start.parameters)
                / GIB,
            )
        elif isinstance(step, Merge):
            general = shapes[step.general or spec.model].stored
            width = {"float32": 4, "bfloat16": 2, "float16": 2}.get(
                step.dtype or "", max(width, general)
            )
        kept.append(width * start.parameters / GIB)
    missing = [
        shape for name, shape in shapes.items() if on_hub(name) and not _weights_cached(name)
    ]
    return Disk(tuple(kept), state, sum(_size(shape) for shape in missing))


def _size(shape: Architecture) -> float:
    return shape.stored * shape.parameters / GIB


def _weights_cached(name: str) -> bool:
    return any(
        zoo.cached_file(name, file)
        for file in ("model.safetensors", "model.safetensors.index.json")
    )


def free_gib(folder: Path) -> float:
    """Of the disk that a folder is, or will be, on."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / GIB


def hub_cache() -> Path:
    """Where downloads go."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def check_disk(spec: PipelineSpec) -> None:
    """Raises StoreError when there is no room for one checkpoint, or for the download; a note when
    not for all of them.
    """
    if config_of(spec.model)[0].get("model_type") not in KINDS:
        return  # check_memory said so
    needs, root = disk(spec, on_gpu=this_machine().on_gpu), default_root()
    free, room = free_gib(root), free_gib(hub_cache())
    if needs.download_gib > room:
        raise StoreError(
            f"{hub_cache()}: the weights to download take "
            f"{size_words(needs.download_gib)}, {size_words(room)} are free; free some "
            "space or point HF_HOME elsewhere"
        )
    if max(needs.kept) > free:
        raise StoreError(
            f"{root}: the disk is full before the first checkpoint is written, which "
            f"takes {size_words(max(needs.kept))} ({size_words(free)} are free); free "
            "some space or point LABKIT_HOME elsewhere"
        )
    if needs.kept_gib + needs.state_gib > free:
        told = (
            f"all {len(needs.kept)} checkpoints take {size_words(needs.kept_gib)} and an "
            f"unfinished stage up to {size_words(needs.state_gib)}"
        )
        warnings.warn(
            f"{root}: {told}, {size_words(free)} are free; stages finished earlier need no more",
            PreflightNote,
            stacklevel=2,
        )


def size_words(gib: float) -> str:
    """A size with two digits or more, in GiB or MiB."""
    return (
        f"{gib:,.0f} GiB"
        if gib >= 10
        else f"{gib:.1f} GiB"
        if gib >= 0.1
        else f"{gib * 1024:.1f} MiB"
    )


# --- a dry run --------------------------------------------------------------------------------


def tell(
    spec: PipelineSpec, *, card: str | None = None, count: int = 1, price: float = 0.0
) -> Iterator[str | tuple]:
    """Sentences, and tables as (title, heads, rows).

    card: a GPU by name; without one, this machine where its speed was measured, or else every card
    labkit knows. Raises InputError, SpecError or PackError for what cannot be planned.
    """
    spec = with_steps(spec)
    check_files(spec)
    money_of((0.0, 0.0), count, price)
    try:
        architecture_of(spec.model)
    except Uncounted as error:
        yield (
            f"{spec.name}: {parameters_of(spec.model):,} parameters. {error}; memory, time and "
            "money cannot be told. Nothing was trained."
        )
        yield from lost_rows(spec)
        if spec.stages:
            yield "rows (of a preference stage: pairs)", UNCOUNTED_HEADS, uncounted_rows(spec)
        return
    here = (
        card is None
        and count == 1
        and bool(spec.stages)
        and all(known_speed(spec.model, kind_of(stage)) for stage in spec.stages)
    )
    where = None if here else gpu(card) if card else _first_fit(spec, count)
    found = plan_spec(spec, card=where, gpus=count)
    place = f"{count} × {where.name}" if where else "this machine"
    yield (
        f"{spec.name}: {found.parameters:,} parameters. No weights were downloaded or "
        "loaded, nothing was trained."
    )
    yield from _estimates(found)
    yield from lost_rows(spec)
    yield from little_reading(spec)
    if found.stages:
        yield _rows(found)
        yield _work(found, place)
        yield _memory(found, place)
        yield (
            f"time on {place}: {duration(found.seconds)}; loading, saving and merging come "
            f"on top{', and short rows use a GPU badly' if where else ''}"
        )
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
    return next(
        (card for card in cards if plan_spec(spec, card=card, gpus=count).fits(card)), cards[-1]
    )


def _estimates(found: SpecPlan) -> Iterator[str]:
    if any(stage.estimated for stage in found.stages):
        known = ratio()
        yield (
            "Row lengths are an estimate: the model's tokenizer is not in the local "
            f"cache, so {known['characters_per_token']} characters count as a token, "
            f"as they do for {known['tokenizer']} on the packs {', '.join(known['packs'])}."
        )


def _rows(found: SpecPlan) -> tuple:
    heads = ("stage", "steps", "rows a step", "of them at once", "each row is read", "padding")
    rows = [
        (
            stage.kind,
            f"{stage.steps:,}",
            f"{stage.plan.training.batch_size:,}",
            f"{_at_once(stage):,}",
            f"{stage.passes:.1f} times",
            f"{stage.padding:.0%}",
        )
        for stage in found.stages
    ]
    return "rows (of a preference stage: pairs)", heads, rows


def _at_once(stage: StagePlan) -> int:
    """Rows, or pairs, that one device takes through one pass."""
    training = stage.plan.training
    return training.batch_size // (training.gpus * training.accumulation)


def _work(found: SpecPlan, place: str) -> tuple:
    return (
        f"stages on {place}",
        ("stage", "parameters that learn", "tokens", "FLOPs", "peak GiB", "seconds"),
        design_rows(found),
    )


def _memory(found: SpecPlan, place: str) -> tuple:
    """A column per stage: what it holds at its peak, and what it would hold with longer rows."""
    stages = found.stages
    rows = [
        (name, *(f"{getattr(stage.plan.memory, name):.2f}" for stage in stages))
        for name in COMPONENTS
    ]
    rows.append(("together", *(f"{stage.peak_gib:.2f}" for stage in stages)))
    rows.append(("when", *(stage.plan.memory.moment for stage in stages)))
    rows.append(("with rows of max_length", *(f"{stage.filled_gib:.2f}" for stage in stages)))
    return (
        f"memory at its peak, GiB{' per GPU' if found.gpus else ''}, {place}",
        ("", *(stage.kind for stage in stages)),
        rows,
    )


def _here(found: SpecPlan) -> Iterator[str]:
    machine = this_machine()
    fits = "fits" if found.peak_gib <= machine.memory_gib else "does not fit"
    yield (
        f"it {fits}: {machine.name} has {machine.memory_gib:.1f} GiB, "
        f"{machine.free_gib:.1f} of them free"
    )


def _there(found: SpecPlan, card: Gpu, price: float) -> Iterator[str]:
    """One card: whether it fits, what it costs, what to give up."""
    fits = [name for name, other in gpus().items() if found.fits(other)]
    yield (
        f"it {'fits' if found.fits(card) else 'does not fit'}: {card.name} has "
        f"{card.usable_gib:.1f} GiB; it fits {', '.join(fits) or 'no card labkit knows'}"
    )
    if price and found.fits(card):
        yield f"money: {between(found.money(price))}, at {price:g} per GPU and hour"
    if found.widest is None or found.fits(card):
        return
    for number, remedy in enumerate(remedies_for(found.widest, card), 1):
        verdict = "fits" if remedy.plan.fits(card) else "not yet"
        yield (
            f"give up {number}: {remedy.name} ({remedy.field}): {remedy.plan.peak_gib:.1f} "
            f"GiB, {verdict}; it costs {remedy.costs}"
        )
    needed = [gpus_needed(stage.plan, card) or 0 for stage in found.stages]
    if all(needed):
        yield f"or share it as it is among {max(needed)} × {card.name}"


def _cards(spec: PipelineSpec, count: int, price: float) -> tuple:
    heads = ("GPU", "GiB", "fits", "time", *(("money",) if price else ()))
    rows = []
    for card in gpus().values():
        found = plan_spec(spec, card=card, gpus=count)
        time = duration(found.seconds) if found.fits(card) else ""
        money = between(found.money(price)) if price and found.fits(card) else ""
        rows.append(
            (
                card.name,
                f"{card.usable_gib:.1f}",
                "yes" if found.fits(card) else "no",
                time,
                *((money,) if price else ()),
            )
        )
    return f"where it fits, {count} of each", heads, rows


def _disk_lines(needs: Disk) -> Iterator[str]:
    root = default_root()
    yield (
        f"checkpoints: {len(needs.kept)}, together {size_words(needs.kept_gib)}, in {root} "
        f"({size_words(free_gib(root))} free); LABKIT_HOME moves them"
    )
    if needs.state_gib:
        yield (
            f"while a stage trains: up to {size_words(needs.state_gib)} more there, so that "
            "a killed run goes on; deleted when the stage is done"
        )
    if needs.download_gib:
        yield (
            f"download: {size_words(needs.download_gib)} to {hub_cache()} "
            f"({size_words(free_gib(hub_cache()))} free); HF_HOME moves it"
        )


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """One of these tables as the terminal draws it."""
    from rich.table import Table

    drawn = Table(*heads, title=title, title_justify="left")
    for row in rows:
        drawn.add_row(*row)
    return drawn
