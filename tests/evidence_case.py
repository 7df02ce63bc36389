"""A learner's small run to make evidence packs of, and ways to forge them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.classroom import evidence_pack
from labkit.course import lesson
from labkit.train.specs import Stage

STAGES = (
    Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8),
    Stage(kind="sft", learning_rate=1e-3, steps=100, batch_size=8),
)
MERGE_AXES = ("knowledge", "creativity")


def run(home: Path, out: Path, *, pack: str = "materials", learner: str = "Ann") -> lesson.Lab:
    """Two stages of two steps, a merge, scorecards of all, a prediction. Takes a few seconds.

    Sets LABKIT_HOME and LABKIT_HEADLESS.
    """
    os.environ.update(LABKIT_HOME=str(home), LABKIT_HEADLESS="1")
    lab = lesson.start("03_cpt", profile="smoke", out_dir=str(out), learner=learner, pack=pack)
    cpt, sft = lab.train(STAGES[:1]), lab.train(STAGES)
    for model, name in ((lab.model, "instruct"), (cpt, "CPT"), (sft, "CPT-SFT")):
        lab.score(model, name)
    lab.score(lab.at(lab.model, sft, 0.4, "slerp"), "SLERP t=0.4", axes=MERGE_AXES)
    lab.record(
        "prediction", id="p", question="how many?", guess=0.5, measured={"mean": 0.4}, inside=True
    )
    return lab


def packed(folder: Path) -> Path:
    """A folder with home, out_dir and pack (ann.zip) of a run; the environment is as before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HOME", "")
        patch.setenv("LABKIT_HEADLESS", "")
        run(folder / "home", folder / "out")
        evidence_pack.make_pack(folder / "out", "Ann", folder / "ann.zip")
    return folder


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def forged(
    path: Path, target: Path, change: Callable[[dict[str, bytes]], object], *, hashes: bool = True
) -> Path:
    """A copy of a pack with `change(members)` done to it. hashes: with a manifest that says so, as
    a forger would write it.
    """
    members = members_of(path)
    change(members)
    if hashes:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return target


def in_json(name: str, change: Callable[[object], object]) -> Callable[[dict[str, bytes]], None]:
    """A change of one JSON member."""

    def edit(members: dict[str, bytes]) -> None:
        raw = json.loads(members[name])
        change(raw)
        members[name] = json.dumps(raw).encode()

    return edit


def in_records(change: Callable[[dict], object]) -> Callable[[dict[str, bytes]], None]:
    """A change of every record."""

    def edit(members: dict[str, bytes]) -> None:
        rows = [json.loads(line) for line in members["records.jsonl"].decode().splitlines()]
        for row in rows:
            change(row)
        members["records.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    return edit
