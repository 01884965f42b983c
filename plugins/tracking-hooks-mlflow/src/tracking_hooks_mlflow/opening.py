"""The run of a training: made once by the first part of the plugin, found by the other one and by addenda."""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tracking_hooks.events import Destination, Run, State, Unavailable
from tracking_hooks_mlflow import pages, refusals, uris, view
from tracking_hooks_mlflow.run import BEGAN, RUN_UID, MLflowRun, milliseconds, with_tag
from tracking_hooks_mlflow.store import connect
from tracking_hooks_mlflow.trainer import DEFAULT_EXPERIMENT

_MOMENT = 2.0
"""Seconds in which a machine that has made a run says that it goes on with it."""


def find_or_make(run: Run, time: float, state: State, destination: Destination, *, resumed: bool) -> MLflowRun:
    """Return the run named in ``state``, or the user's own, or the run with our uid, or a new one.

    :param time: the start time for a new run
    :param resumed: the run may have started on another machine, in another experiment
    """
    uri = destination["tracking_uri"]
    client = connect(uri)
    shown = view.of_new(run.task, milliseconds(time)) if destination.get("view") != "off" else {}
    with refusals.waited_for(uri):
        found = _known(client, run, state, destination)
        users = _users_own(client, destination) if found is None else None
        if users is not None and _is_taken(client, users, run.uid):
            found = users
        if found is None and resumed:
            found = _find(client, run.uid, _all_experiments(client))
        if found is None:
            tags = {RUN_UID: run.uid}
            if users is not None:
                experiment, tags[MLFLOW_PARENT_RUN_ID] = users.info.experiment_id, users.info.run_id
            else:
                experiment = _experiment(client, destination) or _make_experiment(client, destination, shown)
            found = _find(client, run.uid, [experiment])
            if found is None:
                name = destination.get("run_name", run.name)
                made = client.create_run(experiment, start_time=milliseconds(time), tags=tags, run_name=name)
                found = _agreed(client, run.uid, made)
        opened = _opened(client, found, destination)
        state["run_id"], state["experiment_id"] = opened.run_id, opened.experiment_id
        view.note(client, opened.experiment_id, state, shown if destination.get("view") == "on" else {})
        if not opened.is_joined and BEGAN not in found.data.tags:
            client.set_tag(found.info.run_id, BEGAN, str(time))
    return opened


def find(run: Run, state: State, destination: Destination, *, resumed: bool) -> MLflowRun:
    """Return the run that ``find_or_make`` has made, for its files or for an addendum to it.

    :param resumed: the run may be in another experiment
    :raises Unavailable: there is none yet
    """
    uri = destination["tracking_uri"]
    client = connect(uri)
    with refusals.waited_for(uri):
        found = _known(client, run, state, destination)
        if found is None:
            users = _users_own(client, destination)
            if users is not None and users.data.tags.get(RUN_UID) == run.uid:
                found = users
            else:
                place = users.info.experiment_id if users else _experiment(client, destination, with_run=True)
                found = _find(client, run.uid, [place] if place else [])
        if found is None and (resumed or run.addendum is not None):
            found = _find(client, run.uid, _all_experiments(client))
    if found is not None:
        opened = _opened(client, found, destination)
        if opened.is_joined or BEGAN in found.data.tags:
            state["run_id"] = opened.run_id
            return opened
    what = "its files wait" if run.addendum is None else "what came after its end waits"
    raise Unavailable(f"MLflow at {uri} does not have this training's run yet: {what} for it.", only_this_run=True)


def _opened(client: MlflowClient, found: Any, destination: Destination) -> MLflowRun:
    is_joined = found.info.run_id == destination.get("run_id")
    return MLflowRun(client, destination["tracking_uri"], found, is_joined=is_joined)


def _known(client: MlflowClient, run: Run, state: State, destination: Destination) -> Any:
    """Return the run that an earlier instance has found."""
    if "run_id" not in state:
        return None
    found = _get(client, state["run_id"], destination)
    return found if found.data.tags.get(RUN_UID, run.uid) == run.uid else None


def _users_own(client: MlflowClient, destination: Destination) -> Any:
    """Return the run that the user has opened, if there is one."""
    return _get(client, destination["run_id"], destination) if "run_id" in destination else None


def _get(client: MlflowClient, number: str, destination: Destination) -> Any:
    uri = destination["tracking_uri"]
    try:
        found = client.get_run(number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise refusals.no_run(uri, number, joined=number == destination.get("run_id")) from None
    refusals.check_run(client, uri, found.info)
    return found


def _is_taken(client: MlflowClient, users: Any, uid: str) -> bool:
    """Take the user's own run for the training that comes first; the others are nested below it.

    :returns: whether it is that of this training
    """
    number = users.info.run_id
    if RUN_UID in users.data.tags:
        return bool(users.data.tags[RUN_UID] == uid)
    try:
        # MLflow never changes a param: of two trainings that begin at once, one is refused. Two tags would both be set.
        client.log_param(number, RUN_UID, uid, synchronous=True)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
    if client.get_run(number).data.params.get(RUN_UID) != uid:
        return False
    client.set_tag(number, RUN_UID, uid, synchronous=True)
    return True


def _find(client: MlflowClient, uid: str, experiments: Sequence[str]) -> Any:
    """Return the run with our uid: the answer of ``create_run``, or our state, may have been lost."""
    ours = with_tag(client, experiments, RUN_UID, uid)
    return next((run for run in ours if BEGAN in run.data.tags), ours[0] if ours else None)


def _agreed(client: MlflowClient, uid: str, made: Any) -> Any:
    """Return the one run to go on with: a copy of the run folder may be delivered by another machine at this moment.

    Who sees only the run that it has made goes on with it, and says so by ``BEGAN``. Who sees more gives the others
    the time for that. Then a run that has begun comes first, else the oldest one.
    """
    place = [made.info.experiment_id]
    if len(ours := with_tag(client, place, RUN_UID, uid)) > 1:
        sleep(_MOMENT)
        ours = with_tag(client, place, RUN_UID, uid)
    order = sorted(ours, key=lambda run: (BEGAN not in run.data.tags, run.info.start_time, run.info.run_id)) or [made]
    for other in order[1:]:
        if other.info.run_id == made.info.run_id and BEGAN not in other.data.tags:
            client.delete_run(made.info.run_id)
    return order[0]


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


def _make_experiment(client: MlflowClient, destination: Destination, tags: dict[str, str]) -> str:
    try:
        return str(client.create_experiment(_name(destination), tags=tags))
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
    return f"{run.uri.rstrip('/')}/{pages.of_run(run.experiment_id, run.run_id)}"
