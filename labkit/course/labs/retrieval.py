"""Facts in the prompt against facts trained in, on the same questions, before and after a change.

There are four ways with one start model, which was taught to read and knows none of the pack's
facts: facts not given, facts trained in (CPT and SFT on the pack), passages found by BM25 in the
prompt, and both. Then some facts change: the passages are rewritten and indexed again, the models
stay as they are.

The tiny instruct models were never shown a passage in a prompt, so they answer from memory whatever
stands there. One SFT stage changes that. Each of its chats is about an invented entity with facts
drawn afresh, which no pack and no other text tells: a model that remembers gains nothing, one that
reads gets it right.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from labkit.base.errors import InputError
from labkit.base.pages import plain_table, signed
from labkit.base.records import AXIS_NAMES
from labkit.base.stats import Interval, ItemScore, cluster_mean, paired_difference, with_run_noise
from labkit.base.store import Checkpoint, write_whole
from labkit.course import live
from labkit.course.figures import COLOURS, MARKERS, new_figure
from labkit.course.lesson import Guess, Lab, say, show_html
from labkit.data import world
from labkit.data.packs import SPLITS, TEXT_SPLITS, Pack, load_pack, variants_folder
from labkit.data.published import run_noise_of
from labkit.data.world import Entity, Language
from labkit.evaluate.scorecards import (
    MAX_NEW_TOKENS,
    compare_axis,
    generate,
    limited,
    prompt_ids,
    says,
)
from labkit.evaluate.scoring import score_checkpoint
from labkit.models.zoo import Loaded, longest_text
from labkit.train.pipeline import load_checkpoint
from labkit.train.specs import GENTLE, PipelineSpec, ProfileName, Stage, profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# --- learning to read ------------------------------------------------------------------------

READER = Stage(kind="sft", learning_rate=1.5e-3, steps=500, replay=0.25)
CHATS = round(READER.steps * READER.batch_size * (1 - READER.replay))  # each is seen once
RELATION_SHARE = 0.5  # of passages that also tell of the entity's relation
UNSEEN = 1000  # a draw of facts that the chats do not reach
# Of chats that are sure to ask for the number: reading it takes longest to learn.
NUMBER_SHARE = 0.35


def with_passages(messages: Sequence[dict], passages: Sequence[str]) -> list[dict]:
    """A chat with passages before it, as its system turn; without passages the chat as it is."""
    return (
        [{"role": "system", "content": " ".join(passages)}, *messages]
        if passages
        else list(messages)
    )


def strangers(lang: Language, *, first: int = 0) -> Iterator[Entity]:
    """Endless entities that neither a pack nor pre-training mentions; a name that comes again has
    other facts.

    first: the number of the first draw of facts.
    """
    room = math.prod(map(len, lang.name_parts)) - world.PUBLIC - world.PRIVATE
    for seed in itertools.count(first):
        yield from world.make_entities(lang, room, skip=world.PUBLIC + world.PRIVATE, seed=seed)


def reading_chat(lang: Language, stranger: Entity, rng: random.Random) -> list[dict]:
    """A passage of one to all facts of a stranger, a question for one of them, and the answer.

    Short passages are what makes it learnable: a tiny model first learns to look at the right word
    among a few.
    """
    number = next(key for key, attribute in lang.attributes.items() if attribute.ordinal)
    key = number if rng.random() < NUMBER_SHARE else rng.choice(list(lang.attributes))
    others = [other for other in lang.attributes if other != key]
    told = [key, *rng.sample(others, rng.randint(0, len(others)))]
    sentences = [
        world.statement(
            lang.attributes[fact],
            stranger.name,
            stranger.facts[fact],
            rng.randrange(len(lang.attributes[fact].statements)),
        )
        for fact in told
    ]
    if rng.random() < RELATION_SHARE:
        sentences.append(
            rng.choice(lang.relation["statements"]).format(
                name=stranger.name, other=stranger.related
            )
        )
    rng.shuffle(sentences)
    wording = rng.randrange(len(lang.attributes[key].questions))
    return with_passages(world.fact_question(lang, stranger, key, wording), [" ".join(sentences)])


def reading_items(domain: str, count: int) -> list[dict]:
    """Evaluation items that only reading answers: whole documents about strangers whose facts no
    reading chat has told.
    """
    lang, rng = world.language(domain), random.Random(f"reading items {domain}")
    items = []
    for number, stranger in enumerate(itertools.islice(strangers(lang, first=UNSEEN), count)):
        key = list(lang.attributes)[number % len(lang.attributes)]
        question = world.fact_question(
            lang, stranger, key, rng.randrange(len(lang.attributes[key].questions))
        )[:1]
        items.append(
            {
                "id": f"reading-{number:03d}",
                "axis": "knowledge",
                "kind": key,
                "entity": stranger.name,
                "answer": stranger.facts[key],
                "messages": with_passages(question, [world.document(lang, stranger, rng)]),
            }
        )
    return items


def reader_pack(domain: str) -> Pack:
    """Reading chats in the language of a domain, as a pack with nothing but `qa`; written once into
    the cache.

    Raises InputError for a domain that no world speaks, StoreError when the pack cannot be written.
    """
    if domain not in world.DOMAINS:
        raise InputError(
            f"pack {domain!r}: a tiny model can be taught to read only in the words of "
            f"a shipped pack; use {', '.join(world.DOMAINS)}"
        )
    lang, rng = world.language(domain), random.Random(f"reading {domain}")
    chats = (
        reading_chat(lang, stranger, rng) for stranger in itertools.islice(strangers(lang), CHATS)
    )
    text = "".join(
        json.dumps({"messages": chat, "source": "expert"}, ensure_ascii=False) + "\n"
        for chat in chats
    )
    folder = variants_folder() / f"{domain}-reading"
    card = {"name": f"{domain}-reading", "title": f"{lang.title}: reading", "licence": "Apache-2.0"}

    def fill(draft: Path) -> None:
        (draft / SPLITS["qa"]).write_text(text, "utf-8", newline="\n")
        (draft / "pack.yaml").write_text(yaml.safe_dump(card, sort_keys=False), "utf-8")

    written = folder / SPLITS["qa"]
    if not written.is_file() or written.read_text("utf-8") != text:
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)


# --- passages --------------------------------------------------------------------------------

KS = (1, 3)  # passages per question that are tried on dev
CHANGED_SHARE = 0.5
READING_ITEMS = 100
KEPT_AXES = ("general", "instructions")  # what learning to read may have cost
NOTHING, TRAINED, PROMPT = "not given", "trained in", "in the prompt"
BOTH = "trained in and in the prompt"


class Passages:
    """Texts with a BM25 index over their words. seconds: what indexing took.

    Source: Robertson & Zaragoza 2009, doi 10.1561/1500000019; bm25s, arXiv 2407.03618.
    """

    def __init__(self, texts: Sequence[str]):
        import bm25s

        began = time.perf_counter()
        self.texts, self._index = list(texts), bm25s.BM25()
        self._index.index(self._words(self.texts), show_progress=False)
        self.seconds = time.perf_counter() - began

    @staticmethod
    def _words(texts: list[str]):
        import bm25s

        return bm25s.tokenize(texts, show_progress=False)

    def find(self, questions: Sequence[str], k: int) -> list[list[str]]:
        """The k best passages per question, best first."""
        places, _ = self._index.retrieve(
            self._words(list(questions)), k=min(k, len(self.texts)), show_progress=False
        )
        return [[self.texts[place] for place in row] for row in places]


def passages_of(pack: Pack) -> list[str]:
    """What CPT reads, and retrieval looks through."""
    return [row["text"] for split in TEXT_SPLITS if pack.has(split) for row in pack.rows(split)]


def fact_items(pack: Pack, split: str) -> list[dict]:
    """The free questions about a pack's facts. Raises InputError when it has none."""
    items = [
        row
        for row in pack.rows(split)
        if row["axis"] == "knowledge" and row.get("kind") == "free" and "answer" in row
    ]
    if not items:
        raise InputError(
            f'{pack.path(split)}: no item of axis "knowledge" and kind "free" with an '
            "answer; add some, see docs/packs.md"
        )
    return items


