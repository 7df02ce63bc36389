"""labkit's scoring of choices against lm-eval's own harness.

Run as: python benchmarks/lm_eval_speed.py (after `make peers`)

Same model and items in one run; prints items/s for several batch sizes of lm-eval, the ratio to its
best, and whether the two agree. Twice: for the raw and per-character score, which is what an export
asks for; and with the score by mutual information too, which labkit always gives (lm-eval asks for
each choice once more without its question).
"""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import yaml

from labkit.train import trainers

trainers.prepare_process()

from labkit.data.packs import load_pack  # noqa: E402
from labkit.evaluate.scorecards import score_items  # noqa: E402
from labkit.models import zoo  # noqa: E402
from labkit.share import export  # noqa: E402

BATCH_SIZES = (1, 64, 256, 1024)  # 1 is lm-eval's default
MUTUAL_INFORMATION = {"metric": "acc_mutual_info", "aggregation": "mean", "higher_is_better": True}


def lm_eval_scores(
    loaded, folder: Path, names: list[str], batch_size: int
) -> tuple[dict[str, float], float]:
    """Per item whether lm-eval finds the right choice, and seconds; loading of tasks and model is
    not counted.
    """
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager, get_task_dict

    model = HFLM(
        pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size, device="cpu"
    )
    tasks = get_task_dict(names, TaskManager(include_path=str(folder), include_defaults=False))
    began = time.perf_counter()
    told = evaluate(lm=model, task_dict=tasks, bootstrap_iters=0, log_samples=True)
    seconds = time.perf_counter() - began
    return {
        sample["doc"]["id"]: sample["acc"] for name in names for sample in told["samples"][name]
    }, seconds


def ask_for_mutual_information(folder: Path) -> None:
    """Add the third figure to exported tasks."""
    for path in folder.glob("*.yaml"):
        task = yaml.safe_load(path.read_text("utf-8"))
        task["metric_list"].append(MUTUAL_INFORMATION)
        path.write_text(yaml.safe_dump(task), "utf-8")


def timed(run, repeats: int = 3) -> tuple[object, float]:
    """A result and the best of several times: both sides are measured so."""
    best, result = float("inf"), None
    for _ in range(repeats):
        began = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - began)
    return result, best


def main() -> None:
    if not find_spec("lm_eval"):
        print("lm-eval is not installed: `make peers` brings it")
        return
    loaded, pack = zoo.load("llama-s-instruct"), load_pack("materials")
    items = [row for row in pack.rows("test") if "choices" in row]
    results, fast = timed(lambda: score_items(loaded.model, loaded.tokenizer, items))
    ours = {result.id: result.score for result in results}
    print(f"labkit, all three figures {len(items) / fast:8,.1f} items/s")
    with tempfile.TemporaryDirectory() as folder:
        names = export.export_lm_eval(pack, "test", loaded.tokenizer, Path(folder))
        for what in ("raw, per character", "raw, per character, mutual information"):
            if what.endswith("information"):
                ask_for_mutual_information(Path(folder))
            times = {}
            for size in BATCH_SIZES:
                found, seconds = min(
                    (lm_eval_scores(loaded, Path(folder), names, size) for _ in range(2)),
                    key=lambda run: run[1],
                )
                times[size] = seconds
                agree = sum(ours[id] == score for id, score in found.items())
                print(
                    f"lm-eval, {what}, batch {size:4d} {len(found) / seconds:6,.1f} "
                    f"items/s  {agree} of {len(found)} items scored alike"
                )
            print(
                f"labkit is {times[1] / fast:.1f} times as fast as lm-eval's default, "
                f"{min(times.values()) / fast:.1f} times as fast as its best batch size"
            )


if __name__ == "__main__":
    main()
