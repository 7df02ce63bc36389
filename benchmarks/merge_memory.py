"""Peak memory of a streamed merge of two large sharded checkpoints, each in a process of its own.

Run as: python benchmarks/merge_memory.py [GIGABYTES]. Generates two checkpoints of that size (by
default 2.2 GB each) in a temporary folder; needs three times as much disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

MEASURED = '''
import json, sys, time
from pathlib import Path
import torch, numkong

def peak_kb():
    """The most memory this process ever held; ru_maxrss would begin with its parent's."""
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

from labkit.merge import stream
from labkit.merge.recipes import Merge
before = peak_kb()
began = time.perf_counter()
stream.merge_folders(*map(Path, sys.argv[1:4]), Merge(t=0.4))
print(json.dumps([before, peak_kb(), time.perf_counter() - began]))
'''
HIDDEN, VOCABULARY, MLP, PER_SHARD = 2048, 64_000, 5632, 5


def write_checkpoint(folder: Path, gigabytes: float, seed: int) -> tuple[int, int]:
    """A sharded bfloat16 checkpoint in the shape of a llama; returns its bytes and those of its
    largest tensor.
    """
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir()
    shapes = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "lm_head.weight": (VOCABULARY, HIDDEN),
    }
    layer, size = 0, 2 * VOCABULARY * HIDDEN * 2
    while size < gigabytes * 1e9:
        for part, shape in (
            ("self_attn.q_proj", (HIDDEN, HIDDEN)),
            ("mlp.up_proj", (MLP, HIDDEN)),
            ("mlp.down_proj", (HIDDEN, MLP)),
        ):
            shapes[f"model.layers.{layer}.{part}.weight"] = shape
            size += 2 * shape[0] * shape[1]
        layer += 1
    names, where = list(shapes), {}
    count = -(-len(names) // PER_SHARD)
    for number in range(count):
        shard = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {
            name: torch.randn(shapes[name], generator=generator).bfloat16()
            for name in names[number * PER_SHARD : (number + 1) * PER_SHARD]
        }
        save_file(part, folder / shard, metadata={"format": "pt"})
        where |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": where})
    )
    return size, 2 * VOCABULARY * HIDDEN


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.2
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("a", "b", "out")]
        size, largest = next(
            write_checkpoint(folder, gigabytes, seed) for seed, folder in enumerate(folders[:2])
        )
        folders[2].mkdir()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *map(str, folders)],
            capture_output=True,
            text=True,
            check=True,
        )
        before, peak, seconds = json.loads(done.stdout)
    grown = (peak - before) * 1024
    print(
        f"2 x {size / 1e9:.2f} GB in shards, largest tensor {largest / 1e6:.0f} MB, "
        f"merged in {seconds:.1f} s"
    )
    print(
        f"peak RSS {peak / 1e3:.0f} MB, of which {before / 1e3:.0f} MB were there "
        f"before: {grown / 1e6:.0f} MB = {grown / largest:.1f} times the largest tensor"
    )


if __name__ == "__main__":
    main()
