from __future__ import annotations

import json
import math
import shutil

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.data import world
from labkit.data.packs import SPLITS, check_pack, load_pack
from labkit.evaluate import quality
from labkit.evaluate.quality import DocumentQuality, Thresholds, keep
from labkit.evaluate.scorecards import bits_per_byte

FINE = {
    "words": 50,
    "repetition": 0.0,
    "symbols": 0.0,
    "bits_per_byte": 1.0,
    "duplicate_of": None,
    "contradictions": (),
}
PLAIN = "The quick brown fox jumps over the lazy dog while nobody looks."


def document(**changes):
    return DocumentQuality(**{**FINE, **changes})


# --- one document -----------------------------------------------------------------------------


@pytest.mark.parametrize("times,share", [(1, 0), (2, 0), (3, 2 / 3), (4, 3 / 4)])
def test_what_is_said_again_is_a_share_of_the_words(times, share):
    assert quality.repetition("\n".join([PLAIN] * times)) == pytest.approx(share)
    assert quality.repetition(" ".join([PLAIN.upper(), *[PLAIN] * (times - 1)])) == pytest.approx(
        share
    )


def test_a_phrase_may_come_twice_and_a_long_stretch_or_a_heading_may_not():
    ten = "each member of the Parent Group, and its respective successors"
    contract = f"Seller shall pay {ten}. Buyer shall not pay {ten}, nor any of them."
    assert quality.repetition(contract) == 0
    assert quality.repetition(f"{contract} Nothing in this shall bind {ten}.") == pytest.approx(
        10 / 46
    )
    words = [f"w{number}" for number in range(50)]
    assert quality.repetition(" ".join(words + words[:19])) == 0
    assert quality.repetition(" ".join(words + words[:20])) == pytest.approx(20 / 70)


@pytest.mark.parametrize(
    "text", ["", "one", "one two three four", "one two three four one two three four"]
)
def test_short_runs_are_no_repetition(text):
    assert quality.repetition(text) == 0


@pytest.mark.parametrize(
    "text,share",
    [
        ("", 0),
        ("Naïve (or not): “yes”, 3.5—really?", 0),
        ("यह हिन्दी में है।", 0),
        ("می\u200cخواهم؟", 0),  # Persian is meant
        ("日本語の文章です。", 0),
        (" \n\t", 0),
        ("ab## ##cd", 0.5),
        ("on or about ________ in [***]", 4 / 15),  # a blank and a redaction, one sign each
        ("\ufffd\ufffd\ufffd a", 0.75),
        ("\x00a", 0.5),
        ("{}[]\nabcd", 0.5),
        ("\ud800a", 0.5),
    ],
)
def test_symbols_are_what_no_script_writes_with(text, share):
    assert quality.symbol_share(text) == pytest.approx(share)


def test_surprise_is_the_bits_per_byte_of_each_document(instruct, materials):
    texts = [row["text"] for row in materials.rows("raw")[:6]]
    found = quality.surprise(texts, instruct)
    sizes = [len(text.encode()) for text in texts]
    mean = sum(bits * size for bits, size in zip(found, sizes, strict=True)) / sum(sizes)
    assert mean == pytest.approx(bits_per_byte(instruct.model, instruct.tokenizer, texts), rel=1e-4)
    assert len(set(found)) == len(texts)


def test_of_a_long_document_the_model_reads_the_beginning(instruct, materials):
    text = " ".join(row["text"] for row in materials.rows("raw")[:100])
    whole, longer, nothing, broken = quality.surprise(
        [text, text + " tail" * 1000, "", "half a pair: \ud800"], instruct
    )
    assert whole == pytest.approx(longer) and 0.2 < whole < 4
    assert nothing is None and math.isfinite(broken)


