"""Text out of files as people have them: text, web pages, PDF, Word, and tables of many kinds.

Whatever is not read is named with its reason. A file or a row that cannot be read does not stop the
others. A data file whose rows cannot be told apart does: its owner meant every row of it.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import zipfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, TextIO

from labkit.base.errors import InputError
from labkit.base.inputs import find_encoding, is_guessed, seen, tidy

# characters of a text file that become one document; longer files are read in parts
PART = 1_000_000
LONGEST_ROW = 10_000_000  # characters of a row or a cell
UNPACKED, UNPACKED_XML = 150_000_000, 30_000_000  # bytes a .docx may unpack to
PARQUET_ROWS = 1000  # read at once
PAGE_BREAK = "\f"
BINARY = "binary, not text"
NO_TEXT = "no text in it"
TOO_MUCH = "a file that unpacks to far too much"
NOT_RUNNING = "not part of a document's running text"
NO_ROWS = "column names and no row below them"
BROKEN_JSON = "broken JSON"
HEADS_WITHIN = 20  # first rows of a table among which its column names are looked for
# names of columns that are read (workbench.LAYOUTS); the row of a table that has them is its head
_NAMES = (
    "text source messages conversations system system_prompt system_message system_instruction "
    "history chat_history conversation_history tools functions available_tools images videos "
    "audios label kto_tag instruction input context output response prompt completion question "
    "answer chosen rejected preferred_output non_preferred_output"
)
COLUMN_NAMES = frozenset(_NAMES.split())


@dataclass(frozen=True)
class Document:
    """source: path below the folder, of a row path#line. origin: the file. family: rows of one file
    that belong together.
    """

    source: str
    text: str
    origin: str
    family: str = ""


@dataclass(frozen=True)
class Record:
    """One row of a data file: its columns and where it stands."""

    path: Path
    source: str
    line: int
    values: dict


@dataclass(frozen=True)
class Dropped:
    """Something that does not go into the pack. what: file, row, page, chunk … source: where;
    detail: more about this one.
    """

    source: str
    what: str
    reason: str
    detail: str = ""
    count: int = 1


def read_folder(folder: Path) -> Iterator[Document | Record | Dropped]:
    """Everything below a folder, in the order of names.

    Nothing that lies outside is read, whatever links say.

    Raises InputError when `folder` is no folder, and, naming file and line, for a data file that is
    broken.
    """
    if not folder.is_dir():
        what = "a file and no folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}; give a folder with {', '.join(READERS)} files")
    for found in _files(folder, folder):
        if isinstance(found, Dropped):
            yield found
        else:
            yield from read_file(found, _name(found, folder))


def read_file(path: Path, source: str) -> Iterator[Document | Record | Dropped]:
    """What one file holds. source: how it is named in the report.

    Raises InputError for a broken .jsonl or .csv.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        yield Dropped(source, "file", "unknown kind of file", _remedy(path.suffix.lower()))
        return
    try:
        if path.stat().st_size == 0:
            yield Dropped(source, "file", "empty")
            return
        yield from reader(path, source)
    except OSError as error:
        yield Dropped(source, "file", "cannot be read", error.strerror or str(error))


def _name(path: Path, folder: Path) -> str:
    """A path below a folder, also where its bytes are no text."""
    return path.relative_to(folder).as_posix().encode("utf-8", "replace").decode("utf-8")


def _files(folder: Path, root: Path) -> Iterator[Path | Dropped]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Dropped(_name(folder, root), "folder", "cannot be read", error.strerror or str(error))
        return
    for entry in entries:
        path = Path(entry.path)
        name = _name(path, root)
        try:
            what, leads_out = (
                "folder" if entry.is_dir() else "file",
                entry.is_symlink() and not path.resolve().is_relative_to(root.resolve()),
            )
        except (OSError, RuntimeError):  # a link to itself
            yield Dropped(name, "file", "a link that leads nowhere")
            continue
        if entry.name.startswith((".", "~$")):  # Word's mark of a document that is open
            yield Dropped(name, what, "hidden")
        elif leads_out:
            yield Dropped(name, what, "a link that leads out of the folder")
        elif entry.is_dir(follow_symlinks=False):
            yield from _files(path, root)
        elif entry.is_file():
            yield path
        else:
            yield Dropped(name, what, "a link to a folder, or no ordinary file")


# --- text -------------------------------------------------------------------------------------