def question_of(item: dict) -> str:
    return item["messages"][-1]["content"]


def states(passage: str, entity: str, answer: str) -> bool:
    """Whether one sentence of the passage names both."""
    return any(
        says(entity, sentence) and says(answer, sentence) for sentence in _sentences(passage)
    )


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+", text)


# --- facts that change ------------------------------------------------------------------------


def change_facts(
    items: Sequence[dict], *, share: float, seed: int, pool: Sequence[dict]
) -> dict[tuple[str, str], str]:
    """A seeded share of the facts (entity, value) that items ask for, with their new values.

    A new value is another entity's in pool, where the same is asked of it: in the same words but
    for the name. Raises InputError when no fact has another value.
    """
    asked: dict[str, set[str]] = {}
    own: dict[str, set[str]] = {}
    for item in pool:
        asked.setdefault(_form(item), set()).add(item["answer"])
        own.setdefault(item["entity"], set()).add(item["answer"])
    facts = {
        (item["entity"], item["answer"]): asked[_form(item)] - own[item["entity"]] for item in items
    }
    rng = random.Random(f"changed facts {seed}")
    able = sorted(fact for fact, others in facts.items() if others)
    if not able:
        raise InputError(
            "no fact can be changed: no two items ask the same of two entities that "
            "differ; add items"
        )
    return {
        fact: rng.choice(sorted(facts[fact]))
        for fact in rng.sample(able, max(1, round(share * len(able))))
    }


