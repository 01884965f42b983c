"""The marks of hooks, and the entry-point groups in which plugins are found."""

from __future__ import annotations

import pluggy

PROJECT = "tracking_hooks"
"""The pluggy project name, and the entry-point group that is loaded in a relay. A name with a dot, such as
``mlflow.files``, is a further part of the plugin ``mlflow``: selected with it, delivered to by a relay of its own."""

TRAINER_GROUP = "tracking_hooks.trainer"
"""The entry-point group of what is asked in the training process: light modules that import no tracker."""

RULES_GROUP = "tracking_hooks.rules"
"""The entry-point group of rules, by the names that ``TRACKING_HOOKS_CONTROL`` calls them."""

READER_GROUP = "tracking_hooks.reader"
"""The entry-point group of what reads a tracker for the plugin's tests: see ``tracking_hooks.testing.contract``."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method, or a function of a module, as a hook: ``@hookimpl``."""
