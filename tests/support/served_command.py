"""A command of a shell that stays until Ctrl-C, started in the background: ``served_command.py COMMAND…``.

It gets a port of its own, since the one that it would choose may be taken here, and this returns when it answers.
"""

import socket
import subprocess
import sys
import time


def main(*command: str) -> int:
    """Start it; return 0 as soon as it answers, or its exit code, and not 0 in any case if it ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], stdin=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return 0
    return process.returncode or 1  # it was to stay


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
