"""What a run has come to: one pass over its journal, which is never held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from tracking_hooks.events import DONE, Plan, SaveCheckpoint, Status
from tracking_hooks.run import journal, result
from tracking_hooks.run.journal import Call, Head, Journal
from tracking_hooks.run.layout import Cursor, read_json
from tracking_hooks.run.result import Result

_TOLD_BY = frozenset({
    "on_run_start", "on_run_end", "on_epoch_start", "on_epoch_end", "on_final_validation", "on_checkpoint_saved",
    "on_action",
})  # fmt: skip

_TAIL = 1 << 16


class Story(Struct, kw_only=True):
    """The run so far."""

    seq: int = 0
    """The number of the last event, or of a damaged line behind it."""
    end: int = 0
    """Bytes of the journal that it tells."""
    time: float = 0.0
    """Of the latest event, in seconds since the epoch."""
    began: bool = False
    epoch: int = 0
    """The last one that was settled."""
    last_epoch: int = 0
    """The last one that began."""
    status: Status | None = None
    """How the run ended; None while it is open, and before it begins."""
    plan: Plan = Plan()
    result: Result | None = None
    """The key metric: of the final validation, or of the best epoch so far."""
    checkpoints: dict[Path, str] = {}
    """Weights that were saved and may still be rewritten: path to kind."""

    @property
    def is_open(self) -> bool:
        """Whether the run began and has no end: of these two events, the last one counts."""
        return self.began and self.status is None

    def add(self, hook: str, args: Mapping[str, Any]) -> None:
        """Go on by an event. What is missing in it, since another release wrote it, tells nothing."""
        if hook == "on_run_start":
            self.began, self.status = True, None
            self.plan = args.get("plan") or self.plan
        elif hook == "on_run_end":
            self.status = args.get("status") or "killed"
        elif hook == "on_epoch_start":
            self.last_epoch = args.get("epoch") or self.last_epoch
        elif hook == "on_epoch_end":
            self.last_epoch = args.get("epoch") or self.last_epoch
            self.epoch = max(self.epoch, self.last_epoch)
            self.result = result.better(self.result, result.of(args.get("metrics")))
        elif hook == "on_final_validation":
            self.result = result.of(args.get("metrics")) or self.result
        elif hook == "on_checkpoint_saved" and (checkpoint := args.get("checkpoint")):
            if checkpoint.digest is None and checkpoint.kind != "periodic":  # those are recorded when they are written
                self.checkpoints = {**self.checkpoints, checkpoint.path: checkpoint.kind}
        elif hook == "on_action" and args.get("outcome") == DONE:
            action = args.get("action")
            if isinstance(action, SaveCheckpoint) and action.replaces != action.name:
                self._forget_checkpoint(action.replaces)

    def move(self, old: Path, new: Path) -> None:
        """Go on where ``save_dir`` is another folder now, to which its files were moved or copied."""
        self.checkpoints = {
            new / path.relative_to(old) if path.is_relative_to(old) else path: kind
            for path, kind in self.checkpoints.items()
        }

    def _forget_checkpoint(self, name: str) -> None:
        """Note that a checkpoint of an action was replaced by another one."""
        self.checkpoints = {
            path: kind for path, kind in self.checkpoints.items() if kind != "action" or path.stem != name
        }


def read(path: Path) -> tuple[Head, Story]:
    """Read a journal once.

    :raises JournalError, OSError: if it cannot be read
    """
    head, offset = journal.read_head(path)
    story = Story(end=offset)
    _read_on(path, story)
    return head, story


def _read_on(path: Path, story: Story) -> None:
    """Go on by what stands behind the end of a story."""
    for entry in journal.read(path, story.end, only=_TOLD_BY):
        story.end = entry.end
        if entry.call is None:
            story.seq += 1  # a damaged line had a number too
            continue
        story.seq = entry.call.seq
        story.time = max(story.time, entry.call.time)
        if entry.call.hook in _TOLD_BY:
            story.add(entry.call.hook, entry.call.args)


def last_time(path: Path) -> float:
    """Return when the last event of a journal was recorded, by its last lines alone; 0.0 if there is none.

    :raises JournalError, OSError: if it cannot be read
    """
    return max((call.time for call in _last_calls(path)), default=0.0)


def has_end(path: Path) -> bool:
    """Whether the last event of a journal is the end of the run, by its last lines alone.

    :raises JournalError, OSError: if it cannot be read
    """
    return any(call.hook == "on_run_end" for call in _last_calls(path)[-1:])


def _last_calls(path: Path) -> list[Call]:
    """Return some of the last calls of a journal, without their arguments; none if there are none."""
    _, begin = journal.read_head(path)
    back, size = _TAIL, path.stat().st_size
    while True:
        offset = max(begin, size - back)
        with path.open("rb") as file:
            file.seek(offset)
            line = b"" if offset == begin else file.readline()  # the rest of one
        calls = [entry.call for entry in journal.read(path, offset + len(line), only=()) if entry.call]
        if calls or offset == begin:
            return calls
        back *= 16


def reopen(path: Path, story: Story | None = None) -> tuple[Journal, Story]:
    """Go on with an existing journal, behind its last event.

    :param story: what was read of it, which is gone on with, too; by default it is read from the beginning
    :raises JournalError, OSError: if it cannot be read or written
    """
    reached = _fill_up(path)
    log = Journal.open_behind(path)
    try:
        if story is None:
            _, story = read(path)
        else:
            _read_on(path, story)  # a torn line, which has an end now
    except BaseException:
        log.close()
        raise
    log.seq = max(story.seq, reached)
    return log, story


def _fill_up(path: Path) -> int:
    """See that a journal reaches as far as relays have read it; return the number of the last event that they had.

    After a power failure the end of it may be missing, on a disk that says too early that it has written. What is
    appended has to stand behind the marks of the relays, and to have numbers of its own.
    """
    cursors = [cursor for file in path.parent.glob("relays/*/cursor.json") if (cursor := read_json(file, Cursor))]
    missing = max((cursor.offset for cursor in cursors), default=0) - path.stat().st_size
    if missing > 0:
        with path.open("ab") as file:
            file.write(b"\n" + b"\n".rjust(missing - 1))  # one damaged line, for those who have not come so far
    return max((cursor.seq for cursor in cursors), default=0)
