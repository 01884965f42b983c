"""What is done for a run whose process is gone: its end is written, its files are saved from the next run."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from itertools import chain
from pathlib import Path

from tracking_hooks.events import Checkpoint
from tracking_hooks.run import checkpoints, copies, files, index, receipt, state
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.run.liveness import SILENCE, Heart, Lock
from tracking_hooks.run.story import has_end, read, reopen
from tracking_hooks.settings import Settings

logger = logging.getLogger(__name__)


def end_orphan(folder: RunFolder, silence: float = SILENCE) -> bool:
    """Write the end of a run whose process is gone; without effect if it is running or has ended, or is a copy.

    Its last weights and tables are recorded too: nobody rewrites them any more.

    :returns: whether the journal has to be looked at again
    :raises JournalError, OSError: if the journal cannot be read or written
    """
    is_elsewhere = receipt.is_recorded_elsewhere(folder) or not index.may_end(folder)
    if state.is_running(folder, silence) or is_elsewhere:
        return False
    lock = Lock(folder.lock)
    if not lock.acquire():
        return True  # another relay is just doing it
    try:
        last_sign = _last_sign(folder)
        Heart(folder.heartbeat).beat()  # for relays on other machines that the lock does not reach
        has_written, is_kept = write_end(folder, last_sign)
    finally:
        lock.release()
    if not is_kept:  # after the lock is given back: a resume waits for it
        with suppress(OSError):  # nothing is lost yet
            copies.copy_owed(folder)
    return has_written


def write_end(folder: RunFolder, last_sign: float = math.inf) -> tuple[bool, bool]:
    """Do what ``end_orphan`` does where the run's lock is held.

    :param last_sign: when its process gave the last sign of life; what was written later is of another training
    :returns: whether the journal has to be looked at again, and whether its files are kept: else they are to be copied
    """
    if has_end(folder.journal):
        return False, True
    head, story = read(folder.journal)
    if not story.is_open:
        return False, True
    kinds = Settings(checkpoints=head.checkpoints).checkpoint_rule().kinds
    log, story = reopen(folder.journal, story)
    try:
        if not story.is_open:
            return True, True  # nothing but its newline was missing to the end
        died = max(last_sign, story.time)
        left = files.final_files(
            folder, head.run.save_dir, story, kinds, lambda path: _is_later(path, died), logger.warning
        )
        known = copies.latest(folder)
        is_kept = True
        for hook, args in chain(left, files.console_log(folder, story.last_epoch)):
            file = args.get("artifact") or args["checkpoint"]
            if known.get(copies.identity(file)) != file.digest:  # it may have died behind the end of the training
                with suppress(OSError):  # what is outside of the root folder is set aside then
                    is_kept &= copies.keep(folder, file)
                if isinstance(file, Checkpoint):
                    with suppress(OSError):
                        checkpoints.note(folder, file)
                log.append(hook, story.time, args)
        error = state.first_crash(folder)
        log.append("on_run_end", story.time, {"status": "failed" if error else "killed", "error": error})
    finally:
        log.close()
    return True, is_kept


def _last_sign(folder: RunFolder) -> float:
    try:
        return folder.heartbeat.stat().st_mtime
    except OSError:  # nobody knows
        return math.inf


def _is_later(path: Path, died: float) -> bool:
    """Whether a file was written when the process was gone: by a training in the same folder that is not tracked."""
    if path.stat().st_mtime <= died + SILENCE:
        return False
    logger.warning("%s was written when the run was over, and is not delivered", path)
    return True


def secure_files(folder: RunFolder, silence: float = SILENCE) -> None:
    """Copy what somebody is about to overwrite or to delete and some plugin has not got yet; see ``copies``.

    :raises JournalError, OSError: if that cannot be done
    """
    end_orphan(folder, silence)
    copies.copy_owed(folder)
