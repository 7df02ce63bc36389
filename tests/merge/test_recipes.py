from __future__ import annotations

import pytest
import yaml

from labkit.base.errors import MergeError
from labkit.merge import recipes, schedule
from labkit.merge.guards import MergeWarning
from labkit.merge.recipes import Merge, Recipe

SLERP = """
merge_method: slerp
base_model: llama-s-instruct
slices:
- sources:
  - {model: llama-s-base, layer_range: [0, 4]}
  - {model: llama-s-instruct, layer_range: [0, 4]}
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - value: 0.5
dtype: bfloat16
"""
LINEAR = """
merge_method: linear
models:
- {model: a, parameters: {weight: 0.3}}
- {model: b, parameters: {weight: [0.1, 0.9]}}
"""
NAMES = [
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q.weight",
    "model.layers.3.mlp.up.weight",
]


def written(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_base_model_is_t_0_wherever_it_stands(tmp_path):
    recipe = recipes.read_recipe(written(tmp_path, SLERP))
    assert (recipe.general, recipe.domain) == ("llama-s-instruct", "llama-s-base")
    assert recipe.merge == Merge(t=schedule.PRESETS["paper"], dtype="bfloat16")


def test_linear_weights_become_t(tmp_path):
    recipe = recipes.read_recipe(written(tmp_path, LINEAR))
    assert recipe.merge.method == "lerp"
    assert schedule.resolve(recipe.merge.t, NAMES) == pytest.approx(
        {NAMES[0]: 0.25, NAMES[1]: 0.25, NAMES[2]: 0.75}
    )


@pytest.mark.parametrize("method", ["slerp", "lerp", "task_vector"])
@pytest.mark.parametrize(
    "t",
    [0.3, (0.0, 0.4, 1.0), *schedule.PRESETS.values()],
    ids=["number", "anchors", *schedule.PRESETS],
)
def test_what_is_written_reads_back_as_the_same_merge(tmp_path, method, t):
    ancestor = "c" if method == "task_vector" else None
    recipe = Recipe("a", "b", Merge(method=method, t=t, ancestor=ancestor, dtype="float16"))
    again = recipes.read_recipe(written(tmp_path, recipes.recipe_text(recipe)))
    assert (again.general, again.domain, again.merge.method, again.merge.dtype) == (
        "a",
        "b",
        method,
        "float16",
    )
    assert again.merge.ancestor == ancestor
    assert schedule.resolve(again.merge.t, NAMES) == pytest.approx(schedule.resolve(t, NAMES))


def test_what_mergekit_lacks_is_not_written():
    with pytest.raises(MergeError, match="mergekit has no slerp_paper"):
        recipes.recipe_text(Recipe("a", "b", Merge(method="slerp_paper")))


@pytest.mark.parametrize(
    "text,words",
    [
        ("- a", "expected a mapping"),
        ("a: [", "recipe.yaml:.*not valid YAML"),
        (SLERP.replace("merge_method", "merge_metod"), "merge_metod is not a key .*'merge_method'"),
        (
            SLERP.replace("merge_method: slerp", "merge_method: ties"),
            "merge_method 'ties' cannot be run here",
        ),
        (
            SLERP.replace("base_model: llama-s-instruct", "base_model: other"),
            "base_model is 'other'; it must be one of the two",
        ),
        (SLERP.replace("  t:", "  tt:"), "parameters.tt is not a key .*'t'"),
        (
            SLERP.replace("filter: mlp", "fliter: mlp"),
            "parameters.t: fliter is not a key of a schedule; did you mean 'filter'",
        ),
        (SLERP.replace("- value: 0.5", "- value: half"), "parameters.t must be a number"),
        (SLERP.replace("dtype: bfloat16", "dtype: int4"), "dtype"),
        (
            SLERP.replace("- {model: llama-s-base", "- {modle: llama-s-base"),
            "slices.0.sources.0.model must name a model",
        ),
        (
            SLERP.replace("llama-s-base, layer_range: [0, 4]", "llama-s-base, layer_range: [0, 3]"),
            "layer_range must be the same",
        ),
        (SLERP.replace("dtype: bfloat16", "tokenizer_source: llama-s-base"), "tokenizer_source"),
        (LINEAR + "parameters: {normalize: false}\n", "parameters.normalize must be true"),
        (
            LINEAR.replace(", parameters: {weight: 0.3}", ""),
            "models.0.parameters.weight is missing",
        ),
        (LINEAR + "- {model: c}\n", "exactly two models"),
        (LINEAR + "slices: []\n", "either models or slices"),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
            "parameters: {t: 1.5}\n",
            r"outside \[0, 1\]",
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
            "parameters: {t: .nan}\n",
            "parameters.t must be a number",
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
            "parameters: {t: 1.5}\n",
            "recipe.yaml: parameters.t: t is 1.5, outside",
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5}\n",
            r"exactly two models: list base_model \(a\) as well",
        ),
        (SLERP + "chat_template: chatml\n", "chat_template can only be auto .got 'chatml'"),
        (SLERP + "tokenizer: {source: base, pad_to_multiple_of: 8}\n", "can only hold source"),
        (SLERP + "tokenizer: {source: llama-s-base}\n", "tokenizer_source can only be"),
        (LINEAR.replace("weight: 0.3", "weight: true"), "got True"),
        (SLERP + "---\na: 1\n", "parts it into several documents"),
        (SLERP + "base_model: llama-s-base\n", "recipe.yaml:14: base_model is given a second time"),
        ("merge_method: [slerp]\n", "merge_method"),
        ("t: 2024-13-45\n", "cannot be read as YAML"),
        (SLERP.replace("layer_range: [0, 4]", "layer_range: 4"), "layer_range must be the same"),
        ("merge_method: slerp\nslices: [{sources: 5}]\n", "layer_range must be the same"),
        (
            LINEAR.replace("{model: a,", "{model: a, layer_range: [0, 4],"),
            "models.0.layer_range is not a key",
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n",
            "parameters.t is missing",
        ),
    ],
)
def test_a_recipe_that_cannot_run_names_file_and_key(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(MergeError, match=words) as found:
        recipes.read_recipe(path)
    assert str(found.value).startswith(str(path))


def test_what_changes_nothing_is_left_out_with_a_note(tmp_path):
    extra = (
        "name: my-merge\ndescription: good\nmetadata: {by: me}\nchat_template: auto\n"
        "tokenizer_source: llama-s-instruct\n"
    )
    with pytest.warns(MergeWarning, match="name, description, metadata, chat_template of the rec"):
        recipe = recipes.read_recipe(written(tmp_path, SLERP + extra))
    plain = recipes.read_recipe(written(tmp_path, SLERP))
    assert recipe == plain
    with pytest.warns(MergeWarning, match="parameters: nothing here depends on int8_mask"):
        recipes.read_recipe(
            written(tmp_path, SLERP.replace("parameters:\n", "parameters:\n  int8_mask: true\n"))
        )


def test_a_layer_range_over_some_layers_is_blamed_on_the_layer_range(tmp_path):
    from labkit.train.pipeline import check_recipe

    recipe = recipes.read_recipe(written(tmp_path, SLERP.replace("[0, 4]", "[0, 3]")))
    with pytest.raises(MergeError, match=r"yaml: slices.0.sources.0.layer_range: .* ends at 3"):
        check_recipe(recipe)


def test_a_t_outside_on_the_command_line_names_no_spec():
    with pytest.raises(MergeError, match=r"^t is 1.5, outside"):
        recipes.recipe_of("a", "b", t="1.5")


def test_places_are_kept_for_what_is_found_wrong_later(tmp_path):
    recipe = recipes.read_recipe(written(tmp_path, SLERP))
    assert recipe.layers == 4
    assert recipe.places["domain"].endswith(
        "recipe.yaml: slices.0.sources.0.model"
    ) and recipe.places["t"].endswith("parameters.t")
    assert str(recipe.blame("t", MergeError("x"))).endswith("recipe.yaml: parameters.t: x")


def test_no_such_recipe(tmp_path):
    with pytest.raises(MergeError, match="no such file"):
        recipes.read_recipe(tmp_path / "none.yaml")


def test_a_folder_beside_the_recipe_is_found_and_one_here_comes_first(tmp_path, monkeypatch):
    (tmp_path / "there" / "mine").mkdir(parents=True)
    path = written(tmp_path / "there", SLERP.replace("llama-s-instruct", "mine"))
    monkeypatch.chdir(tmp_path)
    assert recipes.read_recipe(path).general == str(tmp_path / "there" / "mine")
    (tmp_path / "mine").mkdir()
    assert recipes.read_recipe(path).general == "mine"


def test_a_name_in_the_head_of_a_card_stays_one_name():
    card = recipes.merge_card(Recipe("[a]: b", "- c", Merge()))
    assert yaml.safe_load(card.split("---")[1])["base_model"] == ["[a]: b", "- c"]


@pytest.mark.parametrize("said", ["base", "union", "llama-s-instruct", "model:llama-s-instruct"])
def test_whose_tokenizer_is_said_in_the_older_way_and_in_the_newer_one(tmp_path, said):
    for text in (f"tokenizer_source: {said}\n", f"tokenizer: {{source: '{said}'}}\n"):
        found = recipes.read_recipe(written(tmp_path, SLERP + text))
        assert found.general == "llama-s-instruct"
