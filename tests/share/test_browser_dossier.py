"""Two apps in a real browser, used by people without code: a dossier made and printed, and a model
judged by a file of its answers.
"""

from __future__ import annotations

import csv

import pypdf
import pytest
from apps_case import Watched, browser, served
from browser import needs_browser

from labkit.base import records
from labkit.design import dossier as paper
from labkit.share import apps as app_server

pytestmark = [needs_browser, pytest.mark.usefixtures("real_kernels")]

SIZES = ({"width": 1024, "height": 768}, {"width": 400, "height": 850})
UNSEEN = (
    "Nobody reads \U0001f9ea or \U00013080."  # an emoji, and a letter that few machines can draw
)
HOSTILE = 'a <b>wrong</b> "dose" costs $x$ lives & <script>document.title="taken"</script>'


@pytest.fixture(scope="module")
def server(real_kernels, tmp_path_factory):
    with served(app_server.apps_folder(), tmp_path_factory.mktemp("apps")) as running:
        yield running


@pytest.fixture(scope="module")
def context(server):
    with browser() as context:
        first = context.new_page()
        first.goto(server.address)
        first.close()
        yield context


def opened(server, context, name, last) -> Watched:
    watched = Watched(context.new_page()).listen()
    watched.page.goto(server.page(name))
    watched.page.get_by_role("button", name=last).wait_for()
    return watched


def saved(page, link, folder):
    """What the browser saves when a link is followed."""
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def assert_nothing_cut_off(page):
    for size in SIZES:
        page.set_viewport_size(size)
        wide = page.evaluate(
            "(part => part.scrollWidth - part.clientWidth)"
            "(document.querySelector('#rendered_cells'))"
        )
        cut = page.eval_on_selector_all(
            ".widget-label, button",
            "nodes => nodes.filter(n => n.offsetParent && n.scrollWidth > n.clientWidth + 1)"
            ".map(n => n.innerText)",
        )
        assert (wide, cut) == (0, []), size
    page.set_viewport_size({"width": 1280, "height": 800})


# --- a dossier, from choices to paper -----------------------------------------------------------


@pytest.fixture(scope="module")
def designer(server, context):
    watched = opened(server, context, "designer", "make the pages")
    yield watched
    watched.page.close()


def open_part(page, head):
    """A part's form, opened from the keyboard."""
    button = page.get_by_role("button", name=head)
    button.focus()
    button.press("Enter")
    page.get_by_role("button", name=f"▾ {head}").wait_for()


def write(page, label, words):
    """Words into a place's field, left by Tab; waits until they are kept."""
    field = page.get_by_label(f"your words: {label}")
    field.fill(words)
    field.press("Tab")
    page.wait_for_selector(f"text=Kept: {label.split(': Alternative')[0]}")


def test_a_person_without_code_makes_a_dossier_and_prints_it(server, designer, tmp_path):
    page = designer.page
    page.wait_for_selector("text=0 of ")  # no place is in anybody's words yet
    page.get_by_label("merge", exact=True).select_option("slerp")
    page.wait_for_selector("text=CPT → SFT → SLERP merge")
    page.get_by_role("button", name="propose again from this design").click()
    page.wait_for_selector("text=labkit has proposed every part")
    assert "CPT → SFT → SLERP merge" in page.inner_text("body")

    page.get_by_label("the domain", exact=True).fill("dosing of children")
    page.get_by_label("the domain", exact=True).press("Tab")
    page.wait_for_selector("text=Kept: the domain's name")
    assert page.get_by_label("the chosen pack only stands in").is_checked()
    page.get_by_label("a person", exact=True).fill("Ida")
    page.get_by_label("role", exact=True).fill("release")
    page.get_by_role("button", name="add this person").click()
    page.wait_for_selector("text=Added: Ida.")

    open_part(page, "(i) The domain")
    write(page, "Why accuracy and reasoning decide here", HOSTILE)
    assert_nothing_cut_off(page)
    open_part(page, "(ii) The pipeline")
    write(page, "Merging", "To keep what requests demand.")
    open_part(page, "(v) Your design and two alternatives")
    write(page, "Expected benefits: Alternative 2", "It is cheaper to train.")
    open_part(page, "(vi) How this design may fail, and how that is caught")
    page.get_by_label("another way").fill("a dose is given without its unit")
    page.get_by_role("button", name="add it").click()
    write(page, "a dose is given without its unit: action", "Hold it back.")
    assert_nothing_cut_off(page)
    open_part(page, "(iii) Scenarios that tell success from failure")
    page.get_by_label("another one").fill("a weight is missing")
    page.get_by_role("button", name="add it").click()
    write(page, "a weight is missing: sign of success", "It asks for the weight.")

    page.get_by_role("button", name="make the pages").click()
    page.wait_for_selector("text=The pages are made.")
    assert HOSTILE in page.inner_text("body") and page.title().startswith("labkit: ")
    assert_nothing_cut_off(page)

    told = " ".join(
        " ".join(one.extract_text() for one in pypdf.PdfReader(
            saved(page, "PDF, to print", tmp_path)
        ).pages).split()
    )  # fmt: skip
    for words in (
        "dosing of children", "That pack only stands in", "Ida (release)", "To keep what requests",
        "cheaper to train", "without its unit", "Hold it back.", "It asks for the weight.",
        "$x$ lives",
    ):  # fmt: skip
        assert words in told, words
    kept = paper.load_dossier(saved(page, "YAML, to go on with", tmp_path))
    assert kept.domain.decides.words == HOSTILE and kept.domain.stands_in
    assert kept.people[0].role == "release" and kept.design.spec.trail == "cpt-sft-slerp"
    assert kept.comparison.rows[1].cells[2].words == "It is cheaper to train."
    assert kept.failures[-1].action.words == "Hold it back."
    assert "<b>wrong</b>" not in saved(page, "HTML", tmp_path).read_text("utf-8")
    assert not [row for row in records.read(server.out) if row["kind"] == "checkpoint"]
    assert designer.elsewhere(server.origin) == [] and designer.errors == []


