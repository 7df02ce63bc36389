"""The pages as the command makes them, read back with pypdf."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pypdf
import pytest
from test_pdf import NASTY
from typer.testing import CliRunner

from labkit.base import pages
from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.classroom import handout
from labkit.cli.share import app
from labkit.course.execute import EXPECTED_SECONDS
from labkit.course.journal import CRITICAL_QUESTIONS, STRATEGIES, cases
from labkit.course.labs import warm_up
from labkit.data.packs import load_pack, shipped_packs
from labkit.data.published import measured, reported
from labkit.design.comparison import HEADS
from labkit.design.dossier import PARTS, Dossier, dossier_text, entries, question_of

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "instructor.md").read_text("utf-8")
PAGES = (handout.WARM_UP, handout.WORKSHEET, handout.CASES, handout.POSTER)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    done = CliRunner().invoke(app, ["handout", "--out-dir", str(folder)])
    assert done.exit_code == 0, done.output
    assert all(str(folder / name) in done.output for name in PAGES)
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
    fields = {name: one for name, one in reader.get_fields().items() if "/FT" in one}
    assert (
        len(reader.pages) == 3
        and {field.name for field in handout.worksheet_fields()} == fields.keys()
    )
    assert all(len(field["/TU"]) > 3 for field in fields.values())
    assert len({field["/TU"] for field in fields.values()}) == len(fields)
    kinds = [field["/FT"] for field in fields.values()]
    assert kinds.count("/Btn") == len(handout.TOOLS)
    assert kinds.count("/Ch") == 3 * len(handout.CHOICES) + handout.ROWS  # and stages of data
    assert (
        "llama-s, instruct" in fields["mine_start"]["/Opt"]
        and "cpt-sft-dpo" in fields["one_stages"]["/Opt"]
    )
    assert fields["domain.name"]["/V"] == ""


def test_a_pack_is_the_domain_on_the_worksheet(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "warm_up_pdf", lambda pack, path: path)
    worksheet = handout.make_handout(tmp_path, "legal")[1]
    fields = pypdf.PdfReader(worksheet).get_fields()
    assert fields["domain.name"]["/V"] == load_pack("legal").title
    assert fields["domain.pack"]["/V"] == "legal"


def test_fields_lie_on_the_page_and_not_on_one_another(made):
    for page in pypdf.PdfReader(made / handout.WORKSHEET).pages:
        boxes = [[float(side) for side in ref.get_object()["/Rect"]] for ref in page["/Annots"]]
        assert all(20 < x0 < x1 < 575 and 20 < y0 < y1 < 822 for x0, y0, x1, y1 in boxes)
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            assert not any(
                a0 < x1 and x0 < a1 and b0 < y1 and y0 < b1 for a0, b0, a1, b1 in boxes[:i]
            )


def test_the_worksheet_asks_what_the_course_asks(made):
    told = " ".join(map(words, pypdf.PdfReader(made / handout.WORKSHEET).pages))
    assert all(
        text in told
        for text in (
            *CRITICAL_QUESTIONS,
            *PARTS.values(),
            *HEADS,
            *handout.COLUMNS,
            *handout.DESIGNS.values(),
            *handout.TOOLS,
            *(question_of(Dossier(), path) for path, _, _ in entries(Dossier())),
            "must_hold",
        )
    )


def test_a_filled_worksheet_keeps_its_answers(made, tmp_path):
    writer = pypdf.PdfWriter(clone_from=made / handout.WORKSHEET)
    answers = {
        "domain.decides": "names of suppliers\n(ünïcode)",
        "critical_1_before": "the arc keeps the norm",
        "critical_1": "the line does, too, nearly",
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
    path = handout.worksheet_pdf(replace(load_pack("legal"), title=NASTY), tmp_path / "a.pdf")
    assert pypdf.PdfReader(path).get_fields()["domain.name"]["/V"] == NASTY
    assert b"/JavaScript" not in path.read_bytes() and b"/JS" not in path.read_bytes()


# --- the worksheet, read


CHOSEN = {
    "mine_start": "llama-s, instruct",
    "mine_stages": "cpt-sft-dpo",
    "mine_reads": "raw, summaries and qa",
    "mine_replay": "no replay",
    "mine_merge": "slerp, t=0.4, with mistral-s-instruct",
    "one_stages": "CPT-SFT-ORPO",
    "two_merge": "none",
}


def filled(made, tmp_path, answers: dict[str, str]) -> Path:
    writer = pypdf.PdfWriter(clone_from=made / handout.WORKSHEET)
    writer.update_page_form_field_values(None, answers)
    writer.write(tmp_path / "filled.pdf")
    return tmp_path / "filled.pdf"


def test_every_field_that_is_filled_in_is_read_or_told(made, tmp_path):
    answers = {
        field.name: {"box": "/Yes", "choice": ""}.get(field.kind, f"[{field.name}] zwölf")
        for field in handout.worksheet_fields()
    }
    answers |= CHOSEN | {"domain.pack": "legal", "criteria.4.may_fall": "a little"}
    answers |= {f"criteria.{row}.may_fall": f for row, f in enumerate(("0.05", "5 %", "0,1"), 1)}
    answers |= {f"design.data.{row}.stage": kind for row, kind in enumerate(("cpt", "sft"), 1)}
    found, told = handout.read_worksheet(filled(made, tmp_path, answers))
    kept, telling = dossier_text(found), " ".join(told)
    for name, text in answers.items():
        if name not in CHOSEN and not re.fullmatch(r"criteria\.[123]\.may_fall", name):
            assert text in kept or name in telling, name
    assert [one.may_fall for one in found.criteria] == [0.05, 0.05, 0.1, None, None]
    assert [one.stage for one in found.design.data] == ["cpt", "sft", "stage 3"]
    mine, one, two = found.comparison.specs
    assert found.design.spec == mine and mine.pack == "legal"
    assert (mine.merge.t, mine.merge.general) == (0.4, "mistral-s-instruct")
    assert mine.stages[0].sources == ("raw", "summaries", "qa") and mine.stages[0].replay == 0
    assert one.trail == "cpt-sft-orpo-slerp" and two.trail == "cpt-sft-dpo"


def test_a_stage_that_is_written_by_its_common_name_is_that_stage(made, tmp_path):
    answers = {"design.data.1.stage": "Pre-training", "design.data.2.stage": "SFT"}
    found, told = handout.read_worksheet(filled(made, tmp_path, answers))
    assert [one.stage for one in found.design.data] == ["cpt", "sft"] and not told


@pytest.mark.parametrize(
    "answers,reason",
    [
        (CHOSEN, "domain.pack is empty"),
        (CHOSEN | {"domain.pack": "none yet"}, "none yet"),
        (CHOSEN | {"domain.pack": "legal", "mine_start": ""}, "Start model: nothing is chosen"),
        (CHOSEN | {"domain.pack": "legal", "mine_stages": "read, then ask"}, "is not a stage"),
        (CHOSEN | {"domain.pack": "legal", "mine_replay": "half"}, "'half' is none of"),
        (CHOSEN | {"domain.pack": "legal", "mine_merge": "in the middle"}, "cannot be read"),
        (CHOSEN | {"domain.pack": "legal", "mine_merge": "glue, t=0.5"}, "glue"),
    ],
)
def test_choices_that_make_no_design_stand_as_words(made, tmp_path, answers, reason):
    found, told = handout.read_worksheet(filled(made, tmp_path, answers))
    assert len(told) == 1 and reason in told[0] and told[0].startswith("my design: ")
    assert found.design.spec is None and found.comparison.specs == ()
    kept = dossier_text(found)
    assert all(text in kept for text in answers.values())
    assert "CPT-SFT-ORPO" in found.comparison.rows[0].cells[1].words


def test_a_choice_that_fails_in_an_alternative_leaves_the_design(made, tmp_path):
    answers = CHOSEN | {"domain.pack": "legal", "two_stages": "guess"}
    found, told = handout.read_worksheet(filled(made, tmp_path, answers))
    assert found.design.spec is not None and found.comparison.specs == ()
    assert len(told) == 1 and told[0].startswith("alternative 2: ")
    assert "guess" in found.comparison.rows[0].cells[2].words


def test_labkit_proposes_the_alternative_for_which_nothing_is_chosen(made, tmp_path):
    answers = {key: text for key, text in CHOSEN.items() if not key.startswith("two")}
    found, told = handout.read_worksheet(filled(made, tmp_path, answers | {"domain.pack": "legal"}))
    assert not told and len({spec.name for spec in found.comparison.specs}) == 3


def test_an_empty_worksheet_is_an_empty_dossier(made):
    assert handout.read_worksheet(made / handout.WORKSHEET) == (Dossier(), [])


def test_another_form_is_refused_in_a_sentence(tmp_path):
    page = handout.worksheet_page() | {"pages": [handout.worksheet_page()["pages"][1]]}
    links = str(page)
    fields = [one for one in handout.worksheet_fields() if f"'{one.name}'" in links][:40]
    names = {one.name for one in fields}
    section = page["pages"][0][0]
    boxes = [[{"field": name, "height": 4, "label": "", "asks": ""}] for name in sorted(names)]
    section["blocks"] = [{"columns": [1], "heads": [], "rows": boxes}]
    page["pages"] = [[section]]
    (tmp_path / "other.pdf").write_bytes(
        pages.with_fields(pages.pdf_bytes("worksheet", page), fields)
    )
    with pytest.raises(InputError, match="not labkit's design worksheet; labkit handout makes"):
        handout.read_worksheet(tmp_path / "other.pdf")


def test_two_scenarios_of_one_name_are_refused_with_the_files_name(made, tmp_path):
    answers = {"scenarios.1.name": "recall", "scenarios.2.name": "recall"}
    with pytest.raises(InputError, match=r"filled\.pdf: scenarios: 'recall' is there 2 times"):
        handout.read_worksheet(filled(made, tmp_path, answers))


# --- the cases


def test_cases_stand_on_one_page_and_their_key_behind_it(made):
    front, *behind = map(words, pypdf.PdfReader(made / handout.CASES).pages)
    key = " ".join(behind)
    for case in cases().values():
        assert case.case in front and case.reason in key
        assert case.reason not in front
    assert all(front.count(strategy) >= len(cases()) for strategy in STRATEGIES)


def test_what_a_key_rests_on_is_numbered_and_told_with_interval_and_verdict():
    page = handout.cases_page()
    claims = {number: cells for number, *cells in page["measured"]["rows"]}
    elsewhere = dict(page["elsewhere"]["rows"])
    for (_, right, _, rests), case in zip(page["key"]["rows"], cases().values(), strict=True):
        numbers = rests[rests.index("[") + 1 : -1].split(", ")
        assert right == case.right
        assert {claims[number][0] for number in numbers if number in claims} == {*case.measured}
        told = {elsewhere[number] for number in numbers if number in elsewhere}
        assert told >= {reported(claim) for claim in case.reported}
        assert len(numbers) == len(case.measured) + len(case.reported) + len(case.studies)
    rows = {cells[0]: cells[1:] for cells in claims.values()}
    row = measured("DPO ranks held-out pairs better than ORPO")
    effect = Interval(**row["effect"])
    assert rows[row["claim"]] == [
        pages.signed(effect),
        f"{effect.n}, {effect.seeds}",
        "not distinguishable",
    ]


def test_too_many_cases_are_refused():
    page = handout.cases_page()
    page["cases"] = page["cases"] * 2
    with pytest.raises(InputError, match="the cases do not fit on one page"):
        pages.pdf_bytes("cases", page)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_in_docs_is_what_the_command_makes(made, name):
    """Made anew by: make handout"""
    assert (DOCS / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("name", PAGES)
def test_the_front_door_leads_to_every_page(name):
    top = (DOCS.parent / "README.md").read_text("utf-8").split("\n## ")[0]
    assert f"(docs/{name})" in top and f"]({name})" in GUIDE


def test_an_unknown_pack_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="materials"):
        handout.make_handout(tmp_path, "materiels")
    assert list(tmp_path.iterdir()) == []


# --- docs/instructor.md, whose figures and timings are others' -----------------------------------

ALSO_TRAINED: dict[int, set[str]] = {30: set(), 90: {"04_sft", "05_preferences"}, 180: set()}


def paths() -> dict[str, tuple[str, ...]]:
    """Notebook -> its cells in the guide's table of paths: seconds, then minutes per path."""
    return {
        name: tuple(cells)
        for name, *cells in re.findall(
            r"^\| `(half_hour|\d\d_\w+)` \| (\d+) \| (\d+|–) \| (\d+|–) \| (\d+|–) \|$",
            GUIDE,
            re.MULTILINE,
        )
    }


