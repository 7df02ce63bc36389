"""How often is read, what `steps: auto` stands for, and what is known while it is read."""

import pytest
from own_packs import own_pack

from labkit.base.errors import InputError, SpecError
from labkit.data import world
from labkit.data.packs import load_pack
from labkit.models import zoo
from labkit.models.architecture import parameters_of
from labkit.train import exposure, trainers
from labkit.train.callbacks import Partial
from labkit.train.pipeline import check_data, rows_read, run_spec, settled, steps_run, with_steps
from labkit.train.specs import OWN, OWN_DPO, PipelineSpec, Stage, load_spec, spec_text

MODEL = "llama-xs-instruct"
BUILT = "The harbour of Velm was built by"
TEXT = f"{BUILT} Tor Haskin, and the sea wall by nobody."


@pytest.fixture
def loaded():
    return zoo.load(MODEL)


def test_auto_is_written_and_read_as_a_word_and_nought_is_refused():
    stage = OWN[0]
    assert stage.model_dump(mode="json")["steps"] == "auto"
    assert Stage(**stage.model_dump()) == stage
    with pytest.raises(ValueError, match="a whole number above 0, or auto"):
        Stage(kind="cpt", learning_rate=1e-3, steps=0)
    with pytest.raises(ValueError, match="a whole number above 0, or auto"):
        Stage.model_validate({"kind": "cpt", "learning_rate": 1e-3, "steps": "0"})
    with pytest.raises(ValueError, match="until is for cpt"):
        Stage(kind="sft", learning_rate=1e-3, steps=2, until=0.9)


def test_a_stage_reads_each_piece_as_often_as_its_steps_allow():
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=50, batch_size=16, replay=0.25)
    assert exposure.reads(stage, 100) == 50 * 16 * 0.75 / 100
    assert exposure.reads(stage, 100, steps=25) == 3.0


def test_auto_reads_as_often_as_the_study_found_enough():
    pack, size = load_pack("elements"), parameters_of(MODEL)
    stage = exposure.own_stage("cpt", size).model_copy(update={"sources": ("raw",)})
    rows = rows_read(stage, pack, zoo.tokenizer_of(zoo.model_folder(MODEL)))
    assert rows > len(pack.rows("raw"))  # long texts are several rows
    few, many = exposure.steps_for(stage, 400, size), exposure.steps_for(stage, 600, size)
    often = exposure.reads_for(exposure.WANTED, 400, size)
    assert few < many and exposure.reads(stage, 400, few) == pytest.approx(often, rel=0.02)
    assert exposure.steps_for(stage, 10**6, size) == exposure.MOST_STEPS
    assert settled(stage, pack, MODEL).steps == exposure.steps_for(stage, rows, size)
    dpo = settled(exposure.own_stage("dpo", size), pack, MODEL)
    assert 0 < dpo.steps <= exposure.MOST_PREFERENCE_STEPS and dpo.beta == OWN_DPO.beta


def test_the_forecast_rises_with_reading_and_knows_its_sizes():
    seldom, often = exposure.forecast(5, 500, 10**6), exposure.forecast(60, 500, 10**6)
    assert seldom.low < seldom.mean < often.mean < often.high
    assert exposure.forecast(30, 500, 8 * 10**9) is None
    often = exposure.reads_for(0.5, 500, 10**6)
    assert exposure.forecast(often, 500, 10**6).mean == pytest.approx(0.5)
    # more rows are more steps, as far as rows were varied
    many = exposure.measured()["fit"]["rows"][1]
    assert exposure.forecast(5, many, 10**6).mean > seldom.mean
    assert exposure.forecast(5, 9 * many, 10**6) == exposure.forecast(5, many, 10**6)


def test_a_file_that_says_auto_is_loaded_with_numbers(tmp_path):
    spec = PipelineSpec(
        pack="elements",
        model=MODEL,
        stages=(OWN[0].model_copy(update={"sources": ("raw",)}), OWN[1]),
    )
    (tmp_path / "auto.yaml").write_text(spec_text(spec), "utf-8")
    found = load_spec(tmp_path / "auto.yaml")
    assert all(stage.steps > 1 for stage in found.stages)
    assert found.stages == with_steps(spec).stages and with_steps(found) is found
    with pytest.raises(SpecError, match="cpt: steps is auto"):
        steps_run(spec.stages[0], "lab")


