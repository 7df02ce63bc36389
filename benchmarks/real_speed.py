"""SmolLM2-135M with LoRA: labkit's stage against a bare torch loop with peft, on the same batches.

Run as: python benchmarks/real_speed.py

Prints tokens/s, the share of tokens that are padding, and the ratio at several batches; asserts
nothing. Run it on an idle machine.
"""

from __future__ import annotations

from labkit.train import trainers

trainers.prepare_process()

from bare_loop import bare  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

from labkit.course.labs.real_lab import MODEL  # noqa: E402
from labkit.data.packs import load_pack, text_of  # noqa: E402
from labkit.models import zoo  # noqa: E402
from labkit.train.specs import ADAPTED, ADAPTED_LORA  # noqa: E402

CPT = ADAPTED[0]
STEPS, BATCHES = 4, (8, 16, 32)


def with_adapters(model):
    return get_peft_model(
        model,
        LoraConfig(
            r=ADAPTED_LORA.rank,
            lora_alpha=ADAPTED_LORA.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    ).train()


def ours(model, tokenizer, rows, batch_size: int) -> float:
    stage = CPT.model_copy(update={"steps": STEPS, "batch_size": batch_size})
    result = trainers.fit_rows(stage, model, tokenizer, rows, seed=0)
    return result.tokens / result.wall_seconds


def main() -> None:
    tokenizer, pack = zoo.smollm2_tokenizer(), load_pack("materials")
    texts = [text_of(row) for split in CPT.sources for row in pack.rows(split)]
    for batch_size in BATCHES:
        rows = trainers.text_rows(tokenizer, texts[: STEPS * batch_size], CPT.max_length)
        loop, padding = bare(with_adapters(zoo.load(MODEL).model), tokenizer, rows, batch_size)
        stage = ours(zoo.load(MODEL).model, tokenizer, rows, batch_size)
        print(
            f"batch {batch_size:>2}: bare loop {loop:>5.0f} tokens/s, labkit "
            f"{stage:>5.0f}, ratio {stage / loop:.2f}, padding {padding:.0%}"
        )


if __name__ == "__main__":
    main()
