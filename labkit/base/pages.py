"""This module makes of plain values what people read: tables, sheets of findings, PDF pages, forms.

Every value that goes into HTML is escaped. A PDF page comes from a typst template of the package,
and its data goes in as JSON, so that no word of it is read as markup. A page is PDF/UA-1 (ISO
14289-1): it is tagged for screen readers, and the compiler refuses it when a letter has no glyph.
The module does not know where records come from or what a finding means.
"""

from __future__ import annotations

import io
import json
import logging
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from labkit.base.errors import InputError, suggest
from labkit.base.inputs import tidy
from labkit.base.records import AXES, AXIS_NAMES, CONTROLS
from labkit.base.stats import Interval, told_verdict
from labkit.base.store import PACKAGE, write_file

# --- templates and tables ---------------------------------------------------------------------

TEMPLATES = PACKAGE / "base" / "templates"
NOTE_CHARACTERS = 60  # a shorter text stands in its cell however often it occurs


INTERVAL = re.compile(r"(?:[-+]?[\d.,]+ )?(\[[-+]?[\d.,]+, [-+]?[\d.,]+\])")


def template(name: str):
    """A Jinja template of the package, with autoescape on and the filter `unbroken`."""
    from jinja2 import Environment, PackageLoader

    made = Environment(loader=PackageLoader("labkit.base"), autoescape=True)
    made.filters["unbroken"] = _unbroken
    return made.get_template(name)


def _unbroken(text: str, *, narrow: bool = False):
    """The escaped text, in which no interval goes over two lines; where columns are narrow, its
    mean may stand above it.
    """
    from markupsafe import Markup, escape

    marked = '<span style="white-space: nowrap">{}</span>'

    def mark(found: re.Match[str]) -> str:
        if narrow:
            return found[0].removesuffix(found[1]) + marked.format(found[1])
        return marked.format(found[0])

    return Markup(INTERVAL.sub(mark, str(escape(text))))


def text_template(name: str) -> str:
    """A text of the package as it is, for `str.format`; formatters leave a .txt alone."""
    return (TEMPLATES / name).read_text("utf-8")


def scorecard_table(rows: list[dict]) -> str:
    """Scorecard records as a table: a row per checkpoint, a column per axis."""
    axes = [axis for axis in AXES + CONTROLS if any(axis in row["axes"] for row in rows)]
    cells = [
        (
            row["checkpoint"],
            [str(Interval(**row["axes"][axis])) if axis in row["axes"] else "" for axis in axes],
        )
        for row in rows
    ]
    names = [AXIS_NAMES[axis] for axis in axes]
    return template("scorecards.html.j2").render(axes=names, rows=cells)


def findings_table(rows: list[dict]) -> str:
    """Finding records as a table: claim, effect, verdict, and what is reported elsewhere."""
    said, notes = noted([(row["reported"],) for row in rows])
    cells = [
        (row, Interval(**row["effect"]), words) for row, (words,) in zip(rows, said, strict=True)
    ]
    return template("findings.html.j2").render(rows=cells, notes=notes)


def plain_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Any rows under heads; numbers are written with two digits. A row of a single cell under
    several heads is the heading of those below it.
    """
    cells = [
        [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    return template("plain.html.j2").render(heads=heads, rows=cells)


def text_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under heads as plain text for a terminal, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * width for width in widths], *rows]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join((title, *padded))


def claims_table(rows: list[dict]) -> str:
    """The claims register: claim, effect, verdict, what is reported elsewhere, and why the two may
    differ.
    """
    heads = ("claim", "measured over seeds", "verdict", "reported elsewhere", "why they may differ")
    said, notes = noted([(row["reported"], row["differs"]) for row in rows])
    several, cells = len({row["topic"] for row in rows}) > 1, []
    before = None
    for row, words in zip(rows, said, strict=True):
        if several and row["topic"] != before:
            cells.append((row["topic"],))
        before = row["topic"]
        measured = signed(Interval(**row["effect"]))
        cells.append((row["claim"], measured, claim_verdict(row), *words))
    return plain_table(heads, cells) + template("notes.html.j2").render(notes=notes)


def claim_verdict(row: dict) -> str:
    """The verdict of a claim of a register, as people read it."""
    return told_verdict(row["verdict"], Interval(**row["effect"]), row.get("compared", 0))


def noted(rows: Sequence[Sequence[str]]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Cells of which a long text that occurs more than once is a number, and those texts in the
    order of their numbers.
    """
    often = Counter(text for row in rows for text in row if len(text) > NOTE_CHARACTERS)
    notes = [text for text, times in often.items() if times > 1]
    return [
        tuple(f"note {notes.index(text) + 1}" if text in notes else text for text in row)
        for row in rows
    ], notes


