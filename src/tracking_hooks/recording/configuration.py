"""What the user has asked for: settings, trackers and rules, read and checked before a training makes anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pluggy
from msgspec import Struct

from tracking_hooks import plugins, projectfile, variables
from tracking_hooks.control import rules
from tracking_hooks.run import portable
from tracking_hooks.settings import Settings, read_settings


class Configuration(Struct, frozen=True):
    """What is asked for, in a form that works."""

    settings: Settings
    sides: dict[str, pluggy.PluginManager | None]
    """Plugin to its trainer side, where it has one."""
    rules: list[tuple[str, Any]]
    """As ``Control`` takes it."""
    doubts: list[str]
    """What is set and probably meant otherwise; it stops nothing."""


def read_all_settings() -> Settings:
    """Read the variables, and the project's own file.

    :raises ConfigurationError: if a value is at fault
    """
    return read_settings(project=projectfile.read(portable.working_folder()))


def read() -> Configuration | None:
    """Read the configuration; None if it asks for no tracker and no rule.

    :raises ConfigurationError: if it is at fault
    """
    settings = read_all_settings()
    points = plugins.installed()
    names = plugins.select(settings.selection, points)
    if not names and (settings.selection or not settings.rules()):  # "off" is off for rules, too
        return None
    sides = plugins.load_trainer_sides(names)
    return Configuration(settings, sides, rules.build(settings.rules()), doubts(os.environ, points, sides))


def doubts(
    environ: Mapping[str, str], installed: Iterable[str], sides: Mapping[str, pluggy.PluginManager | None]
) -> list[str]:
    """Return what is set in the environment and probably meant otherwise.

    :param installed: the names of plugins: those that are not selected may have settings, too
    :param sides: the trainer sides of those that are
    """
    names = [*plugins.selectable(installed), *plugins.KNOWN, *sides]
    found = [
        variables.in_words(variables.unknown(environ, names, plugins.declared_settings(sides))),
        variables.carriage_returns(environ),
    ]
    return [sentence for sentence in found if sentence]
