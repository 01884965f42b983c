"""One MLflow run, addressed by its id: no active run, no global state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tracking_hooks.events import Destination, Rejected, Run, State, Status, Unavailable
from tracking_hooks_mlflow import parts, uris
from tracking_hooks_mlflow.errors import told_to_relay
from tracking_hooks_mlflow.names import Names, flattened, spelled
from tracking_hooks_mlflow.store import connect
from tracking_hooks_mlflow.trainer import DEFAULT_EXPERIMENT

RUN_UID = "tracking_hooks.run_uid"
"""The tag by which a run is found."""

PARENT_UID = "tracking_hooks.parent_uid"
"""The tag by which the trials of a tuning are found."""

STOP = "tracking_hooks.stop"
"""Setting this tag in MLflow's UI, with a reason as the value, ends the training."""

BEGAN = "tracking_hooks.began"
"""The tag with the time of the run's last start or resume: the end of an earlier, killed part comes too late."""

MAX_PARAM = 6000
MAX_TAG = 5000
PARAMS_PER_BATCH = 100

_STATUS: dict[Status, str] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "killed": "KILLED",
}


class MLflowRun:
    """Writes to a run. Every write may be repeated without creating duplicates.

    :param uri: the tracking URI without credentials, for messages
    """

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self.client = client
        self.uri = uri
        self.run_id = run_id

    @classmethod
    def open(cls, run: Run, time: float, state: State, destination: Destination, *, resumed: bool = False) -> MLflowRun:
        """Return the run named in ``state``, or the run to join, or the run with our uid, or a new run.

        :param time: the start time for a new run
        :param resumed: the run may have started on another machine, in another experiment
        """
        uri = destination["tracking_uri"]
        client = connect(uri)
        with told_to_relay(uri):
            if "run_id" not in state:
                if joined := destination.get("run_id"):
                    info = client.get_run(joined).info
                else:
                    info = (resumed and _find_anywhere(client, run.uid)) or _find_or_create(
                        client, run, time, destination
                    )
                if uris.is_web(uri):
                    state["url"] = f"{uri.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
                state["run_id"] = info.run_id
        return cls(client, uri, state["run_id"])

    def log(self, metrics: Sequence[Metric] = (), params: Sequence[Param] = ()) -> None:
        """Send metrics or params. The client splits them if they are too many for one request."""
        with told_to_relay(self.uri):
            # Synchronous even with MLFLOW_ENABLE_ASYNC_LOGGING, which would lose errors.
            self.client.log_batch(self.run_id, metrics=metrics, params=params, synchronous=True)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing older ones."""
        entities = [RunTag(spelled(key), value[:MAX_TAG]) for key, value in tags.items()]
        with told_to_relay(self.uri):
            self.client.log_batch(self.run_id, tags=entities, synchronous=True)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Send the params that are missing. MLflow never changes a param, so a new value becomes a tag."""
        flat = flattened(params)
        names = Names({})
        values = {names.key(name, beside=flat): value for name, value in flat.items()}
        for key, value in values.items():
            if len(value) > MAX_PARAM:
                self.write(value, f"params/{key}.txt")
        with told_to_relay(self.uri):
            known = self.client.get_run(self.run_id).data.params
        cut = {key: value[:MAX_PARAM] for key, value in values.items()}
        missing = [Param(key, value) for key, value in cut.items() if key not in known]
        for start in range(0, len(missing), PARAMS_PER_BATCH):
            self.log(params=missing[start : start + PARAMS_PER_BATCH])
        changed = {key: value for key, value in cut.items() if known.get(key, value) != value}
        if changed:
            self.tag({f"tracking_hooks.param.{key}": value for key, value in changed.items()})

    def upload(self, path: Path, name: str) -> None:
        """Upload a file as artifact ``name``, replacing an older one.

        :raises Rejected: the file is gone
        """
        if not path.is_file():
            raise Rejected(f"{path} is gone, so {name} cannot be uploaded to MLflow at {self.uri}")
        folder, _, base = name.rpartition("/")
        with _called(path, base) as file, told_to_relay(self.uri):
            parts.upload(lambda: self.client.log_artifact(self.run_id, str(file), folder or None))

    def write(self, text: str, name: str) -> None:
        """Upload a text as artifact ``name``."""
        with told_to_relay(self.uri):
            self.client.log_text(self.run_id, text, name)

    def began(self) -> float:
        """Return when the run last started or was resumed, in seconds since 1970."""
        with told_to_relay(self.uri):
            return float(self.client.get_run(self.run_id).data.tags.get(BEGAN, 0))

    def stop_asked_for(self) -> str | None:
        """Return the reason of a request to end the training, if there is one."""
        with told_to_relay(self.uri):
            tags: dict[str, str] = self.client.get_run(self.run_id).data.tags
        return tags.get(STOP)

    def nest(self, run: Run) -> None:
        """Put a trial below its tuning, or below a tuning the trials that were created before it."""
        with told_to_relay(self.uri):
            experiment = self.client.get_run(self.run_id).info.experiment_id
            if run.parent is not None:
                parents = self.client.search_runs([experiment], f"tags.`{RUN_UID}` = '{run.parent}'", max_results=1)
                pairs = [(self.run_id, parent.info.run_id) for parent in parents]
            else:
                trials = self.client.search_runs([experiment], f"tags.`{PARENT_UID}` = '{run.uid}'", max_results=1000)
                pairs = [(trial.info.run_id, self.run_id) for trial in trials]
            for child, parent in pairs:
                self.client.set_tag(child, MLFLOW_PARENT_RUN_ID, parent)

    def reopen(self) -> None:
        """Set the run to RUNNING again, and clear a request to stop."""
        with told_to_relay(self.uri):
            self.client.update_run(self.run_id, status="RUNNING")
            if STOP in self.client.get_run(self.run_id).data.tags:
                self.client.delete_tag(self.run_id, STOP)

    def drop_others(self, uid: str) -> None:
        """Delete empty runs that the server created after we had given up waiting for ``create_run``."""
        with told_to_relay(self.uri):
            experiment = self.client.get_run(self.run_id).info.experiment_id
            for other in self.client.search_runs([experiment], f"tags.`{RUN_UID}` = '{uid}'"):
                is_empty = not other.data.metrics and not other.data.params
                if other.info.run_id != self.run_id and other.info.status == "RUNNING" and is_empty:
                    self.client.delete_run(other.info.run_id)

    def end(self, status: Status, time: float) -> None:
        """Close the run."""
        with told_to_relay(self.uri):
            self.client.set_terminated(self.run_id, _STATUS[status], end_time=milliseconds(time))