def _doubts(
    source: str, replaced: int, encoding: str, *, declared: bool = False
) -> Iterator[Dropped]:
    """What may be wrong with the characters of a file. replaced: how many bytes were none."""
    if is_guessed(encoding) and not declared:
        detail = f"read as {encoding}; if letters are wrong, save it as UTF-8"
        yield Dropped(source, "encoding", "guessed, for it is not UTF-8", detail)
    if replaced:
        yield Dropped(
            source,
            "character",
            "bytes that are no text in the file's encoding",
            f"read as {encoding}, marked \ufffd",
            replaced,
        )


def read_text(path: Path, source: str) -> Iterator[Document | Dropped]:
    """A text file as one document, a long one in parts that end with a line.

    Markdown loses its front matter.
    """
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    found, replaced = False, 0
    for number, part in enumerate(_parts(path, encoding)):
        replaced += part.count("\ufffd")
        text = tidy(part)
        fields = front_matter(text) if number == 0 and path.suffix.lower() == ".md" else ""
        if fields:
            yield Dropped(source, "front matter", "fields about a text, not its words")
            text = text.removeprefix(fields)
        if text.strip():
            found = True
            yield Document(source, text, source)
    if not found:
        yield Dropped(source, "file", NO_TEXT)
    yield from _doubts(source, replaced, encoding)


def _parts(path: Path, encoding: str) -> Iterator[str]:
    with path.open(encoding=encoding, errors="replace") as file:
        while part := file.read(PART):
            yield part + file.readline(PART)


def front_matter(text: str) -> str:
    """The YAML block between two lines of three dashes at the start of Markdown; empty where that
    holds no fields.
    """
    import yaml

    block = re.match(r"---[ \t]*\n(.*?)^(---|\.\.\.)[ \t]*$", text, flags=re.DOTALL | re.MULTILINE)
    try:
        return block[0] if block and isinstance(yaml.safe_load(block[1]), dict) else ""
    except yaml.YAMLError:
        return ""


# --- data files -------------------------------------------------------------------------------


def read_jsonl(path: Path, source: str) -> Iterator[Record | Dropped]:
    """One object per line; a line that holds none is left out.

    A file that holds a list, or objects over several lines, is read as .json.
    """
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    first = next((line for _, line in _rows(path, encoding) if line.strip()), "").strip()
    if first.startswith("[") or first == "{":
        yield from read_json(path, source)
        return
    found, replaced = False, 0
    for number, line in _rows(path, encoding):
        replaced += line.count("\ufffd")
        if len(line) > LONGEST_ROW:
            found = True
            yield Dropped(f"{source}#{number}", "row", f"longer than {LONGEST_ROW:,} characters")
        elif line.strip():
            found = True
            yield _row(path, source, number, line)
    if not found:
        yield Dropped(source, "file", NO_TEXT)
    yield from _doubts(source, replaced, encoding)


