"""Checks a file that `labkit bundle` made, or the folder it was unpacked to.

It needs nothing but Python's own library: a copy of this module lies in every bundle as check.py,
to be run before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple

SCHEMA = 1
LISTING = "bundle.json"
MOST_LISTING_BYTES = 16 * 2**20
CHUNK = 2**20
BYTECODE = 1.5  # pip compiles what it unpacks and keeps both
ASK = "copy the file again, or ask for a new one"


class Finding(NamedTuple):
    """One line of the report, as Check in cli/share.py."""

    name: str
    passed: bool
    found: str
    remedy: str = ""


class Part(NamedTuple):
    """A file in a bundle. name: without the top folder; content: to be read before the next part is
    asked for.
    """

    name: str
    plain: bool
    size: int
    content: IO[bytes] | None


class Broken(Exception):
    """The file is no bundle; the message says why."""


def look(path: Path) -> Iterator[Finding]:
    """Every check of a bundle (.zip, .tar, or its folder), each as soon as it is done; the first
    that fails may end them.
    """
    try:
        listing = read_listing(path)
        yield Finding(
            "bundle",
            True,
            f"labkit {listing['labkit']}, {len(listing['files'])} files, made for "
            f"Python {listing['python']} on {listing['system']} {listing['machine']}",
        )
        yield _files(path, listing)
    except (
        Broken,
        OSError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
        tarfile.TarError,
    ) as error:
        yield Finding("bundle", False, f"{path}: {error}", ASK)
        return
    yield _python(listing)
    yield _wheels(listing)
    yield _pins(listing)
    yield _disk(path, listing)


def parts(path: Path) -> Iterator[Part]:
    """The files of a bundle.

    Raises Broken for a file of another kind; links and odd names come as not plain.
    """
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            with file.open("rb") as content:
                yield Part(file.relative_to(path).as_posix(), True, file.stat().st_size, content)
    # this is asked before zip: a tar may end in a wheel, which looks like the end of a zip
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path, "r:") as packed:
            for member in packed:
                yield _part(
                    member.name,
                    member.isreg(),
                    member.size,
                    packed.extractfile(member) if member.isreg() else None,
                )
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                plain = (
                    stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                    and info.compress_type == zipfile.ZIP_STORED
                )
                with archive.open(info) as content:
                    yield _part(info.filename, plain, info.file_size, content)
    else:
        raise Broken(
            "no such file, or neither .zip nor .tar"
            if not path.is_file()
            else "this is neither a .zip nor a .tar file"
        )


def _part(name: str, plain: bool, size: int, content: IO[bytes] | None) -> Part:
    """A member of an archive; one that would land outside the archive's top folder is not plain."""
    _top, _, rest = name.partition("/")
    safe = (
        rest and "\\" not in name and ":" not in name and not {"", ".", ".."} & set(name.split("/"))
    )
    return Part(rest if safe else name, bool(plain and safe), size, content)


def read_listing(path: Path) -> dict:
    """What a bundle says is in it. Raises Broken."""
    for part in parts(path):
        if part.name == LISTING and part.plain and part.content:
            if part.size > MOST_LISTING_BYTES:
                raise Broken(f"{LISTING} is too large")
            try:
                return _checked(json.loads(part.content.read().decode("utf-8")))
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                raise Broken(f"{LISTING} is broken") from None
    raise Broken(f"no {LISTING} in it, so labkit bundle did not make it")


def _checked(raw: dict) -> dict:
    if raw["schema"] != SCHEMA:
        raise Broken(
            f"{LISTING} has another schema than {SCHEMA}; use the labkit doctor of the "
            "version it was made with"
        )
    files = {
        str(name): (str(file["sha256"]), int(file["bytes"])) for name, file in raw["files"].items()
    }
    words = {name: str(raw[name])[:80] for name in ("labkit", "python", "system", "machine")}
    return {
        **words,
        "files": files,
        "pins": {str(name): str(pin) for name, pin in raw["pins"].items()},
        "installed_bytes": int(raw["installed_bytes"]),
    }


