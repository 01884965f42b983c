"""Makes the pictures. ``make pictures``, or ``python -m docs.pictures``; takes ten minutes on two cores."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from docs.pictures import CAST, IMAGES, SIZES, cast, files, terminal

_HOLD = 5.0
"""Seconds for which the film's last picture is shown."""


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser("python -m docs.pictures", description=__doc__)
    parser.add_argument("--only", choices=["terminal"], help="the film, from the recording that there is: no training")
    parser.add_argument("--into", type=Path, default=IMAGES, metavar="FOLDER", help="where to put them")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    if not given.only:
        with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
            _take(Path(folder), given.into)
    _film(given.into)
    for name in SIZES:
        if (path := given.into / name).exists():
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _take(folder: Path, into: Path) -> None:
    """Train, and take pictures of what the trackers show."""
    from docs.pictures import others, predictions, session, tensorboard
    from docs.pictures.camera import camera
    from docs.pictures.home import Home
    from docs.pictures.mlflow import Pages
    from tests.support import browser

    if browser.needed.args[0]:
        raise SystemExit(f"{browser.needed.kwargs['reason']}: make system-packages")
    home = Home(folder)
    home.furnish()
    try:
        print("The recording: a training of 20 epochs", flush=True)
        cast.write(CAST, session.record(home))
        mlflow = home.opened().partition("/#")[0]
        home.run("tracking-hooks", "open", "--tracker", "tensorboard")
        with camera(into) as one:
            print("Pictures of the run in TensorBoard and MLflow", flush=True)
            tensorboard.take(one, home.opened())
            pages = Pages(one, mlflow, f"sqlite:///{home.work / 'mlflow.db'}")
            pages.of_the_demo()
            print("Other trainings and a tuning", flush=True)
            others.train(home)
            pages.of_several()
        files.write_png(into / "predictions.png", predictions.compose(others.with_large_images(home)))
    finally:
        home.run("tracking-hooks", "open", "--stop")


def _film(into: Path) -> None:
    last = into / "mlflow-run.png"
    page = Image.open(last if last.exists() else IMAGES / last.name).convert("RGB")
    frames = list(terminal.play(cast.read(CAST)))
    frames.append((page.resize(SIZES["demo.gif"], Image.Resampling.LANCZOS), _HOLD))
    files.write_gif(into / "demo.gif", frames)


if __name__ == "__main__":
    main()
