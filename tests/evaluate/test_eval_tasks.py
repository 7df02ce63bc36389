"""lm-eval's tasks on a model of labkit become a scorecard; what is lacking is said before."""

from __future__ import annotations

import json

import pytest

from labkit.base.errors import InputError
from labkit.evaluate import answers, scoring
from labkit.models import zoo
from tests.eval_tasks import CHOICES, FORMS, GROUP, write_tasks

WITHOUT = "lm-eval is not installed; pip install -c constraints.txt -e '.[peers]' brings it"


def test_without_lm_eval_the_remedy_is_one_sentence(monkeypatch):
    monkeypatch.setattr(scoring, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="lm-eval, which is not installed: `make peers` brings it"):
        scoring.plan_tasks(["ifeval"])


@pytest.mark.filterwarnings("ignore")
def test_tasks_become_a_scorecard_and_a_log_that_compare_evals_reads(tmp_path):
    pytest.importorskip("lm_eval", reason=WITHOUT)
    names = write_tasks(tmp_path / "tasks", documents=20)
    plan = scoring.plan_tasks(names, tmp_path / "tasks")
    assert plan.told() == []  # everything lies in files
    for model in ("llama-s-base", "llama-s-instruct"):
        scored = scoring.score_tasks(zoo.load(model), plan, log=tmp_path / "log")
        folder = tmp_path / "log" / model
        (told,) = [json.loads(p.read_text("utf-8")) for p in folder.glob("results_*.json")]
        card, found = scored.card, answers.read_logs(folder)[0]
        assert card.axes() == [f"{task} {m}" for task in (*CHOICES, FORMS) for m in MEASURED[task]]
        for task, log in found.items():
            for metric in log.metrics():
                theirs = told["results"][task][f"{metric},none"]
                assert log.score(metric) == theirs
                assert card.interval(f"{task} {metric}").mean == pytest.approx(theirs)
        assert card.interval(f"{FORMS} inst_level_strict_acc").n > 20  # two forms in most
        entities = {item.entity for item in card.items if item.axis.startswith(FORMS)}
        assert len(entities) < 20
    found = answers.compare_evals(tmp_path / "log" / "llama-s-base", folder)
    assert {change.task for change in found.changes} == {GROUP, *CHOICES, FORMS}
    assert not any("prompts differ" in note for note in found.notes)
    assert "to the digit: 16 of 16" in found.notes[-1]


MEASURED = dict.fromkeys(CHOICES, ("acc", "acc_norm")) | {
    FORMS: ("prompt_level_strict_acc", "inst_level_strict_acc")
}


@pytest.mark.filterwarnings("ignore")
def test_what_is_to_be_downloaded_is_said_and_refused_offline(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason=WITHOUT)
    write_tasks(tmp_path, documents=4)
    (tmp_path / "far.yaml").write_text(
        "task: far\ndataset_path: nobody/nothing\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: q\ndoc_to_target: a\ntag: away\n"
    )
    (tmp_path / "scoring.py").write_text(
        (tmp_path / "scoring.py").read_text() + "nltk.data.find('tokenizers/no_such')\n"
    )
    monkeypatch.setattr(zoo, "hub_is_off", lambda: False)
    plan = scoring.plan_tasks(["away"], tmp_path)
    assert plan.told()[0] == "will be downloaded: nobody/nothing (for far)"
    assert "nltk:tokenizers/no_such" in plan.told()[1]
    monkeypatch.setattr(zoo, "hub_is_off", lambda: True)
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    with pytest.raises(InputError, match=r"far: not in the local cache: nobody/nothing.*OFFLINE=1"):
        scoring.plan_tasks(["far"], tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_an_unknown_name_and_a_task_that_fails_are_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason=WITHOUT)
    import lm_eval.tasks

    write_tasks(tmp_path, documents=4)
    real = lm_eval.tasks.TaskManager  # its own tasks take half a minute to read
    monkeypatch.setattr(
        lm_eval.tasks,
        "TaskManager",
        lambda include_path, include_defaults=True: real(
            include_path=include_path, include_defaults=False
        ),
    )
    with pytest.raises(InputError, match=r"--tasks formz: .*did you mean forms"):
        scoring.plan_tasks(["formz"], tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        scoring.plan_tasks([FORMS], tmp_path / "none")
    with pytest.raises(InputError, match="--tasks: no name"):
        scoring.plan_tasks([], tmp_path)
    (tmp_path / "scoring.py").write_text("def process_results(doc, results):\n    return 1 / 0\n")
    (tmp_path / f"{FORMS}.yaml").write_text(
        (tmp_path / f"{FORMS}.yaml").read_text().replace("!function scoring.flat", "mean")
    )
    plan = scoring.plan_tasks([FORMS], tmp_path)
    with pytest.raises(InputError, match=r"--tasks forms: lm-eval stopped \(ZeroDivisionError"):
        scoring.score_tasks(zoo.load("llama-s-instruct"), plan)
