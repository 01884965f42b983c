"""Images as MLflow's own ``log_image`` leaves them, so that its page shows them in a grid, by name and step."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from tracking_hooks.events import Artifact
from tracking_hooks_mlflow import artifacts, names
from tracking_hooks_mlflow.errors import gone
from tracking_hooks_mlflow.run import MLflowRun

LOGGED = "mlflow.loggedImages"
"""The tag of a run that has images."""

_SMALL = 256
"""Pixels of the longer side of the copy that the grid shows."""


def upload(run: MLflowRun, artifact: Artifact, step: int, time: int) -> None:
    """Upload an image and a small copy of it. ``log_image`` itself would make others of them at each repetition.

    :param time: of the event, in milliseconds
    """
    key = names.spelled(artifact.name).replace("/", "~")
    name = f"images/{key}+step+{step}+timestamp+{time}+{artifact.digest[:32]}"
    if not artifact.path.is_file():
        raise gone(artifact.path, run.uri, name)
    with TemporaryDirectory(prefix="tracking-hooks-") as folder:
        large, small = Path(folder, "large.png"), Path(folder, "small.webp")
        _convert(artifact.path, large, small)
        artifacts.upload(run, large, f"{name}.png")
        artifacts.upload(run, small, f"{name}+compressed.webp")


def _convert(path: Path, large: Path, small: Path) -> None:
    """Write both forms; the file as it is, where that cannot be done: a browser looks at what is in it."""
    shutil.copyfile(path, large)
    try:
        from PIL import Image

        with Image.open(path) as image:
            if image.format != "PNG":
                image.save(large)
            image.thumbnail((_SMALL, _SMALL))
            image.save(small)
    except (ImportError, OSError, ValueError):  # no Pillow; no image
        shutil.copyfile(path, large)
        shutil.copyfile(path, small)
