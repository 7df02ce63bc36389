from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.base.stats import Interval
from labkit.data.published import measured, reported, study
from labkit.design import rules
from labkit.design.designer import design
from labkit.design.rules import CHANGES

ROOT = Path(__file__).resolve().parents[2]


def fired(**choices) -> set[str]:
    return {advice.rule.id for advice in rules.advise(design(**choices))}


def test_there_are_enough_and_each_has_a_source():
    assert len(rules.RULES) >= 20 and len(rules.BY_ID) == len(rules.RULES)
    for rule in rules.RULES:
        assert rule.measured or rule.denies or rule.reported or rule.studies or rule.counted, (
            rule.id
        )


def test_every_source_exists():
    for rule in rules.RULES:
        assert all(measured(claim)["effect"] for claim in (*rule.measured, *rule.denies))
        assert all(
            re.search(r"\(Lu, Luu & Buehler 2025, .+\)$", reported(claim))
            for claim in rule.reported
        )
        assert all({"cite", "size", "found"} <= study(key).keys() for key in rule.studies)
        assert not rule.remedy or rule.remedy in CHANGES


# One design per rule that makes it speak, and one that keeps it silent (None: it concerns every
# design that is trained).
CASES = {
    "cpt forgets": ({"replay": 0.0}, {}),
    "replay keeps": ({}, {"replay": 0.0}),
    "replay is cheap": ({"replay": 0.05}, {}),
    "rate too high": ({"rates": 2.0}, {}),
    "junk costs": ({}, {"sources": ("summaries",)}),
    "wrong facts cost": ({}, {"sequence": "sft"}),
    "distilled unused": ({"sources": ("raw",)}, {}),
    "questions as text": ({"sources": ("raw", "qa")}, {}),
    "one wording": ({}, {"sequence": "sft"}),
    "duplicates": ({}, {"sequence": "sft"}),
    "many epochs": ({}, {"lengths": 0.2}),
    # a pack of labkit's own invention has another study
    "read too rarely": (
        {"pack": "elements", "changes": {1: {"steps": 100}}},
        {"changes": {1: {"steps": 2}}},
    ),
    "no answers taught": ({"sequence": "cpt"}, {}),
    "sft before cpt": ({"sequence": "sft-cpt"}, {}),
    "facts by sft alone": ({"sequence": "sft"}, {}),
    "few conversations": ({}, {"sequence": "cpt"}),
    "dpo needs sft": ({"sequence": "cpt-dpo"}, {"sequence": "cpt-sft-dpo"}),
    "dpo costs instructions": ({"sequence": "cpt-sft-dpo"}, {"sequence": "cpt-sft-orpo"}),
    "dpo or orpo": ({"sequence": "cpt-sft-orpo"}, {}),
    "preferences narrow": ({"sequence": "cpt-sft-orpo"}, {}),
    "chosen less likely": ({"sequence": "cpt-sft-dpo"}, {}),
    "base obeys nothing": ({"start": "base"}, {}),
    "base or instruct": ({}, {"sequence": "sft"}),
    "lora forgets less": ({"lora": True}, {}),
    "lora learns less": ({"lora": True}, {}),
    "all weights of a large model": ({"model": "Llama-3.1-8B"}, {}),
    "merge back": ({"replay": 0.0}, {"replay": 0.0, "merge": "slerp"}),
    "merge joins": ({"merge": "slerp"}, {}),
    "merge costs knowledge": ({"merge": "slerp"}, {}),
    "no synergy on plain axes": ({"merge": "lerp"}, {}),
    "slerp or lerp": ({"merge": "slerp"}, {"merge": "lerp"}),
    "t is chosen": ({"merge": "slerp"}, {}),
    "far parents": ({"merge": "slerp", "start": "base"}, {"merge": "slerp"}),
    "one seed": (
        {"profile": "study"},
        {"sequence": "", "start": "base", "merge": "slerp", "merge_with": "llama-s"},
    ),  # a spec trains one seed at every profile
}


@pytest.mark.parametrize("rule", CASES)
def test_rule_speaks_where_it_should_and_only_there(rule):
    speaks, silent = CASES[rule]
    assert rule in fired(**speaks) and rule not in fired(**silent)


def test_rules_about_small_packs(tmp_path):
    import json
    import shutil

    from labkit.data.packs import load_pack, packs_folder

    folder = tmp_path / "small"
    shutil.copytree(packs_folder() / "materials", folder)
    for file, rows in (("raw.jsonl", 20), ("summaries.jsonl", 5), ("eval_test.jsonl", 30)):
        lines = (folder / file).read_text("utf-8").splitlines()[:rows]
        (folder / file).write_text("\n".join(lines) + "\n", "utf-8")
    assert json.loads((folder / "raw.jsonl").read_text("utf-8").splitlines()[0])["text"]
    assert load_pack(folder)
    found = fired(pack=str(folder))
    assert {"little text", "few items"} <= found and not {"little text", "few items"} & fired()
    assert set(CASES) | {"little text", "few items"} == set(rules.BY_ID)


def test_strength_follows_from_the_evidence():
    said = {rule.id: rules.strength(rule) for rule in rules.RULES}
    assert said["cpt forgets"] == "strong"  # measured here, reported by the paper, seen by a study
    assert said["merge costs knowledge"] == "moderate"  # measured here only
    assert said["preferences narrow"] == "disputed"  # a study says so, labkit measured the opposite
    assert said["base or instruct"] == "weak"  # measured, not distinguishable
    assert (
        said["no synergy on plain axes"] == "weak"
    )  # of the four claims it denies, one was contradicted and three not distinguishable
    assert (
        said["merge joins"] == "moderate"
    )  # measured here; what the paper reports has no LERP control and only belongs beside it


def test_applicability_tells_size_figure_and_verdict():
    advice = next(a for a in rules.advise(design(replay=0.0)) if a.rule.id == "cpt forgets")
    row = measured(advice.rule.measured[0])
    assert (
        f"measured at 1 million parameters: {Interval(**row['effect']).mean:+.2f}"
        in advice.applicability
    )
    assert (
        "supported" in advice.applicability
        and "reported at 1.7 to 8 billion parameters" in advice.applicability
    )
    assert "(405M and 10B)" in advice.applicability
    assert [a.strength for a in rules.advise(design())] == sorted(
        (a.strength for a in rules.advise(design())), key=rules.STRENGTHS.index
    )


def test_size_note_says_which_evidence_is_near():
    assert "nearest evidence: 1 million" in rules.size_note(design())
    assert "nearest evidence: 1.7 to 8 billion" in rules.size_note(design(model="Llama-3.1-8B"))
    assert "neither may carry over" in rules.size_note(design(model="smollm2-135m"))


def test_the_page_names_every_change_under_its_sort():
    page = (ROOT / "docs" / "spec.md").read_text("utf-8")
    for sort in dict.fromkeys(change.sort for change in CHANGES.values()):
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {sort} |"))
        named = re.findall(r"`([^`]+)`", row)
        assert set(named) == {name for name, change in CHANGES.items() if change.sort == sort}
