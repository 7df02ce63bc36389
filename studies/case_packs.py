"""The packs of the two worked cases: what a pharma and a legal team would train on, of known facts.

Trial records, assay tables and court-like text tell the facts of a shipped pack in another form, so
what is true in them is known and nothing of it was ever in pre-training.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from labkit.base.store import default_root, write_whole
from labkit.data import world
from labkit.data.pack_build import raw_rows, splits_of
from labkit.data.packs import SPLITS, Pack, load_pack
from labkit.data.world import Entity, Language

RECORDS, TABLES, PAPERS = 140, 140, 280  # documents of a pharma pack
ROWS_OF_A_TABLE, COLUMNS_OF_A_TABLE = 3, 3
EVENT = "effect"  # the kind of fact that is an adverse event
EVENT_QUESTIONS = (
    "Does {name} cause {event}? Reply yes or no.",
    "Is {event} a side effect of {name}? Reply yes or no.",
)
YES, NO = "Yes.", "No."
# What a trial record calls each kind of fact, two ways.
FIELDS = {
    "target": ("Target", "Acts on"),
    "disease": ("Condition", "Enrolled with"),
    "route": ("Form", "Given as"),
    "effect": ("Adverse event", "Reported event"),
    "dose": ("Dose", "Daily dose"),
}
COURT = 70  # documents of one measure of court-like text
COURT_FACTS = 3
# What a judgment says beside the clause. It teaches nothing that is asked.
COURT_BEGINS = (
    "The court heard both sides.",
    "The appeal was dismissed with costs.",
    "Judgment was given on a Monday.",
    "The case was sent back to the lower court.",
    "Counsel for the other side did not agree.",
)


# --- writing a pack ---------------------------------------------------------------------------


def case_pack(name: str, source: str, changed: dict[str, list[dict]]) -> Pack:
    """A shipped pack with some splits replaced, under the cache; written again where it differs.

    Its summaries are left out where its text is replaced: they would teach what the text does not.
    """
    pack, folder = load_pack(source), default_root().parent / "worked-cases" / name
    texts = {
        SPLITS[split]: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split, rows in changed.items()
    }

    def fill(draft: Path) -> None:
        shutil.copy(pack.folder / "pack.yaml", draft / "pack.yaml")
        for split in SPLITS:
            if pack.has(split) and not (split == "summaries" and "raw" in changed):
                shutil.copy(pack.path(split), draft / SPLITS[split])
        for file, text in texts.items():
            (draft / file).write_text(text, "utf-8", newline="\n")

    if any(
        not (folder / file).is_file() or (folder / file).read_text("utf-8") != text
        for file, text in texts.items()
    ):
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)


# --- pharma -----------------------------------------------------------------------------------


def trial_record(entity: Entity, rng: random.Random) -> str:
    """All that is known of a compound as the fields of a record, in any order."""
    fields = [f"{rng.choice(words)}: {entity.facts[key]}." for key, words in FIELDS.items()]
    fields.append(f"Given with: {entity.related}.")
    rng.shuffle(fields)
    return " ".join([f"Trial of {entity.name}.", *fields])


def assay_table(entities: list[Entity], rng: random.Random) -> str:
    """A few compounds and a few kinds of facts as a table in Markdown."""
    keys = rng.sample(list(FIELDS), COLUMNS_OF_A_TABLE)
    lines = [["compound", *(FIELDS[key][0].lower() for key in keys)]]
    lines += [[entity.name, *(entity.facts[key] for key in keys)] for entity in entities]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pharma_documents(domain: str) -> list[dict]:
    """Papers, trial records and assay tables about the private compounds, in random order."""
    lang, entities = world.language(domain), world.private_entities(domain)
    rng = random.Random(f"case {domain}")
    rows = raw_rows(lang, rng)[:PAPERS]
    rows += [
        {"text": trial_record(entities[i % len(entities)], rng), "source": "trial record"}
        for i in range(RECORDS)
    ]
    rows += [
        {"text": assay_table(rng.sample(entities, ROWS_OF_A_TABLE), rng), "source": "assay table"}
        for _ in range(TABLES)
    ]
    rng.shuffle(rows)
    return rows


def event_pairs(
    lang: Language, entities: list[Entity], seed: str
) -> list[tuple[Entity, str, bool]]:
    """Per compound its own adverse event and another compound's: (compound, event, is it caused).

    Events change places among the compounds, so each is right as often as it is wrong: nothing can
    be guessed from the event alone.
    """
    rng, own = random.Random(f"events {lang.name} {seed}"), [e.facts[EVENT] for e in entities]
    for _ in range(10_000):
        others = rng.sample(own, len(own))
        if all(mine != other for mine, other in zip(own, others, strict=True)):
            break
    else:
        raise AssertionError("no two compounds have different adverse events")
    return [
        (entity, event, event == entity.facts[EVENT])
        for entity, other in zip(entities, others, strict=True)
        for event in (entity.facts[EVENT], other)
    ]


def event_items(domain: str, split: str) -> list[dict]:
    """Adverse-event items about the compounds of a split: as many to be answered yes as no.

    kind: `event` where the compound causes it, `no event` where it does not.
    """
    lang, entities = world.language(domain), splits_of(domain)[split]
    items = []
    for wording, question in enumerate(EVENT_QUESTIONS):
        for entity, event, caused in event_pairs(lang, entities, f"{split} {wording}"):
            asked = question.format(name=entity.name, event=event)
            items.append(
                {
                    "axis": "adverse events",
                    "kind": "event" if caused else "no event",
                    "entity": entity.name,
                    "event": event,
                    "messages": [{"role": "user", "content": asked}],
                    "choices": [YES, NO],
                    "answer": YES if caused else NO,
                }
            )
    return [{"id": f"{split}-event-{number:03d}", **item} for number, item in enumerate(items)]


def event_chats(domain: str) -> list[tuple[str, str, str, bool]]:
    """(question, right reply, wrong reply, about a private compound) for training: about compounds
    that no item asks about.
    """
    lang = world.language(domain)
    groups = (
        (splits_of(domain)["asked"], True),
        (world.asked_about(world.public_entities(domain)), False),
    )
    return [
        (question.format(name=entity.name, event=event), *((YES, NO) if caused else (NO, YES)), own)
        for entities, own in groups
        for wording, question in enumerate(EVENT_QUESTIONS)
        for entity, event, caused in event_pairs(lang, entities, f"train {wording} {own}")
    ]


def pharma_pack(domain: str = "biomed") -> Pack:
    """Raw: papers, trial records, assay tables. qa: the pack's curated questions and adverse-event
    questions. preferences: the pack's, and right over wrong replies on adverse events.
    """
    source, chats = load_pack(domain), event_chats(domain)
    rng = random.Random(f"case {domain} questions")
    asked = source.rows("qa") + [
        {"messages": world.chat(question, right), "source": "expert"}
        for question, right, _, _ in chats
    ]
    preferred = source.rows("preferences") + [
        {
            "kind": "adverse event",
            "prompt": [{"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": right}],
            "rejected": [{"role": "assistant", "content": wrong}],
        }
        for question, right, wrong, own in chats
        if own
    ]
    rng.shuffle(asked)
    rng.shuffle(preferred)
    return case_pack(
        f"{domain}-trials",
        domain,
        {"raw": pharma_documents(domain), "qa": asked, "preferences": preferred},
    )


@cache
def known_reasoning() -> dict[str, list[dict]]:
    """Two hops, comparisons and exclusions about well-known things of all three domains, as items:
    for training, dev and test. They ask for a skill and for no fact of the pack.

    No question stands in two of the three. The start model was trained on two hops and comparisons
    about these things, so that items show what is kept or sharpened, not what is learned afresh.
    """
    found: dict[str, list[dict]] = {"train": [], "dev": [], "test": []}
    for domain in world.DOMAINS:
        lang, known = world.language(domain), world.asked_about(world.public_entities(domain))
        rng = random.Random(f"case known {domain}")
        by_name = {entity.name: entity for entity in known}
        made = []
        for entity in known[:-1]:  # the last one is related to one that is never asked about
            for key, attribute in lang.attributes.items():
                hop, answer = world.two_hop_question(lang, entity, key, by_name)
                others = [value for value in attribute.values if value != answer["content"]]
                choices = sorted([answer["content"], *rng.sample(others, 3)])
                made.append(_known_item("two_hop", entity, [hop, answer], choices))
        for _ in range(PAIRS):
            pair = rng.sample(known, 2)
            chat = world.comparison_question(lang, *pair)
            if chat:
                names = [one.name for one in pair]
                made.append(
                    _known_item("comparison", min(pair, key=lambda one: one.name), chat, names)
                )
        for odd, chat, names in _exclusions(lang, known, rng):
            made.append(_known_item("exclusion", odd, chat, names))
        # a pair is compared once, in one order
        distinct = {(item["kind"], item["entity"], *sorted(item["choices"])): item for item in made}
        for number, item in enumerate(distinct.values()):
            found[PLACES[number % len(PLACES)]].append(item)
    return found


PLACES = ("dev", "test", *["train"] * 6)
PAIRS = 180  # of well-known things that are compared, in each domain


def reasoning_chats() -> list[dict]:
    """What a reasoning specialist is trained on."""
    chats = [
        {
            "messages": world.chat(item["messages"][0]["content"], item["answer"]),
            "source": "expert",
        }
        for item in known_reasoning()["train"]
    ]
    random.Random("case reasoning").shuffle(chats)
    return chats


def known_reasoning_items(split: str) -> list[dict]:
    """Reasoning about well-known things, of questions that no training row of the case asks."""
    items = known_reasoning()[split]
    return [{"id": f"{split}-known-{number:03d}", **item} for number, item in enumerate(items)]


def _exclusions(
    lang: Language, known: list[Entity], rng: random.Random
) -> Iterator[tuple[Entity, list[dict], list[str]]]:
    """(the odd one, question and answer, the names to choose from) wherever two others share a
    value that it lacks.
    """
    for odd in known:
        for key, attribute in lang.attributes.items():
            shared = [
                value
                for value in attribute.values
                if value != odd.facts[key] and sum(e.facts[key] == value for e in known) > 1
            ]
            if shared:
                value = rng.choice(shared)
                alike = [entity.name for entity in known if entity.facts[key] == value]
                names = [*rng.sample(alike, 2), odd.name]
                rng.shuffle(names)
                yield odd, world.exclusion_question(lang, key, names, value, odd.name), names


def _known_item(kind: str, entity: Entity, chat: list[dict], choices: list[str]) -> dict:
    question, answer = chat
    return {
        "axis": "known reasoning",
        "kind": kind,
        "entity": entity.name,
        "messages": [question],
        "choices": choices,
        "answer": answer["content"],
    }


def reasoning_pack(domain: str = "biomed") -> Pack:
    """A pack whose curated questions ask for reasoning alone."""
    return case_pack(f"{domain}-reasoning", domain, {"qa": reasoning_chats()})


def union_pack(domain: str = "biomed") -> Pack:
    """The pharma pack with the questions of both specialists."""
    pack = pharma_pack(domain)
    both = pack.rows("qa") + reasoning_chats()
    random.Random("case union").shuffle(both)
    changed = {split: pack.rows(split) for split in ("raw", "preferences")}
    return case_pack(f"{domain}-union", domain, {**changed, "qa": both})


# --- legal ------------------------------------------------------------------------------------


def court_text(lang: Language, entity: Entity, rng: random.Random) -> str:
    """A piece of a judgment: some facts of a clause between sentences that teach nothing."""
    keys = rng.sample(list(lang.attributes), COURT_FACTS)
    told = [
        world.statement(attribute, entity.name, entity.facts[key], rng.randrange(8))
        for key, attribute in lang.attributes.items()
        if key in keys
    ]
    return " ".join([*rng.sample(COURT_BEGINS, 2), *told, rng.choice(lang.filler)])


def court_documents(domain: str, measures: int) -> list[dict]:
    """So many measures of court-like text; a smaller amount is the beginning of a larger one."""
    lang, entities = world.language(domain), world.private_entities(domain)
    rng = random.Random(f"case {domain} court")
    return [
        {"text": court_text(lang, entities[i % len(entities)], rng), "source": "court"}
        for i in range(COURT * measures)
    ]


def court_pack(measures: int, domain: str = "legal") -> Pack:
    """The pack with so many measures of court-like text in place of its own."""
    return case_pack(
        f"{domain}-court-{measures}", domain, {"raw": court_documents(domain, measures)}
    )


# --- real packs -------------------------------------------------------------------------------


def part_of_text(domain: str, rows: int) -> Pack:
    """A shipped pack with the first of its text alone."""
    return case_pack(f"{domain}-{rows}", domain, {"raw": load_pack(domain).rows("raw")[:rows]})
