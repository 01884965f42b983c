"""Whether a folder still holds the training that was recorded there, or one since that was not tracked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import isclose, isnan
from pathlib import Path

from ultralytics.utils import LOGGER

from tracking_hooks.hosts.ultralytics import data
from tracking_hooks.run import journal, layout

_DIGITS = 1e-3
"""By how much, relatively, a loss may differ: ``results.csv`` has rounded it."""


def holds_another(save_dir: Path) -> bool:
    """Whether ``results.csv`` tells of another training than the journal that the folder points to. Never raises.

    The losses of the first epoch decide: to so many digits, no two trainings have the same. What goes on with the
    training, untracked, keeps that row. File times decide nothing: a copied folder has those of the copying.
    """
    with suppress(Exception):  # what cannot be read tells nothing
        for folder in layout.find_runs(save_dir, lambda _: None):
            first = next(journal.calls(folder.journal, ("on_epoch_end",)), None)
            row = data.table_epochs(save_dir / "results.csv").get(first.args["epoch"], {}) if first else {}
            if first and _differ(row, first.args["metrics"]):
                LOGGER.warning(
                    f"tracking-hooks: {save_dir} holds another training than the run {folder.uid} that was recorded "
                    "there, so this is a new run"
                )
                return True
    return False


def _differ(row: Mapping[str, float], recorded: Mapping[str, float]) -> bool:
    losses = [(value, recorded[name]) for name, value in row.items() if name.startswith("train/") and name in recorded]
    return bool(losses) and not any(one == other or _are_close(one, other) for one, other in losses)


def _are_close(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=_DIGITS) or (isnan(one) and isnan(other))
