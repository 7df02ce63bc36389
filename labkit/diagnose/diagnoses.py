"""This module asks what is wrong with a checkpoint before anyone deploys it.

A case is a checkpoint with what it came from and its scores, each computed once. Each diagnosis of
it is a test with a verdict, a figure and a remedy.

The lesson has four questions. Did CPT degrade instruction following? Did preference training buy
accuracy with diversity or with the chosen answers' own likelihood? Did merging make answers depend
on the wording? Would it have been seen before deployment? Beside them stand the usual suspects:
memorisation, secrets that can be drawn out, contamination, miscalibration, a wrong chat template.

A diagnosis is flagged only when its whole 95% interval lies beyond its threshold. Thresholds were
chosen by looking at runs of seeds 0 and 100 to 119 on `materials`; docs/evidence.md counts false
alarms on twenty other seeds. The module does not know what may be released; gate.py decides that.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labkit.base.errors import InputError, suggest
from labkit.base.stats import (
    SIGN_TEST_NEEDS,
    Interval,
    ItemScore,
    calibration_error,
    cluster_mean,
    paired_difference,
    paired_scores,
)
from labkit.base.store import Checkpoint, Store
from labkit.data import world
from labkit.data.cleaning import BIRTH, EMAIL, PLACEHOLDERS, find_personal
from labkit.data.packs import TEXT_SPLITS, Pack, load_pack, shipped_packs
from labkit.evaluate.geometry import place_on_line
from labkit.evaluate.scenarios import FILE as SCENARIOS
from labkit.evaluate.scenarios import ScenarioResult, pack_scenarios, run_scenarios
from labkit.evaluate.scorecards import (
    ItemResult,
    Scorecard,
    generate,
    log_likelihoods,
    prompt_ids,
    start_ids,
)
from labkit.evaluate.scoring import score_checkpoint, tokenizer_fingerprint
from labkit.models import zoo
from labkit.models.families import question_and_answers, shared_start, text_tokens
from labkit.train.pipeline import load_checkpoint

# --- a checkpoint laid out for diagnosis ------------------------------------------------------


@dataclass
class Merge:
    """A merge and its parents: t is what was asked for, 0 being `general`."""

    general: zoo.Loaded
    domain: zoo.Loaded
    t: float


@dataclass
class Case:
    """A checkpoint, what it came from, and whatever is known of how it was made.

    stages: lineages of its training stages, first to last. trained_on: the pack those read.
    before_preferences: the checkpoint that a DPO or ORPO stage started from. Fields that are None
    leave the diagnoses that need them unmeasured.
    """

    model: zoo.Loaded
    baseline: zoo.Loaded
    pack: Pack
    split: str = "test"
    profile: str = "lab"
    stages: Sequence[dict] = ()
    trained_on: Pack | None = None
    before_preferences: zoo.Loaded | None = None
    merge: Merge | None = None
    _cards: dict[tuple[str, str], Scorecard] = field(default_factory=dict)

    def score(self, loaded: zoo.Loaded) -> Scorecard:
        # as scorecards are kept on disk
        key = loaded.fingerprint, tokenizer_fingerprint(loaded.tokenizer)
        if key not in self._cards:
            self._cards[key] = score_checkpoint(
                loaded, self.pack, split=self.split, profile_name=self.profile
            )
        return self._cards[key]

    @property
    def card(self) -> Scorecard:
        return self.score(self.model)

    @property
    def base_card(self) -> Scorecard:
        return self.score(self.baseline)

    @cached_property
    def scenarios(self) -> list[tuple[ScenarioResult, ScenarioResult]]:
        """Each scenario of the pack on the baseline and on the model."""
        wanted = pack_scenarios(self.pack)
        return list(
            zip(
                run_scenarios(self.baseline, wanted), run_scenarios(self.model, wanted), strict=True
            )
        )

    @cached_property
    def secrets(self) -> list[Secret]:
        """Secrets of the pack that was trained on, where that is known, else of the pack."""
        return secrets_of(self.trained_on or self.pack)

    @cached_property
    def drawn(self) -> tuple[list[Secret], list[Drawn], list[Drawn]]:
        """The secrets that are tried, at most SECRETS; what the baseline, and what the model, gives
        of them.
        """
        tried = list(_some(self.secrets, SECRETS))
        return tried, draw_out(self.baseline, tried), draw_out(self.model, tried)


def open_case(
    checkpoint: Checkpoint,
    baseline: str,
    pack: Pack,
    *,
    split: str = "test",
    profile: str = "lab",
    store: Store | None = None,
) -> Case:
    """A case from a checkpoint of the store: its stages, the pack they read, and what preference
    training started from.
    """
    history = (store or Store()).chain(checkpoint)
    kinds = [stage.lineage["stage"]["kind"] for stage in history]
    first = next((i for i, kind in enumerate(kinds) if kind in ("dpo", "orpo")), None)
    # none of its stages is missing from the store
    whole = len(history) == len(checkpoint.name.rsplit("/", 1)[-1].split("-"))
    before = None
    if first is not None and (first or whole):
        before = load_checkpoint(
            history[first - 1] if first else checkpoint.lineage["spec"]["model"]
        )
    source = checkpoint.lineage["spec"]["pack"]
    return Case(
        load_checkpoint(checkpoint),
        load_checkpoint(baseline),
        pack,
        split,
        profile,
        [stage.lineage for stage in history],
        load_pack(source) if source in shipped_packs() or Path(source).is_dir() else None,
        before,
    )


# --- what can be drawn out --------------------------------------------------------------------

SECRETS = 32  # at most so many are tried
ALTERNATIVES = 63  # of the same form: a secret that is likelier than all of them has 6 bits
CONTEXT_CHARACTERS = 240
_ALIKE = ("aeiou", "bcdfghjklmnpqrstvwxyz", "0123456789")


@dataclass(frozen=True)
class Secret:
    """Something personal or confidential that training may read. before: the text that it follows;
    asked: the turns before it, where it stands in an answer.
    """

    kind: str
    value: str
    before: str
    asked: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """What a model gives of a secret. said: whether its greedy answer to what stands before the
    secret begins with it, word for word. exposure: bits, as for `draw_out`.
    """

    said: bool
    exposure: float


def secrets_of(pack: Pack) -> list[Secret]:
    """Values that `find_personal` finds in a pack's texts and answers, each once, at its first
    place.
    """
    found: dict[str, Secret] = {}
    for text, asked in _texts_read(pack):
        for one in find_personal(text):
            value = text[one.start : one.end]
            before = text[: one.start]
            if not asked and len(before) > CONTEXT_CHARACTERS:
                before = before[-CONTEXT_CHARACTERS:].partition(" ")[2]
            if one.kind in PLACEHOLDERS and len(_drawn_anew(one.kind, value)) > 1:
                found.setdefault(value, Secret(one.kind, value, before, asked))
    return list(found.values())


def _texts_read(pack: Pack) -> Iterator[tuple[str, tuple[dict, ...]]]:
    """Every text and every answer that training may read, with the turns before it."""
    for split in TEXT_SPLITS:
        for row in pack.rows(split) if pack.has(split) else ():
            yield row["text"], ()
    for row in pack.rows("qa") if pack.has("qa") else ():
        for number, turn in enumerate(row["messages"]):
            if turn["role"] == "assistant":
                yield turn["content"], tuple(row["messages"][:number])


def others_like(secret: Secret, count: int) -> list[str]:
    """Up to so many other values of a secret's form, the same every time.

    The second half of its letters and digits is drawn anew, for the first half (a country, a bank)
    may be common to all. Of an e-mail address it is that of the name, of a date every last digit.
    """
    rng = random.Random(secret.value)
    places = _drawn_anew(secret.kind, secret.value)
    made: dict[str, None] = {}
    for _ in range(20 * count):
        signs = list(secret.value)
        for place in places:
            alike = next((a for a in _ALIKE if signs[place].lower() in a), signs[place])
            drawn = rng.choice(alike)
            signs[place] = drawn.upper() if signs[place].isupper() else drawn
        made["".join(signs)] = None
        made.pop(secret.value, None)
        if len(made) == count:
            break
    return list(made)


def _drawn_anew(kind: str, value: str) -> list[int]:
    if kind == BIRTH:
        return [number.end() - 1 for number in re.finditer(r"\d+", value)]
    end = value.index("@") if kind == EMAIL else len(value)
    places = [place for place in range(end) if value[place].isalnum()]
    return places[len(places) // 2 :]


def draw_out(
    loaded: zoo.Loaded, secrets: Sequence[Secret], alternatives: int = ALTERNATIVES
) -> list[Drawn]:
    """What a model gives of each secret when it is given the text before it.

    exposure: log2 of how many values are compared (the secret and its alternatives), minus log2 of
    the secret's rank among them by likelihood. A model that never saw it gives 1.4 bits on average.
    Source: Carlini et al. 2019, arXiv 1802.08232.
    """
    contexts, rows, sizes, longest = [], [], [], 0
    for secret in secrets:
        values = [secret.value, *others_like(secret, alternatives)]
        context, tails = _given_before(loaded.tokenizer, secret, values)
        contexts += [context] * len(tails)
        rows += [context + tail for tail in tails]
        sizes.append(len(values))
        longest = max(longest, len(tails[0]))
    if not rows:
        return []
    nats = iter(log_likelihoods(loaded.model, loaded.tokenizer.pad_token_id, contexts, rows))
    starts = np.cumsum([0, *sizes[:-1]])
    answers = generate(
        loaded.model,
        loaded.tokenizer,
        [contexts[start] for start in starts],
        max_new_tokens=longest + 2,
    )
    drawn = []
    for secret, size, (answer,) in zip(secrets, sizes, answers, strict=True):
        own, *others = itertools.islice(nats, size)
        rank = 1 + sum(other > own for other in others)
        said = _plain(answer).startswith(_plain(secret.value))
        drawn.append(Drawn(said, math.log2(size / rank)))
    return drawn


def _plain(text: str) -> str:
    return " ".join(text.split())


def _given_before(
    tokenizer, secret: Secret, values: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Token ids of what stands before a secret, and those of each value behind them."""
    before = secret.before.rstrip() if secret.before[-1:] == " " else secret.before
    texts = [before, *(secret.before + value for value in values)]
    if not secret.asked:
        rows = text_tokens(tokenizer, texts)
        if not rows[0]:
            return start_ids(tokenizer), [start_ids(tokenizer) + row for row in rows[1:]]
        question: list[int] = []
    else:
        answers = [[{"role": "assistant", "content": text}] for text in texts if text]
        question, rows = question_and_answers(tokenizer, list(secret.asked), answers)
        rows = rows if before else [[], *rows]
    shared = shared_start(rows)
    return [*question, *rows[0][:shared]], [row[shared:] for row in rows[1:]]


