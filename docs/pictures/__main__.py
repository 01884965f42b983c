"""Makes the pictures. ``make pictures``, or ``python -m docs.pictures``; takes ten minutes on two cores."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from docs.pictures import CAST, IMAGES, SIZES, cast, files, terminal

_PAGES = (2.0, 4.0)
"""Seconds for which the pages at the end of the film are shown."""


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser("python -m docs.pictures", description=__doc__)
    parser.add_argument("--only", choices=["terminal"], help="the film, from the recording that there is: no training")
    parser.add_argument("--into", type=Path, default=IMAGES, metavar="FOLDER", help="where to put them")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    if given.only:
        pages = files.end_of_film(IMAGES / "demo.gif", len(_PAGES))
    else:
        with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
            pages = _take(Path(folder), given.into)
    smaller = [page.resize(SIZES["demo.gif"], Image.Resampling.LANCZOS) for page in pages]
    files.write_film(given.into / "demo.gif", [*terminal.play(cast.read(CAST)), *zip(smaller, _PAGES)])
    for name in SIZES:
        if (path := given.into / name).exists():
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _take(folder: Path, into: Path) -> list[Image.Image]:
    """Train, and take pictures of what the trackers show; return those for the film."""
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
        link = home.opened()
        home.run("tracking-hooks", "open", "--tracker", "tensorboard", "--all")
        server, store = link.partition("/#")[0], f"sqlite:///{home.work / 'mlflow.db'}"
        print("Pictures of the run in TensorBoard and MLflow", flush=True)
        with camera(into, home.root) as one:  # whose browser remembers how the page is arranged
            filmed = Pages(one, server, store).of_the_film(link)
        with camera(into, home.root) as one:
            tensorboard.take(one, home.opened())
            pages = Pages(one, server, store)
            pages.of_the_demo()
            print("Other trainings and a tuning", flush=True)
            others.train(home)
            pages.of_several()
        files.write_png(into / "predictions.png", predictions.compose(others.with_large_images(home)))
    finally:
        home.run("tracking-hooks", "open", "--stop")
    return filmed


if __name__ == "__main__":
    main()
