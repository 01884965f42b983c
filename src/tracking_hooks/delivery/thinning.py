"""Which points of a long run are given: the longer it gets, the fewer of them.

Trackers draw a million points slowly or not at all. The rule looks at the journal and at nothing else, so each relay,
each resume and each replay gives the same points.
"""

from __future__ import annotations

THINNED = frozenset({"on_batch_end", "on_system_metrics"})
"""The hooks that it is about. Epochs, and what the user logs, are always given."""

_WHOLE = 10_000
"""So many events are given at least before fewer are; then every second one, every fourth from twice as many on, …"""


def keeps(hook: str, nth: int) -> bool:
    """Whether an event is given.

    :param nth: its number among those of its hook in the journal, from 1
    """
    return hook not in THINNED or nth % (1 << (nth // _WHOLE).bit_length()) == 0
