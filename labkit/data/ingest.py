"""A folder of files becomes a pack: `labkit pack new my-domain --from FOLDER`.

read → boilerplate out → chunks → duplicates out → split by document → evaluation items → leaks out
→ check. Text waits on disk between the steps, so memory does not grow with its bytes, and whatever
is left out is written down. Personal and confidential text is found as it is read, counted, and
kept, masked or left out as the owner says.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from labkit.base.errors import InputError, PackError, suggest
from labkit.base.inputs import tidy
from labkit.base.store import DISTRIBUTION, write_whole
from labkit.data import held_out
from labkit.data.cleaning import (
    MARK,
    NOT_LOOKED_FOR,
    Personal,
    chunk_problem,
    chunks_of,
    find_personal,
    mask_personal,
    size_of,
    veiled,
    without_boilerplate,
)
from labkit.data.facts import MOST_ROWS, NO_KEY, read_table, tables_in
from labkit.data.held_out import axes_told, write_examples, write_items
from labkit.data.items import baselines, can_be_continued
from labkit.data.leaks import RUN_WORDS, THRESHOLD, near_duplicates
from labkit.data.packs import (
    EVAL_SPLITS,
    KEEP,
    PERSONAL,
    SPLITS,
    Pack,
    check_pack,
    placed_rows,
    shipped_packs,
)
from labkit.data.readers import KNOWN, Document, Dropped, Record, read_folder
from labkit.data.workbench import (
    NO_LAYOUT,
    Example,
    Held,
    Ledger,
    Progress,
    Spool,
    Work,
    cells_of,
    convert,
    no_good_row,
    unused_columns,
    write_card,
    write_rows,
)

CHUNK_WORDS = 150
FEWEST_CHUNK_WORDS = 10
# Files of these kinds are meant to be rows, so that one without a good row stops the command. The
# other kinds often hold something else, such as settings or figures.
MEANT_AS_ROWS = (".jsonl", ".csv")
# What becomes of personal and confidential text, and how the card and the report say so.
MASK, LEAVE_OUT = "mask", "leave out"
BECAME = {
    KEEP: "kept as it is",
    MASK: "masked by a placeholder such as [EMAIL]",
    LEAVE_OUT: "left out, with the document or row that it stands in",
}
PERSONAL_FILE = "personal.jsonl"
IS_PERSONAL = "personal or confidential text in it"


@dataclass(frozen=True)
class Ingested:
    """A pack that was made.

    read: how many files, documents, rows, chunks came in. rows: per split. dropped: what, reason,
    count and first place of each kind of thing left out, the most frequent first. unread: a
    sentence for each file, folder and page left out. axes: how many test items about the domain
    each axis has. too_few: a sentence for each axis that has too few. personal: kind, file, count
    and a veiled example of the personal and confidential text found; handled: what became of it.
    """

    folder: Path
    read: dict[str, int]
    rows: dict[str, int]
    dropped: list[dict]
    unread: list[str]
    axes: dict[str, int]
    too_few: list[str]
    personal: list[dict]
    handled: str
    seconds: float

    def personal_told(self, to_mask: str, to_leave_out: str) -> list[str]:
        """Sentences about the personal and confidential text that was found, the choice that its
        owner has, and what was not looked for. to_mask, to_leave_out: what to write for that.
        """
        unseen = f"labkit does not look for {NOT_LOOKED_FOR}"
        if not self.personal:
            return [f"no personal or confidential text was found; {unseen}"]
        files = {row["file"] for row in self.personal}
        told = [
            f"personal or confidential text: {in_words(kinds_of(self.personal))} in {len(files)} "
            f"{'file' if len(files) == 1 else 'files'}; {BECAME[self.handled]}; {PERSONAL_FILE} "
            f"says where; {unseen}"
        ]
        if self.handled == KEEP:
            told.append(
                "a model can learn what was kept by heart and say it to anyone: keep it, mask it "
                f"({to_mask}), or leave out what it stands in ({to_leave_out})"
            )
        if self.handled == MASK and any(row["kind"] == MARK for row in self.personal):
            told.append(
                f"a {MARK} speaks of the whole text around it, so masking does nothing about it; "
                f"{to_leave_out} does"
            )
        return told


def new_pack(
    name: str,
    source: str | Path,
    output: str | Path | None = None,
    *,
    title: str | None = None,
    licence: str = "unstated",
    chunk_words: int = CHUNK_WORDS,
    seed: int = 0,
    personal: str = KEEP,
    progress: Progress = lambda step, done: None,
) -> Ingested:
    """Make a pack of the text, web pages, PDFs, Word files and tables below a folder.

    name: of small letters, digits and dashes. output: the new pack's folder, by default ./NAME.
    chunk_words: most words of a row of raw text. seed: of what is held out. personal: `keep`,
    `mask` or `leave out`, for personal and confidential text. progress: told (step, how many are
    done) now and then. The same files, seed and choice give the same bytes. Raises InputError for a
    name, folder, choice or data file that cannot be used, and where fewer than three documents are
    left; StoreError when the pack cannot be written. Nothing is left behind then.
    """
    began = time.monotonic()
    source, output = Path(source), Path(output or name)
    _check_request(name, source, output, chunk_words, personal)
    title = title or name.replace("-", " ").capitalize()
    made: dict[str, Any] = {}

    def fill(draft: Path) -> None:
        with (draft / "dropped.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            work = Work(Spool(draft), Spool(draft), Ledger(file), progress, seed)
            pack, guard = Pack(draft, name, title, licence), Guard(personal)
            _fill(work, pack, source, chunk_words, guard)
        guard.write(draft)
        rows = {
            split: sum(1 for _ in placed_rows(pack, [split])) for split in SPLITS if pack.has(split)
        }
        axes, too_few = axes_told(pack)
        made.update(
            read=dict(work.read),
            rows=rows,
            dropped=work.ledger.table(),
            unread=work.ledger.unread,
            axes=axes,
            too_few=too_few,
            personal=guard.table(),
            handled=personal,
        )
        write_card(
            draft,
            name=name,
            title=title,
            licence=licence,
            rows=rows,
            provenance=_provenance(made, chunk_words, seed),
            kinds=baselines(pack.rows("test"), pack.rows("dev")),
        )
        work.documents.close()
        work.chunks.close()
        progress("checking", 0)
        for problem in check_pack(draft):
            raise PackError(problem)

    write_whole(output, fill)
    return Ingested(output, **made, seconds=time.monotonic() - began)


def check_name(name: str) -> None:
    """Raises InputError for a name that no new pack can have."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputError(
            f"{name!r} is no name for a pack; use small letters, digits and single "
            "dashes, like my-domain"
        )
    if name in shipped_packs():
        raise InputError(f"{name!r} is a shipped pack; choose another name")


