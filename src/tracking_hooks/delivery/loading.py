"""Loads a plugin for the first time, and says whether it can be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import pluggy

from tracking_hooks.delivery.condition import Condition
from tracking_hooks.delivery.reads import variables_read
from tracking_hooks.settings import ConfigurationError

logger = logging.getLogger(__name__)


def check(
    load: Callable[[], pluggy.PluginManager], condition: Condition, note: Callable[[Collection[str] | None], None]
) -> pluggy.PluginManager | None:
    """Return the plugin; None if it cannot be used.

    :param note: is told, once that was said, which variables were read by a plugin that can be used; None: it cannot
    """
    try:
        with variables_read() as names:
            loaded = load()
    except ConfigurationError as error:
        logger.error("%s", error)  # noqa: TRY400 the sentence is for a person
        condition.say("refused", str(error))
        note(None)
        return None
    condition.say("ready")
    note(names)
    return loaded
