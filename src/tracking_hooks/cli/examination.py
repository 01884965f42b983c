"""What ``tracking-hooks doctor`` looks at: this environment, the settings, the selected trackers, runs that wait."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import distribution, version
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pluggy
from msgspec import Struct

from tracking_hooks import plugins, projectfile, requirements
from tracking_hooks.control import rules
from tracking_hooks.counts import counted
from tracking_hooks.delivery.spawn import isolated
from tracking_hooks.events import Capture, Run
from tracking_hooks.findings import Finding, Level
from tracking_hooks.recording import configuration
from tracking_hooks.run import index, journal, portable, state
from tracking_hooks.settings import SELECTION, ConfigurationError, Settings, is_off, read_settings, settable, variable

_HOSTS = "tracking_hooks.hosts"
_SERVERS = "tracking_hooks.cli.servers"

LIMIT = 4.0
"""Seconds that are waited for trackers and imports, all together."""
_ANSWER = 3.0
_LOAD = "from tracking_hooks import plugins; [plugins.load(name) for name in sys.argv[1:]]"


class Setting(Struct, frozen=True):
    """What is set, and where."""

    variable: str
    value: str
    origin: str
    """``variable``, ``pyproject.toml`` or ``default``."""


class Examination:
    """Everything that can take a while is begun first; all of it is waited for until one moment."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + LIMIT
        self._hosts = [host.Checkup() for host in _hosts()]
        self.settings: list[Setting] = []
        self.installed: Mapping[str, tuple[str, str]] = {}
        self._selected: tuple[list[str], dict[str, pluggy.PluginManager | None]] = [], {}
        self._is_offline = False

    def findings(self) -> list[Finding]:
        """Return all that was found, by topic."""
        configured = list(self._configuration())
        names, sides = self._selected
        trackers = [_Tracker(name, sides.get(name), self.installed) for name in names]
        runs = list(_runs(self._left))
        return [
            Finding("environment", "ok", f"tracking-hooks {version('tracking-hooks')}"),
            Finding("environment", "ok", f"Python {platform.python_version()}, {sys.executable}"),
            *(finding for host in self._hosts for finding in host.findings(self._left())),
            *_requirements({"tracking-hooks", *(origin.partition(" ")[0] for origin, _ in self.installed.values())}),
            *configured,
            *(finding for tracker in trackers for finding in tracker.findings(self._left, is_offline=self._is_offline)),
            *_not_selected(names, self.installed),
            *runs,
            *_servers(),
        ]

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def _configuration(self) -> Iterator[Finding]:
        """Yield what is set; leave what the next steps need."""
        settings = Settings()
        try:
            self.installed = plugins.describe_installed()
            project = projectfile.read(portable.working_folder())
            self.settings = _origins(os.environ, project)
            yield from (_of_setting(setting) for setting in self.settings if setting.origin != "default")
            settings = read_settings(project=project)
        except ConfigurationError as error:
            yield Finding("settings", "problem", str(error))
        self._is_offline = settings.mode == "offline"
        selection = os.environ.get(SELECTION, "").strip()
        names: list[str] = []
        sides: dict[str, pluggy.PluginManager | None] = {}
        try:
            names = plugins.select(selection, self.installed)
            sides = plugins.load_trainer_sides(names)
        except ConfigurationError as error:
            yield Finding("settings", "problem", str(error))
        else:
            yield from self._of_selection(selection, names, settings)
        try:
            rules.build(settings.rules())
        except ConfigurationError as error:
            yield Finding("settings", "problem", str(error))
        for sentence in configuration.doubts(os.environ, self.installed, sides):
            yield Finding("settings", "warning", sentence)
        self._selected = names, sides

    def _of_selection(self, selection: str, names: list[str], settings: Settings) -> Iterator[Finding]:
        if names:
            return
        usable = plugins.selectable(self.installed)
        named = ",".join([name for name in plugins.COMMON if name in usable] or usable[:1])
        export = f"export {SELECTION}={named}" if named else "pip install tracking-hooks-mlflow"
        if selection:
            why = "switches tracking off" if is_off(selection) else "selects no tracker"
            yield Finding("settings", "problem", f"{SELECTION}={selection} {why}", export)
        elif settings.rules():
            yield Finding(
                "settings", "warning", f"{SELECTION} is not set: trainings have rules, and no tracker", export
            )
        else:
            yield Finding("settings", "problem", f"{SELECTION} is not set: nothing is tracked", export)


