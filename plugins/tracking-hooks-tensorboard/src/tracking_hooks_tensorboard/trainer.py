"""The trainer side: says where the event file will be. Imports no TensorBoard."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from tracking_hooks.events import Capture, Destination, Run, State, Unavailable
from tracking_hooks.markers import hookimpl
from tracking_hooks.pages import Page
from tracking_hooks_tensorboard import pins

LOGDIR = "TRACKING_HOOKS_TENSORBOARD_LOGDIR"
"""The folder for all runs, with one subfolder per run. If unset, the event file is in ``save_dir``."""

settings = {LOGDIR: "the folder for all runs"}
"""The variables of this plugin's own."""


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
        summary=_where_to_look(run, logdir),
        place=logdir.as_uri(),
    )


@hookimpl
def probe(destination: Destination) -> str:
    """Return the folder of the runs, if it can be written."""
    folder = Path(destination["logdir"]).parent
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise Unavailable(f"TensorBoard's folder {folder} cannot be written: see {existing}")
    return str(folder)


@hookimpl
def page(state: State, destination: Destination, overview: bool) -> Page | None:
    """Return TensorBoard's page for the run, or for the folder that it is in, with mAP and the losses on top."""
    if "file" not in state:
        return None
    logdir = Path(destination["logdir"])
    if not logdir.is_dir():
        raise Unavailable(f"{logdir} is gone, and with it what TensorBoard had of this run")
    shown = str(logdir.parent if overview else logdir)
    server = ["tensorboard.main", "--logdir", shown, "--host", "127.0.0.1", "--port", "{port}"]
    return Page(
        url=pins.address(state.get("pins", [])), command=[sys.executable, "-m", *server], store=Path(shown).as_uri()
    )


def _where_to_look(run: Run, logdir: Path) -> str:
    # In a notebook there is no terminal, and a cell shows TensorBoard. Elsewhere a library may have imported ipykernel.
    if hasattr(sys, "ps1") and "ipykernel" in sys.modules:
        return f"%load_ext tensorboard, then %tensorboard --logdir {shlex.quote(str(logdir))}"
    return f"tracking-hooks open {run.uid} --tracker tensorboard; in {logdir}"


def _logdir(run: Run) -> Path:
    folder = os.environ.get(LOGDIR)
    if not folder:
        save_dir = run.save_dir.absolute()
        return save_dir / run.uid if _is_of_another(save_dir, run) else save_dir  # an earlier run's (exist_ok)
    if "://" in folder:
        raise ValueError(f"{LOGDIR} must be a folder on this machine, not an address: {folder!r}")
    return _own_folder(Path(folder).expanduser().absolute() / (run.group or "") / run.name, run)


def _own_folder(logdir: Path, run: Run) -> Path:
    # Two projects may each have a run "train".
    return logdir.with_name(f"{logdir.name}-{run.uid}") if _is_of_another(logdir, run) else logdir


def _is_of_another(logdir: Path, run: Run) -> bool:
    """Whether a folder shows another run: TensorBoard takes all files in it for one, and mixes the two."""
    files = [path.name for path in logdir.glob("*tfevents*")]
    return bool(files) and not any(name.endswith(run.uid) for name in files)
