from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from labkit.diagnose import probe
from labkit.diagnose.probe import EarlyWarning, Look
from labkit.train import pipeline
from labkit.train.specs import PipelineSpec


def looks(**scores):
    """axis -> shares over steps 0, 10, 20; forty items each."""
    made = []
    for i, step in enumerate((0, 10, 20)):
        made.append(
            Look(
                step,
                0.1,
                {
                    axis: [(f"i{k}", f"e{k}", float(k < round(40 * shares[i]))) for k in range(40)]
                    for axis, shares in scores.items()
                },
            )
        )
    return made


def test_an_alarm_names_axis_step_and_what_the_loss_did():
    seen = looks(instructions=(1.0, 0.95, 0.4), general=(1.0, 1.0, 0.95), knowledge=(0.1, 0.5, 0.9))
    (alarm,) = probe.alarms(seen, [(1, 4.0), (10, 2.0), (20, 1.0)])
    assert (alarm.axis, alarm.step) == ("instructions", 20) and alarm.change == pytest.approx(-0.6)
    assert "while the loss looked fine: 4.00 at first, 1.00 then" in str(alarm)
    assert "the loss had risen too" in str(probe.alarms(seen, [(1, 1.0), (20, 4.0)])[0])
    assert probe.alarms([], []) == [] and probe.curves(seen)["knowledge"] == [
        (0, 0.1),
        (10, 0.5),
        (20, 0.9),
    ]


def test_looks_that_would_cost_more_than_their_share_are_left_out(monkeypatch):
    clock = iter(range(0, 10_000))
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(probe, "score_items", lambda *args, **kwargs: [])
    warning = EarlyWarning(None, [])
    for step in range(0, 81):
        warning(None, step, 80)
    spent = sum(look.seconds for look in warning.looks)
    assert warning.looks[0].step == 0 and 1 <= len(warning.looks) < 9
    assert spent <= 0.05 * next(clock)


def test_a_watched_run_has_the_weights_of_one_that_was_not(materials, quick_stage):
    spec = PipelineSpec(
        pack="materials",
        model="llama-s-instruct",
        stages=(quick_stage("cpt", replay=0.25, steps=12), quick_stage("dpo")),
    )
    told = []
    watched = pipeline.run_spec(spec, watch=probe.watcher(materials, told.append))
    plain = pipeline.run_spec(spec)
    for seen, unseen in zip(watched, plain, strict=True):
        assert seen.folder != unseen.folder and "probe" not in unseen.lineage
        a, b = (pipeline.load_checkpoint(made).model.state_dict() for made in (seen, unseen))
        assert all(torch.equal(value, b[name]) for name, value in a.items())
    found = probe.read_looks(watched[0].lineage)
    assert (
        found[0].step == 0
        and set(found[0].scores) == {"instructions", "general", "knowledge"}
        and told
    )
    assert probe.read_looks(plain[0].lineage) == []


def test_a_pack_of_own_documents_is_probed_by_its_own_kind_of_recall(materials, tmp_path):
    item = {"axis": "knowledge", "kind": "recall_cloze", "entity": "a", "answer": "b"}
    rows = [{**item, "id": f"dev-{number}", "prompt": "The"} for number in range(3)]
    (tmp_path / "eval_dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = probe.probe_items(replace(materials, folder=tmp_path))
    assert [row["id"] for row in found] == ["dev-0", "dev-1", "dev-2"]


def test_items_are_dev_items_spread_over_entities(materials):
    items = probe.probe_items(materials)
    assert {item["id"] for item in items} <= {row["id"] for row in materials.rows("dev")}
    assert len(items) == sum(probe.PROBED[axis][1] for axis in probe.USUAL)
    assert len({item["entity"] for item in items if item["axis"] == "knowledge"}) >= 4
