"""Nothing phones home: a class of one runs notebooks where the only network is this machine's own
loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from class_case import roster

from labkit.design.planner_speed import COURSE_MODEL, keep_speed, reference_speed

NOTEBOOKS = ("00_warm_up", "03_cpt")
MINUTES = 10

# Python runs this in every process at its start, the kernels' too: whatever its code asks the
# network for is written down, even in vain.
WATCH = """
import os, sys
def tell(words):
    with open(os.environ["ASKED_FOR"], "a") as file:
        file.write(f"{words}\\n")
def watch(event, values):
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        if isinstance(values[1], tuple):  # others are files
            tell(values[1][0])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        tell(values[0])
tell("started")
sys.addaudithook(watch)
"""

# In the new namespace: loopback on (it is off there at first), the outside out of reach, then the
# command.
INSIDE = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lo:
    fcntl.ioctl(lo, 0x8914, struct.pack("16sH", b"lo", 0x41))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
    sys.exit("there is a network")
except OSError:
    pass
os.environ["PYTHONPATH"] = sys.argv[1]
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def cut_off() -> list[str]:
    """A command's start that gives it a network of its own, with nothing in it; skips where that is
    not allowed.
    """
    if shutil.which("unshare") is None:
        pytest.skip("cutting off the network needs `unshare` (Linux, util-linux)")
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this system does not allow a network namespace: {tried.stderr.strip()}")
    return ["unshare", "-rn", sys.executable, "-c", INSIDE]


def test_notebooks_run_for_a_class_with_the_network_cut_off(tmp_path, labkit_home):
    for kind in ("text", "dpo", "orpo"):  # measuring takes minutes, and asks nobody
        keep_speed(COURSE_MODEL, reference_speed(), kind)
    watch, asked, out = tmp_path / "watch", tmp_path / "asked", tmp_path / "out"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    offline = (
        "HF_",
        "TRANSFORMERS_",
        "HUGGINGFACE_",
        "DISABLE_TELEMETRY",
        "DO_NOT_TRACK",
    )  # labkit must not need them
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(offline)
    }
    del environment["JUPYTER_PATH"]  # a forked kernel would be outside of the new network
    environment |= {
        "ASKED_FOR": str(asked),
        "HOME": str(tmp_path),
        "LABKIT_HOME": str(labkit_home),
        "OMP_NUM_THREADS": "1",
    }
    chosen = [word for name in NOTEBOOKS for word in ("--notebook", name)]
    command = [
        "-m",
        "labkit.cli",
        "class",
        str(roster(tmp_path / "roster.csv", "Ada,1")),
        "--profile",
        "smoke",
        "--out-dir",
        str(out),
        *chosen,
    ]
    done = subprocess.run(
        [*cut_off(), str(watch), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (out / "learners").iterdir()
    for name in NOTEBOOKS:
        assert json.loads((folder / "state" / f"{name}.json").read_text())["problem"] == ""
    assert (out / "class.html").is_file() and (out / "class.pdf").is_file()
    asked_for = asked.read_text().splitlines()
    assert asked_for.count("started") > len(NOTEBOOKS)  # the command and a kernel each were watched
    assert set(asked_for) <= {"started", "127.0.0.1", "::1", "localhost"}
