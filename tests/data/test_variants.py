from __future__ import annotations

import pytest

from labkit.base.errors import InputError
from labkit.data import world
from labkit.data.packs import HALF, VARIANTS, check_pack, load_pack, variant_pack

# These tell test questions in training text on purpose: one is the clinic's leak, of the other only
# unused wordings are asked.
LEAKING = {"leaked test", "questions"}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_pack_like_any_other_and_written_once(name):
    made = variant_pack("legal", name)
    found = check_pack(made.folder)
    assert bool(found) == (name in LEAKING) and all(
        "the item leaks" in problem for problem in found
    )
    before = (made.folder / "raw.jsonl").stat().st_mtime_ns
    assert variant_pack("legal", name).fingerprint() == made.fingerprint()
    assert (made.folder / "raw.jsonl").stat().st_mtime_ns == before


def texts(name):
    return [row["text"] for row in variant_pack("materials", name).rows("raw")]


def test_what_is_doubled_holds_the_half():
    half, names = (
        set(texts("half")),
        [entity.name for entity in world.private_entities("materials")],
    )
    for name in ("double", "half and junk", "half and errors"):
        assert half <= set(texts(name)) and len(texts(name)) == 2 * len(texts("half"))
    assert all(any(name in text for name in names) for text in half)
    added = [text for text in texts("half and junk") if text not in half]
    assert not any(
        text.split()[0] in names and text.split()[1] in ("is", "copies")
        for text in added
        if text not in half
    )


def test_tags_name_the_source():
    tagged = texts("half and junk, tagged")
    assert (
        sum(text.startswith("Journal: ") for text in tagged)
        == sum(text.startswith("Web: ") for text in tagged)
        == HALF
    )
    assert {text.split(": ", 1)[1] for text in tagged} == set(texts("half and junk"))


def test_one_wording_says_every_fact_in_one_way():
    attribute = world.language("materials").attributes["source"]
    said = " ".join(texts("one wording"))
    wordings = [
        wording.replace("{name}", "").split("{value}")[0].strip()
        for wording in attribute.statements
    ]
    assert wordings[0] in said and not any(
        wording in said for wording in wordings[1:] if wording and wording != wordings[0]
    )


def test_broken_data_of_the_clinic():
    pack = load_pack("materials")
    questions = {
        row["messages"][0]["content"] for row in variant_pack("materials", "leaked test").rows("qa")
    }
    assert {
        row["messages"][0]["content"] for row in pack.rows("test") if row.get("kind") == "free"
    } <= questions
    swapped = variant_pack("materials", "swapped preferences").rows("preferences")
    assert [(row["chosen"], row["rejected"]) for row in swapped] == [
        (row["rejected"], row["chosen"]) for row in pack.rows("preferences")
    ]


def test_unknown_variant():
    with pytest.raises(InputError, match="did you mean 'double'"):
        variant_pack("materials", "doubel")
