"""Notebook 06 in a real browser: JupyterLab, Chromium, a hand on the slider.

What the page shows is compared with what the Python layer computes in this process.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from labkit import design, lesson, packs, pipeline
from labkit.course import notebooks_folder
from labkit.merge_lab import LAB_AXES, Bench, MergeSession, Setting
from labkit.schedule import PRESETS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; on Debian: apt-get install chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install -e '.[test]' brings it")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-sync", "--disable-component-update",
]
PATIENCE_MS = 120_000
IDLE = "text=/\\| Idle/"  # in the status bar
IMAGE_BYTES = """image => new Promise(resolve => fetch(image.src).then(r => r.arrayBuffer()).then(buffer => {
    let text = ''; new Uint8Array(buffer).forEach(byte => text += String.fromCharCode(byte)); resolve(btoa(text));
}))"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("browser-home")


@pytest.fixture(scope="module")
def lab_address(tmp_path_factory, home):
    """JupyterLab on this machine only, in an empty folder with notebook 06 at profile smoke."""
    folder = tmp_path_factory.mktemp("jupyter")
    text = (notebooks_folder() / "06_merge.ipynb").read_text("utf-8")
    (folder / "06_merge.ipynb").write_text(text.replace('profile = \\"lab\\"', 'profile = \\"smoke\\"'), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    own = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "LABKIT_HOME")}
    environment = {**os.environ, **own, "IPYTHONDIR": str(home / "ipython")}
    environment.pop("LABKIT_HEADLESS", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root", f"--IdentityProvider.token={token}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server)
        yield f"http://127.0.0.1:{port}/lab/tree/06_merge.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address, server):
    for _ in range(120):
        assert server.poll() is None, "JupyterLab ended before it answered"
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("JupyterLab did not answer within a minute")


@pytest.fixture(scope="module")
def page(lab_address):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(lab_address)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_selector(IDLE)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.wait_for_selector(".widget-image", state="attached")
        page.wait_for_selector(IDLE)
        page.locator(".widget-image").last.scroll_into_view_if_needed()
        yield page
        browser.close()


@pytest.fixture(scope="module")
def session(home, page, tmp_path_factory):
    """The same session in this process, reading the checkpoints the notebook trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(home / "LABKIT_HOME"))
        pack = packs.load_pack("materials")
        spec = design.PipelineSpec(pack=str(pack.folder), model="llama-s-instruct", stages=design.OVERCOOKED, profile="smoke")
        made = pipeline.run_spec(spec)[-1]
        first = Bench("llama-s-instruct", made, ("instruct", "overcooked"), pack, ancestor="llama-s-base", profile_name="smoke")
        first.score_grid()
        twins = Bench("llama-s-instruct", "llama-s-twin-instruct", ("instruct", "twin"), pack, profile_name="smoke")
        lab = lesson.Lab("06_merge", pack, "llama-s-instruct", "smoke", 0, "me", tmp_path_factory.mktemp("out"))
        prompts = lab.prompts("compositional", "instructions", "creativity")
        yield MergeSession({"instruct and overcooked": first, "instruct and its twin": twins}, prompts, lab.out_dir)


def shown(page) -> dict:
    """What the panel shows: the figure's bytes, the readout, the answers cell by cell."""
    image = page.locator(".widget-image").last
    return {
        "figure": base64.b64decode(image.evaluate(IMAGE_BYTES)),
        "readout": next(text for text in page.locator(".widget-label").all_text_contents() if "Scores" in text or "No grid" in text),
        "answers": page.locator(".widget-html table").filter(has_text="you ask").locator("td").all_text_contents(),
    }


def computed(session, setting) -> dict:
    move = session.move(setting)
    answers = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", session.answers(move), re.DOTALL)]
    return {"figure": session.draw(move), "readout": session.tell(move), "answers": answers}


def settled(page, session, setting) -> dict:
    """Wait until the page shows a setting; fail with both sides when it never does."""
    expected = computed(session, setting)
    for _ in range(60):
        found = shown(page)
        if found["readout"] == expected["readout"] and found["answers"] == expected["answers"]:
            break
        page.wait_for_timeout(500)
    assert found["readout"] == expected["readout"] and found["answers"] == expected["answers"]
    assert same_picture(found["figure"], expected["figure"])
    page.wait_for_selector(IDLE)  # a hand is slower than this test: let the page send what it still holds back
    page.wait_for_timeout(1000)
    return found


def same_picture(first: bytes, second: bytes) -> bool:
    import numpy as np
    from PIL import Image

    images = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=int) for content in (first, second)]
    return images[0].shape == images[1].shape and float((abs(images[0] - images[1]) > 8).mean()) < 1e-4


def slide(page, key, *, times=1):
    """Move the slider of all t by its handle and the keyboard."""
    handle = page.locator(".widget-hslider .noUi-handle").nth(1)
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(times):
        page.keyboard.press(key)
        page.wait_for_timeout(150)


def test_the_slider_moves_figure_readout_and_answers(page, session):
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
    page.locator(".widget-dropdown select").nth(1).select_option("paper")
    settled(page, session, Setting("slerp", PRESETS["paper"]))
    assert page.locator(".widget-vslider:visible").count() == 15
    page.get_by_role("button", name="evaluate on the full test split").click()
    page.wait_for_selector("text=looked at 1 time")
    told = page.locator(".widget-html table").filter(has_text="measured (dev)").text_content()
    measured = session.bench.measure(Setting("slerp", PRESETS["paper"]), split="test")
    assert all(str(measured.interval(axis)) in told for axis in LAB_AXES)


def test_the_panel_fits_the_window(page):
    page.locator(".widget-image").last.scroll_into_view_if_needed()
    box = page.locator(".widget-image").last.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    for label in page.locator(".widget-label:visible").all():
        assert label.evaluate("node => node.scrollWidth <= node.clientWidth + 1"), label.inner_text()
