"""What only the live network can tell: how its weights are spread, and how its layers are connected.

Both become files of the run, for any plugin that can show them. The network is read, never run or traced: that would
take seconds, and touch its state and the random numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from tracking_hooks.events import Artifact
from tracking_hooks.hosts.ultralytics.summary import network
from tracking_hooks.recording.complaints import describe
from tracking_hooks.run.layout import RunFolder

_BINS = 64
_MOST_NAMES = 3
_T = TypeVar("_T")


def histograms(folder: RunFolder, model: Any, epoch: int, complain: Callable[[str], None]) -> Artifact:
    """Write a histogram of each parameter: bins of equal width between its least and its greatest value.

    :param complain: is told which parameters are left out, and why
    :raises OSError: if the file cannot be written
    """
    found, failed = _each(network(model).named_parameters(), _histogram)
    if failed:
        complain(f"histograms are left out: {_in_words(failed)}")
    spread = {name: histogram for name, histogram in found.items() if histogram is not None}
    return _write(folder, f"histograms/epoch{epoch}.json", spread, epoch)


def graph(folder: RunFolder, model: Any, complain: Callable[[str], None]) -> Artifact | None:
    """Write the layers as Ultralytics connects them; None if the network is not one of theirs.

    A layer that cannot be described stands there by its name, since others are connected to it.

    :param complain: is told which layers these are, and why
    :raises OSError: if the file cannot be written
    """
    layers: Any = getattr(network(model), "model", None)
    try:
        named = {f"{layer.i}_{type(layer).__name__}": layer for layer in layers}
    except (AttributeError, TypeError):
        return None
    found, failed = _each(named.items(), _layer)
    if failed:
        complain(f"the graph lacks connections and sizes: {_in_words(failed)}")
    unknown = {"inputs": [], "parameters": 0}
    nodes = [{"name": name, "type": type(layer).__name__, **found.get(name, unknown)} for name, layer in named.items()]
    return _write(folder, "graph.json", {"layers": nodes}, None)


def _each(things: Iterable[tuple[str, Any]], read: Callable[[Any], _T]) -> tuple[dict[str, _T], dict[str, Exception]]:
    """Read things one by one; return what was read, and why the others could not be."""
    found, failed = {}, {}
    for name, thing in things:
        try:
            found[name] = read(thing)
        except Exception as error:  # noqa: BLE001 one of them is no reason to leave out the others
            failed[name] = error
    return found, failed


def _in_words(failed: Mapping[str, Exception]) -> str:
    """Name some of what failed, and say why the first one did."""
    names = ", ".join([*failed][:_MOST_NAMES])
    more = f" and {len(failed) - _MOST_NAMES} more" if len(failed) > _MOST_NAMES else ""
    return f"{names}{more} ({describe(next(iter(failed.values())))})"


def _histogram(parameter: Any) -> dict[str, Any] | None:
    """Count the values of a parameter; None if none of them is a number."""
    # NumPy, since a GPU's own histogram is none of the deterministic operations that Ultralytics asks for. In float64,
    # since between two neighbours among the numbers of float32 there is no room for bins.
    values = parameter.detach().float().cpu().numpy().ravel().astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins=_BINS if high > low else 1, range=(low, high) if high > low else None)
    return {
        "min": low,
        "max": high,
        "sum": float(values.sum()),
        "sum_squares": float(np.square(values).sum()),
        "counts": counts.tolist(),
    }


def _layer(layer: Any) -> dict[str, Any]:
    """Return what a layer is fed by, and how large it is."""
    sources = [layer.f] if isinstance(layer.f, int) else list(layer.f)
    inputs = [layer.i + source if source < 0 else source for source in sources]  # they may be counted backwards
    if not all(-1 <= source < layer.i for source in inputs):  # -1 is the input of the network
        raise ValueError(f"its inputs are {layer.f!r}")
    return {"inputs": inputs, "parameters": sum(parameter.numel() for parameter in layer.parameters())}


def _write(folder: RunFolder, name: str, content: Any, epoch: int | None) -> Artifact:
    data = msgspec.json.encode(content)
    sha = hashlib.sha256(data).hexdigest()
    folder.files.mkdir(mode=0o700, exist_ok=True)
    path = folder.files / f"{sha}.json"  # where a run's own files are found again, wherever it is moved to
    path.touch(mode=0o600)
    path.write_bytes(data)
    return Artifact(path=path, kind="table", name=name, size=len(data), digest=sha, epoch=epoch)
