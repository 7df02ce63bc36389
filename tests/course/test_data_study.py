from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.course.labs import data_lab
from labkit.course.labs.data_lab import EXPERIMENTS, Condition
from labkit.data import world
from labkit.data.packs import VARIANTS, variant_pack
from studies import data_evidence


def test_every_condition_reads_a_text_that_exists(materials):
    for experiment in EXPERIMENTS.values():
        for condition in experiment.conditions.values():
            assert condition.corpus == "papers" or condition.corpus in VARIANTS
        assert experiment.claims
    with pytest.raises(InputError, match="did you mean 'junk'"):
        data_lab.experiment("jonk")


@pytest.mark.parametrize(
    "share,corpus", [("1/2", "half and junk"), ("3/4", "junk 3 of 4"), ("7/8", "junk 7 of 8")]
)
def test_junk_has_the_share_it_says_and_is_read_no_less(materials, share, corpus):
    private = {entity.name for entity in world.private_entities("materials")}
    texts = [row["text"] for row in variant_pack("materials", corpus).rows("raw")]
    useful = sum(any(name in text for name in private) for text in texts)
    times = EXPERIMENTS["junk"].conditions[f"{share} junk"].times
    assert useful == 280 and len(texts) == useful * times


def test_a_tag_tells_useful_from_junk(materials):
    texts = [row["text"] for row in variant_pack("materials", "junk 3 of 4, tagged").rows("raw")]
    assert (
        sum(text.startswith("Journal:") for text in texts) == 280
        and sum(text.startswith("Web:") for text in texts) == 840
    )


def test_copies_are_copies(materials):
    texts = [row["text"] for row in variant_pack("materials", "four copies").rows("raw")]
    assert len(texts) == 280 and len(set(texts)) == 70


def test_forms_are_given_equal_tokens(materials):
    conditions = EXPERIMENTS["form"].conditions
    tokens = {
        name: data_lab.steps_of(materials, c) * data_lab._mean_tokens(materials, c.corpus)
        for name, c in conditions.items()
    }
    assert max(tokens.values()) / min(tokens.values()) < 1.02
    assert data_lab.steps_of(materials, Condition("half", times=4)) == 4 * data_lab.STEPS


def test_questions_as_text_use_no_wording_that_is_asked_for(materials):
    asked = {
        row["messages"][0]["content"]
        for row in materials.rows("test")
        if row.get("kind") == "paraphrased"
    }
    text = "\n".join(row["text"] for row in variant_pack("materials", "questions").rows("raw"))
    assert not any(question in text for question in asked)


def test_the_study_writes_page_file_and_figure(tmp_path, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(data_evidence, "EXPERIMENTS", {"wrong facts": EXPERIMENTS["wrong facts"]})
    page = tmp_path / "data.md"
    data = data_evidence.run_data_study(
        profile_name="smoke", page=page, measured=tmp_path, console=Console(quiet=True)
    )
    assert (tmp_path / "data.json").is_file() and (tmp_path / "data.png").is_file()
    assert [row["effect"]["seeds"] for row in data["claims"]] == [2, 2]
    text = page.read_text("utf-8")
    assert (
        all(claim.words in text for claim in EXPERIMENTS["wrong facts"].claims)
        and "2 training seeds" in text
    )
