"""What the model sees, as pictures: labels and predictions side by side.

TensorBoard keeps ten pictures of a tag. At a smaller step than that before it, its data server drops all from that step
on. So the best epoch has tags of its own: its pictures come behind later ones, or are not among the ten.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary

from tracking_hooks import drawing
from tracking_hooks.events import Artifact, State
from tracking_hooks.predictions import SeenImage
from tracking_hooks_tensorboard.values import image

_OF_TRAINING, _WORST = "predictions", "worst"
_BEST = "predictions_best"
_MOST_IMAGES = 8
_MOST_OF_WORST = 24


def note_plan(state: State, epochs: int | None) -> None:
    """Note how many epochs there are to be, by which those are chosen whose pictures are shown."""
    state.setdefault("pictures", {})["epochs"] = epochs


def note_fitness(state: State, epoch: int, fitness: float | None) -> None:
    """Note which epoch is the best so far: of equal ones the last."""
    notes = state.setdefault("pictures", {})
    if fitness is not None and math.isfinite(fitness) and fitness >= notes.get("fitness", -math.inf):
        notes.update(fitness=fitness, best=epoch)


def values(
    artifact: Artifact, images: Sequence[SeenImage], classes: Mapping[int, str], step: int, state: State
) -> list[Summary.Value]:
    """Return the pictures of an event; none if their epoch is not among those that are shown.

    :param state: has the steps that are shown, and is told of a new one
    :raises ValueError: if the archive is none
    """
    of, shown = artifact.name, drawing.names(images)
    if of == _WORST:
        tags = [f"{of}/{rank:02} {name}" for rank, name in enumerate(shown[:_MOST_OF_WORST], 1)]
    elif of == _OF_TRAINING:
        place = _place(step, state)
        tags = [f"{place}/{name}" for name in shown[:_MOST_IMAGES] if place]
    else:
        tags = [of] if len(images) == 1 else [f"{of}/{name}" for name in shown[:_MOST_IMAGES]]
    title = f"epoch {step}" if of in (_OF_TRAINING, _WORST) else ""
    try:
        return [image(tag, drawing.draw(one, artifact.path, classes, title=title)) for tag, one in zip(tags, images)]
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error


def _place(step: int, state: State) -> str:
    """Return how the tags of an epoch begin; empty if it is not shown."""
    notes = state.setdefault("pictures", {})
    kept = notes.get("steps", [])
    if step not in kept and step < max(kept, default=step):
        return _BEST
    if not drawing.is_kept(step, kept, notes.get("epochs")):
        return _BEST if step == notes.get("best") else ""
    notes["steps"] = sorted({*kept, step})
    return _OF_TRAINING
