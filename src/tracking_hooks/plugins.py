"""Finds, selects and checks plugins. Every mistake becomes a message that says what to do."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any

import pluggy

from tracking_hooks import entrypoints, requirements
from tracking_hooks.events import Capture, Destination, Run
from tracking_hooks.hookspecs import LifecycleSpecs
from tracking_hooks.markers import PROJECT, RULES_GROUP, TRAINER_GROUP
from tracking_hooks.settings import SELECTION, ConfigurationError, is_off
from tracking_hooks.trainerspecs import TrainerSpecs
from tracking_hooks.variables import check_selection

COMMON = ("mlflow", "tensorboard", "wandb")  # suggested to somebody who has named nothing
KNOWN = (*COMMON, "clearml", "notify", "otel", "trackio")  # of this project: who lacks one is told how to install it

_IN_THE_TRAINING_PROCESS = {
    name: "runs in the training process: name its class in TRACKING_HOOKS_CONTROL, as in my_rules.Mine()"
    for name in vars(TrainerSpecs)
    if name.startswith("control_")
}

_NOTHING = "To install one: " + " or ".join(f"pip install tracking-hooks-{name}" for name in COMMON)


def installed(group: str = PROJECT) -> dict[str, EntryPoint]:
    """Return the entry points of a group by plugin name, without importing any."""
    found: dict[str, EntryPoint] = {}
    for point in entrypoints.of(group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigurationError(
                f"two installed packages provide a plugin {point.name!r}: {_distribution(other)} and "
                f"{_distribution(point)}. Uninstall one of them."
            )
    return found


def selectable(points: Iterable[str]) -> list[str]:
    """Return the plugins that can be named: further parts of one, such as ``mlflow.files``, go with it."""
    return [name for name in points if "." not in name]


def parts(name: str, points: Iterable[str]) -> list[str]:
    """Return the parts of a plugin, each of which has a relay: itself first.

    :param points: the names of the installed plugins
    """
    return [name, *sorted(point for point in points if point.startswith(f"{name}."))]


def first_part(name: str) -> str:
    """Return the plugin of a part: ``mlflow`` of ``mlflow.files``."""
    return name if ":" in name else name.partition(".")[0]


def first_label(label: str, plugin: str) -> str:
    """Return the label of a plugin's first part: ``mlflow`` of ``mlflow.files``, ``mlflow@1a2b3c4d`` in a replay.

    :param label: of the plugin or of a part of it
    :param plugin: the plugin, or part, that the label stands for
    """
    first = first_part(plugin)
    return label if first == plugin else first + label.removeprefix(plugin)


def select(text: str, available: Iterable[str]) -> list[str]:
    """Apply the grammar of ``TRACKING_HOOKS``.

    :param text: names separated by commas; ``all``; ``all,-name``; ``package.module:Class``; ``none``, ``off``,
        ``0`` or nothing at all for no tracker
    :param available: the names of the installed plugins
    :returns: the plugins to use, in the order named
    :raises ConfigurationError: naming what is installed, what was probably meant, and what to install
    """
    if is_off(text):
        return []
    points = sorted(available)
    available = selectable(points)
    check_selection(text, available)
    items = [item.strip() for item in text.split(",") if item.strip()]
    words = {item.lower() for item in items}
    if words & {"none", "off", "0"}:
        raise ConfigurationError(f"{SELECTION}={text!r}: 'none', 'off' and '0' must stand alone.")
    if any(item.startswith("-") for item in items) and "all" not in words:
        raise ConfigurationError(f"{SELECTION}={text!r}: '-name' removes a plugin from 'all', as in 'all,-wandb'.")
    chosen: list[str] = []
    dropped = set()
    for item in items:
        if item.lower() == "all":
            if not available:
                raise ConfigurationError(f"{SELECTION}={text!r}, but no tracker is installed.\n  {_NOTHING}")
            chosen += available
        elif ":" in item:
            module, _, name = item.partition(":")
            if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
                raise ConfigurationError(f"{SELECTION}: {item!r} is not of the form 'package.module:Class'.")
            chosen.append(item)
        else:
            name = item.removeprefix("-")
            if name not in available:
                raise ConfigurationError(_unknown(name, points))
            if item.startswith("-"):
                dropped.add(name)
            else:
                chosen.append(name)
    return [name for name in dict.fromkeys(chosen) if name not in dropped]


def load(name: str) -> pluggy.PluginManager:
    """Import a plugin, create an instance, and check it against the lifecycle hooks.

    :param name: the name of an installed plugin, or ``package.module:Class``
    :returns: a manager with this plugin alone
    :raises ConfigurationError: naming the plugin, and the hook where one is at fault
    """
    if ":" in name:
        plugin = _import_class(name)
    else:
        points = installed()
        if name not in points:
            raise ConfigurationError(_unknown(name, sorted(points)))
        plugin = _instance(name, load_entry_point(points[name]))
    return check(name, plugin, LifecycleSpecs)


def load_trainer_sides(names: Iterable[str]) -> dict[str, pluggy.PluginManager | None]:
    """Load the trainer side of each plugin: a manager with that side alone, or None if it has none.

    :raises ConfigurationError: naming the plugin, and the hook where one is at fault
    """
    sides = installed(TRAINER_GROUP)
    return {
        name: check(name, _instance(name, load_entry_point(sides[name])), TrainerSpecs) if name in sides else None
        for name in names
    }


def declared_settings(sides: Mapping[str, pluggy.PluginManager | None]) -> dict[str, list[str]]:
    """Return the variables that plugins read, of those that say so: a dict ``settings`` in the trainer side."""
    theirs = {name: next(iter(side.get_plugins())) for name, side in sides.items() if side}
    said = {name: getattr(side, "settings", None) for name, side in theirs.items()}
    return {name: list(settings) for name, settings in said.items() if isinstance(settings, Mapping)}


def capture(
    sides: Mapping[str, pluggy.PluginManager | None],
    run: Run,
    parents: Mapping[str, Destination] = MappingProxyType({}),
) -> dict[str, Capture]:
    """Ask the trainer side of each plugin, where it has one, for its destination.

    :param parents: for a trial, the destinations of its tuning
    :raises ConfigurationError: naming the plugin that could not answer
    """
    captures: dict[str, Capture] = {}
    for name, side in sides.items():
        captures[name] = Capture()
        if side is not None:
            try:
                captures[name] = side.hook.capture(run=run, parent=parents.get(name)) or Capture()
            except (ConfigurationError, ValueError) as error:  # it says what is wrong with the configuration
                raise ConfigurationError(f"plugin {name!r}: {error}") from error
            except Exception as error:
                raise ConfigurationError(f"plugin {name!r} failed in capture: {_describe(error)}") from error
    return captures


def of_parts(captures: Mapping[str, Capture]) -> dict[str, Capture]:
    """Return the captures of plugins and of their further parts, which deliver to where their plugin does."""
    points = installed()
    return {
        part: capture if part == name else Capture(destination=capture.destination, place=capture.place)
        for name, capture in captures.items()
        for part in parts(name, points)
    }


def hooks_of(plugin: object) -> dict[str, str]:
    """Return the attributes of a plugin or its class that are marked as hooks: attribute to hook name."""
    manager = pluggy.PluginManager(PROJECT)
    found = {name: manager.parse_hookimpl_opts(plugin, name) for name in dir(plugin)}
    return {name: options["specname"] or name for name, options in found.items() if options}


def load_entry_point(point: EntryPoint, *, is_named: bool | None = None) -> Any:
    """Import what an entry point names.

    :param is_named: whether the user has asked for it; by default, the environment tells
    :raises ConfigurationError: naming the plugin and its distribution
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"plugin {point.name!r} ({_distribution(point)}) cannot be imported: {_describe(error)}. "
            f"{_repair(point, is_named=is_named)}"
        ) from error


