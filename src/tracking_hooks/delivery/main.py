"""The command line of a relay's process."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tracking_hooks import redact
from tracking_hooks.delivery.relay import Relay
from tracking_hooks.delivery.spawn import DELIVERED
from tracking_hooks.run import index, verdicts
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings


def main(arguments: list[str]) -> int:
    """Run a relay: ``relay RUN_FOLDER LABEL [--drain]``."""
    parser = argparse.ArgumentParser(prog="tracking-hooks relay")
    parser.add_argument("folder", type=Path)
    parser.add_argument("label")
    parser.add_argument("--drain", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--verdict", type=Path)
    parser.add_argument("--asked", type=float, default=0.0)
    parser.add_argument("--linger", type=float, default=Settings().linger)
    parser.add_argument("--call-timeout", type=float, default=Settings().call_timeout)
    options = parser.parse_args(arguments)
    be_a_relay()
    settings = Settings(linger=options.linger, call_timeout=options.call_timeout)
    wanted = {"drain": options.drain, "check": options.check, "retry": options.retry}
    relay = Relay(RunFolder(options.folder), options.label, settings, **wanted)
    if options.verdict:
        relay.note_verdict = functools.partial(verdicts.note, options.verdict, options.asked, dict(os.environ))
    signal.signal(signal.SIGTERM, relay.leave)
    code = relay.run()
    if code == DELIVERED and not options.check:
        index.note_delivered(relay.folder)
    return code


def be_a_relay() -> None:
    """Make this process one that delivers: with a log, and behind the training."""
    redact.learn(os.environ)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(redact.RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    with suppress(OSError, AttributeError):
        os.nice(10)  # the training comes first
    with suppress(OSError):
        # Where Linux groups processes by session, as desktops do, that counts only within this one: nice the group.
        Path("/proc/self/autogroup").write_text("10", "ascii")
