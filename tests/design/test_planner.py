"""Plans: hours, money, energy, where they fit, what to give up, and what a design takes here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.base.errors import InputError, PackError, SpecError
from labkit.data.packs import samples_folder
from labkit.design.designer import design
from labkit.design.planner import (
    SIZE_HEADS,
    SIZES,
    UTILISATION,
    Training,
    at_sizes,
    below_two_billion,
    give_up,
    gpu,
    gpus,
    gpus_needed,
    plan,
    plan_spec,
    size_rows,
)
from labkit.design.planner_speed import Speed
from labkit.models import zoo
from labkit.train import pipeline, specs

H100 = gpu("h100")
FULL = Training(batch_size=96, accumulation=96, length=3072)


def test_hours_money_and_energy_are_ranges_of_one_sum():
    found = plan("Llama-3.1-8B", FULL, 10**8)
    low, high = found.hours(H100)
    assert found.flops == 10**8 * found.architecture.flops_per_token(3072)
    assert (
        low * 3600 * 989e12 * UTILISATION[1]
        == pytest.approx(found.flops)
        == high * 3600 * 989e12 * UTILISATION[0]
    )
    assert found.money(H100, 2.5) == pytest.approx((2.5 * low, 2.5 * high)) and found.money(
        H100, 0
    ) == (0, 0)
    assert found.energy_kwh(H100)[1] == pytest.approx(high * 0.7)
    eight = plan("Llama-3.1-8B", replace(FULL, gpus=8, accumulation=12), 10**8)
    assert eight.hours(H100)[0] == pytest.approx(low / 8) and eight.money(
        H100, 2.5
    ) == pytest.approx(found.money(H100, 2.5))
    checkpointed = plan("Llama-3.1-8B", replace(FULL, checkpointing=True), 10**8)
    assert checkpointed.flops == found.flops and checkpointed.hours(H100)[0] == pytest.approx(
        low * 4 / 3
    )
    lora, again = (
        plan("Llama-3.1-8B", replace(FULL, method="lora", checkpointing=how), 10**8).hours(H100)[0]
        for how in (False, True)
    )
    assert again - lora == pytest.approx(low / 3)


def test_dpo_reads_two_answers_twice():
    dpo = Training(stage="dpo", batch_size=4, length=512)
    assert dpo.rows == 8
    once, twice = (
        plan("SmolLM2-135M", replace(dpo, stage="orpo"), 10**6),
        plan("SmolLM2-135M", dpo, 10**6),
    )
    assert twice.flops == pytest.approx(once.flops * 4 / 3)


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf")])
def test_a_price_that_is_none(price):
    with pytest.raises(
        InputError, match=r"price is .*; give what one GPU costs per hour, 0 or more"
    ):
        plan("SmolLM2-135M", Training(), 10**6).money(H100, price)


def test_other_bad_input_is_one_sentence():
    for act, words in (
        (lambda: plan("SmolLM2-135M", Training(), 0), "tokens is 0"),
        (lambda: plan("SmolLM2-135M", Training(), 1.5), "tokens is 1.5"),
        (lambda: plan("SmolLM-1.7B", Training(length=4096), 10), "reads at most 2048 tokens"),
        (lambda: gpu("H10"), "did you mean 'H100'"),
    ):
        with pytest.raises(InputError, match=words):
            act()


def test_cards():
    known = gpus()
    assert list(known) == sorted(known, key=lambda name: known[name].memory_gb)
    assert all(card.source and card.watts > 0 and card.tflops > 0 for card in known.values())
    assert H100.usable_gib == pytest.approx(74.5, abs=0.01) and H100.tflops == 989


def test_what_to_give_up_is_cumulative_ordered_and_ends_where_it_fits():
    asked = plan("Llama-3.1-8B", Training(batch_size=16, length=4096), 10**8)
    for card in gpus().values():
        remedies = give_up(asked, card)
        sizes = [asked.peak_gib, *(remedy.plan.peak_gib for remedy in remedies)]
        assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)
        assert remedies[-1].plan.fits(card) and not any(
            remedy.plan.fits(card) for remedy in remedies[:-1]
        )
    names = [remedy.name for remedy in give_up(asked, gpu("T4"))]
    assert (
        names[0].startswith("one row")
        and names[1].startswith("activation")
        and names[-1].startswith("QLoRA")
    )
    assert len(give_up(asked, gpu("H200"))) < len(give_up(asked, H100)) < len(names)


def test_nothing_is_given_up_for_what_fits_nor_is_a_choice_undone():
    assert give_up(plan("SmolLM2-135M", Training(batch_size=1), 10**6), H100) == []
    asked = plan("Llama-3.1-8B", Training(method="qlora", batch_size=8), 10**6)
    assert {remedy.plan.training.method for remedy in give_up(asked, gpu("T4"))} == {"qlora"}


def test_gpus_needed_is_the_fewest_that_do():
    asked = plan("Llama-3.1-8B", replace(FULL, checkpointing=True), 10**8)
    assert not asked.fits(H100) and gpus_needed(asked, H100) == 2
    two = plan("Llama-3.1-8B", replace(asked.training, gpus=2, accumulation=48), 10**8)
    assert two.fits(H100) and two.training.micro_rows == asked.training.micro_rows
    assert gpus_needed(two, gpu("H200")) == 1
    one_row = Training(batch_size=1, length=131072)
    assert gpus_needed(plan("Llama-3.1-8B", one_row, 10**8), gpu("T4")) is None


# --- a design ---------------------------------------------------------------------------------

SPEC = specs.PipelineSpec(
    pack="materials", model="llama-s-instruct", stages=(*specs.GENTLE, specs.DPO), profile="smoke"
)


def test_a_design_is_planned_stage_by_stage():
    found = plan_spec(SPEC, speed=Speed(0.01, 1e11, 1.5))
    assert [stage.kind for stage in found.stages] == ["cpt", "sft", "dpo"]
    assert (
        found.tokens == sum(stage.tokens for stage in found.stages)
        and found.parameters == 1_043_200
    )
    assert found.peak_gib == max(stage.peak_gib for stage in found.stages) > 0
    assert (
        found.seconds[0]
        < found.flops / 1e11
        + 0.01 * sum(pipeline.steps_run(stage, "smoke") for stage in SPEC.stages)
        < found.seconds[1]
    )
    assert plan_spec(SPEC).seconds is None
    assert plan_spec(SPEC).peak_gib < found.peak_gib


def test_planned_tokens_are_those_that_training_reads(materials):
    stages = [stage.model_copy(update={"steps": 6}) for stage in specs.GENTLE]
    planned = plan_spec(SPEC.model_copy(update={"stages": tuple(stages), "profile": "lab"}))
    for stage, expected in zip(stages, planned.stages, strict=True):
        ran = pipeline.train_stage(stage, zoo.load("llama-s-instruct"), materials, seed=0)
        assert expected.tokens == pytest.approx(ran.tokens, rel=0.1)


def test_lora_and_longer_rows_change_a_plan():
    (plain,) = plan_spec(SPEC.model_copy(update={"stages": (specs.GENTLE[0],)})).stages
    (lora,) = plan_spec(
        SPEC.model_copy(
            update={"stages": (specs.GENTLE[0].model_copy(update={"lora": specs.Lora(rank=4)}),)}
        )
    ).stages
    (short,) = plan_spec(
        SPEC.model_copy(
            update={
                "stages": (specs.GENTLE[0].model_copy(update={"max_length": 16, "replay": 0.0}),)
            }
        )
    ).stages
    assert lora.trained < plain.trained and lora.flops < plain.flops and lora.tokens == plain.tokens
    assert short.tokens < plain.tokens and short.peak_gib < plain.peak_gib


def test_a_design_that_cannot_be_planned_is_one_sentence():
    with pytest.raises(PackError, match="unknown pack"):
        plan_spec(SPEC.model_copy(update={"pack": "wine"}))
    with pytest.raises(InputError, match="unknown model"):
        plan_spec(SPEC.model_copy(update={"model": "llama-xl"}))


READY = specs.load_spec(samples_folder("specs") / "llama-3.1-8b-full.yaml")


def changed(**changes) -> specs.PipelineSpec:
    """The ready 8B spec's CPT alone, with other fields."""
    return READY.model_copy(
        update={"stages": (READY.stages[0].model_copy(update=changes),), "merge": None}
    )


