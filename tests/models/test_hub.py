"""What the hub answers, in one sentence: errors as huggingface_hub builds them, and a real server
on this machine.
"""

from __future__ import annotations

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import environ
from threading import Thread

import pytest

from labkit.base.errors import InputError
from labkit.models import zoo

ANSWERS = {  # repository -> status and the headers by which the hub tells its reasons
    "gated": (
        403,
        {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."},
    ),
    "misspelt": (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "no-config": (404, {"X-Error-Code": "EntryNotFound"}),
    "old-token": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "busy": (429, {}),
    "down": (500, {}),
}
WORDS = {
    "gated": "it is gated: accept its licence at https://huggingface.co/me/gated, then log in",
    "misspelt": "the hub shows no such id: check the spelling",
    "no-config": "the hub has the model but not this file",
    "old-token": "the hub refuses your access token",
    "busy": "too many requests",
    "down": "the hub cannot be reached",
}


@pytest.fixture(scope="module")
def server():
    """A hub that only refuses."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            status, headers = ANSWERS[self.path.split("/")[2]]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments):
            """Nothing on stderr."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()


def asked(name: str, tmp_path, *, endpoint: str, offline: str = "0") -> str:
    """The sentence of a fresh process that asks a hub for a config."""
    code = (
        "from labkit.base import errors\nfrom labkit.models import zoo\n"
        f"try:\n  zoo.fetch_file({name!r}, 'config.json')\n"
        "except errors.InputError as error:\n  print(error)"
    )
    env = {**environ, "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("repository", ANSWERS)
def test_what_a_hub_answers(repository, server, tmp_path):
    said = asked(f"me/{repository}", tmp_path, endpoint=server)
    assert (
        WORDS[repository] in said
        and said.startswith(f"model 'me/{repository}': its config.json cannot be fetched; ")
        and "\n" not in said
    )


def test_a_hub_out_of_reach_and_a_hub_forbidden(server, tmp_path):
    assert "cannot be reached: connect once" in asked(
        "me/mine", tmp_path, endpoint="http://127.0.0.1:9"
    )
    forbidden = asked("me/gated", tmp_path, endpoint=server, offline="1")
    assert "HF_HUB_OFFLINE=1 keeps labkit from the hub" in forbidden and "connect once" in forbidden
    assert "check the spelling" in asked("me/two--dashes", tmp_path, endpoint=server)


def raised(status: int, headers: dict[str, str]) -> Exception:
    """The error that huggingface_hub makes of an answer."""
    import httpx2
    from huggingface_hub.utils import hf_raise_for_status

    request = httpx2.Request("HEAD", "https://huggingface.co/api/models/me/mine")
    try:
        hf_raise_for_status(httpx2.Response(status, headers=headers, request=request))
    except Exception as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize("repository", ANSWERS)
def test_the_cause_is_found_under_the_error_that_transformers_raises(repository, monkeypatch):
    monkeypatch.setattr("labkit.models.zoo.hub_is_off", lambda: False)
    error = raised(*ANSWERS[repository])
    try:
        try:
            raise error
        except Exception as cause:
            raise OSError("You are trying to access a gated repo, or a private one") from cause
    except OSError as wrapped:
        assert WORDS[repository].replace("me/gated", "me/mine") in zoo.hub_remedy(
            "me/mine", wrapped
        )


def test_a_missing_id_is_not_called_gated_because_its_error_mentions_it():
    error = raised(*ANSWERS["misspelt"])
    assert "gated" in str(error).lower() and zoo.hub_remedy("me/mine", error).startswith(
        "the hub shows no such id"
    )


def test_what_is_in_the_cache_is_not_asked_for(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--me--mine" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", "utf-8")
    (tmp_path / "models--me--mine" / "refs").mkdir()
    (tmp_path / "models--me--mine" / "refs" / "main").write_text("abc", "utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert (
        zoo.fetch_file("me/mine", "config.json")
        == snapshot / "config.json"
        == zoo.cached_file("me/mine", "config.json")
    )
    assert zoo.cached_file("me/mine", "tokenizer_config.json") is None
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        zoo.fetch_file("me/mine", "tokenizer_config.json")
