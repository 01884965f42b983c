"""Makes events of what was seen, on a thread: encodes the pictures, keeps them in the run folder, records."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from tracking_hooks.events import Artifact
from tracking_hooks.hosts.ultralytics import pictures
from tracking_hooks.hosts.ultralytics.looking import Sight
from tracking_hooks.predictions import SeenImage
from tracking_hooks.recording import given
from tracking_hooks.recording.complaints import describe
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run import encoding

MOST = 18_000_000
"""Bytes of a run's pictures and what belongs to them, at most."""
_MOST_OF_ONE = MOST // 15


class Page(Struct, kw_only=True):
    """What is to be one event."""

    name: str
    step: int | None
    sights: Mapping[Path, Sight]
    """Files of images to what was seen in them, in the order in which they are shown."""
    names: Mapping[Path, str]
    """Files to the names of the images."""
    classes: dict[int, str]
    flag: int
    """How the data set reads images: as ``pictures.picture`` takes it."""


class Album:
    """Records the pages of one run."""

    def __init__(self, recorder: Recorder) -> None:
        """Record nothing so far."""
        self._recorder = recorder
        self._pages: queue.SimpleQueue[Page | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pictures: dict[Path, bytes] = {}
        self._archives: dict[tuple[str, ...], Artifact] = {}
        self._size = 0
        self._full: set[str] = set()  # names of pages that there is no more room for
        self._recorded: set[tuple[str, int | None]] = set()
        if recorder.resumed:
            self._recall()

    def add(self, page: Page) -> None:
        """Record a page as soon as its pictures are made, unless that of its name and step is recorded already."""
        if (page.name, page.step) in self._recorded:
            return
        self._recorded.add((page.name, page.step))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tracking-hooks-pictures", daemon=True)
            self._thread.start()
        self._pages.put(page)

    def close(self, timeout: float) -> None:
        """Wait until all is recorded."""
        if self._thread is None:
            return
        self._pages.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._recorder.complain(f"pictures of predictions are left out: not made within {timeout:g} s")
        self._thread = None

    def _recall(self) -> None:
        for call in self._recorder.calls("on_predictions"):
            artifact = call.args["artifact"]
            self._recorded.add((artifact.name, call.args["step"]))
            self._size += _size(call.args["images"])
            if artifact.digest not in (known := {one.digest for one in self._archives.values()}):
                self._archives[(str(len(known)),)] = artifact
                self._size += artifact.size or 0

    def _work(self) -> None:
        for page in iter(self._pages.get, None):
            try:
                self._record(page)
            except Exception as error:  # noqa: BLE001 it costs these pictures, and nothing else
                self._recorder.complain(f"pictures of predictions are left out: {describe(error)}")

    def _record(self, page: Page) -> None:
        if page.name in self._full:
            return  # before anything is written: nothing of it would be removed
        members: dict[str, bytes] = {}
        images: list[SeenImage] = []
        for file, sight in page.sights.items():
            if sight.maps and sum(map(len, members.values())) > _MOST_OF_ONE:
                break  # maps are others at each step
            image = self._image(page, file, sight, members)
            if image is not None:
                images.append(image)
        if not images:
            return
        artifact = self._archive(page.name, members)
        size = _size(images)
        if self._size + size > MOST:
            self._full.add(page.name)
            self._recorder.complain(
                f"no more pictures of predictions: the run has {self._size / 1e6:.0f} MB of them. "
                "A smaller TRACKING_HOOKS_PREDICTIONS makes room."
            )
            return
        self._size += size
        artifact = structs.replace(artifact, epoch=page.step)
        self._recorder.record("on_predictions", artifact=artifact, images=images, step=page.step, classes=page.classes)

    def _image(self, page: Page, file: Path, sight: Sight, members: dict[str, bytes]) -> SeenImage | None:
        """Return an image with its pictures, which become members; None if its file cannot be read."""
        name = page.names[file]
        try:
            if file not in self._pictures:
                of_maps = next((values.shape[::-1] for values in sight.maps.values()), None)
                self._pictures[file] = pictures.picture(file, page.flag, of_maps)
        except Exception as error:  # noqa: BLE001 one that cannot be read does not cost the others
            self._recorder.complain(f"a picture of predictions is left out: {describe(error)}")
            return None
        own = {"picture": pictures.member(name)}
        members[own["picture"]] = self._pictures[file]
        for kind, values in sight.maps.items():
            own[kind] = pictures.member(f"{name} {kind}", ".png")
            members[own[kind]] = pictures.pixels(values)
        return structs.replace(sight.image, path=name, **own)

    def _archive(self, called: str, members: dict[str, bytes]) -> Artifact:
        """Keep the pictures; those of an earlier page are kept already."""
        is_plain = all(name.endswith(".jpg") for name in members)
        key = tuple(sorted(members))
        known = self._archives.get(key) if is_plain else None
        if known and known.path.is_file():
            return structs.replace(known, name=called)
        artifact = given.archive(self._recorder.folder, called, members)
        if artifact.digest not in {one.digest for one in self._archives.values()}:
            self._size += artifact.size or 0
        self._archives[key] = artifact
        return artifact


def _size(images: Any) -> int:
    return len(encoding.encode(images))
