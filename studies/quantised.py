"""What fewer bits cost: docs/quantised.md.

A model is exported, llama.cpp's own quantiser makes its GGUF files, and each file's weights are
read back into transformers and scored by labkit as any model is. That measures the rounding of the
weights, and nothing else: what llama.cpp rounds while it computes is not in it. Scorecards are
content-addressed: a stopped run continues.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.base.pages import signed
from labkit.base.records import AXES
from labkit.base.stats import Interval, holm, p_value
from labkit.base.store import file_hash, write_file
from labkit.data.packs import load_pack
from labkit.evaluate.scorecards import ItemResult, compare_axis
from labkit.evaluate.scoring import score_checkpoint
from labkit.models import zoo
from labkit.share.export import QUANTISATIONS, export, weight_types
from studies import page

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MEASURED = "quantised.json"
FLOAT = "float32"
# model -> the pack it is scored on: one as it comes, and one that was trained on this pack
MODELS = {
    zoo.SMOLLM2: "pubmedqa",
    "smollm2-135m-pubmedqa-gentle-cpt-sft": "pubmedqa",
}
SHOWN = (*AXES, "general")
BITS = {"F32": 32, "F16": 16, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_0": 5.5, "Q4_K": 4.5, "Q4_0": 4.5}


def run_quantised(
    measured: Path,
    say: Callable[[str], None],
    *,
    converter: Path | None,
    quantiser: Path | None,
    profile: str,
    models: Iterable[str] = MODELS,
) -> None:
    """Score every model in float32 and in every quantisation; each is written when it is done."""
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            export(
                model,
                out,
                gguf=True,
                converter=converter,
                quantisations=QUANTISATIONS,
                quantiser=quantiser,
                score=False,
                say=partial(_told, say, model),
            )
            (out / "model.safetensors").unlink()  # the float32 GGUF file has the same weights
            _score_files(model, out, measured / MEASURED, profile, say)


def _told(say: Callable[[str], None], model: str, step: str) -> None:
    say(f"{model}: {step}")


def _score_files(
    model: str, out: Path, record: Path, profile: str, say: Callable[[str], None]
) -> None:
    pack = load_pack(MODELS[model])
    tokenizer = zoo.tokenizer_of(out)
    cards = {}
    files = {FLOAT: out / "out-f32.gguf"} | {
        kind: out / f"out-{kind}.gguf" for kind in QUANTISATIONS
    }
    for kind, file in files.items():
        say(f"{model}: scoring {kind}")
        loaded = zoo.Loaded(read_back(file), tokenizer, f"{model} {kind}", file_hash(file))
        cards[kind] = score_checkpoint(loaded, pack, axes=SHOWN, profile_name=profile)
        del loaded
    rows: dict[str, dict] = {}
    for kind, file in files.items():
        differences = {axis: compare_axis(cards[FLOAT], cards[kind], axis) for axis in SHOWN}
        p = holm([p_value(found) for found in differences.values()])
        rows[kind] = {
            "bytes": file.stat().st_size,
            "weights": weight_types(file),
            "scores": {axis: vars(cards[kind].interval(axis)) for axis in SHOWN},
            "change": {} if kind == FLOAT else {a: vars(d) for a, d in differences.items()},
            "p": {} if kind == FLOAT else dict(zip(SHOWN, p, strict=True)),
            "answers_alike": _alike(cards[FLOAT].items, cards[kind].items),
        }
    kept = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    kept[model] = {"pack": pack.name, "profile": profile, "files": rows}
    write_file(record, json.dumps(kept, indent=1) + "\n")


def read_back(file: Path) -> PreTrainedModel:
    """A GGUF file's weights as a float32 model of transformers, each the number llama.cpp has."""
    import torch
    from transformers import AutoModelForCausalLM

    packed = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32
    )
    return packed.eval()


def _alike(before: Sequence[ItemResult], after: Sequence[ItemResult]) -> float:
    """The share of items that are answered in the same words."""
    other = {item.id: item.output for item in after}
    return sum(item.output == other[item.id] for item in before) / len(before)


# --- the page ---------------------------------------------------------------------------------


def write_page(measured: Path, page_file: Path) -> None:
    """docs/quantised.md, from what was measured so far."""
    data = json.loads((measured / MEASURED).read_text("utf-8"))
    parts = "\n\n".join(_part(model, found) for model, found in data.items())
    left = ", ".join(model for model in MODELS if model not in data) or "nothing"
    write_file(page_file, page("quantised").format(parts=parts, left=left))


def _part(model: str, found: dict) -> str:
    files = found["files"]
    lines = [
        f"### {model}, on the pack {found['pack']} (profile {found['profile']})",
        "",
        "| file | MB | bits a weight | weights by type | answers in the same words |",
        "|---|---|---|---|---|",
    ]
    for kind, row in files.items():
        weights = row["weights"]
        total = sum(weights.values())
        bits = sum(BITS[name] * count for name, count in weights.items()) / total
        types = ", ".join(
            f"{count / total:.0%} {name}"
            for name, count in weights.items()
            if count / total > 0.005
        )
        lines.append(
            f"| {kind} | {row['bytes'] / 1e6:.0f} | {bits:.1f} | {types} | "
            f"{row['answers_alike']:.0%} |"
        )
    kinds = [kind for kind in files if kind != FLOAT]
    lines += [
        "",
        f"| axis | items | {FLOAT} | "
        + " | ".join(f"{kind} minus {FLOAT}" for kind in kinds)
        + " |",
        "|---|---|---|" + "---|" * len(kinds),
    ]
    for axis in SHOWN:
        score = files[FLOAT]["scores"][axis]
        cells = [_change(files[kind], axis) for kind in kinds]
        lines.append(
            f"| {axis} | {score['n']} | {score['mean']:.2f} [{score['low']:.2f}, "
            f"{score['high']:.2f}] | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def _change(row: dict, axis: str) -> str:
    told = signed(Interval(**row["change"][axis]))
    return f"**{told}**" if row["p"][axis] <= 0.05 else told
