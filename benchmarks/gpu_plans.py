"""The ready specs of data_samples/specs planned on GPUs: the tables of docs/gpu.md.

No GPU is needed, nothing is trained.

    python benchmarks/gpu_plans.py            # print the tables
    python benchmarks/gpu_plans.py --write    # and write them into docs/gpu.md

--write measures first what tokens are estimated by.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from labkit.base.store import write_file
from labkit.data.packs import load_pack, samples_folder, shipped_packs
from labkit.data.world import DOMAINS
from labkit.design.planner import digits, duration, gpu, gpus, plan_spec
from labkit.design.planner_memory import measure_ratio, measure_words
from labkit.design.preflight import disk
from labkit.models import zoo
from labkit.train.specs import load_spec

PAGE, START, END = (
    Path(__file__).parent.parent / "docs" / "gpu.md",
    "<!-- planned -->",
    "<!-- end -->",
)
CARD = "H100"
COUNTS = (1, 8)  # cards of one kind that a spec is planned on
SIZES = ("smollm-1.7b", "mistral-7b", "llama-3.1-8b")
METHODS = ("full", "lora", "qlora")


def measured_ratio() -> dict:
    """Characters per token with SmolLM2's tokenizer on the packs of the invented world, and tokens
    per word of every shipped pack's raw text.
    """
    packs, tokenizer = sorted(DOMAINS), zoo.smollm2_tokenizer()
    found = measure_ratio(map(load_pack, packs), tokenizer)
    words = measure_words(map(load_pack, shipped_packs()), tokenizer)
    return {
        "tokenizer": zoo.SMOLLM2,
        "packs": packs,
        **{key: round(value, 2) for key, value in found.items()},
        "tokens_per_word": {name: round(value, 2) for name, value in words.items()},
    }


def tables() -> str:
    """One row per spec, as Markdown."""
    heads = (
        "spec",
        "GiB of one GPU, this pack's rows",
        "GiB, rows filled to max_length",
        f"the same on {COUNTS[1]} GPUs",
        "smallest card for this pack",
        "smallest for filled rows",
        f"time on {CARD}s",
        "checkpoints on disk",
    )
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *(row(f"{size}-{method}") for size in SIZES for method in METHODS)])


def row(name: str) -> str:
    spec, card = load_spec(samples_folder("specs") / f"{name}.yaml"), gpu(CARD)
    one, many = (
        plan_spec(spec, card=card, gpus=count) if shared(spec, count) else None for count in COUNTS
    )
    filled = [
        max(stage.filled_gib for stage in found.stages) if found else None for found in (one, many)
    ]
    runs = one if one.fits(card) or many is None else many
    times = f"{duration(runs.seconds)} on {runs.gpus}"
    cells = (
        f"`{name}`",
        f"{one.peak_gib:.1f}",
        f"{filled[0]:.1f}",
        "" if filled[1] is None else f"{filled[1]:.1f}",
        smallest(one.peak_gib),
        smallest(filled[0]),
        times,
        f"{digits(disk(spec).kept_gib)} GiB",
    )
    return f"| {' | '.join(cells)} |"


def shared(spec, count: int) -> bool:
    """Whether so many GPUs can share every step evenly."""
    return not any(stage.batch_size % count for stage in spec.stages)


def smallest(needed_gib: float) -> str:
    return next(
        (name for name, card in gpus().items() if card.usable_gib >= needed_gib), "none: several"
    )


def main() -> None:
    if "--write" not in sys.argv[1:]:
        print(tables())
        return
    write_file(
        samples_folder("measured") / "tokens.json", json.dumps(measured_ratio(), indent=1) + "\n"
    )
    before, rest = PAGE.read_text("utf-8").split(START)
    write_file(PAGE, f"{before}{START}\n{tables()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