def test_the_guide_tells_every_notebooks_expected_seconds():
    told = {name: int(cells[0]) for name, cells in paths().items() if name != "half_hour"}
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


# --- the poster


def test_the_poster_is_one_page_and_shows_what_the_registers_hold(tmp_path):
    path = pages.write_pdf("poster", handout.poster_page(), tmp_path / "poster.pdf")
    (only,) = pypdf.PdfReader(path).pages
    text = words(only)
    for claims in handout.ON_THE_POSTER.values():
        for claim in claims:
            row = measured(claim)
            assert claim[1:] in text and pages.signed(Interval(**row["effect"])) in text
    assert {"supported", "contradicted", "not distinguishable"} <= {
        row["verdict"] for group in handout.poster_page()["groups"] for row in group["rows"]
    }


def test_every_effect_of_the_poster_lies_on_its_scale():
    for group in handout.poster_page()["groups"]:
        for row in group["rows"]:
            assert -1 <= row["low"] <= row["mean"] <= row["high"] <= 1


def test_the_shipped_poster_is_the_one_that_the_records_give():
    assert (DOCS / handout.POSTER).read_bytes() == pages.pdf_bytes("poster", handout.poster_page())


def test_a_poster_that_runs_over_is_refused(tmp_path):
    page = handout.poster_page()
    page["groups"] *= 2
    with pytest.raises(InputError, match="the poster does not fit on one page"):
        pages.write_pdf("poster", page, tmp_path / "poster.pdf")
    assert not (tmp_path / "poster.pdf").exists()
