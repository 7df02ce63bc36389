"""Notebook 09 in a real browser: a patient is seen, a test ordered, a cause named; what is found is
told in words and kept.
"""

from __future__ import annotations

import pytest
from browser import failed, needs_browser, ran

from labkit.base import records
from labkit.diagnose.clinic import CAUSES

pytestmark = needs_browser
PATIENT, TEST, CAUSE = 13, "other tokenizer", "wrong chat template"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jupyter-clinic")


@pytest.fixture(scope="module")
def page(lab_server, folder):
    with ran(
        lab_server,
        folder,
        "09_diagnose",
        lambda page: page.locator(".widget-textarea textarea").last,
    ) as page:
        yield page


@pytest.fixture(scope="module")
def clinic(page):
    """The clinic's panel."""
    panel = (
        page.locator(".widget-vbox")
        .filter(has=page.get_by_role("button", name="see the patient"))
        .last
    )
    panel.scroll_into_view_if_needed()
    return panel


def chosen(panel, label):
    return panel.locator(".widget-dropdown").filter(has_text=label).locator("select").first


def test_nothing_can_be_ordered_before_a_patient_is_seen(clinic):
    assert (
        clinic.get_by_role("button", name="order").is_disabled()
        and clinic.get_by_role("button", name="this is the cause").is_disabled()
    )
    assert not clinic.locator("img").is_visible()


def test_a_patient_is_seen_tested_and_named(page, clinic, folder):
    chosen(clinic, "patient").select_option(str(PATIENT))
    clinic.get_by_role("button", name="see the patient").click()
    page.wait_for_selector(f"text=/patient {PATIENT}: \\d+ tests can be ordered/")
    assert clinic.locator("table").count() == 2  # scores, and samples of what it says
    asked = chosen(clinic, "test").locator("option", has_text=TEST).inner_text()
    chosen(clinic, "test").select_option(asked)
    clinic.get_by_role("button", name="this is the cause").click()
    page.wait_for_selector("text=Choose a cause first.")
    assert records.read(folder / "out" / "lab", "clinic") == []
    clinic.get_by_role("button", name="order").click()
    page.wait_for_selector(f"text=/{TEST}: flagged.*of the budget left/")
    chosen(clinic, "cause").select_option(
        next(cause.words for cause in CAUSES if cause.id == CAUSE)
    )
    clinic.get_by_role("button", name="this is the cause").click()
    page.wait_for_selector("text=/Right: .*you ordered it/")
    (visit,) = records.read(folder / "out" / "lab", "clinic")
    assert visit["right"] and visit["ordered"] == [TEST]


def test_the_picture_keeps_its_shape_and_what_was_said_is_whole(clinic):
    picture = clinic.locator("img")
    picture.scroll_into_view_if_needed()  # JupyterLab hides what is far from the window
    stretched = picture.evaluate(
        "node => node.decode().then(() => (node.naturalWidth / node.naturalHeight) / "
        "(node.clientWidth / node.clientHeight))"
    )
    assert stretched == pytest.approx(1, abs=0.02)
    assert clinic.locator(".widget-html-content").evaluate_all(
        "nodes => nodes.every(node => node.scrollWidth <= node.clientWidth + 1)"
    )


def test_no_cell_failed_and_nothing_is_cut_off(page, clinic):
    assert failed(page) == []
    for label in clinic.locator(".widget-label:visible").all():
        assert label.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), (
            label.inner_text()
        )
