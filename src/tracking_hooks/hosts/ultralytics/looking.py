"""Sees what a validator predicts, while it validates: methods of that one validator are watched, and let go again."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tracking_hooks.predictions import SeenImage


@dataclass
class Sight:
    """What was seen in an image."""

    image: SeenImage
    """Without its picture and its maps; ``path`` is that of the file."""
    maps: dict[str, Any] = field(default_factory=dict)
    """``label_map`` and ``predicted_map`` as arrays of bytes in two dimensions, as ``SeenImage`` tells."""


class Reader(Protocol):
    """Sees what a validator predicts. There is one for each kind of task."""

    @staticmethod
    def can_read(validator: Any) -> bool:
        """Whether it is of this kind, and its release has what is needed."""

    seen: MutableMapping[Path, Sight]
    """The file of an image, as the validator names it, to what was seen in it. Whoever wants a few of many images
    may put in a mapping that keeps no others."""

    watch: Watch
    """By which it looks: says what went wrong, and when ended, leaves the validator as it was."""

    def attach(self, validator: Any, wanted: Callable[[Path], bool]) -> None:
        """Look at these images from now on; only the instance is changed."""


class Watch:
    """Has functions told of the calls of an object's methods, for a while. What they raise is noted, and let not out.

    Nothing that a method takes or returns is changed.
    """

    def __init__(self) -> None:
        """Watch nothing so far."""
        self.error: Exception | None = None
        self._watched: list[tuple[Any, str, Any]] = []

    def before(self, instance: Any, method: str, tell: Callable[..., None]) -> None:
        """Call a function before each call of a method, with the same arguments."""
        original = getattr(instance, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._tell(tell, *args, **kwargs)
            return original(*args, **kwargs)

        self._put(instance, method, watched)

    def after(self, instance: Any, method: str, tell: Callable[..., None]) -> None:
        """Call a function after each call of a method, with what it returned and then with the same arguments."""
        original = getattr(instance, method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            returned = original(*args, **kwargs)
            self._tell(tell, returned, *args, **kwargs)
            return returned

        self._put(instance, method, watched)

    def end(self) -> None:
        """Put back what was there."""
        while self._watched:
            instance, method, before = self._watched.pop()
            if before is None:
                vars(instance).pop(method, None)
            else:
                setattr(instance, method, before)

    def _put(self, instance: Any, method: str, watched: Callable[..., Any]) -> None:
        self._watched.append((instance, method, vars(instance).get(method)))
        setattr(instance, method, watched)

    def _tell(self, tell: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if self.error is None:
            try:
                tell(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 nothing of ours may end a validation
                self.error = error.with_traceback(None)  # whose frames hold a batch in the memory of the GPU


def reader_for(validator: Any) -> Reader | None:
    """Return what reads such a validator's predictions; None where its release or its task lacks what is needed."""
    from tracking_hooks.hosts.ultralytics.depth import Depth
    from tracking_hooks.hosts.ultralytics.objects import Objects
    from tracking_hooks.hosts.ultralytics.semantic import Semantic
    from tracking_hooks.hosts.ultralytics.whole import Whole

    # The validators of maps descend from that of objects, which comes last.
    kinds: tuple[type[Reader], ...] = (Whole, Semantic, Depth, Objects)
    return next((kind() for kind in kinds if kind.can_read(validator)), None)
