"""`labkit ...` as a user gives it, without the seconds in which a new process imports torch.

The command runs in a process of its own, with its own streams, folder and environment. That process
is forked from a server which has loaded the libraries and nothing else. What only an entirely new
process shows (its start, Ctrl-C, several ranks) is tested with new ones.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "transformers.models.llama.modeling_llama",
        "trl.trainer.sft_trainer",
        "trl.trainer.dpo_trainer",
        "peft",
        "rich.table",
        "labkit.cli.__main__",
        "labkit.train.pipeline",
        "labkit.evaluate.scoring",
    ]
)


def labkit(
    *arguments: object, cwd: Path | None = None, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; returncode, stdout and stderr are those a shell would see."""
    words = ["labkit", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("in", "out", "err")]
        streams[0].write_text(stdin)
        environ = {**os.environ, **environment}
        started = SERVER.Process(target=_run, args=(words, streams, cwd or Path.cwd(), environ))
        started.start()
        started.join()
        told = [stream.read_text("utf-8") if stream.is_file() else "" for stream in streams[1:]]
    return subprocess.CompletedProcess(words, started.exitcode or 0, *told)


def _run(words: list[str], streams: list[Path], cwd: Path, environ: dict[str, str]) -> None:
    """The process's whole life."""
    for number, (stream, mode) in enumerate(zip(streams, ("r", "w", "w"), strict=True)):
        os.dup2(os.open(stream, os.O_RDWR | os.O_CREAT), number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.argv = words
    from labkit import cli
    from labkit.cli.__main__ import main

    for console in (cli.out, cli.err):
        console.width = int(environ.get("COLUMNS", "80"))
    try:
        main()
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
