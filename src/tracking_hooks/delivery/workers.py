"""The processes that deliver runs for ``sync``: one for each plugin, kept from run to run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec

from tracking_hooks import plugins
from tracking_hooks.delivery.spawn import end_process, start_relay, start_worker
from tracking_hooks.delivery.worker import Answer, Job
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

_START = 0.2
"""Seconds between two looks whether a process that was just started still lives."""
_KINDLY = 10.0
"""Seconds that a process has to end by itself: what a plugin has left running in it is ended in order."""
_LONGEST = 60
"""How long a folder's path may be for the name of a socket below it to be short enough."""


class _Worker:
    """One such process, and the connection to it."""

    def __init__(self, log: Path) -> None:
        parent = tempfile.gettempdir()
        parent = parent if len(os.fsencode(parent)) <= _LONGEST else "/tmp"  # noqa: S108 a fresh folder is made in it
        with (
            tempfile.TemporaryDirectory(prefix="tracking-hooks-", dir=parent) as folder,
            socket.socket(socket.AF_UNIX) as listener,
        ):
            address = str(Path(folder, "socket"))
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(_START)
            self.process = start_worker(address, log)
            self._is_at_work = False
            self._file = self._connected(listener)

    def _connected(self, listener: socket.socket) -> TextIO | None:
        while self.process.poll() is None:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(None)
            with connection:
                return connection.makefile("rw", encoding="utf-8")
        return None

    def deliver(self, job: Job) -> Answer:
        """Deliver a run; if the process dies over it, its exit code is the answer."""
        line, self._is_at_work = "", True
        if self._file:
            with suppress(OSError):
                self._file.write(json.dumps(msgspec.to_builtins(job)) + "\n")
                self._file.flush()
                line = self._file.readline()
        answer = Answer(**json.loads(line)) if line.endswith("\n") else Answer(self.process.wait(), is_last=True)
        self._is_at_work = False
        return answer

    def close(self) -> None:
        """End the process: at once if it is at work, for it can be ended at any moment."""
        if self._file:
            with suppress(OSError):
                self._file.close()
        if not self._is_at_work:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_KINDLY)
        end_process(self.process)


class Workers:
    """Delivers one run at a time. To be closed."""

    def __init__(self, settings: Settings, *, retry: bool) -> None:
        """Start no process yet.

        :param retry: try again whatever was set aside
        """
        self._settings = settings
        self._retry = retry
        self._workers: dict[str, _Worker] = {}

    def deliver(self, folder: RunFolder, label: str, plugin: str) -> int:
        """Deliver what there is of a run; return the relay's exit code, or that of a process that died over it.

        :raises OSError: if the relay's files cannot be written
        """
        if not hasattr(socket, "AF_UNIX"):
            return self._deliver_alone(folder, label)
        name = plugins.first_part(plugin)
        files = folder.relay(label)
        files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.log.touch(0o600)  # the process would die over it
        if name not in self._workers:
            self._workers[name] = _Worker(files.log)
        settings = self._settings
        answer = self._workers[name].deliver(
            Job(str(folder.path), label, self._retry, settings.linger, settings.call_timeout)
        )
        if answer.is_last:
            self._workers.pop(name).close()
        return answer.code

    def close(self) -> None:
        """End the processes."""
        while self._workers:
            self._workers.popitem()[1].close()

    def _deliver_alone(self, folder: RunFolder, label: str) -> int:
        relay = start_relay(folder, label, self._settings, drain=True, retry=self._retry)
        try:
            return relay.wait()
        except KeyboardInterrupt:
            end_process(relay)  # it has a session of its own, where Ctrl-C does not reach
            raise
