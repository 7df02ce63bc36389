"""Notebook 06 in a real browser: JupyterLab, Chromium, a hand on the slider.

What the page shows is compared with what the Python layer computes in this process.
"""

from __future__ import annotations

import base64
import html
import io
import re

import pytest
from browser import IDLE, needs_browser, opened

from labkit.course import lesson
from labkit.course.labs.merge_lab import LAB_AXES, Bench, MergeSession, Setting
from labkit.data import packs
from labkit.merge.schedule import PRESETS
from labkit.train import pipeline, specs

pytestmark = needs_browser
IMAGE_BYTES = """image => new Promise(resolve =>
    fetch(image.src).then(r => r.arrayBuffer()).then(buffer => {
        let text = '';
        new Uint8Array(buffer).forEach(byte => text += String.fromCharCode(byte));
        resolve(btoa(text));
}))"""


@pytest.fixture(scope="module")
def page(lab_server, tmp_path_factory):
    with (
        lab_server.notebook(tmp_path_factory.mktemp("merge"), "06_merge") as address,
        opened(address) as page,
    ):
        page.get_by_role("button", name="show me").last.wait_for(state="attached")
        page.wait_for_selector(IDLE)
        assert page.locator(".widget-image:visible").count() == 0  # a guess can still be made
        page.get_by_role("button", name="show me").first.click()
        page.wait_for_selector(".widget-image")
        page.wait_for_selector(IDLE)
        page.locator(".widget-image").last.scroll_into_view_if_needed()
        yield page


@pytest.fixture(scope="module")
def session(shared_home, page, tmp_path_factory):
    """The same session in this process, reading the checkpoints the notebook trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(shared_home))
        pack = packs.load_pack("materials")
        spec = specs.PipelineSpec(
            pack=str(pack.folder),
            model="llama-s-instruct",
            stages=specs.OVERCOOKED,
            profile="smoke",
        )
        made = pipeline.run_spec(spec)[-1]
        first = Bench(
            "llama-s-instruct",
            made,
            ("instruct", "overcooked"),
            pack,
            ancestor="llama-s-base",
            profile_name="smoke",
        )
        first.score_grid()
        twins = Bench(
            "llama-s-instruct",
            "llama-s-twin-instruct",
            ("instruct", "twin"),
            pack,
            profile_name="smoke",
        )
        lab = lesson.Lab(
            "06_merge", pack, "llama-s-instruct", "smoke", 0, "me", tmp_path_factory.mktemp("out")
        )
        prompts = lab.prompts("compositional", "instructions", "creativity")
        yield MergeSession(
            {"instruct and overcooked": first, "instruct and its twin": twins}, prompts, lab.out_dir
        )


def shown(page) -> dict:
    """What the panel shows: the figure's bytes, the readout, the answers cell by cell."""
    image = page.locator(".widget-image").last
    return {
        "figure": base64.b64decode(image.evaluate(IMAGE_BYTES)),
        "readout": next(
            text
            for text in page.locator(".widget-label").all_text_contents()
            if "Scores" in text or "No grid" in text
        ),
        "answers": page.locator(".widget-html table")
        .filter(has_text="you ask")
        .locator("td")
        .all_text_contents(),
    }


def computed(session, setting) -> dict:
    move = session.move(setting)
    answers = [
        html.unescape(cell)
        for cell in re.findall(r"<td[^>]*>(.*?)</td>", session.answers(move), re.DOTALL)
    ]
    return {"figure": session.draw(move), "readout": session.tell(move), "answers": answers}


def settled(page, session, setting) -> dict:
    """Wait until the page shows a setting; fail with both sides when it never does."""
    expected = computed(session, setting)
    for _ in range(60):
        found = shown(page)
        if found["readout"] == expected["readout"] and same_answers(
            found["answers"], expected["answers"]
        ):
            break
        page.wait_for_timeout(500)
    assert found["readout"] == expected["readout"] and same_answers(
        found["answers"], expected["answers"]
    )
    # a hand is slower than this test: let the page send what it still holds back
    page.wait_for_selector(IDLE)
    page.wait_for_timeout(1000)
    found = shown(page)
    assert same_picture(found["figure"], expected["figure"])
    return found


