"""The apps without a browser: their notebooks, what their functions show, the command, and what the
server lets in.
"""

from __future__ import annotations

import ast
import html
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from types import SimpleNamespace

import psutil
import pytest
from apps_case import free_port, served
from own_packs import own_pack
from test_cli import assert_one_sentence, labkit

from labkit.base import records
from labkit.base.errors import InputError, LabkitError
from labkit.design.dossier import load_dossier
from labkit.share import apps
from labkit.train.specs import load_spec

NOTEBOOKS = [apps.apps_folder() / f"{name}.ipynb" for name in apps.APPS]


def cells(path, kind):
    return [
        "".join(cell["source"])
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


# --- the notebooks ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean_and_calls_only_what_there_is(path):
    notebook = json.loads(path.read_text("utf-8"))
    ids = [cell["id"] for cell in notebook["cells"]]
    assert (
        len(set(ids)) == len(ids)
        and notebook["metadata"]["title"].startswith("labkit: ")
        and "widgets" not in notebook["metadata"]
    )
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    )
    code = cells(path, "code")
    assert all(len(source.splitlines()) <= 12 for source in code)
    called = [
        node.func.attr
        for node in ast.walk(ast.parse("\n".join(code)))
        if isinstance(node, ast.Call)
    ]
    assert called[0] == path.stem and all(hasattr(apps, name) for name in called)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_headings_are_in_order(path):
    levels = [
        len(mark)
        for mark in re.findall(r"^(#+) ", "\n".join(cells(path, "markdown")), re.MULTILINE)
    ]
    assert levels[0] == 1 and levels.count(1) == 1 and set(levels) <= {1, 2}


def test_the_first_page_names_all_five_in_plain_words():
    found = apps.described(apps.apps_folder())
    assert [app.name for app in found] == list(apps.APPS)
    assert {path.stem for path in apps.apps_folder().glob("*.ipynb")} == set(apps.APPS)
    for app in found:
        assert (
            app.title
            and app.words.endswith((".", "!"))
            and not re.search(r"[#_`*\n]", app.words + app.title)
        )


