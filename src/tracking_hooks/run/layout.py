"""Where the files of a run are.

::

    <root>/.tracking-hooks/<uid>/         the run folder, beside save_dir: trainers delete save_dir itself
        journal.jsonl
        trainer.lock  trainer.json        held while the training process lives, and by whom
        heartbeat                         touched while it lives, for machines that its lock does not reach
        commands.jsonl                    what was asked of the training from outside
        files/                            what was recorded, until every plugin has it; the console log; see ``copies``
        copier.log                        of the process that copies where no links can be made
        crash-<rank>.json                 what ended another process of a distributed training
        seen-<rank>.json                  what it has seen in a validation, until rank 0 has that
        worst-<rank>.json                 what it has counted in the last validation, until then
        relays/<plugin>/
            cursor.json                   how far this plugin has got, and its state
            set-aside.json                events that the tracker did not take, with the reason
            destination.json              where it goes, if that is somewhere else than the run recorded
            health.json  inflight.json  reported.json  forgotten  relay.lock  relay.json  relay.log  heartbeat
    <save_dir>/tracking.json              the pointer: uid, run folder, links to the run in each tracker

The trials of a tuning have their run folders beside that of the tuning.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from tracking_hooks.events import Destination, State
from tracking_hooks.run import portable
from tracking_hooks.run.landmarks import Landmarks
from tracking_hooks.run.within import Within

FOLDER = ".tracking-hooks"
POINTER = "tracking.json"

CONSOLE = "console.log"
"""The name of the trainer's log, among a run's own copies and as an artifact."""

LAUNCHER_INDEX = "TRACKING_HOOKS_LAUNCHER_INDEX"
"""Set by ``tracking-hooks run`` for what it starts: one more index to enter runs in."""

_S = TypeVar("_S", bound=Struct)


class Cursor(Struct, kw_only=True):
    """How far a plugin has got in a journal."""

    offset: int = 0
    """Bytes of the journal that are dealt with."""
    seq: int = 0
    delivered: int = 0
    aside: int = 0
    """Events up to here that were set aside when this was written; ``state.owed`` counts them anew."""
    damaged: int = 0
    """Lines that could not be read."""
    counts: dict[str, int] = {}
    """Events up to here of the hooks that are thinned: which ones are given goes by it."""
    state: State = {}
    ended: bool = False
    """Whether the last event delivered was the end of the run."""
    landmarks: Landmarks = Landmarks()


class SetAside(Struct, kw_only=True):
    """An event that a tracker did not take."""

    seq: int
    start: int
    end: int
    """Where its line is in the journal, in bytes."""
    hook: str
    name: str = ""
    """Of the artifact; kind and name of the checkpoint."""
    reason: str
    retry_at: float | None = None
    """When it is tried again, in seconds since 1970; None: only if the user asks for it."""
    deaths: int = 0
    """How often a relay has died over it since it was set aside."""


class AsideFile(Struct):
    """The file of what is set aside."""

    events: list[SetAside] = []


class Health(Struct, kw_only=True):
    """What a relay says of itself."""

    state: Literal["ready", "refused", "down"]
    """``refused``: the plugin cannot be used as it is configured. ``down``: the tracker cannot be reached."""
    pid: int
    error: str = ""
    only_this_run: bool = False
    """Whether what is down is so for this run alone."""
    is_of_code: bool = False
    """Whether the plugin has failed, or lacks a module that it needs: another address would not help."""


class Replay(Struct, kw_only=True):
    """A destination that was not there when the run was recorded."""

    plugin: str
    destination: Destination
    place: str = ""
    """Where the tracker is; see ``Capture``."""


class Pointer(Struct, kw_only=True):
    """From a training's ``save_dir`` to its journal."""

    uid: str
    folder: Path
    epoch: int = 0
    """The last one that was settled, for a resume where only ``save_dir`` was copied to."""
    links: dict[str, str] = {}
    """Plugin name to the URL of the run."""
    classes: list[str] = []
    """Those whose curves the trackers get, where there are many; for the same resume."""


def _encode_path(value: object) -> str:
    return str(value)


def _decode_path(kind: type, value: object) -> object:
    return kind(value)


def write_json(path: Path, value: Struct, *, durable: bool = False) -> None:
    """Replace a file in one step, readable by its owner only; ``durable``: also where the power fails in between."""
    # Not by msgspec: the standard library also writes, and reads, a path that is no UTF-8.
    data = json.dumps(msgspec.to_builtins(value, enc_hook=_encode_path)).encode() + b"\n"
    replace_file(path, data, durable=durable)


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Replace a file in one step; see ``write_json``."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = portable.open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    portable.replace(draft, path)


def read_json(path: Path, kind: type[_S]) -> _S | None:
    """Read a file written by ``write_json``; None if it is missing, damaged, or cannot be read: another user's."""
    try:
        return _load(path, kind)
    except OSError:
        return None


def _load(path: Path, kind: type[_S]) -> _S | None:
    try:
        return msgspec.convert(json.loads(path.read_bytes()), kind, dec_hook=_decode_path)
    except (FileNotFoundError, ValueError, msgspec.MsgspecError, RecursionError):
        return None


