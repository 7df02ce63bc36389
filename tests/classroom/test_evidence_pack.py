"""Packs of a real small run, and packs that were made to do harm."""

from __future__ import annotations

import json
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from evidence_case import MERGE_AXES, STAGES, forged, in_json, in_records, members_of, packed
from typer.testing import CliRunner

from labkit.base import inputs, records
from labkit.base.errors import InputError
from labkit.classroom import evidence_pack
from labkit.classroom.evidence_pack import Merged, Shipped, Trained
from labkit.cli import share
from labkit.train.specs import load_spec


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("case"))


@pytest.fixture
def at_home(case, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(case / "home"))
    return case


def test_a_pack_holds_what_results_rest_on(at_home, tmp_path):
    evidence = evidence_pack.read_pack(
        evidence_pack.open_pack(at_home / "ann.zip", tmp_path / "pack")
    )
    assert evidence.manifest.learner == "Ann" and evidence.manifest.left_out == ()
    kinds = [type(model) for model in evidence.models.values()]
    assert kinds.count(Trained) == 2 and kinds.count(Merged) == 1 and kinds.count(Shipped) == 1
    assert (
        evidence.versions["torch"]
        and evidence.versions["scoring"]
        and set(evidence.data) == {"materials"}
    )
    assert {card.name: len(card.axes) for card in evidence.cards} == {
        "instruct": 7,
        "CPT": 7,
        "CPT-SFT": 7,
        "SLERP t=0.4": len(MERGE_AXES),
    }
    assert evidence.rows == list(records.read(at_home / "out"))
    spec = next(
        load_spec(path)
        for path in (tmp_path / "pack" / "specs").iterdir()
        if "sft" in path.read_text()
    )
    assert spec.stages == STAGES and spec.pack == "materials" and spec.profile == "smoke"


def test_a_pack_is_the_same_every_time_and_names_no_folder_of_this_machine(at_home, tmp_path):
    evidence_pack.make_pack(at_home / "out", "Ann", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (at_home / "ann.zip").read_bytes()
    text = b"".join(members_of(at_home / "ann.zip").values()).decode()
    assert str(at_home) not in text and str(Path.home()) not in text and "data_samples" not in text


def test_only_the_learner_s_own_records_go_in(at_home, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / records.FILE).write_text((at_home / "out" / records.FILE).read_text())
    records.append(out, "reflection", learner="Bob", text="mine")
    assert "mine" not in members_of(_packed(out, tmp_path))["records.jsonl"].decode()
    with pytest.raises(
        InputError, match="no records of learner 'Cy'; there are records of: Ann, Bob"
    ):
        evidence_pack.make_pack(out, "Cy", tmp_path / "cy.zip")
    with pytest.raises(InputError, match="run a notebook first"):
        evidence_pack.make_pack(tmp_path / "none", "Ann", tmp_path / "none.zip")


def _packed(out: Path, folder: Path) -> Path:
    evidence_pack.make_pack(out, "Ann", folder / "made.zip")
    return folder / "made.zip"


def test_what_is_not_there_any_more_is_told(at_home, tmp_path):
    out = tmp_path / "out"
    common = {"learner": "Ann", "pack": "materials", "profile": "smoke", "seed": 0}
    records.append(out, "checkpoint", name="gone", key="0123456789abcdef", **common)
    records.append(out, "scorecard", checkpoint="old", split="test", axes={}, **common)
    left_out = " ".join(evidence_pack.make_pack(out, "Ann", tmp_path / "made.zip").left_out)
    assert "gone (0123456789abcdef)" in left_out and "the scores of old" in left_out


def test_lines_that_only_look_like_ends_stay_inside_a_record(at_home, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / records.FILE).write_text(
        json.dumps({"kind": "reflection", "learner": "Ann", "text": "one\u2028two\x85three"}) + "\n"
    )
    folder = evidence_pack.open_pack(_packed(out, tmp_path), tmp_path / "pack")
    assert records.read(folder)[0]["text"] == "one\u2028two\x85three"


def test_a_pack_is_made_and_opened_at_the_command_line(at_home, tmp_path):
    done = CliRunner().invoke(
        share.app,
        [
            "evidence-pack",
            str(at_home / "out"),
            "--learner",
            "Ann",
            "--to",
            str(tmp_path / "a.zip"),
        ],
    )
    assert done.exit_code == 0 and "labkit verify" in done.output and (tmp_path / "a.zip").is_file()


# --- harm -------------------------------------------------------------------------------------


def refused(path: Path, tmp_path: Path) -> str:
    """The sentence a pack is refused with; nothing of it may be left, anywhere."""
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError) as refusal:
        evidence_pack.open_pack(path, tmp_path / "inside" / "pack")
    left = set(tmp_path.rglob("*")) - before - {tmp_path / "inside"}
    assert not left, left
    sentence = str(refusal.value)
    assert str(path) in sentence and "\n" not in sentence and sentence.isprintable()
    return sentence


