"""Has runs delivered to another address than was recorded, while nothing of them has arrived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

from tracking_hooks.cli.assignments import check_part
from tracking_hooks.delivery.target import redirect
from tracking_hooks.events import Destination
from tracking_hooks.plugins import first_part
from tracking_hooks.run import index, journal, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import ConfigurationError


def readdress(folders: Iterable[RunFolder], changes: Mapping[str, str]) -> tuple[list[RunFolder], int]:
    """Change the destination of what is pending.

    :param changes: ``key`` or ``tracker.key`` of a destination, to the new value
    :returns: the runs that go there, and how many have to stay where they are
    :raises ConfigurationError: if no run goes to such a tracker, or a destination has no such part
    """
    known: dict[str, Destination] = {}
    found, refused = [], 0
    for folder in folders:
        if index.delivered(folder):
            continue
        try:
            head, _ = journal.read_head(folder.journal)
            known |= head.plugins
            if _readdress(folder, _by_label(head.plugins, changes)):
                found.append(folder)
        except (ConfigurationError, journal.JournalError, OSError) as error:
            refused += 1
            click.echo(f"{folder.uid}  skipped: {error}", err=True)
    for assigned in changes:
        _check(known, assigned)
    return found, refused


def _readdress(folder: RunFolder, changes: Mapping[str, Mapping[str, str]]) -> bool:
    owed = {label: state.owed(folder, label) for label in changes if not state.is_forgotten(folder, label)}
    waiting = [label for label, what in owed.items() if what.pending]
    if waiting and state.is_running(folder):
        raise ConfigurationError("it is running. Its address can be changed when it has ended.")
    # The part that has begun is refused first, so that no plugin is at two addresses.
    for label in sorted(waiting, key=lambda label: not owed[label].delivered):
        redirect(folder, label, changes[label])
    return bool(waiting)


def _by_label(plugins: Mapping[str, Destination], changes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for assigned, value in changes.items():
        tracker, _, key = assigned.rpartition(".")
        having = [label for label, destination in plugins.items() if key in destination]
        if not tracker and len({first_part(label) for label in having}) > 1:
            raise ConfigurationError(
                f"--set {key}=…: several of its trackers have such a part. Name one of them: "
                f"--set {first_part(having[0])}.{key}=…"
            )
        for label in having:
            if first_part(label) == (tracker or first_part(label)):
                found.setdefault(label, {})[key] = value
    return found


def _check(known: Mapping[str, Destination], assigned: str) -> None:
    """Check that some run has such a part."""
    tracker, _, key = assigned.rpartition(".")
    if tracker and tracker not in known:
        raise ConfigurationError(f"--set {assigned}=…: nothing is pending for a tracker {tracker!r}.")
    if tracker:
        check_part(tracker, known[tracker], key)
    elif known and not any(key in destination for destination in known.values()):
        parts = "; ".join(f"{label}: {', '.join(parts)}" for label, parts in known.items() if parts)
        raise ConfigurationError(f"--set {key}=…: no destination has such a part. They have: {parts}.")
