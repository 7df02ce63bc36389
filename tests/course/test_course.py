from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import nbformat
import pytest

from labkit.base import records
from labkit.base.errors import InputError
from labkit.course import execute, journal


def write(path, *cells):
    parameters = nbformat.v4.new_code_cell("profile = 'lab'\nseed = 0")
    parameters.metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=[parameters, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, path)
    return path


def test_a_run_says_nothing_by_itself(tmp_path, capfd):
    cell = (
        "print('said in the notebook')\nfrom ipykernel.kernelapp import IPKernelApp\n"
        "IPKernelApp.instance().log.error('KeyboardInterrupt caught in kernel.')"
    )
    assert (
        execute.run_notebook(write(tmp_path / "x.ipynb", cell), tmp_path / "y.ipynb", {}).problem
        == ""
    )
    assert capfd.readouterr() == ("", "")


def test_parameters_reach_the_notebook_headless(tmp_path):
    cell = (
        f"import os; open({str(tmp_path / 'said')!r}, 'w').write(f\"{{seed}} "
        "{os.environ['LABKIT_HEADLESS']}\")"
    )
    run = execute.run_notebook(
        write(tmp_path / "x.ipynb", cell), tmp_path / "out" / "x.ipynb", {"seed": 7}
    )
    assert run.problem == "" and (tmp_path / "said").read_text() == "7 1"


def test_kernel_does_not_share_sockets_with_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell = (
        "import glob, pathlib\nassert glob.glob('*-ipc*') == []\nimport ipykernel.connect "
        "as c, json\nprint(json.loads(c.get_connection_info())['ip'])"
    )
    first, second = (
        execute.run_notebook(write(tmp_path / "x.ipynb", cell), tmp_path / f"{n}.ipynb", {})
        for n in "ab"
    )
    assert (first.problem, second.problem) == ("", "")
    ip = [nbformat.read(run.executed, 4).cells[1].outputs[0].text for run in (first, second)]
    assert ip[0] != ip[1]


def test_unknown_parameter_is_refused_before_running(tmp_path):
    with pytest.raises(InputError, match="no parameter 'sead': did you mean 'seed'"):
        execute.run_notebook(write(tmp_path / "x.ipynb", "1/0"), tmp_path / "y.ipynb", {"sead": 7})


def test_the_number_of_threads_reaches_the_kernel_and_nothing_else(tmp_path):
    before = dict(os.environ)
    cell = f"import os; open({str(tmp_path / 'said')!r}, 'w').write(os.environ['OMP_NUM_THREADS'])"
    assert (
        execute.run_notebook(
            write(tmp_path / "x.ipynb", cell), tmp_path / "y.ipynb", {}, threads=3
        ).problem
        == ""
    )
    assert (tmp_path / "said").read_text() == "3" and dict(os.environ) == before


TELL = """
import json, os, subprocess, sys
warm = [name for name in ("torch", "transformers", "trl", "labkit.course.lesson")
        if name in sys.modules]
import torch
print(json.dumps({"warm": warm, "process": os.getpid(), "threads": torch.get_num_threads(),
    "headless": os.environ["LABKIT_HEADLESS"], "asked": os.environ["ASKED"], "at": os.getcwd(),
    "rc": subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode}))
"""


def gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.unix
@pytest.mark.parametrize("forks", [execute.FORKS, False])
@pytest.mark.usefixtures("course_kernels")
def test_kernels_are_warm_apart_and_gone_at_the_end(tmp_path, monkeypatch, forks):
    monkeypatch.setattr(execute, "FORKS", forks)
    monkeypatch.chdir(tmp_path)
    tell, die = write(tmp_path / "tell.ipynb", TELL), write(tmp_path / "die.ipynb", DIE)
    told = []
    with execute.WarmKernels(3, threads=1) as kernels:
        for name, notebook in (("a", tell), ("b", die), ("c", tell)):
            monkeypatch.setenv("ASKED", name)
            run = execute.run_notebook(
                notebook, tmp_path / f"{name}.ipynb", {}, threads=1, kernels=kernels
            )
            assert ("ended from outside" in run.problem) == (name == "b"), run.problem
            if name != "b":
                output = nbformat.read(run.executed, 4).cells[1].outputs[0].text
                told.append(json.loads(output))
    first, last = (one.pop("process") for one in told)
    assert first != last and gone(first) and gone(last)
    common = {"threads": 1, "headless": "1", "at": str(tmp_path), "rc": 3}
    common["warm"] = ["torch", "transformers", "trl", "labkit.course.lesson"]
    assert told == [{**common, "asked": "a"}, {**common, "asked": "c"}]


