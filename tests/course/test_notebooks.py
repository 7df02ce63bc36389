"""Every notebook really runs headless at `smoke`, with the default and another pack and seed."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from labkit.base import records
from labkit.course import execute

COURSE = [path.stem for path in execute.course_notebooks()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One for both runs: how fast this machine is need not be measured twice."""
    return tmp_path_factory.mktemp("course-home")


@pytest.fixture(
    scope="module", params=[("materials", 0), ("legal", 3)], ids=["default", "legal-seed-3"]
)
def ran(request, home, tmp_path_factory):
    """One smoke run of the whole course per parameter set."""
    out = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(home / "store"))
        pack, seed = request.param
        page = execute.run_course(
            profile="smoke", pack=pack, seed=seed, out_dir=out / "out", console=Console(quiet=True)
        )
    return page, pack, seed


def test_page_is_whole_and_self_contained(ran):
    page, pack, seed = ran
    html = page.read_text("utf-8")
    for name in COURSE:
        assert f'href="{name}.html"' in html and (page.parent / f"{name}.html").is_file()
    for text in [html, *((page.parent / f"{name}.html").read_text("utf-8") for name in COURSE)]:
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert html.count("data:image/png;base64,") >= len(COURSE)
    assert f"pack {pack}, seed {seed}" in html and "failed" not in html.split("</style>")[1]


def test_every_figure_has_alt_text(ran):
    page, *_ = ran
    for path in [page, *(page.parent / f"{name}.html" for name in COURSE)]:
        images = re.findall(r"<img[^>]*>", path.read_text("utf-8"))
        assert all(re.search(r'alt="[^"]{10,}"', image) for image in images), path.name


def test_records_tell_what_happened(ran):
    page, pack, seed = ran
    found = records.read(page.parent)
    assert all((r["pack"], r["seed"], r["profile"]) == (pack, seed, "smoke") for r in found)
    by_notebook = {name: {r["kind"] for r in found if r["notebook"] == name} for name in COURSE}
    for name in COURSE:
        assert "session" in by_notebook[name] and "figure" in by_notebook[name]
    for name in ("03_cpt", "04_sft", "05_preferences", "06_merge"):
        assert {"scorecard", "prediction", "finding"} <= by_notebook[name]
    assert all(
        {"claim", "effect", "verdict", "reported"} <= r.keys()
        for r in found
        if r["kind"] == "finding"
    )


def test_no_widget_was_built(ran):
    import json

    page, *_ = ran
    for name in COURSE:
        notebook = json.loads((page.parent / "executed" / f"{name}.ipynb").read_text("utf-8"))
        assert "widgets" not in notebook["metadata"]
