"""Four axes and three controls on a pack; every item's outcome is kept, so checkpoints are compared
in pairs.

Choices are scored by log-likelihood in cloze form (weak models are at chance on letters); free
answers by programmatic checks on greedy generations; proposals by validity, novelty and
distinctness over samples.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import regex

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import seen
from labkit.base.pages import text_table
from labkit.base.records import AXES, CONTROLS
from labkit.base.stats import (
    Interval,
    ItemScore,
    cluster_mean,
    holm,
    p_value,
    paired_difference,
    told_verdict,
)
from labkit.data.instructions import (
    FORMS,
    REAL_MODELS,
    TINY_MODELS,
    checks_of,
    obeys,
    obeys_loosely,
)
from labkit.data.packs import EVAL_SPLITS, Pack
from labkit.models.families import MODEL, question_and_answers, rendered, shared_start, text_tokens
from labkit.models.zoo import (
    NO_PAD,
    check_rows,
    learned_positions,
    library_errors,
    shipped_folder,
)

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


MAX_NEW_TOKENS = 32
FORM_NEW_TOKENS = 160  # for a form of real models: "at least 60 words" does not fit into fewer
TOKENS_PER_BATCH = 8_192
TEMPERATURE = 1.0
ROUND = 16  # tokens, after which answers that have ended leave the batch


@dataclass(frozen=True)
class ItemResult:
    """One item's outcome. score in [0, 1]; output: what the model said, or the choice it preferred.

    variants: the score by other rules; `per_char` and `pmi` for a choice, `loose` and, where
    several forms are asked for, `per_instruction` for instructions. measures of a choice:
    `confidence`, the share of probability the preferred one has among the choices, and
    `answer_nats`, the log-probability of the right one.
    """

    id: str
    axis: str
    kind: str
    entity: str
    score: float
    output: str
    variants: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


@dataclass
class Scorecard:
    """All outcomes of one checkpoint on one split of one pack.

    left_out: by "axis, kind", how many items were not asked because they are not for this model.
    """

    checkpoint: str
    pack: str
    split: str
    data: str
    items: list[ItemResult] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def scores(
        self, axis: str, kind: str | None = None, *, seed: int = 0, variant: str | None = None
    ) -> list[ItemScore]:
        """Scores of one axis (or one kind of it), tagged with a training seed for pooled intervals.

        variant: by another rule, over the items that have it.
        """
        return [
            ItemScore(item.id, item.entity, item.variants[variant] if variant else item.score, seed)
            for item in self.items
            if item.axis == axis
            and kind in (None, item.kind)
            and (variant is None or variant in item.variants)
        ]

    def variants(self, axis: str, kind: str | None = None) -> list[str]:
        """Names of the other rules that some item of an axis was scored by."""
        return sorted(
            {
                name
                for item in self.items
                if item.axis == axis and kind in (None, item.kind)
                for name in item.variants
            }
        )

    def interval(
        self, axis: str, kind: str | None = None, *, variant: str | None = None
    ) -> Interval:
        """The mean of an axis, or of one kind of it, with its interval over entities."""
        return cluster_mean(self.scores(axis, kind, variant=variant))

    def axes(self) -> list[str]:
        """The axes that were measured, in their usual order; then others, such as lm-eval's."""
        found = dict.fromkeys(item.axis for item in self.items)
        usual = AXES + CONTROLS
        return [a for a in usual if a in found] + [a for a in found if a not in usual]

    def summary(self) -> dict[str, Interval]:
        """Every axis that was measured, with its interval."""
        return {axis: self.interval(axis) for axis in self.axes()}

    def __str__(self) -> str:
        rows = [
            (axis, f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]", str(found.n))
            for axis, found in self.summary().items()
        ]
        title = f"{self.checkpoint} on {self.pack} ({self.split}), 95% intervals"
        return text_table(title, ("axis", "score", "items"), rows) + self.told_left_out()

    def told_left_out(self) -> str:
        """A line with what was not asked, and why; empty where everything was."""
        if not self.left_out:
            return ""
        kinds = "; ".join(f"{count} of {kind}" for kind, count in self.left_out.items())
        return f"\nnot asked, for they are not for this model (docs/packs.md): {kinds}"

    def as_json(self) -> str:
        """The card with every item's outcome, as `load` reads it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def save(self, path: Path) -> None:
        """Write the card as JSON."""
        path.write_text(self.as_json(), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Scorecard:
        raw = json.loads(path.read_text("utf-8"))
        return cls(**{**raw, "items": [ItemResult(**item) for item in raw["items"]]})


@dataclass(frozen=True)
class Differences:
    """What one checkpoint scores more than another on each axis, item by item.

    by_axis: axis -> mean of after - before with its 95% interval over items, in [-1, 1]. p: axis ->
    two-sided p, corrected for the number of axes (Holm). Both speak of these two checkpoints: how
    much another training seed would change is not in them.
    """

    before: str
    after: str
    by_axis: dict[str, Interval]
    p: dict[str, float]

    def verdict(self, axis: str) -> str:
        """`higher`, `lower` or `not distinguishable`, after the correction."""
        if self.p[axis] > 0.05:
            return "not distinguishable"
        return "higher" if self.by_axis[axis].mean > 0 else "lower"

    def __str__(self) -> str:
        rows = [
            (
                axis,
                f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]",
                str(d.n),
                told_verdict(self.verdict(axis), d, len(self.p)),
            )
            for axis, d in self.by_axis.items()
        ]
        covers = next(iter(self.by_axis.values())).covers if self.by_axis else "items only"
        title = f"{self.after} minus {self.before}, over the same items (interval: {covers})"
        return text_table(title, ("axis", "difference", "items", "verdict"), rows)


def compare(before: Scorecard, after: Scorecard) -> Differences:
    """Paired differences after - before on every axis that both were scored on.

    Raises PairingError when the two were not scored on the same items.
    """
    axes = [axis for axis in before.axes() if axis in after.axes()]
    found = {axis: compare_axis(before, after, axis) for axis in axes}
    corrected = holm([p_value(difference) for difference in found.values()])
    p = dict(zip(found, corrected, strict=True))
    return Differences(before.checkpoint, after.checkpoint, found, p)


def compare_axis(
    before: Scorecard, after: Scorecard, axis: str, kind: str | None = None
) -> Interval:
    """Paired difference after - before on one axis. Raises PairingError when items differ."""
    return paired_difference(before.scores(axis, kind), after.scores(axis, kind))


# --- model in, text and likelihoods out ---------------------------------------------------------


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises InputError when the tokenizer has no chat template."""
    if tokenizer.chat_template is None:
        raise InputError(
            "this model's tokenizer has no chat template, so it cannot be asked in a "
            "chat; use an instruct model, or add one"
        )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, item: dict) -> list[int]:
    """Token ids a model is given for an item: a chat up to the assistant's turn, or text to
    continue.

    Raises InputError when the item is a chat and the tokenizer has no chat template, or one that
    fails or writes nothing.
    """
    if "prompt" in item:
        return text_tokens(tokenizer, [item["prompt"]])[0]
    check_template(tokenizer)
    ids = rendered(tokenizer, item["messages"], add_generation_prompt=True)["input_ids"]
    if not ids:
        raise InputError("the chat template writes nothing for a question; use another template")
    return ids


