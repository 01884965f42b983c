"""What ``tracking-hooks doctor`` finds out: a finding, whoever has found it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["ok", "note", "warning", "problem"]
"""``problem``: a training would not be tracked. ``warning``: something has no effect, or another one than was meant."""


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    topic: Literal["environment", "settings", "trackers", "runs"]
    level: Level
    text: str
    advice: str = ""
    """What to do."""
