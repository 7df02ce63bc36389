"""labkit's batched evaluation against generating one by one.

Run as: python benchmarks/evaluate_speed.py

Same model, same items, greedy; prints items/s, the ratio, and whether the answers agree.
"""

from __future__ import annotations

import time

from labkit.train import trainers

trainers.prepare_process()

import torch  # noqa: E402

from labkit.data.packs import load_pack  # noqa: E402
from labkit.evaluate.scorecards import MAX_NEW_TOKENS, evaluate, generate, prompt_ids  # noqa: E402
from labkit.models import zoo  # noqa: E402


def one_by_one(model, tokenizer, prompts) -> list[str]:
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            answers.append(
                tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True).strip()
            )
    return answers


def timed(run):
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began


def main() -> None:
    loaded, pack = zoo.load("llama-s-instruct"), load_pack("materials")
    prompts = [
        prompt_ids(loaded.tokenizer, row)
        for row in pack.rows("test")
        if row["axis"] in ("general", "instructions")
    ]
    generate(loaded.model, loaded.tokenizer, prompts[:8])
    batched, fast = timed(lambda: [a[0] for a in generate(loaded.model, loaded.tokenizer, prompts)])
    single, slow = timed(lambda: one_by_one(loaded.model, loaded.tokenizer, prompts))
    agree = sum(a == b for a, b in zip(batched, single, strict=True))
    print(f"one by one {len(prompts) / slow:8,.1f} items/s")
    print(
        f"batched    {len(prompts) / fast:8,.1f} items/s   {slow / fast:.1f} times "
        f"faster, {agree} of {len(prompts)} answers equal"
    )
    card, whole = timed(lambda: evaluate(loaded.model, loaded.tokenizer, pack))
    print(f"all axes, test split: {len(card.items)} items in {whole:.1f} s")


if __name__ == "__main__":
    main()
