"""How we get into the training process, without a line of the user's code.

PyTorch (2.5 and newer) calls ``install`` at ``import torch``, as an entry point of the group ``torch.backends``.
That puts a finder on ``sys.meta_path`` which waits for ``ultralytics.utils.callbacks`` to be imported and wraps
its ``add_integration_callbacks``: the one function through which every trainer adds its integrations. Nothing
else happens until a trainer is built while ``TRACKING_HOOKS`` asks for a tracker.

Only the standard library is imported here, and ``install`` never raises: an exception would break ``import
torch``.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

VARIABLE = "TRACKING_HOOKS"
_TARGET = "ultralytics.utils.callbacks"
_SEAM = "add_integration_callbacks"


def install() -> None:
    """Watch for Ultralytics to be imported. Called by PyTorch; safe to call again."""
    try:
        ours = (_Finder.__module__, _Finder.__qualname__)
        if not any((type(finder).__module__, type(finder).__qualname__) == ours for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        if module := sys.modules.get(_TARGET):
            _wrap(module)
    except Exception as error:  # noqa: BLE001 see the module's docstring
        _say(f"not active ({type(error).__name__}: {error})")


def attach(selection: str | None = None) -> None:
    """Track every training that is started in this process from now on.

    For where PyTorch does not load us: a PyTorch before 2.5, or ``TORCH_DEVICE_BACKEND_AUTOLOAD=0``.

    :param selection: sets ``TRACKING_HOOKS`` for this process and those that it starts; None leaves it as it is
    """
    if selection is not None:
        os.environ[VARIABLE] = selection
    install()


class _Finder:
    """Finds no module itself: it lets the other finders find Ultralytics' callbacks, and wraps what they load."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TARGET:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                _watch(spec)
                return spec
        return None


def _watch(spec: ModuleSpec) -> None:
    """Wrap the seam as soon as this module has been executed."""
    loader = spec.loader
    if loader is None:
        return
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _wrap(module)

    # On this one loader instance: `__loader__`, `inspect.getsource` and reloading go on as before.
    try:
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except (AttributeError, TypeError):
        _say(f"not active: the loader of {_TARGET} cannot be followed; call tracking_hooks.attach() after importing it")


def _wrap(module: ModuleType) -> None:
    original: Callable[[Any], None] | None = getattr(module, _SEAM, None)
    if original is None:
        _say(f"not active: {_TARGET} has no {_SEAM}; this release of ultralytics is not supported")
        return
    if getattr(original, "_tracking_hooks", False):
        return

    @functools.wraps(original)
    def add_integration_callbacks(instance: Any) -> None:
        original(instance)
        if os.environ.get(VARIABLE, "").strip().lower() not in ("", "none", "off", "0"):
            try:
                from tracking_hooks.hosts.ultralytics import attach_to
            except Exception as error:  # noqa: BLE001 an Ultralytics that we do not know, a broken installation
                _say(f"not active ({type(error).__name__}: {error})")
            else:
                attach_to(instance)

    add_integration_callbacks._tracking_hooks = True  # type: ignore[attr-defined]
    setattr(module, _SEAM, add_integration_callbacks)


def _say(sentence: str) -> None:
    if os.environ.get(VARIABLE, "").strip():
        with suppress(Exception):  # a closed stderr
            print(f"tracking-hooks: {sentence}", file=sys.stderr)  # noqa: T201 there is no logger yet
