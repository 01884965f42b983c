"""The charts that TensorBoard's page shows on top when it is opened by our link: the results and the losses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import urlencode

_FIRST = (
    "metrics/mAP50-95", "metrics/mAP50", "metrics/accuracy", "metrics/mIoU", "metrics/pixel_acc", "metrics/delta1",
    "metrics/abs_rel", "metrics/rmse", "train/", "val/",
)  # fmt: skip


def of(tags: Iterable[str]) -> list[str]:
    """Return the tags to pin, of those that an epoch has."""
    places = {tag: next((n for n, start in enumerate(_FIRST) if tag.startswith(start)), None) for tag in tags}
    return sorted((tag for tag, place in places.items() if place is not None), key=lambda tag: places[tag] or 0)


def address(tags: Iterable[str]) -> str:
    """Return what follows the address of TensorBoard."""
    cards = [{"plugin": "scalars", "tag": tag} for tag in tags]
    query = f"?{urlencode({'pinnedCards': json.dumps(cards, separators=(',', ':'))})}" if cards else ""
    return f"{query}#timeseries"
