from __future__ import annotations

from pathlib import Path

import pytest

from labkit.data import workbench
from labkit.data.packs import row_problems
from labkit.data.readers import COLUMN_NAMES, Document, Dropped, Record
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
            {"prompt": [USER], "completion": [{"role": "system", "content": "x"}, USER, ANSWER]},
            '"completion" begins with a system turn',
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": " "}]},
            'turn 2 of "messages" is empty',
        ),
        ({"messages": [{"role": "bot", "content": "x"}]}, "role 'bot'"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, '"from" is one of human'),
        ({"conversations": "hello"}, '"conversations" must be a list'),
        (
            {"conversations": [{"from": "human"}, {"from": "gpt", "value": "x"}]},
            'turn 1 of "conversations" has no text in "content" or "value"',
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


def test_a_row_of_unknown_columns_is_left_out_and_its_columns_are_named():
    assert convert(body="x", headline="y") == Dropped(
        "a.jsonl#7", "row", workbench.NO_LAYOUT, "body, headline"
    )


def test_a_file_of_unknown_columns_is_told_the_known_layouts():
    told = str(workbench.no_good_row(Path("/data/a.jsonl"), convert(body="x", headline="y")))
    assert told.startswith(
        "/data/a.jsonl:7: no known layout has these columns (body, headline); rename "
        "them or move the file away; known: "
    )
    assert all(layout.name in told for layout in workbench.LAYOUTS)


def test_the_columns_of_every_layout_are_known_as_heads_of_tables():
    for layout in workbench.LAYOUTS:
        assert {*layout.columns, *layout.optional} <= COLUMN_NAMES


def test_columns_that_are_not_read():
    assert workbench.unused_columns(
        Record(
            Path("a"),
            "a",
            1,
            {"question": "", "answer": "", "source": "", "category": "a", "id": 0, "note": None},
        )
    ) == ["category", "id"]


def test_a_row_of_a_table_of_several_layouts_has_the_one_that_it_fills():
    asked = {"question": "What is it?", "answer": "A ring."}
    empty = {"messages": None, "prompt": "", "chosen": None, "rejected": None, "text": ""}
    assert convert(**empty, **asked).row == {"messages": [USER, ANSWER]}
    assert convert(question=None, answer=None, text="A ring.").text == "A ring."
    pair = {"prompt": "What is it?", "completion": None, "chosen": "A ring.", "rejected": "Rust."}
    assert convert(**pair).kind == "preferences"
    # a text beside it does not hide what a chat lacks
    found = convert(instruction="What is it?", output="", text="What is it? Response:")
    assert found.detail == '"output" is empty'


@pytest.mark.parametrize(
    "name", ["systemPrompt", "System Prompt", "system-prompt", "SYSTEM_PROMPT"]
)
def test_a_column_is_known_however_its_words_are_parted(name):
    row = convert(**{name: "Be brief.", "Question": "What is it?", "ANSWER": "A ring."}).row
    assert row["messages"] == [SYSTEM, USER, ANSWER]


def test_a_conversation_about_pictures_is_left_out():
    found = convert(messages=[USER, ANSWER], images=["ring.png"])
    assert (found.reason, found.detail) == (workbench.NEEDS_MEDIA, "images")
    assert isinstance(convert(messages=[USER, ANSWER], images=[]), Example)


# --- what belongs to a conversation -----------------------------------------------------------

SYSTEM = {"role": "system", "content": "Be brief."}
EARLIER = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes."}]
SHAREGPT = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A ring."}]


@pytest.mark.parametrize(
    "values",
    [
        {"conversations": SHAREGPT, "system": "Be brief."},
        {"messages": [USER, ANSWER], "system": "Be brief."},
        {"messages": [USER, ANSWER], "system": [{"type": "text", "text": "Be brief."}]},
        {"messages": [SYSTEM, USER, ANSWER], "system": "Be brief."},
        {"messages": [{**SYSTEM, "role": "developer"}, USER, ANSWER]},
        {"instruction": "What is it?", "output": "A ring.", "system": "Be brief."},
        {"question": "What is it?", "response": "A ring.", "system_prompt": "Be brief."},
        {"messages": [USER, ANSWER], "system_message": "Be brief."},
        {"question": "What is it?", "answer": "A ring.", "system_instruction": "Be brief."},
        {"prompt": [USER], "completion": [ANSWER], "system": "Be brief."},
    ],
)
def test_a_system_column_is_the_first_turn(values):
    assert convert(**values).row == {"messages": [SYSTEM, USER, ANSWER]}


def test_a_system_column_and_another_system_turn_are_one_turn():
    row = convert(messages=[SYSTEM, USER, ANSWER], system="Be kind.").row
    assert row["messages"] == [{"role": "system", "content": "Be kind.\n\nBe brief."}, USER, ANSWER]


@pytest.mark.parametrize(
    "history", [[["Hello?", "Yes."]], '[["Hello?", "Yes."]]', "[['Hello?', 'Yes.']]", EARLIER]
)
def test_history_is_earlier_turns(history):
    row = convert(instruction="What is it?", output="A ring.", history=history, system="Be brief.")
    assert row.row["messages"] == [SYSTEM, *EARLIER, USER, ANSWER]
    row = convert(question="What is it?", answer="A ring.", chat_history=history)
    assert row.row["messages"] == [*EARLIER, USER, ANSWER]


@pytest.mark.parametrize("nothing", ["", " \u200b", None, [], "[]"])
def test_columns_that_hold_nothing_add_nothing(nothing):
    row = convert(
        instruction="What is it?",
        output="A ring.",
        input="" if isinstance(nothing, list) or nothing == "[]" else nothing,
        history=nothing,
        tools=nothing,
        system=None,
    )
    assert row.row["messages"] == [USER, ANSWER]


@pytest.mark.parametrize("history", ["Hello", [["Hello?"]], [["Hello?", ""]], {"a": 1}, 3])
def test_a_history_that_cannot_be_read_leaves_the_row_out(history):
    found = convert(instruction="What is it?", output="A ring.", history=history)
    assert isinstance(found, Dropped) and '"history"' in found.detail


@pytest.mark.parametrize("context", ["It is round.", ["It is round."]])
def test_a_context_follows_the_question(context):
    asked = convert(question="What is it?", context=context, answer="A ring.").row["messages"][0]
    assert asked["content"] == "What is it?\n\nIt is round."


CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}


