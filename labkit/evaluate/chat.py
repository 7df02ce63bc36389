"""Asking models in turns: each keeps its own conversation, all get the same question.

A model that reads 256 tokens forgets: the oldest questions are dropped until the new one fits, and
that is told.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from labkit.base.errors import InputError
from labkit.base.store import Checkpoint
from labkit.evaluate.scorecards import prompt_ids
from labkit.models import zoo
from labkit.models.families import FAMILIES
from labkit.train.pipeline import load_checkpoint

UNBOUNDED = 10**9  # what tokenizers state when no longest text is known


@dataclass(frozen=True)
class Settings:
    """How answers are made. temperature: 0 takes the likeliest token. max_tokens: of one answer.
    seed: of drawn answers.

    Raises InputError for values that cannot be used.
    """

    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.temperature <= 5:
            raise InputError(
                f"temperature is {self.temperature}; give a number from 0 (the "
                "likeliest answer) to 5"
            )
        if self.max_tokens < 1:
            raise InputError(f"max tokens is {self.max_tokens}; give at least 1")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; give a whole number from 0")


@dataclass(frozen=True)
class Reply:
    """An answer. dropped: earlier questions that no longer fitted. cut: it ended because max_tokens
    was reached.
    """

    text: str
    dropped: int = 0
    cut: bool = False

    @property
    def shown(self) -> str:
        return self.text or "(nothing)"

    @property
    def remarks(self) -> list[str]:
        """What a reader has to know beside the answer."""
        told = (
            [
                f"its {self.dropped} oldest "
                f"question{'s were' if self.dropped > 1 else ' was'} forgotten: they no "
                "longer fit into what it can read"
            ]
            if self.dropped
            else []
        )
        return told + (["cut: the answer reached its longest length"] if self.cut else [])


@dataclass
class Talker:
    """One model and what was said with it."""

    name: str
    loaded: zoo.Loaded
    messages: list[dict] = field(default_factory=list)

    def __post_init__(self):
        if self.loaded.tokenizer.chat_template is None:
            raise InputError(
                f"{self.name} has no chat template: it is a base model, which continues "
                "text and was never taught turns; take an instruct model, or train it "
                "with sft"
            )

    @property
    def context(self) -> int | None:
        """How many tokens it can read and write together, where that is known."""
        stated = zoo.longest_text(self.loaded.model) or self.loaded.tokenizer.model_max_length
        return stated if stated < UNBOUNDED else None

    @property
    def note(self) -> str | None:
        """What to expect of a model that has a template but never saw a chat."""
        family, _, start = self.loaded.name.rpartition("-")
        return (
            f"{self.name} is a base model: it has a chat template but has never read a "
            "chat, so expect text and no answers"
            if family in FAMILIES and start == "base"
            else None
        )

    def fit(self, question: str, max_tokens: int) -> tuple[list[dict], list[int], int]:
        """The conversation that ends in a question, its token ids, and how many of the oldest
        questions were dropped for it.

        Raises InputError when not even the question alone fits, or when the model has no embedding
        for one of its tokens.
        """
        kept = [*self.messages, {"role": "user", "content": question}]
        dropped = 0
        while True:
            ids = prompt_ids(self.loaded.tokenizer, {"messages": kept})
            if self.context is None or len(ids) + max_tokens <= self.context:
                zoo.check_rows(self.loaded.model, [ids])
                return kept, ids, dropped
            if len(kept) == 1:
                raise InputError(
                    f"{self.name} reads {self.context} tokens; this question takes "
                    f"{len(ids)} and its answer up to {max_tokens}: shorten it, or "
                    "lower max tokens"
                )
            kept, dropped = kept[2:], dropped + 1

    @zoo.library_errors("answering")
    def answer(self, fitted: tuple[list[dict], list[int], int], settings: Settings) -> Reply:
        """Answer what `fit` made ready, and remember both."""
        import torch

        kept, ids, dropped = fitted
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        drawn = (
            {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
            if settings.temperature
            else {"do_sample": False}
        )
        given = torch.tensor([ids], device=model.device)
        torch.manual_seed(settings.seed)
        with torch.inference_mode():
            made = model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=settings.max_tokens,
                pad_token_id=tokenizer.pad_token_id,
                **drawn,
            )[0, len(ids) :].tolist()
        text = tokenizer.decode(made, skip_special_tokens=True).strip()
        self.messages = [*kept, {"role": "assistant", "content": text}]
        return Reply(
            printable(text),
            dropped,
            len(made) == settings.max_tokens and made[-1] not in _ends(model),
        )


def _ends(model) -> set[int]:
    """Tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends])


def printable(text: str) -> str:
    """Text that only shows: control characters, which a terminal would obey, are replaced."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) != "Cc" else "\ufffd"
        for letter in text
    )


class Conversation:
    """Several models, one question at a time.

    Raises InputError for a model that cannot be asked.
    """

    def __init__(self, models: dict[str, zoo.Loaded], settings: Settings = Settings()):
        self.settings = settings
        self.talkers = [Talker(name, loaded) for name, loaded in models.items()]

    @property
    def names(self) -> list[str]:
        return [talker.name for talker in self.talkers]

    def notes(self) -> list[str]:
        return [talker.note for talker in self.talkers if talker.note]

    def ask(self, question: str) -> dict[str, Reply]:
        """Every model's answer.

        Raises InputError, before any has answered, when the question does not fit into one.
        """
        if not question.strip():
            raise InputError("the question is empty; write one")
        fitted = [talker.fit(question, self.settings.max_tokens) for talker in self.talkers]
        return {
            talker.name: talker.answer(ready, self.settings)
            for talker, ready in zip(self.talkers, fitted, strict=True)
        }

    def reset(self) -> None:
        """Forget what was said."""
        for talker in self.talkers:
            talker.messages = []


def open_models(models: Iterable[tuple[str, str | Checkpoint]]) -> dict[str, zoo.Loaded]:
    """Models by label; a label that comes again gets a number.

    Raises InputError when one cannot be loaded.
    """
    loaded: dict[str, zoo.Loaded] = {}
    for label, model in models:
        again = sum(known == label or known.startswith(f"{label} (") for known in loaded)
        loaded[f"{label} ({again + 1})" if again else label] = load_checkpoint(model)
    return loaded
