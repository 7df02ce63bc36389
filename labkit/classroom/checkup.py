"""`labkit doctor`: what this machine has, one line per check, a remedy for each that fails."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

NEEDED_MEMORY_GIB = 3.0
NEEDED_DISK_GIB = 2.0
NEEDED_TOKENS_PER_SECOND = 2000
SPEED_TEST_SECONDS = 10
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "jupyterlab",
    "ipywidgets",
    "papermill",
    "matplotlib",
)


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


def run_all() -> Iterator[Check]:
    """Every check, each as soon as it is done; the speed test comes last."""
    yield python_version()
    yield from map(package_version, PACKAGES)
    yield cores()
    yield memory()
    yield from disk_and_write_access()
    yield speed()


def python_version() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def pinned_versions() -> dict[str, str]:
    """name -> version from constraints.txt; empty when labkit is installed without it."""
    from labkit.base.store import PROJECT

    path = PROJECT / "constraints.txt"
    if not path.is_file():
        return {}
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def package_version(name: str) -> Check:
    pinned = pinned_versions().get(name)
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, False, "not installed", "run: make install")
    same = pinned is None or found.split("+")[0] == pinned
    return Check(
        name, same, found, f"tested with {pinned}; run: pip install -c constraints.txt {name}"
    )


def cores() -> Check:
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return Check(
        "cores",
        count >= 2,
        str(count),
        "use a machine with at least two cores, or expect twice the time",
    )


def memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    return Check(
        "free memory",
        free >= NEEDED_MEMORY_GIB,
        f"{free:.1f} GiB",
        f"close programs: {NEEDED_MEMORY_GIB:.0f} GiB are needed",
    )


def disk_and_write_access() -> Iterator[Check]:
    from labkit.base.store import default_root

    root = default_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"labkit")
    except OSError as error:
        yield Check(
            "write access",
            False,
            f"{root}: {error.strerror}",
            "point LABKIT_HOME to a folder you may write to",
        )
        return
    yield Check("write access", True, str(root))
    free = shutil.disk_usage(root).free / 2**30
    yield Check(
        "free disk",
        free >= NEEDED_DISK_GIB,
        f"{free:.1f} GiB",
        f"free {NEEDED_DISK_GIB:.0f} GiB or point LABKIT_HOME elsewhere",
    )


def speed() -> Check:
    """Really trains llama-s for about ten seconds."""
    from labkit.train.trainers import prepare_process

    prepare_process()
    from labkit.data.packs import load_pack
    from labkit.models import zoo
    from labkit.train.specs import Stage
    from labkit.train.trainers import train_cpt

    loaded = zoo.load("llama-s-base")
    texts = [row["text"] for row in load_pack("materials").rows("raw")]
    began, tokens, steps = time.perf_counter(), 0, 4
    while time.perf_counter() - began < SPEED_TEST_SECONDS:
        result = train_cpt(
            Stage(kind="cpt", learning_rate=1e-5, steps=steps),
            loaded.model,
            loaded.tokenizer,
            texts,
            replay=[],
            seed=0,
        )
        tokens, rate = tokens + result.tokens, result.tokens / result.wall_seconds
        loaded = zoo.Loaded(result.model, loaded.tokenizer, loaded.name, "")
        steps = max(4, round(rate * 3 / (result.tokens / steps)))
    return Check(
        "training speed",
        rate >= NEEDED_TOKENS_PER_SECOND,
        f"{rate:,.0f} tokens/s with llama-s",
        "stop other programs; on battery, plug in; the course will take proportionally longer",
    )