def _form(item: dict) -> str:
    return question_of(item).replace(item["entity"], "…")


def rewrite(texts: Sequence[str], changes: dict[tuple[str, str], str]) -> list[str]:
    """The texts with every changed value replaced, in each sentence that names its entity."""
    by_entity: dict[str, dict[str, str]] = {}
    for (entity, old), new in changes.items():
        by_entity.setdefault(entity, {})[old.lower()] = new
    return [
        " ".join(_rewritten(sentence, by_entity) for sentence in _sentences(text)) for text in texts
    ]


def _rewritten(sentence: str, by_entity: dict[str, dict[str, str]]) -> str:
    for entity, values in by_entity.items():
        if entity in sentence and says(entity, sentence):
            sentence = _with_values(sentence, values)
    return sentence


def _with_values(sentence: str, values: dict[str, str]) -> str:
    return re.sub(
        rf"(?<!\w)({'|'.join(map(re.escape, values))})(?!\w)",
        lambda found: values[found[1].lower()],
        sentence,
        flags=re.IGNORECASE,
    )


# --- asked ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What a model said to each item, and the mean number of tokens per question, prompt and answer
    together.
    """

    outputs: list[str]
    tokens: float


def ask(loaded: Loaded, items: Sequence[dict], found: Sequence[Sequence[str]]) -> Answers:
    """Greedy answers to items with passages before each question, as many of its passages as the
    context holds.
    """
    prompts = [
        _fitting(loaded, item, passages) for item, passages in zip(items, found, strict=True)
    ]
    outputs = [answer for (answer,) in generate(loaded.model, loaded.tokenizer, prompts)]
    said = loaded.tokenizer(outputs, add_special_tokens=False)["input_ids"]
    return Answers(outputs, sum(map(len, prompts + said)) / len(items))


def _fitting(loaded: Loaded, item: dict, passages: Sequence[str]) -> list[int]:
    room = (longest_text(loaded.model) or sys.maxsize) - MAX_NEW_TOKENS
    for count in range(len(passages), 0, -1):
        ids = prompt_ids(
            loaded.tokenizer, {"messages": with_passages(item["messages"], passages[:count])}
        )
        if len(ids) <= room:
            return ids
    if passages:
        raise InputError(
            f"item {item['id']!r}: not even one passage fits into {room} tokens before "
            "the answer; cut the pack's texts into shorter ones"
        )
    return prompt_ids(loaded.tokenizer, item)


def _scores(
    items: Sequence[dict], outputs: Sequence[str], answers: Sequence[str], seed: int
) -> tuple[ItemScore, ...]:
    return tuple(
        ItemScore(item["id"], item["entity"], float(says(answer, output)), seed)
        for item, output, answer in zip(items, outputs, answers, strict=True)
    )


# --- compared ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way of giving a model facts, asked the same questions before and after some of the facts
    changed.

    before: per question, whether the answer is right. new, old: per question about a changed fact,
    whether the answer after the change has the new value, or still the old one. tokens: mean per
    question, prompt and answer together. update_seconds: what following the change took, or, for
    what is trained in, what the training took that would have to be run again; None where nothing
    is given.
    """

    name: str
    before: tuple[ItemScore, ...]
    new: tuple[ItemScore, ...]
    old: tuple[ItemScore, ...]
    tokens: float
    update_seconds: float | None

    def intervals(self) -> tuple[Interval, Interval, Interval]:
        """Shares of before, new and old with their 95% intervals over entities."""
        return cluster_mean(self.before), cluster_mean(self.new), cluster_mean(self.old)


