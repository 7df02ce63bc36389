"""A learner's small run to make evidence packs of, and ways to forge them."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from labkit import lesson
from labkit.design import Stage
from labkit.packs import AXES, CONTROLS
from labkit.pipeline import load_checkpoint
from labkit.scoring import merged, score_checkpoint
from labkit.zoo import Loaded

STAGES = (Stage(kind="cpt", learning_rate=1e-3, steps=100, batch_size=8), Stage(kind="sft", learning_rate=1e-3, steps=100, batch_size=8))
MERGE_AXES = ("knowledge", "creativity")


def score(lab: lesson.Lab, model: object, name: str, axes: Iterable[str] = AXES + CONTROLS) -> None:
    """Score and record as lab.score does, with the weights that it was."""
    loaded = model if isinstance(model, Loaded) else load_checkpoint(model)
    card = score_checkpoint(loaded, lab.pack, axes=axes, profile_name=lab.profile, name=name)
    lab.record("scorecard", checkpoint=name, weights=loaded.fingerprint, split="test", axes={axis: i.as_dict() for axis, i in card.summary().items()})


def run(home: Path, out: Path, *, pack: str = "materials", learner: str = "Ann") -> lesson.Lab:
    """Two stages of two steps, a merge, scorecards of all, a prediction. Takes a few seconds. Sets LABKIT_HOME and LABKIT_HEADLESS."""
    os.environ.update(LABKIT_HOME=str(home), LABKIT_HEADLESS="1")
    lab = lesson.start("03_cpt", profile="smoke", out_dir=str(out), learner=learner, pack=pack)
    cpt, sft = lab.train(STAGES[:1]), lab.train(STAGES)
    for model, name in ((lab.model, "instruct"), (cpt, "CPT"), (sft, "CPT-SFT")):
        score(lab, model, name)
    general, domain = load_checkpoint(lab.model), load_checkpoint(sft)
    joined = merged(general, domain, 0.4, "slerp")
    lab.record("merge", weights=joined.fingerprint, general=general.fingerprint, domain=domain.fingerprint, ancestor=None, method="slerp", t=0.4)
    score(lab, joined, "SLERP t=0.4", MERGE_AXES)
    lab.record("prediction", id="p", question="how many?", guess=0.5, measured={"mean": 0.4}, inside=True)
    return lab


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def forged(path: Path, target: Path, change: Callable[[dict[str, bytes]], object], *, hashes: bool = True) -> Path:
    """A copy of a pack with `change(members)` done to it. hashes: with a manifest that says so, as a forger would write it."""
    members = members_of(path)
    change(members)
    if hashes:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in members.items() if name != "manifest.json"}
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
