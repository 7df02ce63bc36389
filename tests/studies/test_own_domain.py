"""The study of a person's own domain: invented folders, one run, the fit, and its page."""

import json
import math
from dataclasses import asdict

import pytest

from labkit.base.stats import ItemScore, cluster_mean
from labkit.data.packs import samples_folder
from labkit.train import exposure
from studies import own_domain
from studies.invented import LAST_THEME, THEMES, write_folder
from studies.own_domain import Cell


def run(cell: Cell, seed: int, recall: float, parameters: int = 10**6, rows: int = 500) -> dict:
    return {
        **asdict(cell),
        "seed": seed,
        "theme": "bells",
        "parameters": parameters,
        "steps": 10,
        "rows": rows,
        "facts": 20,
        "recall": recall,
        "in_words_of_text": None,
        "seconds": 1.0,
    }


@pytest.mark.parametrize("theme", THEMES)
def test_a_folder_tells_every_fact_as_often_as_it_says(tmp_path, theme):
    facts = write_folder(tmp_path / "folder", theme, seed=1, things=8, tellings=3)
    assert len(facts) == 8 * len(THEMES[theme].traits)
    for fact in facts:
        page = (tmp_path / "folder" / f"{fact.thing.lower()}.txt").read_text("utf-8")
        assert page.count(fact.answer) >= 3 and fact.thing in fact.asked
    again = write_folder(tmp_path / "again", theme, seed=1, things=8, tellings=3)
    assert again == facts != write_folder(tmp_path / "other", theme, seed=2, things=8, tellings=3)


def test_alike_names_share_their_syllables(tmp_path):
    facts = write_folder(tmp_path / "alike", "bells", seed=1, things=20, alike=True)
    assert len({fact.thing[:3] for fact in facts}) <= 6


def test_the_fit_finds_the_line_that_made_the_runs():
    def recall(reads: float, rows: int, parameters: int) -> float:
        odds = -3.0 + 0.9 * math.log(reads) + 0.3 * math.log(rows / 1000)
        return 1 / (1 + math.exp(-odds - 0.5 * math.log(parameters / 1e6)))

    runs = [
        run(Cell(family, reads), seed, recall(reads, rows, size), size, rows)
        for family, size in (("llama-xs", 300_000), ("llama-s", 10**6))
        for reads in (10, 30, 80)
        for seed, rows in enumerate((400, 900))
    ]
    found = own_domain.fitted([*runs, run(Cell(alike=True), 0, 0.9)])
    assert found["start"] == pytest.approx(-3.0) and found["per_log_read"] == pytest.approx(0.9)
    assert found["per_log_row"] == pytest.approx(0.3) and found["rows"] == [400, 900]
    assert found["per_log_parameter"] == pytest.approx(0.5) and found["spread"] < 1e-6
    assert found["runs"] == len(runs) and found["parameters"] == [300_000, 10**6]


def test_a_small_run_goes_from_a_folder_to_what_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home" / "checkpoints"))
    found = own_domain.measure(Cell("llama-xs", reads=0.2, things=20), seed=0)
    assert found["facts"] > 20 and 0 <= found["recall"] < 0.5 and found["steps"] >= 2
    pack, facts = own_domain.pack_of("moths", 0, Cell("llama-xs", reads=0.2, things=20))
    asked = {row["messages"][0]["content"] for row in pack.rows("qa")}
    assert not asked & {fact.asked for fact in facts}
    scores = [ItemScore(str(i), fact.thing, 1.0) for i, fact in enumerate(facts)]
    assert cluster_mean(scores).mean == 1.0


def test_the_shipped_page_is_what_its_data_say(tmp_path):
    measured = samples_folder("measured")
    own_domain.write_page(measured, tmp_path / "own-domain.md")
    page = (tmp_path / "own-domain.md").read_text("utf-8")
    assert page == (own_domain.DOCS / "own-domain.md").read_text("utf-8")
    assert "{" not in page and (tmp_path / "recall.png").stat().st_size > 10_000


def test_what_was_measured_last_is_what_auto_rests_on():
    data = json.loads((samples_folder("measured") / exposure.MEASURED).read_text("utf-8"))
    again = own_domain.fitted(data["runs"])
    assert {key: pytest.approx(value) for key, value in again.items()} == data["fit"]
    fresh = {(one["theme"], one["seed"]) for one in data["fresh"]}
    assert len(fresh) == len(data["fresh"]) and not fresh & {
        (one["theme"], one["seed"]) for one in data["runs"]
    }
    assert all(one["theme"] != LAST_THEME for one in (*data["runs"], *data["fresh"]))
