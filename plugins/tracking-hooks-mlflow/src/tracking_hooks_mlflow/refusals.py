"""What MLflow would refuse to every event: an experiment or a run that is not there. Delivery waits for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_mlflow.errors import told_to_relay

_ELSEWHERE = "deliver what was recorded with `tracking-hooks sync --to mlflow`"


@contextmanager
def waited_for(uri: str) -> Iterator[None]:
    """Raise ``Unavailable`` whatever MLflow answers.

    :param uri: the tracking URI, without credentials
    """
    try:
        with told_to_relay(uri):
            yield
    except Rejected as error:
        raise _of_this_run(str(error)) from None


def check_run(client: MlflowClient, uri: str, info: Any) -> None:
    """Raise ``Unavailable`` if a run was deleted.

    :param info: the run as the server tells of it
    """
    if info.lifecycle_stage == "deleted":
        check_experiment(uri, client.get_experiment(info.experiment_id), with_run=True)
        raise _of_this_run(
            f"MLflow at {uri}: the run {info.run_id} was deleted. Restore it with"
            f" `mlflow runs restore --run-id {info.run_id}`; delivery goes on then."
        )


def check_experiment(uri: str, experiment: Any, *, with_run: bool = False) -> None:
    """Raise ``Unavailable`` if an experiment was deleted. To restore it would bring back all of its old runs, too.

    :param with_run: whether this training's run is one of them
    """
    if experiment.lifecycle_stage == "deleted":
        number = experiment.experiment_id
        purge = "" if with_run else f", or delete it for good with `mlflow gc --experiment-ids {number}`"
        raise _of_this_run(
            f"MLflow at {uri}: the experiment {experiment.name!r} was deleted. Restore it with"
            f" `mlflow experiments restore --experiment-id {number}`{purge}; delivery goes on then."
        )


def no_experiment(uri: str, number: str) -> Unavailable:
    """Return what to raise if there is no experiment of the number that was recorded."""
    return _of_this_run(
        f"MLflow at {uri} has no experiment {number}, which MLFLOW_EXPERIMENT_ID names. mlflow.set_experiment() sets it"
        " to a number of the store in use: call mlflow.set_tracking_uri() first, or set MLFLOW_EXPERIMENT_NAME instead;"
        f" {_ELSEWHERE}."
    )


def no_run(uri: str, number: str, *, joined: bool) -> Unavailable:
    """Return what to raise if a run is not there.

    :param joined: whether it is the user's own
    """
    why = "in which this training was to be recorded" if joined else "in which this training is recorded"
    return _of_this_run(
        f"MLflow at {uri} has no run {number}, {why}. Unset MLFLOW_RUN_ID if it names that run, and {_ELSEWHERE}."
    )


def _of_this_run(why: str) -> Unavailable:
    return Unavailable(why, only_this_run=True)
