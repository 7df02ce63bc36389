"""PDF pages from packaged typst templates: data goes in as JSON, so no word of it is ever read as markup.

Every page is PDF/UA-1 (ISO 14289-1): tagged for screen readers, and refused by the compiler when a letter has no glyph.
The only module that imports typst.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from labkit.errors import InputError, suggest
from labkit.store import write_file

TEMPLATES = Path(__file__).parent / "templates"
HOUSE = "house"  # what the templates share; no page of its own


def page_templates() -> list[str]:
    """Names that `write_pdf` takes."""
    return sorted(path.stem for path in TEMPLATES.glob("*.typ") if path.stem != HOUSE)


def pdf_bytes(template: str, data: dict) -> bytes:
    """A page of that template. The same template and data give the same bytes.

    data: plain values as JSON has them, in the shape the template's first lines tell. Fonts are typst's own; a script
    that they lack (Chinese, Japanese, Korean, emoji) is set in a font of this machine, if it has one.
    Raises InputError for an unknown template, and for a letter that no font can draw.
    """
    import typst

    if template not in page_templates():
        raise InputError(f"unknown PDF template {template!r}: {suggest(template, page_templates())}")
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        return typst.compile(TEMPLATES / f"{template}.typ", format="pdf", sys_inputs={"data": text}, pdf_standards="ua-1")
    except typst.TypstError as error:
        raise InputError(_sentence(template, error.message)) from None
    except UnicodeEncodeError as error:
        raise InputError(f"PDF {template!r}: the text holds half a character ({error.object[error.start]!r}); remove it") from None


def write_pdf(template: str, data: dict, path: Path) -> Path:
    """Write `pdf_bytes(template, data)` completely or not at all; returns the path.

    Raises InputError as `pdf_bytes` does, and when the path does not end in .pdf; StoreError when it cannot be written.
    """
    if path.suffix.lower() != ".pdf":
        raise InputError(f"{path}: a PDF's name ends in .pdf; write {path.with_suffix('.pdf').name}")
    write_file(path, pdf_bytes(template, data))
    return path


def _sentence(template: str, message: str) -> str:
    unseen = re.search(r"text (.+) could not be displayed", message)
    if unseen:
        return f"PDF {template!r}: no font here can draw {unseen[1]}; write it in other letters, or install a font that has them"
    return f"PDF {template!r} cannot be made: {' '.join(message.split())[:300]}"