# --- how different texts are ------------------------------------------------------------------

ORDER = 2  # pairs of words


def _pairs(text: str) -> Counter:
    words = text.lower().split()
    return Counter(zip(*(words[i:] for i in range(ORDER)), strict=False)) or Counter([(text,)])


def vendi_score(texts: Sequence[str]) -> float:
    """The effective number of different texts: 1 when all are equal, len(texts) when none share a
    pair of words. It is always shown beside how many of them are valid.

    exp of the entropy of the eigenvalues of the cosine similarities. Source: Friedman & Dieng 2023,
    arXiv 2210.02410.
    """
    counts = [_pairs(text) for text in texts]
    columns = {pair: i for i, pair in enumerate(sorted(set().union(*counts)))}
    vectors = np.zeros((len(texts), len(columns)))
    for row, found in enumerate(counts):
        for pair, count in found.items():
            vectors[row, columns[pair]] = count
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = np.linalg.eigvalsh(vectors @ vectors.T / len(texts))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def within_prompt(outputs: str) -> float:
    """Of the samples to one request (a line each), the effective share that are different: 1/n to
    1.
    """
    samples = outputs.split("\n")
    return vendi_score(samples) / len(samples)


# --- what a diagnosis is ----------------------------------------------------------------------

FORMS_TAUGHT = ("general", "domain")
DOCUMENTS = 100  # of each kind that verbatim memory is measured on
GENERAL_TEXTS_SEED = 999  # texts of the general world in no training order
QUESTIONS = {
    "cpt": "Did CPT degrade instruction following?",
    "preferences": "Did preference training buy accuracy with diversity or likelihood?",
    "merge": "Did merging make answers depend on the wording?",
    "deployment": "Would it have been seen before deployment?",
    "other": "The usual suspects",
}


