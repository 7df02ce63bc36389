"""Runs a spec: pack and start model in, one checkpoint per stage out, each trained once."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.base import processes
from labkit.base.errors import InputError, MergeError, SpecError, StoreError
from labkit.base.store import (
    LINEAGE,
    Checkpoint,
    Store,
    default_root,
    key_of,
    write_file,
    write_whole,
)
from labkit.data.packs import Pack, load_pack, samples_folder, text_of
from labkit.merge import guards
from labkit.merge.recipes import THEIR_METHOD, Merge, Recipe, merge_card, recipe_text
from labkit.merge.schedule import resolve
from labkit.models import zoo
from labkit.models.architecture import parameters_of
from labkit.models.families import CONTEXT
from labkit.train import exposure, memory, zoo_build
from labkit.train.callbacks import (
    Partial,
    Report,
    RowCount,
    Stop,
    TrainResult,
    check_log,
    check_reporter,
)
from labkit.train.specs import AUTO, PREFERENCE_STAGES, PipelineSpec, Stage, profile, trail_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST_INVENTED = 94  # tokens of a text of the invented packs, with its end
RECIPE_VERSION = 2  # part of every key: raise it when training code changes what a spec means
SHARING = {"micro_batch_size", "activation_checkpointing"}  # of memory and time: no part of a key
STAGE_SPLITS = {"sft": ("qa",), "dpo": ("preferences",), "orpo": ("preferences",)}


def stage_splits(stage: Stage) -> tuple[str, ...]:
    """The pack splits a stage reads."""
    return stage.sources if stage.kind == "cpt" else STAGE_SPLITS[stage.kind]


def trainable(stages: Iterable[Stage], pack: Pack) -> tuple[tuple[Stage, ...], dict[str, str]]:
    """The stages that a pack has rows for; and what was changed or left out -> what the pack lacks.

    CPT reads what there is of its sources. A stage of which nothing is there is left out.
    """
    kept, lacks = [], {}
    for stage in stages:
        there = tuple(split for split in stage_splits(stage) if pack.has(split))
        for split in stage_splits(stage):
            if split not in there:
                how = f"reads {' and '.join(there)} alone" if there else "is left out"
                lacks[f"{stage.kind} {how}"] = pack.told_lack(split)
        if there:
            changed = {"sources": there} if there != stage_splits(stage) else {}
            kept.append(stage.model_copy(update=changed))
    return tuple(kept), lacks


def rows_read(stage: Stage, pack: Pack, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many rows of a pack a stage has to read; each piece of a long text is one."""
    if stage.kind == "cpt":
        return len(text_lengths(stage_splits(stage), pack, tokenizer, stage.max_length))
    return sum(len(pack.rows(split)) for split in stage_splits(stage) if pack.has(split))


def text_lengths(
    splits: Iterable[str],
    pack: Pack,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    counted: RowCount | None = None,
) -> list[int]:
    """Tokens of each row that CPT reads of those splits that a pack has, as `text_rows` makes them
    and raising as it does; a split's texts are made tokens once.
    """
    from labkit.train.trainers import joined_rows

    there = [split for split in splits if pack.has(split)]
    state = _state_of(tokenizer)
    read = (_lengths_in(pack, split, tokenizer, state, max_length) for split in there)
    return joined_rows(itertools.chain.from_iterable(read), counted)


# of texts: a split's tokens, a tokenizer's own state and a length -> what each text becomes
_LENGTHS: dict[str, list[tuple[str | None, list[int]]]] = {}
LARGE = 1_000_000  # bytes of a split whose lengths are kept on disk


