"""What Ultralytics has found out about a network to print its line: "YOLO26n summary: …, 5.9 GFLOPs".

For the GFLOPs it has run the network, which takes a tenth of a second. Nothing is run once more for us: of a network
without that line they are unknown.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tracking_hooks.hosts.ultralytics.guard import guard

SIZE = 640
"""The side of the image that the line is about, in pixels."""

_gflops: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
# Module state, since a network is built before it has a trainer. Not kept in the network: that is saved.


def info(original: Callable[..., Any], network: Any, *args: Any, **kwargs: Any) -> Any:
    """Stand in for ``BaseModel.info``, which prints the line, and keep what it says."""
    said = original(network, *args, **kwargs)
    with guard("reading the GFLOPs of the network"):
        size = args[2] if len(args) > 2 else kwargs.get("imgsz", SIZE)
        if said and is_size(size) and not network.is_fused():
            _gflops[network] = float(said[3])
    return said


def is_size(imgsz: Any) -> bool:
    """Whether images of this size, or of height and width, are as large as those that the line is about."""
    return imgsz == SIZE or (isinstance(imgsz, (list, tuple)) and set(imgsz) == {SIZE})


def network(model: Any) -> Any:
    """Return the network that is trained, without what compiles it, distributes it or teaches it."""
    for wrapped in ("_orig_mod", "module", "_orig_mod", "student_model"):
        model = getattr(model, wrapped, model)
    return model


def gflops_640(model: Any) -> float | None:
    """Return what the line said of a network; None if there was none, or if it had no GFLOPs."""
    try:
        return _gflops.get(network(model)) or None
    except TypeError:  # the name of a file: it is no network yet
        return None