@pytest.mark.parametrize(
    "values,found",
    [
        ({"messages": [USER, CALL, ANSWER]}, 'turn 2 of "messages": tool_calls'),
        ({"messages": [USER, {"role": "tool", "content": "x"}, ANSWER]}, "tool"),
        ({"messages": [USER, {**ANSWER, "function_call": {"name": "f"}}]}, "function_call"),
        ({"messages": [USER, ANSWER], "tools": [{"type": "function"}]}, "tools"),
        ({"messages": [USER, ANSWER], "functions": [{"name": "f"}]}, "functions"),
        (
            {"messages": [USER, {**ANSWER, "content": [{"type": "tool_use", "name": "f"}]}]},
            'turn 2 of "messages": tool_use',
        ),
        ({"conversations": [*SHAREGPT, {"from": "observation", "value": "x"}]}, "observation"),
        (
            {"prompt": [USER], "chosen": [CALL], "rejected": [ANSWER]},
            'turn 1 of "chosen": tool_calls',
        ),
    ],
)
def test_a_row_that_needs_tools_is_left_out_and_named(values, found):
    dropped = convert(**values)
    assert dropped.reason == workbench.NEEDS_TOOLS and dropped.detail.endswith(found)


@pytest.mark.parametrize(
    "turn",
    [
        {"weight": 0},
        {"train": False},
        {"training": False},
        {"trainable": False},
        {"train_on_turn": False},
        {"loss": False},
        {"loss_weight": 0.0},
    ],
)
def test_a_turn_of_weight_0_stays_and_is_marked(turn):
    row = convert(messages=[USER, {**WRONG, **turn}, USER, {**ANSWER, "weight": 1}]).row
    assert row["messages"] == [USER, {**WRONG, "weight": 0}, USER, ANSWER]
    assert not list(row_problems(row, "qa"))


