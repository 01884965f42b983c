"""The trainer side. It imports nothing that the training process has not already imported."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from tracking_hooks.events import Capture, Destination, Run, State
from tracking_hooks.markers import hookimpl
from tracking_hooks_mlflow import last_active, registration, stray, uris

_TRUE = {"y", "yes", "t", "true", "on", "1"}  # as Ultralytics reads it

DEFAULT_EXPERIMENT = "/Shared/Ultralytics"
"""The name that Ultralytics' own integration uses when ``project`` is not set."""

_WITHOUT_MODEL = ("semantic", "depth")
"""Tasks whose predictions are no table of detections: their best checkpoint is kept as a file only."""


@hookimpl
def capture(run: Run, parent: Destination | None) -> Capture:
    """Return where MLflow would record this run: by its environment variables, else by the user's own settings.

    A trial is recorded beside its tuning, which has joined the user's own run if there is one; a run of a group, too.
    """
    is_trial = parent is not None and run.group is None
    if not is_trial:  # a trial belongs to the time of its tuning
        stray.training_begins()
    destination = _beside(parent, run) if parent else _destination(run)
    uri = destination["tracking_uri"]
    is_held = not is_trial and stray.open_run() is not None  # behind a trial comes the next one
    summary = _where_to_look(uri)
    if "register" in destination and run.task in _WITHOUT_MODEL:
        summary += f"; nothing is registered: there is no MLflow model for the task {run.task!r}"
    return Capture(destination=destination, disables="mlflow", summary=summary, place=uri, is_held=is_held)


@hookimpl
def train_returns(state: State) -> None:
    """Let ``mlflow.last_active_run()`` return this run, if the script has imported MLflow and has no run open."""
    stray.training_is_over()
    if stray.imported_by_user() and stray.open_run() is None and "run_id" in state:
        last_active.become(state["run_id"])


def _beside(parent: Destination, run: Run) -> Destination:
    same = ["tracking_uri", "experiment", "experiment_id", "project"]
    place: Destination = {key: parent[key] for key in same if key in parent}
    if run.group:  # a run of a group is no trial: it may become a version, if its own process says so
        place |= _wish()
    return {**place, "run_name": run.name}


def _destination(run: Run) -> Destination:
    mlflow = stray.imported_by_user()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (mlflow and mlflow.get_tracking_uri())
    uri = uris.absolute(uri, _working_folder()) if uri else uris.default(_working_folder())
    uri = uris.without_credentials(uri)
    destination: dict[str, Any] = {
        "tracking_uri": uri,
        **_experiment(run),
        "run_name": os.environ.get("MLFLOW_RUN") or os.environ.get("MLFLOW_RUN_NAME") or run.name,
    }
    active = stray.open_run()
    joined = active.info.run_id if active else os.environ.get("MLFLOW_RUN_ID")
    if joined:
        destination["run_id"] = joined
    if active:
        destination["experiment_id"] = active.info.experiment_id  # where the trials of a tuning find their place
    destination |= _wish()
    if os.environ.get("MLFLOW_KEEP_RUN_ACTIVE", "").strip().lower() in _TRUE:
        destination["keep_active"] = True
    return destination


def _wish() -> dict[str, str]:
    """Return the name to register the model under, if there is one.

    :raises ValueError: it is not one; now, not after the training
    """
    wish = os.environ.get(registration.VARIABLE, "").strip()
    if wish:
        registration.parse(wish)
    return {"register": wish} if wish else {}


def _working_folder() -> Path:
    """Return the working directory, also one that was deleted: then the one that the shell says it was."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.environ.get("PWD", os.sep))


def _experiment(run: Run) -> dict[str, str]:
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return {"experiment": name}
    # mlflow.set_experiment() sets this one, for child processes.
    if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return {"experiment_id": number}
    project = Path(run.project)
    if project.is_absolute():
        return {"experiment": project.name or DEFAULT_EXPERIMENT, "project": run.project}
    return {"experiment": run.project or DEFAULT_EXPERIMENT}


def _where_to_look(uri: str) -> str:
    if uri.startswith(("sqlite", "file:")):
        return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return uri
