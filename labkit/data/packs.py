"""Domain packs: plain JSONL in the columns TRL takes, plus pack.yaml.

The module loads a pack, checks every row of it, and identifies its content by a fingerprint. A pack
that a user wrote is the same thing as a shipped one; docs/packs.md shows every column. Variants are
packs that differ from a shipped one in one thing each: the arms of experiments on data, and the
clinic's broken data. A variant is a pack like any other, written once into the cache.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from textwrap import shorten

from labkit.base.errors import InputError, PackError, suggest
from labkit.base.inputs import read_yaml, seen
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import default_root, file_hash, shipped_or_checkout, write_whole
from labkit.data import world
from labkit.data.instructions import (
    FORMS,
    INSTRUCTIONS,
    REAL_MODELS,
    TINY_MODELS,
    setting_problems,
)
from labkit.data.leaks import Leak, find_leaks, words_of
from labkit.data.world import DOMAINS, SEEN_WORDINGS, TextKnobs

SPLITS = {
    "raw": "raw.jsonl",
    "summaries": "summaries.jsonl",
    "qa": "qa.jsonl",
    "preferences": "preferences.jsonl",
    "dev": "eval_dev.jsonl",
    "test": "eval_test.jsonl",
}
TEXT_SPLITS, EVAL_SPLITS = ("raw", "summaries"), ("dev", "test")
CHAT_SPLITS = ("qa", "preferences")
TRAINING_SPLITS = tuple(split for split in SPLITS if split not in EVAL_SPLITS)
# a stage that needs one says so (train/pipeline.py:check_spec)
OPTIONAL_SPLITS = ("summaries", "qa", "preferences")
COLUMNS = {
    "text": {"required": ["text"], "optional": ["source"]},
    "qa": {"required": ["messages"], "optional": ["source"]},
    "preferences": {"required": ["prompt", "chosen", "rejected"], "optional": ["source", "kind"]},
    "eval": {
        "required": ["id", "axis", "entity"],
        "optional": [
            "kind",
            "messages",
            "prompt",
            "answer",
            "choices",
            "checks",
            "kwargs",
            "pattern",
            "source",
            "taught",
            "models",
        ],
    },
}
HELP = "see docs/packs.md"
# in pack.yaml, what was found of personal text; and the choice by which it stays in the pack
PERSONAL, KEEP = "personal_or_confidential_text", "keep"
INVENTED = " (invented)"
# How a pack comes by a split that it lacks.
REMEDIES = {
    "raw": "put texts into its folder of documents and make it again with `labkit pack new`",
    "summaries": "add it by hand: short texts that tell the facts again",
    "qa": "put a table with the columns question and answer among its documents and make it again "
    "with `labkit pack new`",
    "preferences": "put a table with the columns question, chosen and rejected among its documents "
    "and make it again with `labkit pack new`",
}


def layout(split: str) -> str:
    """Which set of columns a split has."""
    return "text" if split in TEXT_SPLITS else "eval" if split in EVAL_SPLITS else split


def text_of(row: dict) -> str:
    """What CPT reads of a row: its text, or a conversation's turns one after the other."""
    return row["text"] if "text" in row else " ".join(turn["content"] for turn in row["messages"])