def signed(found: Interval) -> str:
    """A difference with its sign; a very small one with a digit more, so that it does not read as
    zero. What is zero has no sign.
    """
    digits = 3 if abs(found.mean) < 0.01 else 2

    def one(value: float) -> str:
        rounded = round(value, digits)
        return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"

    return f"{one(found.mean)} [{one(found.low)}, {one(found.high)}]"


def covered(found: Interval) -> str:
    """A difference with its sign, and what its interval covers."""
    return f"{signed(found)} ({found.covers})"


def synergy_table(rows: list[dict]) -> str:
    """Synergy records (axis, merge, merged, over_max, over_mean) as a table; intervals are
    Interval.as_dict().
    """
    cells = [
        (
            AXIS_NAMES[row["axis"]],
            row["merge"],
            str(Interval(**row["merged"])),
            *(covered(Interval(**row[bar])) for bar in ("over_max", "over_mean")),
        )
        for row in rows
    ]
    return template("synergy.html.j2").render(rows=cells)


def claims_rows(rows: list[dict]) -> str:
    """Claims as Markdown: effect, how many scores and seeds, verdict, what is reported elsewhere,
    why the two may differ.
    """
    lines = [
        "| claim | measured | scores, seeds | verdict | reported elsewhere | why they may differ |",
        "|---|---|---|---|---|---|",
    ]
    said, notes = noted([(row["reported"], row["differs"]) for row in rows])
    for row, words in zip(rows, said, strict=True):
        effect = Interval(**row["effect"])
        lines.append(
            f"| {row['claim']} | {signed(effect)} | {effect.n}, {effect.seeds} | "
            f"{claim_verdict(row)} | {' | '.join(words)} |"
        )
    told = (
        ["", "Notes:", "", *(f"{number}. {text}" for number, text in enumerate(notes, 1))]
        if notes
        else []
    )
    return "\n".join(lines + told)


# --- PDF pages --------------------------------------------------------------------------------

HOUSE = "house"  # what the templates share; no page of its own


def page_templates() -> list[str]:
    """Names that `write_pdf` takes."""
    return sorted(path.stem for path in TEMPLATES.glob("*.typ") if path.stem != HOUSE)


def pdf_bytes(template: str, data: dict) -> bytes:
    """A page of that template. The same template and data give the same bytes.

    data: plain values as JSON has them, in the shape the template's first lines tell. Fonts are
    typst's own; a script that they lack (Chinese, Japanese, Korean, emoji) is set in a font of this
    machine, if it has one. Raises InputError for an unknown template, and for a letter that no font
    can draw.
    """
    import typst

    if template not in page_templates():
        raise InputError(
            f"unknown PDF template {template!r}: {suggest(template, page_templates())}"
        )
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        return typst.compile(
            TEMPLATES / f"{template}.typ",
            format="pdf",
            sys_inputs={"data": text},
            pdf_standards="ua-1",
        )
    except typst.TypstError as error:
        raise InputError(_sentence(template, error.message)) from None
    except UnicodeEncodeError as error:
        raise InputError(
            f"PDF {template!r}: the text holds half a character "
            f"({error.object[error.start]!r}); remove it"
        ) from None