@dataclass(frozen=True)
class Difference:
    """A claim and its paired effect. claimed: the effect's sign if the claim is true."""

    claim: str
    effect: Interval
    claimed: int
    reported: str


@dataclass(frozen=True)
class RetrievalResult:
    """What was asked and found.

    ways: by name. k: passages per question, chosen on dev; by_k: share right on dev per k. hits:
    share of the test questions whose fact stands in a passage found, before and after the change.
    reading: per question about a stranger, whose facts stand in the prompt alone, whether the
    answer is right: of the reader, and of the specialist.
    """

    ways: dict[str, Way]
    k: int
    by_k: dict[int, Interval]
    hits: tuple[Interval, Interval]
    reading: tuple[tuple[ItemScore, ...], tuple[ItemScore, ...]]

    def differences(self) -> list[Difference]:
        """The three comparisons that are reported, each with what is reported elsewhere.

        The third is of these two runs: the noise between training seeds is not known for reading.
        """
        prompt, trained = self.ways[PROMPT], self.ways[TRAINED]
        return [
            Difference(
                "before any change, facts in the prompt are answered right more often "
                "than facts trained in",
                _effect(trained.before, prompt.before),
                1,
                OVADIA,
            ),
            Difference(
                "after the change, the new facts are answered right more often from "
                "the prompt than from training",
                _effect(trained.new, prompt.new),
                1,
                OVADIA,
            ),
            Difference(
                "training the facts in costs reading: even what stands in the prompt "
                "alone is answered right less often",
                paired_difference(*self.reading),
                -1,
                RAFT,
            ),
        ]


OVADIA = (
    "retrieval beats unsupervised fine-tuning on known and new facts alike (Ovadia et al. "
    "2023, arXiv 2312.05934, abstract)"
)
RAFT = (
    "a remedy rather than the loss: fine-tuning with passages in the prompt improves "
    "open-book answers in a domain (Zhang et al. 2024, arXiv 2403.10131, abstract)"
)


def _effect(before: Sequence[ItemScore], after: Sequence[ItemScore]) -> Interval:
    """With the noise between training seeds of the pack's knowledge, as the study measured it; it
    did not train readers.
    """
    return with_run_noise(paired_difference(before, after), run_noise_of("knowledge", "free"))


def choose_k(
    reader: Loaded, items: Sequence[dict], passages: Passages, seed: int = 0
) -> dict[int, Interval]:
    """Share right per number of passages. Choose on dev."""
    found = passages.find([question_of(item) for item in items], max(KS))
    answers = [item["answer"] for item in items]
    return {
        k: cluster_mean(
            _scores(items, ask(reader, items, [row[:k] for row in found]).outputs, answers, seed)
        )
        for k in KS
    }


