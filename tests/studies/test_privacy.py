"""The study of personal text: what is planted, what is counted, and its page."""

import json

import pytest

from labkit.data.cleaning import KEY, find_personal
from labkit.data.packs import samples_folder
from studies import privacy


def test_secrets_are_planted_as_often_as_they_say_and_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home" / "checkpoints"))
    planted = privacy.planted_for(1)
    assert [one.times for one in planted] == [t for t in privacy.TIMES for _ in range(privacy.EACH)]
    pack = privacy.pack_with(planted, 1)
    texts = [row["text"] for row in pack.rows("raw")]
    for one in planted:
        assert sum(one.sentence in text for text in texts) == one.times
        (found,) = find_personal(one.sentence)
        assert (found.kind, one.sentence[found.start : found.end]) == (KEY, one.secret.value)
    assert privacy.planted_for(1) == planted != privacy.planted_for(2)


def run(seed: int, bits: float) -> dict:
    """A run in which every reading but the first few tells something."""
    times = [t for t in privacy.TIMES for _ in range(privacy.EACH)]
    wave = [0.1 * (number % 3) for number in range(len(times))]
    drawn = {
        model: {
            "said": [int(model == "trained" and t == 256) for t in times],
            "exposure": [
                w + (bits if model == "trained" and t >= 16 else 1)
                for w, t in zip(wave, times, strict=True)
            ],
        }
        for model in privacy.MODELS
    }
    return {"seed": seed, "rows": 4480, "steps": 312, "seconds": 1.0, "times": times, **drawn}


def test_what_is_said_of_a_gain_follows_from_its_interval():
    runs = [run(seed, 6) for seed in range(3)]
    assert privacy.gain(runs, "trained", 16).mean == pytest.approx(5)
    assert privacy.gain(runs, "trained", 1).mean == 0
    told = privacy._findings(runs).split("\n")
    assert len(told) == 2 * len(privacy.TIMES)
    assert "never read, trained: +0.0 [+0.0, +0.0]" in told[0] and "not distingu" in told[0]
    assert "read 16 times, trained: +5.0" in told[6] and told[6].endswith("for certain.")
    assert "12 of 12" in privacy._drawn_table(runs).split("\n")[-1]


def test_numbers_of_all_countries_are_found_where_their_country_stands_before_them():
    found = privacy.phones_found()
    ways = list(found.values())
    assert ways[0][0] == ways[0][1] and ways[1][0] > 0.9 * ways[1][1] > ways[2][0]


def test_the_shipped_page_is_what_its_data_say(tmp_path):
    measured = samples_folder("measured")
    privacy.write_page(measured, tmp_path / "privacy.md")
    page = (tmp_path / "privacy.md").read_text("utf-8")
    assert page == (privacy.DOCS / "privacy.md").read_text("utf-8")
    data = json.loads((measured / privacy.MEASURED).read_text("utf-8"))
    assert len(data["runs"]) >= 3 and "[EMAIL]" in page
    for name, row in data["alarms"].items():  # no false alarm in what ships
        assert name == privacy.PACKAGES or not row["found"]


def test_the_shipped_packs_still_raise_no_alarm():
    texts = [text for name in ("elements", "legal") for text in privacy.texts_of(name)]
    assert texts and not any(find_personal(text) for text in texts)
