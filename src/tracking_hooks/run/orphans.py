"""What is done for a run whose process is gone: its end is written, its files are saved from the next run."""

from __future__ import annotations

from tracking_hooks.run import files, index, journal, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import SILENCE, Heart, Lock
from tracking_hooks.run.story import read, reopen
from tracking_hooks.settings import Settings

_OF_FILES = frozenset({"on_artifact", "on_checkpoint_saved"})


def end_orphan(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Write the end of a run whose process is gone; without effect if it is running or has ended, or is a copy.

    Its last weights and tables are recorded too: nobody rewrites them any more.

    :returns: whether the journal has to be looked at again
    :raises JournalError, OSError: if the journal cannot be read or written
    """
    if state.is_running(folder, silence) or not index.may_end(folder):
        return False
    lock = Lock(folder.lock)
    if not lock.acquire():
        return True  # another relay is just doing it
    try:
        Heart(folder.heartbeat).beat()  # for relays on other machines that the lock does not reach
        return write_end(folder)
    finally:
        lock.release()


def write_end(folder: RunFolder) -> bool:
    """Do what ``end_orphan`` does where the run's lock is held."""
    head, story = read(folder.journal)
    if not story.is_open:
        return False
    kinds = Settings(checkpoints=head.checkpoints).checkpoint_rule().kinds
    log, story = reopen(folder.journal, story)
    try:
        if not story.is_open:
            return True  # nothing but its newline was missing to the end
        for hook, args in files.final_files(folder, head.run.save_dir, story, kinds):
            files.secure_if_outside(folder, args)
            log.append(hook, story.time, args)
        error = state.first_crash(folder)
        log.append("on_run_end", story.time, {"status": "failed" if error else "killed", "error": error})
    finally:
        log.close()
    return True


def secure_files(folder: RunFolder, silence: float = SILENCE) -> None:
    """Copy what somebody is about to overwrite or to delete and some plugin has not got yet.

    :raises JournalError, OSError: if that cannot be done
    """
    end_orphan(folder, silence)
    if all(state.is_delivered(folder, label) for label in state.labels(folder)):
        return
    for call in journal.calls(folder.journal, _OF_FILES):
        file = call.args.get("artifact") or call.args.get("checkpoint")
        if file and file.digest and file.path.is_file() and file.path.stat().st_size == file.size:
            files.secure(folder, file)
