"""What the exceptions of W&B's client mean to the relay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from wandb.errors import AuthenticationError, Error, UsageError

from tracking_hooks.events import Unavailable

# They have no base of their own and are private to the client, so they are told by name.
_PROCESS_IS_GONE = {"HandleAbandonedError", "MailboxClosedError", "ServerResponseError", "WandbServiceConnectionError"}


class ClientDied(Unavailable):
    """W&B's own process, ``wandb-core``, is gone: nothing more can be said to it."""


@contextmanager
def told_to_relay(where: str) -> Iterator[None]:
    """Raise ``Unavailable`` for what the client raises when W&B, or its own process, does not do its part.

    :param where: whom we speak to, without credentials
    """
    try:
        yield
    except AuthenticationError as error:
        raise Unavailable(f"{where} refuses access: {reason(error)}. Check WANDB_API_KEY, or `wandb login`.") from None
    except UsageError as error:
        if "API key" not in str(error):
            raise
        raise Unavailable(f"{where}: {reason(error)} Or set WANDB_API_KEY, where you deliver from.") from None
    except Error as error:
        raise Unavailable(f"{where} is not available: {reason(error)}") from None
    except ConnectionError as error:
        raise ClientDied(f"W&B's own process has ended: {reason(error)}") from None
    except Exception as error:
        if type(error).__name__ == "WandbApiFailedError":
            raise Unavailable(f"{where} is not available: {reason(error)}") from None
        if type(error).__name__ in _PROCESS_IS_GONE:
            raise ClientDied(f"W&B's own process does not answer: {reason(error)}") from None
        raise


def reason(error: BaseException) -> str:
    """Return one line of what an exception says, without credentials."""
    line = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"//[^/\s@]*@", "//", line)[:500]