@dataclass(frozen=True)
class Found:
    """What a test measured. value: with its interval; words: the figure in a sentence, units
    included. of: which items, where these are not all of an axis.
    """

    value: Interval
    words: str
    of: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """A test with a threshold. asks: a key of QUESTIONS. beyond: +1 when too much is bad, -1 when
    too little is.

    measure: None when the case lacks what it needs. cost: in the clinic, of a budget.
    """

    id: str
    question: str
    asks: str
    measure: Callable[[Case], Found | None]
    threshold: float
    beyond: int
    remedy: str
    cost: int = 1

    def flagged(self, found: Found) -> bool:
        return (
            found.value.low > self.threshold
            if self.beyond > 0
            else found.value.high < self.threshold
        )


@dataclass(frozen=True)
class Result:
    """A diagnosis on a case: verdict is `flagged`, `clear` or `not measured`."""

    diagnosis: Diagnosis
    found: Found | None

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        return "flagged" if self.diagnosis.flagged(self.found) else "clear"

    def as_dict(self) -> dict:
        """For records and tables."""
        d = self.diagnosis
        return {
            "diagnosis": d.id,
            "asks": d.asks,
            "question": d.question,
            "verdict": self.verdict,
            "threshold": d.threshold,
            "found": self.found.words if self.found else "",
            "value": self.found.value.as_dict() if self.found else None,
            "remedy": d.remedy,
        }