def _repair(point: EntryPoint, *, is_named: bool | None) -> str:
    """Say what helps against a plugin that cannot be imported."""
    lacking = requirements.unmet(point.dist) if point.dist else []
    needs = [f"{needed}, and {there or 'none'} is installed" for needed, there in lacking]
    install = f"pip install {' '.join(shlex.quote(needed) for needed, _ in lacking)}"
    way = f"It needs {'; '.join(needs)}: {install}" if lacking else "Repair it"
    setting = f"{SELECTION}_CONTROL" if point.group == RULES_GROUP else SELECTION
    name, items = first_part(point.name), re.findall(r"[\w.-]+", os.environ.get(setting, "").lower())
    if name.lower() in items if is_named is None else is_named:
        return f"{way}, or remove {name!r} from {setting}."
    if is_named is None and "all" in items and f"-{name.lower()}" not in items:
        return f"{way}, or leave it out: {setting}=all,-{name}"
    return way if lacking else f"{way}."


def _import_class(name: str) -> object:
    module, _, attribute = name.partition(":")
    try:
        plugin = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{SELECTION}: {name!r} cannot be imported: {_describe(error)}. "
            f"Its folder must be on PYTHONPATH, as in: PYTHONPATH=. {SELECTION}={name} yolo …"
        ) from error
    return _instance(name, plugin)


