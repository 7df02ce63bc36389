"""Two sample logs of lm-eval are paired by document; what does not count is counted and told."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzzing import as_json, broken, often
from hypothesis import given
from hypothesis import strategies as st

from labkit.base.errors import InputError, LabkitError
from labkit.evaluate import answers

LOGS = Path(__file__).parents[2] / "docs" / "compare-evals"


def sample(number: int, score, *, metric: str = "acc", **more) -> dict:
    """A line of lm-eval's log, as 0.4.13 writes it."""
    doc = more.pop("doc", {"question": f"What is {number}?"})
    prompt = more.pop("prompt", f"Question: {number}")
    return {
        "doc_id": number,
        "doc": doc,
        "target": "0",
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": " it"}},
        "resps": [[["-1.0", "False"]]],
        "filtered_resps": [["-1.0", "False"]],
        "filter": "none",
        "metrics": [metric],
        "doc_hash": answers._hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": answers._hash(prompt),
        "target_hash": answers._hash("0"),
        metric: score,
        **more,
    }


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def logs(tmp_path):
    """Writes BEFORE and AFTER, and compares them."""

    def compare(before: list[dict], after: list[dict], **more) -> answers.EvalComparison:
        return answers.compare_evals(
            write(tmp_path / "before.jsonl", before), write(tmp_path / "after.jsonl", after), **more
        )

    return compare


def test_scores_are_those_that_lm_eval_reported_for_the_same_samples():
    """What lm-eval 0.4.13 wrote, with its own results beside: means, lists of instructions and a
    group of tasks.
    """
    checked = []
    for folder in sorted(LOGS.iterdir()):
        told = json.loads(next(folder.glob("results_*.json")).read_text("utf-8"))["results"]
        found, _ = answers.read_logs(folder)
        for task, log in found.items():
            for metric in log.metrics():
                assert log.score(metric) == told[task][f"{metric},none"]
                checked.append(metric)
    assert {"acc", "acc_norm", "prompt_level_strict_acc", "inst_level_strict_acc"} == set(checked)
    compared = answers.compare_evals(LOGS / "llama-s-base", LOGS / "llama-s-instruct")
    assert compared.notes == (
        "scores that agree with lm-eval's own results to the digit: 16 of 16",
    )
    group = next(change for change in compared.changes if change.task == "statements")
    assert group.before == pytest.approx(told_of("llama-s-base", "statements", "acc"), rel=1e-12)
    assert group.difference.n == 80


def told_of(model: str, task: str, metric: str) -> float:
    path = next((LOGS / model).glob("results_*.json"))
    return json.loads(path.read_text("utf-8"))["results"][task][f"{metric},none"]


def test_the_page_shows_what_the_command_says():
    page = (LOGS.parent / "compare-evals.md").read_text("utf-8")
    compared = answers.compare_evals(LOGS / "llama-s-base", LOGS / "llama-s-instruct")
    assert str(compared) in page and all(note in page for note in compared.notes)
    for field in answers.CLUSTER_FIELDS:
        assert f"`{field}`" in page


def test_a_gain_is_seen_a_draw_is_not_and_a_fall_of_bits_is_better(logs):
    rng = random.Random(0)
    before = [sample(i, 0.0) for i in range(200)]
    gained = logs(before, [sample(i, float(i % 4 == 0)) for i in range(200)])
    (change,) = gained.changes
    assert change.verdict == "better" and change.difference.mean == 0.25
    mixed = [sample(i, float(rng.random() < 0.5)) for i in range(200)]
    other = [sample(i, float(rng.random() < 0.5)) for i in range(200)]
    (change,) = logs(mixed, other).changes
    assert change.verdict == "not distinguishable" and change.power.detectable > 0.05
    assert change.more == pytest.approx(3 * 200, rel=0.1)  # half of it takes four times as many
    (change,) = logs(before, before).changes
    assert (
        change.power is None
        and change.more is None
        and "no sample differs" in str(logs(before, before))
    )
    bits = [sample(i, [-100.0 - i, 50 + i], metric="bits_per_byte") for i in range(40)]
    fewer = [sample(i, [-90.0 - i, 50 + i], metric="bits_per_byte") for i in range(40)]
    (change,) = logs(bits, fewer).changes
    total, size = sum(100 + i for i in range(40)), sum(50 + i for i in range(40))
    assert change.before == pytest.approx(total / size / math.log(2), rel=1e-12)
    assert change.difference.mean == pytest.approx(-400 / size / math.log(2))
    assert change.verdict == "better"


