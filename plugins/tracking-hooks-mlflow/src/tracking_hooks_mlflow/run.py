"""One MLflow run, addressed by its id: no active run, no global state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from mlflow import MlflowClient, entities
from mlflow.entities import Metric, Param, RunData, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tracking_hooks.events import Rejected, Run, Status
from tracking_hooks_mlflow import refusals, transfers, uris
from tracking_hooks_mlflow.errors import told_to_relay
from tracking_hooks_mlflow.names import spelled

OURS = "tracking_hooks."
"""How the names of our own tags begin."""

RUN_UID = "tracking_hooks.run_uid"
"""The tag by which a run is found."""

PARENT_UID = "tracking_hooks.parent_uid"
"""The tag by which the trials of a tuning are found."""

STOP = "tracking_hooks.stop"
"""Setting this tag in MLflow's UI, with a reason as the value, ends the training."""

BEGAN = "tracking_hooks.began"
"""The tag with the time of the run's last start or resume: the end of an earlier, killed part comes too late. A run
without it is one that the server has made after we had given up waiting."""

MAX_PARAM = 6000
"""Characters of a param. The artifact ``params/<key>.txt`` has the whole of a longer one."""

MAX_TAG = 5000
"""Characters of a tag; the description is one."""

MAX_METRICS = 1000
"""Metrics in a request."""

_STATUS: dict[Status, str] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "killed": "KILLED",
}