def _rows(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Numbered lines; one that is too long is cut one character beyond what may be."""
    with path.open(encoding=encoding, errors="replace") as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            rest = line
            while rest and not rest.endswith("\n"):
                rest = file.readline(LONGEST_ROW)
            yield number, line


def _row(path: Path, source: str, number: int, line: str) -> Record | Dropped:
    problem, detail = BROKEN_JSON, ""
    try:
        return _object(path, source, number, json.loads(line.rstrip()))
    except json.JSONDecodeError as error:
        detail = f"column {error.colno}: {error.msg}"
    except (ValueError, RecursionError):
        problem = "a number or a nesting that is too long to read"
    return Dropped(f"{source}#{number}", "row", problem, detail)


def _object(path: Path, source: str, number: int, value: object) -> Record | Dropped:
    if isinstance(value, dict):
        return Record(path, source, number, value)
    return Dropped(f"{source}#{number}", "row", "no JSON object", type(value).__name__)


def read_json(path: Path, source: str) -> Iterator[Record | Dropped]:
    """The objects of a list, numbered from one; also objects one after the other, and the only list
    inside one object.

    Where the JSON breaks, what was read before stays.
    """
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    if path.stat().st_size > UNPACKED:
        yield Dropped(source, "file", "too long to be read as a whole", "save it as .jsonl")
        return
    text = path.read_text(encoding, errors="replace")
    number, beside = 0, Counter[str]()
    try:
        for number, value in enumerate(_rows_inside(_values(text), beside), 1):
            yield _object(path, source, number, value)
    except (ValueError, RecursionError) as error:
        where = f"{source}#{number + 1}"
        yield Dropped(where, "row", f"{BROKEN_JSON}, and all that follows", _told(error))
    else:
        if not number:
            yield Dropped(source, "file", NO_TEXT)
    for key, count in beside.items():
        yield Dropped(source, "field", "beside the list of rows", key, count)
    yield from _doubts(source, text.count("\ufffd"), encoding)


def _rows_inside(values: Iterable[Any], beside: Counter[str]) -> Iterator[Any]:
    """Values, and for an object that only holds a list of rows these. beside: its other keys."""
    for value in values:
        if key := _list_inside(value):
            beside.update(other for other in value if other != key)
            yield from value[key]
        else:
            yield value


def _list_inside(value: object) -> str:
    """The key under which an object has its only list of rows; empty where it is a row itself."""
    if not isinstance(value, dict):
        return ""
    lists = [key for key, part in value.items() if isinstance(part, list) and _known_keys(part)]
    itself = sum(column_name(key) in COLUMN_NAMES for key in value)
    return lists[0] if len(lists) == 1 and _known_keys(value[lists[0]]) > itself else ""


def _known_keys(rows: list) -> int:
    """How many names of columns that are read the first of some rows has."""
    first = next((row for row in rows if isinstance(row, dict)), {})
    return len({column_name(key) for key in first} & COLUMN_NAMES)


_GAP = re.compile(r"[\s,]*")


def _values(text: str) -> Iterator[Any]:
    """The values of a list, or values one after the other."""
    decoder, at, inside = json.JSONDecoder(), 0, False
    while (at := _GAP.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        if text[at] == "]" if inside else text[at] == "[":
            inside, at = not inside, at + 1
        else:
            value, at = decoder.raw_decode(text, at)
            yield value
    if inside:
        raise ValueError("the list does not end")


def read_parquet(path: Path, source: str) -> Iterator[Record | Dropped]:
    """Rows, numbered from one."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(path, source, number, {k: _bare(v) for k, v in values.items()})
    except (ArrowException, ValueError) as error:
        if not number:
            yield Dropped(source, "file", "an unreadable .parquet", _told(error))
        else:
            where = f"{source}#{number + 1}"
            yield Dropped(where, "row", "unreadable, and all that follows", _told(error))
    else:
        if not number:
            yield Dropped(source, "file", NO_TEXT)


def _bare(value: Any) -> Any:
    """A value without the nulls that Parquet sets where JSON has no such key."""
    if isinstance(value, dict):
        return {key: _bare(part) for key, part in value.items() if part is not None}
    return [_bare(part) for part in value] if isinstance(value, list) else value


def read_workbook(path: Path, source: str) -> Iterator[Record | Dropped]:
    """The rows of every sheet of Excel or LibreOffice. Where several sheets have any, each is named
    as if the file were a folder.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        if _unpacks_to_too_much(path):
            yield Dropped(source, "file", TOO_MUCH)
            return
        with CalamineWorkbook.from_path(path) as book:
            sheets = {
                name: book.get_sheet_by_name(name).to_python(skip_empty_area=False)
                for name in book.sheet_names
            }
    except (CalamineError, zipfile.BadZipFile) as error:
        hint = f"{_told(error)}; save a copy without a password as .xlsx, or as .csv"
        yield Dropped(source, "file", "an unreadable workbook", hint)
        return
    filled = {name: rows for name, rows in sheets.items() if rows}
    for name, rows in filled.items():
        place = source if len(filled) == 1 else f"{source}/{name}"
        cells = ((line, list(map(_cell, row))) for line, row in enumerate(rows, 1))
        try:
            yield from table_rows(path, place, cells)
        except InputError as error:
            yield Dropped(place, "sheet", "a table that cannot be read", str(error))
    if not filled:
        yield Dropped(source, "file", NO_TEXT)


def _cell(value: object) -> str:
    """What Excel shows: whole numbers without a point."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _unpacks_to_too_much(path: Path) -> bool:
    """Whether a file is a zip file of far too much, as a zip bomb is."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as packed:
        return sum(entry.file_size for entry in packed.infolist()) > UNPACKED


def read_csv(path: Path, source: str) -> Iterator[Record | Dropped]:
    """Rows under column names, parted by commas, semicolons, tabs, bars, or what a first line
    `sep=` says.

    Raises InputError naming file and line for a column that is read and is there twice.
    """
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    replaced = 0
    csv.field_size_limit(LONGEST_ROW)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        delimiter, skipped = _delimiter(file)
        for entry in table_rows(path, source, _numbered(source, file, delimiter, skipped)):
            if isinstance(entry, Record):
                replaced += sum(cell.count("\ufffd") for cell in entry.values.values())
            yield entry
    yield from _doubts(source, replaced, encoding)


_DECLARED = re.compile(r'"?sep=(.)"?\1*\s*', re.IGNORECASE)


def _delimiter(file: TextIO) -> tuple[str, int]:
    """What parts the cells, and how many lines come before the table; the file stands behind them.

    It is what makes most known column names, else what parts the first row into most cells and the
    rows below it into no more. Quoted cells may hold any of these signs.
    """
    declared = _DECLARED.fullmatch(file.readline(LONGEST_ROW))
    skipped = 1 if declared else 0

    def back() -> None:
        file.seek(0)
        if skipped:
            file.readline(LONGEST_ROW)

    def fit(delimiter: str) -> tuple[int, int, int]:
        back()
        try:
            rows = list(islice(csv.reader(file, delimiter=delimiter), HEADS_WITHIN))
        except csv.Error:
            rows = []
        head = rows[_head(rows)] if rows else []
        wider = sum(len(row) > len(head) for row in rows)
        return _known(head), len(head), -wider

    best = max([*(declared[1] if declared else ""), *",;\t|"], key=fit)
    back()
    return best, skipped


def _known(cells: list[str]) -> int:
    """How many different names of columns that are read stand in a row."""
    return len({column_name(cell) for cell in cells} & COLUMN_NAMES)


def _head(rows: list[list[str]]) -> int:
    """Which row has the column names: the first with most names that are known; where none is, the
    first that is not blank.
    """
    filled = [number for number, cells in enumerate(rows) if any(map(seen, cells))]
    return max(filled, key=lambda number: _known(rows[number]), default=0)


class _Lines:
    """The lines of a file, which can be gone back to: a CSV reader takes several for one row."""

    def __init__(self, file: TextIO, number: int):
        self._file, self._back = file, deque[str]()
        self.number = number  # of the line that was read last
        self._row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else self._file.readline()
        if not line:
            raise StopIteration
        self.number += 1
        self._row.append(line)
        return line

    def begin(self) -> int:
        """Forget the lines before; the number of the next one."""
        self._row = []
        return self.number + 1

    def back(self) -> None:
        """Behind the first line since `begin`."""
        self.number -= len(self._row) - 1
        self._back.extendleft(reversed(self._row[1:]))


def _numbered(
    source: str, file: TextIO, delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]] | Dropped]:
    """Rows of a CSV file with the line each begins on.

    A row with a quotation mark that is not closed ends with its line, so that it takes no other
    rows with it.
    """
    lines = _Lines(file, skipped)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = lines.begin()
        try:
            yield line, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            over_lines = lines.number > line
            lines.back()
            problem = "a quotation mark that is not closed" if over_lines else "not CSV"
            yield Dropped(f"{source}#{line}", "row", problem, "" if over_lines else str(error))


def table_rows(
    path: Path, source: str, rows: Iterable[tuple[int, list[str]] | Dropped]
) -> Iterator[Record | Dropped]:
    """The rows of a table below its column names. rows: every row with its number.

    What stands above the names and what stands in a column without a name is left out and told, and
    so are the names where they come again. Raises InputError for a column that is read and is there
    twice.
    """
    rows, found = iter(rows), False
    start: list[tuple[int, list[str]]] = []
    for entry in islice(rows, HEADS_WITHIN):
        if isinstance(entry, Dropped):
            found = True
            yield entry
        else:
            start.append(entry)
    head = _head([cells for _, cells in start])
    for line, cells in start[:head]:
        if title := " ".join(filter(None, map(seen, cells))):
            yield Dropped(f"{source}#{line}", "line", "a line above the column names", title)
    names = _columns(path, *start[head]) if start else []
    nameless: Counter[int] = Counter()
    for entry in chain(start[head + 1 :], rows):
        if isinstance(entry, tuple) and not any(map(seen, entry[1])):
            continue
        found = True
        if isinstance(entry, tuple) and _are_names(entry[1], names):
            yield Dropped(f"{source}#{entry[0]}", "line", "the column names once more")
            continue
        yield entry if isinstance(entry, Dropped) else _record(path, source, names, *entry)
        if isinstance(entry, tuple):
            placed = enumerate(entry[1][: len(names)])
            nameless.update(at for at, cell in placed if not names[at] and seen(cell))
    for at, count in sorted(nameless.items()):
        yield Dropped(source, "cell", "a column without a name", f"column {at + 1}", count)
    if not found:
        yield Dropped(source, "file", NO_ROWS if any(names) else NO_TEXT)


def _record(
    path: Path, source: str, names: list[str], line: int, cells: list[str]
) -> Record | Dropped:
    """A row by its column names. Cells that are not there at a row's end are empty ones; cells
    beyond the names must be.
    """
    if any(map(seen, cells[len(names) :])):
        return Dropped(
            f"{source}#{line}",
            "row",
            "cells that do not fit the column names",
            f"{len(cells)} for {len(names)} columns",
        )
    filled = [*cells, *[""] * (len(names) - len(cells))]
    values = {name: cell for name, cell in zip(names, filled, strict=False) if name}
    return Record(path, source, line, values)


def column_name(text: str) -> str:
    """A column's name whatever its capitals, what surrounds it, and what parts its words."""
    name = seen(tidy(text)).rstrip(": ")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s_-]+", "_", name) if name.isascii() else name
    return words.casefold()


