from __future__ import annotations

import io

import pypdf
import pytest

from labkit.base import pages
from labkit.base.errors import InputError, StoreError

NASTY = (
    '#panic("x") $x$ *b* _i_ `code` \\ @ref <script>alert(1)</script> #import '
    '"@preview/a:0.1.0": * {{ 7 * 7 }}'
)


def comparison(**changes):
    rows = [
        {"head": head, "cells": [["one", "two"], ["three"], []]}
        for head in ("Approach", "Potential risks")
    ]
    data = {
        "title": "Three designs",
        "subtitle": "on legal",
        "designs": ["a", "b", "c"],
        "rows": rows,
        "measured": None,
        "notes": [],
    }
    return {**data, **changes}


def text_of(page: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(page)).pages)


def test_user_text_is_shown_and_never_evaluated():
    shown = " ".join(
        text_of(
            pages.pdf_bytes(
                "comparison", comparison(subtitle=NASTY, notes=[NASTY], designs=[NASTY, "b", "c"])
            )
        ).split()
    )
    assert shown.count('#panic("x") $x$ *b* _i_ `code` \\ @ref <script>alert(1)</script>') >= 2
    assert '#import "@preview/a:0.1.0": * {{ 7 * 7 }}' in shown


def test_other_alphabets_are_drawn():
    shown = text_of(pages.pdf_bytes("comparison", comparison(notes=["Привет Ελλάδα ąćżň ≥ →"])))
    assert "Привет Ελλάδα ąćżň ≥ →" in shown


def test_a_letter_without_a_glyph_is_a_sentence():
    with pytest.raises(InputError, match=r"no font here can draw .*install a font"):
        pages.pdf_bytes(
            "comparison", comparison(subtitle="\U000f1234")
        )  # private use: no font has it
    with pytest.raises(InputError, match="half a character"):
        pages.pdf_bytes("comparison", comparison(subtitle="\ud800"))


def test_long_words_are_broken_inside_the_page():
    lines = (
        text_of(pages.pdf_bytes("comparison", comparison(designs=["x" * 300, "b", "c"])))
        .replace("\u200b", "")
        .splitlines()
    )
    pieces = [line.count("x") for line in lines if "xxx" in line]
    assert sum(pieces) == 300 and len(pieces) > 5 and max(pieces) < 60


def test_same_data_same_bytes():
    assert pages.pdf_bytes("comparison", comparison()) == pages.pdf_bytes(
        "comparison", comparison()
    )
    assert pages.pdf_bytes("comparison", comparison()) != pages.pdf_bytes(
        "comparison", comparison(title="Other")
    )


def test_comparison_is_landscape_with_its_tables():
    measured = {"heads": ["design", "knowledge"], "rows": [["a", "0.52 [0.45, 0.60]"]]}
    page = pages.pdf_bytes("comparison", comparison(measured=measured, notes=["five seeds"]))
    box = pypdf.PdfReader(io.BytesIO(page)).pages[0].mediabox
    assert box.width > box.height
    assert all(
        word in text_of(page)
        for word in ("Potential risks", "Measured", "0.52 [0.45, 0.60]", "five seeds")
    )
    assert "Measured" not in text_of(pages.pdf_bytes("comparison", comparison()))


def test_write_is_whole_or_not_at_all(tmp_path):
    path = pages.write_pdf("comparison", comparison(), tmp_path / "new" / "a.pdf")
    assert path.read_bytes() == pages.pdf_bytes("comparison", comparison())
    with pytest.raises(InputError):
        pages.write_pdf("comparison", comparison(subtitle="\U000f1234"), path)
    assert path.read_bytes().startswith(b"%PDF") and list(path.parent.iterdir()) == [path]


def test_wrong_calls_are_sentences(tmp_path):
    with pytest.raises(InputError, match="did you mean 'comparison'"):
        pages.write_pdf("comparisn", comparison(), tmp_path / "a.pdf")
    with pytest.raises(InputError, match=r"unknown PDF template '../comparison'"):
        pages.pdf_bytes("../comparison", comparison())
    with pytest.raises(InputError, match=r"ends in .pdf; write a.pdf"):
        pages.write_pdf("comparison", comparison(), tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"'comparison' cannot be made: .*title"):
        pages.pdf_bytes("comparison", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no write access"):
        pages.write_pdf("comparison", comparison(), tmp_path / "file" / "a.pdf")
