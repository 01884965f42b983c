"""The process in which ``sync`` delivers many runs to one plugin, one after the other: the plugin is imported once.

Each run has a relay and an instance of its own; the working directory, the environment and the log are changed back in
between. A run that takes the process with it is charged with that death by the note in its own folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from msgspec import Struct

from tracking_hooks.delivery.main import be_a_relay
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.run import portable
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings

GROWTH = 200_000_000
"""Bytes by which a process may grow behind its first run: what a tracker's client keeps of each is given back then."""


class Job(Struct, frozen=True):
    """A run to deliver."""

    folder: str
    label: str
    retry: bool
    linger: float
    call_timeout: float


class Answer(Struct, frozen=True):
    """What has come of it."""

    code: int
    """The relay's exit code."""
    is_last: bool
    """Whether this process ends now."""


def work(arguments: list[str]) -> None:
    """Deliver what comes in by a socket, until that is closed or the plugin wants a fresh process."""
    parser = argparse.ArgumentParser(prog="tracking-hooks worker")
    parser.add_argument("address")
    address = parser.parse_args(arguments).address
    be_a_relay()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with suppress(BrokenPipeError), connection.makefile("rw", encoding="utf-8") as file:  # `sync` may have ended
            first = 0
            for line in file:
                job = Job(**json.loads(line))
                with _as_before(job):
                    code, is_last = _deliver(job)
                now = psutil.Process().memory_info().rss
                first = first or now
                is_last = is_last or now > first + GROWTH
                file.write(json.dumps({"code": code, "is_last": is_last}) + "\n")
                file.flush()
                if is_last:
                    return


def _deliver(job: Job) -> tuple[int, bool]:
    settings = Settings(linger=job.linger, call_timeout=job.call_timeout)
    relay = Relay(RunFolder(Path(job.folder)), job.label, settings, drain=True, retry=job.retry)
    signal.signal(signal.SIGTERM, relay.leave)
    return relay.run(), relay.wants_a_process_for_each_run


@contextmanager
def _as_before(job: Job) -> Iterator[None]:
    """Write to the log of the run; put back what a plugin has changed of the process."""
    log = RunFolder(Path(job.folder)).relay(job.label).log
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = portable.append_to(log)
    for output in (1, 2):
        os.dup2(fd, output)
    os.close(fd)
    folder, environment = os.open(".", os.O_RDONLY), dict(os.environ)  # not by name: it may be deleted meanwhile
    try:
        yield
    finally:
        sys.stdout.flush()  # what a plugin has printed belongs to this run's log
        os.fchdir(folder)
        os.close(folder)
        os.environ.clear()
        os.environ.update(environment)
