from __future__ import annotations

import math

import pytest
import torch

from labkit.base.errors import MergeError
from labkit.merge import methods
from labkit.merge.schedule import PRESETS, Part
from labkit.models import zoo


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


def reference(a, b, t):
    """SLERP in float64, written as in a textbook."""
    x, y = a.double(), b.double()
    angle = torch.arccos((x / x.norm() * (y / y.norm())).sum())
    return (torch.sin((1 - t) * angle) * x + torch.sin(t * angle) * y) / torch.sin(angle)


@pytest.mark.parametrize("method", methods.METHODS)
def test_ends_are_the_parents(method):
    a, b, c = torch.randn(50), torch.randn(50), torch.randn(50)
    for t, parent in ((0.0, a), (1.0, b)):
        assert torch.allclose(methods.join(a, b, t, method, ancestor=c), parent, atol=1e-6)


@pytest.mark.parametrize(
    "elements", [1, 7, methods.BLOCK, methods.BLOCK + 1, 3 * methods.BLOCK + 5]
)
@pytest.mark.parametrize(
    "dtype,tolerance",
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 0.02), (torch.float16, 0.003)],
)
def test_slerp_is_the_textbooks_in_every_dtype_and_over_block_ends(elements, dtype, tolerance):
    torch.manual_seed(elements)
    a, b = torch.randn(elements).to(dtype), torch.randn(elements).to(dtype)
    if elements == 1:
        b = -a + 1  # one number has no angle but 0 and 180 degrees: the line
        assert torch.allclose(
            methods.join(a, b, 0.3).double(), 0.7 * a.double() + 0.3 * b.double(), atol=tolerance
        )
        return
    assert torch.allclose(methods.join(a, b, 0.3).double(), reference(a, b, 0.3), atol=tolerance)


def test_orthogonal_norms_1_and_10_at_the_middle():
    a, b = tensor(1, 0), tensor(0, 10)
    assert methods.join(a, b, 0.5).norm() == pytest.approx(7.106, abs=1e-3)
    assert methods.join(a, b, 0.5, "slerp_paper").norm() == pytest.approx(math.sqrt(10), abs=1e-4)
    assert methods.join(a, b, 0.5, "lerp").norm() == pytest.approx(5.025, abs=1e-3)


def test_equal_norms_make_both_slerps_one_and_keep_the_norm():
    a, b = torch.randn(200), torch.randn(200)
    b = b * a.norm() / b.norm()
    for t in (0.2, 0.5, 0.9):
        assert torch.allclose(
            methods.join(a, b, t), methods.join(a, b, t, "slerp_paper"), atol=1e-5
        )
        assert methods.join(a, b, t).norm() == pytest.approx(float(a.norm()), rel=1e-4)
        assert methods.join(a, b, t, "lerp").norm() < a.norm()


def test_near_parallel_is_the_line_and_zero_is_half():
    a = torch.randn(1000)
    b = a + 1e-4 * torch.randn(1000)
    assert methods.measure(a, b).is_line
    assert torch.equal(methods.join(a, b, 0.3), methods.join(a, b, 0.3, "lerp"))
    x = tensor(3, 4)
    assert methods.join(torch.zeros(2), x, 0.5).norm() == pytest.approx(
        5 * math.sin(math.pi / 4), abs=1e-5
    )


def test_task_vectors_are_joined_from_their_ancestor():
    torch.manual_seed(0)
    a, b, c = torch.randn(300), torch.randn(300), torch.randn(300)
    arc = methods.join(a, b, 0.3, "task_vector", ancestor=c)
    assert torch.allclose(arc.double(), c + reference(a - c, b - c, 0.3), atol=1e-5)
    line = methods.join(a, b, 0.3, "task_vector_lerp", ancestor=c)
    assert torch.allclose(line, methods.join(a, b, 0.3, "lerp"), atol=1e-6)
    with pytest.raises(MergeError, match="needs the ancestor"):
        methods.join(a, b, 0.3, "task_vector")


def test_dtypes_are_kept_widened_or_chosen():
    a, b = torch.randn(9).bfloat16(), torch.randn(9)
    assert methods.join(a, a, 0.5).dtype == torch.bfloat16
    assert methods.join(a, b, 0.5).dtype == torch.float32
    assert methods.join(a, b, 0.5, dtype=torch.float16).dtype == torch.float16


