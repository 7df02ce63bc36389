from __future__ import annotations

import json
import shutil

import pytest

from labkit.base.errors import PackError
from labkit.data import packs


@pytest.fixture
def broken(tmp_path):
    """A copy of a shipped pack, to break."""
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    return folder


def break_line(folder, split, number, change):
    path = folder / packs.SPLITS[split]
    lines = path.read_text("utf-8").splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.mark.parametrize("name", packs.shipped_packs())
def test_shipped_packs_are_fine(name):
    assert packs.check_pack(name) == []


def test_broken_json_names_file_and_line(broken):
    path = break_line(broken, "qa", 17, lambda line: line[:-5])
    problems = packs.check_pack(broken)
    assert len(problems) == 1 and problems[0].startswith(f"{path}:17: broken JSON at column")
    with pytest.raises(PackError, match=":17: broken JSON"):
        packs.load_pack(broken).rows("qa")


@pytest.mark.parametrize(
    "split,change,expected",
    [
        ("qa", lambda row: {"mesages": row["messages"]}, "did you mean 'messages'"),
        ("raw", lambda row: {"source": "x"}, '"text" is missing'),
        ("raw", lambda row: {"text": " "}, "must be a non-empty string"),
        ("preferences", lambda row: {**row, "chosen": "text"}, '"chosen" must be a non-empty list'),
        ("qa", lambda row: {"messages": [{"role": "bot", "content": "x"}]}, "role 'bot'"),
        ("test", lambda row: {**row, "axis": "knowlege"}, "did you mean 'knowledge'"),
        (
            "test",
            lambda row: {**row, "answer": "nothing of these"},
            '"answer" must be one of "choices"',
        ),
        ("test", lambda row: {**row, "checks": ["jsn"]}, "did you mean 'json'"),
        ("test", lambda row: {**row, "pattern": "("}, "is not a regular expression"),
        (
            "test",
            lambda row: {k: v for k, v in row.items() if k not in ("answer", "choices")},
            "an item needs",
        ),
        ("test", lambda row: [row], "expected a JSON object"),
        ("raw", lambda row: {**row, "text": "\u3164\u200b"}, '"text" must be a non-empty string'),
        (
            "qa",
            lambda row: {"messages": [{**turn, "tool_calls": [{}]} for turn in row["messages"]]},
            'has a turn with "tool_calls"',
        ),
        (
            "qa",
            lambda row: {"messages": [{**turn, "weight": 0.5} for turn in row["messages"]]},
            '"messages" has a turn of weight 0.5; use 0 or 1',
        ),
    ],
)
def test_bad_rows_name_place_and_remedy(broken, split, change, expected):
    path = break_line(broken, split, 1, lambda line: json.dumps(change(json.loads(line))))
    problems = packs.check_pack(broken)
    assert problems and problems[0].startswith(f"{path}:1: ") and expected in problems[0]


def test_empty_and_missing_splits(broken):
    (broken / "raw.jsonl").write_text("\n")
    (broken / "eval_dev.jsonl").unlink()
    problems = packs.check_pack(broken)
    assert any("raw.jsonl: the split is empty" in p for p in problems)
    assert any("eval_dev.jsonl is missing" in p for p in problems)


def test_a_pack_of_text_and_items_alone_is_fine(broken):
    for split in packs.OPTIONAL_SPLITS:
        (broken / packs.SPLITS[split]).unlink()
    assert packs.check_pack(broken) == []


def test_duplicate_ids(broken):
    first = (broken / "eval_dev.jsonl").read_text("utf-8").splitlines()[0]
    with (broken / "eval_test.jsonl").open("a", encoding="utf-8") as file:
        file.write(first + "\n")
    assert any("is already in eval_dev.jsonl" in p for p in packs.check_pack(broken))


def test_unknown_pack_and_bad_yaml(broken, tmp_path):
    with pytest.raises(PackError, match="did you mean 'materials'"):
        packs.load_pack("materalis")
    (broken / "pack.yaml").write_text("name: [")
    with pytest.raises(PackError, match=r"pack.yaml:\d+: this is not valid YAML"):
        packs.load_pack(broken)
    (broken / "pack.yaml").write_text("name: x")
    with pytest.raises(PackError, match="'title' is missing"):
        packs.load_pack(broken)
    with pytest.raises(PackError, match=r"pack.yaml is missing"):
        packs.load_pack(tmp_path)


def test_not_utf8(broken):
    (broken / "raw.jsonl").write_bytes(b"\xff\xfe{}")
    assert any("is not UTF-8" in p for p in packs.check_pack(broken))


def test_fingerprint_follows_the_bytes(broken):
    before = packs.load_pack(broken).fingerprint("raw")
    assert before == packs.load_pack("materials").fingerprint("raw")
    break_line(broken, "raw", 1, lambda line: line.replace("a", "b", 1))
    assert packs.load_pack(broken).fingerprint("raw") != before