def write_pdf(template: str, data: dict, path: Path) -> Path:
    """Write `pdf_bytes(template, data)` completely or not at all; returns the path.

    Raises InputError as `pdf_bytes` does, and when the path does not end in .pdf; StoreError when
    it cannot be written.
    """
    if path.suffix.lower() != ".pdf":
        raise InputError(
            f"{path}: a PDF's name ends in .pdf; write {path.with_suffix('.pdf').name}"
        )
    write_file(path, pdf_bytes(template, data))
    return path


def _sentence(template: str, message: str) -> str:
    unseen = re.search(r"text (.+) could not be displayed", message)
    if unseen:
        return (
            f"PDF {template!r}: no font here can draw {unseen[1]}; write it in other "
            "letters, or install a font that has them"
        )
    return f"PDF {template!r} cannot be made: {' '.join(message.split())[:300]}"


# --- sheets -----------------------------------------------------------------------------------

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


def sheet_text(sheet: Sheet, width: int = TEXT_WIDTH) -> str:
    """The page for a terminal of `width` columns."""

    def wrapped(text: str, indent: str = "") -> list[str]:
        return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)

    lines = [sheet.title, *wrapped(sheet.subtitle), "", *wrapped(sheet.verdict)]
    for section in sheet.sections:
        lines += ["", section.head.upper(), *wrapped(section.text)]
        for first, *rest in section.rows:
            told = "; ".join(
                f"{head}: {cell}"
                for head, cell in zip(section.heads[1:], rest, strict=True)
                if cell
            )
            lines += wrapped(f"- {first}: {told}", indent="  ")
    return "\n".join(lines)


def sheet_html(sheet: Sheet) -> str:
    """The page for a notebook; every value is escaped."""
    return template("sheet.html.j2").render(sheet=sheet)


def sheet_page(sheet: Sheet) -> str:
    """The same as a page of its own; every value is escaped."""
    from markupsafe import Markup

    return template("page.html.j2").render(title=sheet.title, body=Markup(sheet_html(sheet)))


def sheet_markdown(sheet: Sheet) -> str:
    """The same in Markdown; no value of it is read as markup."""
    lines = [
        f"# {_plain(sheet.title)}",
        "",
        _paragraph(sheet.subtitle),
        "",
        f"**{_plain(sheet.verdict)}**",
    ]
    for section in sheet.sections:
        lines += ["", f"## {_plain(section.head)}"]
        if section.text:
            lines += ["", _paragraph(section.text)]
        if section.rows:
            lines += ["", *markdown_table(section.heads, section.rows)]
    return "\n".join([*lines, ""])


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table: a cell's own lines are parted by <br>, nothing else of it is
    read as markup.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return [
        f"| {' | '.join('<br>'.join(map(_plain, cell.splitlines())) for cell in line)} |"
        for line in lines
    ]


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to do."""
    from html import escape

    told = escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", told)


def _paragraph(text: str) -> str:
    """The same at the beginning of a line, where a list or a rule could begin."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", _plain(text))


def sheet_pdf(sheet: Sheet, path: Path) -> Path:
    """The page as one side of A4; returns the path.

    Raises InputError when it does not fit, StoreError when it cannot be written.
    """
    return write_pdf("sheet", asdict(sheet), path)


# --- forms in PDF pages -----------------------------------------------------------------------

SCHEME = "field:"
LINES, COMBO, EDITABLE = 1 << 12, 1 << 17, 1 << 18  # field flags, ISO 32000-1 tables 228 and 230
# fonts every reader has; size 0: as the box allows
TYPED, CROSS = "/Helv 9 Tf 0 g", "/ZaDb 0 Tf 0 g"
CHECKED, OFF = "/Yes", "/Off"
MOST_BYTES = 20_000_000  # of a form that is read


@dataclass(frozen=True)
class FormField:
    """A field to fill in. kind: one line, several lines, one of some options or a text of one's
    own, a box to tick.

    tip: what a screen reader says of it. value: what stands there at first.
    """

    name: str
    tip: str
    kind: Literal["line", "lines", "choice", "box"] = "line"
    options: tuple[str, ...] = ()
    value: str = ""