def _lengths_in(
    pack: Pack, split: str, tokenizer: PreTrainedTokenizerBase, state: str, max_length: int
) -> list[tuple[str | None, list[int]]]:
    """Of each text of a split its fate and the lengths of its rows; those of a large split lie
    beside the store, for the next command.
    """
    from labkit.train.trainers import rows_of_texts

    key = key_of(
        content=pack.fingerprint(split),
        split=split,
        tokenizer=state,
        max_length=max_length,
        recipe=RECIPE_VERSION,
    )
    if key in _LENGTHS:
        return _LENGTHS[key]
    large = pack.path(split).stat().st_size >= LARGE
    file = default_root().parent / "lengths" / f"{key}.json"
    if large and file.is_file():
        found = [(fate, lengths) for fate, lengths in json.loads(file.read_text("utf-8"))]
    else:
        texts = [text_of(row) for row in pack.rows(split)]
        found = [
            (fate, [len(row) for row in rows])
            for fate, rows in rows_of_texts(tokenizer, texts, max_length)
        ]
        if large:
            with contextlib.suppress(StoreError):  # then the next command counts again
                write_file(file, json.dumps(found))
    _LENGTHS[key] = found
    return found


def _state_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides which tokens a tokenizer makes of a text, as a hash."""
    from labkit.models.families import start_of_text

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        reading = zoo.reading_of(Path(folder))
    start = start_of_text(tokenizer)
    return key_of(reading=reading, start=start, end=tokenizer.eos_token_id)


@cache
def _rows_counted(stage: Stage, pack: Path, content: str, folder: Path, reading: str) -> int:
    """The rows of a stage; content, reading: of the pack and of the model's folder, which may
    change under their names.
    """
    return rows_read(stage, load_pack(pack), zoo.tokenizer_of(folder))


def settled(stage: Stage, pack: Pack, model: str) -> Stage:
    """A stage whose `steps: auto` is a number; CPT of it ends once the facts of dev are known.

    Raises InputError where the model's tokenizer, by which rows are counted, is not there.
    """
    if stage.steps != AUTO:
        return stage
    folder = zoo.model_folder(zoo.with_same_tokenizer(model))
    rows = _rows_counted(
        stage.model_copy(update={"steps": 1}),
        pack.folder,
        pack.fingerprint(*stage_splits(stage)),
        folder,
        zoo.reading_of(folder),
    )
    changes: dict[str, Any] = {"steps": exposure.steps_for(stage, rows, parameters_of(model))}
    alone = processes.count() == 1  # processes that share a model would have to look together
    if stage.kind == "cpt" and alone and exposure.told_facts(pack):
        changes["until"] = stage.until or exposure.ENOUGH
    return stage.model_copy(update=changes)


def with_steps(spec: PipelineSpec) -> PipelineSpec:
    """A spec all of whose stages are settled. Raises InputError as `settled`."""
    if all(stage.steps != AUTO for stage in spec.stages):
        return spec
    pack = load_pack(spec.pack)
    stages = tuple(settled(stage, pack, spec.model) for stage in spec.stages)
    return spec.model_copy(update={"stages": stages})


def steps_run(stage: Stage, profile_name: str) -> int:
    """Optimiser steps of a stage at a profile; at least two, so that a smoke run really trains.

    Raises SpecError where they are still `auto`.
    """
    if stage.steps == AUTO:
        raise SpecError(f"{stage.kind}: steps is auto; give the spec to pipeline.with_steps first")
    how = profile(profile_name)
    return max(2, min(round(stage.steps * how.step_share), how.most_steps or stage.steps))


@cache
def versions() -> dict[str, str]:
    """Versions of everything that can change weights."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft")}


def check_data(spec: PipelineSpec) -> Pack:
    """The spec's pack, once every split its stages read is known to be there and sound.

    Raises SpecError when a stage needs a split the pack lacks, PackError for a broken pack.
    """
    pack = load_pack(spec.pack)
    for number, stage in enumerate(spec.stages):
        for split in stage_splits(stage):
            if not pack.has(split):
                raise SpecError(
                    f"stages.{number}: {stage.kind} needs {pack.path(split).name}, "
                    f"which pack {pack.name!r} lacks; "
                    f"add it or drop the stage"
                )
            pack.rows(split)
        if stage.until is not None and not exposure.told_facts(pack):
            raise SpecError(
                f"stages.{number}: until is {stage.until}, but no dev item of pack {pack.name!r} "
                "says which sentence teaches it (`taught`); drop until"
            )
    return pack


