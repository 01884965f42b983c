"""The trainer side: says which events are told. The addresses stay in the environment. Imports no Apprise."""

from __future__ import annotations

import os
import re

from tracking_hooks.events import Capture
from tracking_hooks.markers import hookimpl

URLS = "APPRISE_URLS"
"""The addresses, as Apprise's own command takes them: separated by spaces or commas. They are secrets."""

EVENTS, STALLED = "TRACKING_HOOKS_NOTIFY_EVENTS", "TRACKING_HOOKS_NOTIFY_STALLED"
"""What is told, separated by commas; and the minutes without progress after which a training counts as stalled."""

_DEFAULT = ["finished", "failed", "interrupted", "killed", "stalled", "stop", "scale_learning_rate"]
_KNOWN = [*_DEFAULT, "save_checkpoint", "trials"]


@hookimpl
def capture() -> Capture:
    """Return what is told; of the addresses, only of which kind they are."""
    kinds = [url.partition("://")[0] for url in addresses()]
    events = [word.strip() for word in (os.environ.get(EVENTS) or ",".join(_DEFAULT)).split(",")]
    if unknown := sorted({*events} - {*_KNOWN}):
        raise ValueError(f"{EVENTS} does not know {', '.join(map(repr, unknown))}, only {', '.join(_KNOWN)}")
    stalled = os.environ.get(STALLED) or "30"
    if not re.fullmatch(r"\d+(\.\d+)?", stalled) or not float(stalled):
        raise ValueError(f"{STALLED}={stalled!r} must be a number of minutes, such as 30")
    return Capture(
        destination={"events": events, "stalled": float(stalled) * 60},
        summary=", ".join(kinds),
        place=f"apprise:{'+'.join(kinds)}",
    )


def addresses() -> list[str]:
    """Return the addresses. A comma is part of an address, unless another one begins behind it."""
    urls = re.split(r"[\s,]+(?=[\w+.-]+://)", os.environ.get(URLS, "").strip())
    if not all(re.match(r"[\w+.-]+://", url) for url in urls):
        raise ValueError(f"{URLS} must hold the addresses that messages go to, such as 'slack://… mailto://…'")
    return urls
