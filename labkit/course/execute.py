"""Runs the course's notebooks headless, one after the other, and writes their pages.

A notebook that fails never stops the ones after it; the page shows it first and the exit status
tells.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from symtable import symtable
from threading import Event, Thread
from typing import Any, Self

from labkit.base.errors import InputError, LabkitError, suggest
from labkit.base.records import FILE
from labkit.course.journal import course_notebooks, made_by_hand, named_notebooks
from labkit.data.packs import load_pack, shipped_packs
from labkit.design.planner_speed import EXPECTED_SECONDS
from labkit.train.specs import profile as find_profile

CELL_TIMEOUT_SECONDS = 900
QUIET = ["--IPKernelApp.log_level=50"]  # a kernel that is ended says so as if it were an error
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# macOS's own libraries start threads, and what is forked from a process that has them may crash.
FORKS = sys.platform == "linux"
SMOKE_SECONDS = 12
AS_IT_IS = {"markup": False, "emoji": False, "highlight": False}  # of a line on a terminal
PREFIX = "labkit-"  # of the folder with a kernel's sockets; tempfile adds eight characters
# Bytes of the path of a folder for that folder: a socket's whole path has 103 at most on macOS,
# 107 on Linux.
MOST_BYTES = 103 - len(f"/{PREFIX}12345678/kernel-5")


@dataclass(frozen=True)
class Run:
    """How one notebook went. problem: empty, or the failing cell's error in a line."""

    notebook: str
    seconds: float
    executed: Path
    problem: str = ""


def parameter_names(notebook: Path) -> list[str]:
    """What a notebook's parameters cell sets, with annotations or without.

    Raises InputError when there is no such cell, no Python in it, or no notebook.
    """
    try:
        saved = json.loads(notebook.read_text("utf-8"))
        if saved.get("nbformat", 4) < 4:
            raise InputError(
                f"{notebook}: saved in an old format of notebooks; open it in Jupyter and save it"
            )
        source = next(
            "".join(c["source"])
            for c in saved["cells"]
            if "parameters" in c["metadata"].get("tags", [])
        )
    except OSError as error:
        raise InputError(
            f"{notebook}: cannot be read ({error.strerror}); give the path of a notebook"
        ) from None
    except StopIteration:
        raise InputError(
            f"{notebook}: no cell is tagged `parameters`; tag the one that sets "
            "profile, pack, seed, learner and out_dir"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{notebook}: this is not a notebook; give one that Jupyter has saved"
        ) from None
    try:
        return _assigned(source)
    except UnicodeEncodeError:
        raise InputError(
            f"{notebook}: its parameters cell holds half of a character; write it anew"
        ) from None
    except SyntaxError as error:
        raise InputError(
            f"{notebook}: line {error.lineno or 1} of its parameters cell is not Python "
            f"({error.msg}); write one `name = value` a line"
        ) from None


def _assigned(source: str) -> list[str]:
    """The names that a cell sets. What is for IPython, such as %matplotlib inline, sets none."""
    from IPython.core.inputtransformer2 import TransformerManager

    cell = re.sub(r"\A\s*%%.*", "", source.removeprefix("\ufeff"))
    python = TransformerManager().transform_cell(cell)
    return [
        name.get_name() for name in symtable(python, "", "exec").get_symbols() if name.is_assigned()
    ]


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Raises InputError for a name the notebook's parameters cell does not set; papermill would
    only warn.
    """
    known = parameter_names(notebook)
    for name in parameters:
        if name not in known:
            raise InputError(f"{notebook.name} has no parameter {name!r}: {suggest(name, known)}")


def _environment(threads: int | None) -> dict[str, str]:
    """What a notebook's process finds in its environment."""
    own = dict.fromkeys(THREADS, str(threads)) if threads else {}
    return {**os.environ, "LABKIT_HEADLESS": "1", **own}