def with_member(
    case: Path, target: Path, name: str, data: bytes = b"x", *, mode: int = 0o644, system: int = 3
) -> Path:
    target.write_bytes((case / "ann.zip").read_bytes())
    with zipfile.ZipFile(target, "a") as packed:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.create_system, info.compress_type = (
            mode << 16,
            system,
            zipfile.ZIP_DEFLATED,
        )
        packed.writestr(info, data)
    return target


@pytest.mark.parametrize(
    "name,words",
    [
        ("../evil.py", "leads out"),
        ("specs/../../evil.py", "leads out"),
        ("..\\evil.py", "leads out"),
        ("/etc/evil", "absolute"),
        ("C:/evil.py", "absolute"),
        ("\\\\host\\evil", "absolute"),
        ("evil.py", "does not belong"),
        ("specs/0.yaml", "does not belong"),
        ("specs/", "no ordinary file"),
        ("a\x1b[31m", "control character"),
    ],
)
def test_names_that_do_not_belong_are_refused(case, tmp_path, name, words):
    sentence = refused(with_member(case, tmp_path / "evil.zip", name), tmp_path)
    assert words in sentence and "member" in sentence and "ask for a new one" in sentence


def test_a_name_that_ends_early_is_refused(case, tmp_path):
    """zipfile cuts names at a zero byte, others do not."""
    path = with_member(case, tmp_path / "evil.zip", "records.jsonl_.py")
    path.write_bytes(path.read_bytes().replace(b"records.jsonl_.py", b"records.jsonl\x00.py"))
    assert "control character" in refused(path, tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR])
