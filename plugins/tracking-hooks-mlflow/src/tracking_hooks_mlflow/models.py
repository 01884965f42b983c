"""The best checkpoint as an MLflow model, which can be loaded, served and registered.

A run has one model. It is made once the final metrics and the best weights are known, and finished at the end of the
run, whichever comes last. Each step may be repeated: a model is found by the uid of the run.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from msgspec import Struct

from tracking_hooks.events import Environment, Params, Rejected, Run, State
from tracking_hooks_mlflow import champion, datasets, multipart, package, tags
from tracking_hooks_mlflow.artifacts import sending
from tracking_hooks_mlflow.errors import gone
from tracking_hooks_mlflow.registration import Registration
from tracking_hooks_mlflow.registry import register, tag_name
from tracking_hooks_mlflow.run import RUN_UID, MLflowRun
from tracking_hooks_mlflow.support import Unsupported, optional

WEIGHTS = "tracking_hooks.weights"
"""The tag with the digest of the weights that a model's files were made from."""

_WHAT = "models of runs (MLflow 3 does), so the best weights are kept as a file only"

logger = logging.getLogger(__name__)


class Training(Struct, frozen=True, kw_only=True):
    """What a model is told of its training, beside what the state holds."""

    run: Run
    params: Params
    environment: Environment


def complete(run: MLflowRun, training: Training, state: State) -> None:
    """Make the model and mark it as ready, if all that it is made of is known.

    :raises Rejected: the server does not take it, or the weights are not there any more
    """
    if not _is_due(state) or "weights" not in state:
        return
    weights = Path(state["weights"]["path"])
    if not weights.is_file():  # a copy that was let go since the weights were delivered
        weights = training.run.save_dir / "weights/best.pt"
    try:
        with run.asking("the model"), optional(run, _WHAT):
            model = _find(run, training, state) or _agreed(run, training, _create(run, training, state))
            state["model_id"] = model.model_id
            _measure(run, state)
            if not _is_of(model, state):
                _fill(run, training, state, weights)
            _link(run, state)
    except Unsupported as error:
        state["model_id"] = None
        logger.warning("the best checkpoint does not become a model: %s", error)
    except Rejected as error:
        raise Rejected(f"the best checkpoint does not become a model: {error}", retry_after=error.retry_after) from None


def is_complete(run: MLflowRun, training: Training, state: State) -> bool:
    """Whether the model is ready, made of the weights that the state names."""
    try:
        with run.asking(), optional(run, _WHAT):
            return _is_due(state) and _is_of(_find(run, training, state), state)
    except Unsupported:
        return False


def finish(run: MLflowRun, training: Training, state: State, registration: Registration | None) -> None:
    """Finish at the end of the run: register a complete model, say of one without files that it has failed.

    :param registration: the name, alias and condition; None to register nothing
    """
    if not _is_due(state):
        return
    try:
        with run.asking() as client, optional(run, _WHAT):
            found = _find(run, training, state)
            for model in _search(run, training):
                if model.status == LoggedModelStatus.PENDING and model.model_id != found.model_id:
                    # The server carried out a create_logged_model after we had given it up.
                    client.delete_logged_model(model.model_id)
            if found and found.status == LoggedModelStatus.PENDING:
                client.finalize_logged_model(found.model_id, LoggedModelStatus.FAILED)
            elif found and found.status == LoggedModelStatus.READY and registration:
                version = register(run, training.run.uid, found, registration.name, _measured(state))
                if registration.alias:
                    champion.give_alias(client, version, registration)
    except Unsupported:
        pass  # said where the model was to be made


def _is_due(state: State) -> bool:
    """Whether there is a model of this run: of one that was validated at its end, where the store knows models."""
    return "final" in state and state.get("model_id", "") is not None


def _is_of(model: Any, state: State) -> bool:
    if model is None or model.status != LoggedModelStatus.READY:
        return False
    return bool(model.tags.get(WEIGHTS) == state["weights"]["digest"])


def _search(run: MLflowRun, training: Training) -> list[Any]:
    uid = training.run.uid
    found = run.client.search_logged_models([run.experiment_id], f"tags.`{RUN_UID}` = '{uid}'")
    return [model for model in found if model.tags.get(RUN_UID) == uid]  # it is written to, or deleted


