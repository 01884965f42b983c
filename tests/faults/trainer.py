"""``python -m tests.faults.trainer SPEC``: a training process that replays a recorded one instead of training.

It talks to the real recorder, which starts and looks after the real relays. It appends when it is told to, up to
the event whose number it reads from its standard input, and says of each event that it was recorded.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.faults.reference import Reference
from tests.support import forking
from tracking_hooks.events import Run
from tracking_hooks.plugins import capture, load_trainer_sides, of_parts
from tracking_hooks.recording.recorder import Recorder
from tracking_hooks.run.layout import RunFolder
from tracking_hooks.settings import read_settings

READY = "ready"


class Spec(Struct, frozen=True, kw_only=True):
    """What to replay, as whom, to which trackers."""

    reference: Path
    recorded_in: Path
    save_dir: Path
    uid: str
    plugins: list[str]
    pace: float
    """Seconds between two events."""


def main(path: Path) -> None:
    forking.install()
    spec = msgspec.json.decode(path.read_bytes(), type=Spec, dec_hook=lambda kind, value: kind(value))
    folder = RunFolder.beside(spec.save_dir, spec.uid)
    calls = Reference(spec.reference, spec.recorded_in).moved_to(spec.save_dir, folder)
    start, end = calls[0].args, calls[-1].args
    run = Run(uid=spec.uid, name="train", project=spec.uid, task="detect", save_dir=spec.save_dir)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    recorder = Recorder.start(
        run, of_parts(capture(load_trainer_sides(spec.plugins), run)), read_settings(), logging.getLogger("trainer"),
        params=start["params"], environment=start["environment"],
    )  # fmt: skip
    recorder.check()
    print(READY, flush=True)
    done = 0
    for line in sys.stdin:
        while done < int(line):
            call = calls[done]
            done += 1
            if done == 1:
                recorder.begin(params=start["params"], environment=start["environment"])
            elif done == len(calls):
                recorder.end(end["status"])
            else:
                recorder.record(call.hook, **call.args)
            print(done, flush=True)
            if call.hook == "on_epoch_end":
                recorder.look_after_relays()
            time.sleep(spec.pace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
