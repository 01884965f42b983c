"""What only the live network can tell: how its weights are spread, and how its layers are connected.

Both become files of the run, for any plugin that can show them. The network is read, never run or traced: that would
take seconds, and touch its state and the random numbers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np

from tracking_hooks.events import Artifact
from tracking_hooks.run.layout import RunFolder

_BINS = 64


def histograms(folder: RunFolder, model: Any, epoch: int) -> Artifact:
    """Write a histogram of each parameter: bins of equal width between its least and its greatest value.

    :raises OSError: if the file cannot be written
    """
    found = {}
    for name, parameter in _plain(model).named_parameters():
        # NumPy, since a GPU's own histogram is none of the deterministic operations that Ultralytics asks for.
        values = parameter.detach().float().cpu().numpy().ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            continue
        low, high = float(values.min()), float(values.max())
        counts, _ = np.histogram(values, bins=_BINS if high > low else 1, range=(low, high) if high > low else None)
        total = values.astype(np.float64)
        found[name] = {
            "min": low,
            "max": high,
            "sum": float(total.sum()),
            "sum_squares": float(np.square(total).sum()),
            "counts": counts.tolist(),
        }
    return _write(folder, f"histograms/epoch{epoch}.json", found, epoch)


def graph(folder: RunFolder, model: Any) -> Artifact | None:
    """Write the layers as Ultralytics connects them; None if the network is not one of theirs.

    :raises OSError: if the file cannot be written
    """
    layers: Any = getattr(_plain(model), "model", None)
    try:
        nodes = [
            {
                "name": f"{layer.i}_{type(layer).__name__}",
                "type": type(layer).__name__,
                "inputs": [_index(layer.i, source) for source in _list(layer.f)],
                "parameters": sum(parameter.numel() for parameter in layer.parameters()),
            }
            for layer in layers
        ]
    except (AttributeError, TypeError):
        return None
    return _write(folder, "graph.json", {"layers": nodes}, None)


def _plain(model: Any) -> Any:
    return getattr(model, "module", model)  # DDP wraps it


def _index(layer: int, source: int) -> int:
    """Return which layer a source is, which may be counted backwards from the layer; -1 is the network's input."""
    return layer + source if source < 0 else source


def _list(source: int | list[int]) -> list[int]:
    return [source] if isinstance(source, int) else list(source)


def _write(folder: RunFolder, name: str, content: Any, epoch: int | None) -> Artifact:
    data = msgspec.json.encode(content)
    sha = hashlib.sha256(data).hexdigest()
    folder.files.mkdir(mode=0o700, exist_ok=True)
    path = folder.files / f"{sha}.json"  # where a run's own files are found again, wherever it is moved to
    path.touch(mode=0o600)
    path.write_bytes(data)
    return Artifact(path=path, kind="table", name=name, size=len(data), digest=sha, epoch=epoch)