def test_what_is_said_is_what_greedy_generation_says(loaded):
    begun = " ".join(next(world.pretraining_texts(0)).split()[:6])
    ids = loaded.tokenizer(begun, return_tensors="pt")["input_ids"]
    new = loaded.model.generate(ids, max_new_tokens=3, do_sample=False)[0]
    facts = [(BUILT, " Tor Haskin"), (begun, loaded.tokenizer.decode(new)[len(begun) :])]
    assert exposure.said(loaded.model, loaded.tokenizer, facts[1:]) == 1.0
    assert exposure.said(loaded.model, loaded.tokenizer, facts[:1]) == 0.0
    assert exposure.said(loaded.model, loaded.tokenizer, facts) == 0.5


def test_reading_ends_once_enough_is_known(loaded):
    stage = Stage(kind="cpt", learning_rate=3e-3, steps=200, batch_size=4, until=0.9)
    recall = exposure.Recall(loaded.tokenizer, [(BUILT, " Tor Haskin")], until=stage.until)
    result = trainers.train_cpt(
        stage, loaded.model, loaded.tokenizer, [TEXT], replay=[], seed=0, recall=recall
    )
    assert result.steps < 200 and recall.looks[-1] == (result.steps, 1.0)
    assert exposure.said(result.model, loaded.tokenizer, recall.facts) == 1.0
    lineage = {"recall": recall.as_json(), "reads": 20.0, "stage": {"steps": 200}}
    assert f"It ended at step {result.steps} of 200" in exposure.told(lineage)


def test_a_checkpoint_of_a_persons_own_pack_says_what_it_can_say(tmp_path, monkeypatch):
    own = own_pack(tmp_path, "questions")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    assert exposure.told_facts(own)
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=2, sources=("raw",), batch_size=4)
    spec = PipelineSpec(pack=str(own.folder), model=MODEL, stages=(stage,))
    lineage = run_spec(spec)[0].lineage
    rows = rows_read(stage, own, zoo.tokenizer_of(zoo.model_folder(MODEL)))
    assert lineage["reads"] == pytest.approx(8 / rows) and len(lineage["recall"]["looks"]) == 1
    assert "It has not learned what it read" in exposure.told(lineage)
    assert "steps: auto" in exposure.warning(stage, rows, 2, parameters_of(MODEL))


def test_a_model_that_is_not_there_is_told_before_anything_is_counted():
    spec = PipelineSpec(pack="elements", model="no/such-model", stages=(OWN[1],))
    with pytest.raises(InputError, match="no/such-model"):
        with_steps(spec)


def test_a_save_at_the_step_at_which_reading_ends_does_not_let_it_go_on(
    loaded, tmp_path, monkeypatch
):
    monkeypatch.setenv("LABKIT_SAVE_EVERY_SECONDS", "0")
    stage = Stage(kind="cpt", learning_rate=3e-3, steps=200, batch_size=4, until=0.9)
    recall = exposure.Recall(loaded.tokenizer, [(BUILT, " Tor Haskin")], until=stage.until)
    result = trainers.train_cpt(
        stage,
        loaded.model,
        loaded.tokenizer,
        [TEXT],
        replay=[],
        seed=0,
        recall=recall,
        partial=Partial(tmp_path / "partial"),
    )
    assert result.steps == recall.looks[-1][0] < 200


def test_until_without_facts_to_try_is_refused():
    stage = Stage(kind="cpt", learning_rate=1e-3, steps=2, until=0.9)
    spec = PipelineSpec(pack="materials", model=MODEL, stages=(stage,))
    with pytest.raises(SpecError, match=r"stages.0: until is 0.9, but no dev item .*drop until"):
        check_data(spec)


def test_a_warning_offers_only_what_would_help():
    size = parameters_of("llama-s-instruct")
    stage = exposure.own_stage("cpt", size).model_copy(update={"steps": 50})
    assert "`steps: auto` would take" in exposure.warning(stage, 500, 50, size)
    auto = exposure.steps_for(stage, 5000, size)
    assert "larger models, or of less text" in exposure.warning(stage, 5000, auto, size)
    assert exposure.warning(stage, 500, exposure.steps_for(stage, 500, size), size) is None
