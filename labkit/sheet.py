"""One page of findings as plain values, and its three renderings: text, escaped HTML, PDF."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.pdf import write_pdf
from labkit.tables import template

TEXT_WIDTH = 110


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and a table; a table without rows is left out."""

    head: str
    text: str = ""
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Sheet:
    """What a page says. verdict: the one sentence to take away. Every value is plain text."""

    title: str
    subtitle: str
    verdict: str
    sections: tuple[Section, ...]


def sheet_text(sheet: Sheet) -> str:
    """The page for a terminal, 110 columns wide."""
    lines = [sheet.title, *_wrapped(sheet.subtitle), "", *_wrapped(sheet.verdict)]
    for section in sheet.sections:
        lines += ["", section.head.upper(), *_wrapped(section.text)]
        for first, *rest in section.rows:
            told = "; ".join(f"{head}: {cell}" for head, cell in zip(section.heads[1:], rest, strict=True) if cell)
            lines += _wrapped(f"- {first}: {told}", indent="  ")
    return "\n".join(lines)


def _wrapped(text: str, *, indent: str = "") -> list[str]:
    return textwrap.wrap(text, TEXT_WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def sheet_html(sheet: Sheet) -> str:
    """The page for a notebook; every value is escaped."""
    return template("sheet.html.j2").render(sheet=sheet)


def sheet_pdf(sheet: Sheet, path: Path) -> Path:
    """The page as one side of A4; returns the path. Raises InputError when it does not fit, StoreError when it cannot be written."""
    return write_pdf("sheet", asdict(sheet), path)
