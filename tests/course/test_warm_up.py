from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import journal, lesson
from labkit.course.labs import warm_up
from labkit.data.packs import load_pack, shipped_packs
from labkit.data.published import measured

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("00_warm_up", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.fixture
def shown(monkeypatch):
    """Every HTML that is displayed."""
    pages = []
    monkeypatch.setattr(warm_up, "show_html", pages.append)
    return pages


def test_the_effect_is_the_studys_own():
    effect = warm_up.measured_effect()
    row = next(
        line
        for line in (ROOT / "docs/scale.md").read_text("utf-8").splitlines()
        if line.startswith("| llama-s |")
    )
    assert all(
        str(one.interval("compositional")) in row
        for one in (effect.general, effect.specialist, effect.merge)
    )
    assert (
        str(effect.specialist.interval("knowledge")) in row
        and str(effect.general.interval("instructions")) in row
    )
    assert f"over {effect.seeds} seeds" in (ROOT / "docs/scale.md").read_text("utf-8")


def test_the_story_told_is_what_was_measured():
    effect = warm_up.measured_effect()
    general, specialist, merge = (
        one.interval("compositional") for one in (effect.general, effect.specialist, effect.merge)
    )
    assert merge.low > max(general.high, specialist.high)  # "neither parent can"
    assert (
        effect.merge.interval("instructions").high < effect.general.interval("instructions").low
    )  # "obeys fewer requests"
    assert measured(warm_up.BEATS_BOTH)["verdict"] == "supported"
    assert measured(warm_up.BEATS_THE_LINE)["verdict"] == "not distinguishable"


@pytest.mark.parametrize("pack", shipped_packs())
def test_one_question_of_each_kind(pack):
    found = warm_up.items(load_pack(pack))
    assert [item["axis"] for item in found] == list(warm_up.ASKED) and all(
        map(warm_up.question_of, found)
    )


def test_a_pack_without_such_questions_is_a_sentence(tmp_path):
    for file in load_pack("materials").folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    dev = tmp_path / "eval_dev.jsonl"
    dev.write_text(
        "\n".join(
            line for line in dev.read_text("utf-8").splitlines() if '"axis": "general"' not in line
        )
    )
    with pytest.raises(InputError, match=r'eval_dev.jsonl: no question of axis "general"'):
        warm_up.items(load_pack(str(tmp_path)))


def test_both_models_answer_and_only_one_was_taught_to(lab, shown):
    warm_up.show_answers(lab)
    asked = records.read(lab.out_dir, "chat")
    person, form, _ = warm_up.items(lab.pack)
    assert [row["question"] for row in asked] == [
        warm_up.question_of(item) for item in warm_up.items(lab.pack)
    ]
    assert (
        person["answer"] in asked[0]["answers"]["instruct"]
        and person["answer"] not in asked[0]["answers"]["base"]
    )
    assert len(asked[1]["answers"]["instruct"].split()) <= 2 and form["checks"] == ["words_only"]
    assert all(
        answer.split(".")[0] in shown[0] for row in asked for answer in row["answers"].values()
    )


def test_a_question_of_ones_own_is_escaped(lab, shown):
    warm_up.show_answers(lab, "<script>alert(1)</script>?")
    assert "<script>" not in shown[0] and "&lt;script&gt;" in shown[0]


def test_effect_keeps_the_guess_and_a_figure_with_alt_text(lab, shown):
    effect = warm_up.measured_effect()
    warm_up.show_effect(
        lab, effect, lab.predict("warm_up_merge", "Share", headless_value=effect.guessed.mean)
    )
    warm_up.show_parents(effect)
    (guess,), (figure,) = (records.read(lab.out_dir, kind) for kind in ("prediction", "figure"))
    assert guess["inside"] and guess["measured"]["mean"] == effect.guessed.mean
    assert str(effect.guessed) in figure["alt"] and (
        lab.out_dir / figure["file"]
    ).read_bytes().startswith(b"\x89PNG")
    assert (
        str(effect.specialist.interval("knowledge")) in shown[0]
        and str(effect.guessed) not in shown[0]
    )


def test_no_star_where_no_guess_was_made(lab, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        lesson.Lab,
        "show",
        lambda self, figure, name, alt: drawn.append(figure.legends[0].get_texts()),
    )
    for made in (journal.COMMITTED, journal.UNTOUCHED, journal.DEFAULT):
        warm_up.show_effect(
            lab, warm_up.measured_effect(), lesson.Guess("warm_up_merge", "Share", 0.5, made=made)
        )
    assert ["your guess" in [text.get_text() for text in texts] for texts in drawn] == [
        True,
        False,
        False,
    ]


def test_the_notebook_trains_nothing_and_asks_the_critical_questions():
    source = "\n".join(
        "".join(cell["source"])
        for cell in json.loads((ROOT / "notebooks/00_warm_up.ipynb").read_text("utf-8"))["cells"]
        if cell["cell_type"] == "code"
    )
    assert "lab.train" not in source and "lab.score" not in source
    assert re.findall(r'lab\.reflect\("(critical_\d_before)"', source) == [
        f"critical_{i}_before" for i in (1, 2, 3)
    ]
