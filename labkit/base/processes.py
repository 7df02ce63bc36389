"""Several processes that train one model together: who writes, who waits, who speaks, and on what
device each trains.

A launcher (torchrun, accelerate launch) starts them and says in RANK and WORLD_SIZE which one is
which; docs/distributed.md shows how. Without a launcher there is one process, and nothing here
waits for anything.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from labkit.base.errors import LabkitError

# for the others while one loads, merges or saves; a process that dies ends all of them at once
WAIT_HOURS = 12
FAILED = 2  # exit status, as of the one that speaks
QUIET_SECONDS = 20  # the speaker is given this long before a silent exit makes the launcher end it
# from so many on Apple's GPU is taken: a smaller step takes longer to send than to compute. A guess
MPS_PARAMETERS = 50_000_000
_speaks = False  # whether this process has the word already


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """Which one this is, from 0."""
    return int(os.environ.get("RANK") or 0)


def is_main() -> bool:
    """Whether this is the one that writes to the store, prints and reports."""
    return rank() == 0


def sharded() -> bool:
    """Whether the weights are cut up among the processes (FSDP), as the launcher's configuration
    says.
    """
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def device(parameters: float = math.inf) -> str:
    """Where a model of so many parameters is trained: `cuda`, `mps` (the GPU of an Apple machine)
    or `cpu`. Everything that depends on the device asks here.

    parameters: without a number, whatever the model. A CUDA GPU is taken for every model, Apple's
    by one process alone and for models of MPS_PARAMETERS or more. ACCELERATE_USE_CPU, which
    accelerate and transformers read as well, keeps everything on the CPU.
    """
    import torch

    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on", "y", "t"):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    apple = parameters >= MPS_PARAMETERS and count() == 1 and torch.backends.mps.is_available()
    return "mps" if apple else "cpu"


def start() -> None:
    """Meet the other processes: over gloo on CPUs, over nccl on GPUs. Harmless to call again."""
    if count() == 1:
        return
    from accelerate import PartialState

    PartialState(cpu=device() == "cpu", timeout=timedelta(hours=WAIT_HOURS))


def from_main(value: Any) -> Any:
    """The first process's value, in every process; all of them must call this."""
    if count() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value], from_process=0)[0]


def wait() -> None:
    """Go on when all processes are here."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextmanager
def one_voice() -> Iterator[None]:
    """Of several processes that fail, the first raises and the others end in silence with status 2.

    An error is often the same in all of them, and where only one fails the others then lose their
    connection to it: either way the user reads one sentence. Nothing changes when there is one
    process. May be nested.
    """
    global _speaks
    try:
        yield
    except Exception as error:
        _speaks = _speaks or count() == 1 or _first_to_fail(error)
        if _speaks:
            raise
        time.sleep(QUIET_SECONDS)
        sys.exit(FAILED)


def _first_to_fail(error: Exception) -> bool:
    """Claim the word at the launcher's meeting point.

    A lost connection is never the cause: it gives way.
    """
    from torch.distributed import TCPStore

    if not isinstance(error, LabkitError):
        time.sleep(1)  # the one that knows why goes first
    address, port = (
        os.environ.get("MASTER_ADDR", "127.0.0.1"),
        int(os.environ.get("MASTER_PORT", "29500")),
    )
    try:
        return (
            TCPStore(address, port, is_master=False, timeout=timedelta(seconds=10)).add(
                "labkit/failed", 1
            )
            == 1
        )
    except RuntimeError:  # the meeting point is gone, and so is whoever kept it
        return is_main()


def headless() -> bool:
    """Whether nobody watches, as when papermill runs a notebook: no widget is built, nothing is
    redrawn.
    """
    return os.environ.get("LABKIT_HEADLESS") == "1"


def own_warnings(tell: Callable[[str], None]) -> Callable[..., None]:
    """What to put in the place of `warnings.showwarning`: labkit's own warnings are told as one
    sentence; those of libraries tell a user nothing.
    """

    def show(message, category, *_place, **_more) -> None:
        if category.__module__.startswith("labkit"):
            tell(f"note: {message}")

    return show