def run_notebook(
    notebook: Path,
    executed: Path,
    parameters: dict,
    *,
    threads: int | None = None,
    kernels: WarmKernels | None = None,
) -> Run:
    """Execute one notebook headless. threads: of its process, for computing; None leaves them to
    the machine. kernels: where its process comes from, with as many threads; None starts one.

    This process's own environment is not touched, so several may run in its threads. Raises
    InputError for a parameter that the notebook does not have.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    check_parameters(notebook, parameters)
    executed.parent.mkdir(parents=True, exist_ok=True)
    began, problem = time.perf_counter(), ""
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=socket_folder()) as sockets:
            papermill.execute_notebook(
                _as_it_is(notebook),
                _as_it_is(executed),
                parameters=parameters,
                progress_bar=False,
                log_output=False,
                cwd=str(Path.cwd()),
                execution_timeout=CELL_TIMEOUT_SECONDS,
                kernel_name="python3",
                language="python",  # not every notebook says so itself
                config=_kernel_config(sockets),
                kernel_manager_class=_manager(_environment(threads), kernels),
                extra_arguments=QUIET,
            )
    except PapermillExecutionError as error:
        problem = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        problem = f"a cell ran longer than {CELL_TIMEOUT_SECONDS} s"
    except DeadKernelError:
        problem = "its process was ended from outside, most often because memory ran out"
    problem = problem or hidden_error(executed)
    return Run(notebook.stem, time.perf_counter() - began, executed, problem)


def _manager(environment: dict[str, str], kernels: WarmKernels | None) -> type:
    """A manager of kernels whose environment is the given one."""
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        # jupyter_client's own async manager replaces the sync method in the same way
        async def start_kernel(self, **options):  # type: ignore[override]
            if kernels:
                self.provisioner = _provisioner(kernels)(kernel_spec=self.kernel_spec, parent=self)
            await super().start_kernel(**options, env=environment)

    return Manager


def _provisioner(kernels: WarmKernels) -> type:
    """What jupyter_client asks for a kernel's process; this one has it from `kernels`."""
    from jupyter_client.provisioning import LocalProvisioner

    class Provisioner(LocalProvisioner):
        process: Any

        async def launch_kernel(self, cmd: list[str], **options: Any):
            arguments = cmd[cmd.index("-f") :]  # what stands before it starts Python
            self.cwd = options.get("cwd") or os.getcwd()
            self.process = kernels.take(arguments, options["env"], self.cwd)
            if self.process is None:  # in vain: a plain start shows why
                return await super().launch_kernel(cmd, **options)
            self.pid = self.pgid = self.process.pid
            return self.connection_info

    return Provisioner


def _as_it_is(path: Path) -> str:
    """A path in which papermill finds no {name} to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def socket_folder() -> str | None:
    """Where the socket files of a kernel may lie; None where no folder is good for them.

    It is the system's folder for temporary files. A system takes only about a hundred bytes as the
    path of a socket; where that folder's own path is too long, the short /tmp stands in for it.
    """
    for folder in (tempfile.gettempdir(), "/tmp"):
        fits = len(os.fsencode(folder)) <= MOST_BYTES
        if os.name == "posix" and fits and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def _kernel_config(sockets: str):
    """Talk to the kernel over local socket files, where the system has them, instead of open TCP
    ports.

    In a folder of this run's own: left to its default, jupyter names them after the working
    directory, and two runs started together there answer each other.
    """
    from traitlets.config import Config

    return Config(
        {"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}
        if socket_folder()
        else {}
    )


# --- kernels that have imported the libraries --------------------------------------------------
#
# Importing torch and transformers takes a notebook's process five seconds. On Linux one process
# does it for all, and each kernel is forked from that. On macOS each kernel is a process of its
# own, which imports while the kernel before it works. On Windows kernels are started plainly.


class WarmKernels:
    """Kernels whose processes have imported what notebooks need, one after the other.

    count: how many are asked for; one alone is started plainly, for it needs not all of that.
    threads: of each, for computing, as in `run_notebook`. To be used in a `with`, at the end of
    which no process is left.
    """

    def __init__(self, count: int, *, threads: int | None = None):
        self._left = count if os.name == "posix" and count > 1 else 0
        self._environment = _environment(threads)
        self._waiting: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_raised: object) -> None:
        if self._waiting:  # nobody will ask it for anything
            self._waiting.kill()
            self._waiting.communicate()

    def _start(self) -> None:
        """Have a process import the libraries; nothing waits for it here."""
        if not self._left:
            self._waiting = None
            return
        self._waiting = subprocess.Popen(
            [sys.executable, "-c", f"import {__name__} as run; run.wait_to_be_kernels({FORKS})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for the process that asks
        )

    def take(
        self, arguments: list[str], environment: dict[str, str], folder: str
    ) -> subprocess.Popen | Forked | None:
        """A kernel's process, started with these arguments for ipykernel in a folder; None where
        the libraries could not be imported, or no kernel is left.
        """
        process = self._waiting
        if process is None or not self._left:
            return None
        asked = {"arguments": arguments, "environment": environment, "folder": folder}
        assert process.stdin and process.stdout  # as _start has them
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:  # it has ended, and told on stderr why
            return None
        told = process.stdout.readline()
        if not told:
            return None
        self._left -= 1
        if FORKS:
            return Forked(int(told))
        self._start()  # the next one imports while this one works
        return process


class Forked:
    """A process that is a child of another, as subprocess.Popen has its own. How it ended is not
    known here: 0 stands for any way.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self) -> int:
        """Its end, which `poll` has seen."""
        return 0

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def import_what_notebooks_need() -> None:
    """Nothing is computed, so that no thread is lost in a fork."""
    import pkgutil
    from importlib import import_module

    from labkit.train.trainers import import_libraries, prepare_process

    prepare_process()
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel
    import ipykernel.kernelapp  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    from labkit.course import labs

    for one in pkgutil.iter_modules(labs.__path__):
        import_module(f"{labs.__name__}.{one.name}")
    import_libraries()


