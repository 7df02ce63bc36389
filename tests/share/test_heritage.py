"""What a model comes from: found by name, told whole, without a path of this machine, and no
licence invented.
"""

from __future__ import annotations

import json
import shutil

import pytest

from labkit.base.errors import InputError
from labkit.base.store import LINEAGE
from labkit.merge.recipes import Merge, Recipe
from labkit.models import zoo
from labkit.share import model_cards
from labkit.share.model_cards import (
    clean,
    history,
    is_whole,
    licence_of,
    locate,
    roots,
    short,
    source_of,
)
from labkit.train.pipeline import merge_to_folder, run_spec
from labkit.train.specs import PipelineSpec


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def made(home, monkeypatch, quick_stage):
    """Checkpoints of cpt, sft, a merge and dpo; trained once for all tests of this file."""
    monkeypatch.setenv("LABKIT_HOME", str(home))
    stages = tuple(quick_stage(kind, steps=2) for kind in ("cpt", "sft", "dpo"))
    return run_spec(
        PipelineSpec(
            pack="materials",
            model="llama-s-instruct",
            stages=stages,
            merge=Merge(t=0.5),
            merge_after=2,
        )
    )


@pytest.mark.parametrize(
    "told,left",
    [
        ("/home/me/packs/mine", "mine"),
        ("C:\\Users\\me\\mine", "mine"),
        ("~/packs/mine", "mine"),
        ("/home/my user/mine", "mine"),
        ("materials//home/me/model/cpt-sft", "materials/model/cpt-sft"),
        ("models:\n- model: /home/me/a\n- model: b\n", "models:\n- model: a\n- model: b\n"),
        ("materials/llama-s-instruct/cpt", "materials/llama-s-instruct/cpt"),
        ("https://doi.org/10.1038/x, 1 / 2, and/or", "https://doi.org/10.1038/x, 1 / 2, and/or"),
        (
            {"spec": {"pack": "/x/y/mine", "seed": 3}, "parts": ["/x/y", 0.5, None]},
            {"spec": {"pack": "mine", "seed": 3}, "parts": ["y", 0.5, None]},
        ),
    ],
)
def test_of_a_path_only_its_last_part_is_told(told, left):
    assert clean(told) == left


def test_a_checkpoint_is_found_by_the_name_that_run_prints(made):
    assert locate(made[1].name) == str(made[1].folder)
    source = source_of(made[-1].name)
    assert (source.name, source.folder, source.start, source.pack) == (
        "materials/llama-s-instruct/cpt-sft-slerp-dpo",
        made[-1].folder,
        "llama-s-instruct",
        "materials",
    )
    merge = source_of(str(made[2].folder))
    assert (merge.start, merge.pack) == ("llama-s-instruct", "materials")
    with pytest.raises(InputError, match="did you mean 'materials/llama-s-instruct/cpt-sft'"):
        locate("materials/llama-s-instruct/cpt-stf")
    with pytest.raises(InputError, match="unknown model"):
        source_of("nothing")


def test_one_name_for_two_checkpoints_asks_which(made, quick_stage):
    run_spec(
        PipelineSpec(
            pack="materials",
            model="llama-s-instruct",
            stages=(quick_stage("cpt", steps=2),),
            seed=7,
        )
    )
    with pytest.raises(
        InputError, match=r"2 checkpoints have this name; give the folder of one: .*seed"
    ):
        locate("materials/llama-s-instruct/cpt")


def test_a_history_goes_through_merges_and_says_when_a_step_is_gone(made, tmp_path):
    chain = history(made[-1].lineage)
    assert [step["name"].rsplit("-", 1)[-1] for step in chain[1:]] == [
        "sft",
        "slerp",
        "dpo",
    ] and is_whole(chain)
    assert not is_whole(chain[1:])
    assert roots(str(made[-1].folder)) == ["llama-s-instruct"]


def test_a_merge_in_a_folder_goes_back_to_both_its_parents(made, tmp_path):
    folder = merge_to_folder(
        Recipe("llama-s-twin-instruct", str(made[1].folder), Merge(t=0.25)), tmp_path / "merged"
    )
    source = source_of(str(folder))
    assert (
        source.lineage is None
        and source.start == "llama-s-twin-instruct"
        and source.pack == "materials"
    )
    assert roots(str(folder)) == ["llama-s-twin-instruct", "llama-s-instruct"]
    assert [step["stage"]["kind"] for step in model_cards.history_of(source)] == ["cpt", "sft"]
    assert short(str(made[1].folder)) == made[1].name and short(str(folder)) == "merged"


def test_a_licence_is_known_stated_or_not_told(tmp_path):
    assert licence_of("llama-l-base") == licence_of(zoo.SMOLLM2) == "apache-2.0"
    assert licence_of("somebody/model") is None
    folder = tmp_path / "model"
    folder.mkdir()
    for readme, said in (
        ("# no front matter\n", None),
        ("---\nlicense: llama3.1\n---\n# x\n", "llama3.1"),
        ("---\nlicense: [a\n---\n", None),
        ("---\n- 1\n---\n", None),
    ):
        (folder / "README.md").write_text(readme)
        assert licence_of(str(folder)) == said
    (folder / "README.md").write_text("---\nbase_model: somebody/other\n---\n")
    assert roots(str(folder)) == ["somebody/other"]


def test_a_merge_of_another_tool_is_a_model_like_any_other(tmp_path):
    shutil.copytree(zoo.model_folder("llama-s-base"), tmp_path / "ties")
    (tmp_path / "ties" / model_cards.MERGEKIT_FILE).write_text("merge_method: ties\nmodels: []\n")
    source = source_of(str(tmp_path / "ties"))
    assert (source.name, source.recipe, source.start, source.pack) == ("ties", None, None, None)


def test_drafts_of_killed_runs_are_not_found(made):
    draft = made[0].folder.parent / ".killed.draft"
    shutil.copytree(made[1].folder, draft)
    assert locate(made[1].name) == str(made[1].folder)
    shutil.rmtree(draft)


def test_a_broken_lineage_names_its_file(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0].folder, folder)
    lineage = json.loads((folder / LINEAGE).read_text())
    (folder / LINEAGE).write_text(
        json.dumps({key: value for key, value in lineage.items() if key != "parent"})
    )
    with pytest.raises(InputError, match=r"lineage.json: 'parent' is missing"):
        source_of(str(folder))
