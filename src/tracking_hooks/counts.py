"""Numbers of things in messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``1 event`` or ``2 events``."""
    return f"{number} {noun}{'s' * (number != 1)}"
