"""How we get into the training process, without a line of the user's code.

PyTorch (2.5 and newer) calls ``install`` at ``import torch``, as an entry point of the group ``torch.backends``.
That puts a finder on ``sys.meta_path`` which waits for Ultralytics' modules to be imported and wraps a few of
their functions, most of all ``add_integration_callbacks``: the one through which every trainer adds its
integrations. Nothing else happens until one of them is called while ``TRACKING_HOOKS`` asks for a tracker, or
``TRACKING_HOOKS_CONTROL`` for a rule.

Only the standard library is imported here, and ``install`` never raises: an exception would break ``import
torch``.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

VARIABLE = "TRACKING_HOOKS"
CONTROL = "TRACKING_HOOKS_CONTROL"
_OFF = ("none", "off", "0")
_MISSPELT = re.compile("TRACKING_?HOOKS?", re.IGNORECASE)
_HOSTS = "tracking_hooks.hosts"

_SEAMS = {
    "ultralytics.utils.callbacks": {"add_integration_callbacks": "ultralytics.callbacks:add_integration_callbacks"},
    "ultralytics.engine.trainer": {
        "generate_ddp_command": "ultralytics.ddp:generate_ddp_command",
        "ddp_cleanup": "ultralytics.ddp:ddp_cleanup",
        "BaseTrainer.__init__": "ultralytics.callbacks:construct",
        "BaseTrainer.train": "ultralytics.training:train",
        "MultiTrainer.train": "ultralytics.tuning:train_each",
        "TQDM.__init__": "ultralytics.bars:begin",  # older releases define it where they import PyTorch, and us, first
    },
    "ultralytics.nn.tasks": {"BaseModel.info": "ultralytics.summary:info"},
    "ultralytics.utils.tqdm": {"TQDM.__init__": "ultralytics.bars:begin"},
    "ultralytics.engine.tuner": {
        "Tuner.__init__": "ultralytics.early:construct",
        "Tuner.__call__": "ultralytics.tuning:tune",
    },
    "ultralytics.utils.tuner": {"run_ray_tune": "ultralytics.tuning:tune_with_ray"},
    "ultralytics.engine.validator": {"BaseValidator.__call__": "ultralytics.afterwards:validate"},
    "ultralytics.engine.exporter": {"Exporter.__call__": "ultralytics.afterwards:export"},
    "ultralytics.utils.benchmarks": {"benchmark": "ultralytics.afterwards:benchmark"},
    # The first releases have all in other places: nothing of ours fits them, and the first that is tried says so.
    "ultralytics.yolo.engine.trainer": {"BaseTrainer.__init__": "ultralytics.callbacks:construct"},
}
"""Module of Ultralytics to its functions, and to what stands in for them: ``module:function``, called with the
original and its arguments. Releases differ in the later ones; without the first, nothing works."""

_FIRST = "add_integration_callbacks"
_UNFIT = "this release of ultralytics is not supported. To update it: pip install -U ultralytics"


def install() -> None:
    """Watch for Ultralytics to be imported. Called by PyTorch; safe to call again."""
    try:
        ours = (_Finder.__module__, _Finder.__qualname__)
        if not any((type(finder).__module__, type(finder).__qualname__) == ours for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        for name in _SEAMS:
            if module := sys.modules.get(name):
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


_awaited: dict[str, list[Callable[[ModuleType], None]]] = {}
"""Modules to what is done when they have been imported."""


def when_imported(name: str, do: Callable[[ModuleType], None]) -> Callable[[], None]:
    """Do something with a module, once, as soon as it has been imported by whomever.

    :returns: a function that gives this up
    """
    waiting = _awaited.setdefault(name, [])
    waiting.append(do)

    def give_up() -> None:
        with suppress(ValueError):  # it was done
            waiting.remove(do)

    return give_up


class _Finder:
    """Finds no module itself: it lets the other finders find those that we wait for, and acts when they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _SEAMS and not _awaited.get(fullname):
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
    """Wrap the seams, or do what was waited for, as soon as this module has been executed."""
    loader = spec.loader
    if loader is None:
        return

    def exec_module(module: ModuleType) -> None:
        try:
            execute(module)
        except BaseException as error:
            _leave_out_ours(error)
            raise
        if module.__name__ in _SEAMS:  # the loader of a zip serves all modules of a folder
            _wrap(module)
        for do in _awaited.pop(module.__name__, ()):
            with suppress(Exception):  # it would break the import
                do(module)

    # On this one loader instance: `__loader__`, `inspect.getsource` and reloading go on as before.
    try:
        execute = loader.exec_module  # one of the old kind has none
        loader.exec_module = exec_module  # type: ignore[method-assign]
    except (AttributeError, TypeError):
        if spec.name in _SEAMS:
            where = f"the loader of {spec.name} cannot be followed"
            _say(f"not active: {where}; call tracking_hooks.attach() after importing it")


def _wrap(module: ModuleType) -> None:
    for path, stand_in in _SEAMS[module.__name__].items():
        *outer, name = path.split(".")
        owner: Any = module
        for part in outer:
            owner = getattr(owner, part, None)
        original = None if owner is None else getattr(owner, name, None)  # None has an __init__, too
        if original is not None:
            if not getattr(original, "_tracking_hooks", False):
                setattr(owner, name, _wrapped(original, stand_in))
        elif name == _FIRST:
            _say(f"not active: {module.__name__} has no {name}; {_UNFIT}")


def _wrapped(original: Callable[..., Any], stand_in: str) -> Callable[..., Any]:
    module, _, name = stand_in.partition(":")

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            if not _is_asked_for():
                return original(*args, **kwargs)
            try:
                function = getattr(import_module(f"{_HOSTS}.{module}"), name)
            except Exception as error:  # noqa: BLE001 an Ultralytics that we do not know, a broken installation
                _say_once(_why_not(error))
                return original(*args, **kwargs)
            return function(original, *args, **kwargs)
        except BaseException as error:
            _leave_out_ours(error)
            raise

    wrapper._tracking_hooks = True  # type: ignore[attr-defined]
    return wrapper


def _why_not(error: Exception) -> str:
    lacks = isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "ultralytics"
    return f"not active ({type(error).__name__}: {error}){f'; {_UNFIT}' if lacks else ''}"


def _leave_out_ours(error: BaseException) -> None:
    with suppress(Exception):  # the error itself is what counts
        import_module("tracking_hooks.tracebacks").leave_out_ours(error)


def _is_asked_for() -> bool:
    trackers, rules = (os.environ.get(name, "").strip().lower() for name in (VARIABLE, CONTROL))
    if not trackers:
        for name in os.environ:
            if name != VARIABLE and _MISSPELT.fullmatch(name):
                _say_once(f"{name} is not a setting, and nothing is tracked. Did you mean {VARIABLE}?")
    return trackers not in _OFF if trackers else rules not in ("", *_OFF)


def _say(sentence: str) -> None:
    if os.environ.get(VARIABLE, "").strip() or os.environ.get(CONTROL, "").strip():
        _print(sentence)


@functools.cache  # there is nobody to remember what was said
def _say_once(sentence: str) -> None:
    _print(sentence)


def _print(sentence: str) -> None:
    with suppress(Exception):  # a closed stderr
        print(f"tracking-hooks: {sentence}", file=sys.stderr)  # noqa: T201 there is no logger yet
