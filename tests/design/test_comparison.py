from __future__ import annotations

import re

import pytest
from pypdf import PdfReader

from labkit.base.errors import InputError, SpecError
from labkit.base.records import AXES, CONTROLS
from labkit.base.store import Store
from labkit.data.packs import load_pack
from labkit.design import comparison, rules
from labkit.design.designer import design, is_local, problems
from labkit.train.specs import PipelineSpec, Stage, Why, save_spec

QUICK = (
    Stage(kind="cpt", learning_rate=1e-3, steps=3, batch_size=8),
    Stage(kind="sft", learning_rate=1e-3, steps=3, batch_size=8),
)


@pytest.fixture
def quick():
    """Three designs of a few steps that share their first two stages."""
    spec = PipelineSpec(
        pack="materials",
        model="llama-s-instruct",
        stages=QUICK,
        profile="smoke",
        why=Why(approach="read, then <b>answer</b> | both"),
    )
    others = [rules.changed(spec, name) for name in ("merge back", "add DPO")]
    return comparison.candidates_of(spec, others)


def test_table_has_the_lesson_rows_and_the_learner_s_words(quick):
    found = comparison.describe(quick)
    assert [head for head, _ in found.rows] == list(comparison.HEADS)
    assert all(len(cells) == 3 and all(cells) for _, cells in found.rows)
    assert found.rows[0][1][0][0] == "read, then <b>answer</b> | both"
    assert (
        "differs in: the result merged with the start model by SLERP at t=0.5"
        in found.rows[0][1][1]
    )


def test_alternatives_name_what_is_new_and_what_is_gone():
    spec = design(sequence="cpt-sft", replay=0.0)
    found = comparison.describe(comparison.candidates_of(spec, [rules.changed(spec, "replay")]))
    risks = dict(found.rows)["Potential risks"]
    assert any("CPT without replay" in line for line in risks[0])
    assert any(line.startswith("no longer: CPT without replay") for line in risks[1])


def test_trains_all_once_and_pairs_with_the_first(quick, tmp_path):
    stages = []
    found = comparison.train_and_score(
        comparison.describe(quick),
        store=Store(tmp_path),
        progress=lambda at: stages.append((at.stage, at.step)),
    )
    assert [stage for stage, step in stages if step == 1] == [
        "cpt",
        "sft",
        "dpo",
    ]  # shared stages were trained once
    assert set(found.measured.cards) == {
        "start model",
        "Your design",
        "Alternative 1",
        "Alternative 2",
    }
    told = {(d.candidate, d.axis) for d in found.measured.differences}
    assert told == {(f"Alternative {i}", axis) for i in (1, 2) for axis in AXES + CONTROLS}
    assert all(
        d.verdict in ("higher", "lower", "not distinguishable") for d in found.measured.differences
    )


def test_exports_escape_and_hold_the_same_words(quick, tmp_path):
    found = comparison.train_and_score(comparison.describe(quick), store=Store(tmp_path / "store"))
    markdown, html, pdf = comparison.export(found, tmp_path / "out")
    text = markdown.read_text("utf-8")
    assert r"read, then &lt;b&gt;answer&lt;/b&gt; \| both" in text and "## Measured" in text
    page = html.read_text("utf-8")
    assert "<b>answer</b>" not in page and "&lt;b&gt;answer&lt;/b&gt;" in page
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    printed = " ".join(" ".join(page.extract_text() for page in PdfReader(pdf).pages).split())
    assert "Suitable scenarios" in printed and "not distinguishable" in printed


def test_reads_files_and_says_what_differs(tmp_path):
    spec = design(sequence="cpt-sft")
    for name, other in {"mine": spec, "theirs": design(sequence="cpt-sft", replay=0.5)}.items():
        save_spec(other, tmp_path / f"{name}.yaml")
    mine, theirs = comparison.read_candidates([tmp_path / "mine.yaml", tmp_path / "theirs.yaml"])
    assert (
        mine.choice == ""
        and theirs.choice == "cpt replay: 0.5 (not 0.25); sft replay: 0.5 (not 0.25)"
    )


def test_what_differs_is_said_in_few_words():
    mine = design()
    assert comparison.difference_in_words(mine, mine) == ""
    assert (
        comparison.difference_in_words(mine, design(merge="slerp"))
        == "merge: slerp at t=0.5 (not none)"
    )
    assert (
        comparison.difference_in_words(mine, design(sequence="cpt-sft-dpo"))
        == "stages: cpt-sft-dpo (not cpt-sft)"
    )
    assert (
        comparison.difference_in_words(mine, design(start="base"))
        == "model: llama-s-base (not llama-s-instruct)"
    )


