"""Folders of messy files become packs that check, train and are scored; nothing is lost without a
line about it.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from labkit.base.errors import InputError, StoreError
from labkit.data import packs, workbench
from labkit.data.ingest import new_pack
from labkit.data.leaks import find_leaks

WORDS = [
    "steel",
    "alloy",
    "grain",
    "crack",
    "fatigue",
    "temper",
    "carbon",
    "nickel",
    "load",
    "phase",
    "heat",
    "stress",
    "beam",
    "weld",
    "fibre",
    "matrix",
    "ring",
    "bolt",
    "rust",
    "oil",
    "forge",
    "press",
    "mould",
    "lathe",
    "drill",
    "gauge",
    "shaft",
    "gear",
    "wheel",
    "valve",
    "pipe",
    "sheet",
    "plate",
    "wire",
    "spring",
    "nut",
    "screw",
    "frame",
    "joint",
    "seal",
]


def prose(seed: object, sentences: int = 60) -> str:
    """Paragraphs of five invented sentences."""
    rng = random.Random(str(seed))
    made = [
        " ".join(rng.choices(WORDS, k=rng.randint(7, 14))).capitalize() + "."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(made[start : start + 5]) for start in range(0, sentences, 5))


@pytest.fixture
def source(tmp_path) -> Path:
    """Twelve plain documents."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.txt").write_text(prose(number))
    return folder


@pytest.fixture
def messy(source) -> Path:
    """Every format, encodings, copies, boilerplate, questions and preferences, and files that
    cannot be read.
    """
    import typst
    from docx import Document

    for number, encoding in enumerate(("utf-8", "utf-16", "cp1252", "utf-8-sig")):
        text = (
            f"Handbuch für Größen\n{prose(f'enc{number}')}\n\nMaße über alles.\nAccept all "
            "cookies\n"
        )
        (source / f"enc{number}.txt").write_text(text, encoding)
    (source / "notes.md").write_text(f"---\ntitle: x\n---\n# Notes\n\n{prose('md')}")
    (source / "paper.pdf").write_bytes(
        typst.compile(f'#set page(numbering: "1")\n{prose("pdf", 300)}'.encode())
    )
    document = Document()
    for paragraph in prose("docx").split("\n\n"):
        document.add_paragraph(paragraph)
    document.save(source / "report.docx")
    (source / "copy.txt").write_text((source / "00.txt").read_text())
    (source / "near.txt").write_text((source / "01.txt").read_text() + " One more line.")
    (source / "binary.txt").write_bytes(random.Random(0).randbytes(4000))
    (source / "broken.pdf").write_text("no PDF")
    (source / "empty.txt").touch()
    (source / "song.mp3").write_bytes(b"ID3")
    rows = [
        {"text": prose(f"row{number}", 10), "source": f"article {number // 2}", "year": 2020}
        for number in range(20)
    ]
    (source / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [
        f"What is the {WORDS[number % 40]} of part {number}?,{WORDS[number * 7 % 40]}\n"
        for number in range(40)
    ]
    pairs += [
        f"Why does part {number} fail?,Because the "
        f"{' '.join(random.Random(number).choices(WORDS, k=9))} broke.\n"
        for number in range(40)
    ]
    (source / "faq.csv").write_text(
        "question,answer\n" + "".join(pairs) + pairs[0] + "No answer?,\n"
    )
    preferences = [
        {"prompt": pair.split(",")[0], "chosen": f"It is {number}.", "rejected": "No idea."}
        for number, pair in enumerate(pairs)
    ]
    (source / "preferences.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in preferences)
    )
    return source


def dropped_rows(folder: Path) -> list[dict]:
    return [
        json.loads(line)
        for line in (folder / "dropped.jsonl").read_text("utf-8").split("\n")
        if line
    ]


def counted(folder: Path, what: str) -> int:
    return sum(row["count"] for row in dropped_rows(folder) if row["what"] == what)


# --- the whole way ----------------------------------------------------------------------------


def test_a_messy_folder_becomes_a_pack(messy, tmp_path):
    made = new_pack("rings", messy, tmp_path / "rings", licence="CC0-1.0", chunk_words=30)
    assert packs.check_pack(made.folder) == []
    pack = packs.load_pack(made.folder)
    assert (pack.name, pack.title, pack.licence) == ("rings", "Rings", "CC0-1.0")
    assert {split: len(pack.rows(split)) for split in made.rows} == made.rows
    assert set(made.rows) == {"raw", "qa", "preferences", "dev", "test"}
    sources = {row["source"] for row in pack.rows("raw")}
    assert sources & {"notes.md", "paper.pdf", "report.docx"} and sources & {
        f"article {n}" for n in range(10)
    }
    reasons = Counter((row["what"], row["reason"]) for row in made.dropped)
    for expected in (
        ("file", "binary, not text"),
        ("file", "an unreadable PDF"),
        ("file", "empty"),
        ("file", "unknown kind of file"),
        ("document", "an exact copy of another document"),
        ("document", "a near duplicate of another document"),
        ("line", "a line of navigation"),
        ("line", "a page number"),
        ("cell", "a column that is not read"),
        ("row", "a field is empty or ill-typed"),
        ("row", "an exact copy of another row"),
    ):
        assert reasons[expected] == 1, expected
    assert sorted(sentence.split(":")[0] for sentence in made.unread) == [
        "binary.txt",
        "broken.pdf",
        "empty.txt",
        "song.mp3",
    ]
    assert "song.mp3: unknown kind of file (write down what is said as .txt)" in made.unread
    text = (made.folder / "raw.jsonl").read_text("utf-8") + (
        made.folder / "dropped.jsonl"
    ).read_text("utf-8")
    assert (
        "Größen" in text
        and "GrÃ¶" not in text
        and "Accept all cookies" not in (made.folder / "raw.jsonl").read_text("utf-8")
    )


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_dropped_silently(messy, tmp_path, seed):
    made = new_pack("rings", messy, tmp_path / "rings", chunk_words=30, seed=seed)
    items = Counter(
        row["kind"]
        for split in packs.EVAL_SPLITS
        for row in packs.load_pack(made.folder).rows(split)
        if row["axis"] in ("knowledge", "reasoning", "preference")
    )
    assert made.read["chunks"] == made.rows["raw"] + items["continuation"] + counted(
        made.folder, "chunk"
    )
    texts = 20  # of rows.jsonl: documents, not examples
    asked = sum(items[kind] for kind in ("free", "answer_choice", "pair"))
    trained = made.rows["qa"] + made.rows["preferences"]
    assert made.read["rows"] == texts + trained + asked + counted(made.folder, "row")
    assert len(list(messy.iterdir())) == made.read["files"] + counted(made.folder, "file")
    by_kind = Counter()
    for row in dropped_rows(made.folder):
        by_kind[row["what"], row["reason"]] += row["count"]
    assert by_kind == {(row["what"], row["reason"]): row["count"] for row in made.dropped}


def test_every_sentence_is_somewhere(source, tmp_path):
    """What is not held out or a copy stands in raw.jsonl word for word."""
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30)
    raw = " ".join(row["text"] for row in packs.load_pack(made.folder).rows("raw"))
    held = {
        row["entity"]
        for split in packs.EVAL_SPLITS
        for row in packs.load_pack(made.folder).rows(split)
        if row["kind"] == "continuation"
    }
    for path in source.iterdir():
        sentences = path.read_text().replace("\n\n", " ").split(". ")
        assert all((sentence in raw) == (path.name not in held) for sentence in sentences), (
            path.name
        )