@dataclass(frozen=True)
class Pack:
    """A pack on disk. Splits are read and checked when first used."""

    folder: Path
    name: str
    title: str
    licence: str

    def path(self, split: str) -> Path:
        """Where the file of a split lies, whether it is there or not."""
        return self.folder / SPLITS[split]

    def rows(self, split: str) -> list[dict]:
        """The checked rows of a split.

        Raises PackError naming file, line and field of the first problem.
        """
        if split not in self._cache:
            rows, problems = read_split(self.path(split), split)
            if problems:
                raise PackError(problems[0])
            self._cache[split] = rows
        return self._cache[split]

    def places(self, split: str) -> list[str]:
        """Where each row of `rows` lies, as in `qa.jsonl:12`."""
        return [Path(place).name for place, _ in placed_rows(self, [split])]

    def has(self, split: str) -> bool:
        """Whether the pack has a file for this split."""
        return self.path(split).is_file()

    @property
    def invented(self) -> bool:
        """Whether the pack is of labkit's invented world: then every name and fact in it is made
        up, and it is known which statements are true. Everything else is a pack of real text.
        """
        return self.name in DOMAINS

    @cached_property
    def personal(self) -> dict[str, int]:
        """How much personal and confidential text of which kind was found when the pack was made,
        and kept; empty where nothing is known of it.
        """
        card = read_yaml(self.folder / "pack.yaml", missing=HELP, error=PackError)
        provenance = card.get("provenance") if isinstance(card, dict) else None
        told = provenance.get(PERSONAL) if isinstance(provenance, dict) else None
        kept = isinstance(told, dict) and told.get("choice") == KEEP
        found = told.get("found") if isinstance(told, dict) and kept else None
        return found if isinstance(found, dict) else {}

    def told_lack(self, split: str) -> str:
        """That the pack lacks a split, and what brings one, in words without a full stop."""
        return f"pack {self.name} has no {SPLITS[split]}; {REMEDIES[split]} (docs/packs.md)"

    def told_no_items(self, split: str, *axes: str, kinds: Sequence[str] = ()) -> str:
        """That an evaluation split has no items of some axes, or of some kinds of an axis, as
        above.
        """
        of = f", kind {' or '.join(kinds)}," if kinds else ""
        # no document says what is preferred
        again = "" if axes == ("preference",) else "make it again from more documents, or "
        return (
            f"pack {self.name} has no items of {' or '.join(axes)}{of} in {SPLITS[split]}; "
            f"{again}add some there (docs/packs.md)"
        )

    @cached_property
    def _cache(self) -> dict[str, list[dict]]:
        return {}

    @cached_property
    def training_text(self) -> str:
        """Everything training may read, as one lower-case string: what a proposal must not be
        copied from.
        """
        parts = [
            row["text"] for split in TEXT_SPLITS if self.has(split) for row in self.rows(split)
        ]
        if self.has("qa"):
            parts += [turn["content"] for row in self.rows("qa") for turn in row["messages"]]
        return "\n".join(parts).lower()

    def fingerprint(self, *splits: str) -> str:
        """SHA-256 over the named splits' bytes (all when none is named): equal fingerprints, equal
        data.
        """
        digest = hashlib.sha256()
        for split in splits or SPLITS:
            if self.has(split):
                digest.update(split.encode() + self.path(split).read_bytes())
        return digest.hexdigest()


def samples_folder(name: str) -> Path:
    """A folder of data_samples: beside the package in a checkout, inside it when installed from a
    wheel.
    """
    return shipped_or_checkout("data_samples") / name


def packs_folder() -> Path:
    """Where the shipped packs lie."""
    return samples_folder("packs")


def shipped_packs() -> list[str]:
    return sorted(
        folder.name for folder in packs_folder().iterdir() if (folder / "pack.yaml").is_file()
    )


def suggest_pack(name: str, otherwise: str) -> str:
    """The remedy half of an unknown pack's error, as `suggest` words it; what is invented is called
    so.
    """
    told = suggest(name, shipped_packs(), otherwise=otherwise)
    return re.sub(rf"('?)\b({'|'.join(DOMAINS)})\b\1", rf"\1\2\1{INVENTED}", told)


