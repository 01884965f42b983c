"""Uploads large files to the artifact store in parts, bypassing the server, where both support that."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD as IN_PARTS
from mlflow.exceptions import MlflowException

logger = logging.getLogger(__name__)


def allow() -> None:
    """Let MLflow's client upload large files in parts, unless the user has set otherwise."""
    os.environ.setdefault(IN_PARTS.name, "true")


def upload(send: Callable[[], None]) -> None:
    """Upload files; if the artifact store cannot be reached, upload through the server from then on.

    Many servers send clients to the address of a store that only the server reaches.
    """
    try:
        send()
    except MlflowException as error:
        if not (IN_PARTS.get() and "upload at least one part" in str(error)):
            raise
        logger.warning("the artifact store cannot be reached from here, so files are uploaded through the server")
        IN_PARTS.set("false")
        send()