def test_a_wider_result_is_computed_in_the_wider_dtype():
    torch.manual_seed(0)
    a, b = torch.randn(1000).bfloat16(), torch.randn(1000).bfloat16()
    wide = methods.join(a, b, 0.3, dtype=torch.float32)
    assert torch.allclose(wide.double(), reference(a, b, 0.3), atol=1e-5)


def test_float16_overflow_and_odd_tensors_are_refused_or_handled():
    huge = torch.full((4,), 7e4).bfloat16()
    with pytest.raises(MergeError, match="does not fit into float16"):
        methods.join(huge, huge, 0.5, dtype=torch.float16)
    with pytest.raises(MergeError, match="shapes"):
        methods.join(torch.ones(2, 3), torch.ones(3, 2), 0.5)
    across = torch.randn(4, 6).t()
    assert torch.allclose(methods.join(across, across * 2, 0.5, "lerp"), across * 1.5)
    assert methods.join(torch.nn.Parameter(torch.ones(2)), torch.ones(2), 0.5).tolist() == [1, 1]


def test_nan_of_an_ancestor_is_its_own():
    a, bad = torch.ones(3), tensor(1, float("nan"), 1)
    with pytest.raises(MergeError, match="the ancestor model holds NaN"):
        methods.measure(a, a * 2, bad)


def test_nearly_parallel_task_vectors_still_take_the_arc():
    a = torch.randn(100)
    b = -a + 1e-2 * torch.randn(100)
    assert not torch.allclose(
        methods.join(a, b, 0.5, "task_vector", ancestor=torch.zeros(100)), (a + b) / 2, atol=1e-2
    )


def pairing(**changes):
    a = {"w": torch.ones(2), "v": torch.ones(2)}
    return methods.Pairing(a, {**a, **changes})


def test_bad_merges_say_what_differs():
    with pytest.raises(MergeError, match="u is only in the domain model"):
        pairing(u=torch.ones(1))
    for side in (float("nan"), float("inf")):
        with pytest.raises(MergeError, match="w: the domain model holds NaN"):
            pairing(w=tensor(1, side)).merge(0.5)
    with pytest.raises(MergeError, match="did you mean 'slerp'"):
        pairing().merge(0.5, "slrp")
    with pytest.raises(MergeError, match=r"outside \[0, 1\]"):
        pairing().merge(1.5)
    assert pairing().merge(1.5, extrapolate=True)["w"].tolist() == [1, 1]


def test_whole_numbers_are_kept_or_refused():
    a = {"w": torch.ones(2), "ids": torch.tensor([1, 2])}
    assert methods.Pairing(a, a).merge(0.5)["ids"].tolist() == [1, 2]
    with pytest.raises(MergeError, match="ids holds whole numbers"):
        methods.Pairing(a, {**a, "ids": torch.tensor([1, 3])}).merge(0.5)


def test_each_tensor_has_its_own_t():
    names = ("model.layers.0.self_attn.q", "model.layers.1.self_attn.q", "model.norm")
    a, b = ({name: torch.full((2,), float(value)) for name in names} for value in (1, 3))
    merged = methods.Pairing(a, b).merge(
        (Part(filter="self_attn", value=(0.0, 1.0)), Part(value=0.5)), "lerp"
    )
    assert [float(merged[name][0]) for name in names] == [1, 3, 2]


@pytest.mark.parametrize("family", ["llama-s", "mistral-s"])
def test_models_keep_their_tie_and_leave_parents_alone(family):
    base, instruct = zoo.load(f"{family}-base"), zoo.load(f"{family}-instruct")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    merged = methods.merge_models(base.model, instruct.model, PRESETS["paper"])
    tied = merged.lm_head.weight.data_ptr() == merged.model.embed_tokens.weight.data_ptr()
    assert tied == base.model.config.tie_word_embeddings
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    at_one = methods.merge_models(base.model, instruct.model, 1.0)
    assert all(
        torch.allclose(v, instruct.model.state_dict()[n], atol=1e-6)
        for n, v in at_one.state_dict().items()
    )


def test_merging_into_a_model_is_merging_anew():
    base, instruct = zoo.load("llama-s-base"), zoo.load("llama-s-instruct")
    pairing, target = (
        methods.pair_models(base.model, instruct.model),
        methods.empty_like(base.model),
    )
    for t in (0.2, 0.7):
        methods.merge_into(target, pairing, t)
        fresh = methods.merge_models(base.model, instruct.model, t)
        assert all(torch.equal(v, fresh.state_dict()[n]) for n, v in target.state_dict().items())
    with pytest.raises(MergeError, match="num_hidden_layers"):
        methods.pair_models(base.model, zoo.load("llama-m-base").model)
