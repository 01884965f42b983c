"""One of the addresses, and what its answer means to a relay. Nothing here says the address itself."""

from __future__ import annotations

import hashlib
import logging
import re

import apprise

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_notify.trainer import URLS

_REFUSED = {"400", "413", "422"}  # the receiver understood the message and does not take it

logging.getLogger("apprise").propagate = False  # its lines can name an address


class Service:
    """A chat, a mailbox, a webhook."""

    def __init__(self, number: int, url: str) -> None:
        self._label = f"address {number} in {URLS} ({url.partition('://')[0]})"
        # Tells the addresses apart in a file. It is slow and short: nobody guesses a password by it.
        self.key = hashlib.pbkdf2_hmac("sha256", url.encode(), b"tracking-hooks-notify", 200_000, 4).hex()
        self._client = apprise.Apprise(asset=apprise.AppriseAsset(app_id="tracking-hooks", async_mode=False))
        with apprise.LogCapture():
            if not self._client.add(url):
                raise ValueError(f"{self._label} is not one that Apprise can use")

    def send(self, title: str, body: str, look: apprise.NotifyType) -> Rejected | Unavailable | None:
        """Return why the message did not arrive, or None."""
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
            if self._client.notify(body, title, look, body_format=apprise.NotifyFormat.TEXT):
                return None
            code = re.search(r"error=(\d{3})\b", log.getvalue())
        if code and code[1] in _REFUSED:
            return Rejected(f"{self._label} refuses the message: HTTP {code[1]}")
        why = f"HTTP {code[1]}" if code else "`apprise -vv -b test` says why"
        return Unavailable(f"{self._label} takes no message: {why}")