def test_a_design_on_cards_has_their_memory_and_time():
    one, eight = (plan_spec(READY, card=H100, gpus=count) for count in (1, 8))
    assert [stage.plan.training.accumulation for stage in one.stages] == [16, 16, 8] and [
        stage.plan.training.accumulation for stage in eight.stages
    ] == [2, 2, 1]
    assert eight.peak_gib < one.peak_gib / 6 and eight.fits(H100) and not one.fits(H100)
    assert one.seconds[0] == pytest.approx(8 * eight.seconds[0]) and one.money(
        3.0
    ) == pytest.approx(eight.money(3.0))
    assert one.seconds[1] / one.seconds[0] == pytest.approx(UTILISATION[1] / UTILISATION[0])
    assert all(stage.estimated and stage.filled_gib > stage.peak_gib for stage in one.stages)
    assert one.widest.peak_gib == one.peak_gib


def test_what_a_stage_says_about_memory_is_planned():
    (asked,) = plan_spec(changed(), card=H100).stages
    (unchecked,) = plan_spec(changed(activation_checkpointing=False), card=H100).stages
    (at_once,) = plan_spec(changed(micro_batch_size=None), card=H100).stages
    assert (
        unchecked.plan.memory.activations > 10 * asked.plan.memory.activations
        and unchecked.seconds[0] == pytest.approx(asked.seconds[0] * 3 / 4)
    )
    assert (
        at_once.plan.memory.activations > 12 * asked.plan.memory.activations
        and at_once.padding > asked.padding
    )
    assert (
        at_once.plan.memory.gradients == 0 < asked.plan.memory.gradients
    )  # held over the passes of a step
    (lora,), (qlora,) = (
        plan_spec(changed(lora=specs.Lora(four_bit=four)), card=H100).stages
        for four in (False, True)
    )
    assert (
        lora.trained == qlora.trained == 41_943_040
        and lora.plan.training.method == "lora"
        and qlora.plan.training.method == "qlora"
    )
    assert lora.plan.memory.weights == pytest.approx(
        15.0, abs=0.2
    ) and qlora.plan.memory.weights == pytest.approx(5.5, abs=0.1)
    assert asked.plan.memory.weights == pytest.approx(
        4 * 8.03e9 / 2**30 + 2 * (6.98e9 + 0.525e9) / 2**30, rel=0.01
    )  # float32, and what autocast copies


