"""labkit's ORPO against TRL's, on the same pairs in the same order, in one run.

Run as: python benchmarks/orpo_speed.py

Prints pairs/s of each, their ratio, and how far their losses lie apart; asserts nothing. Run it on
an idle machine. It needs a TRL that still has trl.experimental.orpo.
"""

from __future__ import annotations

import tempfile
import time

from labkit.train import trainers

trainers.prepare_process()

from datasets import Dataset  # noqa: E402
from trl.experimental import orpo as theirs  # noqa: E402

from labkit.data import packs  # noqa: E402
from labkit.models import zoo  # noqa: E402
from labkit.train import orpo  # noqa: E402
from labkit.train.specs import Stage  # noqa: E402

STEPS, BATCH, REPEATS = 20, 16, 2
STAGE = Stage(kind="orpo", learning_rate=1e-4, steps=STEPS, batch_size=BATCH, beta=0.2)


def run(trainer_class, config_class, rows: list[dict], tokenizer) -> tuple[float, float]:
    """(pairs per second, mean loss) of one training; reading and tokenising rows is not timed."""
    model = zoo.load("llama-s-instruct").model
    with tempfile.TemporaryDirectory() as folder:
        arguments = config_class(
            **trainers._common_arguments(STAGE, model, STEPS, 0, folder), beta=0.2, max_length=128
        )
        trainer = trainer_class(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        began = time.perf_counter()
        loss = trainer.train().training_loss
    return STEPS * BATCH / (time.perf_counter() - began), loss


def main() -> None:
    tokenizer = trainers.preference_tokenizer(zoo.load("llama-s-instruct").tokenizer)
    tokenizer.bos_token = None  # TRL would put one before every prompt
    pairs = packs.load_pack("materials").rows("preferences")
    plain = [{key: pair[key] for key in ("prompt", "chosen", "rejected")} for pair in pairs]
    tokens = trainers.preference_rows(tokenizer, plain, 128, closed=True)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(REPEATS):
        for name, given in (
            ("labkit", (orpo.ORPOTrainer, orpo.ORPOConfig, tokens)),
            ("TRL", (theirs.ORPOTrainer, theirs.ORPOConfig, plain)),
        ):
            found.setdefault(name, []).append(run(*given, tokenizer))
    best = {name: max(values) for name, values in found.items()}
    for name, (rate, loss) in best.items():
        print(f"{name:<8} {rate:>8,.1f} pairs/s   mean loss {loss:.6f}")
    print(f"labkit's ORPO takes {best['labkit'][0] / best['TRL'][0]:.2f} times as many pairs/s")


if __name__ == "__main__":
    main()
