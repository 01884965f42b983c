"""The trainer side. It imports nothing that the training process has not already imported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracking_hooks.events import Capture, Destination, Run, State, Unavailable
from tracking_hooks.markers import hookimpl
from tracking_hooks.pages import Page
from tracking_hooks_mlflow import last_active, mistakes, pages, registration, stray, uris

_TRUE = {"y", "yes", "t", "true", "on", "1"}  # as Ultralytics reads it

DEFAULT_EXPERIMENT = "/Shared/Ultralytics"
"""The name that Ultralytics' own integration uses when ``project`` is not set."""

VIEW = "TRACKING_HOOKS_MLFLOW_VIEW"
"""``on``: an experiment that was there before gets the view "Training", too; ``off``: no experiment gets it."""

settings = {
    registration.VARIABLE: "the registered model that the best checkpoint becomes a version of",
    VIEW: 'whether an experiment gets the saved view "Training"',
}
"""The variables of this plugin's own."""

library = "mlflow"
"""Whoever imports this behind a training is told of its run then."""

_WITH_MODEL = ("detect", "segment", "pose", "obb", "classify", "semantic", "depth")
"""Tasks whose best checkpoint becomes a model; those of other training loops do not. A group has none."""


@hookimpl
def capture(run: Run, parent: Destination | None) -> Capture:
    """Return where MLflow would record this run: by its environment variables, else by the user's own settings.

    A trial is recorded beside its tuning, which has joined the user's own run if there is one. So is a run of a group,
    unless the script has opened a run for it.
    """
    if not run.is_trial:  # a trial belongs to the time of its tuning
        stray.training_begins()
    active = None if run.is_trial else stray.open_run()
    if parent is None or (active is not None and active.info.run_id != parent.get("run_id")):
        destination = _destination(run)
    else:
        destination = _beside(parent, run)
    uri = destination["tracking_uri"]
    is_held = active is not None  # a trial never is: behind it comes the next one
    summary = _where_to_look(run, uri)
    if "register" in destination and run.task not in (*_WITH_MODEL, "group"):
        summary += f"; nothing is registered: there is no MLflow model for the task {run.task!r}"
    return Capture(destination=destination, disables="mlflow", summary=summary, place=uri, is_held=is_held)


@hookimpl
def probe(destination: Destination, timeout: float) -> str:
    """Return what answers at the tracking URI."""
    from tracking_hooks_mlflow.probe import probe

    return probe(destination["tracking_uri"], timeout)


@hookimpl
def train_is_over(run: Run) -> None:
    """Note the run that a call of the user's has opened without having been asked to."""
    if not run.is_trial:
        stray.training_is_over()


@hookimpl
def train_returns(state: State) -> None:
    """Let ``mlflow.last_active_run()`` return this run, if the script has imported MLflow and has no run open."""
    if stray.imported_by_user() and stray.open_run() is None and "run_id" in state:
        last_active.become(state["run_id"])


@hookimpl
def page(state: State, destination: Destination, overview: bool) -> Page | None:
    """Return the page of a run's metrics, or that of the experiment with the view "Training"."""
    if not {"run_id", "experiment_id"} <= state.keys():
        return None
    experiment, uri = state["experiment_id"], destination["tracking_uri"]
    if overview:
        url = pages.of_runs(experiment, has_view=state.get("view", False))
    else:
        url = pages.of_run(experiment, state["run_id"], "model-metrics")
    if uris.is_web(uri):
        return Page(url=f"{uri.rstrip('/')}/{url}")
    if not uris.is_in_process(uri):
        return None
    if (path := uris.local_path(uri)) and not path.exists():
        raise Unavailable(f"{path} is gone, and with it what MLflow had of this run")
    server = ["mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"]
    environment = {"MLFLOW_BACKEND_STORE_URI": uris.complete(uri), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Page(url=url, command=[sys.executable, "-m", *server], environment=environment, store=uri)


def _beside(parent: Destination, run: Run) -> Destination:
    same = ["tracking_uri", "experiment", "experiment_id", "project", "view"]
    place: Destination = {key: parent[key] for key in same if key in parent}
    if run.group:  # a run of a group is no trial: it may become a version, if its own process says so
        place |= _wish()
    return {**place, "run_name": run.name}


def _destination(run: Run) -> Destination:
    mlflow = stray.imported_by_user()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (mlflow and mlflow.get_tracking_uri())
    uri = uris.absolute(mistakes.checked(uri), _working_folder()) if uri else uris.default(_working_folder())
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
    destination |= _wish() | _view()
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


def _view() -> dict[str, str]:
    given = os.environ.get(VIEW, "").strip().lower()
    if given not in {"", "on", "off"}:
        raise ValueError(f"{VIEW}={given!r} must be on or off")
    return {"view": given} if given else {}


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


def _where_to_look(run: Run, uri: str) -> str:
    if not uris.is_in_process(uri):
        return uri
    is_notebook = hasattr(sys, "ps1") and "ipykernel" in sys.modules  # which a library may have imported in a script
    mark = "!" if is_notebook else ""  # so that a cell takes it
    where = f"{mark}tracking-hooks open {run.uid} --tracker mlflow; in {uri}"
    obstacle = _obstacle(uri)
    return f"{where}, which cannot be written: {obstacle}" if obstacle else where


def _obstacle(uri: str) -> str:
    """Return what keeps the relay from writing to a database file here: it would wait for that."""
    with suppress(OSError):  # a link that leads nowhere, a name that is too long: the relay says what it meets
        path = uris.local_path(uri) if uris.is_database(uri) else None
        return uris.obstacle(path) if path else ""
    return ""
