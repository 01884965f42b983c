"""Whether more or less of a metric is better, told by its name."""

from __future__ import annotations

import re

_TO_MINIMISE = re.compile(r"loss|error|rmse|abs_rel|silog|time|memory|_ms\b", re.IGNORECASE)


def lower_is_better(metric: str) -> bool:
    """Whether less is better: of a loss, an error (also of depths), a time or memory; more is of everything else."""
    return bool(_TO_MINIMISE.search(metric))