@pytest.mark.unix
@pytest.mark.usefixtures("course_kernels")
def test_where_the_libraries_cannot_be_imported_kernels_start_plainly(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(execute, "__name__", "labkit.no_such_module")
    with execute.WarmKernels(2) as kernels:
        for name in "ab":
            path = write(tmp_path / "x.ipynb", "1")
            run = execute.run_notebook(path, tmp_path / f"{name}.ipynb", {}, kernels=kernels)
            assert run.problem == ""
    assert "No module named 'labkit.no_such_module'" in capfd.readouterr().err


KILLED = """
import sys
from pathlib import Path
from labkit.course import execute
with execute.WarmKernels(2) as kernels:
    execute.run_notebook(Path(sys.argv[1]), Path(sys.argv[1] + ".out"), {}, kernels=kernels)
"""


@pytest.mark.unix
def test_a_warm_kernel_ends_when_the_process_that_asked_for_it_was_killed(tmp_path):
    said = tmp_path / "said"
    wait = f"import os, time; open({str(said)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(99)"
    path = write(tmp_path / "x.ipynb", wait)
    asks = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    process = int(until(lambda: said.is_file() and said.read_text()))
    asks.kill()
    asks.wait()
    assert until(lambda: gone(process))


def until(found):
    """What is found, waited for."""
    for _ in range(600):
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError("waited for a minute in vain")


DIE = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.unix
def test_a_killed_kernel_is_a_problem_and_no_error(tmp_path):
    assert (
        "ended from outside"
        in execute.run_notebook(write(tmp_path / "x.ipynb", DIE), tmp_path / "y.ipynb", {}).problem
    )


@pytest.mark.parametrize(
    "content,words",
    [
        ("{}", "not a notebook"),
        ('{"cells": []}', "no cell is tagged"),
        ("[", "not a notebook"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_notebook_is_a_sentence(tmp_path, content, words):
    path = tmp_path / "x.ipynb"
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        execute.parameter_names(path)


def parameters_cell(source, **cell):
    return {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source} | cell


@pytest.mark.parametrize(
    "source,names",
    [
        ('profile: str = "smoke"\nseed: int=0', ["profile", "seed"]),
        ("%matplotlib inline\nprofile, pack = 'smoke', 'legal'", ["profile", "pack"]),
        ("seed = 0; learner = 'me'", ["seed", "learner"]),
        ("seed = (\n    0\n)\nif seed:\n    pack = 'legal'", ["seed", "pack"]),
        ('about = """\nseed = 7\n"""', ["about"]),
        ("# seed = 7\nimport os\nprint(seed == 7)\n", []),
        ("files = !ls\nseed = 0\nlen?", ["files", "seed"]),
        ("if True:\n    %time seed = 0\npack = 'legal'", ["pack"]),
        ("%%time\nseed = 0", ["seed"]),
    ],
)
def test_what_a_cell_sets_is_read_as_python_reads_it(tmp_path, source, names):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [parameters_cell(source)], "nbformat": 4}))
    assert execute.parameter_names(path) == names


@pytest.mark.parametrize(
    "saved,words",
    [
        ({"cells": [parameters_cell("seed = 0\nfor = 1")]}, "line 2 of its parameters cell"),
        ({"cells": [parameters_cell("seed = '\ud800'")]}, "half of a character"),
        ({"worksheets": [], "nbformat": 3}, "an old format of notebooks"),
    ],
)
def test_a_notebook_whose_parameters_cannot_be_read_says_why(tmp_path, saved, words):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(saved))
    with pytest.raises(InputError, match=words):
        execute.parameter_names(path)


def test_a_notebook_that_names_no_language_runs_from_a_folder_with_braces(tmp_path):
    """Annotated parameters, no metadata at all, and a path in which papermill would fill in."""
    said, folder = tmp_path / "said", tmp_path / "a {x} [y]"
    folder.mkdir()
    write_it = f"open({str(said)!r}, 'w').write(f'{{profile}} {{seed}}')"
    cells = [parameters_cell('profile: str = "lab"\nseed: int = 0'), parameters_cell(write_it)]
    cells[1]["metadata"] = {}
    cells = [{"execution_count": None, "outputs": [], **cell} for cell in cells]
    path = folder / "x.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    )
    given = {"profile": "smoke", "seed": 7}
    run = execute.run_notebook(path, folder / "out" / "x.ipynb", given)
    assert (run.problem, said.read_text()) == ("", "smoke 7") and run.executed.is_file()