def wait_to_be_kernels(forks: bool) -> None:
    """The life of a process that imports the libraries and waits: for each line of stdin a process
    forked from it is the kernel which that line asks for; where it may not fork, it is the first
    one itself. It ends when nobody is left to write to it.
    """
    import_what_notebooks_need()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets a kernel that has ended
    for line in sys.stdin.buffer:
        if not (forks and os.fork()):
            become_kernel(**json.loads(line))
            return


def become_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """ipykernel in this process, until it ends; tells the process's number on stdout first."""
    from ipykernel.kernelapp import launch_new_instance

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.write(sys.stdout.fileno(), f"{os.getpid()}\n".encode())
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # it ends itself when its parent is gone; from the environment ipykernel took that on import
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    sys.argv = ["ipykernel_launcher", *arguments, parent]
    launch_new_instance()


def hidden_error(executed: Path) -> str:
    """An error that hides in widget state or an Output widget, where a run does not fail on it."""
    notebook = json.loads(executed.read_text("utf-8"))
    states = (
        notebook["metadata"]
        .get("widgets", {})
        .get("application/vnd.jupyter.widget-state+json", {})
        .get("state", {})
    )
    for state in states.values():
        for output in state.get("state", {}).get("outputs", []):
            if output.get("output_type") == "error":
                return f"hidden widget error: {output['ename']}: {output['evalue']}"
    return ""


@contextmanager
def _countdown(bars, name: str, expected: float) -> Iterator[Callable[[str], None]]:
    """A bar that fills as time passes and says what is left; yields the function that ends it.

    Where no terminal shows bars, a line at the start and one at the end.
    """
    told_in_lines = not bars.console.is_terminal
    if told_in_lines:
        bars.console.print(f"{name}: takes about {expected:.0f} s", **AS_IT_IS)
    task, began, ended = (
        bars.add_task(name, total=expected, told=f"about {expected:.0f} s left"),
        time.monotonic(),
        Event(),
    )

    def tick() -> None:
        while not ended.wait(1.0):
            left = expected - (time.monotonic() - began)
            told = f"about {left:.0f} s left" if left > 1 else "longer than expected"
            bars.update(task, completed=min(expected - left, expected * 0.98), told=told)

    def finish(told: str) -> None:
        ended.set()
        clock.join()
        bars.update(task, completed=expected, told=told)
        if told_in_lines:
            bars.console.print(f"{name}: {told}", **AS_IT_IS)

    clock = Thread(target=tick, daemon=True)
    clock.start()
    try:
        yield finish
    finally:
        ended.set()


def run_course(
    *,
    profile: str,
    pack: str,
    seed: int,
    out_dir: Path,
    console,
    learner: str = "me",
    only: list[str] | None = None,
) -> Path:
    """Run all numbered notebooks (or those named in `only`), write their pages and the course page;
    returns its path.

    Records of an earlier headless run are replaced. Raises InputError, and changes nothing, when
    out_dir holds what a person made: guesses, reflections or answers would be lost. Raises
    LabkitError at the end when a notebook failed; every page is written before.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from labkit.course.report import course_page, notebook_page

    find_profile(profile)
    title = f"labkit course: {load_pack(pack).title}"
    pack_name = pack if pack in shipped_packs() else str(Path(pack).resolve())
    named = named_notebooks()
    notebooks = course_notebooks() if only is None else [named[n] for n in named if n in only]
    if made_by_hand(out_dir):
        raise InputError(
            f"{out_dir / FILE}: it holds guesses, reflections or answers that a person "
            "made, and this run would replace them; use another --out-dir"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / FILE).unlink(missing_ok=True)
    shutil.rmtree(out_dir / "figures", ignore_errors=True)
    parameters = {
        "profile": profile,
        "pack": pack_name,
        "seed": seed,
        "learner": learner,
        "out_dir": str(out_dir.resolve()),
    }
    runs = []
    columns = [
        TextColumn("{task.description:<16}", markup=False),
        BarColumn(30),
        TextColumn("{task.fields[told]:<24}", markup=False),
        TimeElapsedColumn(),
    ]
    with (
        WarmKernels(len(notebooks)) as kernels,
        Progress(*columns, console=console, disable=not console.is_terminal) as bars,
    ):
        for notebook in notebooks:
            expected = (
                SMOKE_SECONDS if profile == "smoke" else EXPECTED_SECONDS.get(notebook.stem, 60)
            )
            with _countdown(bars, notebook.stem, expected) as finish:
                executed = out_dir / "executed" / notebook.name
                run = run_notebook(notebook, executed, parameters, kernels=kernels)
                finish(run.problem[:60] or f"done in {run.seconds:.0f} s")
            notebook_page(run.executed, out_dir / f"{notebook.stem}.html")
            runs.append(run)
    page = course_page(runs, out_dir, title=title)
    failed = [run for run in runs if run.problem]
    if failed:
        raise LabkitError(
            f"{len(failed)} of {len(runs)} notebooks failed, first "
            f"{failed[0].notebook}, {failed[0].problem}; see {page.resolve()}"
        )
    return page
