"""What browser tests share: JupyterLab on this machine only, Chromium, notebooks run by menu."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

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


@contextmanager
def jupyter(folder, home, notebook):
    """JupyterLab in an otherwise empty folder with one notebook at profile smoke; yields the
    notebook's address.
    """
    text = (notebooks_folder() / f"{notebook}.ipynb").read_text("utf-8")
    (folder / f"{notebook}.ipynb").write_text(
        text.replace('profile = \\"lab\\"', 'profile = \\"smoke\\"'), "utf-8"
    )
    port = free_port()
    token = secrets.token_hex(8)
    own = {
        name: str(home / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "LABKIT_HOME")
    }
    environment = {**os.environ, **own, "IPYTHONDIR": str(home / "ipython")}
    environment.pop("LABKIT_HEADLESS", None)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
        f"--IdentityProvider.token={token}",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server)
        yield f"http://127.0.0.1:{port}/lab/tree/{notebook}.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def ran(folder, home, notebook, last):
    """The page of a notebook that was run whole. last: from the page, what its last cell with a
    control shows.
    """
    with jupyter(folder, home, notebook) as address, opened(address) as page:
        last(page).wait_for(state="attached")
        page.wait_for_selector(IDLE)
        yield page


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(address, server):
    for _ in range(120):
        assert server.poll() is None, "JupyterLab ended before it answered"
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
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
