"""What a tracker holds, as plain data: a bag of points, so that what stands twice counts twice.

Every point is a tuple that begins with its kind. What was lost or doubled is then a subtraction. The words by which a
tracker says what it lacks are left out: a journal that is played without a relay lacks nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from tests.faults import sink
from tests.support.mlflow_parts import play_to_mlflow
from tests.support.runs import read_calls
from tracking_hooks.run import journal
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.testing import play
from tracking_hooks_mlflow import incomplete, listing
from tracking_hooks_mlflow.note import DESCRIPTION
from tracking_hooks_mlflow.run import RUN_UID
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

Content: TypeAlias = Counter[tuple[Any, ...]]

_SHOWN = 5


def of_tensorboard(logdir: Path) -> Content:
    """Return every point in the event files of a folder, as it stands there: what a viewer would drop is kept."""
    content: Content = Counter()
    for path in logdir.glob("*tfevents*"):
        content["file",] += 1
        for event in LegacyEventFileLoader(str(path)).Load():
            kind = event.WhichOneof("what")
            if kind == "file_version":
                content["version", event.file_version] += 1
            elif kind == "session_log":
                content["session", event.session_log.status, event.step, event.wall_time] += 1
            for value in (value for value in event.summary.value if value.tag != "incomplete"):
                content[(*_tensorboard_value(value), event.step, event.wall_time)] += 1
    return content


def _tensorboard_value(value: Any) -> tuple[str, str, str]:
    what = value.WhichOneof("value")
    if what == "simple_value":
        return "scalar", value.tag, repr(value.simple_value)  # repr: NaN does not equal itself
    if what == "image":
        return "image", value.tag, _sha(value.image.encoded_image_string)
    return "text", value.tag, _sha(b"\0".join(value.tensor.string_val))


_SERVERS_DRAFT = ".artifact.uploading."
"""What an MLflow server that was killed in the middle of an upload leaves of its own."""


_TABLES = "mlflow.loggedArtifacts"
"""The tag that names tables, in the order in which they came: one that was refused at first comes late."""


def of_mlflow(client: MlflowClient, uid: str, experiment: str, artifacts: Path | None = None) -> Content:
    """Return all that an MLflow store has of a run: of all its runs, should there be more than one.

    Not compared: the run's id and its artifact URI, which MLflow invents; a killed server's drafts.

    :param client: of the database itself, so that no server that is being tormented has to answer
    :param artifacts: the folder behind a server's ``mlflow-artifacts:/``
    """
    content: Content = Counter()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return content
    for run in client.search_runs([found.experiment_id], f"tags.`{RUN_UID}` = '{uid}'"):
        content["run", run.info.run_name] += 1
        content["status", run.info.status, run.info.start_time, run.info.end_time] += 1
        content.update(("param", *item) for item in run.data.params.items())
        tags = {
            key: value
            for key, value in run.data.tags.items()
            if not key.startswith((_TABLES, listing.OWN, incomplete.TAG))
        }
        tags[DESCRIPTION] = incomplete.completed(tags.get(DESCRIPTION, ""), {})
        content.update(("tag", *item) for item in tags.items())
        content.update(("table", *sorted(item.items())) for item in json.loads(run.data.tags.get(_TABLES, "[]")))
        for key in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, key):
                content["metric", key, point.step, point.timestamp, repr(point.value)] += 1
        folder = _artifact_folder(run.info.artifact_uri, artifacts)
        for path in folder.rglob("*"):
            if path.is_file() and not path.name.startswith(_SERVERS_DRAFT):
                content["artifact", path.relative_to(folder).as_posix(), _sha(path.read_bytes())] += 1
        for entry in run.inputs.dataset_inputs:
            content["data", entry.dataset.name, entry.dataset.digest, entry.dataset.profile, entry.tags[0].value] += 1
        for output in run.outputs.model_outputs if run.outputs else ():
            content["output", output.step] += 1
    for model in client.search_logged_models([found.experiment_id], f"tags.`{RUN_UID}` = '{uid}'"):
        content[("model", model.name, str(model.status), *sorted(model.params.items()))] += 1
        for metric in model.metrics or ():
            content["measured", metric.key, metric.step, metric.timestamp, metric.value, metric.dataset_digest] += 1
        folder = _artifact_folder(model.artifact_location, artifacts)
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "MLmodel" and not path.name.startswith(_SERVERS_DRAFT):
                # In MLmodel stand the ids of run and model, which MLflow invents.
                content["model file", path.relative_to(folder).as_posix(), _sha(path.read_bytes())] += 1
    return content


def _artifact_folder(uri: str, artifacts: Path | None) -> Path:
    if artifacts is None:
        return Path(uri.removeprefix("file://"))
    return artifacts / uri.removeprefix("mlflow-artifacts:/")


def of_sink(save_dir: Path) -> Content:
    """Return the events that the sink has."""
    return Counter(("event", *line) for line in sink.read(save_dir))


def clean_sink(folder: RunFolder) -> Content:
    """Return the events that it should have."""
    return Counter(("event", call.seq, call.hook) for call in read_calls(folder.journal))


def clean_tensorboard(folder: RunFolder, logdir: Path) -> Content:
    """Deliver a journal to TensorBoard without a relay and without a fault; return what is there then."""
    head, _ = journal.read_head(folder.journal)
    play(TensorBoardTracker(), read_calls(folder.journal), head.run, destination={"logdir": str(logdir)})
    return of_tensorboard(logdir)


def clean_mlflow(folder: RunFolder, uri: str) -> Content:
    """Deliver a journal to MLflow without a relay and without a fault; return what is there then.

    :param uri: an SQLite database, with artifacts beside it
    """
    head, _ = journal.read_head(folder.journal)
    destination = {**head.plugins["mlflow"], "tracking_uri": uri}
    play_to_mlflow(read_calls(folder.journal), head.run, destination=destination)
    return of_mlflow(MlflowClient(uri), head.run.uid, destination["experiment"])


def difference(clean: Content, found: Content) -> tuple[Content, Content]:
    """Return (what was lost, what is there too often or should not be there)."""
    return clean - found, found - clean


def describe(points: Content) -> str:
    """Return a few of the points, for a message."""
    shown = [" ".join(map(str, point)) + (f" (x{count})" if count > 1 else "") for point, count in points.items()]
    more = len(shown) - _SHOWN
    return "; ".join(sorted(shown)[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
