"""Asks git about the working directory, on a thread of its own: in a large repository that takes seconds."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress

from msgspec import structs

from tracking_hooks import redact
from tracking_hooks.events import Environment, Git

_PATIENCE = 2.0
"""Seconds for which the answer is waited for when it is to be recorded. The training is set up before that."""
_TIMEOUT = 30.0
"""Seconds that git may take for one answer."""


class Repository:
    """The repository that a training is started in."""

    def __init__(self, environment: Environment) -> None:
        """Begin to ask, unless the answer is there already. Never raises."""
        self._folder = environment.cwd
        self._git = environment.git
        self._thread = threading.Thread(target=self._look, name="tracking-hooks-git", daemon=True)
        if self._git is None:
            with suppress(RuntimeError):  # the interpreter is about to end: nothing is known
                self._thread.start()

    def add_to(self, environment: Environment) -> Environment:
        """Return an environment with what is known of its repository; what takes too long is left out."""
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        return structs.replace(environment, git=environment.git or self._git)

    def _look(self) -> None:
        commit = self._ask("rev-parse", "HEAD")
        if not commit:
            return
        remote = self._ask("config", "--get", "remote.origin.url")
        branch = self._ask("rev-parse", "--abbrev-ref", "HEAD")
        self._git = Git(commit=commit, branch=branch, remote=redact.text(remote) if remote else None)
        changes = self._ask("status", "--porcelain", "--untracked-files=no")
        self._git = structs.replace(self._git, dirty=None if changes is None else bool(changes))

    def _ask(self, *words: str) -> str | None:
        # Without its optional locks, since the user may be about to commit.
        command = ["git", "--no-optional-locks", "-C", str(self._folder), *words]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()