def test_a_row_without_an_answer_to_learn_is_left_out():
    found = convert(messages=[USER, {**ANSWER, "weight": 0}])
    assert found.reason == workbench.NOT_LEARNED
    found = convert(messages=[USER, {**ANSWER, "weight": 0.5}])
    assert found.detail == 'turn 2 of "messages" has "weight" 0.5; use 0 or 1'


@pytest.mark.parametrize("label,kept", [(True, True), (False, False), ("False", False)])
def test_an_answer_that_is_labelled_as_not_wanted_is_left_out(label, kept):
    found = convert(prompt="What is it?", completion="A ring.", label=label)
    assert isinstance(found, Example) is kept
    assert kept or found.reason == workbench.NOT_WANTED


def test_a_label_that_is_a_class_is_a_column_that_is_not_read():
    record = Record(
        Path("a"), "a", 1, {"prompt": "What is it?", "completion": "A ring.", "label": "metal"}
    )
    assert isinstance(workbench.convert(record), Example)
    assert workbench.unused_columns(record) == ["label"]


@pytest.mark.parametrize(
    "values",
    [
        {"conversations": [USER, ANSWER]},
        {"messages": SHAREGPT},
        {"conversations": [{"role": "user", "value": "What is it?"}, ANSWER]},
        {"messages": [{"role": "Human", "content": "What is it?"}, ANSWER]},
        {"messages": [{**USER, "content": [{"type": "text", "text": "What is it?"}]}, ANSWER]},
        {
            "messages": '[{"role": "user", "content": "What is it?"}, '
            '{"role": "assistant", "content": "A ring."}]'
        },
        {"messages": str([USER, ANSWER])},
        {"Question:": "What is it?", " ANSWER\u200b": "A ring."},
        {"prompt": "\n\nHuman: What is it?\n\nAssistant:", "completion": " A ring."},
    ],
)
def test_turns_are_read_whatever_their_keys_are_called(values):
    assert convert(**values).row == {"messages": [USER, ANSWER]}


@pytest.mark.parametrize(
    "turn,words",
    [
        ({"role": "user", "content": [{"type": "image_url"}]}, 'turn 1 of "messages" holds image_'),
        ({"role": "user", "content": [3]}, 'turn 1 of "messages" holds int; only text can be read'),
        ({"role": "user", "content": {"a": 1}}, 'must have text in "content", got dict'),
        ({"role": "user", "content": [{"type": "text"}]}, 'holds text without "text"; only'),
        ({"speaker": "user", "text": "x"}, 'no "role" and no "from"; found: speaker, text'),
        ({"from": 3, "value": "x"}, '"messages" has from 3; "from" is one of human'),
        ("hello", 'turn 1 of "messages" must be "role" and "content", got str'),
    ],
)
def test_the_reason_names_what_was_found_in_a_turn(turn, words):
    found = convert(messages=[turn, ANSWER])
    assert isinstance(found, Dropped) and words in found.detail


def test_keys_of_turns_that_are_not_read_are_told():
    record = Record(
        Path("a"), "a", 1, {"messages": [{**USER, "name": "Ann"}, {**ANSWER, "id": ""}]}
    )
    assert workbench.unused_columns(record) == ["messages: name"]


# --- answers that nobody can see --------------------------------------------------------------


@pytest.mark.parametrize("nothing", ["\u200b", "\u3164", "\u2060 \ufe0f", "\u2800", "\xad", "\x85"])
def test_answers_that_nobody_can_see_are_empty(nothing):
    for values in (
        {"question": "What is it?", "answer": nothing},
        {"messages": [USER, {**ANSWER, "content": nothing}]},
        {"prompt": "What is it?", "chosen": "A ring.", "rejected": nothing},
        {"text": nothing},
    ):
        found = convert(**values)
        assert isinstance(found, Dropped) and found.detail.endswith("is empty")


def test_signs_without_a_shape_that_carry_meaning_stay():
    heart = "\u2764\ufe0f"
    assert convert(question="Sign?", answer=heart).row["messages"][1]["content"] == heart


# --- preferences ------------------------------------------------------------------------------

ROW = {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]}
HH = "\n\nHuman: What is it?\n\nAssistant:"


