from __future__ import annotations

import dataclasses

import pytest
import torch

from labkit import cards, zoo
from labkit.errors import InputError
from labkit.families import FAMILIES


def test_build_saves_two_models_with_cards_and_is_reproducible(tmp_path, monkeypatch):
    small = dataclasses.replace(FAMILIES["llama-s"], steps=2)
    monkeypatch.setitem(FAMILIES, "llama-s", small)
    one, two = (cards.build_and_save("llama-s", tmp_path / name) for name in "ab")
    assert [folder.name for folder in one] == ["llama-s-base", "llama-s-instruct"]
    for first, second in zip(one, two, strict=True):
        assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
        assert "| compositional |" in (first / "README.md").read_text()
    base, instruct = (zoo.load(str(folder)).model for folder in one)
    assert not torch.equal(base.lm_head.weight, instruct.lm_head.weight)


def test_unknown_family():
    with pytest.raises(InputError, match="did you mean 'llama-s'"):
        cards.build_and_save("lama-s", None)
