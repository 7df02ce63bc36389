"""The study of real collections, with a tiny model and few items: pieces, claims and page."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import yaml

from labkit.base.errors import InputError
from labkit.data.packs import load_pack, samples_folder
from labkit.diagnose.gate import lineage_of
from labkit.evaluate.scorecards import score_answer
from studies import real_packs

FEW = 6  # items of a kind


@pytest.fixture(scope="module")
def contracts():
    return load_pack("contracts")


def answered(item, text):
    return score_answer(item, text)


def test_an_item_that_needs_both_is_right_only_with_answer_and_form(contracts):
    item = next(
        item
        for item in real_packs.both_items(contracts, "test", 20)
        if item["checks"][0] == "startend:end_checker"
    )
    right, (wrong,) = item["answer"], {"Yes", "No"} - {item["answer"]}
    assert answered(item, f"{right}. That is all.") == 1
    assert answered(item, f"{right}.") == 0
    assert answered(item, f"{wrong}. That is all.") == 0
    assert answered(item, f"{right} or {wrong}. That is all.") == 0


@pytest.mark.parametrize("name", ["pubmedqa", "contracts", "elements"])
def test_there_are_enough_items_that_need_both_and_none_twice(name):
    items = real_packs.both_items(load_pack(name), "test", real_packs.PER_UNIT)
    asked = Counter(item["messages"][-1]["content"] for item in items)
    assert len(items) == real_packs.PER_UNIT and max(asked.values()) == 1
    assert len({item["id"] for item in items}) == len(items)
    forms = Counter(item["checks"][0] for item in items)
    assert len(forms) == len(real_packs.FORMS) and max(forms.values()) < len(items) / 2


@pytest.mark.parametrize("name", ["pubmedqa", "contracts"])
def test_unseen_text_stands_in_nothing_that_is_trained_on(name):
    pack = load_pack(name)
    texts = real_packs.unseen_texts(pack)
    trained = " ".join(
        text
        for row in pack.rows("raw")
        for text in [" ".join(row["text"].replace('"', "").split())]
    )
    assert len(texts) == real_packs.DOCUMENTS
    for text in texts.values():
        words = text.split()
        assert all(
            " ".join(words[at : at + 12]) not in trained for at in range(0, len(words) - 11, 12)
        )


def test_of_the_elements_all_are_read():
    assert real_packs.unseen_texts(load_pack("elements")) == {}


@pytest.fixture
def little(tmp_path, monkeypatch):
    """The contracts with few items and rows, a tiny model, and stages of two steps."""
    folder = tmp_path / "contracts"
    shutil.copytree(samples_folder("packs") / "contracts", folder)
    card = yaml.safe_load((folder / "pack.yaml").read_text("utf-8"))
    for split, kept in (("dev", FEW), ("test", FEW), ("raw", 40), ("qa", 40)):
        path = folder / card["splits"][split]["file"]
        seen: Counter = Counter()
        lines = []
        for line in path.read_text("utf-8").splitlines(keepends=True):
            kind = json.loads(line).get("kind")
            seen[kind] += 1
            lines += [line] * (seen[kind] <= kept)
        path.write_text("".join(lines), "utf-8")
        card["splits"][split]["rows"] = len(lines)
    (folder / "pack.yaml").write_text(yaml.safe_dump(card, allow_unicode=True), "utf-8")
    monkeypatch.setattr(real_packs, "MODEL", "llama-xs-instruct")
    monkeypatch.setattr(real_packs, "PER_UNIT", FEW)
    monkeypatch.setattr(real_packs, "DOCUMENTS", 4)
    monkeypatch.setattr(real_packs, "TS", (0.5, 0.75))
    monkeypatch.setattr(real_packs, "UNITS", ((str(folder), 0), (str(folder), 1)))
    short = {
        arm: tuple(stage.model_copy(update={"steps": 2}) for stage in stages)
        for arm, stages in real_packs.ARMS.items()
    }
    monkeypatch.setattr(real_packs, "ARMS", short)
    return str(folder)


def test_a_unit_is_a_piece_that_is_made_once_and_the_page_says_what_is_left(
    little, tmp_path, monkeypatch
):
    told: list[str] = []
    where = {
        "pieces": tmp_path / "real",
        "page_file": tmp_path / "page.md",
        "measured": tmp_path,
        "adapters": tmp_path / "adapters",
        "told": told.append,
    }
    data = real_packs.run_study([(little, 0)], **where)
    page = (tmp_path / "page.md").read_text("utf-8")
    assert f"Planned and not yet\nmeasured: {little} seed 1." in page
    assert len(data["claims"]) == len(real_packs.LESSONS)
    assert set(data["scores"]) >= {"untouched", *real_packs.ARMS, real_packs.SLERP_FULL}
    assert all(
        0 < row["unseen text, bits per byte"]["mean"] < 20
        for label, row in data["scores"].items()
        if label in ("untouched", real_packs.SPECIALIST)
    )
    made = len(told)
    assert real_packs.run_study([(little, 0)], **where) == data and len(told) == made
    # as on another machine: a part of the piece, the shipped adapters, and no store
    piece = tmp_path / "real" / "contracts-0.json"
    kept = json.loads(piece.read_text("utf-8"))
    del kept["cards"]["gentle cpt-sft"]
    piece.write_text(json.dumps(kept), "utf-8")
    shipped = {path.name for path in (tmp_path / "adapters").iterdir()}
    assert "smollm2-135m-contracts-gentle-cpt-sft-dpo" in shipped
    assert len(shipped) == len(real_packs.ARMS) - len(real_packs.NOT_SHIPPED)
    dpo = tmp_path / "adapters" / "smollm2-135m-contracts-gentle-cpt-sft-dpo" / "lineage.json"
    assert lineage_of(str(dpo.parent))["share_kept"] > 0.9999
    assert lineage_of(str(dpo.parent))["metrics"] and str(tmp_path) not in dpo.read_text("utf-8")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "new"))
    again = real_packs.run_study([(little, 0)], **where)
    assert again == data and [text.split(": ")[1] for text in told[made:]] == [
        "gentle cpt-sft",
        "scoring gentle cpt-sft",
    ]
    both = real_packs.run_study([(little, 1)], **where)
    assert len(both["units"]) == 2 and "measured: nothing" in (tmp_path / "page.md").read_text()


def test_a_unit_that_is_not_planned_is_refused(tmp_path):
    with pytest.raises(InputError, match="legal:0 is not planned; choose among pubmedqa:0"):
        real_packs.run_study(
            [("legal", 0)],
            pieces=tmp_path,
            page_file=tmp_path,
            measured=tmp_path,
            adapters=tmp_path,
            told=print,
        )
