"""Whatever people bring ends in a result or in one sentence; nothing is lost, nothing half-written.

At least 2,000 files a run. `make nightly` draws many more, and others every night.
"""

from __future__ import annotations

import csv
import io
import re

import pytest
import yaml
from commands import labkit
from fuzzing import TEXTS, as_json, broken, bytes_of, often
from hypothesis import given
from hypothesis import strategies as st

from labkit.base.errors import InputError
from labkit.classroom.sessions import Defaults, read_roster
from labkit.data.ingest import new_pack
from labkit.data.packs import check_pack
from labkit.data.readers import Dropped, Record, read_file
from labkit.data.workbench import convert
from labkit.design.fit import load_situation
from labkit.design.vendor import load_claim
from labkit.diagnose.gate import read_must_hold
from labkit.evaluate.scenarios import read_scenarios
from labkit.merge.recipes import read_recipe
from labkit.models.adapters import base_of
from labkit.train.specs import load_spec

ASKED = "How long does resin keep in the cold?"
ANSWER = "Resin keeps for six months at four degrees."
CHAT = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWER}]
TURNS = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWER}]
ROWS = (
    {"text": f"{ANSWER} It is then warmed for a day.", "source": "notes"},
    {"messages": CHAT},
    {"system": "Answer briefly.", "conversations": TURNS},
    {"instruction": ASKED, "input": "", "output": ANSWER, "history": [["Hello?", "Hello."]]},
    {"prompt": ASKED, "completion": ANSWER},
    {"prompt": ASKED, "chosen": ANSWER, "rejected": "No."},
    {"chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "No."}]},
    {"question": ASKED, "answer": ANSWER, "choices": ["six months", "a day"]},
    {
        "input": {"messages": CHAT[:1]},
        "preferred_output": CHAT[1:],
        "non_preferred_output": [TURNS[1]],
    },
)
RECIPE = {
    "merge_method": "slerp",
    "base_model": "llama-s-instruct",
    "models": [{"model": "llama-s-instruct"}, {"model": "llama-s-base"}],
    "parameters": {"t": [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.5}]},
    "dtype": "float32",
}
SPEC = {
    "pack": "materials",
    "model": "llama-s-instruct",
    "stages": [
        {"kind": "cpt", "steps": 8, "batch_size": 4, "learning_rate": 1e-3, "replay": 0.5},
        {"kind": "sft", "steps": 4, "batch_size": 4, "learning_rate": 1e-3},
        {"kind": "dpo", "steps": 4, "batch_size": 2, "learning_rate": 1e-4, "beta": 0.1},
    ],
    "merge": {"general": "llama-s-instruct", "method": "slerp", "t": 0.5},
    "seed": 1,
}
ADAPTER = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "llama-s-instruct",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "bias": "none",
    "init_lora_weights": True,
    "target_modules": ["q_proj", "v_proj"],
}
GATE = {"must_hold": {"instructions": 0.05, "general": 0.1}}
SCENARIO = {
    "name": "storage",
    "about": "what the shelf says",
    "at_least": 0.5,
    "cases": [{"ask": [ASKED], "expect": {"says": "six months", "format": "json"}}],
}
SITUATION = {"facts_change": "weekly", "words": 50000, "questions_answers": 300, "gpus": "one"}
CLAIM = {
    "vendor": "Acme",
    "product": "MedLM",
    "metric": "accuracy",
    "score": 0.86,
    "n": 200,
    "baseline_name": "a general model",
    "baseline_score": 0.8,
    "same_items": "yes",
}
ROSTER = [["learner", "pack", "seed"], ["Ada Brook", "materials", "1"], ["Bo", "legal", "2"]]


def one_sentence(error: Exception) -> str:
    """What a learner is told: a line that says something and is no library's account."""
    told = str(error)
    assert isinstance(error, InputError) and told.strip(), repr(error)
    assert "\n" not in told and "Traceback" not in told and "object at 0x" not in told, told
    return told


def as_yaml(value: object) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False)


# --- rows of data -------------------------------------------------------------------------------


# a list in the first line is the list of all rows
LINES = broken(ROWS).filter(lambda row: not isinstance(row, list))


