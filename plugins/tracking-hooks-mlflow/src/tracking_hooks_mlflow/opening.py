"""The run of a training: made once by the first part of the plugin, found by the other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Destination, Run, State, Unavailable
from tracking_hooks_mlflow import refusals, uris
from tracking_hooks_mlflow.run import BEGAN, RUN_UID, MLflowRun, milliseconds
from tracking_hooks_mlflow.store import connect
from tracking_hooks_mlflow.trainer import DEFAULT_EXPERIMENT


def find_or_make(run: Run, time: float, state: State, destination: Destination, *, resumed: bool) -> MLflowRun:
    """Return the run to join, or the run named in ``state``, or the run with our uid, or a new one.

    :param time: the start time for a new run
    :param resumed: the run may have started on another machine, in another experiment
    """
    uri = destination["tracking_uri"]
    client = connect(uri)
    with refusals.waited_for(uri):
        found = _known(client, state, destination)
        if found is None and resumed:
            found = _find(client, run.uid, _all_experiments(client))
        if found is None:
            experiment = _experiment(client, destination) or _make_experiment(client, destination)
            found = _find(client, run.uid, [experiment]) or client.create_run(
                experiment, start_time=milliseconds(time), tags={RUN_UID: run.uid},
                run_name=destination.get("run_name", run.name),
            )  # fmt: skip
        if not is_joined(destination) and BEGAN not in found.data.tags:
            client.set_tag(found.info.run_id, BEGAN, str(time))
    return _opened(client, found, state, destination)


def find(run: Run, state: State, destination: Destination, *, resumed: bool) -> MLflowRun:
    """Return the run that ``find_or_make`` has made.

    :param resumed: the run may be in another experiment
    :raises Unavailable: there is none yet
    """
    uri = destination["tracking_uri"]
    client = connect(uri)
    with refusals.waited_for(uri):
        found = _known(client, state, destination)
        if found is None:
            experiment = _experiment(client, destination, with_run=True)
            places = _all_experiments(client) if resumed else [experiment] if experiment else []
            found = _find(client, run.uid, places)
    if found is None or not (is_joined(destination) or BEGAN in found.data.tags):
        raise Unavailable(
            f"MLflow at {uri} does not have this training's run yet: its files wait for it.", only_this_run=True
        )
    return _opened(client, found, state, destination)


def is_joined(destination: Destination) -> bool:
    """Whether the run is the user's own, which we neither close nor rename."""
    return "run_id" in destination


def _opened(client: MlflowClient, found: Any, state: State, destination: Destination) -> MLflowRun:
    state["run_id"] = found.info.run_id
    return MLflowRun(client, destination["tracking_uri"], found.info.run_id, found.info.experiment_id)


def _known(client: MlflowClient, state: State, destination: Destination) -> Any:
    number = state.get("run_id") or destination.get("run_id")
    if number is None:
        return None
    uri = destination["tracking_uri"]
    try:
        found = client.get_run(number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise refusals.no_run(uri, number, joined=is_joined(destination)) from None
    refusals.check_run(client, uri, found.info)
    return found


def _find(client: MlflowClient, uid: str, experiments: Sequence[str]) -> Any:
    """Return the run with our uid: the answer of ``create_run``, or our state, may have been lost."""
    if not experiments:
        return None
    found = client.search_runs(list(experiments), f"tags.`{RUN_UID}` = '{uid}'")
    ours = [run for run in found if run.data.tags.get(RUN_UID) == uid]
    return next((run for run in ours if BEGAN in run.data.tags), ours[0] if ours else None)


def _all_experiments(client: MlflowClient) -> list[str]:
    experiments: list[str] = []
    token = None
    while True:
        page = client.search_experiments(page_token=token)
        experiments += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return experiments


def _experiment(client: MlflowClient, destination: Destination, *, with_run: bool = False) -> str | None:
    """Return the number of the experiment; None if there is none of the name.

    :param with_run: whether this training's run is in it
    """
    uri = destination["tracking_uri"]
    if number := destination.get("experiment_id"):
        try:
            found = client.get_experiment(number)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise refusals.no_experiment(uri, number) from None
    else:
        found = client.get_experiment_by_name(_name(destination))
        if found is None:
            return None
    refusals.check_experiment(uri, found, with_run=with_run)
    return str(found.experiment_id)


def _make_experiment(client: MlflowClient, destination: Destination) -> str:
    try:
        return str(client.create_experiment(_name(destination)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(_experiment(client, destination))  # another relay has just created it


def _name(destination: Destination) -> str:
    name: str = destination.get("experiment", DEFAULT_EXPERIMENT)
    return name


def url(run: MLflowRun) -> str | None:
    """Return the address of the run's page, if the store has pages."""
    if not uris.is_web(run.uri):
        return None
    return f"{run.uri.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