@pytest.mark.parametrize("seed", range(4))
def test_no_document_is_on_both_sides(messy, tmp_path, seed):
    made = new_pack("rings", messy, tmp_path / "rings", chunk_words=30, seed=seed)
    pack = packs.load_pack(made.folder)
    trained = {row["source"] for row in pack.rows("raw")}
    held = {
        split: {row["entity"] for row in pack.rows(split) if row["kind"] == "continuation"}
        for split in packs.EVAL_SPLITS
    }
    assert held["dev"] and held["test"] and not held["dev"] & held["test"]
    assert not trained & (held["dev"] | held["test"])
    assert not {"01.txt", "near.txt"} & trained or not {"01.txt", "near.txt"} & (
        held["dev"] | held["test"]
    )
    questions = {
        split: {
            row["messages"][0]["content"]
            for row in pack.rows(split)
            if row["axis"] == "knowledge" and "messages" in row
        }
        for split in packs.EVAL_SPLITS
    }
    asked = {row["messages"][0]["content"] for row in pack.rows("qa")} | {
        row["prompt"][0]["content"] for row in pack.rows("preferences")
    }
    assert (
        not asked & (questions["dev"] | questions["test"])
        and not questions["dev"] & questions["test"]
    )


def test_the_same_files_give_the_same_bytes(messy, tmp_path):
    first, again, other = (
        new_pack("rings", messy, tmp_path / name, chunk_words=30, seed=seed).folder
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)
    assert (first / "eval_test.jsonl").read_bytes() != (other / "eval_test.jsonl").read_bytes()