@pytest.mark.parametrize(
    "other,words",
    [
        (design(pack="legal"), "designs are compared on one pack"),
        (design(profile="smoke"), "compare at one profile"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(tmp_path, other, words):
    save_spec(design(), tmp_path / "a.yaml")
    save_spec(other, tmp_path / "b.yaml")
    with pytest.raises(SpecError, match=words):
        comparison.read_candidates([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    with pytest.raises(SpecError, match="at least two designs"):
        comparison.read_candidates([tmp_path / "a.yaml"])


# --- alternatives -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"sequence": "cpt-sft-dpo", "merge": "slerp"},
        {"start": "base"},
        {"sequence": "sft"},
        {"replay": 0.0},
        {"lora": True},
    ],
)
def test_proposals_differ_in_one_choice_and_can_run(choices):
    spec = design(**choices)
    proposed = rules.propose(spec)
    assert len(proposed) == 2 and len({other.sort for other in proposed}) == 2
    for other in proposed:
        assert other.sort in rules.SORTS and ("measured at" in other.why or "reported" in other.why)
        assert other.spec != spec and other.spec.pack == spec.pack and other.spec.seed == spec.seed
        assert is_local(other.spec.model) and problems(other.spec) == []


@pytest.mark.parametrize("name", rules.CHANGES)
def test_every_change_changes_some_design(name):
    designs = [
        design(**choices)
        for choices in (
            {},
            {"replay": 0.0},
            {"sequence": "cpt-sft-dpo", "merge": "slerp"},
            {"sequence": "cpt-sft-orpo"},
            {"start": "base"},
            {"sequence": "sft"},
            {"sequence": "cpt"},
            {"lora": True},
            {"sources": ("raw",)},
            {"pack": "elements", "lengths": 0.1},
            {"model": "mistral-s"},
        )
    ]
    spec = next(spec for spec in designs if name in rules.possible(spec))
    other = rules.changed(spec, name)
    assert other.spec != spec
    assert re.search(r"It rests on: (measured|reported) at", other.why)


def test_a_change_that_changes_nothing_is_refused():
    with pytest.raises(InputError, match="has that already"):
        rules.changed(design(), "no merge")
    with pytest.raises(InputError, match="did you mean 'merge back'"):
        rules.changed(design(), "merge bak")


def test_alternatives_change_family_and_size_and_keep_a_stage_of_one_s_own():
    spec = design(changes={1: {"steps": 7}})
    other = rules.changed(spec, "Mistral family")
    assert other.spec.model == "mistral-s-instruct" and other.spec.stages == spec.stages
    assert other.choice.endswith("mistral-s-instruct in place of llama-s-instruct")
    assert [rules.changed(spec, f"{size} model").spec.model for size in ("smaller", "larger")] == [
        "llama-xs-instruct",
        "llama-m-instruct",
    ]
    large = design(model="Mistral-7B-v0.3", start="base", changes={1: {"steps": 7}})
    small = rules.changed(large, "smaller model")
    assert small.spec.model == "HuggingFaceTB/SmolLM-1.7B" and small.spec.stages[0].steps == 7
    assert "0.3 to 10 million parameters" in small.why and "larger model" not in rules.possible(
        large
    )
    real = rules.changed(design(model="SmolLM-1.7B"), "smaller model")
    assert real.spec.model == "smollm2-135m-instruct" and all(s.lora for s in real.spec.stages)
    assert "stages that labkit proposes for that size" in real.choice


def test_a_smaller_set_and_twice_the_text_are_packs_with_the_same_test_items(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    whole = load_pack("legal")
    for name, factor in (("curated smaller set", 0.5), ("twice the raw text", 2)):
        made = load_pack(rules.changed(design(pack="legal"), name).spec.pack)
        assert len(made.rows("raw")) == factor * len(whole.rows("raw"))
        assert made.fingerprint("dev", "test", "qa") == whole.fingerprint("dev", "test", "qa")
    kept = [row["text"] for row in made.rows("raw")]
    assert {row["text"] for row in whole.rows("raw")} < set(kept)
    assert "twice the raw text" not in rules.possible(design(pack="elements"))


def test_near_copies_go_before_the_better_half(tmp_path):
    import shutil

    from labkit.data.packs import packs_folder

    folder = tmp_path / "doubled"
    shutil.copytree(packs_folder() / "legal", folder)
    lines = (folder / "raw.jsonl").read_text("utf-8").splitlines()[:20]
    (folder / "raw.jsonl").write_text("\n".join([*lines, *lines]) + "\n", "utf-8")
    assert sorted(rules._better_half(load_pack(folder))) == sorted(
        rules._line(row) for row in load_pack("legal").rows("raw")[:20]
    )


# --- what it takes, and whose words ---------------------------------------------------------------


def test_models_on_the_hub_are_planned_on_cards_with_money():
    spec = design(model="Llama-3.1-8B", merge="slerp")
    told = comparison.resources(spec, price=2.0)
    assert told[0].startswith("8,030.3 million") and told[-1] == "a merge: no training"
    assert told[1].startswith("tokens: estimated ") and "H100" in told[2]
    assert "per GPU-hour" in told[4] and "per GPU-hour" not in " ".join(comparison.resources(spec))
    small = " ".join(comparison.resources(spec, "RTX 4090"))
    assert "RTX 4090" in small
    with pytest.raises(InputError, match="unknown GPU"):
        comparison.resources(spec, "H1000")


def test_cells_without_the_learner_s_words_are_named_once_per_design():
    words = Why(approach="a", benefits="b", risks="c", suits="d", matters="units sink a study")
    spec = design().model_copy(update={"why": words})
    found = comparison.describe(comparison.candidates_of(spec, [rules.changed(spec, "base start")]))
    assert f"{comparison.MATTERS}: units sink a study" in dict(found.rows)[comparison.HEADS[-1]][0]
    general = [told for told in found.notes if "only general advice" in told]
    assert len(general) == 1 and general[0].startswith("Alternative 1 holds")
    assert "why.matters" in general[0]
    approach = dict(found.rows)["Approach"][1]
    assert any("an instruct start follows instructions better" in line for line in approach)


def test_packs_with_the_same_test_items_are_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    spec = design()
    save_spec(spec, tmp_path / "mine.yaml")
    save_spec(rules.changed(spec, "curated smaller set").spec, tmp_path / "less.yaml")
    _, less = comparison.read_candidates([tmp_path / "mine.yaml", tmp_path / "less.yaml"])
    assert less.choice.startswith("data: materials-curated")
