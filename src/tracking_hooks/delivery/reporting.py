"""Says in a tracker what it lacks of a run, once it has everything else."""

from __future__ import annotations

import logging
import time

from tracking_hooks.delivery.current import OUTAGE, Down
from tracking_hooks.delivery.deliverer import Deliverer
from tracking_hooks.events import Rejected
from tracking_hooks.run import missing
from tracking_hooks.run.journal import JournalError
from tracking_hooks.run.layout import RunFolder

logger = logging.getLogger("tracking_hooks.delivery.relay")


def report(folder: RunFolder, label: str, deliverer: Deliverer) -> None:
    """Say it unless that was said before. Never raises: a failure costs these words alone, until the next ``sync``."""
    try:
        found = missing.unreported(folder, label)
        if found is not None:
            deliverer.report(found, time.time())
            missing.note_reported(folder.relay(label), found)
    except (Down, Rejected, JournalError, *OUTAGE) as error:
        logger.warning("what is missing could not be said in the tracker: %s", error)
    except Exception:
        logger.warning("what is missing could not be said in the tracker", exc_info=True)
