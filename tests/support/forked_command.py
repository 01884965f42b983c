"""A command of a shell that is forked instead of started: ``forked_command.py ADDRESS COMMAND…``. See ``forking``."""

import json
import os
import signal
import socket
import sys
from pathlib import Path


def main(address: str, *command: str) -> int:
    """Have it forked, with this process's environment, working directory and streams; return its exit code."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(address)
    request = {"command": command, "env": dict(os.environ), "cwd": str(Path.cwd())}
    socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
    pid = int(server.recv(64))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    code = int(server.recv(64))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
