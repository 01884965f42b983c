"""The contract suite for an installed plugin: ``tracking-hooks plugins --check NAME`` runs this module by pytest."""

from __future__ import annotations

import os

from tracking_hooks.testing.contract import Contract

CHECKED = "TRACKING_HOOKS_CHECKED_PLUGIN"
"""The environment variable that names it."""


class TestContract(Contract):
    """What every plugin has to keep."""

    plugin = os.environ.get(CHECKED, "")
