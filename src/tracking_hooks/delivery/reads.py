"""Which environment variables are read, for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def variables_read() -> Iterator[set[str]]:
    """Collect the names of the variables that are asked for meanwhile, whether or not they are set.

    To copy the whole environment, as many libraries do, is to ask for none.
    """
    kind = type(os.environ)
    get, names = kind.__getitem__, kind.__iter__
    asked: set[str] = set()
    listed: list[Any] = []  # who copies asks for each name that was listed, in that order

    def note(self: Any, name: Any) -> Any:
        if listed[:1] == [name]:  # as one piece: another thread may clear it
            del listed[:1]
        else:
            listed.clear()
            asked.add(os.fsdecode(self.encodekey(name)))  # on Windows in capitals
        return get(self, name)

    def list_names(self: Any) -> Iterator[Any]:
        listed.clear()
        for name in names(self):
            listed.append(name)
            yield name

    kind.__getitem__, kind.__iter__ = note, list_names  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        kind.__getitem__, kind.__iter__ = get, names  # type: ignore[method-assign]
