"""Uploads of artifacts, which may take longer than a call of the relay's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import wandb

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_wandb.errors import reason

PATIENCE = 120
"""Seconds to wait for an upload before the relay is told that it takes long. The upload continues."""

TRIES = 3
"""How often an upload is made that fails: the client does not say whether the service refuses the file or is down."""

RETRY_AFTER = 3600.0
"""Seconds after which it is made once more."""


class Uploads:
    """The uploads that are under way in this process."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._under_way: dict[str, _Upload] = {}
        self._failures: Counter[str] = Counter()

    def wait(self, artifact: wandb.Artifact, start: Callable[[], wandb.Artifact]) -> wandb.Artifact:
        """Start an upload, unless it is under way, and wait for its end.

        :raises Unavailable: if it takes too long, and is awaited by the next call; or if it failed
        :raises Rejected: if it failed often enough not to hold up the rest of the run
        """
        key = f"{artifact.type}/{artifact.name}/{artifact.digest}"
        if key not in self._under_way:
            self._under_way[key] = _Upload(start())
        upload = self._under_way[key]
        if not upload.is_done(PATIENCE):
            raise Unavailable(f"{self._where}: the upload of {artifact.name} takes long and continues")
        del self._under_way[key]
        if isinstance(upload.error, ValueError):  # the client reports a failed upload like this
            sentence = f"{self._where} did not take {artifact.name}: {reason(upload.error)}"
            self._failures[key] += 1
            if self._failures[key] % TRIES == 0:
                raise Rejected(sentence, retry_after=RETRY_AFTER)
            raise Unavailable(sentence)
        if upload.error is not None:
            raise upload.error
        return upload.artifact

    def forget(self) -> None:
        """Forget the uploads: the process that made them is gone."""
        self._under_way.clear()


class _Upload:
    """Waits for an artifact in a separate thread, since the client allows no second wait after a time-out."""

    def __init__(self, artifact: wandb.Artifact) -> None:
        self.artifact = artifact
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._wait, name="upload", daemon=True)
        self._thread.start()

    def is_done(self, timeout: float) -> bool:
        """Wait for the end of the upload; return whether it has ended, in success or failure."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _wait(self) -> None:
        try:
            self.artifact.wait()
        except Exception as error:  # noqa: BLE001 for whoever waits
            self.error = error
