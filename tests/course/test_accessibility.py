"""What can be checked of accessibility without a person: headings, names, alt text, contrast,
colours, and words beside colours.

What cannot: whether an alt text says the right thing, and what a screen reader makes of a slider.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import nbformat
import pytest
from class_case import rows as class_rows
from class_case import save
from test_figures import DRAWN
from test_figures import SPAN as FOUND

from labkit.base import pages
from labkit.classroom.class_page import NotebookRun, class_page, seat, write_class_page
from labkit.course import figures, panels
from labkit.course.execute import Run
from labkit.course.labs import data_lab, diagnose_lab, evaluate_lab
from labkit.course.labs.views import by_size
from labkit.course.report import course_page, learner_report, notebook_page
from labkit.design.vendor import audit, audit_html, load_claim

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
TEMPLATES = ROOT / "labkit" / "base" / "templates"
HTML_TEMPLATES = sorted(path for path in TEMPLATES.rglob("*") if path.suffix in (".j2", ".html"))
SPAN = {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 20, "clusters": 10, "seeds": 1}
ENOUGH_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA, for text of any size
COLOUR_WORDS = re.compile(
    r"\b(red|green|blue|orange|purple|pink|yellow|colou?red)\b", re.IGNORECASE
)


def steps(levels: list[int]) -> bool:
    """Whether headings never skip a level on the way down."""
    return all(after <= before + 1 for before, after in itertools.pairwise(levels))


# --- notebooks


def cells(path: Path, kind: str) -> list[str]:
    return [
        "".join(cell["source"])
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_one_title_and_skips_no_level(path):
    text = without_code("\n".join(cells(path, "markdown")))
    levels = [len(marks) for marks in re.findall(r"^(#{1,6}) ", text, re.MULTILINE)]
    assert levels and levels[0] == 1 and levels.count(1) == 1 and steps(levels)


def alt_texts(source: str) -> list[tuple[str, ast.expr | None]]:
    """Of every `show(figure, name, alt)` in some Python: the name as written, and the expression of
    the alt text.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "show"
            and len(node.args) + len(node.keywords) >= 3
        ):
            given = dict(zip(("figure", "name", "alt"), node.args, strict=False)) | {
                word.arg: word.value for word in node.keywords
            }
            found.append((ast.unparse(given["name"]).strip("'\""), given.get("alt")))
    return found


