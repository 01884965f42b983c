"""What the model sees, as cards of MLflow's image grid: labels and predictions side by side, by image and epoch.

Its own ``log_image`` would name the files at random and send them from a thread: a repetition would double them. Here
the names are made of run, key and step.

A card opens at step 0, whatever steps it has (seen in MLflow 2.22, 3.0 and 3.17). So step 0 has a copy: of the best
epoch, once its pictures are there, else of the latest one. What step 0 has is an ordinary artifact, too: MLflow 3.17
writes all parameters of the run above the picture of a card.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tracking_hooks import drawing
from tracking_hooks.events import Artifact, Rejected, State
from tracking_hooks.predictions import SeenImage
from tracking_hooks_mlflow import artifacts, names, view
from tracking_hooks_mlflow.errors import gone
from tracking_hooks_mlflow.run import MLflowRun, milliseconds

_OF_TRAINING, _WORST = "predictions", "worst"
_MOST_CARDS = 8

_CARD = {"width": 600, "text": 24}
"""Twice as large as drawn: on a page of 1280 pixels, a card's picture is 298 to 366 wide."""
_LARGE = {"width": 1280, "text": 20}
"""What a click on the card shows."""


def note_best(state: State, epoch: int) -> None:
    """Note the best epoch so far."""
    _notes(state)["best"] = epoch


class Cards:
    """The pictures of one event.

    :param source: the uid of what was recorded, the run or an addendum to it
    :param at: the step where none was given
    :param time: of the event
    """

    def __init__(
        self, run: MLflowRun, source: str, artifact: Artifact, images: Sequence[SeenImage], classes: Mapping[int, str],
        *, step: int | None, at: int, time: float,
    ) -> None:  # fmt: skip
        self._run = run
        self._source = source
        self._time = time
        self._artifact = artifact
        self._images = images
        self._classes = classes
        self._at = at if step is None else step
        self._shown = drawing.names(images)
        of, unique = artifact.name, names.Names({})
        cards = [
            of if self._is_users and len(images) == 1 else f"{of}/{rank:02} {name}" if of == _WORST else f"{of}/{name}"
            for rank, name in enumerate(self._shown, 1)
        ]
        self.keys = [unique.key(card, beside=cards) for card in cards[:_MOST_CARDS]]
        """Those of the cards, in their order."""

    def uploads(self, state: State) -> Iterator[tuple[str, partial[None]]]:
        """Yield the name and the sending of each picture that the run is to have.

        :param state: says of which epoch step 0 has a copy, and is told of another one
        """
        of = self._artifact.name
        steps = [self._at] if self._is_users else [0] if of == _WORST else self._steps(state)
        for rank, (image, shown) in enumerate(zip(self._images, self._shown), 1):
            if rank <= _MOST_CARDS and steps:
                yield self._card(self.keys[rank - 1], image, steps)
            if 0 in steps and not self._is_users and (rank <= _MOST_CARDS or of == _WORST):
                yield self._file(f"{of}/{rank:02}-{Path(shown).stem}.jpg", image)

    def show(self, state: State) -> None:
        """Show the images of a training in the view of its experiment: once a run, they are the same at each epoch."""
        if self._artifact.name == _OF_TRAINING and "in_view" not in (notes := _notes(state)):
            notes["in_view"] = True
            view.show_images(self._run, self.keys, milliseconds(self._time))

    @property
    def _is_users(self) -> bool:
        return self._artifact.name not in (_OF_TRAINING, _WORST)

    def _steps(self, state: State) -> list[int]:
        """Return where a card has the pictures of this epoch."""
        notes, steps = _notes(state), [self._at]
        if notes.get("copied") != notes.get("best", 0) or self._at == notes["copied"]:
            notes["copied"] = self._at
            steps.append(0)
        return steps

    def _card(self, key: str, image: SeenImage, steps: Sequence[int]) -> tuple[str, partial[None]]:
        grid = [_name(self._source, key, step) for step in steps]
        files = {
            "{}.webp": {**_LARGE, "kind": "WEBP"},
            "{}+compressed.webp": {**_CARD, "kind": "WEBP", "square": True},  # the upper part of a square is seen
        }
        return key, partial(self._send, image, {pattern: (how, grid) for pattern, how in files.items()})

    def _file(self, name: str, image: SeenImage) -> tuple[str, partial[None]]:
        name = names.spelled(name)
        return name, partial(self._send, image, {"{}": ({**_LARGE, "kind": "JPEG"}, [name])})

    def _send(self, image: SeenImage, files: Mapping[str, tuple[dict[str, Any], Sequence[str]]]) -> None:
        """Draw an image, in one or more ways, and send each picture under one or more names."""
        for pattern, (how, called) in files.items():
            content = self._drawn(image, title="" if self._is_users else f"epoch {self._at}", **how)
            for name in map(pattern.format, called):
                with TemporaryDirectory(prefix="tracking-hooks-") as folder:
                    (file := Path(folder, "picture")).write_bytes(content)
                    artifacts.upload(self._run, file, name)

    def _drawn(self, image: SeenImage, **how: Any) -> bytes:
        path = self._artifact.path
        try:
            return drawing.draw(image, path, self._classes, **how)
        except FileNotFoundError:
            raise gone(path, self._run.uri, self._artifact.name) from None
        except zipfile.BadZipFile as error:
            raise Rejected(f"{path} cannot be shown in MLflow: {error}.") from error


def _notes(state: State) -> dict[str, Any]:
    notes: dict[str, Any] = state.setdefault("predictions", {})
    return notes


def _name(source: str, key: str, step: int) -> str:
    """Return the name of a picture in the grid, without its suffix: always the same one."""
    made_of = hashlib.sha256(f"{source} {key} {step}".encode()).hexdigest()[:32]
    return f"images/{key.replace('/', '~')}+step+{step}+timestamp+0+{made_of}"
