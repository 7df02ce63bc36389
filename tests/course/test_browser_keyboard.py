"""Notebook 00 in a real browser, without a mouse: Tab goes through a panel, keys change it, and
what happened is told in words.
"""

from __future__ import annotations

import re

import pytest
from browser import IDLE, needs_browser, opened

from labkit.base import records

pytestmark = needs_browser
FOCUSED = (
    "() => { const at = document.activeElement; return [at.tagName, at.type || '', "
    "at.getAttribute('role') || '', at.innerText || '']; }"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jupyter-keyboard")


@pytest.fixture(scope="module")
def page(lab_server, folder):
    with lab_server.notebook(folder, "00_warm_up") as address:
        made = folder / "00_warm_up.ipynb"  # without the outcome, which ends guessing
        told = (
            made.read_text("utf-8")
            .replace("warm_up.show_effect(lab, effect, guess)", "pass")
            .replace("lab.speed_test()", "pass")
        )  # nor what takes long
        made.write_text(told, "utf-8")
        yield from tabbed(address)


def tabbed(address):
    with opened(address) as page:
        page.locator(".widget-textarea textarea").nth(3).wait_for(
            state="attached"
        )  # the last cell that shows anything
        page.wait_for_selector(IDLE)
        yield page


def kept(folder, kind, **wanted) -> list[dict]:
    return [
        row for row in records.read(folder / "out" / "lab", kind) if wanted.items() <= row.items()
    ]


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(150)


def test_three_text_areas_follow_each_other(page, folder):
    areas = page.locator(".widget-textarea textarea")
    areas.first.scroll_into_view_if_needed()
    areas.first.focus()
    for words in ("one", "two", "three"):
        page.keyboard.type(words)
        press(page, "Tab")
    page.locator(".widget-html-content", has_text=re.compile(r"^\s*Kept\.")).nth(2).wait_for()
    page.wait_for_timeout(1000)
    assert [row["text"] for row in kept(folder, "reflection")] == ["one", "two", "three"]


def test_a_choice_is_made_and_checked_by_keys(page, folder):
    options = page.locator(".widget-radio-box").first.locator("input")
    options.first.scroll_into_view_if_needed()
    options.first.focus()
    press(page, "Tab")
    assert page.evaluate(FOCUSED)[:2] == ["INPUT", "radio"] and options.nth(1).evaluate(
        "node => node === document.activeElement"
    )
    press(page, "Space", "Tab", "Tab")
    assert page.evaluate(FOCUSED)[0] == "BUTTON" and page.evaluate(FOCUSED)[3] == "check"
    press(page, "Space")
    page.locator("[role=status]").filter(has_text="never read the fact").or_(
        page.locator("[role=status]").filter(has_text="Right")
    ).first.wait_for()
    assert kept(folder, "answer", id="warm_up_private")[-1]["right"]


def test_a_slider_is_moved_by_arrow_keys_and_its_value_is_kept(page, folder):
    button = page.get_by_role("button", name="this is my guess")
    button.scroll_into_view_if_needed()
    button.focus()
    readout = page.locator(".widget-hslider .widget-readout").first
    for _ in range(4):  # back over the readout, which takes a number, to the handle
        press(page, "Shift+Tab")
        if page.evaluate(FOCUSED)[2] == "slider":
            break
    assert page.evaluate(FOCUSED)[2] == "slider" and readout.inner_text() == "0.50"
    press(page, "ArrowRight", "ArrowRight")
    page.wait_for_selector("text=Kept: 0.52.")
    assert readout.inner_text() == "0.52" and kept(folder, "guess", id="warm_up_merge")[-1][
        "guess"
    ] == pytest.approx(0.52)
