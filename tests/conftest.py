"""Shared fixtures: where tests keep what they train, and what they train on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from browser import jupyter_lab

from labkit.course import execute
from labkit.data import packs
from labkit.design.planner_speed import COURSE_MODEL, keep_speed, reference_speed
from labkit.models import zoo
from labkit.train.specs import Stage

# A shell starts what it runs in the background deaf to Ctrl-C, which tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take more than two or three seconds, the longest first; `make quick` leaves them out.
SLOW = (Path(__file__).parent / "slow.txt").read_text("utf-8").split()


def pytest_collection_modifyitems(items):
    """The longest files come first: at the end no worker is left alone with one (the Makefile keeps
    xdist from sorting again).
    """
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")
        if sys.platform == "win32" and "unix" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="Windows has no such signals, pipes or names"))
    items.sort(
        key=lambda item: SLOW.index(item.path.stem) if "slow" in item.keywords else len(SLOW)
    )


START = execute.WarmKernels._start
WARM = Path(__file__).parent / "warm"
SHARING = {"course", "diagnose", "evaluate", "share", "studies"}  # rooms whose tests reuse stages


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    """One home for all tests that only read what others trained, in every worker the same.

    The store is safe for several processes at once, and a stage is found by what determines it.
    """
    mine = tmp_path_factory.getbasetemp()
    home = (mine.parent if os.environ.get("PYTEST_XDIST_WORKER") else mine) / "shared-home"
    home.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        # How fast this machine is takes a minute to measure; tests/design does it.
        patch.setenv("LABKIT_HOME", str(home))
        for kind in ("text", "dpo", "orpo"):
            keep_speed(COURSE_MODEL, reference_speed(), kind)
    return home


@pytest.fixture
def own_home(tmp_path):
    """For a test that needs an empty home, or that leaves something odd in it."""
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def labkit_home(request, monkeypatch, shared_home, tmp_path):
    """LABKIT_HOME: the shared one for rooms that reuse stages, else one of the test's own."""
    shared = request.path.parent.name in SHARING and "own_home" not in request.fixturenames
    chosen = shared_home if shared else tmp_path / "home"
    monkeypatch.setenv("LABKIT_HOME", str(chosen))
    return chosen


@pytest.fixture(scope="session", autouse=True)
def warm_kernels(tmp_path_factory):
    """Kernels of this worker are forked from a process that has imported the libraries. Only where
    that is safe: Windows cannot fork, and macOS ends a fork that uses what was loaded before it.

    Headless runs take theirs from it, too, instead of importing once more for each run.
    """
    if sys.platform != "linux":
        yield
        return
    folder = tmp_path_factory.mktemp("warm")
    # /tmp, because a socket's name may have a hundred letters only
    place = Path(tempfile.mkdtemp(prefix="labkit-warm-")) / "socket"
    spec = {
        "argv": [sys.executable, str(WARM / "kernel.py"), str(place), "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    kernels = folder / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setattr(execute.WarmKernels, "_start", lambda kernels: None)
        server = subprocess.Popen(
            [sys.executable, str(WARM / "server.py"), str(place)], stdout=log, stderr=log
        )
        yield
        server.kill()
        server.wait()
        shutil.rmtree(place.parent)


@pytest.fixture(scope="module")
def course_kernels():
    """For tests of the kernels that a run of the course forks itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.WarmKernels, "_start", START)
        yield


@pytest.fixture(scope="module")
def real_kernels(course_kernels):
    """For tests of kernels themselves: how their processes live and die."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JUPYTER_PATH")
        yield


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory, shared_home):
    """One JupyterLab for all browser tests of a worker."""
    with jupyter_lab(tmp_path_factory.getbasetemp(), shared_home) as started:
        yield started


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
