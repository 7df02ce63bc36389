"""The command line: `labkit COMMAND`.

Each command is in the module of its heading: design, train, measure, share. Every error a user can
cause ends in one sentence and exit status 2; Ctrl-C ends with 130.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from labkit.base import processes
from labkit.base.errors import LabkitError
from labkit.cli import design, err, fail, measure, note, say, share, train

INTERRUPTED = 130


class _Command(TyperCommand):
    """A command whose help says nothing of the type of a switch: it takes no value."""

    def get_params(self, ctx):
        return _untyped_switches(super().get_params(ctx))


class _Group(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx):
        return _untyped_switches(super().get_params(ctx))


def _untyped_switches(params: list) -> list:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


def _readable(group: typer.Typer) -> typer.Typer:
    """The group, with help whose lines end where the terminal does and not where the code's do."""
    group.info.cls = _Group
    for command in group.registered_commands:
        command.cls = _Command
        command.help = " ".join((inspect.getdoc(command.callback) or "").split())
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _readable(inner.typer_instance)
    return group


def _tell_version(wanted: bool) -> None:
    if wanted:
        import labkit

        say(f"labkit {labkit.__version__}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A lab kit for domain adaptation of language models.",
    epilog="Begin with: labkit doctor, then labkit course. labkit COMMAND --help shows a command.",
)
for group in (design, train, measure, share):
    app.add_typer(group.app)
_readable(app)


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show labkit's version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: turns labkit's errors into one sentence each."""
    from labkit.train.trainers import prepare_process

    prepare_process()
    warnings.showwarning = processes.own_warnings(
        note if processes.is_main() else lambda sentence: None
    )
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
        if not (told := _usage(error)):
            sys.exit(2)  # labkit, labkit pack or labkit zoo alone: its help was shown instead
        fail(told)
    if status == INTERRUPTED:
        err.print(
            "stopped; finished stages are kept, give the same command again to go on",
            style="yellow",
        )
    sys.exit(status)


def _usage(error) -> str:
    """What typer found wrong in the command line itself, and the command that shows how it goes."""
    told = error.format_message()
    if not told or error.ctx is None or "Did you mean" in told or "Possible options" in told:
        return told
    return f"{told.rstrip('.')}; {error.ctx.command_path} --help shows what it takes"


if __name__ == "__main__":
    main()
