"""docs/six-reasons.md is what the records say, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.base.errors import InputError
from labkit.data.published import reasons
from studies.reasons import Cited, Told, write_reasons_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_reasons_page(tmp_path_factory.mktemp("docs") / "six-reasons.md").read_text("utf-8")


def test_the_shipped_page_is_what_the_records_say(written):
    assert (DOCS / "six-reasons.md").read_text("utf-8") == written, "python -m studies reasons"


@pytest.mark.parametrize("reason", reasons(), ids=lambda reason: reason.id)
def test_a_reason_has_its_section_with_every_claim(written, reason):
    section = written.split(f"\n## {reason.number} {reason.title}\n")[1].split("\n## ")[0]
    for head in ("Said", "Reported elsewhere", f"Verdict: {reason.verdict}", "What follows"):
        assert f"**{head}" in section
    for part in reason.parts:
        assert part.says in section
        for bearing in part.claims:
            assert f"| {bearing.claim} |" in section
    assert "(Lu, Luu & Buehler 2025, " in section


def test_links_lead_to_headings_and_pages(written):
    headings = {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^## (.*)$", written, re.MULTILINE)
    }
    anchors = re.findall(r"\]\(#([^)]*)\)", written)
    assert len(anchors) == 6 and set(anchors) <= headings
    assert all((DOCS / name).is_file() for name in re.findall(r"\]\(([\w-]+\.md)\)", written))


def test_the_words_of_the_field_are_explained(written):
    for word in ("Catastrophic forgetting", "Emergent capability", "Scaling threshold"):
        assert f"**{word}.**" in written
    assert "## What merging does and does not reveal about knowledge in a network" in written


def test_a_page_cannot_name_what_was_not_measured_or_cited():
    claim = "SmolLM2-135M: CPT-SFT lowers general ability (everyday items)"
    assert Told()[f"real: {claim}"].startswith("supported, +")
    with pytest.raises(InputError, match="was measured"):
        assert Told()["recipes: SLERP wins"]
    with pytest.raises(InputError, match=r"studies\.yaml: no study 'nobody1900'"):
        assert Cited()["nobody1900"]
