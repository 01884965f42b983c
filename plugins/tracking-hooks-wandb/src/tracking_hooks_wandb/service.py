"""What the W&B service has of a run, asked by W&B's public interface."""

from __future__ import annotations

import logging
import math
import shlex
import threading
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import wandb

from tracking_hooks.events import Destination
from tracking_hooks_wandb.steps import Addenda

EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": 255, "killed": 255}
"""A run's status to the exit code with which it is ended."""

_OVER = {"finished", "failed", "killed", "crashed"}
"""States of a run that nobody writes to. It has crashed when its writer has been silent for some minutes."""

logger = logging.getLogger("tracking_hooks.wandb")

EVERY = 15.0
"""Seconds between two questions. W&B's client sends rows as often."""

_TIMEOUT = 15


class Received(NamedTuple):
    """An answer."""

    step: int
    """The last row. -1: none."""
    files: dict[str, int]
    """Of the files that were asked for, those that are there, with their bytes."""


class Found(NamedTuple):
    """A run."""

    step: int
    """The last row. -1: none."""
    is_written: bool
    """Whether its writer has given a sign of life in the last minutes, and has not ended it."""
    exit_code: int | None
    """None: it has not ended, or nobody says how."""
    addenda: Addenda
    uid: str
    """That of the last training of ours that has opened it; empty: none."""
    about: dict[str, str]
    """Where it was started, as settings of the client, which would otherwise say where this process was."""


def find(destination: Destination) -> Found | None:
    """Return what the service says of a run; None: it does not have it."""
    api = wandb.Api(timeout=_TIMEOUT)
    entity = destination.get("entity") or api.default_entity
    try:
        run = api.run(f"{entity}/{destination['project']}/runs/{destination['id']}")
    except Exception as error:  # a release may raise another one
        if "could not find run" not in str(error).lower():
            raise
        return None
    step = max(run.lastHistoryStep, run.summary.get("_step", -1))
    ours = run.config.get("tracking_hooks") or {}
    about = {"host": ours.get("host"), "program": next(iter(shlex.split(ours.get("command", ""))), None)}
    known = {name: value for name, value in about.items() if value}
    exit_code = _exit_code(run.state, run.summary.get("status"))
    is_written = run.state not in _OVER
    return Found(int(step), is_written, exit_code, Addenda.of(run.config), ours.get("run_uid", ""), known)


def _exit_code(state: str, status: str | None) -> int | None:
    """Return how a run has ended: the service tells success from failure, our own summary the rest."""
    if state == "finished":
        return 0
    if state == "crashed":  # nobody has ended it; ours says its status when it is about to
        return EXIT_CODES.get(status or "")
    if state in {"failed", "killed"}:
        return EXIT_CODES.get(status or "") or 1
    return None


class Service:
    """The service, asked about one run."""

    def __init__(self, entity: str, project: str, run_id: str) -> None:
        self._entity = entity
        # Of a path, W&B leaves out one "runs": the name of a project, if there is no other.
        self._path = f"{entity}/{project}/runs/{run_id}"
        self._run: Any = None
        self._steps: set[int] = set()
        self._read_from: float = math.inf

    def received(self, files: Collection[str], *, anew: bool = False) -> Received:
        """Return what has arrived.

        :param files: the names of the files in question
        :param anew: load the run's summary as well, which may know of a later row
        """
        run = self._load(anew)
        step = max(run.lastHistoryStep, run.summary.get("_step", -1) if anew else -1)
        found = run.files(names=sorted(files), per_page=len(files)) if files else ()
        # A file that is not there may be named, without a checksum.
        return Received(int(step), {file.name: file.size for file in found if file.md5 not in {None, "", "0"}})

    def has_step(self, step: int, *, last: int) -> bool:
        """Return whether the history has a row. Where it cannot be read, rows are taken to be there.

        :param last: the last row that it is known to have
        """
        if step < self._read_from:
            try:
                rows = self._load(True).scan_history(keys=["_step"], min_step=step)
                self._steps = {int(row["_step"]) for row in rows}
            except Exception as error:  # noqa: BLE001 an outage, or a server that cannot do this
                logger.warning("the history of %s in W&B cannot be read: %r", self._path, error)
                return True
            self._read_from = step
        return step in self._steps or last not in self._steps

    def values(self, name: str, first: int) -> dict[Any, int]:
        """Return the values of a metric from a step on, with their steps."""
        run = self._load(True)
        rows = run.scan_history(keys=["_step", name], min_step=first) if first <= run.lastHistoryStep else ()
        return {row[name]: int(row["_step"]) for row in rows}

    def _load(self, anew: bool) -> Any:
        if self._run is None or anew:
            self._run = wandb.Api({"entity": self._entity}, timeout=_TIMEOUT).run(self._path)
        return self._run


class Inquiry:
    """Asks the service in a thread of its own, since its answer may take long."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asked = -EVERY
        self._thread: threading.Thread | None = None
        self._answer: Received | None = None

    def answer(self, files: Collection[str]) -> Received | None:
        """Return the latest answer, if there is a new one, and ask again if it is time."""
        if self._thread is not None and self._thread.is_alive():
            return None
        answer, self._answer = self._answer, None
        if time.monotonic() - self._asked >= EVERY:
            self._asked = time.monotonic()
            self._thread = threading.Thread(target=self._ask, args=(list(files),), name="inquiry", daemon=True)
            self._thread.start()
        return answer

    def _ask(self, files: list[str]) -> None:
        try:
            self._answer = self._service.received(files)
        except Exception as error:  # noqa: BLE001 an outage, of which the client itself tells
            logger.debug("what W&B has received is not known: %r", error)