# --- what the world holds for true ------------------------------------------------------------


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_every_sentence_of_the_world_is_recognised(domain):
    for lang, entities in (
        (world.language("general"), world.people()),
        (world.language(domain), world.private_entities(domain)),
    ):
        first, other = entities[0], entities[5]
        for key, attribute in lang.attributes.items():
            for wording in range(len(attribute.statements)):
                for value in attribute.values:
                    found = quality.contradictions(
                        world.statement(attribute, first.name, value, wording), domain
                    )
                    true = first.facts[key]
                    assert [(c.entity, c.attribute, c.said, c.true) for c in found] == (
                        [] if value == true else [(first.name, key, value, true)]
                    )
        for said in lang.relation["statements"]:
            assert (
                quality.contradictions(said.format(name=first.name, other=first.related), domain)
                == ()
            )
            (wrong,) = quality.contradictions(
                said.format(name=first.name, other=other.name), domain
            )
            assert (wrong.entity, wrong.said, wrong.true) == (first.name, other.name, first.related)


def test_only_known_claims_about_known_entities_are_judged(materials):
    lang, entity = world.language("materials"), world.private_entities("materials")[0]
    false = next(
        value for value in lang.attributes["source"].values if value != entity.facts["source"]
    )
    sentence = world.statement(lang.attributes["source"], entity.name, false)
    assert (
        len(quality.contradictions(f"Web: {sentence} More work is needed. {sentence}", "materials"))
        == 2
    )
    for text in (
        sentence.replace(entity.name, "Xyzzylite"),
        f"Nobody says that {sentence}",
        sentence.replace(false, "cheese"),
        "",
        "Rain.",
    ):
        assert quality.contradictions(text, "materials") == ()
    assert all(
        quality.contradictions(row["text"], "materials") == () for row in materials.rows("raw")
    )
    with pytest.raises(InputError, match="unknown domain 'materialz': did you mean 'materials'"):
        quality.contradictions("a", "materialz")


# --- a corpus ---------------------------------------------------------------------------------


def test_what_was_not_measured_is_none_and_never_zero(instruct):
    texts = [f"{PLAIN} {word}" for word in ["one", "two", "three", "four", "five", "six"]]
    measures = quality.measure_documents(texts, model=instruct, sample=2)
    assert all(found.contradictions is None for found in measures)
    assert sum(found.bits_per_byte is not None for found in measures) == 2
    assert all(found.bits_per_byte is None for found in quality.measure_documents(texts))
    assert [found.words for found in measures] == [13] * 6


def test_shipped_text_is_kept_whole_and_gophers_length_would_drop_it(materials):
    measures = quality.measure_documents(
        [row["text"] for row in materials.rows("raw")], domain="materials"
    )
    assert keep(measures).share == 1
    assert keep(measures, Thresholds(min_words=50)).share < 0.1


@pytest.mark.parametrize(
    "changes,reason",
    [
        ({"words": 4}, "too short"),
        ({"words": 100_001}, "too long"),
        ({"repetition": 0.151}, "repeats itself"),
        ({"symbols": 0.11}, "symbols"),
        ({"bits_per_byte": 2.01}, "surprising"),
        ({"contradictions": (quality.Contradiction("a", "b", "c", "d"),)}, "contradiction"),
    ],
)
def test_a_document_is_dropped_for_what_breaks_a_threshold(changes, reason):
    kept = keep([document(), document(**changes)], Thresholds(max_bits_per_byte=2))
    assert (
        kept.reasons == ((), (reason,))
        and kept.counts[reason] == 1
        and sum(kept.counts.values()) == 1
    )
    assert kept.share == 0.5 and kept.share_of_words == pytest.approx(
        50 / (50 + changes.get("words", 50))
    )


def test_bounds_themselves_are_kept():
    at_the_bound = document(words=5, repetition=0.15, symbols=0.1, bits_per_byte=2)
    assert keep([at_the_bound, document(words=100_000)], Thresholds(max_bits_per_byte=2)).share == 1


