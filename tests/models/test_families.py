from __future__ import annotations

import pytest

from labkit.models.families import FAMILIES, HEAD_WIDTH, LADDER, ladder_shape, rate_factor


def test_sixteen_times_the_parameters_take_half_the_rate():
    assert rate_factor(16_000_000) == pytest.approx(0.5) and rate_factor(1_000_000) == 1


def test_the_ladder_grows_in_one_shape():
    for name in LADDER:
        shape = FAMILIES[name].shape
        assert shape == ladder_shape(shape["hidden_size"], shape["num_hidden_layers"])
        assert shape["hidden_size"] == HEAD_WIDTH * shape["num_attention_heads"]
    sizes = [FAMILIES[name].parameters for name in LADDER]
    assert sizes == sorted(sizes) and sizes[-1] > 30 * sizes[0]


def test_only_the_largest_is_left_out_of_the_package():
    assert [name for name, family in FAMILIES.items() if not family.shipped] == [LADDER[-1]]
