from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.base.errors import StoreError
from labkit.base.store import Store, key_of, write_file, write_whole


def make(text="weights"):
    def fill(folder: Path) -> dict:
        (folder / "model.safetensors").write_text(text)
        return {"name": "x"}

    return fill


def test_made_once_then_read(tmp_path):
    store, calls = Store(tmp_path), []
    for _ in range(2):
        store.get_or_make("k", lambda folder: calls.append(1) or make()(folder))
    assert calls == [1] and store.find("k").name == "x" and [c.key for c in store.all()] == ["k"]


def test_what_an_unfinished_stage_kept_goes_when_it_is_finished(tmp_path):
    store = Store(tmp_path)

    def fill(folder: Path) -> dict:
        store.partial("k").mkdir()
        assert store.all() == []
        return make()(folder)

    store.get_or_make("k", fill)
    assert not store.partial("k").exists()
    store.partial("k").mkdir()  # killed between the two
    store.get_or_make("k", fill)
    assert not store.partial("k").exists()


def test_damage_is_noticed_and_rebuilt(tmp_path):
    store = Store(tmp_path)
    made = store.get_or_make("k", make())
    (made.folder / "model.safetensors").write_text("weightz")
    assert store.find("k") is None
    assert (store.get_or_make("k", make()).folder / "model.safetensors").read_text() == "weights"
    (made.folder / "lineage.json").write_text("{")
    assert store.find("k") is None
    (store.get_or_make("k", make()).folder / "model.safetensors").unlink()
    assert store.find("k") is None


def test_failure_leaves_nothing(tmp_path):
    def fails(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get_or_make("k", fails)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_key_depends_on_content_not_on_order():
    assert key_of(a=1, b={"x": 2}) == key_of(b={"x": 2}, a=1) != key_of(a=1, b={"x": 3})


@pytest.mark.parametrize(
    "number,words",
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "no write access"),
        (errno.EIO, "LABKIT_HOME"),
    ],
)
def test_os_errors_become_a_sentence(tmp_path, number, words):
    def fails(folder):
        raise OSError(number, os.strerror(number))

    with pytest.raises(StoreError, match=words):
        Store(tmp_path).get_or_make("k", fails)
    with pytest.raises(StoreError, match=words):
        write_whole(tmp_path / "out", fails)
    assert not (tmp_path / "out").exists()


def test_a_really_full_disk(tmp_path):
    """Writes into /dev/full through the same path a checkpoint takes; no mock."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def fills_up(folder):
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    with pytest.raises(StoreError, match="the disk is full"):
        Store(tmp_path).get_or_make("k", fills_up)


def test_root_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no write access"):
        Store(tmp_path / "file").get_or_make("k", make())


SLOW = """
import sys, time
from pathlib import Path
from labkit.base.store import Store
def make(folder):
    (folder / "model.safetensors").write_text("weights")
    Path(sys.argv[2]).open("a").write("made\\n")
    time.sleep(float(sys.argv[3]))
    return {"name": "x"}
Store(Path(sys.argv[1])).get_or_make("k", make)
"""


def start(root, log, seconds):
    return subprocess.Popen([sys.executable, "-c", SLOW, str(root), str(log), str(seconds)])


def wait_for(log: Path):
    deadline = time.monotonic() + 30
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_processes_make_it_once(tmp_path):
    log = tmp_path / "log"
    both = [start(tmp_path / "store", log, 1) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert log.read_text() == "made\n"


@pytest.mark.unix
def test_killed_while_making_corrupts_nothing(tmp_path):
    log, root = tmp_path / "log", tmp_path / "store"
    process = start(root, log, 60)
    wait_for(log)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(root)
    assert store.find("k") is None and store.all() == []
    assert store.get_or_make("k", make()).name == "x"
    assert not list(root.glob(".*.draft"))


def test_write_file_is_whole_or_absent(tmp_path):
    write_file(tmp_path / "a" / "b.json", "text")
    assert (tmp_path / "a" / "b.json").read_text() == "text"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_lineage_lists_hashes(tmp_path):
    made = Store(tmp_path).get_or_make("k", make())
    assert set(json.loads((made.folder / "lineage.json").read_text())["files"]) == {
        "model.safetensors"
    }


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StoreError, match="no write access"):
        write_file(tmp_path / "taken" / "page.md", "text")
    write_file(tmp_path / "bytes.bin", b"\x00\x01")
    assert (tmp_path / "bytes.bin").read_bytes() == b"\x00\x01"
