"""What tests of the apps share: the server in a process of its own, and a page in Chromium."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest
from browser import CHROMIUM, FLAGS, PATIENCE_MS, free_port

SERVE = (
    "import sys; from pathlib import Path; from labkit.share import apps; "
    "apps.serve(int(sys.argv[1]), Path(sys.argv[2]), folder=Path(sys.argv[3]), "
    "told=lambda address: print(address, flush=True))"
)


@dataclass
class Served:
    """address: with its token; process: the server; out: where the apps write; log: what it told on
    its terminal.
    """

    address: str
    process: subprocess.Popen
    out: object
    log: object

    @property
    def origin(self) -> str:
        return self.address.split("/?")[0]

    def page(self, name: str) -> str:
        return f"{self.origin}/voila/render/{name}.ipynb"

    def kernels(self) -> list[psutil.Process]:
        return [child for child in psutil.Process(self.process.pid).children() if _is_kernel(child)]


def _is_kernel(process: psutil.Process) -> bool:
    """Whether a process is a kernel that runs; one may end while it is looked at."""
    try:
        return "ipykernel_launcher" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


@contextmanager
def served(folder, home):
    """The apps of a folder; everything they and Jupyter write goes under `home`."""
    pytest.importorskip("voila", reason="Voilà is not installed; pip install -e '.[app]' brings it")
    own = {
        name: str(home / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "LABKIT_HOME")
    }
    environment = {
        **os.environ,
        **own,
        "IPYTHONDIR": str(home / "ipython"),
        "LABKIT_HEADLESS": "1",
    }  # the server must see to it that apps are not
    out, log = home / "out", home / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(free_port()), str(out), str(folder)],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )
    try:
        address = process.stdout.readline().strip()
        assert address, log.read_text()
        yield Served(address, process, out, log)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@dataclass
class Watched:
    """A page, and every address it asked for or opened a socket to, and every message of its
    console that is an error.
    """

    page: object
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def listen(self) -> Watched:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on(
            "websocket", lambda opened: self.asked.append(opened.url.replace("ws://", "http://"))
        )
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        return self

    def elsewhere(self, origin: str) -> list[str]:
        """Addresses that are not the server's."""
        return [url for url in self.asked if not url.startswith((f"{origin}/", "data:", "blob:"))]


@contextmanager
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api",
        reason="playwright is not installed; pip install -e '.[test]' brings it",
    )
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = chromium.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE_MS)
        yield context
        chromium.close()


def wait_until(true, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.2)
    return False
