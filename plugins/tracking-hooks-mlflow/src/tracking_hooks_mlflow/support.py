"""What a store may not have: servers and stores that are older than what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

from tracking_hooks_mlflow.errors import told_to_relay
from tracking_hooks_mlflow.run import MLflowRun

_UNKNOWN = {"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"}


class Unsupported(Exception):
    """This store does not know what it was asked for. The rest of the run is not concerned."""


@contextmanager
def optional(run: MLflowRun, what: str) -> Iterator[None]:
    """Raise ``Unsupported`` where a store does not know something, and else what tells the relay.

    :param what: what is then missing, for the message
    """
    with told_to_relay(run.uri):
        try:
            yield
        except NotImplementedError:
            raise Unsupported(f"MLflow's store {run.uri} knows no {what}") from None
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            # An address where no MLflow is answers so, too: then this raises, and the relay tries again.
            run.client.get_run(run.run_id)
            raise Unsupported(f"MLflow at {run.uri} knows no {what}") from None
