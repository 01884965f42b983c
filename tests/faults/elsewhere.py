"""``python -m tests.faults.elsewhere FOLDER LABEL``: a relay as on another machine, to which no lock reaches.

It only tries: its exit code is 76 (busy) if it leaves the delivery to the other relay, and 0 if it would deliver.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tracking_hooks.delivery.relay import Relay
from tracking_hooks.run import filesystems, liveness, recordlocks
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import Settings


def main(folder: str, label: str) -> int:
    liveness.this_boot = lambda: "of another machine"
    filesystems.is_local = lambda _: False
    recordlocks.locked_by = lambda _: None
    recordlocks.take = lambda _: True
    Relay._run = lambda _: 0
    liveness.write_json = lambda *_: None  # what it would leave behind counts for nothing on this machine
    liveness.Heart.beat = lambda _: None
    relay = Relay(RunFolder(Path(folder)), label, Settings(), check=True)
    relay.files.health = Path("/nonexistent/health.json")
    return relay.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
