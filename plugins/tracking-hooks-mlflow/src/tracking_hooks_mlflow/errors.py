"""What MLflow's exceptions mean to the relay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_mlflow import uris

_FOR_NOW = {408, 429, 499}  # time-out, too many requests, cancelled
_CLOUDS = ("azure", "boto3", "botocore", "google")  # clients of artifact stores that have exceptions of their own


@contextmanager
def told_to_relay(uri: str) -> Iterator[None]:
    """Translate MLflow's exceptions to ``Unavailable`` or ``Rejected``.

    :param uri: the tracking URI, without credentials
    """
    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() == 500 and uris.is_in_process(uri):
            raise  # a fault inside this process
        # An address where MLflow does not answer, such as a proxy whose server is still starting.
        elsewhere = error.error_code == "ENDPOINT_NOT_FOUND"
        status = 503 if elsewhere else error.get_http_status_code()
        # `from None`: the original contains the address with its password.
        raise _meaning(status, reason(error), uri) from None
    except requests.HTTPError as error:  # raised by transfers of artifacts
        status = 500 if error.response is None else error.response.status_code
        raise _meaning(status, reason(error), uri) from None
    except requests.RequestException as error:
        raise Unavailable(f"MLflow at {uri} is not available: {reason(error)}") from None
    except Exception as error:
        if not type(error).__module__.startswith(_CLOUDS):
            raise
        raise Unavailable(f"the artifact store of MLflow at {uri} did not take a file: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the message of an exception as one line, without credentials."""
    text = str(error)
    for words in ("Connection refused", "Read timed out", "connect timeout", "Name or service not known"):
        if words in text:
            return words.lower()  # otherwise urllib3 describes its pools and retries
    line = next(iter(text.splitlines()), "") or type(error).__name__
    return re.sub(r"//[^/\s]*@", "//", line)[:500]


def _meaning(status: int, why: str, uri: str) -> Exception:
    if status == 403 and "host header" in why.lower():
        return Unavailable(f"MLflow at {uri}: {why}. Start the server with --allowed-hosts for this name.")
    if status in {401, 403}:
        return Unavailable(
            f"MLflow at {uri} refuses access: {why}."
            " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if 400 <= status < 500 and status not in _FOR_NOW:
        return Rejected(f"MLflow at {uri} refuses this: {why}")
    return Unavailable(f"MLflow at {uri} is not available: {why}")
