"""How often a stage reads each of its rows, and what a model can say of them afterwards.

`steps: auto` in a spec stands for the steps that labkit's own study found enough
(docs/own-domain.md). They come from the rows, the model's size and the recall that is wanted. While
CPT reads, the facts that dev items ask for are tried in the words of the text. The module does not
train.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from labkit.base.stats import Interval
from labkit.data.packs import Pack, samples_folder
from labkit.models.families import rate_factor, text_tokens
from labkit.train.specs import OWN, OWN_DPO, OWN_ORPO, PREFERENCE_STAGES, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MEASURED = "recall.json"  # of data_samples/measured
WANTED = 0.8  # recall that `auto` reads for
ENOUGH = 0.95  # recall on dev at which CPT stops that was given `auto`
LEARNED = 0.6  # below this a model has not learned what it read
MOST_READS, MOST_STEPS = 150, 6_000
SFT_PASSES, PREFERENCE_PASSES, FEWEST_STEPS = 12, 3, 60
MOST_PREFERENCE_STEPS = 30  # more of them cost what SFT had taught (docs/own-domain.md)
TRIED, AT_ONCE = 48, 8  # dev facts that are tried at a look, and as many at a time as memory takes
LOOKS = 10
BEFORE_WORDS = 2  # of a sentence, before what is to be said


def reads(stage: Stage, rows: int, steps: int | None = None) -> float:
    """How often each of a stage's own rows is read. rows: pieces of long texts count one by one."""
    steps = stage.steps if steps is None else steps
    return steps * own_rows(stage) / max(1, rows)


def own_rows(stage: Stage) -> float:
    """How many of a step's rows are not replayed."""
    return stage.batch_size * (1 - stage.replay)


def steps_for(stage: Stage, rows: int, parameters: int) -> int:
    """The steps that `auto` stands for: of a large pack as many as take minutes, not hours."""
    own = own_rows(stage)
    if stage.kind == "cpt":
        wanted = math.ceil(reads_for(WANTED, rows, parameters) * rows / own)
        return max(FEWEST_STEPS, min(MOST_STEPS, wanted))
    if stage.kind in PREFERENCE_STAGES:
        return max(1, min(MOST_PREFERENCE_STEPS, math.ceil(PREFERENCE_PASSES * rows / own)))
    return max(FEWEST_STEPS, min(MOST_STEPS, math.ceil(SFT_PASSES * rows / own)))


def own_stage(kind: str, parameters: int) -> Stage:
    """labkit's proposal for a stage that trains a tiny model on a person's own documents."""
    proposed = next(stage for stage in (*OWN, OWN_DPO, OWN_ORPO) if stage.kind == kind)
    return proposed.model_copy(
        update={"learning_rate": float(f"{proposed.learning_rate * rate_factor(parameters):.1e}")}
    )


# --- what the study measured ------------------------------------------------------------------


@cache
def measured() -> dict:
    """What `python -m studies own-domain --part recall` last measured: `runs`, and `fit`."""
    return json.loads((samples_folder("measured") / MEASURED).read_text("utf-8"))


def forecast(reads: float, rows: int, parameters: int) -> Interval | None:
    """The recall that so many readings of each row gave in labkit's study, with the interval that
    holds nine packs of ten; None for a size that is not within twice the measured ones. A pack of
    more rows takes more steps for as many readings, and more is known of it afterwards.
    """
    fit = measured()["fit"]
    low, high = fit["parameters"]
    if not low / 2 <= parameters <= high * 2 or reads <= 0:
        return None
    at = _log_odds(reads, rows, parameters)
    mean, low, high = (_share(at + side * fit["spread"]) for side in (0, -1, 1))
    return Interval(mean, low, high, n=fit["runs"], clusters=fit["runs"], with_seeds=True)


def reads_for(recall: float, rows: int, parameters: int) -> float:
    """How many readings of each row gave a recall in labkit's study, at most MOST_READS. A larger
    model than those measured is given the reads of the largest.
    """
    fit = measured()["fit"]
    low, high = fit["parameters"]
    size = min(max(parameters, low), high)
    wanted = math.log(recall / (1 - recall)) - _log_odds(1, rows, size)
    return min(MOST_READS, math.exp(wanted / fit["per_log_read"]))