@pytest.mark.parametrize(
    "values",
    [
        {"chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
        {"chosen": f"{HH} A ring.", "rejected": f"{HH} A rod."},
        {"prompt": HH, "chosen": " A ring.", "rejected": " A rod."},
        {"prompt": HH, "chosen": f"{HH} A ring.", "rejected": f"{HH} A rod."},
        {"question": "What is it?", "chosen": "A ring.", "rejected": "A rod."},
        {"instruction": "What is it?", "input": " ", "chosen": "A ring.", "rejected": "A rod."},
        {
            "conversations": SHAREGPT[:1],
            "chosen": SHAREGPT[1],
            "rejected": {"from": "gpt", "value": "A rod."},
        },
        {"messages": [USER], "chosen": ANSWER, "rejected": WRONG},
        {
            "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [ANSWER],
            "non_preferred_output": [WRONG],
        },
        {
            "prompt": "What is it?",
            "chosen": [USER, ANSWER],
            "rejected": [USER, WRONG],
            "messages": [USER, ANSWER],
            "score_chosen": 8.0,
        },
        {
            "prompt": "What is it?",
            "chosen": "What is it?\nA ring.",
            "rejected": "What is it? A rod.",
        },
        {"prompt": "What is it?", "chosen": "What is it? A ring.", "rejected": "A rod."},
        {"prompt": "What is it?", "chosen": "what  is it?A ring.", "rejected": "A rod."},
        {
            "prompt": "What is it?",
            "chosen": "User: What is it?\nAssistant: A ring.",
            "rejected": "Human: What is it?\n\nAssistant: A rod.",
        },
        {"prompt": str([USER]), "chosen": str([USER, ANSWER]), "rejected": str([USER, WRONG])},
    ],
)
def test_preferences_as_they_are_published(values):
    found = convert(**values)
    assert found.row == ROW and not list(row_problems(found.row, "preferences"))


@pytest.mark.parametrize("prompt", [{}, {"prompt": "What is it?"}, {"prompt": [*EARLIER, USER]}])
def test_all_turns_that_both_answers_begin_with_are_the_prompt(prompt):
    turns = [*EARLIER, USER]
    found = convert(**prompt, chosen=[*turns, ANSWER], rejected=[*turns, WRONG])
    assert found.row == {**ROW, "prompt": turns}


def test_a_prompt_goes_on_in_the_turns_that_both_answers_begin_with():
    found = convert(
        prompt="Hello?", chosen=[EARLIER[1], USER, ANSWER], rejected=[EARLIER[1], USER, WRONG]
    )
    assert found.row == {**ROW, "prompt": [*EARLIER, USER]}


@pytest.mark.parametrize(
    "values",
    [
        {"chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
        {"prompt": "What is it?", "chosen": "A ring.", "rejected": "A rod."},
        {"prompt": "What is it?", "chosen": [SYSTEM, USER, ANSWER], "rejected": [USER, WRONG]},
        {"prompt": [SYSTEM, USER], "chosen": [USER, ANSWER], "rejected": [WRONG]},
    ],
)
def test_preferences_have_their_system_turn_once(values):
    found = convert(**values, system="Be brief.")
    assert found.row == {**ROW, "prompt": [SYSTEM, USER]}


def test_texts_without_a_prompt_begin_with_it():
    row = convert(chosen="The sky is blue.", rejected="The sky is black.").row
    assert [row[key][0]["content"] for key in row] == ["The sky is", "blue.", "black."]


def test_a_word_that_is_a_question_may_begin_an_answer():
    row = convert(prompt="Steel", chosen="Steel is an alloy.", rejected="Steel bends.").row
    assert row["chosen"][0]["content"] == "Steel is an alloy."
    row = convert(prompt="What is", chosen="What island?", rejected="A rod.").row
    assert row["chosen"][0]["content"] == "What island?"


@pytest.mark.parametrize(
    "question,answer",
    [
        ("What is it?", "What is it? A ring."),
        ("What is it?", "what\u00a0is it\u202f?\n\nA ring."),
        ("What is it", "What is it? A ring."),
        ("What is it", "What is it A ring."),
        ("What is it?", "What is it\nA ring."),
        ("What is it?", "Question: What is it?\nAnswer: A ring."),
        ("What is it?", "Q: What is it? A: A ring."),
        ("What is it?", "### Question:\nWhat is it?\n\n### Answer:\nA ring."),
        ("What is it?", "**What is it?**\n\nA ring."),
        ("Question: What is it?\nAnswer:", "What is it? A ring."),
        ("Question: What is it?\nAnswer:", "Question: What is it?\nAnswer: A ring."),
        ("Ring", "Question: Ring\nAnswer: A ring."),
        ('What\'s "it"?', "What\u2019s \u201cit\u201d? A ring."),
        ("What\u2019s\u2009it?", "What's it? A ring."),
        ("\u4ec0\u4e48\u662f\u94a2\uff1f", "\u4ec0\u4e48\u662f\u94a2\uff1fA ring."),
    ],
)
def test_no_answer_repeats_its_question(question, answer):
    pair = convert(prompt=question, chosen=answer, rejected="A rod.")
    assert pair.row["chosen"] == [ANSWER]
    for asked, answered in PAIRS:
        found = convert(**{asked: question, answered: answer}).row["messages"]
        assert found == [{"role": "user", "content": question}, ANSWER]


PAIRS = (("prompt", "completion"), ("instruction", "output"), ("question", "answer"))


@pytest.mark.parametrize(
    "question,answer",
    [
        ("Steel", "Steel: an alloy."),
        ("Steel", "Steel"),
        ("Tensile strength", "Tensile strength is the largest stress."),
        ("The ring", "The ring's load is 9 kN."),
        ("The ring", "The ring, when cold, bends."),
        ("What is", "What island?"),
        ("Version 1.", "Version 1.5 is newer."),
        ("Name metals.", "Iron. Name metals."),
        ("Really?", "Really."),
        ("Why?", "Answer: It is hard."),
        ("?", "A ring."),
    ],
)
def test_words_of_a_question_may_begin_an_answer(question, answer):
    for asked, answered in PAIRS:
        assert (
            convert(**{asked: question, answered: answer}).row["messages"][1]["content"] == answer
        )


def test_a_list_behind_a_repeated_question_keeps_its_bullets_and_a_turn_its_weight():
    found = convert(question="Which metals?", answer="Which metals?\n* iron\n* gold")
    assert found.row["messages"][1]["content"] == "* iron\n* gold"
    turns = [{**ANSWER, "content": "What is it? A ring.", "weight": 0}, USER, ANSWER]
    assert convert(prompt=[USER], completion=turns).row["messages"][1] == {**ANSWER, "weight": 0}


def test_an_answer_that_is_only_its_question_is_told():
    found = convert(question="Who is it?", answer="Question: who is it?\nAnswer:")
    assert isinstance(found, Dropped) and "repeats the prompt and says nothing more" in found.detail


@pytest.mark.parametrize(
    "values,words",
    [
        ({"chosen": "Yes.", "rejected": "No."}, "do not begin with one prompt"),
        ({"chosen": [USER, ANSWER], "rejected": [ANSWER]}, "do not begin with one prompt"),
        ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, "are the same"),
        ({"prompt": "x", "chosen": "A ring", "rejected": "A ri\u200dng"}, "are the same"),
        ({"prompt": "x", "chosen": "A ring", "rejected": "A\u3000ring"}, "are the same"),
        (
            {"prompt": "Why?", "chosen": [USER, ANSWER], "rejected": [USER, WRONG]},
            'the turns of "chosen" do not hold the prompt',
        ),
        ({"prompt": "Who is it?", "chosen": "Who is it?", "rejected": "x"}, "says nothing more"),
        ({"prompt": [ANSWER], "chosen": "x", "rejected": "y"}, "must end with a user's turn"),
        (
            {"input": "x", "preferred_output": [ANSWER], "non_preferred_output": [WRONG]},
            '"input" must hold "messages"',
        ),
    ],
)
def test_preferences_that_cannot_be_used_say_why(values, words):
    found = convert(**values)
    assert isinstance(found, Dropped) and words in found.detail
