"""Nothing of ours ends a training, and a job that fails leaves out nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ultralytics.utils import LOGGER

from tracking_hooks.recording.complaints import describe


@contextmanager
def guard(job: str) -> Iterator[None]:
    """Do a job; if it fails, say so in one sentence and go on behind it.

    :param job: what is left out then, such as "the graph"
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 whatever it is
        say_left_out(job, error)


def say_left_out(job: str, error: Exception) -> None:
    """Say that a job has failed."""
    LOGGER.warning(f"tracking-hooks: {job} failed and is left out: {describe(error)}")
