"""What the rules of the contract know of the plugin that is tested."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tracking_hooks import plugins
from tracking_hooks.events import Destination
from tracking_hooks.testing.recordings import Kind
from tracking_hooks.testing.tracker import Tracker


class Tested(Protocol):
    """What ``Contract`` makes of what an author says of it."""

    stride: ClassVar[int]

    def observe(self, destination: Destination) -> list[Any]:
        """Return what a reader sees."""

    def restart(self) -> None:
        """Be another process."""

    def half_down(self, destination: Destination) -> AbstractContextManager[Any]:
        """Have a part of the tracker be down within."""

    def _parts(self) -> list[str]: ...

    def _setting(self, name: str, default: Any) -> Any: ...

    def _tracker(self, folder: Path, kind: Kind, name: str = "tracker") -> Tracker: ...

    def _whole(self, folder: Path, kind: Kind, name: str = "whole") -> list[Any]: ...

    def _same_but_twice(self, seen: list[Any], whole: list[Any], when: str) -> None: ...


def passes_on(tested: Tested) -> bool:
    """Return whether the plugin passes on each event by itself: what comes of it all is the receiver's matter."""
    return any(plugins.load(part).hook.on_event.get_hookimpls() for part in tested._parts())
