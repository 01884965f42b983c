"""Which run folders may be removed: those that every tracker has received, or that were packed up."""

from __future__ import annotations

from tracking_hooks.run import journal, receipt, state, story
from tracking_hooks.run.layout import RunFolder


def has_begun(folder: RunFolder) -> bool:
    """Whether the first line of the journal is complete: else its process died too early to record anything."""
    with folder.journal.open("rb") as file:
        return file.readline().endswith(b"\n")


def reason_to_keep(folder: RunFolder) -> str:
    """Return why a run folder has to stay, in words for a person; empty: it may go."""
    life = state.life(folder)
    if life.alive:
        return "it is running" if life.silent_for is None else "it may be running on another machine"
    try:
        for label in state.labels(folder) if has_begun(folder) else []:
            owed = state.owed(folder, label)
            if owed.pending or not owed.is_over:
                return f"{label} has not received all of it"
            if owed.aside:
                return f"{label} has events set aside: tracking-hooks status --set-aside {folder.path}"
        if receipt.is_recorded_elsewhere(folder) and story.read(folder.journal)[1].is_open:
            return "it was running when it was packed, and a later pack extends it"
    except (journal.JournalError, OSError) as error:
        return str(error)
    return ""