def load_pack(name: str | Path) -> Pack:
    """A shipped pack by name or any pack by folder.

    Raises PackError for an unknown name, a folder without pack.yaml or a pack.yaml without its
    fields.
    """
    folder = packs_folder() / str(name) if re.fullmatch(r"[\w-]+", str(name)) else Path(name)
    if not folder.is_dir() and Path(name).is_dir():
        folder = Path(name)
    meta_path = folder / "pack.yaml"
    if not folder.is_dir():
        remedy = suggest_pack(str(name), "give a folder")
        raise PackError(f"unknown pack {str(name)!r}: {remedy}")
    if not meta_path.is_file():
        raise PackError(
            f"{meta_path} is missing: a pack needs name, title and licence there; {HELP}"
        )
    meta = read_yaml(meta_path, missing=HELP, error=PackError)
    missing = [
        key for key in ("name", "title", "licence") if not isinstance(meta, dict) or key not in meta
    ]
    if missing:
        raise PackError(f"{meta_path}: {missing[0]!r} is missing; {HELP}")
    name, title = str(meta["name"]), str(meta["title"])
    if name in DOMAINS and "invented" not in title:
        title += INVENTED  # wherever a pack is chosen or shown, it says so
    return Pack(folder, name, title, str(meta["licence"]))


# --- checking ---------------------------------------------------------------------------------


def read_split(path: Path, split: str) -> tuple[list[dict], list[str]]:
    """All rows of a split and a sentence per problem, each starting with `file:line`.

    A file that is as it was when it was last read is not checked again, and its rows are the same
    objects: they are to be copied before they are changed.
    """
    if not path.is_file():
        return [], [f"{path} is missing: the pack has no {split!r} split; {HELP}"]
    rows, problems = _read_split(path, split, file_hash(path))
    return [*rows], [*problems]