def milliseconds(seconds: float) -> int:
    """Return a time in milliseconds, as MLflow expects it."""
    return round(seconds * 1000)


def _find_anywhere(client: MlflowClient, uid: str) -> Any:
    experiments: list[str] = []
    token = None
    while True:
        page = client.search_experiments(page_token=token)
        experiments += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            break
    found = client.search_runs(experiments, f"tags.`{RUN_UID}` = '{uid}'", max_results=1)
    return found[0].info if found else None


def _find_or_create(client: MlflowClient, run: Run, time: float, destination: Destination) -> Any:
    experiment = destination.get("experiment_id") or _experiment(client, destination)
    # The answer of create_run, or our state, may have been lost: do not create the run twice.
    found = client.search_runs([experiment], f"tags.`{RUN_UID}` = '{run.uid}'", max_results=1)
    if found:
        return found[0].info
    return client.create_run(
        experiment,
        start_time=milliseconds(time),
        tags={RUN_UID: run.uid},
        run_name=destination.get("run_name", run.name),
    ).info


def _experiment(client: MlflowClient, destination: Destination) -> str:
    name = destination.get("experiment", DEFAULT_EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            number: str = client.create_experiment(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another relay has just created it
        else:
            return number
    if found.lifecycle_stage == "deleted":
        # Restoring it would bring back all of its old runs, too.
        raise Unavailable(
            f"MLflow's experiment {name!r} was deleted. Restore it with"
            f" `mlflow experiments restore --experiment-id {found.experiment_id}`, or delete it for good with"
            f" `mlflow gc --experiment-ids {found.experiment_id}`; the run is recorded then."
        )
    experiment_id: str = found.experiment_id
    return experiment_id


@contextmanager
def _called(path: Path, name: str) -> Iterator[Path]:
    """Provide the file under another name, since MLflow names an artifact after its file."""
    if path.name == name:
        yield path
        return
    with TemporaryDirectory(prefix="tracking-hooks-") as folder:
        other = Path(folder, name)
        try:
            os.link(path, other)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, other)
        yield other