def test_items_that_stand_in_training_text_are_left_out(source, tmp_path):
    """Every text asks the questions of the file: none of them can be an item, passages can."""
    questions = [f"What is the {WORDS[number]} of part {number}?" for number in range(20)]
    (source / "faq.csv").write_text(
        "question,answer\n"
        + "".join(f"{question},answer {number}\n" for number, question in enumerate(questions))
    )
    for path in source.glob("*.txt"):
        path.write_text(
            "\n\n".join(f"{question} {prose((path.name, question), 5)}" for question in questions)
        )
    made = new_pack("rings", source, tmp_path / "rings")
    kinds = Counter(
        row["kind"]
        for row in packs.load_pack(made.folder).rows("test")
        if row["axis"] in ("knowledge", "reasoning")
    )
    assert "continuation" in kinds and not {"free", "taught_free"} & set(kinds)
    assert (
        sum(
            row["count"]
            for row in made.dropped
            if row["what"] == "row" and "training rows" in row["reason"]
        )
        == 6
    )


@pytest.mark.parametrize("sign", ["\u200b", "\u200d", "\u2060", "\ufe0f"])
def test_questions_with_signs_that_cannot_be_seen_do_not_train_and_test(source, tmp_path, sign):
    questions = [f"What does the {word} of a ring tell?" for word in WORDS]
    rows = [f"{question},The ring holds\n" for question in questions]
    rows += [f"{question.replace('ri', f'r{sign}i')},The ring holds\n" for question in questions]
    (source / "faq.csv").write_text("question,answer\n" + "".join(rows), "utf-8")
    made = new_pack("rings", source, tmp_path / "rings")
    pack = packs.load_pack(made.folder)
    asked = {
        split: {
            row["messages"][0]["content"].replace(sign, "")
            for row in pack.rows(split)
            if row.get("axis", "knowledge") == "knowledge" and "messages" in row
        }
        for split in ("qa", "dev", "test")
    }
    assert asked["dev"] and asked["test"]
    assert not asked["qa"] & (asked["dev"] | asked["test"]) and not asked["dev"] & asked["test"]


