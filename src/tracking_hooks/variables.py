"""What users get wrong in variables: names that are not ours, values that come from elsewhere with something added."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from tracking_hooks.settings import SELECTION, ConfigurationError, settable

OWN = frozenset({"CHECKED_PLUGIN", "LAUNCHED", "LAUNCHER_INDEX", "PARENT", "TRIAL"})
"""What a process of ours hands on to those that it starts; nothing that a user sets."""

_OURS = re.compile(r"TRACKING_?HOOKS?(?:_(.*))?", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s;,|\"'`\[\]{}]+")
_YES = frozenset({"1", "true", "yes", "on", "y", "enable", "enabled"})
_NO = frozenset({"false", "no", "n", "disable", "disabled", "null"})


def unknown(
    environ: Iterable[str], plugins: Iterable[str], declared: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str]]:
    """Yield the variables that are called like ours and that nothing reads, each with the one that was meant, or "".

    :param plugins: the names of plugins, of which each may have settings ``TRACKING_HOOKS_<PLUGIN>_…``
    :param declared: plugin to the variables that it reads, for those that say so
    """
    known = {"", *(name.upper() for name in settable()), *OWN}
    theirs = {prefix(name): set(declared[name]) if name in declared else None for name in plugins}
    offered = sorted(known - OWN - {""}) + sorted(name for names in theirs.values() for name in map(_tail, names or ()))
    for name in environ:
        found = _OURS.fullmatch(name)
        if found is None:
            continue
        tail = found[1] or ""
        if name == _whole(tail) and (tail in known or _is_of_plugin(name, theirs)):
            continue
        wanted = tail.upper()
        meant = [wanted] if wanted in {"", *offered} else difflib.get_close_matches(wanted, offered, 1)
        yield name, _whole(meant[0]) if meant else ""


def in_words(found: Iterable[tuple[str, str]]) -> str:
    """Say it in one sentence for each; empty if there is none."""
    return " ".join(f"{name} is not a setting.{f' Did you mean {meant}?' if meant else ''}" for name, meant in found)


def prefix(plugin: str) -> str:
    """Return how the variables of a plugin begin: ``TRACKING_HOOKS_MLFLOW_``; of a class, by the name of the class."""
    return f"{SELECTION}_{re.sub(r'[^A-Z0-9]', '_', plugin.rpartition(':')[2].upper())}_"


def _is_of_plugin(name: str, theirs: Mapping[str, Collection[str] | None]) -> bool:
    found = (names for beginning, names in theirs.items() if name.startswith(beginning))
    return any(names is None or name in names for names in found)


def _tail(name: str) -> str:
    return name.removeprefix(f"{SELECTION}_")


def _whole(tail: str) -> str:
    return f"{SELECTION}_{tail}" if tail else SELECTION


def carriage_returns(environ: Mapping[str, str]) -> str:
    """Say which variables end with a carriage return, as from a ``.env`` file of Windows; empty if none does."""
    names = sorted(name for name, value in environ.items() if value.endswith("\r"))
    if not names:
        return ""
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    verb = "ends" if len(names) == 1 else "end"
    return (
        f"{', '.join(names[:3])}{others} {verb} with a carriage return, as from a .env file that was saved on Windows. "
        r"Convert it: sed -i 's/\r$//' .env"
    )


def check_selection(selection: str, available: Collection[str]) -> None:
    """Refuse a value of ``TRACKING_HOOKS`` that is no list of names at all.

    :param available: the plugins that can be named
    :raises ConfigurationError: saying how it has to be written
    """
    word = selection.strip().strip("\"'").lower()
    if word in _YES:
        named = ",".join(available) or "mlflow"
        raise ConfigurationError(f"{SELECTION}={selection!r} names no tracker. As in: {SELECTION}={named}")
    if word in _NO:
        raise ConfigurationError(f"{SELECTION}={selection!r} names no tracker. To track nothing: {SELECTION}=off")
    if any(_BETWEEN.search(item.strip()) for item in selection.split(",")):
        right = ",".join(name for name in _BETWEEN.split(selection) if name) or "off"
        raise ConfigurationError(
            f"{SELECTION}={selection!r}: names are separated by commas and nothing else: {SELECTION}={right}"
        )
