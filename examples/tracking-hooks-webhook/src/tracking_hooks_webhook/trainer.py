"""The trainer side: says where to deliver."""

import os

from tracking_hooks import Capture, hookimpl


@hookimpl
def capture():
    url = os.environ.get("WEBHOOK_URL")
    if not url:
        raise ValueError("WEBHOOK_URL is not set")
    return Capture(destination={"url": url}, summary=url)
