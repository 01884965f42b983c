"""Settings in a file: the table ``[tool.tracking-hooks]`` of the nearest ``pyproject.toml``."""

from __future__ import annotations

import sys
from pathlib import Path

from tracking_hooks.plugins import did_you_mean
from tracking_hooks.settings import ConfigurationError, settable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "pyproject.toml"


def read(folder: Path) -> dict[str, str]:
    """Read the table that applies to a folder: from the first ``pyproject.toml`` in it or above it.

    :returns: setting to text, as in a variable; the items of a list are joined by semicolons
    :raises ConfigurationError: naming the file and the settings that exist
    """
    path = next((path for parent in (folder, *folder.parents) if (path := parent / NAME).is_file()), None)
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("tracking-hooks", {})
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    names = settable()
    for name in table:
        if name not in names:
            raise ConfigurationError(
                f"{path}, [tool.tracking-hooks]: unknown setting {name!r}.{did_you_mean(name, names)} "
                f"Settings: {', '.join(names)}."
            )
    return {name: _text(value) for name, value in table.items()}


def _text(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
