"""From a page that typst drew to a form: every link to "field:NAME" becomes an AcroForm field of that name, in place.

A link already stands in the page's tag tree, so the field is announced where it is read (ISO 32000-1, 12.7 and 14.8). The font in
which answers are typed is not embedded, so the finished form no longer claims PDF/UA.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from labkit.errors import InputError

SCHEME = "field:"
LINES, COMBO, EDITABLE = 1 << 12, 1 << 17, 1 << 18  # field flags, ISO 32000-1 tables 228 and 230
TYPED, CROSS = "/Helv 9 Tf 0 g", "/ZaDb 0 Tf 0 g"  # fonts every reader has; size 0: as the box allows
CHECKED, OFF = "/Yes", "/Off"


@dataclass(frozen=True)
class FormField:
    """A field to fill in. kind: one line, several lines, one of some options or a text of one's own, a box to tick.

    tip: what a screen reader says of it. value: what stands there at first.
    """

    name: str
    tip: str
    kind: Literal["line", "lines", "choice", "box"] = "line"
    options: tuple[str, ...] = ()
    value: str = ""


def with_fields(page: bytes, fields: Iterable[FormField]) -> bytes:
    """The same PDF as a form. Raises InputError when its links and the fields are not the same names."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, BooleanObject, DictionaryObject, NameObject, TextStringObject

    wanted = {field.name: field for field in fields}
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(page)))
    places = {name: link for name, link in _links(writer)}
    for name in sorted(wanted.keys() ^ places.keys()):
        raise InputError(f"form field {name!r} is {'not on the page' if name in wanted else 'on the page, but nobody says what it is'}")
    root = writer.root_object
    made = ArrayObject()
    for name, link in places.items():
        _tag_of(root, link["/StructParent"])[NameObject("/S")] = NameObject("/Form")
        link.update(_widget(writer, wanted[name], link))
        for key in ("/A", "/Border"):
            del link[key]
        made.append(link.indirect_reference)
    root[NameObject("/AcroForm")] = writer._add_object(DictionaryObject({
        NameObject("/Fields"): made, NameObject("/DR"): _fonts(writer), NameObject("/DA"): TextStringObject(TYPED), NameObject("/NeedAppearances"): BooleanObject(True),
    }))
    told = root["/Metadata"]
    told.set_data(re.sub(rb"<pdfuaid:part>.*?</pdfuaid:part>", b"", told.get_data()))
    filled = {field.name: field.value for field in wanted.values() if field.value}
    if filled:
        writer.update_page_form_field_values(None, filled, auto_regenerate=True)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _fonts(writer):
    """The two fonts that answers are set in."""
    from pypdf.generic import DictionaryObject, NameObject

    def font(**told: str):
        return writer._add_object(DictionaryObject({NameObject(f"/{key}"): NameObject(value) for key, value in {"Type": "/Font", "Subtype": "/Type1", **told}.items()}))

    known = {"/Helv": font(BaseFont="/Helvetica", Encoding="/WinAnsiEncoding"), "/ZaDb": font(BaseFont="/ZapfDingbats")}
    return DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject(name): made for name, made in known.items()})})


def _links(writer):
    """Name and annotation of every link that stands for a field, page by page."""
    for page in writer.pages:
        for link in page.get("/Annots", ()):
            target = link.get_object().get("/A", {}).get("/URI", "")
            if target.startswith(SCHEME):
                yield target.removeprefix(SCHEME), link.get_object()


def _tag_of(root, number: int):
    """The element of the tag tree that holds annotation `number`: its parent tree is a list of number, element, number, element …"""
    numbers = root["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    return next(tag.get_object() for key, tag in zip(numbers[::2], numbers[1::2], strict=True) if key == number)


def _widget(writer, field: FormField, link) -> dict:
    """What makes an annotation the field."""
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject, TextStringObject

    kinds = {"line": ("/Tx", 0), "lines": ("/Tx", LINES), "choice": ("/Ch", COMBO | EDITABLE), "box": ("/Btn", 0)}
    kind, flags = kinds[field.kind]
    told = {
        "/Subtype": NameObject("/Widget"), "/FT": NameObject(kind), "/T": TextStringObject(field.name), "/TU": TextStringObject(field.tip),
        "/Contents": TextStringObject(field.tip), "/Ff": NumberObject(flags),
    }
    if field.kind == "box":
        told |= {"/V": NameObject(OFF), "/AS": NameObject(OFF), "/AP": _ticks(writer, link["/Rect"]), "/DA": TextStringObject(CROSS), "/MK": DictionaryObject({NameObject("/CA"): TextStringObject("8")})}
    else:
        told |= {"/DA": TextStringObject(TYPED), "/V": TextStringObject("")}
    if field.kind == "choice":
        told["/Opt"] = ArrayObject(map(TextStringObject, field.options))
    return {NameObject(key): value for key, value in told.items()}


def _ticks(writer, rect):
    """How a box looks ticked, a cross of two lines, and not ticked."""
    from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, FloatObject, NameObject

    width, height = float(rect[2]) - float(rect[0]), float(rect[3]) - float(rect[1])
    looks = {CHECKED: f"1.2 w 2 2 m {width - 2:.2f} {height - 2:.2f} l S 2 {height - 2:.2f} m {width - 2:.2f} 2 l S", OFF: ""}
    drawn = DictionaryObject()
    for state, commands in looks.items():
        stream = DecodedStreamObject()
        stream.set_data(commands.encode("ascii"))
        stream.update({NameObject("/Type"): NameObject("/XObject"), NameObject("/Subtype"): NameObject("/Form"), NameObject("/BBox"): ArrayObject(map(FloatObject, (0, 0, width, height)))})
        drawn[NameObject(state)] = writer._add_object(stream)
    return DictionaryObject({NameObject("/N"): drawn})