def check_spec(spec: PipelineSpec) -> Pack:
    """The spec's pack, once everything the spec needs is known to be there.

    Raises what check_data raises, SpecError when a stage cannot be trained by these processes on
    this machine or not be reported as it says, and MergeError when the models cannot be merged so.
    """
    pack = check_data(spec)
    check_reporter(spec.report_to)
    for number, stage in enumerate(spec.stages):
        memory.shares(stage, processes.count(), f"stages.{number}: ")
        if stage.until is not None and processes.count() > 1:
            raise SpecError(
                f"stages.{number}: until is for one process, and there are {processes.count()}; "
                "drop it"
            )
    memory.check_four_bit(spec.stages)
    if spec.merge:  # what trains from the start model has its shape and tokenizer
        check_recipe(
            Recipe(
                spec.merge.general or spec.model,
                spec.model,
                spec.merge,
                places={"t": "merge.t", "ancestor": "merge.ancestor", "general": "merge.general"},
            )
        )
    return pack


def run_spec(
    spec: PipelineSpec,
    *,
    store: Store | None = None,
    progress: Callable | None = None,
    watch: Callable | None = None,
    log_jsonl: Path | None = None,
) -> list[Checkpoint]:
    """Train the stages of a spec in order, then merge; returns one checkpoint per stage and merge.

    Finished stages are read from the store. Interrupting keeps every finished stage. progress:
    called with callbacks.Progress. watch: makes a probe for a stage from its kind and tokenizer;
    its looks are kept in the lineage under `probe`, in a checkpoint of its own beside the one
    without. A stage that is interrupted is saved first and goes on there; one that was killed goes
    on where it was last saved. log_jsonl: a file that gets a line of JSON for the start and the end
    of every stage and for each logged step (docs/spec.md); lines are added to an older log. Of
    several processes (docs/distributed.md) the first writes and tells, and all return the same.
    """
    from labkit.train.trainers import prepare_process

    prepare_process()
    spec = with_steps(spec)
    with processes.one_voice():
        processes.start()
        return _run_steps(spec, store, progress, watch, log_jsonl)


def _run_steps(
    spec: PipelineSpec,
    store: Store | None,
    progress: Callable | None,
    watch: Callable | None,
    log: Path | None,
) -> list[Checkpoint]:
    store, pack = store or Store(), check_spec(spec) if processes.is_main() else None
    if processes.is_main():
        check_log(log)
    processes.wait()  # a model that is fetched or unpacked is there when the others look
    pack = pack or check_spec(spec)
    made: list[Checkpoint] = []
    start = _fingerprint_of(spec.model) if spec.stages else None
    stages = itertools.count(1)
    for number, step in enumerate(spec.steps, 1):
        name = f"{pack.name}/{spec.model}/{trail_of(spec.steps[:number])}"
        previous = made[-1] if made else None
        if isinstance(step, Merge):
            made.append(_run_merge(spec, step, previous, name, store))
        else:
            parent = previous.key if previous else start
            seen = progress, watch, log, next(stages)
            made.append(_run_stage(spec, step, pack, previous, parent, name, store, *seen))
    return made


def _fingerprint_of(name: str) -> str:
    """What identifies a start model's weights, without loading them.

    Raises InputError when there is no such model.
    """
    return processes.from_main(
        zoo.fingerprint_of(zoo.model_folder(name)) if processes.is_main() else None
    )