# --- what the functions show ------------------------------------------------------------------


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What an app put on its page, headless."""
    found = []
    monkeypatch.setenv("LABKIT_HEADLESS", "1")
    monkeypatch.setenv(apps.OUT, str(tmp_path / "out"))
    monkeypatch.setattr(apps, "show_html", found.append)
    monkeypatch.setattr("labkit.course.labs.design_lab.show_html", found.append)
    monkeypatch.setattr("labkit.course.labs.design_lab.show_html", found.append)
    return found


def test_designer_and_audit_write_where_they_are_told(shown, tmp_path):
    apps.designer()
    apps.vendor_audit()
    assert str(tmp_path / "out") in shown[0] and any(
        "valid: this design can run" in part for part in shown
    )
    assert (tmp_path / "out" / "designs" / "design.yaml").is_file() and (
        tmp_path / "out" / "audits" / "claim.pdf"
    ).read_bytes().startswith(b"%PDF")
    assert {row["notebook"] for row in records.read(tmp_path / "out")} == {
        "app_designer",
        "app_vendor_audit",
    }


def test_the_dossier_and_the_questions_are_written_without_a_browser(shown, tmp_path):
    apps.dossier(apps.designer())
    apps.dossier(None)  # where the designer told of an error
    apps.judge()
    (folder,) = (tmp_path / "out" / "dossiers").iterdir()
    assert (folder / "dossier.pdf").read_bytes().startswith(b"%PDF")
    assert load_dossier(folder / "dossier.yaml").design.spec.trail == "cpt-sft"
    text = (tmp_path / "out" / "judged" / "questions.csv").read_text("utf-8-sig")
    assert text.startswith("id,axis,question,answer")
    assert not any('role="alert"' in part for part in shown)
    assert not list(records.read(tmp_path / "out", "checkpoint"))


def test_merge_lab_needs_no_training(shown, tmp_path):
    apps.merge_lab()
    apps.specialist()
    assert not any("error" in part for part in shown)
    kinds = [row["kind"] for row in records.read(tmp_path / "out")]
    assert "figure" in kinds and "checkpoint" not in kinds


def test_the_apps_say_their_domain_and_whether_it_is_invented(shown):
    apps.designer()
    assert any("<b>bio-inspired materials (invented)</b>" in part for part in shown)


def test_the_apps_begin_with_a_pack_of_one_s_own(shown, tmp_path, monkeypatch):
    own = own_pack(tmp_path, "raw")
    monkeypatch.setenv(apps.PACK, str(own.folder))
    apps.designer()
    apps.merge_lab()
    assert sum(f"<b>{own.title}</b>" in part for part in shown) == 2
    assert any("This pack has no summaries.jsonl, qa.jsonl" in part for part in shown)
    spec = load_spec(tmp_path / "out" / "designs" / "design.yaml")
    assert spec.trail == "cpt" and spec.pack == str(own.folder)  # what the pack has rows for
    assert not any('role="alert"' in part for part in shown)


def test_an_error_is_a_sentence_and_escaped(shown):
    with apps.told():
        raise InputError("no <script> called 'x'")
    assert shown == ['<p role="alert"><b>error: no &lt;script&gt; called &#x27;x&#x27;</b></p>']


def test_a_fault_leaves_its_lines_in_a_file(shown, tmp_path):
    with apps.told():
        raise ZeroDivisionError("secret")
    path = tmp_path / "out" / apps.FAULTS
    assert "ZeroDivisionError: secret" in path.read_text() and str(path) in shown[0]
    assert "secret" not in shown[0] and "Traceback" not in shown[0]


def test_what_takes_long_waits_tells_and_can_be_tried_again():
    import ipywidgets

    from labkit.course.panels import LaterPanel

    seen, made = [], [InputError("no <b>room</b>"), ipywidgets.Label("done")]

    def make(progress):
        progress(SimpleNamespace(stage="cpt", step=3, steps=9, loss=1.25, seconds_left=6.0))
        seen.append(panel.told.value)
        found = made.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    panel = LaterPanel(make, "go", "a minute")
    assert "a minute" in panel.told.value and not seen
    panel.button.click()
    assert (
        "step 3 of 9, loss 1.250, 6 s left" in seen[0]
        and "no &lt;b&gt;room&lt;/b&gt;" in panel.told.value
        and not panel.button.disabled
    )
    panel.button.click()
    assert panel.place.children[0].value == "done" and panel.button.layout.display == "none"


# --- the command ------------------------------------------------------------------------------


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError,
            match=rf"port {port} cannot be used .* --port {port + 1 if port < 65535 else port - 1}",
        ):
            apps.check_port(port)
        assert_one_sentence(labkit("app", "--port", port), str(port), "--port")
    assert_one_sentence(labkit("app", "--pack", "legl"), "unknown pack 'legl'")


def test_without_voila_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabkitError, match=r"pip install 'labkit-lm\[app\]'"):
        apps.serve(free_port(), tmp_path)


def test_the_command_prints_one_address_and_ends(tmp_path):
    pytest.importorskip("voila", reason="Voilà is not installed; pip install -e '.[app]' brings it")
    command = [
        sys.executable,
        "-m",
        "labkit.cli",
        "app",
        "--port",
        str(free_port()),
        "--out-dir",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert re.fullmatch(r"open http://127\.0\.0\.1:\d+/\?token=[\w-]{32}\n", line)
    with urllib.request.urlopen(line.split()[1]) as page:
        assert "What would you like to do?" in page.read().decode()
    process.terminate()
    rest, said = process.communicate(timeout=60)
    assert (
        rest == ""
        and "Traceback" not in said
        and line.split("token=")[1].strip() not in said
        and process.returncode == 0
    )


# --- what the server lets in ------------------------------------------------------------------


def test_no_template_of_ours_names_another_host():
    found = list(apps.TEMPLATES.iterdir())
    assert {"index.html.j2", "page.html", "tree.html", "login.html", "error.html"} <= {
        path.name for path in found
    }
    assert not any(re.search(r"https?:|//\w", path.read_text("utf-8")) for path in found)


def test_the_policy_allows_this_server_alone():
    words = apps.policy(8866).replace(";", " ").split()
    assert [word for word in words if "//" in word or word == "*"] == ["ws://127.0.0.1:8866"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(apps.apps_folder(), tmp_path_factory.mktemp("apps")) as running:
        yield running


def status(address, **headers):
    """The status, and what the page says, after any redirect."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status, answer.read().decode(), answer
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error


def test_without_the_token_nothing_is_shown_or_started(server):
    for address in (
        server.origin,
        server.page("designer"),
        f"{server.origin}/voila/tree",
        f"{server.origin}/?token=wrong",
    ):
        _, said, _ = status(address)
        assert "needs its whole address" in said and "Design an adaptation" not in said
    kernel = "00000000-0000-0000-0000-000000000000"
    assert status(f"{server.origin}/api/kernels/{kernel}")[0] in (401, 403)
    assert status(f"{server.origin}/voila/api/contents/")[0] in (401, 403)
    assert server.kernels() == []


def test_only_this_machine_and_only_by_its_own_name(server):
    listening = [
        found.laddr
        for found in psutil.Process(server.process.pid).net_connections()
        if found.status == "LISTEN"
    ]
    assert listening and {address.ip for address in listening} == {"127.0.0.1"}
    assert status(server.address, Host="evil.example")[0] == 403


def test_the_policy_is_sent_and_no_file_is_served(server):
    code, said, answer = status(server.address)
    assert code == 200 and all(
        app.title in html.unescape(said) for app in apps.described(apps.apps_folder())
    )
    assert answer.headers["Content-Security-Policy"] == apps.policy(
        int(server.origin.rsplit(":", 1)[1])
    )
    for path in ("designer.ipynb", "../01_design.ipynb", "..%2F..%2Fpyproject.toml", "x.png"):
        assert status(f"{server.origin}/voila/files/{path}")[0] in (403, 404)
    token = server.address.split("?")[1]
    assert status(f"{server.origin}/voila/render/..%2F01_design.ipynb?{token}")[0] == 404
    assert server.kernels() == []
