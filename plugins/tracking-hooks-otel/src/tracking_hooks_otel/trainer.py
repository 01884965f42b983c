"""The trainer side: says where to deliver. It runs in the training process, and uses no network."""

import os
import re
from pathlib import Path

from tracking_hooks import Capture, hookimpl


def endpoint() -> str:
    """Return the endpoint that the environment names. It may be a secret: it is in no destination."""
    return os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")


@hookimpl
def capture() -> Capture:
    """Read the environment."""
    places = []
    if endpoint():
        address = re.match(r"(https?://)(?:[^/]*@)?([^/?#@]+)", endpoint())  # without user, password, path and query
        if not address:
            raise ValueError("OTEL_EXPORTER_OTLP_ENDPOINT has to be an address such as http://localhost:4318")
        places.append("".join(address.groups()))
    if textfile := os.environ.get("TRACKING_HOOKS_OTEL_TEXTFILE", ""):
        textfile = str(Path(textfile).expanduser().absolute())
        if not Path(textfile).is_dir():
            raise ValueError(f"TRACKING_HOOKS_OTEL_TEXTFILE is not a folder: {textfile}")
        places.append(Path(textfile).as_uri())
    if not places:
        raise ValueError("set OTEL_EXPORTER_OTLP_ENDPOINT, TRACKING_HOOKS_OTEL_TEXTFILE or both")
    destination = {"otlp": bool(endpoint()), "textfile": textfile}
    return Capture(destination=destination, summary=" and ".join(places), place=places[0])
