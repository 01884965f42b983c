"""Records what a run leaves behind, and keeps it from whoever comes next: the user who tidies up, a later training."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from tracking_hooks.counts import counted
from tracking_hooks.delivery.spawn import start_copier
from tracking_hooks.events import Checkpoint
from tracking_hooks.recording.complaints import Complaints
from tracking_hooks.run import checkpoints, copies, files
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.story import Story
from tracking_hooks.settings import Settings


class Finals:
    """The files of a run that are final, each recorded once as it is."""

    def __init__(self, folder: RunFolder, save_dir: Path, settings: Settings, complain: Complaints) -> None:
        self._folder = folder
        self._save_dir = save_dir
        self._kinds = settings.checkpoint_rule().kinds
        self._complain = complain
        self._patience = settings.exit_wait
        self._seen: dict[Path, tuple[int, int, int]] = {}
        self._to_copy: set[Path] = set()

    def keep(self, file: copies.File) -> None:
        """Keep the content of a file that is final.

        :raises OSError: if it is outside of the root folder, and cannot be copied
        """
        if not copies.keep(self._folder, file):
            self._to_copy.add(file.path)
        if isinstance(file, Checkpoint):
            checkpoints.note(self._folder, file)

    def record(
        self, story: Story, record: Callable[..., None], skip: Callable[[Path], bool], *, with_console: bool
    ) -> None:
        """Record what is new or has changed in ``save_dir`` since the last call, and see to it that it is kept.

        :param story: the run, whose plan says what is to be collected
        :param record: the recorder's, which calls ``keep``
        :param skip: says of a file that it is recorded already, as it is now
        """
        found = files.final_files(
            self._folder, self._save_dir, story, self._kinds, lambda path: self._is_seen(path) or skip(path),
            self._complain,
        )  # fmt: skip
        for hook, args in chain(found, files.console_log(self._folder, story.last_epoch) if with_console else ()):
            record(hook, **args)
        if self._to_copy:
            self._copy()

    def _is_seen(self, path: Path) -> bool:
        stat = path.stat()
        now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        before, self._seen[path] = self._seen.get(path), now
        return before == now

    def _copy(self) -> None:
        """Have copied what can be kept in no other way, by a process that outlives this one; wait for it."""
        paths, self._to_copy = self._to_copy, set()
        began = time.monotonic()
        copier = start_copier(self._folder)
        what = f"{counted(len(paths), 'file')} of {self._save_dir}"
        log = self._folder.copier_log
        try:
            code = copier.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._complain(
                f"{what} are still being copied, since no links can be made here: do not move or delete them until the "
                f"process {copier.pid} has ended. Log: {log}"
            )
            return
        finally:
            self._patience = max(self._patience - (time.monotonic() - began), 0.0)
        if code:
            self._complain(f"{what} cannot be copied: do not move or delete them before they are delivered. Log: {log}")
        else:
            self._complain.tell(f"{what} copied to {self._folder.files}, since no links can be made here")
