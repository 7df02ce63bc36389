from __future__ import annotations

import pytest

from labkit.base.errors import SpecError
from labkit.merge.recipes import Merge
from labkit.train import specs

GOOD = (
    "pack: materials\nmodel: llama-s-instruct\nstages:\n- {kind: cpt, learning_rate: "
    "0.001, steps: 10}\n"
)


def load(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return specs.load_spec(path)


def test_round_trip(tmp_path):
    spec = specs.PipelineSpec(
        pack="legal",
        model="llama-s-instruct",
        stages=(*specs.GENTLE, specs.DPO),
        merge=Merge(t=0.3),
        seed=4,
    )
    specs.save_spec(spec, tmp_path / "s.yaml")
    assert specs.load_spec(tmp_path / "s.yaml") == spec
    assert spec.name == "legal/llama-s-instruct/cpt-sft-dpo-slerp"


@pytest.mark.parametrize(
    "change,words",
    [
        (
            ("0.001", "-0.001"),
            r"stages.0.learning_rate: Input should be greater than 0 \(got -0.001\)",
        ),
        (("steps: 10", "steps: 0"), "stages.0.steps"),
        (("kind: cpt", "kind: ctp"), "stages.0.kind"),
        (("steps: 10", "steps: 10, replays: 0.1"), "did you mean 'replay'"),
        (("steps: 10", "steps: 10, replay: 1.0"), "stages.0.replay"),
        (("kind: cpt", "replay: 0.5, kind: dpo"), "replay is for cpt and sft"),
        (("model: llama-s-instruct\n", ""), "model: Field required"),
        (("pack: materials", "pack: materials\nprofile: labb"), "profile"),
        (
            ("stages:\n- {kind: cpt, learning_rate: 0.001, steps: 10}", "stages: []"),
            "nothing to run",
        ),
        (("pack: materials", "pack: [a"), "is not valid YAML"),
    ],
)
def test_bad_specs_name_file_and_field(tmp_path, change, words):
    with pytest.raises(SpecError, match=words) as caught:
        load(tmp_path, GOOD.replace(*change))
    assert str(caught.value).startswith(str(tmp_path / "spec.yaml"))


def test_stages_may_be_a_presets_name(tmp_path):
    spec = load(tmp_path, "pack: materials\nmodel: llama-s-instruct\nstages: overcooked\n")
    assert spec.stages == specs.OVERCOOKED
    with pytest.raises(SpecError, match="stages: unknown preset; did you mean 'gentle'"):
        load(tmp_path, "pack: materials\nmodel: llama-s-instruct\nstages: gentel\n")


def test_missing_file_and_not_a_mapping(tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        specs.load_spec(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="expected a mapping"):
        load(tmp_path, "- 1\n")


def test_unknown_profile():
    with pytest.raises(SpecError, match="did you mean 'smoke'"):
        specs.profile("smok")
