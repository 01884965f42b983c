"""What is done for a run whose process is gone: its end is written, its files are saved from the next run."""

from __future__ import annotations

from tracking_hooks import files, journal
from tracking_hooks.events import Error
from tracking_hooks.journal import Call, Journal
from tracking_hooks.layout import RunFolder, read_json
from tracking_hooks.liveness import Lock, is_alive
from tracking_hooks.settings import Settings

SILENCE = 300.0
"""Seconds without a sign of life after which a training on another machine is taken for dead."""


def is_running(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Whether the training process of a run still lives."""
    return is_alive(folder.lock, heartbeat=folder.journal, silence=silence)


def first_crash(folder: RunFolder) -> Error | None:
    """Return what ended another process of a distributed training, and so all of it."""
    return next((crash for path in folder.crashes() if (crash := read_json(path, Error))), None)


def labels(folder: RunFolder) -> list[str]:
    """Return the relays that a run has or should have: one for each plugin, one for each replay.

    :raises JournalError, OSError: if the journal cannot be read
    """
    head, _ = journal.read_head(folder.journal)
    return [*head.plugins, *folder.replays()]


def is_settled(folder: RunFolder, label: str) -> bool:
    """Whether a plugin has everything of a run that is over."""
    cursor = folder.relay(label).read_cursor()
    over = cursor.ended or cursor.seq == 0  # without a single event there is no end to write
    return over and cursor.offset >= folder.journal.stat().st_size and not is_running(folder)


def has_relay(folder: RunFolder, label: str) -> bool:
    """Whether a relay is at work on it."""
    lock = folder.relay(label).lock
    return lock.exists() and is_alive(lock, heartbeat=lock, silence=0)


def end_orphan(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Write the end of a run whose process is gone; without effect if it is running or has ended.

    Its last weights and tables are recorded too: nobody rewrites them any more.

    :returns: whether the journal has to be looked at again
    :raises OSError: if the journal cannot be written
    """
    if is_running(folder, silence):
        return False
    lock = Lock(folder.lock)
    if not lock.acquire():
        return True  # another relay is just doing it
    try:
        head, offset = journal.read_head(folder.journal)
        is_open, time, epoch, kept = False, 0.0, 0, dict[str, None]()
        for entry in journal.read(folder.journal, offset):
            if call := entry.call:
                time = max(time, call.time)
                epoch = call.args.get("epoch") or epoch
                is_open = call.hook != "on_run_end"
                if call.hook == "on_action":
                    files.note_kept(kept, call.args["action"], call.args["outcome"])
        if not is_open:
            return False
        kinds = Settings(checkpoints=head.checkpoints).checkpoint_rule().kinds
        log = Journal.reopen(folder.journal)
        try:
            for hook, args in files.final_files(folder, head.run.save_dir, epoch, kinds, kept=kept):
                files.keep_if_outside(folder, args)
                log.append(hook, time, args)
            error = first_crash(folder)
            log.append("on_run_end", time, {"status": "failed" if error else "killed", "error": error})
        finally:
            log.close()
        return True
    finally:
        lock.release()


def protect_files(folder: RunFolder, silence: float = SILENCE) -> None:
    """Copy what somebody is about to overwrite or to delete and some plugin has not got yet.

    :raises JournalError, OSError: if that cannot be done
    """
    end_orphan(folder, silence)
    if all(is_settled(folder, label) for label in labels(folder)):
        return
    _, offset = journal.read_head(folder.journal)
    for entry in journal.read(folder.journal, offset):
        call: Call | None = entry.call
        file = call and (call.args.get("artifact") or call.args.get("checkpoint"))
        if file and file.digest and file.path.is_file() and file.path.stat().st_size == file.size:
            files.keep(folder, file)
