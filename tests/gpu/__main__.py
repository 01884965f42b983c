"""Runs the checks, and prints a line for each. ``make gpu``, or ``python -m tests.gpu``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from subprocess import SubprocessError

from tests.compat.comparison import Differs
from tests.gpu.checks import NAMES, Checks, Failed
from tests.gpu.trainings import Trainings


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.gpu", description=__doc__)
    parser.add_argument("--device", default="0", help="0; cpu rehearses everything but the calls of CUDA")
    parser.add_argument("--only", action="append", choices=NAMES, help="a check; may be given several times")
    parser.add_argument("--rounds", type=int, default=7, help="of the batches that are timed")
    parser.add_argument("--quick", action="store_true", help="train as little as shows that everything works")
    parser.add_argument("--samples", type=Path, help="a file for the time of a batch in each training")
    given = parser.parse_args()
    if given.device != "cpu" and (reason := _no_gpu()):
        print(f"Skipped: {reason} To rehearse the checks: python -m tests.gpu --device cpu --quick --rounds 1")
        return
    failed = False
    with tempfile.TemporaryDirectory(prefix="tracking-hooks-gpu-") as folder:
        checks = Checks(Trainings(Path(folder), given.device, quick=given.quick), given.rounds)
        for name in given.only or NAMES:
            try:
                print(f"{name}: {getattr(checks, name)()}", flush=True)
            except (Failed, Differs, RuntimeError, SubprocessError) as error:
                failed = True
                print(f"{name}: FAILED: {error}", flush=True)
        if given.samples:
            given.samples.write_text(json.dumps(checks.samples), encoding="utf-8")
    sys.exit(failed)


def _no_gpu() -> str:
    """Return why there is nothing to check; empty: there is a GPU."""
    try:
        import torch
    except ImportError as error:
        return f"PyTorch cannot be imported ({error})."
    return "" if torch.cuda.is_available() else "PyTorch sees no GPU (torch.cuda.is_available() is False)."


if __name__ == "__main__":
    main()