class _Tracker:
    """A selected tracker: its plugin is loaded in a process of its own, and the tracker asked by a thread."""

    def __init__(self, name: str, side: pluggy.PluginManager | None, installed: Mapping[str, tuple[str, str]]) -> None:
        self._name = name
        self._origin = installed.get(name, ("", ""))[0]
        self._side = side
        self._loading = subprocess.Popen(
            isolated(_LOAD, plugins.parts(name, installed)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._answer: Finding | None = None
        self._asking = threading.Thread(target=self._ask, name=f"doctor-{name}", daemon=True)
        self._asking.start()

    def findings(self, left: Callable[[], float], *, is_offline: bool) -> Iterator[Finding]:
        """Yield what was found until now or is within the time that is left.

        :param is_offline: whether trainings are only recorded: then a tracker that is down is no problem of theirs
        """
        yield self._of_loading(left())
        self._asking.join(left())
        answer = self._answer or self._finding("problem", f"no answer within {LIMIT:.0f} s")
        is_lenient = is_offline and answer.level == "problem"
        yield Finding(answer.topic, "note", f"{answer.text} (offline: not needed now)") if is_lenient else answer
        names = sorted(name for name in os.environ if name.startswith(f"{self._name.upper()}_"))
        if names:
            yield self._finding("note", f"variables that are set: {', '.join(names)}")

    def _of_loading(self, timeout: float) -> Finding:
        try:
            _, errors = self._loading.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._loading.kill()
            self._loading.communicate()
            text = f"{self._origin or 'the plugin'} is slow to import, as after an installation"
            return self._finding("note", text, "tracking-hooks plugins")
        if self._loading.returncode:
            sentence = errors.rpartition("ConfigurationError: ")[2].strip() or f"exit code {self._loading.returncode}"
            return self._finding("problem", sentence)
        return self._finding("ok", f"{self._origin or 'the plugin'} can be used")

    def _ask(self) -> None:
        """Ask where it delivers, and whether that answers."""
        try:
            self._answer = self._asked()
        except ConfigurationError as error:
            self._answer = self._finding("problem", str(error))
        except Exception as error:  # noqa: BLE001 whatever a plugin raises is an answer
            self._answer = self._finding("problem", str(error) or type(error).__name__)

    def _asked(self) -> Finding:
        run = Run(uid="doctor", name="train", project="", task="detect", save_dir=_usual_folder())
        captured = plugins.capture({self._name: self._side}, run)[self._name]
        start = time.monotonic()
        said = self._side and self._side.hook.probe(destination=captured.destination, timeout=_ANSWER)
        seconds = time.monotonic() - start
        if not said:
            return self._finding("note", f"{_place(captured)}this plugin cannot be asked whether its tracker answers")
        return self._finding("ok", f"{said} ({seconds * 1000:.0f} ms)")

    def _finding(self, level: Level, text: str, advice: str = "") -> Finding:
        prefix = "" if text.startswith(f"plugin {self._name!r}") else f"{self._name}: "
        return Finding("trackers", level, f"{prefix}{text}", advice)


def _hosts() -> Iterator[Any]:
    """Import what each training library's host has to say of this environment."""
    for host in iter_modules(import_module(_HOSTS).__path__):
        yield import_module(f"{_HOSTS}.{host.name}.checkup")


def _usual_folder() -> Path:
    return portable.working_folder() / "runs/detect/train"


def _place(captured: Capture) -> str:
    return f"{captured.summary}; " if captured.summary else ""


def _origins(environ: Mapping[str, str], project: Mapping[str, str]) -> list[Setting]:
    found = []
    defaults = Settings()
    for field in ("selection", *settable()):
        given = environ.get(variable(field), "").strip()
        origin = "variable" if given else projectfile.NAME if field in project else "default"
        value = given or project.get(field) or str(getattr(defaults, field))
        found.append(Setting(variable(field), value, origin))
    return found


def _of_setting(setting: Setting) -> Finding:
    where = f" ({setting.origin})" if setting.origin != "variable" else ""
    return Finding("settings", "ok", f"{setting.variable}={setting.value}{where}")


def _not_selected(selected: list[str], installed: Mapping[str, tuple[str, str]]) -> Iterator[Finding]:
    others = [name for name in plugins.selectable(installed) if name not in selected]
    if others:
        listed = ", ".join(f"{name} ({installed[name][0]})" for name in others)
        yield Finding("trackers", "note", f"installed, and not selected: {listed}")


def _requirements(distributions: set[str]) -> Iterator[Finding]:
    """Say which installed packages are not those that ours ask for."""
    for name in sorted(filter(None, distributions)):
        for needed, there in requirements.unmet(distribution(name)):
            text = f"{name} needs {needed}{f', and {there} is installed' if there else ''}"
            yield Finding("environment", "problem", text, f"pip install {shlex.quote(needed)}")


def _runs(left: Callable[[], float]) -> Iterator[Finding]:
    """Say how many runs of this user have events that no tracker has, and no training behind them.

    :param left: returns how many seconds there are for this
    """
    waiting = events = aside = unseen = 0
    for folder in index.undelivered():
        if not left():
            unseen += 1
            continue
        with suppress(journal.JournalError, OSError):
            owed = [state.owed(folder, label) for label in state.labels(folder)]
            aside += sum(len(one.aside) for one in owed)
            pending = sum(one.pending for one in owed)
            if pending and not state.is_running(folder):
                waiting, events = waiting + 1, events + pending
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        text = f"{counted(waiting, 'run')} {verb} for delivery, with {counted(events, 'event')}"
        yield Finding("runs", "note", text, "tracking-hooks sync")
    elif not unseen:
        yield Finding("runs", "ok", "no run waits for delivery")
    if aside:
        yield Finding("runs", "note", f"{counted(aside, 'event')} set aside", "tracking-hooks status --set-aside")
    if unseen:
        yield Finding("runs", "note", f"{counted(unseen, 'more run')} not looked at, for lack of time")


def _servers() -> Iterator[Finding]:
    """List the servers that ``tracking-hooks open`` has started."""
    with suppress(ImportError):
        for server in import_module(_SERVERS).servers():
            text = f"started by `tracking-hooks open`: {server.address}, of {server.store}"
            yield Finding("runs", "note", text, "tracking-hooks open --stop")
