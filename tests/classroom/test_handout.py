"""Both pages as the command makes them, read back with pypdf."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pypdf
import pytest
from test_pdf import NASTY
from typer.testing import CliRunner

from labkit.base import pages
from labkit.base.errors import InputError
from labkit.classroom import handout
from labkit.cli.share import app
from labkit.course.execute import EXPECTED_SECONDS
from labkit.course.journal import CRITICAL_QUESTIONS
from labkit.course.labs import warm_up
from labkit.data.packs import load_pack, shipped_packs
from labkit.design.comparison import HEADS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    done = CliRunner().invoke(app, ["handout", "--out-dir", str(folder)])
    assert done.exit_code == 0, done.output
    assert all(str(folder / name) in done.output for name in (handout.WARM_UP, handout.WORKSHEET))
    return folder


def words(page) -> str:
    return " ".join(page.extract_text().split())


def test_the_warm_up_is_one_page_of_a4_with_everything_on_it(made):
    (page,) = pypdf.PdfReader(made / handout.WARM_UP).pages
    assert [round(float(side)) for side in page.mediabox[2:]] == [595, 842]
    told, effect = words(page), warm_up.measured_effect()
    for text in (
        *CRITICAL_QUESTIONS,
        *map(warm_up.question_of, warm_up.items(load_pack("materials"))),
        str(effect.guessed),
        "Pia Marsh lives in Quito.",
    ):
        assert text in told
    assert told.index("Mark your guess") < told.index(
        str(effect.guessed)
    )  # the answer comes after the fold


@pytest.mark.parametrize("pack", shipped_packs())
def test_every_pack_fits(pack, tmp_path):
    assert len(pypdf.PdfReader(handout.warm_up_pdf(load_pack(pack), tmp_path / "a.pdf")).pages) == 1


def test_what_does_not_fit_is_refused():
    page = handout.warm_up_page(load_pack("legal"))
    page["models"]["rows"][0][0] = "word " * 400
    with pytest.raises(InputError, match="does not fit on one page"):
        pages.pdf_bytes("warm_up", page)


def test_answers_and_questions_are_never_markup():
    page = handout.warm_up_page(load_pack("biomed"))
    page["models"]["rows"][0] = [NASTY[:60]] * 3
    (shown,) = pypdf.PdfReader(io.BytesIO(pages.pdf_bytes("warm_up", page))).pages
    assert words(shown).count('#panic("x") $x$ *b* _i_') == 3


def test_every_field_has_a_name_a_tooltip_and_its_kind(made):
    reader = pypdf.PdfReader(made / handout.WORKSHEET)
    fields = reader.get_fields()
    assert (
        len(reader.pages) == 1
        and {field.name for field in handout.worksheet_fields("")} == fields.keys()
    )
    assert all(len(field["/TU"]) > 3 for field in fields.values())
    assert len({field["/TU"] for field in fields.values()}) == len(fields)
    kinds = [field["/FT"] for field in fields.values()]
    assert kinds.count("/Btn") == len(handout.TOOLS) and kinds.count("/Ch") == 3 * len(
        handout.CHOICES
    )
    assert (
        "llama-s, instruct" in fields["mine_start"]["/Opt"]
        and "cpt-sft-dpo" in fields["one_stages"]["/Opt"]
    )
    assert fields["domain"]["/V"] == "materials: " + load_pack("materials").title


def test_fields_lie_on_the_page_and_not_on_one_another(made):
    (page,) = pypdf.PdfReader(made / handout.WORKSHEET).pages
    boxes = [[float(side) for side in ref.get_object()["/Rect"]] for ref in page["/Annots"]]
    assert all(20 < x0 < x1 < 575 and 20 < y0 < y1 < 822 for x0, y0, x1, y1 in boxes)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        assert not any(a0 < x1 and x0 < a1 and b0 < y1 and y0 < b1 for a0, b0, a1, b1 in boxes[:i])


def test_the_worksheet_asks_what_the_course_asks(made):
    told = words(pypdf.PdfReader(made / handout.WORKSHEET).pages[0])
    assert all(
        text in told
        for text in (
            *CRITICAL_QUESTIONS,
            *HEADS,
            *handout.DESIGNS.values(),
            *handout.TOOLS,
            "must_hold",
        )
    )


def test_a_filled_worksheet_keeps_its_answers(made, tmp_path):
    writer = pypdf.PdfWriter(clone_from=made / handout.WORKSHEET)
    answers = {
        "critical_1": "names of suppliers\n(ünïcode)",
        "mine_stages": "cpt-sft",
        "tool_retrieval": "/Yes",
        "knowledge_after": "0.7",
    }
    writer.update_page_form_field_values(None, answers)
    writer.write(tmp_path / "filled.pdf")
    found = pypdf.PdfReader(tmp_path / "filled.pdf").get_fields()
    assert {name: found[name]["/V"] for name in answers} == answers and found["tool_merging"][
        "/V"
    ] == "/Off"


def test_a_domain_is_text_and_nothing_else(tmp_path):
    path = handout.worksheet_pdf(NASTY, tmp_path / "a.pdf")
    assert pypdf.PdfReader(path).get_fields()["domain"]["/V"] == NASTY
    assert b"/JavaScript" not in path.read_bytes() and b"/JS" not in path.read_bytes()


def test_an_unknown_pack_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="materials"):
        handout.make_handout(tmp_path, "materiels")
    assert list(tmp_path.iterdir()) == []


# --- docs/instructor.md, whose figures and timings are others' -----------------------------------

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "instructor.md").read_text("utf-8")
ALSO_TRAINED = {30: {"04_sft"}, 90: {"04_sft", "05_preferences"}, 180: set()}


def paths() -> dict[str, tuple[str, ...]]:
    """Notebook -> its cells in the guide's table of paths: seconds, then minutes per path."""
    return {
        name: tuple(cells)
        for name, *cells in re.findall(
            r"^\| `(\d\d_\w+)` \| (\d+) \| (\d+|–) \| (\d+|–) \| (\d+|–) \|$", GUIDE, re.MULTILINE
        )
    }


