"""Tags that say what a run is and where it comes from."""

from __future__ import annotations

import shlex

from tracking_hooks.events import Destination, Environment, Run
from tracking_hooks_mlflow.run import PARENT_UID, RUN_UID


def of_run(run: Run, environment: Environment, destination: Destination) -> dict[str, str]:
    """Return the tags that every run has, the user's own too."""
    tags = {
        RUN_UID: run.uid,
        "tracking_hooks.save_dir": str(run.save_dir),
        "tracking_hooks.command": shlex.join(environment.argv),
        "task": run.task,
        "host": environment.host,
        "devices": ", ".join(environment.devices),
        "version.python": environment.python,
        **{f"version.{name}": version for name, version in environment.versions.items()},
        **run.tags,
    }
    if run.parent is not None:
        tags[PARENT_UID] = run.parent
    if run.group is not None:
        tags["tracking_hooks.group"] = run.group
    if origin := run.started_from:
        tags["tracking_hooks.started_from"] = origin.uid
        tags["tracking_hooks.started_from.checkpoint"] = f"{origin.name}/{origin.checkpoint}"
    if "project" in destination:
        tags["tracking_hooks.project"] = destination["project"]
    return tags


def of_source(environment: Environment) -> dict[str, str]:
    """Return MLflow's own tags for who started what."""
    tags = {
        "mlflow.user": environment.user,
        "mlflow.source.type": "LOCAL",
        # Only the program: MLflow's pages show what follows the last slash.
        "mlflow.source.name": next(iter(environment.argv), ""),
    }
    if git := environment.git:
        tags["mlflow.source.git.commit"] = git.commit
        if git.dirty is not None:
            tags["mlflow.source.git.dirty"] = str(git.dirty).lower()
        if git.branch:
            tags["mlflow.source.git.branch"] = git.branch
        if git.remote:
            tags["mlflow.source.git.repoURL"] = git.remote
    return tags
