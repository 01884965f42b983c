"""A model as the next version of a registered model."""

from __future__ import annotations

import json
from typing import Any

from mlflow.exceptions import MlflowException

from tracking_hooks_mlflow import uris
from tracking_hooks_mlflow.registration import Registration
from tracking_hooks_mlflow.run import RUN_UID, MLflowRun

ALIAS = "tracking_hooks.alias"
"""The tag of a registered version that has received its alias: a replay does not take it from a newer version."""

_VERSIONS = "mlflow.modelVersions"


def register(run: MLflowRun, uid: str, model: Any, registration: Registration) -> None:
    """Make a version of a model, once, and give it its alias, once."""
    client, (name, alias) = run.client, registration
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"}:
            raise
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run.run_id}'")
    version = next((version for version in found if version.tags.get(RUN_UID) == uid), None)
    if version is None:
        # Behind a database or a folder, MLflow's registry would look for a model's id in its own default store.
        is_remote = not uris.is_in_process(run.uri)
        version = client.create_model_version(
            name,
            source=f"models:/{model.model_id}" if is_remote else model.artifact_location,
            run_id=run.run_id,
            tags={RUN_UID: uid},
            await_creation_for=None,
            model_id=model.model_id if is_remote else None,
        )
    if _VERSIONS not in client.get_logged_model(model.model_id).tags:  # a server has set it
        note = [{"name": name, "version": version.version}]
        client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(note)})
    if alias and version.tags.get(ALIAS) != alias:
        client.set_registered_model_alias(name, alias, version.version)
        client.set_model_version_tag(name, version.version, ALIAS, alias)
