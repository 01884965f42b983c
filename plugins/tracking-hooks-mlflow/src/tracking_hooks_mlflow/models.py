"""The best checkpoint as an MLflow model, which can be loaded, served and registered.

A run has one model, created once its best checkpoint has been validated, so that the final metrics belong to it. It is
ready when its files are there. Each step may be repeated: a model is found by the uid of the run.
"""

from __future__ import annotations

import json
import logging
import platform
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Checkpoint, Rejected, Run, State
from tracking_hooks_mlflow import datasets, package, parts, uris
from tracking_hooks_mlflow.errors import told_to_relay
from tracking_hooks_mlflow.registration import Registration
from tracking_hooks_mlflow.run import RUN_UID, MLflowRun
from tracking_hooks_mlflow.support import Unsupported, optional

WEIGHTS = "tracking_hooks.weights"
"""The tag with the digest of the weights that a model's files were made from."""

ALIAS = "tracking_hooks.alias"
"""The tag of a registered version that has received its alias: a replay does not take it from a newer version."""

_VERSIONS = "mlflow.modelVersions"
_WHAT = "models of runs (MLflow 3 does), so the best weights are kept as a file only"

logger = logging.getLogger(__name__)


def begin(run: MLflowRun, about: Run, state: State) -> dict[str, str]:
    """Create the run's model, which ``complete`` fills.

    :returns: the fields that link a metric to the model and to the data; empty if there is no model
    """
    try:
        with optional(run, _WHAT):
            found = run.client.get_run(run.run_id)
        tags = found.data.tags
        if "model_id" not in state:
            state["model_id"] = _find_or_create(run, about, found, state)
    except (Unsupported, Rejected) as error:
        state["model_id"] = None
        logger.warning("the best checkpoint does not become a model: %s", error)
    if not state["model_id"]:
        return {}
    links = {"model_id": state["model_id"]}
    if tags.get("dataset.digest"):
        links["dataset_name"] = tags["dataset.name"]
        links["dataset_digest"] = datasets.digest(tags["dataset.digest"], "val")
    return links


def complete(run: MLflowRun, about: Run, checkpoint: Checkpoint, time: float, state: State) -> None:
    """Upload the model's files and mark it as ready.

    :param time: when the checkpoint was saved
    """
    model_id = state.get("model_id")
    if not model_id:
        return
    try:
        with optional(run, _WHAT):
            found = run.client.get_run(run.run_id)
            model = run.client.get_logged_model(model_id)
            if model.status != LoggedModelStatus.READY or model.tags.get(WEIGHTS) != checkpoint.digest:
                contents = _contents(about, found, checkpoint, model_id, time)
                with TemporaryDirectory(prefix="tracking-hooks-") as folder:
                    package.write(Path(folder), contents)
                    parts.upload(lambda: run.client.log_model_artifacts(model_id, folder))
                tags = {WEIGHTS: checkpoint.digest, "mlflow.note.content": _USAGE.format(uri=f"models:/{model_id}")}
                run.client.set_logged_model_tags(model_id, tags)
                run.client.finalize_logged_model(model_id, LoggedModelStatus.READY)
            outputs = found.outputs.model_outputs if found.outputs else []
            if model_id not in {output.model_id for output in outputs}:  # MLflow would record it twice
                run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, state.get("best_epoch", 0))])
    except (Unsupported, Rejected) as error:
        logger.warning("the best checkpoint does not become a model: %s", error)


def finish(run: MLflowRun, about: Run, state: State, registration: Registration | None) -> None:
    """Finish at the end of the run: delete a model without files, register a complete one.

    :param registration: the name and alias; None to register nothing
    """
    model_id = state.get("model_id")
    if not model_id:
        return
    with told_to_relay(run.uri):
        experiment = run.client.get_run(run.run_id).info.experiment_id
        for model in _search(run, experiment, about.uid):
            is_pending = model.status == LoggedModelStatus.PENDING
            if model.model_id != model_id and is_pending:
                # The server carried out a create_logged_model after we had given it up.
                run.client.delete_logged_model(model.model_id)
            elif is_pending:
                run.client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)
            elif model.model_id == model_id and model.status == LoggedModelStatus.READY and registration:
                _register(run, about, model, registration)


