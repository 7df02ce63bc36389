from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import replace
from html import unescape

import pytest
import yaml
from own_packs import own_pack

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.stats import Interval, RunNoise, with_run_noise
from labkit.course import journal, lesson
from labkit.course.journal import COMMITTED
from labkit.merge.guards import MergeWarning
from labkit.train.specs import Stage


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("03_cpt", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.mark.parametrize(
    "bad,words",
    [
        ({"profile": "labb"}, "did you mean 'lab'"),
        ({"pack": "biomedd"}, "did you mean 'biomed'"),
        ({"learner": "../x"}, "learner is"),
        ({"learner": "<script>"}, "learner is"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_parameters(tmp_path, bad, words):
    with pytest.raises(InputError, match=words):
        lesson.start("03_cpt", out_dir=str(tmp_path), **bad)


def test_train_score_show_record(lab):
    from labkit.course import figures

    made = lab.train([Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8)])
    card = lab.score(made, "mine")
    guess = lab.predict("x", "How many?", headless_value=0.25)
    lab.outcome(guess, card.interval("knowledge"))
    lab.show(figures.scorecards([card]), "axes", "Scores.")
    lab.finding("something", Interval(0.2, 0.1, 0.3, 10, 5), claimed=1, reported="nothing")
    kinds = [record["kind"] for record in records.read(lab.out_dir)]
    assert kinds == ["session", "checkpoint", "scorecard", "prediction", "figure", "finding"]
    found = records.read(lab.out_dir, "finding")[0]
    assert found["verdict"] == "supported" and found["learner"] == "me"
    assert (lab.out_dir / records.read(lab.out_dir, "figure")[0]["file"]).is_file()
    lab.show_scorecards()
    lab.show_predictions()
    lab.show_findings()


NASTY = "<script>alert(1)</script>"


@pytest.fixture
def shown(monkeypatch):
    """What a notebook displays, without a notebook. Sentences are printed, as in a terminal."""
    found = []

    def take(*args, **kwargs):
        if isinstance(args[0], lesson.Sentences):
            print(args[0])
        else:
            found.append((args, kwargs))

    monkeypatch.setattr("IPython.display.display", take)
    return found


@pytest.fixture
def hands_on(tmp_path, monkeypatch, shown):
    """Opens a lab with widgets in one folder, as often as a learner does."""
    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    usual = {"notebook": "03_cpt", "profile": "smoke", "out_dir": str(tmp_path / "out")}
    return lambda **changes: lesson.start(**usual | changes)


@pytest.fixture
def quiz(tmp_path, monkeypatch):
    """Puts one question, of id x, into a quiz file of notebook 03 that stands in for its own."""
    shutil.copy(journal.quizzes_folder() / "cases.yaml", tmp_path)
    monkeypatch.setattr(journal, "quizzes_folder", lambda: tmp_path)

    def put(*options: str, right: str) -> None:
        told = {"question": "Which?", "options": list(options), "right": right, "why": "Because."}
        (tmp_path / "03_cpt.yaml").write_text(yaml.safe_dump({"x": told}), "utf-8")

    return put


HALF = Interval(0.5, 0.4, 0.6, 60, 20)


def test_headless_exercises_and_reflections_are_kept_once(lab, quiz, capsys):
    quiz("that", "this", right="that")
    for _ in range(2):
        lab.ask("x")
        lab.reflect("y", "Why?", headless_text="so\u2028and so")
        lab.reflect("z", "And?")
    assert [(r["choice"], r["right"]) for r in lab.mine("answer")] == [("that", True)]
    assert [(r["id"], r["text"]) for r in lab.mine("reflection")] == [("y", "so\nand so")]
    told = capsys.readouterr().out
    assert (
        "Which?\n* that\n- this\nRight. Because." in told
        and "Why?\nso\nand so" in told
        and "And?\n(nothing written yet)" in told
    )


def test_an_exercise_that_cannot_be_answered_is_refused(lab, quiz):
    quiz("this", "that", right="neither")
    with pytest.raises(InputError, match=r"03_cpt\.yaml: x: right: 'neither' is not one of"):
        lab.ask("x")
    with pytest.raises(InputError, match="low is 1 and high 1"):
        lab.predict("x", "How many?", low=1.0)


def panel_of(shown):
    """The widgets of what was displayed last, by kind."""

    def walk(one):
        yield one
        for child in getattr(one, "children", ()):
            yield from walk(child)

    return {type(one).__name__: one for one in walk(shown[-1][0][0])}


def test_a_question_that_is_not_there_is_refused_with_one_that_is(lab):
    with pytest.raises(InputError, match=r"03_cpt\.yaml.*'cpt_los'; did you mean 'cpt_loss'\?$"):
        lab.ask("cpt_los")
    assert lab.mine("answer") == []


def test_words_and_choices_survive_a_restart_whatever_the_pack(hands_on, shown, quiz):
    hands_on().reflect("y", "Why?")
    panel_of(shown)["Textarea"].value = "because"
    quiz("this", "that", right="that")
    hands_on().ask("x")
    asked = panel_of(shown)
    asked["RadioButtons"].value = 0
    asked["Button"].click()
    again = hands_on(pack="legal", seed=7)
    again.reflect("y", "Why?")
    assert panel_of(shown)["Textarea"].value == "because"
    quiz("new", "this", "that", right="that")
    again.ask("x")
    assert (
        panel_of(shown)["RadioButtons"].value == 1 and "Not right." in panel_of(shown)["HTML"].value
    )
    assert (
        len(records.read(again.out_dir, "answer"))
        == len(records.read(again.out_dir, "reflection"))
        == 1
    )
    other = hands_on(learner="another")
    other.reflect("y", "Why?")
    assert panel_of(shown)["Textarea"].value == ""


def test_headless_cases_are_kept_as_nobodys_answers_and_their_key_is_shown(lab, shown):
    lab.notebook = "00_warm_up"
    for _ in range(2):
        lab.match_cases()
    asked, kept = journal.cases("00_warm_up"), lab.mine("answer")
    assert [row["id"] for row in kept] == [*asked] and {row["made"] for row in kept} == {"default"}
    html = unescape(re.sub(r"<[^>]+>", "", shown[-1][0][0].data))
    for case in asked.values():
        assert case.right in html and case.reason in html
        assert all(line in html for line in case.evidence())


def test_a_case_is_matched_once_and_its_key_waits_for_the_choice(hands_on, shown):
    lab = hands_on(notebook="00_warm_up")
    lab.match_cases()
    *_, (id, case) = journal.cases("00_warm_up").items()
    asked = panel_of(shown)
    assert asked["HTML"].value == "" and case.title in shown[-2][0][0].data
    asked["RadioButtons"].value = journal.STRATEGIES.index(case.right)
    asked["Button"].click()
    told = unescape(asked["HTML"].value)
    assert "Right." in told and all(line in told for line in case.evidence())
    assert "This notebook: 1 of " in told
    (row,) = lab.mine("answer")
    assert (row["id"], row["right"], row["why"]) == (id, True, case.reason)
    hands_on(notebook="00_warm_up").match_cases()
    assert "Right." in panel_of(shown)["HTML"].value and len(lab.mine("answer")) == 1


def test_a_notebook_without_cases_is_a_sentence(lab):
    with pytest.raises(InputError, match=r"cases\.yaml: no case has `notebook: 03_cpt`"):
        lab.match_cases()


def test_evidence_is_shown_with_its_verdict_and_nothing_unmeasured(lab, shown):
    lab.show_evidence("SLERP beats LERP at the same t on items that need both parents")
    assert "not distinguishable" in shown[-1][0][0].data
    with pytest.raises(InputError, match="no claim 'SLERP wins' was measured"):
        lab.show_evidence("SLERP wins")


def test_a_guess_survives_a_restart_and_stays_after_its_outcome(hands_on, shown):
    lab = hands_on()
    lab.predict("x", "How many?")
    panel_of(shown)["FloatSlider"].value = 0.25
    lab = hands_on()
    guess = lab.predict("x", "How many?")
    assert guess.value == 0.25 and len(lab.mine("guess")) == 1
    panel_of(shown)["FloatSlider"].value = 0.45
    lab.outcome(guess, HALF)
    assert panel_of(shown)["FloatSlider"].disabled
    again = hands_on().predict("x", "How many?")
    assert again.value == 0.45 and panel_of(shown)["FloatSlider"].disabled
    lab.outcome(again, HALF)
    assert [(r["guess"], r["made"], r["inside"]) for r in lab.mine("prediction")] == [
        (0.45, "committed", True)
    ] * 2
    assert not hands_on(seed=1).predict("x", "How many?").panel.committed


def test_a_slider_left_alone_is_no_guess_even_when_moved_afterwards(hands_on, shown, capsys):
    lab = hands_on()
    guess = lab.predict("x", "How many?")
    lab.outcome(guess, HALF)
    guess.panel.curtains[0].button.click()
    again = lab.predict("x", "How many?")
    assert panel_of(shown)["FloatSlider"].disabled
    lab.outcome(again, HALF)
    assert [r["made"] for r in lab.mine("prediction")] == ["untouched"] * 2
    lab.show_calibration()
    told = capsys.readouterr().out
    assert "You made no guess" in told and "No guesses yet" in told


def test_a_headless_default_is_told_as_nobodys(lab, capsys):
    guess = lab.predict("x", "How many?", headless_value=0.9)
    lab.outcome(guess, HALF)
    lab.show_calibration()
    told = capsys.readouterr().out
    assert f"Default guess (nobody guessed) of 0.90; measured {HALF}" in told
    assert "You guessed" not in told and "fell inside" not in told
    assert guess.own is None and guess.star("knowledge") is None


def test_an_outcome_waits_for_its_guess_and_is_drawn_with_it(hands_on, shown, capsys):
    lab, drawn = hands_on(), []
    guess = lab.predict("x", "How many?")
    slider, whole = panel_of(shown)["FloatSlider"], guess.panel
    with guess.curtain():
        lab.outcome(guess, HALF, lambda: drawn.append(guess.star("knowledge")))
    lab.outcome(guess, HALF)  # of another cell
    slider.value = 0.25
    assert drawn == [] and "measured" not in capsys.readouterr().out
    assert not slider.disabled and lab.mine("prediction") == []
    assert all(curtain.out.layout.display == "none" for curtain in whole.curtains)
    waiting = list(whole.curtains)
    whole.button.click()
    assert drawn == [("knowledge", 0.25)] and "You guessed 0.25" in capsys.readouterr().out
    assert {row["made"] for row in lab.mine("prediction")} == {"committed"}
    assert slider.disabled and all(one.out.layout.display is None for one in waiting)


def test_a_guess_can_be_skipped_and_is_then_none(hands_on, shown, capsys):
    lab, drawn = hands_on(), []
    guess = lab.predict("x", "How many?")
    lab.outcome(guess, HALF, lambda: drawn.append(guess.star("knowledge")))
    (curtain,) = guess.panel.curtains
    curtain.button.click()
    assert drawn == [None] and "You made no guess" in capsys.readouterr().out
    assert [row["made"] for row in lab.mine("prediction")] == ["untouched"]


def test_an_error_behind_a_curtain_is_not_swallowed(hands_on, shown):
    guess = hands_on().predict("x", "How many?")
    with pytest.raises(InputError, match="no such thing"), guess.curtain():
        raise InputError("no such thing")


@pytest.mark.parametrize(
    ("effect", "covers"),
    [
        (Interval(0.2, 0.1, 0.3, 10, 5), "items only"),
        (Interval(0.2, 0.1, 0.3, 10, 5, seeds=5), "items and seeds"),
        (with_run_noise(Interval(0.2, 0.1, 0.3, 10, 5), RunNoise(0.0, 12)), "items and seeds"),
    ],
)
def test_a_finding_says_what_its_interval_covers(lab, shown, capsys, effect, covers):
    lab.finding("something", effect, claimed=1, reported="nothing")
    assert f"(interval: {covers};" in capsys.readouterr().out
    lab.show_findings()
    assert f"({covers})" in shown[-1][0][0].data


def test_headless_takes_the_guess_that_was_kept_and_does_not_shut_anyone_out(
    hands_on, shown, monkeypatch
):
    lab = hands_on()
    lab.predict("x", "How many?")
    panel_of(shown)["FloatSlider"].value = 0.25
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    assert lab.predict("x", "How many?", headless_value=0.9).value == 0.25
    lab.outcome(lab.predict("y", "How often?", headless_value=0.9), HALF)
    monkeypatch.delenv("LABKIT_HEADLESS")
    lab.predict("y", "How often?")
    assert not panel_of(shown)["FloatSlider"].disabled


def test_progress_calibration_and_both_answers_are_shown_escaped(lab, shown, capsys):
    lab.reflect("critical_1_before", "?", headless_text=NASTY)
    for i, value in enumerate((0.2, 0.4, 0.5, 0.9)):
        lab.outcome(
            replace(lab.predict(f"x{i}", NASTY, headless_value=value), made=COMMITTED), HALF
        )
    lab.show_progress()
    lab.show_before_and_after()
    lab.show_predictions()
    lab.show_calibration()
    html = [args[0].data for args, _ in shown if hasattr(args[0], "data")]
    assert (
        "03_cpt" in html[0]
        and "&lt;script&gt;" in html[1]
        and "(nothing written)" in html[1]
        and "<script>" not in "".join(html)
    )
    assert "2 of 4 guesses fell inside" in capsys.readouterr().out
    alts = [kwargs["metadata"]["image/png"]["alt"] for _, kwargs in shown if kwargs]
    assert len(alts) == 2 and all(len(alt) > 50 for alt in alts)


def test_two_sessions_in_one_folder_keep_their_own_figures(tmp_path, monkeypatch, shown):
    from labkit.course.figures import new_figure

    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    for learner in ("a", "b"):
        lesson.start("03_cpt", profile="smoke", learner=learner, out_dir=str(tmp_path)).show(
            new_figure(2, 2)[0], "x", "alt"
        )
    files = {row["file"] for row in records.read(tmp_path, "figure")}
    assert len(files) == 2 and all((tmp_path / file).is_file() for file in files)


def test_report_of_nothing_says_so(lab, capsys):
    lab.show_scorecards()
    lab.show_predictions()
    lab.show_findings()
    told = capsys.readouterr().out
    assert (
        "No scorecards yet" in told and "No predictions yet" in told and "No findings yet" in told
    )


def test_others_records_are_not_mine(lab):
    records.append(
        lab.out_dir, "finding", pack="legal", profile="smoke", seed=0, learner="me", claim="x"
    )
    assert lab.mine("finding") == []


def test_two_runs_are_compared_with_the_noise_between_runs(lab):
    from labkit.evaluate.scorecards import compare_axis

    before, after = lab.score("llama-s-base", "a"), lab.score(lab.model, "b")
    items, runs = (
        compare_axis(before, after, "instructions"),
        lab.compare(before, after, "instructions"),
    )
    assert runs.mean == items.mean and runs.low <= items.low and runs.high >= items.high


def test_the_grid_is_recorded_as_the_class_page_and_evidence_packs_read_it(lab, tmp_path):
    from labkit.classroom import class_page, evidence_pack
    from labkit.course.labs.merge_lab import LAB_AXES

    grid = lab.score_grid(lab.bench(lab.model, "llama-s-base", ("instruct", "base")))
    seat = class_page.seat("A", records.read(lab.out_dir))
    (sweep,) = seat.of("sweep")
    assert (
        seat.unread == 0
        and sweep.ends == ("instruct", "base")
        and sweep.split == "dev"
        and set(sweep.points) == set(grid)
    )
    at, card = grid["slerp"][3]
    point = sweep.points["slerp"][3]
    assert (
        point.t == at
        and set(point.axes) == set(LAB_AXES)
        and point.axes["knowledge"].mean == card.interval("knowledge").mean
    )
    assert "1 learners" in class_page.curves([seat]).pictures[0].alt
    evidence_pack.make_pack(lab.out_dir, "me", tmp_path / "me.zip")
    read = evidence_pack.read_pack(
        evidence_pack.open_pack(tmp_path / "me.zip", tmp_path / "opened")
    )
    assert [row for row in read.rows if row["kind"] == "sweep"] == records.read(
        lab.out_dir, "sweep"
    )


def test_the_speed_test_is_told_and_recorded(lab, capsys):
    from labkit.design.planner_speed import Speed, keep_speed

    keep_speed("llama-s-instruct", Speed(0.02, 1e11))
    lab.speed_test()
    (row,) = records.read(lab.out_dir, "speed")
    assert (
        "tokens a second" in capsys.readouterr().out
        and row["ratio"] > 0
        and row["course_minutes"] > 0
    )


def test_the_claims_register_is_shown(lab, capsys):
    lab.show_claims()


@pytest.mark.parametrize(
    "cell,said",
    [
        (
            "lesson.start('x', profile='labb', out_dir=folder)",
            "error: unknown profile 'labb': did you mean 'lab'?",
        ),
        ("raise KeyboardInterrupt", "stopped: finished stages are kept"),
        (
            "raise KeyboardInterrupt('stopped: cpt is kept up to step 5 of 9')",
            "stopped: cpt is kept up to step 5 of 9",
        ),
    ],
)
def test_errors_in_a_notebook_are_a_sentence(tmp_path, capsys, monkeypatch, cell, said):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.delenv("LABKIT_HEADLESS", raising=False)
    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(lesson=lesson, folder=str(tmp_path))
        shell.run_cell("lesson.say_errors_plainly()")
        result = shell.run_cell(cell)
    finally:
        InteractiveShell.clear_instance()
    told = capsys.readouterr()
    assert not result.success and said in told.err and "Traceback" not in told.err + told.out


# --- a pack that lacks something ----------------------------------------------------------------


@pytest.fixture(scope="module")
def raw_pack(tmp_path_factory):
    """A pack of raw text alone."""
    return own_pack(tmp_path_factory.mktemp("own"), "raw")


@pytest.fixture
def own(raw_pack, tmp_path, monkeypatch):
    """A lab on a pack of raw text alone."""
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    out = str(tmp_path / "out")
    return lesson.start("03_cpt", pack=str(raw_pack.folder), profile="smoke", out_dir=out)


PAIR = Stage(kind="dpo", learning_rate=1e-4, steps=2, batch_size=4)
READ = Stage(kind="cpt", learning_rate=1e-3, steps=2, batch_size=4)
ANSWER = Stage(kind="sft", learning_rate=1e-3, steps=2, batch_size=4)


def test_the_first_cell_says_what_a_pack_lacks(own, capsys, tmp_path):
    lesson.start("03_cpt", pack=str(own.pack.folder), out_dir=str(tmp_path / "o"))
    told = capsys.readouterr().out
    assert "no summaries.jsonl, qa.jsonl, preferences.jsonl" in told and "preference." in told
    lesson.start("03_cpt", out_dir=str(tmp_path / "o"))
    assert "has no" not in capsys.readouterr().out


def test_a_stage_without_rows_is_left_out_and_the_label_says_so(own, capsys):
    made = own.train([READ, ANSWER])
    told = capsys.readouterr().out
    assert made.name.endswith("/cpt") and "cpt reads raw alone: " in told
    assert "sft is left out: pack cheeses-raw has no qa.jsonl; put a table with the columns" in told
    assert own.score(made, "mine").checkpoint == "mine (without sft)"


def test_no_other_checkpoint_stands_for_a_preference_stage_without_pairs(own, capsys):
    made = own.train([READ, PAIR])
    assert isinstance(made, lesson.Missing) and "has no preferences.jsonl" in made.why
    assert "Not trained: cpt-dpo. The reason: " in capsys.readouterr().out
    assert own.there({"a": made, "b": "model"}) == {"b": "model"}
    assert "Not shown: a. The reason: pack cheeses-raw" in capsys.readouterr().out


def test_what_is_made_of_something_missing_is_missing_for_the_same_reason(own, capsys):
    gone = lesson.Missing("there were no pairs")
    card = own.score(own.model, "start")
    assert own.score(gone, "pairs") is gone and own.measured(gone, "knowledge") is gone
    assert own.compare(card, gone, "knowledge") is gone is own.better([card, gone], "general")
    guess = own.predict("held_out_after_sft", "How many?")
    own.outcome(guess, gone)
    own.finding("pairs help", gone, claimed=1, reported="nothing")
    told = capsys.readouterr().out
    assert "There is no outcome for your guess: there were no pairs." in told
    assert "Claim: pairs help.\nNot measured here: there were no pairs." in told
    assert not records.read(own.out_dir, "finding") + records.read(own.out_dir, "prediction")
    assert [r["id"] for r in records.read(own.out_dir, "no_outcome")] == ["held_out_after_sft"]


def test_a_guess_without_an_outcome_does_not_keep_a_notebook_from_being_done(own):
    def done() -> int:
        found = journal.progress(own.out_dir, own.learner)
        return next(one.done for one in found if one.notebook == "04_sft")

    before = done()
    own.outcome(own.predict("held_out_after_sft", "How many?"), lesson.Missing("no items"))
    assert done() == before + 1


def test_an_axis_or_kind_without_items_is_told_with_the_remedy(own, capsys):
    card = own.score(own.model, "start")
    found = own.compare(card, card, "preference")
    assert "no items of preference in eval_test.jsonl; add some there" in found.why
    assert "kind cloze or never" in own.measured(card, "knowledge", "cloze", "never").why
    assert own.measured(card, "general", "never", "free") == card.interval("general", "free")
    assert own.axes_there(("general", "preference")) == ("general",)
    assert "Not shown: preference. The reason: pack cheeses-raw" in capsys.readouterr().out
    own.show_axes([card, lesson.Missing("gone")], ("general", "preference"))
    (figure,) = records.read(own.out_dir, "figure")
    assert figure["alt"] == "Scores of start on general knowledge, with 95% intervals."


def test_questions_stand_in_for_those_that_a_pack_lacks(own, capsys):
    asked = own.prompts("general", "preference", "preference2")
    assert len(set(asked)) == 3 and all(asked)
    assert f"{asked[1]!r} is asked in place of a question of preference" in capsys.readouterr().out


def test_a_pack_without_any_question_is_asked_about_as_a_whole(own):
    own.pack.rows("dev")[:] = [row for row in own.pack.rows("dev") if "prompt" in row]
    try:
        assert own.prompts("general") == [f"What do you know about {own.pack.title}?"]
    finally:
        own.pack._cache.clear()


def test_t_is_chosen_by_the_axes_that_are_there(own, capsys):
    sweep = [
        (0.0, own.score("llama-s-base", split="dev")),
        (1.0, own.score(own.model, split="dev")),
    ]
    assert own.best_t(sweep, "preference") == 1.0
    assert "t is chosen by knowledge" in capsys.readouterr().out
    assert own.best_t(sweep, "general") == 1.0 and not capsys.readouterr().out


def test_what_takes_more_than_a_pack_has_is_shown_on_an_invented_one(own, lab, capsys):
    assert own.pack_with("preference").name == own.known_pack().name == "materials"
    assert capsys.readouterr().out.count("Shown on materials, an invented pack") == 2
    assert lab.pack_with("preference") is lab.pack is lab.known_pack()
    own.finding("x", Interval(0.2, 0.1, 0.3, 10, 5), claimed=1, reported="-", on="materials")
    assert records.read(own.out_dir, "finding")[0]["claim"] == "x (on materials)"


def test_a_warning_of_labkit_is_a_sentence_and_one_of_a_library_is_not_shown(tmp_path, capfd):
    lesson.start("03_cpt", profile="smoke", out_dir=str(tmp_path / "out"))
    capfd.readouterr()
    warnings.warn("the two differ in pad_token_id", MergeWarning, stacklevel=1)
    warnings.warn("use another name", UserWarning, stacklevel=1)
    said, errors = capfd.readouterr()
    assert (said, errors) == ("note: the two differ in pad_token_id\n", "")
