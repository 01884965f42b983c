"""What a scalar costs in the TensorBoard plugin, beside PyTorch's ``SummaryWriter.add_scalar``.

Both write the same values to the same disk, in turns, to a file that is complete at the end. The plugin writes in its
relay process, an event for an epoch, straight to the file; ``SummaryWriter`` in the training process, an event for a
scalar, from a thread of its own.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from tracking_hooks.testing import STARTED, sample_run
from tracking_hooks_tensorboard.tracker import TensorBoardTracker

EPOCHS = 200
METRICS = {f"metrics/value_{index}": index * 0.123456789 for index in range(20)}
IMPORTS = {
    "the plugin": "tracking_hooks_tensorboard.tracker",
    "torch.utils.tensorboard": "torch.utils.tensorboard",
    "tensorboardX": "tensorboardX",
}


def plugin(folder: Path) -> None:
    state, tracker = {}, TensorBoardTracker()
    tracker.open(sample_run(folder), 0, STARTED, state, {"logdir": str(folder)})
    for epoch in range(1, EPOCHS + 1):
        tracker.on_epoch_end(epoch, METRICS, None, STARTED + epoch, state)
    tracker.flush(state)


def summary_writer(folder: Path) -> None:
    with SummaryWriter(str(folder)) as writer:
        for epoch in range(1, EPOCHS + 1):
            for name, value in METRICS.items():
                writer.add_scalar(name, value, epoch)


def measure(write, folder: Path) -> tuple[float, int]:
    """Return the seconds that it takes and the bytes that it writes."""
    start = time.perf_counter()
    write(folder)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.iterdir())
    shutil.rmtree(folder)
    return seconds, size


def import_seconds(module: str) -> float | None:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn, one import of each: that it works")
    turns, imports = (1, 1) if parser.parse_args().quick else (7, 5)
    count = EPOCHS * len(METRICS)
    ratios, ours, theirs = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tb"
        for turn in range(turns + 1):
            seconds, size = measure(plugin, folder)
            their_seconds, their_size = measure(summary_writer, folder)
            if turn:  # the first warms up
                ours.append(seconds)
                theirs.append(their_seconds)
                ratios.append(seconds / their_seconds)
    print(f"{count} scalars, {len(METRICS)} an epoch; median of {turns} turns")
    for label, samples, written in (("the plugin", ours, size), ("SummaryWriter.add_scalar", theirs, their_size)):
        cost = statistics.median(samples) / count * 1e6
        print(f"{label:24} {cost:6.1f} µs, {written / count:5.1f} bytes a scalar")
    print(f"{'ratio':24} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    for label, module in IMPORTS.items():
        samples = [seconds for _ in range(imports) if (seconds := import_seconds(module)) is not None]
        print(f"import of {label}: {statistics.median(samples):.2f} s" if samples else f"{label} is not installed")


if __name__ == "__main__":
    main()
