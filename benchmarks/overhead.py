"""What tracking costs the training process: at import while it is off, and for each recorded event.

Run it with ``make bench``. Each figure is a median, beside its reference measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# In a new process each time: what `import torch` does for our entry point, and what our finder then adds to
# `import ultralytics`. Wall time of the whole imports (seconds) would hide a millisecond.
IMPORT_PROBE = """
import json, os, sys, time
os.environ.pop("TRACKING_HOOKS", None)
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
import torch
from importlib.metadata import entry_points
(point,) = entry_points(group="torch.backends", name="tracking_hooks")
before = set(sys.modules)
start = time.perf_counter()
point.load()()
install = time.perf_counter() - start
finder = sys.meta_path[0]
spent = 0.0
find_spec = type(finder).find_spec
def timed(self, *arguments):
    global spent
    start = time.perf_counter()
    try:
        return find_spec(self, *arguments)
    finally:
        if arguments[0] != "ultralytics.utils.callbacks":
            spent += time.perf_counter() - start
type(finder).find_spec = timed
from ultralytics.engine.trainer import BaseTrainer
ours = {name for name in set(sys.modules) - before if name.startswith("tracking_hooks")}
print(json.dumps({"install": install, "finder": spent, "modules": sorted(ours)}))
"""


def import_cost(imports: int) -> None:
    samples = []
    # As pip installs it, with bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", IMPORT_PROBE]
    if imports > 1:  # the first one compiles
        subprocess.run(command, env=environment, capture_output=True, check=True)
    for _ in range(imports):
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        samples.append(json.loads(output.splitlines()[-1]))
    total = statistics.median(sample["install"] + sample["finder"] for sample in samples)
    install = statistics.median(sample["install"] for sample in samples)
    print(
        f"variable unset: import torch + ultralytics cost {total * 1e3:.2f} ms more "
        f"(entry point {install * 1e3:.2f} ms, finder {(total - install) * 1e3:.2f} ms; median of {imports}); "
        f"imported: {', '.join(samples[0]['modules'])}"
    )


def record_cost(events: int) -> None:
    from tracking_hooks.events import Run
    from tracking_hooks.recording.environment import describe
    from tracking_hooks.recording.recorder import Recorder
    from tracking_hooks.settings import Settings

    metrics = {f"metrics/value_{index}": index * 0.123456789 for index in range(20)}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        save_dir = Path(folder) / "train"
        save_dir.mkdir()
        run = Run(uid="benchmark", name="train", project="", task="detect", save_dir=save_dir)
        recorder = Recorder.start(
            run, {}, Settings(system_every=0), logging.getLogger(), params={}, environment=describe([], [])
        )
        recorder.begin(params={}, environment=describe([], []))
        recorder.record("on_epoch_end", epoch=1, step=1, metrics=metrics, per_class=None)
        line = recorder.folder.journal.read_bytes().splitlines(keepends=True)[-1]
        bare, ours = [], []
        fd = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for index in range(events):
            start = time.perf_counter()
            recorder.record("on_epoch_end", epoch=index + 2, step=index, metrics=metrics, per_class=None)
            middle = time.perf_counter()
            os.write(fd, line)
            bare.append(time.perf_counter() - middle)
            ours.append(middle - start)
        os.close(fd)
        recorder.end("finished")
    ours_us, bare_us = statistics.median(ours) * 1e6, statistics.median(bare) * 1e6
    print(
        f"recording an event with 20 metrics: {ours_us:.1f} us, a bare write() of the same {len(line)} bytes: "
        f"{bare_us:.1f} us, ratio {ours_us / bare_us:.1f} (medians of {events})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few rounds: that it works, not what it costs")
    options = parser.parse_args()
    record_cost(2000 if options.quick else 20_000)
    import_cost(1 if options.quick else 20)


if __name__ == "__main__":
    main()