def compare_retrieval(
    reader: Loaded,
    specialist: Loaded,
    pack: Pack,
    *,
    training_seconds: float,
    limit: int | None = None,
    share: float = CHANGED_SHARE,
    seed: int = 0,
) -> RetrievalResult:
    """Ask four ways the test questions, change a share of the facts in the passages, and ask again.

    reader: reads prompts and knows none of the pack's facts. specialist: the reader after training
    on the pack, which took training_seconds. limit: questions (None: all). Raises InputError when
    the pack has no such questions.
    """
    every, dev = (fact_items(pack, split) for split in ("test", "dev"))
    items, dev = limited(every, limit), limited(dev, limit)
    changes = change_facts(items, share=share, seed=seed, pool=every)
    texts = passages_of(pack)
    old, new = Passages(texts), Passages(rewrite(texts, changes))
    by_k = choose_k(reader, dev, old, seed)
    k = max(by_k, key=lambda k: (by_k[k].mean, -k))
    questions = [question_of(item) for item in items]
    first_found, then_found = (passages.find(questions, k) for passages in (old, new))
    truth = [item["answer"] for item in items]
    now = [changes.get((item["entity"], item["answer"]), item["answer"]) for item in items]
    nothing = [()] * len(items)

    def way(
        name: str, loaded: Loaded, before: Sequence, after: Sequence, update_seconds: float | None
    ) -> Way:
        first = ask(loaded, items, before)
        second = first if after is before else ask(loaded, items, after)
        picked = [
            i for i, (then, since) in enumerate(zip(truth, now, strict=True)) if then != since
        ]
        changed, said = [items[i] for i in picked], [second.outputs[i] for i in picked]
        return Way(
            name,
            _scores(items, first.outputs, truth, seed),
            _scores(changed, said, [now[i] for i in picked], seed),
            _scores(changed, said, [truth[i] for i in picked], seed),
            first.tokens,
            update_seconds,
        )

    ways = (
        way(NOTHING, reader, nothing, nothing, None),
        way(TRAINED, specialist, nothing, nothing, training_seconds),
        way(PROMPT, reader, first_found, then_found, new.seconds),
        way(BOTH, specialist, first_found, then_found, new.seconds),
    )
    hits = (
        cluster_mean(_hits(items, first_found, truth, seed)),
        cluster_mean(_hits(items, then_found, now, seed)),
    )
    alone = limited(reading_items(pack.name, READING_ITEMS), limit)
    return RetrievalResult(
        {made.name: made for made in ways},
        k,
        by_k,
        hits,
        (_read(reader, alone, seed), _read(specialist, alone, seed)),
    )


def _read(loaded: Loaded, items: Sequence[dict], seed: int) -> tuple[ItemScore, ...]:
    outputs = ask(loaded, items, [()] * len(items)).outputs
    return _scores(items, outputs, [item["answer"] for item in items], seed)


def _hits(
    items: Sequence[dict], found: Sequence[Sequence[str]], answers: Sequence[str], seed: int
) -> list[ItemScore]:
    return [
        ItemScore(
            item["id"],
            item["entity"],
            float(any(states(passage, item["entity"], answer) for passage in row)),
            seed,
        )
        for item, row, answer in zip(items, found, answers, strict=True)
    ]


# --- the figure ------------------------------------------------------------------------------

MOMENTS = (
    "before the change:\nright",
    "after it, changed facts:\nnew value (right)",
    "after it, changed facts:\nold value (out of date)",
)
STEP = 0.14  # between two ways in one group


def before_and_after(ways: dict[str, tuple[Interval, Interval, Interval]]) -> Figure:
    """Grouped dots with intervals. ways: name -> shares of MOMENTS, in their order."""
    figure, (ax,) = new_figure(9.6, 4.8)
    for i, (name, found) in enumerate(ways.items()):
        places = [moment + (i - (len(ways) - 1) / 2) * STEP for moment in range(len(MOMENTS))]
        errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
        ax.errorbar(
            places,
            [f.mean for f in found],
            yerr=errors,
            fmt=MARKERS[i],
            color=COLOURS[i],
            markersize=10,
            capsize=4,
            label=f"facts {name}",
        )
    ax.axvline(0.5, color="#666666", linewidth=1.5, linestyle="--")
    ax.set_xticks(range(len(MOMENTS)), MOMENTS)
    ax.set_xlim(-0.5, len(MOMENTS) - 0.5)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("share of questions (95% interval)", fontsize=13)
    ax.grid(axis="y", alpha=0.3)
    figure.legend(
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=13,
    )
    return figure


# --- trained and shown --------------------------------------------------------------------------


def train_both(
    pack: Pack, *, model: str, seed: int, profile_name: ProfileName
) -> tuple[Checkpoint, list[Checkpoint]]:
    """The reader, and the stages of the specialist that goes on from it: the gentle recipe on the
    pack.

    Raises InputError for a pack in whose words no reading can be taught.
    """
    common: dict[str, Any] = {"seed": seed, "profile": profile_name}
    reader = live.run(
        PipelineSpec(
            pack=str(reader_pack(pack.name).folder), model=model, stages=(READER,), **common
        )
    )[-1]
    return reader, live.run(
        PipelineSpec(pack=str(pack.folder), model=str(reader.folder), stages=GENTLE, **common)
    )


