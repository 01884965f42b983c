"""Tells the user, once each, what did not work, and keeps it away from the training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


class Complaints:
    """What the user reads of ours on the training's terminal."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self._said: set[str] = set()

    def __call__(self, sentence: str) -> None:
        """Warn, unless this was said already."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.logger.warning(f"tracking-hooks: {sentence}")

    def each(self, sentences: Iterable[str]) -> None:
        """Warn of each, unless it was said already."""
        for sentence in sentences:
            self(sentence)

    def each_time(self, sentences: Iterable[str]) -> None:
        """Warn of each, whether or not it was said already."""
        for sentence in sentences:
            self.logger.warning(f"tracking-hooks: {sentence}")

    def tell(self, sentence: str) -> None:
        """Say what is as it should be."""
        self.logger.info(f"tracking-hooks: {sentence}")

    def guard(self, action: Callable[[], _T], what: str) -> _T | None:
        """Do something that may not end the training. Never raises.

        :param what: the action, as in "recording on_log"
        :returns: what it returns; None if it failed
        """
        try:
            return action()
        except Exception as error:  # noqa: BLE001 nothing of ours may end a training
            self.of_failure(what, error)
            return None

    def of_failure(self, what: str, error: BaseException) -> None:
        """Warn that an action has failed."""
        self(f"{what} failed: {describe(error)}")


def describe(error: BaseException) -> str:
    """Return an error's type and message, also of one that cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 its own __str__ raises
        return type(error).__name__
