"""Translates the exceptions of W&B's client for the relay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from wandb.errors import AuthenticationError, Error, UsageError

from tracking_hooks.events import Unavailable

# They have no common base and are private to the client, so they are recognised by name.
_PROCESS_IS_GONE = {"HandleAbandonedError", "MailboxClosedError", "ServerResponseError", "WandbServiceConnectionError"}


_ELSEWHERE = "`tracking-hooks sync --to wandb --set entity=… --set project=… PATH`"

# Refusals of the service, and what to do.
_ADVICE = {
    r"previously created and deleted": "That id cannot be used again. Deliver to a new run: "
    "`tracking-hooks sync --to wandb --set id=NEW PATH`.",
    r"not logged in|\b401\b|unauthorized|api key": "Check WANDB_API_KEY, or `wandb login`.",
    r"permission denied|forbidden|\b403\b": "The key's user may not write there. Let the owner admit them, or deliver "
    f"with another WANDB_API_KEY, or elsewhere: {_ELSEWHERE}.",
    r"not found|\b404\b": f"Create what is missing, or deliver elsewhere: {_ELSEWHERE}.",
}


class ClientDied(Unavailable):
    """W&B's own process, ``wandb-core``, is gone and cannot be used any more."""


@contextmanager
def told_to_relay(where: str) -> Iterator[None]:
    """Raise ``Unavailable`` when the client reports that W&B, or its own process, fails.

    :param where: the server, without credentials
    """
    try:
        yield
    except AuthenticationError as error:
        if _is_failed_request(error.__cause__):  # to look at the key, which may be right
            raise Unavailable(_not_available(where, error.__cause__)) from None
        raise Unavailable(f"{where} refuses access: {reason(error)}. Check WANDB_API_KEY, or `wandb login`.") from None
    except UsageError as error:
        if "API key" not in str(error):
            raise
        raise Unavailable(f"{where}: {reason(error)} Or set WANDB_API_KEY in the environment that delivers.") from None
    except Error as error:
        raise Unavailable(_not_available(where, error)) from None
    except ConnectionError as error:
        raise ClientDied(f"W&B's own process has ended: {reason(error)}") from None
    except Exception as error:
        if _is_failed_request(error):
            raise Unavailable(_not_available(where, error)) from None
        if type(error).__name__ in _PROCESS_IS_GONE:
            raise ClientDied(f"W&B's own process does not answer: {reason(error)}") from None
        raise


def _is_failed_request(error: object) -> TypeGuard[Exception]:
    return type(error).__name__ == "WandbApiFailedError"


def _not_available(where: str, error: Exception) -> str:
    return f"{where} is not available: {reason(error)}{_advice(str(error))}"


def _advice(text: str) -> str:
    return next((f". {advice}" for sign, advice in _ADVICE.items() if re.search(sign, text, re.IGNORECASE)), "")


def reason(error: BaseException) -> str:
    """Return the message of an exception as one line, without credentials."""
    line = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"//[^/\s@]*@", "//", line)[:500]
