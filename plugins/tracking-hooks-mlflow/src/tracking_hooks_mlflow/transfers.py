"""Files of a batch of events, sent up to eight at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial

from tracking_hooks.events import Rejected
from tracking_hooks_mlflow import multipart

AT_ONCE = 8


class Transfers:
    """What is to be sent; of one name, the later one behind the earlier one."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[int, Callable[[], None]]]] = {}

    def add(self, seq: int, name: str, send: Callable[[], None]) -> None:
        """Have a file sent with the others.

        :param seq: the number of the event that it is of
        :param name: of the artifact
        """
        self._waiting.setdefault(name, []).append((seq, send))

    def send(self) -> dict[int, Rejected]:
        """Send everything; return what was refused, by the number of the event.

        :raises Unavailable: as one of them has raised
        """
        refused: dict[int, Rejected] = {}

        def in_order(sends: Sequence[tuple[int, Callable[[], None]]]) -> None:
            for seq, send in sends:
                try:
                    send()
                except Rejected as error:
                    refused[seq] = error

        waiting, self._waiting = self._waiting, {}
        at_once([partial(in_order, sends) for sends in waiting.values()])
        return refused


def at_once(calls: Sequence[Callable[[], object]], most: int = AT_ONCE) -> None:
    """Make calls at the same time, and return when all are over. Such a call may make others in the same way.

    :param most: how many at a time
    :raises Exception: what one of them has raised; those that were not begun are left out then
    """
    if through_server := _made(calls, most):
        if _this_thread.is_calling:
            raise multipart.OutOfReach  # others are at work; whoever waits for all of them repeats this
        multipart.give_up()  # an environment variable, which nobody reads at this moment
        _made(through_server, most)


class _Thread(threading.local):
    is_calling = False
    """Whether it makes one of several calls."""


_this_thread = _Thread()


def _made(calls: Sequence[Callable[[], object]], most: int) -> list[Callable[[], object]]:
    """Make calls; return those for which the artifact store is out of reach."""
    out_of_reach = []

    def make(call: Callable[[], object]) -> None:
        before, _this_thread.is_calling = _this_thread.is_calling, True
        try:
            call()
        except multipart.OutOfReach:
            out_of_reach.append(call)
        finally:
            _this_thread.is_calling = before

    if len(calls) == 1 or most == 1:
        for call in calls:
            make(call)
        return out_of_reach
    with ThreadPoolExecutor(most, "mlflow") as pool:
        futures = [pool.submit(make, call) for call in calls]
        wait(futures, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=False, cancel_futures=True)
    for future in futures:
        future.result()  # they begin in their order: what was cancelled stands behind what has failed
    return out_of_reach
