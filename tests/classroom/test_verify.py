"""What verifying finds of an honest pack and of forged ones; scores are really made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from evidence_case import forged, in_json, in_records, packed, run
from typer.testing import CliRunner

from labkit.base.errors import InputError
from labkit.base.store import Store
from labkit.classroom import evidence_pack, verify
from labkit.classroom.verify import FAILS, HOLDS, SKIPPED, UNSURE
from labkit.cli import share
from labkit.data import packs

OTHER = "0123456789abcdef"


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("case"))


def checked(case: Path, path: Path | None = None, **how) -> verify.Verification:
    return verify.verify(
        path or case / "ann.zip",
        **{"store": Store(case / "home" / "checkpoints"), "seed": 0, **how},
    )


def failing(found: verify.Verification) -> str:
    """What does not hold, in a line."""
    assert not found.holds
    return "; ".join(f"{row.what}: {row.told}" for row in found.failed)


def cards(change):
    """A change of every scorecard of the pack."""

    def edit(members):
        for name in [name for name in members if name.startswith("scorecards/")]:
            in_json(name, change)(members)

    return edit


def test_an_honest_pack_holds_and_says_what_was_not_checked(case):
    found = checked(case)
    assert found.holds and {row.verdict for row in found.rows} == {HOLDS, SKIPPED}
    assert 0 < found.items < found.claimed and found.cards == found.cards_claimed == 4
    assert [row.told for row in found.rows if row.verdict == SKIPPED] == [
        "kept as the learner's own: prediction"
    ]
    told = " ".join(row.told for row in found.rows)
    assert "in this machine's store: the same weights" in told and "trained again" not in told
    assert f"{found.items:,} of {found.claimed:,}" in str(found) and "1 not checked" in str(found)


def test_the_sample_is_drawn_by_chance_and_can_be_all(case):
    every = checked(case, sample=None)
    assert every.items == every.claimed
    assert checked(case, seed=None, sample=1).seed != checked(case, seed=None, sample=1).seed


def test_what_is_not_in_the_store_is_trained_again(case, tmp_path):
    for how in ({"store": Store(tmp_path / "empty")}, {"retrain": True}):
        found = checked(case, **how)
        weights = [row for row in found.rows if row.what.startswith("weights")]
        assert (
            found.holds
            and len(weights) == 2
            and all(
                "trained again" in row.told and "the same weights" in row.told for row in weights
            )
        )
    assert not (tmp_path / "empty").exists()


def test_a_large_spec_is_trained_only_when_asked_for(case, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "SMALL_TOKENS", 10)
    found = checked(case, store=Store(tmp_path / "empty"))
    assert found.holds and found.cards == 1 and found.cards_claimed == 4  # the start model's
    assert sum("--retrain does it" in row.told for row in found.rows) == 5
    assert "1 of 4 scorecards" in str(found)
    monkeypatch.setattr(verify, "MOST_TOKENS", 10)
    assert "run it with labkit run" in " ".join(
        row.told for row in checked(case, retrain=True).rows
    )


@pytest.mark.parametrize(
    "old,new,words",
    [
        (b"steps: 100", b"steps: 1000000000", "more than this command does"),
        (b"batch_size: 8", b"batch_size: 8000000", "more than this command does"),
        (b"model: llama-s-instruct", b"model: owner/evil", "no model that comes with labkit"),
        (b"model: llama-s-instruct", b"model: /etc", "no model that comes with labkit"),
        (b"pack: materials", b"pack: /etc", "data /etc is not here"),
    ],
)
def test_a_spec_orders_no_download_no_folder_and_no_days(case, tmp_path, old, new, words):
    def change(members):
        for name in [name for name in members if name.startswith("specs/")]:
            members[name] = members[name].replace(old, new)
            members[name] = members[name].replace(b"profile: smoke", b"profile: lab")

    path = forged(case / "ann.zip", tmp_path / "forged.zip", change)
    found = checked(case, path, retrain=True)
    assert (
        words in " ".join(row.told for row in found.rows if row.verdict == SKIPPED)
        and found.cards == 1
    )


# --- forgeries --------------------------------------------------------------------------------


def better(row):
    if row["kind"] == "scorecard":
        row["axes"]["knowledge"]["mean"] = 1.0


def all_right(card):
    for item in card["items"]:
        item["score"] = 1.0


def consistent(members):
    """Every item right, and the records to match."""
    cards(all_right)(members)
    in_records(
        lambda row: (
            row["kind"] == "scorecard" and [axis.update(mean=1.0) for axis in row["axes"].values()]
        )
    )(members)


def worse_left_out(card):
    card["items"] = [item for item in card["items"] if item["score"] > 0]


def other_spec(members):
    for name in [name for name in members if name.startswith("specs/")]:
        members[name] = members[name].replace(b"learning_rate: 0.001", b"learning_rate: 0.002")


def other_merge(models):
    next(model for model in models if model["kind"] == "merged")["merge"]["t"] = 0.9


FORGERIES = {
    "another merge": (
        in_json("models.json", other_merge),
        "its parents are here and their merge has other weights",
    ),
    "a score in the records": (
        in_records(better),
        "scores in the records: not what the items give: instruct, CPT, CPT-SFT",
    ),
    "items and records together": (consistent, "more than rounding explains"),
    "items that went wrong are left out": (cards(worse_left_out), "are not the"),
    "an item is there twice": (
        cards(lambda card: card["items"].append(card["items"][0])),
        "are not the",
    ),
    "another spec": (other_spec, "comes from another spec"),
    "other data": (
        in_json("data.json", lambda data: data["materials"].update(test="0" * 64)),
        "other test",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_forgeries_are_found(case, tmp_path, what):
    change, words = FORGERIES[what]
    assert words in failing(
        checked(case, forged(case / "ann.zip", tmp_path / "forged.zip", change))
    )


def test_a_changed_file_ends_the_check(case, tmp_path):
    path = forged(case / "ann.zip", tmp_path / "forged.zip", in_records(better), hashes=False)
    found = checked(case, path)
    assert (
        [row.what for row in found.rows] == ["files"]
        and "records.jsonl" in failing(found)
        and found.items == 0
    )


def renamed(weights: str):
    """Every trained model and what was scored of it under other weights, as another machine would
    have made them.
    """

    def change(members):
        old = {
            model["weights"]
            for model in json.loads(members["models.json"])
            if model["kind"] == "trained"
        }
        ours = {each: f"{weights[:-1]}{number}" for number, each in enumerate(sorted(old))}
        for name, data in list(members.items()):
            for before, after in ours.items():
                data = data.replace(before.encode(), after.encode())
            members[name] = data

    return change


def test_other_weights_are_compared_with_noise_and_on_all_items(case, tmp_path):
    found = checked(
        case, forged(case / "ann.zip", tmp_path / "other.zip", renamed(OTHER)), sample=1
    )
    weights = [row for row in found.rows if row.what.startswith("weights")]
    assert (
        found.holds
        and {row.verdict for row in weights} == {UNSURE}
        and all("other weights" in row.told for row in weights)
    )
    assert "scored again 68 of 68 items" in " ".join(
        row.told for row in found.rows if row.what.startswith("CPT on")
    )

    def both(members):
        renamed(OTHER)(members)
        consistent(members)

    told = failing(checked(case, forged(case / "ann.zip", tmp_path / "both.zip", both)))
    assert "with the noise between runs" in told and "CPT on materials" in told


def test_verdicts_on_pairs():
    from labkit.evaluate.scorecards import ItemResult

    def pairs(differ, n=40, by=1.0):
        return [
            (
                ItemResult(str(i), "knowledge", "k", f"e{i}", 0.0, ""),
                ItemResult(str(i), "knowledge", "k", f"e{i}", by if i < differ else 0.0, ""),
            )
            for i in range(n)
        ]

    same, few, many = pairs(0), pairs(2), pairs(3)
    assert [
        verify.compare_pairs("knowledge", found, 40, found)[0] for found in (same, few, many)
    ] == [HOLDS, HOLDS, FAILS]
    assert [
        verify.compare_pairs("knowledge", found, 40, None)[0] for found in (same, few, pairs(40))
    ] == [HOLDS, UNSURE, FAILS]


# --- data of one's own, the command line ------------------------------------------------------


def test_a_pack_of_one_s_own_is_given_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    own = tmp_path / "own"
    shutil.copytree(packs.packs_folder() / "materials", own)
    (own / "pack.yaml").write_text("name: own\ntitle: Own\nlicence: none\n")
    run(tmp_path / "home", tmp_path / "out", pack=str(own))
    evidence_pack.make_pack(tmp_path / "out", "Ann", tmp_path / "a.zip")
    without = verify.verify(tmp_path / "a.zip")
    assert (
        without.holds
        and without.items == 0
        and "--pack" in " ".join(row.told for row in without.rows)
    )
    with_it = verify.verify(tmp_path / "a.zip", packs=[str(own)])
    assert with_it.holds and with_it.cards == 4
    (own / "eval_test.jsonl").write_text((own / "eval_test.jsonl").read_text().replace("?", "!"))
    assert "other test" in failing(verify.verify(tmp_path / "a.zip", packs=[str(own)]))


def test_the_command_tells_and_ends_with_the_right_status(case, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(case / "home"))

    def labkit(*arguments):
        return CliRunner().invoke(
            share.app, ["verify", *map(str, arguments)], env={"COLUMNS": "250"}
        )

    good = labkit(case / "ann.zip", "--sample", 4)
    assert (
        good.exit_code == 0
        and "evidence of Ann" in good.output
        and "nothing that was checked contradicts" in good.output
    )
    bad = labkit(forged(case / "ann.zip", tmp_path / "bad.zip", in_records(better)))
    assert bad.exit_code == 1 and "do not hold" in bad.output
    (tmp_path / "text.zip").write_text("hello")
    assert isinstance(
        labkit(tmp_path / "text.zip").exception, InputError
    )  # the entry point makes it one sentence and status 2


def test_names_in_a_pack_steer_no_terminal(case, tmp_path):
    def change(members):
        cards(lambda card: card.update(name="[red]\x1b]0;evil\x07[/red]"))(members)

    path = forged(case / "ann.zip", tmp_path / "evil.zip", change)
    found = checked(case, path)
    assert all(row.what.isprintable() and row.told.isprintable() for row in found.rows)
    shown = (
        CliRunner()
        .invoke(
            share.app,
            ["verify", str(path), "--sample", "1"],
            env={"COLUMNS": "250", "LABKIT_HOME": str(case / "home")},
        )
        .output
    )
    assert "[red]" in shown and "\x1b]0" not in shown and "\x07" not in shown
