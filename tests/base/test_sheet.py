from __future__ import annotations

import pypdf
import pytest

from labkit.base.errors import InputError
from labkit.base.pages import Section, Sheet, sheet_html, sheet_pdf, sheet_text


def sheet(**changes):
    sections = (
        Section("Reasons", "Why.", ("rule", "because"), (("one", "<b>so</b>"), ("two", ""))),
        Section("Nothing", "No table."),
    )
    return Sheet(
        **{
            "title": "Title & more",
            "subtitle": "of <it>",
            "verdict": "Yes.",
            "sections": sections,
            **changes,
        }
    )


def test_text_has_every_cell_that_is_not_empty():
    text = sheet_text(sheet())
    assert (
        "REASONS\nWhy.\n- one: because: <b>so</b>\n- two:" in text and "NOTHING\nNo table." in text
    )


def test_html_is_escaped():
    html = sheet_html(sheet())
    assert (
        "<b>so</b>" not in html
        and "&lt;b&gt;so&lt;/b&gt;" in html
        and "Title &amp; more" in html
        and "of &lt;it&gt;" in html
    )


def test_pdf_shrinks_to_one_page_and_refuses_more(tmp_path):
    def rows(n):
        return (Section("Rows", "", ("a", "b"), tuple((str(i), "word " * 20) for i in range(n))),)

    page = pypdf.PdfReader(sheet_pdf(sheet(sections=rows(40)), tmp_path / "a.pdf"))
    assert len(page.pages) == 1 and "39" in page.pages[0].extract_text()
    with pytest.raises(InputError, match="does not fit on one page"):
        sheet_pdf(sheet(sections=rows(150)), tmp_path / "b.pdf")
    assert not (tmp_path / "b.pdf").exists()