@given(st.lists(LINES, min_size=1, max_size=4))
@often(700)
def test_every_row_of_a_jsonl_file_becomes_something_or_is_told(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes("\n".join(map(as_json, rows)).encode("utf-8", "surrogatepass"))
    try:
        found = list(read_file(path, path.name))
    except InputError as error:
        assert str(path) in one_sentence(error)
        return
    lines = [thing for thing in found if isinstance(thing, Record) or thing.what == "row"]
    assert sum(getattr(thing, "count", 1) for thing in lines) == len(rows)
    for record in found:
        if isinstance(record, Record):
            made = convert(record)
            assert not isinstance(made, Dropped) or (
                made.reason and f"#{record.line}" in made.source
            )


@given(bytes_of(st.lists(broken(ROWS, 1), min_size=1, max_size=3).map(lambda r: as_json(r))))
@often(200)
def test_a_json_array_is_read_or_refused(tmp_path_factory, content):
    read_or_refused(tmp_path_factory, "rows.json", content)


TABLE = st.lists(st.lists(TEXTS, min_size=1, max_size=4), min_size=1, max_size=4)


def as_table(rows: list[list[str]], delimiter: str = ",") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return file.getvalue()


@given(
    st.sampled_from([",", ";", "\t", "|"]).flatmap(
        lambda sign: bytes_of(
            TABLE.map(lambda rows: as_table([["question", "answer"], *rows], sign))
        )
    )
)
@often(250)
def test_a_table_is_read_or_refused(tmp_path_factory, content):
    read_or_refused(tmp_path_factory, "rows.csv", content)


@given(bytes_of(st.one_of(TEXTS, st.lists(TEXTS).map("\n".join))), st.sampled_from(["txt", "md"]))
@often(150)
def test_a_text_is_read_or_refused(tmp_path_factory, content, ending):
    read_or_refused(tmp_path_factory, f"a.{ending}", content)


@given(st.binary(max_size=200), st.sampled_from(["docx", "pdf", "xlsx", "parquet", "html", "tsv"]))
@often(150)
def test_what_only_has_the_name_of_a_document_is_told(tmp_path_factory, content, ending):
    read_or_refused(tmp_path_factory, f"a.{ending}", content)


def read_or_refused(tmp_path_factory, name: str, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    try:
        found = list(read_file(path, name))
    except InputError as error:
        assert str(path) in one_sentence(error)
        return
    assert found, "nothing was read, and nothing says so"
    for thing in found:
        if isinstance(thing, Record):
            convert(thing)


@given(st.lists(LINES, min_size=1, max_size=12), st.lists(TEXTS, max_size=3))
@often(25, shrink=False)
def test_a_folder_becomes_a_whole_pack_or_none(tmp_path_factory, rows, texts):
    home = tmp_path_factory.mktemp("fuzz")
    source, made = home / "source", home / "made"
    source.mkdir()
    for number in range(8):
        topic = f"Batch {number} of resin was kept at {number} degrees. "
        more = f"After {number + 2} weeks its strength was {10 + number} units. Nothing was lost."
        (source / f"doc{number}.txt").write_text(topic + more, "utf-8")
    content = "\n".join(map(as_json, rows)).encode("utf-8", "surrogatepass")
    (source / "rows.jsonl").write_bytes(content)
    for number, text in enumerate(texts):
        (source / f"brought{number}.md").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        new_pack("made", source, made)
    except InputError as error:
        one_sentence(error)
        assert list(home.iterdir()) == [source]
        return
    assert not list(check_pack(made))
    assert sorted(path.name for path in home.iterdir()) == ["made", "source"]
    kept = "".join(path.read_text("utf-8") for path in made.iterdir())
    lost = [n for n in range(1, len(rows) + 1) if not re.search(rf"rows\.jsonl#{n}\b", kept)]
    assert not lost, f"lines {lost}: neither in the pack nor among what was left out"


# --- settings ------------------------------------------------------------------------------------

SETTINGS = {
    "recipe": (RECIPE, read_recipe),
    "spec": (SPEC, load_spec),
    "gate": (GATE, read_must_hold),
    "scenarios": ([SCENARIO], read_scenarios),
    "situation": (SITUATION, load_situation),
    "claim": (CLAIM, load_claim),
}


@pytest.mark.parametrize("kind", SETTINGS)
@given(st.data())
@often(80)
def test_settings_are_read_or_refused(tmp_path_factory, kind, data):
    sound, read = SETTINGS[kind]
    path = tmp_path_factory.mktemp("fuzz") / f"{kind}.yaml"
    path.write_bytes(data.draw(bytes_of(broken(sound).map(as_yaml))))
    try:
        read(path)
    except InputError as error:
        one_sentence(error)


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_sound_settings_are_read(tmp_path, kind):
    sound, read = SETTINGS[kind]
    path = tmp_path / f"{kind}.yaml"
    path.write_text(as_yaml(sound), "utf-8")
    assert read(path)


@given(bytes_of(broken(ADAPTER).map(as_json)))
@often(150)
def test_an_adapters_config_is_read_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "adapter_config.json").write_bytes(content)
    try:
        assert isinstance(base_of(folder), str)
    except InputError as error:
        assert str(folder) in one_sentence(error)


@given(bytes_of(broken(ROSTER).map(lambda rows: as_roster(rows))))
@often(250)
def test_a_roster_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "roster.csv"
    path.write_bytes(content)
    try:
        assert read_roster(path, Defaults("materials", 0, ("00_warm_up", "01_design")))
    except InputError as error:
        assert str(path) in one_sentence(error)


def as_roster(rows: object) -> str:
    rows = rows if isinstance(rows, list) else [rows]
    return as_table([row if isinstance(row, list) else [row] for row in rows])


# --- the command line ----------------------------------------------------------------------------

COMMANDS = {
    "recipe": (RECIPE, ("merge", "{path}", "{out}")),
    "spec": (SPEC, ("run", "{path}", "--dry-run")),
}


@pytest.mark.parametrize("kind", COMMANDS)
@given(st.data())
@often(5, shrink=False)
def test_a_command_ends_with_0_or_2_and_one_sentence(tmp_path_factory, kind, data):
    sound, words = COMMANDS[kind]
    home = tmp_path_factory.mktemp("fuzz")
    path, out = home / "brought.yaml", home / "out"
    path.write_bytes(data.draw(bytes_of(broken(sound).map(as_yaml))))
    done = labkit(*(word.format(path=path, out=out) for word in words), cwd=home)
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
    if done.returncode == 2:
        assert done.stderr.count("error: ") == 1
        assert list(home.iterdir()) == [path]
