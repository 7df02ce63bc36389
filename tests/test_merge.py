from __future__ import annotations

import math

import pytest
import torch

from labkit import merge, zoo
from labkit.errors import MergeError


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize("method", merge.METHODS)
def test_ends_are_the_parents(method):
    a, b = torch.randn(50), torch.randn(50)
    join = merge.METHODS[method]
    assert torch.allclose(join(a, b, 0.0), a, atol=1e-6) and torch.allclose(join(a, b, 1.0), b, atol=1e-6)


def test_orthogonal_norms_1_and_10_at_the_middle():
    a, b = tensor(1, 0), tensor(0, 10)
    assert merge.slerp(a, b, 0.5).norm() == pytest.approx(7.106, abs=1e-3)
    assert merge.slerp_paper(a, b, 0.5).norm() == pytest.approx(math.sqrt(10), abs=1e-4)
    assert merge.lerp(a, b, 0.5).norm() == pytest.approx(5.025, abs=1e-3)


def test_equal_norms_make_both_slerps_one_and_keep_the_norm():
    a, b = torch.randn(200), torch.randn(200)
    b = b * a.norm() / b.norm()
    for t in (0.2, 0.5, 0.9):
        assert torch.allclose(merge.slerp(a, b, t), merge.slerp_paper(a, b, t), atol=1e-5)
        assert merge.slerp(a, b, t).norm() == pytest.approx(float(a.norm()), rel=1e-4)
        assert merge.lerp(a, b, t).norm() < a.norm()


def test_near_parallel_is_the_line_and_zero_is_half():
    a = torch.randn(1000)
    b = a + 1e-4 * torch.randn(1000)
    assert torch.equal(merge.slerp(a, b, 0.3), merge.lerp(a, b, 0.3))
    x = tensor(3, 4)
    assert merge.slerp(torch.zeros(2), x, 0.5).norm() == pytest.approx(5 * math.sin(math.pi / 4), abs=1e-5)


def test_bad_merges_say_what_differs():
    a = {"w": torch.ones(2), "v": torch.ones(2)}
    for bad, words in (
        ({"w": torch.ones(2)}, "v is only in the general model"),
        ({**a, "u": torch.ones(1)}, "u is only in the domain model"),
        ({**a, "w": torch.ones(3)}, r"w has shape \(2,\) in the general model and \(3,\)"),
        ({**a, "w": tensor(1, float("nan"))}, "w of the domain model holds NaN"),
    ):
        with pytest.raises(MergeError, match=words):
            merge.merge_tensors(a, bad, 0.5)
    with pytest.raises(MergeError, match="did you mean 'slerp'"):
        merge.merge_tensors(a, a, 0.5, "slrp")
    with pytest.raises(MergeError, match=r"outside \[0, 1\]"):
        merge.merge_tensors(a, a, 1.5)


def test_models_merge_stay_tied_and_leave_parents_alone():
    base, instruct = zoo.load("llama-s-base"), zoo.load("llama-s-instruct")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    merged = merge.merge_models(base.model, instruct.model, 0.5)
    assert merged.lm_head.weight.data_ptr() == merged.model.embed_tokens.weight.data_ptr()
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    at_one = merge.merge_models(base.model, instruct.model, 1.0)
    assert all(torch.allclose(v, instruct.model.state_dict()[n], atol=1e-6) for n, v in at_one.state_dict().items())


def test_different_tokenizers_are_refused():
    ours, other = zoo.load("llama-s-base").tokenizer, zoo.load("llama-s-base").tokenizer
    merge.check_tokenizers(ours, other)
    other.add_tokens(["<extra>"])
    with pytest.raises(MergeError, match="differ in 1 entries, first '<extra>'"):
        merge.check_tokenizers(ours, other)
