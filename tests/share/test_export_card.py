"""A card tells what it is given: nothing invented, nothing that could break a page."""

from __future__ import annotations

import ast
import shlex
from dataclasses import replace

import pytest
import yaml

from labkit.share.model_cards import Card, card_text, in_words

MODEL = {
    "architecture": "LlamaForCausalLM",
    "parameters": 1000,
    "vocabulary": 10,
    "context": 256,
    "dtype": "float32",
    "tiny": False,
    "chat": True,
    "note": "",
}
STAGE = {
    "name": "p/m/sft",
    "stage": {
        "kind": "sft",
        "learning_rate": 1e-4,
        "steps": 9,
        "replay": 0.25,
        "beta": 0.1,
        "sources": ["raw"],
        "lora": None,
    },
    "data": "0123456789abcdef",
    "seed": 4,
    "versions": {"torch": "2"},
    "wall_seconds": 1.25,
    "tokens": 1234,
}
CARD = Card(
    name="mine",
    folder="out",
    model=MODEL,
    licences={"parent": "mit"},
    hub_ids={},
    steps=[STAGE],
    versions={"labkit": "1"},
    evaluation="it was exported with --no-score",
)


def front(card: Card) -> dict:
    return yaml.safe_load(card_text(card).split("---\n")[1])


@pytest.mark.parametrize(
    "licences,said",
    [
        ({"parent": "mit"}, {"license": "mit"}),
        ({"a": "mit", "b": "mit"}, {"license": "mit"}),
        ({"parent": None}, {"license": "other", "license_name": "see-parent"}),
        ({"a": "mit", "b": "apache-2.0"}, {"license": "other", "license_name": "see-parent"}),
    ],
)
def test_the_licence_is_that_of_all_parents_or_left_to_them(licences, said):
    card = replace(CARD, licences=licences)
    head = front(card)
    assert {key: value for key, value in head.items() if key.startswith("license")} == said
    assert ("see parent" in card_text(card)) == (None in licences.values())


def test_hub_ids_are_used_where_there_are_some_and_local_names_are_said_to_be_local():
    card = replace(
        CARD,
        licences={"mine": "mit", "small": "mit", "owner/model": "mit"},
        hub_ids={"small": "owner/small"},
        pack={"name": "p", "title": "t", "licence": "l"},
    )
    assert front(card)["base_model"] == ["owner/small", "owner/model"] and front(card)[
        "datasets"
    ] == ["p"]
    assert "# not on the hub, put your own ids here: p\n" in card_text(card)


def test_a_stage_tells_what_its_kind_uses():
    line = next(line for line in card_text(CARD).splitlines() if line.startswith("| 1 |"))
    assert (
        line == "| 1 | sft | learning rate 0.0001, steps 9, replay 0.25 | `0123456789ab` | 4 | "
        "1,234 | 1.2 |"
    )


def test_what_is_missing_is_said():
    text = card_text(replace(CARD, whole=False))
    assert (
        "Not measured: it was exported with --no-score." in text
        and "Nothing was measured" in text
        and "Earlier steps are not told" in text
    )
    assert "no chat template" in card_text(replace(CARD, model=MODEL | {"chat": False}))


def test_titles_cannot_become_markup():
    text = card_text(
        replace(
            CARD,
            pack={
                "name": "p",
                "title": "a | <script>alert(1)</script>\n# head",
                "licence": "l",
                "note": "<b>",
            },
        )
    )
    assert (
        "<script>" not in text
        and "<b>" not in text
        and "\n# head" not in text
        and "a \\| &lt;script&gt;" in text
    )


def test_values_are_said_in_words():
    assert in_words(
        {
            "learning_rate": 0.0008,
            "sources": ["raw", "qa"],
            "lora": {"rank": 16},
            "steps": 1200,
            "on": True,
        }
    ) == ("learning rate 0.0008, sources raw and qa, lora rank 16, steps 1,200, on yes")


def test_commands_of_a_card_can_be_pasted_whatever_the_folder_is_called():
    folder = 'it\'s "my" $model'
    told = card_text(replace(CARD, folder=folder, gguf="m y.gguf")).split("```")
    shown = [block.partition("\n")[2] for block in told[1::2]]
    words = [word for block in shown if "llama-server" in block for word in shlex.split(block)]
    assert words.count(f"./{folder}") == 2 and f"{folder}/m y.gguf" in words
    (python,) = [block for block in shown if "from_pretrained" in block]
    named = [node.value for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Constant)]
    assert named.count(folder) == 2
