"""What Jupyter starts in place of a kernel: asks server.py for one, and stands for it.

Signals go on to the kernel; this process ends as the kernel does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time


def main(place: str, arguments: list[str]) -> int:
    server = socket.socket(socket.AF_UNIX)
    for _ in range(200):
        try:
            server.connect(place)
            break
        except (FileNotFoundError, ConnectionRefusedError):  # it is starting
            time.sleep(0.1)
    else:
        sys.exit(f"{place}: no server.py answers there")
    asked = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(server, [json.dumps(asked).encode() + b"\n"], [0, 1, 2])
    told = server.makefile()
    kernel = int(told.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(kernel, number))
    ended = told.readline()
    return int(ended) if ended else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
