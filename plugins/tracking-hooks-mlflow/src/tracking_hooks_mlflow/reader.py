"""What somebody who looks at MLflow sees, for the tests of the plugin and for ``tracking-hooks plugins --check``."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tracking_hooks.events import Destination
from tracking_hooks_mlflow.store import connect

_RUNS = 1000


def destination(folder: Path) -> Destination:
    """Return the destination of a run in a database in an empty folder."""
    (folder / "mlflow.db").write_bytes(_empty_database())
    return {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "experiment": "contract", "run_name": "train"}


@functools.cache
def _empty_database() -> bytes:
    """Make one, which takes MLflow seconds, to be copied."""
    # MLflow keeps a connection to it, and Windows keeps a file that is open.
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "mlflow.db"
        connect(f"sqlite:///{path}")
        return path.read_bytes()


def observe(destination: Destination) -> list[Any]:
    """Return all of every run, but the ids that MLflow makes up."""
    # A copy: MLflow keeps a connection to each store that it has opened in this process.
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-") as folder:
        copy = shutil.copy(destination["tracking_uri"].removeprefix("sqlite:///"), Path(folder) / "mlflow.db")
        client = MlflowClient(f"sqlite:///{copy}")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(experiments, run_view_type=ViewType.ALL, max_results=_RUNS)
        return [_seen(client, run) for run in found]


def _seen(client: MlflowClient, run: Run) -> dict[str, Any]:
    tags = dict(run.data.tags)
    tables = sorted(json.dumps(table) for table in json.loads(tags.pop("mlflow.loggedArtifacts", "[]")))
    models = client.search_logged_models([run.info.experiment_id])
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": [run.info.start_time, run.info.end_time],
        "params": run.data.params,
        "tags": tags,
        "tables": tables,
        "metrics": {
            key: [[point.step, point.timestamp, point.value] for point in _history(client, run, key)]
            for key in run.data.metrics
        },
        "files": _files(run.info.artifact_uri),
        "datasets": [[entry.dataset.name, entry.dataset.digest] for entry in run.inputs.dataset_inputs],
        "models": [
            {
                "name": model.name,
                "status": str(model.status),
                "params": model.params,
                "metrics": sorted([metric.key, metric.step, metric.value] for metric in model.metrics or ()),
                "files": {name: of for name, of in _files(model.artifact_location).items() if name != "MLmodel"},
            }
            for model in models if model.source_run_id == run.info.run_id
        ],
    }  # fmt: skip


def _history(client: MlflowClient, run: Run, key: str) -> list[Any]:
    points = client.get_metric_history(run.info.run_id, key)
    return sorted(points, key=lambda point: (point.step, point.timestamp, repr(point.value)))


def _files(uri: str) -> dict[str, str]:
    folder = Path(uri.removeprefix("file://"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