def _check_request(name: str, source: Path, output: Path, chunk_words: int, personal: str) -> None:
    check_name(name)
    if personal not in BECAME:
        raise InputError(f"personal is {personal!r}; {suggest(personal, list(BECAME))}")
    if output.exists():
        raise InputError(f"{output}: already there; choose another folder with --to, or remove it")
    if output.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{output}: lies in the folder that is read ({source}); choose another folder with --to"
        )
    if chunk_words < FEWEST_CHUNK_WORDS:
        raise InputError(f"chunk_words is {chunk_words}; give at least {FEWEST_CHUNK_WORDS}")


def _fill(work: Work, pack: Pack, source: Path, chunk_words: int, guard: Guard) -> None:
    """All splits of the pack."""
    _read(work, source, guard)
    marks, hashes = _cut(work, chunk_words)
    passages = _write_text(work, pack, source, chunk_words, marks, hashes)
    write_items(work, pack, passages, *write_examples(work, pack))


def _provenance(made: dict, chunk_words: int, seed: int) -> dict:
    return {
        "read": made["read"],
        "chunk_words": chunk_words,
        "line_ends": "a word with a hyphen at a line's end is joined, or keeps its hyphen, as it "
        "stands elsewhere in the folder",
        "near_duplicates": f"at least {THRESHOLD} of five-word runs in common (MinHash)",
        "held_out": f"{held_out.TEXT_SHARE:.0%} of the text and {held_out.QUESTION_SHARE:.0%} of "
        "the questions for dev, as much for test, by whole documents",
        "leaks": f"items that share {RUN_WORDS} words in a row, or their question, with training "
        "rows were left out; what the raw text teaches is asked on purpose and marked `taught`",
        "continuation_items": "choose the beginning of the next "
        "sentence among four; long answers are "
        "compared by their beginnings",
        "controls": "items of axis general and of axis instructions are labkit's own and not about "
        "this domain",
        "seed": seed,
        PERSONAL: {
            "found": kinds_of(made["personal"]),
            "choice": made["handled"],
            "what_became_of_it": BECAME[made["handled"]] if made["personal"] else "nothing to do",
            "not_looked_for": NOT_LOOKED_FOR,
        },
        **({"too_few_test_items": "; ".join(made["too_few"])} if made["too_few"] else {}),
        "dropped": made["dropped"],
        "labkit": version(DISTRIBUTION),
    }


