"""TRL against a bare torch loop, on the same batches, in one run.

Run as: python benchmarks/train_speed.py

Prints tokens/s of each and the ratios; asserts nothing. Run it on an idle machine.
"""

from __future__ import annotations

import itertools
import tempfile
import time

from labkit.train import trainers

trainers.prepare_process()

from bare_loop import bare  # noqa: E402

from labkit.data import world  # noqa: E402
from labkit.models import zoo  # noqa: E402
from labkit.train import zoo_build  # noqa: E402
from labkit.train.specs import Stage  # noqa: E402

STEPS, BATCH, REPEATS = 30, 32, 2


def ours(model, tokenizer, rows) -> float:
    """labkit's CPT: TRL's trainer with the model's own loss."""
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=STEPS, batch_size=BATCH)
    result = trainers.fit_rows(stage, model, tokenizer, rows, seed=0)
    return result.tokens / result.wall_seconds


def trl_as_it_is(model, tokenizer, rows) -> float:
    """TRL's SFTTrainer with its chunked loss and token metrics."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    stage = Stage(kind="cpt", learning_rate=1e-3, steps=STEPS, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        common = trainers._common_arguments(stage, model, STEPS, 0, folder)
        arguments = SFTConfig(
            **common, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        began = time.perf_counter()
        trainer.train()
    return sum(len(row["input_ids"]) for row in rows) / (time.perf_counter() - began)


def main() -> None:
    tokenizer = zoo_build.build_tokenizer()
    rows = trainers.text_rows(
        tokenizer, itertools.islice(world.pretraining_texts(0), STEPS * BATCH), 128
    )
    found: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for name, run in (
            ("bare torch loop", lambda *given: bare(*given, BATCH)[0]),
            ("labkit (TRL, own loss)", ours),
            ("TRL as it is", trl_as_it_is),
        ):
            found.setdefault(name, []).append(
                run(zoo.load("llama-s-base").model.train(), tokenizer, rows)
            )
    best = {name: max(values) for name, values in found.items()}
    for name, rate in best.items():
        print(
            f"{name:<24} {rate:>8,.0f} tokens/s   {rate / best['bare torch loop']:.2f} "
            "of the bare loop"
        )


if __name__ == "__main__":
    main()