def words_of(expression: ast.expr) -> str:
    """What is fixed of a text: all of a constant, the constant parts of an f-string or a
    concatenation.
    """
    return " ".join(
        node.value
        for node in ast.walk(expression)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def shows() -> list[tuple[str, str, ast.expr | None]]:
    sources = [(path.stem, "\n".join(cells(path, "code"))) for path in NOTEBOOKS] + [
        (path.stem, path.read_text("utf-8")) for path in (ROOT / "labkit").rglob("*.py")
    ]
    sources += [
        (path.stem, code)
        for path in NOTEBOOKS
        for text in cells(path, "markdown")
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    return [(place, name, alt) for place, source in sources for name, alt in alt_texts(source)]


def test_every_figure_shown_is_told_in_words():
    found = shows()
    assert len(found) > 20
    for place, name, alt in found:
        assert alt is not None, f"{place}: {name} has no alt text"
        words = words_of(alt)
        computed = not isinstance(alt, ast.Constant)  # from what was measured
        assert computed or (len(words) >= 20 and words.strip() != name and ".png" not in words), (
            f"{place}: {name}: {words!r} says too little"
        )


def test_no_words_lean_on_a_colour():
    for path in NOTEBOOKS:
        for text in (*map(without_code, cells(path, "markdown")), *cells(path, "code")):
            found = COLOUR_WORDS.search(text)
            assert not found, (
                f"{path.stem}: {text[max(0, found.start() - 40) : found.end() + 40]!r} "
                "names a colour; say which marker or dash instead"
            )
    for place, name, alt in shows():
        assert alt is None or not COLOUR_WORDS.search(words_of(alt)), (
            f"{place}: the alt text of {name} names a colour"
        )


# --- pages


class Page(HTMLParser):
    """Tags with attributes in order, headings, table heads, and the text inside elements of a
    class.
    """

    EMPTY = frozenset(("meta", "img", "br", "link", "input", "hr", "wbr", "col", "source"))

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: dict[str, str] = {}
        self.within: list[tuple[str, str]] = []
        self.heads: list[tuple[str, dict, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag not in self.EMPTY:
            self.within.append((tag, found.get("class") or ""))
        if tag == "th":
            self.heads.append(
                (
                    tag,
                    {"scope": "col"} | found
                    if any(name == "thead" for name, _ in self.within)
                    else found,
                    "",
                )
            )

    def handle_endtag(self, tag):
        while self.within and self.within.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for tag, names in self.within:
            for name in (tag, *names.split()):
                self.text[name] = self.text.get(name, "") + data
        if self.heads and any(tag == "th" for tag, _ in self.within):
            tag, attributes, text = self.heads[-1]
            self.heads[-1] = tag, attributes, text + data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def levels(self) -> list[int]:
        return [int(tag[1]) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]


def checked_fragment(html: str) -> Page:
    """Tables have heads that say what they head (in a thead HTML itself says so), pictures are told
    in words. Returns the page for more.
    """
    page = Page(html)
    for _, attributes, text in page.heads:
        assert attributes.get("scope") in ("row", "col"), f"the table head {text!r} has no scope"
        assert text.strip(), "an empty table head"
    for image in page.of("img"):
        assert image.get("alt", "").strip() and ".png" not in image["alt"], (
            f"a picture without words: {str(image)[:80]}"
        )
    return page


def checked_page(path: Path) -> Page:
    page = checked_fragment(path.read_text("utf-8"))
    assert page.of("html")[0].get("lang") == "en" and page.text.get("title", "").strip()
    assert page.levels.count(1) == 1 and page.levels[0] == 1 and steps(page.levels), (
        f"{path.name}: headings {page.levels}"
    )
    assert len(page.of("main")) == 1
    return page


@pytest.fixture
def out_dir(tmp_path):
    """A learner's folder after a course in small, with a figure that is there."""
    folder = save(tmp_path / "out", class_rows(2))
    common = {
        "notebook": "03_cpt",
        "pack": "materials",
        "profile": "lab",
        "seed": 2,
        "learner": "me",
    }
    (folder / "figures").mkdir()
    (folder / "figures" / "loss.png").write_bytes(
        figures.png(figures.loss_curves({"a": [(0, 1.0), (1, 0.5)]}))
    )
    for row in (
        {"kind": "figure", "name": "loss", "alt": "A loss that falls.", "file": "figures/loss.png"},
        {"kind": "reflection", "id": "r", "question": "Why?", "text": "Because."},
    ):
        with (folder / "records.jsonl").open("a") as file:
            file.write(json.dumps(row | common) + "\n")
    return folder


def test_the_course_page(out_dir):
    runs = [
        Run("03_cpt", 4.0, out_dir / "x.ipynb", ""),
        Run("04_sft", 4.0, out_dir / "y.ipynb", "cell 3: no"),
    ]
    page = checked_page(course_page(runs, out_dir, title="A course"))
    assert "04_sft failed: cell 3: no" in page.text["failed"] and "done" in page.text["td"]
    assert len(page.of("img")) == 1


def test_the_learner_page(out_dir):
    assert len(checked_page(learner_report(out_dir, "me").page).of("img")) == 2


def test_the_class_page(tmp_path):
    seats = [
        seat(
            f"learner {i:02}",
            class_rows(i),
            runs=[NotebookRun("06_merge", 50.0, "cell 9: no" if i == 4 else "")],
        )
        for i in range(1, 6)
    ]
    path, _ = write_class_page(class_page(seats, title="A class", subtitle="of a test"), tmp_path)
    page = checked_page(path)
    assert len(page.of("img")) == 4 and "cell 9: no" in page.text["failed"]


def test_a_notebook_as_a_page(tmp_path):
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": html})
        for html in fragments().values()
    ]
    picture = {"image/png": "iVBORw0KGgo="}
    outputs.append(
        nbformat.v4.new_output(
            "display_data", data=picture, metadata={"image/png": {"alt": "A curve that falls."}}
        )
    )
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# A title\n\n## Run\n\n|a|b|\n|---|---|\n|1|2|"),
            nbformat.v4.new_code_cell("1", outputs=outputs),
        ]
    )
    nbformat.write(made, tmp_path / "one.ipynb")
    path = notebook_page(tmp_path / "one.ipynb", tmp_path / "one.html")
    page = checked_page(path)
    assert [image["alt"] for image in page.of("img")] == ["A curve that falls."]


def fragments() -> dict[str, str]:
    """Pieces of HTML that notebooks and panels show."""
    render = {
        "answers.html.j2": {"rows": [("a?", "1", "1", "2", "3")], "ends": ("general", "domain")},
        "evaluated.html.j2": {
            "rows": [("knowledge", 0.5, 0.5, None, "0.5")],
            "setting": "slerp",
            "looks": 1,
        },
        "before_after.html.j2": {
            "critical": [{"question": "Why?", "before": "", "after": "Because."}]
        },
    }
    finding = {"claim": "it fell", "effect": SPAN, "verdict": "supported", "reported": "yes"}
    return {
        "audit": audit_html(audit(load_claim("invented"))),
        "scorecards": pages.scorecard_table([{"checkpoint": "a", "axes": {"knowledge": SPAN}}]),
        "findings": pages.findings_table([finding]),
        "claims": pages.claims_table([finding | {"topic": "t", "differs": "d"}]),
        "synergy": pages.synergy_table(
            [
                {
                    "axis": "reasoning",
                    "merge": "m",
                    "merged": SPAN,
                    "over_max": SPAN,
                    "over_mean": SPAN,
                }
            ]
        ),
        "comparison": pages.plain_table(("", "one", "two"), [("row", "1", "2")]),
        **{name: pages.template(name).render(**values) for name, values in render.items()},
    }


@pytest.mark.parametrize("name", fragments())
def test_a_piece_shown_in_a_notebook(name):
    page = checked_fragment(fragments()[name])
    assert not page.levels or (page.levels[0] == 3 and steps(page.levels)), (
        "a notebook's own headings are of level 1 and 2"
    )
    if name in (
        "findings",
        "scorecards",
        "synergy",
        "claims",
    ):  # JupyterLab puts cells to the right where nothing else is said
        assert all(
            "text-align: left" in attributes["style"]
            for attributes in (*page.of("td"), *page.of("th"))
        )


def test_headings_written_in_modules_skip_no_level():
    for path in (ROOT / "labkit").rglob("*.py"):
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", path.read_text("utf-8"))]
        assert not levels or (levels[0] in (1, 3) and steps(levels)), (
            f"{path.name}: a piece of HTML begins with <h{levels[0]}>; notebooks go to "
            "level 2, so write <h3>"
        )


def test_voila_pages_and_the_house_page_have_a_language_a_title_and_a_main_part():
    for path in (TEMPLATES / "page.html.j2", TEMPLATES / "voila" / "page.html"):
        text = path.read_text("utf-8")
        assert (
            '<html lang="en">' in text
            and "<title>" in text
            and "<main>" in text
            and 'name="viewport"' in text
        )
    for path in HTML_TEMPLATES:
        text = path.read_text("utf-8")
        assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*>?", text)), path.name
        assert all("alt=" in image for image in re.findall(r"<img[^>]*>", text)), path.name
        levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", text)]
        assert not levels or (levels[0] in (1, 2, 3) and steps(levels)), path.name


# --- colours of text


def rgb(colour: str) -> list[float]:
    """Linear light of #rgb or #rrggbb, from 0 to 1 (IEC 61966-2-1)."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values
    ]


def contrast(text: str, ground: str) -> float:
    """WCAG 2.2's contrast ratio, from 1 to 21."""
    light, dark = sorted(
        (
            sum(
                part * value
                for part, value in zip((0.2126, 0.7152, 0.0722), rgb(colour), strict=True)
            )
            for colour in (text, ground)
        ),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_wcag_does():
    assert contrast("#000", "#fff") == pytest.approx(21) and contrast(
        "#777777", "#ffffff"
    ) == pytest.approx(4.48, abs=0.01)


HEX = r"(#[0-9A-Fa-f]{6}|#[0-9A-Fa-f]{3})\b"


def text_and_grounds(source: str) -> tuple[set[str], set[str]]:
    return set(re.findall(rf"(?<![\w-])color:\s*{HEX}", source)), set(
        re.findall(rf"background(?:-color)?:\s*{HEX}", source)
    )


@pytest.mark.parametrize(
    "path", [*HTML_TEMPLATES, *sorted((ROOT / "labkit").rglob("*.py"))], ids=lambda path: path.name
)
def test_every_text_colour_is_read_on_every_ground(path):
    """Each against all grounds of its file and of the house page: stricter than what ever meets."""
    colours, grounds = text_and_grounds(path.read_text("utf-8"))
    house = text_and_grounds((TEMPLATES / "page.html.j2").read_text("utf-8"))
    for text, ground in itertools.product(
        colours | house[0] if grounds else colours, grounds | house[1] | {"#ffffff"}
    ):
        assert contrast(text, ground) >= ENOUGH_CONTRAST, (
            f"{path.name}: {text} on {ground} has {contrast(text, ground):.1f}"
        )
    named = (
        re.findall(r"(?<![\w-])color:\s*([a-z]+)\b", path.read_text("utf-8"))
        if path in HTML_TEMPLATES
        else []
    )
    assert set(named) <= {"inherit"}, (
        f"{path.name}: write colours as #rrggbb, so that their contrast can be computed"
    )


# --- panels


def walk(widget: widgets.Widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


CONTROLS = (
    widgets.Button,
    widgets.Checkbox,
    widgets.Combobox,
    widgets.Dropdown,
    widgets.RadioButtons,
    widgets.ToggleButtons,
    widgets.Text,
    widgets.Textarea,
    widgets.FloatText,
    widgets.IntText,
    widgets.BoundedIntText,
    widgets.FloatSlider,
    widgets.IntSlider,
    widgets.FloatRangeSlider,
    widgets.IntRangeSlider,
)
SLIDERS = (widgets.FloatSlider, widgets.IntSlider, widgets.FloatRangeSlider, widgets.IntRangeSlider)


def merge_lab_panel(tmp_path, materials):
    bench = SimpleNamespace(sweep={}, methods=("slerp", "lerp"))
    session = SimpleNamespace(
        benches={"one": bench},
        bench=bench,
        prompts=["a?", "b?", "c?"],
        open=lambda pair: ("instruct", "domain"),
        move=lambda setting: setting,
        draw=lambda move: b"\x89PNG",
        tell=lambda move: "slerp t=0.5. Scores: measured.",
        answers=lambda move: "",
    )
    return panels.merge_panel(
        session,
        schedules={"paper": {group: [0.5] * 5 for group in panels.GROUP_NAMES}},
        make_setting=lambda *setting: setting,
    )


def designer(tmp_path, materials):
    from labkit.course import lesson
    from labkit.course.labs import design_lab
    from labkit.course.labs.design_lab import DesignPanel

    studio = design_lab.Studio(
        lesson.start("01_design", profile="smoke", out_dir=str(tmp_path / "out")),
        {"pack": "materials"},
    )
    return DesignPanel(studio, design_lab.options(studio.lab)).whole


def quality_filter(tmp_path, materials):
    from labkit.course.labs.quality_lab import QualitySession, quality_panel
    from labkit.evaluate import quality

    texts = [" ".join(f"word{i}x{k}" for k in range(20 + 5 * i)) for i in range(6)]
    measures = [
        quality.DocumentQuality(m.words, 0.1, 0.0, 1.0, None, None)
        for m in quality.measure_documents(texts)
    ]
    session = QualitySession(materials, texts, measures, "a model", tmp_path)
    session.look(quality.Thresholds(max_repetition=0.5))
    return quality_panel(session)


def costs(tmp_path, materials):
    from test_planner_lab import SMALL

    from labkit.course.labs.planner_lab import CostSession, build_cost_panel

    return build_cost_panel(CostSession(SMALL))


def claim_form(tmp_path, materials):
    from labkit.course.labs.design_lab import form_panel
    from labkit.design.vendor import VendorClaim

    return form_panel(
        VendorClaim, load_claim("invented").model_dump(), lambda values: "", "audit this claim"
    )


def situation_form(tmp_path, materials):
    from labkit.course.labs.design_lab import form_panel
    from labkit.design.fit import Situation

    return form_panel(Situation, {}, lambda values: "", "which tool?")


def chat(tmp_path, materials):
    from labkit.course.labs.evaluate_lab import chat_panel

    settings = SimpleNamespace(temperature=0.0, max_tokens=40, seed=0)
    return chat_panel(
        SimpleNamespace(settings=settings, questions=["a?"], notes=lambda: [], html=lambda: "")
    )


def scenario(tmp_path, materials):
    start = {
        "name": "mine",
        "about": "x",
        "questions": "a?",
        "says": "",
        "says_none_of": "",
        "form": "",
        "at_least": 0.9,
    }
    return evaluate_lab.scenario_panel(SimpleNamespace(), start)


def clinic(tmp_path, materials):
    return diagnose_lab.clinic_panel(
        SimpleNamespace(),
        patients=[1],
        tests={"blood: is it red?": "blood"},
        causes={"flu": "a cold"},
    )


def one_of(tmp_path, materials):
    return data_lab.run_panel({"first": "1"}, print, "run it")


def guess(tmp_path, materials):
    from labkit.course.panels import GuessPanel

    return GuessPanel("How many?", 0, 1, None, lambda value: "kept").whole


def choice(tmp_path, materials):
    from labkit.course.panels import ChoicePanel

    return ChoicePanel("Which?", ("this", "that"), None, lambda place: ("Right.", "Because.")).whole


def reflection(tmp_path, materials):
    from labkit.course.panels import ReflectionPanel

    return ReflectionPanel("Why?", "", lambda text: "Kept.").whole


def later(tmp_path, materials):
    from labkit.course.panels import LaterPanel

    return LaterPanel(lambda progress: widgets.HTML("<p>x</p>"), "begin", "takes a minute").whole


PANELS = (
    merge_lab_panel,
    designer,
    quality_filter,
    costs,
    claim_form,
    situation_form,
    chat,
    scenario,
    clinic,
    one_of,
    guess,
    choice,
    reflection,
    later,
)


@pytest.mark.parametrize("build", PANELS, ids=lambda build: build.__name__)
def test_every_control_has_a_name_and_every_slider_its_value(
    build, tmp_path, materials, monkeypatch
):
    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    parts = list(walk(build(tmp_path, materials)))
    controls = [part for part in parts if isinstance(part, CONTROLS)]
    assert controls
    unknown = [
        type(part).__name__
        for part in parts
        if isinstance(part, widgets.ValueWidget)
        and not isinstance(part, (*CONTROLS, widgets.HTML, widgets.Label, widgets.Image))
    ]
    assert not unknown, f"{unknown}: say in CONTROLS how these are named"
    for part in controls:
        name = f"{part.description or ''} {part.tooltip or ''}".strip()
        assert len(name) > 1, f"a {type(part).__name__} without description or tooltip"
    for slider in (part for part in controls if isinstance(part, SLIDERS)):
        assert slider.readout, (
            f"the slider {slider.description or slider.tooltip!r} does not show its value"
        )
    for part in controls:
        assert not (isinstance(part, widgets.Button) and part.icon and not part.description), (
            "a button with nothing but an icon"
        )
    names = [part.tooltip for part in controls if not part.description]
    assert len(set(names)) == len(names), "two controls with the same name"
    for image in (part for part in parts if isinstance(part, widgets.Image)):
        # ipywidgets' picture takes no alt text (a tooltip on it is an error in the browser): words
        # stand beside it
        assert image.tooltip is None and any(
            isinstance(part, (widgets.HTML, widgets.Label)) for part in parts
        )


# --- figures

# Severity 1.0 of Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, table 1
# (doi:10.1109/TVCG.2009.113), on linear light.
DICHROMATS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}
SRGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)  # D65
APART = 15  # CIE 1976 distance; about 2 can just be told side by side


def times(matrix, values) -> list[float]:
    return [sum(part * value for part, value in zip(row, values, strict=True)) for row in matrix]


def cielab(light) -> tuple[float, float, float]:
    """CIE 1976 L*a*b* of linear light."""
    x, y, z = (
        (part / white) ** (1 / 3)
        if part / white > 216 / 24389
        else (24389 / 27 * part / white + 16) / 116
        for part, white in zip(times(SRGB_TO_XYZ, light), WHITE, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def nearest(colours, kind: str) -> float:
    """The smallest distance between two of some colours, as a dichromat sees them."""
    seen = [
        cielab([min(1.0, max(0.0, part)) for part in times(DICHROMATS[kind], rgb(colour))])
        for colour in colours
    ]
    return min(
        sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5
        for first, second in itertools.combinations(seen, 2)
    )


@pytest.mark.parametrize("kind", DICHROMATS)
def test_the_house_colours_can_be_told_apart_by_the_colour_blind(kind):
    assert nearest(figures.COLOURS, kind) > APART
    assert nearest(("#cc3311", "#667700"), kind) < APART  # a red and an olive that cannot


def test_there_is_a_marker_and_a_dash_for_every_colour():
    assert (
        len(set(figures.MARKERS))
        == len(set(map(str, figures.LINES)))
        == len(set(figures.COLOURS))
        == len(figures.MARKERS)
    )


SERIES = {f"series {i}": FOUND for i in range(5)}
MANY = {
    "loss curves": lambda: figures.loss_curves(
        {f"run {i}": [(1, 2.0 + i), (5, 1.0)] for i in range(7)}
    ),
    "ranks": lambda: figures.ranks(
        {f"run {i}": [1 + i, 2 + i] for i in range(5)}, ("knowledge", "general")
    ),
    "by size": lambda: by_size(
        {"synergy": {name: {10**6: found, 10**7: found} for name, found in SERIES.items()}}, ()
    ),
    "arms": lambda: figures.arms({"an experiment": SERIES}, guess=0.5),
}


@pytest.mark.parametrize("name", [*DRAWN, *MANY])
def test_series_differ_in_marker_or_dash_as_well_as_colour(name):
    for ax in (DRAWN | MANY)[name]().axes:
        looks: dict[tuple, set] = {}
        for line in ax.lines:
            if line.get_marker() in ("None", "", "|", "_") and line.get_linestyle() == "None":
                continue  # caps of an error bar belong to its marker
            dash = (
                line.get_linestyle()
                if line.get_linestyle() == "None"
                else str(line._unscaled_dash_pattern)
            )
            looks.setdefault(
                (line.get_marker(), dash, line.get_linewidth() if dash != "None" else 0), set()
            ).add(line.get_color())
        for look, colours in looks.items():
            assert len(colours) == 1, (
                f"{name}: {sorted(colours)} all look like {look}; give each its own marker or dash"
            )


def test_numbers_written_into_cells_can_be_read():
    from matplotlib.colors import to_hex

    rows = [{"checkpoint": f"run {i}", "axes": {"knowledge": {"mean": i / 40}}} for i in range(41)]
    (ax,) = figures.score_grid(rows).axes
    image = ax.images[0]
    for i, text in enumerate(ax.texts):
        ground = to_hex(image.cmap(image.norm(i / 40)))
        found = contrast(to_hex(text.get_color()), ground)
        assert found >= ENOUGH_CONTRAST, (
            f"{text.get_text()} is written in {text.get_color()} on {ground}: contrast {found:.1f}"
        )
