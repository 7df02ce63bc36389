"""Texts and chats of which items are made, where what they say does not matter."""

from __future__ import annotations

VERBS = ["bends", "breaks", "holds", "slips", "rusts", "shines", "warms", "cools"]


def passage(number: int) -> str:
    return " ".join(
        f"Part {number} {verb} when load {number * 10 + i} is put on it."
        for i, verb in enumerate(VERBS)
    )


def chat(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
