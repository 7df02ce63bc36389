"""Slides of a notebook: every section on them, nothing loaded from elsewhere, and in a browser
nothing that runs off a slide's foot.
"""

from __future__ import annotations

import re

import nbformat
import pytest
from apps_case import Watched, browser
from browser import needs_browser

from labkit.base.errors import InputError
from labkit.course.journal import named_notebooks
from studies import slides


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return slides.write_slides("03_cpt", folder)


def test_every_section_of_the_notebook_is_a_slide_but_those_for_whoever_runs_it(made):
    html = made.read_text("utf-8")
    cells = nbformat.read(named_notebooks()["03_cpt"], as_version=4).cells
    told = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    heads = re.findall(r"^## (.*)", told, re.MULTILINE)
    assert len(heads) > 5
    for head in heads:
        assert (f">{head}<" in html) == (head not in slides.LEFT_OUT), head
    assert "lab.train" in told and 'class="notes"' in html  # a folded answer is a note
    assert "labkit.start(" not in html  # code is left out


def test_it_is_one_file_that_loads_nothing(made):
    html = made.read_text("utf-8")
    tags = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", tags)
    assert "Reveal.initialize" in html and "reveal.js 5" in html
    assert not re.search(r"@import|url\(\s*['\"]?https?:", html)


@needs_browser
def test_in_a_browser_no_slide_runs_off_its_foot(made):
    with browser() as context:
        watched = Watched(context.new_page()).listen()
        watched.page.goto(made.as_uri())
        watched.page.wait_for_selector(".reveal.ready")
        over = watched.page.evaluate(
            """() => Reveal.getSlides().map(slide => {
                 Reveal.slide(...Object.values(Reveal.getIndices(slide)).slice(0, 2));
                 return [slide.scrollHeight - slide.clientHeight, slide.textContent.slice(0, 40)];
               }).filter(([more]) => more > 2)"""
        )
        assert not over and watched.page.evaluate("Reveal.getTotalSlides()") > 6
        assert all(url.startswith("file:") for url in watched.asked) and not watched.errors


def test_outputs_of_a_run_are_on_the_slides_and_widgets_are_not(tmp_path):
    new = nbformat.v4
    outputs = [
        new.new_output("display_data", {"text/html": "<table><tr><td>0.83</td></tr></table>"}),
        new.new_output("display_data", {slides.WIDGET: {}, "text/plain": "VBox(...)"}),
        new.new_output("stream", name="stderr", text="a warning"),
        new.new_output("stream", name="stdout", text="measured"),
    ]
    cells = [
        new.new_markdown_cell("# A run\n\n## See\n\n[there](../docs/x.md) <b>text</b>"),
        new.new_code_cell("secret_code()", outputs=outputs),
        new.new_code_cell("silent()"),
        new.new_markdown_cell("## Time\nten minutes"),
        new.new_code_cell("print()", outputs=outputs[-1:]),
    ]
    run = tmp_path / "run" / "executed" / "03_cpt.ipynb"
    run.parent.mkdir(parents=True)
    nbformat.write(new.new_notebook(cells=cells), run)
    html = slides.write_slides("03_cpt", tmp_path, course=tmp_path / "run").read_text("utf-8")
    body = html[html.index('<div class="slides">') :]
    assert "<td>0.83</td>" in body and body.count("measured") == 1 and "<title>A run<" in html
    for gone in ("VBox", "a warning", "secret_code", "silent", "ten minutes", "docs/x.md"):
        assert gone not in body, gone


def test_long_text_and_long_tables_go_on_on_a_next_slide_and_nothing_is_lost():
    paragraphs = [f"{number} " + "word " * 60 for number in range(5)]
    parts = slides._parts("\n\n".join(["## Head", *paragraphs]))
    assert len(parts) > 2 and parts[0].startswith("## Head\n\n0 ")
    assert "\n\n".join(parts).split("\n\n")[1:] == paragraphs
    rows = [f"| {number} |" for number in range(20)]
    cut = list(slides._rows("\n".join(["| n |", "|---|", *rows])))
    assert [line for part in cut for line in part.split("\n")[2:]] == rows
    assert all(part.startswith("| n |\n|---|\n") for part in cut) and len(cut) == 3


def test_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="03_cp: no notebook of the course; there are"):
        slides.write_slides("03_cp", tmp_path)
    with pytest.raises(InputError, match="no such run; labkit course makes one"):
        slides.write_slides("03_cpt", tmp_path, course=tmp_path)
