"""What a callback of the user's finds as ``wandb.run`` where Ultralytics' own integration would have opened a run.

Scripts call ``wandb.log()`` in a callback and rely on that run. It is not opened where a plugin records the training,
so for that time numbers go to ``tracking_hooks.log``. W&B is not imported for it: whoever calls it does so, perhaps
only in the callback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ultralytics.utils import LOGGER

import tracking_hooks
from tracking_hooks.autoload import when_imported
from tracking_hooks.events import Run

_FUNCTIONS = ("alert", "define_metric", "log", "log_artifact", "log_model", "save", "unwatch", "use_artifact", "watch")
"""Functions of ``wandb`` that need a run."""


_originals: dict[str, tuple[Any, Any]] = {}  # what was there, and what stands in for it
_trainings = 0
_give_up: Callable[[], None] = lambda: None  # noqa: E731 to wait for W&B to be imported
# Module state, since `wandb` is one for the process, in which several trainings may run.


def put_in(run: Run, params: Mapping[str, Any]) -> bool:
    """Begin to stand in for a run of the user's, if there is none; return whether this has to be taken back."""
    global _trainings, _give_up  # noqa: PLW0603
    wandb = sys.modules.get("wandb")
    current = getattr(wandb, "run", None)
    if not (current is None or isinstance(current, StandIn)):
        return False
    _trainings += 1
    if wandb is None and _trainings == 1:
        _give_up = when_imported("wandb", lambda module: _put_in(module, run, params))
    elif wandb is not None and current is None:
        _put_in(wandb, run, params)
    return True


def _put_in(wandb: ModuleType, run: Run, params: Mapping[str, Any]) -> None:
    stand_in = StandIn(run, params)
    _originals.clear()
    for name in ("run", "config", "summary", *_FUNCTIONS):
        if hasattr(wandb, name):
            _originals[name] = getattr(wandb, name), (stand_in if name == "run" else getattr(stand_in, name))
            setattr(wandb, name, _originals[name][1])


def take_back() -> None:
    """Have the last training put back what was there, unless the user has opened a run in the meantime."""
    global _trainings  # noqa: PLW0603
    _trainings -= 1
    if not _trainings:
        _give_up()
        for name, (original, ours) in _originals.items():
            if getattr(sys.modules["wandb"], name, None) is ours:
                setattr(sys.modules["wandb"], name, original)
        _originals.clear()


class StandIn:
    """Takes numbers, and ignores the rest with one sentence."""

    def __init__(self, run: Run, params: Mapping[str, Any]) -> None:
        self.id, self.name, self.project = run.uid, run.name, run.project
        self.config = _Values(params)
        self.summary = _Values()
        self.disabled = True  # for whoever asks whether this is a run
        self._said: set[str] = set()

    def log(self, data: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Record the numbers among some values."""
        numbers = {str(name): number for name, value in data.items() if (number := _number(value)) is not None}
        if numbers:
            tracking_hooks.log(numbers, step=step)
        if len(numbers) < len(data):
            self._ignore("values that are no numbers, given to wandb.log()")

    def __getattr__(self, name: str) -> Any:
        """Stand in for what else a run has: a function that does nothing."""
        if name.startswith("_"):
            raise AttributeError(name)

        def nothing(*_: Any, **__: Any) -> None:
            self._ignore(f"wandb.{name}()")

        return nothing

    def _ignore(self, what: str) -> None:
        if not self._said:
            LOGGER.warning(
                f"tracking-hooks: {what} are ignored: no W&B run is open in this process. "
                "Numbers are recorded. For your own run: wandb.init(), before the training."
            )
        self._said.add(what)


def _number(value: Any) -> float | None:
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except Exception:  # noqa: BLE001 a tensor of two elements, a picture
        return None


class _Values(dict[str, Any]):
    """A run's config or summary, by keys or by attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value
