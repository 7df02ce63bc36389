from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pypdf
import pytest
from class_case import Tags

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.course import report
from labkit.course.execute import Run


def test_page_is_rendered_from_records_and_escaped(tmp_path):
    figure = tmp_path / "figures" / "x.png"
    figure.parent.mkdir()
    figure.write_bytes(b"\x89PNG")
    common = {
        "notebook": "03_cpt",
        "pack": "<i>p</i>",
        "profile": "smoke",
        "seed": 0,
        "learner": "me",
    }
    records.append(tmp_path, "session", **common)
    records.append(
        tmp_path, "figure", **common, name="x", alt='a "quoted" <alt>', file="figures/x.png"
    )
    runs = [Run("03_cpt", 1.0, Path("x")), Run("04_sft", 2.0, Path("y"), "cell 3: <script>")]
    html = report.course_page(runs, tmp_path, title="T & t").read_text()
    assert "<script>" not in html and "<i>p</i>" not in html and "T &amp; t" in html
    assert html.index("04_sft") < html.index("03_cpt") and "data:image/png;base64,iVBORw==" in html
    assert 'alt="a &#34;quoted&#34; &lt;alt&gt;"' in html


def test_what_a_notebook_prints_draws_or_fails_with_is_no_markup(tmp_path):
    nasty = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    cell = nbformat.v4.new_code_cell(
        f"# {nasty}",
        outputs=[
            nbformat.v4.new_output("stream", text=nasty),
            nbformat.v4.new_output("execute_result", {"text/plain": nasty}),
            nbformat.v4.new_output(
                "display_data", {"image/png": "iVBORw=="}, metadata={"image/png": {"alt": nasty}}
            ),
            nbformat.v4.new_output(
                "error", ename=nasty, evalue=nasty, traceback=[f"\x1b[31m{nasty}\x1b[0m"]
            ),
        ],
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "<b>.ipynb")
    page = Tags(
        report.notebook_page(tmp_path / "<b>.ipynb", tmp_path / "x.html").read_text("utf-8")
    )
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert (
        [one["alt"] for one in images] == [nasty]
        and not {"script", "b"} & {tag for tag, _ in page.tags}
        and page.text.count(nasty) >= 4
    )
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


# --- one learner

NASTY = '<script>alert(1)</script> #panic("x") $x$ {{ 7 * 7 }}'
ME = {
    "learner": "Ada <b>",
    "pack": "materials",
    "profile": "smoke",
    "seed": 0,
    "notebook": "03_cpt",
}
INTERVAL = Interval(0.5, 0.4, 0.6, 60, 20).as_dict()


@pytest.fixture
def folder(tmp_path):
    """The records of one learner, with something of every kind, and another's."""
    figure = tmp_path / "figures" / "x.png"
    figure.parent.mkdir()
    figure.write_bytes(b"\x89PNG")
    records.append(tmp_path, "session", **ME)
    records.append(tmp_path, "figure", **ME, name="x", alt=f"alt {NASTY}", file="figures/x.png")
    records.append(
        tmp_path, "reflection", **ME, id="critical_1_before", question="?", text=f"before {NASTY}"
    )
    records.append(
        tmp_path,
        "reflection",
        **ME,
        id="why",
        question=f"Why {NASTY}?",
        text=f"because {NASTY}\nand more",
    )
    for right in (False, True):
        records.append(
            tmp_path,
            "answer",
            **ME,
            id="a",
            question="Which?",
            choice=NASTY,
            right=right,
            expected="b",
            why="So.",
        )
    default = {"right": True, "expected": "b", "why": "So.", "made": "default"}
    for id in ("a", "d"):  # a run without a person, after she had answered one of the two
        records.append(tmp_path, "answer", **ME, id=id, question="And?", choice="b", **default)
    for i in range(4):
        records.append(
            tmp_path,
            "prediction",
            **ME,
            id=f"g{i}",
            question=f"How many {NASTY}?",
            guess=0.5,
            measured=INTERVAL,
            inside=True,
            low=0,
            high=1,
            made="committed",
        )
    records.append(
        tmp_path,
        "finding",
        **ME,
        claim=f"claim {NASTY}",
        effect=INTERVAL,
        verdict="supported",
        reported="nothing",
    )
    records.append(
        tmp_path, "scorecard", **ME, checkpoint=NASTY, split="test", axes={"knowledge": INTERVAL}
    )
    records.append(
        tmp_path,
        "reflection",
        **ME | {"learner": "another"},
        id="why",
        question="?",
        text="a secret of another's",
    )
    return tmp_path


