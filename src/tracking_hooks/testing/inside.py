"""Keeps the sample runs of a test out of the tracker that the author uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tracking_hooks.events import Destination


def inside(folder: Path, destination: Destination) -> Destination:
    """Return what a ``capture`` has said; fail if that is a folder or an address elsewhere."""
    places = {spelled(path) for path in (folder, folder.resolve()) for spelled in (str, Path.as_posix)}
    for text in _texts(destination):
        is_place = re.match(r"[a-z][a-z0-9+.-]+://|~", text, re.IGNORECASE) or Path(text).is_absolute()
        if is_place and not any(place in unquote(text) for place in places):
            pytest.fail(
                f"capture says {text!r}, which may be a tracker that you use: the sample runs would go there. Write a "
                "destination(folder), in the reader or in the test class, that returns an empty tracker in that folder",
                pytrace=False,
            )
    return destination


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