@lru_cache(maxsize=32)
def _read_split(path: Path, split: str, _content: str) -> tuple[list[dict], list[str]]:
    """_content: of the file, which may change under its name."""
    rows, problems = [], []
    ids: dict[str, int] = {}
    try:
        # splitlines would also split at line separators inside a text
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        return [], [f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(
                f"{path}:{number}: broken JSON at column {error.colno} ({error.msg}); "
                "one object per line"
            )
            continue
        found = list(row_problems(row, layout(split)))
        if not found and split in EVAL_SPLITS:
            found = (
                [f"id {row['id']!r} is already on line {ids[row['id']]}; make ids unique"]
                if row["id"] in ids
                else []
            )
            ids.setdefault(row["id"], number)
        problems += [f"{path}:{number}: {problem}; {HELP}" for problem in found]
        if not found:
            rows.append(row)
    if not rows and not problems:
        problems.append(f"{path}: the split is empty; add at least one row; {HELP}")
    return rows, problems


def row_problems(row: object, kind: str) -> Iterator[str]:
    """What is wrong with one row of a layout: missing, misspelt or ill-typed fields."""
    if not isinstance(row, dict):
        yield f"expected a JSON object, got {type(row).__name__}"
        return
    columns = COLUMNS[kind]
    known = columns["required"] + columns["optional"]
    unknown = [key for key in row if key not in known]
    # a misspelt name is one problem
    missing = [key for key in columns["required"] if key not in row and not unknown]
    for key in unknown:
        yield f'"{key}" is not a known field; {suggest(key, known)}'
    for key in missing:
        yield f'"{key}" is missing; each line needs {", ".join(columns["required"])}'
    if unknown or missing:
        return
    for key in ("text", "id", "entity", "axis", "source", "kind", "pattern", "taught"):
        if key in row and not _is_text(row[key]):
            yield f'"{key}" must be a non-empty string'
    for key in ("messages", "prompt", "chosen", "rejected"):
        if key in row and not (key == "prompt" and kind == "eval" and isinstance(row[key], str)):
            yield from message_problems(row[key], key)
    if kind == "eval":
        yield from item_problems(row)


def message_problems(messages: object, key: str) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield f'"{key}" must be a non-empty list of {{"role", "content"}}'
        return
    for turn in messages:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            yield f'every turn of "{key}" needs "role" and "content" as strings'
            return
        if turn.get("role") not in ("system", "user", "assistant"):
            yield f'"{key}" has role {turn.get("role")!r}; use system, user or assistant'
            return
        if turn.get("tool_calls"):
            yield f'"{key}" has a turn with "tool_calls", which are not trained on; take it out'
            return
        if turn.get("weight", 1) not in (0, 1):
            yield f'"{key}" has a turn of weight {turn["weight"]!r}; use 0 or 1'
            return


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(seen(value))


def item_problems(item: dict) -> Iterator[str]:
    """What is wrong with one evaluation item beyond its columns."""
    if item["axis"] not in AXES + CONTROLS:
        yield f'"axis" is {item["axis"]!r}; {suggest(item["axis"], list(AXES + CONTROLS))}'
    if ("messages" in item) == ("prompt" in item):
        yield 'give either "messages" (a chat) or "prompt" (text to continue)'
    if "prompt" in item and not _is_text(item["prompt"]):
        yield '"prompt" must be a non-empty string, the text to continue; a chat is "messages"'
    if not {"answer", "checks", "pattern"} & item.keys():
        yield 'an item needs "answer", "choices" with "answer", "checks" or "pattern"'
    if "answer" in item and not _is_text(item["answer"]):
        yield '"answer" must be a non-empty string'
    if "choices" in item:
        if not isinstance(item["choices"], list) or not all(map(_is_text, item["choices"])):
            yield '"choices" must be a list of non-empty strings'
        elif item.get("answer") not in item["choices"]:
            yield '"answer" must be one of "choices"'
    if item.get("models", TINY_MODELS) not in (TINY_MODELS, REAL_MODELS):
        yield (
            f'"models" is {item["models"]!r}; use "{TINY_MODELS}" (labkit\'s tiny families), '
            f'"{REAL_MODELS}" (all others), or leave it out'
        )
    yield from _check_problems(item.get("checks", []), item.get("kwargs"))
    if "pattern" in item:
        try:
            re.compile(item["pattern"])
        except re.error as error:
            yield f'"pattern" is not a regular expression ({error})'


def _check_problems(checks: object, settings: object) -> Iterator[str]:
    """What is wrong with the checks of an item and their settings, `kwargs`, an object for each."""
    if not isinstance(checks, list):
        yield '"checks" must be a list of names of verifiable instructions'
        return
    known = [*INSTRUCTIONS, *FORMS]
    if unknown := [check for check in checks if check not in known]:
        yield from (f'"checks" names {name!r}; {suggest(str(name), known)}' for name in unknown)
        return
    each = [{}] * len(checks) if settings is None else settings
    if not isinstance(each, list) or len(each) != len(checks):
        yield '"kwargs" must be a list with an object for each of "checks"'
        return
    for check, given in zip(checks, each, strict=True):
        yield from setting_problems(check, given)


def check_pack(folder: str | Path) -> list[str]:
    """Every problem of a pack, a sentence each; empty when it is fine."""
    try:
        pack = load_pack(folder)
    except InputError as error:
        return [str(error)]
    problems: list[str] = []
    ids: dict[str, str] = {}
    for split in SPLITS:
        if split in OPTIONAL_SPLITS and not pack.has(split):
            continue
        rows, found = read_split(pack.path(split), split)
        problems += found
        if split in EVAL_SPLITS:
            for row in rows:
                if ids.get(row["id"], SPLITS[split]) != SPLITS[split]:
                    problems.append(
                        f"{pack.path(split)}: id {row['id']!r} is already in "
                        f"{ids[row['id']]}; make ids unique"
                    )
                ids[row["id"]] = SPLITS[split]
    return problems or [*map(_leak_problem, leaks_of(pack)), *_not_taught(pack)]


def leaks_of(pack: Pack) -> list[Leak]:
    """The leaks of a pack's items. What an item marked as taught asks may stand in the texts, for
    they are there to teach it, but not in the questions and preferences that are trained on.
    """
    items = list(placed_rows(pack, EVAL_SPLITS))
    held = [(place, item) for place, item in items if "taught" not in item]
    taught = [(place, item) for place, item in items if "taught" in item]
    return [
        *find_leaks(held, placed_rows(pack, TRAINING_SPLITS)),
        *(find_leaks(taught, placed_rows(pack, CHAT_SPLITS)) if taught else ()),
    ]


def _not_taught(pack: Pack) -> Iterator[str]:
    """A sentence per item whose `taught`, a sentence or several in lines, stands in no text of the
    pack.
    """
    marked = [(place, row) for place, row in placed_rows(pack, EVAL_SPLITS) if "taught" in row]
    own = {row.get("source") for _, row in marked}
    for sources in (own, None):  # all texts are read only for what its own source does not hold
        if marked:
            texts = _words_of_texts(pack, sources)
            marked = [
                (place, row)
                for place, row in marked
                if not all(
                    f" {' '.join(words_of(sentence))} " in texts
                    for sentence in row["taught"].split("\n")
                )
            ]
    for place, row in marked:
        yield (
            f'{place}: "taught" stands in no row of {SPLITS["raw"]} or {SPLITS["summaries"]} '
            f'("{shorten(row["taught"], 80)}"); give a sentence as it stands there; {HELP}'
        )


def _words_of_texts(pack: Pack, sources: set | None) -> str:
    """The words of the texts of some sources, or of all, a line each."""
    return "\n".join(
        " ".join(["", *words_of(row["text"]), ""])
        for _, row in placed_rows(pack, TEXT_SPLITS)
        if sources is None or row.get("source") in sources
    )


def placed_rows(pack: Pack, splits: Sequence[str]) -> Iterator[tuple[str, dict]]:
    """Rows with their file:line, one by one; they are known to be readable."""
    for path in (pack.path(split) for split in splits if pack.has(split)):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", json.loads(line)


def _leak_problem(leak: Leak) -> str:
    return (
        f"{leak.item}: the item leaks, {leak.row} has its words too "
        f'("{shorten(leak.words, 80)}"); remove one of the two rows; {HELP}'
    )


# --- variants ---------------------------------------------------------------------------------

HALF = 280  # documents: half of what a pack's raw split holds
QUESTION_ROUNDS, PAIRS_PER_TEXT = 10, 3


@dataclass(frozen=True)
class Part:
    """documents: how many; knobs: how they are written.

    Parts of one number draw the same facts in the same order.
    """

    documents: int
    knobs: TextKnobs = field(default_factory=TextKnobs)


def _raw(name: str, *parts: Part) -> Callable[[Pack], dict[str, list[dict]]]:
    """A raw split made of parts, in random order."""

    def make(pack: Pack) -> dict[str, list[dict]]:
        lang, entities, texts = world.language(pack.name), world.private_entities(pack.name), []
        for number, part in enumerate(parts):
            texts += world.corpus(
                lang,
                entities,
                part.documents,
                random.Random(f"variant {pack.name} {number}"),
                part.knobs,
            )
        random.Random(f"variant {pack.name} {name}").shuffle(texts)
        return {"raw": [{"text": text, "source": "paper"} for text in texts]}

    return make


def _summaries(pack: Pack) -> dict[str, list[dict]]:
    """The facts without stray sentences, in place of the papers."""
    return {"raw": pack.rows("summaries")}


def _questions(pack: Pack) -> dict[str, list[dict]]:
    """The facts as questions with their answers, a few to a text, about every private entity."""
    lang, rng = world.language(pack.name), random.Random(f"variant {pack.name} questions")
    texts = []
    for entity in world.private_entities(pack.name) * QUESTION_ROUNDS:
        keys = rng.sample(list(lang.attributes), PAIRS_PER_TEXT)
        pairs = [world.fact_question(lang, entity, key, rng.choice(SEEN_WORDINGS)) for key in keys]
        texts.append(" ".join(turn["content"] for pair in pairs for turn in pair))
    rng.shuffle(texts)
    return {"raw": [{"text": text, "source": "question-answer"} for text in texts]}


def _leaked(pack: Pack) -> dict[str, list[dict]]:
    """Test questions with their answers among the training questions."""
    items = [row for row in pack.rows("test") if row.get("kind") == "free"]
    leaked = [
        {"messages": world.chat(row["messages"][0]["content"], row["answer"]), "source": "expert"}
        for row in items
    ]
    mixed = pack.rows("qa") + leaked
    random.Random("leaked").shuffle(mixed)
    return {"qa": mixed}


def _swapped(pack: Pack) -> dict[str, list[dict]]:
    """Chosen and rejected the wrong way round."""
    return {
        "preferences": [
            {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
            for row in pack.rows("preferences")
        ]
    }


CLEAN, TAGGED = Part(HALF), TextKnobs(source_tag=True)
JUNK, TAGGED_JUNK, ONE_WORDING = (
    TextKnobs(junk_ratio=1.0),
    TextKnobs(junk_ratio=1.0, source_tag=True),
    TextKnobs(paraphrases=1),
)
_MAKERS = {
    "half": (CLEAN,),
    "half, tagged": (Part(HALF, TAGGED),),
    "half and junk": (CLEAN, Part(HALF, JUNK)),
    "half and junk, tagged": (Part(HALF, TAGGED), Part(HALF, TAGGED_JUNK)),
    "junk 3 of 4": (CLEAN, *[Part(HALF, JUNK)] * 3),
    "junk 3 of 4, tagged": (Part(HALF, TAGGED), *[Part(HALF, TAGGED_JUNK)] * 3),
    "junk 7 of 8": (CLEAN, *[Part(HALF, JUNK)] * 7),
    "junk 7 of 8, tagged": (Part(HALF, TAGGED), *[Part(HALF, TAGGED_JUNK)] * 7),
    "four copies": (Part(HALF, TextKnobs(duplicates=4)),),
    "seven copies": (Part(HALF, TextKnobs(duplicates=7)),),
    "a quarter wrong": (Part(HALF, TextKnobs(wrong_facts=0.25)),),
    "half wrong": (Part(HALF, TextKnobs(wrong_facts=0.5)),),
    "two wordings": (Part(HALF, TextKnobs(paraphrases=2)), Part(HALF, TextKnobs(paraphrases=2))),
    "half and errors": (CLEAN, Part(HALF, TextKnobs(wrong_facts=0.5))),
    "double": (CLEAN, Part(HALF)),
    "one wording": (Part(HALF, ONE_WORDING), Part(HALF, ONE_WORDING)),
    "mostly junk": (Part(HALF // 4), Part(7 * HALF // 4, JUNK)),
}
# name -> the splits that differ from the pack's own
VARIANTS: dict[str, Callable[[Pack], dict[str, list[dict]]]] = {
    **{name: _raw(name, *parts) for name, parts in _MAKERS.items()},
    "summaries": _summaries,
    "questions": _questions,
    "leaked test": _leaked,
    "swapped preferences": _swapped,
}


def variant_pack(domain: str, name: str) -> Pack:
    """A pack of the invented world, changed in one thing.

    Raises InputError for another pack or an unknown variant, StoreError when it cannot be written.
    """
    if name not in VARIANTS:
        raise InputError(f"unknown variant {name!r}: {suggest(name, list(VARIANTS))}")
    if domain not in DOMAINS:
        raise InputError(
            f"{domain!r} is not of the invented world: what is true in it is not known, so it "
            f"cannot be varied; use {', '.join(DOMAINS)}"
        )
    source, folder = (
        load_pack(domain),
        variants_folder() / f"{domain}-{name.replace(',', '').replace(' ', '-')}",
    )
    changed = {
        SPLITS[split]: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split, rows in VARIANTS[name](source).items()
    }

    def fill(draft: Path) -> None:
        for path in (source.folder / "pack.yaml", *map(source.path, SPLITS)):
            shutil.copy(path, draft / path.name)
        if SPLITS["raw"] in changed:
            # they would teach what the variant's text does not
            (draft / SPLITS["summaries"]).unlink()
        for file, text in changed.items():
            (draft / file).write_text(text, "utf-8", newline="\n")

    if any(
        not (folder / file).is_file() or (folder / file).read_text("utf-8") != text
        for file, text in changed.items()
    ):
        shutil.rmtree(folder, ignore_errors=True)
        write_whole(folder, fill)
    return load_pack(folder)


def variants_folder() -> Path:
    return default_root().parent / "variants"
