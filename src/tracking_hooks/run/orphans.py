"""What is done for a run whose process is gone: its end is written, its files are saved from the next run."""

from __future__ import annotations

from tracking_hooks.run import files, journal, state
from tracking_hooks.run.journal import Call, Journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import Lock
from tracking_hooks.run.state import SILENCE
from tracking_hooks.settings import Settings


def end_orphan(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Write the end of a run whose process is gone; without effect if it is running or has ended.

    Its last weights and tables are recorded too: nobody rewrites them any more.

    :returns: whether the journal has to be looked at again
    :raises OSError: if the journal cannot be written
    """
    if state.is_running(folder, silence):
        return False
    lock = Lock(folder.lock)
    if not lock.acquire():
        return True  # another relay is just doing it
    try:
        head, offset = journal.read_head(folder.journal)
        is_open, time, epoch, saved = False, 0.0, 0, dict[str, None]()
        for entry in journal.read(folder.journal, offset):
            if call := entry.call:
                time = max(time, call.time)
                epoch = call.args.get("epoch") or epoch
                is_open = call.hook != "on_run_end"
                if call.hook == "on_action":
                    files.note_saved(saved, call.args["action"], call.args["outcome"])
        if not is_open:
            return False
        kinds = Settings(checkpoints=head.checkpoints).checkpoint_rule().kinds
        log = Journal.reopen(folder.journal)
        try:
            for hook, args in files.final_files(folder, head.run.save_dir, epoch, kinds, saved=saved):
                files.secure_if_outside(folder, args)
                log.append(hook, time, args)
            error = state.first_crash(folder)
            log.append("on_run_end", time, {"status": "failed" if error else "killed", "error": error})
        finally:
            log.close()
        return True
    finally:
        lock.release()


def secure_files(folder: RunFolder, silence: float = SILENCE) -> None:
    """Copy what somebody is about to overwrite or to delete and some plugin has not got yet.

    :raises JournalError, OSError: if that cannot be done
    """
    end_orphan(folder, silence)
    if all(state.is_delivered(folder, label) for label in state.labels(folder)):
        return
    _, offset = journal.read_head(folder.journal)
    for entry in journal.read(folder.journal, offset):
        call: Call | None = entry.call
        file = call and (call.args.get("artifact") or call.args.get("checkpoint"))
        if file and file.digest and file.path.is_file() and file.path.stat().st_size == file.size:
            files.secure(folder, file)