def same_answers(first: list[str], second: list[str]) -> bool:
    """Sums differ in their last bits between two processes, and where two words are as likely, one
    answer may differ.
    """
    return (
        len(first) == len(second) and sum(a != b for a, b in zip(first, second, strict=True)) <= 1
    )


def same_picture(first: bytes, second: bytes) -> bool:
    import numpy as np
    from PIL import Image

    images = [
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int)
        for content in (first, second)
    ]
    return (
        images[0].shape == images[1].shape and float((abs(images[0] - images[1]) > 8).mean()) < 1e-4
    )


def slide(page, key, *, times=1, pause=150):
    """Move the slider of all t by its handle and the keyboard. pause: between presses, in ms."""
    handle = page.locator(".widget-hslider .noUi-handle").nth(1)
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(times):
        page.keyboard.press(key)
        page.wait_for_timeout(pause)


@pytest.mark.parametrize(
    ("start", "key", "times", "pause", "end"),
    [
        ("Home", "ArrowRight", 8, 0, 0.4),
        ("Home", "ArrowRight", 12, 33, 0.6),
        ("End", "ArrowLeft", 3, 80, 0.85),
    ],
)
def test_no_press_is_lost_and_the_handle_never_jumps_back(
    page, session, start, key, times, pause, end
):
    slide(page, start)
    settled(page, session, Setting("slerp", 0.0 if start == "Home" else 1.0))
    readout = page.locator(".widget-hslider .widget-readout").nth(1)
    seen = readout.evaluate_handle(
        "node => { const seen = []; new MutationObserver(() => "
        "seen.push(Number(node.textContent))).observe(node, "
        "{childList: true, characterData: true, subtree: true}); return seen; }"
    )
    slide(page, key, times=times, pause=pause)
    settled(page, session, Setting("slerp", end))
    places = seen.json_value()
    assert places[-1] == pytest.approx(end)
    assert places == sorted(places, reverse=start == "End")


def test_the_slider_moves_figure_readout_and_answers(page, session):
    slide(page, "Home")
    slide(page, "ArrowRight", times=10)
    before = settled(page, session, Setting("slerp", 0.5))
    slide(page, "ArrowRight", times=3)
    after = settled(page, session, Setting("slerp", 0.65))
    assert before["figure"] != after["figure"] and before["readout"] != after["readout"]


def test_another_pair_has_other_answers_and_names_its_ends(page, session):
    page.locator(".widget-dropdown select").first.select_option("instruct and its twin")
    session.open("instruct and its twin")
    middle = settled(page, session, Setting("slerp", 0.65))
    assert "1 = twin" in page.locator(".widget-label").all_text_contents()
    slide(page, "End")
    end = settled(page, session, Setting("slerp", 1.0))
    assert middle["answers"] != end["answers"] and middle["figure"] != end["figure"]


def test_per_layer_schedule_and_evaluate(page, session):
    page.locator(".widget-dropdown select").first.select_option("instruct and overcooked")
    session.open("instruct and overcooked")
    settled(page, session, Setting("slerp", 1.0))
    page.locator(".widget-dropdown select").nth(1).select_option("paper")
    settled(page, session, Setting("slerp", PRESETS["paper"]))
    assert page.locator(".widget-vslider:visible").count() == 15
    for button, split in (("score on dev", "dev"), ("look at test (once)", "test")):
        page.get_by_role("button", name=button).click()
        table = page.locator(".widget-html table").filter(has_text=f"scored on {split}, 95%")
        table.wait_for()
        measured = session.bench.measure(Setting("slerp", PRESETS["paper"]), split=split)
        told = table.text_content()
        assert all(str(measured.interval(axis)) in told for axis in LAB_AXES)


def test_the_panel_fits_the_window(page):
    page.locator(".widget-image").last.scroll_into_view_if_needed()
    box = page.locator(".widget-image").last.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    for label in page.locator(".widget-label:visible").all():
        assert label.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), (
            label.inner_text()
        )