def test_an_id_used_twice_in_one_file_is_named_with_its_line(broken):
    lines = (broken / "eval_dev.jsonl").read_text("utf-8").splitlines()
    (broken / "eval_dev.jsonl").write_text("\n".join([*lines, lines[3]]) + "\n")
    with pytest.raises(
        PackError, match=rf"eval_dev.jsonl:{len(lines) + 1}: id 'dev-0003' is already on line 4"
    ):
        packs.load_pack(broken).rows("dev")


@pytest.mark.parametrize(
    "item,words",
    [
        ({"answer": 4}, '"answer" must be a non-empty string'),
        ({"answer": "\u2060"}, '"answer" must be a non-empty string'),
        ({"choices": ["", "a"], "answer": "a"}, '"choices" must be a list of non-empty'),
        ({"answer": "b", "choices": ["a"]}, "must be one of"),
    ],
)
def test_answers_and_choices_are_text(item, words):
    row = {
        "id": "a",
        "axis": "knowledge",
        "entity": "e",
        "messages": [{"role": "user", "content": "?"}],
        **item,
    }
    assert any(words in problem for problem in packs.row_problems(row, "eval"))


def test_a_prompt_is_text():
    row = {
        "id": "a",
        "axis": "knowledge",
        "entity": "e",
        "prompt": [{"role": "user", "content": "?"}],
        "answer": "b",
    }
    assert any(
        '"prompt" must be a non-empty string' in problem
        for problem in packs.row_problems(row, "eval")
    )


def test_line_separators_inside_a_text_do_not_end_a_line(broken):
    with (broken / "raw.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "one\u2028two\x85three"}, ensure_ascii=False) + "\n")
    assert packs.check_pack(broken) == []
    assert packs.load_pack(broken).rows("raw")[-1]["text"] == "one\u2028two\x85three"


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("training", ["raw", "summaries", "qa", "preferences"])
def test_an_item_that_stands_in_training_rows_is_named_with_both_places(broken, split, training):
    items = [
        json.loads(line) for line in (broken / packs.SPLITS[split]).read_text("utf-8").splitlines()
    ]
    number, item = next((n, item) for n, item in enumerate(items, 1) if item["axis"] == "reasoning")
    question = item["messages"]
    row = {
        "text": {"text": f"A reader asks: {question[0]['content']} Nobody knows."},
        "qa": {"messages": [*question, {"role": "assistant", "content": "x"}]},
        "preferences": {
            "prompt": question,
            "chosen": [{"role": "assistant", "content": "x"}],
            "rejected": [{"role": "assistant", "content": "y"}],
        },
    }[packs.layout(training)]
    path = broken / packs.SPLITS[training]
    lines = len(path.read_text("utf-8").splitlines())
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(row) + "\n")
    problems = packs.check_pack(broken)
    assert problems[0].startswith(
        f"{broken / packs.SPLITS[split]}:{number}: the item leaks, {path}:{lines + 2} "
        "has its words too"
    )
    assert "remove one of the two rows; see docs/packs.md" in problems[0]


def test_a_test_split_copied_into_raw_is_found(broken):
    """Long passages, asked as text to continue, of a text that is in raw."""
    passage = (
        "the ring was forged at nine hundred degrees and cooled in oil before any load was "
        "put on it"
    )
    item = {
        "id": "own",
        "axis": "knowledge",
        "entity": "ring",
        "prompt": passage,
        "answer": "at all",
    }
    for split, row in (("test", item), ("raw", {"text": f"We saw that {passage}."})):
        with (broken / packs.SPLITS[split]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    (problem,) = packs.check_pack(broken)
    assert "the item leaks" in problem and "the ring was forged at nine hundred degrees" in problem


def test_what_is_marked_as_taught_stands_in_the_texts_and_in_no_question(broken):
    raw = packs.load_pack(broken).rows("raw")[0]["text"]
    sentence = raw.split(". ")[0] + "."

    def taught(text):
        asked = [{"role": "user", "content": f'Fill the gap: "{text}"'}]
        return lambda line: json.dumps(
            {
                "id": "t",
                "axis": "knowledge",
                "entity": "x",
                "messages": asked,
                "answer": "silk",
                "source": "a.txt",
                "taught": text,
            }
        )

    break_line(broken, "test", 1, taught(sentence))
    assert packs.check_pack(broken) == []
    path = break_line(broken, "test", 1, taught("The moon is made of no cheese at all."))
    (problem,) = packs.check_pack(broken)
    assert problem.startswith(f'{path}:1: "taught" stands in no row of raw.jsonl')
    question = {"role": "user", "content": f'Fill the gap: "{sentence}"'}
    reply = {"role": "assistant", "content": "silk"}
    break_line(broken, "test", 1, taught(sentence))
    break_line(broken, "qa", 1, lambda line: json.dumps({"messages": [question, reply]}))
    (problem,) = packs.check_pack(broken)
    assert "the item leaks" in problem and "qa.jsonl:1" in problem
