"""Errors a learner can act on: one sentence names place and remedy, the CLI shows no traceback."""

from __future__ import annotations


class LabkitError(Exception):
    """Base of every error labkit raises on purpose; `str(error)` is the sentence a learner sees."""


class InputError(LabkitError):
    """Something the user gave cannot be used: a file, a field, a name, a value."""


class PackError(InputError):
    """A domain pack is broken; the message starts with `file:line` where there is one."""


class SpecError(InputError):
    """A pipeline spec cannot run as written; the message names the field."""


class MergeError(InputError):
    """Two checkpoints cannot be merged; the message says what differs."""


class StoreError(LabkitError):
    """A checkpoint could not be written or read back; the message names the folder."""


class PairingError(LabkitError):
    """Two scorecards were compared that do not hold the same items."""


MOST_NAMES = 8  # more are not read in a sentence


def suggest(name: str, known: list[str], *, listed: str | None = None, otherwise: str = "") -> str:
    """The remedy half of an unknown-name error: the closest known name, or all of them.

    listed: the command that shows them, named instead of them where they are many. otherwise: what
    can be given in place of a known name, with its verb.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?" + f" Or {otherwise}" * bool(otherwise)
    if listed and len(known) > MOST_NAMES:
        told = f"`{listed}` shows the known names"
    else:
        told = f"known: {', '.join(known)}"
    return told + f"; or {otherwise}" * bool(otherwise)
