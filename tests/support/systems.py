"""What a test needs of the system that it runs on."""

from __future__ import annotations

import sys

import pytest


def posix(what: str) -> pytest.MarkDecorator:
    """Skip a test on Windows, which has no such thing."""
    return pytest.mark.skipif(sys.platform == "win32", reason=f"Windows has no {what}")


def linux(what: str) -> pytest.MarkDecorator:
    """Skip a test on other systems than Linux, which have no such thing."""
    return pytest.mark.skipif(not sys.platform.startswith("linux"), reason=f"only Linux has {what}")
