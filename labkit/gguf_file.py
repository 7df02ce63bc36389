"""GGUF for llama.cpp, written by llama.cpp's own converter; labkit ships none of its code.

The converter is `convert_hf_to_gguf.py` of a llama.cpp checkout, run with this Python (docs/serving.md says where to get it).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from labkit.errors import InputError

SCRIPT = "convert_hf_to_gguf.py"
OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
GET_IT = "docs/serving.md says how to get llama.cpp's converter"
UNREAD = "llama.cpp has no tokenizer that reads text as this model's does"


def find_converter(given: Path | None = None) -> Path:
    """llama.cpp's converter: the script that was given, or the one on PATH. Raises InputError when there is none."""
    if given is not None:
        if not given.is_file():
            raise InputError(f"--converter {given}: no such file; give the path of llama.cpp's {SCRIPT}; {GET_IT}")
        return given
    found = shutil.which(SCRIPT, mode=0)  # it is read by Python, so it need not be executable
    if not found:
        raise InputError(f"--gguf needs llama.cpp's {SCRIPT}: give it with --converter or put it on PATH; {GET_IT}")
    return Path(found)


def check_tokenizer(folder: Path) -> None:
    """Raises InputError when llama.cpp would read other tokens than the model was trained on.

    Byte-level BPE is left to the converter, which knows its kinds by a hash and refuses others. For any other BPE it writes
    a SentencePiece vocabulary and asks nothing, so what that cannot do is refused here: with it the file would be written,
    and the model would answer something else.
    """
    path = folder / "tokenizer.json"
    if (folder / "tokenizer.model").is_file() or not path.is_file():
        return
    tokenizer = json.loads(path.read_text("utf-8"))
    steps = list(_steps(tokenizer.get("pre_tokenizer")))
    if tokenizer["model"]["type"] != "BPE" or any(step["type"] == "ByteLevel" for step in steps):
        return
    strange = [step["type"] for step in steps if step["type"] != "Metaspace"]
    strange += [step["type"] for step in _steps(tokenizer.get("normalizer")) if step["type"] != "Prepend" and step.get("pattern") != {"String": " "}]
    if strange:
        raise InputError(f"{folder.name}: {UNREAD} ({', '.join(dict.fromkeys(strange))}), so a GGUF file would answer differently; serve it with transformers, or start from a model such as smollm2-135m-instruct")


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
    command = [sys.executable, str(converter), str(folder), "--outfile", str(file), "--outtype", OUTTYPES[dtype]]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "pre-tokenizer was not recognized" in done.stderr:
        raise InputError(f"{folder.name}: {UNREAD}: the converter does not recognise its pre-tokenizer; leave out --gguf and serve it with transformers")
    if done.returncode or not file.is_file():
        words = (done.stderr.strip() or done.stdout.strip() or "it wrote no file").splitlines()[-1][:300]
        raise InputError(f"{converter.name} stopped: {words}; {GET_IT}, with the rest of llama.cpp beside it")
