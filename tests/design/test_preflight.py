"""What is refused before a run, what is only a note, and that neither says what is not so."""

from __future__ import annotations

import json
import warnings

import pytest

from labkit.base.errors import InputError, SpecError, StoreError
from labkit.base.store import Store
from labkit.data.packs import samples_folder
from labkit.design import preflight
from labkit.design.planner import plan_spec
from labkit.design.preflight import (
    GIB,
    Machine,
    PreflightNote,
    check,
    check_architecture,
    check_memory,
    disk,
)
from labkit.merge.recipes import Merge
from labkit.models.architecture import KINDS, known_configs
from labkit.train import pipeline
from labkit.train.specs import DPO, Lora, PipelineSpec, Stage, load_spec

CPT = Stage(kind="cpt", learning_rate=1e-3, steps=20)
SPEC = PipelineSpec(pack="materials", model="llama-s-instruct", stages=(CPT, DPO), merge=Merge())


def machine(gib: float, *, free: float | None = None, on_gpu: bool = False) -> Machine:
    return Machine("this machine", gib, gib if free is None else free, on_gpu)


def test_what_can_run_passes_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(SPEC)
        check(
            SPEC.model_copy(
                update={
                    "model": "mistral-s-base",
                    "stages": (CPT.model_copy(update={"lora": Lora()}),),
                }
            )
        )


def test_a_model_named_anywhere_is_looked_at():
    with pytest.raises(InputError, match="unknown model 'llama-z'"):
        check(SPEC.model_copy(update={"merge": Merge(general="llama-z")}))


def test_four_bits_need_a_gpu():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SpecError, match=r"stages.0.lora.four_bit needs a CUDA GPU"):
        check(load_spec(samples_folder("specs") / "smollm-1.7b-qlora.yaml"))


# --- architecture -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config,words",
    [
        (
            {
                "model_type": "t5",
                "is_encoder_decoder": True,
                "architectures": ["T5ForConditionalGeneration"],
            },
            "'t5' is an encoder-decoder; labkit trains models that write from left to right",
        ),
        (
            {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
            "BertForMaskedLM is not a causal language model",
        ),
        ({"model_type": "vit"}, "'vit' is not a causal language model"),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "LlamaForSequenceClassification is not a causal",
        ),
        (
            {"model_type": "lama"},
            r"knows no model_type 'lama'; did you mean 'llama'\?; if the model is "
            r"newer, upgrade transformers",
        ),
        (
            {"model_type": "their_own", "auto_map": {"AutoModel": "x.Y"}},
            "needs code that comes with the model, which labkit never runs",
        ),
        ({"hidden_size": 8}, "model_type is None; copy the model's config.json whole"),
    ],
)
def test_what_is_no_decoder_is_one_sentence(config, words):
    with pytest.raises(InputError, match=words) as caught:
        check_architecture(config, "mine/config.json")
    assert str(caught.value).startswith("mine/config.json: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_the_planner_counts_may_be_trained(kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    check_architecture(AutoConfig.for_model(kind).to_dict(), kind)
    built = AutoModelForCausalLM._model_mapping[type(AutoConfig.for_model(kind))]
    check_architecture({"model_type": kind, "architectures": [built.__name__]}, kind)


def test_a_decoder_the_planner_cannot_count_is_a_note(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}), "utf-8"
    )
    with pytest.warns(PreflightNote, match="model_type 'mixtral' is one the planner cannot count"):
        check(SPEC.model_copy(update={"model": str(tmp_path), "merge": None}))


# --- memory -----------------------------------------------------------------------------------


