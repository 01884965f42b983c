"""The names of classes, by which trackers tell them apart."""

from __future__ import annotations

from typing import Any


def named(given: Any) -> dict[int, str]:
    """Return the name of each class by its number.

    A data set may call two classes the same, and what was found of one would take the place of what was found of the
    other: so the second one has its number behind its name.

    :param given: names by number, a list of them, or a single one
    """
    if isinstance(given, str):
        given = [given]
    pairs = given.items() if isinstance(given, dict) else enumerate(given or ())
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index, name in pairs:
        own = str(name)
        while own in taken:
            own += f" #{index}"
        taken.add(own)
        names[int(index)] = own
    return names
