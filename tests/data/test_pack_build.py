from __future__ import annotations

from collections import Counter

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.data import pack_build, packs, world

REAL = tuple(pack_build.SOURCES)


@pytest.mark.parametrize("domain", (*world.DOMAINS, *REAL))
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


# --- packs of real text -----------------------------------------------------------------------


def entities_trained_on(pack):
    return {row["source"] for row in pack.rows("qa")}


@pytest.mark.parametrize("name", REAL)
def test_a_real_pack_says_that_it_is_real_and_an_invented_one_that_it_is_not(name):
    real, invented = packs.load_pack(name), packs.load_pack("materials")
    assert not real.invented and "invented" not in real.title
    assert invented.invented and invented.title == "bio-inspired materials (invented)"
    card = (real.folder / "README.md").read_text("utf-8")
    assert pack_build.SOURCES[name].citation in card
    assert all(trap in card for trap in pack_build.SOURCES[name].traps)


def test_real_packs_are_small():
    folders = [packs.packs_folder() / name for name in REAL] + [packs.samples_folder("sources")]
    assert sum(path.stat().st_size for f in folders for path in f.iterdir()) <= 6_000_000


@pytest.mark.parametrize("name", REAL)
def test_a_real_pack_has_a_hundred_items_on_each_axis_and_sixty_compositional(name):
    counts = Counter(row["axis"] for row in packs.load_pack(name).rows("test"))
    assert min(counts[axis] for axis in records.AXES) >= 100 and counts["compositional"] >= 60


@pytest.mark.parametrize("name", REAL)
def test_what_is_asked_was_not_trained_on_unless_it_is_marked_as_taught(name):
    pack = packs.load_pack(name)
    trained = entities_trained_on(pack)
    texts = {row["source"] for row in pack.rows("raw")}
    for split in ("dev", "test"):
        for row in pack.rows(split):
            if row["axis"] in ("reasoning", "preference"):
                assert row["entity"] not in trained
                assert name == "elements" or row["entity"] not in texts
            if row["axis"] == "knowledge":
                assert row["taught"] and row["source"] in texts


def test_the_constant_answer_to_research_questions_scores_what_the_card_says():
    pack = packs.load_pack("pubmedqa")
    rows = [row for row in pack.rows("test") if row["kind"] == "conclusion"]
    share = Counter(row["answer"] for row in rows).most_common(1)[0][1] / len(rows)
    card = (pack.folder / "README.md").read_text("utf-8")
    assert f"| reasoning | conclusion | {len(rows)} | 0.33 | {share:.2f} |" in card
    assert all(row["choices"] == ["Yes", "No", "Maybe"] for row in rows)


def test_what_follows_about_elements_is_right():
    rows = {row["name"]: row for row in pack_build.source_rows("elements")}
    for item in packs.load_pack("elements").rows("test"):
        asked = item["messages"][0]["content"] if "messages" in item else ""
        if item["kind"] == "denser_or_less":
            most = max if " denser" in asked else min
            assert item["answer"] == most(item["choices"], key=lambda n: rows[n]["density"])
        if item["kind"] == "earlier_or_later":
            most = max if " later" in asked else min
            assert item["answer"] == most(item["choices"], key=lambda n: rows[n]["discovery_year"])
        if item["kind"] == "same_series":
            same = [
                n for n in item["choices"] if rows[n]["series"] == rows[item["entity"]]["series"]
            ]
            assert same == [item["answer"]]


def test_a_wrong_kind_of_clause_was_never_given_together_with_the_right_one():
    rows = pack_build.source_rows("contracts")
    given = {}
    for row in rows:
        if row["answer"] == "Yes":
            kind = pack_build._clause_kind(row["category"])
            given.setdefault(row["clause"], set()).add(kind)
    for item in packs.load_pack("contracts").rows("test"):
        if item["kind"] == "clause_kind":
            wrong = set(item["choices"]) - {item["answer"]}
            assert len(wrong) == 3
            assert not [g for g in given.values() if item["answer"] in g and wrong & g]


def test_an_unknown_name_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"unknown pack 'pubmed'.*pubmedqa"):
        pack_build.build_pack("pubmed", tmp_path / "x")
