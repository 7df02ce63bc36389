"""docs/serving.md, tried: transformers' own server on this machine answers as labkit does, and
nobody else can reach it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

import psutil
import pytest
from browser import free_port

from labkit.evaluate.chat import Conversation
from labkit.share.export import export
from labkit.train.pipeline import load_checkpoint

QUESTION = "What is Bysithfoam modelled on?"


def wait_until_up(server: subprocess.Popen, port: int, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the server did not start")


@pytest.mark.skipif(
    not (find_spec("fastapi") and find_spec("uvicorn") and find_spec("openai")),
    reason="the extra `serve` is not installed: pip install -e '.[serve]'",
)
def test_transformers_serve_answers_on_this_machine_only(tmp_path):
    folder, port = export("llama-s-instruct", tmp_path / "mine", score=False), free_port()
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        "./mine",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
        try:
            wait_until_up(server, port)
            body = {
                "model": "./mine",
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": 64,
                "temperature": 0,
            }
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            said = json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"][
                "content"
            ]
            listening = {
                found.laddr.ip
                for found in psutil.Process(server.pid).net_connections("inet")
                if found.status == psutil.CONN_LISTEN
            }
        finally:
            server.terminate()
            server.wait(30)
    assert (
        said.strip() == Conversation({"it": load_checkpoint(str(folder))}).ask(QUESTION)["it"].text
    )
    assert listening == {"127.0.0.1"}
