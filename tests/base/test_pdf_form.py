from __future__ import annotations

import io

import pypdf
import pytest

from labkit.base import pages
from labkit.base.errors import InputError
from labkit.base.pages import FormField, with_fields
from labkit.classroom.handout import worksheet_fields, worksheet_page


@pytest.fixture(scope="module")
def page():
    return pages.pdf_bytes("worksheet", worksheet_page())


def form_of(content: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(content))


def test_links_become_fields_where_they_stood(page):
    form = form_of(with_fields(page, worksheet_fields("x")))
    links = {
        link["/A"]["/URI"].removeprefix("field:"): link["/Rect"]
        for link in (ref.get_object() for ref in form_of(page).pages[0]["/Annots"])
    }
    widgets = {
        field["/T"]: field for field in (ref.get_object() for ref in form.pages[0]["/Annots"])
    }
    assert widgets.keys() == links.keys() and all(
        widgets[name]["/Rect"] == rect for name, rect in links.items()
    )
    assert all(field["/Subtype"] == "/Widget" and "/A" not in field for field in widgets.values())


def test_every_field_is_announced_in_the_tag_tree(page):
    form = form_of(with_fields(page, worksheet_fields("x")))
    numbers = form.trailer["/Root"]["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    tags = dict(zip(numbers[::2], numbers[1::2], strict=True))
    for ref in form.pages[0]["/Annots"]:
        assert tags[ref.get_object()["/StructParent"]].get_object()["/S"] == "/Form"


def test_a_form_no_longer_claims_what_its_fonts_break(page):
    assert b"pdfuaid:part" in form_of(page).trailer["/Root"]["/Metadata"].get_data()
    assert (
        b"pdfuaid:part"
        not in form_of(with_fields(page, worksheet_fields("x")))
        .trailer["/Root"]["/Metadata"]
        .get_data()
    )


def test_same_page_and_fields_same_bytes(page):
    assert with_fields(page, worksheet_fields("x")) == with_fields(page, worksheet_fields("x"))


def test_names_must_agree(page):
    fields = worksheet_fields("x")
    with pytest.raises(InputError, match="'extra' is not on the page"):
        with_fields(page, [*fields, FormField("extra", "tip")])
    with pytest.raises(InputError, match="is on the page, but nobody says what it is"):
        with_fields(page, fields[1:])
