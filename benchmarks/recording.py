"""Recording: what an event costs the training process, and what is looked at once before the first batch."""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.group import Group, main
from tracking_hooks.events import Run
from tracking_hooks.hosts.ultralytics import labels
from tracking_hooks.recording.environment import describe
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.recording.repository import Repository
from tracking_hooks.settings import Settings

CLASS_METRICS = ("precision", "recall", "mAP50", "mAP50-95")
EVENTS = {
    "a batch, 1 metric": ("on_batch_end", 1, 0),
    "a batch, 20 metrics": ("on_batch_end", 20, 0),
    "a batch, 200 metrics": ("on_batch_end", 200, 0),
    "an epoch, 20 metrics": ("on_epoch_end", 20, 0),
    "an epoch, 20 metrics, 80 classes": ("on_epoch_end", 20, 80),
    "an epoch, 20 metrics, 1,000 classes": ("on_epoch_end", 20, 1000),
}
BARE = {name: f"{name}: a bare write() of these bytes" for name in EVENTS}
IMAGES = 118_000
DATA = (f"counting the objects of {IMAGES:,} images", f"digest of {IMAGES:,} images")
ENVIRONMENT = ("on the training's thread", "until git has answered, on another thread")
GIT = ("a folder without git", "a repository of 50,000 files")


def measure(group: Group) -> None:
    images = _images(group.scaled(IMAGES, 1000))
    folders = dict(zip(GIT, (group.folder / "plain", _repository(group, group.scaled(50_000, 50)))))
    folders[GIT[0]].mkdir()
    classes = {number: f"class {number}" for number in range(80)}
    here = Path.cwd()
    for number in group.rounds():
        for name, (hook, metrics, per_class) in group.mixed(list(EVENTS.items())):
            recorded, written = _event(group.folder / f"run-{number}", hook, metrics, per_class, group.scaled(2000, 50))
            group.add("an event", name, recorded, "µs")
            group.add("an event", BARE[name], written, "µs")
        for name, look in zip(DATA, (lambda: labels.count(images, classes), lambda: labels.digest(images, classes))):
            group.add("data set", name, _seconds(look), "s")
        for name, folder in group.mixed(list(folders.items())):
            os.chdir(folder)
            for benchmark, seconds in zip(ENVIRONMENT, _environment()):
                group.add(benchmark, name, 1e3 * seconds, "ms")
            os.chdir(here)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _environment() -> tuple[float, float]:
    """Describe the environment; return how long the caller is held up, and after how long git has told the rest."""
    start = time.perf_counter()
    environment = describe([], [])
    repository = Repository(environment)
    middle = time.perf_counter()
    repository.add_to(environment)
    return middle - start, time.perf_counter() - start


def _event(folder: Path, hook: str, metrics: int, classes: int, events: int) -> tuple[float, float]:
    """Record events and write the same bytes, in turn; return the medians in µs."""
    save_dir = folder / "train"
    save_dir.mkdir(parents=True)
    run = Run(uid="20261124-000000-0000beef", name="train", project="", task="detect", save_dir=save_dir)
    params: dict[str, Any] = {"params": {}, "environment": describe([], [])}
    recorder = Recorder.start(run, {}, Settings(system_every=0), logging.getLogger(), **params)
    recorder.begin(**params)
    args: dict[str, Any] = {"metrics": {f"metrics/value_{index}": index * 0.123456789 for index in range(metrics)}}
    if hook == "on_epoch_end":
        args["per_class"] = {
            f"class {index}": dict.fromkeys(CLASS_METRICS, index / 1234.5) for index in range(classes)
        } or None
    recorder.record(hook, epoch=1, step=1, **args)
    line = recorder.folder.journal.read_bytes().splitlines(keepends=True)[-1]
    bare, ours = [], []
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for index in range(events if classes < 100 else events // 10):
        start = time.perf_counter()
        recorder.record(hook, epoch=index + 2, step=index, **args)
        middle = time.perf_counter()
        os.write(fd, line)
        bare.append(time.perf_counter() - middle)
        ours.append(middle - start)
    os.close(fd)
    recorder.end("finished")
    shutil.rmtree(folder)
    return 1e6 * statistics.median(ours), 1e6 * statistics.median(bare)


def _images(count: int) -> Any:
    """Return the labels of a data set such as COCO, as Ultralytics holds them: seven boxes in an image."""
    dice = np.random.default_rng(0)
    return SimpleNamespace(
        labels=[
            {
                "im_file": f"/data/images/train/{number:012}.jpg",
                "cls": dice.integers(80, size=(boxes, 1)).astype(np.float32),
                "bboxes": dice.random((boxes, 4), dtype=np.float32),
                "segments": [],
                "keypoints": None,
            }
            for number, boxes in enumerate(dice.integers(1, 14, size=count).tolist())
        ]
    )


def _repository(group: Group, files: int) -> Path:
    """Make a repository with so many files, in folders of a hundred."""
    folder = group.folder / "repository"
    for number in range(files):
        file = folder / f"{number // 100:04}/{number:06}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n")
    author = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "files"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


if __name__ == "__main__":
    main("recording", __doc__, measure)