# --- personal and confidential text -----------------------------------------------------------


@dataclass
class Guard:
    """Looks at all text that goes into a pack for what is personal or confidential, and does what
    was chosen about it. found: (file, kind) -> how many, and the first of them, veiled.
    """

    personal: str
    found: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def long_files(self, source: Path) -> frozenset[str]:
        """Documents to leave out. A long file comes in parts, and all of them go or none."""
        if self.personal != LEAVE_OUT:
            return frozenset()
        return frozenset(
            entry.source
            for entry in read_folder(source)
            if isinstance(entry, Document) and find_personal(entry.text)
        )

    def document(self, document: Document) -> tuple[Document, bool]:
        """The document as it goes in, and whether it is to be left out."""
        text, found = self._passed(document.origin, document.text)
        return replace(document, text=text), found and self.personal == LEAVE_OUT

    def example(self, example: Example) -> tuple[Example, bool]:
        """The same of a row for training."""
        row, anything = dict(example.row), False
        for key, turns in row.items():
            if isinstance(turns, list):
                row[key] = []
                for turn in turns:
                    text, found = self._passed(example.origin, turn["content"])
                    row[key].append({**turn, "content": text})
                    anything = anything or found
        return replace(example, row=row), anything and self.personal == LEAVE_OUT

    def cells(self, file: str, cells: dict[str, str]) -> tuple[dict[str, str], bool]:
        """The same of a table's row. A column's name is a word that says what its cells are."""
        passed = {column: self._passed(file, cell, f"{column}: ") for column, cell in cells.items()}
        anything = any(found for _, found in passed.values())
        texts = {column: text for column, (text, _) in passed.items()}
        return texts, anything and self.personal == LEAVE_OUT

    def _passed(self, file: str, text: str, label: str = "") -> tuple[str, bool]:
        """A text as it goes in, and whether anything was found in it. label: stands before it."""
        found = [
            Personal(one.kind, one.start - len(label), one.end - len(label))
            for one in find_personal(label + text)
            if one.start >= len(label)
        ]
        for one in found:
            shown = veiled(one.kind, text[one.start : one.end])
            count, first = self.found.get((file, one.kind), (0, shown))
            self.found[file, one.kind] = count + 1, first
        return mask_personal(text, found) if self.personal == MASK else text, bool(found)

    def table(self) -> list[dict]:
        """Rows of kind, file, count and a veiled example; the most frequent first."""
        return [
            {"kind": kind, "file": file, "count": count, "example": example}
            for (file, kind), (count, example) in sorted(
                self.found.items(), key=lambda one: (-one[1][0], one[0])
            )
        ]

    def write(self, folder: Path) -> None:
        """The table as personal.jsonl, where anything was found."""
        if self.found:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.table())
            (folder / PERSONAL_FILE).write_text("".join(lines), "utf-8", newline="\n")


def kinds_of(personal: list[dict]) -> dict[str, int]:
    """How many there are of each kind in a guard's table."""
    counts: Counter[str] = Counter()
    for row in personal:
        counts[row["kind"]] += row["count"]
    return dict(counts.most_common())


def in_words(kinds: dict[str, int]) -> str:
    """As in `3 times e-mail address, once IBAN`."""
    return ", ".join(
        f"{'once' if count == 1 else f'{count:,} times'} {kind}" for kind, count in kinds.items()
    )


# --- text -------------------------------------------------------------------------------------


