"""Content-addressed checkpoints: a finished stage is never trained twice, and nothing half-written
is ever read.

A checkpoint's key is a hash of what determines it. It is written to a folder of its own and renamed
into place under a lock, so that kill -9 at any moment loses at most the stage in flight.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from labkit.base.errors import StoreError

KEY_LENGTH = 16
DISTRIBUTION = "labkit-lm"  # the name pip knows labkit by; another's package has the shorter one
PACKAGE = Path(__file__).parent.parent
PROJECT = PACKAGE.parent  # the checkout, where labkit runs from one
LINEAGE = "lineage.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder in Hugging Face format plus `lineage.json`. lineage: spec, parent, data, seed,
    versions, curve.
    """

    folder: Path
    lineage: dict

    @property
    def key(self) -> str:
        return self.lineage["key"]

    @property
    def name(self) -> str:
        return self.lineage["name"]


def default_root() -> Path:
    """$LABKIT_HOME/checkpoints, or the user's cache folder for labkit."""
    import platformdirs

    home = os.environ.get("LABKIT_HOME")
    return (Path(home) if home else Path(platformdirs.user_cache_dir("labkit"))) / "checkpoints"


def shipped_or_checkout(name: str) -> Path:
    """A folder that lies inside an installed package, and beside it in a checkout: data_samples,
    notebooks.
    """
    inside = PACKAGE / name
    return inside if inside.is_dir() else PROJECT / name


def key_of(**determinants: object) -> str:
    """A short hash of all that determines a checkpoint; the order of arguments does not matter."""
    text = json.dumps(determinants, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Checkpoints under one root folder. Safe for several processes at once."""

    def __init__(self, root: Path | None = None):
        self.root = Path(root) if root else default_root()

    def find(self, key: str) -> Checkpoint | None:
        """The intact checkpoint of this key, or None when it is absent or damaged."""
        folder = self.root / key
        try:
            lineage = json.loads((folder / LINEAGE).read_text("utf-8"))
            intact = all(
                file_hash(folder / name) == digest for name, digest in lineage["files"].items()
            )
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError):
            return None
        return Checkpoint(folder, lineage) if intact else None

    def chain(self, checkpoint: Checkpoint) -> list[Checkpoint]:
        """A checkpoint and the training stages before it that are still here, first to last."""
        found: list[Checkpoint] = []
        at: Checkpoint | None = checkpoint
        while at is not None and "stage" in at.lineage:
            found.append(at)
            at = self.find(at.lineage["parent"])
        return found[::-1]

    def partial(self, key: str) -> Path:
        """Where a stage that is not finished may keep what it needs to go on; deleted when the
        checkpoint is there.
        """
        return self.root / f"{key}.partial"

    def get_or_make(self, key: str, make: Callable[[Path], dict]) -> Checkpoint:
        """The checkpoint of this key, made by `make(folder) -> lineage` unless an intact one is
        there.

        A second process that asks for the same key waits, then reads what the first one wrote.
        Raises StoreError when the folder cannot be written or the disk is full.
        """
        from filelock import FileLock

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"{key}.lock"):
                made = self.find(key) or self._make(key, make)
                shutil.rmtree(self.partial(key), ignore_errors=True)
                return made
        except OSError as error:
            raise StoreError(remedy(self.root, error)) from error

    def _make(self, key: str, make: Callable[[Path], dict]) -> Checkpoint:
        def fill(draft: Path) -> None:
            lineage = make(draft)
            files = {path.name: file_hash(path) for path in sorted(draft.iterdir())}
            (draft / LINEAGE).write_text(
                json.dumps({**lineage, "key": key, "files": files}, indent=1), "utf-8"
            )

        shutil.rmtree(self.root / key, ignore_errors=True)  # damaged, or it would have been found
        folder = write_whole(self.root / key, fill)
        return Checkpoint(folder, json.loads((folder / LINEAGE).read_text("utf-8")))

    def all(self) -> list[Checkpoint]:
        """Every intact checkpoint, oldest first."""
        folders = sorted(self.root.glob(f"*/{LINEAGE}"), key=lambda path: path.stat().st_mtime)
        return [checkpoint for path in folders if (checkpoint := self.find(path.parent.name))]


def write_whole(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Write a folder completely or not at all: `fill` a hidden draft beside it, then rename.

    Raises StoreError when there is no write access or the disk is full.
    """
    draft = folder.parent / f".{folder.name}.draft"
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of a killed run
        draft.mkdir(parents=True)
        fill(draft)
        os.replace(draft, folder)
    except OSError as error:
        raise StoreError(remedy(folder.parent, error)) from error
    except SafetensorError as error:  # wraps the system's error in its text
        number = re.search(r"os error (\d+)", str(error))
        if not number:
            raise
        raise StoreError(remedy(folder.parent, OSError(int(number[1]), str(error)))) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def write_file(path: Path, content: str | bytes) -> None:
    """Write a small file completely or not at all. Raises StoreError when it cannot be written."""
    draft = path.parent / f".{path.name}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(remedy(path.parent, error)) from error


def remedy(folder: Path, error: OSError) -> str:
    """What went wrong with writing under `folder`, and what to do, in one sentence."""
    if error.errno == errno.ENOSPC:
        return (
            f"{folder}: the disk is full; free some space or choose another folder "
            "(LABKIT_HOME), finished stages are kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return (
            f"{folder}: no write access; choose a folder you may write to (LABKIT_HOME sets "
            "where checkpoints go)"
        )
    return f"{folder}: {error.strerror or error}; check the folder or choose another (LABKIT_HOME)"
