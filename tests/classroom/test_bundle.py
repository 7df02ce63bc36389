"""Bundles of a tiny project, built and installed for real, without network; then damaged in every
way.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labkit.base.errors import InputError
from labkit.base.records import append
from labkit.base.store import Store
from labkit.classroom import bundle, bundle_check
from labkit.cli import share
from labkit.course import lesson
from labkit.train import pipeline
from labkit.train.specs import PipelineSpec, Stage

BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "tinykit-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("tinykit.py", "import tinydep")
        wheel.writestr(
            "tinykit-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\\nName: tinykit\\nVersion: 1.0\\nRequires-Dist: tinydep\\n",
        )
        wheel.writestr(
            "tinykit-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        wheel.writestr("tinykit-1.0.dist-info/RECORD", "")
    return name
"""


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{name}.py", "there = True\n")
        packed.writestr(
            f"{name}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
        packed.writestr(
            f"{name}-{version}.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        packed.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


def tiny_project(parent: Path, patch: pytest.MonkeyPatch) -> Path:
    """A project with one dependency, which pip finds in a folder and nowhere else."""
    folder, index = parent / "project", parent / "index"
    (folder / "notebooks").mkdir(parents=True)
    index.mkdir()
    (folder / "notebooks" / "00_first.ipynb").write_text("{}")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (folder / "backend.py").write_text(BACKEND)
    (folder / "constraints.txt").write_text("tinydep==1.2\n")
    for version in ("1.2", "2.0"):
        wheel(index, "tinydep", version)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(index))
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    return tiny_project(tmp_path, monkeypatch)


def made(project, tmp_path, name="out.zip", **how) -> Path:
    bundle.make_bundle(tmp_path / name, project=project, requirements=(), **how)
    return tmp_path / name


def looked(path: Path) -> dict[str, bundle_check.Finding]:
    return {finding.name: finding for finding in bundle_check.look(path)}


@pytest.mark.parametrize("name", ["out.zip", "out.tar"])
def test_a_bundle_installs_by_its_own_readme(project, tmp_path, monkeypatch, name):
    path = made(project, tmp_path, name)
    found = looked(path)
    assert list(found) == ["bundle", "files", "Python", "wheels", "packages", "free disk"]
    assert all(finding.passed for finding in found.values()), found
    room = tmp_path / "room"
    room.mkdir()
    subprocess.check_call(
        ["tar", "-xf", path, "-C", room]
        if name.endswith("tar")
        else [sys.executable, "-m", "zipfile", "-e", path, room]
    )
    room = room / bundle.TOP
    monkeypatch.delenv("PIP_FIND_LINKS")
    commands = [
        line.strip()
        for line in (room / "README.txt").read_text().splitlines()
        if line.startswith("    ")
    ]
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for command in commands[:3]:  # venv, check, install
        subprocess.run(
            command.replace(f"{python} -m", f"{sys.executable} -m", 1),
            shell=True,
            cwd=room,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    said = subprocess.check_output(
        [
            room / "room/bin/python",
            "-c",
            "import tinykit; from importlib.metadata import version; print(version('tinydep'))",
        ],
        text=True,
    )
    assert said.strip() == "1.2"
    assert (
        commands[3] == 'export LABKIT_HOME="$PWD/home"'
        and (room / "notebooks" / "00_first.ipynb").is_file()
    )


def test_what_is_not_pinned_is_told(project, tmp_path):
    (project / "constraints.txt").write_text("")
    assert bundle.make_bundle(tmp_path / "out.zip", project=project, requirements=()).unpinned == [
        "tinydep"
    ]


def test_the_course_s_checkpoints_go_in_and_are_found_there(project, tmp_path):
    store, course = Store(tmp_path / "store"), tmp_path / "course"
    stages = (
        Stage(kind="cpt", learning_rate=1e-3, steps=2, batch_size=4),
        Stage(kind="sft", learning_rate=1e-3, steps=2, batch_size=4),
    )
    spec = PipelineSpec(
        pack=str(lesson.load_pack("materials").folder), model="llama-s-instruct", stages=stages
    )
    last = pipeline.run_spec(spec, store=store)[-1]
    append(course, "checkpoint", name=last.name, key=last.key)
    path = made(project, tmp_path, course=course, store=store)
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path / "room")
        text = b"".join(
            packed.read(name)
            for name in packed.namelist()
            if name.endswith((".json", ".txt", ".py"))
        )
    assert str(tmp_path).encode() not in text and str(spec.pack).encode() not in text
    there = Store(tmp_path / "room" / bundle.TOP / "home" / "checkpoints")
    assert {checkpoint.key for checkpoint in there.all()} == {
        checkpoint.key for checkpoint in store.all()
    }
    told = []
    assert (
        pipeline.run_spec(spec, store=there, progress=told.append)[-1].key == last.key and not told
    )


def test_what_cannot_be_made_is_one_sentence(project, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"name a .zip or a .tar"):
        bundle.make_bundle(tmp_path / "out.rar", project=project)
    assert "name a .zip or a .tar" in str(
        CliRunner().invoke(share.app, ["bundle", "out.rar"]).exception
    )
    with pytest.raises(InputError, match="from a checkout"):
        bundle.make_bundle(tmp_path / "out.zip", project=tmp_path)
    with pytest.raises(InputError, match="run make course"):
        made(project, tmp_path, course=tmp_path / "nothing")
    append(tmp_path / "course", "checkpoint", name="x", key="0123456789abcdef")
    with pytest.raises(InputError, match="0123456789abcdef is not in"):
        made(project, tmp_path, course=tmp_path / "course")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(InputError, match=r"pip wheel failed .*tinydep"):
        made(project, tmp_path)
    assert not (tmp_path / "out.zip").exists() and not list(tmp_path.glob(".labkit-bundle-*"))


# --- damage -----------------------------------------------------------------------------------


def changed(path: Path, change) -> Path:
    """The same zip with `change(members)` done to its dict of name -> bytes."""
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    change(members)
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return target


def listing(change):
    """A change of bundle.json."""

    def edit(members):
        raw = json.loads(members[f"{bundle.TOP}/bundle.json"])
        change(raw)
        members[f"{bundle.TOP}/bundle.json"] = json.dumps(raw).encode()

    return edit


DAMAGE = {
    "a changed byte": (lambda m: m.update({f"{bundle.TOP}/check.py": b"x"}), "files", "check.py"),
    "a missing wheel": (
        lambda m: m.pop(f"{bundle.TOP}/wheels/tinydep-1.2-py3-none-any.whl"),
        "files",
        "tinydep",
    ),
    "an added file": (lambda m: m.update({f"{bundle.TOP}/extra.py": b"x"}), "files", "extra.py"),
    "a name that leads out": (
        lambda m: m.update({f"{bundle.TOP}/../../evil.py": b"x"}),
        "files",
        "leads out",
    ),
    "an absolute name": (lambda m: m.update({"/etc/evil": b"x"}), "files", "leads out"),
    "another Python": (listing(lambda raw: raw.update(python="3.9")), "Python", "3."),
    "a package that is not there": (
        listing(lambda raw: raw["pins"].update(numpy="2.0")),
        "packages",
        "numpy 2.0",
    ),
    "no room": (listing(lambda raw: raw.update(installed_bytes=2**60)), "free disk", "needed"),
    "another schema": (listing(lambda raw: raw.update(schema=9)), "bundle", "schema"),
    "no list": (lambda m: m.pop(f"{bundle.TOP}/bundle.json"), "bundle", "no bundle.json"),
    "a broken list": (
        lambda m: m.update({f"{bundle.TOP}/bundle.json": b"[" * 100_000}),
        "bundle",
        "broken",
    ),
    "a list of another kind": (
        lambda m: m.update({f"{bundle.TOP}/bundle.json": b"[1]"}),
        "bundle",
        "broken",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One bundle to damage copies of."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bundle")
        yield made(tiny_project(folder, patch), folder)


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_and_named(whole, case):
    change, check, words = DAMAGE[case]
    found = looked(changed(whole, change))
    failed = [finding for finding in found.values() if not finding.passed]
    assert (
        [finding.name for finding in failed] == [check]
        and words in failed[0].found
        and failed[0].remedy
    )


def test_a_wheel_for_another_machine_is_found(project, tmp_path):
    for path in (project.parent / "index").iterdir():
        path.unlink()
    other = wheel(project.parent / "index", "tinydep", "1.2")
    path = made(project, tmp_path)

    def rename(members):
        raw = json.loads(members[f"{bundle.TOP}/bundle.json"])
        name, foreign = f"wheels/{other.name}", "wheels/tinydep-1.2-cp311-cp311-win_arm64.whl"
        raw["files"][foreign] = raw["files"].pop(name)
        members[f"{bundle.TOP}/{foreign}"] = members.pop(f"{bundle.TOP}/{name}")
        members[f"{bundle.TOP}/bundle.json"] = json.dumps(raw).encode()

    found = looked(changed(path, rename))["wheels"]
    assert not found.passed and "win_arm64" in found.found and "made on" in found.remedy


def test_links_and_other_files_are_refused(whole, tmp_path):
    target = tmp_path / "link.tar"
    with zipfile.ZipFile(whole) as packed, tarfile.open(target, "w") as tar:
        for name in packed.namelist():
            info = tarfile.TarInfo(name)
            info.size = len(packed.read(name))
            tar.addfile(info, io.BytesIO(packed.read(name)))
        link = tarfile.TarInfo(f"{bundle.TOP}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "is a link" in looked(target)["files"].found
    (tmp_path / "text.zip").write_text("no zip")
    assert "neither" in looked(tmp_path / "text.zip")["bundle"].found
    assert "no such file" in looked(tmp_path / "none.zip")["bundle"].found


def test_check_py_needs_nothing_but_python(whole, tmp_path):
    with zipfile.ZipFile(whole) as packed:
        packed.extractall(tmp_path)
    folder = tmp_path / bundle.TOP
    (folder / "wheels" / "tinydep-1.2-py3-none-any.whl").write_bytes(b"half")
    done = subprocess.run(
        [sys.executable, "-I", "-S", folder / "check.py"], capture_output=True, text=True
    )
    assert (
        done.returncode == 1
        and "FAIL files" in done.stdout
        and "tinydep" in done.stdout
        and "remedy" in done.stdout
    )


def test_no_registry_is_named(whole):
    with zipfile.ZipFile(whole) as packed:
        text = b"".join(packed.read(name) for name in packed.namelist()).decode("utf-8", "replace")
    assert "://" not in text
