"""Questions go out without keys, answers come back and are scored; what does not count is told."""

from __future__ import annotations

import csv
import json

import pytest

from labkit.base.errors import InputError
from labkit.data.packs import load_pack
from labkit.evaluate import answers
from labkit.evaluate.scorecards import ItemResult, Scorecard


def write(path, rows, *, delimiter=",", encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def asked(materials, tmp_path):
    """The rows of a file of questions as a spreadsheet shows them, every fact filled in."""
    found = answers.questions_of(materials, limit=8)
    answers.write_questions(found, tmp_path / "questions.csv")
    with (tmp_path / "questions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {item["id"]: item.get("answer", "") for item in materials.rows("test")}
    return [{**row, "answer": keys.get(row["id"], "no idea")} for row in rows]


def test_questions_hold_no_key_and_say_what_is_left_out(materials, tmp_path):
    found = answers.questions_of(materials, limit=8)
    assert {q.axis for q in found.questions} == {
        "knowledge", "reasoning", "instructions", "creativity", "general", "compositional",
        "scenario",
    }  # fmt: skip
    assert len({q.id for q in found.questions}) == len(found.questions)
    keys = {item["id"]: item for item in materials.rows("test")}
    for question in found.questions:
        item = keys.get(question.id, {})
        if "answer" in item and "choices" not in item:
            assert item["answer"] not in question.question
    assert found.left_out[answers.BY_LIKELIHOOD]["knowledge, cloze"] == 8
    answers.write_questions(found, tmp_path / "q.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text("utf-8").splitlines()]
    assert set(rows[0]) == {"id", "axis", "question", "answer"} and not any(
        row["answer"] for row in rows
    )
    with pytest.raises(InputError, match=r"written as \.csv or \.jsonl"):
        answers.write_questions(found, tmp_path / "q.txt")
    with pytest.raises(InputError, match="unknown evaluation split 'tset'"):
        answers.questions_of(materials, split="tset")


@pytest.mark.parametrize(
    "delimiter,encoding", [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "cp1252")]
)
def test_answers_come_back_through_a_spreadsheet(materials, asked, tmp_path, delimiter, encoding):
    asked[0]["answer"] = "It is caf\u00e9 silk."
    path = write(tmp_path / "a.csv", asked, delimiter=delimiter, encoding=encoding)
    found = answers.score_answers(materials, answers.read_answers(path))
    assert found.card.interval("knowledge").mean >= 15 / 16
    assert found.card.interval("reasoning").mean == found.card.interval("general").mean == 1
    assert found.card.interval("general").n == 8 and found.card.checkpoint == "a"
    passed = {result.scenario.name: result.passed for result in found.scenarios}
    assert passed["unknown fact"] == 8 and passed["json brief"] == 0


def test_a_choice_is_named_alone():
    choices = ["cubic", "diamond cubic", "Yes", "No"]
    assert answers.chosen(choices, "It is diamond cubic.") == {"diamond cubic"}
    assert answers.chosen(choices, "diamond cubic, not cubic") == {"diamond cubic", "cubic"}
    assert answers.chosen(choices, "Nobody knows") == set()
    assert answers.chosen(choices, "NO!") == {"No"}


def test_everything_that_does_not_count_is_counted(materials, asked, tmp_path):
    scenario = [row for row in asked if row["axis"] == "scenario"]
    items = [row for row in asked if row["axis"] == "general"]
    lost, again = {**items[0], "answer": ""}, {**items[1], "answer": "Paris"}
    stranger = {"id": "test-9999", "axis": "", "question": "", "answer": "x"}
    nameless = {"id": "", "axis": "", "question": "Who are you?", "answer": "x"}
    by_words = {**items[2], "id": "", "question": items[2]["question"].replace(" ", "\r\n", 1)}
    rows = [lost, items[1], again, by_words, *items[3:], *scenario[1:], stranger, nameless]
    found = answers.score_answers(
        materials, answers.read_answers(write(tmp_path / "a.csv", rows, delimiter=";"))
    )
    scores = [item.score for item in found.card.items]
    assert (len(scores), sum(scores)) == (8, 7)  # the empty one is wrong, the first of two counts
    told = "\n".join(found.notes)
    for words in (
        "items that can be asked and are not in this file: 1410 of 1418",
        "questions without an answer: 1",
        "answered more than once: 1",
        "not of this pack and split, or cannot be asked in words: 1 (first: test-9999)",
        "ask nothing of this pack: 1",
        "60 of preference, truth",
    ):
        assert words in told
    first = found.scenarios[0]
    assert first.n == 7  # the case that was not asked is none


def test_an_empty_answer_declines_nothing(materials, asked, tmp_path):
    rows = [{**row, "answer": ""} for row in asked if row["axis"] == "scenario"]
    found = answers.score_answers(materials, answers.read_answers(write(tmp_path / "a.csv", rows)))
    assert found.scenarios[0].passed == 0
    assert found.scenarios[0].cases[0].broken == (answers.NO_ANSWER,)


def test_a_pack_of_real_text_asks_what_it_can(tmp_path):
    pack = load_pack("elements")
    found = answers.questions_of(pack, limit=3)
    assert not any(q.axis == "preference" for q in found.questions)
    assert found.left_out[answers.FOR_TINY] == {"general, free": 3, "instructions, general": 3}
    keys = {item["id"]: item.get("answer", "") for item in pack.rows("test")}
    rows = [{"id": q.id, "Answer": f"The answer is {keys[q.id]}"} for q in found.questions]
    card = answers.score_answers(
        pack, answers.read_answers(write(tmp_path / "mine.csv", rows))
    ).card
    assert card.interval("reasoning").mean == 1


def test_what_lm_eval_logs_is_read(materials, tmp_path):
    item = next(row for row in materials.rows("test") if row["axis"] == "general")
    line = {"doc_id": 3, "doc": item, "resps": [["x"]], "filtered_resps": [item["answer"]]}
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(line))
    assert answers.score_answers(materials, answers.read_answers(path)).card.items[0].score == 1
    path.write_text(json.dumps({**line, "filtered_resps": [[-1.5, True]]}))
    with pytest.raises(InputError, match=r"samples.jsonl:1: .*generate_until"):
        answers.read_answers(path)


@pytest.mark.parametrize(
    "name,text,words",
    [
        ("a.csv", "id,reply\nx,y\n", "a.csv:2: answer: missing (it has id, reply)"),
        ("a.csv", "answer\ny\n", "a.csv:2: id: missing"),
        ("a.csv", "id,answer\nx,#NAME?\n", "a.csv:2: answer: a spreadsheet took this answer"),
        ("a.csv", 'id,answer\nx,"y\nz,w\n', "a.csv:2: a quotation mark that is not closed"),
        ("a.csv", "", "a.csv: empty"),
        ("a.jsonl", '{"id": "x", "answer": ["y"]}', "a.jsonl:1: answer: expected text, got list"),
        ("a.jsonl", '{"id": "x", "answer": "y"}\n{"id":', "a.jsonl:2: broken JSON"),
        ("a.txt", "x", "answers are read from .csv, .jsonl, .xlsx"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        answers.read_answers(tmp_path / name)
    assert words in str(error.value) and str(tmp_path) in str(error.value)


def test_half_a_character_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "Who?", "answer": "Ada\\ud800 Ender"}')
    (row,) = answers.read_answers(tmp_path / "a.jsonl").rows
    assert (row.question, row.answer) == ("Who?", "Ada Ender")


def test_answers_to_another_pack_are_refused(materials, tmp_path):
    path = write(tmp_path / "a.csv", [{"id": "q1", "answer": "x"}])
    with pytest.raises(InputError, match=r"a.csv:2: id: no question of pack materials"):
        answers.score_answers(materials, answers.read_answers(path))
    with pytest.raises(InputError, match="no such file"):
        answers.read_answers(tmp_path / "none.csv")


# --- a demo -------------------------------------------------------------------------------------


def card(pack, split, *kinds, wrong=()):
    """Every fact is answered in a sentence, whatever is asked for; nothing of some kinds."""
    items = [
        ItemResult(
            item["id"], item["axis"], item.get("kind", item["axis"]), item["entity"],
            float(item.get("kind") not in wrong), f"It is {item.get('answer')}.",
        )
        for item in pack.rows(split)
        if item.get("kind") in kinds
    ]  # fmt: skip
    return Scorecard("demo", pack.name, split, "", items)


def test_a_demo_shines_where_it_was_chosen(materials):
    kinds = ("free", "paraphrased", "compositional", "cloze", "truth")
    dev = card(materials, "dev", *kinds, wrong=("paraphrased",))
    test = card(materials, "test", *kinds, wrong=("paraphrased", "compositional"))
    found = answers.demo_of(dev, test, materials)
    assert found.right == found.asked and found.same.mean == 1 and len(found.shown) == 5
    assert found.realistic.mean < 0.5 and "knowledge, cloze" not in found.by_kind
    lengths = [len(reply) for _, reply in found.shown]
    assert lengths == sorted(lengths, reverse=True)
    rows = {item["messages"][0]["content"]: item["entity"] for item in materials.rows("dev")
            if "messages" in item}  # fmt: skip
    assert len({rows[question] for question, _ in found.shown}) == 5
    with pytest.raises(InputError, match="nothing to show"):
        answers.demo_of(card(materials, "dev", "free", wrong=("free",)), test, materials)
    with pytest.raises(InputError, match="no other kind of question"):
        one = card(materials, "test", "compositional")
        answers.demo_of(card(materials, "dev", "compositional"), one, materials)


def test_perfect_demos_are_counted_exactly():
    assert answers.perfect_demos(3, 4, 2) == (3, 0.5)
    assert answers.perfect_demos(1, 4, 2) == (0, 0.0)
    with pytest.raises(InputError, match="count is 5"):
        answers.perfect_demos(3, 4, 5)


# --- marks of people ------------------------------------------------------------------------------


def marked_file(path, rows):
    path.write_text("id,answer,mark Ann,mark Ben\n" + "\n".join(",".join(row) for row in rows))
    return path


def test_marks_are_told_with_their_agreement_beyond_chance(tmp_path):
    pack = load_pack("materials")
    ids = [q.id for q in answers.questions_of(pack, limit=20).questions if q.axis == "creativity"]
    given = [("1", "yes"), ("0", "no"), ("1", "0"), ("0", "0,0"), ("1", "1"), ("", "1")]
    rows = [(id, "a lamp", *given[i % len(given)]) for i, id in enumerate(ids)]
    rows = [(id, said, ann, f'"{ben}"') for id, said, ann, ben in rows]
    found = answers.score_answers(pack, answers.read_answers(marked_file(tmp_path / "a.csv", rows)))
    told = "\n".join(found.marked)
    both = [(a, b) for _, _, a, b in rows if a]
    assert "creativity, marked by ann: " in told and f"of {len(both)} answers" in told
    same = sum((a == "1") == (b in ('"1"', '"yes"')) for a, b in both)
    assert f"ann and ben: they agree on {same} of {len(both)}; beyond chance" in told
    assert "knowledge" not in told  # nobody marked there


def test_marks_are_those_of_the_answer_that_counts(tmp_path):
    pack = load_pack("materials")
    id = next(q.id for q in answers.questions_of(pack).questions if q.axis == "creativity")
    rows = [(id, "a lamp", "", "1"), (id, "a bridge", "1", "0")]
    found = answers.score_answers(pack, answers.read_answers(marked_file(tmp_path / "a.csv", rows)))
    assert len(found.marked) == 1 and "marked by ben: 1.00" in found.marked[0]
    assert any("the first answer counts, and its marks" in note for note in found.notes)


@pytest.mark.parametrize("name,told", [("mark", True), ("Marks Ann", True), ("market", False)])
def test_a_column_named_almost_as_marks_is_told(tmp_path, name, told):
    (tmp_path / "a.csv").write_text(f"id,answer,{name}\nx1,a lamp,1\nx2,a boat,0\n")
    found = answers.read_answers(tmp_path / "a.csv")
    assert not any(row.marks for row in found.rows)
    assert len(found.notes) == told and all("is not read" in note for note in found.notes)


def test_items_that_ask_the_same_are_answered_in_order():
    rows = [answers.Said(f"a:{n}", "", "Why?", said) for n, said in enumerate("abc")]
    asked = [(id, "Why? ") for id in ("one", "two", "three")]
    assert answers.Answers("a", tuple(rows)).ids(asked) == ["one", "two", "three"]
    named = [answers.Said("a:0", "two", "", "x"), *rows]
    # the fourth answer has no item left; it repeats the first one's
    assert answers.Answers("a", tuple(named)).ids(asked) == ["two", "one", "three", "one"]


def test_kappa_is_cohens(tmp_path):
    """The worked example of Cohen's paper in its form of two classes: 45, 15, 25, 15."""
    pairs = (
        [(True, True)] * 45 + [(True, False)] * 15 + [(False, True)] * 25 + [(False, False)] * 15
    )
    assert answers._kappa(pairs) == pytest.approx(0.1304, abs=1e-4)
    assert answers._kappa([(True, True)] * 9) is None


def test_a_mark_that_is_none_is_told_with_its_place(tmp_path):
    path = marked_file(tmp_path / "a.csv", [("x1", "a lamp", "good", "1")])
    with pytest.raises(InputError, match=r"a\.csv:2: mark.ann: 'good' is no mark; write 1"):
        answers.read_answers(path)
