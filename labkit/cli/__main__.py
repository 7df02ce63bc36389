"""The command line: `labkit COMMAND`.

Each command is in the module of its heading: design, train, measure, share. Every error a user can
cause ends in one sentence and exit status 2; Ctrl-C ends with 130.
"""

from __future__ import annotations

import sys
import warnings

import typer

from labkit.base import processes
from labkit.base.errors import LabkitError
from labkit.cli import design, err, fail, measure, say_warning, share, train

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A lab kit for domain adaptation of language models.",
)
for group in (design, train, measure, share):
    app.add_typer(group.app)


def main() -> None:
    """Entry point: turns labkit's errors into one sentence each."""
    from labkit.train.trainers import prepare_process

    prepare_process()
    warnings.showwarning = say_warning if processes.is_main() else lambda *args, **kwargs: None
    try:
        with processes.one_voice():
            status = app(standalone_mode=False) or 0  # typer hands Ctrl-C and Exit back as a status
    except LabkitError as error:
        fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        fail(error.format_message())  # a usage error of the command line itself
    if status == INTERRUPTED:
        err.print(
            "stopped; finished stages are kept, give the same command again to go on",
            style="yellow",
        )
    sys.exit(status)


if __name__ == "__main__":
    main()
