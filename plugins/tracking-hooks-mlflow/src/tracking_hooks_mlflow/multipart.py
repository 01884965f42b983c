"""Uploads large files to the artifact store in parts, bypassing the server, where both support that."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD as IN_PARTS
from mlflow.exceptions import MlflowException

logger = logging.getLogger(__name__)


class OutOfReach(Exception):
    """The artifact store cannot be reached from here: many servers send clients to an address that only they reach."""


def allow() -> None:
    """Let MLflow's client upload large files in parts, unless the user has set otherwise."""
    os.environ.setdefault(IN_PARTS.name, "true")


@contextmanager
def allowed() -> Iterator[None]:
    """Raise ``OutOfReach`` where an upload fails for being made in parts."""
    try:
        yield
    except MlflowException as error:
        if not (IN_PARTS.get() and "upload at least one part" in str(error)):
            raise
        raise OutOfReach from None


def give_up() -> None:
    """Upload through the server from now on."""
    logger.warning("the artifact store cannot be reached from here, so files are uploaded through the server")
    IN_PARTS.set("false")
