"""Kernels that need not import torch again: each is forked from this process, which has.

Run as: python server.py SOCKET. A client (kernel.py) sends what a kernel is started with; it hears
how the kernel ended. The kernel itself is ipykernel's own and runs in a process of its own. When a
client goes away its kernel is ended.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import traceback
from pathlib import Path

from labkit.course.execute import import_what_notebooks_need


def serve(place: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place))
    listening.listen()
    watched = selectors.DefaultSelector()
    watched.register(listening, selectors.EVENT_READ)
    kernels: dict[int, socket.socket] = {}
    tests = os.getppid()
    while os.getppid() == tests:  # else they are over, or were killed
        for key, _ in watched.select(0.1 if kernels else 1.0):
            client = key.fileobj
            if client is listening:
                client, _ = listening.accept()
                import_what_notebooks_need()  # once, when a first kernel is asked for
                kernels[start(client, listening)] = client
                watched.register(client, selectors.EVENT_READ)
            else:  # a client says nothing more: it is gone
                watched.unregister(client)
                for pid in [pid for pid, owner in kernels.items() if owner is client]:
                    os.kill(pid, signal.SIGKILL)
        for pid in list(kernels):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                client = kernels.pop(pid)
                if client.fileno() in watched.get_map():
                    watched.unregister(client)
                    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                client.close()
    for pid in kernels:  # none outlives the tests that started it
        os.kill(pid, signal.SIGKILL)


def start(client: socket.socket, listening: socket.socket) -> int:
    """Forks a kernel for a client and tells it the process's number."""
    message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
    while not message.endswith(b"\n"):
        message += client.recv(1 << 20)
    asked = json.loads(message)
    pid = os.fork()
    if pid == 0:
        listening.close()
        client.close()
        become(asked, streams)
    for stream in streams:
        os.close(stream)
    client.sendall(f"{pid}\n".encode())
    return pid


def become(asked: dict, streams: list[int]) -> None:
    """The forked process's whole life."""
    code = 0
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = ["ipykernel_launcher", *asked["arguments"]]
        sys.path[0] = ""  # as `python -m` has it
        from ipykernel import kernelapp

        kernelapp.launch_new_instance()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
