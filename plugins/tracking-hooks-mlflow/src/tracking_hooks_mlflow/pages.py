"""Where MLflow's pages show what: addresses behind that of the server. Imports no MLflow."""

from __future__ import annotations

VIEW = "tracking_hooks"
"""The key of the saved view "Training"."""

_KIND = "workflowType=machine_learning"
"""Without it, a browser that is new to MLflow opens the pages for language models, where no curve is shown."""


def of_run(experiment: str, run: str, tab: str = "") -> str:
    """Return the page of a run.

    :param tab: such as ``model-metrics``
    """
    place = f"#/experiments/{experiment}/runs/{run}"
    return f"{place}/{tab}?{_KIND}" if tab else f"{place}?{_KIND}"


def of_runs(experiment: str, *, has_view: bool) -> str:
    """Return the page of all runs of an experiment.

    :param has_view: whether the experiment has the view "Training"
    """
    view = f"&viewStateShareKey={VIEW}&compareRunsMode=CHART" if has_view else ""
    return f"#/experiments/{experiment}/runs?{_KIND}{view}"
