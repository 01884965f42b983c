"""Where a relay delivers to: by the label, out of the run folder."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tracking_hooks import plugins
from tracking_hooks.events import Destination, Run
from tracking_hooks.run import destinations, journal, state
from tracking_hooks.run.journal import Head
from tracking_hooks.run.layout import Replay, RunFolder, write_json
from tracking_hooks.run.liveness import request_release
from tracking_hooks.settings import ConfigurationError


class Target(Struct, frozen=True, kw_only=True):
    """A plugin, and the run and the destination as it is told of them."""

    plugin: str
    """Its name, or that of a part of it."""
    run: Run
    destination: Destination
    place: str
    """What is down together: where the tracker is, if that is known."""

    @classmethod
    def of(cls, folder: RunFolder, label: str, head: Head) -> Target:
        """Read where a label leads.

        :param label: the plugin's name, or that of a replay (see ``RunFolder.replays``)
        """
        run, _ = destinations.as_moved(folder, head, {})
        to = destinations.of_label(folder, head, label)
        place = f"{plugins.first_part(to.plugin)} {to.place or repr(to.destination)}"
        return cls(plugin=to.plugin, run=run, destination=to.destination, place=place)


def further_labels(folder: RunFolder, label: str) -> list[str]:
    """Return the labels of the further parts of a plugin, by the label of its first part.

    :raises JournalError, OSError: if the journal cannot be read
    """
    replays = folder.replays()
    plugins_of = {other: replays[other].plugin if other in replays else other for other in state.labels(folder)}
    return [
        other for other, plugin in plugins_of.items() if other != label and plugins.first_label(other, plugin) == label
    ]


def redirect(folder: RunFolder, label: str, changes: Mapping[str, str]) -> None:
    """Have a recorded delivery go to another place, before the first event is delivered.

    :raises ConfigurationError: if that is too late
    :raises JournalError, OSError: if the run cannot be read or written
    """
    head, _ = journal.read_head(folder.journal)
    target = Target.of(folder, label, head)
    destination = {**target.destination, **changes}
    if destination == target.destination:
        return
    files = folder.relay(label)
    if files.path.name != label:
        raise ConfigurationError(f"{label} is a class: what it is told of its destination is what was recorded.")
    _refuse_if_begun(folder, label, target)
    request_release(files.lock, patience=5.0)  # a relay that waits for the other place
    _refuse_if_begun(folder, label, target)  # it may have come through at the last moment
    files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(files.destination, Replay(plugin=target.plugin, destination=destination))
    for about_the_other in (files.cursor, files.health, files.inflight):
        about_the_other.unlink(missing_ok=True)


def _refuse_if_begun(folder: RunFolder, label: str, target: Target) -> None:
    if folder.relay(label).read_cursor().seq:
        raise ConfigurationError(
            f"{folder.uid} is delivered to {label} already, in part at least. To deliver it to another place as well: "
            f"tracking-hooks sync --to {plugins.first_part(target.plugin)} --set … {folder.path}"
        )
