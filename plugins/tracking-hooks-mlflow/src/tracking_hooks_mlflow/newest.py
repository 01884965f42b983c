"""What replaces what: a validation or an export that is delivered late, or again, replaces nothing of a newer one."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from tracking_hooks_mlflow.names import spelled
from tracking_hooks_mlflow.run import OURS, MLflowRun

EVALUATED = f"{OURS}evaluated."
"""How the tags begin that say when a split was validated last."""

EXPORTED = f"{OURS}exported."
"""How the tags begin that say when a file was exported last."""

logger = logging.getLogger(__name__)


def takes(run: MLflowRun, tag: str, time: float) -> bool:
    """Whether the run has nothing newer; if so, the tag says from when it has it.

    :param time: of the event: when the thing was made, whenever it is delivered
    """
    if _has_newer(run, tag, time):
        return False
    run.tag({tag: _text(time)})
    return True


def takes_file(run: MLflowRun, name: str, time: float) -> bool:
    """Whether the run takes an artifact: it does not if that is of a validation, and there is a newer one."""
    folder, _, of = name.partition("/")
    split = of.rpartition("/")[0]
    return folder != "evaluation" or not split or not _has_newer(run, f"{EVALUATED}{split}", time)


def _has_newer(run: MLflowRun, tag: str, time: float) -> bool:
    known = run.tags().get(spelled(tag), "")
    if known > _text(time):
        logger.info("%s says %s: what is from %s replaces nothing", tag, known, _text(time))
        return True
    return False


def _text(time: float) -> str:
    """Return a time so that a later one is the greater text."""
    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="microseconds")
