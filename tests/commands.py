"""`labkit ...` as a user gives it, without the seconds in which a new process imports torch.

The command runs in a fork of the test's process: with its own streams, folder and environment, and
with the libraries that are loaded already. What only a new process shows (start, Ctrl-C, several
ranks) is tested with new ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path


def labkit(
    *arguments: object, cwd: Path | None = None, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; returncode, stdout and stderr are those a shell would see."""
    import trl  # noqa: F401 - so that it is there in every fork

    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out:
        with tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            sys.stdout.flush()
            sys.stderr.flush()
            child = os.fork()
            if child == 0:
                _run(arguments, [given.fileno(), out.fileno(), err.fileno()], cwd, environment)
            _, status = os.waitpid(child, 0)
            texts = [file.seek(0) or file.read().decode() for file in (out, err)]
    code = os.waitstatus_to_exitcode(status)
    return subprocess.CompletedProcess(["labkit", *map(str, arguments)], code, *texts)


def _run(
    arguments: tuple, streams: list[int], cwd: Path | None, environment: dict[str, str]
) -> None:
    """The child's whole life."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(environment)
        if cwd:
            os.chdir(cwd)
        sys.argv = ["labkit", *map(str, arguments)]
        import torch

        from labkit import cli
        from labkit.cli.__main__ import main

        torch.set_num_threads(1)  # threads of the parent's pools are not there in a fork
        for console in (cli.out, cli.err):
            console.width = int(os.environ.get("COLUMNS", 80))
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