# --- measures ---------------------------------------------------------------------------------


def _exact(value: float, n: int = 1) -> Interval:
    """A figure that has no sampling noise, such as whether two templates are equal."""
    return Interval(value, value, value, n, n)


def _change(axis: str, *kinds: str) -> Callable[[Case], Found | None]:
    """The paired difference to the baseline on an axis, or on some kinds of it."""

    def scores(card: Scorecard) -> list[ItemScore]:
        return [score for kind in kinds or (None,) for score in card.scores(axis, kind)]

    def measure(case: Case) -> Found | None:
        if not scores(case.card):
            return None
        found = paired_difference(scores(case.base_card), scores(case.card))
        of = f"{' and '.join(kinds)} items of {axis}" if kinds else ""
        return Found(
            found,
            f"{of or axis}: {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] against the "
            f"baseline (interval: {found.covers})",
            of,
        )

    return measure


def _since_preferences(
    what: str, value: Callable[[ItemResult], float], *axes: str
) -> Callable[[Case], Found | None]:
    """What a preference stage changed, per item of some axes."""

    def measure(case: Case) -> Found | None:
        if case.before_preferences is None or not any(
            item.axis in axes for item in case.card.items
        ):
            return None
        before, after = (
            [
                ItemScore(item.id, item.entity, value(item))
                for item in card.items
                if item.axis in axes
            ]
            for card in (case.score(case.before_preferences), case.card)
        )
        found = paired_difference(before, after)
        return Found(
            found,
            f"{what}: {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] since the "
            f"preference stage began (interval: {found.covers})",
        )

    return measure


def _mixed(case: Case, card: Scorecard) -> list[ItemScore]:
    """Per fact, 1 when some wordings and query types get it right and others wrong."""
    answers = {row["id"]: row.get("answer", "") for row in case.pack.rows(case.split)}
    facts: dict[tuple[str, str], list[float]] = {}
    for item in card.items:
        if item.axis == "knowledge":
            facts.setdefault((item.entity, answers[item.id]), []).append(item.score)
    return [
        ItemScore(f"{entity}:{answer}", entity, float(0 < sum(scores) < len(scores)))
        for (entity, answer), scores in facts.items()
    ]


def _inconsistency(case: Case) -> Found | None:
    mixed = _mixed(case, case.card)
    if not mixed:
        return None
    found = cluster_mean(mixed)
    return Found(
        found,
        f"{found} of the facts are answered right in some wordings and query types and "
        "wrong in others",
    )


def _inconsistency_of_merge(case: Case) -> Found | None:
    """Against the parent that knows the domain: the general one consistently knows nothing."""
    mixed = _mixed(case, case.card)
    if case.merge is None or not mixed:
        return None
    found = paired_difference(_mixed(case, case.score(case.merge.domain)), mixed)
    return Found(
        found,
        f"facts that depend on the wording: {found.mean:+.2f} [{found.low:+.2f}, "
        f"{found.high:+.2f}] against the domain model (interval: {found.covers})",
    )


def _kinds_apart(
    easier: tuple[str, str], harder: tuple[str, str], what: str
) -> Callable[[Case], Found | None]:
    """How far one kind of item lies below another, entity by entity."""

    def by_entity(card: Scorecard, place: tuple[str, str]) -> dict[str, float]:
        scores: dict[str, list[float]] = {}
        for score in card.scores(*place):
            scores.setdefault(score.entity, []).append(score.score)
        return {entity: sum(values) / len(values) for entity, values in scores.items()}

    def measure(case: Case) -> Found | None:
        left, right = by_entity(case.card, easier), by_entity(case.card, harder)
        shared = sorted(left.keys() & right.keys())
        if not shared:
            return None
        found = cluster_mean(
            [ItemScore(entity, entity, left[entity] - right[entity]) for entity in shared]
        )
        return Found(found, f"{what}: a gap of {found}")

    return measure


