from __future__ import annotations

import json
import random
from html import escape

import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.base.stats import Interval
from labkit.course import lesson
from labkit.course.figures import png
from labkit.course.labs import quality_lab, views
from labkit.data import world
from labkit.data.packs import check_pack, load_pack
from labkit.evaluate.quality import Thresholds, keep, measure_documents, surprise


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    return lesson.start("02_data", profile="smoke", out_dir=str(tmp_path / "out"))


@pytest.fixture
def own_pack(tmp_path):
    """Thirty documents in a language of their own, with markup in one."""
    folder, rng = tmp_path / "wine", random.Random(0)
    folder.mkdir()
    words = [a + b for a in ("ba", "ko", "lu", "mi") for b in ("n", "r", "st", "ve")]
    texts = [
        "<script>alert(1)</script> " + " ".join(rng.choices(words, k=40)),
        *(" ".join(rng.choices(words, k=40)) for _ in range(29)),
    ]
    (folder / "raw.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8"
    )
    (folder / "pack.yaml").write_text("name: wine\ntitle: wine\nlicence: CC0\n", "utf-8")
    return load_pack(folder)


@pytest.mark.parametrize("domain", world.DOMAINS)
def test_each_defect_is_seen_by_its_own_measure_and_the_clean_are_kept(domain):
    planted = quality_lab.plant_defects(load_pack(domain))
    texts = [row["text"] for row in planted.pack.rows("raw")]
    measures = measure_documents(texts, domain=domain)
    found = quality_lab.separation(measures, planted.labels)
    assert (
        found["symbol soup", "symbols"].low > 0.99
        and found["repeated lines", "repetition"].low > 0.99
    )
    assert (
        found["near copy", "duplicates"].low > 0.95
        and found["wrong facts", "contradictions"].mean > 0.9
    )
    assert found["cut short", "length"].high < 0.05
    assert ("symbol soup", "surprise") not in found  # not measured, so not reported
    kept = keep(measures)
    clean = [
        reasons for reasons, label in zip(kept.reasons, planted.labels, strict=True) if not label
    ]
    junk = [
        reasons
        for reasons, label in zip(kept.reasons, planted.labels, strict=True)
        if label == "junk about strangers"
    ]
    assert sum(map(bool, clean)) <= 0.01 * len(clean) and len(clean) == 440 and len(junk) == 40
    assert sum(map(bool, junk)) <= 2  # junk in good English passes every filter


def test_surprise_sees_symbols_and_does_not_see_junk(instruct):
    planted = quality_lab.plant_defects(load_pack("materials"))
    rows = [
        (label, row["text"])
        for label, row in zip(planted.labels, planted.pack.rows("raw"), strict=True)
    ]
    chosen = [row for row in rows if row[0] in ("symbol soup", "junk about strangers")] + [
        row for row in rows if not row[0]
    ][:100]
    labels, texts = zip(*chosen, strict=True)
    measures = [
        quality_lab.DocumentQuality(0, 0, 0, bits, None, None) for bits in surprise(texts, instruct)
    ]
    found = quality_lab.separation(measures, labels)
    assert found["symbol soup", "surprise"].low > 0.99
    assert found["junk about strangers", "surprise"].high < 0.7


def test_separation_counts_ties_half():
    measures = [
        quality_lab.DocumentQuality(words, 0, 0, None, None, None) for words in (1, 2, 3, 4, 2, 5)
    ]
    found = quality_lab.separation(measures, ["", "", "", "", "odd", "odd"])
    assert found["odd", "length"].mean == pytest.approx((1.5 / 4 + 4 / 4) / 2)
    assert found["odd", "symbols"].mean == 0.5 and ("odd", "surprise") not in found


def test_planted_packs_are_written_once_and_are_packs():
    first, again = (quality_lab.plant_defects(load_pack("legal")) for _ in range(2))
    assert first.pack.folder == again.pack.folder and check_pack(first.pack.folder) == []
    assert quality_lab.plant_defects(load_pack("legal"), seed=1).pack.folder != first.pack.folder
    assert len(first.labels) == len(first.pack.rows("raw")) == 680


def test_a_pack_of_ones_own_goes_without_what_only_the_world_can_tell(own_pack):
    planted = quality_lab.plant_defects(own_pack)
    assert set(planted.labels) == {"", "symbol soup", "repeated lines", "cut short", "near copy"}
    assert (
        planted.subtle == "cut short"
        and quality_lab.plant_defects(load_pack("legal")).subtle == "junk about strangers"
    )
    short = own_pack.folder / "raw.jsonl"
    short.write_text("\n".join(short.read_text("utf-8").split("\n")[:9]), "utf-8")
    with pytest.raises(InputError, match="has 9 documents; planting defects needs at least 10"):
        quality_lab.plant_defects(load_pack(own_pack.folder))


