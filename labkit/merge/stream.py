"""Merging from folder to folder, tensor by tensor: memory for a few of the largest tensors,
whatever the size.

Reads and writes safetensors, sharded or not. Tensors are mapped from disk one at a time; the merged
file's header is known beforehand, so results are appended as they are made.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from labkit.base.errors import InputError, MergeError, StoreError
from labkit.merge.guards import Layout, Signature, layout_of, match_tensors, wrapper_of
from labkit.merge.methods import find_method, measure, same, weighted_sum
from labkit.merge.recipes import Merge
from labkit.merge.schedule import resolve
from labkit.models import zoo

if TYPE_CHECKING:
    import torch
    from torch import Tensor


SHARD_BYTES = 5 * 10**9  # Hugging Face's usual shard
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
COPIED = (".json", ".jinja", ".model", ".txt")  # config and tokenizer; code is never copied
OWN_TO_A_MODEL = ("lineage.json", "adapter_config.json", "trainer_state.json")
TORCH_NAMES = {
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
CODES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Stored:
    """Where each tensor of a model folder lies, and its shape and dtype; nothing is read yet."""

    files: dict[str, Path]
    signatures: dict[str, Signature]

    def read(self, name: str) -> Tensor:
        """One tensor, mapped from disk; its memory is given back when it is dropped."""
        with safe_open(self.files[name], "pt") as file:
            return file.get_tensor(name)


def stored(folder: Path) -> Stored:
    """The tensors of a Hugging Face folder.

    Raises InputError when there is no safetensors file, when one is broken, or a shard of the index
    is missing.
    """
    paths = weight_files(folder)
    files: dict[str, Path] = {}
    found: dict[str, Signature] = {}
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no mapping)
                    part = file.get_slice(name)
                    files[name] = path
                    found[name] = Signature(
                        tuple(part.get_shape()), _readable(part.get_dtype(), name, path)
                    )
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: this safetensors file is broken ({error}); copy or download it again"
            ) from None
    missing = [name for name in indexed_names(folder, paths) if name not in files]
    if missing:
        raise InputError(
            f"{folder / INDEX} names the tensor {missing[0]}, which no shard holds; "
            "copy or download the model again"
        )
    if not files:
        raise InputError(
            f"{folder}: the .safetensors file holds no tensor; copy or download the model again"
        )
    return Stored(files, found)


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder, as transformers chooses them: `model.safetensors`, else the
    shards of the index.

    Raises InputError when there are none, or a shard of the index is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        shards = sorted({shard for shard in read_index(folder).values() if isinstance(shard, str)})
        for shard in shards:
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise InputError(
                    f"{folder / INDEX} names {shard}, which is not in the folder; copy "
                    "or download it again"
                )
        return [folder / shard for shard in shards]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise InputError(
            f"{folder}: no .safetensors file; labkit reads no other weight format, convert it first"
        )
    if len(found) > 1:
        raise InputError(
            f"{folder}: {len(found)} .safetensors files and no {INDEX} that says which "
            "belong together; add it"
        )
    return found


def read_index(folder: Path) -> dict[str, str]:
    """Tensor -> shard, from the index. Raises InputError when it cannot be read."""
    try:
        return dict(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder / INDEX}: this is no index of shards; copy or download it again"
        ) from None


def indexed_names(folder: Path, paths: list[Path]) -> list[str]:
    """The tensors that the index promises; none where it is not used."""
    return (
        []
        if (folder / SINGLE) in paths or not (folder / INDEX).is_file()
        else list(read_index(folder))
    )


def check_copied_head(folder: Path, tensors: Stored) -> None:
    """Raises MergeError when a model that calls its embeddings tied stores another head beside
    them.
    """
    layout = layout_in(folder)
    wrapper = wrapper_of(tensors.signatures)
    names = {layout.called(name.removeprefix(wrapper)): name for name in tensors.files}
    for head, embeddings in layout.tied.items():
        if (
            head in names
            and embeddings in names
            and not tensors.read(names[head]).equal(tensors.read(names[embeddings]))
        ):
            raise MergeError(
                f"{folder}: config.json says the embeddings are tied, but {names[head]} differs "
                "from them; set tie_word_embeddings to false in config.json if the head was trained"
            )


def may_store_tied_head(folder: Path, tensors: Stored) -> bool:
    """Whether a model calls its embeddings tied and stores two tensors of their shape."""
    if not (folder / "config.json").is_file():
        return False
    config = zoo.config_of(folder)
    text = config.get_text_config()
    if not any(getattr(part, "tie_word_embeddings", True) for part in (config, text)):
        return False
    shapes = Counter(tensor.shape for tensor in tensors.signatures.values())
    rows = getattr(text, "vocab_size", None)
    return any(n > 1 and len(shape) == 2 and shape[0] == rows for shape, n in shapes.items())


def layout_in(folder: Path) -> Layout:
    """What transformers knows of the tensors in a folder; nothing without a config.json.

    Raises MergeError for a config that describes no model.
    """
    if not (folder / "config.json").is_file():
        return Layout()
    config = zoo.config_of(folder)
    try:
        return layout_of(config)
    except Exception as error:  # a model's code raises anything for a field it cannot use
        raise MergeError(
            f"{folder}: transformers cannot build the model that config.json describes "
            f"({type(error).__name__}: {error}); copy or export the model again"[:400]
        ) from error


def _readable(code: str, name: str, path: Path) -> str:
    if code not in CODES and code not in TORCH_NAMES:
        raise InputError(
            f"{path}: {name} is stored as {code}, which cannot be merged; convert the "
            "model to bfloat16 first"
        )
    return CODES.get(code, code)


# --- writing ------------------------------------------------------------------------------------


def shards(names: list[str], sizes: Mapping[str, int], limit: int = SHARD_BYTES) -> list[list[str]]:
    """Names in order, cut where a shard would grow over `limit` bytes."""
    cut: list[list[str]] = [[]]
    held = 0
    for name in names:
        if cut[-1] and held + sizes[name] > limit:
            cut.append([])
            held = 0
        cut[-1].append(name)
        held += sizes[name]
    return cut


def header(names: list[str], planned: Mapping[str, Signature], sizes: Mapping[str, int]) -> bytes:
    """The head of a safetensors file (github.com/huggingface/safetensors, Format): its length, then
    JSON.
    """
    codes = {dtype: code for code, dtype in CODES.items()}
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in names:
        kind = planned[name].dtype
        entries[name] = {
            "dtype": codes.get(kind, kind),
            "shape": list(planned[name].shape),
            "data_offsets": [at, at + sizes[name]],
        }
        at += sizes[name]
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def merge_folders(
    general: Path,
    domain: Path,
    output: Path,
    merge: Merge,
    *,
    ancestor: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Merge two model folders into the existing folder `output`: weights, and the general model's
    other files.

    ancestor: a third folder, for task-vector methods. progress: called with (bytes written, bytes
    in all). Raises MergeError or InputError when they do not match, StoreError when the disk cannot
    hold the result.
    """
    first, second = stored(general), stored(domain)
    origin = stored(ancestor) if ancestor and find_method(merge.method).on_task_vectors else None
    folders = {general: first, domain: second} | ({ancestor: origin} if ancestor and origin else {})
    layout = Layout()
    if any(may_store_tied_head(folder, tensors) for folder, tensors in folders.items()) or (
        len({frozenset(tensors.files) for tensors in folders.values()}) > 1
    ):  # building the model that a config describes takes seconds
        layout = layout_in(general)
        for folder, tensors in folders.items():
            check_copied_head(folder, tensors)
    names = match_tensors(first.signatures, second.signatures, layout=layout)
    origins = (
        match_tensors(first.signatures, origin.signatures, layout=layout, other="ancestor")
        if origin
        else {}
    )
    ts = resolve(merge.t, names, extrapolate=merge.extrapolate)
    planned = {
        name: _result(name, first.signatures[a], second.signatures[b], merge.dtype)
        for name, (a, b) in names.items()
    }
    sizes = {
        name: math.prod(tensor.shape) * _torch_dtype(tensor.dtype).itemsize
        for name, tensor in planned.items()
    }
    total = sum(sizes.values())
    _enough_room(output, total)

    def make(name: str, out: Tensor) -> None:
        a, b = first.read(names[name][0]), second.read(names[name][1])
        c = origin.read(origins[name][1]) if origin else None
        _merge_tensor(name, a, b, c, ts[name], merge.method, out)

    rooms, groups = _rooms(max(sizes.values())), shards(list(names), sizes, shard_bytes)
    written = 0
    where: dict[str, str] = {}
    for number, group in enumerate(groups, start=1):
        file_name = (
            SINGLE if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        )
        where |= dict.fromkeys(group, file_name)
        with (output / file_name).open("wb") as file, ThreadPoolExecutor(1) as writer:
            before = writer.submit(file.write, header(group, planned, sizes))
            for name in group:
                out = _shaped(next(rooms)[: sizes[name]], planned[name])
                make(name, out)
                before.result()  # one tensor is merged while the one before it is written
                before = writer.submit(file.write, _raw(out))
                written += sizes[name]
                if progress:
                    progress(written, total)
            before.result()
    if len(groups) > 1:
        (output / INDEX).write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=1), "utf-8"
        )
    _copy_rest(general, output, {tensor.dtype for tensor in planned.values()})