def test_the_guide_tells_every_notebooks_expected_seconds():
    told = {name: int(cells[0]) for name, cells in paths().items()}
    assert told == EXPECTED_SECONDS


@pytest.mark.parametrize("limit,column", [(30, 1), (90, 2), (180, 3)])
def test_each_path_fits_its_time(limit, column):
    table = paths()
    walked = {name: int(cells[column]) for name, cells in table.items() if cells[column] != "–"}
    computing = sum(int(table[name][0]) for name in walked.keys() | ALSO_TRAINED[limit])
    assert 0.8 * limit < sum(walked.values()) + computing / 60 <= limit


def test_every_figure_of_the_guide_stands_on_a_measured_page():
    measured = "".join(
        (DOCS / name).read_text("utf-8") for name in ("evidence.md", "scale.md", "data.md")
    )
    figures = re.findall(r"[+-]?\d\.\d+ \[[+-]?\d\.\d+, [+-]?\d\.\d+\]", GUIDE)
    assert len(figures) > 15 and [figure for figure in figures if figure not in measured] == []


def test_the_guide_names_sections_that_are_there():
    for name, sections in (
        ("03_cpt", ("Predict", "Run", "See", "Explain", "Exercise")),
        ("06_merge", ("Predict", "Run", "See", "Explain")),
        ("01_design", ("Run: facts in the prompt against facts trained in",)),
    ):
        cells = json.loads((DOCS.parent / "notebooks" / f"{name}.ipynb").read_text("utf-8"))[
            "cells"
        ]
        heads = re.findall(
            r"^## (.*)$",
            "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"),
            re.MULTILINE,
        )
        assert all(any(head.startswith(section) for head in heads) for section in sections), name
