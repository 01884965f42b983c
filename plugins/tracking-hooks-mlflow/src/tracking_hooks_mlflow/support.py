"""Features that older servers and stores lack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

from tracking_hooks_mlflow.run import MLflowRun

_UNKNOWN = {"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"}


class Unsupported(Exception):
    """The store lacks a feature. The rest of the run is not affected."""


@contextmanager
def optional(run: MLflowRun, what: str) -> Iterator[None]:
    """Raise ``Unsupported`` if the store lacks a feature; leave other exceptions to ``run.asking`` around this.

    :param what: the feature, for the message
    """
    try:
        yield
    except NotImplementedError:
        raise Unsupported(f"MLflow's store {run.uri} does not support {what}") from None
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
        # An address without MLflow answers the same: then this raises, and the relay retries.
        run.client.get_run(run.run_id)
        raise Unsupported(f"MLflow at {run.uri} does not support {what}") from None
