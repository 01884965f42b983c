"""What is done for a run whose process died without a word: its end is written into its journal."""

from __future__ import annotations

from tracking_hooks import files, journal
from tracking_hooks.journal import Journal
from tracking_hooks.layout import RunFolder
from tracking_hooks.liveness import Lock, is_alive

SILENCE = 300.0
"""Seconds without a sign of life after which a training on another machine is taken for dead."""


def is_running(folder: RunFolder) -> bool:
    """Whether the training process of a run still lives."""
    return is_alive(folder.lock, heartbeat=folder.journal, silence=SILENCE)


def end_orphan(folder: RunFolder) -> bool:
    """Write the end of a run whose process is gone; without effect if it is running or has ended.

    Its last weights and tables are recorded too: nobody rewrites them any more.

    :returns: whether the journal has to be looked at again
    :raises OSError: if the journal cannot be written
    """
    if is_running(folder):
        return False
    lock = Lock(folder.lock)
    if not lock.acquire():
        return True  # another relay is just doing it
    try:
        open_since = None
        epoch = 0
        time = 0.0
        head, offset = journal.read_head(folder.journal)
        for entry in journal.read(folder.journal, offset):
            if entry.call is None:
                continue
            time = max(time, entry.call.time)
            epoch = entry.call.args.get("epoch") or epoch
            if entry.call.hook == "on_run_start":
                open_since = entry.call
            elif entry.call.hook == "on_run_end":
                open_since = None
        if open_since is None:
            return False
        log = Journal.reopen(folder.journal)
        try:
            for hook, args in files.final_files(head.run.save_dir, head.run.uid, epoch):
                log.append(hook, time, args)
            log.append("on_run_end", time, {"status": "killed", "error": None})
        finally:
            log.close()
        return True
    finally:
        lock.release()
