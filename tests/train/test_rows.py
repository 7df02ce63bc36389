"""What becomes of rows that are too long, empty or of no use: never used, cut or dropped unsaid."""

from __future__ import annotations

import json
import shutil

import pytest

from labkit.base.errors import InputError
from labkit.base.store import Store
from labkit.data import packs, world
from labkit.evaluate.scorecards import prompt_ids
from labkit.models import families, zoo
from labkit.train import pipeline, trainers, zoo_build
from labkit.train.callbacks import RowCount, row_words
from labkit.train.specs import PipelineSpec, Stage

THINKING = zoo_build.CHAT_TEMPLATE.replace(
    "<|assistant|>{%- endif", "<|assistant|><think>{%- endif"
)


def own_tokenizer():
    return zoo.tokenizer_of(zoo.shipped_folder() / "llama-xs-base")


@pytest.fixture(scope="module")
def tokenizer():
    return own_tokenizer()


@pytest.fixture
def starting(tokenizer):
    """A tokenizer that begins texts with a BOS, and a template that writes it, as Llama 3's."""
    from tokenizers.processors import TemplateProcessing

    made = own_tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.bos_token_id)]
    )
    made.chat_template = "{{ bos_token }}" + zoo_build.CHAT_TEMPLATE
    return made


def asked(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def pair(question, chosen, rejected):
    return {
        "prompt": asked(question, "")[:1],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


LONG = "the silk is woven " * 50


def test_a_question_that_fills_the_row_is_left_out_and_named(tokenizer):
    chats = [asked("a", "silk"), asked(LONG, "silk"), asked("b", "silk")]
    counted = RowCount(["qa.jsonl:1", "qa.jsonl:2", "qa.jsonl:5"])
    rows = trainers.chat_rows(tokenizer, chats, 64, counted)
    assert len(rows) == 2
    assert row_words(counted.as_json()) == (
        "of 3 rows, 1 left out because the answer begins beyond 64 tokens (qa.jsonl:2)"
    )


def test_an_answer_without_its_end_is_told(tokenizer):
    counted = RowCount(["qa.jsonl:1", "qa.jsonl:2"])
    rows = trainers.chat_rows(tokenizer, [asked("a", LONG), asked("b", "silk")], 64, counted)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert [row["labels"][-1] == end for row in rows] == [False, True]
    fate = trainers.CUT_ANSWER.format(64)
    assert counted.fates == {fate: ["qa.jsonl:1"]}


def test_rows_without_an_answer_are_told_from_rows_with_an_empty_one(tokenizer):
    counted = RowCount()
    chats = [asked("a", "silk"), asked("b", "x")[:1], asked("c", " ")]
    assert len(trainers.chat_rows(tokenizer, chats, 64, counted)) == 2
    assert counted.fates == {trainers.NO_ANSWER: ["row 2"], trainers.EMPTY_ANSWER: ["row 3"]}


def test_a_row_that_loses_nothing_of_its_answer_is_not_counted(tokenizer):
    counted = RowCount()
    chat = [*asked("a", "silk"), {"role": "user", "content": LONG}]
    assert trainers.chat_rows(tokenizer, [chat], 64, counted) and not counted.fates


def test_long_and_empty_documents_are_counted_and_nothing_is_lost(tokenizer):
    counted = RowCount(["raw.jsonl:1", "raw.jsonl:2", "raw.jsonl:3"])
    rows = trainers.text_rows(tokenizer, [LONG, "", "silk"], 20, counted)
    assert counted.rows == 3
    assert counted.fates == {
        trainers.IN_PIECES.format(20): ["raw.jsonl:1"],
        trainers.EMPTY: ["raw.jsonl:2"],
    }
    ids = [row["input_ids"] for row in rows]
    assert max(map(len, ids)) <= 20 and len(ids) > 2
    ends = [row[-1] == tokenizer.eos_token_id for row in ids]
    assert ends == [False] * (len(ids) - 2) + [True, True]
    long = [token for row in ids[:-1] for token in row]
    assert long == [*tokenizer(LONG.strip())["input_ids"], tokenizer.eos_token_id]


def test_a_long_document_is_parted_between_its_sentences(tokenizer):
    told = ["Silk is a fibre of the moth.", "Iron is a metal of the earth.", "Salt is a mineral."]
    rows = trainers.text_rows(tokenizer, [" ".join(told)], 24)
    read = [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows]
    assert len(read) > 1 and " ".join(read).split() == " ".join(told).split()
    assert all(piece.strip().endswith(".") for piece in read)


@pytest.mark.parametrize(
    ("bad", "fate"),
    [
        (pair(LONG, "silk", "iron"), trainers.LOST_PAIR),
        (pair("a", "silk", "silk "), trainers.SAME_PAIR),
        (pair("a", "silk", "si\u200blk"), trainers.SAME_PAIR),
        (pair("a", "silk", "silk\n\n"), trainers.SAME_PAIR),
        *(
            (pair("a", "raw silk", f"raw{blank}silk"), trainers.SAME_PAIR)
            for blank in "\u00a0\u2009\u202f\u3000"
        ),
        (pair("a", LONG + "silk", LONG + "iron"), trainers.CUT_TO_THE_SAME),
    ],
)
def test_a_pair_that_teaches_nothing_is_left_out_and_named(tokenizer, bad, fate):
    counted = RowCount(["preferences.jsonl:1", "preferences.jsonl:2"])
    good = pair("a", "silk", "iron")
    rows = trainers.preference_rows(tokenizer, [good, bad], 64, counted)
    assert rows == trainers.preference_rows(tokenizer, [good], 64)
    assert counted.fates == {fate.format(64): ["preferences.jsonl:2"]}
    with pytest.raises(InputError, match=r"no pair to train on: .*row 1"):
        trainers.preference_rows(tokenizer, [bad], 64)


def test_a_pair_cut_in_an_answer_is_told_and_fits(tokenizer):
    counted = RowCount()
    (row,) = trainers.preference_rows(tokenizer, [pair("a", LONG, "silk")], 40, counted)
    assert len(row["prompt_ids"]) + len(row["chosen_ids"]) == 40
    assert counted.fates == {trainers.CUT_ANSWER.format(40): ["row 1"]}


def test_invented_packs_lose_nothing(tokenizer):
    for name in world.DOMAINS:
        pack = packs.load_pack(name)
        counted = RowCount(pack.places("preferences"))
        trainers.preference_rows(tokenizer, pack.rows("preferences"), 96, counted)
        trainers.chat_rows(tokenizer, [row["messages"] for row in pack.rows("qa")], 96, counted)
        assert not counted.fates


def test_every_row_begins_as_tokenizer_and_template_begin_one(starting):
    bos = starting.bos_token_id
    text = trainers.text_rows(starting, ["silk"], 64)[0]["input_ids"]
    chat = trainers.chat_rows(starting, [asked("a", "silk")], 64)[0]["input_ids"]
    ours = trainers.preference_tokenizer(starting)
    chosen = trainers.preference_rows(ours, [pair("a", "silk", "iron")], 64)[0]
    for ids in (text, chat, chosen["prompt_ids"]):
        assert ids[0] == bos and ids.count(bos) == 1
    assert chosen["prompt_ids"] + chosen["chosen_ids"] == chat
    pieces = [row["input_ids"] for row in trainers.text_rows(starting, [LONG], 10)]
    assert len(pieces) > 1 and all(len(row) <= 10 and row[0] == bos for row in pieces)


def test_labkits_own_tokenizer_begins_nothing(tokenizer):
    assert families.start_of_text(tokenizer) == []
    assert families.text_tokens(tokenizer, ["silk"]) == [
        tokenizer("silk", add_special_tokens=False)["input_ids"]
    ]


@pytest.mark.parametrize("marked", [True, False])
def test_a_template_that_opens_a_thought_is_refused_by_every_stage(marked):
    made = own_tokenizer()
    made.chat_template = THINKING
    if not marked:
        for marker in ("{% generation %}", "{% endgeneration %}"):
            made.chat_template = made.chat_template.replace(marker, "")
    with pytest.raises(InputError, match="ends a question with '<think>'"):
        trainers.chat_rows(made, [asked("a", "silk")], 64)
    with pytest.raises(InputError, match="ends a question with '<think>'"):
        trainers.preference_rows(made, [pair("a", "silk", "iron")], 64)


def templated(text: str):
    made = own_tokenizer()
    made.chat_template = text + zoo_build.CHAT_TEMPLATE.replace("{% generation %}", "").replace(
        "{% endgeneration %}", ""
    )
    return made


NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}


def test_rows_that_a_template_refuses_are_left_out_and_named():
    made, counted = templated(NO_SYSTEM), RowCount(["qa.jsonl:1", "qa.jsonl:2"])
    chats = [[SYSTEM, *asked("What?", "Silk.")], asked("What?", "Silk.")]
    assert len(trainers.chat_rows(made, chats, 128, counted)) == 1
    assert counted.fates == {trainers.REFUSED: ["qa.jsonl:1"]}
    pairs, counted = [pair("What?", "Silk.", "Horn."), pair("What?", "Silk.", "Horn.")], RowCount()
    pairs[1]["prompt"] = [SYSTEM, *pairs[1]["prompt"]]
    assert len(trainers.preference_rows(made, pairs, 128, counted)) == 1
    assert counted.fates == {trainers.REFUSED: ["row 2"]}
    with pytest.raises(InputError, match="no system turns"):
        trainers.chat_rows(made, chats[:1], 128)
    with pytest.raises(InputError, match="no system turns"):
        trainers.preference_rows(made, pairs[1:], 128)


@pytest.mark.parametrize("program", ["{{ 1 + 'a' }}", "{{ 1 // 0 }}", "{{ messages[9].x.y }}"])
def test_a_template_that_fails_is_one_sentence(program):
    made = templated(program)
    for use in (
        lambda: trainers.chat_rows(made, [asked("What?", "Silk.")], 128),
        lambda: trainers.preference_rows(made, [pair("What?", "Silk.", "Horn.")], 128),
        lambda: trainers.turn_end(made),
        lambda: prompt_ids(made, {"messages": asked("What?", "")[:1]}),
    ):
        with pytest.raises(InputError, match="the chat template refuses a conversation"):
            use()


def test_a_template_that_leaves_the_answer_out_is_told_from_rows_without_one():
    made = own_tokenizer()
    made.chat_template = "{% for turn in messages[:1] %}{{ turn['content'] }}{% endfor %}"
    with pytest.raises(InputError, match=r"use another .*writes nothing of the answer"):
        trainers.chat_rows(made, [asked("What?", "Silk.")], 128)
    with pytest.raises(InputError, match=r"use another .*writes nothing of the answer"):
        trainers.preference_rows(made, [pair("What?", "Silk.", "Horn.")], 128)
    made.chat_template = ""
    with pytest.raises(InputError, match="writes nothing for a question"):
        prompt_ids(made, {"messages": asked("What?", "")[:1]})


def test_replay_of_one_row_has_no_text(tokenizer):
    for count in range(1, 6):
        assert len(zoo_build.general_rows(tokenizer, count, 0)) == count


def test_a_row_count_keeps_its_places_short():
    counted = RowCount([f"raw.jsonl:{n}" for n in range(1, 201)], rows=200)
    for number in range(200):
        counted.note("cut at 9 tokens", number)
    kept = counted.as_json()
    assert kept["fates"]["cut at 9 tokens"]["rows"] == 200
    assert len(json.dumps(kept)) < 3000
    assert row_words(kept) == (
        "of 200 rows, 200 cut at 9 tokens (raw.jsonl:1, raw.jsonl:2, raw.jsonl:3 and 197 more)"
    )
    assert row_words(None) == row_words(RowCount(rows=3).as_json()) == ""


def test_lineage_tells_what_a_stage_lost(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    with (folder / "qa.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"messages": asked(LONG * 3, "silk")}) + "\n")
    line = len((folder / "qa.jsonl").read_text("utf-8").splitlines())
    stage = Stage(kind="sft", learning_rate=1e-3, steps=2, batch_size=2)
    spec = PipelineSpec(pack=str(folder), model="llama-xs-instruct", stages=(stage,))
    told = pipeline.run_spec(spec, store=Store(tmp_path / "store"))[0].lineage["rows"]
    assert told == {
        "given": 121,
        "fates": {trainers.LOST_ANSWER.format(128): {"rows": 1, "places": [f"qa.jsonl:{line}"]}},
    }


@pytest.mark.parametrize("large", [False, True])
def test_lengths_that_are_kept_are_those_of_the_rows(tokenizer, tmp_path, monkeypatch, large):
    monkeypatch.setattr(pipeline, "_LENGTHS", {})
    monkeypatch.setattr(pipeline, "LARGE", 0 if large else pipeline.LARGE)
    folder = tmp_path / "pack"
    shutil.copytree(packs.packs_folder() / "materials", folder)
    rows = [{"text": text} for text in (LONG, "silk" + " " * 300, "silk", "z" * 400)]
    (folder / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pack = packs.load_pack(folder)
    splits = ("raw", "summaries", "qa")
    texts = [packs.text_of(row) for split in splits for row in pack.rows(split)]
    for longest in (20, 64, 20):  # the third time they are there
        before, told = RowCount(), RowCount()
        made = trainers.text_rows(tokenizer, texts, longest, before)
        found = pipeline.text_lengths(splits, pack, tokenizer, longest, told)
        assert found == [len(row["input_ids"]) for row in made]
        assert told == before and before.fates
        if large:
            pipeline._LENGTHS.clear()  # another process finds them on disk
            assert pipeline.text_lengths(splits, pack, tokenizer, longest) == found
    (folder / "raw.jsonl").write_text(json.dumps({"text": "silk and steel"}) + "\n")
    pack = packs.load_pack(folder)
    assert len(pipeline.text_lengths(["raw"], pack, tokenizer, 20)) == 1


def test_a_split_is_made_tokens_once_and_a_large_one_once_for_all_commands(tokenizer, monkeypatch):
    monkeypatch.setattr(pipeline, "_LENGTHS", {})
    monkeypatch.setattr(pipeline, "LARGE", 0)
    pack, count = packs.load_pack("materials"), []
    made = trainers.rows_of_texts
    monkeypatch.setattr(trainers, "rows_of_texts", lambda *given: count.append(1) or made(*given))
    for splits in (["raw"], ["raw", "summaries"], ["summaries"]):
        pipeline.text_lengths(splits, pack, tokenizer, 31)
    pipeline._LENGTHS.clear()
    pipeline.text_lengths(["raw", "summaries"], pack, tokenizer, 31)
    assert len(count) == 2
    other = own_tokenizer()
    other.backend_tokenizer.add_tokens(["silk is"])
    pipeline.text_lengths(["raw"], pack, other, 31)  # another tokenizer
    assert len(count) == 3
