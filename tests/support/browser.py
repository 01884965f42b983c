"""A real browser that reaches nothing but this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE = 60_000
"""Milliseconds that a page has to show what is waited for."""

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

needed = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium is installed")
expect = playwright.expect


@contextmanager
def new_page(width: int = 1600, height: int = 1000) -> Iterator[Any]:
    """Open a page of so many pixels in a browser of its own."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=_QUIET)
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE)
        context.route("**/*", lambda route: route.continue_() if _is_here(route.request.url) else route.abort())
        yield context.new_page()
        browser.close()


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))