def test_passes_are_told_for_the_rows_of_the_pack():
    (stage,) = plan_spec(changed(), card=H100).stages
    assert stage.passes == pytest.approx(42 * 96 / 800)
    (replayed,) = plan_spec(changed(replay=0.25), card=H100).stages
    assert replayed.passes == pytest.approx(0.75 * stage.passes)


def test_a_step_that_cannot_be_shared_is_one_sentence():
    with pytest.raises(SpecError, match="cpt: batch_size 96 cannot be shared by 5 processes"):
        plan_spec(changed(), card=H100, gpus=5)


def test_in_a_spec_pairs_stay_together_and_nothing_is_proposed_that_it_cannot_say():
    (stage,) = plan_spec(
        READY.model_copy(update={"stages": READY.stages[2:], "merge": None}), card=H100
    ).stages
    remedies = give_up(stage.plan, gpu("T4"), in_spec=True)
    assert remedies[0].plan.training.micro_rows == 2 and all(remedy.field for remedy in remedies)
    assert remedies[-1].plan.fits(gpu("T4")) and "max_length" not in remedies[-1].field
    on_cpu = give_up(stage.plan, gpu("T4"), in_spec=True, on_gpu=False)
    assert {remedy.plan.training.method for remedy in on_cpu} == {"full", "lora"}


def test_a_family_that_is_not_built_is_planned():
    found = plan_spec(SPEC.model_copy(update={"model": "llama-l-instruct"}))
    small = plan_spec(SPEC)
    assert (
        found.parameters > 5 * small.parameters
        and found.tokens == small.tokens
        and not any(stage.estimated for stage in found.stages)
    )


def test_planning_brings_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys; from labkit.design import planner; planner.plan('Llama-3.1-8B', "
        "planner.Training(), 10).fits(planner.gpu('T4')); print([m for m in ('torch', "
        "'transformers', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- at several sizes ---------------------------------------------------------------------------


def test_one_design_at_four_sizes_without_files():
    amounts = {
        kind: specs.Planned(rows=rows, words=words)
        for kind, rows, words in (("cpt", 9000, 900_000), ("sft", 100, 9_000), ("dpo", 100, 9_000))
    }
    spec = design(pack="x", sequence="cpt-sft-dpo", merge="slerp", planned=amounts)
    found = at_sizes(spec)
    assert [one.model for one in found] == list(SIZES)
    millions = [round(one.found.plan.parameters / 1e6) for one in found]
    assert millions == [135, 1711, 7248, 8030]
    for one in found:
        low, high = one.found.tokens
        assert 0 < low < high < 3 * low  # estimated: a range
        assert one.found.count and one.found.plan.fits(one.found.card)
    costs = [one.found.plan.money(2.0)[1] for one in found]
    assert costs == sorted(costs)
    assert [bool(one.measured) for one in found] == [True, False, False, False]
    assert [bool(one.reported) for one in found] == [False, True, True, True]
    rows = size_rows(found, 2.0)
    assert all(len(row) == len(SIZE_HEADS) and "per GPU-hour" in row[2] for row in rows)
    told = below_two_billion(spec, found)
    assert "No record" in told and "Not known" in told and "135 million" in told
    twice = at_sizes(
        spec,
        planned={
            kind: one.model_copy(update={"words": 2 * one.words}) for kind, one in amounts.items()
        },
    )
    assert twice[3].found.tokens[0] > 1.5 * found[3].found.tokens[0]


def test_a_small_card_says_what_is_given_up_and_when_nothing_helps():
    spec = design(model="Llama-3.1-8B", merge="slerp")
    large = at_sizes(spec, card="RTX 4090")[-1]
    assert large.found.count != 1 and large.fits
    assert "LoRA" in " ".join(remedy.name for remedy in large.remedies)
    with pytest.raises(InputError, match="unknown GPU"):
        at_sizes(spec, card="abacus")


def test_tokens_are_exact_where_the_tokenizer_is_here():
    low, high = at_sizes(design())[0].found.tokens
    assert low == high
