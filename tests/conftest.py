"""Shared fixtures. Every test has its own LABKIT_HOME, so none reads what another trained."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from labkit.data import packs
from labkit.models import zoo
from labkit.train.specs import Stage

MINUTES = (  # longest first
    "test_notebooks",
    "test_evidence",
    "test_scale_evidence",
    "test_cli",
    "test_no_network",
    "test_cards",
    "test_clinic",
    "test_zoo",
    "test_processes",
    "test_resume",
    "test_shrunken",
    "test_clock",
    "test_browser",
    "test_browser_design",
    "test_browser_clinic",
    "test_browser_keyboard",
)


def pytest_collection_modifyitems(items):
    """Files that take minutes come first: at the end no worker is left alone with one (the Makefile
    keeps xdist from sorting again).
    """
    items.sort(
        key=lambda item: (
            MINUTES.index(item.path.stem) if item.path.stem in MINUTES else len(MINUTES)
        )
    )


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    """One home for tests that only read what a smoke run trained."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def materials():
    return packs.load_pack("materials")


@pytest.fixture
def instruct():
    """A fresh llama-s-instruct; training may use it up."""
    return zoo.load("llama-s-instruct")


@pytest.fixture
def quick_stage():
    """A stage of three steps of any kind."""

    def make(kind: str, **changes):
        rate = {"cpt": 1e-3, "sft": 1e-3, "dpo": 1e-4, "orpo": 1e-4}[kind]
        return Stage(
            **{"kind": kind, "learning_rate": rate, "steps": 3, "batch_size": 8, **changes}
        )

    return make
