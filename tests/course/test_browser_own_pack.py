"""A folder of documents in JupyterLab: brought in notebook 02, gone on with in 03 and 07."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress

import pytest
from browser import IDLE, needs_browser, opened
from own_packs import words_of, write_folder

from labkit.base import records
from labkit.data.packs import check_pack

pytestmark = needs_browser
RUN = ("02_data", "03_cpt", "07_evaluate")
PACK = "out/lab/packs/cheeses"  # where notebook 02 writes it, seen from the notebooks
ERRORS = '.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]'
SAVED_SECONDS = 20


def whole(page) -> None:
    """Wait until the last cell was run, and every outcome that waits for a guess is shown."""
    page.locator(".widget-textarea textarea").last.wait_for(state="attached")
    page.wait_for_selector(IDLE)
    waiting = page.get_by_role("button", name="show me")
    for _ in range(waiting.count()):  # one press may show several
        if waiting.count():
            waiting.first.click()
            page.wait_for_timeout(500)
            page.wait_for_selector(IDLE)


def saved(page, path) -> list[dict]:
    """The outputs of a notebook's cells, as JupyterLab writes them into its file."""
    page.keyboard.press("Control+s")
    for _ in range(4 * SAVED_SECONDS):
        with suppress(json.JSONDecodeError):  # while it is being written
            cells = json.loads(path.read_text("utf-8"))["cells"]
            code = [cell for cell in cells if cell["cell_type"] == "code"]
            if all(cell["execution_count"] for cell in code):
                return [output for cell in code for output in cell["outputs"]]
        page.wait_for_timeout(250)
    raise AssertionError(f"{path.name} was not run to its end, or not saved")


@pytest.fixture(scope="module")
def ran(lab_server, tmp_path_factory):
    """The folder of the notebooks, and notebook -> the outputs of its cells."""
    folder = tmp_path_factory.mktemp("jupyter-own")
    write_folder(folder / "cheeses", "raw")
    found = {}
    for name in RUN:
        with lab_server.notebook(folder, name) as address:
            path = folder / f"{name}.ipynb"
            text = path.read_text("utf-8").replace(r"folder = \"\"", r"folder = \"cheeses\"")
            if name != RUN[0]:
                text = text.replace(r"pack = \"materials\"", rf"pack = \"{PACK}\"")
            path.write_text(text, "utf-8")
            with opened(address) as page:
                whole(page)
                errors = page.locator(ERRORS).all_text_contents()
                found[name] = (saved(page, path), errors)
    yield folder, found
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", RUN)
def test_the_notebook_runs_to_its_end_without_an_error(ran, name):
    _, found = ran
    outputs, errors = found[name]
    assert errors == [] and not any(output["output_type"] == "error" for output in outputs)
    told = "".join("".join(output.get("text", "")) for output in outputs)
    assert not [line for line in told.splitlines() if line.startswith("error: ")]


def test_all_three_are_about_what_was_brought(ran):
    folder, _ = ran
    assert check_pack(folder / PACK) == []
    out = folder / "out" / "lab"
    sessions = {(row["notebook"], row["pack"]) for row in records.read(out, "session")}
    assert sessions == {("02_data", "materials"), *((name, "cheeses") for name in RUN)}
    cards = [row for row in records.read(out, "scorecard") if row["notebook"] == "07_evaluate"]
    assert {row["pack"] for row in cards} == {"cheeses"}
    assert {row["checkpoint"] for row in cards} >= {"instruct", "gentle (without sft)"}


def test_what_the_pack_lacks_is_said_in_the_notebook(ran):
    _, found = ran
    told = {name: " ".join(map(words_of, outputs)) for name, (outputs, _) in found.items()}
    assert "Too few items: " in told["02_data"]
    assert "cpt reads raw alone: pack cheeses has no summaries.jsonl" in told["03_cpt"]
    assert "Not trained: cpt-sft-dpo" in told["07_evaluate"]
