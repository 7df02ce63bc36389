"""labkit against mergekit 0.1.5 on the same recipes. mergekit is an optional peer: pip install -e
'.[peers]'.
"""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

pytest.importorskip(
    "mergekit",
    reason="mergekit is not installed; pip install -c constraints.txt -e '.[peers]' brings it",
)

from labkit.merge import methods, recipes, schedule
from labkit.merge.recipes import Merge, Recipe
from labkit.models import zoo
from labkit.train import pipeline

SCHEDULES = {"number": 0.3, "anchors": (0.1, 0.9, 0.4), **schedule.PRESETS}
FAMILIES = {"tied": "llama-s", "untied": "mistral-s"}


@pytest.fixture
def parents(tmp_path):
    """Copies of a family's two models in one dtype, as folders; tied or untied."""

    def make(kind: str, dtype=torch.float32) -> list[str]:
        made = []
        for start in ("instruct", "base"):
            folder = tmp_path / start
            shutil.copytree(zoo.shipped_folder() / f"{FAMILIES[kind]}-{start}", folder)
            tensors = {
                name: tensor.to(dtype)
                for name, tensor in load_file(folder / "model.safetensors").items()
            }
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
            made.append(str(folder))
        return made

    return make


def run_mergekit(path, output):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    run_merge(
        MergeConfiguration(**yaml.safe_load(path.read_text())),
        str(output),
        options=MergeOptions(quiet=True),
    )
    return load_file(output / "model.safetensors")


def both(tmp_path, recipe):
    path = tmp_path / "recipe.yaml"
    path.write_text(recipes.recipe_text(recipe))
    pipeline.merge_to_folder(recipes.read_recipe(path), tmp_path / "ours")
    return load_file(tmp_path / "ours" / "model.safetensors"), run_mergekit(
        path, tmp_path / "theirs"
    )


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("t", SCHEDULES.values(), ids=list(SCHEDULES))
@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_same_weights_from_the_same_recipe_in_float32(tmp_path, parents, kind, t, method):
    ours, theirs = both(tmp_path, Recipe(*parents(kind), Merge(method=method, t=t)))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        # mergekit's own rounding reaches 1.4e-6 on the embeddings (240,000 products summed in
        # float32)
        torch.testing.assert_close(
            tensor,
            theirs[name],
            atol=1e-6,
            rtol=5e-6,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("t", [0.3, schedule.PRESETS["paper"]], ids=["number", "paper"])
def test_same_weights_in_bfloat16_to_its_last_digit(tmp_path, parents, t):
    ours, theirs = both(tmp_path, Recipe(*parents("tied", torch.bfloat16), Merge(t=t)))
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), theirs[name].float(), atol=1e-6, rtol=2**-7)
        assert (tensor == theirs[name]).float().mean() > 0.99


def test_same_weights_when_bfloat16_is_merged_into_float32(tmp_path):
    recipe = Recipe("llama-s-instruct", "llama-s-twin-instruct", Merge(t=0.4, dtype="float32"))
    folders = [str(zoo.model_folder(name)) for name in (recipe.general, recipe.domain)]
    ours, theirs = both(tmp_path, Recipe(*folders, recipe.merge))
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor,
            theirs[name],
            atol=1e-6,
            rtol=5e-6,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_task_vectors_are_their_nuslerp(tmp_path, parents):
    general, ancestor = parents("tied")
    domain = str(zoo.shipped_folder() / "llama-s-twin-instruct")
    recipe = Recipe(
        general, domain, Merge(method="task_vector", t=0.4, ancestor=ancestor, dtype="float32")
    )
    ours, theirs = both(tmp_path, recipe)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("t", SCHEDULES.values(), ids=list(SCHEDULES))
def test_every_tensor_has_the_t_mergekit_gives_it(t):
    from mergekit.architecture import arch_info_for_config
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner

    general, domain = (
        str(zoo.shipped_folder() / name) for name in ("llama-s-instruct", "llama-s-base")
    )
    config = MergeConfiguration(
        **yaml.safe_load(recipes.recipe_text(Recipe(general, domain, Merge(t=t))))
    )
    model_config = zoo.config_of(zoo.model_folder(general))
    planner = MergePlanner(config, arch_info_for_config(model_config), MergeOptions(), model_config)
    planner.plan_to_disk("unused")
    theirs = {weight.name: float(task.parameters["t"]) for weight, task in planner._tensors}
    assert schedule.resolve(t, theirs) == pytest.approx(theirs)


def test_ours_is_nearer_to_float64_than_theirs():
    from mergekit.merge_methods import merge_state_dicts

    torch.manual_seed(0)
    a = torch.randn(2_000_000)
    b = a + 0.3 * torch.randn(2_000_000)
    x, y = a.double(), b.double()
    angle = torch.arccos((x / x.norm() * (y / y.norm())).sum())
    exact = (torch.sin(0.7 * angle) * x + torch.sin(0.3 * angle) * y) / torch.sin(angle)
    theirs = merge_state_dicts(
        {"a": {"w": a}, "b": {"w": b}},
        "slerp",
        base="a",
        dtype=torch.float32,
        parameters={"t": 0.3},
    )["w"]
    ours = methods.join(a, b, 0.3)
    assert (ours - exact).abs().max() <= (theirs - exact).abs().max()
    assert (ours - exact).abs().max() < 1e-6
