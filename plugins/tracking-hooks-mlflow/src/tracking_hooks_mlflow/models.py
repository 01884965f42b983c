"""The best checkpoint as an MLflow model, which can be loaded, served and registered.

A run has one model. It is made once the final metrics and the best weights are known, and finished at the end of the
run, whichever comes last. Each step may be repeated: a model is found by the uid of the run.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import entities
from mlflow.entities import Metric
from msgspec import Struct

from tracking_hooks.events import Environment, Params, Rejected, Run, State, Unavailable
from tracking_hooks_mlflow import champion, multipart, names, package, tags
from tracking_hooks_mlflow.artifacts import sending
from tracking_hooks_mlflow.errors import gone
from tracking_hooks_mlflow.registration import Registration
from tracking_hooks_mlflow.registry import note_version, prepare, register, tag_name
from tracking_hooks_mlflow.run import RUN_UID, MLflowRun
from tracking_hooks_mlflow.support import Unsupported, optional
from tracking_hooks_mlflow.transfers import at_once

WEIGHTS = "tracking_hooks.weights"
"""The tag with the digest of the weights that a model's files were made from."""

_WHAT = "models of runs (MLflow 3 does), so the best weights are kept as a file only"

_KNOWS_MODELS = hasattr(entities, "LoggedModelStatus")
"""Whether this client knows them: one of MLflow 2 does not."""

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
    if not _KNOWS_MODELS:
        state["model_id"] = None
        logger.warning("the best checkpoint does not become a model: this MLflow does not support %s", _WHAT)
        return
    weights = Path(state["weights"]["path"])
    if not weights.is_file():  # a copy that was let go since the weights were delivered
        weights = training.run.save_dir / "weights/best.pt"
    try:
        with run.asking("the model"), optional(run, _WHAT):
            is_known = run.had_models or "model_id" in state or "sent" in state
            found = _find(run, training, state) if is_known else None
            if not _is_of(found, state):
                _check(weights, state["weights"]["digest"], run)
            model, is_new = (found, False) if found else _made(run, training, state, weights)
            state["model_id"] = model.model_id
            steps = [partial(_measure, run, state), partial(_link, run, state, is_new=is_new)]
            if not _is_of(model, state):
                if not is_new:
                    _upload(run, training, state, weights)
                    steps.append(partial(_describe, run, training, state))
                steps.append(
                    partial(run.client.finalize_logged_model, model.model_id, entities.LoggedModelStatus.READY)
                )
            run.at_once(*steps)
            state["made_of"] = state["weights"]["digest"]
    except Unsupported as error:
        state["model_id"] = None
        logger.warning("the best checkpoint does not become a model: %s", error)
    except Rejected as error:
        if _was_replaced(run, training, state):
            raise Unavailable("another process has made the run's model at this moment", only_this_run=True) from None
        raise Rejected(f"the best checkpoint does not become a model: {error}", retry_after=error.retry_after) from None


def _was_replaced(run: MLflowRun, training: Training, state: State) -> bool:
    """Whether our model was deleted, unfinished, by who delivers a copy of the run: there is another one."""
    with run.asking():
        found = _search(run, training)
    return bool(found) and state.get("model_id") not in {None, *(model.model_id for model in found)}


def is_complete(run: MLflowRun, training: Training, state: State) -> bool:
    """Whether the model that the state names is ready, made of the weights that it names."""
    if not (_KNOWS_MODELS and state.get("model_id")):
        return False
    try:
        with run.asking(), optional(run, _WHAT):
            return _is_of(_find(run, training, state), state)
    except Unsupported:
        return False


def finish(run: MLflowRun, training: Training, state: State, registration: Registration | None) -> None:
    """Finish at the end of the run: register a complete model, say of one without files that it has failed.

    :param registration: the name, alias and condition; None to register nothing
    """
    if not (_KNOWS_MODELS and _is_due(state)):
        return
    try:
        with run.asking() as client, optional(run, _WHAT):
            ours: list[Any] = []
            versions: list[Any] = []
            first = [lambda: ours.extend(_search(run, training))]
            if registration and "made_of" in state:
                first.append(lambda: versions.extend(prepare(run, registration.name)))
            run.at_once(*first)
            found = _first(ours, state)
            for model in ours:
                if model.status == entities.LoggedModelStatus.PENDING and model.model_id != found.model_id:
                    # The server carried out a create_logged_model after we had given it up.
                    client.delete_logged_model(model.model_id)
            if found and found.status == entities.LoggedModelStatus.PENDING:
                client.finalize_logged_model(found.model_id, entities.LoggedModelStatus.FAILED)
            elif found and found.status == entities.LoggedModelStatus.READY and registration:
                if "made_of" not in state:
                    versions = prepare(run, registration.name)
                version = register(run, training.run.uid, found, _measured(state), registration.name, versions)
                more = [partial(champion.give_alias, run, version, registration)] if registration.alias else []
                run.at_once(partial(note_version, client, found, version), *more)
    except Unsupported:
        pass  # said where the model was to be made


