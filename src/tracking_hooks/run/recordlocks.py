"""POSIX record locks, as the kernel keeps them: taken without waiting, and asked for without being taken."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl

    # struct flock, in the order of each system, and what asks whether anybody has the whole file.
    if sys.platform == "darwin":
        _FLOCK = struct.Struct("qqihh")
        _KIND, _PROCESS = 3, 2
        _QUESTION = _FLOCK.pack(0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
    else:
        _FLOCK = struct.Struct("hhqqi0q")
        _KIND, _PROCESS = 0, 4
        _QUESTION = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

    def take(fd: int) -> bool:
        """Lock a file, or return False if another process has locked it.

        :raises OSError: if its file system has no record locks
        """
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def locked_by(path: Path) -> int | None:
        """Return the process that has locked a file, and None if none has. Not to be asked by that process itself.

        :returns: an id that no process has if it runs on another machine, or in another container
        :raises OSError: if it cannot be asked
        """
        if sys.platform not in ("linux", "darwin"):
            raise OSError(errno.ENOTSUP, f"{sys.platform} is not known to tell who has locked a file")
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            answer = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, _QUESTION))
        finally:
            os.close(fd)
        return None if answer[_KIND] == fcntl.F_UNLCK else answer[_PROCESS]

else:

    def take(fd: int) -> bool:
        """See above: there are none here."""
        raise OSError(errno.ENOTSUP, f"no record locks, file {fd}")

    def locked_by(path: Path) -> int | None:
        """See above: there are none here."""
        raise OSError(errno.ENOTSUP, f"no record locks: {path}")
