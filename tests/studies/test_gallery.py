"""The gallery from a small run's records: figures kept as a notebook keeps them, pages photographed
where Chromium is.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from PIL import Image

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import figures
from labkit.course.lesson import Lab
from labkit.course.report import course_page
from labkit.data import packs
from studies import gallery
from studies.__main__ import gallery as command

needs_chromium = pytest.mark.skipif(gallery.chromium() is None, reason=gallery.NO_CHROMIUM)
SPAN = {"mean": -0.5, "low": -0.6, "high": -0.4, "n": 9, "clusters": 9, "seeds": 1}


@pytest.fixture
def run(tmp_path):
    """An out_dir with three kept figures, a gate and two diagnoses."""
    lab = Lab(
        "03_cpt",
        packs.load_pack("materials"),
        "llama-s-instruct",
        "smoke",
        0,
        "me",
        tmp_path / "out",
    )
    lab.show(
        figures.loss_curves({"gentle": [(0, 3.0), (9, 1.0)], "<b>x</b>": [(0, 3.0), (9, 0.5)]}),
        "axes",
        "Two `curves` [of one run], <b>x</b>\nlower.",
    )
    lab.notebook = "09_diagnose"
    lab.show(figures.loss_curves({"one": [(0, 3.0), (9, 1.0)]}), "probe", "A curve.")
    lab.notebook = "10_report"
    rows = [
        {
            "checkpoint": f"checkpoint {i}",
            "axes": {axis: {"mean": i / 30} for axis in figures.AXIS_LABELS},
        }
        for i in range(30)
    ]
    lab.show(figures.score_grid(rows), "scorecards", "Scores of thirty.")
    lab.notebook = "09_diagnose"
    lab.record("gate", checkpoint="one", passed=False, fallen=["instructions"])
    for name in ("gentle", "<script>overcooked"):
        lab.record(
            "diagnosis",
            checkpoint=name,
            diagnosis="instruction loss",
            verdict="flagged",
            found="lost",
            remedy="replay",
            value=SPAN,
        )
    return lab.out_dir


def built(run, to):
    return gallery.build_gallery(run, to, class_dir=run / "class")


def named(page) -> list[tuple[str, str]]:
    """Alt text and file of every picture on the page."""
    return re.findall(r"^!\[(.*)\]\((.+)\)$", page.read_text("utf-8"), re.MULTILINE)


def test_every_picture_named_is_there_small_enough_and_told_in_words(run, tmp_path):
    made = built(run, tmp_path / "gallery")
    found = named(made.page)
    assert [file for _, file in found] == [path.name for path in made.pictures] and len(found) >= 4
    assert {path.name for path in made.page.parent.iterdir()} == {
        "README.md",
        *(file for _, file in found),
    }
    assert len(made.pictures) + len(made.left_out) == len(gallery.SHOWN)
    for alt, file in found:
        path = made.page.parent / file
        with Image.open(path) as picture:
            assert picture.width <= gallery.WIDEST and not picture.info
        assert path.stat().st_size <= gallery.MOST_BYTES and len(alt) > 5 and file not in alt
    text = made.page.read_text("utf-8")
    assert (
        r"Two \`curves\` \[of one run\], \<b\>x\</b\> lower." in text
        and "profile smoke, pack materials, seed 0" in text
    )
    assert all(
        f"{shown.sentence} Made by {shown.made_by}." in text
        for shown in gallery.SHOWN
        if f"{shown.name}.png" in text
    )


def test_the_same_run_gives_the_same_pixels(run, tmp_path):
    first, second = (built(run, tmp_path / name) for name in "ab")
    for one, other in zip(first.pictures, second.pictures, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    assert first.page.read_text("utf-8") == second.page.read_text("utf-8")


def test_what_cannot_be_made_is_told_and_its_old_picture_goes(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    to = tmp_path / "gallery"
    to.mkdir()
    (to / "class-page.png").write_bytes(b"old")
    (to / "of-my-own.txt").write_text("stays")
    made = built(run, to)
    told = "\n".join(made.left_out)
    assert (
        f"diagnosis-gate: {gallery.NO_CHROMIUM}" in told
        and "class-page: there is no" in told
        and "merge-panel: no figure 'panel-0' of 06_merge" in told
    )
    assert not (to / "class-page.png").exists() and (to / "of-my-own.txt").exists()
    assert {"early-warning.png", "axes-after-cpt.png", "scorecards.png", "synergy-by-size.png"} == {
        path.name for path in made.pictures
    }


@needs_chromium
def test_a_page_is_photographed_without_its_scripts(run, tmp_path):
    page = course_page([], run, title="<i>A page</i>")
    plain = gallery.photograph(page, height=400)
    page.write_text(
        page.read_text("utf-8").replace(
            "</body>", "<script>document.body.style.background='#000'</script></body>"
        ),
        "utf-8",
    )
    assert gallery.photograph(page, height=400) == plain
    assert Image.open(gallery.io.BytesIO(plain)).size == (gallery.WIDEST, 400)


def test_a_large_picture_becomes_narrow_and_loses_its_empty_foot():
    wide = Image.effect_noise((2400, 900), 90).convert("RGBA")
    buffer = gallery.io.BytesIO()
    Image.new("RGBA", (2400, 3000), (255, 255, 255, 0)).save(buffer, "PNG")
    wide.resize((300, 300)).save(noise := gallery.io.BytesIO(), "PNG")
    assert Image.open(gallery.io.BytesIO(gallery.fitted(buffer.getvalue()))).width == gallery.WIDEST
    assert len(gallery.fitted(noise.getvalue())) <= gallery.MOST_BYTES
    wide.save(too_much := gallery.io.BytesIO(), "PNG")
    with pytest.raises(InputError, match="stays above 200 KB; draw it smaller"):
        gallery.fitted(too_much.getvalue())


def test_bad_input_is_one_sentence(run, tmp_path):
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match=r"empty: there is no course run here.*--out-dir"):
        built(empty, tmp_path / "to")
    assert not (tmp_path / "to").exists()
    figure = next(run.glob("figures/*-axes.png"))
    figure.write_bytes(b"\x89PNG but broken")
    with pytest.raises(InputError, match=r"^axes-after-cpt: not a readable picture"):
        built(run, tmp_path / "to")
    figure.unlink()
    assert any(
        "axes-after-cpt" in told and "run the notebook again" in told
        for told in built(run, tmp_path / "to").left_out
    )
    common = {
        "notebook": "03_cpt",
        "pack": "p",
        "profile": "smoke",
        "seed": 0,
        "learner": "me",
        "name": "axes",
        "alt": "x",
    }
    records.append(
        run, "figure", name="of another version"
    )  # lacks what is needed: as if it were not there
    records.append(run, "figure", **common, file="../../secret.png")
    with pytest.raises(InputError, match="lies outside"):
        built(run, tmp_path / "to")


def test_the_last_run_of_a_folder_is_shown(run, tmp_path):
    lab = Lab("03_cpt", packs.load_pack("legal"), "llama-s-instruct", "smoke", 1, "me", run)
    lab.show(figures.loss_curves({"one": [(0, 3.0), (9, 1.0)]}), "axes", "Another run.")
    made = built(run, tmp_path / "gallery")
    assert "profile smoke, pack legal, seed 1" in made.page.read_text("utf-8") and {
        path.stem for path in made.pictures
    } == {"axes-after-cpt", "synergy-by-size"}


def test_the_command_says_what_it_wrote_and_what_not(run, tmp_path, capsys):
    command(out_dir=run, to=tmp_path / "gallery", class_dir=run)
    told = capsys.readouterr()
    assert "README.md and" in told.out and "note: left out: class-page:" in told.err


def test_importing_it_brings_no_picture_library():
    code = (
        "import sys, studies.__main__; print([m for m in ('PIL', 'matplotlib', 'torch') if "
        "m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
