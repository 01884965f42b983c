"""Which plugins could be used the last time that they were loaded: a folder with one file for each.

::

    <cache folder>/verdicts/<digest of the plugin's label, the interpreter and sys.path>.json

The file names what was imported and which variables were read as the plugin was loaded. What it says holds as long as
none of that has changed, and no distribution has come or gone. A plugin that cannot be used is not remembered.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from tracking_hooks.run import portable
from tracking_hooks.run.layout import read_json, write_json

_FORMAT = 1
_MOST = 32
"""How many are kept: those of so many plugins and environments."""

_OF_THE_LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH")
"""Variables that decide what is imported, although no module reads them."""

_Identity = tuple[int, int, int]


class _Loaded(Struct, frozen=True, kw_only=True):
    """What a plugin was loaded from."""

    files: dict[str, dict[str, _Identity]]
    """Folder to name to what tells a file from one that is put or written in its place."""
    distributions: dict[str, list[str]]
    """Folder to what is installed there, with its version."""
    variables: list[str]
    values: str
    """A digest of what they were."""


def place(label: str, path: Sequence[str]) -> Path:
    """Return the file in which the verdict on a plugin is remembered.

    :param label: the plugin's name, or that of a replay
    :param path: where its relay imports from
    """
    key = repr((_FORMAT, label, sys.executable, sys.version, list(path)))
    return portable.cache_folder() / "verdicts" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def holds(place: Path) -> bool:
    """Whether it is remembered that a plugin can be used, and all that it was loaded from is as it was."""
    loaded = read_json(place, _Loaded)
    try:
        return loaded is not None and _is_as_it_was(loaded)
    except ValueError:  # no path and no variable has such a name: the file is damaged
        return False


def _is_as_it_was(loaded: _Loaded) -> bool:
    return (
        _digest(loaded.variables, os.environ) == loaded.values
        and all(_distributions(folder) == names for folder, names in loaded.distributions.items())
        and all(
            _identity(os.path.join(folder, name)) == known  # noqa: PTH118 a Path for each of 2,000 takes longer
            for folder, names in loaded.files.items()
            for name, known in names.items()
        )
    )


def note(place: Path, asked: float, environ: Mapping[str, str], read: Collection[str] | None) -> None:
    """Remember that the plugin can be used which was loaded in this process, or forget that. Never raises.

    :param asked: when this process was started: of a file that is younger, nobody knows which content was loaded
    :param environ: the environment before the plugin was loaded, which may have changed it
    :param read: the variables that were read meanwhile; None: the plugin cannot be used
    """
    loaded = _loaded(asked, environ, read) if read is not None else None
    if loaded is None:
        forget(place)
        return
    with suppress(OSError):  # it is asked anew then
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(place, loaded)
        _drop_oldest(place.parent)


def forget(place: Path) -> None:
    """Forget what was said of a plugin. Never raises."""
    with suppress(OSError):
        place.unlink(missing_ok=True)


def _loaded(asked: float, environ: Mapping[str, str], read: Collection[str]) -> _Loaded | None:
    files: dict[str, dict[str, _Identity]] = {}
    for path in _imported():
        identity = _identity(path)
        if identity is None or max(identity[:2]) > asked * 1e9:
            return None
        folder, name = os.path.split(path)
        files.setdefault(folder, {})[name] = identity
    distributions = {folder: names for folder in sys.path if (names := _distributions(folder))}
    own = {name for name in read if name.startswith("_")}  # by these, libraries hand something on to themselves
    variables = sorted({*read, *_OF_THE_LOADER} - own)
    return _Loaded(
        files=files, distributions=distributions, variables=variables, values=_digest(variables, environ)
    )  # fmt: skip


def _imported() -> Iterator[str]:
    """Yield the files of all modules of this process, except those in archives."""
    for module in list(sys.modules.values()):
        path = None
        with suppress(AttributeError):  # past what a module does that is loaded once it is looked at
            path = object.__getattribute__(module, "__dict__").get("__file__")
        if isinstance(path, str) and Path(path).is_absolute() and Path(path).parent.is_dir():
            yield path


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _distributions(folder: str) -> list[str]:
    """Return the names and versions of what is installed in a folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208
    except OSError:
        return []


def _digest(variables: Collection[str], environ: Mapping[str, str]) -> str:
    """Tell values from others. It is so short that nobody can find out a password by it: many would do."""
    values = repr([(name, environ.get(name)) for name in variables])
    return hashlib.sha256(values.encode()).hexdigest()[:8]


def _drop_oldest(folder: Path) -> None:
    newest_first = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in newest_first[_MOST:]:
        file.unlink(missing_ok=True)