def test_what_cannot_be_kept_or_drawn_is_one_sentence(server, designer):
    page = designer.page
    page.get_by_label("a person", exact=True).fill("x" * 300)
    page.get_by_role("button", name="add this person").click()
    page.wait_for_selector("text=error: dossier: people.2.name: 300 characters are too many")
    open_part(page, "Closing statement")
    write(page, "Where it may fail", UNSEEN)
    page.get_by_role("button", name="make the pages").click()
    page.wait_for_selector("text=no font here can draw")
    assert UNSEEN in page.inner_text("body")
    assert page.get_by_role("link", name="YAML, to go on with").is_visible()
    assert page.get_by_role("link", name="PDF, to print").count() == 0  # it would be an old one
    write(page, "Where it may fail", "Nobody reads it.")
    page.get_by_label("sequence", exact=True).fill("cpt")
    page.get_by_label("sequence", exact=True).press("Tab")
    page.wait_for_selector("text=llama-s-instruct: CPT → SLERP merge")
    page.get_by_role("button", name="make the pages").click()
    page.wait_for_selector("text=these pages describe the design from before")
    assert "Traceback" not in page.inner_text("body")


def test_a_dossier_is_there_again_when_the_page_is_opened_anew(server, context, designer):
    again = opened(server, context, "designer", "make the pages").page
    open_part(again, "(i) The domain")
    assert again.get_by_label("your words: Why accuracy").input_value() == HOSTILE
    again.close()


# --- a model that one can only ask --------------------------------------------------------------


def test_a_person_without_code_judges_a_model_by_its_answers(server, context, tmp_path, materials):
    watched = opened(server, context, "judge", "judge the answers")
    page = watched.page
    page.get_by_role("button", name="judge the answers").click()
    page.wait_for_selector("text=error: there are no answers yet")
    page.get_by_role("button", name="make the questions").click()
    with saved(page, "the questions (CSV)", tmp_path).open(
        encoding="utf-8-sig", newline=""
    ) as file:
        rows = list(csv.DictReader(file))
    keys = {item["id"]: item.get("answer", "") for item in materials.rows("test")}
    assert len(rows) > 100 and not any(row["answer"] for row in rows)

    better = [{"id": row["id"], "answer": keys.get(row["id"], HOSTILE)} for row in rows]
    answers = [*better[3:], {"id": "nobody-asked", "answer": "7"}]
    for path, kept in ((tmp_path / "new.csv", answers), (tmp_path / "today.csv", better)):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "answer"])
            writer.writeheader()
            writer.writerows(kept)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="choose a file").first.click()
    chooser.value.set_files(tmp_path / "new.csv")
    page.wait_for_selector("text=Given: new.csv")
    page.get_by_role("button", name="judge the answers").click()
    page.wait_for_selector("text=questions are scored.")
    text = page.inner_text("body")
    for words in (
        "Four axes, and controls", "compositional", "Whether anything fell, only a baseline",
        "cannot be asked in words: 1 (first: nobody-asked)", "which no answer tells", HOSTILE,
    ):  # fmt: skip
        assert words in text, words
    assert_nothing_cut_off(page)

    page.locator("textarea").last.fill((tmp_path / "today.csv").read_text("utf-8"))
    page.locator("textarea").last.press("Tab")
    page.get_by_role("button", name="judge the answers").click()
    page.wait_for_selector("text=pasted (baseline)")
    text = page.inner_text("body")
    assert "each counts as wrong there" in text and "may fall by" in text
    printed = pypdf.PdfReader(saved(page, "this page as PDF", tmp_path))
    assert "Judged by its answers: new" in printed.pages[0].extract_text()
    gate = [row for row in records.read(server.out, "gate") if row["notebook"] == "app_judge"]
    assert gate[-1]["checkpoint"] == "new"
    assert watched.elsewhere(server.origin) == [] and watched.errors == []
    page.close()