def test_one_bad_row_of_many_is_left_out_and_the_place_of_the_first_is_told(source, tmp_path):
    rows = [
        {"instruction": f"What is part {number}?", "output": WORDS[number], "input": " \u200b"}
        for number in range(30)
    ]
    rows[7] = {"instruction": "What is it?"}
    rows[9]["output"] = "\u3164"
    (source / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    made = new_pack("rings", source, tmp_path / "rings")
    assert [
        (row["reason"], row["count"], row["first"]) for row in made.dropped if row["what"] == "row"
    ] == [
        ("a field is empty or ill-typed", 1, "a.jsonl#10"),
        ("broken JSON", 1, "a.jsonl#31"),
        ("no known layout has its columns", 1, "a.jsonl#8"),
    ]
    pack = packs.load_pack(made.folder)
    items = [row for split in packs.EVAL_SPLITS for row in pack.rows(split)]
    asked = sum(row["axis"] == "knowledge" and row["kind"] == "free" for row in items)
    assert made.read["rows"] == 31 and len(pack.rows("qa")) + asked == 28


def test_a_preference_that_asks_a_held_out_question_first_costs_no_item(source, tmp_path):
    asked = [
        (f"How long does part number {n} last in the cold?", f"For {n} days.") for n in range(40)
    ]
    rows = [{"question": question, "answer": answer} for question, answer in asked]
    (source / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    follow_up = {"role": "user", "content": "And why is that?"}
    pairs = [
        {
            "prompt": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
                follow_up,
            ],
            "chosen": "It is dry.",
            "rejected": "No.",
        }
        for question, answer in asked
    ]
    (source / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    pack = packs.load_pack(new_pack("rings", source, tmp_path / "rings").folder)
    kept = [row["prompt"][0]["content"] for row in pack.rows("preferences")]
    trained = [row["messages"][0]["content"] for row in pack.rows("qa")]
    assert sorted(kept) == sorted(trained) and len(kept) == 28
    questions = [item for item in pack.rows("test") if item.get("kind") == "free"]
    assert sum("part number" in item["messages"][0]["content"] for item in questions) == 6


def test_every_row_says_which_file_and_line_it_comes_from(source, tmp_path):
    asked = [{"question": f"What is part {n}?", "answer": f"It is {n}."} for n in range(20)]
    asked[3]["source"] = "manual"
    (source / "qa.jsonl").write_text("\n".join(map(json.dumps, asked)))
    pairs = [
        {"prompt": f"Why {n} rods?", "chosen": f"So {n}.", "rejected": "No."} for n in range(5)
    ]
    (source / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    made = new_pack("rings", source, tmp_path / "rings")
    pack = packs.load_pack(made.folder)
    for row in pack.rows("qa"):
        line = int(row["messages"][0]["content"].split()[-1].strip("?")) + 1
        assert row["source"] in (f"qa.jsonl#{line}", f"manual (qa.jsonl#{line})")
        assert row["source"].startswith("manual") is (line == 4)
    held = [
        row["entity"]
        for split in packs.EVAL_SPLITS
        for row in pack.rows(split)
        if row["axis"] == "preference"
    ]
    places = [row["source"] for row in pack.rows("preferences")] + held
    assert held and sorted(places) == [f"pairs.jsonl#{line}" for line in range(1, 6)]


def test_near_copies_are_found_whatever_their_first_lines(source, tmp_path):
    (source / "moved.txt").write_text(f"{prose('front', 3)}\n\n{(source / '00.txt').read_text()}")
    made = new_pack("rings", source, tmp_path / "rings")
    assert [
        (row["source"], row["detail"])
        for row in dropped_rows(made.folder)
        if row["what"] == "document"
    ] == [("moved.txt", "00.txt")]


def test_a_passage_in_every_document_does_not_join_them(source, tmp_path):
    licence = prose("licence", 12).replace("\n\n", " ")
    for path in source.iterdir():
        path.write_text(f"{path.read_text()}\n\n{licence}")
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30)
    assert made.rows["raw"] > 100 and any("another chunk" in row["reason"] for row in made.dropped)
    raw = packs.load_pack(made.folder).rows("raw")
    assert len({row["source"] for row in raw}) == 10


def test_the_card_says_what_was_done(messy, tmp_path):
    made = new_pack(
        "my-rings", messy, tmp_path / "rings", title="Rings: a | test", chunk_words=30, seed=5
    )
    card = yaml.safe_load((made.folder / "pack.yaml").read_text("utf-8"))
    assert (
        card["provenance"]["dropped"] == made.dropped
        and card["provenance"]["read"] == made.read
        and card["provenance"]["seed"] == 5
    )
    assert {split: entry["rows"] for split, entry in card["splits"].items()} == made.rows
    readme = (made.folder / "README.md").read_text("utf-8")
    head = yaml.safe_load(readme.split("---\n")[1])
    assert (
        head["pretty_name"] == "Rings: a | test"
        and head["license"] == "unknown"
        and head["size_categories"] == ["n<1K" if sum(made.rows.values()) < 1000 else "1K<n<10K"]
    )
    assert (
        f"| raw.jsonl | {made.rows['raw']:,} |" in readme
        and "| file | an unreadable PDF | 1 |" in readme
    )


def test_progress_is_told(source, tmp_path):
    told = []
    new_pack(
        "rings", source, tmp_path / "rings", progress=lambda step, done: told.append((step, done))
    )
    assert ("reading", 12) in told and told[-1][0] == "checking"


# --- a pack is a pack -------------------------------------------------------------------------


def test_it_trains_and_is_scored(messy, tmp_path):
    from labkit.evaluate.scorecards import evaluate
    from labkit.train import pipeline
    from labkit.train.specs import PipelineSpec, Stage

    made = new_pack("rings", messy, tmp_path / "rings", chunk_words=30)
    stages = [
        Stage(
            kind=kind,
            learning_rate=1e-3,
            steps=2,
            batch_size=4,
            **({"sources": ["raw"]} if kind == "cpt" else {}),
        )
        for kind in ("cpt", "sft")
    ]
    spec = PipelineSpec(pack=str(made.folder), model="llama-s-instruct", stages=stages)
    checkpoints = pipeline.run_spec(spec)
    loaded = pipeline.load_checkpoint(str(checkpoints[-1].folder))
    card = evaluate(loaded.model, loaded.tokenizer, packs.load_pack(made.folder), limit=2)
    assert {item.kind for item in card.items} == {
        "free",
        "answer_choice",
        "continuation",
        "general",
        "pair",
    }
    assert 0 <= card.interval("reasoning", "continuation").mean <= 1


def test_a_pack_without_questions_trains_on_text_only(source, tmp_path):
    made = new_pack("rings", source, tmp_path / "rings")
    assert set(made.rows) == {"raw", "dev", "test"} and packs.check_pack(made.folder) == []


# --- odd folders ------------------------------------------------------------------------------


def test_a_large_file_beside_small_ones_is_trained_on(source, tmp_path):
    (source / "book.txt").write_text(prose("book", 20_000))
    made = new_pack("rings", source, tmp_path / "rings")
    raw = packs.load_pack(made.folder).rows("raw")
    assert sum(row["source"] == "book.txt" for row in raw) > 1000


def test_pages_lists_and_tables_of_every_kind_are_read(source, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        {"question": f"What is the {word}?", "answer": f"A {word} of steel"} for word in WORDS[:12]
    ]
    (source / "a.json").write_text(json.dumps(rows[:4], indent=2))
    (source / "b.tsv").write_text(
        "Question\tAnswer\n" + "".join(f"{row['question']}\t{row['answer']}\n" for row in rows[4:8])
    )
    parquet.write_table(pa.Table.from_pylist(rows[8:]), source / "c.parquet")
    paragraphs = prose("page").split("\n\n")
    (source / "d.html").write_text("".join(f"<p>{each}</p>" for each in paragraphs))
    (source / "settings.json").write_text('{"name": "mine", "version": 3}')
    (source / "figures.json").write_text("[[1, 2], [3, 4]]")
    made = new_pack("rings", source, tmp_path / "rings")
    pack = packs.load_pack(made.folder)
    asked = {
        row["messages"][0]["content"]
        for split in ("qa", "dev", "test")
        for row in pack.rows(split)
        if row.get("axis", "knowledge") == "knowledge" and "messages" in row
    }
    assert asked == {row["question"] for row in rows}
    assert made.read["files"] == 12 + 4 and "d.html" in (made.folder / "raw.jsonl").read_text()
    assert [line for line in made.unread if ".json" in line] == [
        "figures.json: no row that can be used (no JSON object: list)",
        "settings.json: no row that can be used (no known layout has its columns: name, version)",
    ]


def test_words_that_lines_part_are_whole_in_every_kind_of_document(source, tmp_path):
    import typst
    from docx import Document

    text = "A well-\nknown ring of pub-\nlic interest."
    (source / "a.txt").write_text(text)
    (source / "a.pdf").write_bytes(typst.compile(text.replace("\n", "\\ \n").encode()))
    document = Document()
    document.add_paragraph(text)
    document.save(source / "a.docx")
    (source / "b.txt").write_text("It is well-known that the forge stands in the old town.")
    made = new_pack("rings", source, tmp_path / "rings")
    found = [
        *(row["text"] for row in packs.load_pack(made.folder).rows("raw")),
        *(row.get("detail", "") for row in dropped_rows(made.folder)),
    ]
    assert {each for each in found if "ring of" in each} == {
        "A well-known ring of public interest."
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 6, 9])
def test_a_file_of_one_sentence_does_not_stop_a_small_folder(tmp_path, count, seed):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(prose(number))
    (folder / "note.txt").write_text("Steel rusts where nobody looks.")
    made = new_pack("rings", folder, tmp_path / "rings", seed=seed)
    raw = packs.load_pack(made.folder).rows("raw")
    assert "note.txt" in {row["source"] for row in raw}


def test_a_folder_of_single_passages_becomes_a_pack(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.txt").write_text(prose(number, 4))
    made = new_pack("rings", folder, tmp_path / "rings")
    assert made.rows["raw"] == 4


def test_chinese_texts_become_a_pack(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    words = "钢环 试验 温度 裂纹 表面 冷却 油槽 锻造 强度 轴承 齿轮 焊接 加热 检查 弹簧 螺栓"
    for number in range(6):
        rng = random.Random(number)
        text = "".join("".join(rng.choices(words.split(), k=9)) + "。" for _ in range(60))
        (folder / f"{number}.txt").write_text(text, "utf-8")
    made = new_pack("rings", folder, tmp_path / "rings", chunk_words=40)
    items = [
        row
        for split in packs.EVAL_SPLITS
        for row in packs.load_pack(made.folder).rows(split)
        if row["axis"] == "reasoning"
    ]
    assert len(items) > 20 and all(len(item["choices"]) == 4 for item in items)


def test_line_separators_and_halves_of_characters_survive(source, tmp_path):
    (source / "odd.jsonl").write_text(
        '{"text": "A steel\\u2028ring \\ud800 is here.\\u0085It holds."}\n' * 3
    )
    made = new_pack("rings", source, tmp_path / "rings")
    assert packs.check_pack(made.folder) == []


def test_sources_that_are_tags_do_not_join_rows(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copy(packs.packs_folder() / "materials" / "raw.jsonl", folder / "raw.jsonl")
    made = new_pack("mine", folder, tmp_path / "mine")
    assert {row["source"] for row in packs.load_pack(made.folder).rows("raw")} == {
        "paper"
    } and made.rows["raw"] > 100


def test_versions_of_one_document_are_kept_once(source, tmp_path):
    """Eight versions share all lines: they are near duplicates, not boilerplate."""
    text = prose("versions").replace(". ", ".\n")
    for number in range(8):
        (source / f"version{number}.txt").write_text(f"{text}\nVersion {number}")
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30, seed=2)
    everything = (
        (made.folder / "raw.jsonl").read_text("utf-8")
        + json.dumps(dropped_rows(made.folder))
        + (made.folder / "eval_test.jsonl").read_text("utf-8")
    )
    assert not [
        row
        for row in dropped_rows(made.folder)
        if row["reason"] == "a line that many documents share" and row.get("detail") in text
    ]
    assert text.split("\n")[0] in everything


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My Domain", "", "../up", "a--b", "-a", "ä", "a/b"])
def test_names(source, tmp_path, name):
    with pytest.raises(InputError, match="is no name for a pack; use small letters"):
        new_pack(name, source, tmp_path / "out")


def test_bad_requests_say_what_to_do(source, tmp_path):
    (tmp_path / "there").mkdir()
    for words, arguments in (
        ("is a shipped pack", ("materials", source, tmp_path / "out")),
        ("already there; choose another folder with --to", ("rings", source, tmp_path / "there")),
        ("lies in the folder that is read", ("rings", source, source / "out")),
        ("no such folder", ("rings", tmp_path / "gone", tmp_path / "out")),
        ("a file and no folder", ("rings", source / "00.txt", tmp_path / "out")),
    ):
        with pytest.raises(InputError, match=words):
            new_pack(*arguments)
    with pytest.raises(InputError, match="chunk_words is 3; give at least 10"):
        new_pack("rings", source, tmp_path / "out", chunk_words=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "there"]


@pytest.mark.parametrize(
    "files,words",
    [
        ({}, "nothing in it could be read \\(the folder is empty\\)"),
        (
            {"a.bin": "x", "b.txt": "", "c.pdf": "x"},
            r"nothing in it could be read \(1 file: an unreadable PDF; 1 file: empty; 1 "
            r"file: unknown kind of file\)",
        ),
        (
            {"a.txt": prose(1), "b.txt": prose(2)},
            "2 documents with text of their own; a pack needs three",
        ),
        (
            {"a.txt": prose(1), "b.txt": prose(1), "c.txt": prose(1) + "!"},
            "1 documents? with text of their own",
        ),
        ({"q.csv": "question,answer\nWhy?,So\n"}, "0 documents with text of their own"),
        (
            {"a.txt": "Yes.", "b.txt": "Perhaps.", "c.txt": "No."},
            "rings: no item for dev could be made .*: hardly any running text: 0 sentences in 1",
        ),
        (
            {"a.csv": "headline,body\nx,y\n"},
            "a.csv:2: no known layout has these columns \\(headline, body\\).*Alpaca",
        ),
        ({"a.jsonl": '{"text": \n[1]\n'}, "a.jsonl:1: no row .* broken JSON \\(column 9"),
        ({"a.csv": "question,answer\nWhy?,\n"}, 'a.csv:2: no row .*"answer" is empty'),
        ({"a.csv": "question,answer\na,b,c\n"}, "a.csv:2: no row .*3 for 2 columns"),
    ],
)
def test_folders_that_make_no_pack(tmp_path, files, words):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=words):
        new_pack("rings", folder, tmp_path / "rings")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workbench.Spool, "append", full)
    with pytest.raises(StoreError, match="the disk is full"):
        new_pack("rings", source, tmp_path / "rings")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_a_pack_holds_does_not_leak_by_an_independent_count(messy, tmp_path):
    """Every thirteen words of every item, looked for in the training text as plain strings."""
    made = new_pack("rings", messy, tmp_path / "rings", chunk_words=30)
    pack = packs.load_pack(made.folder)
    text = " ".join(
        " ".join(row["text"].lower().replace(".", " ").split()) for row in pack.rows("raw")
    )
    for split in packs.EVAL_SPLITS:
        for row in pack.rows(split):
            if row["kind"] == "continuation":
                words = f"{row['prompt']} {row['answer']}".lower().replace(".", " ").split()
                assert not any(
                    " ".join(words[start : start + 13]) in text for start in range(len(words) - 12)
                )
    leaked = {
        "id": "x",
        "axis": "knowledge",
        "entity": "x",
        "prompt": " ".join(text.split()[40:60]),
        "answer": "x",
    }
    assert find_leaks([("here", leaked)], packs.placed_rows(pack, packs.TRAINING_SPLITS))


# --- what a folder gives to ask about ----------------------------------------------------------


def facts(rows: int = 40) -> str:
    return "planet,mass,found in\n" + "".join(
        f"Or{chr(97 + n % 26)}{chr(97 + n // 26)}na,{n * 7 + 3} kg,{1700 + n * 3}\n"
        for n in range(rows)
    )


def test_a_table_with_a_key_column_is_text_and_gives_items(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "planets.csv").write_text(facts())
    made = new_pack("planets", folder, tmp_path / "planets")
    pack = packs.load_pack(made.folder)
    texts = [row["text"] for row in pack.rows("raw")]
    assert texts[0] == "Oraana – mass: 3 kg. Oraana – found in: 1700." and len(texts) == 40
    kinds = {(row["axis"], row["kind"]) for row in pack.rows("test")}
    assert kinds >= {
        ("knowledge", "recall_cloze"),
        ("reasoning", "compared"),
        ("reasoning", "two_step"),
        ("compositional", "recall_formed"),
        ("creativity", "two_terms"),
    }
    rows = {
        split: {row["entity"] for row in pack.rows(split) if row["kind"] == "recall_cloze"}
        for split in packs.EVAL_SPLITS
    }
    assert rows["dev"] and not rows["dev"] & rows["test"]


def test_a_table_without_a_key_column_is_left_out_with_a_sentence(source, tmp_path):
    rows = "".join(f"{number % 7},{number % 5 * 10}\n" for number in range(30))
    (source / "measured.csv").write_text(f"warmth,load\n{rows}")
    made = new_pack("rings", source, tmp_path / "rings")
    (told,) = made.unread
    assert told.startswith("measured.csv: a table without a key column")
    assert made.rows["raw"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([prose(n, 8) for n in range(5)], "too few documents|too much alike"),
        (
            ["".join(random.Random(n).choices("钢环试验温度裂纹表面。", k=900)) for n in range(6)],
            "^knowledge, .*: too few test items, for the text is in a script without blanks",
        ),
    ],
)
def test_why_an_axis_has_too_few_test_items_is_said(tmp_path, texts, words):
    folder = tmp_path / "source"
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, "utf-8")
    made = new_pack("rings", folder, tmp_path / "rings", chunk_words=30)
    assert made.axes["knowledge"] < 100 and re.search(words, made.too_few[0]), made.too_few