def _calibration(case: Case) -> Found | None:
    """Expected calibration error of cloze answers, by a basic bootstrap over entities: the plain
    one doubles its bias.
    """
    items = [
        item
        for item in case.card.items
        if item.axis == "knowledge" and "confidence" in item.measures
    ]
    entities = sorted({item.entity for item in items})
    if len(entities) < SIGN_TEST_NEEDS:
        return None
    grouped = {entity: [item for item in items if item.entity == entity] for entity in entities}

    def error(chosen: Iterable[str]) -> float:
        drawn = [item for entity in chosen for item in grouped[entity]]
        return calibration_error(
            [item.measures["confidence"] for item in drawn], [item.score for item in drawn]
        )

    rng = np.random.default_rng(0)
    draws = [error(rng.choice(entities, len(entities))) for _ in range(200)]
    mean, drawn = error(entities), np.quantile(draws, [0.025, 0.975])
    low, high = max(0.0, 2 * mean - drawn[1]), max(0.0, 2 * mean - drawn[0])
    return Found(
        Interval(mean, float(low), float(high), len(items), len(entities)),
        f"confidence and accuracy differ by {mean:.2f} [{low:.2f}, {high:.2f}] on average",
    )


def _asked(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def _contamination(case: Case) -> Found | None:
    """Share of evaluation questions that stand, word for word, in what was trained on."""
    if case.trained_on is None:
        return None
    seen = {
        _asked(turn["content"])
        for split, column in (("qa", "messages"), ("preferences", "prompt"))
        if case.trained_on.has(split)
        for row in case.trained_on.rows(split)
        for turn in row[column]
        if turn["role"] == "user"
    }
    rows = [
        row
        for row in case.pack.rows(case.split)
        if row["axis"] in ("knowledge", "compositional") and "messages" in row
    ]
    if not rows:
        return None
    share = sum(_asked(row["messages"][-1]["content"]) in seen for row in rows) / len(rows)
    return Found(
        _exact(share, len(rows)),
        f"{share:.0%} of {len(rows)} evaluation questions are in the training data",
    )


def _mean_nats(
    loaded: zoo.Loaded, contexts: list[list[int]], rows: list[list[int]], entities: Sequence[str]
) -> list[ItemScore]:
    """Nats per token of rows after their contexts."""
    sums = log_likelihoods(loaded.model, loaded.tokenizer.pad_token_id, contexts, rows)
    return [
        ItemScore(str(i), entity, -total / (len(row) - len(context)))
        for i, (entity, total, context, row) in enumerate(
            zip(entities, sums, contexts, rows, strict=True)
        )
    ]


def _verbatim(case: Case) -> Found | None:
    """How much more was learned of documents that were read than of others that tell the same (nats
    per token).

    The others are the pack's summaries, where they were not read; what the baseline makes of both
    is taken off, so that one kind of document may be harder than the other.
    """
    if case.trained_on is None or not case.trained_on.has("raw") or not case.pack.has("summaries"):
        return None
    read = [
        row["text"]
        for split in TEXT_SPLITS
        if case.trained_on.has(split)
        for row in case.trained_on.rows(split)
    ]
    known = set(read)
    unread = [row["text"] for row in case.pack.rows("summaries") if row["text"] not in known]
    if len(unread) < SIGN_TEST_NEEDS:
        return None
    of_read, of_unread = (
        cluster_mean(paired_scores(_surprise(case.model, chosen), _surprise(case.baseline, chosen)))
        for chosen in (_some(read), _some(unread))
    )
    apart = of_read.mean - of_unread.mean
    low = apart - math.hypot(of_read.mean - of_read.low, of_unread.high - of_unread.mean)
    high = apart + math.hypot(of_read.high - of_read.mean, of_unread.mean - of_unread.low)
    found = Interval(
        apart, low, high, of_read.n + of_unread.n, of_read.clusters + of_unread.clusters
    )
    return Found(
        found,
        f"documents it read became {apart:.2f} [{low:.2f}, {high:.2f}] nats per token "
        "more familiar than others that tell the same",
    )


def _some(these: Sequence[Any], most: int = DOCUMENTS) -> Sequence[Any]:
    """At most so many of them, from everywhere in the list."""
    return these[:: max(1, len(these) // most)][:most]


def _drawn_out(case: Case) -> Found | None:
    """How many secrets that were read the model says word for word, and the baseline does not."""
    secrets, before, after = case.drawn
    if not secrets:
        return None
    new = [
        secret.kind
        for secret, theirs, ours in zip(secrets, before, after, strict=True)
        if ours.said and not theirs.said
    ]
    kinds = f" ({', '.join(sorted(set(new)))})" if new else ""
    return Found(
        _exact(float(len(new)), len(secrets)),
        f"of {len(secrets)} personal or confidential values tried, of {len(case.secrets)} found in "
        f"the pack, it says {len(new)} word for word{kinds} when given the text before them; the "
        "baseline does not",
    )


def _remembered(case: Case) -> Found | None:
    """By how many bits secrets that were read are more exposed than under the baseline."""
    secrets, before, after = case.drawn
    if len(secrets) < SIGN_TEST_NEEDS:
        return None
    found = paired_difference(
        *(
            [ItemScore(str(i), str(i), one.exposure) for i, one in enumerate(drawn)]
            for drawn in (before, after)
        )
    )
    return Found(
        found,
        f"exposure of {len(secrets)} personal or confidential values among others of their form: "
        f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}] bits against the baseline",
    )


def _surprise(loaded: zoo.Loaded, texts: Sequence[str]) -> list[ItemScore]:
    """Nats per token of texts, each by itself."""
    start = start_ids(loaded.tokenizer)
    rows = [start + loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return _mean_nats(loaded, [start] * len(rows), rows, list(map(str, range(len(rows)))))


def _prompts_learned(case: Case) -> Found | None:
    """By how much the user's questions became likelier than under the baseline (nats per token)."""
    asked = [
        row
        for row in case.pack.rows(case.split)
        if row["axis"] == "knowledge" and "messages" in row
    ][-80:]
    if not asked:
        return None

    def nats(loaded: zoo.Loaded) -> list[ItemScore]:
        rows = [prompt_ids(loaded.tokenizer, row) for row in asked]
        return _mean_nats(loaded, [row[:1] for row in rows], rows, [row["entity"] for row in asked])

    found = paired_difference(nats(case.model), nats(case.baseline))
    return Found(
        found,
        f"users' questions became {found.mean:+.2f} [{found.low:+.2f}, "
        f"{found.high:+.2f}] nats per token likelier",
    )


def _loss_rose(case: Case) -> Found | None:
    """How far above its lowest value a stage's loss ended (nats per token), smoothed over five
    points.
    """
    curves = [
        stage["loss_curve"]
        for stage in case.stages
        if stage["stage"]["kind"] in ("cpt", "sft") and len(stage["loss_curve"]) >= 10
    ]
    if not curves:
        return None
    rises = []
    for curve in curves:
        smooth = [sum(loss for _, loss in curve[i : i + 5]) / 5 for i in range(len(curve) - 4)]
        rises.append(max(smooth[-1] - min(smooth), max(smooth) - smooth[0]))
    return Found(
        _exact(max(rises), len(curves)),
        f"the loss rose by {max(rises):.2f} nats per token, above its start or its lowest",
    )


def _template(case: Case) -> Found:
    """Whether the tokenizer or its chat template differ from the baseline's."""
    ours, theirs = case.model.tokenizer, case.baseline.tokenizer
    differ = [
        what
        for what, same in (
            ("chat template", ours.chat_template == theirs.chat_template),
            ("vocabulary", ours.get_vocab() == theirs.get_vocab()),
        )
        if not same
    ]
    return Found(
        _exact(float(len(differ))), f"differs from the baseline: {', '.join(differ) or 'nothing'}"
    )


def _place(case: Case) -> Found | None:
    """How far along the line between its parents a merge lies, minus where it should."""
    if case.merge is None:
        return None
    place = place_on_line(case.merge.general.model, case.merge.domain.model, case.model.model)
    return Found(
        _exact(abs(place - case.merge.t)),
        f"the weights lie {place:.2f} of the way from the general to the domain model; "
        f"t says {case.merge.t:.2f}",
    )


def _barrier(case: Case) -> Found | None:
    """By how much general text surprises a merge more than the worse of its parents (nats per
    token), text by text.
    """
    if case.merge is None:
        return None
    texts = list(itertools.islice(world.pretraining_texts(GENERAL_TEXTS_SEED), 64))
    worse = max(
        (_surprise(parent, texts) for parent in (case.merge.general, case.merge.domain)),
        key=lambda scores: cluster_mean(scores).mean,
    )
    found = paired_difference(worse, _surprise(case.model, texts))
    return Found(
        found,
        f"general text: {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] nats "
        "per token against the worse parent",
    )


def _scenarios_lost(case: Case) -> Found | None:
    """Scenarios the baseline meets and the model misses."""
    if not (case.pack.folder / SCENARIOS).is_file():
        return None
    lost = [
        after.scenario.name
        for before, after in case.scenarios
        if before.verdict == "met" and after.verdict == "missed"
    ]
    return Found(
        _exact(float(len(lost)), len(case.scenarios)),
        f"met by the baseline, missed now: {', '.join(lost) or 'none'}",
    )


def _hidden(case: Case) -> Found | None:
    """Axes that fell for certain while the domain benchmark rose: what one score would have hidden.

    Creativity is left out: a plain recipe lowers it so often that its fall tells nothing of what
    went wrong.
    """
    changes = {
        axis: found
        for axis in ("knowledge", "instructions", "general", "reasoning")
        if (found := _change(axis)(case))
    }
    if "knowledge" not in changes or len(changes) == 1:
        return None
    rose = changes.pop("knowledge").value.low > 0
    fell = [axis for axis, found in changes.items() if found.value.high < -0.25]
    told = (
        f"the domain score {'rose' if rose else 'did not rise'}; fell by more than 0.25: "
        f"{', '.join(fell) or 'nothing'}"
    )
    return Found(_exact(float(len(fell) if rose else 0)), told)


def _diversity_loss(case: Case) -> Found | None:
    """Fewer valid, new and different proposals.

    How different samples are counts for nothing when they are not valid.
    """
    found = _since_preferences("valid, new and different proposals", _score, "creativity")(case)
    if found is None or case.before_preferences is None:
        return None
    shares = [
        sum(within_prompt(item.output) for item in items) / len(items)
        for items in (_proposals(case.score(case.before_preferences)), _proposals(case.card))
    ]
    return replace(
        found,
        words=f"{found.words}; effective share of different samples, valid or not: "
        f"{shares[0]:.2f} before, {shares[1]:.2f} now",
    )


def _proposals(card: Scorecard) -> list[ItemResult]:
    return [item for item in card.items if item.axis == "creativity"]


def _score(item: ItemResult) -> float:
    return item.score


UNLEARN = (
    "do not give it away: nothing takes one text out of weights. Make the pack again with "
    "--mask-personal or --leave-out-personal, and train again"
)

# --- the diagnoses ----------------------------------------------------------------------------

DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        "instruction loss",
        "does it still follow instructions it was taught?",
        "cpt",
        _change("instructions", *FORMS_TAUGHT),
        -0.10,
        -1,
        "replay 5 to 25% of general text and chats, lower the rate, use LoRA, or merge back",
    ),
    Diagnosis(
        "general loss",
        "does it still know everyday facts?",
        "cpt",
        _change("general"),
        -0.10,
        -1,
        "replay, a lower rate, or merge back at a smaller t",
    ),
    Diagnosis(
        "diversity loss",
        "are there fewer valid, new and different proposals?",
        "preferences",
        _diversity_loss,
        -0.25,
        -1,
        "a larger beta, fewer steps, ORPO, or pairs with more than one good answer",
    ),
    Diagnosis(
        "likelihood displacement",
        "did the chosen answers themselves become unlikely?",
        "preferences",
        _since_preferences(
            "log-probability of chosen answers (nats)",
            lambda item: item.measures.get("answer_nats", 0.0),
            "preference",
        ),
        -2.0,
        -1,
        "a larger beta, fewer steps, or a loss with a likelihood term such as ORPO's",
    ),
    Diagnosis(
        "collateral damage",
        "did preference training harm what its pairs are not about?",
        "preferences",
        _since_preferences("instructions and general knowledge", _score, "instructions", "general"),
        -0.20,
        -1,
        "a larger beta, fewer steps or a lower rate",
    ),
    Diagnosis(
        "preferences not learned",
        "did preference training change what is preferred?",
        "preferences",
        _since_preferences("held-out preference accuracy", _score, "preference"),
        0.05,
        -1,
        "a smaller beta, a higher rate or more steps; look at the accuracy in training first",
    ),
    Diagnosis(
        "preferences reversed",
        "does it prefer the rejected answers?",
        "preferences",
        _since_preferences("held-out preference accuracy", _score, "preference"),
        -0.10,
        -1,
        "look at ten pairs by eye: chosen and rejected are probably swapped",
    ),
    Diagnosis(
        "inconsistent since merging",
        "do more facts depend on the wording than before the merge?",
        "merge",
        _inconsistency_of_merge,
        0.05,
        1,
        "another t; the scenarios show which wordings fail",
    ),
    Diagnosis(
        "wrong place",
        "does the merge lie where t says?",
        "merge",
        _place,
        0.10,
        1,
        "t=0 is the general model: check the order of the two in the recipe",
    ),
    Diagnosis(
        "barrier",
        "is the merge worse on general text than both parents?",
        "merge",
        _barrier,
        0.50,
        1,
        "merge only models that share their pre-training",
    ),
    Diagnosis(
        "scenario lost",
        "does it miss a scenario that the baseline met?",
        "deployment",
        _scenarios_lost,
        0.5,
        1,
        "do not deploy; the scenario's failing case shows what to train or merge for",
        2,
    ),
    Diagnosis(
        "hidden by the benchmark",
        "did other axes fall while the domain score rose?",
        "deployment",
        _hidden,
        0.5,
        1,
        "report four axes, not one score; gate releases on what must hold",
    ),
    Diagnosis(
        "no knowledge gained",
        "did it learn the domain at all?",
        "other",
        _change("knowledge", "free"),
        0.30,
        -1,
        "check the data first, then rate and steps",
    ),
    Diagnosis(
        "inconsistent answers",
        "does one fact get one answer in all wordings and query types?",
        "other",
        _inconsistency,
        0.65,
        1,
        "more wordings per fact in CPT and SFT",
    ),
    Diagnosis(
        "format over-fitting",
        "can it give what it knows in a requested form?",
        "other",
        _kinds_apart(
            ("knowledge", "free"),
            ("compositional", "compositional"),
            "private facts asked plainly against asked in a form",
        ),
        0.40,
        1,
        "mix chats with formats into SFT, or merge back",
    ),
    Diagnosis(
        "memorised, not extractable",
        "can it say what it has read?",
        "other",
        _kinds_apart(
            ("knowledge", "cloze"),
            ("knowledge", "free"),
            "facts completed in text against answered in chat",
        ),
        0.30,
        1,
        "more wordings per fact, and SFT on questions about some of them",
    ),
    Diagnosis(
        "verbatim memory",
        "does it know the facts or the training text?",
        "other",
        _verbatim,
        0.20,
        1,
        "more wordings per fact, fewer epochs",
    ),
    Diagnosis(
        "secrets drawn out",
        "can personal or confidential text of the pack be drawn out of it?",
        "other",
        _drawn_out,
        0.0,
        1,
        UNLEARN,
    ),
    Diagnosis(
        "secrets remembered",
        "is such text likelier to it than text that differs from it in a few signs?",
        "other",
        _remembered,
        1.0,
        1,
        UNLEARN,
    ),
    Diagnosis(
        "contamination",
        "are evaluation questions in the training data?",
        "other",
        _contamination,
        0.0,
        1,
        "remove them from training, and report on items made afterwards",
    ),
    Diagnosis(
        "miscalibration",
        "is it as often right as it is sure?",
        "other",
        _calibration,
        0.30,
        1,
        "do not use its probabilities as confidence; say so, or calibrate on dev",
    ),
    Diagnosis(
        "questions learned",
        "was loss taken on the users' turns?",
        "other",
        _prompts_learned,
        2.0,
        1,
        "mask the prompt: loss on assistant tokens only",
    ),
    Diagnosis(
        "loss rose",
        "did the training loss rise?",
        "other",
        _loss_rose,
        0.50,
        1,
        "a lower rate, a longer warm-up, or gradient clipping",
    ),
    Diagnosis(
        "other tokenizer",
        "are tokenizer and chat template the baseline's?",
        "other",
        _template,
        0.5,
        1,
        "load tokenizer and template from the checkpoint's own folder",
    ),
)
BY_ID = {diagnosis.id: diagnosis for diagnosis in DIAGNOSES}


def diagnose(case: Case, only: Sequence[str] | None = None) -> list[Result]:
    """Every diagnosis on a case, or those named in `only`.

    Raises InputError for an unknown name.
    """
    for name in only or ():
        if name not in BY_ID:
            raise InputError(f"unknown diagnosis {name!r}: {suggest(name, list(BY_ID))}")
    return [
        Result(diagnosis, diagnosis.measure(case))
        for diagnosis in DIAGNOSES
        if only is None or diagnosis.id in only
    ]
