"""Unpacking a zip file that somebody else made: whatever is not expected is refused in one sentence, before it is unpacked.

The end of the file is read first: Python's zipfile would list millions of members before anyone could count them.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import InputError

END = struct.Struct("<4sHHHHIIH")  # end of the list of members, as a zip without a comment ends (APPNOTE.TXT, 4.3.16)
END_MARK, ZIP64_MARK, ZIP64_LOCATOR_BYTES = b"PK\x05\x06", b"PK\x06\x07", 20
ENTRY_BYTES = 512  # of one member in that list: 46, its name, and room
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a file may hold. file, member, total: bytes; ratio: of unpacked to packed, for members above 1 MiB."""

    file: int
    members: int
    member: int
    total: int
    ratio: int


def unpack(path: Path, folder: Path, *, allowed: re.Pattern[str], limits: Limits, remedy: str) -> None:
    """Unpack a zip file into an empty folder. allowed: what the whole name of a member must match; remedy: of every error.

    Raises InputError naming file, member and remedy for anything else than ordinary files of allowed names within limits.
    """
    _check_end(path, limits, remedy)
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            for problem in _problems(members, allowed, limits):
                raise InputError(f"{path}: {problem}; {remedy}")
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(member))  # never more than its stated size, which is within the limit
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise InputError(f"{path}: this zip file is damaged ({_first_line(error)}); {remedy}") from None


def _first_line(error: Exception) -> str:
    return ascii((str(error).splitlines() or [type(error).__name__])[0][:80]).strip("'\"")


def _check_end(path: Path, limits: Limits, remedy: str) -> None:
    """Refuse by size and by the number of members that the end of the file states."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the path of a zip file")
    size = path.stat().st_size
    if size > limits.file:
        raise InputError(f"{path}: the file has {size / MIB:,.0f} MiB, more than the {limits.file / MIB:,.0f} MiB that are allowed; {remedy}")
    with path.open("rb") as file:
        file.seek(max(0, size - END.size - ZIP64_LOCATOR_BYTES))
        tail = file.read()
    if tail[-END.size : -END.size + 4] != END_MARK or tail.startswith(ZIP64_MARK):
        raise InputError(f"{path}: this is no zip file as labkit writes it; {remedy}")
    *_, count, list_bytes, _, comment = END.unpack(tail[-END.size :])
    if comment or count > limits.members or list_bytes > limits.members * ENTRY_BYTES:
        raise InputError(f"{path}: the file has {count:,} members, or their list takes {list_bytes:,} bytes; {limits.members} are allowed; {remedy}")


def _problems(members: list[zipfile.ZipInfo], allowed: re.Pattern[str], limits: Limits):
    """What is wrong with the members, most telling first."""
    if len(members) > limits.members:
        yield f"the file has {len(members):,} members, {limits.members} are allowed"
    for member in members:
        name = ascii(member.orig_filename[:80])
        if problem := _name_problem(member.orig_filename) or _kind_problem(member) or _size_problem(member, limits):
            yield f"member {name} {problem}"
        elif not allowed.fullmatch(member.filename):
            yield f"member {name} does not belong here"
    for name, times in Counter(member.filename for member in members).items():
        if times > 1:
            yield f"member {ascii(name[:80])} is there {times} times"
    if (total := sum(member.file_size for member in members)) > limits.total:
        yield f"its members unpack to {total / MIB:,.0f} MiB, {limits.total / MIB:,.0f} MiB are allowed"


def _name_problem(name: str) -> str | None:
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if ".." in parts:
        return "has a name that leads out of the folder"
    return "has a control character in its name" if re.search(r"[\x00-\x1f]", name) else None


def _kind_problem(member: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if member.is_dir() or kind not in (0, stat.S_IFREG):
        return "is no ordinary file"
    if member.flag_bits & 1:
        return "is encrypted"
    return None if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "is packed in a way that is not expected"


def _size_problem(member: zipfile.ZipInfo, limits: Limits) -> str | None:
    if member.file_size > limits.member:
        return f"unpacks to {member.file_size / MIB:,.0f} MiB, {limits.member / MIB:,.0f} MiB are allowed"
    if member.file_size > MIB and member.file_size > limits.ratio * max(1, member.compress_size):
        return f"unpacks to {member.file_size / max(1, member.compress_size):,.0f} times its size, as a zip bomb does"
    return None