def test_a_plan_beyond_all_memory_is_refused_with_figures_and_remedy():
    spec = SPEC.model_copy(update={"stages": (CPT,)})
    needed = plan_spec(spec).peak_gib
    with pytest.raises(
        SpecError,
        match=rf"stages.0 \(cpt\) needs about {needed:.1f} GiB \((activations|logits) .*\); "
        r"this machine has 0.1; set micro_batch_size: 1: that takes",
    ):
        check_memory(spec, machine(0.1))
    with pytest.warns(PreflightNote, match="close other programs"):
        check_memory(spec, machine(2 * needed, free=needed / 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_memory(spec, machine(2 * needed))


def test_the_remedy_is_one_that_helps():
    """What a sentence says to set is set, and the plan of that spec is what it promised."""
    stage = plan_spec(SPEC.model_copy(update={"stages": (CPT,)})).widest
    (remedy,) = preflight.remedies_for(stage, machine(0.1).as_card, on_gpu=False)
    assert remedy.field == "micro_batch_size: 1"
    small = plan_spec(
        SPEC.model_copy(update={"stages": (CPT.model_copy(update={"micro_batch_size": 1}),)})
    )
    assert (
        small.widest.plan.training.accumulation
        == remedy.plan.training.accumulation
        == CPT.batch_size
    )
    assert small.peak_gib == pytest.approx(remedy.plan.peak_gib) and small.peak_gib <= 0.1


def test_remedies_of_large_models_are_a_specs_own():
    spec = load_spec(samples_folder("specs") / "llama-3.1-8b-full.yaml")
    with pytest.raises(
        SpecError,
        match=r"even with micro_batch_size: 1, then lora: \{rank: 16\} it takes .* GiB: take "
        r"a smaller model or a larger GPU",
    ):
        check_memory(spec, machine(16))
    from labkit.design.planner import gpu

    names = [
        remedy.field
        for remedy in preflight.remedies_for(plan_spec(spec, card=gpu("T4")).widest, gpu("T4"))
    ]
    assert names == ["micro_batch_size: 1", "lora: {rank: 16}", "lora: {four_bit: true}"]


def test_many_processes_that_read_one_model_are_a_note():
    spec = load_spec(samples_folder("specs") / "llama-3.1-8b-full.yaml")
    with pytest.warns(
        PreflightNote,
        match=r"8 process\(es\) read 239 GiB of weights into main memory, and this machine has 128",
    ):
        preflight.check_main_memory(8_030_261_248, spec, 8, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preflight.check_main_memory(8_030_261_248, spec, 8, 256)


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(preflight, "CGROUP_LIMITS", (limit, tmp_path / "none"))
    whole = preflight.this_machine()
    limit.write_text("max\n")
    assert preflight.this_machine().memory_gib == whole.memory_gib
    if whole.on_gpu:
        pytest.skip("this machine has a GPU, whose memory no container limits")
    limit.write_text(f"{GIB}\n")
    assert preflight.this_machine().memory_gib == 1 and preflight.this_machine().free_gib <= 1


# --- disk -------------------------------------------------------------------------------------


def test_predicted_checkpoints_are_as_large_as_written_ones():
    spec = SPEC.model_copy(
        update={"stages": (CPT.model_copy(update={"steps": 2}),), "profile": "smoke"}
    )
    made = pipeline.run_spec(spec, store=Store())
    sizes = [(checkpoint.folder / "model.safetensors").stat().st_size / GIB for checkpoint in made]
    assert disk(spec, on_gpu=False).kept == pytest.approx(sizes, rel=0.01)


def test_adapters_on_a_gpu_leave_the_stored_precision():
    full, lora = (
        load_spec(samples_folder("specs") / f"mistral-7b-{method}.yaml")
        for method in ("full", "lora")
    )
    assert (
        disk(full).kept == pytest.approx([2 * size for size in disk(lora).kept])
        and len(disk(full).kept) == 3
    )
    assert disk(lora, on_gpu=False).kept == disk(full).kept
    assert disk(full).state_gib > 100 * disk(lora).state_gib > 0
    assert disk(full).download_gib == pytest.approx(
        2 * 2 * 7_248_023_552 / GIB
    )  # base and instruct
    assert disk(SPEC).download_gib == 0


def test_a_disk_too_small_is_refused(tmp_path):
    config = json.loads(known_configs()["SmolLM-1.7B"].read_text("utf-8"))
    (tmp_path / "config.json").write_text(
        json.dumps({**config, "num_hidden_layers": 10**7}), "utf-8"
    )
    huge = SPEC.model_copy(update={"model": str(tmp_path), "stages": (CPT,), "merge": None})
    with pytest.raises(
        StoreError,
        match=r"the disk is full before the first checkpoint is written, which takes .* GiB "
        ".*point LABKIT_HOME elsewhere",
    ):
        preflight.check_disk(huge)


def test_sizes_in_words():
    assert [preflight.size_words(gib) for gib in (0.004, 0.25, 3.21, 120.4)] == [
        "4.1 MiB",
        "0.2 GiB",
        "3.2 GiB",
        "120 GiB",
    ]


# --- conversations ----------------------------------------------------------------------------


def hub_model(tmp_path, monkeypatch, template: str | None) -> str:
    """A model in the local cache of the hub: a tiny one's config and tokenizer."""
    from labkit.models import zoo

    snapshot = tmp_path / "models--me--mine" / "snapshots" / "abc"
    tokenizer = zoo.tokenizer_of(zoo.model_folder("llama-s-base"))
    tokenizer.chat_template = template
    tokenizer.save_pretrained(snapshot)
    (snapshot / "config.json").write_text(
        (zoo.shipped_folder() / "llama-s-base" / "config.json").read_text("utf-8"), "utf-8"
    )
    (tmp_path / "models--me--mine" / "refs").mkdir()
    (tmp_path / "models--me--mine" / "refs" / "main").write_text("abc", "utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "labkit.design.planner_memory._tokenizer", lambda model: None
    )  # as before anything was downloaded
    return "me/mine"


def test_a_hub_model_without_a_template_is_known_before_its_weights_come(tmp_path, monkeypatch):
    name = hub_model(tmp_path, monkeypatch, None)
    monkeypatch.setattr(
        "labkit.models.zoo.tokenizer_of", _without_template(preflight.zoo.tokenizer_of)
    )
    check(SPEC.model_copy(update={"model": name, "stages": (CPT,), "merge": None}))
    with pytest.raises(
        InputError,
        match="model 'me/mine' has no chat template, which dpo needs; start from its "
        "instruct model",
    ):
        check(SPEC.model_copy(update={"model": name, "merge": None}))


def _without_template(read):
    """Whatever zoo does for base models, this one has no template."""

    def reader(folder):
        tokenizer = read(folder)
        tokenizer.chat_template = None
        return tokenizer

    return reader


def test_stages_rows_and_steps_are_told_of_a_model_that_cannot_be_counted(tmp_path):
    from transformers import AutoConfig

    from labkit.design import comparison, designer, planner
    from labkit.models import zoo

    tokenizer = zoo.load("llama-s-instruct").tokenizer
    tokenizer.save_pretrained(tmp_path)
    AutoConfig.for_model(
        "stablelm",
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
    ).save_pretrained(tmp_path)
    spec = SPEC.model_copy(update={"model": str(tmp_path), "merge": None})
    sentence, table = preflight.tell(spec)
    assert "model_type is 'stablelm', which the planner cannot count" in sentence
    counted = preflight.plan_spec(spec.model_copy(update={"model": "llama-s-instruct"}))
    expected = [(s.kind, f"{s.steps:,}", f"{s.plan.tokens:,}") for s in counted.stages]
    assert table[1] == planner.UNCOUNTED_HEADS
    assert [(row[0], row[1], row[3]) for row in table[2]] == expected
    assert designer.problems(spec) == []
    assert f"cpt: {expected[0][1]} steps" in comparison.resources(spec)[1]