def _find(run: MLflowRun, training: Training, state: State) -> Any:
    """Return the model: the one that we know of, else one with files. Our state may have been lost."""

    def order(model: Any) -> tuple[bool, bool]:
        return model.model_id != state.get("model_id"), model.status != LoggedModelStatus.READY

    return min(_search(run, training), key=order, default=None)


def _create(run: MLflowRun, training: Training, state: State) -> Any:
    task = training.run.task
    if task not in package.TASKS:
        raise Unsupported(f"models of the task {task!r} are not supported")
    data, _ = state.get("dataset", ("", ""))
    return run.client.create_logged_model(
        run.experiment_id,
        name=re.sub(r"[/:.%\"'\s]+", "-", state.get("network", "")).strip("-") or "model",
        source_run_id=run.run_id,
        tags={**tags.of_source(training.environment), RUN_UID: training.run.uid},
        params={
            "task": task,
            "imgsz": str(training.params.get("imgsz", "")),
            "epoch": str(state.get("best_epoch", "")),
            "data": data,
        },
        model_type=task,
    )


def _agreed(run: MLflowRun, training: Training, model: Any) -> Any:
    """Return the one model to go on with: a copy of the run may be delivered on another machine at the same moment."""
    first = min(_search(run, training), key=lambda found: (found.creation_timestamp, found.model_id), default=model)
    if first.model_id != model.model_id:
        run.client.delete_logged_model(model.model_id)
    return first


def _measure(run: MLflowRun, state: State) -> None:
    """Give the model its metrics. They are points that the run has already, or will have: MLflow keeps each once."""
    links = {"model_id": state["model_id"]}
    if "dataset" in state:
        name, digest = state["dataset"]
        links |= {"dataset_name": name, "dataset_digest": datasets.digest(digest, "val")}
    final = state["final"]
    metrics = [Metric(key, value, final["time"], final["step"], **links) for key, value in final["metrics"].items()]
    run.client.log_batch(run.run_id, metrics=metrics, synchronous=True)


def _measured(state: State) -> dict[str, str]:
    """Return what the final validation has measured, and on which data, as tags of a version."""
    measured = {tag_name(key): repr(value) for key, value in state["final"]["metrics"].items()}
    _, digest = state.get("dataset", ("", ""))
    return {**measured, champion.DATA: datasets.digest(digest, "val")} if digest else measured


def _fill(run: MLflowRun, training: Training, state: State, weights: Path) -> None:
    """Upload the model's files."""
    client, model_id, digest = run.client, state["model_id"], state["weights"]["digest"]
    if not weights.is_file() or _digest(weights) != digest:
        raise gone(weights, run.uri, "the model")  # another file has its name by now
    with TemporaryDirectory(prefix="tracking-hooks-") as folder, sending(run, "the model", weights):
        package.write(Path(folder), _contents(run, training, state, weights))
        multipart.upload(lambda: client.log_model_artifacts(model_id, folder))
    about = {WEIGHTS: digest, "mlflow.note.content": _USAGE.format(uri=f"models:/{model_id}")}
    client.set_logged_model_tags(model_id, about)
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)


def _link(run: MLflowRun, state: State) -> None:
    """Say in the run that the model came of it; MLflow would record that twice."""
    outputs = run.client.get_run(run.run_id).outputs
    if state["model_id"] not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        run.client.log_outputs(run.run_id, [LoggedModelOutput(state["model_id"], state.get("best_epoch", 0))])


def _contents(run: MLflowRun, training: Training, state: State, weights: Path) -> package.Contents:
    imgsz = re.search(r"\d+", str(training.params.get("imgsz", "")))
    return package.Contents(
        weights=weights,
        task=training.run.task,
        imgsz=int(imgsz[0]) if imgsz else 640,
        model_id=state["model_id"],
        run_id=run.run_id,
        created=state["weights"]["time"],
        python=training.environment.python or platform.python_version(),
        versions=training.environment.versions,
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


_USAGE = """\
An Ultralytics YOLO model: images in, a table out. An image is a file's path, its bytes (base64 where they are sent as
text) or an array as OpenCV reads it (height, width, blue-green-red). Give one, a list, or a table's column `image`.

    mlflow.pyfunc.load_model("{uri}").predict(["bus.jpg"], params={{"conf": 0.5}})

    mlflow models serve -m {uri} --env-manager local
    curl localhost:5000/invocations -H "Content-Type: application/json" -d '{{"inputs": ["<base64>"]}}'

A row is what was found in an image: the image's number, the class, how sure it is, and where, in pixels.
"""
