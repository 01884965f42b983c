"""What an installed distribution needs and does not find, for the message where it cannot be imported."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, version


def unmet(distribution: Distribution) -> list[tuple[str, str | None]]:
    """Return each requirement that is not met, such as ``mlflow>=3``, and the version that is there instead.

    Nothing is returned where nobody can tell, without the package ``packaging``.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        return []
    found: list[tuple[str, str | None]] = []
    for text in distribution.requires or ():
        with suppress(InvalidRequirement):
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            there = _version(needed.name)
            if there is None or not needed.specifier.contains(there, prereleases=True):
                found.append((f"{needed.name}{needed.specifier}", there))
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
