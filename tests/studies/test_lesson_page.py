"""docs/lesson.md is what its rows say, and every link of it leads to what it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.data.published import CONTRADICTED
from studies.lesson import (
    IDS,
    ROOT,
    ROWS,
    SHOWN,
    VERDICTS,
    follow,
    headings,
    rows,
    write_lesson_page,
)

DOCS = ROOT / "docs"
PAGE = DOCS / "lesson.md"
LINKS = sorted({link for row in rows() for link in row.links})


def test_the_shipped_page_is_what_the_rows_say(tmp_path):
    written = write_lesson_page(tmp_path / "lesson.md").read_text("utf-8")
    assert PAGE.read_text("utf-8") == written, "python -m studies lesson"


def test_every_demand_of_the_lesson_has_its_row():
    by_part = [sum(one[0] == part for one in IDS) for part in "ABCDEF"]
    assert by_part == [17, 7, 4, 31, 6, 18] and len(IDS) == sum(by_part) == 83
    assert {"D0a", "D0b", "D3g", "D6f"} <= {*IDS} and "D0c" not in IDS


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_to_what_it_names(link):
    assert follow(link)


def test_links_of_the_page_work_on_disk():
    text = PAGE.read_text("utf-8")
    found = re.findall(r"\]\(([^)]+)\)", text)
    assert len(found) > 150
    for target in found:
        name, _, anchor = target.partition("#")
        path = (DOCS / name).resolve()
        assert path.is_file() and path.is_relative_to(ROOT), target
        assert not anchor or anchor in headings(path.read_text("utf-8")), target


def test_counts_at_the_top_are_those_of_the_tables():
    text = PAGE.read_text("utf-8")
    cells = [line.split(" | ") for line in text.split("\n## A. ")[1].splitlines()]
    told = [cell[2].strip("*") for cell in cells if cell[0].removeprefix("| ") in IDS]
    assert len(told) == len(IDS)
    for verdict in VERDICTS:
        assert f"\n| {verdict} | {told.count(verdict)} |\n" in text


def test_what_is_called_contradicted_was_measured_so_and_is_shown():
    called = [row for row in rows() if row.verdict == SHOWN]
    assert called
    for row in called:
        assert CONTRADICTED in row.votes
        assert any(link.startswith(("docs/", "notebooks/")) for link in row.links)


@pytest.mark.parametrize(
    "link,told",
    [
        ("docs/nowhere.md#a", "there is no file docs/nowhere.md"),
        ("docs/scale.md#no-such-heading", "'no-such-heading' is not there"),
        ("docs/scale.md", "'' is not there"),
        ("docs/distributed.md#two-machines-the-same-on-both", "is not there"),  # inside a fence
        ("notebooks/01_design.ipynb#01-99", "'01-99' is not there"),
        ("docs/warm_up.pdf#page", "only pages and notebooks have places"),
        ("tests/test_fuzz.py::test_nothing", "'test_nothing' is not there"),
        ("labkit.design.dossier:Dosier", "cannot be imported"),
        ("labkit.design.nothing:Dossier", "cannot be imported"),
        ("labkit dosier", "no command 'dosier'; did you mean 'dossier'"),
        ("labkit dossier --form", "no option --form; did you mean '--from'"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(link, told):
    with pytest.raises(InputError, match=re.escape(told)):
        follow(link)


def changed(tmp_path: Path, number: int, **values: object) -> Path:
    data = yaml.safe_load(ROWS.read_text("utf-8"))
    data[number].update(values)
    path = tmp_path / "lesson.yaml"
    path.write_text(yaml.safe_dump(data), "utf-8")
    return path


@pytest.mark.parametrize(
    "values,told",
    [
        ({"verdict": "partial"}, "say under missing"),
        ({"missing": "a thing"}, "say under missing"),
        ({"links": []}, "give at least one link"),
        ({"verdict": SHOWN}, "none of its claims was measured so"),
        ({"verdict": SHOWN, "reason": "quality"}, "none of its claims was measured so"),
        ({"verdict": SHOWN, "reason": "qualty"}, "did you mean 'quality'"),
        (
            {"claims": [{"study": "recipes", "claim": "SLERP wins"}], "verdict": SHOWN},
            "was measured",
        ),
        ({"id": "A2"}, "each demand stands there once"),
    ],
)
def test_a_row_that_does_not_hold_together_is_refused(tmp_path, values, told):
    with pytest.raises(InputError, match=re.escape(told)):
        rows(changed(tmp_path, 0, **values))


def test_anchors_are_those_that_github_makes():
    text = "# One: two (v)\n```bash\n# none\n```\n## `labkit dossier`, again\n## A\n## A\n"
    assert list(headings(text)) == ["one-two-v", "labkit-dossier-again", "a", "a-1"]
