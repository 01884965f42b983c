"""The commands by which a user gets a run delivered that a tracker lacks, or gives that up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tracking_hooks.events import Destination
from tracking_hooks.plugins import first_part
from tracking_hooks.run import index
from tracking_hooks.run.destinations import path_in
from tracking_hooks.run.layout import RunFolder


def name(folder: RunFolder) -> str:
    """Return how this user can name a run here: by its uid, which is short, or else by its folder."""
    known = index.find(folder.uid)
    return folder.uid if known and known.path == folder.path else shlex.quote(str(folder.path))


def deliver(run: str) -> str:
    """Return the command that delivers what is pending."""
    return f"tracking-hooks sync {run}"


def reasons(run: str) -> str:
    """Return the command that shows what is set aside, and why."""
    return f"tracking-hooks status --set-aside {run}"


def forget(run: str, label: str) -> str:
    """Return the command after which nothing is owed to a tracker any more."""
    return f"tracking-hooks sync --forget {label if '@' in label else first_part(label)} {run}"


def readdress(run: str, label: str, destinations: Mapping[str, Destination], *, has_begun: bool) -> str | None:
    """Return the command that delivers a run to another address; None if its destination has none.

    :param destinations: where the run was recorded for, by label
    :param has_begun: whether some of it is delivered, and the other address gets the whole run once more
    """
    key = _address(destinations.get(label, {}))
    if key is None or label != first_part(label):
        return None
    if has_begun:
        return f"tracking-hooks sync --to {label} --set {key}=… {run}"
    having = {first_part(other) for other, destination in destinations.items() if key in destination}
    return f"tracking-hooks sync --set {key if having == {label} else f'{label}.{key}'}=… {run}"


def otherwise(run: str, label: str, destinations: Mapping[str, Destination], *, has_begun: bool) -> list[str]:
    """Say what else than waiting can be done where a tracker does not answer."""
    command = readdress(run, label, destinations, has_begun=has_begun)
    said = [f"if the address is wrong: {command}"] if command else []
    return [*said, f"to give it up: {forget(run, label)}"]


def _address(destination: Destination) -> str | None:
    """Return the part of a destination that says where the tracker is."""
    for key, value in destination.items():
        if isinstance(value, str) and ("://" in value or path_in(value) or key.endswith(("_uri", "_url"))):
            return key
    return None
