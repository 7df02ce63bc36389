"""Each measure on hand-made scorecards; the real runs are in tests/test_clinic.py and
docs/evidence.md.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import replace

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.data import world
from labkit.data.packs import load_pack
from labkit.diagnose import diagnoses
from labkit.evaluate.scorecards import ItemResult, Scorecard
from labkit.evaluate.scoring import tokenizer_fingerprint
from labkit.models import zoo
from labkit.train import pipeline
from labkit.train.specs import PipelineSpec


@pytest.fixture
def case(instruct, materials):
    return diagnoses.Case(
        instruct, replace(instruct, fingerprint="baseline"), materials, split="dev", profile="smoke"
    )


def give(case, loaded, items):
    case._cards[loaded.fingerprint, tokenizer_fingerprint(loaded.tokenizer)] = Scorecard(
        loaded.name, case.pack.name, case.split, "", items
    )


def items(axis, kind, scores, *, output="", **measures):
    return [
        ItemResult(f"{axis}{kind}{i}", axis, kind, f"e{i // 5}", score, output, {}, measures)
        for i, score in enumerate(scores)
    ]


def verdict(case, name):
    return diagnoses.diagnose(case, [name])[0].verdict


@pytest.mark.parametrize("after,said", [(0.95, "clear"), (0.85, "clear"), (0.4, "flagged")])
def test_a_fall_is_flagged_only_beyond_its_threshold(case, after, said):
    give(case, case.baseline, items("general", "free", [1.0] * 100))
    give(
        case,
        case.model,
        items("general", "free", [1.0] * round(100 * after) + [0.0] * round(100 * (1 - after))),
    )
    assert verdict(case, "general loss") == said


def test_questions_of_preference_training_need_the_checkpoint_before_it(case):
    pairs = items("preference", "truth", [0.0] * 40, answer_nats=-5.0)
    give(case, case.baseline, pairs)
    give(case, case.model, pairs)
    assert verdict(case, "preferences reversed") == "not measured"
    case.before_preferences = case.baseline
    give(case, case.model, items("preference", "truth", [1.0] * 40, answer_nats=-9.0))
    assert (
        verdict(case, "preferences reversed") == "clear"
        and verdict(case, "preferences not learned") == "clear"
    )
    assert verdict(case, "likelihood displacement") == "flagged"
    give(case, case.model, pairs)
    assert verdict(case, "preferences not learned") == "flagged"


def test_fewer_valid_proposals_are_a_loss_however_different_the_samples(case):
    case.before_preferences = case.baseline
    give(case, case.baseline, items("creativity", "domain", [1.0] * 40, output="a b\nc d"))
    give(case, case.model, items("creativity", "domain", [0.0] * 40, output="x y\nz w"))
    result = diagnoses.diagnose(case, ["diversity loss"])[0]
    assert result.verdict == "flagged" and "1.00 before, 1.00 now" in result.found.words


def test_one_fact_in_some_wordings_only_is_inconsistent(case):
    rows = [row for row in case.pack.rows("dev") if row["axis"] == "knowledge"]

    def answered(score):
        return [
            ItemResult(
                row["id"],
                "knowledge",
                row["kind"],
                row["entity"],
                score(row),
                "",
                {},
                {"confidence": 1.0},
            )
            for row in rows
        ]

    give(case, case.model, answered(lambda row: float(row["kind"] == "free")))
    assert (
        verdict(case, "inconsistent answers") == "flagged"
        and verdict(case, "memorised, not extractable") == "clear"
    )
    give(case, case.model, answered(lambda row: float(row["kind"] == "cloze")))
    assert (
        verdict(case, "memorised, not extractable") == "flagged"
        and verdict(case, "miscalibration") == "flagged"
    )
    give(case, case.model, answered(lambda row: 1.0))
    assert (
        verdict(case, "inconsistent answers") == "clear"
        and verdict(case, "miscalibration") == "clear"
    )


def test_contamination_finds_a_leaked_question_and_nothing_in_the_shipped_pack(case):
    from labkit.data.packs import variant_pack

    case.split = "test"
    case.trained_on = case.pack
    assert verdict(case, "contamination") == "clear"
    case.trained_on = variant_pack("materials", "leaked test")
    assert verdict(case, "contamination") == "flagged"


def test_a_rising_loss_is_seen(case):
    falling = [(step, 4 - step / 50) for step in range(100)]
    case.stages = [{"stage": {"kind": "cpt"}, "loss_curve": falling}]
    assert verdict(case, "loss rose") == "clear"
    case.stages = [
        {
            "stage": {"kind": "cpt"},
            "loss_curve": falling + [(100 + k, 2 + k / 10) for k in range(20)],
        }
    ]
    assert verdict(case, "loss rose") == "flagged"


def test_a_model_against_itself_is_clear_of_template_and_prompts(case):
    assert (
        verdict(case, "other tokenizer") == "clear"
        and verdict(case, "questions learned") == "clear"
    )
    assert (
        verdict(case, "wrong place")
        == verdict(case, "barrier")
        == verdict(case, "loss rose")
        == "not measured"
    )


def test_a_real_checkpoint_opens_with_its_history(materials, quick_stage):
    spec = PipelineSpec(
        pack="materials",
        model="llama-s-instruct",
        stages=(quick_stage("cpt"), quick_stage("sft"), quick_stage("dpo")),
    )
    made = pipeline.run_spec(spec)
    case = diagnoses.open_case(
        made[-1], "llama-s-instruct", materials, split="dev", profile="smoke"
    )
    assert [stage["stage"]["kind"] for stage in case.stages] == ["cpt", "sft", "dpo"]
    assert case.before_preferences.fingerprint == zoo.fingerprint_of(made[1].folder)
    assert case.trained_on.fingerprint() == materials.fingerprint()
    results = diagnoses.diagnose(case)
    assert len(results) == len(diagnoses.DIAGNOSES) and all(
        result.as_dict()["remedy"] for result in results
    )
    measured = {result.diagnosis.id for result in results if result.found}
    assert {
        "diversity loss",
        "contamination",
        "scenario lost",
        "questions learned",
    } <= measured and "verbatim memory" not in measured  # it read all sentences there are


def test_sentences_that_were_read_are_told_from_others_about_the_same(case, quick_stage):
    from labkit.data.packs import variant_pack

    case.trained_on = variant_pack("materials", "one wording")
    assert verdict(case, "verbatim memory") == "clear"  # nothing was trained yet
    spec = PipelineSpec(
        pack=str(case.trained_on.folder),
        model="llama-s-instruct",
        stages=(quick_stage("cpt", steps=60, batch_size=32, sources=("raw",)),),
    )
    case.model = pipeline.load_checkpoint(pipeline.run_spec(spec)[-1])
    assert verdict(case, "verbatim memory") == "flagged"


@pytest.fixture
def leaky(materials, tmp_path):
    """A pack whose texts hold eight passwords and whose answers hold an e-mail address."""
    folder = tmp_path / "leaky"
    shutil.copytree(materials.folder, folder)
    told = {"found": {"password or key": 8}, "choice": "keep"}
    card = {"provenance": {"personal_or_confidential_text": told}}
    with (folder / "pack.yaml").open("a") as file:
        file.write(yaml.safe_dump(card))
    rng = random.Random(0)
    texts = [f"The access code of store {n} is {rng.randrange(10**8, 10**9)}." for n in range(8)]
    texts += ["Notes\nSTRICTLY CONFIDENTIAL", "Silk is strong."]
    (folder / "raw.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "summaries.jsonl").unlink()
    chat = world.chat("Whom can I ask?", "Write to ada.fox@example.org today.")
    (folder / "qa.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    return load_pack(folder)


def test_secrets_are_the_values_found_with_what_stands_before_them(leaky):
    secrets = diagnoses.secrets_of(leaky)
    assert len(secrets) == 9 and len({secret.value for secret in secrets}) == 9
    assert secrets[0].before == "The access code of store 0 is " and not secrets[0].asked
    assert (secrets[-1].kind, secrets[-1].before) == ("e-mail address", "Write to ")
    assert [turn["content"] for turn in secrets[-1].asked][-1] == "Whom can I ask?"


@pytest.mark.parametrize(
    "kind,value,same",
    [
        ("password or key", "482109347", "4821"),
        ("e-mail address", "ada.fox@example.org", "ada."),
        ("IBAN", "GB82 WEST 1234 5698 7654 32", "GB82 WEST 12"),
        ("date of birth", "3 May 1970", ""),
    ],
)
def test_alternatives_have_the_form_of_the_secret(kind, value, same):
    secret = diagnoses.Secret(kind, value, "")
    others = diagnoses.others_like(secret, 30)
    assert others == diagnoses.others_like(secret, 30) and value not in others
    assert len(set(others)) == len(others) == 30
    form = re.sub(r"\d", "0", re.sub(r"[a-z]", "x", value))
    for other in others:
        assert other.startswith(same)
        assert re.sub(r"\d", "0", re.sub(r"[a-z]", "x", other)) == form
        assert kind != "e-mail address" or other.endswith("@example.org")


def test_secrets_that_were_read_often_are_drawn_out_and_untouched_models_give_none(
    case, leaky, quick_stage
):
    assert verdict(case, "secrets drawn out") == "not measured"  # there are none in materials
    case = replace(case, trained_on=leaky)
    for name in ("secrets drawn out", "secrets remembered"):
        assert verdict(case, name) == "clear"
    spec = PipelineSpec(
        pack=str(leaky.folder),
        model="llama-s-instruct",
        stages=(quick_stage("cpt", steps=150, batch_size=16, sources=("raw",)),),
    )
    made = pipeline.run_spec(spec)[-1]
    assert made.lineage["personal"] == {"password or key": 8}
    case = replace(case, model=pipeline.load_checkpoint(made))
    for name in ("secrets drawn out", "secrets remembered"):
        result = diagnoses.diagnose(case, [name])[0]
        assert result.verdict == "flagged" and "--mask-personal" in result.as_dict()["remedy"]
    words = diagnoses.diagnose(case, ["secrets drawn out"])[0].found.words
    assert (
        words.startswith("of 9 personal or confidential values tried, of 9 found")
        and "(password or key)" in words
    )
    assert not any(secret.value in words for secret in diagnoses.secrets_of(leaky))
    chats = [one for one in diagnoses.secrets_of(leaky) if one.asked]
    assert not any(one.said for one in diagnoses.draw_out(case.model, chats))  # it was not read


def test_how_many_secrets_are_tried_of_how_many_is_told(case, leaky, monkeypatch):
    monkeypatch.setattr(diagnoses, "SECRETS", 4)
    words = diagnoses.diagnose(replace(case, trained_on=leaky), ["secrets drawn out"])[0]
    assert words.found.words.startswith("of 4 personal or confidential values tried, of 9 found")


def test_exposure_is_the_bits_of_a_rank(case, leaky):
    drawn = diagnoses.draw_out(case.model, diagnoses.secrets_of(leaky), 15)
    ranks = [16 / 2**one.exposure for one in drawn]
    assert all(abs(rank - round(rank)) < 1e-6 and 1 <= round(rank) <= 16 for rank in ranks)
    alone = diagnoses.Secret("password or key", "482109347", "")  # nothing stands before it
    assert 0 <= diagnoses.draw_out(case.model, [alone], 15)[0].exposure <= 4


def test_a_pack_with_one_axis_leaves_the_rest_unmeasured(case, tmp_path):
    shutil.copytree(case.pack.folder, tmp_path / "mine")
    (tmp_path / "mine" / "scenarios.yaml").unlink()
    rows = [row for row in case.pack.rows("dev") if row.get("kind") == "comparison"]
    (tmp_path / "mine" / "eval_dev.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    case.pack = load_pack(tmp_path / "mine")
    measured = {result.diagnosis.id for result in diagnoses.diagnose(case) if result.found}
    assert measured == {"other tokenizer"}


def test_unknown_diagnosis(case):
    with pytest.raises(InputError, match="did you mean 'contamination'"):
        diagnoses.diagnose(case, ["contaminaton"])


def test_a_threshold_needs_the_whole_interval():
    test = diagnoses.BY_ID["general loss"]
    assert not test.flagged(diagnoses.Found(Interval(-0.2, -0.4, -0.05, 9, 9), ""))
    assert test.flagged(diagnoses.Found(Interval(-0.2, -0.3, -0.11, 9, 9), ""))
