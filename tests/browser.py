"""What browser tests share: JupyterLab on this machine only, Chromium, notebooks run by menu."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from labkit.course.journal import notebooks_folder

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed; on Debian: apt-get install chromium"
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
]
PATIENCE_MS = 120_000
IDLE = "text=/\\| Idle/"  # in the status bar


@dataclass(frozen=True)
class JupyterLab:
    """A server on this machine only. root: what its addresses begin at."""

    root: Path
    address: str
    token: str

    def ask(self, path: str, method: str = "GET") -> bytes:
        request = Request(f"{self.address}{path}?token={self.token}", method=method)
        with urlopen(request, timeout=20) as answer:
            return answer.read()

    @contextmanager
    def notebook(self, folder: Path, name: str) -> Iterator[str]:
        """A notebook at profile smoke in a folder of its own below the root; yields its address.

        Its kernel is ended afterwards.
        """
        text = (notebooks_folder() / f"{name}.ipynb").read_text("utf-8")
        made = folder / f"{name}.ipynb"
        made.write_text(text.replace('profile = \\"lab\\"', 'profile = \\"smoke\\"'), "utf-8")
        place = made.relative_to(self.root).as_posix()
        try:
            yield (
                f"{self.address}/lab/workspaces/{folder.name}-{name}/tree/{place}?token={self.token}"
            )
        finally:
            for session in json.loads(self.ask("/api/sessions")):
                if session["path"] == place:
                    self.ask(f"/api/sessions/{session['id']}", "DELETE")


@contextmanager
def jupyter_lab(root: Path, home: Path) -> Iterator[JupyterLab]:
    """JupyterLab with settings of its own, whose kernels keep what they train in `home`."""
    port, token, own = free_port(), secrets.token_hex(8), root / "jupyter"
    environment = {
        **os.environ,
        **{f"JUPYTER_{what}_DIR": str(own / what) for what in ("CONFIG", "DATA", "RUNTIME")},
        "IPYTHONDIR": str(own / "ipython"),
        "LABKIT_HOME": str(home),
    }
    environment.pop("LABKIT_HEADLESS", None)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
    ]
    own.mkdir()
    with (own / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    started = JupyterLab(root, f"http://127.0.0.1:{port}", token)
    try:
        wait_for(started, server)
        yield started
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def ran(lab_server: JupyterLab, folder: Path, notebook: str, last):
    """The page of a notebook that was run whole. last: from the page, what its last cell with a
    control shows.
    """
    with lab_server.notebook(folder, notebook) as address, opened(address) as page:
        last(page).wait_for(state="attached")
        page.wait_for_selector(IDLE)
        yield page


def failed(page) -> list[str]:
    """What cells wrote as errors: a failure's words, and all that went to stderr."""
    return page.locator(
        ".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'], "
        "[data-mime-type='application/vnd.jupyter.error']"
    ).all_inner_texts()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(started: JupyterLab, server: subprocess.Popen) -> None:
    for _ in range(240):
        assert server.poll() is None, "JupyterLab ended before it answered"
        try:
            started.ask("/api")
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError("JupyterLab did not answer within a minute")


@contextmanager
def opened(address):
    """The notebook in Chromium at the size of a projector, with Run All Cells pressed."""
    sync_api = pytest.importorskip(
        "playwright.sync_api",
        reason="playwright is not installed; pip install -e '.[test]' brings it",
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(address)
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_selector(IDLE)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        yield page
        browser.close()
