"""Notebook 01 in a real browser: from opening it to a validated design, without a line of code."""

from __future__ import annotations

import pytest
from browser import needs_browser, ran

from labkit.design.designer import problems
from labkit.train.specs import load_spec

pytestmark = needs_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jupyter-design")


@pytest.fixture(scope="module")
def page(lab_server, folder):
    with ran(
        lab_server,
        folder,
        "01_design",
        lambda page: page.get_by_role("button", name="audit this claim"),
    ) as page:
        yield page


def field(page, label):
    """The control with that description."""
    return page.locator(".widget-inline-hbox").filter(has_text=label).locator("input, select").first


def test_from_opening_to_a_validated_file(page, folder):
    merge = (
        field(page, "merge after stage")
        .locator("xpath=ancestor::*[contains(@class,'widget-vbox')][2]")
        .locator("select")
        .filter(has_text="slerp")
        .first
    )
    merge.scroll_into_view_if_needed()
    merge.select_option("slerp")
    page.wait_for_selector("text=valid: this design can run")
    page.get_by_role("button", name="save the design").click()
    page.wait_for_selector("text=saved as")
    spec = load_spec(folder / "out" / "lab" / "designs" / "design.yaml")
    assert spec.trail == "cpt-sft-slerp" and spec.profile == "smoke" and problems(spec) == []


def test_a_comparison_in_words_needs_no_code_either(page):
    page.get_by_role("button", name="compare in words").click()
    page.wait_for_selector("text=Suitable scenarios")
    assert page.get_by_text("Alternative 2").first.is_visible()


def test_nothing_of_the_designer_is_cut_off(page):
    page.get_by_role("button", name="save the design").scroll_into_view_if_needed()
    for label in page.locator(".widget-label:visible").all():
        assert label.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), (
            label.inner_text()
        )
