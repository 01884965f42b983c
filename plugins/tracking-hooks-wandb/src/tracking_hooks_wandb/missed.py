"""Reads from the journal the events that a relay, since dead, had given to W&B's client."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from tracking_hooks.events import Rejected, Run
from tracking_hooks.metricrules import MetricRules
from tracking_hooks.run import files, journal
from tracking_hooks.run.journal import Call
from tracking_hooks.run.layout import candidates

logger = logging.getLogger("tracking_hooks.wandb")


def calls(run: Run, upto: int) -> Iterator[Call]:
    """Return the calls of a run up to the one with this number, as a relay would make them.

    :raises OSError: if the journal cannot be read
    """
    folder = next((folder for folder in candidates(run.save_dir, run.uid) if folder.journal.is_file()), None)
    if folder is None:
        logger.warning(
            "the journal of %s was not found, so what W&B missed when a relay died is not sent again", run.uid
        )
        return
    head, offset = journal.read_head(folder.journal)
    rules = MetricRules(head.metrics)
    for entry in journal.read(folder.journal, offset):
        call = entry.call
        if call is None:
            continue
        if call.seq > upto:
            return
        try:
            args = files.locate_for_call(folder, head.root, rules.apply_to_call(call.args))
        except Rejected as error:
            logger.warning("%s (event %d) is skipped: %s", call.hook, call.seq, error)
            continue
        yield Call(call.seq, call.time, call.hook, args)
