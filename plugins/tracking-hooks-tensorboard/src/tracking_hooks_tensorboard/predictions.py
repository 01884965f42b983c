"""What the model sees, as pictures: labels and predictions side by side.

TensorBoard keeps ten pictures of a tag. At a smaller step than that before it, its data server drops all from that step
on. So the best epoch has tags of its own where its pictures come behind later ones.
"""

from __future__ import annotations

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


def values(
    artifact: Artifact, images: Sequence[SeenImage], classes: Mapping[int, str], step: int, state: State
) -> list[Summary.Value]:
    """Return the pictures of an event.

    :param state: has the latest epoch that is shown, and is told of a later one
    :raises ValueError: if the archive is none
    """
    of, shown = artifact.name, drawing.names(images)
    if of == _WORST:
        tags = [f"{of}/{rank:02} {name}" for rank, name in enumerate(shown[:_MOST_OF_WORST], 1)]
    elif of == _OF_TRAINING:
        place = _place(step, state)
        tags = [f"{place}/{name}" for name in shown[:_MOST_IMAGES]]
    else:
        tags = [of] if len(images) == 1 else [f"{of}/{name}" for name in shown[:_MOST_IMAGES]]
    title = f"epoch {step}" if of in (_OF_TRAINING, _WORST) else ""
    try:
        return [image(tag, drawing.draw(one, artifact.path, classes, title=title)) for tag, one in zip(tags, images)]
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error


def _place(step: int, state: State) -> str:
    """Return how the tags of an epoch begin."""
    latest = state.get("pictured", step)
    if step < latest:
        return _BEST
    state["pictured"] = step
    return _OF_TRAINING
