"""``mlflow.last_active_run()``, for a run that was recorded in another process."""

from __future__ import annotations

import sys

_VARIABLE = "_last_active_run_id"
"""MLflow's own, by thread, in ``mlflow.tracking.fluent``: there is no function to set it."""


def become(run_id: str) -> None:
    """Let this be the last active run of this thread; without effect in a release that keeps it elsewhere."""
    set_variable = getattr(getattr(sys.modules.get("mlflow.tracking.fluent"), _VARIABLE, None), "set", None)
    if set_variable:
        set_variable(run_id)
