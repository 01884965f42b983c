"""The trainer side: says where the event file will be. Imports no TensorBoard."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from tracking_hooks.events import Capture, Destination, Run
from tracking_hooks.markers import hookimpl

LOGDIR = "TRACKING_HOOKS_TENSORBOARD_LOGDIR"
"""The folder for all runs, with one subfolder per run. If unset, the event file is in ``save_dir``."""


@hookimpl
def capture(run: Run, parent: Destination | None) -> Capture:
    """Return the folder of the event file; for a trial, inside that of its tuning, which is not deleted.

    A run of a group is inside the folder of the group. A group that is recorded behind its runs is in none of theirs.
    """
    is_behind = run.task == "group" and run.parent is None
    logdir = _own_folder(Path(parent["logdir"]) / run.name, run) if parent and not is_behind else _logdir(run)
    return Capture(
        destination={"logdir": str(logdir)},
        disables="tensorboard",
        summary=_where_to_look(logdir),
        place=logdir.as_uri(),
    )


def _where_to_look(logdir: Path) -> str:
    command = f"tensorboard --logdir {shlex.quote(str(logdir))}"
    # In a notebook there is no terminal at hand, and TensorBoard can be shown in a cell.
    return f"%load_ext tensorboard, then %{command}" if "ipykernel" in sys.modules else command


def _logdir(run: Run) -> Path:
    folder = os.environ.get(LOGDIR)
    if not folder:
        return run.save_dir.absolute()
    if "://" in folder:
        raise ValueError(f"{LOGDIR} must be a folder on this machine, not an address: {folder!r}")
    return _own_folder(Path(folder).expanduser().absolute() / (run.group or "") / run.name, run)


def _own_folder(logdir: Path, run: Run) -> Path:
    # Two projects may each have a run "train", and TensorBoard shows all files in a folder as one run.
    files = [path.name for path in logdir.glob("*tfevents*")]
    if files and not any(name.endswith(run.uid) for name in files):
        return logdir.with_name(f"{logdir.name}-{run.uid}")
    return logdir