def _merge_tensor(
    name: str, a: Tensor, b: Tensor, c: Tensor | None, t: float, method: str, out: Tensor
) -> None:
    if not a.is_floating_point():
        out.copy_(same(name, a, b))
        return
    try:
        pair = measure(a, b, c)
        weighted_sum(a, b, pair, find_method(method).weights(pair, t), out, c)
    except MergeError as error:
        raise MergeError(f"{name}: {error}") from None


def _rooms(largest: int) -> Iterator[Tensor]:
    """Two rooms for merged tensors, in turn, taken once: memory given back and asked for anew would
    not all come back.
    """
    import torch

    return itertools.cycle([torch.empty(largest, dtype=torch.uint8) for _ in range(2)])


def _shaped(room: Tensor, planned: Signature) -> Tensor:
    """Raw bytes seen as a tensor of the planned dtype and shape."""
    return room.view(_torch_dtype(planned.dtype)).view(planned.shape)


def _raw(tensor: Tensor) -> memoryview:
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


def _result(name: str, first: Signature, second: Signature, dtype: str | None) -> Signature:
    import torch

    whole = [signature.dtype not in CODES.values() for signature in (first, second)]
    if any(whole):
        if first.dtype != second.dtype:
            raise MergeError(
                f"{name} is stored as {first.dtype} in the general model and "
                f"{second.dtype} in the domain model"
            )
        return first
    wider = torch.promote_types(getattr(torch, first.dtype), getattr(torch, second.dtype))
    return Signature(first.shape, dtype or str(wider).removeprefix("torch."))