class MLflowRun:
    """Writes to a run. Every write may be repeated without creating duplicates.

    :param uri: the tracking URI without credentials, for messages
    :param found: the run as the server tells of it
    :param is_joined: whether it is the user's own, which we neither close nor describe
    """

    def __init__(self, client: MlflowClient, uri: str, found: entities.Run, *, is_joined: bool) -> None:
        self.client = client
        self.uri = uri
        self.run_id: str = found.info.run_id
        self.experiment_id: str = found.info.experiment_id
        self.is_joined = is_joined
        outputs = getattr(found, "outputs", None)  # unknown to MLflow 2
        self.had_models = bool(outputs and outputs.model_outputs)
        """Whether some had come of it when it was found."""

    @contextmanager
    def asking(self, name: str = "") -> Iterator[MlflowClient]:
        """Give the client; raise what the relay expects. What the run would refuse to every event is no refusal.

        :param name: what is sent, if the run can do without it
        """
        try:
            with told_to_relay(self.uri, name):
                yield self.client
        except Rejected:
            self.check()
            raise

    def check(self) -> None:
        """Look whether the run takes anything at all.

        :raises Unavailable: saying what to do, if it does not
        """
        with refusals.waited_for(self.uri):
            refusals.check_run(self.client, self.uri, self.client.get_run(self.run_id).info)

    def at_once(self, *calls: Callable[[], object]) -> None:
        """Make calls to a server at the same time; to a database, which they would lock, one after the other."""
        transfers.at_once(calls, most=1 if uris.is_in_process(self.uri) else transfers.AT_ONCE)

    def log(self, metrics: Sequence[Metric]) -> None:
        """Send metrics, in requests of as many as MLflow takes at once."""
        batches = [metrics[start : start + MAX_METRICS] for start in range(0, len(metrics), MAX_METRICS)]
        with self.asking() as client:
            # Synchronous even with MLFLOW_ENABLE_ASYNC_LOGGING, which would lose errors.
            self.at_once(*(partial(client.log_batch, self.run_id, batch, synchronous=True) for batch in batches))

    def write(
        self, known: RunData, *, tags: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None,
        metrics: Sequence[Metric] = (),
    ) -> None:  # fmt: skip
        """Send all of it in one request; the client makes more of it where that is too much.

        MLflow never changes a param, so a new value becomes a tag.

        :param known: what the run has
        """
        cut = {key: value[:MAX_PARAM] for key, value in (params or {}).items()}
        missing = [Param(key, value) for key, value in cut.items() if key not in known.params]
        changed = {
            f"tracking_hooks.param.{key}": value for key, value in cut.items() if known.params.get(key, value) != value
        }
        with self.asking() as client:
            client.log_batch(
                self.run_id, metrics=metrics, params=missing, tags=_entities({**(tags or {}), **changed}),
                synchronous=True,
            )  # fmt: skip

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing older ones."""
        with self.asking() as client:
            client.log_batch(self.run_id, tags=_entities(tags), synchronous=True)

    def untag(self, key: str) -> None:
        """Delete a tag, if the run has it."""
        if key in self.tags():
            with self.asking() as client:
                client.delete_tag(self.run_id, key)

    def tags(self) -> Mapping[str, str]:
        """Return the tags that the run has."""
        tags: Mapping[str, str] = self.known().tags
        return tags

    def known(self) -> RunData:
        """Return the params and the tags that the run has."""
        with self.asking() as client:
            return client.get_run(self.run_id).data

    def last_step(self, key: str, before: int) -> int:
        """Return the last step of a metric; 0 if it has none.

        :param before: only the points of an earlier time count, in milliseconds
        """
        with self.asking() as client:
            history = client.get_metric_history(self.run_id, key)
        return max((point.step for point in history if point.timestamp < before), default=0)

    def nest(self, run: Run, members: Sequence[str] = ()) -> None:
        """Put a run below its tuning or group, or below one of these the runs that were created before it.

        :param members: the uids of further runs that are below it
        """
        with self.asking() as client:
            pairs: list[tuple[Any, Any]]
            if run.parent is not None:
                is_below = self.is_joined and MLFLOW_PARENT_RUN_ID in client.get_run(self.run_id).data.tags
                parents = [] if is_below else with_tag(client, [self.experiment_id], RUN_UID, run.parent)
                pairs = [(self.run_id, parent.info.run_id) for parent in parents[:1]]
            else:
                below = [(PARENT_UID, run.uid), *((RUN_UID, member) for member in members)]
                found = [with_tag(client, [self.experiment_id], tag, uid) for tag, uid in below]
                pairs = [(child.info.run_id, self.run_id) for children in found for child in children]
            for child, parent in pairs:
                client.set_tag(child, MLFLOW_PARENT_RUN_ID, parent)

    def reopen(self, known: RunData) -> None:
        """Set the run to RUNNING again, and clear a request to stop.

        :param known: what the run has
        """
        with self.asking() as client:
            client.update_run(self.run_id, status="RUNNING")
            if STOP in known.tags:
                client.delete_tag(self.run_id, STOP)

    def drop_others(self, uid: str) -> None:
        """Delete empty runs that the server created after we had given up waiting for ``create_run``."""
        with self.asking() as client:
            for other in with_tag(client, [self.experiment_id], RUN_UID, uid):
                is_empty = BEGAN not in other.data.tags and not other.data.metrics and not other.data.params
                if other.info.run_id != self.run_id and other.info.status == "RUNNING" and is_empty:
                    client.delete_run(other.info.run_id)

    def end(self, status: Status, time: float) -> None:
        """Close the run."""
        with self.asking() as client:
            client.set_terminated(self.run_id, _STATUS[status], end_time=milliseconds(time))


def began(known: RunData) -> float:
    """Return when a run last started or was resumed, in seconds since 1970."""
    return float(known.tags.get(BEGAN, 0))


def _entities(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(spelled(key), value[:MAX_TAG]) for key, value in tags.items()]


def with_tag(client: MlflowClient, experiments: Sequence[str], tag: str, value: str) -> list[Any]:
    """Return the runs whose tag has the value. What a search returns is looked at: it may be written to."""
    found = client.search_runs(list(experiments), f"tags.`{tag}` = '{value}'") if experiments else []
    return [run for run in found if run.data.tags.get(tag) == value]


def own_tag(name: str, of: Run) -> str:
    """Return the name of a tag that a run and each addendum to it have of their own."""
    return name if of.addendum is None else f"{name}.{of.addendum}"


def milliseconds(seconds: float) -> int:
    """Return a time in milliseconds, as MLflow expects it."""
    return round(seconds * 1000)