def _are_names(cells: list[str], names: list[str]) -> bool:
    """Whether a row has the column names again, as in tables that were put together."""
    pairs = zip_longest(cells, names, fillvalue="")
    return all(cell == name or seen(tidy(cell)) == name for cell, name in pairs)


def _columns(path: Path, line: int, cells: list[str]) -> list[str]:
    """The names of columns. A second one of a name that is not read is numbered."""
    columns: list[str] = []
    for cell in cells:
        name = seen(tidy(cell))
        if name and name in columns:
            if column_name(name) in COLUMN_NAMES:
                raise InputError(
                    f"{path}:{line}: column {name!r} is there twice; give every column its own name"
                )
            name = f"{name} ({len(columns) + 1})"
        columns.append(name)
    return columns


# --- web pages --------------------------------------------------------------------------------

# elements that begin a line of their own; the others stand in one
_OWN_LINE = (
    "address article aside blockquote body caption dd details div dl dt figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hr legend li main ol option p pre search section select summary "
    "svg table textarea tr ul"
)
_NEVER_SEEN = ("head", "script", "style", "template", "noscript", "rp")
_BESIDE_THE_TEXT = {
    "nav": "navigation",
    "rt": "reading aid above characters",
    "del": "deletion",
    "button": "button",
    # a whole page is hidden until a script shows it
    ':is([hidden], [style*="display:none" i], [style*="display: none" i]):not(body, html)': (
        "hidden part of a page"
    ),
}


