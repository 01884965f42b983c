"""Other users of this machine: processes with user ids of their own, each with a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent


def _python() -> str | None:
    """Return an interpreter of this version that every user may start: this one's may be in somebody's home."""
    system = shutil.which(f"python{sys.version_info.major}.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    for path in filter(None, (sys.executable, system)):
        real = Path(path).resolve()
        if all(above.stat().st_mode & 0o001 for above in (real, *real.parents)):
            return path
    return None


PYTHON = _python()

CANNOT = ""
"""Why there are none here."""
if not shutil.which("setpriv") or os.getuid() != 0:
    CANNOT = "it takes root and setpriv to be another user"
elif PYTHON is None:
    CANNOT = "other users may not start this Python"

_BEGIN = """
import os, sys
from pathlib import Path
os.umask(0)  # as in a folder that a group shares
"""


class Account:
    """A user of this machine."""

    def __init__(self, number: int, homes: Path) -> None:
        """Make the user's home.

        :param number: the user id
        :param homes: a folder that everybody may look into
        """
        self.number = number
        self.home = homes / f"home-{number}"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, number, number)

    def run(self, script: str, *arguments: object, code: int = 0, **variables: str) -> str:
        """Run a script as this user; return what it writes, by both outputs."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRACKING_HOOKS")},
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
            **variables,
        }
        command = ["setpriv", f"--reuid={self.number}", f"--regid={self.number}", "--clear-groups", PYTHON]
        command += ["-c", _BEGIN + dedent(script), *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, cwd=self.home, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def cli(self, *arguments: object, code: int = 0) -> str:
        """Call ``tracking-hooks`` as this user."""
        return self.run("from tracking_hooks.cli import main; main()", *arguments, code=code)
