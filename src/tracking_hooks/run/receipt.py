"""What a run folder says of its copies in packs: on the one side what was packed, on the other what was unpacked.

``packed.json``, at the source: the run counts as delivered as far as that goes, since the copy delivers it.
``unpacked.json``, in the copy: who records the run is elsewhere, so nobody ends it here.
"""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from tracking_hooks.counts import counted
from tracking_hooks.run.layout import RunFolder, read_json, write_json


class Packed(Struct, frozen=True, kw_only=True):
    """How far a run was packed up last."""

    at: float
    """When, in seconds since 1970."""
    size: int
    """Bytes of the journal."""
    events: int
    ended: bool
    """Whether its end is among them."""
    labels: list[str]
    """The deliveries that the copy has."""
    file: Path
    """Where the pack was written."""

    def in_words(self) -> str:
        """Say it for ``status``."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at))
        return f"packed on {when}, {counted(self.events, 'event')}"


class Unpacked(Struct, frozen=True, kw_only=True):
    """How far a copy was unpacked last."""

    at: float
    """When, in seconds since 1970."""
    size: int
    """Bytes of the journal."""


def read(folder: RunFolder) -> Packed | None:
    """Return how far a run was packed up, or None if it was not."""
    return read_json(_packed(folder), Packed)


def write(folder: RunFolder, packed: Packed) -> None:
    """Note that a run was packed up.

    :raises OSError: if that cannot be written
    """
    write_json(_packed(folder), packed)


def forget(folder: RunFolder) -> bool:
    """Have a run delivered from here after all; return whether it was packed up.

    :raises OSError: if that cannot be done
    """
    known = _packed(folder).exists()
    _packed(folder).unlink(missing_ok=True)
    return known


def mark_copy(folder: RunFolder, size: int) -> None:
    """Note that a run folder is a copy, up to a size of its journal.

    :raises OSError: if that cannot be written
    """
    write_json(_unpacked(folder), Unpacked(at=time.time(), size=size))


def is_from_a_pack(folder: RunFolder) -> bool:
    """Whether a run folder was made by ``unpack``."""
    return _unpacked(folder).exists()


def is_recorded_elsewhere(folder: RunFolder) -> bool:
    """Whether a run folder is a copy to which nothing was recorded since: the run goes on, or ended, elsewhere.

    :raises OSError: if its journal cannot be read
    """
    mark = read_json(_unpacked(folder), Unpacked)
    return mark is not None and folder.journal.stat().st_size <= mark.size


def _packed(folder: RunFolder) -> Path:
    return folder.path / "packed.json"


def _unpacked(folder: RunFolder) -> Path:
    return folder.path / "unpacked.json"
