from __future__ import annotations

from collections import Counter

import pytest

from labkit.base import records
from labkit.data import pack_build, packs, world


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_rebuilds_bit_for_bit(domain, tmp_path):
    built = pack_build.build_pack(domain, tmp_path / domain)
    shipped = packs.packs_folder() / domain
    names = sorted(path.name for path in shipped.iterdir())
    assert names == sorted(path.name for path in built.iterdir())
    for name in names:
        assert (built / name).read_bytes() == (shipped / name).read_bytes(), name


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_every_axis_has_150_test_items(domain):
    counts = Counter(row["axis"] for row in packs.load_pack(domain).rows("test"))
    assert set(counts) == set(records.AXES + records.CONTROLS)
    assert min(counts.values()) >= 150


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_no_split_leaks_into_another(domain):
    pack, roles = packs.load_pack(domain), pack_build.splits_of(domain)
    asked = {entity.name for entity in roles["asked"]}
    tested = {entity.name for entity in roles["test"]}
    qa = " ".join(turn["content"] for row in pack.rows("qa") for turn in row["messages"])
    assert not [name for name in tested if name in qa]
    questions = {
        row["messages"][0]["content"]
        for row in pack.rows("dev")
        if "messages" in row and row["axis"] != "general"
    }
    assert not questions & {
        row["messages"][0]["content"] for row in pack.rows("test") if "messages" in row
    }
    knowledge = {row["entity"] for row in pack.rows("test") if row["axis"] == "knowledge"}
    assert knowledge == tested and not asked & tested


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_reasoning_answers_are_right(domain):
    pack, by_name = packs.load_pack(domain), {e.name: e for e in world.private_entities(domain)}
    ordinal = next(key for key, a in world.language(domain).attributes.items() if a.ordinal)
    for row in pack.rows("test"):
        if row.get("kind") == "comparison":
            grades = {name: int(by_name[name].facts[ordinal]) for name in row["choices"]}
            assert row["answer"] == max(grades, key=grades.get) and len(set(grades.values())) == 2
        if row.get("kind") == "exclusion":
            facts = [
                set(by_name[name].facts.items()) for name in row["choices"] if name != row["answer"]
            ]
            assert (facts[0] & facts[1]) - set(by_name[row["answer"]].facts.items())
        if row.get("kind") == "two_hop":
            assert row["answer"] in by_name[by_name[row["entity"]].related].facts.values()


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_every_axis_has_several_kinds(domain):
    kinds = {
        axis: {row["kind"] for row in packs.load_pack(domain).rows("test") if row["axis"] == axis}
        for axis in records.AXES
    }
    assert kinds["knowledge"] == {"cloze", "free", "paraphrased"}
    assert kinds["reasoning"] == {"two_hop", "comparison", "exclusion"}
    assert kinds["instructions"] == {"general", "domain", "combined", "untaught"}
    assert kinds["creativity"] == {"general", "domain"}