def _run_stage(
    spec, stage, pack, previous, parent, name, store, progress, watch, log, number
) -> Checkpoint:
    steps = steps_run(stage, spec.profile)
    ran = stage.model_copy(update={"steps": steps})
    key = key_of(
        recipe=RECIPE_VERSION,
        stage=ran.model_dump(mode="json", exclude_defaults=True, exclude=SHARING),
        parent=parent,
        data=pack.fingerprint(*stage_splits(stage)),
        seed=spec.seed,
        versions=versions(),
        **({"probed": getattr(watch, "key", True)} if watch else {}),
        **({"tried": pack.fingerprint("dev")} if stage.until else {}),
        # once long texts were cut; the invented packs have none beyond so many tokens
        **({"pieces": True} if stage.kind == "cpt" and _has_pieces(stage, pack) else {}),
    )

    report = _report(spec, ran, pack, store, log, number=number, name=name, key=key)

    def make(folder: Path | None) -> dict:
        from labkit.train.trainers import import_libraries

        import_libraries()
        loaded, base = _start_of(ran, str(previous.folder) if previous else spec.model)
        probe = watch(ran.kind, loaded.tokenizer) if watch else None
        # processes that share a model would have to look together
        alone = processes.count() == 1
        recall = exposure.recall_of(ran, pack, loaded.tokenizer) if alone else None
        with zoo.library_errors(ran.kind):
            result = train_stage(
                ran,
                loaded,
                pack,
                seed=spec.seed,
                progress=progress,
                probe=probe,
                partial=Partial(store.partial(key)),
                stop=stop,
                base=base,
                recall=recall,
                report=report,
            )
        if folder:
            save_model(result.model, loaded.tokenizer, folder)
        return {
            "name": name,
            "spec": spec.model_dump(mode="json", exclude={"report_to"}),
            "stage": ran.model_dump(mode="json"),
            "parent": parent,
            "data": pack.fingerprint(*stage_splits(stage)),
            **({"personal": pack.personal} if pack.personal else {}),
            "seed": spec.seed,
            "versions": versions(),
            "wall_seconds": result.wall_seconds,
            "tokens": result.tokens,
            "rows": result.rows.as_json(),
            "loss_curve": result.loss_curve,
            "metrics": result.metrics,
            "steps": result.steps,
            **({"reads": result.reads} if result.reads else {}),
            **({"recall": recall.as_json()} if recall else {}),
            **({"probe": probe.as_rows()} if probe else {}),
        }

    with Stop(ran.kind) as stop:
        with report.around():
            made = _made_together(store, key, make, follow=lambda: make(None))
        report.end(made)
        return made


def _report(
    spec: PipelineSpec, stage: Stage, pack: Pack, store: Store, log: Path | None, **about: Any
) -> Report:
    """What a stage tells while it runs, in the first process. Other programs get no path."""
    first = processes.is_main()
    model = Path(spec.model).name if Path(spec.model).is_dir() else spec.model
    trail = about["name"].rsplit("/", 1)[1]
    return Report(
        {"stage": stage.kind, **about},
        f"{pack.name}/{model}/{trail}/{about['key']}",
        {"stage": stage.model_dump(mode="json", exclude_defaults=True), "seed": spec.seed},
        store.root.parent,
        to=spec.report_to if first else None,
        log=log if first else None,
    )


def _has_pieces(stage: Stage, pack: Pack) -> bool:
    return not pack.invented or stage.max_length <= LONGEST_INVENTED