LONG = "x" * 120


def test_a_long_temporary_folder_does_not_stop_a_notebook(tmp_path, monkeypatch):
    (tmp_path / LONG).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / LONG))
    run = execute.run_notebook(write(tmp_path / "x.ipynb", "1"), tmp_path / "y.ipynb", {})
    assert run.problem == ""


@pytest.mark.parametrize("length,fits", [(40, True), (78, True), (79, False), (200, False)])
def test_sockets_go_to_a_folder_whose_path_is_short_enough(monkeypatch, length, fits):
    """A system takes 103 bytes; /labkit-xxxxxxxx/kernel-5 has 25 of them."""
    folder = "/" + "x" * (length - 1)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert execute.socket_folder() == (folder if fits else "/tmp")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert execute.socket_folder() is None


def test_a_notebook_runs_over_ports_where_no_folder_is_short_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "MOST_BYTES", 3)
    cell = (
        "import ipykernel.connect as c, json\n"
        "assert json.loads(c.get_connection_info())['transport'] == 'tcp'"
    )
    run = execute.run_notebook(write(tmp_path / "x.ipynb", cell), tmp_path / "y.ipynb", {})
    assert run.problem == ""


def test_failing_cell_is_named(tmp_path):
    run = execute.run_notebook(write(tmp_path / "x.ipynb", "1/0"), tmp_path / "y.ipynb", {})
    assert "ZeroDivisionError" in run.problem


def test_error_hidden_in_a_widget_is_found(tmp_path):
    cell = (
        "import ipywidgets as w\nfrom IPython.display import display\nout = w.Output()\n"
        "display(out)\nwith out:\n    1/0"
    )
    run = execute.run_notebook(write(tmp_path / "x.ipynb", cell), tmp_path / "y.ipynb", {})
    assert "ZeroDivisionError" in run.problem


MADE = {"learner": "me", "notebook": "03_cpt", "pack": "materials", "profile": "lab", "seed": 0}


@pytest.mark.parametrize(
    "kind,values",
    [
        ("guess", {"id": "a", "guess": 0.5}),
        ("reflection", {"id": "a", "text": "mine"}),
        ("session", {"headless": False}),
    ],
)
def test_what_a_person_made_is_never_replaced(tmp_path, monkeypatch, kind, values):
    from rich.console import Console

    (tmp_path / "none").mkdir()
    monkeypatch.setattr(journal, "notebooks_folder", lambda: tmp_path / "none")
    run = {
        "profile": "smoke",
        "pack": "materials",
        "seed": 0,
        "out_dir": tmp_path / "out",
        "console": Console(quiet=True),
    }
    records.append(tmp_path / "out", "session", **MADE, headless=True)
    records.append(tmp_path / "out", "reflection", **MADE, id="b", text="")
    execute.run_course(**run)
    assert records.read(tmp_path / "out") == []  # a headless run's are made afresh
    (tmp_path / "out" / "figures").mkdir()
    records.append(tmp_path / "out", kind, **MADE, **values)
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    with pytest.raises(
        InputError,
        match="that a person made, and this run would replace them; use another --out-dir",
    ):
        execute.run_course(**run)
    assert (
        records.read(tmp_path / "out") == [{"kind": kind, **MADE, **values}]
        and sorted(path.name for path in (tmp_path / "out").iterdir()) == before
    )


def test_one_failure_never_stops_the_rest_and_the_page_shows_it(tmp_path, monkeypatch):
    from rich.console import Console

    from labkit.base.errors import LabkitError

    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name, cell in (("01_bad", "raise ValueError('<b>no</b>')"), ("02_good", "print('fine')")):
        path = write(folder / f"{name}.ipynb", cell)
        text = path.read_text().replace(
            "profile = 'lab'", "profile = 'lab'\\npack = ''\\nlearner = ''\\nout_dir = ''"
        )
        path.write_text(text)
    monkeypatch.setattr(journal, "notebooks_folder", lambda: folder)
    out = tmp_path / "out"
    records.append(out, "old", x=1)
    with pytest.raises(LabkitError, match="1 of 2 notebooks failed, first 01_bad"):
        execute.run_course(
            profile="smoke", pack="materials", seed=0, out_dir=out, console=Console(quiet=True)
        )
    page = (out / "course.html").read_text()
    assert (
        "failed:" in page
        and "<b>no</b>" not in page
        and page.index("01_bad") < page.index("02_good")
    )
    assert (out / "02_good.html").is_file() and records.read(out) == []