def test_an_own_pack_is_shown_with_what_is_not_measured(lab, own_pack, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(quality_lab, "show_html", shown.append)
    corpus = quality_lab.show_quality(lab, own_pack, sample=5)
    told = capsys.readouterr().out
    assert (
        "measured on 5 documents drawn at random" in told and "Contradictions: not measured" in told
    )
    assert (
        "<script>" not in shown[0]
        and "&lt;script&gt;" in shown[0]
        and "contradictions" not in shown[0]
    )
    (record,) = records.read(lab.out_dir, "quality")
    assert (
        record["documents"] == 30 and record["read"] == 5 and record["thresholds"]["min_words"] == 5
    )
    assert any(r["name"] == "quality" for r in records.read(lab.out_dir, "figure"))
    corpus.look(Thresholds(max_bits_per_byte=1))
    with pytest.raises(InputError, match="25 documents were not read"):
        corpus.write(corpus.kept, "filtered")


def test_a_choice_is_written_once_under_a_name_of_its_own(lab, own_pack):
    corpus = quality_lab.show_quality(lab, own_pack, sample=1)
    made = corpus.write(corpus.kept, "filtered")
    assert (
        made.folder == lab.out_dir / "packs" / "filtered"
        and corpus.write(corpus.kept, "filtered").folder == made.folder
    )
    with pytest.raises(InputError, match="exists already"):
        corpus.write(corpus.look(Thresholds(min_words=41, drop_duplicates=False)), "filtered")
    for name in ("", "../x", "a/b", "a b"):
        with pytest.raises(InputError, match="the name of the pack"):
            corpus.write(corpus.kept, name)


def test_examples_are_the_worst_and_the_best(own_pack, lab):
    corpus = quality_lab.show_quality(lab, quality_lab.plant_defects(own_pack).pack, sample=1)
    worst = next(i for end, i in corpus._extremes if end == "symbols: worst")
    assert corpus.measures[worst].symbols == max(found.symbols for found in corpus.measures)
    best = next(i for end, i in corpus._extremes if end == "symbols: best")
    assert corpus.measures[best].symbols == min(found.symbols for found in corpus.measures)
    copy = next(i for end, i in corpus._extremes if end == "duplicates: worst")
    first = corpus.measures[copy].duplicate_of
    both = [corpus.texts[i][: quality_lab.SHOWN_CHARACTERS - 1].rstrip() for i in (copy, first)]
    shown = corpus.examples(corpus.kept)
    assert all(shown.count(escape(text)) for text in both)  # a pair, to be compared
    assert f" | as document {first}: " in shown
    assert f"its first {quality_lab.SHOWN_CHARACTERS} characters" in shown


def test_figures_draw_what_was_found(lab):
    planted = quality_lab.plant_defects(load_pack("legal"))
    measures = measure_documents([row["text"] for row in planted.pack.rows("raw")], domain="legal")
    kept = keep(measures, Thresholds(min_words=30))
    panels = views.dashboard(measures, kept).axes
    titles = [ax.get_title() for ax in panels]
    outside = sum(found.words < 30 for found in measures) / len(measures)
    assert titles[0] == f"length: {outside:.1%} outside" and titles[3] == "surprise"
    assert "not measured" in [text.get_text() for text in panels[3].texts]
    widths = [round(bar.get_width()) for bar in panels[4].patches]
    assert widths == list(kept.counts.values())
    grid = views.separation_grid(
        {
            ("soup", "length"): Interval(0.25, 0.2, 0.3, 40, 40),
            ("cut", "symbols"): Interval(1, 1, 1, 40, 40),
        }
    )
    assert (
        "0.25\n[0.20, 0.30]" in [text.get_text() for text in grid.axes[0].texts]
        and len(grid.axes[0].texts) == 2
    )
    assert png(grid).startswith(b"\x89PNG")


def test_what_thresholds_catch_is_counted_per_defect(lab):
    planted = quality_lab.plant_defects(load_pack("biomed"))
    corpus = quality_lab.show_quality(lab, planted.pack, sample=20)
    found = quality_lab.show_separation(lab, corpus, planted)
    told = quality_lab.caught(corpus.kept, planted.labels)
    assert "40 of 40" in told and "0 of 440" in told
    assert len(records.read(lab.out_dir, "separation")) == len(found)
