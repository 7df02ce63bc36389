"""Text out of files as people have them: .txt, .md, .jsonl, .csv, .pdf, .docx.

Whatever is not read is named with its reason. A file that cannot be read does not stop the others.
A data file that is broken does: its owner meant every row of it.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.base.errors import InputError
from labkit.base.inputs import find_encoding, tidy

# characters of a text file that become one document; longer files are read in parts
PART = 1_000_000
LONGEST_ROW = 10_000_000  # characters of a row or a cell
UNPACKED, UNPACKED_XML = 150_000_000, 30_000_000  # bytes a .docx may unpack to
PAGE_BREAK = "\f"
_HYPHENATED = re.compile(r"(?<=[^\W\d_])[-\xad]\n(?=[a-z\xdf-\xff])")
BINARY = "binary, not text"
NO_TEXT = "no text in it"


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
        raise InputError(f"{folder}: no such folder; give a folder with {', '.join(READERS)} files")
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
        yield Dropped(source, "file", "unknown kind of file", f"known: {', '.join(READERS)}")
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
        if entry.name.startswith("."):
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


def _replaced(source: str, count: int, encoding: str) -> Iterator[Dropped]:
    if count:
        yield Dropped(
            source,
            "character",
            "bytes that are no text in the file's encoding",
            f"read as {encoding}, marked \ufffd",
            count,
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
    yield from _replaced(source, replaced, encoding)


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
    """One object per line. Raises InputError naming file and line for broken JSON."""
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    found, replaced = False, 0
    for number, line in _rows(path, encoding):
        replaced += line.count("\ufffd")
        if len(line) > LONGEST_ROW:
            yield Dropped(f"{source}#{number}", "row", f"longer than {LONGEST_ROW:,} characters")
        elif line.strip():
            found = True
            yield Record(path, source, number, _object(path, number, line))
    if not found:
        yield Dropped(source, "file", NO_TEXT)
    yield from _replaced(source, replaced, encoding)


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


def _object(path: Path, number: int, line: str) -> dict:
    try:
        value = json.loads(line.rstrip())
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{number}: broken JSON at column {error.colno} ({error.msg}); one "
            "object per line, or move the file away"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{path}:{number}: a number or a nesting that is too long to read; mend the "
            "line or move the file away"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}:{number}: expected a JSON object, got {type(value).__name__}; one "
            "object per line, or move the file away"
        )
    return value


def read_csv(path: Path, source: str) -> Iterator[Record | Dropped]:
    """Rows under a line of column names, parted by commas, semicolons, tabs or bars.

    Raises InputError naming file and line.
    """
    encoding = find_encoding(path)
    if encoding is None:
        yield Dropped(source, "file", BINARY)
        return
    found, replaced = False, 0
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        heads = file.readline(LONGEST_ROW)
        file.seek(0)
        csv.field_size_limit(LONGEST_ROW)
        rows = csv.reader(file, delimiter=max(",;\t|", key=heads.count), strict=True)
        columns: list[str] = []
        for line, cells in _numbered(path, rows):
            replaced += sum(cell.count("\ufffd") for cell in cells)
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _columns(path, line, cells)
            elif len(cells) != len(columns):
                yield Dropped(
                    f"{source}#{line}",
                    "row",
                    "cells that do not fit the column names",
                    f"{len(cells)} for {len(columns)} columns",
                )
            else:
                found = True
                yield Record(path, source, line, dict(zip(columns, cells, strict=True)))
    if not found:
        yield Dropped(source, "file", NO_TEXT)
    yield from _replaced(source, replaced, encoding)


def _numbered(path: Path, rows) -> Iterator[tuple[int, list[str]]]:
    """Rows of a csv.reader with the line each begins on."""
    line = 1
    try:
        for cells in rows:
            yield line, cells
            line = rows.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}:{line}: this is not CSV ({error}); look for a quotation mark that "
            "is not closed, or move the file away"
        ) from None


def _columns(path: Path, line: int, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}:{line}: column {twice!r} is there twice; give every column its own name"
        )
    return columns


# --- documents --------------------------------------------------------------------------------


def read_pdf(path: Path, source: str) -> Iterator[Document | Dropped]:
    """The text of all pages, page breaks kept; words hyphenated at a line's end are joined."""
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
    text = tidy(_HYPHENATED.sub("", PAGE_BREAK.join(pages)))
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
    """Paragraphs and tables (a line per row) in order, without headers, footers and comments."""
    from docx import Document as open_docx

    try:
        with zipfile.ZipFile(path) as packed:
            sizes = {entry.filename: entry.file_size for entry in packed.infolist()}
        xml = sum(size for name, size in sizes.items() if name.lower().endswith((".xml", ".rels")))
        if sum(sizes.values()) > UNPACKED or xml > UNPACKED_XML:
            yield Dropped(
                source,
                "file",
                "a .docx that unpacks to far too much",
                f"{sum(sizes.values()):,} bytes",
            )
            return
        blocks = [_block_text(block) for block in open_docx(str(path)).iter_inner_content()]
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the parser stumbles over
        yield Dropped(source, "file", "an unreadable .docx", _told(error))
        return
    text = tidy("\n\n".join(block for block in blocks if block.strip()))
    yield Document(source, text, source) if text.strip() else Dropped(source, "file", NO_TEXT)


def _block_text(block) -> str:
    if not hasattr(block, "rows"):
        return block.text
    lines = []
    for row in block.rows:
        cells = [cell.text.strip() for cell in row.cells]
        # merged cells come twice
        lines.append(
            " | ".join(cell for i, cell in enumerate(cells) if i == 0 or cell != cells[i - 1])
        )
    return "\n".join(lines)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


READERS = {
    ".txt": read_text,
    ".md": read_text,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".pdf": read_pdf,
    ".docx": read_docx,
}