def _torch_dtype(name: str) -> torch.dtype:
    import torch

    return getattr(torch, TORCH_NAMES.get(name, name))


def _enough_room(output: Path, needed: int) -> None:
    free = shutil.disk_usage(output).free
    if free < needed:
        raise StoreError(
            f"{output.parent}: the disk is full: the merge needs {needed / 1e6:,.1f} MB "
            f"and {free / 1e6:,.1f} MB are free; "
            "free some space or choose another folder"
        )


def _copy_rest(general: Path, output: Path, dtypes: set[str]) -> None:
    """Config, tokenizer and whatever else the general model's folder holds beside weights."""
    for path in _others(general):
        shutil.copyfile(path, output / path.name)
    floats = dtypes & set(CODES.values())
    path = output / "config.json"
    if path.is_file() and len(floats) == 1:
        config = json.loads(path.read_text("utf-8"))
        (dtype,) = floats
        config["dtype"] = dtype
        _set_dtype(config, dtype)
        path.write_text(json.dumps(config, indent=2), "utf-8")


def _set_dtype(config: dict, dtype: str) -> None:
    """Write a dtype wherever a config names one: older readers look for `torch_dtype`, and configs
    of several parts name one for each.
    """
    for key, value in config.items():
        if key in ("dtype", "torch_dtype"):
            config[key] = dtype
        elif isinstance(value, dict):
            _set_dtype(value, dtype)


def _others(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        wanted = (
            path.suffix in COPIED
            and not path.name.endswith(".index.json")
            and path.name not in OWN_TO_A_MODEL
        )
        if (
            path.is_file()
            and not path.name.startswith(".")
            and (wanted or path.name.startswith("LICENSE"))
        ):
            yield path
