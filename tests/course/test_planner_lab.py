"""What notebook 08 shows about cost: sentences, records, figures, the panel, and the paper's
recipe.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import lesson
from labkit.course.labs import planner_lab, views
from labkit.course.labs.planner_lab import CostSession, Settings, remedies_table, told
from labkit.course.lesson import Guess
from labkit.design.designer import design
from labkit.design.planner import duration, fit_in_words, gpu, gpus
from labkit.design.planner_speed import Speed, keep_speed
from labkit.train import specs

SMALL = Settings(
    model="SmolLM2-135M",
    card="T4",
    batch_size=8,
    rows_at_once=8,
    length=512,
    checkpointing=False,
    tokens_millions=10,
)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("08_scale", profile="smoke", out_dir=str(tmp_path / "out"))


def test_a_plan_is_told_and_recorded(lab, capsys):
    found = planner_lab.show_costs(lab, replace(SMALL, price=0.4), Guess("hours", "Hours?", 1000.0))
    said = capsys.readouterr().out
    assert "Default guess (nobody guessed) of 1000.00; planned" in said and "outside" in said
    assert "You guessed" not in said
    words = dict(told(found))
    assert (
        "134,515,008" in words["parameters"]
        and words["fits"].startswith("yes: T4")
        and "at 0.4 per GPU-hour" in words["money"]
    )
    assert "money" not in dict(told(CostSession(SMALL).look(SMALL)))
    (record,) = records.read(lab.out_dir, "plan")
    assert record["peak_gib"] == found.plan.peak_gib and record["hours"] == list(
        found.plan.hours(found.card)
    )
    (figure,) = records.read(lab.out_dir, "figure")
    assert "134,515,008" in figure["alt"] and (lab.out_dir / figure["file"]).stat().st_size > 10_000


def test_what_does_not_fit_says_what_to_give_up():
    session = CostSession(Settings())
    found = session.look(replace(Settings(), card="RTX 4090"))
    assert [remedy.plan.training.method for remedy in found.remedies][-1] in ("lora", "qlora")
    assert found.remedies[0].name in remedies_table(found) and remedies_table(
        found
    ) in session.sentences(found)
    assert "sharded over 2 × H100" in fit_in_words(found.plan, gpu("H100"))
    assert remedies_table(CostSession(SMALL).look(SMALL)) == ""


@pytest.mark.parametrize(
    "change,words",
    [
        ({"price": -1.0}, "price is -1"),
        ({"tokens_millions": 0.0}, "tokens is 0"),
        ({"model": "Llama-9"}, "unknown model"),
        ({"card": "H101"}, "did you mean"),
        ({"gpus": 0}, "gpus is 0"),
        ({"method": "lroa"}, "did you mean 'lora'"),
        ({"rows_at_once": 0}, "rows at once is 0"),
        ({"length": 10**6}, "reads at most"),
        ({"batch_size": 2, "gpus": 4}, "cannot be shared"),
    ],
)
def test_bad_settings_are_one_sentence(change, words):
    with pytest.raises(InputError, match=words):
        CostSession(SMALL).look(replace(SMALL, **change))


def test_a_model_name_cannot_become_markup(tmp_path):
    folder = tmp_path / "<b>bold"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "<i>"}', "utf-8")
    with pytest.raises(InputError):
        CostSession(SMALL).look(replace(SMALL, model=str(folder)))


def test_a_model_in_a_folder_cannot_place_its_figure_elsewhere(lab, tmp_path):
    import shutil

    from labkit.models.architecture import known_configs

    folder = tmp_path / "a b" / "mine"
    folder.mkdir(parents=True)
    shutil.copy(known_configs()["SmolLM2-135M"], folder / "config.json")
    planner_lab.show_costs(lab, replace(SMALL, model=f"{folder}/../mine"))
    (figure,) = records.read(lab.out_dir, "figure")
    assert (
        lab.out_dir / figure["file"]
    ).parent == lab.out_dir / "figures" and "cost-mine-1xt4" in figure["file"]


def test_the_papers_recipe_is_the_one_its_sources_state(lab, capsys):
    found = planner_lab.paper_costs(
        lab, tokens_per_paper=10_000, guess=Guess("hours", "Hours?", 3.0)
    )
    setup = planner_lab.paper_setup()
    assert found.plan.tokens == setup["papers"] * setup["epochs"] * 10_000
    training = found.plan.training
    assert (
        training.micro_rows == setup["rows_per_gpu"]
        and training.gpus * training.micro_rows * training.accumulation == setup["batch_size"]
    )
    assert found.plan.fits(found.card)
    assert "are assumed here" in capsys.readouterr().out


def test_loras_share_is_far_from_nothing():
    share = planner_lab.lora_share("Llama-3.1-8B", 3072)
    assert 0.6 < share.low < share.mean < share.high < 0.8 and not share.holds(0.1)


def test_a_design_shows_seconds_once_the_machine_was_measured(own_home, lab):
    spec = specs.PipelineSpec(
        pack="materials", model="llama-s-instruct", stages=specs.GENTLE, profile="smoke"
    )
    assert planner_lab.show_design(lab, spec).seconds is None
    keep_speed("llama-s-instruct", Speed(0.01, 1e11))
    assert planner_lab.show_design(lab, spec).seconds[0] > 0
    assert [record["seconds"] is None for record in records.read(lab.out_dir, "plan")] == [
        True,
        False,
    ]


def test_shipped_measurements_have_a_row_figure_and_table(lab, capsys):
    planner_lab.show_accuracy(lab)
    rows = planner_lab.measured_rows()["rows"]
    assert {row["model"] for row in rows} >= {"llama-s-instruct", "smollm2-135m-instruct"}
    assert {row["stage"] for row in rows} >= {"cpt", "sft", "dpo", "orpo"} and any(
        row["rank"] for row in rows
    )
    assert f"of {2 * len(rows)} predictions are within 15%" in capsys.readouterr().out
    assert planner_lab.accuracy_table().count("<tr>") == len(rows) + 1


def test_the_panel_follows_every_control(monkeypatch):
    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    from labkit.course.labs.planner_lab import CostPanel

    panel = CostPanel(CostSession(SMALL))
    assert bytes(panel.picture.value).startswith(b"\x89PNG") and "134,515,008" in panel.told.value
    panel.controls["method"].value = "lora"
    assert "4,884,480 learn" in panel.told.value
    panel.controls["price"].value = -1
    assert "price is -1" in panel.told.value and not bytes(panel.picture.value)
    panel.controls["price"].value = 0
    panel.controls["model"].value = "<b>"
    assert "&lt;b&gt;" in panel.told.value and "<b>" not in panel.told.value
    assert set(panel.controls) == set(vars(SMALL))


def test_seconds_are_said_in_the_unit_one_would_say():
    said = [
        duration(span)
        for span in ((5.0, 12.0), (48.0, 112.0), (60.0, 150.0), (1800.0, 7100.0), (3600.0, 9000.0))
    ]
    assert said == [
        "5.0 to 12 seconds",
        "48 to 112 seconds",
        "1.0 to 2.5 minutes",
        "30 to 118 minutes",
        "1.0 to 2.5 hours",
    ]


def test_numbers_are_said_with_the_digits_one_would_say():
    assert [views.digits(value) for value in (0.0123, 0.5, 2.04, 35.6, 12345.6)] == [
        "0.012",
        "0.5",
        "2.0",
        "36",
        "12,346",
    ]
    assert views._sizes(list(gpus().values()), 10, 80).keys() == {
        card.usable_gib for card in gpus().values() if card.usable_gib < 80
    }


def test_a_design_is_shown_at_four_sizes_and_recorded(lab, capsys):
    found = planner_lab.show_sizes_of(lab, design(sequence="cpt"), card="H100", price=2.0)
    told = capsys.readouterr().out
    assert "Not known: what happens between" in told and "135 million" in told
    rows = records.read(lab.out_dir, "plan")
    assert [row["model"] for row in rows] == [one.model for one in found]
    assert all(row["cards"] and row["fits"] and row["tokens"][0] > 0 for row in rows)
