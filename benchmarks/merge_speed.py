"""Merging: labkit against mergekit and against plain copying, and how fast a slider follows.

Run as: python benchmarks/merge_speed.py. mergekit is optional (pip install -e '.[peers]'); without
it only labkit and copying are timed. Two models of 135 million parameters: SmolLM2-135M-Instruct
and a noisy copy of it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from labkit.train import trainers

trainers.prepare_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from labkit.course.labs.merge_lab import Bench, MergeSession, setting_of  # noqa: E402
from labkit.data.packs import load_pack  # noqa: E402
from labkit.merge import stream  # noqa: E402
from labkit.merge.methods import Pairing, merge_into, own_tensors  # noqa: E402
from labkit.models import zoo  # noqa: E402
from labkit.train.specs import Merge  # noqa: E402

T, REPEATS, MOVES = 0.4, 5, 50
HAS_MERGEKIT = find_spec("mergekit") is not None


def best_of(
    run: Callable[[], object],
    repeats: int = REPEATS,
    *,
    before: Callable[[], object] = lambda: None,
) -> float:
    """Seconds of the fastest of several runs. before: called, untimed, ahead of each."""
    times = []
    for _ in range(repeats):
        before()
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def two_models(dtype: torch.dtype) -> tuple[dict, dict]:
    first = {
        name: tensor.to(dtype) for name, tensor in own_tensors(zoo.load(zoo.SMOLLM2).model).items()
    }
    torch.manual_seed(0)
    second = {
        name: (t.float() + 0.2 * t.float().std().nan_to_num(0) * torch.randn(t.shape)).to(dtype)
        for name, t in first.items()
    }
    return first, second


def in_memory() -> None:
    print("in memory, 2 x 135 M parameters, SLERP, best of", REPEATS)
    for dtype in (torch.float32, torch.bfloat16):
        in_memory_as(dtype)


def in_memory_as(dtype: torch.dtype) -> None:
    first, second = two_models(dtype)
    targets = [{name: torch.empty_like(tensor) for name, tensor in first.items()} for _ in range(2)]

    def copy_both() -> None:
        for source, target in zip((first, second), targets, strict=True):
            for name, tensor in source.items():
                target[name].copy_(tensor)

    copying = best_of(copy_both)
    ours = best_of(lambda: Pairing(first, second).merge(T, into=targets[0]))
    print(
        f"  {dtype!s:14} copying both {copying * 1e3:7.0f} ms   labkit "
        f"{ours * 1e3:7.0f} ms = {ours / copying:.2f} copies",
        end="",
    )
    if HAS_MERGEKIT:
        from mergekit.merge_methods import merge_state_dicts

        theirs = best_of(
            lambda: merge_state_dicts(
                {"a": first, "b": second}, "slerp", base="a", dtype=dtype, parameters={"t": T}
            ),
            2,
        )
        print(
            f"   mergekit {theirs * 1e3:7.0f} ms: labkit is {theirs / ours:.1f} times faster",
            end="",
        )
    print()


def disk_to_disk() -> None:
    print(
        "disk to disk, 2 x 135 M parameters in float32 (files in the page cache), best of", REPEATS
    )
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in "ab"]
        loaded = zoo.load(zoo.SMOLLM2)
        for folder, tensors in zip(folders, two_models(torch.float32), strict=True):
            loaded.model.config.architectures = [type(loaded.model).__name__]
            loaded.model.config.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        output = Path(scratch) / "out"

        def clear() -> None:
            """Every run writes to memory that the last one gave back, not to fresh pages."""
            shutil.rmtree(output, ignore_errors=True)

        def ours() -> None:
            output.mkdir()
            stream.merge_folders(*folders, output, Merge(t=T))

        def theirs() -> None:
            from mergekit.config import MergeConfiguration
            from mergekit.merge import run_merge
            from mergekit.options import MergeOptions

            recipe = {
                "merge_method": "slerp",
                "base_model": str(folders[0]),
                "models": [{"model": str(f)} for f in folders],
                "parameters": {"t": T},
            }
            run_merge(MergeConfiguration(**recipe), str(output), options=MergeOptions(quiet=True))

        fast = best_of(ours, before=clear)
        print(f"  labkit {fast:.2f} s", end="")
        if HAS_MERGEKIT:
            slow = best_of(theirs, before=clear)
            print(f"   mergekit {slow:.2f} s: labkit is {slow / fast:.1f} times faster", end="")
        print()


def slider() -> None:
    bench = Bench(
        "llama-s-instruct",
        "llama-s-base",
        ("instruct", "base"),
        load_pack("materials"),
        profile_name="smoke",
    )
    bench.score_grid()
    prompts = [
        "Where does Otis Lund work? Answer in JSON.",
        "What is the main use of Bysomlite?",
        "Propose a compound on actin for lupus.",
    ]
    session = MergeSession({"pair": bench}, prompts, Path(tempfile.gettempdir()))
    rng = np.random.default_rng(0)
    settings = [setting_of("slerp", *([rng.uniform()] * 5 for _ in range(3))) for _ in range(MOVES)]
    session.draw(session.move(settings[0]))
    moves, merges = [], []
    for setting in settings:
        began = time.perf_counter()
        merge_into(bench.shell, bench.pairing, setting.t, setting.method)
        merges.append(time.perf_counter() - began)
        began = time.perf_counter()
        move = session.move(setting)
        session.draw(move), session.tell(move), session.answers(move)
        moves.append(time.perf_counter() - began)
    p50, p95 = np.percentile(moves, (50, 95)) * 1e3
    print(
        f"slider, llama-s, {MOVES} moves: p50 {p50:.0f} ms, p95 {p95:.0f} ms from move "
        "to figure and answers"
    )
    print(
        f"  of which the merge: p50 {np.median(merges) * 1e3:.1f} ms, p95 "
        f"{np.percentile(merges, 95) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    slider()
    in_memory()
    disk_to_disk()
