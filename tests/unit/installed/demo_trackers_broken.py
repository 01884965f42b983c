"""Fails to import, as a plugin does whose tracker is not installed."""

import a_tracker_that_is_not_installed  # noqa: F401
