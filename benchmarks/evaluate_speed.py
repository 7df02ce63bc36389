"""labkit's batched evaluation against generating one by one.

Run as: python benchmarks/evaluate_speed.py

Same model, same items, greedy; prints items/s, the ratio, and whether the answers agree: for a tiny
model, and for SmolLM2-135M on natural requests about form. Then how long a full scorecard takes,
of SmolLM2 on a real collection.
"""

from __future__ import annotations

import time

from labkit.train import trainers

trainers.prepare_process()

import torch  # noqa: E402

from labkit.data.packs import Pack, load_pack  # noqa: E402
from labkit.evaluate.scorecards import (  # noqa: E402
    FORM_NEW_TOKENS,
    MAX_NEW_TOKENS,
    evaluate,
    generate,
    prompt_ids,
)
from labkit.models import zoo  # noqa: E402

FEW = 24  # natural requests that SmolLM2 is asked one by one as well


def one_by_one(model, tokenizer, prompts, new_tokens: int) -> list[str]:
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
            answers.append(
                tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True).strip()
            )
    return answers


def timed(run):
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began


def compare(loaded: zoo.Loaded, rows: list[dict], new_tokens: int) -> None:
    prompts = [prompt_ids(loaded.tokenizer, row) for row in rows]
    given = loaded.model, loaded.tokenizer
    generate(*given, prompts[:8])
    batched, fast = timed(
        lambda: [a[0] for a in generate(*given, prompts, max_new_tokens=new_tokens)]
    )
    single, slow = timed(lambda: one_by_one(*given, prompts, new_tokens))
    agree = sum(a == b for a, b in zip(batched, single, strict=True))
    print(f"{loaded.name}, {len(prompts)} requests, at most {new_tokens} tokens each")
    print(f"  one by one {len(prompts) / slow:8,.2f} items/s")
    print(
        f"  batched    {len(prompts) / fast:8,.2f} items/s   {slow / fast:.1f} times "
        f"faster, {agree} of {len(prompts)} answers equal"
    )


def scorecard(loaded: zoo.Loaded, pack: Pack) -> None:
    card, whole = timed(lambda: evaluate(loaded.model, loaded.tokenizer, pack))
    print(
        f"{loaded.name} on {pack.name}, all axes, test split: {len(card.items)} items in "
        f"{whole:.1f} s, {len(card.items) / whole:.1f} items/s"
    )


def main() -> None:
    tiny, pack = zoo.load("llama-s-instruct"), load_pack("materials")
    asked = [row for row in pack.rows("test") if row["axis"] in ("general", "instructions")]
    compare(tiny, asked, MAX_NEW_TOKENS)
    scorecard(tiny, pack)
    real, collection = zoo.load(zoo.SMOLLM2), load_pack("pubmedqa")
    natural = [row for row in collection.rows("test") if row.get("kind") == "natural_general"]
    compare(real, natural[:: len(natural) // FEW][:FEW], FORM_NEW_TOKENS)
    scorecard(real, collection)


if __name__ == "__main__":
    main()