def _start_of(stage: Stage, name: str) -> tuple[zoo.Loaded, Path | None]:
    """The model a stage starts from, held as it is trained (memory.py); and the folder of the base
    that its adapters are merged into, when that is not what they are trained on.
    """
    zoo.quiet()
    if not memory.lowered(stage):
        loaded = zoo.load(name)
        zoo.check_head(loaded.model, name)
        return loaded, zoo.model_folder(name) if stage.lora and processes.sharded() else None
    folder = zoo.model_folder(name)
    tokenizer = zoo.tokenizer_of(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # as zoo.load does
    model = memory.load_lowered(folder, stage)
    zoo.check_head(model, name)
    return zoo.Loaded(model, tokenizer, name, zoo.fingerprint_of(folder)), folder


def _made_together(
    store: Store,
    key: str,
    make: Callable[[Path], dict],
    *,
    follow: Callable[[], object] = lambda: None,
) -> Checkpoint:
    """Store.get_or_make for any number of processes: the first asks the store and writes, and all
    get the checkpoint.

    follow: what each other process does while the first one makes it. Raises StoreError when a
    process cannot see what the first one wrote.
    """
    if processes.count() == 1:
        return store.get_or_make(key, make)
    if processes.is_main():
        calls = []

        def leading(folder: Path) -> dict:
            calls.append(processes.from_main(True))
            return make(folder)

        store.get_or_make(key, leading)
        if not calls:
            processes.from_main(False)
    elif processes.from_main(None):
        follow()
    processes.wait()
    found = store.find(key)
    if found is None:
        raise StoreError(
            f"{store.root}: process {processes.rank()} does not see the checkpoint that "
            "the first one wrote; LABKIT_HOME must be a folder all machines share"
        )
    return found


def train_stage(
    stage: Stage, loaded: zoo.Loaded, pack: Pack, *, seed: int, **how: Any
) -> TrainResult:
    """Train one stage on a pack's data. The loaded model is used up. how: see trainers.Run."""
    from labkit.train import trainers

    model, tokenizer = loaded.model, loaded.tokenizer
    mixed_in = RowCount()
    counted = RowCount([place for split in stage_splits(stage) for place in pack.places(split)])
    common: dict[str, Any] = {"seed": seed, "counted": counted, **how}
    if stage.kind in PREFERENCE_STAGES:
        fit = trainers.train_dpo if stage.kind == "dpo" else trainers.train_orpo
        return fit(stage, model, tokenizer, pack.rows("preferences"), **common)
    replayed = round(stage.steps * stage.batch_size * stage.replay)
    replay = (
        zoo_build.general_rows(
            tokenizer,
            replayed,
            1000 + seed,
            max_length=min(CONTEXT, zoo.learned_positions(model) or CONTEXT),
            counted=mixed_in,
        )
        if replayed
        else []
    )
    if stage.kind == "cpt":
        texts = [text_of(row) for split in stage.sources for row in pack.rows(split)]
        result = trainers.train_cpt(stage, model, tokenizer, texts, replay=replay, **common)
    else:
        chats = [row["messages"] for row in pack.rows("qa")]
        result = trainers.train_sft(stage, model, tokenizer, chats, replay=replay, **common)
    result.rows.add(mixed_in)
    return result


def _run_merge(
    spec: PipelineSpec, merge: Merge, domain: Checkpoint | None, name: str, store: Store
) -> Checkpoint:
    """Join the last checkpoint (or the start model) with the general model."""
    recipe = Recipe(
        merge.general or spec.model, str(domain.folder) if domain else spec.model, merge
    )
    return merge_checkpoints(recipe, name=name, store=store)


def merge_checkpoints(recipe: Recipe, *, name: str, store: Store) -> Checkpoint:
    """The merge a recipe describes, as a checkpoint of the store.

    Raises MergeError when the models do not match.
    """
    from labkit.merge.methods import ARITHMETIC_VERSION

    key = key_of(
        recipe=RECIPE_VERSION,
        arithmetic=ARITHMETIC_VERSION,
        merge=recipe.merge.model_dump(mode="json"),
        parents=[zoo.fingerprint_of(folder) for folder in parents_of(recipe) if folder],
    )

    def make(folder: Path) -> dict:
        began = time.perf_counter()
        _merge_into(folder, recipe, None)
        return {
            "name": name,
            "merge": recipe.merge.model_dump(mode="json"),
            "general": recipe.general,
            "domain": recipe.domain,
            "versions": versions(),
            "wall_seconds": time.perf_counter() - began,
        }

    return _made_together(store, key, make)


def merge_to_folder(
    recipe: Recipe, output: Path, *, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The merge a recipe describes, in a new folder: all of it or nothing.

    Raises MergeError, InputError, StoreError.
    """
    if output.exists():
        raise InputError(f"{output} exists already; name a new folder")
    return write_whole(output, lambda draft: _merge_into(draft, recipe, progress))


def parents_of(recipe: Recipe) -> tuple[Path, Path, Path | None]:
    """The folders of the general and the domain model and of their ancestor, where one is named.

    Raises MergeError naming the place in the recipe when there is no such model.
    """

    def folder_of(what: str, name: str) -> Path:
        try:
            return zoo.model_folder(name)
        except InputError as error:
            raise recipe.blame(what, error) from None

    general, domain = folder_of("general", recipe.general), folder_of("domain", recipe.domain)
    ancestor = recipe.merge.ancestor
    return general, domain, folder_of("ancestor", ancestor) if ancestor else None


def check_recipe(recipe: Recipe) -> tuple[Path, Path, Path | None]:
    """The folders of a recipe whose models can be merged by it.

    Raises MergeError saying what stands in the way.
    """
    from labkit.merge import stream

    general, domain, ancestor = parents_of(recipe)
    config, tokenizer = zoo.config_of(general), zoo.tokenizer_of(general)
    for folder, other in ((domain, "domain"), (ancestor, "ancestor")):
        if folder:
            guards.check_configs(config, zoo.config_of(folder), other=other)
            guards.check_tokenizers(tokenizer, zoo.tokenizer_of(folder), other=other)
    layers = getattr(config, "num_hidden_layers", recipe.layers)
    if recipe.layers not in (None, layers):
        raise recipe.blame(
            "layers",
            MergeError(
                f"layer_range ends at {recipe.layers}, but the models have {layers} "
                "layers: take all of them"
            ),
        )
    try:
        resolve(
            recipe.merge.t, stream.stored(general).signatures, extrapolate=recipe.merge.extrapolate
        )
    except MergeError as error:
        raise recipe.blame("t", error) from None
    return general, domain, ancestor


def _merge_into(draft: Path, recipe: Recipe, progress: Callable[[int, int], None] | None) -> None:
    """Check two models against each other, then stream their merge into a folder, with its recipe
    and card.
    """
    from labkit.merge import stream

    general, domain, ancestor = check_recipe(recipe)
    stream.merge_folders(general, domain, draft, recipe.merge, ancestor=ancestor, progress=progress)
    if recipe.merge.method in THEIR_METHOD:
        (draft / "mergekit_config.yml").write_text(recipe_text(recipe), "utf-8")
    (draft / "README.md").write_text(merge_card(recipe), "utf-8")


def save_model(model, tokenizer, folder: Path) -> None:
    """Weights (safetensors), config, generation config and tokenizer, for transformers to read."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def design_of(spec: PipelineSpec) -> str:
    """All that a design's trained weights follow from, as a hash: model, stages, seed, and what the
    pack's files hold. Versions of libraries are not in it.
    """
    pack = load_pack(spec.pack)
    return key_of(
        model=spec.model,
        stages=[stage.model_dump(mode="json") for stage in spec.stages],
        seed=spec.seed,
        data=pack.fingerprint(*(split for stage in spec.stages for split in stage_splits(stage))),
    )


def shipped(spec: PipelineSpec) -> Checkpoint | None:
    """The adapter that ships with labkit and is what a design gives, with its lineage; None where
    there is none.
    """
    if spec.merge or profile(spec.profile).step_share < 1:
        return None
    design = design_of(spec)
    for name in zoo.shipped_adapters():
        file = samples_folder("adapters") / name / LINEAGE
        if not file.is_file():
            continue
        lineage = json.loads(file.read_text("utf-8"))
        if lineage["design"] == design:
            return Checkpoint(file.parent, lineage)
    return None


def load_checkpoint(name: str | Checkpoint) -> zoo.Loaded:
    """A model by zoo name, folder, hub id, or a Checkpoint.

    Raises InputError when it cannot be loaded.
    """
    if isinstance(name, Checkpoint):
        loaded = zoo.load(str(name.folder))
        return zoo.Loaded(loaded.model, loaded.tokenizer, name.name, loaded.fingerprint)
    if not name:
        raise InputError("no model was named; give a zoo name, a folder or a hub id")
    return zoo.load(name)