# --- personal and confidential text -----------------------------------------------------------

SECRETS = ("jane.doe@example.org", "0048213", "555-0124")


@pytest.fixture
def private(source) -> Path:
    """Twelve documents, two of them with personal text; a table of people, and questions."""
    for number, line in enumerate(("Write to jane.doe@example.org.", "MRN: 0048213\nCONFIDENTIAL")):
        path = source / f"{number:02}.txt"
        path.write_text(f"{path.read_text()}\n\n{line}\n")
    people = [f"{WORDS[n].capitalize()},617-555-01{n + 20},19{50 + n}\n" for n in range(8)]
    people += [f"{WORDS[n].capitalize()},none,19{50 + n}\n" for n in range(8, 14)]
    (source / "people.csv").write_text("name,phone,born\n" + "".join(people))
    rows = [
        {"question": f"Who keeps the {word}?", "answer": f"The keeper {word}."} for word in WORDS
    ]
    rows[3]["answer"] = "Ask jane.doe@example.org."
    (source / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def written(folder: Path) -> str:
    return "".join(path.read_text("utf-8") for path in sorted(folder.iterdir()))


def test_personal_text_is_kept_and_told_unless_its_owner_says_otherwise(private, tmp_path):
    made = new_pack("rings", private, tmp_path / "rings", chunk_words=30)
    counts = {(row["kind"], row["file"]): row["count"] for row in made.personal}
    assert counts == {
        ("phone number", "people.csv"): 8,
        ("e-mail address", "00.txt"): 1,
        ("e-mail address", "faq.jsonl"): 1,
        ("medical record number", "01.txt"): 1,
        ("mark of confidentiality", "01.txt"): 1,
    }
    told = " ".join(made.personal_told("M", "L"))
    assert "kept as it is" in told and "(M)" in told and "(L)" in told and "names of people" in told
    card = yaml.safe_load((made.folder / "pack.yaml").read_text("utf-8"))["provenance"]
    assert card["personal_or_confidential_text"]["found"]["phone number"] == 8
    assert packs.load_pack(made.folder).personal["phone number"] == 8
    lines = (made.folder / "personal.jsonl").read_text("utf-8")
    assert not any(value in lines + told for value in SECRETS) and "j•••" in lines
    assert "phone number 8" in (made.folder / "README.md").read_text("utf-8")


def test_masked_text_is_nowhere_in_the_pack(private, tmp_path):
    made = new_pack("rings", private, tmp_path / "rings", chunk_words=30, personal="mask")
    text = written(made.folder)
    assert not any(value in text for value in SECRETS)
    assert "[EMAIL]" in text and "[PHONE]" in text and "CONFIDENTIAL" in text
    assert packs.load_pack(made.folder).personal == {}  # none is left
    assert "masking does nothing about it" in " ".join(made.personal_told("M", "L"))
    assert packs.check_pack(made.folder) == []


@pytest.mark.parametrize("personal", ["mask", "leave out"])
def test_nothing_of_a_private_key_is_in_the_pack(source, tmp_path, personal):
    line = "MIIEpKeyLineOfManySignsAndWithoutAnyNumber" + "QxZ" * 7
    kind = "RSA PRIVATE KEY"
    key = "\n".join([f"-----BEGIN {kind}-----", *[line] * 50, f"-----END {kind}-----"])
    for number in range(6):  # in so many that lines of it look like boilerplate
        path = source / f"{number:02}.txt"
        path.write_text(f"{path.read_text()}\n\nThe key.\n{key}\n\nAfter it is {WORDS[number]}.\n")
    rows = [{"question": f"Who keeps the {w}?", "answer": f"The keeper {w}."} for w in WORDS]
    rows[3]["answer"] = key
    (source / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = [f'{word.capitalize()},"{key if n < 3 else word}"\n' for n, word in enumerate(WORDS)]
    (source / "servers.csv").write_text("name,entry\n" + "".join(cells))
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30, personal=personal)
    text = written(made.folder)
    assert "QxZ" not in text and "PRIVATE KEY" not in text
    counts = {row["file"]: row["count"] for row in made.personal}
    assert sum(counts.values()) == 10 and counts["faq.jsonl"] == 1 and counts["servers.csv"] == 3
    assert ("[KEY]" in text) == (personal == "mask")


def test_documents_and_rows_with_personal_text_can_be_left_out(private, tmp_path):
    made = new_pack("rings", private, tmp_path / "rings", chunk_words=30, personal="leave out")
    assert not any(value in written(made.folder) for value in (*SECRETS, "CONFIDENTIAL\n"))
    gone = [row for row in dropped_rows(made.folder) if "personal" in row["reason"]]
    assert Counter(row["what"] for row in gone) == {"document": 2, "row": 9}
    assert {row["source"] for row in gone} >= {"00.txt", "01.txt", "faq.jsonl#4", "people.csv#2"}
    assert made.read["documents"] == 10


def test_all_parts_of_a_long_file_are_left_out(source, tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.data.readers.PART", 2000)
    (source / "long.txt").write_text(f"{prose('long', 80)}\n\nMail jane.doe@example.org.\n")
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30, personal="leave out")
    gone = [row["source"] for row in dropped_rows(made.folder) if "personal" in row["reason"]]
    assert gone == ["long.txt"]
    raw = (made.folder / "raw.jsonl").read_text("utf-8")
    assert '"source": "long.txt"' not in raw


def test_a_table_of_nothing_but_personal_rows_is_left_out_without_an_error(source, tmp_path):
    rows = "".join(f"{word.capitalize()},617-555-01{n + 10}\n" for n, word in enumerate(WORDS[:9]))
    (source / "people.csv").write_text("name,phone\n" + rows)
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30, personal="leave out")
    assert {row["what"]: row["count"] for row in made.dropped if "personal" in row["reason"]} == {
        "row": 9
    }


def test_a_folder_without_personal_text_says_so(source, tmp_path):
    made = new_pack("rings", source, tmp_path / "rings", chunk_words=30)
    assert made.personal == [] and not (made.folder / "personal.jsonl").exists()
    assert "no personal or confidential text was found" in made.personal_told("M", "L")[0]


def test_an_unknown_choice_is_one_sentence(source, tmp_path):
    with pytest.raises(InputError, match="did you mean 'mask'"):
        new_pack("rings", source, tmp_path / "rings", personal="masks")
