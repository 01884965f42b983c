"""What the trackers hold of a training. As a program, it prints that as JSON, in the environment of a cell.

Its arguments are the folder of the training (``save_dir``) and the names of the trackers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def mlflow(uri: str) -> dict[str, Any]:
    """Read the only run of a store."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "ended": run.info.status == "FINISHED",
        "curves": {name: sorted((point.step, point.value) for point in points) for name, points in histories.items()},
    }


def tensorboard(save_dir: str) -> dict[str, Any]:
    """Read the event files of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(save_dir, size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    return {
        "ended": True,
        "curves": {
            tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        },
    }


def wandb(folder: str) -> dict[str, Any]:
    """Read the offline run below a folder, over epochs."""
    sys.path.append(str(Path(__file__).parents[2]))
    from tests.support.wandb_files import WandbFiles

    files = WandbFiles(Path(folder))
    names = {name for row in files.history if "epoch" in row for name in row}
    return {"ended": files.exits[-1:] == [0], "curves": {name: _numbers(files, name) for name in sorted(names)}}


def _numbers(files: Any, name: str) -> list[tuple[int, float]]:
    points = files.points(name, "epoch")
    return [(epoch, value) for epoch, value in points if epoch is not None and isinstance(value, (int, float))]


READERS = {"mlflow": mlflow, "tensorboard": tensorboard, "wandb": wandb}

if __name__ == "__main__":
    save_dir, *trackers = sys.argv[1:]
    places = {"mlflow": os.environ.get("MLFLOW_TRACKING_URI", ""), "tensorboard": save_dir, "wandb": "wandb"}
    print(json.dumps({name: READERS[name](places[name]) for name in trackers}))