class RelayFolder:
    """The files of one plugin's relay."""

    cursor = Within("cursor.json")
    destination = Within("destination.json")
    heartbeat = Within("heartbeat")
    health = Within("health.json")
    inflight = Within("inflight.json")
    lock = Within("relay.lock")
    log = Within("relay.log")
    set_aside = Within("set-aside.json")

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_cursor(self) -> Cursor:
        """Return the cursor, or one at the very start.

        :raises OSError: if it is there and cannot be read: from the start on, all would be delivered again
        """
        return _load(self.cursor, Cursor) or Cursor()

    def read_aside(self) -> list[SetAside]:
        """Return the events that are set aside, the oldest first."""
        found = read_json(self.set_aside, AsideFile)
        return found.events if found else []

    def write_aside(self, events: list[SetAside]) -> None:
        """Replace the list of the events that are set aside; raises OSError if it cannot be written."""
        if events or self.set_aside.exists():
            write_json(self.set_aside, AsideFile(events=events), durable=True)


class RunFolder:
    """The files of one run."""

    journal = Within("journal.jsonl")
    lock = Within("trainer.lock")
    heartbeat = Within("heartbeat")
    commands = Within("commands.jsonl")
    files = Within("files")
    copier_log = Within("copier.log")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._relays: dict[str, RelayFolder] = {}  # a training asks for each of them at every epoch

    def crash(self, rank: int) -> Path:
        """Return the file in which another process of a distributed training says what ended it."""
        return self.path / f"crash-{rank}.json"

    def crashes(self) -> list[Path]:
        """Return those files, the first to crash first."""
        return sorted(self.path.glob("crash-*.json"), key=lambda path: path.stat().st_mtime)

    @classmethod
    def beside(cls, save_dir: Path, uid: str) -> RunFolder:
        """Return the folder for a run that saves to ``save_dir``."""
        return cls(save_dir.absolute().parent / FOLDER / uid)

    @property
    def uid(self) -> str:
        """The run's uid, which is the folder's name."""
        return self.path.name

    def has_journal(self) -> bool:
        """Whether there is a run in it, as far as this user can see."""
        try:
            return self.journal.is_file()
        except OSError:
            return False

    def create(self) -> None:
        """Make the folder, for its owner only.

        :raises OSError: if that cannot be done
        """
        home = self.path.parent
        home.mkdir(parents=True, exist_ok=True)
        if not (home / ".gitignore").exists():
            (home / ".gitignore").write_text("*\n")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self) -> None:
        """Delete the folder, and the one that it is in if no other run is there."""
        shutil.rmtree(self.path, ignore_errors=True)
        home = self.path.parent
        with suppress(OSError):
            if {path.name for path in home.iterdir()} <= {".gitignore"}:
                (home / ".gitignore").unlink(missing_ok=True)
                home.rmdir()  # refuses if another run has just begun there

    def relay(self, label: str) -> RelayFolder:
        """Return the folder of a relay.

        :param label: the plugin's name; for a replay, what ``replays`` names it
        """
        if label not in self._relays:
            self._relays[label] = RelayFolder(self.path / "relays" / re.sub(r"[^\w.@-]", ".", label))
        return self._relays[label]

    def replays(self) -> dict[str, Replay]:
        """Return the additional destinations of this run by label."""
        found = {}
        for file in sorted(self.path.glob("relays/*/destination.json")):
            if replay := read_json(file, Replay):
                found[file.parent.name] = replay
        return found

    def add_replay(self, plugin: str, destination: Destination, place: str = "") -> str:
        """Add a destination of a plugin, or of a part of one, unless it is there already; return its label."""
        digest = hashlib.sha256(msgspec.json.encode(destination, order="sorted")).hexdigest()[:8]
        files = self.relay(f"{plugin}@{digest}")
        files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not files.destination.exists():
            write_json(files.destination, Replay(plugin=plugin, destination=destination, place=place))
        return files.path.name

    def forget_replay(self, label: str) -> bool:
        """Drop an additional destination; return whether there was one of that label."""
        known = label in self.replays()
        if known:
            shutil.rmtree(self.relay(label).path)
        return known


def fallback_home() -> Path:
    """Return where run folders are made when the root folder cannot be written."""
    return portable.state_folder() / FOLDER


def index_folder() -> Path:
    """Return the folder with one small file for each of this user's runs on this machine; see ``index``."""
    return portable.state_folder() / "runs"


def candidates(save_dir: Path, uid: str) -> list[RunFolder]:
    """Return where the run folder of a training that saves to ``save_dir`` may be: a trial's is further up."""
    homes = [*(above / FOLDER for above in save_dir.absolute().parents), fallback_home()]
    return [RunFolder(home / uid) for home in homes]


def find_runs(path: Path, hidden: Callable[[RunFolder], object] = lambda _: None) -> list[RunFolder]:
    """Find run folders, oldest first.

    :param path: a run folder, a ``save_dir``, or any folder above them
    :param hidden: is given each folder that this user may not look into: another user's
    """
    if RunFolder(path).has_journal():
        return [RunFolder(path.absolute())]
    if pointer := read_json(path / POINTER, Pointer):
        # Only the uid is taken from the file: a pointer that came with a copied folder leads nowhere else.
        folders = candidates(path, Path(pointer.uid).name)
    else:
        folders = list(_in_homes([path] if path.name == FOLDER else path.rglob(FOLDER)))
    found, closed = [], []
    for folder in folders:
        try:
            if folder.journal.is_file():
                found.append(folder)
        except PermissionError:
            closed.append(folder)
        except OSError:
            continue  # a broken link, an unplugged disk
    for folder in closed if not (pointer and found) else ():  # a pointer leads to one run, wherever it may be
        hidden(folder)
    return sorted(found, key=lambda folder: folder.uid)


def _in_homes(homes: Iterable[Path]) -> Iterator[RunFolder]:
    for home in homes:
        with suppress(OSError):  # another user's
            yield from [RunFolder(child.absolute()) for child in home.iterdir()]