def _read(work: Work, source: Path, guard: Guard) -> None:
    """Every document to the spool, every example to its list.

    Raises InputError when there is nothing at all, and for a data file without a row that can be
    used.
    """
    seen: dict[bytes, str] = {}
    numbers: dict[str, int] = {}
    unused: Counter[tuple[str, str]] = Counter()
    files: set[str] = set()
    paths: dict[str, Path] = {}  # of what holds rows; a workbook may hold several tables
    first_bad: dict[str, Dropped] = {}  # of each data file
    loose: dict[str, list[tuple[dict[str, str], Dropped]]] = defaultdict(list)
    left_out = guard.long_files(source)
    told: set[str] = set()
    thinned: set[str] = set()  # tables that lost rows of which a table might have been made
    for entry in read_folder(source):
        if isinstance(entry, Record):
            paths[entry.source] = entry.path
            unused.update((entry.source, tidy(column)) for column in unused_columns(entry))
        if isinstance(entry, Record) or (isinstance(entry, Dropped) and entry.what == "row"):
            work.read["rows"] += 1
        found = convert(entry) if isinstance(entry, Record) else entry
        if isinstance(entry, Record) and isinstance(found, Dropped) and found.reason == NO_LAYOUT:
            cells = cells_of(entry)
            if cells is not None and len(loose.get(entry.source, ())) < MOST_ROWS:
                cells, goes = guard.cells(entry.source, cells)
                if goes:
                    work.leave_out(found.source, "row", IS_PERSONAL)
                    thinned.add(entry.source)
                else:
                    loose[entry.source].append((cells, found))
                continue
        if isinstance(found, Dropped):
            work.ledger.drop(found)
            if found.what == "row":
                first_bad.setdefault(found.source.rpartition("#")[0], found)
            continue
        files.add(found.origin)
        if isinstance(found, Example):
            found, goes = guard.example(found)
        else:
            found, goes = guard.document(found)
        if goes or found.source in left_out:
            what = "document" if found.source == found.origin else "row"
            if found.source not in told:  # a long file comes in parts
                work.leave_out(found.source, what, IS_PERSONAL)
            told.add(found.source)
        elif isinstance(found, Example):
            work.examples[found.kind].append(found)
        else:
            _take(work, found, seen, numbers)
    for file, rows in loose.items():
        _take_table(work, file, rows, files, first_bad)
    for file in sorted(first_bad.keys() - files):
        if Path(file).suffix.lower() in MEANT_AS_ROWS and file not in thinned:
            raise no_good_row(source / file, first_bad[file])
        what = "file" if (source / file).is_file() else "sheet"
        work.ledger.drop(Dropped(file, what, "no row that can be used", _why(first_bad[file])))
    for (file, column), count in sorted(unused.items()):
        work.ledger.drop(Dropped(file, "cell", "a column that is not read", column, count))
    if not work.sources and not work.tables and not any(work.examples.values()):
        reasons = (
            "; ".join(
                f"{row['count']} {row['what']}: {row['reason']}" for row in work.ledger.table()
            )
            or "the folder is empty"
        )
        raise InputError(
            f"{source}: nothing in it could be read ({reasons}); add files with text ({KNOWN})"
        )
    opened = {str(paths.get(file, file)) for file in files}
    work.read.update(files=len(opened), documents=len(work.sources))


def _take_table(
    work: Work,
    file: str,
    rows: list[tuple[dict[str, str], Dropped]],
    files: set[str],
    first_bad: dict[str, Dropped],
) -> None:
    """Rows that no layout knows, as a table of facts; left out where they are none."""
    problem = ""
    if file not in files:
        try:
            work.tables.append(read_table(file, [cells for cells, _ in rows]))
            files.add(file)
            return
        except ValueError as error:
            problem = str(error)
    for _, dropped in rows:
        work.ledger.drop(dropped)
    if problem == NO_KEY:
        files.add(file)
        work.ledger.drop(Dropped(file, "file", NO_KEY))
    else:
        first_bad.setdefault(file, rows[0][1])


def _why(first: Dropped) -> str:
    """What is wrong with the first row of a file."""
    return f"{first.reason}: {first.detail}" if first.detail else first.reason


def _take(work: Work, document: Document, seen: dict[bytes, str], numbers: dict[str, int]) -> None:
    digest = hashlib.blake2b(document.text.encode(), digest_size=16).digest()
    if digest in seen:
        work.leave_out(
            document.source, "document", "an exact copy of another document", seen[digest]
        )
        return
    seen[digest] = document.source
    if document.source not in numbers:  # a long file comes in parts
        numbers[document.source] = len(work.sources)
        work.sources.append(document.source)
        work.origins.append(document.origin)
        work.families.append(document.family)
        work.progress("reading", len(work.sources))
    work.lines.add(_group(document.source, document.origin), document.text)
    work.line_ends.add(document.text)
    work.inside += tables_in(document.source, document.text)
    work.documents.append(numbers[document.source], document.text)


def _group(source: str, origin: str) -> str:
    """Where lines are expected to repeat: among rows of one file, among files of one folder."""
    return origin if origin != source else str(Path(source).parent)