def with_fields(page: bytes, fields: Iterable[FormField]) -> bytes:
    """The same PDF as a form: every link to "field:NAME" becomes the field of that name, in place.
    Dots in a name part it into groups of fields, as the standard has it.

    A link already stands in the page's tag tree, so the field is announced where it is read (ISO
    32000-1, 12.7 and 14.8). The font in which answers are typed is not embedded, so the finished
    form no longer claims PDF/UA. Raises InputError when its links and the fields are not the same
    names.
    """
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import BooleanObject, DictionaryObject, NameObject, TextStringObject

    wanted = {field.name: field for field in fields}
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(page)))
    places = dict(_links(writer))
    for name in sorted(wanted.keys() ^ places.keys()):
        raise InputError(
            f"form field {name!r} is "
            f"{'not on the page' if name in wanted else 'on the page, but nobody says what it is'}"
        )
    root = writer.root_object
    for name, link in places.items():
        _tag_of(root, link["/StructParent"])[NameObject("/S")] = NameObject("/Form")
        link.update(_widget(writer, wanted[name], link))
        for key in ("/A", "/Border"):
            del link[key]
    root[NameObject("/AcroForm")] = writer._add_object(
        DictionaryObject(
            {
                NameObject("/Fields"): _grouped(writer, places),
                NameObject("/DR"): _fonts(writer),
                NameObject("/DA"): TextStringObject(TYPED),
                NameObject("/NeedAppearances"): BooleanObject(True),
            }
        )
    )
    told = root["/Metadata"]
    told.set_data(re.sub(rb"<pdfuaid:part>.*?</pdfuaid:part>", b"", told.get_data()))
    filled = {field.name: field.value for field in wanted.values() if field.value}
    if filled:
        writer.update_page_form_field_values(None, filled, auto_regenerate=True)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def read_fields(path: Path, *, help: str) -> dict[str, str]:
    """What stands in the fields of a PDF form, by their names; empty ones and boxes that are not
    ticked are "".

    Raises InputError for what is no PDF, is damaged, locked, too large or has no fields. help: what
    to hand in instead.
    """
    from pypdf import PdfReader

    # what is wrong with the file is said in one sentence
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than {MOST_BYTES / 1e6:.0f} MB; {help}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {help}") from None
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); {help}") from None
    if b"%PDF-" not in content[:1024]:
        raise InputError(f"{path}: this is no PDF; {help}")
    try:
        reader = PdfReader(io.BytesIO(content))
        locked = reader.is_encrypted and not reader.decrypt("")
        fields = {} if locked else reader.get_fields() or {}
        found = {
            name: _field_text(field.get("/V"))
            for name, field in fields.items()
            if field.get("/FT")  # groups have none
        }
    except Exception:  # a damaged file raises whatever the parser stumbles over
        raise InputError(f"{path}: a damaged PDF; save it again, or {help}") from None
    if locked:
        raise InputError(f"{path}: the PDF is locked; save a copy without a password")
    if not found:
        raise InputError(f"{path}: a PDF without fields; {help}")
    return found


def _field_text(value: Any) -> str:
    """A field's value as text: a name is a box's, a list that of several choices, a stream a long
    text.
    """
    value = value.get_object() if hasattr(value, "get_object") else value
    if isinstance(value, list):
        return ", ".join(map(_field_text, value))
    if hasattr(value, "get_data"):
        value = value.get_data()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return "" if value is None or value == OFF else tidy(str(value)).strip()


def _grouped(writer, places: dict[str, Any]):
    """The form's fields; those whose names begin alike, up to a dot, lie in one group. No field's
    own name may hold a dot (ISO 32000-1, 12.7.3.2).
    """
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

    groups = {"": DictionaryObject({NameObject("/Kids"): ArrayObject()})}

    def group(name: str) -> DictionaryObject:
        if name not in groups:
            told = {"/T": TextStringObject(name.rpartition(".")[2]), "/Kids": ArrayObject()}
            groups[name] = DictionaryObject({NameObject(key): one for key, one in told.items()})
            writer._add_object(groups[name])
            join(groups[name], name)
        return groups[name]

    def join(one: DictionaryObject, name: str) -> None:
        of = name.rpartition(".")[0]
        group(of)["/Kids"].append(one.indirect_reference)
        if of:
            one[NameObject("/Parent")] = groups[of].indirect_reference

    for name, link in places.items():
        join(link, name)
    return groups[""]["/Kids"]


