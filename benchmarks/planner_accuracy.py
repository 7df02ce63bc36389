"""Predicted against measured: peak memory and seconds per step, on this machine's tiny models and
on SmolLM2-135M.

    python benchmarks/planner_accuracy.py    # about six minutes on two idle cores

Each model is probed at two settings, and again for each preference stage; every row of the table is
another setting, predicted from these two, one of them beyond both. Writes
data_samples/measured/planner.json, which notebook 08 shows, and the table in docs/cost.md.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.base.store import write_file
from labkit.course.labs.views import setting
from labkit.data.packs import samples_folder
from labkit.design.planner_memory import peak_memory
from labkit.design.planner_speed import (
    TEXT,
    measure,
    own_training,
    probe_stages,
    resident_memory,
    speed_from,
    step_seconds,
)
from labkit.models.architecture import architecture_of
from labkit.train.specs import Lora, Stage

LARGE = "smollm2-135m-instruct"
TINY_STEPS, LARGE_STEPS, ALIVE_STEPS = 20, 4, 2
SETTINGS = {  # model -> stage, rows or pairs per step, tokens per row, rank of LoRA
    "llama-s-instruct": [
        ("cpt", 32, 80, None),
        ("sft", 16, 96, None),
        ("cpt", 32, 96, 16),
        ("dpo", 16, 64, None),
        ("orpo", 16, 64, None),
        ("cpt", 64, 128, None),
    ],
    "mistral-s-instruct": [("cpt", 32, 80, None), ("sft", 16, 96, None)],
    "smollm-s-instruct": [("cpt", 32, 80, None), ("sft", 16, 96, None)],
    LARGE: [("cpt", 8, 96, None), ("sft", 4, 96, None), ("cpt", 4, 128, 16)],
}
BAR = 0.15
PAGE, START, END = (
    Path(__file__).parent.parent / "docs" / "cost.md",
    "<!-- measured -->",
    "<!-- end -->",
)
GIVE_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536"
}  # an allocator that returns at once what is freed, and is slower for it


@dataclass(frozen=True)
class Row:
    """One setting. alive_gib: the bytes of the step's tensors, predicted from the config alone."""

    model: str
    stage: str
    rows: int
    length: int
    rank: int | None
    predicted_gib: float
    measured_gib: float
    predicted_seconds: float
    measured_seconds: float
    alive_gib: float
    measured_alive_gib: float | None


def row_of(model: str, architecture, speed, setting: tuple, *, alive: bool) -> Row:
    kind, rows, length, rank = setting
    steps = LARGE_STEPS if model == LARGE else TINY_STEPS
    stage = Stage(
        kind=kind,
        learning_rate=1e-6,
        steps=steps,
        batch_size=rows,
        max_length=length,
        lora=Lora(rank=rank) if rank else None,
    )
    training = own_training(stage, architecture, length)
    found = measure(model, stage)
    returned = (
        measure(
            model, stage.model_copy(update={"steps": ALIVE_STEPS}), environment=GIVE_BACK
        ).peak_gib
        if alive
        else None
    )
    return Row(
        model,
        kind,
        rows,
        length,
        rank,
        resident_memory(architecture, training, speed).peak_gib,
        found.peak_gib,
        step_seconds(architecture, training, speed),
        found.seconds,
        peak_memory(architecture, training).peak_gib,
        returned,
    )


def probed(model: str, architecture, kind: str):
    """What two short trainings of a kind say of this machine, as `probe_speed` does without keeping
    it.
    """
    speed = speed_from(
        architecture,
        [
            (own_training(stage, architecture, stage.max_length), measure(model, stage))
            for stage in probe_stages(architecture, kind)
        ],
    )
    told = (
        f"{speed.fixed_seconds:.3f} s per step and {speed.flops_per_second / 1e9:.0f} "
        f"GFLOP/s; heap {speed.heap:.2f} and {speed.heap_gib:.2f} GiB"
    )
    print(f"{model}, {kind}: {told}", flush=True)
    return speed


def table() -> Iterator[Row]:
    for model, settings in SETTINGS.items():
        architecture, speeds = architecture_of(model), {}
        for number, chosen in enumerate(settings):
            kind = chosen[0] if chosen[0] in ("dpo", "orpo") else TEXT
            if kind not in speeds:
                speeds[kind] = probed(model, architecture, kind)
            yield row_of(model, architecture, speeds[kind], chosen, alive=number == 0)


def page(found: dict) -> str:
    """The table as Markdown."""
    heads = (
        "setting",
        "peak, predicted (GiB)",
        "measured",
        "off by",
        "step, predicted (s)",
        "measured",
        "off by",
        "alive, predicted (GiB)",
        "measured",
    )
    within = {
        key: sum(
            abs(row[f"predicted_{key}"] / row[f"measured_{key}"] - 1) <= BAR
            for row in found["rows"]
        )
        for key in ("gib", "seconds")
    }
    told = (
        f"Within {BAR:.0%}: {within['gib']} of {len(found['rows'])} peaks and "
        f"{within['seconds']} of {len(found['rows'])} times."
    )
    lines = [
        f"{found['machine']['cores']} cores, {found['machine']['system']}; load before: "
        f"{found['machine']['load']}. {told}",
        "",
    ]
    lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in found["rows"]:
        pairs = [(row[f"predicted_{key}"], row[f"measured_{key}"]) for key in ("gib", "seconds")]
        cells = [
            setting(row),
            *(
                cell
                for ours, theirs in pairs
                for cell in (f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs - 1:+.0%}")
            ),
        ]
        alive = row["measured_alive_gib"]
        cells += [f"{row['alive_gib']:.3f}", "" if alive is None else f"{alive:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    load = os.getloadavg()[0]
    if load > 0.5:
        print(
            f"note: other work is running (load {load:.1f}), so the times below are not "
            "this machine's"
        )
    rows = []
    for row in table():
        rows.append(asdict(row))
        print(
            f"{setting(rows[-1]):<34} {_pair(rows[-1], 'gib')} GiB   "
            f"{_pair(rows[-1], 'seconds')} s",
            flush=True,
        )
    machine = {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()} "
        f"{'-'.join(platform.libc_ver())}".strip(),
        "load": round(load, 2),
    }
    found = {"machine": machine, "rows": rows}
    write_file(samples_folder("measured") / "planner.json", json.dumps(found, indent=1) + "\n")
    before, rest = PAGE.read_text("utf-8").split(START)
    write_file(PAGE, f"{before}{START}\n{page(found)}\n{END}{rest.split(END)[1]}")


def _pair(row: dict, key: str) -> str:
    ours, theirs = row[f"predicted_{key}"], row[f"measured_{key}"]
    return f"{ours:7.3f} / {theirs:7.3f} ({ours / theirs - 1:+.0%})"


if __name__ == "__main__":
    main()