def _cut(work: Work, chunk_words: int) -> tuple[list[int | None], list[int]]:
    """Chunks to their spool as (document, text); for each the earlier one that it repeats, and a
    hash to tell copies from near ones.

    Documents of more than a chunk are compared as a whole first: an inserted line moves all borders
    of chunks after it.
    """
    for _, text in work.documents:
        work.line_ends.count(text)
    hashes: list[int] = []
    removed: Counter[tuple[str, str]] = Counter()
    repeated = near_duplicates(
        work.line_ends.mend(text) if size_of(text) > chunk_words else ""
        for _, text in work.documents
    )
    marks = near_duplicates(_new_chunks(work, chunk_words, repeated, hashes, removed))
    for (reason, line), count in sorted(removed.items()):
        work.ledger.drop(Dropped("", "line", reason, line, count))
    return marks, hashes


def _new_chunks(
    work: Work, chunk_words: int, repeated: list[int | None], hashes: list[int], removed: Counter
) -> Iterator[str]:
    shared = work.lines.shared()
    numbers: list[int] = []
    for (number, text), first in zip(work.documents, repeated, strict=True):
        numbers.append(number)
        source, origin = work.sources[number], work.origins[number]
        if first is not None:
            work.leave_out(
                source,
                "document",
                "a near duplicate of another document",
                work.sources[numbers[first]],
            )
            continue
        text, lines = without_boilerplate(text, shared.get(_group(source, origin), frozenset()))
        removed.update(lines)
        for chunk in chunks_of(work.line_ends.mend(text), chunk_words):
            work.read["chunks"] += 1
            if problem := chunk_problem(chunk):
                work.leave_out(source, "chunk", problem, chunk)
                continue
            work.chunks.append(number, chunk)
            hashes.append(hash(chunk))
            if len(hashes) % 1000 == 0:
                work.progress("cleaning, comparing", len(hashes))
            yield chunk


def _write_text(
    work: Work,
    pack: Pack,
    source: Path,
    chunk_words: int,
    marks: list[int | None],
    hashes: list[int],
) -> dict[str, list[Held[str]]]:
    """raw.jsonl of the training documents and of tables; the passages held out, by split."""
    owners, sizes, items = [], [0] * len(work.sources), [0] * len(work.sources)
    for (number, text), mark in zip(work.chunks, marks, strict=True):
        owners.append(number)
        if mark is None:
            sizes[number] += size_of(text)
            if items[number] < held_out.FEWEST_ITEMS:
                items[number] += can_be_continued(text)
    pairs = held_out.versions(owners, marks) + held_out.family_pairs(work.origins, work.families)
    splits = held_out.split_clusters(
        work.sources, sizes, pairs, held_out.TEXT_SHARE, work.seed, items
    )
    if not set(EVAL_SPLITS) <= {split for _, split in splits}:
        if not work.tables:
            raise InputError(_too_few_documents(work, source, sum(map(bool, sizes))))
        splits = [(name, None) for name in work.sources]  # tables give items, too
    held: dict[str, list[Held[str]]] = {split: [] for split in EVAL_SPLITS}

    def rows() -> Iterator[dict]:
        for (number, text), mark, own in zip(work.chunks, marks, hashes, strict=True):
            name, (cluster, split) = work.sources[number], splits[number]
            if mark is not None:
                work.leave_out(
                    name,
                    "chunk",
                    "an exact copy of another chunk"
                    if own == hashes[mark]
                    else "a near duplicate of another chunk",
                    text,
                )
            elif split:
                held[split].append(Held(name, "chunk", cluster, text))
            else:
                yield {"text": text, "source": work.families[number] or name}

    write_rows(pack, "raw", chain(rows(), _rows_of_tables(work, chunk_words)))
    trained = {name for name, (_, split) in zip(work.sources, splits, strict=True) if not split}
    work.inside = [table for table in work.inside if table.source in trained]
    return held


def _rows_of_tables(work: Work, chunk_words: int) -> Iterator[dict]:
    for table in work.tables:
        for name in table.rows:
            for chunk in chunks_of(table.text(name), chunk_words):
                yield {"text": chunk, "source": table.source}


def _too_few_documents(work: Work, source: Path, count: int) -> str:
    most = next(iter(work.ledger.table()), None)
    why = f" (most was left out as {most['reason']})" if most else ""
    return (
        f"{source}: {count} documents with text of their own{why}; a pack needs three that differ "
        "(for training, dev and test): add files, or cut a long one into several"
    )