def text_of(path):
    return " ".join(
        " ".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
        .replace("\u200b", "")
        .split()
    )


def test_a_learners_page_is_escaped_whole_and_self_contained(folder):
    page = report.learner_report(folder, ME["learner"]).page
    html = page.read_text("utf-8")
    body = html.split("</style>")[1]
    assert (
        "<script>" not in body
        and "Ada <b>" not in body
        and "Ada &lt;b&gt;" in body
        and "49" not in body.split("base64")[0]
    )
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", body)
    for words in (
        "before &lt;script&gt;",
        "because &lt;script&gt;",
        "right, not at first",
        "0 of 1 right at the first choice",
        "default (nobody chose)",
        "0.50 [0.40, 0.60]</span> (items only)",
        "4 of 4 guesses fell inside",
        "supported",
        "0.50 [0.40, 0.60]",
    ):
        assert words in body, words
    assert "secret" not in body
    images = re.findall(r"<img[^>]*>", body)
    assert len(images) == 2 and all(re.search(r'alt="[^"]{10,}"', image) for image in images)
    assert "PDF: learner-" in body and list(re.findall(r"<h(\d)", body)).count("1") == 1


def test_a_learners_pdf_says_the_same_and_evaluates_nothing(folder):
    text = text_of(report.learner_report(folder, ME["learner"]).pdf)
    for words in (
        f"before {NASTY}",
        f"because {NASTY} and more",
        "right, not at first",
        "4 of 4 guesses fell inside",
        "Test scores of every checkpoint",
    ):
        assert words in text, words
    assert "secret" not in text


def test_names_of_files_hold_nothing_of_the_learner(folder):
    records.append(folder, "session", **ME | {"learner": "../../x"})
    made = [report.learner_report(folder, name).page for name in (ME["learner"], "../../x")]
    assert (
        all(
            re.fullmatch(r"learner-[0-9a-f]{12}\.html", page.name) and page.parent == folder
            for page in made
        )
        and made[0] != made[1]
    )


def test_a_pdf_that_cannot_be_made_is_told_on_the_page(folder):
    assert report.learner_report(folder, ME["learner"]).pdf.is_file()
    records.append(
        folder, "reflection", **ME, id="why", question="?", text="a letter of no font: \U000f1234"
    )
    made = report.learner_report(folder, ME["learner"])
    assert (
        made.pdf is None
        and "no font here can draw" in str(made)
        and not made.page.with_suffix(".pdf").exists()
    )
    assert "PDF: not made." in made.page.read_text(
        "utf-8"
    ) and "no font here can draw" in made.page.read_text("utf-8")


def test_an_empty_report_says_so(tmp_path):
    records.append(tmp_path, "session", **ME)
    made = report.learner_report(tmp_path, ME["learner"])
    html = made.page.read_text("utf-8")
    assert (
        html.count("(nothing written)") == 6
        and "None answered yet" in html
        and "No guesses yet" in html
        and "None yet." in text_of(made.pdf)
    )


def test_runs_are_told_apart_where_there_are_several(folder):
    records.append(
        folder,
        "finding",
        **ME | {"seed": 3},
        claim="the same",
        effect=INTERVAL,
        verdict="supported",
        reported="",
    )
    records.append(
        folder,
        "finding",
        **ME,
        claim="the same",
        effect=INTERVAL,
        verdict="contradicted",
        reported="",
    )
    html = report.learner_report(folder, ME["learner"]).page.read_text("utf-8")
    assert (
        "the same (materials, smoke, seed 3)" in html
        and "the same (materials, smoke, seed 0)" in html
    )


def test_an_unknown_learner_is_a_sentence(folder):
    with pytest.raises(InputError, match="no record of a learner 'nobody'"):
        report.learner_report(folder, "nobody")


def test_a_figure_outside_the_folder_or_of_another_kind_is_refused(folder, tmp_path_factory):
    (folder / "figures" / "y.png").write_text("a secret")
    outside = tmp_path_factory.mktemp("other") / "z.png"
    outside.write_bytes(b"\x89PNG secret")
    (folder / "figures" / "link.png").symlink_to(outside)
    for file, words in (
        ("figures/y.png", "not a PNG"),
        (str(outside), "lies outside"),
        ("../z.png", "lies outside"),
        ("figures/link.png", "lies outside"),
    ):
        with pytest.raises(InputError, match=words):
            report.embedded(folder, [{"file": file}])


def test_a_figure_that_is_gone_is_told(folder):
    (folder / "figures" / "x.png").unlink()
    assert report.PICTURE_GONE in report.learner_report(folder, ME["learner"]).page.read_text(
        "utf-8"
    )
