"""Large files go to the artifact store in parts, past the server, where both of them can do that."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from mlflow.environment_variables import MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD as IN_PARTS
from mlflow.exceptions import MlflowException

logger = logging.getLogger(__name__)


def allow() -> None:
    """Let MLflow's client send large files in parts, unless the user has set that otherwise."""
    os.environ.setdefault(IN_PARTS.name, "true")


def upload(send: Callable[[], None]) -> None:
    """Send files; if their parts do not get to the artifact store, send them through the server, from now on.

    Many a server gives out addresses of a store that only the server itself reaches.
    """
    try:
        send()
    except MlflowException as error:
        if not (IN_PARTS.get() and "upload at least one part" in str(error)):
            raise
        logger.warning("the artifact store cannot be reached from here, so files are sent through the server")
        IN_PARTS.set("false")
        send()
