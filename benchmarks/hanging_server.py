"""The training loop's time with a tracker that accepts connections and never answers, beside no tracking at all.

Run it with ``make bench``. Real trainings, alternating; the time is Ultralytics' own, from results.csv, and so
without the start and end of the process. With MLflow's own client in the loop one such call takes 20 minutes.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tracking_hooks.cli.shapes import make_shapes

EPOCHS = 5


def train(folder: Path, data: Path, name: str, **variables: str) -> tuple[float, int]:
    """Return (seconds of the loop, rows of results.csv)."""
    arguments = {
        "model": "yolo26n.yaml", "data": data, "epochs": EPOCHS, "imgsz": 32, "batch": 16, "device": "cpu",
        "workers": 0, "amp": False, "plots": False, "seed": 0, "project": folder, "name": name, "exist_ok": True,
    }  # fmt: skip
    yolo = Path(sys.executable).parent / "yolo"
    command = [yolo, "detect", "train", *(f"{key}={value}" for key, value in arguments.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(folder), **variables}
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    with (folder / name / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return float(rows[-1]["time"]), len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one pair, nothing warmed up: that it works")
    quick = parser.parse_args().quick
    pairs = 1 if quick else 5
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        folder = Path(name)
        data = make_shapes(folder / "shapes", train=64, val=8)
        hanging = {
            "TRACKING_HOOKS": "mlflow",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.getsockname()[1]}",
            "TRACKING_HOOKS_EXIT_WAIT": "0",
            "TRACKING_HOOKS_LINGER": "0",
        }
        ratios, rows = [], set()
        if not quick:
            train(folder, data, "warm-up")
        for _ in range(pairs):
            bare, bare_rows = train(folder, data, "bare")
            tracked, tracked_rows = train(folder, data, "hanging", **hanging)
            ratios.append(tracked / bare)
            rows |= {bare_rows, tracked_rows}
    print(
        f"loop time against a server that never answers: {statistics.median(ratios):.2f} of bare "
        f"(median of {pairs} pairs, {min(ratios):.2f} to {max(ratios):.2f}; epochs recorded by each: {rows})"
    )


if __name__ == "__main__":
    main()