def test_questions_about_one_subject_are_drawn_together(logs):
    """Whole subjects gain or fall: single questions would seem far surer than ten subjects are."""

    def rows(gains: bool) -> list[dict]:
        return [
            sample(i, float(gains and i // 20 % 3 > 0), doc={"subject": i // 20, "question": i})
            for i in range(200)
        ]  # fmt: skip

    (clustered,) = logs(rows(False), rows(True)).changes
    (alone,) = logs(rows(False), rows(True), cluster="doc_id").changes
    assert (clustered.difference.clusters, alone.difference.clusters) == (10, 200)
    width = clustered.difference.high - clustered.difference.low
    assert width > 3 * (alone.difference.high - alone.difference.low)
    (by_name,) = logs(rows(False), rows(True), cluster="subject").changes
    assert by_name.difference == clustered.difference
    with pytest.raises(InputError, match="--cluster subjct: no document has this field; did you"):
        logs(rows(False), rows(True), cluster="subjct")
    few = logs(rows(False)[:60], rows(True)[:60])
    assert any("3 different values of subject" in note for note in few.notes)


def test_several_looks_are_corrected_and_what_is_visible_grows_with_them(logs):
    rng = random.Random(1)

    def rows(shift: float, metrics: int) -> list[dict]:
        return [
            sample(i, 0.0) | {"metrics": [f"m{k}" for k in range(metrics)]}
            | {f"m{k}": float(rng.random() < 0.4 + shift * (k == 0)) for k in range(metrics)}
            for i in range(300)
        ]  # fmt: skip

    before, after = rows(0.0, 12), rows(0.1, 12)
    many = logs(before, after).changes
    alone = logs(
        [{**row, "metrics": ["m0"]} for row in before],
        [{**row, "metrics": ["m0"]} for row in after],
    ).changes[0]
    assert len(many) == 12 and many[0].difference == alone.difference
    assert alone.p < many[0].p <= min(1, 12 * alone.p) * (1 + 1e-9)
    assert many[0].power.detectable > 1.2 * alone.power.detectable


def test_what_is_not_paired_is_counted_and_told(logs):
    before = [sample(i, 1.0) for i in range(20)]
    after = [sample(i, 1.0) for i in range(3, 22)]
    after[0] = sample(3, 0.0, doc={"question": "another"})
    after[1] = sample(4, 0.0, prompt="<|user|>Question: 4")
    after[2] = sample(5, 0.0, target_hash="other")
    after += [sample(6, 1.0), sample(7, 0.0)]
    found = logs(before, after)
    told = "\n".join(found.notes)
    assert found.changes[0].difference.n == 20 - 3 - 1 - 1
    assert "before.jsonl only: 4 (first: doc_id 0)" in told
    assert "after.jsonl only: 3" in told and "another document: 1" in told
    assert "target_hash): 1; left out" in told
    assert "prompts differ in 1 of 15 pairs" in told
    assert "under the same filter: 2, of them 1 with another score" in told
    assert "no results_DATE.json" in told


def test_filters_instructions_and_corpus_measures(logs):
    def rows(right: float) -> list[dict]:
        found = []
        for i in range(12):
            for filter in ("strict", "flexible"):
                found.append(sample(i, right, metric="exact_match", filter=filter))
                found[-1] |= {"metrics": ["exact_match", "f1", "perplexity"], "f1": [0, 1]}
                found[-1]["perplexity"] = -3.0
        return found

    found = logs(rows(0.0), rows(1.0))
    assert {change.metric for change in found.changes} == {
        "exact_match,strict",
        "exact_match,flexible",
    }
    told = "\n".join(found.notes)
    assert "f1,strict is left out: lm-eval makes its figure of all answers together" in told
    assert "perplexity,flexible is left out" in told
    several = [sample(i, [True, False, i % 2 == 0], metric="inst_level") for i in range(30)]
    (change,) = logs(several, several).changes
    assert change.difference.n == 90 and change.difference.clusters == 30
    assert change.before == 45 / 90
    gaps = [sample(i, math.nan if i < 2 else 1.0) for i in range(30)]
    found = logs(gaps, [sample(i, 0.0) for i in range(30)])
    assert found.changes[0].difference.n == 28
    assert any("samples without a number: 2" in note for note in found.notes)


def test_logs_of_older_versions_without_hashes_are_paired_by_number(logs):
    def rows(right: float) -> list[dict]:
        return [{"doc_id": i, "target": "0", "acc": right} for i in range(10)]

    found = logs(rows(0.0), rows(1.0))
    assert found.changes[0].difference.n == 10
    assert any("paired by doc_id" in note for note in found.notes)
    assert any("whether both had the same prompt: 10" in note for note in found.notes)


def test_folders_hold_several_tasks_and_the_latest_run_counts(tmp_path):
    first, second = "2026-01-01T10-00-00.000001", "2026-01-02T10-00-00.000001"
    for side, right in (("before", 0.0), ("after", 1.0)):
        folder = tmp_path / side / "model"
        folder.mkdir(parents=True)
        for task in ("a_task", "b_task"):
            rows = [sample(i, right) for i in range(10)]
            write(folder / f"samples_{task}_{second}.jsonl", rows)
            told = {"results": {task: {"acc,none": right}}, "versions": {task: side}}
            (folder / f"results_{second}.json").write_text(json.dumps(told))
        write(folder / f"samples_a_task_{first}.jsonl", [sample(i, 0.5) for i in range(10)])
    write(tmp_path / "after" / "model" / f"samples_c_task_{first}.jsonl", [sample(0, 1.0)])
    found = answers.compare_evals(tmp_path / "before", tmp_path / "after")
    assert [(c.task, c.before, c.after) for c in found.changes] == [
        ("a_task", 0.0, 1.0),
        ("b_task", 0.0, 1.0),
    ]
    told = "\n".join(found.notes)
    assert "a_task was run 2 times" in told and "c_task is in" in told
    assert "b_task: the version of the task differs: before and after" in told
    assert "agree with lm-eval's own results to the digit: 2 of 2" in told
    broken = {"results": {"b_task": {"acc,none": 0.25}}}
    (tmp_path / "before" / "model" / f"results_{second}.json").write_text(json.dumps(broken))
    told = "\n".join(answers.compare_evals(tmp_path / "before", tmp_path / "after").notes)
    assert "lm-eval's own results say 0.25, and these samples make 0.0" in told
    (tmp_path / "before" / "model" / f"results_{second}.json").write_text('{"results": 3}')
    with pytest.raises(InputError, match="not what lm-eval writes as results"):
        answers.compare_evals(tmp_path / "before", tmp_path / "after")


def test_what_cannot_be_read_is_one_sentence(tmp_path, logs):
    with pytest.raises(InputError, match=r"before\.jsonl:1: doc_id: missing"):
        logs([{"text": "a line of something else"}], [sample(0, 1.0)])
    with pytest.raises(InputError, match="no document is in both"):
        logs([sample(0, 1.0)], [sample(0, 1.0, doc={"question": "another"})])
    with pytest.raises(InputError, match=r"no metric is in both.*in before\.jsonl only|only"):
        logs([sample(0, 1.0)], [sample(0, 1.0, metric="other")])
    (tmp_path / "broken.jsonl").write_text('{"doc_id": 0,\n{"doc_id": 1}\n')
    with pytest.raises(InputError, match=r"broken\.jsonl:1"):
        answers.compare_evals(tmp_path / "broken.jsonl", tmp_path / "broken.jsonl")
    with pytest.raises(InputError, match="no such file or folder; write one with lm_eval"):
        answers.compare_evals(tmp_path / "none.jsonl", tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no samples_\*\.jsonl in this folder"):
        answers.compare_evals(tmp_path / "empty", tmp_path / "empty")
    with pytest.raises(InputError, match="give two files or two folders"):
        answers.compare_evals(tmp_path / "before.jsonl", tmp_path / "empty")


@pytest.mark.parametrize(
    "field,value",
    [("metrics", 5), ("metrics", [["acc"]]), ("doc_hash", ["x"]), ("filter", {}), ("doc_id", [1])],
)
def test_a_field_of_another_kind_is_named_with_its_line(logs, field, value):
    odd = [sample(0, 1.0), {**sample(1, 1.0), field: value}]
    with pytest.raises(InputError, match=rf"before\.jsonl:2: {field}: expected"):
        logs(odd, odd)


@pytest.mark.parametrize("score", [math.inf, 10**400, 1e200, None])
def test_a_score_that_cannot_be_summed_up_is_told_with_its_line(logs, score):
    rows = [sample(i, 1.0) for i in range(9)]
    found = logs([*rows, sample(9, score)], [*rows, sample(9, 0.0)])
    assert found.changes[0].difference.n == 9
    assert any("without a number: 1 (first: " in n and "before.jsonl:10" in n for n in found.notes)


def test_half_a_character_does_no_harm(logs, tmp_path):
    rows = [sample(i, 1.0, filtered_resps=["\ud83d"], doc={"group": f"\ud83d{i}"}) for i in (0, 1)]
    found = logs(rows, rows)
    str(found).encode()
    log = answers.read_logs(tmp_path / "before.jsonl")[0]
    answers.score_logs(list(log.values()), "m").card.save(tmp_path / "card.json")


def test_sums_and_plain_numbers_are_not_mixed(logs):
    def bits(i, value):
        return sample(i, value, metric="bits_per_byte") | {"acc": 1.0}

    both = {"metrics": ["bits_per_byte", "acc"]}
    sums = [bits(i, [-2.0, 5]) | both for i in range(9)]
    plain = [bits(i, 0.7) | both for i in range(9)]
    for odd, words in (([plain[0], *sums[1:]], "and others a plain number"),
                       (plain, "or another kind, in the two runs: 9 of 9")):  # fmt: skip
        found = logs(sums, odd)
        assert [change.metric for change in found.changes] == ["acc"]
        assert any("bits_per_byte" in note and words in note for note in found.notes)


def test_instructions_of_another_number_are_left_out_and_told(logs):
    rows = [sample(i, [True, False], metric="inst") for i in range(9)]
    found = logs(rows, [sample(0, [True], metric="inst"), *rows[1:]])
    assert found.changes[0].difference.n == 16
    assert any("in the two runs: 1 of 9 (first: doc_id 0); left out" in n for n in found.notes)


def test_a_field_that_cannot_cluster_is_told(logs):
    rows = [sample(i, 1.0, doc={"q": i, "tags": [i]}) for i in range(9)]
    assert any("--cluster tags is not used" in n for n in logs(rows, rows, cluster="tags").notes)
    part = [sample(i, 1.0, doc={"q": i, "tags": [i] if i < 2 else f"{i}"}) for i in range(9)]
    assert any("in tags: 2 of 9; each" in n for n in logs(part, part, cluster="tags").notes)


def test_a_thousand_samples_in_seconds_without_torch(tmp_path):
    rng = random.Random(2)
    for side in ("before", "after"):
        rows = [
            sample(i, float(rng.random() < 0.5))
            | {"metrics": ["acc", "acc_norm"], "acc_norm": float(rng.random() < 0.6)}
            for i in range(1000)
        ]
        write(tmp_path / f"{side}.jsonl", rows)
    code = (
        "import sys, pathlib; from labkit.evaluate.answers import compare_evals; "
        f"found = compare_evals(*[pathlib.Path({str(tmp_path)!r}) / f for f in "
        "('before.jsonl', 'after.jsonl')]); "
        "print(found.samples, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    began = time.perf_counter()
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.strip() == "(1000, 1000) []"
    assert time.perf_counter() - began < 10


SOUND = tuple(
    [
        sample(i, 1.0, doc={"subject": "a", "n": i}) for i in range(3)
    ]
    + [sample(3, [True, False], metric="inst"), sample(4, [-3.0, 4], metric="bits_per_byte")]
)  # fmt: skip


@given(st.lists(broken(SOUND).map(as_json), min_size=1, max_size=6).map("\n".join), st.booleans())
@often(150)
def test_a_log_is_compared_or_refused_in_one_sentence(tmp_path_factory, text, twice):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "log.jsonl"
    path.write_bytes(text.encode(errors="surrogatepass"))
    other = path if twice else write(folder / "sound.jsonl", list(SOUND))
    try:
        found = answers.compare_evals(other, path)
    except LabkitError as error:
        assert str(error) and "\n" not in str(error)
        return
    str(found).encode()
    for change in found.changes:
        assert not math.isnan(change.difference.mean)
        assert change.verdict and change.difference.n > 0
