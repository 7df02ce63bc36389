from __future__ import annotations

import io
from random import Random

import pypdf
import pytest

from labkit.base import pages
from labkit.base.errors import InputError
from labkit.base.pages import FormField, read_fields, with_fields
from labkit.classroom.handout import worksheet_fields, worksheet_page


@pytest.fixture(scope="module")
def page():
    return pages.pdf_bytes("worksheet", worksheet_page())


def annotations(form: pypdf.PdfReader) -> list:
    return [ref.get_object() for page in form.pages for ref in page["/Annots"]]


def name_of(field) -> str:
    above = field.get("/Parent")
    return f"{name_of(above.get_object())}.{field['/T']}" if above else field["/T"]


def form_of(content: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(content))


def test_links_become_fields_where_they_stood(page):
    form = form_of(with_fields(page, worksheet_fields()))
    links = {
        link["/A"]["/URI"].removeprefix("field:"): link["/Rect"]
        for link in annotations(form_of(page))
    }
    widgets = {name_of(field): field for field in annotations(form)}
    assert widgets.keys() == links.keys() and all(
        widgets[name]["/Rect"] == rect for name, rect in links.items()
    )
    assert all(field["/Subtype"] == "/Widget" and "/A" not in field for field in widgets.values())


def test_every_field_is_announced_in_the_tag_tree(page):
    form = form_of(with_fields(page, worksheet_fields()))
    numbers = form.trailer["/Root"]["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    tags = dict(zip(numbers[::2], numbers[1::2], strict=True))
    for field in annotations(form):
        assert tags[field["/StructParent"]].get_object()["/S"] == "/Form"


def test_a_form_no_longer_claims_what_its_fonts_break(page):
    assert b"pdfuaid:part" in form_of(page).trailer["/Root"]["/Metadata"].get_data()
    assert (
        b"pdfuaid:part"
        not in form_of(with_fields(page, worksheet_fields()))
        .trailer["/Root"]["/Metadata"]
        .get_data()
    )


def test_same_page_and_fields_same_bytes(page):
    assert with_fields(page, worksheet_fields()) == with_fields(page, worksheet_fields())


def test_names_must_agree(page):
    fields = worksheet_fields()
    with pytest.raises(InputError, match="'extra' is not on the page"):
        with_fields(page, [*fields, FormField("extra", "tip")])
    with pytest.raises(InputError, match="is on the page, but nobody says what it is"):
        with_fields(page, fields[1:])


# --- read back


NAMES = ("a.b.c", "a.b.d", "a.e", "f")
FIELDS = [FormField(name, f"tip of {name}", "lines", value=f"at first {name}") for name in NAMES]


@pytest.fixture
def form(tmp_path):
    """A form of four fields, in groups, with something in each."""
    boxes = [[{"field": name, "height": 5, "label": "", "asks": ""}] for name in NAMES]
    block = {"columns": [1], "heads": [], "rows": boxes}
    made = pages.pdf_bytes(
        "worksheet",
        {
            "title": "t",
            "subtitle": "",
            "foot": "",
            "pages": [[{"head": "", "text": "", "blocks": [block]}]],
        },
    )
    (tmp_path / "form.pdf").write_bytes(with_fields(made, FIELDS))
    return tmp_path / "form.pdf"


def test_names_with_dots_are_groups_of_fields(form):
    assert read_fields(form, help="") == {name: f"at first {name}" for name in NAMES}
    roots = pypdf.PdfReader(form).trailer["/Root"]["/AcroForm"]["/Fields"]
    assert [root.get_object()["/T"] for root in roots] == ["a", "f"]
    assert all("." not in field["/T"] for field in annotations(pypdf.PdfReader(form)))


def test_what_was_typed_in_comes_back_as_plain_text(form):
    writer = pypdf.PdfWriter(clone_from=form)
    typed = {"a.e": "zwei\rZeilen \u0394\u4e2d", "f": " \x07bell ", "a.b.c": "<b>(x)\\n"}
    writer.update_page_form_field_values(None, typed)
    writer.write(form)
    found = read_fields(form, help="")
    assert found["a.e"] == "zwei\nZeilen \u0394\u4e2d"
    assert found["f"] == "bell" and found["a.b.c"] == "<b>(x)\\n"


def test_what_is_no_form_is_one_sentence(form, tmp_path, monkeypatch):
    whole = form.read_bytes()

    def refused(content: bytes) -> str:
        path = tmp_path / "given.pdf"
        path.write_bytes(content)
        with pytest.raises(InputError) as told:
            read_fields(path, help="make one")
        assert "\n" not in str(told.value)
        return str(told.value).removeprefix(f"{path}: ")

    assert refused(b"") == refused(b"title: x\n") == "this is no PDF; make one"
    assert refused(b"%PDF-1.7\nnothing more").startswith("a damaged PDF")
    assert refused(pages.pdf_bytes("worksheet", worksheet_page())) == (
        "a PDF without fields; make one"
    )
    locked = pypdf.PdfWriter(clone_from=form)
    locked.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    locked.write(out)
    assert refused(out.getvalue()) == "the PDF is locked; save a copy without a password"
    monkeypatch.setattr(pages, "MOST_BYTES", len(whole) - 1)
    assert refused(whole).startswith("larger than ")
    with pytest.raises(InputError, match="no such file; make one"):
        read_fields(tmp_path / "not there.pdf", help="make one")
    with pytest.raises(InputError, match="it cannot be read"):
        read_fields(tmp_path, help="make one")


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_form_is_read_or_told_in_a_sentence(form, seed):
    random = Random(seed)
    content = bytearray(form.read_bytes())
    for _ in range(random.choice((1, 10, 200))):
        at = random.randrange(len(content))
        content[at : at + random.choice((0, 1, 30))] = random.randbytes(random.choice((0, 1, 9)))
    form.write_bytes(bytes(content))
    try:
        assert all(isinstance(text, str) for text in read_fields(form, help="").values())
    except InputError as error:
        assert str(error).startswith(str(form))
