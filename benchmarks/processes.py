"""Processes that a benchmark has started: those that are left running, and how much memory one takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def end_all(folder: Path, patience: float = 0.0) -> None:
    """Wait until no process names this folder in its command line; kill those that are left after so many seconds."""
    deadline = time.monotonic() + patience
    while left := [process for process in psutil.process_iter() if _is_of(process, folder)]:
        if time.monotonic() >= deadline:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
        psutil.wait_procs(left, timeout=1)


def _is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and any(str(folder) in word for word in process.cmdline()[1:])
    except psutil.Error:
        return False


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """Look at the memory of a process, in bytes, a hundred times a second; each higher value is added to the list.

    ``ru_maxrss`` of a child is no help: at first it is that of the process which has started it.
    """
    found, is_over = [0], threading.Event()

    def look() -> None:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            while not is_over.wait(0.01):
                if (used := process.memory_info().rss) > found[-1]:
                    found.append(used)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        is_over.set()
        looking.join()
