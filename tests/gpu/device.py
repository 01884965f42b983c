"""What a check asks of the device: when a batch began, whether all is finished, who waits, how much memory is left.

Two forms: a GPU, and the CPU for a rehearsal, which has no queue of work and answers accordingly.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

_SHARE = 0.7
"""Of the memory that a batch takes, what is left to it: not enough for it, enough for half of it."""


class Device(Protocol):
    """What both forms answer."""

    def mark(self) -> Any:
        """Return a mark that stands behind the work given so far. Waits for nothing."""

    def between(self, marks: list[Any]) -> list[float]:
        """Return the microseconds from each mark to the next."""

    def is_idle(self) -> bool:
        """Whether all work is finished. Waits for nothing."""

    def waits(self) -> Any:
        """Return a context; to the list that it gives is added where in the code a call waits for the device."""

    def run_short(self, trainer: Any) -> None:
        """Let the next batch not fit into the memory."""

    def relieve(self) -> None:
        """Give all memory back."""


class Gpu:
    """The first GPU that PyTorch sees."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda

    def mark(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, marks: list[Any]) -> list[float]:
        self._cuda.synchronize()
        return [1e3 * one.elapsed_time(other) for one, other in pairwise(marks)]

    def is_idle(self) -> bool:
        return bool(self._cuda.current_stream().query())

    @contextmanager
    def waits(self) -> Iterator[list[str]]:
        found: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._cuda.set_sync_debug_mode("warn")
            try:
                yield found
            finally:
                self._cuda.set_sync_debug_mode("default")
        found += [
            f"{Path(one.filename).name}:{one.lineno}" for one in caught if "called a synchronizing" in str(one.message)
        ]

    def run_short(self, _: Any) -> None:
        held, most = self._cuda.memory_allocated(), self._cuda.max_memory_allocated()
        self._cuda.empty_cache()
        total = self._cuda.get_device_properties(0).total_memory
        self._cuda.set_per_process_memory_fraction((held + _SHARE * (most - held)) / total)

    def relieve(self) -> None:
        self._cuda.set_per_process_memory_fraction(1.0)


class Cpu:
    """The CPU, for a rehearsal."""

    def mark(self) -> float:
        return time.perf_counter()

    def between(self, marks: list[float]) -> list[float]:
        return [1e6 * (other - one) for one, other in pairwise(marks)]

    def is_idle(self) -> bool:
        return True

    @contextmanager
    def waits(self) -> Iterator[list[str]]:
        yield []

    def run_short(self, trainer: Any) -> None:
        prepare: Callable[[Any], Any] = trainer.preprocess_batch

        def refuse(_: Any) -> Any:
            trainer.preprocess_batch = prepare
            raise RuntimeError("CUDA out of memory, as it is rehearsed on a CPU")

        trainer.preprocess_batch = refuse

    def relieve(self) -> None:
        """Nothing was taken."""


def device(name: str) -> Device:
    """Return the device that trains."""
    return Cpu() if name == "cpu" else Gpu()
