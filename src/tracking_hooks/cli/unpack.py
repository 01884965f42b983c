"""``tracking-hooks unpack``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tracking_hooks.cli.assignments import check_part, parse_assignments
from tracking_hooks.counts import counted
from tracking_hooks.delivery.target import Target, redirect
from tracking_hooks.plugins import first_part
from tracking_hooks.run import index, journal, state
from tracking_hooks.run.destinations import path_in
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.packfile import PackError, in_bytes
from tracking_hooks.run.unpack import Arrival, unpack
from tracking_hooks.settings import ConfigurationError

_SHOWN = 5
"""Destinations of a plugin that are shown; three hundred trainings have three hundred log folders."""


@click.command("unpack")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder to unpack into. By default, the current one.",
)
@click.option(
    "--set",
    "assignments",
    metavar="TRACKER.KEY=VALUE",
    multiple=True,
    help="Deliver to another place than was recorded, as in --set mlflow.tracking_uri=http://host:5000.",
)
def command(file: Path, into: Path, assignments: tuple[str, ...]) -> None:
    """Unpack runs that were packed on another machine.

    FILE was written by `tracking-hooks pack`. Everything in it is checked first: if anything is wrong, nothing is
    unpacked. Then `tracking-hooks sync` delivers the runs, from their first event on. A run that was unpacked into the
    same folder before, and has grown, is extended; what was delivered of it stays delivered.

    A journal says where its run is delivered to, and `sync` goes there with your credentials. So unpack only what you
    have packed yourself, or what you trust.
    """
    try:
        changes = parse_assignments(assignments)
        manifest, arrivals = unpack(file, into)
    except (PackError, ConfigurationError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be unpacked into {into}: {error}") from None
    for arrival in arrivals:
        click.echo(f"{arrival.folder.uid}  {_what_came(arrival)}")
        if source := index.is_elsewhere(arrival.folder):
            click.echo(
                f"{arrival.folder.uid}  `sync` finds it by its path only: the run itself is in {source}", err=True
            )
            continue
        try:
            index.enter(arrival.folder)
        except OSError as error:
            click.echo(f"{arrival.folder.uid}  `sync` finds it by its path only: {error}", err=True)
    try:
        for key, value in changes.items():
            _redirect([arrival.folder for arrival in arrivals], key, value)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        f"Unpacked {counted(len(arrivals), 'run')}, {counted(len(manifest.files), 'file')}, {in_bytes(manifest.size)}, "
        f"into {into.absolute()}."
    )
    for line in _destinations(arrivals, file, into):
        click.echo(line)
    click.echo("To deliver:")
    click.echo(f"  tracking-hooks sync {_quoted(into)}")


def _redirect(folders: Iterable[RunFolder], assigned: str, value: str) -> None:
    """Have the runs delivered to another place.

    :raises ConfigurationError: if there is no such tracker, or no such part of its destination
    """
    plugin, _, key = assigned.rpartition(".")
    found = False
    for folder in folders:
        head, _ = journal.read_head(folder.journal)
        for label, destination in head.plugins.items():
            if first_part(label) == plugin:
                check_part(plugin, destination, key)
                redirect(folder, label, {key: value})
                found = True
    if not found:
        raise ConfigurationError(f"--set {assigned}=…: no run in it goes to {plugin or 'a tracker of no name'}.")


def _what_came(arrival: Arrival) -> str:
    events, files = counted(arrival.events, "event"), counted(arrival.files, "file")
    if arrival.is_new:
        return f"{events}, {files}"
    if not arrival.events:
        return "was there already, as far as it is packed"
    return f"was there already, and is extended by {events}, {files}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _destinations(arrivals: Iterable[Arrival], file: Path, into: Path) -> Iterator[str]:
    """Say where the runs go to, and which destinations are paths of the machine that they come from."""
    places: dict[str, dict[str, None]] = {}
    left_behind: dict[str, str] = {}
    for arrival in arrivals:
        head, _ = journal.read_head(arrival.folder.journal)
        root = arrival.folder.path.parent.parent
        for label in state.labels(arrival.folder):
            target = Target.of(arrival.folder, label, head)
            if target.plugin != first_part(target.plugin):
                continue  # it goes where the first part goes
            is_from_here = label in head.plugins and label in arrival.folder.replays()
            for key, value in target.destination.items() if not is_from_here else ():
                path = path_in(value)
                if path and not path.is_relative_to(root) and value != head.run.project:
                    left_behind[label] = f"{key}={value}"
            places.setdefault(label, {})[_place(target)] = None
    if places:
        yield "They go to:"
    width = max(map(len, places), default=0)
    for label, found in places.items():
        for place in list(found)[:_SHOWN]:
            yield f"  {label:{width}}  {place}"
        if len(found) > _SHOWN:
            yield f"  {label:{width}}  and {len(found) - _SHOWN} more"
    for label, part in left_behind.items():
        plugin, key = label.partition("@")[0], part.partition("=")[0]
        yield f"{part} is a path of the machine that recorded {label}, outside of the runs' folder:"
        yield "what is there did not come along. To deliver to another place instead:"
        yield f"  tracking-hooks unpack {_quoted(file)} --into {_quoted(into)} --set {plugin}.{key}=…"
        yield "or to another place as well:"
        yield f"  tracking-hooks sync --to {plugin} --set {key}=… {_quoted(into)}"


def _place(target: Target) -> str:
    """Return what of a destination says where it is."""
    texts = [value for value in target.destination.values() if isinstance(value, str)]
    addresses = [value for value in texts if "://" in value or path_in(value)]
    return addresses[0] if addresses else ", ".join(f"{key}={value}" for key, value in target.destination.items())
