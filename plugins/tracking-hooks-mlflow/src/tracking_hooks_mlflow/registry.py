"""A model as the next version of a registered model.

Unity Catalog sets the rules. Versions are searched by the name alone, the only condition that it takes. What a search
returns may lack its tags: those are asked for by version. The name of a tag has none of ``. , - = / :``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracking_hooks_mlflow import uris
from tracking_hooks_mlflow.run import MLflowRun

UID = "tracking_hooks_run_uid"
"""The tag of a version with the uid of its run."""

_VERSIONS = "mlflow.modelVersions"

_MAX_ASKED = 50
"""How many versions, the newest first, are asked for their tags."""


def prepare(run: MLflowRun, name: str) -> list[Any]:
    """Make a registered model, unless there is one; return its versions, the newest first."""
    found: list[Any] = []
    run.at_once(partial(_make_name, run.client, name), lambda: found.extend(_versions(run.client, name)))
    return found


def register(run: MLflowRun, uid: str, model: Any, tags: Mapping[str, str], name: str, versions: Iterable[Any]) -> Any:
    """Make a version of a model, once, and return it.

    :param tags: for the new version
    :param versions: those that there are
    """
    client = run.client
    of_run = (version for version in versions if version.run_id in {run.run_id, "", None})
    ours = (version for version in _with_tags(client, of_run) if version.tags.get(UID) == uid)
    version = next(ours, None)
    if version is None:
        # Behind a database or a folder, MLflow's registry would look for a model's id in its own default store.
        is_remote = not uris.is_in_process(run.uri)
        made = client.create_model_version(
            name,
            source=f"models:/{model.model_id}" if is_remote else model.artifact_location,
            run_id=run.run_id,
            tags={UID: uid, **tags},
            await_creation_for=None,
            model_id=model.model_id if is_remote else None,
        )
        (version,) = _with_tags(client, [made])
    return version


def note_version(client: MlflowClient, model: Any, version: Any) -> None:
    """Say of a model which version it became, unless a server has done so."""
    if _VERSIONS not in client.get_logged_model(model.model_id).tags:
        note = [{"name": version.name, "version": version.version}]
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(note)})


def tag_name(name: str) -> str:
    """Return the name of a version's tag for a metric."""
    return re.sub(r"[^\w ]", "_", name)


def recent(client: MlflowClient, name: str) -> list[Any]:
    """Return the newest versions of a model, with their tags."""
    return list(_with_tags(client, _versions(client, name)[:_MAX_ASKED]))


def _make_name(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise


def _versions(client: MlflowClient, name: str) -> list[Any]:
    """Return all versions, the newest first; none of a name that is not there yet."""
    found: list[Any] = []
    token = None
    while True:
        try:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                raise
            return []
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def _with_tags(client: MlflowClient, versions: Iterable[Any]) -> Iterable[Any]:
    asked = 0
    for version in versions:
        if version.tags or asked == _MAX_ASKED:
            yield version
            continue
        asked += 1
        yield client.get_model_version(version.name, version.version)
