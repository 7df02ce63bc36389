from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from labkit.base.errors import InputError
from labkit.models import zoo
from labkit.models.families import FAMILIES
from labkit.share import model_cards
from labkit.train import zoo_build


def test_build_saves_two_models_with_cards_and_is_reproducible(tmp_path, monkeypatch):
    small = dataclasses.replace(FAMILIES["llama-s"], steps=2)
    monkeypatch.setitem(FAMILIES, "llama-s", small)
    few = partial(model_cards.evaluate, limit=2)  # a card says what is measured, of however much
    monkeypatch.setattr(model_cards, "evaluate", few)
    folders = model_cards.build_and_save("llama-s", tmp_path)
    assert [folder.name for folder in folders] == ["llama-s-base", "llama-s-instruct"]
    base, instruct = (zoo.load(str(folder)).model for folder in folders)
    for saved, again, folder in zip(
        (base, instruct), zoo_build.build_pair("llama-s").values(), folders, strict=True
    ):
        weights = again.state_dict()
        assert all(
            torch.equal(tensor, weights[name].to(torch.bfloat16).float())
            for name, tensor in saved.state_dict().items()
        )
        assert "| compositional |" in (folder / "README.md").read_text()
    assert not torch.equal(base.lm_head.weight, instruct.lm_head.weight)


def test_unknown_family():
    with pytest.raises(InputError, match="did you mean 'llama-s'"):
        model_cards.build_and_save("lama-s", None)


def test_a_stage_that_ended_early_says_so_on_the_card():
    stage = {"kind": "cpt", "learning_rate": 1e-3, "steps": 6000, "until": 0.95}
    assert "steps 1,200 of 6,000" in model_cards._settings({"stage": stage, "steps": 1200})
    assert "steps 6,000" in model_cards._settings({"stage": stage, "steps": 6000})