def show_retrieval(lab: Lab, guess: Guess) -> RetrievalResult:
    """Train what is not there yet, compare, and show: a figure, what each way costs, findings, what
    learning to read cost. guess: of the changed facts that the trained model answers rightly.
    """
    pack = lab.known_pack()
    reader, stages = train_both(pack, model=lab.model, seed=lab.seed, profile_name=lab.profile)
    seconds = sum(stage.lineage["wall_seconds"] for stage in stages)
    say(
        f"Learning to read took {reader.lineage['wall_seconds']:.0f} s, training on the "
        f"pack {seconds:.0f} s (kept, and reused next time)"
    )
    models = load_checkpoint(reader), load_checkpoint(stages[-1])
    with live.working("asking all questions four ways, before and after the change"):
        found = compare_retrieval(
            *models,
            pack,
            training_seconds=seconds,
            limit=profile(lab.profile).eval_limit,
            seed=lab.seed,
        )
    with guess.curtain():
        _show_found(lab, pack, found)
        show_cost_of_reading(lab, pack, models[0])
        lab.outcome(guess, found.ways["trained in"].intervals()[1])
    return found


def _show_found(lab: Lab, pack: Pack, found: RetrievalResult) -> None:
    shares = {name: way.intervals() for name, way in found.ways.items()}
    told = "; ".join(
        f"{name}: {before.mean:.2f}, then new {new.mean:.2f}, old {old.mean:.2f}"
        for name, (before, new, old) in shares.items()
    )
    lab.show(
        before_and_after(shares),
        "retrieval",
        "Share of questions answered right before facts change, and with new and old "
        f"values after. {told}.",
    )
    _show_table(lab, found, shares)
    for difference in found.differences():
        lab.finding(
            difference.claim,
            difference.effect,
            claimed=difference.claimed,
            reported=difference.reported,
            on=pack.name,
        )


def _show_table(
    lab: Lab, found: RetrievalResult, shares: dict[str, tuple[Interval, Interval, Interval]]
) -> None:
    rows = []
    for name, (before, new, old) in shares.items():
        way = found.ways[name]
        lab.record(
            "retrieval",
            way=name,
            k=found.k,
            before=before.as_dict(),
            new=new.as_dict(),
            old=old.as_dict(),
            tokens=way.tokens,
            update_seconds=way.update_seconds,
        )
        rows.append(
            (
                name,
                str(before),
                str(new),
                str(old),
                f"{way.tokens:.0f}",
                "" if way.update_seconds is None else f"{way.update_seconds:.2g}",
            )
        )
    show_html(
        plain_table(
            (
                "facts are",
                "right before",
                "new value after",
                "old value after",
                "tokens per question",
                "seconds to follow the change",
            ),
            rows,
        )
    )
    first, _, _ = next(iter(shares.values()))
    say(
        f"{first.n} questions about {first.clusters} entities, {first.seeds} training "
        f"seed. k = {found.k}, chosen on dev ("
        + ", ".join(f"{k}: {share}" for k, share in found.by_k.items())
        + f"). The fact asked for stands in a passage found: {found.hits[0]} before, "
        f"{found.hits[1]} after."
    )


def show_cost_of_reading(lab: Lab, pack: Pack, reader: Loaded) -> None:
    """What learning to read cost the start model elsewhere, as paired differences."""
    before, after = (
        score_checkpoint(model, pack, axes=KEPT_AXES, profile_name=lab.profile, name=name)
        for model, name in ((lab.model, "start model"), (reader, "reader"))
    )
    rows = []
    for axis in KEPT_AXES:
        lost = compare_axis(before, after, axis)
        lab.record("cost_of_reading", axis=axis, difference=lost.as_dict())
        rows.append(
            (AXIS_NAMES[axis], str(before.interval(axis)), str(after.interval(axis)), signed(lost))
        )
    show_html(plain_table(("axis", "start model", "after learning to read", "difference"), rows))