def digest(content: IO[bytes]) -> str:
    """SHA-256 of what is left in a file."""
    found = hashlib.sha256()
    while chunk := content.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _files(path: Path, listing: dict) -> Finding:
    """Every file as it was packed, none missing; in an archive also none added, and none that would
    land elsewhere.
    """
    expected, seen, changed = listing["files"], set(), []
    for part in parts(path):
        if not part.plain or part.content is None:
            return Finding(
                "files",
                False,
                f"{part.name[:80]!a} is a link, is packed, or leads out of the folder",
                "do not unpack this file; ask for a new one",
            )
        if part.name == LISTING or (path.is_dir() and part.name not in expected):
            continue
        sha, size = expected.get(part.name, ("", -1))
        if part.size != size or digest(part.content) != sha or part.name in seen:
            changed.append(part.name)
        seen.add(part.name)
    wrong = changed + sorted(expected.keys() - seen)
    if wrong:
        return Finding(
            "files",
            False,
            f"{len(wrong)} of {len(expected)} are missing, added or changed, first "
            f"{wrong[0][:80]!a}",
            ASK,
        )
    return Finding("files", True, f"all {len(expected)} are as they were packed")


def _python(listing: dict) -> Finding:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return Finding(
        "Python",
        here == listing["python"],
        here,
        f"the bundle is for Python {listing['python']}: install that, or ask for a "
        f"bundle made with {here}",
    )


def wheel_names(listing: dict) -> list[str]:
    return [name.rsplit("/", 1)[-1] for name in listing["files"] if name.endswith(".whl")]


def _wheels(listing: dict) -> Finding:
    """Whether pip would take every wheel on this machine."""
    try:
        fitting = _tags_here()
    except ImportError:
        return Finding("wheels", False, "this Python has no pip", "run: python -m ensurepip")
    names = wheel_names(listing)
    other = [name for name in names if not _tags_of(name) & fitting]
    machine = f"{platform.system()} {platform.machine()}"
    if other:
        return Finding(
            "wheels",
            False,
            f"{len(other)} of {len(names)} are not for this Python on {machine}, first "
            f"{other[0][:80]!a}",
            f"ask for a bundle made on {machine}, with this Python version",
        )
    return Finding("wheels", True, f"all {len(names)} fit this Python on {machine}")


def _tags_here() -> set[str]:
    try:
        tags = import_module("packaging.tags")
    except ImportError:  # nothing is installed yet, but pip brings its own copy
        tags = import_module("pip._vendor.packaging.tags")
    return {str(tag) for tag in tags.sys_tags()}


def _tags_of(wheel: str) -> set[str]:
    """The tags in a wheel's name, NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl, each of the last
    three one or several.
    """
    pythons, abis, platforms = (
        part.split(".") for part in wheel[: -len(".whl")].lower().rsplit("-", 3)[-3:]
    )
    return {
        f"{python}-{abi}-{machine}" for python in pythons for abi in abis for machine in platforms
    }


def normal(name: str) -> str:
    """A package's name as pip compares it."""
    return name.lower().replace("_", "-").replace(".", "-")


def _pins(listing: dict) -> Finding:
    """Every package that has to be installed is there, in the version it was tested with."""
    there = {
        (normal(name.split("-")[0]), name.split("-")[1])
        for name in wheel_names(listing)
        if name.count("-") >= 4
    }
    missing = [
        f"{name} {pin}" for name, pin in listing["pins"].items() if (normal(name), pin) not in there
    ]
    if missing:
        return Finding(
            "packages",
            False,
            f"{len(missing)} of {len(listing['pins'])} are not in it, first {missing[0][:80]!a}",
            "ask for a new bundle",
        )
    return Finding("packages", True, f"all {len(listing['pins'])} that labkit needs are in it")


def _disk(path: Path, listing: dict) -> Finding:
    unpacked = 0 if path.is_dir() else sum(size for _, size in listing["files"].values())
    needed = (unpacked + BYTECODE * listing["installed_bytes"]) / 2**30
    free = shutil.disk_usage(path.resolve().parent).free / 2**30
    what = "installing" if path.is_dir() else "unpacking and installing"
    return Finding(
        "free disk",
        free >= needed,
        f"{free:.1f} GiB free, {needed:.1f} GiB needed for {what}",
        "free some space, or copy the file to another disk",
    )


def main() -> int:
    """check.py in an unpacked bundle: one line per check, exit 1 when one fails."""
    failed = False
    for finding in look(Path(__file__).resolve().parent):
        failed |= not finding.passed
        print("OK  " if finding.passed else "FAIL", f"{finding.name}: {finding.found}")
        if not finding.passed:
            print(f"     remedy: {finding.remedy}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
