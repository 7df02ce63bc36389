"""The class page in a real browser: nothing is loaded from elsewhere, nothing a participant wrote
runs, and it can be read on a phone.
"""

from __future__ import annotations

import pytest
from browser import CHROMIUM, FLAGS, needs_browser
from class_case import rows, save

from labkit.base import records
from labkit.classroom import sessions
from labkit.classroom.class_page import NotebookRun, Seat, class_page, seat, write_class_page
from labkit.course import report

pytestmark = needs_browser
EVIL = (
    'Eve"><script>window.ran=1</script><img src=x onerror="window.ran=2">'
    "<svg onload=window.ran=3> javascript:window.ran=4 </style></title>"
)
SMALLEST_LETTER = 11  # pixels
DRAWN_PIXELS = 760  # of a figure's width: the letters in it are then as large
CONTRAST = 4.5  # WCAG 2.2, 1.4.3
SIZES = {"projector": (1280, 720), "phone": (390, 844)}

LETTERS = """() => Math.min(...[...document.body.querySelectorAll('*')]
    .filter(node => [...node.childNodes].some(child => child.nodeType == 3 && child.data.trim()))
    .map(node => parseFloat(getComputedStyle(node).fontSize)))"""
CUT_OFF = """() => [...document.querySelectorAll('p, h1, h2, h3, figure, figcaption, table')]
    .filter(node => {
        const box = node.getBoundingClientRect();
        return box.width && (box.left < 0 || box.right > innerWidth + 1) })
    .map(node => node.tagName + ': ' + node.textContent.slice(0, 60))"""
CONTRASTS = """() => {
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b]
        .map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        for (; node; node = node.parentElement) {
            const c = parse(getComputedStyle(node).backgroundColor);
            if (c.length < 4 || c[3]) return c }
        return [255, 255, 255] };
    const told = [...document.body.querySelectorAll('*')].filter(node =>
        [...node.childNodes].some(child => child.nodeType == 3 && child.data.trim())
        && node.tagName != 'STYLE');
    return Math.min(...told.map(node => {
        const pair = [light(parse(getComputedStyle(node).color)), light(ground(node))];
        pair.sort((a, b) => b - a);
        return (pair[0] + 0.05) / (pair[1] + 0.05) }));
}"""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api",
        reason="playwright is not installed; pip install -e '.[test]' brings it",
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Seen:
    """A file opened in the browser, and everything that it asked for or complained of."""

    def __init__(self, browser, path, size=SIZES["projector"]):
        self.address, self.asked, self.said = path.resolve().as_uri(), [], []
        self.page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.goto(self.address)
        self.page.wait_for_load_state("networkidle")

    def from_elsewhere(self) -> list[str]:
        return [url for url in self.asked if url != self.address and not url.startswith("data:")]

    def ran(self):
        """What a participant's words did, if they did anything."""
        return self.page.evaluate("() => window.ran ?? null")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A class of five: one failed, one cannot be read, and one means harm."""
    out = tmp_path_factory.mktemp("class")
    evil = [
        {
            key: EVIL
            if key in ("question", "choice", "expected", "checkpoint", "claim", "before", "after")
            else value
            for key, value in row.items()
        }
        for row in rows(4)
    ]
    seats = [
        seat(
            f"learner {i:02}",
            rows(i),
            runs=[
                NotebookRun("03_cpt", 40.0 + i),
                NotebookRun("06_merge", 50.0, "cell 9: out of luck" if i == 3 else ""),
            ],
        )
        for i in (1, 2, 3)
    ]
    seats += [
        seat(EVIL, evil, runs=[NotebookRun("03_cpt", 44.0, EVIL)]),
        Seat("learner 05", problem="e.zip: this zip file is damaged"),
    ]
    write_class_page(class_page(seats, title=f"A class of {EVIL}", subtitle="of a test"), out)
    return out


@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_a_file_of_its_own_and_can_be_read(browser, folder, size):
    seen = Seen(browser, folder / "class.html", SIZES[size])
    assert seen.from_elsewhere() == [] and seen.said == [] and seen.ran() is None
    assert not seen.page.evaluate("() => document.documentElement.scrollWidth > innerWidth + 1"), (
        "the page scrolls sideways"
    )
    assert (
        seen.page.evaluate(CUT_OFF) == []
        and seen.page.evaluate(LETTERS) >= SMALLEST_LETTER
        and seen.page.evaluate(CONTRASTS) >= CONTRAST
    )
    images = seen.page.locator("img").all()
    assert len(images) == 4
    for image in images:
        assert len(image.get_attribute("alt")) > 40 and image.evaluate(
            "node => node.complete && node.naturalWidth > 300"
        )
        assert image.bounding_box()["width"] >= min(
            image.evaluate("node => node.naturalWidth"), DRAWN_PIXELS
        )


def test_failures_are_seen_without_scrolling(browser, folder):
    page = Seen(browser, folder / "class.html").page
    for words in ("cell 9: out of luck", "this zip file is damaged"):
        assert page.get_by_text(words).first.bounding_box()["y"] < 720


def test_what_means_harm_is_words(browser, folder):
    page = Seen(browser, folder / "class.html").page
    assert (
        EVIL in page.title()
        and page.locator("h1").inner_text().endswith(EVIL)
        and page.locator("script").count() == 0
    )
    assert (
        page.locator("svg, iframe, object, embed, form, base, link").count() == 0
        and page.locator("[onerror], [onload]").count() == 0
    )


def test_names_and_words_of_evidence_packs_are_words_too(browser, tmp_path):
    save(
        tmp_path / "packs" / "desk", [row | {"learner": EVIL, "notebook": EVIL} for row in rows(1)]
    )
    done = sessions.read_packs(tmp_path / "packs", out_dir=tmp_path / "out", names=True)
    seen = Seen(browser, done.page)
    assert (
        seen.said == []
        and seen.from_elsewhere() == []
        and seen.ran() is None
        and EVIL[:60] in seen.page.locator("body").inner_text()
    )


def test_a_learner_s_own_page_is_harmless_with_the_worst_name_and_reflection(browser, tmp_path):
    for row in rows(1, EVIL):
        records.append(tmp_path, row.pop("kind"), **row)
    common = {"notebook": "10_report", "pack": EVIL, "profile": "lab", "seed": 0, "learner": EVIL}
    records.append(
        tmp_path, "reflection", **common, id="why", question=EVIL, text=f"{EVIL}\nand more"
    )
    records.append(tmp_path, "reflection", **common, id="critical_1", question="?", text=EVIL)
    seen = Seen(browser, report.learner_report(tmp_path, EVIL).page)
    assert seen.said == [] and seen.from_elsewhere() == [] and seen.ran() is None
    assert (
        seen.page.locator("script, svg, iframe").count() == 0
        and seen.page.locator("body").inner_text().count("window.ran=1</script>") >= 3
    )
