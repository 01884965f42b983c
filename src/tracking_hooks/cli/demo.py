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
from tracking_hooks.settings import SELECTION, ConfigurationError

_TRAINING = {
    "model": "yolo26n.yaml", "imgsz": 64, "batch": 16, "device": "cpu", "workers": 0, "amp": False, "mosaic": 0.0,
    "close_mosaic": 0, "optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 1, "seed": 0, "exist_ok": True,
}  # fmt: skip
_TRACKERS = ("mlflow", "tensorboard")


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("tracking-hooks-demo"),
    show_default=True,
    help="Where to put everything.",
)
@click.option("--epochs", default=20, show_default=True, help="20 epochs take a minute or two on a CPU.")
def command(folder: Path, epochs: int) -> None:
    """Train on generated shapes, as a demonstration.

    A YOLO26n learns to detect squares, circles and triangles, tracked in MLflow and TensorBoard. The data set, the
    training and MLflow's database are put into one folder.
    """
    try:
        plugins.select(",".join(_TRACKERS), plugins.installed())
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    folder = folder.absolute()
    data = make_shapes(folder / "shapes")
    arguments = {**_TRAINING, "data": data, "epochs": epochs, "project": folder / "runs", "name": "demo"}
    yolo = _command("yolo")
    training = [yolo, "detect", "train", *(f"{name}={value}" for name, value in arguments.items())]
    environment = {**os.environ, SELECTION: ",".join(_TRACKERS)}
    environment.setdefault("MLFLOW_EXPERIMENT_NAME", "tracking-hooks demo")
    environment.setdefault("OMP_NUM_THREADS", "1")  # more threads slow down a model this small
    click.echo(f"$ cd {shlex.quote(str(folder))}")
    click.echo(f"$ {SELECTION}={environment[SELECTION]} {shlex.join(training)}\n")
    code = subprocess.run(training, cwd=folder, env=environment, check=False).returncode
    if code:
        raise click.exceptions.Exit(code)
    uri = environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
    click.echo("")
    if uri.startswith("http"):
        click.echo(f"MLflow:       open {uri}")
    else:
        click.echo(
            f"MLflow:       {_command('mlflow')} ui --backend-store-uri {shlex.quote(uri)}   # http://127.0.0.1:5000"
        )
    logdir = shlex.quote(str(folder / "runs"))
    click.echo(f"TensorBoard:  {_command('tensorboard')} --logdir {logdir}   # http://127.0.0.1:6006")
    click.echo(f"Your data:    {SELECTION}=mlflow,tensorboard {yolo} train model=yolo26n.yaml data=YOUR.yaml")


def _command(name: str) -> str:
    """Return how the user can call a program of this environment."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and ours.exists() and Path(found).samefile(ours):
        return name
    return shlex.quote(str(ours)) if ours.exists() else name
