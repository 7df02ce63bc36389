from __future__ import annotations

from pathlib import Path

import pytest

from labkit.base.errors import InputError
from labkit.data import workbench
from labkit.data.packs import row_problems
from labkit.data.readers import Document, Dropped, Record
from labkit.data.workbench import Example

USER, ANSWER = (
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "A ring."},
)
WRONG = {"role": "assistant", "content": "A rod."}


def convert(**values):
    return workbench.convert(Record(Path("/data/a.jsonl"), "a.jsonl", 7, values))


@pytest.mark.parametrize(
    "values",
    [
        {"messages": [USER, ANSWER]},
        {
            "conversations": [
                {"from": "human", "value": "What is it?"},
                {"from": "gpt", "value": "A ring."},
            ]
        },
        {"instruction": "What is it?", "output": "A ring.", "input": ""},
        {"instruction": "What is it?", "output": "A ring."},
        {"prompt": "What is it?", "completion": " A ring. "},
        {"prompt": [USER], "completion": [ANSWER]},
        {"question": "What is it?", "answer": "A ring."},
    ],
)
def test_questions_from_every_layout(values):
    found = convert(**values)
    assert found == Example("qa", "a.jsonl#7", {"messages": [USER, ANSWER]}, "a.jsonl")
    assert not list(row_problems(found.row, "qa"))


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "What is it?", "chosen": "A ring.", "rejected": "A rod."},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]},
        {"prompt": "What is it?", "chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
    ],
)
def test_preferences_from_every_layout(values):
    found = convert(**values)
    assert found.kind == "preferences" and found.row == {
        "prompt": [USER],
        "chosen": [ANSWER],
        "rejected": [WRONG],
    }
    assert not list(row_problems(found.row, "preferences"))


def test_text_and_its_source():
    assert convert(text=" A ring.\r\n", source="paper 3") == Document(
        "a.jsonl#7", "A ring.", "a.jsonl", "paper 3"
    )
    assert convert(text="A ring.", source=4).family == ""


def test_input_of_alpaca_follows_the_instruction():
    assert (
        convert(instruction="Shorten.", input="A long text.", output="Text.").row["messages"][0][
            "content"
        ]
        == "Shorten.\n\nA long text."
    )


def test_turns_and_system_prompts_are_kept():
    system = {"role": "system", "content": "Be brief."}
    assert convert(messages=[system, USER, ANSWER, USER, WRONG]).row["messages"] == [
        system,
        USER,
        ANSWER,
        USER,
        WRONG,
    ]
    assert (
        convert(
            conversations=[
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "What is it?"},
                {"from": "gpt", "value": "A ring."},
            ]
        ).row["messages"][0]
        == system
    )


@pytest.mark.parametrize(
    "values,words",
    [
        ({"text": " "}, '"text" is empty'),
        ({"text": None}, '"text" must be text, got NoneType'),
        ({"question": "Why?", "answer": ""}, '"answer" is empty'),
        ({"messages": [USER]}, "must end with the assistant's"),
        ({"messages": [ANSWER]}, "needs a user's turn"),
        ({"messages": []}, "non-empty list"),
        (
            {"messages": [USER, {"role": "assistant", "content": " "}]},
            'a turn of "messages" is empty',
        ),
        ({"messages": [{"role": "bot", "content": "x"}]}, "role 'bot'"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, '"from" is one of human'),
        ({"conversations": "hello"}, '"conversations" must be a list'),
        (
            {"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]},
            '"role" and "content" as strings',
        ),
        ({"instruction": "x", "input": 5, "output": "y"}, '"input" must be text'),
        ({"prompt": "x", "chosen": "y", "rejected": "y"}, "are the same"),
        ({"prompt": "x", "chosen": [USER], "rejected": "y"}, "one answer"),
    ],
)
def test_rows_with_bad_fields_are_left_out_with_a_reason(values, words):
    found = convert(**values)
    assert (
        isinstance(found, Dropped)
        and (found.source, found.what) == ("a.jsonl#7", "row")
        and words in found.detail
    )


def test_unknown_columns_name_place_columns_and_the_known_layouts():
    with pytest.raises(InputError) as error:
        convert(body="x", headline="y")
    assert str(error.value).startswith(
        "/data/a.jsonl:7: no known layout has these columns (body, headline); rename "
        "them or move the file away; known: "
    )
    assert all(layout.name in str(error.value) for layout in workbench.LAYOUTS)


def test_columns_that_are_not_read():
    assert workbench.unused_columns(
        Record(
            Path("a"),
            "a",
            1,
            {"question": "", "answer": "", "source": "", "category": "", "id": ""},
        )
    ) == ["category", "id"]
