"""What MLflow lacks of a run: a tag for each part of the plugin, and one paragraph of the description made of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracking_hooks.events import Missing, in_words
from tracking_hooks_mlflow.note import DESCRIPTION
from tracking_hooks_mlflow.run import MAX_TAG, MLflowRun

TAG = "tracking_hooks.incomplete"
"""The tag of the first part; a run without it has all of its numbers."""

FILES_TAG = "tracking_hooks.incomplete.files"
"""The tag of the second part."""

_HEADING = "**Incomplete:** of what was recorded, MLflow does not have"
_ROUNDS = 3


def say(run: MLflowRun, tag: str, missing: Sequence[Missing], *, described: bool) -> None:
    """Set the tag of a part, or delete it, and let the description say the same.

    :param described: whether the description is ours
    """
    if missing:
        run.tag({tag: "\n".join(in_words(missing))})
    else:
        run.untag(tag)
    if described:
        describe(run)


def describe(run: MLflowRun, text: str | None = None) -> None:
    """Write the description with the paragraph of both parts.

    :param text: what stands above it; None: what stands there
    """
    for _ in range(_ROUNDS):  # the relay of the other part may write at the same time
        tags = run.tags()
        found = tags.get(DESCRIPTION, "")
        said = completed(found if text is None else text, tags)[:MAX_TAG]
        if said == found:
            return
        run.tag({DESCRIPTION: said})


def completed(description: str, tags: Mapping[str, str]) -> str:
    """Return a description with the paragraph that the tags of both parts make; none where they are not set."""
    text = description.partition(_HEADING)[0].rstrip()
    if not (lines := _lines(tags)):
        return text
    return "\n".join([*([text, ""] if text else []), _HEADING, "", *(f"- {line}" for line in lines)])


def _lines(tags: Mapping[str, str]) -> list[str]:
    return [line for tag in (TAG, FILES_TAG) for line in tags.get(tag, "").splitlines()]