def _fonts(writer):
    """The two fonts that answers are set in."""
    from pypdf.generic import DictionaryObject, NameObject

    def font(**told: str):
        return writer._add_object(
            DictionaryObject(
                {
                    NameObject(f"/{key}"): NameObject(value)
                    for key, value in {"Type": "/Font", "Subtype": "/Type1", **told}.items()
                }
            )
        )

    known = {
        "/Helv": font(BaseFont="/Helvetica", Encoding="/WinAnsiEncoding"),
        "/ZaDb": font(BaseFont="/ZapfDingbats"),
    }
    return DictionaryObject(
        {
            NameObject("/Font"): DictionaryObject(
                {NameObject(name): made for name, made in known.items()}
            )
        }
    )


def _links(writer):
    """Name and annotation of every link that stands for a field, page by page."""
    for page in writer.pages:
        for link in page.get("/Annots", ()):
            target = link.get_object().get("/A", {}).get("/URI", "")
            if target.startswith(SCHEME):
                yield target.removeprefix(SCHEME), link.get_object()


def _tag_of(root, number: int):
    """The element of the tag tree that holds annotation `number`: its parent tree is a list of
    number, element, number, element …
    """
    numbers = root["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    return next(
        tag.get_object()
        for key, tag in zip(numbers[::2], numbers[1::2], strict=True)
        if key == number
    )


def _widget(writer, field: FormField, link) -> dict:
    """What makes an annotation the field."""
    from pypdf.generic import (
        ArrayObject,
        DictionaryObject,
        NameObject,
        NumberObject,
        TextStringObject,
    )

    kinds = {
        "line": ("/Tx", 0),
        "lines": ("/Tx", LINES),
        "choice": ("/Ch", COMBO | EDITABLE),
        "box": ("/Btn", 0),
    }
    kind, flags = kinds[field.kind]
    told = {
        "/Subtype": NameObject("/Widget"),
        "/FT": NameObject(kind),
        "/T": TextStringObject(field.name.rpartition(".")[2]),
        "/TU": TextStringObject(field.tip),
        "/Contents": TextStringObject(field.tip),
        "/Ff": NumberObject(flags),
    }
    if field.kind == "box":
        told |= {
            "/V": NameObject(OFF),
            "/AS": NameObject(OFF),
            "/AP": _ticks(writer, link["/Rect"]),
            "/DA": TextStringObject(CROSS),
            "/MK": DictionaryObject({NameObject("/CA"): TextStringObject("8")}),
        }
    else:
        told |= {"/DA": TextStringObject(TYPED), "/V": TextStringObject("")}
    if field.kind == "choice":
        told["/Opt"] = ArrayObject(map(TextStringObject, field.options))
    return {NameObject(key): value for key, value in told.items()}


def _ticks(writer, rect):
    """How a box looks ticked, a cross of two lines, and not ticked."""
    from pypdf.generic import (
        ArrayObject,
        DecodedStreamObject,
        DictionaryObject,
        FloatObject,
        NameObject,
    )

    width, height = float(rect[2]) - float(rect[0]), float(rect[3]) - float(rect[1])
    looks = {
        CHECKED: f"1.2 w 2 2 m {width - 2:.2f} {height - 2:.2f} l S 2 {height - 2:.2f} m "
        f"{width - 2:.2f} 2 l S",
        OFF: "",
    }
    drawn = DictionaryObject()
    for state, commands in looks.items():
        stream = DecodedStreamObject()
        stream.set_data(commands.encode("ascii"))
        stream.update(
            {
                NameObject("/Type"): NameObject("/XObject"),
                NameObject("/Subtype"): NameObject("/Form"),
                NameObject("/BBox"): ArrayObject(map(FloatObject, (0, 0, width, height))),
            }
        )
        drawn[NameObject(state)] = writer._add_object(stream)
    return DictionaryObject({NameObject("/N"): drawn})