def _log_odds(reads: float, rows: int, parameters: int) -> float:
    fit = measured()["fit"]
    fewest, most = fit["rows"]  # beyond them nothing was seen
    return (
        fit["start"]
        + fit["per_log_read"] * math.log(reads)
        + fit["per_log_row"] * math.log(min(max(rows, fewest), most) / 1000)
        + fit["per_log_parameter"] * math.log(parameters / 1e6)
    )


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def warning(stage: Stage, rows: int, steps: int, parameters: int) -> str | None:
    """A sentence where CPT reads so seldom that labkit's study saw little recall; None elsewhere,
    and for sizes that were not measured.
    """
    often = reads(stage, rows, steps)
    seen = forecast(often, rows, parameters)
    if seen is None or seen.mean >= LEARNED:
        return None
    told = (
        f"cpt reads each row {often:.0f} times; on packs of invented names that gave a recall of "
        f"{seen} at this size."
    )
    auto = steps_for(stage, rows, parameters)
    then = forecast(reads(stage, rows, auto), rows, parameters)
    if steps >= auto or then is None or then.mean <= seen.mean:
        return f"{told} More is seen of larger models, or of less text (docs/own-domain.md)"
    return f"{told} `steps: auto` would take {auto:,} steps: {then} (docs/own-domain.md)"


# --- what is known while it is read -----------------------------------------------------------


def told_facts(pack: Pack) -> list[tuple[str, str]]:
    """(beginning of a sentence, how it goes on) of the facts of the training text that dev items
    ask for, at most TRIED.
    """
    found: dict[tuple[str, str], None] = {}
    for row in pack.rows("dev"):
        sentence, answer = row.get("taught", ""), row.get("answer", "")
        before = sentence.partition(answer)[0].rstrip() if answer and answer in sentence else ""
        if len(before.split()) >= BEFORE_WORDS:
            found[before, sentence[len(before) : sentence.index(answer) + len(answer)]] = None
    facts = list(found)
    return facts[:: max(1, len(facts) // TRIED)][:TRIED]


def said(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: Sequence[tuple[str, str]]
) -> float:
    """The share of facts, (beginning, rest), whose rest a model would say: each of its tokens is
    the likeliest after those before it, as in a greedy continuation.
    """
    import torch

    right: list[bool] = []
    for at in range(0, len(facts), AT_ONCE):
        some = facts[at : at + AT_ONCE]
        wholes = text_tokens(tokenizer, [beginning + rest for beginning, rest in some])
        before = text_tokens(tokenizer, [beginning for beginning, _ in some])
        begun = [_common(ids, own) for ids, own in zip(wholes, before, strict=True)]
        width = max(map(len, wholes))
        padded = torch.tensor([ids + ids[-1:] * (width - len(ids)) for ids in wholes])
        with torch.no_grad():
            likeliest = model(input_ids=padded.to(model.device)).logits.argmax(-1).tolist()
        right += [
            guesses[start - 1 : len(ids) - 1] == ids[start:]
            for ids, start, guesses in zip(wholes, begun, likeliest, strict=True)
        ]
    return sum(right) / len(right)


def _common(first: list[int], second: list[int]) -> int:
    """How many tokens two texts begin with alike, one at least."""
    pairs = zip(first, second, strict=False)
    return max(
        1, next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
    )


@dataclass
class Recall:
    """Tries facts of dev while CPT reads. until: the recall at which reading ends (None: never).
    looks: (step, recall) of every look.
    """

    tokenizer: PreTrainedTokenizerBase
    facts: list[tuple[str, str]]
    until: float | None = None
    looks: list[tuple[int, float]] = field(default_factory=list)

    def due(self, step: int, steps: int) -> bool:
        """Whether it looks at this step: ten times, or at the end alone."""
        looks = LOOKS if self.until else 1
        return step in {round(steps * (look + 1) / looks) for look in range(looks)}

    def __call__(self, model: PreTrainedModel, step: int) -> bool:
        """Look, and say whether enough is known at this step."""
        self.looks.append((step, said(model, self.tokenizer, self.facts)))
        return self.until is not None and self.looks[-1][1] >= self.until

    def as_json(self) -> dict:
        """As a lineage keeps it: how many facts were tried, and what each look saw."""
        return {"facts": len(self.facts), "looks": self.looks}


def recall_of(stage: Stage, pack: Pack, tokenizer: PreTrainedTokenizerBase) -> Recall | None:
    """What tries the facts of a pack while a stage reads it; None where dev asks for none."""
    facts = told_facts(pack) if stage.kind == "cpt" else []
    return Recall(tokenizer, facts, stage.until) if facts else None


def told(lineage: dict) -> str:
    """What a CPT checkpoint's lineage says of how often it read and what is known of it, in a
    sentence; empty for others.
    """
    if not lineage.get("recall"):
        return ""
    (step, share), facts = lineage["recall"]["looks"][-1], lineage["recall"]["facts"]
    planned = lineage["stage"]["steps"]
    ended = f" It ended at step {step} of {planned}." if step < planned else ""
    known = (
        f"cpt read each row {lineage['reads']:.1f} times and can say {share:.0%} of {facts} facts "
        f"that dev asks for, in the words of the text.{ended}"
    )
    if share >= LEARNED:
        return known
    return (
        f"{known} It has not learned what it read: give it more steps (`steps: auto` takes what "
        "labkit's study found enough), a larger model or less text."
    )
