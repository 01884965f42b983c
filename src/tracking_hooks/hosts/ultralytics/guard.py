"""Nothing of ours ends a training, and a job that fails leaves out nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import LOGGER

from tracking_hooks.settings import ConfigurationError


@contextmanager
def guard(job: str) -> Iterator[None]:
    """Do a job; if it fails, say so in one sentence and go on behind it.

    :param job: what is left out then, such as "the graph"
    :raises ConfigurationError: as the job does: that one is for the user
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 whatever it is
        LOGGER.warning(f"tracking-hooks: {job} failed and is left out: {type(error).__name__}: {error}")
