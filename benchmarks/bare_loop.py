"""The smallest honest training loop, which the speed benchmarks compare with."""

from __future__ import annotations

import time

import torch

from labkit.train import trainers


def bare(
    model, tokenizer, rows: list[dict], batch_size: int, learning_rate: float = 1e-3
) -> tuple[float, float]:
    """Forward, backward, clip, step over the rows in order: (tokens per second, share of computed
    tokens that are padding).
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate, fused=True)
    tokens, computed, began = 0, 0, time.perf_counter()
    for start in range(0, len(rows), batch_size):
        batch = tokenizer.pad(
            {"input_ids": [row["input_ids"] for row in rows[start : start + batch_size]]},
            return_tensors="pt",
        )
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, trainers.IGNORED)
        with torch.autocast("cpu", torch.bfloat16, enabled=trainers.bf16_is_fast()):
            loss = model(**batch, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        tokens, computed = (
            tokens + int(batch["attention_mask"].sum()),
            computed + batch["attention_mask"].numel(),
        )
    return tokens / (time.perf_counter() - began), 1 - tokens / computed