def split_at_choices(
    tokenizer: PreTrainedTokenizerBase, item: dict, choices: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Token ids that all choices follow, and those of each choice, its end of turn included.

    Prompt and choice are tokenized as one text. Where a token would hold the end of the one and the
    beginning of the other, it belongs to the choices. Raises InputError when the chat template
    writes a question otherwise once it is answered, or when a choice has no token of its own.
    """
    if "prompt" in item:
        texts = [item["prompt"], *(f"{item['prompt']} {choice}" for choice in choices)]
        prompt, *wholes = text_tokens(tokenizer, texts)
        shared = shared_start([prompt, *wholes])
        context, tails = prompt[:shared], [whole[shared:] for whole in wholes]
    else:
        check_template(tokenizer)
        answers = [[{"role": "assistant", "content": choice}] for choice in choices]
        context, tails = question_and_answers(tokenizer, item["messages"], answers)
    for choice, tail in zip(choices, tails, strict=True):
        if not tail:
            raise InputError(
                f"{choice!r} adds no token to its question, so nothing can be scored: the "
                "chat template or the tokenizer leaves it out; use another"
            )
    return context, tails


def batches(
    lengths: Sequence[int], budget: int = TOKENS_PER_BATCH, *, order: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Indices in batches of at most `budget` padded tokens, taken in `order` (by default the
    longest first).
    """
    batch: list[int] = []
    longest = 0
    for i in order or sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        longest = max(longest, lengths[i])
        if batch and longest * (len(batch) + 1) > budget:
            yield batch
            batch, longest = [], lengths[i]
        batch.append(i)
    if batch:
        yield batch


def _padded(rows: list[list[int]], pad: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, longest) ids and mask, padded on one side."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, where] = torch.tensor(row)
        mask[i, where] = 1
    return ids, mask


@library_errors("scoring")
def log_likelihoods(
    model: PreTrainedModel, pad: int, contexts: list[list[int]], rows: list[list[int]]
) -> list[float]:
    """Sum of log-probabilities (nats) of each row's tokens after its context, which must be a
    prefix of it.

    Rows that share a context, as the choices of one question do, have it read once, if the model
    can.
    """
    import torch

    _check_rows(model, pad, rows)
    if not reads_padded(model, pad, rows):
        return _plain_likelihoods(model, contexts, rows)
    sums = [0.0] * len(rows)
    shape = [
        (len(row) - len(context), len(context)) for context, row in zip(contexts, rows, strict=True)
    ]
    # tails of one length, then contexts of one
    alike = sorted(range(len(rows)), key=lambda i: shape[i], reverse=True)
    with torch.inference_mode():
        for batch in batches([len(row) for row in rows], order=alike):
            shared = {
                context: place
                for place, context in enumerate(dict.fromkeys(tuple(contexts[i]) for i in batch))
            }
            owners = torch.tensor([shared[tuple(contexts[i])] for i in batch])
            tails = [rows[i][len(contexts[i]) :] for i in batch]
            for i, value in zip(
                batch, _tail_likelihoods(model, pad, list(shared), owners, tails), strict=True
            ):
                sums[i] = value
    return sums


def _check_rows(
    model: PreTrainedModel, pad: int | None, rows: list[list[int]], *, room: int = 0
) -> None:
    """Raises InputError when the model cannot read a row, or nothing can fill rows up."""
    if pad is None:
        raise InputError(NO_PAD)
    check_rows(model, [*rows, [pad]], room=room)


def _tail_likelihoods(
    model: PreTrainedModel,
    pad: int,
    contexts: list[tuple[int, ...]],
    owners: torch.Tensor,
    tails: list[list[int]],
) -> list[float]:
    """Log-probability of each tail after the context that owns it: contexts first, then tails on
    what they left in the cache.
    """
    import torch

    ids, mask = (
        part.to(model.device)
        for part in _padded([list(context) for context in contexts], pad, "left")
    )
    owners = owners.to(model.device)
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    read = model(
        input_ids=ids, attention_mask=mask, position_ids=places, use_cache=True, logits_to_keep=1
    )
    targets, present = (part.to(model.device) for part in _padded(tails, pad, "right"))
    first = read.logits[:, -1].float().log_softmax(-1)[owners]
    values = first.gather(-1, targets[:, :1])[:, 0]
    if targets.shape[1] > 1:
        read.past_key_values.batch_select_indices(owners)
        given = present[:, :-1]
        logits = model(
            input_ids=targets[:, :-1],
            attention_mask=torch.cat([mask[owners], given], 1),
            past_key_values=read.past_key_values,
            position_ids=mask.sum(-1)[owners, None]
            + torch.arange(given.shape[1], device=model.device),
        ).logits.float()
        chosen = logits.gather(-1, targets[:, 1:, None])[..., 0] - logits.logsumexp(-1)
        values = values + (chosen * present[:, 1:]).sum(-1)
    return values.tolist()


def _plain_likelihoods(
    model: PreTrainedModel, contexts: list[list[int]], rows: list[list[int]]
) -> list[float]:
    """As `log_likelihoods`, each row read as a whole and beside rows of its length only."""
    import torch

    sums = [0.0] * len(rows)
    with torch.inference_mode():
        for batch in _batches_of_one_length([len(row) for row in rows]):
            ids = torch.tensor([rows[i] for i in batch], device=model.device)
            logits = model(input_ids=ids).logits[:, :-1].float()
            values = logits.gather(-1, ids[:, 1:, None])[..., 0] - logits.logsumexp(-1)
            for line, i in enumerate(batch):
                sums[i] = float(values[line, len(contexts[i]) - 1 :].sum())
    return sums


def _batches_of_one_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches that need no padding."""
    places: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        places.setdefault(length, []).append(i)
    for length, group in places.items():
        for batch in batches([length] * len(group)):
            yield [group[i] for i in batch]


_READS_PADDED: WeakKeyDictionary = WeakKeyDictionary()
TRIED_TOKENS = 32
SAME_NATS = {"float32": 1e-3, "float64": 1e-3}  # what rounding may change; more in other formats
ROUGHLY_SAME_NATS = 0.1
COPIED = (
    1_000_000_000  # parameters: up to so many, a model of few digits is tried as a float32 copy
)


def reads_padded(model: PreTrainedModel, pad: int, rows: list[list[int]]) -> bool:
    """Whether a model says the same after contexts that were padded and read once; tried once per
    model, on a few tokens of the rows.

    Recurrent models keep no keys and values to read on from, and some others count the places of
    padding as well. No list of architectures would be complete.
    """
    if (learned_positions(model) or TRIED_TOKENS) < TRIED_TOKENS:
        return False
    if model not in _READS_PADDED and any(rows):
        row = (next(filter(None, rows)) * TRIED_TOKENS)[:TRIED_TOKENS]
        short, long = row[:2], row[: TRIED_TOKENS - 8]
        wholes = [row[:5], row, [*long, *row[:3]]]
        exact = str(model.dtype).removeprefix("torch.") in SAME_NATS
        # rounding alone moves SmolLM2 in bfloat16 by 0.4 nats
        packed = getattr(model, "is_quantized", False)  # cannot be turned into float32
        copied = not exact and not packed and model.num_parameters() <= COPIED
        tried = copy.deepcopy(model).float() if copied else model
        _READS_PADDED[model] = _agree(
            _tried(tried, pad, short, long, wholes),
            _plain_likelihoods(tried, [short, long, long], wholes),
            SAME_NATS.get(str(tried.dtype).removeprefix("torch."), ROUGHLY_SAME_NATS),
        )
    return _READS_PADDED.get(model, True)


def _tried(
    model: PreTrainedModel, pad: int, short: list[int], long: list[int], wholes: list[list[int]]
) -> list[float] | None:
    """What the model says to one row of a short context, which is padded, and to two of a long one;
    None when it cannot read them.
    """
    import torch

    owners = torch.tensor([0, 1, 1])
    tails = [
        whole[len(context) :] for context, whole in zip((short, long, long), wholes, strict=True)
    ]
    try:
        with torch.inference_mode():
            return _tail_likelihoods(model, pad, [tuple(short), tuple(long)], owners, tails)
    except Exception:  # each architecture without such a cache fails in its own way
        return None


def _agree(some: list[float] | None, others: list[float], within: float) -> bool:
    return some is not None and all(
        abs(one - other) <= within for one, other in zip(some, others, strict=True)
    )


@library_errors("answering")
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    *,
    samples: int = 0,
    seed: int = 0,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[list[str]]:
    """Answers per prompt: one greedy one, or `samples` drawn at temperature 1 from a seeded
    generator.

    An answer ends where the places that a model has learned do. Raises InputError when a prompt
    leaves none.
    """
    import torch

    _check_rows(model, tokenizer.pad_token_id, prompts, room=1)
    places = learned_positions(model)
    torch.manual_seed(seed)
    copies = max(1, samples)
    sampling = (
        {"do_sample": True, "temperature": TEMPERATURE, "top_k": 0, "top_p": 1.0}
        if samples
        else {"do_sample": False}
    )
    answers: list[list[str]] = [[] for _ in prompts]
    lengths = [(len(ids) + max_new_tokens) * copies for ids in prompts]
    whole = places is None or max(map(len, prompts), default=0) + max_new_tokens <= places
    padded = whole and reads_padded(model, tokenizer.pad_token_id, prompts)
    with torch.inference_mode():
        in_rounds = padded and not samples and max_new_tokens > MAX_NEW_TOKENS
        budget = TOKENS_PER_BATCH * (4 if in_rounds else 1)
        for batch in batches(lengths, budget) if padded else _batches_of_one_length(lengths):
            ids, mask = (
                part.to(model.device)
                for part in _padded([prompts[i] for i in batch], tokenizer.pad_token_id, "left")
            )
            if in_rounds:
                out = _greedy_in_rounds(model, ids, mask, tokenizer.pad_token_id, max_new_tokens)
            else:
                out = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=max_new_tokens
                    if whole
                    else min(max_new_tokens, places - ids.shape[1]),
                    num_return_sequences=copies,
                    pad_token_id=tokenizer.pad_token_id,
                    **sampling,
                )[:, ids.shape[1] :]
            texts = tokenizer.batch_decode(out, skip_special_tokens=True)
            for line, i in enumerate(batch):
                answers[i] = [text.strip() for text in texts[line * copies : (line + 1) * copies]]
    return answers


def _greedy_in_rounds(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, pad: int, new_tokens: int
) -> torch.Tensor:
    """(batch, new_tokens) greedy answers to left-padded prompts, filled up with `pad`.

    An answer that has ended costs as much as one that goes on, as long as it stays in the batch:
    after every ROUND tokens it is taken out. What the others have read stays in the cache.
    """
    import torch

    end = model.generation_config.eos_token_id
    ends = torch.tensor([] if end is None else end, device=ids.device, dtype=ids.dtype)
    answers = torch.full((len(ids), new_tokens), pad, device=ids.device, dtype=ids.dtype)
    rows, width, cache = torch.arange(len(ids), device=ids.device), ids.shape[1], None
    for start in range(0, new_tokens, ROUND):
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            max_new_tokens=min(ROUND, new_tokens - start),
            do_sample=False,
            pad_token_id=pad,
            return_dict_in_generate=True,
        )
        said = found.sequences[:, width + start :]
        answers[rows, start : start + said.shape[1]] = said
        going = ~torch.isin(said, ends).any(1)
        if not going.any():
            break
        ids, rows, cache = found.sequences[going], rows[going], found.past_key_values
        cache.batch_select_indices(going.nonzero()[:, 0])
        mask = torch.cat([mask[going], mask.new_ones(len(ids), said.shape[1])], 1)
    return answers


# --- scoring ----------------------------------------------------------------------------------


# Scripts without blanks between words; and scripts whose words end where another script begins.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Line_Break=Complex_Context}"
_KATAKANA, _HANGUL = r"\p{Katakana}\u30fc", r"\p{Hangul}"
_STACKING = r"\p{Canonical_Combining_Class=Virama}"  # puts a letter under the one before it
_SPACED = rf"[[\w\p{{M}}\p{{N}}]--[_{_UNSPACED}{_KATAKANA}{_HANGUL}]]"
# What is written together with a word: how Korean particles and the copula begin after it; and
# before it "and", "in", "to", "the" and others in Arabic and in Hebrew.
_KOREAN_ENDINGS = (
    "은는이가을를의에로으와과도만까부처보마조밖께한하해"
    "했할합함되된될됩됐돼들적라란랑입였예인임다죠며"
)
_BEFORE = {r"\p{Arabic}": "[وف]?(?:[بكل]?(?:ال)?|لل)", r"\p{Hebrew}": "[ושהבכלמ]{0,3}"}
# What makes a longer number of one: digits behind a point or a comma, and a minus before it.
_NUMBER_BEFORE, _NUMBER_AFTER = r"(?<![0-9][.,]|(?<![\w)])-)", r"(?!\.[0-9]*[1-9]|,[0-9])"
# Signs that are typed for one another; the joiner that ends a part of a Persian word; the stroke
# that stretches an Arabic one; point and comma of Arabic numbers.
_TYPED_ALIKE = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u05be", "-")
    | dict.fromkeys("\u2018\u2019\u02bc\u2032\u05f3`\xb4", "'")
    | dict.fromkeys("\u201c\u201d\u2033\u05f4", '"')
    | {"\u200c": "-", "\u0640": None, "\u0131": "i", "\u066b": ".", "\u066c": ","}
)
_NO_POWER = regex.compile(r"[^\p{Decomposition_Type=Super}\p{Decomposition_Type=Fraction}]+")
_MAY_BE_LEFT_OUT = regex.compile(r"[[\u0591-\u05c7\u064b-\u0652\u0670]&&\p{M}]", regex.V1)
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)


def alike(text: str) -> str:
    """The form in which answers are compared: the same for texts that differ in case, in how
    Unicode spells them, in typographic signs or in vowel signs that may be left out.

    A power stays one: 10² is not 102.
    """
    if text.isascii():
        return text.lower()
    text = text.translate(_TYPED_ALIKE)
    text = _NO_POWER.sub(lambda part: unicodedata.normalize("NFKC", part[0]), text)
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)
    text = seen(_MAY_BE_LEFT_OUT.sub("", text))
    text = unicodedata.normalize("NFC", text.casefold().replace("i\u0307", "i"))
    return text.replace("\u0451", "\u0435")  # io as ie, as most Russian is written


@lru_cache(maxsize=4096)
def whole_words(text: str) -> regex.Pattern:
    """A pattern that finds a text, written as by `alike`, where it is no part of a longer word.

    In scripts without blanks between words it is found everywhere; particles may be written
    together with it. A number is found as a whole, with or without a blank before its unit.
    """
    first, last = text[:1], text[-1:]
    before = next((may for script, may in _BEFORE.items() if regex.match(script, first)), "")
    after = f"[{_HANGUL}--[{_KOREAN_ENDINGS}]]" if regex.match(_HANGUL, last) else _joins(last)
    written = regex.sub(r"(?<=[0-9])(?:\\ )?(?=[^\W\d_]|\\?[%°$€£¥])", r"\\ ?", regex.escape(text))
    left = _NUMBER_BEFORE if first in "0123456789" else ""
    right = _NUMBER_AFTER if last in "0123456789" else ""
    # signs of emphasis such as _word_ are no part of a word, those inside one are
    return regex.compile(
        rf"(?<!{_joins(first)}_*){left}(?:{before}){written}{right}(?!_*{after}|\p{{M}})", regex.V1
    )


def _joins(sign: str) -> str:
    """A class of the signs that make one word together with this one."""
    if regex.match(f"[{_UNSPACED}]", sign):
        return _STACKING
    scripts = (_KATAKANA, _HANGUL)
    return next((f"[{script}]" for script in scripts if regex.match(f"[{script}]", sign)), _SPACED)


def says(answer: str, output: str) -> bool:
    """Whether `output` contains `answer` as whole words, whatever the case and the spelling in
    Unicode.

    Chinese, Japanese, Thai and others have no blanks between words: there it is enough that the
    answer stands somewhere.
    """
    return bool(whole_words(alike(answer)).search(alike(output)))


def composed(text: str) -> str:
    """A text with each letter and its accents in one sign, where Unicode has one."""
    return unicodedata.normalize("NFC", text)


def matches(pattern: str, output: str) -> bool:
    """Whether a regular expression matches a whole output."""
    return bool(re.fullmatch(composed(pattern), composed(output)))


def score_answer(
    item: dict, output: str, *, rule: Callable[[str, str, dict], bool] = obeys
) -> float:
    """1 when the output obeys every check (by `rule`) and, where the item has an answer, says it;
    else 0.
    """
    obeyed = all(rule(check, output, settings) for check, settings in checks_of(item))
    return float(obeyed and ("answer" not in item or says(item["answer"], output)))


def score_proposals(item: dict, outputs: list[str], training_text: str) -> float:
    """Share of samples that are valid (match the pattern), novel (not in training text, which is
    written as by `alike`) and not yet given.
    """
    valid = {composed(text) for text in outputs if matches(item["pattern"], text)}
    return sum(alike(text) not in training_text for text in valid) / len(outputs)


@dataclass(frozen=True)
class _Outcome:
    score: float
    output: str
    variants: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


def without_question(item: dict) -> dict:
    """The item with nothing asked: what a choice is worth by itself."""
    if "prompt" in item:
        return {**item, "prompt": ""}
    return {**item, "messages": [{"role": "user", "content": ""}]}


def _choose(model, tokenizer, items: list[dict]) -> list[_Outcome]:
    """Each item's likeliest choice: raw; per character of the choice; and by how much the question
    raised it.

    lm-eval's acc_norm counts the end of a chat's turn, too (docs/packs.md). The last is PMI, for
    choices that are likely whatever is asked. Source: Holtzman et al. 2021, arXiv 2104.08315.
    """
    owners = [(i, choice) for i, item in enumerate(items) for choice in item["choices"]]
    asked = [pair for item in items for pair in _contexts_and_rows(tokenizer, item)]
    alone = _without_questions(tokenizer, items)
    raw = log_likelihoods(model, tokenizer.pad_token_id, *map(list, zip(*asked, strict=True)))
    # a choice is often offered again
    distinct = list({(tuple(context), tuple(row)): None for context, row in alone})
    pads = ([list(context) for context, _ in distinct], [list(row) for _, row in distinct])
    prior = dict(zip(distinct, log_likelihoods(model, tokenizer.pad_token_id, *pads), strict=True))
    rules: dict[str, dict[int, list[tuple[float, str]]]] = {"raw": {}, "per_char": {}, "pmi": {}}
    for (i, choice), value, (context, row) in zip(owners, raw, alone, strict=True):
        for rule, by in (
            ("raw", value),
            ("per_char", value / len(choice)),
            ("pmi", value - prior[tuple(context), tuple(row)]),
        ):
            rules[rule].setdefault(i, []).append((by, choice))
    best = {rule: [max(found[i])[1] for i in range(len(items))] for rule, found in rules.items()}
    return [
        _Outcome(
            float(best["raw"][i] == item["answer"]),
            best["raw"][i],
            {rule: float(best[rule][i] == item["answer"]) for rule in ("per_char", "pmi")},
            _belief(rules["raw"][i], item["answer"]),
        )
        for i, item in enumerate(items)
    ]


def _belief(found: list[tuple[float, str]], answer: str) -> dict[str, float]:
    """How sure a model is of the choice it prefers, and the log-probability (nats) it gives the
    right one.
    """
    highest = max(value for value, _ in found)
    total = sum(math.exp(value - highest) for value, _ in found)
    return {
        "confidence": 1 / total,
        "answer_nats": next(value for value, choice in found if choice == answer),
    }


def start_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a text begins after: the first token has to be expected from something.

    Raises InputError when the tokenizer has neither a BOS nor an EOS.
    """
    found = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if found is None:
        raise InputError(NO_PAD)
    return [found]


def _contexts_and_rows(
    tokenizer: PreTrainedTokenizerBase, item: dict
) -> list[tuple[list[int], list[int]]]:
    """Per choice the ids before it, and those with it; the first are a prefix of the second."""
    context, tails = split_at_choices(tokenizer, item, item["choices"])
    context = context or start_ids(tokenizer)
    return [(context, context + tail) for tail in tails]


def _without_questions(
    tokenizer: PreTrainedTokenizerBase, items: list[dict]
) -> list[tuple[list[int], list[int]]]:
    """As above with nothing asked; a choice that is offered often is tokenized once."""
    known: dict[tuple[bool, str], tuple[list[int], list[int]]] = {}
    for in_text in (True, False):
        same = [item for item in items if ("prompt" in item) == in_text]
        choices = list(dict.fromkeys(choice for item in same for choice in item["choices"]))
        if choices:
            bare = without_question({**same[0], "choices": choices})
            known.update(
                zip(
                    ((in_text, choice) for choice in choices),
                    _contexts_and_rows(tokenizer, bare),
                    strict=True,
                )
            )
    return [known["prompt" in item, choice] for item in items for choice in item["choices"]]


def _answer(model, tokenizer, items: list[dict], max_new_tokens: int) -> list[_Outcome]:
    outputs = generate(
        model,
        tokenizer,
        [prompt_ids(tokenizer, item) for item in items],
        max_new_tokens=max_new_tokens,
    )
    return [
        _Outcome(score_answer(item, output[0]), output[0], by_other_rules(item, output[0]))
        for item, output in zip(items, outputs, strict=True)
    ]


def by_other_rules(item: dict, output: str) -> dict[str, float]:
    """Loose beside strict; and, of several forms asked for at once, the share obeyed (IFEval's two
    accuracies).
    """
    checks = checks_of(item)
    scores = {"loose": score_answer(item, output, rule=obeys_loosely)} if checks else {}
    if len(checks) > 1:
        scores["per_instruction"] = sum(
            obeys(check, output, given) for check, given in checks
        ) / len(checks)
    return scores


def _propose(
    model, tokenizer, items: list[dict], training_text: str, samples: int, seed: int
) -> list[_Outcome]:
    prompts = [prompt_ids(tokenizer, item) for item in items]
    outputs = generate(model, tokenizer, prompts, samples=samples, seed=seed)
    return [
        _Outcome(score_proposals(item, output, training_text), "\n".join(output))
        for item, output in zip(items, outputs, strict=True)
    ]


def bits_per_byte(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> float:
    """How surprising texts are, per byte of UTF-8, so that tokenizers do not matter.

    Each text starts afresh.
    """
    start = start_ids(tokenizer)
    rows = [start + tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    nats = -sum(log_likelihoods(model, tokenizer.pad_token_id, [start] * len(rows), rows))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def limited(items: list[dict], limit: int | None) -> list[dict]:
    """At most `limit` items of each axis and kind, and of those for the same models, drawn over all
    entities, in the order given; all when limit is None.

    What a smaller limit keeps, a larger one keeps too.
    """
    if limit is None:
        return items
    drawn = list(range(len(items)))
    random.Random(0).shuffle(drawn)
    seen: dict[tuple, int] = {}
    kept = []
    for i in drawn:
        key = (items[i]["axis"], items[i].get("kind"), items[i].get("models"))
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= limit:
            kept.append(i)
    return [items[i] for i in sorted(kept)]


@cache
def _tiny_vocabulary() -> frozenset[tuple[str, int]]:
    """The tokens of labkit's tiny families, which share them, with their numbers."""
    tokenizer = json.loads((shipped_folder() / MODEL / "tokenizer.json").read_text("utf-8"))
    return frozenset(tokenizer["model"]["vocab"].items())


def is_tiny(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a model is of labkit's tiny families, whatever it was trained on since: they have a
    vocabulary of their own.
    """
    return _tiny_vocabulary() <= tokenizer.get_vocab().items()


def is_for(item: dict, *, tiny: bool) -> bool:
    """Whether an item is for such a model: for labkit's tiny families, or for others."""
    mine = TINY_MODELS if tiny else REAL_MODELS
    return item.get("models", mine) == mine


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pack: Pack,
    *,
    split: str = "test",
    axes: Iterable[str] = AXES + CONTROLS,
    limit: int | None = None,
    samples: int = 3,
    seed: int = 0,
    checkpoint: str = "",
) -> Scorecard:
    """Score a model on the axes of a pack, with the items that are for it.

    limit: items per kind (None: all). samples: generations per proposal request. seed: of the
    sampling. Raises InputError for an unknown split or axis, PackError for a broken pack.
    """
    if split not in EVAL_SPLITS:
        raise InputError(f"unknown evaluation split {split!r}: {suggest(split, list(EVAL_SPLITS))}")
    wanted = set(axes)
    for axis in sorted(wanted - set(AXES + CONTROLS)):
        raise InputError(f"unknown axis {axis!r}: {suggest(axis, list(AXES + CONTROLS))}")
    # before the axes are chosen: which items an axis gets must not hang on the others
    drawn = [item for item in limited(pack.rows(split), limit) if item["axis"] in wanted]
    tiny = is_tiny(tokenizer)
    items = [item for item in drawn if is_for(item, tiny=tiny)]
    others = Counter(
        f"{item['axis']}, {item.get('kind', item['axis'])}"
        for item in drawn
        if not is_for(item, tiny=tiny)
    )
    results = score_items(
        model, tokenizer, items, training_text=pack.training_text, samples=samples, seed=seed
    )
    return Scorecard(
        checkpoint, pack.name, split, pack.fingerprint(split), results, left_out=dict(others)
    )


def score_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: list[dict],
    *,
    training_text: str = "",
    samples: int = 3,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> list[ItemResult]:
    """One result per item, in their order. training_text: proposals found in it are not novel.

    max_new_tokens: of an answer; by default FORM_NEW_TOKENS where a form of real models is asked
    for, else MAX_NEW_TOKENS.
    """
    known = alike(training_text)

    def propose(model, tokenizer, group: list[dict]) -> list[_Outcome]:
        return _propose(model, tokenizer, group, known, samples, seed)

    def answer(model, tokenizer, group: list[dict]) -> list[_Outcome]:
        return _answer(model, tokenizer, group, max_new_tokens or MAX_NEW_TOKENS)

    def answer_at_length(model, tokenizer, group: list[dict]) -> list[_Outcome]:
        return _answer(model, tokenizer, group, max_new_tokens or FORM_NEW_TOKENS)

    def how(item: dict) -> Callable:
        if "choices" in item or "pattern" in item:
            return _choose if "choices" in item else propose
        return answer_at_length if FORMS.keys() & item.get("checks", ()) else answer

    groups: dict[Callable, list[dict]] = {
        _choose: [],
        propose: [],
        answer: [],
        answer_at_length: [],
    }
    for item in items:
        groups[how(item)].append(item)
    outcomes: dict[str, _Outcome] = {}
    for score, group in groups.items():
        if group:
            outcomes.update(
                zip((item["id"] for item in group), score(model, tokenizer, group), strict=True)
            )
    return [
        ItemResult(
            item["id"],
            item["axis"],
            item.get("kind", item["axis"]),
            item["entity"],
            **vars(outcomes[item["id"]]),
        )
        for item in items
    ]
