"""What a cursor remembers of the events that it is past: who goes on there does not read them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from tracking_hooks.events import Status

TOLD_BY = frozenset({"on_run_start", "on_epoch_end", "on_run_end"})
"""The hooks that leave one."""


class Landmarks(Struct, frozen=True, kw_only=True):
    """The last start of the run, and how far it has come."""

    start: int = 0
    """Where the line of the last start begins, in bytes; 0: unknown, as are the others."""
    epoch: int = 0
    """The last one that was settled."""
    status: Status | None = None

    def behind(self, hook: str, args: Mapping[str, Any], start: int, *, is_first: bool) -> Landmarks:
        """Return what is known behind an event.

        :param start: where its line begins
        :param is_first: whether it is the first one of the run
        """
        if not (self.start or is_first):
            return self  # an older release wrote the cursor
        if hook == "on_run_start":
            return structs.replace(self, start=start, status=None)
        if hook == "on_epoch_end":
            return structs.replace(self, epoch=max(self.epoch, args.get("epoch") or 0))
        return structs.replace(self, status=args.get("status") or "killed")
