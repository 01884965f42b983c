"""What ended a run, as an event; and how a configuration error ends a program."""

from __future__ import annotations

import os
import re
import sys
import traceback
from types import TracebackType

from tracking_hooks import redact
from tracking_hooks.events import Error, Status
from tracking_hooks.settings import ConfigurationError
from tracking_hooks.tracebacks import leave_out_ours

_CALLED_OFF = re.compile(
    r"KeyboardInterrupt"
    r"|(Trial|Run)?Pruned(Trial|Run)?(Error|Exception)?"  # Optuna's TrialPruned
    r"|(Task)?Cancell?ed(Error|Exception)?"  # asyncio's, concurrent.futures' and Ray's
    r"|Stop(Training|Trial)(Error|Exception)?"
    r"|(Training|Trial)(Stopped|Cancell?ed|Aborted|Interrupted)(Error|Exception)?"
)
"""The names of exceptions by which a training is called off, in a callback or by a library that tunes: no failure."""


def describe_error(error: BaseException, where: str = "") -> Error:
    """Describe what ended a run, without secrets. Never raises.

    :param where: the process, if it is not the one that records
    """
    redact.learn(os.environ)  # the script may have set more since the run began
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 its own __str__ raises; the traceback says so too
        message = "<exception str() failed>"
    leave_out_ours(error)
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return Error(
        type=type(error).__name__,
        message=redact.text(f"{where}: {message}" if where else message),
        traceback=redact.text("".join(lines)),
    )


def status_of(error: BaseException | None) -> Status:
    """Return how a run ends that this exception, or none, is ending."""
    if error is None:
        return "finished"
    return "interrupted" if _was_called_off(error) else "failed"


def _was_called_off(error: BaseException) -> bool:
    """Whether somebody has ended the training on purpose: told by the exception's class or one that it is based on."""
    if isinstance(error, SystemExit):
        return error.code in (None, 0)
    return any(_CALLED_OFF.fullmatch(kind.__name__) for kind in type(error).__mro__)


def raise_alone(error: ConfigurationError) -> None:
    """Raise a configuration error so that, if nobody catches it, its message is all that is printed."""
    previous = sys.excepthook

    def print_message(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is error:
            print(f"tracking-hooks: {error}", file=sys.stderr)  # noqa: T201 it is the end of the program
        else:
            previous(kind, value, trace)

    sys.excepthook = print_message
    raise error from None