def _instance(name: str, plugin: object) -> object:
    if not inspect.isclass(plugin):
        return plugin
    try:
        return plugin()
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"plugin {name!r}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"plugin {name!r} could not be created: {_describe(error)}") from error


def check(name: str, plugin: object, specs: type) -> pluggy.PluginManager:
    """Check an instance against a specification.

    :returns: a manager with this plugin alone
    :raises ConfigurationError: naming the plugin, and the hook that is at fault
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specs)
    hooks = _parameters(specs)

    def is_optional(attribute: str) -> bool:
        options = manager.parse_hookimpl_opts(plugin, attribute)
        return options is not None and options["optionalhook"]

    elsewhere = _IN_THE_TRAINING_PROCESS if specs is LifecycleSpecs else {}
    found = hooks_of(plugin)
    if not found:
        raise ConfigurationError(f"plugin {name!r} has no hook: its methods must be marked with @hookimpl.")
    for attribute, hook in found.items():
        if word := _never_run(plugin, attribute):
            raise ConfigurationError(
                f"plugin {name!r}, hook {hook!r}: {word}, so a call of it does nothing. Write def."
            )
        if hook in elsewhere:
            raise ConfigurationError(f"plugin {name!r}: {hook} {elsewhere[hook]}.")
        if hook not in hooks:
            if is_optional(attribute):
                continue  # of a newer release
            raise ConfigurationError(f"plugin {name!r}: unknown hook {hook!r}.{did_you_mean(hook, hooks)}")
        for parameter in inspect.signature(getattr(plugin, attribute)).parameters.values():
            if parameter.name not in hooks[hook]:
                raise ConfigurationError(
                    f"plugin {name!r}, hook {hook!r}: unknown parameter {parameter.name!r}."
                    f"{did_you_mean(parameter.name, hooks[hook])} It offers: {', '.join(hooks[hook])}."
                )
            if parameter.default is not parameter.empty:
                raise ConfigurationError(
                    f"plugin {name!r}, hook {hook!r}: parameter {parameter.name!r} has a default value. Parameters of "
                    "hooks must not have one."
                )
    manager.register(plugin, name)
    return manager


def _never_run(plugin: object, attribute: str) -> str:
    """Say why a call of a hook would not run its body; empty: it would."""
    method = getattr(plugin, attribute)
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return "it is async def, and hooks are called without an event loop"
    options = pluggy.PluginManager(PROJECT).parse_hookimpl_opts(plugin, attribute)
    is_wrapper = options is not None and (options["wrapper"] or options["hookwrapper"])
    return "it has a yield" if inspect.isgeneratorfunction(method) and not is_wrapper else ""


def _parameters(specs: type) -> dict[str, list[str]]:
    hooks = {name: getattr(specs, name) for name in dir(specs) if not name.startswith("_")}
    return {name: [p for p in inspect.signature(hook).parameters if p != "self"] for name, hook in hooks.items()}


def _unknown(name: str, points: list[str]) -> str:
    if name in points:
        whole = first_part(name)
        return f"{name!r} is a part of {whole!r} and is selected with it: name {whole!r}."
    available = selectable(points)
    meant = difflib.get_close_matches(name, {*available, *KNOWN}, 1)
    lines = [f"no tracker {name!r} is installed."]
    if meant and meant[0] != name:
        lines.append(f"Did you mean {meant[0]!r}?")
    wanted = meant[0] if meant else name
    if wanted in KNOWN and wanted not in available:
        lines.append(f"To install it: pip install tracking-hooks-{wanted}")
    elif not available:
        lines.append(_NOTHING)
    if available:
        lines.append(f"Installed: {', '.join(available)}")
    return "\n  ".join(lines)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return a sentence that suggests the candidate closest to a misspelt name; empty if none is close."""
    meant = difflib.get_close_matches(name, list(candidates), 1)
    return f" Did you mean {meant[0]!r}?" if meant else ""


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": .")


def describe_installed() -> Mapping[str, tuple[str, str]]:
    """Return (distribution and version, entry point) of each installed plugin, by name."""
    points = installed()
    return {
        name: (f"{point.dist.name} {point.dist.version}" if point.dist else "", point.value)
        for name, point in sorted(points.items())
    }