def read_html(path: Path, source: str) -> Iterator[Document | Dropped]:
    """What a page says, a line for each row of a table; scripts and navigation go."""
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    encoding, data = find_encoding(path), path.read_bytes()
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    page = BeautifulSoup(data, "html.parser", from_encoding=declared or encoding)
    for element in page(_NEVER_SEEN):
        element.decompose()
    for name, what in _BESIDE_THE_TEXT.items():
        if found := [element for element in page.select(name) if element.get_text(strip=True)]:
            yield Dropped(source, what, NOT_RUNNING, count=len(found))
        for element in page.select(name):
            element.decompose()
    text = tidy(_page_text(page))
    yield Document(source, text, source) if text else Dropped(source, "file", NO_TEXT)
    used = page.original_encoding or encoding
    yield from _doubts(source, text.count("\ufffd"), used, declared=used == declared)


def _page_text(page: Any) -> str:
    for string in page.find_all(string=True):
        if not string.find_parent("pre"):
            string.replace_with(type(string)(re.sub(r"\s+", " ", string)))
    for element in page.find_all("br"):
        element.replace_with("\n")
    for element in page.find_all(["td", "th"]):
        if element.find_next_sibling(["td", "th"]):
            element.insert_after(" | ")
    for element in page.find_all(_OWN_LINE.split()):
        in_cell = element.find_parent(["td", "th"])  # a row stays one line
        line_of_list = element.name in ("tr", "li")
        element.insert_before(" " if in_cell else "\n" if line_of_list else "\n\n")
        element.insert_after(" " if in_cell or line_of_list else "\n\n")
    lines = "\n".join(re.sub(" {2,}", " ", line).strip() for line in page.get_text().split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


# --- documents --------------------------------------------------------------------------------


def read_pdf(path: Path, source: str) -> Iterator[Document | Dropped]:
    """The text of all pages, page breaks kept."""
    from pypdf import PdfReader

    # what is wrong with a file is said in the report
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    pages = []
    with path.open("rb") as file:
        try:
            reader = PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                yield Dropped(source, "file", "an encrypted PDF", "save a copy without a password")
                return
            count = len(reader.pages)
        except Exception as error:  # a damaged file raises whatever the parser stumbles over
            yield Dropped(source, "file", "an unreadable PDF", _told(error))
            return
        for number in range(count):
            try:
                pages.append(reader.pages[number].extract_text())
            except Exception as error:
                yield Dropped(
                    f"{source}#page {number + 1}", "page", "an unreadable page", _told(error)
                )
    text = tidy(PAGE_BREAK.join(pages))
    if text.strip():
        yield Document(source, text, source)
    elif pages:
        yield Dropped(
            source,
            "file",
            "a PDF without text",
            f"{count} pages, scanned perhaps: run text recognition (OCR) first",
        )
    else:
        yield Dropped(source, "file", "a PDF without a readable page")


def read_docx(path: Path, source: str) -> Iterator[Document | Dropped]:
    """Paragraphs and tables (a line per row) in order, with all tracked changes accepted.

    What is not running text, such as footnotes, is left out and counted.
    """
    from docx import Document as open_docx

    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {entry.filename: entry.file_size for entry in packed.infolist()}
        xml = sum(size for name, size in sizes.items() if name.lower().endswith((".xml", ".rels")))
        if sum(sizes.values()) > UNPACKED or xml > UNPACKED_XML:
            yield Dropped(source, "file", TOO_MUCH, f"{sum(sizes.values()):,} bytes")
            return
        opened, body = open_docx(str(path)), _WordText()
        blocks = body.blocks(opened.element.body)
        body.left_out.update(_heads_and_feet(opened.part))
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the parser stumbles over
        hint = f"{_told(error)}; open it in Word and save it as an ordinary .docx"
        yield Dropped(source, "file", "an unreadable .docx", hint)
        return
    text = tidy("\n\n".join(block for block in blocks if block.strip()))
    yield Document(source, text, source) if text.strip() else Dropped(source, "file", NO_TEXT)
    for what, count in sorted(body.left_out.items()):
        yield Dropped(source, what, NOT_RUNNING, count=count)


# What Word keeps beside the running text, by the name of its element. Every other element is looked
# into (content controls, tracked insertions, fields, smart tags, whatever comes next): none of them
# can hide text.
NOT_RUNNING_TEXT = {
    "del": "tracked deletion",
    "moveFrom": "text moved elsewhere",
    "txbxContent": "text box",
    "oMath": "equation",
    "rt": "reading aid above characters",
    "sym": "sign of a symbol font",
    "altChunk": "embedded file",
    "object": "embedded object",
    "chart": "chart",
    "relIds": "diagram",
    "footnoteReference": "footnote",
    "endnoteReference": "endnote",
    "commentReference": "comment",
} | dict.fromkeys(
    ("dayShort", "dayLong", "monthShort", "monthLong", "yearShort", "yearLong", "pgNum"),
    "date or number that Word fills in",
)
# fields that show words which Word finds out; a file need not hold them
_FILLED_IN = (
    "DATE TIME CREATEDATE SAVEDATE PRINTDATE PAGE PAGEREF NUMPAGES AUTHOR TITLE SUBJECT FILENAME "
    "DOCPROPERTY DOCVARIABLE MERGEFIELD REF SEQ QUOTE STYLEREF TOC"
)
FILLED_IN = frozenset(_FILLED_IN.split())
NOT_FILLED_IN = "field that Word fills in"
COUNTED_WITH_TEXT = {"del", "moveFrom", "txbxContent", "oMath", "rt"}  # where they are not empty
SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_BLOCKS = {"p", "tbl", "r"}  # a run outside of any paragraph is not valid, but its text is text


@dataclass
class _Field:
    """A field that is open: its instruction, whether that still goes on, and what it shows: the
    text of its result, or else what was chosen in a form.
    """

    chosen: str
    instruction: str = ""
    goes_on: bool = True
    has_result: bool = False


class _WordText:
    """Collects text from the elements of a .docx. left_out: how often each kind of thing was."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self._fields: list[_Field] = []

    def blocks(self, parent: Any) -> list[str]:
        """The texts of the paragraphs and tables in an element.

        A paragraph whose end was deleted goes on with the next one.
        """
        found: list[str] = []
        goes_on = False
        for element in self._below(parent, _BLOCKS):
            if _name_of(element) == "tbl":
                found.append(self._table(element))
                goes_on = False
            else:
                before = found.pop() if goes_on else ""
                found.append(before + self._inside(element))
                goes_on = _has(element, "pPr/rPr/del") or _has(element, "pPr/rPr/moveFrom")
        return found

    def _below(self, parent: Any, names: set[str]) -> Iterator[Any]:
        """The elements of these names in an element, whatever is wrapped around them."""
        for element in _children(parent):
            if _name_of(element) in names:
                yield element
            elif not self._leaves_out(element):
                yield from self._below(self._chosen(element), names)

    def _inside(self, parent: Any) -> str:
        return "".join(self._text(element) for element in _children(parent))

    def _text(self, element: Any) -> str:
        name = _name_of(element)
        if name == "fldChar":
            return self._pass_field(element)
        elif name == "fldSimple":
            text = self._inside(element)
            self._count_unfilled(_value(element, "instr"), bool(text.strip()))
            return text
        elif name == "instrText" and self._fields:
            self._fields[-1].instruction += element.text or ""
        elif name == "t":
            return self._shown(element.text or "")
        elif name == "textpath":  # WordArt
            return self._shown(f"\n{element.get('string', '')}\n")
        elif name in SIGNS:
            return SIGNS[name]
        elif not self._leaves_out(element):
            return self._inside(self._chosen(element))
        return ""

    def _shown(self, text: str) -> str:
        """A text, which may be a field's result or stand inside a field's instruction."""
        if any(field.goes_on for field in self._fields[:-1]):
            if text.strip():
                self.left_out["part of a field's instruction"] += 1
            return ""
        for field in self._fields:
            field.has_result = field.has_result or bool(text.strip())
        return text

    def _pass_field(self, mark: Any) -> str:
        """A field is an instruction and its result; only the result is text, and what was chosen
        in a form, which stands in no result.
        """
        kind = _value(mark, "fldCharType")
        if kind == "begin":
            chosen = _chosen_in_form(mark)
            if chosen and _is_on(mark.getparent(), "rPr/vanish"):
                self.left_out["hidden text"] += 1
                chosen = ""
            self._fields.append(_Field(chosen))
        elif self._fields and kind == "separate":
            self._fields[-1].goes_on = False
        elif self._fields and kind == "end":
            field = self._fields[-1]
            text = "" if field.has_result else self._shown(field.chosen)
            self._fields.pop()
            self._count_unfilled(field.instruction, field.has_result)
            return text
        return ""

    def _count_unfilled(self, instruction: str, has_result: bool) -> None:
        """Counts a field that shows words of which the file holds none."""
        name = (instruction.split() or [""])[0].upper()
        if name in FILLED_IN and not has_result and not any(each.goes_on for each in self._fields):
            self.left_out[NOT_FILLED_IN] += 1

    def _leaves_out(self, element: Any) -> bool:
        """Whether an element holds no running text; it is counted if it says something else."""
        name = _name_of(element)
        if name == "sdt" and _has(element, "sdtPr/showingPlcHdr"):
            what = "placeholder that was never filled in"
        elif name == "r" and _is_on(element, "rPr/vanish") and _is_hidden_text(element):
            what = "hidden text"
        elif name == "tr" and _has(element, "trPr/del"):
            what = "deleted row of a table"
        elif name == "tc" and _has(element, "tcPr/cellDel"):
            what = "deleted cell of a table"
        else:
            what = NOT_RUNNING_TEXT.get(name, "")
        if what and (name not in COUNTED_WITH_TEXT or _says_something(element)):
            self.left_out[what] += 1
        return bool(what) or name.endswith("Pr")  # properties

    def _chosen(self, element: Any) -> Any:
        """The first of several alternatives that has text; any other element itself."""
        if _name_of(element) != "AlternateContent":
            return element
        alternatives = _children(element)
        with_text = (each for each in alternatives if _WordText()._inside(each).strip())
        return next(with_text, alternatives[0] if alternatives else element)

    def _table(self, table: Any) -> str:
        above: dict[int, str] = {}
        rows = [row for row in self._below(table, {"tr"}) if not self._leaves_out(row)]
        return "\n".join(" | ".join(self._cells(row, above)) for row in rows)

    def _cells(self, row: Any, above: dict[int, str]) -> Iterator[str]:
        """above: by column, the text of the cell above, which a merged cell goes on with."""
        column = _number(row, "trPr/gridBefore", 0)
        for cell in self._below(row, {"tc"}):
            if not self._leaves_out(cell):
                text = "\n".join(block for block in self.blocks(cell) if block.strip()).strip()
                if (
                    _has(cell, "tcPr/vMerge")
                    and _value(_find(cell, "tcPr/vMerge"), "val") != "restart"
                ):
                    text = text or above.get(column, "")
                above[column] = text
                yield text
            column += _number(cell, "tcPr/gridSpan", 1)


def _heads_and_feet(part: Any) -> Iterator[str]:
    """A word for each header and footer that says something."""
    for relation in part.rels.values():
        what = relation.reltype.rsplit("/", 1)[-1]
        if what in ("header", "footer") and _says_something(relation.target_part.element):
            yield what


def _children(element: Any) -> list[Any]:
    return [child for child in element if isinstance(child.tag, str)]  # no comments


def _name_of(element: Any) -> str:
    """The name of an element of Word; of DrawingML, where `t` is no running text, with its
    namespace.
    """
    namespace, _, name = element.tag.rpartition("}")
    return element.tag if namespace.endswith("drawingml/2006/main") else name


def _find(element: Any, steps: str) -> Any:
    return element.find("/".join(f"{{*}}{step}" for step in steps.split("/")))


def _has(element: Any, steps: str) -> bool:
    return _find(element, steps) is not None


def _is_on(element: Any, steps: str) -> bool:
    """Whether a property is there and not switched off."""
    found = _find(element, steps)
    return found is not None and _value(found, "val") not in ("0", "false", "off")


def _value(element: Any, name: str) -> str:
    return next((value for key, value in element.items() if key.endswith("}" + name)), "")


def _number(element: Any, steps: str, default: int) -> int:
    found = _find(element, steps)
    return default if found is None else int(_value(found, "val") or default)


def _chosen_in_form(mark: Any) -> str:
    """What the form field shows that begins at a mark: the choice of a drop-down list, or a box."""
    choices, box = _find(mark, "ffData/ddList"), _find(mark, "ffData/checkBox")
    if choices is not None:
        entries = [_value(entry, "val") for entry in choices.findall("{*}listEntry")]
        at = _number(choices, "result", _number(choices, "default", 0))
        return entries[at] if 0 <= at < len(entries) else ""
    if box is None:
        return ""
    state = "checked" if _has(box, "checked") else "default"
    return "\u2612" if _is_on(box, state) else "\u2610"


def _is_hidden_text(run: Any) -> bool:
    """Whether a hidden run holds text; the mark of a field must be passed all the same."""
    return _says_something(run) and not _has(run, "fldChar")


def _says_something(element: Any) -> bool:
    said = ((node.text or "") for node in element.iter("{*}t", "{*}delText"))
    drawn = (node.get("string", "") for node in element.iter("{*}textpath"))
    chosen = (_chosen_in_form(node) for node in element.iter("{*}fldChar"))
    return any(text.strip() for text in chain(said, drawn, chosen))


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


READERS = {
    ".txt": read_text,
    ".md": read_text,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".xlsx": read_workbook,
    ".xls": read_workbook,
    ".ods": read_workbook,
    ".parquet": read_parquet,
}
KNOWN = ", ".join(READERS)
REMEDIES = {
    ".doc .docm .dotx .rtf .odt .pages .wpd": "save it as .docx",
    ".ppt .pptx .odp .key .ps .djvu": "save it as .pdf",
    ".epub .mobi .azw3 .mht .mhtml .ipynb": "save it as .html",
    ".xlsm .xlsb .numbers": "save it as .xlsx",
    ".tex .rst .org .log .text .markdown .srt .vtt .eml .msg": "save it as .txt",
    ".xml .yaml .yml .toml": "save its text as .txt, or its rows as .json",
    ".ndjson": "rename it to .jsonl",
    ".arrow .feather .pkl .db .sqlite .sql .mdb": "save its rows as .parquet or .csv",
    ".zip .gz .tgz .bz2 .xz .zst .tar .7z .rar": "unpack it",
    ".png .jpg .jpeg .tif .tiff .gif .webp .heic": "run text recognition (OCR) first",
    ".mp3 .wav .m4a .ogg .flac .mp4 .mov .mkv .avi": "write down what is said as .txt",
}


def _remedy(suffix: str) -> str:
    """What to do with a file of a kind that is not read."""
    for kinds, remedy in REMEDIES.items():
        if suffix in kinds.split():
            return remedy
    return f"save what it says as one of {KNOWN}"
