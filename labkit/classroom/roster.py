"""Who is in the class, from a CSV file: a learner per line, with what the notebooks are run with.

A name is shown only when asked for: a learner is called by the place in the roster, and files by a
hash of the name.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.base.errors import InputError, PackError, SpecError, suggest
from labkit.base.inputs import MARKS, seen
from labkit.course.journal import learner_key
from labkit.data.packs import SPLITS, load_pack, shipped_packs, suggest_pack
from labkit.design.designer import stage_kinds

COLUMNS = ("learner", "pack", "design", "seed", "notebooks")
REQUIRED = "learner"
MOST_BYTES, MOST_LEARNERS = 2**20, 1000
MOST_CHARACTERS = {"learner": 100, "pack": 300, "design": 60, "seed": 10, "notebooks": 400}
LARGEST_SEED = 2**31 - 1
DELIMITERS = (",", ";", "\t", "|")
SEP = re.compile('"?sep=([^\\w\\s"]|\t)"?\\1*', re.IGNORECASE)
# Soft hyphen, zero-width space, word joiner, byte-order mark, and marks of direction, which steer
# nothing in a name. Joiners shape letters: Persian, Indian and Arabic names have them.
SHAPELESS = dict.fromkeys(map(ord, "\xad\u200b\u2060\ufeff\u200e\u200f\u061c"))
JOINERS = "\u200c\u200d"
# Characters between two commas, as csv has it: a quote that is never closed takes in the rest of
# the file.
LONGEST_FIELD = 2**17


@dataclass(frozen=True)
class Learner:
    """One line. number: place in the roster, from 1. pack: a shipped name or an absolute folder.
    design: stages, or empty.

    notebooks: names, in the order in which they are run.
    """

    number: int
    name: str
    pack: str
    design: str
    seed: int
    notebooks: tuple[str, ...]

    @property
    def pseudonym(self) -> str:
        return pseudonym(self.number)

    @property
    def key(self) -> str:
        """What stands for the learner in file names and records."""
        return learner_key(self.name)


def pseudonym(number: int) -> str:
    return f"learner {number:02}"


@dataclass(frozen=True)
class Defaults:
    """What an empty field stands for. notebooks: all that can be chosen from, in order."""

    pack: str
    seed: int
    notebooks: tuple[str, ...]


def read_roster(path: Path, defaults: Defaults) -> list[Learner]:
    """The learners of a roster. A pack's folder is looked for beside the roster.

    Raises InputError naming file, line, field and remedy for the first thing that cannot be used.
    """
    learners: dict[str, Learner] = {}
    lines: dict[str, int] = {}  # by how a name looks
    for number, (line, row) in enumerate(_rows(path), 1):
        if number > MOST_LEARNERS:
            raise InputError(
                f"{path}:{line}: more than {MOST_LEARNERS:,} learners; split the roster"
            )
        learner = _learner(_Place(path, line), number, row, defaults)
        same = " ".join(seen(learner.name).split()).casefold()
        if same in learners:
            raise InputError(
                f"{path}:{line}: learner: the same name as in line {lines[same]}; tell "
                "the two apart, or remove one"
            )
        learners[same], lines[same] = learner, line
    if not learners:
        raise InputError(f"{path}: no learner in it; write one per line below the columns")
    return list(learners.values())


@dataclass(frozen=True)
class _Place:
    """Where an error is. Values are shown short and in ASCII: they may hold anything."""

    path: Path
    line: int

    def error(self, field: str, value: str, remedy: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {field} is {value[:60]!a}; {remedy}")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of every line that is not empty."""
    delimiter, text = _delimiter(re.sub("\r\n?", "\n", _text(path)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    # the limit holds for the whole process, and some libraries raise it
    others = csv.field_size_limit(LONGEST_FIELD)
    try:
        filled = ((reader.line_num, _filled(fields)) for fields in reader if any(_filled(fields)))
        line, heads = next(filled, (1, []))
        columns = _columns(path, line, heads)
        for line, fields in filled:
            if len(fields) > len(columns):
                raise InputError(
                    f"{path}:{line}: {len(fields)} fields under {len(columns)} columns; "
                    f"put a field that holds a {delimiter!r} in quotes"
                )
            row = dict(zip(columns, fields, strict=False))
            for field, value in row.items():
                if len(value) > MOST_CHARACTERS[field]:
                    raise InputError(
                        f"{path}:{line}: {field} has {len(value):,} characters; "
                        f"{MOST_CHARACTERS[field]} are allowed, shorten it"
                    )
            yield line, row
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num}: this is not CSV ({error}); check the quotes of this line"
        ) from None
    finally:
        csv.field_size_limit(others)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size / 2**20:,.1f} MiB; a roster has at most "
                f"{MOST_BYTES / 2**20:.0f}, check that this is one"
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a CSV file with a column `learner`"
        ) from None
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in re.split(rb"[\r\n]", content, maxsplit=1)[0]:
        raise InputError(
            f"{path}: this is no text in UTF-8, perhaps a workbook; save the roster as `CSV UTF-8`"
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(re.split(rb"\r\n?|\n", content[: error.start]))
        raise InputError(
            f"{path}:{line}: byte {content[error.start]:#04x} is not {encoding.upper()}; save the "
            "roster as `CSV UTF-8`"
        ) from None


def _delimiter(text: str) -> tuple[str, str]:
    """What is between two fields, and the text without the line `sep=` in which Excel says it.

    Else it is the commonest of comma, semicolon, tab and bar in the heads: spreadsheets write
    semicolons where the comma is decimal, and tabs where cells are copied.
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    if said := SEP.fullmatch(first):
        return said[1], text.replace(first, "", 1)
    return max(DELIMITERS, key=first.count), text


def _filled(fields: list[str]) -> list[str]:
    """The fields of a line as plain text, without the empty ones that a spreadsheet puts last."""
    plain = [_plain(field) for field in fields]
    while plain and not plain[-1]:
        plain.pop()
    return plain


def _plain(field: str) -> str:
    """Composed letters and ordinary blanks, without signs that have neither shape nor meaning.

    So two spellings of one name in Unicode are one learner.
    """
    letters = unicodedata.normalize("NFC", field).translate(SHAPELESS)
    return "".join(" " if unicodedata.category(one) == "Zs" else one for one in letters).strip()


def _columns(path: Path, line: int, fields: list[str]) -> list[str]:
    columns = [field.lower() for field in fields]
    for number, column in enumerate(columns, 1):
        if not column:
            raise InputError(
                f"{path}:{line}: column {number} has no name; give it one or remove it"
            )
        if column not in COLUMNS:
            raise InputError(
                f"{path}:{line}: unknown column {column[:60]!a}; "
                f"{suggest(column[:60], list(COLUMNS))}"
            )
        if columns.count(column) > 1:
            raise InputError(
                f"{path}:{line}: column {column!r} is there {columns.count(column)} times; keep one"
            )
    if REQUIRED not in columns:
        raise InputError(
            f"{path}:{line}: column {REQUIRED!r} is missing; the first line names the "
            f"columns, for example: {','.join(COLUMNS)}"
        )
    return columns


def _learner(place: _Place, number: int, row: dict[str, str], defaults: Defaults) -> Learner:
    name, seed = row["learner"], row.get("seed") or str(defaults.seed)
    if not seen(name):
        raise place.error("learner", name, "write a name of letters, digits, spaces and signs")
    for at, sign in enumerate(name, 1):
        if not sign.isprintable() and sign not in JOINERS:
            raise place.error(
                "learner",
                name,
                f"its character {at} ({_called(sign)}) cannot be shown: take it out",
            )
    if not re.fullmatch(r"[0-9]+", seed) or int(seed) > LARGEST_SEED:
        raise place.error("seed", seed, f"use a whole number from 0 to {LARGEST_SEED}")
    try:
        design = "-".join(stage_kinds(row.get("design", "")))
    except SpecError as error:
        raise place.error("design", row["design"], str(error).removeprefix("sequence: ")) from None
    notebooks = _chosen(place, row.get("notebooks", ""), defaults.notebooks)
    return Learner(
        number, name, _pack(place, row.get("pack", ""), defaults.pack), design, int(seed), notebooks
    )


def _called(sign: str) -> str:
    """A character that no font draws, as in U+202E RIGHT-TO-LEFT OVERRIDE."""
    return f"U+{ord(sign):04X} {unicodedata.name(sign, 'control character')}"


def _pack(place: _Place, given: str, default: str) -> str:
    """A shipped pack's name, or the absolute folder of another one."""
    if not given or given in shipped_packs():
        return given or default
    beside = place.path.parent.resolve()
    try:
        folder = (beside / given).resolve()
        if not folder.is_relative_to(beside):
            raise place.error(
                "pack", given, f"it must lie in the roster's folder: move it to {beside}"
            )
        if not folder.is_dir():
            raise place.error(
                "pack", given, f"{suggest_pack(given)}, or a folder beside the roster"
            )
        for name in ("pack.yaml", *SPLITS.values()):
            if not (folder / name).resolve().is_relative_to(folder):
                raise place.error(
                    "pack",
                    given,
                    f"its {name} is a link that leads out of its folder: put the file itself there",
                )
        load_pack(folder)
    except (PackError, OSError, ValueError) as error:  # the last two: a name that no system has
        raise place.error("pack", given, str(error)) from None
    return str(folder)


def _chosen(place: _Place, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """The notebooks named, in the class's order; all of them when none is."""
    names = re.split(r"[\s,;]+", given.strip(" ,;")) if given.strip(" ,;") else []
    for name in names:
        if name not in known:
            raise place.error("notebooks", name, suggest(name, list(known)))
    return tuple(name for name in known if name in names or not names)
