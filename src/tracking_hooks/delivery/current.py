"""The instance of a plugin that is in use: made when it is needed, opened before its first event, then let go."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tracking_hooks.delivery.context import Context
from tracking_hooks.delivery.ports import Instance
from tracking_hooks.events import Missing, Rejected, State, Unavailable
from tracking_hooks.run.journal import Call
from tracking_hooks.run.plain import check_state

logger = logging.getLogger("tracking_hooks.delivery.relay")

OUTAGE = (Unavailable, OSError)
"""What a plugin raises when its tracker cannot be reached."""


class Down(Exception):
    """The tracker cannot be reached, or refuses the run as a whole; the message says why."""

    def __init__(self, error: Exception) -> None:
        """Say why.

        :param error: what the plugin raised
        """
        super().__init__(said(error))
        self.only_this_run = bool(getattr(error, "only_this_run", False))
        self.is_final = self.only_this_run or (isinstance(error, Rejected) and error.retry_after is None)
        """Whether it will say the same in some seconds."""


def said(error: Exception) -> str:
    """Return what an exception says to a person."""
    if isinstance(error, (Rejected, *OUTAGE)):
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

    def report(self, missing: Sequence[Missing], now: float, state: State) -> None:
        """Have it say what its tracker lacks."""
        self.instance.report(missing, now, state)
        self.instance.flush(state)
        check_state(state)

    def discard(self) -> None:
        """Let go of it."""
        self._instance, self.is_open = None, False
