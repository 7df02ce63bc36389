"""What a run would take: told for every ready spec, offline, with nothing loaded."""

from __future__ import annotations

import pytest
from commands import labkit

from labkit.base.errors import InputError, SpecError
from labkit.data.packs import samples_folder
from labkit.design import preflight
from labkit.design.planner import gpus
from labkit.design.planner_speed import TEXT, Speed, keep_speed
from labkit.train.specs import DPO, GENTLE, PipelineSpec, load_spec

FOLDER = samples_folder("specs")
TINY = PipelineSpec(pack="materials", model="llama-s-instruct", stages=(*GENTLE, DPO))


def told(spec, **options) -> tuple[str, dict[str, list]]:
    """Sentences as one text, and the rows of each table by the first word of its title."""
    found = list(preflight.tell(spec, **options))
    return "\n".join(part for part in found if isinstance(part, str)), {
        part[0].split()[0]: part[2] for part in found if not isinstance(part, str)
    }


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_every_ready_spec_is_told_offline(path):
    spec = load_spec(path)
    words, tables = told(spec)
    assert (
        "Row lengths are an estimate: the model's tokenizer is not in the local cache" in words
        and "download: " in words
        and "checkpoints: " in words
    )
    assert [row[0] for row in tables["stages"]] == [*(stage.kind for stage in spec.stages), "all"]
    assert [row[0] for row in tables["rows"]] == [stage.kind for stage in spec.stages]
    assert [row[0] for row in tables["where"]] == list(gpus())
    assert any(row[2] == "yes" for row in tables["where"]) != path.stem.startswith(
        "llama-3.1-8b-full"
    )


def test_one_card_says_what_to_give_up_and_what_it_costs():
    spec = load_spec(FOLDER / "llama-3.1-8b-full.yaml")
    words, _ = told(spec, card="rtx 4090", price=0.5)
    assert (
        "it does not fit: RTX 4090 has 22.4 GiB" in words
        and "give up 1: one row at a time" in words
        and "money" not in words
    )
    assert (
        "(lora: {rank: 16})" in words and "8-bit" not in words
    )  # a spec cannot ask for an 8-bit optimiser
    shared, tables = told(spec, card="H100", count=8, price=2.0)
    assert "it fits: H100" in shared and "money: " in shared and tables["rows"][0][3] == "6"


def test_this_machine_where_it_was_measured():
    words, tables = told(TINY)
    assert "where" in tables and "this machine" not in words.splitlines()[1]
    for kind in (TEXT, "dpo"):
        keep_speed(TINY.model, Speed(0.01, 1e11), kind)
    words, tables = told(TINY)
    assert "where" not in tables and "time on this machine: " in words and "it fits: " in words
    assert "where" in told(TINY, count=2)[1]


def test_a_stage_without_its_data_is_one_sentence(tmp_path):
    import shutil

    from labkit.data.packs import packs_folder

    shutil.copytree(packs_folder() / "materials", tmp_path / "mine")
    (tmp_path / "mine" / "preferences.jsonl").unlink()
    with pytest.raises(SpecError, match=r"dpo needs preferences.jsonl"):
        told(TINY.model_copy(update={"pack": str(tmp_path / "mine")}))


def test_a_merge_alone_is_told():
    words, tables = told(
        PipelineSpec(
            pack="materials", model="llama-s-instruct", stages=(), merge={"general": "llama-s-base"}
        )
    )
    assert not tables and "checkpoints: 1, " in words


@pytest.mark.parametrize(
    "options,words,error",
    [
        ({"card": "H10"}, "did you mean 'H100'", InputError),
        ({"price": -1}, "price is -1", InputError),
        ({"card": "H100", "count": 5}, "batch_size 32 cannot be shared by 5", SpecError),
    ],
)
def test_bad_input_is_one_sentence(options, words, error):
    with pytest.raises(error, match=words):
        told(TINY, **options)


def command(*arguments, tmp_path):
    """In a home and a cache of their own, with a hub that cannot be reached and would be asked."""
    return labkit(
        "run",
        *arguments,
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HOME=str(tmp_path / "hf"),
    )


def test_the_command_touches_nothing(tmp_path):
    done = command(FOLDER / "smollm-1.7b-lora.yaml", "--dry-run", tmp_path=tmp_path)
    assert (
        done.returncode == 0
        and not done.stderr
        and "where it fits" in done.stdout
        and "…" not in done.stdout
    )
    assert not (tmp_path / "hf").exists() and not list((tmp_path / "home").glob("*"))


def test_a_real_run_is_refused_before_anything_is_loaded(tmp_path):
    done = command(FOLDER / "llama-3.1-8b-full.yaml", tmp_path=tmp_path)
    assert (
        done.returncode == 2
        and "Traceback" not in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    )
    assert "GiB" in done.stderr
    small = tmp_path / "small.yaml"
    small.write_text("pack: materials\nmodel: me/mine\nstages: gentle\n", "utf-8")
    out_of_reach = command(small, tmp_path=tmp_path)
    assert (
        out_of_reach.returncode == 2
        and "error: model 'me/mine': its config.json cannot be fetched" in out_of_reach.stderr
        and len(out_of_reach.stderr.strip().splitlines()) == 1
    )


def test_options_of_a_dry_run_are_for_a_dry_run(tmp_path):
    small = tmp_path / "small.yaml"
    small.write_text("pack: materials\nmodel: llama-s-instruct\nstages: gentle\n", "utf-8")
    done = command(small, "--gpus", "2", tmp_path=tmp_path)
    assert done.returncode == 2 and "--gpu, --gpus and --price are for --dry-run" in done.stderr
