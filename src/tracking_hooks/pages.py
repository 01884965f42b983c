"""What a plugin says of the page on which its tracker shows a run."""

from __future__ import annotations

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """Where a tracker shows a run, and how that page is served if nobody serves it."""

    url: str
    """The whole address; with a ``command``, what follows the address of the server."""
    command: list[str] = []
    """What serves the page, for this machine alone. In each word, ``{port}`` stands for the port."""
    environment: dict[str, str] = {}
    """Variables for it: others can read a command line, and may not read a password."""
    store: str = ""
    """What it serves, as a URI without credentials: one server for a store is enough."""
