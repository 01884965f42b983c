"""What MLflow lacks of a run: a tag for each part of the plugin, and one paragraph of the description made of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracking_hooks.events import Missing, Run, in_words
from tracking_hooks_mlflow import note
from tracking_hooks_mlflow.note import DESCRIPTION
from tracking_hooks_mlflow.run import MAX_TAG, MLflowRun, own_tag

TAG = "tracking_hooks.incomplete"
"""The tag of the first part; a run without it has all of its numbers."""

FILES_TAG = "tracking_hooks.incomplete.files"
"""The tag of the second part."""

_HEADING = "**Incomplete:** of what was recorded, MLflow does not have"
_ROUNDS = 3


def say(run: MLflowRun, tag: str, missing: Sequence[Missing], of: Run) -> None:
    """Set the tag of a part, or delete it, and let the description say the same.

    :param of: an addendum to the run has a tag of its own
    """
    tag = own_tag(tag, of)
    if missing:
        run.tag({tag: "\n".join(in_words(missing))})
    else:
        run.untag(tag)
    describe(run)


def describe(run: MLflowRun, **parts: str) -> None:
    """Write the description with the paragraph of all tags; that of the user's own run is the user's.

    :param parts: what is new of it; the others stay, since a copy of this run may be delivered by another machine
    """
    for _ in range(_ROUNDS):  # the relay of the other part may write at the same time
        if not (new := described(run, run.tags(), parts)):
            return
        run.tag(new)


def described(run: MLflowRun, tags: Mapping[str, str], parts: Mapping[str, str]) -> dict[str, str]:
    """Return the description as a tag to be set; nothing where the run has it, or is the user's own.

    :param tags: those of the run
    :param parts: what is new of it
    """
    found = tags.get(DESCRIPTION, "")
    own = found.partition(_HEADING)[0].rstrip()
    said = completed(note.whole({**note.parts_of(own), **parts}), tags)[:MAX_TAG]
    return {} if run.is_joined or said == found else {DESCRIPTION: said}


def completed(description: str, tags: Mapping[str, str]) -> str:
    """Return a description with the paragraph that the tags make; none where they are not set."""
    text = description.partition(_HEADING)[0].rstrip()
    if not (lines := _lines(tags)):
        return text
    return "\n".join([*([text, ""] if text else []), _HEADING, "", *(f"- {line}" for line in lines)])


def _lines(tags: Mapping[str, str]) -> list[str]:
    return [line for tag in sorted(tags) if f"{tag}.".startswith(f"{TAG}.") for line in tags[tag].splitlines()]