def _is_due(state: State) -> bool:
    """Whether there is a model of this run: of one that was validated at its end, where the store knows models."""
    return "final" in state and state.get("model_id", "") is not None


def _is_of(model: Any, state: State) -> bool:
    if model is None or model.status != entities.LoggedModelStatus.READY:
        return False
    return bool(model.tags.get(WEIGHTS) == state["weights"]["digest"])


def _search(run: MLflowRun, training: Training) -> list[Any]:
    uid = training.run.uid
    found = run.client.search_logged_models([run.experiment_id], f"tags.`{RUN_UID}` = '{uid}'")
    return [model for model in found if model.tags.get(RUN_UID) == uid]  # it is written to, or deleted


def _find(run: MLflowRun, training: Training, state: State) -> Any:
    return _first(_search(run, training), state)


def _first(models: Sequence[Any], state: State) -> Any:
    """Return the model: the one that we know of, else one with files. Our state may have been lost."""

    def order(model: Any) -> tuple[bool, bool]:
        return model.model_id != state.get("model_id"), model.status != entities.LoggedModelStatus.READY

    return min(models, key=order, default=None)


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


def _made(run: MLflowRun, training: Training, state: State, weights: Path) -> tuple[Any, bool]:
    """Make the model. There may be one that this process does not know of: then that is the one to go on with.

    A copy of the run may be delivered on another machine at the same moment; an earlier relay may have died here.

    :returns: the model, and whether it is the new one, with its files
    """
    ours = _create(run, training, state)
    state["model_id"] = state["sent"] = ours.model_id  # the second stays, should its files not arrive
    found: list[Any] = []
    run.at_once(
        lambda: found.extend(_search(run, training)),
        partial(_upload, run, training, state, weights),
        partial(_describe, run, training, state),  # the digest counts when the model is ready
    )
    first = min(found, key=lambda model: (model.creation_timestamp, model.model_id), default=ours)
    if first.model_id == ours.model_id:
        return ours, True
    run.client.delete_logged_model(ours.model_id)
    return first, False


def _measure(run: MLflowRun, state: State) -> None:
    """Give the model its metrics. They are points that the run has already, or will have: MLflow keeps each once."""
    links = {"model_id": state["model_id"]}
    name, digest = state.get("dataset", ("", ""))
    if digest:
        links |= {"dataset_name": name, "dataset_digest": digest}
    final = state["final"]
    metrics = [Metric(key, value, final["time"], names.OF_ALL, **links) for key, value in final["metrics"].items()]
    run.client.log_batch(run.run_id, metrics=metrics, synchronous=True)


def _measured(state: State) -> dict[str, str]:
    """Return what the final validation has measured, and on which data, as tags of a version."""
    measured = {tag_name(key): repr(value) for key, value in state["final"]["metrics"].items()}
    _, digest = state.get("dataset", ("", ""))
    return {**measured, champion.DATA: digest} if digest else measured


def _check(weights: Path, digest: str, run: MLflowRun) -> None:
    if not weights.is_file() or _digest(weights) != digest:
        raise gone(weights, run.uri, "the model")  # another file has its name by now


def _upload(run: MLflowRun, training: Training, state: State, weights: Path) -> None:
    """Upload the model's files."""
    with TemporaryDirectory(prefix="tracking-hooks-") as name, sending(run, "the model", weights) as client:
        folder = Path(name)
        package.write(folder, _contents(run, training, state, weights))

        def send(path: Path) -> None:
            within = path.parent.relative_to(folder).as_posix()
            with multipart.allowed():
                client.log_model_artifact(state["model_id"], str(path), None if within == "." else within)

        first, *others = sorted(filter(Path.is_file, folder.rglob("*")), key=lambda path: path.stat().st_size)
        send(first)  # with it, MLflow asks where the files of the model are, and remembers that
        at_once([partial(send, path) for path in others])


def _describe(run: MLflowRun, training: Training, state: State) -> None:
    """Say what the model is made of, and how it is used."""
    columns = ", ".join(f"`{name}`" for name in ("image", *package.TASKS[training.run.task]))
    usage = _USAGE.format(uri=f"models:/{state['model_id']}", columns=columns)
    about = {WEIGHTS: state["weights"]["digest"], "mlflow.note.content": usage}
    run.client.set_logged_model_tags(state["model_id"], about)


def _link(run: MLflowRun, state: State, *, is_new: bool) -> None:
    """Say in the run that the model came of it; MLflow would record that twice."""
    outputs = None if is_new else run.client.get_run(run.run_id).outputs
    if state["model_id"] not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
        run.client.log_outputs(run.run_id, [entities.LoggedModelOutput(state["model_id"], state.get("best_epoch", 0))])


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

The columns of the table are {columns}. `image` is the number of the image, from 0.
"""
