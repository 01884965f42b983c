"""``tracking-hooks demo``."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from tracking_hooks import plugins
from tracking_hooks.cli.shapes import make_shapes
from tracking_hooks.settings import SELECTION, ConfigurationError, is_off

TRAINING = {
    "model": "yolo26n.yaml", "imgsz": 64, "batch": 16, "device": "cpu", "workers": 0, "amp": False, "mosaic": 0.0,
    "close_mosaic": 0, "optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 1, "seed": 0, "exist_ok": True,
}  # fmt: skip
_TRACKERS = "mlflow,tensorboard"
_TITLES = {"mlflow": "MLflow", "tensorboard": "TensorBoard"}


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("tracking-hooks-demo"),
    show_default=True,
    help="Where to put everything.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="20 epochs take a minute or two on a CPU.",
)
def command(folder: Path, epochs: int) -> None:
    """Train on generated shapes, as a demonstration.

    A YOLO26n learns to detect squares, circles and triangles, tracked in MLflow and TensorBoard, or in what
    TRACKING_HOOKS names. The data set, the training and MLflow's database are put into one folder.
    """
    asked = os.environ.get(SELECTION)
    selection = _TRACKERS if is_off(asked) else str(asked)
    try:
        trackers = plugins.select(selection, plugins.installed())
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    folder = folder.absolute()
    try:
        data = make_shapes(folder / "shapes")
    except OSError as error:
        raise click.ClickException(
            f"{folder} cannot be written: {error.strerror or error}. To name another folder: "
            "tracking-hooks demo --folder PATH"
        ) from None
    except ImportError as error:
        raise click.ClickException(str(error)) from None
    arguments = {**TRAINING, "data": data, "epochs": epochs, "project": folder / "runs", "name": "demo"}
    yolo = _command("yolo")
    training = [yolo, "detect", "train", *(f"{name}={value}" for name, value in arguments.items())]
    environment = {**os.environ, SELECTION: selection}
    environment.setdefault("MLFLOW_EXPERIMENT_NAME", "tracking-hooks demo")
    environment.setdefault("OMP_NUM_THREADS", "1")  # more threads slow down a model this small
    click.echo(f"$ cd {shlex.quote(str(folder))}")
    click.echo(f"$ {SELECTION}={shlex.quote(selection)} {shlex.join(training)}\n")
    try:
        code = subprocess.run(training, cwd=folder, env=environment, check=False).returncode
    except OSError as error:
        raise click.ClickException(
            f"{yolo} cannot be started: {error.strerror}. To install what the demo needs: "
            "pip install 'tracking-hooks[demo]'"
        ) from None
    if code:
        click.echo(f"\nThe training has ended with exit code {code}: the reason stands above.", err=True)
        raise click.exceptions.Exit(code if code > 0 else 128 - code)
    look = f"{shlex.quote(_command('tracking-hooks'))} open --tracker"
    lines = {_TITLES.get(tracker, tracker): f"{look} {shlex.quote(tracker)}" for tracker in trackers}
    tracked = f"{SELECTION}={shlex.quote(selection)} {shlex.quote(yolo)}"
    lines["Your data"] = f"{tracked} train model=yolo26n.yaml data=YOUR.yaml"
    width = max(map(len, lines)) + 3
    click.echo("\n" + "\n".join(f"{f'{title}:':<{width}}{line}" for title, line in lines.items()))


def _command(name: str) -> str:
    """Return how the user can call a program of this environment."""
    ours = shutil.which(name, path=str(Path(sys.executable).parent))  # on Windows it ends with .exe
    found = shutil.which(name)
    return ours if ours and not (found and Path(found).samefile(ours)) else name
