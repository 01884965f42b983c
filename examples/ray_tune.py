"""Tune with Ray, on this machine or on a cluster: one run in each tracker, with the trials below it.

TRACKING_HOOKS=mlflow,tensorboard python examples/ray_tune.py data=shapes.yaml project=/shared/runs epochs=20
"""

import os
import sys

import ray
from ray import tune
from ultralytics import YOLO
from ultralytics.cfg import smart_value

SPACE = {
    "lr0": tune.loguniform(1e-4, 1e-2),
    "weight_decay": tune.uniform(0.0, 1e-3),
    "mosaic": tune.uniform(0.0, 1.0),
}


def settings():
    """Return the variables that trials need on every node. No credentials: everybody sees them on Ray's dashboard."""
    names = [name for name in os.environ if name.startswith(("TRACKING_HOOKS", "MLFLOW_"))]
    return {name: os.environ[name] for name in names if not name.endswith(("PASSWORD", "TOKEN", "USERNAME"))}


if __name__ == "__main__":
    arguments = {name: smart_value(value) for name, _, value in (argument.partition("=") for argument in sys.argv[1:])}
    model = YOLO(arguments.pop("model", "yolo26n.pt"))
    trials = arguments.pop("trials", 8)
    grace = arguments.pop("grace_period", 10)  # epochs before the scheduler may stop a trial
    # Use the cluster at RAY_ADDRESS; without that, start one on this machine until the script ends.
    ray.init(runtime_env={"env_vars": settings()})
    model.tune(use_ray=True, iterations=trials, grace_period=grace, search_alg="random", space=SPACE, **arguments)
