"""Every notebook really runs headless at `smoke`, and a sample with another pack and seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from fuzzing import NIGHTLY
from rich.console import Console

from labkit.base import records
from labkit.course import execute
from labkit.design.dossier import empty, load_dossier

COURSE = [path.stem for path in execute.course_notebooks()]


# what depends most on pack and seed
SAMPLE = ["06_merge", "09_diagnose"] if NIGHTLY else ["09_diagnose"]


@dataclass
class Ran:
    """A run of notebooks: where its page is, and what was run how."""

    page: Path
    pack: str
    seed: int
    names: list[str]


@pytest.fixture(
    scope="module",
    params=[("materials", 0, COURSE), ("legal", 3, SAMPLE), ("materials", 0, ["half_hour"])],
    ids=["default", "legal-seed-3", "half-hour"],
)
def ran(request, shared_home, tmp_path_factory):
    """A smoke run of the whole course, and one of a sample with another pack and seed."""
    out = tmp_path_factory.mktemp("course")
    pack, seed, names = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", str(shared_home))
        page = execute.run_course(
            profile="smoke",
            pack=pack,
            seed=seed,
            out_dir=out / "out",
            console=Console(quiet=True),
            only=names,
        )
    return Ran(page, pack, seed, names)


def test_page_is_whole_and_self_contained(ran):
    page, pack, seed = ran.page, ran.pack, ran.seed
    html = page.read_text("utf-8")
    for name in ran.names:
        assert f'href="{name}.html"' in html and (page.parent / f"{name}.html").is_file()
    for text in [html, *((page.parent / f"{name}.html").read_text("utf-8") for name in ran.names)]:
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)
    assert html.count("data:image/png;base64,") >= len(ran.names)
    assert f"pack {pack}, seed {seed}" in html and "failed" not in html.split("</style>")[1]


def test_every_figure_has_alt_text(ran):
    page = ran.page
    for path in [page, *(page.parent / f"{name}.html" for name in ran.names)]:
        images = re.findall(r"<img[^>]*>", path.read_text("utf-8"))
        assert all(re.search(r'alt="[^"]{10,}"', image) for image in images), path.name


def test_records_tell_what_happened(ran):
    page, pack, seed = ran.page, ran.pack, ran.seed
    found = records.read(page.parent)
    assert all((r["pack"], r["seed"], r["profile"]) == (pack, seed, "smoke") for r in found)
    by_notebook = {name: {r["kind"] for r in found if r["notebook"] == name} for name in ran.names}
    for name in ran.names:
        assert "session" in by_notebook[name] and "figure" in by_notebook[name]
    for name in {"03_cpt", "04_sft", "05_preferences", "06_merge"} & set(ran.names):
        assert {"scorecard", "prediction", "finding"} <= by_notebook[name]
    assert all(
        {"claim", "effect", "verdict", "reported"} <= r.keys()
        for r in found
        if r["kind"] == "finding"
    )


def test_the_course_and_the_half_hour_leave_no_place_of_the_dossier_empty(ran):
    whole = set(ran.names) == set(COURSE)
    if not whole and ran.names != ["half_hour"]:
        pytest.skip("a sample of the notebooks fills a part only")
    (path,) = (ran.page.parent / "dossiers").glob("*/dossier.yaml")
    kept = load_dossier(path)
    assert empty(kept) == [] and not kept.left_open
    assert all(one.found.rows for one in kept.scenarios) and all(f.found for f in kept.failures)
    assert all(len(one.found.rows) >= 2 for one in kept.criteria)
    assert kept.domain.baseline.rows and kept.scale.sizes.rows and len(kept.comparison.designs) == 3
    assert bool(kept.comparison.measured.rows) == whole  # half an hour trains one of the three
    assert path.with_suffix(".pdf").is_file() and path.with_name("gate.yaml").is_file()


def test_no_widget_was_built(ran):
    import json

    page = ran.page
    for name in ran.names:
        notebook = json.loads((page.parent / "executed" / f"{name}.ipynb").read_text("utf-8"))
        assert "widgets" not in notebook["metadata"]
