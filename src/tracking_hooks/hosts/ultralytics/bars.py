"""Keeps our lines apart from Ultralytics' progress bars, which leave the cursor behind what they have drawn."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ultralytics.utils import LOGGER

from tracking_hooks.hosts.ultralytics import releases

_OURS = "tracking-hooks:"

_bars: weakref.WeakSet[Any] = weakref.WeakSet()
# Module state, since a bar is known to nobody but the function that counts with it. To look into that function's frame
# would keep alive what else stands there, such as a batch on the GPU.


def begin(original: Callable[..., None], bar: Any, *args: Any, **kwargs: Any) -> None:
    """Stand in for ``TQDM.__init__``, and remember the bar."""
    original(bar, *args, **kwargs)
    with suppress(TypeError):  # a class of the user's that has no hash
        _bars.add(bar)


def keep_lines_apart() -> None:
    """Let each of our lines begin at the left, from now on; safe to call again."""
    LOGGER.addFilter(_clear_line)


def _clear_line(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith(_OURS):
        with suppress(RuntimeError):  # another thread has begun one at this moment
            for bar in list(_bars):
                _clear(bar)
    return True


def _clear(bar: Any) -> None:
    """Take a bar off its line, where it is drawn again below ours; in a file, which keeps all, end the line."""
    with suppress(Exception):  # a closed stream, a bar that is about to end: the line counts
        file = releases.file_of_bar(bar)
        if file is None:
            return
        if file.isatty():
            bar.clear()
        else:
            file.write("\n")
            file.flush()
