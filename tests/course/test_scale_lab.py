from __future__ import annotations

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import scale_lab
from labkit.data.packs import samples_folder
from labkit.data.published import SCALE_FILES, measured_scale, reasons


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("08_scale", profile="smoke", out_dir=str(tmp_path / "out"))


def test_the_ladder_is_climbed_live(lab, capsys):
    guess = lab.predict("synergy", "Synergy at the smallest size", low=-1, headless_value=0.0)
    unit = scale_lab.climb(lab)
    scale_lab.show_climb(lab, unit, guess)
    told = capsys.readouterr().out
    assert all(f"{family}: the SLERP merge beats" in told for family in scale_lab.LIVE)
    assert {"finding", "prediction", "figure", "scorecard"} <= {
        row["kind"] for row in records.read(lab.out_dir)
    }


SHOWN = {
    "sizes": scale_lab.show_sizes,
    "families": scale_lab.show_families,
    "rare": scale_lab.show_rare,
}


@pytest.mark.parametrize("part", SHOWN)
def test_what_the_study_measured_is_shown(lab, capsys, part):
    if not (samples_folder("measured") / SCALE_FILES[part]).is_file():
        with pytest.raises(InputError, match=f"python -m studies evidence --part {part}"):
            SHOWN[part](lab)
        return
    SHOWN[part](lab)
    data = measured_scale(part)
    assert f"Measured on pack {data['pack']} over {data['seeds']} seeds" in capsys.readouterr().out
    assert len(lab.mine("figure")) == 1


def test_the_six_reasons_are_shown_in_short(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(scale_lab, "show_html", shown.append)
    scale_lab.show_reasons()
    for reason in reasons():
        assert f"{reason.number} {reason.title}" in shown[0] and reason.verdict in shown[0]
    assert "docs/six-reasons.md" in capsys.readouterr().out