def test_of_documents_alike_the_first_good_one_is_kept():
    alike = [document(symbols=0.5), document(duplicate_of=0), document(duplicate_of=0)]
    kept = keep(alike)
    assert kept.reasons == (("symbols",), (), ("duplicate",))
    assert keep(alike, Thresholds(drop_duplicates=False)).reasons == (("symbols",), (), ())


def test_a_threshold_on_what_no_model_read_drops_nothing_and_is_counted():
    kept = keep(
        [document(bits_per_byte=None), document(bits_per_byte=9)], Thresholds(max_bits_per_byte=2)
    )
    assert kept.reasons == ((), ("surprising",)) and kept.unread == 1
    assert keep([document(bits_per_byte=None)]).unread == 0


@pytest.mark.parametrize(
    "bounds,words",
    [
        ({"min_words": 30, "max_words": 20}, "min_words is 30 and max_words 20"),
        ({"max_symbols": -0.1}, "max_symbols is -0.1"),
        ({"max_repetition": "much"}, "max_repetition is 'much'"),
        ({"min_words": None}, "min_words is None"),
        ({"max_bits_per_byte": float("nan")}, "max_bits_per_byte is nan"),
    ],
)
def test_thresholds_that_cannot_be(bounds, words):
    with pytest.raises(InputError, match=words):
        Thresholds(**bounds)


# --- packs ------------------------------------------------------------------------------------


@pytest.fixture
def own_pack(tmp_path, materials):
    """A pack with one document that only a verbatim copy keeps as it is, one that is too short, and
    a qa split.
    """
    folder = tmp_path / "own"
    shutil.copytree(materials.folder, folder)
    raw = [
        '{"text":   "' + PLAIN * 2 + ' \\u00e4\\u2028 end"}',
        json.dumps({"text": "short"}),
        "",
        json.dumps({"text": PLAIN.replace("fox", "cat") * 3}),
    ]
    (folder / "raw.jsonl").write_text("\n".join(raw) + "\n", "utf-8")
    return load_pack(folder)


def measured(pack):
    return quality.measure_documents([row["text"] for row in pack.rows("raw")])


def test_kept_documents_are_written_as_a_pack(own_pack, tmp_path):
    kept = keep(measured(own_pack), Thresholds(max_repetition=1))
    made = quality.filter_pack(own_pack, kept, tmp_path / "filtered")
    lines = (own_pack.folder / "raw.jsonl").read_text("utf-8").split("\n")
    assert (made.folder / "raw.jsonl").read_text("utf-8") == f"{lines[0]}\n{lines[3]}\n"
    assert check_pack(made.folder) == []
    assert made.fingerprint(*(split for split in SPLITS if split != "raw")) == own_pack.fingerprint(
        *(split for split in SPLITS if split != "raw")
    )
    meta = yaml.safe_load((made.folder / "pack.yaml").read_text("utf-8"))
    assert meta["splits"]["raw"]["rows"] == 2 and meta["filtered"]["dropped"] == {"too short": 1}
    assert (
        meta["filtered"]["thresholds"]["max_repetition"] == 1 and meta["filtered"]["documents"] == 3
    )


def test_what_cannot_be_written_is_a_sentence(own_pack, tmp_path):
    measures = measured(own_pack)
    kept = keep(measures, Thresholds(max_repetition=1))
    (tmp_path / "there").mkdir()
    for choice, folder, words in (
        (kept, "there", "exists already"),
        (keep(measures, Thresholds(min_words=1000)), "new", "no document meets the thresholds"),
        (
            keep(measures, Thresholds(max_repetition=1, max_bits_per_byte=2)),
            "new",
            "3 documents were not read by a model",
        ),
        (
            keep(measures[:2], Thresholds(max_repetition=1)),
            "new",
            "3 documents, but 2 were measured",
        ),
    ):
        with pytest.raises(InputError, match=words):
            quality.filter_pack(own_pack, choice, tmp_path / folder)
    assert not (tmp_path / "new").exists() and list((tmp_path / "there").iterdir()) == []