def _find_or_create(run: MLflowRun, about: Run, found: Any, state: State) -> str | None:
    if found.info.lifecycle_stage == "deleted":
        return None  # its metrics are refused as well, with the reason
    if about.task not in package.TASKS:
        raise Unsupported(f"models of the task {about.task!r} are not supported")
    with optional(run, _WHAT):
        # The answer of create_logged_model, or our state, may have been lost. Of two models, take the one with files.
        models = _search(run, found.info.experiment_id, about.uid)
        for model in sorted(models, key=lambda model: model.status != LoggedModelStatus.READY):
            return str(model.model_id)
        tags, params = found.data.tags, found.data.params
        origin = {key: value for key, value in tags.items() if key.startswith(("mlflow.source.", "mlflow.user"))}
        model = run.client.create_logged_model(
            found.info.experiment_id,
            name=re.sub(r"[/:.%\"'\s]+", "-", params.get("model.name", "")).strip("-") or "model",
            source_run_id=run.run_id,
            tags={**origin, RUN_UID: about.uid},
            params={
                "task": about.task,
                "imgsz": params.get("imgsz", ""),
                "epoch": str(state.get("best_epoch", "")),
                "data": tags.get("dataset.name", ""),
            },
            model_type=about.task,
        )
        return str(model.model_id)


def _search(run: MLflowRun, experiment: str, uid: str) -> list[Any]:
    return list(run.client.search_logged_models([experiment], f"tags.`{RUN_UID}` = '{uid}'"))


def _contents(about: Run, found: Any, checkpoint: Checkpoint, model_id: str, time: float) -> package.Contents:
    tags = found.data.tags
    imgsz = re.search(r"\d+", found.data.params.get("imgsz", ""))
    return package.Contents(
        weights=checkpoint.path,
        task=about.task,
        imgsz=int(imgsz[0]) if imgsz else 640,
        model_id=model_id,
        run_id=found.info.run_id,
        created=time,
        python=tags.get("version.python") or platform.python_version(),
        versions={key.removeprefix("version."): value for key, value in tags.items() if key.startswith("version.")},
    )


def _register(run: MLflowRun, about: Run, model: Any, registration: Registration) -> None:
    client, (name, alias) = run.client, registration
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run.run_id}'")
    version = next((version for version in found if version.tags.get(RUN_UID) == about.uid), None)
    if version is None:
        # Behind a database or a folder, MLflow's registry would look for a model's id in its own default store.
        is_remote = not uris.is_in_process(run.uri)
        version = client.create_model_version(
            name,
            source=f"models:/{model.model_id}" if is_remote else model.artifact_location,
            run_id=run.run_id,
            tags={RUN_UID: about.uid},
            await_creation_for=None,
            model_id=model.model_id if is_remote else None,
        )
    if _VERSIONS not in client.get_logged_model(model.model_id).tags:  # a server has set it
        note = [{"name": name, "version": version.version}]
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(note)})
    if alias and version.tags.get(ALIAS) != alias:
        client.set_registered_model_alias(name, alias, version.version)
        client.set_model_version_tag(name, version.version, ALIAS, alias)


_USAGE = """\
An Ultralytics YOLO model: images in, a table out. An image is a file's path, its bytes (base64 where they are sent as
text) or an array as OpenCV reads it (height, width, blue-green-red). Give one, a list, or a table's column `image`.

    mlflow.pyfunc.load_model("{uri}").predict(["bus.jpg"], params={{"conf": 0.5}})

    mlflow models serve -m {uri} --env-manager local
    curl localhost:5000/invocations -H "Content-Type: application/json" -d '{{"inputs": ["<base64>"]}}'

A row is what was found in an image: the image's number, the class, how sure it is, and where, in pixels.
"""