def test_links_and_devices_are_refused(case, tmp_path, kind):
    sentence = refused(
        with_member(
            case, tmp_path / "evil.zip", "scorecards/9999.json", b"/etc/passwd", mode=kind | 0o777
        ),
        tmp_path,
    )
    assert "scorecards/9999.json" in sentence and ("symbolic link" in sentence) == (
        kind == stat.S_IFLNK
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(case, tmp_path):
    assert "'records.jsonl' is there 2 times" in refused(
        with_member(case, tmp_path / "evil.zip", "records.jsonl"), tmp_path
    )


def test_bombs_are_refused(case, tmp_path, monkeypatch):
    assert "zip bomb" in refused(
        with_member(case, tmp_path / "bomb.zip", "scorecards/9999.json", bytes(6 * inputs.MIB)),
        tmp_path,
    )
    assert "unpacks to 9 MiB" in refused(
        with_member(case, tmp_path / "large.zip", "scorecards/9999.json", bytes(9 * inputs.MIB)),
        tmp_path,
    )
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as packed:
        for number in range(evidence_pack.LIMITS.members + 1):
            packed.writestr(f"scorecards/{number:04}.json", b"")
    assert "501 members" in refused(many, tmp_path)
    noise = tmp_path / "total.zip"
    with zipfile.ZipFile(noise, "w") as packed:
        for number in range(9):
            packed.writestr(f"scorecards/{number:04}.json", os.urandom(8 * inputs.MIB - 100))
    assert "more than the 32 MiB" in refused(noise, tmp_path)
    monkeypatch.setattr(
        evidence_pack,
        "LIMITS",
        inputs.Limits(100 * inputs.MIB, 500, 8 * inputs.MIB, 64 * inputs.MIB, 200),
    )
    assert "members unpack to 72 MiB" in refused(noise, tmp_path)


def test_a_size_that_lies_gains_nothing(case, tmp_path):
    """A member that states 10 bytes and unpacks to six million is damaged, and no more than 10
    bytes are unpacked.
    """
    path = with_member(case, tmp_path / "evil.zip", "scorecards/9999.json", bytes(6 * inputs.MIB))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    path.write_bytes(data)
    assert "damaged" in refused(path, tmp_path)


def test_the_end_of_the_file_is_read_before_its_list(case, tmp_path):
    """What would have zipfile read a list of millions: too large a list, zip64, a comment that
    hides another end.
    """
    whole = (case / "ann.zip").read_bytes()
    for number, end in enumerate(
        (
            whole[:-22] + inputs.END.pack(b"PK\x05\x06", 0, 0, 3, 3, 2**31, 0, 0),
            whole[:-22] + b"PK\x06\x07" + bytes(16) + whole[-22:],
            whole[:-2] + b"\x05\x00hello",
            whole[:-30],
            b"PK",
            b"",
        )
    ):
        path = tmp_path / f"end{number}.zip"
        path.write_bytes(end)
        assert "ask for a new one" in refused(path, tmp_path)


def test_encrypted_and_oddly_packed_members_are_refused(case, tmp_path):
    path = tmp_path / "lzma.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("records.jsonl", b"x" * 100)
    assert "not expected" in refused(path, tmp_path)
    data = bytearray((case / "ann.zip").read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path, tmp_path)


CARD, SPEC = "scorecards/0001.json", "specs/"


def spec_name(members) -> str:
    return next(name for name in members if name.startswith(SPEC))


CONTENT = {
    "broken JSON": (lambda m: m.update({"models.json": b"{"}), "models.json': broken JSON"),
    "no UTF-8": (lambda m: m.update({"data.json": b"\xff\xfe"}), "data.json': broken JSON"),
    "nested too deeply": (
        lambda m: m.update({"models.json": b"[" * 200_000}),
        "models.json': broken JSON",
    ),
    "a number of a million digits": (
        lambda m: m.update({"data.json": b"9" * 1_000_000}),
        "data.json': broken JSON",
    ),
    "another kind of JSON": (lambda m: m.update({"models.json": b'{"a": 1}'}), "models.json'"),
    "a score above one": (
        in_json(CARD, lambda card: card["items"][0].update(score=7.0)),
        f"{CARD}': items.0.score",
    ),
    "a score that is no number": (
        in_json(CARD, lambda card: card["items"][0].update(score=float("nan"))),
        f"{CARD}': items.0.score",
    ),
    "a huge field": (in_json(CARD, lambda card: card.update(name="x" * 10_000)), f"{CARD}': name"),
    "an unknown field": (in_json(CARD, lambda card: card.update(run="rm -rf")), f"{CARD}': run"),
    "a hash that is a path": (
        in_json("models.json", lambda models: models[0].update(weights="../../evil")),
        "models.json'",
    ),
    "a parent that is not there": (
        in_json(
            "models.json",
            lambda models: [m.update(general="0" * 16) for m in models if m["kind"] == "merged"],
        ),
        "parent",
    ),
    "a missing member": (lambda m: m.pop("records.jsonl"), "records.jsonl' is missing"),
    "a missing spec": (lambda m: m.pop(spec_name(m)), "is missing"),
    "a broken spec": (lambda m: m.update({spec_name(m): b"stages: [\n"}), "not valid YAML"),
    "a spec that runs code": (
        lambda m: m.update({spec_name(m): b"!!python/object/apply:os.system [echo]"}),
        "not valid YAML",
    ),
    "a spec that unfolds": (
        lambda m: m.update({spec_name(m): b"a: &a [x]\nb: [*a, *a]\n"}),
        "aliases",
    ),
    "a broken record": (
        lambda m: m.update({"records.jsonl": b'{"kind": "x", "learner": "Ann"}\n{\n'}),
        "line 2: broken JSON",
    ),
    "a record that is a list": (
        lambda m: m.update({"records.jsonl": b"[]\n"}),
        "line 1: no record",
    ),
    "a record of somebody else": (
        in_records(lambda row: row.update(learner="Bob")),
        "line 1: no record of the pack's learner",
    ),
    "a huge record": (
        in_records(lambda row: row.update(text=os.urandom(150_000).hex())),
        "characters",
    ),
}


@pytest.mark.parametrize("what", CONTENT)
def test_content_that_is_not_as_labkit_writes_it_is_refused(case, tmp_path, what):
    change, words = CONTENT[what]
    assert words in refused(forged(case / "ann.zip", tmp_path / "evil.zip", change), tmp_path)


def test_another_schema_and_another_manifest_are_refused(case, tmp_path):
    newer = forged(
        case / "ann.zip",
        tmp_path / "newer.zip",
        in_json("manifest.json", lambda raw: raw.update(schema_version=2)),
    )
    assert "has schema 2, and this labkit reads 1" in refused(newer, tmp_path)
    other = forged(case / "ann.zip", tmp_path / "other.zip", lambda m: m.pop(CARD), hashes=False)
    assert CARD in refused(other, tmp_path)
    for content in (b"[]", b"null", b'{"schema_version": 1}'):
        assert "manifest.json" in refused(
            forged(
                case / "ann.zip",
                tmp_path / "m.zip",
                lambda m, content=content: m.update({"manifest.json": content}),
                hashes=False,
            ),
            tmp_path,
        )


def test_a_member_that_was_changed_is_refused(case, tmp_path):
    changed = forged(
        case / "ann.zip",
        tmp_path / "changed.zip",
        in_records(lambda row: row.update(extra=1)),
        hashes=False,
    )
    assert "'records.jsonl' was changed after it was packed" in refused(changed, tmp_path)
    assert evidence_pack.wrong_hashes(
        evidence_pack.open_pack(changed, tmp_path / "pack", hashes=False)
    ) == ["records.jsonl"]


def test_a_folder_of_its_own_and_no_other(case, tmp_path):
    folder = evidence_pack.open_pack(case / "ann.zip")
    assert sorted(path.name for path in folder.iterdir()) == [
        "data.json",
        "manifest.json",
        "models.json",
        "records.jsonl",
        "scorecards",
        "specs",
        "versions.json",
    ]
    with pytest.raises(InputError, match="exists already"):
        evidence_pack.open_pack(case / "ann.zip", folder)
    with pytest.raises(InputError, match="no such file"):
        evidence_pack.open_pack(tmp_path / "none.zip")


def test_a_pack_holds_the_dossier_and_refuses_a_broken_one(at_home, tmp_path):
    from labkit.design import dossier as paper

    made = paper.Dossier(title="Ours & theirs", domain=paper.Domain(name="law", pack="materials"))
    out = tmp_path / "out"
    out.mkdir()
    (out / records.FILE).write_bytes((at_home / "out" / records.FILE).read_bytes())
    row = {"notebook": "10_report", "pack": "materials", "profile": "smoke", "seed": 0}
    records.append(out, "dossier", **row, learner="Ann", dossier=paper.as_data(made))
    evidence_pack.make_pack(out, "Ann", tmp_path / "with.zip")
    read = evidence_pack.read_pack(evidence_pack.open_pack(tmp_path / "with.zip", tmp_path / "p"))
    assert read.dossiers == [made]

    def broken(members):
        members["dossiers/0001.yaml"] = b"domain: {nothing: here}"

    bad = forged(tmp_path / "with.zip", tmp_path / "bad.zip", broken)
    with pytest.raises(InputError, match=r"dossiers/0001\.yaml.*nothing"):
        evidence_pack.open_pack(bad, tmp_path / "q")


def test_records_of_jupyterlab_are_named_when_a_folder_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside = Path("notebooks") / "out" / "lab"
    beside.mkdir(parents=True)
    (beside / records.FILE).write_text("")
    with pytest.raises(InputError) as error:
        evidence_pack.make_pack(Path("out/lab"), "me", tmp_path / "me.zip")
    assert f"did you mean {beside}?" in str(error.value)
