"""The instance of a plugin that is in use: made when it is needed, opened before its first event, then let go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.ports import Instance
from tracking_hooks.events import Missing, Rejected, State, Unavailable
from tracking_hooks.oserrors import is_about_one_file
from tracking_hooks.run.journal import Call
from tracking_hooks.run.plain import check_state

logger = logging.getLogger("tracking_hooks.delivery.relay")

OUTAGE = (Unavailable, OSError)
"""What a plugin raises when its tracker cannot be reached."""


def is_outage(error: Exception) -> bool:
    """Return whether what an event or a ``flush`` has raised means that the tracker cannot be reached."""
    return isinstance(error, OUTAGE) and not is_about_one_file(error)


class Down(Exception):
    """The tracker cannot be reached, or refuses the run as a whole; the message says why."""

    def __init__(self, error: Exception) -> None:
        """Say why.

        :param error: what the plugin raised
        """
        super().__init__(said(error))
        self.only_this_run = bool(getattr(error, "only_this_run", False))
        self.is_final = (
            self.only_this_run
            or isinstance(error, ImportError)
            or (isinstance(error, Rejected) and error.retry_after is None)
        )
        """Whether it will say the same in some seconds."""
        self.is_of_code = not isinstance(error, (Rejected, *OUTAGE))
        """Whether the plugin has failed, or lacks a module: nobody has asked the tracker."""


def said(error: Exception) -> str:
    """Return what an exception says to a person."""
    if isinstance(error, (Rejected, ImportError, *OUTAGE)):
        return str(error) or f"the plugin gave no reason ({type(error).__name__})"
    return f"{type(error).__name__}: {error}"


class Current:
    """At most one instance at a time."""

    def __init__(self, make: Callable[[], Instance]) -> None:
        """Make none yet.

        :param make: returns a fresh instance of the plugin
        """
        self._make = make
        self._instance: Instance | None = None
        self.is_open = False

    @property
    def is_usable(self) -> bool:
        """Whether it can be called: it is open, or does not need to be."""
        return self.is_open or not self.instance.needs_open

    @property
    def instance(self) -> Instance:
        """The instance, made if there is none."""
        if self._instance is None:
            self._instance = self._make()
        return self._instance

    def open(self, context: Context, coming: Call | None, state: State) -> None:
        """Open it.

        :param context: the run so far
        :param coming: the event that comes next, unless that is given late
        :raises Down: whatever ``open`` raises
        """
        if coming:
            context.coming(coming)
        try:
            self.instance.open(context, state)
            check_state(state)
        except Exception as error:
            if not isinstance(error, (Rejected, *OUTAGE)):
                logger.exception("open failed")
            raise Down(error) from error
        self.is_open = True

    def flush(self, state: State, refused: Callable[[Rejected], bool] | None = None) -> int | None:
        """Have it confirm what it was given; return its answer.

        :param refused: sets aside an event that it rejects by its number, and returns whether that is one of those
        """
        while True:
            try:
                answer = self.instance.flush(state)
            except Rejected as fault:
                if not (refused and refused(fault)):
                    raise
            else:
                check_state(state)
                return answer

    def report(self, missing: Sequence[Missing], now: float, state: State) -> None:
        """Have it say what its tracker lacks."""
        self.instance.report(missing, now, state)
        self.flush(state)

    def discard(self) -> None:
        """Let go of it."""
        self._instance, self.is_open = None, False
